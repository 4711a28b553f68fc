//! Readers of a standby in the way of redo: who is waited for, who is given up, and who goes on.

use super::standby::{backup, follow, primary, ship};
use super::*;
use crate::{Conflict, Feed, LockWait, TableLockMode};
use wal::{Lsn, TimelineId};

#[tokio::test]
async fn pruning_gives_up_the_snapshots_of_a_standby_that_it_would_hurt() {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    standby.feed.settle();
    let mut old = statement(&standby.db, Isolation::RepeatableRead).await;
    let oldest = standby.db.feedback_xmin(false);
    assert_eq!(get(&old, tree, "row 000").await.as_deref(), Some("first"));
    for round in 0..100 {
        write(&db, tree, &[("row 000", &format!("{round}{}", "x".repeat(300)))], SyncLevel::Off).await;
    }
    standby.catch_up(&disk, &db);
    let conflicts = standby.feed.conflicts(true);
    assert!(
        conflicts.iter().any(|found| matches!(found, Conflict::Snapshot { horizon } if *horizon > oldest)),
        "{conflicts:?}"
    );
    assert_eq!(old.get(tree, b"row 000").await.unwrap_err().sqlstate().as_str(), "40001");
    assert_eq!(old.begin_statement().await.unwrap_err().sqlstate().as_str(), "40001");
    drop(old);
    // With feedback the primary keeps what the standby still reads.
    let mut kept = statement(&standby.db, Isolation::RepeatableRead).await;
    let before = get(&kept, tree, "row 000").await;
    db.set_feedback_horizon(Some(standby.db.feedback_xmin(false)));
    for round in 0..100 {
        write(&db, tree, &[("row 000", &format!("{round}{}", "y".repeat(300)))], SyncLevel::Off).await;
    }
    standby.catch_up(&disk, &db);
    assert_eq!(get(&kept, tree, "row 000").await, before);
    kept.begin_statement().await.unwrap();
    standby.stop();
}

#[tokio::test]
async fn a_drop_waits_for_those_who_have_locked_the_table_and_who_comes_waits_for_it() {
    let (disk, db, tree) = primary().await;
    let mut creates = db.begin(Isolation::ReadCommitted);
    let dropped = creates.create_tree(5).await.unwrap();
    creates.commit(SyncLevel::Local).await.unwrap();
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    standby.catch_up(&disk, &db);
    let mut reader = statement(&standby.db, Isolation::RepeatableRead).await;
    reader.lock_table(dropped, TableLockMode::AccessShare, LockWait::Forever).await.unwrap();
    let other = statement(&standby.db, Isolation::RepeatableRead).await;
    let mut late = statement(&standby.db, Isolation::ReadCommitted).await;
    standby.feed.be_patient();
    let mut drops = db.begin(Isolation::ReadCommitted);
    drops.drop_tree(dropped).unwrap();
    drops.commit(SyncLevel::Local).await.unwrap();
    let upto = db.wal_writer_tick().unwrap();
    ship(&disk, &standby.disk);
    standby.feed.settle();
    standby.feed.set(Feed::Available { upto, timeline: TimelineId::FIRST, generation: 0 });
    assert_eq!(standby.feed.conflicts(true), [Conflict::Lock { trees: [dropped].into() }]);
    let at_once = late.lock_table(dropped, TableLockMode::AccessShare, LockWait::NoWait).await;
    assert!(matches!(at_once, Err(Error::LockNotAvailable { timed_out: false })), "it stands behind redo");
    drop(reader);
    standby.catch_up(&disk, &db);
    late.lock_table(dropped, TableLockMode::AccessShare, LockWait::NoWait).await.unwrap();
    assert_eq!(get(&other, tree, "row 000").await.as_deref(), Some("first"));
    standby.stop();
}

#[tokio::test]
async fn the_end_of_a_table_that_nobody_saw_keeps_no_confirmed_reader_waiting() {
    let (disk, db, _) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    standby.catch_up(&disk, &db);
    let upto = db.positions().unwrap().flushed();
    standby.db.0.visibility.confirm(upto);
    let held = standby.db.0.visibility.take_confirmed(Lsn::INVALID).unwrap();
    let mut undone = db.begin(Isolation::ReadCommitted);
    undone.create_tree(5).await.unwrap();
    undone.rollback();
    standby.catch_up(&disk, &db);
    let after = standby.db.0.visibility.take_confirmed(Lsn::INVALID).unwrap();
    standby.db.0.check_conflict(&held).unwrap();
    assert_eq!((after.lsn, standby.feed.conflicts(false).len()), (held.lsn, 0));
    drop((held, after));
    standby.stop();
}
