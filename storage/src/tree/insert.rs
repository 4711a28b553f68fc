//! A new version takes its place.

use super::split::{Wanted, is_uncuttable};
use super::{DEPTH_MAX, Prepared, Tree};
use crate::Error;
use crate::changes::records::{Insert, InsertMany, Like, MAP_ID, ROOT, info, version_space};
use crate::changes::store::Fault;
use crate::changes::writer::{NewVersion, Target, Writer};
use crate::pages::free_map;
use crate::pages::page::leaf::{self, CHAIN, DELETED, ITEM_HEADER, LARGE, MAX_ITEM, MAX_KEY};
use crate::pages::page::{FIRST, POINTER_SIZE, Page, PageKind, USABLE_SIZE};
use crate::pages::pool::{PageKey, WritePage};
use smallvec::SmallVec;
use wal::BlockNumber;

/// Bytes of a large value in one overflow page.
pub(super) const LARGE_PIECE: usize = USABLE_SIZE - POINTER_SIZE;
/// Splits that one insertion can need on its way: each level, twice where items are of very different sizes.
pub(super) const ROUNDS_MAX: usize = 2 * DEPTH_MAX;

/// Bytes that a prune must leave free beyond what is needed now.
pub(super) const SLACK: usize = USABLE_SIZE / 64;

/// Whether all of a leaf's versions are of `key`.
pub(super) fn is_lone(page: &Page, key: &[u8]) -> bool {
    page.item_count() > FIRST && page.key(FIRST) == key && leaf::run_end(page, FIRST) == page.item_count()
}

/// Whether a version stays whole in its leaf.
pub(super) fn is_small(key: &[u8], value: Option<&[u8]>) -> bool {
    key.len() <= MAX_KEY && ITEM_HEADER + key.len() + value.map_or(0, <[u8]>::len) <= MAX_ITEM
}

/// A leaf under its write latch.
pub(super) struct Leaf<'a> {
    pub(super) page: WritePage<'a>,
    pub(super) block: BlockNumber,
}

/// Pages taken for a change that is not yet logged: free ones, then from the file's end.
pub(super) struct Allocation<'a> {
    pub(super) blocks: SmallVec<[BlockNumber; 2]>,
    /// The map that gives pages, with its block and what the record will say of it.
    map: Option<(WritePage<'a>, BlockNumber, Vec<u8>)>,
}

impl<'a> Writer<'a> {
    /// Adds the newest version of `key`.
    ///
    /// [`Fault::Miss`] and [`Fault::NeedFrames`] come only without [`Writer::allow_io`]; the version is not
    /// written then (pages may have been split for it, each split whole), so the transaction may prepare
    /// again.
    ///
    /// # Errors
    /// Fails if the key is too long, a page or a frame is missing, a page is damaged, or the log takes no
    /// record.
    pub fn insert_version(
        &mut self,
        tree: &Tree,
        prepared: &mut Prepared,
        key: &[u8],
        version: NewVersion<'_>,
    ) -> Result<(), Fault> {
        let io = self.io;
        let done = self.put_version(tree, prepared, key, version);
        self.io = io;
        done
    }

    fn put_version(
        &mut self,
        tree: &Tree,
        prepared: &mut Prepared,
        key: &[u8],
        version: NewVersion<'_>,
    ) -> Result<(), Fault> {
        if key.len() > MAX_KEY {
            return Err(Error::KeyTooLarge { size_bytes: key.len(), limit_bytes: MAX_KEY }.into());
        }
        let pointer;
        let (flags, value) = match version.value {
            None => (DELETED, &[][..]),
            Some(value) if ITEM_HEADER + key.len() + value.len() <= MAX_ITEM => (0, value),
            Some(value) => {
                pointer = self.write_large(tree, prepared, value)?;
                (LARGE, &pointer[..])
            }
        };
        let need = version_space(key.len(), value.len());
        for round in 0..ROUNDS_MAX {
            let mut leaf = self.find_leaf(tree, prepared, key)?;
            let mut wanted = need;
            if leaf.page.free_space() < need
                && round == 0
                && self.prune_leaf(tree, &mut leaf)? > 0
                && !is_lone(&leaf.page, key)
            {
                // Room for this version only would mean a prune for each of the next ones: then rather split.
                wanted += SLACK;
            }
            if leaf.page.free_space() >= wanted {
                let index = leaf.page.lower_bound(key);
                let before = leaf.page.item(index);
                let over_row = leaf::item_key(before) == key
                    && !before.is_empty()
                    && leaf::item_head(before).flags & (DELETED | CHAIN) == 0;
                let like = if flags == 0 { Like::of(before, key, value) } else { None };
                let (epoch, cid) = (self.early_epoch(), version.cid);
                let insert = match like {
                    Some(Like { prefix, suffix }) => {
                        let middle = value.get(prefix..value.len() - suffix).unwrap_or_default();
                        Insert { index, flags, epoch, cid, key: &[], value: middle, like }
                    }
                    None => Insert { index, flags, epoch, cid, key, value, like },
                };
                self.insert_at(tree, &mut leaf, &insert)?;
                tree.relation.counts.wrote(over_row, flags & DELETED == 0);
                return Ok(());
            }
            self.make_room(tree, prepared, leaf, Wanted { key, bytes: need, at_end: false })?;
        }
        Err(tree.broken(ROOT, "splits make no room"))
    }

    /// Adds the newest versions of several keys, which rise: as many of the first ones as belong to one leaf
    /// and have room there, by one record. Returns how many, at least one; faults are as those of
    /// [`Writer::insert_version`].
    ///
    /// # Errors
    /// Fails if the key is too long, a page or a frame is missing, a page is damaged, or the log takes no
    /// record.
    pub fn insert_versions(
        &mut self,
        tree: &Tree,
        prepared: &mut Prepared,
        cid: u32,
        items: &[(&[u8], Option<&[u8]>)],
    ) -> Result<usize, Fault> {
        let Some((key, value)) = items.first() else { return Ok(0) };
        let second = items.get(1).is_some_and(|(next, value)| is_small(next, *value));
        if second && is_small(key, *value) {
            let mut leaf = self.find_leaf(tree, prepared, key)?;
            let mut main = std::mem::take(&mut self.scratch.main);
            main.clear();
            InsertMany::begin(self.xid, cid, &mut main);
            let (mut count, mut room) = (0, leaf.page.free_space());
            let mut over_rows: SmallVec<[bool; 128]> = SmallVec::new();
            for (key, value) in items {
                let need = version_space(key.len(), value.map_or(0, <[u8]>::len));
                if need > room || !is_small(key, *value) || leaf.page.is_past(key) {
                    break;
                }
                let flags = if value.is_none() { DELETED } else { 0 };
                let index = leaf.page.lower_bound(key);
                let before = leaf.page.item(index);
                over_rows.push(
                    leaf::item_key(before) == *key
                        && !before.is_empty()
                        && leaf::item_head(before).flags & (DELETED | CHAIN) == 0,
                );
                InsertMany::put(index + count, flags, key, value.unwrap_or_default(), &mut main);
                (count, room) = (count + 1, room - need);
            }
            let mut done = Ok(());
            if count > 1 {
                InsertMany::end(count, &mut main);
                let target =
                    Target { id: 0, block: leaf.block, init: false, data: &[], page: &mut leaf.page };
                done = self.change(info::INSERT_MANY, &tree.relation, &main, &mut [target]);
            }
            self.scratch.main = main;
            if count > 1 {
                done?;
                for ((_, value), over_row) in items.iter().zip(over_rows) {
                    tree.relation.counts.wrote(over_row, value.is_some());
                }
                return Ok(count);
            }
        }
        self.insert_version(tree, prepared, key, NewVersion { cid, value: *value }).map(|()| 1)
    }

    pub(super) fn insert_at(
        &mut self,
        tree: &Tree,
        leaf: &mut Leaf<'a>,
        insert: &Insert<'_>,
    ) -> Result<(), Fault> {
        let mut main = std::mem::take(&mut self.scratch.main);
        main.clear();
        insert.encode(&mut main);
        let target = Target { id: 0, block: leaf.block, init: false, data: &[], page: &mut leaf.page };
        let done = self.change(info::INSERT, &tree.relation, &main, &mut [target]);
        self.scratch.main = main;
        Ok(done?)
    }

    /// Latches the leaf for `key`: the prepared one or a right neighbour, else by a descent.
    pub(super) fn find_leaf(
        &mut self,
        tree: &Tree,
        prepared: &mut Prepared,
        key: &[u8],
    ) -> Result<Leaf<'a>, Fault> {
        let reshaped = tree.relation.reshaped();
        if let Some(mut block) = prepared.leaf.filter(|_| prepared.reshaped == reshaped) {
            for _ in 0..4 {
                let pin = prepared.held_in(self.pool(), block);
                let pin = pin.or_else(|| self.pool().pin(PageKey::new(tree.relation.id(), block)));
                let Some(pin) = pin else { break };
                let page = pin.write();
                if page.kind() != Some(PageKind::Leaf) {
                    break;
                }
                if !page.is_past(key) {
                    prepared.leaf = Some(block);
                    return Ok(Leaf { page, block });
                }
                block = page.right();
            }
        }
        let (page, block) = self.find(tree, key, 0)?;
        (prepared.leaf, prepared.reshaped) = (Some(block), reshaped);
        Ok(Leaf { page, block })
    }

    /// Latches the page of `level` that covers `key` for writing. Nobody else changes pages, so what was seen
    /// under the read latches on the way still holds.
    pub(super) fn find(
        &self,
        tree: &Tree,
        key: &[u8],
        level: u16,
    ) -> Result<(WritePage<'a>, BlockNumber), Fault> {
        let mut block = ROOT;
        for _ in 0..DEPTH_MAX {
            let next = {
                let page = self.pin(&tree.relation, block)?.read();
                match page.kind() {
                    _ if page.is_past(key) => Some(page.right()),
                    Some(PageKind::Leaf | PageKind::Inner) if page.level() == level => None,
                    Some(PageKind::Inner) if page.level() > level => Some(page.child(page.child_index(key))),
                    _ => return Err(tree.broken(block, "not the page of the tree that links lead to")),
                }
            };
            match next {
                Some(next) => block = next,
                None => return Ok((self.pin(&tree.relation, block)?.write(), block)),
            }
        }
        Err(tree.broken(block, "links lead in a circle"))
    }

    /// Takes `count` pages, the lowest free ones. Nothing is changed yet: the change that uses them must
    /// carry the map along.
    pub(super) fn allocate(&mut self, tree: &Tree, count: usize) -> Result<Allocation<'a>, Fault> {
        let relation = &tree.relation;
        let mut taken = Allocation { blocks: SmallVec::new(), map: None };
        let maps = free_map::map_count(relation.page_count());
        for number in relation.map_hint()..maps {
            let block = BlockNumber::new(number * free_map::SPAN);
            let page = self.pin(relation, block)?.write();
            taken.blocks.extend(free_map::free_blocks(&page, block).take(count));
            if !taken.blocks.is_empty() {
                relation.set_map_hint(number);
                taken.map = Some((page, block, free_map::encode_blocks(&taken.blocks)));
                break;
            }
            relation.set_map_hint(number + 1);
        }
        let mut end = relation.page_count().max(taken.blocks.last().map_or(0, |last| last.get() + 1));
        while taken.blocks.len() < count {
            if end >= u32::MAX - 1 {
                return Err(
                    Error::Unusable(format!("relation {} has no more block numbers", relation.id())).into()
                );
            }
            let block = BlockNumber::new(end);
            end += 1;
            if free_map::is_map(block) {
                self.add_map(tree, block)?;
            } else if !self.is_marked_free(tree, &taken, block)? {
                taken.blocks.push(block);
            }
        }
        relation.was_not_lost(&taken.blocks);
        Ok(taken)
    }

    /// A page behind the end may be marked as free (see [`free_map`]); then it must not be taken without its
    /// map.
    fn is_marked_free(&self, tree: &Tree, taken: &Allocation<'a>, block: BlockNumber) -> Result<bool, Fault> {
        let map = free_map::map_of(block);
        if let Some((page, _, _)) = taken.map.as_ref().filter(|(_, taken, _)| *taken == map) {
            return Ok(free_map::is_free(page, block));
        }
        Ok(free_map::is_free(&self.pin(&tree.relation, map)?.read(), block))
    }

    /// Begins the next map, at the file's end.
    fn add_map(&mut self, tree: &Tree, block: BlockNumber) -> Result<(), Fault> {
        let mut page = self.new_page(&tree.relation, block)?;
        let target = Target { id: 0, block, init: true, data: &[], page: &mut page };
        Ok(self.change(info::TREE_INIT, &tree.relation, &[], &mut [target])?)
    }

    /// Latches a page that was allocated, in a frame set aside if there is one.
    pub(super) fn fresh(
        &self,
        tree: &Tree,
        prepared: &mut Prepared,
        block: BlockNumber,
    ) -> Result<WritePage<'a>, Fault> {
        let key = PageKey::new(tree.relation.id(), block);
        let page = self.pool().create(key, prepared.spares.pop(), self.io)?;
        page.ok_or(Fault::NeedFrames)
    }

    /// Writes a value to overflow pages, last piece first; returns what the leaf keeps. Once the first one is
    /// logged the version must come to its leaf, or they would be lost: so I/O is allowed from there on.
    pub(super) fn write_large(
        &mut self,
        tree: &Tree,
        prepared: &mut Prepared,
        value: &[u8],
    ) -> Result<[u8; 8], Fault> {
        let len = u32::try_from(value.len())
            .ok()
            .filter(|len| *len < 1 << 30)
            .ok_or(Error::ValueTooLarge { size_bytes: value.len(), limit_bytes: 1 << 30 })?;
        let mut next = BlockNumber::INVALID;
        for piece in value.chunks(LARGE_PIECE).rev() {
            let mut taken = self.allocate(tree, 1)?;
            let [block] = taken.blocks[..] else { return Err(tree.broken(ROOT, "one page was asked for")) };
            let mut page = self.fresh(tree, prepared, block)?;
            let main = next.get().to_le_bytes();
            let mut targets: SmallVec<[Target<'_, 'a>; 2]> = SmallVec::new();
            targets.push(Target { id: 0, block, init: true, data: piece, page: &mut page });
            targets.extend(taken.map_target());
            self.change(info::LARGE, &tree.relation, &main, &mut targets)?;
            self.io = true;
            next = block;
        }
        let mut pointer = [0; 8];
        pointer[..4].copy_from_slice(&next.get().to_le_bytes());
        pointer[4..].copy_from_slice(&len.to_le_bytes());
        Ok(pointer)
    }

    /// Makes room in a full leaf: splits it, or moves the oldest versions of a key out that has it for
    /// itself.
    pub(super) fn make_room(
        &mut self,
        tree: &Tree,
        prepared: &mut Prepared,
        leaf: Leaf<'a>,
        wanted: Wanted<'_>,
    ) -> Result<(), Fault> {
        if is_uncuttable(&leaf.page, wanted) {
            return self.push_chain(tree, prepared, leaf);
        }
        let block = leaf.block;
        drop(leaf);
        self.split(tree, prepared, block, 0, wanted)
    }
}

impl<'a> Allocation<'a> {
    /// The map as a block of the change, if it takes part.
    pub(super) fn map_target(&mut self) -> Option<Target<'_, 'a>> {
        let (page, block, data) = self.map.as_mut()?;
        Some(Target { id: MAP_ID, block: *block, init: false, data, page })
    }
}
