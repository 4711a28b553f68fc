//! `plimsoll rewind --replay FILE`: SQL out of what a rewind discarded, for a person to judge. Nothing runs
//! it.
//!
//! Each statement does its work only where the row is as the discarded commit found it: an INSERT leaves a
//! row that is there, an UPDATE and a DELETE compare the old values. What cannot be told is a comment.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
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
        sql.push("BEGIN;".to_owned());
        sql.extend(changes.iter().map(change));
        sql.push("COMMIT;".to_owned());
    }
    sql
}

fn change(change: &Value) -> String {
    let columns = |name: &str| change.get(name).and_then(Value::as_object);
    let of = |name: &str| change.get(name).map(plain).unwrap_or_default();
    let table = quote(&of("table"));
    let key: Vec<&String> = columns("key").map(|key| key.keys().collect()).unwrap_or_default();
    match (of("op").as_str(), columns("old"), columns("new")) {
        ("insert", _, Some(new)) => {
            let names: Vec<String> = new.keys().map(|name| quote(name)).collect();
            let values: Vec<String> = new.values().map(literal).collect();
            format!(
                "INSERT INTO {table} ({}) VALUES ({}) ON CONFLICT DO NOTHING;",
                names.join(", "),
                values.join(", ")
            )
        }
        ("update", Some(old), Some(new)) => {
            let set: Vec<String> = new
                .iter()
                .filter(|(name, value)| old.get(*name) != Some(value))
                .map(|(name, value)| format!("{} = {}", quote(name), literal(value)))
                .collect();
            if set.is_empty() {
                return format!("-- an UPDATE of {} that changed nothing", comment(&table));
            }
            format!("UPDATE {table} SET {} WHERE {};", set.join(", "), guard(old))
        }
        ("update", None, Some(new)) if !key.is_empty() => {
            let set: Vec<String> =
                new.iter().map(|(name, value)| format!("{} = {}", quote(name), literal(value))).collect();
            let guard = columns("key").map(guard).unwrap_or_default();
            format!(
                "-- the row before it is not known:\n-- UPDATE {table} SET {} WHERE {};",
                comment(&set.join(", ")),
                comment(&guard)
            )
        }
        ("delete", Some(old), _) => format!("DELETE FROM {table} WHERE {};", guard(old)),
        ("delete", None, _) if !key.is_empty() => {
            let guard = columns("key").map(guard).unwrap_or_default();
            format!("-- the row before it is not known:\n-- DELETE FROM {table} WHERE {};", comment(&guard))
        }
        (op, ..) => format!("-- {} of {}, whose row is not known", comment(op), comment(&table)),
    }
}

/// The row is as it was.
fn guard(old: &Map<String, Value>) -> String {
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

    #[test]
    fn each_change_is_guarded_by_what_was_there() {
        let insert = json!({"table": "t", "op": "insert", "key": {"id": "1"}, "old": null,
                            "new": {"id": "1", "v": "it's\n"}});
        assert_eq!(
            change(&insert),
            "INSERT INTO \"t\" (\"id\", \"v\") VALUES ('1', 'it''s\n') ON CONFLICT DO NOTHING;"
        );
        let update = json!({"table": "t", "op": "update", "key": {"id": "1"}, "old": {"id": "1", "v": null},
                            "new": {"id": "1", "v": "a\\b"}});
        assert_eq!(
            change(&update),
            "UPDATE \"t\" SET \"v\" = E'a\\\\b' WHERE \"id\" = '1' AND \"v\" IS NULL;"
        );
        let delete =
            json!({"table": "t", "op": "delete", "key": {"id": "1"}, "old": {"id": "1"}, "new": null});
        assert_eq!(change(&delete), "DELETE FROM \"t\" WHERE \"id\" = '1';");
        let unknown =
            json!({"table": "t", "op": "delete", "key": {"id": "1"}, "old_unknown": true, "new": null});
        assert!(change(&unknown).lines().all(|line| line.starts_with("--")));
        let nameless = json!({"table": "x\ny", "op": "update", "key_unknown": true});
        assert!(change(&nameless).lines().all(|line| line.starts_with("--")));
    }
}
