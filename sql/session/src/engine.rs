//! One node's SQL: the database, its catalogue as last seen, and the sessions' common ground.

use super::{SessionOptions, SqlSession};
use host::Host;
use host::sync::RwLock;
use sql_catalogue::rights::{Object, Privileges};
use sql_catalogue::sequences::Sequences;
use sql_catalogue::{Catalogue, Role, store};
use sql_execution::advisory::AdvisoryLocks;
use sql_execution::spill::TempSpace;
use sql_interface::{Environment, Result, Severity, SqlError};
use sqlstate::SqlState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use storage::{Committed, Database, Isolation, SyncLevel, Transaction, TreeId};
use wal::Lsn;

/// When the catalogue changed last, on a primary, where every change goes through this process. A standby
/// learns of changes from the log and looks at the catalogue's version in each statement instead.
#[derive(Default)]
struct Changes {
    /// This node takes writes: changes before that are at or below `last`.
    is_primary: AtomicBool,
    /// Commits that change the catalogue, from before they are in the log until `last` knows them. One that
    /// was given up by its session stays counted, because nobody knows where it ended, and so does one that
    /// failed and may be in the log all the same.
    under_way: AtomicU64,
    /// The end of the last commit that changed the catalogue.
    last: AtomicU64,
    /// The position of a snapshot in which the cached catalogue was found to be current.
    seen_current_at: AtomicU64,
}

impl Changes {
    /// Whether the cached catalogue, found current before, is that of a snapshot at `snapshot`, which is
    /// taken already.
    #[inline]
    fn is_current(&self, database: &Database, snapshot: Lsn) -> bool {
        if database.is_in_recovery() {
            return false;
        }
        if !self.is_primary.load(Ordering::Acquire) {
            // What redo brought ended at or before what is visible now.
            self.last.fetch_max(database.visible().get(), Ordering::AcqRel);
            self.is_primary.store(true, Ordering::Release);
        }
        if self.under_way.load(Ordering::Acquire) > 0 {
            return false;
        }
        let last = self.last.load(Ordering::Acquire);
        snapshot.get() >= last && self.seen_current_at.load(Ordering::Acquire) >= last
    }
}

/// A setting that sessions begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartSetting {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// It comes from ALTER ROLE; else from ALTER DATABASE or ALTER ROLE ALL.
    pub of_role: bool,
}

/// Counts of changed rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowChanges {
    /// Rows inserted.
    pub inserted: u64,
    /// Rows updated.
    pub updated: u64,
    /// Rows deleted.
    pub deleted: u64,
}

/// SQL over one database directory; cloning shares it.
#[derive(Clone)]
pub struct SqlEngine(Arc<Shared>);

struct Shared {
    database: Database,
    host: Host,
    /// The newest catalogue that any session has read.
    cached: RwLock<Option<Arc<Catalogue>>>,
    /// Knows on a primary, without a read, whether the cached catalogue is still the snapshot's.
    changes: Changes,
    temp_space: Arc<TempSpace>,
    sequences: Sequences,
    advisory: Arc<AdvisoryLocks>,
    /// Numbers for catalogues that only one transaction sees, counted down from the top.
    private_versions: AtomicU64,
}

impl SqlEngine {
    /// Over an open database, on a primary or a standby. Reads nothing yet; temporary files that a crash left
    /// go.
    pub fn new(database: Database, host: Host) -> Self {
        let temp_space = Arc::new(TempSpace::new(host.disk.clone(), database.dir()));
        let private_versions = AtomicU64::new(sql_language::plan::NO_VERSION - 1);
        let advisory = AdvisoryLocks::new(database.sight());
        Self(Arc::new(Shared {
            database,
            host,
            cached: RwLock::new(None),
            changes: Changes::default(),
            temp_space,
            sequences: Sequences::default(),
            advisory,
            private_versions,
        }))
    }

    /// The storage below.
    pub fn database(&self) -> &Database {
        &self.0.database
    }

    pub(crate) fn sequences(&self) -> &Sequences {
        &self.0.sequences
    }

    /// The advisory locks of all sessions.
    pub fn advisory(&self) -> &Arc<AdvisoryLocks> {
        &self.0.advisory
    }

    /// Where sorts that do not fit into memory go.
    pub(crate) fn temp_space(&self) -> &Arc<TempSpace> {
        &self.0.temp_space
    }

    pub(crate) fn host(&self) -> &Host {
        &self.0.host
    }

    /// The catalogue in the running statement's snapshot.
    pub(crate) async fn catalogue(&self, transaction: &Transaction) -> Result<Arc<Catalogue>> {
        let snapshot = transaction.snapshot_lsn();
        let cached = self.0.cached.read().clone();
        if let Some(cached) = &cached
            && self.0.changes.is_current(&self.0.database, snapshot)
        {
            return Ok(cached.clone());
        }
        let version = store::version(transaction).await?;
        if let Some(cached) = cached
            && cached.version == version
        {
            self.0.changes.seen_current_at.fetch_max(snapshot.get(), Ordering::AcqRel);
            return Ok(cached);
        }
        let loaded = Arc::new(store::load(transaction).await?);
        let mut cached = self.0.cached.write();
        // A snapshot of before must not push out what is newer. After a switch to another history (a standby
        // that was rewound) the process is another one.
        if cached.as_ref().is_none_or(|known| known.version < loaded.version) {
            *cached = Some(loaded.clone());
        }
        Ok(loaded)
    }

    /// Commits a transaction that changed the catalogue.
    pub(crate) async fn commit_change(
        &self,
        mut transaction: Transaction,
        level: SyncLevel,
    ) -> std::result::Result<Committed, storage::Error> {
        // Whoever gets a lock on a table after us must find its new definition.
        transaction.hold_locks_until_visible();
        let changes = &self.0.changes;
        let hurries = host::planted!("tables are shown before the commit that makes them");
        if hurries && let Ok(own) = store::load(&transaction).await {
            *self.0.cached.write() = Some(Arc::new(own));
        }
        let counted = u64::from(!hurries);
        changes.under_way.fetch_add(counted, Ordering::AcqRel);
        let outcome = transaction.commit(level).await;
        match &outcome {
            Ok(committed) => {
                changes.last.fetch_max(committed.lsn.get(), Ordering::AcqRel);
            }
            Err(error) if error.may_have_committed() => return outcome,
            Err(_) => {}
        }
        changes.under_way.fetch_sub(counted, Ordering::AcqRel);
        outcome
    }

    /// A catalogue with changes that only this transaction sees.
    pub(crate) async fn private_catalogue(&self, transaction: &Transaction) -> Result<Arc<Catalogue>> {
        let mut catalogue = store::load(transaction).await?;
        catalogue.version = self.0.private_versions.fetch_sub(1, Ordering::Relaxed);
        Ok(Arc::new(catalogue))
    }

    /// The cached catalogue, if a snapshot of now would have the same one.
    fn known_newest(&self) -> Option<Arc<Catalogue>> {
        // Before the cache is read: what comes into it later ends behind this.
        let visible = self.0.database.visible();
        let cached = self.0.cached.read().clone()?;
        self.0.changes.is_current(&self.0.database, visible).then_some(cached)
    }

    /// The catalogue in the newest snapshot.
    pub(crate) async fn newest(&self) -> Result<Arc<Catalogue>> {
        if let Some(known) = self.known_newest() {
            return Ok(known);
        }
        let mut transaction = self.0.database.begin(Isolation::ReadCommitted);
        // Whoever logs in to settle undecided commits must not wait for them.
        transaction.begin_login_statement().await?;
        let catalogue = self.catalogue(&transaction).await;
        transaction.rollback();
        catalogue
    }

    /// What a transaction sees whose snapshot stays, with the newest roles, rights and rules for the numbers
    /// of sequences: a snapshot keeps rows, and none of these. `kept`: the one that it had before, by the
    /// version of what is newest in it.
    pub(crate) async fn with_newest_rights(
        &self,
        seen: Arc<Catalogue>,
        kept: &mut Option<(u64, Arc<Catalogue>)>,
    ) -> Result<Arc<Catalogue>> {
        let newest = self.newest().await?;
        if newest.version <= seen.version {
            return Ok(seen);
        }
        if let Some((of, known)) = kept
            && *of == newest.version
            && known.version == seen.version
        {
            return Ok(known.clone());
        }
        let both = Arc::new(seen.with_rights_and_numbers_of(&newest));
        *kept = Some((newest.version, both.clone()));
        Ok(both)
    }

    /// The OID of the table whose rows are in this tree, as far as the newest catalogue that was read knows
    /// it; else the tree's file number.
    pub fn relation_of(&self, tree: TreeId) -> u32 {
        let cached = self.0.cached.read().clone();
        cached.and_then(|catalogue| catalogue.relation_of_tree(tree)).unwrap_or(tree.relation)
    }

    /// Rows that were inserted, updated and deleted since the start, in the tables that the newest catalogue
    /// that was read knows.
    pub fn row_changes(&self) -> RowChanges {
        let cached = self.0.cached.read().clone();
        let mut all = RowChanges::default();
        for relation in cached.iter().flat_map(|catalogue| catalogue.relations.values()) {
            let known = self.0.database.tree_statistics(relation.tree).unwrap_or_default();
            all.inserted += known.inserted;
            all.updated += known.updated;
            all.deleted += known.deleted;
        }
        all
    }

    /// OIDs and names of the databases, as far as the newest catalogue that was read knows them.
    pub fn databases(&self) -> Vec<(u32, String)> {
        let cached = self.0.cached.read().clone();
        let found = cached.iter().flat_map(|catalogue| catalogue.databases.iter());
        found.map(|entry| (entry.oid, entry.name.to_string())).collect()
    }

    /// A role by its name, as the newest snapshot has it.
    ///
    /// # Errors
    ///
    /// What storage fails with while the catalogue is read.
    pub async fn role(&self, name: &str) -> Result<Option<Role>> {
        Ok(self.newest().await?.role(name).map(|role| Role::clone(role)))
    }

    /// The names of a role and of all that it is a member of, however far; none if there is no such role.
    ///
    /// # Errors
    ///
    /// What storage fails with while the catalogue is read.
    pub async fn roles_of(&self, name: &str) -> Result<Vec<String>> {
        let catalogue = self.newest().await?;
        let Some(role) = catalogue.role(name) else { return Ok(Vec::new()) };
        let oids = catalogue.roles_of(role.oid, false);
        Ok(oids.iter().filter_map(|oid| Some(catalogue.roles.get(oid)?.name.clone())).collect())
    }

    /// The OID of a database that takes connections, by its name.
    ///
    /// # Errors
    ///
    /// What storage fails with while the catalogue is read.
    pub async fn database_oid(&self, name: &str) -> Result<Option<u32>> {
        let catalogue = self.newest().await?;
        Ok(catalogue
            .databases
            .iter()
            .find(|entry| entry.name == name && entry.connections)
            .map(|entry| entry.oid))
    }

    /// Starts a session for an authenticated role: 28000 or 3D000 if the role or database is not there.
    ///
    /// # Errors
    ///
    /// 28000 or 3D000 as above, and what storage fails with while the catalogue is read.
    pub async fn session(
        &self,
        options: SessionOptions,
        environment: Arc<dyn Environment>,
    ) -> Result<SqlSession> {
        let catalogue = self.newest().await?;
        let Some(role) = catalogue.role(&options.user).cloned() else {
            return Err(SqlError::new(
                SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                format!("role \"{}\" does not exist", options.user),
            ));
        };
        if !catalogue.databases.iter().any(|entry| entry.name == options.database && entry.connections) {
            return Err(SqlError::new(
                SqlState::INVALID_CATALOG_NAME,
                format!("database \"{}\" does not exist", options.database),
            ));
        }
        let database = catalogue.databases.iter().find(|entry| entry.name == options.database);
        let object = database.map(|entry| Object::Database(entry.oid));
        if object
            .is_some_and(|object| catalogue.privileges(role.oid, &object, Privileges::CONNECT).is_empty())
        {
            let message = format!("permission denied for database \"{}\"", options.database);
            return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
                .with_detail("User does not have CONNECT privilege."));
        }
        let mut session = SqlSession::new(self.clone(), environment, role, options.database, catalogue);
        session.refresh_role();
        // The startup message, or ALTER ROLE ... SET, may say whom it acts as.
        let acts_as = session.environment.show(session.actor(), "role")?;
        let acts_as = acts_as.filter(|name| !name.is_empty() && name != "none");
        if let Some(name) = acts_as
            && let Err(error) = session.begin_as(&name)
        {
            // Who asks for it at the start is told; what was once said of a role must not shut it out.
            let said = self.start_settings(&options.user, &session.facts.database).await?;
            if !said.iter().any(|known| known.name.eq_ignore_ascii_case("role") && known.value == name) {
                return Err(error);
            }
            session.notices.push(SqlError::report(
                Severity::Warning,
                error.code(),
                error.message().to_owned(),
            ));
        }
        Ok(session)
    }

    /// Whether a role has all rights of another, by the newest catalogue that was read.
    pub fn has_rights_of(&self, role: u32, of: u32) -> bool {
        let cached = self.0.cached.read().clone();
        cached.map_or(role == of, |catalogue| catalogue.has_rights_of(role, of))
    }

    /// What a role is called now, by the newest catalogue that was read; None if there is none of that OID.
    pub fn role_name(&self, role: u32) -> Option<String> {
        let cached = self.0.cached.read().clone()?;
        cached.roles.get(&role).map(|role| role.name.clone())
    }

    /// Whether a role may connect to a database, by the newest catalogue that was read.
    pub fn may_connect(&self, role: u32, database: u32) -> bool {
        let cached = self.0.cached.read().clone();
        let object = Object::Database(database);
        cached.is_some_and(|catalogue| !catalogue.privileges(role, &object, Privileges::CONNECT).is_empty())
    }

    /// Whether a role is a superuser, by the newest catalogue that was read.
    pub fn is_superuser(&self, role: u32) -> bool {
        let cached = self.0.cached.read().clone();
        cached.and_then(|catalogue| catalogue.roles.get(&role).map(|role| role.superuser)).unwrap_or(false)
    }

    /// Settings that sessions of a role in a database begin with, the weakest first: those of the database,
    /// of the role, of both. Each with what it comes from.
    ///
    /// # Errors
    ///
    /// What storage fails with while the catalogue is read.
    pub async fn start_settings(&self, role: &str, database: &str) -> Result<Vec<StartSetting>> {
        let catalogue = self.newest().await?;
        let role = catalogue.role(role).map_or(0, |role| role.oid);
        let database = catalogue.databases.iter().find(|entry| entry.name == database);
        let database = database.map_or(0, |entry| entry.oid);
        let mut found = Vec::new();
        let keys = [(0, 0), (database, 0), (0, role), (database, role)];
        for (at, key) in keys.into_iter().enumerate() {
            if keys.iter().take(at).any(|before| *before == key) {
                continue;
            }
            for line in catalogue.rights.settings.get(&key).into_iter().flatten() {
                if let Some((name, value)) = line.split_once('=') {
                    let (name, value) = (name.to_owned(), value.to_owned());
                    found.push(StartSetting { name, value, of_role: key.1 != 0 });
                }
            }
        }
        Ok(found)
    }
}
