//! What the registry of snapshots keeps under its lock, and how it moves on.

use super::prefixes::{KnownPrefix, LastPrefix, Prefix, Prefixes};
#[cfg(test)]
use super::snapshot::Planted;
use super::xid_set::XidSet;
use crate::SyncLevel;
use std::collections::VecDeque;
use wal::{Lsn, Xid};

/// A commit that is in the log while its level is not reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct InDoubt {
    pub(super) end: Lsn,
    pub(super) xid: Xid,
    pub(super) level: SyncLevel,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) visible: Lsn,
    pub(super) next_xid: Xid,
    pub(super) in_doubt: VecDeque<InDoubt>,
    /// What no new snapshot sees: `open`, `aborted` and what is in `ending`.
    pub(super) excluded: XidSet,
    /// Early xids without an outcome.
    pub(super) open: XidSet,
    /// xids that have versions in pages and will never be seen.
    pub(super) aborted: XidSet,
    /// `open` and `aborted` as the state page had them last (standby).
    pub(super) known_early: XidSet,
    /// Commits in doubt that early xids are a part of, ascending, with those.
    pub(super) ending: VecDeque<(Xid, XidSet)>,
    /// Live snapshots by their oldest xid, ascending, with how many there are of each.
    pub(super) live: VecDeque<(Xid, u32)>,
    pub(super) feedback: Option<Xid>,
    /// Snapshots below this one were given up to replay (standby).
    pub(super) cancelled_below: Xid,
    /// Replay has removed files that snapshots of what was before this position would need (standby).
    pub(super) dropped_before: Lsn,
    /// Replay has removed versions that snapshots below this one would need (standby).
    pub(super) pruned_below: Xid,
    /// What redo has shown, and how much of that is confirmed (standby).
    pub(super) prefixes: Prefixes,
    #[cfg(test)]
    pub(super) planted: Option<Planted>,
}

impl State {
    pub(super) fn enter(&mut self, xid: Xid) {
        match self.live.back_mut() {
            Some((last, count)) if *last == xid => *count += 1,
            Some((last, _)) if *last > xid => match self.live.binary_search_by_key(&xid, |(xid, _)| *xid) {
                Ok(at) => self.live[at].1 += 1,
                Err(at) => self.live.insert(at, (xid, 1)),
            },
            _ => self.live.push_back((xid, 1)),
        }
    }

    pub(super) fn leave(&mut self, xid: Xid) {
        if let Ok(at) = self.live.binary_search_by_key(&xid, |(xid, _)| *xid) {
            self.live[at].1 -= 1;
            while self.live.front().is_some_and(|(_, count)| *count == 0) {
                self.live.pop_front();
            }
        }
    }

    pub(super) fn horizon(&self) -> Xid {
        let all = host::planted!("pruning does not heed the oldest snapshot");
        let oldest = self.live.front().filter(|_| !all).map_or(self.next_xid, |(xid, _)| *xid);
        // An aborted version above the horizon would pass for one that replaced another.
        let first_excluded = self.excluded.iter().next();
        let feedback =
            self.feedback.filter(|_| !host::planted!("pruning does not heed a standby's feedback"));
        [Some(self.next_xid), feedback, first_excluded].into_iter().flatten().fold(oldest, Xid::min)
    }

    /// What early xids are a part of a commit have its fate from now on.
    pub(super) fn publish_parts(&mut self, commit: Xid) {
        if let Some((_, parts)) = self.ending.iter().find(|(whole, _)| *whole == commit) {
            self.open = self.open.without(|open| parts.contains(open));
        }
    }

    pub(super) fn settle(&mut self, reached: impl Fn(SyncLevel, Lsn) -> bool) {
        while let Some(front) = self.in_doubt.front().copied().filter(|front| reached(front.level, front.end))
        {
            self.in_doubt.pop_front();
            self.becomes_visible(front.end, front.xid);
        }
    }

    pub(super) fn becomes_visible(&mut self, end: Lsn, xid: Xid) {
        assert!(end >= self.visible && xid >= self.next_xid, "visible goes back to {end}, xid {xid}");
        (self.visible, self.next_xid) = (end, xid.next());
        while self.ending.front().is_some_and(|(commit, _)| *commit <= xid) {
            if let Some((_, parts)) = self.ending.pop_front() {
                self.excluded = self.excluded.without(|xid| parts.contains(xid));
            }
        }
    }

    /// Plays the planted bug for a redone commit. Returns the xid up to which it is shown.
    #[cfg(test)]
    pub(super) fn spoil(&mut self, xid: Xid) -> Xid {
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
    pub(super) fn excluded_below(&self, next_xid: Xid) -> (XidSet, Xid) {
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

    /// The longest prefix that ends at or before `upto`, of commits that are visible or in doubt; None if
    /// more is visible. It does not name the aborted xids that are outside: the state page does.
    pub(super) fn prefix_up_to(&self, upto: Lsn) -> Option<KnownPrefix> {
        if self.visible > upto {
            return None;
        }
        let inside = self.in_doubt.partition_point(|commit| commit.end <= upto);
        let last = inside.checked_sub(1).and_then(|at| self.in_doubt.get(at));
        let (end, next_xid) = last.map_or((self.visible, self.next_xid), |last| (last.end, last.xid.next()));
        let (excluded, oldest) = self.excluded_below(next_xid);
        let excluded = excluded.without(|xid| xid >= next_xid || self.aborted.contains(xid));
        let last = LastPrefix { upto, prefix: Prefix { end, next_xid, excluded } };
        Some(KnownPrefix { last, oldest })
    }

    /// This prefix, if replay has removed nothing that it sees.
    pub(super) fn if_whole(&self, last: LastPrefix) -> Option<KnownPrefix> {
        let Prefix { end, next_xid, excluded } = &last.prefix;
        let oldest = self.oldest_of(excluded, *next_xid);
        let is_whole = oldest >= self.pruned_below && *end >= self.dropped_before;
        is_whole.then_some(KnownPrefix { last, oldest })
    }

    /// The prefix of all commits up to `after`, the confirmed position, if it is known and whole.
    pub(super) fn decided_prefix(&self, after: Lsn) -> Option<KnownPrefix> {
        self.prefixes.decided(after).find_map(|last| self.if_whole(last))
    }

    pub(super) fn oldest_of(&self, excluded: &XidSet, next_xid: Xid) -> Xid {
        let first_open = excluded.iter().find(|xid| !self.aborted.contains(*xid));
        first_open.map_or(next_xid, |open| open.min(next_xid))
    }
}
