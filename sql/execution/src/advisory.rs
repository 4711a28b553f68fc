//! Advisory locks: on numbers that mean something to applications alone. They are in memory, as all locks
//! are, and apart from storage's: a session holds some of them beyond its transactions.
//!
//! A lock is shared or exclusive, and held by a session, by its transaction, or both. Requests are served in
//! order of arrival, except that who holds a lock already and asks for more is served at once where nobody
//! else is in the way. Who waits for longer than deadlock_timeout looks for a circle of sessions that wait
//! for each other, also for locks of rows and tables, again and again: a circle may be closed later, by one
//! who waits in storage and does not see advisory locks.
//!
//! Who gets a lock sees what was done under it: one that is given back while the last commit of its session
//! is not visible yet (its wait was cancelled, or it is behind others in doubt) tells of that commit until it
//! is, and the statements of whoever takes it rest on it.
//!
//! Order of locks: an owner's, then the table's. Nothing is awaited under either.

use host::sync::Mutex;
use sql_interface::{AdvisoryKey, AdvisoryRequest, Canceller, Result, SqlError};
use sqlstate::SqlState;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use storage::{Database, LockWait, Sight, WaitEvent};
use tokio::sync::Notify;
use wal::Lsn;

/// What a session holds of a lock.
#[derive(Clone, Copy, Debug)]
struct Holder {
    session: i32,
    shared: bool,
    /// How often the session itself has taken it.
    count: u32,
    /// Its transaction has taken it.
    transaction: bool,
    /// It was granted, and its taker has not counted it yet.
    fresh: bool,
}

struct Waiter {
    session: i32,
    shared: bool,
    granted: Arc<Notify>,
}

#[derive(Default)]
struct Lock {
    holders: Vec<Holder>,
    queue: VecDeque<Waiter>,
    /// The end of the newest commit that is not visible of a session that has given it back, shared and not.
    told: [Lsn; 2],
}

impl Lock {
    fn is_unused(&self) -> bool {
        self.holders.is_empty() && self.queue.is_empty() && self.told == [Lsn::INVALID; 2]
    }

    /// The commit that who takes it rests on.
    fn rests_on(&self, shared: bool) -> Lsn {
        let [of_shared, of_exclusive] = self.told;
        if host::planted!("a lock that was given back tells of nothing") {
            return Lsn::INVALID;
        }
        if shared { of_exclusive } else { of_exclusive.max(of_shared) }
    }

    fn tell(&mut self, shared: bool, commit: Lsn) {
        let [of_shared, of_exclusive] = &mut self.told;
        let told = if shared { of_shared } else { of_exclusive };
        *told = commit.max(*told);
    }

    /// Commits up to there are visible.
    fn clear_told(&mut self, seen: Lsn) {
        for told in self.told.iter_mut().filter(|told| **told <= seen) {
            *told = Lsn::INVALID;
        }
    }

    fn is_free_for(&self, session: i32, shared: bool) -> bool {
        self.holders.iter().all(|holder| holder.session == session || (holder.shared && shared))
    }

    fn holder(&mut self, session: i32, shared: bool) -> Option<&mut Holder> {
        self.holders.iter_mut().find(|holder| holder.session == session && holder.shared == shared)
    }

    /// Who keeps this session from the lock: holders, and those who were there before.
    fn blockers(&self, session: i32, shared: bool) -> Vec<i32> {
        let excludes = |other: bool| !(shared && other);
        let holders =
            self.holders.iter().filter(|holder| excludes(holder.shared)).map(|holder| holder.session);
        let ahead = self.queue.iter().take_while(|waiter| waiter.session != session);
        let ahead = ahead.filter(|waiter| excludes(waiter.shared)).map(|waiter| waiter.session);
        holders.chain(ahead).filter(|other| *other != session).collect()
    }
}

#[derive(Default)]
struct Table {
    locks: HashMap<AdvisoryKey, Lock>,
    /// What sessions wait for.
    waits: HashMap<i32, (AdvisoryKey, bool)>,
    /// Holders of all locks.
    held: usize,
    /// Where the last commits of sessions end that were not visible at once.
    commits: HashMap<i32, Lsn>,
    /// The end of the newest commit that a lock tells of; INVALID if none does.
    newest_told: Lsn,
}

impl Table {
    fn hold(&mut self, key: AdvisoryKey, session: i32, shared: bool) {
        let lock = self.locks.entry(key).or_default();
        match lock.holder(session, shared) {
            Some(holder) => holder.fresh = true,
            None => {
                lock.holders.push(Holder { session, shared, count: 0, transaction: false, fresh: true });
                self.held += 1;
            }
        }
    }

    /// Changes what a session holds of a lock, which may then be free for others.
    fn change(&mut self, key: AdvisoryKey, session: i32, shared: bool, change: impl FnOnce(&mut Holder)) {
        let Some(lock) = self.locks.get_mut(&key) else { return };
        if let Some(holder) = lock.holder(session, shared) {
            change(holder);
        }
        let before = lock.holders.len();
        lock.holders.retain(|holder| holder.count > 0 || holder.transaction || holder.fresh);
        self.held -= before - lock.holders.len();
        self.grant_waiting(key);
    }

    /// Where a session's last commit ends if it is not visible.
    fn unseen_commit(&mut self, session: i32, sight: &Sight) -> Option<Lsn> {
        let lsn = *self.commits.get(&session)?;
        if sight.sees(lsn) {
            self.commits.remove(&session);
            return None;
        }
        Some(lsn)
    }

    /// Commits up to there are visible. False if a lock tells of a newer one.
    fn clear_told(&mut self, seen: Lsn) -> bool {
        self.locks.retain(|_, lock| {
            lock.clear_told(seen);
            !lock.is_unused()
        });
        let last = self.newest_told <= seen;
        if last {
            self.newest_told = Lsn::INVALID;
        }
        last
    }

    /// Gives a lock to those at the head of its queue for whom it is free.
    fn grant_waiting(&mut self, key: AdvisoryKey) {
        while let Some(lock) = self.locks.get_mut(&key) {
            let Some(first) = lock.queue.front() else { break };
            let (session, shared) = (first.session, first.shared);
            if !lock.is_free_for(session, shared) {
                break;
            }
            if let Some(waiter) = lock.queue.pop_front() {
                waiter.granted.notify_one();
            }
            self.waits.remove(&session);
            self.hold(key, session, shared);
        }
        if self.locks.get(&key).is_some_and(Lock::is_unused) {
            self.locks.remove(&key);
        }
    }

    /// Whether this session waits, over others, for itself.
    fn is_in_circle(&self, start: i32, database: &Database) -> bool {
        let blockers = |session: i32| match self.waits.get(&session) {
            Some((key, shared)) => {
                self.locks.get(key).map(|lock| lock.blockers(session, *shared)).unwrap_or_default()
            }
            None => database.blocking_sessions(session),
        };
        let (mut seen, mut next) = (HashSet::new(), blockers(start));
        while let Some(session) = next.pop() {
            if session == start {
                return true;
            }
            if seen.insert(session) {
                next.extend(blockers(session));
            }
        }
        false
    }
}

/// A lock as pg_locks shows it.
#[derive(Clone, Copy, Debug)]
pub struct AdvisoryLock {
    /// What is locked.
    pub key: AdvisoryKey,
    /// By whom, or who waits.
    pub session: i32,
    /// Others may share it.
    pub shared: bool,
    /// It is held, and not waited for.
    pub granted: bool,
}

/// The advisory locks of a server.
pub struct AdvisoryLocks {
    table: Mutex<Table>,
    sight: Sight,
}

impl AdvisoryLocks {
    /// None is held.
    pub fn new(sight: Sight) -> Arc<Self> {
        Arc::new(Self { table: Mutex::default(), sight })
    }

    /// All that are held or waited for.
    pub fn list(&self) -> Vec<AdvisoryLock> {
        let table = self.table.lock();
        let mut all = Vec::new();
        for (key, lock) in &table.locks {
            let held = lock.holders.iter().map(|holder| (holder.session, holder.shared, true));
            let waiting = lock.queue.iter().map(|waiter| (waiter.session, waiter.shared, false));
            let shown = |(session, shared, granted)| AdvisoryLock { key: *key, session, shared, granted };
            all.extend(held.chain(waiting).map(shown));
        }
        all
    }

    /// Who keeps a session from the lock that it waits for.
    pub fn blocking(&self, session: i32) -> Vec<i32> {
        let table = self.table.lock();
        let Some((key, shared)) = table.waits.get(&session) else { return Vec::new() };
        table.locks.get(key).map(|lock| lock.blockers(session, *shared)).unwrap_or_default()
    }

    /// Gives back a lock that a session has taken for itself; false if it has not.
    pub fn unlock(self: &Arc<Self>, session: i32, key: AdvisoryKey, shared: bool) -> bool {
        let mut table = self.table.lock();
        let holder = table.locks.get_mut(&key).and_then(|lock| lock.holder(session, shared));
        if holder.is_none_or(|holder| holder.count == 0) {
            return false;
        }
        drop(table);
        self.give_back(session, vec![(key, shared)], |holder| holder.count -= 1);
        true
    }

    /// Gives back all that a session has taken for itself.
    pub fn unlock_all(self: &Arc<Self>, session: i32) {
        let table = self.table.lock();
        let held = table.locks.iter().flat_map(|(key, lock)| lock.holders.iter().map(move |one| (key, one)));
        let of_session = held.filter(|(_, holder)| holder.session == session && holder.count > 0);
        let taken = of_session.map(|(key, holder)| (*key, holder.shared)).collect();
        drop(table);
        self.give_back(session, taken, |holder| holder.count = 0);
    }

    /// Changes what a session holds, which may then be free for others.
    fn give_back(
        self: &Arc<Self>,
        session: i32,
        taken: Vec<(AdvisoryKey, bool)>,
        change: impl Fn(&mut Holder),
    ) {
        let mut table = self.table.lock();
        let unseen = table.unseen_commit(session, &self.sight);
        for (key, shared) in taken {
            if let (Some(commit), Some(lock)) = (unseen, table.locks.get_mut(&key)) {
                lock.tell(shared, commit);
            }
            table.change(key, session, shared, &change);
        }
        let Some(commit) = unseen else { return };
        let newest = commit.max(table.newest_told);
        let before = std::mem::replace(&mut table.newest_told, newest);
        drop(table);
        if before == Lsn::INVALID {
            self.clear_when_seen(commit);
        }
    }

    /// One task does this for all, for as long as any lock tells of anything.
    fn clear_when_seen(self: &Arc<Self>, newest: Lsn) {
        let locks = Arc::clone(self);
        self.sight.when_seen(newest, move || {
            let mut table = locks.table.lock();
            if !table.clear_told(newest) {
                let newest = table.newest_told;
                drop(table);
                locks.clear_when_seen(newest);
            }
        });
    }
}

/// A place in a lock's queue.
struct Place<'a> {
    locks: &'a AdvisoryLocks,
    key: AdvisoryKey,
    session: i32,
    shared: bool,
    granted: Arc<Notify>,
    taken: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let mut table = self.locks.table.lock();
        table.waits.remove(&self.session);
        if let Some(lock) = table.locks.get_mut(&self.key) {
            lock.queue.retain(|waiter| !Arc::ptr_eq(&waiter.granted, &self.granted));
        }
        // It may have been granted meanwhile: what nobody has counted goes.
        table.change(self.key, self.session, self.shared, |holder| holder.fresh = false);
    }
}

/// How long a lock is waited for, and within what.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// How deep the transaction is nested: 1 without savepoints.
    pub depth: u32,
    /// lock_timeout.
    pub lock_wait: LockWait,
    /// Between two looks for a deadlock.
    pub deadlock_timeout: Duration,
    /// Locks that all sessions hold together at most.
    pub held_max: usize,
}

/// A session, as the holder of advisory locks.
pub struct AdvisoryOwner {
    locks: Arc<AdvisoryLocks>,
    session: i32,
    /// It has taken one, ever: else nothing has to be looked at.
    used: AtomicBool,
    rests_on: AtomicU64,
    /// What its transaction has taken, each with how deep the transaction was nested then: 1 without
    /// savepoints.
    taken: Mutex<Vec<(AdvisoryKey, bool, u32)>>,
}

impl AdvisoryOwner {
    /// A session by its number, which holds none.
    pub fn new(locks: Arc<AdvisoryLocks>, session: i32) -> Self {
        let (used, rests_on) = (AtomicBool::new(false), AtomicU64::new(Lsn::INVALID.get()));
        Self { locks, session, used, rests_on, taken: Mutex::default() }
    }

    /// The end of the newest commit that was done under a lock before this session took it.
    pub fn rests_on(&self) -> Lsn {
        Lsn::new(self.rests_on.load(Ordering::Relaxed))
    }

    /// The session has committed up to `lsn`, which what it gives back from now on tells of.
    #[inline]
    pub fn note_commit(&self, lsn: Lsn) {
        if self.is_used() && !self.locks.sight.sees(lsn) {
            self.locks.table.lock().commits.insert(self.session, lsn);
        }
    }

    #[inline]
    fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes a lock; false if it is not free and the request does not wait.
    ///
    /// # Errors
    ///
    /// 53200 if there are too many, 40P01 for a deadlock, 55P03 after lock_timeout, and what cancels the
    /// wait.
    pub async fn take(
        &self,
        request: AdvisoryRequest,
        waits: Waits,
        database: &Database,
        canceller: &Canceller,
    ) -> Result<bool> {
        let AdvisoryRequest { key, shared, waits: may_wait, transaction } = request;
        let place = {
            let mut table = self.locks.table.lock();
            if table.held >= waits.held_max {
                return Err(SqlError::new(SqlState::OUT_OF_MEMORY, "out of shared memory")
                    .with_hint("You might need to increase max_locks_per_transaction."));
            }
            let lock = table.locks.entry(key).or_default();
            let holds = lock.holders.iter().any(|holder| holder.session == self.session);
            if lock.is_free_for(self.session, shared) && (holds || lock.queue.is_empty()) {
                table.hold(key, self.session, shared);
                None
            } else if !may_wait {
                return Ok(false);
            } else {
                let granted = Arc::new(Notify::new());
                let waiter = Waiter { session: self.session, shared, granted: granted.clone() };
                if holds {
                    lock.queue.push_front(waiter)
                } else {
                    lock.queue.push_back(waiter)
                }
                table.waits.insert(self.session, (key, shared));
                Some(granted)
            }
        };
        if let Some(granted) = place {
            let place =
                Place { locks: &self.locks, key, session: self.session, shared, granted, taken: false };
            self.wait(place, waits, database, canceller).await?;
        }
        self.note(key, shared, transaction, waits.depth);
        Ok(true)
    }

    async fn wait(
        &self,
        mut place: Place<'_>,
        waits: Waits,
        database: &Database,
        canceller: &Canceller,
    ) -> Result<()> {
        let _waiting = canceller.interrupt().waiting(WaitEvent::AdvisoryLock);
        let limit = async {
            match waits.lock_wait {
                LockWait::AtMost(limit) => tokio::time::sleep(limit).await,
                _ => std::future::pending().await,
            }
        };
        tokio::pin!(limit);
        loop {
            tokio::select! {
                biased;
                () = place.granted.notified() => break,
                reason = canceller.cancelled() => return Err(reason.error()),
                () = &mut limit => {
                    let what = "canceling statement due to lock timeout";
                    return Err(SqlError::new(SqlState::LOCK_NOT_AVAILABLE, what));
                }
                () = tokio::time::sleep(waits.deadlock_timeout) => {
                    if self.locks.table.lock().is_in_circle(self.session, database) {
                        let what = "Sessions wait for each other's advisory locks.";
                        return Err(SqlError::new(SqlState::DEADLOCK_DETECTED, "deadlock detected")
                            .with_detail(what));
                    }
                }
            }
        }
        place.taken = true;
        Ok(())
    }

    /// Counts a lock that is held for the first time or once more.
    fn note(&self, key: AdvisoryKey, shared: bool, transaction: bool, depth: u32) {
        self.used.store(true, Ordering::Relaxed);
        let mut taken = self.taken.lock();
        let mut table = self.locks.table.lock();
        let rests_on = table.locks.get(&key).map_or(Lsn::INVALID, |lock| lock.rests_on(shared));
        self.rests_on.fetch_max(rests_on.get(), Ordering::Relaxed);
        table.change(key, self.session, shared, |holder| {
            holder.fresh = false;
            if !transaction {
                holder.count = holder.count.saturating_add(1);
            } else if !std::mem::replace(&mut holder.transaction, true) {
                taken.push((key, shared, depth));
            }
        });
    }

    /// The transaction leaves all levels from `level` on: 1 is its end, a higher one a savepoint that is
    /// released (`keep`) or rolled back to.
    #[inline]
    pub fn leave(&self, level: u32, keep: bool) {
        if self.is_used() {
            self.give_back(level, keep);
        }
    }

    #[cold]
    fn give_back(&self, level: u32, keep: bool) {
        let mut taken = self.taken.lock();
        if keep && level > 1 {
            for (.., depth) in taken.iter_mut().filter(|(.., depth)| *depth >= level) {
                *depth = level - 1;
            }
            return;
        }
        let given = taken.extract_if(.., |(.., depth)| *depth >= level);
        let given = given.map(|(key, shared, _)| (key, shared)).collect();
        self.locks.give_back(self.session, given, |holder| holder.transaction = false);
    }
}

impl Drop for AdvisoryOwner {
    fn drop(&mut self) {
        if self.is_used() {
            self.give_back(1, false);
            self.locks.unlock_all(self.session);
            self.locks.table.lock().commits.remove(&self.session);
        }
    }
}
