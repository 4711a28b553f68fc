//! Whether another node has replaced this one: the cluster's other nodes are asked ([`super::asking`]), and
//! what they tell is believed from replication peers only. They tell what they are witnesses of
//! ([`wal::NodeLog::witnessed`]), and of which branches witnesses told them ([`replica::timeline::heard`]),
//! but nothing that they know from an archive alone: a test copy restored from a backup replaces nobody.
//!
//! A fence has one home on disk, the record that [`FenceStore`] keeps, and one in memory,
//! [`Database::fence`]. It is in force in memory first, so nothing is acknowledged after the verdict, and is
//! written then, into space that was taken before ([`reserve`]); a write that fails is tried again at each
//! look around. The log tells of it once it lasts, or with the word that it does not yet. Whoever makes this
//! node writable asks for the record: the start of a primary ([`apply_stored`]), which heeds too what it was
//! told as a standby, and any promotion ([`check_promotion`]).

use super::asking::{self, Answers, Asked, Questions, Target, Told, targets};
use super::{Replication, roster};
use crate::error::ServerError;
use crate::state::NodeState;
use host::{Instant, Mutex};
use replica::ReplicaError;
use replica::driver::peers::SilenceKind;
use replica::timeline::fence::{FenceRecord, FenceStore, NodeBranch, Verdict};
use replica::timeline::relation::{Relation, relation};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use wal::history::TimelineHistory;
use wal::{Replaced, TimelineId};

/// Least time between two times that a standby asks.
const STANDBY_INTERVAL: Duration = Duration::from_secs(30);

/// How often it is said again that a peer writes another branch, or is of another cluster.
const APART_INTERVAL: Duration = Duration::from_secs(60);
/// Most of such lines in that time.
const APART_MAX: usize = 16;

/// Who tells of what this server was told in an earlier life.
const ITSELF: &str = "this server itself";

/// What of the fence is still to be done.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// It is in force and not on disk yet.
    unrecorded: Mutex<Option<FenceRecord>>,
    /// The disk has not given the space for a record yet, which the log says.
    without_reserve: AtomicBool,
    /// Somebody told of a branch that only the peers can confirm, or of a number that is news.
    inquiry: Notify,
    /// The peers that could not be asked at the last look around.
    silent: Mutex<BTreeSet<String>>,
    /// What was said of peers that write another branch, and when, on the monotonic clock.
    diverged: Mutex<BTreeMap<String, Duration>>,
    /// The same of peers that are of another cluster.
    strangers: Mutex<BTreeMap<String, Duration>>,
    /// What each said last.
    pub(super) answers: Mutex<Answers>,
    /// The timeline whose history was last found too long to be kept.
    pub(super) too_long: Mutex<Option<TimelineId>>,
}

/// Has all nodes asked at once.
pub(crate) fn inquire(replication: &Replication) {
    replication.fence.inquiry.notify_one();
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

/// Applies to a primary what is known here: the fence of an earlier life, or else a branch of which it was
/// told then. Nobody fences a standby, and one that is no standby any more is replaced by what it passes on
/// to others. A node that goes on from the branch that replaced it is not fenced.
pub(crate) fn apply_stored(replication: &Replication) -> Result<(), ReplicaError> {
    let ours = own_branch(replication);
    if let Some(record) = store(replication).holding(&ours)? {
        let reason = reason(&record);
        put_in_force(replication, &record, &reason);
        tell(replication, &reason);
        return Ok(());
    }
    for history in replication.roster.heard_branches(&asking::own_witness(replication)) {
        judge(replication, ITSELF, &NodeBranch { system: ours.system, history }, Source::Asked, true);
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

/// Why this node takes no writes, or would not be promoted.
pub(crate) fn own(replication: &Replication) -> Option<String> {
    match replication.database.fenced() {
        Some(reason) => Some(format!("{}: {reason}", storage::FENCED)),
        None if replication.database.is_in_recovery() => {
            check_promotion(replication).err().map(|refused| refused.message)
        }
        None => None,
    }
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

/// Judges a branch that was told of; fences this node durably if it was replaced. `passed_on`: who tells of
/// it is no witness of it.
fn judge(replication: &Replication, peer: &str, theirs: &NodeBranch, source: Source, passed_on: bool) {
    let (ours, database) = (own_branch(replication), &replication.database);
    let primary = !database.is_in_recovery();
    let log_end = replication.log.flushed();
    let verdict = replica::timeline::fence::judge(&ours, primary, log_end, theirs);
    if passed_on && is_beside_the_point(replication, &ours, theirs, verdict) {
        return;
    }
    match verdict {
        Verdict::Beyond { fork } if source == Source::Told => {
            replication.ground.log.warning(format!(
                "\"{peer}\" tells of timeline {}, which left this server's timeline at {fork}; \
                 that is not believed, \
                 since the log here ends at {log_end}: the peers are asked",
                theirs.history.target()
            ));
            inquire(replication);
        }
        Verdict::Fence { fork } | Verdict::Beyond { fork } if replication.database.fenced().is_none() => {
            let peer = if passed_on { format!("{peer}, which was told of it") } else { peer.to_owned() };
            let now = replication.ground.host.clock.now();
            replication.roster.hear_of_branch(&ours.history, &theirs.history);
            raise(replication, FenceRecord::new(&ours, theirs, fork, log_end, &peer, now));
        }
        Verdict::Diverged { fork, twins } => {
            let what = if twins { "has the same number" } else { "left the common history" };
            let timeline = theirs.history.target();
            tell_apart(
                replication,
                &replication.fence.diverged,
                format!("peer \"{peer}\" writes another branch: its timeline {timeline} {what} at {fork}"),
            );
        }
        Verdict::Stranger => {
            tell_apart(
                replication,
                &replication.fence.strangers,
                format!("peer \"{peer}\" belongs to another cluster ({})", theirs.system),
            );
        }
        Verdict::Fine | Verdict::Fence { .. } | Verdict::Beyond { .. } => {}
    }
}

/// Warns of a peer that goes its own way, unless that was said a moment ago.
fn tell_apart(replication: &Replication, said: &Mutex<BTreeMap<String, Duration>>, what: String) {
    let now = replication.ground.host.clock.monotonic();
    if is_due(&mut said.lock(), &what, now) {
        replication.ground.log.warning(what);
    }
}

/// Whether a line is to be said now, which is noted then: the peers are asked several times a second.
fn is_due(said: &mut BTreeMap<String, Duration>, line: &str, now: Duration) -> bool {
    said.retain(|_, at| now.saturating_sub(*at) < APART_INTERVAL);
    let is_due = said.len() < APART_MAX && !said.contains_key(line);
    if is_due {
        said.insert(line.to_owned(), now);
    }
    is_due
}

/// Whether what is passed on says nothing of this node: only a witness writes another branch, and what an
/// administrator gave up counts no more.
fn is_beside_the_point(
    replication: &Replication,
    ours: &NodeBranch,
    theirs: &NodeBranch,
    verdict: Verdict,
) -> bool {
    match verdict {
        Verdict::Fence { .. } | Verdict::Beyond { .. } => {
            replication.roster.is_given_up(&ours.history, &theirs.history)
        }
        Verdict::Fine | Verdict::Diverged { .. } | Verdict::Stranger => true,
    }
}

/// From here on nothing is acknowledged, and sessions are read-only, which clients see that look for a server
/// that takes writes; and nobody gets log from here that is not the other timeline's, too, such as a
/// checkpoint's, which would take a standby past the fork.
fn put_in_force(replication: &Replication, record: &FenceRecord, reason: &str) {
    replication.database.fence(reason);
    replication.log.set_replaced(Replaced { at: record.fork, by: record.descendant });
    let read_only = ["default_transaction_read_only", "transaction_read_only"].map(|name| (name, "on"));
    replication.ground.set_computed(&read_only);
}

/// Raises a fence: in memory first, then on disk. Others that were replaced, too, may ask this server in its
/// next life, so the branch that it has heard of comes to the disk before the record that lets it rest there.
fn raise(replication: &Replication, found: FenceRecord) {
    let reason = reason(&found);
    put_in_force(replication, &found, &reason);
    roster::save_heard(&replication.ground, &replication.roster);
    *replication.fence.unrecorded.lock() = Some(found);
    record(replication);
    tell(replication, &reason);
    // Others hear of it when they write, or at the end of what they wait for.
    let ended = replication.sessions.terminate_idle_writers();
    if ended > 0 {
        let what = "sessions that idled in a transaction which had written";
        replication.ground.log.log(format!("ended {ended} {what}"));
    }
}

/// Tells the log, once, of each node that cannot be asked, and when it can again. That a member is not
/// there is no reason to warn.
fn tell_silence(replication: &Replication, asked: &Asked) {
    let (mut silent, name) = (replication.fence.silent.lock(), &asked.target.name);
    match &asked.answer {
        Ok(_) if silent.remove(name) => {
            replication.ground.log.log(format!("peer \"{name}\" answers again"));
        }
        Err(silence) if silent.insert(name.clone()) => {
            let what = format!("peer \"{name}\" cannot tell whether this server was replaced: {silence}");
            let is_away = matches!(silence.kind, SilenceKind::NotThere | SilenceKind::NotYet);
            match is_away && !asked.target.is_named() {
                true => replication.ground.log.log(what),
                false => replication.ground.log.warning(what),
            }
        }
        Ok(_) | Err(_) => {}
    }
}

/// Judges what a node told. What this node told itself is fine by its branch, whoever has its id.
fn heed(replication: &Replication, asked: &Asked) {
    if let Ok(peer) = &asked.answer
        && asking::is_of_cluster(replication, peer)
        && !host::planted!("what peers tell of their branch is not heeded")
    {
        let name = &asked.target.name;
        judge(replication, name, &peer.branch, Source::Asked, false);
        for history in &peer.heard {
            let passed_on = NodeBranch { system: peer.branch.system, history: history.clone() };
            judge(replication, name, &passed_on, Source::Asked, true);
        }
    }
}

/// Asks all nodes once, at the start of a primary, and draws the consequence. Waits until all have answered,
/// one has replaced this node, or plimsoll.fence_check_timeout is over; a machine where no server listens has
/// answered, too. Who has not is asked again by [`watch`]. Tells of no silence: a node that starts may be one
/// of its peers, and does not answer yet.
pub(crate) async fn look_around(replication: &Replication) {
    let limit = replication.ground.config().fence_check_timeout;
    let targets = targets(replication);
    if targets.is_empty() || limit.is_zero() {
        return;
    }
    let mut questions = Questions::default();
    questions.ask(targets, Some(Instant::now() + limit));
    let all = async {
        while let Some(asked) = questions.next(replication).await {
            heed(replication, &asked);
            if replication.database.fenced().is_some() {
                return;
            }
        }
    };
    if tokio::time::timeout(limit, all).await.is_err() {
        let (open, limit_ms) = (questions.open().join("\", \""), limit.as_millis());
        replication.ground.log.warning(format!(
            "\"{open}\" did not tell within {limit_ms} ms whether this server was replaced: it goes on, and asks again"
        ));
    }
}

/// Asks the other nodes again and again: while this node is a primary, to be fenced if it was replaced; while
/// it is a standby, seldom, to know which timelines there are.
pub(super) async fn watch(replication: Arc<Replication>, mut states: watch::Receiver<NodeState>) {
    let mut reloads = replication.ground.reloads();
    let mut questions = Questions::default();
    let mut asked_at = Instant::now();
    loop {
        let is_primary = *states.borrow() == NodeState::Running;
        let interval = replication.ground.config().fence_probe_interval;
        let interval = if is_primary { interval } else { interval.max(STANDBY_INTERVAL) };
        tokio::select! {
            biased;
            changed = reloads.changed() => if changed.is_err() { return },
            changed = states.changed() => if changed.is_err() { return },
            () = replication.fence.inquiry.notified() => {}
            Some(asked) = questions.next(&replication), if !questions.is_empty() => {
                if is_primary {
                    tell_silence(&replication, &asked);
                    heed(&replication, &asked);
                }
                continue;
            }
            () = tokio::time::sleep_until(asked_at + interval) => {}
        }
        asked_at = Instant::now();
        if replication.database.fenced().is_some() {
            record(&replication);
            continue;
        }
        let state = *states.borrow();
        if matches!(state, NodeState::Running | NodeState::Recovering | NodeState::HotStandby) {
            if state == NodeState::Running {
                reserve(&replication);
            }
            let targets = targets(&replication);
            forget_others(&replication, &targets);
            questions.ask(targets, None);
        }
    }
}

/// Of who is not asked any more nothing is kept.
fn forget_others(replication: &Replication, targets: &[Target]) {
    let names: BTreeSet<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    replication.fence.silent.lock().retain(|name| names.contains(name.as_str()));
    replication.fence.answers.lock().retain(|name, _| names.contains(name.as_str()));
}

/// How many did not answer when they were last asked.
pub(crate) fn silent_count(replication: &Replication) -> usize {
    replication.fence.answers.lock().values().filter(|told| told.timelines.is_none()).count()
}

/// What an address of the roster or of plimsoll.peers said last.
pub(crate) fn last_word(replication: &Replication, name: &str) -> Option<Told> {
    replication.fence.answers.lock().get(name).cloned()
}

/// `PLIMSOLL descendant`: a replication peer tells its history, or passes one on. It may be gone once it is
/// answered, and so may this server: what is passed on from here is durable by then.
pub(crate) async fn told(
    replication: &Arc<Replication>,
    peer: &str,
    timeline: TimelineId,
    history: &str,
    passed_on: bool,
) -> Result<(), ReplicaError> {
    let history = TimelineHistory::parse(timeline, history)
        .map_err(|error| ReplicaError::Protocol(error.to_string()))?;
    let theirs = NodeBranch { system: replication.database.system_id(), history };
    judge(replication, peer, &theirs, Source::Told, passed_on);
    let ours = asking::own_witness(replication);
    let left_here = matches!(
        relation(&ours, &theirs.history),
        Relation::Descendant { fork } if fork <= replication.log.flushed()
    );
    let given_up = passed_on && replication.roster.is_given_up(&ours, &theirs.history);
    if left_here && replication.database.is_in_recovery() && !given_up {
        asking::hear_of_branch(replication, peer, &theirs.history);
        roster::keep_heard(replication).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_a_peer_goes_its_own_way_is_said_once_a_minute() {
        let mut said = BTreeMap::new();
        let seconds = Duration::from_secs;
        for (at, line, due) in [
            (5, "a", true),
            (6, "a", false),
            (6, "b", true),
            (64, "a", false),
            (65, "a", true),
            (65, "b", false),
            (66, "b", true),
        ] {
            assert_eq!(is_due(&mut said, line, seconds(at)), due, "{line} at {at}");
        }
        let others = (0..100).filter(|line| is_due(&mut said, &line.to_string(), seconds(70))).count();
        assert_eq!((others, said.len()), (APART_MAX - 2, APART_MAX), "there is an end to them");
    }
}
