//! Checkpoints: when one is due, and its lines in the log.

use crate::configuration::Ground;
use crate::state::NodeState;
use crate::tasks::Tasks;
use host::Instant;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::{CheckpointEvent, CheckpointInfo, CheckpointKind, Database};
use tokio::sync::{Notify, watch};

/// Takes the first checkpoint on a timeline beside its first writes, if it has none yet: clones and standbys'
/// restarts begin there, and a crash may have come before it.
pub(crate) fn begin_timeline(ground: &Arc<Ground>, tasks: &Tasks, database: &Database) {
    if database.control().checkpoint_copy.timeline == database.timeline() {
        return;
    }
    let (ground, database) = (ground.clone(), database.clone());
    tasks.spawn_writer_to_its_end(async move {
        match database.checkpoint(CheckpointKind::Immediate).await {
            Ok(_) | Err(storage::Error::Shutdown) => {}
            Err(error) => {
                let timeline = database.timeline();
                ground.log.warning(format!("the first checkpoint on timeline {timeline} failed: {error}"));
            }
        }
    });
}

/// Checkpoints by time and by the log's growth.
pub(super) async fn run(
    ground: Arc<Ground>,
    mut states: watch::Receiver<NodeState>,
    database: Database,
    due: Arc<Notify>,
    by_log: Arc<AtomicU64>,
) {
    let mut reloads = ground.reloads();
    let mut last = Instant::now();
    let mut last_redo = database.control().checkpoint_copy.redo;
    loop {
        let config = ground.config();
        let wait = config.checkpoint_timeout.saturating_sub(last.elapsed());
        let by_time = tokio::select! {
            biased;
            () = due.notified() => false,
            _ = states.changed() => continue,
            changed = reloads.changed() => if changed.is_err() { return } else { continue },
            () = tokio::time::sleep(wait) => true,
        };
        if matches!(*states.borrow(), NodeState::Stopping(_)) {
            std::future::pending::<()>().await;
        }
        let end = database.applied();
        // An idle server writes none. A checkpoint record itself is some hundred bytes.
        if by_time && end.bytes_since(last_redo) < 512 {
            last = Instant::now();
            continue;
        }
        // A round may have been made by somebody else since this was found due.
        if !by_time && !database.checkpoint_is_due() {
            continue;
        }
        last = Instant::now();
        if config.log_checkpoints {
            let what = if database.is_in_recovery() { "restartpoint" } else { "checkpoint" };
            ground.log.log(format!("{what} starting: {}", if by_time { "time" } else { "wal" }));
        }
        let spread = config.checkpoint_timeout.mul_f64(config.checkpoint_completion_target.clamp(0.0, 1.0));
        match database.checkpoint(CheckpointKind::Paced(spread)).await {
            Ok(info) => {
                last_redo = info.redo;
                if !by_time && !info.skipped {
                    by_log.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(storage::Error::Shutdown) => {}
            Err(error) => ground.log.warning(format!("checkpoint failed: {error}")),
        }
    }
}

/// The lines of a checkpoint, whoever asked for it; those of the background task say themselves why they
/// begin.
pub(crate) fn log_event(ground: &Ground, event: CheckpointEvent<'_>) {
    if !ground.config().log_checkpoints {
        return;
    }
    match event {
        CheckpointEvent::Starting { kind, restartpoint } => {
            let what = if restartpoint { "restartpoint" } else { "checkpoint" };
            let why = match kind {
                CheckpointKind::Immediate => "immediate force wait",
                CheckpointKind::Shutdown => "shutdown immediate",
                CheckpointKind::EndOfRecovery => "force",
                CheckpointKind::Paced(_) => return,
            };
            ground.log.log(format!("{what} starting: {why}"));
        }
        CheckpointEvent::Complete { info, restartpoint } => log_checkpoint(ground, info, restartpoint),
    }
}

/// The line of a checkpoint that is done.
fn log_checkpoint(ground: &Ground, info: &CheckpointInfo, standby: bool) {
    let what = if standby { "restartpoint" } else { "checkpoint" };
    let (added, removed, recycled) = info.segments;
    let (write, sync) = (info.write_time.as_secs_f64(), info.sync_time.as_secs_f64());
    ground.log.log(format!(
        "{what} complete: wrote {} buffers; {added} WAL file(s) added, {removed} removed, \
         {recycled} recycled; \
         write={write:.3} s, sync={sync:.3} s, total={:.3} s; distance={} kB; lsn={}, redo lsn={}",
        info.pages_written,
        write + sync,
        info.distance_bytes / 1024,
        info.checkpoint,
        info.redo
    ));
}
