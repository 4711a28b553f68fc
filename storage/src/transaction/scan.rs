//! Scans that merge the tree's rows with the transaction's own writes.

use crate::commit::write_set::CommandId;
use crate::pages::pool::Ring;
use crate::tree::{Batch, TreeScan};
use crate::visibility::snapshot::LiveSnapshot;
use crate::{Direction, Error, KeyRange, Transaction, TreeId};
use bytes::{Bytes, BytesMut};
use std::ops::Bound;
use std::sync::Arc;

/// The most bytes of rows that one batch takes from the tree.
const BATCH_BYTES: usize = 64 << 10;

/// A walk over a range of a tree as a statement's snapshot sees it; holds no latch and no pin between
/// batches, so it may stay open for as long as its transaction.
#[derive(Debug)]
pub struct Scan {
    tree: TreeId,
    range: KeyRange,
    direction: Direction,
    command: CommandId,
    /// None: the transaction had begun no statement; the first batch says so.
    snapshot: Option<Arc<LiveSnapshot>>,
    inner: Option<TreeScan>,
    /// Of a large tree.
    ring: Option<Arc<Ring>>,
    batch: Batch,
    /// The last key passed, of the tree's rows or own writes.
    passed: Option<Bytes>,
    finished: bool,
}

impl Scan {
    /// In this snapshot; None: the transaction has begun no statement.
    pub(crate) fn new(
        transaction: &Transaction,
        snapshot: Option<Arc<LiveSnapshot>>,
        tree: TreeId,
        range: KeyRange,
        direction: Direction,
    ) -> Self {
        Self {
            tree,
            range,
            direction,
            command: transaction.command(),
            snapshot,
            inner: None,
            ring: None,
            batch: Batch::default(),
            passed: None,
            finished: false,
        }
    }

    /// Appends the next keys and values to `out`, about `max` of them; false when the range is exhausted.
    ///
    /// `transaction` is the one that opened the scan. Writes that it made after the scan was opened are not
    /// seen.
    ///
    /// # Errors
    /// Fails if no statement has begun, a page cannot be read, or replay gave the snapshot up.
    pub async fn next_batch(
        &mut self,
        transaction: &Transaction,
        max: usize,
        out: &mut Vec<(Bytes, Bytes)>,
    ) -> Result<bool, Error> {
        if self.finished {
            return Ok(false);
        }
        let engine = &transaction.engine;
        let snapshot =
            self.snapshot.as_ref().ok_or(Error::WrongState("no statement has begun in this transaction"))?;
        if self.inner.is_none() {
            let mut tree = engine.store.tree(self.tree)?;
            if tree.is_large() {
                tree = tree.gently();
                self.ring = Some(Arc::new(Ring::new()));
            }
            self.inner = Some(tree.scan(self.range.clone(), self.direction));
        }
        let Some(inner) = &mut self.inner else { return Ok(false) };
        let batch = &mut self.batch;
        batch.clear();
        let command = self.command;
        let mut choose = |version: crate::tree::VersionHead| {
            snapshot.sees(version.xid) || transaction.sees_own(version, command)
        };
        let more = match inner.next_batch(&mut choose, max, BATCH_BYTES, batch) {
            Ok(more) => more,
            Err(_) => {
                let (store, ring) = (&engine.store, self.ring.as_ref());
                let ahead = inner.upcoming(store.read_ahead_pages());
                store.read_ahead(self.tree.file(), &ahead, ring);
                let go_on = || inner.next_batch(&mut choose, max, BATCH_BYTES, batch);
                let more = store.run_until(&transaction.interrupt, ring, go_on).await;
                more.map_err(|error| engine.or_conflict(error, snapshot))?
            }
        };
        engine.check_conflict(snapshot)?;
        self.finished = !more;
        self.merge(transaction, out);
        Ok(more)
    }

    /// The value of a key of any tree, as of this scan: in its snapshot, with own writes from before it was
    /// opened.
    ///
    /// # Errors
    /// Fails if no statement has begun, a page cannot be read, or replay gave the snapshot up.
    pub async fn lookup(
        &self,
        transaction: &Transaction,
        tree: TreeId,
        key: &[u8],
    ) -> Result<Option<Bytes>, Error> {
        let snapshot =
            self.snapshot.as_ref().ok_or(Error::WrongState("no statement has begun in this transaction"))?;
        transaction.get_as_of(snapshot, self.command, tree, key).await
    }

    fn merge(&mut self, transaction: &Transaction, out: &mut Vec<(Bytes, Bytes)>) {
        let total = self.batch.rows().map(|(key, value, _)| key.len() + value.len()).sum();
        let mut memory = BytesMut::with_capacity(total);
        let mut take = |key: &[u8], value: &[u8]| {
            memory.extend_from_slice(key);
            let key = memory.split().freeze();
            memory.extend_from_slice(value);
            (key, memory.split().freeze())
        };
        if !transaction.writes.touches(self.tree) {
            out.extend(self.batch.rows().map(|(key, value, _)| take(key, value)));
            return;
        }
        for (key, value, _) in self.batch.rows() {
            let (key, value) = take(key, value);
            let own = self.own_before(transaction, Some(&key), out);
            if !own {
                out.push((key.clone(), value));
            }
            self.passed = Some(key);
        }
        if self.finished {
            self.own_before(transaction, None, out);
        }
    }

    /// Appends own writes from where the scan stands up to `key` (to the end without one). True if `key`
    /// itself was written: the tree's row is replaced or gone.
    fn own_before(
        &self,
        transaction: &Transaction,
        key: Option<&[u8]>,
        out: &mut Vec<(Bytes, Bytes)>,
    ) -> bool {
        let mut replaced = false;
        let mut emit = |write: &crate::commit::write_set::Write| {
            replaced |= key == Some(&write.key[..]);
            if let Some(value) = &write.value {
                out.push((write.key.clone(), value.clone()));
            }
        };
        let start = Bound::Included(&self.range.start[..]);
        let end = self.range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        match self.direction {
            Direction::Forward => {
                let from = self.passed.as_deref().map_or(start, Bound::Excluded);
                let to = key.map_or(end, Bound::Included);
                transaction.writes.range(self.tree, (from, to), self.command).for_each(&mut emit);
            }
            Direction::Backward => {
                let from = key.map_or(start, Bound::Included);
                let to = self.passed.as_deref().map_or(end, Bound::Excluded);
                transaction.writes.range(self.tree, (from, to), self.command).rev().for_each(&mut emit);
            }
        }
        replaced
    }
}
