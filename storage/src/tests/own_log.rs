//! Crashed directories that are to follow others, and what is chosen once their own log is redone.

use super::standby::{
    backup, copy_file, follow, follow_latest, follow_with, follow_with_target, primary, ship,
};
use super::*;
use crate::{BeforeCutFn, Feed, PromoteOptions, Promotion};
use host::sync::Mutex;
use host::{Disk, OpenMode};
use std::path::PathBuf;
use wal::control::{ClusterState, ControlFile};
use wal::history::{BranchId, TimelineHistory};
use wal::reader::{CutTail, SegmentSupply};
use wal::{LogBranch, Lsn, SegmentNumber, TimelineId};

#[tokio::test]
async fn an_old_primary_that_crashed_past_a_fork_redoes_its_own_log_and_does_not_follow_that_fork() {
    let (disk, db, tree) = primary().await;
    let (two, wal_dir) = (TimelineId::new(2), Path::new(DIR).join("pg_wal"));
    let fork = db.positions().unwrap().flushed();
    write(&db, tree, &[("row 000", "past the fork")], SyncLevel::Local).await;
    let end = db.positions().unwrap().flushed();
    // Its pages may have that; by then an archive knows the fork.
    let crashed = power_cut(&disk);
    let history = TimelineHistory::root(TimelineId::FIRST).fork(two, fork, "test", BranchId::new(2)).unwrap();
    history.store(&crashed, &wal_dir).unwrap();
    let forced = crashed.fork();
    let refused =
        Database::open(&host_on(&forced), options(), StartMode::Standby { timeline: two }).err().unwrap();
    let point = format!("requested timeline 2 does not contain minimum recovery point {end} on timeline 1");
    assert_eq!(refused.to_string(), point);
    let standby = follow(&crashed);
    standby.feed.settle();
    assert_eq!(read(&standby.db, tree, "row 000").await.as_deref(), Some("past the fork"));
    standby.stop();
}

/// Whoever copies from it must know how new its pages are.
#[tokio::test]
async fn a_stopped_primary_that_is_to_follow_another_says_how_new_its_pages_are() {
    let (disk, db, tree) = primary().await;
    write(&db, tree, &[("row 000", "before the stop")], SyncLevel::Local).await;
    db.shutdown().await.unwrap();
    let stopped = disk.fork();
    let standby = follow(&stopped);
    let control = ControlFile::load(&stopped, Path::new(DIR)).unwrap();
    assert!(control.state.is_standbys());
    assert_eq!(control.min_recovery_point, control.checkpoint_copy.redo);
    assert_eq!(control.min_recovery_point_timeline, TimelineId::FIRST);
    standby.stop();
}

#[tokio::test]
async fn a_crashed_primary_that_is_to_follow_another_is_refused_if_its_own_log_is_damaged() {
    let (disk, db, tree) = primary().await;
    let at = db.positions().unwrap().flushed();
    for value in ["damaged", "behind it"] {
        write(&db, tree, &[("row 000", value)], SyncLevel::Local).await;
    }
    let crashed = power_cut(&disk);
    let (path, offset) = path_of(&crashed, at);
    assert!(crashed.flip_bit(&path, offset + 30, 1).unwrap());
    let mode = follow_latest(&crashed).unwrap();
    let refused = Database::open(&host_on(&crashed), options(), mode).err().unwrap().to_string();
    assert!(refused.contains("WAL is damaged") && refused.contains(&at.to_string()), "{refused}");
}

#[tokio::test]
async fn a_crashed_copy_of_before_a_fork_redoes_its_own_log_and_goes_on_along_the_fork() {
    let (disk, db, tree) = primary().await;
    let (two, wal_dir) = (TimelineId::new(2), Path::new(DIR).join("pg_wal"));
    let snapshot = power_cut(&disk);
    write(&db, tree, &[("row 000", "before the fork")], SyncLevel::Local).await;
    let fork = db.positions().unwrap().flushed();
    write(&db, tree, &[("row 000", "past the fork")], SyncLevel::Local).await;
    db.wal_writer_tick().unwrap();
    // An archive has all of the old timeline, and the history of the new one.
    let archive = power_cut(&disk);
    let history = TimelineHistory::root(TimelineId::FIRST).fork(two, fork, "test", BranchId::new(2)).unwrap();
    history.store(&snapshot, &wal_dir).unwrap();
    let mut options = options();
    options.recovery.follows_latest = true;
    options.recovery.supply = Some(Arc::new(Copies::new(&archive, &snapshot)));
    let standby = follow_with(&snapshot, options);
    standby.feed.settle();
    assert_eq!(read(&standby.db, tree, "row 000").await.as_deref(), Some("before the fork"));
    let (_, db, _) = standby.stop();
    assert_eq!(db.replayed(), fork);
}

/// An archive's segments, as restore_command brings them.
pub(super) struct Copies {
    from: VirtualDisk,
    to: VirtualDisk,
    /// Up to where the own log was confirmed, by the segment that was asked for.
    pub(super) confirmed: Mutex<Vec<(SegmentNumber, Lsn)>>,
}

impl Copies {
    pub(super) fn new(from: &VirtualDisk, to: &VirtualDisk) -> Self {
        Self { from: from.clone(), to: to.clone(), confirmed: Mutex::default() }
    }
}

impl SegmentSupply for Copies {
    fn fetch(
        &self,
        _: &TimelineHistory,
        timeline: TimelineId,
        segment: SegmentNumber,
        own_upto: Lsn,
    ) -> std::io::Result<bool> {
        self.confirmed.lock().push((segment, own_upto));
        let size = ControlFile::load(&self.to, Path::new(DIR)).unwrap().segment_size;
        let path = Path::new(DIR).join("pg_wal").join(segment.file_name(timeline, size));
        if !self.from.exists(&path)? {
            return Ok(false);
        }
        copy_file(&self.from, &self.to, &path);
        Ok(true)
    }
}

#[tokio::test]
async fn a_look_at_files_heeds_the_timeline_that_a_receiver_has_turned_to() {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    write(&db, tree, &[("row 000", "before the fork")], SyncLevel::Local).await;
    standby.catch_up(&disk, &db);
    let (fork, two) = (db.positions().unwrap().flushed(), TimelineId::new(2));
    write(&db, tree, &[("row 000", "past the fork")], SyncLevel::Local).await;
    db.wal_writer_tick().unwrap();
    // An archive may have all of the ended timeline.
    ship(&disk, &copy);
    let history = TimelineHistory::root(TimelineId::FIRST).fork(two, fork, "test", BranchId::new(2)).unwrap();
    history.store(&copy, &Path::new(DIR).join("pg_wal")).unwrap();
    standby.feed.settle();
    standby.feed.set(Feed::Again { timeline: two });
    standby.feed.settle();
    assert_eq!(read(&standby.db, tree, "row 000").await.as_deref(), Some("before the fork"));
    standby.stop();
}

/// Options by which what is told before a tail is cut goes to `cuts`.
fn telling_of(cuts: &Arc<Mutex<Vec<CutTail>>>) -> DatabaseOptions {
    let sink = Arc::clone(cuts);
    let before_cut: BeforeCutFn = Arc::new(move |cut, _| {
        sink.lock().push(*cut);
        Ok(())
    });
    DatabaseOptions { before_cut: Some(before_cut), ..options() }
}

/// Opens a crashed directory as a standby; what is told before its tail is cut goes to `cuts`.
fn try_follow(disk: &VirtualDisk, cuts: &Arc<Mutex<Vec<CutTail>>>) -> Result<Database, String> {
    let options = telling_of(cuts);
    let mode = follow_latest(disk).map_err(|error| error.to_string())?;
    match Database::open(&host_on(disk), options, mode).map_err(|error| error.to_string())? {
        Opened::Standby { db, .. } => Ok(db),
        Opened::Primary { .. } => panic!("asked for a standby"),
    }
}

pub(super) fn path_of(disk: &VirtualDisk, at: Lsn) -> (PathBuf, u64) {
    let size = ControlFile::load(disk, Path::new(DIR)).unwrap().segment_size;
    let name = size.segment_of(at).file_name(TimelineId::FIRST, size);
    (Path::new(DIR).join("pg_wal").join(name), size.offset_of(at))
}

#[tokio::test]
async fn a_crashed_primary_that_lacks_a_segment_of_its_own_log_is_refused_as_a_standby_too() {
    let (disk, db, tree) = primary().await;
    let begin = db.positions().unwrap().flushed();
    let size = db.control().segment_size;
    let missing = size.start_of(size.segment_of(begin).next());
    let filler = "x".repeat(2000);
    for row in 0_u64.. {
        if db.positions().unwrap().flushed() > missing + size.bytes() + 20_000 {
            break;
        }
        write(&db, tree, &[(&format!("row {row:06}"), &filler)], SyncLevel::Local).await;
    }
    let crashed = power_cut(&disk);
    crashed.remove_file(&path_of(&crashed, missing).0).unwrap();
    let cuts = Arc::default();
    let refused = try_follow(&crashed, &cuts).unwrap_err();
    assert!(refused.contains("has already been removed"), "{refused}");
    assert_eq!(cuts.lock().len(), 0);
}

#[tokio::test]
async fn the_torn_tail_of_a_crashed_primary_is_recorded_when_it_starts_as_a_standby_too() {
    let (disk, db, tree) = primary().await;
    let at = db.positions().unwrap().flushed();
    write(&db, tree, &[("row 000", "torn")], SyncLevel::Local).await;
    let (end, crashed) = (db.positions().unwrap().flushed(), power_cut(&disk));
    let (path, offset) = path_of(&crashed, at);
    assert!(crashed.flip_bit(&path, offset + 40, 1).unwrap());
    let cuts = Arc::default();
    let db = try_follow(&crashed, &cuts).unwrap();
    assert_eq!(db.replayed(), at);
    let cut = cuts.lock().clone();
    assert!(cut.len() == 1 && cut[0].from == at && cut[0].upto > end - 8, "{cut:?}");
}

#[tokio::test]
async fn a_start_as_a_standby_that_is_refused_leaves_a_crashed_primary_one_whose_tail_is_recorded() {
    let (disk, db, tree) = primary().await;
    let (two, wal_dir) = (TimelineId::new(2), Path::new(DIR).join("pg_wal"));
    let fork = db.positions().unwrap().flushed();
    write(&db, tree, &[("row 000", "past the fork")], SyncLevel::Local).await;
    let at = db.positions().unwrap().flushed();
    write(&db, tree, &[("row 000", "torn")], SyncLevel::Local).await;
    let crashed = power_cut(&disk);
    let history = TimelineHistory::root(TimelineId::FIRST).fork(two, fork, "test", BranchId::new(2)).unwrap();
    history.store(&crashed, &wal_dir).unwrap();
    let (path, offset) = path_of(&crashed, at);
    assert!(crashed.flip_bit(&path, offset + 40, 1).unwrap());
    let mode = StartMode::Standby { timeline: two };
    let refused = Database::open(&host_on(&crashed), options(), mode).err().unwrap().to_string();
    assert!(refused.contains("does not contain minimum recovery point"), "{refused}");
    let control = ControlFile::load(&crashed, Path::new(DIR)).unwrap();
    assert!(control.state.is_crashed(), "{:?}", control.state);
    let cuts: Arc<Mutex<Vec<CutTail>>> = Arc::default();
    let (_, report) = try_open(&crashed, telling_of(&cuts)).unwrap();
    assert_eq!((report.to, cuts.lock().len()), (at, 1));
}

#[tokio::test]
async fn what_the_control_file_says_of_a_crashed_primarys_log_is_heeded_when_it_starts_as_a_standby_too() {
    let (disk, db, tree) = primary().await;
    let end = db.positions().unwrap().flushed();
    write(&db, tree, &[("row 000", "lost")], SyncLevel::Local).await;
    let (minimum, crashed) = (db.positions().unwrap().flushed(), power_cut(&disk));
    // Lost from a record's end on: nothing is there that would be cut.
    let (path, offset) = path_of(&crashed, end);
    let zeros = vec![0; (db.control().segment_size.bytes() - offset) as usize];
    crashed.open(&path, OpenMode::ReadWrite).unwrap().write_all_at(&zeros, offset).unwrap();
    let mut control = ControlFile::load(&crashed, Path::new(DIR)).unwrap();
    control.min_recovery_point = minimum;
    control.min_recovery_point_timeline = TimelineId::FIRST;
    control.store(&crashed, Path::new(DIR)).unwrap();
    let as_primary = try_open(&crashed.fork(), options()).unwrap_err().to_string();
    let refused = try_follow(&crashed, &Arc::default()).unwrap_err();
    assert_eq!(refused, as_primary);
    assert!(refused.contains(&minimum.to_string()), "{refused}");

    // A copy may get the rest from elsewhere. It serves no reads before.
    control.backup_end_point = minimum;
    control.store(&crashed, Path::new(DIR)).unwrap();
    let db = try_follow(&crashed, &Arc::default()).unwrap();
    assert!(!db.is_consistent());
    assert_eq!(db.control().min_recovery_point, minimum);
}

/// A standby that has redone the log up to a commit and lost its process when it had received two more, the
/// first of which is damaged now. With the end of its good log.
async fn received_with_damage() -> (VirtualDisk, Lsn) {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    standby.catch_up(&disk, &db);
    let at = db.positions().unwrap().flushed();
    standby.stop();
    for value in ["damaged", "behind it"] {
        write(&db, tree, &[("row 000", value)], SyncLevel::Local).await;
    }
    db.wal_writer_tick().unwrap();
    ship(&disk, &copy);
    let (path, offset) = path_of(&copy, at);
    assert!(copy.flip_bit(&path, offset + 40, 1).unwrap());
    (copy, at)
}

#[tokio::test]
async fn what_a_standby_received_and_cannot_redo_is_measured_for_the_promotion_that_cuts_it() {
    let (copy, at) = received_with_damage().await;
    let standby = follow(&copy);
    standby.feed.settle();
    let (db, _) = standby.end_for_promotion();
    let tail = db.tail_behind_redo().unwrap();
    assert!(tail.from == at && tail.whole_records > 0 && tail.bytes() > 100, "{tail:?}");
}

#[tokio::test]
async fn what_a_standby_received_is_recorded_when_it_starts_as_a_primary_and_cuts_it() {
    for fsync in [true, false] {
        let (copy, at) = received_with_damage().await;
        let cuts: Arc<Mutex<Vec<CutTail>>> = Arc::default();
        let mut options = telling_of(&cuts);
        options.log_writing.fsync = fsync;
        let (_, report) = try_open(&copy, options).unwrap();
        let cut = cuts.lock().clone();
        assert!(cut.len() == 1 && cut[0].from == at && cut[0].whole_records > 0, "{cut:?}");
        assert_eq!((report.to, report.cut_bytes), (at, cut[0].bytes()));
    }
}

#[tokio::test]
async fn a_standby_that_turned_to_a_timeline_goes_on_with_that_also_if_it_starts_as_a_primary() {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    standby.catch_up(&disk, &db);
    let two = TimelineId::new(2);
    // Its primary's successor, whose log it receives and has not begun to redo.
    let successor = copy.fork();
    let (promoted, promotion) = promoting(&successor, two).await;
    promotion.end_recovery().await.unwrap();
    write(&promoted, tree, &[("row 000", "of the successor")], SyncLevel::Local).await;
    standby.stop();
    copy_timeline(&successor, &copy, two);
    let wal_dir = Path::new(DIR).join("pg_wal");
    let history = TimelineHistory::load(&copy, &wal_dir, two).unwrap();
    record(&copy).follow(&history, Lsn::INVALID).unwrap();
    // A promotion to another one had left its history before; that it forks off later says nothing.
    let end = promoted.positions().unwrap().flushed();
    let left = history.fork(TimelineId::new(3), end, "broken off", BranchId::new(3)).unwrap();
    left.store(&copy, &wal_dir).unwrap();
    // Its own first commit there comes before any checkpoint does.
    for (found, written) in [("of the successor", "its own"), ("its own", "its second")] {
        let (db, _) = try_open(&copy, options()).unwrap();
        assert_eq!(db.timeline(), two);
        assert_eq!(read(&db, tree, "row 000").await.as_deref(), Some(found));
        write(&db, tree, &[("row 000", written)], SyncLevel::Local).await;
    }
}

#[tokio::test]
async fn a_standby_whose_start_as_a_primary_was_refused_comes_up_as_a_standby() {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    standby.catch_up(&disk, &db);
    standby.stop();
    let (path, _) = path_of(&copy, ControlFile::load(&copy, Path::new(DIR)).unwrap().checkpoint);
    let bytes = copy.read(&path, 64 << 20).unwrap();
    copy.remove_file(&path).unwrap();
    assert!(try_open(&copy, options()).is_err());
    // The archive has it.
    host::write_file_durably(&copy, &path, &bytes).unwrap();
    let control = ControlFile::load(&copy, Path::new(DIR)).unwrap();
    assert!(control.state.is_standbys(), "{:?}", control.state);
    let again = follow(&copy);
    again.feed.settle();
    assert_eq!(read(&again.db, tree, "row 000").await.as_deref(), Some("first"));
    again.stop();
}

#[tokio::test]
async fn a_promotion_that_broke_off_takes_nothing_of_what_the_standby_received_after_it() {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    standby.catch_up(&disk, &db);
    standby.stop();
    // What the promotion made before it ended.
    let (two, wal_dir) = (TimelineId::new(2), Path::new(DIR).join("pg_wal"));
    let half = copy.fork();
    drop(promoting(&half, two).await);
    copy_timeline(&half, &copy, two);
    let standby = follow_with_target(&copy, TimelineId::FIRST);
    write(&db, tree, &[("row 000", "later")], SyncLevel::Local).await;
    standby.catch_up(&disk, &db);
    standby.stop();
    let (db, _) = try_open(&copy, options()).unwrap();
    assert_eq!(
        (db.timeline(), copy.exists(&wal_dir.join("00000002.history")).unwrap()),
        (TimelineId::FIRST, true)
    );
    assert_eq!(read(&db, tree, "row 000").await.as_deref(), Some("later"));
}

pub(super) fn record(disk: &VirtualDisk) -> LogBranch {
    let control = ControlFile::load(disk, Path::new(DIR)).unwrap();
    LogBranch::open(Arc::new(disk.clone()), Path::new(DIR), &control).unwrap()
}

#[tokio::test]
async fn a_standby_that_was_killed_follows_no_timeline_that_leaves_out_what_it_received() {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    standby.catch_up(&disk, &db);
    // It goes before it has written a page of what it receives.
    standby.stop();
    let fork = db.positions().unwrap().flushed();
    for value in ["received", "received, too"] {
        write(&db, tree, &[("row 000", value)], SyncLevel::Local).await;
    }
    db.wal_writer_tick().unwrap();
    ship(&disk, &copy);
    let one = TimelineHistory::root(TimelineId::FIRST);
    let two = one.fork(TimelineId::new(2), fork, "of a standby that was behind", BranchId::new(2)).unwrap();
    two.store(&copy, &Path::new(DIR).join("pg_wal")).unwrap();
    let latest = |disk: &VirtualDisk| match follow_latest(disk).unwrap() {
        StartMode::Standby { timeline } => timeline.get(),
        StartMode::Primary => unreachable!(),
    };
    // What the archive brought is there still.
    assert_eq!(latest(&copy), 2);
    record(&copy).receive(TimelineId::FIRST).unwrap();
    assert_eq!(latest(&copy), 1);
    // Nor if the first record of it is damaged: the second one is whole.
    let (damaged, size) = (copy.fork(), db.control().segment_size);
    let segment = size.segment_of(fork).file_name(TimelineId::FIRST, size);
    let file = Path::new(DIR).join("pg_wal").join(segment);
    let file = damaged.open(&file, OpenMode::ReadWrite).unwrap();
    file.write_all_at(&[0xA5], size.offset_of(fork) + 30).unwrap();
    assert_eq!(latest(&damaged), 1);
    let at_its_end = one.fork(TimelineId::new(3), db.positions().unwrap().flushed(), "x", BranchId::new(3));
    at_its_end.unwrap().store(&copy, &Path::new(DIR).join("pg_wal")).unwrap();
    assert_eq!(latest(&copy), 3);
}

#[tokio::test]
async fn a_standby_s_directory_that_does_not_say_what_its_log_is_on_is_refused_as_a_primary() {
    let (disk, db, _) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    standby.catch_up(&disk, &db);
    standby.stop();
    let branch = Path::new(DIR).join(wal::log_branch::BRANCH_FILE);
    let witnessed = || record(&copy).record().unwrap().witnessed;
    assert_eq!(witnessed(), TimelineId::FIRST, "of a copy of a primary");
    copy.remove_file(&branch).unwrap();
    let one = TimelineHistory::root(TimelineId::FIRST);
    let end = db.positions().unwrap().flushed();
    let two = one.fork(TimelineId::new(2), end, "its log may be on this", BranchId::new(2)).unwrap();
    two.store(&copy, &Path::new(DIR).join("pg_wal")).unwrap();
    let refused = try_open(&copy, options()).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("no plimsoll/branch"), "{refused}");
    // As a standby it finds out.
    follow(&copy).stop();
    assert_eq!(witnessed(), TimelineId::INVALID, "what it has may be hearsay");
    let refused = try_open(&copy, options()).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("follows timeline 2"), "{refused}");
}

#[tokio::test]
async fn a_standby_that_has_turned_to_another_timeline_does_not_write_the_one_before() {
    let (disk, db, _) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    standby.catch_up(&disk, &db);
    standby.stop();
    let end = db.positions().unwrap().flushed();
    let one = TimelineHistory::root(TimelineId::FIRST);
    let two = one.fork(TimelineId::new(2), end, "somebody was promoted", BranchId::new(2)).unwrap();
    two.store(&copy, &Path::new(DIR).join("pg_wal")).unwrap();
    // As it is told of the fork, and before it is sent anything behind that.
    let told = copy.fork();
    record(&told).follow(&two, Lsn::INVALID).unwrap();
    assert!(try_open(&copy, options()).is_ok(), "it has heard of that only");
    for _ in 0..2 {
        let refused = try_open(&told, options()).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("follows timeline 2") && refused.contains(&end.to_string()), "{refused}");
    }
    follow(&told).stop();
}

#[tokio::test]
async fn a_copy_of_a_standby_is_no_witness_until_it_is_told() {
    let (disk, db, _) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let label = Path::new(DIR).join("backup_label");
    let text = String::from_utf8(copy.read(&label, 4096).unwrap()).unwrap();
    let text = text.replace("BACKUP FROM: primary", "BACKUP FROM: standby");
    host::write_file_durably(&copy, &label, text.as_bytes()).unwrap();
    // The control file of one that ran as a primary is no part of a standby's backup.
    let refused = try_open(&copy, options()).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("inconsistent with control file"), "{refused}");
    let control = ControlFile::load(&copy, Path::new(DIR)).unwrap();
    let of_standby = ControlFile { state: ClusterState::InArchiveRecovery, ..control };
    of_standby.store(&copy, Path::new(DIR)).unwrap();
    follow(&copy).stop();
    assert_eq!(record(&copy).record().unwrap().witnessed, TimelineId::INVALID);
}

/// A standby's directory on the way to be a primary on this timeline.
async fn promoting(disk: &VirtualDisk, timeline: TimelineId) -> (Database, Promotion) {
    let standby = follow(disk);
    standby.feed.settle();
    let (db, end) = standby.end_for_promotion();
    let how = PromoteOptions { new_timeline: timeline, reason: "test".to_owned() };
    let promotion = db.promote(end, how).await.unwrap();
    (db, promotion)
}

/// Has the files of a timeline in pg_wal lie in another directory, too.
fn copy_timeline(from: &VirtualDisk, to: &VirtualDisk, timeline: TimelineId) {
    let wal_dir = Path::new(DIR).join("pg_wal");
    for entry in from.list(&wal_dir).unwrap() {
        if entry.name.starts_with(&timeline.history_file_name()[..8]) {
            let path = wal_dir.join(&entry.name);
            let bytes = from.read(&path, 64 << 20).unwrap();
            host::write_file_durably(to, &path, &bytes).unwrap();
        }
    }
}
