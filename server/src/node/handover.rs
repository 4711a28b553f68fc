//! A planned change of roles on the primary that gives its role up: a fast stop that ends with a start in
//! place, as a standby of the successor, or as the primary that this node was.
//!
//! The SQL function (`views::switchover`) has made sure that the standby keeps up, and has taken a
//! checkpoint, so that the one here is small. Then:
//!
//! 1. Sessions end, writers stop, the shutdown checkpoint is written, and the successor's sender says that
//!    the successor has flushed and redone all of the log.
//! 2. The marker ([`Marker`]) is durable: whatever happens from here on, this node does not write by itself.
//! 3. The successor gets message `H`, and answers that it promotes itself.
//! 4. The answer came while it was waited for: the successor is told that it may, and begins.
//! 5. The number of its timeline, primary_conninfo and standby.signal are durable here.
//! 6. The marker goes.
//!
//! | a crash after | leaves of this node, once it is started             | and of the successor             |
//! |---------------|-----------------------------------------------------|----------------------------------|
//! | 1             | the primary that it was                             | its standby                      |
//! | 2, 3          | a standby of the successor, which waits for a       | a standby                        |
//! |               | promotion: undecided                                |                                  |
//! | 4             | the same                                            | on its timeline, or a standby    |
//! |               |                                                     | which this node follows: decided |
//! | 5, 6          | a standby of the successor                          | the same                         |
//!
//! | without a crash                                  | this node starts again as   | the marker            |
//! |--------------------------------------------------|-----------------------------|-----------------------|
//! | the successor is not there in time, leaves, or a | the primary that it was     | goes                  |
//! | stop is asked for, all before `H`                |                             |                       |
//! | it refuses                                       | the primary that it was     | goes                  |
//! | it promotes itself                               | its standby                 | goes                  |
//! | `H` went out and no answer came                  | its standby                 | stays until one of    |
//! |                                                  |                             | both is promoted      |
//!
//! So never do both write: the successor begins only after step 2, and not if this node has given up
//! meanwhile (`replica/src/driver/receive/handover.rs` shows that, also of one that was frozen). And nothing
//! acknowledged is lost: the successor has the whole log before step 2, and refuses `H` for any other
//! position or branch. If it dies between its answer and its promotion, or does not hear that it may, nobody
//! is primary until somebody is promoted.
//!
//! A stop that is asked for meanwhile is heard: before `H` it takes the handover back, and in any case this
//! node ends instead of starting again. An immediate one leaves what a crash leaves.

use super::Node;
use super::directory::has_file;
use super::start::Ending;
use super::stop::{After, stop_at_once, stop_cleanly, stop_of};
use crate::configuration::Ground;
use crate::connection::registry::SessionKind;
use crate::error::ServerError;
use crate::replication::Replication;
use crate::replication::handover::{HANDOVER_FILE, Marker, Order, become_standby, forget, newest_timeline};
use crate::replication::semi_sync;
use crate::state::{NodeState, StopMode};
use replica::roster::Roster;
use replica::roster::heard_file::{self, HEARD_FILE};
use replica::sender::handover::{Event, Outcome, Step};
use std::sync::Arc;
use std::time::Duration;
use storage::Database;
use tokio::sync::watch;
use wal::Lsn;
use wal::control::ControlFile;

/// How long the session that asked may take to hear that the node begins.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// How long other standbys may take for the log's end, which they get after the start as well.
pub(super) const OTHERS_LIMIT: Duration = Duration::from_secs(1);
/// How long an answer is waited for at least.
const REPLY_LIMIT: Duration = Duration::from_secs(1);

/// Waits until the node is asked to hand its role over.
pub(super) async fn order_of(orders: &mut watch::Receiver<Option<Arc<Order>>>) -> Arc<Order> {
    match orders.wait_for(Option::is_some).await.map(|order| order.clone()) {
        Ok(Some(order)) => order,
        // The sender lives as long as the node.
        _ => std::future::pending().await,
    }
}

/// Stops the node and hands its role over; says whether it is to be started again.
pub(super) async fn hand_over(
    node: &Arc<Node>,
    database: &Database,
    order: &Order,
) -> Result<Ending, ServerError> {
    node.life.go(NodeState::Stopping(StopMode::Fast));
    node.ground.log.log(format!("handing over to standby \"{}\"", order.standby));
    node.sessions.close();
    node.archive.stop.cancel();
    let mut stops = node.life.stops();
    let stopping = async {
        end_clients(node, order).await;
        stop_cleanly(node, database, None, After::Handover(order)).await
    };
    tokio::select! {
        biased;
        _ = stop_of(&mut stops, StopMode::Immediate) => {
            order.handover.on(&Event::Withdraw);
            stop_at_once(node).await.map(|()| Ending::Stopped)
        }
        stopped = stopping => stopped,
    }
}

/// Ends the clients' sessions; that of who asked once it has its answer.
async fn end_clients(node: &Node, order: &Order) {
    if host::planted!("a handover does not end sessions that write") {
        return;
    }
    let asked = order.session.key.pid;
    for session in node.sessions.list() {
        if session.kind == SessionKind::Client && session.key.pid != asked {
            session.terminate();
        }
    }
    let told = async {
        tokio::select! {
            biased;
            () = order.session.answered() => {}
            () = node.sessions.wait_ended(asked) => {}
        }
    };
    // Its client may not read.
    let _ = tokio::time::timeout(ANSWER_LIMIT, told).await;
    node.sessions.terminate_all(SessionKind::Client);
    node.sessions.wait_gone(SessionKind::Client).await;
}

/// The log has ended at `end`, and all streams know it: hands it over, and makes durable what came of it.
/// Says whether this node writes on.
pub(super) async fn decide(node: &Node, replication: &Replication, order: &Order, end: Lsn) -> bool {
    let outcome = offer(node, replication, order, end).await;
    let (ground, standby) = (&node.ground, &order.standby);
    let removed = |done: std::io::Result<bool>| {
        if let Err(error) = done {
            ground.log.warning(format!("could not remove file \"{HANDOVER_FILE}\": {error}"));
        }
    };
    match outcome {
        Outcome::Done => {
            ground.log.log(format!("standby \"{standby}\" takes over at {end}"));
            semi_sync::handed_over(replication, end);
            if host::planted!("who has handed its role over starts as the primary that it was") {
                removed(forget(ground));
                return true;
            }
            match follow(ground, &replication.roster, &order.conninfo) {
                Ok(()) => removed(forget(ground)),
                // The marker stays, so that the next start tries again.
                Err(error) => ground.log.warning(error.message),
            }
        }
        Outcome::BackedOut(why) => {
            ground.log.warning(format!("the switchover to standby \"{standby}\" is backed out: {why}"));
            if !host::planted!("a handover that is backed out leaves its marker") {
                removed(forget(ground));
            }
            return true;
        }
        Outcome::Undecided => {
            let reason = format!("standby \"{standby}\" was asked to promote itself and did not answer");
            replication.record_handover(end, &reason);
            ground.log.warning(format!(
                "the switchover is undecided: {reason}; this server follows it and is no primary until it is promoted"
            ));
        }
    }
    false
}

/// Offers the role, and says what came of it.
async fn offer(node: &Node, replication: &Replication, order: &Order, end: Lsn) -> Outcome {
    let (handover, clock) = (&order.handover, &node.ground.host.clock);
    let (mut standing, mut stops) = (handover.subscribe(), node.life.stops());
    let left = order.deadline.saturating_sub(clock.monotonic());
    {
        let reached = standing.wait_for(|now| now.step != Step::Asked);
        tokio::select! {
            biased;
            _ = stop_of(&mut stops, StopMode::Smart) => {}
            // The order has the sender.
            _ = tokio::time::timeout(left, reached) => {}
        }
    }
    let stops = stops.borrow().is_some();
    let mut why_not = stops.then(|| "a stop of this server was asked for".to_owned());
    if standing.borrow().step == Step::Reached && !stops {
        match mark(node, replication, order, end).await {
            Err(why) => why_not = Some(format!("could not write file \"{HANDOVER_FILE}\": {why}")),
            Ok(()) if handover.on(&Event::Allow) => {
                let left = order.deadline.saturating_sub(clock.monotonic()).max(REPLY_LIMIT);
                let answered = standing.wait_for(|now| now.step.outcome().is_some());
                let _ = tokio::time::timeout(left, answered).await;
            }
            Ok(()) => {}
        }
    }
    handover.on(&Event::Withdraw);
    match (handover.outcome().unwrap_or(Outcome::Undecided), why_not) {
        (Outcome::BackedOut(_), Some(why)) => Outcome::BackedOut(why),
        (outcome, _) => outcome,
    }
}

/// Makes it durable that this node does not write by itself.
async fn mark(node: &Node, replication: &Replication, order: &Order, end: Lsn) -> std::io::Result<()> {
    let newest = newest_timeline(replication)?;
    // The standby is told of it.
    replication.roster.hear_of_timeline(newest);
    let marker = Marker {
        timeline: replication.log.state().history.target(),
        end,
        standby: order.standby.clone(),
        conninfo: order.conninfo.clone(),
        taken: newest.next().unwrap_or(newest),
    };
    let ground = node.ground.clone();
    let stored = host::task::blocking(move || marker.store(&*ground.host.disk, &ground.data_dir));
    stored.await.map_err(std::io::Error::other)?
}

/// The directory of this node becomes a standby's. It remembers which number the successor's timeline has: if
/// that is gone before anybody heard of it again, a promotion takes another one.
fn follow(ground: &Ground, roster: &Roster, conninfo: &str) -> Result<(), ServerError> {
    heard_file::save(&ground.host, &ground.data_dir, roster)
        .map_err(|error| ServerError::new(format!("could not write file \"{HEARD_FILE}\": {error}")))?;
    become_standby(ground, conninfo)
}

/// A start on a directory whose handover was not decided: it is a standby's, whatever signal files it has.
pub(super) fn resume(node: &Node, control: &ControlFile) -> Result<(), ServerError> {
    let ground = &node.ground;
    let Some(marker) = Marker::load(&*ground.host.disk, &ground.data_dir)? else { return Ok(()) };
    if control.checkpoint_copy.timeline > marker.timeline {
        crate::replication::handover::settle(ground, "this server is on a later timeline");
        return Ok(());
    }
    if !has_file(ground, "standby.signal")? {
        become_standby(ground, &marker.conninfo)?;
        ground.reload(|| {});
    }
    ground.log.warning(format!(
        "a switchover to standby \"{}\" at {} is undecided: this server follows it until one of the two is promoted",
        marker.standby, marker.end
    ));
    Ok(())
}
