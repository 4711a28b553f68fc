//! Reading a record: bytes from a log, held to every promise of the format before anything is believed.

use super::image::{Image, ImageHeader};
use super::{
    BLOCK_ID_MAX, FORK_MASK, HAS_DATA, HAS_IMAGE, ID_DATA_LONG, ID_DATA_SHORT, ID_ORIGIN, ID_TOPLEVEL_XID,
    RECORD_HEADER_SIZE, Rmgr, SAME_REL, WILL_INIT, XLR_RMGR_INFO_MASK,
};
use crate::codec::{Fields, Short};
use crate::crc::Crc32c;
use crate::ids::{BlockNumber, Fork, Lsn, RelFile};
use bytes::Bytes;
use smallvec::SmallVec;
use std::ops::Range;

/// What is wrong with a record's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordDefect {
    /// xl_crc does not fit the bytes.
    #[error("incorrect checksum: expected {expected:08X}, found {found:08X}")]
    Crc {
        /// Computed from the bytes.
        expected: u32,
        /// xl_crc.
        found: u32,
    },
    /// No such resource manager.
    #[error("invalid resource manager {found}")]
    Rmgr {
        /// xl_rmid.
        found: u8,
    },
    /// The bytes at hand are not xl_tot_len bytes.
    #[error("record length {found} for {expected} bytes")]
    Length {
        /// Bytes at hand.
        expected: usize,
        /// xl_tot_len.
        found: u32,
    },
    /// A fragment ends behind the record.
    #[error("record ends inside a fragment: {0}")]
    Short(#[from] Short),
    /// A fragment header has an id that means nothing, comes twice or out of order.
    #[error("unexpected block reference or fragment id {id}")]
    FragmentId {
        /// The id byte.
        id: u8,
    },
    /// Flags and data length of a block reference contradict each other.
    #[error("block reference {block}: flags {flags:02X} with {length} bytes of data")]
    BlockData {
        /// The block reference.
        block: u8,
        /// Its flags.
        flags: u8,
        /// Its data length in bytes.
        length: u16,
    },
    /// No such fork.
    #[error("block reference {block}: invalid fork {fork}")]
    Fork {
        /// The block reference.
        block: u8,
        /// Its fork number.
        fork: u8,
    },
    /// The first block reference says that its relation is the one before.
    #[error("block reference {block}: no relation before it to be the same as")]
    NoSameRel {
        /// The block reference.
        block: u8,
    },
    /// An image header that contradicts itself.
    #[error(
        "block reference {block}: invalid image header: {stored} bytes, hole at {hole_offset}, info {info:02X}"
    )]
    ImageHeader {
        /// The block reference.
        block: u8,
        /// Stored bytes.
        stored: u16,
        /// Bytes before the hole.
        hole_offset: u16,
        /// bimg_info.
        info: u8,
    },
    /// The fragments' lengths do not add up to the record's.
    #[error("record holds {found} bytes of data, its headers announce {expected}")]
    DataLength {
        /// Sum of the announced lengths.
        expected: usize,
        /// Bytes behind the headers.
        found: usize,
    },
}

/// The fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// xl_tot_len in bytes.
    pub length: u32,
    /// xl_xid.
    pub xid_low: u32,
    /// xl_prev.
    pub previous: Lsn,
    /// xl_info.
    pub info: u8,
    /// xl_rmid, not yet checked.
    pub rmgr_number: u8,
    /// xl_crc.
    pub crc: u32,
}

impl RecordHeader {
    /// Reads the 24 bytes.
    ///
    /// # Errors
    /// Fails if the bytes are no whole record or its CRC is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, Short> {
        let mut fields = Fields::new(bytes);
        let (length, xid_low, previous) = (fields.u32()?, fields.u32()?, Lsn::new(fields.u64()?));
        let (info, rmgr_number) = (fields.u8()?, fields.u8()?);
        fields.skip(2)?;
        Ok(Self { length, xid_low, previous, info, rmgr_number, crc: fields.u32()? })
    }
}

/// A part of a record's bytes. Half as wide as a range of usize, since records are moved from hand to hand by
/// the million in redo.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    at: u32,
    len: u32,
}

impl Span {
    /// The span of `len` bytes at `at`, both inside a record.
    fn new(at: usize, len: usize) -> Result<Self, RecordDefect> {
        match (u32::try_from(at), u32::try_from(len)) {
            (Ok(at), Ok(len)) => Ok(Self { at, len }),
            _ => Err(RecordDefect::DataLength { expected: len, found: 0 }),
        }
    }
    fn range(self) -> Range<usize> {
        let at = self.at as usize;
        at..at.saturating_add(self.len as usize)
    }
}

/// A block reference as offsets into its record.
#[derive(Clone, Debug)]
struct BlockMeta {
    id: u8,
    rel: RelFile,
    fork: Fork,
    block: BlockNumber,
    will_init: bool,
    image: Option<(ImageHeader, Span)>,
    data: Span,
}

/// Most records change one page.
type Blocks = SmallVec<[BlockMeta; 1]>;

/// A page that a decoded record refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// Number of the reference in its record.
    pub id: u8,
    /// The relation's files.
    pub rel: RelFile,
    /// The fork.
    pub fork: Fork,
    /// The page.
    pub block: BlockNumber,
    /// Whether redo makes the page anew.
    pub will_init: bool,
    /// The whole page, if the record carries it.
    pub image: Option<Image<'a>>,
    /// What redo needs for this page if no image is applied.
    pub data: &'a [u8],
}

/// A record whose checksum and structure have been verified. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Record {
    start: Lsn,
    end: Lsn,
    bytes: Bytes,
    header: RecordHeader,
    rmgr: Rmgr,
    blocks: Blocks,
    origin: Option<u16>,
    toplevel_xid: Option<u32>,
    main: Span,
    overwrites: Option<Lsn>,
}

impl Record {
    /// Verifies and takes apart the bytes of one record (page headers already left out). `start` and `end`
    /// are its place.
    ///
    /// # Errors
    /// Fails if the bytes are no whole record or its CRC is wrong.
    #[inline]
    pub fn decode(start: Lsn, end: Lsn, bytes: Bytes) -> Result<Self, RecordDefect> {
        let header = RecordHeader::decode(&bytes)?;
        if usize::try_from(header.length) != Ok(bytes.len()) {
            return Err(RecordDefect::Length { expected: bytes.len(), found: header.length });
        }
        let mut crc = Crc32c::new();
        crc.update(bytes.get(RECORD_HEADER_SIZE..).unwrap_or_default());
        crc.update(bytes.get(..20).unwrap_or_default());
        if crc.finish() != header.crc {
            return Err(RecordDefect::Crc { expected: crc.finish(), found: header.crc });
        }
        let rmgr =
            Rmgr::from_number(header.rmgr_number).ok_or(RecordDefect::Rmgr { found: header.rmgr_number })?;
        let parts = Parts::parse(&bytes)?;
        Ok(Self {
            start,
            end,
            bytes,
            header,
            rmgr,
            blocks: parts.blocks,
            origin: parts.origin,
            toplevel_xid: parts.toplevel_xid,
            main: parts.main,
            overwrites: None,
        })
    }

    pub(crate) fn set_end(&mut self, end: Lsn) {
        self.end = end;
    }
    pub(crate) fn set_overwrites(&mut self, aborted: Lsn) {
        self.overwrites = Some(aborted);
    }

    /// Where the record starts.
    pub const fn start(&self) -> Lsn {
        self.start
    }
    /// Where it ends: exclusive, aligned to 8; for the log switch record, where the next segment starts.
    pub const fn end(&self) -> Lsn {
        self.end
    }
    /// The record's own bytes, without page headers.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
    /// Its length in bytes (xl_tot_len).
    pub const fn len(&self) -> u32 {
        self.header.length
    }
    /// Never: a record has at least its header.
    pub const fn is_empty(&self) -> bool {
        false
    }
    /// The resource manager.
    pub const fn rmgr(&self) -> Rmgr {
        self.rmgr
    }
    /// xl_info, all bits.
    pub const fn info(&self) -> u8 {
        self.header.info
    }
    /// The resource manager's bits of xl_info.
    pub const fn rmgr_info(&self) -> u8 {
        self.header.info & XLR_RMGR_INFO_MASK
    }
    /// xl_xid, 0 for none.
    pub const fn xid_low(&self) -> u32 {
        self.header.xid_low
    }
    /// Where the record before starts (xl_prev).
    pub const fn previous(&self) -> Lsn {
        self.header.previous
    }
    /// The replication origin, if one is named.
    pub const fn origin(&self) -> Option<u16> {
        self.origin
    }
    /// The top-level transaction's xid, if one is named.
    pub const fn toplevel_xid(&self) -> Option<u32> {
        self.toplevel_xid
    }
    /// The start of the incomplete record whose missing rest this one stands for (XLOG_OVERWRITE_CONTRECORD).
    pub const fn overwrites(&self) -> Option<Lsn> {
        self.overwrites
    }
    /// The main data.
    pub fn main_data(&self) -> &[u8] {
        self.slice(self.main)
    }
    /// Whether it is XLOG_SWITCH.
    pub fn is_switch(&self) -> bool {
        self.rmgr == Rmgr::XLOG && self.rmgr_info() == crate::xlog::SWITCH
    }
    /// All block references, by rising id.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = Block<'_>> {
        self.blocks.iter().map(|meta| self.view(meta))
    }
    /// The block reference with this id.
    pub fn block(&self, id: u8) -> Option<Block<'_>> {
        self.blocks.iter().find(|meta| meta.id == id).map(|meta| self.view(meta))
    }

    fn slice(&self, span: Span) -> &[u8] {
        self.bytes.get(span.range()).unwrap_or_default()
    }
    fn view(&self, meta: &BlockMeta) -> Block<'_> {
        Block {
            id: meta.id,
            rel: meta.rel,
            fork: meta.fork,
            block: meta.block,
            will_init: meta.will_init,
            image: meta
                .image
                .as_ref()
                .map(|(header, span)| Image { header: *header, stored: self.slice(*span) }),
            data: self.slice(meta.data),
        }
    }
}

/// The fragments of a record as offsets.
struct Parts {
    blocks: Blocks,
    origin: Option<u16>,
    toplevel_xid: Option<u32>,
    main: Span,
}

/// What a record's headers say of it.
struct Headers {
    parts: Parts,
    main_len: usize,
    /// Bytes that they announce behind themselves, and their own, the record's header included.
    announced: usize,
    own: usize,
}

/// Whether the headers of a record, of which `bytes` are the first, add up to the length that it states.
pub(crate) fn announces(bytes: &[u8], length: u32) -> bool {
    let Ok(length) = usize::try_from(length) else { return false };
    let headers = Headers::read(bytes, length);
    headers.is_ok_and(|headers| headers.own.checked_add(headers.announced) == Some(length))
}

impl Headers {
    /// Those of a record of so many bytes.
    #[inline]
    fn read(bytes: &[u8], length: usize) -> Result<Self, RecordDefect> {
        let mut fields = Fields::new(bytes);
        fields.skip(RECORD_HEADER_SIZE)?;
        let mut parts =
            Parts { blocks: SmallVec::new(), origin: None, toplevel_xid: None, main: Span::default() };
        let (mut announced, mut main_len) = (0_usize, 0_usize);
        // PostgreSQL's reader stops looking for headers when what is left is what the headers announced.
        while length.saturating_sub(fields.offset()) > announced {
            match fields.u8()? {
                ID_DATA_SHORT => {
                    main_len = usize::from(fields.u8()?);
                    announced += main_len;
                    break;
                }
                ID_DATA_LONG => {
                    let found = fields.u32()?;
                    main_len = usize::try_from(found)
                        .map_err(|_| RecordDefect::Length { expected: length, found })?;
                    announced = announced.saturating_add(main_len);
                    break;
                }
                ID_ORIGIN => parts.origin = Some(fields.u16()?),
                ID_TOPLEVEL_XID => parts.toplevel_xid = Some(fields.u32()?),
                id if id <= BLOCK_ID_MAX && parts.blocks.last().is_none_or(|last| last.id < id) => {
                    let (meta, stored, data) = parse_block(&mut fields, id, parts.blocks.last())?;
                    announced += usize::from(stored) + usize::from(data);
                    parts.blocks.push(meta);
                }
                id => return Err(RecordDefect::FragmentId { id }),
            }
        }
        Ok(Self { parts, main_len, announced, own: fields.offset() })
    }
}

impl Parts {
    #[inline]
    fn parse(bytes: &[u8]) -> Result<Self, RecordDefect> {
        let Headers { mut parts, main_len, announced, own } = Headers::read(bytes, bytes.len())?;
        let found = bytes.len().saturating_sub(own);
        if found != announced {
            return Err(RecordDefect::DataLength { expected: announced, found });
        }
        let mut at = own;
        for meta in &mut parts.blocks {
            let image = meta.image.as_mut().map(|(header, span)| (span, usize::from(header.stored)));
            let data_len = meta.data.len as usize;
            for (span, len) in image.into_iter().chain([(&mut meta.data, data_len)]) {
                *span = Span::new(at, len)?;
                at += len;
            }
        }
        parts.main = Span::new(at, main_len)?;
        Ok(parts)
    }
}

/// Reads one block reference's header; returns it with the lengths of its image and its data.
fn parse_block(
    fields: &mut Fields<'_>,
    id: u8,
    previous: Option<&BlockMeta>,
) -> Result<(BlockMeta, u16, u16), RecordDefect> {
    let (flags, data_len) = (fields.u8()?, fields.u16()?);
    let fork = Fork::from_number(flags & FORK_MASK)
        .ok_or(RecordDefect::Fork { block: id, fork: flags & FORK_MASK })?;
    if (flags & HAS_DATA != 0) != (data_len > 0) {
        return Err(RecordDefect::BlockData { block: id, flags, length: data_len });
    }
    let image = if flags & HAS_IMAGE != 0 { Some(ImageHeader::decode(fields, id)?) } else { None };
    let rel = if flags & SAME_REL != 0 {
        previous.ok_or(RecordDefect::NoSameRel { block: id })?.rel
    } else {
        RelFile { tablespace: fields.u32()?, database: fields.u32()?, relation: fields.u32()? }
    };
    let meta = BlockMeta {
        id,
        rel,
        fork,
        block: BlockNumber::new(fields.u32()?),
        will_init: flags & WILL_INIT != 0,
        image: image.map(|header| (header, Span::default())),
        data: Span { at: 0, len: u32::from(data_len) },
    };
    Ok((meta, image.map_or(0, |header| header.stored), data_len))
}
