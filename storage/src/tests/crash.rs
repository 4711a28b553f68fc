//! Power cuts at every I/O call: what was acknowledged is there, whole transactions only, sums kept.

use super::isolation::transfer;
use super::*;
use crate::{CheckpointKind, Direction};
use host::sync::Mutex;
use std::collections::BTreeMap;

pub(super) const ACCOUNTS: u64 = 6;
const START: i64 = 1000;

/// What the clients know at a moment.
#[derive(Clone, Default)]
pub(super) struct Known {
    /// The last acknowledged number of the counter row, at level local.
    pub(super) acknowledged: u64,
    /// The last number whose commit was begun.
    pub(super) begun: u64,
}

/// A bank: transfers, and in each transaction also a counter that goes up by one.
pub(super) async fn set_up() -> (VirtualDisk, Database, TreeId, TreeId) {
    let (disk, db, bank) = with_tree().await;
    let mut transaction = statement(&db, Isolation::ReadCommitted).await;
    let counters = transaction.create_tree(5).await.unwrap();
    for account in 0..ACCOUNTS {
        put(&mut transaction, bank, &account.to_string(), &START.to_string()).await.unwrap();
    }
    put(&mut transaction, counters, "n", "0").await.unwrap();
    transaction.commit(SyncLevel::Local).await.unwrap();
    (disk, db, bank, counters)
}

/// Checks a database that was opened after a crash; returns its counter.
pub(super) async fn check(db: &Database, bank: TreeId, counters: TreeId) -> u64 {
    let all = statement(db, Isolation::RepeatableRead).await;
    let balances = rows(&all, bank, Direction::Forward).await;
    let accounts: Vec<_> = balances.iter().filter(|(key, _)| key.len() == 1).collect();
    assert_eq!(accounts.len() as u64, ACCOUNTS, "{balances:?}");
    let total: i64 = accounts.iter().map(|(_, value)| value.parse::<i64>().unwrap()).sum();
    assert_eq!(total, START * ACCOUNTS as i64, "a transfer was torn: {balances:?}");
    let counter: u64 = get(&all, counters, "n").await.unwrap().parse().unwrap();
    // Each transaction leaves one row named after its number, so all up to the counter are there, and no
    // other.
    let numbers = rows(&all, counters, Direction::Forward).await.len() as u64 - 1;
    assert_eq!(numbers, counter, "rows of a transaction are missing or too many");
    for tree in [bank, counters] {
        db.store().tree(tree).unwrap().verify().unwrap();
    }
    counter
}

pub(super) async fn one_transaction(
    db: &Database,
    bank: TreeId,
    counters: TreeId,
    random: &mut fastrand::Rng,
) -> Transaction {
    let mut transaction = statement(db, Isolation::ReadCommitted).await;
    let (from, to) = (random.u64(..ACCOUNTS), random.u64(..ACCOUNTS));
    transfer(&mut transaction, bank, from, to, random.i64(1..50)).await.unwrap();
    let savepoint = transaction.savepoint();
    put(&mut transaction, bank, "undone", "x").await.unwrap();
    transaction.rollback_to(&savepoint).unwrap();
    let locked = lock(&mut transaction, counters, "n").await.unwrap();
    let next = text(locked.newest).unwrap().parse::<u64>().unwrap() + 1;
    transaction.put(counters, "n", next.to_string()).unwrap();
    let filler = "x".repeat(random.usize(..300));
    put(&mut transaction, counters, &format!("row {next:06}"), &filler).await.unwrap();
    transaction
}

/// Runs `transactions` with a checkpoint now and then, and looks at the disk after each call that changes it.
/// Returns each looked-at disk with what was known then.
async fn run(seed: u64, transactions: u64, break_it: bool) -> (Vec<(VirtualDisk, Known)>, TreeId, TreeId) {
    let (disk, db, bank, counters) = set_up().await;
    let known = Arc::new(Mutex::new(Known::default()));
    let states: Arc<Mutex<Vec<(VirtualDisk, Known)>>> = Arc::default();
    let (seen, at) = (Arc::clone(&states), Arc::clone(&known));
    disk.observe(Box::new(move |_, moment| seen.lock().push((moment.fork(), at.lock().clone()))));
    let mut random = fastrand::Rng::with_seed(seed);
    for number in 1..=transactions {
        let transaction = one_transaction(&db, bank, counters, &mut random).await;
        known.lock().begun = number;
        let level = if random.u8(..4) == 0 { SyncLevel::Off } else { SyncLevel::Local };
        if break_it {
            // The deliberate break: an acknowledgement that did not wait for the flush.
            transaction.commit(SyncLevel::Off).await.unwrap();
            known.lock().acknowledged = number;
        } else {
            transaction.commit(level).await.unwrap();
            if level == SyncLevel::Local {
                known.lock().acknowledged = number;
            }
        }
        if random.u8(..8) == 0 {
            db.checkpoint(CheckpointKind::Immediate).await.unwrap();
        }
        if random.u8(..8) == 0 {
            db.wal_writer_tick().unwrap();
            known.lock().acknowledged = number;
        }
    }
    disk.stop_observing();
    drop(db);
    let states = std::mem::take(&mut *states.lock());
    (states, bank, counters)
}

/// Crashes each state by each policy; returns how many images were tried, or what went wrong first.
async fn crash_all(
    states: &[(VirtualDisk, Known)],
    bank: TreeId,
    counters: TreeId,
    seed: u64,
) -> Result<usize, String> {
    let mut tried = BTreeMap::new();
    for (number, (disk, known)) in states.iter().enumerate() {
        let mixed = seed * 1_000_003 + number as u64;
        for policy in [
            CrashPolicy::LoseUnsynced,
            CrashPolicy::KeepAll,
            CrashPolicy::InOrder { seed: mixed },
            CrashPolicy::Anything { seed: mixed },
        ] {
            // A killed process leaves to the next one what the kernel holds, and a power cut may still come.
            let image = if policy == CrashPolicy::KeepAll { disk.fork() } else { disk.crash(policy) };
            if tried.insert(image.image_hash(), ()).is_some() {
                continue;
            }
            let place = format!("seed {seed}, call {number}, {policy:?}");
            let (db, _) = try_open(&image, options()).map_err(|error| format!("{place}: {error}"))?;
            let counter = check(&db, bank, counters).await;
            if counter < known.acknowledged || counter > known.begun {
                return Err(format!(
                    "{place}: {counter} transactions are there, {} were acknowledged, {} begun",
                    known.acknowledged, known.begun
                ));
            }
            // It goes on from there, and survives the next crash at once.
            let mut random = fastrand::Rng::with_seed(mixed);
            let more = one_transaction(&db, bank, counters, &mut random).await;
            more.commit(SyncLevel::Local).await.map_err(|error| format!("{place}: {error}"))?;
            if number.is_multiple_of(2) {
                db.checkpoint(CheckpointKind::Immediate)
                    .await
                    .map_err(|error| format!("{place}: {error}"))?;
            }
            let again = image.crash(CrashPolicy::LoseUnsynced);
            drop(db);
            let (db, _) = try_open(&again, options()).map_err(|error| format!("{place}, again: {error}"))?;
            let after = check(&db, bank, counters).await;
            if after != counter + 1 {
                return Err(format!("{place}: after a second crash {after} instead of {}", counter + 1));
            }
        }
    }
    Ok(tried.len())
}

#[tokio::test]
async fn a_power_cut_at_any_call_loses_no_acknowledged_commit_and_leaves_no_half_one() {
    let mut images = 0;
    for seed in 1..=2 {
        let (states, bank, counters) = run(seed, 80, false).await;
        assert!(states.len() > 100, "the run made only {} calls", states.len());
        images += crash_all(&states, bank, counters, seed).await.unwrap();
    }
    assert!(images > 300, "only {images} images differ");
}

#[tokio::test]
async fn an_acknowledgement_before_the_flush_is_caught_by_this_test() {
    let (states, bank, counters) = run(1, 24, true).await;
    let caught = crash_all(&states, bank, counters, 1).await;
    assert!(caught.as_ref().is_err_and(|what| what.contains("were acknowledged")), "{caught:?}");
}

#[tokio::test]
async fn transactions_cut_in_the_middle_of_their_log_are_aborted_and_swept() {
    let (disk, db, bank, counters) = set_up().await;
    // A page image makes the transaction's records longer than what gets written; the cut falls between them.
    let mut random = fastrand::Rng::with_seed(5);
    let transaction = one_transaction(&db, bank, counters, &mut random).await;
    transaction.commit(SyncLevel::Off).await.unwrap();
    let (from, to) = {
        let positions = db.positions().unwrap();
        (positions.flushed(), positions.inserted())
    };
    db.wal_writer_tick().unwrap();
    drop(db);
    recovery::forget_own_flush(&disk);
    let size = SegmentSize::new(1 << 20).unwrap();
    let mut found_leftover = 0;
    let mut cut = from;
    while cut < to {
        let image = disk.fork();
        let name = size.segment_of(cut).file_name(wal::TimelineId::FIRST, size);
        let file = image_file(&image, &format!("pg_wal/{name}"));
        let offset = size.offset_of(cut);
        let mut rest = vec![0; to.bytes_since(cut) as usize];
        file.read_exact_at(&mut rest, offset).unwrap();
        if rest.iter().all(|byte| *byte == 0) {
            // The last record ends in zeros: it is whole without them.
            break;
        }
        file.write_all_at(&vec![0; (size.bytes() - offset) as usize], offset).unwrap();
        file.sync().unwrap();
        let (db, recovery) = try_open(&image, options()).unwrap();
        assert_eq!(check(&db, bank, counters).await, 0, "cut at {cut}");
        if !recovery.aborted.is_empty() {
            found_leftover += 1;
            let again = image.crash(CrashPolicy::LoseUnsynced);
            assert_leftover_stays_unseen(&again, bank, counters, &recovery).await;
        }
        cut = cut + 8;
    }
    assert!(found_leftover > 0, "no cut fell between the records of the transaction");
}

fn image_file(image: &VirtualDisk, name: &str) -> host::SharedFile {
    use host::Disk;
    image.open(&Path::new(DIR).join(name), host::OpenMode::ReadWrite).unwrap()
}

async fn assert_leftover_stays_unseen(
    image: &VirtualDisk,
    bank: TreeId,
    counters: TreeId,
    first: &RecoveryReport,
) {
    let (db, second) = try_open(image, options()).unwrap();
    assert!(second.aborted.is_empty(), "its abort is in the log by now");
    assert!(db.0.visibility.excluded().contains(first.aborted[0]));
    let mut random = fastrand::Rng::with_seed(6);
    one_transaction(&db, bank, counters, &mut random).await.commit(SyncLevel::Local).await.unwrap();
    assert_eq!(check(&db, bank, counters).await, 1);
    db.sweep().await.unwrap();
    assert!(!db.0.visibility.excluded().contains(first.aborted[0]), "swept");
    assert_eq!(check(&db, bank, counters).await, 1);
    db.shutdown().await.unwrap();
    drop(db);
    let (db, _) = try_open(image, options()).unwrap();
    assert!(db.0.visibility.excluded().iter().next().is_none());
    assert_eq!(check(&db, bank, counters).await, 1);
}

#[tokio::test]
async fn creating_a_database_is_all_or_nothing() {
    let disk = VirtualDisk::new();
    let states: Arc<Mutex<Vec<VirtualDisk>>> = Arc::default();
    let seen = Arc::clone(&states);
    disk.observe(Box::new(move |_, moment| seen.lock().push(moment.fork())));
    let small =
        CreateOptions { segment_size: SegmentSize::new(1 << 20).unwrap(), ..CreateOptions::default() };
    Database::create(&host_on(&disk), Path::new(DIR), &small).unwrap();
    disk.stop_observing();
    let states = std::mem::take(&mut *states.lock());
    let mut usable = 0;
    for (number, state) in states.iter().enumerate() {
        for policy in [CrashPolicy::LoseUnsynced, CrashPolicy::Anything { seed: number as u64 }] {
            match try_open(&state.crash(policy), options()) {
                Ok((db, recovery)) => {
                    assert!(!recovery.needed);
                    drop(db);
                    usable += 1;
                }
                Err(error) => {
                    assert!(matches!(error, Error::Unusable(_) | Error::Io { .. }), "call {number}: {error}");
                }
            }
        }
    }
    assert!(usable > 0);
    try_open(&power_cut(&disk), options()).unwrap();
}

#[tokio::test]
async fn pages_that_a_killed_process_left_to_the_kernel_survive_a_power_cut_after_the_next_checkpoint() {
    let (disk, db, tree) = with_tree().await;
    let filler = "x".repeat(400);
    let names: Vec<String> = (0..2000).map(|row| format!("row {row:04}")).collect();
    let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), filler.as_str())).collect();
    write(&db, tree, &pairs, SyncLevel::Local).await;
    let states: Arc<Mutex<Vec<VirtualDisk>>> = Arc::default();
    let seen = Arc::clone(&states);
    disk.observe(Box::new(move |_, moment| seen.lock().push(moment.fork())));
    db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    disk.stop_observing();
    let states = std::mem::take(&mut *states.lock());
    assert!(states.len() > 12, "{} states", states.len());
    for (number, killed) in states.iter().enumerate() {
        let db = open(killed);
        db.checkpoint(CheckpointKind::Immediate).await.unwrap();
        let db = open(&power_cut(killed));
        let all = statement(&db, Isolation::RepeatableRead).await;
        assert_eq!(rows(&all, tree, Direction::Forward).await.len(), names.len(), "killed at call {number}");
    }
}
