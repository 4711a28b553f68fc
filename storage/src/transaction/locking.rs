//! Locks that a transaction takes, and what it reads under them.

use super::Transaction;
use crate::locks::{LockRef, Taken};
use crate::{Error, Isolation, LockMode, LockWait, Locked, TableLockMode, TreeId};
use std::sync::atomic::Ordering;
use wal::{BlockNumber, Lsn, Xid};

/// How many locks a transaction had taken at a moment.
#[derive(Clone, Copy, Debug)]
pub struct LockMark(u64);

/// What the newest version of a locked row is.
enum Newest {
    /// None, or one that has an outcome.
    Settled(Locked),
    /// This transaction's own, in a page.
    Own(Locked),
    /// One of another large transaction, which is under way.
    Open(Xid),
}

impl Transaction {
    /// Locks a row (which need not exist) until the end of the transaction or a rollback to a savepoint
    /// before, then reads its newest version.
    ///
    /// Under REPEATABLE READ a row changed after the snapshot is [`Error::SerializationFailure`].
    ///
    /// # Errors
    /// Fails if the lock is not to be had, the row cannot be read, or REPEATABLE READ met a later change.
    pub async fn lock(
        &mut self,
        tree: TreeId,
        key: &[u8],
        mode: LockMode,
        wait: LockWait,
    ) -> Result<Locked, Error> {
        let locked = self.lock_newest(tree, key, mode, wait).await?;
        let is_blind = host::planted!("REPEATABLE READ writes over a newer version");
        if locked.changed_since_snapshot && self.isolation == Isolation::RepeatableRead && !is_blind {
            return Err(Error::SerializationFailure { deleted: locked.newest.is_none() });
        }
        Ok(locked)
    }

    /// The same for a row that each who writes it counts up: what stands there goes into the next value and
    /// into no answer, so that this transaction does not rest on the commit that wrote it.
    ///
    /// # Errors
    /// As [`Transaction::lock`].
    pub async fn lock_counter(&mut self, tree: TreeId, key: &[u8], wait: LockWait) -> Result<Locked, Error> {
        let is_kept = self.isolation == Isolation::RepeatableRead;
        // Whether it was written since may have to be waited for, and the lock is not held for that.
        if is_kept && self.changed_since_snapshot(tree, key).await? {
            return Err(Error::SerializationFailure { deleted: false });
        }
        let before = self.evaluated.load(Ordering::Relaxed);
        let locked = self.lock(tree, key, LockMode::Exclusive, wait).await;
        self.evaluated.store(before, Ordering::Relaxed);
        locked
    }

    /// As [`Transaction::lock`] for a key that is to be inserted: what has become of it since the snapshot is
    /// no failure at any level, and [`Locked::changed_since_snapshot`] tells of it.
    ///
    /// # Errors
    /// Fails if the lock is not to be had or the row cannot be read.
    pub async fn lock_newest(
        &mut self,
        tree: TreeId,
        key: &[u8],
        mode: LockMode,
        wait: LockWait,
    ) -> Result<Locked, Error> {
        if self.engine.is_in_recovery() {
            return Err(Error::ReadOnly);
        }
        if self.writes.is_full() {
            self.spill().await?;
        }
        loop {
            let before = self.locks.mark();
            let taken = self.locks.take(LockRef::Row(tree, key), mode.into(), wait, &self.interrupt).await?;
            if taken == Taken::Skipped {
                return Ok(Locked { skipped: true, ..Locked::default() });
            }
            if let Some(own) = self.writes.newest(tree, key) {
                return Ok(Locked {
                    newest: own.value.clone(),
                    written_since_read: own.command >= self.command(),
                    ..Locked::default()
                });
            }
            match self.read_newest(tree, key).await? {
                Newest::Settled(locked) => return Ok(locked),
                // The stamp is the lock.
                Newest::Own(locked) => {
                    self.locks.release_after(before);
                    return Ok(locked);
                }
                Newest::Open(xid) => {
                    // Not held while waiting: the other one may want it again.
                    self.locks.release_after(before);
                    let before = self.locks.mark();
                    let other = LockRef::Transaction(xid);
                    let ended =
                        self.locks.take(other, LockMode::Shared.into(), wait, &self.interrupt).await?;
                    self.locks.release_after(before);
                    if ended == Taken::Skipped {
                        return Ok(Locked { skipped: true, ..Locked::default() });
                    }
                }
            }
        }
    }

    /// What [`Transaction::release_locks_after`] goes back to.
    pub fn lock_mark(&self) -> LockMark {
        LockMark(self.locks.mark())
    }

    /// Releases the locks that were taken after `mark`, on which nothing that was read or written may rest.
    pub fn release_locks_after(&mut self, mark: LockMark) {
        self.locks.release_after(mark.0);
    }

    async fn read_newest(&mut self, tree: TreeId, key: &[u8]) -> Result<Newest, Error> {
        let mut near = if self.near.0 == tree { self.near.1 } else { BlockNumber::INVALID };
        let newest = self.read_newest_near(&mut near, tree, key).await;
        self.near = (tree, near);
        newest
    }

    /// Waits until nobody else is about to insert or delete this key, and gives its newest version. Leaves no
    /// lock: what is there may be deleted right after that.
    ///
    /// # Errors
    /// As [`Transaction::lock_newest`].
    pub async fn settled(&mut self, tree: TreeId, key: &[u8], wait: LockWait) -> Result<Locked, Error> {
        let before = self.locks.mark();
        let settled = self.lock_newest(tree, key, LockMode::Settled, wait).await;
        self.locks.release_after(before);
        settled
    }

    /// Whether a row's newest version is a committed one that the snapshot does not see. Takes no lock.
    ///
    /// # Errors
    /// Fails if the row cannot be read.
    pub async fn changed_since_snapshot(&mut self, tree: TreeId, key: &[u8]) -> Result<bool, Error> {
        if self.writes.newest(tree, key).is_some() {
            return Ok(false);
        }
        Ok(match self.read_newest(tree, key).await? {
            Newest::Settled(found) | Newest::Own(found) => found.changed_since_snapshot,
            Newest::Open(_) => false,
        })
    }

    async fn read_newest_near(
        &self,
        near: &mut BlockNumber,
        tree: TreeId,
        key: &[u8],
    ) -> Result<Newest, Error> {
        let snapshot = self.snapshot()?;
        let tree = self.engine.store.tree(tree)?;
        let (open, aborted) = self.engine.visibility.unsettled();
        let mut value = Vec::new();
        let found = match tree.lookup_near(near, key, |head| !aborted.contains(head.xid), &mut value) {
            Ok(found) => found,
            Err(_) => {
                let again = || {
                    value.clear();
                    tree.lookup_near(near, key, |head| !aborted.contains(head.xid), &mut value)
                };
                self.engine.store.run_until(&self.interrupt, None, again).await?
            }
        };
        let Some(head) = found else { return Ok(Newest::Settled(Locked::default())) };
        if open.contains(head.xid) {
            if !self.large.as_ref().is_some_and(|large| large.wrote(head.xid)) {
                return Ok(Newest::Open(head.xid));
            }
            return Ok(Newest::Own(Locked {
                newest: (!head.deleted).then(|| value.into()),
                written_since_read: head.cid >= self.command().0,
                ..Locked::default()
            }));
        }
        let changed = !snapshot.sees(head.xid);
        if changed {
            let in_doubt = self.engine.visibility.in_doubt(head.xid);
            if self.isolation == Isolation::RepeatableRead
                && let Some(end) = in_doubt
            {
                self.engine.wait_visible(end, &self.interrupt).await?;
            }
            self.note_evaluated(in_doubt.unwrap_or(Lsn::INVALID));
        }
        Ok(Newest::Settled(Locked {
            newest: (!head.deleted).then(|| value.into()),
            changed_since_snapshot: changed,
            ..Locked::default()
        }))
    }

    /// Locks a whole table.
    ///
    /// # Errors
    /// Fails if the lock is not to be had.
    pub async fn lock_table(
        &mut self,
        tree: TreeId,
        mode: TableLockMode,
        wait: LockWait,
    ) -> Result<(), Error> {
        match self.locks.take(LockRef::Table(tree), mode.into(), wait, &self.interrupt).await? {
            Taken::Yes => Ok(()),
            Taken::Skipped => Err(Error::LockNotAvailable { timed_out: false }),
        }
    }
}
