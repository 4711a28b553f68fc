//! One transaction as its session drives it: snapshots, reads that merge its own writes, locks, commit.

use crate::{
    Committed, Direction, Error, Interrupt, Isolation, KeyRange, LockMode, LockWait, Locked, SyncLevel,
    TableLockMode, TreeId,
};
use bytes::Bytes;
use wal::Lsn;

/// A transaction. Dropping it rolls it back; a rollback touches nothing but memory.
///
/// All writes stay in a private write set until [`Transaction::commit`]. Reads see the statement's snapshot
/// plus the transaction's own writes of earlier statements; [`Transaction::lock`] sees the newest version.
#[derive(Debug)]
pub struct Transaction {}

/// A point in a transaction to which it can go back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Savepoint {}

/// A walk over a range of a tree as a statement's snapshot sees it; holds no latch and no pin between batches,
/// so it may stay open for as long as its transaction.
#[derive(Debug)]
pub struct Scan {}

impl Scan {
    /// Appends the next keys and values to `out`, at most `max`; false when the range is exhausted.
    ///
    /// `transaction` is the one that opened the scan. Writes that it made after the scan was opened are not seen.
    pub async fn next_batch(
        &mut self,
        transaction: &Transaction,
        max: usize,
        out: &mut Vec<(Bytes, Bytes)>,
    ) -> Result<bool, Error> {
        let _ = (transaction, max, out);
        Err(Error::WrongState("the engine is not assembled"))
    }
}

impl Transaction {
    /// Begins a statement: the next command id, and under READ COMMITTED a new snapshot.
    ///
    /// Waits while commits of before this server's start are undecided, and on a standby until it is consistent.
    /// Fails with [`Error::RecoveryConflict`] on a standby whose replay had to give up this snapshot.
    pub async fn begin_statement(&mut self) -> Result<(), Error> {
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// The isolation level.
    pub fn isolation(&self) -> Isolation {
        Isolation::ReadCommitted
    }

    /// Sets the level; only before the first statement.
    pub fn set_isolation(&mut self, isolation: Isolation) -> Result<(), Error> {
        let _ = isolation;
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// The switch that ends this transaction's waits.
    pub fn interrupt(&self) -> &Interrupt {
        unreachable!("the engine is not assembled")
    }

    /// Whether it has written anything.
    pub fn has_writes(&self) -> bool {
        false
    }

    /// The value of `key` as this statement sees it.
    pub async fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let _ = (tree, key);
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// Opens a scan at this statement's snapshot.
    pub fn scan(&self, tree: TreeId, range: KeyRange, direction: Direction) -> Scan {
        let _ = (tree, range, direction);
        Scan {}
    }

    /// Locks a row (which need not exist) until the end of the transaction or a rollback to a savepoint before,
    /// then reads its newest version.
    ///
    /// Under REPEATABLE READ a row changed after the snapshot is [`Error::SerializationFailure`].
    pub async fn lock(
        &mut self,
        tree: TreeId,
        key: &[u8],
        mode: LockMode,
        wait: LockWait,
    ) -> Result<Locked, Error> {
        let _ = (tree, key, mode, wait);
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// Locks a whole table.
    pub async fn lock_table(
        &mut self,
        tree: TreeId,
        mode: TableLockMode,
        wait: LockWait,
    ) -> Result<(), Error> {
        let _ = (tree, mode, wait);
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// Writes `value` under `key`. The caller holds the row's exclusive (or no-key-exclusive) lock.
    pub fn put(&mut self, tree: TreeId, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<(), Error> {
        let _ = (tree, key.into(), value.into());
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// Deletes `key`. The caller holds the row's exclusive lock.
    pub fn delete(&mut self, tree: TreeId, key: impl Into<Bytes>) -> Result<(), Error> {
        let _ = (tree, key.into());
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// Creates an empty tree. Its file exists at once, and goes away if the transaction does not commit.
    pub async fn create_tree(&mut self, database: u32) -> Result<TreeId, Error> {
        let _ = database;
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// Drops a tree when the transaction commits. The caller holds the table's access-exclusive lock.
    pub fn drop_tree(&mut self, tree: TreeId) -> Result<(), Error> {
        let _ = tree;
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// The next number for the hidden key of a tree without a primary key: above every key that the tree has or
    /// had since the start. Such trees' keys are 8 bytes, big-endian.
    pub async fn next_row_number(&self, tree: TreeId) -> Result<u64, Error> {
        let _ = tree;
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// Marks a point to which [`Transaction::rollback_to`] returns.
    pub fn savepoint(&mut self) -> Savepoint {
        Savepoint {}
    }

    /// Undoes all writes, created trees and locks since the savepoint, which stays.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) -> Result<(), Error> {
        let _ = savepoint;
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// The highest commit that anything returned by this transaction so far depends on: rows, RETURNING and the
    /// answer to COMMIT may leave the server only when `visible` has reached it ([`crate::Database::wait_visible`]).
    pub fn evaluated_up_to(&self) -> Lsn {
        Lsn::INVALID
    }

    /// The position of the snapshot that the running statement reads.
    pub fn snapshot_lsn(&self) -> Lsn {
        Lsn::INVALID
    }

    /// Commits and waits until the commit has reached `level`.
    ///
    /// A cancelled wait ([`Interrupt`]) is no error: the commit stands in this node's log, and
    /// [`Committed::confirmed`] is false. An error means that nothing was committed, except [`Error::Log`] and
    /// [`Error::Shutdown`], after which only a restart tells.
    pub async fn commit(self, level: SyncLevel) -> Result<Committed, Error> {
        let _ = level;
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// Rolls back: forgets the write set, releases locks, removes trees it created.
    pub fn rollback(self) {}
}
