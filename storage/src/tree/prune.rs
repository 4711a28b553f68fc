//! Versions that no snapshot can need any more leave their pages.

use super::insert::Leaf;
use super::{Tree, VersionHead};
use crate::free_map;
use crate::page::leaf::{self, CHAIN, DELETED, LARGE};
use crate::page::{FIRST, Page, PageKind};
use crate::pool::{ReadPage, WritePage};
use crate::records::{MAP_ID, MAPS_MAX, Prune, info};
use crate::store::Fault;
use crate::writer::{Target, Writer};
use smallvec::SmallVec;
use std::collections::HashMap;
use wal::{BlockNumber, Xid};

/// Overflow pages that one prune frees at most without I/O allowed, to keep the write lock short.
const FREED_MAX: usize = 64;

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

/// Large values whose pages were looked up before the write lock was taken: first page, who wrote them, all pages. A version is written
/// once, so its pages are the same for as long as it is there.
pub(super) type Known = HashMap<BlockNumber, (Xid, u32, Vec<BlockNumber>)>;

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

/// Finds the dead items of a leaf. A version is dead if a newer one of its key is seen by every snapshot, or if its transaction is
/// one of `aborted`; a deletion seen by every snapshot is dead with all that is older. `pages_of` gives the pages that an item leads to,
/// if they can be freed now.
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

    /// Removes the dead versions of a latched leaf, and those of `aborted`. Returns how many, and how many pages became free.
    pub(super) fn remove_dead(
        &mut self,
        tree: &Tree,
        leaf: &mut Leaf<'a>,
        aborted: &[Xid],
        known: &Known,
    ) -> Result<(usize, usize), Fault> {
        let mut long: SmallVec<[BlockNumber; 2]> = SmallVec::new();
        let dead = find_dead(&leaf.page, self.horizon, aborted, |item, pages| {
            let found = self.pages_of(tree, item, known, pages);
            let is_chain = leaf::item_head(item).flags & CHAIN != 0;
            if !found && is_chain {
                long.push(leaf::chain_start(leaf::item_value(item)));
            }
            found
        });
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

    /// Appends the pages that an item leads to: a chain with its versions' large values, or a large value. False, and nothing appended,
    /// if they are not all at hand.
    pub(super) fn pages_of(
        &self,
        tree: &Tree,
        item: &[u8],
        known: &Known,
        pages: &mut Vec<BlockNumber>,
    ) -> bool {
        let before = pages.len();
        let limit = before + if self.io { tree.relation.page_count() as usize } else { FREED_MAX };
        let found = self.collect(tree, item, known, limit, pages)
            && pages[before..].iter().all(|page| self.pin(&tree.relation, free_map::map_of(*page)).is_ok());
        if !found {
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
    ) -> bool {
        let head = leaf::item_head(item);
        let start = leaf::chain_start(leaf::item_value(item));
        let kind = if head.flags & CHAIN != 0 { PageKind::Overflow } else { PageKind::Large };
        if kind == PageKind::Large
            && let Some((.., all)) =
                known.get(&start).filter(|(xid, cid, _)| *xid == head.xid && *cid == head.cid)
        {
            pages.extend_from_slice(all);
            return true;
        }
        let mut block = start;
        while block.is_valid() {
            let Some(page) = self.resident(tree, block, kind).filter(|_| pages.len() < limit) else {
                return false;
            };
            pages.push(block);
            let is_large = |item: &&[u8]| leaf::item_head(item).flags & LARGE != 0;
            if kind == PageKind::Overflow
                && !page.items().filter(is_large).all(|item| self.collect(tree, item, known, limit, pages))
            {
                return false;
            }
            block = page.right();
        }
        true
    }

    /// Takes dead pages out of the middle of a chain, a bounded number at a time: those after the first page that holds
    /// a version which every snapshot sees (`settled`: there is a newer such version before the chain). Returns how many became free.
    pub(super) fn shorten_chain(
        &mut self,
        tree: &Tree,
        leaf: &mut Leaf<'a>,
        start: BlockNumber,
        settled: bool,
        known: &Known,
    ) -> Result<usize, Fault> {
        let (mut block, mut walked) = (start, 0);
        let mut next = loop {
            let Some(page) = self.resident(tree, block, PageKind::Overflow) else { return Ok(0) };
            // The last version of a page is its oldest. Those of aborted transactions settle nothing, and are above the horizon.
            let last = page.item_count().checked_sub(1).map(|last| leaf::item_head(page.item(last)));
            if settled || last.is_some_and(|last| last.xid < self.horizon) {
                break page.right();
            }
            walked += 1;
            if walked == WALKED_MAX {
                return Ok(0);
            }
            block = page.right();
        };
        let mut pages = Vec::new();
        while pages.len() < FREED_MAX
            && let Some(page) = self.resident(tree, next, PageKind::Overflow)
        {
            let before = pages.len();
            let is_large = |item: &&[u8]| leaf::item_head(item).flags & LARGE != 0;
            let whole =
                page.items().filter(is_large).all(|item| self.pages_of(tree, item, known, &mut pages))
                    && self.pin(&tree.relation, free_map::map_of(next)).is_ok();
            if !whole {
                pages.truncate(before);
                break;
            }
            pages.push(next);
            next = page.right();
        }
        if pages.is_empty() {
            return Ok(0);
        }
        let freed = pages.len();
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
    /// What `lookup` offers of `key`, for tests and tools: all its versions, newest first.
    pub fn versions(&self, key: &[u8]) -> Result<Vec<VersionHead>, Fault> {
        let mut heads = Vec::new();
        self.lookup(
            key,
            |head| {
                heads.push(head);
                false
            },
            &mut Vec::new(),
        )?;
        Ok(heads)
    }
}
