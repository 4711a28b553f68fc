//! What the plan tells of a run: rare states, with what came of it, and when nodes were left in peace.

use super::Shared;
use crate::guarantee::{Guarantee, Pause, Turn};
use crate::plan::Event;
use crate::rare::{Counters, Rare};
use std::sync::atomic::Ordering;

/// Counts them.
pub(super) fn count(shared: &Shared, guarantee: &Guarantee, rare: &mut Counters) {
    let from_ms = shared.plan_from_ms.load(Ordering::Relaxed);
    let events: Vec<(u64, &Event)> =
        shared.plan.events.iter().map(|timed| (from_ms + timed.at_ms, &timed.event)).collect();
    for turn in &guarantee.turns {
        let paused =
            events.iter().rev().filter(|(at_ms, _)| *at_ms <= turn.decided_ms).find_map(|(_, event)| {
                match event {
                    Event::PauseReplay { node } if *node == turn.node => Some(true),
                    Event::ResumeReplay { node } | Event::Clone { node, .. } if *node == turn.node => {
                        Some(false)
                    }
                    _ => None,
                }
            });
        if paused == Some(true) {
            rare.hit(Rare::PausedAtPromotion);
        }
        let old = writer_before(guarantee, turn);
        let wakes = |(at_ms, event): &(u64, &Event)| {
            let frozen = matches!(event, Event::Freeze { node, ms } if old == Some(*node)
                && *at_ms <= turn.decided_ms && turn.decided_ms < at_ms + ms);
            let lost = guarantee
                .losses
                .iter()
                .any(|loss| Some(loss.node) == old && loss.at_ms >= *at_ms && loss.at_ms <= turn.decided_ms);
            frozen && !lost
        };
        if events.iter().any(wakes) {
            rare.hit(Rare::WokeReplaced);
        }
    }
}

/// How long after a node was stopped, promoted or the like it may not be what it will be.
const SETTLE_MS: u64 = 4000;

/// When something was done to nodes.
pub(super) fn disturbed(shared: &Shared) -> Vec<Pause> {
    let from_ms = shared.plan_from_ms.load(Ordering::Relaxed);
    let end_ms = from_ms + shared.plan.duration_ms;
    let mut all = Vec::new();
    let all_nodes = || shared.nodes().collect::<Vec<_>>();
    for timed in &shared.plan.events {
        let (nodes, ms) = match &timed.event {
            Event::Freeze { node, ms } | Event::Isolate { node, ms } | Event::DiskFull { node, ms } => {
                (vec![*node], ms + SETTLE_MS)
            }
            Event::Partition { from, to, ms, .. } | Event::SlowLink { from, to, ms, .. } => {
                (vec![*from, *to], ms + SETTLE_MS)
            }
            Event::ResetConnections { node }
            | Event::ClockForward { node, .. }
            | Event::ClockBack { node, .. }
            | Event::Reload { node, .. } => (vec![*node], SETTLE_MS),
            Event::Checkpoint { .. } | Event::CreateSlot { .. } | Event::DropSlot { .. } => (vec![], 0),
            // Nobody knows who follows whom from here on, or what else comes of it.
            _ => (all_nodes(), SETTLE_MS),
        };
        let at_ms = from_ms + timed.at_ms;
        let paused = |node| Pause { node, from_ms: at_ms, to_ms: at_ms.saturating_add(ms) };
        all.extend(nodes.into_iter().map(paused));
    }
    // In the end nodes are stopped, cloned and what not.
    all.extend(shared.nodes().map(|node| Pause { node, from_ms: end_ms, to_ms: u64::MAX }));
    all
}

/// Who wrote the branch that a turn left.
fn writer_before(guarantee: &Guarantee, turn: &Turn) -> Option<usize> {
    let parent = &guarantee.branches.fork(&turn.branch)?.parent;
    let before = guarantee.turns.iter().find(|other| other.branch == *parent);
    Some(before.map_or(0, |before| before.node))
}
