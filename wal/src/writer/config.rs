//! What a writer is told, and what it tells.

use crate::error::WalError;
use crate::ids::{Lsn, SegmentSize, SystemId, TimelineId};
use crate::page::{is_record_start, record_start};
use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

/// How a writer is set up.
#[derive(Clone, Debug)]
pub struct WriterConfig {
    /// The cluster, for page headers.
    pub system_id: SystemId,
    /// The timeline that is written.
    pub timeline: TimelineId,
    /// Bytes of a segment file.
    pub segment_size: SegmentSize,
    /// Log bytes held in memory before they are written (wal_buffers). Who inserts above that writes first.
    /// Only one group of records can exceed it, by its own size.
    pub buffers_bytes: u64,
    /// Log bytes kept in memory for senders after they were written.
    pub recent_bytes: u64,
    /// Whether the log is made durable at all (fsync).
    pub fsync: bool,
    /// Whether new segments are filled with zeros (wal_init_zero).
    pub zero_fill: bool,
    /// Segments to have ready ahead of the log.
    pub segments_ahead: u32,
    /// Whether threads flush and make segments in the background; without them the owner calls
    /// [`WalWriter::flush_background`].
    pub background: bool,
    /// How long a commit that does not wait stays in memory before the background flush (wal_writer_delay).
    pub writer_delay: Duration,
    /// Bytes in memory at which the background flush comes early (wal_writer_flush_after).
    pub flush_after_bytes: u64,
    /// The log's last segment was made for this writer ([`crate::SegmentFolder::prepare_fork`]): nothing is
    /// copied to it, and there is nothing to wipe. What is made ahead of the log waits for
    /// [`crate::WalWriter::get_ahead`], or until the log has come near the segment's end.
    pub fresh: bool,
    /// The file that tells how far the log was durable ([`crate::FLUSHED_FILE`]), if one does.
    pub flush_mark: Option<PathBuf>,
}

impl WriterConfig {
    /// PostgreSQL's defaults.
    pub const fn new(system_id: SystemId, timeline: TimelineId) -> Self {
        Self {
            system_id,
            timeline,
            segment_size: SegmentSize::DEFAULT,
            buffers_bytes: 16 << 20,
            recent_bytes: 16 << 20,
            fsync: true,
            zero_fill: true,
            segments_ahead: 1,
            background: true,
            writer_delay: Duration::from_millis(200),
            flush_after_bytes: 1 << 20,
            fresh: false,
            flush_mark: None,
        }
    }
}

/// Hears how the log gets on, on the thread that made it so and without a lock of the writer's; it must
/// neither block nor call the writer.
pub trait LogObserver: Debug + Send + Sync {
    /// More of the log is durable. Whoever waits for that is told afterwards.
    fn flushed(&self);
    /// The writer has failed: nothing more will become durable.
    fn failed(&self);
}

/// Where a writer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteStart {
    /// The end of the last record (exclusive, aligned), or the first byte of a segment for a new cluster. In
    /// the middle of a page, the page is on disk; what lies behind this place in its segment is wiped,
    /// durably, before the writer opens.
    pub insert_at: Lsn,
    /// The start of the last record; INVALID for a new cluster.
    pub previous: Lsn,
    /// The rest of a record was expected at `insert_at`, a page's start, and never came: the page gets the
    /// mark that says so (XLP_FIRST_IS_OVERWRITE_CONTRECORD). The caller's first record is the one that names
    /// the lost one.
    pub overwrites_contrecord: bool,
    /// Where this timeline forks off: the timeline whose file has the segment up to `insert_at`, which is
    /// copied. It is the one that ends there, or one that forked off later and whose file begins with the
    /// same bytes.
    pub forked_from: Option<TimelineId>,
}

/// The place that a record got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inserted {
    /// Its first byte.
    pub start: Lsn,
    /// Its end: exclusive, aligned to 8. A page that it changed carries this as pd_lsn; flushed up to here it
    /// is durable.
    pub end: Lsn,
}

/// What the writer has done so far, for pg_stat_wal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Records inserted.
    pub records: u64,
    /// Their bytes, without page headers.
    pub bytes: u64,
    /// Times that an insertion had to write because the buffers were full.
    pub buffers_full: u64,
    /// Write calls.
    pub writes: u64,
    /// Syncs.
    pub syncs: u64,
}

/// Checks where the log is to begin; gives a page's start where the place is just behind a header that is
/// still to be written.
pub(super) fn checked_start(config: &WriterConfig, start: WriteStart) -> Result<Lsn, WalError> {
    let at = start.insert_at;
    let bad = |why| Err(WalError::BadStart { at, why });
    let at_page_start = at.page_offset() == 0;
    if !at.is_valid() || at != at.aligned() {
        return bad("it is no multiple of 8 above 0");
    }
    if !at_page_start && !is_record_start(at, config.segment_size) {
        return bad("it lies inside a page header");
    }
    if start.overwrites_contrecord && !at_page_start {
        return bad("the rest of a record can be missing only where a page starts");
    }
    let first = record_start(at.page_start(), config.segment_size);
    Ok(if at == first { at.page_start() } else { at })
}
