//! The start of a node: from a data directory to a node that takes connections.

use super::options::ServerOptions;
use super::rewind::{self, Tries};
use super::signals::{Signals, take_promote_file};
use super::stop::LEFTOVERS_LIMIT;
use super::{Node, Services, directory, handover, open, run, stop};
use crate::archive::{LeftCommand, end_left};
use crate::configuration;
use crate::configuration::checks::refusal_of_values;
use crate::connection::listen::{self, Listener};
use crate::error::ServerError;
use crate::lock_files::{self, PidFile};
use crate::log::Log;
use crate::state::StopMode;
use host::task::task;
use host::vital_task;
use replica::directory_id::DirectoryId;
use std::path::PathBuf;
use std::sync::Arc;
use storage::Opened;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wal::control::ControlFile;

/// A node that was started.
pub(crate) struct Started {
    pub(crate) node: Arc<Node>,
    pub(crate) sockets: Sockets,
    /// Ends with the node.
    pub(crate) supervisor: JoinHandle<Result<Ending, ServerError>>,
}

/// How a server ended.
#[derive(Debug)]
pub enum Ending {
    /// It stopped.
    Stopped,
    /// It handed its role over, or is to rewind itself: it is to be started again with this, at once.
    Again(Box<Carried>),
}

/// What goes from one life of a node to the next in the same process.
#[derive(Debug, Default)]
pub struct Carried {
    /// The directory is this process's all the time.
    pub(super) pid_file: Option<PidFile>,
    /// Signals that came in between.
    pub(super) signals: Option<Signals>,
    /// How rewinds went, and whether one is to come.
    pub(super) tries: Tries,
    /// Who the node is for the others.
    pub(super) member: Option<DirectoryId>,
    /// Closed when nothing of the life before has the database any more.
    pub(super) database: Option<watch::Receiver<()>>,
    /// Its archive_command, in the middle of a file.
    pub(super) archiving: LeftCommand,
}

/// Waits for what the life before has left on other threads, which nobody waits for there. What does not
/// end has the directory, and the start says so.
async fn wait_for_directory(database: Option<watch::Receiver<()>>) {
    let Some(mut database) = database else { return };
    let gone = async { while database.changed().await.is_ok() {} };
    let _ = tokio::time::timeout(LEFTOVERS_LIMIT, gone).await;
}

impl Ending {
    /// The next life has the directory, if there is one.
    fn with(self, pid_file: Option<PidFile>) -> Self {
        match self {
            Self::Again(carried) => Self::Again(Box::new(Carried { pid_file, ..*carried })),
            Self::Stopped => Self::Stopped,
        }
    }
}

/// Where a server can be reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) unix: Option<(PathBuf, u16)>,
    pub(crate) tcp: Option<std::net::SocketAddr>,
}

impl Sockets {
    fn of(listeners: &[Listener]) -> Self {
        let unix = listeners.iter().find_map(Listener::unix_path);
        let unix = unix.and_then(|path| {
            let port = path.extension()?.to_str()?.parse().ok()?;
            Some((path.parent()?.to_path_buf(), port))
        });
        Self { unix, tcp: listeners.iter().find_map(Listener::tcp_address) }
    }
}

/// Starts a node. Returns when its database is open, on a standby when redo has begun; `begun` gets the node
/// before that, as soon as it heeds what it is asked for.
pub(crate) async fn start<S: Services>(
    options: &ServerOptions,
    log: &Arc<Log>,
    carried: Carried,
    begun: impl FnOnce(&Arc<Node>),
) -> Result<Started, ServerError> {
    let left = carried.archiving.clone();
    let started = begin::<S>(options, log, carried, begun).await;
    if started.is_err() {
        end_left(&options.host, &options.data_dir, log, &left).await;
    }
    started
}

async fn begin<S: Services>(
    options: &ServerOptions,
    log: &Arc<Log>,
    carried: Carried,
    begun: impl FnOnce(&Arc<Node>),
) -> Result<Started, ServerError> {
    let host = &options.host;
    wait_for_directory(carried.database).await;
    // Before postmaster.pid tells anybody whom to signal.
    let signals = signals_of(options, carried.signals)?;
    let data_dir = directory::absolute(&options.data_dir)?;
    directory::check(host, &data_dir)?;
    let current = configuration::load(host, &data_dir, &options.settings, log)?;
    if let Some(refusal) = refusal_of_values(&current.settings) {
        return Err(refusal);
    }
    let config = current.config.clone();
    rewind::check_begun(options, &data_dir, &config)?;
    let control = ControlFile::load(host.disk.as_ref(), &data_dir)
        .map_err(|error| ServerError::new(error.to_string()))?;
    directory::check_format(host, &data_dir, &control)?;
    let node = Arc::new(Node::new(options, data_dir.clone(), log.clone(), current, carried.archiving));
    *node.life.tries.lock() = carried.tries;
    *node.life.member.lock() = carried.member;
    log.log(format!(
        "starting Plimsoll {} (formats of PostgreSQL 15) on {}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH
    ));
    let lines = listen::pid_lines(&config, &data_dir, node.started.unix_seconds());
    let pid_file = match carried.pid_file {
        Some(own) => own.begin_again(&data_dir, &lines)?,
        None => PidFile::create(host, &data_dir, &lines)?,
    };
    take_promote_file(&node.ground);
    handover::resume(&node, &control)?;
    let listeners = listen::open(host, log, &config, &data_dir, &lines)?;
    if listeners.is_empty() && !options.sockets_optional {
        return Err(ServerError::new("no socket created for listening")
            .with_hint("Set listen_addresses or unix_socket_directories."));
    }
    node.life.set_pid_file(pid_file);
    lock_files::write_opts(host, &data_dir)
        .map_err(|error| ServerError::new(format!("could not write postmaster.opts: {error}")))?;
    let sockets = Sockets::of(&listeners);
    take_connections::<S>(&node, listeners);
    if let Some(signals) = signals {
        let listening = signals.listen(node.clone(), node.tasks.background.clone());
        node.tasks.tracker.spawn(task(vital_task("the task that hears signals", listening)));
    }
    begun(&node);
    directory::log_last_state(&node.ground, &control);
    let opened = match open::open_unless_stopped(&node, &control).await {
        Ok(opened) => opened,
        Err(error) => {
            stop::abort(&node).await;
            return Err(error);
        }
    };
    let supervisor = tokio::spawn(task(supervise::<S>(node.clone(), opened)));
    Ok(Started { node, sockets, supervisor })
}

/// Runs a node whose database is open, if a stop was not asked for before; returns when it has ended.
async fn supervise<S: Services>(node: Arc<Node>, opened: Option<Opened>) -> Result<Ending, ServerError> {
    let done = match opened {
        Some(opened) => vital_task("the supervisor", run::run::<S>(node.clone(), opened)).await,
        None => {
            stop::abort(&node).await;
            if *node.life.stops().borrow() < Some(StopMode::Immediate) {
                end_left(&node.ground.host, &node.ground.data_dir, &node.ground.log, &node.archive.left)
                    .await;
            }
            node.ground.log.log("database system is shut down");
            Ok(Ending::Stopped)
        }
    };
    // Only now is the directory free for another server.
    let pid_file = node.life.release_directory();
    done.map(|ending| ending.with(pid_file))
}

fn signals_of(options: &ServerOptions, carried: Option<Signals>) -> Result<Option<Signals>, ServerError> {
    let signals = match carried {
        Some(signals) => Ok(Some(signals)),
        None => options.signals.then(Signals::new).transpose(),
    };
    signals.map_err(|error| ServerError::new(format!("could not listen for signals: {error}")))
}

fn take_connections<S: Services>(node: &Arc<Node>, listeners: Vec<Listener>) {
    let entrance = Arc::new(node.entrance());
    for listener in listeners {
        let serving = node.clone();
        let serve = move |socket, visitor| S::serve(serving.clone(), socket, visitor);
        let accepting = listen::accept(entrance.clone(), listener, serve);
        node.tasks.tracker.spawn(task(vital_task("the task that takes connections", accepting)));
    }
}
