//! Sessions over a real database in a temporary folder.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod common;
mod copy_settings_roles;
mod golden;
mod indexes;
mod sequences;
mod statements;
mod transactions;
