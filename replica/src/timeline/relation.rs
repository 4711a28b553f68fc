//! How two nodes' branches of the log relate: the ground of following, refusing and fencing.

use wal::history::TimelineHistory;
use wal::{Lsn, TimelineId};

/// What another node's branch is to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same branch.
    Same,
    /// Theirs goes on from ours: ours ended at `fork`.
    Descendant {
        /// Where their branch left our timeline, exclusive.
        fork: Lsn,
    },
    /// Ours goes on from theirs: theirs ended at `fork`.
    Ancestor {
        /// Where our branch left their timeline, exclusive.
        fork: Lsn,
    },
    /// Both left a common past at `fork`, or at once if they share nothing.
    Sibling {
        /// The end of what they share.
        fork: Lsn,
        /// The last timeline that they share; None if none.
        common: Option<TimelineId>,
    },
    /// Both have the same timeline number for different branches.
    Twin {
        /// The end of what they share.
        fork: Lsn,
    },
}

/// Compares our history with theirs.
pub fn relation(ours: &TimelineHistory, theirs: &TimelineHistory) -> Relation {
    let Some((common, upto)) = ours.common_ancestor(theirs) else {
        return if ours.target() == theirs.target() {
            Relation::Twin { fork: Lsn::INVALID }
        } else {
            Relation::Sibling { fork: Lsn::INVALID, common: None }
        };
    };
    // The common past reaches to the end of a side's own timeline if that side's is the common one.
    match (common == ours.target(), common == theirs.target()) {
        (true, true) => Relation::Same,
        (true, false) => Relation::Descendant { fork: upto },
        (false, true) => Relation::Ancestor { fork: upto },
        (false, false) if ours.target() == theirs.target() => Relation::Twin { fork: upto },
        (false, false) => Relation::Sibling { fork: upto, common: Some(common) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::history::BranchId;

    fn tl(number: u32) -> TimelineId {
        TimelineId::new(number)
    }
    fn fork(of: &TimelineHistory, number: u32, at: u64, branch: u64) -> TimelineHistory {
        of.fork(tl(number), Lsn::new(at), "test", BranchId::new(branch)).unwrap()
    }

    #[test]
    fn every_relation_of_two_branches_is_told() {
        let one = TimelineHistory::root(tl(1));
        let two = fork(&one, 2, 100, 2);
        let two_twin = fork(&one, 2, 100, 22);
        let two_elsewhere = fork(&one, 2, 90, 2);
        let three_of_two = fork(&two, 3, 200, 3);
        let three_of_one = fork(&one, 3, 150, 33);
        let three_of_twin = fork(&two_twin, 3, 200, 3);
        let stranger = TimelineHistory::root(tl(7));
        let lsn = Lsn::new;
        for (ours, theirs, expected) in [
            (&one, &one, Relation::Same),
            (&two, &two, Relation::Same),
            (&one, &two, Relation::Descendant { fork: lsn(100) }),
            (&one, &three_of_two, Relation::Descendant { fork: lsn(100) }),
            (&two, &three_of_two, Relation::Descendant { fork: lsn(200) }),
            (&two, &one, Relation::Ancestor { fork: lsn(100) }),
            (&three_of_two, &two, Relation::Ancestor { fork: lsn(200) }),
            (&two, &two_twin, Relation::Twin { fork: lsn(100) }),
            (&two, &two_elsewhere, Relation::Twin { fork: lsn(90) }),
            (&two, &three_of_one, Relation::Sibling { fork: lsn(100), common: Some(tl(1)) }),
            (&two, &three_of_twin, Relation::Sibling { fork: lsn(100), common: Some(tl(1)) }),
            (&three_of_two, &three_of_twin, Relation::Twin { fork: lsn(100) }),
            (&one, &stranger, Relation::Sibling { fork: Lsn::INVALID, common: None }),
        ] {
            assert_eq!(relation(ours, theirs), expected, "{ours:?}\n{theirs:?}");
        }
    }
}
