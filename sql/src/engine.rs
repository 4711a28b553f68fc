//! One node's SQL: the database, its catalogue as last seen, and the sessions' common ground.

use crate::catalog::{Catalogue, Role, store};
use crate::environment::Environment;
use crate::error::{Result, SqlError, sqlstate};
use crate::session::{SessionOptions, SqlSession};
use host::Host;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::{Database, Isolation, Transaction};

/// SQL over one database directory; cloning shares it.
#[derive(Clone)]
pub struct SqlEngine(Arc<Shared>);

struct Shared {
    database: Database,
    host: Host,
    /// The newest catalogue that any session has read.
    cached: Mutex<Option<Arc<Catalogue>>>,
    /// Numbers for catalogues that only one transaction sees, counted down from the top.
    private_versions: AtomicU64,
}

impl SqlEngine {
    /// Over an open database, on a primary or a standby. Reads nothing yet.
    pub fn new(database: Database, host: Host) -> Self {
        let private_versions = AtomicU64::new(u64::MAX);
        Self(Arc::new(Shared { database, host, cached: Mutex::new(None), private_versions }))
    }

    /// The storage below.
    pub fn database(&self) -> &Database {
        &self.0.database
    }

    pub(crate) fn host(&self) -> &Host {
        &self.0.host
    }

    /// The catalogue in the running statement's snapshot. One read tells whether the cached one is it.
    pub(crate) async fn catalogue(&self, transaction: &Transaction) -> Result<Arc<Catalogue>> {
        let version = store::version(transaction).await?;
        let cached = self.0.cached.lock().clone();
        if let Some(cached) = cached
            && cached.version == version
        {
            return Ok(cached);
        }
        let loaded = Arc::new(store::load(transaction).await?);
        let mut cached = self.0.cached.lock();
        // A snapshot of before must not push out what is newer. After a switch to another history (a standby that
        // was rewound) the process is another one.
        if cached.as_ref().is_none_or(|known| known.version < loaded.version) {
            *cached = Some(loaded.clone());
        }
        Ok(loaded)
    }

    /// A catalogue with changes that only this transaction sees.
    pub(crate) async fn private_catalogue(&self, transaction: &Transaction) -> Result<Arc<Catalogue>> {
        let mut catalogue = store::load(transaction).await?;
        catalogue.version = self.0.private_versions.fetch_sub(1, Ordering::Relaxed);
        Ok(Arc::new(catalogue))
    }

    /// The catalogue for a login, which does not wait for commits that are undecided after a restart.
    async fn newest(&self) -> Result<Arc<Catalogue>> {
        let mut transaction = self.0.database.begin(Isolation::ReadCommitted);
        transaction.begin_login_statement().await?;
        let catalogue = self.catalogue(&transaction).await;
        transaction.rollback();
        catalogue
    }

    /// A role by its name, as the newest snapshot has it.
    pub async fn role(&self, name: &str) -> Result<Option<Role>> {
        Ok(self.newest().await?.role(name).map(|role| Role::clone(role)))
    }

    /// The OID of a database that takes connections, by its name.
    pub async fn database_oid(&self, name: &str) -> Result<Option<u32>> {
        let catalogue = self.newest().await?;
        Ok(catalogue
            .databases
            .iter()
            .find(|entry| entry.name == name && entry.connections)
            .map(|entry| entry.oid))
    }

    /// Starts a session for an authenticated role: 28000 or 3D000 if the role or database is not there.
    pub async fn session(
        &self,
        options: SessionOptions,
        environment: Arc<dyn Environment>,
    ) -> Result<SqlSession> {
        let catalogue = self.newest().await?;
        let Some(role) = catalogue.role(&options.user).cloned() else {
            return Err(SqlError::new(
                sqlstate::INVALID_AUTHORIZATION,
                format!("role \"{}\" does not exist", options.user),
            ));
        };
        if !catalogue.databases.iter().any(|entry| entry.name == options.database && entry.connections) {
            return Err(SqlError::new(
                sqlstate::INVALID_CATALOG_NAME,
                format!("database \"{}\" does not exist", options.database),
            ));
        }
        Ok(SqlSession::new(self.clone(), environment, role, options.database, catalogue))
    }
}
