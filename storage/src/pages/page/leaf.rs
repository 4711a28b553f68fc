//! Items of a leaf: one version of one key each, versions of a key side by side, newest first.
//!
//! ```text
//! 0   cid u32, flags u16, key length u16, xid u64
//! 16  key
//! ..  value: the row's bytes; with LARGE: first block u32 and length u32 of a chain of overflow pages;
//!     with CHAIN: the first block u32 of the overflow pages that hold this key's older versions
//! ```

use super::{FIRST, Page};
use wal::{BlockNumber, Xid};

/// Bytes before the key.
pub const ITEM_HEADER: usize = 16;
/// The longest key; three of them and a high key fit an inner page.
pub const MAX_KEY: usize = 1900;
/// The longest item kept whole in a leaf; a longer value goes to overflow pages.
pub const MAX_ITEM: usize = 2000;

/// The version says that its key is gone.
pub const DELETED: u16 = 1;
/// The value lies in overflow pages.
pub const LARGE: u16 = 2;
/// Not a version: leads to the older ones.
pub const CHAIN: u16 = 4;

/// What a version's item says besides key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemHead {
    /// Who wrote it.
    pub xid: Xid,
    /// By which command of its transaction.
    pub cid: u32,
    /// DELETED, LARGE, CHAIN.
    pub flags: u16,
}

impl ItemHead {
    /// The bytes before the key.
    pub fn encode(self, key_len: u16) -> [u8; ITEM_HEADER] {
        let mut bytes = [0; ITEM_HEADER];
        bytes[..4].copy_from_slice(&self.cid.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.flags.to_le_bytes());
        bytes[6..8].copy_from_slice(&key_len.to_le_bytes());
        bytes[8..].copy_from_slice(&self.xid.get().to_le_bytes());
        bytes
    }
}

/// The key of a leaf item.
pub fn item_key(item: &[u8]) -> &[u8] {
    let len = match item.get(6..8) {
        Some(&[low, high]) => usize::from(u16::from_le_bytes([low, high])),
        _ => return &[],
    };
    item.get(ITEM_HEADER..ITEM_HEADER + len).unwrap_or_default()
}

/// The value of a leaf item.
pub fn item_value(item: &[u8]) -> &[u8] {
    let len = item_key(item).len();
    item.get(ITEM_HEADER + len..).unwrap_or_default()
}

/// The head of a leaf item; all zero for bytes that are none.
pub fn item_head(item: &[u8]) -> ItemHead {
    match item.get(..ITEM_HEADER) {
        Some(&[a, b, c, d, e, f, _, _, g, h, i, j, k, l, m, n]) => ItemHead {
            cid: u32::from_le_bytes([a, b, c, d]),
            flags: u16::from_le_bytes([e, f]),
            xid: Xid::new(u64::from_le_bytes([g, h, i, j, k, l, m, n])),
        },
        _ => ItemHead { cid: 0, flags: 0, xid: Xid::INVALID },
    }
}

/// Reads the u32 at `at` of a LARGE or CHAIN value.
fn value_u32(value: &[u8], at: usize) -> Option<u32> {
    match value.get(at..at + 4) {
        Some(&[a, b, c, d]) => Some(u32::from_le_bytes([a, b, c, d])),
        _ => None,
    }
}

/// The first overflow page of a LARGE or CHAIN item.
pub fn chain_start(value: &[u8]) -> BlockNumber {
    value_u32(value, 0).map_or(BlockNumber::INVALID, BlockNumber::new)
}

/// The length of a LARGE item's value.
pub fn large_len(value: &[u8]) -> u32 {
    value_u32(value, 4).unwrap_or(0)
}

/// The end of the run of items with the same key that begins at `index`.
pub fn run_end(page: &Page, index: usize) -> usize {
    let key = item_key(page.item(index));
    let count = page.item_count();
    (index + 1..count).find(|at| item_key(page.item(*at)) != key).unwrap_or(count)
}

/// The start of the run of items with the same key that ends with `index`.
pub fn run_start(page: &Page, index: usize) -> usize {
    let key = item_key(page.item(index));
    (FIRST..index).rev().find(|at| item_key(page.item(*at)) != key).map_or(FIRST, |at| at + 1)
}
