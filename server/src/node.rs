//! What all parts of a running node share.

use crate::archive::archiver::Archiver;
use crate::archive::command::Commands;
use crate::archive::restore::Restorer;
use crate::auth::hba::Hba;
use crate::checks::{self, load_hba};
use crate::files::{PidFile, SettingFiles, Status};
use crate::log::Log;
use crate::replicas::Replicas;
use crate::semi_sync::{self, SemiSync};
use crate::sessions::Sessions;
use crate::standby::Recovery;
use crate::{ServerError, StopMode, fencing};
use host::{Host, MemoryLimit, Timestamp};
use parking_lot::{Mutex, RwLock};
use protocol::{Report, SqlState};
use settings::{Config, FileContents, Phase as FilesPhase, Settings, Source};
use sql::SqlEngine;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use storage::Database;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How far the node's life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Opening the database, recovering from a crash.
    Starting,
    /// A standby whose data are not consistent yet.
    Recovering,
    /// A standby that serves reads.
    HotStandby,
    /// A primary.
    Running,
    /// Stopping; no more sessions.
    Stopping(StopMode),
}

/// The settings in force and what was read with them.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) settings: Arc<Settings>,
    pub(crate) config: Arc<Config>,
    pub(crate) hba: Arc<Hba>,
    pub(crate) loaded: Timestamp,
}

/// What all parts of a running node share.
pub(crate) struct Node {
    pub(crate) host: Host,
    pub(crate) data_dir: PathBuf,
    pub(crate) log: Arc<Log>,
    pub(crate) started: Timestamp,
    pub(crate) sessions: Arc<Sessions>,
    /// What sessions may take.
    pub(crate) memory: Arc<MemoryLimit>,
    /// Numbers that the server's own parts show: startup, checkpointer, background writer, WAL writer.
    pub(crate) part_pids: [i32; 4],
    /// Checkpoints that the log's growth set off.
    pub(crate) checkpoints_by_log: AtomicU64,
    /// Slots invalidated since the start.
    pub(crate) slots_lost: AtomicU64,
    /// Keeps mock verifiers of unknown roles stable.
    pub(crate) secret: [u8; 32],
    pub(crate) pid_file: Mutex<Option<PidFile>>,
    pub(crate) semi_sync: SemiSync,
    current: RwLock<Current>,
    /// Counts reloads, so that sessions see cheaply that there was one.
    generation: AtomicU64,
    reloads: watch::Sender<u64>,
    phase: watch::Sender<Phase>,
    engine: OnceLock<SqlEngine>,
    replicas: OnceLock<Replicas>,
    /// Serialises reloads and ALTER SYSTEM.
    files: Mutex<()>,
    stop: watch::Sender<Option<StopMode>>,
    promote: watch::Sender<bool>,
    recovery: RwLock<Option<Arc<Recovery>>>,
    /// What of a fence is still to be done.
    pub(crate) fence: fencing::Pending,
    /// What had been received when recovery ended.
    last_received: AtomicU64,
    archiver: OnceLock<Arc<Archiver>>,
    restorer: OnceLock<Arc<Restorer>>,
    /// Ends the commands that recovery waits for (restore_command and its kin) when the node stops.
    pub(crate) commands: CancellationToken,
    /// Runs the shell commands of the settings and owns them.
    pub(crate) children: Arc<Commands>,
    /// Ends the opening of the database.
    pub(crate) end_opening: Arc<AtomicBool>,
}

impl Node {
    pub(crate) fn new(host: Host, data_dir: PathBuf, log: Arc<Log>, current: Current) -> Self {
        let mut secret = [0; 32];
        host.entropy.fill(&mut secret);
        let sessions = Arc::new(Sessions::new(&host));
        let part_pids = [(); 4].map(|()| sessions.allocate_pid());
        Self {
            started: host.clock.now(),
            sessions,
            memory: Arc::default(),
            part_pids,
            checkpoints_by_log: AtomicU64::new(0),
            slots_lost: AtomicU64::new(0),
            host,
            data_dir,
            log,
            secret,
            pid_file: Mutex::new(None),
            semi_sync: SemiSync::default(),
            current: RwLock::new(current),
            generation: AtomicU64::new(0),
            reloads: watch::Sender::new(0),
            phase: watch::Sender::new(Phase::Starting),
            engine: OnceLock::new(),
            replicas: OnceLock::new(),
            files: Mutex::new(()),
            stop: watch::Sender::new(None),
            promote: watch::Sender::new(false),
            recovery: RwLock::new(None),
            fence: fencing::Pending::default(),
            last_received: AtomicU64::new(0),
            archiver: OnceLock::new(),
            restorer: OnceLock::new(),
            commands: CancellationToken::new(),
            children: Arc::default(),
            end_opening: Arc::default(),
        }
    }

    // --- settings ---

    pub(crate) fn current(&self) -> Current {
        self.current.read().clone()
    }
    pub(crate) fn config(&self) -> Arc<Config> {
        self.current.read().config.clone()
    }
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.current.read().settings.clone()
    }
    /// Moves with every reload.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
    /// Changes with every reload.
    pub(crate) fn reloads(&self) -> watch::Receiver<u64> {
        self.reloads.subscribe()
    }

    fn replace_settings(&self, change: impl FnOnce(&mut Current)) {
        change(&mut self.current.write());
        let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        self.reloads.send_replace(generation);
    }

    /// Sets what the server has found out.
    pub(crate) fn set_computed(&self, values: &[(&str, &str)]) {
        let mut settings = Settings::clone(&self.settings());
        for (name, value) in values {
            if let Err(error) = settings.set_computed(name, value) {
                self.log.warning(error.one_line());
            }
        }
        let config = Arc::new(settings.config());
        self.replace_settings(|current| {
            current.settings = Arc::new(settings);
            current.config = config;
        });
    }

    /// Reads the files again (SIGHUP, pg_reload_conf()).
    pub(crate) fn reload(&self) {
        let _files = self.files.lock();
        self.log.log("received SIGHUP, reloading configuration files");
        let mut settings = Settings::clone(&self.settings());
        let files = read_files(&self.host, &self.data_dir, &settings);
        let mut next = settings.clone();
        next.apply_files(&files, FilesPhase::Start);
        let applied = settings.apply_files(&files, FilesPhase::Reload);
        for problem in &applied.problems {
            self.log.log(problem.to_string());
        }
        if let Some(refusal) = checks::refusal(&self.host, &self.data_dir, &next) {
            let detail = Some("A server does not start with these settings.".to_owned());
            let report = Report::warning(SqlState::WARNING, refusal.message);
            self.log.write(None, &Report { detail, hint: refusal.hint, ..report }, None);
        }
        for name in &applied.changed {
            let value = settings.show(name).unwrap_or_default();
            self.log.log(format!("parameter \"{name}\" changed to \"{value}\""));
        }
        if applied.nothing_applied || !applied.problems.is_empty() {
            let file = self.data_dir.join("postgresql.conf");
            let what = if applied.nothing_applied {
                "no changes were applied"
            } else {
                "unaffected changes were applied"
            };
            self.log.log(format!("configuration file \"{}\" contains errors; {what}", file.display()));
        }
        let hba = match load_hba(&self.host, &self.data_dir, &settings) {
            Ok(hba) => Some(Arc::new(hba)),
            Err(errors) => {
                errors.iter().for_each(|error| self.log.log(error.to_string()));
                self.log.log("pg_hba.conf was not reloaded");
                None
            }
        };
        self.log.configure(&settings);
        let config = Arc::new(settings.config());
        let now = self.host.clock.now();
        self.replace_settings(|current| {
            current.settings = Arc::new(settings);
            current.config = config;
            current.loaded = now;
            if let Some(hba) = hba {
                current.hba = hba;
            }
        });
        if let Some(replicas) = self.replicas() {
            replicas.reload(self);
        }
        semi_sync::apply_settings(self);
        if let Some(recovery) = self.recovery()
            && let Err(error) = recovery.apply_settings(self)
        {
            self.log.warning(error.message);
        }
        if let Some(database) = self.database() {
            let config = self.config();
            database.set_full_page_writes(config.full_page_writes);
            database.set_wal_sizes(crate::server::wal_sizes(&config));
        }
    }

    /// Changes postgresql.auto.conf, durably.
    pub(crate) fn alter_system(&self, change: settings::AutoChange<'_>) -> Result<(), AlterSystemError> {
        let _files = self.files.lock();
        let path = self.data_dir.join("postgresql.auto.conf");
        let text = match self.host.disk.read(&path, 16 << 20) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(AlterSystemError::Io(path, error)),
        };
        let before = String::from_utf8_lossy(&text);
        let text =
            settings::alter_system(&self.settings(), &before, change).map_err(AlterSystemError::Setting)?;
        // A directory that would not start anyway is not this change's fault, which may mend it.
        if let Some(refusal) = self.refusal_of_start(&text)
            && self.refusal_of_start(&before).is_none()
        {
            return Err(AlterSystemError::Refused(refusal));
        }
        host::write_file_durably(self.host.disk.as_ref(), &path, text.as_bytes())
            .map_err(|error| AlterSystemError::Io(path, error))
    }

    /// Why the next start would be refused with this text in postgresql.auto.conf.
    fn refusal_of_start(&self, auto: &str) -> Option<ServerError> {
        let mut settings = Settings::clone(&self.settings());
        let auto = FileContents::from_text(auto, &self.data_dir.join("postgresql.auto.conf"));
        let files = read_files_with(&self.host, &self.data_dir, &settings, Some(auto));
        settings.apply_files(&files, FilesPhase::Start);
        checks::refusal(&self.host, &self.data_dir, &settings)
    }

    // --- the database ---

    pub(crate) fn set_engine(&self, engine: SqlEngine) {
        // Set once, before any session can ask for it.
        let _ = self.engine.set(engine);
    }
    pub(crate) fn engine(&self) -> Option<&SqlEngine> {
        self.engine.get()
    }
    pub(crate) fn database(&self) -> Option<&Database> {
        self.engine.get().map(SqlEngine::database)
    }

    pub(crate) fn set_replicas(&self, replicas: Replicas) {
        // Set once, before any session can ask for it.
        let _ = self.replicas.set(replicas);
    }
    pub(crate) fn replicas(&self) -> Option<&Replicas> {
        self.replicas.get()
    }

    pub(crate) fn set_archiver(&self, archiver: Arc<Archiver>) {
        // Set once, before anything is archived.
        let _ = self.archiver.set(archiver);
    }
    pub(crate) fn set_restorer(&self, restorer: Arc<Restorer>) {
        // Set once, before recovery begins.
        let _ = self.restorer.set(restorer);
    }
    pub(crate) fn restorer(&self) -> Option<&Arc<Restorer>> {
        self.restorer.get()
    }
    pub(crate) fn archiver(&self) -> Option<&Arc<Archiver>> {
        self.archiver.get()
    }
    /// Something new waits for the archive.
    pub(crate) fn archiver_woken(&self) {
        if let Some(archiver) = self.archiver() {
            archiver.wake();
        }
    }
    /// Marks the segments that are complete by now, for those who want to see the marks at once. Does I/O.
    pub(crate) fn notice_segments(&self) {
        if let (Some(archiver), Some(replicas)) = (self.archiver(), self.replicas()) {
            archiver.notice(&replicas.log.state());
        }
    }

    // --- life ---

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }
    pub(crate) fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }
    /// Moves on; a stop is never taken back.
    pub(crate) fn set_phase(&self, phase: Phase) {
        // Before others hear of the phase, so that what they read then fits it.
        match phase {
            Phase::Recovering | Phase::HotStandby => self.set_computed(&[("in_hot_standby", "on")]),
            Phase::Running => self.set_computed(&[("in_hot_standby", "off")]),
            Phase::Starting | Phase::Stopping(_) => {}
        }
        let moved = self.phase.send_if_modified(|now| {
            let stopping = matches!(now, Phase::Stopping(_)) && !matches!(phase, Phase::Stopping(_));
            let moves = *now != phase && !stopping;
            if moves {
                *now = phase;
            }
            moves
        });
        if !moved {
            return;
        }
        let status = match phase {
            Phase::Starting => Status::Starting,
            // As PostgreSQL: who waits for the start waits for reads, if there will be any.
            Phase::Recovering if self.config().hot_standby => Status::Starting,
            Phase::Recovering => Status::Standby,
            Phase::HotStandby | Phase::Running => Status::Ready,
            Phase::Stopping(_) => Status::Stopping,
        };
        if let Some(Err(error)) = self.pid_file.lock().as_ref().map(|file| file.set_status(status)) {
            self.log.warning(format!("could not write to postmaster.pid: {error}"));
        }
    }

    /// Asks for a stop; a stronger mode replaces a weaker one.
    pub(crate) fn request_stop(&self, mode: StopMode) {
        self.stop.send_if_modified(|now| {
            let stronger = now.is_none_or(|now| now < mode);
            if stronger {
                *now = Some(mode);
            }
            stronger
        });
    }
    pub(crate) fn stops(&self) -> watch::Receiver<Option<StopMode>> {
        self.stop.subscribe()
    }

    /// Why this node takes no writes any more.
    pub(crate) fn fenced(&self) -> Option<Arc<str>> {
        self.database().and_then(Database::fenced)
    }

    /// What feeds redo, while the node is in recovery.
    pub(crate) fn recovery(&self) -> Option<Arc<Recovery>> {
        self.recovery.read().clone()
    }
    pub(crate) fn set_recovery(&self, recovery: Option<Arc<Recovery>>) {
        *self.recovery.write() = recovery;
    }

    /// Recovery is over: nothing feeds redo any more.
    pub(crate) fn leave_recovery(&self) {
        self.last_received.store(self.received().get(), Ordering::Release);
        self.set_recovery(None);
    }
    /// The end of the log that was received and flushed from a primary; INVALID if none ever was.
    pub(crate) fn received(&self) -> wal::Lsn {
        match self.recovery() {
            Some(recovery) => recovery.received(),
            None => wal::Lsn::new(self.last_received.load(Ordering::Acquire)),
        }
    }

    /// Asks a standby to become a primary. An error if nothing may make this one a primary, which the log is told too.
    pub(crate) fn request_promotion(&self) -> Result<(), ServerError> {
        let barred = fencing::check_promotion(self);
        match &barred {
            Ok(()) => {
                self.promote.send_replace(true);
            }
            Err(error) => self.log.warning(format!("promotion is refused: {}", error.message)),
        }
        barred
    }
    pub(crate) fn promotions(&self) -> watch::Receiver<bool> {
        self.promote.subscribe()
    }
}

/// Why ALTER SYSTEM failed.
#[derive(Debug)]
pub(crate) enum AlterSystemError {
    Setting(settings::SettingError),
    /// The server would not start again.
    Refused(ServerError),
    Io(PathBuf, std::io::Error),
}

/// All that the files say, postgresql.auto.conf last.
fn read_files(host: &Host, data_dir: &Path, settings: &Settings) -> FileContents {
    let auto = data_dir.join("postgresql.auto.conf");
    let own = host.disk.exists(&auto).unwrap_or(false);
    read_files_with(
        host,
        data_dir,
        settings,
        own.then(|| FileContents::read(&SettingFiles(host.disk.as_ref()), &auto)),
    )
}

/// The same with these contents of postgresql.auto.conf.
fn read_files_with(
    host: &Host,
    data_dir: &Path,
    settings: &Settings,
    auto: Option<FileContents>,
) -> FileContents {
    let configured = settings.show("config_file").unwrap_or_default();
    let main = if configured.is_empty() {
        data_dir.join("postgresql.conf")
    } else {
        settings::resolve(data_dir, &configured)
    };
    let mut contents = FileContents::read(&SettingFiles(host.disk.as_ref()), &main);
    if let Some(auto) = auto {
        contents.append(auto);
    }
    contents
}

/// Reads everything that stands before a start: the command line, the files, pg_hba.conf.
pub(crate) fn load(
    host: &Host,
    data_dir: &Path,
    command_line: &[(String, String)],
    log: &Log,
) -> Result<Current, ServerError> {
    let mut settings = checks::new_settings();
    for (name, value) in command_line {
        settings
            .set(name, value, Source::CommandLine)
            .map_err(|error| ServerError { message: error.to_string(), hint: error.hint() })?;
    }
    let applied = settings.apply_files(&read_files(host, data_dir, &settings), FilesPhase::Start);
    log.configure(&settings);
    if let Some(first) = applied.problems.first() {
        applied.problems.iter().for_each(|problem| log.log(problem.to_string()));
        let file = first.place.file.display();
        return Err(ServerError::new(format!("configuration file \"{file}\" contains errors: {first}")));
    }
    for (name, value) in [
        ("data_directory", data_dir.display().to_string()),
        ("config_file", data_dir.join("postgresql.conf").display().to_string()),
        ("hba_file", data_dir.join("pg_hba.conf").display().to_string()),
        ("ident_file", data_dir.join("pg_ident.conf").display().to_string()),
        ("server_version", format!("{} (Plimsoll {})", crate::POSTGRESQL_RELEASE, env!("CARGO_PKG_VERSION"))),
    ] {
        if settings.show(name).is_ok_and(|now| now.is_empty() || name == "server_version") {
            settings.set_computed(name, &value).map_err(|error| ServerError::new(error.one_line()))?;
        }
    }
    let hba = load_hba(host, data_dir, &settings).map_err(|errors| {
        errors.iter().for_each(|error| log.log(error.to_string()));
        checks::hba_refusal(&errors)
    })?;
    let config = Arc::new(settings.config());
    let loaded = host.clock.now();
    Ok(Current { settings: Arc::new(settings), config, hba: Arc::new(hba), loaded })
}
