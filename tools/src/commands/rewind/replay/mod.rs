//! `plimsoll rewind --replay FILE`: SQL out of what a rewind discarded, for a person to judge. Nothing runs
//! it.
//!
//! Each statement does its work only where the row is as the discarded commit found it: an INSERT leaves a
//! row that has its key, an UPDATE and a DELETE compare the old values. What cannot be told is a comment, and
//! so are the rows of a table that the commit wrote anew: most of them are as they were.

mod change;
mod keyless;
mod order;
mod sql;

use anyhow::{Context, Result, bail};
use change::{Change, Op};
use serde_json::Value;
use sql::{comment, plain};
use std::collections::BTreeMap;
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
    let (rewritten, changes): (Vec<_>, Vec<_>) =
        changes.iter().map(Change::of).partition(|change| change.op == Op::Rewrite);
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for change in &rewritten {
        *counts.entry(&change.table).or_default() += 1;
    }
    sql.extend(counts.into_iter().map(|(table, rows)| {
        let table = comment(table);
        format!(
            "-- it wrote {rows} rows of {table} anew: the file has them, but not which of them it changed"
        )
    }));
    let (keyless, keyed): (Vec<_>, Vec<_>) = changes.into_iter().partition(Change::is_keyless);
    let mut statements: Vec<_> = keyed.iter().map(Change::statement).collect();
    statements.extend(keyless::statements(&keyless));
    if !statements.is_empty() {
        sql.push("BEGIN;".to_owned());
        sql.extend(order::in_order(statements));
        sql.push("COMMIT;".to_owned());
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn statement(change: &Value) -> String {
        Change::of(change).statement().text
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
        let only =
            |n: &str| format!("WHERE \"n\" = '{n}' AND (SELECT count(*) FROM \"n\" WHERE \"n\" = '{n}')");
        assert_eq!(
            commit(&line)[2..],
            [
                "BEGIN;".to_owned(),
                "DELETE FROM \"u\" WHERE \"id\" = '8' AND \"u\" = 'q';".to_owned(),
                format!("UPDATE \"n\" SET \"n\" = '3' {} = 1;", only("1")),
                format!("UPDATE \"n\" SET \"n\" = '3' {} = 1;", only("2")),
                "INSERT INTO \"u\" (\"id\", \"u\") OVERRIDING SYSTEM VALUE VALUES ('3', 'q') \
                 ON CONFLICT (\"id\") DO NOTHING;"
                    .to_owned(),
                "COMMIT;".to_owned(),
            ]
        );
    }

    #[test]
    fn rows_of_a_table_that_was_written_anew_are_counted_in_a_comment() {
        let row = |id: &str| json!({"table": "t", "op": "rewrite", "key": {"id": id}, "old_unknown": true, "new": {"id": id}});
        let line = json!({"xid": 7, "time": "then", "catalogue": ["rewrote table t"], "changes": [row("1"), row("2")]});
        assert_eq!(
            commit(&line)[2..],
            [
                "-- rewrote table t",
                "-- it wrote 2 rows of \"t\" anew: the file has them, but not which of them it changed"
            ]
        );
    }

    #[test]
    fn a_row_whose_columns_the_commit_changed_is_a_comment() {
        for key in [json!({"id": "1"}), json!({})] {
            let line = json!({"xid": 7, "time": "then", "changes": [{"table": "u", "op": "update", "key": key,
                              "old": {"id": "1", "w": "a\nb"}, "new": {"id": "1", "ww": "c"}}]});
            assert_eq!(
                commit(&line)[3],
                "-- the commit changed the columns of \"u\" as well; of the row WHERE \"id\" = '1' AND \"w\" = \
                 'a b' it made \"id\" = '1', \"ww\" = 'c'"
            );
        }
    }
}
