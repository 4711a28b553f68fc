//! What a change needs is brought into the pool, and held there, before its transaction queues for the write
//! lock.

use super::{Found, Tree};
use crate::changes::records::version_space;
use crate::changes::store::{Fault, SPARES_MAX};
use crate::pages::page::leaf::{ITEM_HEADER, MAX_ITEM};
use crate::pages::pool::{OwnedPin, Pin, Pool, SpareFrame};
use smallvec::SmallVec;
use std::sync::Arc;
use wal::BlockNumber;

/// After so many times without enough free frames it does without: others were faster, or hold them.
const SHORT_MAX: u32 = 4;

/// What `insert_version` needs, brought into the pool and held there.
///
/// All such holdings together never take more than half of the pool; one that gets nothing still knows where
/// its leaf is.
#[derive(Debug, Default)]
pub struct Prepared {
    /// The leaf for the key, or one left of it.
    pub(super) leaf: Option<BlockNumber>,
    /// [`Relation::reshaped`] when it was found: it is no hint any more once that has moved.
    ///
    /// [`Relation::reshaped`]: crate::pages::relation::Relation::reshaped
    pub(super) reshaped: u64,
    /// Where to look first.
    near: Option<BlockNumber>,
    /// The pin of `leaf`, if that is all that it takes.
    held: Option<(BlockNumber, OwnedPin)>,
    pins: SmallVec<[OwnedPin; 2]>,
    pub(super) spares: Vec<SpareFrame>,
    /// How often frames were short in a row.
    short: u32,
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

    /// Holds nothing; the key is looked for in this leaf first.
    pub(crate) fn near(leaf: BlockNumber) -> Self {
        let mut prepared = Self::default();
        prepared.near = leaf.is_valid().then_some(leaf);
        prepared
    }

    /// Gives everything up.
    pub fn clear(&mut self) {
        self.leaf = None;
        self.held = None;
        self.pins.clear();
        self.spares.clear();
        self.roomy = false;
        if let Some(pool) = &self.pool {
            pool.budget().give_back(std::mem::take(&mut self.budget));
        }
    }

    /// Whether pages are held.
    #[cfg(test)]
    pub fn holds_pages(&self) -> bool {
        !self.pins.is_empty() || self.held.is_some()
    }

    /// Whether the change may add pages, as things stood when it was prepared.
    pub fn may_add_pages(&self) -> bool {
        !self.roomy || !self.spares.is_empty()
    }

    /// A pin of `block`, if that is the leaf that is held.
    pub(super) fn held_in<'p>(&self, pool: &'p Arc<Pool>, block: BlockNumber) -> Option<Pin<'p>> {
        let (held, pin) = self.held.as_ref()?;
        (*held == block).then(|| pin.pin_in(pool)).flatten()
    }

    fn take_budget(&mut self, pool: &Arc<Pool>, count: usize) -> bool {
        let granted = pool.budget().take(count);
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
    /// Brings into the pool what inserting a version of `key` with `value_len` bytes needs, and holds it. To
    /// be run by [`crate::changes::store::Store::run`].
    ///
    /// # Errors
    /// Fails if a page or a frame is missing, or a page is damaged.
    pub fn prepare(&self, key: &[u8], value_len: usize, prepared: &mut Prepared) -> Result<(), Fault> {
        prepared.clear();
        prepared.reshaped = self.relation.reshaped();
        let large = value_len + key.len() + ITEM_HEADER > MAX_ITEM;
        let has_room =
            |found: &Found<'_>| !large && found.page.free_space() >= version_space(key.len(), value_len);
        let near = prepared.near.take().and_then(|near| self.leaf_near(near, key));
        if let Some(found) = near.filter(has_room) {
            self.hold_leaf(found, prepared);
            return Ok(());
        }
        let mut path: SmallVec<[BlockNumber; 8]> = SmallVec::new();
        let found = self.descend(key, 0, Some(&mut path))?;
        if has_room(&found) {
            self.hold_leaf(found, prepared);
            return Ok(());
        }
        prepared.leaf = Some(found.block);
        drop(found);
        let pool = &self.store.0.pool;
        // A split of every level, the root's with two new pages, or a chain's page; and the value's own
        // pages.
        let pages = if large { value_len / 8000 + 1 } else { 0 };
        let frames = path.len() + 1 + pages;
        if frames > SPARES_MAX
            || prepared.short >= SHORT_MAX
            || !prepared.take_budget(pool, frames + path.len() + 1)
        {
            return Ok(());
        }
        for block in path {
            prepared.pins.push(self.pin(block)?.into_owned(pool));
        }
        prepared.pins.push(self.pin(crate::changes::records::META)?.into_owned(pool));
        for _ in 0..frames {
            match pool.set_aside()? {
                Some(frame) => prepared.spares.push(frame),
                None => {
                    // Others may be after the same frames: hold none while waiting.
                    prepared.clear();
                    prepared.short += 1;
                    return Err(Fault::NeedFrames);
                }
            }
        }
        prepared.roomy = true;
        prepared.short = 0;
        Ok(())
    }

    /// Holds a leaf that has room.
    fn hold_leaf(&self, found: Found<'_>, prepared: &mut Prepared) {
        prepared.leaf = Some(found.block);
        let pool = &self.store.0.pool;
        if prepared.take_budget(pool, 1) {
            prepared.held = Some((found.block, found.page.into_pin().into_owned(pool)));
            prepared.roomy = true;
        }
    }
}
