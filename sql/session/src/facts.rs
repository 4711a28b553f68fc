//! The session as expressions see it, and the settings' transaction levels.

use crate::SqlEngine;
use crate::kept::KeptRows;
use crate::regs::{self, Regs};
use host::sync::Mutex;
use host::{Host, Timestamp};
use sql_catalogue::names::SearchPath;
use sql_catalogue::rights::{Object, Privileges};
use sql_catalogue::sequences::Block;
use sql_catalogue::system::known::KnownFunction;
use sql_catalogue::{Catalogue, Role};
use sql_interface::{Environment, Result, SetScope, SettingActor, SqlError, clipped};
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
    /// How deep it is now.
    pub(crate) fn depth(&self) -> u32 {
        self.depth.load(Ordering::Relaxed)
    }

    /// Enters a level.
    pub(crate) fn enter(&self) {
        self.depth.fetch_add(1, Ordering::Relaxed);
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
    /// current_user
    pub(crate) user: String,
    pub(crate) session_user: String,
    pub(crate) session_role: u32,
    /// SET ROLE has said who acts.
    pub(crate) role_is_set: bool,
    /// What set_config says of that, for when its statement is over.
    role_to_be: Mutex<Option<(Option<u32>, bool)>>,
    role_is_to_change: AtomicBool,
    /// The role that the session began with, to which set_config('role', NULL) goes back.
    pub(crate) began_as: Option<u32>,
    pub(crate) database: String,
    pub(crate) actor: SettingActor,
    pub(crate) transaction_time: Timestamp,
    pub(crate) statement_time: Timestamp,
    pub(crate) style: Style,
    pub(crate) catalogue: Arc<Catalogue>,
    /// search_path, as far as the role that acts may look into its schemas
    pub(crate) path: SearchPath,
    /// A statement looks at what a role owns: the names in it are those of the catalogue, not the user's.
    pub(crate) names_are_given: bool,
    /// Something was found in it since the last [`SessionFacts::names_were_asked`].
    looked: AtomicBool,
    /// A setting was set since the last [`SessionFacts::setting_was_set`].
    set: AtomicBool,
    pub(crate) levels: SettingLevels,
    /// What SHOW transaction_isolation and its kin say.
    pub(crate) isolation: &'static str,
    pub(crate) read_only: bool,
    /// What the transaction says of being deferrable; None where it says nothing.
    pub(crate) deferrable: Option<bool>,
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
    /// What this session has left of sequences with a CACHE.
    own: HashMap<u32, Block>,
}

impl Numbers {
    pub(crate) fn note(&mut self, sequence: u32, value: i64, taken: bool) {
        self.by_sequence.insert(sequence, value);
        if taken {
            self.last = Some(sequence);
        }
    }

    /// Keeps values of a sequence, or none any more.
    pub(crate) fn keep(&mut self, sequence: u32, block: Option<Block>) {
        match block {
            Some(block) => self.own.insert(sequence, block),
            None => self.own.remove(&sequence),
        };
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
            session_user: role.name.clone(),
            session_role: role.oid,
            role_is_set: false,
            role_to_be: Mutex::default(),
            role_is_to_change: AtomicBool::new(false),
            began_as: None,
            database,
            // The rest of it is found when the session has its catalogue.
            actor: SettingActor { superuser: role.superuser, role: role.oid, ..SettingActor::default() },
            transaction_time: now,
            statement_time: now,
            style: Style::clone(&quick.style),
            catalogue,
            path: SearchPath::new(&quick.search_path, &role.name),
            names_are_given: false,
            looked: AtomicBool::new(false),
            set: AtomicBool::new(false),
            levels: SettingLevels::default(),
            isolation: quick.default_isolation.name(),
            read_only: quick.default_read_only,
            deferrable: None,
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
        self.actor
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
            "transaction_deferrable" => match self.deferrable {
                Some(yes) => if yes { "on" } else { "off" }.to_owned(),
                None => self.show("default_transaction_deferrable").ok()?,
            },
            "session_authorization" => self.session_user.clone(),
            "role" => if self.role_is_set { self.user.as_str() } else { "none" }.to_owned(),
            "is_superuser" => if self.actor.superuser { "on" } else { "off" }.to_owned(),
            _ => return None,
        })
    }

    /// set_config('role', ...): it counts when the statement is over.
    fn set_role_to_be(&self, value: Option<&str>, local: bool) -> Result<String> {
        let role = match value.map(clipped) {
            None => self.began_as,
            Some("none") => None,
            Some(name) => {
                let Some(role) = self.names().role(name) else {
                    let message = format!("role \"{name}\" does not exist");
                    return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
                };
                if !self.names().is_member_of(self.session_role, role.oid) {
                    let message = format!("permission denied to set role \"{name}\"");
                    return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
                }
                Some(role.oid)
            }
        };
        *self.role_to_be.lock() = Some((role, local));
        self.role_is_to_change.store(true, Ordering::Relaxed);
        let shown = role.and_then(|role| self.role_name(role));
        Ok(shown.unwrap_or_else(|| "none".to_owned()))
    }

    /// What set_config has said since this was last asked: the role (None is NONE), and whether it is LOCAL.
    pub(crate) fn role_to_be(&self) -> Option<(Option<u32>, bool)> {
        if !self.role_is_to_change.load(Ordering::Relaxed) {
            return None;
        }
        self.role_is_to_change.store(false, Ordering::Relaxed);
        self.role_to_be.lock().take()
    }

    /// Where names for types of OIDs are looked for.
    fn regs<'a>(&'a self, path: &'a SearchPath) -> Regs<'a> {
        let environment = &*self.environment;
        Regs { catalogue: self.names(), environment, path, database: &self.database }
    }

    /// currval needs USAGE or SELECT of the sequence.
    fn require_current_value(&self, sequence: u32, name: &str) -> Result<()> {
        let any_of = Privileges::USAGE | Privileges::SELECT;
        if self.names().privileges(self.actor.role, &Object::Relation(sequence), any_of).is_empty() {
            let message = format!("permission denied for sequence {name}");
            return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
        }
        Ok(())
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
        &self.session_user
    }
    fn role(&self) -> u32 {
        self.actor.role
    }
    fn catalogue(&self) -> Option<&Catalogue> {
        Some(self.names())
    }
    fn made_up(&self, oid: u32) -> Option<Object> {
        sql_catalogue::system::made_up(&*self.environment, oid)
    }
    fn made_up_columns(&self, oid: u32) -> Vec<&'static str> {
        sql_catalogue::system::made_up_columns(&*self.environment, oid)
    }
    fn function_signature(&self, text: &str) -> Result<Option<String>> {
        let plain = |text: &str| text.to_ascii_lowercase().replace(' ', "");
        // What PostgreSQL has not is known by its text alone.
        let found = self.reg_oid(TypeId::Regprocedure, &self.path, text)?;
        let known = found.and_then(|oid| self.reg_name(TypeId::Regprocedure, oid));
        let wanted = plain(known.as_deref().unwrap_or(text.strip_prefix("pg_catalog.").unwrap_or(text)));
        let of_views = sql_language::plan::functions_of_views().map(str::to_owned);
        let of_node = self.environment.node_functions().iter().map(sql_language::plan::signature);
        let mut of_node = of_node.chain(of_views);
        // Others may be executed by everybody.
        Ok(of_node.find(|known| plain(known) == wanted).or(known))
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
        if name.eq_ignore_ascii_case("role") {
            return self.set_role_to_be(value, local);
        }
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
        self.regs(&self.path).name(ty, oid)
    }
    fn reg_oid(&self, ty: TypeId, path: &SearchPath, name: &str) -> Result<Option<u32>> {
        self.regs(path).oid(ty, name)
    }
    fn reg_missing(&self, ty: TypeId, name: &str) -> SqlError {
        self.note_names();
        regs::missing(ty, name)
    }
    fn search_path(&self) -> &SearchPath {
        &self.path
    }
    fn relation_oid(&self, path: &SearchPath, name: &str) -> Result<Option<u32>> {
        self.reg_oid(TypeId::Regclass, path, name)
    }
    fn is_visible(&self, oid: u32) -> Option<bool> {
        self.names().is_visible(&*self.environment, &self.path, oid)
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
                self.require_current_value(oid, &found.name)?;
                if !numbers.by_sequence.contains_key(&oid) {
                    let name = &found.name;
                    return Err(undefined(format!(
                        "currval of sequence \"{name}\" is not yet defined in this session"
                    )));
                }
                Some(oid)
            }
            None => {
                let last = numbers.last.and_then(|oid| self.names().sequences.get(&oid));
                if let Some(sequence) = last {
                    self.require_current_value(sequence.oid, &sequence.name)?;
                }
                last.map(|sequence| sequence.oid)
            }
        };
        let found = oid.and_then(|oid| numbers.by_sequence.get(&oid)).copied();
        found.ok_or_else(|| undefined("lastval is not yet defined in this session".to_owned()))
    }
    fn note_number(&self, sequence: u32, value: i64, taken: bool, commit: wal::Lsn) {
        self.numbers_up_to.fetch_max(commit.get(), Ordering::Relaxed);
        self.numbers.lock().note(sequence, value, taken);
    }
    fn own_numbers(&self, sequence: u32) -> Option<Block> {
        self.numbers.lock().own.get(&sequence).copied()
    }
    fn keep_numbers(&self, sequence: u32, block: Option<Block>) {
        self.numbers.lock().keep(sequence, block);
    }
    fn owned_sequence(&self, table: &str, column: &str) -> Result<Option<String>> {
        let relation =
            match self.relation_oid(&self.path, table)?.and_then(|oid| self.names().relations.get(&oid)) {
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
        let names = self.names();
        let tree = match (names.relations.get(&oid), names.index(oid)) {
            (Some(table), _) => Some(table.tree),
            // A primary key is the order of its table, and takes no room of its own.
            (None, Some((_, index))) => (!index.primary).then_some(index.tree),
            // Sequences lie in the catalogue; views and system tables are made up.
            (None, None) => {
                names.owned_relation(oid).is_some().then_some(()).or(self.made_up(oid).map(drop))?;
                None
            }
        };
        tree.map_or(Some(0), |tree| self.storage.tree_size_bytes(tree).ok())
    }
    fn indexes_bytes(&self, oid: u32) -> Option<u64> {
        let Some(table) = self.names().relations.get(&oid) else {
            return self.relation_bytes(oid).map(|_| 0);
        };
        table.indexes.iter().map(|index| self.storage.tree_size_bytes(index.tree).ok()).sum()
    }
    fn has_function(&self, function: &KnownFunction) -> bool {
        sql_language::expr::has_function(function, &*self.environment)
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
