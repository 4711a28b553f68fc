//! backup_label: what a data directory that came by a base backup must recover from, instead of its control
//! file's checkpoint.
//!
//! Text, one field a line, in this order (the manual's chapter "Continuous Archiving" shows the file; a real
//! server's is the judge):
//!
//! | line | meaning |
//! | ---- | ---- |
//! | `START WAL LOCATION: <lsn> (file <segment name>)` | redo starts here; the name has the timeline |
//! | `STOP WAL LOCATION: <lsn> (file <segment name>)` | only in the history file |
//! | `CHECKPOINT LOCATION: <lsn>` | the checkpoint record that the backup began with |
//! | `BACKUP METHOD: streamed` or `pg_rewind` | `streamed`: an end-of-backup record must come |
//! | `BACKUP FROM: primary` or `standby` | where it was taken |
//! | `START TIME: <time> <zone>` | for people |
//! | `LABEL: <text>` | for people |
//! | `START TIMELINE: <number>` | must agree with the segment's name |
//! | `STOP TIME:`, `STOP TIMELINE:` | only in the history file |

use crate::describe::utc_text;
use crate::file_names;
use crate::ids::{Lsn, SegmentNumber, SegmentSize, TimelineId};
use host::{Disk, Timestamp};
use std::io;
use std::path::Path;

/// The file's name in the data directory.
pub const BACKUP_LABEL_FILE: &str = "backup_label";

/// The most that the file may have, in bytes.
const LABEL_SIZE_MAX: u64 = 64 << 10;

/// How the directory was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupMethod {
    /// By a base backup over a connection: complete at its end-of-backup record.
    Streamed,
    /// By pg_rewind: complete at minRecoveryPoint.
    PgRewind,
}

impl BackupMethod {
    /// As the file has it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Streamed => "streamed",
            Self::PgRewind => "pg_rewind",
        }
    }
}

/// A backup_label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupLabel {
    /// Where redo starts.
    pub start: Lsn,
    /// The checkpoint record.
    pub checkpoint: Lsn,
    /// The timeline of `start`.
    pub timeline: TimelineId,
    /// How the directory was made.
    pub method: BackupMethod,
    /// Taken from a standby.
    pub from_standby: bool,
    /// When it began, as the file has it.
    pub start_time: String,
    /// The client's words; None in pg_rewind's file.
    pub label: Option<String>,
}

/// What ended a backup, for its history file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupStop {
    /// The end, exclusive.
    pub stop: Lsn,
    /// Its timeline.
    pub timeline: TimelineId,
    /// When.
    pub time: Timestamp,
}

impl BackupLabel {
    /// Whether `plimsoll rewind` wrote it, which signs it, and not pg_rewind, which does not, and copies
    /// plimsoll/ of another node.
    pub fn is_own_rewind(&self) -> bool {
        self.method == BackupMethod::PgRewind && self.label.is_some()
    }
}

/// A backup_label that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// A line that must be there is not, or says nothing readable.
    #[error("invalid data in file \"backup_label\": expected \"{expected}\", found \"{found}\"")]
    Line {
        /// The line's beginning.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// START TIMELINE contradicts the segment's name.
    #[error("invalid data in file \"backup_label\": timeline {found}, but segment \"{segment}\"")]
    Timeline {
        /// START TIMELINE.
        found: TimelineId,
        /// The segment's name.
        segment: String,
    },
    /// Reading failed.
    #[error("could not read file \"{path}\": {error}")]
    Io {
        /// The file.
        path: String,
        /// The cause.
        error: io::Error,
    },
}

impl BackupLabel {
    /// Reads that of a data directory, if it has one.
    ///
    /// # Errors
    /// Fails if the file cannot be read or makes no sense.
    pub fn load(
        disk: &dyn Disk,
        data_dir: &Path,
        segment_size: SegmentSize,
    ) -> Result<Option<Self>, LabelError> {
        let path = data_dir.join(BACKUP_LABEL_FILE);
        // The label is a text for people, of PostgreSQL's clients in any encoding.
        match disk.read(&path, LABEL_SIZE_MAX) {
            Ok(bytes) => Self::parse(&String::from_utf8_lossy(&bytes), segment_size).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LabelError::Io { path: path.display().to_string(), error }),
        }
    }

    /// The time as backup_label has it.
    pub fn time_text(time: Timestamp) -> String {
        let text = utc_text(time);
        let seconds = text.split_once('.').map_or(text.as_str(), |(seconds, _)| seconds);
        format!("{seconds} UTC")
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// Fails if a line is missing or makes no sense.
    pub fn parse(text: &str, segment_size: SegmentSize) -> Result<Self, LabelError> {
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let bad = |expected: &'static str| LabelError::Line {
            expected,
            found: line(expected).or_else(|| text.lines().next()).unwrap_or("").chars().take(80).collect(),
        };
        const START: &str = "START WAL LOCATION:";
        let (start, file) = line(START).and_then(|value| value.split_once(' ')).ok_or_else(|| bad(START))?;
        let start = start.parse().map_err(|_| bad(START))?;
        let segment = file.strip_prefix("(file ").and_then(|file| file.strip_suffix(')'));
        let segment = segment.ok_or_else(|| bad(START))?;
        let (timeline, number) =
            SegmentNumber::parse_file_name(segment, segment_size).ok_or_else(|| bad(START))?;
        if number != segment_size.segment_of(start) {
            return Err(bad(START));
        }
        const CHECKPOINT: &str = "CHECKPOINT LOCATION:";
        let checkpoint =
            line(CHECKPOINT).and_then(|value| value.parse().ok()).ok_or_else(|| bad(CHECKPOINT))?;
        const METHOD: &str = "BACKUP METHOD:";
        let method = match line(METHOD) {
            Some("streamed") => BackupMethod::Streamed,
            Some("pg_rewind") => BackupMethod::PgRewind,
            _ => return Err(bad(METHOD)),
        };
        const FROM: &str = "BACKUP FROM:";
        let from_standby = match line(FROM) {
            Some("primary") => false,
            Some("standby") => true,
            _ => return Err(bad(FROM)),
        };
        if let Some(value) = line("START TIMELINE:") {
            let found: TimelineId = value.parse().map_err(|_| bad("START TIMELINE:"))?;
            if found != timeline {
                return Err(LabelError::Timeline { found, segment: segment.to_owned() });
            }
        }
        Ok(Self {
            start,
            checkpoint,
            timeline,
            method,
            from_standby,
            start_time: line("START TIME:").unwrap_or("").to_owned(),
            label: line("LABEL:").map(str::to_owned),
        })
    }

    /// The file's text.
    pub fn format(&self, segment_size: SegmentSize) -> String {
        self.text(segment_size, None)
    }

    /// Name and text of the history file that pg_wal keeps of a backup.
    pub fn history_file(&self, segment_size: SegmentSize, stop: BackupStop) -> (String, String) {
        let name = file_names::backup(self.timeline, self.start, segment_size);
        (name, self.text(segment_size, Some(stop)))
    }

    fn text(&self, segment_size: SegmentSize, stop: Option<BackupStop>) -> String {
        let file = |lsn, timeline| segment_size.segment_of(lsn).file_name(timeline, segment_size);
        let mut text =
            format!("START WAL LOCATION: {} (file {})\n", self.start, file(self.start, self.timeline));
        if let Some(BackupStop { stop, timeline, .. }) = stop {
            text.push_str(&format!("STOP WAL LOCATION: {stop} (file {})\n", file(stop, timeline)));
        }
        text.push_str(&format!("CHECKPOINT LOCATION: {}\n", self.checkpoint));
        text.push_str(&format!("BACKUP METHOD: {}\n", self.method.text()));
        let from = if self.from_standby { "standby" } else { "primary" };
        text.push_str(&format!("BACKUP FROM: {from}\nSTART TIME: {}\n", self.start_time));
        if let Some(label) = &self.label {
            let one_line: String =
                label.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
            text.push_str(&format!("LABEL: {one_line}\nSTART TIMELINE: {}\n", self.timeline));
        }
        if let Some(BackupStop { timeline, time, .. }) = stop {
            text.push_str(&format!("STOP TIME: {}\nSTOP TIMELINE: {timeline}\n", Self::time_text(time)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a real PostgreSQL 15: `select labelfile from pg_backup_stop()`.
    const REAL: &str = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n\
        CHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n\
        START TIME: 2026-11-20 08:09:10 UTC\nLABEL: pg_basebackup base backup\nSTART TIMELINE: 1\n";

    #[test]
    fn the_file_of_a_real_server_is_read_and_written_again() {
        let label = BackupLabel::parse(REAL, SegmentSize::DEFAULT).unwrap();
        assert_eq!(label.start, Lsn::new(0x0200_0028));
        assert_eq!(label.checkpoint, Lsn::new(0x0200_0060));
        assert_eq!(label.timeline, TimelineId::FIRST);
        assert!(!label.from_standby);
        assert_eq!(label.label.as_deref(), Some("pg_basebackup base backup"));
        assert_eq!(label.format(SegmentSize::DEFAULT), REAL);
    }

    #[test]
    fn the_history_file_has_start_and_stop() {
        let label = BackupLabel::parse(REAL, SegmentSize::DEFAULT).unwrap();
        let time = Timestamp::from_micros(848_480_951_123_456);
        let stop = BackupStop { stop: Lsn::new(0x0200_0100), timeline: TimelineId::FIRST, time };
        let (name, text) = label.history_file(SegmentSize::DEFAULT, stop);
        assert_eq!(name, "000000010000000000000002.00000028.backup");
        assert!(text.contains("\nSTOP WAL LOCATION: 0/2000100 (file 000000010000000000000002)\n"), "{text}");
        assert!(text.ends_with("STOP TIME: 2026-11-20 09:09:11 UTC\nSTOP TIMELINE: 1\n"), "{text}");
    }

    #[test]
    fn each_broken_line_is_refused_by_name() {
        for (from, to, name) in [
            ("START WAL LOCATION", "BEGIN WAL LOCATION", "START WAL LOCATION"),
            ("0/2000028", "0-2000028", "START WAL LOCATION"),
            ("0/2000028", "0/3000028", "START WAL LOCATION"),
            ("0/2000060", "x", "CHECKPOINT LOCATION"),
            ("streamed", "by hand", "BACKUP METHOD"),
            ("primary", "", "BACKUP FROM"),
            ("TIMELINE: 1", "TIMELINE: 2", "timeline 2"),
        ] {
            let error =
                BackupLabel::parse(&REAL.replace(from, to), SegmentSize::DEFAULT).unwrap_err().to_string();
            assert!(error.contains(name), "{from} -> {to}: {error}");
        }
    }
}
