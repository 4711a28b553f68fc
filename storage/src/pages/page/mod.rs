//! One 8 KiB page: PostgreSQL's header, line pointers, items, and the tree's own special space.
//!
//! ```text
//! 0      pd_lsn u64 (high half first), pd_checksum u16, pd_flags u16, pd_lower u16, pd_upper u16,
//!        pd_special u16, pd_pagesize_version u16, pd_prune_xid u32
//! 24     line pointers, 4 bytes each: offset (15 bits), state (2 bits), length (15 bits)
//! lower  zeros
//! upper  items, growing downwards
//! 8176   right link u32, level u16, kind u16, reserved u32, CRC-32C of the page u32
//! ```
//!
//! In memory pd_checksum and the CRC are zero; [`Page::seal`] sets both on the copy that goes to disk and
//! [`Page::unseal`] checks and clears them. Every change is a function of the page and its arguments alone,
//! and free space stays zero, so that redo reproduces pages byte for byte.

mod checksum;
pub mod leaf;
mod search;

use std::fmt;
use wal::codec::Short;
use wal::{BlockNumber, Lsn};

/// Bytes of a page (BLCKSZ).
pub const PAGE_SIZE: usize = 8192;
/// Bytes before the line pointers.
pub const HEADER_SIZE: usize = 24;
/// Where the special space begins.
pub const SPECIAL_AT: usize = PAGE_SIZE - 16;
/// Bytes that items and their line pointers share.
pub const USABLE_SIZE: usize = SPECIAL_AT - HEADER_SIZE;
/// Bytes of a line pointer.
pub const POINTER_SIZE: usize = 4;

const LSN_AT: usize = 0;
const CHECKSUM_AT: usize = 8;
const LOWER_AT: usize = 12;
const UPPER_AT: usize = 14;
const SPECIAL_FIELD_AT: usize = 16;
const VERSION_AT: usize = 18;
const RIGHT_AT: usize = SPECIAL_AT;
const LEVEL_AT: usize = SPECIAL_AT + 4;
const KIND_AT: usize = SPECIAL_AT + 6;
const CRC_AT: usize = SPECIAL_AT + 12;

/// Page size and layout version 4 (pd_pagesize_version).
const SIZE_AND_VERSION: u16 = PAGE_SIZE as u16 | 4;
/// lp_flags: in use with storage.
const LP_NORMAL: u32 = 1;

// The offsets above are those of storage/bufpage.h; the special space is MAXALIGNed.
const _: () =
    assert!(SPECIAL_AT.is_multiple_of(8) && CRC_AT + 4 == PAGE_SIZE && VERSION_AT + 6 == HEADER_SIZE);

/// What a page is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// Block 0 of a tree.
    Meta,
    /// Separators and children.
    Inner,
    /// Keys and their versions.
    Leaf,
    /// Old versions of one key; the right link leads on to older ones.
    Overflow,
    /// A piece of a large value; the right link leads on to the next.
    Large,
    /// In the tree's list of free pages; the right link is the next one.
    Free,
    /// The database's state page.
    State,
}

impl PageKind {
    const fn number(self) -> u16 {
        match self {
            Self::Meta => 1,
            Self::Inner => 2,
            Self::Leaf => 3,
            Self::Overflow => 4,
            Self::Free => 5,
            Self::State => 6,
            Self::Large => 7,
        }
    }
    const fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Meta,
            2 => Self::Inner,
            3 => Self::Leaf,
            4 => Self::Overflow,
            5 => Self::Free,
            6 => Self::State,
            7 => Self::Large,
            _ => return None,
        })
    }
}

/// Why a page read from disk is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageFault {
    /// PostgreSQL's checksum does not match.
    #[error("page verification failed, calculated checksum {calculated} but expected {stored}")]
    Checksum {
        /// Of the bytes as read.
        calculated: u16,
        /// In pd_checksum.
        stored: u16,
    },
    /// Our CRC does not match.
    #[error("page verification failed, calculated CRC {calculated:08X} but expected {stored:08X}")]
    Crc {
        /// Of the bytes as read.
        calculated: u32,
        /// In the special space.
        stored: u32,
    },
    /// A header field or line pointer points where it must not.
    #[error("{0}")]
    Layout(&'static str),
}

/// A page has no room for what a change wants to put there, or not the shape that the change expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadChange(pub &'static str);

/// A record does not fit the page it is applied to, or its own format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Too short.
    #[error("malformed record: {0}")]
    Short(#[from] Short),
    /// The page is not as the record expects.
    #[error("{0}")]
    Bad(#[from] BadChange),
    /// No such record or block.
    #[error("record {info:02X} has no block {id}")]
    Unknown {
        /// Its info.
        info: u8,
        /// Its block reference.
        id: u8,
    },
}

/// The bytes of one page.
#[derive(Clone, PartialEq, Eq)]
#[repr(C, align(16))]
pub struct Page([u8; PAGE_SIZE]);

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("lsn", &self.lsn())
            .field("kind", &self.kind())
            .field("level", &self.level())
            .field("right", &self.right())
            .field("items", &self.item_count())
            .field("free", &self.free_space())
            .finish()
    }
}

/// Prepares the copy of a page for the disk: sets the CRC, and PostgreSQL's checksum if the cluster has them.
pub(crate) fn seal(page: &mut [u8; PAGE_SIZE], block: BlockNumber, checksums: bool) {
    page[CHECKSUM_AT..CHECKSUM_AT + 2].fill(0);
    page[CRC_AT..CRC_AT + 4].fill(0);
    let crc = checksum::crc(page);
    page[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    if checksums {
        let sum = checksum::page_checksum(page, block);
        page[CHECKSUM_AT..CHECKSUM_AT + 2].copy_from_slice(&sum.to_le_bytes());
    }
}

impl Page {
    /// A page that was never used: all zero.
    pub const ZERO: Self = Self([0; PAGE_SIZE]);

    /// An all-zero page on the heap.
    pub fn boxed() -> Box<Self> {
        Box::new(Self::ZERO)
    }
    /// The raw bytes.
    pub fn bytes(&self) -> &[u8; PAGE_SIZE] {
        &self.0
    }
    /// The raw bytes, for reading a page from disk and restoring images.
    pub fn bytes_mut(&mut self) -> &mut [u8; PAGE_SIZE] {
        &mut self.0
    }

    fn u16_at(&self, at: usize) -> u16 {
        match self.0.get(at..at + 2) {
            Some(&[low, high]) => u16::from_le_bytes([low, high]),
            _ => 0,
        }
    }
    fn u32_at(&self, at: usize) -> u32 {
        match self.0.get(at..at + 4) {
            Some(&[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]),
            _ => 0,
        }
    }
    fn put_u16(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    fn put_u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// The end of the last record that changed this page (pd_lsn).
    pub fn lsn(&self) -> Lsn {
        Lsn::new(u64::from(self.u32_at(LSN_AT)) << 32 | u64::from(self.u32_at(LSN_AT + 4)))
    }
    /// Sets pd_lsn.
    pub fn set_lsn(&mut self, lsn: Lsn) {
        self.put_u32(LSN_AT, (lsn.get() >> 32) as u32);
        self.put_u32(LSN_AT + 4, lsn.get() as u32);
    }
    /// Whether the page was never initialised (PageIsNew).
    pub fn is_new(&self) -> bool {
        self.upper() == 0
    }
    /// The end of the line pointers (pd_lower).
    pub fn lower(&self) -> usize {
        usize::from(self.u16_at(LOWER_AT))
    }
    /// The start of the items (pd_upper).
    pub fn upper(&self) -> usize {
        usize::from(self.u16_at(UPPER_AT))
    }
    fn set_lower(&mut self, value: usize) {
        self.put_u16(LOWER_AT, value as u16);
    }
    fn set_upper(&mut self, value: usize) {
        self.put_u16(UPPER_AT, value as u16);
    }
    /// What the page is for; None for a new page or an unknown number.
    pub fn kind(&self) -> Option<PageKind> {
        PageKind::from_number(self.u16_at(KIND_AT))
    }
    /// Levels above the leaves.
    pub fn level(&self) -> u16 {
        self.u16_at(LEVEL_AT)
    }
    /// The page that goes on where this one ends; INVALID at the end.
    pub fn right(&self) -> BlockNumber {
        BlockNumber::new(self.u32_at(RIGHT_AT))
    }
    /// Sets the right link.
    pub fn set_right(&mut self, block: BlockNumber) {
        self.put_u32(RIGHT_AT, block.get());
    }

    /// Makes this an empty page of `kind`. pd_lsn stays.
    pub fn init(&mut self, kind: PageKind, level: u16, right: BlockNumber) {
        let lsn = self.lsn();
        self.0.fill(0);
        self.set_lsn(lsn);
        self.set_lower(HEADER_SIZE);
        self.set_upper(SPECIAL_AT);
        self.put_u16(SPECIAL_FIELD_AT, SPECIAL_AT as u16);
        self.put_u16(VERSION_AT, SIZE_AND_VERSION);
        self.set_right(right);
        self.put_u16(LEVEL_AT, level);
        self.put_u16(KIND_AT, kind.number());
    }

    /// How many line pointers there are.
    #[inline]
    pub fn item_count(&self) -> usize {
        self.lower().saturating_sub(HEADER_SIZE) / POINTER_SIZE
    }
    /// Free bytes between the line pointers and the items.
    pub fn free_space(&self) -> usize {
        self.upper().saturating_sub(self.lower())
    }
    /// Bytes used by items and line pointers.
    pub fn used_space(&self) -> usize {
        USABLE_SIZE.saturating_sub(self.free_space())
    }

    /// The bytes of item `index`; empty if there is none.
    #[inline]
    pub fn item(&self, index: usize) -> &[u8] {
        let pointer = self.u32_at(HEADER_SIZE + index * POINTER_SIZE);
        let (offset, len) = ((pointer & 0x7FFF) as usize, (pointer >> 17) as usize);
        if index >= self.item_count() {
            return &[];
        }
        self.0.get(offset..offset + len).unwrap_or_default()
    }
    fn item_mut(&mut self, index: usize) -> &mut [u8] {
        let pointer = self.u32_at(HEADER_SIZE + index * POINTER_SIZE);
        let (offset, len) = ((pointer & 0x7FFF) as usize, (pointer >> 17) as usize);
        if index >= self.item_count() {
            return &mut [];
        }
        self.0.get_mut(offset..offset + len).unwrap_or_default()
    }
    /// All items in order.
    pub fn items(&self) -> impl DoubleEndedIterator<Item = &[u8]> + ExactSizeIterator {
        (0..self.item_count()).map(|index| self.item(index))
    }

    /// Puts a new item, joined from `parts`, before item `index`. The caller has checked that it fits, or
    /// takes the error for damage.
    ///
    /// # Errors
    /// Fails if the item does not fit.
    pub fn insert_item(&mut self, index: usize, parts: &[&[u8]]) -> Result<(), BadChange> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let (lower, upper, count) = (self.lower(), self.upper(), self.item_count());
        if index > count {
            return Err(BadChange("an item is inserted past the last one"));
        }
        if upper < lower || upper - lower < len + POINTER_SIZE || upper > SPECIAL_AT || lower < HEADER_SIZE {
            return Err(BadChange("an item does not fit into its page"));
        }
        let start = upper - len;
        let mut at = start;
        for part in parts {
            self.0[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        let pointer_at = HEADER_SIZE + index * POINTER_SIZE;
        self.0.copy_within(pointer_at..lower, pointer_at + POINTER_SIZE);
        let state = if len == 0 { 0 } else { LP_NORMAL };
        let offset = if len == 0 { 0 } else { start as u32 };
        self.put_u32(pointer_at, offset | state << 15 | (len as u32) << 17);
        self.set_lower(lower + POINTER_SIZE);
        self.set_upper(start);
        Ok(())
    }

    /// Rebuilds the page with the items for which `keep` says so, packed in order, and zeroes the rest.
    pub fn repack(&mut self, mut keep: impl FnMut(usize, &[u8]) -> bool) {
        let old = self.clone();
        let mut at = SPECIAL_AT;
        let mut pointer_at = HEADER_SIZE;
        for index in 0..old.item_count() {
            let item = old.item(index);
            if !keep(index, item) {
                continue;
            }
            at -= item.len();
            self.0[at..at + item.len()].copy_from_slice(item);
            let (offset, state) = if item.is_empty() { (0, 0) } else { (at as u32, LP_NORMAL) };
            self.put_u32(pointer_at, offset | state << 15 | (item.len() as u32) << 17);
            pointer_at += POINTER_SIZE;
        }
        self.0[pointer_at..at].fill(0);
        self.set_lower(pointer_at);
        self.set_upper(at);
    }

    /// Replaces item `index` by bytes of another length: repacks the page.
    ///
    /// # Errors
    /// Fails if there is no such item or the new one does not fit.
    pub fn replace_item(&mut self, index: usize, with: &[u8]) -> Result<(), BadChange> {
        if index >= self.item_count() {
            return Err(BadChange("an item is replaced that is not there"));
        }
        if self.item(index).len() == with.len() {
            self.item_mut(index).copy_from_slice(with);
            return Ok(());
        }
        if self.free_space() + self.item(index).len() < with.len() {
            return Err(BadChange("an item does not fit into its page"));
        }
        self.repack(|at, _| at != index);
        self.insert_item(index, &[with])?;
        self.repack(|_, _| true);
        Ok(())
    }

    /// Prepares a copy for the disk, see [`seal`].
    pub fn seal(&mut self, block: BlockNumber, checksums: bool) {
        seal(&mut self.0, block, checksums);
    }

    /// Checks a page that came from disk, and clears its sums. A page of zeros is a new page, and right.
    ///
    /// # Errors
    /// Fails if a checksum or the layout is wrong.
    pub fn unseal(&mut self, block: BlockNumber, checksums: bool) -> Result<(), PageFault> {
        if self.is_new() && self.0.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let stored = self.u16_at(CHECKSUM_AT);
        self.put_u16(CHECKSUM_AT, 0);
        if checksums {
            let calculated = checksum::page_checksum(&self.0, block);
            if calculated != stored {
                return Err(PageFault::Checksum { calculated, stored });
            }
        }
        let stored = self.u32_at(CRC_AT);
        self.put_u32(CRC_AT, 0);
        let calculated = checksum::crc(&self.0);
        if calculated != stored {
            return Err(PageFault::Crc { calculated, stored });
        }
        self.check_layout()
    }

    /// Clears the sums of an image out of the log.
    pub fn clear_sums(&mut self) {
        self.put_u16(CHECKSUM_AT, 0);
        self.put_u32(CRC_AT, 0);
    }

    /// Checks that header and line pointers stay inside the page and items are long enough for their kind.
    ///
    /// # Errors
    /// Fails if the header or a line pointer is wrong.
    pub fn check_layout(&self) -> Result<(), PageFault> {
        let (lower, upper) = (self.lower(), self.upper());
        if usize::from(self.u16_at(SPECIAL_FIELD_AT)) != SPECIAL_AT
            || self.u16_at(VERSION_AT) != SIZE_AND_VERSION
        {
            return Err(PageFault::Layout("page size, version or special space is not the engine's"));
        }
        if lower < HEADER_SIZE
            || lower > upper
            || upper > SPECIAL_AT
            || !(lower - HEADER_SIZE).is_multiple_of(4)
        {
            return Err(PageFault::Layout("pd_lower and pd_upper are out of order"));
        }
        let Some(kind) = self.kind() else {
            return Err(PageFault::Layout("unknown kind of page"));
        };
        let mut total = 0;
        for index in 0..self.item_count() {
            let pointer = self.u32_at(HEADER_SIZE + index * POINTER_SIZE);
            let (offset, len) = ((pointer & 0x7FFF) as usize, (pointer >> 17) as usize);
            total += len;
            if len > 0 && (offset < upper || offset + len > SPECIAL_AT) {
                return Err(PageFault::Layout("a line pointer leads outside the items"));
            }
            let least = match kind {
                PageKind::Overflow => leaf::ITEM_HEADER + leaf::item_key(self.item(index)).len(),
                PageKind::Leaf if index > 0 => leaf::ITEM_HEADER + leaf::item_key(self.item(index)).len(),
                PageKind::Inner if index > 0 => 4,
                _ => 0,
            };
            if len < least {
                return Err(PageFault::Layout("an item is too short"));
            }
        }
        if upper + total > SPECIAL_AT {
            return Err(PageFault::Layout("items overlap"));
        }
        Ok(())
    }
}

// ---- what inner and leaf pages share: item 0 is the high key (empty on the rightmost page), data from 1 on
// ----

/// The first data item of a leaf or inner page.
pub const FIRST: usize = 1;

impl Page {
    /// Makes an empty leaf or inner page with its high key.
    ///
    /// # Errors
    /// Fails if the high key does not fit.
    pub fn init_tree_page(&mut self, level: u16, right: BlockNumber, high: &[u8]) -> Result<(), BadChange> {
        self.init(if level == 0 { PageKind::Leaf } else { PageKind::Inner }, level, right);
        self.insert_item(0, &[high])
    }
    /// The least key that is not this page's; None on the rightmost page.
    pub fn high_key(&self) -> Option<&[u8]> {
        let high = self.item(0);
        (!high.is_empty()).then_some(high)
    }
    /// Whether `key` belongs to a page further right.
    pub fn is_past(&self, key: &[u8]) -> bool {
        let high = self.item(0);
        !high.is_empty() && key >= high
    }
    /// The key of a data item.
    pub fn key(&self, index: usize) -> &[u8] {
        let item = self.item(index);
        if self.level() == 0 { leaf::item_key(item) } else { item.get(4..).unwrap_or_default() }
    }
    /// The child of an inner item.
    pub fn child(&self, index: usize) -> BlockNumber {
        match self.item(index).get(..4) {
            Some(&[a, b, c, d]) => BlockNumber::new(u32::from_le_bytes([a, b, c, d])),
            _ => BlockNumber::INVALID,
        }
    }
    /// The item of an inner page whose child holds `key`.
    pub fn child_index(&self, key: &[u8]) -> usize {
        let bound = self.lower_bound(key);
        if bound < self.item_count() && self.key(bound) == key {
            bound
        } else {
            bound.saturating_sub(1).max(FIRST)
        }
    }
    /// The item of an inner page whose child holds the keys right below `key` (None: the last ones).
    pub fn child_index_below(&self, key: Option<&[u8]>) -> usize {
        let bound = key.map_or(self.item_count(), |key| self.lower_bound(key));
        bound.saturating_sub(1).max(FIRST)
    }
}

#[cfg(test)]
mod tests;
