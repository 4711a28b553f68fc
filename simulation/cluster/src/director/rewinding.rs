//! Nodes that went another way than the cluster are rewound, as by `plimsoll rewind`. In the middle of that
//! their directory starts nobody; at its end all of it is durable, nothing of the other branch's log is
//! there, and what was said to be taken back is what the log has.

use super::{Shared, disks, events, facts, machine_of, own_rewinds, slots};
use crate::branch::Branch;
use crate::cluster::{DATA, Discarded, RewindEnd, State, has};
use crate::guarantee::Lost;
use crate::history::{Deed, Level};
use crate::machine::rewind_rules;
use crate::rare::Rare;
use host::Disk;
use rewind::RewindError;
use server::StopMode;
use simulation::VirtualDisk;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::REWIND_MARKER;
use tokio::sync::Notify;
use wal::control::{ClusterState, ControlFile, control_file_path};
use wal::reader::Next;
use wal::xact::XactRecord;
use wal::{Lsn, Rmgr};

/// How long a rewind may take before whoever began it gives up.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a standby may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// What the marker of a rewind says while the control file is the node's own but for its state.
const IS_COPYING: &str = "phase=copying";
const FILE_MAX: u64 = 1 << 20;

/// A rewind at work.
#[derive(Debug)]
pub(super) struct Rewinding {
    from: usize,
    /// Told when it is killed.
    killed: Arc<Notify>,
    /// The control file before it.
    control: Vec<u8>,
}

/// Whether a directory is in the middle of a rewind.
pub(super) fn is_halfway(files: &VirtualDisk) -> bool {
    has(files, REWIND_MARKER)
}

/// The same of a node's.
pub(super) fn is_node_halfway(shared: &Shared, node: usize) -> bool {
    shared.cluster.lock().node(machine_of(node)).is_some_and(|there| is_halfway(there.files()))
}

/// Whether a node is being rewound.
pub(super) fn is_at_work(shared: &Shared, node: usize) -> bool {
    shared.rewinds.lock().contains_key(&node)
}

/// A node goes down; counts those that it is the source of.
pub(super) fn count_sources(shared: &Shared, node: usize) {
    if shared.rewinds.lock().values().any(|rewinding| rewinding.from == node) {
        shared.hit(Rare::SourceCrashDuringRewind);
    }
}

/// The program that rewound a node has gone down.
pub(super) fn goes_down(shared: &Shared, node: usize, lost: Lost) {
    let Some(rewinding) = shared.rewinds.lock().remove(&node) else { return };
    if is_node_halfway(shared, node) {
        shared.hit(Rare::CrashDuringRewind);
    }
    shared.facts.lock().lost(node, shared.now_ms(), lost);
    if let Err(why) = check_halfway(shared, node, &rewinding.control) {
        shared.fail(why);
    }
    rewinding.killed.notify_one();
}

/// As long as a rewind copies, the control file is as it was, but that it does not say any more that the
/// server was stopped: the list of what has changed can be made again.
fn check_halfway(shared: &Shared, node: usize, before: &[u8]) -> Result<(), String> {
    let cluster = shared.cluster.lock();
    let Some(files) = cluster.node(machine_of(node)).map(|there| there.files()) else { return Ok(()) };
    let marker = files.read(&Path::new(DATA).join(REWIND_MARKER), FILE_MAX).unwrap_or_default();
    let copies = String::from_utf8_lossy(&marker).contains(IS_COPYING);
    let control = control_of(files);
    let state = ClusterState::ShuttingDown;
    let without_state =
        |bytes: &[u8]| ControlFile::decode(bytes).ok().map(|control| ControlFile { state, ..control });
    if copies && control != before && without_state(&control) != without_state(before) {
        return Err(format!(
            "Damage: a rewind of node {node} has not copied all, and changed its control file"
        ));
    }
    Ok(())
}

fn control_of(files: &VirtualDisk) -> Vec<u8> {
    files.read(&control_file_path(Path::new(DATA)), FILE_MAX).unwrap_or_default()
}

/// Whether a server was replaced, as it has heard or as another one knows that has replaced it.
fn is_replaced(shared: &Shared, server: usize, by: usize) -> bool {
    let (is_fenced, is_primary) = {
        let cluster = shared.cluster.lock();
        let Some(there) = cluster.node(machine_of(server)) else { return false };
        (facts::is_replaced(there.files()), !has(there.files(), "standby.signal"))
    };
    let facts = shared.facts.lock();
    let written = facts.branch_written(server);
    let continues = || {
        let lineage = facts.branches.lineage(&facts.branch_written(by));
        lineage.iter().skip(1).any(|branch| *branch == written)
    };
    is_fenced || is_primary && continues()
}

/// Takes a node down, rewinds it and starts it as a standby. Whether it is one of `from` now.
pub(super) async fn rewind(shared: Arc<Shared>, node: usize, from: usize) -> bool {
    events::is_up(&shared, from) && rewind_to(&shared, node, (from, None)).await
}

/// The same by what a source's server says, or by a copy of its directory.
async fn rewind_to(
    shared: &Arc<Shared>,
    node: usize,
    (from, directory): (usize, Option<VirtualDisk>),
) -> bool {
    // Who lacks durable log is to say so, and to be cloned.
    let is_damaged = shared.damaged.lock().contains_key(&node);
    if is_damaged || shared.busy.lock().contains_key(&node) {
        return false;
    }
    // Nor does anybody leave the branch that replaced the source's, though the source may not know of it yet.
    if is_replaced(shared, from, node) {
        return false;
    }
    shared.busy.lock().insert(node, "rewound");
    events::kill(shared, node);
    shared.observe();
    let done = carry_out(shared, node, (from, directory.clone())).await;
    let Some(done) = done else {
        // It was killed. What the plan has for it comes next.
        shared.busy.lock().remove(&node);
        return false;
    };
    let is_rewound = match &done {
        Ok(end) => {
            finish(shared, node, *end, directory.as_ref());
            true
        }
        Err(error) => {
            if let Err(why) = judge_error(shared, node, error) {
                shared.fail(why);
            }
            false
        }
    };
    shared.busy.lock().remove(&node);
    slots::make(shared, node, from);
    events::start(shared, node);
    is_rewound
}

/// Stops a standby, and rewinds another node to what its directory has then; that one starts again meanwhile.
pub(super) fn rewind_at_rest(shared: &Arc<Shared>, node: usize, from: usize) {
    let there = shared.clone();
    shared.asking.fetch_add(1, Ordering::Relaxed);
    shared.beside(async move {
        let copy = copy_at_rest(&there, from).await;
        if copy.is_some() && rewind_to(&there, node, (from, copy)).await {
            there.hit(Rare::RewoundToDirectory);
        }
        there.asking.fetch_sub(1, Ordering::Relaxed);
    });
}

/// Stops a standby and starts it again; its directory as it was between.
async fn copy_at_rest(shared: &Arc<Shared>, from: usize) -> Option<VirtualDisk> {
    let (id, is_standby) = {
        let cluster = shared.cluster.lock();
        let files = cluster.node(machine_of(from)).map(|from| from.files());
        (machine_of(from), files.is_some_and(|files| has(files, "standby.signal")))
    };
    if !is_standby || !events::is_up(shared, from) || shared.busy.lock().contains_key(&from) {
        return None;
    }
    events::stop(shared, from, StopMode::Fast);
    let mut states = shared.cluster.lock().node(id).map(|from| from.states())?;
    // A start that was broken off leaves a directory that is refused.
    if !matches!(tokio::time::timeout(STOP_LIMIT, states.wait_for(State::is_over)).await, Ok(Ok(_))) {
        return None;
    }
    let copy = shared.cluster.lock().node(id).map(|from| from.files().fork());
    events::start(shared, from);
    copy
}

/// The same beside what happens else.
pub(super) fn rewind_beside(shared: &Arc<Shared>, node: usize, from: usize) {
    let rewinding = rewind(shared.clone(), node, from);
    shared.beside(async { _ = rewinding.await });
}

/// Runs it to its end; None if it was killed.
async fn carry_out(
    shared: &Arc<Shared>,
    node: usize,
    (from, directory): (usize, Option<VirtualDisk>),
) -> Option<Result<RewindEnd, RewindError>> {
    let (there, killed) = (shared.clone(), Arc::new(Notify::new()));
    let judge = move |discarded: &Discarded| {
        if let Err(why) = judge(&there, node, discarded) {
            there.fail(why);
        }
    };
    let (work, control) = {
        let mut cluster = shared.cluster.lock();
        let files = cluster.node(machine_of(node))?.files().clone();
        shared.facts.lock().add_all(&files);
        (cluster.rewind(machine_of(node), (machine_of(from), directory), judge), control_of(&files))
    };
    let rewinding = Rewinding { from, killed: killed.clone(), control };
    shared.rewinds.lock().insert(node, rewinding);
    let done = tokio::select! {
        biased;
        () = killed.notified() => {
            own_rewinds::broke_off(shared, node);
            return None;
        }
        done = tokio::time::timeout(LIMIT, work) => done,
    };
    let Ok(done) = done else {
        events::kill(shared, node);
        return None;
    };
    shared.rewinds.lock().remove(&node);
    if done.is_err() {
        own_rewinds::broke_off(shared, node);
    }
    let what = match &done {
        Ok(end) => format!("{end:?}"),
        Err(error) => error.to_string(),
    };
    shared.cluster.lock().end_rewind(machine_of(node), &what);
    Some(done)
}

/// A rewind to what a server says, or to a copy of its directory, is done.
fn finish(shared: &Shared, node: usize, end: RewindEnd, directory: Option<&VirtualDisk>) {
    let cluster = shared.cluster.lock();
    let Some(files) = cluster.node(machine_of(node)).map(|there| there.files()) else { return };
    slots::set_name(shared, node, files);
    let RewindEnd::Done { again, fork } = end else { return };
    if again {
        shared.hit(Rare::RewoundAgain);
    }
    if let Some(path) = rewind_rules::undurable(files, Path::new(DATA)) {
        let path = path.display();
        shared.fail(format!("Disk: node {node} is rewound, and a power cut may take {path} away"));
    }
    if is_halfway(files) {
        shared.fail(format!("Damage: node {node} is rewound, and its directory says that it is not"));
    }
    if let Some(name) = fork.and_then(|fork| strange_log(files, fork)) {
        shared.fail(format!("Damage: node {node} is rewound, and has {name} of the branch that it left"));
    }
    if let Some(why) = directory.and_then(|source| lacks_log(files, node, source)) {
        shared.fail(why);
    }
    shared.facts.lock().rewound(node, shared.now_ms());
}

/// What is rewound to a directory has all of its log, though no server has replayed it there.
fn lacks_log(files: &VirtualDisk, node: usize, source: &VirtualDisk) -> Option<String> {
    let history = facts::branch_history(source)?;
    let control = ControlFile::load(source, Path::new(DATA)).ok()?;
    let from = control.min_recovery_point.max(control.checkpoint);
    let end_of = |files: &VirtualDisk| {
        let (mut reader, mut end) = (disks::reader(files, &history, from)?, from);
        while let Ok(Next::Record(record)) = reader.next() {
            end = record.end();
        }
        Some(end)
    };
    let (there, here) = (end_of(source)?, end_of(files)?);
    (here < there).then(|| {
        format!(
            "ByteForByte: node {node} is rewound to a directory whose log ends at {there}, and its own ends \
             at {here}"
        )
    })
}

/// A segment that is no part of the branch that a directory has, or lies behind the place where that one
/// leaves its timeline, if that is where both parted or later. A segment of a timeline that goes on from the
/// branch may be the only one with the log before it.
fn strange_log(files: &VirtualDisk, fork: Lsn) -> Option<String> {
    let history = facts::branch_history(files)?;
    let own = history.target();
    let has_what_was_before = |timeline, start| {
        disks::history(files, timeline).is_some_and(|later| {
            let end = later.end_of(own).ok().flatten();
            let goes_on = facts::branch_of(&later, own) == facts::branch_of(&history, own);
            goes_on && end.is_some_and(|end| start < end)
        })
    };
    let names = files.list(&disks::wal_folder()).unwrap_or_default().into_iter().map(|entry| entry.name);
    let is_strange = |name: &String| {
        let Some((timeline, segment, size)) = disks::segment_of(name) else { return false };
        match history.newest_first().find(|(own, ..)| *own == timeline) {
            Some((_, _, Some(end))) => end >= fork && size.start_of(segment) >= end,
            Some((_, _, None)) => false,
            None => !has_what_was_before(timeline, size.start_of(segment)),
        }
    };
    names.into_iter().find(is_strange)
}

/// Some reasons are as good as an answer that there is none.
fn judge_error(shared: &Shared, node: usize, error: &RewindError) -> Result<(), String> {
    let is_wrong = matches!(
        error,
        RewindError::Marker(_)
            | RewindError::DamagedPage { .. }
            | RewindError::Answer(_)
            | RewindError::DifferentSystems { .. }
            | RewindError::NoCommonAncestor
            | RewindError::Checksums
            | RewindError::Control(_)
            | RewindError::Label(_)
            | RewindError::History(_)
    );
    // What a disk has changed is met by whoever reads it.
    if is_wrong && shared.spoiled.lock().is_empty() {
        return Err(format!("Damage: node {node} cannot be rewound: {error}"));
    }
    Ok(())
}

/// Compares what a rewind says that it takes back with the node's log, and with what clients were told.
fn judge(shared: &Shared, node: usize, discarded: &Discarded) -> Result<(), String> {
    let (branch, ends) = {
        let cluster = shared.cluster.lock();
        let Some(files) = cluster.node(machine_of(node)).map(|there| there.files()) else { return Ok(()) };
        let Some(branch) = facts::branch_followed(files) else { return Ok(()) };
        let Some(ends) = commits_behind(files, discarded.fork) else { return Ok(()) };
        (branch, ends)
    };
    let told: Vec<Lsn> = discarded.commits.iter().map(|commit| commit.end).collect();
    if told != ends {
        let lacks = ends.iter().find(|end| !told.contains(end));
        let has = told.iter().find(|end| !ends.contains(end));
        let fork = discarded.fork;
        return Err(format!(
            "Silent: a rewind of node {node} to {fork} says of the commits that go: it lacks {lacks:?}, and has \
             {has:?} which the log has not"
        ));
    }
    if !told.is_empty() {
        shared.hit(Rare::CommitsRewound);
    }
    judge_told(shared, node, (&branch, discarded))
}

/// Where the commits end that a node's log has behind a position; None if it cannot be read.
fn commits_behind(files: &VirtualDisk, fork: Lsn) -> Option<Vec<Lsn>> {
    let history = facts::branch_history(files)?;
    let mut reader = disks::reader(files, &history, fork)?;
    let mut ends = Vec::new();
    loop {
        match reader.next() {
            Ok(Next::Record(record)) => {
                let is_commit = record.rmgr() == Rmgr::XACT
                    && matches!(XactRecord::parse(&record), Ok(XactRecord::Commit(_)));
                if is_commit && record.end() > fork {
                    ends.push(record.end());
                }
            }
            Ok(Next::End(_)) => return Some(ends),
            Err(_) => return None,
        }
    }
}

/// Each transaction that a client was told of on what goes is named, with as many changes as it left rows.
fn judge_told(
    shared: &Shared,
    node: usize,
    (branch, discarded): (&Branch, &Discarded),
) -> Result<(), String> {
    let facts = shared.facts.lock();
    let by_end: BTreeMap<Lsn, _> = discarded.commits.iter().map(|commit| (commit.end, commit)).collect();
    let history = shared.history.lock();
    for entry in history.entries() {
        let (Deed::Write(write), Some(level), Some(token)) = (&entry.deed, entry.level_told(), entry.token())
        else {
            continue;
        };
        let rows = write.kept.len() + write.adds.len();
        let is_behind = token.at > discarded.fork && token.at <= discarded.end;
        if rows == 0 || !is_behind || facts.branches.home(token) != *branch {
            continue;
        }
        let may_be_gone = level == Level::Off && facts.losses_since(entry.node, entry.invoked_ms) > 0;
        let named = by_end.get(&token.at);
        let has_all = named
            .is_some_and(|commit| commit.is_partial || discarded.was_begun || commit.changes.len() >= rows);
        if !has_all && !may_be_gone {
            let changes = named.map(|commit| commit.changes.len());
            return Err(format!(
                "Silent: a rewind of node {node} to {} takes back {rows} rows, and tells of {changes:?}: {entry:?}",
                discarded.fork
            ));
        }
    }
    Ok(())
}

/// Whether a server runs on a directory that is in the middle of a rewind.
pub(super) fn runs_halfway(shared: &Shared, node: usize, (files, state): (&VirtualDisk, &State)) -> bool {
    *state == State::Up && is_halfway(files) && !shared.facts.lock().breaking_off.contains(&node)
}
