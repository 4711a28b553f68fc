//! Versions of aborted transactions leave a tree.

use super::Tree;
use super::insert::Leaf;
use crate::page::leaf::{self, CHAIN};
use crate::page::{FIRST, PageKind};
use crate::records::{Prune, info};
use crate::store::Fault;
use crate::writer::{Target, Writer};
use std::ops::ControlFlow;
use wal::{BlockNumber, Xid};

/// What a sweep of one leaf left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Versions removed.
    pub removed: usize,
    /// Versions of aborted transactions have moved to a chain, from where they cannot be taken one by one.
    pub left_in_chains: bool,
    /// The next leaf's low bound; None at the end of the tree.
    pub next: Option<Vec<u8>>,
}

impl Writer<'_> {
    /// Removes the versions of `aborted` (ascending) from the leaf that covers `key`. Large values that they had are
    /// left to nobody; their pages come back when the file is rebuilt.
    pub fn sweep_leaf(&mut self, tree: &Tree, key: &[u8], aborted: &[Xid]) -> Result<Swept, Fault> {
        let (page, block) = self.find(tree, key, 0)?;
        let mut leaf = Leaf { page, block };
        let mut dead = Vec::new();
        let mut left_in_chains = false;
        for index in FIRST..leaf.page.item_count() {
            let item = leaf.page.item(index);
            let head = leaf::item_head(item);
            if head.flags & CHAIN != 0 {
                left_in_chains |= self.chain_has(tree, leaf::chain_start(leaf::item_value(item)), aborted)?;
            } else if aborted.binary_search(&head.xid).is_ok() {
                dead.push(index as u16);
            }
        }
        let next = leaf.page.high_key().map(<[u8]>::to_vec);
        let removed = dead.len();
        if removed > 0 {
            let mut main = Vec::with_capacity(10 + 2 * removed);
            // No snapshot has ever seen these versions, so none is in the way: the horizon is none.
            Prune { horizon: Xid::INVALID, dead }.encode(&mut main);
            let target = Target { id: 0, block: leaf.block, init: false, data: &[], page: &mut leaf.page };
            self.change(info::PRUNE, &tree.relation, &main, &mut [target])?;
        }
        Ok(Swept { removed, left_in_chains, next })
    }

    fn chain_has(&self, tree: &Tree, start: BlockNumber, aborted: &[Xid]) -> Result<bool, Fault> {
        let mut block = start;
        for _ in 0..tree.relation.page_count() {
            if !block.is_valid() {
                return Ok(false);
            }
            let page = self.pin(&tree.relation, block)?.read();
            if page.kind() != Some(PageKind::Overflow) {
                return Err(tree.broken(block, "a chain leads to a page of another kind"));
            }
            let found =
                page.items().try_for_each(|item| match aborted.binary_search(&leaf::item_head(item).xid) {
                    Ok(_) => ControlFlow::Break(()),
                    Err(_) => ControlFlow::Continue(()),
                });
            if found.is_break() {
                return Ok(true);
            }
            block = page.right();
        }
        Ok(false)
    }
}
