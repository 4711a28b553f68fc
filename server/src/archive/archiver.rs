//! The archiver: marks what is finished, and puts it into the archive, in order, one file at a time.
//!
//! Two tasks. One follows the log and marks each segment that is complete and durable (also called by whoever wants to see the mark at
//! once). The other hands waiting files to archive_command: three tries a second apart, then a pause of a minute or until
//! something new waits. It alone runs the command, so there is one call at a time: a clean stop asks it, after the last checkpoint,
//! for one more turn and waits for that, and so for a call that was under way. A stop at once ends the command.

use super::command::{self, Commands, Outcome};
use crate::log::Log;
use crate::node::{Node, Phase};
use crate::server::Tasks;
use crate::{ServerError, StopMode, background};
use host::{SharedDisk, Timestamp, vital_task};
use parking_lot::Mutex;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::Database;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use wal::{
    ArchiveStatus, Archived, Live, LogState, Lsn, SegmentFile, SegmentNumber, SegmentSize, TimelineId,
};

/// Tries of one file in a row.
const TRIES: u32 = 3;
/// Pause between them.
const TRY_PAUSE: Duration = Duration::from_secs(1);
/// Longest time between two looks for waiting files, and the pause after a file failed too often.
const WAKE_INTERVAL: Duration = Duration::from_secs(60);
/// Pause after the shell could not run the command at all.
const RESTART_PAUSE: Duration = Duration::from_secs(10);
/// Files taken from one look at the folder; a history file that came meanwhile is seen at the next.
const BATCH: usize = 64;

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
enum LastTurn {
    NotYet,
    Asked,
    Over,
}

/// A node's archiver.
pub(crate) struct Archiver {
    mode: Mode,
    disk: SharedDisk,
    log: Arc<Log>,
    data_dir: PathBuf,
    status: ArchiveStatus,
    size: SegmentSize,
    /// The first segment that was not yet seen complete.
    next: Mutex<Option<SegmentNumber>>,
    stats: Mutex<ArchiverStats>,
    wake: Notify,
    commands: Arc<Commands>,
    last_turn: watch::Sender<LastTurn>,
    /// Moves with every file that is archived.
    archived: watch::Sender<u64>,
}

/// Whether a turn of copying went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copied {
    All,
    /// A file failed too often.
    Stuck,
    /// The command cannot be run.
    Broken,
    /// The server stops at once.
    Stopped,
}

impl Archiver {
    pub(crate) fn new(node: &Node, size: SegmentSize) -> Self {
        let mode = match node.config().archive_mode.as_ref() {
            "on" => Mode::On,
            "always" => Mode::Always,
            _ => Mode::Off,
        };
        let stats = ArchiverStats { reset: node.host.clock.now(), ..ArchiverStats::default() };
        Self {
            mode,
            disk: node.host.disk.clone(),
            log: node.log.clone(),
            data_dir: node.data_dir.clone(),
            status: ArchiveStatus::new(node.host.disk.clone(), &node.data_dir.join("pg_wal")),
            size,
            next: Mutex::new(None),
            stats: Mutex::new(stats),
            wake: Notify::new(),
            commands: node.children.clone(),
            last_turn: watch::Sender::new(LastTurn::NotYet),
            archived: watch::Sender::new(0),
        }
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

    /// A file is finished: marks it as waiting.
    pub(crate) fn finished(&self, name: &str, in_recovery: bool) {
        if !self.archives(in_recovery) {
            return;
        }
        match self.status.notify(name) {
            Ok(_) => self.wake(),
            // A segment without a mark is kept, and marked when it is about to go.
            Err(error) => self.log.warning(format!("could not write archive status of \"{name}\": {error}")),
        }
    }

    /// Waits until these files are archived. On a standby, whose primary archives, there is nothing to wait for.
    pub(crate) async fn wait_archived(&self, names: impl Iterator<Item = String>, in_recovery: bool) {
        if !self.archives(in_recovery) {
            return;
        }
        let mut archived = self.archived.subscribe();
        for name in names {
            archived.borrow_and_update();
            while self.status.of(&name).is_ok_and(|mark| mark == Archived::Ready) {
                if archived.changed().await.is_err() {
                    return;
                }
            }
        }
    }

    /// Whether a segment may be removed as far as the archive goes; one that should be archived and carries no mark gets one.
    pub(crate) fn may_go(&self, file: SegmentFile, log: &LogState) -> bool {
        let in_recovery = matches!(log.live, Live::Standby(_));
        if !self.archives(in_recovery) {
            return true;
        }
        let name = file.segment.file_name(file.timeline, self.size);
        match self.status.of(&name) {
            Ok(Archived::Done) => true,
            Ok(Archived::Ready) => false,
            Ok(Archived::Unknown) if self.name_of(log, file.segment).as_ref() == Some(&name) => {
                self.finished(&name, in_recovery);
                false
            }
            // Another timeline's file of that place goes to the archive; this one ends before the segment does.
            Ok(Archived::Unknown) => true,
            Err(_) => false,
        }
    }

    /// Segments were removed: their marks go.
    pub(crate) fn forget_removed(&self) {
        if let Err(error) = self.status.forget_removed(self.size) {
            self.log.warning(format!("could not remove archive status files: {error}"));
        }
    }

    /// Marks the segments that are complete by now. In recovery, what came from the primary is the primary's to archive, unless this
    /// node archives everything.
    pub(crate) fn notice(&self, log: &LogState) {
        let end = self.size.segment_of(log.flushed());
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
        let Some(name) = self.name_of(log, segment) else { return };
        if in_recovery && self.mode != Mode::Always {
            if let Err(error) = self.status.force_done(&name) {
                self.log.warning(format!("could not write archive status of \"{name}\": {error}"));
            }
        } else {
            self.finished(&name, in_recovery);
        }
    }

    /// The file that holds the end of a segment: of the newest timeline that has it.
    fn name_of(&self, log: &LogState, segment: SegmentNumber) -> Option<String> {
        let last = Lsn::new(self.size.start_of(segment.next()).get() - 1);
        let (start, history) = (self.size.start_of(segment.next()), &log.history);
        let mut timelines = history
            .newest_first()
            .filter(|(_, begin, end)| *begin < start && end.is_none_or(|end| last < end));
        timelines.find_map(|(timeline, ..)| {
            let name = segment.file_name(timeline, self.size);
            self.status.file_exists(&name).unwrap_or(false).then_some(name)
        })
    }

    /// Makes up for what was not marked before the last stop: complete segments of this history without a mark, and its history file.
    pub(crate) fn make_up(&self, log: &LogState) {
        let in_recovery = matches!(log.live, Live::Standby(_));
        let end = self.size.segment_of(log.flushed());
        *self.next.lock() = Some(end);
        if !self.archives(in_recovery) {
            return;
        }
        let folder = wal::SegmentFolder::new(self.disk.clone(), &self.data_dir.join("pg_wal"), self.size);
        let files = match folder.list() {
            Ok(files) => files,
            Err(error) => {
                return self.log.warning(format!("could not look for unarchived segments: {error}"));
            }
        };
        for file in files.into_iter().filter(|file| file.segment < end) {
            let name = file.segment.file_name(file.timeline, self.size);
            if self.name_of(log, file.segment).as_ref() == Some(&name)
                && self.status.of(&name).is_ok_and(|mark| mark == Archived::Unknown)
            {
                self.finished(&name, in_recovery);
            }
        }
    }

    /// After a promotion: what belongs to the ended timeline only. The segment in which it ended goes to the archive under a name
    /// of its own, since the new timeline's segment of that place begins with the same bytes; made-ahead segments behind it go away.
    /// `file` is the timeline of that segment's file: an ancestor's, if nothing of the ended timeline is here.
    pub(crate) fn end_timeline(&self, old: TimelineId, file: TimelineId, at: Lsn) -> Result<(), ServerError> {
        let failed = |error: &dyn std::fmt::Display| {
            ServerError::new(format!("could not settle the segments of timeline {old}: {error}"))
        };
        let pg_wal = self.data_dir.join("pg_wal");
        let folder = wal::SegmentFolder::new(self.disk.clone(), &pg_wal, self.size);
        let switch = self.size.segment_of(at);
        for file in folder.list().map_err(|error| failed(&error))? {
            let name = file.segment.file_name(file.timeline, self.size);
            if file.timeline <= old && file.segment > switch {
                self.remove_stray(&name).map_err(|error| failed(&error))?;
            }
        }
        if self.mode != Mode::Off && self.size.offset_of(at) != 0 {
            self.set_aside(&switch.file_name(file, self.size)).map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    fn remove_stray(&self, name: &str) -> io::Result<()> {
        if self.status.of(name)? == Archived::Ready {
            return Ok(());
        }
        self.disk.remove_file(&self.data_dir.join("pg_wal").join(name))?;
        self.status.forget(name)
    }

    fn set_aside(&self, name: &str) -> io::Result<()> {
        if self.status.of(name)? != Archived::Unknown || !self.status.file_exists(name)? {
            return Ok(());
        }
        let partial = format!("{name}.partial");
        self.status.forget(&partial)?;
        let pg_wal = self.data_dir.join("pg_wal");
        host::durable_rename(&*self.disk, &pg_wal.join(name), &pg_wal.join(&partial))?;
        self.finished(&partial, false);
        Ok(())
    }

    /// Archives what waits.
    async fn copy_all(&self, node: &Node, stop: &CancellationToken) -> Copied {
        loop {
            let names = match self.status.waiting() {
                Ok(names) => names,
                Err(error) => {
                    self.log.warning(format!("could not read archive_status: {error}"));
                    return Copied::Stuck;
                }
            };
            if names.is_empty() {
                return Copied::All;
            }
            for name in names.into_iter().take(BATCH) {
                match self.copy(node, &name, stop).await {
                    Copied::All => {}
                    other => return other,
                }
            }
        }
    }

    async fn copy(&self, node: &Node, name: &str, stop: &CancellationToken) -> Copied {
        let mut tries = 0;
        loop {
            let settings = node.settings();
            let template = settings.show("archive_command").unwrap_or_default();
            if template.trim().is_empty() {
                let report = protocol::Report::warning(
                    protocol::SqlState::WARNING,
                    "archive_mode enabled, yet archiving is not configured",
                );
                let detail = Some("archive_command is not set.".to_owned());
                self.log.write(None, &protocol::Report { detail, ..report }, None);
                return Copied::Stuck;
            }
            match self.status.file_exists(name) {
                Ok(true) => {}
                Ok(false) => {
                    return match self.status.forget(name) {
                        Ok(()) => {
                            self.log.warning(format!(
                                "removed orphan archive status file \"pg_wal/archive_status/{name}.ready\""
                            ));
                            Copied::All
                        }
                        Err(_) => Copied::Stuck,
                    };
                }
                Err(_) => return Copied::Stuck,
            }
            match self.run(&template, name, stop).await {
                Outcome::Done => match self.status.done(name) {
                    Ok(()) => {
                        self.count(node, name, true);
                        return Copied::All;
                    }
                    Err(error) => {
                        self.log.warning(format!("could not rename archive status of \"{name}\": {error}"));
                        return Copied::Stuck;
                    }
                },
                Outcome::Failed { .. } => self.count(node, name, false),
                Outcome::Broken { .. } => return Copied::Broken,
                Outcome::Stopped => return Copied::Stopped,
            }
            tries += 1;
            if tries == TRIES {
                self.log.warning(format!(
                    "archiving write-ahead log file \"{name}\" failed too many times, will try again later"
                ));
                return Copied::Stuck;
            }
            tokio::select! {
                () = tokio::time::sleep(TRY_PAUSE) => {}
                () = stop.cancelled() => return Copied::Stopped,
            }
        }
    }

    async fn run(&self, template: &str, name: &str, stop: &CancellationToken) -> Outcome {
        let path = format!("pg_wal/{name}");
        let command = command::expand(template, &[('p', path.as_str()), ('f', name)]);
        let outcome = match self.commands.run(&command, &self.data_dir, stop).await {
            Ok(outcome) => outcome,
            Err(error) => {
                self.log.warning(format!("could not run archive_command: {error}"));
                return Outcome::Broken { code: None, signal: None };
            }
        };
        let detail = Some(format!("The failed archive command was: {command}"));
        let report = match outcome {
            Outcome::Done | Outcome::Stopped => return outcome,
            Outcome::Failed { code } => protocol::Report::new(
                protocol::Severity::Log,
                protocol::SqlState::SUCCESSFUL_COMPLETION,
                format!("archive command failed with exit code {code}"),
            ),
            Outcome::Broken { signal: Some(signal), .. } => protocol::Report::fatal(
                protocol::SqlState::INTERNAL_ERROR,
                format!("archive command was terminated by signal {signal}"),
            ),
            Outcome::Broken { code, .. } => protocol::Report::fatal(
                protocol::SqlState::INTERNAL_ERROR,
                format!("archive command failed with exit code {}", code.unwrap_or(-1)),
            ),
        };
        self.log.write(None, &protocol::Report { detail, ..report }, None);
        outcome
    }

    fn count(&self, node: &Node, name: &str, archived: bool) {
        let last = Some((name.to_owned(), node.host.clock.now()));
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
            let asks = self.mode != Mode::Off && *turn == LastTurn::NotYet;
            if asks {
                *turn = LastTurn::Asked;
            }
            asks
        });
        // The sender lives in self.
        let _ = turn.wait_for(|turn| *turn != LastTurn::Asked).await;
    }
}

/// Starts the archiver's tasks, which end with the background tasks.
pub(crate) fn start(node: &Arc<Node>, tasks: &Tasks, archiver: &Arc<Archiver>) {
    let end = tasks.background.clone();
    let (n, a, e) = (node.clone(), archiver.clone(), end.clone());
    tasks.tracker.spawn(vital_task("the archiver", async move {
        tokio::select! {
            () = e.cancelled() => {}
            () = follow(&n, &a) => {}
        }
    }));
    if archiver.mode == Mode::Off {
        return;
    }
    let (n, a, e) = (node.clone(), archiver.clone(), end.clone());
    tasks.tracker.spawn(vital_task("the archiver", async move {
        let _over = OverWhenDropped(&a);
        copy(&n, &a, &e).await;
    }));
    let n = node.clone();
    tasks.tracker.spawn(vital_task("the archiver", async move {
        tokio::select! {
            () = end.cancelled() => {}
            () = end_idle_segments(&n) => {}
        }
    }));
}

/// Marks segments as the log grows.
async fn follow(node: &Node, archiver: &Arc<Archiver>) {
    let Some(replicas) = node.replicas() else { return };
    let mut states = replicas.log.subscribe();
    loop {
        let state = states.borrow_and_update().clone();
        let noticing = archiver.clone();
        let seen = state.clone();
        if background::blocking(move || noticing.notice(&seen)).await.is_err() {
            return;
        }
        let border = archiver.size.start_of(archiver.size.segment_of(state.flushed()).next());
        tokio::select! {
            () = state.wait_past(Lsn::new(border.get() - 1)) => {}
            changed = states.changed() => if changed.is_err() { return },
        }
    }
}

/// Lets go of who waits for the last turn, also if a panic ends the task that owes it.
struct OverWhenDropped<'a>(&'a Archiver);

impl Drop for OverWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.last_turn.send_replace(LastTurn::Over);
    }
}

/// Runs archive_command until the last turn is over, or `end`. Never dropped in the middle of a call.
async fn copy(node: &Node, archiver: &Archiver, end: &CancellationToken) {
    let mut phases = node.phases();
    let mut reloads = node.reloads();
    let mut turns = archiver.last_turn.subscribe();
    loop {
        let last = *turns.borrow_and_update() == LastTurn::Asked;
        let in_recovery = node.database().is_none_or(Database::is_in_recovery);
        let mut pause = WAKE_INTERVAL;
        // From a fast stop on nothing begins before the last turn, which has all there is.
        let serving = !matches!(
            node.phase(),
            Phase::Starting | Phase::Stopping(StopMode::Fast) | Phase::Stopping(StopMode::Immediate)
        );
        if (serving || last) && archiver.archives(in_recovery) {
            match archiver.copy_all(node, end).await {
                Copied::All | Copied::Stuck => {}
                Copied::Broken => pause = RESTART_PAUSE,
                Copied::Stopped => return,
            }
        }
        if last {
            return;
        }
        tokio::select! {
            () = end.cancelled() => return,
            () = archiver.wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
            changed = turns.changed() => if changed.is_err() { return },
            changed = phases.changed() => if changed.is_err() { return },
            changed = reloads.changed() => if changed.is_err() { return },
        }
    }
}

/// archive_timeout: ends a segment that was written to and has waited long enough.
async fn end_idle_segments(node: &Node) {
    let mut reloads = node.reloads();
    let (mut since, mut segment, mut quiet_at) = (Instant::now(), None, Lsn::INVALID);
    loop {
        let limit = node.config().archive_timeout;
        let wait = limit.map_or(Duration::MAX, |limit| limit.saturating_sub(since.elapsed()));
        tokio::select! {
            () = tokio::time::sleep(wait.max(Duration::from_millis(10))) => {}
            changed = reloads.changed() => if changed.is_err() { return },
        }
        let (Some(limit), Some(database)) = (limit, node.database().cloned()) else { continue };
        let Some(positions) = database.positions().filter(|_| node.phase() == Phase::Running) else {
            since = Instant::now();
            continue;
        };
        let size = database.control().segment_size;
        let (now, end) = (size.segment_of(positions.inserted()), positions.inserted());
        if segment != Some(now) {
            // It was ended by itself meanwhile.
            (segment, since) = (Some(now), if segment.is_none() { since } else { Instant::now() });
        }
        if since.elapsed() < limit {
            continue;
        }
        since = Instant::now();
        // A checkpoint alone is nothing to archive.
        let checkpoint = database.control().checkpoint;
        let only_checkpoint = database.wal().is_some_and(|wal| wal.last_record() == checkpoint);
        if end <= quiet_at || size.offset_of(end) == 0 || only_checkpoint {
            continue;
        }
        let switched = background::blocking(move || {
            let wal = database.wal()?;
            wal.switch_segment().ok()?;
            wal.flush_all().ok()?;
            Some(wal.positions().inserted())
        });
        if let Ok(Some(at)) = switched.await {
            (quiet_at, segment) = (at, Some(size.segment_of(at)));
        }
    }
}
