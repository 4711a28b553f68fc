//! PostgreSQL's frontend/backend protocol, version 3, of both sides (the manual's chapter "Frontend/Backend
//! Protocol").
//!
//! - [`frame`], [`frontend`], [`backend`], [`startup`]: messages. A server decodes [`frontend`] messages
//!   borrowed from its read buffer and encodes [`backend`] messages straight into its write buffer, with no
//!   allocation for a row.
//! - [`report`]: errors and notices with PostgreSQL's fields and codes.
//! - [`scram`]: SCRAM-SHA-256 of both sides and the verifier text that roles keep.
//! - [`conninfo`], [`client`]: connection strings as libpq reads them, and an asynchronous connection.
//! - [`tls`]: TLS of both sides, by rustls.
//! - [`replication`]: the grammar of replication commands and the messages inside CopyBoth.
//!
//! Every length that arrives is checked against a bound before anything is kept; nothing here panics on what
//! a peer sends. This crate knows no WAL, no storage and no SQL; positions and timelines are the wire's
//! numbers ([`replication::WireLsn`]).

pub mod backend;
pub mod client;
pub mod conninfo;
mod cursor;
pub mod frame;
pub mod frontend;
pub mod replication;
pub mod report;
pub mod scram;
pub mod startup;
pub mod tls;

pub use backend::{FieldDescription, Format, TransactionStatus};
pub use client::{Client, ClientError};
pub use cursor::ProtocolError;
pub use report::{Report, Severity};
pub use sqlstate::SqlState;
