//! What readers see: snapshots, which ones live, and how far commits are visible.
//!
//! A commit takes its xid in commit order, so a snapshot is a prefix of the log: every xid below its next
//! one, but for the early ones that were open or aborted there. Those of a large transaction (see `early`)
//! are excluded until the commit that they are a part of is visible. Commits whose level is not reached yet
//! stand in a queue in log order; what is before its front is visible.

mod confirmed;

use super::prefixes::{Prefix, Prefixes};
use super::state::{InDoubt, State};
use super::xid_set::XidSet;
use crate::lock_order::{Rank, Ranked};
use crate::{Interrupt, SyncLevel};
use host::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;
use wal::{Lsn, Watermark, Xid};

/// What one statement or transaction sees: a prefix of the commit order.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// The end of the last commit inside.
    pub(crate) lsn: Lsn,
    /// Every xid from here on is outside.
    pub(crate) next_xid: Xid,
    /// xids below that are outside all the same: early ones without an outcome there, and aborted ones.
    pub(crate) excluded: XidSet,
    /// Every xid below this one is inside, or will never be inside any snapshot.
    oldest: Xid,
}

impl Snapshot {
    /// Whether a version written by `xid` is inside.
    #[inline]
    pub(crate) fn sees(&self, xid: Xid) -> bool {
        xid < self.next_xid && !self.excluded.contains(xid)
    }
}

/// A commit as it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Insertion {
    /// The end of its commit record.
    pub(crate) end: Lsn,
    pub(crate) xid: Xid,
    pub(crate) level: SyncLevel,
}

/// What keeps old versions: each is an xid from which on versions may be needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HorizonReport {
    /// How far commits are visible.
    pub visible: Lsn,
    /// The next xid there.
    pub visible_xid: Xid,
    /// The first commit whose level is not reached.
    pub in_doubt: Option<Xid>,
    /// The next xid of the oldest snapshot on this server.
    pub oldest_snapshot: Option<Xid>,
    /// The oldest one that standbys have asked for.
    pub feedback: Option<Xid>,
    /// Large transactions that have versions in pages and are not at their end.
    pub open: Vec<Xid>,
    /// Transactions that came to nothing and have versions in pages.
    pub aborted: Vec<Xid>,
}

/// Bugs in the publication of snapshots, which a test plants to see that the history check finds them.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A redone commit is shown without the one before it, until the next.
    OutOfOrder,
    /// The position moves to a redone commit's end before the commit is shown.
    PositionFirst,
    /// A commit is shown before its level is reached.
    InDoubt,
}

/// The registry of snapshots and the queue of commits in doubt. Its lock is a leaf: nothing is taken under
/// it.
#[derive(Debug)]
pub(crate) struct Visibility {
    state: Mutex<State>,
    /// The end of the last commit that was published: all commits before it in the log are visible or in
    /// doubt. Others may be in the log already, and even be shown by a standby.
    published: AtomicU64,
    /// `state.visible`, for waits.
    mark: Watermark,
    /// More of [`State::prefixes`] is shown, or they mean nothing any more.
    confirmed_more: Notify,
    /// Set once the engine stops.
    closed: AtomicBool,
}

/// A snapshot that holds the pruning horizon back while it lives.
#[derive(Debug)]
pub(crate) struct LiveSnapshot {
    snapshot: Snapshot,
    registry: Arc<Visibility>,
    /// The session that is asked to give way when replay needs what this sees.
    owner: Option<Interrupt>,
}

impl LiveSnapshot {
    /// Another one that sees the same.
    pub(crate) fn again(&self) -> Self {
        self.registry.lock().enter(self.snapshot.oldest);
        Self { snapshot: self.snapshot.clone(), registry: Arc::clone(&self.registry), owner: None }
    }

    /// Names the session that holds it.
    pub(crate) fn held_by(mut self, owner: &Interrupt) -> Self {
        owner.holds(self.snapshot.oldest);
        self.owner = Some(owner.clone());
        self
    }
}

impl std::ops::Deref for LiveSnapshot {
    type Target = Snapshot;
    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl Drop for LiveSnapshot {
    fn drop(&mut self) {
        self.registry.lock().leave(self.snapshot.oldest);
        if let Some(owner) = &self.owner {
            owner.lets_go(self.snapshot.oldest);
        }
    }
}

/// The horizon, which stays where it is while this lives.
#[derive(Debug)]
pub(crate) struct HeldHorizon {
    horizon: Xid,
    registry: Arc<Visibility>,
}

impl HeldHorizon {
    /// Where it is.
    pub(crate) fn horizon(&self) -> Xid {
        self.horizon
    }
}

impl Drop for HeldHorizon {
    fn drop(&mut self) {
        self.registry.lock().leave(self.horizon);
    }
}

impl Visibility {
    /// Everything up to `visible`, with xids below `next_xid` and without `excluded`, is seen.
    pub(crate) fn new(visible: Lsn, next_xid: Xid, excluded: XidSet) -> Arc<Self> {
        let mut prefixes = Prefixes::default();
        prefixes.redone(Prefix { end: visible, next_xid, excluded: excluded.clone() });
        let state = State {
            visible,
            next_xid,
            in_doubt: VecDeque::new(),
            aborted: excluded.clone(),
            excluded,
            open: XidSet::default(),
            known_early: XidSet::default(),
            ending: VecDeque::new(),
            live: VecDeque::new(),
            feedback: None,
            cancelled_below: Xid::INVALID,
            dropped_before: Lsn::INVALID,
            pruned_below: Xid::INVALID,
            prefixes,
            #[cfg(test)]
            planted: None,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            published: AtomicU64::new(visible.get()),
            mark: Watermark::new(visible),
            confirmed_more: Notify::new(),
            closed: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> Ranked<MutexGuard<'_, State>> {
        Ranked::take(Rank::Leaf, || self.state.lock())
    }

    /// A snapshot of what is visible, or of the prefix up to `after` if that is longer.
    pub(crate) fn take(
        self: &Arc<Self>,
        after: Lsn,
        reached: impl Fn(SyncLevel, Lsn) -> bool,
    ) -> LiveSnapshot {
        let mut state = self.lock();
        if !state.in_doubt.is_empty() {
            state.settle(reached);
        }
        let (mut lsn, mut next_xid) = (state.visible, state.next_xid);
        if after > lsn {
            let inside = state.in_doubt.partition_point(|commit| commit.end <= after);
            if let Some(last) = inside.checked_sub(1).and_then(|at| state.in_doubt.get(at)) {
                (lsn, next_xid) = (last.end, last.xid.next());
            }
        }
        let (excluded, oldest) = state.excluded_below(next_xid);
        let snapshot = Snapshot { lsn, next_xid, excluded, oldest };
        state.enter(oldest);
        let visible = state.visible;
        drop(state);
        self.mark.advance(visible);
        LiveSnapshot { snapshot, registry: Arc::clone(self), owner: None }
    }

    /// Takes in commits in log order. Called under the commit lock.
    pub(crate) fn publish(&self, commits: &[Insertion], reached: impl Fn(SyncLevel, Lsn) -> bool) {
        let mut state = self.lock();
        for commit in commits {
            let published = Lsn::new(self.published.load(Ordering::Relaxed));
            assert!(
                commit.end > published,
                "a commit ends at {} and one at {published} came before",
                commit.end
            );
            state.publish_parts(commit.xid);
            let shows = state.in_doubt.is_empty() && reached(commit.level, commit.end);
            let shows = shows || host::planted!("a commit is shown before its level is reached");
            #[cfg(test)]
            let shows = shows || state.planted == Some(Planted::InDoubt);
            if shows {
                state.becomes_visible(commit.end, commit.xid);
            } else {
                let Insertion { end, xid, mut level } = *commit;
                if host::planted!("rows of remote_apply are shown once standbys have flushed them") {
                    level = level.min(SyncLevel::On);
                }
                state.in_doubt.push_back(InDoubt { end, xid, level });
            }
            self.published.store(commit.end.get(), Ordering::Release);
        }
        let visible = state.visible;
        drop(state);
        self.mark.advance(visible);
    }

    /// Takes commits out of doubt whose level is reached by now.
    pub(crate) fn settle(&self, reached: impl Fn(SyncLevel, Lsn) -> bool) {
        let mut state = self.lock();
        state.settle(reached);
        let visible = state.visible;
        drop(state);
        self.mark.advance(visible);
    }

    /// The last commit in doubt for which `waits` holds, as the range from what is visible to its end.
    pub(crate) fn last_in_doubt(&self, waits: impl Fn(SyncLevel, Lsn) -> bool) -> Option<(Lsn, Lsn)> {
        let state = self.lock();
        let last = state.in_doubt.iter().rev().find(|commit| waits(commit.level, commit.end))?;
        Some((state.visible, last.end))
    }

    /// Replay has come to its end: what it has left without an outcome is aborted in the same step that moves
    /// the next xid past it.
    pub(crate) fn end_replay(&self, visible: Lsn, next_xid: Xid, leftovers: &[Xid]) {
        let leftovers = || leftovers.iter().copied();
        let mut state = self.lock();
        state.open = state.open.without(|open| leftovers().any(|xid| xid == open));
        state.aborted = state.aborted.with(leftovers());
        state.excluded = state.excluded.with(leftovers());
        state.visible = state.visible.max(visible);
        state.next_xid = state.next_xid.max(next_xid);
        drop(state);
        self.mark.advance(visible);
    }

    /// A commit is redone on a standby, with the early xids that are a part of it. `open`: those below it
    /// that have versions and no outcome.
    pub(crate) fn redone_commit(&self, end: Lsn, xid: Xid, parts: &[Xid], open: impl Iterator<Item = Xid>) {
        let mut state = self.lock();
        let open: XidSet = open.collect();
        if !state.excluded.is_empty() || !open.is_empty() {
            let ended = |other: Xid| other == xid || parts.contains(&other);
            state.open = state.open.with(open.iter()).without(ended);
            state.excluded = state.excluded.with(open.iter()).without(ended);
        }
        assert!(end >= state.visible, "visible goes back from {} to {end}", state.visible);
        state.visible = end;
        #[cfg(test)]
        let xid = state.spoil(xid);
        state.next_xid = state.next_xid.max(xid.next());
        // Nothing before may have named what began before redo did and ends here.
        if !parts.is_empty() {
            state.prefixes.exclude(&parts.iter().copied().collect());
        }
        let prefix = Prefix { end, next_xid: state.next_xid, excluded: state.excluded.clone() };
        let shown = state.prefixes.redone(prefix);
        drop(state);
        self.mark.advance(end);
        if shown {
            self.confirmed_more.notify_waiters();
        }
    }

    /// Lets no snapshot see versions of these early xids until they are a part of a commit. To be called
    /// before there is one.
    pub(crate) fn open_early(&self, xid: Xid) {
        let mut state = self.lock();
        state.open = state.open.with([xid]);
        state.excluded = state.excluded.with([xid]);
    }

    /// Lets no later snapshot see versions of these xids. Snapshots taken before do not see them either: they
    /// are above theirs, or were open.
    pub(crate) fn abort(&self, xids: &[Xid]) {
        let mut state = self.lock();
        let xids = || xids.iter().copied();
        state.open = state.open.without(|open| xids().any(|xid| xid == open));
        state.aborted = state.aborted.with(xids());
        state.excluded = state.excluded.with(xids());
    }

    /// These early xids are a part of the commit `commit`, which is in the log and will be published next.
    /// Until then they are open: whoever meets them waits for it to be in doubt or visible.
    pub(crate) fn end_early(&self, commit: Xid, parts: &[Xid]) {
        let mut state = self.lock();
        if host::planted!("a large transaction passes for settled before its commit is published") {
            state.open = state.open.without(|open| parts.contains(&open));
        }
        state.ending.push_back((commit, parts.iter().copied().collect()));
    }

    /// Replaces what is open and aborted: the state page tells a standby.
    pub(crate) fn set_early(&self, open: XidSet, aborted: XidSet) {
        let mut state = self.lock();
        state.excluded = open.with(aborted.iter());
        let new = state.excluded.without(|xid| state.known_early.contains(xid));
        state.prefixes.exclude(&new);
        state.known_early = state.excluded.clone();
        // An aborted one that is not named any more was swept.
        let swept = state.aborted.without(|xid| state.excluded.contains(xid));
        (state.open, state.aborted) = (open, aborted);
        self.forget_in_prefixes(state, &swept);
    }

    /// Forgets aborted xids of which no version is left that anybody could meet.
    pub(crate) fn forget(&self, xids: &[Xid]) {
        let mut state = self.lock();
        state.aborted = state.aborted.without(|xid| xids.contains(&xid));
        state.excluded = state.excluded.without(|xid| xids.contains(&xid));
        self.forget_in_prefixes(state, &xids.iter().copied().collect());
    }

    /// What is pruned from here on may be above aborted xids that are forgotten: confirmed snapshots must not
    /// pass for as old as those, or there is none until the next commit.
    fn forget_in_prefixes(&self, mut state: Ranked<MutexGuard<'_, State>>, xids: &XidSet) {
        if !xids.is_empty() {
            state.prefixes.forget(xids);
            drop(state);
            self.confirmed_more.notify_waiters();
        }
    }

    /// The early xids without an outcome, and the aborted ones. To be asked when the row's lock is held: what
    /// is written to a row before that is then told rightly.
    pub(crate) fn unsettled(&self) -> (XidSet, XidSet) {
        let state = self.lock();
        (state.open.clone(), state.aborted.clone())
    }

    /// Publishes wrongly from now on.
    #[cfg(test)]
    pub(crate) fn plant(&self, planted: Planted) {
        self.lock().planted = Some(planted);
    }

    /// The xids below the next that are not seen.
    #[cfg(test)]
    pub(crate) fn excluded(&self) -> XidSet {
        self.lock().excluded.clone()
    }

    /// The end of the commit with this xid, or that this xid is a part of, if it is in doubt.
    pub(crate) fn in_doubt(&self, xid: Xid) -> Option<Lsn> {
        let state = self.lock();
        let whole = state.ending.iter().find(|(_, parts)| parts.contains(xid));
        let xid = whole.map_or(xid, |(commit, _)| *commit);
        if xid < state.next_xid {
            return None;
        }
        let at = state.in_doubt.binary_search_by_key(&xid, |commit| commit.xid).ok()?;
        state.in_doubt.get(at).map(|commit| commit.end)
    }

    /// Whether all commits that end at or before `lsn` are published.
    pub(crate) fn is_published(&self, lsn: Lsn) -> bool {
        self.published.load(Ordering::Acquire) >= lsn.get()
    }

    /// The end of the last commit in doubt that ends at or before `lsn`, of those that are published.
    pub(crate) fn doubt_up_to(&self, lsn: Lsn) -> Option<Lsn> {
        let state = self.lock();
        let inside = state.in_doubt.partition_point(|commit| commit.end <= lsn);
        inside.checked_sub(1).and_then(|at| state.in_doubt.get(at)).map(|commit| commit.end)
    }

    /// How far commits are visible.
    pub(crate) fn visible(&self) -> Lsn {
        self.mark.get()
    }

    /// The visible position if commits are in doubt.
    pub(crate) fn decided_up_to(&self) -> Option<Lsn> {
        let state = self.lock();
        (!state.in_doubt.is_empty()).then_some(state.visible)
    }

    /// The waits for [`Visibility::visible`].
    pub(crate) fn mark(&self) -> &Watermark {
        &self.mark
    }

    /// Every snapshot, here and on standbys that gave feedback, sees all xids below this one; none of those
    /// aborted.
    pub(crate) fn horizon(&self) -> Xid {
        self.lock().horizon()
    }

    /// Keeps the horizon where it is, for as long as what is returned lives.
    pub(crate) fn hold_horizon(self: &Arc<Self>) -> HeldHorizon {
        let mut state = self.lock();
        let horizon = state.horizon();
        state.enter(horizon);
        HeldHorizon { horizon, registry: Arc::clone(self) }
    }

    /// What the horizon consists of.
    pub(crate) fn horizon_report(&self) -> HorizonReport {
        let state = self.lock();
        HorizonReport {
            visible: state.visible,
            visible_xid: state.next_xid,
            in_doubt: state.in_doubt.front().map(|front| front.xid),
            oldest_snapshot: state.live.front().map(|(xid, _)| *xid),
            feedback: state.feedback,
            open: state.open.iter().collect(),
            aborted: state.aborted.iter().collect(),
        }
    }

    /// Whether this commit is unseen by a live snapshot, or will be by the next: it may be in doubt.
    pub(crate) fn is_unseen_by_some(&self, commit: Xid) -> bool {
        let state = self.lock();
        state.live.front().is_some_and(|(oldest, _)| *oldest <= commit)
            || state.in_doubt.binary_search_by_key(&commit, |in_doubt| in_doubt.xid).is_ok()
    }

    /// The least xid that a live snapshot does not see.
    pub(crate) fn oldest_snapshot(&self) -> Option<Xid> {
        self.lock().live.front().map(|(xid, _)| *xid)
    }

    /// The least xid that a live snapshot does not see, or the next will not, which is one of what is
    /// `confirmed` alone if that is asked for: anybody can begin to read at any time.
    pub(crate) fn oldest_needed(&self, confirmed: bool) -> Xid {
        let state = self.lock();
        let prefixes = state.prefixes.all().filter(|_| confirmed);
        let mut confirmed = prefixes.map(|prefix| state.oldest_of(&prefix.excluded, prefix.next_xid));
        // What is removed already is shown to nobody.
        let confirmed = confirmed.find(|oldest| *oldest >= state.pruned_below);
        let live = state.live.front().map(|(xid, _)| *xid);
        let (_, next) = state.excluded_below(state.next_xid);
        confirmed.into_iter().chain(live).fold(next, Xid::min)
    }

    /// Standbys ask that nothing be removed which snapshots that do not see this xid still see.
    pub(crate) fn set_feedback(&self, xid: Option<Xid>) {
        self.lock().feedback = xid;
    }

    /// Gives up all snapshots that could see what pruning up to `horizon` removes.
    pub(crate) fn cancel_below(&self, horizon: Xid) {
        let mut state = self.lock();
        state.cancelled_below = state.cancelled_below.max(horizon);
    }

    /// Whether [`Visibility::cancel_below`] gave this snapshot up.
    pub(crate) fn is_cancelled(&self, snapshot: &Snapshot) -> bool {
        let reads_on = host::planted!("a snapshot whose versions are gone reads on");
        snapshot.oldest < self.lock().cancelled_below && !reads_on
    }

    /// Whether files may be gone that this snapshot could see.
    pub(crate) fn may_lack_files(&self, snapshot: &Snapshot) -> bool {
        snapshot.lsn < self.lock().dropped_before
    }

    /// Ends all waits.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.mark.stop();
        self.confirmed_more.notify_waiters();
    }
}
