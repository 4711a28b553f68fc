//! The settings in force: read from the command line and the files, checked, changed by reloads and ALTER
//! SYSTEM.
//!
//! They are part of the [`Ground`] that every part of a node stands on, so each part asks here for its
//! settings.

pub(crate) mod checks;
mod files;
pub(crate) mod recovery_target;
pub(crate) mod storage_options;
mod tls;

pub(crate) use files::load;

use crate::auth::LoginRules;
use crate::error::ServerError;
use crate::log::Log;
use crate::log::redact::{HIDDEN, is_secret_name, without_secrets};
use crate::tasks::beside_others;
use checks::load_login;
use files::{read_files, read_files_with, tell_without_effect};
use host::sync::{Mutex, RwLock};
use host::{Host, Timestamp};
use protocol::tls::server::ServerTls;
use protocol::{Report, Severity, SqlState};
use settings::{Config, FileContents, FileEntry, Phase, Place, Settings};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// The settings in force and what was read with them.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) settings: Arc<Settings>,
    pub(crate) config: Arc<Config>,
    /// pg_hba.conf and pg_ident.conf.
    pub(crate) login: Arc<LoginRules>,
    /// What connections are encrypted with that ask for it; None with ssl off.
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) loaded: Timestamp,
}

/// An entry of a configuration file, and what became of it.
pub(crate) struct FileSetting {
    pub(crate) place: Place,
    /// Its place among all, from 1.
    pub(crate) number: usize,
    pub(crate) name: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) applied: bool,
    pub(crate) error: Option<String>,
}

/// What every part of a node stands on: its machine, its data directory, its log, and the settings in force.
pub(crate) struct Ground {
    pub(crate) host: Host,
    pub(crate) data_dir: PathBuf,
    pub(crate) log: Arc<Log>,
    current: RwLock<Current>,
    /// Counts reloads, so that sessions see cheaply that there was one.
    generation: AtomicU64,
    reloads: watch::Sender<u64>,
    /// Serialises reloads, ALTER SYSTEM and what the server finds out.
    files: Mutex<()>,
}

impl Ground {
    pub(crate) fn new(host: Host, data_dir: PathBuf, log: Arc<Log>, current: Current) -> Self {
        Self {
            host,
            data_dir,
            log,
            current: RwLock::new(current),
            generation: AtomicU64::new(0),
            reloads: watch::Sender::new(0),
            files: Mutex::new(()),
        }
    }

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
    #[inline]
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

    /// Sets what the server has found out. Not for what a reload applies, which it waits for.
    pub(crate) fn set_computed(&self, values: &[(&str, &str)]) {
        // A reload that has read the settings of before would put them back.
        let _files = self.files.lock();
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

    /// What the files say now, for pg_file_settings: nothing is changed.
    pub(crate) fn file_settings(&self) -> Vec<FileSetting> {
        let mut settings = Settings::clone(&self.settings());
        let files = read_files(&self.host, &self.data_dir, &settings);
        let applied = settings.apply_files(&files, Phase::Reload);
        let problem = |place: &Place| {
            applied
                .problems
                .iter()
                .find(|problem| problem.place == *place)
                .map(|problem| problem.message.clone())
        };
        let mut all: Vec<FileSetting> = Vec::new();
        for (at, entry) in files.entries.iter().enumerate() {
            let same = |other: &FileEntry| other.name.eq_ignore_ascii_case(&entry.name);
            let is_last = !files.entries.iter().skip(at + 1).any(same);
            let waits = applied.pending_restart.iter().any(|name| name.eq_ignore_ascii_case(&entry.name));
            let waits = (is_last && waits).then(|| "setting could not be applied".to_owned());
            let error = waits.or_else(|| problem(&entry.place));
            all.push(FileSetting {
                number: at + 1,
                place: entry.place.clone(),
                name: Some(entry.name.clone()),
                value: Some(entry.value.clone()),
                applied: is_last && error.is_none() && !applied.nothing_applied,
                error,
            });
        }
        for error in &files.errors {
            let (place, number) = (error.place.clone(), all.len() + 1);
            let error = Some(error.message.clone());
            all.push(FileSetting { number, place, name: None, value: None, applied: false, error });
        }
        all
    }

    /// Reads the files again (SIGHUP, pg_reload_conf()). `apply` hands the settings to the parts of the node
    /// that do not look themselves; no other reload begins before it is done.
    pub(crate) fn reload(&self, apply: impl FnOnce()) {
        beside_others(|| self.reload_now(apply));
    }

    fn reload_now(&self, apply: impl FnOnce()) {
        let _files = self.files.lock();
        self.log.log("received SIGHUP, reloading configuration files");
        let mut settings = Settings::clone(&self.settings());
        let files = read_files(&self.host, &self.data_dir, &settings);
        let mut next = settings.clone();
        next.apply_files(&files, Phase::Start);
        let applied = settings.apply_files(&files, Phase::Reload);
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
            let value = if is_secret_name(name) { HIDDEN.into() } else { without_secrets(&value) };
            self.log.log(format!("parameter \"{name}\" changed to \"{value}\""));
        }
        if settings.set_without_effect() != self.settings().set_without_effect() {
            tell_without_effect(&settings, &self.log);
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
        let tls = self.reloaded_tls(&settings);
        let login = self.reloaded_login(&settings, tls.is_some());
        self.log.configure(&settings);
        let config = Arc::new(settings.config());
        let now = self.host.clock.now();
        self.replace_settings(|current| {
            current.settings = Arc::new(settings);
            current.config = config;
            current.loaded = now;
            current.tls = tls;
            if let Some(login) = login {
                current.login = login;
            }
        });
        apply();
    }

    /// TLS by these settings; that of before if it cannot be had, so that nobody is locked out.
    fn reloaded_tls(&self, settings: &Settings) -> Option<Arc<ServerTls>> {
        match tls::load(&self.host, &self.data_dir, settings) {
            Ok(tls) => tls,
            Err(error) => {
                self.log.write(None, &Report { severity: Severity::Log, ..error.report() }, None);
                self.log.log("SSL configuration was not reloaded");
                self.current().tls
            }
        }
    }

    /// Who may log in by the files as they are now; None if they have errors: then the old rules stay.
    fn reloaded_login(&self, settings: &Settings, tls: bool) -> Option<Arc<LoginRules>> {
        match load_login(&self.host, &self.data_dir, settings) {
            Ok(mut login) => {
                login.hba.warnings(tls).for_each(|warning| self.log.warning(warning));
                if !login.map_errors.is_empty() {
                    login.map_errors.iter().for_each(|error| self.log.log(error.to_string()));
                    self.log.log("pg_ident.conf was not reloaded");
                    login.maps = self.current().login.maps.clone();
                }
                Some(Arc::new(login))
            }
            Err(errors) => {
                errors.iter().for_each(|error| self.log.log(error.to_string()));
                self.log.log("pg_hba.conf was not reloaded");
                None
            }
        }
    }

    /// Runs `work` before or after a reload and what that applies.
    pub(crate) fn between_reloads(&self, work: impl FnOnce()) {
        let _files = self.files.lock();
        work();
    }

    /// Changes postgresql.auto.conf, durably.
    pub(crate) fn alter_system(&self, change: settings::AutoChange<'_>) -> Result<(), AlterSystemError> {
        beside_others(|| self.alter_system_now(change))
    }

    fn alter_system_now(&self, change: settings::AutoChange<'_>) -> Result<(), AlterSystemError> {
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
        settings.apply_files(&files, Phase::Start);
        checks::refusal_of_change(&self.host, &self.data_dir, &settings)
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

impl std::fmt::Display for AlterSystemError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Setting(error) => f.write_str(&error.one_line()),
            Self::Refused(error) => f.write_str(&error.message),
            Self::Io(path, error) => write!(f, "could not write file \"{}\": {error}", path.display()),
        }
    }
}
