//! Holding a directory to its manifest, as pg_verifybackup does.

use super::{MARKER_FILE, Manifest};
use crate::manifest::checksum::FileChecksum;
use host::{Disk, File, FileKind, OpenMode};
use protocol::replication::ChecksumAlgorithm;
use std::io;
use std::path::Path;

/// Bytes read at once.
const CHUNK: usize = 128 << 10;

/// What is not as the manifest says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Listed, and not there.
    #[error("\"{path}\" is present in the manifest but not on disk")]
    Missing {
        /// Path below the directory.
        path: String,
    },
    /// There, and not listed.
    #[error("\"{path}\" is present on disk but not in the manifest")]
    Extra {
        /// Path below the directory.
        path: String,
    },
    /// Another size.
    #[error("\"{path}\" has size {found} on disk but size {expected} in the manifest")]
    Size {
        /// Path below the directory.
        path: String,
        /// In the manifest, in bytes.
        expected: u64,
        /// On disk, in bytes.
        found: u64,
    },
    /// Other contents.
    #[error("checksum mismatch for file \"{path}\"")]
    Checksum {
        /// Path below the directory.
        path: String,
    },
}

/// What may differ in a directory that is about to start: its log, and what makes it a standby.
const IGNORED: [&str; 6] =
    ["backup_manifest", "pg_wal", "postgresql.auto.conf", "recovery.signal", "standby.signal", MARKER_FILE];

/// Compares each file; returns what is wrong, an empty list for a sound backup. Memory does not grow with the
/// files' sizes.
///
/// # Errors
///
/// Fails if the directory or a file in it cannot be read.
pub fn verify_directory(disk: &dyn Disk, directory: &Path, manifest: &Manifest) -> io::Result<Vec<Problem>> {
    let mut problems = Vec::new();
    let mut found = Vec::new();
    list_files(disk, directory, "", &mut found)?;
    for path in &found {
        if !manifest.files.contains_key(path) {
            problems.push(Problem::Extra { path: path.clone() });
        }
    }
    for (path, file) in &manifest.files {
        if is_ignored(path) {
            continue;
        }
        if found.binary_search(path).is_err() {
            problems.push(Problem::Missing { path: path.clone() });
            continue;
        }
        let open = disk.open(&directory.join(path), OpenMode::Read)?;
        let size = open.len()?;
        if size != file.size_bytes {
            problems.push(Problem::Size { path: path.clone(), expected: file.size_bytes, found: size });
        } else if let Some((algorithm, checksum)) = &file.checksum
            && checksum_of(&*open, *algorithm)? != *checksum
        {
            problems.push(Problem::Checksum { path: path.clone() });
        }
    }
    Ok(problems)
}

fn is_ignored(path: &str) -> bool {
    IGNORED.iter().any(|ignored| {
        path.strip_prefix(ignored).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// All files below, as paths with slashes, sorted.
fn list_files(disk: &dyn Disk, directory: &Path, prefix: &str, out: &mut Vec<String>) -> io::Result<()> {
    for entry in disk.list(&directory.join(prefix))? {
        let path = if prefix.is_empty() { entry.name } else { format!("{prefix}/{}", entry.name) };
        if is_ignored(&path) {
            continue;
        }
        match entry.kind {
            FileKind::Directory => list_files(disk, directory, &path, out)?,
            FileKind::File | FileKind::Other => out.push(path),
        }
    }
    if prefix.is_empty() {
        out.sort_unstable();
    }
    Ok(())
}

fn checksum_of(file: &dyn File, algorithm: ChecksumAlgorithm) -> io::Result<Vec<u8>> {
    let mut checksum = FileChecksum::new(algorithm);
    let mut buffer = vec![0; CHUNK];
    let mut offset = 0;
    loop {
        let read = file.read_at(&mut buffer, offset)?;
        if read == 0 {
            return Ok(checksum.finish());
        }
        checksum.update(buffer.get(..read).unwrap_or_default());
        offset += read as u64;
    }
}
