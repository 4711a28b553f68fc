//! Records by which pages leave a tree: UNLINK and REPACK.

use super::{ApplyError, block, build_tree_page, info, prefixed, short};
use crate::pages::free_map;
use crate::pages::page::{BadChange, FIRST, Page, PageKind};
use smallvec::SmallVec;
use wal::BlockNumber;
use wal::codec::{Fields, PutFields, Short};

/// Levels that one UNLINK takes away at most.
pub const UNLINKED_MAX: usize = 3;
/// Siblings that one REPACK takes at most.
pub const REPACKED_MAX: usize = 3;
/// Pages that one REPACK makes of them at most.
pub const PACKED_MAX: usize = 2;

/// UNLINK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlink {
    /// Of the uppermost page that goes, in its parent; the item behind it gives it its child.
    pub parent_index: usize,
    /// The right links of the pages that go, the leaf's first.
    pub rights: SmallVec<[BlockNumber; UNLINKED_MAX]>,
}

impl Unlink {
    /// Appends the main data to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(self.rights.len() as u8);
        out.put_u16(short(self.parent_index));
        for right in &self.rights {
            out.put_u32(right.get());
        }
    }
    /// Reads the main data.
    ///
    /// # Errors
    /// Fails if the data is too short.
    pub fn decode(main: &[u8]) -> Result<Self, Short> {
        let mut fields = Fields::new(main);
        let (count, parent_index) = (fields.u8()?, super::index(&mut fields)?);
        let rights = (0..count).map(|_| block(&mut fields)).collect::<Result<_, _>>()?;
        Ok(Self { parent_index, rights })
    }
    pub(super) fn apply(&self, id: u8, page: &mut Page) -> Result<(), ApplyError> {
        let unknown = ApplyError::Unknown { info: info::UNLINK, id };
        let Some(at) = usize::from(id).checked_sub(1) else {
            let next = page.child(self.parent_index + 1);
            if page.kind() != Some(PageKind::Inner) || !next.is_valid() {
                return Err(BadChange("a page is taken from a parent that has no other behind it").into());
            }
            let mut item = page.item(self.parent_index).to_vec();
            match item.first_chunk_mut::<4>() {
                Some(child) => *child = next.get().to_le_bytes(),
                None => return Err(BadChange("an item is too short").into()),
            }
            page.replace_item(self.parent_index, &item)?;
            page.repack(|index, _| index != self.parent_index + 1);
            return Ok(());
        };
        let right = *self.rights.get(at / 2).ok_or(unknown)?;
        if at.is_multiple_of(2) {
            page.init(PageKind::Free, 0, BlockNumber::INVALID);
        } else {
            page.set_right(right);
        }
        Ok(())
    }
}

/// REPACK: siblings side by side become fewer, or lie elsewhere. Each page that comes of it is made anew,
/// whether it was one of them or free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repack<'a> {
    /// Of the siblings.
    pub level: u16,
    /// The first one's item in the parent.
    pub parent_index: usize,
    /// How many siblings.
    pub count: usize,
    /// The pages that come of them, from left to right.
    pub packed: SmallVec<[BlockNumber; PACKED_MAX]>,
    /// The low bound of the second of those, if there is one.
    pub separator: &'a [u8],
}

impl<'a> Repack<'a> {
    /// Block reference of the first one's left neighbour.
    pub const LEFT: u8 = 1;
    /// Block reference of the first page that comes of the siblings.
    pub const PACKED: u8 = 2;
    /// Block reference of the first page that is given up.
    pub const GONE: u8 = Self::PACKED + PACKED_MAX as u8;

    /// Appends the main data to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(self.level);
        out.put_u16(short(self.parent_index));
        out.put_u8(self.count as u8);
        out.put_u8(self.packed.len() as u8);
        for block in &self.packed {
            out.put_u32(block.get());
        }
        out.put_u16(short(self.separator.len()));
        out.put(self.separator);
    }
    /// Reads the main data.
    ///
    /// # Errors
    /// Fails if the data is too short.
    pub fn decode(main: &'a [u8]) -> Result<Self, Short> {
        let mut fields = Fields::new(main);
        let (level, parent_index) = (fields.u16()?, super::index(&mut fields)?);
        let (count, packed) = (usize::from(fields.u8()?), fields.u8()?);
        let packed = (0..packed).map(|_| block(&mut fields)).collect::<Result<_, _>>()?;
        Ok(Self { level, parent_index, count, packed, separator: prefixed(&mut fields)? })
    }
    pub(super) fn apply(&self, id: u8, page: &mut Page, data: &[u8]) -> Result<(), ApplyError> {
        match id {
            0 => self.apply_to_parent(page),
            Self::LEFT => {
                let first = self.packed.first().ok_or(BadChange("siblings are packed into no page"))?;
                page.set_right(*first);
                Ok(())
            }
            Self::PACKED..Self::GONE => build_tree_page(page, self.level, data),
            Self::GONE.. => {
                page.init(PageKind::Free, 0, BlockNumber::INVALID);
                Ok(())
            }
        }
    }
    fn apply_to_parent(&self, page: &mut Page) -> Result<(), ApplyError> {
        let end = self.parent_index + self.count;
        if page.kind() != Some(PageKind::Inner)
            || self.parent_index < FIRST
            || end > page.item_count()
            || self.count < self.packed.len()
        {
            return Err(BadChange("a parent has not the children that are packed").into());
        }
        let Some((first, others)) = self.packed.split_first() else {
            return Err(BadChange("siblings are packed into no page").into());
        };
        let mut item = page.item(self.parent_index).to_vec();
        match item.first_chunk_mut::<4>() {
            Some(child) => *child = first.get().to_le_bytes(),
            None => return Err(BadChange("an item is too short").into()),
        }
        page.repack(|index, _| index <= self.parent_index || index >= end);
        page.replace_item(self.parent_index, &item)?;
        for (at, block) in (self.parent_index + 1..).zip(others) {
            page.insert_item(at, &[&block.get().to_le_bytes(), self.separator])?;
        }
        Ok(())
    }
    /// Changes a map: of the pages that `data` names, those that siblings were packed into are taken, the
    /// others given.
    pub(super) fn apply_to_map(&self, page: &mut Page, data: &[u8]) -> Result<(), ApplyError> {
        let (mut taken, mut given) = (Vec::new(), Vec::new());
        let mut fields = Fields::new(data);
        for _ in 0..data.len() / 4 {
            let block = block(&mut fields)?;
            if self.packed.contains(&block) { taken.push(block) } else { given.push(block) }
        }
        free_map::apply(page, &free_map::encode_blocks(&taken), false)?;
        free_map::apply(page, &free_map::encode_blocks(&given), true)
    }
}
