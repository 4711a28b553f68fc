//! One node's SQL: the database, its catalogue as last seen, and the sessions' common ground.

use crate::catalog::Role;
use crate::environment::Environment;
use crate::error::{Result, SqlError};
use crate::session::{SessionOptions, SqlSession};
use std::sync::Arc;
use storage::Database;

/// SQL over one database directory; cloning shares it.
#[derive(Clone)]
pub struct SqlEngine {
    database: Database,
}

impl SqlEngine {
    /// Over an open database, on a primary or a standby. Reads nothing yet.
    pub fn new(database: Database, host: host::Host) -> Self {
        let _ = host;
        Self { database }
    }

    /// The storage below.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// A role by its name, as the newest snapshot has it.
    pub async fn role(&self, name: &str) -> Result<Option<Role>> {
        let _ = name;
        Err(SqlError::unsupported("a role"))
    }

    /// The OID of a database that takes connections, by its name.
    pub async fn database_oid(&self, name: &str) -> Result<Option<u32>> {
        let _ = name;
        Err(SqlError::unsupported("a database"))
    }

    /// Starts a session for an authenticated role: 28000 or 3D000 if the role or database is not there.
    pub async fn session(
        &self,
        options: SessionOptions,
        environment: Arc<dyn Environment>,
    ) -> Result<SqlSession> {
        let _ = (options, environment);
        Err(SqlError::unsupported("a session"))
    }
}
