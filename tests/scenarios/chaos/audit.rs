//! Whether each commit that was told is where its level and its quorum ask for.
//!
//! A standby's own disk is the first witness: it holds the log as far as its segments' bytes are the
//! primary's. What a standby that answers says of its flush, and which rows it shows, are the second and
//! third. All three only ever grow, so a look during a fault proves what was there when the commit was told,
//! but for what the standby could still receive.

use crate::writers::{Ack, CLIENTS, Level};
use scenarios::wire::{Wire, parse_lsn};
use scenarios::{Node, Quorum};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Bytes of a segment, as the nodes are initialised.
pub const SEGMENT: u64 = 1 << 20;

/// What a standby was seen to hold.
#[derive(Debug, Clone, Default)]
pub struct Holding {
    /// Up to here, its files have the primary's log.
    pub on_disk: u64,
    /// What it says that it has flushed; None if it cannot answer.
    pub flushed: Option<u64>,
    /// The last row of each client that it shows; None if it cannot answer.
    pub rows: Option<[u64; CLIENTS.len()]>,
}

impl Holding {
    fn has(&self, ack: &Ack) -> bool {
        let flushed = ack.level < Level::On || self.flushed.is_none_or(|at| at >= ack.lsn);
        let applied = ack.level < Level::RemoteApply
            || self.rows.as_ref().is_none_or(|rows| rows[ack.client] >= ack.sequence);
        self.on_disk >= ack.lsn && flushed && applied
    }
}

/// Whether each commit is held as its quorum asks for. Returns how many had a quorum to ask.
pub fn check(acks: &[Ack], holdings: &[Holding], quorums: &[Quorum]) -> Result<usize, String> {
    let mut checked = 0;
    for ack in acks.iter().filter(|ack| ack.level >= Level::RemoteWrite) {
        let in_force = &quorums[ack.quorums.0..=ack.quorums.1];
        if !in_force.iter().any(|quorum| quorum.is_met(|at| holdings[at].has(ack))) {
            return Err(format!("{ack:?} was told under one of {in_force:?}, and there is {holdings:?}"));
        }
        checked += usize::from(in_force.iter().all(|quorum| !quorum.standbys.is_empty()));
    }
    Ok(checked)
}

fn segment(node: &Node, number: u64) -> Option<File> {
    let (high, low) = (number / (1 << 12), number % (1 << 12));
    File::open(node.data().join(format!("pg_wal/00000001{high:08X}{low:08X}"))).ok()
}

/// How far, from `from` on and up to `end` at most, a standby's files have the bytes of the primary's.
fn equal_up_to(primary: &Node, standby: &Node, from: u64, end: u64) -> u64 {
    let mut at = from;
    while at < end {
        let stop = end.min((at / SEGMENT + 1) * SEGMENT);
        let Some(ours) = segment(primary, at / SEGMENT) else {
            // Long gone here, so a slot says that the standby has it.
            at = stop;
            continue;
        };
        let Some(theirs) = segment(standby, at / SEGMENT) else { return at };
        let length = usize::try_from(stop - at).expect("a segment");
        let (mut left, mut right) = (vec![0; length], vec![0; length]);
        let read = |file: &File, bytes: &mut [u8]| file.read_exact_at(bytes, at % SEGMENT).is_ok();
        if !read(&ours, &mut left) || !read(&theirs, &mut right) {
            return at;
        }
        match left.iter().zip(&right).position(|(left, right)| left != right) {
            Some(equal) => return at + equal as u64,
            None => at = stop,
        }
    }
    // Where nobody was told of anything since, that is where it stood.
    at
}

/// Looks at a standby. `from` is up to where its files were looked at before.
pub fn look(primary: &Node, standby: &Node, answers: bool, from: u64, end: u64) -> Holding {
    // What it says first: its files can only have more later.
    let said = answers.then(|| ask(standby)).flatten();
    let (flushed, rows) = said.map_or((None, None), |(flushed, rows)| (flushed, Some(rows)));
    Holding { on_disk: equal_up_to(primary, standby, from, end), flushed, rows }
}

fn ask(standby: &Node) -> Option<(Option<u64>, [u64; CLIENTS.len()])> {
    let mut wire = Wire::unix(&standby.socket()).ok()?;
    let mut value = |sql: &str| {
        let answer = wire.query(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        answer.rows.first().map(|row| row[0].clone()).unwrap_or_default()
    };
    let mut rows = [0; CLIENTS.len()];
    for (client, row) in rows.iter_mut().enumerate() {
        let last = value(&format!(
            "SELECT sequence FROM log WHERE client = {client} ORDER BY sequence DESC LIMIT 1"
        ));
        *row = last.parse().unwrap_or(0);
    }
    Some((parse_lsn(&value("SELECT pg_last_wal_receive_lsn()")), rows))
}

#[test]
fn the_audit_misses_what_is_not_there() {
    let quorum = Quorum { first: false, count: 2, standbys: vec![0, 1, 2] };
    let at = |on_disk, flushed, rows| Holding { on_disk, flushed, rows };
    let ack = |level| Ack { client: 1, sequence: 7, level, lsn: 100, quorums: (0, 0) };
    let full = at(100, Some(100), Some([7; CLIENTS.len()]));
    let frozen = at(100, None, None);
    for (level, second, held) in [
        (Level::RemoteApply, full.clone(), true),
        (Level::RemoteApply, frozen.clone(), true),
        (Level::RemoteApply, at(100, Some(100), Some([6; CLIENTS.len()])), false),
        (Level::On, at(100, Some(100), Some([6; CLIENTS.len()])), true),
        (Level::On, at(100, Some(99), None), false),
        (Level::RemoteWrite, at(100, Some(99), None), true),
        (Level::RemoteWrite, at(99, Some(99), None), false),
        (Level::Local, at(0, Some(0), None), true),
    ] {
        let holdings = [full.clone(), second, Holding::default()];
        let found = check(&[ack(level)], &holdings, std::slice::from_ref(&quorum));
        assert_eq!(found.is_ok(), held, "{level:?}: {found:?}");
    }
    // While the setting changes, either of both will do.
    let none = Quorum::default();
    let changed = Ack { quorums: (0, 1), ..ack(Level::On) };
    assert_eq!(check(&[changed], &[Holding::default(), full, frozen], &[quorum, none]), Ok(0));
}
