//! How the catalogue lies in its two trees.
//!
//! ```text
//! tree of database 1 (shared by all databases)      tree of database 5
//! 01 role-oid            role                        00                         version (u64 LE)
//! 02 role-name           role-oid                    01 relation-oid            relation
//! 03 database-oid        database                    02 relation-oid number     column
//!                                                    03 relation-oid oid        constraint
//!                                                    04 name                    oid of the table or index
//!                                                    05 relation-oid oid        index
//!                                                    06 sequence-oid            sequence
//!                                                    07 view-oid                view
//!                                                    F0 sequence-oid state      last value (i64 LE),
//!                                                    is_called (u8)
//! ```
//!
//! OIDs in keys are u32 big endian, column numbers u16 big endian, names UTF-8. Values are rows in datum's
//! row encoding, which later versions may make longer by columns at the end. The version counts up in every
//! transaction that changes any of this, so that one read tells whether a cached catalogue is the snapshot's.

use super::model::{
    Check, Column, DatabaseEntry, Identity, Index, IndexColumn, PrimaryKey, Relation, Role, Sequence, View,
    ViewColumn,
};
use crate::catalogue::sequences::Position;
use crate::interface::error::{Result, SqlError};
use host::Timestamp;
use sql_types::key::OrderedColumn;
use sql_types::row::RowLayout;
use sql_types::{Array, Datum, Type, TypeId};
use sqlstate::SqlState;
use std::sync::Arc;
use storage::TreeId;

/// Roles and databases.
pub(crate) const SHARED_TREE: TreeId = TreeId::new(1, 16384);
/// Relations, columns, constraints.
pub(crate) const CATALOGUE_TREE: TreeId = TreeId::new(super::model::POSTGRES_DATABASE, 16385);

/// Kinds of entries in the shared tree: the first byte of the key.
pub(crate) mod shared_kind {
    pub(crate) const ROLE: u8 = 1;
    pub(crate) const ROLE_NAME: u8 = 2;
    pub(crate) const DATABASE: u8 = 3;
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
const CONSTRAINT: &[TypeId] = &[TypeId::Text, TypeId::Text, TypeId::Bytea, TypeId::Text];

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
        tree: TreeId::new(super::model::POSTGRES_DATABASE, fields.oid()?),
        columns: Vec::new(),
        primary_key: None,
        checks: Vec::new(),
        indexes: Vec::new(),
        layout: super::model::Layout::new(&[], None),
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
    encode(CONSTRAINT, &[text("p"), text(&key.name), Datum::bytea(numbers), Datum::Null])
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
    let tree = TreeId::new(super::model::POSTGRES_DATABASE, fields.oid()?);
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

pub(crate) fn encode_check(check: &Check) -> Result<Vec<u8>> {
    encode(CONSTRAINT, &[text("c"), text(&check.name), Datum::Null, text(&check.expression)])
}

const SEQUENCE: &[TypeId] = &[
    TypeId::Text,
    TypeId::Oid,
    TypeId::Oid,
    TypeId::Oid,
    TypeId::Int8,
    TypeId::Int8,
    TypeId::Int8,
    TypeId::Int8,
    TypeId::Int8,
    TypeId::Int8,
    TypeId::Bool,
    TypeId::Oid,
    TypeId::Int2,
    TypeId::Bool,
];

pub(crate) fn encode_sequence(sequence: &Sequence) -> Result<Vec<u8>> {
    let (table, column) = sequence.owned_by.unwrap_or_default();
    encode(
        SEQUENCE,
        &[
            text(&sequence.name),
            Datum::Oid(sequence.owner),
            Datum::Oid(sequence.state),
            Datum::Oid(sequence.ty.oid()),
            Datum::Int8(sequence.from),
            Datum::Int8(sequence.start),
            Datum::Int8(sequence.increment),
            Datum::Int8(sequence.min),
            Datum::Int8(sequence.max),
            Datum::Int8(sequence.cache),
            sequence.cycle.into(),
            Datum::Oid(table),
            Datum::Int2(column),
            sequence.identity.into(),
        ],
    )
}

pub(crate) fn decode_sequence(oid: u32, bytes: &[u8]) -> Result<Sequence> {
    let mut fields = Fields::decode(SEQUENCE, bytes)?;
    let int8 = |fields: &mut Fields| fields.next().as_i64().ok_or_else(corrupt);
    let name = fields.text()?;
    let (owner, state) = (fields.oid()?, fields.oid()?);
    let ty = TypeId::from_oid(fields.oid()?).ok_or_else(corrupt)?;
    let from = int8(&mut fields)?;
    let (start, increment) = (int8(&mut fields)?, int8(&mut fields)?);
    let (min, max, cache) = (int8(&mut fields)?, int8(&mut fields)?, int8(&mut fields)?);
    let cycle = fields.bool()?;
    let (table, column) = (fields.oid()?, int8(&mut fields)?);
    let column = i16::try_from(column).map_err(|_| corrupt())?;
    Ok(Sequence {
        oid,
        name,
        owner,
        state,
        from,
        ty,
        start,
        increment,
        min,
        max,
        cache,
        cycle,
        owned_by: (table != 0).then_some((table, column)),
        identity: fields.bool()?,
    })
}

const VIEW: &[TypeId] = &[
    TypeId::Text,
    TypeId::Oid,
    TypeId::Text,
    TypeId::TextArray,
    TypeId::TextArray,
    TypeId::OidArray,
    TypeId::Int4Array,
    TypeId::OidArray,
];

/// Of arrays that run side by side, one entry a column: its name, the query's own name for it, its type, the
/// type's modifier.
pub(crate) fn encode_view(view: &View) -> Result<Vec<u8>> {
    let array = |id, values: Vec<Datum>| Datum::Array(Arc::new(Array::of(id, values)));
    let columns = &view.columns;
    encode(
        VIEW,
        &[
            text(&view.name),
            Datum::Oid(view.owner),
            text(&view.query),
            array(TypeId::Text, columns.iter().map(|column| text(&column.name)).collect()),
            array(TypeId::Text, columns.iter().map(|column| text(&column.inner)).collect()),
            array(TypeId::Oid, columns.iter().map(|column| Datum::Oid(column.ty.id.oid())).collect()),
            array(TypeId::Int4, columns.iter().map(|column| Datum::Int4(column.ty.modifier)).collect()),
            array(TypeId::Oid, view.uses.iter().map(|oid| Datum::Oid(*oid)).collect()),
        ],
    )
}

pub(crate) fn decode_view(oid: u32, bytes: &[u8]) -> Result<View> {
    let mut fields = Fields::decode(VIEW, bytes)?;
    let (name, owner, query) = (fields.text()?, fields.oid()?, fields.text()?);
    let mut list = || match fields.next() {
        Datum::Array(array) => Ok(array.values().to_vec()),
        _ => Err(corrupt()),
    };
    let (names, inner, types, modifiers, uses) = (list()?, list()?, list()?, list()?, list()?);
    let mut columns = Vec::with_capacity(names.len());
    for (((name, inner), ty), modifier) in names.iter().zip(&inner).zip(&types).zip(&modifiers) {
        match (name.as_str(), inner.as_str(), ty, modifier) {
            (Some(name), Some(inner), Datum::Oid(ty), Datum::Int4(modifier)) => columns.push(ViewColumn {
                name: name.to_owned(),
                inner: inner.to_owned(),
                ty: Type { id: TypeId::from_oid(*ty).ok_or_else(corrupt)?, modifier: *modifier },
            }),
            _ => return Err(corrupt()),
        }
    }
    let uses = uses.iter().map(|used| if let Datum::Oid(oid) = used { Ok(*oid) } else { Err(corrupt()) });
    Ok(View { oid, name, owner, query, columns, uses: uses.collect::<Result<_>>()? })
}

pub(crate) fn sequence_state_key(sequence: u32, state: u32) -> Vec<u8> {
    let mut key = oid_key(kind::SEQUENCE_STATE, sequence);
    key.extend_from_slice(&state.to_be_bytes());
    key
}

pub(crate) fn encode_position(position: Position) -> Vec<u8> {
    let mut bytes = position.last.to_le_bytes().to_vec();
    bytes.push(u8::from(position.is_called));
    bytes
}

pub(crate) fn decode_position(bytes: &[u8]) -> Result<Position> {
    match bytes.split_first_chunk::<8>() {
        Some((last, [is_called])) => {
            Ok(Position { last: i64::from_le_bytes(*last), is_called: *is_called != 0 })
        }
        _ => Err(corrupt()),
    }
}

/// Adds a stored constraint to its relation, whose columns are all there.
pub(crate) fn decode_constraint(relation: &mut Relation, oid: u32, bytes: &[u8]) -> Result<()> {
    let mut fields = Fields::decode(CONSTRAINT, bytes)?;
    let (kind, name) = (fields.text()?, fields.text()?);
    let numbers = fields.next();
    match (kind.as_str(), numbers, fields.optional_text()) {
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
        ("c", _, Some(expression)) => relation.checks.push(Check { oid, name, expression }),
        _ => return Err(corrupt()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::model::Layout;

    #[test]
    fn entries_come_back_as_they_were_written() {
        let role = Role {
            oid: 10,
            name: "Bob".into(),
            superuser: true,
            login: true,
            replication: false,
            create_role: false,
            create_database: true,
            inherit: true,
            connection_limit: -1,
            password: Some("SCRAM-SHA-256$x".into()),
            valid_until: Some(Timestamp::from_micros(5)),
        };
        assert_eq!(decode_role(10, &encode_role(&role).unwrap()).unwrap(), role);
        let column = Column {
            number: 3,
            name: "ä".into(),
            ty: Type::varchar(Some(7)).unwrap(),
            not_null: true,
            default: Some("'x'".into()),
            missing: None,
            dropped: false,
            identity: Some(Identity::ByDefault),
        };
        let key = column_key(7, 3);
        let (oid, rest) = read_oid(strip_kind(kind::COLUMN, &key).unwrap()).unwrap();
        assert_eq!(oid, 7);
        assert_eq!(decode_column(rest, &encode_column(&column).unwrap()).unwrap(), column);

        let mut relation = Relation {
            oid: 7,
            name: "t".into(),
            owner: 10,
            tree: TreeId::new(5, 99),
            columns: Vec::new(),
            primary_key: None,
            checks: Vec::new(),
            indexes: Vec::new(),
            layout: Layout::new(&[], None),
        };
        assert_eq!(decode_relation(7, &encode_relation(&relation).unwrap()).unwrap(), relation);
        relation.columns = vec![Column { number: 1, ..column.clone() }, column];
        let primary_key = PrimaryKey { oid: 8, name: "t_pkey".into(), columns: vec![1, 0] };
        let stored = encode_primary_key(&primary_key, &relation.columns).unwrap();
        decode_constraint(&mut relation, 8, &stored).unwrap();
        assert_eq!(relation.primary_key, Some(primary_key));
        let order = OrderedColumn { descending: true, nulls_first: false };
        let index = Index {
            oid: 9,
            name: "t_ä_idx".into(),
            tree: TreeId::new(5, 100),
            columns: vec![IndexColumn { at: 1, order }],
            unique: true,
            constraint: true,
            nulls_not_distinct: false,
        };
        let stored = encode_index(&index, &relation.columns).unwrap();
        decode_index(&mut relation, 9, &stored).unwrap();
        assert_eq!(relation.indexes, [index]);
        let sequence = Sequence {
            oid: 11,
            name: "s".into(),
            owner: 10,
            state: 12,
            from: 2,
            ty: TypeId::Int2,
            start: -1,
            increment: -2,
            min: i64::MIN,
            max: 3,
            cache: 4,
            cycle: true,
            owned_by: Some((7, 2)),
            identity: true,
        };
        assert_eq!(decode_sequence(11, &encode_sequence(&sequence).unwrap()).unwrap(), sequence);
        let column =
            |name: &str| ViewColumn { name: name.into(), inner: "x".into(), ty: Type::of(TypeId::Int4) };
        let view = View {
            oid: 13,
            name: "v".into(),
            owner: 10,
            query: "select 1".into(),
            columns: vec![column("a"), column("ä b")],
            uses: vec![7, 11],
        };
        assert_eq!(decode_view(13, &encode_view(&view).unwrap()).unwrap(), view);
        let position = Position { last: -5, is_called: true };
        assert_eq!(decode_position(&encode_position(position)).unwrap(), position);
        assert!(decode_position(&[1, 2]).is_err());
        assert!(decode_role(10, &[1, 0]).is_err(), "a short entry is damage");
    }

    #[test]
    fn key_columns_without_loss_stand_in_the_key_alone() {
        let column = |number, id| Column {
            number,
            name: format!("c{number}"),
            ty: Type::of(id),
            not_null: true,
            default: None,
            missing: None,
            dropped: false,
            identity: None,
        };
        let columns = [column(1, TypeId::Numeric), column(2, TypeId::Int4), column(3, TypeId::Text)];
        let layout =
            Layout::new(&columns, Some(&PrimaryKey { oid: 1, name: "k".into(), columns: vec![1, 0] }));
        assert_eq!(layout.in_row, [Some(0), None, Some(1)], "numeric loses its scale in a key");
        assert_eq!(layout.in_key, [Some(1), Some(0), None]);
        assert_eq!(layout.row_columns, [0, 2]);
    }
}
