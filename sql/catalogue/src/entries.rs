//! Single entries of the catalogue in words, for who finds them in a log.

use crate::codec::{self, VERSION_KEY, kind, shared_kind};
use crate::rights::Object;
use sql_interface::Result;
use storage::TreeId;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// "table", "column", ...
    pub what: &'static str,
    /// Its OID, or that of the table that it belongs to.
    pub oid: u32,
    /// Its name, where the entry has it.
    pub name: Option<String>,
    /// Where a sequence stands.
    pub position: Option<i64>,
    /// The tree that a table or an index is in.
    pub tree: Option<TreeId>,
    /// A column that is dropped: only its place in the rows is left of it, and a name that nobody gave it.
    pub is_dropped: bool,
}

/// Reads an entry of the database's tree; None for what is no object of a user.
///
/// # Errors
/// XX001 for an entry that is not one.
pub fn entry(key: &[u8], value: &[u8]) -> Result<Option<Entry>> {
    let Some((first, rest)) = key.split_first().filter(|_| *key != VERSION_KEY) else { return Ok(None) };
    let what = match *first {
        kind::RELATION => "table",
        kind::COLUMN => "column",
        kind::CONSTRAINT => "constraint",
        kind::INDEX => "index",
        kind::SEQUENCE => "sequence",
        kind::VIEW => "view",
        kind::SEQUENCE_STATE => "sequence position",
        kind::RIGHTS => return rights(rest),
        kind::DEFAULT_RIGHTS => "default privileges of role",
        kind::OPTIONS => "options of relation",
        kind::SCHEMA_OWNER => "owner of schema",
        _ => return Ok(None),
    };
    let (oid, rest) = codec::read_oid(rest)?;
    let mut found = Entry { what, oid, name: None, position: None, tree: None, is_dropped: false };
    match *first {
        kind::RELATION => {
            let relation = codec::decode_relation(oid, value)?;
            (found.name, found.tree) = (Some(relation.name), Some(relation.tree));
        }
        kind::INDEX => found.tree = Some(codec::decode_index_tree(value)?),
        kind::COLUMN => {
            let column = codec::decode_column(rest, value)?;
            (found.name, found.is_dropped) = (Some(column.name), column.dropped);
        }
        kind::SEQUENCE => found.name = Some(codec::decode_sequence(oid, value)?.name),
        kind::VIEW => found.name = Some(codec::decode_view(oid, value)?.name),
        kind::SEQUENCE_STATE => {
            found.position = value.first_chunk().map(|position| i64::from_le_bytes(*position));
        }
        _ => {}
    }
    Ok(Some(found))
}

/// The list of rights of an object.
fn rights(rest: &[u8]) -> Result<Option<Entry>> {
    let Some(object) = codec::decode_object(rest)? else { return Ok(None) };
    let (oid, name) = match object {
        Object::Relation(oid) | Object::MadeUp(oid, _) | Object::Column(oid, _) | Object::Database(oid) => {
            (oid, None)
        }
        Object::Schema(oid) => (oid, None),
        Object::Function(signature) => (0, Some(signature)),
    };
    Ok(Some(Entry { what: "rights on", oid, name, position: None, tree: None, is_dropped: false }))
}

/// Reads an entry of the tree that all databases share.
///
/// # Errors
/// XX001 for an entry that is not one.
pub fn shared_entry(key: &[u8], value: &[u8]) -> Result<Option<Entry>> {
    let Some((first, rest)) = key.split_first() else { return Ok(None) };
    let (what, name) = match *first {
        shared_kind::ROLE => {
            let (oid, _) = codec::read_oid(rest)?;
            ("role", Some(codec::decode_role(oid, value)?.name))
        }
        shared_kind::DATABASE => ("database", None),
        shared_kind::MEMBERSHIP => ("members of role", None),
        shared_kind::SETTINGS => ("settings of database or role", None),
        shared_kind::DATABASE_RIGHTS => ("rights on database", None),
        _ => return Ok(None),
    };
    let (oid, _) = codec::read_oid(rest)?;
    Ok(Some(Entry { what, oid, name, position: None, tree: None, is_dropped: false }))
}
