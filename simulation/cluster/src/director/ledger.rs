//! Promise 6: what a node's log told that it gave up stands in its ledger, with the same positions and for
//! the same reason, and nothing else does.

use super::facts::Facts;
use super::said::Line;
use super::words::{
    CUT, FALLS_BACK, FELL_BACK, HANDOVER_UNDECIDED, LEDGER_LOST, LEDGER_WRITTEN, NOBODY_NAMED, RETURNS,
    SLOT_LOST, TIMED_OUT, TORN, UNWRITTEN, value_after,
};
use super::{LOOK, Shared, machine_of, recorded, spoiled};
use crate::cluster::DATA;
use crate::machine::ledger_file::{Entry, entries};
use simulation::VirtualDisk;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;
use wal::Lsn;

/// How long an entry may wait for a disk that has room.
const ROOM_LIMIT: Duration = Duration::from_secs(5);

/// Words of a line in a server's log, with the event that its ledger must have.
const EVENTS: &[(&str, &str)] = &[
    (FALLS_BACK, "fallback"),
    (RETURNS, "return"),
    (FELL_BACK, "return"),
    (TIMED_OUT, "released"),
    (NOBODY_NAMED, "released"),
    (TORN, "cut"),
    (CUT, "cut"),
    (SLOT_LOST, "slot_lost"),
    (HANDOVER_UNDECIDED, "handover"),
];

/// Words of lines about entries that a full disk keeps from the ledger, with what they count as: one waits,
/// those that waited are written, the server ended before they were.
const WAITS: &[(&str, &str)] =
    &[(UNWRITTEN, IS_UNWRITTEN), (LEDGER_WRITTEN, IS_WRITTEN), (LEDGER_LOST, IS_LOST)];
const IS_UNWRITTEN: &str = "unwritten";
const IS_WRITTEN: &str = "written";
const IS_LOST: &str = "lost";

/// The event that a line of the log tells of.
pub(super) fn event_of(line: &str) -> Option<&'static str> {
    let mut known = WAITS.iter().chain(EVENTS);
    known.find(|(words, _)| line.contains(words)).map(|(_, event)| *event)
}

/// Waits until each node has written what waited for room on its disk: there is room again, and it tries
/// again now and then.
pub(super) async fn wait_for_room(shared: &Shared) -> Result<(), String> {
    let begun = Instant::now();
    let waits = |node| {
        let facts = shared.facts.lock();
        unwritten(&facts, node, facts.ledger_since(node)).1 > 0
    };
    for node in shared.nodes() {
        while waits(node) {
            if begun.elapsed() > ROOM_LIMIT {
                return Err(format!("liveness: node {node} has room, and does not write its ledger"));
            }
            tokio::time::sleep(LOOK).await;
            shared.observe();
        }
    }
    Ok(())
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
    let since_ms = facts.ledger_since(node);
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
    entries(files, Path::new(DATA)).iter().filter(|entry| entry.event == event).count()
}

impl Entry {
    /// What a line of the log says that the ledger has; None if it tells of nothing.
    fn told(line: &str) -> Option<Self> {
        let event = EVENTS.iter().find(|(words, _)| line.contains(words))?;
        let behind = |words: &str| line.split_once(words).map(|(_, rest)| rest).unwrap_or_default();
        let upto = || value_after(line, " up to ");
        let (after, upto, reason) = match *event {
            (FALLS_BACK, _) => {
                (value_after(line, FALLS_BACK), None, behind(FALLS_BACK).split_once(": ")?.1.to_owned())
            }
            (RETURNS, _) => {
                let reason = behind(RETURNS).trim_start_matches(": ").split(';').next()?;
                (value_after(line, "those after "), upto(), reason.to_owned())
            }
            // The line gives the reason in other words.
            (FELL_BACK, _) => {
                (value_after(line, "commits after "), value_after(line, " beyond "), String::new())
            }
            (TORN, _) => {
                let bytes: u64 = value_after(line, "cut ")?;
                (value_after(line, " bytes behind "), None, format!("{bytes} bytes"))
            }
            (CUT, _) => {
                let reason = behind(CUT).split_once(": ")?.1;
                (value_after(line, CUT), value_after(line, " to "), reason.to_owned())
            }
            (SLOT_LOST, _) => {
                let (slot, why) = behind(SLOT_LOST).split_once(" because ")?;
                (None, None, format!("replication slot{slot}: {why}"))
            }
            (HANDOVER_UNDECIDED, _) => (None, None, behind(HANDOVER_UNDECIDED).split(';').next()?.to_owned()),
            _ => (value_after(line, "commits after "), upto(), behind(" are ").to_owned()),
        };
        Some(Self { event: event.1.to_owned(), after, upto, reason })
    }

    /// Whether an entry of the ledger has what a line of the log has told.
    fn has(&self, told: &Self) -> bool {
        let fits = |own: Option<Lsn>, told: Option<Lsn>| match told {
            Some(told) => own == Some(told),
            None => own.is_some_and(Lsn::is_valid),
        };
        let positions = fits(self.after, told.after) && fits(self.upto, told.upto);
        self.event == told.event && positions && self.reason.starts_with(&told.reason)
    }
}

/// The end of the range of what a line tells, if one entry alone can be meant.
pub(super) fn end_of(shared: &Shared, node: usize, line: &str) -> Option<Lsn> {
    let told = Entry::told(line)?;
    let cluster = shared.cluster.lock();
    let found = entries(cluster.node(machine_of(node))?.files(), Path::new(DATA));
    let mut meant = found.iter().filter(|entry| entry.has(&told));
    meant.next().filter(|_| meant.next().is_none())?.upto
}

/// Asks for the entry of what a line has just told, and looks at its positions.
pub(super) fn check_line(shared: &Shared, line: Line<'_>) -> Result<(), String> {
    let Line { node, at_ms, text: line } = line;
    let Some(told) = Entry::told(line) else { return Ok(()) };
    let is_spoiled = spoiled::is_served_by(shared, node);
    let (cluster, facts) = (shared.cluster.lock(), shared.facts.lock());
    let Some(files) = cluster.node(machine_of(node)).map(|node| node.files()) else { return Ok(()) };
    let since_ms = facts.ledger_since(node);
    let found = entries(files, Path::new(DATA));
    if let Some(entry) = found.iter().rev().find(|entry| entry.has(&told)) {
        // Who went down meanwhile may have another log, and nobody reads past what a disk has changed.
        let befell = facts.losses_since(node, at_ms) > 0;
        let looked = if befell || is_spoiled { Ok(()) } else { recorded::look(files, entry) };
        return looked.map_err(|why| format!("Silent: the ledger of node {node} has {entry:?}, and {why}"));
    }
    if unwritten(&facts, node, since_ms) != (0, 0) {
        return Ok(());
    }
    let of_it: Vec<_> = found.iter().filter(|entry| entry.event == told.event).collect();
    Err(format!("Silent: node {node} told \"{line}\", and its ledger has none like {told:?}, but {of_it:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_line_tells_is_compared_with_the_entry() {
        let entry = |text: &str| Entry::parse(&format!("00c0ffee 712345 {text}")).unwrap();
        let reason = "no synchronous standby reached on within 300ms: commits wait for local only";
        let line = format!("WARNING:  {FALLS_BACK}0/1A0: {reason}");
        let told = Entry::told(&line).unwrap();
        assert!(entry(&format!("fallback 0/1A0 0/1B8 {reason}")).has(&told));
        for other in
            ["fallback 0/0 0/0 ", "fallback 0/1A0 0/0 ", "fallback 0/190 0/1B8 ", "return 0/1A0 0/1B8 "]
        {
            assert!(!entry(&format!("{other}{reason}")).has(&told), "{other}");
        }
        assert!(!entry("fallback 0/1A0 0/1B8 for no reason").has(&told));
        for (line, entry_text) in [
            (
                format!("LOG:  {RETURNS}: commits wait for on again; those after 0/A up to 0/B were so"),
                "return 0/A 0/B commits wait for on again",
            ),
            (
                format!("WARNING:  {FELL_BACK} 0/A without its standbys; what it had beyond 0/B is not here"),
                "return 0/A 0/B the last run of this server ended",
            ),
            (
                format!("WARNING:  commits after 0/A up to 0/B are {TIMED_OUT} without"),
                &format!("released 0/A 0/B {TIMED_OUT} without"),
            ),
            (
                format!("LOG:  cut 24 bytes behind 0/A, {TORN} (recorded)"),
                "cut 0/A 0/22 24 bytes with 0 whole records behind: torn",
            ),
            (format!("LOG:  {CUT}0/B to 0/A: no whole record"), "cut 0/B 0/A no whole record"),
            (
                format!("WARNING:  {HANDOVER_UNDECIDED}it did not answer; this server follows it"),
                "handover 0/A 0/A it did not answer",
            ),
            (
                format!("LOG:  {SLOT_LOST} \"a\" because it is old"),
                "slot_lost 0/A 0/B replication slot \"a\": it is old",
            ),
        ] {
            let told = Entry::told(&line).unwrap();
            assert!(entry(entry_text).has(&told), "{line}: {told:?}");
        }
        assert_eq!(Entry::told("LOG:  checkpoint complete"), None);
    }
}
