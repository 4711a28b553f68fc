//! Rewinds on a virtual disk that loses power at any of their calls.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod behind;
mod gone_log;
mod killed;
mod kinds;
mod large;
mod marks;
mod model;
mod other_source;
mod report;
mod room;
mod undecided;

use crate::{Need, NodeFiles, Progress, Rewind, RewindError, RewindOptions, Rewound, SourceName};
use host::{Disk, FileKind, Host};
use simulation::{CrashPolicy, Fault, VirtualDisk};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use storage::{
    CheckpointKind, CreateOptions, Database, DatabaseOptions, Feed, Isolation, LockMode, LockWait, Opened,
    PromoteOptions, REWIND_MARKER, StartMode, SyncLevel, TreeId, WalFeed, WalSizes,
};
use wal::backup_label::BackupLabel;
use wal::control::ControlFile;
use wal::timelines::{RecoveryStart, TargetTimeline};
use wal::{BranchRecord, Lsn, SegmentSize, TimelineId};

fn host_on(disk: &VirtualDisk) -> Host {
    simulation::host(disk, 7)
}

fn options(dir: &str) -> DatabaseOptions {
    DatabaseOptions {
        shared_buffers_bytes: 1 << 20,
        wal_buffers_bytes: 1 << 20,
        background: false,
        wal_sizes: WalSizes { min_bytes: 1 << 20, max_bytes: 16 << 20, ..WalSizes::default() },
        ..DatabaseOptions::new(dir)
    }
}

fn open(disk: &VirtualDisk, dir: &str) -> Database {
    match Database::open(&host_on(disk), options(dir), StartMode::Primary).unwrap() {
        Opened::Primary { db, .. } => db,
        Opened::Standby { .. } => panic!("asked for a primary"),
    }
}

/// /one: a new primary, with small segments.
fn create_one(disk: &VirtualDisk) -> Database {
    let small =
        CreateOptions { segment_size: SegmentSize::new(1 << 20).unwrap(), ..CreateOptions::default() };
    Database::create(&host_on(disk), Path::new("/one"), &small).unwrap();
    open(disk, "/one")
}

/// A copy of /one, which may run.
fn copy_one(disk: &VirtualDisk, to: &str) {
    copy_tree(disk, Path::new("/one"), Path::new(to));
    disk.remove_file(&Path::new(to).join("plimsoll/lock")).unwrap();
}

/// A feed that says one thing.
struct Always(Feed);

impl WalFeed for Always {
    fn wait_past(&self, _lsn: Lsn) -> Feed {
        self.0
    }
}

/// Opens a directory as a standby of the latest timeline that it may follow.
fn follow(disk: &VirtualDisk, dir: &str) -> (Database, Box<storage::StandbyRedo>) {
    let (shared, path): (Arc<dyn Disk>, _) = (Arc::new(disk.clone()), Path::new(dir));
    let control = ControlFile::load(disk, path).unwrap();
    let label = BackupLabel::load(disk, path, control.segment_size).unwrap();
    let record = BranchRecord::load(disk, path, &control).unwrap();
    let start = RecoveryStart::found(&control, label.as_ref(), record);
    let chosen = start.choose(&shared, &path.join("pg_wal"), TargetTimeline::Latest).unwrap();
    let mode = StartMode::Standby { timeline: chosen.target() };
    match Database::open(&host_on(disk), options(dir), mode).unwrap() {
        Opened::Standby { db, redo } => (db, redo),
        Opened::Primary { .. } => panic!("asked for a standby"),
    }
}

async fn new_tree(db: &Database) -> TreeId {
    let mut transaction = db.begin(Isolation::ReadCommitted);
    let tree = transaction.create_tree(5).await.unwrap();
    transaction.commit(SyncLevel::Local).await.unwrap();
    tree
}

/// One transaction that writes rows `keys` with this value, and another that writes it anew.
async fn write(db: &Database, tree: TreeId, keys: impl Iterator<Item = u32>, value: &str) {
    let mut transaction = db.begin(Isolation::ReadCommitted);
    transaction.begin_statement().await.unwrap();
    for key in keys {
        let key = format!("row {key:05}");
        transaction.lock(tree, key.as_bytes(), LockMode::Exclusive, LockWait::Forever).await.unwrap();
        transaction.put(tree, key, value.to_owned()).unwrap();
    }
    transaction.commit(SyncLevel::Local).await.unwrap();
}

async fn drop_tree(db: &Database, tree: TreeId) {
    let mut transaction = db.begin(Isolation::ReadCommitted);
    transaction.begin_statement().await.unwrap();
    transaction.drop_tree(tree).unwrap();
    transaction.commit(SyncLevel::Local).await.unwrap();
}

fn copy_tree(disk: &VirtualDisk, from: &Path, to: &Path) {
    disk.create_dir_all(to).unwrap();
    for entry in disk.list(from).unwrap() {
        let (from, to) = (from.join(&entry.name), to.join(&entry.name));
        match entry.kind {
            FileKind::Directory => copy_tree(disk, &from, &to),
            _ => host::write_file_durably(disk, &to, &disk.read(&from, 1 << 30).unwrap()).unwrap(),
        }
    }
    disk.sync_dir(to).unwrap();
    disk.sync_dir(to.parent().unwrap()).unwrap();
}

/// A copy of /one becomes a primary of this timeline.
async fn promoted(disk: &VirtualDisk, dir: &str, timeline: u32) -> Database {
    let (copy, mut redo) = follow(disk, dir);
    let end = redo.run(&Always(Feed::Promote { timeline: TimelineId::FIRST })).unwrap();
    let how = PromoteOptions { new_timeline: TimelineId::new(timeline), reason: "test".into() };
    copy.promote(end, how).await.unwrap().end_recovery().await.unwrap();
    copy
}

/// Makes a copy of /one a primary of the second timeline, and stops it.
async fn promote_copy(disk: &VirtualDisk, dir: &str) {
    promoted(disk, dir, 2).await.shutdown().await.unwrap();
}

/// Runs a copy of /one as a standby to the end of its log, and stops it.
async fn stop_standby(disk: &VirtualDisk, dir: &str) {
    let (standby, mut redo) = follow(disk, dir);
    redo.run(&Always(Feed::Stop)).unwrap();
    standby.shutdown().await.unwrap();
}

/// /one: a primary that was killed; /two: its copy, which was promoted before the end of /one's log, went on,
/// and was stopped.
async fn diverged() -> VirtualDisk {
    diverged_after(0).await
}

/// The same with so many transactions of some hundred KiB of log each between the last common checkpoint
/// and the fork; /log has the log up to there, which both remove by and by.
async fn diverged_after(more: u32) -> VirtualDisk {
    let disk = VirtualDisk::new();
    let one = create_one(&disk);
    let (kept, goes) = (new_tree(&one).await, new_tree(&one).await);
    write(&one, kept, 0..400, &"common ".repeat(20)).await;
    write(&one, goes, 0..100, &"goes ".repeat(20)).await;
    let lost = new_tree(&one).await;
    write(&one, lost, 0..300, &"in no log ".repeat(20)).await;
    one.checkpoint(CheckpointKind::Immediate).await.unwrap();
    write(&one, kept, 100..110, "before the fork").await;
    for round in 0..more {
        write(&one, kept, 0..1000, &format!("{round} {}", "common ".repeat(75))).await;
    }
    copy_one(&disk, "/two");
    copy_tree(&disk, Path::new("/one/pg_wal"), Path::new("/log"));

    let two = promoted(&disk, "/two", 2).await;
    write(&two, kept, 390..700, &"there ".repeat(30)).await;
    drop_tree(&two, goes).await;
    let made = new_tree(&two).await;
    write(&two, made, 0..50, "made there").await;
    two.shutdown().await.unwrap();
    drop(two);

    write(&one, kept, 50..60, "here").await;
    drop_tree(&one, lost).await;
    one.checkpoint(CheckpointKind::Immediate).await.unwrap();
    write(&one, kept, 390..500, &"here too ".repeat(30)).await;
    let made = new_tree(&one).await;
    write(&one, made, 0..80, &"made here ".repeat(20)).await;
    write(&one, goes, 0..10, "here").await;
    drop(one);
    disk.fork()
}

/// /one becomes /two's.
fn to_two() -> RewindOptions {
    RewindOptions {
        source: SourceName::Directory("/two".into()),
        target: "/one".into(),
        node_files: NodeFiles::Keep,
        standby: true,
        supply: None,
        stop: Default::default(),
    }
}

async fn rewind(disk: &VirtualDisk) -> Result<Option<Rewound>, RewindError> {
    rewind_with(disk, to_two()).await
}

async fn rewind_with(disk: &VirtualDisk, options: RewindOptions) -> Result<Option<Rewound>, RewindError> {
    let rewind = Rewind::prepare(&host_on(disk), options).await?;
    match rewind.need() {
        Need::Nothing => Ok(None),
        _ => rewind.run(&mut |_| {}).await.map(Some),
    }
}

fn relations(disk: &VirtualDisk, dir: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in ["base/1", "base/5"] {
        let path = Path::new(dir).join(folder);
        for entry in disk.list(&path).unwrap() {
            let bytes = disk.read(&path.join(&entry.name), 1 << 30).unwrap();
            files.insert(format!("{folder}/{}", entry.name), bytes);
        }
    }
    files
}

/// Has /one redo what it has, and compares it with /two.
async fn assert_is_twos(disk: &VirtualDisk, what: &str) {
    assert_is_equal(disk, "/two", what).await;
}

/// The same with another source.
async fn assert_is_equal(disk: &VirtualDisk, source: &str, what: &str) {
    let (db, mut redo) = follow(disk, "/one");
    redo.run(&Always(Feed::Stop)).unwrap();
    assert!(db.is_consistent(), "{what}: not consistent at {}", db.replayed());
    db.shutdown().await.unwrap();
    let (one, two) = (relations(disk, "/one"), relations(disk, source));
    assert_eq!(one.keys().collect::<Vec<_>>(), two.keys().collect::<Vec<_>>(), "{what}");
    for (name, bytes) in &one {
        let theirs = &two[name];
        let page = bytes.chunks(8192).zip(theirs.chunks(8192)).position(|(one, two)| one != two);
        assert!(bytes == theirs, "{what}: {name}: {} and {} bytes, page {page:?}", bytes.len(), theirs.len());
    }
}

#[tokio::test]
async fn a_killed_primary_becomes_its_successors_equal() {
    let disk = diverged().await;
    let rewound = rewind(&disk).await.unwrap().unwrap();
    assert_eq!(rewound.timeline, TimelineId::new(2));
    assert!(rewind(&disk).await.unwrap().is_none(), "once is enough");
    assert_is_twos(&disk, "rewound").await;
}

#[tokio::test]
async fn what_will_be_copied_is_told_before_with_the_log() {
    let disk = diverged().await;
    let mut begun = Rewind::prepare(&host_on(&disk), to_two()).await.unwrap();
    let plan = begun.plan().await.unwrap().unwrap();
    assert!(plan.log_bytes > 0 && plan.log_files > 0, "{plan:?}");
    assert!(plan.source_bytes > plan.bytes(), "{plan:?}");
    let mut last = None;
    let rewound = begun.run(&mut |progress| last = Some(progress)).await.unwrap();
    let Progress { bytes, total_bytes, .. } = last.unwrap();
    assert_eq!((plan.bytes(), bytes, total_bytes), (rewound.bytes, rewound.bytes, rewound.bytes));
}

/// What becomes of what was not synced, in turns.
fn policy_of(turn: u64) -> CrashPolicy {
    match turn % 3 {
        0 => CrashPolicy::LoseUnsynced,
        1 => CrashPolicy::KeepAll,
        _ => CrashPolicy::Anything { seed: turn },
    }
}

#[tokio::test]
async fn a_rewind_that_loses_power_at_any_call_can_be_run_again() {
    let disk = diverged().await;
    let mut refused = 0;
    for call in 1.. {
        let failing = disk.fork();
        failing.inject(Fault::power_off(call));
        let done = rewind(&failing).await.is_ok();
        let policy = policy_of(call);
        let after = failing.crash(policy);
        let what = format!("call {call}, {policy:?}");
        if done {
            assert!(call > 50, "only {call} calls");
            assert_is_twos(&after, &what).await;
            break;
        }
        if after.exists(&Path::new("/one").join(REWIND_MARKER)).unwrap() {
            refused += 1;
            let opened = Database::open(&host_on(&after), options("/one"), StartMode::Primary);
            let error = opened.err().unwrap_or_else(|| panic!("{what}: it starts")).to_string();
            assert!(error.contains("rewind"), "{what}: {error}");
        }
        rewind(&after).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_is_twos(&after, &what).await;
    }
    assert!(refused > 30, "{refused}");
}
