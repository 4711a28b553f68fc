//! Who may read a data directory besides its owner: nobody, or its group too (initdb --allow-group-access).
//!
//! As in PostgreSQL the directory itself says it: if the group may read and enter it, files that are made in
//! it get mode 0640 and folders 0750, else 0600 and 0700.

use crate::{
    DirEntry, Disk, File, Host, LockGuard, Mapping, Metadata, OpenMode, RealDisk, SharedDisk, SharedFile,
};
use nix::sys::stat::{Mode, umask};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// What the group may do with what is in a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Owner,
    /// Read it.
    Group,
}

impl Access {
    /// What a data directory says; one that is not there, or may not be looked at, is the owner's alone.
    pub fn of(disk: &dyn Disk, data: &Path) -> Self {
        Self::of_mode(disk.metadata(data).map_or(0, |found| found.permissions))
    }

    /// What the mode of a data directory says.
    pub const fn of_mode(mode: u32) -> Self {
        if mode & 0o050 == 0o050 { Self::Group } else { Self::Owner }
    }

    /// The mode of files.
    pub const fn file_mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group => 0o640,
        }
    }

    /// The mode of folders.
    pub const fn folder_mode(self) -> u32 {
        match self {
            Self::Owner => 0o700,
            Self::Group => 0o750,
        }
    }

    /// Lets what this process and its children make by other ways have no more than this.
    pub fn limit_process(self) {
        umask(Mode::from_bits_truncate(match self {
            Self::Owner => 0o077,
            Self::Group => 0o027,
        }));
    }

    /// The machine, with a disk that makes files and folders so.
    pub fn host(self) -> Host {
        self.host_syncing(true)
    }

    /// The same; one that does not sync leaves it to the system when files are on disk (initdb --no-sync).
    pub fn host_syncing(self, syncs: bool) -> Host {
        let host = Host::real();
        match (self, syncs) {
            (Self::Owner, true) => host,
            _ => {
                let disk: SharedDisk = Arc::new(OwnWay { access: self, syncs });
                Host { disk, ..host }
            }
        }
    }
}

/// The real disk, but for the modes of what is made on it and whether a sync waits.
#[derive(Debug)]
struct OwnWay {
    access: Access,
    syncs: bool,
}

/// A file whose syncs do nothing.
#[derive(Debug)]
struct Unsynced(SharedFile);

impl OwnWay {
    /// Gives what was made for these its mode, whatever the process keeps from what it makes.
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        match self.access {
            Access::Owner => Ok(()),
            Access::Group => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        }
    }

    fn open_any(&self, path: &Path, mode: OpenMode) -> io::Result<SharedFile> {
        let open = |mode| RealDisk::open_for(path, mode, self.access);
        let new = |file| self.set_mode(path, self.access.file_mode()).map(|()| file);
        match mode {
            OpenMode::Read | OpenMode::ReadWrite => open(mode),
            OpenMode::CreateNew => open(mode).and_then(new),
            OpenMode::Create => match open(OpenMode::CreateNew) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open(mode),
                made => made.and_then(new),
            },
        }
    }
}

impl Disk for OwnWay {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<SharedFile> {
        let file = self.open_any(path, mode)?;
        Ok(if self.syncs { file } else { Arc::new(Unsynced(file)) })
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk::create_dir_for(path, self.access)?;
        self.set_mode(path, self.access.folder_mode())
    }
    fn link_folder(&self, folder: &Path, link: &Path) -> io::Result<()> {
        RealDisk.link_folder(folder, link)
    }
    fn link_file(&self, file: &Path, name: &Path) -> io::Result<()> {
        RealDisk.link_file(file, name)
    }
    fn is_one_file(&self, one: &Path, other: &Path) -> io::Result<bool> {
        RealDisk.is_one_file(one, other)
    }
    fn read_settled(&self, path: &Path, limit: u64, is_whole: &dyn Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
        RealDisk.read_settled(path, limit, is_whole)
    }
    fn is_null_device(&self, path: &Path) -> bool {
        RealDisk.is_null_device(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        RealDisk.list(path)
    }
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        RealDisk.metadata(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if self.syncs { RealDisk.sync_dir(path) } else { Ok(()) }
    }
    fn map_sealed(&self, path: &Path) -> io::Result<Box<dyn Mapping>> {
        RealDisk.map_sealed(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        let was_there = RealDisk.exists(path)?;
        let lock = RealDisk::lock_for(path, self.access)?;
        if !was_there {
            self.set_mode(path, self.access.file_mode())?;
        }
        Ok(lock)
    }
}

impl File for Unsynced {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.allocate(offset, len)
    }
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.reserve(offset, len)
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_in_a_directory_of_its_group_is_the_groups_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for (access, file_mode, folder_mode) in [(Access::Owner, 0o600, 0o700), (Access::Group, 0o640, 0o750)]
        {
            let data = folder.path().join(format!("{access:?}"));
            fs::create_dir(&data).unwrap();
            fs::set_permissions(&data, fs::Permissions::from_mode(folder_mode)).unwrap();
            assert_eq!(Access::of(&RealDisk, &data), access);
            let disk = access.host().disk;
            for (name, how) in [("new", OpenMode::CreateNew), ("any", OpenMode::Create)] {
                disk.open(&data.join(name), how).unwrap();
                assert_eq!(mode(&data.join(name)), file_mode, "{name}");
            }
            disk.create_dir(&data.join("folder")).unwrap();
            assert_eq!(mode(&data.join("folder")), folder_mode);
            drop(disk.lock(&data.join("lock")).unwrap());
            assert_eq!(mode(&data.join("lock")), file_mode);
        }
    }
}
