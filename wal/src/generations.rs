//! The branches that a node's log was on, and where each left the one before.

use crate::Lsn;

/// So many are remembered. A node is promoted, or follows somebody who was, once in its life or a few times.
const GENERATIONS_MAX: usize = 64;

/// Counts the branches that the log was on. Who keeps positions that were told of a log keeps its generation
/// with them, and asks how far they hold of the present one.
#[derive(Clone, Debug, Default)]
pub struct Generations {
    current: u64,
    /// Where each of the last ones left the one before, exclusive; the present one's last.
    left_at: Vec<Lsn>,
}

impl Generations {
    /// The present one; the first is 0.
    pub fn current(&self) -> u64 {
        self.current
    }

    /// Where the present one left the one before, exclusive; MAX for the first.
    pub fn kept(&self) -> Lsn {
        self.left_at.last().copied().unwrap_or(Lsn::MAX)
    }

    /// Up to here (exclusive) the log is what it was in that generation, and has been ever since.
    pub fn kept_since(&self, generation: u64) -> Lsn {
        let missed = usize::try_from(self.current.saturating_sub(generation)).unwrap_or(usize::MAX);
        match self.left_at.len().checked_sub(missed) {
            Some(first) => self.left_at.iter().skip(first).copied().min().unwrap_or(Lsn::MAX),
            // So long ago that nothing is known.
            None => Lsn::INVALID,
        }
    }

    /// Begins the next.
    pub fn leave_at(&mut self, kept: Lsn) {
        self.current += 1;
        if self.left_at.len() == GENERATIONS_MAX {
            self.left_at.remove(0);
        }
        self.left_at.push(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_missed_a_generation_is_told_of_the_lowest_cut_since() {
        let mut generations = Generations::default();
        let known = |generations: &Generations, seen: u64| generations.kept_since(seen).get();
        assert_eq!(generations.kept_since(0), Lsn::MAX);
        generations.leave_at(Lsn::new(120));
        generations.leave_at(Lsn::new(140));
        assert_eq!((generations.current(), generations.kept()), (2, Lsn::new(140)));
        assert_eq!([0, 1, 2].map(|seen| known(&generations, seen)), [120, 140, u64::MAX]);
        (0..GENERATIONS_MAX).for_each(|_| generations.leave_at(Lsn::new(140)));
        assert_eq!(generations.kept_since(0), Lsn::INVALID, "nobody remembers");
        assert_eq!(known(&generations, 2), 140);
    }
}
