//! The prefixes of the commit order that a standby has redone, until it hears that they are confirmed.
//!
//! Each commit that is redone ends a prefix. Readers with `plimsoll.standby_reads = confirmed` see the last
//! one that ends at or before the position which the upstream server has named confirmed.
//!
//! Where that one ended before the redo point, redo does not come by its commit, and the pages may have later
//! ones. The log names it, for a fenced server with undecided commits, to which nobody tells more:
//! [`Prefixes::decided`]. No reader of a standby is shown that. What a standby hears, or has shown before, is
//! mostly more, and which commits are between it cannot tell: it waits until all before its redo point is
//! confirmed.

use crate::visibility::xid_set::XidSet;
use std::collections::VecDeque;
use wal::{Lsn, Xid};

/// Prefixes that are kept at most. Beyond that the newest two become one: their commits are shown together,
/// and who asks for one of them waits for the last.
const LATER_MAX: usize = 4096;

/// What is seen by whoever sees all commits up to `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// The end of its last commit.
    pub(crate) end: Lsn,
    /// Every xid from here on is outside.
    pub(crate) next_xid: Xid,
    /// xids below that are outside all the same.
    pub(crate) excluded: XidSet,
}

/// The last prefix that ends at or before a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastPrefix {
    /// That place.
    pub(crate) upto: Lsn,
    pub(crate) prefix: Prefix,
}

/// A prefix, and what must be there still to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownPrefix {
    pub(crate) last: LastPrefix,
    /// No version may be gone that only snapshots need which do not see all xids below this one.
    pub(crate) oldest: Xid,
}

/// A prefix that is not confirmed yet.
#[derive(Debug)]
struct Later {
    /// The end of the first commit that it has and the one before it has not.
    first: Lsn,
    prefix: Prefix,
}

/// The prefixes, and how far they are confirmed.
#[derive(Debug, Default)]
pub(crate) struct Prefixes {
    confirmed: Lsn,
    shown: Option<Prefix>,
    /// In log order.
    later: VecDeque<Later>,
    /// What the log has last named. No reader of a standby sees it.
    on_record: Option<LastPrefix>,
}

impl Prefixes {
    /// Takes the prefix that a redone commit ends. True if it is shown at once.
    pub(crate) fn redone(&mut self, prefix: Prefix) -> bool {
        if prefix.end <= self.confirmed || host::planted!("a standby shows as confirmed what it has redone") {
            // Those before it are confirmed with it.
            self.later.clear();
            self.shown = Some(prefix);
            return true;
        }
        debug_assert!(
            self.later.back().is_none_or(|last| last.prefix.end <= prefix.end),
            "prefixes come in log order"
        );
        let merged = if self.later.len() >= LATER_MAX { self.later.pop_back() } else { None };
        let first = merged.map_or(prefix.end, |merged| merged.first);
        self.later.push_back(Later { first, prefix });
        false
    }

    /// Takes a confirmed position. True if more is shown by that.
    pub(crate) fn confirm(&mut self, upto: Lsn) -> bool {
        if self.shown.is_some() && host::planted!("what is confirmed never moves on") {
            return false;
        }
        self.confirmed = self.confirmed.max(upto);
        let confirmed = self.later.partition_point(|later| later.prefix.end <= self.confirmed);
        match self.later.drain(..confirmed).next_back() {
            Some(last) => {
                self.shown = Some(last.prefix);
                true
            }
            None => false,
        }
    }

    /// Takes the prefix that the log names.
    pub(crate) fn put_on_record(&mut self, last: LastPrefix) {
        self.on_record = Some(last);
    }

    /// The prefixes that have all confirmed commits up to `after`: the one that redo has come by, and the one
    /// on record. The versions of one may be gone where those of the other are not.
    pub(crate) fn decided(&self, after: Lsn) -> impl Iterator<Item = LastPrefix> {
        let shown = self.shown(self.confirmed).cloned();
        let shown = shown.map(|prefix| LastPrefix { upto: self.confirmed, prefix });
        [shown, self.on_record.clone()].into_iter().flatten().filter(move |last| last.upto >= after)
    }

    /// The log goes on differently behind `end`: what was said of later positions was said of another branch.
    pub(crate) fn branches_at(&mut self, end: Lsn) {
        if !host::planted!("what was confirmed behind a cut stays so") {
            self.confirmed = self.confirmed.min(end);
        }
    }

    /// Early xids of which the log now tells, and did not before, that they were without an outcome all
    /// along.
    pub(crate) fn exclude(&mut self, xids: &XidSet) {
        let Some(first) = xids.iter().next() else { return };
        // Mostly none or few: what is above all of a prefix is outside of it already.
        let from = self.later.partition_point(|later| later.prefix.next_xid <= first);
        let on_record = self.on_record.as_mut().map(|last| &mut last.prefix);
        let later = self.later.range_mut(from..).map(|later| &mut later.prefix);
        for prefix in self.shown.iter_mut().chain(on_record).chain(later) {
            prefix.excluded = prefix.excluded.with(xids.iter());
        }
    }

    /// Aborted early xids of which no version is left: nothing is kept so that a prefix does not see them.
    pub(crate) fn forget(&mut self, xids: &XidSet) {
        let on_record = self.on_record.as_mut().map(|last| &mut last.prefix);
        let later = self.later.iter_mut().map(|later| &mut later.prefix);
        for prefix in self.shown.iter_mut().chain(on_record).chain(later) {
            if !prefix.excluded.is_empty() {
                prefix.excluded = prefix.excluded.without(|xid| xids.contains(xid));
            }
        }
    }

    /// How far the log is confirmed.
    pub(crate) fn confirmed(&self) -> Lsn {
        self.confirmed
    }

    /// What readers are shown or may be shown later, in log order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Prefix> {
        self.shown.iter().chain(self.later.iter().map(|later| &later.prefix))
    }

    /// The last confirmed prefix; None if none is, or if one that ends at or before `floor` is not.
    pub(crate) fn shown(&self, floor: Lsn) -> Option<&Prefix> {
        let more = self.later.front().is_some_and(|later| later.first <= floor);
        self.shown.as_ref().filter(|_| !more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(end: u64) -> Prefix {
        Prefix { end: Lsn::new(end), next_xid: Xid::new(end), excluded: XidSet::default() }
    }
    fn shown(prefixes: &Prefixes, floor: u64) -> Option<u64> {
        prefixes.shown(Lsn::new(floor)).map(|prefix| prefix.end.get())
    }

    #[test]
    fn the_last_prefix_that_is_confirmed_as_a_whole_is_shown() {
        let mut prefixes = Prefixes::default();
        for end in [10, 20, 30] {
            assert!(!prefixes.redone(prefix(end)));
        }
        assert_eq!(shown(&prefixes, 0), None);
        assert!(!prefixes.confirm(Lsn::new(9)));
        assert!(prefixes.confirm(Lsn::new(29)));
        assert_eq!(shown(&prefixes, 0), Some(20));
        assert!(!prefixes.confirm(Lsn::new(11)), "an older word changes nothing");
        assert!(prefixes.confirm(Lsn::new(45)));
        assert!(prefixes.redone(prefix(40)), "confirmed before it was redone");
        assert_eq!(shown(&prefixes, 0), Some(40));
        assert!(!prefixes.redone(prefix(50)));
        assert_eq!(shown(&prefixes, 0), Some(40));
    }

    #[test]
    fn who_asks_for_a_position_is_shown_nothing_that_lacks_a_commit_before_it() {
        let mut prefixes = Prefixes::default();
        for end in [10, 20] {
            prefixes.redone(prefix(end));
        }
        prefixes.confirm(Lsn::new(10));
        assert_eq!(shown(&prefixes, 19), Some(10));
        assert_eq!(shown(&prefixes, 20), None);
        prefixes.confirm(Lsn::new(20));
        assert_eq!(shown(&prefixes, 35), Some(20), "nothing else was redone");
    }

    #[test]
    fn what_the_log_names_serves_who_knows_no_more_to_be_confirmed_and_no_reader_of_a_standby() {
        let mut prefixes = Prefixes::default();
        prefixes.redone(prefix(30));
        let decided = |prefixes: &Prefixes, after: u64| {
            prefixes.decided(Lsn::new(after)).map(|last| last.prefix.end.get()).collect::<Vec<_>>()
        };
        prefixes.put_on_record(LastPrefix { upto: Lsn::new(25), prefix: prefix(20) });
        for confirmed in [25, 28] {
            prefixes.confirm(Lsn::new(confirmed));
            for token in [0, 20, 25, 28] {
                assert_eq!(shown(&prefixes, token), None, "a commit that ends at 28 may have been shown");
            }
        }
        assert_eq!(decided(&prefixes, 25), [20]);
        assert!(decided(&prefixes, 28).is_empty(), "what ends at 28 is not in it");
        prefixes.confirm(Lsn::new(30));
        assert_eq!((decided(&prefixes, 30), shown(&prefixes, 30)), (vec![30], Some(30)));
        assert_eq!(decided(&prefixes, 25), [30, 20], "the one that redo came by goes first");
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "in log order")]
    fn prefixes_come_in_log_order() {
        let mut prefixes = Prefixes::default();
        prefixes.redone(prefix(20));
        prefixes.redone(prefix(10));
    }

    #[test]
    fn what_another_branch_confirmed_does_not_count_for_this_one() {
        let mut prefixes = Prefixes::default();
        prefixes.confirm(Lsn::new(100));
        prefixes.branches_at(Lsn::new(50));
        assert!(!prefixes.redone(prefix(60)));
        assert!(prefixes.confirm(Lsn::new(60)));
    }

    #[test]
    fn a_standby_that_never_hears_keeps_a_bounded_number() {
        let mut prefixes = Prefixes::default();
        let last = 3 * LATER_MAX as u64;
        for end in 1..=last {
            prefixes.redone(prefix(end));
        }
        assert_eq!(prefixes.later.len(), LATER_MAX);
        prefixes.confirm(Lsn::new(last - 1));
        let before = LATER_MAX as u64 - 1;
        assert_eq!(shown(&prefixes, before), Some(before), "the last ones have become one");
        for token in [before + 1, last - 1] {
            assert_eq!(shown(&prefixes, token), None, "what ends at {token} is not shown yet");
        }
        assert!(prefixes.decided(Lsn::new(last - 1)).next().is_none(), "nor is it for a fenced server");
        prefixes.confirm(Lsn::new(last));
        assert_eq!(shown(&prefixes, last), Some(last));
    }

    #[test]
    fn an_xid_that_was_open_all_along_is_outside_of_every_prefix_that_would_show_it() {
        let mut prefixes = Prefixes::default();
        for end in [10, 20, 30] {
            prefixes.redone(prefix(end));
        }
        prefixes.confirm(Lsn::new(10));
        prefixes.exclude(&[Xid::new(15), Xid::new(25)].into_iter().collect());
        let sees = |prefix: &Prefix, xid: u64| {
            xid < prefix.next_xid.get() && !prefix.excluded.contains(Xid::new(xid))
        };
        let all: Vec<_> = prefixes.all().collect();
        assert_eq!(
            all.iter().map(|prefix| [14, 15, 25].map(|xid| sees(prefix, xid))).collect::<Vec<_>>(),
            [[false, false, false], [true, false, false], [true, false, false]]
        );
    }
}
