//! Sweeps that nobody asks for: trees with many dead versions, and what aborted transactions left.
//!
//! Every autovacuum_naptime each tree's estimate of dead versions is held against threshold and share. A tree whose last sweep had to leave
//! versions is not swept again before the horizon has moved: it would find the same.

use crate::node::Node;
use settings::Config;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::{CostPace, Database, SweepCause, SweepCosts, SweepReport, TreeId, TreeStatistics};
use wal::Xid;

/// Whether a tree is due for a sweep (autovacuum_vacuum_threshold and autovacuum_vacuum_scale_factor).
fn is_due(config: &Config, statistics: &TreeStatistics) -> bool {
    let share = config.autovacuum_vacuum_scale_factor * statistics.live as f64;
    statistics.dead as f64 > config.autovacuum_vacuum_threshold as f64 + share
}

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
            () = tokio::time::sleep(config.autovacuum_naptime.max(Duration::from_millis(100))) => {}
        }
        if database.is_in_recovery() {
            continue;
        }
        match database.sweep().await {
            Ok(()) | Err(storage::Error::Shutdown) => {}
            Err(error) => node.log.warning(format!("sweep for aborted transactions failed: {error}")),
        }
        if !config.autovacuum {
            continue;
        }
        for tree in database.trees() {
            let due = database.tree_statistics(tree).is_some_and(|statistics| is_due(&config, &statistics));
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
        assert!(!is_due(&config, &with(0, 50)));
        assert!(is_due(&config, &with(0, 51)));
        assert!(!is_due(&config, &with(1000, 250)));
        assert!(is_due(&config, &with(1000, 251)));
    }
}
