//! The settings of a node: PostgreSQL 15's and our own, their files and their layers.
//!
//! Owns the table of all settings ([`definitions`]), reading and printing values with units ([`Value`]),
//! postgresql.conf ([`FileContents`]), the node's layers of sources ([`Settings`]), a session's values with
//! the rules of SET, SET LOCAL and savepoints ([`SessionSettings`]), typed snapshots for hot paths
//! ([`Config`], [`SessionConfig`]), the text of postgresql.auto.conf ([`alter_system`]) and of a new
//! postgresql.conf ([`sample_file`]), the same table in words for the documentation ([`reference()`]), and
//! the switches of one letter that stand for settings ([`switch`]).
//!
//! It does no I/O (files come in through [`Files`], texts go out) and knows nothing of WAL, storage or
//! sockets.

mod auto;
mod check;
mod config;
mod definition;
mod encodings;
mod error;
mod file;
mod list;
mod node;
mod plimsoll;
mod postgresql15;
mod reference;
mod sample;
mod session;
mod statements;
mod switches;
mod table;
mod used;
mod value;

pub use auto::{AutoChange, alter_system};
pub use check::shown_name;
pub use config::{Config, SessionConfig, SizeBytes, UnlessNegative};
pub use definition::{Context, Definition, Kind, Meaning, Unit, flag};
pub use encodings::{encoding_name, encoding_number};
pub use error::{Locked, Refusal, SettingError};
pub use file::{FileContents, FileEntry, FileError, Files, Place, quote, resolve};
pub use list::split_identifiers;
pub use node::{Applied, Check, Phase, Problem, Row, Settings, Source};
pub use postgresql15::POSTGRESQL_RELEASE;
pub use reference::{Allowed, ReferenceEntry, reference};
pub use sample::{SampleValues, sample_file};
pub use session::{Mark, Privilege, Scope, SessionSettings, join_values};
pub use switches::{Switch, SwitchedBy, switch};
pub use table::{RECOVERY_TARGETS, definitions, find, is_custom_name, nearest_name};
pub use value::{Value, parse_bool};
