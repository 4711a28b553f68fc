//! Every call of a scripted run fails once: as an I/O error, as a full disk, as a short write. Whatever comes
//! of it, nothing is acknowledged that is not there after a power cut.

use super::crash::{ACCOUNTS, check, one_transaction, set_up};
use super::*;
use crate::CheckpointKind;
use host::{Disk, File};
use simulation::{Call, Fault, FaultKind, Hooks, Operation, WrappedDisk};
use std::collections::BTreeMap;
use std::io;
use wal::archive_status::ArchiveStatus;

/// What the client of the script knows.
#[derive(Debug, Default)]
struct Outcome {
    acknowledged: u64,
    begun: u64,
    /// Steps that failed.
    errors: u64,
    opened: bool,
}

/// How a run ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// By a clean stop.
    Stop,
    /// As a killed process does.
    Kill,
}

struct Bench {
    base: VirtualDisk,
    bank: TreeId,
    counters: TreeId,
}

impl Bench {
    async fn new() -> Self {
        let (disk, db, bank, counters) = set_up().await;
        db.shutdown().await.unwrap();
        drop(db);
        Self { base: disk.crash(CrashPolicy::LoseUnsynced), bank, counters }
    }

    async fn commit(&self, db: &Database, level: SyncLevel, rows: u32, outcome: &mut Outcome) {
        let mut random = fastrand::Rng::with_seed(outcome.begun);
        let run = async {
            let mut transaction = statement_or(db).await?;
            let locked = lock(&mut transaction, self.counters, "n").await?;
            let number = text(locked.newest).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) + 1;
            drop(transaction);
            let mut transaction = one_or(db, self.bank, self.counters, &mut random).await?;
            for row in 0..rows {
                let key = format!("filler {number} {row}");
                put(&mut transaction, self.bank, &key, &"y".repeat(700)).await?;
            }
            outcome.begun = outcome.begun.max(number);
            transaction.commit(level).await?;
            Ok::<u64, Error>(number)
        };
        match run.await {
            Ok(number) if level == SyncLevel::Local => outcome.acknowledged = number,
            Ok(_) => {}
            Err(_) => outcome.errors += 1,
        }
    }

    /// Commits of all kinds, checkpoints, a switch, recycling, archive marks, a new tree, a clean stop. Goes
    /// on after errors, as sessions do.
    async fn script(&self, disk: Arc<dyn Disk>, end: End) -> Outcome {
        let mut outcome = Outcome::default();
        let host = Host { disk: Arc::clone(&disk), ..host_on(&self.base) };
        let Ok(Opened::Primary { db, .. }) = Database::open(&host, options(), StartMode::Primary) else {
            return outcome;
        };
        outcome.opened = true;
        let status = ArchiveStatus::new(disk, &Path::new(DIR).join("pg_wal"));
        for round in 0..3 {
            self.commit(&db, SyncLevel::Local, 0, &mut outcome).await;
            self.commit(&db, SyncLevel::Off, 0, &mut outcome).await;
            self.commit(&db, SyncLevel::Local, 12, &mut outcome).await;
            outcome.errors += u64::from(db.wal_writer_tick().is_err());
            if let Some(wal) = db.wal() {
                let finished = wal.segment_size().segment_of(wal.positions().inserted());
                let switched = wal.switch_segment().and_then(|_| wal.flush_all());
                outcome.errors += u64::from(switched.is_err());
                // What is not durable gets no mark.
                if switched.is_ok() {
                    let name = finished.file_name(db.timeline(), wal.segment_size());
                    let marked = status.notify(&name).and_then(|_| status.done(&name));
                    outcome.errors += u64::from(marked.is_err());
                }
            }
            if round == 1 {
                let mut transaction = db.begin(Isolation::ReadCommitted);
                let made = match transaction.create_tree(5).await {
                    Ok(_) => transaction.commit(SyncLevel::Local).await.map(drop),
                    Err(error) => Err(error),
                };
                outcome.errors += u64::from(made.is_err());
            }
            self.commit(&db, SyncLevel::Local, 0, &mut outcome).await;
            if round == 2 {
                // So that old segments are removed, too.
                db.set_wal_sizes(WalSizes { recycle: false, ..options().wal_sizes });
            }
            outcome.errors += u64::from(db.checkpoint(CheckpointKind::Immediate).await.is_err());
            // As the server does when segments were removed.
            let size = SegmentSize::new(1 << 20).unwrap();
            outcome.errors += u64::from(status.forget_removed(size, |_| ()).is_err());
            outcome.errors += u64::from(db.sweep().await.is_err());
        }
        self.commit(&db, SyncLevel::Local, 1, &mut outcome).await;
        if end == End::Stop {
            outcome.errors += u64::from(db.shutdown().await.is_err());
        }
        outcome
    }

    /// What is there after a power cut, and after a mere end of the process, must fit what was acknowledged.
    async fn judge(&self, disk: &VirtualDisk, outcome: &Outcome) -> Result<(), String> {
        for image in [disk.crash(CrashPolicy::LoseUnsynced), disk.fork()] {
            let (db, _) =
                try_open(&image, options()).map_err(|error| format!("it does not open: {error}"))?;
            let counter = check(&db, self.bank, self.counters).await;
            if counter < outcome.acknowledged || counter > outcome.begun {
                return Err(format!("{counter} transactions are there: {outcome:?}"));
            }
        }
        Ok(())
    }

    /// The calls of a run without faults.
    async fn trace(&self, end: End) -> Vec<Operation> {
        let disk = self.base.fork();
        disk.start_trace();
        let outcome = self.script(Arc::new(disk.clone()), end).await;
        assert_eq!((outcome.errors, outcome.opened), (0, true));
        disk.take_trace()
    }

    /// How often the script makes each call.
    async fn sites(&self) -> BTreeMap<Call, u64> {
        let mut sites = BTreeMap::new();
        for operation in self.trace(End::Stop).await {
            *sites.entry(operation.call).or_default() += 1;
        }
        sites
    }
}

async fn statement_or(db: &Database) -> Result<Transaction, Error> {
    let mut transaction = db.begin(Isolation::ReadCommitted);
    transaction.begin_statement().await?;
    Ok(transaction)
}

/// [`one_transaction`], with its errors.
async fn one_or(
    db: &Database,
    bank: TreeId,
    counters: TreeId,
    random: &mut fastrand::Rng,
) -> Result<Transaction, Error> {
    // Its reads must work before the helper may take it for granted that they do.
    let probe = statement_or(db).await?;
    for account in 0..ACCOUNTS {
        probe.get(bank, account.to_string().as_bytes()).await?;
    }
    probe.get(counters, b"n").await?;
    drop(probe);
    Ok(one_transaction(db, bank, counters, random).await)
}

fn kinds_of(call: Call) -> &'static [FaultKind] {
    match call {
        Call::Write => &[FaultKind::Io, FaultKind::NoSpace, FaultKind::Short(0), FaultKind::Short(100)],
        Call::Allocate | Call::Truncate | Call::Create | Call::CreateDir | Call::Rename | Call::Sync => {
            &[FaultKind::Io, FaultKind::NoSpace]
        }
        Call::Read => &[FaultKind::Io, FaultKind::Short(10)],
        _ => &[FaultKind::Io],
    }
}

/// What a file is for.
fn role(path: &Path) -> &'static str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let size = SegmentSize::new(1 << 20).unwrap();
    let within = |folder: &str| path.starts_with(Path::new(DIR).join(folder));
    match () {
        () if within("pg_wal/archive_status") => "archive mark",
        () if wal::SegmentNumber::parse_file_name(name, size).is_some() => "segment",
        () if name.starts_with("xlogtemp") => "new segment",
        () if within("pg_wal") => "pg_wal",
        () if name.contains("pg_control") => "control file",
        () if within("base") => "relation",
        () => "other",
    }
}

#[tokio::test]
async fn the_script_passes_commit_checkpoint_switch_recycling_archiving_and_a_clean_stop() {
    let bench = Bench::new().await;
    let trace = bench.trace(End::Stop).await;
    let mut counts: BTreeMap<(&'static str, Call), u64> = BTreeMap::new();
    for operation in &trace {
        *counts.entry((role(&operation.path), operation.call)).or_default() += 1;
    }
    println!("{counts:?}");
    for (what, role, call) in [
        ("a commit's log", "segment", Call::Write),
        ("a commit's flush", "segment", Call::Sync),
        ("a checkpoint's pages", "relation", Call::Write),
        ("a checkpoint's flush", "relation", Call::Sync),
        ("a checkpoint's end", "control file", Call::Rename),
        ("a new tree", "relation", Call::Create),
        ("pages read back", "relation", Call::Read),
        ("a switch to a segment that is made", "new segment", Call::Rename),
        ("an old segment renamed for later use", "segment", Call::Rename),
        ("an old segment removed", "segment", Call::RemoveFile),
        ("a segment marked ready", "archive mark", Call::Create),
        ("a mark that turns to done", "archive mark", Call::Rename),
        ("the mark of a removed segment", "archive mark", Call::RemoveFile),
        ("a folder's flush", "pg_wal", Call::SyncDir),
    ] {
        assert!(counts.get(&(role, call)).is_some_and(|count| *count > 0), "{what}: {counts:?}");
    }
    let killed = bench.trace(End::Kill).await;
    assert!(trace.len() > killed.len() + 5, "a clean stop makes calls of its own");
}

#[tokio::test]
async fn whichever_call_fails_nothing_is_acknowledged_that_it_should_have_made_durable() {
    let long = std::env::var("PLIMSOLL_LONG_TESTS").is_ok_and(|value| value == "1");
    let bench = Bench::new().await;
    let sites = bench.sites().await;
    let (mut tried, mut met) = (0, 0);
    for (call, count) in &sites {
        // The short form takes every fifth of the calls that are made very often.
        let step = if long || *count < 100 { 1 } else { 5 };
        for nth in (1..=*count).step_by(step) {
            for kind in kinds_of(*call) {
                let disk = bench.base.fork();
                disk.inject(Fault::once(*call, "", nth, *kind));
                let run = bench.script(Arc::new(disk.clone()), End::Stop);
                let what = || format!("{call:?} number {nth} of {count} as {kind:?}");
                let outcome = tokio::time::timeout(Duration::from_secs(30), run)
                    .await
                    .unwrap_or_else(|_| panic!("{}: it hangs", what()));
                disk.clear_faults();
                tried += 1;
                met += u64::from(outcome.errors > 0 || !outcome.opened);
                bench.judge(&disk, &outcome).await.unwrap_or_else(|found| panic!("{}: {found}", what()));
            }
        }
    }
    println!("{tried} faults at {sites:?}, {met} of them noticed by a caller, none lost anything");
    assert!(tried > 300 && met > 100);
}

/// Syncs claim to have worked.
#[derive(Debug)]
struct Lies;

impl Hooks for Lies {
    fn sync(&self, file: &dyn File) -> io::Result<()> {
        let _ = file.sync();
        Ok(())
    }
}

#[tokio::test]
async fn a_failed_sync_that_is_taken_for_a_success_is_caught() {
    let bench = Bench::new().await;
    let syncs = bench.sites().await[&Call::Sync];
    let mut caught = 0;
    for nth in 1..=syncs {
        let disk = bench.base.fork();
        disk.inject(Fault::once(Call::Sync, "", nth, FaultKind::Io));
        let outcome = bench.script(Arc::new(WrappedDisk::new(disk.clone(), Lies)), End::Stop).await;
        disk.clear_faults();
        // The last sync of a kind may be made good by a later one.
        caught += u64::from(bench.judge_at_once(&disk, &outcome).await.is_err());
    }
    assert!(caught > 0, "the control: none of {syncs} lost syncs was noticed");
}

impl Bench {
    /// [`Bench::judge`], where a panic counts as a verdict too.
    async fn judge_at_once(&self, disk: &VirtualDisk, outcome: &Outcome) -> Result<(), String> {
        let image = disk.crash(CrashPolicy::LoseUnsynced);
        let (db, _) = try_open(&image, options()).map_err(|error| error.to_string())?;
        let all = statement_or(&db).await.map_err(|error| error.to_string())?;
        let found = all.get(self.counters, b"n").await.map_err(|error| error.to_string())?;
        let counter: u64 = text(found).and_then(|number| number.parse().ok()).ok_or("no counter")?;
        if counter < outcome.acknowledged { Err(format!("{counter}: {outcome:?}")) } else { Ok(()) }
    }
}
