//! Whether another node has replaced this one: peers are asked, and what they tell is believed from replication peers only.

use crate::node::{Node, Phase};
use replica::ReplicaError;
use replica::driver::peers::{consider, probe, split_peers};
use replica::fence::{FenceRecord, FenceStore, NodeBranch, Verdict};
use std::sync::Arc;
use tokio::task::JoinSet;
use wal::TimelineId;
use wal::history::TimelineHistory;

/// This node's branch.
pub(crate) fn own_branch(node: &Node) -> Option<NodeBranch> {
    let (database, replicas) = (node.database()?, node.replicas()?);
    Some(NodeBranch { system: database.system_id(), history: replicas.log.state().history.clone() })
}

fn reason(record: &FenceRecord) -> String {
    format!(
        "timeline {} left this server's timeline {} at {}, seen at {}",
        record.descendant, record.timeline, record.fork, record.peer
    )
}

/// Applies the fence of an earlier life to a primary. A node that was rewound onto the branch that replaced it is not fenced.
pub(crate) fn apply_stored(node: &Node) -> Result<(), ReplicaError> {
    let store = FenceStore::new(&node.host, &node.data_dir);
    let Some(record) = store.load()? else { return Ok(()) };
    let Some(ours) = own_branch(node) else { return Ok(()) };
    if ours.history.contains(record.descendant) {
        return Ok(());
    }
    fence(node, &record);
    Ok(())
}

fn fence(node: &Node, record: &FenceRecord) {
    let reason = reason(record);
    node.log.warning(format!("this server is fenced and takes no more writes: {reason}"));
    if let Some(database) = node.database() {
        database.fence(&reason);
    }
    node.set_fenced(reason);
}

/// Judges a branch that a replication peer told of; fences this node durably if it was replaced.
pub(crate) fn judge(node: &Node, peer: &str, theirs: &NodeBranch) -> Result<(), ReplicaError> {
    let Some(ours) = own_branch(node) else { return Ok(()) };
    let Some(database) = node.database() else { return Ok(()) };
    let primary = !database.is_in_recovery();
    let log_end = database.positions().map_or_else(|| database.replayed(), |positions| positions.flushed());
    let store = FenceStore::new(&node.host, &node.data_dir);
    if primary && ours.system == theirs.system {
        // No commit is acknowledged between the verdict and the record on disk.
        if let Verdict::Fence { .. } = replica::fence::judge(&ours, primary, theirs) {
            database.fence("a newer timeline was seen");
        }
    }
    let (verdict, record) = consider(&node.host, &store, &ours, primary, log_end, peer, theirs)?;
    match (verdict, record) {
        (Verdict::Fence { .. }, Some(record)) if node.fenced().is_none() => fence(node, &record),
        (Verdict::Diverged { fork, twins }, _) => {
            let what = if twins { "has the same number" } else { "left the common history" };
            node.log.warning(format!(
                "peer \"{peer}\" writes another branch: its timeline {} {what} at {fork}",
                theirs.history.target()
            ));
        }
        (Verdict::Stranger, _) => {
            node.log.warning(format!("peer \"{peer}\" belongs to another cluster ({})", theirs.system));
        }
        _ => {}
    }
    Ok(())
}

/// A peer in messages: without what a connection string may hold of secrets.
fn peer_name(conninfo: &str) -> String {
    let pairs = protocol::conninfo::split(conninfo).unwrap_or_default();
    let shown = pairs.iter().filter(|(name, _)| matches!(name.as_str(), "host" | "hostaddr" | "port"));
    let shown: Vec<_> = shown.map(|(name, value)| format!("{name}={value}")).collect();
    if shown.is_empty() { "peer".to_owned() } else { shown.join(" ") }
}

/// Asks all peers at once.
async fn ask_peers(node: &Node) -> Vec<(String, NodeBranch)> {
    let config = node.config();
    let mut asked = JoinSet::new();
    for peer in split_peers(&config.peers) {
        let peer = peer.to_owned();
        asked.spawn(async move { (peer_name(&peer), probe(&peer).await) });
    }
    let mut branches = Vec::new();
    while let Some(answer) = asked.join_next().await {
        // A peer that does not answer says nothing.
        if let Ok((peer, Ok(branch))) = answer {
            branches.push((peer, branch));
        }
    }
    branches
}

/// The timelines that reachable peers of this cluster have.
pub(crate) async fn timelines_of_peers(node: &Node) -> Vec<TimelineId> {
    let Some(ours) = own_branch(node) else { return Vec::new() };
    let branches = ask_peers(node).await.into_iter();
    branches
        .filter(|(_, branch)| branch.system == ours.system)
        .map(|(_, branch)| branch.history.target())
        .collect()
}

/// Asks the peers once, and draws the consequence.
pub(crate) async fn look_around(node: &Node) {
    for (peer, branch) in ask_peers(node).await {
        if let Err(error) = judge(node, &peer, &branch) {
            node.log.warning(format!("could not record the fence: {error}"));
        }
    }
}

/// Asks the peers again and again while this node is a primary.
pub(crate) async fn watch(node: Arc<Node>) {
    let mut reloads = node.reloads();
    let mut phases = node.phases();
    loop {
        let interval = node.config().fence_probe_interval;
        tokio::select! {
            biased;
            changed = reloads.changed() => if changed.is_err() { return },
            changed = phases.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(interval) => {}
        }
        if node.phase() == Phase::Running && node.fenced().is_none() {
            look_around(&node).await;
        }
    }
}

/// `PLIMSOLL descendant`: a replication peer tells its history.
pub(crate) fn told(node: &Node, peer: &str, timeline: TimelineId, history: &str) -> Result<(), ReplicaError> {
    let Some(ours) = own_branch(node) else { return Ok(()) };
    let history = TimelineHistory::parse(timeline, history)
        .map_err(|error| ReplicaError::Protocol(error.to_string()))?;
    judge(node, peer, &NodeBranch { system: ours.system, history })
}
