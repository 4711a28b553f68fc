//! What all parts of an open database share.

pub(crate) mod dropped;
pub(crate) mod options;
mod pacing;
pub(crate) mod page_images;
pub(crate) mod recovery_state;
pub(crate) mod retention;
pub(crate) mod sweep;
pub(crate) mod troubles;
pub(crate) mod wal_sizes;

pub use retention::WalRetention;

use crate::changes::log::EngineLog;
use crate::changes::state_page::{STATE_APPLY, STATE_CONFIRMED, STATE_PRIMARY, STATE_SYNC};
use crate::changes::store::Store;
use crate::commit::confirmed_record::ConfirmedRecord;
use crate::commit::gate::CommitGate;
use crate::commit::levels::Levels;
use crate::commit::pipeline::Pipeline;
use crate::commit::primary_record::PrimaryRecord;
use crate::commit::sight::Sight;
use crate::commit::sync_record::SyncRecord;
use crate::error::log_error;
use crate::lock_order::{Rank, Ranked};
use crate::locks::LockManager;
use crate::visibility::shown::Shown;
use crate::visibility::snapshot::{LiveSnapshot, Snapshot, Visibility};
use crate::{ConflictKind, Error, Interrupt, TreeId, WaitEvent};
use dropped::Drop;
use host::Mutex;
use host::sync::RwLock;
use host::{Host, LockGuard};
use options::{CheckpointCounts, DatabaseOptions, LogWriting};
use pacing::Pacing;
use page_images::PageImages;
use recovery_state::{Parked, RecoveryState, SeenCheckpoint};
use retention::KeepForRecovery;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;
use troubles::Troubles;
use wal::codec::Fields;
use wal::control::{ClusterState, ControlFile};
use wal::xlog::XlogRecord;
use wal::{LogBranch, LogPosition, Lsn, RelFile, TimelineId, WalWriter, Xid};
use wal_sizes::{RoundEstimate, WalSizes};

/// Relation file numbers, given out and logged in advance.
#[derive(Debug)]
pub(crate) struct Numbers {
    pub(crate) next: u32,
    /// Numbers below this one are logged as used.
    pub(crate) logged: u32,
}

/// How many numbers one NEXTOID record covers, as in PostgreSQL.
const NUMBERS_LOGGED: u32 = 8192;
/// The first number for users' relations (FirstNormalObjectId).
pub(crate) const FIRST_NUMBER: u32 = 16384;

/// An open database.
pub(crate) struct Engine {
    pub(crate) host: Host,
    pub(crate) options: DatabaseOptions,
    pub(crate) store: Store,
    pub(crate) visibility: Arc<Visibility>,
    pub(crate) levels: Arc<Levels>,
    pub(crate) sight: Sight,
    pub(crate) gate: CommitGate,
    pub(crate) locks: Arc<LockManager>,
    pub(crate) recovery: RecoveryState,
    /// Which branch a standby follows, over restarts.
    pub(crate) branch: Arc<LogBranch>,
    /// How far a standby's readers were shown what is confirmed.
    pub(crate) shown: Shown,
    /// The newest contents of the control file. Held while the file is written.
    pub(crate) control: Mutex<ControlFile>,
    /// Whether the control file is one that this life wrote, which is changed where it lies. Under the lock
    /// of `control`.
    control_is_own: AtomicBool,
    pub(crate) numbers: Mutex<Numbers>,
    pub(crate) retention: RwLock<Arc<dyn WalRetention>>,
    pub(crate) checkpoints: Mutex<CheckpointCounts>,
    /// Held by the one checkpoint that runs.
    pub(crate) checkpointing: Arc<tokio::sync::Mutex<()>>,
    /// How much log there may be; a reload changes it.
    pub(crate) wal_sizes: Mutex<WalSizes>,
    /// What the next round of log is expected to take.
    pub(crate) round: Mutex<RoundEstimate>,
    /// What others want of a running checkpoint.
    pub(crate) pacing: Pacing,
    /// The last checkpoint record redone: where a restartpoint may begin.
    pub(crate) seen_checkpoint: Mutex<Option<SeenCheckpoint>>,
    /// What redo left when it ended for a promotion.
    pub(crate) parked: Mutex<Option<Parked>>,
    /// The ended timeline's last segment, while the log is written in its file. Held while that gets its own.
    pub(crate) shared_end: Mutex<Option<LogPosition>>,
    /// Whether changes log whole pages. Taken under the write lock, if both are.
    pub(crate) images: Mutex<PageImages>,
    /// As it is now, and for a promotion.
    pub(crate) log_writing: Mutex<LogWriting>,
    /// plimsoll.write_set_limit, as it is now.
    pub(crate) write_set_limit_bytes: AtomicUsize,
    pub(crate) closed: AtomicBool,
    /// Old log stays until the next life ([`crate::Database::shutdown_leaving_log`]).
    pub(crate) leaves_log: AtomicBool,
    timeline: AtomicU32,
    /// Set once this node takes writes.
    primary: OnceLock<Primary>,
    row_numbers: Mutex<HashMap<TreeId, u64>>,
    drops: Mutex<Vec<Drop>>,
    /// Trees to be removed, of which the log could not be told.
    unremoved: Mutex<Vec<TreeId>>,
    /// Files that could not be removed.
    stuck: Mutex<Vec<RelFile>>,
    pub(crate) troubles: Troubles,
    /// Held by the one who removes files.
    removing: Mutex<()>,
    /// Relation files with numbers below this one are of before this node took writes.
    first_own_number: AtomicU32,
    /// Called once when a log is opened for writing, before anything is in it.
    #[cfg(test)]
    pub(crate) mid_promotion: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// Keeps other servers out of the directory.
    _lock: Box<dyn LockGuard>,
    /// Closed when that is let go, which comes before in this order.
    pub(crate) lives: watch::Sender<()>,
}

struct Primary {
    wal: WalWriter,
    pipeline: Pipeline,
}

/// Ends what outlives it: waits for a commit to be seen.
impl std::ops::Drop for Engine {
    fn drop(&mut self) {
        self.levels.close();
    }
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
    pub(crate) branch: Arc<LogBranch>,
    pub(crate) in_recovery: bool,
    pub(crate) lock: Box<dyn LockGuard>,
}

impl Engine {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { host, options, store, control, visibility, branch, in_recovery, lock } = parts;
        let levels = Levels::new(Arc::clone(&visibility), options.sync_required);
        let checkpoint = &control.checkpoint_copy;
        let next_number = checkpoint.next_oid.max(FIRST_NUMBER);
        Arc::new(Self {
            gate: CommitGate(Arc::clone(&levels)),
            branch,
            shown: Shown::new(&host, &options.dir),
            locks: LockManager::new(options.deadlock_timeout),
            recovery: RecoveryState::new(in_recovery, checkpoint.next_xid),
            numbers: Mutex::new(Numbers { next: next_number, logged: next_number }),
            retention: RwLock::new(Arc::new(KeepForRecovery)),
            checkpoints: Mutex::default(),
            checkpointing: Arc::new(tokio::sync::Mutex::new(())),
            wal_sizes: Mutex::new(options.wal_sizes),
            round: Mutex::default(),
            pacing: Pacing::default(),
            seen_checkpoint: Mutex::new(None),
            parked: Mutex::new(None),
            shared_end: Mutex::new(None),
            images: Mutex::new(PageImages::new(options.full_page_writes)),
            log_writing: Mutex::new(options.log_writing),
            write_set_limit_bytes: AtomicUsize::new(options.write_set_limit_bytes),
            closed: AtomicBool::new(false),
            leaves_log: AtomicBool::new(false),
            timeline: AtomicU32::new(checkpoint.timeline.get()),
            primary: OnceLock::new(),
            row_numbers: Mutex::default(),
            drops: Mutex::default(),
            unremoved: Mutex::default(),
            stuck: Mutex::default(),
            troubles: Troubles::default(),
            removing: Mutex::default(),
            first_own_number: AtomicU32::new(0),
            #[cfg(test)]
            mid_promotion: Mutex::default(),
            control: Mutex::new(control),
            control_is_own: AtomicBool::new(false),
            _lock: lock,
            lives: watch::Sender::new(()),
            host,
            options,
            store,
            sight: Sight::new(&visibility, &levels),
            visibility,
            levels,
        })
    }

    /// Takes writes from now on, into this log. Whose timeline is named once it is decided.
    pub(crate) fn become_primary(&self, wal: WalWriter, next_xid: Xid) -> Result<(), Error> {
        let log = Arc::new(EngineLog(wal.clone()));
        self.store.set_log(log.clone());
        // A page needs minRecoveryPoint for as long as the control file tells of a standby.
        if self.control.lock().state != ClusterState::InArchiveRecovery {
            self.store.set_barrier(log);
        }
        self.levels.follow(wal.positions());
        wal.set_observer(self.levels.clone());
        self.pass_left_files();
        let shared = (Arc::clone(&self.visibility), Arc::clone(&self.levels));
        let pipeline =
            Pipeline::new(self.store.clone(), wal.clone(), Arc::clone(&self.host.clock), shared, next_xid);
        self.primary
            .set(Primary { wal, pipeline })
            .map_err(|_| Error::WrongState("this server already takes writes"))?;
        // It may have changed since the log was opened.
        self.apply_log_writing();
        Ok(())
    }

    /// Numbers begin behind the files that a crash left which the log had not heard of: those are of before,
    /// and nobody's, and another relation of such a number would keep one for good.
    fn pass_left_files(&self) {
        let mut numbers = self.numbers.lock();
        let ahead = numbers.next..numbers.next.saturating_add(NUMBERS_LOGGED);
        let relations = self.store.relations().all();
        let left = relations.iter().map(|relation| relation.id().relation).filter(|it| ahead.contains(it));
        if let Some(last) = left.max() {
            numbers.next = last + 1;
        }
        self.first_own_number.store(numbers.next, Ordering::Release);
    }

    /// Pages need the log alone from now on: the control file tells of no recovery any more.
    pub(crate) fn end_raising(&self) -> Result<(), Error> {
        self.store.set_barrier(Arc::new(EngineLog(self.wal()?.clone())));
        Ok(())
    }

    /// Fails once the opening is told to end.
    pub(crate) fn check_opening(&self) -> Result<(), Error> {
        match self.options.end_recovery.load(Ordering::Relaxed) {
            true => Err(Error::Shutdown),
            false => Ok(()),
        }
    }

    /// Has the log's writer, if this node has one, take over `log_writing`.
    pub(crate) fn apply_log_writing(&self) {
        let writing = self.log_writing.lock();
        if let Ok(wal) = self.wal() {
            wal.reconfigure(writing.fsync, writing.delay, writing.flush_after_bytes);
        }
    }

    pub(crate) fn pipeline(&self) -> Result<&Pipeline, Error> {
        match self.primary.get() {
            Some(primary) => Ok(&primary.pipeline),
            None => Err(Error::ReadOnly),
        }
    }

    /// Size of a transaction's changes from which on it puts them into pages.
    pub(crate) fn write_set_limit_bytes(&self) -> usize {
        self.write_set_limit_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn wal(&self) -> Result<&WalWriter, Error> {
        match self.primary.get() {
            Some(primary) => Ok(&primary.wal),
            None => Err(Error::ReadOnly),
        }
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

    /// What the log says of how far it is confirmed.
    pub(crate) fn confirmed_record(&self) -> Result<ConfirmedRecord, Error> {
        match self.state_field(STATE_CONFIRMED)? {
            Some(bytes) => ConfirmedRecord::decode(&bytes).map_err(|short| {
                Error::Unusable(format!("what the log says of the confirmed position is damaged: {short}"))
            }),
            None => Ok(ConfirmedRecord::default()),
        }
    }

    /// The end of the last commit of which the log says, beside its own record, that standbys are to replay
    /// it before it is seen; invalid if it never did.
    pub(crate) fn apply_record(&self) -> Result<Lsn, Error> {
        let Some(bytes) = self.state_field(STATE_APPLY)? else { return Ok(Lsn::INVALID) };
        Fields::new(&bytes).u64().map(Lsn::new).map_err(|short| {
            Error::Unusable(format!("what the log says of commits at remote_apply is damaged: {short}"))
        })
    }

    /// What the log says of synchronous replication.
    pub(crate) fn sync_record(&self) -> Result<SyncRecord, Error> {
        match self.state_field(STATE_SYNC)? {
            Some(bytes) => SyncRecord::decode(&bytes).map_err(|short| {
                Error::Unusable(format!("the state of synchronous replication is damaged: {short}"))
            }),
            None => Ok(SyncRecord::default()),
        }
    }

    /// What the last primary that put it into the log says of itself.
    pub(crate) fn primary_record(&self) -> Result<Option<PrimaryRecord>, Error> {
        let bytes = self.state_field(STATE_PRIMARY)?;
        let record = bytes.map(|bytes| PrimaryRecord::decode(&bytes)).transpose();
        record
            .map_err(|short| Error::Unusable(format!("what the log says of its primary is damaged: {short}")))
    }

    /// Changes the control file durably. The first time replaces it, whatever shape it has; after a failure,
    /// of which nobody knows what it left, so does the next.
    pub(crate) fn update_control(&self, change: impl FnOnce(&mut ControlFile)) -> Result<(), Error> {
        let mut control = Ranked::take(Rank::Leaf, || self.control.lock());
        let mut changed = control.clone();
        change(&mut changed);
        changed.time = self.host.clock.now().unix_seconds();
        let in_place = self.control_is_own.swap(false, Ordering::Relaxed);
        let store = if in_place { ControlFile::store_in_place } else { ControlFile::store };
        store(&changed, &*self.host.disk, &self.options.dir)
            .map_err(|error| Error::Unusable(error.to_string()))?;
        self.control_is_own.store(true, Ordering::Relaxed);
        *control = changed;
        Ok(())
    }

    /// Waits until statements may read rows: commits of before this start are decided, and a standby is
    /// consistent.
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
                () = self.recovery.wait_consistent() => {}
            }
        }
        Ok(())
    }

    /// Waits for a snapshot of what is confirmed that has all commits up to `floor`. None: this is no standby
    /// any more.
    pub(crate) async fn wait_confirmed(
        &self,
        floor: Lsn,
        interrupt: &Interrupt,
    ) -> Result<Option<LiveSnapshot>, Error> {
        let gate = CommitGate(Arc::clone(&self.levels));
        let mut waiting = None;
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
            waiting.get_or_insert_with(|| interrupt.waiting(WaitEvent::Confirmed));
            tokio::select! {
                biased;
                () = interrupt.cancelled() => return Err(Error::Cancelled),
                () = more => {}
            }
        }
    }

    /// Fails if replay had to give up this snapshot: what it sees may be gone.
    pub(crate) fn check_conflict(&self, snapshot: &Snapshot) -> Result<(), Error> {
        match self.is_in_recovery() && self.visibility.is_cancelled(snapshot) {
            true => Err(Error::RecoveryConflict(ConflictKind::Snapshot)),
            false => Ok(()),
        }
    }

    /// What a reader with this snapshot is told that met an error: whoever was given up may find anything.
    pub(crate) fn or_conflict(&self, error: Error, snapshot: &Snapshot) -> Error {
        match error {
            Error::Cancelled => error,
            _ if self.is_in_recovery() && self.visibility.may_lack_files(snapshot) => {
                Error::RecoveryConflict(ConflictKind::Lock)
            }
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
        let _waiting = interrupt.waiting(WaitEvent::Visible);
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
        let relation = self.store.tree(tree)?;
        let last = match self.store.run(|| relation.last_key()).await? {
            Some(key) => {
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
}
