//! Segments of the target's own log that are gone from it, out of the archive by restore_command.

use host::{RealDisk, ShellCommand};
use rewind::LogArchive;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use wal::history::TimelineHistory;
use wal::{SegmentNumber, SegmentSize, TimelineId};

/// An archive that is asked by restore_command, as recovery asks it.
pub struct ByCommand {
    /// Without %r: no restart point is known here, and what lies before one may be removed from the archive.
    pub command: String,
    pub data: PathBuf,
    pub size: SegmentSize,
}

impl LogArchive for ByCommand {
    fn bring(
        &self,
        _history: &TimelineHistory,
        timeline: TimelineId,
        segment: SegmentNumber,
        to: &str,
    ) -> io::Result<bool> {
        let name = segment.file_name(timeline, self.size);
        let values = [('p', to), ('f', name.as_str())];
        let command = server::expand_command(&self.command, &values);
        let status = ShellCommand::spawn(&command, &self.data, Stdio::null())?.wait()?;
        match status.code() {
            Some(0) => {}
            // There is no such file.
            Some(1..=125) => return Ok(false),
            _ => return Err(io::Error::other(format!("restore_command for \"{name}\" failed: {status}"))),
        }
        let Some(length) = server::restored_length(&RealDisk, &self.data.join(to), &name)? else {
            return Ok(false);
        };
        if length != self.size.bytes() {
            let expected = self.size.bytes();
            return Err(io::Error::other(format!(
                "archive file \"{name}\" has wrong size: {length} instead of {expected}"
            )));
        }
        Ok(true)
    }
}
