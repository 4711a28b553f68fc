//! A server: a node with its sessions and its metrics, as programs start it.

use crate::configuration::{self, checks, recovery_target};
use crate::connection::lobby::Visitor;
use crate::connection::socket::Socket;
use crate::error::ServerError;
use crate::lock_waits;
use crate::log::Log;
use crate::metrics;
use crate::node::options::ServerOptions;
use crate::node::start::{self, Carried, Ending, Sockets, Started};
use crate::node::stop::LEFTOVERS_LIMIT;
use crate::node::{Node, Services};
use crate::runtime::{self, Pulse};
use crate::session::{self, Embedded};
use crate::state::{NodeState, StopMode};
use std::path::Path;
use std::sync::Arc;
use storage::RecoveryTarget;
use wal::control::ControlFile;

/// What a server is asked for, as by signals.
#[derive(Clone)]
pub struct Control(Arc<Node>);

impl Control {
    /// Asks for a stop.
    pub fn stop(&self, mode: StopMode) {
        self.0.life.request_stop(mode);
    }

    /// Reads the configuration files again.
    pub fn reload(&self) {
        self.0.reload();
    }

    /// Asks a standby to become a primary.
    ///
    /// # Errors
    ///
    /// If this server is fenced on its branch.
    pub fn promote(&self) -> Result<(), ServerError> {
        self.0.request_promotion()
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("data_dir", &self.0.ground.data_dir).finish_non_exhaustive()
    }
}

/// A running server, from [`Server::start`]. Dropping it does not stop it: call [`Server::stop`] and
/// [`Server::join`].
pub struct Server {
    node: Arc<Node>,
    sockets: Sockets,
    supervisor: tokio::task::JoinHandle<Result<Ending, ServerError>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("data_dir", &self.node.ground.data_dir).finish_non_exhaustive()
    }
}

/// Sessions and metrics.
struct Clients;

impl Services for Clients {
    fn serve(node: Arc<Node>, socket: Socket, visitor: Visitor) -> impl Future<Output = ()> + Send + 'static {
        session::serve(node, socket, visitor)
    }
    fn opened(node: &Arc<Node>) -> impl Future<Output = ()> + Send {
        lock_waits::start(node);
        metrics::start(node)
    }
}

impl Server {
    /// Starts a server on a data directory, and returns when it takes connections; a standby that is not
    /// consistent yet returns while it recovers ([`Server::wait_ready`] waits on).
    ///
    /// # Errors
    ///
    /// If the directory, its files or the settings do not allow a start; the log says the same.
    pub async fn start(options: ServerOptions) -> Result<Self, ServerError> {
        Self::start_controlled(options, drop).await
    }

    /// As [`Server::start`]; `begun` gets what the server is controlled by while it starts.
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    pub async fn start_controlled(
        options: ServerOptions,
        begun: impl FnOnce(Control),
    ) -> Result<Self, ServerError> {
        Self::start_again(options, Carried::default(), begun).await
    }

    /// As [`Server::start_controlled`], in the place of one that ended with [`Ending::Again`].
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    pub async fn start_again(
        options: ServerOptions,
        carried: Carried,
        begun: impl FnOnce(Control),
    ) -> Result<Self, ServerError> {
        let log = Arc::new(Log::new(options.log.clone(), options.host.clock.clone()));
        let begins = |node: &Arc<Node>| {
            log.begin_collecting(&node.ground.data_dir, &node.ground.settings());
            begun(Control(node.clone()));
        };
        match start::start::<Clients>(&options, &log, carried, begins).await {
            Ok(Started { node, sockets, supervisor }) => {
                let server = Self { node, sockets, supervisor };
                server.wait_started().await;
                Ok(server)
            }
            Err(error) => {
                log.write(None, &error.report(), None);
                log.end_collecting();
                Err(error)
            }
        }
    }

    /// What this process uses the server by.
    pub fn embedded(&self) -> Embedded {
        Embedded::new(self.node.clone())
    }

    /// Waits until connections are taken, or the server stops.
    pub async fn wait_ready(&self) {
        let mut states = self.node.life.states();
        // The sender lives as long as the node.
        let _ = states
            .wait_for(|state| {
                matches!(state, NodeState::Running | NodeState::HotStandby | NodeState::Stopping(_))
            })
            .await;
    }

    async fn wait_started(&self) {
        let mut states = self.node.life.states();
        let _ = states.wait_for(|state| *state != NodeState::Starting).await;
    }

    /// Asks for a stop; [`Server::join`] waits for it.
    pub fn stop(&self, mode: StopMode) {
        self.control().stop(mode);
    }

    /// Reads the configuration files again.
    pub fn reload(&self) {
        self.control().reload();
    }

    /// Asks a standby to become a primary. An error if this one is fenced.
    ///
    /// # Errors
    ///
    /// If this server is fenced on its branch.
    pub fn promote(&self) -> Result<(), ServerError> {
        self.control().promote()
    }

    fn control(&self) -> Control {
        Control(self.node.clone())
    }

    /// Waits until it has stopped, and says whether it is to be started again
    /// ([`ServerOptions::starts_again`]).
    ///
    /// # Errors
    ///
    /// If the server did not stop well: what was not written, or which of its parts failed.
    pub async fn join(mut self) -> Result<Ending, ServerError> {
        self.ended().await
    }

    /// As [`Server::join`], for whoever has orders for it meanwhile: may be dropped and called again until it
    /// has answered.
    ///
    /// # Errors
    ///
    /// As [`Server::join`].
    pub async fn ended(&mut self) -> Result<Ending, ServerError> {
        let ended = match (&mut self.supervisor).await {
            Ok(done) => done,
            Err(error) => Err(ServerError::new(format!("the server's main task failed: {error}"))),
        };
        self.node.ground.log.end_collecting();
        ended
    }

    /// A connection string (without user and database) that reaches it.
    pub fn conninfo(&self) -> String {
        match (&self.sockets.unix, &self.sockets.tcp) {
            (Some((dir, port)), _) => format!("host={} port={port}", dir.display()),
            (None, Some(address)) => format!("host={} port={}", address.ip(), address.port()),
            (None, None) => String::new(),
        }
    }
}

/// Runs a server to its end, on a runtime of its own with the threads that the settings ask for.
///
/// # Errors
///
/// If the server does not start, or does not stop well.
pub fn run(options: ServerOptions) -> Result<(), ServerError> {
    crate::connection::open_files::lift_limit();
    let (threads, sessions) = threads(&options);
    let runtime = runtime::build(threads, sessions)?;
    let _pulse = Pulse::start(runtime.handle().clone())
        .map_err(|error| ServerError::new(format!("could not start a thread: {error}")))?;
    let options = ServerOptions { starts_again: true, ..options };
    if options.signals && nix::unistd::geteuid().is_root() {
        let log = Log::new(options.log.clone(), options.host.clock.clone());
        log.warning("this server runs as root: a user of its own, without rights elsewhere, is safer");
    }
    let ended = runtime.block_on(async {
        let mut carried = Carried::default();
        while let Ending::Again(next) =
            Server::start_again(options.clone(), carried, drop).await?.join().await?
        {
            carried = *next;
        }
        Ok(())
    });
    // What still computes then has nobody to answer to.
    runtime.shutdown_timeout(LEFTOVERS_LIMIT);
    ended
}

/// One setting's value without its unit, from the files and the command line, without starting a server
/// (postgres -C).
///
/// # Errors
///
/// If the files or the command line hold an error, or there is no such setting.
pub fn setting_of(options: &ServerOptions, name: &str) -> Result<String, ServerError> {
    settings_of(options)?.plain(name).map_err(|error| ServerError::new(error.one_line()))
}

/// Looks at all that a start looks at before it opens the directory, but for what other machines and programs
/// decide (names to listen on, ports in use).
///
/// # Errors
///
/// Why a server would not start with these options.
pub fn check_start(options: &ServerOptions) -> Result<(), ServerError> {
    let settings = settings_of(options)?;
    checks::refusal(&options.host, &options.data_dir, &settings).map_or(Ok(()), Err)
}

/// What the files and the command line say, without a word in a log.
fn loaded(options: &ServerOptions, dir: &Path) -> Result<configuration::Current, ServerError> {
    let silent = Log::new(Arc::new(|_| {}), options.host.clock.clone());
    configuration::load(&options.host, dir, &options.settings, &silent)
}

/// The settings of a server with these options.
fn settings_of(options: &ServerOptions) -> Result<settings::Settings, ServerError> {
    let dir = std::path::absolute(&options.data_dir)
        .map_err(|error| ServerError::new(format!("invalid data directory: {error}")))?;
    let current = loaded(options, &dir)?;
    let mut settings = settings::Settings::clone(&current.settings);
    // What a server finds out when it opens the directory.
    if let Ok(control) = ControlFile::load(options.host.disk.as_ref(), &options.data_dir) {
        for (computed, value) in [
            ("wal_segment_size", control.segment_size.bytes().to_string()),
            ("data_checksums", if control.data_checksums { "on" } else { "off" }.to_owned()),
        ] {
            settings.set_computed(computed, &value).map_err(|error| ServerError::new(error.one_line()))?;
        }
    }
    Ok(settings)
}

/// What a server with these options, in recovery, would go to: this target instead of the one that its files
/// name.
///
/// # Errors
///
/// If the files or the command line hold an error, or the target makes no sense.
pub fn recovery_target_of(
    options: &ServerOptions,
    (name, value): (&str, &str),
    inclusive: bool,
) -> Result<Option<RecoveryTarget>, ServerError> {
    let mut options = options.clone();
    let others = settings::RECOVERY_TARGETS.iter().filter(|other| **other != name);
    options.settings.extend(others.map(|other| ((*other).to_owned(), String::new())));
    let inclusive = if inclusive { "on" } else { "off" };
    options = options.with(name, value).with("recovery_target_inclusive", inclusive);
    let current = loaded(&options, &options.data_dir)?;
    recovery_target::of_settings(&current.settings)
}

/// Before anything is logged: plimsoll.worker_threads (0 is one a processor), and how many sessions there may
/// be.
fn threads(options: &ServerOptions) -> (usize, usize) {
    // What is wrong with the settings, the start says.
    let Ok(current) = loaded(options, &options.data_dir) else { return (0, 0) };
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let config = &current.config;
    (number(config.worker_threads), number(config.max_connections.saturating_add(config.max_wal_senders)))
}
