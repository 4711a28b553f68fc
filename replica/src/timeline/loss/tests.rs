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

fn verdict(nodes: &[Node], at: usize) -> (Verdict, String) {
    let report = judge(nodes, at, None).expect("it is a standby that answers");
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
    assert_eq!(further(&nodes, 0), Some((1, lsn(20))));
    assert_eq!((further(&nodes, 1), best(&nodes)), (None, Some(1)));
    let none = Commits { upto: lsn(20), ..Commits::default() };
    let judged = |nodes: &[Node], commits: &Commits| judge(nodes, 0, Some(commits)).unwrap().verdict;
    assert_eq!(judged(&nodes, &none), Verdict::NoneFromRemoteWrite);
    assert_eq!(judged(&nodes, &Commits { upto: lsn(19), ..none }), Verdict::Possible, "not read to its end");
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

/// A standby of the model.
#[derive(Clone, Debug, Default)]
struct Model {
    connected: bool,
    written: u64,
    flushed: u64,
    /// What the primary had when it connected last in this life.
    target: Option<u64>,
    caught_up: bool,
    confirmed: u64,
}

/// A cluster of which all is known: a position is a record.
struct World {
    rng: fastrand::Rng,
    names: String,
    named: Vec<String>,
    count: usize,
    may_fall_back: bool,
    fallen_back: bool,
    /// Of each record the level of its commit; None: it is none.
    log: Vec<Option<Level>>,
    synced: (u64, u64),
    standbys: Vec<Model>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Local,
    RemoteWrite,
    On,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let standbys = rng.usize(1..=4);
        // All nodes may be named, the primary and one that nobody has heard of too.
        let mut named: Vec<String> = (0..standbys).map(|at| format!("s{at}")).collect();
        rng.shuffle(&mut named);
        named.truncate(rng.usize(1..=standbys));
        for other in ["p", "x"] {
            if rng.u8(..8) == 0 {
                named.push(other.to_owned());
            }
        }
        let count = rng.usize(1..=named.len());
        let method = ["FIRST", "ANY"][rng.usize(..2)];
        let mut names = format!("{method} {count} ({})", named.join(", "));
        if rng.u8(..10) == 0 {
            (names, named) = (String::new(), Vec::new());
        }
        let may_fall_back = rng.u8(..8) == 0;
        let log = vec![None];
        let mut world = Self {
            rng,
            names,
            named,
            count,
            may_fall_back,
            fallen_back: false,
            log,
            synced: (0, 0),
            standbys: vec![Model::default(); standbys],
        };
        for at in 0..standbys {
            world.connect(at);
        }
        world
    }

    fn end(&self) -> u64 {
        self.log.len() as u64
    }

    fn connect(&mut self, at: usize) {
        let end = self.end();
        let standby = &mut self.standbys[at];
        (standby.connected, standby.target) = (true, Some(end));
    }

    /// What enough of those that are connected have reached.
    fn count_quorum(&mut self) {
        let counts = |at: usize, standby: &Model| standby.connected && self.named.contains(&format!("s{at}"));
        let reached = |of: fn(&Model) -> u64| {
            let mut ends: Vec<u64> = self
                .standbys
                .iter()
                .enumerate()
                .filter(|(at, one)| counts(*at, one))
                .map(|(_, one)| of(one))
                .collect();
            ends.sort_unstable();
            ends.iter().rev().nth(self.count.saturating_sub(1)).copied().unwrap_or(0)
        };
        let (written, flushed) = (reached(|one| one.written), reached(|one| one.flushed));
        self.synced = (self.synced.0.max(written), self.synced.1.max(flushed));
    }

    /// Whether a commit was acknowledged.
    fn is_acknowledged(&self, end: u64, level: Level) -> bool {
        match level {
            _ if self.named.is_empty() || self.fallen_back => true,
            Level::Local => true,
            Level::RemoteWrite => end <= self.synced.0,
            Level::On => end <= self.synced.1,
        }
    }

    /// Something happens; with `only_on` to the primary and those of the standbys that receive.
    fn step(&mut self, only_receive: bool) {
        let at = self.rng.usize(..self.standbys.len());
        let end = self.end();
        let choice = self.rng.u8(..if only_receive { 11 } else { 20 });
        match choice {
            0..=3 => {
                let level = [Level::Local, Level::RemoteWrite, Level::On, Level::On][self.rng.usize(..4)];
                let is_commit = self.rng.u8(..4) > 0;
                self.log.push(is_commit.then_some(level));
            }
            4..=8 if self.standbys[at].connected => {
                let upto = self.rng.u64(self.standbys[at].written..=end);
                let confirmed = self.rng.u64(..=self.synced.1);
                let standby = &mut self.standbys[at];
                standby.written = upto;
                standby.caught_up |= standby.target.is_some_and(|target| upto >= target);
                standby.confirmed = standby.confirmed.max(confirmed);
            }
            9 | 10 => self.standbys[at].flushed = self.standbys[at].written,
            11 | 12 => self.standbys[at].connected = false,
            13..=15 => self.connect(at),
            16 => self.restart(at),
            17 => {
                // The power goes.
                let standby = &mut self.standbys[at];
                standby.written = self.rng.u64(standby.flushed..=standby.written);
                standby.flushed = standby.written;
                self.restart(at);
            }
            18 => {
                // It is made anew, from anybody.
                let from = self.rng.usize(..self.standbys.len());
                let has = if from == at { end } else { self.standbys[from].flushed };
                self.standbys[at] = Model { written: has, flushed: has, ..Model::default() };
            }
            19 if self.may_fall_back => self.fallen_back = true,
            _ => {}
        }
        self.count_quorum();
    }

    fn restart(&mut self, at: usize) {
        let Model { written, flushed, .. } = self.standbys[at];
        self.standbys[at] = Model { written, flushed, ..Model::default() };
    }

    /// What those say that can be asked.
    fn nodes(&self, reachable: &[bool], sees_end: &[bool]) -> Vec<Node> {
        let says = |(at, standby): (usize, &Model)| {
            let rule = Rule { may_fall_back: self.may_fall_back, ..rule(&self.names) };
            let mut answer = self::standby(Some(rule), standby.written, standby.flushed);
            answer.role = Role::Standby { streams: standby.connected && !sees_end[at] };
            answer.has_caught_up = standby.caught_up;
            answer.confirmed = lsn(standby.confirmed);
            node(at as u64, &format!("s{at}"), reachable[at].then_some(answer))
        };
        self.standbys.iter().enumerate().map(says).collect()
    }

    /// What a node that has the log up to there reads of it behind a position.
    fn commits(&self, from: u64, upto: u64) -> Commits {
        let ends = (from + 1..=upto).filter(|end| self.log[*end as usize - 1].is_some());
        let first = ends.clone().next().map(lsn);
        Commits { upto: lsn(upto), count: ends.count() as u64, first, times: None }
    }

    /// The highest level at which a commit behind `end` was acknowledged, if any was.
    fn lost(&self, end: u64) -> Option<Level> {
        let missing = (end + 1..).zip(self.log.iter().skip(end as usize));
        missing.filter_map(|(end, level)| level.filter(|level| self.is_acknowledged(end, *level))).max()
    }
}

#[derive(Default, Debug)]
struct Totals {
    judged: usize,
    losses: usize,
    countable: usize,
    said: usize,
}

/// A branch went on and is gone, of which one of those that answer knows.
fn go_on_elsewhere(world: &mut World, nodes: &mut Vec<Node>) {
    let mut primary = standby(Some(rule(&world.names)), world.end(), world.end());
    primary.role = Role::Primary { acknowledges: false };
    nodes.push(node(99, "p", Some(primary)));
    let at = world.rng.usize(..nodes.len());
    let at = if nodes[at].answer.is_some() { at } else { nodes.len() - 1 };
    let answer = nodes[at].answer.as_mut().unwrap();
    answer.is_fenced = matches!(answer.role, Role::Primary { .. }) && world.rng.bool();
    if !answer.is_fenced {
        answer.heard.push(root().fork(TimelineId::new(2), lsn(1), "test", BranchId::new(2)).unwrap());
    }
}

/// Lets a history happen, asks for the report on each standby, and compares it with what its promotion loses.
fn judge_history(seed: u64, totals: &mut Totals) {
    let mut world = World::new(seed);
    for _ in 0..world.rng.usize(5..80) {
        world.step(false);
    }
    let lives = world.rng.u8(..4) == 0;
    let standbys = world.standbys.len();
    let reachable: Vec<bool> = (0..standbys).map(|_| world.rng.u8(..5) > 0).collect();
    // While the primary lives, who is connected receives; else it may not have noticed yet.
    let sees_end: Vec<bool> = (0..standbys).map(|_| !lives && world.rng.u8(..5) > 0).collect();
    let mut nodes = world.nodes(&reachable, &sees_end);
    let goes_on = world.rng.u8(..8) == 0;
    if goes_on {
        go_on_elsewhere(&mut world, &mut nodes);
    }
    let later = world.rng.u8(..10);
    for at in (0..standbys).filter(|at| reachable[*at]) {
        let end = world.standbys[at].written;
        let behind = further(&nodes, at).filter(|_| world.rng.u8(..10) > 0);
        let commits = behind.map(|(_, upto)| world.commits(end, upto.get()));
        let report = judge(&nodes, at, commits.as_ref()).unwrap();
        // Until the promotion the primary goes on, if it lives, with those that receive from it.
        let mut promoted = World {
            rng: world.rng.clone(),
            names: world.names.clone(),
            named: world.named.clone(),
            log: world.log.clone(),
            standbys: world.standbys.clone(),
            ..world
        };
        for _ in 0..if lives { later } else { 0 } {
            promoted.step(true);
        }
        // What is on the other branch is lost, whatever is here.
        let lost = promoted.lost(promoted.standbys[at].written).max(goes_on.then_some(Level::On));
        let told = format!("seed {seed}, standby {at}: {report:?}, truth: {lost:?}\n{nodes:#?}");
        match report.verdict {
            Verdict::NoLoss => assert_eq!(lost, None, "{told}"),
            Verdict::NoneFromRemoteWrite => assert!(lost < Some(Level::RemoteWrite), "{told}"),
            Verdict::NoneFromOn => assert!(lost < Some(Level::On), "{told}"),
            Verdict::Loss => assert!(lost.is_some() || lives, "{told}"),
            Verdict::Possible => {}
        }
        totals.judged += 1;
        totals.losses += usize::from(lost >= Some(Level::RemoteWrite));
        if !goes_on && countable_here(&world, &nodes, at, commits.as_ref()) {
            totals.countable += 1;
            totals.said += usize::from(report.verdict > Verdict::Possible);
        }
    }
}

/// Whether somebody could know that nothing at `on` is lost who is told what the report is told, and counts
/// all quorums.
fn countable_here(world: &World, nodes: &[Node], at: usize, commits: Option<&Commits>) -> bool {
    let place = |name: &String| {
        let found = nodes.iter().position(|node| node.name == *name);
        let answer = found.and_then(|found| Some((found, nodes[found].answer.as_ref()?)));
        let (found, answer) = answer?;
        let is_still = found == at || answer.role == Role::Standby { streams: false };
        (is_still && answer.has_caught_up).then(|| answer.progress.flushed.get())
    };
    let places: Vec<Place> = world.named.iter().filter(|name| *name != "p").map(place).collect();
    let end = nodes[at].answer.as_ref().unwrap().end.get();
    let reach = acknowledged(&places, world.count);
    // Log without commits is as good as none.
    let empty = |reach: &u64| {
        commits.is_some_and(|commits| {
            *reach <= commits.upto.get() && commits.first.is_none_or(|first| first.get() > *reach)
        })
    };
    !world.named.is_empty()
        && !world.may_fall_back
        && reach.is_some_and(|reach| reach <= end || empty(&reach))
}

#[test]
fn in_random_histories_it_never_says_no_loss_where_there_is_one_and_says_so_where_it_can_be_known() {
    let mut totals = Totals::default();
    for seed in 0..4000 {
        judge_history(seed, &mut totals);
    }
    println!("{totals:?}");
    assert!(totals.judged > 2000 && totals.losses > 300 && totals.countable > 500, "{totals:?}");
    assert!(totals.said * 100 >= totals.countable * 95, "{totals:?}");
}
