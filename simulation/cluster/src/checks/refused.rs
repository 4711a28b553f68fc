//! Nobody is refused a token whose commits are there: not if each branch that there is has it, and it is that
//! of a commit which no crash takes away.

use super::{Promise, Violation, violation};
use crate::branch::{Branch, Token};
use crate::guarantee::Guarantee;
use crate::history::{Deed, Entry, History, Level, Outcome};
use std::collections::BTreeSet;

/// What a server says that is on another branch.
const REFUSAL: &str = "is not on this server's branch";

pub(super) fn check(history: &History, guarantee: &Guarantee) -> Result<(), Violation> {
    let branches = guarantee.branches.all(&Branch::new("1"));
    let durable = |entry: &Entry| {
        let token = entry.token().filter(|_| entry.level_told().is_some_and(|level| level > Level::Off))?;
        Some(token.to_string())
    };
    let durable: BTreeSet<String> = history.entries().iter().filter_map(durable).collect();
    let everywhere = |token: &Token| branches.iter().all(|branch| guarantee.branches.has(branch, token));
    for entry in history.entries() {
        let (Deed::Read(read), Outcome::Failed(text)) = (&entry.deed, &entry.outcome) else { continue };
        let Some(after) = read.after.as_ref().filter(|_| text.contains(REFUSAL)) else { continue };
        if durable.contains(&after.to_string()) && everywhere(after) {
            return violation(Promise::Token, format!("{after} is on each branch, and refused: {entry:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Read, View, Write};
    use wal::Lsn;

    #[test]
    fn a_token_that_each_branch_has_is_refused_by_nobody() {
        let mut history = History::default();
        let write = Write::new(1, Level::Local, [0].into(), [0].into());
        let pending = history.begin((0, 0), 0, "insert", 1000, Deed::Write(write));
        let token: Option<Token> = "1:0/50".parse().ok();
        history.end(pending, 1010, Outcome::Acked { token: token.clone(), warnings: Vec::new() }, |_| ());
        let read = Read { view: View::Primary, after: token, seen: None };
        let pending = history.begin((0, 0), 1, "read", 1100, Deed::Read(read));
        let refusal = format!("55000 log position 1:0/50 {REFUSAL}");
        history.end(pending, 1110, Outcome::Failed(refusal), |_| ());
        let mut guarantee = Guarantee::calm(Branch::new("2-a"));
        guarantee.branches.add(Branch::new("2-a"), Branch::new("1"), Lsn::new(0x50));
        assert!(check(&history, &guarantee).is_err());
        guarantee.branches.add(Branch::new("2-b"), Branch::new("1"), Lsn::new(0x40));
        assert!(check(&history, &guarantee).is_ok(), "one branch lacks it");
    }
}
