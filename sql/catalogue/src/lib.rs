//! The catalogue: what tables, roles and databases there are, kept as rows in trees of its own and read as
//! one immutable version. Beside it the system tables, which show it as PostgreSQL would.
//!
//! It knows no statement's text and no plan: expressions and views are texts that it keeps.

mod bootstrap;
pub mod codec;
pub mod entries;
mod model;
pub mod names;
pub mod sequences;
pub mod store;
pub mod system;

pub use bootstrap::bootstrap;
pub use model::{
    AnyIndex, BOOTSTRAP_ROLE_OID, Catalogue, Check, Column, Identity, Index, IndexColumn, Layout,
    POSTGRES_DATABASE, PrimaryKey, Relation, Role, Sequence, SequencePosition, View, ViewColumn,
};
