//! Pieces of SQL text.

use serde_json::{Map, Value};
use std::borrow::Cow;

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

/// A value's text such that those are the same which may be equal though they are written differently: of a
/// number, alone or in an array, what changes nothing is left out.
pub(super) fn written_once(text: &str) -> Cow<'_, str> {
    if !text.starts_with('{') && !text.starts_with('[') {
        return number_once(text);
    }
    let mut all = String::with_capacity(text.len());
    for part in text.split_inclusive(['{', '}', ',']) {
        let value = part.trim_end_matches(['{', '}', ',']);
        all.push_str(&number_once(value));
        all.push_str(part.get(value.len()..).unwrap_or_default());
    }
    Cow::Owned(all)
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
    let is_zero = fraction.is_empty() && whole.bytes().all(|digit| digit == b'0');
    let sign = if text.len() > digits.len() && !is_zero { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    Cow::Owned(format!("{sign}{whole}{point}{fraction}"))
}
