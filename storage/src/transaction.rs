//! One transaction as its session drives it: snapshots, reads that merge its own writes, locks, commit.

use crate::commit::{Request, TreeChanges};
use crate::early::{Early, Level};
use crate::engine::Engine;
use crate::locks::{LockRef, LockSet, Taken};
use crate::page::leaf::MAX_KEY;
use crate::snapshot::{Insertion, LiveSnapshot, Snapshot};
use crate::tree::VersionHead;
use crate::write_set::{CommandId, WriteSet};
use crate::{
    Committed, Direction, Error, Interrupt, Isolation, KeyRange, LockMode, LockWait, Locked, Scan, SyncLevel,
    TableLockMode, TreeId,
};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wal::{BlockNumber, Lsn, Xid};

/// A transaction. Dropping it rolls it back; a rollback touches nothing but memory, except that trees which it
/// created are removed.
///
/// Writes stay in a private write set until [`Transaction::commit`]; a large transaction puts them into pages as it goes, where
/// nobody else sees them (`early`). Reads see the statement's snapshot plus the transaction's own writes of earlier
/// statements; [`Transaction::lock`] sees the newest version.
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
    pub(crate) command: CommandId,
    /// Reads are as a statement of before has them, while a cursor goes on.
    as_of: Option<View>,
    pub(crate) writes: WriteSet,
    /// After `large`: what goes into pages is aborted before the rows' locks pass on.
    pub(crate) large: Option<Box<Early>>,
    pub(crate) locks: LockSet,
    /// The leaf where the row locked last is, or would be.
    near: (TreeId, BlockNumber),
    /// The savepoints that stand.
    pub(crate) levels: Vec<Level>,
    pub(crate) created: Vec<TreeId>,
    pub(crate) dropped: Vec<TreeId>,
    /// See [`Transaction::hold_locks_until_visible`].
    holds_locks: bool,
    evaluated: AtomicU64,
    /// The xid that was asked for before the commit.
    told: Option<Xid>,
}

/// What a statement reads: its snapshot, and own writes of the commands before it. Holds versions like the statement itself.
#[derive(Clone, Debug)]
pub struct View {
    snapshot: Arc<LiveSnapshot>,
    command: CommandId,
}

/// A point in a transaction to which it can go back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Savepoint {
    level: Level,
    /// Savepoints around it.
    depth: usize,
    created: usize,
    dropped: usize,
}

/// What the newest version of a locked row is.
enum Newest {
    /// None, or one that has an outcome.
    Settled(Locked),
    /// This transaction's own, in a page.
    Own(Locked),
    /// One of another large transaction, which is under way.
    Open(Xid),
}

/// What a large transaction leaves to its commit at most.
const SPILLED_BEFORE_COMMIT_BYTES: usize = 256 << 10;

impl Transaction {
    pub(crate) fn new(engine: Arc<Engine>, isolation: Isolation, after: Lsn, interrupt: Interrupt) -> Self {
        Self {
            locks: engine.locks.new_set(interrupt.session()),
            isolation,
            interrupt,
            floor: after,
            reads_confirmed: false,
            snapshot: None,
            command: CommandId(0),
            as_of: None,
            writes: WriteSet::new(engine.options.write_set_limit_bytes),
            large: None,
            near: (TreeId::new(0, 0), BlockNumber::INVALID),
            levels: Vec::new(),
            holds_locks: false,
            created: Vec::new(),
            dropped: Vec::new(),
            evaluated: AtomicU64::new(0),
            told: None,
            engine,
        }
    }

    /// Begins a statement: the next command id, and under READ COMMITTED a new snapshot.
    ///
    /// Waits while commits of before this server's start are undecided, and on a standby until it is consistent.
    /// Fails with [`Error::RecoveryConflict`] on a standby whose replay had to give up this snapshot.
    pub async fn begin_statement(&mut self) -> Result<(), Error> {
        self.as_of = None;
        self.command = CommandId(self.command.0.saturating_add(1));
        if self.snapshot.is_some() && self.isolation == Isolation::RepeatableRead {
            return self.check_snapshot();
        }
        self.engine.wait_readable(&self.interrupt).await?;
        if self.reads_confirmed && self.engine.is_in_recovery() {
            self.take_confirmed_snapshot().await?;
        } else {
            self.take_snapshot();
        }
        Ok(())
    }

    /// Whether later statements on a standby see only commits that the server before it has named confirmed, and of these
    /// all that end at or before `floor` (a client's token); they may wait for that. On a primary it changes nothing.
    pub fn read_confirmed(&mut self, confirmed: bool, floor: Lsn) {
        self.reads_confirmed = confirmed;
        self.floor = self.floor.max(floor);
    }

    /// Begins a statement that looks up who may log in, without waiting for commits of before this start to be decided:
    /// the standbys that decide them have to log in first. What it reads must not reach a client.
    pub async fn begin_login_statement(&mut self) -> Result<(), Error> {
        self.command = CommandId(self.command.0.saturating_add(1));
        self.engine.wait_open_and_consistent(&self.interrupt).await?;
        self.take_snapshot();
        Ok(())
    }

    /// Begins a statement that must not miss any commit, be it in doubt: one that looks at all rows of a table which
    /// nobody else can write now. What it finds leaves the server only when all of that is visible.
    ///
    /// Under REPEATABLE READ the snapshot of before stays, and the statement is refused if there is one.
    pub async fn begin_complete_statement(&mut self) -> Result<(), Error> {
        if self.isolation == Isolation::RepeatableRead && self.snapshot.is_some() {
            return Err(Error::WrongState("this statement needs a newer snapshot than its transaction has"));
        }
        self.command = CommandId(self.command.0.saturating_add(1));
        self.engine.wait_readable(&self.interrupt).await?;
        self.take_snapshot_after(Lsn::MAX);
        Ok(())
    }

    /// Lets others have the locks only when the commit is visible, not when it is in the log: what they look up under
    /// such a lock must be what the commit made of it (definitions of tables).
    pub fn hold_locks_until_visible(&mut self) {
        self.holds_locks = true;
    }

    fn take_snapshot(&mut self) {
        self.take_snapshot_after(self.floor.max(self.evaluated_up_to()));
    }

    fn take_snapshot_after(&mut self, after: Lsn) {
        // The old one goes first, so that it does not hold the horizon back while the new one is taken.
        self.snapshot = None;
        let snapshot = self.snapshot_after(after);
        self.keep_snapshot(snapshot);
    }

    /// A snapshot of what is visible, and of all commits up to `after`.
    fn snapshot_after(&self, after: Lsn) -> LiveSnapshot {
        let levels = &self.engine.levels;
        self.engine.visibility.take(after, |level, end| levels.reached(level, end))
    }

    async fn take_confirmed_snapshot(&mut self) -> Result<(), Error> {
        self.snapshot = None;
        match self.engine.wait_confirmed(self.floor, &self.interrupt).await? {
            Some(snapshot) => self.keep_snapshot(snapshot),
            None => self.take_snapshot(),
        }
        Ok(())
    }

    fn keep_snapshot(&mut self, snapshot: LiveSnapshot) {
        self.note_evaluated(snapshot.lsn);
        self.interrupt.note_snapshot(Some((snapshot.next_xid, snapshot.lsn)));
        // Only replay asks whose it is.
        let snapshot =
            if self.engine.is_in_recovery() { snapshot.held_by(&self.interrupt) } else { snapshot };
        self.snapshot = Some(Arc::new(snapshot));
    }

    /// Gives the snapshot back between two statements: under READ COMMITTED the next one takes its own, and nothing
    /// needs to be kept for a session that idles. Scans that are still open keep theirs.
    pub fn release_snapshot(&mut self) {
        if self.isolation == Isolation::ReadCommitted {
            self.snapshot = None;
            self.interrupt.note_snapshot(None);
        }
    }

    fn check_snapshot(&self) -> Result<(), Error> {
        match &self.snapshot {
            Some(snapshot)
                if self.engine.is_in_recovery() && self.engine.visibility.is_cancelled(snapshot) =>
            {
                Err(Error::RecoveryConflict)
            }
            _ => Ok(()),
        }
    }

    /// What the statement that has begun reads; None before the first one.
    pub fn view(&self) -> Option<View> {
        self.snapshot.clone().map(|snapshot| View { snapshot, command: self.command })
    }

    /// Has reads give what an earlier statement of this transaction would read, until None is said or another statement begins.
    pub fn read_as_of(&mut self, view: Option<View>) {
        self.as_of = view;
    }

    pub(crate) fn snapshot(&self) -> Result<&Arc<LiveSnapshot>, Error> {
        if let Some(view) = &self.as_of {
            return Ok(&view.snapshot);
        }
        self.snapshot.as_ref().ok_or(Error::WrongState("no statement has begun in this transaction"))
    }

    /// Reads see own writes of the commands before this one.
    pub(crate) fn command(&self) -> CommandId {
        self.as_of.as_ref().map_or(self.command, |view| view.command)
    }

    fn note_evaluated(&self, lsn: Lsn) {
        self.evaluated.fetch_max(lsn.get(), Ordering::Relaxed);
    }

    /// The isolation level.
    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Sets the level; only before the first statement.
    pub fn set_isolation(&mut self, isolation: Isolation) -> Result<(), Error> {
        if self.snapshot.is_some() && isolation != self.isolation {
            return Err(Error::WrongState("SET TRANSACTION ISOLATION LEVEL must be called before any query"));
        }
        self.isolation = isolation;
        Ok(())
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
            || self.told.is_some()
            || self.large.is_some()
    }

    /// The xid by which the log will tell of this transaction's end: given out now if it has none yet, and logged at its end even if it
    /// writes nothing. (Its versions carry the xid that the commit takes, because visibility follows commit order.)
    pub fn assign_xid(&mut self) -> Result<Xid, Error> {
        if let Some(xid) = self.told {
            return Ok(xid);
        }
        if self.engine.is_in_recovery() {
            return Err(Error::ReadOnly);
        }
        let xid = self.engine.pipeline()?.told_xid()?;
        self.told = Some(xid);
        Ok(xid)
    }

    /// What [`Transaction::assign_xid`] has given.
    pub fn assigned_xid(&self) -> Option<Xid> {
        self.told
    }

    /// The value of `key` as this statement sees it.
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

    /// Opens a scan that misses no row, be it of a commit in doubt or one after the transaction's snapshot: for who decides something
    /// about all rows of a table that nobody else can write now. What it finds leaves the server only when all of that is visible.
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

    /// Locks a row (which need not exist) until the end of the transaction or a rollback to a savepoint before,
    /// then reads its newest version.
    ///
    /// Under REPEATABLE READ a row changed after the snapshot is [`Error::SerializationFailure`].
    pub async fn lock(
        &mut self,
        tree: TreeId,
        key: &[u8],
        mode: LockMode,
        wait: LockWait,
    ) -> Result<Locked, Error> {
        let locked = self.lock_newest(tree, key, mode, wait).await?;
        if locked.changed_since_snapshot && self.isolation == Isolation::RepeatableRead {
            return Err(Error::SerializationFailure { deleted: locked.newest.is_none() });
        }
        Ok(locked)
    }

    /// The same for a key that is to be inserted: what has become of it since the snapshot is no failure at any level, and
    /// [`Locked::changed_since_snapshot`] tells of it.
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
                    written_by_this_statement: own.command == self.command,
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

    async fn read_newest(&mut self, tree: TreeId, key: &[u8]) -> Result<Newest, Error> {
        let mut near = if self.near.0 == tree { self.near.1 } else { BlockNumber::INVALID };
        let newest = self.read_newest_near(&mut near, tree, key).await;
        self.near = (tree, near);
        newest
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
                written_by_this_statement: head.cid == self.command.0,
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

    /// Locks a number that sessions agree on (advisory locks) until the transaction ends. False: under
    /// [`LockWait::Skip`] somebody else holds it.
    pub async fn lock_number(
        &mut self,
        database: u32,
        number: u64,
        mode: LockMode,
        wait: LockWait,
    ) -> Result<bool, Error> {
        let name = LockRef::Number(database, number);
        Ok(self.locks.take(name, mode.into(), wait, &self.interrupt).await? == Taken::Yes)
    }

    /// Writes `value` under `key`. The caller holds the row's exclusive (or no-key-exclusive) lock.
    pub fn put(&mut self, tree: TreeId, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<(), Error> {
        self.write(tree, key.into(), Some(value.into()))
    }

    /// Writes `value` under a key that has no lock of its own: whoever writes it holds the lock of a row elsewhere
    /// that the key belongs to (an entry of an index), or nobody else can know it yet.
    pub fn put_guarded(
        &mut self,
        tree: TreeId,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<(), Error> {
        self.write_guarded(tree, key.into(), Some(value.into()))
    }

    /// Deletes a key that is guarded as [`Transaction::put_guarded`] says.
    pub fn delete_guarded(&mut self, tree: TreeId, key: impl Into<Bytes>) -> Result<(), Error> {
        self.write_guarded(tree, key.into(), None)
    }

    fn write_guarded(&mut self, tree: TreeId, key: Bytes, value: Option<Bytes>) -> Result<(), Error> {
        if self.engine.is_in_recovery() {
            return Err(Error::ReadOnly);
        }
        if key.len() > MAX_KEY {
            return Err(Error::KeyTooLarge { size_bytes: key.len(), limit_bytes: MAX_KEY });
        }
        self.writes.push(tree, key, value, self.command)?;
        if self.near.0 == tree {
            self.writes.note_near(self.near.1);
        }
        Ok(())
    }

    /// Deletes `key`. The caller holds the row's exclusive lock.
    pub fn delete(&mut self, tree: TreeId, key: impl Into<Bytes>) -> Result<(), Error> {
        self.write(tree, key.into(), None)
    }

    fn write(&mut self, tree: TreeId, key: Bytes, value: Option<Bytes>) -> Result<(), Error> {
        debug_assert!(
            self.engine.is_in_recovery()
                || self.created.contains(&tree)
                || self.is_early()
                || self.locks.holds(LockRef::Row(tree, &key), LockMode::NoKeyExclusive.into())
                || self.locks.holds(LockRef::Table(tree), TableLockMode::Exclusive.into()),
            "a write needs the row's lock"
        );
        self.write_guarded(tree, key, value)
    }

    /// Sees to it that the write set has room, which locking a row does by itself: for those who write many keys that have
    /// no lock.
    pub async fn make_room(&mut self) -> Result<(), Error> {
        if self.writes.is_full() { self.spill().await } else { Ok(()) }
    }

    /// Creates an empty tree. Its file exists at once, and goes away if the transaction does not commit.
    pub async fn create_tree(&mut self, database: u32) -> Result<TreeId, Error> {
        let pipeline = self.engine.pipeline()?;
        let tree = TreeId::new(database, self.engine.allocate_number()?);
        let store = &self.engine.store;
        self.created.push(tree);
        store.run(|| pipeline.at_rest(|writer, _| writer.create_tree(tree))).await?;
        Ok(tree)
    }

    /// Drops a tree when the transaction commits. The caller holds the table's access-exclusive lock.
    pub fn drop_tree(&mut self, tree: TreeId) -> Result<(), Error> {
        if self.engine.is_in_recovery() {
            return Err(Error::ReadOnly);
        }
        self.dropped.push(tree);
        Ok(())
    }

    /// The next number for the hidden key of a tree without a primary key: above every key that the tree has or
    /// had since the start. Such trees' keys are 8 bytes, big-endian.
    pub async fn next_row_number(&self, tree: TreeId) -> Result<u64, Error> {
        self.engine.next_row_number(tree).await
    }

    /// Writes a row under the next row number and gives the number. No lock is needed: until the commit nobody else
    /// can know that key.
    pub async fn append(&mut self, tree: TreeId, value: impl Into<Bytes>) -> Result<u64, Error> {
        if self.engine.is_in_recovery() {
            return Err(Error::ReadOnly);
        }
        if self.writes.is_full() {
            self.spill().await?;
        }
        let number = self.next_row_number(tree).await?;
        self.writes.push(
            tree,
            Bytes::copy_from_slice(&number.to_be_bytes()),
            Some(value.into()),
            self.command,
        )?;
        Ok(number)
    }

    /// Marks a point to which [`Transaction::rollback_to`] returns.
    pub fn savepoint(&mut self) -> Savepoint {
        let level = Level { writes: self.writes.mark(), locks: self.locks.mark() };
        let depth = self.levels.len();
        self.levels.push(level);
        Savepoint { level, depth, created: self.created.len(), dropped: self.dropped.len() }
    }

    /// Undoes all writes, created trees and locks since the savepoint, which stays.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) -> Result<(), Error> {
        self.levels.truncate(savepoint.depth + 1);
        self.writes.rollback_to(savepoint.level.writes);
        if let Some(large) = &mut self.large {
            large.abort_deeper(savepoint.depth);
        }
        self.dropped.truncate(savepoint.dropped);
        let created = self.created.split_off(savepoint.created.min(self.created.len()));
        self.engine.remove_created(&created)?;
        self.locks.release_after(savepoint.level.locks);
        Ok(())
    }

    /// Forgets a savepoint and those after it: what was done since stands or falls with the rest. Only for economy; a
    /// savepoint that is never released does no harm.
    pub fn release(&mut self, savepoint: &Savepoint) {
        self.levels.truncate(savepoint.depth);
        if let Some(large) = &mut self.large {
            large.release_deeper(savepoint.depth);
        }
    }

    /// The highest commit that anything returned by this transaction so far depends on: rows, RETURNING and the
    /// answer to COMMIT may leave the server only when `visible` has reached it ([`crate::Database::wait_visible`]).
    pub fn evaluated_up_to(&self) -> Lsn {
        Lsn::new(self.evaluated.load(Ordering::Relaxed))
    }

    /// The position of the snapshot that the running statement reads; INVALID before the first statement.
    pub fn snapshot_lsn(&self) -> Lsn {
        self.snapshot.as_ref().map_or(Lsn::INVALID, |snapshot| snapshot.lsn)
    }

    /// Makes this transaction depend on a commit as if it had read a row of it: what it answers, and its own COMMIT, wait
    /// until that commit is visible.
    pub fn depend_on(&self, commit: Lsn) {
        self.note_evaluated(commit);
    }

    /// Commits and does not wait for the level: whoever tells of what was written waits for it to become visible.
    pub async fn commit_in_doubt(mut self, level: SyncLevel) -> Result<Committed, Error> {
        let evaluated = self.evaluated_up_to();
        let inserted = self.insert_commit(level).await?;
        let (lsn, xid) = inserted.map_or((evaluated, None), |commit| (commit.end, Some(commit.xid)));
        Ok(Committed { lsn, timeline: self.engine.timeline(), xid, confirmed: false })
    }

    /// Puts the commit into the log; None if there is nothing to commit.
    async fn insert_commit(&mut self, level: SyncLevel) -> Result<Option<Insertion>, Error> {
        self.snapshot = None;
        if !self.has_writes() {
            return Ok(None);
        }
        let writes = std::mem::replace(&mut self.writes, WriteSet::new(0));
        let mut locks = self.engine.locks.new_set(0);
        if !self.holds_locks {
            std::mem::swap(&mut locks, &mut self.locks);
        }
        let (created, dropped) = (std::mem::take(&mut self.created), std::mem::take(&mut self.dropped));
        let trees = (!created.is_empty() || !dropped.is_empty()).then(|| {
            let engine = Arc::clone(&self.engine);
            Box::new(TreeChanges { engine, created, dropped, committed: None })
        });
        let mut request = Request::new(writes, locks, trees, level);
        request.told = self.told.take();
        request.large = self.large.take();
        self.engine.pipeline()?.insert(request).await.map(Some)
    }

    /// Commits and waits until the commit has reached `level`, and all commits that it evaluated are visible.
    ///
    /// A cancelled wait ([`Interrupt`]) is no error: the commit stands in this node's log, and
    /// [`Committed::confirmed`] is false. An error means that nothing was committed, except [`Error::Log`],
    /// [`Error::Io`] and [`Error::Shutdown`], after which only a restart tells.
    pub async fn commit(mut self, level: SyncLevel) -> Result<Committed, Error> {
        let evaluated = self.evaluated_up_to();
        let timeline = self.engine.timeline();
        if self.is_early() && self.writes.bytes() > SPILLED_BEFORE_COMMIT_BYTES {
            self.spill().await?;
        }
        self.snapshot = None;
        self.interrupt.note_snapshot(None);
        let (lsn, xid, mut confirmed) = match self.insert_commit(level).await? {
            Some(inserted) => {
                let confirmed = self.engine.pipeline()?.wait(inserted, &self.interrupt).await?;
                (inserted.end, Some(inserted.xid), confirmed)
            }
            None => (evaluated, None, true),
        };
        if evaluated > self.engine.visibility.visible() {
            match self.engine.wait_visible(evaluated, &self.interrupt).await {
                Err(Error::Cancelled) => confirmed = false,
                other => other?,
            }
        }
        if self.holds_locks && lsn > self.engine.visibility.visible() {
            let locks = std::mem::replace(&mut self.locks, self.engine.locks.new_set(0));
            let engine = Arc::clone(&self.engine);
            tokio::spawn(async move {
                // At the end of the server nobody waits for them any more.
                let _ = engine.wait_visible(lsn, &Interrupt::new()).await;
                drop(locks);
            });
        }
        Ok(Committed { lsn, timeline, xid, confirmed })
    }

    /// Rolls back: forgets the write set, releases locks, removes trees it created.
    pub fn rollback(self) {}
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.interrupt.note_snapshot(None);
        if let (Some(xid), Ok(pipeline)) = (self.told, self.engine.pipeline()) {
            // The record is for those who look for that xid; without it the transaction came to nothing all the same.
            let _ = pipeline.abort_told(xid);
        }
        if !self.created.is_empty() {
            // What could not be removed is a file that nothing names; the log has the reason.
            let _ = self.engine.remove_created(&self.created);
        }
    }
}
