//! The gate through which replication reports how far the standbys are.

use super::levels::Levels;
use super::remote::{CONFIRMED_BIT, Remote, RemoteProgress, RemoteStages};
use super::suspension::{Resumed, Stall, Suspended};
use crate::{Error, Interrupt, SyncLevel};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use wal::{BranchObserver, LogState, Lsn};

/// Where replication tells the commit pipeline of the quorum's progress; cloning shares it.
#[derive(Clone, Debug)]
pub struct CommitGate(pub(crate) Arc<Levels>);

impl BranchObserver for CommitGate {
    /// What was confirmed, or reported by the standbys behind this one, of later positions than those that
    /// are kept was said of another branch.
    fn branched(&self, state: &LogState) {
        let kept = state.kept();
        if host::planted!("confirmations of an old branch are kept") {
            return;
        }
        {
            let Remote { progress, floor, .. } = &mut *self.0.remote.lock();
            for position in [&mut progress.written, &mut progress.flushed, &mut progress.replayed, floor] {
                *position = kept.min(*position);
            }
        }
        self.0.visibility.branches_at(kept);
        self.0.confirmed_changes.send_modify(|sent| *sent = kept.min(*sent));
    }
}

fn patience_ms(patience: Option<Duration>) -> u64 {
    let hurries = host::planted!("a fallback does not wait for its timeout");
    let patience = patience.map(|set| if hurries { Duration::from_millis(1) } else { set });
    patience.map_or(u64::MAX, |patience| u64::try_from(patience.as_millis()).unwrap_or(u64::MAX))
}

impl CommitGate {
    /// Takes new positions. They only move forward; `required` may change either way. While commits wait for
    /// standbys a change to false is put off until [`CommitGate::release_unnamed`].
    pub fn set_remote(&self, progress: RemoteProgress) {
        {
            let mut state = self.0.remote.lock();
            if progress.required {
                state.unnamed = None;
            } else if state.progress.required && state.unnamed.is_none() {
                state.unnamed = self.0.waiting(&state);
                self.0.unnamed.notify_waiters();
            }
            let required = progress.required || state.unnamed.is_some();
            if required && !state.was_required {
                // Until now commits were asked to be here only.
                state.floor = state.floor.max(self.0.flushed());
            }
            state.was_required = required;
            let remote = &mut state.progress;
            remote.required = required;
            remote.written = remote.written.max(progress.written);
            remote.flushed = remote.flushed.max(progress.flushed);
            remote.replayed = remote.replayed.max(progress.replayed);
            if state.suspended.is_some() {
                self.0.try_resume(&mut state);
            }
        }
        self.0.advance();
    }

    /// Commits that end up to here have what they wait for, as far as it is known, also if this level and
    /// stronger ones are not waited for from now on. Commits that end behind this may have it too.
    pub fn known_to_be_held(&self, level: SyncLevel) -> Lsn {
        let reached = self.0.remote.lock().reached(level);
        self.0.not_in_doubt(reached)
    }

    /// The last progress taken.
    pub fn remote(&self) -> RemoteProgress {
        self.0.remote.lock().progress
    }

    /// The stages that commits have waited for since the last [`CommitGate::forget_stages`] but one: those
    /// whose progress standbys should report at once.
    pub fn stages(&self) -> watch::Receiver<RemoteStages> {
        self.0.stages.subscribe()
    }

    /// Forgets the stages that no commit has waited for since the last call.
    pub fn forget_stages(&self) {
        let used = self.0.stages_used.swap(0, Ordering::AcqRel);
        self.0.stages_known.store(used, Ordering::Release);
        self.0.tell_stages();
    }

    /// The position up to which the quorum holds the log, or, while none is required, up to which it is
    /// flushed here and decided: what a standby with `plimsoll.standby_reads = confirmed` may show. On a
    /// standby, until its promotion is done, what it has heard of that.
    pub fn confirmed(&self) -> Lsn {
        self.0.confirmed()
    }

    /// Changes of [`CommitGate::confirmed`]. While nobody listens, nothing is sent.
    pub fn confirmed_changes(&self) -> watch::Receiver<Lsn> {
        let changes = self.0.confirmed_changes.subscribe();
        self.0.tell_confirmed();
        changes
    }

    /// A standby hears from the server before it that the log is confirmed up to here.
    pub fn confirm(&self, upto: Lsn) {
        self.0.visibility.confirm(upto);
        self.0.tell_confirmed();
    }

    /// Readers here, or on a standby of this standby, want to hear soon what is confirmed:
    /// [`RemoteStages::confirmed`].
    pub fn want_confirmed(&self) {
        self.0.note_bit(CONFIRMED_BIT);
    }

    /// The commits of before this start that are still undecided, as the range after which and up to which
    /// they lie; None if there are none.
    #[inline]
    pub fn undecided(&self) -> Option<(Lsn, Lsn)> {
        self.0.undecided()
    }

    /// Whether there are such.
    #[inline]
    pub fn is_undecided(&self) -> bool {
        self.0.is_undecided.load(Ordering::Acquire)
    }

    /// Waits while commits of before this start are undecided: what was looked up meanwhile, without a wait,
    /// may be told then.
    ///
    /// # Errors
    /// Fails if the wait is cancelled, or on a fenced server whose statements cannot leave those commits out.
    pub async fn wait_decided(&self, interrupt: &Interrupt) -> Result<(), Error> {
        self.0.wait_decided_or_left_out(Lsn::INVALID, interrupt).await
    }

    /// Gives up waiting for the quorum to hold the commits of before this start
    /// (plimsoll.unconfirmed_timeout, or no names any more): they become visible, once `record` has put the
    /// range on record. Returns the range; None, and nothing is recorded, on a fenced server, where they stay
    /// undecided for good.
    ///
    /// # Errors
    /// That of `record`: they stay undecided.
    pub fn release_unconfirmed<E>(
        &self,
        record: impl FnOnce(Lsn, Lsn) -> Result<(), E>,
    ) -> Result<Option<(Lsn, Lsn)>, E> {
        // A fence waits for this lock: it comes before the record, or after the release.
        let fence = self.0.fence.lock();
        let Some((after, upto)) = self.undecided().filter(|_| fence.is_none()) else { return Ok(None) };
        record(after, upto)?;
        Ok(self.0.decide())
    }

    /// Commits wait for standbys that are named no more.
    pub fn is_unnamed(&self) -> bool {
        self.0.remote.lock().unnamed.is_some()
    }

    /// Waits until [`CommitGate::is_unnamed`].
    pub async fn unnamed(&self) {
        loop {
            let mut changed = std::pin::pin!(self.0.unnamed.notified());
            changed.as_mut().enable();
            if self.is_unnamed() {
                return;
            }
            changed.await;
        }
    }

    /// Has commits wait for standbys no more, since none are named, once `record` has put on record the range
    /// of those that do. Returns the range. None, and nothing changes, if standbys are named, and on a fenced
    /// server.
    ///
    /// # Errors
    /// That of `record`: commits go on waiting.
    pub fn release_unnamed<E>(
        &self,
        record: impl FnOnce(Lsn, Lsn) -> Result<(), E>,
    ) -> Result<Option<(Lsn, Lsn)>, E> {
        // A fence waits for this lock: it comes before the record, or after the release.
        let fence = self.0.fence.lock();
        let unnamed = self.0.remote.lock().unnamed.filter(|_| fence.is_none());
        let Some((after, upto)) = unnamed else { return Ok(None) };
        record(after, upto)?;
        {
            let mut state = self.0.remote.lock();
            if state.unnamed != unnamed {
                // Somebody is named again, or was.
                return Ok(None);
            }
            (state.unnamed, state.progress.required, state.was_required) = (None, false, false);
            if state.suspended.is_some() {
                self.0.try_resume(&mut state);
            }
        }
        self.0.advance();
        Ok(unnamed)
    }

    /// How long a commit waits for its standbys before it reports a stall; None is for ever. Holds for waits
    /// that have begun, too.
    pub fn set_patience(&self, patience: Option<Duration>) {
        let millis = patience_ms(patience);
        if self.0.patience_ms.swap(millis, Ordering::AcqRel) != millis {
            self.0.changed.notify_waiters();
        }
    }

    /// Whether commits wait by this patience now.
    pub fn goes_by(&self, patience: Option<Duration>) -> bool {
        self.0.patience_ms.load(Ordering::Acquire) == patience_ms(patience)
    }

    /// Whether a commit still waits for too long, by the patience that is in force.
    pub fn lasts(&self, stall: &Stall) -> bool {
        let is_in_force = self.0.patience_ms.load(Ordering::Acquire) == stall.patience_ms;
        is_in_force && !self.0.reached(stall.level, stall.end)
    }

    /// Waits for a commit that has waited for too long. The same stall may be told again.
    pub async fn stalled(&self) -> Stall {
        let mut stalls = self.0.stall.subscribe();
        loop {
            let last = *stalls.borrow_and_update();
            match last {
                Some(stall) if self.lasts(&stall) => return stall,
                Some(stall) => self.0.forget_stall(stall),
                None => {}
            }
            // The sender lives in self.
            let _ = stalls.changed().await;
        }
    }

    /// Waits for a level no more, nor for stronger ones, until the quorum keeps up again
    /// ([`CommitGate::resumed`]). Gives the position after which commits may be acknowledged without it; None
    /// if the commit that stalled, which ends at `end`, has the level by now, no quorum is required, a weaker
    /// level is suspended already, or the server is fenced.
    pub fn suspend(&self, level: SyncLevel, end: Lsn) -> Option<Lsn> {
        // A fence waits for this lock: it comes before, or after those who waited were let go.
        let fence = self.0.fence.lock();
        if fence.is_some() {
            return None;
        }
        let after = {
            let mut state = self.0.remote.lock();
            let weaker = state.suspended.is_some_and(|suspended| suspended.level <= level);
            if !state.progress.required || weaker || state.progress.reached(level) >= end {
                return None;
            }
            // A stronger level was suspended before: what was acknowledged without it stays in the range.
            let before = state.suspended.map_or(Lsn::MAX, |suspended| suspended.after);
            let after = self.0.not_in_doubt(state.reached(level)).min(before);
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

    /// Waits until the quorum, having kept up, has ended a suspension. Without somebody who waits here, only
    /// its reports can end one.
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
                biased;
                () = changed => {}
                // No report needs to come from who has everything already.
                () = in_time => self.0.try_resume(&mut self.0.remote.lock()),
            }
        }
    }
}
