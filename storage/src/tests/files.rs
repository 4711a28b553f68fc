//! Relation files that a crash leaves behind, and a directory at rest looked at by tools.

use super::standby::{backup, follow, primary};
use super::visibility::{disk_usage, fill_log};
use super::*;
use crate::tree::Unpaced;
use crate::{CheckpointKind, Offline, SweepCause};
use Isolation::{ReadCommitted, RepeatableRead};
use host::Disk;
use simulation::{Call, Fault, FaultKind};
use std::collections::BTreeSet;
use wal::control::ControlFile;

fn has_file(disk: &VirtualDisk, tree: TreeId) -> bool {
    disk.exists(&Path::new(DIR).join(tree.file().to_string())).unwrap()
}

#[tokio::test]
async fn files_that_a_crash_left_behind_a_checkpoint_go_at_the_next_start() {
    let (disk, db, kept) = with_tree().await;
    let mut first = db.begin(ReadCommitted);
    let dropped = first.create_tree(5).await.unwrap();
    first.commit(SyncLevel::Local).await.unwrap();
    let old = statement(&db, RepeatableRead).await;
    let mut second = statement(&db, ReadCommitted).await;
    second.drop_tree(dropped).unwrap();
    second.commit(SyncLevel::Local).await.unwrap();
    let mut open = db.begin(ReadCommitted);
    let unfinished = open.create_tree(5).await.unwrap();
    db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    let after = power_cut(&disk);
    drop((old, open, db));

    let db = super::open(&after);
    assert!(has_file(&after, dropped) && has_file(&after, unfinished), "redo did not come by them");
    let mut third = db.begin(ReadCommitted);
    let new = third.create_tree(5).await.unwrap();
    let named = BTreeSet::from([kept]);
    assert_eq!(db.drop_unnamed(named.clone()).await.unwrap(), [dropped, unfinished]);
    assert_eq!(db.drop_unnamed(named).await.unwrap(), [], "they are on their way");
    // As if the power went before the files: the log tells.
    db.wal().unwrap().flush_all().unwrap();
    let again = power_cut(&after);
    db.wal_writer_tick().unwrap();
    super::open(&again).wal_writer_tick().unwrap();
    for disk in [&after, &again] {
        assert!(!has_file(disk, dropped) && !has_file(disk, unfinished));
        assert!(has_file(disk, kept));
    }
    assert!(has_file(&after, new), "a transaction is at work on it");
    third.commit(SyncLevel::Local).await.unwrap();
    assert!(db.store().tree(new).is_ok());
}

#[tokio::test]
async fn a_tree_whose_removal_the_full_log_did_not_take_is_removed_when_there_is_room() {
    let (disk, db, _) = with_tree().await;
    let mut given_up = db.begin(ReadCommitted);
    let tree = given_up.create_tree(5).await.unwrap();
    disk.set_capacity(disk_usage(&disk, Path::new(DIR)));
    fill_log(&db);
    drop(given_up);
    db.wal_writer_tick().unwrap();
    assert!(has_file(&disk, tree), "the log has not been told");
    disk.set_capacity(u64::MAX);
    for _ in 0..2 {
        db.wal_writer_tick().unwrap();
    }
    assert!(!has_file(&disk, tree));
}

#[tokio::test]
async fn a_drop_that_waits_for_a_snapshot_is_done_by_a_clean_stop() {
    let (disk, db, tree) = with_tree().await;
    let old = statement(&db, RepeatableRead).await;
    let mut drops = statement(&db, ReadCommitted).await;
    drops.drop_tree(tree).unwrap();
    drops.commit(SyncLevel::Local).await.unwrap();
    db.wal_writer_tick().unwrap();
    assert!(has_file(&disk, tree), "somebody may read it");
    db.shutdown().await.unwrap();
    drop(old);
    assert!(!has_file(&disk, tree));
}

#[tokio::test]
async fn a_file_that_a_crash_left_of_which_the_log_had_not_heard_goes_whoever_takes_numbers() {
    let (disk, db, kept) = with_tree().await;
    db.shutdown().await.unwrap();
    drop(db);
    let db = open(&disk);
    let mut open = db.begin(ReadCommitted);
    let left = open.create_tree(5).await.unwrap();
    // The names are there, the log is not: as if the process alone was killed.
    let after = disk.crash(CrashPolicy::KeepAll);
    assert!(has_file(&after, left));
    drop((open, db));
    let db = super::open(&after);
    assert!(db.allocate_number().unwrap() > left.relation);
    assert_eq!(db.drop_unnamed(BTreeSet::from([kept])).await.unwrap(), [left]);
    db.wal().unwrap().flush_all().unwrap();
    db.wal_writer_tick().unwrap();
    assert!(!has_file(&after, left));
}

#[tokio::test]
async fn a_dropped_tree_that_a_snapshot_still_reads_is_swept_by_nobody() {
    let (disk, db, tree) = with_tree().await;
    drop(db);
    let (db, _) = try_open(&disk, large::small()).unwrap();
    let mut given_up = statement(&db, ReadCommitted).await;
    large::fill(&mut given_up, tree, 0..200, "never").await;
    assert!(given_up.is_early());
    given_up.rollback();
    for value in ["1", "2", "3"] {
        write(&db, tree, &[("a", value)], SyncLevel::Local).await;
    }
    let old = statement(&db, RepeatableRead).await;
    write(&db, tree, &[("a", "4")], SyncLevel::Local).await;
    let mut drops = statement(&db, ReadCommitted).await;
    drops.drop_tree(tree).unwrap();
    drops.commit(SyncLevel::Local).await.unwrap();
    db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    let end = db.wal().unwrap().positions().inserted();
    assert!(!db.trees().contains(&tree));
    let swept = db.vacuum(tree, SweepCause::Asked, Box::new(Unpaced)).await;
    assert!(matches!(swept, Err(Error::NoSuchTree(_))), "{swept:?}");
    db.sweep().await.unwrap();
    assert_eq!(db.wal().unwrap().positions().inserted(), end, "nothing is logged behind the drop");
    assert_eq!(get(&old, tree, "a").await.as_deref(), Some("3"));
    assert_eq!(get(&old, tree, "000001").await, None, "it is aborted still");
    drop(old);
    db.wal_writer_tick().unwrap();
    assert!(!has_file(&disk, tree));
    db.sweep().await.unwrap();
    assert!(db.0.visibility.unsettled().1.iter().next().is_none(), "now it is forgotten");
    // Redo comes by nothing of the file that is gone.
    drop(db);
    open(&power_cut(&disk));
}

#[tokio::test]
async fn a_file_that_cannot_be_removed_is_told_of_and_goes_with_a_later_checkpoint() {
    let (disk, db, tree) = with_tree().await;
    let refuses = Fault::always(Call::RemoveFile, "/base/", FaultKind::Io);
    disk.inject(refuses.clone());
    let mut drops = statement(&db, ReadCommitted).await;
    drops.drop_tree(tree).unwrap();
    drops.commit(SyncLevel::Local).await.unwrap();
    db.wal_writer_tick().unwrap();
    let told = db.take_troubles();
    assert!(matches!(&told[..], [one] if one.contains("remove file") && one.contains("/base/")), "{told:?}");
    db.wal_writer_tick().unwrap();
    assert_eq!(db.take_troubles(), [""; 0], "a tick does not try again");
    db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    assert_eq!(db.take_troubles(), told);
    assert!(has_file(&disk, tree));
    disk.disarm(&refuses);
    db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    assert_eq!(db.take_troubles(), [""; 0]);
    assert!(!has_file(&disk, tree));
}

#[tokio::test]
async fn a_standby_without_the_file_of_a_dropped_tree_is_consistent_only_past_the_drop() {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    let mut drops = statement(&db, ReadCommitted).await;
    drops.drop_tree(tree).unwrap();
    let dropped = drops.commit(SyncLevel::Local).await.unwrap();
    standby.catch_up(&disk, &db);
    assert!(!has_file(&standby.disk, tree));
    // Whoever copies these files now, and goes another way before the drop, would lack the file.
    let control = ControlFile::load(&power_cut(&standby.disk), Path::new(DIR)).unwrap();
    assert!(control.min_recovery_point >= dropped.lsn, "{} < {}", control.min_recovery_point, dropped.lsn);
    standby.stop();
}

#[tokio::test]
async fn a_directory_at_rest_is_read_without_a_change_and_another_is_refused() {
    let (disk, db, tree) = with_tree().await;
    write(&db, tree, &[("a", "1"), ("b", "2")], SyncLevel::Local).await;
    let host = host_on(&disk);
    let refused = Offline::open(&host, Path::new(DIR)).map(drop).unwrap_err();
    assert!(refused.to_string().contains("in use by a server; stop it first"), "{refused}");
    db.wal().unwrap().flush_all().unwrap();
    let crashed = power_cut(&disk);
    let refused = Offline::open(&host_on(&crashed), Path::new(DIR)).map(drop).unwrap_err();
    assert!(refused.to_string().contains("was not stopped cleanly"), "{refused}");
    db.shutdown().await.unwrap();
    drop(db);
    let offline = Offline::open(&host, Path::new(DIR)).unwrap();
    let mut rows = Vec::new();
    offline
        .rows::<Error>(tree, crate::KeyRange::all(), |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            Ok(())
        })
        .unwrap();
    assert_eq!(rows, [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"2".to_vec())]);
    let verified = offline.verify(tree).unwrap();
    assert_eq!((verified.items, verified.lost_pages), (2, vec![]));
    assert!(offline.relations().contains(&(tree.file(), 2)));
    assert!(try_open(&disk, options()).is_err(), "no server starts meanwhile");
}
