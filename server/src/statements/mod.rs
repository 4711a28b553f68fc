//! pg_stat_statements: how often each statement ran and how long it took, for each role and database.
//!
//! Nothing is kept unless shared_preload_libraries names pg_stat_statements. There are at most
//! pg_stat_statements.max entries: those that ran least go first. Sessions hold the entries of the statements
//! that they ran last, so that they do not ask the table each time; an entry that left it counts no more.

mod normal;

pub(crate) use normal::{normal, split, verbatim};

use host::Timestamp;
use host::sync::{Mutex, RwLock};
use sql_interface::clipped_to;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Bytes of a statement's text that are kept, at most.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// Share of the entries that goes when there are too many, and how many at least.
const LEAVING_SHARE: usize = 20;
const LEAVING_MIN: usize = 10;
/// What is left of an entry's use whenever others have to go.
const USE_LEFT: f64 = 0.99;

/// Whose statement it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) role: u32,
    pub(crate) database: u32,
    /// The statement's number.
    pub(crate) query: i64,
}

/// How often a statement ran, and how long it took in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) calls: u64,
    pub(crate) total_ms: f64,
    pub(crate) min_ms: f64,
    pub(crate) max_ms: f64,
    pub(crate) mean_ms: f64,
    /// Sum of the squares of what the times differ from their mean.
    squares: f64,
    pub(crate) rows: u64,
}

impl Figures {
    fn add(&mut self, took: Duration, rows: u64) {
        let ms = took.as_secs_f64() * 1e3;
        self.calls += 1;
        self.rows = self.rows.saturating_add(rows);
        self.total_ms += ms;
        self.min_ms = if self.calls == 1 { ms } else { self.min_ms.min(ms) };
        self.max_ms = self.max_ms.max(ms);
        // Welford's way, which stays exact.
        let before = self.mean_ms;
        self.mean_ms += (ms - before) / self.calls as f64;
        self.squares += (ms - before) * (ms - self.mean_ms);
    }

    /// The standard deviation of the times, of all calls.
    pub(crate) fn stddev_ms(&self) -> f64 {
        if self.calls > 1 { (self.squares / self.calls as f64).max(0.0).sqrt() } else { 0.0 }
    }
}

struct Counted {
    figures: Figures,
    used: f64,
}

/// One statement of a role in a database.
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) text: Arc<str>,
    counted: Mutex<Counted>,
    has_left: AtomicBool,
}

impl Entry {
    /// Counts a call; false if the entry has left the table.
    pub(crate) fn add(&self, took: Duration, rows: u64) -> bool {
        if self.has_left.load(Ordering::Acquire) {
            return false;
        }
        let mut counted = self.counted.lock();
        counted.figures.add(took, rows);
        counted.used += 1.0;
        true
    }

    pub(crate) fn figures(&self) -> Figures {
        self.counted.lock().figures
    }
}

/// Whether statements are counted on a server with these settings.
pub(crate) fn is_loaded(settings: &settings::Settings) -> bool {
    let libraries = settings.show("shared_preload_libraries").unwrap_or_default();
    let is_named = |name: &str| name.trim().trim_matches('"') == "pg_stat_statements";
    libraries.split(',').any(is_named)
}

/// The table of a server.
#[derive(Default)]
pub(crate) struct Statements {
    table: RwLock<HashMap<Key, Arc<Entry>>>,
    /// Times that entries had to go.
    leavings: AtomicU64,
    reset_at: Mutex<Option<Timestamp>>,
}

impl Statements {
    /// The entry of a statement, made if there is none.
    pub(crate) fn entry(&self, key: Key, text: &str, max: usize) -> Arc<Entry> {
        if let Some(known) = self.table.read().get(&key) {
            return known.clone();
        }
        let mut table = self.table.write();
        if table.len() >= max && !table.contains_key(&key) {
            self.make_room(&mut table);
        }
        let made = || {
            Arc::new(Entry {
                key,
                text: clipped_to(text, TEXT_BYTES_MAX).into(),
                counted: Mutex::new(Counted { figures: Figures::default(), used: 1.0 }),
                has_left: AtomicBool::new(false),
            })
        };
        table.entry(key).or_insert_with(made).clone()
    }

    fn make_room(&self, table: &mut HashMap<Key, Arc<Entry>>) {
        let mut by_use: Vec<(f64, Key)> = table
            .values()
            .map(|entry| {
                let mut counted = entry.counted.lock();
                counted.used *= USE_LEFT;
                (counted.used, entry.key)
            })
            .collect();
        by_use.sort_by(|one, other| one.0.total_cmp(&other.0));
        let leaving = (table.len() / LEAVING_SHARE).max(LEAVING_MIN);
        for (_, key) in by_use.into_iter().take(leaving) {
            leave(table.remove(&key));
        }
        self.leavings.fetch_add(1, Ordering::Relaxed);
    }

    /// All entries, as they are now.
    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        self.table.read().values().cloned().collect()
    }

    /// Forgets what fits; zeros fit all.
    pub(crate) fn reset(&self, key: Key, now: Timestamp) {
        let mut table = self.table.write();
        let fits = |of: &Key| {
            (key.role == 0 || key.role == of.role)
                && (key.database == 0 || key.database == of.database)
                && (key.query == 0 || key.query == of.query)
        };
        let gone: Vec<Key> = table.keys().filter(|of| fits(of)).copied().collect();
        gone.iter().for_each(|key| leave(table.remove(key)));
        if key == (Key { role: 0, database: 0, query: 0 }) {
            self.leavings.store(0, Ordering::Relaxed);
            *self.reset_at.lock() = Some(now);
        }
    }

    /// How often entries had to go, and when all were forgotten last.
    pub(crate) fn info(&self) -> (u64, Option<Timestamp>) {
        (self.leavings.load(Ordering::Relaxed), *self.reset_at.lock())
    }
}

fn leave(entry: Option<Arc<Entry>>) {
    if let Some(entry) = entry {
        entry.has_left.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(query: i64) -> Key {
        Key { role: 10, database: 5, query }
    }

    #[test]
    fn times_are_summed_up_as_statistics_do_it() {
        let statements = Statements::default();
        let entry = statements.entry(key(1), "select $1", 100);
        for (ms, rows) in [(2, 1), (4, 0), (6, 2)] {
            assert!(entry.add(Duration::from_millis(ms), rows));
        }
        let figures = statements.entry(key(1), "select $1", 100).figures();
        assert_eq!((figures.calls, figures.rows), (3, 3));
        assert_eq!(
            (figures.total_ms, figures.min_ms, figures.max_ms, figures.mean_ms),
            (12.0, 2.0, 6.0, 4.0)
        );
        assert!((figures.stddev_ms() - (8.0_f64 / 3.0).sqrt()).abs() < 1e-9);
    }

    #[test]
    fn those_that_ran_least_go_first_and_count_no_more() {
        let statements = Statements::default();
        let often = statements.entry(key(0x7fff), "often", 100);
        (0..10).for_each(|_| assert!(often.add(Duration::ZERO, 0)));
        let seldom = statements.entry(key(1), "seldom", 100);
        (2..=1000).for_each(|query| drop(statements.entry(key(query), "x", 100)));
        assert!(statements.all().len() <= 100);
        assert!(often.add(Duration::ZERO, 0) && !seldom.add(Duration::ZERO, 0));
        assert!(statements.info().0 > 0);
        statements.reset(key(0x7fff), Timestamp::default());
        assert!(!often.add(Duration::ZERO, 0) && statements.info().1.is_none());
        statements.reset(Key { role: 0, database: 0, query: 0 }, Timestamp::default());
        assert!(statements.all().is_empty() && statements.info().1.is_some());
    }
}
