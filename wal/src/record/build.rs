//! Making a record: what the engine hands over becomes bytes, all but xl_prev and xl_crc.

use super::image::{ImageHeader, ImageMethod, compress, standard_hole};
use super::{
    BLOCK_ID_MAX, DATA_PAGE_SIZE, HAS_DATA, HAS_IMAGE, ID_DATA_LONG, ID_DATA_SHORT, ID_ORIGIN,
    ID_TOPLEVEL_XID, RECORD_HEADER_SIZE, RECORD_SIZE_MAX, Rmgr, SAME_REL, WILL_INIT,
};
use crate::codec::PutFields;
use crate::crc::Crc32c;
use crate::ids::{BlockNumber, Fork, Lsn, RelFile};
use smallvec::SmallVec;

/// A record that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Longer than any reader would believe.
    #[error("WAL record of {length} bytes is longer than the limit of {limit}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: u32,
    },
    /// A block's data does not fit its 16-bit length.
    #[error("block reference {id} carries {length} bytes, the limit is 65535")]
    BlockDataTooLong {
        /// The block reference.
        id: u8,
        /// Bytes of its data.
        length: usize,
    },
    /// Block references must come by rising id, 0 to 32.
    #[error("block reference {id} comes out of order or above {}", BLOCK_ID_MAX)]
    BlockOrder {
        /// The block reference.
        id: u8,
    },
}

/// A full-page image to put into a record.
#[derive(Clone, Copy, Debug)]
pub struct PageImage<'a> {
    /// The page as it is after the change.
    pub page: &'a [u8; DATA_PAGE_SIZE],
    /// Whether the page has PostgreSQL's standard header, so that the zeros between pd_lower and pd_upper are
    /// left out.
    pub standard: bool,
    /// Whether redo restores the page from the image instead of applying the change.
    pub apply: bool,
}

/// A page that a record changes.
#[derive(Clone, Copy, Debug)]
pub struct BlockRef<'a> {
    /// Number of the reference in its record, 0 to 32, rising.
    pub id: u8,
    /// The relation's files.
    pub rel: RelFile,
    /// The fork.
    pub fork: Fork,
    /// The page.
    pub block: BlockNumber,
    /// Whether redo makes the page anew without looking at what was there.
    pub will_init: bool,
    /// The whole page, on its first change after a checkpoint.
    pub image: Option<PageImage<'a>>,
    /// What redo needs for this page if no image is applied.
    pub data: &'a [u8],
}

/// Collects the parts of a record. Nothing is copied before [`RecordBuilder::encode`].
#[derive(Clone, Debug)]
pub struct RecordBuilder<'a> {
    rmgr: Rmgr,
    info: u8,
    xid_low: u32,
    blocks: SmallVec<[BlockRef<'a>; 4]>,
    main: SmallVec<[&'a [u8]; 4]>,
    origin: Option<u16>,
    toplevel_xid: Option<u32>,
    compression: ImageMethod,
}

impl<'a> RecordBuilder<'a> {
    /// A record of `rmgr` with xl_info `info` and xl_xid `xid_low` (0 for none).
    #[inline]
    pub fn new(rmgr: Rmgr, info: u8, xid_low: u32) -> Self {
        Self {
            rmgr,
            info,
            xid_low,
            blocks: SmallVec::new(),
            main: SmallVec::new(),
            origin: None,
            toplevel_xid: None,
            compression: ImageMethod::Plain,
        }
    }
    /// Has page images compressed, where that makes them shorter (wal_compression). There is no compressor
    /// for pglz.
    #[inline]
    pub fn compression(mut self, method: ImageMethod) -> Self {
        self.compression = method;
        self
    }
    /// Adds a block reference; ids must rise.
    #[inline]
    pub fn block(mut self, block: BlockRef<'a>) -> Self {
        self.blocks.push(block);
        self
    }
    /// Appends to the main data.
    #[inline]
    pub fn main_data(mut self, data: &'a [u8]) -> Self {
        self.main.push(data);
        self
    }
    /// Names the replication origin (0 is none and is not written).
    #[inline]
    pub fn origin(mut self, origin: u16) -> Self {
        self.origin = (origin != 0).then_some(origin);
        self
    }
    /// Names the top-level transaction of a subtransaction's record.
    #[inline]
    pub fn toplevel_xid(mut self, xid_low: u32) -> Self {
        self.toplevel_xid = Some(xid_low);
        self
    }

    /// Lays the record down in memory.
    ///
    /// # Errors
    /// Fails if the record would be too long.
    pub fn encode(self) -> Result<EncodedRecord, BuildError> {
        let mut record = EncodedRecord::default();
        self.encode_into(&mut record)?;
        Ok(record)
    }

    /// As [`RecordBuilder::encode`], into a record whose memory is used again.
    ///
    /// # Errors
    /// Fails if the record would be too long.
    pub fn encode_into(&self, record: &mut EncodedRecord) -> Result<(), BuildError> {
        let main_len: usize = self.main.iter().map(|part| part.len()).sum();
        let out = &mut record.bytes;
        out.clear();
        out.put_u32(0); // xl_tot_len, known at the end
        out.put_u32(self.xid_low);
        out.put_u64(0); // xl_prev, known at insertion
        out.put_u8(self.info);
        out.put_u8(self.rmgr.number());
        out.put_zeros(2 + 4); // padding; xl_crc, known at insertion

        let mut images = SmallVec::<[ShapedImage; 4]>::new();
        let mut previous: Option<&BlockRef<'_>> = None;
        for block in &self.blocks {
            if block.id > BLOCK_ID_MAX || previous.is_some_and(|previous| previous.id >= block.id) {
                return Err(BuildError::BlockOrder { id: block.id });
            }
            let same_rel = previous.is_some_and(|previous| previous.rel == block.rel);
            if let Some(image) = put_block_header(out, block, same_rel, self.compression)? {
                images.push(image);
            }
            previous = Some(block);
        }
        if let Some(origin) = self.origin {
            out.put_u8(ID_ORIGIN);
            out.put_u16(origin);
        }
        if let Some(xid) = self.toplevel_xid {
            out.put_u8(ID_TOPLEVEL_XID);
            out.put_u32(xid);
        }
        if let Ok(short) = u8::try_from(main_len) {
            if short > 0 {
                out.put_u8(ID_DATA_SHORT);
                out.put_u8(short);
            }
        } else {
            out.put_u8(ID_DATA_LONG);
            out.put_u32(u32::try_from(main_len).map_err(|_| too_long(main_len))?);
        }

        let mut images = images.into_iter();
        for block in &self.blocks {
            if let Some(image) = &block.image
                && let Some((header, compressed)) = images.next()
            {
                if let Some(compressed) = compressed {
                    out.put(&compressed);
                    out.put(block.data);
                    continue;
                }
                let (before, rest) = image.page.split_at(usize::from(header.hole_offset));
                out.put(before);
                out.put(rest.get(usize::from(header.hole_length)..).unwrap_or_default());
            }
            out.put(block.data);
        }
        for part in &self.main {
            out.put(part);
        }
        record.seal()
    }
}

/// A page without its hole, compressed; None to store it as it is.
fn compress_page(
    method: ImageMethod,
    page: &[u8; DATA_PAGE_SIZE],
    hole_offset: u16,
    hole_length: u16,
) -> Option<Vec<u8>> {
    if method == ImageMethod::Plain {
        return None;
    }
    let (before, rest) = page.split_at_checked(usize::from(hole_offset))?;
    let after = rest.get(usize::from(hole_length)..)?;
    if hole_length == 0 {
        return compress(method, page, false);
    }
    compress(method, &[before, after].concat(), true)
}

fn too_long(length: usize) -> BuildError {
    BuildError::TooLong { length, limit: RECORD_SIZE_MAX }
}

/// An image's shape, and its bytes if they are compressed.
type ShapedImage = (ImageHeader, Option<Vec<u8>>);

/// Writes one block reference's header; returns the shape of its image, if it has one, and its bytes if they
/// are compressed.
fn put_block_header(
    out: &mut Vec<u8>,
    block: &BlockRef<'_>,
    same_rel: bool,
    compression: ImageMethod,
) -> Result<Option<ShapedImage>, BuildError> {
    let data_len = u16::try_from(block.data.len())
        .map_err(|_| BuildError::BlockDataTooLong { id: block.id, length: block.data.len() })?;
    let mut flags = block.fork.number();
    for (set, flag) in [
        (block.image.is_some(), HAS_IMAGE),
        (data_len > 0, HAS_DATA),
        (block.will_init, WILL_INIT),
        (same_rel, SAME_REL),
    ] {
        flags |= if set { flag } else { 0 };
    }
    out.put_u8(block.id);
    out.put_u8(flags);
    out.put_u16(data_len);
    let image = block.image.as_ref().map(|image| {
        let (hole_offset, hole_length) = if image.standard { standard_hole(image.page) } else { (0, 0) };
        let plain = DATA_PAGE_SIZE as u16 - hole_length;
        let compressed = compress_page(compression, image.page, hole_offset, hole_length);
        let stored = compressed.as_ref().and_then(|bytes| u16::try_from(bytes.len()).ok()).unwrap_or(plain);
        let method = if compressed.is_some() { compression } else { ImageMethod::Plain };
        (ImageHeader { stored, hole_offset, hole_length, apply: image.apply, method }, compressed)
    });
    if let Some((header, _)) = &image {
        header.encode(out);
    }
    if !same_rel {
        out.put_u32(block.rel.tablespace);
        out.put_u32(block.rel.database);
        out.put_u32(block.rel.relation);
    }
    out.put_u32(block.block.get());
    Ok(image)
}

/// A record in its final bytes, but for xl_prev and xl_crc, which are filled when its place in the log is
/// known.
#[derive(Clone, Debug)]
pub struct EncodedRecord {
    bytes: Vec<u8>,
    /// CRC of all behind the header, so that insertion under a lock takes in 20 bytes only.
    body_crc: Crc32c,
}

impl Default for EncodedRecord {
    /// An empty one, for [`RecordBuilder::encode_into`].
    fn default() -> Self {
        Self { bytes: Vec::new(), body_crc: Crc32c::new() }
    }
}

impl EncodedRecord {
    /// The record's length in bytes (xl_tot_len), without page headers and padding; 0 before anything was
    /// encoded.
    pub fn len(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }
    /// Whether nothing was encoded into it.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
    /// The resource manager.
    pub fn rmgr(&self) -> Rmgr {
        Rmgr(self.bytes.get(17).copied().unwrap_or(0))
    }
    /// xl_info.
    pub fn info(&self) -> u8 {
        self.bytes.get(16).copied().unwrap_or(0)
    }
    /// Whether it is the record after which the segment's rest stays empty (XLOG_SWITCH).
    pub fn is_switch(&self) -> bool {
        self.rmgr() == Rmgr::XLOG && self.info() & super::XLR_RMGR_INFO_MASK == crate::xlog::SWITCH
    }

    /// Takes its place behind the record that starts at `previous`: fills xl_prev and xl_crc and gives the
    /// final bytes. May be called again for another place.
    pub fn finish(&mut self, previous: Lsn) -> &[u8] {
        let mut crc = self.body_crc;
        if let Some((header, _)) = self.bytes.split_first_chunk_mut::<RECORD_HEADER_SIZE>() {
            header[8..16].copy_from_slice(&previous.get().to_le_bytes());
            crc.update(&header[..20]);
            header[20..].copy_from_slice(&crc.finish().to_le_bytes());
        }
        &self.bytes
    }

    /// The bytes as they are now; xl_prev and xl_crc are right only after [`EncodedRecord::finish`].
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Fills the length and takes the body's checksum.
    fn seal(&mut self) -> Result<(), BuildError> {
        let length = u32::try_from(self.bytes.len())
            .ok()
            .filter(|length| *length <= RECORD_SIZE_MAX)
            .ok_or(too_long(self.bytes.len()))?;
        self.body_crc = Crc32c::new();
        if let Some((header, body)) = self.bytes.split_first_chunk_mut::<RECORD_HEADER_SIZE>() {
            header[..4].copy_from_slice(&length.to_le_bytes());
            self.body_crc.update(body);
        }
        Ok(())
    }
}
