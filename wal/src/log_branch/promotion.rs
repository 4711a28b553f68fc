//! A promotion that began, as the record tells of it, and the signal files that it takes away.

use super::error::{BranchError, file_error};
use crate::history::BranchId;
use crate::ids::TimelineId;
use host::{Disk, OpenMode};
use std::fmt;
use std::io;
use std::path::Path;

/// The files of a data directory that make it a standby's, or that of a recovery from an archive.
pub const SIGNAL_FILES: [&str; 2] = ["standby.signal", "recovery.signal"];

/// Which of the [`SIGNAL_FILES`] are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals([bool; 2]);

impl Signals {
    /// Those of a data directory.
    ///
    /// # Errors
    /// Fails if that cannot be seen.
    pub fn found(disk: &dyn Disk, data_dir: &Path) -> Result<Self, BranchError> {
        let mut found = Self::default();
        for (name, there) in SIGNAL_FILES.iter().zip(&mut found.0) {
            let path = data_dir.join(name);
            *there = disk.exists(&path).map_err(|error| file_error(&path, error))?;
        }
        Ok(found)
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        SIGNAL_FILES.into_iter().zip(self.0).filter_map(|(name, there)| there.then_some(name))
    }

    fn decode(names: &str) -> Option<Self> {
        let mut found = Self::default();
        for name in names.split_whitespace() {
            let at = SIGNAL_FILES.iter().position(|known| *known == name)?;
            *found.0.get_mut(at)? = true;
        }
        Some(found)
    }

    /// Removes them, durably.
    ///
    /// # Errors
    /// Fails if one cannot be removed.
    pub fn remove(self, disk: &dyn Disk, data_dir: &Path) -> Result<(), BranchError> {
        for name in self.names() {
            let path = data_dir.join(name);
            match disk.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(file_error(&path, error));
                }
                _ => {}
            }
        }
        disk.sync_dir(data_dir).map_err(|error| file_error(data_dir, error))
    }

    /// Has them there, durably.
    pub(super) fn restore(self, disk: &dyn Disk, data_dir: &Path) -> Result<(), BranchError> {
        for name in self.names() {
            let path = data_dir.join(name);
            disk.open(&path, OpenMode::Create).map_err(|error| file_error(&path, error))?;
        }
        disk.sync_dir(data_dir).map_err(|error| file_error(data_dir, error))
    }
}

/// A promotion that began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BegunPromotion {
    /// Its timeline.
    pub timeline: TimelineId,
    /// The branch id in its history.
    pub branch: BranchId,
    /// The signal files that it found.
    pub signals: Signals,
}

impl BegunPromotion {
    pub(super) fn decode(text: &str) -> Option<Self> {
        let (timeline, rest) = text.split_once(' ')?;
        let (branch, signals) = rest.split_once(' ').unwrap_or((rest, ""));
        let (timeline, branch) = (timeline.parse().ok()?, branch.parse().ok()?);
        Some(Self { timeline, branch, signals: Signals::decode(signals)? })
    }
}

impl fmt::Display for BegunPromotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.timeline, self.branch)?;
        self.signals.names().try_for_each(|name| write!(f, " {name}"))
    }
}
