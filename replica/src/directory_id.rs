//! Which data directory a standby works on, told to the server that it streams from: plimsoll/directory_id.
//!
//! A standby that lost its power or its network is back before its old stream has timed out at the sender,
//! whose table then has it twice. A commit that two standbys must hold would count the one, which reported
//! through both. One directory has one server at a time, so of two streams to one directory the newer counts
//! alone ([`crate::sender::streams`]). Names do not tell: several standbys may share one.
//!
//! The file is text: `plimsoll directory 1`, `id=` with 16 hexadecimal digits, and `crc=` with the CRC-32 of
//! what is above. It is made when the directory is started as a standby and has none, and goes when it is a
//! primary's or is rewound: standbys that somebody made by copying a primary's folder are several. (As a
//! member of the cluster a primary keeps its id, in [`crate::roster`], and hands it on to the standby that
//! the same process makes of its directory. Another process draws a new one, and tells who it was:
//! [`crate::roster::former`].) It is left out of backups; a copy
//! that somebody makes of a standby's whole folder by other means has its id, too. Two that follow a third
//! count as one standby, which the sender logs, until the copy's file is removed. Of two of which one follows
//! the other, the one that follows draws a new id: the other may be a primary by now, and acknowledge commits
//! of which it says who it is. A standby that is cloned anew has a new id; that its old directory is gone
//! shows by where it listens.

use host::{Host, write_file_durably};
use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use wal::codec::{SealedLines, seal_text};

/// The file, in the data directory.
pub const DIRECTORY_ID_FILE: &str = "plimsoll/directory_id";
/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4096;
const FIRST_LINE: &str = "plimsoll directory 1";

/// Tells data directories apart: a random number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirectoryId(u64);

/// It is not 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a data directory is 16 hexadecimal digits")]
pub struct NoDirectoryId;

impl DirectoryId {
    /// From its number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// That of a data directory, which gets one if it has none that can be read.
    ///
    /// # Errors
    /// Fails if the file cannot be read or written.
    pub fn of_directory(host: &Host, data_dir: &Path) -> io::Result<Self> {
        Self::of_directory_or(host, data_dir, || Self(host.entropy.next_u64()))
    }

    /// The directory, which has become a standby's while the process that had it went on, keeps the id by
    /// which the cluster knows it, unless it has one of its own. No copy can have been made in between.
    ///
    /// # Errors
    /// Fails if the file cannot be read or written.
    pub fn hand_on(self, host: &Host, data_dir: &Path) -> io::Result<()> {
        Self::of_directory_or(host, data_dir, || self).map(drop)
    }

    fn of_directory_or(host: &Host, data_dir: &Path, new: impl FnOnce() -> Self) -> io::Result<Self> {
        let path = data_dir.join(DIRECTORY_ID_FILE);
        let known = match host.disk.read_text(&path, FILE_BYTES_MAX) {
            Ok(text) => Self::decode(&text),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                None
            }
            Err(error) => return Err(error),
        };
        if let Some(known) = known {
            return Ok(known);
        }
        new().write(host, &path)
    }

    /// Draws another one for a directory that is a copy of one whose node goes on.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn draw_anew(host: &Host, data_dir: &Path) -> io::Result<Self> {
        Self(host.entropy.next_u64()).write(host, &data_dir.join(DIRECTORY_ID_FILE))
    }

    fn write(self, host: &Host, path: &Path) -> io::Result<Self> {
        let text = seal_text(format!("{FIRST_LINE}\nid={self}\n"));
        write_file_durably(&*host.disk, path, text.as_bytes())?;
        Ok(self)
    }

    /// The directory is a primary's: it has no id, nor do copies of it.
    ///
    /// # Errors
    /// Fails if the file cannot be removed.
    pub fn forget(host: &Host, data_dir: &Path) -> io::Result<()> {
        match host.disk.remove_file(&data_dir.join(DIRECTORY_ID_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn decode(text: &str) -> Option<Self> {
        SealedLines::of(text, FIRST_LINE)?.parsed("id")
    }
}

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for DirectoryId {
    type Err = NoDirectoryId;
    fn from_str(text: &str) -> Result<Self, NoDirectoryId> {
        let plain = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self).ok_or(NoDirectoryId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_id_and_two_have_two() {
        let host = Host::real();
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let ids = folders.each_ref().map(|folder| {
            std::fs::create_dir(folder.path().join("plimsoll")).unwrap();
            DirectoryId::of_directory(&host, folder.path()).unwrap()
        });
        assert_ne!(ids[0], ids[1]);
        let handed_on = |id: DirectoryId| {
            id.hand_on(&host, folders[1].path()).unwrap();
            DirectoryId::of_directory(&host, folders[1].path()).unwrap()
        };
        assert_eq!(handed_on(ids[0]), ids[1], "it has one");
        DirectoryId::forget(&host, folders[1].path()).unwrap();
        assert_eq!(handed_on(ids[1]), ids[1]);
        assert_eq!(DirectoryId::of_directory(&host, folders[0].path()).unwrap(), ids[0]);
        assert_eq!(ids[0].to_string().parse(), Ok(ids[0]));
        // What does not say an id for sure says none.
        let path = folders[0].path().join(DIRECTORY_ID_FILE);
        let mut damaged = std::fs::read(&path).unwrap();
        damaged[FIRST_LINE.len() + 5] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let new = DirectoryId::of_directory(&host, folders[0].path()).unwrap();
        assert_ne!(new, ids[0]);
        assert_eq!(DirectoryId::of_directory(&host, folders[0].path()).unwrap(), new);
        let drawn = DirectoryId::draw_anew(&host, folders[0].path()).unwrap();
        assert_ne!(drawn, new);
        assert_eq!(DirectoryId::of_directory(&host, folders[0].path()).unwrap(), drawn);
        for _ in 0..2 {
            DirectoryId::forget(&host, folders[0].path()).unwrap();
        }
        assert!(!path.exists());
    }

    #[test]
    fn other_words_are_no_id() {
        for text in ["", "12", "+123456789abcdef", "0123456789abcdeg", "0123456789abcdef0"] {
            assert_eq!(text.parse::<DirectoryId>(), Err(NoDirectoryId), "{text}");
        }
    }
}
