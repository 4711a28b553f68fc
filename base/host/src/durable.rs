//! Files and names that outlive a crash: small files are replaced so that the old or the new one is there,
//! whole, and whole trees are synced. A large file is copied in pieces.

use crate::disk::{Disk, File, FileKind, OpenMode, folder_of};
use std::io;
use std::path::{Path, PathBuf};

/// Renames `from` to `to` so that it stays renamed: syncs the file, renames it, syncs the folder(s).
pub fn durable_rename(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    if !crate::planted!("a file is renamed before it is synced") {
        disk.open(from, OpenMode::ReadWrite)?.sync()?;
    }
    disk.rename(from, to)?;
    let (source, target) = (folder_of(from), folder_of(to));
    if crate::planted!("a rename is not followed by its folder's sync") {
        return Ok(());
    }
    disk.sync_dir(&target)?;
    if source != target {
        disk.sync_dir(&source)?;
    }
    Ok(())
}

/// Replaces `path` by a file with these contents; after a crash either the old file or the new one is there.
pub fn write_file_durably(disk: &dyn Disk, path: &Path, contents: &[u8]) -> io::Result<()> {
    let temporary = temporary_of(path);
    match disk.remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.open(&temporary, OpenMode::CreateNew)?;
    let written = file.write_all_at(contents, 0).and_then(|()| durable_rename(disk, &temporary, path));
    if written.is_err() {
        // What a full disk took of it would only keep it full.
        let _ = disk.remove_file(&temporary);
    }
    written
}

/// Bytes that are copied at a time.
const COPIED_BYTES: usize = 1 << 20;

/// Copies the first `len` bytes of an open file, whose name is for messages, to another one, which the disk
/// may begin to write meanwhile. Syncs nothing.
pub fn copy_beginning(source: &dyn File, source_path: &Path, target: &dyn File, len: u64) -> io::Result<()> {
    let of_it =
        |cause: io::Error| io::Error::new(cause.kind(), format!("{}: {cause}", source_path.display()));
    let mut buffer = vec![0; COPIED_BYTES];
    let mut at = 0;
    while at < len {
        let want = usize::try_from(len - at).unwrap_or(usize::MAX).min(buffer.len());
        let part = buffer.get_mut(..want).unwrap_or_default();
        source.read_exact_at(part, at).map_err(of_it)?;
        target.write_all_at(part, at)?;
        target.will_sync(at, want as u64);
        at += want as u64;
    }
    Ok(())
}

/// Whether an operation failed because there is no space left for this.
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Has a new file at `path` take so many bytes, for who wants to know beforehand whether there is room for
/// them; fails if there is none, where the file system can promise any. The file stays, whatever comes of it.
pub fn take_room(disk: &dyn Disk, path: &Path, bytes: u64) -> io::Result<()> {
    match disk.open(path, OpenMode::Create)?.allocate(0, bytes) {
        Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(error),
        _ => Ok(()),
    }
}

/// The name under which a file is written that will be `path`.
pub fn temporary_of(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    PathBuf::from(temporary)
}

/// The same with the space of the file `reserve`, which becomes `path`: a full disk takes it where files are
/// overwritten in place. `reserve` must have as many bytes as `contents` at least.
pub fn write_reserved_file(disk: &dyn Disk, reserve: &Path, path: &Path, contents: &[u8]) -> io::Result<()> {
    let file = disk.open(reserve, OpenMode::ReadWrite)?;
    file.write_all_at(contents, 0)?;
    file.truncate(contents.len() as u64)?;
    durable_rename(disk, reserve, path)
}

/// What a disk writes whole or not at all, in bytes.
pub const SECTOR_SIZE: usize = 512;

/// Changes the beginning of a file where it lies, with one sync and without new space. It fits into a sector:
/// after a crash either the old bytes or the new ones are there.
pub fn overwrite_durably(disk: &dyn Disk, path: &Path, contents: &[u8]) -> io::Result<()> {
    let file = disk.open(path, OpenMode::ReadWrite)?;
    if contents.len() > SECTOR_SIZE || file.len()? < contents.len() as u64 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it cannot be changed where it lies"));
    }
    // In one call: a piece of it must not reach the disk alone.
    if file.write_at(contents, 0)? != contents.len() {
        return Err(io::Error::new(io::ErrorKind::WriteZero, "the file takes no more bytes"));
    }
    file.sync()
}

/// Where work on a tree of files failed.
#[derive(Debug)]
pub struct TreeError {
    /// A verb phrase: "list directory", "fsync file", "remove file".
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// The system's answer.
    pub error: io::Error,
}

/// Makes every name below a folder durable, and with `contents` every file's bytes before its name. A file
/// that goes away, or gets another name, between the list and the look at it is left to whoever does that.
///
/// # Errors
/// Fails if a folder cannot be listed, or a file or a folder cannot be synced.
pub fn sync_tree(disk: &dyn Disk, folder: &Path, contents: bool) -> Result<(), TreeError> {
    sync_tree_while(disk, folder, contents, &|| true)
}

/// The same, while `goes_on`: it is asked before each file, and the rest is left as it is once it says no.
///
/// # Errors
/// As [`sync_tree`].
pub fn sync_tree_while(
    disk: &dyn Disk,
    folder: &Path,
    contents: bool,
    goes_on: &dyn Fn() -> bool,
) -> Result<(), TreeError> {
    let mut steps = sync_steps(disk, folder, contents)?;
    while goes_on() {
        match steps.next() {
            Some(done) => done?,
            None => break,
        }
    }
    Ok(())
}

/// The same, a file or a folder at each step, for whoever has something to do in between.
///
/// # Errors
/// As [`sync_tree`]; a folder that cannot be listed is told at once.
pub fn sync_steps<'d>(
    disk: &'d dyn Disk,
    folder: &Path,
    contents: bool,
) -> Result<impl Iterator<Item = Result<(), TreeError>> + Send + use<'d>, TreeError> {
    let mut files = Vec::new();
    let folders = walk(disk, folder, |path, kind| {
        if contents && kind == FileKind::File {
            files.push(path);
        }
        Ok(())
    })?;
    let files = files.into_iter().map(move |path| {
        match disk.open(&path, OpenMode::ReadWrite).and_then(|file| file.sync()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            synced => synced.map_err(failed("fsync file", &path)),
        }
    });
    // Those within come first.
    let folders = folders.into_iter().rev();
    Ok(files.chain(folders.map(move |path| disk.sync_dir(&path).map_err(failed("fsync directory", &path)))))
}

/// Removes a file, or a folder with all that is in it; a link goes, and what it names stays. What is not
/// there is no error.
///
/// # Errors
/// Fails if a folder cannot be listed, or a file or a folder cannot be removed.
pub fn remove_tree(disk: &dyn Disk, path: &Path) -> Result<(), TreeError> {
    let remove = |path: &Path| match disk.remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(failed("remove file", path)),
    };
    match remove(path) {
        Err(failed) if failed.error.kind() == io::ErrorKind::IsADirectory => {}
        removed => return removed,
    }
    let folders = walk(disk, path, |path, _| remove(&path))?;
    let mut inner_first = folders.iter().rev();
    inner_first.try_for_each(|path| disk.remove_dir(path).map_err(failed("remove directory", path)))
}

/// Shows `each` what lies below a folder and is no folder; no link is followed. Returns the folders, each
/// before those within it.
fn walk(
    disk: &dyn Disk,
    folder: &Path,
    mut each: impl FnMut(PathBuf, FileKind) -> Result<(), TreeError>,
) -> Result<Vec<PathBuf>, TreeError> {
    let (mut folders, mut at) = (vec![folder.to_path_buf()], 0);
    while let Some(folder) = folders.get(at).cloned() {
        for entry in disk.list(&folder).map_err(failed("list directory", &folder))? {
            let path = folder.join(&entry.name);
            match entry.kind {
                FileKind::Directory => folders.push(path),
                kind @ (FileKind::File | FileKind::Other) => each(path, kind)?,
            }
        }
        at += 1;
    }
    Ok(folders)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TreeError + use<> {
    let path = path.to_path_buf();
    move |error| TreeError { action, path, error }
}
