//! The segment files of a pg_wal folder: made full of zeros, renamed for later use, removed.
//!
//! A segment file has its full size from the moment it carries its final name. It is filled with zeros (so
//! that an fdatasync of the log later has no block mapping to write), made durable under a temporary name and
//! only then renamed; how the first one of a timeline begins is told in [`crate::fork`].
//! Recycled segments keep their old bytes: each page in them carries an older page address, which readers
//! refuse.

use crate::error::{WalError, WalOperation};
use crate::file_names;
use crate::ids::{Lsn, SegmentNumber, SegmentSize, TimelineId};
use crate::kept::KeptLog;
use crate::log_file::is_stale;
use crate::page::PAGE_SIZE;
use host::{File, FileKind, OpenMode, SharedDisk, SharedFile};
use std::cmp::Reverse;
use std::io;
use std::path::{Path, PathBuf};

/// Names of segments that are not ready begin so; a server removes leftovers at its start.
pub(crate) const TEMPORARY_PREFIX: &str = "xlogtemp.";
/// Zeros to write from.
pub(crate) static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A segment file that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentFile {
    /// Its place in the log.
    pub segment: SegmentNumber,
    /// Its timeline.
    pub timeline: TimelineId,
}

/// What may become of one segment that is not needed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentFate {
    /// It stays for now (it is not archived yet).
    Kept,
    /// Its name may go, not its bytes: somebody still reads the file in place.
    Removed,
    /// It may be removed, or renamed for later use.
    Reusable,
}

/// What becomes of old segments.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Segments before this one are not needed (on any timeline).
    pub horizon: SegmentNumber,
    /// Old segments are renamed for later use as long as they fit before this one; the others are removed.
    pub recycle_before: SegmentNumber,
    /// Which of them a rewind would read.
    pub kept: KeptLog,
}

/// Places ahead of the log that old segments may take.
pub(crate) struct Ahead<'f> {
    folder: &'f SegmentFolder,
    timeline: TimelineId,
    first_free: SegmentNumber,
    end: SegmentNumber,
}

impl Ahead<'_> {
    /// The path of the next place that is free, if there is one.
    fn take(&mut self) -> Result<Option<PathBuf>, WalError> {
        while self.first_free < self.end && self.folder.exists(self.timeline, self.first_free)? {
            self.first_free = self.first_free.next();
        }
        if self.first_free >= self.end {
            return Ok(None);
        }
        let path = self.folder.path(self.timeline, self.first_free);
        self.first_free = self.first_free.next();
        Ok(Some(path))
    }
}

/// What became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files removed.
    pub removed: u64,
    /// Files renamed for later use.
    pub recycled: u64,
    /// Files that are kept where only a rewind reads them.
    pub put_aside: u64,
    /// The newest segment that is gone.
    pub last: Option<SegmentNumber>,
    /// What kept others from going, which the next round tries again.
    pub failures: Vec<String>,
}

impl Removed {
    /// Whether any is gone.
    pub fn has_any(&self) -> bool {
        self.removed + self.recycled + self.put_aside > 0
    }

    /// Something could not be removed or renamed.
    pub(crate) fn fail(&mut self, path: &Path, cause: io::Error) {
        self.failures.push(io_error(WalOperation::Recycle, path, cause).to_string());
    }

    /// Takes in what another round did.
    pub fn add(&mut self, other: Self) {
        self.removed += other.removed;
        self.recycled += other.recycled;
        self.put_aside += other.put_aside;
        self.last = self.last.max(other.last);
        self.failures.extend(other.failures);
    }
}

/// A pg_wal folder.
#[derive(Clone, Debug)]
pub struct SegmentFolder {
    pub(crate) disk: SharedDisk,
    pub(crate) dir: PathBuf,
    pub(crate) size: SegmentSize,
    /// Whether new segments are filled with zeros (wal_init_zero), or only get their space.
    pub(crate) fill_with_zeros: bool,
}

impl SegmentFolder {
    /// The folder `dir`, which must exist.
    pub fn new(disk: SharedDisk, dir: &Path, size: SegmentSize) -> Self {
        Self { disk, dir: dir.to_path_buf(), size, fill_with_zeros: true }
    }
    /// Whether new segments are filled with zeros (wal_init_zero); they are if this is not called.
    pub fn with_zero_fill(mut self, fill: bool) -> Self {
        self.fill_with_zeros = fill;
        self
    }
    /// Bytes of a segment.
    pub const fn segment_size(&self) -> SegmentSize {
        self.size
    }
    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
    /// The path of a segment.
    pub fn path(&self, timeline: TimelineId, segment: SegmentNumber) -> PathBuf {
        self.dir.join(segment.file_name(timeline, self.size))
    }

    /// All segment files with their final names, by place and then timeline.
    ///
    /// # Errors
    /// Fails if the folder cannot be read.
    pub fn list(&self) -> Result<Vec<SegmentFile>, WalError> {
        let entries =
            self.disk.list(&self.dir).map_err(|cause| io_error(WalOperation::List, &self.dir, cause))?;
        let mut found: Vec<_> = entries
            .into_iter()
            .filter(|entry| entry.kind == FileKind::File)
            .filter_map(|entry| SegmentNumber::parse_file_name(&entry.name, self.size))
            .map(|(timeline, segment)| SegmentFile { segment, timeline })
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Whether a segment of full size is there.
    ///
    /// # Errors
    /// Fails if the folder cannot be read.
    pub fn exists(&self, timeline: TimelineId, segment: SegmentNumber) -> Result<bool, WalError> {
        let path = self.path(timeline, segment);
        match self.disk.metadata(&path) {
            Ok(found) => Ok(found.kind == FileKind::File && found.len == self.size.bytes()),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(cause) => Err(io_error(WalOperation::Open, &path, cause)),
        }
    }

    /// Makes what a former life left of the log from `from` on durable, with its names; ends early when
    /// `goes_on` says so. A killed server leaves bytes to the kernel, and one whose sync failed leaves bytes
    /// that the kernel shows and takes for written, so that another sync would not write them. That is so in
    /// the segment in which a timeline's log ends: those before it were synced ([`crate::log_file`]). Its
    /// pages are written once more, and so are zeros behind it, which may be what a wiping left.
    ///
    /// # Errors
    /// Fails if a file cannot be read, written or synced.
    pub fn make_durable(&self, from: Lsn, goes_on: impl Fn() -> bool) -> Result<(), WalError> {
        let mut left = self.list()?;
        left.retain(|file| file.segment >= self.size.segment_of(from));
        // A timeline's last segment comes first.
        left.sort_unstable_by_key(|file| (file.timeline, Reverse(file.segment)));
        let mut last_of = TimelineId::INVALID;
        for SegmentFile { segment, timeline } in left {
            if !goes_on() {
                return Ok(());
            }
            let path = self.path(timeline, segment);
            let failed = |operation| {
                let path = &path;
                move |cause| io_error(operation, path, cause)
            };
            let file = self.disk.open(&path, OpenMode::ReadWrite).map_err(failed(WalOperation::Open))?;
            if last_of != timeline
                && !host::planted!("a start takes for durable what a failed sync left")
                && self.write_again(&*file, segment).map_err(failed(WalOperation::Write))?
            {
                last_of = timeline;
            }
            file.sync().map_err(failed(WalOperation::Sync))?;
        }
        self.sync_names()
    }

    /// Writes the log's own pages of a segment where they are, and those of zeros: a switch, or the wiping of
    /// what a former life left, puts zeros over bytes that the disk may still have. Whether the log has
    /// begun it. Its first page comes before the others; if that is another segment's, nothing was written.
    fn write_again(&self, file: &dyn File, segment: SegmentNumber) -> io::Result<bool> {
        let end = file.len()?.min(self.size.bytes());
        let mut block = vec![0; ZEROS.len()];
        let (mut offset, mut begun) = (0, false);
        while offset < end {
            let len = (end - offset).min(block.len() as u64);
            let block = block.get_mut(..usize::try_from(len).unwrap_or(0)).unwrap_or_default();
            file.read_exact_at(block, offset)?;
            for page in block.chunks(PAGE_SIZE) {
                let is_own = is_stale(page, self.size.start_of(segment) + offset);
                let counts = is_own || ZEROS.starts_with(page);
                if offset == 0 {
                    if !counts {
                        return Ok(false);
                    }
                    begun = is_own;
                }
                if counts {
                    file.write_all_at(page, offset)?;
                }
                offset += page.len() as u64;
            }
        }
        Ok(begun)
    }

    /// Opens a segment for writing. One that is too short (a copy that was broken off) gets its full size.
    ///
    /// # Errors
    /// Fails if the file cannot be opened.
    pub fn open(&self, timeline: TimelineId, segment: SegmentNumber) -> Result<SharedFile, WalError> {
        let path = self.path(timeline, segment);
        let opened = self.disk.open(&path, OpenMode::ReadWrite).and_then(|file| {
            if file.len()? < self.size.bytes() {
                file.truncate(self.size.bytes())?;
            }
            Ok(file)
        });
        opened.map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => WalError::MissingSegment { segment, path },
            _ => WalError::from_io(WalOperation::Open, &path, cause),
        })
    }

    /// Makes a segment of zeros, durable with its name, unless it is there already.
    ///
    /// # Errors
    /// Fails if the file cannot be made, or the disk is full.
    pub fn create(&self, timeline: TimelineId, segment: SegmentNumber) -> Result<(), WalError> {
        self.create_filled(timeline, segment, self.fill_with_zeros)
    }

    /// The same; without `zeros` it only gets its space (and reads as zeros), for one that is about to be
    /// filled in large pieces.
    pub(crate) fn create_filled(
        &self,
        timeline: TimelineId,
        segment: SegmentNumber,
        zeros: bool,
    ) -> Result<(), WalError> {
        if self.exists(timeline, segment)? || self.cut_to_size(timeline, segment)? {
            return Ok(());
        }
        self.make(timeline, segment, |file| self.fill(file, 0, zeros && self.fill_with_zeros))
    }

    /// Whether there was a segment longer than it may be, which has its size now: what it begins with is log
    /// as any other's.
    fn cut_to_size(&self, timeline: TimelineId, segment: SegmentNumber) -> Result<bool, WalError> {
        let path = self.path(timeline, segment);
        let failed = |cause| io_error(WalOperation::Allocate, &path, cause);
        match self.disk.metadata(&path) {
            Ok(found) if found.kind == FileKind::File && found.len > self.size.bytes() => {
                let file = self.disk.open(&path, OpenMode::ReadWrite).map_err(failed)?;
                file.truncate(self.size.bytes()).and_then(|()| file.sync()).map_err(failed)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    pub(crate) fn temporary(&self, timeline: TimelineId, segment: SegmentNumber) -> PathBuf {
        self.dir.join(format!("{TEMPORARY_PREFIX}{}", segment.file_name(timeline, self.size)))
    }

    /// Fails if the file system has no room for so many bytes more, where it can promise any. Leaves nothing
    /// behind; what a kill has left, [`Self::remove_temporaries`] removes.
    ///
    /// # Errors
    /// Fails, too, if the file that takes the room for a moment cannot be made or removed.
    pub fn look_for_room(&self, bytes: u64) -> Result<(), WalError> {
        let path = self.dir.join(format!("{TEMPORARY_PREFIX}room"));
        let failed = |cause| io_error(WalOperation::Allocate, &path, cause);
        let taken = host::take_room(&*self.disk, &path, bytes);
        if self.disk.exists(&path).map_err(failed)? {
            self.disk.remove_file(&path).map_err(failed)?;
        }
        taken.map_err(failed)
    }

    /// Takes the folder over from a former life, to write in it: removes what that left half made, and makes
    /// the names durable that it left to the kernel when it was killed, after a clean stop of the log too.
    pub(crate) fn take_over(&self, fsync: bool) -> Result<(), WalError> {
        self.remove_temporaries()?;
        if fsync { self.sync_names() } else { Ok(()) }
    }

    /// Removes what a crash left half made.
    ///
    /// # Errors
    /// Fails if a file cannot be removed.
    pub fn remove_temporaries(&self) -> Result<(), WalError> {
        let entries =
            self.disk.list(&self.dir).map_err(|cause| io_error(WalOperation::List, &self.dir, cause))?;
        for entry in entries {
            if entry.kind == FileKind::File && entry.name.starts_with(TEMPORARY_PREFIX) {
                let path = self.dir.join(&entry.name);
                self.disk
                    .remove_file(&path)
                    .map_err(|cause| io_error(WalOperation::Recycle, &path, cause))?;
            }
        }
        Ok(())
    }

    /// Removes the segments before `horizon` that `fate` does not keep, and makes no new ones of them: what a
    /// node in recovery does, whose log another writes. Returns how many are gone.
    ///
    /// # Errors
    /// Fails if the folder cannot be read or synced. A file that cannot go is one of the outcome's failures.
    pub fn remove_old(
        &self,
        horizon: SegmentNumber,
        kept: KeptLog,
        fate: &mut dyn FnMut(SegmentFile) -> SegmentFate,
    ) -> Result<Removed, WalError> {
        let keep = Retention { horizon, recycle_before: SegmentNumber::new(0), kept };
        self.remove_before(keep, TimelineId::INVALID, horizon, fate).map(|(removed, _)| removed)
    }

    /// Removes what promotions set aside before `horizon` (`.partial`), as `may_go` allows: nothing reads it
    /// here, since the next timeline's segment begins with the same bytes. Returns how many are gone.
    ///
    /// # Errors
    /// Fails if the folder cannot be read or synced. A file that cannot be removed is one of the outcome's
    /// failures.
    pub fn remove_old_partials(
        &self,
        horizon: SegmentNumber,
        may_go: &mut dyn FnMut(SegmentFile) -> bool,
    ) -> Result<Removed, WalError> {
        let entries =
            self.disk.list(&self.dir).map_err(|cause| io_error(WalOperation::List, &self.dir, cause))?;
        let mut outcome = Removed::default();
        for entry in entries.into_iter().filter(|entry| entry.kind == FileKind::File) {
            let Some((timeline, segment)) = file_names::parse_partial(&entry.name, self.size) else {
                continue;
            };
            if segment >= horizon || !may_go(SegmentFile { segment, timeline }) {
                continue;
            }
            let path = self.dir.join(&entry.name);
            match self.disk.remove_file(&path) {
                Ok(()) => outcome.removed += 1,
                Err(cause) => outcome.fail(&path, cause),
            }
        }
        if outcome.has_any() {
            self.sync_names()?;
        }
        Ok(outcome)
    }

    /// Removes or renames the segments before `keep.horizon` as `fate` allows. Renamed ones become segments
    /// of `timeline` from `first_free` on, or are put aside; returns the first place that is free then.
    pub(crate) fn remove_before(
        &self,
        keep: Retention,
        timeline: TimelineId,
        first_free: SegmentNumber,
        fate: &mut dyn FnMut(SegmentFile) -> SegmentFate,
    ) -> Result<(Removed, SegmentNumber), WalError> {
        let mut outcome = Removed::default();
        let mut ahead = Ahead { folder: self, timeline, first_free, end: keep.recycle_before };
        for file in self.list()? {
            if file.segment >= keep.horizon {
                continue;
            }
            match fate(file) {
                SegmentFate::Kept => {}
                _ if keep.kept.takes(file) => self.put_aside(file, &mut outcome)?,
                fate => self.give_up(file, fate, &mut ahead, &mut outcome)?,
            }
        }
        self.trim_kept(keep.kept, &mut ahead, &mut outcome, fate)?;
        if outcome.has_any() {
            self.sync_names()?;
        }
        Ok((outcome, ahead.first_free))
    }

    /// Takes away the name of a segment of this folder, and its bytes unless they serve ahead.
    pub(crate) fn give_up(
        &self,
        file: SegmentFile,
        fate: SegmentFate,
        ahead: &mut Ahead<'_>,
        outcome: &mut Removed,
    ) -> Result<(), WalError> {
        let path = self.path(file.timeline, file.segment);
        // What has another name, too, is an archive's, or serves ahead already: a power cut amid its move out
        // of KEPT_DIR may leave it both.
        let reusable = fate == SegmentFate::Reusable
            && self.exists(file.timeline, file.segment)?
            && self.has_one_name(file.timeline, file.segment)?;
        let (changed, count) = match if reusable { ahead.take()? } else { None } {
            Some(new) => (self.disk.rename(&path, &new), &mut outcome.recycled),
            None => (self.disk.remove_file(&path), &mut outcome.removed),
        };
        match changed {
            Ok(()) => {
                *count += 1;
                outcome.last = outcome.last.max(Some(file.segment));
            }
            Err(cause) => outcome.fail(&path, cause),
        }
        Ok(())
    }
    pub(crate) fn sync_names(&self) -> Result<(), WalError> {
        self.disk.sync_dir(&self.dir).map_err(|cause| io_error(WalOperation::Sync, &self.dir, cause))
    }

    /// Makes a segment under a temporary name, makes it durable, gives it its name.
    pub(crate) fn make(
        &self,
        timeline: TimelineId,
        segment: SegmentNumber,
        fill: impl FnOnce(&SharedFile) -> io::Result<()>,
    ) -> Result<(), WalError> {
        let (path, temporary) = (self.path(timeline, segment), self.temporary(timeline, segment));
        let made = self.disk.open(&temporary, OpenMode::Create).and_then(|file| {
            fill(&file)?;
            file.sync()
        });
        let named = made
            .and_then(|()| self.disk.rename(&temporary, &path))
            .and_then(|()| self.disk.sync_dir(&self.dir));
        named.map_err(|cause| {
            // What is left of it takes space that is short; if it cannot go now, the next start removes it.
            let _ = self.disk.remove_file(&temporary);
            WalError::from_io(WalOperation::Allocate, &path, cause)
        })
    }

    /// Gives a new file its space from `offset` on. The space comes first, so that a full disk shows before
    /// time is spent on zeros.
    pub(crate) fn fill(&self, file: &SharedFile, offset: u64, zeros: bool) -> io::Result<()> {
        let end = self.size.bytes();
        let allocated = match file.allocate(offset, end - offset) {
            Ok(()) => true,
            Err(cause) if cause.kind() == io::ErrorKind::Unsupported => false,
            Err(cause) => return Err(cause),
        };
        if allocated && !zeros {
            return Ok(());
        }
        let mut at = offset;
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(ZEROS.len());
            file.write_all_at(ZEROS.get(..len).unwrap_or_default(), at)?;
            at += len as u64;
        }
        Ok(())
    }
}

/// An error of an operation that leaves the log as it was.
pub(crate) fn io_error(operation: WalOperation, path: &Path, cause: io::Error) -> WalError {
    WalError::from_io(operation, path, cause)
}
