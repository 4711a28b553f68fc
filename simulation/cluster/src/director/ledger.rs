//! Promise 6 in the end: what a node's log told that it gave up stands in its ledger, and nothing else does.

use super::words::{CUT, FALLS_BACK, NOBODY_NAMED, RETURNS, SLOT_LOST, TIMED_OUT, TORN, UNWRITTEN};
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

/// What a line counts as that says that a full disk has kept an entry from the ledger.
const IS_UNWRITTEN: &str = "unwritten";

/// No ledger of a run is larger.
const FILE_MAX: u64 = 1 << 20;

/// The event that a line of the log tells of.
pub(super) fn event_of(line: &str) -> Option<&'static str> {
    let unwritten = line.contains(UNWRITTEN).then_some(IS_UNWRITTEN);
    unwritten.or_else(|| EVENTS.iter().find(|(words, _)| line.contains(words)).map(|(_, event)| *event))
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
    let unwritten = facts.told_events(node, IS_UNWRITTEN, since_ms);
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
