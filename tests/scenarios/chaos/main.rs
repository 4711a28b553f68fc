//! Faults of networks and processes under load, one round after the other: no acknowledged commit is missing
//! where it was acknowledged for, nobody waits for more than the level asks for, memory stays bounded, and
//! all nodes end up equal.
//!
//! The nodes are on hosts of their own (network namespaces); the clients come over Unix sockets, which no
//! fault reaches. `PLIMSOLL_SEED` replays a run's choices, `PLIMSOLL_CHAOS_ROUNDS` changes their number.

mod audit;
mod fleet;
mod writers;

use audit::Holding;
use fleet::{Fleet, LIMIT, Memory, STANDBYS, Trouble};
use scenarios::network::namespaces_refused;
use scenarios::wire::{Wire, parse_lsn};
use scenarios::{Node, Quorum, assert_all_equal_after_stop, variable, wait_until};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use writers::{Ack, CLIENTS, LOCAL_CLIENT, Level, Told, Written};

/// Rounds after which all nodes are stopped and compared.
const ROUNDS_A_LEG: usize = 50;
/// Commits that each client must get while the standbys that are left are enough.
const ENOUGH: u64 = 10;

struct Chaos {
    fleet: Fleet,
    rng: fastrand::Rng,
    /// The kinds that are still to come before each comes again.
    deck: Vec<Trouble>,
    quorums: Vec<Quorum>,
    /// Up to where each standby's files were seen to have the primary's log.
    seen: [u64; STANDBYS],
    /// Longest that a fault is held, beyond what has to happen during it.
    hold_ms: u64,
    /// How much log comes while a client does not read: the longest is more than a node may hold in memory.
    bursts_megabytes: &'static [usize],
    memory: Memory,
    counts: BTreeMap<String, usize>,
    commits: BTreeMap<Level, usize>,
    audited: usize,
}

#[test]
fn no_fault_of_network_or_process_loses_a_commit_or_stalls_more_than_its_level() {
    if let Some(reason) = namespaces_refused() {
        panic!("this test makes network namespaces, which needs root and iproute2 and nftables: {reason}");
    }
    let long = variable("PLIMSOLL_LONG_TESTS") == Some(1);
    let rounds =
        variable("PLIMSOLL_CHAOS_ROUNDS").map_or(if long { 200 } else { 11 }, |count| count as usize);
    let seed = variable("PLIMSOLL_SEED").unwrap_or_else(|| if long { fastrand::u64(..) } else { 5 });
    eprintln!("PLIMSOLL_SEED={seed}");
    let began = Instant::now();
    let mut chaos = Chaos {
        fleet: Fleet::new(),
        rng: fastrand::Rng::with_seed(seed),
        deck: Vec::new(),
        quorums: vec![Quorum::default()],
        seen: [0; STANDBYS],
        hold_ms: if long { 4000 } else { 300 },
        bursts_megabytes: if long { &[32, 64, 256] } else { &[16] },
        memory: Memory::default(),
        counts: BTreeMap::new(),
        commits: BTreeMap::new(),
        audited: 0,
    };
    // A standby has the log from its clone on.
    let begin = chaos.fleet.primary.sql("SELECT pg_current_wal_flush_lsn()");
    chaos.seen = [parse_lsn(&begin).expect("a position"); STANDBYS];
    let mut written = vec![Written::default(); CLIENTS.len()];
    let mut done = 0;
    while done < rounds {
        let leg = ROUNDS_A_LEG.min(rounds - done);
        written = chaos.leg(done, leg, written);
        done += leg;
        chaos.compare(&written, done < rounds);
    }
    let peaks: Vec<u64> = chaos.memory.peaks.iter().map(|peak| peak.load(Ordering::SeqCst) >> 20).collect();
    eprintln!(
        "{rounds} rounds in {:.0?}: {:?}\ncommits told {:?}, {} of them checked against a quorum\n\
         RssAnon at most {peaks:?} MB in {} samples",
        began.elapsed(),
        chaos.counts,
        chaos.commits,
        chaos.audited,
        chaos.memory.samples.load(Ordering::SeqCst)
    );
}

impl Chaos {
    /// Rounds under load, without a stop of all.
    fn leg(&mut self, first: usize, rounds: usize, written: Vec<Written>) -> Vec<Written> {
        let told = Told::default();
        let current = self.quorums.len() - 1;
        told.applied.store(current, Ordering::SeqCst);
        told.issued.store(current, Ordering::SeqCst);
        let (socket, folders) =
            (self.fleet.primary.socket(), self.fleet.nodes().map(Node::data).collect::<Vec<_>>());
        let memory = std::mem::take(&mut self.memory);
        let watched = AtomicBool::new(false);
        let seeds: Vec<u64> = CLIENTS.iter().map(|_| self.rng.u64(..)).collect();
        let written = std::thread::scope(|scope| {
            // However the rounds end, nobody goes on.
            let _stop = StopOnDrop([&told.stop, &watched]);
            scope.spawn(|| memory.watch(&folders, &watched));
            let writers: Vec<_> = written
                .into_iter()
                .zip(seeds)
                .enumerate()
                .map(|(client, (written, seed))| {
                    let (told, socket) = (&told, &socket);
                    scope.spawn(move || writers::write(client, socket, told, seed, written))
                })
                .collect();
            for round in first..first + rounds {
                self.round(round, &told);
                memory.check();
            }
            told.stop.store(true, Ordering::SeqCst);
            writers.into_iter().map(|writer| writer.join().expect("a writer")).collect()
        });
        self.audit(&told, &[]);
        self.memory = memory;
        written
    }

    fn round(&mut self, number: usize, told: &Told) {
        let quorum = self.choose_quorum();
        self.quorums.push(quorum.clone());
        told.issued.store(self.quorums.len() - 1, Ordering::SeqCst);
        self.fleet.set_quorum(&quorum);
        told.applied.store(self.quorums.len() - 1, Ordering::SeqCst);

        let troubles = self.choose_troubles();
        let began = Instant::now();
        eprintln!("round {number}: '{}', {troubles:?}", quorum.setting());
        for trouble in &troubles {
            let burst = self.bursts_megabytes[self.rng.usize(..self.bursts_megabytes.len())];
            self.fleet.begin(*trouble, burst);
            let name = format!("{trouble:?}");
            let kind = name.split(['(', ' ']).next().unwrap_or_default().to_owned();
            *self.counts.entry(kind).or_default() += 1;
        }
        if !troubles.iter().any(|trouble| trouble.takes_the_primary()) {
            let left = |at| !troubles.iter().any(|trouble| trouble.victim() == Some(at));
            wait_for_commits(told, ENOUGH, quorum.is_met(left));
        }
        // How long a fault lasts, which is part of it.
        std::thread::sleep(Duration::from_millis(self.rng.u64(self.hold_ms / 4..self.hold_ms)));
        self.audit(told, &troubles);
        let during = began.elapsed();
        self.fleet.heal(&troubles);
        wait_for_commits(told, 1, true);
        self.converge();
        let surprises = told.surprises.lock().expect("no writer panics");
        assert!(surprises.is_empty(), "{surprises:?}");
        eprintln!("  {during:.1?}, healed after {:.1?}", began.elapsed());
    }

    fn choose_quorum(&mut self) -> Quorum {
        let mut standbys: Vec<usize> = (0..STANDBYS).collect();
        self.rng.shuffle(&mut standbys);
        match self.rng.u8(..10) {
            0 => Quorum::default(),
            1..=5 => Quorum { first: false, count: 1 + self.rng.usize(..2), standbys },
            6..=8 => Quorum { first: true, count: 1 + self.rng.usize(..2), standbys },
            _ => Quorum { first: self.rng.bool(), count: STANDBYS, standbys },
        }
    }

    /// One of each kind in turn, and now and then a second standby that has trouble of its own.
    fn choose_troubles(&mut self) -> Vec<Trouble> {
        if self.deck.is_empty() {
            self.deck = Trouble::each(0);
            self.rng.shuffle(&mut self.deck);
        }
        let at = self.rng.usize(..STANDBYS);
        let kind = self.deck.pop().expect("a full deck");
        let same = |trouble: &Trouble| std::mem::discriminant(trouble) == std::mem::discriminant(&kind);
        let first = if kind.victim().is_some() {
            Trouble::each(at).into_iter().find(same).expect("one of each")
        } else {
            kind
        };
        let mut troubles = vec![first];
        if self.rng.u8(..3) == 0 {
            let other = (at + 1 + self.rng.usize(..STANDBYS - 1)) % STANDBYS;
            let all: Vec<Trouble> =
                Trouble::each(other).into_iter().filter(|trouble| trouble.victim().is_some()).collect();
            troubles.push(all[self.rng.usize(..all.len())]);
        }
        troubles
    }

    /// Checks all that was told since the last time against what the standbys hold now.
    fn audit(&mut self, told: &Told, troubles: &[Trouble]) {
        // Told first, looked at second: what a standby has come to hold meanwhile proves nothing, what it
        // lacks does.
        let acks: Vec<Ack> = std::mem::take(&mut *told.acks.lock().expect("no writer panics"));
        let end = acks.iter().map(|ack| ack.lsn).max().unwrap_or(0);
        let holdings: Vec<Holding> = (0..STANDBYS)
            .map(|at| {
                let answers = !troubles.iter().any(|trouble| trouble.silences(at));
                let standby = &self.fleet.standbys[at];
                let holding = audit::look(&self.fleet.primary, standby, answers, self.seen[at], end);
                self.seen[at] = holding.on_disk;
                holding
            })
            .collect();
        self.audited +=
            audit::check(&acks, &holdings, &self.quorums).unwrap_or_else(|missing| panic!("{missing}"));
        for ack in &acks {
            *self.commits.entry(ack.level).or_default() += 1;
        }
    }

    /// Waits until each standby streams and has replayed what the primary has now.
    fn converge(&self) {
        let mut session = self.fleet.session();
        let mut value = |sql: &str| {
            let answer = session.query(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            answer.rows.first().map(|row| row[0].clone()).unwrap_or_default()
        };
        wait_until("each standby streams", LIMIT, || {
            let sql = "SELECT string_agg(application_name || ' ' || state, ', ') FROM \
                       (SELECT application_name, state FROM pg_stat_replication ORDER BY 1) AS senders";
            match value(sql) {
                all if all == "s0 streaming, s1 streaming, s2 streaming" => Ok(()),
                other => Err(other),
            }
        });
        let end = value("SELECT pg_current_wal_flush_lsn()");
        for standby in &self.fleet.standbys {
            let mut wire = Wire::unix(&standby.socket()).expect("a standby takes a session");
            wait_until("a standby has caught up", LIMIT, || {
                let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{end}', pg_last_wal_replay_lsn()");
                let answer = wire.query(&sql).map_err(|error| format!("{error:?}"))?;
                if answer.rows[0][0] == "t" { Ok(()) } else { Err(format!("{} of {end}", answer.rows[0][1])) }
            });
        }
    }

    /// Compares what each node has with what the clients were told, and all their files.
    fn compare(&self, written: &[Written], go_on: bool) {
        let began = Instant::now();
        self.converge();
        for node in self.fleet.nodes() {
            let mut wire = Wire::unix(&node.socket()).expect("a session");
            for (client, written) in written.iter().enumerate() {
                let mut numbers = |sql: String| -> Vec<u64> {
                    let answer = wire.query(&sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
                    answer.rows.iter().map(|row| row[0].parse().expect("a number")).collect()
                };
                let rows =
                    numbers(format!("SELECT sequence FROM log WHERE client = {client} ORDER BY sequence"));
                look_for_lost(&rows, written).unwrap_or_else(|lost| panic!("client {client}: {lost}"));
                let counted = numbers(format!("SELECT n FROM counters WHERE client = {client}"));
                let counts = if client == LOCAL_CLIENT { 0 } else { rows.len() as u64 };
                assert_eq!(counted, [counts], "client {client}: half a transaction is there");
            }
        }
        let standbys: Vec<&Node> = self.fleet.standbys.iter().collect();
        assert_all_equal_after_stop(&self.fleet.primary, &standbys);
        if go_on {
            self.fleet.nodes().for_each(Node::start);
            self.converge();
        }
        eprintln!("all nodes equal, compared in {:.1?}", began.elapsed());
    }
}

/// Waits until each client was told of so many more commits, or only the one that waits for no standby.
fn wait_for_commits(told: &Told, enough: u64, all: bool) {
    let before = told.progress();
    wait_until("commits go on", LIMIT, || {
        let now = told.progress();
        let stuck: Vec<usize> = (0..CLIENTS.len())
            .filter(|client| all || *client == LOCAL_CLIENT)
            .filter(|client| now[*client] < before[*client] + enough)
            .collect();
        if stuck.is_empty() { Ok(()) } else { Err(format!("clients {stuck:?} wait: {before:?}, {now:?}")) }
    });
}

/// Whether the rows are those that were told, and of the others only such as are in doubt.
fn look_for_lost(rows: &[u64], written: &Written) -> Result<(), String> {
    let mut expected = 1..=written.last;
    for row in rows {
        loop {
            match expected.next() {
                Some(next) if next == *row => break,
                Some(next) if written.in_doubt.contains(&next) => {}
                Some(next) => return Err(format!("{next} was told and is not there")),
                None => return Err(format!("{row} was never written")),
            }
        }
    }
    match expected.find(|next| !written.in_doubt.contains(next)) {
        Some(next) => Err(format!("{next} was told and is not there")),
        None => Ok(()),
    }
}

#[test]
fn what_was_told_and_is_gone_is_found() {
    let written = Written { last: 5, in_doubt: [2, 5].into() };
    for rows in [&[1, 2, 3, 4, 5][..], &[1, 3, 4], &[1, 3, 4, 5]] {
        assert_eq!(look_for_lost(rows, &written), Ok(()));
    }
    for rows in [&[1, 2, 3][..], &[2, 3, 4], &[1, 2, 4, 5], &[1, 3, 4, 6]] {
        assert!(look_for_lost(rows, &written).is_err(), "{rows:?}");
    }
}

struct StopOnDrop<'a>([&'a AtomicBool; 2]);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        for flag in self.0 {
            flag.store(true, Ordering::SeqCst);
        }
    }
}
