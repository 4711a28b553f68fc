//! What the nodes' logs tell of their state.

use super::Shared;
use crate::rare::Rare;
use wal::Lsn;

/// A node begins a timeline.
const NEW_TIMELINE: &str = "selected new timeline ID: ";

/// A primary falls back behind a position.
const FALLS_BACK: &str = "falling back from synchronous replication after ";
/// It is back to what its settings ask for.
const RETURNS: &str = "returning to synchronous replication";

/// The position behind these words.
fn position_after(line: &str, words: &str) -> Option<Lsn> {
    let (_, rest) = line.split_once(words)?;
    rest.split([':', ' ', ',']).next()?.parse().ok()
}

/// Words of log lines that are listened for.
pub(super) const WORDS: &[&str] = &[
    NEW_TIMELINE,
    "is released by plimsoll.unconfirmed_timeout",
    "are released by plimsoll.unconfirmed_timeout",
    "highest timeline",
    "writes another branch",
    "this server is fenced and takes no more writes",
    FALLS_BACK,
    RETURNS,
    "which never became durable (recorded in plimsoll/ledger)",
    "transactions without an outcome",
    "has already been removed",
];

const STATES: &[(&str, Rare)] = &[
    ("released by plimsoll.unconfirmed_timeout", Rare::Released),
    ("highest timeline", Rare::StrangeBranchRefused),
    ("writes another branch", Rare::TwoPrimaries),
    ("this server is fenced and takes no more writes", Rare::Fenced),
    ("falling back from synchronous replication", Rare::FellBack),
    ("which never became durable", Rare::TornTail),
    ("transactions without an outcome", Rare::LargeAtCrash),
    ("has already been removed", Rare::LogRemoved),
];

/// Notes what a line says.
pub(super) fn hear(shared: &Shared, who: &str, line: &str) {
    let Some(node) = who.strip_prefix('n').and_then(|number| number.parse().ok()) else { return };
    if let Some((_, timeline)) = line.split_once(NEW_TIMELINE)
        && let Ok(timeline) = timeline.trim().parse()
    {
        shared.facts.lock().begins(node, timeline);
    }
    if let Some(after) = position_after(line, FALLS_BACK) {
        shared.facts.lock().falls_back(node, after);
    }
    if line.contains(RETURNS)
        && let Some(at) = position_after(line, " up to ")
    {
        shared.facts.lock().returns(node, at);
    }
    for (words, state) in STATES {
        if line.contains(words) {
            shared.hit(*state);
        }
    }
}
