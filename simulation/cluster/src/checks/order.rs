//! One order of commits explains all reads of a branch.
//!
//! Each branch is one log, together with what it continues up to its fork: what clients did on it is
//! a history that [`registers`] checks. What a node wrote or showed without a flush and lost with its memory
//! is left out, since its positions name other commits later.

use super::kept::looks;
use super::{Promise, Violation, violation, write_of};
use crate::branch::{Branch, Token};
use crate::guarantee::Guarantee;
use crate::history::registers::{self, Operation};
use crate::history::{Deed, Entry, History, Outcome, View};
use std::collections::BTreeMap;

pub(super) fn check(history: &History, guarantee: &Guarantee) -> Result<(), Violation> {
    let first = Branch::new("1");
    let branches = guarantee.branches.all(&first);
    check_tokens(history, guarantee, &branches)?;
    for leaf in &branches {
        let clients = on(history, guarantee, leaf);
        if let Err(found) = registers::check(&clients) {
            return violation(Promise::OneOrder, format!("on branch {leaf}: {found}"));
        }
        check_writers(history, guarantee, leaf)?;
    }
    check_snapshots(history)
}

/// Who writes at REPEATABLE READ writes over the version that its snapshot shows.
fn check_snapshots(history: &History) -> Result<(), Violation> {
    for (entry, write) in history.entries().iter().filter_map(write_of) {
        let Some(values) = &write.snapshot else { continue };
        for (register, value) in &write.wrote {
            let shown = values.get(usize::from(*register)).copied().unwrap_or_default();
            if *value != shown + 1 {
                let text = format!("register {register} was {shown} in its snapshot, and it left {value}");
                return violation(Promise::OneOrder, format!("{text}: {entry:?}"));
            }
        }
    }
    Ok(())
}

/// A read that followed a token is of a branch that has it.
fn check_tokens(history: &History, guarantee: &Guarantee, branches: &[Branch]) -> Result<(), Violation> {
    for (entry, read, seen) in looks(history) {
        let Some(after) = &read.after else { continue };
        let has_both =
            |leaf: &Branch| guarantee.branches.has(leaf, after) && guarantee.branches.has(leaf, &seen.at);
        if !branches.iter().any(has_both) {
            let text = format!("a read at {} was to follow {after}, of another branch: {entry:?}", seen.at);
            return violation(Promise::Token, text);
        }
    }
    Ok(())
}

/// Whether the log that it rests on may have been lost before it was flushed.
fn may_vanish(entry: &Entry, guarantee: &Guarantee) -> bool {
    guarantee.may_vanish(entry.node, entry.invoked_ms, entry.told_ms())
}

/// What clients did on a branch: who follows tokens has its operations in order, everything else stands
/// alone.
fn on(history: &History, guarantee: &Guarantee, leaf: &Branch) -> Vec<registers::Client> {
    let mut sessions = BTreeMap::<(u32, u32), registers::Client>::new();
    let mut alone = Vec::new();
    for entry in history.entries() {
        let on_leaf = |token: &&Token| guarantee.branches.has(leaf, token);
        let Some(token) = entry.token().filter(on_leaf) else { continue };
        let at = token.at.get();
        let session = sessions.entry((entry.client, entry.session)).or_default();
        match (&entry.deed, &entry.outcome) {
            (Deed::Write(write), Outcome::Acked { .. }) if !write.wrote.is_empty() => {
                let operation = Operation::Write { at, wrote: write.wrote.clone() };
                if !may_vanish(entry, guarantee) {
                    session.push(operation);
                }
            }
            (Deed::Read(read), _) => {
                let Some(seen) = &read.seen else { continue };
                if read.view == View::Primary && may_vanish(entry, guarantee) {
                    continue;
                }
                let node = u8::try_from(entry.node).unwrap_or(u8::MAX);
                let after = read.after.as_ref().filter(on_leaf).map_or(0, |after| after.at.get());
                let operation = Operation::Read { node, after, at, values: seen.values };
                // At a fork both branches have what was read; who asked the younger one, or follows its
                // token, has left this log.
                let is_here = |token: &Token| token.branch == guarantee.branches.home(token);
                if is_here(token) && read.after.as_ref().is_some_and(is_here) {
                    session.push(operation);
                } else {
                    alone.push(vec![operation]);
                }
            }
            _ => {}
        }
    }
    sessions.into_values().chain(alone).collect()
}

/// On one branch a register's value was written by one transaction.
fn check_writers(history: &History, guarantee: &Guarantee, leaf: &Branch) -> Result<(), Violation> {
    let mut known = BTreeMap::<(usize, u32), (u64, &Entry)>::new();
    let mut witness = |register, value, tx, entry| {
        let (before, by) = *known.entry((register, value)).or_insert((tx, entry));
        if before == tx {
            return Ok(());
        }
        let text = format!(
            "on branch {leaf} value {value} of register {register} is of transactions {before} and {tx}: \
             {by:?} and {entry:?}"
        );
        violation(Promise::OneOrder, text)
    };
    for (entry, write) in history.entries().iter().filter_map(write_of) {
        let on_leaf = entry.token().is_some_and(|token| guarantee.branches.has(leaf, token));
        if on_leaf && !may_vanish(entry, guarantee) {
            for (register, value) in &write.wrote {
                witness(usize::from(*register), *value, write.tx, entry)?;
            }
        }
    }
    for (entry, read, seen) in looks(history) {
        let is_soft = read.view == View::Primary && may_vanish(entry, guarantee);
        if is_soft || !guarantee.branches.has(leaf, &seen.at) {
            continue;
        }
        for (register, (value, tx)) in seen.values.iter().zip(seen.writers).enumerate() {
            witness(register, *value, tx, entry)?;
        }
    }
    Ok(())
}
