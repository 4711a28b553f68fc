//! Fetching files from the archive with restore_command.

use super::Archive;
use super::same_log::{Filled, SameLog, Wanted};
use super::shell::{self, Outcome, ShellCommands};
use crate::configuration::Ground;
use host::sync::Mutex;
use host::task::{block_on, in_place};
use host::{Disk, FileKind, OpenMode, SharedDisk, copy_beginning};
use rewind::LogArchive;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use wal::history::TimelineHistory;
use wal::reader::{SegmentFiles, SegmentSupply};
use wal::{ArchiveHistories, ArchiveStatus, Lsn, SegmentNumber, SegmentSize, TimelineId};

/// Where a segment is put until it is whole.
const SEGMENT_FILE: &str = "RECOVERYXLOG";
/// Where a history file is put until it is whole.
const HISTORY_FILE: &str = "RECOVERYHISTORY";
/// Where a segment is put by which another one is judged.
pub(super) const BESIDE_FILE: &str = "RECOVERYBESIDE";

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

/// A file that restore_command has brought, under its temporary name. It goes with this, unless it was given
/// another name.
pub(super) struct Fetched {
    disk: SharedDisk,
    path: PathBuf,
}

/// What became of the history file of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// It is in pg_wal.
    Here,
    /// The archive has the beginning of one.
    Unfinished,
    /// It is neither there nor in the archive.
    Nowhere,
}

impl Fetched {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        // The next command, or the next start, tells if it cannot be removed.
        let _ = remove(&*self.disk, &self.path);
    }
}

/// The way from the archive into pg_wal. Its methods block; they are for threads that may.
pub(crate) struct Restorer {
    pub(super) ground: Arc<Ground>,
    /// Weak, since the archive holds this.
    archive: Weak<Archive>,
    /// Ends its commands, with the archive's token or before that.
    pub(super) stop: CancellationToken,
    pg_wal: PathBuf,
    pub(super) segment_size: SegmentSize,
    status: ArchiveStatus,
    /// The segment of the redo point that recovery began with, for `%r` until there is a restartpoint.
    first_needed: String,
    /// A standby waits for a segment that is not whole yet; without standby.signal that is damage.
    standby: bool,
    /// They say whose the archive's segments are.
    known: Mutex<ArchiveHistories>,
    /// The timelines of which it was said that the archive's segments are another branch's.
    refused: Mutex<HashSet<TimelineId>>,
    pub(super) same_log: Mutex<SameLog>,
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
            stop: archive.stop.child_token(),
            status: ArchiveStatus::new(ground.host.disk.clone(), &pg_wal),
            ground,
            pg_wal,
            segment_size,
            first_needed,
            standby,
            known: Mutex::default(),
            refused: Mutex::default(),
            same_log: Mutex::default(),
            runtime: Handle::current(),
        }
    }

    /// Where commands run.
    pub(crate) fn runtime(&self) -> Handle {
        self.runtime.clone()
    }

    /// Ends what is asked for, and has nothing fetched any more.
    pub(crate) fn give_up(&self) {
        self.stop.cancel();
    }

    pub(super) fn archive(&self) -> io::Result<Arc<Archive>> {
        self.archive.upgrade().ok_or_else(|| io::Error::other("the server stops"))
    }

    /// Fetches a file under a temporary name. None: the archive does not have it, as far as can be told.
    pub(super) fn fetch_file(
        &self,
        name: &str,
        temporary: &str,
        size: Option<u64>,
    ) -> io::Result<Option<Fetched>> {
        let archive = self.archive()?;
        let oldest = archive.oldest_needed().unwrap_or_else(|| self.first_needed.clone());
        let asked = Asked { name, path: &format!("pg_wal/{temporary}"), oldest: &oldest };
        // What a command leaves that fails goes, too.
        let fetched = Fetched { disk: self.ground.host.disk.clone(), path: self.pg_wal.join(temporary) };
        match block_on(&self.runtime, asked.run(&self.ground, &archive.commands, &self.stop))? {
            Some(Outcome::Done) => {}
            None | Some(Outcome::Failed { .. }) => return Ok(None),
            Some(outcome) => {
                let what = format!("could not restore file \"{name}\" from archive: {}", outcome.describe());
                return Err(io::Error::other(what));
            }
        }
        let Some(found) = brought(&*fetched.disk, &fetched.path, name)? else { return Ok(None) };
        match size {
            Some(size) if found < size && self.standby => Ok(None),
            Some(size) if found != size => Err(io::Error::other(format!(
                "archive file \"{name}\" has wrong size: {found} instead of {size}"
            ))),
            _ => Ok(Some(fetched)),
        }
    }

    fn tell_restored(&self, name: &str) {
        self.ground.log.log(format!("restored log file \"{name}\" from archive"));
    }

    /// Gives a fetched file its name. It need not be archived again, unless this node archives everything:
    /// then a segment gets its mark when it is redone, since the log may be left within it.
    fn keep(&self, fetched: &Fetched, name: &str) -> io::Result<()> {
        host::durable_rename(&*self.ground.host.disk, &fetched.path, &self.pg_wal.join(name))?;
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
    /// now. A standby waits for one that is not whole.
    pub(crate) fn history(&self, timeline: TimelineId) -> io::Result<bool> {
        match self.history_beside(None, timeline)? {
            Found::Here => Ok(true),
            Found::Nowhere => Ok(false),
            Found::Unfinished if self.standby => Ok(false),
            Found::Unfinished => Err(io::Error::other(format!(
                "the archive's file \"{}\" is not whole, and says which log is to be recovered: put a good \
                 copy of it there, or name another timeline by recovery_target_timeline",
                timeline.history_file_name()
            ))),
        }
    }

    /// The same while the log of `followed` is read: the history of its timeline's twin stays out of pg_wal.
    fn history_beside(&self, followed: Option<&TimelineHistory>, timeline: TimelineId) -> io::Result<Found> {
        let disk = &*self.ground.host.disk;
        let name = timeline.history_file_name();
        let here = self.pg_wal.join(&name);
        let found = |otherwise| Ok(if disk.exists(&here)? { Found::Here } else { otherwise });
        let Some(fetched) = self.fetch_file(&name, HISTORY_FILE, None)? else {
            return found(Found::Nowhere);
        };
        self.tell_restored(&name);
        let text = disk.read(&fetched.path, wal::history::HISTORY_FILE_SIZE_MAX)?;
        if !text.ends_with(b"\n") {
            // Somebody's archive_command has made the file and not filled it yet.
            self.ground.log.log(format!("history file \"{name}\" in the archive is not whole yet"));
            return found(Found::Unfinished);
        }
        let nonsense = |error: &dyn std::fmt::Display| {
            io::Error::other(format!("the archive's file \"{name}\" makes no sense: {error}"))
        };
        let archived = std::str::from_utf8(&text).map_err(|error| nonsense(&error))?;
        let archived = TimelineHistory::parse(timeline, archived).map_err(|error| nonsense(&error))?;
        let is_twins = followed
            .and_then(|followed| followed.up_to(timeline))
            .is_some_and(|ours| ours.is_twin_of(&archived));
        let is_news = self.known.lock().learn(archived);
        match disk.read(&here, wal::history::HISTORY_FILE_SIZE_MAX) {
            Ok(own) if own == text => {}
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
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_twins => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.keep(&fetched, &name)?,
            Err(error) => return Err(error),
        }
        found(Found::Nowhere)
    }

    /// Whether the archive's segments of a timeline of `followed` are another branch's, which is said once.
    pub(super) fn are_anothers(&self, followed: &TimelineHistory, timeline: TimelineId) -> io::Result<bool> {
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

    /// Whether the archive's history of a timeline is known.
    pub(super) fn has_history(&self, timeline: TimelineId) -> bool {
        timeline > TimelineId::FIRST && !self.known.lock().lacks(timeline)
    }

    /// Fetches the histories of the timelines after `known`; see [`wal::timelines::fetch_later`].
    pub(crate) fn fetch_later(&self, known: TimelineId) -> io::Result<TimelineId> {
        wal::timelines::fetch_later(known, |timeline| self.history(timeline))
    }

    /// The same for a promotion, which is to take a number that nobody has: one whose history is not whole is
    /// somebody's.
    pub(crate) fn fetch_taken(&self, known: TimelineId) -> io::Result<TimelineId> {
        wal::timelines::fetch_later(known, |timeline| {
            Ok(!matches!(self.history_beside(None, timeline)?, Found::Nowhere))
        })
    }

    /// Removes what a broken-off fetch left.
    pub(crate) fn remove_temporaries(ground: &Ground) -> io::Result<()> {
        for name in [SEGMENT_FILE, HISTORY_FILE, BESIDE_FILE] {
            remove(&*ground.host.disk, &ground.data_dir.join("pg_wal").join(name))?;
        }
        Ok(())
    }
}

/// Removes what a command may have put there, a folder with all that is in it too.
pub(super) fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    host::remove_tree(disk, path).map_err(|failed| {
        let what = format!("could not remove \"{}\": {}", failed.path.display(), failed.error);
        io::Error::new(failed.error.kind(), what)
    })
}

/// The length of the file that restore_command has put at `path` for the archive's file `name`; None if
/// nothing is there. Nothing but a file is taken: what a link names is the archive's own, and would be
/// written to as this server's log. A second name of the archive's file becomes a copy.
///
/// # Errors
/// Fails if something else is there, the folder cannot be read, or the file cannot be copied.
pub fn brought(disk: &dyn Disk, path: &Path, name: &str) -> io::Result<Option<u64>> {
    let (folder, file) = (path.parent().unwrap_or(Path::new("")), path.file_name());
    let there = disk.list(folder)?.into_iter().find(|entry| file == Some(OsStr::new(&entry.name)));
    let what = match there.map(|entry| entry.kind) {
        None => return Ok(None),
        Some(FileKind::File) => {
            let found = disk.metadata(path)?;
            if found.names > 1 {
                set_apart(disk, path).map_err(|error| {
                    let what = "restore_command has linked instead of copied";
                    let what = format!("could not copy the archive's file \"{name}\", which {what}: {error}");
                    io::Error::new(error.kind(), what)
                })?;
            }
            return Ok(Some(found.len));
        }
        Some(FileKind::Directory) => "a folder",
        Some(FileKind::Other) => "a link or a special file",
    };
    Err(io::Error::other(format!(
        "restore_command has made \"{}\" {what} for the archive's file \"{name}\"; it must copy the file there",
        path.display()
    )))
}

/// Puts a copy of a file in its place, so that nothing that is written there is written under its other
/// names.
fn set_apart(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let file = disk.open(path, OpenMode::Read)?;
    disk.remove_file(path)?;
    let copy = disk.open(path, OpenMode::CreateNew)?;
    copy_beginning(&*file, path, &*copy, file.len()?)
}

impl LogArchive for Restorer {
    fn bring(
        &self,
        history: &TimelineHistory,
        timeline: TimelineId,
        segment: SegmentNumber,
        to: &str,
    ) -> io::Result<bool> {
        // The rewind's own future is waited for on this thread.
        in_place(|| {
            if self.are_anothers(history, timeline)? {
                return Ok(false);
            }
            let name = segment.file_name(timeline, self.segment_size);
            let size = Some(self.segment_size.bytes());
            let Some(fetched) = self.fetch_file(&name, SEGMENT_FILE, size)? else { return Ok(false) };
            self.ground.host.disk.rename(&fetched.path, &self.ground.data_dir.join(to))?;
            self.tell_restored(&name);
            Ok(true)
        })
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
        let mut filled = Filled::default();
        // Without a mark of what is confirmed the archive goes before what is here.
        if let Some(along) = history.up_to(timeline).filter(|_| own_upto.is_valid()) {
            let disk = self.ground.host.disk.clone();
            let ours = SegmentFiles::new(disk, &self.pg_wal, self.segment_size, along);
            let wanted = Wanted { history, timeline, segment, ours, own_upto };
            if !self.leads_to(&wanted)? {
                return Ok(false);
            }
            match self.unite(&wanted, &fetched)? {
                Some(united) => filled = united,
                None => return Ok(false),
            }
            self.keep(&fetched, &name)?;
            self.note_kept(&wanted);
        } else {
            self.keep(&fetched, &name)?;
        }
        self.tell_restored(&name);
        if let Some(unreadable) = filled.unreadable {
            self.ground.log.warning(format!(
                "WAL that was here before could not be read between {} and {}, and was replaced by that of the archive",
                unreadable.start, unreadable.end
            ));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::RealDisk;

    #[test]
    fn what_is_restored_is_never_the_archive_s_own_file() {
        let dir = tempfile::tempdir().unwrap();
        let [archived, path] = ["archived", SEGMENT_FILE].map(|name| dir.path().join(name));
        let bytes: Vec<u8> = (0_u8..251).cycle().take((1 << 20) + 100).collect();
        for is_linked in [true, false] {
            std::fs::write(&archived, &bytes).unwrap();
            match is_linked {
                true => std::fs::hard_link(&archived, &path).unwrap(),
                false => _ = std::fs::copy(&archived, &path).unwrap(),
            }
            let found = brought(&RealDisk, &path, "archived").unwrap();
            assert_eq!(found, Some(bytes.len() as u64), "{is_linked}");
            assert!(std::fs::read(&path).unwrap() == bytes, "{is_linked}");
            RealDisk.open(&path, OpenMode::ReadWrite).unwrap().write_all_at(b"more", 0).unwrap();
            assert!(std::fs::read(&archived).unwrap() == bytes, "{is_linked}");
            remove(&RealDisk, &path).unwrap();
        }
        assert_eq!(brought(&RealDisk, &path, "archived").unwrap(), None);
    }

    #[test]
    fn a_folder_in_a_file_s_place_goes_with_all_that_is_in_it_and_nothing_that_it_links_to() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join(HISTORY_FILE), dir.path().join("other"));
        for folder in [path.join("a/b/c"), path.join("d"), other.clone()] {
            std::fs::create_dir_all(folder).unwrap();
        }
        for file in [path.join("a/x"), path.join("a/b/c/y"), other.join("z")] {
            std::fs::write(file, "text").unwrap();
        }
        std::os::unix::fs::symlink(&other, path.join("d/link")).unwrap();
        remove(&RealDisk, &path).unwrap();
        assert!(!path.exists() && other.join("z").exists());
        remove(&RealDisk, &path).unwrap();
    }
}
