//! Random histories of a cluster of which all is known, against what the reports say of it.

use super::*;

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
    /// Behind which record the log says which rule, in order.
    rules: Vec<(u64, Rule)>,
    /// The names of the beginning, with the standbys and how many of them.
    first: (String, Vec<String>, usize),
    /// The names are changed now and then.
    may_turn: bool,
    /// Other names are in force than the log says, which says that they may be.
    turns: bool,
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
        let may_turn = rng.u8(..3) == 0;
        let first = (names.clone(), named.clone(), count);
        let mut world = Self {
            rng,
            names,
            named,
            count,
            may_fall_back,
            fallen_back: false,
            rules: Vec::new(),
            first,
            may_turn,
            turns: false,
            log,
            synced: (0, 0),
            standbys: vec![Model::default(); standbys],
        };
        world.note_rule();
        for at in 0..standbys {
            world.connect(at);
        }
        world
    }

    /// The rule that the log says from here on.
    fn note_rule(&mut self) {
        let may_fall_back = self.may_fall_back || self.turns;
        self.rules.push((self.end(), Rule { may_fall_back, ..rule(&self.names) }));
    }

    /// Other names, or those of the beginning again: the log says first that they change, then they are in
    /// force, and named there later.
    fn turn_names(&mut self) {
        self.turns = !self.turns;
        self.log.push(None);
        self.note_rule();
        if !self.turns {
            return;
        }
        let first = &self.first;
        if self.names != first.0 && self.rng.u8(..4) > 0 {
            (self.names, self.named, self.count) = first.clone();
            return;
        }
        self.named = (0..self.standbys.len()).map(|at| format!("s{at}")).collect();
        self.rng.shuffle(&mut self.named);
        self.named.truncate(self.rng.usize(..=self.named.len()));
        self.count = self.rng.usize(..=self.named.len()).max(1);
        self.names = match self.named.is_empty() {
            true => String::new(),
            false => format!("ANY {} ({})", self.count, self.named.join(", ")),
        };
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
        let (written, flushed) = match self.named.is_empty() {
            true => (self.end(), self.end()),
            false => (reached(|one| one.written), reached(|one| one.flushed)),
        };
        self.synced = (self.synced.0.max(written), self.synced.1.max(flushed));
    }

    /// Whether a commit was acknowledged.
    fn is_acknowledged(&self, end: u64, level: Level) -> bool {
        match level {
            _ if self.fallen_back => true,
            Level::Local => true,
            Level::RemoteWrite => end <= self.synced.0,
            Level::On => end <= self.synced.1,
        }
    }

    /// Something happens; with `only_on` to the primary and those of the standbys that receive.
    fn step(&mut self, only_receive: bool) {
        let at = self.rng.usize(..self.standbys.len());
        let end = self.end();
        let choice = self.rng.u8(..if only_receive { 11 } else { 23 });
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
            20.. if self.may_turn => self.turn_names(),
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
            let said = self.rules.iter().rev().find(|(behind, _)| *behind <= standby.written);
            let rule = said.map(|(_, rule)| rule.clone());
            let mut answer = self::standby(rule, standby.written, standby.flushed);
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
        let changes_rule = self.rules.iter().any(|(behind, _)| (from + 1..=upto).contains(behind));
        Commits { upto: lsn(upto), count: ends.count() as u64, first, times: None, changes_rule }
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
    // What the primary has changed behind the log of all that answer is beyond what can be known.
    let seen = nodes.iter().filter_map(|node| node.answer.as_ref()).map(|answer| answer.end).max();
    if world.rules.iter().any(|(behind, _)| seen.is_none_or(|seen| lsn(*behind) > seen)) {
        return;
    }
    let later = world.rng.u8(..10);
    for at in (0..standbys).filter(|at| reachable[*at]) {
        let behind = further(&nodes, at).filter(|_| world.rng.u8(..10) > 0);
        let commits = behind.map(|more| world.commits(more.from.get(), more.upto.get()));
        let report = judge(&nodes, at, commits.as_ref()).unwrap();
        // Until the promotion the primary goes on, if it lives, with those that receive from it.
        let mut promoted = World {
            rng: world.rng.clone(),
            names: world.names.clone(),
            named: world.named.clone(),
            log: world.log.clone(),
            rules: world.rules.clone(),
            first: world.first.clone(),
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
    let is_read = further(nodes, at).is_none() || commits.is_some();
    let said = nodes[at].answer.as_ref().unwrap().rule.as_ref();
    // Nobody can know what a primary has changed since.
    let is_said = said.is_some_and(|said| said.names.as_ref() == Some(&world.names) && !said.may_fall_back);
    !world.named.is_empty()
        && is_read
        && is_said
        && !commits.is_some_and(|commits| commits.changes_rule)
        && !world.may_fall_back
        && reach.is_some_and(|reach| reach <= end || empty(&reach))
}

#[test]
fn in_random_histories_it_never_says_no_loss_where_there_is_one_and_says_so_where_it_can_be_known() {
    let mut totals = Totals::default();
    for seed in 0..6000 {
        judge_history(seed, &mut totals);
    }
    println!("{totals:?}");
    assert!(totals.judged > 2000 && totals.losses > 300 && totals.countable > 500, "{totals:?}");
    assert!(totals.said * 100 >= totals.countable * 95, "{totals:?}");
}
