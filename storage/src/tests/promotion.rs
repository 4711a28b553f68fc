//! What holds in the middle of a promotion, and of what is confirmed on a standby.

use super::standby::{backup, follow, primary};
use super::*;
use crate::{CheckpointKind, PromoteOptions, RedoEnd};
use host::Disk;
use simulation::Call;
use std::sync::mpsc;
use wal::TimelineId;
use wal::control::ClusterState;

#[tokio::test]
async fn until_a_promotion_is_done_only_what_was_heard_is_confirmed() {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    write(&db, tree, &[("row 000", "held by the quorum")], SyncLevel::Local).await;
    let heard = db.positions().unwrap().flushed();
    write(&db, tree, &[("row 000", "not told to be held")], SyncLevel::Local).await;
    standby.catch_up(&disk, &db);
    let gate = standby.db.commit_gate().clone();
    gate.confirm(heard);
    let (promoted, end) = standby.end_for_promotion();
    let RedoEnd::Promote { at, .. } = end else { panic!("{end:?}") };
    assert!(heard < at, "the last commit is not confirmed");
    let told = gate.confirmed_changes();
    let (tell, in_the_middle) = mpsc::channel();
    let (asked, engine) = (gate.clone(), Arc::clone(&promoted.0));
    *promoted.0.mid_promotion.lock() = Some(Box::new(move || {
        assert!(engine.wal().is_ok(), "the log has its writer");
        tell.send((asked.confirmed(), engine.timeline())).unwrap();
    }));
    let how = PromoteOptions { new_timeline: TimelineId::new(2), reason: "test".into() };
    let promotion = promoted.promote(end, how).await.unwrap();
    // It is not decided yet: what readers are told of is of the old timeline.
    assert_eq!(in_the_middle.recv().unwrap(), (heard, TimelineId::FIRST));
    assert_eq!(promoted.timeline(), TimelineId::new(2));
    // Standbys of this one are on the ended timeline until they are told of the new one.
    assert_eq!((gate.confirmed(), *told.borrow()), (heard, heard));
    assert!(promoted.is_in_recovery() && promoted.positions().is_none());
    promotion.end_recovery().await.unwrap();
    assert!(gate.confirmed() > at, "without names what is flushed here is confirmed");
    assert_eq!(*told.borrow(), gate.confirmed());
    assert!(promoted.positions().is_some());
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_promotion_leaves_no_page_ahead_of_min_recovery_point() {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    write(&db, tree, &[("row 000", "z")], SyncLevel::Local).await;
    standby.catch_up(&disk, &db);
    let (promoted, end) = standby.end_for_promotion();
    let how = PromoteOptions { new_timeline: TimelineId::new(2), reason: "test".into() };
    // What the server settles next fails.
    drop(promoted.promote(end, how).await.unwrap());
    promoted.shutdown().await.unwrap();
    let control = promoted.control();
    assert_eq!(control.state, ClusterState::ShutDownInRecovery);
    // The state page has the last word on what is confirmed, which is the last record.
    let end = promoted.0.wal().unwrap().positions().flushed();
    let minimum = (control.min_recovery_point, control.min_recovery_point_timeline);
    assert_eq!(minimum, (end, TimelineId::new(2)));
}

#[tokio::test]
async fn the_first_write_after_a_promotion_waits_for_few_syncs_and_no_new_segment() {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let signal = Path::new(DIR).join("standby.signal");
    host::write_file_durably(&copy, &signal, b"").unwrap();
    let standby = follow(&copy);
    write(&db, tree, &[("row 000", "z")], SyncLevel::Local).await;
    standby.catch_up(&disk, &db);
    let wal_dir = Path::new(DIR).join("pg_wal");
    let size = db.control().segment_size;
    let folder = wal::SegmentFolder::new(Arc::new(copy.clone()), &wal_dir, size);
    let last = folder.list().unwrap().last().unwrap().segment;
    let spare = folder.path(TimelineId::FIRST, last.next());
    folder.create(TimelineId::FIRST, last.next()).unwrap();
    let (promoted, end) = standby.end_for_promotion();
    copy.start_trace();
    let how = PromoteOptions { new_timeline: TimelineId::new(2), reason: "test".into() };
    let promotion = promoted.promote(end, how).await.unwrap();
    promotion.take_writes();
    write(&promoted, tree, &[("row 000", "promoted")], SyncLevel::Local).await;
    let trace = copy.take_trace();
    let called = |call| {
        let mut names: Vec<String> = trace
            .iter()
            .filter(|operation| operation.call == call)
            .map(|operation| operation.path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let segment = last.file_name(TimelineId::new(2), size);
    let files = ["00000002.history.tmp", &segment, &segment, "branch", "pg_control", "pg_control"];
    assert_eq!(called(Call::Sync), files, "what begins the timeline, and the commit");
    assert_eq!(called(Call::SyncDir), ["data", "pg_wal"]);
    let own = format!("xlogtemp.{}", last.file_name(TimelineId::FIRST, size));
    assert_eq!(called(Call::Allocate), [own], "space for what the ended timeline gets later");
    assert!(called(Call::Write).iter().all(|name| !name.starts_with("xlogtemp")), "nothing is copied");
    let ahead = folder.path(TimelineId::new(2), last.next());
    assert!(!copy.exists(&spare).unwrap() && copy.exists(&ahead).unwrap(), "it lies ahead of the new log");
    promotion.end_recovery().await.unwrap();
    assert!(!copy.exists(&signal).unwrap());
    let (again, _) = try_open(&power_cut(&copy), options()).unwrap();
    assert_eq!(read(&again, tree, "row 000").await.as_deref(), Some("promoted"));
}

#[tokio::test]
async fn a_promotion_does_not_wait_for_a_restartpoint() {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    let (names, text): (Vec<String>, _) =
        ((0..200).map(|row| format!("row {row:03}")).collect(), "x".repeat(500));
    let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), text.as_str())).collect();
    write(&db, tree, &pairs, SyncLevel::Local).await;
    db.checkpoint(CheckpointKind::Immediate).await.unwrap();
    standby.catch_up(&disk, &db);
    let (promoted, end) = standby.end_for_promotion();
    let before = promoted.control().checkpoint;
    // It rests after each of its pages.
    let running = promoted.checkpoint(CheckpointKind::Paced(Duration::from_secs(3600)));
    let how = PromoteOptions { new_timeline: TimelineId::new(2), reason: "test".into() };
    let (restartpoint, promotion) = tokio::join!(biased; running, promoted.promote(end, how));
    assert!(restartpoint.unwrap().skipped);
    assert_eq!(promoted.control().checkpoint, before);
    promotion.unwrap().end_recovery().await.unwrap();
    promoted.checkpoint(CheckpointKind::Immediate).await.unwrap();
}

#[tokio::test]
async fn feedback_asks_for_what_the_next_confirmed_reader_will_see() {
    let (disk, db, tree) = primary().await;
    let copy = backup(&disk, &db, async {}).await;
    let standby = follow(&copy);
    standby.feed.settle();
    let before = standby.db.feedback_xmin(true);
    standby.db.0.visibility.confirm(db.positions().unwrap().flushed());
    write(&db, tree, &[("row 000", "in doubt")], SyncLevel::Local).await;
    standby.catch_up(&disk, &db);
    assert_eq!(standby.db.feedback_xmin(true), before, "a reader may be shown this");
    assert!(standby.db.feedback_xmin(false) > before);
    let replayed = statement(&standby.db, Isolation::RepeatableRead).await;
    assert_eq!(standby.db.feedback_xmin(true), before);
    standby.db.0.visibility.prunes_below(before.next());
    assert!(standby.db.feedback_xmin(true) > before, "nobody is shown it any more");
    standby.db.0.visibility.confirm(db.positions().unwrap().flushed());
    assert!(standby.db.feedback_xmin(true) > before);
    drop(replayed);
    standby.stop();
}
