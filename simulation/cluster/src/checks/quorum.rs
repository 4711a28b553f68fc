//! Who was told that a commit is held by standbys was told so after they had said it.
//!
//! This holds whatever happened: it compares an acknowledgement with the reports that were sent before it,
//! and with the names that may have been in force meanwhile.

use super::{Promise, Violation, violation};
use crate::guarantee::{Guarantee, Quorum};
use crate::history::{Entry, History, Level};

/// How long it may take until a standby that has said how far it is counts at its primary: the word is on its
/// way, the file of the standby's slot is written, and who takes the word in may stand still before a lock.
const TAKEN_IN_MS: u64 = 200;

pub(super) fn check(history: &History, guarantee: &Guarantee) -> Result<(), Violation> {
    let Some(reports) = &guarantee.reports else { return Ok(()) };
    for entry in history.entries() {
        let Some((level, token)) = entry.level_told().zip(entry.token()) else { continue };
        if level.stage().is_none() || guarantee.may_be_released(token) {
            continue;
        }
        let told_ms = entry.told_ms();
        let told_of = |node: usize| reports.told(&guarantee.branches, node, level, token);
        let has_told = |node: &&usize| told_of(**node).is_some_and(|(_, told)| told.at_ms <= told_ms);
        let holds = |quorum: &&Quorum| quorum.standbys.iter().filter(has_told).count() >= quorum.count;
        let in_force: Vec<&Quorum> = guarantee.in_force(entry.node, entry.invoked_ms, told_ms).collect();
        if !in_force.is_empty() && !in_force.iter().any(holds) {
            return violation(Promise::Durable, text(entry, level, &in_force));
        }
        // Whoever is among the first that are named, and was connected all the time, is waited for.
        let [quorum] = in_force.as_slice() else { continue };
        for node in quorum.first.iter().take(quorum.count) {
            let Some((upstream, told)) = told_of(*node) else { continue };
            // Through a narrow link it may be given the last there is again and again, and never all.
            let clear = |from_ms: u64| guarantee.is_clear((upstream, *node), from_ms, told_ms);
            let streams = |from_ms: u64| from_ms + TAKEN_IN_MS < entry.invoked_ms && clear(from_ms);
            let streamed = told.streams_from_ms.is_some_and(streams);
            if upstream == entry.node && streamed && told.at_ms > told_ms {
                let text = format!("told {} ms before the first standby, node {node}", told.at_ms - told_ms);
                return violation(Promise::Durable, format!("{text}, had it: {quorum:?}: {entry:?}"));
            }
        }
    }
    Ok(())
}

fn text(entry: &Entry, level: Level, in_force: &[&Quorum]) -> String {
    format!("told at {level:?} before enough standbys said that they have it, of {in_force:?}: {entry:?}")
}
