//! The files of a server's slots, as they lie on its disk.

use host::Disk;
use parking_lot::Mutex;
use simulation::VirtualDisk;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use wal::Lsn;

/// No file of a slot is larger.
const SLOT_MAX: u64 = 1 << 16;
/// Where a slot's file has the position from which on it keeps log, and the one at which it was given up.
const SLOT_RESTART: usize = 96;
const SLOT_INVALIDATED: usize = 104;

/// The names of a server's slots, and their folders.
fn folders(files: &VirtualDisk, data: &Path) -> impl Iterator<Item = (String, PathBuf)> + use<> {
    let all = data.join("pg_replslot");
    let entries = files.list(&all).unwrap_or_default().into_iter();
    entries.map(move |entry| (entry.name.clone(), all.join(entry.name)))
}

fn read(files: &VirtualDisk, folder: &Path) -> Option<Vec<u8>> {
    files.read(&folder.join("state"), SLOT_MAX).ok()
}

fn position_at(file: &[u8], at: usize) -> Option<Lsn> {
    let bytes = file.get(at..)?.first_chunk::<8>()?;
    Some(Lsn::new(u64::from_le_bytes(*bytes)))
}

/// The position from which on a slot with this file keeps log; None if it keeps none.
fn restart_in(file: &[u8]) -> Option<Lsn> {
    let given_up = position_at(file, SLOT_INVALIDATED)?.is_valid();
    position_at(file, SLOT_RESTART).filter(|restart| restart.is_valid() && !given_up)
}

/// The slots, by their folders, whose files a life of a server could not replace when it last tried. Such a
/// file says nothing: its slot may have been given up, which has made room.
#[derive(Debug, Default)]
pub(super) struct Refused(Mutex<BTreeSet<PathBuf>>);

impl Refused {
    /// A file was removed. What was to replace a slot's file is removed if that failed.
    pub(super) fn removed(&self, path: &Path) {
        if let Some(folder) = path.parent().filter(|_| path.ends_with("state.tmp")) {
            self.0.lock().insert(folder.to_path_buf());
        }
    }
    /// A file got this name.
    pub(super) fn replaced(&self, path: &Path) {
        if let Some(folder) = path.parent().filter(|_| path.ends_with("state")) {
            self.0.lock().remove(folder);
        }
    }
}

/// The positions that the files of a server's slots have, though some may have been given up.
pub(super) fn positions(files: &VirtualDisk, data: &Path) -> Vec<(String, Lsn)> {
    let position = |(name, folder): (String, PathBuf)| {
        let state = read(files, &folder)?;
        Some((name, position_at(&state, SLOT_RESTART)?))
    };
    folders(files, data).filter_map(position).collect()
}

/// From which position on a server keeps log for its slots, also for one that is being made; None if none of
/// them keeps any.
pub(super) fn oldest_kept(files: &VirtualDisk, data: &Path) -> Option<Lsn> {
    folders(files, data).filter_map(|(_, folder)| restart_in(&read(files, &folder)?)).min()
}

/// The slots whose durable files ask for log, each from a position on. One that is being made, or could not
/// be, is none yet.
pub(super) fn claims(files: &VirtualDisk, data: &Path, refused: &Refused) -> Vec<(String, Lsn)> {
    let refused = refused.0.lock();
    let is_made = |(name, folder): &(String, PathBuf)| !name.ends_with(".tmp") && !refused.contains(folder);
    let counts = folders(files, data).filter(is_made);
    let claim = |(name, folder): (String, PathBuf)| {
        Some((name, restart_in(&files.read_durable(&folder.join("state"))?)?))
    };
    counts.filter_map(claim).collect()
}

/// The position at which a slot was given up, as its file says; None if it was not, or is not there.
pub fn given_up_at(files: &VirtualDisk, data: &Path, slot: &str) -> Option<Lsn> {
    let file = read(files, &data.join("pg_replslot").join(slot))?;
    position_at(&file, SLOT_INVALIDATED).filter(|at| at.is_valid())
}

/// From which position on a slot keeps log, as its file says; None if it keeps none.
pub fn restart_of(files: &VirtualDisk, data: &Path, slot: &str) -> Option<Lsn> {
    restart_in(&read(files, &data.join("pg_replslot").join(slot))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_keeps_log_from_what_its_file_says_unless_it_was_given_up() {
        let mut file = vec![0; 200];
        assert_eq!(restart_in(&file), None);
        file[SLOT_RESTART..SLOT_RESTART + 8].copy_from_slice(&77_u64.to_le_bytes());
        assert_eq!(restart_in(&file), Some(Lsn::new(77)));
        file[SLOT_INVALIDATED..SLOT_INVALIDATED + 8].copy_from_slice(&70_u64.to_le_bytes());
        assert_eq!((restart_in(&file), restart_in(&file[..99])), (None, None));
    }

    #[test]
    fn a_file_of_a_slot_that_could_not_be_replaced_claims_nothing() {
        let files = VirtualDisk::new();
        let data = Path::new("/data");
        let folder = data.join("pg_replslot/kept");
        files.create_dir_all(&folder).unwrap();
        folder.ancestors().skip(1).for_each(|above| files.sync_dir(above).unwrap());
        let mut state = vec![0; 200];
        state[SLOT_RESTART..SLOT_RESTART + 8].copy_from_slice(&77_u64.to_le_bytes());
        let refused = Refused::default();
        let claim = || claims(&files, data, &refused);
        let kept = [("kept".to_owned(), Lsn::new(77))];
        host::write_file_durably(&files, &folder.join("state"), &state).unwrap();
        let not_made = data.join("pg_replslot/other.tmp");
        files.create_dir_all(&not_made).unwrap();
        files.sync_dir(&data.join("pg_replslot")).unwrap();
        host::write_file_durably(&files, &not_made.join("state"), &state).unwrap();
        assert_eq!(claim(), kept);
        files.remove_file(&not_made.join("state")).unwrap();
        files.remove_dir(&not_made).unwrap();
        files.set_capacity(0);
        host::write_file_durably(&files, &folder.join("state"), &state).unwrap_err();
        refused.removed(&folder.join("state.tmp"));
        assert_eq!((claim(), positions(&files, data)), (Vec::new(), kept.to_vec()));
        assert_eq!(oldest_kept(&files, data), restart_of(&files, data, "kept"));
        assert_eq!((given_up_at(&files, data, "kept"), given_up_at(&files, data, "gone")), (None, None));
        files.set_capacity(u64::MAX);
        host::write_file_durably(&files, &folder.join("state"), &state).unwrap();
        refused.replaced(&folder.join("state"));
        assert_eq!(claim(), kept);
        state[SLOT_INVALIDATED..SLOT_INVALIDATED + 8].copy_from_slice(&70_u64.to_le_bytes());
        host::write_file_durably(&files, &folder.join("state"), &state).unwrap();
        assert_eq!(given_up_at(&files, data, "kept"), Some(Lsn::new(70)));
    }
}
