//! The catalogue's views of itself: pg_class and its kin, as rows made when they are asked for.

mod relations;
mod sequences;
mod shared;
mod tables;
mod views;

use super::model::{Catalogue, INFORMATION_SCHEMA_OID, PG_CATALOG_OID, PUBLIC_OID};
use crate::catalogue::sequences::Position;
use crate::interface::environment::{Environment, SettingActor};
use crate::interface::error::Result;
use sql_types::{Datum, TypeId};
use std::collections::HashMap;
use storage::Database;

pub(crate) use relations::{constraint_definition, index_definition};
pub(crate) use tables::TABLES;

/// One of these views.
#[derive(Clone, Copy)]
pub(crate) struct SystemTable {
    pub(crate) schema: &'static str,
    pub(crate) name: &'static str,
    /// What it shows, in a line, for the documentation.
    pub(crate) about: &'static str,
    pub(crate) oid: u32,
    pub(crate) columns: &'static [(&'static str, TypeId)],
    rows: fn(&Context<'_>) -> Vec<Vec<Datum>>,
}

/// What the views are made from.
pub(crate) struct Context<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) environment: &'a dyn Environment,
    pub(crate) database: &'a Database,
    pub(crate) actor: SettingActor,
    /// Where sequences stand, for those views that show it ([`shows_positions`]).
    pub(crate) positions: &'a HashMap<u32, Position>,
}

/// The columns of a sequence read as a table.
pub(crate) const SEQUENCE_COLUMNS: &[(&str, TypeId)] =
    &[("last_value", TypeId::Int8), ("log_cnt", TypeId::Int8), ("is_called", TypeId::Bool)];

/// Whether a view needs to know where sequences stand.
pub(crate) fn shows_positions(table: usize) -> bool {
    TABLES.get(table).is_some_and(|table| table.name == "pg_sequences")
}

/// The rows of a view.
pub(crate) fn rows(table: usize, context: &Context<'_>) -> Result<Vec<Vec<Datum>>> {
    Ok(TABLES.get(table).map_or_else(Vec::new, |table| (table.rows)(context)))
}

pub(crate) fn schemas() -> [(u32, &'static str); 3] {
    [(PG_CATALOG_OID, "pg_catalog"), (PUBLIC_OID, "public"), (INFORMATION_SCHEMA_OID, "information_schema")]
}

/// Schema, name and OID of every made-up table.
fn virtual_tables<'a>(
    environment: &'a dyn Environment,
) -> impl Iterator<Item = (&'static str, &'static str, u32, usize)> + 'a {
    let own = TABLES.iter().map(|table| (table.schema, table.name, table.oid, table.columns.len()));
    own.chain(
        environment
            .node_tables()
            .iter()
            .map(|table| (table.schema, table.name, table.oid, table.columns.len())),
    )
}

fn schema_oid(schema: &str) -> u32 {
    schemas().iter().find(|(_, known)| *known == schema).map_or(PUBLIC_OID, |(oid, _)| *oid)
}

/// The OID of a table by its name, for regclass. pg_catalog is searched before public.
pub(crate) fn relation_oid(
    catalogue: &Catalogue,
    environment: &dyn Environment,
    schema: Option<&str>,
    table: &str,
) -> Option<u32> {
    let wanted = schema.unwrap_or("pg_catalog");
    let made_up = virtual_tables(environment).find(|(schema, name, ..)| *schema == wanted && *name == table);
    if let Some((_, _, oid, _)) = made_up {
        return Some(oid);
    }
    if schema.is_some_and(|schema| schema != "public") {
        return None;
    }
    let index = || catalogue.index_named(table).map(|(_, index)| index.oid);
    let sequence = || catalogue.sequence_named(table).map(|sequence| sequence.oid);
    let view = || catalogue.view_named(table).map(|view| view.oid);
    catalogue.relation(table).map(|relation| relation.oid).or_else(index).or_else(sequence).or_else(view)
}

/// The name of a table by its OID, as regclass prints it.
pub(crate) fn relation_name(
    catalogue: &Catalogue,
    environment: &dyn Environment,
    oid: u32,
) -> Option<String> {
    if let Some(relation) = catalogue.relations.get(&oid) {
        return Some(identifier::quote(&relation.name));
    }
    if let Some((_, index)) = catalogue.index(oid) {
        return Some(identifier::quote(index.name));
    }
    if let Some(sequence) = catalogue.sequences.get(&oid) {
        return Some(identifier::quote(&sequence.name));
    }
    if let Some(view) = catalogue.views.get(&oid) {
        return Some(identifier::quote(&view.name));
    }
    let (schema, name, ..) = virtual_tables(environment).find(|(_, _, known, _)| *known == oid)?;
    Some(if schema == "pg_catalog" { name.to_owned() } else { format!("{schema}.{name}") })
}
