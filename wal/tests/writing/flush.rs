//! Who flushes, and for whom.

use crate::support::*;
use simulation::{Call, CrashPolicy};
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};
use wal::{WalError, WriterConfig};

const LIMIT: Duration = Duration::from_secs(20);

fn threaded() -> WriterConfig {
    WriterConfig { background: true, ..quiet() }
}

#[test]
fn threads_that_flush_together_lose_nothing() {
    for config in [quiet(), threaded()] {
        let disk = new_disk();
        let wal = fresh(&disk, config);
        std::thread::scope(|scope| {
            for thread in 0..8_u64 {
                let (wal, disk) = (wal.clone(), &disk);
                scope.spawn(move || {
                    for number in 0..150_u64 {
                        let number = thread * 1000 + number;
                        let place = wal.insert(&mut record(number, 100)).unwrap();
                        let flushed = wal.flush(place.end).unwrap();
                        assert!(flushed >= place.end && wal.positions().flushed() >= place.end);
                        if number % 50 == 0 {
                            let durable = numbers(&disk.crash(CrashPolicy::LoseUnsynced));
                            assert!(durable.contains(&number), "acknowledged is durable");
                        }
                    }
                });
            }
        });
        let mut found = numbers(&disk.crash(CrashPolicy::LoseUnsynced));
        found.sort_unstable();
        let expected: Vec<u64> =
            (0..8).flat_map(|thread| (0..150).map(move |number| thread * 1000 + number)).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn one_sync_serves_all_who_wait() {
    let disk = new_disk();
    let wal = fresh(&disk, quiet());
    let ends: Vec<_> = (0..100).map(|number| wal.insert(&mut record(number, 50)).unwrap().end).collect();
    let before = wal.stats();
    wal.flush(ends[0]).unwrap();
    for end in ends {
        wal.flush(end).unwrap();
    }
    let after = wal.stats();
    assert_eq!(after.syncs - before.syncs, 1);
    assert!(after.writes - before.writes <= 2);
}

#[test]
fn the_observer_hears_of_a_flush_before_those_who_wait_for_it() {
    let wal = fresh(&new_disk(), quiet());
    let observer = Arc::new(Observer::default());
    wal.set_observer(observer.clone());
    let end = wal.insert(&mut record(1, 10)).unwrap().end;
    let mut waiting = Box::pin(wal.wait_flushed(end));
    let waker = Waker::from(observer.clone());
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    wal.begin_flush(end).unwrap();
    assert_eq!(observer.told(), ["flushed", "woken"]);
    wal.begin_flush(end).unwrap();
    assert_eq!(observer.told().len(), 2, "what is flushed is no news");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_commit_together_are_flushed_in_groups() {
    let disk = new_disk();
    let wal = fresh(&disk, threaded());
    let mut sessions = tokio::task::JoinSet::new();
    for session in 0..32_u64 {
        let wal = wal.clone();
        sessions.spawn(async move {
            for number in 0..100_u64 {
                let place = wal.insert(&mut record(session * 1000 + number, 100)).unwrap();
                assert!(wal.flush_async(place.end).await.unwrap() >= place.end);
                tokio::task::yield_now().await;
            }
        });
    }
    tokio::time::timeout(LIMIT, async { while sessions.join_next().await.transpose().unwrap().is_some() {} })
        .await
        .expect("no commit is forgotten");
    assert_eq!(numbers(&disk.crash(CrashPolicy::LoseUnsynced)).len(), 3200);
}

#[test]
fn a_lone_commit_flushes_in_place_and_a_second_one_is_handed_over() {
    let disk = new_disk();
    let wal = fresh(&disk, threaded());
    for number in 0..10 {
        let place = wal.insert(&mut record(number, 10)).unwrap();
        let flushed = wal.try_flush_in_place(place.end).expect("nobody else is about").unwrap();
        assert_eq!(flushed, place.end);
    }
    // The disk is held up in the middle of a flush when a second commit comes.
    let place = wal.insert(&mut record(10, 10)).unwrap();
    let (entered, is_in) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    disk.observe(Box::new(move |operation, _| {
        // Not the thread that makes segments.
        if !operation.path.to_string_lossy().contains("xlogtemp") && operation.call == Call::Write {
            let _ = entered.send(());
            let _ = may_go_on.recv();
        }
    }));
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| wal.flush(place.end));
        is_in.recv().unwrap();
        let second = wal.insert(&mut record(11, 10)).unwrap();
        assert!(wal.try_flush_in_place(second.end).is_none(), "somebody is flushing");
        wal.request_flush(second.end);
        drop(go_on);
        leader.join().unwrap().unwrap();
        wal.positions().wait_flushed_blocking(second.end).unwrap();
        assert!(wal.try_flush_in_place(second.end).unwrap().is_ok(), "nothing is left to do");
        let third = wal.insert(&mut record(12, 10)).unwrap();
        assert!(wal.try_flush_in_place(third.end).is_none(), "they have met just now");
    });
    disk.stop_observing();
    assert_eq!(numbers(&disk.crash(CrashPolicy::LoseUnsynced)).len(), 12);
}

#[test]
fn a_commit_that_does_not_wait_is_durable_soon() {
    let disk = new_disk();
    let wal = fresh(&disk, WriterConfig { writer_delay: Duration::from_millis(30), ..threaded() });
    for number in 0..3 {
        let started = Instant::now();
        let place = wal.insert(&mut record(number, 10)).unwrap();
        wal.request_background_flush();
        wal.positions().wait_flushed_blocking(place.end).unwrap();
        assert!(started.elapsed() >= Duration::from_millis(25), "not at once");
        assert!(started.elapsed() < LIMIT);
        assert_eq!(numbers(&disk.crash(CrashPolicy::LoseUnsynced)).len() as u64, number + 1);
    }
}

#[test]
fn much_in_memory_is_flushed_before_the_delay() {
    let disk = new_disk();
    let config =
        WriterConfig { writer_delay: Duration::from_secs(3600), flush_after_bytes: 50_000, ..threaded() };
    let wal = fresh(&disk, config);
    let mut end = wal::Lsn::INVALID;
    for number in 0..20 {
        end = wal.insert(&mut record(number, 5000)).unwrap().end;
    }
    wal.positions().wait_flushed_blocking(origin() + 50_000).unwrap();
    assert!(end > origin() + 90_000);
}

#[test]
fn full_buffers_are_written_by_who_inserts() {
    let disk = new_disk();
    let wal = fresh(&disk, WriterConfig { buffers_bytes: 64 << 10, ..quiet() });
    for number in 0..400 {
        wal.insert(&mut record(number, 1000)).unwrap();
        let positions = wal.positions();
        assert!(positions.inserted().bytes_since(positions.written()) <= 64 << 10);
    }
    assert!(wal.stats().buffers_full > 4);
    assert!(wal.positions().flushed() < wal.positions().written());
    assert_eq!(wal.positions().written(), wal.write(origin()).unwrap());
}

#[test]
fn without_fsync_nothing_is_synced() {
    let disk = new_disk();
    let wal = fresh(&disk, WriterConfig { fsync: false, ..quiet() });
    let place = wal.insert(&mut record(0, 10)).unwrap();
    assert_eq!(wal.flush(place.end).unwrap(), place.end);
    assert_eq!(wal.stats().syncs, 0);
    assert_eq!(numbers(&disk.crash(CrashPolicy::LoseUnsynced)), []);
    wal.reconfigure(true, Duration::from_millis(200), 1 << 20);
    wal.insert(&mut record(1, 10)).unwrap();
    wal.flush_all().unwrap();
    assert_eq!(numbers(&disk.crash(CrashPolicy::LoseUnsynced)), [0, 1]);
}

#[test]
fn a_flush_beyond_the_end_is_an_error_and_harms_nothing() {
    let disk = new_disk();
    let wal = fresh(&disk, threaded());
    let place = wal.insert(&mut record(0, 10)).unwrap();
    assert!(matches!(wal.flush(place.end + 8), Err(WalError::Ahead { .. })));
    wal.request_flush(place.end + 80_000);
    wal.positions().wait_flushed_blocking(place.end).unwrap();
    assert_eq!(wal.flush(place.end).unwrap(), place.end);
}

#[test]
fn closing_flushes_and_refuses_what_comes_later() {
    let disk = new_disk();
    let wal = fresh(&disk, threaded());
    let place = wal.insert(&mut record(0, 10)).unwrap();
    assert_eq!(wal.close().unwrap(), place.end);
    assert!(matches!(wal.insert(&mut record(1, 1)), Err(WalError::Closed { .. })));
    assert!(wal.positions().wait_flushed_blocking(place.end + 8).is_err());
    assert_eq!(numbers(&disk.crash(CrashPolicy::LoseUnsynced)), [0]);
}

#[test]
fn the_last_handle_ends_the_threads_and_flushes_nothing() {
    let disk = new_disk();
    let wal = fresh(&disk, threaded());
    wal.insert(&mut record(0, 10)).unwrap();
    drop(wal);
    let changes = disk.changes();
    assert_eq!(numbers(&disk), []);
    assert_eq!(disk.changes(), changes);
}
