//! A transaction is there whole or not at all, and what failed is nowhere.

use super::kept::looks;
use super::{Promise, Violation, violation};
use crate::history::registers::REGISTERS;
use crate::history::{BURST_ROWS, Entry, History, Outcome, State, Write};
use std::collections::{BTreeMap, BTreeSet};

type Writes<'h> = BTreeMap<u64, (&'h Entry, &'h Write)>;

/// What is there in the end.
pub(super) fn check_end(writes: &Writes<'_>, state: &State) -> Result<(), Violation> {
    for (tx, parts) in &state.parts {
        check_parts(writes, *tx, parts, "in the end")?;
    }
    if let Some((burst, rows)) = state.bursts.iter().find(|(burst, rows)| *burst % BURST_ROWS != **rows) {
        return violation(Promise::Whole, format!("burst {burst} has left {rows} rows"));
    }
    let mut counted = [0_u32; REGISTERS];
    for (_, write) in state.parts.keys().filter_map(|tx| writes.get(tx)) {
        for register in &write.adds {
            counted[usize::from(*register)] += 1;
        }
    }
    for (register, counted) in counted.into_iter().enumerate() {
        let (value, writer) = (state.values[register], state.writers[register]);
        if value != counted {
            let text = format!(
                "register {register} is {value} in the end, and {} transactions there wrote it",
                counted
            );
            return violation(Promise::Whole, text);
        }
        if writer != 0 && !state.parts.contains_key(&writer) {
            let text =
                format!("register {register} is of transaction {writer}, of which nothing else is there");
            return violation(Promise::Whole, text);
        }
    }
    Ok(())
}

/// What each snapshot showed.
pub(super) fn check_reads(history: &History, writes: &Writes<'_>) -> Result<(), Violation> {
    for (entry, _, seen) in looks(history) {
        for (tx, parts) in &seen.parts {
            check_parts(writes, *tx, parts, &format!("in {entry:?}"))?;
        }
        for tx in seen.writers.iter().filter(|tx| **tx != 0) {
            check_possible(writes, *tx, &format!("in {entry:?}"))?;
            if seen.parts.get(tx).is_some_and(BTreeSet::is_empty) {
                let text = format!("transaction {tx} wrote a register and nothing else {entry:?}");
                return violation(Promise::Whole, text);
            }
        }
    }
    Ok(())
}

/// A transaction that is there was begun by somebody, and has not failed.
fn check_possible<'h>(writes: &Writes<'h>, tx: u64, place: &str) -> Result<&'h Write, Violation> {
    match writes.get(&tx) {
        None => violation(Promise::Failed, format!("nobody began transaction {tx}, which is {place}")),
        Some((entry, _)) if matches!(entry.outcome, Outcome::Failed(_)) => {
            violation(Promise::Failed, format!("{entry:?} has failed and is {place}"))
        }
        Some((_, write)) => Ok(write),
    }
}

fn check_parts(writes: &Writes<'_>, tx: u64, parts: &BTreeSet<u32>, place: &str) -> Result<(), Violation> {
    if parts.is_empty() {
        return Ok(());
    }
    let write = check_possible(writes, tx, place)?;
    if *parts == write.kept {
        return Ok(());
    }
    let missing: Vec<_> = write.kept.difference(parts).collect();
    let undone: Vec<_> = parts.difference(&write.kept).collect();
    let text = format!("transaction {tx} lacks parts {missing:?} and has parts {undone:?} too many {place}");
    violation(Promise::Whole, text)
}
