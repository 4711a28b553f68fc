//! The walk over the data directory, file by file into the archive. Blocks; runs on a thread of its own.

use super::exclude;
use super::files::{self, FileClass};
use super::tar_stream::{Entry, TarStream, entry_size, header};
use super::{BackupSource, io_failure, manifest_writer};
use crate::manifest::checksum::FileChecksum;
use crate::manifest::{FileEntry, ManifestError, ManifestWriter};
use host::{Access, File, Metadata, OpenMode, Timestamp};
use protocol::replication::{BaseBackupOptions, ChecksumAlgorithm};
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};
use storage::BackupStart;
use storage::page::Page;
use storage::relation::SEGMENT_PAGES;
use wal::control::{CONTROL_FILE, ControlFile};
use wal::{BlockNumber, Lsn, SegmentNumber, TimelineId};

/// Bytes read at once: whole pages.
const READ: usize = 64 << 10;
/// Bytes of a data page.
const PAGE: usize = 8192;

/// Why the archive cannot go on.
#[derive(Debug)]
pub(super) enum Failure {
    Io {
        path: String,
        error: io::Error,
    },
    NameTooLong(String),
    Manifest(ManifestError),
    MissingWal(String),
    RemovedWal(String),
    Checksum {
        pages: u64,
        files: u64,
        path: String,
        block: u32,
    },
    /// Nobody takes the bytes any more.
    Gone,
}

/// What a file's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contents {
    /// Any.
    Plain,
    /// Data pages, which have checksums.
    Pages,
    /// A segment of the log, which a checkpoint may rename and write over.
    Segment,
}

/// Pages that did not check out.
#[derive(Debug, Default)]
struct BadPages {
    pages: u64,
    files: u64,
    first: Option<(String, u32)>,
}

/// Walks and sends.
#[derive(Debug)]
pub(super) struct DirectoryWalk {
    source: BackupSource,
    manifest: Option<ManifestWriter>,
    verify: bool,
    label: String,
    start: Lsn,
    start_timeline: TimelineId,
    /// Who may read what the server makes there.
    access: Access,
    bad: BadPages,
}

impl DirectoryWalk {
    pub(super) fn new(source: BackupSource, options: &BaseBackupOptions, started: &BackupStart) -> Self {
        Self {
            access: Access::of(&*source.host.disk, &source.data_dir),
            source,
            manifest: manifest_writer(options),
            verify: options.verify_checksums,
            label: started.label_file.clone(),
            start: started.start,
            start_timeline: started.timeline,
            bad: BadPages::default(),
        }
    }

    /// The archive's size if nothing changes, for progress bars; what cannot be read counts nothing.
    pub(super) fn estimate_bytes(&self) -> u64 {
        entry_size(self.label.len() as u64) + self.estimate_folder("")
    }

    fn estimate_folder(&self, folder: &str) -> u64 {
        let mut sum = 0;
        for (path, class) in self.entries(folder).unwrap_or_default().entries {
            match class {
                FileClass::EmptyFolder => sum += entry_size(0),
                FileClass::Folder => sum += entry_size(0) + self.estimate_folder(&path),
                _ => {
                    let metadata = self.source.host.disk.metadata(&self.source.data_dir.join(&path));
                    sum += metadata.map_or(0, |metadata| entry_size(metadata.len));
                }
            }
        }
        if folder == "global" {
            sum += entry_size(wal::control::CONTROL_FILE_SIZE as u64);
        }
        sum
    }

    /// What of a folder goes into the archive now (pg_control comes later).
    fn entries(&self, folder: &str) -> io::Result<files::Found> {
        files::entries(&*self.source.host.disk, &self.source.data_dir, folder)
    }

    /// backup_label, everything in the data directory, pg_control.
    pub(super) fn send_data_directory(&mut self, out: &mut TarStream) -> Result<(), Failure> {
        let label = std::mem::take(&mut self.label);
        self.send_bytes(out, wal::backup_label::BACKUP_LABEL_FILE, label.as_bytes())?;
        self.send_folder(out, "")?;
        self.send_control(out)
    }

    /// Sends the segments with the bytes from the start up to `stop`, and the history files. Where the backup
    /// passes from one timeline to the next the files of both are sent: the manifest names the log of each.
    pub(super) fn send_wal(
        &mut self,
        out: &mut TarStream,
        (stop, timeline): (Lsn, TimelineId),
        is_switched: bool,
    ) -> Result<(), Failure> {
        let size = self.source.segment_size;
        let folder = self.source.data_dir.join("pg_wal");
        let names = self.source.host.disk.list(&folder).map_err(|error| io_failure("pg_wal", error))?;
        let (first, last) = (size.segment_of(self.start), size.segment_before(stop));
        let mut segment = first;
        while segment <= last {
            let of_timelines = (self.start_timeline.get()..=timeline.get()).rev();
            let found = of_timelines
                .map(|timeline| segment.file_name(TimelineId::new(timeline), size))
                .filter(|name| names.iter().any(|entry| entry.name == *name));
            let mut is_sent = false;
            for name in found {
                if !self.send_file(out, &format!("pg_wal/{name}"), Contents::Segment)? {
                    return Err(Failure::RemovedWal(name));
                }
                is_sent = true;
                // Otherwise a primary made from this backup would archive it again. It writes on in one that
                // is not whole.
                if is_switched || size.start_of(segment.next()) <= stop {
                    self.send_bytes(out, &wal::archive_status::done_mark(&name), b"")?;
                }
            }
            if !is_sent {
                let name = segment.file_name(timeline, size);
                // Checkpoints remove the oldest first: what is missing behind others was not theirs.
                let is_removed = segment == first;
                return Err(if is_removed { Failure::RemovedWal(name) } else { Failure::MissingWal(name) });
            }
            segment = SegmentNumber::new(segment.get() + 1);
        }
        let is_history = |name: &str| TimelineId::parse_history_file_name(name).is_some();
        for entry in names.iter().filter(|entry| is_history(&entry.name)) {
            self.send_file(out, &format!("pg_wal/{}", entry.name), Contents::Plain)?;
            self.send_bytes(out, &wal::archive_status::done_mark(&entry.name), b"")?;
        }
        Ok(())
    }

    /// Ends the archive.
    pub(super) fn finish(&mut self, out: &mut TarStream) -> Result<(), Failure> {
        out.zeros(1024)
    }

    /// An error if pages were bad, which is told behind all else: whoever wants what is left of a cluster
    /// keeps the backup.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        match &self.bad.first {
            None => Ok(()),
            Some((path, block)) => Err(Failure::Checksum {
                pages: self.bad.pages,
                files: self.bad.files,
                path: path.clone(),
                block: *block,
            }),
        }
    }

    pub(super) fn into_manifest(self) -> Option<ManifestWriter> {
        self.manifest
    }

    fn send_folder(&mut self, out: &mut TarStream, folder: &str) -> Result<(), Failure> {
        let found = match self.entries(folder) {
            Ok(found) => found,
            // A database may be dropped meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.is_empty() => return Ok(()),
            Err(error) => return Err(io_failure(folder, error)),
        };
        found.skipped.into_iter().try_for_each(|what| out.warn(what))?;
        for (path, class) in found.entries {
            match class {
                FileClass::EmptyFolder => self.send_folder_header(out, &path)?,
                FileClass::Folder => {
                    self.send_folder_header(out, &path)?;
                    self.send_folder(out, &path)?;
                }
                FileClass::Relation => {
                    self.send_file(out, &path, Contents::Pages)?;
                }
                FileClass::Plain | FileClass::Log | FileClass::Control => {
                    self.send_file(out, &path, Contents::Plain)?;
                }
            }
        }
        Ok(())
    }

    fn send_folder_header(&mut self, out: &mut TarStream, path: &str) -> Result<(), Failure> {
        let modified = self.source.host.disk.metadata(&self.source.data_dir.join(path)).ok();
        let entry = Entry {
            path,
            folder: true,
            size: 0,
            mode: modified.map_or(0o700, |metadata| metadata.permissions),
            modified: modified.map_or(0, |metadata| unix_seconds(metadata.modified)),
            owner: self.source.owner,
        };
        out.put(header(entry)?.as_bytes())
    }

    /// Sends contents made here.
    fn send_bytes(&mut self, out: &mut TarStream, path: &str, bytes: &[u8]) -> Result<(), Failure> {
        let how = (self.access.file_mode(), self.source.host.clock.now());
        self.send_contents(out, path, bytes, how)
    }

    /// Sends pg_control whole, which the server may be writing: a torn one would be a backup that nothing
    /// starts from.
    fn send_control(&mut self, out: &mut TarStream) -> Result<(), Failure> {
        let (disk, path) = (&*self.source.host.disk, CONTROL_FILE);
        let full = self.source.data_dir.join(path);
        let read = || Ok((disk.metadata(&full)?, ControlFile::read(disk, &full)?));
        let (metadata, bytes) = read().map_err(|error| io_failure(path, error))?;
        self.send_contents(out, path, &bytes, (metadata.permissions, timestamp(metadata.modified)))
    }

    fn send_contents(
        &mut self,
        out: &mut TarStream,
        path: &str,
        bytes: &[u8],
        (mode, changed): (u32, Timestamp),
    ) -> Result<(), Failure> {
        let modified = u64::try_from(changed.unix_seconds()).unwrap_or(0);
        let (size, owner) = (bytes.len() as u64, self.source.owner);
        out.put(header(Entry { path, folder: false, size, mode, modified, owner })?.as_bytes())?;
        out.put(bytes)?;
        out.pad(size)?;
        let mut checksum = FileChecksum::new(self.algorithm());
        checksum.update(bytes);
        self.list(path, size, changed, checksum)
    }

    /// Sends a file; false if it is gone.
    fn send_file(&mut self, out: &mut TarStream, path: &str, contents: Contents) -> Result<bool, Failure> {
        let full = self.source.data_dir.join(path);
        let opened = self.source.host.disk.open(&full, OpenMode::Read).and_then(|file| {
            let metadata = self.source.host.disk.metadata(&full)?;
            let len = file.len()?;
            Ok((file, Metadata { len, ..metadata }))
        });
        let (file, metadata) = match opened {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(io_failure(path, error)),
        };
        let entry = Entry {
            path,
            folder: false,
            size: metadata.len,
            mode: metadata.permissions,
            modified: unix_seconds(metadata.modified),
            owner: self.source.owner,
        };
        out.put(header(entry)?.as_bytes())?;
        let mut checksum = FileChecksum::new(self.algorithm());
        let mut buffer = vec![0; READ];
        let (mut offset, mut bad) = (0, 0);
        while offset < metadata.len {
            let want = usize::try_from(metadata.len - offset).unwrap_or(READ).min(READ);
            let piece = buffer.get_mut(..want).unwrap_or_default();
            read_or_zeros(&*file, piece, offset).map_err(|error| io_failure(path, error))?;
            match contents {
                Contents::Pages if self.verify => bad += self.check_pages(&*file, path, piece, offset)?,
                Contents::Segment => self.check_named(path)?,
                Contents::Pages | Contents::Plain => {}
            }
            checksum.update(piece);
            out.put(piece)?;
            offset += want as u64;
        }
        out.pad(metadata.len)?;
        self.bad.pages += bad;
        self.bad.files += u64::from(bad > 0);
        let modified = timestamp(metadata.modified);
        self.list(path, metadata.len, modified, checksum)?;
        Ok(true)
    }

    /// Fails if a segment has lost its name, as PostgreSQL's CheckXLogRemoved does. Asked after its bytes
    /// were read and before they are sent: a checkpoint takes the name away before anybody writes over the
    /// file, so what was read is the segment's own if the name is there afterwards. No other file gets the
    /// name of a segment that is gone.
    fn check_named(&self, path: &str) -> Result<(), Failure> {
        match self.source.host.disk.exists(&self.source.data_dir.join(path)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::RemovedWal(path.rsplit('/').next().unwrap_or_default().to_owned())),
            Err(error) => Err(io_failure(path, error)),
        }
    }

    /// Checks the whole pages of a piece; a bad one is read once more, since a write may have been under way,
    /// and then again, if the running server has it whole. The new bytes are sent. Returns how many stay bad.
    fn check_pages(
        &mut self,
        file: &dyn File,
        path: &str,
        piece: &mut [u8],
        offset: u64,
    ) -> Result<u64, Failure> {
        let name = path.rsplit('/').next().and_then(exclude::relation_name);
        let first = name.map_or(0, |name| name.segment.saturating_mul(SEGMENT_PAGES));
        let mut bad = 0;
        for (at, bytes) in piece.as_chunks_mut::<PAGE>().0.iter_mut().enumerate() {
            let at = offset + (at * PAGE) as u64;
            let number = first.saturating_add(u32::try_from(at / PAGE as u64).unwrap_or(u32::MAX));
            if self.page_is_sound(bytes, number) {
                continue;
            }
            if !self.is_bad_again(file, bytes, at, number) {
                continue;
            }
            if self.has_mended(path, number, bytes)? && !self.is_bad_again(file, bytes, at, number) {
                continue;
            }
            bad += 1;
            self.bad.first.get_or_insert_with(|| (path.to_owned(), number));
        }
        Ok(bad)
    }

    /// Reads a page once more. One that was cut off meanwhile is not bad.
    fn is_bad_again(&self, file: &dyn File, bytes: &mut [u8; PAGE], at: u64, number: u32) -> bool {
        file.read_exact_at(bytes, at).is_ok() && !self.page_is_sound(bytes, number)
    }

    /// Has the server whose files these are write a page that a crash left torn in the file: a standby's
    /// restartpoint need not have done it.
    fn has_mended(&self, path: &str, number: u32, bytes: &[u8; PAGE]) -> Result<bool, Failure> {
        let (Some(store), Some((rel, _))) = (&self.source.store, exclude::relation_of(path)) else {
            return Ok(false);
        };
        let mended = store.mend_file(rel, BlockNumber::new(number), bytes);
        mended.map_err(|error| io_failure(path, io::Error::other(error)))
    }

    /// New pages, and pages changed since the backup began (redo brings their image), are sound whatever they
    /// hold.
    fn page_is_sound(&self, bytes: &[u8; PAGE], number: u32) -> bool {
        let mut page = Page::boxed();
        page.bytes_mut().copy_from_slice(bytes);
        page.is_new()
            || page.lsn() >= self.start
            || page.unseal(BlockNumber::new(number), self.source.data_checksums).is_ok()
    }

    fn algorithm(&self) -> ChecksumAlgorithm {
        self.manifest.as_ref().map_or(ChecksumAlgorithm::None, ManifestWriter::algorithm)
    }

    /// Lists a file in the manifest; log segments are not listed there.
    fn list(
        &mut self,
        path: &str,
        size_bytes: u64,
        modified: Timestamp,
        checksum: FileChecksum,
    ) -> Result<(), Failure> {
        let Some(manifest) = self.manifest.as_mut().filter(|_| !path.starts_with("pg_wal/")) else {
            return Ok(());
        };
        let checksum = checksum.finish();
        manifest
            .add_file(FileEntry { path, size_bytes, modified, checksum: &checksum })
            .map_err(Failure::Manifest)
    }
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn timestamp(time: SystemTime) -> Timestamp {
    let micros = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    Timestamp::from_unix_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// Fills the buffer; where the file has become shorter, with zeros.
fn read_or_zeros(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut got = 0;
    while got < buffer.len() {
        let rest = buffer.get_mut(got..).unwrap_or_default();
        match file.read_at(rest, offset + got as u64)? {
            0 => {
                rest.fill(0);
                return Ok(());
            }
            read => got += read,
        }
    }
    Ok(())
}
