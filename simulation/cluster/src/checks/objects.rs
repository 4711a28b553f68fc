//! Tables, indexes and columns are there as they were told.
//!
//! Only one client changes an object, one change after the other, so its states are a list: the last change
//! that binds has happened, and of those after it that are in doubt any may have been the last.

use super::{Promise, Violation, violation};
use crate::guarantee::{Commit, Guarantee};
use crate::history::{Deed, Entry, History, Outcome, State};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(history: &History, guarantee: &Guarantee, state: &State) -> Result<(), Violation> {
    let mut possible = BTreeMap::<&str, BTreeSet<bool>>::new();
    let mut last = BTreeMap::<&str, &Entry>::new();
    for entry in history.entries() {
        let Deed::Ddl(ddl) = &entry.deed else { continue };
        if matches!(entry.outcome, Outcome::Failed(_)) {
            continue;
        }
        for (object, is_there) in &ddl.changes {
            let states = possible.entry(object).or_insert_with(|| [false].into());
            if binds(entry, guarantee) {
                states.clear();
            }
            states.insert(*is_there);
            last.insert(object, entry);
        }
    }
    if let Some(object) = state.objects.iter().find(|object| !possible.contains_key(object.as_str())) {
        return violation(Promise::Objects, format!("nobody has made {object}, or it failed"));
    }
    for (object, states) in possible {
        let is_there = state.objects.contains(object);
        if !states.contains(&is_there) {
            let what = if is_there { "is still there" } else { "is gone" };
            return violation(Promise::Objects, format!("{object} {what} after {:?}", last.get(object)));
        }
    }
    Ok(())
}

fn binds(entry: &Entry, guarantee: &Guarantee) -> bool {
    let (Some(level), Some(token)) = (entry.level_told(), entry.token()) else { return false };
    let (invoked_ms, told_ms) = (entry.invoked_ms, entry.told_ms());
    guarantee.binds(&Commit { level, token, node: Some(entry.node), invoked_ms, told_ms })
}
