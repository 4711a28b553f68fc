//! Locks on rows, tables and numbers, all in memory.
//!
//! A lock is a name ([`LockName`]) with holders and a queue. Requests are served in order of arrival, except that
//! a holder that asks for more goes to the front, for else it would wait for those who wait for it. A wait is a
//! future; dropping it leaves the queue. A wait that lasts `deadlock_timeout` looks for a cycle, and the one who
//! finds it is the victim.
//!
//! Order of the locks in here: `waits`, then one shard at a time. Nothing is awaited under either.

mod report;

pub use report::{LockInfo, LockTarget};

use crate::write_set::ShortKey;
use crate::{Error, Interrupt, LockMode, LockWait, TableLockMode, TreeId, WaitEvent};
use hashbrown::HashTable;
use hashbrown::hash_table::OccupiedEntry;
use host::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use wal::Xid;

/// What can be locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LockName {
    /// A key of a tree, whether it exists or not.
    Row(TreeId, ShortKey),
    /// A tree as a whole.
    Table(TreeId),
    /// A number that sessions agree on (advisory locks): database and 64 bits.
    Number(u32, u64),
    /// A large transaction or a part of it, by its xid: held by itself until its outcome, so that others can wait for that.
    Transaction(Xid),
    /// A place for a large transaction.
    Place(u32),
}

/// The same without owning the key, for look-ups.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LockRef<'a> {
    Row(TreeId, &'a [u8]),
    Table(TreeId),
    Number(u32, u64),
    Transaction(Xid),
    Place(u32),
}

impl LockRef<'_> {
    fn to_owned(self) -> LockName {
        match self {
            Self::Row(tree, key) => LockName::Row(tree, ShortKey::from_slice(key)),
            Self::Table(tree) => LockName::Table(tree),
            Self::Number(database, number) => LockName::Number(database, number),
            Self::Transaction(xid) => LockName::Transaction(xid),
            Self::Place(number) => LockName::Place(number),
        }
    }
    fn names(self, other: &LockName) -> bool {
        match (self, other) {
            (Self::Row(tree, key), LockName::Row(other_tree, other_key)) => {
                tree == *other_tree && key == &other_key[..]
            }
            (Self::Table(tree), LockName::Table(other)) => tree == *other,
            (Self::Number(database, number), LockName::Number(other_database, other)) => {
                database == *other_database && number == *other
            }
            (Self::Transaction(xid), LockName::Transaction(other)) => xid == *other,
            (Self::Place(number), LockName::Place(other)) => number == *other,
            _ => false,
        }
    }
    fn hash_with(self, build: &hashbrown::DefaultHashBuilder) -> u64 {
        let mut state = build.build_hasher();
        match self {
            Self::Row(tree, key) => {
                tree.hash(&mut state);
                state.write(key);
            }
            Self::Table(tree) => tree.hash(&mut state),
            Self::Number(database, number) => (database, number).hash(&mut state),
            Self::Transaction(xid) => xid.hash(&mut state),
            Self::Place(number) => number.hash(&mut state),
        }
        state.finish()
    }
}

/// A mode as a bit, with the bits that it excludes. Row modes take bits 0 to 3, table modes bits 4 to 11.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strength {
    bit: u16,
    excludes: u16,
}

const fn table_bits(modes: &[TableLockMode]) -> u16 {
    let (mut bits, mut at) = (0, 0);
    while at < modes.len() {
        bits |= 1 << (4 + modes[at] as u16);
        at += 1;
    }
    bits
}

impl From<LockMode> for Strength {
    fn from(mode: LockMode) -> Self {
        let excludes = match mode {
            LockMode::KeyShare => 0b1000,
            LockMode::Shared => 0b1100,
            LockMode::NoKeyExclusive => 0b1110,
            LockMode::Exclusive => 0b1111,
        };
        Self { bit: 1 << mode as u16, excludes }
    }
}

impl From<TableLockMode> for Strength {
    fn from(mode: TableLockMode) -> Self {
        use TableLockMode::*;
        const FROM_SHARE: u16 = table_bits(&[Share, ShareRowExclusive, Exclusive, AccessExclusive]);
        let excludes = match mode {
            AccessShare => table_bits(&[AccessExclusive]),
            RowShare => table_bits(&[Exclusive, AccessExclusive]),
            RowExclusive => FROM_SHARE,
            ShareUpdateExclusive => FROM_SHARE | table_bits(&[ShareUpdateExclusive]),
            Share => (FROM_SHARE & !table_bits(&[Share])) | table_bits(&[RowExclusive, ShareUpdateExclusive]),
            ShareRowExclusive => FROM_SHARE | table_bits(&[RowExclusive, ShareUpdateExclusive]),
            Exclusive => FROM_SHARE | table_bits(&[RowShare, RowExclusive, ShareUpdateExclusive]),
            AccessExclusive => 0xFF0,
        };
        Self { bit: 1 << (4 + mode as u16), excludes }
    }
}

/// Everything that the modes in `held` exclude.
fn excluded_by(held: u16) -> u16 {
    use TableLockMode::*;
    let rows = [LockMode::KeyShare, LockMode::Shared, LockMode::NoKeyExclusive, LockMode::Exclusive];
    let tables = [
        AccessShare,
        RowShare,
        RowExclusive,
        ShareUpdateExclusive,
        Share,
        ShareRowExclusive,
        Exclusive,
        AccessExclusive,
    ];
    rows.into_iter()
        .map(Strength::from)
        .chain(tables.into_iter().map(Strength::from))
        .filter(|strength| held & strength.bit != 0)
        .fold(0, |bits, strength| bits | strength.excludes)
}

/// Who locks: one transaction, and its session's number (0 for none).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Owner {
    number: u64,
    session: i32,
}

struct Holder {
    owner: Owner,
    bits: u16,
}

struct Waiter {
    owner: Owner,
    strength: Strength,
    grant: oneshot::Sender<()>,
}

struct Lock {
    hash: u64,
    name: LockName,
    holders: SmallVec<[Holder; 1]>,
    queue: VecDeque<Waiter>,
}

impl Lock {
    fn held_by(&self, owner: Owner) -> u16 {
        self.holders.iter().find(|holder| holder.owner == owner).map_or(0, |holder| holder.bits)
    }
    fn conflicts(&self, owner: Owner, strength: Strength) -> bool {
        self.holders.iter().any(|holder| holder.owner != owner && holder.bits & strength.excludes != 0)
    }
    fn hold(&mut self, owner: Owner, bit: u16) {
        match self.holders.iter_mut().find(|holder| holder.owner == owner) {
            Some(holder) => holder.bits |= bit,
            None => self.holders.push(Holder { owner, bits: bit }),
        }
    }
    /// Grants from the front of the queue until one must go on waiting.
    fn grant_waiting(&mut self) {
        while let Some(front) = self.queue.front() {
            if self.conflicts(front.owner, front.strength) {
                return;
            }
            if let Some(waiter) = self.queue.pop_front() {
                self.hold(waiter.owner, waiter.strength.bit);
                // A receiver that is gone gives the lock back itself: see `Wait::drop`.
                let _ = waiter.grant.send(());
            }
        }
    }
    fn drop_bit(&mut self, owner: Owner, bit: u16) {
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
struct Shard {
    table: Mutex<HashTable<Lock>>,
    /// How many of its locks are on rows; changed under the mutex, read without it.
    rows: AtomicUsize,
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, HashTable<Lock>> {
        self.table.lock()
    }
    /// A lock came into the table, which is held.
    fn added(&self, name: LockRef<'_>) {
        if let LockRef::Row(..) = name {
            self.rows.fetch_add(1, Ordering::Release);
        }
    }
    /// Removes a lock that nobody holds or waits for.
    fn remove_unused(&self, entry: OccupiedEntry<'_, Lock>) {
        if entry.get().holders.is_empty() && entry.get().queue.is_empty() {
            let (lock, _) = entry.remove();
            if let LockName::Row(..) = lock.name {
                self.rows.fetch_sub(1, Ordering::Release);
            }
        }
    }
}

/// How many shards there are; a power of two, enough that sessions on different rows seldom meet.
const SHARDS: usize = 64;

/// One lock that a transaction took, as its journal keeps it.
#[derive(Debug)]
pub(crate) struct Held {
    hash: u64,
    name: LockName,
    bit: u16,
    /// Its number among all that the transaction took.
    number: u64,
}

/// The locks that one transaction holds, in the order in which it took them. Dropping them releases all.
#[derive(Debug)]
pub(crate) struct LockSet {
    manager: Arc<LockManager>,
    owner: Owner,
    held: Vec<Held>,
    /// How many were taken so far.
    taken: u64,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The lock is held.
    Yes,
    /// SKIP LOCKED met another holder.
    Skipped,
}

/// All locks of a database.
pub(crate) struct LockManager {
    build: hashbrown::DefaultHashBuilder,
    shards: Box<[Shard]>,
    /// What each waiting transaction waits for.
    waits: Mutex<HashMap<Owner, (u64, LockName)>>,
    next_owner: AtomicU64,
    /// A place for a large transaction was given back.
    place_freed: Notify,
    deadlock_timeout: Duration,
}

impl std::fmt::Debug for LockManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LockManager")
            .field("deadlock_timeout", &self.deadlock_timeout)
            .finish_non_exhaustive()
    }
}

impl LockManager {
    pub(crate) fn new(deadlock_timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            build: hashbrown::DefaultHashBuilder::default(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            waits: Mutex::new(HashMap::new()),
            next_owner: AtomicU64::new(1),
            place_freed: Notify::new(),
            deadlock_timeout,
        })
    }

    /// An empty set for a new transaction of this session.
    pub(crate) fn new_set(self: &Arc<Self>, session: i32) -> LockSet {
        let owner = Owner { number: self.next_owner.fetch_add(1, Ordering::Relaxed), session };
        LockSet { manager: Arc::clone(self), owner, held: Vec::new(), taken: 0 }
    }

    fn shard(&self, hash: u64) -> &Shard {
        // The table inside uses the low bits for places and the top ones for tags; take some from between.
        &self.shards[(hash >> 40) as usize % SHARDS]
    }

    /// Takes the lock if it is free, else queues. `None`: held now (the caller journals it if `journal`).
    fn request(&self, owner: Owner, hash: u64, name: LockRef<'_>, strength: Strength, queue: bool) -> Answer {
        let shard = self.shard(hash);
        let mut table = shard.lock();
        let entry = table.entry(hash, |lock| name.names(&lock.name), |lock| lock.hash);
        let mut entry = match entry {
            hashbrown::hash_table::Entry::Vacant(vacant) => {
                let owned = name.to_owned();
                let holders = SmallVec::from_buf([Holder { owner, bits: strength.bit }]);
                vacant.insert(Lock { hash, name: owned.clone(), holders, queue: VecDeque::new() });
                shard.added(name);
                return Answer::Granted(owned);
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
            return Answer::Granted(lock.name.clone());
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

    fn release(&self, owner: Owner, held: &Held) {
        let shard = self.shard(held.hash);
        let mut table = shard.lock();
        if let Ok(mut entry) = table.find_entry(held.hash, |lock| lock.name == held.name) {
            entry.get_mut().drop_bit(owner, held.bit);
            shard.remove_unused(entry);
        }
        drop(table);
        if let LockName::Place(_) = held.name {
            self.place_freed.notify_waiters();
        }
    }

    /// Rings when a place for a large transaction was given back.
    pub(crate) fn place_freed(&self) -> &Notify {
        &self.place_freed
    }

    /// Whether nobody holds any row's lock.
    fn is_without_rows(&self) -> bool {
        self.shards.iter().all(|shard| shard.rows.load(Ordering::Acquire) == 0)
    }

    /// Whether nobody but `owner` holds this lock.
    fn is_free_for(&self, owner: Owner, name: LockRef<'_>) -> bool {
        let hash = name.hash_with(&self.build);
        let shard = self.shard(hash);
        if shard.rows.load(Ordering::Acquire) == 0 {
            return true;
        }
        let table = shard.lock();
        let found = table.find(hash, |lock| name.names(&lock.name));
        found.is_none_or(|lock| lock.holders.iter().all(|holder| holder.owner == owner))
    }

    /// Those whom `owner`, waiting for this lock, waits for: holders and earlier waiters that exclude it.
    fn step(&self, owner: Owner, hash: u64, name: &LockName) -> Step {
        let mut step = Step { owner, mode: 0, name: name.clone(), blockers: Vec::new() };
        let shard = self.shard(hash).lock();
        let Some(lock) = shard.find(hash, |lock| lock.name == *name) else { return step };
        let Some(at) = lock.queue.iter().position(|waiter| waiter.owner == owner) else { return step };
        let Strength { bit, excludes } = lock.queue[at].strength;
        let holders =
            lock.holders.iter().filter(|holder| holder.bits & excludes != 0).map(|holder| holder.owner);
        let ahead = lock
            .queue
            .iter()
            .take(at)
            .filter(|waiter| waiter.strength.bit & excludes != 0)
            .map(|waiter| waiter.owner);
        step.mode = bit;
        step.blockers.extend(holders.chain(ahead).filter(|blocker| *blocker != owner));
        step
    }

    /// A cycle of waits through `start`, as the chain of its members.
    fn find_cycle(&self, start: Owner) -> Option<Vec<Step>> {
        let waits = self.waits.lock();
        let mut seen = HashSet::new();
        let mut path: Vec<Step> = Vec::new();
        let enter = |owner: Owner| {
            let (hash, name) = waits.get(&owner)?;
            // Whoever waits for a place takes any: see `find_stuck_places`.
            let is_followed = !matches!(name, LockName::Place(_));
            is_followed.then(|| self.step(owner, *hash, name))
        };
        path.push(enter(start)?);
        while let Some(step) = path.last_mut() {
            match step.blockers.pop() {
                None => {
                    path.pop();
                }
                Some(next) if next == start => return Some(path),
                Some(next) if seen.insert(next) => path.extend(enter(next)),
                Some(_) => {}
            }
        }
        None
    }

    /// For `start`, which waits for any of the places of large transactions: how it and one of their holders wait for each other, if all
    /// holders wait, be it through others, for those who wait for a place.
    fn find_stuck_places(&self, start: Owner) -> Option<Vec<Step>> {
        let mut holders: Vec<Owner> = Vec::new();
        for shard in &self.shards {
            let table = shard.lock();
            let places = table.iter().filter(|lock| matches!(lock.name, LockName::Place(_)));
            holders.extend(places.flat_map(|lock| lock.holders.iter().map(|holder| holder.owner)));
        }
        let waits = self.waits.lock();
        let waits_for_place = |owner: &Owner| matches!(waits.get(owner), Some((_, LockName::Place(_))));
        let is_stuck = |holder: Owner| {
            let (mut seen, mut left) = (HashSet::from([holder]), vec![holder]);
            while let Some(owner) = left.pop() {
                let Some((hash, name)) = waits.get(&owner) else { continue };
                let blockers = self.step(owner, *hash, name).blockers;
                if blockers.iter().any(waits_for_place) {
                    return true;
                }
                left.extend(blockers.into_iter().filter(|blocker| seen.insert(*blocker)));
            }
            false
        };
        if holders.contains(&start) || !holders.iter().all(|holder| is_stuck(*holder)) {
            return None;
        }
        let step = |owner: Owner| {
            let (hash, name) = waits.get(&owner)?;
            Some(self.step(owner, *hash, name))
        };
        Some([start].into_iter().chain(holders.first().copied()).filter_map(step).collect())
    }

    /// How many locks exist, held or waited for.
    #[cfg(test)]
    fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

/// One transaction's wait, as a search for cycles or for those to blame finds it.
struct Step {
    owner: Owner,
    /// The bit of the mode that it waits for.
    mode: u16,
    name: LockName,
    blockers: Vec<Owner>,
}

enum Answer {
    Granted(LockName),
    Already,
    Busy,
    Queued(LockName, oneshot::Receiver<()>),
}

/// A place in a queue; dropping it leaves the queue, or gives back what was granted meanwhile.
struct Wait<'a> {
    manager: &'a LockManager,
    owner: Owner,
    held: Option<Held>,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.manager.waits.lock().remove(&self.owner);
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
        let hash = name.hash_with(&self.manager.build);
        match self.manager.request(self.owner, hash, name, strength, queue) {
            Answer::Granted(name) => {
                self.note(Held { hash, name, bit: strength.bit, number: 0 });
                Ok(Taken::Yes)
            }
            Answer::Already => Ok(Taken::Yes),
            Answer::Busy if wait == LockWait::Skip => Ok(Taken::Skipped),
            Answer::Busy => Err(Error::LockNotAvailable { timed_out: false }),
            Answer::Queued(name, granted) => {
                let held = Held { hash, name, bit: strength.bit, number: 0 };
                let held = self.wait(held, granted, wait, interrupt).await?;
                self.note(held);
                Ok(Taken::Yes)
            }
        }
    }

    async fn wait(
        &self,
        held: Held,
        mut granted: oneshot::Receiver<()>,
        wait: LockWait,
        interrupt: &Interrupt,
    ) -> Result<Held, Error> {
        self.manager.waits.lock().insert(self.owner, (held.hash, held.name.clone()));
        let mut place = Wait { manager: &self.manager, owner: self.owner, held: Some(held) };
        let _told = interrupt.waiting(match &place.held {
            Some(Held { name: LockName::Table(_), .. }) => WaitEvent::TableLock,
            Some(Held { name: LockName::Number(..), .. }) => WaitEvent::AdvisoryLock,
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
        let deadlock = async {
            let find = || match waits_for_place {
                true => self.manager.find_stuck_places(self.owner),
                false => self.manager.find_cycle(self.owner),
            };
            loop {
                tokio::time::sleep(self.manager.deadlock_timeout).await;
                // Two looks: the first one may have put together waits that were never there at one time.
                match find().and_then(|_| find()) {
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
            _ = &mut granted => place.held.take().ok_or(Error::Shutdown),
            () = interrupt.cancelled() => Err(Error::Cancelled),
            () = limit => Err(Error::LockNotAvailable { timed_out: true }),
            cycle = deadlock => Err(Error::Deadlock { cycle: report::describe(&cycle) }),
        }
    }

    fn note(&mut self, held: Held) {
        self.held.push(Held { number: self.taken, ..held });
        self.taken += 1;
    }

    /// Another set of the same transaction: its members never wait for those of this one.
    pub(crate) fn sibling(&self) -> Self {
        Self { manager: Arc::clone(&self.manager), owner: self.owner, held: Vec::new(), taken: 0 }
    }

    /// Takes over the locks of another set of the same transaction.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        debug_assert_eq!(self.owner, other.owner);
        self.held.append(&mut other.held);
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
        while let Some(held) = self.held.pop_if(|held| held.number >= mark) {
            self.manager.release(self.owner, &held);
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
        self.held.shrink_to(2 * self.held.len());
    }

    /// Whether nobody holds a lock on any row. As with [`LockSet::is_free`], who takes one right after that is not seen.
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
#[cfg(test)]
mod tests;
