//! Full-page images: a data page as a record carries it, without the run of zeros in its middle.

use super::{DATA_PAGE_SIZE, IMAGE_APPLY, IMAGE_HAS_HOLE, IMAGE_LZ4, IMAGE_PGLZ, IMAGE_ZSTD, RecordDefect};
use crate::codec::{Fields, PutFields};
use ruzstd::decoding::FrameDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// How an image's bytes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageMethod {
    /// As they are.
    Plain,
    /// PostgreSQL's own LZ.
    Pglz,
    /// LZ4 block format.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl ImageMethod {
    /// The name that wal_compression and pg_waldump use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "none",
            Self::Pglz => "pglz",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
    const fn flag(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Pglz => IMAGE_PGLZ,
            Self::Lz4 => IMAGE_LZ4,
            Self::Zstd => IMAGE_ZSTD,
        }
    }
}

/// What a compressor is tried on at least, in bytes: a shorter image has little to gain.
const WORTH_COMPRESSING: usize = 256;

/// Compresses `plain`; None where that makes it no shorter, or where there is no compressor for the method.
/// An image with a hole must save the two bytes that its longer header takes.
pub(super) fn compress(method: ImageMethod, plain: &[u8], has_hole: bool) -> Option<Vec<u8>> {
    if plain.len() < WORTH_COMPRESSING {
        return None;
    }
    let compressed = match method {
        ImageMethod::Plain | ImageMethod::Pglz => return None,
        ImageMethod::Lz4 => lz4_flex::block::compress(plain),
        ImageMethod::Zstd => compress_to_vec(plain, CompressionLevel::Fastest),
    };
    let extra = if has_hole { 2 } else { 0 };
    (compressed.len() + extra < plain.len()).then_some(compressed)
}

/// The `expected` bytes that were compressed to `stored`. Takes no more memory than that, whatever `stored`
/// claims.
fn decompress(method: ImageMethod, stored: &[u8], expected: usize) -> Result<Vec<u8>, ImageError> {
    let damaged = |found| ImageError::Length { expected, found };
    let mut plain = vec![0; expected];
    let length = match method {
        ImageMethod::Plain | ImageMethod::Pglz => return Err(ImageError::Unsupported { method }),
        ImageMethod::Lz4 => lz4_flex::block::decompress_into(stored, &mut plain)
            .map_err(|_| ImageError::Damaged { method })?,
        ImageMethod::Zstd => {
            FrameDecoder::new().decode_all(stored, &mut plain).map_err(|_| ImageError::Damaged { method })?
        }
    };
    if length == expected { Ok(plain) } else { Err(damaged(length)) }
}

/// An image that cannot be turned back into a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// This build has no decoder for the method.
    #[error("full-page image is compressed with {}, which this build cannot decompress", .method.name())]
    Unsupported {
        /// The method that the record names.
        method: ImageMethod,
    },
    /// The stored bytes are not what the method makes.
    #[error("full-page image compressed with {} is damaged", .method.name())]
    Damaged {
        /// The method that the record names.
        method: ImageMethod,
    },
    /// The stored bytes do not make a page.
    #[error("full-page image has {found} bytes, expected {expected}")]
    Length {
        /// Page size less the hole.
        expected: usize,
        /// Stored bytes.
        found: usize,
    },
}

/// The shape of an image: what its header in the record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ImageHeader {
    pub stored: u16,
    pub hole_offset: u16,
    pub hole_length: u16,
    pub apply: bool,
    pub method: ImageMethod,
}

impl ImageHeader {
    pub fn encode(&self, out: &mut Vec<u8>) {
        let hole = if self.hole_length > 0 { IMAGE_HAS_HOLE } else { 0 };
        let apply = if self.apply { IMAGE_APPLY } else { 0 };
        out.put_u16(self.stored);
        out.put_u16(self.hole_offset);
        out.put_u8(hole | apply | self.method.flag());
        if hole != 0 && self.method != ImageMethod::Plain {
            out.put_u16(self.hole_length);
        }
    }

    /// Reads the header and holds it to what access/xlogrecord.h promises.
    ///
    /// # Errors
    /// Fails if the header is too short or makes no sense.
    pub fn decode(fields: &mut Fields<'_>, block: u8) -> Result<Self, RecordDefect> {
        let (stored, hole_offset, info) = (fields.u16()?, fields.u16()?, fields.u8()?);
        let defect = RecordDefect::ImageHeader { block, stored, hole_offset, info };
        let has_hole = info & IMAGE_HAS_HOLE != 0;
        let method = match info & (IMAGE_PGLZ | IMAGE_LZ4 | IMAGE_ZSTD) {
            0 => ImageMethod::Plain,
            IMAGE_PGLZ => ImageMethod::Pglz,
            IMAGE_LZ4 => ImageMethod::Lz4,
            IMAGE_ZSTD => ImageMethod::Zstd,
            _ => return Err(defect),
        };
        let known = IMAGE_HAS_HOLE | IMAGE_APPLY | IMAGE_PGLZ | IMAGE_LZ4 | IMAGE_ZSTD;
        let page = DATA_PAGE_SIZE as u16;
        if info & !known != 0 || stored > page {
            return Err(defect);
        }
        let hole_length = match (has_hole, method) {
            (true, ImageMethod::Plain) => page - stored,
            (true, _) => fields.u16()?,
            (false, _) => 0,
        };
        let hole_fits = hole_offset.checked_add(hole_length).is_some_and(|end| end <= page);
        let sound = if has_hole {
            hole_offset > 0 && hole_length > 0 && hole_fits && stored < page
        } else {
            hole_offset == 0 && (stored == page) == (method == ImageMethod::Plain)
        };
        if !sound {
            return Err(defect);
        }
        Ok(Self { stored, hole_offset, hole_length, apply: info & IMAGE_APPLY != 0, method })
    }
}

/// A page's image inside a decoded record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    pub(super) header: ImageHeader,
    pub(super) stored: &'a [u8],
}

impl<'a> Image<'a> {
    /// Whether redo restores the page from it (BKPIMAGE_APPLY); otherwise it is only there to compare.
    pub const fn applies(&self) -> bool {
        self.header.apply
    }
    /// How it is stored.
    pub const fn method(&self) -> ImageMethod {
        self.header.method
    }
    /// The bytes as stored, without hole.
    pub const fn stored(&self) -> &'a [u8] {
        self.stored
    }
    /// Bytes of the page before the hole.
    pub const fn hole_offset(&self) -> u16 {
        self.header.hole_offset
    }
    /// Bytes of the hole, 0 for none.
    pub const fn hole_length(&self) -> u16 {
        self.header.hole_length
    }

    /// Writes the page that the image holds into `page`; on an error `page` is left as it was.
    ///
    /// # Errors
    /// Fails if the image cannot be decompressed to a page.
    pub fn restore_into(&self, page: &mut [u8; DATA_PAGE_SIZE]) -> Result<(), ImageError> {
        let hole_length = usize::from(self.header.hole_length);
        let hole_offset = usize::from(self.header.hole_offset);
        let expected = DATA_PAGE_SIZE.saturating_sub(hole_length);
        let decompressed;
        let plain = match self.header.method {
            ImageMethod::Plain => self.stored,
            method => {
                decompressed = decompress(method, self.stored, expected)?;
                decompressed.as_slice()
            }
        };
        let length = ImageError::Length { expected, found: plain.len() };
        if plain.len() != expected {
            return Err(length);
        }
        let (before, after) = plain.split_at_checked(hole_offset).ok_or(length)?;
        let (page_before, rest) = page.split_at_mut_checked(hole_offset).ok_or(length)?;
        let (hole, page_after) = rest.split_at_mut_checked(hole_length).ok_or(length)?;
        page_before.copy_from_slice(before);
        hole.fill(0);
        page_after.copy_from_slice(after);
        Ok(())
    }
}

/// The hole of a page with PostgreSQL's standard header: the bytes between pd_lower and pd_upper, if they are
/// zero and the two make sense. Offset and length; (0, 0) for none.
pub(super) fn standard_hole(page: &[u8; DATA_PAGE_SIZE]) -> (u16, u16) {
    const PAGE_HEADER_SIZE: u16 = 24;
    let mut fields = Fields::new(page);
    let bounds = fields.skip(12).and_then(|()| Ok((fields.u16()?, fields.u16()?)));
    match bounds {
        Ok((lower, upper))
            if lower >= PAGE_HEADER_SIZE && upper > lower && usize::from(upper) <= DATA_PAGE_SIZE =>
        {
            let gap = page.get(usize::from(lower)..usize::from(upper)).unwrap_or_default();
            if gap.iter().all(|byte| *byte == 0) { (lower, upper - lower) } else { (0, 0) }
        }
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BlockNumber, BlockRef, Fork, Lsn, PageImage, Record, RecordBuilder, RelFile, Rmgr};
    use bytes::Bytes;

    /// A page with a hole, whose rest repeats itself so and so often.
    fn page(repeats: usize) -> [u8; DATA_PAGE_SIZE] {
        let mut random = fastrand::Rng::with_seed(1);
        let noise: Vec<u8> = (0..DATA_PAGE_SIZE / repeats).map(|_| random.u8(..)).collect();
        let mut page = [0; DATA_PAGE_SIZE];
        for (at, byte) in page.iter_mut().enumerate() {
            *byte = noise[at % noise.len()];
        }
        page[12..16].copy_from_slice(&[0x28, 0, 0, 0x10]); // pd_lower 40, pd_upper 4096
        page[40..4096].fill(0);
        page
    }

    fn record(page: &[u8; DATA_PAGE_SIZE], standard: bool, method: ImageMethod) -> Record {
        let image = Some(PageImage { page, standard, apply: true });
        let rel = RelFile::new(5, 16384);
        let (fork, block) = (Fork::Main, BlockNumber::new(3));
        let block = BlockRef { id: 0, rel, fork, block, will_init: false, image, data: b"data" };
        let builder = RecordBuilder::new(Rmgr::ENGINE, 0, 1).compression(method).block(block);
        let mut encoded = builder.encode().unwrap();
        let bytes = Bytes::copy_from_slice(encoded.finish(Lsn::new(8)));
        let start = Lsn::new(1 << 20);
        Record::decode(start, start + bytes.len() as u64, bytes).unwrap()
    }

    #[test]
    fn a_compressed_image_is_shorter_and_gives_the_page_back() {
        for (method, standard) in [
            (ImageMethod::Lz4, true),
            (ImageMethod::Lz4, false),
            (ImageMethod::Zstd, true),
            (ImageMethod::Zstd, false),
        ] {
            let page = page(40);
            let (plain, compressed) =
                (record(&page, standard, ImageMethod::Plain), record(&page, standard, method));
            assert!(
                compressed.len() * 2 < plain.len(),
                "{method:?}: {} of {}",
                compressed.len(),
                plain.len()
            );
            let block = compressed.blocks().next().unwrap();
            let image = block.image.unwrap();
            assert_eq!((image.method(), block.data), (method, &b"data"[..]));
            let mut restored = [1; DATA_PAGE_SIZE];
            image.restore_into(&mut restored).unwrap();
            assert!(restored == page, "{method:?}");
        }
    }

    #[test]
    fn an_image_that_does_not_shrink_is_stored_as_it_is() {
        for method in [ImageMethod::Lz4, ImageMethod::Zstd, ImageMethod::Pglz] {
            let page = page(1);
            let record = record(&page, true, method);
            let image = record.blocks().next().unwrap().image.unwrap();
            assert_eq!(image.method(), ImageMethod::Plain);
            let mut restored = [1; DATA_PAGE_SIZE];
            image.restore_into(&mut restored).unwrap();
            assert!(restored == page);
        }
    }

    #[test]
    fn damaged_compressed_bytes_are_an_error_or_a_page_and_never_a_panic() {
        for method in [ImageMethod::Lz4, ImageMethod::Zstd] {
            let record = record(&page(40), true, method);
            let image = record.blocks().next().unwrap().image.unwrap();
            let mut refused = 0;
            for bit in 0..image.stored().len() * 8 {
                let mut stored = image.stored().to_vec();
                stored[bit / 8] ^= 1 << (bit % 8);
                let damaged = Image { header: image.header, stored: &stored };
                refused += u32::from(damaged.restore_into(&mut [0; DATA_PAGE_SIZE]).is_err());
            }
            for cut in 0..image.stored().len() {
                let damaged = Image { header: image.header, stored: &image.stored()[..cut] };
                assert!(damaged.restore_into(&mut [0; DATA_PAGE_SIZE]).is_err(), "{method:?} cut at {cut}");
            }
            assert!(refused > 0, "{method:?}");
        }
    }
}
