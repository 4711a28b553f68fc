//! Sessions over a real database in a temporary folder.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod all_rows;
mod answers;
mod common;
mod copy_settings_roles;
mod deep;
mod definitions;
mod golden;
mod indexes;
mod named_rows;
mod rights;
mod roles;
mod row_locks;
mod sequences;
mod statements;
mod transactions;
