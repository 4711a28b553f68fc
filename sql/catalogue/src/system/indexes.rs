//! Rows about indexes and constraints, and their definitions as SQL.

use super::Context;
use super::known::class_of;
use super::values::{flag, int2, int2_array, int2_vector, name, oid_vector, sorted_relations};
use crate::model::{AnyIndex, Column, IndexColumn, PUBLIC_OID, Relation};
use identifier::quote;
use sql_types::key::OrderedColumn;
use sql_types::{Datum, TypeId};

fn key_columns<'a>(relation: &'a Relation, index: &AnyIndex<'a>) -> impl Iterator<Item = &'a Column> {
    index.columns.iter().filter_map(|part| relation.columns.get(part.at))
}

/// The database's collation for what has one.
fn collation_of(id: TypeId) -> u32 {
    super::known::TYPES.get(&id.oid()).map_or(0, |known| known.collation)
}

pub(super) fn indexes(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    for relation in sorted_relations(context.catalogue) {
        for index in relation.all_indexes() {
            let options = index.columns.iter().map(|part| {
                let OrderedColumn { descending, nulls_first } = part.order;
                i16::from(descending) + 2 * i16::from(nulls_first)
            });
            rows.push(vec![
                Datum::Oid(index.oid),
                Datum::Oid(relation.oid),
                int2(index.columns.len()),
                int2(index.columns.len()),
                Datum::Bool(index.unique),
                Datum::Bool(index.nulls_not_distinct),
                Datum::Bool(index.primary),
                Datum::Bool(false),
                Datum::Bool(true),
                Datum::Bool(false),
                Datum::Bool(true),
                Datum::Bool(false),
                Datum::Bool(true),
                Datum::Bool(true),
                Datum::Bool(false),
                int2_vector(key_columns(relation, &index).map(|column| column.number)),
                oid_vector(key_columns(relation, &index).map(|column| collation_of(column.ty.id))),
                oid_vector(key_columns(relation, &index).map(|column| class_of(column.ty.id))),
                int2_vector(options),
                Datum::Null,
                Datum::Null,
            ]);
        }
    }
    rows
}

pub(super) fn index_definitions(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    for relation in sorted_relations(context.catalogue) {
        for index in relation.all_indexes() {
            rows.push(vec![
                name("public"),
                name(&relation.name),
                name(index.name),
                Datum::Null,
                Datum::from(index_definition(relation, &index, None, false)),
            ]);
        }
    }
    rows
}

/// A column of an index as its definition names it.
fn index_column(relation: &Relation, part: &IndexColumn) -> String {
    let mut text = relation.columns.get(part.at).map_or_else(String::new, |column| quote(&column.name));
    let OrderedColumn { descending, nulls_first } = part.order;
    if descending {
        text.push_str(" DESC");
    }
    if descending != nulls_first {
        text.push_str(if nulls_first { " NULLS FIRST" } else { " NULLS LAST" });
    }
    text
}

/// CREATE INDEX as pg_get_indexdef prints it; a column of it if one is asked for, counted from 1.
pub fn index_definition(
    relation: &Relation,
    index: &AnyIndex<'_>,
    column: Option<usize>,
    pretty: bool,
) -> String {
    if let Some(number) = column {
        let part = number.checked_sub(1).and_then(|at| index.columns.get(at));
        let column = part.and_then(|part| relation.columns.get(part.at));
        return column.map_or_else(String::new, |column| quote(&column.name));
    }
    let columns: Vec<String> = index.columns.iter().map(|part| index_column(relation, part)).collect();
    format!(
        "CREATE {}INDEX {} ON {}{} USING btree ({}){}",
        if index.unique { "UNIQUE " } else { "" },
        quote(index.name),
        if pretty { "" } else { "public." },
        quote(&relation.name),
        columns.join(", "),
        if index.nulls_not_distinct { " NULLS NOT DISTINCT" } else { "" }
    )
}

pub(super) fn constraints(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    for relation in sorted_relations(context.catalogue) {
        let mut add = |oid: u32, constraint: &str, kind: char, valid: bool, index: u32, columns: Datum| {
            rows.push(vec![
                Datum::Oid(oid),
                name(constraint),
                Datum::Oid(PUBLIC_OID),
                flag(kind),
                Datum::Bool(false),
                Datum::Bool(false),
                Datum::Bool(valid),
                Datum::Oid(relation.oid),
                Datum::Oid(0),
                Datum::Oid(index),
                Datum::Oid(0),
                Datum::Oid(0),
                flag(' '),
                flag(' '),
                flag(' '),
                Datum::Bool(true),
                Datum::Int4(0),
                Datum::Bool(true),
                columns,
                Datum::Null,
                Datum::Null,
                Datum::Null,
                Datum::Null,
                Datum::Null,
                Datum::Null,
                Datum::Null,
            ]);
        };
        for index in relation.all_indexes().filter(|index| index.constraint) {
            let kind = if index.primary { 'p' } else { 'u' };
            let columns = key_columns(relation, &index).map(|column| column.number);
            add(index.oid, index.name, kind, true, index.oid, int2_array(columns));
        }
        for check in &relation.checks {
            add(check.oid, &check.name, 'c', !check.not_valid, 0, Datum::Null);
        }
    }
    rows
}

/// A constraint as pg_get_constraintdef prints it; None if it is not one of this table's.
pub fn constraint_definition(relation: &Relation, oid: u32) -> Option<String> {
    if let Some(index) = relation.all_indexes().find(|index| index.oid == oid && index.constraint) {
        let columns: Vec<String> = index
            .columns
            .iter()
            .filter_map(|part| relation.columns.get(part.at))
            .map(|column| quote(&column.name))
            .collect();
        let kind = match (index.primary, index.nulls_not_distinct) {
            (true, _) => "PRIMARY KEY",
            (false, false) => "UNIQUE",
            (false, true) => "UNIQUE NULLS NOT DISTINCT",
        };
        return Some(format!("{kind} ({})", columns.join(", ")));
    }
    let check = relation.checks.iter().find(|check| check.oid == oid)?;
    let not_valid = if check.not_valid { " NOT VALID" } else { "" };
    Some(format!("CHECK ({}){not_valid}", check.expression))
}
