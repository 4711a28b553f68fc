//! Base backups: out of a running server, and in, as a clone.

pub mod checksum;
pub mod clone;
pub mod manifest;
pub mod out;
