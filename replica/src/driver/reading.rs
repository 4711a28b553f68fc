//! Reading raw log bytes back: from the writer's memory while fresh, else from segment files.

use super::node_log::{Live, LogState};
use crate::error::ReplicaError;
use bytes::Bytes;
use host::SharedDisk;
use std::path::{Path, PathBuf};
use wal::history::TimelineHistory;
use wal::{Lsn, SegmentFiles, SegmentSize, SourceError, WalSource};

/// Bytes read from a file at once when a standby lags.
const READ_AHEAD: u64 = 1 << 20;
const PAGE: u64 = 8192;

/// Where a node's log lies.
#[derive(Clone, Debug)]
pub struct LogPlace {
    /// The file system.
    pub disk: SharedDisk,
    /// pg_wal
    pub pg_wal: PathBuf,
    /// Bytes of a segment.
    pub segment_size: SegmentSize,
}

impl LogPlace {
    /// The log in `pg_wal`.
    pub fn new(disk: SharedDisk, pg_wal: &Path, segment_size: SegmentSize) -> Self {
        Self { disk, pg_wal: pg_wal.to_path_buf(), segment_size }
    }
    pub(super) fn files(&self, history: &TimelineHistory) -> SegmentFiles {
        SegmentFiles::new(self.disk.clone(), &self.pg_wal, self.segment_size, history.clone())
    }
}

fn source_error(error: SourceError) -> ReplicaError {
    match error {
        SourceError::Missing { name, .. } => ReplicaError::SegmentRemoved(name),
        SourceError::Io { path, error, .. } => ReplicaError::File { what: "read", path, cause: error },
    }
}

/// All bytes of `from..upto`.
pub(super) fn read_range(files: &mut SegmentFiles, from: Lsn, upto: Lsn) -> Result<Vec<u8>, ReplicaError> {
    let len = usize::try_from(upto.bytes_since(from)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let got = files.read(from + done as u64, rest).map_err(source_error)?;
        if got == 0 {
            return Err(ReplicaError::Protocol(format!("WAL ends at {} before {upto}", from + done as u64)));
        }
        done += got;
    }
    Ok(bytes)
}

/// Reads the log for one stream.
#[derive(Debug)]
pub(super) struct LogReading {
    place: LogPlace,
    /// Read ahead: the position of its first byte, and the bytes.
    ahead: (Lsn, Bytes),
}

impl LogReading {
    pub(super) fn new(place: LogPlace) -> Self {
        Self { place, ahead: (Lsn::INVALID, Bytes::new()) }
    }

    /// Whether the segment of `at` is still there. One that was removed is refused to a new stream even while its end
    /// is still in memory: which of the two happens must not depend on how busy the server is.
    pub(super) fn check_there(&self, log: &LogState, at: Lsn) -> Result<(), ReplicaError> {
        if at >= log.flushed() {
            return Ok(());
        }
        let size = self.place.segment_size;
        let name = size.segment_of(at).file_name(log.history.timeline_at(at), size);
        match self.place.files(&log.history).read(at, &mut [0; 1]).map_err(source_error) {
            Ok(0) => Err(ReplicaError::SegmentRemoved(name)),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Some bytes from `from` on, none at or past `upto`; never empty.
    pub(super) async fn read(&mut self, log: &LogState, from: Lsn, upto: Lsn) -> Result<Bytes, ReplicaError> {
        let len = usize::try_from(upto.bytes_since(from)).unwrap_or(usize::MAX);
        if let Live::Primary(writer) = &log.live
            && let Some(recent) = writer.read_recent(from, len).filter(|recent| !recent.is_empty())
        {
            return Ok(recent.slice(..recent.len().min(len)));
        }
        if let Some(bytes) = self.ahead_from(from, len) {
            return Ok(bytes);
        }
        let end = upto.max((from + READ_AHEAD).min(log.flushed()));
        self.fill(log, from, end).await?;
        self.ahead_from(from, len).ok_or_else(|| {
            ReplicaError::Protocol(format!("no WAL at {from} although it is flushed up to {end}"))
        })
    }

    fn ahead_from(&mut self, from: Lsn, len: usize) -> Option<Bytes> {
        let (start, bytes) = &self.ahead;
        let skip = usize::try_from(from.get().checked_sub(start.get())?).ok()?;
        let rest = bytes.get(skip..).filter(|rest| !rest.is_empty())?;
        Some(bytes.slice(skip..skip + rest.len().min(len)))
    }

    /// Reads whole pages from the files, on the I/O pool.
    async fn fill(&mut self, log: &LogState, from: Lsn, upto: Lsn) -> Result<(), ReplicaError> {
        let mut files = self.place.files(&log.history);
        files.set_limit(upto);
        let (start, segment_size) = (from.page_start(), self.place.segment_size);
        let history = log.history.clone();
        let read = tokio::task::spawn_blocking(move || {
            let bytes = read_range(&mut files, start, upto)?;
            check_pages(&bytes, start, segment_size, &history)?;
            Ok::<_, ReplicaError>(bytes)
        });
        let bytes = read.await.map_err(|error| ReplicaError::Protocol(error.to_string()))??;
        self.ahead = (start, Bytes::from(bytes));
        Ok(())
    }
}

/// A segment may be recycled while it is read: each page says where it belongs.
fn check_pages(
    bytes: &[u8],
    start: Lsn,
    segment_size: SegmentSize,
    history: &TimelineHistory,
) -> Result<(), ReplicaError> {
    for (index, page) in bytes.chunks(PAGE as usize).enumerate() {
        let at = start + index as u64 * PAGE;
        let found = page.get(8..16).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
        // The last page may be cut before its address; pages behind a switch of segments are zeros, headers too.
        if found.is_some_and(|found| found != 0 && found != at.get()) {
            let name = segment_size.segment_of(at).file_name(history.timeline_at(at), segment_size);
            return Err(ReplicaError::SegmentRemoved(name));
        }
    }
    Ok(())
}
