//! Full-page images: a data page as a record carries it, without the run of zeros in its middle.

use super::{DATA_PAGE_SIZE, IMAGE_APPLY, IMAGE_HAS_HOLE, IMAGE_LZ4, IMAGE_PGLZ, IMAGE_ZSTD, RecordDefect};
use crate::codec::{Fields, PutFields};

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

/// An image that cannot be turned back into a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// This build has no decoder for the method.
    #[error("full-page image is compressed with {}, which this build cannot decompress", .method.name())]
    Unsupported {
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
    pub fn restore_into(&self, page: &mut [u8; DATA_PAGE_SIZE]) -> Result<(), ImageError> {
        if self.header.method != ImageMethod::Plain {
            return Err(ImageError::Unsupported { method: self.header.method });
        }
        let hole_length = usize::from(self.header.hole_length);
        let hole_offset = usize::from(self.header.hole_offset);
        let expected = DATA_PAGE_SIZE.saturating_sub(hole_length);
        let length = ImageError::Length { expected, found: self.stored.len() };
        if self.stored.len() != expected {
            return Err(length);
        }
        let (before, after) = self.stored.split_at_checked(hole_offset).ok_or(length)?;
        let (page_before, rest) = page.split_at_mut_checked(hole_offset).ok_or(length)?;
        let (hole, page_after) = rest.split_at_mut_checked(hole_length).ok_or(length)?;
        page_before.copy_from_slice(before);
        hole.fill(0);
        page_after.copy_from_slice(after);
        Ok(())
    }
}

/// The hole of a page with PostgreSQL's standard header: the bytes between pd_lower and pd_upper, if they are zero and the two
/// make sense. Offset and length; (0, 0) for none.
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
