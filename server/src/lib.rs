//! The server: listener, sessions, authentication, monitoring, and the life of a node from start to stop.
//!
//! Composes what stands below it (`storage`, `sql`, `replica`, `basebackup`, `settings`, `protocol`) and owns what a running
//! node owns alone: sockets and their lock files, postmaster.pid, the log, the background tasks, the signals.
//!
//! Durability is storage's. What this crate promises: nothing leaves for a client before storage says that it may; a stop
//! joins every task that was started; a stop waits for the standbys to have the shutdown checkpoint.
//!
//! Knows no page formats and no SQL grammar.

mod archive;
mod auth;
mod autovacuum;
mod background;
mod checks;
mod fencing;
mod files;
mod init;
mod ledger;
mod listen;
mod lobby;
mod log;
mod metrics;
mod node;
mod replicas;
mod semi_sync;
mod server;
mod session;
mod sessions;
mod signals;
mod slots;
mod socket;
mod standby;
mod views;

pub use archive::command::expand as expand_command;
pub use init::{InitOptions, init};
pub use ledger::{LedgerEntry, read_ledger};
pub use log::{LogSink, stderr_sink};
pub use server::{recovery_target_of, run, setting_of};
pub use session::{Embedded, LocalSession};
pub use sql::{FileCheck, check_files};

use host::Host;
use std::path::PathBuf;
use std::sync::Arc;

/// The file of a data directory that says why the last promotion asked for by a signal was refused. Who asks removes it first.
pub const PROMOTION_REFUSED: &str = "plimsoll/promotion_refused";

/// The release of PostgreSQL whose formats and protocols these are, as server_version begins.
pub const POSTGRESQL_RELEASE: &str = "15.18";

/// How a server is started.
#[derive(Clone)]
pub struct ServerOptions {
    /// The machine.
    pub host: Host,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Settings of the command line (`-c name=value`), which outweigh the files.
    pub settings: Vec<(String, String)>,
    /// Where the log goes.
    pub log: LogSink,
    /// React to SIGHUP, SIGINT, SIGTERM, SIGQUIT and SIGUSR1 as PostgreSQL does. One server a process.
    pub signals: bool,
    /// Start even if the settings name no socket to listen on: only this process uses it ([`Server::embedded`]).
    pub sockets_optional: bool,
}

impl ServerOptions {
    /// A server on the real machine that logs to standard error and leaves signals alone.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            host: Host::real(),
            data_dir: data_dir.into(),
            settings: Vec::new(),
            log: stderr_sink(),
            signals: false,
            sockets_optional: false,
        }
    }

    /// The same with a setting of the command line.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }
}

impl std::fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerOptions")
            .field("data_dir", &self.data_dir)
            .field("settings", &self.settings)
            .field("signals", &self.signals)
            .finish_non_exhaustive()
    }
}

/// Why a server did not start, or how it ended badly; the log holds the same.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ServerError {
    /// One line: what and why.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ServerError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("data_dir", &self.node.data_dir).finish_non_exhaustive()
    }
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopMode {
    /// Let the sessions end by themselves (SIGTERM).
    Smart,
    /// End the sessions, write a shutdown checkpoint (SIGINT).
    Fast,
    /// End at once, as after a crash (SIGQUIT).
    Immediate,
}

/// A running server, from [`Server::start`]. Dropping it does not stop it: call [`Server::stop`] and [`Server::join`].
pub struct Server {
    node: Arc<node::Node>,
    sockets: server::Sockets,
    supervisor: tokio::task::JoinHandle<Result<(), ServerError>>,
}
