//! What a run's own process does: it runs the plan in a thread whose memory is fresh, and tells how that
//! ended, also if it panicked or does not end.

use super::outcome::Outcome;
use crate::cluster::{Image, story_so_far};
use crate::director;
use crate::machine::{exit_now, simulate, use_large_pages};
use crate::plan::Plan;
use nix::time::ClockId;
use simulated::{Schedule, planted};
use std::backtrace::Backtrace;
use std::fs::File;
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// How the order of fibers is shuffled in every run.
const SCHEDULE: Schedule = Schedule { put_off: 2000, at_locks: 300, stalls: 0 };
/// In one of so many runs fibers stand still at locks.
const STALLS_EVERY: u64 = 3;
/// How often; and how often where so few clients work that nobody's work wakes whoever waits too long.
const STALLS: u16 = 64;
const STALLS_OF_FEW: (u32, u16) = (2, 250);
/// Room for the driver of a run; nodes have stacks of their own.
const STACK_BYTES: usize = 32 << 20;

/// What a plan's process does.
pub(super) fn run(
    plan: &Plan,
    (image, bug): (&Image, Option<&'static str>),
    (limit, with_story): (Duration, bool),
    out: File,
) -> io::Result<()> {
    let (plan, image) = (plan.clone(), image.clone());
    use_large_pages();
    within(limit, out, move || {
        planted::plant(bug);
        outcome(&plan, image).map(|outcome| match outcome.failure {
            None if !with_story => Outcome { story: String::new(), ..outcome },
            _ => outcome,
        })
    })
}

/// A run on a busy machine may take so many times its processor's time.
pub(super) const STARVED: u32 = 20;
/// Time between two looks at what a run has used.
const LOOK: Duration = Duration::from_millis(500);

/// The processor's time that this process has used.
fn used() -> Duration {
    ClockId::CLOCK_PROCESS_CPUTIME_ID.now().map_or(Duration::ZERO, Duration::from)
}

/// Lets `work` come to an end within a limit of the processor's time, and hands over what it comes to; else,
/// that it does not. For a process of its own: a panic ends it.
///
/// # Errors
///
/// What the work says, or nobody reads.
pub fn within(
    limit: Duration,
    mut out: File,
    work: impl FnOnce() -> io::Result<Outcome> + Send + 'static,
) -> io::Result<()> {
    end_at_panics(out.try_clone()?);
    let (done, ends) = sync_channel(1);
    // The standard library's maps draw their seeds once a thread: those of this one are the run's.
    let run = move || {
        // Somebody waits as long as it can come.
        let _ = done.send(work());
    };
    thread::Builder::new().stack_size(STACK_BYTES).spawn(run)?;
    let (begun, before) = (Instant::now(), used());
    let outcome = loop {
        match ends.recv_timeout(LOOK.min(limit)) {
            Ok(outcome) => break outcome?,
            Err(RecvTimeoutError::Timeout)
                if used() < before + limit && begun.elapsed() < limit * STARVED => {}
            Err(RecvTimeoutError::Timeout) => {
                let why = format!("too long: no end within {limit:?} of a processor's time");
                break Outcome::failed(why, story_so_far());
            }
            Err(RecvTimeoutError::Disconnected) => break Outcome::failed("panic: of a run", story_so_far()),
        }
    };
    out.write_all(outcome.to_text().as_bytes())
}

fn outcome(plan: &Plan, image: Image) -> io::Result<Outcome> {
    let stalls = match plan.clients {
        clients if clients <= STALLS_OF_FEW.0 => STALLS_OF_FEW.1,
        _ if plan.seed.is_multiple_of(STALLS_EVERY) => STALLS,
        _ => 0,
    };
    let schedule = Schedule { stalls, ..SCHEDULE };
    let (report, trace) = simulate(plan.seed, schedule, |world, network| async move {
        director::run(plan, world, network, &image).await
    })?;
    Ok(Outcome {
        failure: report.failure,
        hash: trace.hash,
        resumes: trace.resumes,
        operations: report.operations as u64,
        turns: report.turns as u64,
        simulated: report.simulated,
        met: planted::met(),
        rare: report.rare,
        story: report.story,
    })
}

/// From now on a panic anywhere ends the process with a failure, also one that the code would survive.
fn end_at_panics(out: File) {
    std::panic::set_hook(Box::new(move |panic| {
        let trace = Backtrace::force_capture();
        let story = format!("{}\n{}\n{trace}\n", story_so_far(), message(panic));
        let text = Outcome::failed(message(panic), story).to_text();
        exit_now((&out).write_all(text.as_bytes()).is_ok())
    }));
}

/// What a panic says and where. Its place is its kind, so it stands before the first colon.
fn message(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let words = payload.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("without words");
    match panic.location() {
        Some(place) => format!("panic at {} line {}: {words}", place.file(), place.line()),
        None => format!("panic: {words}"),
    }
}
