//! Five failovers in a row over a primary and three standbys, one of them behind another, under load.
//!
//! ```text
//!   a round:  P is promoted -> names -> clients write at all levels
//!             -> others follow, who was left behind is rewound -> a barrier -> (names change)
//!             -> P is killed at a random moment -> who may be promoted? one of them is
//! ```
//!
//! A rewind is killed now and then, at any moment, and run again; in between the directory does not start.
//!
//! Who may be promoted: a commit that was acknowledged under `ANY k` or `FIRST k` of some names is on k of
//! them at least. So a standby has it unless k of the named ones are further. That rule is all that the
//! choice rests on, with the timeline and position that each standby tells (IDENTIFY_SYSTEM), as an operator
//! has them.
//!
//! The barrier is a commit at `on` under the new names: once it is acknowledged, what was promised before is
//! on the new quorum, and the next failover may come.
//!
//! `PLIMSOLL_SEED` and `PLIMSOLL_CHAIN` replay the choices of one chain, though not their timing.

use crate::writers::{Told, write, write_bulk};
use crate::{LIMIT, ask, is_acknowledged, is_long, position, run_chains, seed, value, variable};
use scenarios::wire::{Wire, parse_lsn};
use scenarios::{Branch, Node, Quorum, assert_all_equal_after_stop, plimsoll, run, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

const NODES: usize = 4;
const FAILOVERS: usize = 5;
const CLIENTS: usize = 4;
/// What a standby says that cannot follow: it is past the fork, or what it follows lacks log.
const LEFT_BEHIND: [&str; 2] = ["before current recovery point", "has already been removed"];

/// A primary and three standbys, stopped, from which each chain is copied.
struct Origin {
    nodes: Vec<Node>,
}

impl Origin {
    fn new() -> Self {
        let primary = settings(0).init_option("--wal-segsize=1").start();
        primary.sql("CREATE TABLE t (id bigint PRIMARY KEY, filler text)");
        primary.sql("CREATE TABLE large (id bigint PRIMARY KEY, filler text)");
        primary.sql("CREATE TABLE hot (id int PRIMARY KEY, filler text)");
        primary.sql("INSERT INTO hot SELECT g, 'x' FROM generate_series(1, 20) g");
        primary.sql("CREATE TABLE big (id int PRIMARY KEY, filler text)");
        primary.sql("INSERT INTO big SELECT g, 'x' FROM generate_series(1, 8) g");
        let end = primary.sql("SELECT pg_current_wal_flush_lsn()");
        let mut nodes: Vec<Node> = (1..NODES).map(|at| settings(at).clone_from(&primary)).collect();
        nodes.iter().for_each(|standby| standby.wait_replayed(&end));
        nodes.insert(0, primary);
        nodes.iter().for_each(Node::stop);
        Self { nodes }
    }
}

fn settings(at: usize) -> scenarios::NodeBuilder {
    [
        ("cluster_name", format!("s{at}").as_str()),
        ("shared_buffers", "16MB"),
        ("wal_keep_size", "512MB"),
        ("max_wal_size", "1GB"),
        ("checkpoint_timeout", "1h"),
        ("wal_retrieve_retry_interval", "20ms"),
        ("plimsoll.write_set_limit", "64kB"),
        // What no standby has confirmed is shown to nobody, however long that takes.
        ("plimsoll.unconfirmed_timeout", "-1"),
    ]
    .into_iter()
    .fold(Node::builder(), |builder, (name, value)| builder.setting(name, value))
}

/// What the chains have met.
#[derive(Debug, Default, Clone)]
struct Met {
    acknowledged: BTreeMap<&'static str, usize>,
    failovers: usize,
    changed_names: usize,
    left_behind: usize,
    rewinds: usize,
    /// Rewinds that were killed, and those of them that had begun to change the directory.
    killed: usize,
    halfway: usize,
    /// Logs that ended within a record and were cut there to follow another branch.
    cuts: usize,
    /// Promoted nodes that had received a part of a record.
    partial: usize,
    old_primaries: usize,
}

struct Chain {
    nodes: Vec<Node>,
    primary: usize,
    /// Who follows whom; the primary follows itself.
    upstream: [usize; NODES],
    /// Those that have no place in the cluster until they are rewound.
    out: BTreeSet<usize>,
    rng: fastrand::Rng,
    told: Told,
    /// Settings of synchronous_standby_names since the last promotion.
    quorums: Vec<Quorum>,
    /// What was promised.
    promised: BTreeSet<u64>,
    met: Met,
    /// For the message, if it fails.
    story: Vec<String>,
}

impl Chain {
    fn new(origin: &Origin, seed: u64) -> Self {
        let nodes: Vec<Node> = origin.nodes.iter().map(Node::copy_of).collect();
        let mut chain = Self {
            nodes,
            primary: 0,
            upstream: [0; NODES],
            out: BTreeSet::new(),
            rng: fastrand::Rng::with_seed(seed),
            told: Told::default(),
            quorums: Vec::new(),
            promised: BTreeSet::new(),
            met: Met::default(),
            story: Vec::new(),
        };
        chain.choose_upstreams();
        for at in 1..NODES {
            let upstream = chain.nodes[chain.upstream[at]].conninfo();
            chain.nodes[at].alter_while_stopped("primary_conninfo", &upstream);
        }
        chain.start_all();
        chain
    }

    fn start_all(&self) {
        std::thread::scope(|scope| {
            self.nodes.iter().for_each(|node| drop(scope.spawn(|| node.start())));
        });
    }

    fn standbys(&self) -> impl Iterator<Item = usize> + use<> {
        let primary = self.primary;
        (0..NODES).filter(move |at| *at != primary)
    }

    /// One of the standbys is behind another one.
    fn choose_upstreams(&mut self) {
        let mut standbys: Vec<usize> = self.standbys().collect();
        self.rng.shuffle(&mut standbys);
        self.upstream = [self.primary; NODES];
        self.upstream[standbys[0]] = standbys[1];
    }

    /// Names of those that stream from the primary; now and then the one behind another is named too.
    fn choose_quorum(&mut self) -> Quorum {
        let mut standbys: Vec<usize> =
            self.standbys().filter(|at| self.upstream[*at] == self.primary).collect();
        let count = 1 + self.rng.usize(..standbys.len());
        if self.rng.u8(..4) == 0 {
            standbys = self.standbys().collect();
        }
        self.rng.shuffle(&mut standbys);
        // With FIRST, one that never comes must not stand in for one that does: it is passed over.
        Quorum { first: self.rng.bool(), count, standbys }
    }

    fn name(&mut self, wire: &mut Wire<UnixStream>, quorum: Quorum) {
        self.story.push(format!("names '{}'", quorum.setting()));
        wire.alter(&format!("SET synchronous_standby_names = '{}'", quorum.setting())).expect("a setting");
        self.quorums.push(quorum);
    }

    /// Everything from a promotion up to the kill of the promoted node, or without that kill.
    fn round(&mut self, kill: bool) -> Result<(), String> {
        let seeds: Vec<u64> = (0..=CLIENTS).map(|_| self.rng.u64(..)).collect();
        let mut told = std::mem::take(&mut self.told);
        told.begin();
        let socket = self.nodes[self.primary].socket();
        let pid = self.nodes[self.primary].pid();
        let done = std::thread::scope(|scope| {
            let told = &told;
            let _end = EndOnDrop { told, pid };
            for (client, seed) in seeds.into_iter().enumerate() {
                let socket = &socket;
                scope.spawn(move || match client {
                    CLIENTS => write_bulk(socket, told, seed),
                    _ => write(socket, told, seed),
                });
            }
            let done = self.under_load(told, kill);
            if done.is_err() {
                // A client may wait there for ever.
                self.nodes[self.primary].kill_9();
            }
            done
        });
        self.told = told;
        done?;
        let acks = self.told.take();
        for ack in acks {
            *self.met.acknowledged.entry(ack.level).or_default() += 1;
            if ack.level != "local" && !ack.without_names {
                self.promised.insert(ack.id);
            }
        }
        let surprises = self.told.surprises.lock().expect("no writer panics");
        if surprises.is_empty() { Ok(()) } else { Err(format!("{surprises:?}")) }
    }

    fn under_load(&mut self, told: &Told, kill: bool) -> Result<(), String> {
        let mut wire = self.nodes[self.primary].session();
        self.follow()?;
        self.barrier(&mut wire, told)?;
        ask(&mut wire, "CHECKPOINT");
        if !kill {
            return Ok(());
        }
        let more = |chain: &mut Self, most: usize| {
            let enough = told.count() + chain.rng.usize(..most);
            wait_until("commits go on", LIMIT, || match told.count() {
                count if count >= enough => Ok(()),
                count => Err(format!("{count} of {enough}, {:?}", chain.story)),
            });
        };
        more(self, 30);
        if self.rng.bool() {
            let quorum = if self.rng.u8(..6) == 0 { Quorum::default() } else { self.choose_quorum() };
            // Before it is in force: what is told from now on may be told without names.
            told.without_names.store(quorum.standbys.is_empty(), Ordering::SeqCst);
            self.name(&mut wire, quorum);
            self.met.changed_names += 1;
            more(self, 30);
        }
        if self.rng.bool() {
            // So that the kill finds log in flight, and standbys with parts of records.
            told.burst.store(true, Ordering::SeqCst);
            let insert = "SELECT pg_current_wal_insert_lsn()";
            let enough = position(&mut wire, insert) + self.rng.u64(..2 << 20);
            wait_until("the log grows", LIMIT, || match position(&mut wire, insert) {
                at if at >= enough => Ok(()),
                at => Err(format!("{at:x} of {enough:x}")),
            });
        }
        self.nodes[self.primary].kill_9();
        Ok(())
    }

    /// Commits under the names of now, and looks for what was promised before.
    fn barrier(&mut self, wire: &mut Wire<UnixStream>, told: &Told) -> Result<(), String> {
        ask(wire, "SET synchronous_commit = on; SET statement_timeout = '30s'");
        let id = told.next_id();
        let answer = wire.query(&format!("INSERT INTO t VALUES ({id}, 'barrier')"));
        if !is_acknowledged(&answer) {
            return Err(format!("the barrier is not acknowledged: {answer:?}; {:?}", self.story));
        }
        self.look_for_lost(&ids(wire))?;
        self.promised.insert(id);
        Ok(())
    }

    fn look_for_lost(&self, found: &BTreeSet<u64>) -> Result<(), String> {
        let lost: Vec<&u64> = self.promised.difference(found).collect();
        if lost.is_empty() {
            return Ok(());
        }
        Err(format!("lost {} of {} commits: {lost:?}; {:?}", lost.len(), self.promised.len(), self.story))
    }

    /// Has all others follow the primary. Those that cannot, and those that are out, are rewound.
    fn follow(&mut self) -> Result<(), String> {
        // First those that stream from the primary, since another one may stream from them.
        let mut standbys: Vec<usize> = self.standbys().collect();
        standbys.sort_by_key(|at| self.upstream[*at] != self.primary);
        let new = self.out.clone();
        for at in standbys.iter().filter(|at| !new.contains(at) && self.upstream[**at] == self.primary) {
            self.point(*at, self.primary);
        }
        for at in standbys {
            let upstream = self.upstream[at];
            // A node that comes back may lack log of before: who comes from the branch of before has to get
            // that elsewhere.
            let first = if new.contains(&upstream) { self.primary } else { upstream };
            if !self.out.contains(&at) {
                self.point(at, first);
                if !self.follows(at, first) {
                    self.story.push(format!("s{at} is left behind"));
                    self.met.left_behind += 1;
                    self.leave(at);
                }
            }
            if self.out.remove(&at) {
                self.come_back(at)?;
            }
            self.point(at, upstream);
            if !self.follows(at, upstream) {
                return Err(format!("s{at} is left behind by its own branch; {:?}", self.story));
            }
        }
        Ok(())
    }

    /// Rewinds a node that is out, and starts it.
    fn come_back(&mut self, at: usize) -> Result<(), String> {
        let mut rewind = plimsoll();
        rewind.args(["rewind", "--source", &self.nodes[self.primary].conninfo(), "-D"]);
        rewind.arg(self.nodes[at].data());
        for _ in 0..self.rng.usize(..3) {
            self.interrupt(&mut rewind, at)?;
        }
        let outcome = run(&mut rewind);
        if outcome.code != 0 {
            return Err(format!("the rewind of s{at} fails: {outcome:?}; {:?}", self.story));
        }
        self.met.rewinds += 1;
        // What it said on its old branch counts no more.
        let _ = std::fs::remove_file(self.nodes[at].log_path());
        self.nodes[at].start();
        Ok(())
    }

    /// Kills a rewind at a random moment, and starts the server if it has left the directory halfway.
    fn interrupt(&mut self, rewind: &mut Command, at: usize) -> Result<(), String> {
        let mut child = rewind.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        // The moment itself, which nothing has to happen before.
        std::thread::sleep(Duration::from_millis(self.rng.u64(..120)));
        child.kill().expect("a signal, or it has ended");
        child.wait().expect("it ends");
        self.met.killed += 1;
        if !self.nodes[at].data().join("plimsoll.rewind").exists() {
            return Ok(());
        }
        self.met.halfway += 1;
        let started = self.nodes[at].try_start();
        if started.code == 0 {
            return Err(format!("s{at} starts although its rewind was killed; {:?}", self.story));
        }
        Ok(())
    }

    /// Ends a node that is to be rewound.
    fn leave(&mut self, at: usize) {
        self.nodes[at].kill_9();
        self.met.cuts += self.nodes[at].log().matches("cut log from").count();
        self.out.insert(at);
    }

    fn point(&self, at: usize, upstream: usize) {
        let change = format!("SET primary_conninfo = '{}'", self.nodes[upstream].conninfo());
        self.nodes[at].session().alter(&change).expect("a setting");
    }

    /// Waits until a standby streams, or says that it cannot.
    fn follows(&self, at: usize, upstream: usize) -> bool {
        let (node, mut wire) = (&self.nodes[at], self.nodes[upstream].session());
        let timeline = Branch::of(&self.nodes[self.primary]).timeline();
        let sql = format!(
            "SELECT count(*) FROM pg_stat_replication WHERE application_name = 's{at}' AND state = 'streaming'"
        );
        wait_until("a standby follows or cannot", LIMIT, || {
            let streams = value(&mut wire, &sql) == "1" && Branch::of(node).timeline() == timeline;
            let log = node.log();
            match (streams, LEFT_BEHIND.iter().any(|why| log.contains(why))) {
                (true, _) => Ok(true),
                (_, true) => Ok(false),
                _ => Err(format!("s{at} of {:?}; {:?}", self.upstream, self.story)),
            }
        })
    }

    /// Promotes a standby which has all that was promised.
    fn fail_over(&mut self) -> Result<(), String> {
        let standbys: Vec<usize> = self.standbys().collect();
        let reached: BTreeMap<usize, (u32, u64)> =
            standbys.iter().map(|at| (*at, self.settle(*at))).collect();
        let safe = |at: &usize| {
            self.quorums.iter().filter(|quorum| !quorum.standbys.is_empty()).all(|quorum| {
                let further = quorum.standbys.iter().filter(|other| reached.get(other) > reached.get(at));
                further.count() < quorum.count
            })
        };
        let safe: Vec<usize> = standbys.into_iter().filter(safe).collect();
        let next = safe[self.rng.usize(..safe.len())];
        self.story
            .push(format!("s{} is killed: {reached:x?}, safe {safe:?}, s{next} promoted", self.primary));
        let old = std::mem::replace(&mut self.primary, next);
        self.met.cuts += self.nodes[old].log().matches("cut log from").count();
        self.out.insert(old);
        self.choose_upstreams();
        self.quorums.clear();
        let quorum = self.choose_quorum();
        let mut wire = self.nodes[next].session();
        // Names that were there before the promotion, or that come by a reload after it.
        let early = self.rng.bool();
        if early {
            self.name(&mut wire, quorum.clone());
        }
        ask(&mut wire, "SELECT pg_promote()");
        if !early {
            self.name(&mut wire, quorum);
        }
        self.met.failovers += 1;
        self.met.partial += usize::from(Branch::of(&self.nodes[next]).fork() < reached[&next].1);
        if self.rng.u8(..4) == 0 { self.look_at_the_old(old) } else { Ok(()) }
    }

    /// Waits until a standby without its primary has redone what it has. Timeline and position.
    fn settle(&self, at: usize) -> (u32, u64) {
        let (mut wire, mut last) = (self.nodes[at].session(), None);
        let mut stream = Wire::replication(&self.nodes[at].socket()).expect("a session");
        wait_until("a standby without a primary is at rest", LIMIT, || {
            let sql = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'";
            let streams = value(&mut wire, sql) != "0" && self.upstream[at] == self.primary;
            let row = ask(&mut stream, "IDENTIFY_SYSTEM").rows.swap_remove(0);
            let reached = (row[1].parse().expect("a timeline"), parse_lsn(&row[2]).expect("a position"));
            let now = (reached, position(&mut wire, "SELECT pg_last_wal_replay_lsn()"));
            if !streams && last.replace(now) == Some(now) { Ok(reached) } else { Err(format!("{now:x?}")) }
        })
    }

    /// The old primary comes back by mistake: nobody follows it, so it can acknowledge nothing that waits for
    /// standbys.
    fn look_at_the_old(&mut self, old: usize) -> Result<(), String> {
        for at in self.standbys().filter(|at| *at != old) {
            // Not to the old one any more; to which of the others is settled when they follow.
            let primary = self.nodes[self.primary].conninfo();
            self.point(at, self.primary);
            let mut streams = self.nodes[at].session();
            let sql = "SELECT setting FROM pg_settings WHERE name = 'primary_conninfo'";
            wait_until("the reload is done", LIMIT, || match value(&mut streams, sql) {
                now if now == primary => Ok(()),
                now => Err(now),
            });
        }
        self.nodes[old].start();
        let mut wire = self.nodes[old].session();
        self.met.old_primaries += 1;
        if value(&mut wire, "SHOW synchronous_standby_names").is_empty() {
            self.nodes[old].kill_9();
            return Ok(());
        }
        let insert = format!("INSERT INTO t VALUES ({}, 'lost')", self.told.next_id());
        let answer = wire
            .query("SET synchronous_commit = on; SET statement_timeout = '200ms'")
            .and_then(|_| wire.query(&insert));
        self.nodes[old].kill_9();
        if is_acknowledged(&answer) {
            return Err(format!("the old primary s{old} acknowledges; {:?}", self.story));
        }
        Ok(())
    }

    fn run(mut self) -> Result<Met, String> {
        let mut wire = self.nodes[0].session();
        let quorum = self.choose_quorum();
        self.name(&mut wire, quorum);
        drop(wire);
        for _ in 0..FAILOVERS {
            self.round(true)?;
            self.fail_over()?;
        }
        self.round(false)?;
        // Who streams from another standby is stopped before that one.
        let mut standbys: Vec<usize> = self.standbys().collect();
        standbys.sort_by_key(|at| self.upstream[*at] == self.primary);
        let others: Vec<&Node> = standbys.iter().map(|at| &self.nodes[*at]).collect();
        assert_all_equal_after_stop(&self.nodes[self.primary], &others);
        self.start_all();
        let found = ids(&mut self.nodes[self.primary].session());
        self.look_for_lost(&found)?;
        let large = check_large(&mut self.nodes[self.primary].session())?;
        for at in standbys {
            let mut wire = self.nodes[at].session();
            let there = (ids(&mut wire), check_large(&mut wire)?);
            assert!(there == (found.clone(), large.clone()), "s{at} shows other rows; {:?}", self.story);
            self.met.cuts += self.nodes[at].log().matches("cut log from").count();
        }
        Ok(self.met)
    }
}

fn ids(wire: &mut Wire<UnixStream>) -> BTreeSet<u64> {
    ask(wire, "SELECT id FROM t").rows.iter().map(|row| row[0].parse().expect("a number")).collect()
}

/// Large values of the rows that say so, each in the transaction of its row; returns their numbers.
fn check_large(wire: &mut Wire<UnixStream>) -> Result<BTreeSet<String>, String> {
    let mut of = |sql: &str| -> BTreeSet<String> {
        ask(wire, sql).rows.into_iter().map(|mut row| row.swap_remove(0)).collect()
    };
    let (rows, values) = (of("SELECT id FROM t WHERE filler = 'large'"), of("SELECT id FROM large"));
    let halves: Vec<&String> = rows.symmetric_difference(&values).collect();
    if halves.is_empty() { Ok(rows) } else { Err(format!("halves of transactions are there: {halves:?}")) }
}

/// Ends the clients, however the round ends.
struct EndOnDrop<'a> {
    told: &'a Told,
    /// The primary, on which a client may wait for ever if the test fails.
    pid: Option<nix::unistd::Pid>,
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.told.stop.store(true, Ordering::SeqCst);
        if let Some(pid) = self.pid.filter(|_| std::thread::panicking()) {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

#[test]
fn five_failovers_in_a_row_lose_no_acknowledged_commit() {
    let seed = seed();
    let origin = Origin::new();
    let count = variable("PLIMSOLL_CHAINS").unwrap_or(if is_long() { 200 } else { 10 });
    let mut numbers: Vec<usize> = (0..usize::try_from(count).expect("a number of chains")).collect();
    if let Some(number) = variable("PLIMSOLL_CHAIN") {
        numbers = vec![usize::try_from(number).expect("a number of a chain")];
    }
    let began = std::time::Instant::now();
    let (passed, failed) =
        run_chains(&numbers, |number| Chain::new(&origin, seed.wrapping_add(number as u64)).run());
    let mut sum = Met::default();
    for met in &passed {
        for (level, count) in &met.acknowledged {
            *sum.acknowledged.entry(level).or_default() += count;
        }
        sum.failovers += met.failovers;
        sum.changed_names += met.changed_names;
        sum.left_behind += met.left_behind;
        sum.rewinds += met.rewinds;
        sum.killed += met.killed;
        sum.halfway += met.halfway;
        sum.cuts += met.cuts;
        sum.partial += met.partial;
        sum.old_primaries += met.old_primaries;
    }
    eprintln!("{} of {} chains passed in {:.0?}: {sum:?}", passed.len(), numbers.len(), began.elapsed());
    assert!(failed.is_empty(), "{} of {} chains failed:\n{}", failed.len(), numbers.len(), failed.join("\n"));
}
