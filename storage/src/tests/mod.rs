//! Scenarios of the whole engine over the virtual disk.

/// Whether a pinned future is not done when it is asked now.
macro_rules! waits {
    ($future:expr) => {
        matches!($future.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
    };
}

mod ahead;
mod basics;
mod chains;
mod confirmed;
mod conflicts;
mod crash;
mod direct;
mod faults;
mod files;
mod flips;
mod given_back;
mod history;
mod isolation;
mod large;
mod large_crash;
mod order;
mod own_archive;
mod own_log;
mod page_images;
mod panics;
mod promotion;
mod received;
mod recovery;
mod savepoints;
mod shared_segment;
mod standby;
mod states;
mod tools;
mod visibility;

use crate::{
    CreateOptions, Database, DatabaseOptions, Error, Isolation, LockMode, LockWait, Locked, Opened,
    RecoveryReport, StartMode, SyncLevel, Transaction, TreeId, WalSizes,
};
use bytes::Bytes;
use host::{Host, Timestamp};
use simulation::{CrashPolicy, ManualClock, SeededEntropy, VirtualDisk};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wal::SegmentSize;

pub(crate) const DIR: &str = "/data";

pub(crate) fn host_on(disk: &VirtualDisk) -> Host {
    Host {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::new(Timestamp::from_unix_micros(1_700_000_000_000_000))),
        entropy: Arc::new(SeededEntropy::new(7)),
    }
}

/// Small, and without background threads, so that the order of I/O is the order of calls.
pub(crate) fn options() -> DatabaseOptions {
    DatabaseOptions {
        shared_buffers_bytes: 1 << 20,
        wal_buffers_bytes: 1 << 20,
        deadlock_timeout: Duration::from_millis(10),
        background: false,
        wal_sizes: WalSizes { min_bytes: 1 << 20, max_bytes: 4 << 20, ..WalSizes::default() },
        ..DatabaseOptions::new(DIR)
    }
}

pub(crate) fn new_disk() -> VirtualDisk {
    let disk = VirtualDisk::new();
    let small =
        CreateOptions { segment_size: SegmentSize::new(1 << 20).unwrap(), ..CreateOptions::default() };
    Database::create(&host_on(&disk), Path::new(DIR), &small).unwrap();
    disk
}

pub(crate) fn try_open(
    disk: &VirtualDisk,
    options: DatabaseOptions,
) -> Result<(Database, RecoveryReport), Error> {
    match Database::open(&host_on(disk), options, StartMode::Primary)? {
        Opened::Primary { db, recovery } => Ok((db, recovery)),
        Opened::Standby { .. } => panic!("asked for a primary"),
    }
}

pub(crate) fn open(disk: &VirtualDisk) -> Database {
    try_open(disk, options()).unwrap().0
}

/// What a machine finds after it lost power now.
pub(crate) fn power_cut(disk: &VirtualDisk) -> VirtualDisk {
    disk.crash(CrashPolicy::LoseUnsynced)
}

/// A new database with one empty tree, made durable.
pub(crate) async fn with_tree() -> (VirtualDisk, Database, TreeId) {
    let disk = new_disk();
    let db = open(&disk);
    let mut transaction = db.begin(Isolation::ReadCommitted);
    let tree = transaction.create_tree(5).await.unwrap();
    transaction.commit(SyncLevel::Local).await.unwrap();
    (disk, db, tree)
}

pub(crate) async fn statement(db: &Database, isolation: Isolation) -> Transaction {
    let mut transaction = db.begin(isolation);
    transaction.begin_statement().await.unwrap();
    transaction
}

pub(crate) async fn lock(transaction: &mut Transaction, tree: TreeId, key: &str) -> Result<Locked, Error> {
    transaction.lock(tree, key.as_bytes(), LockMode::Exclusive, LockWait::Forever).await
}

/// Locks and writes.
pub(crate) async fn put(
    transaction: &mut Transaction,
    tree: TreeId,
    key: &str,
    value: &str,
) -> Result<Locked, Error> {
    let locked = lock(transaction, tree, key).await?;
    transaction.put(tree, key.to_owned(), value.to_owned())?;
    Ok(locked)
}

/// One transaction that writes these pairs.
pub(crate) async fn write(db: &Database, tree: TreeId, pairs: &[(&str, &str)], level: SyncLevel) {
    let mut transaction = statement(db, Isolation::ReadCommitted).await;
    for (key, value) in pairs {
        put(&mut transaction, tree, key, value).await.unwrap();
    }
    assert!(transaction.commit(level).await.unwrap().confirmed);
}

pub(crate) fn text(value: Option<Bytes>) -> Option<String> {
    value.map(|value| String::from_utf8_lossy(&value).into_owned())
}

pub(crate) async fn get(transaction: &Transaction, tree: TreeId, key: &str) -> Option<String> {
    text(transaction.get(tree, key.as_bytes()).await.unwrap())
}

/// What a new transaction reads.
pub(crate) async fn read(db: &Database, tree: TreeId, key: &str) -> Option<String> {
    get(&statement(db, Isolation::ReadCommitted).await, tree, key).await
}

/// All rows that the statement sees, by batches of three.
pub(crate) async fn rows(
    transaction: &Transaction,
    tree: TreeId,
    direction: crate::Direction,
) -> Vec<(String, String)> {
    let mut scan = transaction.scan(tree, crate::KeyRange::all(), direction);
    let mut found = Vec::new();
    while scan.next_batch(transaction, 3, &mut found).await.unwrap() {}
    found.into_iter().map(|(key, value)| (text(Some(key)).unwrap(), text(Some(value)).unwrap())).collect()
}
