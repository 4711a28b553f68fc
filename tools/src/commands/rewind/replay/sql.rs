//! Pieces of SQL text.

use serde_json::{Map, Value};

/// Columns by their names, with their values as text or null.
pub(super) type Columns = Map<String, Value>;

/// Has a session read and write values as the file does, whose style is `sql_types::Style::default`.
pub(super) const SETTINGS: [&str; 8] = [
    "SET client_encoding = 'UTF8';",
    "SET standard_conforming_strings = on;",
    "SET array_nulls = on;",
    "SET bytea_output = 'hex';",
    "SET DateStyle = 'ISO, MDY';",
    "SET extra_float_digits = 1;",
    "SET IntervalStyle = 'postgres';",
    "SET TimeZone = 'UTC';",
];

/// Characters of a row that a failed check tells at most.
const SHOWN: usize = 80;

pub(super) fn insert(table: &str, row: &Columns) -> String {
    if row.is_empty() {
        return format!("INSERT INTO {table} DEFAULT VALUES;");
    }
    let names = row.keys().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
    let values = row.values().map(literal).collect::<Vec<_>>().join(", ");
    // What made a value of its own (an identity column) takes the row's.
    format!("INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE VALUES ({values});")
}

pub(super) fn assignments<'c>(columns: impl Iterator<Item = (&'c String, &'c Value)>) -> String {
    let set = columns.map(|(name, value)| format!("{} = {}", quote(name), literal(value)));
    set.collect::<Vec<_>>().join(", ")
}

/// Finds a row that has this key, and all these values as they are written. `concat` writes a value as the
/// file does: `char(n)` keeps its spaces, and `1.0` is not `1.00`.
pub(super) fn as_found(key: &Columns, row: &Columns) -> String {
    let key_values = key.iter().map(|(name, value)| format!("{} = {}", quote(name), literal(value)));
    let others = row.iter().filter(|(name, value)| key.get(*name) != Some(value));
    let others = others.map(|(name, value)| (quote(name), value)).map(|(name, value)| match value.as_str() {
        None => format!("{name} IS NULL"),
        Some("") => format!("{name} IS NOT NULL AND concat({name}) = ''"),
        Some(_) => format!("concat({name}) = {}", literal(value)),
    });
    let conditions: Vec<String> = key_values.chain(others).collect();
    if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") }
}

/// A query that fails with `words` and the count unless it counts this many.
pub(super) fn check(words: &str, count: usize, from: &str) -> String {
    let words = literal(&Value::from(comment(words) + ": "));
    // A text that is no number fails when it is cast. No planner casts it before the rows are counted.
    format!(
        "SELECT CASE count(*) WHEN {count} THEN 1 ELSE ({words} || count(*))::integer END AS ok FROM {from};"
    )
}

/// A check of how many rows of a table there are as the transaction found them.
pub(super) fn check_rows(
    table: &str,
    (key, row): (&Columns, &Columns),
    condition: &str,
    count: usize,
) -> String {
    let all = assignments(if key.is_empty() { row.iter() } else { key.iter() });
    let mut shown: String = all.chars().take(SHOWN).collect();
    if shown.len() < all.len() {
        shown.push_str("...");
    }
    let words =
        format!("{table} ({shown}): rows that the commit found: {count}, that are there as they were then");
    check(&words, count, &format!("{table} WHERE {condition}"))
}

/// A check that a table has these columns, which are there, and no others: a row that goes takes them along.
pub(super) fn check_columns(table: &str, row: &Columns) -> String {
    let words = format!("{table}: columns that the commit found: {}, that are there", row.len());
    let name = literal(&Value::from(table));
    let of = format!("attrelid = {name}::regclass AND attnum > 0 AND NOT attisdropped");
    check(&words, row.len(), &format!("pg_attribute WHERE {of}"))
}

fn literal(value: &Value) -> String {
    match value {
        // A carriage return would not outlive every program that the text goes through.
        Value::String(text) if text.contains(['\\', '\r']) => {
            format!("E'{}'", text.replace('\\', "\\\\").replace('\r', "\\r").replace('\'', "''"))
        }
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        _ => "NULL".to_owned(),
    }
}

pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Text that ends no comment.
pub(super) fn comment(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
