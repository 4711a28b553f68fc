//! What a change needs is brought into the pool, and held there, before its transaction queues for the write lock.

use super::Tree;
use crate::page::leaf::{ITEM_HEADER, MAX_ITEM};
use crate::pool::{OwnedPin, Pool, SpareFrame};
use crate::records::version_space;
use crate::store::Fault;
use smallvec::SmallVec;
use std::sync::Arc;
use wal::BlockNumber;

/// Frames that one change sets aside at most; a larger one does I/O under the write lock.
const SPARES_MAX: usize = 16;

/// What `insert_version` needs, brought into the pool and held there.
///
/// All such holdings together never take more than half of the pool; one that gets nothing still knows where its leaf is.
#[derive(Debug, Default)]
pub struct Prepared {
    /// The leaf for the key, or one left of it.
    pub(super) leaf: Option<BlockNumber>,
    /// [`Relation::reshaped`] when it was found: it is no hint any more once that has moved.
    ///
    /// [`Relation::reshaped`]: crate::relation::Relation::reshaped
    pub(super) reshaped: u64,
    pins: SmallVec<[OwnedPin; 2]>,
    pub(super) spares: Vec<SpareFrame>,
    /// Room in the leaf is enough, or its parents are pinned and frames are set aside for splits.
    roomy: bool,
    budget: usize,
    pool: Option<Arc<Pool>>,
}

impl Prepared {
    /// Holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives everything up.
    pub fn clear(&mut self) {
        self.leaf = None;
        self.pins.clear();
        self.spares.clear();
        self.roomy = false;
        if let Some(pool) = &self.pool {
            pool.return_budget(std::mem::take(&mut self.budget));
        }
    }

    /// Whether pages are held.
    pub fn holds_pages(&self) -> bool {
        !self.pins.is_empty()
    }

    /// Whether the change may add pages, as things stood when it was prepared.
    pub fn may_add_pages(&self) -> bool {
        !self.roomy || !self.spares.is_empty()
    }

    fn take_budget(&mut self, pool: &Arc<Pool>, count: usize) -> bool {
        let granted = pool.take_budget(count);
        if granted {
            self.budget += count;
            self.pool = Some(Arc::clone(pool));
        }
        granted
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Tree {
    /// Brings into the pool what inserting a version of `key` with `value_len` bytes needs, and holds it. To be run
    /// by [`crate::store::Store::run`].
    pub fn prepare(&self, key: &[u8], value_len: usize, prepared: &mut Prepared) -> Result<(), Fault> {
        prepared.clear();
        let mut path: SmallVec<[BlockNumber; 8]> = SmallVec::new();
        prepared.reshaped = self.relation.reshaped();
        let found = self.descend(key, 0, Some(&mut path))?;
        prepared.leaf = Some(found.block);
        let large = value_len + key.len() + ITEM_HEADER > MAX_ITEM;
        let pool = &self.store.0.pool;
        if !large && found.page.free_space() >= version_space(key.len(), value_len) {
            if prepared.take_budget(pool, 1) {
                prepared.pins.push(self.pin(found.block)?.into_owned(pool));
                prepared.roomy = true;
            }
            return Ok(());
        }
        drop(found);
        // A split of every level, the root's with two new pages, or a chain's page; and the value's own pages.
        let pages = if large { value_len / 8000 + 1 } else { 0 };
        let frames = path.len() + 1 + pages;
        if frames > SPARES_MAX || !prepared.take_budget(pool, frames + path.len() + 1) {
            return Ok(());
        }
        for block in path {
            prepared.pins.push(self.pin(block)?.into_owned(pool));
        }
        prepared.pins.push(self.pin(crate::records::META)?.into_owned(pool));
        for _ in 0..frames {
            match pool.set_aside()? {
                Some(frame) => prepared.spares.push(frame),
                None => {
                    // Others may be after the same frames: hold none while waiting.
                    prepared.clear();
                    return Err(Fault::NeedFrames);
                }
            }
        }
        prepared.roomy = true;
        Ok(())
    }
}
