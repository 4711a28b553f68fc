//! Fetching files from the archive with restore_command.

use super::Archive;
use super::shell::{self, Outcome, ShellCommands};
use crate::configuration::Ground;
use host::OpenMode;
use host::sync::Mutex;
use host::task::block_on;
use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use wal::history::TimelineHistory;
use wal::reader::{Compared, SegmentFiles, SegmentSupply};
use wal::{ArchiveHistories, ArchiveStatus, Lsn, SegmentNumber, SegmentSize, TimelineId};

/// Where a segment is put until it is whole.
const SEGMENT_FILE: &str = "RECOVERYXLOG";
/// Where a history file is put until it is whole.
const HISTORY_FILE: &str = "RECOVERYHISTORY";
/// Bytes that are compared at once.
const COMPARED_BYTES: usize = 128 << 10;

/// A file that restore_command is asked for.
pub(super) struct Asked<'a> {
    pub(super) name: &'a str,
    /// Where it is to be put, from the data directory on.
    pub(super) path: &'a str,
    /// `%r`
    pub(super) oldest: &'a str,
}

impl Asked<'_> {
    /// Runs restore_command; None if it is not set.
    pub(super) async fn run(
        &self,
        ground: &Ground,
        commands: &ShellCommands,
        stop: &CancellationToken,
    ) -> io::Result<Option<Outcome>> {
        let template = ground.config().restore_command.clone();
        if template.trim().is_empty() {
            return Ok(None);
        }
        remove(&*ground.host.disk, &ground.data_dir.join(self.path))?;
        let command = shell::expand(&template, &[('p', self.path), ('f', self.name), ('r', self.oldest)]);
        commands.run(&command, &ground.data_dir, stop).await.map(Some)
    }
}

/// The way from the archive into pg_wal. Its methods block; they are for threads that may.
pub(crate) struct Restorer {
    ground: Arc<Ground>,
    /// Weak, since the archive holds this.
    archive: Weak<Archive>,
    pg_wal: PathBuf,
    segment_size: SegmentSize,
    status: ArchiveStatus,
    /// The segment of the redo point that recovery began with, for `%r` until there is a restartpoint.
    first_needed: String,
    /// A standby waits for a segment that is not whole yet; without standby.signal that is damage.
    standby: bool,
    /// They say whose the archive's segments are.
    known: Mutex<ArchiveHistories>,
    /// The timelines of which it was said that the archive's segments are another branch's.
    refused: Mutex<HashSet<TimelineId>>,
    /// The segments of which it was said that the archive's are not what was received.
    unlike: Mutex<HashSet<String>>,
    runtime: Handle,
}

impl Restorer {
    /// To be made in the runtime that will run the commands.
    pub(crate) fn new(
        archive: &Arc<Archive>,
        segment_size: SegmentSize,
        first_needed: String,
        standby: bool,
    ) -> Self {
        let ground = archive.ground.clone();
        let pg_wal = ground.data_dir.join("pg_wal");
        Self {
            archive: Arc::downgrade(archive),
            status: ArchiveStatus::new(ground.host.disk.clone(), &pg_wal),
            ground,
            pg_wal,
            segment_size,
            first_needed,
            standby,
            known: Mutex::default(),
            refused: Mutex::default(),
            unlike: Mutex::default(),
            runtime: Handle::current(),
        }
    }

    /// Bytes of a segment.
    pub(crate) const fn segment_size(&self) -> SegmentSize {
        self.segment_size
    }

    /// Where commands run.
    pub(crate) fn runtime(&self) -> Handle {
        self.runtime.clone()
    }

    fn archive(&self) -> io::Result<Arc<Archive>> {
        self.archive.upgrade().ok_or_else(|| io::Error::other("the server stops"))
    }

    /// Fetches a file under a temporary name. None: the archive does not have it, as far as can be told.
    fn fetch_file(&self, name: &str, temporary: &str, size: Option<u64>) -> io::Result<Option<PathBuf>> {
        let archive = self.archive()?;
        let oldest = archive.oldest_needed().unwrap_or_else(|| self.first_needed.clone());
        let asked = Asked { name, path: &format!("pg_wal/{temporary}"), oldest: &oldest };
        let disk = &*self.ground.host.disk;
        match block_on(&self.runtime, asked.run(&self.ground, &archive.commands, &archive.stop))? {
            Some(Outcome::Done) => {}
            None | Some(Outcome::Failed { .. }) => return Ok(None),
            Some(outcome) => {
                let what = format!("could not restore file \"{name}\" from archive: {}", outcome.describe());
                return Err(io::Error::other(what));
            }
        }
        let path = self.pg_wal.join(temporary);
        let found = match disk.metadata(&path) {
            Ok(found) => found.len,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match size {
            Some(size) if found < size && self.standby => Ok(None),
            Some(size) if found != size => Err(io::Error::other(format!(
                "archive file \"{name}\" has wrong size: {found} instead of {size}"
            ))),
            _ => Ok(Some(path)),
        }
    }

    fn tell_restored(&self, name: &str) {
        self.ground.log.log(format!("restored log file \"{name}\" from archive"));
    }

    /// Gives a fetched file its name. It need not be archived again, unless this node archives everything:
    /// then a segment gets its mark when it is redone, since the log may be left within it.
    fn keep(&self, from: &Path, name: &str) -> io::Result<()> {
        host::durable_rename(&*self.ground.host.disk, from, &self.pg_wal.join(name))?;
        if self.ground.config().archive_mode.as_ref() != "always" {
            return self.status.force_done(name);
        }
        let is_segment = SegmentNumber::parse_file_name(name, self.segment_size).is_some();
        if !is_segment
            && self.status.notify(name)?
            && let Some(archiver) = self.archive()?.archiver()
        {
            archiver.wake();
        }
        Ok(())
    }

    /// Has the history file of a timeline in pg_wal, from the archive if it is there. True if pg_wal has it
    /// now.
    pub(crate) fn history(&self, timeline: TimelineId) -> io::Result<bool> {
        self.history_beside(None, timeline)
    }

    /// The same while the log of `followed` is read: the history of its timeline's twin stays out of pg_wal.
    fn history_beside(&self, followed: Option<&TimelineHistory>, timeline: TimelineId) -> io::Result<bool> {
        let disk = &*self.ground.host.disk;
        let name = timeline.history_file_name();
        let here = self.pg_wal.join(&name);
        let Some(fetched) = self.fetch_file(&name, HISTORY_FILE, None)? else {
            return disk.exists(&here);
        };
        self.tell_restored(&name);
        let text = disk.read(&fetched, wal::history::HISTORY_FILE_SIZE_MAX)?;
        if !text.ends_with(b"\n") {
            // Somebody's archive_command has made the file and not filled it yet.
            self.ground.log.log(format!("history file \"{name}\" in the archive is not whole yet"));
            remove(disk, &fetched)?;
            return disk.exists(&here);
        }
        let archived =
            TimelineHistory::parse(timeline, &String::from_utf8_lossy(&text)).map_err(|error| {
                io::Error::other(format!("the archive's file \"{name}\" makes no sense: {error}"))
            })?;
        let is_twins = followed
            .and_then(|followed| followed.up_to(timeline))
            .is_some_and(|ours| ours.is_twin_of(&archived));
        let is_news = self.known.lock().learn(archived);
        match disk.read(&here, wal::history::HISTORY_FILE_SIZE_MAX) {
            Ok(own) if own == text => remove(disk, &fetched)?,
            // Ours is the beginning of it, from a copy that was not whole.
            Ok(own) if text.starts_with(&own) => self.keep(&fetched, &name)?,
            Ok(_) => {
                // Twins: two promotions took one number. What this node followed so far stays its own.
                if is_news {
                    self.ground.log.warning(format!(
                        "timeline history file \"{name}\" in the archive differs from the one in pg_wal, \
                         which is kept"
                    ));
                }
                remove(disk, &fetched)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_twins => remove(disk, &fetched)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.keep(&fetched, &name)?,
            Err(error) => return Err(error),
        }
        disk.exists(&here)
    }

    /// Whether the archive's segments of a timeline of `followed` are another branch's, which is said once.
    fn are_anothers(&self, followed: &TimelineHistory, timeline: TimelineId) -> io::Result<bool> {
        if self.known.lock().lacks(timeline) {
            self.history_beside(Some(followed), timeline)?;
        }
        let are_anothers = self.known.lock().are_anothers(followed, timeline);
        if are_anothers && self.refused.lock().insert(timeline) {
            self.ground.log.warning(format!(
                "the segments of timeline {timeline} in the archive are of another branch than this \
                 server's timeline {timeline}, and are not restored"
            ));
        }
        Ok(are_anothers)
    }

    /// Puts into a fetched segment what of it can be read here, up to `own_upto`. Gives the place that could
    /// not; None if the segment is of another log, which is said once.
    fn unite(
        &self,
        fetched: &Path,
        ours: &SegmentFiles,
        start: Lsn,
        own_upto: Lsn,
    ) -> io::Result<Option<Range<Lsn>>> {
        let disk = &self.ground.host.disk;
        let theirs = disk.open(fetched, OpenMode::Read)?;
        let (mut piece, mut at) = (vec![0; COMPARED_BYTES], start);
        let mut unreadable = start..start;
        while at < own_upto {
            let most = usize::try_from(own_upto.bytes_since(at)).unwrap_or(usize::MAX).min(COMPARED_BYTES);
            let offset = at.bytes_since(start);
            let got = theirs.read_at(piece.get_mut(..most).unwrap_or_default(), offset)?;
            if got == 0 {
                break;
            }
            match ours.compare(at, piece.get(..got).unwrap_or_default()).map_err(io::Error::other)? {
                Compared::Same | Compared::Gone => {}
                Compared::Alike { bytes, taken } => {
                    // A copy of a read-only file may be one, too, and mostly is as it is to be.
                    if piece.get(..got) != Some(&bytes[..]) {
                        disk.open(fetched, OpenMode::ReadWrite)?.write_all_at(&bytes, offset)?;
                    }
                    if let Some(part) = taken {
                        let from = if unreadable.is_empty() { part.start } else { unreadable.start };
                        unreadable = from..part.end;
                    }
                }
                Compared::Another(differs_at) => {
                    self.refuse_unlike(ours, start, differs_at);
                    return Ok(None);
                }
            }
            at = at + got as u64;
        }
        Ok(Some(unreadable))
    }

    fn refuse_unlike(&self, ours: &SegmentFiles, start: Lsn, differs_at: Lsn) {
        let segment = self.segment_size.segment_of(start);
        let name = segment.file_name(ours.history().target(), self.segment_size);
        let warning = format!(
            "the archive's segment \"{name}\" differs at {differs_at} from what this server has received, and is not \
             restored"
        );
        if self.unlike.lock().insert(name) {
            self.ground.log.warning(warning);
        }
    }

    /// Fetches the histories of the timelines after `known`; see [`wal::timelines::fetch_later`].
    pub(crate) fn fetch_later(&self, known: TimelineId) -> io::Result<TimelineId> {
        wal::timelines::fetch_later(known, |timeline| self.history(timeline))
    }

    /// Removes what a broken-off fetch left.
    pub(crate) fn remove_temporaries(ground: &Ground) -> io::Result<()> {
        for name in [SEGMENT_FILE, HISTORY_FILE] {
            remove(&*ground.host.disk, &ground.data_dir.join("pg_wal").join(name))?;
        }
        Ok(())
    }
}

pub(super) fn remove(disk: &dyn host::Disk, path: &Path) -> io::Result<()> {
    match disk.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl SegmentSupply for Restorer {
    fn fetch(
        &self,
        history: &TimelineHistory,
        timeline: TimelineId,
        segment: SegmentNumber,
        own_upto: Lsn,
    ) -> io::Result<bool> {
        if self.are_anothers(history, timeline)? {
            return Ok(false);
        }
        let name = segment.file_name(timeline, self.segment_size);
        let Some(fetched) = self.fetch_file(&name, SEGMENT_FILE, Some(self.segment_size.bytes()))? else {
            return Ok(false);
        };
        let (start, end) = (self.segment_size.start_of(segment), self.segment_size.start_of(segment.next()));
        let mut unreadable = start..start;
        if let Some(along) = history.up_to(timeline).filter(|_| own_upto > start) {
            let disk = &self.ground.host.disk;
            let ours = SegmentFiles::new(disk.clone(), &self.pg_wal, self.segment_size, along);
            match self.unite(&fetched, &ours, start, own_upto.min(end))? {
                Some(part) => unreadable = part,
                None => {
                    remove(&**disk, &fetched)?;
                    return Ok(false);
                }
            }
        }
        self.keep(&fetched, &name)?;
        self.tell_restored(&name);
        if !unreadable.is_empty() {
            self.ground.log.warning(format!(
                "WAL that was here before could not be read between {} and {}, and was replaced by that of the archive",
                unreadable.start, unreadable.end
            ));
        }
        Ok(true)
    }
}
