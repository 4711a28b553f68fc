//! What a standby shows as confirmed is held by those that its commits waited for: they had said so before.
//!
//! This holds whatever happened. Whoever is the primary by then may have confirmed it, with its own names.

use super::kept::looks;
use super::{Promise, Violation, violation};
use crate::guarantee::{Guarantee, Quorum};
use crate::history::{Entry, History, View, Write};
use std::collections::BTreeMap;

pub(super) fn check(
    history: &History,
    writes: &BTreeMap<u64, (&Entry, &Write)>,
    guarantee: &Guarantee,
) -> Result<(), Violation> {
    let Some(reports) = &guarantee.reports else { return Ok(()) };
    for (entry, _, seen) in looks(history).filter(|(_, read, _)| read.view == View::Confirmed) {
        let shown = seen.writers.iter().filter_map(|tx| writes.get(tx));
        for (by, write) in shown.filter(|(_, write)| write.level.stage().is_some()) {
            let Some(token) = by.token().filter(|token| !guarantee.may_be_released(token)) else { continue };
            let has_told = |node: &&usize| {
                let told = reports.told(&guarantee.branches, **node, write.level, token);
                told.is_some_and(|(_, told)| told.at_ms <= entry.told_ms())
            };
            let holds = |quorum: &&Quorum| quorum.standbys.iter().filter(has_told).count() >= quorum.count;
            let (from_ms, to_ms) = (by.invoked_ms, entry.told_ms());
            let in_force = guarantee.quorums.iter().filter(|quorum| quorum.may_hold(from_ms, to_ms));
            let in_force: Vec<&Quorum> = in_force.collect();
            if !in_force.is_empty() && !in_force.iter().any(holds) {
                let text =
                    format!("shown as confirmed before enough standbys had it: {by:?}, seen by {entry:?}");
                return violation(Promise::Confirmed, text);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::branch::Branch;
    use crate::history::registers::REGISTERS;
    use crate::history::reports::{Progress, Reports, Source};
    use crate::history::{Deed, Level, Outcome, Read, Seen};

    #[test]
    fn what_nobody_had_told_to_hold_is_not_confirmed() {
        let mut history = History::default();
        let acked = |token: &str| {
            let token = Some(token.parse().expect("a token"));
            Outcome::Acked { token, warnings: vec!["canceling wait".to_owned()] }
        };
        let (kept, adds) = ([0].into(), [0].into());
        let deed =
            Deed::Write(Write { tx: 1, level: Level::On, kept, adds, wrote: Vec::new(), met: Vec::new() });
        let pending = history.begin((0, 0), 0, "insert", 1000, deed);
        history.end(pending, 1500, acked("1:0/50"), |_| ());
        let mut writers = [0; REGISTERS];
        writers[0] = 1;
        let at = "1:0/60".parse().expect("a token");
        let seen = Seen { at, values: [0; REGISTERS], writers, parts: BTreeMap::new() };
        let deed = Deed::Read(Read { view: View::Confirmed, after: None, seen: Some(seen) });
        let pending = history.begin((1, 0), 2, "confirmed read", 2000, deed);
        history.end(pending, 2100, acked("1:0/60"), |_| ());
        let mut guarantee = Guarantee::calm(Branch::new("1"));
        let (standbys, first) = ([1].into(), Vec::new());
        guarantee.quorums.push(Quorum { node: 0, from_ms: 0, to_ms: 9000, count: 1, standbys, first });
        for (at_ms, found) in [(2050, false), (2200, true)] {
            let mut reports = Reports::default();
            let source = Source { node: 1, branch: Branch::new("1"), upstream: 0 };
            let progress = Progress { written: 0x50, flushed: 0x50, replayed: 0x50 };
            reports.add(source, at_ms, progress, None);
            guarantee.reports = Some(reports);
            let writes = super::super::writes_of(&history);
            assert_eq!(check(&history, &writes, &guarantee).is_err(), found, "{at_ms}");
        }
    }
}
