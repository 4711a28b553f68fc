//! What a transaction writes, and the trees that it creates and drops.

use super::Transaction;
use crate::locks::LockRef;
use crate::pages::page::leaf::MAX_KEY;
use crate::{Error, LockMode, TableLockMode, TreeId};
use bytes::Bytes;

impl Transaction {
    /// Writes `value` under `key`. The caller holds the row's exclusive (or no-key-exclusive) lock.
    ///
    /// # Errors
    /// Fails in recovery, or if the key or the write set is too large.
    pub fn put(&mut self, tree: TreeId, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<(), Error> {
        self.write(tree, key.into(), Some(value.into()))
    }

    /// Writes `value` under a key that has no lock of its own: whoever writes it holds the lock of a row
    /// elsewhere that the key belongs to (an entry of an index), or nobody else can know it yet. Nothing
    /// makes room for it: [`Transaction::make_room`] does, before.
    ///
    /// # Errors
    /// Fails in recovery, or if the key or the write set is too large.
    pub fn put_guarded(
        &mut self,
        tree: TreeId,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<(), Error> {
        self.write_guarded(tree, key.into(), Some(value.into()))
    }

    /// Deletes a key that is guarded as [`Transaction::put_guarded`] says.
    ///
    /// # Errors
    /// Fails in recovery, or if the key or the write set is too large.
    pub fn delete_guarded(&mut self, tree: TreeId, key: impl Into<Bytes>) -> Result<(), Error> {
        self.write_guarded(tree, key.into(), None)
    }

    fn write_guarded(&mut self, tree: TreeId, key: Bytes, value: Option<Bytes>) -> Result<(), Error> {
        if self.engine.is_in_recovery() {
            return Err(Error::ReadOnly);
        }
        if key.len() > MAX_KEY {
            return Err(Error::KeyTooLarge { size_bytes: key.len(), limit_bytes: MAX_KEY });
        }
        self.writes.push(tree, key, value, self.command)?;
        if self.near.0 == tree {
            self.writes.note_near(self.near.1);
        }
        Ok(())
    }

    /// Deletes `key`. The caller holds the row's exclusive lock.
    ///
    /// # Errors
    /// Fails in recovery, or if the key or the write set is too large.
    pub fn delete(&mut self, tree: TreeId, key: impl Into<Bytes>) -> Result<(), Error> {
        self.write(tree, key.into(), None)
    }

    fn write(&mut self, tree: TreeId, key: Bytes, value: Option<Bytes>) -> Result<(), Error> {
        debug_assert!(
            self.engine.is_in_recovery()
                || self.created.contains(&tree)
                || self.is_early()
                || self.locks.holds(LockRef::Row(tree, &key), LockMode::NoKeyExclusive.into())
                || self.locks.holds(LockRef::Table(tree), TableLockMode::Exclusive.into()),
            "a write needs the row's lock"
        );
        self.write_guarded(tree, key, value)
    }

    /// Sees to it that the write set has room, which locking a row does by itself: for those who write keys
    /// that have no lock. One row may be far larger than what the write set holds, so nothing else is to be
    /// written after it before this.
    ///
    /// # Errors
    /// Fails if the write set cannot be put into pages.
    pub async fn make_room(&mut self) -> Result<(), Error> {
        if self.writes.is_full() { self.spill().await } else { Ok(()) }
    }

    /// Creates an empty tree. Its file exists at once, and goes away if the transaction does not commit.
    ///
    /// # Errors
    /// Fails in recovery, or if its file or its records cannot be written.
    pub async fn create_tree(&mut self, database: u32) -> Result<TreeId, Error> {
        let pipeline = self.engine.pipeline()?;
        let tree = TreeId::new(database, self.engine.allocate_number()?);
        let store = &self.engine.store;
        self.created.push(tree);
        store.run(|| pipeline.at_rest(|writer| writer.create_tree(tree))).await?;
        Ok(tree)
    }

    /// Drops a tree when the transaction commits. The caller holds the table's access-exclusive lock.
    ///
    /// # Errors
    /// Fails in recovery.
    pub fn drop_tree(&mut self, tree: TreeId) -> Result<(), Error> {
        if self.engine.is_in_recovery() {
            return Err(Error::ReadOnly);
        }
        self.dropped.push(tree);
        Ok(())
    }

    /// The next number for the hidden key of a tree without a primary key: above every key that the tree has
    /// or had since the start. Such trees' keys are 8 bytes, big-endian.
    ///
    /// # Errors
    /// Fails if the tree cannot be read, or its keys are no row numbers.
    pub async fn next_row_number(&self, tree: TreeId) -> Result<u64, Error> {
        self.engine.next_row_number(tree).await
    }

    /// Writes a row under the next row number and gives the number. No lock is needed: until the commit
    /// nobody else can know that key.
    ///
    /// # Errors
    /// Fails in recovery, if the tree cannot be read, or if the write set is too large.
    pub async fn append(&mut self, tree: TreeId, value: impl Into<Bytes>) -> Result<u64, Error> {
        if self.engine.is_in_recovery() {
            return Err(Error::ReadOnly);
        }
        if self.writes.is_full() {
            self.spill().await?;
        }
        let number = self.next_row_number(tree).await?;
        self.writes.push(
            tree,
            Bytes::copy_from_slice(&number.to_be_bytes()),
            Some(value.into()),
            self.command,
        )?;
        Ok(number)
    }
}
