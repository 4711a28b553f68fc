//! Faults that last a while. Of several of one kind at one place the longest counts, and those of two kinds
//! do not end each other.

use super::events::later;
use super::syncs::TABLES;
use super::{CLIENTS, Shared, machine_of};
use crate::cluster::{Cluster, Node, has};
use crate::plan::{Event, Ways};
use crate::rare::Rare;
use simulated::net::Link;
use simulated::{Life, NodeId};
use simulation::{self as disk, Call, FaultKind};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Segments of the log are named so.
const SEGMENTS: &str = "/pg_wal/0";

/// A kind of fault, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Frozen(usize),
    Full(usize),
    SlowDisk(usize),
    KeptFiles(usize),
    Cut(NodeId, NodeId),
    PoorLink(NodeId, NodeId),
}

/// The faults that last.
#[derive(Debug, Default)]
pub(super) struct Lasting {
    /// Until when each does, in milliseconds.
    until: BTreeMap<Fault, u64>,
    /// What links that are not cut are like.
    links: BTreeMap<(NodeId, NodeId), Link>,
}

impl Lasting {
    /// A fault begins at a time, or another one of its kind.
    fn begins(&mut self, fault: Fault, now_ms: u64, ms: u64) {
        let until = self.until.entry(fault).or_default();
        *until = now_ms.saturating_add(ms).max(*until);
    }

    fn lasts(&self, fault: Fault, now_ms: u64) -> bool {
        self.until.get(&fault).is_some_and(|until| *until > now_ms)
    }

    /// What a link is like.
    fn link(&self, from: NodeId, to: NodeId, now_ms: u64) -> Link {
        let poor = self.links.get(&(from, to)).filter(|_| self.lasts(Fault::PoorLink(from, to), now_ms));
        Link { cut: self.lasts(Fault::Cut(from, to), now_ms), ..poor.cloned().unwrap_or_default() }
    }

    /// All faults end.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }
}

/// Begins a fault, and calls `end` once none of its kind lasts there any more.
fn begin(shared: &Arc<Shared>, fault: Fault, ms: u64, end: impl FnOnce(&Shared) + Send + 'static) {
    shared.lasting.lock().begins(fault, shared.now_ms(), ms);
    later(shared, ms, move |shared| {
        let lasts = shared.lasting.lock().lasts(fault, shared.now_ms());
        if !lasts {
            end(shared);
        }
    });
}

/// What befalls a node, its disk or its links for a time.
pub(super) fn befall(shared: &Arc<Shared>, event: &Event) {
    match event {
        Event::Partition { from, to, ways, ms } => {
            partition(shared, (machine_of(*from), machine_of(*to)), *ways, *ms);
        }
        Event::Freeze { node, ms } => freeze(shared, *node, *ms),
        Event::DiskFull { node, ms } => fill(shared, *node, *ms),
        Event::SlowDisk { node, us, ms } => slow_disk(shared, *node, *us, *ms),
        Event::KeepFiles { node, ms } => keep_files(shared, *node, *ms),
        Event::Isolate { node, ms } => isolate(shared, *node, *ms),
        Event::SlowLink { from, to, delay_ms, ms } => slow(shared, (*from, *to), *delay_ms, *ms),
        Event::NarrowLink { from, to, kilobytes, ms } => {
            let link = Link { bytes_per_second: Some(kilobytes << 10), ..Link::default() };
            change_link(shared, (*from, *to), &link, *ms);
        }
        _ => {}
    }
}

/// Lets a node stand still.
pub(super) fn freeze(shared: &Arc<Shared>, node: usize, ms: u64) {
    pause(shared, node, ms);
    let life = {
        let mut cluster = shared.cluster.lock();
        cluster.freeze(machine_of(node));
        primary_life(&cluster, node)
    };
    let since_ms = shared.now_ms();
    begin(shared, Fault::Frozen(node), ms, move |shared| {
        let mut cluster = shared.cluster.lock();
        let is_same = life.is_some() && primary_life(&cluster, node) == life;
        if is_same && shared.facts.lock().is_replaced_since(node, since_ms) {
            shared.hit(Rare::WokeReplaced);
        }
        cluster.thaw(machine_of(node));
    });
}

/// A node's life, if it is a primary.
fn primary_life(cluster: &Cluster, node: usize) -> Option<Life> {
    let there = cluster.node(machine_of(node))?;
    there.life().filter(|_| !has(there.files(), "standby.signal"))
}

/// Gives a node's disk no room.
fn fill(shared: &Arc<Shared>, node: usize, ms: u64) {
    pause(shared, node, ms);
    with_node(shared, node, |node| node.set_capacity(0));
    begin(shared, Fault::Full(node), ms, move |shared| {
        with_node(shared, node, |node| node.set_capacity(u64::MAX));
    });
}

/// Has a node's disk take up to so long for a call.
fn slow_disk(shared: &Arc<Shared>, node: usize, us: u64, ms: u64) {
    pause(shared, node, ms);
    with_node(shared, node, |node| node.slow_down(Some(us)));
    begin(shared, Fault::SlowDisk(node), ms, move |shared| {
        with_node(shared, node, |node| node.slow_down(None));
    });
}

/// Lets a node remove no file of a table, and no segment of the log.
fn keep_files(shared: &Arc<Shared>, node: usize, ms: u64) {
    pause(shared, node, ms);
    let Some(files) = shared.cluster.lock().node(machine_of(node)).map(|node| node.files().clone()) else {
        return;
    };
    let faults = [TABLES, SEGMENTS].map(|part| disk::Fault::always(Call::RemoveFile, part, FaultKind::Io));
    for fault in &faults {
        files.disarm(fault);
        files.inject(fault.clone());
    }
    begin(shared, Fault::KeptFiles(node), ms, move |_| {
        faults.iter().for_each(|fault| files.disarm(fault));
    });
}

fn pause(shared: &Shared, node: usize, ms: u64) {
    let now = shared.now_ms();
    shared.facts.lock().paused(node, now, now + ms);
}

fn with_node(shared: &Shared, node: usize, act: impl FnOnce(&mut Node)) {
    if let Some(node) = shared.cluster.lock().node_mut(machine_of(node)) {
        act(node);
    }
}

/// Gives a link the state that the faults on it make.
fn set_link(shared: &Shared, from: NodeId, to: NodeId) {
    let link = shared.lasting.lock().link(from, to, shared.now_ms());
    shared.cluster.lock().set_link(from, to, link);
}

/// Cuts one way between two machines.
fn cut(shared: &Arc<Shared>, from: NodeId, to: NodeId, ms: u64) {
    begin(shared, Fault::Cut(from, to), ms, move |shared| set_link(shared, from, to));
    set_link(shared, from, to);
}

/// Cuts one machine off from another.
pub(super) fn partition(shared: &Arc<Shared>, (from, to): (NodeId, NodeId), ways: Ways, ms: u64) {
    cut(shared, from, to, ms);
    if ways == Ways::Both {
        cut(shared, to, from, ms);
    }
}

/// Cuts a node off from all others and from clients.
pub(super) fn isolate(shared: &Arc<Shared>, node: usize, ms: u64) {
    let others = shared.nodes().filter(|other| *other != node).map(machine_of);
    for other in others.chain([CLIENTS]) {
        cut(shared, machine_of(node), other, ms);
        cut(shared, other, machine_of(node), ms);
    }
}

/// Delays bytes between two nodes, both ways.
pub(super) fn slow(shared: &Arc<Shared>, nodes: (usize, usize), delay_ms: u64, ms: u64) {
    let (least, most) = (Duration::from_millis(delay_ms), Duration::from_millis(delay_ms + delay_ms / 2));
    change_link(shared, nodes, &Link { delay: least..=most, ..Link::default() }, ms);
}

/// Changes how bytes come from one node to another and back.
pub(super) fn change_link(shared: &Arc<Shared>, (one, other): (usize, usize), link: &Link, ms: u64) {
    for (from, to) in [(one, other), (other, one)] {
        let (from, to) = (machine_of(from), machine_of(to));
        shared.lasting.lock().links.insert((from, to), link.clone());
        begin(shared, Fault::PoorLink(from, to), ms, move |shared| set_link(shared, from, to));
        set_link(shared, from, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_fault_of_a_kind_counts_and_kinds_do_not_end_each_other() {
        let mut lasting = Lasting::default();
        let (one, other) = (NodeId(1), NodeId(2));
        lasting.begins(Fault::Frozen(1), 100, 400);
        lasting.begins(Fault::Frozen(1), 200, 50);
        assert!(lasting.lasts(Fault::Frozen(1), 499) && !lasting.lasts(Fault::Frozen(1), 500));
        assert!(!lasting.lasts(Fault::Full(1), 300) && !lasting.lasts(Fault::Frozen(2), 300));

        let poor = Link { bytes_per_second: Some(7), ..Link::default() };
        lasting.begins(Fault::Cut(one, other), 0, 4000);
        lasting.links.insert((one, other), poor.clone());
        lasting.begins(Fault::PoorLink(one, other), 1000, 100);
        assert_eq!(lasting.link(one, other, 1050), Link { cut: true, ..poor.clone() });
        assert_eq!(lasting.link(one, other, 1100), Link { cut: true, ..Link::default() });
        assert_eq!(lasting.link(other, one, 1050), Link::default());
        assert_eq!(lasting.link(one, other, 4000), Link::default());
    }
}
