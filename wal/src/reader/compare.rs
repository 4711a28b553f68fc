//! Whether a part of the log here is what another copy has, and which of the two reasons it has if not: the
//! other is another log, or the same one, which cannot be read in one of the copies.
//!
//! The log itself tells: a record that can be read here, and is otherwise in the other copy, is another
//! log's, and is never written over. What belongs to no such record says nothing: a record whose checksum is
//! wrong, a bad page header, the beginning of a record that never came whole. So what can be read here stays,
//! and only what lies between is taken from the other copy. The other copy may be the bad one: a record that
//! can be read here stays as well where the other has the same one, as its header or the record behind it
//! tells, and cannot read it.

use super::copy::{Legible, Patched, SegmentCopy};
use super::{ReaderOptions, SegmentFiles, SourceError, WalReader, WalSource};
use crate::ids::{Lsn, SegmentSize};
use crate::page::{PAGE_SIZE, PageFlags, PageHeader, header_size_at};
use crate::record::{RECORD_HEADER_SIZE, Record, RecordHeader};
use std::ops::Range;

/// What is here, compared with another copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// The same.
    Same,
    /// It is not here.
    Gone,
    /// The same log.
    Alike {
        /// What can be read here, and the rest as the other copy has it.
        bytes: Vec<u8>,
        /// Where that is otherwise than here; None if all can be read here.
        taken: Option<Range<Lsn>>,
    },
    /// Another log, from this record on or before.
    Another(Lsn),
}

impl SegmentFiles {
    /// Compares the log at `at` with what another copy has there. What files end before, or the disk does not
    /// give, counts as zeros.
    ///
    /// # Errors
    /// Fails if the files cannot be listed.
    pub fn compare(&self, at: Lsn, theirs: &[u8]) -> Result<Compared, SourceError> {
        self.compare_part(|| Patched::with_piece(self, at, theirs), at, theirs)
    }

    /// The same for a part of a segment that is there whole.
    ///
    /// # Errors
    /// As [`SegmentFiles::compare`].
    pub fn compare_copy(&self, copy: &SegmentCopy, at: Lsn, theirs: &[u8]) -> Result<Compared, SourceError> {
        self.compare_part(|| Patched::with_segment(self, copy), at, theirs)
    }

    fn compare_part(
        &self,
        other: impl FnOnce() -> Patched,
        at: Lsn,
        theirs: &[u8],
    ) -> Result<Compared, SourceError> {
        let (mut files, size) = (Legible(self.clone()), self.segment_size);
        let mut ours = vec![0; theirs.len()];
        match files.fill(at, &mut ours) {
            Ok(0) | Err(SourceError::Missing { .. }) => return Ok(Compared::Gone),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        let Some(first) = ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs) else {
            return Ok(Compared::Same);
        };
        let (other, upto, first) = (other(), at + theirs.len() as u64, at + first as u64);
        let place = |lsn: Lsn| usize::try_from(lsn.bytes_since(at)).unwrap_or(usize::MAX).min(theirs.len());
        let mut bytes = theirs.to_vec();
        let mut lsn = last_start_before(&mut files, first, size)?;
        let mut reader = WalReader::new(files.clone(), ReaderOptions::new(size), lsn);
        loop {
            // Between the page where a long record begins and the first difference, none begins.
            let is_before = lsn.page_start() < first.page_start();
            let searched = if is_before { lsn.page_start() + PAGE_SIZE as u64 } else { upto };
            let Some(record) = reader.find_whole(lsn, searched)? else {
                if !is_before {
                    break;
                }
                lsn = first.page_start();
                continue;
            };
            if pieces(&record, size).any(|piece| {
                let piece = place(piece.start)..place(piece.end);
                ours.get(piece.clone()) != theirs.get(piece)
            }) && !is_bad_there(&other, &record, size)?
            {
                return Ok(Compared::Another(record.start()));
            }
            // With the headers of the pages that it goes over, and its padding.
            let begin = begin_with_header(&mut files, record.start(), size)?;
            let own = place(begin)..place(record.end());
            if let (Some(to), Some(own)) = (bytes.get_mut(own.clone()), ours.get(own)) {
                to.copy_from_slice(own);
            }
            lsn = record.end();
        }
        let mut places = ours.iter().zip(&bytes).enumerate().filter(|(_, (ours, kept))| ours != kept);
        let first = places.next().map(|(place, _)| place);
        let last = places.next_back().map(|(place, _)| place).or(first);
        let taken = first.zip(last).map(|(first, last)| at + first as u64..at + last as u64 + 1);
        drop(places);
        Ok(Compared::Alike { bytes, taken })
    }
}

/// Whether the other copy has this record, which is another one there, only as one that it cannot read.
fn is_bad_there(other: &Patched, record: &Record, size: SegmentSize) -> Result<bool, SourceError> {
    let (known, start, end) = (other.part(), record.start(), record.end());
    if start < known.start || end > known.end {
        return Ok(false);
    }
    let mut reader = WalReader::new(other.clone(), ReaderOptions::new(size), start);
    if reader.find_whole(start, end)?.is_some() {
        return Ok(false);
    }
    let mut header = [0; RECORD_HEADER_SIZE];
    let on_page = start.page_offset() + header.len() <= PAGE_SIZE;
    if on_page && other.clone().fill(start, &mut header)? == header.len() {
        let theirs = RecordHeader::decode(&header).ok();
        if theirs.is_some_and(|there| there.length == record.len() && there.previous == record.previous()) {
            return Ok(true);
        }
    }
    let next = reader.find_whole(end, (end + PAGE_SIZE as u64).min(known.end))?;
    Ok(next.is_some_and(|next| next.previous() == start))
}

/// The header of a page; None if it is bad.
fn header(
    files: &mut impl WalSource,
    page: Lsn,
    size: SegmentSize,
) -> Result<Option<PageHeader>, SourceError> {
    let mut bytes = vec![0; header_size_at(page, size)];
    match files.fill(page, &mut bytes) {
        Ok(_) | Err(SourceError::Missing { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(PageHeader::decode(&bytes).ok().filter(|header| header.address == page))
}

/// A page from which on all records can be found that reach beyond `at`.
fn last_start_before(files: &mut impl WalSource, at: Lsn, size: SegmentSize) -> Result<Lsn, SourceError> {
    let mut page = at.page_start();
    while page.get() > 0 {
        let Some(header) = header(files, page, size)? else { return Ok(page) };
        if !header.flags.has(PageFlags::CONTRECORD) {
            return Ok(page);
        }
        let begun = header.size() as u64 + u64::from(header.remaining);
        if page < at.page_start() && begun < PAGE_SIZE as u64 {
            return Ok(page);
        }
        page = page - PAGE_SIZE as u64;
    }
    Ok(page)
}

/// Where what belongs to a record that starts there begins: a good header before it, if it is the first on
/// its page.
fn begin_with_header(files: &mut impl WalSource, start: Lsn, size: SegmentSize) -> Result<Lsn, SourceError> {
    let page = start.page_start();
    let is_first = start.bytes_since(page) == header_size_at(page, size) as u64;
    Ok(if is_first && header(files, page, size)?.is_some() { page } else { start })
}

/// A record's own bytes: neither page headers nor padding are.
fn pieces(record: &Record, size: SegmentSize) -> impl Iterator<Item = Range<Lsn>> {
    let (mut lsn, mut left) = (record.start(), u64::from(record.len()));
    std::iter::from_fn(move || {
        let page_end = lsn.page_start() + PAGE_SIZE as u64;
        let piece = lsn..lsn + left.min(page_end.bytes_since(lsn));
        left -= piece.end.bytes_since(piece.start);
        lsn = page_end + header_size_at(page_end, size) as u64;
        (piece.start < piece.end).then_some(piece)
    })
}
