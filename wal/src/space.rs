//! Segments that are there before the log needs them, so that an insertion meets neither a slow disk nor a
//! full one.

use crate::error::{WalError, WalOperation};
use crate::ids::{Lsn, TimelineId};
use crate::page::{LONG_HEADER_SIZE, PAGE_SIZE, SHORT_HEADER_SIZE};
use crate::segments::{Removed, Retention, SegmentFate, SegmentFile, SegmentFolder};
use host::sync::{Condvar, Mutex};
use host::thread::JoinHandle;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How long the thread that makes segments rests after it failed.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The log's space on disk.
#[derive(Debug)]
pub(crate) struct Space {
    folder: SegmentFolder,
    timeline: TimelineId,
    /// Every segment from the log's end to here is there with its full size.
    end: AtomicU64,
    /// Bytes promised to those who will insert.
    reserved: AtomicU64,
    /// Bytes to have ready behind the log's end.
    ahead: u64,
    /// They are not made yet, unless the log comes near the end of what there is.
    put_off: AtomicBool,
    /// Held while segments are made or renamed.
    growing: host::Mutex<()>,
    /// New segments will be filled at once, in large pieces: zeros would only be written over. Said by
    /// whoever writes the log.
    bulk: Arc<AtomicBool>,
    wanted: AtomicBool,
    stop: AtomicBool,
    sleep: Mutex<()>,
    wake: Condvar,
}

/// The most that `len` bytes of records take in the log, with page headers and padding.
pub(crate) fn footprint(len: u64) -> u64 {
    let pages = len / (PAGE_SIZE - SHORT_HEADER_SIZE) as u64 + 2;
    len.saturating_add(pages * SHORT_HEADER_SIZE as u64 + LONG_HEADER_SIZE as u64 + 8)
}

impl Space {
    /// The space behind `at`, as it is found. `bulk` says, at any time, whether new segments need no zeros.
    pub(crate) fn open(
        folder: SegmentFolder,
        timeline: TimelineId,
        at: Lsn,
        segments_ahead: u32,
        bulk: Arc<AtomicBool>,
    ) -> Result<Self, WalError> {
        let size = folder.segment_size();
        let mut next = size.segment_of(at);
        while folder.exists(timeline, next)? {
            next = next.next();
        }
        let space = Self {
            end: AtomicU64::new(size.start_of(next).get()),
            ahead: size.bytes().saturating_mul(u64::from(segments_ahead)),
            put_off: AtomicBool::new(false),
            folder,
            timeline,
            reserved: AtomicU64::new(0),
            growing: host::Mutex::new(()),
            bulk,
            wanted: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
        };
        space.ensure(at + 1)?;
        Ok(space)
    }

    /// Whether the log may grow to `upto` without a new segment.
    pub(crate) fn covers(&self, upto: Lsn) -> bool {
        upto.get() <= self.end.load(Ordering::Acquire)
    }

    /// Makes segments until the log may grow to `upto`.
    pub(crate) fn ensure(&self, upto: Lsn) -> Result<(), WalError> {
        while !self.covers(upto) {
            let _growing = self.growing.lock();
            if !self.covers(upto) {
                let end = Lsn::new(self.end.load(Ordering::Acquire));
                let size = self.folder.segment_size();
                let zeros = !self.bulk.load(Ordering::Relaxed);
                self.folder.create_filled(self.timeline, size.segment_of(end), zeros)?;
                self.end.store(end.get() + size.bytes(), Ordering::Release);
            }
        }
        Ok(())
    }

    /// Counts `bytes` as promised if the log, which ends at `inserted`, has space for them and for all
    /// promised before.
    pub(crate) fn try_reserve(&self, inserted: Lsn, bytes: u64) -> bool {
        let promised = self.reserved.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let fits = self.covers(inserted + promised);
        if !fits {
            self.release(bytes);
        }
        fits
    }

    /// Counts `bytes` as promised, and makes segments for them if need be.
    pub(crate) fn reserve(&self, inserted: Lsn, bytes: u64) -> Result<(), WalError> {
        let promised = self.reserved.fetch_add(bytes, Ordering::AcqRel) + bytes;
        self.ensure(inserted + promised).inspect_err(|_| self.release(bytes))
    }

    pub(crate) fn release(&self, bytes: u64) {
        self.reserved.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Removes or recycles old segments; recycled ones join the space ahead.
    pub(crate) fn remove_old(
        &self,
        keep: Retention,
        fate: &mut dyn FnMut(SegmentFile) -> SegmentFate,
    ) -> Result<Removed, WalError> {
        let _growing = self.growing.lock();
        let size = self.folder.segment_size();
        let end = Lsn::new(self.end.load(Ordering::Acquire));
        let (removed, _) = self.folder.remove_before(keep, self.timeline, size.segment_of(end), fate)?;
        // Only now, with the names durable, are they ours to write.
        let mut next = size.segment_of(end);
        while self.folder.exists(self.timeline, next)? {
            next = next.next();
        }
        self.end.store(size.start_of(next).get(), Ordering::Release);
        Ok(removed)
    }

    /// What is made ahead of the log is made later: the disk has more urgent things to do.
    pub(crate) fn put_off(&self) {
        self.put_off.store(true, Ordering::Release);
    }
    /// It is made now.
    pub(crate) fn put_off_no_more(&self, inserted: Lsn) {
        self.put_off.store(false, Ordering::Release);
        self.note_growth(inserted);
    }

    fn ahead(&self) -> u64 {
        let near = self.folder.segment_size().bytes() / 16;
        if self.put_off.load(Ordering::Acquire) { self.ahead.min(near) } else { self.ahead }
    }

    /// Tells the thread that makes segments if the log, now at `inserted`, comes near the end of its space.
    pub(crate) fn note_growth(&self, inserted: Lsn) {
        if !self.covers(inserted + self.ahead()) && !self.wanted.swap(true, Ordering::AcqRel) {
            self.wake_up();
        }
    }

    fn wake_up(&self) {
        let _sleep = self.sleep.lock();
        self.wake.notify_all();
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// What the thread that makes segments does until it is stopped.
    fn run(&self, inserted: impl Fn() -> Lsn) {
        while !self.stops() {
            if self.wanted.swap(false, Ordering::AcqRel) {
                self.get_ahead(&inserted);
            }
            let mut sleep = self.sleep.lock();
            if !self.stops() && !self.wanted.load(Ordering::Acquire) {
                self.wake.wait(&mut sleep);
            }
        }
    }

    fn get_ahead(&self, inserted: &impl Fn() -> Lsn) {
        while !self.stops() && !self.covers(inserted() + self.ahead()) {
            let end = Lsn::new(self.end.load(Ordering::Acquire));
            if self.ensure(end + 1).is_err() {
                // Whoever needs the space meets the same error and reports it; here it is only too early.
                let mut sleep = self.sleep.lock();
                if !self.stops() {
                    self.wake.wait_for(&mut sleep, REST_AFTER_FAILURE);
                }
                return;
            }
        }
    }
}

/// The thread that makes segments ahead of the log; ended and joined on drop.
#[derive(Debug)]
pub(crate) struct SegmentMaker {
    space: Arc<Space>,
    handle: Option<JoinHandle<()>>,
}

impl SegmentMaker {
    /// Starts it; `inserted` tells where the log ends.
    pub(crate) fn start(
        space: &Arc<Space>,
        inserted: impl Fn() -> Lsn + Send + 'static,
    ) -> Result<Self, WalError> {
        space.note_growth(inserted());
        let handle = spawn("wal-segments", {
            let space = space.clone();
            move || space.run(inserted)
        })?;
        Ok(Self { space: space.clone(), handle: Some(handle) })
    }
}

impl Drop for SegmentMaker {
    fn drop(&mut self) {
        self.space.stop.store(true, Ordering::SeqCst);
        self.space.wake_up();
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

/// Starts a named thread, whose panic ends the process: nobody else would do its work.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, WalError> {
    let run = || {
        let _vital = host::vital("a background thread of the log");
        run();
    };
    host::thread::spawn(name, run).map_err(|cause| WalError::Io {
        operation: WalOperation::Open,
        path: PathBuf::from(name),
        cause: Arc::new(cause),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SegmentSize;
    use crate::page::{record_end, record_start};
    use host::Disk;
    use std::path::Path;

    const SIZE: SegmentSize = SegmentSize::new(1 << 20).unwrap();

    #[test]
    fn a_record_takes_its_footprint_at_most_wherever_it_begins_and_hardly_less_at_worst() {
        for len in [24, 25, 100, 8128, 8168, 8169, 20_000, 300_000] {
            // Behind each place on the pages around a segment's start.
            let ends = (SIZE.bytes() - PAGE_SIZE as u64..SIZE.bytes() + 100).step_by(8).map(Lsn::new);
            let taken = ends.map(|end| record_end(record_start(end, SIZE), len, SIZE).bytes_since(end));
            let (most, promised) = (taken.max().unwrap(), footprint(len.into()));
            assert!((most..most + 64).contains(&promised), "{len} bytes: {promised} promised, {most} taken");
        }
    }

    #[test]
    fn one_insertion_that_comes_near_the_end_is_enough_for_a_segment_to_be_made() {
        let disk = simulation::VirtualDisk::new();
        disk.create_dir_all(Path::new("pg_wal")).unwrap();
        let folder = SegmentFolder::new(Arc::new(disk), Path::new("pg_wal"), SIZE);
        let at = Lsn::new(SIZE.bytes());
        let space = Arc::new(Space::open(folder, TimelineId::FIRST, at, 1, Arc::default()).unwrap());
        let inserted = Arc::new(AtomicU64::new(at.get()));
        let maker = SegmentMaker::start(&space, {
            let inserted = inserted.clone();
            move || Lsn::new(inserted.load(Ordering::Acquire))
        });
        for segment in 2..40 {
            let inserted_to = Lsn::new(segment * SIZE.bytes() - 100);
            inserted.store(inserted_to.get(), Ordering::Release);
            space.note_growth(inserted_to);
            // The thread works on its own time.
            while !space.covers(inserted_to + SIZE.bytes()) {
                std::thread::yield_now();
            }
        }
        drop(maker);
    }
}
