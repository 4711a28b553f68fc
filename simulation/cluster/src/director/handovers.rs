//! Handovers of a primary's role: whoever offers it has given up writing, durably, and all of its log to whom
//! it is offered. Then one leads: who was offered it, or who backs out of it.
//!
//! | when                     | what must hold                                                            |
//! |--------------------------|---------------------------------------------------------------------------|
//! | the role is offered      | the offer's position is the end of the primary's log; the marker that     |
//! |                          | keeps this one from writing is durable; the standby has the log, durably  |
//! | a primary backs out      | it takes writes again, soon                                               |
//! | a standby has taken over | the old primary is a standby, soon                                        |
//!
//! That nobody acknowledges a commit behind the offer's position is asked in the end (`checks/handed.rs`).

use super::admin::{PATIENCE, ask};
use super::facts::{Asked, branch_of};
use super::words::{BACKED_OUT, HANDED_OVER, HANDOVER_UNDECIDED, HANDS_OVER, STARTS, TAKES_OVER};
use super::{Shared, disks, events, lasting, machine_of, number_of, slots, spoiled};
use crate::branch::Branch;
use crate::cluster::{DATA, SEGMENT_BYTES, SLOW_MS, State, conninfo, has};
use crate::features::Feature;
use crate::guarantee::Lost;
use crate::plan::{Event, Handed};
use crate::rare::Rare;
use host::Disk;
use simulated::net::Written;
use simulation::VirtualDisk;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wal::reader::Next;
use wal::{Lsn, TimelineId};

/// The marker of a primary that has given up writing, in its directory.
pub(super) const MARKER: &str = "plimsoll/handover";
/// How soon a primary that has ended a handover runs again, in milliseconds. It may ask its archive for its
/// own timeline and for the next.
const AGAIN_MS: u64 = 4000;
const AGAIN_BY_ARCHIVE_MS: u64 = AGAIN_MS + 2 * SLOW_MS;
/// How long an administrator waits for the answer beyond the time that the standby has.
const ANSWER: Duration = Duration::from_secs(2);
/// How often he asks, and the time between.
const TRIES: usize = 8;
const PAUSE: Duration = Duration::from_millis(150);
/// What a primary says when it is to be asked again.
const NOT_READY: &[&str] = &[
    "no standby \"",
    "is not streaming",
    "no standby that can take over",
    "starting up",
    "it is not known how",
];

/// What is known of handovers.
#[derive(Debug, Default)]
pub(super) struct Handovers {
    /// Nodes that hand their role over.
    handing: Vec<usize>,
    /// The branch whose end was offered to a node last.
    offered: BTreeMap<usize, Branch>,
    /// Nodes that have taken a role, on this branch, and have not begun a timeline since.
    taking: Vec<(usize, Branch)>,
    /// Branches that began so, and what was given up for each.
    branches: Vec<(Branch, Branch)>,
    /// When who hands over stopped for that.
    stops: Vec<(usize, u64)>,
    /// When a stop was last asked of each node.
    stopped: BTreeMap<usize, u64>,
    /// What was told of a handover and is to be looked into: who, when, and whether it is a primary then.
    due: Vec<(usize, u64, bool)>,
}

impl Handovers {
    /// Takes in a line of a node's log.
    fn hear(&mut self, node: usize, at_ms: u64, line: &str) -> Option<Rare> {
        if line.contains(HANDS_OVER) {
            self.handing.push(node);
            self.stops.push((node, at_ms));
        } else if line.contains(STARTS) {
            self.handing.retain(|other| *other != node);
        } else if line.contains(BACKED_OUT) {
            self.due.push((node, at_ms, true));
            return Some(Rare::HandoverBackedOut);
        } else if line.contains(HANDED_OVER) {
            self.due.push((node, at_ms, false));
        } else if line.contains(HANDOVER_UNDECIDED) {
            self.due.push((node, at_ms, false));
            return Some(Rare::HandoverUndecided);
        }
        None
    }

    /// A node went down.
    pub(super) fn lost(&mut self, node: usize, lost: Lost) {
        self.handing.retain(|other| *other != node);
        if lost == Lost::Directory {
            self.promoted_otherwise(node);
        }
    }

    /// A node is asked to stop.
    pub(super) fn stopped(&mut self, node: usize, at_ms: u64) {
        self.stopped.insert(node, at_ms);
    }

    /// A node is to be promoted because somebody else asks for it.
    pub(super) fn promoted_otherwise(&mut self, node: usize) {
        self.taking.retain(|(other, _)| *other != node);
    }

    /// A node takes the role that it was offered.
    fn takes(&mut self, node: usize) {
        self.taking.extend(self.offered.remove(&node).map(|given_up| (node, given_up)));
    }

    /// A node has begun a branch; whether it was handed over.
    pub(super) fn begins(&mut self, node: usize, branch: &Branch) -> bool {
        let Some(at) = self.taking.iter().position(|(other, _)| *other == node) else { return false };
        let (_, given_up) = self.taking.remove(at);
        self.promoted_otherwise(node);
        self.branches.push((branch.clone(), given_up));
        true
    }

    /// Branches that began so, each with the one that was given up for it.
    pub(super) fn branches(&self) -> &[(Branch, Branch)] {
        &self.branches
    }

    /// When nodes stopped for a handover.
    pub(super) fn stops(&self) -> &[(usize, u64)] {
        &self.stops
    }

    /// Whether any node hands its role over.
    pub(super) fn are_under_way(&self) -> bool {
        !self.handing.is_empty()
    }

    /// Whether a node hands its role over.
    pub(super) fn hands_over(&self, node: usize) -> bool {
        self.handing.contains(&node)
    }
}

/// Takes in a line of a node's log. The cluster is locked.
pub(super) fn hear(shared: &Shared, node: usize, at_ms: u64, line: &str) {
    if line.contains(TAKES_OVER) {
        let candidates = BTreeMap::from([(node, Lsn::INVALID)]);
        let mut facts = shared.facts.lock();
        facts.asked_to_promote(node, Asked { decided_ms: at_ms, candidates, sealed_from: None });
        facts.handovers.takes(node);
        *shared.primary.lock() = node;
    }
    let rare = shared.facts.lock().handovers.hear(node, at_ms, line);
    rare.into_iter().for_each(|rare| shared.hit(rare));
}

/// Has the primary asked to hand its role over, again and again if it or the standby is not ready for that.
pub(super) async fn ask_for(shared: Arc<Shared>, to: usize, ms: u64) {
    let rejoin = if ms.is_multiple_of(2) { conninfo(machine_of(to)) } else { String::new() };
    let sql = format!("select standby from plimsoll_switchover('n{to}', {ms}, '{rejoin}')");
    shared.asking.fetch_add(1, Ordering::Relaxed);
    for _ in 0..TRIES {
        let node = *shared.primary.lock();
        if node == to || is_over(&shared) {
            break;
        }
        slots::make(&shared, node, to);
        let answer = ask(machine_of(node), &sql, Duration::from_millis(ms) + ANSWER).await;
        shared.tell(&format!("node {node} is asked to hand over to node {to}: {answer:?}"));
        match answer {
            Err(why) if NOT_READY.iter().any(|words| why.contains(words)) => tokio::time::sleep(PAUSE).await,
            _ => break,
        }
    }
    // What it begins is told of by then.
    tokio::time::sleep(PAUSE).await;
    shared.asking.fetch_sub(1, Ordering::Relaxed);
}

/// Whether the plan has come to its end.
fn is_over(shared: &Shared) -> bool {
    shared.now_ms() >= shared.plan_from_ms.load(Ordering::Relaxed) + shared.plan.duration_ms
}

/// Whether none of these nodes says that it is a primary.
pub(super) async fn is_leaderless(shared: &Shared, among: &[usize]) -> bool {
    for node in among.iter().copied() {
        let is_up = shared.cluster.lock().node(machine_of(node)).is_some_and(|there| there.is_up());
        let asked = async move { ask(machine_of(node), "select pg_is_in_recovery()", PATIENCE).await };
        if is_up && matches!(shared.admin(asked).await, Ok(Ok(Some(said))) if said == "f") {
            return false;
        }
    }
    true
}

/// Counts that a node goes down while it hands over.
pub(super) fn count_crash(shared: &Shared, node: usize, files: &VirtualDisk) {
    if shared.facts.lock().handovers.hands_over(node) {
        let has_given_up = has(files, MARKER);
        shared.hit(if has_given_up { Rare::CrashAfterGivingUp } else { Rare::CrashBeforeGivingUp });
    }
}

/// A primary offers its role to a standby, with this end of its log: looked at as it does so.
pub(super) fn offered(
    shared: &Shared,
    written: &Written,
    timeline: TimelineId,
    end: Lsn,
) -> Result<(), String> {
    let (from, to) = (number_of(written.from), number_of(written.to));
    let cluster = shared.cluster.lock();
    let (Some(old), Some(new)) = (cluster.node(written.from), cluster.node(written.to)) else {
        return Ok(());
    };
    let offers = format!("node {from} offers its role to node {to} at {end}");
    let marker = Path::new(DATA).join(MARKER);
    let len = old.files().metadata(&marker).map_or(0, |metadata| metadata.len);
    if !old.files().is_durable(&marker, 0..len).unwrap_or(false) {
        return Err(format!("OneWriter: {offers}, and a power cut would have it write again"));
    }
    let Some(history) = disks::history(old.files(), timeline) else { return Ok(()) };
    shared.facts.lock().handovers.offered.insert(to, branch_of(&history, timeline));
    let goes_on = disks::reader(old.files(), &history, end)
        .is_some_and(|mut reader| matches!(reader.next(), Ok(Next::Record(_))));
    if goes_on {
        return Err(format!("OneWriter: {offers}, and its log goes on"));
    }
    let begin = end - SEGMENT_BYTES;
    // What was read before a disk changed it cannot be read up to its end any more.
    let ends_there = spoiled::is_on(shared, new.files()) || disks::is_record_end(new.files(), &history, end);
    if !ends_there || disks::is_log_durable(new.files(), &history, (begin, end)).is_err() {
        return Err(format!("Durable: {offers}, and that one does not have all of its log"));
    }
    Ok(())
}

/// Lets happen what waits for a role to be handed over so far. Who says so is in the middle of it.
pub(super) fn handed(shared: &Arc<Shared>, handed: Handed) {
    let due: Vec<Event> = {
        let mut armed = shared.armed_handovers.lock();
        let (due, later) = std::mem::take(&mut *armed).into_iter().partition(|(of, _)| *of == handed);
        *armed = later;
        let due: Vec<(Handed, Event)> = due;
        due.into_iter().map(|(_, event)| event).collect()
    };
    if !due.is_empty() {
        let there = shared.clone();
        shared.beside(async move { due.iter().for_each(|event| happen(&there, event)) });
    }
}

fn happen(shared: &Arc<Shared>, event: &Event) {
    shared.tell(&format!("now: {event}"));
    match event {
        Event::KillAtHandover { nodes, .. } => {
            nodes.0.iter().for_each(|node| events::kill(shared, *node));
        }
        Event::PowerCutAtHandover { nodes, seed, .. } => {
            for (node, nth) in nodes.0.iter().zip(0..) {
                events::cut_power(shared, *node, seed.wrapping_add(nth));
            }
        }
        Event::CutAtHandover { from, to, ways, ms, .. } => {
            lasting::partition(shared, (machine_of(*from), machine_of(*to)), *ways, *ms);
        }
        _ => {}
    }
}

/// Looks into what was told of handovers a while ago.
pub(super) fn look(shared: &Shared) -> Result<(), String> {
    let (now_ms, has_archive) = (shared.now_ms(), shared.plan.features.has(Feature::Archives));
    let again_ms = if has_archive { AGAIN_BY_ARCHIVE_MS } else { AGAIN_MS };
    let due = {
        let mut facts = shared.facts.lock();
        let all = std::mem::take(&mut facts.handovers.due);
        let (due, later) = all.into_iter().partition(|(_, at_ms, _)| at_ms + again_ms <= now_ms);
        facts.handovers.due = later;
        let due: Vec<(usize, u64, bool)> = due;
        due
    };
    due.into_iter().try_for_each(|(node, at_ms, leads)| runs_again(shared, (node, at_ms), leads))
}

/// Who has ended a handover runs again, if nothing has befallen it since: as the primary that it was, or not.
fn runs_again(shared: &Shared, (node, at_ms): (usize, u64), leads: bool) -> Result<(), String> {
    let cluster = shared.cluster.lock();
    let Some(there) = cluster.node(machine_of(node)) else { return Ok(()) };
    let befell = {
        let facts = shared.facts.lock();
        let stopped_ms = facts.handovers.stopped.get(&node);
        let was_stopped = stopped_ms.is_some_and(|stopped_ms| stopped_ms + AGAIN_MS > at_ms);
        let is_free = facts.losses_since(node, at_ms) == 0 && !facts.paused_since(node, at_ms);
        let again = facts.handovers.stops.iter().any(|(other, again_ms)| *other == node && *again_ms > at_ms);
        !is_free || was_stopped || again || facts.was_asked_to_promote(node, at_ms)
    };
    let was_stopped = there.state().is_over();
    if befell || was_stopped {
        return Ok(());
    }
    let is_standby = has(there.files(), "standby.signal");
    if there.state() == State::Up && is_standby != leads {
        return Ok(());
    }
    let what = if leads { "the primary that it was" } else { "a standby" };
    Err(format!("liveness: node {node} has ended a handover at {at_ms} ms, and is not {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_was_handed_over_if_its_writer_has_taken_the_role_and_nobody_else_promoted_it() {
        let mut handovers = Handovers::default();
        let (branch, given_up) = (Branch::new("2-a"), Branch::new("1"));
        let takes = |handovers: &mut Handovers| {
            handovers.offered.insert(1, given_up.clone());
            handovers.takes(1);
        };
        assert!(!handovers.begins(1, &branch));
        takes(&mut handovers);
        handovers.promoted_otherwise(1);
        assert!(!handovers.begins(1, &branch));
        takes(&mut handovers);
        handovers.lost(1, Lost::Machine);
        assert!(handovers.begins(1, &branch) && !handovers.begins(1, &branch));
        assert_eq!(handovers.branches(), [(branch, given_up)]);
    }

    #[test]
    fn who_hands_over_does_so_until_it_starts_again_or_goes_down() {
        let mut handovers = Handovers::default();
        let begins = format!("LOG:  {HANDS_OVER}\"n1\"");
        handovers.hear(0, 5, &begins);
        assert!(handovers.hands_over(0));
        handovers.hear(0, 9, STARTS);
        assert!(!handovers.hands_over(0));
        handovers.hear(0, 15, &begins);
        handovers.lost(0, Lost::Process);
        assert!(!handovers.hands_over(0));
        assert_eq!(handovers.stops(), [(0, 5), (0, 15)]);
    }
}
