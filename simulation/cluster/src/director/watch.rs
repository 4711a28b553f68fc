//! What an administrator looks at when a node says that its branch changes: of the branch before nothing may
//! count on, be waited for, or be kept.
//!
//! | when                          | what must hold                                                         |
//! |-------------------------------|------------------------------------------------------------------------|
//! | a node cuts its log           | what it has said to be durable, and the new branch has, stays          |
//! | a node follows another branch | who waits there for what it will never have is told so; what it takes  |
//! |                               | for confirmed is written                                               |
//! | a node begins a timeline      | it had no history of that number, and its slots lie below the fork     |
//! | a node takes writes           | no slot stands behind the end of its log                               |
//! | a stream begins               | its standby counts for no more than it was sent, and takes nothing for |
//! |                               | confirmed that is not written                                          |
//! | a primary is fenced           | no commit goes on waiting for standbys                                 |
//! | anything is said              | nobody speaks of damage: these disks lose what is not synced, no more  |

use super::admin::{PATIENCE, ask};
use super::words::{
    CUT, CUT_AT_PROMOTION, DAMAGE, FENCED, FOLLOWS, NEW_TIMELINE, READY, RECEIVED_DAMAGE, REDONE, STARTS,
    TAKEN_BACK, value_after,
};
use super::{Shared, disks, facts, leftovers, lives, machine_of, syncs};
use crate::branch::Branch;
use crate::guarantee::Lost;
use crate::machine::rules;
use crate::rare::Rare;
use simulation::VirtualDisk;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use wal::{Lsn, TimelineId};

/// How long a token's wait goes on at most, and how soon it must end when the branch has changed.
const TOKEN_MS: u64 = 5000;
const TOKEN_ENDS_MS: u64 = 700;
/// How soon commits must have ended their wait once a fence has risen, and time between two looks.
const FENCE_MS: u64 = 400;
const AGAIN_MS: u64 = 200;
/// How soon after a stream's begin it is looked at.
const STREAM_MS: u64 = 40;
/// The same of a standby that follows another branch.
const FOLLOWS_MS: u64 = 100;

/// Something to look into.
#[derive(Debug)]
enum Due {
    /// A log was cut from a position on, when its node had told the ends of these branches to be durable.
    Cut(Lsn, Vec<(Branch, u64)>),
    /// A standby turned to another timeline, when it had told the ends of these branches to be durable.
    Left(Vec<(Branch, u64)>),
    Begins(u32),
    /// Takes writes; as the first on its timeline, or not.
    Ready(bool),
    Stream,
    /// Receives.
    Confirmed,
    Follows,
    Fenced,
}

/// What was said, and is to be looked into.
#[derive(Debug, Default)]
pub(super) struct Watch {
    due: Vec<(usize, Due)>,
    /// Nodes that begin a timeline and take no writes yet.
    begun: BTreeSet<usize>,
    /// When each node last said that it follows another timeline, and which.
    turned: BTreeMap<usize, (u64, u32)>,
    /// The timelines of which a node had the history when it was asked to become the primary, and when.
    had: BTreeMap<usize, (u64, BTreeSet<u32>)>,
}

/// Notes what a node's log says. The cluster is locked.
pub(super) fn hear(shared: &Shared, node: usize, line: &str) {
    let is_damaged = shared.damaged.lock().contains_key(&node);
    let is_failed = line.contains(syncs::FAILED);
    let is_spoiled = lives::tells_of_spoiled(shared, line);
    if !is_damaged && !is_failed && !is_spoiled && DAMAGE.iter().any(|words| line.contains(words)) {
        shared.fail(format!("Damage: node {node} says: {line}"));
    }
    if line.contains(RECEIVED_DAMAGE) {
        shared.hit(Rare::ReceivedDamage);
    }
    let told = || {
        // A clone begins with nothing of its own.
        let is_cloned = shared.facts.lock().last_loss(node, Lost::Directory).is_some();
        if is_cloned { Vec::new() } else { shared.wire.lock().reports.flushed(node) }
    };
    let mut watch = shared.watch.lock();
    if line.contains(CUT)
        && !line.contains(CUT_AT_PROMOTION)
        && let Some(kept) = value_after(line, CUT)
    {
        shared.hit(Rare::PartialRecordAtCut);
        watch.due.push((node, Due::Cut(kept, told())));
    }
    if let Some(at) = value_after::<Lsn>(line, REDONE)
        && shared.facts.lock().is_promoted(node)
        && told().iter().any(|(_, flushed)| *flushed > at.get())
    {
        shared.hit(Rare::PartialRecordAtPromotion);
    }
    if let Some(timeline) = value_after(line, FOLLOWS) {
        watch.turned.insert(node, (shared.now_ms(), timeline));
        watch.due.push((node, Due::Follows));
        watch.due.push((node, Due::Left(told())));
    }
    if line.contains(READY) {
        let is_new = watch.begun.remove(&node);
        watch.due.push((node, Due::Ready(is_new)));
    }
    if line.contains(FENCED) {
        watch.due.push((node, Due::Fenced));
    }
    if let Some(timeline) = value_after(line, TAKEN_BACK)
        && let Some((_, had)) = watch.had.get_mut(&node)
    {
        // Nobody has heard of it.
        had.remove(&timeline);
    }
    if let Some(timeline) = value_after(line, NEW_TIMELINE) {
        watch.begun.insert(node);
        watch.due.push((node, Due::Begins(timeline)));
        if let Some((at_ms, had)) = watch.had.remove(&node)
            && had.contains(&timeline)
            && shared.facts.lock().losses_since(node, at_ms) == 0
        {
            let text = format!("node {node} begins timeline {timeline}, of which it had a history before");
            shared.fail(format!("OneWriter: {text}"));
        }
    }
}

/// A node's server begins to stream to another one.
pub(super) fn streams(shared: &Shared, upstream: usize, standby: usize) {
    let mut watch = shared.watch.lock();
    watch.due.push((upstream, Due::Stream));
    watch.due.push((standby, Due::Confirmed));
}

/// Looks into what was said.
pub(super) fn look(shared: &Arc<Shared>) {
    let due = std::mem::take(&mut shared.watch.lock().due);
    for (node, what) in due {
        match what {
            Due::Cut(from, told) => check_cut(shared, node, from, &told),
            Due::Left(told) => check_left(shared, node, &told),
            Due::Begins(timeline) => check_slots(shared, node, timeline),
            Due::Ready(is_new) => {
                if is_new {
                    leftovers::count(shared, node);
                }
                shared.beside(ready(shared.clone(), node));
            }
            Due::Stream => shared.beside(streaming(shared.clone(), node)),
            Due::Follows | Due::Confirmed => shared.beside(confirmed(shared.clone(), node)),
            Due::Fenced => shared.beside(fenced(shared.clone(), node)),
        }
    }
}

fn pause(ms: u64) -> tokio::time::Sleep {
    tokio::time::sleep(Duration::from_millis(ms))
}

/// Whether nothing befell a node since a time that keeps it from answering.
fn is_well(shared: &Shared, node: usize, since_ms: u64) -> bool {
    let facts = shared.facts.lock();
    facts.losses_since(node, since_ms) == 0 && !facts.paused_since(node, since_ms)
}

/// What was durable of the branch that the node turns to, or is on, must be there yet. A node says that it
/// cuts its log before its record names the branch.
fn check_cut(shared: &Shared, node: usize, from: Lsn, told: &[(Branch, u64)]) {
    let branch = {
        let (cluster, mut facts) = (shared.cluster.lock(), shared.facts.lock());
        let Some(files) = cluster.node(machine_of(node)).map(|node| node.files()) else { return };
        facts.add_all(files);
        let Some(branch) = facts::branch_ahead(files) else { return };
        branch
    };
    let promised: Vec<(Branch, Lsn)> = {
        let facts = shared.facts.lock();
        let lineage = facts.branches.lineage(&branch);
        let kept = lineage.windows(2).filter_map(|pair| {
            let [child, parent] = pair else { return None };
            let flushed = told.iter().filter(|(of, _)| of == parent).map(|(_, flushed)| *flushed).max()?;
            Some((parent.clone(), facts.branches.fork(child)?.at.min(Lsn::new(flushed))))
        });
        kept.filter(|(_, kept)| from < *kept).collect()
    };
    // Of a part of a record nobody has been told anything, and it comes again.
    let lost = promised.iter().find(|(parent, kept)| has_record(shared, parent, (from, *kept)));
    if let Some((parent, kept)) = lost {
        shared.fail(format!(
            "Flushed: node {node} cuts its log from {from} on, and has reported {kept} of {parent}, which \
             {branch} has"
        ));
    }
}

/// No whole record that a node has reported lies behind the fork where it leaves a branch, and of a part it
/// says that it is cut.
fn check_left(shared: &Shared, node: usize, told: &[(Branch, u64)]) {
    let (left, is_whole, is_told) = {
        let (cluster, mut facts) = (shared.cluster.lock(), shared.facts.lock());
        let Some(files) = cluster.node(machine_of(node)).map(|node| node.files()) else { return };
        facts.add_all(files);
        let Some(branch) = facts::branch_followed(files) else { return };
        let Some(fork) = facts.branches.fork(&branch) else { return };
        let flushed = told.iter().filter(|(of, _)| *of == fork.parent).map(|(_, flushed)| *flushed).max();
        let Some(flushed) = flushed.map(Lsn::new).filter(|flushed| *flushed > fork.at) else { return };
        let is_whole = holds_record(files, &fork.parent, (fork.at, flushed));
        let lines = cluster.story().of(&crate::cluster::id_text(machine_of(node)));
        // It may have ended right after that, and be up again.
        let (mut lives, at) = (0, fork.at.to_string());
        let is_told = lines.iter().rev().any(|line| {
            lives += usize::from(line.contains(STARTS));
            line.contains(CUT) && (lives == 0 || lives == 1 && line.contains(&at))
        });
        // How far it has received goes with the machine's power, if it can read all that it has.
        let power = facts.last_loss(node, Lost::Machine).unwrap_or(0);
        let knows = shared.wire.lock().reports.flushed_past(node, &fork.parent, fork.at.get(), power);
        let is_told = is_told || !knows;
        (format!("{} at {}, has reported {flushed} of it", fork.parent, fork.at), is_whole, is_told)
    };
    if is_whole {
        shared.fail(format!("Flushed: node {node} leaves {left}, and has that whole"));
    } else if !is_told {
        shared.fail(format!("Silent: node {node} leaves {left}, and tells of no cut"));
    }
}

/// Whether a whole record of a branch lies there on any disk.
fn has_record(shared: &Shared, branch: &Branch, range: (Lsn, Lsn)) -> bool {
    let cluster = shared.cluster.lock();
    let mut nodes = shared.nodes().filter_map(|node| cluster.node(machine_of(node)));
    nodes.any(|node| holds_record(node.files(), branch, range))
}

/// The same on one disk.
fn holds_record(files: &VirtualDisk, branch: &Branch, range: (Lsn, Lsn)) -> bool {
    let timeline = TimelineId::new(branch.timeline());
    let own = disks::history(files, timeline);
    let own = own.filter(|history| facts::branch_of(history, timeline) == *branch);
    own.is_some_and(|history| !disks::has_no_record(files, &history, range))
}

/// When a node begins a timeline, its slots on disk lie below the fork: more would bar its next start.
fn check_slots(shared: &Shared, node: usize, timeline: u32) {
    let slots = rules::slots_at_begin(machine_of(node), timeline);
    let cluster = shared.cluster.lock();
    let Some(there) = cluster.node(machine_of(node)) else { return };
    let Some(history) = disks::history(there.files(), TimelineId::new(timeline)) else { return };
    let Some((_, fork, _)) = history.newest_first().next() else { return };
    if let Some((slot, restart)) = slots.iter().find(|(_, restart)| *restart > fork) {
        let what = format!("slot {slot} on disk is at {restart}");
        shared.fail(format!("Positions: node {node} begins timeline {timeline} at {fork}, and {what}"));
    }
}

/// Asks a node for rows that nobody may have.
async fn has_none(shared: &Shared, node: usize, sql: &str, what: &str) {
    if let Ok(Some(rows)) = ask(machine_of(node), sql, PATIENCE).await {
        shared.fail(format!("Positions: at node {node} {what}: {rows}"));
    }
}

/// Nothing is known of a log's future.
async fn ready(shared: Arc<Shared>, node: usize) {
    let sql = "select string_agg(slot_name || ' ' || restart_lsn, ', ') from pg_replication_slots \
               where restart_lsn > pg_current_wal_insert_lsn()";
    has_none(&shared, node, sql, "slots keep log from behind its end").await;
}

/// A standby may be further than its upstream was when it was sent the log's beginning; that does not count.
async fn streaming(shared: Arc<Shared>, node: usize) {
    pause(STREAM_MS).await;
    let sql = "select string_agg(application_name || ' ' || sent_lsn || ' ' || flush_lsn, ', ') \
               from pg_stat_replication where write_lsn > sent_lsn or flush_lsn > sent_lsn";
    has_none(&shared, node, sql, "standbys count for more than they were sent").await;
}

/// The branch that a node's files tell that it follows.
fn branch_of(shared: &Shared, node: usize) -> Option<Branch> {
    let cluster = shared.cluster.lock();
    facts::branch_followed(cluster.node(machine_of(node))?.files())
}

/// What a standby takes for confirmed is written by then, on the branch that both are on. One that takes in
/// another branch is asked anew.
async fn confirmed(shared: Arc<Shared>, node: usize) {
    pause(FOLLOWS_MS).await;
    // Of whoever is on another branch already this tells nothing. A server says which it begins before it
    // tells positions there.
    let upstream = || {
        shared.observe();
        let branch = branch_of(&shared, node)?;
        let upstream = shared.wire.lock().upstream_of(node, &branch)?;
        let writes = shared.facts.lock().branch_written(upstream);
        (writes == branch).then_some(upstream)
    };
    let Some(before) = upstream() else { return };
    let sql = "select confirmed_lsn from plimsoll_stat_sync where pg_is_in_recovery()";
    let Ok(Some(confirmed)) = ask(machine_of(node), sql, PATIENCE).await else { return };
    if upstream() != Some(before) {
        return;
    }
    // Fails on a standby.
    let sql = format!("select pg_current_wal_insert_lsn() where pg_current_wal_insert_lsn() < '{confirmed}'");
    if let Ok(Some(end)) = ask(machine_of(before), &sql, PATIENCE).await
        && upstream() == Some(before)
    {
        shared.fail(format!(
            "Positions: node {node} takes {confirmed} for confirmed, and the log of node {before} ends at \
             {end}"
        ));
    }
}

/// The branch that the record of a node's fence names.
fn fenced_by(shared: &Shared, node: usize) -> Option<Branch> {
    let cluster = shared.cluster.lock();
    facts::fenced_by(cluster.node(machine_of(node))?.files())
}

/// Who waits for standbys on a fenced server waits for what never comes.
async fn fenced(shared: Arc<Shared>, node: usize) {
    let since_ms = shared.now_ms();
    let sql = "select string_agg(pid::text, ' ') from pg_stat_activity where wait_event = 'SyncRep'";
    let mut waited = None::<BTreeSet<String>>;
    for pause_ms in [FENCE_MS, AGAIN_MS] {
        pause(pause_ms).await;
        if let Some(by) = fenced_by(&shared, node) {
            shared.facts.lock().fenced_by(node, by);
        }
        let Ok(waiting) = ask(machine_of(node), sql, PATIENCE).await else { return };
        let now: BTreeSet<String> =
            waiting.iter().flat_map(|pids| pids.split(' ')).map(str::to_owned).collect();
        waited = Some(waited.map_or(now.clone(), |before| before.intersection(&now).cloned().collect()));
    }
    if waited.is_some_and(|pids| !pids.is_empty()) && is_well(&shared, node, since_ms) {
        shared.fail(format!("OneWriter: node {node} is fenced, and commits go on waiting for standbys"));
    }
}

/// A node is asked to become the primary: notes which timelines it has seen. Administrators wait on the
/// others for what only the old branch could have.
pub(super) fn promotes(shared: &Arc<Shared>, node: usize) {
    let now_ms = shared.now_ms();
    let mut tokens = Vec::new();
    {
        let cluster = shared.cluster.lock();
        for other in shared.nodes() {
            let Some(there) = cluster.node(machine_of(other)).filter(|there| there.is_up()) else { continue };
            if other == node && shared.facts.lock().is_promoted(node) {
                // It was asked before, and may have begun.
            } else if other == node {
                let had = facts::timelines(there.files()).map(TimelineId::get).collect();
                shared.watch.lock().had.insert(node, (now_ms, had));
            } else if let Some(branch) = facts::branch_followed(there.files()) {
                tokens.push((other, branch));
            }
        }
    }
    for (other, branch) in tokens {
        shared.beside(wait_for_token(shared.clone(), other, branch));
    }
}

/// Waits for a position of a branch that it never reaches.
async fn wait_for_token(shared: Arc<Shared>, node: usize, branch: Branch) {
    let since_ms = shared.now_ms();
    let sql = format!("WAIT FOR LSN '{branch}:F0000000/0' TIMEOUT {TOKEN_MS}");
    let answer = ask(machine_of(node), &sql, Duration::from_millis(TOKEN_MS + 500)).await;
    let now_ms = shared.now_ms();
    let turned = shared.watch.lock().turned.get(&node).copied();
    let left = turned.filter(|(at_ms, timeline)| *at_ms > since_ms && *timeline > branch.timeline());
    let Some((turned_ms, _)) = left else { return };
    if now_ms > turned_ms + TOKEN_ENDS_MS && is_well(&shared, node, since_ms) {
        shared.fail(format!(
            "Timely: node {node} has left {branch} at {turned_ms} ms, and who waits there for more of it is \
             told so at {now_ms} ms: {answer:?}"
        ));
    }
}
