//! Which commits must have survived what happened.
//!
//! The cluster states what it did; nothing is assumed. A commit binds if one of these holds:
//!
//! - Its position is on the surviving branch or on what that one continues. This needs no quorum: whoever has
//!   the log up to a position has the commits before it. Of a commit at off it is asked only if its node lost
//!   nothing within three times wal_writer_delay.
//! - It waited for `count` of some named standbys, and at each change of branch on the way to the surviving
//!   one, too few of these standbys were left out for the commit to be missed: the promoted node had the most
//!   log of all [`Turn::candidates`], and fewer than `count` of the named ones were no candidates or had lost
//!   what the commit's level leaves on them. With `FIRST` a commit waits for the first that are
//!   connected, and which these were is not known, so it counts like `ANY`. `FIRST 1 (a)` with `a` promoted
//!   always binds; `ANY 1 (a, b, c)` binds if all three were compared; `ANY 2 (a, b, c)` if two were.
//!
//! Durable log is compared, as pg_last_wal_receive_lsn() tells it. A commit at remote_write may be written on
//! a standby and not durable there yet. Such a standby counts only if it is the promoted node.
//!
//! A disk may change a bit of what a standby has made durable ([`Guarantee::spoiled`]). It tells of the log
//! up to there then. Unless it is the promoted node, which has to see that it lacks some, it does not count
//! for what lies behind.
//!
//! What was told after the change was decided is held by whom nobody compared, so then the promoted node
//! alone is counted, unless the candidates were kept from the old primary from the comparison on
//! ([`Turn::sealed`]).
//!
//! A commit binds only if it does so under each quorum that may have been in force while it waited, and not
//! if the server recorded that it was released.

use crate::branch::{Branch, Branches, Token};
use crate::history::Level;
use crate::history::reports::Reports;
use std::collections::{BTreeMap, BTreeSet};
use wal::Lsn;

/// A stop is noted when the plan asks for it, and the end of a server that stops at once at most so much
/// later, in milliseconds.
const STOP_MS: u64 = 20;

/// A time in which a primary may have waited for these standbys. While a reload is under way both the old and
/// the new setting may be in force, so spans overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    /// The primary.
    pub node: usize,
    /// The first and the last moment at which it may have been in force.
    pub from_ms: u64,
    /// See `from_ms`.
    pub to_ms: u64,
    /// How many standbys a commit waits for; 0 for none.
    pub count: usize,
    /// The nodes that are named.
    pub standbys: BTreeSet<usize>,
    /// The same in their order, if the first of them count.
    pub first: Vec<usize>,
}

impl Quorum {
    /// Whether it may have been in force within a time.
    pub(crate) fn may_hold(&self, from_ms: u64, to_ms: u64) -> bool {
        overlap((self.from_ms, self.to_ms), (from_ms, to_ms))
    }
}

/// A change of branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The branch that it began.
    pub branch: Branch,
    /// The node that was promoted.
    pub node: usize,
    /// When the candidates were compared; if nobody was compared, when the promotion was asked for.
    pub decided_ms: u64,
    /// The nodes of which the promoted one had the most log, itself among them, and how far each said to have
    /// it durably; INVALID if nobody asked. All of them followed the branch that ended.
    pub candidates: BTreeMap<usize, Lsn>,
    /// Whether none of them could receive from the old primary from then on until it had accepted the new
    /// branch.
    pub sealed: bool,
}

/// What a node lost, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lost {
    /// The memory of its process: it was killed, or stopped at once.
    Process,
    /// The memory of its machine, too: the power was cut.
    Machine,
    /// Its data directory: it was cloned anew.
    Directory,
}

/// A loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Whose.
    pub node: usize,
    /// When.
    pub at_ms: u64,
    /// What was lost.
    pub lost: Lost,
}

/// A time in which a node's background work stood still: it was frozen, or its disk was full or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Whose.
    pub node: usize,
    /// When it began.
    pub from_ms: u64,
    /// When it ended.
    pub to_ms: u64,
}

impl Pause {
    /// Whether it is one of a node's, and has a moment within a time.
    fn is_of(&self, node: usize, from_ms: u64, to_ms: u64) -> bool {
        self.node == node && overlap((self.from_ms, self.to_ms), (from_ms, to_ms))
    }
}

/// Whether two times, both with their last moment, have one in common.
fn overlap(one: (u64, u64), other: (u64, u64)) -> bool {
    one.0 <= other.1 && other.0 <= one.1
}

/// A time in which bytes between two nodes were lost or late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Between whom.
    pub nodes: (usize, usize),
    /// When it began.
    pub from_ms: u64,
    /// When it ended.
    pub to_ms: u64,
}

/// A range of the log whose commits were not held by the quorum, as a node recorded it
/// (plimsoll_unconfirmed).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// On which branch.
    pub branch: Branch,
    /// Commits that end behind here.
    pub after: Lsn,
    /// Commits that end at or before here; None if it has not ended.
    pub upto: Option<Lsn>,
    /// When the node told that it begins, and that it has ended; None if only its record is known.
    pub told_ms: Option<(u64, u64)>,
}

/// A range that was undecided after a start or a promotion and then shown without the quorum, as a node
/// recorded it, on whatever branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Commits that end behind here.
    pub after: Lsn,
    /// Commits that end at or before here.
    pub upto: Lsn,
    /// All of them had begun by then.
    pub begun_ms: u64,
    /// When the node told of it; they were shown from then on.
    pub at_ms: u64,
}

/// A primary told that it fenced itself, or was fenced when it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// Which node.
    pub node: usize,
    /// When this was known.
    pub at_ms: u64,
    /// The branch that it wrote.
    pub branch: Branch,
    /// The number of the timeline that replaced it, as it said.
    pub descendant: u32,
    /// Where that one left its branch, as it said.
    pub fork: Lsn,
    /// Which of the branches of that number it is, as its record has it.
    pub by: Option<Branch>,
}

/// What the cluster did.
#[derive(Debug, Clone)]
pub struct Guarantee {
    /// The branch of the primary that is left.
    pub survivor: Branch,
    /// All branches there were.
    pub branches: Branches,
    /// All quorums, of primaries only.
    pub quorums: Vec<Quorum>,
    /// All changes of branch.
    pub turns: Vec<Turn>,
    /// Branches that began by a handover, each with the one that its primary gave up. That one need not be
    /// its parent: whoever takes a role may hear of a promotion elsewhere before it leads, and go on from
    /// that.
    pub handed_over: Vec<(Branch, Branch)>,
    /// All losses.
    pub losses: Vec<Loss>,
    /// Places of the log where disks have changed a byte that was durable. By streams, clones and archives
    /// others may get it.
    pub spoiled: BTreeSet<Lsn>,
    /// All pauses.
    pub pauses: Vec<Pause>,
    /// All that was released.
    pub released: Vec<Released>,
    /// When primaries did not know which commits of before hold.
    pub undecided: Vec<Pause>,
    /// All that was undecided and then shown.
    pub shown_undecided: Vec<Shown>,
    /// When something was done to a node that may keep it from answering, or had not ended.
    pub disturbed: Vec<Pause>,
    /// When the network between nodes was in trouble.
    pub troubles: Vec<Trouble>,
    /// When a server closed all its connections because it was told to stop: which, and when.
    pub stops: Vec<(usize, u64)>,
    /// All fences.
    pub fences: Vec<Fence>,
    /// What standbys told of themselves; None if nobody listened.
    pub reports: Option<Reports>,
    /// wal_writer_delay.
    pub wal_writer_delay_ms: u64,
}

/// A commit of which it is asked whether it binds.
#[derive(Debug, Clone)]
pub struct Commit<'t> {
    /// The level that was reached.
    pub level: Level,
    /// Where it ends, or a position that is not before its end.
    pub token: &'t Token,
    /// The primaries that may have waited for standbys; None for any.
    pub node: Option<usize>,
    /// When it began.
    pub invoked_ms: u64,
    /// When it was known to be done.
    pub told_ms: u64,
}

impl Guarantee {
    /// A cluster in which nothing happened and no commit waits for a standby.
    pub fn calm(survivor: Branch) -> Self {
        Self {
            survivor,
            branches: Branches::default(),
            quorums: Vec::new(),
            turns: Vec::new(),
            handed_over: Vec::new(),
            losses: Vec::new(),
            spoiled: BTreeSet::new(),
            pauses: Vec::new(),
            released: Vec::new(),
            undecided: Vec::new(),
            shown_undecided: Vec::new(),
            disturbed: Vec::new(),
            troubles: Vec::new(),
            stops: Vec::new(),
            fences: Vec::new(),
            reports: None,
            wal_writer_delay_ms: 200,
        }
    }

    /// Whether the commit must be there in the end.
    pub fn binds(&self, commit: &Commit<'_>) -> bool {
        if self.branches.has(&self.survivor, commit.token) {
            let gone = |node| self.may_vanish(node, commit.invoked_ms, commit.told_ms);
            return commit.level > Level::Off || !commit.node.is_none_or(gone);
        }
        commit.level.stage().is_some() && self.is_held(commit)
    }

    /// Whether log that a node wrote between these times without a flush may have been lost by that node.
    pub fn may_vanish(&self, node: usize, invoked_ms: u64, told_ms: u64) -> bool {
        self.losses.iter().filter(|loss| loss.node == node && loss.at_ms >= invoked_ms).any(|loss| {
            let paused = |pause: &&Pause| pause.node == node && pause.to_ms > told_ms;
            let pauses: u64 = (self.pauses.iter().filter(paused))
                .map(|pause| {
                    pause.to_ms.min(loss.at_ms).saturating_sub(pause.from_ms.max(told_ms.min(loss.at_ms)))
                })
                .sum();
            let within = self.wal_writer_delay_ms.saturating_mul(3).saturating_add(pauses);
            loss.at_ms <= told_ms.saturating_add(within)
        })
    }

    /// Whether the quorum held it at each change of branch.
    fn is_held(&self, commit: &Commit<'_>) -> bool {
        let lineage = self.branches.lineage(&self.survivor);
        let home = self.branches.home(commit.token);
        let Some(place) = lineage.iter().position(|branch| *branch == home) else { return false };
        if self.was_released(&home, commit.token.at) {
            return false;
        }
        let of_node = |quorum: &&Quorum| commit.node.is_none_or(|node| node == quorum.node);
        let in_force: Vec<&Quorum> = (self.quorums.iter().filter(of_node))
            .filter(|quorum| quorum.may_hold(commit.invoked_ms, commit.told_ms))
            .collect();
        // Of a change of branch that nobody stated nothing is known.
        let outlives = |quorum: &Quorum, branch: &Branch| {
            self.turns.iter().any(|turn| turn.branch == *branch && self.outlives(commit, quorum, turn))
        };
        let holds = |quorum: &&Quorum| lineage.iter().take(place).all(|branch| outlives(quorum, branch));
        !in_force.is_empty() && in_force.iter().all(holds)
    }

    /// The quorums that a primary may have waited for within a time.
    pub fn in_force(&self, node: usize, from_ms: u64, to_ms: u64) -> impl Iterator<Item = &Quorum> {
        self.quorums.iter().filter(move |quorum| quorum.node == node && quorum.may_hold(from_ms, to_ms))
    }

    /// Whether nothing was done to a node within a time.
    pub fn is_calm(&self, node: usize, from_ms: u64, to_ms: u64) -> bool {
        !self.disturbed.iter().any(|pause| pause.is_of(node, from_ms, to_ms))
    }

    /// Whether bytes went through between two nodes within a time, as they should.
    pub fn is_clear(&self, nodes: (usize, usize), from_ms: u64, to_ms: u64) -> bool {
        let is_it = |trouble: &&Trouble| {
            let (one, other) = trouble.nodes;
            nodes == (one, other) || nodes == (other, one)
        };
        let within = |trouble: &Trouble| overlap((trouble.from_ms, trouble.to_ms), (from_ms, to_ms));
        !self.troubles.iter().filter(is_it).any(within)
    }

    /// Whether nothing befell a node's process within a time.
    pub fn lives(&self, node: usize, from_ms: u64, to_ms: u64) -> bool {
        let ends = self.losses.iter().map(|loss| (loss.node, loss.at_ms)).chain(self.stops.iter().copied());
        !ends.into_iter().any(|(other, at_ms)| other == node && (from_ms..=to_ms).contains(&at_ms))
    }

    /// Whether a node was to be promoted within a time: it streams no longer.
    pub fn is_promoted(&self, node: usize, from_ms: u64, to_ms: u64) -> bool {
        self.turns.iter().any(|turn| turn.node == node && (from_ms..=to_ms).contains(&turn.decided_ms))
    }

    /// When a node's server was to end so that all it was connected with hear of it, and when they do.
    pub fn ends_of(&self, node: usize) -> impl Iterator<Item = (u64, u64)> {
        let losses = self.losses.iter().filter(move |loss| loss.node == node && loss.lost != Lost::Machine);
        let stops = self.stops.iter().filter(move |(other, _)| *other == node);
        let told = losses.map(|loss| loss.at_ms).chain(stops.map(|(_, at_ms)| *at_ms));
        // Who stands still does what it is told once it goes on. Who is killed is not asked.
        let is_stop = move |at_ms: u64| {
            let mut stops = self.stops.iter().filter(move |(other, _)| *other == node);
            stops.any(|(_, stop_ms)| stop_ms.abs_diff(at_ms) <= STOP_MS)
        };
        told.map(move |at_ms| {
            let holds = |pause: &&Pause| is_stop(at_ms) && pause.is_of(node, at_ms, at_ms);
            (at_ms, self.pauses.iter().filter(holds).map(|pause| pause.to_ms).fold(at_ms, u64::max))
        })
    }

    /// The nodes that wrote a branch that has a position.
    pub fn writers_behind(&self, token: &Token) -> Vec<usize> {
        let has_it = |turn: &&Turn| self.branches.has(&turn.branch, token);
        std::iter::once(0).chain(self.turns.iter().filter(has_it).map(|turn| turn.node)).collect()
    }

    /// The branch that a primary wrote at a time, of which something was seen with this token: a position
    /// before its fork may have the name of what it continues.
    pub fn branch_written(&self, node: usize, seen: &Token, at_ms: u64) -> Branch {
        let continues = |turn: &&Turn| {
            turn.node == node
                && turn.decided_ms <= at_ms
                && self.branches.lineage(&turn.branch).contains(&seen.branch)
        };
        let last = self.turns.iter().filter(continues).max_by_key(|turn| turn.decided_ms);
        last.map_or_else(|| seen.branch.clone(), |turn| turn.branch.clone())
    }

    /// The nodes that wrote what has a position of the branch of another, from there on.
    pub fn writers_between(&self, token: &Token, leaf: &Token) -> Vec<usize> {
        let lineage = self.branches.lineage(&self.branches.home(leaf));
        let is_between =
            |turn: &&Turn| lineage.contains(&turn.branch) && self.branches.has(&turn.branch, token);
        self.turns.iter().filter(is_between).map(|turn| turn.node).collect()
    }

    /// Whether the server had recorded by a time that it shows this position, or tells of it, without the
    /// quorum.
    pub fn may_be_shown(&self, token: &Token, at_ms: u64) -> bool {
        let has = |shown: &Shown| token.at > shown.after && token.at <= shown.upto && shown.at_ms <= at_ms;
        self.may_be_released(token) || self.shown_undecided.iter().any(has)
    }

    /// Whether it may have shown a commit so whose end is not known, but only a position that is not before
    /// it: what lies behind a range and waits for nobody is seen together with it. Whoever has that position
    /// has the commit.
    pub fn may_have_been_shown(&self, commit: &Commit<'_>) -> bool {
        let fits = |after: Lsn, at_ms: u64, begun_ms: u64| {
            after < commit.token.at && at_ms <= commit.told_ms && commit.invoked_ms < begun_ms
        };
        let home = self.branches.home(commit.token);
        let was_released = |released: &Released| {
            let told = released.told_ms.filter(|_| released.branch == home);
            told.is_some_and(|(from_ms, to_ms)| fits(released.after, from_ms, to_ms))
        };
        let was_shown = |shown: &Shown| fits(shown.after, shown.at_ms, shown.begun_ms);
        !self.branches.has(&self.survivor, commit.token)
            && (self.released.iter().any(was_released) || self.shown_undecided.iter().any(was_shown))
    }

    /// Whether the server recorded that it did not wait for the quorum at this position.
    pub fn may_be_released(&self, token: &Token) -> bool {
        self.was_released(&self.branches.home(token), token.at)
    }

    fn was_released(&self, home: &Branch, at: Lsn) -> bool {
        let overlaps = |released: &&Released| {
            released.branch == *home && at > released.after && released.upto.is_none_or(|upto| at <= upto)
        };
        self.released.iter().any(|released| overlaps(&released))
    }

    /// Whether enough of those who were waited for were looked at when the branch changed.
    fn outlives(&self, commit: &Commit<'_>, quorum: &Quorum, turn: &Turn) -> bool {
        let home = self.branches.home(commit.token);
        let fork = self.branches.fork(&turn.branch);
        let is_left = fork.is_some_and(|fork| fork.parent == home);
        let may_be_unsynced = commit.level == Level::RemoteWrite && is_left;
        // How far a log goes tells nothing of what its branch never had.
        let was_there = fork.is_some_and(|fork| self.branches.has(&fork.parent, commit.token));
        let is_unreadable = |end: &Lsn| {
            let between = *end..commit.token.at;
            was_there && self.spoiled.iter().any(|at| between.contains(at))
        };
        let was_compared = |node: &usize| {
            let counts = turn.sealed || commit.told_ms <= turn.decided_ms;
            let has_told =
                |end: &Lsn| counts && (!may_be_unsynced || commit.token.at <= *end) && !is_unreadable(end);
            turn.candidates.get(node).is_some_and(|end| *node == turn.node || has_told(end))
        };
        let fatal = if commit.level == Level::RemoteWrite { Lost::Machine } else { Lost::Directory };
        let lost_it = |node: &usize| {
            let between = commit.invoked_ms..=turn.decided_ms.max(commit.told_ms);
            let fits =
                |loss: &Loss| loss.node == *node && loss.lost >= fatal && between.contains(&loss.at_ms);
            self.losses.iter().any(fits)
        };
        let left_out = quorum.standbys.iter().filter(|node| !was_compared(node) || lost_it(node)).count();
        left_out < quorum.count
    }
}

#[cfg(test)]
mod tests;
