//! Fences: who was replaced acknowledges nothing more, is not promoted, and was really replaced.

use super::{Promise, Violation, violation};
use crate::branch::Branch;
use crate::guarantee::{Fence, Guarantee, Lost};
use crate::history::History;

pub(super) fn check(history: &History, guarantee: &Guarantee) -> Result<(), Violation> {
    for fence in &guarantee.fences {
        if !has_cause(guarantee, fence) {
            return violation(Promise::OneWriter, format!("nobody replaced the node of {fence:?}"));
        }
        let lasts = |until_ms: u64| {
            let is_new = |at_ms: u64| at_ms >= fence.at_ms && at_ms <= until_ms;
            let mut losses = guarantee.losses.iter();
            !losses.any(|loss| loss.node == fence.node && loss.lost == Lost::Directory && is_new(loss.at_ms))
        };
        for entry in history.entries().iter().filter(|entry| entry.node == fence.node) {
            let Some((_, token)) = entry.level_told().zip(entry.token()) else { continue };
            let is_of_branch = guarantee.branches.home(token) == fence.branch;
            if entry.invoked_ms > fence.at_ms && is_of_branch && lasts(entry.told_ms()) {
                return violation(Promise::OneWriter, format!("told behind {fence:?}: {entry:?}"));
            }
        }
        for turn in guarantee.turns.iter().filter(|turn| turn.node == fence.node) {
            let fork = guarantee.branches.fork(&turn.branch);
            let is_of_branch = fork.is_some_and(|fork| fork.parent == fence.branch);
            // It may only go on from what has replaced it.
            let lineage = guarantee.branches.lineage(&turn.branch);
            let is_strange = fence.by.as_ref().is_some_and(|by| !lineage.contains(by));
            if turn.decided_ms > fence.at_ms && (is_of_branch || is_strange) && lasts(turn.decided_ms) {
                return violation(Promise::OneWriter, format!("promoted behind {fence:?}: {turn:?}"));
            }
        }
    }
    Ok(())
}

/// Whether a branch of the number that the node named left its timeline where it said.
fn has_cause(guarantee: &Guarantee, fence: &Fence) -> bool {
    let all = guarantee.branches.all(&Branch::new("1"));
    all.iter().filter(|branch| branch.timeline() == fence.descendant).any(|branch| {
        guarantee.branches.lineage(branch).iter().any(|branch| {
            let fork = guarantee.branches.fork(branch);
            fork.is_some_and(|fork| fork.parent == fence.branch && fork.at == fence.fork)
        })
    })
}
