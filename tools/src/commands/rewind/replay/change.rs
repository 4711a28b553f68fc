//! A change of one row: one that statements can make, or a comment.

use super::sql::{Columns, as_found, assignments, comment, plain, quote};
use serde_json::{Map, Value};

/// What a transaction did to one row, where all of it is known.
pub(super) struct Change<'c> {
    pub(super) table: String,
    /// Of a table without a primary key it is empty.
    pub(super) key: &'c Columns,
    /// As the transaction found it; None if it was not there.
    pub(super) old: Option<&'c Columns>,
    /// As the transaction left it, with the columns of `old`; None if it was gone.
    pub(super) new: Option<&'c Columns>,
}

/// A change as the file has it.
pub(super) enum Told<'c> {
    Known(Change<'c>),
    /// The row was written anew with all of this table, and may have been changed or not.
    Rewritten(String),
    /// A comment: nothing that a statement can do safely.
    Untold(String),
}

impl<'c> Told<'c> {
    pub(super) fn of(line: &'c Value, no_key: &'c Columns) -> Self {
        let columns = |name: &str| line.get(name).and_then(Value::as_object);
        let of = |name: &str| line.get(name).map(plain).unwrap_or_default();
        let (op, table) = (of("op"), quote(&of("table")));
        let (key, old, new) = (columns("key"), columns("old"), columns("new"));
        let side = |name: &str| match (line.get(name), key.filter(|key| !key.is_empty())) {
            (Some(Value::Object(columns)), _) => assignments(columns.iter()),
            (Some(_), _) => "no row".to_owned(),
            (None, Some(key)) => format!("a row with {}", assignments(key.iter())),
            (None, None) => "a row".to_owned(),
        };
        let known = |key, old, new| Self::Known(Change { table: table.clone(), key, old, new });
        let has_names = line.get("names_unknown").is_none();
        let untold = match (op.as_str(), key, old, new) {
            ("rewrite", ..) => return Self::Rewritten(table),
            _ if !has_names => format!(
                "{op} of {table}, which may have had another name then, or other columns: {} became {}",
                side("old"),
                side("new")
            ),
            ("insert", _, _, Some(_)) => return known(key.unwrap_or(no_key), None, new),
            ("delete", Some(key), Some(_), _) => return known(key, old, None),
            ("update", Some(key), Some(was), Some(is)) if was.keys().eq(is.keys()) => {
                return known(key, old, new);
            }
            ("update", Some(_), Some(old), Some(new)) => format!(
                "the commit changed the columns of {table} as well; of the row WHERE {} it made {}",
                as_found(&Map::new(), old),
                assignments(new.iter())
            ),
            ("update", Some(key), None, Some(new)) if !key.is_empty() => format!(
                "the row before it, if there was one, is not known: UPDATE {table} SET {} WHERE {};",
                assignments(new.iter()),
                as_found(key, key)
            ),
            ("delete", Some(key), None, _) if !key.is_empty() => {
                format!("the row before it is not known: DELETE FROM {table} WHERE {};", as_found(key, key))
            }
            _ => format!("{op} of {table}, whose row is not known"),
        };
        Self::Untold(comment(&untold))
    }
}
