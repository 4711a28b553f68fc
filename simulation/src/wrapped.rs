//! A virtual disk some of whose calls do something else.

use crate::VirtualDisk;
use host::{DirEntry, Disk, File, LockGuard, Mapping, Metadata, OpenMode, SharedFile};
use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What a [`WrappedDisk`] does otherwise than the disk inside. Each hook does what that would unless it is
/// replaced.
pub trait Hooks: Debug + Send + Sync + 'static {
    /// In place of [`Disk::list`].
    ///
    /// # Errors
    ///
    /// As the disk's.
    fn list(&self, disk: &VirtualDisk, path: &Path) -> io::Result<Vec<DirEntry>> {
        disk.list(path)
    }
    /// In place of [`File::sync`].
    ///
    /// # Errors
    ///
    /// As the file's.
    fn sync(&self, file: &dyn File) -> io::Result<()> {
        file.sync()
    }
}

/// A virtual disk with hooks.
#[derive(Debug)]
pub struct WrappedDisk<H> {
    /// The disk inside.
    pub inner: VirtualDisk,
    hooks: Arc<H>,
}

#[derive(Debug)]
struct WrappedFile<H> {
    inner: SharedFile,
    hooks: Arc<H>,
}

impl<H: Hooks> WrappedDisk<H> {
    /// A disk that calls these hooks.
    pub fn new(inner: VirtualDisk, hooks: H) -> Self {
        Self { inner, hooks: Arc::new(hooks) }
    }
}

impl<H: Hooks> Disk for WrappedDisk<H> {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SharedFile> {
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(WrappedFile { inner, hooks: self.hooks.clone() }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }
    fn link_file(&self, file: &Path, name: &Path) -> io::Result<()> {
        self.inner.link_file(file, name)
    }
    fn is_one_file(&self, one: &Path, other: &Path) -> io::Result<bool> {
        self.inner.is_one_file(one, other)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.hooks.list(&self.inner, path)
    }
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.inner.metadata(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)
    }
    fn map_sealed(&self, path: &Path) -> io::Result<Box<dyn Mapping>> {
        self.inner.map_sealed(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        self.inner.lock(path)
    }
}

impl<H: Hooks> File for WrappedFile<H> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.inner.write_at(buf, offset)
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(offset, len)
    }
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.reserve(offset, len)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.inner.truncate(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.hooks.sync(&*self.inner)
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}
