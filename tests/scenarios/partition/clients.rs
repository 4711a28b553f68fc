//! Clients on both sides of a partition, and what each side told them.

use scenarios::wire::{Wire, WireError};
use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The level of each client of a side.
pub const LEVELS: [&str; 6] = ["on", "local", "remote_write", "on", "remote_apply", "local"];
/// What a server may refuse because it was replaced, stops or starts: it was shut down, cannot take sessions
/// yet, or is read-only.
const EXPECTED: [&str; 3] = ["57P01", "57P03", "25006"];

/// A commit that a client was told of without a warning.
#[derive(Debug, Clone, Copy)]
pub struct Ack {
    pub id: u64,
    pub level: &'static str,
    /// When it was sent, and when it was told.
    pub sent: Instant,
    pub told: Instant,
}

impl Ack {
    /// Whether it waited for a standby.
    pub fn is_of_a_quorum(&self) -> bool {
        self.level != "local"
    }
}

/// Numbers of rows, of both sides and all rounds.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// What the clients of one node share with the test.
#[derive(Debug, Default)]
pub struct Side {
    sent: Mutex<BTreeSet<u64>>,
    acks: Mutex<Vec<Ack>>,
    count: AtomicUsize,
    /// What no fault explains.
    surprises: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Side {
    /// Commits that were told.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    pub fn acks(&self) -> Vec<Ack> {
        self.acks.lock().expect("no client panics").clone()
    }

    /// All numbers of rows that were sent, told or not.
    pub fn sent(&self) -> BTreeSet<u64> {
        self.sent.lock().expect("no client panics").clone()
    }

    pub fn surprises(&self) -> Vec<String> {
        self.surprises.lock().expect("no client panics").clone()
    }

    /// Lets each client end after what it waits for.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn note(&self, what: String) {
        self.surprises.lock().expect("no client panics").push(what);
    }

    /// Inserts a row at a level that the session has set already.
    pub fn insert(&self, wire: &mut Wire<UnixStream>, level: &'static str) -> Result<(), WireError> {
        let id = NEXT_ID.fetch_add(1, Ordering::SeqCst);
        self.sent.lock().expect("no client panics").insert(id);
        let sent = Instant::now();
        let answer = wire.query(&format!("INSERT INTO t VALUES ({id}, '{level}')"))?;
        // With a warning, a wait was given up.
        if answer.warnings.is_empty() {
            let ack = Ack { id, level, sent, told: Instant::now() };
            self.acks.lock().expect("no client panics").push(ack);
            self.count.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// Commits on a node until it is told to stop, and comes back whenever it can.
pub fn write(socket: &Path, side: &Side, level: &'static str) {
    while !side.is_over() {
        match session(socket, side, level) {
            Ok(()) => return,
            Err(WireError::Refused(state, text)) if !EXPECTED.contains(&state.as_str()) => {
                side.note(format!("a commit at {level}: {state} {text}"));
            }
            Err(_) => {}
        }
        // Asking again is paced.
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn session(socket: &Path, side: &Side, level: &'static str) -> Result<(), WireError> {
    let mut wire = Wire::unix(socket)?;
    wire.query(&format!("SET synchronous_commit = {level}"))?;
    while !side.is_over() {
        side.insert(&mut wire, level)?;
        // Paced, so that one side's local commits do not take the processor from the others.
        std::thread::park_timeout(Duration::from_millis(2));
    }
    Ok(())
}
