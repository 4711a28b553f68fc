//! A transaction on its way into the log, and what it brings with it.

use crate::changes::store::Store;
use crate::commit::write_set::WriteSet;
use crate::error::log_error;
use crate::locks::LockSet;
use crate::pages::page::PAGE_SIZE;
use crate::tree::{Prepared, Tree};
use crate::visibility::snapshot::Insertion;
use crate::{Error, SyncLevel, TreeId};
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;
use wal::{Reservation, WalWriter, Xid};

/// Page images that a transaction reserves space for.
const IMAGES_RESERVED: usize = 64;
/// Pages that a transaction reserves space for in each tree, besides those that its bytes fill.
const PAGES_RESERVED: u32 = 8;
/// More than a commit record takes.
const RECORD_BYTES: usize = 4096;
/// After so many times sent back for want of a page, a transaction loads it under the lock.
pub(super) const IN_PLACE_AFTER: u32 = 4;

/// What a large transaction has in pages before its commit, as the committer needs it.
pub(crate) trait EarlyWrites: Send + Sync {
    /// Its xids, ascending.
    fn xids(&self) -> &[Xid];
    /// The commit record is in the log.
    fn committed(&mut self);
}

/// One transaction on its way into the log.
pub(crate) struct Request {
    pub(crate) writes: WriteSet,
    /// Released when the commit record is inserted, or the request is dropped.
    #[expect(dead_code, reason = "it is there to be dropped")]
    locks: LockSet,
    /// Trees that come or go with it; their files follow when the request is dropped, and so never under a
    /// lock of the pipeline.
    pub(super) trees: Option<Box<TreeChanges>>,
    pub(crate) level: SyncLevel,
    /// The xids that were handed out before the commit (pg_current_xact_id(), messages in the log). No
    /// version carries them: they end with this transaction's own, as parts of it.
    pub(crate) assigned_xids: SmallVec<[Xid; 1]>,
    /// What a large transaction has in pages already.
    pub(crate) large: Option<Box<dyn EarlyWrites>>,
    /// For each of `writes.last_writes()`, in order.
    pub(super) targets: SmallVec<[(Tree, Prepared); 1]>,
    /// Space in the log for all of it.
    reserved: Option<Reservation>,
    pub(super) attempts: u32,
}

impl Request {
    /// Without writes.
    pub(crate) fn new(locks: LockSet, trees: Option<Box<TreeChanges>>, level: SyncLevel) -> Self {
        Self {
            writes: WriteSet::new(0),
            locks,
            trees,
            level,
            assigned_xids: SmallVec::new(),
            large: None,
            targets: SmallVec::new(),
            reserved: None,
            attempts: 0,
        }
    }

    /// Brings the leaves of all writes into the pool and holds them there, and has space in the log promised.
    pub(super) async fn prepare(&mut self, store: &Store, log: &WalWriter) -> Result<(), Error> {
        self.attempts += 1;
        if self.reserved.is_none() {
            self.reserved = Some(reserve(log, &self.writes, self.large.is_some()).await?);
        }
        if self.attempts > IN_PLACE_AFTER {
            return Ok(());
        }
        for (at, write) in self.writes.last_writes().enumerate() {
            if at == self.targets.len() {
                self.targets.push((store.tree(write.tree)?, Prepared::near(write.near)));
            }
            let Some((tree, prepared)) = self.targets.get_mut(at) else { break };
            let length = write.value.as_ref().map_or(0, bytes::Bytes::len);
            if tree.prepare(&write.key, length, prepared).is_err() {
                store.run(|| tree.prepare(&write.key, length, prepared)).await?;
            }
        }
        self.reserve_pages().await
    }

    /// Has space on disk promised for the pages that the writes may add, with as many again for those who
    /// commit at the same time.
    async fn reserve_pages(&self) -> Result<(), Error> {
        let bytes = self.writes.bytes() / (PAGE_SIZE / 4);
        let pages = u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(PAGES_RESERVED);
        for (tree, _) in self.targets.iter().filter(|(_, prepared)| prepared.may_add_pages()) {
            if !tree.relation().has_space(pages) {
                let tree = tree.clone();
                let reserved = crate::blocking::run(move || tree.relation().reserve_space(pages)).await;
                reserved.map_err(|_| Error::Shutdown)??;
            }
        }
        Ok(())
    }
}

/// Who keeps the files of trees, as a commit needs it.
pub(crate) trait TreeOwner: fmt::Debug + Send + Sync {
    /// Removes the files of trees whose drop was committed with `after`, once that is safe.
    fn drop_later(&self, after: Insertion, trees: &[TreeId]);
    /// Removes trees that a transaction created and does not keep.
    fn remove_created(&self, created: &[TreeId]);
}

/// The trees that a transaction created and dropped. Whoever lets go of it last, also when its session is
/// long gone, sees to their files.
#[derive(Debug)]
pub(crate) struct TreeChanges {
    pub(crate) owner: Arc<dyn TreeOwner>,
    pub(crate) created: Vec<TreeId>,
    pub(crate) dropped: Vec<TreeId>,
    pub(crate) committed: Option<Insertion>,
}

impl Drop for TreeChanges {
    fn drop(&mut self) {
        match self.committed {
            Some(commit) => self.owner.drop_later(commit, &self.dropped),
            None => self.owner.remove_created(&self.created),
        }
    }
}

/// Promises space in the log for a write set, with page images for the leaves of a small one.
async fn reserve(log: &WalWriter, writes: &WriteSet, is_large: bool) -> Result<Reservation, Error> {
    // The commit record names the early xids, and their list follows it.
    let list = if is_large { 4 * PAGE_SIZE } else { 0 };
    let images = writes.len().min(IMAGES_RESERVED) * PAGE_SIZE;
    reserve_bytes(log, (writes.bytes() + images + list + RECORD_BYTES) as u64).await
}

/// Promises space in the log.
pub(crate) async fn reserve_bytes(log: &WalWriter, bytes: u64) -> Result<Reservation, Error> {
    if let Some(reserved) = log.try_reserve(bytes) {
        return Ok(reserved);
    }
    let log = log.clone();
    let reserved = crate::blocking::run(move || log.reserve(bytes)).await;
    reserved.map_err(|_| Error::Shutdown)?.map_err(log_error)
}
