//! Records: the unit of the log.
//!
//! access/xlogrecord.h. Fixed header (XLogRecord, 24 bytes):
//!
//! | offset | field      | bytes | meaning                                                     |
//! |-------:|------------|------:|-------------------------------------------------------------|
//! |      0 | xl_tot_len |     4 | the record's length with this header, without page headers  |
//! |      4 | xl_xid     |     4 | low half of the transaction's id, 0 for none                |
//! |      8 | xl_prev    |     8 | start of the record before                                  |
//! |     16 | xl_info    |     1 | high four bits for the resource manager, low four are flags |
//! |     17 | xl_rmid    |     1 | resource manager                                            |
//! |     18 | padding    |     2 | zero                                                        |
//! |     20 | xl_crc     |     4 | CRC-32C of what follows the header, then of bytes 0 to 19   |
//!
//! Then fragment headers, unaligned, in this order: block references by rising id, origin, top-level xid,
//! main data length; then images and data of the blocks in the same order, then the main data:
//!
//! | id | fragment header |
//! | ---- | ---- |
//! | 0 to 32 | id 1, fork and flags 1, data length 2, [image header], [relation 12], block 4 |
//! | 253 | id 1, replication origin 2 |
//! | 252 | id 1, top-level xid 4 |
//! | 255 | id 1, main data length 1 |
//! | 254 | id 1, main data length 4 |
//!
//! A relation is: tablespace 4, database 4, relation 4; it is left out if it is that of the reference before.
//! An image header is: stored length 2, hole offset 2, image info 1, and hole length 2 if the image is
//! compressed and has a hole.

mod build;
mod decode;
mod image;

pub use build::{BlockRef, BuildError, EncodedRecord, PageImage, RecordBuilder};
pub(crate) use decode::announces;
pub use decode::{Block, Record, RecordDefect, RecordHeader};
pub use image::{Image, ImageError, ImageMethod};

use std::fmt;

/// Bytes of the fixed header (SizeOfXLogRecord).
pub const RECORD_HEADER_SIZE: usize = 24;
/// The longest record that is written or believed (XLogRecordMaxSize), so that its buffer stays below 1 GiB.
pub const RECORD_SIZE_MAX: u32 = 1020 * 1024 * 1024;
/// The highest block reference id (XLR_MAX_BLOCK_ID).
pub const BLOCK_ID_MAX: u8 = 32;
/// Bytes of a data page (BLCKSZ).
pub const DATA_PAGE_SIZE: usize = 8192;

/// xl_info bit: the record changes relation files in ways that its block references do not show.
pub const XLR_SPECIAL_REL_UPDATE: u8 = 0x01;
/// xl_info bit: images in the record are there to check redo with.
pub const XLR_CHECK_CONSISTENCY: u8 = 0x02;
/// The part of xl_info that belongs to the resource manager.
pub const XLR_RMGR_INFO_MASK: u8 = 0xF0;

pub(crate) const ID_DATA_SHORT: u8 = 255;
pub(crate) const ID_DATA_LONG: u8 = 254;
pub(crate) const ID_ORIGIN: u8 = 253;
pub(crate) const ID_TOPLEVEL_XID: u8 = 252;

pub(crate) const FORK_MASK: u8 = 0x0F;
pub(crate) const HAS_IMAGE: u8 = 0x10;
pub(crate) const HAS_DATA: u8 = 0x20;
pub(crate) const WILL_INIT: u8 = 0x40;
pub(crate) const SAME_REL: u8 = 0x80;

pub(crate) const IMAGE_HAS_HOLE: u8 = 0x01;
pub(crate) const IMAGE_APPLY: u8 = 0x02;
pub(crate) const IMAGE_PGLZ: u8 = 0x04;
pub(crate) const IMAGE_LZ4: u8 = 0x08;
pub(crate) const IMAGE_ZSTD: u8 = 0x10;

/// A resource manager (xl_rmid): who understands a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rmgr(u8);

/// Names of the built-in resource managers by number, as pg_waldump prints them (access/rmgrlist.h).
const NAMES: [&str; 22] = [
    "XLOG",
    "Transaction",
    "Storage",
    "CLOG",
    "Database",
    "Tablespace",
    "MultiXact",
    "RelMap",
    "Standby",
    "Heap2",
    "Heap",
    "Btree",
    "Hash",
    "Gin",
    "Gist",
    "Sequence",
    "SPGist",
    "BRIN",
    "CommitTs",
    "ReplicationOrigin",
    "Generic",
    "LogicalMessage",
];

impl Rmgr {
    /// The log itself: checkpoints, page images, switches.
    pub const XLOG: Self = Self(0);
    /// Commits and aborts.
    pub const XACT: Self = Self(1);
    /// Creation and truncation of relation files.
    pub const SMGR: Self = Self(2);
    /// Commit log pages.
    pub const CLOG: Self = Self(3);
    /// Database folders.
    pub const DBASE: Self = Self(4);
    /// Tablespaces.
    pub const TBLSPC: Self = Self(5);
    /// Shared row locks.
    pub const MULTIXACT: Self = Self(6);
    /// The map of catalogue files.
    pub const RELMAP: Self = Self(7);
    /// Running transactions and locks for standbys.
    pub const STANDBY: Self = Self(8);
    /// More heap operations.
    pub const HEAP2: Self = Self(9);
    /// Heap operations.
    pub const HEAP: Self = Self(10);
    /// B-tree operations of PostgreSQL.
    pub const BTREE: Self = Self(11);
    /// Messages to logical decoding.
    pub const LOGICALMSG: Self = Self(21);
    /// The engine's own page changes (RM_EXPERIMENTAL_ID).
    pub const ENGINE: Self = Self(128);

    /// From its number; None where PostgreSQL 15 knows no such number (22 to 127).
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0..=21 | 128..=255 => Some(Self(number)),
            _ => None,
        }
    }
    /// xl_rmid.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Rmgr {
    /// The name that pg_waldump prints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0)) {
            Some(name) => f.pad(name),
            None => f.pad(&format!("custom{:03}", self.0)),
        }
    }
}
