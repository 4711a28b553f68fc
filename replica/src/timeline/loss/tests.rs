//! The verdict against the truth: for every small cluster, by counting all quorums, and for random histories
//! of a model, of which all is known.

use super::*;
use wal::history::BranchId;

const PRIMARY: DirectoryId = DirectoryId::new(99);

fn lsn(at: u64) -> Lsn {
    Lsn::new(at)
}

fn root() -> TimelineHistory {
    TimelineHistory::root(TimelineId::FIRST)
}

fn rule(names: &str) -> Rule {
    Rule {
        timeline: TimelineId::FIRST,
        names: Some(names.to_owned()),
        may_fall_back: false,
        primary: PRIMARY,
        primary_name: "p".to_owned(),
    }
}

/// A standby that has lost its primary.
fn standby(rule: Option<Rule>, written: u64, flushed: u64) -> Answer {
    let replayed = lsn(flushed);
    Answer {
        history: root(),
        role: Role::Standby { streams: false },
        progress: Progress { written: lsn(written), flushed: lsn(flushed), replayed },
        end: lsn(written),
        confirmed: Lsn::INVALID,
        has_caught_up: true,
        rule,
        primary_end: None,
        last_commit: None,
        is_fenced: false,
        heard: Vec::new(),
    }
}

fn node(id: u64, name: &str, answer: Option<Answer>) -> Node {
    Node { id: Some(DirectoryId::new(id)), name: name.to_owned(), answer, formers: Vec::new() }
}

/// The log behind what a standby has, read to its end: a commit begins it, and no other rule is in it.
fn read_behind(nodes: &[Node], at: usize) -> Option<Commits> {
    let Further { from, upto, .. } = further(nodes, at)?;
    let first = Some(from + 1);
    Some(Commits { upto, count: 1, first, ..Commits::default() })
}

fn verdict(nodes: &[Node], at: usize) -> (Verdict, String) {
    let report = judge(nodes, at, read_behind(nodes, at).as_ref()).expect("it is a standby that answers");
    (report.verdict, report.reason)
}

/// Nodes a, b and c with a rule, each with what it has, or unreachable.
fn trio(names: &str, ends: [Option<u64>; 3]) -> Vec<Node> {
    let one = |(id, (name, end)): (u64, (&str, Option<u64>))| {
        node(id, name, end.map(|end| standby(Some(rule(names)), end, end)))
    };
    (1..).zip(["a", "b", "c"].into_iter().zip(ends)).map(one).collect()
}

#[test]
fn each_kind_of_cluster_gets_its_verdict() {
    use Verdict::{NoneFromRemoteWrite, Possible};
    for (names, ends, expected, says) in [
        ("ANY 1 (a, b)", [Some(20), Some(10), None], NoneFromRemoteWrite, "2 of these 2"),
        ("ANY 1 (a, b)", [Some(10), Some(20), None], Possible, "up to 0/14"),
        ("ANY 1 (a, b)", [Some(20), None, None], Possible, "may have been \"b\""),
        ("ANY 2 (a, b)", [Some(20), None, None], NoneFromRemoteWrite, "1 of these 2"),
        ("FIRST 1 (a)", [Some(20), None, None], NoneFromRemoteWrite, "1 of these 1"),
        ("FIRST 1 (b, a)", [Some(20), None, None], Possible, "\"b\""),
        ("ANY 2 (a, b, c)", [Some(20), Some(10), None], NoneFromRemoteWrite, "2 of these 3"),
        // c and b may have confirmed up to 20, c and a up to 10.
        ("ANY 2 (a, b, c)", [Some(10), Some(20), None], Possible, "up to 0/14"),
        // Of three that are known two have to have it.
        ("ANY 2 (a, b, c)", [Some(10), Some(20), Some(10)], NoneFromRemoteWrite, "none behind 0/A"),
        ("ANY 2 (a, b, c)", [Some(5), Some(20), Some(10)], Possible, "up to 0/A"),
        ("ANY 1 (a, p)", [Some(20), None, None], NoneFromRemoteWrite, "1 of these 1"),
        ("ANY 1 (a, x)", [Some(20), None, None], Possible, "\"x\""),
        ("ANY 1 (A, a)", [Some(20), None, None], NoneFromRemoteWrite, "1 of these 1"),
        ("*", [Some(20), Some(10), Some(10)], Possible, "name the standbys"),
        ("", [Some(20), Some(10), Some(10)], Possible, "no synchronous standbys"),
    ] {
        let (found, reason) = verdict(&trio(names, ends), 0);
        assert_eq!(found, expected, "{names} {ends:?}: {reason}");
        assert!(reason.contains(says), "{names} {ends:?}: {reason}");
    }
}

/// Changes one thing of a case that is proven, and expects a doubt.
#[test]
fn each_thing_that_may_hide_a_commit_leaves_a_doubt() {
    type Change = fn(&mut [Node]);
    fn answer(nodes: &mut [Node], at: usize) -> &mut Answer {
        nodes[at].answer.as_mut().unwrap()
    }
    fn of(nodes: &mut [Node], at: usize) -> &mut Rule {
        answer(nodes, at).rule.as_mut().unwrap()
    }
    let fork = |upto: u64| root().fork(TimelineId::new(2), lsn(upto), "test", BranchId::new(2)).unwrap();
    let proven = trio("ANY 1 (a, b)", [Some(20), Some(10), Some(10)]);
    assert_eq!(verdict(&proven, 0).0, Verdict::NoneFromRemoteWrite);
    let cases: [(&str, Change); 9] = [
        ("may have been \"b\"", |nodes| nodes[1].answer = None),
        ("may have been \"b\"", |nodes| answer(nodes, 1).role = Role::Standby { streams: true }),
        ("may have been \"b\"", |nodes| answer(nodes, 1).has_caught_up = false),
        ("may have been \"a\"", |nodes| answer(nodes, 0).has_caught_up = false),
        ("may have been \"b\"", |nodes| nodes[2].name = "b".to_owned()),
        ("synchronous_timeout", |nodes| of(nodes, 0).may_fall_back = true),
        ("too long", |nodes| of(nodes, 0).names = None),
        ("does not say", |nodes| of(nodes, 0).timeline = TimelineId::new(2)),
        ("does not say", |nodes| answer(nodes, 0).rule = None),
    ];
    for (says, change) in cases {
        let mut nodes = proven.clone();
        change(&mut nodes);
        if nodes[2].name == "b" {
            nodes[2].answer = None;
        }
        let (found, reason) = verdict(&nodes, 0);
        assert!(found == Verdict::Possible && reason.contains(says), "{says}: {found:?} {reason}");
    }
    for (upto, says) in [(30, "goes on from here since 0/1E"), (10, "goes on from here since 0/A")] {
        let mut nodes = proven.clone();
        answer(&mut nodes, 1).history = fork(upto);
        let (found, reason) = verdict(&nodes, 0);
        assert!(found == Verdict::Possible && reason.contains(says), "{says}: {found:?} {reason}");
    }
    // Ours left at 15, theirs at 10.
    let mut nodes = proven.clone();
    answer(&mut nodes, 0).history = fork(15);
    let other = root().fork(TimelineId::new(3), lsn(10), "test", BranchId::new(3)).unwrap();
    answer(&mut nodes, 1).history = other;
    let (found, reason) = verdict(&nodes, 0);
    assert!(found == Verdict::Possible && reason.contains("another branch since 0/A"), "{found:?} {reason}");
    // Who has more has heard of another rule.
    let mut nodes = proven;
    *answer(&mut nodes, 2) = standby(Some(rule("ANY 1 (a)")), 30, 30);
    let (found, reason) = verdict(&nodes, 0);
    assert!(found == Verdict::Possible && reason.contains("has changed"), "{found:?} {reason}");
}

#[test]
fn what_is_only_written_counts_for_remote_write_alone() {
    let names = "ANY 1 (a, b)";
    let mut nodes = trio(names, [Some(20), Some(10), None]);
    nodes[1].answer = Some(standby(Some(rule(names)), 30, 10));
    let (found, reason) = verdict(&nodes, 0);
    assert_eq!(found, Verdict::NoneFromOn, "{reason}");
    assert!(reason.contains("remote_write"), "{reason}");
}

#[test]
fn a_primary_that_is_quiet_bounds_all_commits_and_one_that_goes_on_none() {
    let mut nodes = trio("", [Some(20), Some(10), None]);
    let mut primary = standby(Some(rule("")), 20, 20);
    for (acknowledges, end, expected) in
        [(false, 20, Verdict::NoLoss), (false, 21, Verdict::Possible), (true, 20, Verdict::Possible)]
    {
        (primary.role, primary.end) = (Role::Primary { acknowledges }, lsn(end));
        nodes[2] = node(99, "p", Some(primary.clone()));
        assert_eq!(verdict(&nodes, 0).0, expected, "{acknowledges} {end}");
    }
}

#[test]
fn what_went_on_elsewhere_leaves_a_doubt_though_nobody_of_it_can_be_asked() {
    let fork = |of: &TimelineHistory, number: u32, upto: u64| {
        of.fork(TimelineId::new(number), lsn(upto), "test", BranchId::new(number.into())).unwrap()
    };
    // The primary is quiet and has nothing more, and the arithmetic of the quorum would do without it.
    let mut quiet = trio("ANY 1 (a, b)", [Some(20), Some(10), None]);
    let mut primary = standby(Some(rule("ANY 1 (a, b)")), 20, 20);
    primary.role = Role::Primary { acknowledges: false };
    quiet[2] = node(99, "p", Some(primary));
    assert_eq!(verdict(&quiet, 0).0, Verdict::NoLoss);
    let mut fenced = quiet.clone();
    fenced[2].answer.as_mut().unwrap().is_fenced = true;
    let (found, reason) = verdict(&fenced, 0);
    assert!(found == Verdict::Possible && reason.contains("\"p\" is fenced"), "{found:?} {reason}");
    let mut silent = quiet.clone();
    silent[2].answer = None;
    assert_eq!(verdict(&silent, 0).0, Verdict::NoneFromRemoteWrite);
    // Whoever of them was told of it.
    for (nodes, told) in [(&quiet, 0), (&quiet, 1), (&quiet, 2), (&silent, 0), (&silent, 1)] {
        let mut nodes = nodes.clone();
        let says = format!("\"{}\" was told of timeline 2, which left at 0/14", nodes[told].name);
        nodes[told].answer.as_mut().unwrap().heard = vec![fork(&root(), 2, 20)];
        let (found, reason) = verdict(&nodes, 0);
        assert!(found == Verdict::Possible && reason.contains(&says), "{found:?} {reason}");
    }
    // A promotion has gone past what has a lower number, and what this standby goes on from is here.
    let mut on_three = silent;
    for node in &mut on_three[..2] {
        let answer = node.answer.as_mut().unwrap();
        answer.history = fork(&root(), 3, 5);
        answer.rule.as_mut().unwrap().timeline = TimelineId::new(3);
    }
    for (heard, expected) in [
        (fork(&root(), 2, 4), Verdict::NoneFromRemoteWrite),
        (root(), Verdict::NoneFromRemoteWrite),
        (fork(&root(), 3, 4), Verdict::Possible),
        (fork(&root(), 4, 4), Verdict::Possible),
        (fork(&fork(&root(), 3, 5), 4, 10), Verdict::Possible),
    ] {
        on_three[1].answer.as_mut().unwrap().heard = vec![heard.clone()];
        let (found, reason) = verdict(&on_three, 0);
        assert_eq!(found, expected, "{heard:?}: {reason}");
    }
}

#[test]
fn log_without_commits_is_no_loss_and_commits_that_are_known_to_be_confirmed_are_one() {
    let mut nodes = trio("ANY 1 (a, b)", [Some(10), Some(20), None]);
    assert_eq!(further(&nodes, 0), Some(Further { node: 1, from: lsn(10), upto: lsn(20) }));
    assert_eq!((further(&nodes, 1), best(&nodes)), (None, Some(1)));
    let none = Commits { upto: lsn(20), ..Commits::default() };
    let judged = |nodes: &[Node], commits: &Commits| judge(nodes, 0, Some(commits)).unwrap().verdict;
    assert_eq!(judged(&nodes, &none), Verdict::NoneFromRemoteWrite);
    assert_eq!(judged(&nodes, &Commits { upto: lsn(19), ..none }), Verdict::Possible, "not read to its end");
    let there_and_back = Commits { changes_rule: true, ..none };
    assert_eq!(
        judged(&nodes, &there_and_back),
        Verdict::Possible,
        "nobody knows whom commits waited for meanwhile"
    );
    assert_eq!(judge(&nodes, 0, None).unwrap().verdict, Verdict::Possible, "not read at all");
    let some = Commits { count: 2, first: Some(lsn(15)), ..none };
    assert_eq!(judged(&nodes, &some), Verdict::Possible);
    for (confirmed, expected) in [(14, Verdict::Possible), (15, Verdict::Loss)] {
        nodes[1].answer.as_mut().unwrap().confirmed = lsn(confirmed);
        assert_eq!(judged(&nodes, &some), expected, "{confirmed}");
    }
    let report = judge(&nodes, 0, Some(&some)).unwrap();
    assert_eq!((report.from, report.upto), (lsn(10), Some(lsn(20))));
}

#[test]
fn who_was_gone_on_from_is_not_the_best() {
    let mut nodes = trio("ANY 1 (a, b)", [Some(40), Some(20), Some(20)]);
    assert_eq!(best(&nodes), Some(0));
    let history = root().fork(TimelineId::new(2), lsn(15), "test", BranchId::new(2)).unwrap();
    nodes[2].answer.as_mut().unwrap().history = history;
    assert_eq!(best(&nodes), Some(2));
    nodes[2].answer.as_mut().unwrap().role = Role::Primary { acknowledges: true };
    assert_eq!(best(&nodes), Some(0), "all are left: the one with the most log");
}

#[test]
fn the_best_is_on_the_newest_timeline_whatever_the_positions_of_others_are() {
    let mut nodes = trio("ANY 1 (a, b)", [Some(90), Some(20), Some(30)]);
    let fork = |timeline, at, branch| {
        root().fork(TimelineId::new(timeline), lsn(at), "test", BranchId::new(branch)).unwrap()
    };
    let place = |nodes: &mut Vec<Node>, at: usize, history| {
        nodes[at].answer.as_mut().unwrap().history = history;
    };
    place(&mut nodes, 0, fork(2, 10, 2));
    place(&mut nodes, 1, fork(3, 10, 3));
    place(&mut nodes, 2, fork(3, 10, 3));
    assert_eq!(best(&nodes), Some(2));
    let lacks = |nodes: &[Node], at| further(nodes, at).map(|more| (more.node, more.from, more.upto));
    let all: Vec<_> = (0..3).map(|at| lacks(&nodes, at)).collect();
    assert_eq!(all, [None, Some((2, lsn(20), lsn(30))), None]);
    let next =
        nodes[1].answer.as_ref().unwrap().history.fork(TimelineId::new(5), lsn(15), "test", BranchId::new(9));
    place(&mut nodes, 2, next.unwrap());
    assert_eq!(lacks(&nodes, 1), Some((2, lsn(15), lsn(30))), "behind the fork it has other log");
    place(&mut nodes, 2, fork(3, 12, 4));
    assert_eq!(best(&nodes), None, "two timelines 3: nobody can say which of them is the cluster's");
    place(&mut nodes, 0, fork(4, 10, 5));
    assert_eq!(best(&nodes), Some(0));
}

/// How far a candidate may have confirmed: its place, or any.
type Place = Option<u64>;

/// How far commits may have been acknowledged: the most that all members of some quorum may have. None: any.
fn acknowledged(places: &[Place], count: usize) -> Option<u64> {
    let quorums = (0_u32..1 << places.len()).filter(|set| set.count_ones() as usize == count);
    let reaches = quorums.map(|set| {
        let members = places.iter().enumerate().filter(|(at, _)| set & (1 << at) != 0);
        members.filter_map(|(_, place)| *place).min().unwrap_or(u64::MAX)
    });
    Some(reaches.max().unwrap_or(0)).filter(|reach| *reach < u64::MAX)
}

/// What somebody can know who counts all quorums.
fn countable(written: &[Place], flushed: &[Place], count: usize, end: u64) -> Verdict {
    let is_within = |places: &[Place]| acknowledged(places, count).is_some_and(|reach| reach <= end);
    match (is_within(written), is_within(flushed)) {
        (true, _) => Verdict::NoneFromRemoteWrite,
        (_, true) => Verdict::NoneFromOn,
        _ => Verdict::Possible,
    }
}

#[test]
fn the_verdict_agrees_with_counting_for_every_small_cluster() {
    // Unreachable, still receiving, started anew, or written and flushed so far.
    const STATES: usize = 9;
    let known = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)];
    let mut proven = 0;
    for count in 1..=3 {
        for pattern in 0..STATES.pow(3) {
            let states = [0, 1, 2].map(|at| pattern / STATES.pow(at) % STATES);
            let names = format!("ANY {count} (a, b, c)");
            let answer = |state: usize| {
                let (written, flushed) = known.get(state.saturating_sub(3)).copied().unwrap_or((1, 1));
                let mut answer = standby(Some(rule(&names)), written, flushed);
                answer.role = Role::Standby { streams: state == 1 };
                answer.has_caught_up = state != 2;
                (state > 0).then_some(answer)
            };
            // One that is not named, too.
            let nodes: Vec<Node> = (1..)
                .zip(["a", "b", "c", "d"].into_iter().zip(states.into_iter().chain([6])))
                .map(|(id, (name, state))| node(id, name, answer(state)))
                .collect();
            for at in (0..4).filter(|at| nodes[*at].answer.is_some()) {
                let place = |of: fn(Progress) -> Lsn| {
                    let place = |(other, state): (usize, &usize)| {
                        let is_known = *state > 2 || (other == at && *state == 1);
                        nodes[other].answer.as_ref().filter(|_| is_known).map(|one| of(one.progress).get())
                    };
                    states.iter().enumerate().map(place).collect::<Vec<Place>>()
                };
                let (written, flushed) =
                    (place(|progress| progress.written), place(|progress| progress.flushed));
                let end = nodes[at].answer.as_ref().unwrap().end.get();
                let expected = countable(&written, &flushed, count, end);
                let (found, reason) = verdict(&nodes, at);
                assert_eq!(found, expected, "{names} {states:?} {at}: {reason}");
                proven += usize::from(found > Verdict::Possible);
            }
        }
    }
    assert!(proven > 1000, "{proven}");
}

mod histories;
