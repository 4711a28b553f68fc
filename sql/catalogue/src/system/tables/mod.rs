//! The shapes of the system tables: PostgreSQL's names, OIDs and columns.

mod catalogues;
mod further;
mod information_schema;
mod objects;
mod rights;
mod routines;
mod statistics;

use super::SystemTable;
use std::sync::LazyLock;

/// All of them; a plan names one by its place here.
pub static TABLES: LazyLock<Vec<SystemTable>> = LazyLock::new(|| {
    let views = [
        objects::TABLES,
        further::TABLES,
        statistics::TABLES,
        rights::TABLES,
        information_schema::TABLES,
        routines::TABLES,
    ]
    .concat();
    catalogues::tables().chain(views).collect()
});
