//! The log that a primary wrote, beside an archive's copy of it: its directory is a standby's from now on.

use super::own_log::{Copies, path_of, record};
use super::standby::{Standby, follow_latest, follow_with, primary};
use super::*;
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
