//! The folders of a new data directory, and what becomes of them if it cannot be made.

use crate::output::complain;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Those that one is about to be made in, each missing or empty.
pub struct NewFolders(Vec<NewFolder>);

struct NewFolder {
    what: &'static str,
    path: PathBuf,
    existed: bool,
}

impl NewFolders {
    /// None if there is something in one of them: then nothing is made there, and nothing is to be removed.
    pub fn look(data: &Path, wal: Option<&Path>) -> Option<Self> {
        let folders = [Some(("data directory", data)), wal.map(|path| ("WAL directory", path))];
        let looked = folders
            .into_iter()
            .flatten()
            .map(|(what, path)| Some(NewFolder { what, path: path.to_path_buf(), existed: is_there(path)? }));
        looked.collect::<Option<Vec<_>>>().map(Self)
    }

    /// Takes back what was made of them, and says so; or says that it stays, if it is wanted.
    pub fn give_up(&self, keep: bool) {
        for folder in self.0.iter().filter(|folder| folder.has_changed()) {
            if keep {
                let NewFolder { what, path, .. } = folder;
                complain!("{what} \"{}\" stays as it is, as --no-clean asks", path.display());
            } else {
                folder.take_back();
            }
        }
    }
}

impl NewFolder {
    fn has_changed(&self) -> bool {
        is_there(&self.path) != Some(self.existed)
    }

    fn take_back(&self) {
        let (what, shown) = (self.what, self.path.display());
        let removed = if self.existed {
            complain!("removing contents of {what} \"{shown}\"");
            remove_contents(&self.path)
        } else {
            complain!("removing {what} \"{shown}\"");
            fs::remove_dir_all(&self.path)
        };
        if let Err(error) = removed {
            complain!("could not remove it: {error}; remove it before the next try");
        }
    }
}

/// Whether an empty folder is there; None if there is something in it, or it cannot be looked at.
fn is_there(path: &Path) -> Option<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none().then_some(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(false),
        Err(_) => None,
    }
}

/// Links go, and what they name stays.
fn remove_contents(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
