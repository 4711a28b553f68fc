//! The shapes of the system tables: PostgreSQL's names, OIDs and columns.

mod catalogues;
mod further;
mod information_schema;
mod objects;
mod rights;

use super::SystemTable;
use std::sync::LazyLock;

/// All of them; a plan names one by its place here.
pub static TABLES: LazyLock<Vec<SystemTable>> = LazyLock::new(|| {
    let views = [objects::TABLES, further::TABLES, rights::TABLES, information_schema::TABLES].concat();
    catalogues::tables().chain(views).collect()
});
