//! Reading and changing the catalogue inside a transaction.

use crate::codec::{self, CATALOGUE_TREE, SHARED_TREE, VERSION_KEY, kind, shared_kind};
use crate::model::{
    Catalogue, Check, Column, DatabaseEntry, Index, PrimaryKey, Relation, Role, Sequence, SequencePosition,
    View,
};
use crate::permissions::{predefined_memberships, predefined_roles};
use crate::rights::{Object, PUBLIC, predefined};
use bytes::Bytes;
use sql_interface::Result;
use std::collections::HashMap;
use std::sync::Arc;
use storage::{Direction, KeyRange, LockMode, LockWait, Locked, Transaction, TreeId};

/// Entries read at once.
const BATCH: usize = 256;

/// The catalogue's version in the statement's snapshot.
///
/// # Errors
///
/// What storage fails with, and XX001 for an entry that is not one.
pub async fn version(transaction: &Transaction) -> Result<u64> {
    codec::read_version(transaction.get(CATALOGUE_TREE, &VERSION_KEY).await?.as_deref())
}

async fn read_all(transaction: &Transaction, tree: TreeId, range: KeyRange) -> Result<Vec<(Bytes, Bytes)>> {
    let mut scan = transaction.scan(tree, range, Direction::Forward);
    let mut entries = Vec::new();
    while scan.next_batch(transaction, BATCH, &mut entries).await? {}
    Ok(entries)
}

/// The entries that are definitions, of those in the catalogue's tree.
pub fn definitions() -> KeyRange {
    KeyRange::new(Vec::new(), vec![kind::SEQUENCE_STATE])
}

/// Reads the whole catalogue as the statement sees it.
///
/// # Errors
///
/// What storage fails with, and XX001 for an entry that is not one.
pub async fn load(transaction: &Transaction) -> Result<Catalogue> {
    let shared = read_all(transaction, SHARED_TREE, KeyRange::all()).await?;
    assemble(shared, read_all(transaction, CATALOGUE_TREE, definitions()).await?)
}

/// Puts the catalogue together from the entries of the shared tree and the definitions.
///
/// # Errors
///
/// XX001 for an entry that is not one.
pub fn assemble(shared: Vec<(Bytes, Bytes)>, definitions: Vec<(Bytes, Bytes)>) -> Result<Catalogue> {
    let mut catalogue = Catalogue::default();
    // Before those that are stored, which take their places.
    predefined_memberships().for_each(|membership| catalogue.rights.members.add(membership));
    for (key, value) in shared {
        if let Some(rest) = codec::strip_kind(shared_kind::ROLE, &key) {
            let (oid, _) = codec::read_oid(rest)?;
            catalogue.roles.insert(oid, Arc::new(codec::decode_role(oid, &value)?));
        } else if let Some(rest) = codec::strip_kind(shared_kind::DATABASE, &key) {
            let (oid, _) = codec::read_oid(rest)?;
            catalogue.databases.push(codec::decode_database(oid, &value)?);
        } else {
            assemble_shared_rights(&mut catalogue, &key, &value)?;
        }
    }
    for role in predefined_roles() {
        catalogue.roles.insert(role.oid, Arc::new(role));
    }
    // Kinds sort so that a relation comes before its columns, and those before its constraints.
    let mut relations: HashMap<u32, Relation> = HashMap::new();
    for (key, value) in definitions {
        if key[..] == VERSION_KEY {
            catalogue.version = codec::read_version(Some(&value))?;
        } else if let Some(rest) = codec::strip_kind(kind::RELATION, &key) {
            let (oid, _) = codec::read_oid(rest)?;
            relations.insert(oid, codec::decode_relation(oid, &value)?);
        } else if let Some(rest) = codec::strip_kind(kind::COLUMN, &key) {
            let (oid, number) = codec::read_oid(rest)?;
            if let Some(relation) = relations.get_mut(&oid) {
                relation.columns.push(codec::decode_column(number, &value)?);
            }
        } else if let Some(rest) = codec::strip_kind(kind::CONSTRAINT, &key) {
            let (oid, rest) = codec::read_oid(rest)?;
            let (constraint, _) = codec::read_oid(rest)?;
            if let Some(relation) = relations.get_mut(&oid) {
                codec::decode_constraint(relation, constraint, &value)?;
            }
        } else if let Some(rest) = codec::strip_kind(kind::SEQUENCE, &key) {
            let (oid, _) = codec::read_oid(rest)?;
            catalogue.sequences.insert(oid, Arc::new(codec::decode_sequence(oid, &value)?));
        } else if let Some(rest) = codec::strip_kind(kind::VIEW, &key) {
            let (oid, _) = codec::read_oid(rest)?;
            catalogue.views.insert(oid, Arc::new(codec::decode_view(oid, &value)?));
        } else if let Some(rest) = codec::strip_kind(kind::INDEX, &key) {
            let (oid, rest) = codec::read_oid(rest)?;
            let (index, _) = codec::read_oid(rest)?;
            if let Some(relation) = relations.get_mut(&oid) {
                codec::decode_index(relation, index, &value)?;
            }
        } else {
            assemble_rights(&mut catalogue, &key, &value)?;
        }
    }
    for mut relation in relations.into_values() {
        relation.lay_out();
        catalogue.add_relation(relation);
    }
    Ok(catalogue)
}

/// Takes in an entry of the shared tree that is about rights; others are passed over.
fn assemble_shared_rights(catalogue: &mut Catalogue, key: &[u8], value: &[u8]) -> Result<()> {
    let rights = &mut catalogue.rights;
    if let Some(rest) = codec::strip_kind(shared_kind::MEMBERSHIP, key) {
        rights.members.add(codec::decode_membership(rest, value)?);
    } else if let Some(rest) = codec::strip_kind(shared_kind::SETTINGS, key) {
        let (database, rest) = codec::read_oid(rest)?;
        let (role, _) = codec::read_oid(rest)?;
        rights.settings.insert((database, role), codec::decode_settings(value)?);
    } else if let Some(rest) = codec::strip_kind(shared_kind::DATABASE_RIGHTS, key) {
        let (oid, _) = codec::read_oid(rest)?;
        rights.acls.insert(Object::Database(oid), codec::decode_acl(value)?);
    } else if let Some(rest) = codec::strip_kind(shared_kind::ROLE_ATTRIBUTES, key) {
        let (oid, _) = codec::read_oid(rest)?;
        if let Some(role) = catalogue.roles.get_mut(&oid) {
            Arc::make_mut(role).bypass_rls = codec::decode_attributes(value)?;
        }
    }
    Ok(())
}

/// Takes in an entry of the database's tree that is about rights; others are passed over.
fn assemble_rights(catalogue: &mut Catalogue, key: &[u8], value: &[u8]) -> Result<()> {
    let rights = &mut catalogue.rights;
    if let Some(rest) = codec::strip_kind(kind::RIGHTS, key) {
        if let Some(object) = codec::decode_object(rest)? {
            rights.acls.insert(object, codec::decode_acl(value)?);
        }
    } else if let Some(rest) = codec::strip_kind(kind::DEFAULT_RIGHTS, key) {
        rights.defaults.insert(codec::decode_default_for(rest)?, codec::decode_acl(value)?);
    } else if let Some(rest) = codec::strip_kind(kind::OPTIONS, key) {
        let (oid, _) = codec::read_oid(rest)?;
        catalogue.options.insert(oid, codec::decode_settings(value)?);
    } else if let Some(rest) = codec::strip_kind(kind::SCHEMA_OWNER, key) {
        let (schema, _) = codec::read_oid(rest)?;
        let (owner, _) = codec::read_oid(value)?;
        rights.schema_owners.insert(schema, owner);
    }
    Ok(())
}

/// Locks an entry, which may be waited for as long as the transaction says.
pub(crate) async fn lock_entry(
    transaction: &mut Transaction,
    tree: TreeId,
    key: &[u8],
    mode: LockMode,
) -> Result<Locked> {
    let wait = transaction.lock_wait();
    Ok(transaction.lock(tree, key, mode, wait).await?)
}

/// Locks an entry and writes it.
pub(crate) async fn put(
    transaction: &mut Transaction,
    tree: TreeId,
    key: Vec<u8>,
    value: Vec<u8>,
) -> Result<()> {
    lock_entry(transaction, tree, &key, LockMode::Exclusive).await?;
    Ok(transaction.put(tree, key, value)?)
}

/// Locks an entry and deletes it.
pub(crate) async fn delete(transaction: &mut Transaction, tree: TreeId, key: Vec<u8>) -> Result<()> {
    lock_entry(transaction, tree, &key, LockMode::Exclusive).await?;
    Ok(transaction.delete(tree, key)?)
}

/// Counts the version up: the last thing that a transaction with catalogue changes does before it commits, so
/// that the lock on this one entry is held for the commit alone.
///
/// # Errors
///
/// What storage fails with, and XX001 for an entry that is not one.
pub async fn bump_version(transaction: &mut Transaction) -> Result<()> {
    let wait = transaction.lock_wait();
    let locked = transaction.lock_counter(CATALOGUE_TREE, &VERSION_KEY, wait).await?;
    let next = codec::read_version(locked.newest.as_deref())?.wrapping_add(1);
    Ok(transaction.put(CATALOGUE_TREE, VERSION_KEY.to_vec(), next.to_le_bytes().to_vec())?)
}

/// Locks a table's name; true if a table has it in the newest state.
///
/// # Errors
///
/// What storage fails with.
pub async fn lock_relation_name(transaction: &mut Transaction, name: &str) -> Result<bool> {
    let key = codec::name_key(kind::NAME, name);
    let locked = lock_entry(transaction, CATALOGUE_TREE, &key, LockMode::Exclusive).await?;
    Ok(locked.newest.is_some())
}

/// Locks a role's name; true if a role has it in the newest state.
///
/// # Errors
///
/// What storage fails with.
pub async fn lock_role_name(transaction: &mut Transaction, name: &str) -> Result<bool> {
    let key = codec::name_key(shared_kind::ROLE_NAME, name);
    let locked = lock_entry(transaction, SHARED_TREE, &key, LockMode::Exclusive).await?;
    Ok(locked.newest.is_some())
}

/// Writes a role's entry and its name, new or changed.
///
/// # Errors
///
/// What storage fails with.
pub async fn put_role(transaction: &mut Transaction, role: &Role) -> Result<()> {
    let key = codec::name_key(shared_kind::ROLE_NAME, &role.name);
    put(transaction, SHARED_TREE, key, role.oid.to_be_bytes().to_vec()).await?;
    put(transaction, SHARED_TREE, codec::oid_key(shared_kind::ROLE, role.oid), codec::encode_role(role)?)
        .await
}

/// Removes a role and its name.
///
/// # Errors
///
/// What storage fails with.
pub async fn delete_role(transaction: &mut Transaction, role: &Role) -> Result<()> {
    delete(transaction, SHARED_TREE, codec::name_key(shared_kind::ROLE_NAME, &role.name)).await?;
    delete(transaction, SHARED_TREE, codec::oid_key(shared_kind::ROLE, role.oid)).await
}

pub(crate) async fn put_database(transaction: &mut Transaction, entry: &DatabaseEntry) -> Result<()> {
    let key = codec::oid_key(shared_kind::DATABASE, entry.oid);
    put(transaction, SHARED_TREE, key, codec::encode_database(entry)?).await
}

/// Gives a name, locked before by [`lock_relation_name`], to a table or an index.
async fn put_name(transaction: &mut Transaction, name: &str, oid: u32) -> Result<()> {
    put(transaction, CATALOGUE_TREE, codec::name_key(kind::NAME, name), oid.to_be_bytes().to_vec()).await
}

/// A sequence's definition and name.
///
/// # Errors
///
/// What storage fails with.
pub async fn put_sequence(transaction: &mut Transaction, sequence: &Sequence) -> Result<()> {
    put_name(transaction, &sequence.name, sequence.oid).await?;
    let key = codec::oid_key(kind::SEQUENCE, sequence.oid);
    put(transaction, CATALOGUE_TREE, key, codec::encode_sequence(sequence)?).await
}

/// Writes a view's entry and its name, new or changed.
///
/// # Errors
///
/// What storage fails with.
pub async fn put_view(transaction: &mut Transaction, view: &View) -> Result<()> {
    put_name(transaction, &view.name, view.oid).await?;
    put(transaction, CATALOGUE_TREE, codec::oid_key(kind::VIEW, view.oid), codec::encode_view(view)?).await
}

/// What something may come to rest on: a grant or a table on a role, a view on another.
#[derive(Clone, Copy, Debug)]
pub enum Base {
    /// A role by its OID.
    Role(u32),
    /// A view by its OID.
    View(u32),
}

impl Base {
    fn key(self) -> (TreeId, Vec<u8>) {
        match self {
            Self::Role(oid) => (SHARED_TREE, codec::oid_key(shared_kind::ROLE, oid)),
            Self::View(oid) => (CATALOGUE_TREE, codec::oid_key(kind::VIEW, oid)),
        }
    }
}

/// Keeps a role or a view from being dropped until the transaction ends, because something comes to rest on
/// it; false if it is not there any more.
///
/// # Errors
///
/// What storage fails with.
pub async fn hold(transaction: &mut Transaction, base: Base) -> Result<bool> {
    if let Base::Role(role) = base
        && (role == PUBLIC || predefined::contains(role))
    {
        return Ok(true);
    }
    let (tree, key) = base.key();
    Ok(lock_entry(transaction, tree, &key, LockMode::KeyShare).await?.newest.is_some())
}

/// Waits until nobody holds a role or a view any more ([`hold`]), and lets nobody else until the transaction
/// ends.
///
/// # Errors
///
/// What storage fails with.
pub async fn lock(transaction: &mut Transaction, base: Base) -> Result<()> {
    let (tree, key) = base.key();
    lock_entry(transaction, tree, &key, LockMode::Exclusive).await?;
    Ok(())
}

/// Removes a view and its name.
///
/// # Errors
///
/// What storage fails with.
pub async fn delete_view(transaction: &mut Transaction, view: &View) -> Result<()> {
    delete_name(transaction, &view.name).await?;
    delete(transaction, CATALOGUE_TREE, codec::oid_key(kind::VIEW, view.oid)).await
}

/// A sequence with all its states.
///
/// # Errors
///
/// What storage fails with.
pub async fn delete_sequence(transaction: &mut Transaction, sequence: &Sequence) -> Result<()> {
    delete_name(transaction, &sequence.name).await?;
    delete(transaction, CATALOGUE_TREE, codec::oid_key(kind::SEQUENCE, sequence.oid)).await?;
    delete_sequence_states(transaction, sequence.oid, Some(sequence.state)).await.map(drop)
}

/// Removes all states that are stored of a sequence, the present one and what was left by others; returns how
/// many. The present one stays locked in any case.
pub(crate) async fn delete_sequence_states(
    transaction: &mut Transaction,
    oid: u32,
    present: Option<u32>,
) -> Result<usize> {
    let present = present.map(|state| Bytes::from(codec::sequence_state_key(oid, state)));
    let all = KeyRange::prefix(codec::oid_key(kind::SEQUENCE_STATE, oid));
    let stored = read_all(transaction, CATALOGUE_TREE, all).await?.into_iter().map(|(key, _)| key);
    let others: Vec<Bytes> = stored.filter(|key| present.as_ref() != Some(key)).collect();
    let (wait, mut deleted) = (transaction.lock_wait(), 0);
    for key in present.into_iter().chain(others) {
        // A number that somebody took since the snapshot is no conflict: numbers belong to no snapshot.
        let locked = transaction.lock_newest(CATALOGUE_TREE, &key, LockMode::Exclusive, wait).await?;
        if locked.newest.is_some() {
            transaction.delete(CATALOGUE_TREE, key)?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

/// What was found where a state of a sequence was to be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SequenceState {
    /// Somebody else has it.
    Busy,
    /// Locked, and nothing is stored.
    Unwritten,
    /// Locked, and this is stored.
    At(SequencePosition),
}

/// Locks a state of a sequence if nobody else has it, and reads it. It is waited for elsewhere
/// ([`crate::sequences::settled`]): by a transaction whose other locks a search for deadlocks knows.
pub(crate) async fn lock_sequence_state(
    transaction: &mut Transaction,
    (oid, state): (u32, u32),
) -> Result<SequenceState> {
    let key = codec::sequence_state_key(oid, state);
    match transaction.lock_newest(CATALOGUE_TREE, &key, LockMode::Exclusive, LockWait::NoWait).await {
        Err(storage::Error::LockNotAvailable { .. }) => Ok(SequenceState::Busy),
        Err(error) => Err(error.into()),
        Ok(Locked { newest: Some(bytes), .. }) => Ok(SequenceState::At(codec::decode_position(&bytes)?)),
        Ok(_) => Ok(SequenceState::Unwritten),
    }
}

/// Waits until nobody else has this state locked, and leaves no lock on it.
pub(crate) async fn settle_sequence_state(
    transaction: &mut Transaction,
    sequence: &Sequence,
) -> std::result::Result<(), storage::Error> {
    let (key, wait) = (codec::sequence_state_key(sequence.oid, sequence.state), transaction.lock_wait());
    transaction.settled(CATALOGUE_TREE, &key, wait).await.map(drop)
}

/// The newest definition of a sequence: this transaction's own, or one that was committed, in doubt or not.
/// None if it is gone.
pub(crate) async fn settled_sequence(
    transaction: &mut Transaction,
    oid: u32,
    wait: LockWait,
) -> std::result::Result<Option<Bytes>, storage::Error> {
    let key = codec::oid_key(kind::SEQUENCE, oid);
    Ok(transaction.settled(CATALOGUE_TREE, &key, wait).await?.newest)
}

/// Writes a state that is locked.
pub(crate) fn put_sequence_state(
    transaction: &mut Transaction,
    (oid, state): (u32, u32),
    position: SequencePosition,
) -> Result<()> {
    let key = codec::sequence_state_key(oid, state);
    Ok(transaction.put(CATALOGUE_TREE, key, codec::encode_position(position))?)
}

/// The states that are stored, as the running statement sees them: each with its sequence and its number.
pub(crate) async fn sequence_states(transaction: &Transaction) -> Result<Vec<(u32, u32)>> {
    let all = KeyRange::prefix(vec![kind::SEQUENCE_STATE]);
    let mut states = Vec::new();
    for (key, _) in read_all(transaction, CATALOGUE_TREE, all).await? {
        let rest = codec::strip_kind(kind::SEQUENCE_STATE, &key).unwrap_or_default();
        let (oid, rest) = codec::read_oid(rest)?;
        states.push((oid, codec::read_oid(rest)?.0));
    }
    Ok(states)
}

/// A state as the running statement sees it.
///
/// # Errors
///
/// What storage fails with, and XX001 for an entry that is not one.
pub async fn sequence_state(
    transaction: &Transaction,
    sequence: &Sequence,
) -> Result<Option<SequencePosition>> {
    let key = codec::sequence_state_key(sequence.oid, sequence.state);
    let found = transaction.get(CATALOGUE_TREE, &key).await?;
    found.map(|bytes| codec::decode_position(&bytes)).transpose()
}

/// The relation's own entry and its name, not its columns and constraints.
///
/// # Errors
///
/// What storage fails with.
pub async fn put_relation(transaction: &mut Transaction, relation: &Relation) -> Result<()> {
    put_name(transaction, &relation.name, relation.oid).await?;
    let key = codec::oid_key(kind::RELATION, relation.oid);
    put(transaction, CATALOGUE_TREE, key, codec::encode_relation(relation)?).await
}

/// Frees the name of a relation, which goes or gets another one.
///
/// # Errors
///
/// What storage fails with.
pub async fn delete_name(transaction: &mut Transaction, name: &str) -> Result<()> {
    delete(transaction, CATALOGUE_TREE, codec::name_key(kind::NAME, name)).await
}

/// Writes a column of a table, new or changed.
///
/// # Errors
///
/// What storage fails with.
pub async fn put_column(transaction: &mut Transaction, relation: u32, column: &Column) -> Result<()> {
    let key = codec::column_key(relation, column.number);
    put(transaction, CATALOGUE_TREE, key, codec::encode_column(column)?).await
}

/// Writes a table's primary key and its name. `columns`: all of the table's.
///
/// # Errors
///
/// What storage fails with.
pub async fn put_primary_key(
    transaction: &mut Transaction,
    relation: u32,
    key: &PrimaryKey,
    columns: &[Column],
) -> Result<()> {
    put_name(transaction, &key.name, key.oid).await?;
    let place = codec::constraint_key(relation, key.oid);
    put(transaction, CATALOGUE_TREE, place, codec::encode_primary_key(key, columns)?).await
}

/// Writes an index of a table and its name. `columns`: all of the table's.
///
/// # Errors
///
/// What storage fails with.
pub async fn put_index(
    transaction: &mut Transaction,
    relation: u32,
    index: &Index,
    columns: &[Column],
) -> Result<()> {
    put_name(transaction, &index.name, index.oid).await?;
    let place = codec::index_key(relation, index.oid);
    put(transaction, CATALOGUE_TREE, place, codec::encode_index(index, columns)?).await
}

/// Removes an index and its name; its tree is left to the caller.
///
/// # Errors
///
/// What storage fails with.
pub async fn delete_index(transaction: &mut Transaction, relation: u32, index: &Index) -> Result<()> {
    delete_name(transaction, &index.name).await?;
    delete(transaction, CATALOGUE_TREE, codec::index_key(relation, index.oid)).await
}

/// Writes a CHECK constraint of a table.
///
/// # Errors
///
/// What storage fails with.
pub async fn put_check(transaction: &mut Transaction, relation: u32, check: &Check) -> Result<()> {
    let key = codec::constraint_key(relation, check.oid);
    put(transaction, CATALOGUE_TREE, key, codec::encode_check(check)?).await
}

/// Removes a CHECK constraint or a primary key by its OID, not its name.
///
/// # Errors
///
/// What storage fails with.
pub async fn delete_constraint(transaction: &mut Transaction, relation: u32, constraint: u32) -> Result<()> {
    delete(transaction, CATALOGUE_TREE, codec::constraint_key(relation, constraint)).await
}

/// A new table with all that belongs to it.
///
/// # Errors
///
/// What storage fails with.
pub async fn create_relation(transaction: &mut Transaction, relation: &Relation) -> Result<()> {
    put_relation(transaction, relation).await?;
    for column in &relation.columns {
        put_column(transaction, relation.oid, column).await?;
    }
    if let Some(key) = &relation.primary_key {
        put_primary_key(transaction, relation.oid, key, &relation.columns).await?;
    }
    for index in &relation.indexes {
        put_index(transaction, relation.oid, index, &relation.columns).await?;
    }
    for check in &relation.checks {
        put_check(transaction, relation.oid, check).await?;
    }
    Ok(())
}

/// All entries of a table.
///
/// # Errors
///
/// What storage fails with.
pub async fn drop_relation(transaction: &mut Transaction, relation: &Relation) -> Result<()> {
    delete_name(transaction, &relation.name).await?;
    delete(transaction, CATALOGUE_TREE, codec::oid_key(kind::RELATION, relation.oid)).await?;
    for column in &relation.columns {
        delete(transaction, CATALOGUE_TREE, codec::column_key(relation.oid, column.number)).await?;
    }
    if let Some(key) = &relation.primary_key {
        delete_name(transaction, &key.name).await?;
        delete_constraint(transaction, relation.oid, key.oid).await?;
    }
    for index in &relation.indexes {
        delete_index(transaction, relation.oid, index).await?;
    }
    for check in &relation.checks {
        delete_constraint(transaction, relation.oid, check.oid).await?;
    }
    Ok(())
}
