//! Pieces of SQL text.

use serde_json::{Map, Value};

/// Columns by their names, with their values as text or null.
pub(super) type Columns = Map<String, Value>;

/// Puts a row back unless there is one of its key; without a key it comes once more.
pub(super) fn insert(table: &str, row: &Columns, key: Option<&Columns>) -> String {
    if row.is_empty() {
        return format!("INSERT INTO {table} DEFAULT VALUES;");
    }
    let names = |columns: &Columns| columns.keys().map(|name| quote(name)).collect::<Vec<_>>().join(", ");
    let conflict = key.map_or_else(String::new, |key| format!(" ON CONFLICT ({}) DO NOTHING", names(key)));
    // What made a value of its own (an identity column) takes the row's.
    format!(
        "INSERT INTO {table} ({}) OVERRIDING SYSTEM VALUE VALUES ({}){conflict};",
        names(row),
        literals(row)
    )
}

pub(super) fn literals(row: &Columns) -> String {
    row.values().map(literal).collect::<Vec<_>>().join(", ")
}

pub(super) fn assignments<'c>(columns: impl Iterator<Item = (&'c String, &'c Value)>) -> String {
    let set = columns.map(|(name, value)| format!("{} = {}", quote(name), literal(value)));
    set.collect::<Vec<_>>().join(", ")
}

/// The row is as it was.
pub(super) fn guard(old: &Columns) -> String {
    if old.is_empty() {
        return "true".to_owned();
    }
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
