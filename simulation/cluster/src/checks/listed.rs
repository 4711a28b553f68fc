//! Who looks which tables there are sees what his snapshot has: what was made or dropped up to there, and
//! nothing of what comes behind. That standbys hold it by then, `held` asks.

use super::{Promise, Violation, violation};
use crate::guarantee::Guarantee;
use crate::history::{Deed, Entry, History, Level, Listed, Listing, Outcome, View};
use std::collections::{BTreeMap, BTreeSet};

/// What happened to each table and index, in its order: who did it, and whether it is there from then on.
/// What has failed is left out, and so are columns.
pub(super) type Changes<'h> = BTreeMap<&'h str, Vec<(&'h Entry, bool)>>;

/// What a look tells of an object.
pub(super) struct Shown<'h> {
    object: &'h str,
    is_there: bool,
    /// What it may be there.
    states: BTreeSet<bool>,
    /// The change that made it what it is, if one alone can be meant.
    pub(super) by: Option<&'h Entry>,
}

pub(super) fn check(history: &History, guarantee: &Guarantee) -> Result<(), Violation> {
    let changes = changes_of(history);
    for (entry, _, seen) in lists(history, guarantee) {
        if !seen.is_all && seen.names.is_empty() {
            let text = format!("a table is there without the row that came with it: {entry:?}");
            return violation(Promise::Whole, text);
        }
        if let Some(object) = seen.names.iter().find(|name| !changes.contains_key(name.as_str())) {
            let text = format!("nobody has made {object}, or it failed, and it is seen: {entry:?}");
            return violation(Promise::Objects, text);
        }
        for Shown { object, is_there, states, .. } in shown(&changes, seen, guarantee) {
            if !states.contains(&is_there) {
                let what = if is_there { "is there" } else { "is not there" };
                let text = format!("{object} {what} in a snapshot of {}: {entry:?}", seen.at);
                return violation(Promise::OneOrder, text);
            }
        }
    }
    Ok(())
}

/// All looks that saw something which no crash took away.
pub(super) fn lists<'h>(
    history: &'h History,
    guarantee: &Guarantee,
) -> impl Iterator<Item = (&'h Entry, &'h Listing, &'h Listed)> {
    history.entries().iter().filter_map(|entry| {
        let Deed::List(listing) = &entry.deed else { return None };
        let vanished = || guarantee.may_vanish(entry.node, entry.invoked_ms, entry.told_ms());
        let seen = listing.seen.as_ref().filter(|_| listing.view != View::Primary || !vanished())?;
        Some((entry, listing, seen))
    })
}

pub(super) fn changes_of(history: &History) -> Changes<'_> {
    let mut changes = Changes::new();
    for entry in history.entries() {
        let Deed::Ddl(ddl) = &entry.deed else { continue };
        if matches!(entry.outcome, Outcome::Failed(_)) {
            continue;
        }
        for (object, is_there) in ddl.changes.iter().filter(|(object, _)| !object.contains('.')) {
            changes.entry(object).or_default().push((entry, *is_there));
        }
    }
    changes
}

/// What a look tells of each object that it looked for.
pub(super) fn shown<'h>(
    changes: &Changes<'h>,
    seen: &Listed,
    guarantee: &Guarantee,
) -> impl Iterator<Item = Shown<'h>> {
    let looked_for = changes.iter().filter(|(object, _)| seen.is_all || seen.names.contains(**object));
    looked_for.map(|(object, changes)| {
        let is_there = seen.names.contains(*object);
        let (mut states, mut by) = (BTreeSet::from([false]), None);
        for (entry, is_there) in changes {
            match is_in(entry, seen, guarantee) {
                Some(true) => (states, by) = ([*is_there].into(), Some(*entry)),
                Some(false) => {}
                None => {
                    states.insert(*is_there);
                    by = None;
                }
            }
        }
        Shown { object, is_there, states, by }
    })
}

/// Whether a snapshot has a change; None if nobody knows.
fn is_in(entry: &Entry, seen: &Listed, guarantee: &Guarantee) -> Option<bool> {
    let token = entry.token().filter(|_| matches!(entry.outcome, Outcome::Acked { .. }))?;
    // Another commit may be at its place since.
    let is_lazy = entry.level_told() == Some(Level::Off);
    if is_lazy && guarantee.may_vanish(entry.node, entry.invoked_ms, entry.told_ms()) {
        return None;
    }
    Some(guarantee.branches.has(&seen.at.branch, token) && token.at <= seen.at.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::branch::{Branch, Token};
    use crate::history::Ddl;
    use wal::Lsn;

    fn token(text: &str) -> Token {
        text.parse().expect("a token")
    }

    /// A table is made at 50 and dropped at 90, another one is made on the branch that left at 80.
    fn history(at: &str, names: &[&str], is_all: bool) -> History {
        let mut history = History::default();
        for (object, is_there, at) in
            [("o_1_1", true, "1:0/50"), ("o_1_1", false, "1:0/90"), ("o_1_2", true, "2-a:0/90")]
        {
            let changes = vec![(object.to_owned(), is_there)];
            let deed = Deed::Ddl(Ddl { level: Level::On, changes });
            let pending = history.begin((0, 0), 0, "ddl", 1000, deed);
            history.end(
                pending,
                1100,
                Outcome::Acked { token: Some(token(at)), warnings: Vec::new() },
                |_| (),
            );
        }
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let seen = Some(Listed { at: token(at), names, is_all });
        let deed = Deed::List(Listing { view: View::Replayed, seen });
        let pending = history.begin((1, 0), 1, "look at tables", 1200, deed);
        history.end(pending, 1210, Outcome::Acked { token: Some(token(at)), warnings: Vec::new() }, |_| ());
        history
    }

    #[test]
    fn a_look_shows_what_its_snapshot_has() {
        let mut guarantee = Guarantee::calm(Branch::new("2-a"));
        guarantee.branches.add(Branch::new("2-a"), Branch::new("1"), Lsn::new(0x80));
        for (at, names, is_all, is_right) in [
            ("1:0/40", &[][..], true, true),
            ("1:0/40", &["o_1_1"], true, false),
            ("1:0/40", &["o_1_1"], false, false),
            ("1:0/50", &["o_1_1"], true, true),
            ("1:0/50", &[], true, false),
            ("1:0/95", &[], true, true),
            ("1:0/95", &["o_1_1"], false, false),
            ("2-a:0/95", &["o_1_1", "o_1_2"], true, true),
            ("2-a:0/95", &["o_1_2"], false, true),
            ("2-a:0/95", &["o_1_2"], true, false),
            ("2-a:0/95", &[], false, false),
            ("2-a:0/95", &["o_1_1", "o_1_2", "o_7_7"], true, false),
        ] {
            let found = check(&history(at, names, is_all), &guarantee);
            assert_eq!(found.is_ok(), is_right, "{at} {names:?}: {found:?}");
        }
    }
}
