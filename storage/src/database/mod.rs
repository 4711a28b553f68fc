//! The facade: a data directory as one object.

mod lives;
mod online_backup;
mod sync_record;
mod vacuum;
mod waits;

use crate::changes::store::Store;
use crate::engine::Engine;
use crate::engine::sweep::sweep_aborted;
use crate::error::log_error;
use crate::pages::page::PAGE_SIZE;
use crate::recovery::open::Started;
use crate::recovery::{checkpoint, create, open, promote};
use crate::{
    CheckpointCounts, HorizonReport, ImageCompression, LogWriting, PromoteOptions, RecoveryReport, StandbyLog,
};
use crate::{
    CheckpointEvent, CheckpointInfo, CheckpointKind, CommitGate, ConflictKind, CreateOptions,
    DatabaseOptions, Error, Interrupt, Isolation, LockInfo, Promotion, RedoEnd, StandbyRedo, StartMode,
    Transaction, TreeId, WalRetention, WalSizes,
};
use host::{Host, Timestamp};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wal::control::ControlFile;
use wal::reader::CutTail;
use wal::{LogBranch, Lsn, Positions, SystemId, TimelineId, WalWriter, Xid};

/// An open database; cloning shares it. The last clone to go leaves the directory as after a crash, unless
/// [`Database::shutdown`] came first.
///
/// ```no_run
/// # async fn example() -> Result<(), storage::Error> {
/// use storage::*;
/// let host = host::Host::real();
/// let dir = std::path::Path::new("data");
/// Database::create(&host, dir, &CreateOptions::default())?;
/// let options = DatabaseOptions::new(dir);
/// let Opened::Primary { db, .. } = Database::open(&host, options, StartMode::Primary)? else {
///     return Ok(());
/// };
/// let mut write = db.begin(Isolation::ReadCommitted);
/// let tree = write.create_tree(5).await?;
/// write.begin_statement().await?;
/// write.lock(tree, b"key", LockMode::Exclusive, LockWait::Forever).await?;
/// write.put(tree, &b"key"[..], &b"value"[..])?;
/// write.commit(SyncLevel::Local).await?;
/// let mut read = db.begin(Isolation::RepeatableRead);
/// read.begin_statement().await?;
/// assert_eq!(read.get(tree, b"key").await?.as_deref(), Some(&b"value"[..]));
/// db.shutdown().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Database(pub(crate) Arc<Engine>);

/// What [`Database::open`] gives.
#[derive(Debug)]
pub enum Opened {
    /// Recovered, and ready for writes.
    Primary {
        /// The database.
        db: Database,
        /// What recovery did.
        recovery: RecoveryReport,
    },
    /// In recovery: serves reads once consistent.
    Standby {
        /// The database.
        db: Database,
        /// Its redo, to be run on a thread.
        redo: Box<StandbyRedo>,
    },
}

/// How redo goes. Pages are counted while log is read ahead of redo: in crash recovery, and on a standby with
/// much to redo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryStatistics {
    /// Where it began.
    pub from: Lsn,
    /// The end of the last record redone, exclusive.
    pub at: Lsn,
    /// Records redone.
    pub records: u64,
    /// From its begin to when it last looked at the clock.
    pub elapsed: Duration,
    /// Pages read ahead of redo.
    pub prefetched: u64,
    /// Pages that were in the pool.
    pub hit: u64,
    /// Pages that redo makes anew.
    pub skip_init: u64,
    /// Pages that were not there.
    pub skip_new: u64,
    /// Pages of which the record has an image.
    pub skip_fpw: u64,
    /// Pages met a moment before.
    pub skip_rep: u64,
}

impl Database {
    /// Lays out a new database in `dir`, which must be missing or empty: folders, PG_VERSION files, control
    /// file, first log segment with a shutdown checkpoint. Durable when it returns.
    ///
    /// # Errors
    /// Fails if the directory is not empty or cannot be written.
    pub fn create(host: &Host, dir: &Path, options: &CreateOptions) -> Result<SystemId, Error> {
        create::create(host, dir, options)
    }

    /// Opens the data directory, alone (a lock on plimsoll/lock keeps a second server out). A primary's
    /// recovery runs inside. A checkpoint is due afterwards if recovery was needed.
    ///
    /// # Errors
    /// Fails if the directory is in use, is no database of this format, is damaged, or cannot be recovered.
    pub fn open(host: &Host, options: DatabaseOptions, mode: StartMode) -> Result<Opened, Error> {
        Ok(match open::open(host, options, mode)? {
            Started::Primary(engine, recovery) => Opened::Primary { db: Database(engine), recovery },
            Started::Standby(engine, redo) => Opened::Standby { db: Database(engine), redo },
        })
    }

    /// Begins a transaction of a session without a past.
    pub fn begin(&self, isolation: Isolation) -> Transaction {
        self.begin_after(isolation, Lsn::INVALID, Interrupt::new())
    }

    /// Begins a transaction whose snapshots are at least `after` (the session's own last confirmed commit, or
    /// a client's token that this node has reached) and whose waits `interrupt` ends.
    pub fn begin_after(&self, isolation: Isolation, after: Lsn, interrupt: Interrupt) -> Transaction {
        Transaction::new(Arc::clone(&self.0), isolation, after, interrupt)
    }

    /// The locks on tables and numbers, and those on rows that somebody waits for.
    pub fn locks(&self) -> Vec<LockInfo> {
        self.0.locks.list()
    }

    /// The sessions ([`Interrupt::set_session`]) that keep this one waiting for a lock.
    pub fn blocking_sessions(&self, session: i32) -> Vec<i32> {
        self.0.locks.blocking(session)
    }

    /// The position up to which snapshots see: on a primary just before the oldest commit whose level is not
    /// reached, on a standby the last commit redone.
    #[inline]
    pub fn visible(&self) -> Lsn {
        self.0.visibility.visible()
    }

    /// What redo has applied, as far as that is durable here; INVALID on a server that never was in recovery.
    /// Readers may see a little more ([`Database::wait_redone`] waits for that only).
    pub fn replayed(&self) -> Lsn {
        self.0.recovery.replayed()
    }

    /// How far the log is applied to the pages here: what is inserted on a primary, what is replayed on a
    /// standby. The log's end, which may be ahead or behind, is [`wal::NodeLog::flushed`].
    pub fn applied(&self) -> Lsn {
        self.positions().map_or_else(|| self.replayed(), |positions| positions.inserted())
    }

    /// The log that this standby receives; told once, before redo reads from it.
    pub fn set_standby_log(&self, log: Arc<dyn StandbyLog>) {
        let _ = self.0.recovery.log.set(log);
    }

    /// The time in the last commit record redone.
    pub fn last_redone_commit(&self) -> Option<Timestamp> {
        self.0.recovery.last_commit()
    }

    /// How redo goes, or went at the last start; None if there was none.
    pub fn recovery_statistics(&self) -> Option<RecoveryStatistics> {
        let recovery = &self.0.recovery;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let from = Some(Lsn::new(count(&recovery.from))).filter(|from| from.is_valid())?;
        let prefetch = &recovery.prefetch;
        Some(RecoveryStatistics {
            from,
            at: recovery.redone.get().max(from),
            records: count(&recovery.records),
            elapsed: Duration::from_micros(count(&recovery.elapsed_micros)),
            prefetched: count(&prefetch.prefetched),
            hit: count(&prefetch.hit),
            skip_init: count(&prefetch.skip_init),
            skip_new: count(&prefetch.skip_new),
            skip_fpw: count(&prefetch.skip_fpw),
            skip_rep: count(&prefetch.skip_rep),
        })
    }

    /// How many snapshots replay on this standby had to give up since its start, for this reason.
    pub fn conflicts(&self, kind: ConflictKind) -> u64 {
        match kind {
            ConflictKind::Snapshot => self.0.recovery.snapshot_conflicts.load(Ordering::Relaxed),
            ConflictKind::Lock => self.0.recovery.lock_conflicts.load(Ordering::Relaxed),
        }
    }

    /// Where replication feeds the quorum's progress.
    pub fn commit_gate(&self) -> &CommitGate {
        &self.0.gate
    }

    /// The log, to stream from and to look at; None on a standby until the middle of its promotion.
    pub fn wal(&self) -> Option<&WalWriter> {
        self.0.wal().ok()
    }

    /// The log's positions; None on a standby, where the receiver has them, until its promotion is done.
    pub fn positions(&self) -> Option<Arc<Positions>> {
        self.wal().filter(|_| !self.is_in_recovery()).map(WalWriter::positions)
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        self.0.dir()
    }

    /// The machine that it runs on.
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// The options that it was opened with.
    pub fn options(&self) -> &DatabaseOptions {
        &self.0.options
    }

    /// The control file as it was written last.
    pub fn control(&self) -> ControlFile {
        self.0.control.lock().clone()
    }

    /// The record of the branch that a standby follows.
    pub fn log_branch(&self) -> &Arc<LogBranch> {
        &self.0.branch
    }

    /// The tree side, for tools and statistics.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The timeline that log is written on, or redone from.
    pub fn timeline(&self) -> TimelineId {
        self.0.timeline()
    }

    /// The cluster's number.
    pub fn system_id(&self) -> SystemId {
        self.0.control.lock().system_id
    }

    /// Whether it is a standby (or was not yet promoted).
    #[inline]
    pub fn is_in_recovery(&self) -> bool {
        self.0.is_in_recovery()
    }

    /// Whether the log is written in the file of the ended timeline's last segment still, which is to get one
    /// of its own: [`crate::WalRetention::separated`].
    pub fn shares_ended(&self) -> bool {
        self.0.shared_end.lock().is_some()
    }

    /// Whether reads may begin: always on a primary; on a standby past the backup's end and minRecoveryPoint.
    #[inline]
    pub fn is_consistent(&self) -> bool {
        self.0.recovery.is_consistent()
    }

    /// Waits for [`Database::is_consistent`]. Gives the end of the record by which recovery came to be so.
    pub async fn wait_consistent(&self) -> Lsn {
        self.0.recovery.wait_consistent().await;
        self.0.recovery.consistent_at()
    }

    /// The next transaction id to be given out.
    pub fn next_xid(&self) -> Xid {
        match self.0.pipeline() {
            Ok(pipeline) => pipeline.next_xid(),
            Err(_) => Xid::new(self.0.recovery.next_xid.load(Ordering::Acquire)),
        }
    }

    /// Every snapshot, here and on standbys that gave feedback, sees all xids below this one.
    pub fn horizon(&self) -> Xid {
        self.0.visibility.horizon()
    }

    /// What keeps old versions from being removed.
    pub fn horizon_report(&self) -> HorizonReport {
        self.0.visibility.horizon_report()
    }

    /// What a standby reports as feedback: the least xid that its oldest snapshot does not see, or its next,
    /// which may be one of what is `confirmed`.
    pub fn feedback_xmin(&self, confirmed: bool) -> Xid {
        self.0.visibility.oldest_needed(confirmed)
    }

    /// Standbys' oldest snapshot (hot_standby_feedback); None when no standby asks.
    pub fn set_feedback_horizon(&self, xid: Option<Xid>) {
        self.0.visibility.set_feedback(xid);
    }

    /// Says from now on which log must be kept besides what recovery needs.
    pub fn set_retention(&self, retention: Arc<dyn WalRetention>) {
        *self.0.retention.write() = retention;
    }

    /// Changes how much log there is between checkpoints, and is kept for later.
    pub fn set_wal_sizes(&self, sizes: WalSizes) {
        *self.0.wal_sizes.lock() = sizes;
    }

    /// Whether the log has grown enough since the last redo point for a checkpoint (a restartpoint, which a
    /// newer checkpoint record has to have been redone for).
    pub fn checkpoint_is_due(&self) -> bool {
        let redo = self.0.control.lock().checkpoint_copy.redo;
        let end = match self.positions() {
            Some(positions) => positions.inserted(),
            None => {
                let newer = self.0.seen_checkpoint.lock().is_some_and(|seen| seen.contents.redo > redo);
                if newer { self.replayed() } else { redo }
            }
        };
        end.bytes_since(redo) >= self.0.wal_sizes.lock().round_bytes()
    }

    /// Switches full_page_writes, and tells the log.
    ///
    /// # Errors
    /// Fails if the log takes no record. Page images are made then, and the next checkpoint tells the log.
    pub fn set_full_page_writes(&self, on: bool) -> Result<(), Error> {
        self.0.set_full_page_writes(on)
    }

    /// How the log becomes durable from now on.
    pub fn set_log_writing(&self, writing: LogWriting) {
        *self.0.log_writing.lock() = writing;
        self.0.apply_log_writing();
    }

    /// How page images are compressed from now on.
    pub fn set_image_compression(&self, compression: ImageCompression) {
        self.0.store.set_image_compression(compression.method());
    }

    /// How long a lock wait that begins after this lasts before it looks for a cycle.
    pub fn set_deadlock_timeout(&self, timeout: Duration) {
        self.0.locks.set_deadlock_timeout(timeout);
    }

    /// Bytes of changes from which on a transaction that begins after this puts them into pages.
    pub fn set_write_set_limit(&self, bytes: usize) {
        self.0.write_set_limit_bytes.store(bytes, Ordering::Relaxed);
    }

    /// A new relation file number, unused and durable as used before the log that uses it.
    ///
    /// # Errors
    /// Fails in recovery, or if the log takes no record.
    pub fn allocate_number(&self) -> Result<u32, Error> {
        self.0.allocate_number()
    }

    /// The next relation file number that would be given out.
    pub fn next_number(&self) -> u32 {
        self.0.numbers.lock().next
    }

    /// Removes the files of trees that came before this node took writes and are none of `named`: what a
    /// crash left of transactions that did not commit, or of tables that were dropped while somebody still
    /// read them. `named` are all trees that any commit so far names. The log tells standbys. Returns which
    /// those are; their files go as soon as no snapshot of before can need them.
    ///
    /// # Errors
    /// Fails in recovery, or if the log takes no record.
    pub async fn drop_unnamed(&self, named: BTreeSet<TreeId>) -> Result<Vec<TreeId>, Error> {
        if self.is_in_recovery() {
            return Err(Error::ReadOnly);
        }
        let engine = Arc::clone(&self.0);
        let dropped = crate::blocking::run(move || engine.drop_unnamed(&named));
        dropped.await.map_err(|_| Error::Shutdown)?
    }

    /// The bytes of a tree's file.
    ///
    /// # Errors
    /// Fails if there is no such tree.
    pub fn tree_size_bytes(&self, tree: TreeId) -> Result<u64, Error> {
        Ok(u64::from(self.0.store.tree(tree)?.page_count()) * PAGE_SIZE as u64)
    }

    /// Writes a checkpoint (on a standby a restartpoint, after which the receiver may remove log from before
    /// its redo point). One runs at a time; a paced one hurries when another is asked for.
    ///
    /// # Errors
    /// Fails if pages, the log or the control file cannot be written.
    pub async fn checkpoint(&self, kind: CheckpointKind) -> Result<CheckpointInfo, Error> {
        let paced = matches!(kind, CheckpointKind::Paced(_));
        if !paced {
            self.0.pacing.hurry(true);
        }
        let only = Arc::clone(&self.0.checkpointing).lock_owned().await;
        self.0.pacing.hurry(false);
        let tell = |event| {
            if let Some(tell) = &self.0.options.checkpoints {
                tell(event);
            }
        };
        let restartpoint = self.is_in_recovery();
        tell(CheckpointEvent::Starting { kind, restartpoint });
        let engine = Arc::clone(&self.0);
        // The thread holds the lock: it goes on when whoever waits here is cancelled, and the next checkpoint
        // waits for it.
        let (done, _only) = crate::blocking::run(move || (checkpoint::run(&engine, kind), only))
            .await
            .map_err(|_| Error::Shutdown)?;
        if let Ok(info) = &done {
            tell(CheckpointEvent::Complete { info, restartpoint });
        }
        done
    }

    /// How many checkpoints (restartpoints on a standby) were made since the start.
    pub fn checkpoint_counts(&self) -> CheckpointCounts {
        *self.0.checkpoints.lock()
    }

    /// Fails once no page can be written any more: a sync of a file failed, and nobody knows what is in it.
    /// Redo after a start writes it anew.
    ///
    /// # Errors
    /// Fails as above, with what went wrong.
    pub fn check_pages(&self) -> Result<(), Error> {
        self.0.store.pool().check_poison()
    }

    /// What went wrong since the last call and harms nobody.
    pub fn take_troubles(&self) -> Vec<String> {
        self.0.troubles.take()
    }

    /// One tick of housekeeping, every `wal_writer_delay` or so: flushes what level-off commits left behind,
    /// and removes the files of dropped trees that nobody can need any more. Does I/O.
    ///
    /// # Errors
    /// Fails if the log cannot be flushed.
    pub fn wal_writer_tick(&self) -> Result<Lsn, Error> {
        let flushed = match self.0.wal() {
            Ok(_) if host::planted!("the flusher misses a lazy flush") => self.replayed(),
            Ok(wal) => wal.flush_background().map_err(log_error)?,
            Err(_) => self.replayed(),
        };
        self.0.remove_dropped()?;
        Ok(flushed)
    }

    /// Removes the versions of aborted transactions from all trees, so that their xids need not be kept. Does
    /// nothing while there are none.
    ///
    /// # Errors
    /// Fails if a page cannot be read or changed, or the server stops.
    pub async fn sweep(&self) -> Result<(), Error> {
        if self.is_in_recovery() || self.0.pipeline()?.aborted().is_empty() {
            return Ok(());
        }
        let engine = Arc::clone(&self.0);
        let swept = crate::blocking::run(move || sweep_aborted(&engine, &Interrupt::new()));
        swept.await.map_err(|_| Error::Shutdown)?.map(drop)
    }

    /// What lies behind the log's end, where redo has ended for a promotion, and goes with that; None if a
    /// target ended redo, and nothing was received behind it.
    pub fn tail_behind_redo(&self) -> Option<CutTail> {
        self.0.parked.lock().as_ref().and_then(|parked| parked.tail)
    }

    /// Takes a standby whose redo has ended for a promotion to a timeline of its own: history file,
    /// end-of-recovery record. It takes writes once [`Promotion::end_recovery`] is called.
    ///
    /// # Errors
    /// Fails if redo did not end for a promotion, the data is not consistent, or a file cannot be written.
    pub async fn promote(&self, end: RedoEnd, options: PromoteOptions) -> Result<Promotion, Error> {
        let RedoEnd::Promote { at, timeline } = end else {
            return Err(Error::WrongState("redo did not end for a promotion"));
        };
        self.0.pacing.give_up(true);
        let only = Arc::clone(&self.0.checkpointing).lock_owned().await;
        self.0.pacing.give_up(false);
        let engine = Arc::clone(&self.0);
        let promoted = crate::blocking::run(move || promote::promote(engine, only, at, timeline, &options));
        promoted.await.map_err(|_| Error::Shutdown)?
    }

    /// Refuses new commits for as long as this process lives, with this reason (a descendant branch was
    /// seen). A later reason replaces an earlier one.
    pub fn fence(&self, reason: &str) {
        match self.0.pipeline() {
            Ok(pipeline) => pipeline.fence(reason),
            Err(_) => self.0.levels.fence(reason),
        }
    }

    /// Why it refuses them.
    pub fn fenced(&self) -> Option<Arc<str>> {
        self.0.levels.fence_reason()
    }

    /// Refuses a write that is about to begin.
    ///
    /// # Errors
    /// Fails with [`Error::Fenced`] once the server is fenced.
    #[inline]
    pub fn check_fence(&self) -> Result<(), Error> {
        self.0.levels.check_fence()
    }

    /// Stops as by a crash: no page is written or synced from now on, and a checkpoint that is on its way
    /// ends with [`Error::Shutdown`] where it is. The next start redoes the log.
    pub fn give_up(&self) {
        self.0.store.pool().poison(Error::Shutdown);
    }

    /// Stops: new statements and commits fail with [`Error::Shutdown`], then comes the shutdown checkpoint (a
    /// restartpoint on a standby, whose redo must have ended). The log can still be read and streamed until
    /// the last clone goes.
    ///
    /// # Errors
    /// Fails if the last checkpoint fails.
    pub async fn shutdown(&self) -> Result<CheckpointInfo, Error> {
        self.0.closed.store(true, Ordering::Release);
        // What is put on record stays to be seen: redo does not hear of what goes before the checkpoint.
        let _held = self.0.visibility.hold_horizon();
        if let Ok(pipeline) = self.0.pipeline() {
            pipeline.close();
            // Proves for the next start that nothing was left in doubt, or how far it was not.
            let confirmed = pipeline.decided_up_to().unwrap_or(Lsn::MAX);
            pipeline.put_confirmed(confirmed)?;
        }
        let done = self.checkpoint(CheckpointKind::Shutdown).await;
        self.0.levels.close();
        self.0.recovery.redone.stop();
        done
    }

    /// As [`Self::shutdown`], but log that nobody needs any more stays until a checkpoint of the next life:
    /// its removal takes milliseconds a segment, and somebody waits for the end of this one.
    ///
    /// # Errors
    /// As it.
    pub async fn shutdown_leaving_log(&self) -> Result<CheckpointInfo, Error> {
        self.0.leaves_log.store(true, Ordering::Release);
        self.shutdown().await
    }
}
