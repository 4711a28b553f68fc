//! The archive, unpacked as it comes: a state machine over bytes in pieces of any length.

use super::{CloneError, io_error};
use crate::manifest::checksum::FileChecksum;
use crate::manifest::{MANIFEST_SIZE_MAX, Manifest, ManifestError, Problem};
use bytes::{Buf, Bytes};
use host::{OpenMode, SharedDisk, SharedFile};
use protocol::replication::ChecksumAlgorithm;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use tar::{EntryType, Header};
use wal::control::CONTROL_FILE;

const BLOCK: usize = 512;

/// pg_control's name until the clone is complete: without pg_control no server starts, and backup tools pass
/// over this name.
pub(super) const CONTROL_HELD_BACK: &str = "global/pgsql_tmp.pg_control.clone";

/// What comes from the server.
#[derive(Debug)]
pub(super) enum Part {
    /// An archive of this name begins.
    Archive(String),
    /// Bytes of the archive or the manifest.
    Data(Bytes),
    /// The manifest begins.
    Manifest,
}

/// What came.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// Files by path, with size and checksum.
    pub files: BTreeMap<String, (u64, Vec<u8>)>,
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    algorithm: ChecksumAlgorithm,
}

impl Unpacked {
    /// What came and is not as the manifest says.
    pub(super) fn compare(&self, manifest: &Manifest) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (path, listed) in &manifest.files {
            let path = path.clone();
            match self.files.get(&path) {
                None => problems.push(Problem::Missing { path }),
                Some((size, _)) if *size != listed.size_bytes => {
                    problems.push(Problem::Size { path, expected: listed.size_bytes, found: *size });
                }
                Some((_, found)) => match &listed.checksum {
                    Some((algorithm, expected)) if *algorithm == self.algorithm && found == expected => {}
                    None if self.algorithm == ChecksumAlgorithm::None => {}
                    _ => problems.push(Problem::Checksum { path }),
                },
            }
        }
        let unlisted = |path: &&String| !path.starts_with("pg_wal/") && !manifest.files.contains_key(*path);
        problems.extend(self.files.keys().filter(unlisted).map(|path| Problem::Extra { path: path.clone() }));
        problems
    }
}

enum State {
    /// No archive has begun.
    Before,
    /// Between two entries, with the part of a header that has come.
    Header(Vec<u8>),
    /// In a file's contents.
    Contents(Box<Open>),
    /// In the zeros behind contents.
    Padding(usize),
    /// Behind the archive's end mark.
    End,
    /// In the manifest.
    Manifest,
}

struct Open {
    path: String,
    file: SharedFile,
    size: u64,
    written: u64,
    checksum: FileChecksum,
}

/// Unpacks.
pub(super) struct Unpacker {
    disk: SharedDisk,
    target: PathBuf,
    state: State,
    unpacked: Unpacked,
}

impl Unpacker {
    pub(super) fn new(disk: SharedDisk, target: PathBuf, algorithm: ChecksumAlgorithm) -> Self {
        let unpacked = Unpacked { files: BTreeMap::new(), manifest: Vec::new(), algorithm };
        Self { disk, target, state: State::Before, unpacked }
    }

    /// Takes the next part.
    pub(super) fn take(&mut self, part: Part) -> Result<(), CloneError> {
        match (part, &self.state) {
            (Part::Archive(name), State::Before) if name == "base.tar" => {
                self.state = State::Header(Vec::new());
                Ok(())
            }
            (Part::Archive(name), _) => Err(archive(format!("unexpected archive \"{name}\""))),
            (Part::Manifest, State::End) => {
                self.state = State::Manifest;
                Ok(())
            }
            // PostgreSQL's servers may leave the end mark out before they pad; ours never do.
            (Part::Manifest, State::Header(pending)) if pending.is_empty() => {
                self.state = State::Manifest;
                Ok(())
            }
            (Part::Manifest, _) => Err(archive("the manifest comes before the archive's end")),
            (Part::Data(data), _) => self.data(data),
        }
    }

    /// Ends; gives what came.
    pub(super) fn finish(self) -> Result<Unpacked, CloneError> {
        match self.state {
            State::Manifest => Ok(self.unpacked),
            _ => Err(archive("it ends early")),
        }
    }

    fn data(&mut self, mut data: Bytes) -> Result<(), CloneError> {
        while !data.is_empty() {
            match &mut self.state {
                State::Before => return Err(archive("data before any archive")),
                State::End => {
                    if data.iter().any(|byte| *byte != 0) {
                        return Err(archive("data behind its end mark"));
                    }
                    return Ok(());
                }
                State::Manifest => {
                    if self.unpacked.manifest.len() + data.len() > MANIFEST_SIZE_MAX {
                        return Err(ManifestError::TooLarge { limit: MANIFEST_SIZE_MAX }.into());
                    }
                    self.unpacked.manifest.extend_from_slice(&data);
                    return Ok(());
                }
                State::Padding(left) => {
                    let now = data.len().min(*left);
                    data.advance(now);
                    *left -= now;
                    if *left == 0 {
                        self.state = State::Header(Vec::new());
                    }
                }
                State::Contents(open) => {
                    let left = usize::try_from(open.size - open.written).unwrap_or(usize::MAX);
                    let now = data.split_to(data.len().min(left));
                    let path = self.target.join(&open.path);
                    open.file.write_all_at(&now, open.written).map_err(io_error(&path))?;
                    open.checksum.update(&now);
                    open.written += now.len() as u64;
                    self.close_if_complete();
                }
                State::Header(pending) => {
                    let now = data.split_to(data.len().min(BLOCK - pending.len()));
                    pending.extend_from_slice(&now);
                    if pending.len() == BLOCK {
                        let block = std::mem::take(pending);
                        self.entry(&block)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Lists the open file if all of it has come.
    fn close_if_complete(&mut self) {
        let State::Contents(open) = &self.state else { return };
        if open.written < open.size {
            return;
        }
        if let State::Contents(open) = std::mem::replace(&mut self.state, State::End) {
            let padding = usize::try_from(open.size.next_multiple_of(BLOCK as u64) - open.size).unwrap_or(0);
            self.unpacked.files.insert(open.path, (open.size, open.checksum.finish()));
            self.state = if padding == 0 { State::Header(Vec::new()) } else { State::Padding(padding) };
        }
    }

    /// Begins the entry that a header announces.
    fn entry(&mut self, block: &[u8]) -> Result<(), CloneError> {
        if block.iter().all(|byte| *byte == 0) {
            self.state = State::End;
            return Ok(());
        }
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        let stored = header.cksum().map_err(|_| archive("a header without a checksum"))?;
        header.set_cksum();
        if header.cksum().ok() != Some(stored) {
            return Err(archive("a header's checksum does not fit"));
        }
        let size = header.size().map_err(|_| archive("a header without a size"))?;
        let name = header.path_bytes();
        let path = safe_path(&name)
            .ok_or_else(|| archive(format!("the path \"{}\"", String::from_utf8_lossy(&name))))?;
        drop(name);
        match header.entry_type() {
            EntryType::Directory => {
                let full = self.target.join(&path);
                // One level only: a target that was removed meanwhile must not come back.
                match self.disk.create_dir(&full) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(io_error(&full)(error));
                    }
                    _ => {}
                }
                self.state = State::Header(Vec::new());
                Ok(())
            }
            EntryType::Regular => self.begin_file(path, size),
            EntryType::Symlink | EntryType::Link => {
                Err(archive(format!("\"{path}\" is a link; tablespaces are not supported")))
            }
            other => Err(archive(format!("\"{path}\" is of unknown type {:?}", other.as_byte()))),
        }
    }

    fn begin_file(&mut self, path: String, size: u64) -> Result<(), CloneError> {
        if self.unpacked.files.contains_key(&path) {
            return Err(archive(format!("\"{path}\" comes twice")));
        }
        let on_disk = if path == CONTROL_FILE { CONTROL_HELD_BACK } else { path.as_str() };
        let full = self.target.join(on_disk);
        let file = self.disk.open(&full, OpenMode::CreateNew).map_err(io_error(&full))?;
        let checksum = FileChecksum::new(self.unpacked.algorithm);
        self.state = State::Contents(Box::new(Open { path, file, size, written: 0, checksum }));
        self.close_if_complete();
        Ok(())
    }
}

fn archive(what: impl Into<String>) -> CloneError {
    CloneError::Archive(what.into())
}

/// A path that stays below the target: plain names parted by slashes. None for any other.
fn safe_path(bytes: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(bytes).ok()?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let path = path.strip_prefix("./").unwrap_or(path);
    let plain = |name: &str| !name.is_empty() && name != "." && name != ".." && !name.contains('\0');
    path.split('/').all(plain).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_cannot_lead_out_of_the_target() {
        for path in ["../x", "/etc/passwd", "a/../b", "a//b", "", ".", "a/.", "..", "a\0b", "//", "./.."] {
            assert_eq!(safe_path(path.as_bytes()), None, "{path:?}");
        }
        assert_eq!(safe_path(b"\xFF"), None);
        assert_eq!(safe_path(b"base/5/").as_deref(), Some("base/5"));
        assert_eq!(safe_path(b"./PG_VERSION").as_deref(), Some("PG_VERSION"));
    }
}
