//! The end of a log that came from an archive.
//!
//! Who archives a segment has finished it, and made all of it durable: one that cannot be read to its end is
//! damaged. A file may be in an archive that is not finished (somebody copied it by hand from a server that
//! was killed, or it is pg_receivewal's `.partial`), so that its contents must say that it is:
//! - a switch of segments is in it, or
//! - its last page is of this log, and full: a record goes on behind it, or ends with it.
//!
//! Who copies a whole folder copies also what was made ahead there. Where a file lies behind, and has not
//! begun, neither the files nor what is said of them are of an archive.
//!
//! The record with which a finished file ends may go on in one that is nowhere. That the log ends there is no
//! damage, unless something lies behind that record's begin in the same file.

use super::proof::{FlushProof, Search, plausible_header, whole_record};
use super::{EndOfWal, EndReason, Next, ReadError, SegmentFiles, SourceError, WalReader};
use crate::ids::{Lsn, SegmentNumber};
use crate::page::{PAGE_SIZE, PageFlags, record_end, record_start};
use crate::record::{RECORD_HEADER_SIZE, announces};

/// What an end of the log is that was found where files of an archive are read.
#[derive(Debug)]
pub enum ArchivedEnd {
    /// Nothing says that the log went on.
    Ends,
    /// It went on, and something in the archive's files is bad.
    Damaged(ReadError),
    /// The same, but the archive has more of it than when the segment was fetched: the reader goes on.
    Grown(ReadError),
}

impl WalReader<SegmentFiles> {
    /// Whether a log that a supply, an archive, has may end like this. Who archived a segment had made all of
    /// it durable, so that the proofs of who wrote the log hold for its files ([`WalReader::verify_end`]),
    /// unless they have grown since they were fetched. A segment that is nowhere ends the log. `came_whole`:
    /// files that the supply does not have came in no other way that leaves them torn.
    ///
    /// Asks the supply for the segment behind the bad place, and where there is a proof for the bad ones once
    /// more; for nothing from then on unless the reader goes on, which has no position otherwise.
    ///
    /// # Errors
    /// Fails if the supply or the files cannot be read.
    pub fn archived_end(&mut self, end: &EndOfWal, came_whole: bool) -> Result<ArchivedEnd, SourceError> {
        let (size, previous) = (self.options.segment_size, self.previous);
        self.source.use_supply(false);
        let upto = self.bad_upto(end);
        let (first, last) = (size.segment_of(end.at), size.segment_of(upto - 1));
        let begin_was = self.source.were_supplied(end.at, first);
        // A segment that is nowhere ends the log, whatever the archive has behind it.
        if begin_was || (came_whole && self.source.was_archived(end.at, end.at, true)?) {
            self.fetch_behind(first, last)?;
        }
        let Some(damage) = self.disproved(end, upto, came_whole)? else { return Ok(ArchivedEnd::Ends) };
        if !begin_was {
            return Ok(ArchivedEnd::Damaged(damage));
        }
        let begin = end.broken.map_or(end.at, |broken| broken.start);
        self.source.use_supply(true);
        self.seek(begin, previous);
        match self.next() {
            Ok(Next::Record(_)) => {
                self.seek(begin, previous);
                return Ok(ArchivedEnd::Grown(damage));
            }
            Err(ReadError::Source(error @ SourceError::Io { .. })) => return Err(error),
            Ok(Next::End(_)) | Err(ReadError::Corrupt { .. } | ReadError::Source(_)) => {}
        }
        self.source.use_supply(false);
        Ok(ArchivedEnd::Damaged(damage))
    }

    /// Asks the supply for what a broken record of `first` states to go on in, and for the segment behind.
    fn fetch_behind(&mut self, first: SegmentNumber, last: SegmentNumber) -> Result<(), SourceError> {
        let size = self.options.segment_size;
        let mut segment = first;
        loop {
            segment = segment.next();
            match self.source.fetch_again(size.start_of(segment), Lsn::INVALID) {
                Ok(_) | Err(SourceError::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
            if segment > last || !self.source.were_supplied(size.start_of(segment), segment) {
                return Ok(());
            }
        }
    }

    /// Why it is damage. `bad_upto`: where the bad spot ends.
    fn disproved(
        &mut self,
        end: &EndOfWal,
        bad_upto: Lsn,
        came_whole: bool,
    ) -> Result<Option<ReadError>, SourceError> {
        let size = self.options.segment_size;
        let (first, last) = (size.segment_of(end.at), size.segment_of(bad_upto - 1));
        let finished_upto = self.archived_upto(end.at, came_whole)?;
        let is_archived = |reader: &Self, segment: SegmentNumber| {
            reader.source.were_supplied(end.at, segment)
                || finished_upto.is_some_and(|upto| size.start_of(segment.next()) <= upto)
        };
        // A record may seem to go on in a segment that is nowhere: its length may be bad. Only a record in
        // what is here of it says so; what is behind the gap ends with it.
        let all_is_here = came_whole || self.source.were_supplied(end.at, last);
        let mut search = self.search_for_proof(end, if all_is_here { bad_upto } else { end.at });
        search.switches_finish_upto = finished_upto;
        if all_is_here {
            self.search_segments(&mut search)?;
        } else {
            let mut segment = first;
            while is_archived(self, segment) && !search.is_over() {
                self.search_pages(segment, &mut search)?;
                segment = segment.next();
            }
        }
        if search.proof.is_none() {
            // A record that goes on in a file that nobody finished may be torn there.
            let ends_in = if matches!(end.reason, EndReason::NotYet { .. }) { first } else { last };
            let file_end = size.start_of(ends_in.next());
            if finished_upto.is_some_and(|upto| file_end <= upto) {
                search.proof = self.full_file(end, &search, file_end)?;
            }
        }
        let reason = match end.reason {
            EndReason::NotYet { .. } => EndReason::NotYet { at: record_start(end.at, size) },
            invalid @ EndReason::Invalid(_) => invalid,
        };
        Ok(search.proof.map(|proof| self.corrupt(reason, end.at, proof.flushed)))
    }

    /// Up to where files in a row, from that with `from` on, came from an archive, and nothing speaks against
    /// it; None if the first did not.
    fn archived_upto(&mut self, from: Lsn, came_whole: bool) -> Result<Option<Lsn>, SourceError> {
        let size = self.options.segment_size;
        let first = size.segment_of(from);
        let mut behind = first;
        while self.source.was_archived(size.start_of(behind).max(from), from, came_whole)? {
            behind = behind.next();
        }
        let mut upto = behind;
        while upto > first.next() && self.has_begun_segment(SegmentNumber::new(upto.get() - 1))?.is_none() {
            upto = SegmentNumber::new(upto.get() - 1);
        }
        if upto < behind {
            upto = SegmentNumber::new(upto.get() - 1);
        }
        Ok((upto > first).then(|| size.start_of(upto)))
    }

    /// The proof that the file which ends at `file_end`, in which the bad spot ends, is finished, though no
    /// switch is in it.
    fn full_file(
        &mut self,
        end: &EndOfWal,
        search: &Search,
        file_end: Lsn,
    ) -> Result<Option<FlushProof>, SourceError> {
        let is_natural = matches!(end.reason, EndReason::NotYet { .. })
            && search.cut.whole_records == 0
            && !search.states_another;
        let page = file_end - PAGE_SIZE as u64;
        let is_full = !is_natural && self.is_full(page, end)?;
        Ok(is_full.then_some(FlushProof { flushed: file_end, stated_at: page }))
    }

    /// Whether the last page of a file is full.
    fn is_full(&mut self, page: Lsn, end: &EndOfWal) -> Result<bool, SourceError> {
        let (size, page_end) = (self.options.segment_size, page + PAGE_SIZE as u64);
        let (is_ours, is_bad) = (self.is_ours(page)?, page == end.reason.at().page_start());
        if !is_ours && !is_bad {
            return Ok(false);
        }
        let mut at = record_start(page, size);
        // A record begins here, since one ends before it.
        let mut follows = is_ours && !is_bad;
        if is_ours
            && let Ok(header) = self.page_header(page)
            && header.flags.has(PageFlags::CONTRECORD)
        {
            // Behind the page, if it goes on there.
            at = (page + header.size() as u64 + u64::from(header.remaining)).aligned();
        }
        let Ok(range) = self.page_range(page, PAGE_SIZE) else { return Ok(false) };
        let bytes = self.chunk.slice(range);
        let is_written =
            |at: Lsn| bytes.get(at.page_offset()..).is_some_and(|rest| rest.iter().any(|byte| *byte != 0));
        let mut previous = None;
        while at + RECORD_HEADER_SIZE as u64 <= page_end {
            let here = bytes.slice(at.page_offset()..);
            at = match self.length_behind(&here, at, previous) {
                Some(length) if record_end(at, length, size) > page_end => {
                    // What follows no whole one is believed only if it is there to the end.
                    return Ok(follows || is_written(page_end - 8));
                }
                Some(length) if whole_record(&here, at, at, length).is_some() => {
                    (follows, previous) = (true, Some(at));
                    record_end(at, length, size)
                }
                _ => {
                    (follows, previous) = (false, None);
                    at + 8
                }
            };
        }
        // The begin of a header, or none is left over.
        Ok(at > page_end || (at == page_end && follows) || (at < page_end && is_written(at)))
    }

    /// The length that the header of a record states that begins at `at`, if it can be one behind `previous`.
    fn length_behind(&self, bytes: &[u8], at: Lsn, previous: Option<Lsn>) -> Option<u32> {
        let header = plausible_header(bytes, self.options.record_size_max)?;
        let is_linked = previous.map_or(header.previous < at, |previous| header.previous == previous);
        (is_linked && announces(bytes, header.length)).then_some(header.length)
    }
}
