//! A node's clock: wall time may be wrong and may jump, monotonic time is the simulation's.

use super::BEGIN;
use host::{Clock, Timestamp};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// A clock that is off by some time.
#[derive(Debug)]
pub struct NodeClock {
    begun: Instant,
    off_us: AtomicI64,
}

impl NodeClock {
    /// A clock that is `off_us` microseconds ahead. Made inside of the simulation's runtime.
    pub fn new(begun: Instant, off_us: i64) -> Self {
        Self { begun, off_us: AtomicI64::new(off_us) }
    }
    /// Sets it forward or back, in microseconds.
    pub fn jump(&self, by_us: i64) {
        self.off_us.fetch_add(by_us, Ordering::Relaxed);
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.monotonic().as_micros()).unwrap_or(i64::MAX);
        let off = self.off_us.load(Ordering::Relaxed);
        Timestamp::from_micros(BEGIN.micros().saturating_add(passed).saturating_add(off))
    }
    fn monotonic(&self) -> Duration {
        Instant::now().duration_since(self.begun)
    }
}
