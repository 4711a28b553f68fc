//! Work that nobody asks for: checkpoints, flushing what level-off commits leave, sweeping.

use crate::node::{Node, Phase};
use crate::server::Tasks;
use crate::{autovacuum, fencing, ledger, semi_sync, slots};
use host::{vital, vital_task};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use storage::pool::CleanNeed;
use storage::{CheckpointEvent, CheckpointInfo, CheckpointKind, Database, RemoteStages};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// After one to two of these, standbys need not hurry any more with a stage that no commit waited for meanwhile.
const STAGES_INTERVAL: Duration = Duration::from_secs(2);
/// What an age of the log that a standby lacks may be wrong by.
const LAG_CLOCK_INTERVAL: Duration = Duration::from_millis(25);
/// Time between two looks at how much memory the server has.
const MEMORY_INTERVAL: Duration = Duration::from_millis(100);
/// Files that a message names at most.
const FILES_TOLD: usize = 20;
/// Time between two looks at postmaster.pid.
const PID_FILE_INTERVAL: Duration = Duration::from_secs(60);

/// Starts the background tasks. What comes out of the channel is fatal; a panic in one of them ends the process, since nobody else
/// would do its work.
pub(crate) fn start(node: &Arc<Node>, tasks: &Arc<Tasks>, database: &Database) -> mpsc::Receiver<String> {
    let (failed, failures) = mpsc::channel(8);
    let due = Arc::new(Notify::new());
    let token = tasks.writing.clone();
    let spawn = |task: Task| {
        let token = token.clone();
        let task = vital_task("a background task", task);
        tasks.writers.spawn(async move {
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                () = task => {}
            }
        });
    };
    let (n, d) = (node.clone(), database.clone());
    spawn(Box::pin(write_log(n, d, due.clone(), failed.clone())));
    let (n, d) = (node.clone(), database.clone());
    spawn(Box::pin(checkpoint(n, d, due)));
    let (n, d) = (node.clone(), database.clone());
    spawn(Box::pin(write_pages(n, d)));
    let (n, d) = (node.clone(), database.clone());
    spawn(Box::pin(autovacuum::run(n, d)));
    spawn(Box::pin(watch_pid_file(node.clone(), failed)));
    spawn(Box::pin(watch_memory(node.clone())));
    spawn(Box::pin(remove_unnamed_files(node.clone())));
    let (n, d) = (node.clone(), database.clone());
    spawn(Box::pin(release_unconfirmed(n, d)));
    let (n, d) = (node.clone(), database.clone());
    spawn(Box::pin(tell_stages(n, d)));
    let (n, d) = (node.clone(), database.clone());
    spawn(Box::pin(keep_lag_clock(n, d)));
    let (n, d) = (node.clone(), database.clone());
    spawn(Box::pin(semi_sync::run(n, d)));
    let (n, d) = (node.clone(), database.clone());
    spawn(Box::pin(slots::mind(n, d)));
    spawn(Box::pin(fencing::watch(node.clone())));
    failures
}

/// Runs a background task's work on the pool of threads that may block. A panic in it ends the process, like one in the task itself.
pub(crate) fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    tokio::task::spawn_blocking(move || {
        let _vital = vital("a background task");
        work()
    })
}

/// Takes the first checkpoint on a timeline beside its first writes, if it has none yet: clones and standbys' restarts begin there, and a
/// crash may have come before it.
pub(crate) fn begin_timeline(node: &Arc<Node>, tasks: &Tasks, database: &Database) {
    if database.control().checkpoint_copy.timeline == database.timeline() {
        return;
    }
    let (node, database) = (node.clone(), database.clone());
    tasks.writers.spawn(vital_task("a background task", async move {
        if let Err(error) = database.checkpoint(CheckpointKind::Immediate).await {
            node.log
                .warning(format!("the first checkpoint on timeline {} failed: {error}", database.timeline()));
        }
    }));
}

type Task = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Keeps the memory limit as it is set, and up to date for those who take much in small pieces.
async fn watch_memory(node: Arc<Node>) {
    let machine = host::machine_bytes();
    let mut looks = tokio::time::interval(MEMORY_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        node.memory.set(match node.config().memory_limit_bytes {
            0 => machine / 4 * 3,
            bytes => bytes,
        });
        let before = node.memory.is_reached();
        node.memory.look();
        if node.memory.is_reached() && !before {
            node.log.warning("the server has taken all memory that plimsoll.memory_limit allows");
        }
    }
}

/// The wal writer's ticks, which also see that the log has grown enough for a checkpoint.
async fn write_log(node: Arc<Node>, database: Database, due: Arc<Notify>, failed: mpsc::Sender<String>) {
    let mut reloads = node.reloads();
    loop {
        let config = node.config();
        let mut ticks = tokio::time::interval(config.wal_writer_delay.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                changed = reloads.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    break;
                }
                _ = ticks.tick() => {}
            }
            let writing = database.clone();
            let ticked = blocking(move || writing.wal_writer_tick()).await;
            match ticked {
                Ok(Ok(_)) => {}
                Ok(Err(storage::Error::Shutdown)) | Err(_) => return,
                Ok(Err(error)) => {
                    // A receiver that has gone is already stopping.
                    let _ = failed.send(format!("could not write the log: {error}")).await;
                    return;
                }
            }
            if database.checkpoint_is_due() {
                due.notify_one();
            }
        }
    }
}

/// Notes how far the log is at which time while standbys are connected, so that what has not even been sent to one has an age.
async fn keep_lag_clock(node: Arc<Node>, database: Database) {
    // The log's place is not known before the node is put together.
    let mut phases = node.phases();
    while node.replicas().is_none() {
        if phases.changed().await.is_err() {
            return;
        }
    }
    let Some(replicas) = node.replicas() else { return };
    let mut count = replicas.senders.count();
    let mut ticks = tokio::time::interval(LAG_CLOCK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while count.wait_for(|count| *count > 0).await.is_ok() {
        ticks.tick().await;
        let end = database.positions().map_or_else(|| node.received(), |positions| positions.flushed());
        replicas.senders.note_flushed(end, node.host.clock.now());
    }
}

/// Keeps standbys told which stages commits wait for, so that they report nothing else in a hurry.
async fn tell_stages(node: Arc<Node>, database: Database) {
    let gate = database.commit_gate();
    let mut stages = gate.stages();
    let mut looks = tokio::time::interval(STAGES_INTERVAL);
    loop {
        let RemoteStages { stages: awaited, confirmed } = *stages.borrow_and_update();
        if let Some(recovery) = node.recovery() {
            recovery.want_confirmed(confirmed);
        }
        if let Some(replicas) = node.replicas() {
            replicas.senders.set_awaited(awaited);
        }
        tokio::select! {
            changed = stages.changed() => if changed.is_err() { return },
            _ = looks.tick() => gate.forget_stages(),
        }
    }
}

/// Removes the files that a crash left, once this server takes writes.
async fn remove_unnamed_files(node: Arc<Node>) {
    let running = node.phases().wait_for(|phase| *phase == Phase::Running).await.is_ok();
    let Some(engine) = node.engine().filter(|_| running) else { return };
    match engine.remove_unnamed_files().await {
        Ok(trees) if trees.is_empty() => {}
        Ok(trees) => {
            let files: Vec<String> =
                trees.iter().take(FILES_TOLD).map(|tree| tree.file().to_string()).collect();
            let more = if trees.len() > files.len() { ", ..." } else { "" };
            node.log.log(format!(
                "removing {} relation files that an earlier crash left and no table names: {}{more}",
                trees.len(),
                files.join(", ")
            ));
        }
        Err(error) => {
            node.log
                .warning(format!("could not remove relation files that no table names: {}", error.message()));
        }
    }
}

/// Watches commits of before this start or promotion whose confirmation is not proven: the quorum confirms them, or time runs out.
async fn release_unconfirmed(node: Arc<Node>, database: Database) {
    // A standby has nothing to decide until it is promoted.
    let running = node.phases().wait_for(|phase| *phase == Phase::Running).await.is_ok();
    let gate = database.commit_gate().clone();
    let Some((after, upto)) = gate.undecided().filter(|_| running) else { return };
    node.log.log(format!(
        "commits after {after} up to {upto} are undecided until the synchronous standbys hold them"
    ));
    let begun = Instant::now();
    let mut reloads = node.reloads();
    loop {
        let limit = node.config().unconfirmed_timeout.0;
        let rest = limit.map_or(Duration::MAX, |limit| limit.saturating_sub(begun.elapsed()));
        tokio::select! {
            biased;
            changed = reloads.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(rest.min(Duration::from_millis(100))) => {}
        }
        if node.fenced().is_some() {
            // They stay undecided: they are the new primary's to decide.
            return;
        }
        if gate.undecided().is_none() {
            node.log.log(format!("the synchronous standbys hold all commits up to {upto}"));
            return;
        }
        let reason = if !gate.remote().required {
            "released since no synchronous standbys are named any more"
        } else if limit.is_some_and(|limit| begun.elapsed() >= limit) {
            "released by plimsoll.unconfirmed_timeout without the synchronous standbys' confirmation"
        } else {
            continue;
        };
        // The record first: nothing becomes visible that it does not name.
        gate.release_unconfirmed(|after, upto| {
            ledger::record(&node, "released", (after, upto), reason);
            node.log.warning(format!("commits after {after} up to {upto} are {reason}"));
        });
        return;
    }
}

/// Checkpoints by time and by the log's growth.
async fn checkpoint(node: Arc<Node>, database: Database, due: Arc<Notify>) {
    let mut phases = node.phases();
    let mut last = Instant::now();
    let mut last_redo = database.control().checkpoint_copy.redo;
    loop {
        let config = node.config();
        let wait = config.checkpoint_timeout.saturating_sub(last.elapsed());
        let by_time = tokio::select! {
            biased;
            () = due.notified() => false,
            _ = phases.changed() => continue,
            () = tokio::time::sleep(wait) => true,
        };
        if matches!(node.phase(), Phase::Stopping(_)) {
            std::future::pending::<()>().await;
        }
        let end = database.positions().map_or_else(|| database.replayed(), |positions| positions.inserted());
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
            node.log.log(format!("{what} starting: {}", if by_time { "time" } else { "wal" }));
        }
        let spread = config.checkpoint_timeout.mul_f64(config.checkpoint_completion_target.clamp(0.0, 1.0));
        match database.checkpoint(CheckpointKind::Paced(spread)).await {
            Ok(info) => {
                last_redo = info.redo;
                if !by_time && !info.skipped {
                    node.checkpoints_by_log.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(storage::Error::Shutdown) => {}
            Err(error) => node.log.warning(format!("checkpoint failed: {error}")),
        }
    }
}

/// The lines of a checkpoint, whoever asked for it; those of the background task say themselves why they begin.
pub(crate) fn log_checkpoint_event(node: &Node, event: CheckpointEvent<'_>) {
    if !node.config().log_checkpoints {
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
            node.log.log(format!("{what} starting: {why}"));
        }
        CheckpointEvent::Complete { info, restartpoint } => log_checkpoint(node, info, restartpoint),
    }
}

/// The line of a checkpoint that is done.
fn log_checkpoint(node: &Node, info: &CheckpointInfo, standby: bool) {
    let what = if standby { "restartpoint" } else { "checkpoint" };
    let (added, removed, recycled) = info.segments;
    let (write, sync) = (info.write_time.as_secs_f64(), info.sync_time.as_secs_f64());
    node.log.log(format!(
        "{what} complete: wrote {} buffers; {added} WAL file(s) added, {removed} removed, {recycled} recycled; \
         write={write:.3} s, sync={sync:.3} s, total={:.3} s; distance={} kB; lsn={}, redo lsn={}",
        info.pages_written,
        write + sync,
        info.distance_bytes / 1024,
        info.checkpoint,
        info.redo
    ));
}

/// The background writer: writes changed pages whose frames will soon be taken, so that no session has to.
async fn write_pages(node: Arc<Node>, database: Database) {
    let mut reloads = node.reloads();
    let mut need = CleanNeed::default();
    loop {
        let config = node.config();
        let read_ahead = usize::try_from(config.effective_io_concurrency).unwrap_or(usize::MAX);
        database.store().set_read_ahead(read_ahead);
        tokio::select! {
            biased;
            changed = reloads.changed() => {
                if changed.is_err() {
                    return;
                }
                continue;
            }
            () = tokio::time::sleep(config.bgwriter_delay.max(Duration::from_millis(10))) => {}
        }
        let pages_max = usize::try_from(config.bgwriter_lru_maxpages).unwrap_or(usize::MAX);
        let wanted = need.next(database.store().counters().taken, config.bgwriter_lru_multiplier);
        if wanted == 0 || pages_max == 0 {
            continue;
        }
        let store = database.store().clone();
        match blocking(move || store.pool().write_ahead(wanted, pages_max)).await {
            Ok(Ok(_)) => {}
            Err(_) => return,
            // Whoever needs a frame meets the same error, and has somebody to tell.
            Ok(Err(error)) => {
                node.log.warning(format!("background writer could not write a page: {error}"));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// A server whose directory was taken away must not go on writing.
async fn watch_pid_file(node: Arc<Node>, failed: mpsc::Sender<String>) {
    let mut ticks = tokio::time::interval(PID_FILE_INTERVAL);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if node.pid_file.lock().as_ref().is_some_and(|file| !file.is_ours()) {
            let what = "performing immediate shutdown because data directory lock file is invalid";
            // A receiver that has gone is already stopping.
            let _ = failed.send(what.to_owned()).await;
            return;
        }
    }
}
