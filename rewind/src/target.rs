//! The directory that is to be rewound, as it is found: which branch its log is on, where that left the
//! source's, and what it has changed since.

use crate::beginning::Seen;
use crate::beside::{BROUGHT_DIR, LogArchive, Places};
use crate::blocks::BlockSet;
use crate::copy::Copier;
use crate::error::{RewindError, io_error};
use crate::marker::Marker;
use crate::options::RewindOptions;
use crate::plan::Touched;
use crate::source::Source;
use crate::untouched::Untouched;
use host::{OpenMode, SharedDisk};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use wal::backup_label::BackupLabel;
use wal::control::{ClusterState, ControlFile, control_file_path};
use wal::format::FORMATS;
use wal::history::TimelineHistory;
use wal::log_branch::{separate_shared, undecided_end};
use wal::reader::{EndOfWal, Next, ReaderOptions, SegmentFiles, WalReader};
use wal::timelines::RecoveryStart;
use wal::xlog::{CheckPoint, XlogRecord};
use wal::{
    ArchiveStatus, BranchRecord, FLUSHED_FILE, Fork, Lsn, Record, RelFile, SegmentFile, SegmentNumber,
    SourceError, TimelineId, WalSource, own_flush,
};

/// A target.
pub struct Target {
    pub(crate) disk: SharedDisk,
    pub(crate) dir: PathBuf,
    pub(crate) control: ControlFile,
    pub(crate) history: TimelineHistory,
    /// It is a backup that was not started yet.
    label: Option<BackupLabel>,
    /// The end of its log, if a promotion that was not decided has written behind that: nothing of it is in a
    /// page, and the next start takes it back.
    undecided_from: Option<Lsn>,
    /// Where its log is.
    pub(crate) places: Places,
    /// Cancelled, it ends what reads its log.
    stop: CancellationToken,
}

/// The end of what two histories share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForkPoint {
    /// The first byte that is not common.
    pub at: Lsn,
    /// The timeline that owns the byte before.
    pub timeline: TimelineId,
}

/// A checkpoint, and where its record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The record's start.
    pub at: Lsn,
    /// What it says.
    pub contents: CheckPoint,
}

/// What the target has that the source's branch has not.
#[derive(Debug)]
pub struct Divergence {
    /// Where they parted.
    pub fork: ForkPoint,
    /// The last checkpoint before, whose effect the target has whole on disk.
    pub base: Checkpoint,
    /// The end of the target's log.
    pub end: Lsn,
    /// The base's redo point, or an older one from which an earlier rewind, to another source perhaps, has
    /// overwritten what the log had changed.
    pub changed_from: Lsn,
    /// What its log has changed from there on.
    pub blocks: BlockSet,
    /// Those of them of which it does not tell what they held before.
    pub(crate) untold: BlockSet,
    /// What the source has yet of what those held at the fork.
    pub(crate) untouched: Untouched,
    /// A rewind that was broken off may have overwritten all of these blocks, and in these files others.
    pub overwritten: Option<Touched>,
    /// What its log from there on tells of transactions that had begun before.
    pub(crate) seen: Seen,
}

/// What a log changes.
struct Changes {
    blocks: BlockSet,
    /// Those of which it has no image before anything is done to them.
    untold: BlockSet,
    /// The log's end.
    end: Lsn,
}

impl Target {
    /// Looks at a directory; `archive` gives segments of its log that are not there any more.
    ///
    /// # Errors
    /// Fails if it is no directory of ours, or its files make no sense.
    pub fn load(
        disk: SharedDisk,
        dir: &Path,
        archive: Option<Arc<dyn LogArchive>>,
    ) -> Result<Self, RewindError> {
        let control = ControlFile::load(&*disk, dir)?;
        FORMATS.check_directory(&*disk, dir).map_err(RewindError::Format)?;
        let label = BackupLabel::load(&*disk, dir, control.segment_size)?;
        let record = BranchRecord::load(&*disk, dir, &control)?;
        let start = RecoveryStart::found(&control, label.as_ref(), record);
        let history = start.own_history(&*disk, &dir.join("pg_wal"))?;
        let undecided_from = undecided_end(&disk, dir, &control, record.as_ref())?.map(|ended| ended.lsn);
        let places = Places::new(disk.clone(), dir, control.segment_size, archive);
        Ok(Self {
            disk,
            dir: dir.to_path_buf(),
            control,
            history,
            label,
            undecided_from,
            places,
            stop: CancellationToken::new(),
        })
    }

    /// What a rewind is to change.
    pub(crate) fn of(disk: SharedDisk, options: &RewindOptions) -> Result<Self, RewindError> {
        let loaded = Self::load(disk, &options.target, options.supply.clone())?;
        Ok(Self { stop: options.stop.clone(), ..loaded })
    }

    /// A reader over its own log.
    pub fn reader(&self, at: Lsn) -> WalReader<SegmentFiles> {
        self.reader_of(self.log_along(&self.history), at)
    }

    /// The same without what an archive would have to bring.
    pub(crate) fn reader_of_here(&self, at: Lsn) -> WalReader<SegmentFiles> {
        self.reader_of(self.log_here(&self.history), at)
    }

    /// The log along a history, with what an archive has of it.
    pub(crate) fn log_along(&self, history: &TimelineHistory) -> SegmentFiles {
        let mut files = self.log_here(history);
        if self.places.has_archive() {
            files.set_supply(Arc::new(self.places.clone()));
        }
        files
    }

    fn log_here(&self, history: &TimelineHistory) -> SegmentFiles {
        let (size, pg_wal) = (self.control.segment_size, self.dir.join("pg_wal"));
        let mut files = SegmentFiles::new(self.disk.clone(), pg_wal, size, history.clone());
        files.look_beside(self.places.beside());
        files
    }

    fn reader_of(&self, mut files: SegmentFiles, at: Lsn) -> WalReader<SegmentFiles> {
        let size = self.control.segment_size;
        // A standby lacks what did not come; a hole proves nothing.
        files.let_gaps_end_the_log(self.control.state.is_standbys());
        if let Some(end) = self.undecided_from {
            files.set_limit(end);
        }
        let options = ReaderOptions { system_id: Some(self.control.system_id), ..ReaderOptions::new(size) };
        let mut reader = WalReader::new(files, options, at);
        if self.control.state.is_standbys() {
            reader.prove_flush(self.control.min_recovery_point);
        }
        reader
    }

    /// The timeline that is given up, if one is.
    pub fn timeline(&self) -> TimelineId {
        self.history.target()
    }

    /// Its cluster.
    pub const fn system_id(&self) -> wal::SystemId {
        self.control.system_id
    }

    /// What it has that the source has not. Log before the fork that is gone here comes from the source,
    /// segment by segment, as far as it is asked for.
    ///
    /// # Errors
    /// Fails as [`Self::divergence_from`] does, or if the source cannot be read.
    pub(crate) async fn divergence(
        &self,
        history: &TimelineHistory,
        source: &mut Source,
        log_end: Lsn,
        begun: Option<&Marker>,
    ) -> Result<Option<Divergence>, RewindError> {
        loop {
            let error = match self.divergence_from(history, begun) {
                Err(error) => error,
                found => return found,
            };
            let size = self.control.segment_size;
            let fork = self.history.common_ancestor(history).map_or(Lsn::INVALID, |(_, fork)| fork);
            let Some(segment) = self.missing_segment(&error)? else { return Err(error) };
            let gone = |error: RewindError| {
                let timeline = self.history.timeline_at(size.start_of(segment.next()) - 1);
                error.of_gone_log(segment.file_name(timeline, size), self.places.has_archive())
            };
            // Behind the fork the source's log is another, and behind its end a file has whatever it had.
            if size.start_of(segment.next()) > fork.min(log_end) {
                return Err(gone(error));
            }
            // The file of an older timeline would end within it.
            let timeline = history.timeline_at(size.start_of(segment.next()) - 1);
            let name = segment.file_name(timeline, size);
            let to = format!("{BROUGHT_DIR}/{name}");
            let mut copier = Copier {
                disk: self.disk.clone(),
                dir: self.dir.clone(),
                source,
                checksums: self.control.data_checksums,
                arrived: &mut |_| {},
            };
            let own = self.path(&to);
            if self.places.has(SegmentFile { segment, timeline }).map_err(io_error(&own))? {
                return Err(error);
            }
            self.places.make_folder().map_err(io_error(&own))?;
            if !copier.copy_segment(&name, &to, size.bytes(), size.bytes()).await? {
                return Err(gone(error));
            }
        }
    }

    /// The segment that is gone from here, if that is why the log cannot be read.
    fn missing_segment(&self, error: &RewindError) -> Result<Option<SegmentNumber>, RewindError> {
        let size = self.control.segment_size;
        let RewindError::LogTooShort { expected, found } = *error else {
            return Ok(error.missing_log().map(|at| size.segment_of(at)));
        };
        // The record that is not whole may go on in the segments behind it.
        let mut segment = size.segment_of(found);
        while size.start_of(segment) < expected {
            let start = size.start_of(segment);
            if !is_there(&mut self.reader(start), start)? {
                return Ok(Some(segment));
            }
            segment = segment.next();
        }
        Ok(None)
    }

    /// What it has that a source of this history has not; None if there is nothing. `begun`: the marker of a
    /// rewind that was broken off.
    ///
    /// # Errors
    /// Fails if they have nothing in common, or the log cannot be read as far as it must be.
    pub fn divergence_from(
        &self,
        source: &TimelineHistory,
        begun: Option<&Marker>,
    ) -> Result<Option<Divergence>, RewindError> {
        let common = self.history.common_ancestor(source).ok_or(RewindError::NoCommonAncestor)?;
        let mut fork = ForkPoint { timeline: common.0, at: common.1 };
        let named = self.label.as_ref().map_or(self.control.checkpoint, |label| label.checkpoint);
        let is_copy = self.label.as_ref().is_some_and(|label| !label.is_own_rewind());
        if is_copy || self.control.is_unfinished_backup() {
            return Err(RewindError::TargetUnfinished(self.dir.display().to_string()));
        }
        if fork.at == Lsn::MAX {
            return Ok(None);
        }
        let base = if self.label.is_some() {
            Checkpoint { at: named, contents: self.control.checkpoint_copy }
        } else if named < fork.at {
            Checkpoint { at: self.control.checkpoint, contents: self.control.checkpoint_copy }
        } else {
            self.last_checkpoint_before(fork.at, &|at| self.reader(at))?
        };
        let redo = self.label.as_ref().map_or(base.contents.redo, |label| label.start);
        let changed_from = begun.map_or(redo, |begun| begun.changed_from.min(redo));
        let mut seen = Seen::from(&base);
        let Changes { blocks, untold, end } =
            self.changes_from(changed_from, |record| seen.note(record, fork.at))?;
        if end <= fork.at {
            if fork.timeline == self.timeline() {
                return Ok(None);
            }
            // It chose a branch that the source has not, and its log does not come to that: all is common.
            fork = ForkPoint { at: end, timeline: self.history.timeline_at(end - 1) };
        }
        if self.label.is_some() {
            return Err(RewindError::TargetNotStarted(self.dir.display().to_string()));
        }
        let begun = begun.filter(|begun| !begun.is_untouched);
        let overwritten = begun.map(|begun| begun.touched.clone());
        let untouched = Untouched::default();
        Ok(Some(Divergence { fork, base, end, changed_from, blocks, untold, untouched, overwritten, seen }))
    }

    /// What the log changes from a redo point on. Each record is shown.
    fn changes_from(&self, redo: Lsn, mut show: impl FnMut(&Record)) -> Result<Changes, RewindError> {
        let (mut blocks, mut untold) = (BlockSet::default(), BlockSet::default());
        let mut reader = self.reader(redo);
        let end = self.each_record(&mut reader, |record| {
            show(record);
            for block in record.blocks() {
                if block.id > 0 && host::planted!("a rewind copies the first block of a record alone") {
                    continue;
                }
                if block.fork == Fork::Main && block.rel.tablespace == RelFile::DEFAULT_TABLESPACE {
                    if block.image.is_none() && !blocks.contains(block.rel, block.block) {
                        untold.add(block.rel, block.block);
                    }
                    blocks.add(block.rel, block.block);
                }
            }
            Ok(())
        })?;
        Ok(Changes { blocks, untold, end })
    }

    /// What takes long asks whether it is to stop.
    ///
    /// # Errors
    /// Fails if it is.
    pub fn goes_on(&self) -> Result<(), RewindError> {
        if self.stop.is_cancelled() { Err(RewindError::Stopped) } else { Ok(()) }
    }

    /// Gives each whole record from where the reader stands to the log's end, which must be its true one: no
    /// page may be newer than what was read.
    pub(crate) fn each_record(
        &self,
        reader: &mut WalReader<SegmentFiles>,
        mut each: impl FnMut(&Record) -> Result<(), RewindError>,
    ) -> Result<Lsn, RewindError> {
        let end = loop {
            match reader.next()? {
                Next::Record(record) => {
                    self.goes_on()?;
                    each(&record)?;
                }
                Next::End(end) => break end,
            }
        };
        self.check_end(reader, &end)?;
        Ok(end.at)
    }

    fn check_end(&self, reader: &mut WalReader<SegmentFiles>, end: &EndOfWal) -> Result<(), RewindError> {
        let named = self.label.as_ref().map_or(self.control.checkpoint, |label| label.checkpoint);
        let at_least = (named + 1).max(self.control.min_recovery_point);
        if self.label.is_none() && end.at < at_least {
            return Err(RewindError::LogTooShort { expected: at_least, found: end.at });
        }
        // What a crashed primary left behind its log's end says whether that is the end.
        if self.control.state.is_crashed() && self.label.is_none() {
            reader.verify_end(end)?;
            // Nor may whole segments be gone.
            let path = self.path(FLUSHED_FILE);
            let own = own_flush(self.disk.clone(), &self.dir, &self.history).map_err(io_error(&path))?;
            let marked = self.marks().flushed(self.timeline(), self.control.segment_size);
            let marked = marked.map_err(io_error(&self.path("pg_wal/archive_status")))?;
            if end.is_disproved_by(own) || marked > end.writes_on_at() {
                return Err(RewindError::LogTooShort { expected: own.max(marked), found: end.at });
            }
        }
        Ok(())
    }

    fn no_checkpoint(&self, fork: Lsn, at: Lsn) -> RewindError {
        RewindError::NoCheckpoint { fork, at, was_asked: self.places.has_archive() }
    }

    /// The last checkpoint whose record ends at or before `fork`.
    pub(crate) fn last_checkpoint_before(
        &self,
        fork: Lsn,
        reader: &dyn Fn(Lsn) -> WalReader<SegmentFiles>,
    ) -> Result<Checkpoint, RewindError> {
        let size = self.control.segment_size;
        let mut segment = size.segment_before(fork);
        loop {
            let (start, end) = (size.start_of(segment), size.start_of(segment.next()).min(fork));
            let mut reader = reader(start);
            if !is_there(&mut reader, start)? {
                return Err(self.no_checkpoint(fork, start));
            }
            if let Some(found) = last_checkpoint_within(&mut reader, start, end, fork)? {
                return Ok(found);
            }
            match segment.get().checked_sub(1) {
                Some(before) => segment = SegmentNumber::new(before),
                None => return Err(self.no_checkpoint(fork, start)),
            }
        }
    }

    /// Makes durable what a rewind is decided by: the log from a position on, and the control file. A server
    /// that was killed leaves bytes and names to the kernel. If a power cut took them later, the rewind that
    /// goes on would not know all blocks that the one before has overwritten.
    pub(crate) fn settle(&self, from: Lsn) -> Result<(), RewindError> {
        // The record of a promotion goes with the branch that is given up.
        separate_shared(&self.disk, &self.dir, self.control.segment_size)?;
        self.places.make_durable(from)?;
        let control = control_file_path(&self.dir);
        let folder = control.parent().unwrap_or(&self.dir);
        let file = self.disk.open(&control, OpenMode::ReadWrite);
        let synced = file.and_then(|file| file.sync()).and_then(|()| self.disk.sync_dir(folder));
        synced.map_err(io_error(&control))
    }

    /// Has the control file say no more that the directory's server was stopped: PostgreSQL's pg_rewind takes
    /// such a one alone, and would remove the marker as a file that its source has not. To a rewind that goes
    /// on the state is the same as before: a primary's that left no end to verify, or a standby's.
    pub(crate) fn say_not_stopped(&self) -> Result<(), RewindError> {
        let state = match self.control.state {
            ClusterState::ShutDown => ClusterState::ShuttingDown,
            ClusterState::ShutDownInRecovery => ClusterState::InArchiveRecovery,
            // Written all the same: a try that was killed may have left it to the kernel.
            other => other,
        };
        Ok(ControlFile { state, ..self.control.clone() }.store(&*self.disk, &self.dir)?)
    }

    /// Where the files are that a node alone has.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The names in pg_wal, and those of what is beside it.
    pub(crate) fn log_names(&self) -> Result<Vec<String>, RewindError> {
        let pg_wal = self.path("pg_wal");
        let entries = self.disk.list(&pg_wal).map_err(io_error(&pg_wal))?;
        let mut names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
        names.extend(self.places.names_beside()?);
        Ok(names)
    }

    /// The marks of the archive.
    pub(crate) fn marks(&self) -> ArchiveStatus {
        ArchiveStatus::new(self.disk.clone(), &self.path("pg_wal"))
    }

    /// The names of the files that have one.
    pub(crate) fn marked_names(&self) -> Result<Vec<String>, RewindError> {
        self.marks().names().map_err(io_error(&self.path("pg_wal/archive_status")))
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Whether the log has a byte at this position.
pub(crate) fn is_there(reader: &mut WalReader<SegmentFiles>, at: Lsn) -> Result<bool, RewindError> {
    match reader.source_mut().read(at, &mut [0; 1]) {
        Ok(got) => Ok(got > 0),
        Err(SourceError::Missing { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The last checkpoint whose record starts in a part of the log and ends at or before `fork`.
fn last_checkpoint_within(
    reader: &mut WalReader<SegmentFiles>,
    start: Lsn,
    end: Lsn,
    fork: Lsn,
) -> Result<Option<Checkpoint>, RewindError> {
    let Some(first) = reader.find_whole(start, end)? else { return Ok(None) };
    let mut last = None;
    let mut note = |record: &Record| {
        if let Ok(XlogRecord::CheckpointShutdown(contents) | XlogRecord::CheckpointOnline(contents)) =
            XlogRecord::parse(record)
        {
            last = Some(Checkpoint { at: record.start(), contents });
        }
    };
    // It is read once more: behind the end of a segment that was switched there is nothing.
    reader.seek(first.start(), None);
    while let Next::Record(record) = reader.next()? {
        if record.start() >= end || record.end() > fork {
            break;
        }
        note(&record);
    }
    Ok(last)
}
