//! Base backups: out of a running server, and in, as a clone.
//!
//! - [`out`]: a running server's data directory as PostgreSQL 15's BASE_BACKUP sends it.
//! - [`clone`]: a new data directory out of a running server, with its log, ready to start as a standby.
//! - [`manifest`], [`checksum`]: what a backup has, and how to tell that it is whole.
//!
//! Durability: when [`clone::clone`] returns, the new directory survives a power cut; before that no server starts on it. Taking a backup
//! writes nothing but what the engine itself writes for its start and end.
//!
//! This crate knows no SQL, and of the engine only how a backup starts and ends ([`out::BackupEngine`]) and what a sound page is.

pub mod checksum;
pub mod clone;
pub mod manifest;
pub mod out;
