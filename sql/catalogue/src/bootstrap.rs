//! The first catalogue of a new directory.

use crate::codec::{CATALOGUE_TREE, SHARED_TREE};
use crate::model::{BOOTSTRAP_ROLE_OID, DatabaseEntry, POSTGRES_DATABASE, Role};
use crate::store;
use sql_interface::{Result, SqlError};
use storage::{Database, Isolation, SyncLevel};

/// template1, template0 and postgres with PostgreSQL's OIDs.
const DATABASES: [(u32, &str, bool, bool); 3] = [
    (1, "template1", true, true),
    (4, "template0", true, false),
    (POSTGRES_DATABASE, "postgres", false, true),
];

/// Writes the first catalogue into a freshly created directory: the databases template1, template0 and
/// postgres, and one superuser. `verifier` is its SCRAM-SHA-256 verifier; None lets it in only where
/// pg_hba.conf says trust.
///
/// # Errors
///
/// What storage fails with: a commit that is not written.
pub async fn bootstrap(database: &Database, superuser: &str, verifier: Option<&str>) -> Result<()> {
    let mut transaction = database.begin(Isolation::ReadCommitted);
    transaction.begin_statement().await?;
    // A new directory gives out its relation numbers in order, so both trees land where they are looked for.
    for (expected, home) in [(SHARED_TREE, SHARED_TREE.database), (CATALOGUE_TREE, CATALOGUE_TREE.database)] {
        let made = transaction.create_tree(home).await?;
        if made != expected {
            return Err(SqlError::internal(format!(
                "the catalogue must lie in {} of a new directory, not in {}",
                expected.file(),
                made.file()
            )));
        }
    }
    let role = Role {
        oid: BOOTSTRAP_ROLE_OID,
        name: superuser.to_owned(),
        superuser: true,
        login: true,
        replication: true,
        create_role: true,
        create_database: true,
        inherit: true,
        bypass_rls: true,
        connection_limit: -1,
        password: verifier.map(str::to_owned),
        valid_until: None,
    };
    store::put_role(&mut transaction, &role).await?;
    for (oid, name, template, connections) in DATABASES {
        let entry =
            DatabaseEntry { oid, name: name.to_owned(), owner: BOOTSTRAP_ROLE_OID, template, connections };
        store::put_database(&mut transaction, &entry).await?;
    }
    store::bump_version(&mut transaction).await?;
    transaction.commit(SyncLevel::Local).await?;
    Ok(())
}
