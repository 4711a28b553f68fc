//! Large transactions and power cuts, standbys and promotions.

use super::large::{fill, key, open_small, small};
use super::standby::{Standby, backup, follow};
use super::*;
use crate::{CheckpointKind, Direction, Feed, PromoteOptions};
use Isolation::{ReadCommitted, RepeatableRead};
use parking_lot::Mutex;

/// What is known at a moment: the newest value whose commit was acknowledged, and the newest whose commit was begun.
type Known = (u64, u64);

/// Each round writes its number into all rows by a large transaction, or tries and rolls back.
async fn rounds(db: &Database, tree: TreeId, known: &Mutex<Known>) {
    for round in 1..=10_u64 {
        let mut large = statement(db, ReadCommitted).await;
        fill(&mut large, tree, 0..25, &round.to_string()).await;
        db.wal_writer_tick().unwrap();
        if round % 4 == 2 {
            db.checkpoint(CheckpointKind::Immediate).await.unwrap();
        }
        let savepoint = large.savepoint();
        fill(&mut large, tree, 0..25, "undone").await;
        db.wal_writer_tick().unwrap();
        large.rollback_to(&savepoint).unwrap();
        db.wal_writer_tick().unwrap();
        fill(&mut large, tree, 25..40, &round.to_string()).await;
        write(db, tree, &[("beside", &round.to_string())], SyncLevel::Local).await;
        assert!(large.is_early());
        if round % 3 == 0 {
            large.rollback();
            if round % 2 == 1 {
                db.sweep().await.unwrap();
            }
            continue;
        }
        known.lock().1 = round;
        large.commit(SyncLevel::Local).await.unwrap();
        known.lock().0 = round;
    }
}

/// All rows bear one number, and give it.
async fn number(db: &Database, tree: TreeId, place: &str) -> u64 {
    let all = statement(db, ReadCommitted).await;
    let found = rows(&all, tree, Direction::Forward).await;
    let large: Vec<_> = found.iter().filter(|(key, _)| key != "beside").collect();
    let first = large.first().map_or("0", |(_, value)| value.as_str());
    assert!(large.len() == 40 || large.is_empty(), "{place}: {} rows", large.len());
    assert!(large.iter().all(|(_, value)| value == first), "{place}: {large:?}");
    first.parse().unwrap()
}

#[tokio::test]
async fn a_power_cut_at_any_call_leaves_a_large_transaction_whole_or_not_at_all() {
    let (disk, db, tree) = open_small().await;
    let known = Arc::new(Mutex::new((0, 0)));
    let states: Arc<Mutex<Vec<(VirtualDisk, Known)>>> = Arc::default();
    let (seen, at) = (Arc::clone(&states), Arc::clone(&known));
    disk.observe(Box::new(move |_, moment| seen.lock().push((moment.fork(), *at.lock()))));
    rounds(&db, tree, &known).await;
    disk.stop_observing();
    drop(db);
    let states = std::mem::take(&mut *states.lock());
    let mut tried = std::collections::BTreeSet::new();
    let mut left_open = 0;
    for (call, (disk, (acknowledged, begun))) in states.iter().enumerate() {
        let seed = call as u64;
        for policy in [CrashPolicy::LoseUnsynced, CrashPolicy::KeepAll, CrashPolicy::Anything { seed }] {
            let image = if policy == CrashPolicy::KeepAll { disk.fork() } else { disk.crash(policy) };
            if !tried.insert(image.image_hash()) {
                continue;
            }
            let place = format!("call {call}, {policy:?}");
            let (db, recovery) = try_open(&image, small()).unwrap_or_else(|error| panic!("{place}: {error}"));
            left_open += usize::from(!recovery.aborted.is_empty());
            let found = number(&db, tree, &place).await;
            assert!(
                (*acknowledged..=*begun).contains(&found),
                "{place}: {found}, not {acknowledged} to {begun}"
            );
            // It goes on, and neither the next crash nor a sweep changes what is seen.
            write(&db, tree, &[("beside", "after")], SyncLevel::Local).await;
            assert_eq!(number(&db, tree, &place).await, found);
            let (again, _) = try_open(&power_cut(&image), small()).unwrap();
            assert_eq!(number(&again, tree, &place).await, found);
            again.sweep().await.unwrap();
            assert_eq!(number(&again, tree, &place).await, found);
            assert_eq!(again.horizon(), again.next_xid(), "{place}: nothing holds the horizon");
            again.store().tree(tree).unwrap().verify().unwrap();
        }
    }
    assert!(tried.len() > 100, "only {} images differ", tried.len());
    assert!(left_open > 10, "only {left_open} crashes left a transaction open");
}

#[tokio::test]
async fn a_large_transaction_that_recovery_aborts_is_not_resurrected_by_a_later_checkpoint() {
    let (disk, db, tree) = open_small().await;
    let mut large = statement(&db, ReadCommitted).await;
    fill(&mut large, tree, 0..100, "x").await;
    // Everything that tells of it lies before the redo point.
    db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    write(&db, tree, &[("other", "y")], SyncLevel::Local).await;
    let image = power_cut(&disk);
    let (found, recovery) = try_open(&image, small()).unwrap();
    assert_eq!(recovery.aborted.len(), 1);
    assert_eq!(read(&found, tree, &key(5)).await, None);
    assert_eq!(read(&found, tree, "other").await.as_deref(), Some("y"));
    found.shutdown().await.unwrap();
    drop(found);
    let (again, recovery) = try_open(&image, small()).unwrap();
    assert_eq!((recovery.needed, recovery.aborted.len()), (false, 0));
    assert_eq!(read(&again, tree, &key(5)).await, None);
    again.sweep().await.unwrap();
    assert_eq!(read(&again, tree, "other").await.as_deref(), Some("y"));
    drop(large);
}

async fn count(transaction: &Transaction, tree: TreeId) -> usize {
    rows(transaction, tree, Direction::Forward).await.len()
}

/// A standby whose backup was taken while `large` was open, or before it began.
async fn standby_beside(
    large: &mut Transaction,
    disk: &VirtualDisk,
    db: &Database,
    tree: TreeId,
    first: bool,
) -> Standby {
    if !first {
        fill(large, tree, 0..60, "x").await;
        assert!(large.is_early());
    }
    let copy = backup(disk, db, async {}).await;
    if first {
        fill(large, tree, 0..60, "x").await;
    }
    let standby = follow(&copy);
    standby.feed.settle();
    standby
}

#[tokio::test]
async fn a_standby_sees_a_large_transaction_with_its_commit_record_and_nothing_of_it_before() {
    for backup_first in [true, false] {
        let (disk, db, tree) = open_small().await;
        write(&db, tree, &[("000003", "old")], SyncLevel::Local).await;
        let mut large = statement(&db, ReadCommitted).await;
        let standby = standby_beside(&mut large, &disk, &db, tree, backup_first).await;
        standby.catch_up(&disk, &db);
        assert_eq!(count(&statement(&standby.db, ReadCommitted).await, tree).await, 1);
        // A later xid that commits takes nothing of it along.
        write(&db, tree, &[("other", "y")], SyncLevel::Local).await;
        let savepoint = large.savepoint();
        fill(&mut large, tree, 60..120, "undone").await;
        large.rollback_to(&savepoint).unwrap();
        fill(&mut large, tree, 120..180, "x").await;
        standby.catch_up(&disk, &db);
        let during = statement(&standby.db, RepeatableRead).await;
        assert_eq!(count(&during, tree).await, 2, "backup first: {backup_first}");
        assert_eq!(get(&during, tree, "000003").await.as_deref(), Some("old"));
        // A restart in the middle, from a restartpoint after which the log says little of it.
        db.checkpoint(CheckpointKind::Immediate).await.unwrap();
        write(&db, tree, &[("other", "z")], SyncLevel::Local).await;
        standby.catch_up(&disk, &db);
        standby.db.checkpoint(CheckpointKind::Immediate).await.unwrap();
        let again = follow(&power_cut(&standby.disk));
        again.feed.settle();
        assert!(again.db.is_consistent());
        assert_eq!(count(&statement(&again.db, ReadCommitted).await, tree).await, 2);
        large.commit(SyncLevel::Local).await.unwrap();
        for standby in [&standby, &again] {
            standby.catch_up(&disk, &db);
            let after = statement(&standby.db, ReadCommitted).await;
            assert_eq!(count(&after, tree).await, 121);
            assert_eq!(get(&after, tree, "000003").await.as_deref(), Some("x"));
            assert!(standby.db.0.visibility.excluded().iter().eq(db.0.visibility.excluded().iter()));
        }
        assert_eq!(count(&during, tree).await, 2, "a snapshot stays");
        assert!(standby.db.oldest_snapshot().unwrap() < db.horizon(), "feedback holds what it reads");
        drop(during);
        again.stop();
        standby.stop();
    }
}

#[tokio::test]
async fn a_promotion_aborts_the_large_transactions_that_the_log_leaves_open() {
    let (disk, db, tree) = open_small().await;
    write(&db, tree, &[("000003", "old")], SyncLevel::Local).await;
    let mut large = statement(&db, ReadCommitted).await;
    let standby = standby_beside(&mut large, &disk, &db, tree, true).await;
    write(&db, tree, &[("other", "y")], SyncLevel::Local).await;
    standby.catch_up(&disk, &db);
    standby.feed.set(Feed::Promote);
    let end = standby.thread.join().unwrap().unwrap();
    let how = PromoteOptions { new_timeline: None, reason: "test".into() };
    standby.db.promote(end, how).await.unwrap().end_recovery().await.unwrap();
    let crashed = power_cut(&standby.disk);
    for db in [standby.db.clone(), try_open(&crashed, small()).unwrap().0] {
        assert_eq!(count(&statement(&db, ReadCommitted).await, tree).await, 2);
        write(&db, tree, &[("000004", "new")], SyncLevel::Local).await;
        db.sweep().await.unwrap();
        let now = statement(&db, ReadCommitted).await;
        assert_eq!(count(&now, tree).await, 3);
        assert_eq!(get(&now, tree, "000003").await.as_deref(), Some("old"));
        drop(now);
        assert_eq!(db.horizon(), db.next_xid(), "nothing is left of it");
    }
    drop(large);
}
