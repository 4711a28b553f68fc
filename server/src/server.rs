//! A node's life: start, recovery, service, promotion, stop.

use crate::archive::Signal;
use crate::archive::archiver::Archiver;
use crate::background;
use crate::files::{self, PidFile};
use crate::ledger::{self, LedgerEntry};
use crate::listen::{self, Listener};
use crate::lobby::Lobby;
use crate::log::{Log, format_time};
use crate::node::{self, Node, Phase};
use crate::replicas::Replicas;
use crate::sessions::SessionKind;
use crate::signals::Signals;
use crate::standby::Standby;
use crate::{Server, ServerError, ServerOptions, StopMode, archive, fencing, metrics};
use host::{Timestamp, vital_task};
use parking_lot::Mutex;
use protocol::{Report, Severity, SqlState};
use replica::driver::LogPlace;
use replica::slots::Slots;
use sql::SqlEngine;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::{
    Database, DatabaseOptions, ImageCompression, Opened, ProgressFn, RecoveryReport, RecoveryTarget, RedoEnd,
    ServerParameters, StartMode, WalSizes,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wal::backup_label::BACKUP_LABEL_FILE;
use wal::control::{ClusterState, ControlFile};
use wal::format::{FORMAT_SETTING, FORMATS};
use wal::history::TimelineHistory;
use wal::{Live, Lsn, NodeLog, Stopping};

/// Threads for what the engine itself does besides its tasks: reading pages, flushing, sweeping.
const ENGINE_THREADS: usize = 512;

/// The tasks of a node and what ends them.
pub(crate) struct Tasks {
    /// Ends the background tasks.
    pub(crate) background: CancellationToken,
    /// All background tasks.
    pub(crate) tracker: TaskTracker,
    /// Ends the tasks that write to the database, which a stop does before its checkpoint.
    pub(crate) writing: CancellationToken,
    /// Those tasks.
    pub(crate) writers: TaskTracker,
    /// Sessions, ended by their handles, or at once.
    pub(crate) sessions: TaskTracker,
    /// Connections that have not logged in.
    pub(crate) lobby: Arc<Lobby>,
    pub(crate) abort_sessions: CancellationToken,
}

impl Server {
    /// Starts a server on a data directory, and returns when it takes connections; a standby that is not consistent yet
    /// returns while it recovers ([`Server::wait_ready`] waits on).
    pub async fn start(options: ServerOptions) -> Result<Self, ServerError> {
        let log = Arc::new(Log::new(options.log.clone(), options.host.clock.clone()));
        match Self::start_logged(&options, &log).await {
            Ok(server) => Ok(server),
            Err(error) => {
                let report = Report {
                    hint: error.hint.clone(),
                    ..Report::fatal(SqlState::INTERNAL_ERROR, error.message.clone())
                };
                log.write(None, &report, None);
                Err(error)
            }
        }
    }

    async fn start_logged(options: &ServerOptions, log: &Arc<Log>) -> Result<Self, ServerError> {
        let host = &options.host;
        // Before postmaster.pid tells anybody whom to signal.
        let signals = options.signals.then(Signals::new).transpose();
        let signals =
            signals.map_err(|error| ServerError::new(format!("could not listen for signals: {error}")))?;
        let data_dir = absolute(&options.data_dir)?;
        check_data_dir(host, &data_dir)?;
        let current = node::load(host, &data_dir, &options.settings, log)?;
        let config = current.config.clone();
        let control = ControlFile::load(host.disk.as_ref(), &data_dir)
            .map_err(|error| ServerError::new(error.to_string()))?;
        check_format(host, &data_dir, &control)?;
        let node = Arc::new(Node::new(host.clone(), data_dir.clone(), log.clone(), current));
        log.log(format!(
            "starting Plimsoll {} (formats of PostgreSQL 15) on {}",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::ARCH
        ));
        let lines = listen::pid_lines(&config, &data_dir, node.started.unix_seconds());
        let pid_file = PidFile::create(host, &data_dir, &lines)?;
        let listeners = listen::open(host, log, &config, &data_dir, &lines)?;
        if listeners.is_empty() && !options.sockets_optional {
            return Err(ServerError::new("no socket created for listening")
                .with_hint("Set listen_addresses or unix_socket_directories."));
        }
        *node.pid_file.lock() = Some(pid_file);
        files::write_opts(host, &data_dir)
            .map_err(|error| ServerError::new(format!("could not write postmaster.opts: {error}")))?;

        let tasks = Arc::new(Tasks {
            background: CancellationToken::new(),
            tracker: TaskTracker::new(),
            writing: CancellationToken::new(),
            writers: TaskTracker::new(),
            sessions: TaskTracker::new(),
            lobby: Lobby::new(lobby_places(&config)),
            abort_sessions: CancellationToken::new(),
        });
        let sockets = Sockets::of(&listeners);
        for listener in listeners {
            let accepting = listen::accept(node.clone(), tasks.clone(), listener);
            tasks.tracker.spawn(vital_task("the task that takes connections", accepting));
        }
        if let Some(signals) = signals {
            let listening = signals.listen(node.clone(), tasks.background.clone());
            tasks.tracker.spawn(vital_task("the task that hears signals", listening));
        }
        log_last_state(&node, &control);
        let opened = open_unless_stopped(&node, &control).await;
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                abort(&node, &tasks).await;
                return Err(error);
            }
        };
        let (owner, running) = (node.clone(), tasks.clone());
        let supervisor = tokio::spawn(async move {
            let done = match opened {
                Some(opened) => vital_task("the supervisor", supervise(owner.clone(), running, opened)).await,
                None => {
                    abort(&owner, &running).await;
                    owner.log.log("database system is shut down");
                    Ok(())
                }
            };
            // Only now is the directory free for another server.
            drop(owner.pid_file.lock().take());
            done
        });
        let server = Self { node, sockets, supervisor };
        server.wait_started().await;
        Ok(server)
    }

    /// Waits until connections are taken, or the server stops.
    pub async fn wait_ready(&self) {
        let mut phases = self.node.phases();
        // The sender lives as long as the node.
        let _ = phases
            .wait_for(|phase| matches!(phase, Phase::Running | Phase::HotStandby | Phase::Stopping(_)))
            .await;
    }

    async fn wait_started(&self) {
        let mut phases = self.node.phases();
        let _ = phases.wait_for(|phase| *phase != Phase::Starting).await;
    }

    /// Asks for a stop; [`Server::join`] waits for it.
    pub fn stop(&self, mode: StopMode) {
        self.node.request_stop(mode);
    }

    /// Reads the configuration files again.
    pub fn reload(&self) {
        self.node.reload();
    }

    /// Asks a standby to become a primary. An error if this one is fenced.
    pub fn promote(&self) -> Result<(), ServerError> {
        self.node.request_promotion()
    }

    /// Waits until it has stopped. An error if it failed.
    pub async fn join(self) -> Result<(), ServerError> {
        match self.supervisor.await {
            Ok(done) => done,
            Err(error) => Err(ServerError::new(format!("the server's main task failed: {error}"))),
        }
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
pub fn run(options: ServerOptions) -> Result<(), ServerError> {
    let (threads, sessions) = threads(&options);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if threads > 0 {
        builder.worker_threads(threads);
    }
    let runtime = builder
        // Besides what the engine does there itself, each session may compute on a thread of its own.
        .max_blocking_threads(ENGINE_THREADS.saturating_add(sessions))
        .enable_all()
        .thread_name("plimsoll")
        .build()
        .map_err(|error| ServerError::new(format!("could not start the runtime: {error}")))?;
    let ended = runtime.block_on(async { Server::start(options).await?.join().await });
    // What still computes then has nobody to answer to.
    runtime.shutdown_timeout(LEFTOVERS_LIMIT);
    ended
}

/// One setting as SHOW prints it, from the files and the command line, without starting a server (postgres -C).
pub fn setting_of(options: &ServerOptions, name: &str) -> Result<String, ServerError> {
    let silent = Log::new(Arc::new(|_| {}), options.host.clock.clone());
    let current = node::load(&options.host, &options.data_dir, &options.settings, &silent)?;
    current.settings.show(name).map_err(|error| ServerError::new(error.one_line()))
}

/// What a server with these options, in recovery, would go to: this target instead of the one that its files name.
pub fn recovery_target_of(
    options: &ServerOptions,
    (name, value): (&str, &str),
    inclusive: bool,
) -> Result<Option<RecoveryTarget>, ServerError> {
    let mut options = options.clone();
    let others = archive::target::POINTS.iter().filter(|other| **other != name);
    options.settings.extend(others.map(|other| ((*other).to_owned(), String::new())));
    let inclusive = if inclusive { "on" } else { "off" };
    options = options.with(name, value).with("recovery_target_inclusive", inclusive);
    let silent = Log::new(Arc::new(|_| {}), options.host.clock.clone());
    let current = node::load(&options.host, &options.data_dir, &options.settings, &silent)?;
    archive::target::of_settings(&current.settings)
}

/// Before anything is logged: plimsoll.worker_threads (0 is one a processor), and how many sessions there may be.
fn threads(options: &ServerOptions) -> (usize, usize) {
    let silent = Log::new(Arc::new(|_| {}), options.host.clock.clone());
    // What is wrong with the settings, the start says.
    let Ok(current) = node::load(&options.host, &options.data_dir, &options.settings, &silent) else {
        return (0, 0);
    };
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let config = &current.config;
    (number(config.worker_threads), number(config.max_connections.saturating_add(config.max_wal_senders)))
}

/// Where a server can be reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sockets {
    unix: Option<(PathBuf, u16)>,
    tcp: Option<std::net::SocketAddr>,
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

fn absolute(dir: &Path) -> Result<PathBuf, ServerError> {
    std::path::absolute(dir)
        .map_err(|error| ServerError::new(format!("invalid data directory \"{}\": {error}", dir.display())))
}

fn check_data_dir(host: &host::Host, dir: &Path) -> Result<(), ServerError> {
    let found = match host.disk.metadata(dir) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ServerError::new(format!("data directory \"{}\" does not exist", dir.display()))
                .with_hint("Create it with: plimsoll init -D DIR"));
        }
        Err(error) => {
            let what = format!("could not read permissions of directory \"{}\": {error}", dir.display());
            return Err(ServerError::new(what));
        }
    };
    if found.kind != host::FileKind::Directory {
        let what = format!("specified data directory \"{}\" is not a directory", dir.display());
        return Err(ServerError::new(what));
    }
    if found.permissions & 0o027 != 0 {
        return Err(ServerError::new(format!(
            "data directory \"{}\" has invalid permissions",
            dir.display()
        ))
        .with_hint("Permissions should be u=rwx (0700) or u=rwx,g=rx (0750)."));
    }
    let version = host.disk.read(&dir.join("PG_VERSION"), 64).map_err(|error| {
        ServerError::new(format!("\"{}\" is not a valid data directory", dir.display())).with_hint(format!(
            "File \"{}/PG_VERSION\": {error}. You might need plimsoll init.",
            dir.display()
        ))
    })?;
    let version = String::from_utf8_lossy(&version).trim().to_owned();
    if version != "15" {
        return Err(ServerError::new("database files are incompatible with server").with_hint(format!(
            "The data directory was initialized by version {version}; this server keeps the formats of PostgreSQL 15."
        )));
    }
    Ok(())
}

/// Which signal files are there: standby.signal outweighs recovery.signal.
fn signal_file(node: &Node) -> Result<Option<Signal>, ServerError> {
    Ok(if has_file(node, "standby.signal")? {
        Some(Signal::Standby)
    } else if has_file(node, "recovery.signal")? {
        Some(Signal::Recovery)
    } else {
        None
    })
}

fn has_file(node: &Node, name: &str) -> Result<bool, ServerError> {
    let found = node.host.disk.exists(&node.data_dir.join(name));
    found.map_err(|error| ServerError::new(format!("could not stat file \"{name}\": {error}")))
}

fn time(node: &Node, seconds: i64) -> String {
    let zone = node.settings().show("log_timezone").unwrap_or_default();
    let zone = crate::checks::zone(&zone);
    let at = Timestamp::from_unix_micros(seconds.saturating_mul(1_000_000));
    format_time(at, &zone, "%Y-%m-%d %H:%M:%S %Z")
}

/// Refuses a directory of a format that this program does not read, before anything in it changes. What is of a real
/// PostgreSQL has no such number: opening it says so.
fn check_format(host: &host::Host, dir: &Path, control: &ControlFile) -> Result<(), ServerError> {
    match FORMATS.check_directory(host.disk.as_ref(), dir) {
        Err(error) if control.is_ours() => Err(ServerError::new(error.to_string()).with_hint(error.hint())),
        _ => Ok(()),
    }
}

/// What the control file says of the last life.
fn log_last_state(node: &Node, control: &ControlFile) {
    let at = time(node, control.time);
    node.log.log(match control.state {
        ClusterState::ShutDown => format!("database system was shut down at {at}"),
        ClusterState::ShutDownInRecovery => format!("database system was shut down in recovery at {at}"),
        ClusterState::ShuttingDown => {
            format!("database system shutdown was interrupted; last known up at {at}")
        }
        ClusterState::InCrashRecovery => format!("database system was interrupted while in recovery at {at}"),
        ClusterState::InArchiveRecovery => {
            format!("database system was interrupted while in recovery at log time {at}")
        }
        _ => format!("database system was interrupted; last known up at {at}"),
    });
}

fn parameters(config: &settings::Config, settings: &settings::Settings) -> ServerParameters {
    let number = |name: &str| settings.show(name).ok().and_then(|text| text.parse().ok());
    let on = |name: &str| settings.value(name) == Some(settings::Value::Bool(true));
    let count = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
    ServerParameters {
        max_connections: count(config.max_connections),
        max_wal_senders: count(config.max_wal_senders),
        max_worker_processes: number("max_worker_processes").unwrap_or(8),
        max_prepared_transactions: number("max_prepared_transactions").unwrap_or(0),
        max_locks_per_transaction: number("max_locks_per_transaction").unwrap_or(64),
        wal_level: match config.wal_level.as_ref() {
            "minimal" => 0,
            "logical" => 2,
            _ => 1,
        },
        wal_log_hints: on("wal_log_hints"),
        track_commit_timestamp: on("track_commit_timestamp"),
    }
}

/// The options that the settings mean.
fn database_options(node: &Arc<Node>, control: &ControlFile) -> DatabaseOptions {
    let current = node.current();
    let config = &current.config;
    let bytes = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let segment = control.segment_size.bytes();
    // As in PostgreSQL: a 32nd of shared_buffers, no more than a segment, no less than 64 kB.
    let automatic = (config.shared_buffers_bytes / 32).min(segment).max(64 << 10);
    let session = settings::SessionSettings::new(current.settings.clone());
    DatabaseOptions {
        shared_buffers_bytes: bytes(config.shared_buffers_bytes).max(1 << 20),
        wal_buffers_bytes: bytes(config.wal_buffers_bytes.unwrap_or(automatic)),
        write_set_limit_bytes: bytes(session.config().write_set_limit_bytes),
        deadlock_timeout: session.config().deadlock_timeout,
        wal_writer_delay: config.wal_writer_delay,
        full_page_writes: config.full_page_writes,
        image_compression: match config.wal_compression.as_ref() {
            "lz4" | "on" | "pglz" => ImageCompression::Lz4,
            "zstd" => ImageCompression::Zstd,
            _ => ImageCompression::Off,
        },
        wal_init_zero: config.wal_init_zero,
        wal_sizes: wal_sizes(config),
        sync_required: replica::sync::SyncNames::are_given(&config.synchronous_standby_names),
        parameters: parameters(config, &current.settings),
        end_recovery: node.end_opening.clone(),
        fsync: config.fsync,
        checkpoints: Some(Arc::new({
            // Weak, since the node holds the database.
            let node = Arc::downgrade(node);
            move |event| {
                if let Some(node) = node.upgrade() {
                    background::log_checkpoint_event(&node, event);
                }
            }
        })),
        ..DatabaseOptions::new(&node.data_dir)
    }
}

/// How much log there is between checkpoints, and is kept for later.
pub(crate) fn wal_sizes(config: &settings::Config) -> WalSizes {
    WalSizes {
        min_bytes: config.min_wal_size_bytes,
        max_bytes: config.max_wal_size_bytes,
        completion_target: config.checkpoint_completion_target.clamp(0.0, 1.0),
        recycle: config.wal_recycle,
    }
}

/// Opens the database; crash recovery happens here.
async fn open(node: &Arc<Node>, control: &ControlFile) -> Result<Opened, ServerError> {
    let signal = signal_file(node)?;
    archive::check_settings(&node.settings())?;
    let mut options = database_options(node, control);
    node.set_computed(&[
        ("wal_segment_size", &control.segment_size.bytes().to_string()),
        ("data_checksums", if control.data_checksums { "on" } else { "off" }),
        (FORMAT_SETTING, &FORMATS.newest.to_string()),
    ]);
    let mode = match signal {
        None => {
            options.proven_flush = flushed_by_slots(node)?;
            StartMode::Primary
        }
        Some(signal) => {
            let (recovery, timeline) = archive::prepare(node, control, signal).await?;
            options.recovery = recovery;
            StartMode::Standby { timeline }
        }
    };
    if signal.is_none() && control.state != ClusterState::ShutDown && !has_file(node, BACKUP_LABEL_FILE)? {
        node.log.log("database system was not properly shut down; automatic recovery in progress");
    }
    options.before_cut = Some(record_cuts(node));
    options.progress = Some(log_progress(node, signal));
    let host = node.host.clone();
    let opened = tokio::task::spawn_blocking(move || Database::open(&host, options, mode)).await;
    let opened = opened.map_err(|error| ServerError::new(format!("recovery failed: {error}")))?;
    opened.map_err(|error| ServerError::new(error.to_string()))
}

/// Opens the database, or hears of a stop before that is done: None.
async fn open_unless_stopped(node: &Arc<Node>, control: &ControlFile) -> Result<Option<Opened>, ServerError> {
    let mut opening = std::pin::pin!(open(node, control));
    let mut stops = node.stops();
    let mode = tokio::select! {
        biased;
        opened = &mut opening => return opened.map(Some),
        mode = stop_of(&mut stops, StopMode::Smart) => mode,
    };
    node.log.log(format!("received {} shutdown request", mode_name(mode)));
    node.set_phase(Phase::Stopping(mode));
    node.commands.cancel();
    node.end_opening.store(true, Ordering::Release);
    match opening.await {
        // It was done at this very moment: a stop like any other.
        Ok(opened) => Ok(Some(opened)),
        Err(error) => {
            node.log.log(format!("the start was broken off: {}", error.message));
            Ok(None)
        }
    }
}

fn mode_name(mode: StopMode) -> &'static str {
    match mode {
        StopMode::Smart => "smart",
        StopMode::Fast => "fast",
        StopMode::Immediate => "immediate",
    }
}

/// How far standbys with slots have told that they hold this server's log: it was durable here before.
fn flushed_by_slots(node: &Arc<Node>) -> Result<Lsn, ServerError> {
    let slots = Slots::open(&node.host, &node.data_dir.join("pg_replslot"), usize::MAX);
    let slots = slots.map_err(|error| ServerError::new(error.to_string()))?;
    Ok(slots.list().iter().map(|slot| slot.restart).max().unwrap_or(Lsn::INVALID))
}

/// Has what recovery cuts from the log's end written to the ledger first.
fn record_cuts(node: &Arc<Node>) -> storage::BeforeCutFn {
    let (host, data_dir, log) = (node.host.clone(), node.data_dir.clone(), node.log.clone());
    let size = node.config().ledger_size_bytes;
    Arc::new(move |cut, why| {
        let reason = format!("{} bytes with {} whole records behind: {why}", cut.bytes(), cut.whole_records);
        let (at, event) = (host.clock.now(), "cut".to_owned());
        let entry = LedgerEntry { at, event, after: cut.from, upto: cut.upto, reason };
        ledger::append(&host, &data_dir, &log, size, &entry)
    })
}

/// Logs how redo goes, every log_startup_progress_interval; of a crash recovery its begin and end too. A standby that follows another
/// is never done: what it redoes is in the views.
fn log_progress(node: &Arc<Node>, signal: Option<Signal>) -> ProgressFn {
    // Weak, since the node holds the database.
    let node = Arc::downgrade(node);
    let logged = Mutex::new(Duration::ZERO);
    Arc::new(move |redo| {
        let Some(node) = node.upgrade() else { return };
        if signal == Some(Signal::Standby) && node.phase() != Phase::Starting {
            return;
        }
        let seconds = redo.elapsed.as_secs_f64();
        if redo.records == 0 && redo.ended.is_none() && signal.is_none() {
            node.log.log(format!("redo starts at {}", redo.from));
        }
        let interval = progress_interval(&node);
        let mut logged = logged.lock();
        if !interval.is_zero() && redo.elapsed >= *logged + interval {
            *logged = redo.elapsed;
            let at = redo.at;
            node.log.log(format!("redo in progress, elapsed time: {seconds:.2} s, current LSN: {at}"));
        }
        if let (Some(reason), None) = (redo.ended, signal) {
            node.log.log(reason.to_string());
            let (at, records) = (redo.at, redo.records);
            node.log
                .log(format!("redo done at {at} system usage: {records} records, elapsed: {seconds:.2} s"));
        }
    })
}

/// log_startup_progress_interval; 0 for never.
fn progress_interval(node: &Node) -> Duration {
    match node.settings().value("log_startup_progress_interval") {
        Some(settings::Value::Integer(ms)) => Duration::from_millis(u64::try_from(ms).unwrap_or(0)),
        _ => Duration::ZERO,
    }
}

fn log_recovery(node: &Node, recovery: &RecoveryReport) {
    if !recovery.needed {
        return;
    }
    if recovery.cut_bytes > 0 {
        node.log.log(format!(
            "cut {} bytes behind {}, which never became durable (recorded in plimsoll/ledger)",
            recovery.cut_bytes, recovery.to
        ));
    }
    if !recovery.aborted.is_empty() {
        node.log.log(format!("aborted {} transactions without an outcome", recovery.aborted.len()));
    }
}

/// As many connections may be about to log in as may have, and a few in any case.
fn lobby_places(config: &settings::Config) -> usize {
    let sessions = config.max_connections.saturating_add(config.max_wal_senders);
    usize::try_from(sessions).unwrap_or(usize::MAX).max(16)
}

/// Runs the node from its opened database to its stop.
async fn supervise(node: Arc<Node>, tasks: Arc<Tasks>, opened: Opened) -> Result<(), ServerError> {
    let assembled = assemble(&node, &tasks, opened).await;
    let (database, mut standby) = match assembled {
        Ok(assembled) => assembled,
        Err(error) => {
            node.log.fatal(error.message.clone());
            abort(&node, &tasks).await;
            return Err(error);
        }
    };
    archive::start(&node, &tasks);
    metrics::start(&node, &tasks).await;
    let mut failures = background::start(&node, &tasks, &database);
    let mut stops = node.stops();
    if standby.is_none() {
        serve_writes(&node);
        background::begin_timeline(&node, &tasks, &database);
    }
    loop {
        tokio::select! {
            biased;
            mode = stop_of(&mut stops, StopMode::Smart) => {
                return stop_node(&node, &tasks, &database, standby, mode).await;
            }
            failure = failures.recv() => {
                let what = failure.unwrap_or_else(|| "a background task ended".to_owned());
                let report = Report::new(Severity::Panic, SqlState::IO_ERROR, what.clone());
                node.log.write(None, &report, None);
                abort(&node, &tasks).await;
                return Err(ServerError::new(what));
            }
            ended = async {
                match standby.as_mut() {
                    Some(standby) => standby.ended().await,
                    None => std::future::pending().await,
                }
            } => {
                // Redo has ended: for a promotion, for a shutdown at its target, or badly.
                if let Some(running) = standby.take() {
                    if matches!(ended, Ok(RedoEnd::ShutDown { .. })) {
                        node.log.log("shutdown at recovery target");
                        running.leave().await;
                        node.request_stop(StopMode::Fast);
                        continue;
                    }
                    let finished = or_stopped(&node, running.finish(ended, &database)).await;
                    match finished {
                        Ok(()) => serve_writes(&node),
                        Err(error) if node.commands.is_cancelled() => {
                            node.log.log(format!("the promotion was broken off: {}", error.message));
                        }
                        Err(error) => {
                            let report = Report::fatal(SqlState::INTERNAL_ERROR, error.message.clone());
                            node.log.write(None, &report, None);
                            abort(&node, &tasks).await;
                            return Err(error);
                        }
                    }
                }
            }
        }
    }
}

/// Waits for the end of recovery, whose commands a stop meanwhile ends.
async fn or_stopped<T>(node: &Node, finish: impl Future<Output = T>) -> T {
    let mut finish = std::pin::pin!(finish);
    let mut stops = node.stops();
    tokio::select! {
        biased;
        done = &mut finish => return done,
        _ = stop_of(&mut stops, StopMode::Smart) => node.commands.cancel(),
    }
    finish.await
}

/// Puts SQL and replication on the opened database, and starts recovery on a standby.
async fn assemble(
    node: &Arc<Node>,
    tasks: &Arc<Tasks>,
    opened: Opened,
) -> Result<(Database, Option<Standby>), ServerError> {
    let (database, redo) = match opened {
        Opened::Primary { db, recovery } => {
            log_recovery(node, &recovery);
            (db, None)
        }
        Opened::Standby { db, redo } => (db, Some(redo)),
    };
    let segment_size = database.control().segment_size;
    let place = LogPlace::new(node.host.disk.clone(), &node.data_dir.join("pg_wal"), segment_size);
    node.set_archiver(Arc::new(Archiver::new(node, segment_size)));
    node.set_engine(SqlEngine::new(database.clone(), node.host.clone()));
    let Some(redo) = redo else {
        let history = TimelineHistory::load(place.disk.as_ref(), &place.pg_wal, database.timeline())
            .map_err(|error| ServerError::new(error.to_string()))?;
        let writer = database.wal().ok_or_else(|| ServerError::new("the log is not open"))?.clone();
        let log = NodeLog::new(history, Live::Primary(writer));
        node.set_replicas(Replicas::open(node, &database, log, place)?);
        fencing::apply_stored(node).map_err(|error| ServerError::new(error.to_string()))?;
        // A primary that was replaced while it was away must not acknowledge a single commit.
        fencing::look_around(node).await;
        return Ok((database, None));
    };
    let log = Standby::log(&redo);
    node.set_replicas(Replicas::open(node, &database, log.clone(), place.clone())?);
    let standby = Standby::start(node.clone(), tasks, database.clone(), redo, log, place)?;
    Ok((database, Some(standby)))
}

fn serve_writes(node: &Node) {
    node.set_phase(Phase::Running);
    node.log.log("database system is ready to accept connections");
}

/// How long an end of the process waits for what computes and does not hear of it, as PostgreSQL's SIGKILL_CHILDREN_AFTER_SECS.
const LEFTOVERS_LIMIT: Duration = Duration::from_secs(5);

/// Ends everything at once.
async fn abort(node: &Node, tasks: &Tasks) {
    node.set_phase(Phase::Stopping(StopMode::Immediate));
    node.sessions.close();
    node.commands.cancel();
    if let Some(recovery) = node.recovery() {
        // The runtime waits for redo's thread.
        recovery.feed.stop();
    }
    tasks.abort_sessions.cancel();
    tasks.background.cancel();
    // Redo's thread would hold the process.
    if let Some(recovery) = node.recovery() {
        recovery.halt();
    }
    tasks.sessions.close();
    tasks.tracker.close();
    node.children.finish().await;
    let ended = async {
        tasks.sessions.wait().await;
        stop_writers(tasks).await;
        tasks.tracker.wait().await;
    };
    if tokio::time::timeout(LEFTOVERS_LIMIT, ended).await.is_err() {
        node.log.log("the process ends in the middle of what does not hear of the stop");
    }
}

/// Waits for a stop of at least this mode.
async fn stop_of(stops: &mut watch::Receiver<Option<StopMode>>, at_least: StopMode) -> StopMode {
    // The sender lives as long as the node; without one there is nothing to stop for.
    match stops.wait_for(|mode| *mode >= Some(at_least)).await {
        Ok(mode) => mode.unwrap_or(at_least),
        Err(_) => StopMode::Immediate,
    }
}

async fn stop_node(
    node: &Arc<Node>,
    tasks: &Arc<Tasks>,
    database: &Database,
    standby: Option<Standby>,
    mode: StopMode,
) -> Result<(), ServerError> {
    let mut mode = mode;
    node.set_phase(Phase::Stopping(mode));
    node.sessions.close();
    let mut stops = node.stops();
    if mode == StopMode::Smart {
        node.log.log("received smart shutdown request");
        tokio::select! {
            () = node.sessions.wait_gone(SessionKind::Client) => {}
            stronger = stop_of(&mut stops, StopMode::Fast) => mode = stronger,
        }
    }
    if mode == StopMode::Fast {
        node.set_phase(Phase::Stopping(mode));
        node.log.log("received fast shutdown request");
        node.commands.cancel();
        node.log.log("aborting any active transactions");
        node.sessions.terminate_all(SessionKind::Client);
        tokio::select! {
            () = node.sessions.wait_gone(SessionKind::Client) => {}
            stronger = stop_of(&mut stops, StopMode::Immediate) => mode = stronger,
        }
    }
    if mode == StopMode::Immediate {
        node.log.log("received immediate shutdown request");
        node.sessions.list().iter().for_each(|session| session.terminate());
        abort(node, tasks).await;
        return Ok(());
    }
    tokio::select! {
        done = stop_cleanly(node, tasks, database, standby) => done,
        _ = stop_of(&mut stops, StopMode::Immediate) => {
            node.log.log("received immediate shutdown request");
            abort(node, tasks).await;
            Ok(())
        }
    }
}

async fn stop_writers(tasks: &Tasks) {
    tasks.writing.cancel();
    tasks.writers.close();
    tasks.writers.wait().await;
}

async fn stop_cleanly(
    node: &Arc<Node>,
    tasks: &Arc<Tasks>,
    database: &Database,
    standby: Option<Standby>,
) -> Result<(), ServerError> {
    node.log.log("shutting down");
    node.commands.cancel();
    if let Some(replicas) = node.replicas() {
        replicas.log.set_stopping(Stopping::Soon);
    }
    if let Some(standby) = standby {
        standby.stop().await;
    }
    stop_writers(tasks).await;
    archive::end_segment(node, database).await;
    let done = database.shutdown().await;
    // The standbys get the shutdown checkpoint before they are let go.
    if let Some(replicas) = node.replicas() {
        let end = replicas.log.state().flushed();
        replicas.log.set_stopping(Stopping::LogEnds(end));
    }
    node.sessions.terminate_idle_senders();
    node.sessions.wait_gone(SessionKind::WalSender).await;
    if let Some(archiver) = node.archiver() {
        node.notice_segments();
        archiver.finish().await;
    }
    node.children.finish().await;
    tasks.background.cancel();
    tasks.sessions.close();
    tasks.lobby.close();
    tasks.tracker.close();
    tasks.sessions.wait().await;
    tasks.tracker.wait().await;
    match done {
        Ok(_) => {
            node.log.log("database system is shut down");
            Ok(())
        }
        Err(error) => {
            node.log.fatal(format!("could not write the shutdown checkpoint: {error}"));
            Err(ServerError::new(error.to_string()))
        }
    }
}
