//! The order of the engine's locks. Builds with debug assertions check it whenever one is taken; others do
//! nothing here.
//!
//! A thread takes locks in the order of [`Rank`], outermost first. Page latches are taken one under another;
//! of the locks of any other rank a thread has one at most.

use std::ops::{Deref, DerefMut};

/// Ranks of locks, outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// The commit lock (`commit::pipeline`).
    Commit,
    /// The store's write lock (`changes::store`).
    Write,
    /// The latch of a page (`pages::pool`).
    Latch,
    /// Who waits for which lock (`locks`).
    Waits,
    /// Locks under which no other is taken: the registry of snapshots, a shard of the lock table, the control
    /// file.
    Leaf,
}

/// Says that this thread has a lock of some rank, as long as it lives.
#[derive(Debug)]
pub(crate) struct Held {
    #[cfg(debug_assertions)]
    rank: Rank,
    /// It stays on its thread.
    _not_send: std::marker::PhantomData<*const ()>,
}

/// A lock's guard with its rank.
#[derive(Debug)]
pub(crate) struct Ranked<G> {
    guard: G,
    _held: Held,
}

impl<G> Ranked<G> {
    /// Takes a lock by `take`, which is of this rank.
    #[inline]
    pub(crate) fn take(rank: Rank, take: impl FnOnce() -> G) -> Self {
        let held = hold(rank);
        Self { guard: take(), _held: held }
    }
    /// The guard of a lock of this rank that was free.
    #[inline]
    pub(crate) fn taken(rank: Rank, guard: G) -> Self {
        Self { guard, _held: hold(rank) }
    }
}

impl<G: Deref> Deref for Ranked<G> {
    type Target = G::Target;
    #[inline]
    fn deref(&self) -> &G::Target {
        &self.guard
    }
}

impl<G: DerefMut> DerefMut for Ranked<G> {
    #[inline]
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.guard
    }
}

#[cfg(debug_assertions)]
mod checked {
    use super::{Held, Rank};
    use std::cell::Cell;

    const RANKS: usize = Rank::Leaf as usize + 1;

    host::thread::local! {
        /// How many locks of each rank this thread has.
        static HELD: Cell<[u32; RANKS]> = const { Cell::new([0; RANKS]) };
    }

    fn change(rank: Rank, by: impl FnOnce(u32) -> u32) {
        let mut counts = HELD.get();
        counts[rank as usize] = by(counts[rank as usize]);
        HELD.set(counts);
    }

    pub(super) fn enter(rank: Rank) {
        let first = rank as usize + usize::from(rank == Rank::Latch);
        let counts = HELD.get();
        let later = counts.iter().skip(first).any(|count| *count > 0);
        assert!(
            !later || std::thread::panicking(),
            "a lock of rank {rank:?} is taken under one that comes later; held by rank: {counts:?}"
        );
        change(rank, |count| count + 1);
    }

    impl Drop for Held {
        fn drop(&mut self) {
            change(self.rank, |count| count.saturating_sub(1));
        }
    }
}

/// Notes that this thread is about to take a lock of this rank.
#[cfg(debug_assertions)]
pub(crate) fn hold(rank: Rank) -> Held {
    checked::enter(rank);
    Held { rank, _not_send: std::marker::PhantomData }
}

/// Notes that this thread is about to take a lock of this rank.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn hold(_rank: Rank) -> Held {
    Held { _not_send: std::marker::PhantomData }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn latches_are_taken_one_under_another_and_all_else_in_order() {
        let commit = hold(Rank::Commit);
        let _latches = (hold(Rank::Write), hold(Rank::Latch), hold(Rank::Latch));
        drop(hold(Rank::Leaf));
        drop(commit);
        drop(hold(Rank::Waits));
    }

    #[test]
    #[should_panic(expected = "rank Write")]
    fn the_write_lock_is_not_taken_under_a_latch() {
        let _latch = hold(Rank::Latch);
        hold(Rank::Write);
    }

    #[test]
    #[should_panic(expected = "rank Leaf")]
    fn nothing_is_taken_under_a_leaf() {
        let _leaf = hold(Rank::Leaf);
        hold(Rank::Leaf);
    }
}
