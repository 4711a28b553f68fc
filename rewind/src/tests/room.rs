//! A disk without room.

use super::{assert_is_twos, diverged, host_on, rewind, to_two};
use crate::{Rewind, RewindError};
use host::{Disk, FileKind};
use simulation::VirtualDisk;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use storage::REWIND_MARKER;

/// All files of a folder, but for the lock's.
fn files(disk: &VirtualDisk, folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in disk.list(folder).unwrap() {
        let path = folder.join(&entry.name);
        if entry.kind == FileKind::Directory {
            files(disk, &path, found);
        } else if entry.name != "lock" {
            found.insert(path.clone(), disk.read(&path, 1 << 30).unwrap());
        }
    }
}

fn all(disk: &VirtualDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    files(disk, Path::new("/"), &mut found);
    found
}

fn used(disk: &VirtualDisk) -> u64 {
    all(disk).values().map(|bytes| bytes.len() as u64).sum()
}

fn is_begun(disk: &VirtualDisk) -> bool {
    disk.exists(&Path::new("/one").join(REWIND_MARKER)).unwrap()
}

#[tokio::test]
async fn without_room_nothing_is_changed_and_with_room_it_is_done() {
    let disk = diverged().await;
    let before = all(&disk);
    disk.set_capacity(used(&disk) + (64 << 10));
    let mut without = Rewind::prepare(&host_on(&disk), to_two()).await.unwrap();
    // What goes is told of only after this.
    let error = without.make_ready().await.unwrap_err();
    assert!(matches!(error, RewindError::NoRoom { .. }) && error.may_pass(), "{error}");
    drop(without);
    let error = rewind(&disk).await.unwrap_err();
    assert!(matches!(error, RewindError::NoRoom { .. }) && error.may_pass(), "{error}");
    assert_eq!(all(&disk), before);
    disk.set_capacity(u64::MAX);
    rewind(&disk).await.unwrap().unwrap();
    assert_is_twos(&disk, "with room").await;
}

/// Others take the room between the look and the writing, more of it each time.
#[tokio::test]
async fn one_that_meets_a_full_disk_halfway_may_be_tried_again() {
    let disk = diverged().await;
    let mut halfway = 0;
    for free in (0..).map(|step| step * (32 << 10)) {
        let disk = disk.fork();
        let begun = Rewind::prepare(&host_on(&disk), to_two()).await.unwrap();
        let capacity = used(&disk) + free;
        // It is full from the moment that the marker stands on.
        let done = begun
            .run(&mut |progress| {
                if progress.bytes == 0 {
                    disk.set_capacity(capacity);
                }
            })
            .await;
        let Err(error) = done else { break };
        assert!(error.may_pass(), "{free}: {error}");
        assert!(is_begun(&disk), "{free}");
        halfway += 1;
        disk.set_capacity(u64::MAX);
        rewind(&disk).await.unwrap().unwrap();
        assert_is_twos(&disk, &format!("after {free}")).await;
    }
    assert!(halfway > 2, "{halfway}");
}
