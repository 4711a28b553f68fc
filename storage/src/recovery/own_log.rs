//! The log of a primary whose directory becomes a standby's: it is this node's own, and was acknowledged.

use super::begin::{Found, find_checkpoint};
use super::open::Opening;
use super::replay::Replay;
use crate::Error;
use crate::error::read_error;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::Ordering;
use wal::control::ClusterState;
use wal::history::TimelineHistory;
use wal::page::record_end;
use wal::reader::{CutTail, EndOfWal};
use wal::timelines::{RecoveryStart, TargetTimeline};
use wal::xlog::CHECKPOINT_RECORD_SIZE;
use wal::{Lsn, SegmentNumber, TimelineId};

impl Opening {
    /// The end of the log of a primary that was stopped: that of its last checkpoint. It was durable when the
    /// control file named it, whether or not it can be read here; its length is always the same.
    pub(super) fn stopped_end(&mut self) -> (TimelineId, Lsn) {
        let (checkpoint, timeline, size) = {
            let control = self.engine.control.lock();
            (control.checkpoint, control.checkpoint_copy.timeline, control.segment_size)
        };
        self.reader.source_mut().use_supply(false);
        let found = find_checkpoint(&mut self.reader, checkpoint);
        self.reader.source_mut().use_supply(true);
        match found {
            Ok(Found::Checkpoint { end, .. }) => (timeline, end),
            _ => (timeline, record_end(checkpoint, CHECKPOINT_RECORD_SIZE, size)),
        }
    }

    /// Reads the record of the checkpoint that the control file names. That of a primary that was not stopped
    /// is its own: where it cannot be read, the archive may have it whole.
    pub(super) fn own_checkpoint(&mut self) -> Result<Found, Error> {
        let checkpoint = self.engine.control.lock().checkpoint;
        let found = find_checkpoint(&mut self.reader, checkpoint);
        let is_asked = match &found {
            Ok(Found::Checkpoint { .. }) => false,
            Ok(_) => true,
            Err(error) => bad_log(error).is_some(),
        };
        if !self.is_own
            || !is_asked
            || !self.fetch_damaged(checkpoint..checkpoint + 1, &mut BTreeSet::new())?
        {
            return found;
        }
        find_checkpoint(&mut self.reader, checkpoint)
    }

    /// What this node wrote and acknowledged counts as what it received: it is told if it is lost, and
    /// nothing else takes its place.
    pub(super) fn mark_own(&self, timeline: TimelineId, upto: Lsn) {
        self.engine.branch.flushed(timeline, upto);
        self.engine.branch.keep_received();
    }

    /// A primary that crashed and now follows another: its pages may be as new as the end of its own log, so
    /// nobody reads before that is redone, and only then is anything asked of the archive or another server.
    /// The log goes on along `later`, or the latest timeline by now, if that contains all of it.
    pub(super) fn redo_own_log(
        &mut self,
        replay: &mut Replay,
        checkpoint_end: Lsn,
        later: TimelineHistory,
    ) -> Result<(), Error> {
        self.engine.recovery.in_own_log.store(true, Ordering::Release);
        let (end, tail) = self.redo_to_own_end(replay, checkpoint_end)?;
        self.engine.check_opening()?;
        self.engine.recovery.in_own_log.store(false, Ordering::Release);
        let later = if self.engine.options.recovery.follows_latest {
            let start =
                RecoveryStart::found(&self.engine.control.lock(), None, None).after_own_log(replay.at);
            let chosen = start.choose(&self.engine.host.disk, &self.engine.wal_dir(), TargetTimeline::Latest);
            chosen.map_err(|error| Error::Unusable(error.to_string()))?
        } else {
            later
        };
        let mut control = self.engine.control.lock().clone();
        control.state = ClusterState::InArchiveRecovery;
        // A copy's pages may be newer than its log.
        if replay.at >= control.min_recovery_point {
            control.min_recovery_point = replay.at;
            control.min_recovery_point_timeline = replay.timeline;
        }
        // As long as it is refused, nothing changes: the log is this node's own at the next start, too.
        let start = RecoveryStart::found(&control, None, None);
        start.check(&later).map_err(|error| Error::Unusable(error.to_string()))?;
        self.record_cut(tail.as_ref(), &end)?;
        if self.reader.source().history().target() != later.target() {
            self.reader.source_mut().set_history(later);
        }
        self.record_branch()?;
        self.mark_own(replay.timeline, replay.at);
        self.reader.source_mut().let_gaps_end_the_log(self.may_come);
        self.read_on(replay);
        self.engine.update_control(|now| {
            now.state = control.state;
            now.min_recovery_point = control.min_recovery_point;
            now.min_recovery_point_timeline = control.min_recovery_point_timeline;
        })?;
        replay.check_consistent()
    }

    /// Redoes the own log to its end, and gives that and what lies behind it. Where something is bad below
    /// the point to which it was durable, the archive may have it whole: it is asked for each segment once.
    fn redo_to_own_end(
        &mut self,
        replay: &mut Replay,
        checkpoint_end: Lsn,
    ) -> Result<(EndOfWal, Option<CutTail>), Error> {
        let mut asked = BTreeSet::new();
        loop {
            // What it may follow, and which of its pages are sound, hangs on where its log ends.
            let (bad, damage) = match self.redo_all(replay) {
                Ok(end) => match self.damage_below(replay, &end, checkpoint_end)? {
                    Ok(tail) => return Ok((end, tail)),
                    Err(damage) => (self.reader.bad_upto(&end), damage),
                },
                Err(error) => match bad_log(&error) {
                    Some(at) => (at + 1, error),
                    None => return Err(error),
                },
            };
            self.engine.check_opening()?;
            // Whatever is bad of a record: its rest may be so, too, and each of them is seen only once what
            // comes before it is whole.
            if !self.fetch_damaged(replay.at..bad.max(replay.at + 1), &mut asked)? {
                return Err(damage);
            }
            self.read_on(replay);
        }
    }

    /// What lies behind the end of the own log, or the damage that this end is.
    fn damage_below(
        &mut self,
        replay: &Replay,
        end: &EndOfWal,
        checkpoint_end: Lsn,
    ) -> Result<Result<Option<CutTail>, Error>, Error> {
        if let Err(damage) = self.check_reached(end, checkpoint_end) {
            return Ok(Err(damage));
        }
        if !self.copied {
            self.check_backup_whole(replay)?;
        }
        Ok(self.look_behind(end)?.map_err(read_error))
    }

    /// Reads on from where the log is redone.
    fn read_on(&mut self, replay: &Replay) {
        self.reader.seek(replay.at, Some(replay.last_record).filter(|last| last.is_valid()));
    }

    /// Asks the supply for the segments of this part of the log, in which something is bad, and for the one
    /// behind, where the rest of a record may be, unless it was `asked` before; false if none can be asked
    /// for. Only for those that were durable to their end: of the last the archive may have more than this
    /// node wrote, along a branch that is another by now.
    fn fetch_damaged(&mut self, bad: Range<Lsn>, asked: &mut BTreeSet<SegmentNumber>) -> Result<bool, Error> {
        let size = self.engine.control.lock().segment_size;
        let finished = self.finished_behind(bad.start)?;
        let mut segment = size.segment_of(bad.start);
        let last = size.segment_of(bad.end).max(segment).next();
        let mut is_asked = false;
        while segment <= last && size.start_of(segment.next()) <= finished {
            self.engine.check_opening()?;
            if asked.insert(segment) {
                let (start, end) = (size.start_of(segment), size.start_of(segment.next()));
                let again = self.reader.source_mut().fetch_again(start.max(bad.start), end);
                is_asked |= again.map_err(|error| read_error(error.into()))?;
            }
            segment = segment.next();
        }
        Ok(is_asked)
    }

    /// The end of the last finished segment: a later one has begun, it has a mark for the archive, or the log
    /// was durable further.
    fn finished_behind(&mut self, at: Lsn) -> Result<Lsn, Error> {
        let timeline = self.reader.source().history().target();
        let (marked, size) = self.of_marks(|marks, size| Ok((marks.flushed(timeline, size)?, size)))?;
        let marked = marked.max(size.start_of(size.segment_of(self.own_flush()?)));
        let begun = self.reader.last_begun_behind(size.segment_of(at));
        let begun = begun.map_err(|error| read_error(error.into()))?;
        Ok(begun.map_or(marked, |begun| size.start_of(begun).max(marked)))
    }
}

/// Where the log is bad, or gone, if that is why it could not be read.
fn bad_log(error: &Error) -> Option<Lsn> {
    match error {
        Error::Corrupt(bad) => bad.lsn.filter(|_| bad.block.is_none()),
        Error::MissingLog { at, .. } => Some(*at),
        _ => None,
    }
}
