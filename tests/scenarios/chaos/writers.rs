//! Clients that commit at each level, and what they were told.

use scenarios::wire::{Wire, WireError, parse_lsn};
use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// How durable a commit asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Off,
    Local,
    RemoteWrite,
    On,
    RemoteApply,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Local => "local",
            Self::RemoteWrite => "remote_write",
            Self::On => "on",
            Self::RemoteApply => "remote_apply",
        }
    }
}

/// The level of each client; None changes it from commit to commit.
pub const CLIENTS: [Option<Level>; 6] = [
    Some(Level::Local),
    Some(Level::RemoteWrite),
    Some(Level::On),
    Some(Level::RemoteApply),
    Some(Level::On),
    None,
];
/// The client whose commits wait for no standby.
pub const LOCAL_CLIENT: usize = 0;

/// A commit that a client was told of.
#[derive(Debug, Clone)]
pub struct Ack {
    pub client: usize,
    pub sequence: u64,
    pub level: Level,
    /// The end of its record.
    pub lsn: u64,
    /// The quorums that may have been in force while it waited, first and last, by number.
    pub quorums: (usize, usize),
}

/// What a client has written since the beginning.
#[derive(Debug, Default, Clone)]
pub struct Written {
    /// Numbers begin at 1, without a gap.
    pub last: u64,
    /// Those of which nobody knows: the connection broke, or the level was off.
    pub in_doubt: BTreeSet<u64>,
}

/// What the clients share with the test.
#[derive(Debug, Default)]
pub struct Told {
    /// The number of the quorum that is in force for certain, and of the newest that may be.
    pub applied: AtomicUsize,
    pub issued: AtomicUsize,
    /// Commits told, a client.
    pub progress: [AtomicU64; CLIENTS.len()],
    pub acks: Mutex<Vec<Ack>>,
    /// What a server answered that no fault explains.
    pub surprises: Mutex<Vec<String>>,
    pub stop: AtomicBool,
}

impl Told {
    pub fn progress(&self) -> Vec<u64> {
        self.progress.iter().map(|count| count.load(Ordering::SeqCst)).collect()
    }
}

struct Writer<'a> {
    client: usize,
    socket: PathBuf,
    told: &'a Told,
    rng: fastrand::Rng,
    written: Written,
}

/// Commits until it is told to stop. Returns what it has written.
pub fn write(client: usize, socket: &Path, told: &Told, seed: u64, written: Written) -> Written {
    let rng = fastrand::Rng::with_seed(seed);
    let mut writer = Writer { client, socket: socket.to_owned(), told, rng, written };
    while !told.stop.load(Ordering::SeqCst) {
        match Wire::unix(&writer.socket) {
            Ok(mut wire) => writer.session(&mut wire),
            // The server is down for now; asking again is paced.
            Err(_) => std::thread::park_timeout(Duration::from_millis(20)),
        }
    }
    writer.written
}

impl Writer<'_> {
    /// Commits until the connection breaks.
    fn session(&mut self, wire: &mut Wire<UnixStream>) {
        if wire.query("SET plimsoll.report_commit_lsn = on").is_err() {
            return;
        }
        let levels = [Level::Off, Level::Local, Level::RemoteWrite, Level::On, Level::RemoteApply];
        let mut current = None;
        while !self.told.stop.load(Ordering::SeqCst) {
            let level = CLIENTS[self.client].unwrap_or_else(|| levels[self.rng.usize(..levels.len())]);
            if current != Some(level) {
                if wire.query(&format!("SET synchronous_commit = {}", level.name())).is_err() {
                    return;
                }
                current = Some(level);
            }
            if let Err(error) = self.commit(wire, level) {
                if let WireError::Refused(state, text) = error {
                    let mut surprises = self.told.surprises.lock().expect("no writer panics");
                    surprises.push(format!("client {}: {state} {text}", self.client));
                }
                return;
            }
            // Paced, so that 200 rounds leave a table of a size that can be compared.
            std::thread::park_timeout(Duration::from_millis(self.rng.u64(1..12)));
            // A session reads at least its own last commit, which waits for its turn to be visible: no
            // session of this client has one.
            if self.client == LOCAL_CLIENT {
                return;
            }
        }
    }

    /// A row and a counter in one transaction; of the client that waits for no standby, the row alone.
    fn commit(&mut self, wire: &mut Wire<UnixStream>, level: Level) -> Result<(), WireError> {
        let from = self.told.applied.load(Ordering::SeqCst);
        let sequence = self.written.last + 1;
        self.written.last = sequence;
        self.written.in_doubt.insert(sequence);
        let client = self.client;
        let filler = "x".repeat(self.rng.usize(0..300));
        wire.commit_token = None;
        let insert = format!("INSERT INTO log VALUES ({client}, {sequence}, '{filler}')");
        let answer = wire.query(&if client == LOCAL_CLIENT {
            insert
        } else {
            format!("BEGIN; {insert}; UPDATE counters SET n = n + 1 WHERE client = {client}; COMMIT")
        })?;
        let to = self.told.issued.load(Ordering::SeqCst);
        self.told.progress[client].fetch_add(1, Ordering::SeqCst);
        // With a warning, a wait was given up: the commit may be lost.
        if level == Level::Off || !answer.warnings.is_empty() {
            return Ok(());
        }
        let token = wire.commit_token.take();
        let lsn = token.as_deref().and_then(|token| parse_lsn(token.split_once(':')?.1));
        let lsn = lsn.unwrap_or_else(|| panic!("commit {client}/{sequence} reported {token:?}"));
        self.written.in_doubt.remove(&sequence);
        let ack = Ack { client, sequence, level, lsn, quorums: (from, to) };
        self.told.acks.lock().expect("no writer panics").push(ack);
        Ok(())
    }
}
