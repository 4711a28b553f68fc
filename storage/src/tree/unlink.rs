//! An empty leaf leaves the tree, with the ancestors that have no other child.

use super::Tree;
use super::insert::Leaf;
use crate::changes::records::{UNLINKED_MAX, Unlink, info};
use crate::changes::store::Fault;
use crate::changes::writer::{Target, Writer};
use crate::pages::page::{FIRST, PageKind};
use crate::pages::pool::WritePage;
use smallvec::SmallVec;
use wal::BlockNumber;

/// A page on the way from the root down, and which of its children the way takes.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) block: BlockNumber,
    pub(super) index: usize,
    pub(super) count: usize,
}

impl<'a> Writer<'a> {
    /// Takes the empty leaf that covers `key` out of the tree. Returns how many pages became free: 0 if it
    /// must stay, because it is the last child of a parent that has others, or the last page of its level.
    pub(super) fn unlink(&mut self, tree: &Tree, key: &[u8], leaf: Leaf<'a>) -> Result<usize, Fault> {
        let path = self.path_to(tree, key, leaf.block, 0)?;
        // Pages that go, the leaf first: those whose parents have no other child.
        let mut gone: SmallVec<[BlockNumber; UNLINKED_MAX]> = SmallVec::from_slice(&[leaf.block]);
        let mut parent = None;
        for step in path.iter().rev() {
            if step.count > 1 {
                parent = Some(*step);
                break;
            }
            gone.push(step.block);
        }
        let Some(parent) =
            parent.filter(|parent| parent.index + 1 < FIRST + parent.count && gone.len() <= UNLINKED_MAX)
        else {
            return Ok(0);
        };
        let mut lefts: SmallVec<[Option<BlockNumber>; UNLINKED_MAX]> = SmallVec::new();
        for level in 0..gone.len() {
            lefts.push(self.left_of(tree, &path, level)?);
        }
        let Leaf { page, .. } = leaf;
        let mut pages: SmallVec<[WritePage<'a>; UNLINKED_MAX]> = SmallVec::new();
        pages.push(page);
        for block in &gone[1..] {
            pages.push(self.pin(&tree.relation, *block)?.write());
        }
        let mut left_pages: SmallVec<[Option<WritePage<'a>>; UNLINKED_MAX]> = SmallVec::new();
        for (left, block) in lefts.iter().zip(&gone) {
            let Some(left) = left else {
                left_pages.push(None);
                continue;
            };
            let page = self.pin(&tree.relation, *left)?.write();
            if page.right() != *block {
                return Err(tree.broken(*left, "the right link does not lead to the next page"));
            }
            left_pages.push(Some(page));
        }
        let mut above = self.pin(&tree.relation, parent.block)?.write();
        let rights: SmallVec<[BlockNumber; UNLINKED_MAX]> = pages.iter().map(|page| page.right()).collect();
        if rights.last() != Some(&above.child(parent.index + 1)) {
            return Err(tree.broken(parent.block, "the next child is not the right neighbour"));
        }
        let (mut maps, rest) = self.take_maps(tree, gone.to_vec())?;
        let mut main = Vec::with_capacity(16);
        Unlink { parent_index: parent.index, rights }.encode(&mut main);
        let mut targets: SmallVec<[Target<'_, 'a>; 8]> = SmallVec::new();
        targets.push(Target { id: 0, block: parent.block, init: false, data: &[], page: &mut above });
        for (level, (page, left)) in (0_u8..).zip(pages.iter_mut().zip(&mut left_pages)) {
            let at = usize::from(level);
            targets.push(Target { id: 1 + 2 * level, block: gone[at], init: true, data: &[], page });
            if let (Some(page), Some(block)) = (left, lefts[at]) {
                targets.push(Target { id: 2 + 2 * level, block, init: false, data: &[], page });
            }
        }
        targets.extend(maps.targets());
        tree.relation.reshape();
        self.change(info::UNLINK, &tree.relation, &main, &mut targets)?;
        drop(targets);
        maps.freed(tree);
        debug_assert!(rest.is_empty(), "one record has room for the maps of all these");
        Ok(gone.len())
    }

    /// The left neighbour of the page of `level` (0 is the leaf) on a way down; None if that is the first of
    /// its level.
    pub(super) fn left_of(
        &self,
        tree: &Tree,
        path: &[Step],
        level: usize,
    ) -> Result<Option<BlockNumber>, Fault> {
        let above = path.len().checked_sub(level).map_or(&[][..], |upto| &path[..upto]);
        let Some(turn) = above.iter().rposition(|step| step.index > FIRST) else { return Ok(None) };
        let mut block = self.pin(&tree.relation, above[turn].block)?.read().child(above[turn].index - 1);
        // From there down along the last children.
        for _ in turn + 1..above.len() {
            let page = self.pin(&tree.relation, block)?.read();
            if page.kind() != Some(PageKind::Inner) {
                return Err(tree.broken(block, "not the page of the tree that links lead to"));
            }
            block = page.child(page.item_count().saturating_sub(1));
        }
        Ok(Some(block))
    }
}
