//! What lies behind the end of the log: the proof that the end is damage, or the tail that is cut.
//!
//! Two things on disk say that the log was durable up to some place, so that a bad record below it is damage:
//! - a whole record behind it that states a flush point above it: commit and abort records carry the point
//!   that their writer knew
//!   ([`XactEnd::proven_flush`](crate::xact::XactEnd::proven_flush));
//! - a later segment that has begun: a writer makes a finished segment durable before the next one gets its
//!   first byte. Any page of this log in it says so, and what cannot be read between says nothing.
//!
//! A record is looked for only where one may begin, and not in another one's contents, which are a client's
//! to choose: behind what each page's header says to be the rest of an earlier record, and behind the length
//! that a broken one states, if its headers add up to it. Where no header can be believed all of the rest of
//! that page is searched, for records that lie on it alone.
//!
//! A whole record behind a bad spot proves nothing by being there, since pages reach the disk in any order.
//! And only the node that wrote the log may believe these proofs: what a standby received and did not yet
//! flush states the flush point of its primary.

use super::walk::Stop;
use super::{Damage, Defect, EndOfWal, EndReason, ReadError, SourceError, WalReader, WalSource};
use crate::codec::Fields;
use crate::ids::{Lsn, SegmentNumber};
use crate::page::{PAGE_SIZE, PageDefect, PageFlags, header_size_at, record_end, record_start};
use crate::record::{RECORD_HEADER_SIZE, Record, RecordHeader, Rmgr, announces};
use crate::xact;
use bytes::Bytes;

/// What proves that the log was durable up to a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushProof {
    /// Up to here, exclusive.
    pub flushed: Lsn,
    /// The record or the segment that says so.
    pub stated_at: Lsn,
}

/// What lies behind the end of the log and is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutTail {
    /// The end of the last good record.
    pub from: Lsn,
    /// Behind the last byte, exclusive; `from` if there is nothing.
    pub upto: Lsn,
    /// Whole records in it, which follow one that is not.
    pub whole_records: u64,
}

impl CutTail {
    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.upto.bytes_since(self.from)
    }
}

/// The search behind an end.
pub(super) struct Search {
    log: EndOfWal,
    /// The end of the last good record.
    end: Lsn,
    /// The page on which the reading stopped.
    bad_page: Lsn,
    /// Behind the last byte that is known to be bad or missing.
    bad_upto: Lsn,
    /// The begin of the last good record, if it is known.
    previous: Option<Lsn>,
    /// It ends with the first proof.
    for_proof: bool,
    /// Up to where a broken record states to go.
    stated_upto: Lsn,
    /// Up to where files are finished that have a switch of segments.
    pub(super) switches_finish_upto: Option<Lsn>,
    /// A record that is not the first states its length.
    pub(super) states_another: bool,
    pub(super) proof: Option<FlushProof>,
    pub(super) cut: CutTail,
    /// The end of the first whole record.
    first_whole: Option<Lsn>,
}

impl<S: WalSource> WalReader<S> {
    /// Looks behind an end that this reader gave, on the node that wrote the log: damage if something there
    /// proves that the log was durable beyond it, else what is to be cut. The reader has no position
    /// afterwards: seek before reading on.
    ///
    /// # Errors
    /// Fails if what lies behind was durable once: then it is damage.
    pub fn verify_end(&mut self, end: &EndOfWal) -> Result<CutTail, ReadError> {
        let bad_upto = self.bad_upto(end);
        let mut search = self.search_for_proof(end, bad_upto);
        self.search_segments(&mut search)?;
        match search.proof {
            Some(proof) => Err(self.corrupt(end.reason, end.at, proof.flushed)),
            None => Ok(search.cut),
        }
    }

    /// A search behind an end for what proves that it is damage.
    pub(super) fn search_for_proof(&self, end: &EndOfWal, bad_upto: Lsn) -> Search {
        Search { previous: self.previous, ..Search::new(*end, bad_upto, true) }
    }

    /// All that lies behind a log that is to end at `at`, whether or not it was durable. The reader has no
    /// position afterwards.
    ///
    /// # Errors
    /// Fails if a file cannot be read.
    pub fn tail_behind(&mut self, at: Lsn) -> Result<CutTail, SourceError> {
        let end = EndOfWal { at, reason: EndReason::NotYet { at }, torn: false, broken: None };
        let mut search = Search::new(end, at, false);
        self.search_segments(&mut search)?;
        Ok(search.cut)
    }

    /// Whether a log of which all bytes below `upto` came has this end because one of them is bad or missing,
    /// and not because its last record has not come whole. The reader has no position afterwards.
    /// `more_comes`: more is to come behind the source's end, if it has one, and tells whether a record that
    /// goes further does.
    ///
    /// # Errors
    /// Fails if a file cannot be read.
    pub fn ends_within(&mut self, end: &EndOfWal, upto: Lsn, more_comes: bool) -> Result<bool, SourceError> {
        if self.bad_upto(end) <= upto {
            return Ok(true);
        }
        if more_comes && matches!(end.reason, EndReason::NotYet { .. }) && self.source.end().is_some() {
            return Ok(false);
        }
        // A record that seems to go further, or does: a whole one behind its begin says that its length is
        // bad.
        let mut search = Search::new(*end, end.at, false);
        self.search_segments(&mut search)?;
        Ok(search.first_whole.is_some_and(|whole| whole <= upto))
    }

    /// The error that an end is if something outside of the log proves that it was durable beyond it.
    pub fn damage_at(&self, end: &EndOfWal, proven_flush: Lsn) -> ReadError {
        self.corrupt(end.reason, end.at, proven_flush)
    }

    /// A bad spot below a proven flush point.
    pub(super) fn corrupt(&self, reason: EndReason, at: Lsn, proven_flush: Lsn) -> ReadError {
        ReadError::Corrupt { reason, at, place: self.source.place_of(reason.at()), proven_flush }
    }

    /// Goes on at `at` without forgetting the bytes at hand, which do not change meanwhile.
    fn step_to(&mut self, at: Lsn) {
        self.next = at;
        self.previous = None;
        self.assembly = None;
        self.given_up = None;
    }

    /// Where the bad spot certainly ends: a proof must cover all of it, since any part of it may be the bad
    /// one.
    pub fn bad_upto(&mut self, end: &EndOfWal) -> Lsn {
        let Damage { at, defect } = match end.reason {
            EndReason::NotYet { at } => return at + 1,
            EndReason::Invalid(damage) => damage,
        };
        match defect {
            Defect::Record(_) | Defect::Previous { .. } | Defect::PreviousAhead { .. } => {
                let offset = at.page_offset();
                let length = self
                    .page_range(at.page_start(), offset + 4)
                    .ok()
                    .and_then(|range| self.chunk.get(range.start + offset..))
                    .and_then(|bytes| Fields::new(bytes).u32().ok())
                    .unwrap_or(0)
                    .clamp(RECORD_HEADER_SIZE as u32, self.options.record_size_max);
                record_end(at, length, self.options.segment_size)
            }
            Defect::NoRecord | Defect::LengthTooShort { .. } | Defect::LengthTooLong { .. } => {
                // The length never leaves its page.
                (at + RECORD_HEADER_SIZE as u64).min(at.page_start() + PAGE_SIZE as u64)
            }
            _ => at + header_size_at(at, self.options.segment_size) as u64,
        }
    }

    pub(super) fn search_segments(&mut self, search: &mut Search) -> Result<(), SourceError> {
        let size = self.options.segment_size;
        let first = size.segment_of(search.end);
        self.search_pages(first, search)?;
        let mut later = self.source.segments_behind(first)?;
        // The source may know none.
        later.push(size.segment_of(search.bad_page));
        later.sort_unstable();
        later.dedup();
        // One that nobody can read says nothing, and the next one may.
        for segment in later.into_iter().filter(|segment| *segment > first) {
            if search.is_over() {
                return Ok(());
            }
            let (start, begun) = (size.start_of(segment), self.has_begun_segment(segment)?);
            if let Some(stated_at) = begun
                && search.for_proof
                && search.bad_upto <= start
            {
                search.proof = Some(FlushProof { flushed: start, stated_at });
            } else if begun.is_some() || segment == size.segment_of(search.bad_page) {
                self.search_pages(segment, search)?;
            }
        }
        Ok(())
    }

    /// The last segment behind `segment` that has begun: those before it were durable to their ends on the
    /// node that wrote them. Few pages of each are looked at.
    ///
    /// # Errors
    /// Fails if a file cannot be read.
    pub fn last_begun_behind(
        &mut self,
        segment: SegmentNumber,
    ) -> Result<Option<SegmentNumber>, SourceError> {
        for later in self.source.segments_behind(segment)?.into_iter().rev() {
            if self.has_begun_segment(later)?.is_some() {
                return Ok(Some(later));
            }
        }
        Ok(None)
    }

    /// Looks on each page of a segment from the end of the log on.
    pub(super) fn search_pages(
        &mut self,
        segment: SegmentNumber,
        search: &mut Search,
    ) -> Result<(), SourceError> {
        let size = self.options.segment_size;
        let mut page = size.start_of(segment).max(search.end.page_start());
        // A segment that is nowhere is looked for once, not once a page: that may ask an archive.
        let first = self.page_range(page, 1);
        if matches!(first, Err(Stop::Starved(_) | Stop::Source(SourceError::Missing { .. }))) {
            return Ok(());
        }
        while page < size.start_of(segment.next()) && !search.is_over() {
            self.search_page(page, search)?;
            page = page + PAGE_SIZE as u64;
        }
        Ok(())
    }

    /// A page of this log in a later segment: not its first one alone is asked, since that may be the damage.
    /// Few are, each four times as far as the one before, for many segments are made ahead.
    pub(super) fn has_begun_segment(&mut self, segment: SegmentNumber) -> Result<Option<Lsn>, SourceError> {
        let size = self.options.segment_size;
        let (start, end) = (size.start_of(segment), size.start_of(segment.next()));
        if self.is_of_another_system(start) {
            return Ok(None);
        }
        let mut page = start;
        while page < end {
            if self.is_ours(page)? {
                return Ok(Some(page));
            }
            page = start + (page.bytes_since(start) * 4).max(PAGE_SIZE as u64);
        }
        Ok(None)
    }

    /// Whether a segment begins as one of another cluster does, and not of this one with a bit flipped.
    fn is_of_another_system(&mut self, start: Lsn) -> bool {
        self.verified = None;
        match self.page_header(start) {
            Err(Stop::Bad(Damage {
                defect: Defect::Page(PageDefect::SystemId { expected, found }), ..
            })) => (expected.get() ^ found.get()).count_ones() > 1,
            _ => false,
        }
    }

    /// Whether a page of this log, and not an older one or zeros, is at `page`.
    pub(super) fn is_ours(&mut self, page: Lsn) -> Result<bool, SourceError> {
        // What was verified last may lie behind: only pages that are read in order tell of a timeline's
        // change.
        self.verified = None;
        match self.page_header(page) {
            Ok(_) => Ok(true),
            Err(Stop::Source(error @ SourceError::Io { .. })) => Err(error),
            Err(_) => Ok(false),
        }
    }

    fn search_page(&mut self, page: Lsn, search: &mut Search) -> Result<(), SourceError> {
        let is_ours = self.is_ours(page)?;
        // An older page in the place of a bad one has no records with links that fit.
        if !is_ours && page != search.bad_page && page != search.end.page_start() {
            return Ok(());
        }
        if is_ours {
            self.note_bytes(page, search);
        }
        let page_end = page + PAGE_SIZE as u64;
        let mut at = self.first_place_on(page, is_ours, search);
        while at < page_end && !search.is_over() {
            at = match self.follower_at(at, is_ours, search)? {
                Some(record) => {
                    search.note(&record);
                    // A switch ends far behind; its segment is read to the end all the same.
                    if record.is_switch() { at + RECORD_HEADER_SIZE as u64 } else { record.end() }
                }
                None => self.place_behind(at, search)?,
            };
        }
        Ok(())
    }

    /// Notes the last byte on a page that is no zero.
    fn note_bytes(&mut self, page: Lsn, search: &mut Search) {
        let begin = search.end.max(page);
        if let Ok(range) = self.page_range(page, begin.page_offset() + 1) {
            let bytes = self.chunk.get(range.start + begin.page_offset()..range.end).unwrap_or_default();
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                search.cut.upto = begin + last as u64 + 1;
            }
        }
    }

    /// Where the first record behind the end begins on a page, or behind the page.
    fn first_place_on(&mut self, page: Lsn, is_ours: bool, search: &Search) -> Lsn {
        let size = self.options.segment_size;
        if search.end > page {
            return record_start(search.end, size);
        }
        // The header of the page on which the reading stopped may be what is bad.
        let is_believed = is_ours && page != search.bad_page;
        match self.page_header(page) {
            Ok(header) if is_believed && header.flags.has(PageFlags::CONTRECORD) => {
                let rest = u64::from(header.remaining).min(PAGE_SIZE as u64);
                (page + header.size() as u64 + rest).aligned()
            }
            Ok(_) if is_believed => record_start(page, size),
            _ => record_start(page, size).max(search.stated_upto),
        }
    }

    /// The whole record at `at`, if it follows others behind the end.
    fn follower_at(
        &mut self,
        at: Lsn,
        is_ours: bool,
        search: &Search,
    ) -> Result<Option<Record>, SourceError> {
        if !is_ours {
            return self.follower_from_page(at, search);
        }
        self.step_to(at);
        match self.read_record() {
            Ok(record) if at > search.end && record.previous() >= search.end => Ok(Some(record)),
            Err(Stop::Source(error @ SourceError::Io { .. })) => Err(error),
            _ => Ok(None),
        }
    }

    /// The same for one on a page whose header is not asked: it lies on that page, or its own header is split
    /// by the page's end. The next page says that, whose header is no client's to choose.
    fn follower_from_page(&mut self, at: Lsn, search: &Search) -> Result<Option<Record>, SourceError> {
        let page_end = at.page_start() + PAGE_SIZE as u64;
        let Some(mut bytes) = self.rest_of_page(at) else { return Ok(None) };
        if at + RECORD_HEADER_SIZE as u64 > page_end {
            if !self.is_ours(page_end)? {
                return Ok(None);
            }
            let Ok(header) = self.page_header(page_end) else { return Ok(None) };
            let rest = usize::try_from(header.remaining).unwrap_or(PAGE_SIZE);
            let Some(next) = self.rest_of_page(page_end + header.size() as u64) else { return Ok(None) };
            bytes = [&bytes, next.get(..rest).unwrap_or_default()].concat().into();
        }
        let Some(header) = plausible_header(&bytes, self.options.record_size_max) else { return Ok(None) };
        if header.previous < search.end || header.previous >= at {
            return Ok(None);
        }
        let end = record_end(at, header.length, self.options.segment_size);
        Ok(whole_record(&bytes, at, end, header.length))
    }

    fn rest_of_page(&mut self, at: Lsn) -> Option<Bytes> {
        let range = self.page_range(at.page_start(), PAGE_SIZE).ok()?;
        Some(self.chunk.slice(range.start + at.page_offset()..range.end))
    }

    /// Where the next record may be, on the page with one at `at` that is not whole, or behind that page.
    fn place_behind(&mut self, at: Lsn, search: &mut Search) -> Result<Lsn, SourceError> {
        let page_end = at.page_start() + PAGE_SIZE as u64;
        if let Some(end) = self.stated_end(at, search) {
            search.stated_upto = search.stated_upto.max(end);
            return Ok(end.min(page_end));
        }
        let mut at = at + 8;
        while at < page_end && self.follower_from_page(at, search)?.is_none() {
            self.stated_end(at, search);
            at = at + 8;
        }
        Ok(at)
    }

    /// The end that a record states which is not whole.
    fn stated_end(&mut self, at: Lsn, search: &mut Search) -> Option<Lsn> {
        let size = self.options.segment_size;
        let length = self.stated_length(at, search)?;
        search.states_another |= at > record_start(search.end, size);
        Some(record_end(at, length, size))
    }

    /// The length that a record states in a header that fits its place, if the headers behind that one, which
    /// lie on its page, add up to it.
    fn stated_length(&mut self, at: Lsn, search: &Search) -> Option<u32> {
        let range = self.page_range(at.page_start(), PAGE_SIZE).ok()?;
        let bytes = self.chunk.get(range.start + at.page_offset()..range.end)?;
        let header = plausible_header(bytes, self.options.record_size_max)?;
        let is_linked = if at > record_start(search.end, self.options.segment_size) {
            header.previous >= search.end && header.previous < at
        } else {
            search.previous.map_or(header.previous < at, |previous| header.previous == previous)
        };
        (is_linked && announces(bytes, header.length)).then_some(header.length)
    }
}

/// A header at the begin of `bytes` that a record may have: a length within bounds, and a kind that there is.
pub(super) fn plausible_header(bytes: &[u8], record_size_max: u32) -> Option<RecordHeader> {
    let header = RecordHeader::decode(bytes).ok()?;
    let fits = (RECORD_HEADER_SIZE as u32..=record_size_max).contains(&header.length);
    (fits && Rmgr::from_number(header.rmgr_number).is_some()).then_some(header)
}

/// The record that begins `bytes`, if all `length` bytes of it are there and its checksum is right.
pub(super) fn whole_record(bytes: &Bytes, start: Lsn, end: Lsn, length: u32) -> Option<Record> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let is_here = bytes.len() >= length;
    is_here.then(|| Record::decode(start, end, bytes.slice(..length)).ok()).flatten()
}

impl Search {
    fn new(log: EndOfWal, bad_upto: Lsn, for_proof: bool) -> Self {
        let (end, bad_page) = (log.at, log.reason.at().page_start());
        let cut = CutTail { from: end, upto: end, whole_records: 0 };
        Self {
            log,
            end,
            bad_page,
            bad_upto,
            previous: None,
            for_proof,
            stated_upto: end,
            switches_finish_upto: None,
            states_another: false,
            proof: None,
            cut,
            first_whole: None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.for_proof && self.proof.is_some()
    }

    fn note(&mut self, record: &Record) {
        self.cut.whole_records += 1;
        self.first_whole.get_or_insert(record.end());
        self.cut.upto = self.cut.upto.max(record.end());
        let finishes =
            record.is_switch() && self.switches_finish_upto.is_some_and(|upto| record.start() < upto);
        let stated = xact::proven_flush(record).or(finishes.then_some(record.end()));
        if let Some(flushed) = stated.filter(|flushed| self.log.is_disproved_by(*flushed)) {
            self.proof = Some(FlushProof { flushed, stated_at: record.start() });
        }
    }
}
