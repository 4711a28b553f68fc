//! Rights, memberships, settings of roles and databases, options.
//!
//! The class of an object is the letter that names it in a key: `r` relation, `c` column (its number u16 BE
//! behind the relation's OID), `n` schema, `f` function (its name and argument types). A list of rights is
//! its items one after the other; texts are an array of text.

use super::{Fields, corrupt, encode, kind, oid_key, read_oid, shared_kind};
use crate::rights::{Acl, DefaultFor, Membership, Object};
use sql_interface::Result;
use sql_types::{Array, Datum, TypeId};
use std::sync::Arc;
use storage::TreeId;

const MEMBERSHIP: &[TypeId] = &[TypeId::Oid, TypeId::Bool];
const TEXTS: &[TypeId] = &[TypeId::TextArray];
const ATTRIBUTES: &[TypeId] = &[TypeId::Bool];

/// The tree and the key of an object's list.
pub(crate) fn acl_key(object: &Object) -> (TreeId, Vec<u8>) {
    let mut key = vec![kind::RIGHTS];
    match object {
        Object::Database(oid) => {
            return (super::SHARED_TREE, oid_key(shared_kind::DATABASE_RIGHTS, *oid));
        }
        Object::Relation(oid) | Object::MadeUp(oid, _) => {
            key.push(b'r');
            key.extend_from_slice(&oid.to_be_bytes());
        }
        Object::Column(oid, number) => {
            key.push(b'c');
            key.extend_from_slice(&oid.to_be_bytes());
            key.extend_from_slice(&number.unsigned_abs().to_be_bytes());
        }
        Object::Schema(oid) => {
            key.push(b'n');
            key.extend_from_slice(&oid.to_be_bytes());
        }
        Object::Function(signature) => {
            key.push(b'f');
            key.extend_from_slice(signature.as_bytes());
        }
    }
    (super::CATALOGUE_TREE, key)
}

/// The object that a key behind its kind names; None for a class that this program does not know.
pub(crate) fn decode_object(rest: &[u8]) -> Result<Option<Object>> {
    let (class, rest) = rest.split_first().ok_or_else(corrupt)?;
    Ok(Some(match class {
        b'r' => Object::Relation(read_oid(rest)?.0),
        b'n' => Object::Schema(read_oid(rest)?.0),
        b'c' => {
            let (oid, number) = read_oid(rest)?;
            let number = <[u8; 2]>::try_from(number).map(u16::from_be_bytes).map_err(|_| corrupt())?;
            Object::Column(oid, i16::try_from(number).map_err(|_| corrupt())?)
        }
        b'f' => Object::Function(std::str::from_utf8(rest).map_err(|_| corrupt())?.to_owned()),
        _ => return Ok(None),
    }))
}

pub(crate) fn decode_acl(bytes: &[u8]) -> Result<Acl> {
    Acl::from_bytes(bytes).ok_or_else(corrupt)
}

pub(crate) fn membership_key(role: u32, member: u32) -> Vec<u8> {
    let mut key = oid_key(shared_kind::MEMBERSHIP, role);
    key.extend_from_slice(&member.to_be_bytes());
    key
}

pub(crate) fn encode_membership(membership: &Membership) -> Result<Vec<u8>> {
    encode(MEMBERSHIP, &[Datum::Oid(membership.grantor), membership.admin.into()])
}

pub(crate) fn decode_membership(rest: &[u8], bytes: &[u8]) -> Result<Membership> {
    let (role, rest) = read_oid(rest)?;
    let (member, _) = read_oid(rest)?;
    let mut fields = Fields::decode(MEMBERSHIP, bytes)?;
    Ok(Membership { role, member, grantor: fields.oid()?, admin: fields.bool()? })
}

pub(crate) fn settings_key(database: u32, role: u32) -> Vec<u8> {
    let mut key = oid_key(shared_kind::SETTINGS, database);
    key.extend_from_slice(&role.to_be_bytes());
    key
}

/// Settings, or options: `name=value` each.
pub(crate) fn encode_texts(texts: &[String]) -> Result<Vec<u8>> {
    let values = texts.iter().map(|text| Datum::text(text.as_str())).collect();
    encode(TEXTS, &[Datum::Array(Arc::new(Array::of(TypeId::Text, values)))])
}

pub(crate) fn decode_settings(bytes: &[u8]) -> Result<Vec<String>> {
    let Datum::Array(array) = Fields::decode(TEXTS, bytes)?.next() else { return Err(corrupt()) };
    array.values().iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(corrupt)).collect()
}

pub(crate) fn default_key(of: DefaultFor) -> Vec<u8> {
    let mut key = oid_key(kind::DEFAULT_RIGHTS, of.role);
    key.extend_from_slice(&of.schema.to_be_bytes());
    key.extend_from_slice(of.kind.encode_utf8(&mut [0; 4]).as_bytes());
    key
}

pub(crate) fn decode_default_for(rest: &[u8]) -> Result<DefaultFor> {
    let (role, rest) = read_oid(rest)?;
    let (schema, rest) = read_oid(rest)?;
    let [letter] = rest else { return Err(corrupt()) };
    Ok(DefaultFor { role, schema, kind: char::from(*letter) })
}

/// What a role's own entry has no room for: BYPASSRLS.
pub(crate) fn encode_attributes(bypass_rls: bool) -> Result<Vec<u8>> {
    encode(ATTRIBUTES, &[bypass_rls.into()])
}

pub(crate) fn decode_attributes(bytes: &[u8]) -> Result<bool> {
    Fields::decode(ATTRIBUTES, bytes)?.bool()
}
