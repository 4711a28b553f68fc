//! Clients of a primary that will be killed, and what they were told.

use crate::{LEVELS, is_acknowledged};
use scenarios::wire::{Wire, WireError};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// A commit that a client was told of.
#[derive(Debug)]
pub struct Ack {
    pub id: u64,
    pub level: &'static str,
    /// It may have been told while no standby was named.
    pub without_names: bool,
}

/// What the clients of one round share with the test. Numbers of rows go on from round to round.
#[derive(Debug, Default)]
pub struct Told {
    ids: AtomicU64,
    count: AtomicUsize,
    acks: Mutex<Vec<Ack>>,
    pub without_names: AtomicBool,
    /// Large records are wanted, so many and so fast that standbys lag behind.
    pub burst: AtomicBool,
    /// What a server answered that no kill explains.
    pub surprises: Mutex<Vec<String>>,
    pub stop: AtomicBool,
}

impl Told {
    /// Begins a round.
    pub fn begin(&mut self) {
        *self.stop.get_mut() = false;
        *self.without_names.get_mut() = false;
        *self.burst.get_mut() = false;
    }

    /// The number of a new row.
    pub fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::SeqCst)
    }

    /// Commits that were told, since the beginning.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// What was told since this was last asked.
    pub fn take(&self) -> Vec<Ack> {
        std::mem::take(&mut *self.acks.lock().expect("no writer panics"))
    }

    /// Keeps what a server refused; a connection that broke says nothing.
    fn note(&self, error: WireError) {
        if let WireError::Refused(state, text) = error {
            self.surprises.lock().expect("no writer panics").push(format!("{state} {text}"));
        }
    }
}

fn filler(rng: &mut fastrand::Rng, lengths: std::ops::Range<usize>) -> String {
    let length = rng.usize(lengths);
    (0..length).map(|_| rng.alphanumeric()).collect()
}

/// Commits at random levels until it is told to stop or the primary is gone.
pub fn write(socket: &Path, told: &Told, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let Ok(mut wire) = Wire::unix(socket) else { return };
    while !told.stop.load(Ordering::SeqCst) {
        let level = ["local", LEVELS[0], LEVELS[1], LEVELS[2]][rng.usize(..4)];
        if let Err(error) = commit(&mut wire, told, level, &mut rng) {
            return told.note(error);
        }
        pause(&mut rng);
    }
}

/// A row whose value is in a table of its own: all rows are read after each failover, but not all large
/// values.
fn insert_large(rng: &mut fastrand::Rng, id: u64, lengths: std::ops::Range<usize>) -> String {
    let value = filler(rng, lengths);
    format!("INSERT INTO t VALUES ({id}, 'large'); INSERT INTO large VALUES ({id}, '{value}')")
}

/// A pause, so that a chain's log stays short and the machine is left to the failovers.
fn pause(rng: &mut fastrand::Rng) {
    std::thread::park_timeout(std::time::Duration::from_millis(rng.u64(..16)));
}

/// One transaction of any size: small ones, ones that change a page which others change, rows of many pages,
/// and ones that go early.
fn commit(
    wire: &mut Wire<UnixStream>,
    told: &Told,
    level: &'static str,
    rng: &mut fastrand::Rng,
) -> Result<(), WireError> {
    wire.query(&format!("SET synchronous_commit = {level}"))?;
    let mut ids = vec![told.next_id()];
    let insert =
        |rng: &mut _, id: u64, lengths| format!("INSERT INTO t VALUES ({id}, '{}')", filler(rng, lengths));
    let sql = match rng.u8(..20) {
        0..=12 => insert(rng, ids[0], 0..300),
        13..=17 => {
            let update =
                format!("UPDATE hot SET filler = '{}' WHERE id = {}", filler(rng, 0..300), rng.u8(1..21));
            format!("BEGIN; {}; {update}; COMMIT", insert(rng, ids[0], 0..300))
        }
        18 => format!("BEGIN; {}; COMMIT", insert_large(rng, ids[0], 10_000..40_000)),
        _ => {
            ids.extend([told.next_id(), told.next_id()]);
            let inserts: Vec<String> = ids.iter().map(|id| insert_large(rng, *id, 25_000..30_000)).collect();
            format!("BEGIN; {}; COMMIT", inserts.join("; "))
        }
    };
    let answer = wire.query(&sql);
    if is_acknowledged(&answer) {
        let without_names = told.without_names.load(Ordering::SeqCst);
        let acks = ids.into_iter().map(|id| Ack { id, level, without_names });
        told.acks.lock().expect("no writer panics").extend(acks);
        told.count.fetch_add(1, Ordering::SeqCst);
    }
    answer.map(drop)
}

/// Writes pages that others write too, and large values while a burst is wanted. Its commits wait for nobody.
pub fn write_bulk(socket: &Path, told: &Told, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let Ok(mut wire) = Wire::unix(socket) else { return };
    let large = filler(&mut rng, 100_000..120_000);
    let mut sql = "SET synchronous_commit = local".to_owned();
    while !told.stop.load(Ordering::SeqCst) {
        if let Err(error) = wire.query(&sql) {
            return told.note(error);
        }
        if told.burst.load(Ordering::SeqCst) {
            sql = format!("UPDATE big SET filler = '{large}'");
            continue;
        }
        sql = format!("UPDATE hot SET filler = '{}'", filler(&mut rng, 100..1500));
        pause(&mut rng);
    }
}
