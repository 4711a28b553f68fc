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

/// Stands in a directory that is being rewound: what is there is neither the old state nor the new one.
pub const REWIND_MARKER: &str = "plimsoll.rewind";

/// How the names of the files in plimsoll/ begin that keep what rewinds discarded.
pub const DISCARD_PREFIX: &str = "discarded-";

/// What a node keeps when its directory becomes another's descendant by `plimsoll rewind`: what it told of
/// its own life and who it was, and what it knows of the cluster's nodes and of which timelines there are.
fn outlives_a_rewind(name: &str) -> bool {
    // One that was broken off has another end.
    let is_report = name.starts_with(DISCARD_PREFIX) && name.ends_with(".json");
    is_report || name.starts_with("ledger") || matches!(name, "roster" | "former" | "heard")
}

/// Whether a rewind of this directory was begun and is not done.
///
/// # Errors
/// Fails if the directory cannot be looked at.
pub fn is_being_rewound(host: &Host, dir: &Path) -> Result<bool, Error> {
    // A link that leads nowhere stands there, too.
    let names = host.disk.list(dir).map_err(|error| Error::io("read directory", dir, error))?;
    Ok(names.iter().any(|entry| entry.name == REWIND_MARKER))
}

/// Refuses a directory whose rewind was broken off.
///
/// # Errors
/// Fails if it is one, or cannot be looked at.
pub fn check_rewound(host: &Host, dir: &Path) -> Result<(), Error> {
    if !is_being_rewound(host, dir)? {
        return Ok(());
    }
    Err(Error::Unusable(format!(
        "a rewind of \"{}\" was broken off, and what is there is neither its old state nor the new one; \
         run `plimsoll rewind` on it again, or clone it anew",
        dir.display()
    )))
}

/// Takes the directory for this process alone.
///
/// # Errors
/// Fails if another process has it, or the lock's file cannot be made.
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

/// Removes what belonged to the node that the directory was before a rewind made it another, but for what
/// this process has open. With `keep_records` what the node told of its own life stays: pg_rewind brings that
/// of another, `plimsoll rewind` does not.
///
/// # Errors
/// Fails if a file cannot be removed.
pub fn remove_own_files(host: &Host, dir: &Path, keep_records: bool) -> Result<(), Error> {
    let own = dir.join("plimsoll");
    let open = [LOCK_FILE, SERVER_LOCK_FILE, SERVER_LOG_FILE].map(|name| dir.join(name));
    for entry in host.disk.list(&own).map_err(|error| Error::io("list directory", &own, error))? {
        let path = own.join(&entry.name);
        let is_kept = keep_records && outlives_a_rewind(&entry.name);
        if entry.kind == FileKind::File && !open.contains(&path) && !is_kept {
            host.disk.remove_file(&path).map_err(|error| Error::io("remove file", &path, error))?;
        }
    }
    host.disk.sync_dir(&own).map_err(|error| Error::io("fsync directory", &own, error))
}
