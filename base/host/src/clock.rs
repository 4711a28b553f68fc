//! Time and randomness, passed in.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Microseconds since 2000-01-01 00:00:00 UTC, PostgreSQL's TimestampTz.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Microseconds between the Unix epoch and PostgreSQL's.
const EPOCH_OFFSET_US: i64 = 946_684_800_000_000;

impl Timestamp {
    /// From PostgreSQL's microseconds since 2000-01-01 UTC.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }
    /// PostgreSQL's microseconds since 2000-01-01 UTC.
    pub const fn micros(self) -> i64 {
        self.0
    }
    /// From microseconds since 1970-01-01 UTC, saturating.
    pub const fn from_unix_micros(micros: i64) -> Self {
        Self(micros.saturating_sub(EPOCH_OFFSET_US))
    }
    /// Microseconds since 1970-01-01 UTC, saturating.
    pub const fn unix_micros(self) -> i64 {
        self.0.saturating_add(EPOCH_OFFSET_US)
    }
    /// Seconds since 1970-01-01 UTC, rounded down (pg_time_t of the control file).
    pub const fn unix_seconds(self) -> i64 {
        self.unix_micros().div_euclid(1_000_000)
    }
    /// How long after `earlier` this is; zero if it is before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// The one clock of a node.
pub trait Clock: Send + Sync + Debug {
    /// Wall time; may step.
    fn now(&self) -> Timestamp;
    /// Time since a fixed point of this process; never goes back.
    fn monotonic(&self) -> Duration;
}

/// The one source of randomness of a node.
pub trait Entropy: Send + Sync + Debug {
    /// Fills `buf` with random bytes.
    fn fill(&self, buf: &mut [u8]);
    /// A random 64-bit number.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // Asked several times a statement, so without the arithmetic of `SystemTime`.
        let Ok(now) = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME) else {
            unreachable!("every kernel has this clock")
        };
        Timestamp::from_unix_micros(now.tv_sec().saturating_mul(1_000_000) + now.tv_nsec() / 1000)
    }
    fn monotonic(&self) -> Duration {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buf: &mut [u8]) {
        rand::fill(buf);
    }
}
