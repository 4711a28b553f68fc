//! Errors of rows that break a constraint. What they tell of the row is what the role may read, and what the
//! statement has set itself (ExecBuildSlotValueDescription and BuildIndexValueDescription of PostgreSQL).

use identifier::quote;
use sql_catalogue::rights::{Object, Privileges};
use sql_catalogue::{Index, Relation};
use sql_interface::SqlError;
use sql_language::expr::Facts;
use sql_language::plan::ModifiedTable;
use sql_types::{Datum, Style};
use sqlstate::SqlState;

/// The longest value that the description of a row shows whole.
const SHOWN_BYTES_MAX: usize = 64;

/// 23502 for a row with NULL in a column that takes none.
#[cold]
pub(crate) fn not_null(facts: &dyn Facts, target: &ModifiedTable, at: usize, row: &[Datum]) -> SqlError {
    let relation = &target.relation;
    let name = relation.columns.get(at).map_or("", |column| &column.name);
    let message = format!(
        "null value in column \"{name}\" of relation \"{}\" violates not-null constraint",
        relation.name
    );
    let error = SqlError::new(SqlState::NOT_NULL_VIOLATION, message);
    with_row(error, facts, target, row).of_table("public", &relation.name).of_column(name)
}

/// 23514 for a row that fails a CHECK constraint.
#[cold]
pub(crate) fn check(facts: &dyn Facts, target: &ModifiedTable, name: &str, row: &[Datum]) -> SqlError {
    let relation = &target.relation;
    let message = format!("new row for relation \"{}\" violates check constraint \"{name}\"", relation.name);
    let error = SqlError::new(SqlState::CHECK_VIOLATION, message);
    with_row(error, facts, target, row).of_table("public", &relation.name).of_constraint(name)
}

/// Adds the values of a failing row as a detail: all of them without names for a role that may read the whole
/// table.
fn with_row(error: SqlError, facts: &dyn Facts, target: &ModifiedTable, row: &[Datum]) -> SqlError {
    let relation = &target.relation;
    let whole = may_read(facts, relation);
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for (at, column) in relation.live_columns() {
        if whole || target.written.contains(&at) || may_read_column(facts, relation, at) {
            names.push(column.name.as_str());
            values.push(shown(row.get(at)));
        }
    }
    let values = values.join(", ");
    match names.as_slice() {
        [] => error,
        _ if whole => error.with_detail(format!("Failing row contains ({values}).")),
        names => error.with_detail(format!("Failing row contains ({}) = ({values}).", names.join(", "))),
    }
}

fn shown(value: Option<&Datum>) -> String {
    let Some(mut text) = value.and_then(|value| value.to_text(&Style::default())) else {
        return "null".to_owned();
    };
    if text.len() > SHOWN_BYTES_MAX {
        text.truncate(sql_interface::clipped_to(&text, SHOWN_BYTES_MAX).len());
        text.push_str("...");
    }
    text
}

/// Whether the role that acts may read all of a table.
fn may_read(facts: &dyn Facts, relation: &Relation) -> bool {
    facts.catalogue().is_some_and(|catalogue| {
        let object = Object::Relation(relation.oid);
        catalogue.privileges(facts.role(), &object, Privileges::SELECT).has(Privileges::SELECT)
    })
}

fn may_read_column(facts: &dyn Facts, relation: &Relation, at: usize) -> bool {
    facts.catalogue().zip(relation.columns.get(at)).is_some_and(|(catalogue, column)| {
        catalogue.may_column(facts.role(), relation.oid, column.number, Privileges::SELECT)
    })
}

/// 23505 for a second row with the same primary key.
#[cold]
pub(crate) fn same_primary_key(facts: &dyn Facts, relation: &Relation, row: &[Datum]) -> SqlError {
    match &relation.primary_key {
        Some(primary) => duplicate(facts, relation, (&primary.name, &primary.columns), row),
        None => SqlError::internal("a duplicate without a key"),
    }
}

/// 23505 for a second row with the same key in a unique index.
#[cold]
pub(crate) fn same_index_key(
    facts: &dyn Facts,
    relation: &Relation,
    index: &Index,
    row: &[Datum],
) -> SqlError {
    let columns: Vec<usize> = index.columns.iter().map(|column| column.at).collect();
    duplicate(facts, relation, (&index.name, &columns), row)
}

fn duplicate(
    facts: &dyn Facts,
    relation: &Relation,
    (constraint, columns): (&str, &[usize]),
    row: &[Datum],
) -> SqlError {
    let message = format!("duplicate key value violates unique constraint \"{constraint}\"");
    let error = SqlError::new(SqlState::UNIQUE_VIOLATION, message);
    let error = match shown_key(facts, relation, columns, row) {
        Some(key) => error.with_detail(format!("Key {key} already exists.")),
        None => error,
    };
    error.of_table("public", &relation.name).of_constraint(constraint)
}

/// 23505 while an index is built, or a primary key added, over rows that are there.
#[cold]
pub fn duplicate_in_build(
    facts: &dyn Facts,
    relation: &Relation,
    (constraint, columns): (&str, &[usize]),
    row: &[Datum],
) -> SqlError {
    let detail = match shown_key(facts, relation, columns, row) {
        Some(key) => format!("Key {key} is duplicated."),
        None => "Duplicate keys exist.".to_owned(),
    };
    SqlError::new(SqlState::UNIQUE_VIOLATION, format!("could not create unique index \"{constraint}\""))
        .with_detail(detail)
        .of_table("public", &relation.name)
        .of_constraint(constraint)
}

/// A key's columns and values; None for a role that may not read all of them.
fn shown_key(facts: &dyn Facts, relation: &Relation, columns: &[usize], row: &[Datum]) -> Option<String> {
    let readable =
        may_read(facts, relation) || columns.iter().all(|at| may_read_column(facts, relation, *at));
    if !readable {
        return None;
    }
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for at in columns {
        names.push(relation.columns.get(*at).map_or_else(String::new, |column| quote(&column.name)));
        let text = row.get(*at).and_then(|value| value.to_text(&Style::default()));
        values.push(text.unwrap_or_else(|| "null".to_owned()));
    }
    Some(format!("({})=({})", names.join(", "), values.join(", ")))
}
