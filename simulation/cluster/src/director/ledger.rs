//! Promise 6 in the end: what a node's log told that it gave up stands in its ledger, and nothing else does.

use super::facts::Facts;
use super::words::{
    CUT, FALLS_BACK, LEDGER_LOST, LEDGER_WRITTEN, NOBODY_NAMED, RETURNS, SLOT_LOST, TIMED_OUT, TORN,
    UNWRITTEN,
};
use super::{Shared, machine_of};
use crate::cluster::DATA;
use crate::guarantee::Lost;
use host::Disk;
use simulation::VirtualDisk;
use std::path::Path;

/// Words of a line in a server's log, with the event that its ledger must have.
const EVENTS: &[(&str, &str)] = &[
    (FALLS_BACK, "fallback"),
    (RETURNS, "return"),
    (TIMED_OUT, "released"),
    (NOBODY_NAMED, "released"),
    (TORN, "cut"),
    (CUT, "cut"),
    (SLOT_LOST, "slot_lost"),
];

/// Words of lines about entries that a full disk keeps from the ledger, with what they count as: one waits,
/// those that waited are written, the server ended before they were.
const WAITS: &[(&str, &str)] =
    &[(UNWRITTEN, IS_UNWRITTEN), (LEDGER_WRITTEN, IS_WRITTEN), (LEDGER_LOST, IS_LOST)];
const IS_UNWRITTEN: &str = "unwritten";
const IS_WRITTEN: &str = "written";
const IS_LOST: &str = "lost";

/// No ledger of a run is larger.
const FILE_MAX: u64 = 1 << 20;

/// The event that a line of the log tells of.
pub(super) fn event_of(line: &str) -> Option<&'static str> {
    let mut known = WAITS.iter().chain(EVENTS);
    known.find(|(words, _)| line.contains(words)).map(|(_, event)| *event)
}

/// Compares each node's ledger with what its log told since it has its directory.
pub(super) fn check(shared: &Shared) -> Result<(), String> {
    shared.nodes().try_for_each(|node| check_node(shared, node, events(), true))
}

/// Compares one's, as soon as it has told of something: each event is recorded before it is told.
pub(super) fn check_at_once(shared: &Shared, node: usize) -> Result<(), String> {
    check_node(shared, node, events(), false)
}

fn events() -> impl Iterator<Item = &'static str> {
    EVENTS.iter().map(|(_, event)| *event)
}

/// A crash may come between the record and the word. Until the node is `at_rest` a word may be on its way.
fn check_node(
    shared: &Shared,
    node: usize,
    events: impl Iterator<Item = &'static str>,
    at_rest: bool,
) -> Result<(), String> {
    let (cluster, facts) = (shared.cluster.lock(), shared.facts.lock());
    let Some(files) = cluster.node(machine_of(node)).map(|node| node.files()) else { return Ok(()) };
    let since_ms = facts.last_loss(node, Lost::Directory).unwrap_or(0);
    let crashes = facts.losses_since(node, since_ms);
    // The log says in its place what happened; a disk without room takes nothing durably.
    let (lost, waiting) = unwritten(&facts, node, since_ms);
    // In the end there was room again.
    let unwritten = if at_rest { lost } else { lost + waiting };
    for event in events {
        let told = facts.told_events(node, event, since_ms);
        let recorded = recorded(files, event);
        if recorded + unwritten < told || (at_rest && recorded > told + crashes) {
            return Err(format!(
                "Silent: node {node} told {told} times of \"{event}\", and its ledger has {recorded}"
            ));
        }
    }
    Ok(())
}

/// How many entries a node's ledger lacks: those of which a crash made an end while they waited for room on
/// its disk, and those that wait for it.
fn unwritten(facts: &Facts, node: usize, since_ms: u64) -> (usize, usize) {
    let (mut lost, mut waiting, mut last_ms) = (0, 0, since_ms);
    for (at_ms, event) in facts.told_by(node, since_ms) {
        if facts.is_lost_between(node, last_ms, at_ms) {
            lost += std::mem::take(&mut waiting);
        }
        last_ms = at_ms;
        match event {
            IS_UNWRITTEN => waiting += 1,
            IS_WRITTEN => waiting = 0,
            IS_LOST => lost += std::mem::take(&mut waiting),
            _ => {}
        }
    }
    if facts.is_lost_between(node, last_ms, u64::MAX) {
        lost += std::mem::take(&mut waiting);
    }
    (lost, waiting)
}

/// How many entries of an event a ledger has.
fn recorded(files: &VirtualDisk, event: &str) -> usize {
    let folder = Path::new(DATA).join("plimsoll");
    let texts =
        ["ledger.old", "ledger"].map(|name| files.read(&folder.join(name), FILE_MAX).unwrap_or_default());
    let lines = |text: &Vec<u8>| {
        let text = String::from_utf8_lossy(text);
        text.lines().filter(|line| line.split(' ').nth(2) == Some(event)).count()
    };
    texts.iter().map(lines).sum()
}
