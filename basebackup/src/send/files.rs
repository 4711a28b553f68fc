//! The files of a data directory that a base backup may send, by their paths below it: the one answer to
//! what leaves a node.

use super::exclude::{self, Fate};
use host::{Disk, File, FileKind, OpenMode};
use protocol::replication::ReadFile;
use std::io;
use std::path::Path;
use wal::control::{CONTROL_FILE, ControlFile};
use wal::{TimelineId, file_names};

/// What a file is to a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileClass {
    /// A folder with its contents.
    Folder,
    /// A folder without its contents.
    EmptyFolder,
    /// Bytes.
    Plain,
    /// Data pages.
    Relation,
    /// A segment of the log, or a history file.
    Log,
    /// global/pg_control.
    Control,
}

impl FileClass {
    const NAMES: [(Self, &'static str); 6] = [
        (Self::Folder, "folder"),
        (Self::EmptyFolder, "empty folder"),
        (Self::Plain, "file"),
        (Self::Relation, "relation"),
        (Self::Log, "log"),
        (Self::Control, "control"),
    ];

    /// As `PLIMSOLL files` has it.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(class, _)| *class == self).map_or("", |(_, name)| name)
    }

    /// By its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(class, _)| *class)
    }
}

/// A file that may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentFile {
    /// Its path below the data directory.
    pub path: String,
    /// Its length in bytes; 0 for a folder.
    pub size: u64,
    /// What it is.
    pub class: FileClass,
}

/// What a folder has for a copy.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What may go into it now, without the log and the control file.
    pub entries: Vec<(String, FileClass)>,
    /// What cannot, in PostgreSQL's words: whoever runs on the copy misses it, if it held settings say.
    pub skipped: Vec<String>,
}

/// Looks through a folder.
pub(super) fn entries(disk: &dyn Disk, data_dir: &Path, folder: &str) -> io::Result<Found> {
    let entries = disk.list(&data_dir.join(folder))?;
    let relations = exclude::is_relation_folder(folder);
    let unlogged = if relations {
        exclude::unlogged(entries.iter().map(|entry| entry.name.as_str()))
    } else {
        Default::default()
    };
    let mut found = Found::default();
    for entry in entries {
        let name = exclude::relation_name(&entry.name).filter(|_| relations);
        let reset = name.is_some_and(|name| name.fork != Some("init") && unlogged.contains(&name.relation));
        if reset || (relations && exclude::is_temporary_relation(&entry.name)) {
            continue;
        }
        let path = join(folder, &entry.name);
        let class = match (exclude::fate(folder, &entry.name), entry.kind) {
            (Fate::Omit | Fate::Last, _) => continue,
            (Fate::Empty, _) => FileClass::EmptyFolder,
            (Fate::Keep, FileKind::Directory) => FileClass::Folder,
            // pg_wal may be a link to a folder elsewhere; in the backup it is a folder.
            (Fate::Keep, FileKind::Other) if path == "pg_wal" => FileClass::Folder,
            (Fate::Keep, FileKind::File) if name.is_some() => FileClass::Relation,
            (Fate::Keep, FileKind::File) => FileClass::Plain,
            (Fate::Keep, FileKind::Other) => {
                found.skipped.push(if entry.is_stand_in() {
                    format!("skipping file \"./{path}\": its name is not UTF-8")
                } else {
                    format!("skipping special file \"./{path}\"")
                });
                continue;
            }
        };
        found.entries.push((path, class));
    }
    Ok(found)
}

/// Every file that may be sent, the log and the control file too. What goes away meanwhile is left out.
///
/// # Errors
/// Fails if the directory cannot be read.
pub fn sent_files(disk: &dyn Disk, data_dir: &Path) -> io::Result<Vec<SentFile>> {
    let mut found = Vec::new();
    add_folder(disk, data_dir, "", &mut found)?;
    for folder in [PG_WAL.to_owned(), kept_path()] {
        let entries = match disk.list(&data_dir.join(&folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder != PG_WAL => continue,
            other => other?,
        };
        for entry in entries.iter().filter(|entry| is_log(&entry.name)) {
            add_file(disk, data_dir, join(&folder, &entry.name), FileClass::Log, &mut found)?;
        }
    }
    add_file(disk, data_dir, CONTROL_FILE.to_owned(), FileClass::Control, &mut found)?;
    Ok(found)
}

fn add_folder(disk: &dyn Disk, data_dir: &Path, folder: &str, found: &mut Vec<SentFile>) -> io::Result<()> {
    let entries = match entries(disk, data_dir, folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.is_empty() => return Ok(()),
        other => other?,
    };
    for (path, class) in entries.entries {
        match class {
            FileClass::Folder => {
                found.push(SentFile { path: path.clone(), size: 0, class });
                add_folder(disk, data_dir, &path, found)?;
            }
            FileClass::EmptyFolder => found.push(SentFile { path, size: 0, class }),
            _ => add_file(disk, data_dir, path, class, found)?,
        }
    }
    Ok(())
}

fn add_file(
    disk: &dyn Disk,
    data_dir: &Path,
    path: String,
    class: FileClass,
    found: &mut Vec<SentFile>,
) -> io::Result<()> {
    match disk.metadata(&data_dir.join(&path)) {
        Ok(metadata) => found.push(SentFile { path, size: metadata.len, class }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

const PG_WAL: &str = "pg_wal";

/// The path below the data directory of the segments that are kept for rewinds.
fn kept_path() -> String {
    join(PG_WAL, wal::KEPT_DIR)
}

/// Whether a file of pg_wal is part of the log.
fn is_log(name: &str) -> bool {
    file_names::is_segment(name) || TimelineId::parse_history_file_name(name).is_some()
}

/// Whether the file at this path may be sent, should it be there.
pub fn may_be_sent(path: &str) -> bool {
    let (mut folder, kept) = (String::new(), kept_path());
    for name in path.split('/') {
        if name.is_empty() || name == "." || name == ".." || name.contains('\0') {
            return false;
        }
        let here = join(&folder, name);
        let is_sent = match exclude::fate(&folder, name) {
            Fate::Keep => !(exclude::is_relation_folder(&folder) && exclude::is_temporary_relation(name)),
            Fate::Last => here == path,
            Fate::Omit if here == kept => path != kept,
            Fate::Omit => (folder == PG_WAL || folder == kept) && is_log(name) && here == path,
            Fate::Empty => false,
        };
        if !is_sent {
            return false;
        }
        folder = here;
    }
    true
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// A part of a file below the data directory, less where the file ends; None if there is no such file. The
/// control file, which a server may be writing, is read whole.
///
/// # Errors
/// Fails if the file cannot be read.
pub fn read_part(disk: &dyn Disk, data_dir: &Path, read: &ReadFile) -> io::Result<Option<Vec<u8>>> {
    let path = data_dir.join(&read.path);
    let found = if read.path == CONTROL_FILE {
        ControlFile::read(disk, &path).map(|bytes| part_of(&bytes, read))
    } else {
        disk.open(&path, OpenMode::Read).and_then(|file| part_of_file(&*file, read))
    };
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // A segment is renamed before it is written over: its bytes are its own if it still has its name now.
        Ok(_) if read.path.starts_with("pg_wal/") && !disk.exists(&path)? => Ok(None),
        found => found.map(Some),
    }
}

fn part_of(bytes: &[u8], read: &ReadFile) -> Vec<u8> {
    let from = usize::try_from(read.offset).unwrap_or(usize::MAX);
    let rest = bytes.get(from..).unwrap_or_default();
    let length = usize::try_from(read.length).unwrap_or(usize::MAX);
    rest.get(..length).unwrap_or(rest).to_vec()
}

fn part_of_file(file: &dyn File, read: &ReadFile) -> io::Result<Vec<u8>> {
    let mut content = vec![0; usize::try_from(read.length).unwrap_or(0)];
    let mut got = 0;
    while let Some(rest) = content.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, read.offset.saturating_add(got as u64))? {
            0 => break,
            more => got += more,
        }
    }
    content.truncate(got);
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::RealDisk;

    #[test]
    fn only_what_a_backup_sends_may_be_asked_for() {
        for (path, is_sent) in [
            ("base/5/16384", true),
            ("base/5/16384.1", true),
            ("global/pg_control", true),
            ("pg_wal/000000010000000000000001", true),
            ("pg_wal/00000002.history", true),
            ("postgresql.conf", true),
            ("pg_wal/xlogtemp.12", false),
            ("pg_wal/archive_status/000000010000000000000001.ready", false),
            ("plimsoll/fence", false),
            ("plimsoll/directory_id", false),
            ("pg_replslot/s/state", false),
            ("postmaster.pid", false),
            ("base/5/t3_16384", false),
            ("base/../plimsoll/fence", false),
            ("./plimsoll/fence", false),
            ("base//5", false),
            ("/etc/passwd", false),
            ("..", false),
            ("", false),
        ] {
            assert_eq!(may_be_sent(path), is_sent, "{path}");
        }
    }

    #[test]
    fn every_file_that_is_listed_may_be_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let kept = kept_path();
        for folder in ["base/5", "global", "pg_wal/archive_status", &kept, "plimsoll", "pg_replslot/s"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let (kept, other) = (join(&kept, "000000010000000000000000"), join(&kept, "other"));
        let all = [
            "PG_VERSION",
            "base/5/16384",
            "base/5/t1_2",
            "global/pg_control",
            "pg_wal/000000010000000000000001",
            "pg_wal/00000002.history",
            "pg_wal/xlogtemp.1",
            &kept,
            &other,
            "pg_wal/archive_status/x.ready",
            "plimsoll/fence",
            "pg_replslot/s/state",
            "postmaster.pid",
        ];
        for path in all {
            std::fs::write(dir.path().join(path), b"12").unwrap();
        }
        let listed = sent_files(&RealDisk, dir.path()).unwrap();
        let files: Vec<_> =
            listed.iter().filter(|file| file.size == 2).map(|file| file.path.as_str()).collect();
        let expected = [
            "PG_VERSION",
            "base/5/16384",
            "pg_wal/000000010000000000000001",
            "pg_wal/00000002.history",
            &kept,
            "global/pg_control",
        ];
        assert_eq!(files, expected);
        assert!(files.iter().all(|path| may_be_sent(path)));
    }
}
