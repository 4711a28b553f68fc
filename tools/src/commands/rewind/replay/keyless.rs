//! Rows of tables without a primary key. Nothing tells equal ones apart, so they are changed by their number:
//! only where exactly as many equal rows are there as the transaction changed.
//!
//! Rows are equal if SQL's `=` says so, and some that are can be written differently: 1.0 and 1.00 are one
//! number, and two texts. The file does not have the types. So rows that may be equal are told together, by
//! all the ways in which they were written, and that is right for either.
//!
//! A row that came and went within the transaction counts for nothing. What it made of a row is found along
//! its changes: where 1 became 2 and another 2 became 3, nothing but a 1 has gone, and a 3 has come for it.

use super::change::{Change, Op, Statement, changed};
use super::sql::{Columns, assignments, comment, guard, insert, literals, written_once};
use std::collections::{HashMap, VecDeque};

/// Rows of one table that are written alike.
struct Equal<'c> {
    table: &'c str,
    row: &'c Columns,
    /// What changes made of one of them each; None where it was deleted.
    becomes: VecDeque<Option<usize>>,
    /// The transaction found one.
    was_there: bool,
    /// How many more of them went than came; less than none if more came. What is told of is taken off.
    gone: i64,
}

/// All rows that a transaction found or left.
#[derive(Default)]
struct Rows<'c> {
    all: Vec<Equal<'c>>,
    places: HashMap<(&'c str, String), usize>,
    /// Those that may be equal, in the order of their first ones.
    classes: Vec<Vec<usize>>,
    by_class: HashMap<(&'c str, String), usize>,
    inserted: Vec<usize>,
}

impl<'c> Rows<'c> {
    fn place(&mut self, table: &'c str, row: &'c Columns) -> usize {
        let next = self.all.len();
        let place = *self.places.entry((table, assignments(row.iter()))).or_insert(next);
        if place == next {
            self.all.push(Equal { table, row, becomes: VecDeque::new(), was_there: false, gone: 0 });
            let class = *self.by_class.entry((table, class_of(row))).or_insert(self.classes.len());
            match self.classes.get_mut(class) {
                Some(class) => class.push(place),
                None => self.classes.push(vec![place]),
            }
        }
        place
    }

    fn note(&mut self, change: &'c Change<'_>) {
        let [old, new] = [change.old, change.new].map(|row| Some(self.place(&change.table, row?)));
        if let Some(equal) = old.and_then(|old| self.all.get_mut(old)) {
            equal.becomes.push_back(new);
            equal.was_there = true;
            equal.gone += 1;
        }
        if let Some(equal) = new.and_then(|new| self.all.get_mut(new)) {
            equal.gone -= 1;
        }
        if old.is_none() {
            self.inserted.extend(new);
        }
    }

    /// Those that are gone of one way of writing.
    fn take_gone(&mut self, place: usize) -> Option<Gone<'c>> {
        let Equal { table, row, gone, .. } = self.all.get(place)?;
        let (table, row, count) = (*table, *row, (*gone).max(0));
        let ends: Vec<Option<usize>> = (0..count).map(|_| self.end_of(place)).collect();
        let new = |end: Option<usize>| self.all.get(end?).map(|equal| equal.row);
        Some(Gone { table, row, news: ends.into_iter().map(new).collect() }).filter(|_| count > 0)
    }

    /// What one of these rows is at the end; None if it is gone.
    fn end_of(&mut self, mut place: usize) -> Option<usize> {
        loop {
            let equal = self.all.get_mut(place)?;
            if equal.gone < 0 {
                equal.gone += 1;
                return Some(place);
            }
            place = equal.becomes.pop_front()??;
        }
    }
}

/// The statements for these changes.
pub(super) fn statements<'c>(changes: &'c [Change<'_>]) -> Vec<Statement<'c>> {
    let mut rows = Rows::default();
    changes.iter().for_each(|change| rows.note(change));
    let mut statements = Vec::new();
    for class in std::mem::take(&mut rows.classes) {
        let was_there = |place: &&usize| rows.all.get(**place).is_some_and(|row| row.was_there);
        let were_there = class.iter().filter(was_there).count();
        let gone: Vec<Gone<'c>> = class.iter().filter_map(|place| rows.take_gone(*place)).collect();
        let together = gone.len() == were_there && Gone::are_alike(&gone);
        for part in gone.chunks(if together { were_there.max(1) } else { 1 }) {
            let Some(mut statement) = Gone::statement(part) else { continue };
            if !together && were_there > 1 {
                statement.text = format!("{WRITTEN_DIFFERENTLY}\n{}", statement.text);
            }
            statements.push(statement);
        }
    }
    for place in std::mem::take(&mut rows.inserted) {
        if let Some(Equal { table, row, .. }) = rows.end_of(place).and_then(|end| rows.all.get(end)) {
            statements.push(Statement { op: Op::Insert, text: insert(table, row, None), moves: None });
        }
    }
    statements
}

/// A row's values such that those are the same which may be equal.
fn class_of(row: &Columns) -> String {
    let columns = row.iter().map(|(name, value)| (name, value.as_str().map(written_once)));
    columns.map(|column| format!("{column:?}")).collect()
}

/// Said of a statement that is for one of several ways of writing.
const WRITTEN_DIFFERENTLY: &str =
    "-- changes nothing if rows are equal here that are written differently, as 1.0 and 1.00 are as numbers:";

/// Rows that are written alike and are gone, and what they became.
struct Gone<'c> {
    table: &'c str,
    row: &'c Columns,
    news: Vec<Option<&'c Columns>>,
}

impl<'c> Gone<'c> {
    /// Whether the same was done to each of them.
    fn are_alike(all: &[Self]) -> bool {
        let done = |row, new: &Option<&'c Columns>| new.map(|new| assignments(changed(row, new)));
        let mut each = all.iter().flat_map(|gone| gone.news.iter().map(|new| done(gone.row, new)));
        each.next().is_none_or(|first| each.all(|other| other == first))
    }

    /// The statement for all of them; None for none.
    fn statement(all: &[Self]) -> Option<Statement<'c>> {
        let Self { table, row, .. } = all.first()?;
        let guards: Vec<String> = all.iter().map(|gone| guard(gone.row)).collect();
        let guard = if guards.len() == 1 { guards.concat() } else { format!("({})", guards.join(" OR ")) };
        let news: Vec<Option<&Columns>> = all.iter().flat_map(|gone| gone.news.iter().copied()).collect();
        let count = news.len();
        let condition = format!("{guard} AND (SELECT count(*) FROM {table} WHERE {guard}) = {count}");
        Some(match news.first().filter(|_| Self::are_alike(all)) {
            Some(Some(new)) => Statement::update(table, row, new, &condition),
            Some(None) => {
                let text = format!("DELETE FROM {table} WHERE {condition};");
                Statement { op: Op::Delete, text, moves: None }
            }
            None => {
                let text = |new: &Option<&Columns>| {
                    new.map_or_else(|| "no row".to_owned(), |new| format!("({})", literals(new)))
                };
                let news: Vec<String> = news.iter().map(text).collect();
                let text = format!(
                    "-- {count} equal rows of {} WHERE {} became different ones, and nothing tells which is which: {}",
                    comment(table),
                    comment(&guard),
                    comment(&news.join(", "))
                );
                Statement { op: Op::Other, text, moves: None }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The statements for changes of rows: each what it was and what it became.
    fn sql(changes: &[(Value, Value)]) -> Vec<String> {
        let op = |old: &Value, new: &Value| match (old, new) {
            (Value::Null, _) => "insert",
            (_, Value::Null) => "delete",
            _ => "update",
        };
        let lines: Vec<Value> = changes
            .iter()
            .map(|(old, new)| json!({"table": "n", "op": op(old, new), "key": {}, "old": old, "new": new}))
            .collect();
        let changes: Vec<Change<'_>> = lines.iter().map(Change::of).collect();
        assert!(changes.iter().all(Change::is_keyless));
        statements(&changes).into_iter().map(|statement| statement.text).collect()
    }

    fn n(n: &str) -> Value {
        json!({"n": n})
    }

    /// The condition of a statement for a number of equal rows.
    fn only(n: &str, count: u32) -> String {
        format!("WHERE \"n\" = '{n}' AND (SELECT count(*) FROM \"n\" WHERE \"n\" = '{n}') = {count};")
    }

    fn update(n: &str, to: &str, count: u32) -> String {
        format!("UPDATE \"n\" SET \"n\" = '{to}' {}", only(n, count))
    }

    #[test]
    fn equal_rows_change_only_where_they_are_as_many() {
        let (one, two, none) = (n("1"), n("2"), Value::Null);
        assert_eq!(sql(&[(one.clone(), two.clone()), (one.clone(), two.clone())]), [update("1", "2", 2)]);
        assert_eq!(
            sql(&[(one.clone(), none.clone()), (one.clone(), none.clone()), (none.clone(), n("7"))]),
            [
                format!("DELETE FROM \"n\" {}", only("1", 2)),
                "INSERT INTO \"n\" (\"n\") OVERRIDING SYSTEM VALUE VALUES ('7');".to_owned()
            ]
        );
        assert_eq!(sql(&[(one.clone(), two.clone()), (two.clone(), n("3"))]), [update("1", "3", 1)]);
        assert_eq!(sql(&[(one.clone(), two.clone()), (two.clone(), one.clone())]), [""; 0], "as it was");
        assert_eq!(
            sql(&[(none.clone(), one.clone()), (one.clone(), none.clone()), (two, one)]),
            [update("2", "1", 1)]
        );
    }

    #[test]
    fn equal_rows_that_become_different_ones_are_a_comment() {
        let became = sql(&[(n("1"), n("2")), (n("1"), Value::Null), (n("1"), n("x\ny"))]);
        assert_eq!(
            became,
            [
                "-- 3 equal rows of \"n\" WHERE \"n\" = '1' became different ones, and nothing tells which is which: \
              ('2'), no row, ('x y')"
            ]
        );
    }

    /// As numbers 1.0 and 1.00 are equal, as texts they are not: this is right for both.
    #[test]
    fn rows_that_may_be_equal_are_told_together() {
        let none = || Value::Null;
        let both = "(\"n\" = '1.0' OR \"n\" = '1.00')";
        assert_eq!(
            sql(&[(n("1.0"), none()), (n("1.00"), none()), (n("x1.0"), none())]),
            [
                format!("DELETE FROM \"n\" WHERE {both} AND (SELECT count(*) FROM \"n\" WHERE {both}) = 2;"),
                format!("DELETE FROM \"n\" {}", only("x1.0", 1))
            ]
        );
        assert_eq!(
            sql(&[(n("1.0"), n("1.0")), (n("1.00"), n("1.0")), (n("1.0"), none())]),
            [format!("{WRITTEN_DIFFERENTLY}\nDELETE FROM \"n\" {}", only("1.00", 1))],
            "one of them is there yet"
        );
        assert_eq!(
            sql(&[(n("1.0"), n("7")), (n("1.00"), none())]),
            [
                format!("{WRITTEN_DIFFERENTLY}\n{}", update("1.0", "7", 1)),
                format!("{WRITTEN_DIFFERENTLY}\nDELETE FROM \"n\" {}", only("1.00", 1))
            ]
        );
        let version = |version: &str, state: &str| json!({"state": state, "version": version});
        let guard = |n: &str| format!("\"state\" = 'new' AND \"version\" = '{n}'");
        let guard = format!("({} OR {})", guard("1.1"), guard("1.10"));
        let set = "UPDATE \"n\" SET \"state\" = 'old' WHERE";
        assert_eq!(
            sql(&[
                (version("1.1", "new"), version("1.1", "old")),
                (version("1.10", "new"), version("1.10", "old"))
            ]),
            [format!("{set} {guard} AND (SELECT count(*) FROM \"n\" WHERE {guard}) = 2;")],
            "each keeps what it was written as"
        );
        let became = sql(&[(n("1.0"), n("7")), (n("1.00"), n("7"))]);
        assert_eq!(
            became,
            [format!(
                "UPDATE \"n\" SET \"n\" = '7' WHERE {both} AND (SELECT count(*) FROM \"n\" WHERE {both}) = 2;"
            )]
        );
        let alike = [("{1.0,-0}", "{1.00,0}"), ("-5", "-5.0"), ("-0.00", "0")];
        for (one, other) in alike {
            let columns = |value: &str| n(value).as_object().unwrap().clone();
            assert_eq!(class_of(&columns(one)), class_of(&columns(other)), "{one}");
        }
    }

    #[test]
    fn rows_without_columns_are_counted() {
        let none = || json!({});
        assert_eq!(sql(&[(Value::Null, none())]), ["INSERT INTO \"n\" DEFAULT VALUES;"]);
        assert_eq!(
            sql(&[(none(), Value::Null), (none(), Value::Null)]),
            ["DELETE FROM \"n\" WHERE true AND (SELECT count(*) FROM \"n\" WHERE true) = 2;"]
        );
    }
}
