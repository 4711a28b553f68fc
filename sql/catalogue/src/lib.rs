//! The catalogue: what tables, roles and databases there are, kept as rows in trees of its own and read as
//! one immutable version. Beside it the system tables, which show it as PostgreSQL would.
//!
//! It knows no statement's text and no plan: expressions and views are texts that it keeps.

mod bootstrap;
pub mod codec;
pub mod definitions;
pub mod entries;
pub mod grants;
mod model;
pub mod names;
mod permissions;
pub mod rights;
pub mod schema;
pub mod sequences;
pub mod store;
pub mod system;

pub use bootstrap::bootstrap;
pub use model::{
    AnyIndex, BOOTSTRAP_ROLE_OID, Catalogue, Check, Column, DatabaseEntry, INFORMATION_SCHEMA_OID, Identity,
    Index, IndexColumn, Layout, PG_CATALOG_OID, POSTGRES_DATABASE, PUBLIC_OID, PrimaryKey, Relation, Role,
    Sequence, SequencePosition, View, ViewColumn,
};
