//! What the plan tells of a run: rare states, with what came of it.

use super::Shared;
use crate::guarantee::{Guarantee, Turn};
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

/// Who wrote the branch that a turn left.
fn writer_before(guarantee: &Guarantee, turn: &Turn) -> Option<usize> {
    let parent = &guarantee.branches.fork(&turn.branch)?.parent;
    let before = guarantee.turns.iter().find(|other| other.branch == *parent);
    Some(before.map_or(0, |before| before.node))
}
