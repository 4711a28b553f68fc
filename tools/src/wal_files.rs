//! What commands read out of the log's records and files.

use anyhow::{Context, Result, anyhow};
use host::{Disk, OpenMode, Timestamp};
use std::path::Path;
use wal::page::{LONG_HEADER_SIZE, PageHeader};
use wal::xact::XactRecord;
use wal::xlog::XlogRecord;
use wal::{Record, Rmgr, SegmentSize};

/// The time that a record carries.
pub fn time_of(record: &Record) -> Option<Timestamp> {
    match record.rmgr() {
        Rmgr::XACT => match XactRecord::parse(record).ok()? {
            XactRecord::Commit(end) | XactRecord::Abort(end) => Some(end.time),
            _ => None,
        },
        Rmgr::XLOG => match XlogRecord::parse(record).ok()? {
            XlogRecord::CheckpointShutdown(checkpoint) | XlogRecord::CheckpointOnline(checkpoint) => {
                Some(Timestamp::from_unix_micros(checkpoint.time.saturating_mul(1_000_000)))
            }
            XlogRecord::RestorePoint { time, .. }
            | XlogRecord::EndOfRecovery { time, .. }
            | XlogRecord::OverwriteContrecord { time, .. } => Some(time),
            _ => None,
        },
        _ => None,
    }
}

/// The segment size, from the header of the named segment or of any in the folder.
pub fn segment_size(disk: &dyn Disk, folder: &Path, first: Option<&str>) -> Result<SegmentSize> {
    let name = match first {
        Some(name) => name.to_owned(),
        None => disk
            .list(folder)
            .with_context(|| format!("could not read folder {}", folder.display()))?
            .into_iter()
            .map(|entry| entry.name)
            .find(|name| wal::file_names::is_segment(name))
            .ok_or_else(|| anyhow!("there is no WAL segment in {}", folder.display()))?,
    };
    let path = folder.join(name);
    let file =
        disk.open(&path, OpenMode::Read).with_context(|| format!("could not open {}", path.display()))?;
    let mut head = [0; LONG_HEADER_SIZE];
    file.read_exact_at(&mut head, 0).with_context(|| format!("could not read {}", path.display()))?;
    let header =
        PageHeader::decode(&head).with_context(|| format!("{} is no WAL segment", path.display()))?;
    let long =
        header.long.ok_or_else(|| anyhow!("{} does not begin as a WAL segment does", path.display()))?;
    SegmentSize::new(long.segment_size.into())
        .ok_or_else(|| anyhow!("{} states a segment size of {} bytes", path.display(), long.segment_size))
}
