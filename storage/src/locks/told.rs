//! What locks tell of commits that are not visible yet, from when they were given back until those are seen.
//!
//! Of each mode the newest commit under it is enough, so a lock takes the same memory however many commits
//! are in doubt.

use super::manager::LockManager;
use super::set::{Held, LockSet};
use super::table::Owner;
use std::sync::atomic::Ordering;
use wal::Lsn;

/// By the bits of modes, where the newest commit under a lock in that mode ends.
#[derive(Default)]
pub(super) struct Told([Lsn; u16::BITS as usize]);

impl Told {
    fn note(&mut self, bit: u16, commit: Lsn) {
        if let Some(newest) = self.0.get_mut(bit.trailing_zeros() as usize) {
            *newest = commit.max(*newest);
        }
    }

    /// The newest commit in one of these modes.
    pub(super) fn newest_of(&self, bits: u16) -> Lsn {
        let of_bits = self.0.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0);
        of_bits.map(|(_, commit)| *commit).max().unwrap_or(Lsn::INVALID)
    }
}

impl LockSet {
    /// Gives all locks back. They tell of a commit, which ends there and is not visible, until
    /// [`LockManager::clear_told`] takes that back.
    ///
    /// Whether no lock told of anything before: somebody has to see to it from now on that it is taken back.
    pub(crate) fn pass_on(mut self, commit: Lsn) -> bool {
        for held in std::mem::take(&mut self.held) {
            self.manager.tell(self.owner, &held, commit);
        }
        self.manager.newest_told.fetch_max(commit.get(), Ordering::AcqRel) == Lsn::INVALID.get()
    }
}

impl LockManager {
    fn tell(&self, owner: Owner, held: &Held, commit: Lsn) {
        let shard = self.shard(held.hash);
        let mut table = shard.lock();
        if let Ok(mut entry) = table.find_entry(held.hash, |lock| lock.name == held.name) {
            let lock = entry.get_mut();
            lock.told.get_or_insert_default().note(held.bit, commit);
            lock.drop_bit(owner, held.bit);
        }
        drop(table);
        self.was_given_back(held);
    }

    /// Where the newest commit ends that a lock tells of; INVALID if none does.
    pub(crate) fn newest_told(&self) -> Lsn {
        Lsn::new(self.newest_told.load(Ordering::Acquire))
    }

    /// Commits up to `seen` are visible: no lock tells of them any more. False if there is a newer one.
    pub(crate) fn clear_told(&self, seen: Lsn) -> bool {
        for shard in &self.shards {
            shard.lock().retain(|lock| {
                lock.told.take_if(|told| told.newest_of(u16::MAX) <= seen);
                let stays = !lock.is_unused();
                if !stays {
                    shard.removed(lock);
                }
                stays
            });
        }
        let none = Lsn::INVALID.get();
        self.newest_told.compare_exchange(seen.get(), none, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
