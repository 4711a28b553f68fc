//! Snapshots of what is confirmed: a standby's for its readers, and a fenced server's with undecided commits.

use super::super::prefixes::{KnownPrefix, LastPrefix, Prefix};
use super::{LiveSnapshot, Snapshot, State, Visibility};
use std::sync::Arc;
use tokio::sync::Notify;
use wal::{Lsn, Xid};

impl Visibility {
    /// A snapshot of the longest prefix that is confirmed (standby). None if there is none yet, if it lacks a
    /// commit that ends at or before `floor`, or if replay has removed what it would see: then a longer one
    /// comes.
    pub(crate) fn take_confirmed(self: &Arc<Self>, floor: Lsn) -> Option<LiveSnapshot> {
        let mut state = self.lock();
        let prefix = state.prefixes.shown(floor)?.clone();
        let known = state.if_whole(LastPrefix { upto: state.prefixes.confirmed(), prefix })?;
        Some(self.take_known(&mut state, known))
    }

    /// A snapshot of all commits up to `after`, the confirmed position, and of none behind it. None if redo
    /// and the log do not tell which those are, or if what it would see is removed.
    pub(crate) fn take_decided(self: &Arc<Self>, after: Lsn) -> Option<LiveSnapshot> {
        let mut state = self.lock();
        let known = state.decided_prefix(after)?;
        Some(self.take_known(&mut state, known))
    }

    fn take_known(self: &Arc<Self>, state: &mut State, known: KnownPrefix) -> LiveSnapshot {
        let KnownPrefix { last, oldest } = known;
        let Prefix { end, next_xid, excluded } = last.prefix;
        state.enter(oldest);
        let snapshot = Snapshot { lsn: end, next_xid, excluded, oldest };
        LiveSnapshot { snapshot, registry: Arc::clone(self), owner: None }
    }

    /// Takes the position up to which the log is confirmed (standby).
    pub(crate) fn confirm(&self, upto: Lsn) {
        if self.lock().prefixes.confirm(upto) {
            self.confirmed_more.notify_waiters();
        }
    }

    /// The log says that it was confirmed up to `upto`, and which prefix that was, or an earlier one, if that
    /// was known.
    pub(crate) fn recall_confirmed(&self, upto: Lsn, last: Option<LastPrefix>) {
        self.confirm(upto);
        if let Some(mut last) = last {
            let mut state = self.lock();
            last.prefix.excluded = last.prefix.excluded.with(state.excluded.iter());
            last.upto = last.upto.min(upto);
            state.prefixes.put_on_record(last);
        }
    }

    /// The prefix of which [`Visibility::take_decided`] gives a snapshot, without the aborted xids that are
    /// outside of it.
    pub(crate) fn decided_prefix(&self, after: Lsn) -> Option<KnownPrefix> {
        let state = self.lock();
        let mut known = state.decided_prefix(after)?;
        let excluded = &mut known.last.prefix.excluded;
        *excluded = excluded.without(|xid| state.aborted.contains(xid));
        Some(known)
    }

    /// The longest prefix of the commits of this life that ends at or before `upto`; None if more is visible.
    pub(crate) fn prefix_up_to(&self, upto: Lsn) -> Option<KnownPrefix> {
        self.lock().prefix_up_to(upto)
    }

    /// The position of the last [`Visibility::confirm`].
    pub(crate) fn confirmed(&self) -> Lsn {
        self.lock().prefixes.confirmed()
    }

    /// What follows `end` will be of another branch than what was confirmed so far.
    pub(crate) fn branches_at(&self, end: Lsn) {
        self.lock().prefixes.branches_at(end);
    }

    /// Wakes those who wait for a confirmed prefix: more is confirmed, or the node is no standby any more.
    pub(crate) fn confirmed_more(&self) -> &Notify {
        &self.confirmed_more
    }

    /// Replay is about to remove what snapshots that do not see all xids below `horizon` may need: no
    /// confirmed snapshot is older from now on.
    pub(crate) fn prunes_below(&self, horizon: Xid) {
        let mut state = self.lock();
        state.pruned_below = state.pruned_below.max(horizon);
    }

    /// Replay is about to remove what a commit that ends at `end` drops: no confirmed snapshot is from before
    /// it from now on.
    ///
    /// An xid would not do: while an older one is open, snapshots that see the drop do not see all below it.
    pub(crate) fn drops_before(&self, end: Lsn) {
        let mut state = self.lock();
        state.dropped_before = state.dropped_before.max(end);
    }
}
