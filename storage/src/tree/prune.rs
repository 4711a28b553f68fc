//! Versions that no snapshot can need any more leave their pages.

use super::insert::Leaf;
use super::{Tree, VersionHead};
use crate::page::leaf::{self, CHAIN, DELETED, LARGE};
use crate::page::{FIRST, Page, PageKind};
use crate::pool::ReadPage;
use crate::records::{self, META, META_ID, Prune, info};
use crate::store::Fault;
use crate::writer::{Target, Writer};
use smallvec::SmallVec;
use wal::{BlockNumber, Xid};

/// Overflow pages that one prune frees at most without I/O allowed, to keep the write lock short.
const FREED_MAX: usize = 64;

/// Pages of a chain that are looked at for the place where its dead part begins.
const WALKED_MAX: usize = 1024;

/// What a prune of one leaf removes.
#[derive(Debug, Default)]
struct Dead {
    items: Vec<u16>,
    /// Chains that no item leads to afterwards.
    chains: Vec<BlockNumber>,
}

/// Finds the dead items of a leaf. A version is dead if a newer one of its key is seen by every snapshot; a deletion seen by
/// every snapshot is dead with all that is older. `can_free` says whether the chain that an item leads to can go with it.
fn find_dead(page: &Page, horizon: Xid, mut can_free: impl FnMut(BlockNumber) -> bool) -> Dead {
    let mut dead = Dead::default();
    let mut index = FIRST;
    let count = page.item_count();
    while index < count {
        let end = leaf::run_end(page, index);
        let settled = (index..end).find(|at| {
            let head = leaf::item_head(page.item(*at));
            head.flags & CHAIN == 0 && head.xid < horizon
        });
        if let Some(settled) = settled {
            let mut all_gone = true;
            let before = dead.items.len();
            for at in settled + 1..end {
                let item = page.item(at);
                let flags = leaf::item_head(item).flags;
                if flags & (CHAIN | LARGE) != 0 {
                    let start = leaf::chain_start(leaf::item_value(item));
                    if !can_free(start) {
                        all_gone = false;
                        continue;
                    }
                    dead.chains.push(start);
                }
                dead.items.push(at as u16);
            }
            let deleted = leaf::item_head(page.item(settled)).flags & DELETED != 0;
            if deleted && all_gone {
                dead.items.insert(before, settled as u16);
            }
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
        let mut long: SmallVec<[BlockNumber; 2]> = SmallVec::new();
        let dead = find_dead(&leaf.page, self.horizon, |start| {
            let whole = self.chain_pages(tree, start).is_some();
            if !whole {
                long.push(start);
            }
            whole
        });
        for start in long {
            self.shorten_chain(tree, leaf, start, true)?;
        }
        if dead.items.is_empty() {
            return Ok(0);
        }
        let removed = dead.items.len();
        // The chains' pages are known before their items go.
        let mut pages: Vec<BlockNumber> = Vec::new();
        for start in &dead.chains {
            pages.extend(self.chain_pages(tree, *start).unwrap_or_default());
        }
        let mut main = Vec::with_capacity(10 + 2 * removed);
        Prune { horizon: self.horizon, dead: dead.items }.encode(&mut main);
        let target = Target { id: 0, block: leaf.block, init: false, data: &[], page: &mut leaf.page };
        self.change(info::PRUNE, &tree.relation, &main, &mut [target])?;
        for block in pages {
            self.free_page(tree, block)?;
        }
        Ok(removed)
    }

    /// Prunes the leaf that covers `key`; returns how many versions went and the next leaf's low bound.
    pub fn prune(&mut self, tree: &Tree, key: &[u8]) -> Result<(usize, Option<Vec<u8>>), Fault> {
        let (page, block) = self.find(tree, key, 0)?;
        let mut leaf = Leaf { page, block };
        let removed = self.prune_leaf(tree, &mut leaf)?;
        Ok((removed, leaf.page.high_key().map(<[u8]>::to_vec)))
    }

    /// All pages of a chain, with the chains of large values that its versions lead to. None if some are not at hand.
    fn chain_pages(&self, tree: &Tree, start: BlockNumber) -> Option<Vec<BlockNumber>> {
        let mut pages = Vec::new();
        let mut starts: SmallVec<[BlockNumber; 4]> = SmallVec::from_slice(&[start]);
        let limit = if self.io { tree.relation.page_count() as usize } else { FREED_MAX };
        while let Some(start) = starts.pop() {
            let mut block = start;
            while block.is_valid() {
                if pages.len() >= limit {
                    return None;
                }
                let page = self.pin(&tree.relation, block).ok()?.read();
                pages.push(block);
                match page.kind() {
                    Some(PageKind::Overflow) => {
                        let large = |item: &&[u8]| leaf::item_head(item).flags & LARGE != 0;
                        starts.extend(
                            page.items().filter(large).map(|item| leaf::chain_start(leaf::item_value(item))),
                        );
                    }
                    Some(PageKind::Large) => {}
                    _ => return None,
                }
                block = page.right();
            }
        }
        Some(pages)
    }

    /// Takes dead pages out of the middle of a chain, a bounded number at a time: those after the first page that holds
    /// a version which every snapshot sees (`settled`: there is a newer such version before the chain).
    pub(super) fn shorten_chain(
        &mut self,
        tree: &Tree,
        leaf: &mut Leaf<'a>,
        start: BlockNumber,
        settled: bool,
    ) -> Result<(), Fault> {
        let (mut block, mut walked) = (start, 0);
        let mut next = loop {
            let Some(page) = self.resident(tree, block, PageKind::Overflow) else { return Ok(()) };
            // The last version of a page is its oldest.
            let last = page.item(page.item_count().saturating_sub(1));
            if settled || leaf::item_head(last).xid < self.horizon {
                break page.right();
            }
            walked += 1;
            if walked == WALKED_MAX {
                return Ok(());
            }
            block = page.right();
        };
        let mut pages = Vec::new();
        while pages.len() < FREED_MAX
            && let Some(page) = self.resident(tree, next, PageKind::Overflow)
        {
            let mut with_values = vec![next];
            let large = |item: &&[u8]| leaf::item_head(item).flags & LARGE != 0;
            for item in page.items().filter(large) {
                match self.chain_pages(tree, leaf::chain_start(leaf::item_value(item))) {
                    Some(value) => with_values.extend(value),
                    None => with_values.clear(),
                }
                if with_values.is_empty() {
                    break;
                }
            }
            if with_values.is_empty() {
                break;
            }
            pages.extend(with_values);
            next = page.right();
        }
        if pages.is_empty() {
            return Ok(());
        }
        let mut main = self.horizon.get().to_le_bytes().to_vec();
        main.extend_from_slice(&next.get().to_le_bytes());
        let mut page = self.pin(&tree.relation, block)?.write();
        let targets = &mut [
            Target { id: 0, block: leaf.block, init: false, data: &[], page: &mut leaf.page },
            Target { id: 1, block, init: false, data: &[], page: &mut page },
        ];
        self.change(info::CHAIN_CUT, &tree.relation, &main, targets)?;
        drop(page);
        for block in pages {
            self.free_page(tree, block)?;
        }
        Ok(())
    }

    /// A page of a chain if it can be had now.
    fn resident(&self, tree: &Tree, block: BlockNumber, kind: PageKind) -> Option<ReadPage<'a>> {
        let valid = Some(block).filter(|block| block.is_valid())?;
        let page = self.pin(&tree.relation, valid).ok()?.read();
        (page.kind() == Some(kind)).then_some(page)
    }

    /// Puts a page that nothing leads to at the head of the free list.
    fn free_page(&mut self, tree: &Tree, block: BlockNumber) -> Result<(), Fault> {
        let mut page = self.pin(&tree.relation, block)?.write();
        let mut meta = match self.pin(&tree.relation, META) {
            Ok(pin) => pin.write(),
            // The page is lost to the tree until the file is rebuilt; nothing else is.
            Err(Fault::Miss(_)) => return Ok(()),
            Err(fault) => return Err(fault),
        };
        let (head, length) = records::free_list(&meta);
        let list = records::encode_free_list(block, length.saturating_add(1));
        let main = head.get().to_le_bytes();
        let targets = &mut [
            Target { id: 0, block, init: true, data: &[], page: &mut page },
            Target { id: META_ID, block: META, init: false, data: &list, page: &mut meta },
        ];
        Ok(self.change(info::FREE, &tree.relation, &main, targets)?)
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
