//! Whose a target is. A clone marks it before it writes anything else there, and takes back only what carries
//! its own mark: while it looked, connected and waited, another one may have filled the same directory. All
//! of this blocks.
//!
//! | in the directory               | what it is                                                   |
//! |--------------------------------|--------------------------------------------------------------|
//! | nothing                        | a clone may go there                                         |
//! | the marker, and no pg_control  | a clone that is under way, or was broken off                 |
//! | pg_control                     | whole, with a marker too: its maker was killed at its end    |
//! | anything else                  | somebody's                                                   |

use super::unpack::CONTROL_HELD_BACK;
use super::{CloneError, MARKER_FILE, io_error};
use host::{Disk, FileKind, Host, OpenMode, durable_rename};
use std::io;
use std::path::{Path, PathBuf};
use wal::control::control_file_path;

/// Most bytes of a marker that are read.
const MARKER_BYTES_MAX: u64 = 4096;

/// Whether a clone may go to `target`: Ok(whether it is there, empty), or why not. Touches nothing.
///
/// # Errors
///
/// Fails if it is no directory, not empty, a clone that is not finished, or cannot be looked at.
pub fn check_target(disk: &dyn Disk, target: &Path) -> Result<bool, CloneError> {
    let name = || target.display().to_string();
    match disk.metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_error(target)(error)),
        Ok(found) if found.kind != FileKind::Directory => return Err(CloneError::NotADirectory(name())),
        Ok(_) => {}
    }
    let entries = disk.list(target).map_err(io_error(target))?;
    let is_marked = entries.iter().any(|entry| entry.name == MARKER_FILE);
    if is_marked && !is_whole(disk, target)? {
        return Err(CloneError::Unfinished(name()));
    }
    if entries.is_empty() { Ok(true) } else { Err(CloneError::NotEmpty(name())) }
}

/// Whether a server may be running there.
fn is_whole(disk: &dyn Disk, target: &Path) -> Result<bool, CloneError> {
    let control = control_file_path(target);
    disk.exists(&control).map_err(io_error(&control))
}

/// What became of what a clone has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakenBack {
    /// It is removed; the directory is as it was before.
    Removed,
    /// Nothing there carries its mark: it had made nothing yet, had let the directory go, or somebody else
    /// has removed it.
    NothingMarked,
    /// It is whole, and stays.
    Whole,
}

/// One clone's claim to its target.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    target: PathBuf,
    /// The directory was there before, empty.
    existed: bool,
    /// What the marker says, which no other clone's says.
    text: String,
}

impl Claim {
    /// Looks whether the target can be had. Touches nothing.
    pub(super) fn look(host: &Host, target: &Path) -> Result<Self, CloneError> {
        let existed = check_target(&*host.disk, target)?;
        let text = format!(
            "A clone into this directory has not finished. No server starts here.\n\
             If none is under way, remove the directory and clone again.\n\
             process {}, clone {:016x}\n",
            host::process_id(),
            host.entropy.next_u64()
        );
        Ok(Self { target: target.to_path_buf(), existed, text })
    }

    fn marker(&self) -> PathBuf {
        self.target.join(MARKER_FILE)
    }

    /// Makes the target and marks it durably, unless somebody else has got there since the look.
    pub(super) fn take(&self, disk: &dyn Disk) -> Result<(), CloneError> {
        let taken = self.mark(disk);
        if taken.is_err() && !self.existed {
            // One in which somebody has put something stays.
            let _ = disk.remove_dir(&self.target);
        }
        taken
    }

    fn mark(&self, disk: &dyn Disk) -> Result<(), CloneError> {
        let (target, marker) = (&self.target, self.marker());
        disk.create_dir_all(target).map_err(io_error(target))?;
        let file = disk.open(&marker, OpenMode::CreateNew).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => CloneError::Unfinished(target.display().to_string()),
            _ => io_error(&marker)(error),
        })?;
        let written = || {
            file.write_all_at(self.text.as_bytes(), 0)?;
            file.sync()?;
            disk.sync_dir(target)
        };
        let marked = written().map_err(io_error(&marker)).and_then(|()| self.check_alone(disk));
        if marked.is_err() {
            // It is this clone's own, as it was made new.
            let _ = disk.remove_file(&marker);
        }
        marked
    }

    /// What came before the marker is somebody else's; what comes behind it is refused by whoever looks.
    fn check_alone(&self, disk: &dyn Disk) -> Result<(), CloneError> {
        let target = &self.target;
        let entries = disk.list(target).map_err(io_error(target))?;
        if entries.iter().any(|entry| entry.name != MARKER_FILE) {
            return Err(CloneError::NotEmpty(target.display().to_string()));
        }
        Ok(())
    }

    /// Whether the directory carries this clone's mark.
    fn is_marked(&self, disk: &dyn Disk) -> Result<bool, CloneError> {
        let marker = self.marker();
        match disk.read(&marker, MARKER_BYTES_MAX) {
            Ok(found) => Ok(found == self.text.as_bytes()),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::FileTooLarge => {
                    Ok(false)
                }
                _ => Err(io_error(&marker)(error)),
            },
        }
    }

    /// Lets the directory go: from here on a server starts on it.
    pub(super) fn release(&self, disk: &dyn Disk) -> Result<(), CloneError> {
        let (target, marker) = (&self.target, self.marker());
        if !self.is_marked(disk)? {
            return Err(CloneError::Replaced(target.display().to_string()));
        }
        let control = control_file_path(target);
        durable_rename(disk, &target.join(CONTROL_HELD_BACK), &control).map_err(io_error(&control))?;
        disk.remove_file(&marker).map_err(io_error(&marker))?;
        disk.sync_dir(target).map_err(io_error(target))
    }

    /// Removes what this clone has made, if it is not whole yet. The directory itself stays if it was there
    /// before.
    pub(super) fn take_back(&self, disk: &dyn Disk) -> Result<TakenBack, CloneError> {
        let (target, marker) = (&self.target, self.marker());
        if !self.is_marked(disk)? {
            return Ok(TakenBack::NothingMarked);
        }
        if is_whole(disk, target)? {
            return Ok(TakenBack::Whole);
        }
        for entry in disk.list(target).map_err(io_error(target))? {
            if entry.name != MARKER_FILE {
                let path = target.join(&entry.name);
                host::remove_tree(disk, &path).map_err(|failed| io_error(&failed.path)(failed.error))?;
            }
        }
        // The marker last, so that a removal that is broken off leaves it.
        disk.remove_file(&marker).map_err(io_error(&marker))?;
        if !self.existed {
            disk.remove_dir(target).map_err(io_error(target))?;
        }
        Ok(TakenBack::Removed)
    }
}

#[cfg(test)]
mod tests;
