//! Crashed directories that are to follow others, and what is chosen once their own log is redone.

use super::standby::{backup, copy_file, follow, follow_latest, follow_with, primary, ship};
use super::*;
use crate::Feed;
use host::Disk;
use wal::control::ControlFile;
use wal::history::{BranchId, TimelineHistory};
use wal::reader::SegmentSupply;
use wal::{SegmentNumber, TimelineId};

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

#[tokio::test]
async fn a_crashed_primary_that_is_to_follow_another_is_refused_if_its_own_log_is_damaged() {
    let (disk, db, tree) = primary().await;
    let at = db.positions().unwrap().flushed();
    for value in ["damaged", "behind it"] {
        write(&db, tree, &[("row 000", value)], SyncLevel::Local).await;
    }
    let crashed = power_cut(&disk);
    let size = ControlFile::load(&crashed, Path::new(DIR)).unwrap().segment_size;
    let name = size.segment_of(at).file_name(TimelineId::FIRST, size);
    let path = Path::new(DIR).join("pg_wal").join(name);
    assert!(crashed.flip_bit(&path, size.offset_of(at) + 30, 1).unwrap());
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
    options.recovery.supply = Some(Arc::new(Copies { from: archive, to: snapshot.clone() }));
    let standby = follow_with(&snapshot, options);
    standby.feed.settle();
    assert_eq!(read(&standby.db, tree, "row 000").await.as_deref(), Some("before the fork"));
    let (_, db, _) = standby.stop();
    assert_eq!(db.replayed(), fork);
}

/// An archive's segments, as restore_command brings them.
struct Copies {
    from: VirtualDisk,
    to: VirtualDisk,
}

impl SegmentSupply for Copies {
    fn fetch(&self, timeline: TimelineId, segment: SegmentNumber) -> std::io::Result<bool> {
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
