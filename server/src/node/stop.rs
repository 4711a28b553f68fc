//! The stop of a node: smart, fast or immediate, each of which a stronger one may overtake.

use super::Node;
use super::handover::{self, OTHERS_LIMIT};
use super::signals::Signals;
use super::start::{Carried, Ending};
use crate::archive::shell::{Running, ShellCommands};
use crate::connection::registry::SessionKind;
use crate::error::ServerError;
use crate::replication::handover::Order;
use crate::replication::standby::Standby;
use crate::state::{NodeState, StopMode};
use host::sync::Mutex;
use replica::sender::handover::Event;
use std::sync::Arc;
use std::time::Duration;
use storage::Database;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wal::Stopping;

/// How long an end of the process waits for what computes and does not hear of it, as PostgreSQL's
/// SIGKILL_CHILDREN_AFTER_SECS.
pub(crate) const LEFTOVERS_LIMIT: Duration = Duration::from_secs(5);

/// Ends everything at once.
pub(super) async fn abort(node: &Node) {
    let tasks = &node.tasks;
    node.life.go(NodeState::Stopping(StopMode::Immediate));
    node.sessions.close();
    node.archive.stop.cancel();
    if let Some(recovery) = node.replication().and_then(|replication| replication.recovery()) {
        // The runtime waits for redo's thread.
        recovery.feed.stop();
    }
    if let Some(engine) = node.engine() {
        // A checkpoint on its way would hold the process.
        engine.database().give_up();
    }
    tasks.abort_sessions.cancel();
    tasks.background.cancel();
    if let Some(replication) = node.replication() {
        replication.close_ledger();
    }
    // Redo's thread would hold the process.
    if let Some(recovery) = node.replication().and_then(|replication| replication.recovery()) {
        recovery.halt();
    }
    tasks.sessions.close();
    tasks.tracker.close();
    node.archive.commands.finish().await;
    let ended = async {
        tasks.sessions.wait().await;
        tasks.stop_writers().await;
        tasks.tracker.wait().await;
    };
    if tokio::time::timeout(LEFTOVERS_LIMIT, ended).await.is_err() {
        node.ground.log.log("the process ends in the middle of what does not hear of the stop");
    }
}

/// How long the archive may take for one file while others wait for a node that starts again.
const ARCHIVE_LIMIT: Duration = Duration::from_secs(5);

/// Waits for a stop of at least this mode.
pub(super) async fn stop_of(stops: &mut watch::Receiver<Option<StopMode>>, at_least: StopMode) -> StopMode {
    // The sender lives as long as the node; without one there is nothing to stop for.
    match stops.wait_for(|mode| *mode >= Some(at_least)).await {
        Ok(mode) => mode.unwrap_or(at_least),
        Err(_) => StopMode::Immediate,
    }
}

pub(super) async fn stop_node(
    node: &Arc<Node>,
    database: &Database,
    standby: Option<Standby>,
    mode: StopMode,
) -> Result<Ending, ServerError> {
    let mut mode = mode;
    node.life.go(NodeState::Stopping(mode));
    node.sessions.close();
    let mut stops = node.life.stops();
    if mode == StopMode::Smart {
        node.ground.log.log("received smart shutdown request");
        tokio::select! {
            biased;
            stronger = stop_of(&mut stops, StopMode::Fast) => mode = stronger,
            () = node.sessions.wait_gone(SessionKind::Client) => {}
        }
    }
    if mode == StopMode::Fast {
        node.life.go(NodeState::Stopping(mode));
        node.ground.log.log("received fast shutdown request");
        node.archive.stop.cancel();
        node.ground.log.log("aborting any active transactions");
        node.sessions.terminate_all(SessionKind::Client);
        tokio::select! {
            biased;
            stronger = stop_of(&mut stops, StopMode::Immediate) => mode = stronger,
            () = node.sessions.wait_gone(SessionKind::Client) => {}
        }
    }
    if mode == StopMode::Immediate {
        return stop_at_once(node).await.map(|()| Ending::Stopped);
    }
    tokio::select! {
        biased;
        done = stop_cleanly(node, database, standby, After::Nothing) => done,
        _ = stop_of(&mut stops, StopMode::Immediate) => stop_at_once(node).await.map(|()| Ending::Stopped),
    }
}

/// An immediate stop.
pub(super) async fn stop_at_once(node: &Node) -> Result<(), ServerError> {
    node.ground.log.log("received immediate shutdown request");
    node.sessions.list().iter().for_each(|session| session.terminate());
    abort(node).await;
    Ok(())
}

/// What comes after a stop; a new life in place only if whoever runs the node starts it again, and no other
/// stop was asked for.
#[derive(Clone, Copy)]
pub(super) enum After<'o> {
    /// Nothing.
    Nothing,
    /// The role is handed over at the log's end, and the node starts again.
    Handover(&'o Order),
    /// The node starts again, and rewinds itself.
    Rewind,
}

/// Stops in good order.
pub(super) async fn stop_cleanly(
    node: &Arc<Node>,
    database: &Database,
    standby: Option<Standby>,
    after: After<'_>,
) -> Result<Ending, ServerError> {
    let tasks = &node.tasks;
    node.ground.log.log("shutting down");
    node.archive.stop.cancel();
    if let Some(replication) = node.replication() {
        replication.log.set_stopping(Stopping::Soon);
    }
    // A standby gets the log's end; a backup that is not done by now can be taken again.
    node.sessions.terminate_backups();
    match standby {
        Some(standby) => standby.stop().await,
        None => store_sequence_positions(node).await,
    }
    tasks.stop_writers().await;
    node.archive.end_segment().await;
    let before = node.replication().map(|replication| replication.log.flushed());
    let done = match after {
        After::Handover(_) => database.shutdown_leaving_log().await,
        After::Nothing | After::Rewind => database.shutdown().await,
    };
    // The standbys get the shutdown checkpoint before they are let go.
    let mut writes_on = false;
    if let Some(replication) = node.replication() {
        let mut end = replication.log.flushed();
        let hands_over = matches!(after, After::Handover(_));
        if hands_over && host::planted!("a role is offered at a position before the shutdown checkpoint") {
            end = before.unwrap_or(end);
        }
        replication.log.set_stopping(Stopping::LogEnds(end));
        writes_on = match after {
            After::Handover(order) if done.is_ok() => handover::decide(node, replication, order, end).await,
            After::Handover(order) => {
                order.handover.on(&Event::Withdraw);
                false
            }
            After::Nothing | After::Rewind => false,
        };
        replication.close_ledger();
    }
    let is_last = matches!(after, After::Nothing);
    let_senders_go(node, !is_last).await;
    let again = !is_last && node.life.starts_again;
    let archiving = finish_archive(node, again, writes_on).await;
    // Before those who listen now end: no signal is lost.
    let signals = if again && node.life.hears_signals { Signals::new().ok() } else { None };
    tasks.background.cancel();
    tasks.sessions.close();
    node.lobby.close();
    tasks.tracker.close();
    tasks.sessions.wait().await;
    tasks.tracker.wait().await;
    let again = again && !is_stop_asked(node);
    let archiving = if again { archiving } else { end_command(node, archiving).await };
    let archiving = Arc::new(Mutex::new(archiving));
    let carried = again.then(|| Carried { signals, archiving, ..carried(node, database, after) });
    ending(node, database, done.err(), after, carried)
}

/// Without this the next life goes on behind what was reserved of each sequence, as after a crash.
async fn store_sequence_positions(node: &Node) {
    if let Some(engine) = node.engine()
        && let Err(error) = engine.store_sequence_positions().await
    {
        node.ground.log.log(format!("could not store where sequences stand: {error}"));
    }
}

/// What a stop comes to: another life with what is `carried`, if that is wanted. A rewind needs no clean
/// stop: without the last restartpoint, on a full disk say, the next life redoes what was not written, as
/// after a crash.
fn ending(
    node: &Node,
    database: &Database,
    failed: Option<storage::Error>,
    after: After<'_>,
    carried: Option<Carried>,
) -> Result<Ending, ServerError> {
    let log = &node.ground.log;
    if let Some(error) = failed {
        if !matches!(after, After::Rewind) || carried.is_none() {
            log.fatal(format!("could not write the shutdown checkpoint: {error}"));
            return Err(ServerError::new(error.to_string()));
        }
        database.give_up();
        log.warning(format!("could not write the last restartpoint, and goes on without: {error}"));
    }
    log.log("database system is shut down");
    Ok(carried.map_or(Ending::Stopped, |carried| Ending::Again(Box::new(carried))))
}

fn carried(node: &Node, database: &Database, after: After<'_>) -> Carried {
    let tries = node.life.tries.lock().handed_on(matches!(after, After::Rewind));
    let member = node.replication().map(|replication| replication.roster.own_id());
    Carried { tries, member, database: Some(database.lives()), ..Carried::default() }
}

fn is_stop_asked(node: &Node) -> bool {
    node.life.stops().borrow().is_some()
}

/// Archives what waits before the node ends. One that starts `again` has time for that later: if it writes
/// on, at once; as a standby, for which others may wait, it goes without an archive that takes nothing.
/// Either leaves a command in the middle of a file to the next life: what has begun may not be begun once
/// more.
async fn finish_archive(node: &Node, again: bool, writes_on: bool) -> Option<Running> {
    let Some(archiver) = node.archive.archiver() else {
        node.archive.commands.finish().await;
        return None;
    };
    archiver.notice_now();
    if again && !writes_on {
        let mut stops = node.life.stops();
        tokio::select! {
            biased;
            _ = stop_of(&mut stops, StopMode::Smart) => {}
            done = archiver.finish_while_it_goes_on(ARCHIVE_LIMIT) => if !done {
                node.ground.log.warning(format!(
                    "archive_command has archived nothing for {} s: this server goes on without it",
                    ARCHIVE_LIMIT.as_secs()
                ));
            }
        }
    }
    if again && !is_stop_asked(node) {
        return node.archive.commands.leave().await;
    }
    archiver.finish().await;
    node.archive.commands.finish().await;
    None
}

/// A stop came after a command was left to the next life: waits for it, as each clean stop does.
async fn end_command(node: &Node, archiving: Option<Running>) -> Option<Running> {
    if let (Some(archiver), Some(running)) = (node.archive.archiver(), archiving) {
        let (commands, now, mut stops) =
            (ShellCommands::default(), CancellationToken::new(), node.life.stops());
        let ended = archiver.end_left(&commands, running, &now);
        tokio::select! {
            biased;
            _ = ended => {}
            _ = stop_of(&mut stops, StopMode::Immediate) => commands.finish().await,
        }
    }
    None
}

/// Waits until the standbys have the log to its end. One that is slow does not keep a node that starts again.
async fn let_senders_go(node: &Node, starts_again: bool) {
    node.sessions.terminate_idle_senders();
    let gone = node.sessions.wait_gone(SessionKind::WalSender);
    if !starts_again {
        return gone.await;
    }
    if tokio::time::timeout(OTHERS_LIMIT, gone).await.is_err() {
        node.sessions.terminate_all(SessionKind::WalSender);
        node.sessions.wait_gone(SessionKind::WalSender).await;
    }
}
