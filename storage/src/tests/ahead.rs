//! Log that is read ahead of redo: pages and errors are the same as without.

use super::standby::{backup, follow_with, ship};
use super::*;
use crate::CheckpointKind;
use crate::testing::{difference, files};
use host::Disk;
use simulation::Call;
use wal::Lsn;

/// With the thread that reads ahead, and a pool in which it pins pages.
fn ahead() -> DatabaseOptions {
    DatabaseOptions { background: true, shared_buffers_bytes: 128 << 20, ..options() }
}

fn key(row: usize) -> String {
    format!("row {row:05}")
}

/// Rows come, change and go, a file is cut and grows again, a tree is dropped; the redo point lies in the
/// middle.
async fn worked_on() -> (VirtualDisk, Database, TreeId) {
    let (disk, db, tree) = with_tree().await;
    let mut transaction = db.begin(Isolation::ReadCommitted);
    let dropped = transaction.create_tree(5).await.unwrap();
    transaction.commit(SyncLevel::Local).await.unwrap();
    let value = "x".repeat(300);
    for round in 0..4 {
        if round == 2 {
            db.checkpoint(CheckpointKind::Immediate).await.unwrap();
        }
        for first in (0..2000).step_by(20) {
            let mut transaction = statement(&db, Isolation::ReadCommitted).await;
            for row in first..first + 20 {
                put(&mut transaction, tree, &key(row), &value[round..]).await.unwrap();
            }
            put(&mut transaction, dropped, &key(first), &value).await.unwrap();
            transaction.commit(SyncLevel::Off).await.unwrap();
        }
        // Most of what lies at the file's end goes, and the file is cut.
        let mut transaction = statement(&db, Isolation::ReadCommitted).await;
        for row in 300..2000 {
            lock(&mut transaction, tree, &key(row)).await.unwrap();
            transaction.delete(tree, key(row)).unwrap();
        }
        transaction.commit(SyncLevel::Local).await.unwrap();
        db.sweep().await.unwrap();
    }
    let mut transaction = statement(&db, Isolation::ReadCommitted).await;
    transaction.drop_tree(dropped).unwrap();
    put(&mut transaction, tree, "last", "1").await.unwrap();
    transaction.commit(SyncLevel::Local).await.unwrap();
    (disk, db, tree)
}

/// The files that a restart and a checkpoint leave.
async fn restarted(disk: &VirtualDisk, options: DatabaseOptions) -> Vec<(String, Vec<u8>)> {
    let (db, report) = try_open(disk, options).unwrap();
    assert!(report.records > 2000, "{report:?}");
    db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    files(disk)
}

#[tokio::test]
async fn a_crashed_server_comes_back_with_the_same_files_whether_log_is_read_ahead_or_not() {
    let (disk, db, _) = worked_on().await;
    drop(db);
    let (plain, other) = (power_cut(&disk), power_cut(&disk));
    let (plain, other) = (restarted(&plain, options()).await, restarted(&other, ahead()).await);
    assert_eq!(difference(&plain, &other), None);
}

#[tokio::test]
async fn pages_are_pinned_and_loaded_ahead_and_each_is_counted_once() {
    let (disk, db, tree) = worked_on().await;
    // All is on disk, and no page has an image in the log that is redone.
    db.set_full_page_writes(false).unwrap();
    db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    for row in 0..300 {
        write(&db, tree, &[(&key(row), "y")], SyncLevel::Local).await;
    }
    drop(db);
    let (db, report) = try_open(&power_cut(&disk), ahead()).unwrap();
    let counts = db.recovery_statistics().unwrap();
    assert_eq!((counts.from, counts.at, counts.records), (report.from, report.to, report.records));
    assert!(counts.prefetched > 1 && counts.prefetched < 100, "{counts:?}");
    let met = counts.prefetched + counts.hit + counts.skip_rep + counts.skip_init + counts.skip_fpw;
    assert!(met >= 300, "{counts:?}");
}

#[tokio::test]
async fn a_torn_page_whose_image_is_in_the_log_is_no_damage_when_it_is_loaded_too_early() {
    let (disk, db, tree) = worked_on().await;
    db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    for round in 0..3 {
        for row in 0..300 {
            write(&db, tree, &[(&key(row), &"z".repeat(round))], SyncLevel::Local).await;
        }
    }
    drop(db);
    let cut = power_cut(&disk);
    let path = Path::new(DIR).join(format!("base/5/{}", tree.file().relation));
    // A leaf that is changed: the first record of it after the checkpoint has its image.
    let contents = cut.read(&path, 1 << 30).unwrap();
    let is_changed = |page: &&[u8]| page.windows(9).any(|bytes| bytes == key(100).as_bytes());
    let page = contents.chunks(8192).position(|page| is_changed(&page)).unwrap();
    assert!(cut.flip_bit(&path, page as u64 * 8192 + 8000, 1).unwrap());
    let (db, _) = try_open(&cut, ahead()).unwrap();
    let reading = statement(&db, Isolation::ReadCommitted).await;
    for row in 0..300 {
        let found = reading.get(tree, key(row).as_bytes()).await.unwrap();
        assert_eq!(found.as_deref(), Some(&b"zz"[..]), "{row}");
    }
}

#[tokio::test]
async fn damage_of_the_log_is_told_in_the_same_words() {
    let (disk, db, tree) = worked_on().await;
    let bad = db.positions().unwrap().inserted() + 60;
    for row in 0..50 {
        write(&db, tree, &[(&key(row), "1")], SyncLevel::Local).await;
    }
    drop(db);
    let disk = power_cut(&disk);
    let size = SegmentSize::new(1 << 20).unwrap();
    let name = size.segment_of(bad).file_name(wal::TimelineId::FIRST, size);
    let path = Path::new(DIR).join("pg_wal").join(name);
    assert!(disk.flip_bit(&path, size.offset_of(bad), 3).unwrap());
    let errors = [options(), ahead()].map(|options| try_open(&disk, options).unwrap_err());
    assert_eq!(errors[0].sqlstate().as_str(), "XX001", "{}", errors[0]);
    assert_eq!(errors[0].to_string(), errors[1].to_string());
}

#[tokio::test]
async fn a_standby_with_much_to_redo_has_the_primarys_files_also_when_it_was_held_on_the_way() {
    let (disk, db, tree) = worked_on().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow_with(&copy, ahead());
    standby.catch_up(&disk, &db);
    let begun = db.positions().unwrap().flushed();
    let mut hold: Option<Lsn> = None;
    for round in 0..3 {
        for row in 0..1500 {
            write(&db, tree, &[(&key(row), &"v".repeat(200 + round))], SyncLevel::Off).await;
        }
        hold = hold.or(Some(db.positions().unwrap().inserted()));
    }
    standby.feed.hold_at(hold);
    standby.catch_up(&disk, &db);
    let upto = db.positions().unwrap().flushed();
    assert!(upto.bytes_since(begun) > 1 << 20, "a backlog");
    let replayed = standby.db.replayed();
    assert!(Some(replayed) <= hold && replayed > begun, "it stops where it is held: {replayed}, {hold:?}");
    standby.feed.hold_at(None);
    db.shutdown().await.unwrap();
    let upto = db.positions().unwrap().flushed();
    ship(&disk, &standby.disk);
    standby.feed.give(upto);
    assert_eq!(standby.db.replayed(), upto);
    let standby_db = standby.db.clone();
    let (copy, ..) = standby.stop();
    standby_db.shutdown().await.unwrap();
    assert_eq!(difference(&files(&disk), &files(&copy)), None);
}

#[tokio::test]
async fn the_log_is_made_durable_before_redo_writes_a_page() {
    let (disk, db, tree) = worked_on().await;
    for row in 0..1500 {
        write(&db, tree, &[(&key(row), &"w".repeat(1000))], SyncLevel::Off).await;
    }
    write(&db, tree, &[("last", "2")], SyncLevel::Local).await;
    let end = db.positions().unwrap().flushed();
    drop(db);
    let size = SegmentSize::new(1 << 20).unwrap();
    let last =
        Path::new(DIR).join("pg_wal").join(size.segment_of(end).file_name(wal::TimelineId::FIRST, size));
    disk.start_trace();
    // The least pool there is: pages leave it while others are redone.
    try_open(&disk, options()).unwrap();
    let trace = disk.take_trace();
    let first_page = trace.iter().position(|operation| {
        operation.call == Call::Write && operation.path.starts_with(Path::new(DIR).join("base"))
    });
    let synced = trace.iter().position(|operation| operation.call == Call::Sync && operation.path == last);
    assert!(synced.unwrap() < first_page.unwrap());
}
