//! What the nodes' logs tell of their state.

use super::words::{
    ABORTED, BROKEN_OFF, DECIDED, FALLS_BACK, FENCED, FULL, GIVEN_UP, KEPT_FILE, KEPT_SEGMENT, LOG_REMOVED,
    NEW_TIMELINE, PRIMARY_FELL_BACK, READY, REFUSED, RETURNS, SHOWN, SLOT_LOST, STARTS, STRANGE_BRANCH,
    STREAM_ENDED, TIMED_OUT, TORN, UNDECIDED, value_after,
};
use super::{Shared, handovers, heeded, ledger, own_rewinds, patience, watch};
use crate::cluster::Watched;
use crate::rare::Rare;
use wal::Lsn;

/// The timeline that replaced a fenced primary, and where it left.
fn why_fenced(line: &str) -> Option<(u32, Lsn)> {
    let (_, rest) = line.split_once(": timeline ")?;
    let (timeline, rest) = rest.split_once(" left this server's timeline ")?;
    let (_, fork) = rest.split_once(" at ")?;
    Some((timeline.parse().ok()?, fork.split(',').next()?.parse().ok()?))
}

/// Rare states that a line shows.
const STATES: &[(&str, Rare)] = &[
    (TIMED_OUT, Rare::Released),
    (STRANGE_BRANCH, Rare::StrangeBranchRefused),
    (FENCED, Rare::Fenced),
    (FALLS_BACK, Rare::FellBack),
    (TORN, Rare::TornTail),
    (PRIMARY_FELL_BACK, Rare::PromotionWithPendingFallback),
    (KEPT_FILE, Rare::KeptFile),
    (KEPT_SEGMENT, Rare::KeptSegment),
    (SLOT_LOST, Rare::SlotLost),
    (LOG_REMOVED, Rare::LogRemoved),
];

/// A line of a node's log.
#[derive(Clone, Copy)]
pub(super) struct Line<'l> {
    pub(super) node: usize,
    /// When it was said, in milliseconds.
    pub(super) at_ms: u64,
    pub(super) text: &'l str,
}

impl<'l> Line<'l> {
    /// The line, if a node said it.
    pub(super) fn of(watched: &'l Watched) -> Option<Self> {
        let Watched { at_ms, who, line } = watched;
        Some(Self { node: who.strip_prefix('n')?.parse().ok()?, at_ms: *at_ms, text: line })
    }
}

/// What a line of a node's log, which may have been said a while ago, shows to be wrong.
pub(super) fn judge(shared: &Shared, line: Line<'_>) -> Result<(), String> {
    if line.text.contains(GIVEN_UP) {
        heeded::gave_up(shared, line.node, line.at_ms)?;
    }
    ledger::check_line(shared, line)?;
    patience::judge(shared, line)
}

/// Notes what a line says. The node, if it tells of something that its ledger must have.
pub(super) fn hear(shared: &Shared, line: Line<'_>) -> Option<usize> {
    let Line { node, at_ms, text: line } = line;
    {
        let mut facts = shared.facts.lock();
        facts.patience.hear(node, at_ms, line);
        facts.views.hear(node, at_ms, line);
    }
    if let Some(timeline) = value_after(line, NEW_TIMELINE) {
        shared.facts.lock().begins(node, timeline);
    }
    if let Some(after) = value_after(line, FALLS_BACK) {
        shared.facts.lock().falls_back(node, at_ms, after);
    }
    if line.contains(SHOWN)
        && let Some(range) = value_after(line, "commits after ").zip(value_after(line, " up to "))
    {
        shared.facts.lock().shows_undecided(node, at_ms, range);
    }
    if line.contains(RETURNS)
        && let Some(at) = value_after(line, " up to ")
    {
        shared.facts.lock().returns(node, at_ms, at);
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
    handovers::hear(shared, node, at_ms, line);
    own_rewinds::hear(shared, node, line);
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
    if line.contains(STARTS) {
        shared.wire.lock().heeded.starts(node);
    }
    let (now_ms, mut facts) = (shared.now_ms(), shared.facts.lock());
    facts.fallbacks.hear(node, now_ms, line);
    if line.contains(STARTS) {
        facts.replay_goes_on(node);
        facts.breaking_off.remove(&node);
    }
    if line.contains(BROKEN_OFF) {
        facts.breaking_off.insert(node);
    }
    if let Some((_, standby)) = line.split_once(STREAM_ENDED)
        && let Some(standby) = standby.strip_suffix('"').and_then(|standby| standby.parse().ok())
    {
        facts.stream_ended((node, standby), now_ms);
    }
    if line.contains(ABORTED) {
        facts.rare.hit(Rare::LargeAtCrash);
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
