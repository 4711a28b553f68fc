use super::*;
use ::host::Disk;
use protocol::SqlState;
use simulation::{CrashPolicy, ManualClock, VirtualDisk};
use std::sync::atomic::{AtomicU64, Ordering};
use wal::history::TimelineHistory;
use wal::{Live, LogBranch, NodeLog, StandbyPositions, TimelineId};

fn open(dir: &Path) -> Slots {
    Slots::open(&Host::real(), dir, 4).unwrap()
}
fn at(lsn: u64) -> Lsn {
    Lsn::new(lsn)
}
fn create(slots: &Slots, name: &str, restart: u64) -> SlotView {
    slots.create(name, Lifetime::Permanent, Some(&|| at(restart)), 1).unwrap()
}
fn refused<T: std::fmt::Debug>(result: Result<T, ReplicaError>) -> (SqlState, String) {
    let error = result.unwrap_err();
    (error.sqlstate(), error.to_string())
}

#[test]
fn a_permanent_slot_survives_a_restart_and_a_temporary_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let slots = open(dir.path());
    create(&slots, "kept", 100);
    slots.create("lazy", Lifetime::Permanent, None, 1).unwrap();
    slots.create("mine", Lifetime::Temporary, Some(&|| at(50)), 7).unwrap();
    assert_eq!(slots.oldest(), Some(at(50)));
    drop(slots);
    let again = open(dir.path());
    let names: Vec<_> = again.list().into_iter().map(|slot| (slot.name, slot.restart)).collect();
    assert_eq!(names, [("kept".to_owned(), at(100)), ("lazy".to_owned(), Lsn::INVALID)]);
    assert_eq!(again.oldest(), Some(at(100)));
}

#[test]
fn a_slot_is_idle_since_it_was_used_or_moved_last_as_far_as_the_server_ran() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
    let host = Host { clock: clock.clone(), ..Host::real() };
    let slots = Slots::open(&host, dir.path(), 4).unwrap();
    create(&slots, "s", 100);
    let s = Duration::from_secs;
    let idle_since = || slots.find("s").unwrap().idle_since;
    clock.advance(s(10));
    slots.advance("s", at(100), (at(500), 0), 1).unwrap();
    assert_eq!(idle_since(), Some(s(10)), "also to where it stands");
    clock.advance(s(10));
    slots.advance("s", at(200), (at(500), 0), 1).unwrap();
    assert!(slots.invalidate_idle(s(20)).slots.is_empty());
    // It ran for 2 s, and then not for 70 s.
    clock.advance(s(72));
    slots.excuse(s(70));
    assert_eq!(idle_since(), Some(s(90)));
    let used = slots.acquire("s", 7).unwrap();
    slots.excuse(s(70));
    assert_eq!(idle_since(), None);
    drop(used);
    slots.excuse(s(70));
    assert_eq!(idle_since(), Some(s(92)), "nothing was used in time to come");
}

#[test]
fn what_a_slot_s_standby_reads_is_kept_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let slots = open(dir.path());
    create(&slots, "s", 100);
    let active = slots.acquire("s", 7).unwrap();
    active.set_xmin(Some(Xid::new(5 << 32 | 9)));
    assert_eq!(open(dir.path()).oldest_xmin(), Some(Xid::new(5 << 32 | 9)), "the first one is there at once");
    active.set_xmin(Some(Xid::new(5 << 32 | 11)));
    assert_eq!(open(dir.path()).oldest_xmin(), Some(Xid::new(5 << 32 | 9)));
    slots.save().unwrap();
    assert_eq!(open(dir.path()).oldest_xmin(), Some(Xid::new(5 << 32 | 11)));
    active.set_xmin(Some(Xid::new(5 << 32 | 7)));
    assert_eq!(open(dir.path()).oldest_xmin(), Some(Xid::new(5 << 32 | 7)), "so is one that is older");
    active.set_xmin(None);
    slots.save().unwrap();
    assert_eq!(open(dir.path()).oldest_xmin(), None);
}

#[test]
fn a_crash_before_the_save_finds_the_older_position_and_the_wal_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let slots = open(dir.path());
    create(&slots, "s", 100);
    let active = slots.acquire("s", 9).unwrap();
    active.release_before(at(500), 0);
    assert_eq!(slots.find("s").unwrap().restart, at(500));
    assert_eq!(slots.oldest(), Some(at(100)), "WAL stays until the position is durable");
    assert_eq!(open(dir.path()).find("s").unwrap().restart, at(100));
    slots.save().unwrap();
    assert_eq!(slots.oldest(), Some(at(500)));
    assert_eq!(open(dir.path()).find("s").unwrap().restart, at(500));
}

#[test]
fn a_slot_that_moves_back_keeps_the_wal_from_there_at_once_and_after_a_crash() {
    let host = |files: &VirtualDisk| Host { disk: Arc::new(files.clone()), ..Host::real() };
    let (files, dir) = (VirtualDisk::new(), Path::new("/pg_replslot"));
    files.create_dir_all(dir).unwrap();
    let slots = Slots::open(&host(&files), dir, 4).unwrap();
    create(&slots, "s", 300);
    slots.create("lazy", Lifetime::Permanent, None, 1).unwrap();
    let active = ["s", "lazy"].map(|name| slots.acquire(name, 9).unwrap());
    let in_files = || {
        let again = Slots::open(&host(&files), dir, 4).unwrap();
        ["s", "lazy"].map(|name| again.find(name).unwrap().restart)
    };
    for flushed in [200, 250] {
        active.iter().for_each(|slot| slot.release_before(at(flushed), 0));
        assert_eq!((slots.oldest(), in_files()), (Some(at(200)), [at(200); 2]), "{flushed}");
    }
    files.set_capacity(0);
    active[0].release_before(at(100), 0);
    assert_eq!((slots.oldest(), in_files()), (Some(at(100)), [at(200); 2]), "a full disk");
    files.set_capacity(u64::MAX);
    slots.save().unwrap();
    assert_eq!((slots.oldest(), in_files()), (Some(at(100)), [at(100), at(250)]));
}

#[test]
fn what_was_told_of_a_log_that_is_left_meanwhile_moves_no_slot_past_where_it_was_left() {
    let dir = tempfile::tempdir().unwrap();
    let slots = open(dir.path());
    let live = Live::Standby(Arc::new(StandbyPositions::new(at(10))));
    let history = TimelineHistory::root(TimelineId::FIRST);
    let log = NodeLog::new(history.clone(), live, LogBranch::unrecorded());
    log.observe(Arc::new(slots.clone()));
    create(&slots, "s", 20);
    let active = slots.acquire("s", 9).unwrap();
    let told = |restart| UpstreamSlot { name: "copy".into(), restart: at(restart), lost_at: Lsn::INVALID };
    let copy = |end, generation| slots.follow(&[told(end)], None, (at(end), generation), &|_| true);
    assert!(copy(20, 0).failed.is_empty());
    let restarts = || ["copy", "s"].map(|name| slots.find(name).unwrap().restart);
    log.branch(history, at(40)).unwrap();
    active.release_before(at(50), 0);
    assert!(copy(50, 0).failed.is_empty());
    assert_eq!(restarts(), [at(40); 2]);
    active.release_before(at(60), 1);
    assert!(copy(60, 1).failed.is_empty());
    assert_eq!(restarts(), [at(60); 2]);
}

#[test]
fn errors_are_those_of_postgresql() {
    let dir = tempfile::tempdir().unwrap();
    let slots = open(dir.path());
    create(&slots, "s1", 1);
    let made = |name: &str| refused(slots.create(name, Lifetime::Permanent, None, 1));
    assert_eq!(made("s1"), (SqlState::DUPLICATE_OBJECT, "replication slot \"s1\" already exists".into()));
    assert_eq!(made(""), (SqlState::INVALID_NAME, "replication slot name \"\" is too short".into()));
    assert_eq!(
        made("S"),
        (SqlState::INVALID_NAME, "replication slot name \"S\" contains invalid character".into())
    );
    assert_eq!(made(&"x".repeat(64)).0, SqlState::NAME_TOO_LONG);
    let none = (SqlState::UNDEFINED_OBJECT, "replication slot \"no\" does not exist".to_owned());
    assert_eq!(refused(slots.acquire("no", 1)), none);
    assert_eq!(refused(slots.drop_slot("no", 1)), none);
    let _used = slots.acquire("s1", 42).unwrap();
    let active = (SqlState::OBJECT_IN_USE, "replication slot \"s1\" is active for PID 42".to_owned());
    assert_eq!(refused(slots.acquire("s1", 1)), active);
    assert_eq!(refused(slots.drop_slot("s1", 1)), active);
    for name in ["a", "b", "c"] {
        create(&slots, name, 1);
    }
    assert_eq!(
        made("d"),
        (SqlState::CONFIGURATION_LIMIT_EXCEEDED, "all replication slots are in use".into())
    );
    let off = Slots::open(&Host::real(), tempfile::tempdir().unwrap().path(), 0).unwrap();
    assert_eq!(
        refused(off.create("a", Lifetime::Permanent, None, 1)).0,
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE
    );
}

#[test]
fn a_session_s_end_takes_its_temporary_slots_and_frees_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let slots = open(dir.path());
    create(&slots, "p", 10);
    slots.create("t", Lifetime::Temporary, None, 7).unwrap();
    assert_eq!(slots.find("t").unwrap().active_pid, Some(7));
    assert_eq!(
        refused(slots.acquire("t", 8)).0,
        SqlState::OBJECT_IN_USE,
        "a temporary slot is its session's alone"
    );
    let used = slots.acquire("p", 7).unwrap();
    drop(used);
    slots.release_session(7).unwrap();
    assert_eq!(slots.find("p").unwrap().active_pid, None);
    assert!(slots.find("t").is_err());
    assert!(!dir.path().join("t").exists());
}

#[tokio::test]
async fn drop_with_wait_waits_until_the_slot_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let slots = open(dir.path());
    create(&slots, "s", 10);
    let used = slots.acquire("s", 5).unwrap();
    let waiting = tokio::spawn({
        let slots = slots.clone();
        async move { slots.drop_when_free("s", 6).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(used);
    waiting.await.unwrap().unwrap();
    assert!(slots.find("s").is_err());
}

#[test]
fn a_copy_holds_what_the_source_holds_for_sure() {
    let dir = tempfile::tempdir().unwrap();
    let slots = open(dir.path());
    create(&slots, "from", 100);
    slots.create("lazy", Lifetime::Permanent, None, 1).unwrap();
    slots.acquire("from", 1).unwrap().release_before(at(300), 0);
    assert_eq!(slots.copy("from", "to", Lifetime::Permanent, 1).unwrap().restart, at(100));
    assert_eq!(
        refused(slots.copy("lazy", "x", Lifetime::Permanent, 1)).0,
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE
    );
}

#[test]
fn advancing_is_durable_bounded_by_the_log_and_never_backwards() {
    let dir = tempfile::tempdir().unwrap();
    let slots = open(dir.path());
    create(&slots, "s", 100);
    assert_eq!(slots.advance("s", at(900), (at(400), 0), 1).unwrap(), at(400));
    assert_eq!(open(dir.path()).find("s").unwrap().restart, at(400));
    assert_eq!(
        refused(slots.advance("s", at(300), (at(400), 0), 1)),
        (
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            "cannot advance replication slot to 0/12C, minimum is 0/190".into()
        )
    );
}

#[test]
fn a_slot_that_fell_too_far_behind_is_given_up_and_whoever_used_it_has_lost_it() {
    let dir = tempfile::tempdir().unwrap();
    let slots = open(dir.path());
    create(&slots, "old", 100);
    create(&slots, "new", 900);
    let loser = slots.acquire("old", 7).unwrap();
    loser.set_xmin(Some(Xid::new(5)));
    assert_eq!(slots.oldest_xmin(), Some(Xid::new(5)));
    let gone = slots.invalidate_before(at(500)).slots;
    assert_eq!(slots.oldest_xmin(), None, "nobody comes back for what it needed");
    assert_eq!(gone.iter().map(|slot| slot.name.as_str()).collect::<Vec<_>>(), ["old"]);
    assert_eq!(
        (gone[0].active_pid, gone[0].restart),
        (Some(7), at(100)),
        "the log tells whom and from where"
    );
    loser.release_before(at(120), 0);
    assert!(!slots.find("old").unwrap().restart.is_valid(), "a late report changes nothing");
    let again = open(dir.path());
    assert_eq!(again.find("old").unwrap().invalidated_at, at(100));
    assert_eq!(again.oldest(), Some(at(900)));
    assert_eq!(
        refused(again.advance("old", at(600), (at(900), 0), 1)),
        (SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "replication slot \"old\" cannot be advanced".into())
    );
    // A receiver that has its WAL from elsewhere makes the slot good again.
    again.acquire("old", 1).unwrap().release_before(at(800), 0);
    assert_eq!((again.oldest(), again.find("old").unwrap().invalidated_at), (Some(at(800)), Lsn::INVALID));
}

#[test]
fn what_a_slot_asks_for_while_a_checkpoint_removes_log_stays_and_what_went_is_not_reserved() {
    let dir = tempfile::tempdir().unwrap();
    let slots = open(dir.path());
    create(&slots, "s", 900);
    create(&slots, "lost", 100);
    assert_eq!(slots.invalidate_before(at(500)).slots.len(), 1);
    let [s, lost] = ["s", "lost"].map(|name| slots.acquire(name, 9).unwrap());
    let in_files = || open(dir.path()).oldest();
    assert!(slots.let_go(at(200)));
    lost.release_before(at(150), 0);
    assert_eq!((slots.oldest(), in_files()), (Some(at(900)), Some(at(900))), "it went");
    lost.release_before(at(250), 0);
    assert!(!slots.let_go(at(300)));
    lost.release_before(at(450), 0);
    assert!(!slots.let_go(at(300)), "its file asks for 250");
    assert_eq!((slots.oldest(), in_files()), (Some(at(250)), Some(at(250))));
    slots.save().unwrap();
    assert!(slots.let_go(at(300)));
    s.release_before(at(950), 0);
    s.release_before(at(290), 0);
    assert_eq!((s.view().unwrap().restart, in_files()), (at(900), Some(at(450))), "it keeps what it kept");
    s.release_before(at(300), 0);
    assert_eq!((slots.oldest(), in_files()), (Some(at(300)), Some(at(300))));
}

#[test]
fn what_a_crash_left_half_made_is_removed_and_a_damaged_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("half.tmp")).unwrap();
    std::fs::write(dir.path().join("half.tmp/state"), "x").unwrap();
    create(&open(dir.path()), "s", 5);
    assert!(!dir.path().join("half.tmp").exists());
    let path = dir.path().join("s/state");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = Slots::open(&Host::real(), dir.path(), 4).unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::DATA_CORRUPTED);
    assert!(error.to_string().contains("s/state") && error.to_string().contains("checksum"), "{error}");
}

#[test]
fn the_reserved_position_is_asked_while_nobody_can_remove_wal() {
    let dir = tempfile::tempdir().unwrap();
    let slots = open(dir.path());
    let redo = AtomicU64::new(700);
    let slot = slots.create("s", Lifetime::Permanent, Some(&|| at(redo.load(Ordering::SeqCst))), 1).unwrap();
    assert_eq!((slot.restart, slots.oldest()), (at(700), Some(at(700))));
}

#[test]
fn a_damaged_slot_file_keeps_the_server_from_starting_and_is_named_with_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    create(&open(dir.path()), "s", 100);
    let path = dir.path().join("s/state");
    let sound = std::fs::read(&path).unwrap();
    for byte in [0, 5, 9, 20, 96, 199] {
        let mut bad = sound.clone();
        bad[byte] ^= 0x10;
        std::fs::write(&path, bad).unwrap();
        let (_, text) = refused(Slots::open(&Host::real(), dir.path(), 4));
        assert!(text.contains(path.to_str().unwrap()) && text.contains("expected"), "byte {byte}: {text}");
    }
    std::fs::write(&path, sound).unwrap();
    assert_eq!(open(dir.path()).find("s").unwrap().restart, at(100));
}

#[test]
fn a_start_survives_a_power_cut_in_the_middle_of_one_that_takes_temporary_slots_away() {
    let host = |files: &VirtualDisk| Host { disk: Arc::new(files.clone()), ..Host::real() };
    let (files, dir) = (VirtualDisk::new(), Path::new("/pg_replslot"));
    files.create_dir_all(dir).unwrap();
    files.sync_dir(Path::new("/")).unwrap();
    let slots = Slots::open(&host(&files), dir, 4).unwrap();
    create(&slots, "kept", 100);
    slots.create("mine", Lifetime::Temporary, Some(&|| at(50)), 7).unwrap();
    let after = Arc::new(Mutex::new(Vec::new()));
    let found = after.clone();
    files.observe(Box::new(move |_, moment| found.lock().push(moment.fork())));
    Slots::open(&host(&files), dir, 4).unwrap();
    files.stop_observing();
    let moments = std::mem::take(&mut *after.lock());
    assert!(moments.len() > 1, "{moments:?}");
    for (number, moment) in moments.iter().enumerate() {
        for seed in 0..20 {
            let crashed = moment.crash(CrashPolicy::Anything { seed });
            let again = Slots::open(&host(&crashed), dir, 4);
            let names: Vec<_> = again
                .map(|slots| slots.list().into_iter().map(|slot| slot.name).collect())
                .unwrap_or_else(|error| panic!("after change {number}, seed {seed}: {error}"));
            assert_eq!(names, ["kept"]);
        }
    }
}

#[test]
fn a_slot_that_moved_past_what_goes_since_its_save_is_saved_before_that_goes() {
    let host = |files: &VirtualDisk| Host { disk: Arc::new(files.clone()), ..Host::real() };
    let (files, dir) = (VirtualDisk::new(), Path::new("/pg_replslot"));
    files.create_dir_all(dir).unwrap();
    let slots = Slots::open(&host(&files), dir, 4).unwrap();
    let in_file = || Slots::open(&host(&files), dir, 4).unwrap().oldest();
    create(&slots, "s", 100);
    let active = slots.acquire("s", 7).unwrap();
    slots.save().unwrap();
    active.release_before(at(600), 0);
    assert!(slots.invalidate_before(at(500)).slots.is_empty());
    assert!(slots.let_go(at(500)));
    assert_eq!(in_file(), Some(at(600)), "a crash finds the log that the slot asks for");
    active.release_before(at(900), 0);
    files.set_capacity(0);
    assert!(slots.invalidate_before(at(800)).slots.is_empty());
    assert!(slots.let_go(at(800)), "a full disk keeps no log");
    assert_eq!((slots.oldest(), in_file()), (Some(at(900)), Some(at(600))));
    files.set_capacity(u64::MAX);
    slots.save().unwrap();
    assert_eq!(in_file(), Some(at(900)));
}

#[test]
fn a_full_disk_keeps_no_loss_of_a_slot_from_being_told() {
    let host = |files: &VirtualDisk| Host { disk: Arc::new(files.clone()), ..Host::real() };
    let (files, dir) = (VirtualDisk::new(), Path::new("/pg_replslot"));
    files.create_dir_all(dir).unwrap();
    let slots = Slots::open(&host(&files), dir, 4).unwrap();
    create(&slots, "one", 100);
    create(&slots, "two", 100);
    files.set_capacity(0);
    let given_up = slots.invalidate_before(at(500));
    assert_eq!(given_up.slots.iter().map(|slot| slot.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(given_up.unwritten.len(), 2);
    files.set_capacity(u64::MAX);
    slots.save().unwrap();
    let again = Slots::open(&host(&files), dir, 4).unwrap();
    for name in ["one", "two"] {
        assert_eq!(again.find(name).unwrap().invalidated_at, at(100), "{name}");
    }
}

#[test]
fn one_slot_that_cannot_be_written_keeps_no_other_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let slots = open(dir.path());
    for name in ["a", "b"] {
        create(&slots, name, 100);
        slots.acquire(name, 9).unwrap().release_before(at(500), 0);
    }
    std::fs::remove_dir_all(dir.path().join("a")).unwrap();
    assert!(slots.save().is_err());
    assert_eq!(open(dir.path()).find("b").unwrap().restart, at(500));
}

#[test]
fn a_slot_that_is_used_again_after_its_loss_is_saved_as_that() {
    let dir = tempfile::tempdir().unwrap();
    let slots = open(dir.path());
    create(&slots, "s", 100);
    slots.invalidate_before(at(500));
    slots.acquire("s", 9).unwrap().release_before(at(600), 0);
    slots.save().unwrap();
    let again = open(dir.path()).find("s").unwrap();
    assert_eq!((again.restart, again.invalidated_at), (at(600), Lsn::INVALID));
}

#[test]
fn a_slot_that_could_not_be_advanced_stays() {
    let dir = tempfile::tempdir().unwrap();
    let slots = open(dir.path());
    create(&slots, "s", 100);
    std::fs::remove_dir_all(dir.path().join("s")).unwrap();
    assert!(slots.advance("s", at(200), (at(300), 0), 1).is_err());
    assert_eq!(slots.find("s").unwrap().restart, at(100));
}

#[test]
fn what_a_start_after_a_kill_believes_of_a_slot_outlives_a_power_cut() {
    let host = |files: &VirtualDisk| Host { disk: Arc::new(files.clone()), ..Host::real() };
    let (files, dir) = (VirtualDisk::new(), Path::new("/pg_replslot"));
    files.create_dir_all(dir).unwrap();
    files.sync_dir(Path::new("/")).unwrap();
    let slots = Slots::open(&host(&files), dir, 4).unwrap();
    let after = Arc::new(Mutex::new(Vec::new()));
    let found = after.clone();
    files.observe(Box::new(move |_, moment| found.lock().push(moment.fork())));
    create(&slots, "s", 100);
    slots.advance("s", at(500), (at(900), 0), 1).unwrap();
    files.stop_observing();
    for (number, moment) in std::mem::take(&mut *after.lock()).iter().enumerate() {
        let started = Slots::open(&host(moment), dir, 4).unwrap();
        let believed: Vec<_> = started.list().into_iter().map(|slot| slot.restart).collect();
        for seed in 0..20 {
            let crashed = moment.crash(CrashPolicy::Anything { seed });
            let again = Slots::open(&host(&crashed), dir, 4).unwrap();
            let found: Vec<_> = again.list().into_iter().map(|slot| slot.restart).collect();
            assert_eq!(found, believed, "killed after change {number}, seed {seed}");
        }
    }
}
