//! Large transactions and power cuts, standbys and promotions.

use super::large::{fill, key, open_small, small};
use super::standby::{Standby, backup, follow, ship};
use super::*;
use crate::{CheckpointKind, Direction, Feed, PromoteOptions, RedoEnd};
use Isolation::{ReadCommitted, RepeatableRead};
use host::sync::Mutex;
use wal::{Lsn, SegmentSize, TimelineId};

/// What is known at a moment: the newest value whose commit was acknowledged, and the newest whose commit was
/// begun.
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
        assert!(standby.db.feedback_xmin(false) < db.horizon(), "feedback holds what it reads");
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
    standby.feed.set(Feed::Promote { timeline: TimelineId::FIRST });
    let end = standby.thread.join().unwrap().unwrap();
    let how = PromoteOptions { new_timeline: TimelineId::new(2), reason: "test".into() };
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

/// A copy of `backup` with the primary's log up to `cut`.
fn with_log_up_to(backup: &VirtualDisk, primary: &VirtualDisk, cut: Lsn) -> VirtualDisk {
    use host::Disk;
    let image = backup.fork();
    ship(primary, &image);
    let size = SegmentSize::new(1 << 20).unwrap();
    let name = size.segment_of(cut).file_name(TimelineId::FIRST, size);
    let path = Path::new(DIR).join("pg_wal").join(name);
    let file = image.open(&path, host::OpenMode::ReadWrite).unwrap();
    let offset = size.offset_of(cut);
    file.write_all_at(&vec![0; (size.bytes() - offset) as usize], offset).unwrap();
    file.sync().unwrap();
    image
}

#[tokio::test]
async fn a_promotion_between_the_records_of_an_abort_shows_nothing_of_what_was_aborted() {
    let (disk, db, tree) = open_small().await;
    let mut large = statement(&db, ReadCommitted).await;
    fill(&mut large, tree, 0..60, "x").await;
    let copy = backup(&disk, &db, async {}).await;
    let from = db.wal_writer_tick().unwrap();
    drop(large);
    let to = db.wal_writer_tick().unwrap();
    assert!(from < to, "the abort is logged");
    let mut ends = std::collections::BTreeSet::new();
    let mut cut = from;
    while cut <= to {
        let image = with_log_up_to(&copy, &disk, cut);
        let standby = follow(&image);
        standby.feed.give(cut);
        let (promoted, end) = standby.end_for_promotion();
        let RedoEnd::Promote { at, .. } = end else { panic!("{end:?}") };
        ends.insert(at);
        let how = PromoteOptions { new_timeline: TimelineId::new(2), reason: "test".into() };
        promoted.promote(end, how).await.unwrap().end_recovery().await.unwrap();
        assert_eq!(count(&statement(&promoted, ReadCommitted).await, tree).await, 0, "cut at {cut}");
        let again = try_open(&power_cut(&image), small()).unwrap().0;
        assert_eq!(count(&statement(&again, ReadCommitted).await, tree).await, 0, "cut at {cut}");
        // No record is shorter.
        cut = cut + 24;
    }
    // Between the abort and what the state page says of it.
    assert!(ends.iter().any(|end| from < *end && *end < to), "{from} {ends:?} {to}");
}

#[tokio::test]
async fn a_crash_between_the_records_of_an_abort_brings_no_half_of_a_transaction_back() {
    let (disk, db, tree) = open_small().await;
    // All versions of a small transaction are in the log, and its commit record is not.
    let halved: Arc<Mutex<Option<VirtualDisk>>> = Arc::default();
    let (engine, seen, image) = (Arc::clone(&db.0), disk.clone(), Arc::clone(&halved));
    *db.0.pipeline().unwrap().before_record.lock() = Some(Box::new(move || {
        engine.wal().unwrap().flush_all().unwrap();
        *image.lock() = Some(seen.fork());
    }));
    write(&db, tree, &[("half", "1"), ("other half", "1")], SyncLevel::Local).await;
    let halved = halved.lock().take().unwrap();
    let redone = halved.fork();
    let (db, recovery) = try_open(&redone, small()).unwrap();
    assert_eq!(recovery.aborted.len(), 1);
    let to = db.wal_writer_tick().unwrap();
    let (mut cut, mut between) = (recovery.to, 0);
    while cut <= to {
        let image = with_log_up_to(&halved, &redone, cut);
        let (db, recovery) = try_open(&image, small()).unwrap();
        between += usize::from(recovery.aborted.is_empty() && recovery.to < to);
        assert_eq!(count(&statement(&db, ReadCommitted).await, tree).await, 0, "cut at {cut}");
        // From now on the state page alone tells of it.
        db.shutdown().await.unwrap();
        drop(db);
        let (again, _) = try_open(&image, small()).unwrap();
        assert_eq!(count(&statement(&again, ReadCommitted).await, tree).await, 0, "cut at {cut}, stopped");
        // No record is shorter.
        cut = cut + 24;
    }
    assert!(between > 0, "no cut is between the abort and what the state page says of it");
}

/// Distances that no half of an xid tells: the large transaction's first one is further away than 2^31 after
/// three steps, and its low half comes again after five.
const STEPS: [u64; 6] = [1 << 30, 1 << 30, (1 << 30) - 5, 1 << 30, 1 << 30, (1 << 31) - 64];

#[tokio::test]
async fn a_large_transaction_outlives_any_number_of_xids_here_on_a_standby_and_after_a_crash() {
    for commits in [true, false] {
        let (disk, db, tree) = open_small().await;
        write(&db, tree, &[("000003", "old")], SyncLevel::Local).await;
        let mut large = statement(&db, ReadCommitted).await;
        let standby = standby_beside(&mut large, &disk, &db, tree, true).await;
        for (step, xids) in STEPS.into_iter().enumerate() {
            let first = 60 + 20 * step as u64;
            fill(&mut large, tree, first..first + 20, "x").await;
            db.0.pipeline().unwrap().skip_xids(xids);
            write(&db, tree, &[("other", "y")], SyncLevel::Local).await;
            let savepoint = large.savepoint();
            fill(&mut large, tree, 500..560, "undone").await;
            large.rollback_to(&savepoint).unwrap();
            db.checkpoint(CheckpointKind::Immediate).await.unwrap();
            standby.catch_up(&disk, &db);
            assert_eq!(standby.db.next_xid(), db.next_xid(), "step {step}");
            assert_eq!(count(&statement(&standby.db, ReadCommitted).await, tree).await, 2, "step {step}");
        }
        fill(&mut large, tree, 200..220, "x").await;
        let rows = if commits {
            large.commit(SyncLevel::Local).await.unwrap();
            201
        } else {
            large.rollback();
            2
        };
        standby.catch_up(&disk, &db);
        assert_eq!(standby.db.next_xid(), db.next_xid());
        assert!(standby.db.0.visibility.excluded().iter().eq(db.0.visibility.excluded().iter()));
        let crashed = power_cut(&disk);
        let recovered = try_open(&crashed, small()).unwrap().0;
        let (after, end) = standby.end_for_promotion();
        let how = PromoteOptions { new_timeline: TimelineId::new(2), reason: "test".into() };
        after.promote(end, how).await.unwrap().end_recovery().await.unwrap();
        for (place, db) in [("here", &db), ("after a crash", &recovered), ("promoted", &after)] {
            assert_eq!(
                count(&statement(db, ReadCommitted).await, tree).await,
                rows,
                "{place}, commits: {commits}"
            );
            db.sweep().await.unwrap();
            assert_eq!(count(&statement(db, ReadCommitted).await, tree).await, rows, "{place}, swept");
            write(db, tree, &[("other", "z")], SyncLevel::Local).await;
            assert_eq!(db.horizon(), db.next_xid(), "{place}: nothing is left of it");
        }
    }
}

#[tokio::test]
async fn a_snapshot_taken_in_the_middle_of_a_promotion_sees_nothing_of_what_is_then_aborted() {
    let (disk, db, tree) = open_small().await;
    write(&db, tree, &[("before", "1")], SyncLevel::Local).await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    standby.catch_up(&disk, &db);
    // The log that comes over ends where all versions of a transaction are in it and its commit record is
    // not.
    let (tell, told) = std::sync::mpsc::channel();
    let (engine, from, to) = (Arc::clone(&db.0), disk.clone(), standby.disk.clone());
    *db.0.pipeline().unwrap().before_record.lock() = Some(Box::new(move || {
        engine.wal().unwrap().flush_all().unwrap();
        ship(&from, &to);
        tell.send(engine.wal().unwrap().positions().flushed()).unwrap();
    }));
    write(&db, tree, &[("half", "1"), ("other half", "1")], SyncLevel::Local).await;
    standby.feed.give(told.recv().unwrap());
    let (promoted, end) = standby.end_for_promotion();
    let (tell, told) = std::sync::mpsc::channel();
    let engine = Arc::clone(&promoted.0);
    *promoted.0.mid_promotion.lock() = Some(Box::new(move || {
        let snapshot = engine.visibility.take(Lsn::MAX, |_, _| true);
        let unfinished: Vec<_> =
            engine.parked.lock().iter().flat_map(|parked| parked.state.leftovers.clone()).collect();
        let seen: Vec<bool> = unfinished.iter().map(|xid| snapshot.sees(*xid)).collect();
        let raised = engine.control.lock().min_recovery_point;
        tell.send((seen, raised)).unwrap();
    }));
    let how = PromoteOptions { new_timeline: TimelineId::new(2), reason: "test".into() };
    let RedoEnd::Promote { at, .. } = end else { panic!("{end:?}") };
    promoted.promote(end, how).await.unwrap().end_recovery().await.unwrap();
    let (seen, raised) = told.recv().unwrap();
    assert_eq!(seen, [false], "one transaction has no outcome");
    assert!(raised >= at, "pages of up to {at} may go to disk, the control file says {raised}");
    assert_eq!(count(&statement(&promoted, ReadCommitted).await, tree).await, 1);
}
