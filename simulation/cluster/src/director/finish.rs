//! The end of a run: faults end, every node comes back, and everything is checked.

use super::admin::{self, PATIENCE, ask};
use super::words::{DAMAGED_LOG, FENCED, NEW_TIMELINE, STARTS, STRANGE_BRANCH};
use super::{
    CLIENTS, Shared, archived, bytes, clients, events, facts, fallbacks, machine_of, rewinding, roster,
    spoiled,
};
use crate::branch::Token;
use crate::cluster::{SLOW_MS, State};
use crate::features::Feature;
use crate::plan::names_of;
use simulated::net::Link;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// How long nodes may take to come back once all faults have ended.
const CONVERGE_LIMIT: Duration = Duration::from_secs(60);
/// How long a standby may take to catch up before it is asked why.
const FOLLOW_LIMIT: Duration = Duration::from_secs(15);
/// The same if it asks an archive, which may let it wait for two histories.
const FOLLOW_BY_ARCHIVE: Duration = FOLLOW_LIMIT.saturating_add(Duration::from_millis(2 * SLOW_MS));
/// A standby that can't follow has said so by then.
const SAY_LIMIT: Duration = Duration::from_secs(4);
/// How often a node is cloned at most: a server with little room for slots' log may end the first one.
const CLONES_MAX: usize = 3;
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Ends all faults and brings the cluster back to one primary that all others follow; which node it is. If
/// the branch never changed, it does now.
pub(super) async fn converge(shared: &Arc<Shared>) -> Result<usize, String> {
    heal(shared);
    wait_for_busy(shared).await?;
    let survivor = settle(shared).await?;
    if shared.facts.lock().turns() > 0 {
        return Ok(survivor);
    }
    bytes::stop(shared, survivor).await?;
    let others = shared.nodes().filter(|node| *node != survivor).collect();
    events::promote_best(shared.clone(), others).await;
    settle(shared).await
}

/// Starts all nodes and has all of them follow one primary; which it is.
async fn settle(shared: &Arc<Shared>) -> Result<usize, String> {
    for node in shared.nodes() {
        events::start(shared, node);
    }
    let begun = Instant::now();
    let (survivor, last) = loop {
        let survivor = choose(shared).await?;
        shared.tell(&format!("node {survivor} is the primary that all follow from here on"));
        *shared.primary.lock() = survivor;
        // Until there are standbys again.
        events::reload(shared, survivor, "synchronous_standby_names", "");
        unlimit(shared, survivor);
        match clients::last_commit(shared, survivor).await {
            Ok(last) => break (survivor, last),
            // It heard only now that it was replaced, or comes to its stop, or to its end after a sync that
            // failed; whoever follows is up soon.
            Err(why)
                if ["is fenced", "is shutting down", "log has failed"]
                    .iter()
                    .any(|word| why.contains(word))
                    && begun.elapsed() < CONVERGE_LIMIT => {}
            Err(why) => return Err(why),
        }
    };
    archived::tidy(shared);
    let others: Vec<usize> = shared.nodes().filter(|node| *node != survivor).collect();
    let brought = |node: &usize| shared.admin(bring_back(shared.clone(), *node, survivor, last.clone()));
    for node in others.iter().map(brought).collect::<Vec<_>>() {
        node.await.map_err(|error| error.to_string())??;
    }
    events::reload(shared, survivor, "synchronous_standby_names", &names_of(false, 1, &others));
    Ok(survivor)
}

/// Slots keep log as long as it takes, or else those of clones may be given up again and again.
fn unlimit(shared: &Shared, node: usize) {
    let limit = "max_slot_wal_keep_size";
    let is_set = {
        let cluster = shared.cluster.lock();
        let there = cluster.node(machine_of(node));
        there.and_then(|there| admin::in_file(there.files(), limit)).is_some_and(|value| value != "-1")
    };
    if is_set {
        events::reload(shared, node, limit, "-1");
    }
}

fn heal(shared: &Arc<Shared>) {
    shared.tell("all faults end");
    shared.lasting.lock().end();
    let machines: Vec<_> = shared.nodes().map(machine_of).chain([CLIENTS]).collect();
    let mut cluster = shared.cluster.lock();
    for from in &machines {
        for to in machines.iter().filter(|to| *to != from) {
            cluster.set_link(*from, *to, Link::default());
        }
    }
    for node in shared.nodes() {
        cluster.thaw(machine_of(node));
        if let Some(node) = cluster.node_mut(machine_of(node)) {
            node.set_capacity(u64::MAX);
            node.slow_down(None);
            node.files().clear_faults();
        }
    }
}

async fn wait_for_busy(shared: &Shared) -> Result<(), String> {
    let begun = Instant::now();
    let is_busy = || {
        shared.observe();
        let hands_over = shared.facts.lock().handovers.are_under_way();
        hands_over || !shared.busy.lock().is_empty() || shared.asking.load(Ordering::Relaxed) > 0
    };
    while is_busy() {
        if begun.elapsed() > CONVERGE_LIMIT {
            return Err(format!("liveness: what was begun does not end: {:?}", shared.busy.lock()));
        }
        // One that went down while it hands over says how that ended when it is back.
        for node in shared.nodes().filter(|node| shared.facts.lock().handovers.hands_over(*node)) {
            restart_if_ended(shared, node);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// What a node says of itself: whether it is in recovery, and its timeline. An error says why it does not.
async fn says(shared: &Shared, node: usize) -> Result<(bool, u32), String> {
    let sql = "select case when pg_is_in_recovery() then 'standby 0' \
               else 'primary ' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end";
    let asked = shared.admin(async move { ask(machine_of(node), sql, PATIENCE).await }).await;
    let text = asked.map_err(|error| error.to_string())??.unwrap_or_default();
    let read = || {
        let (role, timeline) = text.split_once(' ')?;
        Some((role == "standby", u32::from_str_radix(timeline, 16).ok()?))
    };
    let (recovery, timeline) = read().ok_or_else(|| format!("it says {text}"))?;
    let accepted =
        || shared.cluster.lock().node(machine_of(node)).map(|node| facts::accepted(node.files()).get());
    Ok((recovery, if recovery { accepted().unwrap_or(0) } else { timeline }))
}

/// The same; None if it does not.
async fn role(shared: &Shared, node: usize) -> Option<(bool, u32)> {
    says(shared, node).await.ok()
}

/// The same of a node that runs: that answers, if only that it lets nobody in.
async fn role_of_running(shared: &Shared, node: usize) -> Result<Option<(bool, u32)>, String> {
    let begun = Instant::now();
    loop {
        let why = match says(shared, node).await {
            Ok(role) => return Ok(Some(role)),
            Err(why) => why,
        };
        let state = shared.cluster.lock().node(machine_of(node)).map(|there| there.state());
        if state != Some(State::Up) || ["FATAL", "ERROR"].iter().any(|words| why.contains(words)) {
            return Ok(None);
        }
        if begun.elapsed() > FOLLOW_LIMIT {
            return Err(format!("liveness: node {node} runs and does not answer: {why}"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The primary that is left: the one of the youngest timeline; if there is none, the best standby is
/// promoted.
async fn choose(shared: &Arc<Shared>) -> Result<usize, String> {
    let (begun, begun_ms) = (Instant::now(), shared.now_ms());
    let mut promoted = false;
    let mut refused = BTreeSet::new();
    loop {
        let mut roles = BTreeMap::new();
        let asked = *shared.primary.lock();
        if promoted && lacks_log(shared, asked) {
            // The next one has to do.
            promoted = false;
            refused.insert(asked);
        }
        // What nodes say is of no use if one of them becomes a primary while the others are asked.
        let changes = || {
            let facts = shared.facts.lock();
            (!facts.awaits_promotion()).then(|| facts.turns())
        };
        let before = changes();
        for node in shared.nodes() {
            if let Some(role) = role(shared, node).await {
                roles.insert(node, role);
            }
            restart_if_ended(shared, node);
        }
        shared.observe();
        fallbacks::look(shared);
        let may_lead = || roles.iter().filter(|(node, (recovery, _))| !is_fenced(shared, **node, *recovery));
        let last = *shared.primary.lock();
        let youngest = may_lead().map(|(_, (_, timeline))| *timeline).max().unwrap_or(0);
        // A standby of a younger branch fences all primaries of older ones.
        let primaries = may_lead().filter(|(_, (recovery, timeline))| !recovery && *timeline == youngest);
        let best = primaries.max_by_key(|(node, _)| **node == last);
        let halfway = shared.nodes().filter(|node| rewinding::is_node_halfway(shared, *node)).count();
        let settled = roles.len() + halfway >= shared.plan.nodes() && before.is_some() && before == changes();
        // A promotion that was asked for in the middle of a rewind waits for that, and for the log after it.
        let waits = |node| shared.facts.lock().is_promoted_behind_rewind(node, begun_ms);
        let limit = if shared.nodes().any(waits) { 2 * FOLLOW_LIMIT } else { FOLLOW_LIMIT };
        // One that was asked for before all faults ended may wait for histories.
        let is_late = shared.facts.lock().awaits_promotion();
        let limit = if is_late { limit.max(follow_limit(shared)) } else { limit };
        let all = settled || begun.elapsed() > limit;
        if let Some((node, _)) = best.filter(|_| all) {
            let Some(other) = unfenced(shared, *node, &roles) else { return Ok(*node) };
            if begun.elapsed() > CONVERGE_LIMIT {
                return Err(format!("OneWriter: node {other} goes on though node {node} has replaced it"));
            }
            tokio::time::sleep(LOOK).await;
            continue;
        }
        if all && !promoted && !roles.is_empty() {
            let candidates: Vec<usize> =
                may_lead().map(|(node, _)| *node).filter(|node| !refused.contains(node)).collect();
            events::promote_best(shared.clone(), candidates).await;
            // A standby that fetches from the archive does not know yet how much log it has received.
            promoted = shared.facts.lock().awaits_promotion();
        }
        if begun.elapsed() > CONVERGE_LIMIT {
            return Err(format!("liveness: no node becomes the primary; they say {roles:?}"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A primary of a branch that `best` continues, and that has peers to ask whether it was replaced.
fn unfenced(shared: &Shared, best: usize, roles: &BTreeMap<usize, (bool, u32)>) -> Option<usize> {
    let (cluster, facts) = (shared.cluster.lock(), shared.facts.lock());
    let lineage = facts.branches.lineage(&facts.branch_written(best));
    let primaries = roles.iter().filter(|(node, (recovery, _))| **node != best && !recovery);
    let replaced = |(node, (_, timeline)): &(&usize, &(bool, u32))| {
        let Some(files) = cluster.node(machine_of(**node)).map(|node| node.files()) else { return false };
        let is_named = admin::in_file(files, "plimsoll.peers")
            .is_some_and(|peers| peers.split(';').any(|peer| !peer.trim().is_empty()));
        let is_heeded = cluster
            .node(machine_of(best))
            .is_some_and(|successor| roster::is_known_by_id(files, successor.files()));
        let asks = is_named || roster::knows(files, best) && is_heeded;
        let written = facts.branch_written(**node);
        // A promotion that a crash cut short is finished by the next start, and no line tells of it.
        let is_known = written.timeline() == *timeline;
        asks && is_known && lineage.contains(&written) && !facts::is_replaced(files)
    };
    primaries.filter(replaced).map(|(node, _)| *node).next()
}

/// Whether a node has heard that it was replaced. One that takes writes may have a fence of a branch that it
/// has left since, and has said in this life whether it has one of its own.
fn is_fenced(shared: &Shared, node: usize, recovery: bool) -> bool {
    let cluster = shared.cluster.lock();
    if recovery {
        return cluster.node(machine_of(node)).is_some_and(|node| facts::is_replaced(node.files()));
    }
    let lines = cluster.story().of(&crate::cluster::id_text(machine_of(node)));
    let of_this_life = lines.iter().rev().take_while(|line| !line.contains(STARTS));
    of_this_life.into_iter().any(|line| line.contains(FENCED))
}

/// Whether the last that a node has said of a promotion is that it lacks what it received.
fn lacks_log(shared: &Shared, node: usize) -> bool {
    let cluster = shared.cluster.lock();
    let lines = cluster.story().of(&crate::cluster::id_text(machine_of(node)));
    let of_promotions =
        lines.iter().rev().find(|line| line.contains("promot") || line.contains(NEW_TIMELINE));
    of_promotions.is_some_and(|line| line.contains(DAMAGED_LOG))
}

fn restart_if_ended(shared: &Shared, node: usize) {
    let ended = match shared.cluster.lock().node(machine_of(node)) {
        Some(node) => node.state().is_over() && !rewinding::is_halfway(node.files()),
        None => false,
    };
    if ended {
        events::start(shared, node);
    }
}

fn follow_limit(shared: &Shared) -> Duration {
    if shared.plan.features.has(Feature::Archives) { FOLLOW_BY_ARCHIVE } else { FOLLOW_LIMIT }
}

/// Makes a node a standby that has caught up: as it is if its log allows that, or as a clone.
async fn bring_back(shared: Arc<Shared>, node: usize, survivor: usize, last: Token) -> Result<(), String> {
    let (shared, last) = (&shared, &last);
    let is_standby = matches!(role_of_running(shared, node).await?, Some((true, _)));
    let mut why = "it is a primary".to_owned();
    if is_standby {
        let said = lines_of(shared, node).len();
        events::follow(shared, node, survivor);
        events::reload(shared, node, "recovery_min_apply_delay", "0");
        let sql = "select pg_wal_replay_resume()";
        drop(shared.admin(async move { ask(machine_of(node), sql, PATIENCE).await }).await);
        // Time to connect, to be refused and to say so.
        why = match caught_up(shared, node, last, SAY_LIMIT).await {
            Ok(()) => return Ok(()),
            Err(reason) if must_be_cloned(shared, node, said) => reason,
            Err(_) => match caught_up(shared, node, last, follow_limit(shared)).await {
                Ok(()) => return Ok(()),
                Err(reason) => reason,
            },
        };
        // It may have been asked to become the primary long before.
        let turned = matches!(role(shared, node).await, Some((false, _)));
        let is_served = spoiled::is_served_by(shared, survivor);
        if !turned && !is_served && !must_be_cloned(shared, node, said) {
            return Err(format!("liveness: node {node} does not catch up with node {survivor}: {why}"));
        }
    }
    if shared.plan.features.has(Feature::Rewinds) {
        shared.tell(&format!("node {node} is rewound to node {survivor}: {why}"));
        if rewinding::rewind(shared.clone(), node, survivor).await {
            let said = lines_of(shared, node).len();
            why = match caught_up(shared, node, last, follow_limit(shared)).await {
                Ok(()) => return Ok(()),
                Err(reason) => reason,
            };
            // Its log came from there, with what that one's disk has changed: a clone needs it no more.
            if !spoiled::is_served_by(shared, survivor) && !must_be_cloned(shared, node, said) {
                return Err(format!(
                    "liveness: node {node}, rewound to node {survivor}, does not catch up: {why}"
                ));
            }
        }
    }
    shared.tell(&format!("node {node} is cloned from node {survivor}: {why}"));
    for _ in 0..CLONES_MAX {
        if events::renew(shared.clone(), node, survivor).await {
            break;
        }
    }
    let caught = caught_up(shared, node, last, CONVERGE_LIMIT).await;
    caught.map_err(|why| {
        format!("liveness: node {node}, cloned from node {survivor}, does not catch up: {why}")
    })
}

/// A node's log.
fn lines_of(shared: &Shared, node: usize) -> Vec<String> {
    shared.cluster.lock().story().of(&crate::cluster::id_text(machine_of(node)))
}

/// Whether a standby's log says behind its first `said` lines why it can't follow. It need not say so all the
/// time, and each question whether it has caught up adds three lines.
fn must_be_cloned(shared: &Shared, node: usize, said: usize) -> bool {
    let refused = [
        "clone it anew",
        STRANGE_BRANCH,
        "has already been removed",
        "of the primary is behind recovery timeline",
    ];
    lines_of(shared, node).iter().skip(said).any(|line| refused.iter().any(|words| line.contains(words)))
}

/// Waits until a standby shows what the primary had.
async fn caught_up(shared: &Shared, node: usize, last: &Token, limit: Duration) -> Result<(), String> {
    let begun = Instant::now();
    let mut why = String::new();
    while begun.elapsed() < limit {
        let sql = format!("WAIT FOR LSN '{last}' TIMEOUT 500");
        let answer = shared.admin(async move { ask(machine_of(node), &sql, PATIENCE).await }).await;
        match answer.map_err(|error| error.to_string())? {
            Ok(_) => return Ok(()),
            Err(error) => why = error,
        }
        restart_if_ended(shared, node);
        tokio::time::sleep(LOOK).await;
    }
    Err(why)
}
