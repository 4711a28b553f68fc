//! Who gives a wait up after a time that is set does not do so earlier.
//!
//! | what is given up                           | since when it was waited for, at the earliest             |
//! |--------------------------------------------|-----------------------------------------------------------|
//! | a standby's answer: a fallback             | the server takes writes, and so has commits that wait: it |
//! |                                            | is ready, or, before that, has selected a timeline; in    |
//! |                                            | the end: the client that was told of it sent its COMMIT   |
//! | a decision on commits of before: a release | the server has said that they are undecided               |
//!
//! Clocks of nodes jump; this one does not.

use super::admin;
use super::said::Line;
use super::words::{FALLS_BACK, NEW_TIMELINE, READY, STARTS, TIMED_OUT, UNDECIDED, value_after};
use super::{Shared, ledger, machine_of};
use crate::history::{Deed, History, Level};
use std::collections::BTreeMap;
use wal::Lsn;

/// The settings.
const SYNCHRONOUS: &str = "plimsoll.synchronous_timeout";
const UNCONFIRMED: &str = "plimsoll.unconfirmed_timeout";
/// What the second is if nobody has set it.
const UNCONFIRMED_MS: u64 = 30_000;
/// How long after a reload was asked for the setting before may still be in force.
const RELOAD_MS: u64 = 2000;
/// What two times may be wrong by, in milliseconds.
const ROUND_MS: u64 = 2;

/// Since when nodes may wait.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// When each node first said in its life that it takes writes, or is about to.
    ready: BTreeMap<usize, u64>,
    /// When it said that commits are undecided.
    undecided: BTreeMap<usize, u64>,
    /// When each setting of a node was last changed.
    changed: BTreeMap<(usize, String), u64>,
    /// What nodes fell back from.
    pub(super) fallbacks: Vec<Fallback>,
}

/// A node falls back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fallback {
    pub(super) node: usize,
    pub(super) at_ms: u64,
    /// Since when it has taken writes, in this life.
    pub(super) since_ms: u64,
    /// What is set.
    pub(super) limit_ms: u64,
    /// The weakest level that was not reached.
    pub(super) level: Level,
    /// Up to where it was.
    pub(super) after: Lsn,
    /// The end of the commit that waited for too long.
    pub(super) end: Lsn,
}

impl Fallback {
    /// What a line tells of it, beside the end of the commit.
    fn told((node, at_ms): (usize, u64), since_ms: u64, text: &str, end: Lsn) -> Option<Self> {
        let (level, limit) = text.split_once(" reached ")?.1.split_once(" within ")?;
        let level = Level::from_name(level)?;
        let (limit_ms, after) = (millis(limit.split(':').next()?)?, value_after(text, FALLS_BACK)?);
        Some(Self { node, at_ms, since_ms, limit_ms, level, after, end })
    }
}

impl Patience {
    /// Takes in a line of a node's log.
    pub(super) fn hear(&mut self, node: usize, at_ms: u64, line: &str) {
        if line.contains(STARTS) {
            self.ready.remove(&node);
        }
        // Sessions of a standby write as soon as its promotion is decided, and that is settled first.
        if line.contains(READY) || line.contains(NEW_TIMELINE) {
            self.ready.entry(node).or_insert(at_ms);
        }
        if line.contains(UNDECIDED) {
            self.undecided.insert(node, at_ms);
        }
    }

    /// A setting is changed.
    pub(super) fn is_set(&mut self, node: usize, at_ms: u64, name: &str) {
        self.changed.insert((node, name.to_owned()), at_ms);
    }

    /// How long something took that a node gave up at a time, at most, if that is less than what is set.
    fn too_short(&self, node: usize, at_ms: u64, name: &str, since_ms: u64, limit_ms: u64) -> Option<u64> {
        let changed = self.changed.get(&(node, name.to_owned()));
        let is_known = changed.is_none_or(|changed_ms| changed_ms + RELOAD_MS < at_ms);
        let waited_ms = at_ms.saturating_sub(since_ms);
        (is_known && waited_ms + ROUND_MS < limit_ms).then_some(waited_ms)
    }
}

/// Whether a line tells of something that was given up too early.
pub(super) fn judge(shared: &Shared, line: Line<'_>) -> Result<(), String> {
    let Line { node, at_ms, text } = line;
    let (what, since, name, limit_ms) = if text.contains(FALLS_BACK) {
        let since = shared.facts.lock().patience.ready.get(&node).copied();
        // The line tells what is in force.
        let limit = text.split_once(" within ").and_then(|(_, rest)| millis(rest.split(':').next()?));
        let end = ledger::end_of(shared, node, text);
        let told = |end| Fallback::told((node, at_ms), since.unwrap_or(at_ms), text, end);
        if let Some(fallback) = end.and_then(told) {
            shared.facts.lock().patience.fallbacks.push(fallback);
        }
        ("falls back", since, SYNCHRONOUS, limit)
    } else if text.contains(TIMED_OUT) {
        let since = shared.facts.lock().patience.undecided.get(&node).copied();
        ("shows what is undecided", since, UNCONFIRMED, Some(unconfirmed_ms(shared, node)))
    } else {
        return Ok(());
    };
    let Some((since_ms, limit_ms)) = since.zip(limit_ms) else { return Ok(()) };
    match shared.facts.lock().patience.too_short(node, at_ms, name, since_ms, limit_ms) {
        Some(ms) => Err(format!(
            "Patience: node {node} {what} at {at_ms} ms, after {ms} ms at most, and {name} is {limit_ms} ms"
        )),
        None => Ok(()),
    }
}

/// Compares fallbacks with the commits that waited.
pub(super) fn check(shared: &Shared, history: &History) -> Result<(), String> {
    let facts = shared.facts.lock();
    for Fallback { node, at_ms, limit_ms, end, .. } in &facts.patience.fallbacks {
        let waits = history.entries().iter().filter(|entry| {
            // A snapshot may have the very token of the commit that waits; it waits for nobody.
            let is_commit = matches!(entry.deed, Deed::Write(_) | Deed::Ddl(_));
            let is_it = entry.node == *node && entry.token().is_some_and(|token| token.at == *end);
            is_commit && is_it && entry.invoked_ms <= *at_ms
        });
        for entry in waits {
            let since_ms = entry.commit_ms.map_or(entry.invoked_ms, |(sent_ms, _)| sent_ms);
            let too_short = facts.patience.too_short(*node, *at_ms, SYNCHRONOUS, since_ms, *limit_ms);
            if let Some(ms) = too_short {
                return Err(format!(
                    "Patience: node {node} falls back at {at_ms} ms, {ms} ms after a COMMIT that was to wait \
                     for {limit_ms} ms: {entry:?}"
                ));
            }
        }
    }
    Ok(())
}

/// What a node's file says of how long it waits for a decision; the end of time if for ever.
fn unconfirmed_ms(shared: &Shared, node: usize) -> u64 {
    let cluster = shared.cluster.lock();
    let set = cluster.node(machine_of(node)).and_then(|there| admin::in_file(there.files(), UNCONFIRMED));
    set.map_or(UNCONFIRMED_MS, |set| millis(&set).unwrap_or(u64::MAX))
}

/// A time as settings have it, in milliseconds; None if it is none.
fn millis(text: &str) -> Option<u64> {
    let unit_at = text.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit_ms = match unit {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()? * unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_before_its_time_is_too_short() {
        let mut patience = Patience::default();
        patience.hear(1, 100, &format!("LOG:  commits after 0/1 up to 0/2 {UNDECIDED}"));
        let since_ms = patience.undecided[&1];
        let judge = |patience: &Patience, at_ms| patience.too_short(1, at_ms, UNCONFIRMED, since_ms, 500);
        assert_eq!(judge(&patience, 400), Some(300));
        assert_eq!(judge(&patience, 600), None);
        patience.is_set(1, 300, UNCONFIRMED);
        assert_eq!(judge(&patience, 400), None, "it may have been less until just now");
    }

    #[test]
    fn a_promoted_server_takes_writes_before_it_is_ready() {
        let mut patience = Patience::default();
        let mut since = |at_ms, line: &str| {
            patience.hear(1, at_ms, &format!("LOG:  {line}"));
            patience.ready.get(&1).copied()
        };
        assert_eq!(since(10, STARTS), None);
        assert_eq!(since(100, &format!("{NEW_TIMELINE}2")), Some(100));
        assert_eq!(since(140, READY), Some(100));
        assert_eq!(since(200, STARTS), None, "nobody waits yet");
        assert_eq!(since(300, READY), Some(300));
    }

    #[test]
    fn a_line_tells_from_what_a_server_falls_back() {
        let text = format!("{FALLS_BACK}0/1A0: no synchronous standby reached on within 300ms: commits wait");
        let told = Fallback::told((1, 5), 2, &text, Lsn::new(0x1B8));
        let told = told.map(|told| (told.since_ms, told.limit_ms, told.level, told.after));
        assert_eq!(told, Some((2, 300, Level::On, Lsn::new(0x1A0))));
    }

    #[test]
    fn times_of_settings_are_read() {
        assert_eq!(["300ms", "2s", "1min", "40"].map(millis), [300, 2000, 60_000, 40].map(Some));
        assert_eq!([millis("-1"), millis("soon"), millis("")], [None; 3]);
    }
}
