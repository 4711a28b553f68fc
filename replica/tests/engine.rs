//! Two engines with the drivers between them: commits that wait for the standby, reads there, promotion.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

mod support;

use host::Host;
use replica::driver::receive::{self, ReceiveContext, ReceiveHandle, ReceiveSettings};
use replica::driver::{LogPlace, StandbyFeed};
use replica::receiver::ReceiverOptions;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use storage::{
    CreateOptions, Database, DatabaseOptions, Interrupt, Isolation, LockMode, LockWait, Opened,
    PromoteOptions, RedoEnd, StartMode, SyncLevel, TreeId, WaitEvent,
};
use support::{Primary, Said, segment_size};
use wal::history::TimelineHistory;
use wal::{Live, LogBranch, Lsn, NodeLog, StandbyPositions, TimelineId};

fn options(dir: &Path) -> DatabaseOptions {
    DatabaseOptions { shared_buffers_bytes: 4 << 20, ..DatabaseOptions::new(dir) }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// One row in a transaction of its own; says whether the commit was confirmed at its level.
async fn write(db: &Database, tree: TreeId, key: &str, level: SyncLevel) -> bool {
    write_as(db, tree, key, level, &Interrupt::new()).await
}

/// The same, for a session that others look at.
async fn write_as(db: &Database, tree: TreeId, key: &str, level: SyncLevel, session: &Interrupt) -> bool {
    let mut transaction = db.begin_after(Isolation::ReadCommitted, Lsn::INVALID, session.clone());
    transaction.begin_statement().await.unwrap();
    transaction.lock(tree, key.as_bytes(), LockMode::Exclusive, LockWait::Forever).await.unwrap();
    transaction.put(tree, key.to_owned(), key.to_owned()).unwrap();
    transaction.commit(level).await.unwrap().confirmed
}

async fn has(db: &Database, tree: TreeId, key: &str) -> bool {
    let mut transaction = db.begin(Isolation::ReadCommitted);
    transaction.begin_statement().await.unwrap();
    transaction.get(tree, key.as_bytes()).await.unwrap().is_some()
}

struct Follower {
    db: Database,
    feed: Arc<StandbyFeed>,
    redo: std::thread::JoinHandle<RedoEnd>,
    receiver: ReceiveHandle,
}

fn follow(dir: &Path, primary: &Primary) -> Follower {
    let host = Host::real();
    let mode = StartMode::Standby { timeline: TimelineId::FIRST };
    let Opened::Standby { db, mut redo } = Database::open(&host, options(dir), mode).unwrap() else {
        panic!("asked for a standby");
    };
    let positions = Arc::new(StandbyPositions::new(redo.next_lsn()));
    let log = NodeLog::new(redo.history().clone(), Live::Standby(positions), db.log_branch().clone());
    let feed = StandbyFeed::new(&log, Host::real().clock);
    db.set_standby_log(feed.clone());
    let context = ReceiveContext {
        host: host.clone(),
        place: LogPlace::new(host.disk.clone(), &dir.join("pg_wal"), segment_size()),
        keeps_id: false,
        roster: replica::roster::Roster::new(replica::directory_id::DirectoryId::new(2)),
        feed: feed.clone(),
        log,
        observer: Arc::new(Said::default()),
        needed: Lsn::INVALID,
        wants_confirmed: tokio::sync::watch::channel(false).1,
        search: Arc::default(),
    };
    let options = ReceiverOptions {
        system: db.system_id(),
        segment_size: segment_size(),
        slot: None,
        follow_latest: true,
        status_interval: Some(Duration::from_secs(10)),
        timeout: Some(Duration::from_secs(60)),
        retry_interval: Duration::from_millis(50),
        feedback: false,
    };
    let settings = ReceiveSettings {
        conninfo: primary.conninfo(),
        application_name: "standby".to_owned(),
        options,
        copy_slots: false,
        fsync: true,
    };
    let receiver = receive::start(context, settings).unwrap();
    let running = feed.clone();
    let redo = std::thread::spawn(move || redo.run(&*running).unwrap());
    Follower { db, feed, redo, receiver }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_waits_for_the_standby_which_then_reads_it_and_takes_over() {
    let (host, dir, standby_dir) = (Host::real(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (data, copied) = (dir.path().join("data"), standby_dir.path().join("data"));
    let create = CreateOptions { segment_size: segment_size(), ..CreateOptions::default() };
    Database::create(&host, &data, &create).unwrap();
    copy(&data, &copied);
    let Opened::Primary { db, .. } = Database::open(&host, options(&data), StartMode::Primary).unwrap()
    else {
        panic!("asked for a primary");
    };
    let mut transaction = db.begin(Isolation::ReadCommitted);
    let tree = transaction.create_tree(5).await.unwrap();
    transaction.commit(SyncLevel::Local).await.unwrap();

    let history = TimelineHistory::root(TimelineId::FIRST);
    let live = Live::Primary(db.wal().unwrap().clone());
    let log = NodeLog::new(history, live, LogBranch::unrecorded());
    let served = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(data.join("pg_wal"), served.path().join("pg_wal")).unwrap();
    std::fs::create_dir(served.path().join("pg_replslot")).unwrap();
    let gate = db.commit_gate().clone();
    let primary =
        Primary::serve_with(served, log, db.system_id(), move |progress| gate.set_remote(progress)).await;
    primary.set_names("standby");

    // Nobody is there: the commit waits, and nobody sees its row.
    let session = Interrupt::new();
    let waiting = tokio::spawn({
        let (db, session) = (db.clone(), session.clone());
        async move { write_as(&db, tree, "waited", SyncLevel::On, &session).await }
    });
    while session.waits_for() != Some(WaitEvent::CommitLevel) {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished() && !has(&db, tree, "waited").await);

    let standby = follow(&copied, &primary);
    assert!(waiting.await.unwrap(), "the standby's flush confirms it");
    assert!(has(&db, tree, "waited").await);
    for round in 0..200 {
        assert!(write(&db, tree, &format!("row {round}"), SyncLevel::RemoteApply).await);
        assert!(has(&standby.db, tree, &format!("row {round}")).await, "applied means readable there");
    }

    primary.cut_connections();
    standby.receiver.stop().await;
    standby.feed.promote(false);
    let end = standby.redo.join().unwrap();
    let how = PromoteOptions { new_timeline: TimelineId::new(2), reason: "test".to_owned() };
    let promotion = standby.db.promote(end, how).await.unwrap();
    let promoted = promotion.promoted();
    assert!(standby.db.is_in_recovery());
    promotion.end_recovery().await.unwrap();
    assert_eq!(promoted.timeline, TimelineId::new(2));
    assert!(has(&standby.db, tree, "row 199").await);
    assert!(write(&standby.db, tree, "after", SyncLevel::Local).await);
}
