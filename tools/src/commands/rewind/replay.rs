//! `plimsoll rewind --replay FILE`: SQL out of what a rewind discarded, for a person to judge. Nothing runs
//! it.
//!
//! Each statement does its work only where the row is as the discarded commit found it: an INSERT leaves a
//! row that has its key, an UPDATE and a DELETE compare the old values. What cannot be told is a comment.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Longest first line that such a file may have.
const HEAD_BYTES_MAX: u64 = 64 << 10;

/// Gives the SQL line by line.
pub fn replay(file: &Path, each: &mut dyn FnMut(&str)) -> Result<()> {
    let failed = || format!("could not read \"{}\"", file.display());
    let mut reader = BufReader::new(File::open(file).with_context(failed)?);
    let mut head = Vec::new();
    reader.by_ref().take(HEAD_BYTES_MAX).read_until(b'\n', &mut head).with_context(failed)?;
    let head: Option<Value> = serde_json::from_slice(&head).ok();
    if !head.is_some_and(|head| head.get("discarded").is_some_and(Value::is_object)) {
        bail!(
            "\"{}\" is no file of what a rewind discarded: a rewind keeps one as plimsoll/discarded-*.json in the \
             directory that it rewinds, and says which",
            file.display()
        );
    }
    each(
        "-- Each transaction was committed on the node that was rewound, and is not on the cluster's branch.",
    );
    each("-- Look at each before you run it: later commits of the cluster may rest on what it would change.");
    for (number, line) in (2..).zip(reader.lines()) {
        let line: Value = serde_json::from_str(&line.with_context(failed)?)
            .with_context(|| format!("line {number} of \"{}\" is no JSON", file.display()))?;
        if line.get("discarded").is_none() {
            commit(&line).iter().for_each(|line| each(line));
        }
    }
    Ok(())
}

fn commit(line: &Value) -> Vec<String> {
    let of = |name: &str| line.get(name).map(plain).unwrap_or_default();
    let list = |name: &str| line.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut sql = vec![String::new(), format!("-- xid {}, committed at {}", of("xid"), comment(&of("time")))];
    if line.get("partial").is_some_and(|partial| partial == true) {
        sql.push("-- some of its changes may be missing".to_owned());
    }
    sql.extend(list("catalogue").iter().map(|change| format!("-- {}", comment(&plain(change)))));
    let changes = list("changes");
    if !changes.is_empty() {
        let (keyless, keyed): (Vec<_>, Vec<_>) = changes.iter().map(Change::of).partition(Change::is_keyless);
        let mut statements: Vec<(Op, String)> = keyed.iter().map(Change::statement).collect();
        statements.extend(of_keyless(&keyless));
        // A value that a row gives up may be another's by the end of the transaction.
        statements.sort_by_key(|(op, _)| *op);
        sql.push("BEGIN;".to_owned());
        sql.extend(statements.into_iter().map(|(_, statement)| statement));
        sql.push("COMMIT;".to_owned());
    }
    sql
}

type Columns = Map<String, Value>;

/// What a statement does to its row, in the order in which those of a transaction come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Op {
    Delete,
    Update,
    Insert,
    /// Nothing that is known.
    Other,
}

/// What a transaction did to one row, as the file has it.
struct Change<'c> {
    op: Op,
    table: String,
    /// Of a table without a primary key it is empty; None if it is not known.
    key: Option<&'c Columns>,
    old: Option<&'c Columns>,
    new: Option<&'c Columns>,
}

impl<'c> Change<'c> {
    fn of(line: &'c Value) -> Self {
        let columns = |name: &str| line.get(name).and_then(Value::as_object);
        let of = |name: &str| line.get(name).map(plain).unwrap_or_default();
        let op = match of("op").as_str() {
            "delete" => Op::Delete,
            "update" => Op::Update,
            "insert" => Op::Insert,
            _ => Op::Other,
        };
        Self { op, table: quote(&of("table")), key: columns("key"), old: columns("old"), new: columns("new") }
    }

    /// The row is known, and has no key: it is as good as any that is equal.
    fn is_keyless(&self) -> bool {
        let is_known = match self.op {
            Op::Delete => self.old.is_some(),
            Op::Update => self.old.is_some() && self.new.is_some(),
            Op::Insert => self.new.is_some(),
            Op::Other => false,
        };
        is_known && self.key.is_some_and(Map::is_empty)
    }

    fn statement(&self) -> (Op, String) {
        let Self { op, table, .. } = self;
        let key = self.key.filter(|key| !key.is_empty());
        let text = match (op, self.old, self.new) {
            (Op::Insert, _, Some(new)) => insert(table, new, key),
            (Op::Update, Some(old), Some(new)) => {
                let changed = new.iter().filter(|(name, value)| old.get(*name) != Some(value));
                match assignments(changed) {
                    set if set.is_empty() => {
                        format!("-- an UPDATE of {} that changed nothing", comment(table))
                    }
                    set => format!("UPDATE {table} SET {set} WHERE {};", guard(old)),
                }
            }
            (Op::Update, None, Some(new)) if let Some(key) = key => format!(
                "-- the row before it is not known:\n-- UPDATE {} SET {} WHERE {};",
                comment(table),
                comment(&assignments(new.iter())),
                comment(&guard(key))
            ),
            (Op::Delete, Some(old), _) => format!("DELETE FROM {table} WHERE {};", guard(old)),
            (Op::Delete, None, _) if let Some(key) = key => format!(
                "-- the row before it is not known:\n-- DELETE FROM {} WHERE {};",
                comment(table),
                comment(&guard(key))
            ),
            _ => format!("-- {} of {}, whose row is not known", op.name(), comment(table)),
        };
        (*op, text)
    }
}

impl Op {
    const fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Update => "update",
            Self::Insert => "insert",
            Self::Other => "a change",
        }
    }
}

/// Rows without a key, by what there is more of, or less, after the transaction: one that was changed is one
/// that went and one that came. Nothing tells equal rows apart, so none goes unless all that are there go.
fn of_keyless(changes: &[Change<'_>]) -> Vec<(Op, String)> {
    let mut more: Vec<(&str, &Columns, i64)> = Vec::new();
    let mut places: HashMap<(&str, String), usize> = HashMap::new();
    for change in changes {
        for (row, step) in [(change.old, -1), (change.new, 1)] {
            let Some(row) = row else { continue };
            let place = places.entry((&change.table, literals(row))).or_insert(more.len());
            if *place == more.len() {
                more.push((&change.table, row, 0));
            }
            if let Some((.., count)) = more.get_mut(*place) {
                *count += step;
            }
        }
    }
    let mut statements = Vec::new();
    for (table, row, count) in more {
        for _ in 0..count {
            statements.push((Op::Insert, insert(table, row, None)));
        }
        if count < 0 {
            let (guard, gone) = (guard(row), -count);
            let only = format!("(SELECT count(*) FROM {table} WHERE {guard}) = {gone}");
            statements.push((Op::Delete, format!("DELETE FROM {table} WHERE {guard} AND {only};")));
        }
    }
    statements
}

/// Puts a row back unless there is one of its key; without a key it comes once more.
fn insert(table: &str, row: &Columns, key: Option<&Columns>) -> String {
    let names = |columns: &Columns| columns.keys().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
    let conflict = key.map_or_else(String::new, |key| format!(" ON CONFLICT ({}) DO NOTHING", names(key)));
    // What made a value of its own (an identity column) takes the row's.
    format!(
        "INSERT INTO {table} ({}) OVERRIDING SYSTEM VALUE VALUES ({}){conflict};",
        names(row),
        literals(row)
    )
}

fn literals(row: &Columns) -> String {
    row.values().map(literal).collect::<Vec<_>>().join(", ")
}

fn assignments<'c>(columns: impl Iterator<Item = (&'c String, &'c Value)>) -> String {
    let set = columns.map(|(name, value)| format!("{} = {}", quote(name), literal(value)));
    set.collect::<Vec<_>>().join(", ")
}

/// The row is as it was.
fn guard(old: &Columns) -> String {
    let conditions: Vec<String> = old
        .iter()
        .map(|(name, value)| match value {
            Value::String(_) => format!("{} = {}", quote(name), literal(value)),
            _ => format!("{} IS NULL", quote(name)),
        })
        .collect();
    conditions.join(" AND ")
}

fn literal(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains('\\') => {
            format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
        }
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        _ => "NULL".to_owned(),
    }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Text that ends no comment.
fn comment(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn statement(change: &Value) -> String {
        Change::of(change).statement().1
    }

    #[test]
    fn each_change_is_guarded_by_what_was_there() {
        let insert = json!({"table": "t", "op": "insert", "key": {"id": "1"}, "old": null,
                            "new": {"id": "1", "v": "it's\n"}});
        assert_eq!(
            statement(&insert),
            "INSERT INTO \"t\" (\"id\", \"v\") OVERRIDING SYSTEM VALUE VALUES ('1', 'it''s\n') \
             ON CONFLICT (\"id\") DO NOTHING;"
        );
        let update = json!({"table": "t", "op": "update", "key": {"id": "1"}, "old": {"id": "1", "v": null},
                            "new": {"id": "1", "v": "a\\b"}});
        assert_eq!(
            statement(&update),
            "UPDATE \"t\" SET \"v\" = E'a\\\\b' WHERE \"id\" = '1' AND \"v\" IS NULL;"
        );
        let delete =
            json!({"table": "t", "op": "delete", "key": {"id": "1"}, "old": {"id": "1"}, "new": null});
        assert_eq!(statement(&delete), "DELETE FROM \"t\" WHERE \"id\" = '1';");
        let unknown =
            json!({"table": "t", "op": "delete", "key": {"id": "1"}, "old_unknown": true, "new": null});
        assert!(statement(&unknown).lines().all(|line| line.starts_with("--")));
        let nameless = json!({"table": "x\ny", "op": "update", "key_unknown": true});
        assert!(statement(&nameless).lines().all(|line| line.starts_with("--")));
    }

    #[test]
    fn rows_go_before_others_come_and_rows_without_a_key_are_counted() {
        let keyed = |op: &str, id: &str, old: Value, new: Value| json!({"table": "u", "op": op, "key": {"id": id}, "old": old, "new": new});
        let keyless = |op: &str, old: Value, new: Value| json!({"table": "n", "op": op, "key": {}, "old": old, "new": new});
        let n = |n: &str| json!({"n": n});
        let line = json!({"xid": 7, "time": "then", "changes": [
            keyed("insert", "3", Value::Null, json!({"id": "3", "u": "q"})),
            keyed("delete", "8", json!({"id": "8", "u": "q"}), Value::Null),
            keyless("update", n("1"), n("2")),
            keyless("update", n("2"), n("3")),
            keyless("update", n("2"), n("3")),
            keyless("insert", Value::Null, n("5")),
            keyless("delete", n("5"), Value::Null),
        ]});
        let insert = |n: &str| format!("INSERT INTO \"n\" (\"n\") OVERRIDING SYSTEM VALUE VALUES ('{n}');");
        let delete = |n: &str, count: u32| {
            let guard = format!("\"n\" = '{n}'");
            format!(
                "DELETE FROM \"n\" WHERE {guard} AND (SELECT count(*) FROM \"n\" WHERE {guard}) = {count};"
            )
        };
        assert_eq!(
            commit(&line)[2..],
            [
                "BEGIN;".to_owned(),
                "DELETE FROM \"u\" WHERE \"id\" = '8' AND \"u\" = 'q';".to_owned(),
                delete("1", 1),
                delete("2", 1),
                "INSERT INTO \"u\" (\"id\", \"u\") OVERRIDING SYSTEM VALUE VALUES ('3', 'q') \
                 ON CONFLICT (\"id\") DO NOTHING;"
                    .to_owned(),
                insert("3"),
                insert("3"),
                "COMMIT;".to_owned(),
            ]
        );
    }
}
