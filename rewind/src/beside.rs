//! Log of the target that its pg_wal has no more, for as long as a rewind reads it.
//!
//! | where | what |
//! | ----- | ---- |
//! | pg_wal/kept | what was kept for this: it is read where it lies |
//! | pg_wal/rewind | what the source or the archive gave |
//!
//! The archive has all of that, and pg_wal/archive_status says so of none of it any more. In pg_wal a segment
//! without a mark would be archived once more by a primary that starts there, and an archive takes no file
//! twice. So it comes there only when the marker of a rewind stands, so that no server starts, and each
//! segment after its mark. The folder of what was brought goes with this; a server and the next rewind remove
//! what a kill has left of it.

use crate::copy::remove_tree;
use crate::error::{RewindError, io_error};
use crate::past::SPILL_FILE;
use crate::report::{OWN_DIR, is_begun_report};
use crate::room::ROOM_FILE;
use crate::untouched::UNTOUCHED_FILE;
use host::{Disk, SharedDisk};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wal::history::TimelineHistory;
use wal::reader::SegmentSupply;
use wal::{ArchiveStatus, Lsn, SegmentFile, SegmentFolder, SegmentNumber, SegmentSize, TimelineId};

/// The folder of what was brought, from the data directory on.
pub(crate) const BROUGHT_DIR: &str = "pg_wal/rewind";
/// A segment in it that is on its way.
const FETCHED: &str = "fetched";

/// An archive of log.
pub trait LogArchive: Send + Sync {
    /// Puts a segment of a timeline of `history` at `to`, a path from the data directory on where nothing
    /// is: a plain file of full size. Blocks. False: it has none.
    ///
    /// # Errors
    /// Fails if it cannot be asked, or brings something else.
    fn bring(
        &self,
        history: &TimelineHistory,
        timeline: TimelineId,
        segment: SegmentNumber,
        to: &str,
    ) -> io::Result<bool>;
}

/// Removes what rewinds and dry runs that were killed have left in a directory; nobody reads it again. Only
/// under the directory's lock: who has that may be a rewind, which reads it.
///
/// # Errors
/// Fails if it cannot be removed.
pub fn remove_leftovers(disk: &dyn Disk, dir: &Path) -> Result<(), RewindError> {
    remove_tree(disk, &dir.join(BROUGHT_DIR))?;
    for name in [ROOM_FILE, SPILL_FILE, UNTOUCHED_FILE] {
        remove_tree(disk, &dir.join(name))?;
    }
    let own = dir.join(OWN_DIR);
    let entries = match disk.list(&own) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(io_error(&own))?,
    };
    for entry in entries.into_iter().filter(|entry| is_begun_report(&entry.name)) {
        remove_tree(disk, &own.join(&entry.name))?;
    }
    Ok(())
}

/// The folders that a target's log is in.
#[derive(Clone)]
pub(crate) struct Places {
    disk: SharedDisk,
    dir: PathBuf,
    pg_wal: SegmentFolder,
    brought: SegmentFolder,
    archive: Option<Arc<dyn LogArchive>>,
}

impl Places {
    pub(crate) fn new(
        disk: SharedDisk,
        dir: &Path,
        size: SegmentSize,
        archive: Option<Arc<dyn LogArchive>>,
    ) -> Self {
        let folder = |path: &str| SegmentFolder::new(disk.clone(), &dir.join(path), size);
        let (pg_wal, brought) = (folder("pg_wal"), folder(BROUGHT_DIR));
        Self { disk, dir: dir.to_path_buf(), pg_wal, brought, archive }
    }

    /// Those beside pg_wal, in the order in which they are read.
    pub(crate) fn beside(&self) -> Vec<PathBuf> {
        [&self.pg_wal.kept(), &self.brought].map(|folder| folder.dir().to_path_buf()).into()
    }

    pub(crate) const fn has_archive(&self) -> bool {
        self.archive.is_some()
    }

    /// Whether a segment is in any of them.
    pub(crate) fn has(&self, file: SegmentFile) -> io::Result<bool> {
        for folder in [&self.pg_wal, &self.pg_wal.kept(), &self.brought] {
            if self.disk.exists(&folder.path(file.timeline, file.segment))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes the log of pg_wal from a position on durable, as it is read.
    pub(crate) fn make_durable(&self, from: Lsn) -> Result<(), RewindError> {
        Ok(self.pg_wal.make_durable(from, || true)?)
    }

    /// Makes the folder of what is brought.
    pub(crate) fn make_folder(&self) -> io::Result<()> {
        self.disk.create_dir_all(self.brought.dir())
    }

    /// What pg_wal lacks, with the folder that has it.
    fn all_beside(&self) -> Result<Vec<(SegmentFolder, SegmentFile)>, RewindError> {
        let mut all = Vec::new();
        for folder in [self.pg_wal.kept(), self.brought.clone()] {
            for file in folder.list_if_there()? {
                if !self.pg_wal.exists(file.timeline, file.segment)? {
                    all.push((folder.clone(), file));
                }
            }
        }
        Ok(all)
    }

    /// The names of what pg_wal lacks and these have.
    pub(crate) fn names_beside(&self) -> Result<Vec<String>, RewindError> {
        let size = self.pg_wal.segment_size();
        let name = |(_, file): (_, SegmentFile)| file.segment.file_name(file.timeline, size);
        Ok(self.all_beside()?.into_iter().map(name).collect())
    }

    /// Moves all of it into pg_wal, durably, each after its mark. Only while the marker stands.
    pub(crate) fn settle(&self) -> Result<(), RewindError> {
        let marks = ArchiveStatus::new(self.disk.clone(), self.pg_wal.dir());
        for (folder, SegmentFile { timeline, segment }) in self.all_beside()? {
            let (from, to) = (folder.path(timeline, segment), self.pg_wal.path(timeline, segment));
            let name = segment.file_name(timeline, self.pg_wal.segment_size());
            marks.force_done(&name).map_err(io_error(&to))?;
            host::durable_rename(&*self.disk, &from, &to).map_err(io_error(&to))?;
        }
        // What is left has the name of one that is read before it. Of the branch that is given up, only that
        // one would go, and a later rewind read this.
        let kept = self.pg_wal.kept();
        for SegmentFile { timeline, segment } in kept.list_if_there()? {
            remove_tree(&*self.disk, &kept.path(timeline, segment))?;
        }
        Ok(())
    }
}

impl SegmentSupply for Places {
    /// Has the archive give what is nowhere here; what is here it does not replace.
    fn fetch(
        &self,
        history: &TimelineHistory,
        timeline: TimelineId,
        segment: SegmentNumber,
        _own_upto: Lsn,
    ) -> io::Result<bool> {
        let Some(archive) = &self.archive else { return Ok(false) };
        if self.has(SegmentFile { segment, timeline })? {
            return Ok(false);
        }
        self.make_folder()?;
        let to = format!("{BROUGHT_DIR}/{FETCHED}");
        let path = self.dir.join(&to);
        // A fetch that failed may have left it.
        remove_tree(&*self.disk, &path).map_err(io::Error::other)?;
        if !archive.bring(history, timeline, segment, &to)? {
            return Ok(false);
        }
        self.disk.rename(&path, &self.brought.path(timeline, segment))?;
        Ok(true)
    }
}

/// What was brought, until the rewind is over.
pub(crate) struct Brought(pub(crate) Places);

impl Drop for Brought {
    fn drop(&mut self) {
        // The next rewind or start removes what cannot be removed now.
        let _ = remove_tree(&*self.0.disk, self.0.brought.dir());
    }
}
