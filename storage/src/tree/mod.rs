//! B-link trees with versions.
//!
//! Block 0 is the first map of free pages (`crate::pages::free_map`), block 1 the root for good. A page
//! covers the keys from its low bound (its downlink's key) up to its high key; a split moves the upper part
//! to a new page on the right, in one record with the parent's downlink, so there are no unfinished splits. A
//! reader that comes to a page after it was split moves right. Pages have no left links: a scan backwards
//! descends again for the keys below the page's low bound.
//!
//! A leaf has one item a version, those of a key side by side, newest first. When a leaf holds one key only
//! and is full, the oldest versions go to an overflow page, which the key's last item leads to.
//!
//! # Pages that leave
//!
//! A leaf that a sweep finds empty leaves the tree in one record (UNLINK): its left neighbour leads on to its
//! right one, which takes over its keys and its item in the parent. It must not be the last child of its
//! parent, unless it is the only one: then the parent goes with it (up to
//! [`crate::changes::records::UNLINKED_MAX`] levels). So the last page of a level stays, and the root.
//!
//! Sparse leaves side by side become fewer in one record as well (REPACK, in [`repack`], which tells when):
//! what comes of them is made anew, in the lowest of their pages, and the others leave. So rows move to the
//! left as well as to the right; a page at the file's end may move to a free one.
//!
//! A page is free at once, and may be made another one by the next change. No snapshot and no transaction can
//! need it, because nobody holds a page's number for longer than from one latch to the next: a scan descends
//! again for each leaf, a chain is followed under its leaf's latch, and a prepared change keeps the number as
//! a hint. What remains is a descent on its way while the page leaves. Each removal counts up
//! [`Relation::reshaped`] while it holds the latches of all pages that lead to the one that leaves; a descent
//! that ends with another count than it began with begins again. The same holds on a standby, where redo
//! counts: so neither waits for readers nor do readers' snapshots keep pages (PostgreSQL lets a deleted page
//! wait until its xid is past all snapshots, here and on standbys, because its scans stop on pages). A page
//! that stays, but whose rows have gone to a neighbour, is no other case: whoever was on the way to it begins
//! again.
//!
//! The writer holds the write lock, so its own descents go astray never.

mod append;
mod chain;
mod insert;
mod large;
mod lost;
mod prepare;
mod prune;
mod repack;
mod scan;
mod split;
mod sweep;
mod unlink;
mod verify;

pub(crate) use append::KeyLocks;
pub use prepare::Prepared;
pub use scan::{Batch, TreeScan};
pub use sweep::{Owner, Pace, SweepReport, Unpaced};
pub use verify::Verified;

use crate::changes::records::ROOT;
use crate::changes::resume::{self, CHAIN_PAGES_AT_ONCE, Walk};
use crate::changes::store::{Fault, Store};
use crate::changes::writer::beyond_the_end;
use crate::pages::page::PageKind;
use crate::pages::page::leaf::{self, CHAIN, DELETED, LARGE};
use crate::pages::pool::{PageKey, Pin, ReadPage};
use crate::pages::relation::Relation;
use crate::{Direction, Error, KeyRange, TreeId};
use smallvec::SmallVec;
use std::sync::Arc;
use wal::{BlockNumber, Xid};

/// No tree is this deep.
const DEPTH_MAX: usize = 64;

/// Counts the steps of a descent beside writers. Each step down or right leads to another page, so a way that
/// is longer than the tree has pages is a circle. A reader that was held up may have many pages to its right:
/// all that were split off meanwhile.
#[derive(Default)]
struct Steps(usize);

impl Steps {
    fn next(&mut self, tree: &Tree, block: BlockNumber) -> Result<(), Fault> {
        self.0 += 1;
        if self.0 > DEPTH_MAX + tree.relation.page_count() as usize {
            return Err(tree.broken(block, "links lead in a circle"));
        }
        Ok(())
    }
}

/// What is known of a version without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionHead {
    /// The transaction that wrote it.
    pub xid: Xid,
    /// By which of its commands.
    pub cid: u32,
    /// It says that the key is gone.
    pub deleted: bool,
}

impl From<leaf::ItemHead> for VersionHead {
    fn from(head: leaf::ItemHead) -> Self {
        Self { xid: head.xid, cid: head.cid, deleted: head.flags & DELETED != 0 }
    }
}

/// One tree; cloning shares it.
#[derive(Clone, Debug)]
pub struct Tree {
    store: Store,
    relation: Arc<Relation>,
    /// Its pins are a scan's ([`crate::pages::pool::Ring`]).
    gentle: bool,
}

/// A leaf found by a descent.
struct Found<'p> {
    page: ReadPage<'p>,
    block: BlockNumber,
}

impl Store {
    /// A tree by its number; [`Error::NoSuchTree`] if there is none. Does no I/O.
    ///
    /// # Errors
    /// Fails if there is none.
    pub fn tree(&self, tree: TreeId) -> Result<Tree, Error> {
        let relation = self.0.relations.get(tree.file()).filter(|relation| relation.page_count() > 1);
        match relation {
            Some(relation) => Ok(Tree::new(self.clone(), relation)),
            None => Err(Error::NoSuchTree(tree.file())),
        }
    }
}

impl Tree {
    pub(crate) fn new(store: Store, relation: Arc<Relation>) -> Self {
        Self { store, relation, gentle: false }
    }
    /// The same tree for one who goes through much of it.
    pub(crate) fn gently(&self) -> Self {
        Self { gentle: true, ..self.clone() }
    }
    /// Whether a scan of all of it would push much else out of the pool: it is larger than a quarter of that,
    /// as PostgreSQL has it.
    pub(crate) fn is_large(&self) -> bool {
        self.page_count() as usize > self.store.0.pool.frame_count() / 4
    }
    /// Its files.
    pub fn relation(&self) -> &Relation {
        &self.relation
    }
    /// Pages in the tree's file.
    pub fn page_count(&self) -> u32 {
        self.relation.page_count()
    }
    /// A scan of `range`, not yet begun.
    pub fn scan(&self, range: KeyRange, direction: Direction) -> TreeScan {
        TreeScan::new(self.clone(), range, direction)
    }

    fn pin(&self, block: BlockNumber) -> Result<Pin<'_>, Fault> {
        let key = PageKey::new(self.relation.id(), block);
        let pool = &self.store.0.pool;
        match if self.gentle { pool.pin_gently(key) } else { pool.pin(key) } {
            Some(pin) => Ok(pin),
            None if block.get() >= self.relation.page_count() => Err(beyond_the_end(&self.relation, block)),
            None => Err(Fault::Miss(key)),
        }
    }

    /// Runs a descent, again if a page left the tree meanwhile. Latches that it returns are held when that is
    /// looked at.
    fn unless_reshaped<T>(&self, mut descent: impl FnMut() -> Result<T, Fault>) -> Result<T, Fault> {
        loop {
            let before = self.relation.reshaped();
            let done = descent();
            if self.relation.reshaped() == before {
                return done;
            }
        }
    }

    /// The damage that a page shows which is not what links say it is.
    #[cold]
    pub(crate) fn broken(&self, block: BlockNumber, what: &str) -> Fault {
        Fault::Failed(Error::corrupt_page(self.relation.id(), block, what))
    }

    /// Finds the page of `level` that covers `key`, under its read latch. `path` gets each page on the way,
    /// and that page.
    fn descend(
        &self,
        key: &[u8],
        level: u16,
        path: Option<&mut SmallVec<[BlockNumber; 8]>>,
    ) -> Result<Found<'_>, Fault> {
        let mut path = path;
        self.unless_reshaped(|| {
            let (mut block, mut steps) = (ROOT, Steps::default());
            if let Some(path) = &mut path {
                path.clear();
            }
            loop {
                steps.next(self, block)?;
                let page = self.pin(block)?.read();
                if page.is_past(key) {
                    block = page.right();
                    continue;
                }
                if let Some(path) = &mut path {
                    path.push(block);
                }
                let here = page.level();
                match page.kind() {
                    Some(PageKind::Leaf | PageKind::Inner) if here == level => {
                        return Ok(Found { page, block });
                    }
                    Some(PageKind::Inner) if here > level => block = page.child(page.child_index(key)),
                    _ => return Err(self.broken(block, "not the page of the tree that links lead to")),
                }
            }
        })
    }

    /// Shows `choose` the versions of `key`, newest first, until it says true; that version's value is
    /// appended to `value`. None if it never does.
    ///
    /// # Errors
    /// Fails if a page is not in the pool or is damaged.
    pub fn lookup(
        &self,
        key: &[u8],
        choose: impl FnMut(VersionHead) -> bool,
        value: &mut Vec<u8>,
    ) -> Result<Option<VersionHead>, Fault> {
        let mut anywhere = BlockNumber::INVALID;
        self.lookup_near(&mut anywhere, key, choose, value)
    }

    /// As [`Tree::lookup`], for keys that come in order: looks first at the leaf `near`, where the last one
    /// was, and sets it.
    ///
    /// # Errors
    /// Fails if a page is not in the pool or is damaged.
    pub fn lookup_near(
        &self,
        near: &mut BlockNumber,
        key: &[u8],
        mut choose: impl FnMut(VersionHead) -> bool,
        value: &mut Vec<u8>,
    ) -> Result<Option<VersionHead>, Fault> {
        let found = match self.leaf_near(*near, key) {
            Some(found) => found,
            None => self.descend(key, 0, None)?,
        };
        *near = found.block;
        let start = found.page.lower_bound(key);
        let count = found.page.item_count();
        for index in start..count {
            let item = found.page.item(index);
            if leaf::item_key(item) != key {
                return Ok(None);
            }
            if let Some(head) = self.offer(item, &mut choose, value)? {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    /// The page `near` if it is the leaf for `key`: a leaf with a key not above this one and a high key above
    /// it. Whatever the page was when its number was noted, a leaf with items is a part of the tree now.
    fn leaf_near(&self, near: BlockNumber, key: &[u8]) -> Option<Found<'_>> {
        if !near.is_valid() {
            return None;
        }
        let page = self.pin(near).ok()?.read();
        let is_it = page.kind() == Some(PageKind::Leaf)
            && page.item_count() > crate::pages::page::FIRST
            && page.key(crate::pages::page::FIRST) <= key
            && !page.is_past(key);
        is_it.then_some(Found { page, block: near })
    }

    /// Offers one leaf item, or the versions in the chain it leads to. The leaf is latched, so its chains
    /// stay.
    fn offer(
        &self,
        item: &[u8],
        choose: &mut impl FnMut(VersionHead) -> bool,
        value: &mut Vec<u8>,
    ) -> Result<Option<VersionHead>, Fault> {
        let head = leaf::item_head(item);
        if head.flags & CHAIN != 0 {
            return self.offer_chain(item, choose, value);
        }
        if !choose(head.into()) {
            return Ok(None);
        }
        self.append_value(item, head.flags, value)?;
        Ok(Some(head.into()))
    }

    /// Offers the versions of the chain that a leaf's item leads to. Goes on where an earlier run of the
    /// operation had to leave off; a walk that finds its place gone so begins again.
    fn offer_chain(
        &self,
        item: &[u8],
        choose: &mut impl FnMut(VersionHead) -> bool,
        value: &mut Vec<u8>,
    ) -> Result<Option<VersionHead>, Fault> {
        let (rel, key) = (self.relation.id(), leaf::item_key(item));
        let start = leaf::chain_start(leaf::item_value(item));
        if let Some(mut walk) = resume::take_walk(rel, key) {
            match self.walk_chain(&mut walk, choose, value) {
                Err(Fault::Failed(_)) => {}
                Err(fault) => {
                    resume::hold_walk(walk);
                    return Err(fault);
                }
                found => return found,
            }
        }
        let mut walk = Walk::new(rel, key, start, self.relation.page_count());
        self.walk_chain(&mut walk, choose, value).inspect_err(|_| resume::hold_walk(walk))
    }

    fn walk_chain(
        &self,
        walk: &mut Walk,
        choose: &mut impl FnMut(VersionHead) -> bool,
        value: &mut Vec<u8>,
    ) -> Result<Option<VersionHead>, Fault> {
        for _ in 0..CHAIN_PAGES_AT_ONCE {
            if !walk.next.is_valid() {
                return Ok(None);
            }
            let page = self.overflow(walk.next, PageKind::Overflow, &mut walk.left)?;
            for item in page.items() {
                let head = leaf::item_head(item);
                if choose(head.into()) {
                    if let Err(fault) = self.append_value(item, head.flags, value) {
                        // This page is looked at once more.
                        walk.left += 1;
                        return Err(fault);
                    }
                    return Ok(Some(head.into()));
                }
            }
            walk.next = page.right();
        }
        Err(Fault::Pause)
    }

    /// The next page of a chain, of which at most `left` more can exist.
    fn overflow(&self, block: BlockNumber, kind: PageKind, left: &mut u32) -> Result<ReadPage<'_>, Fault> {
        let page = self.pin(block)?.read();
        *left = left.checked_sub(1).ok_or_else(|| self.broken(block, "a chain leads in a circle"))?;
        if page.kind() != Some(kind) {
            return Err(self.broken(block, "a chain leads to a page of another kind"));
        }
        Ok(page)
    }

    fn append_value(&self, item: &[u8], flags: u16, value: &mut Vec<u8>) -> Result<(), Fault> {
        if flags & LARGE != 0 {
            return self.append_large(item, value);
        }
        value.extend_from_slice(leaf::item_value(item));
        Ok(())
    }

    fn load(&self, block: BlockNumber) -> Result<Pin<'_>, Fault> {
        Ok(self.store.0.pool.load(PageKey::new(self.relation.id(), block), true)?)
    }
}

#[cfg(test)]
mod tests;
