//! A number of a sequence that was told is not told again: what stands for it is as durable as a commit at
//! level on, and is held by standbys before. It may come again where that was lost with its branch.

use super::{Promise, Violation, violation};
use crate::branch::Token;
use crate::guarantee::{Commit, Guarantee, Quorum, Shown};
use crate::history::{Deed, Entry, History, Level, Numbers, Outcome};
use std::collections::BTreeMap;
use wal::Lsn;

/// A server reserves so many numbers at once, at most.
const RESERVED_MAX: i64 = 33;

pub(super) fn check(history: &History, guarantee: &Guarantee) -> Result<(), Violation> {
    let mut takes: Vec<Taken<'_>> = history.entries().iter().filter_map(taken).collect();
    takes.sort_by_key(|(entry, _)| entry.told_ms());
    let mut given = BTreeMap::<i64, &Entry>::new();
    for (entry, numbers) in &takes {
        if !are_held(entry, numbers, guarantee) {
            let text = format!("numbers were told before enough standbys had what reserves them: {entry:?}");
            return violation(Promise::Visible, text);
        }
        for value in &numbers.values {
            let Some(first) = given.insert(*value, entry) else { continue };
            if binds((first, *value), entry, &takes, guarantee) {
                let text = format!("number {value} was told twice: {first:?} and {entry:?}");
                return violation(Promise::Durable, text);
            }
        }
    }
    Ok(())
}

/// Numbers that were told, and to whom.
type Taken<'h> = (&'h Entry, &'h Numbers);

fn taken(entry: &Entry) -> Option<Taken<'_>> {
    match (&entry.deed, &entry.outcome) {
        (Deed::Take(numbers), Outcome::Acked { .. }) => Some((entry, numbers)),
        _ => None,
    }
}

/// A place that is not before what stands for numbers, on the branch that their server wrote. The token may
/// have the name of the one before: while commits of before a promotion are undecided, no snapshot goes past
/// them, and numbers are told all the same.
fn place(entry: &Entry, guarantee: &Guarantee) -> Option<Token> {
    let token = entry.token()?;
    Some(Token { branch: guarantee.branch_written(entry.node, token, entry.told_ms()), at: token.at })
}

/// Whether standbys had said when numbers were told that they have some of what was written for the last of
/// them, as far as anything is known of that.
fn are_held(entry: &Entry, numbers: &Numbers, guarantee: &Guarantee) -> bool {
    let (Some(reports), Some(behind), Some(token)) =
        (&guarantee.reports, numbers.behind, place(entry, guarantee))
    else {
        return true;
    };
    let (told_ms, begun) = (entry.told_ms(), Token { branch: token.branch, at: behind + 1 });
    let home = guarantee.branches.home(&begun);
    // What had begun by then, before the numbers' place, and reached beyond what stands for them.
    let has = |after: Lsn, upto: Option<Lsn>| after < token.at && upto.is_none_or(|upto| upto > behind);
    let was_told = |from_ms: u64| from_ms <= told_ms;
    let was_released = guarantee.released.iter().any(|it| {
        it.branch == home && has(it.after, it.upto) && it.told_ms.is_none_or(|(from_ms, _)| was_told(from_ms))
    });
    let was_shown = |shown: &Shown| has(shown.after, Some(shown.upto)) && was_told(shown.at_ms);
    if was_released || guarantee.shown_undecided.iter().any(was_shown) {
        return true;
    }
    let has_told = |node: &&usize| {
        let told = reports.told(&guarantee.branches, **node, Level::On, &begun);
        told.is_some_and(|(_, told)| told.at_ms <= told_ms)
    };
    let holds = |quorum: &Quorum| quorum.standbys.iter().filter(has_told).count() >= quorum.count;
    let mut in_force = guarantee.in_force(entry.node, entry.invoked_ms, told_ms).peekable();
    in_force.peek().is_none() || in_force.any(holds)
}

/// Whether a number that was told first by one is there for the other, too.
fn binds((first, value): (&Entry, i64), again: &Entry, takes: &[Taken<'_>], guarantee: &Guarantee) -> bool {
    let Some((token, there)) = place(first, guarantee).zip(place(again, guarantee)) else { return false };
    if guarantee.branches.has(&there.branch, &token) {
        return true;
    }
    // Only that it lies before the token is known of the place.
    let home = guarantee.branches.home(&token);
    let was_released = guarantee.released.iter().any(|it| it.branch == home && it.after < token.at);
    if was_released || guarantee.shown_undecided.iter().any(|shown| shown.after < token.at) {
        return false;
    }
    // It was reserved when all that is this much lower had been asked for.
    let is_before = |values: &[i64]| values.iter().all(|other| *other < value - RESERVED_MAX);
    let of_node = takes.iter().filter(|(entry, _)| entry.node == first.node);
    let before = of_node.filter(|(_, numbers)| is_before(&numbers.values));
    let invoked_ms = before.map(|(entry, _)| entry.invoked_ms).max().unwrap_or(0);
    let on = Guarantee { survivor: there.branch.clone(), ..guarantee.clone() };
    on.binds(&Commit {
        level: Level::On,
        token: &token,
        node: Some(first.node),
        invoked_ms,
        told_ms: first.told_ms(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::branch::Branch;
    use crate::guarantee::{Released, Turn};
    use crate::history::reports::{Progress, Reports, Source};

    fn history(takes: &[(usize, u64, &[i64], &str)]) -> History {
        let mut history = History::default();
        for (node, at_ms, values, token) in takes {
            let deed = Deed::Take(Numbers { values: values.to_vec(), behind: None });
            let pending = history.begin((0, 0), *node, "numbers", *at_ms, deed);
            let token = token.parse().ok();
            history.end(pending, at_ms + 10, Outcome::Acked { token, warnings: Vec::new() }, |_| ());
        }
        history
    }

    /// Node 1 was promoted at 2000 ms and 0/80, and commits on node 0 waited for it.
    fn guarantee() -> Guarantee {
        let mut guarantee = Guarantee::calm(Branch::new("2-a"));
        guarantee.branches.add(Branch::new("2-a"), Branch::new("1"), Lsn::new(0x80));
        let (candidates, branch) = ([(1, Lsn::INVALID)].into(), Branch::new("2-a"));
        guarantee.turns.push(Turn { branch, node: 1, decided_ms: 2000, candidates, sealed: false });
        let (standbys, first) = ([1].into(), vec![1]);
        guarantee.quorums.push(Quorum { node: 0, from_ms: 0, to_ms: 9000, count: 1, standbys, first });
        guarantee
    }

    #[test]
    fn a_number_is_told_once_standbys_hold_what_reserves_it() {
        let mut history = History::default();
        let deed = Deed::Take(Numbers { values: vec![5], behind: Some(Lsn::new(0x50)) });
        let pending = history.begin((0, 0), 0, "numbers", 1000, deed);
        let token = "1:0/70".parse().ok();
        history.end(pending, 1010, Outcome::Acked { token, warnings: Vec::new() }, |_| ());
        for (at_ms, flushed, is_right) in [(1005, 0x60, true), (1020, 0x60, false), (1005, 0x50, false)] {
            let mut guarantee = guarantee();
            let mut reports = Reports::default();
            let source = Source { node: 1, branch: Branch::new("1"), upstream: 0 };
            reports.add(source, at_ms, Progress { written: 0x60, flushed, replayed: 0 }, None);
            guarantee.reports = Some(reports);
            assert_eq!(check(&history, &guarantee).is_ok(), is_right, "{at_ms} {flushed:x}");
            // One of later, or behind the place, is no excuse.
            for (after, told_ms) in [(0x40, Some((5000, u64::MAX))), (0x80, None)] {
                let (branch, after) = (Branch::new("1"), Lsn::new(after));
                guarantee.released.push(Released { branch, after, upto: None, told_ms });
            }
            assert_eq!(check(&history, &guarantee).is_ok(), is_right, "{at_ms} {flushed:x}");
            let (branch, after) = (Branch::new("1"), Lsn::new(0x40));
            guarantee.released.push(Released { branch, after, upto: None, told_ms: None });
            assert!(check(&history, &guarantee).is_ok(), "nobody may have been waited for");
        }
    }

    #[test]
    fn numbers_beside_what_is_undecided_are_of_the_branch_that_their_server_writes() {
        let mut history = History::default();
        let deed = Deed::Take(Numbers { values: vec![5], behind: Some(Lsn::new(0x90)) });
        let pending = history.begin((0, 0), 1, "numbers", 2100, deed);
        // No snapshot of that server has gone past the fork.
        let token = "1:FFFFFFFF/FFFFFFFF".parse().ok();
        history.end(pending, 2110, Outcome::Acked { token, warnings: Vec::new() }, |_| ());
        for (branch, is_right) in [("2-a", true), ("1", false)] {
            let mut guarantee = guarantee();
            let (standbys, first) = ([0].into(), vec![0]);
            let (from_ms, to_ms) = (2000, 9000);
            guarantee.quorums.push(Quorum { node: 1, from_ms, to_ms, count: 1, standbys, first });
            let mut reports = Reports::default();
            let source = Source { node: 0, branch: Branch::new(branch), upstream: 1 };
            reports.add(source, 2105, Progress { written: 0xA0, flushed: 0xA0, replayed: 0 }, None);
            guarantee.reports = Some(reports);
            assert_eq!(check(&history, &guarantee).is_ok(), is_right, "held on {branch}");
        }
    }

    #[test]
    fn a_number_comes_again_only_where_it_was_lost() {
        let end = "1:FFFFFFFF/FFFFFFFF";
        for (first, again, is_right) in [
            ((0, 1000, &[5][..], "1:0/50"), (0, 1100, &[6, 7][..], "1:0/60"), true),
            ((0, 1000, &[5], "1:0/50"), (0, 1100, &[6, 5], "1:0/60"), false),
            ((0, 1000, &[5, 5], "1:0/50"), (0, 1100, &[6], "1:0/60"), false),
            ((0, 1000, &[5], "1:0/50"), (1, 2100, &[5], "2-a:0/90"), false),
            ((0, 1000, &[5], "1:0/90"), (1, 2100, &[5], "2-a:0/90"), false),
            ((0, 1000, &[5], end), (1, 2100, &[5], "2-a:0/90"), false),
            ((0, 1000, &[5], end), (0, 2100, &[5], "1:0/90"), false),
            // It waits for the node that was promoted, whenever that was.
            ((0, 2050, &[5], "1:0/90"), (1, 2100, &[5], "2-a:0/90"), false),
            ((1, 2050, &[5], "2-a:0/90"), (0, 2100, &[5], "1:0/90"), true),
            ((1, 2050, &[5], end), (0, 2100, &[5], "1:0/90"), true),
            ((1, 2050, &[5], end), (1, 2100, &[5], "2-a:0/90"), false),
        ] {
            let found = check(&history(&[first, again]), &guarantee());
            assert_eq!(found.is_ok(), is_right, "{first:?} {again:?}: {found:?}");
        }
        let twice = history(&[(0, 1000, &[5], "1:0/90"), (1, 2100, &[5], "2-a:0/90")]);
        let mut released = guarantee();
        let (branch, after) = (Branch::new("1"), Lsn::new(0x70));
        released.released.push(Released { branch, after, upto: None, told_ms: None });
        assert!(check(&twice, &released).is_ok(), "it may have waited for nobody");
        let mut unnamed = guarantee();
        unnamed.quorums.clear();
        assert!(check(&twice, &unnamed).is_ok());
    }
}
