//! Changing rights inside a transaction. Whoever reads a list to change it locks it first
//! ([`lock`]), and looks at it in a statement that begins after that.

use crate::codec::{self, CATALOGUE_TREE, SHARED_TREE, kind, shared_kind};
use crate::model::Role;
use crate::rights::{Acl, DefaultFor, Membership, Object};
use crate::store::{delete, lock_entry, put};
use sql_interface::Result;
use storage::{LockMode, Transaction};

/// Keeps others from changing an object's list until the transaction ends.
///
/// # Errors
///
/// What storage fails with; 40001 under REPEATABLE READ if another has changed it.
pub async fn lock(transaction: &mut Transaction, object: &Object) -> Result<()> {
    let (tree, key) = codec::acl_key(object);
    lock_entry(transaction, tree, &key, LockMode::Exclusive).await?;
    Ok(())
}

/// Keeps others from changing default privileges until the transaction ends.
///
/// # Errors
///
/// As [`lock`].
pub async fn lock_default(transaction: &mut Transaction, of: DefaultFor) -> Result<()> {
    lock_entry(transaction, CATALOGUE_TREE, &codec::default_key(of), LockMode::Exclusive).await?;
    Ok(())
}

/// Keeps others from changing roles, what they own, their rights and memberships until the transaction ends:
/// entries are read and written whole, and two grants at once must not make a loop that neither sees.
///
/// # Errors
///
/// As [`lock`].
pub async fn lock_roles(transaction: &mut Transaction) -> Result<()> {
    let key = [shared_kind::MEMBERSHIP];
    lock_entry(transaction, SHARED_TREE, &key, LockMode::Exclusive).await?;
    Ok(())
}

/// Writes an object's list; None takes it away, so that it has its default again.
///
/// # Errors
///
/// What storage fails with.
pub async fn put_acl(transaction: &mut Transaction, object: &Object, acl: Option<&Acl>) -> Result<()> {
    let (tree, key) = codec::acl_key(object);
    match acl {
        Some(acl) => put(transaction, tree, key, acl.to_bytes()).await,
        None => delete(transaction, tree, key).await,
    }
}

/// Writes default privileges, or takes them away.
///
/// # Errors
///
/// What storage fails with.
pub async fn put_default(transaction: &mut Transaction, of: DefaultFor, acl: Option<&Acl>) -> Result<()> {
    let key = codec::default_key(of);
    match acl {
        Some(acl) => put(transaction, CATALOGUE_TREE, key, acl.to_bytes()).await,
        None => delete(transaction, CATALOGUE_TREE, key).await,
    }
}

/// Writes a membership.
///
/// # Errors
///
/// What storage fails with.
pub async fn put_membership(transaction: &mut Transaction, membership: &Membership) -> Result<()> {
    let key = codec::membership_key(membership.role, membership.member);
    put(transaction, SHARED_TREE, key, codec::encode_membership(membership)?).await
}

/// Takes a membership away.
///
/// # Errors
///
/// What storage fails with.
pub async fn delete_membership(transaction: &mut Transaction, role: u32, member: u32) -> Result<()> {
    delete(transaction, SHARED_TREE, codec::membership_key(role, member)).await
}

/// Writes the settings that sessions of a role in a database begin with (0: any of them); none takes them
/// away.
///
/// # Errors
///
/// What storage fails with.
pub async fn put_settings(
    transaction: &mut Transaction,
    (database, role): (u32, u32),
    settings: &[String],
) -> Result<()> {
    let key = codec::settings_key(database, role);
    if settings.is_empty() {
        return delete(transaction, SHARED_TREE, key).await;
    }
    put(transaction, SHARED_TREE, key, codec::encode_texts(settings)?).await
}

/// Writes what a role's entry has no room for.
///
/// # Errors
///
/// What storage fails with.
pub async fn put_attributes(transaction: &mut Transaction, role: &Role) -> Result<()> {
    let key = codec::oid_key(shared_kind::ROLE_ATTRIBUTES, role.oid);
    put(transaction, SHARED_TREE, key, codec::encode_attributes(role.bypass_rls)?).await
}

/// Takes that away with its role.
///
/// # Errors
///
/// What storage fails with.
pub async fn delete_attributes(transaction: &mut Transaction, role: u32) -> Result<()> {
    delete(transaction, SHARED_TREE, codec::oid_key(shared_kind::ROLE_ATTRIBUTES, role)).await
}

/// Writes the options of a table, an index or a view; none takes them away.
///
/// # Errors
///
/// What storage fails with.
pub async fn put_options(transaction: &mut Transaction, oid: u32, options: &[String]) -> Result<()> {
    let key = codec::oid_key(kind::OPTIONS, oid);
    if options.is_empty() {
        return delete(transaction, CATALOGUE_TREE, key).await;
    }
    put(transaction, CATALOGUE_TREE, key, codec::encode_texts(options)?).await
}

/// Gives a schema to another owner.
///
/// # Errors
///
/// What storage fails with.
pub async fn put_schema_owner(transaction: &mut Transaction, schema: u32, owner: u32) -> Result<()> {
    let key = codec::oid_key(kind::SCHEMA_OWNER, schema);
    put(transaction, CATALOGUE_TREE, key, owner.to_be_bytes().to_vec()).await
}

/// Takes away what was granted on a relation that goes, and on its columns. `known`: the rights as the
/// transaction sees them.
///
/// # Errors
///
/// What storage fails with.
pub async fn drop_relation(
    transaction: &mut Transaction,
    known: &crate::Catalogue,
    relation: u32,
) -> Result<()> {
    let of_relation = |object: &&Object| matches!(object, Object::Relation(oid) | Object::Column(oid, _) if *oid == relation);
    let mut objects: Vec<&Object> = known.rights.acls.keys().filter(of_relation).collect();
    objects.sort_by_key(|object| object.sort_key());
    for object in objects {
        put_acl(transaction, object, None).await?;
    }
    if known.options.contains_key(&relation) {
        put_options(transaction, relation, &[]).await?;
    }
    Ok(())
}

/// Gives what was granted on a relation and its columns by or to its old owner to the new one.
///
/// # Errors
///
/// What storage fails with.
pub async fn change_owner(
    transaction: &mut Transaction,
    known: &crate::Catalogue,
    object: &Object,
    (old, new): (u32, u32),
) -> Result<()> {
    let mut objects = vec![object.clone()];
    if let Object::Relation(relation) = object {
        objects.extend(known.columns_with_rights(*relation).map(|at| Object::Column(*relation, at)));
    }
    for object in objects {
        if let Some(acl) = known.rights.acls.get(&object) {
            put_acl(transaction, &object, Some(&acl.with_owner(old, new))).await?;
        }
    }
    Ok(())
}

/// Gives a new relation the default privileges of whoever makes it.
///
/// # Errors
///
/// What storage fails with.
pub async fn begin_relation(
    transaction: &mut Transaction,
    known: &crate::Catalogue,
    relation: u32,
    (kind, owner): (char, u32),
) -> Result<()> {
    match known.new_acl(kind, owner, crate::PUBLIC_OID) {
        Some(acl) => put_acl(transaction, &Object::Relation(relation), Some(&acl)).await,
        None => Ok(()),
    }
}

/// Writes a database's entry, which has got another owner.
///
/// # Errors
///
/// What storage fails with.
pub async fn put_database(transaction: &mut Transaction, entry: &crate::DatabaseEntry) -> Result<()> {
    crate::store::put_database(transaction, entry).await
}
