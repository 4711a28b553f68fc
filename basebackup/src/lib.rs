//! Base backups: out of a running server, and in, as a clone.
//!
//! Rooms, lowest first; each imports from those before it only:
//!
//! - [`manifest`]: what files a backup has, their checksums, and how to tell that it is whole.
//! - [`send`]: a running server's data directory as PostgreSQL 15's BASE_BACKUP sends it.
//! - [`clone`]: a new data directory out of a running server, with its log, ready to start as a standby.
//!
//! Durability: when [`clone::clone`] returns, the new directory survives a power cut; before that no server
//! starts on it. Taking a backup writes nothing but what the engine itself writes for its start and end.
//!
//! This crate knows no SQL, and of the engine only how a backup starts and ends ([`send::BackupEngine`]) and
//! what a sound page is.

pub mod clone;
pub mod manifest;
pub mod send;
