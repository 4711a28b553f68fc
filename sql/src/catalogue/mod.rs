//! The catalogue: what tables, roles and databases there are, kept as rows in trees of its own and read as
//! one immutable version.

mod bootstrap;
pub(crate) mod codec;
mod model;
pub(crate) mod sequences;
pub(crate) mod store;
pub(crate) mod system;

pub use bootstrap::bootstrap;
pub use model::Role;
pub(crate) use model::{
    AnyIndex, BOOTSTRAP_ROLE_OID, Catalogue, Check, Column, Identity, Index, IndexColumn, Layout,
    POSTGRES_DATABASE, PrimaryKey, Relation, Sequence, View, ViewColumn,
};
