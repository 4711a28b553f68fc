#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use super::*;
use host::{SystemClock, SystemEntropy};
use simulation::VirtualDisk;
use std::sync::Arc;

const TARGET: &str = "/data/clone";

fn target(name: &str) -> PathBuf {
    Path::new(TARGET).join(name)
}

fn host_of(disk: &Arc<VirtualDisk>) -> Host {
    Host { disk: disk.clone(), clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) }
}

fn claim(disk: &Arc<VirtualDisk>) -> Result<Claim, CloneError> {
    Claim::look(&host_of(disk), Path::new(TARGET))
}

fn put(disk: &VirtualDisk, name: &str) {
    let path = target(name);
    disk.create_dir_all(path.parent().unwrap()).unwrap();
    disk.open(&path, OpenMode::CreateNew).unwrap();
}

fn names(disk: &VirtualDisk) -> Vec<String> {
    disk.list(Path::new(TARGET)).unwrap().into_iter().map(|entry| entry.name).collect()
}

/// A clone that is taken, and has its files.
fn filled(disk: &Arc<VirtualDisk>) -> Claim {
    let claim = claim(disk).unwrap();
    claim.take(&**disk).unwrap();
    put(disk, "base/5/16384");
    put(disk, CONTROL_HELD_BACK);
    claim
}

#[test]
fn a_target_is_taken_only_when_absent_or_empty_and_an_unfinished_clone_is_known() {
    let disk = Arc::new(VirtualDisk::new());
    let check = || check_target(&*disk, Path::new(TARGET));
    assert!(!check().unwrap());
    disk.create_dir_all(Path::new(TARGET)).unwrap();
    assert!(check().unwrap());
    let claim = filled(&disk);
    assert!(matches!(check(), Err(CloneError::Unfinished(_))));
    assert_eq!(claim.take_back(&*disk).unwrap(), TakenBack::Removed);
    assert!(check().unwrap(), "it was there before");
    disk.create_dir(&target("mine")).unwrap();
    assert!(matches!(check(), Err(CloneError::NotEmpty(_))));
    assert_eq!(claim.take_back(&*disk).unwrap(), TakenBack::NothingMarked);
    assert_eq!(names(&disk), ["mine"]);
    let file = Path::new("/data/file");
    disk.open(file, OpenMode::CreateNew).unwrap();
    assert!(matches!(check_target(&*disk, file), Err(CloneError::NotADirectory(_))));
}

#[test]
fn a_directory_that_the_clone_has_made_goes_with_it() {
    let disk = Arc::new(VirtualDisk::new());
    let claim = filled(&disk);
    assert_eq!(claim.take_back(&*disk).unwrap(), TakenBack::Removed);
    assert!(!disk.exists(Path::new(TARGET)).unwrap());
}

#[test]
fn a_clone_takes_nothing_that_was_filled_since_it_looked_and_removes_nothing_there() {
    let disk = Arc::new(VirtualDisk::new());
    let late = claim(&disk).unwrap();
    let first = filled(&disk);
    // The other one is under way.
    assert!(matches!(late.take(&*disk), Err(CloneError::Unfinished(_))));
    assert_eq!(late.take_back(&*disk).unwrap(), TakenBack::NothingMarked);
    assert!(disk.exists(&target("base/5/16384")).unwrap());
    // It is whole, and a server has started.
    first.release(&*disk).unwrap();
    put(&disk, "postmaster.pid");
    let before = names(&disk);
    assert!(matches!(late.take(&*disk), Err(CloneError::NotEmpty(_))));
    assert_eq!(late.take_back(&*disk).unwrap(), TakenBack::NothingMarked);
    assert_eq!(first.take_back(&*disk).unwrap(), TakenBack::NothingMarked);
    assert_eq!(names(&disk), before);
    assert!(disk.exists(&control_file_path(Path::new(TARGET))).unwrap());
}

#[test]
fn a_whole_directory_is_never_removed_whatever_marks_it() {
    let disk = Arc::new(VirtualDisk::new());
    let claim = filled(&disk);
    // As if it was killed between its last two steps.
    disk.rename(&target(CONTROL_HELD_BACK), &control_file_path(Path::new(TARGET))).unwrap();
    assert_eq!(claim.take_back(&*disk).unwrap(), TakenBack::Whole);
    assert!(matches!(check_target(&*disk, Path::new(TARGET)), Err(CloneError::NotEmpty(_))));
    assert!(disk.exists(&target("base/5/16384")).unwrap());
}

#[test]
fn a_clone_lets_nothing_go_that_was_replaced() {
    let disk = Arc::new(VirtualDisk::new());
    let first = filled(&disk);
    host::remove_tree(&*disk, Path::new(TARGET)).unwrap();
    let second = filled(&disk);
    assert!(matches!(first.release(&*disk), Err(CloneError::Replaced(_))));
    assert_eq!(first.take_back(&*disk).unwrap(), TakenBack::NothingMarked);
    second.release(&*disk).unwrap();
}
