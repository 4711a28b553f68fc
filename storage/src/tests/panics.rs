//! A panic in the middle of a change ends the process, so that recovery decides what became of it.
//!
//! Each story runs in a process of its own: the same test, told by an environment variable where to work.

use super::standby::{backup, follow, ship};
use super::*;
use crate::{CheckpointKind, Direction, Feed};
use simulation::Call;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use wal::history::TimelineHistory;
use wal::{BranchObserver, Live, LogBranch, LogState, Lsn, NodeLog, StandbyPositions, TimelineId};

const PLACE: &str = "PLIMSOLL_TEST_PANIC_IN";
const SIGABRT: i32 = 6;

/// The folder to work in, for the process that is to panic.
fn place() -> Option<PathBuf> {
    std::env::var_os(PLACE).map(PathBuf::from)
}

/// Runs a test of this module as a process of its own, and checks that a panic ends it with these words.
fn ends_with_a_panic(test: &str, dir: &Path, words: &str) {
    let mut again = Command::new(std::env::current_exe().unwrap());
    again
        .args([&format!("tests::panics::{test}"), "--exact", "--nocapture"])
        .env(PLACE, dir)
        .stdin(Stdio::null());
    let ended = again.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.signal(), Some(SIGABRT), "{said}");
    assert!(said.contains("injected"), "the hook tells where: {said}");
    assert!(said.contains(&format!("PANIC:  panic in {words}")), "{said}");
}

fn open_in(dir: &Path) -> Database {
    let options = DatabaseOptions { background: true, ..DatabaseOptions::new(dir) };
    match Database::open(&Host::real(), options, StartMode::Primary).unwrap() {
        Opened::Primary { db, .. } => db,
        Opened::Standby { .. } => panic!("asked for a primary"),
    }
}

const TREE: TreeId = TreeId::new(5, crate::engine::FIRST_NUMBER);

#[tokio::test]
async fn a_panic_in_the_middle_of_a_commit_leaves_nothing_of_it() {
    if let Some(dir) = place() {
        let db = open_in(&dir);
        write(&db, TREE, &[("before", "1")], SyncLevel::Local).await;
        *db.0.pipeline().unwrap().before_record.lock() = Some(Box::new(|| panic!("injected")));
        let doomed = db.clone();
        let halved = tokio::spawn(async move {
            write(&doomed, TREE, &[("half", "1"), ("other half", "1")], SyncLevel::Local).await;
        });
        assert!(halved.await.is_err());
        // Without an end of the process this one makes the half of the other durable.
        write(&db, TREE, &[("after", "1")], SyncLevel::Local).await;
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    Database::create(&Host::real(), &data, &CreateOptions::default()).unwrap();
    let db = open_in(&data);
    let mut transaction = db.begin(Isolation::ReadCommitted);
    assert_eq!(transaction.create_tree(5).await.unwrap(), TREE);
    transaction.commit(SyncLevel::Local).await.unwrap();
    db.shutdown().await.unwrap();
    drop(db);
    ends_with_a_panic(
        "a_panic_in_the_middle_of_a_commit_leaves_nothing_of_it",
        &data,
        "a change of shared state",
    );
    let db = open_in(&data);
    let now = statement(&db, Isolation::ReadCommitted).await;
    assert_eq!(rows(&now, TREE, Direction::Forward).await.len(), 1, "the one before alone");
    drop(now);
    write(&db, TREE, &[("after", "1")], SyncLevel::Local).await;
}

#[tokio::test]
async fn a_panic_of_redo_ends_the_process() {
    if place().is_some() {
        let (disk, db, tree) = with_tree().await;
        let copy = backup(&disk, &db, async {}).await;
        let standby = follow(&copy);
        standby.feed.settle();
        write(&db, tree, &[("a", "1")], SyncLevel::Local).await;
        let upto = db.wal_writer_tick().unwrap();
        ship(&disk, &copy);
        standby.feed.panic_at_next_record();
        standby.feed.set(Feed::Available { upto, timeline: TimelineId::FIRST, generation: 0 });
        assert!(standby.thread.join().is_err());
        return;
    }
    ends_with_a_panic("a_panic_of_redo_ends_the_process", Path::new("/"), "redo");
}

/// Panics once the disk is asked for this.
fn panic_at(disk: &VirtualDisk, call: Call, path: &'static str) {
    disk.observe(Box::new(move |operation, _| {
        assert!(operation.call != call || !operation.path.to_string_lossy().contains(path), "injected");
    }));
}

#[tokio::test]
async fn a_panic_of_the_thread_that_flushes_the_log_ends_the_process() {
    if place().is_some() {
        let disk = new_disk();
        let (db, _) = try_open(&disk, DatabaseOptions { background: true, ..options() }).unwrap();
        let mut transaction = db.begin(Isolation::ReadCommitted);
        let tree = transaction.create_tree(5).await.unwrap();
        transaction.commit(SyncLevel::Local).await.unwrap();
        // This segment alone: the thread that makes the next one panics in words of its own.
        panic_at(&disk, Call::Sync, "pg_wal/000000010000000000000001");
        write(&db, tree, &[("a", "1")], SyncLevel::Local).await;
        return;
    }
    let test = "a_panic_of_the_thread_that_flushes_the_log_ends_the_process";
    ends_with_a_panic(test, Path::new("/"), "a change of shared state");
}

#[tokio::test]
async fn a_panic_of_a_checkpoint_ends_the_process() {
    if place().is_some() {
        let (disk, db, tree) = with_tree().await;
        write(&db, tree, &[("a", "1")], SyncLevel::Local).await;
        panic_at(&disk, Call::Sync, "base");
        let _ = db.checkpoint(CheckpointKind::Immediate).await;
        return;
    }
    ends_with_a_panic(
        "a_panic_of_a_checkpoint_ends_the_process",
        Path::new("/"),
        "storage's background work",
    );
}

struct Panics;

impl BranchObserver for Panics {
    fn branched(&self, _: &LogState) {
        panic!("injected");
    }
}

#[test]
fn a_panic_in_the_middle_of_a_step_to_another_branch_ends_the_process() {
    if place().is_some() {
        let positions = Arc::new(StandbyPositions::new(Lsn::new(100)));
        positions.set_received(Lsn::new(200));
        let log = NodeLog::new(
            TimelineHistory::root(TimelineId::FIRST),
            Live::Standby(positions),
            LogBranch::unrecorded(),
        );
        log.observe(Arc::new(Panics));
        let cut = std::thread::spawn(move || log.receive_from(Lsn::new(150)));
        // Without an end of the process some who keep positions have forgotten those that are cut, and others
        // not.
        assert!(cut.join().is_err());
        return;
    }
    let test = "a_panic_in_the_middle_of_a_step_to_another_branch_ends_the_process";
    ends_with_a_panic(test, Path::new("/"), "a change of shared state");
}
