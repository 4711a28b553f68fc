//! The session as expressions see it, and the settings' transaction levels.

use crate::SqlEngine;
use crate::kept::KeptRows;
use crate::names::Names;
use host::sync::Mutex;
use host::{Host, Timestamp};
use sql_catalogue::{Catalogue, Role};
use sql_interface::{Environment, Result, SetScope, SettingActor, SqlError};
use sql_language::expr::Facts;
use sql_types::{Style, TypeId};
use sqlstate::SqlState;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// How deep the transaction is nested, and down to which level the settings were told: they are told only
/// when something is set.
#[derive(Debug, Default)]
pub(crate) struct SettingLevels {
    /// 0 outside of a transaction, 1 in one, one more for each savepoint.
    depth: AtomicU32,
    told: AtomicU32,
}

impl SettingLevels {
    /// Enters a level.
    pub(crate) fn enter(&self) {
        self.depth.fetch_add(1, Ordering::Relaxed);
    }

    /// How deep the transaction is nested.
    pub(crate) fn depth(&self) -> u32 {
        self.depth.load(Ordering::Relaxed)
    }

    /// Before something is set: the settings hear of every level that they do not know yet.
    pub(crate) fn touch(&self, environment: &dyn Environment) {
        let depth = self.depth.load(Ordering::Relaxed);
        let mut told = self.told.load(Ordering::Relaxed);
        while told < depth {
            told += 1;
            environment.settings_push(told);
        }
        self.told.store(told, Ordering::Relaxed);
    }

    /// Leaves all levels from `level` on.
    pub(crate) fn leave(&self, environment: &dyn Environment, level: u32, keep: bool) {
        if self.told.load(Ordering::Relaxed) >= level {
            environment.settings_pop(level, keep);
            self.told.store(level.saturating_sub(1), Ordering::Relaxed);
        }
        self.depth.store(level.saturating_sub(1), Ordering::Relaxed);
    }
}

/// What scalar functions may know of the session.
pub(crate) struct SessionFacts {
    pub(crate) storage: storage::Database,
    pub(crate) host: Host,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) superuser: bool,
    pub(crate) transaction_time: Timestamp,
    pub(crate) statement_time: Timestamp,
    pub(crate) style: Style,
    pub(crate) catalogue: Arc<Catalogue>,
    /// Something was found in it since the last [`SessionFacts::names_were_asked`].
    looked: AtomicBool,
    /// A setting was set since the last [`SessionFacts::setting_was_set`].
    set: AtomicBool,
    pub(crate) levels: SettingLevels,
    /// What SHOW transaction_isolation and its kin say.
    pub(crate) isolation: &'static str,
    pub(crate) read_only: bool,
    pub(crate) numbers: Mutex<Numbers>,
    /// What the session kept by name when the running statement that shows it began.
    pub(crate) kept: Mutex<KeptRows>,
    /// The last commit that one of them depends on.
    pub(crate) numbers_up_to: AtomicU64,
}

/// The sequences' numbers that this session has taken.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    by_sequence: HashMap<u32, i64>,
    /// The sequence of the last nextval.
    last: Option<u32>,
}

impl Numbers {
    pub(crate) fn note(&mut self, sequence: u32, value: i64, taken: bool) {
        self.by_sequence.insert(sequence, value);
        if taken {
            self.last = Some(sequence);
        }
    }

    /// DISCARD SEQUENCES
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

impl SessionFacts {
    /// Those of a session that begins.
    pub(crate) fn new(
        engine: &SqlEngine,
        environment: &Arc<dyn Environment>,
        role: &Role,
        database: String,
        catalogue: Arc<Catalogue>,
    ) -> Self {
        let (quick, now) = (environment.quick(), engine.host().clock.now());
        Self {
            storage: engine.database().clone(),
            host: engine.host().clone(),
            environment: environment.clone(),
            user: role.name.clone(),
            database,
            superuser: role.superuser,
            transaction_time: now,
            statement_time: now,
            style: Style::clone(&quick.style),
            catalogue,
            looked: AtomicBool::new(false),
            set: AtomicBool::new(false),
            levels: SettingLevels::default(),
            isolation: quick.default_isolation.name(),
            read_only: quick.default_read_only,
            numbers: Mutex::default(),
            kept: Mutex::default(),
            numbers_up_to: AtomicU64::new(0),
        }
    }

    /// The catalogue, of which something is about to be told.
    fn names(&self) -> &Catalogue {
        self.note_names();
        &self.catalogue
    }

    /// What was just found depends on the catalogue.
    pub(crate) fn note_names(&self) {
        self.looked.store(true, Ordering::Relaxed);
    }

    /// Whether something may have been found in the catalogue since this was last asked.
    pub(crate) fn names_were_asked(&self) -> bool {
        self.looked.load(Ordering::Relaxed) && self.looked.swap(false, Ordering::Relaxed)
    }

    /// Whether a setting was set since this was last asked.
    pub(crate) fn setting_was_set(&self) -> bool {
        self.set.load(Ordering::Relaxed) && self.set.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn actor(&self) -> SettingActor {
        SettingActor { superuser: self.superuser }
    }

    /// The value of a setting that belongs to the transaction or the session rather than to the server.
    fn own_setting(&self, name: &str) -> Option<String> {
        Some(match name.to_ascii_lowercase().as_str() {
            "transaction_isolation" => self.isolation.to_owned(),
            "transaction_read_only" => {
                // A fence does not wait for the end of a transaction.
                let only = self.read_only || self.storage.check_fence().is_err();
                if only { "on" } else { "off" }.to_owned()
            }
            "transaction_deferrable" => "off".to_owned(),
            "session_authorization" => self.user.clone(),
            "role" => "none".to_owned(),
            "is_superuser" => if self.superuser { "on" } else { "off" }.to_owned(),
            _ => return None,
        })
    }

    /// SHOW: 42704 for an unknown name.
    pub(crate) fn show(&self, name: &str) -> Result<String> {
        self.setting(name)?.ok_or_else(|| {
            SqlError::new(
                SqlState::UNDEFINED_OBJECT,
                format!("unrecognized configuration parameter \"{name}\""),
            )
        })
    }
}

impl Facts for SessionFacts {
    fn transaction_time(&self) -> Timestamp {
        self.transaction_time
    }
    fn statement_time(&self) -> Timestamp {
        self.statement_time
    }
    fn clock_time(&self) -> Timestamp {
        self.host.clock.now()
    }
    fn random(&self, bytes: &mut [u8]) {
        self.host.entropy.fill(bytes);
    }
    fn style(&self) -> &Style {
        &self.style
    }
    fn current_user(&self) -> &str {
        &self.user
    }
    fn session_user(&self) -> &str {
        &self.user
    }
    fn database(&self) -> &str {
        &self.database
    }
    fn backend_pid(&self) -> i32 {
        self.environment.backend_pid()
    }
    fn setting(&self, name: &str) -> Result<Option<String>> {
        match self.own_setting(name) {
            Some(value) => Ok(Some(value)),
            None => self.environment.show(self.actor(), name),
        }
    }
    fn set_setting(&self, name: &str, value: Option<&str>, local: bool) -> Result<String> {
        if self.own_setting(name).is_some() {
            return Err(SqlError::unsupported(format!("set_config of \"{name}\"")));
        }
        self.levels.touch(&*self.environment);
        let scope = if local { SetScope::Local } else { SetScope::Session };
        self.environment.set(self.actor(), name, value, scope)?;
        self.set.store(true, Ordering::Relaxed);
        self.show(name)
    }
    fn reg_name(&self, ty: TypeId, oid: u32) -> Option<String> {
        Names { catalogue: self.names(), environment: &*self.environment }.name(ty, oid)
    }
    fn reg_oid(&self, ty: TypeId, name: &str) -> Result<Option<u32>> {
        Names { catalogue: self.names(), environment: &*self.environment }.oid(ty, name)
    }
    fn reg_missing(&self, ty: TypeId, name: &str) -> SqlError {
        self.note_names();
        super::names::missing(ty, name)
    }
    fn relation_oid(&self, name: &str) -> Result<Option<u32>> {
        self.reg_oid(TypeId::Regclass, name)
    }
    fn relation_name(&self, oid: u32) -> Option<String> {
        self.reg_name(TypeId::Regclass, oid)
    }
    fn view_definition(&self, oid: u32) -> Option<String> {
        self.names().views.get(&oid).map(|view| format!(" {};", view.query))
    }
    fn current_value(&self, sequence: Option<u32>) -> Result<i64> {
        let undefined = |message: String| SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message);
        let numbers = self.numbers.lock();
        let oid = match sequence {
            Some(oid) => {
                let Some(found) = self.names().sequences.get(&oid) else {
                    let name = self.relation_name(oid).unwrap_or_else(|| oid.to_string());
                    let message = format!("\"{name}\" is not a sequence");
                    return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
                };
                if !numbers.by_sequence.contains_key(&oid) {
                    let name = &found.name;
                    return Err(undefined(format!(
                        "currval of sequence \"{name}\" is not yet defined in this session"
                    )));
                }
                Some(oid)
            }
            None => numbers.last.filter(|oid| self.names().sequences.contains_key(oid)),
        };
        let found = oid.and_then(|oid| numbers.by_sequence.get(&oid)).copied();
        found.ok_or_else(|| undefined("lastval is not yet defined in this session".to_owned()))
    }
    fn note_number(&self, sequence: u32, value: i64, taken: bool, commit: wal::Lsn) {
        self.numbers_up_to.fetch_max(commit.get(), Ordering::Relaxed);
        self.numbers.lock().note(sequence, value, taken);
    }
    fn owned_sequence(&self, table: &str, column: &str) -> Result<Option<String>> {
        let relation = match self.relation_oid(table)?.and_then(|oid| self.names().relations.get(&oid)) {
            Some(relation) => relation,
            None => {
                let message = format!("relation \"{table}\" does not exist");
                return Err(SqlError::new(SqlState::UNDEFINED_TABLE, message));
            }
        };
        let at = relation.require_column(column)?;
        let number = relation.columns.get(at).map_or(0, |column| column.number);
        let owned = Some((relation.oid, number));
        let found = self.names().sequences.values().find(|sequence| sequence.owned_by == owned);
        Ok(found.map(|sequence| format!("public.{}", identifier::quote(&sequence.name))))
    }
    fn role_name(&self, oid: u32) -> Option<String> {
        self.names().roles.get(&oid).map(|role| role.name.clone())
    }
    fn role_oid(&self, name: &str) -> Option<u32> {
        self.names().role(name).map(|role| role.oid)
    }
    fn index_definition(&self, oid: u32, column: Option<usize>, pretty: bool) -> Option<String> {
        let (table, index) = self.names().index(oid)?;
        Some(sql_catalogue::system::index_definition(table, &index, column, pretty))
    }
    fn constraint_definition(&self, oid: u32) -> Option<String> {
        self.names()
            .relations
            .values()
            .find_map(|table| sql_catalogue::system::constraint_definition(table, oid))
    }
    fn relation_bytes(&self, oid: u32) -> Option<u64> {
        let tree = match self.names().relations.get(&oid) {
            Some(table) => table.tree,
            None => self.names().index(oid).filter(|(_, index)| !index.primary)?.1.tree,
        };
        self.storage.tree_size_bytes(tree).ok()
    }
    fn indexes_bytes(&self, oid: u32) -> Option<u64> {
        let table = self.names().relations.get(&oid)?;
        table.indexes.iter().map(|index| self.storage.tree_size_bytes(index.tree).ok()).sum()
    }
    fn session_rows(&self, view: &str) -> Vec<Vec<sql_types::Datum>> {
        let rows = self.kept.lock();
        if view == "pg_cursors" { rows.portals.clone() } else { rows.statements.clone() }
    }
    fn is_table(&self, oid: u32) -> bool {
        self.names().relations.contains_key(&oid)
    }
    fn index_order(&self, oid: u32, number: usize) -> Option<(bool, bool)> {
        let (_, index) = self.names().index(oid)?;
        let part = index.columns.get(number.checked_sub(1)?)?;
        Some((part.order.descending, part.order.nulls_first))
    }
    fn relation_file(&self, oid: u32) -> Option<u32> {
        match self.names().relations.get(&oid) {
            Some(table) => Some(table.tree.relation),
            None => self.names().index(oid).map(|(_, index)| index.tree.relation),
        }
    }
}

/// Takes a qualified name apart as regclass input does: `a.b`, `"A".b`.
pub(crate) fn split_name(text: &str) -> Result<Vec<String>> {
    let invalid = || SqlError::new(SqlState::INVALID_NAME, "invalid name syntax");
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let mut name = String::new();
                let mut from = quoted;
                loop {
                    let at = from.find('"').ok_or_else(invalid)?;
                    name.push_str(from.get(..at).unwrap_or_default());
                    from = from.get(at + 1..).unwrap_or_default();
                    match from.strip_prefix('"') {
                        Some(more) => {
                            name.push('"');
                            from = more;
                        }
                        None => break (name, from),
                    }
                }
            }
            None => {
                let at = rest.find('.').unwrap_or(rest.len());
                let (name, after) = rest.split_at(at);
                (name.trim().to_ascii_lowercase(), after)
            }
        };
        if part.is_empty() {
            return Err(invalid());
        }
        parts.push(part);
        match after.trim_start().strip_prefix('.') {
            Some(more) => rest = more.trim_start(),
            None if after.trim().is_empty() => return Ok(parts),
            None => return Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qualified_names_come_apart_at_dots_outside_of_quotes() {
        assert_eq!(split_name("Public.T").unwrap(), ["public", "t"]);
        assert_eq!(split_name("\"A.\"\"b\".c").unwrap(), ["A.\"b", "c"]);
        assert!(split_name("a..b").is_err());
        assert!(split_name("\"a").is_err());
        assert!(split_name("").is_err());
    }
}
