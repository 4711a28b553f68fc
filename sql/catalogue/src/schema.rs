//! The schemas that there are.

use crate::model::{INFORMATION_SCHEMA_OID, PG_CATALOG_OID, PUBLIC_OID};
use sql_interface::{Result, SqlError};
use sqlstate::SqlState;

/// A schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    oid: u32,
    name: &'static str,
}

impl Schema {
    /// What PostgreSQL itself brings; searched before all others unless the path says otherwise.
    pub const PG_CATALOG: Self = Self { oid: PG_CATALOG_OID, name: "pg_catalog" };
    /// Where tables are made.
    pub const PUBLIC: Self = Self { oid: PUBLIC_OID, name: "public" };
    /// The SQL standard's views.
    pub const INFORMATION_SCHEMA: Self = Self { oid: INFORMATION_SCHEMA_OID, name: "information_schema" };
    /// All of them.
    pub const ALL: [Self; 3] = [Self::PG_CATALOG, Self::PUBLIC, Self::INFORMATION_SCHEMA];

    /// pg_namespace.oid
    pub const fn oid(self) -> u32 {
        self.oid
    }

    /// nspname
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The schema of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|schema| schema.name == name)
    }

    /// The schema of this name, for statements that fail without it.
    ///
    /// # Errors
    ///
    /// 3F000.
    pub fn required(name: &str) -> Result<Self> {
        Self::named(name).ok_or_else(|| no_schema(name))
    }
}

/// 3F000
pub fn no_schema(name: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist"))
}
