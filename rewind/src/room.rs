//! A look for room before a rewind changes anything: one that finds the disk full halfway leaves a directory
//! that cannot start until it has got room.

use crate::beside::BROUGHT_DIR;
use crate::copy::remove_tree;
use crate::error::{RewindError, io_error};
use host::Disk;
use std::path::Path;

/// Takes the room for a moment, in the file system of the data.
pub(crate) const ROOM_FILE: &str = "plimsoll/rewind.room";
/// For the marker, marks, labels, and what the file system itself takes.
const SPARE_BYTES: u64 = 1 << 20;

/// What a rewind will add to a directory at most, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needed {
    /// Files, but for log.
    pub(crate) data: u64,
    /// Log, which may lie in another file system.
    pub(crate) log: u64,
}

/// Fails if there is no room for all of it at once. Leaves nothing behind.
pub(crate) fn look_for_room(disk: &dyn Disk, dir: &Path, needed: Needed) -> Result<(), RewindError> {
    let log = format!("{BROUGHT_DIR}/room");
    let files = [(ROOM_FILE, needed.data.saturating_add(SPARE_BYTES)), (log.as_str(), needed.log)];
    let folder = dir.join(BROUGHT_DIR);
    disk.create_dir_all(&folder).map_err(io_error(&folder))?;
    let taken = files.iter().try_for_each(|(name, bytes)| take(disk, &dir.join(name), *bytes));
    for (name, _) in files {
        remove_tree(disk, &dir.join(name))?;
    }
    taken
}

/// Has a file take so much room, where the file system can promise any.
fn take(disk: &dyn Disk, path: &Path, bytes: u64) -> Result<(), RewindError> {
    if bytes == 0 {
        return Ok(());
    }
    host::take_room(disk, path, bytes).map_err(|error| {
        if host::is_disk_full(&error) {
            let folder = path.parent().unwrap_or(path).display().to_string();
            RewindError::NoRoom { folder, bytes }
        } else {
            io_error(path)(error)
        }
    })
}
