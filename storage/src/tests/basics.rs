//! One session, restarts, the write set merged into reads.

use super::*;
use crate::CheckpointKind;
use crate::{Direction, Interrupt};
use wal::control::ClusterState;

#[tokio::test]
async fn what_was_committed_is_there_after_a_clean_stop_and_after_a_crash() {
    let (disk, db, tree) = with_tree().await;
    write(&db, tree, &[("a", "1"), ("b", "2")], SyncLevel::Local).await;
    db.shutdown().await.unwrap();
    drop(db);
    let (db, recovery) = try_open(&disk, options()).unwrap();
    assert!(!recovery.needed);
    assert_eq!(read(&db, tree, "a").await.as_deref(), Some("1"));
    write(&db, tree, &[("a", "3")], SyncLevel::Local).await;
    write(&db, tree, &[("b", "4")], SyncLevel::Off).await;
    let (db, recovery) = try_open(&power_cut(&disk), options()).unwrap();
    assert!(recovery.needed && recovery.records > 0, "{recovery:?}");
    assert_eq!(read(&db, tree, "a").await.as_deref(), Some("3"));
    assert_eq!(read(&db, tree, "b").await.as_deref(), Some("2"), "level off was not flushed");
    db.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_scan_merges_own_writes_in_both_directions_and_misses_those_made_after_it() {
    let (_disk, db, tree) = with_tree().await;
    let pairs = [("b", "b"), ("d", "d"), ("f", "f"), ("h", "h"), ("j", "j")];
    write(&db, tree, &pairs, SyncLevel::Off).await;
    let mut own = statement(&db, Isolation::ReadCommitted).await;
    for key in ["a", "e", "z"] {
        put(&mut own, tree, key, "own").await.unwrap();
    }
    put(&mut own, tree, "f", "changed").await.unwrap();
    lock(&mut own, tree, "h").await.unwrap();
    own.delete(tree, "h").unwrap();
    assert_eq!(
        rows(&own, tree, Direction::Forward).await.len(),
        5,
        "a statement does not see its own writes"
    );
    own.begin_statement().await.unwrap();
    let expected =
        [("a", "own"), ("b", "b"), ("d", "d"), ("e", "own"), ("f", "changed"), ("j", "j"), ("z", "own")];
    let mut expected: Vec<_> =
        expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    assert_eq!(rows(&own, tree, Direction::Forward).await, expected);
    expected.reverse();
    assert_eq!(rows(&own, tree, Direction::Backward).await, expected);
    let mut open = own.scan(tree, crate::KeyRange::new("b", "f"), Direction::Forward);
    own.begin_statement().await.unwrap();
    put(&mut own, tree, "c", "late").await.unwrap();
    let mut found = Vec::new();
    while open.next_batch(&own, 1, &mut found).await.unwrap() {}
    assert_eq!(found.iter().map(|(key, _)| &key[..]).collect::<Vec<_>>(), [b"b", b"d", b"e"]);
}

#[tokio::test]
async fn a_savepoint_takes_back_writes_locks_and_trees() {
    let (_disk, db, tree) = with_tree().await;
    let mut transaction = statement(&db, Isolation::ReadCommitted).await;
    put(&mut transaction, tree, "a", "1").await.unwrap();
    let savepoint = transaction.savepoint();
    transaction.begin_statement().await.unwrap();
    put(&mut transaction, tree, "a", "2").await.unwrap();
    put(&mut transaction, tree, "b", "2").await.unwrap();
    let created = transaction.create_tree(5).await.unwrap();
    transaction.rollback_to(&savepoint).unwrap();
    transaction.begin_statement().await.unwrap();
    assert_eq!(get(&transaction, tree, "a").await.as_deref(), Some("1"));
    assert_eq!(get(&transaction, tree, "b").await, None);
    let mut other = statement(&db, Isolation::ReadCommitted).await;
    other.lock(tree, b"b", LockMode::Exclusive, LockWait::NoWait).await.unwrap();
    assert!(other.lock(tree, b"a", LockMode::Exclusive, LockWait::NoWait).await.is_err());
    transaction.commit(SyncLevel::Local).await.unwrap();
    drop(other);
    db.wal_writer_tick().unwrap();
    let gone = statement(&db, Isolation::ReadCommitted).await;
    assert!(matches!(gone.get(created, b"x").await, Err(Error::NoSuchTree(_))));
    assert_eq!(read(&db, tree, "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_rollback_leaves_nothing_and_a_dropped_tree_goes_only_with_its_commit() {
    let (disk, db, tree) = with_tree().await;
    write(&db, tree, &[("a", "1")], SyncLevel::Local).await;
    let mut undone = statement(&db, Isolation::ReadCommitted).await;
    put(&mut undone, tree, "a", "2").await.unwrap();
    undone.drop_tree(tree).unwrap();
    undone.rollback();
    db.wal_writer_tick().unwrap();
    assert_eq!(read(&db, tree, "a").await.as_deref(), Some("1"));
    let reader = statement(&db, Isolation::RepeatableRead).await;
    let mut dropping = statement(&db, Isolation::ReadCommitted).await;
    dropping.drop_tree(tree).unwrap();
    dropping.commit(SyncLevel::Local).await.unwrap();
    db.wal_writer_tick().unwrap();
    assert_eq!(get(&reader, tree, "a").await.as_deref(), Some("1"), "its snapshot is older than the drop");
    drop(reader);
    db.wal_writer_tick().unwrap();
    let later = statement(&db, Isolation::ReadCommitted).await;
    assert!(matches!(later.get(tree, b"a").await, Err(Error::NoSuchTree(_))));
    let (db, _) = try_open(&power_cut(&disk), options()).unwrap();
    let after = statement(&db, Isolation::ReadCommitted).await;
    assert!(matches!(after.get(tree, b"a").await, Err(Error::NoSuchTree(_))));
}

#[tokio::test]
async fn writes_without_a_lock_in_between_are_refused_with_54000_far_beyond_the_limit() {
    let disk = new_disk();
    let (db, _) = try_open(&disk, DatabaseOptions { write_set_limit_bytes: 4096, ..options() }).unwrap();
    let mut transaction = statement(&db, Isolation::ReadCommitted).await;
    let tree = transaction.create_tree(5).await.unwrap();
    transaction.put(tree, "k", vec![0; 20_000]).unwrap();
    assert_eq!(transaction.put(tree, "l", "small").unwrap_err().sqlstate().as_str(), "54000");
    transaction.commit(SyncLevel::Local).await.unwrap();
    assert_eq!(read(&db, tree, "l").await, None);
    assert_eq!(read(&db, tree, "k").await.unwrap().len(), 20_000);
}

#[tokio::test]
async fn row_numbers_go_on_after_a_restart() {
    let (disk, db, tree) = with_tree().await;
    let mut transaction = statement(&db, Isolation::ReadCommitted).await;
    for expected in 1..=300_u64 {
        let number = transaction.next_row_number(tree).await.unwrap();
        assert_eq!(number, expected);
        let key = number.to_be_bytes();
        transaction.lock(tree, &key, LockMode::Exclusive, LockWait::Forever).await.unwrap();
        transaction.put(tree, key.to_vec(), "row").unwrap();
    }
    transaction.commit(SyncLevel::Local).await.unwrap();
    drop(db);
    let db = open(&power_cut(&disk));
    let again = statement(&db, Isolation::ReadCommitted).await;
    assert_eq!(again.next_row_number(tree).await.unwrap(), 301);
}

#[tokio::test]
async fn relation_numbers_are_never_given_twice() {
    let (disk, db, tree) = with_tree().await;
    let next = db.allocate_number().unwrap();
    assert!(next > tree.relation);
    write(&db, tree, &[("a", "1")], SyncLevel::Local).await;
    drop(db);
    let db = open(&power_cut(&disk));
    assert!(db.allocate_number().unwrap() > next);
}

#[tokio::test]
async fn a_second_server_on_the_directory_is_refused() {
    let disk = new_disk();
    let db = open(&disk);
    let refused = try_open(&disk, options()).unwrap_err();
    assert!(refused.to_string().contains("in use by another server"), "{refused}");
    drop(db);
    try_open(&disk, options()).unwrap();
}

#[tokio::test]
async fn a_folder_that_is_not_empty_is_no_place_for_a_new_database() {
    let disk = new_disk();
    let refused = Database::create(&host_on(&disk), Path::new(DIR), &CreateOptions::default()).unwrap_err();
    assert!(refused.to_string().contains("not empty"), "{refused}");
}

#[tokio::test]
async fn after_a_shutdown_has_begun_nothing_is_committed() {
    let (disk, db, tree) = with_tree().await;
    let mut late = statement(&db, Isolation::ReadCommitted).await;
    put(&mut late, tree, "a", "late").await.unwrap();
    db.shutdown().await.unwrap();
    assert!(matches!(late.commit(SyncLevel::Off).await, Err(Error::Shutdown)));
    let mut new = db.begin_after(Isolation::ReadCommitted, wal::Lsn::INVALID, Interrupt::new());
    assert!(matches!(new.begin_statement().await, Err(Error::Shutdown)));
    drop((db, new));
    assert_eq!(read(&open(&disk), tree, "a").await, None);
}

/// Polls a future once, with the commit lock held by somebody else.
fn poll_while_locked<F: Future>(db: &Database, future: std::pin::Pin<&mut F>) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    db.0.pipeline().unwrap().at_rest(|_| future.poll(&mut context).is_pending())
}

#[tokio::test]
async fn a_commit_that_queued_behind_a_checkpoint_is_carried_out_when_that_lets_go() {
    let (_disk, db, tree) = with_tree().await;
    let mut transaction = statement(&db, Isolation::ReadCommitted).await;
    put(&mut transaction, tree, "a", "1").await.unwrap();
    let mut commit = std::pin::pin!(transaction.commit(SyncLevel::Off));
    assert!(poll_while_locked(&db, commit.as_mut()));
    assert_eq!(read(&db, tree, "a").await.as_deref(), Some("1"));
    assert!(commit.await.unwrap().confirmed);
}

#[tokio::test]
async fn a_commit_dropped_in_the_queue_is_a_rollback_that_takes_its_trees_along() {
    let (_disk, db, tree) = with_tree().await;
    let mut transaction = statement(&db, Isolation::ReadCommitted).await;
    put(&mut transaction, tree, "a", "1").await.unwrap();
    let created = transaction.create_tree(5).await.unwrap();
    let mut commit = Box::pin(transaction.commit(SyncLevel::Off));
    db.0.pipeline().unwrap().at_rest(|_| {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(commit.as_mut().poll(&mut context).is_pending());
        drop(commit);
    });
    assert_eq!(read(&db, tree, "a").await, None);
    let mut next = statement(&db, Isolation::ReadCommitted).await;
    next.lock(tree, b"a", LockMode::Exclusive, LockWait::NoWait).await.unwrap();
    drop(next);
    db.wal_writer_tick().unwrap();
    assert!(matches!(db.store().tree(created), Err(Error::NoSuchTree(_))));
}

#[tokio::test]
async fn a_shutdown_waits_for_the_checkpoint_that_nobody_waits_for_any_more() {
    let (_disk, db, tree) = with_tree().await;
    let mut transaction = statement(&db, Isolation::ReadCommitted).await;
    for key in 0..2000_u32 {
        let key = key.to_be_bytes();
        transaction.lock(tree, &key, LockMode::Exclusive, LockWait::Forever).await.unwrap();
        transaction.put(tree, key.to_vec(), vec![1; 100]).unwrap();
    }
    transaction.commit(SyncLevel::Local).await.unwrap();
    let mut paced = Box::pin(db.checkpoint(CheckpointKind::Paced(Duration::from_secs(600))));
    tokio::select! {
        biased;
        _ = &mut paced => panic!("it is not that fast"),
        () = std::future::ready(()) => {}
    }
    drop(paced);
    let last = db.shutdown().await.unwrap();
    assert_eq!(db.checkpoint_counts().paced, 1, "the paced one ended first");
    let control = db.control();
    assert_eq!((control.state, control.checkpoint), (ClusterState::ShutDown, last.checkpoint));
}

#[tokio::test]
async fn a_scan_of_a_large_table_gets_through_values_that_are_longer_than_its_ring() {
    let (disk, db, tree) = with_tree().await;
    let value = vec![7; 320_000];
    for key in 0..8_u32 {
        let key = key.to_be_bytes();
        let mut transaction = statement(&db, Isolation::ReadCommitted).await;
        transaction.lock(tree, &key, LockMode::Exclusive, LockWait::Forever).await.unwrap();
        transaction.put(tree, key.to_vec(), value.clone()).unwrap();
        transaction.commit(SyncLevel::Local).await.unwrap();
    }
    db.shutdown().await.unwrap();
    drop(db);
    // Nothing is in the pool yet, and the values are more than it holds.
    let db = open(&disk);
    let reader = statement(&db, Isolation::ReadCommitted).await;
    let mut scan = reader.scan(tree, crate::KeyRange::all(), Direction::Forward);
    let mut found = Vec::new();
    while scan.next_batch(&reader, 64, &mut found).await.unwrap() {}
    assert_eq!(found.len(), 8);
    assert!(found.iter().all(|(_, read)| read[..] == value[..]));
}

#[tokio::test]
async fn a_value_that_is_longer_than_the_whole_pool_is_read_changed_and_deleted() {
    let (disk, db, tree) = with_tree().await;
    let pool = options().shared_buffers_bytes;
    let (key, other) = (b"long".to_vec(), b"short".to_vec());
    let long = |fill: u8| (0..pool * 2).map(|at| (at / 1000) as u8 ^ fill).collect::<Vec<_>>();
    let mut transaction = statement(&db, Isolation::ReadCommitted).await;
    for (key, value) in [(&key, long(1)), (&other, vec![1])] {
        transaction.lock(tree, key, LockMode::Exclusive, LockWait::Forever).await.unwrap();
        transaction.put(tree, key.clone(), value).unwrap();
    }
    transaction.commit(SyncLevel::Local).await.unwrap();
    db.shutdown().await.unwrap();
    drop(db);
    let db = open(&disk);
    let reader = statement(&db, Isolation::ReadCommitted).await;
    assert!(reader.get(tree, &key).await.unwrap().unwrap()[..] == long(1)[..]);
    let mut scan = reader.scan(tree, crate::KeyRange::all(), Direction::Forward);
    let mut found = Vec::new();
    while scan.next_batch(&reader, 64, &mut found).await.unwrap() {}
    assert!(found.len() == 2 && found[0].1[..] == long(1)[..]);
    drop((scan, reader));
    let mut transaction = statement(&db, Isolation::ReadCommitted).await;
    transaction.lock(tree, &key, LockMode::Exclusive, LockWait::Forever).await.unwrap();
    transaction.put(tree, key.clone(), long(2)).unwrap();
    transaction.commit(SyncLevel::Local).await.unwrap();
    let mut transaction = statement(&db, Isolation::ReadCommitted).await;
    assert!(transaction.get(tree, &key).await.unwrap().unwrap()[..] == long(2)[..]);
    transaction.lock(tree, &key, LockMode::Exclusive, LockWait::Forever).await.unwrap();
    transaction.delete(tree, key.clone()).unwrap();
    transaction.commit(SyncLevel::Local).await.unwrap();
    let reader = statement(&db, Isolation::ReadCommitted).await;
    assert!(reader.get(tree, &key).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_in_the_log_and_not_yet_published_is_waited_for() {
    let (_disk, db, tree) = with_tree().await;
    let (in_log, seen) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let wal = db.clone();
    *db.0.pipeline().unwrap().before_publish.lock() = Some(Box::new(move || {
        in_log.send(wal.positions().unwrap().inserted()).unwrap();
        may_go_on.recv().unwrap();
    }));
    let writer = db.clone();
    let commit = tokio::spawn(async move {
        let mut transaction = statement(&writer, Isolation::ReadCommitted).await;
        transaction.lock(tree, b"k", LockMode::Exclusive, LockWait::Forever).await.unwrap();
        transaction.put(tree, &b"k"[..], vec![1]).unwrap();
        transaction.commit(SyncLevel::Local).await.unwrap();
    });
    // A standby may show it by now, and a client come back from there with this position.
    let token = tokio::task::spawn_blocking(move || seen.recv().unwrap()).await.unwrap();
    let (done, included) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn({
        let (db, runtime) = (db.clone(), tokio::runtime::Handle::current());
        move || {
            runtime.block_on(db.wait_included(token, false, &Interrupt::default())).unwrap();
            done.send(()).unwrap();
        }
    });
    let early = included.recv_timeout(Duration::from_millis(200));
    assert_eq!(early, Err(std::sync::mpsc::RecvTimeoutError::Timeout), "no snapshot includes it yet");
    go_on.send(()).unwrap();
    waiting.join().unwrap();
    let reader = statement(&db, Isolation::ReadCommitted).await;
    assert_eq!(reader.get(tree, b"k").await.unwrap().unwrap()[..], [1]);
    commit.await.unwrap();
}

#[tokio::test]
async fn whether_the_log_is_synced_may_change_while_it_is_written() {
    let (_disk, db, tree) = with_tree().await;
    for fsync in [false, true] {
        db.set_log_writing(crate::LogWriting { fsync, ..Default::default() });
        let syncs = || db.0.wal().unwrap().stats().syncs;
        let before = syncs();
        write(&db, tree, &[("a", "value")], SyncLevel::Local).await;
        assert_eq!(syncs() > before, fsync, "fsync = {fsync}");
    }
}

#[tokio::test]
async fn nothing_comes_behind_the_shutdown_checkpoint() {
    let (_disk, db, _tree) = with_tree().await;
    let backup = db.start_backup("its session has ended", Duration::ZERO).await.unwrap();
    db.shutdown().await.unwrap();
    let end = db.positions().unwrap().inserted();
    let refused = db.stop_backup(backup).await.err().unwrap();
    assert!(matches!(refused, Error::Shutdown), "{refused}");
    assert_eq!(db.positions().unwrap().inserted(), end);
}
