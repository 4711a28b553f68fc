//! What readers see: snapshots, which ones live, and how far commits are visible.
//!
//! A commit takes its xid in commit order, so a snapshot is a prefix of the log: every xid below its next one, but for
//! the early ones that were open or aborted there. Those of a large transaction (see `early`) are excluded until the
//! commit that they are a part of is visible. Commits whose level is not reached yet stand in a queue in log order; what is
//! before its front is visible.

use crate::prefixes::{Prefix, Prefixes};
use crate::{Interrupt, SyncLevel};
use host::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;
use wal::{Lsn, Watermark, Xid};

/// A small set of xids, shared; costs nothing when empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct XidSet(Option<Arc<[Xid]>>);

impl XidSet {
    /// Whether `xid` is inside.
    pub(crate) fn contains(&self, xid: Xid) -> bool {
        self.0.as_ref().is_some_and(|set| set.binary_search(&xid).is_ok())
    }
    /// All, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Xid> {
        self.0.iter().flat_map(|set| set.iter().copied())
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }
    pub(crate) fn with(&self, xids: impl IntoIterator<Item = Xid>) -> Self {
        self.iter().chain(xids).collect()
    }
    fn without(&self, gone: impl Fn(Xid) -> bool) -> Self {
        self.iter().filter(|xid| !gone(*xid)).collect()
    }
}

impl FromIterator<Xid> for XidSet {
    fn from_iter<I: IntoIterator<Item = Xid>>(xids: I) -> Self {
        let mut all: Vec<Xid> = xids.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        Self((!all.is_empty()).then(|| all.into()))
    }
}

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
    pub(crate) fn sees(&self, xid: Xid) -> bool {
        xid < self.next_xid && !self.excluded.contains(xid)
    }
}

/// A commit that is in the log while its level is not reached.
#[derive(Clone, Copy, Debug)]
struct InDoubt {
    end: Lsn,
    xid: Xid,
    level: SyncLevel,
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

#[derive(Debug)]
struct State {
    visible: Lsn,
    next_xid: Xid,
    in_doubt: VecDeque<InDoubt>,
    /// What no new snapshot sees: `open`, `aborted` and what is in `ending`.
    excluded: XidSet,
    /// Early xids without an outcome.
    open: XidSet,
    /// xids that have versions in pages and will never be seen.
    aborted: XidSet,
    /// `open` and `aborted` as the state page told of them last (standby).
    told: XidSet,
    /// Commits in doubt that early xids are a part of, ascending, with those.
    ending: VecDeque<(Xid, XidSet)>,
    /// Live snapshots by their oldest xid, ascending, with how many there are of each.
    live: VecDeque<(Xid, u32)>,
    feedback: Option<Xid>,
    /// Snapshots below this one were given up to replay (standby).
    cancelled_below: Xid,
    /// Replay has removed versions that snapshots below this one would need (standby).
    pruned_below: Xid,
    /// What replay has shown, and how much of that is confirmed (standby).
    prefixes: Prefixes,
    #[cfg(test)]
    planted: Option<Planted>,
}

/// Bugs in the publication of snapshots, which a test plants to see that the history check finds them.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A replayed commit is shown without the one before it, until the next.
    OutOfOrder,
    /// The position moves to a replayed commit's end before the commit is shown.
    PositionFirst,
    /// A commit is shown before its level is reached.
    InDoubt,
}

/// The registry of snapshots and the queue of commits in doubt. Its lock is a leaf: nothing is taken under it.
#[derive(Debug)]
pub(crate) struct Visibility {
    state: Mutex<State>,
    /// The end of the last commit that was published: all commits before it in the log are visible or in doubt. Others may be in the
    /// log already, and even be shown by a standby.
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
        self.registry.state.lock().leave(self.snapshot.oldest);
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
        self.registry.state.lock().leave(self.horizon);
    }
}

impl State {
    fn enter(&mut self, xid: Xid) {
        match self.live.back_mut() {
            Some((last, count)) if *last == xid => *count += 1,
            Some((last, _)) if *last > xid => match self.live.binary_search_by_key(&xid, |(xid, _)| *xid) {
                Ok(at) => self.live[at].1 += 1,
                Err(at) => self.live.insert(at, (xid, 1)),
            },
            _ => self.live.push_back((xid, 1)),
        }
    }

    fn leave(&mut self, xid: Xid) {
        if let Ok(at) = self.live.binary_search_by_key(&xid, |(xid, _)| *xid) {
            self.live[at].1 -= 1;
            while self.live.front().is_some_and(|(_, count)| *count == 0) {
                self.live.pop_front();
            }
        }
    }

    fn horizon(&self) -> Xid {
        let oldest = self.live.front().map_or(self.next_xid, |(xid, _)| *xid);
        // An aborted version above the horizon would pass for one that replaced another.
        let first_excluded = self.excluded.iter().next();
        [Some(self.next_xid), self.feedback, first_excluded].into_iter().flatten().fold(oldest, Xid::min)
    }

    fn settle(&mut self, reached: impl Fn(SyncLevel, Lsn) -> bool) {
        while let Some(front) = self.in_doubt.front().copied().filter(|front| reached(front.level, front.end))
        {
            self.in_doubt.pop_front();
            self.becomes_visible(front.end, front.xid);
        }
    }

    fn becomes_visible(&mut self, end: Lsn, xid: Xid) {
        (self.visible, self.next_xid) = (end, xid.next());
        while self.ending.front().is_some_and(|(commit, _)| *commit <= xid) {
            if let Some((_, parts)) = self.ending.pop_front() {
                self.excluded = self.excluded.without(|xid| parts.contains(xid));
            }
        }
    }

    /// Plays the planted bug for a replayed commit. Returns the xid up to which it is shown.
    #[cfg(test)]
    fn spoil(&mut self, xid: Xid) -> Xid {
        let before = self.next_xid;
        match self.planted {
            // A standby's next xid is one behind the last commit that it has shown.
            Some(Planted::OutOfOrder) => {
                self.excluded = [Xid::new(before.get() - 1)].into_iter().collect();
                xid
            }
            Some(Planted::PositionFirst) => Xid::new(xid.get() - 1),
            _ => xid,
        }
    }

    /// What a snapshot up to `next_xid` does not see, and its oldest xid.
    fn excluded_below(&self, next_xid: Xid) -> (XidSet, Xid) {
        if self.excluded.is_empty() {
            return (XidSet::default(), next_xid);
        }
        let mut excluded = self.excluded.clone();
        for (commit, parts) in self.ending.iter().take_while(|(commit, _)| *commit < next_xid) {
            debug_assert!(*commit >= self.next_xid, "a visible commit's parts are excluded");
            excluded = excluded.without(|xid| parts.contains(xid));
        }
        let oldest = self.oldest_of(&excluded, next_xid);
        (excluded, oldest)
    }

    fn oldest_of(&self, excluded: &XidSet, next_xid: Xid) -> Xid {
        let first_open = excluded.iter().find(|xid| !self.aborted.contains(*xid));
        first_open.map_or(next_xid, |open| open.min(next_xid))
    }
}

impl Visibility {
    /// Everything up to `visible`, with xids below `next_xid` and without `excluded`, is seen.
    pub(crate) fn new(visible: Lsn, next_xid: Xid, excluded: XidSet) -> Arc<Self> {
        let mut prefixes = Prefixes::default();
        prefixes.replayed(Prefix { end: visible, next_xid, excluded: excluded.clone() });
        let state = State {
            visible,
            next_xid,
            in_doubt: VecDeque::new(),
            aborted: excluded.clone(),
            excluded,
            open: XidSet::default(),
            told: XidSet::default(),
            ending: VecDeque::new(),
            live: VecDeque::new(),
            feedback: None,
            cancelled_below: Xid::INVALID,
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

    /// A snapshot of what is visible, or of the prefix up to `after` if that is longer.
    pub(crate) fn take(
        self: &Arc<Self>,
        after: Lsn,
        reached: impl Fn(SyncLevel, Lsn) -> bool,
    ) -> LiveSnapshot {
        let mut state = self.state.lock();
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

    /// A snapshot of the longest prefix that is confirmed (standby). None if there is none yet, if it lacks a commit that
    /// ends at or before `floor`, or if replay has removed what it would see: then a longer one comes.
    pub(crate) fn take_confirmed(self: &Arc<Self>, floor: Lsn) -> Option<LiveSnapshot> {
        let mut state = self.state.lock();
        let Prefix { end, next_xid, excluded } = state.prefixes.shown(floor)?.clone();
        let oldest = state.oldest_of(&excluded, next_xid);
        if oldest < state.pruned_below {
            return None;
        }
        state.enter(oldest);
        let snapshot = Snapshot { lsn: end, next_xid, excluded, oldest };
        Some(LiveSnapshot { snapshot, registry: Arc::clone(self), owner: None })
    }

    /// Takes the position up to which the log is confirmed (standby).
    pub(crate) fn confirm(&self, upto: Lsn) {
        if self.state.lock().prefixes.confirm(upto) {
            self.confirmed_more.notify_waiters();
        }
    }

    /// The position of the last [`Visibility::confirm`].
    pub(crate) fn confirmed(&self) -> Lsn {
        self.state.lock().prefixes.confirmed()
    }

    /// What follows `end` will be of another branch than what was confirmed so far.
    pub(crate) fn branches_at(&self, end: Lsn) {
        self.state.lock().prefixes.branches_at(end);
    }

    /// Wakes those who wait for a confirmed prefix: more is confirmed, or the node is no standby any more.
    pub(crate) fn confirmed_more(&self) -> &Notify {
        &self.confirmed_more
    }

    /// Replay is about to remove what snapshots that do not see all xids below `horizon` may need: no confirmed snapshot is
    /// older from now on.
    pub(crate) fn prunes_below(&self, horizon: Xid) {
        let mut state = self.state.lock();
        state.pruned_below = state.pruned_below.max(horizon);
    }

    /// Takes in commits in log order. Called under the commit lock.
    pub(crate) fn publish(&self, commits: &[Insertion], reached: impl Fn(SyncLevel, Lsn) -> bool) {
        let mut state = self.state.lock();
        for commit in commits {
            let shows = state.in_doubt.is_empty() && reached(commit.level, commit.end);
            #[cfg(test)]
            let shows = shows || state.planted == Some(Planted::InDoubt);
            if shows {
                state.becomes_visible(commit.end, commit.xid);
            } else {
                let Insertion { end, xid, level } = *commit;
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
        let mut state = self.state.lock();
        state.settle(reached);
        let visible = state.visible;
        drop(state);
        self.mark.advance(visible);
    }

    /// Replay has come to its end: what it has left without an outcome is aborted in the same step that moves the next xid past it.
    pub(crate) fn end_replay(&self, visible: Lsn, next_xid: Xid, leftovers: &[Xid]) {
        let leftovers = || leftovers.iter().copied();
        let mut state = self.state.lock();
        state.open = state.open.without(|open| leftovers().any(|xid| xid == open));
        state.aborted = state.aborted.with(leftovers());
        state.excluded = state.excluded.with(leftovers());
        state.visible = state.visible.max(visible);
        state.next_xid = state.next_xid.max(next_xid);
        drop(state);
        self.mark.advance(visible);
    }

    /// A commit is replayed on a standby, with the early xids that are a part of it. `open`: those below it that have versions
    /// and no outcome.
    pub(crate) fn replayed_commit(&self, end: Lsn, xid: Xid, parts: &[Xid], open: impl Iterator<Item = Xid>) {
        let mut state = self.state.lock();
        let open: XidSet = open.collect();
        if !state.excluded.is_empty() || !open.is_empty() {
            let ended = |other: Xid| other == xid || parts.contains(&other);
            state.open = state.open.with(open.iter()).without(ended);
            state.excluded = state.excluded.with(open.iter()).without(ended);
        }
        state.visible = state.visible.max(end);
        #[cfg(test)]
        let xid = state.spoil(xid);
        state.next_xid = state.next_xid.max(xid.next());
        let prefix = Prefix { end, next_xid: state.next_xid, excluded: state.excluded.clone() };
        let shown = state.prefixes.replayed(prefix);
        drop(state);
        self.mark.advance(end);
        if shown {
            self.confirmed_more.notify_waiters();
        }
    }

    /// Lets no snapshot see versions of these early xids until they are a part of a commit. To be called before there is one.
    pub(crate) fn open_early(&self, xid: Xid) {
        let mut state = self.state.lock();
        state.open = state.open.with([xid]);
        state.excluded = state.excluded.with([xid]);
    }

    /// Lets no later snapshot see versions of these xids. Snapshots taken before do not see them either: they are above
    /// theirs, or were open.
    pub(crate) fn abort(&self, xids: &[Xid]) {
        let mut state = self.state.lock();
        let xids = || xids.iter().copied();
        state.open = state.open.without(|open| xids().any(|xid| xid == open));
        state.aborted = state.aborted.with(xids());
        state.excluded = state.excluded.with(xids());
    }

    /// These early xids are a part of the commit `commit`, which is in the log and will be published next.
    pub(crate) fn end_early(&self, commit: Xid, parts: &[Xid]) {
        let mut state = self.state.lock();
        state.open = state.open.without(|open| parts.contains(&open));
        state.ending.push_back((commit, parts.iter().copied().collect()));
    }

    /// Replaces what is open and aborted: the state page tells a standby.
    pub(crate) fn set_early(&self, open: XidSet, aborted: XidSet) {
        let mut state = self.state.lock();
        state.excluded = open.with(aborted.iter());
        let new = state.excluded.without(|xid| state.told.contains(xid));
        state.prefixes.exclude(&new);
        state.told = state.excluded.clone();
        (state.open, state.aborted) = (open, aborted);
    }

    /// Forgets aborted xids of which no version is left that anybody could meet.
    pub(crate) fn forget(&self, xids: &[Xid]) {
        let mut state = self.state.lock();
        state.aborted = state.aborted.without(|xid| xids.contains(&xid));
        state.excluded = state.excluded.without(|xid| xids.contains(&xid));
    }

    /// The early xids without an outcome, and the aborted ones. To be asked when the row's lock is held: what is
    /// written to a row before that is then told rightly.
    pub(crate) fn unsettled(&self) -> (XidSet, XidSet) {
        let state = self.state.lock();
        (state.open.clone(), state.aborted.clone())
    }

    /// Publishes wrongly from now on.
    #[cfg(test)]
    pub(crate) fn plant(&self, planted: Planted) {
        self.state.lock().planted = Some(planted);
    }

    /// The xids below the next that are not seen.
    #[cfg(test)]
    pub(crate) fn excluded(&self) -> XidSet {
        self.state.lock().excluded.clone()
    }

    /// The end of the commit with this xid, or that this xid is a part of, if it is in doubt.
    pub(crate) fn in_doubt(&self, xid: Xid) -> Option<Lsn> {
        let state = self.state.lock();
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
        let state = self.state.lock();
        let inside = state.in_doubt.partition_point(|commit| commit.end <= lsn);
        inside.checked_sub(1).and_then(|at| state.in_doubt.get(at)).map(|commit| commit.end)
    }

    /// How far commits are visible.
    pub(crate) fn visible(&self) -> Lsn {
        self.mark.get()
    }

    /// The visible position if commits are in doubt.
    pub(crate) fn decided_up_to(&self) -> Option<Lsn> {
        let state = self.state.lock();
        (!state.in_doubt.is_empty()).then_some(state.visible)
    }

    /// The waits for [`Visibility::visible`].
    pub(crate) fn mark(&self) -> &Watermark {
        &self.mark
    }

    /// Every snapshot, here and on standbys that gave feedback, sees all xids below this one; none of those aborted.
    pub(crate) fn horizon(&self) -> Xid {
        self.state.lock().horizon()
    }

    /// Keeps the horizon where it is, for as long as what is returned lives.
    pub(crate) fn hold_horizon(self: &Arc<Self>) -> HeldHorizon {
        let mut state = self.state.lock();
        let horizon = state.horizon();
        state.enter(horizon);
        HeldHorizon { horizon, registry: Arc::clone(self) }
    }

    /// What the horizon consists of.
    pub(crate) fn horizon_report(&self) -> HorizonReport {
        let state = self.state.lock();
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

    /// The least xid that a live snapshot does not see, what a standby reports as feedback.
    pub(crate) fn oldest_snapshot(&self) -> Option<Xid> {
        self.state.lock().live.front().map(|(xid, _)| *xid)
    }

    /// Standbys ask that nothing be removed which snapshots that do not see this xid still see.
    pub(crate) fn set_feedback(&self, xid: Option<Xid>) {
        self.state.lock().feedback = xid;
    }

    /// Gives up all snapshots that could see what pruning up to `horizon` removes. Returns how many that were.
    pub(crate) fn cancel_below(&self, horizon: Xid) -> u64 {
        let mut state = self.state.lock();
        let before = state.cancelled_below;
        state.cancelled_below = before.max(horizon);
        let given_up = state.live.iter().filter(|(xid, _)| (before..horizon).contains(xid));
        given_up.map(|(_, count)| u64::from(*count)).sum()
    }

    /// Whether [`Visibility::cancel_below`] gave this snapshot up.
    pub(crate) fn is_cancelled(&self, snapshot: &Snapshot) -> bool {
        snapshot.oldest < self.state.lock().cancelled_below
    }

    /// Ends all waits.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.mark.stop();
        self.confirmed_more.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insertion(end: u64, xid: u64, level: SyncLevel) -> Insertion {
        Insertion { end: Lsn::new(end), xid: Xid::new(xid), level }
    }

    fn registry() -> Arc<Visibility> {
        Visibility::new(Lsn::new(100), Xid::new(10), XidSet::default())
    }

    #[test]
    fn a_weak_commit_behind_a_stalled_strong_one_stays_unseen() {
        let seen = registry();
        let none = |level, _| level == SyncLevel::Off;
        seen.publish(&[insertion(110, 10, SyncLevel::Off)], none);
        seen.publish(&[insertion(120, 11, SyncLevel::On), insertion(130, 12, SyncLevel::Off)], none);
        assert_eq!(seen.visible(), Lsn::new(110));
        let snapshot = seen.take(Lsn::INVALID, none);
        assert!(snapshot.sees(Xid::new(10)) && !snapshot.sees(Xid::new(11)) && !snapshot.sees(Xid::new(12)));
        seen.settle(|_, _| true);
        assert_eq!(seen.visible(), Lsn::new(130));
        assert!(!snapshot.sees(Xid::new(12)), "a snapshot stays as it was");
        assert!(seen.take(Lsn::INVALID, none).sees(Xid::new(12)));
    }

    #[test]
    fn a_session_sees_its_own_commit_and_what_is_before_it() {
        let seen = registry();
        let none = |_, _| false;
        seen.publish(&[insertion(120, 10, SyncLevel::On), insertion(130, 11, SyncLevel::On)], none);
        let own = seen.take(Lsn::new(120), none);
        assert_eq!((own.lsn, own.next_xid), (Lsn::new(120), Xid::new(11)));
        assert_eq!(seen.in_doubt(Xid::new(11)), Some(Lsn::new(130)));
        assert_eq!(seen.in_doubt(Xid::new(9)), None);
    }

    #[test]
    fn what_the_state_page_tells_late_is_outside_of_the_prefixes_that_were_replayed_before() {
        let seen = registry();
        let open = |xids: &[u64]| xids.iter().map(|xid| Xid::new(*xid)).collect::<XidSet>();
        seen.set_early(open(&[10]), XidSet::default());
        // 11 is open as well; that shows with its first page, or when the state page is read.
        seen.replayed_commit(Lsn::new(120), Xid::new(12), &[], open(&[10]).iter());
        seen.replayed_commit(Lsn::new(130), Xid::new(14), &[], open(&[10, 11]).iter());
        seen.set_early(open(&[10, 11]), XidSet::default());
        for end in [120, 130] {
            seen.confirm(Lsn::new(end));
            let snapshot = seen.take_confirmed(Lsn::new(end)).unwrap();
            assert_eq!(
                [10, 11, 12].map(|xid| snapshot.sees(Xid::new(xid))),
                [false, false, true],
                "up to {end}"
            );
        }
    }

    #[test]
    fn the_oldest_snapshot_and_feedback_hold_the_horizon() {
        let seen = registry();
        let all = |_, _| true;
        let old = seen.take(Lsn::INVALID, all);
        seen.publish(&[insertion(110, 10, SyncLevel::Off)], all);
        let newer = seen.take(Lsn::INVALID, all);
        assert_eq!(seen.horizon(), Xid::new(10));
        drop(old);
        assert_eq!(seen.horizon(), Xid::new(11));
        seen.publish(&[insertion(120, 11, SyncLevel::Off)], all);
        drop(newer);
        assert_eq!(seen.horizon(), Xid::new(12));
        seen.set_feedback(Some(Xid::new(4)));
        assert_eq!(seen.horizon(), Xid::new(4));
    }

    #[test]
    fn replay_gives_up_only_snapshots_that_pruning_would_hurt() {
        let seen = registry();
        let old = seen.take(Lsn::INVALID, |_, _| true);
        assert_eq!(seen.cancel_below(Xid::new(10)), 0);
        assert!(!seen.is_cancelled(&old));
        assert_eq!(seen.cancel_below(Xid::new(11)), 1);
        assert_eq!(seen.cancel_below(Xid::new(11)), 0, "each is counted once");
        assert!(seen.is_cancelled(&old));
        seen.end_replay(Lsn::new(200), Xid::new(11), &[]);
        assert!(!seen.is_cancelled(&seen.take(Lsn::INVALID, |_, _| true)));
    }

    #[test]
    fn aborted_xids_are_not_seen() {
        let seen = registry();
        seen.abort(&[Xid::new(7)]);
        let snapshot = seen.take(Lsn::INVALID, |_, _| true);
        assert!(snapshot.sees(Xid::new(6)) && !snapshot.sees(Xid::new(7)));
    }

    #[test]
    fn an_early_xid_is_seen_with_the_commit_that_it_is_a_part_of_and_not_before() {
        let seen = registry();
        let none = |_, _| false;
        let all = |_, _| true;
        let early = Xid::new(10);
        let before = seen.take(Lsn::INVALID, all);
        seen.open_early(early);
        seen.publish(&[insertion(110, 11, SyncLevel::Off)], all);
        let during = seen.take(Lsn::INVALID, all);
        assert!(during.sees(Xid::new(11)) && !during.sees(early) && !before.sees(early));
        seen.end_early(Xid::new(12), &[early]);
        seen.publish(&[insertion(120, 12, SyncLevel::On)], none);
        assert_eq!(seen.in_doubt(early), Some(Lsn::new(120)));
        assert!(!seen.take(Lsn::INVALID, none).sees(early), "in doubt");
        assert!(seen.take(Lsn::new(120), none).sees(early), "its own session sees it");
        seen.settle(all);
        assert!(seen.take(Lsn::INVALID, all).sees(early) && seen.in_doubt(early).is_none());
        assert!(!during.sees(early) && !before.sees(early), "snapshots stay as they were");
        assert!(seen.excluded().is_empty());
    }

    #[test]
    fn a_snapshot_beside_an_open_early_xid_holds_the_horizon_at_that_xid_for_good() {
        let seen = registry();
        let all = |_, _| true;
        seen.open_early(Xid::new(10));
        seen.publish(&[insertion(110, 11, SyncLevel::Off)], all);
        let during = seen.take(Lsn::INVALID, all);
        assert_eq!(seen.horizon(), Xid::new(10));
        seen.end_early(Xid::new(12), &[Xid::new(10)]);
        seen.publish(&[insertion(120, 12, SyncLevel::Off)], all);
        assert_eq!(seen.horizon(), Xid::new(10), "that snapshot still reads what the early one replaced");
        assert_eq!(seen.oldest_snapshot(), Some(Xid::new(10)));
        drop(during);
        assert_eq!(seen.horizon(), Xid::new(13));
    }
}
