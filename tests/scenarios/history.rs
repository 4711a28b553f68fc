//! The history check: clients on a primary and two standbys, and one order of commits that explains all that
//! they read.
//!
//! `simulator::history::registers` says what is checked; its tests, and the planted bug in
//! `storage/src/tests/history.rs`, show what it finds. `PLIMSOLL_SEED` replays the clients' choices, though
//! not their timing.

use scenarios::wire::{Wire, WireError, parse_lsn};
use scenarios::{Node, wait_until};
use simulator::history::registers::{
    Client, Kind, Operation, REGISTERS, Values, Violation, check, check_kept,
};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 6;
/// Longer than any wait in here lasts on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);
const LOOK: &str = "SELECT v FROM registers ORDER BY k";

/// A primary whose commits wait for `anchor`, and a standby that nobody waits for.
fn fleet() -> [Node; 3] {
    let primary = Node::builder().setting("max_wal_size", "256MB").start();
    primary.sql("CREATE TABLE registers (k int PRIMARY KEY, v bigint NOT NULL)");
    primary.sql(&format!("INSERT INTO registers SELECT g, 0 FROM generate_series(0, {}) g", REGISTERS - 1));
    let standby = |name: &str| Node::builder().setting("cluster_name", name).clone_from(&primary);
    let (anchor, other) = (standby("anchor"), standby("other"));
    primary.alter("SET synchronous_standby_names = 'FIRST 1 (anchor)'");
    let sql = "SELECT string_agg(sync_state, ' ') FROM (SELECT sync_state FROM pg_stat_replication ORDER BY 1) AS s";
    wait_until("both stream", LIMIT, || match primary.sql(sql) {
        states if states == "async sync" => Ok(()),
        states => Err(states),
    });
    [primary, anchor, other]
}

/// What ends the clients.
struct Run<'f> {
    nodes: &'f [Node],
    levels: &'f [&'f str],
    /// plimsoll.standby_reads of each session.
    standby_reads: &'f str,
    /// How long a standby may take for what a token asks for; 0 for ever.
    read_timeout_ms: u32,
    /// Whether nodes are killed meanwhile.
    may_go: bool,
    /// Operations that are left to do.
    left: AtomicI64,
    stop: AtomicBool,
}

/// A client with a session on each node.
struct Talker<'f> {
    run: &'f Run<'f>,
    wires: Vec<Wire<UnixStream>>,
    rng: fastrand::Rng,
    /// The newest token that it was given, with its position.
    token: (u64, String),
    done: Client,
}

fn text(values: Vec<Vec<String>>) -> Vec<u32> {
    values.iter().map(|row| row[0].parse().expect("a number")).collect()
}

impl<'f> Talker<'f> {
    fn connect(run: &'f Run<'f>, seed: u64) -> Self {
        let connect = |(at, node): (usize, &Node)| {
            let mut wire = Wire::unix(&node.socket()).expect("a session");
            wire.query("SET plimsoll.report_commit_lsn = on").expect("a setting");
            wire.query(&format!("SET plimsoll.standby_reads = {}", run.standby_reads)).expect("a setting");
            if at > 0 {
                wire.query(&format!("SET statement_timeout = {}", run.read_timeout_ms)).expect("a setting");
            }
            wire
        };
        let wires = run.nodes.iter().enumerate().map(connect).collect();
        Self { run, wires, rng: fastrand::Rng::with_seed(seed), token: (0, String::new()), done: Vec::new() }
    }

    /// Works until the operations are done, or the primary is gone and it is told to stop.
    fn work(mut self) -> Client {
        let mut gone = vec![false; self.wires.len()];
        while !self.run.stop.load(Ordering::SeqCst) && self.run.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            let writes = self.rng.u8(..100) < 35;
            let node = if writes { 0 } else { self.rng.usize(..self.wires.len()) };
            if gone[node] {
                std::thread::yield_now();
                continue;
            }
            match if writes { self.write() } else { self.read(node) } {
                Ok(()) => {}
                // What it remembers cannot be confirmed without the primary.
                Err(WireError::Refused(state, _)) if node > 0 && state == "57014" => {}
                Err(WireError::Gone(_)) if self.run.may_go => gone[node] = true,
                Err(error) => panic!("node {node}: {error:?}"),
            }
        }
        self.done
    }

    fn keep(&mut self, token: &str) -> u64 {
        let at = token.split_once(':').and_then(|(_, lsn)| parse_lsn(lsn)).expect("a token");
        if at > self.token.0 {
            self.token = (at, token.to_owned());
        }
        at
    }

    /// Adds one to a few registers in one transaction.
    fn write(&mut self) -> Result<(), WireError> {
        let mut registers: Vec<u8> =
            (0..1 + self.rng.usize(..3)).map(|_| self.rng.u8(..REGISTERS as u8)).collect();
        // In order, so that transactions never deadlock.
        registers.sort_unstable();
        registers.dedup();
        let level = self.run.levels[self.rng.usize(..self.run.levels.len())];
        let updates: String = registers
            .iter()
            .map(|register| format!("UPDATE registers SET v = v + 1 WHERE k = {register} RETURNING v;"))
            .collect();
        let wire = &mut self.wires[0];
        wire.commit_token = None;
        let answer =
            wire.query(&format!("BEGIN; SET LOCAL synchronous_commit = {level}; {updates} COMMIT"))?;
        assert!(answer.warnings.is_empty(), "{:?}", answer.warnings);
        let token = wire.commit_token.take().expect("a commit reports its token");
        let at = self.keep(&token);
        let wrote = registers.into_iter().zip(text(answer.rows)).collect();
        self.done.push(Operation::Write { at, wrote });
        Ok(())
    }

    /// Looks at all registers on a node, as of the newest token at least.
    fn read(&mut self, node: usize) -> Result<(), WireError> {
        let (after, token) = self.token.clone();
        let wire = &mut self.wires[node];
        let answer = if token.is_empty() {
            wire.query(LOOK)?
        } else if self.rng.bool() {
            wire.query(&format!("SET plimsoll.read_after = '{token}'; {LOOK}"))?
        } else {
            wire.query(&format!("WAIT FOR LSN '{token}'"))?;
            wire.query(LOOK)?
        };
        let seen = wire.snapshot_token.clone().expect("a snapshot reports its token");
        let at = self.keep(&seen);
        let values = text(answer.rows).try_into().expect("all registers");
        self.done.push(Operation::Read { node: node as u8, after, at, values });
        Ok(())
    }
}

/// Ends the clients if what runs beside them fails; they would be waited for without an end.
struct EndsIfItPanics<'s>(&'s AtomicBool);

impl Drop for EndsIfItPanics<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

impl Run<'_> {
    /// Lets the clients work, while `meanwhile` runs. Returns what they did.
    fn go(&self, seed: u64, meanwhile: impl FnOnce()) -> Vec<Client> {
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| Talker::connect(self, seed.wrapping_add(client as u64)))
                .map(|talker| scope.spawn(move || talker.work()))
                .collect();
            let ending = EndsIfItPanics(&self.stop);
            meanwhile();
            drop(ending);
            clients.into_iter().map(|client| client.join().expect("a client")).collect()
        })
    }
}

fn is_long() -> bool {
    std::env::var("PLIMSOLL_LONG_TESTS").is_ok_and(|value| value == "1")
}

fn seed() -> u64 {
    let given = std::env::var("PLIMSOLL_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("PLIMSOLL_SEED={seed}");
    seed
}

fn passes<T>(checked: Result<T, Violation>) -> T {
    checked.unwrap_or_else(|violation| panic!("{violation}"))
}

#[test]
fn one_order_of_commits_explains_all_that_clients_read_on_three_nodes() {
    let began = Instant::now();
    let nodes = fleet();
    let run = Run {
        nodes: &nodes,
        levels: &["local", "remote_write", "on", "remote_apply"],
        standby_reads: "replayed",
        read_timeout_ms: 0,
        may_go: false,
        left: AtomicI64::new(if is_long() { 1_000_000 } else { 24_000 }),
        stop: AtomicBool::new(false),
    };
    let history = run.go(seed(), || ());
    let ran = began.elapsed();
    let operations = passes(check(&history));
    let reads = |wanted: u8| {
        let from = |done: &&Operation| matches!(done, Operation::Read { node, .. } if *node == wanted);
        history.iter().flatten().filter(from).count()
    };
    eprintln!(
        "{operations} operations in {ran:.1?}: {} writes, and {:?} reads of the three nodes; checked in {:.1?}",
        operations - (0..3).map(reads).sum::<usize>(),
        [reads(0), reads(1), reads(2)],
        began.elapsed() - ran
    );

    // The control: one stale read of a real history is found.
    let mut stale = history;
    let last = stale[0].iter().rposition(|done| matches!(done, Operation::Read { .. })).expect("a read");
    if let Operation::Read { values, .. } = &mut stale[0][last] {
        let busiest = values.iter_mut().max().expect("registers");
        *busiest -= 1;
    }
    assert!(check(&stale).is_err());
}

#[test]
fn nothing_that_was_read_anywhere_is_lost_by_a_failover_to_the_quorum() {
    let seed = seed();
    let (rounds, operations) = if is_long() { (12, 8000) } else { (3, 3000) };
    let took = (0..rounds).filter(|round| failover(seed.wrapping_add(1000 * round), operations)).count();
    assert!(took > 0, "no failover took anything that a standby showed, so nothing was tried");
}

/// What a node shows now.
fn look(node: &Node) -> Values {
    let mut wire = Wire::unix(&node.socket()).expect("a session");
    text(wire.query(LOOK).expect("a look").rows).try_into().expect("all registers")
}

/// Kills the primary under load, while the other standby is ahead of what the quorum has, and promotes the
/// quorum's. Whether anything was lost that nobody had been told of.
fn failover(seed: u64, operations: i64) -> bool {
    let nodes = fleet();
    let [primary, anchor, other] = &nodes;
    // Of no weaker level: what waits for no standby may go with the primary.
    let run = Run {
        nodes: &nodes,
        levels: &["remote_write", "on", "remote_apply"],
        standby_reads: "confirmed",
        read_timeout_ms: 1000,
        may_go: true,
        left: AtomicI64::new(i64::MAX),
        stop: AtomicBool::new(false),
    };
    let mut ahead = [0; REGISTERS];
    let mut history = run.go(seed, || {
        let done = || i64::MAX - run.left.load(Ordering::SeqCst);
        wait_until("operations are done", LIMIT, || {
            if done() > operations { Ok(()) } else { Err(done().to_string()) }
        });
        anchor.kill_9();
        // All who write wait now, for the standby or for one who does, and what they wrote is on the other
        // standby.
        let stuck = "SELECT wait_event, count(*) FROM pg_stat_activity \
            WHERE wait_event IN ('SyncRep', 'CommitVisible', 'tuple') GROUP BY 1";
        wait_until("writers wait", LIMIT, || {
            let found = primary.sql(stuck);
            let waits: usize =
                found.lines().filter_map(|line| line.rsplit('|').next()?.parse::<usize>().ok()).sum();
            if found.contains("SyncRep") && waits == CLIENTS { Ok(()) } else { Err(found) }
        });
        let end = primary.sql("SELECT pg_current_wal_flush_lsn()");
        other.wait_replayed(&end);
        ahead = look(other);
        primary.kill_9();
        anchor.start();
        assert_eq!(anchor.sql("SELECT pg_promote()"), "t");
        run.stop.store(true, Ordering::SeqCst);
    });
    let left = look(anchor);
    let operations = passes(check(&history));
    passes(check_kept(&history, &left));
    // The control: a read of what is replayed saw what the failover took away, unless the anchor had it and
    // could not say so any more.
    let plain = Operation::Read { node: 2, after: 0, at: 0, values: ahead };
    let lost = check_kept(&[vec![plain]], &left).err().map(|violation| violation.kind);
    assert!(lost.is_none_or(|kind| kind == Kind::Lost), "{lost:?}: {ahead:?}, {left:?}");

    // The clients go on with the new primary, and with what they remember.
    let promoted = std::slice::from_ref(anchor);
    let next = Run { nodes: promoted, left: AtomicI64::new(500), stop: AtomicBool::new(false), ..run };
    for (client, more) in history.iter_mut().zip(next.go(seed ^ 1, || ())) {
        client.extend(more);
    }
    passes(check(&history));
    let took_something = lost.is_some();
    eprintln!(
        "a failover under load: {operations} operations, nothing that was read is lost; in doubt and lost: {took_something}"
    );
    took_something
}
