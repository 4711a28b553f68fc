//! Crash states, enumerated: each workload of a few operations, a look at the disk after each call, and what
//! power cuts make of it. States are counted by a hash of all names and bytes, and each is looked at once.

use super::crash::{Known, check, one_transaction, set_up};
use super::standby::{Standby, backup, follow, ship};
use super::*;
use crate::tree::Unpaced;
use crate::{CheckpointKind, Direction, PromoteOptions, SweepCause};
use host::Disk;
use host::sync::Mutex;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use wal::archive_status::ArchiveStatus;
use wal::control::ControlFile;
use wal::log_branch::settle_promotion;
use wal::{SegmentFolder, TimelineId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    /// A transaction, acknowledged when it is durable.
    Commit,
    /// One that is acknowledged at once.
    Lazy,
    /// One that fills pages, so that some split.
    Big,
    /// The rows that fill pages go again, and their leaves are packed.
    Sweep,
    /// The wal writer's tick.
    Flush,
    /// A checkpoint, which removes and recycles segments.
    Checkpoint,
    /// The next segment is begun, the finished one marked for the archive, the one before marked as archived.
    Switch,
}

const OPS: [Op; 7] = [Op::Commit, Op::Lazy, Op::Big, Op::Sweep, Op::Flush, Op::Checkpoint, Op::Switch];

type Seen = Arc<Mutex<Vec<(VirtualDisk, Known)>>>;

/// Looks at the disk after each call that changes it.
fn watch(disk: &VirtualDisk, known: &Arc<Mutex<Known>>) -> Seen {
    let seen = Seen::default();
    let (sink, at) = (Arc::clone(&seen), Arc::clone(known));
    disk.observe(Box::new(move |_, moment| sink.lock().push((moment.fork(), at.lock().clone()))));
    seen
}

struct Bench {
    base: VirtualDisk,
    bank: TreeId,
    counters: TreeId,
    /// The states that were looked at, by hash, each with its counter.
    tried: HashMap<u128, u64>,
    /// How often leaves were packed.
    packed: AtomicU64,
    /// The deliberate break: lazy commits count as acknowledged.
    lies: bool,
}

impl Bench {
    async fn new(lies: bool) -> Self {
        let (disk, db, bank, counters) = set_up().await;
        db.shutdown().await.unwrap();
        drop(db);
        Self {
            base: disk.crash(CrashPolicy::LoseUnsynced),
            bank,
            counters,
            tried: HashMap::new(),
            packed: AtomicU64::new(0),
            lies,
        }
    }

    async fn step(&self, db: &Database, op: Op, known: &Mutex<Known>, random: &mut fastrand::Rng) {
        let status = ArchiveStatus::new(db.host().disk.clone(), &Path::new(DIR).join("pg_wal"));
        match op {
            Op::Commit | Op::Lazy => {
                let transaction = one_transaction(db, self.bank, self.counters, random).await;
                let number = known.lock().begun + 1;
                known.lock().begun = number;
                let level = if op == Op::Commit { SyncLevel::Local } else { SyncLevel::Off };
                transaction.commit(level).await.unwrap();
                if op == Op::Commit || self.lies {
                    known.lock().acknowledged = number;
                }
            }
            Op::Big => {
                let mut transaction = one_transaction(db, self.bank, self.counters, random).await;
                for row in 0..12 {
                    let key = format!("filler {} {row}", random.u32(..));
                    put(&mut transaction, self.bank, &key, &"y".repeat(900)).await.unwrap();
                }
                let number = known.lock().begun + 1;
                known.lock().begun = number;
                transaction.commit(SyncLevel::Local).await.unwrap();
                known.lock().acknowledged = number;
            }
            Op::Sweep => {
                let mut transaction = one_transaction(db, self.bank, self.counters, random).await;
                for (key, _) in rows(&transaction, self.bank, Direction::Forward).await {
                    if key.starts_with("filler") && random.u8(..4) > 0 {
                        lock(&mut transaction, self.bank, &key).await.unwrap();
                        transaction.delete(self.bank, key).unwrap();
                    }
                }
                let number = known.lock().begun + 1;
                known.lock().begun = number;
                transaction.commit(SyncLevel::Local).await.unwrap();
                known.lock().acknowledged = number;
                let swept = db.vacuum(self.bank, SweepCause::Asked, Box::new(Unpaced)).await.unwrap();
                self.packed.fetch_add(swept.packed, Ordering::Relaxed);
            }
            Op::Flush => {
                let number = known.lock().begun;
                db.wal_writer_tick().unwrap();
                known.lock().acknowledged = number;
            }
            Op::Checkpoint => drop(db.checkpoint(CheckpointKind::Immediate).await.unwrap()),
            Op::Switch => {
                let wal = db.wal().unwrap();
                let size = wal.segment_size();
                let finished = size.segment_of(wal.positions().inserted());
                wal.switch_segment().unwrap();
                wal.flush_all().unwrap();
                let number = known.lock().begun;
                known.lock().acknowledged = number;
                // Nothing is switched at the very beginning of a segment.
                if size.start_of(finished.next()) <= wal.positions().flushed() {
                    status.notify(&finished.file_name(db.timeline(), size)).unwrap();
                }
                if let Some(oldest) = status.waiting().unwrap().first() {
                    status.done(oldest).unwrap();
                }
            }
        }
    }

    /// Runs a workload and tries all new crash states of it.
    async fn run(&mut self, ops: &[Op], seed: u64) -> Result<(), String> {
        let disk = self.base.fork();
        let known = Arc::new(Mutex::new(Known::default()));
        let seen = watch(&disk, &known);
        let db = open(&disk);
        let mut random = fastrand::Rng::with_seed(seed);
        for op in ops {
            self.step(&db, *op, &known, &mut random).await;
        }
        disk.stop_observing();
        drop(db);
        let states = std::mem::take(&mut *seen.lock());
        for (number, (state, known)) in (0_u64..).zip(&states) {
            let mixed = seed.wrapping_mul(1_000_003) ^ number;
            for policy in [
                CrashPolicy::LoseUnsynced,
                CrashPolicy::InOrder { seed: mixed },
                CrashPolicy::Anything { seed: mixed },
                CrashPolicy::Anything { seed: !mixed },
            ] {
                let image = state.crash(policy);
                let verdict = self.try_state(&image, known).await;
                verdict.map_err(|what| format!("{ops:?}, seed {seed}, call {number}, {policy:?}: {what}"))?;
            }
        }
        Ok(())
    }

    async fn try_state(&mut self, image: &VirtualDisk, known: &Known) -> Result<(), String> {
        let hash = image.image_hash();
        let counter = match self.tried.get(&hash) {
            // Known from before; more may be acknowledged by now.
            Some(counter) => *counter,
            None => {
                let (db, _) = try_open(image, options()).map_err(|error| error.to_string())?;
                let counter = check(&db, self.bank, self.counters).await;
                self.tried.insert(hash, counter);
                counter
            }
        };
        if counter < known.acknowledged || counter > known.begun {
            return Err(format!(
                "{counter} transactions are there, {} were acknowledged, {} begun",
                known.acknowledged, known.begun
            ));
        }
        Ok(())
    }
}

fn long() -> bool {
    std::env::var("PLIMSOLL_LONG_TESTS").is_ok_and(|value| value == "1")
}

/// All workloads of so many operations.
fn workloads(length: u32) -> impl Iterator<Item = Vec<Op>> {
    (0..OPS.len().pow(length))
        .map(move |number| (0..length).map(|place| OPS[number / OPS.len().pow(place) % OPS.len()]).collect())
}

#[tokio::test]
async fn no_crash_state_of_any_short_workload_or_of_generated_ones_is_illegal() {
    let wanted = if long() { 100_000 } else { 3000 };
    let mut bench = Bench::new(false).await;
    let mut run = 0;
    // Every workload of up to 3 operations (2 in the short form), then every so many of the longer ones.
    let all = if long() { 3 } else { 2 };
    for length in 1..=all {
        for ops in workloads(length) {
            bench.run(&ops, 1).await.unwrap();
            run += 1;
        }
    }
    for length in all + 1..=6 {
        let step = (OPS.len().pow(length) / if long() { 400 } else { 8 }).max(1);
        for ops in workloads(length).skip(step / 2).step_by(step) {
            bench.run(&ops, u64::from(length)).await.unwrap();
            run += 1;
        }
    }
    let mut seed = 0;
    while bench.tried.len() < wanted {
        seed += 1;
        let mut random = fastrand::Rng::with_seed(seed);
        let ops: Vec<Op> = (0..random.usize(8..40)).map(|_| OPS[random.usize(..OPS.len())]).collect();
        bench.run(&ops, seed).await.unwrap();
        run += 1;
    }
    let packed = bench.packed.load(Ordering::Relaxed);
    println!(
        "{} distinct crash states of {run} workloads, none illegal; leaves packed {packed} times",
        bench.tried.len()
    );
    assert!(packed > 10, "leaves were packed {packed} times only");
}

#[tokio::test]
async fn a_lazy_commit_that_counts_as_acknowledged_is_caught() {
    let mut bench = Bench::new(true).await;
    let caught = bench.run(&[Op::Commit, Op::Lazy, Op::Commit], 1).await;
    assert!(caught.as_ref().is_err_and(|what| what.contains("were acknowledged")), "{caught:?}");
}

/// What is known of a standby's disk at a moment.
#[derive(Clone, Default)]
struct StandbyKnown {
    /// Transactions that were redone here, so that their log is durable here.
    durable: u64,
    /// Transactions of the primary so far, and of this node once promoted.
    begun: u64,
}

/// Opens what a crash left of a standby, as what its signal file says; returns its counter.
async fn reopen(image: &VirtualDisk, bank: TreeId, counters: TreeId) -> Result<u64, String> {
    let control = ControlFile::load(image, Path::new(DIR)).map_err(|error| error.to_string())?;
    let disk: host::SharedDisk = Arc::new(image.clone());
    let settled = settle_promotion(&disk, Path::new(DIR), &control).map_err(|error| error.to_string())?;
    settled.still_shared.map_or(Ok(()), |error| Err(error.to_string()))?;
    if image.exists(&signal()).unwrap() {
        let standby = follow(image);
        standby.settle_or_fail()?;
        if !standby.db.is_consistent() {
            return Err("a standby that was consistent is not so after its local log".to_owned());
        }
        let counter = check(&standby.db, bank, counters).await;
        standby.stop();
        Ok(counter)
    } else {
        let (db, _) = try_open(image, options()).map_err(|error| error.to_string())?;
        Ok(check(&db, bank, counters).await)
    }
}

fn signal() -> PathBuf {
    Path::new(DIR).join("standby.signal")
}

#[tokio::test]
async fn no_crash_state_of_a_standby_its_restartpoints_or_its_promotion_is_illegal() {
    let mut tried = HashSet::new();
    for seed in 0..if long() { 40 } else { 2 } {
        let (disk, db, bank, counters) = set_up().await;
        let copy = backup(&disk, &db, async {}).await;
        host::write_file_durably(&copy, &signal(), b"").unwrap();
        let standby = follow(&copy);
        standby.feed.settle();
        let known = Arc::new(Mutex::new(StandbyKnown::default()));
        let seen: Arc<Mutex<Vec<(VirtualDisk, StandbyKnown)>>> = Arc::default();
        let (sink, at) = (Arc::clone(&seen), Arc::clone(&known));
        copy.observe(Box::new(move |_, moment| sink.lock().push((moment.fork(), at.lock().clone()))));
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..random.usize(3..8) {
            for _ in 0..random.usize(1..6) {
                known.lock().begun += 1;
                let transaction = one_transaction(&db, bank, counters, &mut random).await;
                transaction.commit(SyncLevel::Local).await.unwrap();
            }
            if random.bool() {
                db.checkpoint(CheckpointKind::Immediate).await.unwrap();
            }
            let upto = db.wal_writer_tick().unwrap();
            ship(&disk, &copy);
            standby.feed.give(upto);
            let begun = known.lock().begun;
            known.lock().durable = begun;
            if random.bool() {
                standby.db.checkpoint(CheckpointKind::Immediate).await.unwrap();
            }
        }
        promote_and_write(standby, &known, (bank, counters), &mut random).await;
        copy.stop_observing();
        let states = std::mem::take(&mut *seen.lock());
        for (number, (state, known)) in (0_u64..).zip(&states) {
            for policy in [CrashPolicy::LoseUnsynced, CrashPolicy::Anything { seed: seed * 7919 + number }] {
                let image = state.crash(policy);
                if !tried.insert(image.image_hash()) {
                    continue;
                }
                let place = format!("seed {seed}, call {number}, {policy:?}");
                let counter =
                    reopen(&image, bank, counters).await.unwrap_or_else(|what| panic!("{place}: {what}"));
                assert!(
                    counter >= known.durable && counter <= known.begun,
                    "{place}: {counter} transactions are there, {} were durable, {} begun",
                    known.durable,
                    known.begun
                );
            }
        }
    }
    println!("{} distinct crash states of standbys and promotions, none illegal", tried.len());
}

/// Has a segment lie ahead of the standby's log, or none, as chance has it.
fn make_spare(standby: &Standby, random: &mut fastrand::Rng) {
    let size = standby.db.control().segment_size;
    let folder = SegmentFolder::new(Arc::new(standby.disk.clone()), &Path::new(DIR).join("pg_wal"), size);
    let last = folder.list().unwrap().last().unwrap().segment;
    if random.bool() {
        folder.create(TimelineId::FIRST, last.next()).unwrap();
    }
}

/// Promotes the standby, and commits, switches and checkpoints on the new timeline.
async fn promote_and_write(
    standby: Standby,
    known: &Mutex<StandbyKnown>,
    (bank, counters): (TreeId, TreeId),
    random: &mut fastrand::Rng,
) {
    make_spare(&standby, random);
    let (promoted, end) = standby.end_for_promotion();
    let how = PromoteOptions { new_timeline: TimelineId::new(2), reason: "test".to_owned() };
    let mut promotion = Some(promoted.promote(end, how).await.unwrap());
    if let Some(promotion) = &promotion {
        promotion.take_writes();
    }
    for round in 0..4 {
        let transaction = one_transaction(&promoted, bank, counters, random).await;
        known.lock().begun += 1;
        transaction.commit(SyncLevel::Local).await.unwrap();
        let begun = known.lock().begun;
        known.lock().durable = begun;
        // The first write does not wait for the end of recovery.
        if let Some(promotion) = promotion.take() {
            promotion.end_recovery().await.unwrap();
        }
        if round == 1 {
            promoted.checkpoint(CheckpointKind::Immediate).await.unwrap();
        }
        if round == 2 {
            promoted.wal().unwrap().switch_segment().unwrap();
        }
    }
}
