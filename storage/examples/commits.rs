//! How many small commits a second the engine takes: `cargo run --release -p storage --example commits
//! [sessions] [level]`.
//!
//! Each transaction locks, reads and updates one row of 100 bytes out of 100,000, and commits.

use std::time::{Duration, Instant};
use storage::{
    CheckpointKind, CreateOptions, Database, DatabaseOptions, Error, Isolation, LockMode, LockWait, Opened,
    StartMode, SyncLevel, TreeId,
};

const ROWS: u32 = 100_000;

async fn load(db: &Database) -> Result<TreeId, Error> {
    let mut transaction = db.begin(Isolation::ReadCommitted);
    let tree = transaction.create_tree(5).await?;
    transaction.commit(SyncLevel::Off).await?;
    for chunk in 0..ROWS / 1000 {
        let mut transaction = db.begin(Isolation::ReadCommitted);
        transaction.begin_statement().await?;
        for row in chunk * 1000..(chunk + 1) * 1000 {
            let key = row.to_be_bytes();
            transaction.lock(tree, &key, LockMode::Exclusive, LockWait::Forever).await?;
            transaction.put(tree, key.to_vec(), vec![b'x'; 100])?;
        }
        transaction.commit(SyncLevel::Off).await?;
    }
    db.checkpoint(CheckpointKind::Immediate).await?;
    Ok(tree)
}

async fn update(
    db: Database,
    tree: TreeId,
    level: SyncLevel,
    until: Instant,
    seed: u64,
) -> Result<u64, Error> {
    let (mut done, mut random) = (0, seed);
    while Instant::now() < until {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = ((random >> 33) as u32 % ROWS).to_be_bytes();
        let mut transaction = db.begin(Isolation::ReadCommitted);
        transaction.begin_statement().await?;
        let locked = transaction.lock(tree, &key, LockMode::Exclusive, LockWait::Forever).await?;
        let mut value = locked.newest.map(Vec::from).unwrap_or_default();
        if let Some(first) = value.first_mut() {
            *first = first.wrapping_add(1);
        }
        transaction.put(tree, key.to_vec(), value)?;
        transaction.commit(level).await?;
        done += 1;
    }
    Ok(done)
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let sessions: u64 = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let level = match arguments.next().as_deref() {
        Some("local") => SyncLevel::Local,
        _ => SyncLevel::Off,
    };
    let folder = std::env::temp_dir().join(format!("plimsoll-commits-{}", std::process::id()));
    let host = host::Host::real();
    Database::create(&host, &folder, &CreateOptions::default())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let Opened::Primary { db, .. } =
            Database::open(&host, DatabaseOptions::new(&folder), StartMode::Primary)?
        else {
            return Ok(());
        };
        let tree = load(&db).await?;
        let (begun, cpu) = (Instant::now(), cpu_seconds());
        let until = begun + Duration::from_secs(4);
        let tasks: Vec<_> =
            (0..sessions).map(|seed| tokio::spawn(update(db.clone(), tree, level, until, seed))).collect();
        let mut done = 0;
        for task in tasks {
            done += task.await.map_err(|_| Error::Shutdown)??;
        }
        let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        println!(
            "{sessions} sessions, {level:?}: {:.0} commits/s, {:.2} us CPU a commit",
            done as f64 / seconds,
            cpu * 1e6 / done as f64
        );
        db.shutdown().await.map(drop)
    })?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
