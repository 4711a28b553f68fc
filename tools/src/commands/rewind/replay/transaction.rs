//! A transaction that makes a commit's changes, as a whole or not at all.
//!
//! First come checks, which fail unless all rows are as the commit found them. Then all rows go that the
//! commit changed or deleted, then all come that it left: so no order of them offends a unique constraint.
//! A table's only change is an UPDATE if it changed a row that has a key.
//!
//! Rows of a table without a primary key are told apart by nothing. Of those that are written alike there
//! must be as many as the commit found.

use super::change::Change;
use super::sql::{Columns, as_found, assignments, check_columns, check_rows, insert};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Rows that the commit found alike. One that has a key is alone.
struct Found<'c> {
    table: &'c str,
    key: &'c Columns,
    row: &'c Columns,
    /// It finds them.
    condition: String,
    /// How many there were.
    count: usize,
    /// What became of those that stayed.
    left: Vec<&'c Columns>,
}

impl<'c> Found<'c> {
    fn is_changed(&self) -> bool {
        self.left.len() != self.count || self.left.iter().any(|left| *left != self.row)
    }

    /// What an UPDATE of a row with a key would set; None if it is none.
    fn update(&self) -> Option<String> {
        let left = self.left.first().filter(|_| !self.key.is_empty() && self.is_changed())?;
        let changed = left.iter().filter(|(name, value)| self.row.get(*name) != Some(value));
        Some(format!("UPDATE {} SET {} WHERE {};", self.table, assignments(changed), self.condition))
    }

    /// Adds the rows of a change to those that are like it.
    fn note(all: &mut Vec<Self>, places: &mut HashMap<(&'c str, String), usize>, change: &'c Change<'_>) {
        let Change { table, key, old: Some(row), new } = change else { return };
        let condition = as_found(key, row);
        let place = *places.entry((table, condition.clone())).or_insert(all.len());
        if place == all.len() {
            all.push(Self { table, key, row, condition, count: 0, left: Vec::new() });
        }
        if let Some(found) = all.get_mut(place) {
            found.count += 1;
            found.left.extend(*new);
        }
    }
}

/// Its lines; none for no change.
pub(super) fn lines(changes: &[Change<'_>]) -> Vec<String> {
    if changes.is_empty() {
        return Vec::new();
    }
    let (mut found, mut places, mut changes_of) = (Vec::new(), HashMap::new(), BTreeMap::new());
    for change in changes {
        Found::note(&mut found, &mut places, change);
        *changes_of.entry(change.table.as_str()).or_insert(0) += 1;
    }
    // What the checks find stays so: rows that another transaction changes meanwhile fail this one.
    let mut lines = vec!["BEGIN ISOLATION LEVEL REPEATABLE READ;".to_owned()];
    let (mut go, mut come, mut emptied) = (Vec::new(), Vec::new(), BTreeSet::new());
    for of in &found {
        let Found { table, key, row, condition, count, left } = of;
        lines.push(check_rows(table, (key, row), condition, *count));
        if let Some(update) = of.update().filter(|_| changes_of.get(table) == Some(&1)) {
            go.push(update);
        } else if of.is_changed() {
            if emptied.insert(table) {
                lines.push(check_columns(table, row));
            }
            go.push(format!("DELETE FROM {table} WHERE {condition};"));
            come.extend(left.iter().map(|left| insert(table, left)));
        }
    }
    let inserted = changes.iter().filter(|change| change.old.is_none());
    come.extend(inserted.filter_map(|change| Some(insert(&change.table, change.new?))));
    lines.extend(go.into_iter().chain(come));
    lines.push("COMMIT;".to_owned());
    lines
}
