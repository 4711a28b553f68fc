//! Locks that are given back before the commit under them is visible.

use super::visibility::{quorum_at, stalled, write_with};
use super::{get, options, put, read, statement, try_open};
use crate::{
    Database, Interrupt, Isolation, LockMode, LockWait, SyncLevel, TableLockMode, Transaction, TreeId,
};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use wal::Lsn;

/// A commit that waits for standbys, for which nothing comes, and behind it one that waits for nothing, under
/// a lock on a table and two on rows that it does not write. Where that ends.
async fn answered(db: &Database, tree: TreeId) -> Lsn {
    let ahead = write_with(db, tree, "ahead", &Interrupt::new()).await;
    ahead.commit_in_doubt(SyncLevel::On).await.unwrap();
    let mut working = statement(db, Isolation::ReadCommitted).await;
    working.lock_table(tree, TableLockMode::Exclusive, LockWait::NoWait).await.unwrap();
    working.lock(tree, b"number", LockMode::Exclusive, LockWait::NoWait).await.unwrap();
    working.lock(tree, b"shared", LockMode::Shared, LockWait::NoWait).await.unwrap();
    put(&mut working, tree, "n", "1").await.unwrap();
    let committed = working.commit(SyncLevel::Off).await.unwrap();
    assert!(committed.confirmed);
    assert_eq!(read(db, tree, "n").await, None, "it is behind one in doubt");
    committed.lsn
}

/// Takes a lock and reads what was done under it, if that is what the lock tells.
async fn seen_under(db: &Database, tree: TreeId, lock: impl AsyncFnOnce(&mut Transaction)) -> Option<String> {
    let mut next = statement(db, Isolation::ReadCommitted).await;
    lock(&mut next).await;
    next.begin_statement().await.unwrap();
    let found = get(&next, tree, "n").await;
    assert_eq!(found.is_some(), next.evaluated_up_to() > db.visible(), "its answer waits");
    found
}

#[tokio::test]
async fn who_gets_a_lock_that_was_given_back_sees_what_was_done_under_it() {
    let (_disk, db, tree) = stalled().await;
    let end = answered(&db, tree).await;
    let row = async |key: &'static str, mode| {
        seen_under(&db, tree, async move |next: &mut Transaction| {
            next.lock(tree, key.as_bytes(), mode, LockWait::NoWait).await.unwrap();
        })
        .await
    };
    let table = async |mode| {
        seen_under(&db, tree, async move |next: &mut Transaction| {
            next.lock_table(tree, mode, LockWait::NoWait).await.unwrap();
        })
        .await
    };
    let one = Some("1".to_owned());
    for _ in 0..2 {
        assert_eq!(row("number", LockMode::Exclusive).await, one);
        assert_eq!(row("shared", LockMode::Exclusive).await, one);
        assert_eq!(row("shared", LockMode::Shared).await, None, "they do not exclude each other");
        assert_eq!(row("another", LockMode::Exclusive).await, None);
        assert_eq!(table(TableLockMode::Share).await, one);
        assert_eq!(table(TableLockMode::AccessShare).await, None);
    }
    db.commit_gate().set_remote(quorum_at(end));
    db.wait_visible(end, &Interrupt::new()).await.unwrap();
    while db.0.locks.newest_told().is_valid() {
        tokio::task::yield_now().await;
    }
    let fresh = statement(&db, Isolation::ReadCommitted).await;
    assert!(fresh.locks.are_rows_free(), "nothing is left");
}

#[tokio::test]
async fn who_waits_for_a_lock_gets_it_with_the_answer_to_commit() {
    let (_disk, db, tree) = stalled().await;
    let ahead = write_with(&db, tree, "ahead", &Interrupt::new()).await;
    ahead.commit_in_doubt(SyncLevel::On).await.unwrap();
    let mut working = statement(&db, Isolation::ReadCommitted).await;
    working.lock_table(tree, TableLockMode::Exclusive, LockWait::NoWait).await.unwrap();
    put(&mut working, tree, "n", "1").await.unwrap();
    let mut waiting = statement(&db, Isolation::ReadCommitted).await;
    {
        let mut locked = pin!(waiting.lock_table(tree, TableLockMode::Exclusive, LockWait::Forever));
        assert!(waits!(locked));
        working.commit(SyncLevel::Off).await.unwrap();
        locked.await.unwrap();
    }
    waiting.begin_statement().await.unwrap();
    assert_eq!(get(&waiting, tree, "n").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_database_is_closed_while_locks_tell_of_commits() {
    let (disk, db, tree) = stalled().await;
    answered(&db, tree).await;
    drop(db);
    // Nobody has its directory any more. What was not flushed is not there.
    let (db, _) = try_open(&disk, options()).unwrap();
    assert_eq!(read(&db, tree, "a").await.as_deref(), Some("old"));
}
