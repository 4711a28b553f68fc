//! What each event of a plan does. Events that do not fit the cluster's state (a start of what runs) do
//! nothing.

use super::admin::{self, PATIENCE, ask};
use super::facts::Asked;
use super::syncs::Synced;
use super::{
    CLIENTS, Shared, alone, disks, dropped, facts, handovers, heeded, lasting, lives, machine_of, reports,
    rewinding, slots, spoiled, syncs, watch,
};
use crate::cluster::{Cluster, DATA, Order, State, conninfo, has};
use crate::guarantee::Lost;
use crate::history::BURST_ROWS;
use crate::plan::{Answered, Event, SYNC_NAMES};
use crate::rare::Rare;
use server::StopMode;
use simulated::NodeId;
use simulation::CrashPolicy;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wal::Lsn;

/// How long a comparison of standbys waits for each.
const COMPARE: Duration = Duration::from_millis(300);
/// How often a server is asked whether it has read new names, and the time between two questions.
const SEE_TRIES: usize = 8;
const SEE_PAUSE: Duration = Duration::from_millis(10);
/// How long a clone may take.
const CLONE_LIMIT: Duration = Duration::from_secs(10);
/// How long a stop may take before the process is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// What at once is, for a stop, in milliseconds.
const AT_ONCE: Duration = Duration::from_millis(800);

/// Pauses replay, and has it go on.
const PAUSE: &str = "select pg_wal_replay_pause()";
const RESUME: &str = "select pg_wal_replay_resume()";
/// The setting that delays replay.
const APPLY_DELAY: &str = "recovery_min_apply_delay";

/// What a power cut leaves of what was not synced.
pub(super) fn policy_of(seed: u64) -> CrashPolicy {
    match seed % 5 {
        0 | 1 => CrashPolicy::LoseUnsynced,
        2 => CrashPolicy::InOrder { seed },
        _ => CrashPolicy::Anything { seed },
    }
}

fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// Does something later.
pub(super) fn later(shared: &Arc<Shared>, after_ms: u64, act: impl FnOnce(&Arc<Shared>) + Send + 'static) {
    let there = shared.clone();
    shared.beside(async move {
        tokio::time::sleep(ms(after_ms)).await;
        act(&there);
    });
}

/// What a node is asked for by an event that is a statement.
fn statement(event: &Event) -> Option<(usize, String)> {
    let (node, sql) = match event {
        Event::PauseReplay { node } => (node, PAUSE.to_owned()),
        Event::ResumeReplay { node } => (node, RESUME.to_owned()),
        Event::CreateSlot { name, node } => {
            (node, format!("select pg_create_physical_replication_slot('{name}', true)"))
        }
        Event::DropSlot { name, node } => (node, format!("select pg_drop_replication_slot('{name}')")),
        Event::Record { node, kilobytes } => {
            let bytes = kilobytes << 10;
            (node, format!("select pg_logical_emit_message(true, 'burst', repeat('x', {bytes}))"))
        }
        Event::Checkpoint { node } => (node, "checkpoint".to_owned()),
        Event::SwitchWal { node } => (node, "select pg_switch_wal()".to_owned()),
        _ => return None,
    };
    Some((*node, sql))
}

/// Lets an event happen; what it takes longer goes on beside.
pub(super) fn happen(shared: &Arc<Shared>, event: &Event) {
    shared.tell(&event.to_string());
    if let Some((node, sql)) = statement(event) {
        return tell(shared, node, sql);
    }
    match event {
        Event::Kill { node } => kill(shared, *node),
        Event::PowerCut { node, seed } => cut_power(shared, *node, *seed),
        Event::KillAtAnswer { answer, .. } | Event::PowerCutAtAnswer { answer, .. } => {
            shared.armed.lock().push((*answer, event.clone()));
        }
        Event::KillInPromotion { .. } | Event::PowerCutInPromotion { .. } => {
            shared.beside(down_in_promotion(shared.clone(), event.clone()));
        }
        Event::ImmediateStop { node } => stop(shared, *node, StopMode::Immediate),
        Event::FastStop { node } => stop(shared, *node, StopMode::Fast),
        Event::Restart { node } => start(shared, *node),
        Event::Freeze { .. }
        | Event::Partition { .. }
        | Event::Isolate { .. }
        | Event::SlowLink { .. }
        | Event::NarrowLink { .. }
        | Event::DiskFull { .. }
        | Event::SlowDisk { .. }
        | Event::KeepFiles { .. } => lasting::befall(shared, event),
        Event::ResetConnections { node } => reset(shared, *node),
        Event::Promote { node } => promote(shared, *node, None),
        Event::PromoteBest { among } => shared.beside(promote_best(shared.clone(), among.0.clone())),
        Event::PromoteIfNone { among } => shared.beside(promote_if_none(shared.clone(), among.0.clone())),
        Event::Switchover { to, ms } => shared.beside(handovers::ask_for(shared.clone(), *to, *ms)),
        Event::KillAtHandover { handed, .. }
        | Event::PowerCutAtHandover { handed, .. }
        | Event::CutAtHandover { handed, .. } => {
            shared.armed_handovers.lock().push((*handed, event.clone()));
        }
        Event::Rewind { node, from } => rewinding::rewind_beside(shared, *node, *from),
        Event::RewindAtRest { node, from } => rewinding::rewind_at_rest(shared, *node, *from),
        Event::Clone { node, from } => clone_anew(shared, *node, *from),
        Event::Follow { node, from } => follow(shared, *node, *from),
        Event::FollowPrimary { node } => follow_primary(shared, *node),
        Event::Reload { node, name, value } => reload(shared, *node, name, value),
        Event::ChangeSyncNames { names } => {
            let primary = *shared.primary.lock();
            reload(shared, primary, SYNC_NAMES, names);
            shared.beside(see_names(shared.clone(), primary, names.clone()));
        }
        Event::LoseLog { node, bytes } => lives::lose_log(shared, *node, *bytes),
        Event::SpoilLog { node, seed } => spoiled::spoil(shared, *node, *seed),
        Event::FailSync { node, seed } => syncs::fail(shared, *node, Synced::Log, *seed),
        Event::FailDataSync { node, seed } => syncs::fail(shared, *node, Synced::Tables, *seed),
        Event::DelayReplay { node, ms } => reload(shared, *node, APPLY_DELAY, &format!("{ms}ms")),
        Event::Burst { node, kilobytes } => burst(shared, *node, *kilobytes),
        Event::DropRead { .. } | Event::DropKept { .. } | Event::Alone { .. } | Event::Hold { .. } => {
            shared.beside(with_sessions(shared.clone(), event.clone()));
        }
        Event::StallLocks { ms } => shared.beside(alone::stall(shared.clone(), *ms)),
        Event::Rest { ms } => *shared.rests_until_ms.lock() = shared.now_ms() + ms,
        Event::ClockForward { node, ms } => jump(shared, *node, *ms, 1000),
        Event::ClockBack { node, ms } => jump(shared, *node, *ms, -1000),
        // They are statements.
        Event::PauseReplay { .. }
        | Event::ResumeReplay { .. }
        | Event::CreateSlot { .. }
        | Event::DropSlot { .. }
        | Event::Record { .. }
        | Event::Checkpoint { .. }
        | Event::SwitchWal { .. } => {}
    }
}

fn follow_primary(shared: &Arc<Shared>, node: usize) {
    let primary = *shared.primary.lock();
    if primary != node {
        follow(shared, node, primary);
    }
}

/// What an administrator does in sessions of his own.
async fn with_sessions(shared: Arc<Shared>, event: Event) {
    match event {
        Event::DropRead { node, on } => dropped::drop_read(shared, node, on).await,
        Event::DropKept { node, ms } => dropped::drop_kept(shared, node, ms).await,
        Event::Alone { sessions, node, ms } => alone::write(shared, (node, sessions), ms).await,
        Event::Hold { node, ms } => heeded::hold(shared, node, ms).await,
        _ => {}
    }
}

/// Asks a node for something, whatever it answers.
fn tell(shared: &Arc<Shared>, node: usize, sql: String) {
    let there = shared.clone();
    shared.asking.fetch_add(1, Ordering::Relaxed);
    shared.beside(async move {
        let answer = ask(machine_of(node), &sql, PATIENCE).await;
        there.tell(&format!("node {node}: {sql}: {answer:?}"));
        match sql.as_str() {
            PAUSE if answer.is_ok() => there.facts.lock().replay_pauses(node),
            RESUME if answer.is_ok() => there.facts.lock().replay_goes_on(node),
            _ => {}
        }
        if answer.is_err() {
            // The server may be at it still.
            tokio::time::sleep(PATIENCE).await;
        }
        there.asking.fetch_sub(1, Ordering::Relaxed);
    });
}

/// Lets happen what waits for such an answer. A client is told of it.
pub(super) fn answered(shared: &Arc<Shared>, answer: Answered) {
    let due: Vec<Event> = {
        let mut armed = shared.armed.lock();
        let (due, later) = std::mem::take(&mut *armed).into_iter().partition(|(of, _)| *of == answer);
        *armed = later;
        let due: Vec<(Answered, Event)> = due;
        due.into_iter().map(|(_, event)| event).collect()
    };
    for event in due {
        shared.tell(&format!("a client is answered: {event}"));
        match event {
            Event::KillAtAnswer { nodes, .. } => {
                nodes.0.into_iter().for_each(|node| kill(shared, node));
            }
            Event::PowerCutAtAnswer { nodes, seed, .. } => {
                for (node, nth) in nodes.0.into_iter().zip(0..) {
                    cut_power(shared, node, seed.wrapping_add(nth));
                }
            }
            _ => {}
        }
    }
}

/// How long a promotion may take to come to its signal files.
const PROMOTES: Duration = Duration::from_millis(900);
/// Time between two looks whether it has.
const LOOK: Duration = Duration::from_millis(1);

/// Takes a node down so long after its promotion has taken its signal file away.
async fn down_in_promotion(shared: Arc<Shared>, event: Event) {
    let (node, ms, power) = match event {
        Event::KillInPromotion { node, ms } => (node, ms, None),
        Event::PowerCutInPromotion { node, ms, seed } => (node, ms, Some(seed)),
        _ => return,
    };
    let is_standby = || {
        let cluster = shared.cluster.lock();
        cluster.node(machine_of(node)).is_some_and(|node| has(node.files(), "standby.signal"))
    };
    let gone = async {
        while is_standby() {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(PROMOTES, gone).await.is_err() {
        return;
    }
    tokio::time::sleep(Duration::from_millis(ms)).await;
    match power {
        None => kill(&shared, node),
        Some(seed) => cut_power(&shared, node, seed),
    }
}

/// How long a burst may take, in milliseconds: less than an administrator waits for it.
const BURST_MS: u64 = 1500;

/// Rows of which nobody asks anything: many small ones, or a few that are larger than pages.
fn burst(shared: &Arc<Shared>, node: usize, kilobytes: u64) {
    let rows = if kilobytes.is_multiple_of(2) { kilobytes } else { 1 + kilobytes / 100 };
    let rows = rows.clamp(1, BURST_ROWS - 1);
    let from = (shared.now_ms() * BURST_ROWS + rows) * BURST_ROWS;
    let times = (kilobytes << 10) / rows / 32;
    let last = rows - 1;
    tell(
        shared,
        node,
        format!(
            "set synchronous_commit = local; set statement_timeout = {BURST_MS}; insert into bursts \
             select {from} + g, repeat(md5(g::text), {times}) from generate_series(0, {last}) g"
        ),
    );
}

pub(super) fn is_up(shared: &Shared, node: usize) -> bool {
    shared.cluster.lock().node(machine_of(node)).is_some_and(|node| node.is_up())
}

/// A node's process ends at once.
pub(super) fn kill(shared: &Shared, node: usize) {
    down(shared, node, Lost::Process, |cluster, id| cluster.kill(id));
}

/// A node's machine loses power; the seed says what survives.
pub(super) fn cut_power(shared: &Shared, node: usize, seed: u64) {
    let policy = policy_of(seed);
    down(shared, node, Lost::Machine, |cluster, id| cluster.cut_power(id, policy));
}

/// Takes a node down at once.
pub(super) fn down(shared: &Shared, node: usize, lost: Lost, act: impl FnOnce(&mut Cluster, NodeId)) {
    if rewinding::is_at_work(shared, node) {
        act(&mut shared.cluster.lock(), machine_of(node));
        return rewinding::goes_down(shared, node, lost);
    }
    if !is_up(shared, node) {
        return end_clone(shared, node);
    }
    rewinding::count_sources(shared, node);
    if rewinding::is_node_halfway(shared, node) {
        shared.hit(Rare::CrashDuringRewind);
    }
    if shared.clones.lock().values().any(|from| *from == node) {
        shared.hit(Rare::SourceCrashDuringClone);
    }
    if shared.busy.lock().get(&node) == Some(&"promoted") {
        shared.hit(Rare::CrashDuringPromotion);
    }
    shared.observe();
    let now = shared.now_ms();
    let mut cluster = shared.cluster.lock();
    if leaves_recovery(shared, &cluster, node) {
        shared.hit(Rare::CrashDuringRecovery);
    }
    let names = |cluster: &Cluster| {
        cluster.node(machine_of(node)).map(|node| disks::names(node.files(), Path::new(DATA)))
    };
    if let Some(there) = cluster.node(machine_of(node)) {
        handovers::count_crash(shared, node, there.files());
    }
    let before = if lost == Lost::Machine { names(&cluster) } else { None };
    act(&mut cluster, machine_of(node));
    if before.is_some_and(|before| names(&cluster).is_some_and(|after| !before.is_subset(&after))) {
        shared.hit(Rare::LostName);
    }
    shared.facts.lock().lost(node, now, lost);
}

/// Whether a node goes down while it recovers. The pages that proved how far its log had been may be written
/// over by then.
fn leaves_recovery(shared: &Shared, cluster: &Cluster, node: usize) -> bool {
    let recovers = cluster.node(machine_of(node)).is_some_and(|node| node.state() == State::Starting);
    if recovers {
        shared.damaged.lock().entry(node).and_modify(|must_see| *must_see = false);
    }
    recovers
}

/// Ends the program that clones a node, if one does: the node keeps what it had.
fn end_clone(shared: &Shared, node: usize) {
    if shared.clones.lock().remove(&node).is_some() {
        shared.hit(Rare::CrashDuringClone);
        shared.cluster.lock().end_program(machine_of(node));
    }
}

pub(super) fn stop(shared: &Arc<Shared>, node: usize, mode: StopMode) {
    if !is_up(shared, node) {
        return;
    }
    shared.facts.lock().handovers.stopped(node, shared.now_ms());
    if mode == StopMode::Immediate {
        shared.facts.lock().lost(node, shared.now_ms(), Lost::Process);
    }
    let id = machine_of(node);
    let (states, life) = {
        let mut cluster = shared.cluster.lock();
        cluster.order(id, Order::Stop(mode));
        let node = cluster.node(id);
        (node.map(|node| node.states()), node.and_then(|node| node.life()))
    };
    let Some(mut states) = states else { return };
    let there = shared.clone();
    shared.beside(async move {
        let asked_ms = there.now_ms();
        // A server that was killed and started in one instant is never seen down: its life tells.
        let is_same = || there.cluster.lock().node(id).and_then(|node| node.life()) == life;
        let stood_still = || there.facts.lock().paused_since(node, asked_ms);
        if mode == StopMode::Immediate {
            let at_once = tokio::time::timeout(AT_ONCE, states.wait_for(State::is_over)).await.is_ok();
            if !at_once && is_same() && !stood_still() {
                there.fail(format!("Timely: node {node} was to stop at once at {asked_ms} ms, and goes on"));
            }
        }
        let timely = tokio::time::timeout(STOP_LIMIT, states.wait_for(State::is_over)).await.is_ok();
        if !is_same() {
            return;
        }
        there.observe();
        if timely {
            there.cluster.lock().bury(id);
        } else {
            down(&there, node, Lost::Process, |cluster, id| cluster.kill(id));
        }
    });
}

pub(super) fn start(shared: &Shared, node: usize) {
    shared.facts.lock().comes_back(node);
    if shared.busy.lock().contains_key(&node) {
        return;
    }
    let mut cluster = shared.cluster.lock();
    // What ends by itself, for an error, loses as much as what is killed.
    if cluster.node(machine_of(node)).is_some_and(|there| matches!(there.state(), State::Ended(Err(_)))) {
        shared.facts.lock().lost(node, shared.now_ms(), Lost::Process);
    }
    cluster.bury(machine_of(node));
    cluster.start(machine_of(node));
}

fn reset(shared: &Shared, node: usize) {
    let mut cluster = shared.cluster.lock();
    for other in shared.nodes().filter(|other| *other != node).map(machine_of).chain([CLIENTS]) {
        cluster.reset(machine_of(node), other);
    }
}

/// Asks a node to become the primary.
pub(super) fn promote(shared: &Arc<Shared>, node: usize, asked: Option<Asked>) {
    if !is_up(shared, node) {
        return;
    }
    let candidates = BTreeMap::from([(node, Lsn::INVALID)]);
    let alone = Asked { decided_ms: shared.now_ms(), candidates, sealed_from: None };
    // It may have begun, since the role was handed over to it.
    shared.observe();
    watch::promotes(shared, node);
    reports::ask_report(shared, node);
    shared.facts.lock().asked_to_promote(node, asked.unwrap_or(alone));
    *shared.primary.lock() = node;
    shared.cluster.lock().order(machine_of(node), Order::Promote);
}

/// How far a standby's log goes durably; None if it is none or does not answer.
async fn log_end(node: usize) -> Option<Lsn> {
    let sql = "select pg_last_wal_receive_lsn() - '0/0'::pg_lsn where pg_is_in_recovery()";
    let text = ask(machine_of(node), sql, COMPARE).await.ok()??;
    Some(Lsn::new(text.split('.').next()?.parse().ok()?))
}

/// The timeline that a node follows, as its files tell.
fn timeline_of(shared: &Shared, node: usize) -> u32 {
    shared.cluster.lock().node(machine_of(node)).map_or(0, |node| facts::accepted(node.files()).get())
}

pub(super) async fn promote_best(shared: Arc<Shared>, among: Vec<usize>) {
    let old = *shared.primary.lock();
    // What is told from here on nobody has compared: each says at another moment how far it is.
    let decided_ms = shared.now_ms();
    let mut compared = Vec::new();
    let mut ends = Vec::new();
    for node in among.into_iter().filter(|node| is_up(&shared, *node)) {
        ends.push((node, shared.admin(log_end(node))));
    }
    for (node, end) in ends {
        if let Ok(Some(end)) = end.await {
            compared.push(((timeline_of(&shared, node), end), node));
        }
    }
    let Some(((timeline, _), node)) = compared.iter().max().copied() else { return };
    // Of who is on another branch it tells nothing; one of them may be promoted already.
    let same = compared.into_iter().filter(|((other, _), _)| *other == timeline);
    let candidates: BTreeMap<usize, Lsn> = same.map(|((_, end), node)| (node, end)).collect();
    shared.tell(&format!("of nodes {candidates:?} node {node} has the most log"));
    let sealed_from = Some(old).filter(|old| !is_up(&shared, *old));
    promote(&shared, node, Some(Asked { decided_ms, candidates, sealed_from }));
}

/// Promotes the best of some nodes unless one of them says that it is a primary.
async fn promote_if_none(shared: Arc<Shared>, among: Vec<usize>) {
    shared.asking.fetch_add(1, Ordering::Relaxed);
    if handovers::is_leaderless(&shared, &among).await {
        promote_best(shared.clone(), among).await;
    }
    shared.asking.fetch_sub(1, Ordering::Relaxed);
}

fn clone_anew(shared: &Arc<Shared>, node: usize, from: usize) {
    let renewing = renew(shared.clone(), node, from);
    shared.beside(async { _ = renewing.await });
}

/// Takes a node down, clones it anew and starts it. It keeps what it had if that fails; whether it is a copy.
pub(super) async fn renew(shared: Arc<Shared>, node: usize, from: usize) -> bool {
    if !is_up(&shared, from) || shared.busy.lock().insert(node, "cloned").is_some() {
        return false;
    }
    down(&shared, node, Lost::Process, |cluster, id| cluster.kill(id));
    shared.observe();
    let cloning = shared.cluster.lock().clone_from(machine_of(node), machine_of(from));
    // Whoever cloned from a machine that lost its power in the middle gives up.
    shared.clones.lock().insert(node, from);
    let cloned = tokio::time::timeout(CLONE_LIMIT, cloning).await;
    shared.clones.lock().remove(&node);
    let is_copy = matches!(cloned, Ok(Ok(_)));
    {
        let mut cluster = shared.cluster.lock();
        match cloned {
            Ok(Ok(files)) => {
                if let Some(path) = Cluster::undurable(&files) {
                    shared.fail(format!(
                        "Disk: node {node} is cloned, and a power cut may take {} away",
                        path.display()
                    ));
                }
                let mut facts = shared.facts.lock();
                if let Some(old) = cluster.node(machine_of(node)) {
                    facts.add_all(old.files());
                }
                facts.lost(node, shared.now_ms(), Lost::Directory);
                shared.damaged.lock().remove(&node);
                // Its settings are those of the node that it is a copy of.
                let names = admin::in_file(&files, SYNC_NAMES).unwrap_or_default();
                facts.names_set(node, shared.now_ms(), &names);
                slots::set_name(&shared, node, &files);
                cluster.take(machine_of(node), files);
            }
            Ok(Err(_)) => {}
            Err(_) => cluster.end_program(machine_of(node)),
        }
    }
    shared.busy.lock().remove(&node);
    slots::make(&shared, node, from);
    start(&shared, node);
    is_copy
}

/// Lets a node follow another one: a standby by a reload, one that is down by a start as a standby.
pub(super) fn follow(shared: &Arc<Shared>, node: usize, from: usize) {
    let conninfo = format!("{} application_name=n{node}", conninfo(machine_of(from)));
    slots::make(shared, node, from);
    if is_up(shared, node) {
        return reload(shared, node, "primary_conninfo", &conninfo);
    }
    if !shared.busy.lock().contains_key(&node) {
        if let Some(down) = shared.cluster.lock().node(machine_of(node)) {
            // The virtual disk takes it, unless it is full.
            slots::set_name(shared, node, down.files());
            let _ = admin::make_standby(down.files(), &conninfo);
        }
        start(shared, node);
    }
}

/// Changes a setting in a node's file, and has it read if the server is up.
pub(super) fn reload(shared: &Shared, node: usize, name: &str, value: &str) {
    if matches!(shared.busy.lock().get(&node), Some(&("cloned" | "rewound"))) {
        return;
    }
    let mut cluster = shared.cluster.lock();
    let set = cluster.node(machine_of(node)).map(|node| admin::set_in_file(node.files(), name, value));
    // On a full disk it stays as it is.
    if let Some(Ok(())) = set {
        let (now_ms, mut facts) = (shared.now_ms(), shared.facts.lock());
        facts.patience.is_set(node, now_ms, name);
        if name == SYNC_NAMES {
            facts.names_set(node, now_ms, value);
        }
        cluster.order(machine_of(node), Order::Reload);
    }
}

/// Asks a node for its synchronous_standby_names until it shows these.
async fn see_names(shared: Arc<Shared>, node: usize, names: String) {
    for _ in 0..SEE_TRIES {
        tokio::time::sleep(SEE_PAUSE).await;
        let shown = ask(machine_of(node), "show synchronous_standby_names", COMPARE).await;
        if shown.is_ok_and(|shown| shown.as_deref() == Some(&names)) {
            return shared.facts.lock().names_seen(node, shared.now_ms(), &names);
        }
    }
}

fn jump(shared: &Shared, node: usize, ms: u64, us: i64) {
    if us < 0 {
        shared.hit(Rare::ClockBack);
    }
    let by = i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(us);
    shared.cluster.lock().jump_clock(machine_of(node), by);
}
