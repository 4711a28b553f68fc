//! Rows of tables without a primary key. Nothing tells equal ones apart, so they are changed by their number:
//! only where exactly as many equal rows are there as the transaction changed.
//!
//! Rows are equal if SQL's `=` says so, and some that are can be written differently: 1.0 and 1.00 are one
//! number, and two texts. The file does not have the types. So rows that may be equal are told together, by
//! all the ways in which they were written, and that is right for either.
//!
//! A row that came and went within the transaction counts for nothing. What it made of a row is found along
//! its changes: where 1 became 2 and another 2 became 3, nothing but a 1 has gone, and a 3 has come for it.

use super::change::{Change, Op, Statement};
use super::sql::{Columns, assignments, comment, guard, insert, literals};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

/// Rows of one table that are written alike.
struct Equal<'c> {
    table: &'c str,
    row: &'c Columns,
    /// What changes made of one of them each; None where it was deleted.
    becomes: VecDeque<Option<usize>>,
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
            self.all.push(Equal { table, row, becomes: VecDeque::new(), gone: 0 });
            let class = *self.by_class.entry((table, written_once(row))).or_insert(self.classes.len());
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
            equal.gone += 1;
        }
        if let Some(equal) = new.and_then(|new| self.all.get_mut(new)) {
            equal.gone -= 1;
        }
        if old.is_none() {
            self.inserted.extend(new);
        }
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
        let (mut olds, mut ends) = (Vec::new(), Vec::new());
        for place in class {
            let Some(Equal { row, gone, .. }) = rows.all.get(place) else { continue };
            let (row, gone) = (*row, (*gone).max(0));
            ends.extend((0..gone).map(|_| rows.end_of(place)));
            olds.extend((gone > 0).then_some((place, row)));
        }
        let row = |end: Option<usize>| rows.all.get(end?).map(|equal| equal.row);
        if let (Some(first), Some((place, _))) = (ends.first(), olds.first())
            && let Some(Equal { table, .. }) = rows.all.get(*place)
        {
            let is_one = ends.iter().all(|end| end == first);
            let news: Vec<_> =
                ends.iter().take(if is_one { 1 } else { ends.len() }).map(|end| row(*end)).collect();
            let olds: Vec<&Columns> = olds.iter().map(|(_, row)| *row).collect();
            statements.push(of_equal(table, &olds, ends.len(), &news));
        }
    }
    for place in std::mem::take(&mut rows.inserted) {
        if let Some(Equal { table, row, .. }) = rows.end_of(place).and_then(|end| rows.all.get(end)) {
            statements.push(Statement { op: Op::Insert, text: insert(table, row, None), moves: None });
        }
    }
    statements
}

/// A row's values such that those are the same which may be equal: of a number, alone or in an array, what
/// changes nothing is left out.
fn written_once(row: &Columns) -> String {
    let value = |value: &Value| match value {
        Value::String(text) if text.starts_with('{') => {
            let values = text.split_inclusive(['{', '}', ',']);
            values.map(|value| value.trim_end_matches(['{', '}', ','])).map(number_once).collect()
        }
        Value::String(text) => number_once(text).into_owned(),
        _ => String::new(),
    };
    let columns = row.iter().map(|(name, of)| (name, of.is_string(), value(of)));
    columns.map(|column| format!("{column:?}")).collect()
}

/// A text that may be a number, without zeros at the end of its fraction and without the sign of a zero.
fn number_once(text: &str) -> Cow<'_, str> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return Cow::Borrowed(text);
    }
    let fraction = fraction.trim_end_matches('0');
    let sign = if text.len() > digits.len() && digits.bytes().any(|byte| matches!(byte, b'1'..=b'9')) {
        "-"
    } else {
        ""
    };
    Cow::Owned(format!("{sign}{whole}.{fraction}"))
}

/// The statement for a number of equal rows: `news` is what they became, one if all became the same.
fn of_equal<'c>(
    table: &'c str,
    olds: &[&'c Columns],
    count: usize,
    news: &[Option<&'c Columns>],
) -> Statement<'c> {
    let guards: Vec<String> = olds.iter().map(|old| guard(old)).collect();
    let guard = if guards.len() == 1 { guards.concat() } else { format!("({})", guards.join(" OR ")) };
    let condition = format!("{guard} AND (SELECT count(*) FROM {table} WHERE {guard}) = {count}");
    match news {
        [Some(new)] => Statement::update(table, olds, new, &condition),
        [None] => {
            let text = format!("DELETE FROM {table} WHERE {condition};");
            Statement { op: Op::Delete, text, moves: None }
        }
        _ => {
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
            [format!("DELETE FROM \"n\" {}", only("1.00", 1))],
            "one of them is there yet"
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
            assert_eq!(written_once(&columns(one)), written_once(&columns(other)), "{one}");
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
