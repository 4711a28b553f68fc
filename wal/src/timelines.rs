//! Which timelines there are, which of them recovery follows, and which number a promotion takes. Recovery,
//! the preview of a restore, the look around while the log rests, and promotions all ask here; whoever opens
//! the data directory is handed the answer.
//!
//! | recovery_target_timeline | followed |
//! | ---- | ---- |
//! | `latest` | the highest number with a history that contains what the directory has |
//! | `current` | the timeline that the control file names, or a later one that was received by streaming |
//! | a number | that one; it must have a history file (1 need not) that contains what the directory has |
//!
//! A server that was not stopped redoes its own log first, along its own timeline: its pages may be as new as
//! that log's end, so only then is it known what a history must contain. It begins with `current` instead of
//! `latest`, and looks for later timelines from there; a number is checked once more there.
//!
//! A promotion takes the number above all that anybody has seen: in the directory's control file, in
//! histories and segments in pg_wal ([`newest_seen`]), in the archive ([`fetch_later`]) and at the peers.
//! Numbers so say nothing about descent; histories do.

use crate::backup_label::BackupLabel;
use crate::control::ControlFile;
use crate::history::{HistoryFileError, TimelineHistory};
use crate::ids::{Lsn, SegmentNumber, SegmentSize, TimelineId};
use crate::log_branch::BranchRecord;
use crate::position_file::LogPosition;
use crate::reader::{CutTail, Next, ReaderOptions, SegmentFiles, SourceError, WalReader};
use host::Disk;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// recovery_target_timeline
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetTimeline {
    /// The latest that continues what the directory has.
    Latest,
    /// The one that it is on.
    Current,
    /// This one.
    Number(TimelineId),
}

/// Where a data directory begins recovery, as its control file and backup_label say: the positions that a
/// history must contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryStart {
    /// The checkpoint's record, and its timeline.
    checkpoint: (Lsn, TimelineId),
    /// Up to here (exclusive), on this timeline, pages may be as new; INVALID if nothing is known.
    minimum: (Lsn, TimelineId),
    timeline: TimelineId,
    /// The one that the control file or the label names.
    named: TimelineId,
    own_log_first: bool,
    /// A standby left the directory so.
    is_standbys: bool,
    /// What its record says, if it counts.
    record: Option<BranchRecord>,
    segment_size: SegmentSize,
}

/// Why a timeline is not followed.
#[derive(Debug, thiserror::Error)]
pub enum TimelineError {
    /// A number that nobody has a history of.
    #[error("recovery target timeline {0} does not exist")]
    Missing(TimelineId),
    /// Its history leaves out the checkpoint.
    #[error(
        "requested timeline {target} is not a child of this server's history: latest checkpoint is at {checkpoint} on \
         timeline {timeline}, but in the history of the requested timeline, the server {}",
        how_forked(*.forked)
    )]
    NoChild {
        /// The one that was asked for.
        target: TimelineId,
        /// The checkpoint's record.
        checkpoint: Lsn,
        /// The checkpoint's timeline.
        timeline: TimelineId,
        /// Where the requested one left that.
        forked: Option<Lsn>,
    },
    /// Its history leaves out what pages may have.
    #[error(
        "requested timeline {target} does not contain minimum recovery point {point} on timeline {timeline}"
    )]
    WithoutMinimum {
        /// The one that was asked for.
        target: TimelineId,
        /// The point.
        point: Lsn,
        /// The point's timeline.
        timeline: TimelineId,
    },
    /// It does not continue the timeline that is replayed.
    #[error("new timeline {target} is not a child of database system timeline {current}")]
    Stranger {
        /// The new one.
        target: TimelineId,
        /// The one that is replayed.
        current: TimelineId,
    },
    /// It continues that from a point that is passed.
    #[error(
        "new timeline {target} forked off current database system timeline {current} before current recovery point \
         {replayed}"
    )]
    Passed {
        /// The new one.
        target: TimelineId,
        /// The one that is replayed.
        current: TimelineId,
        /// Replayed up to here, exclusive.
        replayed: Lsn,
    },
    /// It continues another branch that took a number of ours.
    #[error(
        "requested timeline {target} continues another branch than this server's, which took timeline {timeline} too"
    )]
    Twin {
        /// The one that was asked for, or found.
        target: TimelineId,
        /// The number that both have.
        timeline: TimelineId,
    },
    /// It leaves out log that was received here.
    #[error(
        "requested timeline {target} forked off at {fork}, behind which this server has received more of timeline \
         {timeline}"
    )]
    WithoutReceived {
        /// The one that was asked for, or found.
        target: TimelineId,
        /// What is followed here.
        timeline: TimelineId,
        /// The end of what both share.
        fork: Lsn,
    },
    /// A history could not be read.
    #[error(transparent)]
    History(#[from] HistoryFileError),
}

fn how_forked(forked: Option<Lsn>) -> String {
    match forked {
        Some(end) => format!("forked off from that timeline at {end}"),
        None => "never was on that timeline".to_owned(),
    }
}

impl RecoveryStart {
    /// Of a directory as it is found, with what plimsoll/branch says.
    pub fn found(control: &ControlFile, label: Option<&BackupLabel>, record: Option<BranchRecord>) -> Self {
        let copy = &control.checkpoint_copy;
        let checkpoint =
            label.map_or((control.checkpoint, copy.timeline), |label| (label.checkpoint, label.timeline));
        let minimum = (control.min_recovery_point, control.min_recovery_point_timeline);
        let timeline = checkpoint.1.max(copy.timeline).max(minimum.1);
        let is_standbys = control.state.is_standbys() && label.is_none();
        let record = record.filter(|record| is_standbys && record.timeline >= timeline);
        Self {
            checkpoint,
            minimum,
            timeline: record.map_or(timeline, |record| record.timeline),
            named: timeline,
            is_standbys,
            own_log_first: control.state.is_crashed() && label.is_none(),
            record,
            segment_size: control.segment_size,
        }
    }

    /// Whether the directory's own log is redone to its end before anything else.
    pub const fn redoes_own_log_first(&self) -> bool {
        self.own_log_first
    }

    /// The same once the own log is redone, which ends at `end` (exclusive).
    pub const fn after_own_log(self, end: Lsn) -> Self {
        Self { minimum: (end, self.timeline), own_log_first: false, ..self }
    }

    /// The timeline that the directory is on: as a standby recorded it, or as the control file says.
    pub const fn timeline(&self) -> TimelineId {
        self.timeline
    }

    /// The size of the directory's segments.
    pub const fn segment_size(&self) -> SegmentSize {
        self.segment_size
    }

    /// The history of that, on which all log in pg_wal lies.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or is that of another branch.
    pub fn own_history(&self, disk: &dyn Disk, pg_wal: &Path) -> Result<TimelineHistory, TimelineError> {
        let (ours, target) = (TimelineHistory::load(disk, pg_wal, self.timeline)?, self.timeline);
        match (self.record.and_then(|record| record.branch), ours.branch()) {
            (Some(recorded), Some(found)) if recorded != found => {
                Err(TimelineError::Twin { target, timeline: target })
            }
            _ => Ok(ours),
        }
    }

    /// Whether recovery may go along a history.
    ///
    /// # Errors
    /// Fails if the history does not contain what the directory has.
    pub fn check(&self, history: &TimelineHistory) -> Result<(), TimelineError> {
        let target = history.target();
        let (checkpoint, timeline) = self.checkpoint;
        if history.timeline_at(checkpoint) != timeline {
            let forked = history.end_of(timeline).ok().flatten();
            return Err(TimelineError::NoChild { target, checkpoint, timeline, forked });
        }
        let (point, timeline) = self.minimum;
        let last = Lsn::new(point.get().saturating_sub(1));
        if point.is_valid() && history.timeline_at(last) != timeline {
            return Err(TimelineError::WithoutMinimum { target, point, timeline });
        }
        Ok(())
    }

    /// Whether a standby left this directory without a record, and its log may be on a later timeline than
    /// the control file names.
    ///
    /// # Errors
    /// Fails if a file cannot be read.
    pub fn lacks_record(&self, disk: &dyn Disk, pg_wal: &Path) -> Result<bool, TimelineError> {
        if !self.is_standbys || self.record.is_some() {
            return Ok(false);
        }
        let ours = self.own_history(disk, pg_wal)?;
        for timeline in known_above(disk, pg_wal, self.timeline)? {
            let history = TimelineHistory::load(disk, pg_wal, timeline)?;
            if self.check(&history).is_ok() && no_twin(&ours, &history).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The history that recovery follows, out of those in pg_wal.
    ///
    /// # Errors
    /// Fails if no timeline can be followed, or a file cannot be read.
    pub fn choose(
        &self,
        disk: &Arc<dyn Disk>,
        pg_wal: &Path,
        target: TargetTimeline,
    ) -> Result<TimelineHistory, TimelineError> {
        let ours = self.own_history(&**disk, pg_wal)?;
        let number = match target {
            TargetTimeline::Number(number) => number,
            TargetTimeline::Current => {
                self.record.map_or(self.timeline, |record| record.received.max(self.named))
            }
            TargetTimeline::Latest if self.own_log_first => self.timeline,
            TargetTimeline::Latest => return self.latest(ours, disk, pg_wal),
        };
        if matches!(target, TargetTimeline::Number(_)) && number > TimelineId::FIRST {
            let path = pg_wal.join(number.history_file_name());
            let found = disk.exists(&path);
            if !found.map_err(|error| HistoryFileError::Io { path: path.display().to_string(), error })? {
                return Err(TimelineError::Missing(number));
            }
        }
        self.checked(&ours, TimelineHistory::load(&**disk, pg_wal, number)?, disk, pg_wal)
    }

    /// The newest that may be followed.
    fn latest(
        &self,
        ours: TimelineHistory,
        disk: &Arc<dyn Disk>,
        pg_wal: &Path,
    ) -> Result<TimelineHistory, TimelineError> {
        for timeline in known_above(&**disk, pg_wal, self.timeline)? {
            // One of another branch is not ours to follow; of one that makes no sense nobody knows whose it
            // is.
            let history = TimelineHistory::load(&**disk, pg_wal, timeline)?;
            if let Ok(history) = self.checked(&ours, history, disk, pg_wal) {
                return Ok(history);
            }
        }
        self.checked(&ours, ours.clone(), disk, pg_wal)
    }

    fn checked(
        &self,
        ours: &TimelineHistory,
        history: TimelineHistory,
        disk: &Arc<dyn Disk>,
        pg_wal: &Path,
    ) -> Result<TimelineHistory, TimelineError> {
        self.check(&history)?;
        no_twin(ours, &history)?;
        if let Some(record) = self.record {
            let place = Place { disk, pg_wal, segment_size: self.segment_size };
            check_received(record.received, ours, &history, &place)?;
        }
        Ok(history)
    }
}

/// What a standby received, up to log of the timeline `received`, it has told others to be kept, though no
/// page may be as new. What an archive brought is there still, and nobody relies on it here.
fn check_received(
    received: TimelineId,
    ours: &TimelineHistory,
    theirs: &TimelineHistory,
    place: &Place<'_>,
) -> Result<(), TimelineError> {
    // Received is what comes before this.
    let Ok(end) = ours.end_of(received).map(|end| end.unwrap_or(Lsn::MAX)) else { return Ok(()) };
    let leaves = ours.common_ancestor(theirs).map(|(_, upto)| upto);
    let Some(fork) = leaves.filter(|fork| *fork < end) else { return Ok(()) };
    let mut reader = place.reader(ours, fork);
    let has_more = match reader.next() {
        Ok(Next::Record(_)) => true,
        // Behind a bad record there may be whole ones.
        Ok(Next::End(_)) => !reader.tail_behind(fork).is_ok_and(|tail| tail.whole_records == 0),
        // What cannot be read may have been received.
        Err(_) => true,
    };
    if has_more {
        let (target, timeline) = (theirs.target(), ours.target());
        return Err(TimelineError::WithoutReceived { target, timeline, fork });
    }
    Ok(())
}

/// Numbers alone do not tell branches apart.
fn no_twin(ours: &TimelineHistory, theirs: &TimelineHistory) -> Result<(), TimelineError> {
    match ours.first_twin(theirs) {
        None => Ok(()),
        Some(timeline) => Err(TimelineError::Twin { target: theirs.target(), timeline }),
    }
}

/// Where the log lies.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Has the folder.
    pub disk: &'a Arc<dyn Disk>,
    /// The folder of segments and history files.
    pub pg_wal: &'a Path,
    /// Of its segments.
    pub segment_size: SegmentSize,
}

impl Place<'_> {
    /// Reads the log along a history.
    fn reader(&self, history: &TimelineHistory, at: Lsn) -> WalReader<SegmentFiles> {
        let (disk, pg_wal) = (self.disk.clone(), self.pg_wal.to_owned());
        let files = SegmentFiles::new(disk, pg_wal, self.segment_size, history.clone());
        WalReader::new(files, ReaderOptions::new(self.segment_size), at)
    }
}

/// How far a standby at work has come.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// The timeline that it follows.
    pub current: TimelineId,
    /// The end of what is replayed, exclusive.
    pub replayed: Lsn,
    /// Pages may be as new as that, on the timeline that is followed or one before it: minRecoveryPoint.
    pub needed: Lsn,
    /// The latest timeline of which log came by streaming; INVALID if none did.
    pub received: TimelineId,
}

/// A later timeline in pg_wal for a standby that stands there: the highest number that continues all that it
/// has replayed, and received. None if there is none; the error of the highest if no other does.
///
/// # Errors
/// Fails if a history file cannot be read.
pub fn newer(place: &Place<'_>, at: Standing) -> Result<Option<TimelineHistory>, TimelineError> {
    let (disk, Standing { current, replayed, needed, received }) = (&**place.disk, at);
    let forgets = host::planted!("an archive's history counts though more was received");
    let received = if forgets { TimelineId::INVALID } else { received };
    let mut refused = None;
    let ours = TimelineHistory::load(disk, place.pg_wal, current)?;
    for target in known_above(disk, place.pg_wal, current)? {
        let history = TimelineHistory::load(disk, place.pg_wal, target)?;
        let judged = match history.end_of(current) {
            Err(_) => Err(TimelineError::Stranger { target, current }),
            Ok(Some(end)) if end < replayed => Err(TimelineError::Passed { target, current, replayed }),
            Ok(Some(end)) if end < needed => {
                Err(TimelineError::WithoutMinimum { target, point: needed, timeline: current })
            }
            Ok(_) => no_twin(&ours, &history),
        };
        match judged.and_then(|()| check_received(received, &ours, &history, place)) {
            Ok(()) => return Ok(Some(history)),
            Err(why) => _ = refused.get_or_insert(why),
        }
    }
    refused.map_or(Ok(None), Err)
}

/// What lies behind the fork where a standby's log goes on along another history, of what it has received up
/// to a position: a part of a record. What an archive brought is there still. Redo is at `kept`.
///
/// # Errors
/// Fails if a file cannot be read.
pub fn left_behind(
    place: &Place<'_>,
    (ours, theirs): (&TimelineHistory, &TimelineHistory),
    received: Option<LogPosition>,
    kept: Lsn,
) -> Result<Option<(CutTail, TimelineId)>, SourceError> {
    let Some(fork) = theirs.end_of(ours.target()).ok().flatten() else { return Ok(None) };
    let from = fork.max(kept);
    if received.and_then(|received| received.along(ours)).is_none_or(|upto| upto <= from) {
        return Ok(None);
    }
    let tail = place.reader(ours, from).tail_behind(from)?;
    Ok(Some((tail, ours.target())).filter(|(tail, _)| tail.bytes() > 0))
}

/// The highest timeline that a data directory has seen: its own, and those of history files and segments in
/// pg_wal. The segments are of a timeline that was begun by a promotion which broke off before its history
/// file was there.
///
/// # Errors
/// Fails if the folder cannot be read.
pub fn newest_seen(disk: &dyn Disk, pg_wal: &Path, control: &ControlFile) -> io::Result<TimelineId> {
    let own = control.checkpoint_copy.timeline.max(control.min_recovery_point_timeline);
    Ok(newest_file(disk, pg_wal, control.segment_size)?.max(own))
}

/// The highest timeline that a history file or a segment is of.
fn newest_file(disk: &dyn Disk, pg_wal: &Path, size: SegmentSize) -> io::Result<TimelineId> {
    let of_file = |name: &str| {
        let segment = || SegmentNumber::parse_file_name(name, size).map(|(timeline, _)| timeline);
        TimelineId::parse_history_file_name(name).or_else(segment)
    };
    let entries = disk.list(pg_wal)?;
    Ok(entries.iter().filter_map(|entry| of_file(&entry.name)).max().unwrap_or(TimelineId::INVALID))
}

/// A log ends before the history along which it is read leaves the timeline there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log ends at {at}, and timeline {timeline} goes on to {end} by the history of timeline {target}")]
pub struct Unreached {
    /// The end of the log.
    pub at: Lsn,
    /// Its timeline.
    pub timeline: TimelineId,
    /// Where that ends.
    pub end: Lsn,
    /// The history's own.
    pub target: TimelineId,
}

impl Unreached {
    /// What a log that ends at `at` lacks of the ancestors of `history`.
    pub fn of(history: &TimelineHistory, at: Lsn) -> Option<Self> {
        let timeline = history.timeline_at(at.aligned());
        let end = history.end_of(timeline).ok()??;
        Some(Self { at, timeline, end, target: history.target() })
    }
}

/// Has the histories of the timelines after `known` fetched, without a gap, and gives the last that there is.
/// `fetch` says whether there is one of this number.
///
/// # Errors
/// Fails if a file cannot be fetched or written.
pub fn fetch_later<E>(
    known: TimelineId,
    mut fetch: impl FnMut(TimelineId) -> Result<bool, E>,
) -> Result<TimelineId, E> {
    let mut newest = known;
    while let Some(next) = newest.next() {
        if !fetch(next)? {
            break;
        }
        newest = next;
    }
    Ok(newest)
}

/// Has all histories fetched that [`RecoveryStart::choose`] may ask for.
///
/// # Errors
/// Fails if a file cannot be fetched or written.
pub fn fetch_for<E>(
    start: &RecoveryStart,
    target: TargetTimeline,
    mut fetch: impl FnMut(TimelineId) -> Result<bool, E>,
) -> Result<(), E> {
    let named = match target {
        TargetTimeline::Number(number) => Some(number),
        TargetTimeline::Latest | TargetTimeline::Current => None,
    };
    for timeline in [Some(start.timeline), named].into_iter().flatten() {
        // The first has no history.
        if timeline > TimelineId::FIRST {
            fetch(timeline)?;
        }
    }
    if target == TargetTimeline::Latest {
        fetch_later(start.timeline, fetch)?;
    }
    Ok(())
}

/// The timelines above `timeline` that have a history file in pg_wal, highest first.
fn known_above(
    disk: &dyn Disk,
    pg_wal: &Path,
    timeline: TimelineId,
) -> Result<Vec<TimelineId>, HistoryFileError> {
    let entries = disk
        .list(pg_wal)
        .map_err(|error| HistoryFileError::Io { path: pg_wal.display().to_string(), error })?;
    let mut known: Vec<_> =
        entries.iter().filter_map(|entry| TimelineId::parse_history_file_name(&entry.name)).collect();
    known.retain(|known| *known > timeline);
    known.sort_unstable_by(|left, right| right.cmp(left));
    Ok(known)
}

#[cfg(test)]
mod tests;
