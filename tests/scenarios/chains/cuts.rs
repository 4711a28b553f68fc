//! A primary that dies after a chosen byte of its log, and the two failovers after that.
//!
//! ```text
//!   P ----cut----> A --------> S        (with a cascade)     P ----cut----> A
//!                                                            P ----cut----> S     (without)
//!   1. A and S have P's log up to the cut, of which the last part need not be a whole record. P is gone.
//!   2. A is promoted, S follows it and is made its synchronous standby. Commits are acknowledged.
//!   3. A is killed, S is promoted: it has what was acknowledged, and what A showed.
//! ```
//!
//! One primary with a small log of all kinds of records serves all chains; it never dies, but is cut off by
//! [`LogCut`]. `PLIMSOLL_CHAIN` runs the one chain of this number, with `PLIMSOLL_SEED` as it was printed:
//! `PLIMSOLL_CHAIN=17 cargo nextest run --workspace -E 'test(half_a_record)'`.

use crate::{LEVELS, LIMIT, ask, is_acknowledged, is_long, position, run_chains, seed, value, variable};
use scenarios::wire::{Wire, parse_lsn};
use scenarios::{Branch, LogCut, Node, assert_logs_equal, pg_tool, run_ok, wait_until};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixStream;

/// Cuts inside of records.
const INNER_CUTS: usize = 50;
/// Chains in CI.
const FEW: usize = 10;
/// Commits at the synchronous level, few and short, so that the new branch does not pass where the old log
/// was cut.
const COMMITS: usize = 5;
const ROWS: &str = "SELECT id, md5(filler) FROM t ORDER BY id";

/// All chains have one primary: if it knew their nodes it would tell one which numbers another has taken.
const NOWHERE: (&str, &str) = ("plimsoll.advertised_address", "host=127.0.0.1 port=1");

/// The log that is cut, and a standby that has the part before it.
struct Origin {
    primary: Node,
    standby: Node,
    /// The beginnings of the records after that part, and the end of the last.
    boundaries: Vec<u64>,
}

fn text(seed: u64, length: usize) -> String {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..length).map(|_| rng.alphanumeric()).collect()
}

impl Origin {
    fn new() -> Self {
        let settings = [
            ("wal_keep_size", "64MB"),
            ("checkpoint_timeout", "1h"),
            ("autovacuum", "off"),
            ("wal_retrieve_retry_interval", "20ms"),
            ("plimsoll.write_set_limit", "64kB"),
            NOWHERE,
        ];
        let builder = Node::builder().init_option("--wal-segsize=1");
        let primary = settings.iter().fold(builder, |node, (name, value)| node.setting(name, value)).start();
        let mut wire = primary.session();
        ask(&mut wire, "CREATE TABLE t (id int PRIMARY KEY, filler text)");
        ask(&mut wire, "INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 60) g");
        let standby = Node::builder().setting(NOWHERE.0, NOWHERE.1).clone_from(&primary);
        Self::fill_segment(&mut wire);
        ask(&mut wire, "CHECKPOINT");
        let from = position(&mut wire, "SELECT pg_current_wal_flush_lsn()");
        standby.wait_replayed(&value(&mut wire, "SELECT pg_current_wal_flush_lsn()"));
        standby.stop();
        let end = Self::work(&primary, &mut wire);
        Self { boundaries: boundaries(&primary, from, end), primary, standby }
    }

    /// Writes until a segment's end is near.
    fn fill_segment(wire: &mut Wire<UnixStream>) {
        let left = |wire: &mut _| (1 << 20) - position(wire, "SELECT pg_current_wal_lsn()") % (1 << 20);
        let mut id = 1000;
        while left(wire) > 60_000 {
            let length = usize::try_from(left(wire) - 40_000).expect("a segment").min(20_000);
            ask(wire, &format!("INSERT INTO t VALUES ({id}, '{}')", text(id, length)));
            id += 1;
        }
    }

    /// Some dozens of records: page images, versions, splits, a large transaction that is committed and one
    /// that is open, a segment's end that a record crosses and one by a switch. Returns the end of the log.
    fn work(primary: &Node, wire: &mut Wire<UnixStream>) -> u64 {
        ask(wire, &format!("UPDATE t SET filler = '{}' WHERE id % 9 = 1 AND id < 60", text(1, 60)));
        ask(wire, &format!("INSERT INTO t VALUES (101, '{}')", text(2, 1500)));
        ask(wire, &format!("INSERT INTO t SELECT g, '{}' FROM generate_series(102, 106) g", text(3, 1500)));
        let large = |id: u64| format!("INSERT INTO t VALUES ({id}, '{}')", text(id, 30_000));
        ask(wire, &format!("BEGIN; {}; {}; {}; COMMIT", large(201), large(202), large(203)));
        ask(wire, "DELETE FROM t WHERE id = 7");
        let mut open = primary.session();
        ask(&mut open, &format!("BEGIN; {}; {}; {}", large(301), large(302), large(303)));
        ask(wire, "SELECT pg_switch_wal()");
        ask(wire, &format!("UPDATE t SET filler = '{}' WHERE id = 9", text(4, 80)));
        ask(wire, &format!("UPDATE t SET filler = '{}' WHERE id = 18", text(5, 80)));
        position(wire, "SELECT pg_current_wal_flush_lsn()")
        // The open transaction's abort comes after that, and is no part of the chains.
    }
}

/// The beginnings of the records from `from` on, as pg_waldump has them, and the end.
fn boundaries(primary: &Node, from: u64, end: u64) -> Vec<u64> {
    let lsn = |at: u64| format!("{:X}/{:X}", at >> 32, at & 0xFFFF_FFFF);
    // Without names of files it takes any for the segment size, one that was made ahead too.
    let file = |at| primary.sql(&format!("SELECT pg_walfile_name('{}')", lsn(at)));
    let mut dump = pg_tool("pg_waldump");
    dump.args(["-s", &lsn(from), "-e", &lsn(end)]);
    dump.arg(primary.data().join("pg_wal").join(file(from))).arg(file(end));
    let dump = run_ok(&mut dump);
    let starts = dump.lines().filter_map(|line| {
        let at = line.split_once("lsn: ")?.1.split_once(',')?.0;
        parse_lsn(at)
    });
    let mut boundaries: Vec<u64> = starts.filter(|at| *at > from).collect();
    boundaries.push(end);
    boundaries
}

#[derive(Debug, Clone, Copy)]
struct Cut {
    at: u64,
    /// The cut is in the middle of a record.
    inside: bool,
    cascade: bool,
    level: &'static str,
    /// S is named by a reload after the promotion, and not before it.
    by_reload: bool,
}

impl Origin {
    /// Each boundary and some positions between, with and without a cascade, at each level.
    fn cuts(&self, rng: &mut fastrand::Rng) -> Vec<Cut> {
        let mut at: Vec<(u64, bool)> = self.boundaries.iter().map(|at| (*at, false)).collect();
        for _ in 0..INNER_CUTS {
            // A record first, so that short ones are cut as often as long ones.
            let record = 1 + rng.usize(..self.boundaries.len() - 1);
            let (start, end) = (self.boundaries[record - 1], self.boundaries[record]);
            at.push((rng.u64(start + 1..end), true));
        }
        let mut cuts = Vec::new();
        for (at, inside) in at {
            for cascade in [false, true] {
                for level in LEVELS {
                    cuts.push(Cut { at, inside, cascade, level, by_reload: rng.bool() });
                }
            }
        }
        cuts
    }

    fn run(&self, cut: Cut) -> Result<(), String> {
        let mut way = LogCut::new(self.primary.port(), cut.at);
        let (a, s) = (Node::copy_of(&self.standby), Node::copy_of(&self.standby));
        for (node, name) in [(&a, "a"), (&s, "s")] {
            node.set("cluster_name", name);
        }
        let behind_a = format!("{} sslmode=disable", a.conninfo());
        let cut_off = way.conninfo();
        a.alter_while_stopped("primary_conninfo", &cut_off);
        s.alter_while_stopped("primary_conninfo", if cut.cascade { &behind_a } else { &cut_off });
        if !cut.by_reload {
            a.set("synchronous_standby_names", "s");
        }
        start_both(&a, &s);
        let (mut at_a, mut at_s) = (a.session(), s.session());
        for wire in [&mut at_a, &mut at_s] {
            wait_until("the log up to the cut is there", LIMIT, || {
                match position(wire, "SELECT coalesce(pg_last_wal_receive_lsn(), '0/0')") {
                    at if at >= cut.at => Ok(()),
                    at => Err(format!("{at:x} of {:x}", cut.at)),
                }
            });
        }
        way.end();

        ask(&mut at_a, "SELECT pg_promote()");
        if !cut.cascade {
            at_s.alter(&format!("SET primary_conninfo = '{behind_a}'")).expect("a setting");
        }
        if cut.by_reload {
            at_a.alter("SET synchronous_standby_names = 's'").expect("a setting");
        }
        let told = commit(&mut at_a, cut.level)?;
        let shown = rows(&mut at_a);
        let end = position(&mut at_a, "SELECT pg_current_wal_flush_lsn()");
        a.kill_9();
        ask(&mut at_s, "SELECT pg_promote()");
        let found = rows(&mut at_s);
        check(&told, &shown, &found)?;
        let (second, third) = (Branch::of(&a), Branch::of(&s));
        assert_eq!((second.timeline(), third.timeline()), (2, 3));
        // A record is whole without the padding behind it (up to the segment's end, if it switches): the logs
        // are compared below.
        let most = self.boundaries.iter().find(|end| **end >= cut.at);
        assert!(Some(&second.fork()) <= most, "{second:?} begins behind {most:x?}");
        if second.fork() < cut.at {
            let ledger = fs::read_to_string(a.data().join("plimsoll/ledger")).unwrap_or_default();
            assert!(ledger.contains("cut at the promotion"), "nothing is given up in silence: {ledger}");
        }
        assert_logs_equal(&self.primary, &a, &Branch::of(&self.primary), second.fork());
        assert_logs_equal(&a, &s, &second, third.fork().min(end));

        drop(at_s);
        s.kill_9();
        start_both(&a, &s);
        check(&told, &shown, &rows(&mut s.session())).map_err(|why| format!("after a restart: {why}"))
    }
}

fn start_both(a: &Node, s: &Node) {
    std::thread::scope(|scope| {
        scope.spawn(|| a.start());
        s.start();
    });
}

fn rows(wire: &mut Wire<UnixStream>) -> BTreeMap<String, String> {
    ask(wire, ROWS).rows.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
}

/// Commits at a level; returns the keys.
fn commit(wire: &mut Wire<UnixStream>, level: &str) -> Result<Vec<String>, String> {
    wait_until("the standby is the synchronous one", LIMIT, || {
        let sql = "SELECT sync_state || state FROM pg_stat_replication WHERE application_name = 's'";
        match value(wire, sql) {
            state if state == "syncstreaming" => Ok(()),
            state => Err(state),
        }
    });
    ask(wire, &format!("SET synchronous_commit = {level}; SET statement_timeout = '10s'"));
    let mut told = Vec::new();
    for at in 0..COMMITS {
        let key = (9000 + at).to_string();
        let answer = wire.query(&format!("INSERT INTO t VALUES ({key}, 'told')"));
        if !is_acknowledged(&answer) {
            return Err(format!("commit {at} is not acknowledged: {answer:?}"));
        }
        told.push(key);
    }
    Ok(told)
}

fn check(
    told: &[String],
    shown: &BTreeMap<String, String>,
    found: &BTreeMap<String, String>,
) -> Result<(), String> {
    let lost: Vec<&String> = told.iter().filter(|key| !found.contains_key(*key)).collect();
    if !lost.is_empty() {
        return Err(format!("lost {} of {} acknowledged commits: {lost:?}", lost.len(), told.len()));
    }
    if shown != found {
        let differ = |left: &BTreeMap<String, String>, right: &BTreeMap<String, String>| -> Vec<String> {
            left.iter()
                .filter(|(key, row)| right.get(*key) != Some(row))
                .map(|(key, _)| key.clone())
                .collect()
        };
        let (gone, come) = (differ(shown, found), differ(found, shown));
        return Err(format!("rows that were shown and differ now: {gone:?}, that were not shown: {come:?}"));
    }
    Ok(())
}

#[test]
fn commits_after_a_failover_with_half_a_record_outlive_the_next_failover() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let origin = Origin::new();
    let cuts = origin.cuts(&mut rng);
    let mut numbers: Vec<usize> = (0..cuts.len()).collect();
    if let Some(number) = variable("PLIMSOLL_CHAIN") {
        numbers = vec![usize::try_from(number).expect("a number of a chain")];
    } else if !is_long() {
        rng.shuffle(&mut numbers);
        // As many inside of records as at their ends.
        let (inside, at_end): (Vec<usize>, Vec<usize>) = numbers.iter().partition(|at| cuts[**at].inside);
        numbers = inside.into_iter().take(FEW / 2).chain(at_end.into_iter().take(FEW - FEW / 2)).collect();
    }
    let (passed, failed) = run_chains(&numbers, |number| {
        let cut = cuts[number];
        origin.run(cut).map(|()| cut).map_err(|why| format!("{cut:x?}: {why}"))
    });
    let count = |what: fn(&Cut) -> bool| passed.iter().filter(|cut| what(cut)).count();
    eprintln!(
        "{} chains passed, {} cut inside of a record, {} with a cascade, {} of {} records' ends; {} commits told: {}",
        passed.len(),
        count(|cut| cut.inside),
        count(|cut| cut.cascade),
        passed
            .iter()
            .filter(|cut| !cut.inside)
            .map(|cut| cut.at)
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        origin.boundaries.len(),
        passed.len() * COMMITS,
        LEVELS
            .map(|level| format!(
                "{level} {}",
                passed.iter().filter(|cut| cut.level == level).count() * COMMITS
            ))
            .join(", "),
    );
    assert!(failed.is_empty(), "{} of {} chains failed:\n{}", failed.len(), numbers.len(), failed.join("\n"));
}
