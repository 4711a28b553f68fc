//! The programs of PostgreSQL that the binary is when it is called by their names.

pub mod initdb;
pub mod pg_ctl;
pub mod pg_rewind;
pub mod postgres;
