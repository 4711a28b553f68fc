//! How a server is started.

use crate::log::{LogSink, stderr_sink};
use host::Host;
use std::path::PathBuf;

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
    /// React to SIGHUP, SIGINT, SIGTERM, SIGQUIT and SIGUSR1 as PostgreSQL does, and live on as it does when
    /// another comes. One server a process.
    pub signals: bool,
    /// Start even if the settings name no socket to listen on: only this process uses it
    /// ([`Server::embedded`]).
    pub sockets_optional: bool,
    /// Whoever runs the server starts it again when [`crate::Server::join`] gives [`crate::Ending::Again`]:
    /// it can hand its role over to a standby. [`crate::run`] does so.
    pub starts_again: bool,
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
            starts_again: false,
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
