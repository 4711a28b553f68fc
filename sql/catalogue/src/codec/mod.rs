//! How the catalogue lies in its two trees.
//!
//! ```text
//! tree of database 1 (shared by all databases)      tree of database 5
//! 01 role-oid            role                        00                         version (u64 LE)
//! 02 role-name           role-oid                    01 relation-oid            relation
//! 03 database-oid        database                    02 relation-oid number     column
//! 04 role-oid member-oid membership                  03 relation-oid oid        constraint
//! 05 database-oid role   settings                    04 name                    oid of the table or index
//! 06 database-oid        its rights                  05 relation-oid oid        index
//! 07 role-oid            further attributes          06 sequence-oid            sequence
//!                                                    07 view-oid                view
//!                                                    08 class object            its rights
//!                                                    09 role schema kind        default rights
//!                                                    0A oid                     options
//!                                                    0B schema-oid              its owner
//!                                                    F0 sequence-oid state      last value (i64 LE),
//!                                                    is_called (u8)
//! ```
//!
//! OIDs in keys are u32 big endian, column numbers u16 big endian, names UTF-8. Values are rows in datum's
//! row encoding, which later versions may make longer by columns at the end. The version counts up in every
//! transaction that changes any of this, so that one read tells whether a cached catalogue is the snapshot's.
//!
//! What an entry does not say has its default, so that older directories lack nothing; kinds that a program
//! does not know it passes over. `rights` has the forms of all that is about rights.

mod rights;
mod sequence;
mod view;

pub(crate) use rights::{
    acl_key, decode_acl, decode_attributes, decode_default_for, decode_membership, decode_object,
    decode_settings, default_key, encode_attributes, encode_membership, encode_texts, membership_key,
    settings_key,
};
pub(crate) use sequence::{
    decode_position, decode_sequence, encode_position, encode_sequence, sequence_state_key,
};
pub(crate) use view::{decode_view, encode_view};

use crate::model::{Check, Column, DatabaseEntry, Identity, Index, IndexColumn, PrimaryKey, Relation, Role};
use host::Timestamp;
use sql_interface::{Result, SqlError};
use sql_types::key::OrderedColumn;
use sql_types::row::RowLayout;
use sql_types::{Datum, Type, TypeId};
use sqlstate::SqlState;
use storage::TreeId;

/// Roles and databases.
pub const SHARED_TREE: TreeId = TreeId::new(1, 16384);
/// Relations, columns, constraints.
pub const CATALOGUE_TREE: TreeId = TreeId::new(crate::model::POSTGRES_DATABASE, 16385);

/// Kinds of entries in the shared tree: the first byte of the key.
pub(crate) mod shared_kind {
    pub(crate) const ROLE: u8 = 1;
    pub(crate) const ROLE_NAME: u8 = 2;
    pub(crate) const DATABASE: u8 = 3;
    pub(crate) const MEMBERSHIP: u8 = 4;
    pub(crate) const SETTINGS: u8 = 5;
    pub(crate) const DATABASE_RIGHTS: u8 = 6;
    pub(crate) const ROLE_ATTRIBUTES: u8 = 7;
}

/// Kinds of entries in the catalogue tree: the first byte of the key.
pub(crate) mod kind {
    pub(crate) const VERSION: u8 = 0;
    pub(crate) const RELATION: u8 = 1;
    pub(crate) const COLUMN: u8 = 2;
    pub(crate) const CONSTRAINT: u8 = 3;
    pub(crate) const NAME: u8 = 4;
    pub(crate) const INDEX: u8 = 5;
    pub(crate) const SEQUENCE: u8 = 6;
    pub(crate) const VIEW: u8 = 7;
    pub(crate) const RIGHTS: u8 = 8;
    pub(crate) const DEFAULT_RIGHTS: u8 = 9;
    pub(crate) const OPTIONS: u8 = 10;
    pub(crate) const SCHEMA_OWNER: u8 = 11;
    /// Not part of what is read as the catalogue: states change without it.
    pub(crate) const SEQUENCE_STATE: u8 = 0xF0;
}

pub(crate) const VERSION_KEY: [u8; 1] = [kind::VERSION];

pub(crate) fn oid_key(kind: u8, oid: u32) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&oid.to_be_bytes());
    key
}

pub(crate) fn name_key(kind: u8, name: &str) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(name.as_bytes());
    key
}

pub(crate) fn column_key(relation: u32, number: i16) -> Vec<u8> {
    let mut key = oid_key(kind::COLUMN, relation);
    key.extend_from_slice(&number.unsigned_abs().to_be_bytes());
    key
}

pub(crate) fn constraint_key(relation: u32, constraint: u32) -> Vec<u8> {
    let mut key = oid_key(kind::CONSTRAINT, relation);
    key.extend_from_slice(&constraint.to_be_bytes());
    key
}

pub(crate) fn index_key(relation: u32, index: u32) -> Vec<u8> {
    let mut key = oid_key(kind::INDEX, relation);
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// Whether a stored byte string is a key of this kind; gives what follows.
pub(crate) fn strip_kind(kind: u8, key: &[u8]) -> Option<&[u8]> {
    key.split_first().filter(|(first, _)| **first == kind).map(|(_, rest)| rest)
}

const ROLE: &[TypeId] = &[
    TypeId::Text,
    TypeId::Bool,
    TypeId::Bool,
    TypeId::Bool,
    TypeId::Bool,
    TypeId::Bool,
    TypeId::Bool,
    TypeId::Int4,
    TypeId::Text,
    TypeId::Int8,
];
const DATABASE: &[TypeId] = &[TypeId::Text, TypeId::Oid, TypeId::Bool, TypeId::Bool];
const RELATION: &[TypeId] = &[TypeId::Text, TypeId::Oid, TypeId::Oid];
const COLUMN: &[TypeId] = &[
    TypeId::Text,
    TypeId::Oid,
    TypeId::Int4,
    TypeId::Bool,
    TypeId::Text,
    TypeId::Text,
    TypeId::Bool,
    TypeId::Text,
];
const INDEX: &[TypeId] =
    &[TypeId::Text, TypeId::Oid, TypeId::Bool, TypeId::Bool, TypeId::Bool, TypeId::Bytea];
const CONSTRAINT: &[TypeId] = &[TypeId::Text, TypeId::Text, TypeId::Bytea, TypeId::Text, TypeId::Bool];

fn encode(layout: &[TypeId], values: &[Datum]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    RowLayout::new(layout).encode(values, &mut out)?;
    Ok(out)
}

fn corrupt() -> SqlError {
    SqlError::new(SqlState::DATA_CORRUPTED, "a catalogue entry is malformed")
}

/// A decoded entry, read field by field.
struct Fields(std::vec::IntoIter<Datum>);

impl Fields {
    fn decode(layout: &[TypeId], bytes: &[u8]) -> Result<Self> {
        let mut values = Vec::new();
        RowLayout::new(layout).decode(bytes, &mut values)?;
        Ok(Self(values.into_iter()))
    }
    fn next(&mut self) -> Datum {
        self.0.next().unwrap_or(Datum::Null)
    }
    fn text(&mut self) -> Result<String> {
        self.optional_text().ok_or_else(corrupt)
    }
    fn optional_text(&mut self) -> Option<String> {
        self.next().as_str().map(str::to_owned)
    }
    fn bool(&mut self) -> Result<bool> {
        self.next().as_bool().ok_or_else(corrupt)
    }
    fn int4(&mut self) -> Result<i32> {
        if let Datum::Int4(value) = self.next() { Ok(value) } else { Err(corrupt()) }
    }
    fn oid(&mut self) -> Result<u32> {
        if let Datum::Oid(value) = self.next() { Ok(value) } else { Err(corrupt()) }
    }
}

fn text(value: &str) -> Datum {
    Datum::text(value)
}

fn optional(value: Option<&String>) -> Datum {
    value.map_or(Datum::Null, |value| Datum::text(value.as_str()))
}

/// An OID at the front of what follows a key's kind.
pub(crate) fn read_oid(rest: &[u8]) -> Result<(u32, &[u8])> {
    let (oid, rest) = rest.split_first_chunk::<4>().ok_or_else(corrupt)?;
    Ok((u32::from_be_bytes(*oid), rest))
}

/// The catalogue's version.
pub(crate) fn read_version(bytes: Option<&[u8]>) -> Result<u64> {
    bytes.map_or(Ok(0), |bytes| <[u8; 8]>::try_from(bytes).map(u64::from_le_bytes).map_err(|_| corrupt()))
}

pub(crate) fn encode_role(role: &Role) -> Result<Vec<u8>> {
    encode(
        ROLE,
        &[
            text(&role.name),
            role.superuser.into(),
            role.login.into(),
            role.replication.into(),
            role.create_role.into(),
            role.create_database.into(),
            role.inherit.into(),
            role.connection_limit.into(),
            optional(role.password.as_ref()),
            role.valid_until.map_or(Datum::Null, |until| Datum::Int8(until.micros())),
        ],
    )
}

pub(crate) fn decode_role(oid: u32, bytes: &[u8]) -> Result<Role> {
    let mut fields = Fields::decode(ROLE, bytes)?;
    Ok(Role {
        oid,
        name: fields.text()?,
        superuser: fields.bool()?,
        login: fields.bool()?,
        replication: fields.bool()?,
        create_role: fields.bool()?,
        create_database: fields.bool()?,
        inherit: fields.bool()?,
        // An entry of its own says otherwise.
        bypass_rls: oid == crate::model::BOOTSTRAP_ROLE_OID,
        connection_limit: fields.int4()?,
        password: fields.optional_text(),
        valid_until: fields.next().as_i64().map(Timestamp::from_micros),
    })
}

pub(crate) fn encode_database(entry: &DatabaseEntry) -> Result<Vec<u8>> {
    encode(
        DATABASE,
        &[text(&entry.name), Datum::Oid(entry.owner), entry.template.into(), entry.connections.into()],
    )
}

pub(crate) fn decode_database(oid: u32, bytes: &[u8]) -> Result<DatabaseEntry> {
    let mut fields = Fields::decode(DATABASE, bytes)?;
    Ok(DatabaseEntry {
        oid,
        name: fields.text()?,
        owner: fields.oid()?,
        template: fields.bool()?,
        connections: fields.bool()?,
    })
}

pub(crate) fn encode_relation(relation: &Relation) -> Result<Vec<u8>> {
    encode(RELATION, &[text(&relation.name), Datum::Oid(relation.owner), Datum::Oid(relation.tree.relation)])
}

/// A relation without its columns and constraints.
pub(crate) fn decode_relation(oid: u32, bytes: &[u8]) -> Result<Relation> {
    let mut fields = Fields::decode(RELATION, bytes)?;
    Ok(Relation {
        oid,
        name: fields.text()?,
        owner: fields.oid()?,
        tree: TreeId::new(crate::model::POSTGRES_DATABASE, fields.oid()?),
        columns: Vec::new(),
        primary_key: None,
        checks: Vec::new(),
        indexes: Vec::new(),
        layout: crate::model::Layout::new(&[], None),
    })
}

pub(crate) fn encode_column(column: &Column) -> Result<Vec<u8>> {
    encode(
        COLUMN,
        &[
            text(&column.name),
            Datum::Oid(column.ty.id.oid()),
            column.ty.modifier.into(),
            column.not_null.into(),
            optional(column.default.as_ref()),
            optional(column.missing.as_ref()),
            column.dropped.into(),
            column.identity.map_or(Datum::Null, |identity| text(identity.letter())),
        ],
    )
}

pub(crate) fn decode_column(number: &[u8], bytes: &[u8]) -> Result<Column> {
    let number = <[u8; 2]>::try_from(number).map(u16::from_be_bytes).map_err(|_| corrupt())?;
    let mut fields = Fields::decode(COLUMN, bytes)?;
    Ok(Column {
        number: i16::try_from(number).map_err(|_| corrupt())?,
        name: fields.text()?,
        ty: Type { id: TypeId::from_oid(fields.oid()?).ok_or_else(corrupt)?, modifier: fields.int4()? },
        not_null: fields.bool()?,
        default: fields.optional_text(),
        missing: fields.optional_text(),
        dropped: fields.bool()?,
        identity: match fields.optional_text().as_deref() {
            None => None,
            Some("a") => Some(Identity::Always),
            Some("d") => Some(Identity::ByDefault),
            Some(_) => return Err(corrupt()),
        },
    })
}

pub(crate) fn encode_primary_key(key: &PrimaryKey, columns: &[Column]) -> Result<Vec<u8>> {
    let numbers: Vec<u8> = key
        .columns
        .iter()
        .filter_map(|at| columns.get(*at))
        .flat_map(|column| column.number.to_be_bytes())
        .collect();
    encode(CONSTRAINT, &[text("p"), text(&key.name), Datum::bytea(numbers), Datum::Null, Datum::Null])
}

/// Flags of an index's column, behind its number.
const DESCENDING: u8 = 1;
const NULLS_FIRST: u8 = 2;

pub(crate) fn encode_index(index: &Index, columns: &[Column]) -> Result<Vec<u8>> {
    let mut parts = Vec::with_capacity(3 * index.columns.len());
    for part in &index.columns {
        let Some(column) = columns.get(part.at) else { return Err(corrupt()) };
        parts.extend_from_slice(&column.number.to_be_bytes());
        let OrderedColumn { descending, nulls_first } = part.order;
        parts.push(if descending { DESCENDING } else { 0 } | if nulls_first { NULLS_FIRST } else { 0 });
    }
    encode(
        INDEX,
        &[
            text(&index.name),
            Datum::Oid(index.tree.relation),
            index.unique.into(),
            index.constraint.into(),
            index.nulls_not_distinct.into(),
            Datum::bytea(parts),
        ],
    )
}

/// Adds a stored index to its relation, whose columns are all there.
pub(crate) fn decode_index(relation: &mut Relation, oid: u32, bytes: &[u8]) -> Result<()> {
    let mut fields = Fields::decode(INDEX, bytes)?;
    let name = fields.text()?;
    let tree = TreeId::new(crate::model::POSTGRES_DATABASE, fields.oid()?);
    let (unique, constraint, nulls_not_distinct) = (fields.bool()?, fields.bool()?, fields.bool()?);
    let Datum::Bytea(parts) = fields.next() else { return Err(corrupt()) };
    let mut columns = Vec::with_capacity(parts.len() / 3);
    for part in parts.chunks(3) {
        let [high, low, flags] = part else { return Err(corrupt()) };
        let number = i16::from_be_bytes([*high, *low]);
        let at = relation.columns.iter().position(|column| column.number == number).ok_or_else(corrupt)?;
        let order =
            OrderedColumn { descending: flags & DESCENDING != 0, nulls_first: flags & NULLS_FIRST != 0 };
        columns.push(IndexColumn { at, order });
    }
    relation.indexes.push(Index { oid, name, tree, columns, unique, constraint, nulls_not_distinct });
    Ok(())
}

/// The tree of a stored index.
pub(crate) fn decode_index_tree(bytes: &[u8]) -> Result<TreeId> {
    let mut fields = Fields::decode(INDEX, bytes)?;
    let _name = fields.text()?;
    Ok(TreeId::new(crate::model::POSTGRES_DATABASE, fields.oid()?))
}

pub(crate) fn encode_check(check: &Check) -> Result<Vec<u8>> {
    let not_valid = if check.not_valid { Datum::Bool(true) } else { Datum::Null };
    encode(CONSTRAINT, &[text("c"), text(&check.name), Datum::Null, text(&check.expression), not_valid])
}

/// Adds a stored constraint to its relation, whose columns are all there.
pub(crate) fn decode_constraint(relation: &mut Relation, oid: u32, bytes: &[u8]) -> Result<()> {
    let mut fields = Fields::decode(CONSTRAINT, bytes)?;
    let (kind, name) = (fields.text()?, fields.text()?);
    let (numbers, expression) = (fields.next(), fields.optional_text());
    // NULL in entries of earlier versions.
    let not_valid = fields.next().as_bool() == Some(true);
    match (kind.as_str(), numbers, expression) {
        ("p", Datum::Bytea(numbers), _) => {
            let columns = numbers
                .chunks_exact(2)
                .map(|pair| {
                    let number = <[u8; 2]>::try_from(pair).map(i16::from_be_bytes).map_err(|_| corrupt())?;
                    relation.columns.iter().position(|column| column.number == number).ok_or_else(corrupt)
                })
                .collect::<Result<_>>()?;
            relation.primary_key = Some(PrimaryKey { oid, name, columns });
        }
        ("c", _, Some(expression)) => {
            relation.checks.push(Check { oid, name, expression, not_valid });
        }
        _ => return Err(corrupt()),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
