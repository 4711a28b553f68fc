//! New rows, many at a time, where each key must be one that nobody has.

use super::insert::{Leaf, ROUNDS_MAX, SLACK, is_lone, is_small};
use super::split::Wanted;
use super::{Prepared, Tree};
use crate::changes::records::{Insert, InsertMany, ROOT, info, version_space};
use crate::changes::store::Fault;
use crate::changes::writer::{Target, Writer};
use crate::pages::page::leaf::MAX_ITEM;
use crate::pages::page::{POINTER_SIZE, USABLE_SIZE};

/// Bytes that stay free in a leaf when rows come in ascending order at the tree's end: room for some later
/// versions.
const KEPT_FREE: usize = USABLE_SIZE / 10;
// An empty leaf has room for any row that stays whole in it.
const _: () = assert!(MAX_ITEM + POINTER_SIZE + KEPT_FREE < USABLE_SIZE / 2);

/// The locks that other transactions hold on keys of the tree. What is said of a key holds at that moment
/// only.
pub trait KeyLocks {
    /// Whether nobody holds a lock on any key.
    fn are_all_free(&self) -> bool;
    /// Whether no other transaction holds the lock on this key.
    fn is_free(&self, key: &[u8]) -> bool;
}

impl<'a> Writer<'a> {
    /// Adds rows whose keys rise: as many of the first ones as are small, belong to one leaf, have room
    /// there, and have keys under which the leaf holds nothing and of which `locks` say, under the leaf's
    /// latch, that nobody else has them locked. By one record. Returns how many; none means that the first
    /// row is not such a one. Faults are as those of [`Writer::insert_version`].
    pub(crate) fn insert_new(
        &mut self,
        tree: &Tree,
        prepared: &mut Prepared,
        cid: u32,
        items: &[(&[u8], Option<&[u8]>)],
        locks: Option<&impl KeyLocks>,
    ) -> Result<usize, Fault> {
        let Some((key, Some(value))) = items.first() else { return Ok(0) };
        if !is_small(key, Some(value)) {
            return Ok(0);
        }
        let need = version_space(key.len(), value.len());
        for round in 0..ROUNDS_MAX {
            let mut leaf = self.find_leaf(tree, prepared, key)?;
            let place = leaf.page.lower_bound(key);
            let appends = place == leaf.page.item_count() && leaf.page.high_key().is_none();
            let kept = if appends && leaf.block != ROOT { KEPT_FREE } else { 0 };
            if leaf.page.free_space() >= need + kept {
                return self.insert_run(tree, &mut leaf, (place, kept), cid, items, locks);
            }
            if round == 0
                && self.prune_leaf(tree, &mut leaf)? > 0
                && !is_lone(&leaf.page, key)
                && leaf.page.free_space() >= need + kept + SLACK
            {
                let place = leaf.page.lower_bound(key);
                return self.insert_run(tree, &mut leaf, (place, kept), cid, items, locks);
            }
            let at_end = appends && leaf.block != ROOT;
            self.make_room(tree, prepared, leaf, Wanted { key, bytes: need, at_end })?;
        }
        Err(tree.broken(ROOT, "splits make no room"))
    }

    /// Adds the first ones of `items`, of which the first has room and belongs to `place`, as long as `kept`
    /// bytes stay free.
    fn insert_run(
        &mut self,
        tree: &Tree,
        leaf: &mut Leaf<'a>,
        (mut place, kept): (usize, usize),
        cid: u32,
        items: &[(&[u8], Option<&[u8]>)],
        locks: Option<&impl KeyLocks>,
    ) -> Result<usize, Fault> {
        let mut main = std::mem::take(&mut self.scratch.main);
        main.clear();
        InsertMany::begin(self.xid, cid, &mut main);
        // Asked under the latch: who takes a lock later will read the leaf later.
        let locks = locks.filter(|locks| !locks.are_all_free());
        let is_free = |key: &[u8]| locks.is_none_or(|locks| locks.is_free(key));
        let page = &leaf.page;
        let (mut count, mut room, end) = (0, page.free_space() - kept, page.item_count());
        let (mut first, mut last): (usize, &[u8]) = (place, b"");
        for (key, value) in items {
            let Some(value) = value else { break };
            let need = version_space(key.len(), value.len());
            if need > room || !is_small(key, Some(value)) || page.is_past(key) || (count > 0 && last == *key)
            {
                break;
            }
            if place < end && page.key(place) < *key {
                place = page.lower_bound(key);
            }
            if (place < end && page.key(place) == *key) || !is_free(key) {
                break;
            }
            if count == 0 {
                first = place;
            }
            InsertMany::put(place + count, 0, key, value, &mut main);
            (count, room, last) = (count + 1, room - need, key);
        }
        let mut done = Ok(());
        if count > 1 {
            InsertMany::end(count, &mut main);
            let target = Target { id: 0, block: leaf.block, init: false, data: &[], page: &mut leaf.page };
            done = self.change(info::INSERT_MANY, &tree.relation, &main, &mut [target]);
        }
        self.scratch.main = main;
        done?;
        if let (1, Some((key, Some(value)))) = (count, items.first()) {
            let epoch = self.early_epoch();
            let insert = Insert { index: first, flags: 0, epoch, cid, key, value, like: None };
            self.insert_at(tree, leaf, &insert)?;
        }
        tree.relation.counts.wrote_new(count);
        Ok(count)
    }
}
