//! Time that a test moves, and randomness that a seed replays.

use host::{Clock, Entropy, Timestamp};
use parking_lot::Mutex;
use std::time::Duration;

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: Mutex<(Timestamp, Duration)>,
}

impl ManualClock {
    /// A clock at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self { now: Mutex::new((start, Duration::ZERO)) }
    }
    /// Moves wall and monotonic time forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock();
        now.0 = Timestamp::from_micros(
            now.0.micros().saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)),
        );
        now.1 = now.1.saturating_add(by);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.now.lock().0
    }
    fn monotonic(&self) -> Duration {
        self.now.lock().1
    }
}

/// Replayable pseudo-randomness for tests and simulation.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<fastrand::Rng>);

impl SeededEntropy {
    /// The same seed gives the same bytes.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(fastrand::Rng::with_seed(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buf: &mut [u8]) {
        self.0.lock().fill(buf);
    }
}
