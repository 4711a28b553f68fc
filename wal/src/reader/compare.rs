//! Whether a part of the log here is what another copy has, and which of the two reasons it has if not: the
//! other is another log, or the same one, which cannot be read in one of the copies.
//!
//! The log itself tells: a record that can be read here, and is otherwise in the other copy, is another
//! log's, and is never written over. What belongs to no such record says nothing: a record whose checksum is
//! wrong, a bad page header, the beginning of a record that never came whole. So what can be read here stays,
//! and only what lies between is taken from the other copy.

use super::{ReaderOptions, SegmentFiles, SourceError, WalReader, WalSource};
use crate::ids::{Lsn, SegmentSize, TimelineId};
use crate::page::{PAGE_SIZE, PageFlags, PageHeader, header_size_at};
use crate::record::Record;
use std::ops::Range;

/// Bytes that a disk gives, or does not, as one.
const DISK_BLOCK: u64 = 4096;

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
        let upto = at + theirs.len() as u64;
        let place = |lsn: Lsn| usize::try_from(lsn.bytes_since(at)).unwrap_or(usize::MAX).min(theirs.len());
        let mut bytes = theirs.to_vec();
        let mut lsn = last_start_before(&mut files, at + first as u64, size)?;
        let mut reader = WalReader::new(files.clone(), ReaderOptions::new(size), lsn);
        while let Some(record) = reader.find_whole(lsn, upto)? {
            if pieces(&record, size).any(|piece| {
                let piece = place(piece.start)..place(piece.end);
                ours.get(piece.clone()) != theirs.get(piece)
            }) {
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

/// A log in which what the disk does not give is zeros.
#[derive(Clone)]
struct Legible(SegmentFiles);

impl WalSource for Legible {
    fn read(&mut self, from: Lsn, buf: &mut [u8]) -> Result<usize, SourceError> {
        match self.0.read(from, buf) {
            Err(SourceError::Io { .. }) => {}
            other => return other,
        }
        let left = usize::try_from(DISK_BLOCK - from.get() % DISK_BLOCK).unwrap_or(usize::MAX);
        let len = buf.len().min(left);
        let block = buf.get_mut(..len).unwrap_or_default();
        match self.0.read(from, block) {
            Err(SourceError::Io { .. }) => {
                block.fill(0);
                Ok(len)
            }
            other => other,
        }
    }

    fn timeline_at(&self, page: Lsn) -> Option<TimelineId> {
        self.0.timeline_at(page)
    }
}

/// The header of a page; None if it is bad.
fn header(files: &mut Legible, page: Lsn, size: SegmentSize) -> Result<Option<PageHeader>, SourceError> {
    let mut bytes = vec![0; header_size_at(page, size)];
    match files.fill(page, &mut bytes) {
        Ok(_) | Err(SourceError::Missing { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(PageHeader::decode(&bytes).ok().filter(|header| header.address == page))
}

/// A page from which on all records can be found that reach beyond `at`.
fn last_start_before(files: &mut Legible, at: Lsn, size: SegmentSize) -> Result<Lsn, SourceError> {
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
fn begin_with_header(files: &mut Legible, start: Lsn, size: SegmentSize) -> Result<Lsn, SourceError> {
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
