//! pg_wal/archive_status: which finished files wait for the archive, and which are in it.
//!
//! | file            | meaning                                                                     |
//! |-----------------|-----------------------------------------------------------------------------|
//! | `<name>.ready`  | `pg_wal/<name>` is whole and durable, and waits to be archived              |
//! | `<name>.done`   | it is in the archive, or came from it or from a primary: it may be removed |
//!
//! The files are empty. Names are those of segments, timeline histories, backup histories, and segments of a
//! timeline that a promotion ended (`<segment>.partial`).
//!
//! Invariants: `.ready` is made only after the file it names is durable, and becomes `.done` by a rename that
//! is durable on return. So a segment's mark says to the node that wrote it that the log was durable up to
//! its end. A file without either is not known to be archived: whoever wants to remove it makes it `.ready`
//! first. So a crash at any point can archive a file twice and can never lose one.

use crate::file_names::{self, is_archivable};
use crate::ids::{Lsn, SegmentNumber, SegmentSize, TimelineId};
use host::{OpenMode, SharedDisk};
use std::io;
use std::path::{Path, PathBuf};

const READY: &str = ".ready";
const DONE: &str = ".done";
const FOLDER: &str = "archive_status";

/// What is known of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archived {
    /// Nothing: it has neither mark.
    Unknown,
    /// It waits.
    Ready,
    /// It may be removed.
    Done,
}

/// The path from the data directory of the mark that lets the server which gets this segment remove it
/// without archiving it.
pub fn done_mark(name: &str) -> String {
    format!("pg_wal/{FOLDER}/{name}{DONE}")
}

/// The marks of a pg_wal folder.
#[derive(Clone, Debug)]
pub struct ArchiveStatus {
    disk: SharedDisk,
    pg_wal: PathBuf,
    folder: PathBuf,
}

impl ArchiveStatus {
    /// Those of the folder `pg_wal`.
    pub fn new(disk: SharedDisk, pg_wal: &Path) -> Self {
        Self { disk, folder: pg_wal.join(FOLDER), pg_wal: pg_wal.to_path_buf() }
    }

    fn mark(&self, name: &str, suffix: &str) -> PathBuf {
        self.folder.join(format!("{name}{suffix}"))
    }

    /// What is known of a file.
    ///
    /// # Errors
    /// Fails if the marks cannot be read.
    pub fn of(&self, name: &str) -> io::Result<Archived> {
        if self.disk.exists(&self.mark(name, DONE))? {
            return Ok(Archived::Done);
        }
        if self.disk.exists(&self.mark(name, READY))? {
            return Ok(Archived::Ready);
        }
        // The archiver may have renamed it between the two looks.
        Ok(if self.disk.exists(&self.mark(name, DONE))? { Archived::Done } else { Archived::Unknown })
    }

    /// Marks a file that is whole and durable as waiting, unless it has a mark. True if it was marked now.
    ///
    /// # Errors
    /// Fails if the mark cannot be written.
    pub fn notify(&self, name: &str) -> io::Result<bool> {
        if self.of(name)? != Archived::Unknown {
            return Ok(false);
        }
        self.create(name, READY)?;
        Ok(true)
    }

    /// Marks a file as one that its primary archives, unless it has a mark: one that waits here may be in no
    /// archive, and goes there once this node archives again.
    ///
    /// # Errors
    /// Fails if the mark cannot be written.
    pub fn leave_to_primary(&self, name: &str) -> io::Result<()> {
        if self.of(name)? == Archived::Unknown { self.create(name, DONE) } else { Ok(()) }
    }

    /// Marks a file as one that this node need not archive, also if it waits here: it came from the archive,
    /// or is in it, or came anew from who archives it.
    ///
    /// # Errors
    /// Fails if the mark cannot be written.
    pub fn force_done(&self, name: &str) -> io::Result<()> {
        match self.of(name)? {
            Archived::Done => Ok(()),
            Archived::Ready => self.done(name),
            Archived::Unknown => self.create(name, DONE),
        }
    }

    fn create(&self, name: &str, suffix: &str) -> io::Result<()> {
        self.disk.create_dir_all(&self.folder)?;
        self.disk.open(&self.mark(name, suffix), OpenMode::Create)?;
        self.disk.sync_dir(&self.folder)
    }

    /// A waiting file is archived: durable on return.
    ///
    /// # Errors
    /// Fails if the mark cannot be renamed.
    pub fn done(&self, name: &str) -> io::Result<()> {
        host::durable_rename(&*self.disk, &self.mark(name, READY), &self.mark(name, DONE))
    }

    /// Takes both marks away: the file goes.
    ///
    /// # Errors
    /// Fails if a mark cannot be removed.
    pub fn forget(&self, name: &str) -> io::Result<()> {
        for suffix in [DONE, READY] {
            match self.disk.remove_file(&self.mark(name, suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes the marks of these files away, durably, also where a call that was killed has done so.
    ///
    /// # Errors
    /// Fails if a mark cannot be removed.
    pub fn forget_all(&self, names: &[String]) -> io::Result<()> {
        names.iter().try_for_each(|name| self.forget(name))?;
        if self.disk.exists(&self.folder)? { self.disk.sync_dir(&self.folder) } else { Ok(()) }
    }

    /// Whether the file itself is still in pg_wal.
    ///
    /// # Errors
    /// Fails if the folder cannot be read.
    pub fn file_exists(&self, name: &str) -> io::Result<bool> {
        self.disk.exists(&self.pg_wal.join(name))
    }

    fn marked(&self, suffix: &str) -> io::Result<Vec<String>> {
        let entries = match self.disk.list(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let names =
            entries.into_iter().filter_map(|entry| entry.name.strip_suffix(suffix).map(str::to_owned));
        Ok(names.filter(|name| is_archivable(name)).collect())
    }

    /// The files that have a mark, whether they are there or not.
    ///
    /// # Errors
    /// Fails if the folder cannot be read.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = self.marked(READY)?;
        names.extend(self.marked(DONE)?);
        Ok(names)
    }

    /// The files that wait, in the order in which they go: timeline histories first, since others may need
    /// them to choose their timeline; then by name, which is by age. What promotions set aside goes last: if
    /// two ended a timeline in one segment, the archive refuses the second for ever, and nobody's recovery
    /// asks for it.
    ///
    /// # Errors
    /// Fails if the folder cannot be read.
    pub fn waiting(&self) -> io::Result<Vec<String>> {
        let mut names = self.marked(READY)?;
        let is_history = |name: &str| TimelineId::parse_history_file_name(name).is_some();
        names.sort_by_cached_key(|name| (!is_history(name), file_names::is_partial(name), name.clone()));
        Ok(names)
    }

    /// Up to where the marks of a timeline's segments say that its log was durable; invalid if none does.
    ///
    /// # Errors
    /// Fails if the folder cannot be read.
    pub fn flushed(&self, timeline: TimelineId, size: SegmentSize) -> io::Result<Lsn> {
        let newest = self.marked_segments(timeline, size)?.into_iter().max();
        Ok(newest.map_or(Lsn::INVALID, |segment| size.start_of(segment.next())))
    }

    /// Takes the marks away of a timeline's segments that end behind `at`, durably: they are written on from
    /// there. A node comes to such marks by segments of others, which were not whole.
    ///
    /// # Errors
    /// Fails if the folder cannot be read or a mark not be removed.
    pub fn forget_behind(&self, timeline: TimelineId, at: Lsn, size: SegmentSize) -> io::Result<()> {
        let mut written = self.marked_segments(timeline, size)?;
        written.retain(|segment| size.start_of(segment.next()) > at);
        for segment in &written {
            self.forget(&segment.file_name(timeline, size))?;
        }
        if written.is_empty() { Ok(()) } else { self.disk.sync_dir(&self.folder) }
    }

    /// The segments of a timeline that have a mark.
    fn marked_segments(&self, timeline: TimelineId, size: SegmentSize) -> io::Result<Vec<SegmentNumber>> {
        let names = self.names()?;
        let segments = names.iter().filter_map(|name| SegmentNumber::parse_file_name(name, size));
        Ok(segments.filter(|(of, _)| *of == timeline).map(|(_, segment)| segment).collect())
    }

    /// Removes the marks of segments, of partial ones too, that are gone from pg_wal: a node that archives
    /// nothing in recovery removes those that wait, too. `unarchived` is given the names of these before.
    ///
    /// # Errors
    /// Fails if the folder cannot be read or a mark not be removed.
    pub fn forget_removed(&self, size: SegmentSize, unarchived: impl FnOnce(&[String])) -> io::Result<()> {
        let (mut gone, mut waited) = (Vec::new(), Vec::new());
        for name in self.names()? {
            let is_segment = SegmentNumber::parse_file_name(&name, size).is_some()
                || file_names::parse_partial(&name, size).is_some();
            if is_segment && !self.file_exists(&name)? {
                if self.of(&name)? == Archived::Ready {
                    waited.push(name.clone());
                }
                gone.push(name);
            }
        }
        if !waited.is_empty() {
            waited.sort_unstable();
            unarchived(&waited);
        }
        gone.iter().try_for_each(|name| self.forget(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::RealDisk;
    use std::sync::Arc;

    fn status() -> (tempfile::TempDir, ArchiveStatus) {
        let dir = tempfile::tempdir().unwrap();
        let status = ArchiveStatus::new(Arc::new(RealDisk), dir.path());
        (dir, status)
    }

    const FIRST: &str = "000000010000000000000001";
    const SECOND: &str = "000000010000000000000002";
    const THIRD: &str = "000000010000000000000003";

    #[test]
    fn histories_go_first_and_segments_by_age_and_what_was_set_aside_last() {
        let (_dir, status) = status();
        let backup = "000000010000000000000001.00000028.backup";
        let partial = &file_names::partial(FIRST);
        for name in [SECOND, "00000003.history", partial, FIRST, "00000002.history", backup] {
            assert!(status.notify(name).unwrap());
        }
        let expected = ["00000002.history", "00000003.history", FIRST, backup, SECOND, partial];
        assert_eq!(status.waiting().unwrap(), expected);
    }

    #[test]
    fn a_file_waits_once_and_is_done_once() {
        let (_dir, status) = status();
        assert_eq!(status.of(FIRST).unwrap(), Archived::Unknown);
        assert!(status.notify(FIRST).unwrap());
        assert_eq!(status.of(FIRST).unwrap(), Archived::Ready);
        status.done(FIRST).unwrap();
        assert_eq!(status.of(FIRST).unwrap(), Archived::Done);
        assert!(!status.notify(FIRST).unwrap(), "it is archived already");
        let size = SegmentSize::DEFAULT;
        assert_eq!(status.flushed(TimelineId::FIRST, size).unwrap(), Lsn::new(2 * size.bytes()));
        assert_eq!(status.flushed(TimelineId::new(2), size).unwrap(), Lsn::INVALID);
        status.leave_to_primary(SECOND).unwrap();
        assert_eq!(status.of(SECOND).unwrap(), Archived::Done);
        status.forget(SECOND).unwrap();
        status.notify(SECOND).unwrap();
        status.leave_to_primary(SECOND).unwrap();
        assert_eq!(status.waiting().unwrap(), [SECOND], "it may be in no archive");
        status.force_done(SECOND).unwrap();
        assert!(status.waiting().unwrap().is_empty());
        status.forget(FIRST).unwrap();
        assert_eq!(status.of(FIRST).unwrap(), Archived::Unknown);
    }

    #[test]
    fn marks_of_removed_segments_go_and_what_is_no_log_file_is_left_alone() {
        let (dir, status) = status();
        std::fs::write(dir.path().join(SECOND), b"").unwrap();
        let partial = file_names::partial(FIRST);
        for name in [FIRST, SECOND, &partial, "00000002.history"] {
            status.force_done(name).unwrap();
        }
        status.notify(THIRD).unwrap();
        std::fs::write(dir.path().join("archive_status/notes.txt.ready"), b"").unwrap();
        let mut told = Vec::new();
        status.forget_removed(SegmentSize::DEFAULT, |names| told.extend_from_slice(names)).unwrap();
        assert_eq!(told, [THIRD], "it waited");
        assert_eq!(status.of(FIRST).unwrap(), Archived::Unknown);
        assert_eq!(status.of(THIRD).unwrap(), Archived::Unknown);
        assert_eq!(status.of(&partial).unwrap(), Archived::Unknown);
        assert_eq!(status.of(SECOND).unwrap(), Archived::Done);
        assert_eq!(status.of("00000002.history").unwrap(), Archived::Done);
        assert!(status.waiting().unwrap().is_empty());
    }
}
