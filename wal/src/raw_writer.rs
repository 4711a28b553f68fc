//! A standby's log: the bytes that come from upstream, laid down where they lie there.
//!
//! Nothing is interpreted: a standby's segments equal the primary's because the same bytes go to the same
//! places. The rules for pages and segments are those of [`crate::writer`], since both write through the same
//! code.

use crate::error::WalError;
use crate::ids::{Lsn, SegmentSize, TimelineId};
use crate::log_branch::LogBranch;
use crate::log_file::LogFile;
use crate::page::PAGE_SIZE;
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
    /// Up to here the log was received before, and comes again since it cannot be read: it is written over,
    /// and none of it is wiped.
    pub again_upto: Lsn,
}

impl RawConfig {
    /// PostgreSQL's defaults.
    pub const fn new(timeline: TimelineId, segment_size: SegmentSize) -> Self {
        Self {
            timeline,
            segment_size,
            fsync: true,
            zero_fill: true,
            segments_ahead: 1,
            background: true,
            again_upto: Lsn::INVALID,
        }
    }
}

/// A standby's log. Cloning shares it. A failed write or fsync ends it for good, as it does a primary's
/// writer.
///
/// Nothing on disk is changed before the first byte comes: until then what lies behind the log's end may be
/// all that there is of it.
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
    /// Is told what is durable, unless nothing is made so.
    record: Option<Arc<LogBranch>>,
}

#[derive(Debug)]
struct Inner {
    config: RawConfig,
    end: End,
    failure: Option<WalError>,
}

/// The end of the log.
#[derive(Debug)]
enum End {
    /// Nothing has come yet.
    Untouched { folder: SegmentFolder, at: Lsn },
    /// The log is written.
    Open(Open),
}

#[derive(Debug)]
struct Open {
    file: LogFile,
    /// Up to here it is written over.
    again_upto: Option<Lsn>,
    space: Arc<Space>,
    maker: Option<SegmentMaker>,
}

impl RawWriter {
    /// The log from `at` on, the end of what this node has (the end of the last record that recovery found,
    /// or the first byte of a segment). Moves `positions`: received and flushed.
    ///
    /// # Errors
    /// Fails if what a broken-off making of segments left cannot be removed.
    pub fn open(
        host: &Host,
        dir: &Path,
        config: RawConfig,
        at: Lsn,
        positions: Arc<StandbyPositions>,
    ) -> Result<Self, WalError> {
        let folder =
            SegmentFolder::new(host.disk.clone(), dir, config.segment_size).with_zero_fill(config.zero_fill);
        folder.take_over(config.fsync)?;
        positions.set_received(at);
        positions.set_flushed(at);
        let size = config.segment_size;
        let inner = Inner { config, end: End::Untouched { folder, at }, failure: None };
        let (syncing, bulk) = (Arc::default(), Arc::default());
        Ok(Self { syncing, inner: Arc::new(Mutex::new(inner)), size, positions, bulk, record: None })
    }

    /// Has `record` know what is durable, as long as anything is made durable at all.
    #[must_use]
    pub fn recorded_in(mut self, record: Arc<LogBranch>) -> Self {
        self.record = Some(record);
        self
    }

    /// Whether the log is made durable from now on (fsync). What was written without that in pg_wal, here or
    /// in a former life, is made durable first: what is flushed from then on rests on it.
    ///
    /// # Errors
    /// Fails if it cannot be made durable; the log ends with that.
    pub fn set_fsync(&self, fsync: bool) -> Result<(), WalError> {
        let _syncing = self.syncing.lock();
        let mut inner = self.inner.lock();
        inner.check()?;
        if fsync && !inner.config.fsync {
            let synced = inner.end.folder().make_durable(Lsn::INVALID, || true);
            inner.keep_failure(synced)?;
        }
        inner.config.fsync = fsync;
        if let End::Open(open) = &mut inner.end {
            open.file.sync_enabled = fsync;
        }
        Ok(())
    }

    /// Makes all durable, and has `positions` be moved by it and by what comes.
    ///
    /// # Errors
    /// Fails if the file cannot be written, or no more space be made.
    pub fn counted_in(mut self, positions: Arc<StandbyPositions>) -> Result<Self, WalError> {
        let end = self.flush()?;
        let mut inner = self.inner.lock();
        let config = inner.config.clone();
        if let End::Open(open) = &mut inner.end {
            open.maker = None;
            (open.space, open.maker) = open_space(&config, &open.file, &positions, &self.bulk)?;
        }
        drop(inner);
        positions.set_received(end);
        positions.set_flushed(end);
        self.positions = positions;
        Ok(self)
    }

    /// Wipes what lies behind the log's end and does not come again, durably, and takes the segment, as the
    /// first write does by itself.
    ///
    /// # Errors
    /// Fails if the segment cannot be opened or does not fit.
    pub fn begin(&self) -> Result<(), WalError> {
        let mut inner = self.inner.lock();
        inner.check()?;
        self.opened(&mut inner).map(|_| ())
    }

    /// Whether the log's end is as it was found.
    pub fn is_untouched(&self) -> bool {
        matches!(self.inner.lock().end, End::Untouched { .. })
    }

    fn opened<'a>(&self, inner: &'a mut Inner) -> Result<&'a mut Open, WalError> {
        let RawConfig { timeline, fsync, again_upto, .. } = inner.config;
        if let End::Untouched { folder, at } = &inner.end {
            let again_upto = Some(again_upto).filter(|upto| upto > at);
            let file = match again_upto {
                Some(upto) => LogFile::over(folder.clone(), timeline, *at, upto, fsync),
                None => open_clear(folder, timeline, *at, fsync)?,
            };
            let (space, maker) = open_space(&inner.config, &file, &self.positions, &self.bulk)?;
            inner.end = End::Open(Open { file, again_upto, space, maker });
        }
        let End::Open(open) = &mut inner.end else { unreachable!("it was opened") };
        // Behind a switch there are zeros, where no page begins.
        if open.again_upto.is_some_and(|upto| open.file.at() >= upto) && open.file.is_on_page()? {
            let cleared = open_clear(open.file.folder(), timeline, open.file.at(), fsync)?;
            std::mem::replace(&mut open.file, cleared).sync()?;
            open.again_upto = None;
        }
        Ok(open)
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
        let expected = inner.end.at();
        if lsn != expected {
            return Err(WalError::NotContiguous { expected, found: lsn });
        }
        // Space first: a full disk shows before anything is written, and may be tried again.
        self.opened(&mut inner)?.space.ensure(expected + bytes.len() as u64)?;
        let written = self.append(&mut inner, bytes);
        inner.keep_failure(written)?;
        let end = inner.end.at();
        // Before a flush can see this end: what is flushed was received.
        self.positions.set_received(end);
        drop(inner);
        Ok(end)
    }

    fn append(&self, inner: &mut Inner, mut bytes: &[u8]) -> Result<(), WalError> {
        while !bytes.is_empty() {
            let open = self.opened(inner)?;
            let (at, page_end) = (open.file.at(), open.file.at().page_start() + PAGE_SIZE as u64);
            let again = open.again_upto.map(|upto| if upto > at { upto } else { page_end });
            let most = again.map_or(u64::MAX, |upto| upto.bytes_since(at));
            let (now, later) = bytes.split_at(usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len()));
            open.file.append(now)?;
            open.space.note_growth(open.file.at());
            bytes = later;
        }
        // What lies behind all that comes again goes with the last of it.
        self.opened(inner).map(|_| ())
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
        let (flushed, dirty) = {
            let mut inner = self.inner.lock();
            inner.check()?;
            let dirty = match &mut inner.end {
                End::Open(open) => open.file.take_dirty(),
                End::Untouched { .. } => None,
            };
            (Flushed::of(&inner), dirty)
        };
        if let Some((file, segment)) = dirty
            && !host::planted!("a standby's log is not synced")
            && let Err(cause) = file.sync()
        {
            let mut inner = self.inner.lock();
            let failed = self.opened(&mut inner)?.file.sync_failed(segment, cause);
            return inner.keep_failure(Err(failed));
        }
        self.flushed(flushed);
        Ok(flushed.end)
    }

    /// All up to there counts as durable.
    fn flushed(&self, Flushed { timeline, end, is_durable }: Flushed) {
        if let Some(record) = self.record.as_ref().filter(|_| is_durable) {
            record.flushed(timeline, end);
        }
        self.positions.set_flushed(end);
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
        if to == inner.config.timeline {
            return Ok(());
        }
        let open = self.opened(&mut inner)?;
        open.maker = None;
        let switched = open.file.switch_timeline(to);
        inner.keep_failure(switched)?;
        inner.config.timeline = to;
        let config = inner.config.clone();
        let open = self.opened(&mut inner)?;
        (open.space, open.maker) = open_space(&config, &open.file, &self.positions, &self.bulk)?;
        let flushed = Flushed::of(&inner);
        drop(inner);
        self.flushed(flushed);
        Ok(())
    }

    /// Where the log ends.
    pub fn end(&self) -> Lsn {
        self.inner.lock().end.at()
    }
    /// The timeline that is written.
    pub fn timeline(&self) -> TimelineId {
        self.inner.lock().config.timeline
    }
    /// The positions that this writer moves.
    pub fn positions(&self) -> Arc<StandbyPositions> {
        self.positions.clone()
    }
}

/// What a flush makes durable: all up to `end`.
#[derive(Clone, Copy)]
struct Flushed {
    timeline: TimelineId,
    end: Lsn,
    /// By fsync, which may be off.
    is_durable: bool,
}

impl Flushed {
    fn of(inner: &Inner) -> Self {
        Self { timeline: inner.config.timeline, end: inner.end.at(), is_durable: inner.config.fsync }
    }
}

impl End {
    fn at(&self) -> Lsn {
        match self {
            Self::Untouched { at, .. } => *at,
            Self::Open(open) => open.file.at(),
        }
    }
    fn folder(&self) -> &SegmentFolder {
        match self {
            Self::Untouched { folder, .. } => folder,
            Self::Open(open) => open.file.folder(),
        }
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

/// Writes `bytes` over a copy of them that cannot be read, of which all else stays, and makes them durable.
/// Of `config`, the timeline, the size of segments and fsync count.
///
/// # Errors
/// Fails if a segment cannot be written or synced.
pub fn mend(host: &Host, dir: &Path, config: &RawConfig, at: Lsn, bytes: &[u8]) -> Result<(), WalError> {
    let folder = SegmentFolder::new(host.disk.clone(), dir, config.segment_size);
    let mut file = LogFile::over(folder, config.timeline, at, at + bytes.len() as u64, config.fsync);
    file.append(bytes)?;
    file.sync()
}

/// The log that ends at `at`, with nothing behind it.
fn open_clear(
    folder: &SegmentFolder,
    timeline: TimelineId,
    at: Lsn,
    fsync: bool,
) -> Result<LogFile, WalError> {
    // A segment that a former life has begun would prove, at the next start, that all before it is durable.
    LogFile::wipe_later(folder, timeline, at, fsync)?;
    LogFile::open(folder.clone(), timeline, at, fsync)
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
