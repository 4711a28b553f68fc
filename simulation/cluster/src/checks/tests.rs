//! Each promise broken once, in a history that is sound otherwise.

use super::*;
use crate::branch::{Branch, Token};
use crate::guarantee::{Fence, Loss, Lost, Quorum, Released, Shown, Turn};
use crate::history::registers::{REGISTERS, Values};
use crate::history::reports::{Progress, Reports, Source};
use crate::history::{Ddl, Level, Outcome, Read, Seen, View};
use crate::rare::{Counters, Rare};
use std::collections::BTreeSet;
use wal::Lsn;

fn token(text: &str) -> Token {
    text.parse().expect("a token")
}

fn values(first: u32, second: u32) -> Values {
    let mut values = [0; REGISTERS];
    (values[0], values[1]) = (first, second);
    values
}

fn writers(first: u64, second: u64) -> [u64; REGISTERS] {
    let mut writers = [0; REGISTERS];
    (writers[0], writers[1]) = (first, second);
    writers
}

/// Builds a history; each operation takes the 10 ms before its time.
#[derive(Default)]
struct Told(History);

impl Told {
    fn note(&mut self, client: u32, node: usize, told_ms: u64, deed: Deed, outcome: Outcome) {
        let pending = self.0.begin((client, 0), node, "any", told_ms - 10, deed);
        self.0.end(pending, told_ms, outcome, |_| ());
    }

    /// A transaction of parts 0 and 1 that adds one to registers 0 or 1.
    fn write(&mut self, tx: u64, told_ms: u64, level: Level, wrote: &[(u8, u32)], outcome: Outcome) {
        let adds = wrote.iter().map(|(register, _)| *register).collect();
        let deed = Deed::Write(Write { wrote: wrote.to_vec(), ..Write::new(tx, level, [0, 1].into(), adds) });
        self.note(tx as u32, 0, told_ms, deed, outcome);
    }

    fn read(&mut self, node: usize, told_ms: u64, view: View, after: Option<&str>, seen: Seen) {
        let outcome = acked(&seen.at.to_string());
        let deed = Deed::Read(Read { view, after: after.map(token), seen: Some(seen) });
        self.note(100 + node as u32, node, told_ms, deed, outcome);
    }

    fn ddl(&mut self, told_ms: u64, object: &str, is_there: bool, outcome: Outcome) {
        let deed = Deed::Ddl(Ddl { level: Level::On, changes: vec![(object.to_owned(), is_there)] });
        self.note(50, 0, told_ms, deed, outcome);
    }
}

fn acked(at: &str) -> Outcome {
    Outcome::Acked { token: Some(token(at)), warnings: Vec::new() }
}

fn cancelled(at: &str) -> Outcome {
    Outcome::Acked { token: Some(token(at)), warnings: vec!["canceling wait".to_owned()] }
}

fn seen(at: &str, values: Values, writers: [u64; REGISTERS]) -> Seen {
    Seen { at: token(at), values, writers, parts: BTreeMap::new() }
}

fn unknown() -> Outcome {
    Outcome::Unknown("gone".to_owned())
}

fn failed() -> Outcome {
    Outcome::Failed("no".to_owned())
}

/// Two commits before a failover at position 100, one on the old primary after it, one on the new one.
fn told() -> Told {
    let mut told = Told::default();
    told.write(1, 100, Level::On, &[(0, 1), (1, 1)], acked("1:0/50"));
    told.write(2, 200, Level::Local, &[(0, 2)], acked("1:0/90"));
    told.read(0, 250, View::Primary, None, seen("1:0/90", values(2, 1), writers(2, 1)));
    told.read(2, 260, View::Replayed, Some("1:0/50"), seen("1:0/60", values(1, 1), writers(1, 1)));
    told.write(3, 1500, Level::Local, &[(1, 2)], acked("1:0/120"));
    told.write(4, 1600, Level::On, &[(1, 2)], acked("2-a:0/150"));
    told.write(5, 1700, Level::On, &[(1, 3)], failed());
    told.write(6, 1800, Level::On, &[(1, 3)], unknown());
    told.ddl(300, "t", true, acked("1:0/95"));
    told
}

/// Node 1 was promoted at 1000 ms; all commits waited for it.
fn guarantee() -> Guarantee {
    let branch = Branch::new("2-a");
    let mut guarantee = Guarantee::calm(branch.clone());
    guarantee.branches.add(branch.clone(), Branch::new("1"), Lsn::new(0x100));
    guarantee.quorums.push(Quorum {
        node: 0,
        from_ms: 0,
        to_ms: 9000,
        count: 1,
        standbys: [1].into(),
        first: Vec::new(),
    });
    let candidates = [1, 2].map(|node| (node, Lsn::new(0x100))).into();
    guarantee.turns.push(Turn { branch, node: 1, decided_ms: 1000, candidates, sealed: false });
    guarantee
}

fn state() -> State {
    let both = || BTreeSet::from([0, 1]);
    State {
        turns: BTreeMap::new(),
        parts: [(1, both()), (2, both()), (4, both())].into(),
        values: values(2, 2),
        writers: writers(2, 4),
        bursts: BTreeMap::new(),
        objects: ["t".to_owned()].into(),
    }
}

fn broken(told: &Told, guarantee: &Guarantee, state: &State) -> Option<Promise> {
    check(&told.0, guarantee, state).err().map(|violation| violation.promise)
}

/// What is found when a transaction is not there, and its registers are not counted.
fn without(told: &Told, guarantee: &Guarantee, tx: u64) -> Option<Promise> {
    let mut state = state();
    state.parts.remove(&tx);
    state.values = values(0, 0);
    state.writers = writers(0, 0);
    for (_, write) in told.0.entries().iter().filter_map(write_of) {
        for register in write.adds.iter().filter(|_| state.parts.contains_key(&write.tx)) {
            state.values[usize::from(*register)] += 1;
        }
    }
    broken(told, guarantee, &state)
}

#[test]
fn a_history_with_a_failover_that_lost_only_weak_commits_passes() {
    let (told, guarantee) = (told(), guarantee());
    assert_eq!(check(&told.0, &guarantee, &state()), Ok(()));
    // What nobody was told of may be there.
    let mut kept = state();
    kept.parts.insert(6, [0, 1].into());
    (kept.values, kept.writers) = (values(2, 3), writers(2, 6));
    assert_eq!(check(&told.0, &guarantee, &kept), Ok(()));
    let mut counters = Counters::default();
    count_rare(&told.0, &guarantee, &kept, &mut counters);
    assert_eq!((counters.count(Rare::UnknownKept), counters.count(Rare::LostWeakCommit)), (1, 1));
}

#[test]
fn a_commit_that_was_told_and_is_gone_is_found() {
    let (mut told, guarantee) = (told(), guarantee());
    for tx in [1, 2, 4] {
        assert_eq!(without(&told, &guarantee, tx), Some(Promise::Durable), "{tx}");
    }
    // Behind the fork: told at on and gone, which it can only be if its wait was cancelled.
    told.write(7, 900, Level::On, &[(0, 3)], acked("1:0/130"));
    assert_eq!(broken(&told, &guarantee, &state()), Some(Promise::Durable));
    let mut cut = self::told();
    cut.write(7, 900, Level::On, &[(0, 3)], cancelled("1:0/130"));
    assert_eq!(broken(&cut, &guarantee, &state()), None);
    let mut weak = self::told();
    weak.write(7, 900, Level::Local, &[(0, 3)], acked("1:0/130"));
    assert_eq!(broken(&weak, &guarantee, &state()), None);
}

#[test]
fn a_commit_at_off_may_go_with_its_node_within_its_time_only() {
    for (at_ms, found) in [(700, None), (900, Some(Promise::Durable))] {
        let mut told = told();
        told.write(7, 205, Level::Off, &[(0, 3)], acked("1:0/92"));
        let mut guarantee = guarantee();
        guarantee.losses.push(Loss { node: 0, at_ms, lost: Lost::Process });
        assert_eq!(broken(&told, &guarantee, &state()), found, "{at_ms}");
    }
}

#[test]
fn what_a_primary_or_a_confirmed_read_showed_and_is_gone_is_found() {
    for (node, view, level, found) in [
        (0, View::Primary, Level::On, Some(Promise::Visible)),
        (2, View::Confirmed, Level::RemoteWrite, Some(Promise::Confirmed)),
        (2, View::Replayed, Level::On, None),
        (0, View::Primary, Level::Local, None),
    ] {
        // Nobody was told of the commit, which lies behind the fork, but somebody saw it.
        let mut told = told();
        told.write(7, 850, level, &[(0, 3)], unknown());
        told.read(node, 900, view, None, seen("1:0/140", values(3, 2), writers(7, 3)));
        assert_eq!(broken(&told, &guarantee(), &state()), found, "{view:?} {level:?}");
    }
}

/// Node 0 showed what it had found without the quorum, and a commit at off behind it at once.
#[test]
fn what_was_shown_without_the_quorum_may_be_seen_at_a_later_position_and_be_gone() {
    let mut guarantee = guarantee();
    let (after, upto) = (Lsn::new(0x118), Lsn::new(0x130));
    guarantee.shown_undecided.push(Shown { after, upto, begun_ms: 860, at_ms: 880 });
    for (outcome, found) in [(unknown(), None), (cancelled("1:0/118"), Some(Promise::Visible))] {
        let mut told = told();
        told.write(7, 850, Level::On, &[(0, 3)], outcome.clone());
        told.read(0, 900, View::Primary, None, seen("1:0/140", values(3, 2), writers(7, 3)));
        assert_eq!(broken(&told, &guarantee, &state()), found, "{outcome:?}");
    }
}

#[test]
fn what_was_shown_after_the_comparison_binds_by_who_was_compared() {
    let mut guarantee = guarantee();
    guarantee.quorums[0].standbys = [1, 2].into();
    for (told_ms, found) in [(990, Some(Promise::Visible)), (1500, None)] {
        let mut told = told();
        told.write(7, 850, Level::On, &[(0, 3)], unknown());
        told.read(0, told_ms, View::Primary, None, seen("1:0/140", values(3, 2), writers(7, 3)));
        assert_eq!(broken(&told, &guarantee, &state()), found, "{told_ms}");
    }
}

#[test]
fn what_a_node_lost_before_its_flush_is_in_no_order() {
    // The same positions name other commits after the node's end.
    let lost = |at_ms| {
        let mut told = Told::default();
        told.write(7, 205, Level::Off, &[(0, 3)], acked("1:0/92"));
        told.read(0, 210, View::Primary, None, seen("1:0/92", values(3, 1), writers(7, 1)));
        for entry in self::told().0.entries() {
            let pending =
                told.0.begin((entry.client, 0), entry.node, "any", entry.invoked_ms, entry.deed.clone());
            told.0.end(pending, entry.told_ms(), entry.outcome.clone(), |_| ());
        }
        // Seen on a standby before the node's end, so it was flushed; and written anew with another number.
        told.write(8, 950, Level::Local, &[(0, 3)], acked("1:0/94"));
        told.read(2, 960, View::Replayed, None, seen("1:0/94", values(3, 1), writers(8, 1)));
        let mut guarantee = guarantee();
        guarantee.losses.push(Loss { node: 0, at_ms, lost: Lost::Process });
        let mut state = state();
        state.parts.insert(8, [0, 1].into());
        (state.values, state.writers) = (values(3, 2), writers(8, 4));
        broken(&told, &guarantee, &state)
    };
    assert_eq!(lost(700), None);
    assert_eq!(lost(20), Some(Promise::OneOrder));
}

#[test]
fn who_writes_over_another_version_than_its_snapshot_s_is_found() {
    for (shown, found) in [(1, None), (0, Some(Promise::OneOrder))] {
        let mut told = told();
        let pending = told.0.begin(
            (7, 0),
            0,
            "insert",
            190,
            Deed::Write(Write::new(8, Level::On, [0].into(), [1].into())),
        );
        told.0.looks(pending, values(9, shown));
        told.0.end(pending, 205, unknown(), |deed| {
            if let Deed::Write(write) = deed {
                write.wrote = vec![(1, 2)];
            }
        });
        assert_eq!(broken(&told, &guarantee(), &state()), found, "{shown}");
    }
}

#[test]
fn an_error_that_tells_of_a_row_is_an_answer_that_only_who_asks_for_it_may_get() {
    for (kind, code, found) in [
        ("collision", "23505", None),
        ("collision", "23502", Some(Promise::Answers)),
        ("insert", "23505", Some(Promise::Answers)),
    ] {
        let mut told = told();
        let pending =
            told.0.begin((7, 0), 0, kind, 190, Deed::Write(Write::new(8, Level::On, [].into(), [].into())));
        told.0.end(pending, 205, Outcome::Failed(format!("{code} no")), |_| ());
        assert_eq!(broken(&told, &guarantee(), &state()), found, "{kind} {code}");
    }
}

#[test]
fn only_who_asks_for_a_token_reads_in_order() {
    let found = |after| {
        let mut told = told();
        told.read(2, 700, View::Replayed, Some("1:0/90"), seen("1:0/90", values(2, 1), writers(2, 1)));
        told.read(2, 800, View::Replayed, after, seen("1:0/60", values(1, 1), writers(1, 1)));
        broken(&told, &guarantee(), &state())
    };
    assert_eq!(found(None), None, "another standby may be behind");
    assert_eq!(found(Some("1:0/50")), Some(Promise::OneOrder), "less than it had read");
}

#[test]
fn reads_that_no_one_order_explains_are_found() {
    let found = |node, view, after, read: Seen| {
        let mut told = told();
        told.read(node, 600, view, after, read);
        broken(&told, &guarantee(), &state())
    };
    let (order, replayed) = (Some(Promise::OneOrder), View::Replayed);
    assert_eq!(found(2, replayed, None, seen("1:0/95", values(1, 1), writers(1, 1))), order, "a stale read");
    assert_eq!(found(2, replayed, None, seen("1:0/60", values(2, 1), writers(2, 1))), order, "a read ahead");
    assert_eq!(
        found(2, replayed, Some("1:0/90"), seen("1:0/80", values(1, 1), writers(1, 1))),
        order,
        "less than the token"
    );
    assert_eq!(found(1, replayed, None, seen("2-a:0/160", values(2, 2), writers(2, 4))), None);
    assert_eq!(
        found(1, replayed, None, seen("2-a:0/160", values(2, 2), writers(2, 3))),
        order,
        "a value of the old branch"
    );
    assert_eq!(found(1, replayed, None, seen("1:0/55", values(1, 1), writers(1, 2))), order, "two writers");
    assert_eq!(
        found(1, replayed, Some("1:0/110"), seen("2-a:0/160", values(2, 2), writers(2, 4))),
        Some(Promise::Token),
        "the token's branch was left"
    );
    assert_eq!(found(1, replayed, Some("1:0/100"), seen("2-a:0/160", values(2, 2), writers(2, 4))), None);
}

#[test]
fn half_a_transaction_is_found_in_the_end_and_in_a_snapshot() {
    let (told, guarantee) = (told(), guarantee());
    for parts in [[0].into(), [0, 1, 2].into()] {
        let mut state = state();
        state.parts.insert(2, parts);
        assert_eq!(broken(&told, &guarantee, &state), Some(Promise::Whole));
    }
    for (values, writers) in
        [(values(3, 2), writers(2, 4)), (values(2, 2), writers(2, 9)), (values(1, 2), writers(2, 4))]
    {
        let state = State { values, writers, ..state() };
        assert_eq!(broken(&told, &guarantee, &state), Some(Promise::Whole));
    }
    for (parts, found) in [(&[0, 1][..], None), (&[1], Some(Promise::Whole)), (&[], Some(Promise::Whole))] {
        let mut told = self::told();
        let mut read = seen("1:0/90", values(2, 1), writers(2, 1));
        read.parts.insert(2, parts.iter().copied().collect());
        told.read(2, 700, View::Replayed, None, read);
        assert_eq!(broken(&told, &guarantee, &state()), found, "{parts:?}");
    }
}

#[test]
fn what_failed_or_was_never_begun_and_is_there_is_found() {
    for tx in [5, 99] {
        let mut state = state();
        state.parts.insert(tx, [0, 1].into());
        assert_eq!(broken(&told(), &guarantee(), &state), Some(Promise::Failed));
        let mut told = told();
        told.read(2, 1700, View::Replayed, None, seen("2-a:0/190", values(2, 3), writers(2, tx)));
        assert_eq!(broken(&told, &guarantee(), &self::state()), Some(Promise::Failed));
    }
}

#[test]
fn objects_are_there_as_the_last_change_that_binds_left_them() {
    let found = |changes: &[(bool, Outcome)], is_there: bool| {
        let mut told = told();
        for (at, (to, outcome)) in changes.iter().enumerate() {
            told.ddl(400 + at as u64, "x", *to, outcome.clone());
        }
        let mut state = state();
        if is_there {
            state.objects.insert("x".to_owned());
        }
        broken(&told, &guarantee(), &state)
    };
    let (on, lost) = (acked("1:0/96"), Some(Promise::Objects));
    for (changes, is_there, expected) in [
        (&[(true, on.clone())][..], true, None),
        (&[(true, on.clone())], false, lost),
        (&[(true, on.clone()), (false, on.clone())], true, lost),
        (&[(true, on.clone()), (false, unknown())], true, None),
        (&[(true, on.clone()), (false, unknown())], false, None),
        (&[(true, on.clone()), (false, failed())], false, lost),
        (&[(true, unknown())], false, None),
        (&[(true, failed())], true, lost),
        (&[(true, cancelled("1:0/130"))], false, None),
    ] {
        assert_eq!(found(changes, is_there), expected, "{changes:?} {is_there}");
    }
    let state = State { objects: BTreeSet::new(), ..state() };
    assert_eq!(broken(&told(), &guarantee(), &state), lost);
}

#[test]
fn nodes_that_differ_are_named() {
    assert_eq!(check_equal(&[(0, state()), (1, state())]), Ok(()));
    let changes: [fn(&mut State); 4] = [
        |state| drop(state.parts.remove(&1)),
        |state| state.values[3] = 1,
        |state| state.writers[3] = 1,
        |state| state.objects.clear(),
    ];
    for change in changes {
        let mut other = state();
        change(&mut other);
        let found = check_equal(&[(0, state()), (1, state()), (3, other)]).expect_err("they differ");
        assert!(found.promise == Promise::Equal && found.text.starts_with("nodes 1 and 3"), "{found}");
    }
}

#[test]
fn a_refusal_that_no_fault_explains_is_found() {
    for (text, found) in [
        ("23505 duplicate key", Some(Promise::Answers)),
        ("XX000 internal", Some(Promise::Answers)),
        ("42P01 no table", Some(Promise::Answers)),
        ("57014 cancelled", None),
        ("25006 fenced", None),
    ] {
        let mut told = told();
        told.write(7, 900, Level::On, &[(0, 3)], Outcome::Failed(text.to_owned()));
        assert_eq!(broken(&told, &guarantee(), &state()), found, "{text}");
    }
    let mut told = told();
    told.ddl(900, "x", true, Outcome::Failed("42P01 its creation was lost".to_owned()));
    assert_eq!(broken(&told, &guarantee(), &state()), None);
}

#[test]
fn two_primaries_are_counted_if_the_old_one_goes_on_after_the_new_one() {
    let count = |told: &Told| {
        let mut counters = Counters::default();
        count_rare(&told.0, &guarantee(), &state(), &mut counters);
        counters.count(Rare::TwoPrimaries)
    };
    let mut told = told();
    assert_eq!(count(&told), 0);
    told.write(7, 1700, Level::Local, &[(0, 3)], acked("1:0/130"));
    assert_eq!(count(&told), 1);
}

#[test]
fn a_commit_that_was_told_before_enough_standbys_said_that_they_have_it_is_found() {
    let (told, mut guarantee) = (told(), guarantee());
    let progress = |written, flushed, replayed| Progress { written, flushed, replayed };
    let with = |at_ms, progress| {
        let mut reports = Reports::default();
        let source = |branch: &str| Source { node: 1, branch: Branch::new(branch), upstream: 0 };
        reports.add(source("1"), at_ms, progress, Some(5));
        reports.add(
            source("2-a"),
            1500,
            Progress { written: 0x150, flushed: 0x150, replayed: 0x150 },
            Some(5),
        );
        Some(reports)
    };
    guarantee.reports = with(100, progress(0x95, 0x95, 0x40));
    assert_eq!(broken(&told, &guarantee, &state()), None);
    guarantee.reports = with(100, progress(0x95, 0x94, 0x40));
    assert_eq!(broken(&told, &guarantee, &state()), Some(Promise::Durable), "on asks for the flush");
    guarantee.reports = with(101, progress(0x95, 0x95, 0x95));
    assert_eq!(broken(&told, &guarantee, &state()), Some(Promise::Durable), "it came too late");
    guarantee.quorums[0].standbys.insert(2);
    let both_since = |since_ms| {
        let mut reports = Reports::default();
        for (node, branch, at_ms) in [(1, "1", 101), (1, "2-a", 1601), (2, "1", 50), (2, "2-a", 1550)] {
            let source = Source { node, branch: Branch::new(branch), upstream: 0 };
            reports.add(source, at_ms, progress(0x150, 0x150, 0x60), Some(since_ms));
        }
        Some(reports)
    };
    guarantee.reports = both_since(5);
    assert_eq!(broken(&told, &guarantee, &state()), None, "any of them will do");
    guarantee.quorums[0].first = vec![1, 2];
    assert_eq!(broken(&told, &guarantee, &state()), Some(Promise::Durable), "the first is connected");
    guarantee.reports = both_since(1580);
    assert_eq!(broken(&told, &guarantee, &state()), None, "its primary may not have taken its word in yet");
    guarantee.reports = both_since(5);
    guarantee.quorums[0].first = vec![2, 1];
    assert_eq!(broken(&told, &guarantee, &state()), None);
    guarantee.reports = with(101, progress(0x95, 0x95, 0x95));
    assert_eq!(broken(&told, &guarantee, &state()), Some(Promise::Durable));
    let after = Lsn::new(0x40);
    guarantee.released.push(Released { branch: Branch::new("1"), after, upto: None, told_ms: None });
    assert_eq!(broken(&told, &guarantee, &state()), None, "the server says that it did not wait");
}

#[test]
fn a_fence_without_a_cause_and_a_commit_behind_one_are_found() {
    let (told, mut guarantee) = (told(), guarantee());
    let fence = |at_ms, descendant, fork| Fence {
        node: 0,
        at_ms,
        branch: Branch::new("1"),
        descendant,
        fork: Lsn::new(fork),
        by: None,
    };
    for (raised, found) in [
        (fence(1495, 2, 0x100), None),
        (fence(1495, 3, 0x100), Some(Promise::OneWriter)),
        (fence(1495, 2, 0x99), Some(Promise::OneWriter)),
        (fence(1489, 2, 0x100), Some(Promise::OneWriter)),
    ] {
        guarantee.fences = vec![raised];
        assert_eq!(broken(&told, &guarantee, &state()), found, "{:?}", guarantee.fences);
    }
    guarantee.losses.push(Loss { node: 0, at_ms: 1489, lost: Lost::Directory });
    assert_eq!(broken(&told, &guarantee, &state()), None, "it is another directory since");
    guarantee.fences = vec![fence(900, 2, 0x100)];
    guarantee.losses.clear();
    if let Some(turn) = guarantee.turns.first_mut() {
        turn.node = 0;
    }
    assert_eq!(broken(&told, &guarantee, &state()), Some(Promise::OneWriter), "it was promoted");
}
