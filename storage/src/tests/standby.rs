//! Standbys, backups and promotion, on log copied between two virtual disks.

use super::*;
use crate::testing::{difference, files};
use crate::{
    CheckpointKind, Conflict, Direction, Feed, Interrupt, PromoteOptions, RedoEnd, StandbyLog, StandbyRedo,
    WalFeed,
};
use host::Disk;
use host::sync::{Condvar, Mutex};
use wal::backup_label::BackupLabel;
use wal::control::ControlFile;
use wal::history::{BranchId, TimelineHistory};
use wal::timelines::{RecoveryStart, TargetTimeline, TimelineError};
use wal::{BranchRecord, Lsn, TimelineId, WalError};

/// A feed that a test moves by hand.
#[derive(Default)]
pub(super) struct HandFeed {
    state: Mutex<HandState>,
    moved: Condvar,
}

#[derive(Default)]
struct HandState {
    next: Option<Feed>,
    /// What redo was told last that it may read.
    given: Lsn,
    redone: Lsn,
    /// The position that redo waits past.
    waiting: Option<Lsn>,
    conflicts: Vec<Conflict>,
    /// Redo waits until readers are out of its way.
    is_patient: bool,
    damaged: Vec<(Lsn, String)>,
    /// Nothing behind it may be redone.
    hold: Option<Lsn>,
    panics: bool,
}

impl WalFeed for HandFeed {
    fn wait_past(&self, lsn: Lsn) -> Feed {
        let mut state = self.state.lock();
        state.waiting = Some(lsn);
        self.moved.notify_all();
        loop {
            match state.next {
                Some(Feed::Available { upto, .. }) if upto <= lsn.max(state.given) => {}
                Some(feed) => {
                    match feed {
                        Feed::Available { upto, .. } => state.given = upto,
                        // Once.
                        Feed::Again { .. } | Feed::Stalled => state.next = None,
                        _ => {}
                    }
                    state.waiting = None;
                    return feed;
                }
                None => {}
            }
            self.moved.wait(&mut state);
        }
    }
    fn redone(&self, lsn: Lsn) {
        self.state.lock().redone = lsn;
    }
    fn may_replay(&self, _at: Lsn, end: Lsn, _committed: Option<Timestamp>) -> bool {
        let state = self.state.lock();
        assert!(!state.panics, "injected");
        state.hold.is_none_or(|hold| end <= hold)
    }
    fn before_conflict(&self, conflict: &Conflict, are_held: &dyn Fn() -> bool) -> u64 {
        self.state.lock().conflicts.push(conflict.clone());
        self.moved.notify_all();
        while self.state.lock().is_patient && are_held() {
            std::thread::yield_now();
        }
        0
    }
    fn damaged(&self, at: Lsn, error: &wal::ReadError) {
        self.state.lock().damaged.push((at, error.to_string()));
    }
}

impl HandFeed {
    pub(super) fn set(&self, feed: Feed) {
        let mut state = self.state.lock();
        if !matches!(feed, Feed::Available { .. }) {
            // Redo goes on with it.
            state.waiting = None;
        }
        state.next = Some(feed);
        self.moved.notify_all();
    }
    pub(super) fn panic_at_next_record(&self) {
        self.state.lock().panics = true;
    }
    /// Lets nothing behind this be redone.
    pub(super) fn hold_at(&self, hold: Option<Lsn>) {
        self.state.lock().hold = hold;
    }
    /// Has redo wait until readers are out of its way.
    pub(super) fn be_patient(&self) {
        self.state.lock().is_patient = true;
    }
    /// The readers that redo has met in its way; waits for some if `some`.
    pub(super) fn conflicts(&self, some: bool) -> Vec<Conflict> {
        let mut state = self.state.lock();
        while some && state.conflicts.is_empty() {
            self.moved.wait(&mut state);
        }
        state.conflicts.clone()
    }
    /// Where redo has met damage since this was asked last, and which.
    pub(super) fn damage(&self) -> Vec<(Lsn, String)> {
        std::mem::take(&mut self.state.lock().damaged)
    }
    /// Waits until redo has done what it can.
    pub(super) fn settle(&self) {
        let mut state = self.state.lock();
        while state.waiting.is_none() {
            self.moved.wait(&mut state);
        }
    }
    /// Gives the log up to `upto` and waits until it is redone.
    pub(super) fn give(&self, upto: Lsn) {
        self.settle();
        let mut state = self.state.lock();
        state.next = Some(Feed::Available { upto, timeline: TimelineId::FIRST, generation: 0 });
        self.moved.notify_all();
        while state.waiting.is_none_or(|at| at.max(state.given) < upto) {
            self.moved.wait(&mut state);
        }
    }
}

pub(super) struct Standby {
    pub(super) disk: VirtualDisk,
    pub(super) db: Database,
    pub(super) feed: Arc<HandFeed>,
    pub(super) thread: std::thread::JoinHandle<Result<RedoEnd, Error>>,
}

pub(super) fn copy_file(from: &VirtualDisk, to: &VirtualDisk, path: &Path) {
    let bytes = from.read(path, 1 << 30).unwrap();
    let file = to.open(path, host::OpenMode::Create).unwrap();
    file.truncate(bytes.len() as u64).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    file.sync().unwrap();
}

fn copy_tree(from: &VirtualDisk, to: &VirtualDisk, path: &Path, skip: &dyn Fn(&Path) -> bool) {
    to.create_dir_all(path).unwrap();
    for entry in from.list(path).unwrap() {
        let path = path.join(&entry.name);
        if skip(&path) {
            continue;
        }
        match entry.kind {
            host::FileKind::Directory => copy_tree(from, to, &path, skip),
            _ => copy_file(from, to, &path),
        }
    }
    to.sync_dir(path).unwrap();
    to.sync_dir(Path::new("/")).unwrap();
}

/// Copies pg_wal as streaming would bring it.
pub(super) fn ship(from: &VirtualDisk, to: &VirtualDisk) {
    copy_tree(from, to, &Path::new(DIR).join("pg_wal"), &|_| false);
}

/// An online backup of a running primary, while `meanwhile` runs between its start and the copy.
pub(super) async fn backup(
    primary: &VirtualDisk,
    db: &Database,
    meanwhile: impl Future<Output = ()>,
) -> VirtualDisk {
    let begun = db.start_backup("test", Duration::ZERO).await.unwrap();
    meanwhile.await;
    let copy = VirtualDisk::new();
    copy_tree(primary, &copy, Path::new(DIR), &|path| {
        path.ends_with("pg_control") || path.ends_with("plimsoll") || path.ends_with("lock")
    });
    let label = Path::new(DIR).join("backup_label");
    host::write_file_durably(&copy, &label, begun.label_file.as_bytes()).unwrap();
    db.stop_backup(begun).await.unwrap();
    // The control file comes last, as pg_basebackup has it.
    copy_file(primary, &copy, &Path::new(DIR).join("global/pg_control"));
    ship(primary, &copy);
    copy
}

/// A start that follows the latest timeline.
pub(super) fn follow_latest(disk: &VirtualDisk) -> Result<StartMode, TimelineError> {
    let dir = Path::new(DIR);
    let control = ControlFile::load(disk, dir).unwrap();
    let label = BackupLabel::load(disk, dir, control.segment_size).unwrap();
    let record = BranchRecord::load(disk, dir, &control).unwrap();
    let start = RecoveryStart::found(&control, label.as_ref(), record);
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let history = start.choose(&disk, &dir.join("pg_wal"), TargetTimeline::Latest)?;
    Ok(StartMode::Standby { timeline: history.target() })
}

pub(super) fn follow(disk: &VirtualDisk) -> Standby {
    follow_with(disk, options())
}

pub(super) fn follow_with(disk: &VirtualDisk, options: DatabaseOptions) -> Standby {
    follow_along(disk, options, follow_latest(disk).unwrap())
}

/// Follows a timeline although there may be a later one.
pub(super) fn follow_with_target(disk: &VirtualDisk, timeline: TimelineId) -> Standby {
    follow_along(disk, options(), StartMode::Standby { timeline })
}

fn follow_along(disk: &VirtualDisk, options: DatabaseOptions, mode: StartMode) -> Standby {
    let (db, mut redo): (_, Box<StandbyRedo>) = match Database::open(&host_on(disk), options, mode).unwrap() {
        Opened::Standby { db, redo } => (db, redo),
        Opened::Primary { .. } => panic!("asked for a standby"),
    };
    let feed = Arc::new(HandFeed::default());
    let fed = Arc::clone(&feed);
    let thread = std::thread::spawn(move || redo.run(&*fed));
    Standby { disk: disk.clone(), db, feed, thread }
}

impl Standby {
    /// Waits until redo has done what it can with what is there; an error if it ends.
    pub(super) fn settle_or_fail(&self) -> Result<(), String> {
        let mut state = self.feed.state.lock();
        while state.waiting.is_none() {
            if self.thread.is_finished() {
                return Err("redo has ended".to_owned());
            }
            self.feed.moved.wait_for(&mut state, Duration::from_millis(5));
        }
        Ok(())
    }
    /// Ends redo for a promotion.
    pub(super) fn end_for_promotion(self) -> (Database, RedoEnd) {
        self.feed.set(Feed::Promote { timeline: TimelineId::FIRST });
        let end = self.thread.join().unwrap().unwrap();
        (self.db, end)
    }
    pub(super) fn stop(self) -> (VirtualDisk, Database, RedoEnd) {
        self.feed.set(Feed::Stop);
        let end = self.thread.join().unwrap().unwrap();
        (self.disk, self.db, end)
    }
    /// Brings the primary's flushed log over and redoes it.
    pub(super) fn catch_up(&self, primary: &VirtualDisk, db: &Database) {
        let upto = db.wal_writer_tick().unwrap();
        ship(primary, &self.disk);
        self.feed.give(upto);
    }
}

pub(super) async fn primary() -> (VirtualDisk, Database, TreeId) {
    let (disk, db, tree) = with_tree().await;
    let names: Vec<String> = (0..200).map(|row| format!("row {row:03}")).collect();
    let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), "first")).collect();
    write(&db, tree, &pairs, SyncLevel::Local).await;
    (disk, db, tree)
}

#[tokio::test]
async fn a_backup_taken_under_load_becomes_a_standby_that_follows() {
    let (disk, db, tree) = primary().await;
    let load = async {
        for row in 0..50 {
            write(&db, tree, &[(&format!("row {row:03}"), "meanwhile")], SyncLevel::Local).await;
        }
    };
    let copy = backup(&disk, &db, load).await;
    let standby = follow(&copy);
    standby.feed.settle();
    assert!(standby.db.is_consistent() && standby.db.is_in_recovery());
    assert_eq!(read(&standby.db, tree, "row 003").await.as_deref(), Some("meanwhile"));
    let old = statement(&standby.db, Isolation::RepeatableRead).await;
    write(&db, tree, &[("row 003", "later"), ("new", "later")], SyncLevel::Local).await;
    standby.catch_up(&disk, &db);
    assert_eq!(read(&standby.db, tree, "row 003").await.as_deref(), Some("later"));
    assert_eq!(get(&old, tree, "row 003").await.as_deref(), Some("meanwhile"), "a snapshot stays");
    assert_eq!(rows(&old, tree, Direction::Forward).await.len(), 200);
    let mut writer = statement(&standby.db, Isolation::ReadCommitted).await;
    assert_eq!(lock(&mut writer, tree, "x").await.unwrap_err().sqlstate().as_str(), "25006");
    assert_eq!(writer.put(tree, "x", "y").unwrap_err().sqlstate().as_str(), "25006");
    assert_eq!(standby.db.visible(), db.visible());
    assert_eq!(standby.db.next_xid(), db.next_xid());
    let end = standby.stop();
    assert!(matches!(end.2, RedoEnd::Stopped { at } if at == db.positions().unwrap().flushed()));
}

#[tokio::test]
async fn readers_of_a_standby_see_whole_transactions_in_the_order_of_the_log() {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    standby.feed.settle();
    let from = db.positions().unwrap().flushed();
    for round in 0..5 {
        let value = round.to_string();
        write(&db, tree, &[("row 000", &value), ("row 100", &value), ("row 199", &value)], SyncLevel::Local)
            .await;
    }
    let upto = db.positions().unwrap().flushed();
    ship(&disk, &standby.disk);
    let mut at = from;
    let mut seen = 0;
    while at < upto {
        at = at + 8;
        standby.feed.give(at);
        let reader = statement(&standby.db, Isolation::RepeatableRead).await;
        let mut values = Vec::new();
        for key in ["row 000", "row 100", "row 199"] {
            values.push(get(&reader, tree, key).await.unwrap());
        }
        assert!(values.iter().all(|value| *value == values[0]), "half a transaction at {at}: {values:?}");
        let now = values[0].parse::<usize>().map_or(0, |round| round + 1);
        assert!(now == seen || now == seen + 1, "out of order");
        seen = now;
    }
    assert_eq!(seen, 5);
    standby.stop();
}

#[tokio::test]
async fn after_the_same_shutdown_checkpoint_the_files_are_equal() {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    for round in 0..300 {
        let key = format!("row {:03}", round * 7 % 200);
        write(&db, tree, &[(&key, &"x".repeat(round))], SyncLevel::Off).await;
    }
    db.shutdown().await.unwrap();
    let upto = db.positions().unwrap().flushed();
    ship(&disk, &standby.disk);
    standby.feed.give(upto);
    let standby_db = standby.db.clone();
    let (copy, ..) = standby.stop();
    standby_db.shutdown().await.unwrap();
    let control = ControlFile::load(&copy, Path::new(DIR)).unwrap();
    assert_eq!(control.state, wal::control::ClusterState::ShutDownInRecovery);
    let files = |disk: &VirtualDisk, folder: &str| {
        let folder = Path::new(DIR).join(folder);
        let read = |entry: &host::DirEntry| disk.read(&folder.join(&entry.name), 1 << 30).unwrap();
        disk.list(&folder)
            .unwrap()
            .into_iter()
            .map(|entry| (entry.name.clone(), read(&entry)))
            .collect::<Vec<_>>()
    };
    for folder in ["base/1", "base/5"] {
        let (ours, theirs) = (files(&disk, folder), files(&copy, folder));
        let names = |files: &[(String, Vec<u8>)]| files.iter().map(|file| file.0.clone()).collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&theirs));
        for (our, their) in ours.iter().zip(&theirs) {
            assert!(our.1 == their.1, "{folder}/{} differs", our.0);
        }
    }
}

#[tokio::test]
async fn a_standby_restarts_where_its_restartpoint_was_and_is_consistent_only_past_its_pages() {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    standby.feed.settle();
    write(&db, tree, &[("row 000", "before")], SyncLevel::Local).await;
    db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    write(&db, tree, &[("row 001", "after")], SyncLevel::Local).await;
    standby.catch_up(&disk, &db);
    let info = standby.db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    assert!(!info.skipped);
    assert_eq!(info.redo, db.control().checkpoint_copy.redo);
    assert!(standby.db.checkpoint(CheckpointKind::Immediate).await.unwrap().skipped, "nothing newer");
    let crashed = power_cut(&standby.disk);
    standby.stop();
    let again = follow(&crashed);
    again.feed.settle();
    assert!(again.db.is_consistent());
    assert_eq!(read(&again.db, tree, "row 000").await.as_deref(), Some("before"));
    assert_eq!(read(&again.db, tree, "row 001").await.as_deref(), Some("after"));
    again.stop();
}

/// A log of which no more becomes durable than `limit`.
#[derive(Debug)]
struct HeldLog {
    durable: Mutex<Lsn>,
    limit: Mutex<Lsn>,
}

impl StandbyLog for HeldLog {
    fn durable(&self) -> Lsn {
        *self.durable.lock()
    }
    fn make_durable(&self, upto: Lsn) -> Result<(), WalError> {
        let limit = *self.limit.lock();
        if upto > limit {
            return Err(WalError::Closed { reached: limit });
        }
        let mut durable = self.durable.lock();
        *durable = durable.max(upto);
        Ok(())
    }
}

#[tokio::test]
async fn readers_of_a_standby_see_what_is_not_durable_but_nothing_of_it_goes_to_disk() {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    standby.feed.settle();
    let begun = standby.db.replayed();
    let log = Arc::new(HeldLog { durable: Mutex::new(begun), limit: Mutex::new(begun) });
    standby.db.set_standby_log(log.clone());
    write(&db, tree, &[("row 000", "shown")], SyncLevel::Local).await;
    db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    standby.catch_up(&disk, &db);
    assert_eq!(read(&standby.db, tree, "row 000").await.as_deref(), Some("shown"));
    assert_eq!(standby.db.replayed(), begun, "no more is reported than is durable");
    let before = (files(&standby.disk), standby.db.control());
    standby.db.checkpoint(CheckpointKind::Immediate).await.unwrap_err();
    let after = (files(&standby.disk), standby.db.control());
    assert_eq!(difference(&before.0, &after.0), None);
    assert_eq!(before.1.min_recovery_point, after.1.min_recovery_point);
    let end = db.positions().unwrap().flushed();
    *log.limit.lock() = end;
    assert!(!standby.db.checkpoint(CheckpointKind::Immediate).await.unwrap().skipped);
    assert_eq!((log.durable(), standby.db.replayed()), (end, end));
    assert_eq!(standby.db.control().min_recovery_point, end);
    standby.stop();
}

#[tokio::test]
async fn a_backup_without_the_log_of_its_end_is_not_consistent() {
    let (disk, db, tree) = primary().await;
    let begun = db.start_backup("test", Duration::ZERO).await.unwrap();
    let copy = VirtualDisk::new();
    copy_tree(&disk, &copy, Path::new(DIR), &|path| path.ends_with("lock"));
    let label = Path::new(DIR).join("backup_label");
    host::write_file_durably(&copy, &label, begun.label_file.as_bytes()).unwrap();
    write(&db, tree, &[("row 000", "later")], SyncLevel::Local).await;
    let refused = try_open(&copy.fork(), options()).unwrap_err();
    assert!(refused.to_string().contains("before the end of the online backup"), "{refused}");
    let standby = follow(&copy);
    standby.feed.settle();
    assert!(!standby.db.is_consistent());
    let interrupt = Interrupt::new();
    interrupt.cancel();
    let mut reader = standby.db.begin_after(Isolation::ReadCommitted, Lsn::INVALID, interrupt);
    assert!(matches!(reader.begin_statement().await, Err(Error::Cancelled)), "reads wait");
    db.stop_backup(begun).await.unwrap();
    standby.catch_up(&disk, &db);
    assert!(standby.db.is_consistent());
    assert_eq!(read(&standby.db, tree, "row 000").await.as_deref(), Some("later"));
    standby.stop();
}

#[tokio::test]
async fn a_promoted_standby_writes_on_a_new_timeline_and_keeps_it_after_a_crash() {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    copy.open(&Path::new(DIR).join("standby.signal"), host::OpenMode::CreateNew).unwrap();
    let standby = follow(&copy);
    write(&db, tree, &[("row 000", "last")], SyncLevel::Local).await;
    standby.catch_up(&disk, &db);
    standby.feed.set(Feed::Promote { timeline: TimelineId::FIRST });
    let end = standby.thread.join().unwrap().unwrap();
    let at = db.positions().unwrap().flushed();
    assert_eq!(end, RedoEnd::Promote { at, timeline: TimelineId::FIRST });
    let how = PromoteOptions {
        new_timeline: TimelineId::new(2),
        reason: "no recovery target specified".to_owned(),
    };
    let promotion = standby.db.promote(end, how).await.unwrap();
    let promoted = promotion.promoted();
    assert!(standby.db.is_in_recovery());
    promotion.end_recovery().await.unwrap();
    assert_eq!((promoted.timeline, promoted.switch_at), (TimelineId::new(2), at));
    assert!(!standby.db.is_in_recovery());
    assert!(!copy.exists(&Path::new(DIR).join("standby.signal")).unwrap());
    let history = copy.read(&Path::new(DIR).join("pg_wal/00000002.history"), 1 << 20).unwrap();
    assert!(
        String::from_utf8(history).unwrap().starts_with(&format!("1\t{at}\tno recovery target specified\n"))
    );
    assert_eq!(read(&standby.db, tree, "row 000").await.as_deref(), Some("last"));
    write(&standby.db, tree, &[("row 000", "promoted")], SyncLevel::Local).await;
    let crashed = power_cut(&copy);
    drop(standby.db);
    let (again, recovery) = try_open(&crashed, options()).unwrap();
    assert!(recovery.needed);
    assert_eq!(again.timeline(), TimelineId::new(2));
    assert_eq!(read(&again, tree, "row 000").await.as_deref(), Some("promoted"));
    again.shutdown().await.unwrap();
    drop(again);
    let (again, recovery) = try_open(&crashed, options()).unwrap();
    assert!(!recovery.needed);
    assert_eq!(again.timeline(), TimelineId::new(2));
    assert_eq!(read(&again, tree, "row 000").await.as_deref(), Some("promoted"));
}

#[tokio::test]
async fn a_standby_promoted_at_the_first_byte_of_the_timeline_that_it_follows_is_a_child_of_that() {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    write(&db, tree, &[("row 000", "last")], SyncLevel::Local).await;
    standby.catch_up(&disk, &db);
    let at = db.positions().unwrap().flushed();
    // Its primary's successor wrote nothing that came here but its history.
    let (two, three, wal_dir) = (TimelineId::new(2), TimelineId::new(3), Path::new(DIR).join("pg_wal"));
    let followed = TimelineHistory::root(TimelineId::FIRST).fork(two, at, "test", BranchId::new(2)).unwrap();
    followed.store(&copy, &wal_dir).unwrap();
    standby.feed.set(Feed::Promote { timeline: two });
    let end = standby.thread.join().unwrap().unwrap();
    assert_eq!(end, RedoEnd::Promote { at, timeline: two });
    let how = PromoteOptions { new_timeline: three, reason: "test".to_owned() };
    let promotion = standby.db.promote(end, how).await.unwrap();
    assert_eq!(promotion.promoted().old_timeline, two);
    promotion.end_recovery().await.unwrap();
    let history = TimelineHistory::load(&copy, &wal_dir, three).unwrap();
    assert_eq!(history.end_of(two), Ok(Some(at)));
    assert_eq!(history.branch_of(two), Some(BranchId::new(2)));
    write(&standby.db, tree, &[("row 000", "promoted")], SyncLevel::Local).await;
    let (again, _) = try_open(&power_cut(&copy), options()).unwrap();
    assert_eq!(again.timeline(), three);
    assert_eq!(read(&again, tree, "row 000").await.as_deref(), Some("promoted"));
}

#[tokio::test]
async fn a_restored_backup_opens_as_a_primary_too() {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let (restored, recovery) = try_open(&copy, options()).unwrap();
    assert!(recovery.from_backup && recovery.needed);
    assert_eq!(read(&restored, tree, "row 000").await.as_deref(), Some("first"));
    assert!(!copy.exists(&Path::new(DIR).join("backup_label")).unwrap());
    write(&restored, tree, &[("row 000", "restored")], SyncLevel::Local).await;
    assert_eq!(read(&db, tree, "row 000").await.as_deref(), Some("first"));
    let history = disk.list(&Path::new(DIR).join("pg_wal")).unwrap();
    assert!(history.iter().any(|entry| entry.name.ends_with(".backup")));
}
