//! Whether the definition that a snapshot sees is the newest one.

use crate::codec::{self, CATALOGUE_TREE, kind};
use storage::{Error, LockMode, Transaction};

/// Fails with 40001 under REPEATABLE READ if the table's definition changed since the snapshot; keeps it from
/// changing until the transaction ends.
///
/// # Errors
///
/// 40001 as above, and what else storage fails with.
pub async fn hold(transaction: &mut Transaction, relation: u32) -> Result<(), Error> {
    let key = codec::oid_key(kind::RELATION, relation);
    let wait = transaction.lock_wait();
    transaction.lock(CATALOGUE_TREE, &key, LockMode::KeyShare, wait).await.map(drop)
}

/// Whether others have changed a table's definition since the snapshot. Takes no lock.
///
/// # Errors
///
/// What storage fails with.
pub async fn has_changed(transaction: &mut Transaction, relation: u32) -> Result<bool, Error> {
    transaction.changed_since_snapshot(CATALOGUE_TREE, &codec::oid_key(kind::RELATION, relation)).await
}
