//! Sweeps that nobody asks for: trees with many dead versions, and what aborted transactions left.
//!
//! Every autovacuum_naptime each tree's estimate of dead versions is held against threshold and share. A tree
//! that has twice as many dead versions as make it due does not wait for that: a queue that is worked off
//! quickly would outgrow its rows many times in a minute. A tree whose last sweep had to leave versions is
//! not swept again before the horizon has moved: it would find the same.
//!
//! Up to autovacuum_max_workers trees are swept at the same time, which share the cost limit, so that one
//! that takes long keeps no other waiting. What aborted transactions left is swept beside them.

use crate::configuration::Ground;
use host::Instant;
use host::task::task;
use settings::Config;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use storage::{CostPace, Database, SweepCause, SweepCosts, SweepReport, TreeId, TreeStatistics};
use tokio::task::JoinSet;
use wal::Xid;

/// Time between two looks for trees that cannot wait for the next naptime.
const URGENT_INTERVAL: Duration = Duration::from_secs(1);

/// Whether a tree is due for a sweep (autovacuum_vacuum_threshold and autovacuum_vacuum_scale_factor): with
/// `urgent`, whether it has twice as many dead versions as that takes, and enough for the work to be worth
/// it.
fn is_due(config: &Config, statistics: &TreeStatistics, urgent: bool) -> bool {
    let share = config.autovacuum_vacuum_scale_factor * statistics.live as f64;
    let limit = config.autovacuum_vacuum_threshold as f64 + share;
    let dead = statistics.dead as f64;
    if urgent { dead > (2.0 * limit).max(URGENT_MIN) } else { dead > limit }
}

/// Dead versions that a tree has at least before its sweep is urgent.
const URGENT_MIN: f64 = 10_000.0;

/// The costs of one of so many sweeps.
fn costs(config: &Config, sweeps: usize) -> SweepCosts {
    let limit = match config.autovacuum_vacuum_cost_limit {
        limit if limit > 0 => limit,
        _ => config.vacuum_cost_limit,
    };
    SweepCosts {
        limit: (u64::try_from(limit).unwrap_or(200) / sweeps.max(1) as u64).max(1),
        delay: config.autovacuum_vacuum_cost_delay.0.unwrap_or(config.vacuum_cost_delay),
        hit: config.vacuum_cost_page_hit,
        miss: config.vacuum_cost_page_miss,
        dirty: config.vacuum_cost_page_dirty,
    }
}

/// The work that is under way.
struct Hands {
    ground: Arc<Ground>,
    database: Database,
    sweeps: JoinSet<Done>,
    /// The trees that are swept now.
    under_way: HashSet<TreeId>,
    /// Those that were found due and are not yet begun.
    queue: VecDeque<TreeId>,
    /// The horizon before the last sweep of each tree that had to leave versions.
    waiting: HashMap<TreeId, Xid>,
    /// What aborted transactions left is swept now.
    cleans: bool,
    /// Set at the end: sweeps do not outlive this.
    stopped: Arc<AtomicBool>,
}

/// What came to its end.
enum Done {
    /// The sweep of a tree: the horizon before it, how long it took, and what it did.
    Tree(TreeId, Xid, Duration, Result<SweepReport, storage::Error>),
    /// What aborted transactions left.
    Aborted(Result<(), storage::Error>),
}

impl Drop for Hands {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
    }
}

impl Hands {
    /// Begins what is due, as far as there are hands for it.
    fn begin(&mut self, config: &Config) {
        while self.under_way.len() < usize::try_from(config.autovacuum_max_workers).unwrap_or(usize::MAX)
            && let Some(tree) = self.queue.pop_front()
        {
            let horizon = self.database.horizon();
            if self.under_way.contains(&tree) || self.waiting.get(&tree) == Some(&horizon) {
                continue;
            }
            self.waiting.remove(&tree);
            self.under_way.insert(tree);
            let (database, stopped) = (self.database.clone(), Arc::clone(&self.stopped));
            let costs = costs(config, self.under_way.len());
            self.sweeps.spawn(task(async move {
                let begun = Instant::now();
                let pace = CostPace::new(costs, move || stopped.load(Ordering::Acquire));
                let swept = database.vacuum(tree, SweepCause::Automatic, Box::new(pace)).await;
                Done::Tree(tree, horizon, begun.elapsed(), swept)
            }));
        }
    }

    fn begin_cleaning(&mut self) {
        if !std::mem::replace(&mut self.cleans, true) {
            let database = self.database.clone();
            self.sweeps.spawn(task(async move { Done::Aborted(database.sweep().await) }));
        }
    }

    fn note(&mut self, config: &Config, done: Done) {
        let log = &self.ground.log;
        match done {
            Done::Tree(tree, horizon, took, swept) => {
                self.under_way.remove(&tree);
                match swept {
                    Ok(report) => {
                        if report.dead > 0 {
                            self.waiting.insert(tree, horizon);
                        }
                        tell(&self.ground, config, tree, &report, took);
                    }
                    // Dropped meanwhile.
                    Err(storage::Error::NoSuchTree(_) | storage::Error::Shutdown) => {}
                    Err(error) => log.warning(format!("sweep of relation {} failed: {error}", tree.file())),
                }
            }
            Done::Aborted(swept) => {
                self.cleans = false;
                match swept {
                    Ok(()) | Err(storage::Error::Shutdown) => {}
                    Err(error) => log.warning(format!("sweep for aborted transactions failed: {error}")),
                }
            }
        }
    }
}

/// Runs until it is dropped.
pub(crate) async fn run(ground: Arc<Ground>, database: Database) {
    let mut reloads = ground.reloads();
    let mut hands = Hands {
        ground: Arc::clone(&ground),
        database: database.clone(),
        sweeps: JoinSet::new(),
        under_way: HashSet::new(),
        queue: VecDeque::new(),
        waiting: HashMap::new(),
        cleans: false,
        stopped: Arc::default(),
    };
    let (mut last, mut looked) = (Instant::now(), Instant::now());
    loop {
        let config = ground.config();
        let rest = config.autovacuum_naptime.min(URGENT_INTERVAL).saturating_sub(looked.elapsed());
        tokio::select! {
            biased;
            changed = reloads.changed() => if changed.is_err() { return } else { continue },
            Some(done) = hands.sweeps.join_next() => {
                if let Ok(done) = done {
                    hands.note(&config, done);
                }
                hands.begin(&config);
                continue;
            }
            () = tokio::time::sleep(rest) => looked = Instant::now(),
        }
        if database.is_in_recovery() {
            continue;
        }
        let urgent = last.elapsed() < config.autovacuum_naptime;
        if !urgent {
            last = Instant::now();
            hands.begin_cleaning();
        }
        if !urgent || !config.autovacuum {
            // What is not yet begun is found again if it is due still.
            hands.queue.clear();
        }
        if !config.autovacuum {
            continue;
        }
        let is_due = |tree: &TreeId| {
            database.tree_statistics(*tree).is_some_and(|statistics| is_due(&config, &statistics, urgent))
        };
        let due = database.trees().into_iter().filter(is_due);
        let found: Vec<TreeId> = due.filter(|tree| !hands.queue.contains(tree)).collect();
        hands.queue.extend(found);
        hands.begin(&config);
    }
}

fn tell(ground: &Ground, config: &Config, tree: TreeId, report: &SweepReport, took: Duration) {
    if config.log_autovacuum_min_duration.0.is_none_or(|least| took < least) {
        return;
    }
    ground.log.log(format!(
        "automatic vacuum of relation \"{}\": pages: {} cut off the end, {} freed, \
         {} lost ones found, {} remain; \
         tuples: {} removed, {} remain, {} are dead but not yet removable; elapsed: {:.2} s",
        tree.file(),
        report.cut,
        report.freed,
        report.recovered,
        report.pages,
        report.removed,
        report.live,
        report.dead,
        took.as_secs_f64()
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_due_above_threshold_and_share_together() {
        let config = settings::Settings::new().config();
        let with = |live, dead| TreeStatistics { live, dead, ..TreeStatistics::default() };
        assert!(!is_due(&config, &with(0, 50), false));
        assert!(is_due(&config, &with(0, 51), false));
        assert!(!is_due(&config, &with(1000, 250), false));
        assert!(is_due(&config, &with(1000, 251), false));
        assert!(!is_due(&config, &with(100_000, 40_100), true), "it waits for the naptime");
        assert!(is_due(&config, &with(100_000, 40_101), true));
        assert!(!is_due(&config, &with(1000, 10_000), true), "a small table never is urgent");
    }
}
