//! What all parts of an open database share.

use crate::ahead::PrefetchCounts;
use crate::commit::Pipeline;
use crate::levels::{CommitGate, Levels};
use crate::locks::LockManager;
use crate::log::log_error;
use crate::replay::{Parked, Replay, SeenCheckpoint};
use crate::shown::Shown;
use crate::snapshot::{Insertion, LiveSnapshot, Snapshot, Visibility};
use crate::store::Store;
use crate::tree::Batch;
use crate::wal_sizes::{RoundEstimate, WalSizes};
use crate::{
    CheckpointCounts, DatabaseOptions, Direction, Error, Interrupt, KeyRange, StandbyLog, TreeId, WaitEvent,
};
use host::Mutex;
use host::{Host, LockGuard, Timestamp};
use parking_lot::RwLock;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;
use wal::control::ControlFile;
use wal::xlog::XlogRecord;
use wal::{Lsn, RelFile, SegmentFate, SegmentFile, TimelineId, WalWriter, Watermark, Xid};

/// Tells a checkpoint which log must stay: replication slots, an archive, wal_keep_size.
pub trait WalRetention: Send + Sync {
    /// Log from here on is needed, given that recovery itself needs it from `redo` on.
    fn needed_from(&self, redo: Lsn) -> Lsn;
    /// What may become of this segment, which is not needed any more (is it archived? is it read in place?).
    fn fate(&self, segment: SegmentFile) -> SegmentFate {
        let _ = segment;
        SegmentFate::Reusable
    }
    /// Segments were removed.
    fn removed(&self) {}
    /// A file of this name, no segment, is durable in pg_wal (a history of a timeline or of a backup).
    fn made(&self, name: &str) {
        let _ = name;
    }
    /// A restartpoint is done: nothing here needs log from before its redo point any more. Blocks.
    fn restartpoint_done(&self) {}
}

/// Keeps what recovery needs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeepForRecovery;

impl WalRetention for KeepForRecovery {
    fn needed_from(&self, redo: Lsn) -> Lsn {
        redo
    }
}

/// Relation file numbers, given out and logged in advance.
#[derive(Debug)]
pub(crate) struct Numbers {
    pub(crate) next: u32,
    /// Numbers below this one are logged as used.
    pub(crate) logged: u32,
}

/// How many numbers one NEXTOID record covers, as in PostgreSQL.
const NUMBERS_LOGGED: u32 = 8192;
/// Files that one record drops at most, of those that nothing names.
const DROPPED_AT_ONCE: usize = 512;
/// The first number for users' relations (FirstNormalObjectId).
pub(crate) const FIRST_NUMBER: u32 = 16384;

/// Files whose removal waits until no snapshot can need them and the log that drops them is durable.
#[derive(Debug)]
struct Drop {
    after: Insertion,
    files: Vec<RelFile>,
}

/// How far recovery is; all of it stands still on a primary.
#[derive(Debug)]
pub(crate) struct RecoveryState {
    pub(crate) active: AtomicBool,
    consistent: AtomicBool,
    /// A crashed primary that is to follow another redoes its own log first; nothing is consistent before its end.
    pub(crate) in_own_log: AtomicBool,
    became_consistent: Notify,
    /// What readers see; with a log that is received, maybe before that is durable.
    pub(crate) replayed: Watermark,
    /// The log that is received, once there is one.
    pub(crate) log: OnceLock<Arc<dyn StandbyLog>>,
    /// Microseconds; i64::MIN before the first.
    pub(crate) last_commit: AtomicI64,
    pub(crate) next_xid: AtomicU64,
    /// Snapshots that replay had to give up, to remove row versions.
    pub(crate) snapshot_conflicts: AtomicU64,
    /// The same, to drop tables.
    pub(crate) lock_conflicts: AtomicU64,
    pub(crate) prefetch: PrefetchCounts,
    /// Where redo began; 0 if there was none.
    pub(crate) from: AtomicU64,
    pub(crate) records: AtomicU64,
    /// From its begin to when it last told its progress.
    pub(crate) elapsed_micros: AtomicU64,
}

impl RecoveryState {
    pub(crate) fn new(active: bool, next_xid: Xid) -> Self {
        Self {
            active: AtomicBool::new(active),
            consistent: AtomicBool::new(!active),
            in_own_log: AtomicBool::new(false),
            became_consistent: Notify::new(),
            replayed: Watermark::new(Lsn::INVALID),
            log: OnceLock::new(),
            last_commit: AtomicI64::new(i64::MIN),
            next_xid: AtomicU64::new(next_xid.get()),
            snapshot_conflicts: AtomicU64::new(0),
            lock_conflicts: AtomicU64::new(0),
            prefetch: PrefetchCounts::default(),
            from: AtomicU64::new(0),
            records: AtomicU64::new(0),
            elapsed_micros: AtomicU64::new(0),
        }
    }
    /// To be called before anything goes to disk that follows from the log up to `upto`.
    pub(crate) fn make_durable(&self, upto: Lsn) -> Result<(), Error> {
        self.log.get().map_or(Ok(()), |log| log.make_durable(upto).map_err(log_error))
    }
    /// How far redo has come, of what is durable.
    pub(crate) fn durably_replayed(&self) -> Lsn {
        let replayed = self.replayed.get();
        self.log.get().map_or(replayed, |log| replayed.min(log.durable()))
    }
    pub(crate) fn is_consistent(&self) -> bool {
        self.consistent.load(Ordering::Acquire)
    }
    pub(crate) fn set_consistent(&self) {
        self.consistent.store(true, Ordering::Release);
        self.became_consistent.notify_waiters();
    }
    pub(crate) fn last_commit(&self) -> Option<Timestamp> {
        let micros = self.last_commit.load(Ordering::Acquire);
        (micros != i64::MIN).then(|| Timestamp::from_micros(micros))
    }
}

/// An open database.
pub(crate) struct Engine {
    pub(crate) host: Host,
    pub(crate) options: DatabaseOptions,
    pub(crate) store: Store,
    pub(crate) visibility: Arc<Visibility>,
    pub(crate) levels: Arc<Levels>,
    pub(crate) gate: CommitGate,
    pub(crate) locks: Arc<LockManager>,
    pub(crate) recovery: RecoveryState,
    /// How far a standby's readers were shown what is confirmed.
    pub(crate) shown: Shown,
    /// The newest contents of the control file. Held while the file is written.
    pub(crate) control: Mutex<ControlFile>,
    pub(crate) numbers: Mutex<Numbers>,
    pub(crate) retention: RwLock<Arc<dyn WalRetention>>,
    pub(crate) checkpoints: Mutex<CheckpointCounts>,
    /// Held by the one checkpoint that runs.
    pub(crate) checkpointing: Arc<tokio::sync::Mutex<()>>,
    /// How much log there may be; a reload changes it.
    pub(crate) wal_sizes: Mutex<WalSizes>,
    /// What the next round of log is expected to take.
    pub(crate) round: Mutex<RoundEstimate>,
    /// A running paced checkpoint shall hurry.
    pub(crate) hurry: AtomicBool,
    /// The last checkpoint record replayed: where a restartpoint may begin.
    pub(crate) seen_checkpoint: Mutex<Option<SeenCheckpoint>>,
    /// What redo left when it ended for a promotion.
    pub(crate) parked: Mutex<Option<Parked>>,
    /// Online backups that run; page images are forced while there are any.
    pub(crate) backups: Mutex<u32>,
    pub(crate) full_page_writes: AtomicBool,
    pub(crate) closed: AtomicBool,
    timeline: AtomicU32,
    /// Set once this node takes writes.
    primary: OnceLock<Primary>,
    row_numbers: Mutex<HashMap<TreeId, u64>>,
    drops: Mutex<Vec<Drop>>,
    /// Held by the one who removes files.
    removing: Mutex<()>,
    /// Relation files with numbers below this one are of before this node took writes.
    first_own_number: AtomicU32,
    /// Called once when a log is opened for writing, before anything is in it.
    #[cfg(test)]
    pub(crate) mid_promotion: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// Keeps other servers out of the directory.
    _lock: Box<dyn LockGuard>,
}

struct Primary {
    wal: WalWriter,
    pipeline: Pipeline,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("dir", &self.options.dir).finish_non_exhaustive()
    }
}

/// The parts that an engine is made of.
pub(crate) struct Parts {
    pub(crate) host: Host,
    pub(crate) options: DatabaseOptions,
    pub(crate) store: Store,
    pub(crate) control: ControlFile,
    pub(crate) visibility: Arc<Visibility>,
    pub(crate) in_recovery: bool,
    pub(crate) lock: Box<dyn LockGuard>,
}

impl Engine {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { host, options, store, control, visibility, in_recovery, lock } = parts;
        let levels = Levels::new(Arc::clone(&visibility), options.sync_required);
        let checkpoint = &control.checkpoint_copy;
        let next_number = checkpoint.next_oid.max(FIRST_NUMBER);
        Arc::new(Self {
            gate: CommitGate(Arc::clone(&levels)),
            shown: Shown::new(&host, &options.dir),
            locks: LockManager::new(options.deadlock_timeout),
            recovery: RecoveryState::new(in_recovery, checkpoint.next_xid),
            numbers: Mutex::new(Numbers { next: next_number, logged: next_number }),
            retention: RwLock::new(Arc::new(KeepForRecovery)),
            checkpoints: Mutex::default(),
            checkpointing: Arc::new(tokio::sync::Mutex::new(())),
            wal_sizes: Mutex::new(options.wal_sizes),
            round: Mutex::default(),
            hurry: AtomicBool::new(false),
            seen_checkpoint: Mutex::new(None),
            parked: Mutex::new(None),
            backups: Mutex::new(0),
            full_page_writes: AtomicBool::new(options.full_page_writes),
            closed: AtomicBool::new(false),
            timeline: AtomicU32::new(checkpoint.timeline.get()),
            primary: OnceLock::new(),
            row_numbers: Mutex::default(),
            drops: Mutex::default(),
            removing: Mutex::default(),
            first_own_number: AtomicU32::new(0),
            #[cfg(test)]
            mid_promotion: Mutex::default(),
            control: Mutex::new(control),
            _lock: lock,
            host,
            options,
            store,
            visibility,
            levels,
        })
    }

    /// Takes writes from now on, into this log.
    pub(crate) fn become_primary(&self, wal: WalWriter, next_xid: Xid) -> Result<(), Error> {
        let log = Arc::new(crate::log::EngineLog(wal.clone()));
        self.store.set_log(log.clone());
        self.store.set_barrier(log);
        self.levels.follow(wal.positions());
        wal.set_observer(self.levels.clone());
        self.timeline.store(wal.timeline().get(), Ordering::Release);
        self.first_own_number.store(self.numbers.lock().next, Ordering::Release);
        let shared = (Arc::clone(&self.visibility), Arc::clone(&self.levels));
        let pipeline =
            Pipeline::new(self.store.clone(), wal.clone(), Arc::clone(&self.host.clock), shared, next_xid);
        self.primary
            .set(Primary { wal, pipeline })
            .map_err(|_| Error::WrongState("this server already takes writes"))
    }

    pub(crate) fn pipeline(&self) -> Result<&Pipeline, Error> {
        self.primary.get().map(|primary| &primary.pipeline).ok_or(Error::ReadOnly)
    }

    pub(crate) fn wal(&self) -> Result<&WalWriter, Error> {
        self.primary.get().map(|primary| &primary.wal).ok_or(Error::ReadOnly)
    }

    pub(crate) fn is_in_recovery(&self) -> bool {
        self.recovery.active.load(Ordering::Acquire)
    }

    pub(crate) fn timeline(&self) -> TimelineId {
        TimelineId::new(self.timeline.load(Ordering::Acquire))
    }

    pub(crate) fn set_timeline(&self, timeline: TimelineId) {
        self.timeline.store(timeline.get(), Ordering::Release);
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.options.dir
    }

    pub(crate) fn wal_dir(&self) -> PathBuf {
        self.options.dir.join("pg_wal")
    }

    /// A field of the state page. Does I/O.
    pub(crate) fn state_field(&self, field: u16) -> Result<Option<Vec<u8>>, Error> {
        self.store.run_blocking(|| self.store.state(field))
    }

    /// Keeps what redo left for the promotion that follows. `file` as [`Parked::file`].
    pub(crate) fn park_replay(&self, replay: &Replay, file: TimelineId) {
        *self.parked.lock() = Some(Parked { state: replay.state(), timeline: replay.timeline, file });
    }

    /// Changes the control file durably.
    pub(crate) fn update_control(&self, change: impl FnOnce(&mut ControlFile)) -> Result<(), Error> {
        let mut control = self.control.lock();
        let mut changed = control.clone();
        change(&mut changed);
        changed.time = self.host.clock.now().unix_seconds();
        changed
            .store(&*self.host.disk, &self.options.dir)
            .map_err(|error| Error::Unusable(error.to_string()))?;
        *control = changed;
        Ok(())
    }

    /// Waits until statements may read rows: commits of before this start are decided, and a standby is consistent.
    pub(crate) async fn wait_readable(&self, interrupt: &Interrupt) -> Result<(), Error> {
        self.wait_open_and_consistent(interrupt).await?;
        self.levels.wait_decided(interrupt).await
    }

    /// The same without the wait for decisions.
    pub(crate) async fn wait_open_and_consistent(&self, interrupt: &Interrupt) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Shutdown);
        }
        if !self.recovery.is_consistent() {
            tokio::select! {
                biased;
                () = interrupt.cancelled() => return Err(Error::Cancelled),
                () = self.wait_consistent() => {}
            }
        }
        Ok(())
    }

    /// Waits for a snapshot of what is confirmed that has all commits up to `floor`. None: this is no standby any more.
    pub(crate) async fn wait_confirmed(
        &self,
        floor: Lsn,
        interrupt: &Interrupt,
    ) -> Result<Option<LiveSnapshot>, Error> {
        let gate = CommitGate(Arc::clone(&self.levels));
        let mut told = None;
        loop {
            let mut more = std::pin::pin!(self.visibility.confirmed_more().notified());
            more.as_mut().enable();
            gate.want_confirmed();
            if let Some(snapshot) = self.visibility.take_confirmed(floor) {
                self.shown.note(self.timeline(), snapshot.lsn)?;
                return Ok(Some(snapshot));
            }
            if self.closed.load(Ordering::Acquire) {
                return Err(Error::Shutdown);
            }
            if !self.is_in_recovery() {
                return Ok(None);
            }
            told.get_or_insert_with(|| interrupt.waiting(WaitEvent::Confirmed));
            tokio::select! {
                biased;
                () = interrupt.cancelled() => return Err(Error::Cancelled),
                () = more => {}
            }
        }
    }

    pub(crate) async fn wait_consistent(&self) {
        loop {
            let mut became = std::pin::pin!(self.recovery.became_consistent.notified());
            became.as_mut().enable();
            if self.recovery.is_consistent() {
                return;
            }
            became.await;
        }
    }

    /// Fails if replay had to give up this snapshot: what it sees may be gone.
    pub(crate) fn check_conflict(&self, snapshot: &Snapshot) -> Result<(), Error> {
        match self.is_in_recovery() && self.visibility.is_cancelled(snapshot) {
            true => Err(Error::RecoveryConflict),
            false => Ok(()),
        }
    }

    /// What a reader with this snapshot is told that met an error: whoever was given up may find anything.
    pub(crate) fn or_conflict(&self, error: Error, snapshot: &Snapshot) -> Error {
        match error {
            Error::Cancelled => error,
            _ => self.check_conflict(snapshot).err().unwrap_or(error),
        }
    }

    /// Waits until commits up to `lsn` are visible. Fails on a fenced server, where those in doubt stay so.
    pub(crate) async fn wait_visible(&self, lsn: Lsn, interrupt: &Interrupt) -> Result<(), Error> {
        if self.visibility.visible() >= lsn {
            return Ok(());
        }
        let reach = async {
            if let Some(primary) = self.primary.get() {
                // A commit whose session went away has nobody else who would see to this.
                primary.wal.flush_async(lsn).await.map_err(log_error)?;
            }
            self.visibility.mark().wait(lsn).await.map_err(|_| Error::Shutdown)
        };
        let _told = interrupt.waiting(WaitEvent::Visible);
        tokio::select! {
            biased;
            reached = reach => reached.map(drop),
            () = interrupt.cancelled() => Err(Error::Cancelled),
            fenced = self.levels.fenced() => Err(fenced),
        }
    }

    /// A relation file number that was never used.
    pub(crate) fn allocate_number(&self) -> Result<u32, Error> {
        let wal = self.wal()?;
        let mut numbers = self.numbers.lock();
        if numbers.next >= numbers.logged {
            let upto = numbers
                .next
                .checked_add(NUMBERS_LOGGED)
                .ok_or(Error::WrongState("all relation file numbers are used up"))?;
            let mut record =
                XlogRecord::NextOid(upto).encode().map_err(|error| Error::Log(error.to_string().into()))?;
            wal.insert(&mut record).map_err(log_error)?;
            numbers.logged = upto;
        }
        let number = numbers.next;
        numbers.next += 1;
        Ok(number)
    }

    /// The next number for a hidden key of `tree`.
    pub(crate) async fn next_row_number(&self, tree: TreeId) -> Result<u64, Error> {
        if let Some(next) = self.row_numbers.lock().get_mut(&tree) {
            *next += 1;
            return Ok(*next - 1);
        }
        let mut scan = self.store.tree(tree)?.scan(KeyRange::all(), Direction::Backward);
        let mut batch = Batch::default();
        self.store.run(|| scan.next_batch(&mut |_| true, 1, 1, &mut batch)).await?;
        let last = match batch.rows().next() {
            Some((key, ..)) => {
                let key = key.try_into().map_err(|_| {
                    Error::WrongState("the keys of this relation are no row numbers of 8 bytes")
                })?;
                u64::from_be_bytes(key)
            }
            None => 0,
        };
        let mut numbers = self.row_numbers.lock();
        let next = numbers.entry(tree).or_insert(last + 1);
        *next += 1;
        Ok(*next - 1)
    }

    /// Removes the files of trees whose drop was committed with `after`, once that is safe.
    pub(crate) fn drop_later(&self, after: Insertion, trees: &[TreeId]) {
        if trees.is_empty() {
            return;
        }
        let files = trees.iter().map(|tree| tree.file()).collect();
        self.row_numbers.lock().retain(|tree, _| !trees.contains(tree));
        self.drops.lock().push(Drop { after, files });
    }

    /// Removes the files whose time has come. Does I/O.
    pub(crate) fn remove_dropped(&self) -> Result<(), Error> {
        let horizon = self.visibility.oldest_snapshot().unwrap_or(Xid::new(u64::MAX));
        let durable = match self.primary.get() {
            Some(primary) => primary.wal.positions().flushed(),
            None => Lsn::MAX,
        };
        self.remove_dropped_if(|drop| drop.xid < horizon && drop.end <= durable)
    }

    /// Removes the files that the log up to `upto` has dropped, which is durable, whoever may still have a snapshot: redo from there does not
    /// come by those records again. On a standby such snapshots were given up; at the end of a server nobody reads.
    pub(crate) fn remove_dropped_before(&self, upto: Lsn) -> Result<(), Error> {
        self.remove_dropped_if(|drop| drop.end <= upto)
    }

    fn remove_dropped_if(&self, is_due: impl Fn(&Insertion) -> bool) -> Result<(), Error> {
        // A checkpoint waits here for a removal that is under way.
        let _only = self.removing.lock();
        let (mut ready, mut upto) = (Vec::new(), Lsn::INVALID);
        for drop in self.drops.lock().iter().filter(|drop| is_due(&drop.after)) {
            upto = upto.max(drop.after.end);
            ready.extend_from_slice(&drop.files);
        }
        if ready.is_empty() {
            return Ok(());
        }
        if self.is_in_recovery() {
            self.recovery.make_durable(upto)?;
        }
        self.store.drop_files(&ready)?;
        self.drops.lock().retain(|drop| !drop.files.iter().all(|file| ready.contains(file)));
        Ok(())
    }

    /// Removes the files of before this node took writes that are none of `named`, and tells the log. Returns which. They are what a crash
    /// left: of transactions that created them and did not commit, of tables that were dropped under an old snapshot.
    pub(crate) fn drop_unnamed(&self, named: &BTreeSet<TreeId>) -> Result<Vec<TreeId>, Error> {
        let before = self.first_own_number.load(Ordering::Acquire);
        let pending: BTreeSet<RelFile> =
            self.drops.lock().iter().flat_map(|drop| drop.files.iter().copied()).collect();
        let relations = self.store.relations().all();
        let is_unnamed = |tree: &TreeId| {
            (FIRST_NUMBER..before).contains(&tree.relation)
                && !named.contains(tree)
                && !pending.contains(&tree.file())
        };
        let ids = relations.iter().filter_map(|relation| TreeId::try_from(relation.id()).ok());
        let mut unnamed: Vec<TreeId> = ids.filter(is_unnamed).collect();
        unnamed.sort_unstable();
        for some in unnamed.chunks(DROPPED_AT_ONCE) {
            self.remove_created(some)?;
        }
        Ok(unnamed)
    }

    /// Removes trees that a transaction created and does not keep.
    pub(crate) fn remove_created(&self, created: &[TreeId]) -> Result<(), Error> {
        if created.is_empty() {
            return Ok(());
        }
        let aborted = self.pipeline()?.abort_created(created)?;
        self.drop_later(aborted, created);
        Ok(())
    }
}
