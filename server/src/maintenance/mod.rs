//! Work that nobody asks for: checkpoints, flushing what level-off commits leave, sweeping, a look at memory.

mod autovacuum;
pub(crate) mod checkpoints;
mod writers;

use crate::configuration::Ground;
use crate::state::NodeState;
use crate::tasks::Tasks;
use host::MemoryLimit;
use sql_session::SqlEngine;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::MissedTickBehavior;

/// Time between two looks at how much memory the server has.
const MEMORY_INTERVAL: Duration = Duration::from_millis(100);
/// Files that a message names at most.
const FILES_TOLD: usize = 20;

/// What the tasks use.
pub(crate) struct Maintained<'a> {
    pub(crate) ground: &'a Arc<Ground>,
    pub(crate) states: &'a watch::Receiver<NodeState>,
    pub(crate) engine: &'a SqlEngine,
    /// What sessions may take.
    pub(crate) memory: &'a Arc<MemoryLimit>,
    /// Counts the checkpoints that the log's growth set off.
    pub(crate) checkpoints_by_log: &'a Arc<AtomicU64>,
}

/// Starts the tasks. What goes into `failed` is fatal; a panic in one of them ends the process, since nobody
/// else would do its work.
pub(crate) fn start(of: &Maintained<'_>, tasks: &Tasks, failed: mpsc::Sender<String>) {
    let due = Arc::new(Notify::new());
    let (ground, states, database) =
        (|| of.ground.clone(), || of.states.clone(), || of.engine.database().clone());
    tasks.spawn_writer(writers::write_log(ground(), database(), due.clone(), failed));
    let by_log = of.checkpoints_by_log.clone();
    tasks.spawn_writer(checkpoints::run(ground(), states(), database(), due, by_log));
    tasks.spawn_writer(writers::write_pages(ground(), database()));
    tasks.spawn_writer(autovacuum::run(ground(), database()));
    tasks.spawn_writer(watch_memory(ground(), of.memory.clone()));
    tasks.spawn_writer(remove_unnamed_files(ground(), of.engine.clone(), states()));
}

/// Keeps the memory limit as it is set, and up to date for those who take much in small pieces.
async fn watch_memory(ground: Arc<Ground>, memory: Arc<MemoryLimit>) {
    let machine = host::machine_bytes();
    let mut looks = tokio::time::interval(MEMORY_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        memory.set(match ground.config().memory_limit_bytes {
            0 => machine / 4 * 3,
            bytes => bytes,
        });
        let before = memory.is_reached();
        memory.look();
        if memory.is_reached() && !before {
            ground.log.warning("the server has taken all memory that plimsoll.memory_limit allows");
        }
    }
}

/// Removes the files that a crash left, once this server takes writes.
async fn remove_unnamed_files(
    ground: Arc<Ground>,
    engine: SqlEngine,
    mut states: watch::Receiver<NodeState>,
) {
    if states.wait_for(|state| *state == NodeState::Running).await.is_err() {
        return;
    }
    match engine.remove_unnamed_files().await {
        Ok(trees) if trees.is_empty() => {}
        Ok(trees) => {
            let files: Vec<String> =
                trees.iter().take(FILES_TOLD).map(|tree| tree.file().to_string()).collect();
            let more = if trees.len() > files.len() { ", ..." } else { "" };
            ground.log.log(format!(
                "removing {} relation files that an earlier crash left and no table names: {}{more}",
                trees.len(),
                files.join(", ")
            ));
        }
        Err(error) => {
            ground
                .log
                .warning(format!("could not remove relation files that no table names: {}", error.message()));
        }
    }
}
