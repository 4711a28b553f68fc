//! A standby's log: the bytes that come from upstream, laid down where they lie there.
//!
//! Nothing is interpreted: a standby's segments equal the primary's because the same bytes go to the same
//! places. The rules for pages and segments are those of [`crate::writer`], since both write through the same
//! code.

use crate::error::WalError;
use crate::ids::{Lsn, SegmentSize, TimelineId};
use crate::log_file::LogFile;
use crate::positions::StandbyPositions;
use crate::segments::SegmentFolder;
use crate::space::{SegmentMaker, Space};
use host::Host;
use host::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How a standby's log is set up.
#[derive(Clone, Debug)]
pub struct RawConfig {
    /// The timeline that is received.
    pub timeline: TimelineId,
    /// Bytes of a segment file.
    pub segment_size: SegmentSize,
    /// Whether the log is made durable at all (fsync).
    pub fsync: bool,
    /// Whether new segments are filled with zeros (wal_init_zero).
    pub zero_fill: bool,
    /// Segments to have ready ahead of the log.
    pub segments_ahead: u32,
    /// Whether a thread makes them; without it they are made when they are needed.
    pub background: bool,
}

impl RawConfig {
    /// PostgreSQL's defaults.
    pub const fn new(timeline: TimelineId, segment_size: SegmentSize) -> Self {
        Self { timeline, segment_size, fsync: true, zero_fill: true, segments_ahead: 1, background: true }
    }
}

/// A standby's log. Cloning shares it. A failed write or fsync ends it for good, as it does a primary's
/// writer.
///
/// A flush does not hold up writes, but where one finishes a segment, which is made durable then. Two fsyncs
/// never run at once: what one lost must not pass for durable by the other's success. Order of locks:
/// `syncing`, `inner`.
#[derive(Clone, Debug)]
pub struct RawWriter {
    /// Held during an fsync.
    syncing: Arc<Mutex<()>>,
    inner: Arc<Mutex<Inner>>,
    size: SegmentSize,
    positions: Arc<StandbyPositions>,
    /// Whether much log is about to come; the space, which is another one on each timeline, looks here.
    bulk: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Inner {
    config: RawConfig,
    file: LogFile,
    space: Arc<Space>,
    maker: Option<SegmentMaker>,
    failure: Option<WalError>,
}

impl RawWriter {
    /// Opens the log at `at`, the end of what this node has (the end of the last record that recovery found,
    /// or the first byte of a segment). What lies behind in that segment is wiped, durably. Moves
    /// `positions`: received and flushed.
    ///
    /// # Errors
    /// Fails if the segment cannot be opened or does not fit.
    pub fn open(
        host: &Host,
        dir: &Path,
        config: RawConfig,
        at: Lsn,
        positions: Arc<StandbyPositions>,
    ) -> Result<Self, WalError> {
        let folder =
            SegmentFolder::new(host.disk.clone(), dir, config.segment_size).with_zero_fill(config.zero_fill);
        folder.remove_temporaries()?;
        // A segment that a former life has begun would prove, at the next start, that all before it is
        // durable.
        LogFile::wipe_later(&folder, config.timeline, at, config.fsync)?;
        let file = LogFile::open(folder, config.timeline, at, config.fsync)?;
        let bulk = Arc::<AtomicBool>::default();
        let (space, maker) = open_space(&config, &file, &positions, &bulk)?;
        positions.set_received(at);
        positions.set_flushed(at);
        let size = config.segment_size;
        let inner = Arc::new(Mutex::new(Inner { config, file, space, maker, failure: None }));
        Ok(Self { syncing: Arc::default(), inner, size, positions, bulk })
    }

    /// Writes the bytes that lie at `lsn`, which must be where the log ends. Returns the new end; nothing is
    /// durable yet.
    ///
    /// # Errors
    /// Fails if the bytes do not continue the log, or the file cannot be written.
    pub fn write_at(&self, lsn: Lsn, bytes: &[u8]) -> Result<Lsn, WalError> {
        let finishes = self.size.offset_of(lsn) + bytes.len() as u64 >= self.size.bytes();
        let _syncing = finishes.then(|| self.syncing.lock());
        let mut inner = self.inner.lock();
        inner.check()?;
        let expected = inner.file.at();
        if lsn != expected {
            return Err(WalError::NotContiguous { expected, found: lsn });
        }
        // Space first: a full disk shows before anything is written, and may be tried again.
        inner.space.ensure(expected + bytes.len() as u64)?;
        let written = inner.file.append(bytes);
        inner.keep_failure(written)?;
        let end = inner.file.at();
        inner.space.note_growth(end);
        drop(inner);
        self.positions.set_received(end);
        Ok(end)
    }

    /// Much log is about to come, or no more: new segments are not filled with zeros first, which would
    /// double what is written. A flush has some more to do then, and there are few of them.
    pub fn set_bulk(&self, bulk: bool) {
        self.bulk.store(bulk, Ordering::Relaxed);
    }

    /// Makes everything written so far durable; returns the durable end. Writes go on meanwhile.
    ///
    /// # Errors
    /// Fails if the file cannot be synced.
    pub fn flush(&self) -> Result<Lsn, WalError> {
        let _syncing = self.syncing.lock();
        let (end, dirty) = {
            let mut inner = self.inner.lock();
            inner.check()?;
            (inner.file.at(), inner.file.take_dirty())
        };
        if let Some((file, segment)) = dirty
            && !host::planted!("a standby's log is not synced")
            && let Err(cause) = file.sync()
        {
            let mut inner = self.inner.lock();
            let failed = inner.file.sync_failed(segment, cause);
            return inner.keep_failure(Err(failed));
        }
        self.positions.set_flushed(end);
        Ok(end)
    }

    /// Goes on on another timeline, which forks from this one at the log's end: makes everything durable, and
    /// its segment begin with the bytes of this one. Does nothing on the same timeline.
    ///
    /// # Errors
    /// Fails if the segment cannot be made.
    pub fn switch_timeline(&self, to: TimelineId) -> Result<(), WalError> {
        let _syncing = self.syncing.lock();
        let mut inner = self.inner.lock();
        inner.check()?;
        if to == inner.file.timeline() {
            return Ok(());
        }
        inner.maker = None;
        let switched = inner.file.switch_timeline(to);
        inner.keep_failure(switched)?;
        inner.config.timeline = to;
        (inner.space, inner.maker) = open_space(&inner.config, &inner.file, &self.positions, &self.bulk)?;
        let end = inner.file.at();
        drop(inner);
        self.positions.set_flushed(end);
        Ok(())
    }

    /// Where the log ends.
    pub fn end(&self) -> Lsn {
        self.inner.lock().file.at()
    }
    /// The timeline that is written.
    pub fn timeline(&self) -> TimelineId {
        self.inner.lock().file.timeline()
    }
    /// The positions that this writer moves.
    pub fn positions(&self) -> Arc<StandbyPositions> {
        self.positions.clone()
    }
}

impl Inner {
    fn check(&self) -> Result<(), WalError> {
        self.failure.clone().map_or(Ok(()), Err)
    }
    /// Keeps the error of a write or fsync for good.
    fn keep_failure<T>(&mut self, result: Result<T, WalError>) -> Result<T, WalError> {
        result.map_err(|error| self.failure.insert(error.into_failed()).clone())
    }
}

fn open_space(
    config: &RawConfig,
    file: &LogFile,
    positions: &Arc<StandbyPositions>,
    bulk: &Arc<AtomicBool>,
) -> Result<(Arc<Space>, Option<SegmentMaker>), WalError> {
    let at = file.at();
    let folder = file.folder().clone();
    let space = Space::open(folder, config.timeline, at, config.segments_ahead, bulk.clone())?;
    let space = Arc::new(space);
    let maker = if config.background {
        let positions = positions.clone();
        Some(SegmentMaker::start(&space, move || positions.received().max(at))?)
    } else {
        None
    };
    Ok((space, maker))
}
