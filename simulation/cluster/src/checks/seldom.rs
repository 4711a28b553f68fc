//! Rare states that only the end shows.

use super::kept::looks;
use super::write_of;
use crate::guarantee::{Guarantee, Turn};
use crate::history::{Deed, Entry, History, Outcome, State, View};
use crate::rare::{Counters, Rare};

/// Logs are looked at so often.
const LOOK_MS: u64 = 20;

/// Counts rare states that only the end shows.
pub fn count_rare(history: &History, guarantee: &Guarantee, state: &State, counters: &mut Counters) {
    for (entry, write) in history.entries().iter().filter_map(write_of) {
        let is_there = state.parts.contains_key(&write.tx);
        match (&entry.outcome, is_there) {
            (Outcome::Unknown(_), true) => counters.hit(Rare::UnknownKept),
            (Outcome::Unknown(_), false) => counters.hit(Rare::UnknownLost),
            (Outcome::Acked { warnings, .. }, false) if !warnings.is_empty() => {
                counters.hit(Rare::CancelledLost);
            }
            (Outcome::Acked { .. }, false) => counters.hit(Rare::LostWeakCommit),
            _ => {}
        }
    }
    for turn in &guarantee.turns {
        if took_commits_beside(history, guarantee, turn) {
            counters.hit(Rare::TwoPrimaries);
        }
    }
    count_overlaps(history, guarantee, counters);
    let forks: Vec<_> =
        guarantee.turns.iter().filter_map(|turn| guarantee.branches.fork(&turn.branch)).collect();
    if (0..forks.len()).any(|at| forks[..at].iter().any(|fork| fork.parent == forks[at].parent)) {
        counters.hit(Rare::TwoPromotionsAtOnce);
    }
    let numbers: Vec<u32> = guarantee.turns.iter().map(|turn| turn.branch.timeline()).collect();
    if (0..numbers.len()).any(|at| numbers[..at].contains(&numbers[at])) {
        counters.hit(Rare::TwinTimelines);
    }
}

/// Whether a commit was acknowledged on a branch that had been left, after one on the branch that left it.
fn took_commits_beside(history: &History, guarantee: &Guarantee, turn: &Turn) -> bool {
    let told = |on_new: bool| {
        let token_of = move |entry: &Entry| {
            let token = entry.token().filter(|_| entry.level_told().is_some())?;
            let is_new = guarantee.branches.home(token) == turn.branch;
            let is_left = !guarantee.branches.has(&turn.branch, token);
            (if on_new { is_new } else { is_left }).then_some(entry.told_ms())
        };
        history.entries().iter().filter_map(token_of)
    };
    let first = told(true).min();
    first.is_some_and(|first| {
        let next = |other: &&Turn| other.decided_ms > turn.decided_ms;
        let until = guarantee.turns.iter().filter(next).map(|other| other.decided_ms).min();
        told(false).any(|told_ms| told_ms > first && until.is_none_or(|until| told_ms < until))
    })
}

/// Counts what clients did while something else happened.
fn count_overlaps(history: &History, guarantee: &Guarantee, counters: &mut Counters) {
    for entry in history.entries() {
        let within = |at_ms: u64| entry.invoked_ms < at_ms && at_ms < entry.told_ms();
        let lost_it = guarantee.losses.iter().any(|loss| loss.node == entry.node && within(loss.at_ms));
        if matches!(entry.deed, Deed::Ddl(_)) && lost_it {
            counters.hit(Rare::DdlAtCrash);
        }
        let waits = matches!(&entry.deed, Deed::Write(write) if write.level.stage().is_some());
        let mut quorums = guarantee.quorums.iter();
        if waits && quorums.any(|quorum| quorum.node == entry.node && within(quorum.from_ms)) {
            counters.hit(Rare::NamesChangedInWait);
        }
    }
    for (entry, ..) in looks(history).filter(|(_, read, _)| read.view == View::Primary) {
        let waited = guarantee.undecided.iter().any(|undecided| {
            let begins = undecided.from_ms < entry.invoked_ms && entry.invoked_ms < undecided.to_ms;
            undecided.node == entry.node
                && begins
                && entry.told_ms().saturating_add(LOOK_MS) >= undecided.to_ms
        });
        if waited {
            counters.hit(Rare::UndecidedRead);
        }
    }
}
