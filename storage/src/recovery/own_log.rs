//! The log of a primary whose directory becomes a standby's: it is this node's own, and was acknowledged.

use super::begin::{Found, find_checkpoint};
use super::open::Opening;
use super::replay::Replay;
use crate::Error;
use crate::error::read_error;
use std::ops::Range;
use std::sync::atomic::Ordering;
use wal::control::ClusterState;
use wal::history::TimelineHistory;
use wal::reader::{CutTail, EndOfWal, SourceError};
use wal::timelines::{RecoveryStart, TargetTimeline};
use wal::{Lsn, TimelineId};

impl Opening {
    /// The end of the log of a primary that was stopped: that of its last checkpoint. None if that cannot be
    /// read here; it may come from elsewhere.
    pub(super) fn stopped_end(&mut self) -> Option<(TimelineId, Lsn)> {
        let (checkpoint, timeline) = {
            let control = self.engine.control.lock();
            (control.checkpoint, control.checkpoint_copy.timeline)
        };
        self.reader.source_mut().use_supply(false);
        let found = find_checkpoint(&mut self.reader, checkpoint);
        self.reader.source_mut().use_supply(true);
        match found {
            Ok(Found::Checkpoint { end, .. }) => Some((timeline, end)),
            _ => None,
        }
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
    /// the point to which it was durable, the archive may have it whole.
    fn redo_to_own_end(
        &mut self,
        replay: &mut Replay,
        checkpoint_end: Lsn,
    ) -> Result<(EndOfWal, Option<CutTail>), Error> {
        let mut asked_at = None;
        loop {
            // What it may follow, and which of its pages are sound, hangs on where its log ends.
            let (bad, damage) = match self.redo_all(replay) {
                Ok(end) => {
                    self.check_reached(&end, checkpoint_end)?;
                    if !self.copied {
                        self.check_backup_whole(replay)?;
                    }
                    match self.look_behind(&end)? {
                        Ok(tail) => return Ok((end, tail)),
                        Err(damage) => (end.reason.at()..self.reader.bad_upto(&end), read_error(damage)),
                    }
                }
                Err(error) => match bad_log(&error) {
                    Some(at) => (at..at + 1, error),
                    None => return Err(error),
                },
            };
            if asked_at.replace(replay.at) == Some(replay.at) || !self.fetch_damaged(bad, replay.at)? {
                return Err(damage);
            }
            self.read_on(replay);
        }
    }

    /// Reads on from where the log is redone.
    fn read_on(&mut self, replay: &Replay) {
        self.reader.seek(replay.at, Some(replay.last_record).filter(|last| last.is_valid()));
    }

    /// Asks the supply for the segments in which this part of the log is bad, behind the last record's end at
    /// `at`; false if none can be asked for. Only for those that were durable to their end, since a later one
    /// has begun: of the last the archive may have more than this node wrote, along a branch that is another
    /// by now.
    fn fetch_damaged(&mut self, bad: Range<Lsn>, at: Lsn) -> Result<bool, Error> {
        let size = self.engine.control.lock().segment_size;
        let failed = |error: SourceError| read_error(error.into());
        let upto = self.reader.tail_behind(at).map_err(failed)?.upto;
        let (mut segment, mut is_asked) = (size.segment_of(bad.start), false);
        // The rest of a record may be in the next segment, and be what is bad.
        while size.start_of(segment) <= bad.end.max(size.start_of(size.segment_of(bad.start).next())) {
            let (start, end) = (size.start_of(segment), size.start_of(segment.next()));
            if upto <= end {
                break;
            }
            is_asked |= self.reader.source_mut().fetch_again(start.max(bad.start), end).map_err(failed)?;
            segment = segment.next();
        }
        Ok(is_asked)
    }
}

/// Where the log is bad, if that is why its redo has failed.
fn bad_log(error: &Error) -> Option<Lsn> {
    match error {
        Error::Corrupt(bad) => bad.lsn.filter(|_| bad.block.is_none()),
        _ => None,
    }
}
