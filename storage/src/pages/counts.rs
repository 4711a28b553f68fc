//! What is known of each tree's rows without looking: counts kept as versions come and go. Estimates: they
//! begin anew with each start of the server (the first sweep makes them right), and a standby keeps none.

use host::Timestamp;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The counts of one tree. Changed by the one holder of the write lock, read by anybody.
#[derive(Debug)]
pub(crate) struct TreeCounts {
    inserted: AtomicU64,
    updated: AtomicU64,
    deleted: AtomicU64,
    live: AtomicI64,
    dead: AtomicI64,
    inserted_since_sweep: AtomicU64,
    sweeps: [SweepTimes; 2],
}

#[derive(Debug)]
struct SweepTimes {
    /// Microseconds; i64::MIN before the first.
    last: AtomicI64,
    count: AtomicU64,
}

impl Default for SweepTimes {
    fn default() -> Self {
        Self { last: AtomicI64::new(i64::MIN), count: AtomicU64::new(0) }
    }
}

impl Default for TreeCounts {
    fn default() -> Self {
        Self {
            inserted: AtomicU64::new(0),
            updated: AtomicU64::new(0),
            deleted: AtomicU64::new(0),
            live: AtomicI64::new(0),
            dead: AtomicI64::new(0),
            inserted_since_sweep: AtomicU64::new(0),
            sweeps: Default::default(),
        }
    }
}

/// Who asked for a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepCause {
    /// VACUUM.
    Asked,
    /// It was due.
    Automatic,
}

/// A tree's counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeStatistics {
    /// Rows inserted since the start.
    pub inserted: u64,
    /// Rows updated since the start.
    pub updated: u64,
    /// Rows deleted since the start.
    pub deleted: u64,
    /// Rows that are there.
    pub live: u64,
    /// Versions besides those.
    pub dead: u64,
    /// Rows inserted since the last sweep.
    pub inserted_since_sweep: u64,
    /// When VACUUM was last done, and how often.
    pub vacuum: (Option<Timestamp>, u64),
    /// When a sweep was last done that nobody asked for, and how often.
    pub autovacuum: (Option<Timestamp>, u64),
}

/// One writer at a time, so that no locked instruction is needed.
fn add(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

fn shift(counter: &AtomicI64, by: i64) {
    counter.store(counter.load(Ordering::Relaxed).saturating_add(by), Ordering::Relaxed);
}

impl TreeCounts {
    /// A version was written: over a row or not, and is one or not.
    pub(crate) fn wrote(&self, over_row: bool, is_row: bool) {
        match (over_row, is_row) {
            (false, true) => {
                add(&self.inserted);
                add(&self.inserted_since_sweep);
                shift(&self.live, 1);
            }
            (true, true) => {
                add(&self.updated);
                shift(&self.dead, 1);
            }
            (true, false) => {
                add(&self.deleted);
                shift(&self.live, -1);
                shift(&self.dead, 2);
            }
            (false, false) => shift(&self.dead, 1),
        }
    }

    /// New rows were written.
    pub(crate) fn wrote_new(&self, rows: usize) {
        for counter in [&self.inserted, &self.inserted_since_sweep] {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(rows as u64), Ordering::Relaxed);
        }
        shift(&self.live, i64::try_from(rows).unwrap_or(0));
    }

    /// Versions were removed.
    pub(crate) fn removed(&self, count: usize) {
        shift(&self.dead, -i64::try_from(count).unwrap_or(0));
    }

    /// A sweep of the whole tree has counted.
    pub(crate) fn swept(&self, live: u64, dead: u64, cause: SweepCause, at: Timestamp) {
        let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.live.store(count(live), Ordering::Relaxed);
        self.dead.store(count(dead), Ordering::Relaxed);
        self.inserted_since_sweep.store(0, Ordering::Relaxed);
        let times = &self.sweeps[usize::from(cause == SweepCause::Automatic)];
        times.last.store(at.micros(), Ordering::Relaxed);
        times.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> TreeStatistics {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let positive = |counter: &AtomicI64| u64::try_from(counter.load(Ordering::Relaxed)).unwrap_or(0);
        let times = |times: &SweepTimes| {
            let last = times.last.load(Ordering::Relaxed);
            ((last != i64::MIN).then(|| Timestamp::from_micros(last)), number(&times.count))
        };
        let [asked, automatic] = &self.sweeps;
        TreeStatistics {
            inserted: number(&self.inserted),
            updated: number(&self.updated),
            deleted: number(&self.deleted),
            live: positive(&self.live),
            dead: positive(&self.dead),
            inserted_since_sweep: number(&self.inserted_since_sweep),
            vacuum: times(asked),
            autovacuum: times(automatic),
        }
    }
}
