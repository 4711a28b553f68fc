//! What a fenced server shows that crashed with undecided commits.

use super::visibility::{quorum_at, stalled, write_with};
use super::*;
use crate::{CheckpointKind, Interrupt, RemoteProgress};
use wal::Lsn;

/// Replaces row "a" at level on, and does not wait for the standbys.
async fn replace(db: &Database, tree: TreeId, value: &str) {
    replace_at(SyncLevel::On, db, tree, value).await;
}

async fn replace_at(level: SyncLevel, db: &Database, tree: TreeId, value: &str) {
    let interrupt = Interrupt::new();
    let writing = write_with(db, tree, value, &interrupt).await;
    interrupt.cancel();
    assert!(!writing.commit(level).await.unwrap().confirmed);
}

/// What row "a" is on a server that is fenced when it starts, with undecided commits.
async fn read_fenced(db: &Database, tree: TreeId) -> Result<Option<String>, Error> {
    let (after, upto) = db.commit_gate().undecided().unwrap();
    db.fence("timeline 2 was promoted");
    db.wait_included(after, false, &Interrupt::new()).await.unwrap();
    let refused = db.wait_included(upto, false, &Interrupt::new()).await.unwrap_err();
    assert_eq!(refused.sqlstate().as_str(), "25006", "a token of what is undecided: {refused}");
    let mut reader = db.begin(Isolation::ReadCommitted);
    reader.begin_statement().await?;
    Ok(get(&reader, tree, "a").await)
}

fn sync_required() -> DatabaseOptions {
    DatabaseOptions { sync_required: true, ..options() }
}

/// Starts it after a crash.
fn start(disk: &VirtualDisk) -> Database {
    try_open(&power_cut(disk), sync_required()).unwrap().0
}

#[tokio::test]
async fn it_is_what_was_confirmed_also_when_commits_before_the_redo_point_are_undecided() {
    for stops in [false, true] {
        let (mut disk, db, tree) = stalled().await;
        replace(&db, tree, "undecided").await;
        if stops {
            db.shutdown().await.unwrap();
        } else {
            db.checkpoint(CheckpointKind::Immediate).await.unwrap();
        }
        drop(db);
        for life in 0..4 {
            disk = power_cut(&disk);
            let db = try_open(&disk, sync_required()).unwrap().0;
            let found = read_fenced(&db, tree).await.unwrap();
            assert_eq!(found.as_deref(), Some("old"), "life {life}, after a clean stop: {stops}");
            if life > 0 {
                db.checkpoint(CheckpointKind::Immediate).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn it_is_what_a_checkpoint_found_before_standbys_were_named() {
    let (disk, db, tree) = with_tree().await;
    write(&db, tree, &[("a", "old")], SyncLevel::Local).await;
    db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    // None of them has told anything yet.
    db.commit_gate().set_remote(quorum_at(Lsn::INVALID));
    replace(&db, tree, "undecided").await;
    drop(db);
    assert_eq!(read_fenced(&start(&disk), tree).await.unwrap().as_deref(), Some("old"));
}

#[tokio::test]
async fn it_is_not_lost_with_the_versions_that_are_pruned_behind_the_checkpoint() {
    let (disk, db, tree) = stalled().await;
    db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    let filler = "x".repeat(500);
    for round in 0..200 {
        replace(&db, tree, &format!("{round} {filler}")).await;
        db.commit_gate().set_remote(quorum_at(db.positions().unwrap().flushed()));
    }
    assert!(db.0.store.pruned_below().is_valid(), "nothing was pruned");
    replace(&db, tree, "undecided").await;
    drop(db);
    let found = read_fenced(&start(&disk), tree).await.unwrap().unwrap();
    assert!(found.ends_with(&filler), "{found}");
}

#[tokio::test]
async fn what_waits_to_be_replayed_stays_unseen_over_checkpoints_stops_and_restarts() {
    for (stops, is_flushed) in [(false, false), (false, true), (true, false), (true, true)] {
        let (mut disk, db, tree) = stalled().await;
        replace_at(SyncLevel::RemoteApply, &db, tree, "applied").await;
        let unreplayed = |db: &Database| RemoteProgress {
            replayed: Lsn::new(1),
            ..quorum_at(db.positions().unwrap().flushed())
        };
        if is_flushed {
            db.commit_gate().set_remote(unreplayed(&db));
        }
        if stops {
            db.shutdown().await.unwrap();
        } else {
            db.checkpoint(CheckpointKind::Immediate).await.unwrap();
        }
        drop(db);
        for life in 0..4 {
            disk = power_cut(&disk);
            let db = try_open(&disk, sync_required()).unwrap().0;
            let gate = db.commit_gate();
            gate.set_remote(unreplayed(&db));
            let story = format!("life {life}, after a clean stop: {stops}, flushed before: {is_flushed}");
            assert!(gate.undecided().is_some(), "{story}: shown before it was replayed");
            db.checkpoint(CheckpointKind::Immediate).await.unwrap();
            if life == 3 {
                gate.set_remote(quorum_at(db.positions().unwrap().flushed()));
                assert_eq!(gate.undecided(), None, "{story}: not shown although it was replayed");
            }
        }
    }
}

#[tokio::test]
async fn without_what_an_undecided_commit_has_dropped_it_refuses_to_read() {
    for end in ["crash", "checkpoint and crash", "stop"] {
        let (disk, db, tree) = stalled().await;
        let interrupt = Interrupt::new();
        let mut dropping = write_with(&db, tree, "undecided", &interrupt).await;
        dropping.drop_tree(tree).unwrap();
        interrupt.cancel();
        dropping.commit(SyncLevel::On).await.unwrap();
        if end == "stop" {
            db.shutdown().await.unwrap();
        } else if end == "checkpoint and crash" {
            db.checkpoint(CheckpointKind::Immediate).await.unwrap();
        }
        drop(db);
        let refused = read_fenced(&start(&disk), tree).await.unwrap_err();
        assert_eq!(refused.sqlstate().as_str(), "25006", "{end}: {refused}");
    }
}

#[tokio::test]
async fn it_does_not_go_back_behind_what_the_standbys_confirmed_before_a_checkpoint() {
    let (disk, db, tree) = stalled().await;
    db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    write(&db, tree, &[("a", "confirmed")], SyncLevel::Local).await;
    let confirmed = db.positions().unwrap().flushed();
    write(&db, tree, &[("b", "seen here alone")], SyncLevel::Local).await;
    db.commit_gate().set_remote(quorum_at(confirmed));
    db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    replace(&db, tree, "undecided").await;
    drop(db);
    // What the first checkpoint found is older than that, and what is visible was more.
    let refused = read_fenced(&start(&disk), tree).await.unwrap_err();
    assert_eq!(refused.sqlstate().as_str(), "25006", "{refused}");
}
