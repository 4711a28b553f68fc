//! Which position reaches which level of durability, and the gate through which replication reports.
//!
//! Each remote level has an effective position: what is flushed here and held by the quorum, or just what is
//! flushed here while no quorum is required. It never moves back.

use crate::snapshot::Visibility;
use crate::{Error, Interrupt, SyncLevel, WaitEvent};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{Notify, watch};
use wal::{Lsn, Positions, Watermark};

/// How far the synchronous standbys are, as the quorum rule counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteProgress {
    /// Synchronous standbys are named: the remote levels wait for the positions below. False makes every
    /// remote level mean [`crate::SyncLevel::Local`].
    pub required: bool,
    /// The quorum has written the log up to here (exclusive).
    pub written: Lsn,
    /// The quorum has flushed the log up to here (exclusive).
    pub flushed: Lsn,
    /// The quorum has replayed the log up to here (exclusive).
    pub applied: Lsn,
}

/// The stages of a standby that commits wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteStages {
    /// remote_write
    pub written: bool,
    /// on
    pub flushed: bool,
    /// remote_apply
    pub applied: bool,
}

impl RemoteStages {
    const fn of_bits(bits: u8) -> Self {
        Self { written: bits & 1 != 0, flushed: bits & 2 != 0, applied: bits & 4 != 0 }
    }
    const fn bit(level: SyncLevel) -> u8 {
        match level {
            SyncLevel::Off | SyncLevel::Local => 0,
            SyncLevel::RemoteWrite => 1,
            SyncLevel::On => 2,
            SyncLevel::RemoteApply => 4,
        }
    }
}

/// Where replication tells the commit pipeline of the quorum's progress; cloning shares it.
#[derive(Clone, Debug)]
pub struct CommitGate(pub(crate) Arc<Levels>);

impl CommitGate {
    /// Takes new positions. They only move forward; `required` may change either way, and a change to false
    /// releases every commit that waited for standbys (the caller records that).
    pub fn set_remote(&self, progress: RemoteProgress) {
        {
            let mut remote = self.0.remote.lock();
            remote.required = progress.required;
            remote.written = remote.written.max(progress.written);
            remote.flushed = remote.flushed.max(progress.flushed);
            remote.applied = remote.applied.max(progress.applied);
        }
        self.0.advance();
    }

    /// The last progress taken.
    pub fn remote(&self) -> RemoteProgress {
        *self.0.remote.lock()
    }

    /// The stages that commits have waited for since the last [`CommitGate::forget_stages`] but one: those whose
    /// progress standbys should report at once.
    pub fn stages(&self) -> watch::Receiver<RemoteStages> {
        self.0.stages.subscribe()
    }

    /// Forgets the stages that no commit has waited for since the last call.
    pub fn forget_stages(&self) {
        let used = self.0.stages_used.swap(0, Ordering::AcqRel);
        self.0.stages_known.store(used, Ordering::Release);
        self.0.tell_stages();
    }

    /// The position up to which the quorum holds the log, or, while none is required, up to which it is flushed
    /// here: what a standby with `plimsoll.standby_reads = confirmed` may show.
    pub fn confirmed(&self) -> Lsn {
        self.0.on.get()
    }

    /// The commits of before this start that are still undecided, as the range after which and up to which they
    /// lie; None if there are none.
    pub fn undecided(&self) -> Option<(Lsn, Lsn)> {
        *self.0.undecided.lock()
    }

    /// Gives up waiting for the quorum to hold the commits of before this start
    /// (plimsoll.unconfirmed_timeout): they become visible. Returns the range, for the ledger and the log line; None
    /// on a fenced server, where they stay undecided for good.
    pub fn release_unconfirmed(&self) -> Option<(Lsn, Lsn)> {
        self.0.check_fence().ok().and_then(|()| self.0.decide())
    }
}

/// The positions that levels wait for.
#[derive(Debug)]
pub(crate) struct Levels {
    /// Absent on a standby until its promotion.
    positions: OnceLock<Arc<Positions>>,
    remote: Mutex<RemoteProgress>,
    remote_write: Watermark,
    on: Watermark,
    remote_apply: Watermark,
    visibility: Arc<Visibility>,
    undecided: Mutex<Option<(Lsn, Lsn)>>,
    is_undecided: AtomicBool,
    decided: Notify,
    /// Why this server acknowledges nothing any more.
    fence: Mutex<Option<Arc<str>>>,
    is_fenced: AtomicBool,
    fenced: Notify,
    /// Bits of [`RemoteStages`]: what commits have waited for since the last look, and what was told.
    stages_used: AtomicU8,
    stages_known: AtomicU8,
    stages: watch::Sender<RemoteStages>,
}

impl Levels {
    pub(crate) fn new(visibility: Arc<Visibility>) -> Arc<Self> {
        Arc::new(Self {
            positions: OnceLock::new(),
            remote: Mutex::default(),
            remote_write: Watermark::new(Lsn::INVALID),
            on: Watermark::new(Lsn::INVALID),
            remote_apply: Watermark::new(Lsn::INVALID),
            visibility,
            is_undecided: AtomicBool::new(false),
            undecided: Mutex::new(None),
            decided: Notify::new(),
            fence: Mutex::new(None),
            is_fenced: AtomicBool::new(false),
            fenced: Notify::new(),
            stages_used: AtomicU8::new(0),
            stages_known: AtomicU8::new(0),
            stages: watch::Sender::new(RemoteStages::default()),
        })
    }

    /// Follows this log from now on.
    pub(crate) fn follow(&self, positions: Arc<Positions>) {
        // A second log never comes: a node becomes a primary once in the life of a process.
        let _ = self.positions.set(positions);
        self.advance();
    }

    fn flushed(&self) -> Lsn {
        self.positions.get().map_or(Lsn::INVALID, |positions| positions.flushed())
    }

    /// What the quorum holds of what is flushed here; None while no quorum is required.
    pub(crate) fn quorum_confirmed(&self) -> Option<Lsn> {
        self.remote.lock().required.then(|| self.on.get())
    }

    fn mark(&self, level: SyncLevel) -> Option<&Watermark> {
        match level {
            SyncLevel::Off | SyncLevel::Local => None,
            SyncLevel::RemoteWrite => Some(&self.remote_write),
            SyncLevel::On => Some(&self.on),
            SyncLevel::RemoteApply => Some(&self.remote_apply),
        }
    }

    /// Whether a commit that ends at `end` has reached `level`.
    pub(crate) fn reached(&self, level: SyncLevel, end: Lsn) -> bool {
        match self.mark(level) {
            Some(mark) => mark.get() >= end,
            None => level == SyncLevel::Off || self.flushed() >= end,
        }
    }

    /// Takes in that the log was flushed further or the quorum has moved: wakes commits, and shows them.
    pub(crate) fn advance(&self) {
        let flushed = self.flushed();
        let remote = *self.remote.lock();
        let held = |position: Lsn| if remote.required { flushed.min(position) } else { flushed };
        self.remote_write.advance(held(remote.written));
        self.on.advance(held(remote.flushed));
        self.remote_apply.advance(held(remote.applied));
        self.visibility.settle(|level, end| self.reached(level, end));
        if self.is_undecided.load(Ordering::Acquire) {
            let last = self.undecided.lock().map_or(Lsn::INVALID, |(_, last)| last);
            if remote.required && remote.flushed >= last {
                self.decide();
            }
        }
    }

    /// Commits in this range, from before this start, are undecided: nobody reads until they are decided.
    pub(crate) fn set_undecided(&self, after: Lsn, upto: Lsn) {
        *self.undecided.lock() = Some((after, upto));
        self.is_undecided.store(true, Ordering::Release);
    }

    fn decide(&self) -> Option<(Lsn, Lsn)> {
        let range = self.undecided.lock().take();
        self.is_undecided.store(false, Ordering::Release);
        self.decided.notify_waiters();
        range
    }

    /// Ends all that waits for other nodes: this server's branch was replaced. A later reason replaces an earlier one.
    pub(crate) fn fence(&self, reason: &str) {
        *self.fence.lock() = Some(reason.into());
        self.is_fenced.store(true, Ordering::Release);
        self.fenced.notify_waiters();
        self.decided.notify_waiters();
    }

    /// Fails once the server is fenced.
    pub(crate) fn check_fence(&self) -> Result<(), Error> {
        if !self.is_fenced.load(Ordering::Acquire) {
            return Ok(());
        }
        self.fence.lock().clone().map_or(Ok(()), |reason| Err(Error::Fenced { reason }))
    }

    /// Waits while commits of before this start are undecided. On a fenced server they stay so.
    pub(crate) async fn wait_decided(&self, interrupt: &Interrupt) -> Result<(), Error> {
        while self.is_undecided.load(Ordering::Acquire) {
            let mut decided = std::pin::pin!(self.decided.notified());
            decided.as_mut().enable();
            if !self.is_undecided.load(Ordering::Acquire) {
                break;
            }
            self.check_fence()?;
            let _told = interrupt.waiting(WaitEvent::Undecided);
            tokio::select! {
                biased;
                () = interrupt.cancelled() => return Err(Error::Cancelled),
                () = decided => {}
            }
        }
        Ok(())
    }

    /// Waits until the quorum holds `end` at a remote level. False: cancelled.
    pub(crate) async fn wait_remote(
        &self,
        level: SyncLevel,
        end: Lsn,
        interrupt: &Interrupt,
    ) -> Result<bool, Error> {
        let Some(mark) = self.mark(level) else { return Ok(true) };
        if mark.get() >= end {
            return Ok(true);
        }
        self.note_stage(level);
        let mut fenced = std::pin::pin!(self.fenced.notified());
        fenced.as_mut().enable();
        self.check_fence()?;
        let _told = interrupt.waiting(WaitEvent::CommitLevel);
        tokio::select! {
            biased;
            reached = mark.wait(end) => reached.map(|_| true).map_err(|_| Error::Shutdown),
            () = interrupt.cancelled() => Ok(false),
            () = fenced => self.check_fence().map(|()| false),
        }
    }

    /// A commit is about to wait for this level.
    fn note_stage(&self, level: SyncLevel) {
        let bit = RemoteStages::bit(level);
        if self.stages_used.load(Ordering::Relaxed) & bit == 0 {
            self.stages_used.fetch_or(bit, Ordering::AcqRel);
        }
        // Forgotten at this very moment, it is reported a little later: standbys report all stages in time.
        if self.stages_known.load(Ordering::Acquire) & bit == 0 {
            self.stages_known.fetch_or(bit, Ordering::AcqRel);
            self.tell_stages();
        }
    }

    fn tell_stages(&self) {
        self.stages.send_if_modified(|told| {
            let known = RemoteStages::of_bits(self.stages_known.load(Ordering::Acquire));
            std::mem::replace(told, known) != known
        });
    }

    /// Ends all waits.
    pub(crate) fn close(&self) {
        self.remote_write.stop();
        self.on.stop();
        self.remote_apply.stop();
        self.visibility.close();
    }
}
