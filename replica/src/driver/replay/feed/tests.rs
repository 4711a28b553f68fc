use super::*;
use host::Disk;
use wal::LogBranch;
use wal::history::{BranchId, TimelineHistory};

fn log_at(at: u64) -> NodeLog {
    let positions = Arc::new(StandbyPositions::new(Lsn::new(at)));
    NodeLog::new(TimelineHistory::root(TimelineId::FIRST), Live::Standby(positions), LogBranch::unrecorded())
}
fn feed() -> Arc<StandbyFeed> {
    StandbyFeed::new(&log_at(10), host::Host::real().clock)
}
fn available(upto: u64) -> Feed {
    Feed::Available { upto: Lsn::new(upto), timeline: TimelineId::FIRST, generation: 0 }
}

#[test]
fn what_is_redone_counts_as_replayed_once_it_is_durable() {
    let disk = simulation::VirtualDisk::new();
    let dir = std::path::Path::new("/pg_wal");
    disk.create_dir_all(dir).unwrap();
    disk.sync_dir(std::path::Path::new("/")).unwrap();
    let feed = StandbyFeed::new(&log_at(1 << 20), host::Host::real().clock);
    let positions = feed.positions();
    assert_eq!(feed.orders.lock().sources.turn(Duration::ZERO), Turn::Stream);
    let size = wal::SegmentSize::new(1 << 20).unwrap();
    let config = wal::RawConfig { background: false, ..wal::RawConfig::new(TimelineId::FIRST, size) };
    let begin = Lsn::new(1 << 20);
    let host = simulation::host(&disk, 1);
    let writer = RawWriter::open(&host, dir, config, begin, positions.clone()).unwrap();
    feed.set_writer(Some(writer.clone()));
    writer.write_at(begin, &[7; 300]).unwrap();
    feed.redone(begin + 200);
    assert_eq!((positions.received(), positions.replayed()), (begin + 300, begin));
    feed.make_durable(begin).unwrap();
    assert_eq!(feed.durable(), begin, "there is nothing to do");
    feed.make_durable(begin + 100).unwrap();
    assert_eq!((feed.durable(), positions.replayed()), (begin + 300, begin + 200));
    let left = disk.crash(simulation::CrashPolicy::LoseUnsynced);
    let name = size.segment_of(begin).file_name(TimelineId::FIRST, size);
    assert_eq!(left.read(&dir.join(name), 1 << 20).unwrap()[..300], [7; 300]);
}

#[test]
fn what_is_settled_ends_with_a_record_that_is_durable() {
    let log = log_at(10);
    let feed = StandbyFeed::new(&log, host::Host::real().clock);
    assert_eq!(feed.orders.lock().sources.turn(Duration::ZERO), Turn::Stream);
    let positions = feed.positions();
    let seen = |upto: u64| {
        positions.set_flushed(Lsn::new(upto));
        feed.flushed();
        (positions.replayed().get(), positions.settled().get())
    };
    positions.set_received(Lsn::new(90));
    // Redone are records that end at 30, 50 and 70.
    feed.orders.lock().tell_redone(Lsn::new(30));
    feed.orders.lock().tell_redone(Lsn::new(50));
    assert_eq!(seen(20), (20, 10), "a crash would take back the first one");
    assert_eq!(seen(40), (40, 30));
    feed.orders.lock().tell_redone(Lsn::new(70));
    assert_eq!(seen(60), (60, 50), "though redo is always ahead");
    assert_eq!(seen(70), (70, 70));
    // What is given up was not settled.
    feed.orders.lock().tell_redone(Lsn::new(90));
    let two = TimelineId::new(2);
    let history = log.state().history.fork(two, Lsn::new(75), "test", BranchId::new(2)).unwrap();
    log.branch(history, Lsn::new(75)).unwrap();
    feed.flushed();
    assert_eq!(feed.positions().settled(), Lsn::new(70));
    feed.positions().set_received(Lsn::new(95));
    feed.orders.lock().tell_redone(Lsn::new(80));
    feed.positions().set_flushed(Lsn::new(95));
    feed.flushed();
    assert_eq!(feed.positions().settled(), Lsn::new(80));
}

#[test]
fn after_a_cut_redo_is_told_anew_what_it_may_read_and_a_receiver_starts_there() {
    let log = log_at(10);
    let feed = StandbyFeed::new(&log, host::Host::real().clock);
    feed.positions().set_received(Lsn::new(50));
    feed.positions().set_flushed(Lsn::new(50));
    feed.set_available(Lsn::new(50), TimelineId::FIRST);
    assert_eq!(feed.wait_past(Lsn::new(10)), available(50));
    // Whole was the log up to 30 only; from there on it is another one.
    let two = TimelineId::new(2);
    let history = log.state().history.fork(two, Lsn::new(40), "test", BranchId::new(2)).unwrap();
    log.branch(history, Lsn::new(30)).unwrap();
    assert_eq!(feed.positions().flushed(), Lsn::new(30));
    feed.set_available(Lsn::new(44), two);
    assert_eq!(
        feed.wait_past(Lsn::new(30)),
        Feed::Available { upto: Lsn::new(44), timeline: two, generation: 1 }
    );
    assert_eq!(feed.orders.lock().sources.turn(Duration::ZERO), Turn::Stream);
    let redo = std::thread::spawn({
        let feed = feed.clone();
        move || feed.wait_past(Lsn::new(30))
    });
    while feed.wanted().borrow().is_none() {
        std::thread::yield_now();
    }
    assert_eq!(*feed.wanted().borrow(), Some(Lsn::new(30)), "and not from the old branch's end");
    feed.stop();
    assert_eq!(redo.join().unwrap(), Feed::Stop);
}

#[test]
fn what_came_before_a_promotion_is_replayed_before_it() {
    let feed = feed();
    feed.set_available(Lsn::new(50), TimelineId::FIRST);
    feed.promote(false);
    assert_eq!(feed.wait_past(Lsn::new(10)), available(50));
    let promote = Feed::Promote { timeline: TimelineId::FIRST };
    assert_eq!(feed.wait_past(Lsn::new(40)), promote, "50 is in the middle of a record");
}

#[test]
fn a_part_of_a_record_is_looked_at_once_if_no_more_of_it_comes() {
    let (feed, moment) = (feed(), Duration::from_millis(10));
    let mut orders = feed.orders.lock();
    orders.given = Lsn::new(50);
    assert_eq!(orders.stall(Lsn::new(50), moment), None, "all is redone");
    assert_eq!(orders.stall(Lsn::new(40), moment), Some(STALL));
    assert_eq!(orders.stall(Lsn::new(40), moment * 2), Some(STALL - moment));
    orders.given = Lsn::new(60);
    assert_eq!(orders.stall(Lsn::new(40), moment * 3), Some(STALL), "more has come");
    assert_eq!(orders.stall(Lsn::new(40), STALL * 2), Some(Duration::ZERO));
    assert_eq!(orders.stall(Lsn::new(40), STALL * 2), None);
    orders.given = Lsn::new(70);
    assert_eq!(orders.stall(Lsn::new(40), STALL * 3), Some(STALL));
}

#[tokio::test]
async fn the_first_question_says_where_a_receiver_starts() {
    let feed = feed();
    let redo = std::thread::spawn({
        let feed = feed.clone();
        move || feed.wait_past(Lsn::new(33))
    });
    assert_eq!(feed.wait_wanted().await, Lsn::new(33));
    feed.set_available(Lsn::new(34), TimelineId::FIRST);
    assert_eq!(redo.join().unwrap(), available(34));
}

#[test]
fn a_failed_stream_ends_the_receiver_before_redo_looks_into_the_archive() {
    let sources = SourceSettings { archive: true, retry: Duration::ZERO, ..FOLLOW_PRIMARY };
    let log = log_at(10);
    let feed = StandbyFeed::with_sources(&log, sources, host::Host::real().clock);
    let redo = std::thread::spawn({
        let feed = feed.clone();
        move || feed.wait_past(Lsn::new(10))
    });
    while feed.wanted().borrow().is_none() {
        std::thread::yield_now();
    }
    // It turned to another timeline and wrote nothing of it.
    let two = TimelineId::new(2);
    let history = log.state().history.fork(two, Lsn::new(10), "test", BranchId::new(2)).unwrap();
    log.branch(history, Lsn::new(10)).unwrap();
    feed.receiver_failed();
    while feed.wanted().borrow().is_some() {
        std::thread::yield_now();
    }
    assert!(!redo.is_finished(), "the receiver may still write");
    feed.receiver_stopped();
    assert_eq!(redo.join().unwrap(), Feed::Again { timeline: two });
}

#[test]
fn a_pause_holds_replay_until_it_is_lifted_or_the_node_stops() {
    let feed = feed();
    feed.set_paused(true);
    let held = std::thread::spawn({
        let feed = feed.clone();
        move || feed.may_replay(Lsn::new(10), Lsn::new(20), None)
    });
    feed.set_paused(false);
    assert!(held.join().unwrap());
    feed.set_paused(true);
    feed.stop();
    assert!(!feed.may_replay(Lsn::new(10), Lsn::new(20), None));
}

#[test]
fn what_was_replayed_before_a_delayed_commit_is_told_at_once() {
    let clock = host::Host::real().clock;
    let feed = StandbyFeed::new(&log_at(10), clock.clone());
    let min_apply_delay = Duration::from_secs(3600);
    feed.set_delays(DelaySettings { min_apply_delay, ..DelaySettings::default() });
    let delayed = std::thread::spawn({
        let (feed, now) = (feed.clone(), clock.now());
        move || feed.may_replay(Lsn::new(15), Lsn::new(20), Some(now))
    });
    while feed.positions().replayed() < Lsn::new(15) {
        std::thread::yield_now();
    }
    feed.stop();
    assert!(!delayed.join().unwrap());
}

#[test]
fn idle_redo_pauses_too_and_a_promotion_ends_the_pause() {
    let feed = feed();
    feed.set_paused(true);
    assert_eq!(feed.pause_state(), PauseState::Requested, "redo has not come to it yet");
    let redo = std::thread::spawn({
        let feed = feed.clone();
        move || feed.wait_past(Lsn::new(10))
    });
    while feed.pause_state() != PauseState::Paused {
        std::thread::yield_now();
    }
    feed.set_available(Lsn::new(20), TimelineId::FIRST);
    feed.promote(false);
    assert_eq!(redo.join().unwrap(), available(20));
    assert!(!feed.set_paused(true), "nothing pauses a promotion");
}

#[test]
fn queries_are_waited_for_until_they_end_or_patience_does() {
    let feed = feed();
    let short = Some(Duration::from_millis(20));
    feed.set_delays(DelaySettings { streaming_delay: short, ..DelaySettings::default() });
    let conflict = &Conflict::Snapshot { horizon: wal::Xid::new(9) };
    feed.before_conflict(conflict, &|| true);
    feed.set_delays(DelaySettings { streaming_delay: None, ..DelaySettings::default() });
    let looks = std::sync::atomic::AtomicU32::new(0);
    feed.before_conflict(conflict, &|| looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 3);
    assert_eq!(looks.load(std::sync::atomic::Ordering::Relaxed), 5, "it ends as soon as they do");
}
