//! Answers come in time while nothing keeps them: nobody waits for what has happened already.
//!
//! Only times are looked at in which nothing was done to the node that was asked. That its standbys were
//! there and reached what a commit waits for, they have said themselves.

use super::{Promise, Violation, violation};
use crate::guarantee::{Guarantee, Quorum};
use crate::history::reports::Reports;
use crate::history::{Deed, Entry, History, Level, Outcome};

/// How long an answer may take once what it waits for is there.
const ANSWER_MS: u64 = 1500;

pub(super) fn check(history: &History, guarantee: &Guarantee) -> Result<(), Violation> {
    let Some(reports) = &guarantee.reports else { return Ok(()) };
    for entry in history.entries() {
        let calm =
            entry.returned_ms.is_some_and(|told| guarantee.is_calm(entry.node, entry.invoked_ms, told));
        if !calm {
            continue;
        }
        check_late(entry, guarantee, reports)?;
        check_cancelled(entry)?;
    }
    Ok(())
}

/// A commit is told soon after enough standbys have said that they have it and all before it.
fn check_late(entry: &Entry, guarantee: &Guarantee, reports: &Reports) -> Result<(), Violation> {
    let Some((_, token)) = entry.level_told().zip(entry.token()) else { return Ok(()) };
    let told_ms = entry.told_ms();
    let reached = |quorum: &Quorum| {
        let told = |node: &usize| reports.told(&guarantee.branches, *node, Level::RemoteApply, token);
        let mut times: Vec<u64> =
            quorum.standbys.iter().filter_map(told).map(|(_, told)| told.at_ms).collect();
        times.sort_unstable();
        times.get(quorum.count.checked_sub(1)?).copied()
    };
    // Of several quorums that may be in force the last to be reached counts. Of those that ask for the first
    // it is not known which these are.
    let mut ready_ms = entry.invoked_ms;
    for quorum in guarantee.in_force(entry.node, entry.invoked_ms.saturating_sub(ANSWER_MS), told_ms) {
        match reached(quorum) {
            Some(at_ms) if quorum.first.is_empty() => ready_ms = ready_ms.max(at_ms),
            _ => return Ok(()),
        }
    }
    let late_ms = told_ms.saturating_sub(ready_ms);
    if late_ms > ANSWER_MS {
        let text = format!("told {late_ms} ms after all that it waits for: {entry:?}");
        return violation(Promise::Timely, text);
    }
    Ok(())
}

/// A wait that is cancelled ends.
fn check_cancelled(entry: &Entry) -> Result<(), Violation> {
    let is_cancelled = entry.kind == "cancelled wait" && matches!(entry.deed, Deed::Write(_));
    match &entry.outcome {
        Outcome::Unknown(text) if is_cancelled && text.starts_with("no answer to COMMIT") => {
            violation(Promise::Timely, format!("a wait that was cancelled goes on: {entry:?}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::branch::Branch;
    use crate::guarantee::Pause;
    use crate::history::Write;
    use crate::history::reports::{Progress, Source};

    fn entry(kind: &'static str, outcome: Outcome, history: &mut History) {
        let (kept, adds) = ([0].into(), [0].into());
        let deed = Deed::Write(Write { tx: 1, level: Level::On, kept, adds, wrote: Vec::new() });
        let pending = history.begin((0, 0), 0, kind, 1000, deed);
        history.end(pending, 5000, outcome, |_| ());
    }

    fn found(history: &History, guarantee: &Guarantee) -> bool {
        check(history, guarantee).is_err()
    }

    #[test]
    fn a_late_answer_is_found_if_nothing_kept_it() {
        let mut guarantee = Guarantee::calm(Branch::new("1"));
        let standbys = [1].into();
        guarantee.quorums.push(Quorum {
            node: 0,
            from_ms: 0,
            to_ms: 9000,
            count: 1,
            standbys,
            first: vec![],
        });
        let mut history = History::default();
        let token = "1:0/50".parse().expect("a token");
        entry("insert", Outcome::Acked { token: Some(token), warnings: Vec::new() }, &mut history);
        for (at_ms, late) in [(1100, true), (3400, true), (3600, false)] {
            let mut reports = Reports::default();
            let progress = Progress { written: 0x50, flushed: 0x50, replayed: 0x50 };
            let source = Source { node: 1, branch: Branch::new("1"), upstream: 0 };
            reports.add(source, at_ms, progress, None);
            guarantee.reports = Some(reports);
            assert_eq!(found(&history, &guarantee), late, "{at_ms}");
            guarantee.disturbed.push(Pause { node: 0, from_ms: 2000, to_ms: 2001 });
            assert!(!found(&history, &guarantee));
            guarantee.disturbed.clear();
        }
    }

    #[test]
    fn a_cancel_that_nobody_hears_is_found() {
        let mut guarantee = Guarantee::calm(Branch::new("1"));
        guarantee.reports = Some(Reports::default());
        let mut history = History::default();
        entry("cancelled wait", Outcome::Unknown("no answer to COMMIT".to_owned()), &mut history);
        assert!(found(&history, &guarantee));
        guarantee.disturbed.push(Pause { node: 0, from_ms: 0, to_ms: 1000 });
        assert!(!found(&history, &guarantee));
    }
}
