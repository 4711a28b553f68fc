//! Pages that are full give their upper part to a new page; a lone key's oldest versions go to a chain.

use super::insert::{Leaf, is_lone};
use super::{Prepared, Tree};
use crate::changes::records::{ChainPush, ROOT, RootSplit, Split, encode_items, info};
use crate::changes::store::Fault;
use crate::changes::writer::{Target, Writer};
use crate::pages::page::leaf::{self, CHAIN};
use crate::pages::page::{FIRST, POINTER_SIZE, Page, USABLE_SIZE};
use smallvec::SmallVec;
use wal::BlockNumber;
use wal::codec::PutFields;

/// Where a page is cut: items from `index` on go right, and `separator` is the right page's low bound.
struct Cut {
    index: usize,
    separator: Vec<u8>,
}

/// Why an inner page cannot be split; leaves are looked at before ([`is_uncuttable`]).
const NOTHING_TO_PART: &str = "a full page leads to fewer than two others";

/// How full a page stays when keys arrive in ascending order at the tree's end.
const APPEND_FILL_PERCENT: usize = 90;

/// What a page is split for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'k> {
    /// The page covers it.
    pub(super) key: &'k [u8],
    /// Bytes to be added there.
    pub(super) bytes: usize,
    /// A leaf of keys that are all below `key` keeps them all.
    pub(super) at_end: bool,
}

/// The shortest key above `left` and not above `right`: the latter's beginning.
pub(super) fn separator_between<'k>(left: &[u8], right: &'k [u8]) -> &'k [u8] {
    let common = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    right.get(..common + 1).unwrap_or(right)
}

/// How many bytes of a page the left side shall keep if keys come in ascending order: into the last page, or
/// somewhere in the middle of the tree, as those of one of several queues do. There the version before the
/// new one's place is the page's newest, and the larger part of the page is before it.
fn kept_left(page: &Page, key: &[u8], at: usize, need: usize) -> Option<usize> {
    let count = page.item_count();
    let space = |index: usize| page.item(index).len() + POINTER_SIZE;
    let before = (FIRST..at).map(space).sum::<usize>() + need;
    let last = at == count && page.high_key().is_none();
    let ascends = || {
        let xid = |index: usize| leaf::item_head(page.item(index)).xid;
        let is_new = at > FIRST && (at == count || page.key(at) != key);
        is_new
            && before > (at..count).map(space).sum::<usize>()
            && (FIRST..count).all(|index| xid(index) <= xid(at - 1))
    };
    (last || (page.level() == 0 && ascends())).then_some(before * APPEND_FILL_PERCENT / 100)
}

/// Chooses where to cut a page so that both sides are about equally full once what is wanted is added; for
/// ascending keys, so that the left one stays nearly full. Versions of one key stay together. None if there
/// is no place to cut: all are of one key, and the new one is that key's as well, or greater, and a high key
/// between the two has no room.
fn choose_cut(page: &Page, wanted: Wanted<'_>) -> Option<Cut> {
    let Wanted { key, bytes: need, .. } = wanted;
    let count = page.item_count();
    let is_leaf = page.level() == 0;
    let at = if is_leaf { page.lower_bound(key) } else { page.child_index(key) + 1 };
    let total = (FIRST..count).map(|index| page.item(index).len() + POINTER_SIZE).sum::<usize>() + need;
    let target = kept_left(page, key, at, need).unwrap_or(total / 2);
    // The right page's low bound if item `index` is its first, or the new one, which would stand there.
    let separator = |index: usize, new_goes_left: bool| match (is_leaf, index == at) {
        (false, _) => page.key(index),
        (true, true) if new_goes_left => separator_between(key, page.key(index)),
        (true, true) => separator_between(page.key(index - 1), key),
        (true, false) => separator_between(page.key(index - 1), page.key(index)),
    };

    let mut best: Option<(usize, usize, bool)> = None;
    let mut left = 0;
    for index in FIRST..=count {
        // Cut before item `index`, with the new item on either side where it would stand right here.
        let old_boundary =
            index > FIRST && index < count && (!is_leaf || page.key(index - 1) != page.key(index));
        let sides: &[bool] = match index.cmp(&at) {
            std::cmp::Ordering::Less if old_boundary => &[false],
            std::cmp::Ordering::Greater if old_boundary => &[true],
            std::cmp::Ordering::Equal => &[false, true],
            _ => &[],
        };
        for new_goes_left in sides.iter().copied() {
            if index == at {
                let possible = match (new_goes_left, is_leaf) {
                    // The left page's new high key takes no room of an item that goes.
                    (false, true) => {
                        index > FIRST && left + separator(index, false).len() + POINTER_SIZE <= USABLE_SIZE
                    }
                    (true, true) => index < count && page.key(index) != key,
                    // The new separator of an inner page is not known here, so it cannot be the boundary.
                    (false, false) => false,
                    (true, false) => index > FIRST && index < count,
                };
                if !possible {
                    continue;
                }
            }
            let bytes = left + if new_goes_left { need } else { 0 };
            let off = bytes.abs_diff(target);
            if best.is_none_or(|(least, _, _)| off < least) {
                best = Some((off, index, new_goes_left));
            }
        }
        if index < count {
            left += page.item(index).len() + POINTER_SIZE;
        }
    }
    let (_, index, new_goes_left) = best?;
    Some(Cut { index, separator: separator(index, new_goes_left).to_vec() })
}

/// Where to cut a page for what is wanted; None as [`choose_cut`].
fn cut_for(page: &Page, wanted: Wanted<'_>) -> Option<Cut> {
    if wanted.at_end {
        // All items stay, and the new page is for the key and those above.
        let index = page.item_count();
        let separator = separator_between(page.key(index - 1), wanted.key);
        if page.free_space() >= separator.len() + POINTER_SIZE {
            return Some(Cut { index, separator: separator.to_vec() });
        }
    }
    choose_cut(page, wanted)
}

/// Whether a full leaf has no place to cut for what is wanted, until the oldest versions of the one key that
/// it holds have gone to a chain: that key's own next version, or another key without room for a high key
/// between the two.
pub(super) fn is_uncuttable(page: &Page, wanted: Wanted<'_>) -> bool {
    let first = page.key(FIRST);
    is_lone(page, first) && (first == wanted.key || cut_for(page, wanted).is_none())
}

/// A new tree page's data: its right link, its high key and the items.
pub(super) fn page_data<'p>(
    right: BlockNumber,
    high: &'p [u8],
    items: impl Iterator<Item = &'p [u8]>,
) -> Vec<u8> {
    let all: SmallVec<[&[u8]; 128]> = std::iter::once(high).chain(items).collect();
    let mut data = Vec::with_capacity(8192);
    data.put_u32(right.get());
    encode_items(all.iter().copied(), &mut data);
    data
}

impl<'a> Writer<'a> {
    /// Splits the page `block` of `level` to make room for what is wanted; its parents first where they lack
    /// room for the downlink.
    pub(super) fn split(
        &mut self,
        tree: &Tree,
        prepared: &mut Prepared,
        block: BlockNumber,
        level: u16,
        wanted: Wanted<'_>,
    ) -> Result<(), Fault> {
        if block == ROOT {
            return self.split_root(tree, prepared, wanted);
        }
        let key = wanted.key;
        for _ in 0..super::DEPTH_MAX {
            let mut left = self.pin(&tree.relation, block)?.write();
            let cut = cut_for(&left, wanted).ok_or_else(|| tree.broken(block, NOTHING_TO_PART))?;
            let (mut parent, parent_block) = self.find(tree, key, level + 1)?;
            let parent_need = 4 + cut.separator.len() + POINTER_SIZE;
            if parent.free_space() < parent_need {
                drop((left, parent));
                let wanted = Wanted { key, bytes: parent_need, at_end: false };
                self.split(tree, prepared, parent_block, level + 1, wanted)?;
                continue;
            }
            let downlink = parent.child_index(key);
            if parent.child(downlink) != block {
                return Err(tree.broken(parent_block, "the downlink for a page is missing"));
            }
            let mut taken = self.allocate(tree, 1)?;
            let [right_block] = taken.blocks[..] else {
                return Err(tree.broken(block, "one page was asked for"));
            };
            let mut right = self.fresh(tree, prepared, right_block)?;
            let data = page_data(
                left.right(),
                left.item(0),
                (cut.index..left.item_count()).map(|index| left.item(index)),
            );
            let mut main = Vec::with_capacity(64);
            Split {
                level,
                split: cut.index,
                parent_index: downlink + 1,
                right: right_block,
                separator: &cut.separator,
            }
            .encode(&mut main);
            let mut targets: SmallVec<[Target<'_, 'a>; 4]> = SmallVec::new();
            targets.push(Target { id: 0, block, init: false, data: &[], page: &mut left });
            targets.push(Target { id: 1, block: right_block, init: true, data: &data, page: &mut right });
            targets.push(Target { id: 2, block: parent_block, init: false, data: &[], page: &mut parent });
            targets.extend(taken.map_target());
            return Ok(self.change(info::SPLIT, &tree.relation, &main, &mut targets)?);
        }
        Err(tree.broken(block, "splits make no room"))
    }

    /// Moves the root's items to two new pages, and makes the root their parent.
    fn split_root(&mut self, tree: &Tree, prepared: &mut Prepared, wanted: Wanted<'_>) -> Result<(), Fault> {
        let mut root = self.pin(&tree.relation, ROOT)?.write();
        let level = root.level();
        let cut = choose_cut(&root, wanted).ok_or_else(|| tree.broken(ROOT, NOTHING_TO_PART))?;
        let mut taken = self.allocate(tree, 2)?;
        let [left_block, right_block] = taken.blocks[..] else {
            return Err(tree.broken(ROOT, "two pages were asked for"));
        };
        let mut left = self.fresh(tree, prepared, left_block)?;
        let mut right = self.fresh(tree, prepared, right_block)?;
        let lower = page_data(right_block, &cut.separator, (FIRST..cut.index).map(|index| root.item(index)));
        let upper = page_data(
            BlockNumber::INVALID,
            b"",
            (cut.index..root.item_count()).map(|index| root.item(index)),
        );
        let mut main = Vec::with_capacity(64);
        RootSplit { level, left: left_block, right: right_block, separator: &cut.separator }
            .encode(&mut main);
        let mut targets: SmallVec<[Target<'_, 'a>; 4]> = SmallVec::new();
        targets.push(Target { id: 0, block: ROOT, init: false, data: &[], page: &mut root });
        targets.push(Target { id: 1, block: left_block, init: true, data: &lower, page: &mut left });
        targets.push(Target { id: 2, block: right_block, init: true, data: &upper, page: &mut right });
        targets.extend(taken.map_target());
        Ok(self.change(info::ROOT_SPLIT, &tree.relation, &main, &mut targets)?)
    }

    /// Moves the older half of a lone key's versions to a new overflow page at the head of its chain.
    pub(super) fn push_chain(
        &mut self,
        tree: &Tree,
        prepared: &mut Prepared,
        mut leaf: Leaf<'a>,
    ) -> Result<(), Fault> {
        self.shorten_own_chain(tree, &mut leaf)?;
        let Leaf { mut page, block } = leaf;
        let count = page.item_count();
        let last = page.item(count - 1);
        let has_chain = leaf::item_head(last).flags & CHAIN != 0;
        let old = if has_chain { leaf::chain_start(leaf::item_value(last)) } else { BlockNumber::INVALID };
        let versions_end = count - usize::from(has_chain);
        let half = page.used_space() / 2;
        let mut kept = 0;
        let first = (FIRST..versions_end)
            .find(|index| {
                kept += page.item(*index).len() + POINTER_SIZE;
                kept > half
            })
            .unwrap_or(versions_end.saturating_sub(1))
            .max(FIRST);
        if first >= versions_end {
            return Err(tree.broken(block, "a full leaf holds no versions"));
        }
        let mut taken = self.allocate(tree, 1)?;
        let [new] = taken.blocks[..] else { return Err(tree.broken(block, "one page was asked for")) };
        let mut overflow = self.fresh(tree, prepared, new)?;
        let mut data = Vec::with_capacity(8192);
        let moved: SmallVec<[&[u8]; 128]> = (first..versions_end).map(|index| page.item(index)).collect();
        encode_items(moved.iter().copied(), &mut data);
        drop(moved);
        let xid = leaf::item_head(page.item(first)).xid;
        let key = page.key(FIRST).to_vec();
        let mut main = Vec::with_capacity(64 + key.len());
        ChainPush { index: first, count: count - first, old, new, xid, key: &key }.encode(&mut main);
        let mut targets: SmallVec<[Target<'_, 'a>; 3]> = SmallVec::new();
        targets.push(Target { id: 0, block, init: false, data: &[], page: &mut page });
        targets.push(Target { id: 1, block: new, init: true, data: &data, page: &mut overflow });
        targets.extend(taken.map_target());
        Ok(self.change(info::CHAIN_PUSH, &tree.relation, &main, &mut targets)?)
    }

    fn shorten_own_chain(&mut self, tree: &Tree, leaf: &mut Leaf<'a>) -> Result<(), Fault> {
        let last = leaf.page.item(leaf.page.item_count() - 1);
        if !self.horizon.is_valid() || leaf::item_head(last).flags & CHAIN == 0 {
            return Ok(());
        }
        let start = leaf::chain_start(leaf::item_value(last));
        self.shorten_chain(tree, leaf, start, false, &super::prune::Known::default()).map(drop)
    }
}
