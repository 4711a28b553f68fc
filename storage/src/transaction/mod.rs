//! One transaction as its session drives it: snapshots, reads that merge its own writes, locks, commit.

mod assigned;
mod commit;
pub(crate) mod early;
mod locking;
mod savepoints;
pub(crate) mod scan;
mod statement;
mod writing;

pub use locking::LockMark;
pub use savepoints::Savepoint;

use crate::commit::write_set::{CommandId, WriteSet};
use crate::engine::Engine;
use crate::locks::LockSet;
use crate::tree::VersionHead;
use crate::visibility::snapshot::{LiveSnapshot, Snapshot};
use crate::{Direction, Error, Interrupt, Isolation, KeyRange, LockWait, Scan, TreeId};
use assigned::AssignedXids;
use bytes::Bytes;
use early::{Early, SavepointMark};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wal::{BlockNumber, Lsn, Xid};

/// A transaction. Dropping it rolls it back; a rollback touches nothing but memory, except that trees which
/// it created are removed.
///
/// Writes stay in a private write set until [`Transaction::commit`]; a large transaction puts them into pages
/// as it goes, where nobody else sees them (`early`). Reads see the statement's snapshot plus the
/// transaction's own writes of earlier statements; [`Transaction::lock`] sees the newest version.
#[derive(Debug)]
pub struct Transaction {
    pub(crate) engine: Arc<Engine>,
    isolation: Isolation,
    pub(crate) interrupt: Interrupt,
    /// Snapshots are at least this.
    floor: Lsn,
    /// On a standby, snapshots show only what is confirmed.
    reads_confirmed: bool,
    snapshot: Option<Arc<LiveSnapshot>>,
    /// Only names are looked up by the snapshot: no later statement keeps it.
    is_provisional: bool,
    /// See [`Transaction::look_up_only`].
    looks_up: bool,
    pub(crate) command: CommandId,
    /// Reads are as a statement of before has them, while a cursor goes on.
    as_of: Option<View>,
    pub(crate) writes: WriteSet,
    /// After `large`: what goes into pages is aborted before the rows' locks pass on.
    pub(crate) large: Option<Box<Early>>,
    pub(crate) locks: LockSet,
    /// How long whoever has no limit of its own waits for a lock.
    lock_wait: LockWait,
    /// The leaf where the row locked last is, or would be.
    near: (TreeId, BlockNumber),
    /// The savepoints that stand.
    pub(crate) savepoints: Vec<SavepointMark>,
    pub(crate) created: Vec<TreeId>,
    pub(crate) dropped: Vec<TreeId>,
    /// See [`Transaction::hold_locks_until_visible`].
    holds_locks: bool,
    evaluated: AtomicU64,
    assigned: AssignedXids,
}

/// What a statement reads: its snapshot, and own writes of the commands before it. Holds versions like the
/// statement itself.
#[derive(Clone, Debug)]
pub struct View {
    snapshot: Arc<LiveSnapshot>,
    command: CommandId,
}

impl Transaction {
    pub(crate) fn new(engine: Arc<Engine>, isolation: Isolation, after: Lsn, interrupt: Interrupt) -> Self {
        Self {
            locks: engine.locks.new_set(interrupt.session()),
            lock_wait: LockWait::Forever,
            isolation,
            interrupt,
            floor: after,
            reads_confirmed: false,
            snapshot: None,
            is_provisional: false,
            looks_up: false,
            command: CommandId(0),
            as_of: None,
            writes: WriteSet::new(engine.write_set_limit_bytes()),
            large: None,
            near: (TreeId::new(0, 0), BlockNumber::INVALID),
            savepoints: Vec::new(),
            holds_locks: false,
            created: Vec::new(),
            dropped: Vec::new(),
            evaluated: AtomicU64::new(0),
            assigned: AssignedXids::default(),
            engine,
        }
    }

    /// The isolation level.
    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Sets the level; only before the first statement.
    ///
    /// # Errors
    /// Fails after the first statement.
    pub fn set_isolation(&mut self, isolation: Isolation) -> Result<(), Error> {
        if self.snapshot.is_some() && !self.is_provisional && isolation != self.isolation {
            return Err(Error::WrongState("SET TRANSACTION ISOLATION LEVEL must be called before any query"));
        }
        self.isolation = isolation;
        Ok(())
    }

    /// Sets what [`Self::lock_wait`] answers; that is no limit at first.
    pub fn set_lock_wait(&mut self, wait: LockWait) {
        self.lock_wait = wait;
    }

    /// After which time of waiting for a lock a deadlock is looked for; the engine's at first.
    pub fn set_deadlock_timeout(&mut self, timeout: Duration) {
        self.locks.deadlock_timeout = Some(timeout);
    }

    /// How long a lock may be waited for, as whoever runs the transaction has said.
    pub fn lock_wait(&self) -> LockWait {
        self.lock_wait
    }

    /// The switch that ends this transaction's waits.
    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Whether it has written anything, or its end must be logged for another reason.
    pub fn has_writes(&self) -> bool {
        !self.writes.is_empty()
            || !self.created.is_empty()
            || !self.dropped.is_empty()
            || !self.assigned.is_empty()
            || self.large.is_some()
    }

    /// The xid by which the log will tell of this transaction's end: given out now if it has none yet, and
    /// logged at its end even if it writes nothing. (Its versions carry the xid that the commit takes,
    /// because visibility follows commit order.)
    ///
    /// # Errors
    /// Fails in recovery, or if commits are refused.
    pub fn assign_xid(&mut self) -> Result<Xid, Error> {
        self.assign_xid_at(0)
    }

    /// The xid for what the log is told at once and what is undone by a rollback to the innermost savepoint:
    /// [`Transaction::assign_xid`]'s where there is none.
    ///
    /// # Errors
    /// As [`Transaction::assign_xid`].
    pub fn assign_part_xid(&mut self) -> Result<Xid, Error> {
        // A part's xid is above its transaction's, as in PostgreSQL.
        self.assign_xid()?;
        self.assign_xid_at(self.savepoints.len())
    }

    fn assign_xid_at(&mut self, depth: usize) -> Result<Xid, Error> {
        if let Some(xid) = self.assigned.at(depth) {
            return Ok(xid);
        }
        if self.engine.is_in_recovery() {
            return Err(Error::ReadOnly);
        }
        let xid = self.engine.pipeline()?.assign_xid()?;
        self.assigned.add(depth, xid);
        Ok(xid)
    }

    /// Logs that what `taken` takes out of the assigned xids came to nothing. The record is for those who
    /// look for them: without it they came to nothing all the same.
    fn abort_assigned(
        &mut self,
        taken: impl FnOnce(&mut AssignedXids) -> SmallVec<[Xid; 1]>,
    ) -> Result<(), Error> {
        match *taken(&mut self.assigned) {
            [] => Ok(()),
            [first, ref parts @ ..] => self.engine.pipeline()?.abort_assigned(first, parts),
        }
    }

    /// What [`Transaction::assign_xid`] has given.
    pub fn assigned_xid(&self) -> Option<Xid> {
        self.assigned.at(0)
    }

    /// The value of `key` as this statement sees it.
    ///
    /// # Errors
    /// Fails if no statement has begun, a page cannot be read, or replay gave the snapshot up.
    pub async fn get(&self, tree: TreeId, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.get_as_of(self.snapshot()?, self.command(), tree, key).await
    }

    /// The value of `key` in a snapshot, with own writes of commands before `command`.
    pub(crate) async fn get_as_of(
        &self,
        snapshot: &Snapshot,
        command: CommandId,
        tree: TreeId,
        key: &[u8],
    ) -> Result<Option<Bytes>, Error> {
        if let Some(own) = self.writes.before(tree, key, command) {
            return Ok(own.value.clone());
        }
        let tree = self.engine.store.tree(tree)?;
        let mut value = Vec::new();
        let sees = |version: VersionHead| snapshot.sees(version.xid) || self.sees_own(version, command);
        let found = match tree.lookup(key, sees, &mut value) {
            Ok(found) => found,
            Err(_) => {
                let again = || {
                    value.clear();
                    tree.lookup(key, sees, &mut value)
                };
                let found = self.engine.store.run_until(&self.interrupt, None, again).await;
                found.map_err(|error| self.engine.or_conflict(error, snapshot))?
            }
        };
        self.engine.check_conflict(snapshot)?;
        Ok(found.filter(|head| !head.deleted).map(|_| value.into()))
    }

    /// Whether a version in a page is one of this transaction's own, by a command before `before`.
    pub(crate) fn sees_own(&self, version: VersionHead, before: CommandId) -> bool {
        self.large.as_ref().is_some_and(|large| large.sees(version.xid, version.cid, before))
    }

    /// Opens a scan at this statement's snapshot.
    pub fn scan(&self, tree: TreeId, range: KeyRange, direction: Direction) -> Scan {
        Scan::new(self, self.snapshot().ok().cloned(), tree, range, direction)
    }

    /// Opens a scan that misses no row, be it of a commit in doubt or one after the transaction's snapshot:
    /// for who decides something about all rows of a table that nobody else can write now. What it finds
    /// leaves the server only when all of that is visible.
    ///
    /// # Errors
    /// Fails if the wait for readable data is cancelled or the server stops.
    pub async fn scan_complete(
        &self,
        tree: TreeId,
        range: KeyRange,
        direction: Direction,
    ) -> Result<Scan, Error> {
        self.engine.wait_readable(&self.interrupt).await?;
        let snapshot = self.snapshot_after(Lsn::MAX);
        self.note_evaluated(snapshot.lsn);
        Ok(Scan::new(self, Some(Arc::new(snapshot)), tree, range, direction))
    }

    /// The highest commit that anything returned by this transaction so far depends on: rows, RETURNING and
    /// the answer to COMMIT may leave the server only when `visible` has reached it
    /// ([`crate::Database::wait_visible`]).
    #[inline]
    pub fn evaluated_up_to(&self) -> Lsn {
        Lsn::new(self.evaluated.load(Ordering::Relaxed)).max(self.locks.rests_on())
    }

    /// The position of the snapshot that the running statement reads; INVALID before the first statement.
    #[inline]
    pub fn snapshot_lsn(&self) -> Lsn {
        self.snapshot.as_ref().map_or(Lsn::INVALID, |snapshot| snapshot.lsn)
    }

    /// Makes this transaction depend on a commit as if it had read a row of it: what it answers, and its own
    /// COMMIT, wait until that commit is visible.
    pub fn depend_on(&self, commit: Lsn) {
        self.note_evaluated(commit);
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.interrupt.note_snapshot(None);
        let _ = self.abort_assigned(AssignedXids::take);
        if !self.created.is_empty() {
            // What could not be removed is a file that nothing names; the log has the reason.
            let _ = self.engine.remove_created(&self.created);
        }
    }
}
