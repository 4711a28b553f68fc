//! The reader's walk from record to record.

use super::{
    BrokenRecord, Damage, Defect, EndOfWal, EndReason, Next, ReadError, ReaderOptions, SourceError, WalSource,
};
use crate::codec::Fields;
use crate::ids::{Lsn, TimelineId};
use crate::page::{
    PAGE_SIZE, PageDefect, PageExpectation, PageFlags, PageHeader, header_size_at, record_end, record_start,
};
use crate::record::{RECORD_HEADER_SIZE, Record, RecordDefect, RecordHeader, Rmgr};
use crate::xlog::XlogRecord;
use bytes::Bytes;
use std::ops::Range;

/// Bytes read at once after a jump or at the live end of a log.
const CHUNK_MIN: usize = PAGE_SIZE;
/// Bytes read at once on a long way.
const CHUNK_MAX: usize = 16 * PAGE_SIZE;
/// Bytes that a record's buffer starts with, whatever length it claims.
const ASSEMBLY_MIN: usize = 64 * 1024;

/// Why no record could be read.
pub(super) enum Stop {
    /// Nothing at this position yet.
    Starved(Lsn),
    /// What is there is bad.
    Bad(Damage),
    /// The bytes could not be had.
    Source(SourceError),
}

impl Stop {
    fn bad(at: Lsn, defect: impl Into<Defect>) -> Self {
        Self::Bad(Damage { at, defect: defect.into() })
    }
}

/// A record whose pages come one after the other.
#[derive(Debug)]
pub(super) struct Assembly {
    start: Lsn,
    length: u32,
    bytes: Vec<u8>,
    /// The page that continues it.
    page: Lsn,
}

/// Reads records one after the other.
#[derive(Debug)]
pub struct WalReader<S> {
    pub(super) source: S,
    pub(super) options: ReaderOptions,
    /// End of the last record.
    pub(super) next: Lsn,
    /// Start of the last record; None after a jump.
    pub(super) previous: Option<Lsn>,
    /// Whole log bytes from `chunk_start`, which is a page start.
    pub(super) chunk: Bytes,
    chunk_start: Lsn,
    chunk_size: usize,
    /// The page that was verified last, with its header.
    pub(super) verified: Option<(Lsn, PageHeader)>,
    /// The record that waits for more bytes.
    pub(super) assembly: Option<Assembly>,
    /// Start of the incomplete record that the record at `next` must give up.
    pub(super) given_up: Option<Lsn>,
}

impl<S: WalSource> WalReader<S> {
    /// A reader at `at`: where a record starts, or the end of one.
    pub fn new(source: S, options: ReaderOptions, at: Lsn) -> Self {
        Self {
            source,
            options,
            next: at,
            previous: None,
            chunk: Bytes::new(),
            chunk_start: Lsn::INVALID,
            chunk_size: CHUNK_MIN,
            verified: None,
            assembly: None,
            given_up: None,
        }
    }

    /// Goes to `at`: where a record starts, or the end of one. `previous` is the start of the record before,
    /// if known.
    pub fn seek(&mut self, at: Lsn, previous: Option<Lsn>) {
        self.next = at;
        self.previous = previous;
        self.assembly = None;
        self.given_up = None;
        self.forget_chunk();
    }

    /// Where the next record is expected: the end of the last.
    pub const fn position(&self) -> Lsn {
        self.next
    }
    /// The start of the last record, None after a jump.
    pub const fn previous(&self) -> Option<Lsn> {
        self.previous
    }
    /// The timeline of the page that was read last.
    pub fn page_timeline(&self) -> Option<TimelineId> {
        self.verified.as_ref().map(|(_, header)| header.timeline)
    }
    /// The source.
    pub const fn source(&self) -> &S {
        &self.source
    }
    /// The source, to raise its bound or change its history.
    pub const fn source_mut(&mut self) -> &mut S {
        &mut self.source
    }
    /// A point up to which (exclusive) the log is known to have been flushed; it never goes back.
    pub fn prove_flush(&mut self, flushed: Lsn) {
        self.options.proven_flush = self.options.proven_flush.max(flushed);
    }

    /// The next record, or the end of the log. After an end or an error it may be called again: it tries at
    /// the same place.
    ///
    /// # Errors
    /// Fails if the log is damaged or cannot be read.
    #[allow(clippy::should_implement_trait, reason = "an end is not final and errors are told apart")]
    #[inline]
    pub fn next(&mut self) -> Result<Next, ReadError> {
        match self.read_record() {
            Ok(record) => Ok(Next::Record(record)),
            Err(Stop::Source(error)) => {
                self.forget_chunk();
                Err(error.into())
            }
            Err(Stop::Starved(at)) => {
                let broken = self
                    .assembly
                    .as_ref()
                    .map(|assembly| BrokenRecord { start: assembly.start, missing_at: assembly.page })
                    .or_else(|| self.broken_before());
                let torn = broken.is_some() || self.has_begun();
                self.forget_chunk();
                Ok(Next::End(EndOfWal { at: self.next, reason: EndReason::NotYet { at }, torn, broken }))
            }
            Err(Stop::Bad(damage)) => self.ended(damage),
        }
    }

    /// The first record that starts at or after `from`; the reader goes on behind it.
    ///
    /// # Errors
    /// Fails if the log is damaged or cannot be read.
    pub fn find_next_record(&mut self, from: Lsn) -> Result<Next, ReadError> {
        self.seek(from, None);
        match self.first_record_on(from.page_start()) {
            Ok(start) => self.seek(start, None),
            Err(Stop::Source(error)) => return Err(error.into()),
            Err(Stop::Starved(at)) => {
                let reason = EndReason::NotYet { at };
                return Ok(Next::End(EndOfWal { at: from, reason, torn: false, broken: None }));
            }
            Err(Stop::Bad(damage)) => return self.ended(damage),
        }
        loop {
            match self.next()? {
                Next::Record(record) if record.start() < from => {}
                other => return Ok(other),
            }
        }
    }

    /// Tells damage from the end of the log.
    fn ended(&mut self, damage: Damage) -> Result<Next, ReadError> {
        let assembly = self.assembly.take();
        let record_start = assembly.as_ref().map_or(self.next, |assembly| assembly.start);
        let clean = assembly.is_none() && self.given_up.is_none() && self.is_untouched(&damage);
        self.forget_chunk();
        if record_start < self.options.proven_flush {
            let proven_flush = self.options.proven_flush;
            return Err(self.corrupt(EndReason::Invalid(damage), self.next, proven_flush));
        }
        let broken = assembly
            .map(|assembly| BrokenRecord { start: assembly.start, missing_at: assembly.page })
            .or_else(|| self.broken_before());
        let reason = EndReason::Invalid(damage);
        Ok(Next::End(EndOfWal { at: self.next, reason, torn: !clean, broken }))
    }

    fn broken_before(&self) -> Option<BrokenRecord> {
        self.given_up.map(|start| BrokenRecord { start, missing_at: self.next.page_start() })
    }

    /// Whether nothing was ever written where the next record belongs: zeros, or a page of a recycled
    /// segment.
    fn is_untouched(&self, damage: &Damage) -> bool {
        let offset = usize::try_from(damage.at.bytes_since(self.chunk_start)).unwrap_or(usize::MAX);
        let zeros = |len: usize| {
            let bytes = self.chunk.get(offset..).unwrap_or_default();
            bytes.iter().take(len).all(|byte| *byte == 0)
        };
        match damage.defect {
            Defect::NoRecord => zeros(RECORD_HEADER_SIZE.min(PAGE_SIZE - damage.at.page_offset())),
            Defect::Page(PageDefect::Magic { found: 0 }) => zeros(PAGE_SIZE),
            Defect::Page(PageDefect::Address { expected, found }) => found < expected,
            _ => false,
        }
    }

    /// Whether some bytes of a next record are at hand, though too few.
    fn has_begun(&self) -> bool {
        let start = record_start(self.next, self.options.segment_size);
        let offset = usize::try_from(start.bytes_since(self.chunk_start)).unwrap_or(usize::MAX);
        let rest = self.chunk.get(offset..).unwrap_or_default();
        start >= self.chunk_start && rest.iter().any(|byte| *byte != 0)
    }

    fn forget_chunk(&mut self) {
        self.chunk = Bytes::new();
        self.chunk_size = CHUNK_MIN;
        self.verified = None;
    }

    /// Makes `need` bytes of the page at `page` readable; returns where its bytes lie in the chunk, as many
    /// as are at hand.
    pub(super) fn page_range(&mut self, page: Lsn, need: usize) -> Result<Range<usize>, Stop> {
        let at_hand = |reader: &Self| {
            let offset = usize::try_from(page.bytes_since(reader.chunk_start)).ok()?;
            let end = reader.chunk.len().min(offset.saturating_add(PAGE_SIZE));
            (page >= reader.chunk_start && offset.saturating_add(need) <= end).then_some(offset..end)
        };
        if let Some(range) = at_hand(self) {
            return Ok(range);
        }
        let chunk_end = self.chunk_start + self.chunk.len() as u64;
        if (self.chunk_start..chunk_end).contains(&page) && self.source.end() == Some(chunk_end) {
            // All that there is was read already.
            return Err(Stop::Starved(chunk_end));
        }
        let follows = !self.chunk.is_empty() && page == chunk_end;
        self.chunk_size = if follows { (self.chunk_size * 2).min(CHUNK_MAX) } else { CHUNK_MIN };
        let mut buffer = vec![0; self.chunk_size];
        let mut got = 0;
        while got < need {
            let rest = buffer.get_mut(got..).unwrap_or_default();
            match self.source.read(page + got as u64, rest).map_err(Stop::Source)? {
                0 => break,
                more => got += more,
            }
        }
        buffer.truncate(got);
        self.chunk = Bytes::from(buffer);
        self.chunk_start = page;
        at_hand(self).ok_or(Stop::Starved(page + got as u64))
    }

    /// The verified header of the page at `page`.
    pub(super) fn page_header(&mut self, page: Lsn) -> Result<PageHeader, Stop> {
        if let Some((verified, header)) = self.verified
            && verified == page
        {
            return Ok(header);
        }
        let segment_size = self.options.segment_size;
        let range = self.page_range(page, header_size_at(page, segment_size))?;
        let expectation = PageExpectation {
            address: page,
            segment_size,
            timeline: self.source.timeline_at(page),
            system_id: self.options.system_id,
        };
        let bytes = self.chunk.get(range).unwrap_or_default();
        let header = PageHeader::decode(bytes).map_err(|defect| Stop::bad(page, defect))?;
        header.verify(&expectation).map_err(|defect| Stop::bad(page, defect))?;
        if let Some((before, last)) = self.verified
            && (before < page) != (last.timeline <= header.timeline)
            && last.timeline != header.timeline
        {
            let defect = PageDefect::Timeline { expected: last.timeline, found: header.timeline };
            return Err(Stop::bad(page, defect));
        }
        self.verified = Some((page, header));
        Ok(header)
    }

    /// The first position on or behind `page` where a record starts.
    fn first_record_on(&mut self, mut page: Lsn) -> Result<Lsn, Stop> {
        loop {
            let header = self.page_header(page)?;
            let body = PAGE_SIZE - header.size();
            let remaining = usize::try_from(header.remaining).unwrap_or(usize::MAX);
            if remaining < body {
                let start = page + (header.size() + remaining) as u64;
                return Ok(record_start(start, self.options.segment_size));
            }
            page = page + PAGE_SIZE as u64;
        }
    }

    #[inline]
    pub(super) fn read_record(&mut self) -> Result<Record, Stop> {
        loop {
            let mut assembly = match self.assembly.take() {
                Some(assembly) => assembly,
                None => match self.begin_record()? {
                    Ok(record) => return self.accept(record),
                    Err(assembly) => assembly,
                },
            };
            match self.assemble(&mut assembly) {
                Ok(Some(record)) => return self.accept(record),
                Ok(None) => {
                    // The rest was given up: the log goes on with the record on this page.
                    self.next = assembly.page;
                    self.given_up = Some(assembly.start);
                }
                Err(stop) => {
                    self.assembly = Some(assembly);
                    return Err(stop);
                }
            }
        }
    }

    /// Reads the record at `next` if its page holds all of it, or else its beginning.
    #[inline]
    fn begin_record(&mut self) -> Result<Result<Record, Assembly>, Stop> {
        let start = record_start(self.next, self.options.segment_size);
        let page = start.page_start();
        let header = self.page_header(page)?;
        if header.flags.has(PageFlags::CONTRECORD) && start.page_offset() == header.size() {
            let defect = Defect::UnexpectedContinuation { remaining: header.remaining };
            return Err(Stop::bad(page, defect));
        }
        let gives_up =
            header.flags.has(PageFlags::OVERWRITE_CONTRECORD) && start.page_offset() == header.size();
        if gives_up && self.given_up.is_none() && self.previous.is_some() {
            return Err(Stop::bad(page, Defect::NothingToGiveUp));
        }
        let offset = start.page_offset();
        let at = self.page_range(page, offset + 4)?.start + offset;
        let length = Fields::new(self.chunk.get(at..).unwrap_or_default()).u32().unwrap_or(0);
        self.check_length(start, length)?;
        let whole = usize::try_from(length).unwrap_or(usize::MAX);
        let here = (PAGE_SIZE - offset).min(whole);
        let at = self.page_range(page, offset + here)?.start + offset;
        let bytes = self.chunk.slice(at..at + here);
        if here >= RECORD_HEADER_SIZE {
            check_header(self.previous, start, &bytes)?;
        }
        if here == whole {
            return self.decode(start, length, bytes).map(Ok);
        }
        let mut buffer = Vec::with_capacity(whole.min(ASSEMBLY_MIN));
        buffer.extend_from_slice(&bytes);
        Ok(Err(Assembly { start, length, bytes: buffer, page: page + PAGE_SIZE as u64 }))
    }

    /// Continues a record page by page. None: its rest was given up, and `assembly.page` says where.
    fn assemble(&mut self, assembly: &mut Assembly) -> Result<Option<Record>, Stop> {
        loop {
            let (page, got) = (assembly.page, assembly.bytes.len());
            let remaining = assembly.length.saturating_sub(u32::try_from(got).unwrap_or(u32::MAX));
            let header = self.page_header(page)?;
            if header.flags.has(PageFlags::OVERWRITE_CONTRECORD) {
                return Ok(None);
            }
            if !header.flags.has(PageFlags::CONTRECORD) {
                return Err(Stop::bad(page, Defect::NoContinuation { expected: remaining }));
            }
            if header.remaining != remaining {
                let defect = Defect::ContinuationLength { expected: remaining, found: header.remaining };
                return Err(Stop::bad(page, defect));
            }
            let size = header.size();
            let missing = usize::try_from(remaining).unwrap_or(usize::MAX);
            let here = (PAGE_SIZE - size).min(missing);
            let at = self.page_range(page, size + here)?.start + size;
            assembly.bytes.extend_from_slice(self.chunk.get(at..at + here).unwrap_or_default());
            if got < RECORD_HEADER_SIZE && assembly.bytes.len() >= RECORD_HEADER_SIZE {
                check_header(self.previous, assembly.start, &assembly.bytes)?;
            }
            if here == missing {
                let bytes = Bytes::from(std::mem::take(&mut assembly.bytes));
                return self.decode(assembly.start, assembly.length, bytes).map(Some);
            }
            assembly.page = page + PAGE_SIZE as u64;
        }
    }

    fn check_length(&self, start: Lsn, length: u32) -> Result<(), Stop> {
        let limit = self.options.record_size_max;
        let expected = RECORD_HEADER_SIZE as u32;
        let defect = match length {
            0 => Defect::NoRecord,
            found if found < expected => Defect::LengthTooShort { expected, found },
            found if found > limit => Defect::LengthTooLong { limit, found },
            _ => return Ok(()),
        };
        Err(Stop::bad(start, defect))
    }

    #[inline]
    fn decode(&self, start: Lsn, length: u32, bytes: Bytes) -> Result<Record, Stop> {
        let segment_size = self.options.segment_size;
        let end = record_end(start, length, segment_size);
        let mut record = Record::decode(start, end, bytes).map_err(|defect| Stop::bad(start, defect))?;
        if record.is_switch() && segment_size.offset_of(end) != 0 {
            record.set_end(segment_size.start_of(segment_size.segment_of(end).next()));
        }
        Ok(record)
    }

    /// Takes a verified record as the next one.
    #[inline]
    fn accept(&mut self, mut record: Record) -> Result<Record, Stop> {
        if let Some(expected) = self.given_up {
            match XlogRecord::parse(&record) {
                Ok(XlogRecord::OverwriteContrecord { overwritten, .. }) if overwritten == expected => {
                    record.set_overwrites(expected);
                }
                _ => return Err(Stop::bad(record.start(), Defect::NoOverwrite { expected })),
            }
            self.given_up = None;
        }
        self.next = record.end();
        self.previous = Some(record.start());
        Ok(record)
    }
}

/// What can be said of a record before its checksum is known.
fn check_header(previous: Option<Lsn>, start: Lsn, bytes: &[u8]) -> Result<(), Stop> {
    let header = RecordHeader::decode(bytes).map_err(|short| Stop::bad(start, RecordDefect::from(short)))?;
    if Rmgr::from_number(header.rmgr_number).is_none() {
        return Err(Stop::bad(start, RecordDefect::Rmgr { found: header.rmgr_number }));
    }
    match previous {
        Some(expected) if header.previous != expected => {
            Err(Stop::bad(start, Defect::Previous { expected, found: header.previous }))
        }
        None if header.previous >= start => {
            Err(Stop::bad(start, Defect::PreviousAhead { found: header.previous }))
        }
        _ => Ok(()),
    }
}
