//! The table of locks: holders and queues.

use super::name::{LockName, LockRef};
use super::strength::Strength;
use super::told::Told;
use crate::lock_order::{Rank, Ranked};
use hashbrown::HashTable;
use hashbrown::hash_table::OccupiedEntry;
use host::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::oneshot;
use wal::Lsn;

/// Who locks: one transaction, and its session's number (0 for none).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(super) number: u64,
    pub(super) session: i32,
}

pub(super) struct Holder {
    pub(super) owner: Owner,
    pub(super) bits: u16,
}

pub(super) struct Waiter {
    pub(super) owner: Owner,
    pub(super) strength: Strength,
    /// Hears what the lock rests on.
    pub(super) grant: oneshot::Sender<Lsn>,
}

pub(super) struct Lock {
    pub(super) hash: u64,
    pub(super) name: LockName,
    pub(super) holders: SmallVec<[Holder; 1]>,
    pub(super) queue: VecDeque<Waiter>,
    /// The commits under it that are not visible yet.
    pub(super) told: Option<Box<Told>>,
}

impl Lock {
    /// The commits that a holder of this strength rests on.
    pub(super) fn rests_on(&self, strength: Strength) -> Lsn {
        let told =
            self.told.as_ref().filter(|_| !host::planted!("a lock that was given back tells of nothing"));
        told.map_or(Lsn::INVALID, |told| told.newest_of(strength.excludes))
    }
    pub(super) fn is_unused(&self) -> bool {
        self.holders.is_empty() && self.queue.is_empty() && self.told.is_none()
    }
    pub(super) fn held_by(&self, owner: Owner) -> u16 {
        self.holders.iter().find(|holder| holder.owner == owner).map_or(0, |holder| holder.bits)
    }
    pub(super) fn conflicts(&self, owner: Owner, strength: Strength) -> bool {
        self.holders.iter().any(|holder| holder.owner != owner && holder.bits & strength.excludes != 0)
    }
    pub(super) fn hold(&mut self, owner: Owner, bit: u16) {
        match self.holders.iter_mut().find(|holder| holder.owner == owner) {
            Some(holder) => holder.bits |= bit,
            None => self.holders.push(Holder { owner, bits: bit }),
        }
    }
    /// Grants, from the front of the queue, to each who conflicts with no holder and overtakes nobody who
    /// excludes him: whoever waits does so for those whom [`super::LockManager::step`] names, and for nobody
    /// else.
    pub(super) fn grant_waiting(&mut self) {
        let (mut at, mut ahead) = (0, 0);
        while let Some(waiter) = self.queue.get(at) {
            let Strength { bit, excludes } = waiter.strength;
            let must_wait = ahead & excludes != 0 || self.conflicts(waiter.owner, waiter.strength);
            if must_wait {
                (at, ahead) = (at + 1, ahead | bit);
            } else if let Some(waiter) = self.queue.remove(at) {
                self.hold(waiter.owner, bit);
                // A receiver that is gone gives the lock back itself: see `Wait::drop`.
                let _ = waiter.grant.send(self.rests_on(waiter.strength));
            }
        }
    }
    pub(super) fn drop_bit(&mut self, owner: Owner, bit: u16) {
        if let Some(at) = self.holders.iter().position(|holder| holder.owner == owner)
            && let Some(holder) = self.holders.get_mut(at)
        {
            holder.bits &= !bit;
            if holder.bits == 0 {
                self.holders.swap_remove(at);
            }
        }
        self.grant_waiting();
    }
}

/// A part of the table of locks.
#[derive(Default)]
pub(super) struct Shard {
    pub(super) table: Mutex<HashTable<Lock>>,
    /// How many of its locks are on rows; changed under the mutex, read without it.
    pub(super) rows: AtomicUsize,
}

impl Shard {
    pub(super) fn lock(&self) -> Ranked<MutexGuard<'_, HashTable<Lock>>> {
        Ranked::take(Rank::Leaf, || self.table.lock())
    }
    /// A lock came into the table, which is held.
    pub(super) fn added(&self, name: LockRef<'_>) {
        if let LockRef::Row(..) = name {
            self.rows.fetch_add(1, Ordering::Release);
        }
    }
    /// Removes a lock that nobody holds or waits for, and that tells of nothing.
    pub(super) fn remove_unused(&self, entry: OccupiedEntry<'_, Lock>) {
        if entry.get().is_unused() {
            let (lock, _) = entry.remove();
            self.removed(&lock);
        }
    }
    /// A lock is no more in the table, which is held.
    pub(super) fn removed(&self, lock: &Lock) {
        if let LockName::Row(..) = lock.name {
            self.rows.fetch_sub(1, Ordering::Release);
        }
    }
}
