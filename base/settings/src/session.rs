//! The settings of one session: its own values over the node's, with PostgreSQL's transaction rules.

use crate::config::SessionConfig;
use crate::definition::{Context, Definition, Meaning, flag};
use crate::error::{Locked, SettingError};
use crate::node::{Row, Settings, Source, check_custom_name, unknown};
use crate::table::definitions;
use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long a SET lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// SET: to the session's end, if the transaction commits.
    Session,
    /// SET LOCAL: to the transaction's end.
    Transaction,
}

/// Who sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// An ordinary role.
    User,
    /// A superuser.
    Superuser,
}

/// A value of the session, and the one that lasts for the transaction only.
#[derive(Clone, Debug, Default, PartialEq)]
struct Own {
    /// What RESET goes back to, with its source: startup message, role, database.
    start: Option<(Source, Value)>,
    session: Option<Value>,
    local: Option<Value>,
}

impl Own {
    fn current(&self) -> Option<(Source, &Value)> {
        let set = self.local.as_ref().or(self.session.as_ref()).map(|value| (Source::Session, value));
        set.or(self.start.as_ref().map(|(source, value)| (*source, value)))
    }
}

/// A place in the journal to go back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(usize);

/// One session's view of all settings.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    node: Arc<Settings>,
    own: BTreeMap<String, Own>,
    /// What was there before each change of the open transaction.
    journal: Vec<(String, Own)>,
    reports: BTreeSet<&'static str>,
    config: Arc<SessionConfig>,
}

fn key(name: &str) -> String {
    crate::find(name).map_or(name, |known| known.name).to_ascii_lowercase()
}

impl SessionSettings {
    /// A session that begins with the node's values.
    pub fn new(node: Arc<Settings>) -> Self {
        let config = node.session_config();
        Self { node, own: BTreeMap::new(), journal: Vec::new(), reports: BTreeSet::new(), config }
    }

    /// The values that hot paths read.
    pub fn config(&self) -> &Arc<SessionConfig> {
        &self.config
    }

    /// The node's settings under this session.
    pub fn node(&self) -> &Arc<Settings> {
        &self.node
    }

    /// Takes over reloaded settings of the node; the session's own values stay.
    pub fn rebase(&mut self, node: Arc<Settings>) {
        let reported = definitions().iter().filter(|known| known.has(flag::REPORT));
        for known in reported.filter(|known| self.node.value(known.name) != node.value(known.name)) {
            self.reports.insert(known.name);
        }
        self.node = node;
        self.config = Arc::new(SessionConfig::from_values(|name| self.value(name)));
    }

    /// Sets a value when the session starts (startup message, ALTER ROLE, ALTER DATABASE); RESET goes back to
    /// it.
    ///
    /// # Errors
    ///
    /// Fails if the setting is unknown, does not take the value, or may not be changed by who asks.
    pub fn set_at_start(
        &mut self,
        name: &str,
        text: &str,
        source: Source,
        privilege: Privilege,
    ) -> Result<(), SettingError> {
        check_allowed(name, privilege, true)?;
        let value = self.node.parse(name, text)?;
        let own = self.own.entry(key(name)).or_default();
        if own.start.as_ref().is_none_or(|(before, _)| *before <= source) {
            own.start = Some((source, value));
        }
        self.changed(name);
        Ok(())
    }

    /// Checks what ALTER ROLE and ALTER DATABASE say that later sessions begin with; without a value, that it
    /// may be taken away. What an extension would know is for superusers: nobody here can check it.
    ///
    /// # Errors
    ///
    /// Fails if the setting is unknown, does not take the value, or may not be changed by who asks.
    pub fn check_for_later(
        &self,
        name: &str,
        text: Option<&str>,
        privilege: Privilege,
    ) -> Result<(), SettingError> {
        check_allowed(name, privilege, false)?;
        if crate::find(name).is_none() && privilege == Privilege::User {
            return Err(SettingError::PermissionDenied { name: name.to_owned() });
        }
        text.map_or(Ok(()), |text| self.node.parse(name, text).map(|_| ()))
    }

    /// SET and set_config().
    ///
    /// # Errors
    ///
    /// Fails if the setting is unknown, does not take the value, or may not be changed by who asks.
    pub fn set(
        &mut self,
        name: &str,
        text: &str,
        scope: Scope,
        privilege: Privilege,
    ) -> Result<(), SettingError> {
        check_allowed(name, privilege, false)?;
        let mut value = self.node.parse(name, text)?;
        if crate::check::keeps_date_order(name, text) {
            let resets = text.to_ascii_lowercase().contains("default");
            // ISO is the only style: what is left out is all that there is.
            value = if resets { self.reset_value(name) } else { self.value(name) }.unwrap_or(value);
        }
        self.change(name, |own| match scope {
            Scope::Session => (own.session, own.local) = (Some(value), None),
            Scope::Transaction => own.local = Some(value),
        });
        Ok(())
    }

    /// Sets a value that the server itself decides for the session (transaction_isolation, is_superuser,
    /// ...).
    ///
    /// # Errors
    ///
    /// Fails if the setting is unknown, or does not take the value.
    pub fn set_computed(&mut self, name: &str, text: &str) -> Result<(), SettingError> {
        let value = self.node.parse(name, text)?;
        self.own.entry(key(name)).or_default().start = Some((Source::Override, value));
        self.changed(name);
        Ok(())
    }

    /// RESET name, and SET name TO DEFAULT.
    ///
    /// # Errors
    ///
    /// Fails if the setting is unknown, or may not be changed by who asks.
    pub fn reset(&mut self, name: &str, scope: Scope, privilege: Privilege) -> Result<(), SettingError> {
        check_allowed(name, privilege, false)?;
        let base = self.reset_value(name);
        self.change(name, |own| match scope {
            Scope::Session => (own.session, own.local) = (None, None),
            Scope::Transaction => own.local = base,
        });
        Ok(())
    }

    fn reset_value(&self, name: &str) -> Option<Value> {
        let start = self.own.get(&key(name)).and_then(|own| own.start.as_ref());
        start.map(|(_, value)| value.clone()).or_else(|| self.node.value(name))
    }

    /// RESET ALL.
    pub fn reset_all(&mut self) {
        let names: Vec<String> = self.own.keys().cloned().collect();
        for name in names {
            if crate::find(&name).is_none_or(|known| !known.has(flag::NO_RESET_ALL)) {
                self.change(&name, |own| (own.session, own.local) = (None, None));
            }
        }
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Own)) {
        let name = key(name);
        let own = self.own.entry(name.clone()).or_default();
        self.journal.push((name.clone(), own.clone()));
        change(own);
        self.changed(&name);
    }

    fn changed(&mut self, name: &str) {
        let known = crate::find(name);
        if let Some(known) = known.filter(|known| known.has(flag::REPORT)) {
            self.reports.insert(known.name);
        }
        let name = known.map_or(name, |known| known.name);
        if let Some(config) = self.config.with_changed(name, |name| self.value(name)) {
            self.config = Arc::new(config);
        }
    }

    /// The state to which `rollback_to` goes back: a savepoint, or the transaction's begin.
    pub fn mark(&self) -> Mark {
        Mark(self.journal.len())
    }

    /// Undoes what was set since the mark.
    pub fn rollback_to(&mut self, mark: Mark) {
        let mut touched = Vec::new();
        while self.journal.len() > mark.0 {
            let Some((name, before)) = self.journal.pop() else { break };
            self.own.insert(name.clone(), before);
            touched.push(name);
        }
        for name in touched {
            self.changed(&name);
        }
    }

    /// Ends the transaction: SET stays, SET LOCAL goes.
    pub fn commit(&mut self) {
        if self.journal.is_empty() {
            return;
        }
        self.journal.clear();
        let locals: Vec<String> =
            self.own.iter_mut().filter_map(|(name, own)| own.local.take().map(|_| name.clone())).collect();
        for name in locals {
            self.changed(&name);
        }
    }

    /// Ends the transaction as if nothing had been set in it.
    pub fn rollback(&mut self) {
        self.rollback_to(Mark(0));
    }

    /// The session's own value of a setting, unless the server itself decides that one for all sessions.
    fn own(&self, name: &str) -> Option<(Source, &Value)> {
        let is_decided = || matches!(self.node.source(name), Some((Source::Override, _)));
        let own = self.own.get(&key(name)).and_then(Own::current);
        own.filter(|_| !is_decided())
    }

    /// The value in force, None for an unknown name.
    pub fn value(&self, name: &str) -> Option<Value> {
        self.own(name).map(|(_, value)| value.clone()).or_else(|| self.node.value(name))
    }

    /// Whether this has another value than its default, and no effect here.
    pub fn is_without_effect(&self, name: &str) -> bool {
        crate::find(name).is_some_and(|known| {
            known.meaning() == Meaning::Accepted && self.value(name) != Some(Value::boot(known))
        })
    }

    /// SHOW.
    ///
    /// # Errors
    ///
    /// Fails if the setting is unknown, or hidden from who asks.
    pub fn show(&self, name: &str, privilege: Privilege) -> Result<String, SettingError> {
        let known = crate::find(name);
        if privilege == Privilege::User && known.is_some_and(|known| known.has(flag::SUPERUSER_ONLY)) {
            return Err(SettingError::MayNotRead { name: key(name) });
        }
        match (self.own(name), known) {
            (Some((_, value)), Some(known)) => Ok(value.show(known)),
            (Some((_, Value::Text(text))), None) => Ok(text.to_string()),
            // A customized one that was set once is known from then on, also if that was undone.
            (None, None) if self.node.value(name).is_none() && self.own.contains_key(&key(name)) => {
                Ok(String::new())
            }
            _ => self.node.show(name),
        }
    }

    /// The rows of pg_settings as this session sees them.
    pub fn rows(&self, privilege: Privilege) -> Vec<Row> {
        let mut rows = self.node.rows();
        rows.retain(|row| row.flags & flag::NO_SHOW_ALL == 0);
        if privilege == Privilege::User {
            rows.retain(|row| row.flags & flag::SUPERUSER_ONLY == 0);
        }
        for row in &mut rows {
            let Some(own) = self.own.get(&row.name.to_ascii_lowercase()) else { continue };
            let plain = |value: &Value| match (crate::find(&row.name), value) {
                (Some(known), value) => value.plain(known),
                (None, Value::Text(text)) => text.to_string(),
                _ => String::new(),
            };
            if let Some((_, start)) = &own.start {
                row.reset_val = plain(start);
            }
            if let Some((source, value)) = self.own(&row.name) {
                row.setting = plain(value);
                row.source = source.name();
                (row.sourcefile, row.sourceline) = (None, None);
            }
        }
        rows
    }

    /// SHOW ALL: name, value with unit, description. Customized settings are in no list.
    pub fn show_all(&self, privilege: Privilege) -> Vec<(String, String, &'static str)> {
        let known = definitions().iter().filter(|known| !known.has(flag::NO_SHOW_ALL));
        known
            .filter_map(|known| {
                let value = self.show(known.name, privilege).ok()?;
                Some((known.name.to_owned(), value, known.description()))
            })
            .collect()
    }

    /// Name and value of all settings that a client is told when it connects.
    pub fn reported(&self) -> Vec<(&'static str, String)> {
        let reported = definitions().iter().filter(|known| known.has(flag::REPORT));
        reported.filter_map(|known| self.report(known.name)).collect()
    }

    fn report(&self, name: &'static str) -> Option<(&'static str, String)> {
        self.show(name, Privilege::Superuser).ok().map(|value| (name, value))
    }

    /// Name and value of the reported settings that may have changed since this was last called.
    pub fn take_reports(&mut self) -> Vec<(&'static str, String)> {
        if self.reports.is_empty() {
            return Vec::new();
        }
        std::mem::take(&mut self.reports).into_iter().filter_map(|name| self.report(name)).collect()
    }
}

/// Whether this can be set by this one now.
fn check_allowed(name: &str, privilege: Privilege, at_start: bool) -> Result<(), SettingError> {
    let Some(known) = crate::find(name) else { return check_custom_name(name) };
    let locked = |why| Err(SettingError::CannotChange { name: known.name.to_owned(), why });
    let denied = || Err(SettingError::PermissionDenied { name: known.name.to_owned() });
    match (known.context, privilege) {
        (Context::Internal, _) => locked(Locked::Always),
        (Context::Postmaster, _) => locked(Locked::UntilRestart),
        (Context::Sighup, _) => locked(Locked::InSession),
        (Context::Backend | Context::SuperuserBackend, _) if !at_start => locked(Locked::AfterConnect),
        (Context::Superuser | Context::SuperuserBackend, Privilege::User) => denied(),
        _ => Ok(()),
    }
}

/// The one text that SET with these values means.
///
/// # Errors
///
/// Fails if the setting takes one value and several are given, or is unknown and none is given.
pub fn join_values(name: &str, values: &[&str]) -> Result<String, SettingError> {
    let known: Option<&Definition> = crate::find(name);
    let quoted = known.is_some_and(|known| known.has(flag::LIST_QUOTED));
    match values {
        [one] if !quoted => Ok((*one).to_owned()),
        [] => known.map_or_else(|| Err(unknown(name)), |_| Ok(String::new())),
        many if quoted => Ok(many.iter().map(|one| identifier::quote(one)).collect::<Vec<_>>().join(", ")),
        many if known.is_some_and(|known| known.has(flag::LIST)) => Ok(many.join(", ")),
        _ => match known {
            Some(known) => Err(SettingError::NotAList { name: known.name.to_owned() }),
            None => Err(SettingError::NotAList { name: name.to_owned() }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlstate::SqlState;

    fn session() -> SessionSettings {
        SessionSettings::new(Arc::new(Settings::new()))
    }
    fn shown(session: &SessionSettings, name: &str) -> String {
        session.show(name, Privilege::Superuser).unwrap()
    }
    const USER: Privilege = Privilege::User;

    #[test]
    fn set_lasts_if_the_transaction_commits_and_set_local_never_outlives_it() {
        let mut s = session();
        s.set("work_mem", "1MB", Scope::Session, USER).unwrap();
        s.commit();
        s.set("work_mem", "2MB", Scope::Transaction, USER).unwrap();
        assert_eq!(shown(&s, "work_mem"), "2MB");
        s.commit();
        assert_eq!(shown(&s, "work_mem"), "1MB");
        s.set("work_mem", "3MB", Scope::Session, USER).unwrap();
        s.rollback();
        assert_eq!(shown(&s, "work_mem"), "1MB");
    }

    #[test]
    fn a_savepoint_takes_back_what_was_set_after_it() {
        let mut s = session();
        s.set("lock_timeout", "1s", Scope::Session, USER).unwrap();
        let savepoint = s.mark();
        s.set("lock_timeout", "2s", Scope::Transaction, USER).unwrap();
        s.set("lock_timeout", "3s", Scope::Session, USER).unwrap();
        s.rollback_to(savepoint);
        assert_eq!(shown(&s, "lock_timeout"), "1s");
        assert_eq!(s.config().lock_timeout, Some(std::time::Duration::from_secs(1)));
        s.commit();
        assert_eq!(shown(&s, "lock_timeout"), "1s");
    }

    #[test]
    fn typed_values_follow_the_node_and_a_setting_by_its_earlier_name() {
        let mut node = Settings::new();
        assert_eq!(SessionSettings::new(Arc::new(node.clone())).config().work_mem_bytes, 4 << 20);
        node.set("work_mem", "9MB", Source::CommandLine).unwrap();
        let mut s = SessionSettings::new(Arc::new(node));
        assert_eq!(s.config().work_mem_bytes, 9 << 20);
        s.set("sort_mem", "1MB", Scope::Session, USER).unwrap();
        assert_eq!(s.config().work_mem_bytes, 1 << 20);
        s.rollback();
        assert_eq!(s.config().work_mem_bytes, 9 << 20);
    }

    #[test]
    fn reset_goes_back_to_what_the_client_connected_with() {
        let mut s = session();
        s.set_at_start("application_name", "boat", Source::Client, USER).unwrap();
        s.set("application_name", "ship", Scope::Session, USER).unwrap();
        s.commit();
        s.reset("application_name", Scope::Session, USER).unwrap();
        assert_eq!(shown(&s, "application_name"), "boat");
        s.rollback();
        assert_eq!(shown(&s, "application_name"), "ship");
        s.reset_all();
        assert_eq!(shown(&s, "application_name"), "boat");
    }

    #[test]
    fn who_may_set_what_is_as_in_postgresql() {
        let mut s = session();
        let mut refusal = |name: &str, value: &str, privilege| {
            let error = s.set(name, value, Scope::Session, privilege).unwrap_err();
            (error.sqlstate(), error.to_string())
        };
        for (name, value, privilege, sqlstate, text) in [
            (
                "port",
                "1",
                Privilege::Superuser,
                SqlState::CANT_CHANGE_RUNTIME_PARAM,
                "cannot be changed without restarting the server",
            ),
            (
                "archive_timeout",
                "1",
                Privilege::Superuser,
                SqlState::CANT_CHANGE_RUNTIME_PARAM,
                "cannot be changed now",
            ),
            (
                "log_connections",
                "on",
                Privilege::Superuser,
                SqlState::CANT_CHANGE_RUNTIME_PARAM,
                "cannot be set after connection start",
            ),
            (
                "wal_segment_size",
                "1",
                Privilege::Superuser,
                SqlState::CANT_CHANGE_RUNTIME_PARAM,
                "cannot be changed",
            ),
        ] {
            assert_eq!(refusal(name, value, privilege), (sqlstate, format!("parameter \"{name}\" {text}")));
        }
        let denied = "permission denied to set parameter \"log_statement\"".to_owned();
        assert_eq!(refusal("log_statement", "all", USER), (SqlState::INSUFFICIENT_PRIVILEGE, denied));
        assert_eq!(refusal("foo", "1", USER).0, SqlState::UNDEFINED_OBJECT);
        assert_eq!(refusal("plimsoll.foo", "1", USER).0, SqlState::UNDEFINED_OBJECT);
        assert_eq!(refusal("a.1b", "1", USER).0, SqlState::INVALID_NAME);
        s.set("my.own", "1", Scope::Session, USER).unwrap();
        assert_eq!(shown(&s, "MY.own"), "1");
    }

    #[test]
    fn lists_are_joined_the_way_the_setting_wants() {
        assert_eq!(join_values("search_path", &["a", "B c"]).as_deref(), Ok("a, \"B c\""));
        assert_eq!(join_values("datestyle", &["ISO", "DMY"]).as_deref(), Ok("ISO, DMY"));
        assert!(join_values("work_mem", &["1", "2"]).is_err());
    }

    #[test]
    fn reported_settings_are_told_once_after_each_change() {
        let mut s = session();
        assert!(
            s.reported().iter().any(|(name, value)| *name == "server_version" && value.starts_with("15."))
        );
        s.set("timezone", "UTC", Scope::Session, USER).unwrap();
        assert_eq!(s.take_reports(), [("TimeZone", "UTC".to_owned())]);
        assert_eq!(s.take_reports(), []);
        s.rollback();
        assert_eq!(s.take_reports(), [("TimeZone", "GMT".to_owned())]);
    }

    #[test]
    fn a_reload_of_the_node_shows_through_unless_the_session_set_its_own() {
        let mut s = session();
        s.set("work_mem", "1MB", Scope::Session, USER).unwrap();
        let mut node = Settings::new();
        node.set("work_mem", "9MB", Source::CommandLine).unwrap();
        node.set("lock_timeout", "9s", Source::CommandLine).unwrap();
        s.rebase(Arc::new(node));
        assert_eq!((shown(&s, "work_mem"), shown(&s, "lock_timeout")), ("1MB".into(), "9s".into()));
        let row = s.rows(USER).into_iter().find(|row| row.name == "work_mem").unwrap();
        assert_eq!((row.setting.as_str(), row.reset_val.as_str(), row.source), ("1024", "9216", "session"));
    }

    #[test]
    fn what_the_server_decides_holds_over_what_the_session_set() {
        let mut s = session();
        s.set("default_transaction_read_only", "off", Scope::Session, USER).unwrap();
        s.take_reports();
        let mut node = Settings::new();
        node.set_computed("default_transaction_read_only", "on").unwrap();
        s.rebase(Arc::new(node));
        assert_eq!(s.take_reports(), [("default_transaction_read_only", "on".to_owned())]);
        assert!(s.config().default_transaction_read_only);
        s.set("default_transaction_read_only", "off", Scope::Session, USER).unwrap();
        assert_eq!(shown(&s, "default_transaction_read_only"), "on");
        let rows = s.rows(USER);
        let row = rows.iter().find(|row| row.name == "default_transaction_read_only").unwrap();
        assert_eq!((row.setting.as_str(), row.source), ("on", "override"));
    }

    #[test]
    fn what_only_superusers_may_see_is_hidden_from_others() {
        let s = session();
        assert_eq!(s.show("plimsoll.peers", USER).unwrap_err().sqlstate().as_str(), "42501");
        assert!(s.rows(USER).iter().all(|row| row.name != "data_directory"));
        assert!(s.rows(Privilege::Superuser).iter().any(|row| row.name == "data_directory"));
        assert!(s.show_all(USER).iter().all(|(name, _, _)| name != "seed"));
    }
}
