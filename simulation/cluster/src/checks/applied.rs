//! Who reads on a standby that has said to have replayed a commit sees it.

use super::kept::looks;
use super::{Promise, Violation, violation};
use crate::branch::Token;
use crate::guarantee::Guarantee;
use crate::history::{Entry, History, View};
use std::collections::BTreeMap;

pub(super) fn check(history: &History, guarantee: &Guarantee) -> Result<(), Violation> {
    let Some(reports) = &guarantee.reports else { return Ok(()) };
    // All commits that were told, by the branch that holds them.
    let mut told = BTreeMap::<_, Vec<(u64, u64)>>::new();
    for entry in history.entries() {
        let vanished = guarantee.may_vanish(entry.node, entry.invoked_ms, entry.told_ms());
        if let Some((_, token)) = entry.level_told().zip(entry.token()).filter(|_| !vanished) {
            let home = guarantee.branches.home(token);
            told.entry(home).or_default().push((token.at.get(), entry.told_ms()));
        }
    }
    told.values_mut().for_each(|commits| commits.sort_unstable());
    // Who looks again within a transaction sees what was there when it began.
    let is_new = |entry: &Entry| entry.kind != "read of a held snapshot";
    let looks = looks(history).filter(|(entry, read, _)| read.view == View::Replayed && is_new(entry));
    for (entry, _, seen) in looks {
        let home = guarantee.branches.home(&seen.at);
        let Some(commits) = told.get(&home) else { continue };
        let behind = commits.partition_point(|(at, _)| *at <= seen.at.at.get());
        // The next that was told before the read began.
        let next = commits[behind..].iter().find(|(_, told_ms)| *told_ms < entry.invoked_ms);
        let Some((at, _)) = next else { continue };
        let commit = Token { branch: home, at: wal::Lsn::new(*at) };
        let replayed = reports.replayed_at(&guarantee.branches, entry.node, &commit);
        let Some(replayed_ms) = replayed.filter(|at_ms| *at_ms < entry.invoked_ms) else { continue };
        let between = |at_ms: u64| at_ms >= replayed_ms && at_ms <= entry.told_ms();
        let lost = guarantee.losses.iter().any(|loss| loss.node == entry.node && between(loss.at_ms));
        if !lost && guarantee.branches.has(&seen.at.branch, &commit) {
            let text =
                format!("{commit} is replayed there since {replayed_ms} ms and was not seen: {entry:?}");
            return violation(Promise::OneOrder, text);
        }
    }
    Ok(())
}
