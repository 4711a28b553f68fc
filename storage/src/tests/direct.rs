//! Batches of rows that go into pages at once: whom they meet, what they leave to single rows, savepoints,
//! crashes.

use super::large::{key, open_small, small};
use super::*;
use crate::{Direction, RowBatch};
use Isolation::{ReadCommitted, RepeatableRead};
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

macro_rules! waits {
    ($future:expr) => {
        matches!($future.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
    };
}

fn batch(numbers: impl IntoIterator<Item = u64>, value: &str) -> RowBatch {
    let mut batch = RowBatch::default();
    for (tag, number) in (0..).zip(numbers) {
        let append = |text: String| {
            move |out: &mut Vec<u8>| -> Result<(), Error> {
                out.extend_from_slice(text.as_bytes());
                Ok(())
            }
        };
        batch.push(tag, append(key(number)), append(value.to_owned())).unwrap();
    }
    batch
}

fn left(batch: &RowBatch) -> Vec<String> {
    batch.rows().map(|(key, _, _)| String::from_utf8(key.to_vec()).unwrap()).collect()
}

/// Inserts all rows, each of which must be new beyond doubt.
async fn load(
    transaction: &mut Transaction,
    tree: TreeId,
    numbers: impl IntoIterator<Item = u64>,
    value: &str,
) {
    let mut rows = batch(numbers, value);
    transaction.insert_direct(tree, &mut rows).await.unwrap();
    assert_eq!(left(&rows), [""; 0]);
}

async fn numbers(transaction: &Transaction, tree: TreeId) -> Vec<u64> {
    let found = rows(transaction, tree, Direction::Forward).await;
    found.iter().map(|(key, _)| key.parse().unwrap()).collect()
}

#[tokio::test]
async fn batches_in_any_order_are_seen_whole_at_their_commit_and_not_before() {
    let mut random = fastrand::Rng::with_seed(7);
    for is_shuffled in [false, true] {
        let (disk, db, tree) = open_small().await;
        let mut order: Vec<u64> = (0..4000).collect();
        if is_shuffled {
            random.shuffle(&mut order);
        }
        let mut large = statement(&db, ReadCommitted).await;
        for part in order.chunks(300) {
            load(&mut large, tree, part.iter().copied(), &"v".repeat(random.usize(0..60))).await;
        }
        assert_eq!(numbers(&large, tree).await, [0; 0], "a statement does not see what it writes itself");
        large.begin_statement().await.unwrap();
        let all: Vec<u64> = (0..4000).collect();
        assert_eq!(numbers(&large, tree).await, all);
        assert_eq!(numbers(&statement(&db, ReadCommitted).await, tree).await, [0; 0]);
        large.commit(SyncLevel::Local).await.unwrap();
        for db in [db.clone(), try_open(&power_cut(&disk), small()).unwrap().0] {
            assert_eq!(numbers(&statement(&db, RepeatableRead).await, tree).await, all);
            db.store().tree(tree).unwrap().verify().unwrap();
        }
    }
}

#[tokio::test]
async fn a_batch_goes_on_where_single_rows_have_left_no_room_for_a_high_key() {
    let (_disk, db, tree) = open_small().await;
    let mut random = fastrand::Rng::with_seed(11);
    // The shortest key between two of these is nearly as long as they are.
    let long = |number: u64| format!("{}{number:06}", "k".repeat(300));
    let mut next = 0;
    for _ in 0..60 {
        for _ in 0..random.u64(1..30) {
            let value = "v".repeat(random.usize(0..90));
            write(&db, tree, &[(&long(next), &value)], SyncLevel::Off).await;
            next += 1;
        }
        let mut large = statement(&db, ReadCommitted).await;
        let mut rows = RowBatch::default();
        for number in next..next + 40 {
            let append = |text: String| {
                move |out: &mut Vec<u8>| -> Result<(), Error> {
                    out.extend_from_slice(text.as_bytes());
                    Ok(())
                }
            };
            rows.push(number, append(long(number)), append("batch".repeat(9))).unwrap();
        }
        large.insert_direct(tree, &mut rows).await.unwrap();
        assert!(large.is_early() && rows.is_empty());
        next += 40;
        large.commit(SyncLevel::Local).await.unwrap();
    }
    db.store().tree(tree).unwrap().verify().unwrap();
    let all = rows(&statement(&db, RepeatableRead).await, tree, Direction::Forward).await;
    assert_eq!(all.len() as u64, next);
}

#[tokio::test]
async fn a_small_batch_waits_for_its_commit_in_memory() {
    let (_disk, db, tree) = with_tree().await;
    let mut transaction = statement(&db, ReadCommitted).await;
    let mut rows = batch(0..10, "x");
    transaction.insert_direct(tree, &mut rows).await.unwrap();
    assert_eq!(rows.len(), 10);
    assert!(!transaction.is_early());
}

#[tokio::test]
async fn a_key_that_another_has_locked_is_left_with_all_that_follow() {
    let (_disk, db, tree) = open_small().await;
    let mut other = statement(&db, ReadCommitted).await;
    put(&mut other, tree, &key(150), "other").await.unwrap();
    let mut large = statement(&db, ReadCommitted).await;
    let mut rows = batch((0..200).rev(), "large");
    large.insert_direct(tree, &mut rows).await.unwrap();
    let expected: Vec<String> = (150..200).rev().map(key).collect();
    assert_eq!(left(&rows), expected, "in the order in which they came");
    {
        let mut blocked = pin!(lock(&mut large, tree, "000150"));
        assert!(waits!(blocked));
        other.commit(SyncLevel::Local).await.unwrap();
        assert_eq!(text(blocked.await.unwrap().newest).as_deref(), Some("other"));
    }
    large.rollback();
    assert_eq!(numbers(&statement(&db, ReadCommitted).await, tree).await, [150]);
}

#[tokio::test]
async fn keys_that_are_there_and_keys_that_come_twice_are_left() {
    let (_disk, db, tree) = open_small().await;
    write(&db, tree, &[("000120", "old")], SyncLevel::Local).await;
    let mut large = statement(&db, ReadCommitted).await;
    let mut rows = batch(0..200, "large");
    large.insert_direct(tree, &mut rows).await.unwrap();
    assert_eq!(left(&rows).first().map(String::as_str), Some("000120"));
    let mut twice = batch((300..400).chain(350..360), "large");
    large.insert_direct(tree, &mut twice).await.unwrap();
    let all = left(&twice);
    assert_eq!((all.len(), all.last().map(String::as_str)), (59, Some("000359")));
    assert!(all.iter().filter(|found| *found == "000350").count() == 1, "the later one of the two");
    let mut own = batch(310..312, "again");
    large.insert_direct(tree, &mut own).await.unwrap();
    assert_eq!(own.len(), 2, "of the transaction itself");
    let mut single = batch([120], "new");
    large.begin_statement().await.unwrap();
    large.insert_direct(tree, &mut single).await.unwrap();
    assert_eq!(single.len(), 1);
    assert_eq!(get(&large, tree, "000120").await.as_deref(), Some("old"));
}

#[tokio::test]
async fn rows_that_stand_in_the_write_set_keep_batches_of_their_tree_back_until_they_are_in_pages() {
    let (_disk, db, tree) = open_small().await;
    let mut large = statement(&db, ReadCommitted).await;
    load(&mut large, tree, 0..100, &"x".repeat(20)).await;
    put(&mut large, tree, &key(150), "single").await.unwrap();
    let mut rows = batch(100..200, "batch");
    large.insert_direct(tree, &mut rows).await.unwrap();
    assert_eq!(rows.len(), 100, "among them may be one that the write set has");
}

#[tokio::test]
async fn who_wants_a_key_of_a_batch_waits_for_its_transaction() {
    for commits in [true, false] {
        let (_disk, db, tree) = open_small().await;
        let mut large = statement(&db, ReadCommitted).await;
        load(&mut large, tree, 0..200, "large").await;
        let mut other = statement(&db, ReadCommitted).await;
        let skipped = other.lock(tree, b"000007", LockMode::Exclusive, LockWait::Skip).await.unwrap();
        assert!(skipped.skipped);
        let mut blocked = pin!(other.lock_newest(tree, b"000007", LockMode::Exclusive, LockWait::Forever));
        assert!(waits!(blocked));
        if commits {
            large.commit(SyncLevel::Local).await.unwrap();
        } else {
            large.rollback();
        }
        let found = text(blocked.await.unwrap().newest);
        assert_eq!(found.as_deref(), commits.then_some("large"));
    }
}

#[tokio::test]
async fn a_savepoint_undoes_the_batches_since_and_their_keys_are_free_again() {
    let (disk, db, tree) = open_small().await;
    let mut large = statement(&db, ReadCommitted).await;
    load(&mut large, tree, 0..200, "kept").await;
    let savepoint = large.savepoint();
    load(&mut large, tree, 200..400, "undone").await;
    large.rollback_to(&savepoint).unwrap();
    let mut other = statement(&db, ReadCommitted).await;
    put(&mut other, tree, &key(250), "other").await.unwrap();
    other.commit(SyncLevel::Local).await.unwrap();
    let inner = large.savepoint();
    load(&mut large, tree, 400..500, "kept").await;
    large.release(&inner);
    large.commit(SyncLevel::Local).await.unwrap();
    let expected: Vec<u64> = (0..200).chain([250]).chain(400..500).collect();
    for db in [db.clone(), try_open(&power_cut(&disk), small()).unwrap().0] {
        assert_eq!(numbers(&statement(&db, ReadCommitted).await, tree).await, expected);
        db.sweep().await.unwrap();
        assert_eq!(numbers(&statement(&db, ReadCommitted).await, tree).await, expected);
    }
}

#[tokio::test]
async fn a_power_cut_in_a_load_leaves_no_row_of_it() {
    let (disk, db, tree) = open_small().await;
    write(&db, tree, &[("000500", "old")], SyncLevel::Local).await;
    let mut large = statement(&db, ReadCommitted).await;
    let mut cuts = BTreeSet::new();
    let is_other = |number: &u64| *number != 500;
    for part in 0..10 {
        load(&mut large, tree, (part * 200..part * 200 + 200).filter(is_other), &"x".repeat(20)).await;
        db.wal_writer_tick().unwrap();
        let image = power_cut(&disk);
        if cuts.insert(image.image_hash()) {
            let (db, _) = try_open(&image, small()).unwrap();
            assert_eq!(numbers(&statement(&db, ReadCommitted).await, tree).await, [500], "part {part}");
        }
    }
    large.commit(SyncLevel::Local).await.unwrap();
    assert_eq!(numbers(&statement(&db, ReadCommitted).await, tree).await.len(), 2000);
}
