//! A tree held against its own rules, page by page.

use super::Tree;
use crate::Error;
use crate::changes::records::ROOT;
use crate::changes::store::Fault;
use crate::pages::free_map;
use crate::pages::page::leaf::{self, CHAIN, LARGE};
use crate::pages::page::{FIRST, Page, PageKind};
use wal::BlockNumber;

/// What a tree consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Items in leaves: versions, and links to chains.
    pub items: u64,
    /// Pages marked as free.
    pub free_pages: u64,
    /// Pages that nothing leads to and that are not marked as free: left behind where a crash came between
    /// making a large value and using it. The next sweep gives them back.
    pub lost_pages: Vec<BlockNumber>,
}

/// A bit a page.
#[derive(Default)]
struct Seen(Vec<u64>);

impl Seen {
    /// False if it was inside.
    fn insert(&mut self, block: BlockNumber) -> bool {
        let (at, mask) = (block.get() as usize / 64, 1 << (block.get() % 64));
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        self.0.get_mut(at).is_some_and(|word| {
            *word & mask == 0 && {
                *word |= mask;
                true
            }
        })
    }
    fn contains(&self, block: BlockNumber) -> bool {
        self.0.get(block.get() as usize / 64).is_some_and(|word| word >> (block.get() % 64) & 1 != 0)
    }
}

#[derive(Default)]
struct Walk {
    seen: Seen,
    items: u64,
}

impl Tree {
    /// Checks the whole tree, reading every page (blocking). Nothing may change it meanwhile.
    ///
    /// # Errors
    /// Fails if a page is damaged or cannot be read.
    pub fn verify(&self) -> Result<Verified, Error> {
        self.verify_all().map_err(|fault| match fault {
            Fault::Failed(error) => error,
            // Pages are loaded here, so none is missed.
            Fault::Miss(_) | Fault::NeedFrames | Fault::Pause => Error::PoolExhausted,
        })
    }

    fn verify_all(&self) -> Result<Verified, Fault> {
        let mut walk = Walk::default();
        self.verify_page(&mut walk, ROOT, b"", None)?;
        let mut free_pages = 0;
        for number in 0..free_map::map_count(self.page_count()) {
            let block = BlockNumber::new(number * free_map::SPAN);
            let map = self.verified(&mut walk, block, PageKind::Meta)?;
            for free in free_map::free_blocks(&map, block) {
                // Behind the end every page is free.
                let is_inside = free.get() < self.page_count();
                if is_inside && !walk.seen.insert(free) {
                    return Err(self.broken(free, "a page in use is marked as free"));
                }
                free_pages += u64::from(is_inside);
            }
        }
        let all = (0..self.page_count()).map(BlockNumber::new);
        let lost_pages = all.filter(|block| !walk.seen.contains(*block)).collect();
        Ok(Verified { items: walk.items, free_pages, lost_pages })
    }

    /// A copy of a page that must be of this kind, and that nothing else leads to.
    fn verified(&self, walk: &mut Walk, block: BlockNumber, kind: PageKind) -> Result<Box<Page>, Fault> {
        let page = Box::new(Page::clone(&*self.load(block)?.read()));
        page.check_layout().map_err(|fault| self.broken(block, &fault.to_string()))?;
        if page.kind() != Some(kind) {
            return Err(self.broken(block, "links lead to a page of another kind"));
        }
        if !walk.seen.insert(block) {
            return Err(self.broken(block, "two links lead to one page"));
        }
        Ok(page)
    }

    fn verify_page(
        &self,
        walk: &mut Walk,
        block: BlockNumber,
        low: &[u8],
        high: Option<&[u8]>,
    ) -> Result<u16, Fault> {
        let kind = self.load(block)?.read().kind().filter(|kind| *kind == PageKind::Leaf);
        let page = self.verified(walk, block, kind.unwrap_or(PageKind::Inner))?;
        if page.high_key() != high {
            return Err(self.broken(block, "the high key is not the parent's next separator"));
        }
        let count = page.item_count();
        let ordered = (FIRST..count).all(|at| {
            let key = page.key(at);
            let after = at == FIRST || page.key(at - 1) < key || (kind.is_some() && page.key(at - 1) == key);
            // The first child of an inner page has all keys from the page's low bound on, whatever its item
            // says.
            let first_child = at == FIRST && kind.is_none();
            after && (first_child || key >= low) && high.is_none_or(|high| key < high)
        });
        if !ordered {
            return Err(self.broken(block, "keys are out of order or outside of the page's bounds"));
        }
        if kind.is_some() {
            walk.items += count.saturating_sub(FIRST) as u64;
            for at in FIRST..count {
                self.verify_chains(walk, page.item(at))?;
            }
            return Ok(page.level());
        }
        for at in FIRST..count {
            let next = if at + 1 < count { Some(page.key(at + 1)) } else { high };
            let low = if at == FIRST { low } else { page.key(at) };
            let level = self.verify_page(walk, page.child(at), low, next)?;
            if level + 1 != page.level() {
                return Err(self.broken(page.child(at), "the level is not one below the parent's"));
            }
        }
        Ok(page.level())
    }

    /// The pages that an item leads to.
    fn verify_chains(&self, walk: &mut Walk, item: &[u8]) -> Result<(), Fault> {
        let flags = leaf::item_head(item).flags;
        let kind = match flags {
            _ if flags & CHAIN != 0 => PageKind::Overflow,
            _ if flags & LARGE != 0 => PageKind::Large,
            _ => return Ok(()),
        };
        let mut block = leaf::chain_start(leaf::item_value(item));
        while block.is_valid() {
            let page = self.verified(walk, block, kind)?;
            if kind == PageKind::Overflow {
                for item in page.items() {
                    self.verify_chains(walk, item)?;
                }
            }
            block = page.right();
        }
        Ok(())
    }
}
