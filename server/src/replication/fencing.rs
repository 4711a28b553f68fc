//! Whether another node has replaced this one: peers are asked, and what they tell is believed from
//! replication peers only. They tell what they are witnesses of ([`wal::NodeLog::witnessed`]), and nothing
//! that they know from an archive alone: a test copy restored from a backup replaces nobody.
//!
//! A fence has one home on disk, the record that [`FenceStore`] keeps, and one in memory,
//! [`Database::fence`]. It is in force in memory first, so nothing is acknowledged after the verdict, and is
//! written then, into space that was taken before ([`reserve`]); a write that fails is tried again at each
//! look around. The log tells of it once it lasts, or with the word that it does not yet. Whoever makes this
//! node writable asks for the record: the start of a primary ([`apply_stored`]), and any promotion
//! ([`check_promotion`]).

use super::Replication;
use crate::error::ServerError;
use crate::state::NodeState;
use host::Mutex;
use host::task::task;
use replica::ReplicaError;
use replica::driver::peers::{Peer, probe, split_peers};
use replica::timeline::fence::{FenceRecord, FenceStore, NodeBranch, Verdict};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use wal::TimelineId;
use wal::history::TimelineHistory;

/// What of the fence is still to be done.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// It is in force and not on disk yet.
    unrecorded: Mutex<Option<FenceRecord>>,
    /// The disk has not given the space for a record yet, which the log says.
    without_reserve: AtomicBool,
    /// Somebody told of a branch that only the peers can confirm.
    inquiry: Notify,
    /// The peers that could not be asked at the last look around.
    silent: Mutex<BTreeSet<String>>,
}

/// Who told of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// A peer that the administrator named, and that was asked.
    Asked,
    /// A client with the right to replicate, of its own accord.
    Told,
}

/// This node's branch.
fn own_branch(replication: &Replication) -> NodeBranch {
    NodeBranch { system: replication.database.system_id(), history: replication.log.state().history.clone() }
}

fn store(replication: &Replication) -> FenceStore {
    FenceStore::new(&replication.ground.host, &replication.ground.data_dir)
}

fn reason(record: &FenceRecord) -> String {
    format!(
        "timeline {} left this server's timeline {} at {}, seen at {}",
        record.descendant, record.timeline, record.fork, record.peer
    )
}

/// Applies the fence of an earlier life to a primary. A node that goes on from the branch that replaced it is
/// not fenced.
pub(crate) fn apply_stored(replication: &Replication) -> Result<(), ReplicaError> {
    let ours = own_branch(replication);
    if let Some(record) = store(replication).holding(&ours)? {
        let reason = reason(&record);
        replication.database.fence(&reason);
        tell(replication, &reason);
    }
    Ok(())
}

/// Whether this standby may become a primary: not if it was fenced on the branch that it is on.
pub(crate) fn check_promotion(replication: &Replication) -> Result<(), ServerError> {
    if host::planted!("a fenced server is promoted") {
        return Ok(());
    }
    let ours = own_branch(replication);
    let refused = match store(replication).holding(&ours) {
        Ok(None) => return Ok(()),
        Ok(Some(record)) => format!("this server is fenced: {}", reason(&record)),
        Err(error) => error.to_string(),
    };
    Err(ServerError::new(refused)
        .with_hint("Let it follow the server that replaced it, rewind it, or clone it anew."))
}

fn tell(replication: &Replication, reason: &str) {
    replication.ground.log.warning(format!("this server is fenced and takes no more writes: {reason}"));
}

/// Has the space that the record of a fence will need. If the disk does not give it now it is asked again.
pub(super) fn reserve(replication: &Replication) {
    let got = store(replication).reserve();
    let told = replication.fence.without_reserve.swap(got.is_err(), Ordering::AcqRel);
    if let (Err(error), false) = (got, told) {
        let what = "could not take space for the record of a fence; it will be tried again";
        replication.ground.log.warning(format!("{what}: {error}"));
    }
}

/// Writes the record of a fence that is in force. If that fails it is tried again later.
fn record(replication: &Replication) {
    let mut unrecorded = replication.fence.unrecorded.lock();
    let Some(record) = unrecorded.as_ref() else { return };
    let ours = own_branch(replication);
    match store(replication).raise(&ours, record) {
        Ok(()) => *unrecorded = None,
        Err(error) => replication.ground.log.warning(format!(
            "could not record the fence, which holds until this server ends; it will be tried again: {error}"
        )),
    }
}

/// Judges a branch that was told of; fences this node durably if it was replaced.
fn judge(replication: &Replication, peer: &str, theirs: &NodeBranch, source: Source) {
    let (ours, database) = (own_branch(replication), &replication.database);
    let primary = !database.is_in_recovery();
    let log_end = replication.log.flushed();
    match replica::timeline::fence::judge(&ours, primary, log_end, theirs) {
        Verdict::Beyond { fork } if source == Source::Told => {
            replication.ground.log.warning(format!(
                "\"{peer}\" tells of timeline {}, which left this server's timeline at {fork}; \
                 that is not believed, \
                 since the log here ends at {log_end}: the peers are asked",
                theirs.history.target()
            ));
            replication.fence.inquiry.notify_one();
        }
        Verdict::Fence { fork } | Verdict::Beyond { fork } if replication.database.fenced().is_none() => {
            let found =
                FenceRecord::new(&ours, theirs, fork, log_end, peer, replication.ground.host.clock.now());
            let reason = reason(&found);
            replication.database.fence(&reason);
            *replication.fence.unrecorded.lock() = Some(found);
            record(replication);
            tell(replication, &reason);
        }
        Verdict::Diverged { fork, twins } => {
            let what = if twins { "has the same number" } else { "left the common history" };
            replication.ground.log.warning(format!(
                "peer \"{peer}\" writes another branch: its timeline {} {what} at {fork}",
                theirs.history.target()
            ));
        }
        Verdict::Stranger => {
            replication
                .ground
                .log
                .warning(format!("peer \"{peer}\" belongs to another cluster ({})", theirs.system));
        }
        Verdict::Fine | Verdict::Fence { .. } | Verdict::Beyond { .. } => {}
    }
}

/// A peer in messages: without what a connection string may hold of secrets.
fn peer_name(conninfo: &str) -> String {
    let pairs = protocol::conninfo::split(conninfo).unwrap_or_default();
    let shown = pairs.iter().filter(|(name, _)| matches!(name.as_str(), "host" | "hostaddr" | "port"));
    let shown: Vec<_> = shown.map(|(name, value)| format!("{name}={value}")).collect();
    if shown.is_empty() { "peer".to_owned() } else { shown.join(" ") }
}

/// A peer's name and what it said.
type Asked = (String, Result<Peer, ReplicaError>);

/// Asks all peers at once.
async fn ask_peers(replication: &Replication) -> Vec<Asked> {
    let config = replication.ground.config();
    let mut asked = JoinSet::new();
    for peer in split_peers(&config.peers) {
        let peer = peer.to_owned();
        asked.spawn(task(async move { (peer_name(&peer), probe(&peer).await) }));
    }
    let mut answers = Vec::new();
    while let Some(answer) = asked.join_next().await {
        // One whose question ended by a panic says nothing.
        answers.extend(answer.ok());
    }
    answers
}

/// Tells the log, once, of each peer that cannot be asked, and when it can again.
fn tell_silence(replication: &Replication, asked: &[Asked]) {
    let mut silent = replication.fence.silent.lock();
    for (peer, asked) in asked {
        match asked {
            Ok(_) if silent.remove(peer) => {
                replication.ground.log.log(format!("peer \"{peer}\" answers again"));
            }
            Err(error) if silent.insert(peer.clone()) => replication
                .ground
                .log
                .warning(format!("peer \"{peer}\" cannot tell whether this server was replaced: {error}")),
            Ok(_) | Err(_) => {}
        }
    }
}

/// The timelines that reachable peers of this cluster write or follow.
pub(crate) async fn timelines_of_peers(replication: &Replication) -> Vec<TimelineId> {
    let ours = own_branch(replication);
    let peers = ask_peers(replication).await.into_iter().filter_map(|(_, asked)| asked.ok());
    peers.filter(|peer| peer.branch.system == ours.system).map(|peer| peer.timeline).collect()
}

fn judge_all(replication: &Replication, asked: Vec<Asked>) {
    for (peer, asked) in asked {
        if let Ok(asked) = asked
            && !host::planted!("what peers tell of their branch is not heeded")
        {
            judge(replication, &peer, &asked.branch, Source::Asked);
        }
    }
}

/// Asks the peers once, and draws the consequence. Tells of no silence: a node that starts is one of its
/// peers, and does not answer yet.
pub(crate) async fn look_around(replication: &Replication) {
    judge_all(replication, ask_peers(replication).await);
}

/// Asks the peers again and again while this node is a primary.
pub(super) async fn watch(replication: Arc<Replication>, mut states: watch::Receiver<NodeState>) {
    let mut reloads = replication.ground.reloads();
    loop {
        let interval = replication.ground.config().fence_probe_interval;
        tokio::select! {
            biased;
            changed = reloads.changed() => if changed.is_err() { return },
            changed = states.changed() => if changed.is_err() { return },
            () = replication.fence.inquiry.notified() => {}
            () = tokio::time::sleep(interval) => {}
        }
        if replication.database.fenced().is_some() {
            record(&replication);
        } else if *states.borrow() == NodeState::Running {
            reserve(&replication);
            let asked = ask_peers(&replication).await;
            tell_silence(&replication, &asked);
            judge_all(&replication, asked);
        }
    }
}

/// `PLIMSOLL descendant`: a replication peer tells its history.
pub(crate) fn told(
    replication: &Replication,
    peer: &str,
    timeline: TimelineId,
    history: &str,
) -> Result<(), ReplicaError> {
    let ours = own_branch(replication);
    let history = TimelineHistory::parse(timeline, history)
        .map_err(|error| ReplicaError::Protocol(error.to_string()))?;
    judge(replication, peer, &NodeBranch { system: ours.system, history }, Source::Told);
    Ok(())
}
