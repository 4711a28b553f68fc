//! HEADER MATCH: the first line of COPY FROM must name the columns.

use sql_catalogue::Relation;
use sql_execution::copy::Record;
use sql_interface::{Result, SqlError};
use sqlstate::SqlState;

/// Compares the fields of the line with the columns of COPY, by their places in the relation. `null`: how
/// NULL is written.
///
/// # Errors
///
/// 22P04 for the first that differs.
pub(super) fn matches(columns: &[usize], (record, null): (&Record, &str), relation: &Relation) -> Result<()> {
    let wrong = |message: String| SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message);
    if record.field_count() != columns.len() {
        return Err(wrong(format!(
            "wrong number of fields in header line: got {}, expected {}",
            record.field_count(),
            columns.len()
        )));
    }
    for (place, at) in columns.iter().enumerate() {
        let (number, field) = (place + 1, record.get(place).flatten());
        let name = relation.columns.get(*at).map_or("", |column| &column.name);
        if field != Some(name) {
            let is_null = || format!("null value (\"{}\")", null);
            let found = field.map_or_else(is_null, |found| format!("\"{found}\""));
            return Err(wrong(format!(
                "column name mismatch in header line field {number}: got {found}, expected \"{name}\""
            )));
        }
    }
    Ok(())
}
