//! One failover after the other: no commit that was acknowledged at a synchronous level is missing on the
//! node that is promoted next.
//!
//! [`cuts`] ends the log of a primary at a chosen byte, and goes through two failovers from there.
//! [`failovers`] kills primaries under load at random moments, five in a row.

mod cuts;
mod failovers;
mod writers;

use scenarios::variable;
use scenarios::wire::{Answer, Wire, WireError, parse_lsn};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Longer than anything that ends lasts on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Levels at which a commit waits for standbys.
const LEVELS: [&str; 3] = ["remote_write", "on", "remote_apply"];

fn is_long() -> bool {
    variable("PLIMSOLL_LONG_TESTS") == Some(1)
}

/// The seed of a run: what PLIMSOLL_SEED says, or in CI always the same. It is printed.
fn seed() -> u64 {
    let seed = variable("PLIMSOLL_SEED").unwrap_or_else(|| if is_long() { fastrand::u64(..) } else { 5 });
    eprintln!("PLIMSOLL_SEED={seed}");
    seed
}

/// Runs SQL that must work.
fn ask(wire: &mut Wire<UnixStream>, sql: &str) -> Answer {
    wire.query(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"))
}

fn value(wire: &mut Wire<UnixStream>, sql: &str) -> String {
    wire.value(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"))
}

fn position(wire: &mut Wire<UnixStream>, sql: &str) -> u64 {
    parse_lsn(&value(wire, sql)).unwrap_or_else(|| panic!("{sql} gives no position"))
}

/// Whether a commit was told without a word that its wait was given up.
fn is_acknowledged(answer: &Result<Answer, WireError>) -> bool {
    answer.as_ref().is_ok_and(|answer| answer.warnings.is_empty())
}

/// Runs chains by number on a few threads, the machine's cores. Returns what each gave, and the failures with
/// their numbers.
fn run_chains<T: Send>(
    numbers: &[usize],
    chain: impl Fn(usize) -> Result<T, String> + Sync,
) -> (Vec<T>, Vec<String>) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let results = std::sync::Mutex::new((Vec::new(), Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 4);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(numbers.len()) {
            scope.spawn(|| {
                while let Some(number) = numbers.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| chain(*number)));
                    let ran = ran.unwrap_or_else(|panic| Err(panic_text(panic.as_ref())));
                    let mut results = results.lock().expect("nobody panics with it");
                    match ran {
                        Ok(passed) => results.0.push(passed),
                        Err(why) => results.1.push(format!("chain {number}: {why}")),
                    }
                }
            });
        }
    });
    results.into_inner().expect("nobody panics with it")
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
