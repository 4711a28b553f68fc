//! Another copy of a segment, and whether it goes on with the log that is here.
//!
//! Each search is over a segment that is here, or two: never from file to file. `goes_on` is asked at each
//! piece, and what it breaks off is told by [`Sought::BrokenOff`].

use super::{Next, ReadError, ReaderOptions, SegmentFiles, SourceError, WalReader, WalSource};
use crate::ids::{Lsn, SegmentNumber, TimelineId};
use crate::page::PAGE_SIZE;
use bytes::Bytes;
use host::SharedFile;
use std::ops::Range;

/// Bytes that a disk gives, or does not, as one.
const DISK_BLOCK: u64 = 4096;
/// Bytes that are searched between two looks at whether to go on.
const SEARCHED_BYTES: u64 = 16 * PAGE_SIZE as u64;
/// Records that are read between two such looks.
const RECORDS: u32 = 64;

/// A copy of a whole segment from elsewhere, in a file of its own.
#[derive(Clone, Debug)]
pub struct SegmentCopy {
    /// Opened for reading.
    pub file: SharedFile,
    /// Which one.
    pub segment: SegmentNumber,
    /// For people.
    pub name: String,
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sought {
    /// It is so.
    Yes,
    /// It is not.
    No,
    /// `goes_on` said no before that was known.
    BrokenOff,
}

impl From<bool> for Sought {
    fn from(is_so: bool) -> Self {
        if is_so { Self::Yes } else { Self::No }
    }
}

impl SegmentFiles {
    /// Where a segment lies in the log.
    fn extent(&self, segment: SegmentNumber) -> Range<Lsn> {
        self.segment_size.start_of(segment)..self.segment_size.start_of(segment.next())
    }

    /// Whether a whole record can be read here that lies in this part of one segment: what another copy has
    /// there tells by that whether it is of the same log.
    ///
    /// # Errors
    /// Fails if the files cannot be listed.
    pub fn can_tell(&self, part: Range<Lsn>, goes_on: &dyn Fn() -> bool) -> Result<Sought, SourceError> {
        if part.is_empty() || !self.has(part.start)? {
            return Ok(Sought::No);
        }
        let options = ReaderOptions::new(self.segment_size);
        let mut reader = WalReader::new(Legible(self.clone()), options, part.start);
        let mut from = part.start;
        while from < part.end {
            if !goes_on() {
                return Ok(Sought::BrokenOff);
            }
            let upto = (from + SEARCHED_BYTES).min(part.end);
            if let Some(record) = reader.find_whole(from, upto)? {
                return Ok((record.end() <= part.end).into());
            }
            from = upto;
        }
        Ok(Sought::No)
    }

    /// Whether there is a file here for this place, and something in it.
    fn has(&self, at: Lsn) -> Result<bool, SourceError> {
        match Legible(self.clone()).read(at, &mut [0]) {
            Ok(got) => Ok(got > 0),
            Err(SourceError::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the log here goes on over `part`, which cannot be read here, with a copy's segment: from the
    /// last record before it to the first one behind it, or to the end of the copy, each links to the one
    /// before.
    ///
    /// # Errors
    /// Fails if the bytes cannot be read.
    pub fn goes_on_with(
        &self,
        copy: &SegmentCopy,
        part: Range<Lsn>,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Sought, SourceError> {
        let (size, upto) = (self.segment_size, self.extent(copy.segment).end);
        let mut reader =
            WalReader::new(Patched::with_segment(self, copy), ReaderOptions::new(size), part.start);
        let first = match self.record_before(part.start)? {
            Some(before) => Some(before),
            // Nothing is here that it could go on with.
            None => reader.find_whole(part.start, part.end)?.map(|first| first.start()),
        };
        let Some(first) = first else { return Ok(Sought::No) };
        reader.seek(first, None);
        loop {
            if !goes_on() {
                return Ok(Sought::BrokenOff);
            }
            for _ in 0..RECORDS {
                match reader.next() {
                    Ok(Next::Record(record)) if record.start() < part.end => {}
                    Ok(Next::Record(_)) => return Ok(Sought::Yes),
                    Ok(Next::End(end)) => return Ok((end.at >= part.end || end.reason.at() >= upto).into()),
                    Err(ReadError::Source(SourceError::Missing { at, .. })) => return Ok((at >= upto).into()),
                    Err(ReadError::Source(error)) => return Err(error),
                    Err(ReadError::Corrupt { .. }) => return Ok(Sought::No),
                }
            }
        }
    }

    /// A whole record that starts before `at`, by a segment at most.
    fn record_before(&self, at: Lsn) -> Result<Option<Lsn>, SourceError> {
        let options = ReaderOptions::new(self.segment_size);
        let mut reader = WalReader::new(Legible(self.clone()), options, at);
        let mut back = PAGE_SIZE as u64;
        loop {
            let from = Lsn::new(at.get().saturating_sub(back)).page_start();
            if !self.has(from)? {
                return Ok(None);
            }
            if let Some(record) = reader.find_whole(from, at)? {
                return Ok(Some(record.start()));
            }
            if from == Lsn::INVALID || back >= self.segment_size.bytes() {
                return Ok(None);
            }
            back *= 2;
        }
    }
}

/// A log in which what the disk does not give is zeros.
#[derive(Clone, Debug)]
pub(super) struct Legible(pub(super) SegmentFiles);

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

/// The log here, with a part of it as another copy has it.
#[derive(Clone, Debug)]
pub(super) struct Patched {
    ours: Legible,
    part: Range<Lsn>,
    theirs: Theirs,
}

#[derive(Clone, Debug)]
enum Theirs {
    Piece(Bytes),
    Segment(SegmentCopy),
}

impl Patched {
    pub(super) fn with_piece(ours: &SegmentFiles, at: Lsn, theirs: &[u8]) -> Self {
        let part = at..at + theirs.len() as u64;
        let theirs = Theirs::Piece(Bytes::copy_from_slice(theirs));
        Self { ours: Legible(ours.clone()), part, theirs }
    }

    pub(super) fn with_segment(ours: &SegmentFiles, copy: &SegmentCopy) -> Self {
        let part = ours.extent(copy.segment);
        Self { ours: Legible(ours.clone()), part, theirs: Theirs::Segment(copy.clone()) }
    }

    /// What is the other copy's.
    pub(super) fn part(&self) -> Range<Lsn> {
        self.part.clone()
    }
}

impl WalSource for Patched {
    fn read(&mut self, from: Lsn, buf: &mut [u8]) -> Result<usize, SourceError> {
        let is_theirs = self.part.contains(&from);
        let upto = match is_theirs {
            true => self.part.end,
            false if from < self.part.start => self.part.start,
            false => Lsn::MAX,
        };
        let most = usize::try_from(upto.bytes_since(from)).unwrap_or(usize::MAX).min(buf.len());
        let buf = buf.get_mut(..most).unwrap_or_default();
        if !is_theirs {
            return self.ours.read(from, buf);
        }
        let offset = from.bytes_since(self.part.start);
        match &self.theirs {
            Theirs::Piece(piece) => {
                let offset = usize::try_from(offset).unwrap_or(usize::MAX);
                let found = piece.get(offset..).unwrap_or_default();
                let len = found.len().min(buf.len());
                if let (Some(to), Some(found)) = (buf.get_mut(..len), found.get(..len)) {
                    to.copy_from_slice(found);
                }
                Ok(len)
            }
            Theirs::Segment(copy) => copy.file.read_at(buf, offset).map_err(|error| SourceError::Io {
                path: copy.name.clone(),
                at: from,
                error,
            }),
        }
    }

    fn timeline_at(&self, page: Lsn) -> Option<TimelineId> {
        self.ours.timeline_at(page)
    }
}
