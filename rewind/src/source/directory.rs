//! A directory at rest.

use super::{SourcePosition, Take, pg_wal};
use crate::error::{RewindError, io_error};
use basebackup::send::files::{SentFile, read_part, sent_files};
use host::{LockGuard, SharedDisk};
use protocol::replication::ReadFile;
use std::path::{Path, PathBuf};
use wal::backup_label::BACKUP_LABEL_FILE;
use wal::control::{ClusterState, ControlFile};
use wal::format::FORMATS;
use wal::history::TimelineHistory;
use wal::reader::{Next, ReadError, ReaderOptions, SegmentFiles, WalReader};
use wal::timelines::RecoveryStart;
use wal::{BranchRecord, Lsn, TimelineId};

/// A directory that nobody changes.
pub struct DirectorySource {
    disk: SharedDisk,
    dir: PathBuf,
    control: ControlFile,
    timeline: TimelineId,
    /// The end of its log.
    log_end: Lsn,
    /// No server opens it meanwhile.
    _lock: Box<dyn LockGuard>,
}

impl DirectorySource {
    /// Looks at the directory, which is locked.
    pub(super) fn new(disk: SharedDisk, dir: &Path, lock: Box<dyn LockGuard>) -> Result<Self, RewindError> {
        let control = ControlFile::load(&*disk, dir)?;
        FORMATS.check_directory(&*disk, dir).map_err(RewindError::Format)?;
        let label = dir.join(BACKUP_LABEL_FILE);
        let marker = dir.join(storage::REWIND_MARKER);
        let is_copy = disk.exists(&label).map_err(io_error(&label))?
            || disk.exists(&marker).map_err(io_error(&marker))?;
        if is_copy || !control.state.is_at_rest() {
            return Err(RewindError::SourceRuns(dir.display().to_string()));
        }
        let record = BranchRecord::load(&*disk, dir, &control)?;
        let timeline = RecoveryStart::found(&control, None, record).timeline();
        let history = TimelineHistory::load(&*disk, &pg_wal(dir), timeline)?;
        let log_end = end_of_log(&disk, dir, &control, history)?;
        Ok(Self { disk, dir: dir.to_path_buf(), control, timeline, log_end, _lock: lock })
    }

    /// Its last checkpoint, or how new a standby's pages may be. A standby's log may go further, along a
    /// later timeline; nothing of that is in a page.
    pub(super) fn position(&self) -> SourcePosition {
        let timeline = match self.control.state {
            ClusterState::ShutDown => self.control.checkpoint_copy.timeline,
            _ => self.control.min_recovery_point_timeline.max(self.control.checkpoint_copy.timeline),
        };
        SourcePosition {
            system_id: self.control.system_id,
            timeline: timeline.max(self.timeline),
            at: newest(&self.control),
            log_end: self.log_end,
        }
    }

    pub(super) fn history(&self, timeline: TimelineId) -> Result<TimelineHistory, RewindError> {
        Ok(TimelineHistory::load(&*self.disk, &pg_wal(&self.dir), timeline)?)
    }

    pub(super) fn files(&self) -> Result<Vec<SentFile>, RewindError> {
        sent_files(&*self.disk, &self.dir).map_err(io_error(&self.dir))
    }

    pub(super) fn read(&self, reads: &[ReadFile], take: &mut Take<'_>) -> Result<(), RewindError> {
        for read in reads {
            let found = read_part(&*self.disk, &self.dir, read);
            let found = found.map_err(|error| io_error(&self.dir.join(&read.path))(error))?;
            take(read, found.as_deref())?;
        }
        Ok(())
    }
}

/// No page is newer.
fn newest(control: &ControlFile) -> Lsn {
    match control.state {
        ClusterState::ShutDown => control.checkpoint,
        _ => control.min_recovery_point.max(control.checkpoint),
    }
}

/// Where the last whole record ends that is there: what a standby has received it need not have replayed.
fn end_of_log(
    disk: &SharedDisk,
    dir: &Path,
    control: &ControlFile,
    history: TimelineHistory,
) -> Result<Lsn, RewindError> {
    let (size, newest) = (control.segment_size, newest(control));
    if host::planted!("a stopped standby's log counts only as far as it was replayed") {
        return Ok(newest);
    }
    let mut files = SegmentFiles::new(disk.clone(), pg_wal(dir), size, history);
    files.let_gaps_end_the_log(true);
    let options = ReaderOptions { system_id: Some(control.system_id), ..ReaderOptions::new(size) };
    let mut reader = WalReader::new(files, options, newest);
    let mut end = newest;
    loop {
        match reader.next() {
            Ok(Next::Record(record)) => end = record.end(),
            Err(ReadError::Source(error)) => return Err(RewindError::LogSource(error)),
            Ok(Next::End(_)) | Err(_) => return Ok(end),
        }
    }
}
