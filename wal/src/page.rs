//! WAL pages: their headers, and the arithmetic of positions that steps over those headers.
//!
//! access/xlog_internal.h, XLogPageHeaderData (24 bytes with padding) and XLogLongPageHeaderData (40 bytes):
//!
//! | offset | field           | bytes | meaning                                                       |
//! |-------:|-----------------|------:|---------------------------------------------------------------|
//! |      0 | xlp_magic       |     2 | 0xD110 for PostgreSQL 15                                      |
//! |      2 | xlp_info        |     2 | flags, [`PageFlags`]                                          |
//! |      4 | xlp_tli         |     4 | timeline of the first record on the page                      |
//! |      8 | xlp_pageaddr    |     8 | position of the page's first byte                             |
//! |     16 | xlp_rem_len     |     4 | bytes of the previous page's record that are still to come    |
//! |     20 | padding         |     4 | zero                                                          |
//! |     24 | xlp_sysid       |     8 | long header only (first page of a segment): system identifier |
//! |     32 | xlp_seg_size    |     4 | long header only: segment size                                |
//! |     36 | xlp_xlog_blcksz |     4 | long header only: 8192                                        |

use crate::codec::{Fields, PutFields, Short};
use crate::ids::{Lsn, SegmentSize, SystemId, TimelineId};
use smallvec::SmallVec;

/// Bytes of a WAL page (XLOG_BLCKSZ).
pub const PAGE_SIZE: usize = 8192;
/// xlp_magic of PostgreSQL 15.
pub const PAGE_MAGIC: u16 = 0xD110;
/// Bytes of the header of most pages (SizeOfXLogShortPHD).
pub const SHORT_HEADER_SIZE: usize = 24;
/// Bytes of the header of a segment's first page (SizeOfXLogLongPHD).
pub const LONG_HEADER_SIZE: usize = 40;

/// xlp_info.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageFlags(u16);

impl PageFlags {
    /// None set.
    pub const NONE: Self = Self(0);
    /// The page begins in the middle of a record (XLP_FIRST_IS_CONTRECORD).
    pub const CONTRECORD: Self = Self(0x0001);
    /// The header is the long one (XLP_LONG_HEADER).
    pub const LONG_HEADER: Self = Self(0x0002);
    /// Full-page images that start on this page may be left out by compressors (XLP_BKP_REMOVABLE).
    pub const BKP_REMOVABLE: Self = Self(0x0004);
    /// The rest of a record that was expected here never came (XLP_FIRST_IS_OVERWRITE_CONTRECORD).
    pub const OVERWRITE_CONTRECORD: Self = Self(0x0008);
    /// XLP_ALL_FLAGS.
    const ALL: u16 = 0x000F;

    /// From xlp_info, whatever bits it has.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }
    /// xlp_info.
    pub const fn bits(self) -> u16 {
        self.0
    }
    /// Whether all flags of `other` are set here.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
    /// These flags and those.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What only the long header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongFields {
    /// xlp_sysid.
    pub system_id: SystemId,
    /// xlp_seg_size in bytes.
    pub segment_size: u32,
    /// xlp_xlog_blcksz in bytes.
    pub page_size: u32,
}

/// A WAL page's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHeader {
    /// xlp_info. [`PageFlags::LONG_HEADER`] is set if and only if `long` is Some.
    pub flags: PageFlags,
    /// xlp_tli.
    pub timeline: TimelineId,
    /// xlp_pageaddr.
    pub address: Lsn,
    /// xlp_rem_len in bytes.
    pub remaining: u32,
    /// The long header's fields, on the first page of a segment.
    pub long: Option<LongFields>,
}

/// What is wrong with a page header. Each names what was found and what should have been there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageDefect {
    /// xlp_magic is not PostgreSQL 15's.
    #[error("invalid magic number {found:04X}, expected {expected:04X}", expected = PAGE_MAGIC)]
    Magic {
        /// What stands there; 0 on a page never written.
        found: u16,
    },
    /// Unknown bits in xlp_info.
    #[error("invalid info bits {found:04X}")]
    Flags {
        /// xlp_info.
        found: u16,
    },
    /// The first page of a segment has no long header, or another page has one.
    #[error("{} page header, expected a {} one", if *.expected { "short" } else { "long" }, if *.expected { "long" } else { "short" })]
    HeaderKind {
        /// Whether a long header belongs here.
        expected: bool,
    },
    /// The page belongs to another place of the log, often the one that its recycled segment had.
    #[error("unexpected page address {found}, expected {expected}")]
    Address {
        /// Where the page was read.
        expected: Lsn,
        /// xlp_pageaddr.
        found: Lsn,
    },
    /// The page belongs to another timeline than the history says.
    #[error("unexpected timeline {found}, expected {expected}")]
    Timeline {
        /// The history's timeline there, or the one of the page before.
        expected: TimelineId,
        /// xlp_tli.
        found: TimelineId,
    },
    /// The segment belongs to another cluster.
    #[error("WAL file is of system {found}, expected {expected}")]
    SystemId {
        /// This cluster.
        expected: SystemId,
        /// xlp_sysid.
        found: SystemId,
    },
    /// xlp_seg_size is another.
    #[error("WAL file has segment size {found}, expected {expected}")]
    SegmentSize {
        /// This cluster's, in bytes.
        expected: u32,
        /// xlp_seg_size.
        found: u32,
    },
    /// xlp_xlog_blcksz is not 8192.
    #[error("WAL file has page size {found}, expected 8192")]
    PageSize {
        /// xlp_xlog_blcksz.
        found: u32,
    },
    /// Flags and xlp_rem_len contradict each other.
    #[error("invalid continuation length {remaining} with info bits {flags:04X}")]
    Remaining {
        /// xlp_info.
        flags: u16,
        /// xlp_rem_len.
        remaining: u32,
    },
    /// The padding bytes of the header are not zero.
    #[error("page header padding is {found:08X}, expected zero")]
    Padding {
        /// The four bytes.
        found: u32,
    },
    /// Not even a header is there.
    #[error("page header cut short: {0}")]
    Short(#[from] Short),
}

/// What a page header must agree with.
#[derive(Clone, Copy, Debug)]
pub struct PageExpectation {
    /// The position of the page's first byte.
    pub address: Lsn,
    /// The cluster's segment size.
    pub segment_size: SegmentSize,
    /// The timeline that the history has at `address`, if known.
    pub timeline: Option<TimelineId>,
    /// The cluster, if known.
    pub system_id: Option<SystemId>,
}

impl PageHeader {
    /// The header's bytes on its page.
    pub const fn size(&self) -> usize {
        if self.flags.has(PageFlags::LONG_HEADER) { LONG_HEADER_SIZE } else { SHORT_HEADER_SIZE }
    }

    /// The header of a new page at `address`; long where the segment starts.
    pub fn new(
        address: Lsn,
        timeline: TimelineId,
        flags: PageFlags,
        remaining: u32,
        system_id: SystemId,
        segment_size: SegmentSize,
    ) -> Self {
        let long = segment_size.offset_of(address) == 0;
        Self {
            flags: if long { flags.with(PageFlags::LONG_HEADER) } else { flags },
            timeline,
            address,
            remaining,
            long: long.then(|| LongFields {
                system_id,
                segment_size: u32::try_from(segment_size.bytes()).unwrap_or(0),
                page_size: PAGE_SIZE as u32,
            }),
        }
    }

    /// The header's bytes, [`PageHeader::size`] of them.
    pub fn encode(&self) -> SmallVec<[u8; LONG_HEADER_SIZE]> {
        let mut bytes = SmallVec::new();
        bytes.put_u16(PAGE_MAGIC);
        bytes.put_u16(self.flags.bits());
        bytes.put_u32(self.timeline.get());
        bytes.put_u64(self.address.get());
        bytes.put_u32(self.remaining);
        bytes.put_u32(0);
        if let Some(long) = self.long {
            bytes.put_u64(long.system_id.get());
            bytes.put_u32(long.segment_size);
            bytes.put_u32(long.page_size);
        }
        bytes
    }

    /// Reads a header from the start of `bytes` and checks what can be checked without knowing its place.
    ///
    /// # Errors
    /// Fails if the bytes are too few or the header makes no sense.
    pub fn decode(bytes: &[u8]) -> Result<Self, PageDefect> {
        let mut fields = Fields::new(bytes);
        let magic = fields.u16()?;
        if magic != PAGE_MAGIC {
            return Err(PageDefect::Magic { found: magic });
        }
        let flags = PageFlags(fields.u16()?);
        if flags.0 & !PageFlags::ALL != 0 {
            return Err(PageDefect::Flags { found: flags.0 });
        }
        let timeline = TimelineId::new(fields.u32()?);
        let address = Lsn::new(fields.u64()?);
        let remaining = fields.u32()?;
        let padding = fields.u32()?;
        if padding != 0 {
            return Err(PageDefect::Padding { found: padding });
        }
        let continues = flags.has(PageFlags::CONTRECORD);
        if continues != (remaining != 0) || continues && flags.has(PageFlags::OVERWRITE_CONTRECORD) {
            return Err(PageDefect::Remaining { flags: flags.0, remaining });
        }
        let long = if flags.has(PageFlags::LONG_HEADER) {
            let system_id = SystemId::new(fields.u64()?);
            Some(LongFields { system_id, segment_size: fields.u32()?, page_size: fields.u32()? })
        } else {
            None
        };
        Ok(Self { flags, timeline, address, remaining, long })
    }

    /// Checks a decoded header against its place.
    ///
    /// # Errors
    /// Fails if a field is not as expected.
    pub fn verify(&self, expected: &PageExpectation) -> Result<(), PageDefect> {
        let starts_segment = expected.segment_size.offset_of(expected.address) == 0;
        if self.long.is_some() != starts_segment {
            return Err(PageDefect::HeaderKind { expected: starts_segment });
        }
        if let Some(long) = self.long {
            if let Some(system_id) = expected.system_id
                && long.system_id != system_id
            {
                return Err(PageDefect::SystemId { expected: system_id, found: long.system_id });
            }
            if u64::from(long.segment_size) != expected.segment_size.bytes() {
                let expected = u32::try_from(expected.segment_size.bytes()).unwrap_or(0);
                return Err(PageDefect::SegmentSize { expected, found: long.segment_size });
            }
            if long.page_size != PAGE_SIZE as u32 {
                return Err(PageDefect::PageSize { found: long.page_size });
            }
        }
        if self.address != expected.address {
            return Err(PageDefect::Address { expected: expected.address, found: self.address });
        }
        match expected.timeline {
            Some(timeline) if timeline != self.timeline => {
                Err(PageDefect::Timeline { expected: timeline, found: self.timeline })
            }
            _ => Ok(()),
        }
    }
}

/// The bytes of the header of the page that starts at `page_start`.
pub const fn header_size_at(page_start: Lsn, segment_size: SegmentSize) -> usize {
    if segment_size.offset_of(page_start) == 0 { LONG_HEADER_SIZE } else { SHORT_HEADER_SIZE }
}

/// Where a record starts that is laid down at or after `end`, the end of the one before: aligned to 8, and
/// behind the page header if `end` is where a page starts.
pub const fn record_start(end: Lsn, segment_size: SegmentSize) -> Lsn {
    let end = end.aligned();
    match end.page_offset() {
        0 => Lsn::new(end.get() + header_size_at(end, segment_size) as u64),
        _ => end,
    }
}

/// Where a record of `len` bytes that starts at `start` ends: exclusive and aligned to 8, as PostgreSQL's
/// EndRecPtr. The padding belongs to the record, so pd_lsn, flush positions and this agree. A record that
/// fills its page ends where the next page starts, before that page's header. (The log switch record is the
/// exception: a reader ends it where the next segment starts.)
pub const fn record_end(start: Lsn, len: u32, segment_size: SegmentSize) -> Lsn {
    let mut left = len as u64;
    let mut at = start;
    loop {
        let page_end = at.page_start().get() + PAGE_SIZE as u64;
        let here = page_end - at.get();
        if left <= here {
            return Lsn::new(at.get() + left).aligned();
        }
        left -= here;
        let next = Lsn::new(page_end);
        at = Lsn::new(page_end + header_size_at(next, segment_size) as u64);
    }
}

/// Whether a record can start at `at`: aligned and not inside the page header.
pub const fn is_record_start(at: Lsn, segment_size: SegmentSize) -> bool {
    at.get().is_multiple_of(8) && at.page_offset() >= header_size_at(at.page_start(), segment_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: SegmentSize = SegmentSize::new(1 << 20).unwrap();

    fn header(address: u64, flags: PageFlags, remaining: u32) -> PageHeader {
        PageHeader::new(
            Lsn::new(address),
            TimelineId::new(3),
            flags,
            remaining,
            SystemId::new(0x0102_0304_0506_0708),
            SIZE,
        )
    }

    #[test]
    fn headers_come_back_as_they_were_written() {
        for (header, size) in [
            (header(1 << 20, PageFlags::NONE, 0), LONG_HEADER_SIZE),
            (header(8192, PageFlags::CONTRECORD, 77), SHORT_HEADER_SIZE),
            (header(3 << 20, PageFlags::CONTRECORD.with(PageFlags::BKP_REMOVABLE), 1), LONG_HEADER_SIZE),
            (header(24576, PageFlags::OVERWRITE_CONTRECORD, 0), SHORT_HEADER_SIZE),
        ] {
            let bytes = header.encode();
            assert_eq!((bytes.len(), header.size()), (size, size));
            assert_eq!(PageHeader::decode(&bytes), Ok(header));
            for cut in 0..size {
                assert!(PageHeader::decode(&bytes[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn record_ends_step_over_page_and_segment_headers() {
        let at = |value| Lsn::new(value);
        assert_eq!(record_start(at(1 << 20), SIZE), at((1 << 20) + 40));
        assert_eq!(record_start(at(8192), SIZE), at(8192 + 24));
        assert_eq!(record_start(at(8301), SIZE), at(8304));
        assert_eq!(record_end(at(8216), 100, SIZE), at(8216 + 104));
        // Fills its page to the last byte.
        assert_eq!(record_end(at(8216), 8192 - 24, SIZE), at(16384));
        // One byte more lies behind the next header, padded to 8.
        assert_eq!(record_end(at(8216), 8192 - 24 + 1, SIZE), at(16384 + 24 + 8));
        // Over a segment border the header is the long one.
        let start = at((1 << 20) - 32);
        assert_eq!(record_end(start, 40, SIZE), at((1 << 20) + 40 + 8));
    }
}
