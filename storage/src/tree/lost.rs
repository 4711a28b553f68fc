//! Pages in use to which nothing leads, found and given back.
//!
//! A crash, or a full disk, between making a large value's pages and putting the row in its leaf leaves such
//! pages; so does one between removing a version and freeing the last of many pages. No reader ever comes to
//! them.
//!
//! A search begins with the pages that are in use, copied from the maps under the write lock, where no change
//! is under way. A page leaves the search as soon as it is met on the way through the tree, is taken or
//! freed, or is made anew: what is left when all keys were passed has been in use, unchanged, and led to by
//! nothing all the time, so it is lost for good.
//!
//! ```text
//! first pass   every sweep: of large values the first page is met; their other pages are counted
//!              by the rows' lengths
//! second pass  only if more pages are left than that: large values are followed page by page
//! give back    what is left becomes free (FREE)
//! ```
//!
//! Where a pass does not come to the end of something (a long chain that others cut), the search is given up:
//! the next sweep tries again.

use super::Tree;
use super::insert::LARGE_PIECE;
use super::sweep::Pass;
use crate::changes::store::Fault;
use crate::changes::writer::Writer;
use crate::pages::candidates::Candidates;
use crate::pages::free_map;
use crate::pages::page::leaf::{self, CHAIN, LARGE};
use crate::pages::relation::Relation;
use crate::{Error, records};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use wal::BlockNumber;

/// Pages that one hold of the write lock gives back at most.
const GIVEN_BACK_AT_ONCE: usize = 1024;

/// How many pages a large value of `len` bytes takes.
pub(super) fn large_pages(len: usize) -> u64 {
    len.div_ceil(LARGE_PIECE) as u64
}

/// A search for lost pages, or none.
#[derive(Debug, Default)]
pub(super) struct Search {
    found: Option<(Arc<Relation>, Arc<Candidates>)>,
    /// Pages of large values that were met, but for the first of each.
    behind: Cell<u64>,
    /// The first pages of large values to be followed.
    heads: Option<RefCell<Vec<BlockNumber>>>,
    given_up: Cell<bool>,
}

impl Drop for Search {
    fn drop(&mut self) {
        if let Some((relation, candidates)) = &self.found {
            relation.end_search(candidates);
        }
    }
}

impl Search {
    /// Begins a search among all pages of a tree.
    pub(super) fn begin(tree: &Tree) -> Result<Self, Error> {
        let (relation, store) = (&tree.relation, &tree.store);
        let candidates = relation.begin_search();
        let mut search = Self::default();
        search.found = Some((Arc::clone(relation), Arc::clone(&candidates)));
        for number in 0..free_map::map_count(tree.page_count()) {
            let map = BlockNumber::new(number * free_map::SPAN);
            store.run_blocking(|| store.writer().note_used(tree, map, &candidates))?;
        }
        Ok(search)
    }
    /// These pages are in the tree.
    pub(super) fn met(&self, blocks: &[BlockNumber]) {
        if let Some((_, candidates)) = &self.found {
            candidates.remove(blocks);
        }
    }
    /// This item is in the tree, and so is the large value that it may lead to.
    pub(super) fn met_large(&self, item: &[u8]) {
        let flags = leaf::item_head(item).flags;
        let Some((_, candidates)) = self.found.as_ref().filter(|_| flags & LARGE != 0 && flags & CHAIN == 0)
        else {
            return;
        };
        let value = leaf::item_value(item);
        let start = leaf::chain_start(value);
        match &self.heads {
            Some(heads) => heads.borrow_mut().push(start),
            // One that is no candidate is newer than the search, and so are its other pages.
            None if candidates.remove(&[start]) > 0 => {
                let others = large_pages(leaf::large_len(value) as usize).saturating_sub(1);
                self.behind.set(self.behind.get() + others);
            }
            None => {}
        }
    }
    /// A part of the tree was not passed.
    pub(super) fn give_up(&self) {
        self.given_up.set(true);
    }
    /// Whether pages are lost, after the first pass.
    pub(super) fn has_lost(&self) -> bool {
        let left = self.found.as_ref().map_or(0, |(_, candidates)| candidates.count());
        !self.given_up.get() && left > self.behind.get()
    }
    /// Large values are followed from now on.
    pub(super) fn follow(&mut self) {
        self.heads = Some(RefCell::default());
    }
    /// Follows the large values that were met since the last time.
    pub(super) fn follow_met(&self, tree: &Tree) -> Result<(), Error> {
        let mut heads = self.heads.as_ref().map(RefCell::take).unwrap_or_default();
        heads.dedup();
        for start in heads {
            match tree.pages_of_large(start)? {
                Some(pages) => self.met(&pages),
                // Gone meanwhile, or damaged.
                None => self.give_up(),
            }
        }
        Ok(())
    }
}

impl Tree {
    /// Gives back what a search has found after its second pass. Returns how many pages.
    pub(super) fn give_back_lost(&self, pass: &mut Pass<'_>) -> Result<u64, Error> {
        let mut freed = 0;
        while let Some((_, candidates)) = pass.lost.found.as_ref().filter(|_| !pass.lost.given_up.get()) {
            let count = pass.write(self, |writer| writer.give_back(self, candidates))?;
            if count == 0 {
                break;
            }
            freed += count;
            pass.rest()?;
        }
        Ok(freed)
    }
}

impl Writer<'_> {
    /// Adds the pages of a map that are in use.
    fn note_used(&self, tree: &Tree, map: BlockNumber, candidates: &Candidates) -> Result<(), Fault> {
        let page = self.pin(&tree.relation, map)?.read();
        let end = tree.page_count().min(map.get().saturating_add(free_map::SPAN));
        let blocks = (map.get() + 1..end).map(BlockNumber::new);
        candidates.add(blocks.filter(|block| *block > records::ROOT && !free_map::is_free(&page, *block)));
        Ok(())
    }

    /// Frees some of the pages that are left.
    fn give_back(&mut self, tree: &Tree, candidates: &Candidates) -> Result<u64, Fault> {
        let blocks = candidates.first(GIVEN_BACK_AT_ONCE);
        for block in &blocks {
            self.pin(&tree.relation, free_map::map_of(*block))?;
        }
        let count = blocks.len() as u64;
        self.free_pages(tree, blocks)?;
        Ok(count)
    }
}
