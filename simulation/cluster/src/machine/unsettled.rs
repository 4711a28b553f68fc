//! Small files that must outlive a power cut: whoever writes one makes it durable at once, or it goes again.
//! What happens to them is noted when it happens: between two looks one may have come and gone.

use super::rules;
use host::Disk;
use parking_lot::Mutex;
use simulation::VirtualDisk;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio::time::Instant;

/// Those of a server's life that a power cut would not leave as they are, each with since when.
#[derive(Debug, Default)]
pub(super) struct Unsettled(Mutex<BTreeMap<PathBuf, Instant>>);

impl Unsettled {
    /// A file was written, or it, or the folder that it lies in, got this name.
    pub(super) fn touched(&self, files: &VirtualDisk, path: &Path) {
        if !rules::must_outlive(files, path) {
            return;
        }
        let below = files.list(path).unwrap_or_default().into_iter().map(|entry| path.join(entry.name));
        for file in below.chain([path.to_path_buf()]) {
            if is_undurable(files, &file) {
                self.0.lock().entry(file).or_insert_with(Instant::now);
            }
        }
    }
    /// There is no file of this name, and none in a folder of this name, any more: who gets it later is
    /// another one.
    pub(super) fn gone(&self, path: &Path) {
        self.0.lock().retain(|file, _| !file.starts_with(path));
    }
    /// A file or a folder was synced.
    pub(super) fn synced(&self, files: &VirtualDisk, path: &Path) {
        self.0.lock().retain(|file, _| !file.starts_with(path) || is_undurable(files, file));
    }
    /// All of them.
    pub(super) fn list(&self, files: &VirtualDisk) -> Vec<(PathBuf, Instant)> {
        let mut all = self.0.lock();
        // One may have been synced while it had another name.
        all.retain(|file, _| is_undurable(files, file));
        all.iter().map(|(file, since)| (file.clone(), *since)).collect()
    }
}

/// Whether a file is there that a power cut would not leave as it is.
fn is_undurable(files: &VirtualDisk, path: &Path) -> bool {
    let len = files.metadata(path).map_or(0, |metadata| metadata.len);
    !files.is_durable(path, 0..len).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::DATA;
    use crate::machine::{DiskSpeed, NodeDisk};
    use host::OpenMode;

    const FAST: DiskSpeed = DiskSpeed { sync_us: 0..=0, write_us: 0..=0 };

    /// The disk of a running server with a folder for slots, all of it durable.
    fn disk() -> (NodeDisk, PathBuf) {
        let (files, data) = (VirtualDisk::new(), Path::new(DATA));
        let slots = data.join("pg_replslot");
        files.create_dir_all(&slots).unwrap();
        drop(files.open(&data.join("postmaster.pid"), OpenMode::CreateNew).unwrap());
        host::sync_tree(&files, Path::new("/"), true).unwrap();
        (NodeDisk::new(files, FAST, 1), slots)
    }

    /// Writes the file of a new slot, under its temporary name.
    fn begin(disk: &NodeDisk, slots: &Path) -> PathBuf {
        let temporary = slots.join("s.tmp");
        disk.create_dir(&temporary).unwrap();
        let state = disk.open(&temporary.join("state"), OpenMode::CreateNew).unwrap();
        state.write_all_at(&[1; 200], 0).unwrap();
        temporary
    }

    fn names(disk: &NodeDisk) -> Vec<PathBuf> {
        disk.unsettled().into_iter().map(|(path, _)| path).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_unsettled_from_its_first_write_until_it_and_its_name_are_synced() {
        let (disk, slots) = disk();
        let begun = Instant::now();
        let temporary = begin(&disk, &slots);
        tokio::time::advance(std::time::Duration::from_millis(7)).await;
        let state = disk.open(&temporary.join("state"), OpenMode::ReadWrite).unwrap();
        state.write_all_at(&[2; 200], 0).unwrap();
        assert_eq!(disk.unsettled(), [(temporary.join("state"), begun)]);
        state.sync().unwrap();
        disk.sync_dir(&temporary).unwrap();
        assert_eq!(names(&disk), [temporary.join("state")], "the folder's name may be lost");
        disk.rename(&temporary, &slots.join("s")).unwrap();
        assert_eq!(names(&disk), [slots.join("s/state")]);
        disk.sync_dir(&slots).unwrap();
        assert_eq!(names(&disk), Vec::<PathBuf>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_that_is_dropped_under_its_temporary_name_was_not_written_when_it_was_made() {
        let (disk, slots) = disk();
        let temporary = begin(&disk, &slots);
        host::sync_tree(&disk, &temporary, true).unwrap();
        disk.rename(&temporary, &slots.join("s")).unwrap();
        disk.sync_dir(&slots).unwrap();
        disk.rename(&slots.join("s"), &temporary).unwrap();
        assert!(is_undurable(disk.files(), &temporary.join("state")));
        assert_eq!(names(&disk), Vec::<PathBuf>::new(), "its file goes next");
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_was_durable_counts_from_its_next_write() {
        let (disk, slots) = disk();
        let temporary = begin(&disk, &slots);
        let state = disk.open(&temporary.join("state"), OpenMode::ReadWrite).unwrap();
        host::sync_tree(&disk, &slots, true).unwrap();
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        state.write_all_at(&[2; 200], 0).unwrap();
        assert_eq!(disk.unsettled(), [(temporary.join("state"), Instant::now())]);
        disk.remove_file(&temporary.join("state")).unwrap();
        assert_eq!(names(&disk), Vec::<PathBuf>::new());
    }
}
