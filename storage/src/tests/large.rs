//! Transactions larger than their write set: what they and others see, savepoints, locks.

use super::*;
use crate::{Direction, Savepoint};
use Isolation::{ReadCommitted, RepeatableRead};
use sqlstate::SqlState;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// A write set of a few rows.
pub(super) fn small() -> DatabaseOptions {
    DatabaseOptions { write_set_limit_bytes: 2000, ..options() }
}

pub(super) async fn open_small() -> (VirtualDisk, Database, TreeId) {
    let (disk, db, tree) = with_tree().await;
    drop(db);
    let (db, _) = try_open(&disk, small()).unwrap();
    (disk, db, tree)
}

pub(super) fn key(number: u64) -> String {
    format!("{number:06}")
}

/// Writes `count` rows from `first` on in one statement.
pub(super) async fn fill(
    transaction: &mut Transaction,
    tree: TreeId,
    numbers: std::ops::Range<u64>,
    value: &str,
) {
    for number in numbers {
        put(transaction, tree, &key(number), value).await.unwrap();
    }
}

async fn count(transaction: &Transaction, tree: TreeId) -> usize {
    rows(transaction, tree, Direction::Forward).await.len()
}

fn early_xids(db: &Database) -> usize {
    let (open, aborted) = db.0.visibility.unsettled();
    open.iter().chain(aborted.iter()).count()
}

#[tokio::test]
async fn a_large_transaction_is_seen_by_itself_alone_until_it_commits_and_whole_afterwards() {
    let (_disk, db, tree) = open_small().await;
    write(&db, tree, &[("000003", "old")], SyncLevel::Local).await;
    let before = statement(&db, RepeatableRead).await;
    let mut large = statement(&db, ReadCommitted).await;
    fill(&mut large, tree, 0..200, "new").await;
    assert!(large.is_early());
    assert_eq!(count(&large, tree).await, 1, "a statement does not see what it writes itself");
    large.begin_statement().await.unwrap();
    assert_eq!(count(&large, tree).await, 200);
    assert_eq!(get(&large, tree, "000003").await.as_deref(), Some("new"));
    let backwards = rows(&large, tree, Direction::Backward).await;
    assert_eq!((backwards.len(), backwards[0].0.as_str()), (200, "000199"));
    write(&db, tree, &[("x", "other")], SyncLevel::Local).await;
    let during = statement(&db, RepeatableRead).await;
    for reader in [&before, &during] {
        assert_eq!(get(reader, tree, "000003").await.as_deref(), Some("old"));
        assert_eq!(get(reader, tree, "000004").await, None);
    }
    let committed = large.commit(SyncLevel::Local).await.unwrap();
    assert!(committed.xid.is_some());
    let after = statement(&db, RepeatableRead).await;
    assert_eq!(count(&after, tree).await, 201);
    assert_eq!((count(&before, tree).await, count(&during, tree).await), (1, 2), "snapshots stay");
    assert_eq!(early_xids(&db), 0);
    drop((before, during, after));
    assert_eq!(db.horizon(), db.next_xid());
    db.store().tree(tree).unwrap().verify().unwrap();
}

#[tokio::test]
async fn a_large_transaction_that_rolls_back_leaves_nothing_and_a_sweep_forgets_it() {
    let (disk, db, tree) = open_small().await;
    write(&db, tree, &[("000003", "old")], SyncLevel::Local).await;
    let mut large = statement(&db, ReadCommitted).await;
    fill(&mut large, tree, 0..200, "new").await;
    large.rollback();
    for db in [db.clone(), try_open(&power_cut(&disk), small()).unwrap().0] {
        assert_eq!(read(&db, tree, "000003").await.as_deref(), Some("old"));
        assert_eq!(count(&statement(&db, ReadCommitted).await, tree).await, 1);
    }
    let (_, aborted) = db.0.visibility.unsettled();
    assert!(db.horizon() <= aborted.iter().next().unwrap(), "aborted versions must not pass for new ones");
    db.sweep().await.unwrap();
    assert_eq!(early_xids(&db), 0);
    let versions = db.store().run_blocking(|| db.store().tree(tree).unwrap().versions(b"000004")).unwrap();
    assert_eq!(versions, []);
    assert_eq!(read(&db, tree, "000003").await.as_deref(), Some("old"));
    write(&db, tree, &[("x", "y")], SyncLevel::Local).await;
    assert_eq!(db.horizon(), db.next_xid());
}

#[tokio::test]
async fn who_meets_an_open_stamp_waits_for_its_transaction_and_builds_on_what_it_left() {
    for (isolation, commits) in
        [(ReadCommitted, true), (ReadCommitted, false), (RepeatableRead, true), (RepeatableRead, false)]
    {
        let (_disk, db, tree) = open_small().await;
        write(&db, tree, &[("000007", "old")], SyncLevel::Local).await;
        let mut large = statement(&db, ReadCommitted).await;
        let mut other = statement(&db, isolation).await;
        fill(&mut large, tree, 0..100, "new").await;
        {
            let mut nowait = pin!(other.lock(tree, b"000007", LockMode::Exclusive, LockWait::NoWait));
            assert!(!waits!(nowait));
        }
        let skipped = other.lock(tree, b"000007", LockMode::Exclusive, LockWait::Skip).await.unwrap();
        assert!(skipped.skipped);
        let mut blocked = pin!(lock(&mut other, tree, "000007"));
        assert!(waits!(blocked));
        // The one that is waited for may come back to its row.
        large.begin_statement().await.unwrap();
        let own = lock(&mut large, tree, "000007").await.unwrap();
        assert_eq!(text(own.newest).as_deref(), Some("new"));
        assert!(!own.changed_since_snapshot && !own.written_since_read);
        assert!(waits!(blocked));
        if commits {
            large.commit(SyncLevel::Local).await.unwrap();
        } else {
            large.rollback();
        }
        match (blocked.await, isolation, commits) {
            (Ok(locked), ReadCommitted, true) => {
                assert!(locked.changed_since_snapshot);
                assert_eq!(text(locked.newest).as_deref(), Some("new"));
            }
            (Ok(locked), _, false) => {
                assert!(!locked.changed_since_snapshot);
                assert_eq!(text(locked.newest).as_deref(), Some("old"));
            }
            (Err(error), RepeatableRead, true) => assert_eq!(error.sqlstate().as_str(), "40001"),
            other => panic!("{isolation:?}, commits: {commits}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn who_meets_a_large_transaction_before_its_commit_is_published_waits_for_that() {
    let (_disk, db, tree) = open_small().await;
    let mut large = statement(&db, ReadCommitted).await;
    let mut other = statement(&db, ReadCommitted).await;
    fill(&mut large, tree, 0..100, "new").await;
    let (met, looked) = std::sync::mpsc::channel();
    *db.0.pipeline().unwrap().before_publish.lock() = Some(Box::new(move || {
        let mut skipping = pin!(other.lock(tree, b"000007", LockMode::Exclusive, LockWait::Skip));
        let Poll::Ready(locked) = skipping.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("it waits");
        };
        met.send(locked.unwrap().skipped).unwrap();
    }));
    large.commit(SyncLevel::Local).await.unwrap();
    assert!(looked.recv().unwrap(), "its stamp is a lock as long as nobody knows where its commit ends");
}

#[tokio::test]
async fn a_deadlock_of_two_large_transactions_over_rows_in_pages_has_one_victim() {
    let (_disk, db, tree) = open_small().await;
    let run = |db: Database, own: u64, other: u64| async move {
        let mut transaction = statement(&db, ReadCommitted).await;
        fill(&mut transaction, tree, own..own + 100, "x").await;
        tokio::task::yield_now().await;
        put(&mut transaction, tree, &key(other), "x").await?;
        transaction.commit(SyncLevel::Off).await
    };
    let (first, second) =
        tokio::join!(tokio::spawn(run(db.clone(), 0, 500)), tokio::spawn(run(db.clone(), 500, 0)));
    let states: Vec<_> = [first.unwrap(), second.unwrap()]
        .iter()
        .filter_map(|outcome| outcome.as_ref().err().map(Error::sqlstate))
        .collect();
    assert_eq!(states, [SqlState::DEADLOCK_DETECTED]);
    assert_eq!(count(&statement(&db, ReadCommitted).await, tree).await, 101);
    db.sweep().await.unwrap();
    assert_eq!(early_xids(&db), 0);
}

#[tokio::test]
async fn a_row_locked_outside_of_a_savepoint_stays_locked_when_the_write_inside_is_undone() {
    let (_disk, db, tree) = open_small().await;
    write(&db, tree, &[("000007", "old")], SyncLevel::Local).await;
    let mut large = statement(&db, ReadCommitted).await;
    lock(&mut large, tree, "000007").await.unwrap();
    let savepoint = large.savepoint();
    fill(&mut large, tree, 0..100, "new").await;
    large.rollback_to(&savepoint).unwrap();
    let mut other = statement(&db, ReadCommitted).await;
    let busy = other.lock(tree, b"000007", LockMode::Exclusive, LockWait::NoWait).await;
    assert!(busy.is_err(), "{busy:?}");
    let free = other.lock(tree, b"000008", LockMode::Exclusive, LockWait::NoWait).await.unwrap();
    assert_eq!(free.newest, None);
}

#[tokio::test]
async fn what_a_savepoint_undid_in_a_table_of_the_same_transaction_stays_undone_after_its_commit() {
    let (disk, db, kept) = open_small().await;
    let mut large = statement(&db, ReadCommitted).await;
    let tree = large.create_tree(5).await.unwrap();
    fill(&mut large, tree, 0..50, "x").await;
    fill(&mut large, kept, 0..3, "x").await;
    let savepoint = large.savepoint();
    large.drop_tree(kept).unwrap();
    fill(&mut large, tree, 50..100, "undone").await;
    fill(&mut large, tree, 0..50, "undone").await;
    large.rollback_to(&savepoint).unwrap();
    large.begin_statement().await.unwrap();
    assert_eq!(count(&large, tree).await, 50);
    large.commit(SyncLevel::Local).await.unwrap();
    for db in [db.clone(), try_open(&power_cut(&disk), small()).unwrap().0] {
        for _ in 0..2 {
            let after = statement(&db, ReadCommitted).await;
            let found = rows(&after, tree, Direction::Forward).await;
            assert!(found.len() == 50 && found.iter().all(|(_, value)| value == "x"), "{found:?}");
            assert_eq!(count(&after, kept).await, 3);
            drop(after);
            db.sweep().await.unwrap();
            assert_eq!(early_xids(&db), 0);
        }
    }
}

/// A savepoint, so many rows that they go into pages, and its release.
async fn released(transaction: &mut Transaction, tree: TreeId, number: u64) {
    let savepoint = transaction.savepoint();
    fill(transaction, tree, number * 12..number * 12 + 12, "x").await;
    transaction.release(&savepoint);
}

#[tokio::test]
async fn a_transaction_may_release_many_savepoints_with_large_changes() {
    let (disk, db, tree) = open_small().await;
    let rounds = 400;
    let mut large = statement(&db, ReadCommitted).await;
    for number in 0..rounds {
        released(&mut large, tree, number).await;
    }
    // Another one finds its place beside it.
    let mut other = statement(&db, ReadCommitted).await;
    fill(&mut other, tree, 900_000..900_100, "other").await;
    assert!(other.is_early());
    other.commit(SyncLevel::Local).await.unwrap();
    large.begin_statement().await.unwrap();
    let all = usize::try_from(rounds).unwrap() * 12 + 100;
    assert_eq!(count(&large, tree).await, all);
    let before = power_cut(&disk);
    large.commit(SyncLevel::Local).await.unwrap();
    assert_eq!(early_xids(&db), 0);
    for (disk, expected) in [(power_cut(&disk), all), (before, 100)] {
        let (db, _) = try_open(&disk, small()).unwrap();
        assert_eq!(count(&statement(&db, ReadCommitted).await, tree).await, expected);
        db.sweep().await.unwrap();
        assert_eq!(early_xids(&db), 0);
        assert_eq!(db.store().tree(tree).unwrap().verify().unwrap().lost_pages, []);
    }
    assert_eq!(count(&statement(&db, ReadCommitted).await, tree).await, all);
}

#[tokio::test]
async fn a_rollback_to_an_outer_savepoint_undoes_what_the_released_ones_inside_wrote() {
    let (_disk, db, tree) = open_small().await;
    let mut large = statement(&db, ReadCommitted).await;
    for number in 0..5 {
        released(&mut large, tree, number).await;
    }
    let outer = large.savepoint();
    for number in 5..60 {
        released(&mut large, tree, number).await;
    }
    large.rollback_to(&outer).unwrap();
    large.begin_statement().await.unwrap();
    assert_eq!(count(&large, tree).await, 60);
    for number in 60..70 {
        released(&mut large, tree, number).await;
    }
    large.release(&outer);
    large.commit(SyncLevel::Local).await.unwrap();
    for _ in 0..2 {
        assert_eq!(count(&statement(&db, ReadCommitted).await, tree).await, 180);
        db.sweep().await.unwrap();
        assert_eq!(early_xids(&db), 0);
    }
}

/// As many large transactions as there are places, each with a row of its own.
async fn all_places(db: &Database, tree: TreeId) -> Vec<Transaction> {
    let mut holders = Vec::new();
    for number in 0..u64::from(crate::commit::early_list::PLACES) {
        let mut holder = statement(db, ReadCommitted).await;
        fill(&mut holder, tree, number * 1000..number * 1000 + 40, "x").await;
        assert!(holder.is_early());
        holders.push(holder);
    }
    holders
}

#[tokio::test]
async fn who_finds_no_place_waits_says_so_and_takes_whichever_becomes_free() {
    let (_disk, db, tree) = open_small().await;
    for leaves in 0..crate::commit::early_list::PLACES as usize {
        let mut holders = all_places(&db, tree).await;
        let mut next = statement(&db, ReadCommitted).await;
        let interrupt = next.interrupt().clone();
        {
            let mut waiting = pin!(fill(&mut next, tree, 500_000..500_040, "x"));
            assert!(waits!(waiting));
            assert_eq!(interrupt.waits_for(), Some(crate::WaitEvent::LargeTransaction));
            holders.swap_remove(leaves).rollback();
            waiting.await;
        }
        assert!(next.is_early() && interrupt.waits_for().is_none());
    }
    let holders = all_places(&db, tree).await;
    let mut next = statement(&db, ReadCommitted).await;
    let interrupt = next.interrupt().clone();
    let mut waiting = pin!(async {
        for number in 0..100 {
            put(&mut next, tree, &key(500_000 + number), "x").await?;
        }
        Ok::<_, Error>(())
    });
    assert!(waits!(waiting));
    interrupt.cancel();
    assert!(matches!(waiting.await, Err(Error::Cancelled)));
    drop(holders);
}

#[tokio::test]
async fn a_wait_for_a_place_is_a_deadlock_only_if_no_holder_can_go_on() {
    let (_disk, db, tree) = open_small().await;
    let mut holders = all_places(&db, tree).await;
    let last = holders.pop().unwrap();
    let mut next = statement(&db, ReadCommitted).await;
    put(&mut next, tree, "wanted", "x").await.unwrap();
    let wants = |mut holder: Transaction| {
        tokio::spawn(async move { lock(&mut holder, tree, "wanted").await.map_err(|error| error.sqlstate()) })
    };
    let mut ends: Vec<_> = holders.into_iter().map(wants).collect();
    // Long enough for all to look for deadlocks: one holder could still go on.
    let waiting = fill(&mut next, tree, 500_000..500_040, "x");
    let waited = tokio::time::timeout(5 * options().deadlock_timeout, waiting).await;
    assert!(waited.is_err() && ends.iter().all(|end| !end.is_finished()));
    {
        let mut victim = pin!(async {
            for number in 0..100 {
                put(&mut next, tree, &key(600_000 + number), "x").await?;
            }
            Ok::<_, Error>(())
        });
        assert!(waits!(victim));
        // Whoever waits for a place finds out that the last holder waits for it, too.
        ends.push(wants(last));
        assert_eq!(victim.await.map_err(|error| error.sqlstate()), Err(SqlState::DEADLOCK_DETECTED));
    }
    drop(next);
    for end in ends {
        assert!(end.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_large_load_into_a_new_table_leaves_nothing_to_sweep_when_it_is_rolled_back() {
    let (_disk, db, _) = open_small().await;
    let mut large = statement(&db, ReadCommitted).await;
    let tree = large.create_tree(5).await.unwrap();
    fill(&mut large, tree, 0..200, "x").await;
    assert!(large.is_early());
    large.rollback();
    assert_eq!(early_xids(&db), 0);
    db.wal_writer_tick().unwrap();
    assert!(db.store().tree(tree).is_err(), "its file is gone");
}

#[tokio::test]
async fn a_cursor_reads_what_it_saw_when_it_was_opened_although_the_rows_went_into_pages_since() {
    let (_disk, db, tree) = open_small().await;
    let mut large = statement(&db, ReadCommitted).await;
    fill(&mut large, tree, 0..5, "first").await;
    large.begin_statement().await.unwrap();
    let mut cursor = large.scan(tree, crate::KeyRange::all(), Direction::Forward);
    large.begin_statement().await.unwrap();
    fill(&mut large, tree, 0..100, "second").await;
    assert!(large.is_early());
    let mut found = Vec::new();
    while cursor.next_batch(&large, 2, &mut found).await.unwrap() {}
    let found: Vec<_> = found.into_iter().map(|(_, value)| text(Some(value)).unwrap()).collect();
    assert_eq!(found, ["first"; 5]);
}

#[tokio::test]
async fn large_transactions_wait_for_a_place_and_a_cancelled_wait_ends() {
    let (_disk, db, tree) = open_small().await;
    let mut open = Vec::new();
    for number in 0..u64::from(crate::commit::early_list::PLACES) {
        let mut large = statement(&db, ReadCommitted).await;
        fill(&mut large, tree, number * 100..number * 100 + 50, "x").await;
        assert!(large.is_early());
        open.push(large);
    }
    let interrupt = crate::Interrupt::new();
    let mut cancelled = db.begin_after(ReadCommitted, wal::Lsn::INVALID, interrupt.clone());
    cancelled.begin_statement().await.unwrap();
    lock(&mut cancelled, tree, "y").await.unwrap();
    cancelled.put(tree, "y", "x".repeat(4000)).unwrap();
    {
        let mut waiting = pin!(lock(&mut cancelled, tree, "z"));
        assert!(waits!(waiting));
        interrupt.cancel();
        assert_eq!(waiting.await.unwrap_err().sqlstate().as_str(), "57014");
    }
    drop(cancelled);
    let mut patient = statement(&db, ReadCommitted).await;
    lock(&mut patient, tree, "y").await.unwrap();
    patient.put(tree, "y", "x".repeat(4000)).unwrap();
    {
        let mut waiting = pin!(lock(&mut patient, tree, "z"));
        assert!(waits!(waiting));
        open.drain(..).for_each(Transaction::rollback);
        waiting.await.unwrap();
    }
    patient.commit(SyncLevel::Local).await.unwrap();
    assert_eq!(count(&statement(&db, ReadCommitted).await, tree).await, 1);
}

#[tokio::test]
async fn more_large_rollbacks_than_the_list_holds_are_swept_on_the_way() {
    let (_disk, db, tree) = open_small().await;
    for _ in 0..crate::commit::early_list::ABORTED_MAX + 5 {
        let mut large = statement(&db, ReadCommitted).await;
        fill(&mut large, tree, 0..20, "x").await;
        assert!(large.is_early());
        large.rollback();
    }
    assert!(early_xids(&db) <= crate::commit::early_list::ABORTED_MAX);
    assert_eq!(count(&statement(&db, ReadCommitted).await, tree).await, 0);
}

/// What a transaction of the model has open.
struct Model {
    rows: BTreeMap<String, String>,
    savepoints: Vec<(Savepoint, BTreeMap<String, String>)>,
}

#[tokio::test]
async fn a_large_transaction_reads_its_own_writes_as_a_map_with_savepoints_does() {
    for seed in 1..=12 {
        let (_disk, db, tree) = open_small().await;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut committed = BTreeMap::new();
        for round in 0..6 {
            let mut transaction = statement(&db, ReadCommitted).await;
            let mut model = Model { rows: committed.clone(), savepoints: Vec::new() };
            for step in 0..120 {
                one_step(&mut transaction, &mut model, tree, &mut random).await;
                transaction.begin_statement().await.unwrap();
                if step % 10 == 0 {
                    let place = format!("seed {seed}, round {round}, step {step}");
                    let expected: Vec<_> = model.rows.clone().into_iter().collect();
                    assert_eq!(rows(&transaction, tree, Direction::Forward).await, expected, "{place}");
                    let others = rows(&statement(&db, ReadCommitted).await, tree, Direction::Forward).await;
                    assert_eq!(others, committed.clone().into_iter().collect::<Vec<_>>(), "{place}");
                }
            }
            if random.u8(..3) > 0 {
                transaction.commit(SyncLevel::Off).await.unwrap();
                committed = model.rows;
            } else {
                transaction.rollback();
            }
            if random.bool() {
                db.sweep().await.unwrap();
            }
            let seen = rows(&statement(&db, ReadCommitted).await, tree, Direction::Forward).await;
            assert_eq!(seen, committed.clone().into_iter().collect::<Vec<_>>(), "seed {seed}, round {round}");
        }
        db.store().tree(tree).unwrap().verify().unwrap();
    }
}

async fn one_step(
    transaction: &mut Transaction,
    model: &mut Model,
    tree: TreeId,
    random: &mut fastrand::Rng,
) {
    let name = key(random.u64(..40));
    match random.u8(..20) {
        0..12 => {
            let value = format!("{}{}", random.u32(..), "v".repeat(random.usize(..200)));
            let locked = put(transaction, tree, &name, &value).await.unwrap();
            assert_eq!(text(locked.newest).as_deref(), model.rows.get(&name).map(String::as_str));
            model.rows.insert(name, value);
        }
        12..15 => {
            lock(transaction, tree, &name).await.unwrap();
            transaction.delete(tree, name.clone()).unwrap();
            model.rows.remove(&name);
        }
        15..17 => {
            model.savepoints.push((transaction.savepoint(), model.rows.clone()));
        }
        17 if !model.savepoints.is_empty() => {
            let at = random.usize(..model.savepoints.len());
            model.savepoints.truncate(at + 1);
            let (savepoint, rows) = model.savepoints.last().unwrap();
            transaction.rollback_to(savepoint).unwrap();
            model.rows = rows.clone();
        }
        18 if !model.savepoints.is_empty() => {
            let at = random.usize(..model.savepoints.len());
            transaction.release(&model.savepoints[at].0);
            model.savepoints.truncate(at);
        }
        _ => assert_eq!(get(transaction, tree, &name).await.as_ref(), model.rows.get(&name)),
    }
}

#[tokio::test]
async fn no_number_of_a_row_is_given_again_while_a_large_transaction_deletes_it() {
    for is_over in [false, true] {
        let (disk, db, tree) = open_small().await;
        let mut first = statement(&db, ReadCommitted).await;
        for number in 1..=300_u64 {
            assert_eq!(first.next_row_number(tree).await.unwrap(), number);
            let key = number.to_be_bytes();
            first.lock(tree, &key, LockMode::Exclusive, LockWait::Forever).await.unwrap();
            first.put(tree, key.to_vec(), "row").unwrap();
        }
        first.commit(SyncLevel::Local).await.unwrap();
        db.shutdown().await.unwrap();
        drop(db);
        let (db, _) = try_open(&disk, small()).unwrap();
        let mut large = statement(&db, ReadCommitted).await;
        for number in 1..=300_u64 {
            let key = number.to_be_bytes();
            large.lock(tree, &key, LockMode::Exclusive, LockWait::Forever).await.unwrap();
            large.delete(tree, key.to_vec()).unwrap();
        }
        assert!(large.is_early());
        if is_over {
            large.rollback();
        }
        let other = statement(&db, ReadCommitted).await;
        assert_eq!(other.next_row_number(tree).await.unwrap(), 301);
    }
}
