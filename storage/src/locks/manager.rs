//! All locks of a database: requests and releases.

use super::name::{LockName, LockRef};
use super::set::{Held, LockSet};
use super::strength::{Strength, excluded_by};
use super::table::{Holder, Lock, Owner, Shard, Waiter};
use crate::lock_order::{Rank, Ranked};
use host::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use wal::Lsn;

/// How many shards there are; a power of two, enough that sessions on different rows seldom meet.
const SHARDS: usize = 64;

/// What each waiting transaction waits for.
pub(super) type Waits = HashMap<Owner, (u64, LockName)>;

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// All locks of a database.
pub(crate) struct LockManager {
    pub(super) build: host::HashState,
    pub(super) shards: Box<[Shard]>,
    /// What each waiting transaction waits for.
    pub(super) waits: Mutex<Waits>,
    pub(super) next_owner: AtomicU64,
    /// A place for a large transaction was given back.
    pub(super) place_freed: Notify,
    deadlock_timeout_micros: AtomicU64,
    /// The end of the newest commit that a lock tells of; INVALID if none does.
    pub(super) newest_told: AtomicU64,
}

impl std::fmt::Debug for LockManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LockManager")
            .field("deadlock_timeout", &self.deadlock_timeout())
            .finish_non_exhaustive()
    }
}

impl LockManager {
    pub(crate) fn new(deadlock_timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            build: host::HashState::default(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            waits: Mutex::new(HashMap::new()),
            next_owner: AtomicU64::new(1),
            place_freed: Notify::new(),
            deadlock_timeout_micros: AtomicU64::new(micros(deadlock_timeout)),
            newest_told: AtomicU64::new(Lsn::INVALID.get()),
        })
    }

    /// How long a wait lasts before it looks for a cycle.
    pub(super) fn deadlock_timeout(&self) -> Duration {
        Duration::from_micros(self.deadlock_timeout_micros.load(Ordering::Relaxed))
    }
    /// The same for waits that begin after this.
    pub(crate) fn set_deadlock_timeout(&self, timeout: Duration) {
        self.deadlock_timeout_micros.store(micros(timeout), Ordering::Relaxed);
    }

    /// An empty set for a new transaction of this session.
    pub(crate) fn new_set(self: &Arc<Self>, session: i32) -> LockSet {
        let owner = Owner { number: self.next_owner.fetch_add(1, Ordering::Relaxed), session };
        LockSet::new(Arc::clone(self), owner, None)
    }

    pub(super) fn shard(&self, hash: u64) -> &Shard {
        // The table inside uses the low bits for places and the top ones for tags; take some from between.
        &self.shards[(hash >> 40) as usize % SHARDS]
    }

    pub(super) fn waits(&self) -> Ranked<MutexGuard<'_, Waits>> {
        Ranked::take(Rank::Waits, || self.waits.lock())
    }

    /// Takes the lock if it is free, else queues. `None`: held now (the caller journals it if `journal`).
    pub(super) fn request(
        &self,
        owner: Owner,
        hash: u64,
        name: LockRef<'_>,
        strength: Strength,
        queue: bool,
    ) -> Answer {
        let shard = self.shard(hash);
        let mut table = shard.lock();
        let entry = table.entry(hash, |lock| name.names(&lock.name), |lock| lock.hash);
        let mut entry = match entry {
            hashbrown::hash_table::Entry::Vacant(vacant) => {
                let owned = name.to_owned();
                let holders = SmallVec::from_buf([Holder { owner, bits: strength.bit }]);
                vacant.insert(Lock {
                    hash,
                    name: owned.clone(),
                    holders,
                    queue: VecDeque::new(),
                    told: None,
                });
                shard.added(name);
                return Answer::Granted(owned, Lsn::INVALID);
            }
            hashbrown::hash_table::Entry::Occupied(occupied) => occupied,
        };
        let lock = entry.get_mut();
        let held = lock.held_by(owner);
        if held & strength.bit != 0 || (held != 0 && strength.excludes & !excluded_by(held) == 0) {
            return Answer::Already;
        }
        let overtakes =
            held == 0 && lock.queue.iter().any(|waiter| waiter.strength.bit & strength.excludes != 0);
        if !lock.conflicts(owner, strength) && !overtakes {
            lock.hold(owner, strength.bit);
            return Answer::Granted(lock.name.clone(), lock.rests_on(strength));
        }
        if !queue {
            return Answer::Busy;
        }
        let (grant, granted) = oneshot::channel();
        let waiter = Waiter { owner, strength, grant };
        if held != 0 {
            let at = lock.queue.iter().take_while(|waiter| lock.held_by(waiter.owner) != 0).count();
            lock.queue.insert(at, waiter);
        } else {
            lock.queue.push_back(waiter);
        }
        Answer::Queued(lock.name.clone(), granted)
    }

    pub(super) fn release(&self, owner: Owner, held: &Held) {
        let shard = self.shard(held.hash);
        let mut table = shard.lock();
        if let Ok(mut entry) = table.find_entry(held.hash, |lock| lock.name == held.name) {
            entry.get_mut().drop_bit(owner, held.bit);
            shard.remove_unused(entry);
        }
        drop(table);
        self.was_given_back(held);
    }

    /// Rings for whoever takes any place, wherever it waits. The lock's shard is not held.
    pub(super) fn was_given_back(&self, held: &Held) {
        if let LockName::Place(_) = held.name {
            self.place_freed.notify_waiters();
        }
    }

    /// Rings when a place for a large transaction was given back.
    pub(crate) fn place_freed(&self) -> &Notify {
        &self.place_freed
    }

    /// Whether nobody holds any row's lock.
    pub(super) fn is_without_rows(&self) -> bool {
        self.shards.iter().all(|shard| shard.rows.load(Ordering::Acquire) == 0)
    }

    /// Whether nobody but `owner` holds this lock, and it tells of nothing.
    pub(super) fn is_free_for(&self, owner: Owner, name: LockRef<'_>) -> bool {
        let hash = name.hash_with(&self.build);
        let shard = self.shard(hash);
        if shard.rows.load(Ordering::Acquire) == 0 {
            return true;
        }
        let table = shard.lock();
        let found = table.find(hash, |lock| name.names(&lock.name));
        found
            .is_none_or(|lock| lock.told.is_none() && lock.holders.iter().all(|holder| holder.owner == owner))
    }

    /// How many locks exist, held or waited for.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

/// What becomes of a request.
pub(super) enum Answer {
    /// The lock rests on commits up to there.
    Granted(LockName, Lsn),
    Already,
    Busy,
    Queued(LockName, oneshot::Receiver<Lsn>),
}
