//! A sweep along the chain of one key, which may have more pages than the pool.
//!
//! ```text
//! look    under the leaf's read latch, some pages at a time: where are versions of aborted transactions,
//!         where does the dead part begin?
//! clean   under the write lock, a page at a time: those versions go
//! look_behind, cut   as many pages of the dead part at a time as one record frees
//! ```
//!
//! Between two steps nothing is latched. The horizon is held meanwhile: if the first version that every
//! snapshot sees is in the chain, it stays on its page, nobody cuts the chain before that, and a place found
//! in an earlier step is still in the chain. If it is in the leaf, the whole chain is dead, others may be at
//! work on it too, and each step begins at the page that the leaf leads to then.

use super::Tree;
use super::insert::Leaf;
use super::prune::{FREED_MAX, Known, settled_in};
use super::sweep::{Pass, SweepOrder};
use crate::Error;
use crate::changes::records::{Prune, info};
use crate::changes::store::Fault;
use crate::changes::writer::{Target, Writer};
use crate::pages::page::leaf::{self, CHAIN, LARGE};
use crate::pages::page::{Page, PageKind};
use smallvec::SmallVec;
use wal::{BlockNumber, Xid};

/// Pages that are looked at under one latch of the leaf.
const LOOKED_AT_ONCE: usize = 64;

/// A large value: its first page, and the version that it belongs to.
pub(super) type LargeHead = (BlockNumber, Xid, u32);

/// The large value that an item leads to.
pub(super) fn large_head(item: &[u8]) -> Option<LargeHead> {
    let head = leaf::item_head(item);
    (head.flags & LARGE != 0 && head.flags & CHAIN == 0)
        .then(|| (leaf::chain_start(leaf::item_value(item)), head.xid, head.cid))
}

/// Where a look along a chain ended.
enum LookedTo {
    /// Before this page.
    Page(BlockNumber),
    /// All that is behind this page is dead.
    Settled(BlockNumber),
    /// It need not be looked at: all of it is dead.
    Dead,
    /// At the end, or there is no chain.
    End,
}

/// What a look along a chain has found.
struct Look {
    upto: LookedTo,
    /// Versions, those of aborted transactions apart.
    versions: u64,
    /// Pages with versions of aborted transactions, how many, and their large values.
    unclean: Vec<(BlockNumber, u64, Vec<LargeHead>)>,
}

impl Tree {
    /// Sweeps the chain of `key`.
    pub(super) fn sweep_chain(&self, key: &[u8], pass: &mut Pass<'_>) -> Result<(), Error> {
        let (horizon, _held) = pass.owner.hold_horizon();
        let mut at = None;
        loop {
            let store = &self.store;
            let look = store.run_blocking_in(pass.ring, || {
                self.look_along(key, at, horizon, &pass.order.aborted, &pass.lost)
            })?;
            pass.report.dead += look.versions;
            for (block, versions, large) in look.unclean {
                self.find_large(&large, &mut pass.order.known)?;
                let order = &pass.order;
                let removed = pass.write(self, |writer| {
                    writer.clean_chain(self, key, block, &order.aborted, &order.known)
                })?;
                pass.report.removed += removed as u64;
                pass.report.aborted += versions.saturating_sub(removed as u64);
            }
            pass.rest()?;
            match look.upto {
                LookedTo::Page(next) => at = Some(next),
                LookedTo::End => return Ok(()),
                LookedTo::Settled(last) => return self.cut_chain(key, Some(last), horizon, pass),
                LookedTo::Dead => return self.cut_chain(key, None, horizon, pass),
            }
        }
    }

    /// Cuts off what is behind the page `last` of the chain, or behind the first page of one that is dead.
    fn cut_chain(
        &self,
        key: &[u8],
        last: Option<BlockNumber>,
        horizon: Xid,
        pass: &mut Pass<'_>,
    ) -> Result<(), Error> {
        loop {
            let aborted = &pass.order.aborted;
            let look = || self.look_behind(key, last, horizon, aborted, &pass.lost);
            let Some(large) = self.store.run_blocking_in(pass.ring, look)? else { return Ok(()) };
            self.find_large(&large, &mut pass.order.known)?;
            let order = &pass.order;
            let freed = pass.write(self, |writer| {
                writer.set_horizon(horizon);
                writer.cut_chain(self, key, last, order)
            })?;
            if freed == 0 {
                // Pages are left that this sweep does not come to.
                pass.lost.give_up();
                return Ok(());
            }
            pass.report.freed += freed as u64;
            pass.rest()?;
        }
    }

    /// The chain of `key` in its leaf, with the first version there that every snapshot sees.
    fn chain_in(page: &Page, key: &[u8], horizon: Xid, aborted: &[Xid]) -> Option<(BlockNumber, bool)> {
        let first = page.lower_bound(key);
        if first >= page.item_count() || leaf::item_key(page.item(first)) != key {
            return None;
        }
        let run = first..leaf::run_end(page, first);
        let item = page.item(run.end - 1);
        let is_settled = settled_in(page, run, horizon, aborted).is_some();
        (leaf::item_head(item).flags & CHAIN != 0)
            .then(|| (leaf::chain_start(leaf::item_value(item)), is_settled))
    }

    /// Looks at some pages of the chain, from `at` or its first page on.
    fn look_along(
        &self,
        key: &[u8],
        at: Option<BlockNumber>,
        horizon: Xid,
        aborted: &[Xid],
        lost: &super::lost::Search,
    ) -> Result<Look, Fault> {
        let mut look = Look { upto: LookedTo::End, versions: 0, unclean: Vec::new() };
        let page = self.descend(key, 0, None)?.page;
        let Some((start, is_settled)) = Self::chain_in(&page, key, horizon, aborted) else { return Ok(look) };
        if is_settled {
            look.upto = LookedTo::Dead;
            return Ok(look);
        }
        let mut block = at.unwrap_or(start);
        for count in 0..LOOKED_AT_ONCE {
            let mut left = 1;
            let overflow = match self.overflow(block, PageKind::Overflow, &mut left) {
                Err(Fault::Miss(_)) if count > 0 => break,
                other => other?,
            };
            lost.met(&[block]);
            let (mut unclean, mut large) = (0, Vec::new());
            look.versions += overflow.item_count() as u64;
            for item in overflow.items() {
                lost.met_large(item);
                if aborted.binary_search(&leaf::item_head(item).xid).is_ok() {
                    unclean += 1;
                    large.extend(large_head(item));
                }
            }
            if unclean > 0 {
                look.versions -= unclean;
                look.unclean.push((block, unclean, large));
            }
            // The last version of a page is its oldest. Those of aborted transactions settle nothing, and are
            // above the horizon.
            let last = overflow.item_count().checked_sub(1).map(|last| leaf::item_head(overflow.item(last)));
            if last.is_some_and(|last| last.xid < horizon) {
                look.upto = LookedTo::Settled(block);
                return Ok(look);
            }
            block = overflow.right();
            if !block.is_valid() {
                return Ok(look);
            }
        }
        look.upto = LookedTo::Page(block);
        Ok(look)
    }

    /// The page of a chain behind which all is dead: `last`, or the first one of a chain that is dead. None
    /// if there is no such chain.
    fn last_kept(
        page: &Page,
        key: &[u8],
        last: Option<BlockNumber>,
        horizon: Xid,
        aborted: &[Xid],
    ) -> Option<BlockNumber> {
        let (start, is_settled) = Self::chain_in(page, key, horizon, aborted)?;
        last.or(is_settled.then_some(start))
    }

    /// The large values of the pages behind the last kept one that one record can free, which are brought
    /// into the pool; None if there is no page.
    fn look_behind(
        &self,
        key: &[u8],
        last: Option<BlockNumber>,
        horizon: Xid,
        aborted: &[Xid],
        lost: &super::lost::Search,
    ) -> Result<Option<Vec<LargeHead>>, Fault> {
        // Readers of the chain hold its leaf.
        let page = self.descend(key, 0, None)?.page;
        let Some(last) = Self::last_kept(&page, key, last, horizon, aborted) else { return Ok(None) };
        let kept = self.overflow(last, PageKind::Overflow, &mut 1)?;
        lost.met(&[last]);
        kept.items().for_each(|item| lost.met_large(item));
        let mut block = kept.right();
        drop(kept);
        let mut large = Vec::new();
        for count in 0..FREED_MAX {
            if !block.is_valid() {
                return Ok((count > 0).then_some(large));
            }
            let page = match self.overflow(block, PageKind::Overflow, &mut 1) {
                Err(Fault::Miss(_)) if count > 0 => break,
                other => other?,
            };
            large.extend(page.items().filter_map(large_head));
            block = page.right();
        }
        Ok(Some(large))
    }
}

impl<'a> Writer<'a> {
    /// Removes the versions of aborted transactions from the page `block` of a chain. It may end up empty; it
    /// goes with its chain. Returns how many.
    fn clean_chain(
        &mut self,
        tree: &Tree,
        key: &[u8],
        block: BlockNumber,
        aborted: &[Xid],
        known: &Known,
    ) -> Result<usize, Fault> {
        let (page, at) = self.find(tree, key, 0)?;
        let mut leaf = Leaf { page, block: at };
        let mut page = self.pin(&tree.relation, block)?.write();
        if page.kind() != Some(PageKind::Overflow) {
            return Err(tree.broken(block, "a chain leads to a page of another kind"));
        }
        let (mut dead, mut pages) = (Vec::new(), Vec::new());
        for (index, item) in (0_u16..).zip(page.items()) {
            let head = leaf::item_head(item);
            if aborted.binary_search(&head.xid).is_ok()
                && (head.flags & LARGE == 0 || self.pages_of(tree, item, known, &mut pages))
            {
                dead.push(index);
            }
        }
        if dead.is_empty() {
            return Ok(0);
        }
        let removed = dead.len();
        let mut main = Vec::with_capacity(10 + 2 * removed);
        Prune { horizon: Xid::INVALID, dead }.encode(&mut main);
        let (mut maps, rest) = self.take_maps(tree, pages)?;
        let mut targets: SmallVec<[Target<'_, 'a>; 4]> = SmallVec::new();
        targets.push(Target { id: 0, block: leaf.block, init: false, data: &[], page: &mut leaf.page });
        targets.push(Target { id: 1, block, init: false, data: &[], page: &mut page });
        targets.extend(maps.targets());
        self.change(info::CHAIN_PRUNE, &tree.relation, &main, &mut targets)?;
        drop(targets);
        maps.freed(tree);
        self.free_pages(tree, rest)?;
        Ok(removed)
    }

    /// Cuts pages off a chain behind its last kept one. Returns how many became free.
    fn cut_chain(
        &mut self,
        tree: &Tree,
        key: &[u8],
        last: Option<BlockNumber>,
        order: &SweepOrder,
    ) -> Result<usize, Fault> {
        let (page, block) = self.find(tree, key, 0)?;
        match Tree::last_kept(&page, key, last, self.horizon, &order.aborted) {
            Some(last) => self.cut_behind(tree, &mut Leaf { page, block }, last, &order.known),
            None => Ok(0),
        }
    }
}
