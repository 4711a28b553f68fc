//! System tables: pg_class and its kin, which show the catalogue as PostgreSQL would. Nothing of them is
//! stored: their rows are made when they are asked for.
//!
//! `tables` has their names and columns; a file beside it each makes the rows about one kind of thing.

pub mod absent;
mod behaviour;
mod bodies;
mod indexes;
mod information_schema;
pub mod known;
mod relations;
mod rights;
mod role_dependencies;
mod sequences;
mod shared;
pub mod signatures;
mod standard_columns;
mod standard_routines;
mod tables;
mod types;
mod values;
mod views;

use crate::model::{Catalogue, SequencePosition};
use crate::schema::Schema;
use sql_interface::{Environment, SettingActor};
use sql_types::{Datum, TypeId};
use std::collections::HashMap;
use storage::Database;

pub use indexes::{constraint_definition, index_definition};
pub use tables::TABLES;
pub use values::acl_value;

/// A system table.
#[derive(Clone, Copy)]
pub struct SystemTable {
    /// pg_catalog or information_schema.
    pub schema: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it shows, in a line, for the documentation.
    pub about: &'static str,
    /// pg_class.oid, PostgreSQL's where it has one.
    pub oid: u32,
    /// Names and types of its columns in order.
    pub columns: &'static [(&'static str, TypeId)],
    rows: fn(&Context<'_>) -> Vec<Vec<Datum>>,
}

/// What their rows are made from.
pub struct Context<'a> {
    /// What there is.
    pub catalogue: &'a Catalogue,
    /// The server, for its tables and settings.
    pub environment: &'a dyn Environment,
    /// Where the trees are, for sizes and counts.
    pub database: &'a Database,
    /// Who asks.
    pub actor: SettingActor,
    /// Which of PostgreSQL's functions exist here.
    pub has_function: &'a dyn Fn(&known::KnownFunction) -> bool,
    /// The rows of a view of what the session keeps by name ([`is_of_session`]).
    pub session_rows: &'a dyn Fn(&str) -> Vec<Vec<Datum>>,
    /// Where sequences stand, for those tables that show it ([`shows_positions`]).
    pub positions: &'a HashMap<u32, SequencePosition>,
}

/// The columns of a sequence read as a table.
pub const SEQUENCE_COLUMNS: &[(&str, TypeId)] =
    &[("last_value", TypeId::Int8), ("log_cnt", TypeId::Int8), ("is_called", TypeId::Bool)];

/// Whether a table needs to know where sequences stand.
pub fn shows_positions(table: usize) -> bool {
    TABLES.get(table).is_some_and(|table| table.name == "pg_sequences")
}

/// Whether a table shows what the session that asks keeps by name.
pub fn is_of_session(table: usize) -> bool {
    TABLES.get(table).is_some_and(|table| matches!(table.name, "pg_cursors" | "pg_prepared_statements"))
}

/// The rows of a system table, by its place in [`TABLES`].
pub fn rows(table: usize, context: &Context<'_>) -> Vec<Vec<Datum>> {
    TABLES.get(table).map_or_else(Vec::new, |table| (table.rows)(context))
}

/// OIDs and names of all schemas.
pub fn schemas() -> [(u32, &'static str); 3] {
    Schema::ALL.map(|schema| (schema.oid(), schema.name()))
}

/// Schema, name and OID of every made-up table.
pub fn virtual_tables<'a>(
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

/// The names of a made-up table's columns; none for an unknown OID.
pub fn made_up_columns(environment: &dyn Environment, oid: u32) -> Vec<&'static str> {
    if let Some(table) = TABLES.iter().find(|table| table.oid == oid) {
        return table.columns.iter().map(|(name, _)| *name).collect();
    }
    let of_node = environment.node_tables().iter().find(|table| table.oid == oid);
    of_node.map_or_else(Vec::new, |table| table.columns.iter().map(|(name, _)| *name).collect())
}

/// Whether a made-up table of pg_catalog is a table in PostgreSQL, not a view.
pub fn is_table(name: &str) -> bool {
    known::SHAPES.contains_key(name)
}

/// Whether a table of pg_catalog belongs to all databases together.
pub fn is_shared(name: &str) -> bool {
    const SHARED: [&str; 11] = [
        "pg_auth_members",
        "pg_authid",
        "pg_database",
        "pg_db_role_setting",
        "pg_parameter_acl",
        "pg_replication_origin",
        "pg_shdepend",
        "pg_shdescription",
        "pg_shseclabel",
        "pg_subscription",
        "pg_tablespace",
    ];
    SHARED.contains(&name)
}

/// The made-up table of an OID, as an object that has rights.
pub fn made_up(environment: &dyn Environment, oid: u32) -> Option<crate::rights::Object> {
    let (_, name, ..) = virtual_tables(environment).find(|(_, _, known, _)| *known == oid)?;
    Some(crate::rights::Object::MadeUp(oid, name))
}
