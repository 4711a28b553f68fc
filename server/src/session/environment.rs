//! The node as one session's SQL sees it: settings, system views, functions.

use crate::configuration::AlterSystemError;
use crate::configuration::checks;
use crate::connection::registry::SessionHandle;
use crate::error::setting_error;
use crate::node::Node;
use crate::statements;
use crate::views::{self, Asked};
use host::sync::Mutex;
use protocol::scram::{ITERATIONS, ITERATIONS_MAX, SALT_BYTES, Verifier};
use protocol::{Report, SqlState};
use settings::{AutoChange, Mark, Privilege, Scope, SessionConfig, SessionSettings, SettingError, Source};
use sql_interface::{
    Canceller, Environment, IsolationLevel, NodeCall, NodeFunction, NodeRows, NodeTable, QuickSettings,
    SetScope, SettingActor, SettingLine, SqlError,
};
use sql_session::{MissingObject, StartSetting, missing_object};
use sql_types::Datum;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An iteration of a password's hash costs about as much as touching so many bytes.
const ITERATION_BYTES: usize = 512;

/// One session's environment.
pub(crate) struct SessionEnvironment {
    node: Arc<Node>,
    handle: Arc<SessionHandle>,
    state: Mutex<State>,
    /// The node's generation that the settings stand on.
    generation: AtomicU64,
    /// Moves with every change of a setting of this session or, after [`Self::follow`], of the node.
    changes: AtomicU64,
}

struct State {
    settings: SessionSettings,
    quick: Arc<QuickSettings>,
    marks: Vec<Mark>,
}

fn privilege(actor: SettingActor) -> Privilege {
    if actor.superuser { Privilege::Superuser } else { Privilege::User }
}

/// Who reads: pg_read_all_settings sees what superusers see.
fn reader(actor: SettingActor) -> Privilege {
    if actor.superuser || actor.reads_settings { Privilege::Superuser } else { Privilege::User }
}

/// PostgreSQL's access methods that are for indexes.
const INDEX_METHODS: [&str; 6] = ["btree", "hash", "gist", "gin", "spgist", "brin"];

/// That what a value names is there. Only SET and ALTER SYSTEM ask: elsewhere PostgreSQL takes it for what
/// may come.
fn check_named(setting: &str, value: &str) -> sql_interface::Result<()> {
    let Some(MissingObject { kind, name }) = missing_object(setting, value) else { return Ok(()) };
    let message = match kind {
        "table access method" if INDEX_METHODS.contains(&name.as_str()) => {
            let message = format!("access method \"{name}\" is not of type TABLE");
            return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
        }
        "tablespace" if setting.eq_ignore_ascii_case("temp_tablespaces") => {
            let message = format!("{kind} \"{name}\" does not exist");
            return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
        }
        "text search configuration" if name.is_empty() => {
            return Err(SqlError::new(SqlState::INVALID_NAME, "invalid name syntax"));
        }
        _ => format!("invalid value for parameter \"{}\": \"{value}\"", setting.to_ascii_lowercase()),
    };
    let error = SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let (first, rest) = kind.split_at(1);
    Err(error.with_detail(format!("{}{rest} \"{name}\" does not exist.", first.to_ascii_uppercase())))
}

/// That a session may begin with a value; beyond what its text says, and what SET asks.
fn check_at_start(setting: &str, value: &str) -> sql_interface::Result<()> {
    let invalid = |state, message: String| Err(SqlError::new(state, message));
    match setting.to_ascii_lowercase().as_str() {
        "temp_tablespaces" => Ok(()),
        // No transaction has begun, so it cannot be this one's: PostgreSQL says that it comes too late.
        "transaction_isolation" if !value.eq_ignore_ascii_case("read committed") => {
            let message = "SET TRANSACTION ISOLATION LEVEL must be called before any query";
            invalid(SqlState::ACTIVE_SQL_TRANSACTION, message.to_owned())
        }
        "transaction_deferrable" => {
            let message = "SET TRANSACTION [NOT] DEFERRABLE must be called before any query";
            invalid(SqlState::ACTIVE_SQL_TRANSACTION, message.to_owned())
        }
        name @ ("session_preload_libraries" | "local_preload_libraries") => {
            let names = settings::split_identifiers(value).unwrap_or_default();
            let folder = if name.starts_with("local") { "$libdir/plugins/" } else { "" };
            names.first().map_or(Ok(()), |library| {
                let message =
                    format!("could not access file \"{folder}{library}\": No such file or directory");
                invalid(SqlState::UNDEFINED_FILE, message)
            })
        }
        _ => check_named(setting, value),
    }
}

/// What is told of a value that changes nothing.
fn without_effect(name: &str) -> Report {
    let message = format!("parameter \"{name}\" has no effect on this server");
    Report::warning(SqlState::WARNING, message)
}

fn quick(config: &SessionConfig) -> QuickSettings {
    QuickSettings {
        synchronous_commit: config.synchronous_commit,
        default_isolation: match config.default_transaction_isolation.as_ref() {
            "read uncommitted" => IsolationLevel::ReadUncommitted,
            "repeatable read" => IsolationLevel::RepeatableRead,
            "serializable" => IsolationLevel::Serializable,
            _ => IsolationLevel::ReadCommitted,
        },
        default_read_only: config.default_transaction_read_only,
        work_mem_bytes: usize::try_from(config.work_mem_bytes).unwrap_or(usize::MAX),
        max_stack_depth_bytes: usize::try_from(config.max_stack_depth_bytes).unwrap_or(usize::MAX),
        deadlock_timeout: config.deadlock_timeout,
        lock_timeout_ms: config
            .lock_timeout
            .map_or(0, |limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1)),
        read_after: config.read_after.parse().ok(),
        reads_confirmed: config.standby_reads.as_ref() == "confirmed",
        search_path: settings::split_identifiers(&config.search_path).unwrap_or_default().into(),
        style: Arc::new(checks::style(config)),
    }
}

impl State {
    fn refresh(&mut self) {
        self.quick = Arc::new(quick(self.settings.config()));
    }
}

impl SessionEnvironment {
    /// With the node's settings and those of the startup packet.
    pub(crate) fn new(
        node: Arc<Node>,
        handle: Arc<SessionHandle>,
        superuser: bool,
        startup: &[(String, String)],
    ) -> sql_interface::Result<Self> {
        let generation = node.ground.generation();
        let mut settings = SessionSettings::new(node.ground.settings());
        let refused = |error: SettingError| setting_error(&error);
        let privilege = if superuser { Privilege::Superuser } else { Privilege::User };
        for (name, value) in startup {
            settings.set_at_start(name, value, Source::Client, privilege).map_err(refused)?;
            check_at_start(name, value)?;
        }
        settings.set_computed("is_superuser", if superuser { "on" } else { "off" }).map_err(refused)?;
        settings.set_computed("session_authorization", &handle.user).map_err(refused)?;
        settings.take_reports();
        let quick = Arc::new(quick(settings.config()));
        *handle.application.lock() = settings.config().application_name.clone();
        let state = Mutex::new(State { settings, quick, marks: Vec::new() });
        let generation = AtomicU64::new(generation);
        Ok(Self { node, handle, state, generation, changes: AtomicU64::new(0) })
    }

    /// Takes over what ALTER DATABASE and ALTER ROLE say that its sessions begin with. What does not hold any
    /// more is passed over, as it was checked when it was said.
    pub(crate) fn begin_with(&self, settings: &[StartSetting]) {
        if settings.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        for setting in settings {
            let source = if setting.of_role { Source::Role } else { Source::Database };
            let known =
                state.settings.set_at_start(&setting.name, &setting.value, source, Privilege::Superuser);
            if let Err(error) = known {
                self.node
                    .ground
                    .log
                    .log(format!("a setting that sessions begin with is passed over: {error}"));
            }
        }
        state.settings.take_reports();
        state.refresh();
        *self.handle.application.lock() = state.settings.config().application_name.clone();
        drop(state);
        self.changed();
    }

    /// Takes over the node's settings if they were reloaded.
    #[inline]
    pub(crate) fn follow(&self) {
        // The generation seldom moves.
        let generation = self.node.ground.generation();
        if self.generation.load(Ordering::Acquire) != generation {
            self.take_over(generation);
        }
    }

    #[cold]
    fn take_over(&self, generation: u64) {
        let mut state = self.state.lock();
        self.generation.store(generation, Ordering::Release);
        state.settings.rebase(self.node.ground.settings());
        state.refresh();
        drop(state);
        self.changed();
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether the server counts statements.
    pub(crate) fn counts_statements(&self) -> bool {
        statements::is_loaded(self.state.lock().settings.node())
    }

    /// The typed values now.
    pub(crate) fn config(&self) -> Arc<SessionConfig> {
        self.state.lock().settings.config().clone()
    }

    /// What a client is told when it connects.
    pub(crate) fn reported(&self) -> Vec<(&'static str, String)> {
        self.state.lock().settings.reported()
    }

    /// What it has to be told since the last call.
    pub(crate) fn take_reports(&self) -> Vec<(&'static str, String)> {
        self.state.lock().settings.take_reports()
    }

    /// Has a view or function see this session and its node.
    fn ask<T>(&self, look: impl FnOnce(&Asked<'_>) -> T) -> T {
        let setting_rows = |sees_all| {
            let privilege = if sees_all { Privilege::Superuser } else { Privilege::User };
            self.state.lock().settings.rows(privilege)
        };
        look(&Asked::new(&self.node, &self.handle, &setting_rows))
    }

    fn change(
        &self,
        change: impl FnOnce(&mut SessionSettings) -> Result<(), SettingError>,
    ) -> sql_interface::Result<()> {
        {
            let mut state = self.state.lock();
            change(&mut state.settings).map_err(|error| setting_error(&error))?;
            state.refresh();
            *self.handle.application.lock() = state.settings.config().application_name.clone();
        }
        self.changed();
        Ok(())
    }
}

impl Environment for SessionEnvironment {
    fn quick(&self) -> Arc<QuickSettings> {
        self.state.lock().quick.clone()
    }

    fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    fn show(&self, actor: SettingActor, name: &str) -> sql_interface::Result<Option<String>> {
        match self.state.lock().settings.show(name, reader(actor)) {
            Ok(value) => Ok(Some(value)),
            Err(SettingError::Unknown { .. }) => Ok(None),
            Err(error) => Err(setting_error(&error)),
        }
    }

    fn show_all(&self, actor: SettingActor) -> Vec<SettingLine> {
        let all = self.state.lock().settings.show_all(reader(actor));
        let line = |(name, value, description): (String, String, &str)| SettingLine {
            name,
            value,
            description: description.to_owned(),
        };
        all.into_iter().map(line).collect()
    }

    fn set(
        &self,
        actor: SettingActor,
        name: &str,
        value: Option<&str>,
        scope: SetScope,
    ) -> sql_interface::Result<()> {
        let scope = match scope {
            SetScope::Session => Scope::Session,
            SetScope::Local => Scope::Transaction,
        };
        if let Some(value) = value {
            check_named(name, value)?;
        }
        self.change(|settings| match value {
            Some(value) => settings.set(name, value, scope, privilege(actor)),
            None => settings.reset(name, scope, privilege(actor)),
        })?;
        if value.is_some() && self.state.lock().settings.is_without_effect(name) {
            self.handle.warn(without_effect(name));
        }
        Ok(())
    }

    fn reset_all(&self, _actor: SettingActor) -> sql_interface::Result<()> {
        self.change(|settings| {
            settings.reset_all();
            Ok(())
        })
    }

    fn alter_system(
        &self,
        actor: SettingActor,
        name: Option<&str>,
        value: Option<&str>,
    ) -> sql_interface::Result<()> {
        if !actor.superuser {
            let message = match name {
                Some(name) => format!("permission denied to set parameter \"{name}\""),
                None => "must be superuser to execute ALTER SYSTEM RESET ALL".to_owned(),
            };
            return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
        }
        if let (Some(name), Some(value)) = (name, value) {
            check_named(name, value)?;
        }
        let change = match (name, value) {
            (None, _) => AutoChange::ResetAll,
            (Some(name), None) => AutoChange::Reset(name),
            (Some(name), Some(value)) => AutoChange::Set(name, value),
        };
        self.node.alter_system(change).map_err(|error| match error {
            AlterSystemError::Setting(error) => setting_error(&error),
            AlterSystemError::Refused(refusal) => {
                let error = SqlError::new(SqlState::INVALID_PARAMETER_VALUE, refusal.message)
                    .with_detail("The server would not start again.");
                match refusal.hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                }
            }
            AlterSystemError::Io(path, error) => {
                let message = format!("could not write file \"{}\": {error}", path.display());
                SqlError::new(SqlState::IO_ERROR, message)
            }
        })?;
        if let (Some(name), Some(_)) = (name, value)
            && settings::find(name).is_some_and(|known| known.meaning() == settings::Meaning::Accepted)
        {
            self.handle.warn(without_effect(name));
        }
        Ok(())
    }

    fn setting_name(&self, name: &str) -> String {
        settings::find(name).map_or_else(|| name.to_owned(), |known| known.name.to_owned())
    }

    fn check_start_setting(
        &self,
        actor: SettingActor,
        name: &str,
        value: Option<&str>,
    ) -> sql_interface::Result<String> {
        let known = self.setting_name(name);
        let checked = self.state.lock().settings.check_for_later(name, value, privilege(actor));
        checked.map_err(|error| setting_error(&error))?;
        Ok(known)
    }

    fn acts_as(&self, superuser: bool, session_role: &str) {
        {
            let mut state = self.state.lock();
            // Both are known, and take any text.
            let _ = state.settings.set_computed("is_superuser", if superuser { "on" } else { "off" });
            let _ = state.settings.set_computed("session_authorization", session_role);
            state.refresh();
        }
        self.changed();
    }

    fn plan_settings(&self) -> Vec<(String, String)> {
        let state = self.state.lock();
        let changed = settings::definitions().iter().filter(|known| {
            let other = state.settings.value(known.name) != Some(settings::Value::boot(known));
            known.has(settings::flag::EXPLAIN) && other
        });
        let shown = |known: &&settings::Definition| {
            let value = state.settings.show(known.name, Privilege::Superuser).ok()?;
            Some((known.name.to_owned(), value))
        };
        changed.filter_map(shown).collect()
    }

    fn settings_push(&self, level: u32) {
        let mut state = self.state.lock();
        let depth = usize::try_from(level.saturating_sub(1)).unwrap_or(usize::MAX);
        let mark = state.settings.mark();
        while state.marks.len() < depth.saturating_add(1) {
            state.marks.push(mark);
        }
    }

    fn settings_pop(&self, level: u32, keep: bool) {
        {
            let mut state = self.state.lock();
            let depth = usize::try_from(level.saturating_sub(1)).unwrap_or(usize::MAX);
            let mark = state.marks.get(depth).copied();
            state.marks.truncate(depth);
            match (depth, keep, mark) {
                (0, true, _) => state.settings.commit(),
                (0, false, _) => state.settings.rollback(),
                (_, false, Some(mark)) => state.settings.rollback_to(mark),
                _ => {}
            }
            state.refresh();
            *self.handle.application.lock() = state.settings.config().application_name.clone();
        }
        self.changed();
    }

    fn node_tables(&self) -> &[NodeTable] {
        views::tables()
    }

    fn node_rows(&self, actor: SettingActor, table: usize) -> sql_interface::Result<NodeRows> {
        self.ask(|asked| views::rows(asked, actor, table))
    }

    fn node_functions(&self) -> &[NodeFunction] {
        views::functions()
    }

    fn call(
        &self,
        actor: SettingActor,
        function: usize,
        arguments: &[Datum],
        _canceller: &Canceller,
    ) -> NodeCall {
        self.ask(|asked| views::call(asked, actor, function, arguments))
    }

    fn reach(
        &self,
        token: sql_interface::ReadToken,
        interrupt: &storage::Interrupt,
    ) -> sql_interface::BoxFuture<'static, sql_interface::Result<()>> {
        let confirmed = self.quick().reads_confirmed;
        Box::pin(super::reach::reach(self.node.clone(), token, confirmed, interrupt.clone()))
    }

    fn password_verifier(&self, password: &str) -> sql_interface::Result<Option<String>> {
        // What CREATE ROLE is given may be a verifier already.
        if let Some(verifier) = Verifier::parse(password) {
            let iterations = verifier.iterations();
            if iterations > ITERATIONS_MAX {
                let what = format!("a SCRAM secret of more than {ITERATIONS_MAX} iterations");
                return Err(SqlError::unsupported(what));
            }
            let work = (iterations as usize).saturating_mul(ITERATION_BYTES);
            let lets_anybody_in = sql_types::work::aside(work, || verifier.matches(""));
            return Ok((!lets_anybody_in).then(|| password.to_owned()));
        }
        let encryption = self.state.lock().settings.show("password_encryption", Privilege::Superuser);
        if encryption.is_ok_and(|encryption| encryption == "md5") {
            let what = "a password under password_encryption = md5";
            return Err(SqlError::unsupported(what).with_hint("Set password_encryption to scram-sha-256."));
        }
        let mut salt = [0; SALT_BYTES];
        self.node.ground.host.entropy.fill(&mut salt);
        Ok(Some(Verifier::derive(password, &salt, ITERATIONS).to_string()))
    }

    fn backend_pid(&self) -> i32 {
        self.handle.key.pid
    }

    fn client_address(&self) -> Option<SocketAddr> {
        self.handle.client
    }
}
