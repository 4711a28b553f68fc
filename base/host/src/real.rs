//! The real file system.

use crate::access::Access;
use crate::disk::{DirEntry, Disk, File, FileKind, LockGuard, Mapping, Metadata, OpenMode, SharedFile};
use nix::fcntl::{FallocateFlags, Flock, FlockArg, OFlag, PosixFadviseAdvice, fallocate, posix_fadvise};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// /dev/null (devices.txt of the kernel's documentation: 1, 3).
const NULL_DEVICE: u64 = nix::sys::stat::makedev(1, 3);

/// How long a lock that is held is tried again.
const LOCK_GRACE: Duration = Duration::from_millis(100);

/// How often a file that is being written is read again, and after how long: a tenth of a second in all. A
/// write takes microseconds if its process is not kept from running.
const REREADS: u32 = 20;
const REREAD_PAUSE: Duration = Duration::from_millis(5);

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile(fs::File);

impl RealFile {
    fn advise(&self, offset: u64, len: u64, advice: PosixFadviseAdvice) {
        if let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) {
            let _ = posix_fadvise(&self.0, offset, len, advice);
        }
    }

    fn give_space(&self, flags: FallocateFlags, offset: u64, len: u64) -> io::Result<()> {
        let (offset, len) =
            (i64::try_from(offset).map_err(io::Error::other)?, i64::try_from(len).map_err(io::Error::other)?);
        loop {
            match fallocate(&self.0, flags, offset, len) {
                Err(nix::errno::Errno::EINTR) => {}
                other => return other.map_err(io::Error::from),
            }
        }
    }
}

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        retry(|| self.0.read_at(buf, offset))
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        retry(|| self.0.write_at(buf, offset))
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.give_space(FallocateFlags::empty(), offset, len)
    }
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.give_space(FallocateFlags::FALLOC_FL_KEEP_SIZE, offset, len)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
    fn will_need(&self, offset: u64, len: u64) {
        self.advise(offset, len, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
    }
    fn will_sync(&self, offset: u64, len: u64) {
        // Linux begins to write the range, and drops what of it is clean, which just written pages are not.
        self.advise(offset, len, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }
}

/// Repeats a call that a signal broke off before it did anything.
fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[derive(Debug)]
struct RealMapping {
    bytes: memmap2::Mmap,
    file: fs::File,
}

impl Deref for RealMapping {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Mapping for RealMapping {
    fn file(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}

#[derive(Debug)]
struct RealLock {
    file: RealFile,
    _lock: Flock<fs::File>,
}

impl LockGuard for RealLock {
    fn file(&self) -> &dyn File {
        &self.file
    }
}

/// Opens a lock file, which may lie in a folder where others can write: what they put there (a symbolic link,
/// a second name of another file, a pipe) is refused, so that nothing of theirs or ours is written to under
/// this name.
fn open_lock_file(path: &Path, access: Access) -> io::Result<fs::File> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).mode(access.file_mode()).custom_flags(flags);
    loop {
        let file = match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match options.clone().create_new(true).open(path) {
                    // Made by another in between.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                    made => return made,
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link"));
            }
            opened => opened?,
        };
        let found = file.metadata()?;
        if !found.is_file() || found.nlink() > 1 {
            let what = if found.is_file() { "the file has another name" } else { "it is not a regular file" };
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        return Ok(file);
    }
}

/// Whether this open file still stands at its path.
fn stands_at(file: &fs::File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn kind_of(kind: fs::FileType) -> FileKind {
    if kind.is_file() {
        FileKind::File
    } else if kind.is_dir() {
        FileKind::Directory
    } else {
        FileKind::Other
    }
}

/// What escapes a byte in the place of a name that is not UTF-8.
const ESCAPE: &str = "\\x";

/// A name that is not UTF-8 as text, which is no other's: its odd bytes escaped, as in `caf\xE9`.
fn stand_in(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("{ESCAPE}{byte:02X}")));
    }
    text
}

impl DirEntry {
    /// Whether this is a file or a folder whose name is not UTF-8: it is listed as [`FileKind::Other`], under
    /// a name with its odd bytes escaped, by which it cannot be reached. (A link or a socket whose name has
    /// such an escape is taken for one.)
    pub fn is_stand_in(&self) -> bool {
        self.kind == FileKind::Other && self.name.contains(ESCAPE)
    }
}

impl RealDisk {
    /// [`Disk::open`]; a new file is made for these.
    pub(crate) fn open_for(path: &Path, mode: OpenMode, access: Access) -> io::Result<SharedFile> {
        let mut options = fs::OpenOptions::new();
        options.read(true).mode(access.file_mode());
        match mode {
            OpenMode::Read => options.custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits()),
            OpenMode::ReadWrite => options.write(true),
            OpenMode::CreateNew => options.write(true).create_new(true),
            OpenMode::Create => options.write(true).create(true),
        };
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    /// [`Disk::create_dir`] for these.
    pub(crate) fn create_dir_for(path: &Path, access: Access) -> io::Result<()> {
        fs::DirBuilder::new().mode(access.folder_mode()).create(path)
    }

    /// [`Disk::lock`]; a new file is made for these.
    pub(crate) fn lock_for(path: &Path, access: Access) -> io::Result<Box<dyn LockGuard>> {
        let mut file = open_lock_file(path, access)?;
        let begun = Instant::now();
        loop {
            let other = file.try_clone()?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) if stands_at(&other, path)? => {
                    return Ok(Box::new(RealLock { file: RealFile(other), _lock: lock }));
                }
                // Its last holder has removed it: the lock that counts is on the file that is there now.
                Ok(_) => file = open_lock_file(path, access)?,
                // A process that was killed gives its locks up one by one while the kernel clears it away.
                Err((busy, nix::errno::Errno::EWOULDBLOCK)) if begun.elapsed() < LOCK_GRACE => {
                    file = busy;
                    std::thread::yield_now();
                }
                Err((_, errno)) => return Err(io::Error::from(errno)),
            }
        }
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SharedFile> {
        Self::open_for(path, mode, Access::Owner)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        Self::create_dir_for(path, Access::Owner)
    }
    fn link_folder(&self, folder: &Path, link: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(folder, link)
    }
    fn link_file(&self, file: &Path, name: &Path) -> io::Result<()> {
        fs::hard_link(file, name)
    }
    fn is_one_file(&self, one: &Path, other: &Path) -> io::Result<bool> {
        let (one, other) = (fs::metadata(one)?, fs::metadata(other)?);
        Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            entries.push(match entry.file_name().into_string() {
                Ok(name) => DirEntry { name, kind: kind_of(entry.file_type()?) },
                // One such file must not hide all others of its folder. Nothing here can open it.
                Err(name) => DirEntry { name: stand_in(&name), kind: FileKind::Other },
            });
        }
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(entries)
    }
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let found = fs::metadata(path)?;
        Ok(Metadata {
            kind: kind_of(found.file_type()),
            len: if found.is_file() { found.len() } else { 0 },
            modified: found.modified().unwrap_or(UNIX_EPOCH),
            permissions: found.permissions().mode() & 0o7777,
            names: if found.is_file() { found.nlink() } else { 1 },
        })
    }
    fn read_settled(&self, path: &Path, limit: u64, is_whole: &dyn Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
        let mut bytes = self.read(path, limit)?;
        for _ in 0..REREADS {
            if is_whole(&bytes) {
                break;
            }
            std::thread::sleep(REREAD_PAUSE);
            bytes = self.read(path, limit)?;
        }
        Ok(bytes)
    }
    fn is_null_device(&self, path: &Path) -> bool {
        fs::metadata(path)
            .is_ok_and(|found| found.file_type().is_char_device() && found.rdev() == NULL_DEVICE)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }
    fn map_sealed(&self, path: &Path) -> io::Result<Box<dyn Mapping>> {
        let file = fs::File::open(path)?;
        // SAFETY: callers map only files that no longer change (the trait's contract); the mapping is
        // read-only and keeps the file's pages alive after a rename or removal.
        let bytes = unsafe { memmap2::Mmap::map(&file) }?;
        Ok(Box::new(RealMapping { bytes, file }))
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        Self::lock_for(path, Access::Owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_name_that_is_not_utf8_hides_no_other_file_and_cannot_be_opened() {
        let folder = tempfile::tempdir().unwrap();
        for name in [&b"caf\xE9 latin1"[..], b"k\xC3\xA4se"] {
            fs::write(folder.path().join(OsStr::from_bytes(name)), "x").unwrap();
        }
        std::os::unix::fs::symlink("k\u{e4}se", folder.path().join("link")).unwrap();
        let listed = RealDisk.list(folder.path()).unwrap();
        let shown: Vec<_> =
            listed.iter().map(|entry| (entry.name.as_str(), entry.kind, entry.is_stand_in())).collect();
        assert_eq!(
            shown,
            [
                ("caf\\xE9 latin1", FileKind::Other, true),
                ("k\u{e4}se", FileKind::File, false),
                ("link", FileKind::Other, false),
            ]
        );
        let opened = RealDisk.open(&folder.path().join("caf\\xE9 latin1"), OpenMode::Read);
        assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_that_is_being_written_is_read_until_it_is_whole_and_not_forever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "half").unwrap();
        let looked = Cell::new(0);
        let writer_ends = |bytes: &[u8]| {
            looked.set(looked.get() + 1);
            fs::write(&path, "whole").unwrap();
            bytes == b"whole"
        };
        assert_eq!(RealDisk.read_settled(&path, 100, &writer_ends).unwrap(), b"whole");
        assert_eq!(looked.get(), 2);
        assert_eq!(RealDisk.read_settled(&path, 100, &|_| false).unwrap(), b"whole");
        fs::remove_file(&path).unwrap();
        assert_eq!(
            RealDisk.read_settled(&path, 100, &|_| false).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
