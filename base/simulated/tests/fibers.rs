//! Fibers in place of threads: they wait for each other as threads do, and a seed replays their order.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use simulated::sync::{Condvar, Mutex, RwLock, channel};
use simulated::{Life, NodeId, Schedule, World, fiber, task, thread};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Instant;

const ONE: NodeId = NodeId(1);
const SHUFFLED: Schedule = Schedule { put_off: 8000, at_locks: 8000, stalls: 2000 };

/// Runs a simulation of one node, in a thread of its own; returns what it gave, and its trace.
fn simulate<T: Send + 'static, F>(seed: u64, run: impl FnOnce(World, Life) -> F + Send + 'static) -> (T, u64)
where
    F: Future<Output = T>,
{
    let simulation = std::thread::spawn(move || {
        let world = World::begin(seed, SHUFFLED);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let done = runtime.block_on(run(world, world.start(ONE)));
        let trace = world.trace().0;
        // What a dead life owns is never dropped.
        std::mem::forget(runtime);
        (done, trace)
    });
    simulation.join().unwrap()
}

const MS: Duration = Duration::from_millis(1);

/// Threads that add to a counter under a lock which they hold while they sleep.
async fn counts(life: Life) -> u32 {
    let work = async {
        let total = Arc::new(Mutex::new(0));
        let threads: Vec<_> = (0..5)
            .map(|number| {
                let total = total.clone();
                let add = move || {
                    for _ in 0..10 {
                        let mut total = total.lock();
                        let before = *total;
                        thread::sleep(MS * number);
                        *total = before + 1;
                    }
                };
                thread::spawn("adds", add).unwrap()
            })
            .collect();
        task::blocking(move || threads.into_iter().for_each(|thread| thread.join().unwrap())).await.unwrap();
        *total.lock()
    };
    fiber::run_in(life, "main", work).await.unwrap()
}

#[test]
fn a_lock_is_held_over_a_sleep_and_the_others_wait() {
    let (total, _) = simulate(1, |_, life| counts(life));
    assert_eq!(total, 50);
}

#[test]
fn the_same_seed_gives_the_same_order_and_another_one_another() {
    let traces = [7, 7, 8].map(|seed| simulate(seed, |_, life| counts(life)).1);
    assert_eq!(traces[0], traces[1]);
    assert_ne!(traces[0], traces[2]);
}

#[test]
fn conditions_channels_and_parked_threads_are_woken() {
    let (said, _) = simulate(3, |_, life| async move {
        let work = async {
            let pair = Arc::new((Mutex::new(false), Condvar::new()));
            let (sender, receiver) = channel(1);
            let heard = pair.clone();
            let sends = move || {
                let mut is_told = heard.0.lock();
                let early = heard.1.wait_for(&mut is_told, 5 * MS);
                assert!(early.timed_out() && !*is_told);
                while !*is_told {
                    heard.1.wait(&mut is_told);
                }
                (0..20).for_each(|number| sender.send(number).unwrap());
            };
            let sending = thread::spawn("sends", sends).unwrap();
            tokio::time::sleep(10 * MS).await;
            *pair.0.lock() = true;
            pair.1.notify_all();
            let parked = thread::spawn("parks", thread::park).unwrap();
            parked.thread().unpark();
            let all = move || {
                parked.join().unwrap();
                let got: Vec<u32> = receiver.into_iter().collect();
                sending.join().unwrap();
                got
            };
            task::blocking(all).await.unwrap()
        };
        fiber::run_in(life, "main", work).await.unwrap()
    });
    assert_eq!(said, (0..20).collect::<Vec<_>>());
}

#[test]
fn a_borrowing_thread_ends_before_its_owner_goes_on() {
    let (sum, _) = simulate(4, |_, life| async move {
        let work = || {
            let shared = RwLock::new(1);
            let other = || {
                thread::sleep(3 * MS);
                *shared.write() += 10;
            };
            let seen = thread::beside("other", other, || *shared.read()).unwrap();
            (seen, *shared.read())
        };
        fiber::run_in(life, "main", async move { task::blocking(work).await.unwrap() }).await.unwrap()
    });
    assert_eq!(sum, (1, 11));
}

#[test]
fn a_life_that_has_ended_does_nothing_more_and_a_frozen_one_waits() {
    let (seen, _) = simulate(5, |world, life| async move {
        let ticks = Arc::new(AtomicU32::new(0));
        let ticking = ticks.clone();
        let work = move || loop {
            thread::sleep(MS);
            ticking.fetch_add(1, Ordering::SeqCst);
        };
        let begun = Instant::now();
        fiber::run_in(life, "main", async move { drop(task::blocking(work)) }).await.unwrap();
        let mut seen = Vec::new();
        for act in [World::freeze, World::thaw, World::end, |_, _| ()] {
            tokio::time::sleep_until(begun + Duration::from_micros(10_500) * (seen.len() as u32 + 1)).await;
            seen.push(ticks.load(Ordering::SeqCst));
            act(world, ONE);
        }
        assert!(!world.is_running(life));
        seen
    });
    assert!(seen[0] >= 9 && seen[1] == seen[0] && seen[2] > seen[1] && seen[3] == seen[2], "{seen:?}");
}

#[test]
fn a_task_that_is_aborted_in_the_middle_of_its_work_does_it_to_the_end() {
    struct Ends(Arc<AtomicU32>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.fetch_add(100, Ordering::SeqCst);
        }
    }
    let (steps, _) = simulate(6, |_, life| async move {
        let steps = Arc::new(AtomicU32::new(0));
        let counted = steps.clone();
        let work = async move {
            let aborted = tokio::spawn(task::task({
                let (ends, counted) = (Ends(counted.clone()), counted.clone());
                async move {
                    let _ends = ends;
                    thread::sleep(5 * MS);
                    counted.fetch_add(1, Ordering::SeqCst);
                    std::future::pending::<()>().await;
                }
            }));
            tokio::time::sleep(2 * MS).await;
            aborted.abort();
            tokio::time::sleep(20 * MS).await;
        };
        fiber::run_in(life, "main", work).await.unwrap();
        steps.load(Ordering::SeqCst)
    });
    assert_eq!(steps, 101);
}

#[test]
fn a_future_that_blocked_in_a_poll_is_polled_again_only_when_it_is_woken() {
    let (polls, _) = simulate(9, |_, life| async move {
        let work = async {
            let mut polls = 0;
            let never = std::future::poll_fn(|_| {
                polls += 1;
                thread::sleep(MS);
                std::task::Poll::<()>::Pending
            });
            tokio::time::timeout(50 * MS, never).await.unwrap_err();
            polls
        };
        fiber::run_in(life, "main", work).await.unwrap()
    });
    assert_eq!(polls, 2, "at first, and when its time is over");
}

#[test]
fn values_of_a_threads_own_are_a_fibers_own() {
    simulated::local! {
        static NUMBER: std::cell::Cell<u32> = const { std::cell::Cell::new(7) };
    }
    let (seen, _) = simulate(9, |_, life| async move {
        let one = fiber::run_in(life, "one", async {
            NUMBER.set(1);
            tokio::time::sleep(MS).await;
            NUMBER.get()
        });
        let two = fiber::run_in(life, "two", async {
            let before = NUMBER.get();
            NUMBER.set(2);
            tokio::time::sleep(2 * MS).await;
            (before, NUMBER.get())
        });
        (one.await.unwrap(), two.await.unwrap())
    });
    assert_eq!(seen, (1, (7, 2)));
    assert_eq!(NUMBER.get(), 7);
}
