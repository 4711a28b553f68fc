//! How far recovery is, and what it leaves to whoever writes on.

use crate::Error;
use crate::commit::early_list::EarlyList;
use crate::error::log_error;
use host::Timestamp;
use host::sync::Mutex;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;
use wal::history::TimelineHistory;
use wal::reader::CutTail;
use wal::xlog::CheckPoint;
use wal::{Lsn, TimelineId, WalError, Watermark, Xid};

/// The log that a standby receives while redo reads it: what is written may be redone before it is durable,
/// but nothing on disk may be ahead of what is durable.
pub trait StandbyLog: Send + Sync + fmt::Debug {
    /// How far redo may say that it has come: no further than the log is durable.
    fn durable(&self) -> Lsn;
    /// Makes the log durable up to `upto`, which was written.
    ///
    /// # Errors
    /// Fails if the log cannot be flushed.
    fn make_durable(&self, upto: Lsn) -> Result<(), WalError>;
}

/// What became of the pages that the log names, of those it was read ahead for (pg_stat_recovery_prefetch).
#[derive(Debug, Default)]
pub(crate) struct PrefetchCounts {
    pub(crate) prefetched: AtomicU64,
    pub(crate) hit: AtomicU64,
    pub(crate) skip_init: AtomicU64,
    pub(crate) skip_new: AtomicU64,
    pub(crate) skip_fpw: AtomicU64,
    pub(crate) skip_rep: AtomicU64,
}

impl PrefetchCounts {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A checkpoint record that was redone: a restartpoint may begin there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeenCheckpoint {
    pub(crate) record: Lsn,
    pub(crate) end: Lsn,
    pub(crate) contents: CheckPoint,
}

/// What redo leaves to whoever writes on.
#[derive(Clone, Debug)]
pub(crate) struct ReplayState {
    /// The end of the last record.
    pub(crate) at: Lsn,
    /// Its start.
    pub(crate) last_record: Lsn,
    pub(crate) next_xid: Xid,
    /// xids whose versions are in pages and whose outcome the log does not tell.
    pub(crate) leftovers: Vec<Xid>,
    /// The early xids as the log tells of them.
    pub(crate) early: EarlyList,
    /// The state page has the same; it lacks the last aborts otherwise.
    pub(crate) early_on_page: bool,
    /// The end of the last commit record that was redone.
    pub(crate) last_commit_end: Option<Lsn>,
    /// The end of the last of them that waits until standbys have replayed it.
    pub(crate) last_apply_end: Lsn,
    /// What the log says of full_page_writes.
    pub(crate) full_page_writes: bool,
}

/// What redo left when it ended for a promotion.
#[derive(Clone, Debug)]
pub(crate) struct Parked {
    pub(crate) state: ReplayState,
    /// The timeline of the last record.
    pub(crate) timeline: TimelineId,
    /// The timeline of the segment file that the log's end was read from. It may be a later one than the last
    /// record's: the first segment of a timeline begins with a copy of what its ancestor has there, and the
    /// ancestor's own file need not be here.
    pub(crate) file: TimelineId,
    /// The history of the timeline that ends there, as it was followed: the file of that number may be
    /// another branch's.
    pub(crate) history: TimelineHistory,
    /// What lies behind the log's end and goes; None if a target ended redo before the log's end.
    pub(crate) tail: Option<CutTail>,
}

/// How far recovery is; all of it stands still on a primary.
#[derive(Debug)]
pub(crate) struct RecoveryState {
    pub(crate) active: AtomicBool,
    consistent: AtomicBool,
    /// Where redo was when the data became so.
    consistent_at: AtomicU64,
    /// A crashed primary that is to follow another redoes its own log first; nothing is consistent before its
    /// end.
    pub(crate) in_own_log: AtomicBool,
    became_consistent: Notify,
    /// What redo has applied, and readers see; with a log that is received, maybe before that is durable.
    pub(crate) redone: Watermark,
    /// The timelines that redo has left, and where the first record of the next one begins.
    pub(crate) left: Mutex<Vec<(Lsn, TimelineId)>>,
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
    /// The start of the last record redone from which on the log has no page images; 0 if there was none.
    pub(crate) images_end: AtomicU64,
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
            consistent_at: AtomicU64::new(0),
            in_own_log: AtomicBool::new(false),
            became_consistent: Notify::new(),
            redone: Watermark::new(Lsn::INVALID),
            left: Mutex::default(),
            log: OnceLock::new(),
            last_commit: AtomicI64::new(i64::MIN),
            next_xid: AtomicU64::new(next_xid.get()),
            snapshot_conflicts: AtomicU64::new(0),
            lock_conflicts: AtomicU64::new(0),
            prefetch: PrefetchCounts::default(),
            images_end: AtomicU64::new(0),
            from: AtomicU64::new(0),
            records: AtomicU64::new(0),
            elapsed_micros: AtomicU64::new(0),
        }
    }
    /// To be called before anything goes to disk that follows from the log up to `upto`.
    pub(crate) fn make_durable(&self, upto: Lsn) -> Result<(), Error> {
        self.log.get().map_or(Ok(()), |log| log.make_durable(upto).map_err(log_error))
    }
    /// What is redone, as far as that is durable.
    pub(crate) fn replayed(&self) -> Lsn {
        let redone = self.redone.get();
        self.log.get().map_or(redone, |log| redone.min(log.durable()))
    }
    pub(crate) fn is_consistent(&self) -> bool {
        self.consistent.load(Ordering::Acquire)
    }
    pub(crate) fn set_consistent(&self, at: Lsn) {
        self.consistent_at.store(at.get(), Ordering::Relaxed);
        self.consistent.store(true, Ordering::Release);
        self.became_consistent.notify_waiters();
    }
    /// Where redo was when the data became so.
    pub(crate) fn consistent_at(&self) -> Lsn {
        Lsn::new(self.consistent_at.load(Ordering::Relaxed))
    }
    /// Waits until readers may read.
    pub(crate) async fn wait_consistent(&self) {
        loop {
            let mut became = std::pin::pin!(self.became_consistent.notified());
            became.as_mut().enable();
            if self.is_consistent() {
                return;
            }
            became.await;
        }
    }
    pub(crate) fn last_commit(&self) -> Option<Timestamp> {
        let micros = self.last_commit.load(Ordering::Acquire);
        (micros != i64::MIN).then(|| Timestamp::from_micros(micros))
    }
}
