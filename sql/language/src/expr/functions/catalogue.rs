//! Functions that tell of relations, as psql and monitoring tools ask.

use super::Table;
use crate::expr::Facts;
use sql_catalogue::system::known::KnownFunction;
use sql_catalogue::system::signatures;
use sql_interface::{Result, SqlError};
use sql_types::Datum;
use sql_types::TypeId::{Bool, Int4, Int8, Oid, Regclass, Text};
use sqlstate::SqlState;

fn oid(arguments: &[Datum]) -> Result<u32> {
    match arguments.first() {
        Some(Datum::Oid(oid)) => Ok(*oid),
        _ => Err(SqlError::internal("a function of an OID met another value")),
    }
}

fn first(arguments: &[Datum]) -> Result<Datum> {
    arguments.first().cloned().ok_or_else(|| SqlError::internal("a function met no argument"))
}

fn file(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    Ok(facts.relation_file(oid(arguments)?).map_or(Datum::Null, Datum::Oid))
}

fn path(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let number = facts.relation_file(oid(arguments)?);
    Ok(number.map_or(Datum::Null, |number| {
        Datum::text(format!("base/{}/{number}", sql_catalogue::POSTGRES_DATABASE))
    }))
}

fn size(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    Ok(bytes(facts.relation_bytes(oid(arguments)?)))
}

/// Files other than the main one do not exist here.
fn fork_size(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    match arguments.get(1).and_then(Datum::as_str) {
        Some("main") => size(arguments, facts),
        Some("fsm" | "vm" | "init") => Ok(Datum::Int8(0)),
        _ => Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "invalid fork name")
            .with_hint("Valid fork names are \"main\", \"fsm\", \"vm\", and \"init\".")),
    }
}

fn index(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let column = arguments.get(1).and_then(Datum::as_i64).and_then(|column| usize::try_from(column).ok());
    let pretty = arguments.get(2).and_then(Datum::as_bool).unwrap_or(false);
    let definition = facts.index_definition(oid(arguments)?, column.filter(|column| *column > 0), pretty);
    Ok(definition.map_or(Datum::Null, Datum::from))
}

fn view(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    Ok(facts.view_definition(oid(arguments)?).map_or(Datum::Null, Datum::from))
}

fn view_by_name(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let name = arguments.first().and_then(Datum::as_str).unwrap_or_default();
    let found = facts.reg_oid(Regclass, facts.search_path(), name)?;
    let found = found.ok_or_else(|| facts.reg_missing(Regclass, name))?;
    Ok(facts.view_definition(found).map_or(Datum::Null, Datum::from))
}

fn bytes(found: Option<u64>) -> Datum {
    found.map_or(Datum::Null, |bytes| Datum::Int8(i64::try_from(bytes).unwrap_or(i64::MAX)))
}

fn indexes_size(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    Ok(bytes(facts.indexes_bytes(oid(arguments)?)))
}

fn total_size(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let oid = oid(arguments)?;
    let table = facts.relation_bytes(oid);
    Ok(bytes(table.map(|table| table + facts.indexes_bytes(oid).unwrap_or(0))))
}

/// The function of an OID, if there is such a one here.
fn function(arguments: &[Datum], facts: &dyn Facts) -> Result<Option<&'static KnownFunction>> {
    Ok(signatures::function(oid(arguments)?).filter(|known| facts.has_function(known)))
}

/// pg_get_functiondef
fn definition(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let Some(known) = function(arguments, facts)? else { return Ok(Datum::Null) };
    if known.kind == 'a' {
        let message = format!("\"{}\" is an aggregate function", known.name);
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
    }
    let text = signatures::definition(known);
    text.map(Datum::from).ok_or_else(|| SqlError::unsupported("pg_get_functiondef of a function in SQL"))
}

pub(super) fn register(table: &mut Table) {
    for parameters in [&[Text, Oid][..], &[Text, Oid, Bool]] {
        table.add("pg_get_expr", parameters, Text, |a, _| first(a)).stable();
    }
    for parameters in [&[Oid][..], &[Oid, Int4, Bool]] {
        table.add("pg_get_indexdef", parameters, Text, index).stable();
    }
    for parameters in [&[Oid][..], &[Oid, Bool]] {
        table
            .add("pg_get_constraintdef", parameters, Text, |a, facts| {
                Ok(facts.constraint_definition(oid(a)?).map_or(Datum::Null, Datum::from))
            })
            .stable();
        table.add("pg_get_viewdef", parameters, Text, view).stable();
        // There are no rules, triggers or extended statistics to define.
        for name in ["pg_get_ruledef", "pg_get_triggerdef", "pg_get_statisticsobjdef_columns"] {
            table.add(name, parameters, Text, |_, _| Ok(Datum::Null)).stable();
        }
    }
    table.add("pg_get_viewdef", &[Oid, Int4], Text, view).stable();
    for parameters in [&[Text][..], &[Text, Bool]] {
        table.add("pg_get_viewdef", parameters, Text, view_by_name).stable();
    }
    table
        .add("pg_get_function_result", &[Oid], Text, |a, facts| {
            Ok(function(a, facts)?.and_then(signatures::result).map_or(Datum::Null, Datum::from))
        })
        .stable();
    table
        .add("pg_get_function_arguments", &[Oid], Text, |a, facts| {
            let shown = |known: &KnownFunction| Datum::from(signatures::arguments(known, true));
            Ok(function(a, facts)?.map_or(Datum::Null, shown))
        })
        .stable();
    table
        .add("pg_get_function_identity_arguments", &[Oid], Text, |a, facts| {
            let shown = |known: &KnownFunction| Datum::from(signatures::arguments(known, false));
            Ok(function(a, facts)?.map_or(Datum::Null, shown))
        })
        .stable();
    table
        .add("pg_get_function_arg_default", &[Oid, Int4], Text, |a, facts| {
            let number = a.get(1).and_then(Datum::as_i64).and_then(|number| usize::try_from(number).ok());
            let (Some(known), Some(number)) = (function(a, facts)?, number) else { return Ok(Datum::Null) };
            Ok(signatures::default_of(known, number).map_or(Datum::Null, Datum::text))
        })
        .stable();
    table.add("pg_get_functiondef", &[Oid], Text, definition).stable();
    table.add("pg_tablespace_location", &[Oid], Text, |_, _| Ok(Datum::text(""))).stable();
    table
        .add("pg_get_serial_sequence", &[Text, Text], Text, |a, facts| {
            let text = |at: usize| a.get(at).and_then(Datum::as_str).unwrap_or_default();
            Ok(facts.owned_sequence(text(0), text(1))?.map_or(Datum::Null, Datum::from))
        })
        .stable();
    table
        .add("currval", &[Regclass], Int8, |a, facts| Ok(Datum::Int8(facts.current_value(Some(oid(a)?))?)))
        .volatile();
    table.add("lastval", &[], Int8, |_, facts| Ok(Datum::Int8(facts.current_value(None)?))).volatile();
    table.add("pg_relation_is_publishable", &[Regclass], Bool, |_, _| Ok(Datum::Bool(false))).stable();
    table.add("pg_relation_filenode", &[Regclass], Oid, file).stable();
    table.add("pg_relation_filepath", &[Regclass], Text, path).stable();
    table.add("pg_relation_size", &[Regclass], Int8, size).volatile();
    table.add("pg_relation_size", &[Regclass, Text], Int8, fork_size).volatile();
    table.add("pg_table_size", &[Regclass], Int8, size).volatile();
    table.add("pg_total_relation_size", &[Regclass], Int8, total_size).volatile();
    // The primary key is the table: only the other indexes count.
    table.add("pg_indexes_size", &[Regclass], Int8, indexes_size).volatile();
}
