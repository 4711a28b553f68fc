//! How many seeds it takes until a planted bug is caught.

use super::plans::Runner;
use super::totals::Failed;
use crate::plan::Plan;
use std::cell::RefCell;
use std::io;
use std::ops::Range;

/// What a hunt came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catch {
    /// How many seeds were run, from the range's first on.
    pub seeds: u64,
    /// Those that failed with the bug and not without it, in their order.
    pub caught: Vec<Failed>,
    /// How often the code came by the bug.
    pub met: u64,
}

impl Catch {
    /// Of how many seeds it took to catch the bug, each time from where it was caught before: the median.
    /// None if it never was.
    pub fn median(&self, first: u64) -> Option<u64> {
        let mut from = first;
        let mut took: Vec<u64> = Vec::with_capacity(self.caught.len());
        for Failed { seed, .. } in &self.caught {
            took.push((seed + 1).saturating_sub(from));
            from = seed + 1;
        }
        took.sort_unstable();
        took.get(took.len() / 2).copied()
    }
}

/// Runs seeds with a bug switched on until it was caught so many times, all are run, or `is_over`.
///
/// # Errors
///
/// The system gives no process.
pub fn hunt(
    runner: &Runner,
    bug: &'static str,
    seeds: Range<u64>,
    times: usize,
    is_over: impl Fn() -> bool,
) -> io::Result<Catch> {
    let (runner, sound) = (runner.with_bug(Some(bug)), runner.with_bug(None));
    let mut catch = Catch::default();
    let mut next = seeds.start;
    while next < seeds.end && catch.caught.len() < times && !is_over() {
        let suspects = RefCell::new(Vec::new());
        let enough = || suspects.borrow().len() + catch.caught.len() >= times;
        let plans = (next..seeds.end).take_while(|_| !enough() && !is_over()).map(Plan::of_seed);
        let note = |plan: &Plan, outcome: &super::Outcome| {
            suspects.borrow_mut().extend(outcome.failure.iter().map(|_| plan.seed));
        };
        let totals = runner.run(plans, note)?;
        (next, catch.seeds, catch.met) =
            (next + totals.runs, catch.seeds + totals.runs, catch.met + totals.met);
        for found in totals.failed {
            if sound.run_one(&Plan::of_seed(found.seed))?.failure.is_none() {
                catch.caught.push(found);
            }
        }
    }
    Ok(catch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_counts_from_catch_to_catch() {
        let caught = |seeds: &[u64]| {
            let failed = |seed: &u64| Failed { seed: *seed, failure: String::new() };
            Catch { caught: seeds.iter().map(failed).collect(), ..Catch::default() }
        };
        assert_eq!(caught(&[]).median(1), None);
        assert_eq!(caught(&[1]).median(1), Some(1));
        assert_eq!(caught(&[3, 5, 25]).median(1), Some(3));
    }
}
