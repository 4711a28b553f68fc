//! The archiver's marks: what is finished and waits for the archive, what is done, and what may be removed.
//!
//! Two tasks (`copying`). One follows the log and marks each segment that is complete and durable (whoever
//! wants to see the mark at once does so, too). The other hands waiting files to archive_command.

use super::shell::ShellCommands;
use crate::configuration::Ground;
use host::Timestamp;
use host::sync::Mutex;
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use storage::Database;
use tokio::sync::{Notify, watch};
use wal::{
    ArchiveStatus, Archived, Live, LogPosition, LogState, Lsn, NodeLog, SegmentFile, SegmentNumber,
    SegmentSize, TimelineId,
};

/// archive_mode
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Off,
    /// While the node is a primary.
    On,
    /// In recovery too.
    Always,
}

/// What pg_stat_archiver shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct ArchiverStats {
    pub(crate) archived: i64,
    pub(crate) last_archived: Option<(String, Timestamp)>,
    pub(crate) failed: i64,
    pub(crate) last_failed: Option<(String, Timestamp)>,
    pub(crate) reset: Timestamp,
}

/// Where the archiver is in a clean stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastTurn {
    NotYet,
    Asked,
    Over,
}

/// A timeline that a promotion ended, and where, by the name of the file that has its end.
#[derive(Clone, Copy, Debug)]
struct Ended {
    timeline: TimelineId,
    at: LogPosition,
}

impl Ended {
    /// That file.
    fn file(self, size: SegmentSize) -> SegmentFile {
        SegmentFile { segment: size.segment_of(self.at.lsn), timeline: self.at.timeline }
    }
}

/// Up to here (exclusive) the log stays as it is. What a standby has and has not redone may be cut and wiped,
/// in whole segments too: a record's beginning, when its rest does not come, or is lost in a crash.
pub(super) fn settled(log: &LogState) -> Lsn {
    log.standby().map_or_else(|| log.flushed(), |positions| positions.settled())
}

/// A node's archiver.
pub(crate) struct Archiver {
    pub(super) ground: Arc<Ground>,
    database: Database,
    /// The log that is archived.
    pub(super) node_log: NodeLog,
    pub(super) mode: Mode,
    pg_wal: PathBuf,
    pub(super) status: ArchiveStatus,
    pub(super) size: SegmentSize,
    /// The first segment that was not yet seen complete.
    next: Mutex<Option<SegmentNumber>>,
    /// The ended timeline whose segments are still to be settled.
    unsettled: Mutex<Option<Ended>>,
    stats: Mutex<ArchiverStats>,
    pub(super) wake: Notify,
    pub(super) commands: Arc<ShellCommands>,
    /// What a command of the node's former life is in the middle of: it stays, under its name.
    pub(super) left: Mutex<Option<String>>,
    pub(super) last_turn: watch::Sender<LastTurn>,
    /// Moves with every file that is archived.
    archived: watch::Sender<u64>,
    /// The timelines whose history needs no further look, and those of which it was said that the archive has
    /// another branch's.
    pub(super) cleared: Mutex<HashSet<TimelineId>>,
    pub(super) refused: Mutex<HashSet<TimelineId>>,
    /// Those of which a file was archived.
    pub(super) passed: Mutex<HashSet<TimelineId>>,
    /// It was said what is not archived since this server was replaced.
    pub(super) withheld_told: AtomicBool,
}

impl Archiver {
    pub(crate) fn new(
        ground: &Arc<Ground>,
        commands: &Arc<ShellCommands>,
        database: Database,
        node_log: NodeLog,
        left: Option<String>,
    ) -> Self {
        let mode = match ground.config().archive_mode.as_ref() {
            "on" => Mode::On,
            "always" => Mode::Always,
            _ => Mode::Off,
        };
        let stats = ArchiverStats { reset: ground.host.clock.now(), ..ArchiverStats::default() };
        let pg_wal = ground.data_dir.join("pg_wal");
        Self {
            mode,
            status: ArchiveStatus::new(ground.host.disk.clone(), &pg_wal),
            pg_wal,
            ground: ground.clone(),
            size: database.control().segment_size,
            database,
            node_log,
            next: Mutex::new(None),
            unsettled: Mutex::default(),
            stats: Mutex::new(stats),
            wake: Notify::new(),
            commands: commands.clone(),
            left: Mutex::new(left),
            last_turn: watch::Sender::new(LastTurn::NotYet),
            archived: watch::Sender::new(0),
            cleared: Mutex::default(),
            refused: Mutex::default(),
            passed: Mutex::default(),
            withheld_told: AtomicBool::new(false),
        }
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }
    pub(crate) fn stats(&self) -> ArchiverStats {
        self.stats.lock().clone()
    }
    pub(crate) fn reset_stats(&self, now: Timestamp) {
        *self.stats.lock() = ArchiverStats { reset: now, ..ArchiverStats::default() };
    }
    /// Something new waits.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Whether finished files are to be archived by this node now.
    pub(crate) fn archives(&self, in_recovery: bool) -> bool {
        match self.mode {
            Mode::Off => false,
            Mode::On => !in_recovery,
            Mode::Always => true,
        }
    }

    /// A file is finished: marks it as waiting. A history waits also while nobody archives: should that
    /// change, it goes before its timeline's log.
    pub(crate) fn finished(&self, name: &str, in_recovery: bool) {
        let may_wait = self.mode == Mode::Off && TimelineId::parse_history_file_name(name).is_some();
        if !self.archives(in_recovery) && !may_wait {
            return;
        }
        match self.status.notify(name) {
            Ok(_) => self.wake(),
            // A segment without a mark is kept, and marked when it is about to go.
            Err(error) => {
                self.ground.log.warning(format!("could not write archive status of \"{name}\": {error}"))
            }
        }
    }

    /// The same for a segment, unless another timeline has taken the place of its log.
    fn segment_finished(&self, log: &LogState, name: &str) {
        if !self.is_withheld(log, name) {
            self.finished(name, matches!(log.live, Live::Standby(_)));
        }
    }

    /// Waits until these files are archived, also those that are not marked yet, and says whether they are.
    /// On a replaced primary there is nothing to wait for of what it does not archive, nor once the node
    /// ends.
    pub(crate) async fn wait_archived(&self, names: impl Iterator<Item = String>) -> bool {
        let (mut archived, mut log) = (self.archived.subscribe(), self.node_log.subscribe());
        let mut are_all = true;
        for name in names {
            loop {
                archived.borrow_and_update();
                let state = log.borrow_and_update().clone();
                if self.is_withheld(&state, &name) {
                    are_all = false;
                    break;
                }
                if !self.is_unarchived(&name) {
                    break;
                }
                let changed = tokio::select! {
                    biased;
                    changed = archived.changed() => changed,
                    changed = log.changed() => changed,
                };
                if changed.is_err() {
                    return false;
                }
            }
        }
        are_all
    }

    fn is_unarchived(&self, name: &str) -> bool {
        match self.status.of(name) {
            Ok(Archived::Ready) => true,
            Ok(Archived::Unknown) => self.status.file_exists(name).unwrap_or(false),
            Ok(Archived::Done) | Err(_) => false,
        }
    }

    /// Whether a segment may be removed as far as the archive goes; one that should be archived and carries
    /// no mark gets one.
    pub(crate) fn may_go(&self, file: SegmentFile) -> bool {
        let log = &*self.node_log.state();
        let in_recovery = matches!(log.live, Live::Standby(_));
        let name = file.segment.file_name(file.timeline, self.size);
        if self.is_read(&name) {
            return false;
        }
        if !self.archives(in_recovery) {
            return true;
        }
        if self.unsettled.lock().is_some_and(|ended| ended.file(self.size) == file) {
            return false;
        }
        match self.status.of(&name) {
            Ok(Archived::Done) => true,
            Ok(Archived::Ready) => false,
            Ok(Archived::Unknown) => match self.name_of(log, file.segment) {
                Ok(Some(of_place)) if of_place == name => {
                    self.segment_finished(log, &name);
                    false
                }
                // Another timeline's file of that place goes to the archive; this one ends before the segment
                // does.
                Ok(_) => true,
                Err(_) => false,
            },
            Err(_) => false,
        }
    }

    /// The same for what a promotion set aside of a segment.
    pub(crate) fn partial_may_go(&self, file: SegmentFile) -> bool {
        let in_recovery = matches!(self.node_log.state().live, Live::Standby(_));
        let name = wal::file_names::partial(&file.segment.file_name(file.timeline, self.size));
        if self.is_read(&name) {
            return false;
        }
        if !self.archives(in_recovery) {
            return true;
        }
        match self.status.of(&name) {
            Ok(Archived::Done) => true,
            Ok(Archived::Unknown) => {
                self.finished(&name, in_recovery);
                false
            }
            Ok(Archived::Ready) | Err(_) => false,
        }
    }

    /// A command of the node's former life is in the middle of it.
    fn is_read(&self, name: &str) -> bool {
        self.left.lock().as_deref() == Some(name)
    }

    /// Segments were removed: their marks go, once `unarchived` has the names of those that waited.
    pub(crate) fn forget_removed(&self, unarchived: impl FnOnce(&[String])) {
        if let Err(error) = self.status.forget_removed(self.size, unarchived) {
            self.ground.log.warning(format!("could not remove archive status files: {error}"));
        }
    }

    /// Marks the segments that are complete by now.
    pub(crate) fn notice_now(&self) {
        self.notice(&self.node_log.state());
    }

    /// The same for a state of the log that was seen. In recovery, what came from the primary is the
    /// primary's to archive, unless this node archives everything, or the segment waits here from before.
    pub(super) fn notice(&self, log: &LogState) {
        self.tell_withheld(log);
        let mut end = self.size.segment_of(settled(log));
        if host::planted!("a segment waits for the archive before it is whole") {
            end = end.next();
        }
        let mut next = self.next.lock();
        let mut segment = *next.get_or_insert(end);
        while segment < end {
            self.mark_complete(log, segment);
            segment = segment.next();
        }
        *next = Some(segment.max(end));
    }

    fn mark_complete(&self, log: &LogState, segment: SegmentNumber) {
        let in_recovery = matches!(log.live, Live::Standby(_));
        let name = match self.name_of(log, segment) {
            Ok(Some(name)) => name,
            Ok(None) => return,
            // Whoever removes it marks it then, or the next start does.
            Err(error) => {
                let at = self.size.start_of(segment);
                let what = format!("could not look for the segment that has the log at {at}: {error}");
                return self.ground.log.warning(what);
            }
        };
        if in_recovery && self.mode != Mode::Always {
            if let Err(error) = self.status.leave_to_primary(&name) {
                self.ground.log.warning(format!("could not write archive status of \"{name}\": {error}"));
            }
        } else {
            self.segment_finished(log, &name);
        }
    }

    /// The file that holds the end of a segment: of the newest timeline that has it.
    fn name_of(&self, log: &LogState, segment: SegmentNumber) -> io::Result<Option<String>> {
        let last = Lsn::new(self.size.start_of(segment.next()).get() - 1);
        let (start, history) = (self.size.start_of(segment.next()), &log.history);
        let timelines = history
            .newest_first()
            .filter(|(_, begin, end)| *begin < start && end.is_none_or(|end| last < end));
        for (timeline, ..) in timelines {
            let name = segment.file_name(timeline, self.size);
            if self.status.file_exists(&name)? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Makes up for what was not marked before the last stop: complete segments of this history without a
    /// mark.
    pub(crate) fn make_up(&self) {
        let log = &*self.node_log.state();
        let in_recovery = matches!(log.live, Live::Standby(_));
        let end = self.size.segment_of(settled(log));
        *self.next.lock() = Some(end);
        if !self.archives(in_recovery) {
            return;
        }
        let folder = self.folder();
        let files = match folder.list() {
            Ok(files) => files,
            Err(error) => {
                return self.ground.log.warning(format!("could not look for unarchived segments: {error}"));
            }
        };
        for file in files.into_iter().filter(|file| file.segment < end) {
            let name = file.segment.file_name(file.timeline, self.size);
            if self.name_of(log, file.segment).is_ok_and(|of_place| of_place.as_ref() == Some(&name))
                && self.status.of(&name).is_ok_and(|mark| mark == Archived::Unknown)
            {
                self.segment_finished(log, &name);
            }
        }
    }

    /// After a promotion: what belongs to the ended timeline only. The segment in which it ended goes to the
    /// archive under a name of its own, since the new timeline's segment of that place begins with the same
    /// bytes; made-ahead segments behind it go away. `file` is the timeline of that segment's file: an
    /// ancestor's, if nothing of the ended timeline is here.
    ///
    /// The log of the new timeline is whole without, and its writes are acknowledged. So what cannot be done
    /// is told, and tried again by [`Self::settle_ended`].
    pub(crate) fn end_timeline(&self, old: TimelineId, file: TimelineId, at: Lsn) {
        *self.unsettled.lock() = Some(Ended { timeline: old, at: LogPosition { timeline: file, lsn: at } });
        self.settle_ended();
    }

    /// Does what could not be done yet of [`Self::end_timeline`]. Each checkpoint asks for it before it
    /// removes segments.
    pub(crate) fn settle_ended(&self) {
        let mut unsettled = self.unsettled.lock();
        let Some(ended) = *unsettled else { return };
        match self.settle(ended) {
            Ok(()) => *unsettled = None,
            Err(error) => self.ground.log.warning(format!(
                "could not settle the segments of timeline {}: {error}; the next checkpoint tries it again",
                ended.timeline
            )),
        }
    }

    fn settle(&self, ended: Ended) -> io::Result<()> {
        let last = ended.file(self.size);
        let is_stray = |file: &SegmentFile| file.timeline <= ended.timeline && file.segment > last.segment;
        let files = self.folder().list().map_err(|error| io::Error::other(error.to_string()))?;
        for file in files.into_iter().filter(is_stray) {
            self.remove_stray(&file.segment.file_name(file.timeline, self.size))?;
        }
        if self.mode != Mode::Off && self.size.offset_of(ended.at.lsn) != 0 {
            self.set_aside(&last.segment.file_name(last.timeline, self.size))?;
        }
        Ok(())
    }

    fn remove_stray(&self, name: &str) -> io::Result<()> {
        if self.status.of(name)? == Archived::Ready {
            return Ok(());
        }
        self.ground.host.disk.remove_file(&self.pg_wal.join(name))?;
        self.status.forget(name)
    }

    fn set_aside(&self, name: &str) -> io::Result<()> {
        if self.status.of(name)? != Archived::Unknown || !self.status.file_exists(name)? {
            return Ok(());
        }
        let partial = wal::file_names::partial(name);
        self.status.forget(&partial)?;
        host::durable_rename(&*self.ground.host.disk, &self.pg_wal.join(name), &self.pg_wal.join(&partial))?;
        self.finished(&partial, false);
        Ok(())
    }

    fn folder(&self) -> wal::SegmentFolder {
        wal::SegmentFolder::new(self.ground.host.disk.clone(), &self.pg_wal, self.size)
    }

    pub(super) fn count(&self, name: &str, archived: bool) {
        let last = Some((name.to_owned(), self.ground.host.clock.now()));
        let mut stats = self.stats.lock();
        if archived {
            self.archived.send_modify(|count| *count += 1);
            stats.archived += 1;
            stats.last_archived = last;
        } else {
            stats.failed += 1;
            stats.last_failed = last;
        }
    }

    /// The last turn of a clean stop: returns when everything that could be archived is.
    pub(crate) async fn finish(&self) {
        let mut turn = self.last_turn.subscribe();
        self.last_turn.send_if_modified(|turn| {
            let has_work = self.mode != Mode::Off || self.left.lock().is_some();
            let asks = has_work && *turn == LastTurn::NotYet;
            if asks {
                *turn = LastTurn::Asked;
            }
            asks
        });
        // The sender lives in self.
        let _ = turn.wait_for(|turn| *turn != LastTurn::Asked).await;
    }

    /// The same as long as no file takes longer than this; says whether the turn came to its end.
    pub(crate) async fn finish_while_it_goes_on(&self, longest: Duration) -> bool {
        let mut archived = self.archived.subscribe();
        loop {
            archived.borrow_and_update();
            tokio::select! {
                biased;
                () = self.finish() => return true,
                more = tokio::time::timeout(longest, archived.changed()) => {
                    if more.is_err() {
                        return false;
                    }
                }
            }
        }
    }
}
