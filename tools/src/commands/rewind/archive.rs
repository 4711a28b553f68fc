//! Segments of the target's own log that are gone from it, out of the archive by restore_command.

use host::ShellCommand;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use wal::history::TimelineHistory;
use wal::reader::SegmentSupply;
use wal::{Lsn, SegmentNumber, SegmentSize, TimelineId};

/// Name of a segment while the command writes it.
const FETCHED: &str = "RECOVERYXLOG";

/// Brings segments into pg_wal, and replaces none that is there.
pub struct ArchiveSupply {
    pub command: String,
    pub data: PathBuf,
    pub size: SegmentSize,
}

impl SegmentSupply for ArchiveSupply {
    fn fetch(
        &self,
        _history: &TimelineHistory,
        timeline: TimelineId,
        segment: SegmentNumber,
        _own_upto: Lsn,
    ) -> io::Result<bool> {
        let name = segment.file_name(timeline, self.size);
        let path = self.data.join("pg_wal").join(&name);
        if path.try_exists()? {
            return Ok(false);
        }
        let relative = format!("pg_wal/{FETCHED}");
        let values = [('p', relative.as_str()), ('f', name.as_str()), ('r', name.as_str())];
        let command = server::expand_command(&self.command, &values);
        let status = ShellCommand::spawn(&command, &self.data, Stdio::null())?.wait()?;
        let fetched = self.data.join(&relative);
        match status.code() {
            Some(0) => {}
            // There is no such file.
            Some(1..=125) => return Ok(false),
            _ => return Err(io::Error::other(format!("restore_command for \"{name}\" failed: {status}"))),
        }
        let length = std::fs::metadata(&fetched)?.len();
        if length != self.size.bytes() {
            return Err(io::Error::other(format!("restore_command brought {length} bytes for \"{name}\"")));
        }
        host::durable_rename(&host::RealDisk, &fetched, &path)?;
        Ok(true)
    }
}
