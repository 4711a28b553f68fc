//! How a database is opened.

use crate::{Database, Result, follow};
use host::Host;
use server::{InitOptions, LogSink, Server, ServerOptions, stderr_sink};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A data directory, and how it is opened in this process.
#[derive(Clone)]
pub struct Options {
    data_dir: PathBuf,
    create: bool,
    follow: Option<String>,
    listen: Option<(String, u16)>,
    socket_dir: Option<PathBuf>,
    settings: Vec<(String, String)>,
    user: String,
    log: LogSink,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("data_dir", &self.data_dir)
            .field("listen", &self.listen)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// An existing data directory, opened for this process alone, that logs to standard error.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            create: false,
            follow: None,
            listen: None,
            socket_dir: None,
            settings: Vec::new(),
            user: "postgres".to_owned(),
            log: stderr_sink(),
        }
    }

    /// A directory that is not there yet is made a new, empty primary.
    pub fn create_if_missing(mut self) -> Self {
        self.create = true;
        self
    }

    /// A directory that is not there yet is cloned from this server (a connection string), and follows it: a
    /// standby that serves reads. One that is there starts as what it is.
    pub fn follow(mut self, conninfo: impl Into<String>) -> Self {
        self.follow = Some(conninfo.into());
        self
    }

    /// Serves clients and followers at this address and port too: psql, pg_basebackup, pg_receivewal,
    /// standbys. pg_hba.conf in the data directory says who may come in.
    pub fn listen(mut self, address: impl Into<String>, port: u16) -> Self {
        self.listen = Some((address.into(), port));
        self
    }

    /// Serves them at a Unix socket in this folder too, named by the port of [`Options::listen`], or 5432.
    pub fn socket_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.socket_dir = Some(dir.into());
        self
    }

    /// A setting by PostgreSQL's name, above those of the configuration files.
    pub fn setting(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    /// The role that this process works as; `postgres`, the superuser of a new directory, if nothing is said.
    pub fn user(mut self, name: &str) -> Self {
        name.clone_into(&mut self.user);
        self
    }

    /// Where log lines go instead of standard error.
    pub fn log(mut self, sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.log = Arc::new(sink);
        self
    }

    /// Opens it, inside of a tokio runtime with time and I/O enabled. Returns when reads are served; on a
    /// primary, writes too.
    pub async fn open(self) -> Result<Database> {
        let host = Host::real();
        // What is there all the same, init and clone refuse and leave as it is.
        let missing = !host.disk.exists(&self.data_dir.join("PG_VERSION")).unwrap_or(true);
        match &self.follow {
            Some(primary) if missing => follow::clone(primary, &self.data_dir).await?,
            _ if missing && self.create => {
                let mut init = InitOptions::new(&self.data_dir);
                init.superuser.clone_from(&self.user);
                server::init(&init).await?;
            }
            _ => {}
        }
        let mut options = ServerOptions {
            host,
            log: self.log,
            sockets_optional: true,
            ..ServerOptions::new(&self.data_dir)
        };
        let (address, port) = match &self.listen {
            Some((address, port)) => (address.as_str(), Some(port)),
            None => ("", None),
        };
        let socket_dir = self.socket_dir.map(|dir| dir.display().to_string()).unwrap_or_default();
        options = options.with("listen_addresses", address).with("unix_socket_directories", socket_dir);
        if let Some(port) = port {
            options = options.with("port", port.to_string());
        }
        for (name, value) in self.settings {
            options = options.with(&name, value);
        }
        let server = Server::start(options).await?;
        server.wait_ready().await;
        Ok(Database::new(server, &self.user))
    }
}
