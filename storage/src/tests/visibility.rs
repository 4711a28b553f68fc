//! Visible is durable: nobody reads a commit before its level, and those before it, are reached.

use super::*;
use crate::{Interrupt, RemoteProgress};
use simulation::{Call, Fault, FaultKind};
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use wal::{Lsn, RecordBuilder, Rmgr};

/// Synchronous standbys are named, and hold everything up to `upto`.
pub(super) fn quorum_at(upto: Lsn) -> RemoteProgress {
    RemoteProgress { required: true, written: upto, flushed: upto, replayed: upto }
}

/// A tree with one row, and a quorum that has it and then stalls.
pub(super) async fn stalled() -> (VirtualDisk, Database, TreeId) {
    let (disk, db, tree) = with_tree().await;
    write(&db, tree, &[("a", "old")], SyncLevel::Local).await;
    db.commit_gate().set_remote(quorum_at(db.positions().unwrap().flushed()));
    (disk, db, tree)
}

pub(super) async fn write_with(
    db: &Database,
    tree: TreeId,
    value: &str,
    interrupt: &Interrupt,
) -> Transaction {
    let mut transaction = db.begin_after(Isolation::ReadCommitted, Lsn::INVALID, interrupt.clone());
    transaction.begin_statement().await.unwrap();
    put(&mut transaction, tree, "a", value).await.unwrap();
    transaction
}

#[tokio::test]
async fn others_read_a_commit_only_when_the_quorum_has_it() {
    for level in [SyncLevel::RemoteWrite, SyncLevel::On, SyncLevel::RemoteApply] {
        let (_disk, db, tree) = stalled().await;
        let writing = write_with(&db, tree, "new", &Interrupt::new()).await;
        let mut commit = pin!(writing.commit(level));
        assert!(waits!(commit));
        assert_eq!(read(&db, tree, "a").await.as_deref(), Some("old"));
        let end = db.positions().unwrap().flushed();
        let mut near = quorum_at(end);
        // One stage further than needed is missing, then exactly what is needed is there.
        match level {
            SyncLevel::RemoteWrite => near.written = end - 1,
            SyncLevel::On => near.flushed = end - 1,
            _ => near.replayed = end - 1,
        }
        db.commit_gate().set_remote(near);
        assert!(waits!(commit), "{level:?}");
        assert_eq!(read(&db, tree, "a").await.as_deref(), Some("old"));
        let mut exact = RemoteProgress { required: true, written: end, ..RemoteProgress::default() };
        if level >= SyncLevel::On {
            exact.flushed = end;
        }
        if level == SyncLevel::RemoteApply {
            exact.replayed = end;
        }
        db.commit_gate().set_remote(exact);
        let committed = commit.await.unwrap();
        assert!(committed.confirmed);
        assert_eq!(committed.lsn, end);
        assert_eq!(read(&db, tree, "a").await.as_deref(), Some("new"));
    }
}

#[tokio::test]
async fn a_log_that_fails_ends_the_wait_for_the_quorum() {
    let (disk, db, tree) = stalled().await;
    let writing = write_with(&db, tree, "new", &Interrupt::new()).await;
    let mut commit = pin!(writing.commit(SyncLevel::On));
    assert!(waits!(commit));
    disk.inject(Fault::once(Call::Sync, "pg_wal", 1, FaultKind::Io));
    let mut other = db.begin(Isolation::ReadCommitted);
    other.begin_statement().await.unwrap();
    put(&mut other, tree, "b", "new").await.unwrap();
    assert!(matches!(other.commit(SyncLevel::Local).await, Err(Error::Log(_))));
    let ended = commit.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ended, Poll::Ready(Err(Error::Log(_)))), "nothing is acknowledged any more");
}

#[tokio::test]
async fn a_cancelled_wait_shows_the_commit_to_nobody_before_it_is_confirmed() {
    let (_disk, db, tree) = stalled().await;
    let interrupt = Interrupt::new();
    let writing = write_with(&db, tree, "new", &interrupt).await;
    let mut commit = pin!(writing.commit(SyncLevel::On));
    assert!(waits!(commit));
    interrupt.cancel();
    let committed = commit.await.unwrap();
    assert!(!committed.confirmed);
    assert_eq!(read(&db, tree, "a").await.as_deref(), Some("old"), "nor does its own session");
    db.commit_gate().set_remote(quorum_at(committed.lsn));
    assert_eq!(read(&db, tree, "a").await.as_deref(), Some("new"));
}

#[tokio::test]
async fn a_session_that_vanishes_shows_its_commit_to_nobody_either() {
    let (_disk, db, tree) = stalled().await;
    {
        let writing = write_with(&db, tree, "new", &Interrupt::new()).await;
        let mut commit = pin!(writing.commit(SyncLevel::On));
        assert!(waits!(commit));
    }
    assert_eq!(read(&db, tree, "a").await.as_deref(), Some("old"));
    db.commit_gate().set_remote(quorum_at(db.positions().unwrap().flushed()));
    assert_eq!(read(&db, tree, "a").await.as_deref(), Some("new"));
}

#[tokio::test]
async fn a_tree_whose_drop_is_in_doubt_is_there_for_who_does_not_see_that() {
    let (_disk, db, tree) = stalled().await;
    let mut drops = statement(&db, Isolation::ReadCommitted).await;
    drops.drop_tree(tree).unwrap();
    let mut commit = pin!(drops.commit(SyncLevel::On));
    assert!(waits!(commit));
    db.wal_writer_tick().unwrap();
    assert_eq!(read(&db, tree, "a").await.as_deref(), Some("old"));
    db.commit_gate().set_remote(quorum_at(db.positions().unwrap().flushed()));
    assert!(commit.await.unwrap().confirmed);
    db.wal_writer_tick().unwrap();
    assert!(db.store().tree(tree).is_err());
}

#[tokio::test]
async fn a_weak_commit_behind_a_stalled_one_is_acknowledged_at_once_and_seen_in_its_turn() {
    let (_disk, db, tree) = stalled().await;
    let strong = write_with(&db, tree, "strong", &Interrupt::new()).await;
    let mut strong = pin!(strong.commit(SyncLevel::On));
    assert!(waits!(strong));
    let mut weak = statement(&db, Isolation::ReadCommitted).await;
    put(&mut weak, tree, "b", "weak").await.unwrap();
    let weak = weak.commit(SyncLevel::Local).await.unwrap();
    assert!(weak.confirmed);
    assert_eq!(read(&db, tree, "b").await, None);
    let mut own = db.begin_after(Isolation::ReadCommitted, weak.lsn, Interrupt::new());
    own.begin_statement().await.unwrap();
    assert_eq!(get(&own, tree, "b").await.as_deref(), Some("weak"), "its own session sees it");
    assert_eq!(get(&own, tree, "a").await.as_deref(), Some("strong"), "and all that is before it");
    assert_eq!(own.evaluated_up_to(), weak.lsn, "so its results must wait");
    let interrupt = Interrupt::new();
    let mut held = pin!(db.wait_visible(own.evaluated_up_to(), &interrupt));
    assert!(waits!(held));
    db.commit_gate().set_remote(quorum_at(weak.lsn));
    held.await.unwrap();
    strong.await.unwrap();
    assert_eq!(read(&db, tree, "b").await.as_deref(), Some("weak"));
}

#[tokio::test]
async fn a_writer_builds_on_an_in_doubt_row_but_is_not_answered_before_it() {
    let (_disk, db, tree) = stalled().await;
    let first = write_with(&db, tree, "first", &Interrupt::new()).await;
    let mut first = pin!(first.commit(SyncLevel::On));
    assert!(waits!(first));
    let mut second = statement(&db, Isolation::ReadCommitted).await;
    let locked = put(&mut second, tree, "a", "second").await.unwrap();
    assert_eq!(text(locked.newest).as_deref(), Some("first"), "the row lock has passed on");
    assert!(locked.changed_since_snapshot);
    assert!(second.evaluated_up_to() > db.visible());
    let mut second = pin!(second.commit(SyncLevel::Off));
    assert!(waits!(second), "level off, but it evaluated a commit that is in doubt");
    db.commit_gate().set_remote(quorum_at(db.positions().unwrap().inserted()));
    first.await.unwrap();
    assert!(second.await.unwrap().confirmed);
    assert_eq!(read(&db, tree, "a").await.as_deref(), Some("second"));
}

#[tokio::test]
async fn repeatable_read_learns_of_a_conflict_only_when_it_is_no_longer_in_doubt() {
    let (_disk, db, tree) = stalled().await;
    let mut reader = statement(&db, Isolation::RepeatableRead).await;
    let writing = write_with(&db, tree, "new", &Interrupt::new()).await;
    let mut commit = pin!(writing.commit(SyncLevel::On));
    assert!(waits!(commit));
    let mut locking = pin!(lock(&mut reader, tree, "a"));
    assert!(waits!(locking));
    db.commit_gate().set_remote(quorum_at(db.positions().unwrap().flushed()));
    assert_eq!(locking.await.unwrap_err().sqlstate().as_str(), "40001");
    commit.await.unwrap();
}

#[tokio::test]
async fn who_waits_for_standbys_that_are_named_no_more_is_released_once_that_is_on_record() {
    let (_disk, db, tree) = stalled().await;
    let gate = db.commit_gate();
    let named = |required| gate.set_remote(RemoteProgress { required, ..RemoteProgress::default() });
    let writing = write_with(&db, tree, "new", &Interrupt::new()).await;
    let mut commit = pin!(writing.commit(SyncLevel::RemoteApply));
    assert!(waits!(commit));
    named(false);
    assert!(gate.is_unnamed() && waits!(commit));
    assert_eq!(gate.release_unnamed(|_, _| Err("a full disk")), Err("a full disk"));
    assert!(waits!(commit), "nothing is acknowledged without a record");
    named(true);
    let record = |_, _| -> Result<(), Infallible> { panic!("recorded") };
    assert_eq!(gate.release_unnamed(record), Ok(None), "they are waited for again");
    named(false);
    let mut recorded = None;
    let released = gate.release_unnamed(|after, upto| {
        recorded = Some((after, upto));
        Ok::<_, Infallible>(())
    });
    assert_eq!(released, Ok(recorded));
    let committed = commit.await.unwrap();
    assert!(committed.confirmed && !gate.is_unnamed() && !gate.remote().required);
    assert!(recorded.is_some_and(|(after, upto)| after < upto && upto == committed.lsn), "{recorded:?}");
}

#[tokio::test]
async fn without_anybody_who_waits_names_go_at_once() {
    let (_disk, db, tree) = stalled().await;
    write(&db, tree, &[("b", "new")], SyncLevel::Local).await;
    let gate = db.commit_gate();
    gate.set_remote(RemoteProgress::default());
    assert!(!gate.is_unnamed() && !gate.remote().required);
}

#[tokio::test]
async fn after_a_restart_unconfirmed_commits_stay_unseen_until_the_quorum_holds_them() {
    let (disk, db, tree) = stalled().await;
    let interrupt = Interrupt::new();
    let writing = write_with(&db, tree, "new", &interrupt).await;
    interrupt.cancel();
    assert!(!writing.commit(SyncLevel::On).await.unwrap().confirmed);
    drop(db);
    for released in [false, true] {
        let again = DatabaseOptions { sync_required: true, ..options() };
        let (db, _) = try_open(&power_cut(&disk), again).unwrap();
        let mut reader = db.begin(Isolation::ReadCommitted);
        {
            let mut begin = pin!(reader.begin_statement());
            assert!(waits!(begin), "statements that touch rows wait");
            let (after, upto) = db.commit_gate().undecided().unwrap();
            assert!(after < upto);
            if released {
                let mut recorded = None;
                let refused = db.commit_gate().release_unconfirmed(|_, _| Err("a full disk"));
                assert_eq!(refused, Err("a full disk"));
                assert!(db.commit_gate().undecided().is_some(), "nothing is shown without a record");
                let released = db.commit_gate().release_unconfirmed(|after, upto| {
                    recorded = Some((after, upto));
                    Ok::<_, Infallible>(())
                });
                let released = released.unwrap();
                assert_eq!((released, recorded), (Some((after, upto)), Some((after, upto))));
            } else {
                db.commit_gate().set_remote(quorum_at(upto));
            }
            begin.await.unwrap();
        }
        assert_eq!(db.commit_gate().undecided(), None);
        assert_eq!(get(&reader, tree, "a").await.as_deref(), Some("new"));
    }
    let (db, _) = try_open(&power_cut(&disk), options()).unwrap();
    assert_eq!(read(&db, tree, "a").await.as_deref(), Some("new"), "without names nothing is undecided");
}

/// A server after a crash in which a commit waited for its standbys.
async fn with_an_undecided_commit() -> Database {
    let (disk, db, tree) = stalled().await;
    let interrupt = Interrupt::new();
    let writing = write_with(&db, tree, "new", &interrupt).await;
    interrupt.cancel();
    writing.commit(SyncLevel::On).await.unwrap();
    drop(db);
    let again = DatabaseOptions { sync_required: true, ..options() };
    try_open(&power_cut(&disk), again).unwrap().0
}

#[tokio::test]
async fn what_is_undecided_is_not_confirmed_although_nobody_is_named_any_more() {
    let db = with_an_undecided_commit().await;
    let gate = db.commit_gate();
    let mut told = gate.confirmed_changes();
    let (after, upto) = gate.undecided().unwrap();
    gate.set_remote(RemoteProgress { required: false, ..RemoteProgress::default() });
    assert!(gate.confirmed() <= after && *told.borrow_and_update() <= after, "no standby shows it");
    gate.release_unconfirmed(|_, _| Ok::<_, Infallible>(())).unwrap();
    assert!(gate.confirmed() >= upto && *told.borrow_and_update() >= upto);
}

#[tokio::test]
async fn a_fenced_server_releases_nothing_and_records_nothing() {
    let db = with_an_undecided_commit().await;
    assert!(db.commit_gate().undecided().is_some());
    db.fence("timeline 2 was promoted");
    let record = |_, _| -> Result<(), Infallible> { panic!("recorded") };
    assert_eq!(db.commit_gate().release_unconfirmed(record), Ok(None));
    assert!(db.commit_gate().undecided().is_some(), "they are the new primary's to decide");
}

#[tokio::test]
async fn a_fenced_server_reads_what_lies_before_undecided_commits() {
    let db = with_an_undecided_commit().await;
    let (after, _) = db.commit_gate().undecided().unwrap();
    let mut reader = db.begin(Isolation::ReadCommitted);
    {
        let mut begin = pin!(reader.begin_statement());
        assert!(waits!(begin), "they may be decided yet");
        db.fence("timeline 2 was promoted");
        begin.await.unwrap();
    }
    assert!(reader.snapshot_lsn() <= after, "it shows nothing that is undecided");
    db.commit_gate().wait_decided(&Interrupt::new()).await.unwrap();
}

#[tokio::test]
async fn after_a_clean_stop_only_what_was_in_doubt_is_undecided() {
    let sync = || DatabaseOptions { sync_required: true, ..options() };
    let (disk, db, tree) = stalled().await;
    db.shutdown().await.unwrap();
    drop(db);
    let (db, _) = try_open(&disk, sync()).unwrap();
    assert_eq!(db.commit_gate().undecided(), None);
    db.commit_gate().set_remote(quorum_at(db.positions().unwrap().flushed()));
    let interrupt = Interrupt::new();
    let writing = write_with(&db, tree, "new", &interrupt).await;
    interrupt.cancel();
    writing.commit(SyncLevel::On).await.unwrap();
    db.shutdown().await.unwrap();
    drop(db);
    let (db, _) = try_open(&disk, sync()).unwrap();
    let (after, _) = db.commit_gate().undecided().unwrap();
    assert_eq!(db.commit_gate().known_to_be_held(SyncLevel::On), after, "also before anybody reports");
    db.shutdown().await.unwrap();
    drop(db);
    let (db, _) = try_open(&disk, sync()).unwrap();
    assert_eq!(db.commit_gate().undecided().unwrap().0, after, "nothing has decided them meanwhile");
}

#[tokio::test]
async fn a_fenced_node_commits_nothing_more() {
    let (_disk, db, tree) = with_tree().await;
    let mut transaction = statement(&db, Isolation::ReadCommitted).await;
    put(&mut transaction, tree, "a", "1").await.unwrap();
    db.fence("timeline 2 was promoted");
    let refused = transaction.commit(SyncLevel::Off).await.unwrap_err();
    assert_eq!(refused.to_string(), "this server is fenced: timeline 2 was promoted");
    assert_eq!(read(&db, tree, "a").await, None);
}

#[tokio::test]
async fn a_log_that_cannot_be_synced_acknowledges_nothing_any_more() {
    let (disk, db, tree) = with_tree().await;
    disk.inject(Fault::always(Call::Sync, "pg_wal", FaultKind::Io));
    let mut transaction = statement(&db, Isolation::ReadCommitted).await;
    put(&mut transaction, tree, "a", "1").await.unwrap();
    let failed = transaction.commit(SyncLevel::Local).await.unwrap_err();
    assert_eq!(failed.sqlstate().as_str(), "58030", "{failed}");
    disk.clear_faults();
    let mut again = db.begin(Isolation::ReadCommitted);
    again.begin_statement().await.unwrap();
    assert_eq!(get(&again, tree, "a").await, None, "its level was never reached");
    put(&mut again, tree, "b", "1").await.unwrap();
    assert!(again.commit(SyncLevel::Off).await.is_err(), "the log takes no more");
    let (db, _) = try_open(&power_cut(&disk), options()).unwrap();
    assert_eq!(read(&db, tree, "b").await, None);
}

#[tokio::test]
async fn a_full_disk_refuses_writes_with_53100_and_takes_them_again_once_there_is_space() {
    let (disk, db, tree) = with_tree().await;
    let used: u64 = disk_usage(&disk, Path::new(DIR));
    disk.set_capacity(used);
    let filler = "x".repeat(1000);
    let mut refused = 0;
    for row in 0..2000 {
        let mut transaction = statement(&db, Isolation::ReadCommitted).await;
        put(&mut transaction, tree, &format!("row {row:04}"), &filler).await.unwrap();
        if let Err(error) = transaction.commit(SyncLevel::Local).await {
            assert_eq!(error.sqlstate().as_str(), "53100", "{error}");
            refused += 1;
        }
        if refused == 3 {
            break;
        }
    }
    assert_eq!(refused, 3);
    assert_eq!(read(&db, tree, "row 0000").await.as_deref(), Some(filler.as_str()), "reads go on");
    disk.set_capacity(u64::MAX);
    write(&db, tree, &[("after", "1")], SyncLevel::Local).await;
    let (db, _) = try_open(&power_cut(&disk), options()).unwrap();
    assert_eq!(read(&db, tree, "after").await.as_deref(), Some("1"));
    db.store().tree(tree).unwrap().verify().unwrap();
}

/// Fills the log up to the disk's capacity.
pub(super) fn fill_log(db: &Database) {
    for size in (0..14).rev().map(|power| (1 << power) - 1) {
        let filler = vec![0; size];
        let noop = || RecordBuilder::new(Rmgr::XLOG, wal::xlog::NOOP, 0).main_data(&filler).encode().unwrap();
        while db.0.wal().unwrap().insert(&mut noop()).is_ok() {}
    }
}

#[tokio::test]
async fn what_a_full_disk_refused_in_its_middle_does_not_come_back_after_a_clean_stop() {
    for has_room in [true, false] {
        let (disk, db, tree) = with_tree().await;
        disk.set_capacity(disk_usage(&disk, Path::new(DIR)));
        let full = db.clone();
        *db.0.pipeline().unwrap().before_record.lock() = Some(Box::new(move || fill_log(&full)));
        let mut transaction = statement(&db, Isolation::ReadCommitted).await;
        put(&mut transaction, tree, "a", "1").await.unwrap();
        let refused = transaction.commit(SyncLevel::Local).await.unwrap_err();
        assert_eq!(refused.sqlstate().as_str(), "53100", "{refused}");
        if has_room {
            disk.set_capacity(u64::MAX);
        }
        assert!(db.checkpoint(crate::CheckpointKind::Immediate).await.is_ok() == has_room);
        assert!(db.shutdown().await.is_ok() == has_room);
        disk.set_capacity(u64::MAX);
        let (db, _) = try_open(&power_cut(&disk), options()).unwrap();
        assert_eq!(read(&db, tree, "a").await, None);
    }
}

pub(super) fn disk_usage(disk: &VirtualDisk, path: &Path) -> u64 {
    use host::Disk;
    disk.list(path)
        .unwrap()
        .iter()
        .map(|entry| match entry.kind {
            host::FileKind::Directory => disk_usage(disk, &path.join(&entry.name)),
            _ => disk.metadata(&path.join(&entry.name)).unwrap().len,
        })
        .sum()
}

#[tokio::test]
async fn a_stalled_level_can_be_suspended_and_comes_back_with_the_range_that_went_without() {
    let (_disk, db, tree) = stalled().await;
    let gate = db.commit_gate();
    let safe = db.positions().unwrap().flushed();
    gate.set_patience(Some(Duration::ZERO));
    let writing = write_with(&db, tree, "at risk", &Interrupt::new()).await;
    let commit = tokio::spawn(writing.commit(SyncLevel::RemoteApply));
    let stall = gate.stalled().await;
    assert_eq!(stall.level, SyncLevel::RemoteWrite, "the weakest level that is not reached");
    assert_eq!(read(&db, tree, "a").await.as_deref(), Some("old"), "a stall alone shows nothing");
    assert_eq!(gate.suspend(stall.level, stall.end), Some(safe));
    assert!(commit.await.unwrap().unwrap().confirmed);
    assert_eq!(read(&db, tree, "a").await.as_deref(), Some("at risk"));
    assert_eq!(gate.confirmed(), safe, "what the quorum holds is told as it is");

    // A report from before the end of the log is not yet a return; one from its end is.
    let end = db.positions().unwrap().flushed();
    gate.set_remote(quorum_at(safe));
    assert_eq!(gate.suspended(), Some(SyncLevel::RemoteWrite));
    gate.set_remote(quorum_at(end));
    assert_eq!(gate.suspended(), None);
    let resumed = gate.resumed().await;
    assert_eq!((resumed.level, resumed.after, resumed.upto), (SyncLevel::RemoteWrite, safe, end));

    let writing = write_with(&db, tree, "waits", &Interrupt::new()).await;
    gate.set_patience(None);
    let mut commit = pin!(writing.commit(SyncLevel::On));
    assert!(waits!(commit), "the level is waited for again");
}

#[tokio::test]
async fn who_has_waited_for_too_long_tells_what_is_missing_still_once_what_it_told_first_is_reached() {
    let (_disk, db, tree) = stalled().await;
    let gate = db.commit_gate();
    let safe = db.visible();
    gate.set_patience(Some(Duration::ZERO));
    let writing = write_with(&db, tree, "not replayed", &Interrupt::new()).await;
    let mut commit = pin!(writing.commit(SyncLevel::RemoteApply));
    let mut told = async || {
        let told = async {
            tokio::select! {
                _ = &mut commit => panic!("nothing has let it go"),
                stall = gate.stalled() => (stall.level, stall.end),
            }
        };
        tokio::time::timeout(Duration::from_secs(20), told).await
    };
    let first = told().await;
    let end = db.positions().unwrap().flushed();
    assert_eq!(first, Ok((SyncLevel::RemoteWrite, end)));
    gate.set_remote(RemoteProgress { written: end, flushed: end, replayed: safe, required: true });
    assert_eq!(gate.suspend(SyncLevel::RemoteWrite, end), None, "the commit has that level by now");
    assert_eq!(gate.suspended(), None);
    assert_eq!(told().await, Ok((SyncLevel::RemoteApply, end)));
}

#[tokio::test]
async fn the_range_that_goes_without_begins_before_a_commit_that_waits_for_more() {
    let (_disk, db, tree) = stalled().await;
    let gate = db.commit_gate();
    let safe = db.visible();
    let writing = write_with(&db, tree, "written there only", &Interrupt::new()).await;
    let mut commit = pin!(writing.commit(SyncLevel::On));
    assert!(waits!(commit));
    let end = db.positions().unwrap().flushed();
    let written = RemoteProgress { written: end, flushed: safe, replayed: safe, required: true };
    gate.set_remote(written);
    assert!(waits!(commit));
    // A later one stalls at the level below.
    assert_eq!(gate.known_to_be_held(SyncLevel::RemoteWrite), safe);
    assert_eq!(gate.suspend(SyncLevel::RemoteWrite, Lsn::MAX), Some(safe));
    assert!(!waits!(commit), "it is let go, too");
}

#[tokio::test]
async fn a_weaker_level_is_suspended_with_all_that_went_without_a_stronger_one_and_not_the_other_way_round() {
    let (_disk, db, tree) = stalled().await;
    let gate = db.commit_gate();
    let safe = db.visible();
    let writing = write_with(&db, tree, "flushed there only", &Interrupt::new()).await;
    let mut commit = pin!(writing.commit(SyncLevel::RemoteApply));
    assert!(waits!(commit));
    let end = db.positions().unwrap().flushed();
    gate.set_remote(RemoteProgress { written: end, flushed: end, replayed: safe, required: true });
    assert_eq!(gate.suspend(SyncLevel::RemoteApply, Lsn::MAX), Some(safe));
    assert!(!waits!(commit));
    assert_eq!(gate.suspend(SyncLevel::On, Lsn::MAX), Some(safe), "the first commit is in the range, too");
    assert_eq!(gate.suspended(), Some(SyncLevel::On));
    for level in [SyncLevel::On, SyncLevel::RemoteApply] {
        assert_eq!(gate.suspend(level, Lsn::MAX), None, "{level:?} is suspended already");
        assert_eq!(gate.suspended(), Some(SyncLevel::On));
    }
}

#[tokio::test]
async fn a_stage_is_asked_for_until_no_commit_has_waited_for_it_from_one_look_to_the_next() {
    let (_disk, db, tree) = stalled().await;
    let gate = db.commit_gate();
    let stages = gate.stages();
    let none = *stages.borrow();
    let writing = write_with(&db, tree, "new", &Interrupt::new()).await;
    let mut commit = pin!(writing.commit(SyncLevel::On));
    assert!(waits!(commit));
    let asked = *stages.borrow();
    assert_ne!(asked, none);
    gate.forget_stages();
    assert_eq!(*stages.borrow(), asked, "one has waited since the last look");
    gate.forget_stages();
    assert_eq!(*stages.borrow(), none);
}

#[tokio::test]
async fn who_listens_hears_what_is_confirmed_when_it_moves_on_and_only_then() {
    let (_disk, db, tree) = stalled().await;
    let gate = db.commit_gate();
    let mut heard = gate.confirmed_changes();
    let safe = *heard.borrow_and_update();
    assert_eq!(safe, gate.confirmed());
    write(&db, tree, &[("a", "new")], SyncLevel::Local).await;
    assert!(!heard.has_changed().unwrap());
    let end = db.positions().unwrap().flushed();
    gate.set_remote(quorum_at(end));
    assert!(heard.has_changed().unwrap());
    assert_eq!(*heard.borrow_and_update(), end);
    gate.set_remote(quorum_at(safe));
    assert!(!heard.has_changed().unwrap(), "it does not go back");
}

#[tokio::test]
async fn a_suspended_level_means_the_one_below_it() {
    for (suspended, free) in [
        (SyncLevel::RemoteApply, SyncLevel::On),
        (SyncLevel::On, SyncLevel::RemoteWrite),
        (SyncLevel::RemoteWrite, SyncLevel::Local),
    ] {
        for level in [SyncLevel::RemoteWrite, SyncLevel::On, SyncLevel::RemoteApply] {
            let (_disk, db, tree) = stalled().await;
            let gate = db.commit_gate();
            assert!(gate.suspend(suspended, Lsn::MAX).is_some());
            let writing = write_with(&db, tree, "new", &Interrupt::new()).await;
            let mut commit = pin!(writing.commit(level));
            let free_already = level.min(free) == SyncLevel::Local;
            assert_eq!(waits!(commit), !free_already, "{level:?} while {suspended:?} is suspended");
            if free_already {
                continue;
            }
            // Reports of the level below are enough, and of nothing less.
            let end = db.positions().unwrap().flushed();
            let mut near = RemoteProgress { required: true, written: end, ..RemoteProgress::default() };
            if level.min(free) == SyncLevel::On {
                gate.set_remote(near);
                assert!(waits!(commit), "{level:?} while {suspended:?} is suspended");
                near.flushed = end;
            }
            gate.set_remote(near);
            assert!(!waits!(commit), "{level:?} while {suspended:?} is suspended");
        }
    }
}
