//! B-link trees with versions.

use crate::store::Fault;
use crate::{Direction, KeyRange};
use wal::Xid;

/// What is known of a version without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionHead {
    /// The transaction that wrote it.
    pub xid: Xid,
    /// By which of its commands.
    pub cid: u32,
    /// It says that the key is gone.
    pub deleted: bool,
}

/// One tree; cloning shares it.
#[derive(Clone, Debug)]
pub struct Tree {}

/// What `insert_version` needs, brought into the pool and held there.
#[derive(Debug, Default)]
pub struct Prepared {}

/// Rows of a scan, in one piece of memory that is used again.
#[derive(Debug, Default)]
pub struct Batch {}

impl Batch {
    /// Rows in order: key, value, who wrote the value.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8], &[u8], VersionHead)> {
        std::iter::empty()
    }
    /// How many rows.
    pub fn len(&self) -> usize {
        0
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        true
    }
    /// Forgets the rows, keeps the memory.
    pub fn clear(&mut self) {}
}

/// Where a scan stands; owns no pages between batches.
#[derive(Debug)]
pub struct TreeScan {}

impl TreeScan {
    /// Appends the next rows to `batch`, of each key the newest version for which `choose` says true, unless it
    /// is a deletion. Stops after `max_rows` rows or about `max_bytes` bytes. False: that was the end.
    pub fn next_batch(
        &mut self,
        choose: &mut dyn FnMut(VersionHead) -> bool,
        max_rows: usize,
        max_bytes: usize,
        batch: &mut Batch,
    ) -> Result<bool, Fault> {
        let _ = (choose, max_rows, max_bytes, batch);
        Ok(false)
    }
}

impl Tree {
    /// Shows `choose` the versions of `key`, newest first, until it says true; that version's value is appended
    /// to `value`. None if it never does.
    pub fn lookup(
        &self,
        key: &[u8],
        choose: impl FnMut(VersionHead) -> bool,
        value: &mut Vec<u8>,
    ) -> Result<Option<VersionHead>, Fault> {
        let _ = (key, choose, value);
        Ok(None)
    }
    /// A scan of `range`, not yet begun.
    pub fn scan(&self, range: KeyRange, direction: Direction) -> TreeScan {
        let _ = (range, direction);
        TreeScan {}
    }
    /// Brings into the pool what inserting a version of `key` with `value_len` bytes needs, and holds it.
    /// Run by [`crate::store::Store::run`].
    pub fn prepare(&self, key: &[u8], value_len: usize, prepared: &mut Prepared) -> Result<(), Fault> {
        let _ = (key, value_len, prepared);
        Ok(())
    }
    /// Pages in the tree's file.
    pub fn page_count(&self) -> u32 {
        0
    }
}
