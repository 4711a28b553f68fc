//! What the disk has of slots: a folder for each, with a file.

use super::file::SlotState;
use super::{STATE_FILE, Slot, Slots};
use crate::error::ReplicaError;
use host::{Disk, OpenMode};
use std::io;
use std::path::{Path, PathBuf};
use wal::Lsn;

/// What the file in a slot's folder says.
pub(super) fn read_state(disk: &dyn Disk, folder: &Path, name: &str) -> Result<SlotState, ReplicaError> {
    let path = folder.join(STATE_FILE);
    let damaged = |what: String| ReplicaError::SlotFile { path: path.display().to_string(), what };
    let bytes = disk.read(&path, 4096).map_err(|cause| ReplicaError::file("read", &path, cause))?;
    let state = SlotState::decode(&bytes).map_err(damaged)?;
    if state.name != name {
        return Err(damaged(format!("it is that of slot \"{}\"", state.name)));
    }
    Ok(state)
}

impl Slots {
    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.0.dir.join(name)
    }

    pub(super) fn write(&self, name: &str, slot: &mut Slot) -> Result<(), ReplicaError> {
        let path = self.folder(name).join(STATE_FILE);
        host::write_file_durably(&*self.0.host.disk, &path, &slot.state(name).encode())
            .map_err(|cause| ReplicaError::file("write", &path, cause))?;
        (slot.saved, slot.unwritten) = (slot.restart, false);
        Ok(())
    }

    pub(super) fn write_if_changed(&self, name: &str, slot: &mut Slot) -> Result<(), ReplicaError> {
        if slot.saved != slot.restart || slot.unwritten { self.write(name, slot) } else { Ok(()) }
    }

    /// Moves a slot, which reserves WAL from there on, durably; if that fails it stays where it is.
    pub(super) fn write_as(&self, name: &str, slot: &mut Slot, restart: Lsn) -> Result<(), ReplicaError> {
        let mut moved = Slot { restart, invalidated_at: Lsn::INVALID, ..slot.clone() };
        self.write(name, &mut moved)?;
        *slot = moved;
        Ok(())
    }

    /// Makes the folder under a temporary name, so that a crash leaves all or nothing of it.
    pub(super) fn write_new(&self, name: &str, slot: &Slot) -> Result<(), ReplicaError> {
        let disk = &*self.0.host.disk;
        let temporary = self.folder(&format!("{name}.tmp"));
        if disk.exists(&temporary).map_err(|cause| ReplicaError::file("open", &temporary, cause))? {
            self.remove_folder(&temporary)?;
        }
        let made = disk.create_dir(&temporary).and_then(|()| {
            let state = disk.open(&temporary.join(STATE_FILE), OpenMode::CreateNew)?;
            state.write_all_at(&slot.state(name).encode(), 0)?;
            if !host::planted!("a slot's file is not synced") {
                state.sync()?;
            }
            disk.sync_dir(&temporary)?;
            disk.rename(&temporary, &self.folder(name))?;
            disk.sync_dir(&self.0.dir)
        });
        made.map_err(|cause| ReplicaError::file("create", &self.folder(name), cause))
    }

    /// Renames the folder away, durably, then empties it: a crash cannot bring a dropped slot back.
    pub(super) fn remove(&self, name: &str) -> Result<(), ReplicaError> {
        let disk = &*self.0.host.disk;
        let (folder, temporary) = (self.folder(name), self.folder(&format!("{name}.tmp")));
        disk.rename(&folder, &temporary)
            .and_then(|()| disk.sync_dir(&self.0.dir))
            .map_err(|cause| ReplicaError::file("remove", &folder, cause))?;
        self.remove_folder(&temporary)
    }

    pub(super) fn remove_folder(&self, folder: &Path) -> Result<(), ReplicaError> {
        let disk = &*self.0.host.disk;
        let emptied = disk.list(folder).and_then(|entries| {
            entries.iter().try_for_each(|entry| disk.remove_file(&folder.join(&entry.name)))?;
            disk.remove_dir(folder)
        });
        match emptied {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(ReplicaError::file("remove", folder, cause))
            }
            _ => Ok(()),
        }
    }
}
