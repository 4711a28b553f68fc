//! What a node was told of timelines that are not its own: which numbers are taken, and which branches there
//! are.
//!
//! **Numbers.** A promotion takes one above all of which anybody has told, hearsay too: a number too many
//! costs nothing, and two branches of one number never fence each other.
//!
//! **Branches.** A node that is past the fork stays on the timeline that was left, and may be the only one
//! that an old primary can ask. So it passes on which branches there are, as they were told:
//!
//! | who tells of a branch                                         | it is kept and passed on               |
//! |---------------------------------------------------------------|----------------------------------------|
//! | a node, or the upstream, that says what it is a witness of    | yes                                    |
//! | one of them that passes it on                                 | yes                                    |
//! | a client with the right to replicate, of its own accord       | if it left where the log here has been |
//! | an archive, or a node that follows what it has from one alone | no                                     |
//!
//! So who is asked passes on nothing of which no witness has told, whoever was asked in between. What this
//! node writes or follows itself is no part of it, nor what that goes on from: it says so itself.
//!
//! **Given up.** What replaced a fenced server may be gone for good, as an administrator says who takes the
//! fence off: who says so knows that all is gone that had replaced it by then. Others that were told of it
//! still pass it on: that server heeds only a witness of it from then on, and does not pass it on. Given up
//! is each branch of which it was told, and what it was told nothing of ([`Gone`]). A witness of one that was
//! given up shows that it is there: it counts again. Who hands its role over says with it what it gave up
//! ([`crate::roster::heard_file::GivenUp`]): to its successor that branch is no reason to refuse the
//! role, and once that is promoted it has left the timeline itself.
//!
//! At most [`BRANCHES_MAX`] branches of each kind are kept, those with the highest numbers, none of
//! which goes on from another. They lie in plimsoll/heard, a file beside the roster's.

use crate::timeline::relation::{Relation, relation};
use wal::history::{BranchId, TimelineHistory};
use wal::{Lsn, TimelineId};

/// Most branches that are passed on, most that are given up, and most of those that nobody told of.
pub const BRANCHES_MAX: usize = 4;
/// Highest number that counts: a million promotions are left above it.
const NUMBER_MAX: TimelineId = TimelineId::new(u32::MAX - (1 << 20));
/// Longest history that is kept, in bytes: of about three thousand timelines.
pub const HISTORY_BYTES_MAX: usize = 256 << 10;

/// Whether what goes on from `ours` says all that `theirs` does.
fn covers(ours: &TimelineHistory, theirs: &TimelineHistory) -> bool {
    matches!(relation(ours, theirs), Relation::Same | Relation::Ancestor { .. })
}

/// A branch that somebody told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    pub(crate) history: TimelineHistory,
    /// An administrator said that it is gone for good.
    pub(crate) given_up: bool,
}

/// What an administrator gave up without its history being known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// What the record of a fence names, and what lies between it and the fork: the record does not say which
    /// branches those are, but each took a lower number at that place.
    Named {
        /// The timeline that was replaced.
        timeline: TimelineId,
        /// Where it was left.
        fork: Lsn,
        /// The timeline that replaced it.
        descendant: TimelineId,
        /// Its branch id, if its history named one.
        branch: Option<BranchId>,
    },
    /// Whatever left a timeline up to where the log ended: the record was damaged.
    UpTo {
        /// The timeline that was replaced.
        timeline: TimelineId,
        /// Its branch id, if it has one.
        branch: Option<BranchId>,
        /// The end of the log, exclusive.
        end: Lsn,
    },
}

impl Gone {
    /// Whether `theirs` left `ours` by it.
    fn includes(&self, ours: &TimelineHistory, theirs: &TimelineHistory) -> bool {
        let Relation::Descendant { fork: left } = relation(ours, theirs) else { return false };
        match *self {
            Self::Named { timeline, fork, descendant, branch } => {
                let took = |next: TimelineId| {
                    let ids = (branch, theirs.branch_of(next));
                    let is_twin = matches!(ids, (Some(named), Some(told)) if named != told);
                    next < descendant || (next == descendant && !is_twin)
                };
                (timeline, fork) == (ours.target(), left) && theirs.successor_of(timeline).is_some_and(took)
            }
            Self::UpTo { timeline, branch, end } => {
                (timeline, branch) == (ours.target(), ours.branch()) && left <= end
            }
        }
    }
}

/// What was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    newest: TimelineId,
    branches: Vec<Branch>,
    unseen: Vec<Gone>,
}

impl Heard {
    /// The newest timeline of which anybody has told; INVALID if nobody has.
    pub(crate) const fn newest(&self) -> TimelineId {
        self.newest
    }

    /// Somebody told of a timeline of this number; whether that is news.
    /// One that leaves next to none above it is nobody's: whoever told of it shall not bar all promotions.
    pub(crate) fn hear_number(&mut self, number: TimelineId) -> bool {
        let is_news = number > self.newest;
        if number > NUMBER_MAX {
            return false;
        }
        self.newest = self.newest.max(number);
        is_news
    }

    /// Somebody told of a branch, who is a witness of it or passes on what one told. `ours` is the branch of
    /// which this node is a witness. Whether it is kept, and was not known.
    pub(crate) fn hear_branch(&mut self, ours: &TimelineHistory, theirs: &TimelineHistory) -> bool {
        let is_known = self.passed_on(ours).any(|known| covers(known, theirs));
        if theirs.text().len() > HISTORY_BYTES_MAX || covers(ours, theirs) || is_known {
            return false;
        }
        self.unseen.retain(|gone| !gone.includes(ours, theirs));
        self.branches.retain(|known| known.given_up || !covers(ours, &known.history));
        self.put(Branch { history: theirs.clone(), given_up: false });
        self.branches.iter().any(|known| known.history == *theirs)
    }

    /// Puts a branch in the place of those that it goes on from, or of the one with the lowest number if
    /// there are too many.
    fn put(&mut self, branch: Branch) {
        self.branches.retain(|known| !covers(&branch.history, &known.history));
        let given_up = branch.given_up;
        self.branches.push(branch);
        let all = self.branches.iter().enumerate();
        let alike: Vec<_> = all.filter(|(_, known)| known.given_up == given_up).collect();
        let lowest = alike.iter().min_by_key(|(_, known)| known.history.target());
        if let (Some((lowest, _)), true) = (lowest, alike.len() > BRANCHES_MAX) {
            let lowest = *lowest;
            self.branches.remove(lowest);
        }
    }

    /// The branches that a node passes on that is a witness of `ours`.
    pub(crate) fn passed_on(&self, ours: &TimelineHistory) -> impl Iterator<Item = &TimelineHistory> {
        let known = self.branches.iter().filter(|branch| !branch.given_up).map(|branch| &branch.history);
        known.filter(move |known| !covers(ours, known))
    }

    /// An administrator said that all that replaced `ours` is gone for good: the branches that go on from it
    /// of which others told, and what `unseen` names.
    pub(crate) fn give_up(&mut self, ours: &TimelineHistory, unseen: Gone) {
        let gone = |theirs: &TimelineHistory| matches!(relation(ours, theirs), Relation::Descendant { .. });
        for known in &mut self.branches {
            known.given_up |= gone(&known.history);
        }
        for history in self.take_given_up() {
            self.put(Branch { history, given_up: true });
        }
        self.unseen.retain(|known| *known != unseen);
        self.unseen.push(unseen);
        let over = self.unseen.len().saturating_sub(BRANCHES_MAX);
        self.unseen.drain(..over);
    }

    /// Takes out those that are given up.
    fn take_given_up(&mut self) -> Vec<TimelineHistory> {
        let given_up = self.branches.extract_if(.., |branch| branch.given_up);
        given_up.map(|branch| branch.history).collect()
    }

    /// Whether `theirs` left `ours` by a branch that was given up.
    pub(crate) fn is_given_up(&self, ours: &TimelineHistory, theirs: &TimelineHistory) -> bool {
        let mut gone = self.branches.iter().filter(|branch| branch.given_up);
        let left_by = |branch: &Branch| {
            let common = branch.history.common_ancestor(theirs);
            common.is_some_and(|(common, _)| !ours.contains(common))
        };
        gone.any(left_by) || self.unseen.iter().any(|gone| gone.includes(ours, theirs))
    }

    /// What an administrator gave up, without all else.
    pub(crate) fn given_up(&self) -> Self {
        let branches = self.branches.iter().filter(|branch| branch.given_up).cloned().collect();
        Self { newest: TimelineId::INVALID, branches, unseen: self.unseen.clone() }
    }

    /// All of them, for the disk.
    pub(crate) fn branches(&self) -> &[Branch] {
        &self.branches
    }

    /// What was given up without its history being known.
    pub(crate) fn unseen(&self) -> &[Gone] {
        &self.unseen
    }

    /// As they were on disk.
    pub(crate) fn of_disk(newest: TimelineId, mut branches: Vec<Branch>, mut unseen: Vec<Gone>) -> Self {
        branches.truncate(2 * BRANCHES_MAX);
        unseen.truncate(BRANCHES_MAX);
        Self { newest, branches, unseen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::Lsn;
    use wal::history::BranchId;

    fn one() -> TimelineHistory {
        TimelineHistory::root(TimelineId::FIRST)
    }
    fn fork(of: &TimelineHistory, number: u32, at: u64, branch: u64) -> TimelineHistory {
        of.fork(TimelineId::new(number), Lsn::new(at), "test", BranchId::new(branch)).unwrap()
    }
    fn passed_on(heard: &Heard) -> Vec<TimelineHistory> {
        heard.passed_on(&one()).cloned().collect()
    }

    #[test]
    fn what_goes_on_from_a_branch_takes_its_place_and_one_s_own_is_not_passed_on() {
        let (one, two) = (one(), fork(&one(), 2, 100, 2));
        let (three, twin) = (fork(&two, 3, 200, 3), fork(&one, 2, 100, 9));
        let mut heard = Heard::default();
        assert!(!heard.hear_branch(&one, &one), "that is its own");
        assert!(heard.hear_branch(&one, &two) && !heard.hear_branch(&one, &two));
        assert!(heard.hear_branch(&one, &three) && !heard.hear_branch(&one, &two));
        assert_eq!(passed_on(&heard), std::slice::from_ref(&three));
        assert!(heard.hear_branch(&one, &twin), "the number is the same, and the branch another");
        assert_eq!(passed_on(&heard), [three.clone(), twin.clone()]);
        // Once the node follows one of them, it says so itself.
        assert_eq!(heard.passed_on(&three).collect::<Vec<_>>(), [&twin]);
        assert!(!heard.hear_branch(&three, &two));
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let one = one();
        let mut heard = Heard::default();
        let sibling = |number: u32| fork(&one, number, 100, number.into());
        for number in 2..20 {
            assert!(heard.hear_branch(&one, &sibling(number)));
        }
        assert_eq!(passed_on(&heard), (16..20).map(sibling).collect::<Vec<_>>());
        assert!(!heard.hear_branch(&one, &sibling(2)));
        assert!(heard.hear_number(NUMBER_MAX) && !heard.hear_number(TimelineId::new(u32::MAX)));
        assert_eq!(heard.newest(), NUMBER_MAX);
        let text = format!("{}1\t0/64\tx\n", "# a comment\n".repeat(HISTORY_BYTES_MAX / 12));
        let long = TimelineHistory::parse(TimelineId::new(30), &text).unwrap();
        assert!(!heard.hear_branch(&one, &long));
    }

    /// What a record names of a branch that left timeline 1 at 100.
    fn named(descendant: u32, branch: Option<u64>) -> Gone {
        let (descendant, branch) = (TimelineId::new(descendant), branch.map(BranchId::new));
        Gone::Named { timeline: TimelineId::FIRST, fork: Lsn::new(100), descendant, branch }
    }

    #[test]
    fn what_left_by_a_branch_that_was_given_up_counts_no_more_unless_a_witness_tells_of_it() {
        let (one, two) = (one(), fork(&one(), 2, 100, 2));
        let (three, twin) = (fork(&two, 3, 200, 3), fork(&one, 2, 100, 9));
        let mut heard = Heard::default();
        heard.hear_branch(&one, &two);
        heard.give_up(&one, named(2, Some(2)));
        assert_eq!(passed_on(&heard), []);
        for (theirs, given_up) in
            [(&two, true), (&three, true), (&twin, false), (&fork(&one, 4, 150, 4), false)]
        {
            assert_eq!(heard.is_given_up(&one, theirs), given_up, "{theirs:?}");
        }
        // For a node that is on it there is another point at which it was left.
        assert!(!heard.is_given_up(&two, &three));
        assert!(heard.hear_branch(&one, &three), "a witness is there");
        assert!(!heard.is_given_up(&one, &two));
        assert_eq!(passed_on(&heard), std::slice::from_ref(&three));
    }

    #[test]
    fn all_that_was_told_to_replace_a_branch_is_given_up_with_it() {
        let (one, two) = (one(), fork(&one(), 2, 100, 2));
        let (other, five) = (fork(&one, 4, 150, 4), fork(&two, 5, 200, 5));
        let mut heard = Heard::default();
        for theirs in [&two, &other] {
            heard.hear_branch(&one, theirs);
        }
        heard.give_up(&one, named(2, Some(2)));
        assert_eq!(passed_on(&heard), []);
        assert!([&two, &other, &five].into_iter().all(|theirs| heard.is_given_up(&one, theirs)));
        assert!(!heard.is_given_up(&one, &fork(&one, 6, 120, 6)), "one that nobody knew of");
    }

    #[test]
    fn of_a_branch_that_a_record_names_alone_all_between_it_and_the_fork_is_given_up() {
        let (one, two) = (one(), fork(&one(), 2, 100, 2));
        let (three, twin) = (fork(&two, 3, 200, 3), fork(&one, 3, 100, 9));
        for (record, [is_three, is_two, is_twin]) in [
            (named(3, Some(3)), [true, true, false]),
            (named(3, None), [true, true, true]),
            (named(2, Some(2)), [true, true, false]),
            (named(2, Some(7)), [false, false, false]),
        ] {
            let mut heard = Heard::default();
            heard.give_up(&one, record);
            for (theirs, given_up) in [(&three, is_three), (&two, is_two), (&twin, is_twin)] {
                assert_eq!(heard.is_given_up(&one, theirs), given_up, "{record:?} {theirs:?}");
            }
            assert!(!heard.is_given_up(&one, &fork(&one, 2, 90, 2)), "{record:?}: it left elsewhere");
            assert!(!heard.is_given_up(&two, &three), "{record:?}: two was left later");
        }
    }

    #[test]
    fn what_left_before_the_end_of_the_log_is_given_up_where_nothing_is_known_of_it() {
        let (one, two) = (one(), fork(&one(), 2, 100, 2));
        let mut heard = Heard::default();
        let end = Lsn::new(100);
        heard.give_up(&one, Gone::UpTo { timeline: TimelineId::FIRST, branch: None, end });
        let later = fork(&one, 3, 101, 3);
        assert!(heard.is_given_up(&one, &two) && heard.is_given_up(&one, &fork(&two, 4, 100, 4)));
        assert!(!heard.is_given_up(&one, &later), "that was promoted since");
        assert!(!heard.is_given_up(&two, &fork(&two, 4, 100, 4)), "that is of another timeline");
        heard.hear_branch(&one, &later);
        assert!(heard.is_given_up(&one, &two));
        heard.hear_branch(&one, &two);
        assert!(!heard.is_given_up(&one, &two), "a witness is there");
        // There is an end to them, too.
        (1..20).for_each(|number| heard.give_up(&one, named(number, None)));
        assert_eq!(heard.unseen(), (16..20).map(|number| named(number, None)).collect::<Vec<_>>());
    }
}
