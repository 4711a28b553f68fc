//! What was told or shown is there in the end.

use super::{Promise, Violation, violation, write_of};
use crate::guarantee::{Commit, Guarantee};
use crate::history::{Deed, Entry, History, Outcome, Read, Seen, State, View, Write};
use std::collections::BTreeMap;

/// Each commit that was acknowledged and binds is there.
pub(super) fn check_told(history: &History, guarantee: &Guarantee, state: &State) -> Result<(), Violation> {
    for (entry, write) in history.entries().iter().filter_map(write_of) {
        if state.parts.contains_key(&write.tx) {
            continue;
        }
        let (Some(level), Some(token)) = (entry.level_told(), entry.token()) else { continue };
        let (invoked_ms, told_ms) = (entry.invoked_ms, entry.told_ms());
        if guarantee.binds(&Commit { level, token, node: Some(entry.node), invoked_ms, told_ms }) {
            let text = format!("transaction {} was told at {level:?} and is gone: {entry:?}", write.tx);
            return violation(Promise::Durable, text);
        }
    }
    Ok(())
}

/// Each transaction that a primary, or a read of what is confirmed, has shown and that binds is there.
pub(super) fn check_shown(
    history: &History,
    writes: &BTreeMap<u64, (&Entry, &Write)>,
    guarantee: &Guarantee,
    state: &State,
) -> Result<(), Violation> {
    for (entry, read, seen) in looks(history) {
        let promise = match read.view {
            View::Primary => Promise::Visible,
            View::Confirmed => Promise::Confirmed,
            View::Replayed => continue,
        };
        for tx in seen.writers.iter().filter(|tx| **tx != 0 && !state.parts.contains_key(tx)) {
            let Some((by, write)) = writes.get(tx) else { continue };
            // Who saw it is a second witness of the commit: it was told when the read was.
            let commit = Commit {
                level: write.level,
                token: by.token().unwrap_or(&seen.at),
                node: None,
                invoked_ms: by.invoked_ms,
                told_ms: entry.told_ms(),
            };
            let may_be_shown = guarantee.may_be_shown(commit.token, commit.told_ms)
                || (by.token().is_none() && guarantee.may_have_been_shown(&commit));
            if guarantee.binds(&commit) && !may_be_shown {
                let text = format!("transaction {tx} was shown and is gone: {by:?}, seen by {entry:?}");
                return violation(promise, text);
            }
        }
    }
    Ok(())
}

/// All reads that saw something.
pub(super) fn looks(history: &History) -> impl Iterator<Item = (&Entry, &Read, &Seen)> {
    history.entries().iter().filter_map(|entry| match (&entry.deed, &entry.outcome) {
        (Deed::Read(read), Outcome::Acked { .. }) => read.seen.as_ref().map(|seen| (entry, read, seen)),
        _ => None,
    })
}
