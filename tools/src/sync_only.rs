//! Writing all of a data directory to disk (initdb --sync-only).

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

/// Syncs every file and folder of a data directory, also of a log that lies elsewhere.
///
/// # Errors
/// It is no folder with something in it, or something of it cannot be synced.
pub fn sync_all(data: &Path) -> Result<()> {
    let entries = fs::read_dir(data);
    let mut entries =
        entries.with_context(|| format!("could not access directory \"{}\"", data.display()))?;
    if entries.next().is_none() {
        bail!("directory \"{}\" is empty", data.display());
    }
    sync_folder(data)
}

/// A link to a folder, as pg_wal may be, leads to what belongs to the directory, too.
fn sync_folder(folder: &Path) -> Result<()> {
    let failed = |path: &Path| format!("could not fsync file \"{}\"", path.display());
    for entry in fs::read_dir(folder).with_context(|| failed(folder))? {
        let path = entry.with_context(|| failed(folder))?.path();
        let found = match fs::metadata(&path) {
            // A link that leads nowhere has nothing to sync.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            found => found.with_context(|| failed(&path))?,
        };
        if found.is_dir() {
            sync_folder(&path)?;
        } else if found.is_file() {
            fs::File::open(&path).and_then(|file| file.sync_all()).with_context(|| failed(&path))?;
        }
    }
    fs::File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| failed(folder))
}
