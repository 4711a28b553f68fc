//! What the nodes' logs tell of their state.

use super::{Shared, fallbacks, heeded, ledger, watch};
use crate::rare::Rare;
use wal::Lsn;

/// A node begins a timeline.
pub(super) const NEW_TIMELINE: &str = "selected new timeline ID: ";

/// A node takes writes.
pub(super) const READY: &str = "database system is ready to accept connections";
/// It does not become a primary.
const REFUSED: &str = "promotion refused";
/// It does not know yet which commits of before hold, and then it does.
const UNDECIDED: &str = "are undecided until the synchronous standbys hold them";
const DECIDED: &str = "the synchronous standbys hold all commits up to";
/// Recovery or a promotion ends large transactions.
const ABORTED: &str = "transactions without an outcome";
/// A disk is full.
const FULL: &str = "No space left on device";

/// A primary falls back behind a position.
const FALLS_BACK: &str = "falling back from synchronous replication after ";
/// It is back to what its settings ask for.
const RETURNS: &str = "returning to synchronous replication";

/// A primary shows what is undecided.
const SHOWN: &str = " are released ";

/// A primary is fenced.
pub(super) const FENCED: &str = "this server is fenced and takes no more writes";

/// The timeline that replaced a fenced primary, and where it left.
fn why_fenced(line: &str) -> Option<(u32, Lsn)> {
    let (_, rest) = line.split_once(": timeline ")?;
    let (timeline, rest) = rest.split_once(" left this server's timeline ")?;
    let (_, fork) = rest.split_once(" at ")?;
    Some((timeline.parse().ok()?, fork.split(',').next()?.parse().ok()?))
}

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
    FENCED,
    "are released since no synchronous standbys",
    FALLS_BACK,
    RETURNS,
    "which never became durable (recorded in plimsoll/ledger)",
    ABORTED,
    "has already been removed",
    "the primary of before acknowledged commits after",
    ledger::UNWRITTEN,
    fallbacks::TELLS,
    fallbacks::STANDBY,
    "invalidating slot",
    "cut log from ",
    READY,
    REFUSED,
    UNDECIDED,
    DECIDED,
    FULL,
    heeded::GIVEN_UP,
];

const STATES: &[(&str, Rare)] = &[
    ("released by plimsoll.unconfirmed_timeout", Rare::Released),
    ("highest timeline", Rare::StrangeBranchRefused),
    ("writes another branch", Rare::TwoPrimaries),
    (FENCED, Rare::Fenced),
    ("falling back from synchronous replication", Rare::FellBack),
    ("which never became durable", Rare::TornTail),
    ("the primary of before acknowledged commits after", Rare::PromotionWithPendingFallback),
    ("invalidating slot", Rare::SlotLost),
    ("has already been removed", Rare::LogRemoved),
];

/// What a line of a node's log, which has just come, shows to be wrong.
pub(super) fn judge(shared: &Shared, who: &str, line: &str) -> Result<(), String> {
    let node = who.strip_prefix('n').and_then(|number| number.parse().ok());
    match node {
        Some(node) if line.contains(heeded::GIVEN_UP) => heeded::gave_up(shared, node),
        _ => Ok(()),
    }
}

/// Notes what a line says. The node, if it tells of something that its ledger must have.
pub(super) fn hear(shared: &Shared, who: &str, line: &str) -> Option<usize> {
    let node = who.strip_prefix('n').and_then(|number| number.parse().ok())?;
    if let Some((_, timeline)) = line.split_once(NEW_TIMELINE)
        && let Ok(timeline) = timeline.trim().parse()
    {
        shared.facts.lock().begins(node, timeline);
    }
    if let Some(after) = position_after(line, FALLS_BACK) {
        shared.facts.lock().falls_back(node, after);
    }
    if line.contains(SHOWN)
        && let Some(range) = position_after(line, "commits after ").zip(position_after(line, " up to "))
    {
        shared.facts.lock().shows_undecided(range);
    }
    if line.contains(RETURNS)
        && let Some(at) = position_after(line, " up to ")
    {
        shared.facts.lock().returns(node, at);
    }
    let event = ledger::event_of(line);
    if let Some(event) = event {
        shared.facts.lock().told(node, shared.now_ms(), event);
    }
    if line.contains(FENCED)
        && let Some(why) = why_fenced(line)
        && shared.facts.lock().fenced(node, shared.now_ms(), why)
    {
        shared.hit(Rare::FencedRestart);
    }
    hear_of_life(shared, node, line);
    watch::hear(shared, node, line);
    for (words, state) in STATES {
        if line.contains(words) {
            shared.hit(*state);
        }
    }
    event.map(|_| node)
}

/// Notes what a line says of a node's way into its roles.
fn hear_of_life(shared: &Shared, node: usize, line: &str) {
    let (now_ms, mut facts) = (shared.now_ms(), shared.facts.lock());
    facts.fallbacks.hear(node, now_ms, line);
    if line.contains(ABORTED) {
        facts.ends_large(node);
    }
    if line.contains(READY) {
        facts.takes_writes(node);
    }
    if line.contains(REFUSED) {
        facts.stays_standby(node);
    }
    if line.contains(UNDECIDED) {
        facts.undecided(node, now_ms);
    }
    if line.contains(DECIDED) || line.contains("released") {
        facts.decided(node, now_ms);
    }
    let is_primary = *shared.primary.lock() == node;
    if line.contains(FULL) && !is_primary {
        facts.rare.hit(Rare::DiskFullOnStandby);
    }
}
