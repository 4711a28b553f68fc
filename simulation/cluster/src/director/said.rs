//! What the nodes' logs tell of their state.

use super::Shared;
use crate::rare::Rare;

/// A node begins a timeline.
const NEW_TIMELINE: &str = "selected new timeline ID: ";

/// Words of log lines that are listened for.
pub(super) const WORDS: &[&str] = &[
    NEW_TIMELINE,
    "is released by plimsoll.unconfirmed_timeout",
    "are released by plimsoll.unconfirmed_timeout",
    "highest timeline",
    "writes another branch",
];

const STATES: &[(&str, Rare)] = &[
    ("released by plimsoll.unconfirmed_timeout", Rare::Released),
    ("highest timeline", Rare::StrangeBranchRefused),
    ("writes another branch", Rare::TwoPrimaries),
];

/// Notes what a line says.
pub(super) fn hear(shared: &Shared, who: &str, line: &str) {
    let Some(node) = who.strip_prefix('n').and_then(|number| number.parse().ok()) else { return };
    if let Some((_, timeline)) = line.split_once(NEW_TIMELINE)
        && let Ok(timeline) = timeline.trim().parse()
    {
        shared.facts.lock().begins(node, timeline);
    }
    for (words, state) in STATES {
        if line.contains(words) {
            shared.hit(*state);
        }
    }
}
