//! Whose a data directory is: only its owner runs a server on it.

use anyhow::{Result, bail};
use nix::unistd::{Uid, User, geteuid};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Refuses to start a server on another user's directory: what it made there would not be the owner's, who
/// could not start a server any more. A directory that is not there is for others to tell of.
pub fn check_own(data: &Path) -> Result<()> {
    let Ok(found) = std::fs::metadata(data) else { return Ok(()) };
    let (owner, own) = (Uid::from_raw(found.uid()), geteuid());
    if owner == own {
        return Ok(());
    }
    bail!(
        "data directory \"{}\" has wrong ownership: it belongs to user {}, and this is user {}. \
         The server must be started by the user that owns the data directory.",
        data.display(),
        name(owner),
        name(own)
    );
}

/// What an error says besides if a path may not be looked at: whose it is, as far as that can be seen.
pub fn words_of_refusal(path: &Path, error: &io::Error) -> String {
    if error.kind() != ErrorKind::PermissionDenied {
        return String::new();
    }
    let whose = path.ancestors().find_map(|above| std::fs::metadata(above).ok());
    whose.filter(|found| found.uid() != geteuid().as_raw()).map_or_else(String::new, |found| {
        let owner = name(Uid::from_raw(found.uid()));
        format!(", which belongs to user {owner} (this is user {})", name(geteuid()))
    })
}

/// A user's name, or number if the system knows none.
pub fn name(user: Uid) -> String {
    User::from_uid(user).ok().flatten().map_or_else(|| user.to_string(), |user| user.name)
}
