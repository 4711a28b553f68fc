//! The locks of one transaction.

use super::manager::{Answer, LockManager};
use super::name::{LockName, LockRef};
use super::report;
use super::strength::{Strength, excluded_by};
use super::table::Owner;
use crate::{Error, Interrupt, LockWait, TreeId, WaitEvent};
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use wal::Lsn;

/// One lock that a transaction took, as its journal keeps it.
#[derive(Debug)]
pub(crate) struct Held {
    pub(super) hash: u64,
    pub(super) name: LockName,
    pub(super) bit: u16,
    /// Its number among all that the transaction took.
    pub(super) number: u64,
}

/// The locks that one transaction holds, in the order in which it took them. Dropping them releases all.
#[derive(Debug)]
pub(crate) struct LockSet {
    pub(super) manager: Arc<LockManager>,
    pub(super) owner: Owner,
    pub(super) held: SmallVec<[Held; 2]>,
    /// How many were taken so far.
    pub(super) taken: u64,
    /// The newest commit that one of them rests on.
    rests_on: Lsn,
    /// After which time of waiting a deadlock is looked for, if not after that of all.
    pub(crate) deadlock_timeout: Option<Duration>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The lock is held.
    Yes,
    /// SKIP LOCKED met another holder.
    Skipped,
}

/// What asking for a lock once has come to.
#[derive(Debug)]
pub(super) enum Asked {
    /// The lock is held.
    Taken,
    /// Others hold it, and no place in the queue was asked for.
    Busy,
    /// A place in the queue, and what tells that the lock is granted.
    Queued(Wait, oneshot::Receiver<Lsn>),
}

/// A place in a queue; dropping it leaves the queue, or gives back what was granted meanwhile.
#[derive(Debug)]
pub(super) struct Wait {
    manager: Arc<LockManager>,
    owner: Owner,
    held: Option<Held>,
}

impl Wait {
    /// The place that a request got for this lock; others may see what is waited for.
    fn new(manager: Arc<LockManager>, owner: Owner, held: Held) -> Self {
        manager.waits().insert(owner, (held.hash, held.name.clone()));
        Self { manager, owner, held: Some(held) }
    }

    /// It was granted: the lock is the caller's to give back.
    pub(super) fn granted(&mut self) -> Option<Held> {
        self.held.take()
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.manager.waits().remove(&self.owner);
        let Some(held) = self.held.take() else { return };
        let shard = self.manager.shard(held.hash);
        let mut table = shard.lock();
        let Ok(mut entry) = table.find_entry(held.hash, |lock| lock.name == held.name) else { return };
        let lock = entry.get_mut();
        match lock.queue.iter().position(|waiter| waiter.owner == self.owner) {
            Some(at) => {
                lock.queue.remove(at);
                lock.grant_waiting();
            }
            None => lock.drop_bit(self.owner, held.bit),
        }
        shard.remove_unused(entry);
        drop(table);
        self.manager.was_given_back(&held);
    }
}

impl LockSet {
    /// Takes a lock, waiting for it as `wait` says and `interrupt` allows.
    pub(crate) async fn take(
        &mut self,
        name: LockRef<'_>,
        strength: Strength,
        wait: LockWait,
        interrupt: &Interrupt,
    ) -> Result<Taken, Error> {
        let queue = matches!(wait, LockWait::Forever | LockWait::AtMost(_));
        match self.ask(name, strength, queue) {
            Asked::Taken => Ok(Taken::Yes),
            Asked::Busy if wait == LockWait::Skip => Ok(Taken::Skipped),
            Asked::Busy => Err(Error::LockNotAvailable { timed_out: false }),
            Asked::Queued(place, granted) => {
                let (held, rests_on) = self.wait(place, granted, wait, interrupt).await?;
                self.note(held, rests_on);
                Ok(Taken::Yes)
            }
        }
    }

    /// Asks for a lock once: takes it if it is free, and a place in its queue if `queue` says so.
    pub(super) fn ask(&mut self, name: LockRef<'_>, strength: Strength, queue: bool) -> Asked {
        let hash = name.hash_with(&self.manager.build);
        let held = |name| Held { hash, name, bit: strength.bit, number: 0 };
        match self.manager.request(self.owner, hash, name, strength, queue) {
            Answer::Granted(name, rests_on) => {
                self.note(held(name), rests_on);
                Asked::Taken
            }
            Answer::Already => Asked::Taken,
            Answer::Busy => Asked::Busy,
            Answer::Queued(name, granted) => {
                Asked::Queued(Wait::new(self.manager(), self.owner, held(name)), granted)
            }
        }
    }

    async fn wait(
        &self,
        mut place: Wait,
        mut granted: oneshot::Receiver<Lsn>,
        wait: LockWait,
        interrupt: &Interrupt,
    ) -> Result<(Held, Lsn), Error> {
        let _waiting = interrupt.waiting(match &place.held {
            Some(Held { name: LockName::Table(_), .. }) => WaitEvent::TableLock,
            Some(Held { name: LockName::Place(_), .. }) => WaitEvent::LargeTransaction,
            _ => WaitEvent::RowLock,
        });
        let waits_for_place = matches!(&place.held, Some(Held { name: LockName::Place(_), .. }));
        let limit = async {
            match wait {
                LockWait::AtMost(limit) => tokio::time::sleep(limit).await,
                _ => std::future::pending().await,
            }
        };
        let timeout = self.deadlock_timeout.unwrap_or_else(|| self.manager.deadlock_timeout());
        let deadlock = async {
            loop {
                tokio::time::sleep(timeout).await;
                match self.manager.give_up(self.owner) {
                    Some(cycle) => break cycle,
                    // Whoever closes a cycle later finds it, but for one of places.
                    None if waits_for_place => {}
                    None => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            biased;
            // The sender goes away only with a grant: it lives in the queue until `place` leaves it.
            rests_on = &mut granted => {
                Ok((place.granted().ok_or(Error::Shutdown)?, rests_on.map_err(|_| Error::Shutdown)?))
            }
            () = interrupt.cancelled() => Err(Error::Cancelled),
            () = limit => Err(Error::LockNotAvailable { timed_out: true }),
            cycle = deadlock => Err(Error::Deadlock { cycle: report::describe(&cycle) }),
        }
    }

    pub(super) fn note(&mut self, held: Held, rests_on: Lsn) {
        self.held.push(Held { number: self.taken, ..held });
        self.taken += 1;
        self.rests_on = self.rests_on.max(rests_on);
    }

    /// No lock of this owner.
    pub(super) fn new(manager: Arc<LockManager>, owner: Owner, deadlock_timeout: Option<Duration>) -> Self {
        let rests_on = Lsn::INVALID;
        Self { manager, owner, held: SmallVec::new(), taken: 0, rests_on, deadlock_timeout }
    }

    /// The end of the newest commit that was done under one of these locks, or one that is given back, and
    /// was not visible when it was taken: what is done under them rests on it.
    pub(crate) fn rests_on(&self) -> Lsn {
        self.rests_on
    }

    /// Another set of the same transaction: its members never wait for those of this one.
    pub(crate) fn sibling(&self) -> Self {
        Self::new(Arc::clone(&self.manager), self.owner, self.deadlock_timeout)
    }

    /// Takes those out that pass on with the commit itself: all but tables, and rows of which `stays` says
    /// so.
    pub(crate) fn take_passing(&mut self, stays: impl Fn(TreeId, &[u8]) -> bool) -> Self {
        let mut passing = self.sibling();
        for held in std::mem::take(&mut self.held) {
            let stays = match &held.name {
                LockName::Table(_) => true,
                LockName::Row(tree, key) => stays(*tree, key),
                LockName::Transaction(_) | LockName::Place(_) => false,
            };
            if stays { self.held.push(held) } else { passing.held.push(held) }
        }
        passing
    }

    /// Whether there is no lock in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes over the locks of another set of the same transaction.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        debug_assert_eq!(self.owner, other.owner);
        self.held.append(&mut other.held);
        self.rests_on = self.rests_on.max(other.rests_on);
    }

    /// All locks.
    pub(crate) fn manager(&self) -> Arc<LockManager> {
        Arc::clone(&self.manager)
    }

    /// A number below `count` that is another one for most transactions.
    pub(crate) fn number_below(&self, count: u32) -> u32 {
        (self.owner.number % u64::from(count.max(1))) as u32
    }

    /// How many locks were taken so far: a mark for [`LockSet::release_after`].
    pub(crate) fn mark(&self) -> u64 {
        self.taken
    }

    /// Releases what was taken after `mark`, last first.
    pub(crate) fn release_after(&mut self, mark: u64) {
        while let Some(held) = self.held.last().filter(|held| held.number >= mark) {
            self.manager.release(self.owner, held);
            self.held.pop();
        }
    }

    /// Releases the rows of which `done` says so; it hears the lock's number too.
    pub(crate) fn release_rows(&mut self, mut done: impl FnMut(TreeId, &[u8], u64) -> bool) {
        let (manager, owner) = (&self.manager, self.owner);
        self.held.retain(|held| match &held.name {
            LockName::Row(tree, key) if done(*tree, key, held.number) => {
                manager.release(owner, held);
                false
            }
            _ => true,
        });
        // Memory that many locks took is given back.
        if self.held.capacity() > 2 * self.held.len() {
            self.held.shrink_to_fit();
        }
    }

    /// Whether nobody holds a lock on any row. As with [`LockSet::is_free`], who takes one right after that
    /// is not seen.
    pub(crate) fn are_rows_free(&self) -> bool {
        self.manager.is_without_rows()
    }

    /// Whether no other transaction holds the lock on a row.
    pub(crate) fn is_free(&self, tree: TreeId, key: &[u8]) -> bool {
        self.manager.is_free_for(self.owner, LockRef::Row(tree, key))
    }

    /// Whether this transaction holds the lock in a mode that excludes other writers.
    pub(crate) fn holds(&self, name: LockRef<'_>, strength: Strength) -> bool {
        let hash = name.hash_with(&self.manager.build);
        let shard = self.manager.shard(hash).lock();
        shard
            .find(hash, |lock| name.names(&lock.name))
            .is_some_and(|lock| strength.excludes & !excluded_by(lock.held_by(self.owner)) == 0)
    }
}

impl Drop for LockSet {
    fn drop(&mut self) {
        self.release_after(0);
    }
}
