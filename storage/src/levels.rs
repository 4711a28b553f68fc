//! Which position reaches which level of durability, and the gate through which replication reports.
//!
//! Each remote level has an effective position: what is flushed here and held by the quorum, or just what is
//! flushed here while no quorum is required. It never moves back.
//!
//! Semi-synchronous operation: a commit that waits for longer than set reports a stall. Whoever listens may then
//! suspend the weakest level that is not reached: from then on it and the stronger ones mean the level below it, and
//! [`CommitGate::suspend`] and the [`Resumed`] that follows name the range of the log that was acknowledged so.
//!
//! ```text
//!              a wait is over its time            suspend(level)
//!  synchronous -----------------------> stalled ------------------> suspended
//!       ^                                                              |
//!       +------- the quorum has kept up for as long as a commit -------+
//!                waits before it reports a stall
//! ```
//!
//! During a suspension the quorum is asked for the log's end over and over: once it is there, for the end as it stands then. It keeps
//! up while each answer comes within the time that a commit would wait. So a standby that is too slow for commits, or still
//! catches up, ends no suspension only to cause the next stall. Where the log does not grow, the quorum has to have it all.

use crate::snapshot::Visibility;
use crate::{Error, Interrupt, SyncLevel, WaitEvent};
use durability::{Stage, Stages};
use host::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use wal::{BranchObserver, LogObserver, LogState, Lsn, Positions, Watermark};

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

/// What standbys shall report at once, since somebody here waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteStages {
    /// The stages that commits wait for.
    pub stages: Stages,
    /// No commit, but readers of a standby wait for the word that commits are confirmed, which the server before it gives.
    pub confirmed: bool,
}

/// The bit of [`RemoteStages::confirmed`], next to those of [`Stages`].
const CONFIRMED_BIT: u8 = 8;

impl RemoteStages {
    const fn of_bits(bits: u8) -> Self {
        Self { stages: Stages::from_byte(bits), confirmed: bits & CONFIRMED_BIT != 0 }
    }
}

impl RemoteProgress {
    /// How far the quorum holds a log that is flushed here up to `flushed`; None while none is required.
    fn confirmed(&self, flushed: Lsn) -> Option<Lsn> {
        self.required.then(|| flushed.min(self.flushed))
    }

    /// How far the quorum has come at this stage.
    fn at(&self, stage: Stage) -> Lsn {
        match stage {
            Stage::Written => self.written,
            Stage::Flushed => self.flushed,
            Stage::Replayed => self.applied,
        }
    }

    /// What the quorum has reached of what a remote level waits for; the end of everything for other levels.
    fn reached(&self, level: SyncLevel) -> Lsn {
        level.stage().map_or(Lsn::MAX, |stage| self.at(stage))
    }
}

/// A commit has waited for its standbys for longer than set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// The weakest level that its commit record has not reached.
    pub level: SyncLevel,
    /// The end of that record.
    pub end: Lsn,
}

/// A suspended level is waited for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The level.
    pub level: SyncLevel,
    /// Commits that end after this ...
    pub after: Lsn,
    /// ... and up to here were acknowledged without it.
    pub upto: Lsn,
}

impl BranchObserver for CommitGate {
    /// What was confirmed, or reported by the standbys behind this one, of later positions than those that are kept was said of
    /// another branch.
    fn branched(&self, state: &LogState) {
        let kept = state.kept();
        {
            let Remote { progress, floor, .. } = &mut *self.0.remote.lock();
            for position in [&mut progress.written, &mut progress.flushed, &mut progress.applied, floor] {
                *position = kept.min(*position);
            }
        }
        self.0.visibility.branches_at(kept);
        self.0.confirmed.send_modify(|told| *told = kept.min(*told));
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

/// Where replication tells the commit pipeline of the quorum's progress; cloning shares it.
#[derive(Clone, Debug)]
pub struct CommitGate(pub(crate) Arc<Levels>);

impl CommitGate {
    /// Takes new positions. They only move forward; `required` may change either way, and a change to false
    /// releases every commit that waited for standbys (the caller records that).
    pub fn set_remote(&self, progress: RemoteProgress) {
        {
            let mut state = self.0.remote.lock();
            if progress.required && !state.was_required {
                // Until now commits were asked to be here only.
                state.floor = state.floor.max(self.0.flushed());
            }
            state.was_required = progress.required;
            let remote = &mut state.progress;
            remote.required = progress.required;
            remote.written = remote.written.max(progress.written);
            remote.flushed = remote.flushed.max(progress.flushed);
            remote.applied = remote.applied.max(progress.applied);
            if state.suspended.is_some() {
                self.0.try_resume(&mut state);
            }
        }
        self.0.advance();
    }

    /// How far what this level waits for is known to be held: by what the quorum has told since the start, or what was proven
    /// before it. Commits that end behind this may be held too.
    pub fn known_to_be_held(&self, level: SyncLevel) -> Lsn {
        self.0.remote.lock().reached(level)
    }

    /// The last progress taken.
    pub fn remote(&self) -> RemoteProgress {
        self.0.remote.lock().progress
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
    /// here: what a standby with `plimsoll.standby_reads = confirmed` may show. On a standby, what it has heard of that.
    pub fn confirmed(&self) -> Lsn {
        if self.0.positions.get().is_none() {
            return self.0.visibility.confirmed();
        }
        self.0.quorum_confirmed().unwrap_or_else(|| self.0.done(Stage::Flushed).get())
    }

    /// Changes of [`CommitGate::confirmed`]. While nobody listens, nothing is sent.
    pub fn confirmed_changes(&self) -> watch::Receiver<Lsn> {
        let changes = self.0.confirmed.subscribe();
        self.0.tell_confirmed(|| self.confirmed());
        changes
    }

    /// A standby hears from the server before it that the log is confirmed up to here.
    pub fn confirm(&self, upto: Lsn) {
        self.0.visibility.confirm(upto);
        self.0.tell_confirmed(|| self.0.visibility.confirmed());
    }

    /// Readers here, or on a standby of this standby, want to hear soon what is confirmed: [`RemoteStages::confirmed`].
    pub fn want_confirmed(&self) {
        self.0.note_bit(CONFIRMED_BIT);
    }

    /// The commits of before this start that are still undecided, as the range after which and up to which they
    /// lie; None if there are none.
    pub fn undecided(&self) -> Option<(Lsn, Lsn)> {
        *self.0.undecided.lock()
    }

    /// Gives up waiting for the quorum to hold the commits of before this start
    /// (plimsoll.unconfirmed_timeout, or no names any more): they become visible, once `record` has put the range on record. Returns
    /// the range; None, and nothing is recorded, on a fenced server, where they stay undecided for good.
    pub fn release_unconfirmed(&self, record: impl FnOnce(Lsn, Lsn)) -> Option<(Lsn, Lsn)> {
        // A fence waits for this lock: it comes before the record, or after the release.
        let fence = self.0.fence.lock();
        let (after, upto) = self.undecided().filter(|_| fence.is_none())?;
        record(after, upto);
        self.0.decide()
    }

    /// How long a commit waits for its standbys before it reports a stall; None is for ever. Holds for waits that have
    /// begun, too.
    pub fn set_patience(&self, patience: Option<Duration>) {
        let millis =
            patience.map_or(u64::MAX, |patience| u64::try_from(patience.as_millis()).unwrap_or(u64::MAX));
        if self.0.patience_ms.swap(millis, Ordering::AcqRel) != millis {
            self.0.changed.notify_waiters();
        }
    }

    /// Waits for a commit that has waited for too long. The same stall may be told again.
    pub async fn stalled(&self) -> Stall {
        let mut stalls = self.0.stall.subscribe();
        loop {
            let told = *stalls.borrow_and_update();
            if let Some(stall) = told
                && !self.0.reached(stall.level, stall.end)
            {
                return stall;
            }
            // The sender lives in self.
            let _ = stalls.changed().await;
        }
    }

    /// Waits for a level no more, nor for stronger ones, until the quorum keeps up again ([`CommitGate::resumed`]). Gives
    /// the position after which commits may be acknowledged without it; None if no quorum is required, or a weaker
    /// level is suspended already.
    pub fn suspend(&self, level: SyncLevel) -> Option<Lsn> {
        let after = {
            let mut state = self.0.remote.lock();
            let weaker = state.suspended.is_some_and(|suspended| suspended.level <= level);
            if !state.progress.required || weaker {
                return None;
            }
            // A stronger level was suspended before: what was acknowledged without it stays in the range.
            let before = state.suspended.map_or(Lsn::MAX, |suspended| suspended.after);
            let after = state.reached(level).min(before);
            state.suspended = Some(Suspended { level, after, asked: None, prompt_since: None });
            after
        };
        self.0.advance();
        Some(after)
    }

    /// Waits for a suspended level again at once. None if none is suspended.
    pub fn resume(&self) -> Option<Resumed> {
        let mut state = self.0.remote.lock();
        let suspended = state.suspended.take()?;
        Some(self.0.resumed_now(suspended))
    }

    /// The level that is suspended.
    pub fn suspended(&self) -> Option<SyncLevel> {
        self.0.remote.lock().suspended.map(|suspended| suspended.level)
    }

    /// Waits until the quorum, having kept up, has ended a suspension. Without somebody who waits here, only its reports can end one.
    pub async fn resumed(&self) -> Resumed {
        loop {
            let mut changed = std::pin::pin!(self.0.resumed.notified());
            changed.as_mut().enable();
            if let Some(resumed) = self.0.ended.lock().take() {
                return resumed;
            }
            let due = self.0.resumption_is_due();
            let in_time = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => {}
                // No report needs to come from who has everything already.
                () = in_time => self.0.try_resume(&mut self.0.remote.lock()),
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Suspended {
    level: SyncLevel,
    after: Lsn,
    /// The position that the quorum was asked for, and when; None while it has what it was asked for.
    asked: Option<(Lsn, Instant)>,
    /// Since when each position was reached in time; None before the first was reached.
    prompt_since: Option<Instant>,
}

impl Suspended {
    /// Takes in that the quorum is at `reached` of a log that ends at `end`, and asks for the next position. True: it has
    /// kept up for as long as `patience`.
    fn keeps_up(&mut self, reached: Lsn, end: Lsn, now: Instant, patience: Duration) -> bool {
        let (target, asked_at) = *self.asked.get_or_insert((end, now));
        if reached < target {
            return false;
        }
        let in_time = now.duration_since(asked_at) <= patience;
        let since = if in_time { self.prompt_since.unwrap_or(asked_at) } else { now };
        self.prompt_since = Some(since);
        self.asked = (reached < end).then_some((end, now));
        now.duration_since(since) >= patience
    }

    /// When a quorum that has everything will have kept up for as long as `patience`; None while it has to answer first.
    fn due(&self, patience: Duration) -> Option<Instant> {
        self.prompt_since.filter(|_| self.asked.is_none()).map(|since| since + patience)
    }
}

#[derive(Debug, Default)]
struct Remote {
    progress: RemoteProgress,
    suspended: Option<Suspended>,
    /// Nothing up to here is in doubt: it was confirmed before this start, or nobody was asked to confirm it.
    floor: Lsn,
    /// Whether a quorum was required last, maybe before this start.
    was_required: bool,
}

impl Remote {
    /// How far what a remote level waits for is known to be held.
    fn reached(&self, level: SyncLevel) -> Lsn {
        self.progress.reached(level).max(self.floor)
    }

    /// How far commits at each remote level are done, of a log that is flushed here up to `flushed`.
    fn effective(&self, flushed: Lsn) -> [Lsn; 3] {
        let mut below = flushed;
        Stage::ALL.map(|stage| {
            let level = stage.level();
            let waits = self.suspended.is_none_or(|suspended| level < suspended.level);
            if self.progress.required && waits {
                below = flushed.min(self.progress.at(stage));
            }
            below
        })
    }
}

/// The positions that levels wait for.
#[derive(Debug)]
pub(crate) struct Levels {
    /// Absent on a standby until its promotion.
    positions: OnceLock<Arc<Positions>>,
    remote: Mutex<Remote>,
    /// How far commits at the level of each stage are done.
    done: [Watermark; Stage::ALL.len()],
    visibility: Arc<Visibility>,
    undecided: Mutex<Option<(Lsn, Lsn)>>,
    is_undecided: AtomicBool,
    decided: Notify,
    /// Why this server acknowledges nothing any more.
    fence: Mutex<Option<Arc<str>>>,
    is_fenced: AtomicBool,
    /// Bits of [`RemoteStages`]: what commits have waited for since the last look, and what was told.
    stages_used: AtomicU8,
    stages_known: AtomicU8,
    stages: watch::Sender<RemoteStages>,
    confirmed: watch::Sender<Lsn>,
    /// A fence was raised, or the patience is another one.
    changed: Notify,
    /// u64::MAX is for ever.
    patience_ms: AtomicU64,
    stall: watch::Sender<Option<Stall>>,
    /// The last suspension that the quorum ended, until it is fetched.
    ended: Mutex<Option<Resumed>>,
    resumed: Notify,
}

impl Levels {
    /// `required`: synchronous standbys are named at this moment.
    pub(crate) fn new(visibility: Arc<Visibility>, required: bool) -> Arc<Self> {
        let progress = RemoteProgress { required, ..RemoteProgress::default() };
        Arc::new(Self {
            positions: OnceLock::new(),
            remote: Mutex::new(Remote { progress, was_required: required, ..Remote::default() }),
            done: Stage::ALL.map(|_| Watermark::new(Lsn::INVALID)),
            visibility,
            is_undecided: AtomicBool::new(false),
            undecided: Mutex::new(None),
            decided: Notify::new(),
            fence: Mutex::new(None),
            is_fenced: AtomicBool::new(false),
            stages_used: AtomicU8::new(0),
            stages_known: AtomicU8::new(0),
            stages: watch::Sender::new(RemoteStages::default()),
            confirmed: watch::Sender::new(Lsn::INVALID),
            changed: Notify::new(),
            patience_ms: AtomicU64::new(u64::MAX),
            stall: watch::Sender::new(None),
            ended: Mutex::new(None),
            resumed: Notify::new(),
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

    /// What the quorum holds of what is flushed here, suspended or not; None while no quorum is required.
    pub(crate) fn quorum_confirmed(&self) -> Option<Lsn> {
        let flushed = self.flushed();
        self.remote.lock().progress.confirmed(flushed)
    }

    fn done(&self, stage: Stage) -> &Watermark {
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
        self.tell_confirmed(|| remote.confirmed(flushed).unwrap_or(flushed));
        if self.is_undecided.load(Ordering::Acquire) {
            let last = self.undecided.lock().map_or(Lsn::INVALID, |(_, last)| last);
            if remote.required && remote.flushed >= last {
                self.decide();
            }
        }
    }

    /// How long the quorum has to keep up before a suspension ends. No time at all if commits wait for ever.
    fn probation(&self) -> Duration {
        match self.patience_ms.load(Ordering::Acquire) {
            u64::MAX => Duration::ZERO,
            millis => Duration::from_millis(millis),
        }
    }

    fn resumption_is_due(&self) -> Option<Instant> {
        self.remote.lock().suspended.and_then(|suspended| suspended.due(self.probation()))
    }

    /// Ends a suspension if the quorum has kept up for long enough, or nothing is required any more.
    fn try_resume(&self, remote: &mut Remote) {
        let Remote { progress, suspended, .. } = remote;
        let Some(state) = suspended else { return };
        let reached = progress.reached(state.level);
        if progress.required && !state.keeps_up(reached, self.flushed(), Instant::now(), self.probation()) {
            if state.asked.is_some() {
                // Commits that wait for less may be all there are: the answer shall come as soon as they would have it.
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
    fn resumed_now(&self, suspended: Suspended) -> Resumed {
        let Suspended { level, after, .. } = suspended;
        Resumed { level, after, upto: self.flushed().max(after) }
    }

    /// A log begins of which `confirmed` is proven; `required`: a quorum is to hold what comes, as it was before.
    pub(crate) fn begin_at(&self, confirmed: Lsn, required: bool) {
        let mut remote = self.remote.lock();
        (remote.floor, remote.was_required) = (confirmed, required);
    }

    /// Whether synchronous standbys are named now.
    pub(crate) fn is_required(&self) -> bool {
        self.remote.lock().progress.required
    }

    /// Commits in this range, from before this start or promotion, are undecided if synchronous standbys are named now: nobody reads
    /// until they are decided.
    pub(crate) fn set_undecided(&self, after: Lsn, upto: Lsn) {
        if after >= upto || !self.is_required() {
            return;
        }
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
            let _told = interrupt.waiting(WaitEvent::Undecided);
            tokio::select! {
                biased;
                () = interrupt.cancelled() => return Err(Error::Cancelled),
                () = decided => {}
            }
        }
        Ok(())
    }

    /// Waits until the log is flushed here up to `end` and the quorum holds it, at a remote level. False: cancelled.
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
        let _told = interrupt.waiting_for_commit(end);
        let began = Instant::now();
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            self.check_fence()?;
            tokio::select! {
                biased;
                reached = mark.wait(end) => return reached.map(|_| true).map_err(|_| Error::Shutdown),
                () = interrupt.cancelled() => return Ok(false),
                () = changed => {}
                () = self.tell_stall(began, end) => {}
            }
        }
    }

    /// Tells of a commit that ends at `end` once it has waited since `began`, and since its flush here, for as long as set. Never
    /// returns.
    async fn tell_stall(&self, began: Instant, end: Lsn) {
        let patience_ms = self.patience_ms.load(Ordering::Acquire);
        if patience_ms != u64::MAX {
            let patience = Duration::from_millis(patience_ms);
            tokio::time::sleep_until(began + patience).await;
            if let Some(positions) = self.positions.get().filter(|positions| positions.flushed() < end) {
                // That is no fault of the standbys'. A failed log ends the wait elsewhere.
                let _ = positions.wait_flushed(end).await;
                tokio::time::sleep(patience).await;
            }
            let mut levels = Stage::ALL.into_iter().map(Stage::level);
            if let Some(level) = levels.find(|level| !self.reached(*level, end)) {
                self.stall.send_replace(Some(Stall { level, end }));
            }
        }
        std::future::pending().await
    }

    /// Sends a confirmed position to those who listen; it never moves back.
    fn tell_confirmed(&self, upto: impl FnOnce() -> Lsn) {
        if self.confirmed.receiver_count() > 0 {
            let upto = upto();
            self.confirmed.send_if_modified(|told| {
                let more = upto > *told;
                *told = upto.max(*told);
                more
            });
        }
    }

    /// A commit is about to wait for this level.
    fn note_stage(&self, level: SyncLevel) {
        self.note_bit(level.stage().map_or(0, Stage::bit));
    }

    fn note_bit(&self, bit: u8) {
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
        self.stop();
        self.visibility.close();
    }

    /// Ends the waits for remote levels that are not reached.
    fn stop(&self) {
        self.done.iter().for_each(Watermark::stop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A suspension of a log that grows by 10 a step of 10 ms, of which the quorum has what is `lag_ms(now)` old. The time when it
    /// ends.
    fn resumed_at(patience_ms: u64, lag_ms: impl Fn(u64) -> u64) -> Option<u64> {
        let began = Instant::now();
        let level = SyncLevel::On;
        let mut state = Suspended { level, after: Lsn::INVALID, asked: None, prompt_since: None };
        (1000..9000).step_by(10).find(|now| {
            let (reached, end) = (Lsn::new(now - lag_ms(*now)), Lsn::new(*now));
            state.keeps_up(
                reached,
                end,
                began + Duration::from_millis(*now),
                Duration::from_millis(patience_ms),
            )
        })
    }

    #[test]
    fn a_suspension_ends_once_the_quorum_has_kept_up_for_as_long_as_a_commit_waits() {
        assert_eq!(resumed_at(300, |_| 0), Some(1300), "the log never waits for it");
        let after = resumed_at(300, |_| 100).expect("it is fast enough");
        assert!((1300..=1400).contains(&after), "{after}");
        assert_eq!(resumed_at(300, |_| 400), None, "each of its answers is too late");
        let mended = resumed_at(300, |now| if now < 5000 { 900 } else { 100 }).expect("it has got faster");
        assert!((5300..=5800).contains(&mended), "{mended}");
        let hiccup = resumed_at(300, |now| if (1200..1600).contains(&now) { now - 1100 } else { 50 });
        let hiccup = hiccup.expect("it was held up once");
        assert!((1900..=2000).contains(&hiccup), "{hiccup}");
        assert_eq!(resumed_at(0, |_| 0), Some(1000));
    }
}
