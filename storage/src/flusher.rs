//! Who flushes the log: the lone committer in place, and a thread when others wait.
//!
//! A commit that finds nobody flushing does it itself and pays no hop between threads. One that finds a flush
//! running leaves word of what it wants and waits without blocking; whoever ends that flush sees the word and
//! hands the work to the flusher's thread, which goes on for as long as there is more. The same thread flushes, every
//! `wal_writer_delay`, what commits at level off left behind.

use crate::Error;
use crate::levels::Levels;
use crate::store::Log;
use parking_lot::{Condvar, Mutex};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use wal::{Lsn, Positions};

/// The log as the commit pipeline needs it.
pub(crate) trait CommitLog: Log {
    /// Makes everything before `upto` durable, and says how far it is then. Blocks.
    fn flush(&self, upto: Lsn) -> Result<Lsn, Error>;
    /// Its positions.
    fn positions(&self) -> &Arc<Positions>;
}

pub(crate) struct Flusher {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    log: Arc<dyn CommitLog>,
    levels: Arc<Levels>,
    /// Somebody flushes.
    busy: AtomicBool,
    /// The furthest that anybody who does not flush himself waits for.
    wanted: AtomicU64,
    /// What the thread sleeps on: set to true to wake it.
    called: Mutex<Called>,
    bell: Condvar,
    delay: Duration,
}

#[derive(Default)]
struct Called {
    work: bool,
    stop: bool,
}

impl fmt::Debug for Flusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flusher").finish_non_exhaustive()
    }
}

impl Flusher {
    pub(crate) fn start(
        log: Arc<dyn CommitLog>,
        levels: Arc<Levels>,
        delay: Duration,
    ) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            log,
            levels,
            busy: AtomicBool::new(false),
            wanted: AtomicU64::new(0),
            called: Mutex::default(),
            bell: Condvar::new(),
            delay,
        });
        let run = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("plimsoll-flush".to_owned())
            .spawn(move || run.run())
            .map_err(|error| Error::Unusable(format!("could not start the log flusher's thread: {error}")))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Returns once everything before `end` is durable.
    pub(crate) async fn flush(&self, end: Lsn) -> Result<(), Error> {
        let shared = &self.shared;
        let positions = shared.log.positions();
        if positions.flushed() >= end {
            return Ok(());
        }
        if shared.begin() {
            return shared.flush_and_hand_on(end);
        }
        shared.wanted.fetch_max(end.get(), Ordering::SeqCst);
        // The one who was flushing may have left before it could see the word.
        if shared.begin() {
            return shared.flush_and_hand_on(end);
        }
        positions.wait_flushed(end).await.map_err(|_| shared.failure(end))?;
        Ok(())
    }

    /// As [`Flusher::flush`], blocking, and whoever else flushes.
    pub(crate) fn flush_blocking(&self, end: Lsn) -> Result<Lsn, Error> {
        let flushed = self.shared.log.flush(end);
        self.shared.levels.advance();
        flushed
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.shared.called.lock().stop = true;
        self.shared.bell.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // A panic in there has been reported by the hook; the log's positions end its waiters.
            let _ = thread.join();
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn begin(&self) -> bool {
        self.busy.compare_exchange(false, true, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn flush_and_hand_on(&self, end: Lsn) -> Result<(), Error> {
        let flushed = self.log.flush(end);
        self.busy.store(false, Ordering::SeqCst);
        let more = match &flushed {
            Ok(flushed) => self.wanted.load(Ordering::SeqCst) > flushed.get(),
            Err(_) => false,
        };
        if more {
            self.called.lock().work = true;
            self.bell.notify_one();
        }
        self.levels.advance();
        flushed.map(drop)
    }

    /// Why the log stopped.
    fn failure(&self, end: Lsn) -> Error {
        match self.log.flush(end) {
            Ok(_) => Error::Shutdown,
            Err(error) => error,
        }
    }

    fn run(&self) {
        loop {
            {
                let mut called = self.called.lock();
                if !called.work && !called.stop {
                    self.bell.wait_for(&mut called, self.delay);
                }
                if called.stop {
                    return;
                }
                called.work = false;
            }
            loop {
                let positions = self.log.positions();
                let inserted = positions.inserted();
                if positions.flushed() >= inserted || !self.begin() {
                    break;
                }
                // A log that failed says so to everybody who waits; there is nothing to add here.
                let flushed = self.log.flush(inserted);
                self.busy.store(false, Ordering::SeqCst);
                self.levels.advance();
                if !matches!(flushed, Ok(flushed) if self.wanted.load(Ordering::SeqCst) > flushed.get()) {
                    break;
                }
            }
        }
    }
}
