//! `plimsoll rewind --replay FILE`: SQL out of what a rewind discarded, for a person to judge. Nothing runs
//! it.
//!
//! Each commit becomes a transaction that fails unless the rows are as the commit found them. What cannot be
//! told is a comment, and so are the rows of a table that the commit wrote anew: most of them are as they
//! were.

mod change;
mod sql;
mod transaction;

use anyhow::{Context, Result, bail};
use change::Told;
use serde_json::{Map, Value};
use sql::{SETTINGS, comment, plain};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Longest first line that such a file may have.
const HEAD_BYTES_MAX: u64 = 64 << 10;
/// Lines that each commit begins with.
const HEAD_LINES: usize = 2;

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
    SETTINGS.iter().for_each(|line| each(line));
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
    let (changes, no_key) = (list("changes"), Map::new());
    let (mut known, mut rewritten): (Vec<_>, BTreeMap<String, u64>) = Default::default();
    for change in &changes {
        match Told::of(change, &no_key) {
            Told::Known(change) => known.push(change),
            Told::Rewritten(table) => *rewritten.entry(comment(&table)).or_default() += 1,
            Told::Untold(text) => sql.push(format!("-- {text}")),
        }
    }
    sql.extend(rewritten.into_iter().map(|(table, rows)| {
        format!(
            "-- it wrote {rows} rows of {table} anew: the file has them, but not which of them it changed"
        )
    }));
    if sql.len() > HEAD_LINES && !known.is_empty() {
        sql.push("-- what follows is not all of this commit".to_owned());
    }
    sql.extend(transaction::lines(&known));
    sql
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The SQL of a commit with these changes, without the lines that name it.
    fn sql(changes: &Value) -> Vec<String> {
        let line = json!({"xid": 7, "time": "then", "changes": changes});
        commit(&line).split_off(HEAD_LINES)
    }

    /// A change of a table with a primary key.
    fn keyed(op: &str, id: &str, old: Value, new: Value) -> Value {
        json!({"table": "t", "op": op, "key": {"id": id}, "old": old, "new": new})
    }

    fn row(id: &str, v: Value) -> Value {
        json!({"id": id, "v": v})
    }

    /// A change of a table without one.
    fn keyless(old: Value, new: Value) -> Value {
        let op = match (&old, &new) {
            (Value::Null, _) => "insert",
            (_, Value::Null) => "delete",
            _ => "update",
        };
        json!({"table": "n", "op": op, "key": {}, "old": old, "new": new})
    }

    fn n(n: &str) -> Value {
        json!({"n": n})
    }

    const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ;";
    const COMMIT: &str = "COMMIT;";

    fn check(words: &str, count: usize, from: &str) -> String {
        format!(
            "SELECT CASE count(*) WHEN {count} THEN 1 ELSE ('{words}: ' || count(*))::integer END AS ok FROM {from};"
        )
    }

    fn check_rows(table: &str, shown: &str, count: usize, condition: &str) -> String {
        let shown = shown.replace('\'', "''");
        let words = format!(
            "\"{table}\" ({shown}): rows that the commit found: {count}, that are there as they were then"
        );
        check(&words, count, &format!("\"{table}\" WHERE {condition}"))
    }

    fn check_columns(table: &str, count: usize) -> String {
        let words = format!("\"{table}\": columns that the commit found: {count}, that are there");
        let of = format!("attrelid = '\"{table}\"'::regclass AND attnum > 0 AND NOT attisdropped");
        check(&words, count, &format!("pg_attribute WHERE {of}"))
    }

    fn delete(table: &str, condition: &str) -> String {
        format!("DELETE FROM \"{table}\" WHERE {condition};")
    }

    fn insert(table: &str, columns: &str, values: &str) -> String {
        format!("INSERT INTO \"{table}\" ({columns}) OVERRIDING SYSTEM VALUE VALUES ({values});")
    }

    #[test]
    fn a_tables_only_change_is_plain_behind_its_check() {
        let change = keyed("insert", "1", Value::Null, row("1", json!("it's\n")));
        assert_eq!(sql(&json!([change])), [BEGIN, &insert("t", "\"id\", \"v\"", "'1', 'it''s\n'"), COMMIT]);
        let change = keyed("update", "1", row("1", Value::Null), row("1", json!("a\\b\r")));
        let found = "\"id\" = '1' AND \"v\" IS NULL";
        assert_eq!(
            sql(&json!([change])),
            [
                BEGIN,
                &check_rows("t", "\"id\" = '1'", 1, found),
                &format!("UPDATE \"t\" SET \"v\" = E'a\\\\b\\r' WHERE {found};"),
                COMMIT
            ]
        );
        let change = keyed("delete", "1", row("1", json!("")), Value::Null);
        let found = "\"id\" = '1' AND \"v\" IS NOT NULL AND concat(\"v\") = ''";
        assert_eq!(
            sql(&json!([change])),
            [
                BEGIN,
                &check_rows("t", "\"id\" = '1'", 1, found),
                &check_columns("t", 2),
                &delete("t", found),
                COMMIT
            ]
        );
    }

    #[test]
    fn all_rows_go_before_any_come() {
        let changes = json!([
            keyed("insert", "3", Value::Null, row("3", json!("a"))),
            keyed("update", "1", row("1", json!("a")), row("1", json!("b"))),
            keyed("update", "2", row("2", json!("b")), row("2", json!("c"))),
            keyless(n("1"), n("2")),
        ]);
        let found = |id: &str, v: &str| format!("\"id\" = '{id}' AND concat(\"v\") = '{v}'");
        let check_t = |id: &str, v: &str| check_rows("t", &format!("\"id\" = '{id}'"), 1, &found(id, v));
        let insert_t = |values: &str| insert("t", "\"id\", \"v\"", values);
        let n = "concat(\"n\") = '1'";
        assert_eq!(
            sql(&changes),
            [
                BEGIN,
                &check_t("1", "a"),
                &check_columns("t", 2),
                &check_t("2", "b"),
                &check_rows("n", "\"n\" = '1'", 1, n),
                &check_columns("n", 1),
                &delete("t", &found("1", "a")),
                &delete("t", &found("2", "b")),
                &delete("n", n),
                &insert_t("'1', 'b'"),
                &insert_t("'2', 'c'"),
                &insert("n", "\"n\"", "'2'"),
                &insert_t("'3', 'a'"),
                COMMIT
            ]
        );
    }

    #[test]
    fn rows_without_a_key_are_counted_as_the_commit_found_them() {
        let changes = json!([
            keyless(n("1.0"), n("2")),
            keyless(n("1.0"), n("1.0")),
            keyless(n("1.0"), Value::Null),
            keyless(n("1.00"), n("1.00")),
            keyless(Value::Null, n("1.0")),
        ]);
        let found = |n: &str| format!("concat(\"n\") = '{n}'");
        let check_n = |n: &str, count: usize| check_rows("n", &format!("\"n\" = '{n}'"), count, &found(n));
        let insert_n = |n: &str| insert("n", "\"n\"", &format!("'{n}'"));
        assert_eq!(
            sql(&changes),
            [
                BEGIN,
                &check_n("1.0", 3),
                &check_columns("n", 1),
                &check_n("1.00", 1),
                &delete("n", &found("1.0")),
                &insert_n("2"),
                &insert_n("1.0"),
                &insert_n("1.0"),
                COMMIT
            ]
        );
        let none = || json!({});
        assert_eq!(
            sql(&json!([keyless(none(), Value::Null), keyless(Value::Null, none())])),
            [
                BEGIN,
                &check_rows("n", "", 1, "true"),
                &check_columns("n", 0),
                &delete("n", "true"),
                "INSERT INTO \"n\" DEFAULT VALUES;",
                COMMIT
            ]
        );
    }

    #[test]
    fn a_key_is_compared_by_its_value_and_as_it_is_written_where_the_row_writes_it_otherwise() {
        let change = json!({"table": "t", "op": "update", "key": {"id": "1"}, "old": {"id": "1.0"},
                            "new": {"id": "1.00"}});
        let found = "\"id\" = '1' AND concat(\"id\") = '1.0'";
        assert_eq!(
            sql(&json!([change]))[1..3],
            [
                check_rows("t", "\"id\" = '1'", 1, found),
                format!("UPDATE \"t\" SET \"id\" = '1.00' WHERE {found};")
            ]
        );
    }

    #[test]
    fn a_check_tells_the_beginning_of_a_row_in_one_line() {
        let long = format!("a\n'\\{}", "é".repeat(200));
        let lines = sql(&json!([keyless(n(&long), Value::Null)]));
        let begin = r#"SELECT CASE count(*) WHEN 1 THEN 1 ELSE (E'"n" ("n" = E''a ''''\\\\"#;
        let rest = "...): rows that the commit found: 1, that are there as they were then: ' || count(*))";
        let all = format!("{begin}{}{rest}", "é".repeat(66));
        assert!(lines[1].starts_with(&all), "{}", lines[1]);
    }

    #[test]
    fn what_no_statement_can_do_is_a_comment_that_says_that_it_is_missing() {
        let all = [
            (
                json!({"op": "delete", "key": {"id": "1"}, "old_unknown": true, "new": null}),
                "the row before it is not known: DELETE FROM \"u u\" WHERE \"id\" = '1';",
            ),
            (
                json!({"op": "update", "key": {"id": "1"}, "old_unknown": true, "new": {"id": "1", "v": "a"}}),
                "the row before it, if there was one, is not known: UPDATE \"u u\" SET \"id\" = '1', \"v\" = 'a' \
                 WHERE \"id\" = '1';",
            ),
            (json!({"op": "update", "key_unknown": true}), "update of \"u u\", whose row is not known"),
            (
                json!({"op": "insert", "key": {}, "old": null, "new_unknown": true}),
                "insert of \"u u\", whose row is not known",
            ),
            (
                json!({"op": "update", "key": {}, "old": {"w": "a\nb"}, "new": {"ww": "c"}}),
                "the commit changed the columns of \"u u\" as well; of the row WHERE concat(\"w\") = 'a b' it made \
                 \"ww\" = 'c'",
            ),
            (
                json!({"op": "insert", "names_unknown": true, "key": {}, "old": null, "new": {"n": "1"}}),
                "insert of \"u u\", which may have had another name then, or other columns: no row became \
                 \"n\" = '1'",
            ),
            (
                json!({"op": "update", "names_unknown": true, "key": {"n": "1"}, "old_unknown": true, "new": {"n": "1"}}),
                "update of \"u u\", which may have had another name then, or other columns: a row with \"n\" = '1' \
                 became \"n\" = '1'",
            ),
        ];
        let known = keyless(Value::Null, n("1"));
        for (mut change, expected) in all {
            change["table"] = "u\nu".into();
            let comment = format!("-- {expected}");
            assert_eq!(sql(&json!([change])), [comment.as_str()]);
            assert_eq!(
                sql(&json!([change, known]))[..3],
                [comment.as_str(), "-- what follows is not all of this commit", BEGIN]
            );
        }
        assert_eq!(sql(&json!([known]))[0], BEGIN, "it is all");
    }

    #[test]
    fn a_partial_commit_and_changes_of_the_catalogue_are_said_to_be_missing() {
        let known = keyless(Value::Null, n("1"));
        for (field, value, comment) in [
            ("partial", json!(true), "-- some of its changes may be missing"),
            ("catalogue", json!(["emptied table t\n(TRUNCATE)"]), "-- emptied table t (TRUNCATE)"),
        ] {
            let line = json!({"xid": 7, "time": "then", field: value, "changes": [known]});
            assert_eq!(commit(&line)[2..4], [comment, "-- what follows is not all of this commit"]);
        }
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
}
