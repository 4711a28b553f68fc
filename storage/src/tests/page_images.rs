//! full_page_writes: what the log says of it, what it then holds, and what backups of standbys make of that.

use super::standby::{backup, follow, follow_with, primary, ship};
use super::tools::KeepAll;
use super::*;
use crate::{CheckpointKind, PromoteOptions, RedoEnd};
use host::{File, sync::Mutex};
use simulation::{Hooks, WrappedDisk};
use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use wal::history::TimelineHistory;
use wal::reader::{Next, ReaderOptions, SegmentFiles, WalReader};
use wal::xlog::XlogRecord;
use wal::{Lsn, Record, Rmgr, TimelineId};

const OFF: fn() -> DatabaseOptions = || DatabaseOptions { full_page_writes: false, ..options() };

/// A primary that keeps all of its log.
async fn kept() -> (VirtualDisk, Database, TreeId) {
    let (disk, db, tree) = primary().await;
    db.set_retention(Arc::new(KeepAll));
    (disk, db, tree)
}

/// All that is in the log from `from` on; `from` is where a record starts.
fn log_from(disk: &VirtualDisk, timeline: TimelineId, from: Lsn) -> Vec<Record> {
    let (wal_dir, size) = (Path::new(DIR).join("pg_wal"), SegmentSize::new(1 << 20).unwrap());
    let history = match timeline {
        TimelineId::FIRST => TimelineHistory::root(timeline),
        later => TimelineHistory::load(disk, &wal_dir, later).unwrap(),
    };
    let source = SegmentFiles::new(Arc::new(disk.clone()), wal_dir, size, history);
    let mut reader = WalReader::new(source, ReaderOptions::new(size), from);
    let mut records = Vec::new();
    while let Next::Record(record) = reader.next().unwrap() {
        records.push(record);
    }
    records
}

fn xlog(record: &Record) -> Option<XlogRecord> {
    (record.rmgr() == Rmgr::XLOG).then(|| XlogRecord::parse(record).unwrap())
}

/// What the database's log says of full_page_writes from `from` on, once all is flushed.
fn said(disk: &VirtualDisk, db: &Database, from: Lsn) -> Vec<bool> {
    db.wal().unwrap().flush_all().unwrap();
    let records = log_from(disk, db.timeline(), from);
    let switch = |record: &Record| match xlog(record) {
        Some(XlogRecord::FpwChange(on)) => Some(on),
        _ => None,
    };
    records.iter().filter_map(switch).collect()
}

/// Whether the first record of a page's change from `from` on has images.
fn has_image(disk: &VirtualDisk, db: &Database, from: Lsn) -> bool {
    db.wal().unwrap().flush_all().unwrap();
    let records = log_from(disk, db.timeline(), from);
    let change = records.iter().find(|record| record.rmgr() == Rmgr::ENGINE).unwrap();
    change.blocks().any(|block| block.image.is_some())
}

/// Where the next record starts, at a segment's beginning.
fn next(db: &Database) -> Lsn {
    db.wal().unwrap().switch_segment().unwrap();
    db.positions().unwrap().inserted()
}

async fn checkpoint(db: &Database) -> bool {
    db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    db.control().checkpoint_copy.full_page_writes
}

/// Whether a change of this row, the first after a checkpoint, is logged with an image.
async fn change_has_image(disk: &VirtualDisk, db: &Database, tree: TreeId) -> bool {
    db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    let from = next(db);
    write(db, tree, &[("row 000", "changed")], SyncLevel::Local).await;
    has_image(disk, db, from)
}

#[tokio::test]
async fn each_switch_is_logged_once_and_checkpoints_say_the_same() {
    let (disk, db, tree) = kept().await;
    let from = next(&db);
    for (on, logged) in [
        (true, &[][..]),
        (false, &[false][..]),
        (false, &[false]),
        (true, &[false, true]),
        (false, &[false, true, false]),
    ] {
        db.set_full_page_writes(on).unwrap();
        assert_eq!(said(&disk, &db, from), logged);
        assert_eq!(checkpoint(&db).await, on);
        assert_eq!(change_has_image(&disk, &db, tree).await, on);
    }
}

#[tokio::test]
async fn a_start_logs_what_was_switched_before_after_a_stop_and_after_a_crash() {
    let (disk, db, tree) = primary().await;
    let from = next(&db);
    db.shutdown().await.unwrap();
    drop(db);
    let (db, _) = try_open(&disk, OFF()).unwrap();
    assert_eq!(said(&disk, &db, from), [false]);
    assert!(!change_has_image(&disk, &db, tree).await);
    // Nothing has changed for this start.
    drop(db);
    let disk = power_cut(&disk);
    let (db, _) = try_open(&disk, OFF()).unwrap();
    assert_eq!(said(&disk, &db, from), [false]);
    // This one crashes without a checkpoint that would say the same as the record.
    db.set_full_page_writes(true).unwrap();
    write(&db, tree, &[("row 000", "after the switch")], SyncLevel::Local).await;
    drop(db);
    let disk = power_cut(&disk);
    let (db, _) = try_open(&disk, options()).unwrap();
    assert_eq!(said(&disk, &db, from), [false, true]);
    drop(db);
    let disk = power_cut(&disk);
    let (db, _) = try_open(&disk, OFF()).unwrap();
    assert_eq!(said(&disk, &db, from), [false, true, false]);
}

#[tokio::test]
async fn backups_that_run_force_images_and_the_log_does_not_say_so() {
    let (disk, db, tree) = kept().await;
    let from = next(&db);
    let first = db.start_backup("first", Duration::ZERO).await.unwrap();
    db.set_full_page_writes(false).unwrap();
    let second = db.start_backup("second", Duration::ZERO).await.unwrap();
    assert!(change_has_image(&disk, &db, tree).await);
    db.stop_backup(first).await.unwrap();
    assert!(change_has_image(&disk, &db, tree).await);
    assert!(!checkpoint(&db).await);
    db.abort_backup(second);
    assert!(!change_has_image(&disk, &db, tree).await);
    assert_eq!(said(&disk, &db, from), [false]);
}

#[tokio::test]
async fn a_backup_of_an_idle_primary_begins_at_a_redo_point_that_images_follow() {
    let disk = new_disk();
    let (db, _) = try_open(&disk, OFF()).unwrap();
    let redo = db.checkpoint(CheckpointKind::Immediate).await.unwrap().redo;
    let begun = db.start_backup("spread", Duration::from_secs(60)).await.unwrap();
    assert!(begun.start > redo, "{} {redo}", begun.start);
    db.abort_backup(begun);
}

/// Does something in the middle of the next checkpoint, once.
#[derive(Default)]
struct Middle(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl std::fmt::Debug for Middle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Middle")
    }
}

#[derive(Debug)]
struct AtSync(Arc<Middle>);

impl Hooks for AtSync {
    fn sync(&self, file: &dyn File) -> io::Result<()> {
        let act = self.0.0.lock().take();
        if let Some(act) = act {
            std::thread::spawn(act).join().unwrap();
        }
        file.sync()
    }
}

#[tokio::test]
async fn a_checkpoint_says_what_held_at_its_redo_point() {
    let disk = new_disk();
    let middle = Arc::new(Middle::default());
    let wrapped = WrappedDisk::new(disk.clone(), AtSync(Arc::clone(&middle)));
    let host = Host { disk: Arc::new(wrapped), ..host_on(&disk) };
    let Opened::Primary { db, .. } = Database::open(&host, OFF(), StartMode::Primary).unwrap() else {
        panic!("asked for a primary")
    };
    let mut transaction = db.begin(Isolation::ReadCommitted);
    transaction.create_tree(5).await.unwrap();
    transaction.commit(SyncLevel::Local).await.unwrap();
    for on in [true, false] {
        let other = db.clone();
        *middle.0.lock() = Some(Box::new(move || other.set_full_page_writes(on).unwrap()));
        let mut transaction = db.begin(Isolation::ReadCommitted);
        transaction.create_tree(5).await.unwrap();
        transaction.commit(SyncLevel::Off).await.unwrap();
        assert_eq!(checkpoint(&db).await, !on, "it was {on} only after the redo point");
        assert!(middle.0.lock().is_none());
        assert_eq!(checkpoint(&db).await, on);
    }
}

/// Fails where a checkpoint says that images follow its redo point and one is missing before the log takes
/// that back. How many checkpoints said so.
fn check_images(records: &[Record]) -> usize {
    let mut promises = 0;
    for record in records {
        let Some(XlogRecord::CheckpointOnline(contents)) = xlog(record) else { continue };
        if !contents.full_page_writes {
            continue;
        }
        promises += 1;
        let mut met = BTreeSet::new();
        for later in records.iter().filter(|later| later.start() >= contents.redo) {
            if let Some(XlogRecord::FpwChange(false)) = xlog(later) {
                break;
            }
            for block in later.blocks() {
                let is_first = met.insert((block.rel, block.block));
                let is_whole = block.will_init || block.image.is_some();
                assert!(is_whole || !is_first, "{} after {}", later.start(), contents.redo);
            }
        }
    }
    promises
}

#[tokio::test]
async fn images_follow_wherever_the_log_says_so_under_switches_checkpoints_and_writes() {
    let (disk, db, tree) = kept().await;
    let from = next(&db);
    let done = Arc::new(AtomicBool::new(false));
    let (other, ends) = (db.clone(), Arc::clone(&done));
    let switcher = std::thread::spawn(move || {
        let mut on = true;
        while !ends.load(Ordering::Acquire) {
            on = !on;
            other.set_full_page_writes(on).unwrap();
            std::thread::yield_now();
        }
    });
    let (other, ends) = (db.clone(), Arc::clone(&done));
    let promised = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&promised);
    let checkpointer = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        while !ends.load(Ordering::Acquire) {
            counted.fetch_add(usize::from(runtime.block_on(checkpoint(&other))), Ordering::AcqRel);
        }
    });
    // Until some checkpoints say on, whoever gets the processor.
    let mut round = 0;
    while round < 600 || promised.load(Ordering::Acquire) < 10 {
        write(&db, tree, &[(&format!("row {:03}", round % 200), "changed")], SyncLevel::Off).await;
        round += 1;
    }
    done.store(true, Ordering::Release);
    switcher.join().unwrap();
    checkpointer.join().unwrap();
    db.wal().unwrap().flush_all().unwrap();
    let promises = check_images(&log_from(&disk, TimelineId::FIRST, from));
    assert!(promises >= promised.load(Ordering::Acquire), "each of them is met");
}

#[tokio::test]
async fn a_switch_that_the_log_does_not_take_is_an_error_and_images_are_made_until_it_does() {
    let (disk, db, tree) = kept().await;
    checkpoint(&db).await;
    let from = next(&db);
    // There is no segment for the next record, and no place to make one.
    disk.set_capacity(0);
    let refused = db.set_full_page_writes(false);
    assert!(matches!(refused, Err(Error::DiskFull { .. })), "{refused:?}");
    assert!(db.checkpoint(CheckpointKind::Immediate).await.is_err());
    disk.set_capacity(u64::MAX);
    write(&db, tree, &[("row 000", "changed")], SyncLevel::Local).await;
    assert_eq!(said(&disk, &db, from), []);
    assert!(has_image(&disk, &db, from), "nobody was told that there are none");
    assert!(!checkpoint(&db).await);
    assert_eq!(said(&disk, &db, from), [false]);
    assert!(!change_has_image(&disk, &db, tree).await);
    // A log that has failed for good takes the server down, by whoever flushes it.
    disk.inject(simulation::Fault::once(simulation::Call::Sync, "", 1, simulation::FaultKind::Io));
    db.wal().unwrap().switch_segment().unwrap();
    db.wal().unwrap().flush_all().unwrap_err();
    assert!(matches!(db.set_full_page_writes(true), Err(Error::Log(_))));
}

async fn refusal(db: &Database, since: &str) {
    let refused = db.start_backup("of a standby", Duration::ZERO).await.unwrap_err();
    assert_eq!(refused.sqlstate().as_str(), "55000");
    assert!(refused.to_string().ends_with(since), "{refused}");
}

#[tokio::test]
async fn a_backup_of_a_standby_is_refused_until_a_restartpoint_that_images_follow() {
    let (disk, db, tree) = kept().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    standby.catch_up(&disk, &db);
    // All that the standby has redone has its images.
    let begun = standby.db.start_backup("of a standby", Duration::ZERO).await.unwrap();
    db.set_full_page_writes(false).unwrap();
    write(&db, tree, &[("row 000", "torn")], SyncLevel::Local).await;
    standby.catch_up(&disk, &db);
    refusal(&standby.db, "since the last restartpoint").await;
    let refused = standby.db.stop_backup(begun).await.unwrap_err();
    assert_eq!(refused.sqlstate().as_str(), "55000");
    assert!(refused.to_string().ends_with("during the online backup"), "{refused}");
    // Neither a checkpoint that says "off" nor "on" without one is enough.
    checkpoint(&db).await;
    standby.catch_up(&disk, &db);
    refusal(&standby.db, "since the last restartpoint").await;
    db.set_full_page_writes(true).unwrap();
    standby.catch_up(&disk, &db);
    refusal(&standby.db, "since the last restartpoint").await;
    // Nor do they force anything: the counts of running backups are right.
    assert!(checkpoint(&db).await);
    standby.catch_up(&disk, &db);
    let begun = standby.db.start_backup("of a standby", Duration::ZERO).await.unwrap();
    standby.db.stop_backup(begun).await.unwrap();
    standby.stop();
}

#[tokio::test]
async fn a_standby_started_again_knows_from_its_checkpoint_and_its_log_that_images_are_missing() {
    let (disk, db, _) = primary().await;
    db.set_full_page_writes(false).unwrap();
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    standby.catch_up(&disk, &db);
    refusal(&standby.db, "since the last restartpoint").await;
    db.set_full_page_writes(true).unwrap();
    checkpoint(&db).await;
    db.set_full_page_writes(false).unwrap();
    db.set_full_page_writes(true).unwrap();
    standby.catch_up(&disk, &db);
    let (copy, stopped, _) = standby.stop();
    stopped.shutdown().await.unwrap();
    drop(stopped);
    assert!(wal::control::ControlFile::load(&copy, Path::new(DIR)).unwrap().checkpoint_copy.full_page_writes);
    let standby = follow(&copy);
    standby.catch_up(&disk, &db);
    refusal(&standby.db, "since the last restartpoint").await;
    checkpoint(&db).await;
    standby.catch_up(&disk, &db);
    let begun = standby.db.start_backup("of a standby", Duration::ZERO).await.unwrap();
    standby.db.abort_backup(begun);
    standby.stop();
}

#[tokio::test]
async fn a_promoted_standby_logs_where_its_setting_is_another_than_the_logs() {
    let (disk, db, tree) = primary().await;
    for (of_log, start, reload, logged) in [
        (true, true, true, &[][..]),
        (true, false, false, &[false]),
        (false, true, true, &[true]),
        (true, true, false, &[false]),
        (true, false, true, &[]),
    ] {
        db.set_full_page_writes(of_log).unwrap();
        let copy = backup(&disk, &db, async {}).await;
        let standby = follow_with(&copy, DatabaseOptions { full_page_writes: start, ..options() });
        standby.db.set_full_page_writes(reload).unwrap();
        write(&db, tree, &[("row 000", "last")], SyncLevel::Local).await;
        standby.catch_up(&disk, &db);
        ship(&disk, &copy);
        let (promoted, end) = standby.end_for_promotion();
        let RedoEnd::Promote { at, .. } = end else { panic!("{end:?}") };
        let how = PromoteOptions { new_timeline: TimelineId::new(2), reason: "test".into() };
        promoted.promote(end, how).await.unwrap().end_recovery().await.unwrap();
        assert_eq!(said(&copy, &promoted, at), logged, "{of_log} {start} {reload}");
        let first = log_from(&copy, TimelineId::new(2), at);
        assert!(matches!(xlog(&first[0]), Some(XlogRecord::EndOfRecovery { .. })), "the timeline's first");
        assert_eq!(checkpoint(&promoted).await, reload);
    }
}

#[tokio::test]
async fn a_backup_that_a_standby_began_does_not_go_on_as_its_own_once_it_is_promoted() {
    let (_disk, db, _) = primary().await;
    let refused = crate::recovery::backup::begin(&db.0, "begun as a standby", true).unwrap_err();
    assert!(refused.to_string().contains("was promoted during online backup"), "{refused}");
}
