//! Who flushes when several wait: the flusher thread, and how it knows.

use super::{Reach, Shared, WriterConfig};
use crate::error::WalError;
use crate::ids::Lsn;
use crate::log_file::Counters;
use crate::space::{SegmentMaker, spawn};
use host::thread::{JoinHandle, Thread, park, park_timeout};
use host::{Instant, Mutex};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// After commits met, this many flushes for one commit each have to follow before one flushes in place again.
const CROWD_MEMORY: u32 = 16;

/// What is asked of the flusher, and whether commits come alone or together.
#[derive(Debug)]
pub(super) struct Crowd {
    /// The highest position that somebody waits for.
    requested: AtomicU64,
    /// Requests since the last round of the flusher.
    requests: AtomicU32,
    /// Above 0: commits have met of late.
    memory: AtomicU32,
    /// A commit that does not wait is in memory.
    lazy: AtomicBool,
    delay_us: AtomicU64,
    flush_after_bytes: AtomicU64,
    flusher: OnceLock<Thread>,
    stop: AtomicBool,
    writes: AtomicU64,
    syncs: AtomicU64,
}

impl Crowd {
    pub(super) fn new(config: &WriterConfig) -> Self {
        let crowd = Self {
            requested: AtomicU64::new(0),
            requests: AtomicU32::new(0),
            memory: AtomicU32::new(0),
            lazy: AtomicBool::new(false),
            delay_us: AtomicU64::new(0),
            flush_after_bytes: AtomicU64::new(0),
            flusher: OnceLock::new(),
            stop: AtomicBool::new(false),
            writes: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
        };
        crowd.reconfigure(config.writer_delay, config.flush_after_bytes);
        crowd
    }

    pub(super) fn reconfigure(&self, delay: Duration, flush_after_bytes: u64) {
        self.delay_us.store(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.flush_after_bytes.store(flush_after_bytes, Ordering::Relaxed);
    }

    /// Whether commits have met of late, so that one should not flush in place.
    pub(super) fn is_about(&self) -> bool {
        self.memory.load(Ordering::Relaxed) > 0
    }
    /// Two commits met.
    pub(super) fn met(&self) {
        if self.has_flusher() {
            self.memory.store(CROWD_MEMORY, Ordering::Relaxed);
        }
    }
    pub(super) fn has_flusher(&self) -> bool {
        self.flusher.get().is_some()
    }

    /// Asks for a flush up to `upto`.
    pub(super) fn request(&self, upto: Lsn) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.requested.fetch_max(upto.get(), Ordering::SeqCst);
        self.wake();
    }

    /// Asks for a flush within the writer's delay.
    pub(super) fn request_lazily(&self) {
        if !self.lazy.swap(true, Ordering::SeqCst) && !host::planted!("the flusher misses a lazy flush") {
            self.wake();
        }
    }

    /// The log has grown: with much of it in memory, the background flush comes early.
    pub(super) fn note_growth(&self, held_bytes: u64, inserted: Lsn) {
        let limit = self.flush_after_bytes.load(Ordering::Relaxed);
        if limit > 0
            && held_bytes >= limit
            && self.requested.fetch_max(inserted.get(), Ordering::SeqCst) < inserted.get()
        {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(flusher) = self.flusher.get() {
            flusher.unpark();
        }
    }

    pub(super) fn set_counters(&self, counters: Counters) {
        self.writes.store(counters.writes, Ordering::Relaxed);
        self.syncs.store(counters.syncs, Ordering::Relaxed);
    }
    pub(super) fn counters(&self) -> Counters {
        Counters { writes: self.writes.load(Ordering::Relaxed), syncs: self.syncs.load(Ordering::Relaxed) }
    }
}

/// The background threads; the last holder ends and joins them.
#[derive(Debug)]
pub(super) struct Threads {
    shared: Arc<Shared>,
    running: Mutex<Option<(JoinHandle<()>, SegmentMaker)>>,
}

impl Threads {
    /// Starts the flusher and the one that makes segments, or none.
    pub(super) fn start(shared: &Arc<Shared>, background: bool) -> Result<Self, WalError> {
        let threads = Self { shared: shared.clone(), running: Mutex::default() };
        if background {
            let positions = shared.positions.clone();
            let maker = SegmentMaker::start(&shared.space, move || positions.inserted())?;
            let flusher = spawn("wal-flusher", {
                let shared = shared.clone();
                move || shared.run_flusher()
            })?;
            let _ = shared.crowd.flusher.set(flusher.thread().clone());
            *threads.running.lock() = Some((flusher, maker));
        }
        Ok(threads)
    }

    pub(super) fn are_running(&self) -> bool {
        self.shared.crowd.has_flusher()
    }

    /// Ends and joins the threads.
    pub(super) fn stop(&self) {
        self.shared.crowd.stop.store(true, Ordering::SeqCst);
        self.shared.crowd.wake();
        let running = self.running.lock().take();
        if let Some((flusher, _maker)) = running {
            let _ = flusher.join();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run_flusher(&self) {
        let crowd = &self.crowd;
        let mut due: Option<Instant> = None;
        while !crowd.stop.load(Ordering::SeqCst) {
            let wanted = Lsn::new(crowd.requested.load(Ordering::SeqCst)).min(self.positions.inserted());
            if wanted > self.positions.flushed() {
                let file = self.file.lock();
                let together = crowd.requests.swap(0, Ordering::Relaxed);
                if self.lead(file, Reach::Flushed).is_err() {
                    return;
                }
                remember(&crowd.memory, together);
                continue;
            }
            let now = Instant::now();
            match due {
                Some(at) if at <= now => {
                    due = None;
                    if self.lead(self.file.lock(), Reach::Flushed).is_err() {
                        return;
                    }
                }
                Some(at) => park_timeout(at - now),
                None if crowd.lazy.swap(false, Ordering::SeqCst) => {
                    due = Some(now + Duration::from_micros(crowd.delay_us.load(Ordering::Relaxed)));
                }
                None => park(),
            }
        }
    }
}

/// Several commits in one round keep the crowd in memory; a round for one lets it fade.
fn remember(memory: &AtomicU32, together: u32) {
    if together > 1 {
        memory.store(CROWD_MEMORY, Ordering::Relaxed);
    } else {
        let _ = memory.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_forgotten_after_as_many_flushes_for_one_commit_each_as_are_said_and_not_before() {
        let memory = AtomicU32::new(0);
        for crowd in [2, 5] {
            remember(&memory, crowd);
            for round in 0..CROWD_MEMORY {
                assert!(memory.load(Ordering::Relaxed) > 0, "{round}");
                remember(&memory, 1);
            }
            assert_eq!(memory.load(Ordering::Relaxed), 0);
            remember(&memory, 1);
            assert_eq!(memory.load(Ordering::Relaxed), 0);
        }
    }
}
