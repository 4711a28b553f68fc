//! What a primary shows, what a standby shows as confirmed, and what an acknowledged transaction rests on, is
//! held by enough standbys at that moment.
//!
//! Unlike `kept` this asks for no failover: standbys must have said before that they hold it. It holds
//! whatever happened, but for what a server recorded to show without them.

use super::kept::looks;
use super::listed::{changes_of, lists, shown};
use super::{Promise, Violation, violation, write_of};
use crate::branch::{Branch, Token};
use crate::guarantee::{Guarantee, Quorum};
use crate::history::reports::Reports;
use crate::history::{Deed, Entry, History, Level, Outcome, View, Write};
use std::collections::BTreeMap;

pub(super) fn check<'h>(
    history: &'h History,
    writes: &BTreeMap<u64, (&'h Entry, &'h Write)>,
    guarantee: &Guarantee,
) -> Result<(), Violation> {
    let Some(reports) = &guarantee.reports else { return Ok(()) };
    let judge = Judge { guarantee, reports, writes };
    for (entry, read, seen) in looks(history) {
        let Some(shown_to) = ShownTo::of(entry, read.view, &seen.at) else { continue };
        for by in seen.writers.iter().filter_map(|tx| judge.who_wrote(*tx)) {
            judge.check_shown(by, &shown_to)?;
        }
    }
    for (entry, write) in history.entries().iter().filter_map(write_of) {
        for (tx, at_ms) in &write.met {
            let Some(met) = judge.who_wrote(*tx) else { continue };
            if let Err(commit) = judge.is_held(met, judge.primaries_of(entry), (Some(entry.node), *at_ms)) {
                let text = format!("rows of {commit:?} were told before enough standbys had it: {entry:?}");
                return violation(Promise::Visible, text);
            }
        }
    }
    judge.check_tables(history)?;
    judge.check_rests(history)
}

/// Who was shown something as durable.
struct ShownTo<'h> {
    entry: &'h Entry,
    /// By a standby, as confirmed.
    is_confirmed: bool,
    /// The token of the snapshot.
    at: &'h Token,
}

impl<'h> ShownTo<'h> {
    /// None if what was shown is said to be replayed, and no more.
    fn of(entry: &'h Entry, view: View, at: &'h Token) -> Option<Self> {
        let is_confirmed = match view {
            View::Primary => false,
            View::Confirmed => true,
            View::Replayed => return None,
        };
        Some(Self { entry, is_confirmed, at })
    }
}

struct Judge<'j, 'h> {
    guarantee: &'j Guarantee,
    reports: &'j Reports,
    writes: &'j BTreeMap<u64, (&'h Entry, &'h Write)>,
}

impl<'h> Judge<'_, 'h> {
    /// Who may have found that standbys hold a commit before this primary tells of it.
    fn primaries_of(&self, entry: &Entry) -> impl Fn(&Token) -> Vec<usize> {
        let before = |commit: &Token| entry.token().map(|leaf| self.guarantee.writers_between(commit, leaf));
        move |commit| [before(commit).unwrap_or_default(), vec![entry.node]].concat()
    }

    /// Who wrote a transaction, and the level that it asked for.
    fn who_wrote(&self, tx: u64) -> Option<(&'h Entry, Level)> {
        self.writes.get(&tx).map(|(by, write)| (*by, write.level))
    }

    /// What was shown to somebody was held by then.
    fn check_shown(&self, by: (&'h Entry, Level), to: &ShownTo<'_>) -> Result<(), Violation> {
        let ShownTo { entry, is_confirmed, at } = to;
        // A standby hears it from whoever writes its branch, which may be younger than what it has seen; a
        // primary finds in its log what those before it knew.
        let primaries = |commit: &Token| {
            let before = || self.guarantee.writers_between(commit, at);
            if *is_confirmed {
                self.guarantee.writers_behind(at)
            } else {
                [before(), vec![entry.node]].concat()
            }
        };
        let shower = (!is_confirmed).then_some(entry.node);
        self.is_held(by, primaries, (shower, entry.told_ms())).or_else(|commit| {
            let promise = if *is_confirmed { Promise::Confirmed } else { Promise::Visible };
            violation(promise, format!("{commit:?} was shown before enough standbys had it: {entry:?}"))
        })
    }

    /// The same of tables and indexes that are there, or not any more.
    fn check_tables(&self, history: &'h History) -> Result<(), Violation> {
        let changes = changes_of(history);
        for (entry, listing, seen) in lists(history, self.guarantee) {
            let Some(shown_to) = ShownTo::of(entry, listing.view, &seen.at) else { continue };
            for by in shown(&changes, seen, self.guarantee).filter_map(|shown| shown.by) {
                if let Deed::Ddl(ddl) = &by.deed {
                    self.check_shown((by, ddl.level), &shown_to)?;
                }
            }
        }
        Ok(())
    }

    /// Whether standbys that one of its primaries waits for had said at a time that they hold a commit which
    /// waits for standbys; else, the commit. A primary shows it then.
    fn is_held(
        &self,
        (by, level): (&'h Entry, Level),
        primaries: impl Fn(&Token) -> Vec<usize>,
        (shower, at_ms): (Option<usize>, u64),
    ) -> Result<(), &'h Entry> {
        let Some(token) = by.token() else { return Ok(()) };
        if level.stage().is_none() || self.guarantee.may_be_shown(token, at_ms) {
            return Ok(());
        }
        // After a start or a promotion it is enough that they have flushed it.
        let is_same_run = shower == Some(by.node)
            && self.guarantee.lives(by.node, by.invoked_ms, at_ms)
            && !self.guarantee.is_promoted(by.node, by.invoked_ms, at_ms);
        let level = if is_same_run { level } else { level.min(Level::On) };
        let told = |node: &&usize| {
            let first = self.reports.told(&self.guarantee.branches, **node, level, token);
            first.is_some_and(|(_, told)| told.at_ms <= at_ms)
        };
        let holds = |quorum: &Quorum| quorum.standbys.iter().filter(told).count() >= quorum.count;
        let of = |node: &usize| self.guarantee.in_force(*node, by.invoked_ms, at_ms);
        if primaries(token).iter().chain([&by.node]).flat_map(of).any(holds) { Ok(()) } else { Err(by) }
    }

    /// Who changes a row rests on whoever changed it before, and is told of its commit once that one is held.
    fn check_rests(&self, history: &'h History) -> Result<(), Violation> {
        // Who changed each register, by branch and position.
        let mut changed = BTreeMap::<(Branch, u8), BTreeMap<wal::Lsn, u64>>::new();
        let told = |entry: &'h Entry| {
            let token: &Token = entry.token()?;
            Some((self.guarantee.branches.home(token), token.at))
        };
        for (entry, write) in history.entries().iter().filter_map(write_of) {
            let Some((branch, at)) = told(entry) else { continue };
            for register in &write.adds {
                changed.entry((branch.clone(), *register)).or_default().insert(at, write.tx);
            }
        }
        for (entry, write) in history.entries().iter().filter_map(write_of) {
            let Some((branch, at)) = told(entry) else { continue };
            // Whose wait was given up is told of nothing.
            if !matches!(&entry.outcome, Outcome::Acked { warnings, .. } if warnings.is_empty()) {
                continue;
            }
            for register in &write.adds {
                let before =
                    changed.get(&(branch.clone(), *register)).and_then(|all| all.range(..at).next_back());
                // What began later stands where a crash had taken log away.
                let has_begun =
                    |tx: &&u64| self.writes.get(tx).is_some_and(|(by, _)| by.invoked_ms <= entry.told_ms());
                let before = before.map(|(_, tx)| tx).filter(has_begun);
                let Some(by) = before.and_then(|tx| self.who_wrote(*tx)) else { continue };
                if let Err(commit) =
                    self.is_held(by, self.primaries_of(entry), (Some(entry.node), entry.told_ms()))
                {
                    let text = format!("it rests on {commit:?}, which too few standbys had: {entry:?}");
                    return violation(Promise::Visible, text);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::writes_of;
    use super::*;
    use crate::guarantee::Turn;
    use crate::history::registers::REGISTERS;
    use crate::history::reports::{Progress, Source};
    use crate::history::{Read, Seen};

    #[test]
    fn what_nobody_had_told_to_hold_is_not_confirmed() {
        let mut history = History::default();
        let acked = |token: &str| {
            let token = Some(token.parse().expect("a token"));
            Outcome::Acked { token, warnings: vec!["canceling wait".to_owned()] }
        };
        let (kept, adds) = ([0].into(), [0].into());
        let deed = Deed::Write(Write::new(1, Level::On, kept, adds));
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
            assert_eq!(check(&history, &writes_of(&history), &guarantee).is_err(), found, "{at_ms}");
        }
    }

    /// Node 0 committed, and its quorum never held it. Node 1 took over, whose quorum did, and then node 2.
    #[test]
    fn a_primary_may_know_from_one_before_it_what_standbys_hold() {
        let acked = |token: &str, warnings: &[&str]| {
            let token = Some(token.parse().expect("a token"));
            Outcome::Acked { token, warnings: warnings.iter().map(|text| (*text).to_owned()).collect() }
        };
        let branch = |name: &str| Branch::new(name);
        for (told, found) in [(None, true), (Some(2000), false), (Some(3100), true)] {
            let mut history = History::default();
            let deed = Deed::Write(Write::new(1, Level::On, [0].into(), [0].into()));
            let pending = history.begin((0, 0), 0, "insert", 1000, deed);
            history.end(pending, 1500, acked("1:0/50", &["canceling wait"]), |_| ());
            let mut writers = [0; REGISTERS];
            writers[0] = 1;
            let at = "3:0/80".parse().expect("a token");
            let seen = Seen { at, values: [0; REGISTERS], writers, parts: BTreeMap::new() };
            let deed = Deed::Read(Read { view: View::Primary, after: None, seen: Some(seen) });
            let pending = history.begin((1, 0), 2, "read of a primary", 2900, deed);
            history.end(pending, 3000, acked("3:0/80", &[]), |_| ());
            let mut guarantee = Guarantee::calm(branch("1"));
            for (node, name, parent, fork) in [(1, "2", "1", 0x60), (2, "3", "2", 0x70)] {
                guarantee.branches.add(branch(name), branch(parent), wal::Lsn::new(fork));
                let candidates = [(node, wal::Lsn::INVALID)].into();
                let turn = Turn { branch: branch(name), node, decided_ms: 0, candidates, sealed: false };
                guarantee.turns.push(turn);
            }
            for (node, standby) in [(0, 9), (1, 8), (2, 9)] {
                let (standbys, first) = ([standby].into(), Vec::new());
                guarantee.quorums.push(Quorum { node, from_ms: 0, to_ms: 9000, count: 1, standbys, first });
            }
            let mut reports = Reports::default();
            if let Some(at_ms) = told {
                let source = Source { node: 8, branch: branch("2"), upstream: 1 };
                let progress = Progress { written: 0x50, flushed: 0x50, replayed: 0x50 };
                reports.add(source, at_ms, progress, None);
            }
            guarantee.reports = Some(reports);
            assert_eq!(check(&history, &writes_of(&history), &guarantee).is_err(), found, "{told:?}");
        }
    }
}
