//! What readers see: snapshots, which ones live, and how far commits are visible.
//!
//! xids are given out in commit order, so a snapshot is a prefix of the log: every xid below its next one, but for
//! the early ones that were open or aborted there. Commits whose level is not reached yet stand in a queue in log
//! order; what is before its front is visible.

use crate::{Interrupt, SyncLevel};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

#[derive(Debug)]
struct State {
    visible: Lsn,
    next_xid: Xid,
    in_doubt: VecDeque<InDoubt>,
    excluded: XidSet,
    /// Live snapshots by their next xid, ascending, with how many there are of each.
    live: VecDeque<(Xid, u32)>,
    feedback: Option<Xid>,
    /// Snapshots below this one were given up to replay (standby).
    cancelled_below: Xid,
}

/// The registry of snapshots and the queue of commits in doubt. Its lock is a leaf: nothing is taken under it.
#[derive(Debug)]
pub(crate) struct Visibility {
    state: Mutex<State>,
    /// `state.visible`, for waits.
    mark: Watermark,
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
        owner.holds(self.snapshot.next_xid);
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
        self.registry.state.lock().leave(self.snapshot.next_xid);
        if let Some(owner) = &self.owner {
            owner.lets_go(self.snapshot.next_xid);
        }
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

    fn settle(&mut self, reached: impl Fn(SyncLevel, Lsn) -> bool) {
        while let Some(front) = self.in_doubt.front().filter(|front| reached(front.level, front.end)) {
            (self.visible, self.next_xid) = (front.end, front.xid.next());
            self.in_doubt.pop_front();
        }
    }
}

impl Visibility {
    /// Everything up to `visible`, with xids below `next_xid` and without `excluded`, is seen.
    pub(crate) fn new(visible: Lsn, next_xid: Xid, excluded: XidSet) -> Arc<Self> {
        let state = State {
            visible,
            next_xid,
            in_doubt: VecDeque::new(),
            excluded,
            live: VecDeque::new(),
            feedback: None,
            cancelled_below: Xid::INVALID,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            mark: Watermark::new(visible),
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
        let snapshot = Snapshot { lsn, next_xid, excluded: state.excluded.clone() };
        state.enter(next_xid);
        let visible = state.visible;
        drop(state);
        self.mark.advance(visible);
        LiveSnapshot { snapshot, registry: Arc::clone(self), owner: None }
    }

    /// Takes in commits in log order. Called under the commit lock.
    pub(crate) fn publish(&self, commits: &[Insertion], reached: impl Fn(SyncLevel, Lsn) -> bool) {
        let mut state = self.state.lock();
        for commit in commits {
            if state.in_doubt.is_empty() && reached(commit.level, commit.end) {
                (state.visible, state.next_xid) = (commit.end, commit.xid.next());
            } else {
                let Insertion { end, xid, level } = *commit;
                state.in_doubt.push_back(InDoubt { end, xid, level });
            }
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

    /// Moves on without a commit in the log: replay of a standby, which has no doubts.
    pub(crate) fn replayed(&self, visible: Lsn, next_xid: Xid) {
        let mut state = self.state.lock();
        state.visible = state.visible.max(visible);
        state.next_xid = state.next_xid.max(next_xid);
        drop(state);
        self.mark.advance(visible);
    }

    /// Lets no later snapshot see versions of `xid`. Snapshots taken before do not see them either: its xid is above
    /// theirs, or it was open.
    pub(crate) fn exclude(&self, xid: Xid) {
        let mut state = self.state.lock();
        state.excluded = state.excluded.iter().chain([xid]).collect();
    }

    /// Replaces the set of xids that are not seen.
    pub(crate) fn set_excluded(&self, excluded: XidSet) {
        self.state.lock().excluded = excluded;
    }

    /// Forgets excluded xids: they committed on the primary, or no version of them is left.
    pub(crate) fn include(&self, xids: &[Xid]) {
        let mut state = self.state.lock();
        state.excluded = state.excluded.iter().filter(|xid| !xids.contains(xid)).collect();
    }

    /// The xids below the next that are not seen.
    pub(crate) fn excluded(&self) -> XidSet {
        self.state.lock().excluded.clone()
    }

    /// The end of the commit with this xid, if it is in doubt.
    pub(crate) fn in_doubt(&self, xid: Xid) -> Option<Lsn> {
        let state = self.state.lock();
        if xid < state.next_xid {
            return None;
        }
        let at = state.in_doubt.binary_search_by_key(&xid, |commit| commit.xid).ok()?;
        state.in_doubt.get(at).map(|commit| commit.end)
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
        let state = self.state.lock();
        let oldest = state.live.front().map_or(state.next_xid, |(xid, _)| *xid);
        let first_excluded = state.excluded.iter().next();
        [Some(state.next_xid), state.feedback, first_excluded].into_iter().flatten().fold(oldest, Xid::min)
    }

    /// The oldest live snapshot's next xid, what a standby reports as feedback.
    pub(crate) fn oldest_snapshot(&self) -> Option<Xid> {
        self.state.lock().live.front().map(|(xid, _)| *xid)
    }

    /// Standbys ask that nothing be removed which snapshots with this next xid still see.
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
        snapshot.next_xid < self.state.lock().cancelled_below
    }

    /// Ends all waits.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.mark.stop();
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
        seen.replayed(Lsn::new(200), Xid::new(11));
        assert!(!seen.is_cancelled(&seen.take(Lsn::INVALID, |_, _| true)));
    }

    #[test]
    fn aborted_xids_are_not_seen() {
        let seen = registry();
        seen.exclude(Xid::new(7));
        let snapshot = seen.take(Lsn::INVALID, |_, _| true);
        assert!(snapshot.sees(Xid::new(6)) && !snapshot.sees(Xid::new(7)));
    }
}
