//! Partitions in which the old primary lives on and has clients, as the one that is promoted has: no commit
//! is acknowledged at a quorum's level on both sides, the old primary that returns refuses writes, and what
//! its rewind reports is just what was lost.
//!
//! ```text
//!   a round:  clients write on P -> (a clock jumps) -> P is cut off, or stands still
//!             -> both others are told to receive no more -> the furthest is promoted, the other one follows
//!             -> clients write there, too -> (P is killed and starts again, before or behind the heal)
//!             -> heal -> P refuses writes -> P is rewound under load, and follows
//! ```
//!
//! The nodes are on hosts of their own (network namespaces); the clients come over Unix sockets, which no
//! fault reaches. All settings but `synchronous_standby_names = 'ANY 1 (*)'` and names are the defaults.
//! `PLIMSOLL_SEED` replays a run's choices, `PLIMSOLL_PARTITION_ROUNDS` changes their number.

mod clients;
mod fleet;

use clients::{Ack, LEVELS, Side, write};
use fleet::{Fleet, LIMIT, NODES, Trouble};
use scenarios::network::namespaces_refused;
use scenarios::wire::{Wire, WireError};
use scenarios::{Node, assert_relations_equal_after_stop, variable, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Commits that a round must acknowledge, on both sides together.
const COMMITS_A_ROUND: usize = 1000;
/// Those of them that come before the trouble begins.
const COMMITS_BEFORE: usize = 300;
/// Farthest that a clock jumps, in seconds.
const JUMP_SECONDS: i64 = 7200;
/// Writes that the old primary is asked for once it is back.
const ASKED_AGAIN: usize = 10;

/// How the old primary comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Return {
    /// It ran all the time.
    Alive,
    /// It is killed, and starts while it is cut off.
    Alone,
    /// It is killed, and starts once the network is whole.
    Healed,
}

#[derive(Debug, Default)]
struct Met {
    acknowledged: BTreeMap<&'static str, usize>,
    /// Commits of old primaries that were told and lost, all at local.
    lost: usize,
    /// Commits that rewinds discarded.
    discarded: usize,
    jumps: usize,
    kinds: BTreeMap<String, usize>,
}

struct Rounds {
    fleet: Fleet,
    rng: fastrand::Rng,
    primary: usize,
    met: Met,
    /// For the message, if it fails.
    story: Vec<String>,
}

#[test]
fn no_partition_lets_two_nodes_acknowledge_and_a_rewind_reports_what_was_lost() {
    if let Some(reason) = namespaces_refused() {
        panic!("this test makes network namespaces, which needs root and iproute2 and nftables: {reason}");
    }
    let long = variable("PLIMSOLL_LONG_TESTS") == Some(1);
    let rounds = variable("PLIMSOLL_PARTITION_ROUNDS").unwrap_or(if long { 200 } else { 6 });
    let seed = variable("PLIMSOLL_SEED").unwrap_or_else(|| if long { fastrand::u64(..) } else { 5 });
    eprintln!("PLIMSOLL_SEED={seed}");
    let began = Instant::now();
    let mut all = Rounds {
        fleet: Fleet::new(),
        rng: fastrand::Rng::with_seed(seed),
        primary: 0,
        met: Met::default(),
        story: Vec::new(),
    };
    all.fleet.converge(0);
    let mut deck = Vec::new();
    for round in 0..rounds {
        if deck.is_empty() {
            deck = Trouble::ALL.to_vec();
            all.rng.shuffle(&mut deck);
        }
        let trouble = deck.pop().expect("a full deck");
        all.story = vec![format!("round {round}: {trouble:?}")];
        let told = all.round(trouble);
        assert!(told >= COMMITS_A_ROUND, "only {told} commits: {:?}", all.story);
    }
    let primary = all.primary;
    let nodes: Vec<&Node> = all.fleet.sites.iter().map(|site| &site.node).collect();
    assert_relations_equal_after_stop(nodes[primary], nodes[(primary + 1) % NODES]);
    eprintln!("{rounds} rounds in {:.0?}: {:?}", began.elapsed(), all.met);
}

impl Rounds {
    /// One failover. Returns how many commits were acknowledged.
    fn round(&mut self, trouble: Trouble) -> usize {
        let returns = [Return::Alive, Return::Alone, Return::Healed][self.rng.usize(..3)];
        self.jump();
        self.story.push(format!("{returns:?}"));
        eprintln!("{:?}", self.story);
        *self.met.kinds.entry(format!("{trouble:?} {returns:?}")).or_default() += 1;
        let Self { fleet, rng, primary, story, .. } = self;
        let (old, story) = (*primary, &*story);
        let (before, after) = (Side::default(), Side::default());
        let wait = Duration::from_millis(rng.u64(..400));
        let kills = rng.bool();
        let (next, reported) = std::thread::scope(|scope| {
            // However the round ends, nobody goes on.
            let _end = EndOnDrop { fleet, sides: [&before, &after] };
            let begin = |at: usize, side| {
                for level in LEVELS {
                    let socket = fleet.sites[at].node.socket();
                    scope.spawn(move || write(&socket, side, level));
                }
            };
            begin(old, &before);
            told(&before, COMMITS_BEFORE, story);
            fleet.begin(trouble, old);
            // How long the trouble lasts before anybody does something about it.
            std::thread::sleep(wait);
            let next = fail_over(fleet, old);
            begin(next, &after);
            let alone = matches!(returns, Return::Alone | Return::Healed);
            if alone {
                fleet.sites[old].node.kill_9();
            }
            if returns == Return::Alone {
                fleet.sites[old].node.start();
            }
            told(&after, COMMITS_A_ROUND - COMMITS_BEFORE, story);
            // A frozen one that was killed is not there any more, and goes on with nothing.
            fleet.heal(trouble, old);
            if returns == Return::Healed {
                fleet.sites[old].node.start();
                refuses_writes(fleet, old, &before, story);
            } else {
                wait_until("the old primary refuses writes", LIMIT, || {
                    try_write(fleet, old, &before).map_or(Err(format!("{story:?}")), |_| Ok(()))
                });
                refuses_writes(fleet, old, &before, story);
            }
            before.stop();
            match kills {
                true => fleet.sites[old].node.kill_9(),
                false => fleet.sites[old].node.stop(),
            }
            let rewound = fleet.sites[old].rewind(&fleet.sites[next]);
            assert_eq!(rewound.code, 0, "{rewound:?} {story:?}");
            fleet.sites[old].node.start();
            fleet.converge(next);
            (next, inserted(&rewound.stdout))
        });
        for side in [&before, &after] {
            assert_eq!(side.surprises(), Vec::<String>::new(), "{story:?}");
        }
        self.primary = next;
        self.judge(&before, &after, &reported)
    }

    /// Now and then a node's clock jumps, also that of the primary.
    fn jump(&mut self) {
        if self.rng.u8(..3) != 0 {
            return;
        }
        let (at, seconds) = (self.rng.usize(..NODES), self.rng.i64(-JUMP_SECONDS..=JUMP_SECONDS));
        self.fleet.sites[at].set_clock(seconds);
        self.story.push(format!("the clock of n{at} jumps to {seconds:+} s"));
        self.met.jumps += 1;
    }

    /// What was told on both sides against what is there, and what was reported.
    fn judge(&mut self, before: &Side, after: &Side, reported: &BTreeSet<u64>) -> usize {
        let (old, new, story) = (before.acks(), after.acks(), &self.story);
        let there = rows(&self.fleet.sites[self.primary].node);
        let quorum_began = new.iter().filter(|ack| ack.is_of_a_quorum()).map(|ack| ack.told).min();
        let quorum_began = quorum_began.expect("the new side has a quorum");
        let both: Vec<&Ack> =
            old.iter().filter(|ack| ack.is_of_a_quorum() && ack.sent > quorum_began).collect();
        assert!(both.is_empty(), "acknowledged on both sides: {both:?} {story:?}");
        let gone: Vec<&Ack> = old.iter().filter(|ack| !there.contains(&ack.id)).collect();
        let promised: Vec<_> = gone.iter().filter(|ack| ack.is_of_a_quorum()).collect();
        assert!(promised.is_empty(), "promised and lost: {promised:?} {story:?}");
        let gone_new: Vec<&Ack> = new.iter().filter(|ack| !there.contains(&ack.id)).collect();
        assert!(gone_new.is_empty(), "lost on the new side: {gone_new:?} {story:?}");
        let silent: Vec<_> = gone.iter().filter(|ack| !reported.contains(&ack.id)).collect();
        assert!(silent.is_empty(), "lost and not reported: {silent:?} {story:?}");
        let sent = before.sent();
        let wrong: Vec<_> = reported.iter().filter(|id| there.contains(id) || !sent.contains(id)).collect();
        assert!(wrong.is_empty(), "reported and not lost: {wrong:?} {story:?}");
        for ack in old.iter().chain(&new) {
            *self.met.acknowledged.entry(ack.level).or_default() += 1;
        }
        self.met.lost += gone.len();
        self.met.discarded += reported.len();
        old.len() + new.len()
    }
}

/// Waits until a side was told so many commits.
fn told(side: &Side, enough: usize, story: &[String]) {
    wait_until("commits go on", LIMIT, || match side.count() {
        count if count >= enough => Ok(()),
        count => Err(format!("{count} of {enough}, {:?}, {story:?}", side.surprises())),
    });
}

/// As an operator fails over whose old primary cannot be reached: first nobody receives from it any more,
/// then the furthest is promoted, and the other one follows that.
fn fail_over(fleet: &Fleet, old: usize) -> usize {
    let standbys: Vec<usize> = (0..NODES).filter(|at| *at != old).collect();
    for at in &standbys {
        fleet.sites[*at].follow("");
    }
    let next = *standbys.iter().max_by_key(|at| fleet.sites[**at].received()).expect("two");
    fleet.sites[next].promote();
    let source = fleet.sites[next].conninfo();
    for at in standbys.iter().filter(|at| **at != next) {
        fleet.sites[*at].follow(&source);
    }
    next
}

/// Writes at local on the old primary, in a session of its own: Some once that is refused because it is
/// fenced.
fn try_write(fleet: &Fleet, old: usize, side: &Side) -> Option<()> {
    let mut wire = Wire::unix(&fleet.sites[old].node.socket()).ok()?;
    let refused =
        wire.query("SET synchronous_commit = local").and_then(|_| side.insert(&mut wire, "local")).err()?;
    match refused {
        WireError::Refused(state, text) if text.contains("fenced") || state == "25006" => Some(()),
        _ => None,
    }
}

/// Each write is refused, and not one more is told.
fn refuses_writes(fleet: &Fleet, old: usize, side: &Side, story: &[String]) {
    for _ in 0..ASKED_AGAIN {
        assert!(
            try_write(fleet, old, side).is_some(),
            "the old primary that is back takes a write: {story:?}"
        );
    }
}

fn rows(node: &Node) -> BTreeSet<u64> {
    let answer = node.session().query("SELECT id FROM t").expect("rows");
    answer.rows.iter().map(|row| row[0].parse().expect("a number")).collect()
}

/// Numbers of the rows whose insertion a rewind reports as discarded.
fn inserted(report: &str) -> BTreeSet<u64> {
    let lines = report.lines().map(|line| {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    });
    lines
        .flat_map(|commit| commit["changes"].as_array().cloned().unwrap_or_default())
        .map(|change| {
            assert_eq!((&change["table"], &change["op"]), (&"t".into(), &"insert".into()), "{change}");
            let id = change["key"]["id"].as_str().expect("a key").parse();
            id.expect("a number")
        })
        .collect()
}

/// Ends the clients, however the round ends.
struct EndOnDrop<'a> {
    fleet: &'a Fleet,
    sides: [&'a Side; 2],
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.sides.iter().for_each(|side| side.stop());
        if std::thread::panicking() {
            // A client may wait there for ever.
            self.fleet.sites.iter().for_each(|site| site.node.kill_9());
        }
    }
}
