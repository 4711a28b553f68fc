//! Which position reaches which level of durability.
//!
//! Each remote level has an effective position: what is flushed here and held by the quorum, or just what is
//! flushed here while no quorum is required. It never moves back.

use super::remote::{Remote, RemoteProgress, RemoteStages};
use super::suspension::{Resumed, Stall, Suspended};
use crate::visibility::snapshot::{LiveSnapshot, Visibility};
use crate::{Error, Interrupt, SyncLevel, WaitEvent};
use durability::Stage;
use host::Mutex;
use host::{Instant, Waited};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use wal::{LogObserver, Lsn, Positions, Watermark};

/// Commits of before this start or promotion of which no quorum has said that it holds them.
#[derive(Clone, Copy, Debug)]
struct Undecided {
    after: Lsn,
    upto: Lsn,
    /// The end of the last of them that standbys must replay before it is seen; invalid if there is none.
    apply: Lsn,
}

impl Undecided {
    fn range(self) -> (Lsn, Lsn) {
        (self.after, self.upto)
    }
}

impl LogObserver for Levels {
    fn flushed(&self) {
        self.advance();
    }
    fn failed(&self) {
        self.stop();
    }
}

/// The positions that levels wait for.
#[derive(Debug)]
pub(crate) struct Levels {
    /// Absent on a standby until its promotion.
    pub(super) positions: OnceLock<Arc<Positions>>,
    /// What is confirmed is this server's to say: its start, or its promotion, is done.
    says_what_is_confirmed: AtomicBool,
    pub(super) remote: Mutex<Remote>,
    /// How far commits at the level of each stage are done.
    done: [Watermark; Stage::ALL.len()],
    pub(super) visibility: Arc<Visibility>,
    undecided: Mutex<Option<Undecided>>,
    pub(super) is_undecided: AtomicBool,
    pub(super) decided: Notify,
    /// What is seen before the undecided commits; None if redo has kept no such snapshot.
    before_undecided: Mutex<Option<LiveSnapshot>>,
    /// Why this server acknowledges nothing any more.
    pub(super) fence: Mutex<Option<Arc<str>>>,
    pub(super) is_fenced: AtomicBool,
    /// Bits of [`RemoteStages`]: what commits have waited for since the last look, and what was told.
    pub(super) stages_used: AtomicU8,
    pub(super) stages_known: AtomicU8,
    pub(super) stages: watch::Sender<RemoteStages>,
    pub(super) confirmed_changes: watch::Sender<Lsn>,
    /// A fence was raised, the patience is another one, or stalls are to be told again.
    pub(super) changed: Notify,
    /// u64::MAX is for ever.
    pub(super) patience_ms: AtomicU64,
    pub(super) stall: watch::Sender<Option<Stall>>,
    /// The last suspension that the quorum ended, until it is fetched.
    pub(super) ended: Mutex<Option<Resumed>>,
    pub(super) resumed: Notify,
    /// Told when commits wait for standbys that are named no more.
    pub(super) unnamed: Notify,
}

impl Levels {
    /// `required`: synchronous standbys are named at this moment.
    pub(crate) fn new(visibility: Arc<Visibility>, required: bool) -> Arc<Self> {
        let progress = RemoteProgress { required, ..RemoteProgress::default() };
        Arc::new(Self {
            positions: OnceLock::new(),
            says_what_is_confirmed: AtomicBool::new(false),
            remote: Mutex::new(Remote { progress, was_required: required, ..Remote::default() }),
            done: Stage::ALL.map(|_| Watermark::new(Lsn::INVALID)),
            visibility,
            is_undecided: AtomicBool::new(false),
            undecided: Mutex::new(None),
            decided: Notify::new(),
            before_undecided: Mutex::new(None),
            fence: Mutex::new(None),
            is_fenced: AtomicBool::new(false),
            stages_used: AtomicU8::new(0),
            stages_known: AtomicU8::new(0),
            stages: watch::Sender::new(RemoteStages::default()),
            confirmed_changes: watch::Sender::new(Lsn::INVALID),
            changed: Notify::new(),
            patience_ms: AtomicU64::new(u64::MAX),
            stall: watch::Sender::new(None),
            ended: Mutex::new(None),
            resumed: Notify::new(),
            unnamed: Notify::new(),
        })
    }

    /// Follows this log from now on.
    pub(crate) fn follow(&self, positions: Arc<Positions>) {
        // A second log never comes: a node becomes a primary once in the life of a process.
        let _ = self.positions.set(positions);
        self.advance();
    }

    pub(super) fn flushed(&self) -> Lsn {
        self.positions.get().map_or(Lsn::INVALID, |positions| positions.flushed())
    }

    /// What the quorum holds of what is flushed here, suspended or not; None while no quorum is required.
    pub(crate) fn quorum_confirmed(&self) -> Option<Lsn> {
        let flushed = self.flushed();
        self.remote.lock().progress.confirmed(flushed)
    }

    pub(super) fn done(&self, stage: Stage) -> &Watermark {
        let [written, flushed, replayed] = &self.done;
        match stage {
            Stage::Written => written,
            Stage::Flushed => flushed,
            Stage::Replayed => replayed,
        }
    }

    fn mark(&self, level: SyncLevel) -> Option<&Watermark> {
        level.stage().map(|stage| self.done(stage))
    }

    /// Whether a commit that ends at `end` has reached `level`.
    pub(crate) fn reached(&self, level: SyncLevel, end: Lsn) -> bool {
        match self.mark(level) {
            Some(mark) => mark.get() >= end,
            None => level == SyncLevel::Off || self.flushed() >= end,
        }
    }

    /// Of a position up to which a level is reached, what lies before the oldest commit in doubt: that one
    /// may wait for a stronger level.
    pub(super) fn not_in_doubt(&self, reached: Lsn) -> Lsn {
        reached.min(self.visibility.visible())
    }

    /// The range of the log in which commits wait for standbys: after the first, up to the second.
    pub(super) fn waiting(&self, remote: &Remote) -> Option<(Lsn, Lsn)> {
        let waits = |level, end| remote.waits_for(level) && !self.reached(level, end);
        self.visibility.last_in_doubt(waits)
    }

    /// Takes in that the log was flushed further or the quorum has moved: wakes commits, and shows them.
    pub(crate) fn advance(&self) {
        // Read before the lock: a resumption, which reads it under the lock, names no less.
        let flushed = self.flushed();
        let (effective, remote) = {
            let remote = self.remote.lock();
            (remote.effective(flushed), remote.progress)
        };
        for (mark, reached) in self.done.iter().zip(effective) {
            mark.advance(reached);
        }
        self.visibility.settle(|level, end| self.reached(level, end));
        self.tell_confirmed();
        if self.is_undecided.load(Ordering::Acquire) {
            let undecided = *self.undecided.lock();
            let holds = |Undecided { upto, apply, .. }| remote.flushed >= upto && remote.replayed >= apply;
            if remote.required && undecided.is_some_and(holds) {
                self.decide();
            }
        }
    }

    /// How long the quorum has to keep up before a suspension ends. No time at all if commits wait for ever.
    pub(super) fn probation(&self) -> Duration {
        match self.patience_ms.load(Ordering::Acquire) {
            u64::MAX => Duration::ZERO,
            millis => Duration::from_millis(millis),
        }
    }

    pub(super) fn resumption_is_due(&self) -> Option<Instant> {
        self.remote.lock().suspended.and_then(|suspended| suspended.due(self.probation()))
    }

    /// Ends a suspension if the quorum has kept up for long enough, or nothing is required any more.
    pub(super) fn try_resume(&self, remote: &mut Remote) {
        let Remote { progress, suspended, .. } = remote;
        let Some(state) = suspended else { return };
        let reached = progress.reached(state.level);
        if progress.required && !state.keeps_up(reached, self.flushed(), Instant::now(), self.probation()) {
            if state.asked.is_some() {
                // Commits that wait for less may be all there are: the answer shall come as soon as they
                // would have it.
                self.note_stage(state.level);
            } else {
                self.resumed.notify_waiters();
            }
            return;
        }
        let resumed = self.resumed_now(*state);
        *suspended = None;
        *self.ended.lock() = Some(resumed);
        self.resumed.notify_waiters();
    }

    /// With the lock of `remote`.
    pub(super) fn resumed_now(&self, suspended: Suspended) -> Resumed {
        let Suspended { level, after, .. } = suspended;
        Resumed { level, after, upto: self.flushed().max(after) }
    }

    /// A log begins of which `confirmed` is proven; `required`: a quorum is to hold what comes, as it was
    /// before.
    pub(crate) fn begin_at(&self, confirmed: Lsn, required: bool) {
        let mut remote = self.remote.lock();
        (remote.floor, remote.was_required) = (confirmed, required);
    }

    /// Whether synchronous standbys are named now.
    pub(crate) fn is_required(&self) -> bool {
        self.remote.lock().progress.required
    }

    /// Commits in this range, from before this start or promotion, are undecided: nobody reads until they are
    /// decided. Standbys must replay those up to `apply`, if that lies among them.
    pub(crate) fn set_undecided(&self, after: Lsn, upto: Lsn, apply: Lsn) {
        let shows = host::planted!("commits of before a start are shown before the quorum holds them");
        if after >= upto || shows {
            return;
        }
        // Held from the start, so that nothing is removed that it sees.
        self.visibility.confirm(after);
        *self.before_undecided.lock() = self.visibility.take_decided(after);
        let apply = if apply > after { apply } else { Lsn::INVALID };
        *self.undecided.lock() = Some(Undecided { after, upto, apply });
        if apply > after {
            self.note_stage(SyncLevel::RemoteApply);
        }
        self.is_undecided.store(true, Ordering::Release);
    }

    /// The range that is undecided.
    pub(super) fn undecided(&self) -> Option<(Lsn, Lsn)> {
        self.undecided.lock().map(Undecided::range)
    }

    /// Where commits are that are not seen until standbys have replayed them: after the first position, up to
    /// the second.
    pub(super) fn apply_in_doubt(&self) -> Option<(Lsn, Lsn)> {
        let of_before = self.undecided.lock().filter(|undecided| undecided.apply > undecided.after);
        let of_before = of_before.map(|Undecided { after, apply, .. }| (after, apply));
        let of_now = self.visibility.last_in_doubt(|level, _| level == SyncLevel::RemoteApply);
        let both = of_before.into_iter().chain(of_now);
        both.reduce(|(after, upto), (other_after, other_upto)| (after.min(other_after), upto.max(other_upto)))
    }

    /// What of a position that is confirmed lies before those commits.
    pub(super) fn before_apply_in_doubt(&self, confirmed: Lsn) -> Lsn {
        self.apply_in_doubt().map_or(confirmed, |(after, _)| after.min(confirmed))
    }

    pub(super) fn decide(&self) -> Option<(Lsn, Lsn)> {
        let range = self.undecided.lock().take().map(Undecided::range);
        self.is_undecided.store(false, Ordering::Release);
        let before = self.before_undecided.lock().take();
        drop(before);
        self.decided.notify_waiters();
        self.tell_confirmed();
        range
    }

    /// Of a position up to which the log is flushed, what lies before commits that are undecided.
    pub(crate) fn decided_of(&self, flushed: Lsn) -> Lsn {
        if !self.is_undecided.load(Ordering::Acquire) {
            return flushed;
        }
        self.undecided.lock().map_or(flushed, |undecided| undecided.after.min(flushed))
    }

    /// Ends all that waits for other nodes: this server's branch was replaced. A later reason replaces an
    /// earlier one.
    pub(crate) fn fence(&self, reason: &str) {
        *self.fence.lock() = Some(reason.into());
        self.is_fenced.store(true, Ordering::Release);
        self.changed.notify_waiters();
        self.decided.notify_waiters();
    }

    /// Why this server acknowledges nothing any more.
    pub(crate) fn fence_reason(&self) -> Option<Arc<str>> {
        self.is_fenced.load(Ordering::Acquire).then(|| self.fence.lock().clone()).flatten()
    }

    /// Fails once the server is fenced.
    pub(crate) fn check_fence(&self) -> Result<(), Error> {
        if !self.is_fenced.load(Ordering::Acquire) {
            return Ok(());
        }
        self.fence_reason().map_or(Ok(()), |reason| Err(Error::Fenced { reason }))
    }

    /// Waits until the server is fenced; the error that says so.
    pub(crate) async fn fenced(&self) -> Error {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Err(fenced) = self.check_fence() {
                return fenced;
            }
            changed.await;
        }
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
            let _waiting = interrupt.waiting(WaitEvent::Undecided);
            tokio::select! {
                biased;
                () = interrupt.cancelled() => return Err(Error::Cancelled),
                () = decided => {}
            }
        }
        Ok(())
    }

    /// The same for those who then read [`Self::before_undecided`]: a fenced server stays readable, for who
    /// need not see what ends behind that (`floor`).
    pub(crate) async fn wait_decided_or_left_out(
        &self,
        floor: Lsn,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        let can_leave_out = || self.before_undecided.lock().is_some() && self.decided_of(floor) >= floor;
        match self.wait_decided(interrupt).await {
            Err(Error::Fenced { .. }) if can_leave_out() => Ok(()),
            waited => waited,
        }
    }

    /// What statements see on a fenced server while commits of before its start are undecided: nothing of
    /// those.
    pub(crate) fn before_undecided(&self) -> Option<LiveSnapshot> {
        if !self.is_undecided.load(Ordering::Acquire) || !self.is_fenced.load(Ordering::Acquire) {
            return None;
        }
        self.before_undecided.lock().as_ref().map(LiveSnapshot::again)
    }

    /// Waits until the log is flushed here up to `end` and the quorum holds it, at a remote level. False:
    /// cancelled.
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
        let _waiting = interrupt.waiting_for_commit(end);
        let deaf = host::planted!("a commit's wait does not hear its cancel");
        let mut waited = Waited::since(Instant::now());
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if !host::planted!("a commit that waits does not hear of the fence") {
                self.check_fence()?;
            }
            tokio::select! {
                biased;
                reached = mark.wait(end) => return reached.map(|_| true).map_err(|_| Error::Shutdown),
                () = interrupt.cancelled(), if !deaf => return Ok(false),
                () = changed => {}
                () = self.tell_stall(&mut waited, end) => {}
            }
        }
    }

    /// Tells of a commit that ends at `end` once it has waited, and since its flush here, for as long as set.
    /// Never returns.
    async fn tell_stall(&self, waited: &mut Waited, end: Lsn) {
        let patience_ms = self.patience_ms.load(Ordering::Acquire);
        if patience_ms != u64::MAX {
            let patience = Duration::from_millis(patience_ms);
            waited.wait_for(patience).await;
            if let Some(positions) = self.positions.get().filter(|positions| positions.flushed() < end) {
                // That is no fault of the standbys'. A failed log ends the wait elsewhere.
                let _ = positions.wait_flushed(end).await;
                *waited = Waited::since(Instant::now());
                waited.wait_for(patience).await;
            }
            let mut levels = Stage::ALL.into_iter().map(Stage::level);
            if let Some(level) = levels.find(|level| !self.reached(*level, end)) {
                self.stall.send_replace(Some(Stall { level, end, patience_ms }));
            }
        }
        waited.unwatch();
        std::future::pending().await
    }

    /// This stall is over. Its commit may wait for more, and it may have been told over that of another one:
    /// whoever has waited for too long tells again.
    pub(super) fn forget_stall(&self, over: Stall) {
        self.stall.send_if_modified(|told| {
            if *told == Some(over) {
                *told = None;
            }
            false
        });
        self.changed.notify_waiters();
    }

    /// [`crate::CommitGate::confirmed`]. While a promotion is on its way this is what was heard, although the
    /// log has its writer already: those who hear it from here are on the branch of before, and what is
    /// undecided is not known yet.
    pub(super) fn confirmed(&self) -> Lsn {
        if !self.says_what_is_confirmed.load(Ordering::Acquire) {
            return self.visibility.confirmed();
        }
        let here = || self.decided_of(self.done(Stage::Flushed).get());
        self.quorum_confirmed().unwrap_or_else(here)
    }

    /// From now on what is confirmed is this server's to say. Whoever sends log knows its branch by now.
    pub(crate) fn say_what_is_confirmed(&self) {
        self.says_what_is_confirmed.store(true, Ordering::Release);
        self.tell_confirmed();
    }

    /// Sends what is confirmed to those who listen; it never moves back.
    pub(super) fn tell_confirmed(&self) {
        if self.confirmed_changes.receiver_count() > 0 {
            let upto = self.confirmed();
            self.confirmed_changes.send_if_modified(|sent| {
                let more = upto > *sent;
                *sent = upto.max(*sent);
                more
            });
        }
    }

    /// A commit is about to wait for this level.
    pub(super) fn note_stage(&self, level: SyncLevel) {
        self.note_bit(level.stage().map_or(0, Stage::bit));
    }

    pub(super) fn note_bit(&self, bit: u8) {
        if self.stages_used.load(Ordering::Relaxed) & bit == 0 {
            self.stages_used.fetch_or(bit, Ordering::AcqRel);
        }
        // Forgotten at this very moment, it is reported a little later: standbys report all stages in time.
        if self.stages_known.load(Ordering::Acquire) & bit == 0 {
            self.stages_known.fetch_or(bit, Ordering::AcqRel);
            self.tell_stages();
        }
    }

    pub(super) fn tell_stages(&self) {
        self.stages.send_if_modified(|sent| {
            let known = RemoteStages::of_bits(self.stages_known.load(Ordering::Acquire));
            std::mem::replace(sent, known) != known
        });
    }

    /// Ends all waits.
    pub(crate) fn close(&self) {
        self.stop();
        self.visibility.close();
    }

    /// Ends the waits for remote levels that are not reached.
    pub(super) fn stop(&self) {
        self.done.iter().for_each(Watermark::stop);
    }
}
