//! What a data directory has for the node alone that it is: nothing of it comes with a copy.

use crate::Error;
use host::{FileKind, Host, LockGuard};
use std::io;
use std::path::Path;

/// A directory that is open has this file locked.
pub(super) const LOCK_FILE: &str = "plimsoll/lock";
/// And this one, if it is a server's.
pub const SERVER_LOCK_FILE: &str = "plimsoll/server.lock";
/// Where a server in the background writes its messages if it is told nothing else.
pub const SERVER_LOG_FILE: &str = "plimsoll/server.log";

/// Takes the directory for this process alone.
///
/// # Errors
///
/// Fails if another process has it, or its file cannot be locked.
pub fn lock_directory(host: &Host, dir: &Path) -> Result<Box<dyn LockGuard>, Error> {
    let own = dir.join("plimsoll");
    host.disk.create_dir_all(&own).map_err(|error| Error::io("create directory", &own, error))?;
    let path = dir.join(LOCK_FILE);
    host.disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::Unusable(format!(
            "data directory \"{}\" is in use by another server; stop it first",
            dir.display()
        )),
        _ => Error::io("lock file", &path, error),
    })
}

/// Removes what belonged to the node that the directory was before pg_rewind made it another, but for what
/// this process has open.
pub(super) fn remove_own_files(host: &Host, dir: &Path) -> Result<(), Error> {
    let own = dir.join("plimsoll");
    let open = [LOCK_FILE, SERVER_LOCK_FILE, SERVER_LOG_FILE].map(|name| dir.join(name));
    for entry in host.disk.list(&own).map_err(|error| Error::io("list directory", &own, error))? {
        let path = own.join(&entry.name);
        if entry.kind == FileKind::File && !open.contains(&path) {
            host.disk.remove_file(&path).map_err(|error| Error::io("remove file", &path, error))?;
        }
    }
    host.disk.sync_dir(&own).map_err(|error| Error::io("fsync directory", &own, error))
}
