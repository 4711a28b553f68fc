//! Where a report begins to read the log, and what it knows of transactions that had begun by then.
//!
//! Rows of a large transaction go into pages before its commit, under xids of their own, its parts. Two
//! things of before the base's redo point matter to what is told:
//!
//! - rows of one that was open there and commits behind the fork: its commit goes, with all of its changes;
//! - parts that had come to nothing: their versions stay in pages till a sweep, and were never anybody's old
//!   row. The state page lists them, and each change of that list is in the log.
//!
//! The reading of the log that finds the blocks which it changes looks for both. If it misses something, the
//! report begins at an older checkpoint, as far as the log lies here without a gap: a transaction whose xids
//! are not below a checkpoint's next xid has written nothing before that one's redo point. With no checkpoint
//! left it begins at the oldest whole record. Pages are as right from there: each record that changes a page
//! first after a redo point has the page's image, and a page out of its file is told from one that is as the
//! record left it. What is missing still when the log is gone is told as partial, or as unknown.

use crate::error::RewindError;
use crate::past::Past;
use crate::target::{Checkpoint, Divergence, Target, is_there};
use std::collections::BTreeSet;
use storage::EarlyXids;
use storage::state::STATE_FILE;
use wal::reader::Next;
use wal::xact::{XactEnd, XactRecord};
use wal::{BlockNumber, Lsn, Record, Rmgr, SegmentNumber, Xid};

/// What a transaction's last record says, and whether it took effect.
pub(crate) fn outcome(record: &Record) -> Option<(XactEnd, bool)> {
    if record.rmgr() != Rmgr::XACT {
        return None;
    }
    match XactRecord::parse(record) {
        Ok(XactRecord::Commit(end)) => Some((end, true)),
        Ok(XactRecord::Abort(end)) => Some((end, false)),
        _ => None,
    }
}

/// The oldest xid that was open at a checkpoint's redo point; its next one if there was none.
fn oldest_open(checkpoint: &Checkpoint) -> Xid {
    let (next, oldest) = (checkpoint.contents.next_xid, checkpoint.contents.oldest_active_xid);
    match (oldest, Xid::from_low(oldest, next)) {
        // A shutdown checkpoint says so.
        (0, _) => next,
        // It is older than its low half can say.
        (_, far) if far > next => Xid::INVALID,
        (_, oldest) => oldest,
    }
}

/// The first list of early xids that a part of the log has.
#[derive(Clone, Debug)]
struct Listed {
    aborted: Vec<Xid>,
    /// The end of its record, if that may have taken swept ones off the list: of these nothing tells.
    doubt_until: Lsn,
}

/// What a part of the log tells of transactions that had begun before it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The next xid where it begins, and by now.
    first: Xid,
    next: Xid,
    /// The oldest that was open where it begins.
    oldest_open: Xid,
    /// The lowest of those that commit behind the fork.
    lowest: Option<Xid>,
    /// The xid of the first commit: it was the next one then.
    first_commit: Option<Xid>,
    /// One of them has ended: the next list says so, and leaves out nothing else.
    has_ended: bool,
    listed: Option<Listed>,
}

impl Seen {
    /// Of the log from a checkpoint's redo point on.
    pub(crate) fn from(checkpoint: &Checkpoint) -> Self {
        let first = checkpoint.contents.next_xid;
        Self {
            first,
            next: first,
            oldest_open: oldest_open(checkpoint),
            lowest: None,
            first_commit: None,
            has_ended: false,
            listed: None,
        }
    }

    /// Takes a record in; its commit goes if it ends behind `fork`.
    pub(crate) fn note(&mut self, record: &Record, fork: Lsn) {
        if let Some((end, commits)) = outcome(record) {
            let xid = end.xid(record, self.next);
            let range = self.oldest_open..self.first;
            let parts = end.parts(self.next).into_iter().chain([xid]);
            if let Some(lowest) = parts.filter(|xid| range.contains(xid)).min() {
                self.has_ended = true;
                if commits && record.end() > fork {
                    self.lowest = Some(self.lowest.map_or(lowest, |before| before.min(lowest)));
                }
            }
            if commits {
                self.first_commit.get_or_insert(xid);
                self.next = self.next.max(xid.next());
            }
        } else if self.listed.is_none()
            && let Some(EarlyXids { open, aborted }) = EarlyXids::of_record(record)
        {
            let is_known = self.has_ended || open.iter().any(|xid| *xid >= self.first);
            let doubt_until = if is_known { Lsn::INVALID } else { record.end() };
            self.listed = Some(Listed { aborted, doubt_until });
        }
    }

    /// Whether more must be read if xids from `next` on are known whole.
    fn lacks(&self, next: Xid) -> bool {
        self.lowest.is_some_and(|lowest| lowest < next)
            || self.listed.as_ref().is_some_and(|listed| listed.doubt_until.is_valid())
    }
}

/// Where to begin, and what is known there.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) at: Lsn,
    /// What has an xid from here on wrote nothing before `at`.
    pub(crate) next_xid: Xid,
    /// What has one below this had ended by the base's redo point.
    pub(crate) oldest_open: Xid,
    /// These had come to nothing.
    pub(crate) aborted: BTreeSet<Xid>,
    /// Up to here others may have, of those below `next_xid`: nothing tells which.
    pub(crate) doubt_until: Lsn,
}

impl Beginning {
    /// Whether rows of this xid may lie before the beginning, in a transaction that ends behind the base.
    pub(crate) fn is_partial(&self, xid: Xid) -> bool {
        (self.oldest_open..self.next_xid).contains(&xid)
    }
}

impl Target {
    /// Where a report of this divergence begins.
    ///
    /// # Errors
    /// Fails if the log cannot be read.
    pub(crate) fn beginning(&self, divergence: &Divergence) -> Result<Beginning, RewindError> {
        let Divergence { base, changed_from, .. } = divergence;
        let (mut seen, mut checkpoint, mut at) = (divergence.seen.clone(), *base, *changed_from);
        let mut next_xid = base.contents.next_xid;
        while seen.lacks(next_xid) {
            let Some((earlier, found)) = self.look_back(&checkpoint, at)? else { break };
            (checkpoint, at) = (earlier, at.min(earlier.contents.redo));
            next_xid = next_xid.min(earlier.contents.next_xid);
            seen.listed = found.listed.or(seen.listed);
        }
        if seen.lowest.is_some_and(|lowest| lowest < next_xid)
            && let Some((first, found)) = self.all_before(&checkpoint, at)?
        {
            at = first;
            next_xid = found.first_commit.map_or(next_xid, |commit| next_xid.min(commit.next()));
            seen.listed = found.listed.or(seen.listed);
        }
        let (aborted, doubt_until) = match seen.listed {
            Some(Listed { aborted, doubt_until }) => (aborted, doubt_until),
            // No record has changed it since.
            None => (self.aborted_on_page(divergence)?, Lsn::INVALID),
        };
        let oldest_open = oldest_open(base);
        Ok(Beginning { at, next_xid, oldest_open, aborted: aborted.into_iter().collect(), doubt_until })
    }

    fn aborted_on_page(&self, divergence: &Divergence) -> Result<Vec<Xid>, RewindError> {
        let mut past = Past::new(self, divergence);
        let page = past.page(STATE_FILE.file(), BlockNumber::new(0))?;
        Ok(page.and_then(EarlyXids::of_page).map(|xids| xids.aborted).unwrap_or_default())
    }

    /// The checkpoint before one, and what the log from its redo point to `upto` tells; None if that log is
    /// not here.
    fn look_back(&self, later: &Checkpoint, upto: Lsn) -> Result<Option<(Checkpoint, Seen)>, RewindError> {
        let found = match self.last_checkpoint_before(later.at, &|at| self.reader_of_here(at)) {
            Err(error) if error.missing_log().is_some() => return Ok(None),
            found => found?,
        };
        let seen = self.seen_between(found.contents.redo, upto, Seen::from(&found))?;
        Ok(seen.map(|seen| (found, seen)))
    }

    /// The oldest whole record from which on all log is here, and what it tells up to `upto`.
    fn all_before(&self, later: &Checkpoint, upto: Lsn) -> Result<Option<(Lsn, Seen)>, RewindError> {
        let size = self.control.segment_size;
        let mut segment = size.segment_of(upto);
        while let Some(before) = segment.get().checked_sub(1).map(SegmentNumber::new) {
            let start = size.start_of(before);
            if !is_there(&mut self.reader_of_here(start), start)? {
                break;
            }
            segment = before;
        }
        let start = size.start_of(segment);
        let Some(first) = self.reader_of_here(start).find_whole(start, upto)? else { return Ok(None) };
        let seen = self.seen_between(first.start(), upto, Seen::from(later))?;
        Ok(seen.map(|seen| (first.start(), seen)))
    }

    /// What a part of the log tells; None if it cannot be read to its end.
    fn seen_between(&self, from: Lsn, upto: Lsn, mut seen: Seen) -> Result<Option<Seen>, RewindError> {
        let (mut reader, mut at) = (self.reader_of_here(from), from);
        while at < upto {
            match reader.next() {
                Ok(Next::Record(record)) => {
                    seen.note(&record, Lsn::MAX);
                    at = record.end();
                }
                Ok(Next::End(_)) => return Ok(None),
                Err(error) => {
                    let error = RewindError::from(error);
                    return if error.missing_log().is_some() { Ok(None) } else { Err(error) };
                }
            }
        }
        Ok(Some(seen))
    }
}
