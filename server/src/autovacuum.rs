//! Sweeps that nobody asks for: trees with many dead versions, and what aborted transactions left.
//!
//! Every autovacuum_naptime each tree's estimate of dead versions is held against threshold and share. A tree that has twice as many dead
//! versions as make it due does not wait for that: a queue that is worked off quickly would outgrow its rows many times in a
//! minute. A tree whose last sweep had to leave versions is not swept again before the horizon has moved: it would find the same.

use crate::node::Node;
use settings::Config;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::{CostPace, Database, SweepCause, SweepCosts, SweepReport, TreeId, TreeStatistics};
use wal::Xid;

/// Time between two looks for trees that cannot wait for the next naptime.
const URGENT_INTERVAL: Duration = Duration::from_secs(1);

/// Whether a tree is due for a sweep (autovacuum_vacuum_threshold and autovacuum_vacuum_scale_factor): with `urgent`, whether it has twice
/// as many dead versions as that takes, and enough for the work to be worth it.
fn is_due(config: &Config, statistics: &TreeStatistics, urgent: bool) -> bool {
    let share = config.autovacuum_vacuum_scale_factor * statistics.live as f64;
    let limit = config.autovacuum_vacuum_threshold as f64 + share;
    let dead = statistics.dead as f64;
    if urgent { dead > (2.0 * limit).max(URGENT_MIN) } else { dead > limit }
}

/// Dead versions that a tree has at least before its sweep is urgent.
const URGENT_MIN: f64 = 10_000.0;

fn costs(config: &Config) -> SweepCosts {
    let limit = match config.autovacuum_vacuum_cost_limit {
        limit if limit > 0 => limit,
        _ => config.vacuum_cost_limit,
    };
    SweepCosts {
        limit: u64::try_from(limit).unwrap_or(200),
        delay: config.autovacuum_vacuum_cost_delay.0.unwrap_or(config.vacuum_cost_delay),
        hit: config.vacuum_cost_page_hit,
        miss: config.vacuum_cost_page_miss,
        dirty: config.vacuum_cost_page_dirty,
    }
}

/// Runs until it is dropped.
pub(crate) async fn run(node: Arc<Node>, database: Database) {
    let mut reloads = node.reloads();
    // The horizon before the last sweep of each tree that had to leave versions.
    let mut waiting: HashMap<TreeId, Xid> = HashMap::new();
    let mut last = Instant::now();
    loop {
        let config = node.config();
        tokio::select! {
            biased;
            changed = reloads.changed() => {
                if changed.is_err() {
                    return;
                }
                continue;
            }
            () = tokio::time::sleep(config.autovacuum_naptime.min(URGENT_INTERVAL)) => {}
        }
        if database.is_in_recovery() {
            continue;
        }
        let urgent = last.elapsed() < config.autovacuum_naptime;
        if !urgent {
            last = Instant::now();
            match database.sweep().await {
                Ok(()) | Err(storage::Error::Shutdown) => {}
                Err(error) => node.log.warning(format!("sweep for aborted transactions failed: {error}")),
            }
        }
        if !config.autovacuum {
            continue;
        }
        for tree in database.trees() {
            let statistics = database.tree_statistics(tree);
            let due = statistics.is_some_and(|statistics| is_due(&config, &statistics, urgent));
            let horizon = database.horizon();
            if !due || waiting.get(&tree) == Some(&horizon) {
                continue;
            }
            waiting.remove(&tree);
            let begun = Instant::now();
            let pace = CostPace::new(costs(&config), || false);
            match database.vacuum(tree, SweepCause::Automatic, Box::new(pace)).await {
                Ok(report) => {
                    if report.dead > 0 {
                        waiting.insert(tree, horizon);
                    }
                    log(&node, &config, tree, &report, begun.elapsed());
                }
                // Dropped meanwhile.
                Err(storage::Error::NoSuchTree(_) | storage::Error::Shutdown) => {
                    waiting.remove(&tree);
                }
                Err(error) => node.log.warning(format!("sweep of relation {} failed: {error}", tree.file())),
            }
        }
    }
}

fn log(node: &Node, config: &Config, tree: TreeId, report: &SweepReport, took: Duration) {
    if config.log_autovacuum_min_duration.0.is_none_or(|least| took < least) {
        return;
    }
    node.log.log(format!(
        "automatic vacuum of relation \"{}\": pages: {} cut off the end, {} freed, {} remain; \
         tuples: {} removed, {} remain, {} are dead but not yet removable; elapsed: {:.2} s",
        tree.file(),
        report.cut,
        report.freed,
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
