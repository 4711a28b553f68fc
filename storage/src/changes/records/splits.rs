//! Records by which pages of a tree are split: SPLIT and ROOT_SPLIT.

use super::{ApplyError, block, build_tree_page, index, info, prefixed, short};
use crate::pages::page::{FIRST, Page};
use wal::BlockNumber;
use wal::codec::{Fields, PutFields, Short};

/// SPLIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split<'a> {
    /// Of the page that is split.
    pub level: u16,
    /// The first item that goes to the right.
    pub split: usize,
    /// Where in the parent the new downlink goes.
    pub parent_index: usize,
    /// The new page.
    pub right: BlockNumber,
    /// The left page's new high key, and the downlink's key.
    pub separator: &'a [u8],
}

impl<'a> Split<'a> {
    /// Appends the main data to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(self.level);
        out.put_u16(short(self.split));
        out.put_u16(short(self.parent_index));
        out.put_u32(self.right.get());
        out.put_u16(short(self.separator.len()));
        out.put(self.separator);
    }
    /// Reads the main data.
    ///
    /// # Errors
    /// Fails if the data is too short.
    pub fn decode(main: &'a [u8]) -> Result<Self, Short> {
        let mut fields = Fields::new(main);
        Ok(Self {
            level: fields.u16()?,
            split: index(&mut fields)?,
            parent_index: index(&mut fields)?,
            right: block(&mut fields)?,
            separator: prefixed(&mut fields)?,
        })
    }
    pub(super) fn apply(&self, id: u8, page: &mut Page, data: &[u8]) -> Result<(), ApplyError> {
        match id {
            0 => {
                page.repack(|index, _| index != 0 && index < self.split);
                page.insert_item(0, &[self.separator])?;
                // Once more, so that the high key lies where a fresh page has it.
                page.repack(|_, _| true);
                page.set_right(self.right);
                Ok(())
            }
            1 => build_tree_page(page, self.level, data),
            2 => {
                // A page that took over the keys of one on its left has a first item whose key is not its low
                // bound.
                if self.parent_index == FIRST + 1 && page.key(FIRST) >= self.separator {
                    let first = page.child(FIRST).get().to_le_bytes();
                    page.replace_item(FIRST, &first)?;
                }
                let child = self.right.get().to_le_bytes();
                Ok(page.insert_item(self.parent_index, &[&child, self.separator])?)
            }
            id => Err(ApplyError::Unknown { info: info::SPLIT, id }),
        }
    }
}

/// ROOT_SPLIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootSplit<'a> {
    /// Of the two new pages; the root goes one up.
    pub level: u16,
    /// The lower half.
    pub left: BlockNumber,
    /// The upper half.
    pub right: BlockNumber,
    /// Between them.
    pub separator: &'a [u8],
}

impl<'a> RootSplit<'a> {
    /// Appends the main data to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u16(self.level);
        out.put_u32(self.left.get());
        out.put_u32(self.right.get());
        out.put_u16(short(self.separator.len()));
        out.put(self.separator);
    }
    /// Reads the main data.
    ///
    /// # Errors
    /// Fails if the data is too short.
    pub fn decode(main: &'a [u8]) -> Result<Self, Short> {
        let mut fields = Fields::new(main);
        Ok(Self {
            level: fields.u16()?,
            left: block(&mut fields)?,
            right: block(&mut fields)?,
            separator: prefixed(&mut fields)?,
        })
    }
    pub(super) fn apply(&self, id: u8, page: &mut Page, data: &[u8]) -> Result<(), ApplyError> {
        match id {
            0 => {
                page.init_tree_page(self.level.saturating_add(1), BlockNumber::INVALID, b"")?;
                page.insert_item(FIRST, &[&self.left.get().to_le_bytes()])?;
                Ok(page.insert_item(FIRST + 1, &[&self.right.get().to_le_bytes(), self.separator])?)
            }
            1 | 2 => build_tree_page(page, self.level, data),
            id => Err(ApplyError::Unknown { info: info::ROOT_SPLIT, id }),
        }
    }
}
