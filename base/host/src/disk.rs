//! The one narrow file-access trait.

use std::fmt::Debug;
use std::io;
use std::ops::Deref;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// A file system, shared by all who hold it.
pub type SharedDisk = Arc<dyn Disk>;
/// An open file, shared by all who hold it.
pub type SharedFile = Arc<dyn File>;

/// How a file is opened. None of these truncates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; reads only. A pipe or a device is not waited for.
    Read,
    /// Must exist; reads and writes.
    ReadWrite,
    /// Must not exist; created empty, reads and writes.
    CreateNew,
    /// Created empty if missing; reads and writes.
    Create,
}

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// Anything else (symbolic link, socket, device), and whatever has a name that is not UTF-8
    /// ([`DirEntry::is_stand_in`]).
    Other,
}

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The entry's name without its folder.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
}

/// What is known of a path without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// Length in bytes (0 for a folder).
    pub len: u64,
    /// Time of the last change of the contents.
    pub modified: SystemTime,
    /// Permission bits (mode & 0o7777).
    pub permissions: u32,
    /// How many names a file has; 1 for anything else.
    pub names: u64,
}

/// An exclusive advisory lock on a file, given up on drop.
pub trait LockGuard: Send + Sync + Debug {
    /// The locked file itself, whatever stands at its path by now.
    fn file(&self) -> &dyn File;
}

/// A file's contents mapped read-only. The file must not change while it is mapped (a sealed WAL segment).
pub trait Mapping: Deref<Target = [u8]> + Send + Sync + Debug {
    /// The file itself, for the kernel to send from; None where there is no real file.
    fn file(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// An open file. All calls are positional; none moves a cursor.
#[allow(clippy::len_without_is_empty, reason = "the length of a file on disk, not of a collection")]
pub trait File: Send + Sync + Debug {
    /// Reads up to `buf.len()` bytes at `offset`; returns how many, 0 at or past the end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes up to `buf.len()` bytes at `offset`; returns how many (a short write is not an error).
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;
    /// Reserves space for `[offset, offset + len)`, reading as zeros where the file had none; extends the
    /// length.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Promises space for `[offset, offset + len)` and leaves length and contents as they are, so that writes
    /// there do not meet a full disk. `Unsupported` where the file system knows no such promise.
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Sets the length in bytes; growth reads as zeros.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Makes contents and length durable (fdatasync).
    fn sync(&self) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Says that `[offset, offset + len)` will be read soon. A hint: it changes nothing and never fails.
    fn will_need(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
    /// Says that `[offset, offset + len)`, which was written, will be synced soon, so that the disk may begin
    /// with it. A hint, as the other: nothing of it is durable before the sync.
    fn will_sync(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }

    /// Fills `buf` from `offset`, or fails with `UnexpectedEof`.
    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            let n = self.read_at(buf, offset)?;
            if n == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "file ends too early"));
            }
            buf = buf.get_mut(n..).unwrap_or_default();
            offset += n as u64;
        }
        Ok(())
    }

    /// Writes all of `buf` at `offset`, or fails (a write of no bytes fails with `WriteZero`).
    fn write_all_at(&self, mut buf: &[u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            let n = self.write_at(buf, offset)?;
            if n == 0 {
                return Err(io::Error::new(io::ErrorKind::WriteZero, "the file takes no more bytes"));
            }
            buf = buf.get(n..).unwrap_or_default();
            offset += n as u64;
        }
        Ok(())
    }
}

/// A file system. Paths are absolute or relative to the process, as the caller likes; names are UTF-8.
pub trait Disk: Send + Sync + Debug {
    /// Opens a file. New files get mode 0600.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SharedFile>;
    /// Renames a file or folder, replacing a file of the new name. Durable after `sync_dir` of both folders.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable after `sync_dir` of its folder.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Creates a folder (mode 0700); its parent must exist.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes `link` a name of a folder elsewhere, given by its absolute path. A disk may not have such names.
    fn link_folder(&self, folder: &Path, link: &Path) -> io::Result<()> {
        let _ = (folder, link);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Gives a file a second name, which must not be there: from then on both are names of one file. Durable
    /// after `sync_dir` of the name's folder. A disk may not have such names.
    fn link_file(&self, file: &Path, name: &Path) -> io::Result<()> {
        let _ = (file, name);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Whether two paths, at both of which something stands, are names of one file.
    fn is_one_file(&self, one: &Path, other: &Path) -> io::Result<bool>;
    /// Removes an empty folder.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Lists a folder, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// What `path` is, following symbolic links; `NotFound` if there is nothing.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Maps a file that no longer changes (a sealed WAL segment), read-only.
    fn map_sealed(&self, path: &Path) -> io::Result<Box<dyn Mapping>>;
    /// Takes an exclusive advisory lock on a file, created if missing; `WouldBlock` if another process holds
    /// it, `InvalidInput` if something else than a regular file of one name stands there: symbolic links are
    /// not followed.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>>;

    /// Whether a path leads to the device that has nothing to read (`/dev/null`), which some put in the place
    /// of a file to say that there is nothing in it.
    fn is_null_device(&self, path: &Path) -> bool {
        let _ = path;
        false
    }

    /// Reads a whole file, as [`Disk::read`] does, that another process may be writing at its place at this
    /// moment: the kernel then gives old bytes and new ones. It is read again for a moment until `is_whole`;
    /// what was read last is returned, whole or not. Here, for a disk that has no such moments, it is once.
    fn read_settled(&self, path: &Path, limit: u64, is_whole: &dyn Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
        let _ = is_whole;
        self.read(path, limit)
    }

    /// Reads a whole file of at most `limit` bytes; a larger one fails with `FileTooLarge`. What is no
    /// regular file is refused before it is opened: pipes and devices may act when they are.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        if self.metadata(path)?.kind == FileKind::Other {
            if self.is_null_device(path) {
                return Ok(Vec::new());
            }
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let file = self.open(path, OpenMode::Read)?;
        let len = file.len()?;
        if len > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("{} has {len} bytes, the limit is {limit}", path.display()),
            ));
        }
        let mut contents = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        file.read_exact_at(&mut contents, 0)?;
        Ok(contents)
    }

    /// Reads a text file of at most `limit` bytes. A larger one, or one that is no UTF-8, is damaged: it
    /// fails with `InvalidData`, which nothing else does. Who reports it names the file.
    fn read_text(&self, path: &Path, limit: u64) -> io::Result<String> {
        let damaged = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let contents = self.read(path, limit).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => damaged(format!("it has more than {limit} bytes")),
            _ => error,
        })?;
        String::from_utf8(contents).map_err(|_| damaged("it is not UTF-8".to_owned()))
    }

    /// Creates a folder and the missing ones above it.
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        match self.metadata(path) {
            Ok(found) if found.kind == FileKind::Directory => return Ok(()),
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "a file stands in the folder's place",
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.create_dir_all(parent)?;
        }
        match self.create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// Whether anything stands at `path`.
    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The folder of a path, for `sync_dir`.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}
