//! Large transactions with more savepoints than the list of early xids has room for.

use super::large::key;
use super::*;
use crate::commit::early_list::PARTS_MAX;
use crate::{Direction, RowBatch, Savepoint};
use Isolation::ReadCommitted;

/// A database with two trees and a write set of so many bytes.
async fn open_with(limit_bytes: usize) -> (VirtualDisk, Database, [TreeId; 2]) {
    let (disk, db, tree) = with_tree().await;
    let mut transaction = db.begin(ReadCommitted);
    let other = transaction.create_tree(5).await.unwrap();
    transaction.commit(SyncLevel::Local).await.unwrap();
    drop(db);
    let options =
        DatabaseOptions { write_set_limit_bytes: limit_bytes, shared_buffers_bytes: 16 << 20, ..options() };
    let (db, _) = try_open(&disk, options).unwrap();
    (disk, db, [tree, other])
}

/// One row behind each of so many savepoints, which stand.
async fn one_behind_each(
    transaction: &mut Transaction,
    tree: TreeId,
    numbers: std::ops::Range<u64>,
) -> Result<Vec<Savepoint>, Error> {
    let mut savepoints = Vec::new();
    for number in numbers {
        savepoints.push(transaction.savepoint());
        put(transaction, tree, &key(number), "x").await?;
    }
    Ok(savepoints)
}

/// More than a megabyte.
fn batch(first: u64) -> RowBatch {
    let mut batch = RowBatch::default();
    for number in first..first + 6000 {
        let append = |text: String| {
            move |out: &mut Vec<u8>| -> Result<(), Error> {
                out.extend_from_slice(text.as_bytes());
                Ok(())
            }
        };
        batch.push(number, append(key(number)), append("v".repeat(200))).unwrap();
    }
    batch
}

fn early_xids(db: &Database) -> usize {
    let (open, aborted) = db.0.visibility.unsettled();
    open.iter().chain(aborted.iter()).count()
}

async fn count(db: &Database, tree: TreeId) -> usize {
    rows(&statement(db, ReadCommitted).await, tree, Direction::Forward).await.len()
}

#[tokio::test]
async fn a_batch_drives_no_rows_of_many_savepoints_into_pages() {
    let levels = 8000;
    let (disk, db, [tree, other]) = open_with(64 << 20).await;
    let mut transaction = statement(&db, ReadCommitted).await;
    let savepoints = one_behind_each(&mut transaction, tree, 0..levels).await.unwrap();
    // Into the same tree the batch goes row by row.
    let mut rows = batch(100_000);
    transaction.insert_direct(tree, &mut rows).await.unwrap();
    assert_eq!((rows.len(), early_xids(&db)), (6000, 0));
    for (key, value, _) in rows.rows() {
        transaction.lock_newest(tree, key, LockMode::Exclusive, LockWait::Forever).await.unwrap();
        transaction.put(tree, key.to_vec(), value.to_vec()).unwrap();
    }
    assert!(!transaction.is_early());
    // Into another one it goes by itself, with an xid for the level where it is.
    let mut rows = batch(100_000);
    transaction.insert_direct(other, &mut rows).await.unwrap();
    assert_eq!((rows.len(), early_xids(&db)), (0, 2));
    one_behind_each(&mut transaction, tree, levels..levels + 300).await.unwrap();
    assert_eq!(early_xids(&db), 2, "what is small stays in memory");
    transaction.rollback_to(&savepoints[7000]).unwrap();
    let mut rows = batch(200_000);
    transaction.insert_direct(other, &mut rows).await.unwrap();
    assert_eq!(rows.len(), 0);
    transaction.commit(SyncLevel::Local).await.unwrap();
    for db in [db.clone(), try_open(&power_cut(&disk), options()).unwrap().0] {
        assert_eq!((count(&db, tree).await, count(&db, other).await), (7000, 6000));
    }
}

#[tokio::test]
async fn more_changes_than_the_write_set_holds_under_more_savepoints_than_the_list_holds_are_refused() {
    let (_disk, db, [tree, _]) = open_with(1_300_000).await;
    let mut transaction = statement(&db, ReadCommitted).await;
    let first = transaction.savepoint();
    let levels = PARTS_MAX as u64 + 2000;
    let refused = one_behind_each(&mut transaction, tree, 0..levels).await.unwrap_err();
    assert!(matches!(refused, Error::TooManyParts), "{refused:?}");
    assert_eq!((refused.sqlstate().as_str(), early_xids(&db)), ("54000", 0), "no xid is taken in vain");
    // As it says: released savepoints need none.
    transaction.release(&first);
    for number in 500_000..510_000 {
        put(&mut transaction, tree, &key(number), "x").await.unwrap();
    }
    transaction.commit(SyncLevel::Local).await.unwrap();
    let found = count(&db, tree).await;
    assert!(found > 10_000 + PARTS_MAX, "{found} rows");
    assert_eq!(early_xids(&db), 0);
}

#[tokio::test]
async fn who_finds_the_list_full_keeps_in_memory_what_the_write_set_holds() {
    let (_disk, db, [tree, other]) = open_with(1 << 20).await;
    let mut first = statement(&db, ReadCommitted).await;
    let mut number = 0;
    while early_xids(&db) == 0 {
        // These go into pages when they are a megabyte.
        one_behind_each(&mut first, tree, number..number + 1).await.unwrap();
        number += 1;
    }
    let taken = early_xids(&db);
    assert!((PARTS_MAX - 200..PARTS_MAX).contains(&taken), "{taken} xids are taken");
    db.set_write_set_limit(16 << 20);
    let mut second = statement(&db, ReadCommitted).await;
    let mut rows = batch(100_000);
    second.insert_direct(other, &mut rows).await.unwrap();
    assert!(second.is_early() && rows.is_empty());
    one_behind_each(&mut second, other, 200_000..200_200).await.unwrap();
    let inner = second.savepoint();
    for number in 300_000..310_000 {
        put(&mut second, other, &key(number), "x").await.unwrap();
    }
    assert!(early_xids(&db) < PARTS_MAX);
    // Nor does a batch fail for want of an xid of its own.
    second.release(&inner);
    second.savepoint();
    let mut rows = batch(400_000);
    second.insert_direct(tree, &mut rows).await.unwrap();
    assert_eq!(rows.len(), 6000);
    second.commit(SyncLevel::Local).await.unwrap();
    assert_eq!(count(&db, other).await, 6000 + 200 + 10_000);
    first.rollback();
    assert_eq!(count(&db, tree).await, 0);
    db.sweep().await.unwrap();
    assert_eq!(early_xids(&db), 0);
}
