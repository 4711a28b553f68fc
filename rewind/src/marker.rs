//! plimsoll.rewind: stands in a directory from before its first change until it is whole again. No server
//! starts there meanwhile, and the next rewind goes on by what the marker says.
//!
//! | line | meaning |
//! | ---- | ---- |
//! | `source` | what it is rewound to, for people |
//! | `phase` | `begun`: nothing has changed yet; `copying`: the target's own log and what its control |
//! |         | file says of it are as they were, so all can begin anew; `copied`: all other files are new |
//! |         | and durable |
//! | `new <block> <path>` | from this block on the file's blocks may be new, or torn by a crash: they |
//! |         | are read again whatever the target's log says |
//! | `changed=<lsn>` | the same is true of the blocks that the target's log has changed from here on |
//! | `fork`, `timeline`, `start`, `redo`, | once `copied`: where the branches parted, the source's |
//! | `redo_timeline`, `end` | timeline, the checkpoint to start from with its redo point, and how new pages |
//! |         | may be |
//! | `log_end` | once `copied`, by a program of before: how far the source had its log. Nothing needs it |
//! | `history` | the source's, in one line: its timeline's number may be that of a twin, too. A program of |
//! |           | before says it once `copied` |
//!
//! The lines are closed by a CRC-32.

use crate::error::{RewindError, io_error};
use crate::plan::Touched;
use crate::target::ForkPoint;
use host::{Disk, write_file_durably};
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::str::FromStr;
use storage::REWIND_MARKER;
use wal::codec::{of_one_line, one_line, seal_text, sealed_text};
use wal::history::TimelineHistory;
use wal::{Lsn, TimelineId};

const FIRST_LINE: &str = "plimsoll rewind 1";
/// Largest marker that is read, in bytes: a line a relation file.
const SIZE_MAX: u64 = 256 << 20;

/// What is settled once all files are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Where the branches parted.
    pub fork: ForkPoint,
    /// The source's timeline.
    pub timeline: TimelineId,
    /// The record of the checkpoint that recovery starts from.
    pub checkpoint: Lsn,
    /// Its redo point.
    pub redo: Lsn,
    /// Its timeline.
    pub redo_timeline: TimelineId,
    /// No page is newer: recovery must come here.
    pub end: Lsn,
}

/// A marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// For people.
    pub source: String,
    /// What may be new or torn.
    pub touched: Touched,
    /// Blocks that the target's log has changed from here on may be so too.
    pub changed_from: Lsn,
    /// Nothing is changed yet: it only keeps servers away, and what was so then is so now.
    pub is_untouched: bool,
    /// Once all files are copied.
    pub copied: Option<Copied>,
    /// The history of the branch that it was begun for; None if a program of before wrote the marker.
    pub history: Option<TimelineHistory>,
}

impl Marker {
    /// One that stands before the first change.
    pub fn untouched(source: String, history: TimelineHistory) -> Self {
        Self {
            source,
            touched: Touched::new(),
            changed_from: Lsn::MAX,
            is_untouched: true,
            copied: None,
            history: Some(history),
        }
    }

    /// That of a directory, if a rewind was broken off there.
    ///
    /// # Errors
    /// Fails if it cannot be read or makes no sense.
    pub fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, RewindError> {
        let path = dir.join(REWIND_MARKER);
        let marker = match disk.read_text(&path, SIZE_MAX) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
            Err(error) => return Err(io_error(&path)(error)),
        };
        marker.map(Some).ok_or_else(|| RewindError::Marker(path.display().to_string()))
    }

    /// Writes it durably.
    ///
    /// # Errors
    /// Fails if it cannot be written.
    pub fn store(&self, disk: &dyn Disk, dir: &Path) -> Result<(), RewindError> {
        let path = dir.join(REWIND_MARKER);
        write_file_durably(disk, &path, self.text().as_bytes()).map_err(io_error(&path))
    }

    /// Removes it: the directory is whole.
    ///
    /// # Errors
    /// Fails if it cannot be removed.
    pub fn remove(disk: &dyn Disk, dir: &Path) -> Result<(), RewindError> {
        let path = dir.join(REWIND_MARKER);
        disk.remove_file(&path).map_err(io_error(&path))?;
        disk.sync_dir(dir).map_err(io_error(dir))
    }

    fn text(&self) -> String {
        let source: String =
            self.source.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
        let phase = match &self.copied {
            Some(_) => "copied",
            None if self.is_untouched => "begun",
            None => "copying",
        };
        let mut text = format!("{FIRST_LINE}\nsource={source}\nphase={phase}\n");
        for (path, from) in &self.touched {
            let _ = writeln!(text, "new {from} {path}");
        }
        let _ = writeln!(text, "changed={}", self.changed_from);
        if let Some(copied) = &self.copied {
            let Copied { fork, timeline, checkpoint, redo, redo_timeline, end } = copied;
            let _ = writeln!(text, "fork={} {}", fork.timeline, fork.at);
            let _ = writeln!(text, "timeline={timeline}\nstart={checkpoint}\nredo={redo}");
            let _ = writeln!(text, "redo_timeline={redo_timeline}\nend={end}");
        }
        if let Some(history) = &self.history {
            let _ = writeln!(text, "history={} {}", history.target(), one_line(history.text()));
        }
        seal_text(text)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = sealed_text(text)?.lines();
        if lines.next() != Some(FIRST_LINE) {
            return None;
        }
        let source = lines.next()?.strip_prefix("source=")?.to_owned();
        let phase = lines.next()?.strip_prefix("phase=")?;
        let mut touched = Touched::new();
        let mut lines = lines.peekable();
        while let Some(line) = lines.next_if(|line| line.starts_with("new ")) {
            let (from, path) = line.strip_prefix("new ")?.split_once(' ')?;
            touched.insert(path.to_owned(), from.parse().ok()?);
        }
        // Where the line is missing, nothing was overwritten yet that it could name.
        let changed_from = match lines.next_if(|line| line.starts_with("changed=")) {
            Some(line) => line.strip_prefix("changed=")?.parse().ok()?,
            None => Lsn::MAX,
        };
        let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix('=');
        let copied = match phase {
            "begun" | "copying" => None,
            "copied" => {
                let (timeline, at) = value("fork")?.split_once(' ')?;
                let fork = ForkPoint { at: at.parse().ok()?, timeline: timeline.parse().ok()? };
                let (timeline, checkpoint) = (parsed(value("timeline"))?, parsed(value("start"))?);
                let (redo, redo_timeline) = (parsed(value("redo"))?, parsed(value("redo_timeline"))?);
                let end = parsed(value("end"))?;
                // A program of before has said how far its source had its log, too.
                let _ = lines.next_if(|line| line.starts_with("log_end="));
                Some(Copied { fork, timeline, checkpoint, redo, redo_timeline, end })
            }
            _ => return None,
        };
        let history = match lines.next() {
            Some(line) => Some(history(line.strip_prefix("history=")?)?),
            None => None,
        };
        let is_untouched = phase == "begun";
        Some(Self { source, touched, changed_from, is_untouched, copied, history })
    }

    /// Whether this branch is the one that the rewind was begun for, or continues that.
    pub fn is_continued_by(&self, source: &TimelineHistory) -> bool {
        let Some(begun) = &self.history else { return false };
        begun.common_ancestor(source).is_some_and(|(timeline, _)| timeline == begun.target())
    }

    /// Whether what was copied is a part of this branch: all that is left to do may be done by its files.
    pub fn is_copied_of(&self, source: &TimelineHistory) -> bool {
        let (Some(copied), Some(history)) = (&self.copied, &self.history) else { return false };
        history.common_ancestor(source).is_some_and(|(_, common)| copied.end <= common)
    }
}

fn history(text: &str) -> Option<TimelineHistory> {
    let (timeline, line) = text.split_once(' ')?;
    TimelineHistory::parse(timeline.parse().ok()?, &of_one_line(line)?).ok()
}

fn parsed<T: FromStr>(text: Option<&str>) -> Option<T> {
    text?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::RealDisk;

    #[test]
    fn a_marker_says_what_it_was_told_and_a_damaged_one_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Marker::load(&RealDisk, dir.path()).unwrap(), None);
        let mut marker = Marker {
            source: "host=a port=1".to_owned(),
            touched: Touched::from([("base/5/1".to_owned(), 7), ("base/5/2.1".to_owned(), 0)]),
            changed_from: Lsn::new(0x200),
            is_untouched: false,
            copied: None,
            history: None,
        };
        let check = |marker: &Marker| {
            marker.store(&RealDisk, dir.path()).unwrap();
            assert_eq!(Marker::load(&RealDisk, dir.path()).unwrap().as_ref(), Some(marker));
        };
        check(&marker);
        marker.copied = Some(Copied {
            fork: ForkPoint { at: Lsn::new(0x500), timeline: TimelineId::new(1) },
            timeline: TimelineId::new(2),
            checkpoint: Lsn::new(0x400),
            redo: Lsn::new(0x300),
            redo_timeline: TimelineId::new(1),
            end: Lsn::new(0x900),
        });
        check(&marker);
        let text = "1\t0/500\tthe primary was \\gone\n";
        let history = TimelineHistory::parse(TimelineId::new(2), text).unwrap();
        marker.history = Some(history.clone());
        check(&marker);
        check(&Marker { copied: None, ..marker.clone() });
        check(&Marker::untouched(marker.source.clone(), history));
        check(&marker);
        let path = dir.path().join(REWIND_MARKER);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 4;
            std::fs::write(&path, &bad).unwrap();
            assert!(Marker::load(&RealDisk, dir.path()).is_err(), "byte {at}");
        }
        Marker::remove(&RealDisk, dir.path()).unwrap();
        assert_eq!(Marker::load(&RealDisk, dir.path()).unwrap(), None);
    }
}
