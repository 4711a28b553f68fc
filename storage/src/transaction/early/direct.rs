//! Rows that go into pages at once, past the write set and the locks: see [`super`] for why they may.

use super::RowBatch;
use super::large::{OthersLocks, SMALL_PARTS_MAX, Stamp, Which, put_into_pages};
use crate::transaction::Transaction;
use crate::{Error, TreeId};

/// A transaction that has written so much goes early for its next batch, sooner if its write set may not hold
/// as much.
pub(super) const DIRECT_FROM_BYTES: usize = 1 << 20;

impl Transaction {
    /// Inserts those rows of a batch into a tree that are new beyond doubt, and takes them out of the batch.
    /// What is left, which may be all of it, is to be inserted row by row, by [`Transaction::lock_newest`]
    /// and [`Transaction::put`]. The caller holds a lock on the table that lets it write there, and the tree
    /// has no row without a key of its own.
    ///
    /// # Errors
    /// Fails if the wait for a place is cancelled, or pages or the log cannot be written.
    pub async fn insert_direct(&mut self, tree: TreeId, batch: &mut RowBatch) -> Result<(), Error> {
        if batch.is_empty() || !self.goes_direct(tree, batch.bytes()).await? {
            return Ok(());
        }
        let is_own = self.created.contains(&tree);
        let Self { engine, savepoints, large, locks, interrupt, .. } = self;
        let Some(large) = large else { return Ok(()) };
        let handle = engine.store.tree(tree)?;
        let xid = match large.part(locks, savepoints.len(), tree, is_own, interrupt).await {
            // The write set may have room for them.
            Err(Error::TooManyParts) => return Ok(()),
            other => other?,
        };
        let stamp = Stamp { tree: &handle, xid, command: self.command };
        let is_ordered = batch.sort();
        // Nobody else knows a tree that this transaction has made.
        let which = Which::New((!is_own).then_some(OthersLocks { own: locks, tree }));
        let done = put_into_pages(engine, &stamp, &batch.items(), which, interrupt).await;
        // After an error what is in pages stays there until the transaction or its savepoint is rolled back,
        // as it must be now.
        batch.forget_first(done?);
        if is_ordered {
            large.write_behind(tree, handle.page_count()).await;
        }
        Ok(())
    }

    /// Whether rows may go into pages of `tree` at once.
    async fn goes_direct(&mut self, tree: TreeId, bytes: usize) -> Result<bool, Error> {
        if self.engine.is_in_recovery() {
            return Ok(false);
        }
        let begins = !self.is_early();
        let from = DIRECT_FROM_BYTES.min(self.engine.write_set_limit_bytes());
        let is_little = self.writes.bytes() + bytes < from;
        // Rows that lie under many savepoints do not make way for a batch.
        let stays_behind = || self.writes.touches(tree) && self.parts_to_come() > SMALL_PARTS_MAX;
        if begins && (is_little || stays_behind() || !self.go_early_now().await?) {
            return Ok(false);
        }
        // Of many savepoints, an xid is worth its place in the list only for much.
        let depth = self.savepoints.len();
        let few_will_do = self.large.as_ref().is_some_and(|large| large.takes_small_parts(depth));
        if !few_will_do && is_little {
            return Ok(false);
        }
        if begins || self.writes.is_full() {
            self.spill().await?;
        }
        Ok(!self.writes.touches(tree))
    }
}
