//! Plimsoll's own format number: what a program must know to read a data directory, a backup of it, or its
//! log.
//!
//! The control file's version numbers stay PostgreSQL's, since PostgreSQL's tools compare them. What differs
//! between two Plimsoll programs (engine records, trees, the state page) is told by one number of ours, in
//! three places:
//!
//! | place | form |
//! | ---- | ---- |
//! | data directory, backup | the file [`FORMAT_FILE`] beside PG_VERSION; without it format 1 |
//! | stream, to the sender | START_REPLICATION ... (plimsoll 'N'): the number of the receiver's program |
//! | stream, from the sender | SHOW plimsoll.format_version, which format 1 does not know |
//!
//! A program reads the formats from [`Formats::oldest`] to [`Formats::newest`] and writes the newest. It
//! opens no directory of another number. One that it reads gets the newest number when it is opened, for
//! good: an older program would not understand what is written from then on. So a standby may run the next
//! format before its primary does, never after it, and an upgrade is a switchover to a standby of the new
//! program.
//!
//! The file is text: `plimsoll format N`, any lines that a later format adds, and `crc=` with the CRC-32 of
//! what is above. pg_basebackup and pg_rewind copy it like any file, and no tool of PostgreSQL's reads it.

use crate::codec::{seal_text, sealed_text};
use host::{Disk, write_file_durably};
use std::io;
use std::path::Path;

/// The file's name, in the data directory.
pub const FORMAT_FILE: &str = "PLIMSOLL_VERSION";
/// The setting that shows the number to clients and standbys.
pub const FORMAT_SETTING: &str = "plimsoll.format_version";
/// The number of directories, backups and streams from before there were numbers.
pub const UNNUMBERED: u32 = 1;
const FIRST_WORDS: &str = "plimsoll format ";
/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4096;

/// The formats that a program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Formats {
    /// The lowest number that it reads: its own, or the one before.
    pub oldest: u32,
    /// The number that it writes.
    pub newest: u32,
}

/// Those of this program. Format 1 is not read: its records have no full xids.
pub const FORMATS: Formats = Formats { oldest: 2, newest: 2 };

/// Whose format it is that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormatOf {
    /// A data directory's, or a backup's.
    Directory(String),
    /// That of the server from which a standby streams, or which is cloned.
    Server,
    /// That of the program of the standby which asks for the log.
    Standby,
}

/// Why a directory or a peer is refused for its format.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Of a number that this program does not read, or that does not read what this program writes.
    #[error("{}", foreign(.of, *.found, .reads))]
    Foreign {
        /// What has it.
        of: FormatOf,
        /// Its number.
        found: u32,
        /// What this program reads.
        reads: Formats,
    },
    /// The file does not say a number that can be believed.
    #[error("file \"{path}\" is damaged: expected a line \"plimsoll format N\" and its CRC")]
    Damaged {
        /// The file.
        path: String,
    },
    /// The file could not be read or written.
    #[error("could not access file \"{path}\": {error}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

fn foreign(of: &FormatOf, found: u32, reads: &Formats) -> String {
    let program = match reads.oldest == reads.newest {
        true => format!("this program reads format {}", reads.newest),
        false => format!("this program reads formats {} to {}", reads.oldest, reads.newest),
    };
    match of {
        FormatOf::Directory(dir) => {
            format!("data directory \"{dir}\" has Plimsoll format {found}, {program}")
        }
        FormatOf::Server => format!("the server writes Plimsoll format {found}, {program}"),
        FormatOf::Standby => {
            format!(
                "the standby's program has Plimsoll format {found}, this server writes format {}",
                reads.newest
            )
        }
    }
}

impl FormatError {
    /// What to do, as a HINT.
    pub fn hint(&self) -> String {
        match self {
            Self::Foreign { of: FormatOf::Directory(_), found, reads } if *found < reads.oldest => format!(
                "The Plimsoll that it was used with, of format {found}, reads it. To go on with this program, load into a new \
                 directory what that one writes out with COPY."
            ),
            Self::Foreign { of: FormatOf::Directory(_), found, .. } => {
                format!("It was used by a newer Plimsoll: one of format {found} reads it.")
            }
            Self::Foreign { of: FormatOf::Server, found, reads } if *found < reads.oldest => {
                format!("Its standbys and clones need a Plimsoll of format {found}, as its own is.")
            }
            Self::Foreign { of: FormatOf::Server, .. } => {
                "Standbys are upgraded before the primary: run this one with the server's version of Plimsoll, or a newer one."
                    .to_owned()
            }
            Self::Foreign { of: FormatOf::Standby, reads, .. } => format!(
                "Its log is read by a Plimsoll of format {} or {}: upgrade standbys first, one format at a time, then switch over.",
                reads.newest,
                reads.newest.saturating_add(1)
            ),
            Self::Damaged { .. } => {
                "Restore the file from a backup of this directory, or clone the directory anew.".to_owned()
            }
            Self::Io { .. } => "Check the directory's permissions and the disk.".to_owned(),
        }
    }
}

impl Formats {
    /// Whether this program reads what is of this number.
    pub fn reads(self, number: u32) -> bool {
        (self.oldest..=self.newest).contains(&number)
    }

    /// Checks a server that a standby of this program is to follow, or that is to be cloned, by its number.
    ///
    /// # Errors
    /// Fails if the formats do not go together.
    pub fn check_server(self, found: u32) -> Result<(), FormatError> {
        let of = FormatOf::Server;
        if self.reads(found) { Ok(()) } else { Err(FormatError::Foreign { of, found, reads: self }) }
    }

    /// The same, by what the server answers to SHOW of [`FORMAT_SETTING`]; None if it does not know that.
    ///
    /// # Errors
    /// Fails if the formats do not go together.
    pub fn check_shown(self, shown: Option<&str>) -> Result<(), FormatError> {
        // What is no number is of no format that we know.
        self.check_server(shown.map_or(UNNUMBERED, |number| number.parse().unwrap_or(0)))
    }

    /// Checks a standby that asks for the log of this program, by its program's number: it may be one format
    /// ahead.
    ///
    /// # Errors
    /// Fails if the formats do not go together.
    pub fn check_standby(self, found: u32) -> Result<(), FormatError> {
        match found.checked_sub(self.newest) {
            Some(0 | 1) => Ok(()),
            _ => Err(FormatError::Foreign { of: FormatOf::Standby, found, reads: self }),
        }
    }

    /// Reads the number of a data directory of ours and checks it; changes nothing.
    ///
    /// # Errors
    /// Fails if the directory has another format, or its file cannot be read.
    pub fn check_directory(self, disk: &dyn Disk, dir: &Path) -> Result<u32, FormatError> {
        let found = read(disk, dir)?;
        if self.reads(found) {
            return Ok(found);
        }
        let of = FormatOf::Directory(dir.display().to_string());
        Err(FormatError::Foreign { of, found, reads: self })
    }

    /// Gives a directory the number of this program, durably, if it has not got it: before anything is
    /// written that only this program, and those after it, read.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn mark_directory(self, disk: &dyn Disk, dir: &Path) -> Result<(), FormatError> {
        if self.check_directory(disk, dir)? == self.newest {
            return Ok(());
        }
        self.write(disk, dir)
    }

    /// Writes the file of a new directory, durably.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn write(self, disk: &dyn Disk, dir: &Path) -> Result<(), FormatError> {
        let path = dir.join(FORMAT_FILE);
        let text = seal_text(format!("{FIRST_WORDS}{}\n", self.newest));
        write_file_durably(disk, &path, text.as_bytes())
            .map_err(|error| FormatError::Io { path: path.display().to_string(), error })
    }
}

/// The number that a directory of ours has.
fn read(disk: &dyn Disk, dir: &Path) -> Result<u32, FormatError> {
    let path = dir.join(FORMAT_FILE);
    let found = match disk.read_text(&path, FILE_BYTES_MAX) {
        Ok(text) => parse(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(UNNUMBERED),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
        Err(error) => return Err(FormatError::Io { path: path.display().to_string(), error }),
    };
    found.ok_or_else(|| FormatError::Damaged { path: path.display().to_string() })
}

fn parse(text: &str) -> Option<u32> {
    sealed_text(text)?.lines().next()?.strip_prefix(FIRST_WORDS)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::Host;
    use simulation::VirtualDisk;

    const THREE: Formats = Formats { oldest: 2, newest: 3 };

    fn directory() -> (Host, tempfile::TempDir) {
        (Host::real(), tempfile::tempdir().unwrap())
    }

    #[test]
    fn a_new_directory_has_this_programs_number_and_one_without_the_file_is_of_before() {
        let (host, dir) = directory();
        let refused = FORMATS.check_directory(&*host.disk, dir.path()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "data directory \"{}\" has Plimsoll format 1, this program reads format 2",
                dir.path().display()
            )
        );
        assert!(
            refused.hint().starts_with("The Plimsoll that it was used with, of format 1, reads it."),
            "{}",
            refused.hint()
        );
        FORMATS.write(&*host.disk, dir.path()).unwrap();
        assert_eq!(FORMATS.check_directory(&*host.disk, dir.path()).unwrap(), FORMATS.newest);
    }

    #[test]
    fn a_directory_of_the_format_before_is_marked_for_good_and_then_foreign_to_its_old_program() {
        let (host, dir) = directory();
        FORMATS.write(&*host.disk, dir.path()).unwrap();
        assert_eq!(THREE.check_directory(&*host.disk, dir.path()).unwrap(), 2);
        THREE.mark_directory(&*host.disk, dir.path()).unwrap();
        assert_eq!(THREE.check_directory(&*host.disk, dir.path()).unwrap(), 3);
        let refused = FORMATS.mark_directory(&*host.disk, dir.path()).unwrap_err();
        assert!(matches!(refused, FormatError::Foreign { found: 3, .. }), "{refused}");
        assert_eq!(refused.hint(), "It was used by a newer Plimsoll: one of format 3 reads it.");
    }

    #[test]
    fn a_standby_may_run_the_next_format_before_its_primary_and_never_after_it() {
        let two = FORMATS;
        for (primary, standby, streams) in [(two, two, true), (two, THREE, true), (THREE, two, false)] {
            assert_eq!(primary.check_standby(standby.newest).is_ok(), streams, "{primary:?} to {standby:?}");
            assert_eq!(standby.check_server(primary.newest).is_ok(), streams, "{standby:?} from {primary:?}");
        }
        for number in [0, UNNUMBERED, 4, u32::MAX] {
            assert!(two.check_standby(number).is_err(), "{number}");
            assert!(two.check_server(number).is_err(), "{number}");
        }
    }

    #[test]
    fn a_damaged_file_is_told_from_a_foreign_one() {
        let (host, dir) = directory();
        FORMATS.write(&*host.disk, dir.path()).unwrap();
        let path = dir.path().join(FORMAT_FILE);
        let good = std::fs::read(&path).unwrap();
        let damaged = |bytes: &[u8], what: &str| {
            std::fs::write(&path, bytes).unwrap();
            match FORMATS.check_directory(&*host.disk, dir.path()) {
                Err(FormatError::Damaged { .. }) => {}
                // Letter case of the checksum's own digits.
                Ok(found) => assert_eq!(found, FORMATS.newest, "{what}"),
                other => panic!("{what}: {other:?}"),
            }
        };
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            damaged(&bad, &format!("bit {bit}"));
        }
        for len in 0..good.len() {
            damaged(&good[..len], &format!("{len} bytes"));
        }
        std::fs::write(&path, seal_text("plimsoll format 7\nnew words of that format\n".to_owned())).unwrap();
        let foreign = FORMATS.check_directory(&*host.disk, dir.path());
        assert!(matches!(foreign, Err(FormatError::Foreign { found: 7, .. })), "{foreign:?}");
    }

    #[test]
    fn the_number_survives_a_power_cut_once_it_is_written() {
        let disk = VirtualDisk::new();
        let dir = Path::new("/data");
        disk.create_dir_all(dir).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        FORMATS.write(&disk, dir).unwrap();
        let after = disk.crash(simulation::CrashPolicy::LoseUnsynced);
        assert_eq!(FORMATS.check_directory(&after, dir).unwrap(), FORMATS.newest);
    }
}
