//! The end of a log that was redone: whether it is one, and what lies behind it.

use super::open::{Begin, Opening};
use super::replay::Replay;
use crate::Error;
use crate::error::read_error;
use std::io;
use wal::reader::{CutTail, EndOfWal, ReadError};
use wal::timelines::RecoveryStart;
use wal::{ArchiveStatus, FLUSHED_FILE, Lsn, SegmentSize, own_flush};

/// How many pages are read to see whether the log once went on, if nothing is left behind its end.
const SAMPLED_PAGES_MAX: usize = 32;

impl Opening {
    /// The log must reach what the control file names.
    pub(super) fn check_reached(&self, end: &EndOfWal, checkpoint_end: Lsn) -> Result<(), Error> {
        if end.at >= checkpoint_end {
            return Ok(());
        }
        let what = format!(
            "WAL ends at {} ({}), before the end of the checkpoint record at {checkpoint_end} that the control file names",
            end.at, end.reason
        );
        Err(Error::corrupt("write-ahead log", Some(end.reason.at()), what))
    }

    /// What lies behind the log's end and goes; None if it says nothing about this node's disk, in a copy.
    /// Where this node wrote the log, it makes sure that it never was durable.
    pub(super) fn verify_tail(&mut self, end: &EndOfWal) -> Result<Option<CutTail>, Error> {
        self.look_behind(end)?.map_err(read_error)
    }

    /// The same, with the damage that this log has.
    pub(super) fn look_behind(
        &mut self,
        end: &EndOfWal,
    ) -> Result<Result<Option<CutTail>, ReadError>, Error> {
        if self.copied {
            return Ok(Ok(None));
        }
        self.check_received(end)?;
        let own = if self.found.is_crashed() { self.own_flush()? } else { Lsn::INVALID };
        let is_disproved = end.is_disproved_by(own)
            && !host::planted!("damage below the flush point passes for the log's end");
        if is_disproved {
            return Ok(Err(self.reader.damage_at(end, own)));
        }
        if !self.found.is_crashed() || !self.engine.options.log_writing.fsync {
            let tail = self.reader.tail_behind(end.at);
            return tail.map(|tail| Ok(Some(tail))).map_err(|error| read_error(error.into()));
        }
        let cut = match self.reader.verify_end(end) {
            Ok(cut) => cut,
            Err(damage @ ReadError::Corrupt { .. }) => return Ok(Err(damage)),
            Err(error) => return Err(read_error(error)),
        };
        // A page is written after the log up to its LSN is durable. Those that redo made from images are read
        // for this alone. All of them are too dear at each start: only if something lies behind the end, or
        // what ends the log is no page that was never written, nor one of a recycled segment.
        let pages_max = if cut.bytes() > 0 || end.torn { usize::MAX } else { SAMPLED_PAGES_MAX };
        let goes_on = || self.engine.check_opening();
        let on_disk = self.engine.store.newest_lsn_on_disk(pages_max, &goes_on)?;
        let proven = self.engine.options.proven_flush.max(on_disk);
        // A marked segment may end within the record that is broken. What it has of that stays.
        let timeline = self.reader.source().history().target();
        let marked = self.of_marks(|marks, size| marks.flushed(timeline, size))?;
        if (end.is_disproved_by(proven) || marked > end.writes_on_at())
            && !host::planted!("damage below the flush point passes for the log's end")
        {
            return Ok(Err(self.reader.damage_at(end, proven.max(marked))));
        }
        Ok(Ok(Some(cut)))
    }

    /// Up to where this node knows that its own log was durable.
    pub(super) fn own_flush(&self) -> Result<Lsn, Error> {
        let (dir, disk) = (self.engine.dir(), self.engine.host.disk.clone());
        let own = own_flush(disk, dir, self.reader.source().history());
        own.map_err(|error| Error::io("read file", &dir.join(FLUSHED_FILE), error))
    }

    /// A log that was received goes to where that was durable.
    fn check_received(&mut self, end: &EndOfWal) -> Result<(), Error> {
        let received = self.engine.branch.received().filter(|_| self.found.is_standbys());
        let came = received.and_then(|received| received.along(self.reader.source().history()));
        let Some(came) = came.filter(|came| *came > end.at) else { return Ok(()) };
        match self.reader.ends_within(end, came, false).map_err(|error| read_error(error.into()))? {
            true => Err(read_error(self.reader.damage_at(end, came))),
            false => Ok(()),
        }
    }

    /// What is written on has no mark: it is neither durable up to its end nor to be archived yet, and would
    /// not be archived again.
    pub(super) fn forget_marks_behind(&self, begin: &Begin) -> Result<(), Error> {
        self.of_marks(|marks, size| marks.forget_behind(begin.timeline, begin.start.insert_at, size))
    }

    pub(super) fn of_marks<T>(
        &self,
        ask: impl FnOnce(&ArchiveStatus, SegmentSize) -> io::Result<T>,
    ) -> Result<T, Error> {
        let (dir, size) = (self.engine.wal_dir(), self.engine.control.lock().segment_size);
        let marks = ArchiveStatus::new(self.engine.host.disk.clone(), &dir);
        ask(&marks, size).map_err(|error| Error::io("use the archive's marks in", &dir, error))
    }

    /// Has a tail recorded before it is wiped.
    pub(super) fn record_cut(&self, tail: Option<&CutTail>, end: &EndOfWal) -> Result<(), Error> {
        if let Some(cut) = tail.filter(|tail| tail.bytes() > 0)
            && !host::planted!("a cut of the log's tail is not recorded")
            && let Some(hook) = &self.engine.options.before_cut
        {
            hook(cut, &end.reason.to_string())
                .map_err(|error| Error::io("record the cut of", &self.engine.wal_dir(), error))?;
        }
        Ok(())
    }

    /// A backup, or a standby's directory, is usable only from a certain point of the log on.
    pub(super) fn check_backup_whole(&self, replay: &Replay) -> Result<(), Error> {
        let (required, end_point, minimum) = {
            let control = self.engine.control.lock();
            (control.backup_end_required, control.backup_end_point, control.min_recovery_point)
        };
        if required || (end_point.is_valid() && replay.at < end_point) {
            return Err(Error::Unusable(format!(
                "WAL ends at {} before the end of the online backup; all WAL generated while the backup was taken \
                 must be in pg_wal",
                replay.at
            )));
        }
        if replay.at < minimum {
            return Err(Error::Unusable(format!(
                "WAL ends at {} before the consistent recovery point {minimum}; provide the rest in pg_wal",
                replay.at
            )));
        }
        if end_point.is_valid() { replay.end_backup_recovery(replay.at) } else { Ok(()) }
    }

    /// A standby that has turned to another timeline writes none that this one leaves. What the control file
    /// names is this node's own.
    pub(super) fn check_followed(&self, replay: &Replay) -> Result<(), Error> {
        let named = RecoveryStart::found(&self.engine.control.lock(), None, None).timeline();
        let followed = self.engine.branch.record().map(|record| record.timeline);
        let standbys = self.label.is_none() && self.found.is_standbys();
        match followed.filter(|followed| standbys && *followed > replay.timeline.max(named)) {
            None => Ok(()),
            Some(followed) => Err(Error::Unusable(format!(
                "this standby follows timeline {followed}, and its WAL ends at {} on timeline {}, which that one \
                 has left; start it with standby.signal, and promote it if it is to take writes",
                replay.at, replay.timeline
            ))),
        }
    }
}
