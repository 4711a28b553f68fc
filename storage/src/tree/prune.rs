//! Versions that no snapshot can need any more leave their pages.

use super::insert::Leaf;
use super::{Tree, VersionHead};
use crate::changes::records::{MAP_ID, MAPS_MAX, Prune, info};
use crate::changes::store::Fault;
use crate::changes::writer::{Target, Writer};
use crate::pages::free_map;
use crate::pages::page::leaf::{self, CHAIN, DELETED, LARGE};
use crate::pages::page::{FIRST, Page, PageKind};
use crate::pages::pool::{ReadPage, WritePage};
use smallvec::SmallVec;
use std::collections::HashMap;
use wal::{BlockNumber, Xid};

/// Overflow pages that one prune frees at most, those of values that were looked up before apart: to keep the
/// write lock short.
pub(super) const FREED_MAX: usize = 64;

/// Pages of a chain that are looked at for the place where its dead part begins.
const WALKED_MAX: usize = 1024;

/// What a prune of one leaf removes.
#[derive(Debug, Default)]
struct Dead {
    items: Vec<u16>,
    /// Pages that no item leads to afterwards.
    pages: Vec<BlockNumber>,
    /// Some of the items a snapshot from before the horizon could see.
    seen: bool,
}

/// Large values whose pages were looked up before the write lock was taken: first page, who wrote them, all
/// pages. A version is written once, so its pages are the same for as long as it is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) values: HashMap<BlockNumber, (Xid, u32, Vec<BlockNumber>)>,
    /// Other pages that are missing are waited for: this is a sweep, which comes again when they are there.
    pub(super) waits: bool,
}

/// Where a run of versions is settled: the first that every snapshot sees, under which all is dead.
pub(super) fn settled_in(
    page: &Page,
    run: std::ops::Range<usize>,
    horizon: Xid,
    aborted: &[Xid],
) -> Option<usize> {
    run.into_iter().find(|at| {
        let head = leaf::item_head(page.item(*at));
        head.flags & CHAIN == 0 && head.xid < horizon && aborted.binary_search(&head.xid).is_err()
    })
}

/// Finds the dead items of a leaf. A version is dead if a newer one of its key is seen by every snapshot, or
/// if its transaction is one of `aborted`; a deletion seen by every snapshot is dead with all that is older.
/// `pages_of` gives the pages that an item leads to, if they can be freed now.
fn find_dead(
    page: &Page,
    horizon: Xid,
    aborted: &[Xid],
    mut pages_of: impl FnMut(&[u8], &mut Vec<BlockNumber>) -> bool,
) -> Dead {
    let mut dead = Dead::default();
    let mut index = FIRST;
    let count = page.item_count();
    while index < count {
        let end = leaf::run_end(page, index);
        let settled = settled_in(page, index..end, horizon, aborted);
        let mut all_gone = true;
        let mut deletion = None;
        for at in index..end {
            let item = page.item(at);
            let head = leaf::item_head(item);
            if settled == Some(at) {
                if head.flags & DELETED != 0 {
                    deletion = Some(dead.items.len());
                }
                continue;
            }
            let below = settled.is_some_and(|settled| at > settled);
            if !below && (head.flags & CHAIN != 0 || aborted.binary_search(&head.xid).is_err()) {
                continue;
            }
            if head.flags & (CHAIN | LARGE) != 0 && !pages_of(item, &mut dead.pages) {
                all_gone &= !below;
                continue;
            }
            dead.items.push(at as u16);
            dead.seen |= below;
        }
        if let (Some(settled), Some(before), true) = (settled, deletion, all_gone) {
            dead.items.insert(before, settled as u16);
            dead.seen = true;
        }
        index = end;
    }
    dead
}

impl<'a> Writer<'a> {
    /// Removes the dead versions of a latched leaf. Returns how many.
    pub(super) fn prune_leaf(&mut self, tree: &Tree, leaf: &mut Leaf<'a>) -> Result<usize, Fault> {
        if !self.horizon.is_valid() {
            return Ok(0);
        }
        self.remove_dead(tree, leaf, &[], &Known::default()).map(|(removed, _)| removed)
    }

    /// Removes the dead versions of a latched leaf, and those of `aborted`. Returns how many, and how many
    /// pages became free.
    pub(super) fn remove_dead(
        &mut self,
        tree: &Tree,
        leaf: &mut Leaf<'a>,
        aborted: &[Xid],
        known: &Known,
    ) -> Result<(usize, usize), Fault> {
        let mut long: SmallVec<[BlockNumber; 2]> = SmallVec::new();
        let mut missing = None;
        let dead = find_dead(&leaf.page, self.horizon, aborted, |item, pages| {
            let found = self.find_pages_of(tree, item, known, pages).unwrap_or_else(|fault| {
                missing = missing.take().or(Some(fault));
                false
            });
            let is_chain = leaf::item_head(item).flags & CHAIN != 0;
            if !found && is_chain {
                long.push(leaf::chain_start(leaf::item_value(item)));
            }
            found
        });
        if let Some(fault) = missing.filter(|_| known.waits && dead.items.is_empty()) {
            return Err(fault);
        }
        let mut freed = 0;
        for start in long {
            freed += self.shorten_chain(tree, leaf, start, true, known)?;
        }
        if dead.items.is_empty() {
            return Ok((0, freed));
        }
        let removed = dead.items.len();
        freed += dead.pages.len();
        // What aborted transactions wrote no snapshot has ever seen, so none is in the way.
        let horizon = if dead.seen { self.horizon } else { Xid::INVALID };
        self.store.prunes_below(horizon);
        let mut main = Vec::with_capacity(10 + 2 * removed);
        Prune { horizon, dead: dead.items }.encode(&mut main);
        let (mut maps, rest) = self.take_maps(tree, dead.pages)?;
        let mut targets: SmallVec<[Target<'_, 'a>; 4]> = SmallVec::new();
        targets.push(Target { id: 0, block: leaf.block, init: false, data: &[], page: &mut leaf.page });
        targets.extend(maps.targets());
        self.change(info::PRUNE, &tree.relation, &main, &mut targets)?;
        drop(targets);
        maps.freed(tree);
        tree.relation.counts.removed(removed);
        self.free_pages(tree, rest)?;
        Ok((removed, freed))
    }

    /// Appends the pages that an item leads to: a chain with its versions' large values, or a large value.
    /// False, and nothing appended, if they are not all at hand, or are too many.
    pub(super) fn pages_of(
        &self,
        tree: &Tree,
        item: &[u8],
        known: &Known,
        pages: &mut Vec<BlockNumber>,
    ) -> bool {
        self.find_pages_of(tree, item, known, pages).unwrap_or(false)
    }

    /// The same; what is not at hand is a fault.
    fn find_pages_of(
        &self,
        tree: &Tree,
        item: &[u8],
        known: &Known,
        pages: &mut Vec<BlockNumber>,
    ) -> Result<bool, Fault> {
        let before = pages.len();
        let found = self.collect(tree, item, known, before + FREED_MAX, pages).and_then(|all| {
            for page in pages.get(before..).filter(|_| all).unwrap_or_default() {
                self.pin(&tree.relation, free_map::map_of(*page))?;
            }
            Ok(all)
        });
        if !matches!(found, Ok(true)) {
            pages.truncate(before);
        }
        found
    }

    fn collect(
        &self,
        tree: &Tree,
        item: &[u8],
        known: &Known,
        limit: usize,
        pages: &mut Vec<BlockNumber>,
    ) -> Result<bool, Fault> {
        let head = leaf::item_head(item);
        let start = leaf::chain_start(leaf::item_value(item));
        let kind = if head.flags & CHAIN != 0 { PageKind::Overflow } else { PageKind::Large };
        if kind == PageKind::Large
            && let Some((.., all)) =
                known.values.get(&start).filter(|(xid, cid, _)| *xid == head.xid && *cid == head.cid)
        {
            pages.extend_from_slice(all);
            return Ok(true);
        }
        let mut block = start;
        while block.is_valid() {
            if pages.len() >= limit {
                return Ok(false);
            }
            let page = self.pin(&tree.relation, block)?.read();
            if page.kind() != Some(kind) {
                return Ok(false);
            }
            pages.push(block);
            if kind == PageKind::Overflow {
                for item in page.items().filter(|item| leaf::item_head(item).flags & LARGE != 0) {
                    if !self.collect(tree, item, known, limit, pages)? {
                        return Ok(false);
                    }
                }
            }
            block = page.right();
        }
        Ok(true)
    }

    /// Takes dead pages out of the middle of a chain, a bounded number at a time: those after the first page
    /// that holds a version which every snapshot sees (`settled`: there is a newer such version before the
    /// chain). Returns how many became free.
    pub(super) fn shorten_chain(
        &mut self,
        tree: &Tree,
        leaf: &mut Leaf<'a>,
        start: BlockNumber,
        settled: bool,
        known: &Known,
    ) -> Result<usize, Fault> {
        let (mut block, mut walked) = (start, 0);
        loop {
            let Some(page) = self.resident(tree, block, PageKind::Overflow) else { return Ok(0) };
            // The last version of a page is its oldest. Those of aborted transactions settle nothing, and are
            // above the horizon.
            let last = page.item_count().checked_sub(1).map(|last| leaf::item_head(page.item(last)));
            if settled || last.is_some_and(|last| last.xid < self.horizon) {
                break;
            }
            walked += 1;
            if walked == WALKED_MAX {
                return Ok(0);
            }
            block = page.right();
        }
        self.cut_behind(tree, leaf, block, known)
    }

    /// Takes pages out of a chain behind its page `block`: as many of the first ones as are at hand and one
    /// record frees. All that is behind must be dead. Returns how many became free.
    pub(super) fn cut_behind(
        &mut self,
        tree: &Tree,
        leaf: &mut Leaf<'a>,
        block: BlockNumber,
        known: &Known,
    ) -> Result<usize, Fault> {
        let mut next = match self.pin(&tree.relation, block).map(|pin| pin.read()) {
            Ok(page) if page.kind() == Some(PageKind::Overflow) => page.right(),
            Err(fault) if known.waits => return Err(fault),
            _ => return Ok(0),
        };
        let (mut pages, mut missing) = (Vec::new(), None);
        while pages.len() < FREED_MAX && next.is_valid() {
            let before = pages.len();
            let after = self.with_values(tree, next, known, &mut pages).unwrap_or_else(|fault| {
                missing = Some(fault);
                None
            });
            let Some(after) = after else {
                pages.truncate(before);
                break;
            };
            next = after;
        }
        if let Some(fault) = missing.filter(|_| pages.is_empty() && known.waits) {
            return Err(fault);
        }
        if pages.is_empty() {
            return Ok(0);
        }
        let freed = pages.len();
        self.store.prunes_below(self.horizon);
        let mut main = self.horizon.get().to_le_bytes().to_vec();
        main.extend_from_slice(&next.get().to_le_bytes());
        let mut page = self.pin(&tree.relation, block)?.write();
        let (mut maps, rest) = self.take_maps(tree, pages)?;
        let mut targets: SmallVec<[Target<'_, 'a>; 4]> = SmallVec::new();
        targets.push(Target { id: 0, block: leaf.block, init: false, data: &[], page: &mut leaf.page });
        targets.push(Target { id: 1, block, init: false, data: &[], page: &mut page });
        targets.extend(maps.targets());
        self.change(info::CHAIN_CUT, &tree.relation, &main, &mut targets)?;
        drop(targets);
        drop(page);
        maps.freed(tree);
        self.free_pages(tree, rest)?;
        Ok(freed)
    }

    /// Appends a page of a chain with its versions' large values. Returns the next one; None if they can't
    /// all be freed now.
    fn with_values(
        &self,
        tree: &Tree,
        block: BlockNumber,
        known: &Known,
        pages: &mut Vec<BlockNumber>,
    ) -> Result<Option<BlockNumber>, Fault> {
        let page = self.pin(&tree.relation, block)?.read();
        self.pin(&tree.relation, free_map::map_of(block))?;
        if page.kind() != Some(PageKind::Overflow) {
            return Ok(None);
        }
        for item in page.items().filter(|item| leaf::item_head(item).flags & LARGE != 0) {
            if !self.find_pages_of(tree, item, known, pages)? {
                return Ok(None);
            }
        }
        pages.push(block);
        Ok(Some(page.right()))
    }

    /// A page of a chain if it can be had now.
    pub(super) fn resident(&self, tree: &Tree, block: BlockNumber, kind: PageKind) -> Option<ReadPage<'a>> {
        let valid = Some(block).filter(|block| block.is_valid())?;
        let page = self.pin(&tree.relation, valid).ok()?.read();
        (page.kind() == Some(kind)).then_some(page)
    }

    /// Latches the maps of as many pages as one record can free; gives the other pages back.
    pub(super) fn take_maps(
        &self,
        tree: &Tree,
        mut pages: Vec<BlockNumber>,
    ) -> Result<(Maps<'a>, Vec<BlockNumber>), Fault> {
        pages.sort_unstable();
        let mut maps = Maps::default();
        let mut rest = pages.as_slice();
        while let Some(first) = rest.first().filter(|_| maps.0.len() < MAPS_MAX) {
            let map = free_map::map_of(*first);
            let (these, others) = rest.split_at(rest.partition_point(|page| free_map::map_of(*page) == map));
            maps.0.push((self.pin(&tree.relation, map)?.write(), map, free_map::encode_blocks(these)));
            rest = others;
        }
        tree.relation.was_not_lost(&pages);
        Ok((maps, rest.to_vec()))
    }

    /// Marks pages as free that nothing leads to.
    pub(super) fn free_pages(&mut self, tree: &Tree, mut pages: Vec<BlockNumber>) -> Result<(), Fault> {
        while !pages.is_empty() {
            let (mut maps, rest) = self.take_maps(tree, pages)?;
            let mut targets: SmallVec<[Target<'_, 'a>; 4]> = maps.targets().collect();
            self.change(info::FREE, &tree.relation, &[], &mut targets)?;
            drop(targets);
            maps.freed(tree);
            pages = rest;
        }
        Ok(())
    }
}

/// Maps of free pages, latched, with what a record says of each.
#[derive(Default)]
pub(super) struct Maps<'a>(SmallVec<[(WritePage<'a>, BlockNumber, Vec<u8>); 2]>);

impl<'a> Maps<'a> {
    /// The maps as blocks of a change.
    pub(super) fn targets(&mut self) -> impl Iterator<Item = Target<'_, 'a>> {
        self.0.iter_mut().zip(MAP_ID..).map(|((page, block, data), id)| Target {
            id,
            block: *block,
            init: false,
            data,
            page,
        })
    }

    /// The change is made: pages are to be had there.
    pub(super) fn freed(self, tree: &Tree) {
        if let Some((_, first, _)) = self.0.first() {
            let relation = &tree.relation;
            relation.set_map_hint(relation.map_hint().min(first.get() / free_map::SPAN));
        }
    }
}

impl Tree {
    /// All versions of `key`, newest first, for tests and tools: loads its chain under the leaf's latch.
    ///
    /// # Errors
    /// Fails if a page is not in the pool or is damaged.
    pub fn versions(&self, key: &[u8]) -> Result<Vec<VersionHead>, Fault> {
        let page = self.descend(key, 0, None)?.page;
        let mut heads = Vec::new();
        for item in (page.lower_bound(key)..page.item_count()).map(|index| page.item(index)) {
            let head = leaf::item_head(item);
            if leaf::item_key(item) != key {
                break;
            }
            if head.flags & CHAIN == 0 {
                heads.push(head.into());
                continue;
            }
            let mut block = leaf::chain_start(leaf::item_value(item));
            while block.is_valid() {
                let page = self.load(block)?.read();
                heads.extend(page.items().map(|item| VersionHead::from(leaf::item_head(item))));
                block = page.right();
            }
        }
        Ok(heads)
    }
}
