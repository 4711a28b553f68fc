//! The server: listener, sessions, authentication, monitoring, and the life of a node from start to stop.
//!
//! Composes what stands below it (`storage`, `sql`, `replica`, `basebackup`, `settings`, `protocol`) and owns
//! what a running node owns alone: sockets and their lock files, postmaster.pid, the log, the background
//! tasks, the signals.
//!
//! The modules are floors, the lowest first; each imports from those before it only.
//!
//! | module          | what it is                                                                       |
//! |-----------------|----------------------------------------------------------------------------------|
//! | `error`         | the server's error, and other crates' errors as the protocol has them            |
//! | `state`         | the states that a node can be in                                                 |
//! | `log`           | the log                                                                          |
//! | `tasks`         | the node's tasks and what ends them                                              |
//! | `statements`    | pg_stat_statements: what is counted of statements                                |
//! | `lock_files`    | postmaster.pid, and the lock files of sockets                                    |
//! | `connection`    | sockets, connections that have not logged in, the registry of all sessions       |
//! | `auth`          | whether a connection is who it says it is                                        |
//! | `configuration` | the settings in force, and what every part of a node stands on                   |
//! | `archive`       | finished log into the archive and back                                           |
//! | `replication`   | slots, senders, standby, semi-synchronous operation, fence, ledger: their wiring |
//! | `maintenance`   | checkpoints, the writers, autovacuum                                             |
//! | `node`          | a node's life: start, run, promote, stop, and its states                         |
//! | `views`         | system views and functions                                                       |
//! | `session`       | what clients ask, and what they are told                                         |
//! | `lock_waits`    | what the log is told of waits for locks                                          |
//! | `metrics`       | figures for Prometheus                                                           |
//! | `reference`     | lists of views, functions and metrics, for documents                             |
//! | `server`        | a node with its sessions: what programs start                                    |
//!
//! Durability is storage's. What this crate promises: nothing leaves for a client before storage says that it
//! may; a stop joins every task that was started; a stop waits for the standbys to have the shutdown
//! checkpoint.
//!
//! Knows no page formats and no SQL grammar.

mod archive;
mod auth;
mod configuration;
mod connection;
mod error;
mod lock_files;
mod lock_waits;
mod log;
mod maintenance;
mod metrics;
mod node;
pub mod reference;
mod replication;
mod runtime;
mod server;
mod session;
mod state;
mod statements;
mod tasks;
mod views;

pub use archive::restore::brought as restored_length;
pub use archive::shell::{expand as expand_command, has_placeholder};
pub use auth::LoginFiles;
pub use auth::hba::HbaError;
pub use error::ServerError;
pub use log::{LogSink, stderr_sink};
pub use node::init::{InitOptions, init};
pub use node::open::flushed_by_slots;
pub use node::options::ServerOptions;
pub use node::signals::{LOGROTATE_SIGNAL_FILE, PROMOTION_REFUSED};
pub use node::start::{Carried, Ending};
pub use replication::handover::HANDOVER_FILE;
pub use replication::ledger::{LedgerEntry, read_ledger};
pub use replication::rewinding::{keep_discarded, leave_as_is};
pub use replication::unfence::{fence_of, unfence};
pub use server::{Control, Server, check_start, recovery_target_of, run, setting_of};
pub use session::{Embedded, LocalSession};
pub use settings::POSTGRESQL_RELEASE;
pub use sql_session::{FileCheck, check_files};
pub use state::StopMode;
