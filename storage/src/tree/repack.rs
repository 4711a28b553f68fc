//! Siblings that are sparse become fewer pages, and pages at the file's end move to free ones before it, so
//! that the end can be cut off.
//!
//! Both are one record (REPACK): the pages that come of the siblings are made anew with all that they hold,
//! the parent leads to them, the left neighbour to the first, and what is left over becomes free. Rows of one
//! page go to another, which [`super`] says why readers may not notice.
//!
//! # When leaves are packed
//!
//! A sweep looks back from each leaf at its one or two left siblings, which it has just pruned. They become
//! as few pages as they fill to [`FILL_PERCENT`]; a leaf that was split holds half a page, so two such ones
//! stay two, and three become two. What was packed must grow by half of that again until it is split, and a
//! page that was split must lose a quarter until it is packed: so sweeps and splits do not chase one another.
//! Versions that a snapshot still needs count as rows do: leaves that are full of them are left alone until
//! they are gone.

use super::insert::Leaf;
use super::split::{page_data, separator_between};
use super::unlink::Step;
use super::{DEPTH_MAX, Tree};
use crate::changes::records::{PACKED_MAX, REPACKED_MAX, ROOT, Repack, info};
use crate::changes::store::Fault;
use crate::changes::writer::{Target, Writer};
use crate::pages::free_map;
use crate::pages::page::leaf;
use crate::pages::page::{FIRST, POINTER_SIZE, Page, PageKind, USABLE_SIZE};
use crate::pages::pool::WritePage;
use smallvec::SmallVec;
use wal::BlockNumber;

/// How full packed leaves become at most.
pub(super) const FILL_PERCENT: usize = 70;
const FILL_MAX: usize = USABLE_SIZE * FILL_PERCENT / 100;

/// Siblings side by side, latched.
struct Siblings<'a> {
    pages: SmallVec<[(BlockNumber, WritePage<'a>); REPACKED_MAX]>,
    /// The way to their parent.
    path: SmallVec<[Step; 8]>,
    /// The first one's item there.
    first: usize,
    level: u16,
}

/// The pages of a change, latched.
struct Parted<'a> {
    /// Those that are made anew, in their order.
    made: SmallVec<[(BlockNumber, WritePage<'a>); PACKED_MAX]>,
    /// Those that become free.
    gone: SmallVec<[(BlockNumber, WritePage<'a>); REPACKED_MAX]>,
    /// Those whose place in the map of free pages changes.
    changed: Vec<BlockNumber>,
}

/// Bytes of a page's items without its high key.
fn filled(page: &Page) -> usize {
    page.used_space().saturating_sub(page.item(0).len() + POINTER_SIZE)
}

/// Whether a leaf may be packed with others.
pub(super) fn is_sparse(page: &Page) -> bool {
    filled(page) <= FILL_MAX
}

impl Siblings<'_> {
    fn items(&self) -> Vec<&[u8]> {
        self.pages.iter().flat_map(|(_, page)| page.items().skip(FIRST)).collect()
    }
    /// Where their items are cut in two, with the right part's low bound: the left one is as full as packed
    /// leaves become, and the right one goes on to be packed with what follows. Versions of one key stay
    /// together.
    fn cut(&self) -> Option<(usize, Vec<u8>)> {
        let items = self.items();
        let (mut left, mut cut) = (0, None);
        for (at, pair) in (1..).zip(items.windows(2)) {
            left += pair[0].len() + POINTER_SIZE;
            if left > FILL_MAX {
                break;
            }
            if leaf::item_key(pair[0]) != leaf::item_key(pair[1]) {
                cut = Some(at);
            }
        }
        let at = cut?;
        let separator = separator_between(leaf::item_key(items[at - 1]), leaf::item_key(items[at]));
        Some((at, separator.to_vec()))
    }
}

impl<'a> Writer<'a> {
    /// Packs the leaf that covers `key` with its left siblings if they are sparse. Returns how many pages
    /// became free.
    pub(super) fn pack(&mut self, tree: &Tree, key: &[u8], leaf: Leaf<'a>) -> Result<usize, Fault> {
        let path = self.path_to(tree, key, leaf.block, 0)?;
        let Some(parent) = path.last().copied() else { return Ok(0) };
        let (own, is_empty) = (filled(&leaf.page), leaf.page.item_count() == FIRST);
        let mut lefts: SmallVec<[BlockNumber; REPACKED_MAX]> = SmallVec::new();
        let (mut sum, mut found) = (own, None::<(usize, usize)>);
        {
            let above = self.pin(&tree.relation, parent.block)?.read();
            for index in (FIRST..parent.index).rev().take(REPACKED_MAX - 1) {
                lefts.insert(0, above.child(index));
            }
        }
        for (count, block) in (2_usize..).zip(lefts.iter().rev()) {
            sum += filled(&self.pin(&tree.relation, *block)?.read());
            // An empty leaf that could not be unlinked goes wherever there is a neighbour.
            let full = if is_empty && count == 2 { USABLE_SIZE * 9 / 10 } else { FILL_MAX };
            let packed = sum.div_ceil(full).max(1);
            let freed = count.saturating_sub(packed);
            if packed <= PACKED_MAX && freed > found.map_or(0, |(count, packed)| count - packed) {
                found = Some((count, packed));
            }
        }
        let Some((count, packed)) = found else { return Ok(0) };
        let mut siblings =
            Siblings { pages: SmallVec::new(), first: parent.index + 1 - count, path, level: 0 };
        for block in &lefts[lefts.len() + 1 - count..] {
            siblings.pages.push((*block, self.pin(&tree.relation, *block)?.write()));
        }
        siblings.pages.push((leaf.block, leaf.page));
        for pair in siblings.pages.windows(2) {
            if pair[0].1.kind() != Some(PageKind::Leaf) || pair[0].1.right() != pair[1].0 {
                return Err(tree.broken(pair[0].0, "the right link does not lead to the next page"));
            }
        }
        let mut blocks: SmallVec<[BlockNumber; REPACKED_MAX]> =
            siblings.pages.iter().map(|(block, _)| *block).collect();
        blocks.sort_unstable();
        blocks.truncate(packed);
        let done = self.repack(tree, siblings, &blocks)?;
        Ok(if done { count - packed } else { 0 })
    }

    /// Makes the pages `packed` of siblings; those that are none of them must be free. False if they do not
    /// fit.
    fn repack(&mut self, tree: &Tree, siblings: Siblings<'a>, packed: &[BlockNumber]) -> Result<bool, Fault> {
        let Some(parent) = siblings.path.last().copied() else { return Ok(false) };
        let whole = (siblings.items().len(), Vec::new());
        let cut = if packed.len() > 1 { siblings.cut() } else { Some(whole) };
        let Some((cut, separator)) = cut else { return Ok(false) };
        let Some(data) = pages_of(&siblings, packed, cut, &separator) else { return Ok(false) };
        let mut left = match siblings.pages.first() {
            Some((first, _)) if packed.first() != Some(first) => self.latch_left(tree, &siblings, *first)?,
            _ => None,
        };
        let mut above = self.pin(&tree.relation, parent.block)?.write();
        let goes: usize = (siblings.first + 1..siblings.first + siblings.pages.len())
            .map(|index| above.item(index).len() + POINTER_SIZE)
            .sum();
        let comes = if packed.len() > 1 { 4 + separator.len() + POINTER_SIZE } else { 0 };
        if above.free_space() + goes < comes {
            return Ok(false);
        }
        let Siblings { pages, first, level, .. } = siblings;
        let count = pages.len();
        // A page that stays may have other keys from now on.
        tree.relation.was_not_lost(packed);
        let Parted { mut made, mut gone, changed } = self.part(tree, pages, packed)?;
        let (mut maps, rest) = self.take_maps(tree, changed)?;
        if !rest.is_empty() {
            return Ok(false);
        }
        let mut main = Vec::with_capacity(32 + separator.len());
        Repack {
            level,
            parent_index: first,
            count,
            packed: SmallVec::from_slice(packed),
            separator: &separator,
        }
        .encode(&mut main);
        let mut targets: SmallVec<[Target<'_, 'a>; 8]> = SmallVec::new();
        targets.push(Target { id: 0, block: parent.block, init: false, data: &[], page: &mut above });
        if let Some((block, page)) = &mut left {
            targets.push(Target { id: Repack::LEFT, block: *block, init: false, data: &[], page });
        }
        for (id, ((block, page), data)) in (Repack::PACKED..).zip(made.iter_mut().zip(&data)) {
            targets.push(Target { id, block: *block, init: true, data, page });
        }
        for (id, (block, page)) in (Repack::GONE..).zip(&mut gone) {
            targets.push(Target { id, block: *block, init: true, data: &[], page });
        }
        targets.extend(maps.targets());
        tree.relation.reshape();
        self.change(info::REPACK, &tree.relation, &main, &mut targets)?;
        drop(targets);
        maps.freed(tree);
        Ok(true)
    }

    /// Tells the pages that are made anew from those that become free, and latches what comes to the first.
    fn part(
        &mut self,
        tree: &Tree,
        pages: SmallVec<[(BlockNumber, WritePage<'a>); REPACKED_MAX]>,
        packed: &[BlockNumber],
    ) -> Result<Parted<'a>, Fault> {
        let mut parted = Parted { made: SmallVec::new(), gone: SmallVec::new(), changed: Vec::new() };
        for (block, page) in pages {
            if packed.contains(&block) {
                parted.made.push((block, page));
            } else {
                parted.changed.push(block);
                parted.gone.push((block, page));
            }
        }
        for block in packed {
            if !parted.made.iter().any(|(made, _)| made == block) {
                parted.changed.push(*block);
                parted.made.push((*block, self.fresh(tree, &mut super::Prepared::new(), *block)?));
            }
        }
        parted.made.sort_by_key(|(block, _)| packed.iter().position(|packed| packed == block));
        Ok(parted)
    }

    /// The left neighbour of the first of siblings, latched; None if that is the first page of its level.
    fn latch_left(
        &self,
        tree: &Tree,
        siblings: &Siblings<'a>,
        first: BlockNumber,
    ) -> Result<Option<(BlockNumber, WritePage<'a>)>, Fault> {
        let mut path = siblings.path.clone();
        if let Some(parent) = path.last_mut() {
            parent.index = siblings.first;
        }
        let Some(block) = self.left_of(tree, &path, 0)? else { return Ok(None) };
        let page = self.pin(&tree.relation, block)?.write();
        if page.right() != first {
            return Err(tree.broken(block, "the right link does not lead to the next page"));
        }
        Ok(Some((block, page)))
    }

    /// The lowest free page, if it lies before `end`.
    fn lowest_free(&self, tree: &Tree, end: BlockNumber) -> Result<Option<BlockNumber>, Fault> {
        let relation = &tree.relation;
        for number in relation.map_hint()..free_map::map_count(end.get()) {
            let block = BlockNumber::new(number * free_map::SPAN);
            let map = self.pin(relation, block)?.read();
            if let Some(free) = free_map::free_blocks(&map, block).next() {
                return Ok(Some(free).filter(|free| *free < end));
            }
            relation.set_map_hint(number + 1);
        }
        Ok(None)
    }

    /// Where the pages in use end of a file of so many pages, behind the root: all that follow are free.
    pub(super) fn used_end(&self, tree: &Tree, pages: u32) -> Result<u32, Fault> {
        let mut end = pages;
        while end > ROOT.get() + 1 {
            // One latch for all pages that a map tells of: commits wait meanwhile.
            let block = free_map::map_of(BlockNumber::new(end - 1));
            let map = self.pin(&tree.relation, block)?.read();
            while end > block.get().max(ROOT.get() + 1) {
                let last = BlockNumber::new(end - 1);
                if !free_map::is_map(last) && !free_map::is_free(&map, last) {
                    return Ok(end);
                }
                end -= 1;
            }
        }
        Ok(end)
    }

    /// Moves the last page in use of a file to the lowest free one. False if there is none before it, or if
    /// it is an overflow page, which does not move.
    pub(super) fn move_last(&mut self, tree: &Tree) -> Result<bool, Fault> {
        let relation = &tree.relation;
        let last = self.used_end(tree, relation.page_count())?.checked_sub(1).map(BlockNumber::new);
        let Some(last) = last.filter(|last| *last > ROOT) else { return Ok(false) };
        let Some(free) = self.lowest_free(tree, last)? else { return Ok(false) };
        let (high, level) = {
            let page = self.pin(relation, last)?.read();
            if !matches!(page.kind(), Some(PageKind::Leaf | PageKind::Inner)) {
                return Ok(false);
            }
            (page.high_key().map(<[u8]>::to_vec), page.level())
        };
        // Where it ends, every page tells: an empty one too.
        let path = self.path_by(tree, last, level, |page| page.child_index_below(high.as_deref()))?;
        let Some(parent) = path.last().copied() else { return Ok(false) };
        let page = self.pin(relation, last)?.write();
        let siblings =
            Siblings { pages: SmallVec::from_iter([(last, page)]), first: parent.index, path, level };
        self.repack(tree, siblings, &[free])
    }

    /// The pages above the page `block` of `level`, which covers `key`; the root first.
    pub(super) fn path_to(
        &self,
        tree: &Tree,
        key: &[u8],
        target: BlockNumber,
        level: u16,
    ) -> Result<SmallVec<[Step; 8]>, Fault> {
        self.path_by(tree, target, level, |page| page.child_index(key))
    }

    /// The same for a page to which `choose` leads, which names an item of each inner page.
    fn path_by(
        &self,
        tree: &Tree,
        target: BlockNumber,
        level: u16,
        choose: impl Fn(&Page) -> usize,
    ) -> Result<SmallVec<[Step; 8]>, Fault> {
        let mut path = SmallVec::new();
        let mut block = ROOT;
        while block != target {
            let page = self.pin(&tree.relation, block)?.read();
            if page.kind() != Some(PageKind::Inner) || page.level() <= level || path.len() > DEPTH_MAX {
                return Err(tree.broken(block, "not the page of the tree that links lead to"));
            }
            let index = choose(&page);
            path.push(Step { block, index, count: page.item_count().saturating_sub(FIRST) });
            block = page.child(index);
        }
        Ok(path)
    }
}

/// What the pages hold that come of siblings; None if one would be too full.
fn pages_of(
    siblings: &Siblings<'_>,
    packed: &[BlockNumber],
    cut: usize,
    separator: &[u8],
) -> Option<SmallVec<[Vec<u8>; PACKED_MAX]>> {
    let (_, last) = siblings.pages.last()?;
    let items = siblings.items();
    let (lower, upper) = items.split_at_checked(cut)?;
    let mut data = SmallVec::new();
    for (at, items) in [lower, upper].into_iter().enumerate().take(packed.len()) {
        let next = packed.get(at + 1);
        let (right, high) = match next {
            Some(next) => (*next, separator),
            None => (last.right(), last.item(0)),
        };
        let bytes: usize = items.iter().map(|item| item.len() + POINTER_SIZE).sum();
        if bytes + high.len() + POINTER_SIZE > USABLE_SIZE {
            return None;
        }
        data.push(page_data(right, high, items.iter().copied()));
    }
    Some(data)
}
