//! When nodes were left in peace: what is to be answered is answered then.

use super::Shared;
use crate::guarantee::{Guarantee, Pause, Trouble};
use crate::plan::{Event, Timed};
use std::sync::atomic::Ordering;

/// How long after a node was started, promoted or the like it may not be what it will be; and how long after
/// a cut a connection may be dead.
const SETTLE_MS: u64 = 4000;
/// The same of what ends at once.
const SHORT_MS: u64 = 1000;

/// Adds what the plan tells of it.
pub(super) fn add(shared: &Shared, guarantee: Guarantee) -> Guarantee {
    let begun_ms = shared.plan_from_ms.load(Ordering::Relaxed);
    let mut peace = guarantee;
    for loss in peace.losses.clone() {
        rest(&mut peace, loss.node, loss.at_ms, SETTLE_MS);
    }
    for timed in &shared.plan.events {
        hear(shared, &mut peace, &timed.event, begun_ms + timed.at_ms);
    }
    // In the end nodes are stopped, cloned and what not.
    for node in shared.nodes() {
        rest(&mut peace, node, begun_ms + shared.plan.duration_ms, u64::MAX);
    }
    peace
}

/// Whether nothing happens to any node, nor did for long, and nothing ever befell one.
pub(super) fn reigns(shared: &Shared) -> bool {
    let (begun_ms, now_ms) = (shared.plan_from_ms.load(Ordering::Relaxed), shared.now_ms());
    let is_harmless = |event: &Event| {
        use Event::{Alone, ChangeSyncNames, Checkpoint, Hold, Rest, SwitchWal};
        matches!(
            event,
            Alone { .. }
                | ChangeSyncNames { .. }
                | Checkpoint { .. }
                | Hold { .. }
                | Rest { .. }
                | SwitchWal { .. }
        )
    };
    let happened = |timed: &Timed| begun_ms + timed.at_ms <= now_ms && !is_harmless(&timed.event);
    !shared.plan.events.iter().any(happened) && now_ms < begun_ms + shared.plan.duration_ms
}

fn rest(peace: &mut Guarantee, node: usize, from_ms: u64, ms: u64) {
    peace.disturbed.push(Pause { node, from_ms, to_ms: from_ms.saturating_add(ms) });
}

/// The network fails between nodes.
fn links_fail(shared: &Shared, peace: &mut Guarantee, event: &Event, at_ms: u64) {
    let mut trouble = |one: usize, other: usize, ms: u64| {
        peace.troubles.push(Trouble { nodes: (one, other), from_ms: at_ms, to_ms: at_ms.saturating_add(ms) });
    };
    match event {
        Event::Partition { from, to, ms, .. }
        | Event::SlowLink { from, to, ms, .. }
        | Event::NarrowLink { from, to, ms, .. } => trouble(*from, *to, ms + SETTLE_MS),
        Event::CutAtHandover { from, to, ms, .. } => {
            trouble(*from, *to, shared.plan.duration_ms + ms + SETTLE_MS);
        }
        Event::Isolate { node, ms } => {
            shared.nodes().for_each(|other| trouble(*node, other, ms + SETTLE_MS));
            rest(peace, *node, at_ms, ms + SETTLE_MS);
        }
        Event::ResetConnections { node } => {
            shared.nodes().for_each(|other| trouble(*node, other, SHORT_MS));
            rest(peace, *node, at_ms, SHORT_MS);
        }
        _ => {}
    }
}

fn hear(shared: &Shared, peace: &mut Guarantee, event: &Event, at_ms: u64) {
    match event {
        Event::Partition { .. }
        | Event::SlowLink { .. }
        | Event::NarrowLink { .. }
        | Event::CutAtHandover { .. }
        | Event::Isolate { .. }
        | Event::ResetConnections { .. } => links_fail(shared, peace, event, at_ms),
        Event::Freeze { node, ms } => rest(peace, *node, at_ms, ms + SHORT_MS),
        Event::DiskFull { node, ms } | Event::SlowDisk { node, ms, .. } | Event::DropKept { node, ms } => {
            rest(peace, *node, at_ms, ms + SETTLE_MS)
        }
        Event::Burst { node, .. } | Event::Record { node, .. } | Event::Reload { node, .. } => {
            rest(peace, *node, at_ms, SHORT_MS);
        }
        // Redo waits there for who reads, and so do those who wait for it.
        Event::DropRead { node, on } => {
            rest(peace, *node, at_ms, SETTLE_MS);
            rest(peace, *on, at_ms, SETTLE_MS);
        }
        Event::FastStop { node } | Event::ImmediateStop { node } => {
            peace.stops.push((*node, at_ms));
            rest(peace, *node, at_ms, SETTLE_MS);
        }
        Event::Kill { node }
        | Event::PowerCut { node, .. }
        | Event::Restart { node }
        | Event::Promote { node }
        | Event::Clone { node, .. }
        | Event::Rewind { node, .. }
        | Event::RewindAtRest { node, .. }
        | Event::LoseLog { node, .. }
        | Event::SpoilLog { node, .. }
        | Event::FailSync { node, .. }
        | Event::FailDataSync { node, .. }
        | Event::Follow { node, .. }
        | Event::FollowPrimary { node } => rest(peace, *node, at_ms, SETTLE_MS),
        // Others follow through the one that starts again.
        Event::Switchover { ms, .. } => {
            shared.nodes().for_each(|node| rest(peace, node, at_ms, ms + SETTLE_MS));
        }
        Event::PromoteBest { among } | Event::PromoteIfNone { among } => {
            among.0.iter().for_each(|node| rest(peace, *node, at_ms, SETTLE_MS));
        }
        // Many stand still.
        Event::Alone { ms, .. } | Event::StallLocks { ms } => {
            shared.nodes().for_each(|node| rest(peace, node, at_ms, ms + SHORT_MS));
        }
        // Those that go down at an answer, or in a promotion, have losses.
        Event::KillAtAnswer { .. }
        | Event::PowerCutAtAnswer { .. }
        | Event::KillInPromotion { .. }
        | Event::PowerCutInPromotion { .. }
        | Event::KillAtHandover { .. }
        | Event::PowerCutAtHandover { .. }
        | Event::ChangeSyncNames { .. }
        | Event::PauseReplay { .. }
        | Event::ResumeReplay { .. }
        | Event::DelayReplay { .. }
        | Event::KeepFiles { .. }
        | Event::CreateSlot { .. }
        | Event::DropSlot { .. }
        | Event::Hold { .. }
        | Event::Rest { .. }
        | Event::Checkpoint { .. }
        | Event::SwitchWal { .. }
        | Event::ClockForward { .. }
        | Event::ClockBack { .. } => {}
    }
}
