//! The log that a primary wrote, beside an archive's copy of it: its directory is a standby's from now on.

use super::own_log::{Copies, path_of, record};
use super::standby::{Standby, follow, follow_latest, follow_with, primary};
use super::*;
use host::Disk;
use wal::Lsn;

/// A primary whose log goes on behind a finished segment; with the position of a record in that.
async fn long_log() -> (VirtualDisk, Database, TreeId, Lsn) {
    let (disk, db, tree) = primary().await;
    let size = db.control().segment_size;
    let second = size.start_of(size.segment_of(db.positions().unwrap().flushed()).next());
    let filler = "x".repeat(2000);
    let mut at = Lsn::INVALID;
    for row in 0_u64.. {
        let flushed = db.positions().unwrap().flushed();
        if flushed > second + size.bytes() + 20_000 {
            break;
        }
        if flushed > second + 20_000 && !at.is_valid() {
            at = flushed;
        }
        write(&db, tree, &[(&format!("row {row:06}"), &filler)], SyncLevel::Local).await;
    }
    write(&db, tree, &[("row 000", "the last")], SyncLevel::Local).await;
    (disk, db, tree, at)
}

/// Options by which an archive's segments come to a directory.
fn options_beside(supply: &Arc<Copies>) -> DatabaseOptions {
    let mut options = options();
    options.recovery.supply = Some(supply.clone());
    options
}

/// A standby on the directory, which has redone all of that log, and what it asked the archive for.
async fn follow_beside(archive: &VirtualDisk, disk: &VirtualDisk, tree: TreeId) -> (Standby, Arc<Copies>) {
    let supply = Arc::new(Copies::new(archive, disk));
    let standby = follow_with(disk, options_beside(&supply));
    standby.feed.settle();
    assert_eq!(read(&standby.db, tree, "row 000").await.as_deref(), Some("the last"));
    (standby, supply)
}

#[tokio::test]
async fn an_archive_gives_back_what_a_crashed_primary_cannot_read_of_its_own_log() {
    let (disk, db, tree, at) = long_log().await;
    let end = db.positions().unwrap().flushed();
    let size = db.control().segment_size;
    let (first, second) = (size.segment_of(at), size.start_of(size.segment_of(at)));
    // In a record, and in the rest of one that begins in the segment before.
    for bad in [at + 30, second + 100] {
        let crashed = power_cut(&disk);
        let archive = crashed.fork();
        let (path, offset) = path_of(&crashed, bad);
        assert!(crashed.flip_bit(&path, offset, 1).unwrap());
        let (standby, supply) = follow_beside(&archive, &crashed, tree).await;
        let asked = supply.confirmed.lock().clone();
        let confirmed = (first, size.start_of(first.next()));
        assert!(asked[..2].contains(&confirmed), "what can be read of it is confirmed: {asked:?}");
        assert_eq!(record(&crashed).received().unwrap().lsn, end, "all of it was acknowledged here");
        standby.stop();
    }
}

#[tokio::test]
async fn what_an_archive_does_not_have_whole_either_refuses_a_crashed_primary_as_before() {
    let (disk, _db, _, at) = long_log().await;
    let crashed = power_cut(&disk);
    let (path, offset) = path_of(&crashed, at);
    assert!(crashed.flip_bit(&path, offset + 30, 1).unwrap());
    let archive = crashed.fork();
    let options = options_beside(&Arc::new(Copies::new(&archive, &crashed)));
    let mode = follow_latest(&crashed).unwrap();
    let refused = Database::open(&host_on(&crashed), options, mode).err().unwrap().to_string();
    assert!(refused.contains("WAL is damaged") && refused.contains(&at.to_string()), "{refused}");
}

#[tokio::test]
async fn an_archive_is_told_what_a_stopped_primary_wrote_itself() {
    let (disk, db, tree, _) = long_log().await;
    db.shutdown().await.unwrap();
    drop(db);
    let archive = disk.fork();
    let (standby, supply) = follow_beside(&archive, &disk, tree).await;
    let checkpoint = standby.db.control().checkpoint;
    let confirmed = supply.confirmed.lock().first().map(|(_, upto)| *upto);
    assert!(confirmed.is_some_and(|upto| upto > checkpoint), "{confirmed:?}");
    standby.stop();
}

#[tokio::test]
async fn an_archive_gives_back_each_bad_part_of_a_record_that_goes_over_a_segment_s_border() {
    let (disk, db, tree, at) = long_log().await;
    let size = db.control().segment_size;
    let border = size.start_of(size.segment_of(at));
    // The page behind the border is seen to be bad first, and the record before it only then.
    let crashed = power_cut(&disk);
    let archive = crashed.fork();
    for bad in [border, border - 10] {
        let (path, offset) = path_of(&crashed, bad);
        assert!(crashed.flip_bit(&path, offset, 1).unwrap());
    }
    let (standby, supply) = follow_beside(&archive, &crashed, tree).await;
    let asked: Vec<_> = supply.confirmed.lock().iter().take(3).map(|(segment, _)| *segment).collect();
    let before = size.segment_of(border - 1);
    assert!(asked.contains(&before) && asked.contains(&before.next()), "{asked:?}");
    standby.stop();
}

#[tokio::test]
async fn an_archive_gives_back_the_checkpoint_of_a_crashed_primary() {
    let (disk, db, tree, _) = long_log().await;
    let checkpoint = db.control().checkpoint;
    for is_gone in [false, true] {
        let crashed = power_cut(&disk);
        let archive = crashed.fork();
        let (path, offset) = path_of(&crashed, checkpoint);
        match is_gone {
            true => crashed.remove_file(&path).unwrap(),
            false => assert!(crashed.flip_bit(&path, offset + 30, 1).unwrap()),
        }
        let mode = follow_latest(&crashed).unwrap();
        let refused = Database::open(&host_on(&crashed.fork()), options(), mode).err().unwrap().to_string();
        let words = "could not locate a valid checkpoint record";
        assert!(refused.contains(words) && refused.contains(&checkpoint.to_string()), "{refused}");
        assert!(!refused.contains("removed"), "nobody has removed it: {refused}");
        let (standby, _) = follow_beside(&archive, &crashed, tree).await;
        standby.stop();
    }
}

#[tokio::test]
async fn an_archive_gives_back_a_segment_that_a_crashed_primary_has_lost() {
    let (disk, _db, tree, at) = long_log().await;
    let crashed = power_cut(&disk);
    let archive = crashed.fork();
    crashed.remove_file(&path_of(&crashed, at).0).unwrap();
    let mode = follow_latest(&crashed).unwrap();
    let refused = Database::open(&host_on(&crashed.fork()), options(), mode).err().unwrap().to_string();
    assert!(refused.contains("000000010000000000000002"), "{refused}");
    let (standby, _) = follow_beside(&archive, &crashed, tree).await;
    standby.stop();
}

#[tokio::test]
async fn a_stopped_primary_s_log_counts_up_to_its_checkpoint_also_if_that_cannot_be_read() {
    let (disk, db, tree, _) = long_log().await;
    db.shutdown().await.unwrap();
    let checkpoint = db.control().checkpoint;
    drop(db);
    let archive = disk.fork();
    let (path, offset) = path_of(&disk, checkpoint);
    assert!(disk.flip_bit(&path, offset + 30, 1).unwrap());
    // Nobody has it: that is damage, and no end of the log.
    let alone = disk.fork();
    let standby = follow(&alone);
    standby.feed.settle();
    let damage = standby.feed.damage();
    assert!(matches!(&damage[..], [(at, _)] if *at == checkpoint), "{damage:?}");
    let end = record(&alone).received().unwrap().lsn;
    assert!(end > checkpoint && end <= checkpoint + 200, "{end}");
    standby.feed.set(crate::Feed::Promote { timeline: wal::TimelineId::FIRST });
    let refused = standby.thread.join().unwrap().map_err(|error| error.to_string()).unwrap_err();
    assert!(refused.contains("cannot be promoted: WAL is damaged"), "{refused}");
    // An archive is told so, too.
    let (standby, supply) = follow_beside(&archive, &disk, tree).await;
    let confirmed = supply.confirmed.lock().first().map(|(_, upto)| *upto);
    assert_eq!(confirmed, Some(end));
    standby.stop();
}
