//! The primary's log: records get their place, become durable in groups, and are kept for senders while
//! fresh.
//!
//! The way of a record: [`WalWriter::insert`] copies it to the log's end in memory (one short lock, no I/O,
//! an allocation a chunk at most), a leader takes everything that is there, writes it with one call and makes
//! it durable with one fdatasync, for itself and for all who wait. Who leads: a lone committer does it in
//! place ([`WalWriter::try_flush_in_place`]); where several come at the same time, the flusher thread does it
//! for them ([`WalWriter::request_flush`]), so that no session's thread sits in an fdatasync.
//!
//! Locks, in this order: `file` (the leader's; held while it writes and syncs), then `tail` (records get
//! their place; memory only), then `recent`. Under `tail` only the pool of chunks is taken, under `recent`
//! nothing.
//!
//! A failed write or fsync ends the writer for good: every call returns that error from then on. Nothing is
//! tried again, since after a failed fsync the kernel may have dropped the bytes and report success the next
//! time.

mod buffer;
mod config;
mod flusher;

pub use config::{Inserted, LogObserver, WalStats, WriteStart, WriterConfig};

use crate::error::{WalError, WalOperation};
use crate::flush_mark::FlushMark;
use crate::fork::ForkSegment;
use crate::ids::{Lsn, SegmentSize, TimelineId};
use crate::log_file::{Counters, LogFile};
use crate::positions::{Positions, Stopped};
use crate::record::{EncodedRecord, RECORD_SIZE_MAX, RecordBuilder, Rmgr};
use crate::segments::{Removed, Retention, SegmentFate, SegmentFile, SegmentFolder};
use crate::space::{Space, footprint};
use buffer::{ChunkPool, PageMaker, Recent, Tail};
use bytes::Bytes;
use config::checked_start;
use flusher::{Crowd, Threads};
use host::Host;
use host::{Mutex, MutexGuard};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The primary's log. Cloning shares it. When the last one goes, its threads end; nothing is flushed by that.
#[derive(Clone, Debug)]
pub struct WalWriter {
    shared: Arc<Shared>,
    threads: Arc<Threads>,
}

#[derive(Debug)]
struct Shared {
    timeline: TimelineId,
    segment_size: SegmentSize,
    buffers_bytes: u64,
    positions: Arc<Positions>,
    tail: Mutex<Tail>,
    file: Mutex<LogFile>,
    recent: Recent,
    space: Arc<Space>,
    crowd: Crowd,
    failure: OnceLock<WalError>,
    observer: OnceLock<Arc<dyn LogObserver>>,
    flush_mark: Option<FlushMark>,
    closed: AtomicBool,
    redo_point: AtomicU64,
    buffers_full: AtomicU64,
    fsync: AtomicBool,
    /// Whether fsync was ever off.
    unsynced: AtomicBool,
}

/// Space in the log that is promised to the holder until it is dropped.
#[derive(Debug)]
#[must_use = "the space is promised only as long as this is held"]
pub struct Reservation {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shared.space.release(self.bytes);
    }
}

impl WalWriter {
    /// Opens the log for writing at its end.
    ///
    /// # Errors
    /// Fails if the segment cannot be opened or made.
    pub fn open(host: &Host, dir: &Path, config: WriterConfig, start: WriteStart) -> Result<Self, WalError> {
        let at = checked_start(&config, start)?;
        let mark = |path: PathBuf| {
            let begun = FlushMark::begin(host.disk.clone(), path.clone(), config.timeline, at);
            begun.map_err(|error| WalError::from_io(WalOperation::Write, &path, error))
        };
        let flush_mark = config.flush_mark.clone().map(mark).transpose()?;
        let folder =
            SegmentFolder::new(host.disk.clone(), dir, config.segment_size).with_zero_fill(config.zero_fill);
        let file = if config.fresh {
            LogFile::open_fresh(folder.clone(), config.timeline, at, config.fsync)?
        } else {
            // Of a fresh one they are what was prepared for it.
            folder.take_over(config.fsync)?;
            if let Some(before) = start.forked_from {
                folder.copy_prefix(before, config.timeline, at)?;
            }
            LogFile::wipe_later(&folder, config.timeline, at, config.fsync)?;
            LogFile::open(folder.clone(), config.timeline, at, config.fsync)?
        };
        let space = Space::open(folder, config.timeline, at, config.segments_ahead, Arc::default())?;
        if config.fresh {
            space.put_off();
        }
        let chunk_bytes = usize::try_from(config.buffers_bytes / 16).unwrap_or(0).clamp(64 << 10, 1 << 20);
        let pool = Arc::new(ChunkPool::new(chunk_bytes));
        let pages = PageMaker {
            timeline: config.timeline,
            system_id: config.system_id,
            segment_size: config.segment_size,
            overwritten: start.overwrites_contrecord.then_some(at),
        };
        let shared = Arc::new(Shared {
            timeline: config.timeline,
            segment_size: config.segment_size,
            buffers_bytes: config.buffers_bytes,
            positions: Arc::new(Positions::new(at)),
            tail: Mutex::new(Tail::new(pages, pool.clone(), at, start.previous)),
            file: Mutex::new(file),
            recent: Recent::new(pool, config.recent_bytes),
            space: Arc::new(space),
            crowd: Crowd::new(&config),
            failure: OnceLock::new(),
            observer: OnceLock::new(),
            flush_mark,
            closed: AtomicBool::new(false),
            redo_point: AtomicU64::new(Lsn::INVALID.get()),
            buffers_full: AtomicU64::new(0),
            fsync: AtomicBool::new(config.fsync),
            unsynced: AtomicBool::new(!config.fsync),
        });
        let threads = Arc::new(Threads::start(&shared, config.background)?);
        Ok(Self { shared, threads })
    }

    /// Begins the segment in which the log of a new timeline begins, as [`SegmentFolder::prepare_fork`]; once
    /// it has its name, the writer is opened with [`WriterConfig::fresh`].
    ///
    /// # Errors
    /// Fails if a segment cannot be read or made.
    pub fn prepare_fork(
        host: &Host,
        dir: &Path,
        config: &WriterConfig,
        start: WriteStart,
    ) -> Result<Option<ForkSegment>, WalError> {
        let at = checked_start(config, start)?;
        let folder =
            SegmentFolder::new(host.disk.clone(), dir, config.segment_size).with_zero_fill(config.zero_fill);
        let from = start.forked_from.unwrap_or(config.timeline);
        // Where the writer begins before the switch, it writes what is the parent's.
        folder.prepare_fork(from, config.timeline, at, at == start.insert_at)
    }

    /// Tells `observer` from now on; only the first one is taken.
    pub fn set_observer(&self, observer: Arc<dyn LogObserver>) {
        let _ = self.shared.observer.set(observer);
    }

    /// Gives a record its place in the log. It is in memory then, and nowhere else.
    ///
    /// # Errors
    /// Fails if the writer has failed or was closed, or the disk is full.
    pub fn insert(&self, record: &mut EncodedRecord) -> Result<Inserted, WalError> {
        self.shared.insert(record, false)
    }

    /// From now on no record has a place but the last one.
    pub fn seal(&self) {
        self.shared.tail.lock().is_sealed = true;
    }

    /// The log's last record, which alone has a place behind a [`WalWriter::seal`].
    ///
    /// # Errors
    /// As [`WalWriter::insert`].
    pub fn insert_last(&self, record: &mut EncodedRecord) -> Result<Inserted, WalError> {
        self.shared.insert(record, true)
    }

    /// Promises space for `bytes` of records, if no segment has to be made for that: never waits.
    pub fn try_reserve(&self, bytes: u64) -> Option<Reservation> {
        let bytes = footprint(bytes);
        let fits = self.shared.space.try_reserve(self.shared.positions.inserted(), bytes);
        fits.then(|| Reservation { shared: self.shared.clone(), bytes })
    }

    /// Promises space for `bytes` of records; makes segments if need be, so it may wait for the disk.
    /// [`WalError::DiskFull`] if there is no space; the log goes on nevertheless.
    ///
    /// # Errors
    /// Fails if the disk is full, or the writer has failed or was closed.
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, WalError> {
        self.shared.check()?;
        let bytes = footprint(bytes);
        self.shared.space.reserve(self.shared.positions.inserted(), bytes)?;
        Ok(Reservation { shared: self.shared.clone(), bytes })
    }

    /// Makes the log durable at least up to `upto`, waiting if somebody else is at it. Returns how far it is
    /// durable.
    ///
    /// # Errors
    /// Fails if the log cannot be written or synced; the writer takes no more then.
    pub fn flush(&self, upto: Lsn) -> Result<Lsn, WalError> {
        self.shared.flush(upto)
    }

    /// Makes everything durable that was inserted.
    ///
    /// # Errors
    /// Fails if the log cannot be written or synced; the writer takes no more then.
    pub fn flush_all(&self) -> Result<Lsn, WalError> {
        self.shared.flush(self.shared.positions.inserted())
    }

    /// Hands everything up to `upto` to the kernel: it survives a kill of the process, not of the machine.
    ///
    /// # Errors
    /// Fails if the log cannot be written; the writer takes no more then.
    pub fn write(&self, upto: Lsn) -> Result<Lsn, WalError> {
        let written = self.shared.positions.written();
        if written >= upto {
            return Ok(written);
        }
        self.shared.lead(self.shared.file.lock(), Reach::Written)
    }

    /// Flushes on the calling thread if nobody else is flushing and commits have come alone of late: a lone
    /// session then pays for no hand-over. None: others are about; use [`WalWriter::request_flush`] and
    /// [`WalWriter::wait_flushed`].
    ///
    /// # Errors
    /// Fails if the log cannot be written or synced; the writer takes no more then.
    pub fn try_flush_in_place(&self, upto: Lsn) -> Option<Result<Lsn, WalError>> {
        self.shared.try_flush_in_place(upto)
    }

    /// Asks for a flush up to `upto` and does not wait. Without background threads it comes with the next
    /// call that flushes.
    pub fn request_flush(&self, upto: Lsn) {
        self.shared.crowd.request(upto);
    }

    /// Waits until the log is durable up to `upto`. Does not flush by itself.
    ///
    /// # Errors
    /// Fails if the writer has failed or was closed.
    pub async fn wait_flushed(&self, upto: Lsn) -> Result<Lsn, WalError> {
        self.shared.positions.wait_flushed(upto).await.map_err(|stopped| self.shared.why_stopped(stopped))
    }

    /// What a commit does: flushes in place when it is alone, else has it done and waits.
    ///
    /// # Errors
    /// Fails if the writer has failed or was closed.
    pub async fn flush_async(&self, upto: Lsn) -> Result<Lsn, WalError> {
        match self.try_flush_in_place(upto) {
            Some(done) => done,
            None if self.threads.are_running() => {
                self.request_flush(upto);
                self.wait_flushed(upto).await
            }
            None => self.flush(upto),
        }
    }

    /// What a commit does that waits for more than the flush, which [`LogObserver`] hears of: flushes in
    /// place when it is alone, else has it done and does not wait for that.
    ///
    /// # Errors
    /// Fails if the writer has failed or was closed.
    pub fn begin_flush(&self, upto: Lsn) -> Result<(), WalError> {
        match self.try_flush_in_place(upto) {
            Some(done) => done.map(drop),
            None if self.threads.are_running() => {
                self.request_flush(upto);
                Ok(())
            }
            None => self.flush(upto).map(drop),
        }
    }

    /// Tells that a commit that does not wait was inserted: it is flushed within wal_writer_delay.
    pub fn request_background_flush(&self) {
        self.shared.crowd.request_lazily();
    }

    /// One round of what the background flush does: makes everything durable. For owners without background
    /// threads.
    ///
    /// # Errors
    /// Fails if the log cannot be written or synced; the writer takes no more then.
    pub fn flush_background(&self) -> Result<Lsn, WalError> {
        self.flush_all()
    }

    /// Ends the segment: a record says that the rest is empty, and zeros fill it. Returns the record's place
    /// (its end is not the segment's); at a segment's start nothing happens and both are where the log ends.
    ///
    /// # Errors
    /// Fails if the writer has failed or was closed, or the disk is full.
    pub fn switch_segment(&self) -> Result<Inserted, WalError> {
        match RecordBuilder::new(Rmgr::XLOG, crate::xlog::SWITCH, 0).encode() {
            Ok(mut record) => self.insert(&mut record),
            // A record without data has no way to be too long.
            Err(_) => Err(WalError::RecordTooLong { len: 0, limit: u64::from(RECORD_SIZE_MAX) }),
        }
    }

    /// Up to `max` flushed bytes from `from` on, shared with the writer's memory where they lie together
    /// there. None if they are no longer in memory (read the segment) or not yet flushed. May give less than
    /// is there; never an empty run.
    pub fn read_recent(&self, from: Lsn, max: usize) -> Option<Bytes> {
        self.shared.recent.read(from, self.shared.positions.flushed(), max)
    }

    /// Up to where the log is durable, for a record to state; None once it was written without fsync, when
    /// nobody knows.
    pub fn proven_flush(&self) -> Option<Lsn> {
        (!self.shared.unsynced.load(Ordering::Relaxed)).then(|| self.shared.positions.flushed())
    }

    /// From now on as many segments as the writer was told are made ahead of the log.
    pub fn get_ahead(&self) {
        self.shared.space.put_off_no_more(self.shared.positions.inserted());
    }

    /// How far the log has come.
    pub fn positions(&self) -> Arc<Positions> {
        self.shared.positions.clone()
    }

    /// The start of the last record.
    pub fn last_record(&self) -> Lsn {
        self.shared.tail.lock().previous()
    }

    /// Where redo begins after the newest checkpoint, running ones included: a page whose pd_lsn is not above
    /// it needs its image in the next record that changes it.
    pub fn redo_point(&self) -> Lsn {
        Lsn::new(self.shared.redo_point.load(Ordering::Acquire))
    }

    /// Sets the redo point, as recovery found it.
    pub fn set_redo_point(&self, redo: Lsn) {
        self.shared.redo_point.store(redo.get(), Ordering::Release);
    }

    /// Begins a checkpoint: makes the insertion point the redo point and returns it. The caller sees to it
    /// that no transaction's records are half inserted (the commit lock).
    pub fn set_redo_point_here(&self) -> Lsn {
        let tail = self.shared.tail.lock();
        let redo = tail.next_start();
        self.set_redo_point(redo);
        redo
    }

    /// Removes or recycles the segments that nobody needs. `fate` says of each what may become of it.
    ///
    /// # Errors
    /// Fails if the folder cannot be read or synced. A segment that cannot go is one of the outcome's
    /// failures.
    pub fn remove_old_segments(
        &self,
        keep: Retention,
        fate: &mut dyn FnMut(SegmentFile) -> SegmentFate,
    ) -> Result<Removed, WalError> {
        self.shared.check()?;
        // Whatever the caller thinks: what is not written yet, and what holds the log's end, stays.
        let end = self.shared.segment_size.segment_of(self.shared.positions.flushed());
        let keep = Retention { horizon: keep.horizon.min(end), ..keep };
        self.shared.space.remove_old(keep, fate)
    }

    /// The timeline that is written.
    pub fn timeline(&self) -> TimelineId {
        self.shared.timeline
    }
    /// Bytes of a segment.
    pub fn segment_size(&self) -> SegmentSize {
        self.shared.segment_size
    }

    /// Takes over changed settings: fsync, wal_writer_delay, wal_writer_flush_after.
    pub fn reconfigure(&self, fsync: bool, writer_delay: Duration, flush_after_bytes: u64) {
        self.shared.fsync.store(fsync, Ordering::Relaxed);
        self.shared.unsynced.fetch_or(!fsync, Ordering::Relaxed);
        self.shared.crowd.reconfigure(writer_delay, flush_after_bytes);
    }

    /// What was done so far.
    pub fn stats(&self) -> WalStats {
        let (records, bytes) = {
            let tail = self.shared.tail.lock();
            (tail.records, tail.bytes)
        };
        let Counters { writes, syncs } = self.shared.crowd.counters();
        WalStats {
            records,
            bytes,
            buffers_full: self.shared.buffers_full.load(Ordering::Relaxed),
            writes,
            syncs,
        }
    }

    /// The error that ended the writer, if one did.
    pub fn failure(&self) -> Option<WalError> {
        self.shared.failure.get().cloned()
    }

    /// Flushes everything, ends the threads and takes no more records. Waits for positions that were not
    /// reached end.
    ///
    /// # Errors
    /// Fails if the last of the log cannot be written or synced.
    pub fn close(&self) -> Result<Lsn, WalError> {
        let flushed = self.flush_all();
        self.shared.closed.store(true, Ordering::Release);
        self.shared.positions.stop();
        self.threads.stop();
        flushed
    }
}

/// How far a leader takes the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Written,
    Flushed,
}

impl Shared {
    fn check(&self) -> Result<(), WalError> {
        if let Some(failure) = self.failure.get() {
            return Err(failure.clone());
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(WalError::Closed { reached: self.positions.flushed() });
        }
        Ok(())
    }

    fn why_stopped(&self, stopped: Stopped) -> WalError {
        self.failure.get().cloned().unwrap_or(WalError::Closed { reached: stopped.reached })
    }

    /// Ends the writer for good.
    fn fail(&self, error: WalError) -> WalError {
        let error = error.into_failed();
        let first = self.failure.get_or_init(|| error).clone();
        self.positions.stop();
        if let Some(observer) = self.observer.get() {
            observer.failed();
        }
        first
    }

    fn insert(&self, record: &mut EncodedRecord, is_last: bool) -> Result<Inserted, WalError> {
        self.check()?;
        let len = u64::from(record.len());
        if record.len() > RECORD_SIZE_MAX || record.is_empty() {
            return Err(WalError::RecordTooLong { len, limit: u64::from(RECORD_SIZE_MAX) });
        }
        let need = footprint(len);
        self.make_room(need)?;
        let mut tail = self.tail.lock();
        while !self.space.covers(tail.at() + need) {
            let upto = tail.at() + need;
            drop(tail);
            self.space.ensure(upto)?;
            tail = self.tail.lock();
        }
        if tail.is_sealed && !is_last {
            return Err(WalError::Closed { reached: self.positions.flushed() });
        }
        let switches = record.is_switch();
        let mut place = Inserted { start: tail.at(), end: tail.at() };
        // At a segment's start there is nothing to leave.
        if !switches || self.segment_size.offset_of(tail.at()) != 0 {
            let previous = tail.previous();
            let (start, end) = tail.put(record.finish(previous));
            place = Inserted { start, end };
            if switches {
                tail.skip_segment();
            }
        }
        let end = tail.at();
        self.positions.set_inserted(end);
        drop(tail);
        self.space.note_growth(end);
        self.crowd.note_growth(end.bytes_since(self.positions.written()), end);
        Ok(place)
    }

    /// Writes first if the buffers would hold more than they may.
    fn make_room(&self, need: u64) -> Result<(), WalError> {
        let held = self.positions.inserted().bytes_since(self.positions.written());
        if held > 0 && held + need > self.buffers_bytes {
            self.buffers_full.fetch_add(1, Ordering::Relaxed);
            self.lead(self.file.lock(), Reach::Written)?;
        }
        Ok(())
    }

    fn flush(&self, upto: Lsn) -> Result<Lsn, WalError> {
        let flushed = self.positions.flushed();
        if flushed >= upto {
            return Ok(flushed);
        }
        self.check()?;
        let inserted = self.positions.inserted();
        if upto > inserted {
            return Err(WalError::Ahead { asked: upto, inserted });
        }
        if let Some(file) = self.file.try_lock() {
            return self.lead(file, Reach::Flushed);
        }
        if self.crowd.has_flusher() {
            self.crowd.request(upto);
            return self.positions.wait_flushed_blocking(upto).map_err(|stopped| self.why_stopped(stopped));
        }
        let file = self.file.lock();
        let flushed = self.positions.flushed();
        if flushed >= upto { Ok(flushed) } else { self.lead(file, Reach::Flushed) }
    }

    fn try_flush_in_place(&self, upto: Lsn) -> Option<Result<Lsn, WalError>> {
        let flushed = self.positions.flushed();
        if flushed >= upto {
            return Some(Ok(flushed));
        }
        if self.crowd.is_about() {
            return None;
        }
        match self.file.try_lock() {
            Some(file) => Some(self.lead(file, Reach::Flushed)),
            None => {
                self.crowd.met();
                None
            }
        }
    }

    /// Takes everything inserted to disk. `file` makes the caller the one leader.
    fn lead(&self, mut file: MutexGuard<'_, LogFile>, reach: Reach) -> Result<Lsn, WalError> {
        self.check()?;
        let taken = self.tail.lock().take();
        file.sync_enabled = self.fsync.load(Ordering::Relaxed);
        for stretch in &taken {
            match &stretch.bytes {
                Some(bytes) => file.append(bytes),
                None => file.append_zeros(stretch.len),
            }
            .map_err(|error| self.fail(error))?;
        }
        let end = file.at();
        self.recent.push(taken);
        self.positions.set_written(end);
        if reach == Reach::Flushed {
            let passes = host::planted!("a failed sync of the log passes for a good one");
            file.sync().or_else(|error| if passes { Ok(()) } else { Err(self.fail(error)) })?;
        }
        self.crowd.set_counters(file.counters);
        let is_durable = reach == Reach::Flushed && !self.unsynced.load(Ordering::Relaxed);
        // The next leader may begin while we wake those who waited for us.
        drop(file);
        if reach == Reach::Flushed {
            self.positions.set_flushed(end, || {
                if let Some(observer) = self.observer.get() {
                    observer.flushed();
                }
            });
        }
        if let Some(mark) = self.flush_mark.as_ref().filter(|_| is_durable) {
            mark.note(end);
        }
        Ok(end)
    }
}
