//! Listens to what nodes send each other of the log, and compares each word with the disk of who says it, at
//! the moment when it is said: who ships log or reports it as flushed has it durably.

mod frames;
mod given;
mod redone;

use super::heeded::Heeded;
use super::{ADMIN, Shared, admin, disks, facts, handovers, machine_of, number_of, watch};
use crate::branch::Branch;
use crate::cluster::DATA;
use crate::features::Feature;
use crate::guarantee::Lost;
use crate::history::reports::{Progress, Reports, Source};
use crate::machine::slot_files;
use crate::plan::{Event, Handed, Timed};
use crate::rare::Rare;
use frames::{Frames, Heard};
use given::Given;
use host::Disk;
use protocol::replication::StartReplication;
use redone::{READERS_MS, Redone};
use simulated::NodeId;
use simulated::net::{Network, Written};
use simulation::VirtualDisk;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wal::history::TimelineHistory;
use wal::{Lsn, TimelineId};

/// How long after the first word of a standby the file of its slot may not have heard of it, in milliseconds.
const MOVES_MS: u64 = 100;

/// What was heard.
#[derive(Debug, Default)]
pub(super) struct Wire {
    connections: BTreeMap<u64, Connection>,
    /// Whom each standby followed last, and on which branch.
    upstreams: BTreeMap<usize, (usize, Branch)>,
    /// What each slot keeps, by the upstream and the slot.
    slots: BTreeMap<(usize, String), Kept>,
    /// What of its log each standby was sent.
    given: Given,
    /// Whose snapshots are heeded.
    pub(super) heeded: Heeded,
    /// What standbys told.
    pub(super) reports: Reports,
}

/// What a slot keeps for its standby.
#[derive(Debug, Default)]
struct Kept {
    branch: Option<Branch>,
    /// What the standby has told to be durable.
    flushed: Lsn,
    /// The end of what it was sent.
    sent: Lsn,
    /// From which position on the slot kept log when its standby first told something: that of its creation,
    /// if the standby had less of that segment by then.
    reserved: Option<Lsn>,
    /// When a server told so first, and last, in milliseconds.
    since_ms: u64,
    told_ms: u64,
}

#[derive(Debug, Default)]
struct Connection {
    frames: Frames,
    stream: Option<Stream>,
}

/// One START_REPLICATION.
#[derive(Debug)]
struct Stream {
    /// The node that receives.
    standby: usize,
    /// Whether that node's server receives, and not a clone that is made for it.
    is_server: bool,
    slot: Option<String>,
    history: TimelineHistory,
    branch: Branch,
    /// The end of what was sent.
    sent: Lsn,
    /// When that was first all there was.
    caught_up_ms: Option<u64>,
    /// When the standby first said that it has something: until then it does not count.
    valid_ms: Option<u64>,
    redone: Redone,
    /// The end of the upstream's log, as far as it has said.
    upstream_end: Option<Lsn>,
    /// Its number among the reports.
    number: usize,
    /// The last report, and how far the standby's disk was looked at.
    last: Progress,
    looked: Lsn,
}

impl Kept {
    /// The stream's standby says that it is durable up to `flushed`. Begins anew if the slot is another: the
    /// stream is of another branch, or the upstream has another directory since.
    fn told(&mut self, shared: &Shared, stream: &Stream, (upstream, slot): (usize, &str), flushed: Lsn) {
        let now_ms = shared.now_ms();
        if self.branch.as_ref() != Some(&stream.branch) || !self.is_of_directory(shared, upstream) {
            let (branch, reserved) = (Some(stream.branch.clone()), restart_of(shared, upstream, slot));
            *self = Self { branch, since_ms: now_ms, reserved, ..Self::default() };
        }
        self.flushed = self.flushed.max(flushed);
        self.sent = self.sent.max(stream.sent);
        if stream.is_server {
            self.told_ms = now_ms;
        }
    }

    /// Whether its slot was in the directory that the upstream has: another one of the name may be there now.
    fn is_of_directory(&self, shared: &Shared, upstream: usize) -> bool {
        let directory_ms = shared.facts.lock().last_loss(upstream, Lost::Directory).unwrap_or(0);
        self.since_ms >= directory_ms
    }
}

/// Listens from now on.
pub(super) fn listen(shared: &Arc<Shared>, network: &Network) {
    let there = Arc::downgrade(shared);
    network.tap(
        |from, to| from < ADMIN && to < ADMIN,
        move |written| {
            if let Some(shared) = there.upgrade() {
                let failure = shared.wire.lock().hear(&shared, written);
                if let Err(failure) = failure {
                    shared.fail(failure);
                }
            }
        },
    );
}

impl Wire {
    fn hear(&mut self, shared: &Arc<Shared>, written: &Written) -> Result<(), String> {
        let connection = self.connections.entry(written.connection).or_default();
        connection.frames.add(written.side, &written.bytes);
        while let Some(heard) = connection.frames.next(written.side) {
            match heard {
                Heard::Begins(start) => {
                    connection.stream = Stream::new(shared, written, &start);
                    self.heeded.forget(number_of(written.to));
                    if let Some(stream) = &mut connection.stream {
                        stream.number =
                            self.reports.begins(stream.standby, number_of(written.from), shared.now_ms());
                    }
                    if let Some(stream) = connection.stream.as_ref().filter(|stream| stream.is_server) {
                        stream.begins(shared, written.from, (&mut self.upstreams, &mut self.given));
                    }
                }
                Heard::Ended => {
                    connection.stream = None;
                    self.heeded.forget(number_of(written.from));
                }
                Heard::Feedback(heeded) => {
                    if let Some(stream) = connection.stream.as_ref().filter(|stream| stream.is_server) {
                        let upstream = number_of(written.to);
                        self.heeded.told(stream.standby, heeded.then_some((upstream, stream.upstream_end)));
                    }
                }
                Heard::Data { start, len, end } => {
                    if let Some(stream) = &mut connection.stream {
                        stream.upstream_end = stream.upstream_end.max(Some(end));
                        self.heeded.ends(stream.standby, end);
                        if start + len == end {
                            stream.caught_up_ms.get_or_insert(shared.now_ms());
                            self.reports.catches_up(stream.number, shared.now_ms());
                        }
                        stream.ships(shared, written.from, start, start + len)?;
                        let upto = (&stream.branch, &stream.history, start + len);
                        self.given.sent(shared, (number_of(written.from), stream.standby), upto)?;
                    }
                }
                Heard::Offers(end) => {
                    let timeline = connection.stream.as_ref().map(|stream| stream.history.target());
                    if let Some(timeline) = timeline {
                        handovers::offered(shared, written, timeline, end)?;
                    }
                    handovers::handed(shared, Handed::Offered);
                }
                Heard::Takes => handovers::handed(shared, Handed::Taken),
                Heard::Status(progress) => {
                    if let Some(stream) = &mut connection.stream {
                        self.reports.says(stream.number, shared.now_ms(), progress);
                        let believed = stream.reports(shared, written, progress)?;
                        self.heeded.replayed(stream.standby, Lsn::new(believed.replayed), shared.now_ms());
                        let kept = (&mut self.slots, &mut self.reports);
                        stream.counts(shared, number_of(written.to), believed, kept);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Wire {
    /// Whom a standby follows, if that is its stream's branch.
    pub(super) fn upstream_of(&self, standby: usize, branch: &Branch) -> Option<usize> {
        let (upstream, of) = self.upstreams.get(&standby)?;
        (of == branch).then_some(*upstream)
    }
}

/// From which position on a slot keeps log, as its file says; None if it keeps none.
fn restart_in(files: &VirtualDisk, slot: &str) -> Option<Lsn> {
    slot_files::restart_of(files, Path::new(DATA), slot)
}

/// The same for a node's slot.
fn restart_of(shared: &Shared, node: usize, slot: &str) -> Option<Lsn> {
    let cluster = shared.cluster.lock();
    restart_in(cluster.node(machine_of(node))?.files(), slot)
}

/// The file of a slot was written, on a node that has its directory since a time: it may give up what the
/// standby has told to be durable, and nothing of what else it was sent.
pub(super) fn saved(
    shared: &Shared,
    (node, since_ms): (usize, u64),
    files: &VirtualDisk,
    path: &Path,
) -> Result<(), String> {
    let slot = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    if path.file_name().is_none_or(|name| name != "state") {
        return Ok(());
    }
    let wire = shared.wire.lock();
    let Some(kept) = wire.slots.get(&(node, slot.to_owned())) else { return Ok(()) };
    let Some(restart) = restart_in(files, slot) else { return Ok(()) };
    // Its file may be that of the slot's creation still.
    let has_moved = kept.told_ms > since_ms && shared.now_ms() >= kept.since_ms + MOVES_MS;
    let is_new = kept.reserved.is_none_or(|reserved| restart > reserved);
    if has_moved && is_new && restart > kept.flushed && restart <= kept.sent {
        let flushed = kept.flushed;
        return Err(format!(
            "Bounded: slot {slot} of node {node} keeps log from {restart} on, and its standby has \
             told {flushed} to be durable"
        ));
    }
    Ok(())
}

/// A node gave up a segment of its log: none of its slots may need it.
pub(super) fn removed(shared: &Shared, node: usize, name: &str) -> Result<(), String> {
    let Some((_, segment, size)) = disks::segment_of(name) else { return Ok(()) };
    let cluster = shared.cluster.lock();
    let Some(files) = cluster.node(machine_of(node)).map(|node| node.files()) else { return Ok(()) };
    // Of two timelines in one segment both files have its beginning.
    let names = files.list(&disks::wal_folder()).unwrap_or_default();
    if names.iter().any(|entry| disks::segment_of(&entry.name).is_some_and(|(_, other, _)| other == segment))
    {
        return Ok(());
    }
    // What was kept on a branch that the node has left counts no more.
    let branch = facts::branch_followed(files);
    for ((upstream, slot), kept) in &shared.wire.lock().slots {
        let needs = segment >= size.segment_of(kept.flushed) && segment < size.segment_of(kept.sent);
        let is_there = *upstream == node && kept.branch == branch && kept.is_of_directory(shared, node);
        // One that was given up keeps nothing.
        if is_there && needs && restart_in(files, slot).is_some() {
            let flushed = kept.flushed;
            return Err(format!(
                "Bounded: node {node} gave up {name}, and slot {slot} keeps the log from {flushed} on"
            ));
        }
    }
    Ok(())
}

/// Counts what a new stream from `upstream` shows.
fn count_rare(
    shared: &Shared,
    upstreams: &mut BTreeMap<usize, (usize, Branch)>,
    standby: usize,
    upstream: (usize, Branch),
) {
    let primary = *shared.primary.lock();
    if let Some((node, branch)) = upstreams.get(&standby)
        && *node == upstream.0
        && *branch != upstream.1
        && *node != primary
    {
        shared.hit(Rare::CascadeFollowed);
    }
    upstreams.insert(standby, upstream);
    let (mut hops, mut at) = (0, standby);
    while at != primary
        && hops < upstreams.len()
        && let Some((next, _)) = upstreams.get(&at)
    {
        (hops, at) = (hops + 1, *next);
    }
    if hops >= 3 && at == primary {
        shared.hit(Rare::CascadeOfCascade);
    }
}

impl Stream {
    /// `written` is the word of the upstream that it begins.
    fn new(shared: &Shared, written: &Written, start: &StartReplication) -> Option<Self> {
        let cluster = shared.cluster.lock();
        let files = cluster.node(written.from)?.files();
        let timeline = match start.timeline {
            Some(timeline) => TimelineId::new(timeline),
            None => facts::accepted(files),
        };
        let history = disks::history(files, timeline)?;
        let first = Lsn::new(start.start.get());
        Some(Self {
            standby: number_of(written.to),
            is_server: cluster.node(written.to).is_some_and(|node| node.is_up()),
            slot: start.slot.clone(),
            branch: facts::branch_of(&history, timeline),
            history,
            sent: first,
            caught_up_ms: None,
            valid_ms: None,
            redone: Redone::default(),
            upstream_end: None,
            number: 0,
            last: Progress::default(),
            looked: first,
        })
    }

    /// A standby's server begins to receive.
    fn begins(
        &self,
        shared: &Shared,
        from: NodeId,
        (upstreams, given): (&mut BTreeMap<usize, (usize, Branch)>, &mut Given),
    ) {
        count_rare(shared, upstreams, self.standby, (number_of(from), self.branch.clone()));
        watch::streams(shared, number_of(from), self.standby);
        given.begins(self.standby, &self.branch, self.sent, shared.now_ms());
    }

    /// Log is shipped.
    fn ships(&mut self, shared: &Shared, from: NodeId, start: Lsn, end: Lsn) -> Result<(), String> {
        self.sent = self.sent.max(end);
        self.is_durable(shared, from, (start, end)).map_err(|at| {
            let (from, to) = (number_of(from), self.standby);
            format!(
                "Shipped: node {from} ships {start} to {end} of {} to node {to}, and {at} is not durable",
                self.branch
            )
        })
    }

    /// What a standby says counts: for its slot, and as its report.
    fn counts(
        &mut self,
        shared: &Arc<Shared>,
        upstream: usize,
        believed: Progress,
        (slots, reports): (&mut BTreeMap<(usize, String), Kept>, &mut Reports),
    ) {
        // Nothing counts yet of which the standby says nothing.
        if believed.flushed > 0 {
            self.valid_ms.get_or_insert(shared.now_ms());
        }
        if let Some(slot) = self.slot.as_ref().filter(|_| believed.flushed > 0) {
            let kept = slots.entry((upstream, slot.clone())).or_default();
            kept.told(shared, self, (upstream, slot), Lsn::new(believed.flushed));
        }
        // A clone in the making has a node's name, and may never take its place.
        if self.is_server {
            let from = Source { node: self.standby, branch: self.branch.clone(), upstream };
            let counts_from_ms = self.caught_up_ms.zip(self.valid_ms);
            let counts_from_ms = counts_from_ms.map(|(caught_up, valid)| caught_up.max(valid));
            reports.add(from, shared.now_ms(), believed, counts_from_ms);
        }
    }

    /// A standby says how far it is. As much of it as can be true.
    fn reports(&mut self, shared: &Shared, written: &Written, told: Progress) -> Result<Progress, String> {
        let standby = self.standby;
        if told.flushed > told.written || told.replayed > told.written {
            return Err(format!("Positions: node {standby} reports {told:x?}"));
        }
        let last = std::mem::replace(&mut self.last, told);
        if told.written < last.written || told.flushed < last.flushed || told.replayed < last.replayed {
            return Err(format!("Positions: node {standby} reports {told:x?} after {last:x?}"));
        }
        self.is_redone(shared, told)?;
        let sent = self.sent.get();
        if shared.facts.lock().has_left(number_of(written.to), &self.branch) {
            shared.hit(Rare::ReportFromOldBranch);
        }
        let believed = Progress {
            written: told.written.min(sent),
            flushed: told.flushed.min(sent),
            replayed: told.replayed.min(sent),
        };
        // What is redone counts as replayed once it is durable; the word of the flush may come later.
        let flushed = Lsn::new(believed.flushed.max(believed.replayed));
        if self.is_server && flushed > self.looked {
            let from = std::mem::replace(&mut self.looked, flushed);
            self.is_durable(shared, written.from, (from, flushed)).map_err(|at| {
                let branch = &self.branch;
                format!("Flushed: node {standby} reports {flushed} of {branch}, and {at} is not durable")
            })?;
        }
        Ok(believed)
    }

    /// What is durable on a standby is redone in time, unless somebody keeps it: a reader, or who pauses it.
    fn is_redone(&mut self, shared: &Shared, told: Progress) -> Result<(), String> {
        let kept_ms = if shared.plan.features.has(Feature::HeldSnapshots) { READERS_MS } else { 0 };
        let Some((since_ms, flushed)) = self.redone.hears(told, shared.now_ms(), kept_ms) else {
            return Ok(());
        };
        let holds = |timed: &Timed| match timed.event {
            Event::PauseReplay { node } | Event::DelayReplay { node, .. } | Event::Hold { node, .. } => {
                node == self.standby
            }
            _ => false,
        };
        // A clone has the settings of its source.
        let delays = || {
            let cluster = shared.cluster.lock();
            let files = cluster.node(machine_of(self.standby)).map(|node| node.files());
            let delay = files.and_then(|files| admin::in_file(files, "recovery_min_apply_delay"));
            delay.is_some_and(|delay| !delay.starts_with('0'))
        };
        let (begun_ms, now_ms) = (shared.plan_from_ms.load(Ordering::Relaxed), shared.now_ms());
        let happened = |timed: &&Timed| begun_ms + timed.at_ms <= now_ms;
        let is_kept = shared.plan.events.iter().filter(happened).any(holds) || delays();
        let stood_still = shared.facts.lock().paused_since(self.standby, since_ms);
        if is_kept || stood_still || !self.is_server {
            return Ok(());
        }
        let (standby, flushed) = (self.standby, Lsn::new(flushed));
        // The rest of a record may never come.
        let range = (Lsn::new(told.replayed), flushed);
        let cluster = shared.cluster.lock();
        let files = cluster.node(machine_of(standby)).map(|node| node.files());
        if files.is_some_and(|files| disks::has_no_record(files, &self.history, range)) {
            self.redone.begin_anew(told, shared.now_ms());
            return Ok(());
        }
        Err(format!(
            "Timely: node {standby} has {flushed} since {since_ms} ms and does not redo it: {told:x?}"
        ))
    }

    /// Whether a node's disk has this log durably; else the beginning of a piece that it has not.
    fn is_durable(&self, shared: &Shared, node: NodeId, range: (Lsn, Lsn)) -> Result<(), Lsn> {
        let cluster = shared.cluster.lock();
        match cluster.node(node).filter(|node| node.is_up()) {
            Some(node) => disks::is_log_durable(node.files(), &self.history, range),
            None => Ok(()),
        }
    }
}
