//! The runner of many plans: the same plan comes to the same, and whatever ends a run is told.
//!
//! A program without a harness, as it forks: each check is a function, and the first that fails ends it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test fails by panicking

use simulator::machine::in_own_process;
use simulator::plan::{Event, Plan, Timed};
use simulator::runner::{Options, Outcome, Runner, outcome_of, within};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(120);

fn main() {
    the_same_plan_comes_to_the_same_alone_and_among_others();
    a_panic_in_a_run_is_told_with_its_place();
    a_run_that_does_not_end_is_ended();
    a_process_that_dies_is_told();
    println!("4 checks passed");
}

fn short(seed: u64) -> Plan {
    let event = |at_ms, event| Timed { at_ms, event };
    let events = vec![
        event(400, Event::Kill { node: 0 }),
        event(900, Event::Promote { node: 1 }),
        event(1500, Event::Restart { node: 0 }),
    ];
    Plan {
        seed,
        upstreams: vec![None, Some(0)],
        clients: 3,
        duration_ms: 2000,
        events,
        ..Plan::of_seed(seed)
    }
}

fn the_same_plan_comes_to_the_same_alone_and_among_others() {
    let options = Options { jobs: 3, limit: LONG, bug: None, stories: true };
    let runner = Runner::new(options).expect("files that nodes begin with");
    let alone = runner.run_one(&short(1)).expect("a run");
    let mut beside = Vec::new();
    let each = |plan: &Plan, outcome: &Outcome| beside.push((plan.seed, outcome.clone()));
    let totals = runner.run((0..3).map(short), each).expect("runs");
    beside.sort_by_key(|(seed, _)| *seed);
    let found: Vec<u64> = beside.iter().map(|(seed, _)| *seed).collect();
    assert_eq!((found, totals.runs), (vec![0, 1, 2], 3));
    assert!(alone.resumes > 1000 && !alone.story.is_empty(), "{alone:?}");
    assert_eq!(beside[1].1, alone, "one plan, two courses");
    assert_ne!(beside[0].1.hash, alone.hash, "a seed decides nothing");
}

/// What a process comes to in which `work` runs for at most `limit`.
fn ended(limit: Duration, work: impl FnOnce() -> io::Result<Outcome> + Send + 'static) -> Outcome {
    outcome_of(in_own_process(LONG, |out| within(limit, out, work)).expect("a process"))
}

fn a_panic_in_a_run_is_told_with_its_place() {
    let outcome = ended(LONG, || {
        // Whoever survives a panic does not hide it.
        let _ = std::panic::catch_unwind(|| panic!("a node: {}", 5));
        Ok(Outcome::default())
    });
    let line = line!() - 3;
    let place = format!("panic at simulation/cluster/tests/runner.rs line {line}");
    assert_eq!(outcome.kind(), Some(place.as_str()));
    assert_eq!(outcome.failure, Some(format!("{place}: a node: 5")));
    assert!(outcome.story.contains("a_panic_in_a_run_is_told"), "no backtrace: {}", outcome.story);
}

fn a_run_that_does_not_end_is_ended() {
    let begun = Instant::now();
    let never = || {
        let goes_on = Arc::new(AtomicBool::new(true));
        while goes_on.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        Ok(Outcome::default())
    };
    let outcome = ended(Duration::from_millis(50), never);
    assert_eq!(outcome.kind(), Some("too long"), "{outcome:?}");
    // One that does not even watch itself.
    let killed = in_own_process(Duration::from_millis(50), |_| never().map(|_| ()));
    assert_eq!(outcome_of(killed.expect("a process")).kind(), Some("too long"));
    assert!(begun.elapsed() < LONG, "nobody ended them");
}

fn a_process_that_dies_is_told() {
    let outcome = ended(LONG, || std::process::abort());
    assert_eq!(outcome.failure.as_deref(), Some("its process died by SIGABRT"));
    let silent = outcome_of(in_own_process(LONG, |_| Ok(())).expect("a process"));
    assert_eq!(silent.kind(), Some("half a report"));
}
