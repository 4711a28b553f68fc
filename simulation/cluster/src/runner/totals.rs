//! What many runs came to.

use super::outcome::{Outcome, kind_of};
use crate::rare::Counters;
use std::collections::BTreeMap;
use std::time::Duration;

/// A run that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Its plan's seed.
    pub seed: u64,
    /// What was wrong.
    pub failure: String,
}

impl Failed {
    /// What kind of failure it is.
    pub fn kind(&self) -> &str {
        kind_of(&self.failure)
    }
}

/// What many runs came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many there were.
    pub runs: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// How many operations clients did.
    pub operations: u64,
    /// How many times a branch changed.
    pub turns: u64,
    /// Runs that passed and in which it never did.
    pub without_turn: u64,
    /// How often the code came by the planted bug that was on.
    pub met: u64,
    /// Rare states that were reached.
    pub rare: Counters,
    /// Those that failed, in the order of their seeds.
    pub failed: Vec<Failed>,
    /// Real time.
    pub real: Duration,
    /// Time of processors, of all runs together.
    pub processor: Duration,
}

impl Totals {
    /// Adds a run.
    pub fn add(&mut self, seed: u64, outcome: &Outcome) {
        self.runs += 1;
        self.simulated += outcome.simulated;
        self.operations += outcome.operations;
        self.turns += outcome.turns;
        self.without_turn += u64::from(outcome.turns == 0 && outcome.failure.is_none());
        self.met += outcome.met;
        self.rare.merge(&outcome.rare);
        if let Some(failure) = &outcome.failure {
            let at = self.failed.partition_point(|failed| failed.seed <= seed);
            self.failed.insert(at, Failed { seed, failure: failure.clone() });
        }
    }

    /// The seeds that failed, by the kind of their failure.
    pub fn kinds(&self) -> BTreeMap<&str, Vec<u64>> {
        let mut kinds: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for failed in &self.failed {
            kinds.entry(failed.kind()).or_default().push(failed.seed);
        }
        kinds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rare::Rare;

    #[test]
    fn runs_add_up_and_failures_stand_in_the_order_of_their_seeds() {
        let mut totals = Totals::default();
        let mut passed = Outcome {
            operations: 10,
            turns: 2,
            met: 1,
            simulated: Duration::from_secs(3),
            ..Outcome::default()
        };
        passed.rare.hit(Rare::Fenced);
        totals.add(1, &passed);
        for (seed, failure) in [(9, "Durable: x"), (4, "liveness: y"), (5, "Durable: z")] {
            totals.add(seed, &Outcome::failed(failure, String::new()));
        }
        totals.add(2, &passed);
        assert_eq!((totals.runs, totals.operations, totals.turns, totals.met), (5, 20, 4, 2));
        totals.add(3, &Outcome { turns: 0, ..passed });
        assert_eq!((totals.runs, totals.turns, totals.without_turn), (6, 4, 1));
        assert_eq!((totals.simulated.as_secs(), totals.rare.count(Rare::Fenced)), (9, 3));
        let seeds: Vec<u64> = totals.failed.iter().map(|failed| failed.seed).collect();
        assert_eq!(seeds, [4, 5, 9]);
        assert_eq!(totals.kinds(), [("Durable", vec![5, 9]), ("liveness", vec![4])].into());
    }
}
