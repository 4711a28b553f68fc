//! A node at work, from its opened database to its stop.

use super::handover::{hand_over, order_of};
use super::open::assemble;
use super::promote::promote;
use super::rewind::{leave_to_rewind, rewind_asked};
use super::start::Ending;
use super::states::Life;
use super::stop::{abort, stop_at_once, stop_node, stop_of};
use super::{Node, Services};
use crate::error::ServerError;
use crate::maintenance::checkpoints::begin_timeline;
use crate::maintenance::{self, Maintained};
use crate::replication;
use crate::state::{NodeState, StopMode};
use protocol::{Report, Severity, SqlState};
use std::sync::Arc;
use std::time::Duration;
use storage::{Database, Opened, RedoEnd};
use tokio::sync::mpsc;

/// Time between two looks at postmaster.pid.
const PID_FILE_INTERVAL: Duration = Duration::from_secs(60);

/// Runs the node from its opened database to its stop.
pub(super) async fn run<S: Services>(node: Arc<Node>, opened: Opened) -> Result<Ending, ServerError> {
    // Peers that are silent take their time.
    let Some(assembled) = or_stopped(&node, assemble(&node, opened)).await else {
        return stop_at_once(&node).await.map(|()| Ending::Stopped);
    };
    let (database, mut standby) = match assembled {
        Ok(assembled) => assembled,
        Err(error) => {
            node.ground.log.write(None, &error.report(), None);
            abort(&node).await;
            return Err(error);
        }
    };
    let states = node.life.states();
    node.archive.start(&states, &node.tasks);
    S::opened(&node).await;
    let mut failures = start_background(&node);
    let (mut stops, mut handovers) = (node.life.stops(), node.life.handovers());
    let mut rewinds = node.life.rewinds();
    // A stop that is asked for already does without: its own checkpoint, or none, is the last thing.
    if standby.is_none() && stops.borrow().is_none() {
        begin_writes(&node, &database).await;
    }
    loop {
        tokio::select! {
            biased;
            mode = stop_of(&mut stops, StopMode::Smart) => {
                return stop_node(&node, &database, standby, mode).await;
            }
            order = order_of(&mut handovers) => return hand_over(&node, &database, &order).await,
            () = rewind_asked(&mut rewinds) => return leave_to_rewind(&node, &database, standby).await,
            failure = failures.recv() => return Err(fail(&node, failure).await),
            ended = async {
                match standby.as_mut() {
                    Some(standby) => standby.ended().await,
                    None => std::future::pending().await,
                }
            } => {
                // Redo has ended: for a promotion, for a shutdown at its target, or badly.
                if let Some(running) = standby.take() {
                    if matches!(ended, Ok(RedoEnd::ShutDown { .. })) {
                        node.ground.log.log("shutdown at recovery target");
                        running.leave().await;
                        node.life.request_stop(StopMode::Fast);
                        continue;
                    }
                    let promotion = promote(&node, running, ended, &database);
                    let Some(finished) = or_stopped(&node, promotion).await else { continue };
                    match finished {
                        Ok(()) => take_writes(&node, &database),
                        Err(error) if node.archive.stop.is_cancelled() => {
                            node.ground.log.log(format!("the promotion was broken off: {}", error.message));
                        }
                        Err(error) => {
                            let report = Report::fatal(SqlState::INTERNAL_ERROR, error.message.clone());
                            node.ground.log.write(None, &report, None);
                            abort(&node).await;
                            return Err(error);
                        }
                    }
                }
            }
        }
    }
}

/// A primary's start ends; not if it is stopped before its log says by whom its commits are confirmed.
async fn begin_writes(node: &Arc<Node>, database: &Database) {
    let said = async {
        if let Some(replication) = node.replication() {
            replication::semi_sync::before_writes(replication).await;
        }
    };
    if or_stopped(node, said).await.is_some() {
        take_writes(node, database);
    }
}

fn take_writes(node: &Node, database: &Database) {
    node.life.go(NodeState::Running);
    begin_timeline(&node.ground, &node.tasks, database);
}

/// A part of the node has failed, which ends all of it.
async fn fail(node: &Node, failure: Option<String>) -> ServerError {
    let what = failure.unwrap_or_else(|| "a background task ended".to_owned());
    let report = Report::new(Severity::Panic, SqlState::IO_ERROR, what.clone());
    node.ground.log.write(None, &report, None);
    abort(node).await;
    ServerError::new(what)
}

/// Waits for the end of recovery, whose commands a stop meanwhile ends. None: the server stops immediately,
/// as by a crash, which the next start makes good.
async fn or_stopped<T>(node: &Node, finish: impl Future<Output = T>) -> Option<T> {
    let mut finish = std::pin::pin!(finish);
    let mut stops = node.life.stops();
    tokio::select! {
        biased;
        done = &mut finish => return Some(done),
        _ = stop_of(&mut stops, StopMode::Smart) => node.archive.stop.cancel(),
    }
    tokio::select! {
        biased;
        done = &mut finish => Some(done),
        _ = stop_of(&mut stops, StopMode::Immediate) => None,
    }
}

/// Starts the background tasks. What comes out of the channel is fatal.
fn start_background(node: &Arc<Node>) -> mpsc::Receiver<String> {
    let (failed, failures) = mpsc::channel(8);
    let states = &node.life.states();
    if let (Some(engine), Some(replication)) = (node.engine(), node.replication()) {
        let of = Maintained {
            ground: &node.ground,
            states,
            engine,
            memory: &node.memory,
            checkpoints_by_log: &node.checkpoints_by_log,
        };
        maintenance::start(&of, &node.tasks, failed.clone());
        replication::background::start(replication, states, &node.tasks);
    }
    node.tasks.spawn_writer(watch_pid_file(node.life.clone(), failed));
    failures
}

/// A server whose directory was taken away must not go on writing.
async fn watch_pid_file(life: Arc<Life>, failed: mpsc::Sender<String>) {
    let mut ticks = tokio::time::interval(PID_FILE_INTERVAL);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if life.has_lost_directory() {
            let what = "performing immediate shutdown because data directory lock file is invalid";
            // A receiver that has gone is already stopping.
            let _ = failed.send(what.to_owned()).await;
            return;
        }
    }
}
