//! Rows about tables and their columns.

use super::values::{acl, flag, int2, name, role_name, sorted_relations, texts};
use super::{Context, TABLES, known, virtual_tables};
use crate::model::{AnyIndex, BOOTSTRAP_ROLE_OID, Identity, PG_CATALOG_OID, PUBLIC_OID, Relation};
use crate::rights::Object;
use crate::schema::Schema;
use sql_types::{Datum, Type, TypeId};
use std::sync::Arc;

/// The heap access method, for PostgreSQL's tools.
const HEAP_OID: u32 = 2;
const BTREE_OID: u32 = 403;

pub(super) fn namespaces(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let row = |schema: Schema| {
        vec![
            Datum::Oid(schema.oid()),
            name(schema.name()),
            Datum::Oid(context.catalogue.schema_owner(schema.oid())),
            acl(context.catalogue, &Object::Schema(schema.oid())),
        ]
    };
    Schema::ALL.into_iter().map(row).collect()
}

#[derive(Default)]
struct ClassRow<'a> {
    /// relacl
    acl: Datum,
    /// reloptions
    options: Datum,
    oid: u32,
    name: &'a str,
    schema: u32,
    owner: u32,
    access_method: u32,
    file: u32,
    pages: i32,
    has_index: bool,
    kind: char,
    columns: usize,
    checks: usize,
}

fn class_row(class: &ClassRow<'_>) -> Vec<Datum> {
    vec![
        Datum::Oid(class.oid),
        name(class.name),
        Datum::Oid(class.schema),
        Datum::Oid(0),
        Datum::Oid(0),
        Datum::Oid(class.owner),
        Datum::Oid(class.access_method),
        Datum::Oid(class.file),
        Datum::Oid(0),
        Datum::Int4(class.pages),
        Datum::Float4(-1.0),
        Datum::Int4(0),
        Datum::Oid(0),
        Datum::Bool(class.has_index),
        Datum::Bool(class.schema == PG_CATALOG_OID && super::is_shared(class.name)),
        flag('p'),
        flag(class.kind),
        int2(class.columns),
        int2(class.checks),
        Datum::Bool(false),
        Datum::Bool(false),
        Datum::Bool(false),
        Datum::Bool(false),
        Datum::Bool(false),
        Datum::Bool(true),
        // Only tables of users have a replica identity.
        flag(if class.kind == 'r' && class.schema == PUBLIC_OID { 'd' } else { 'n' }),
        Datum::Bool(false),
        Datum::Oid(0),
        Datum::Xid(3),
        Datum::Xid(1),
        class.acl.clone(),
        class.options.clone(),
        Datum::Null,
    ]
}

/// The row of an index of a table.
fn index_row(context: &Context<'_>, relation: &Relation, index: &AnyIndex<'_>) -> Vec<Datum> {
    let bytes = if index.primary { 0 } else { context.database.tree_size_bytes(index.tree).unwrap_or(0) };
    class_row(&ClassRow {
        oid: index.oid,
        name: index.name,
        schema: PUBLIC_OID,
        owner: relation.owner,
        access_method: BTREE_OID,
        file: index.tree.relation,
        pages: i32::try_from(bytes / 8192).unwrap_or(i32::MAX),
        kind: 'i',
        columns: index.columns.len(),
        options: texts(context.catalogue.options.get(&index.oid).map(Vec::as_slice)),
        ..ClassRow::default()
    })
}

pub(super) fn classes(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    let acl_of = |oid: u32| acl(context.catalogue, &Object::Relation(oid));
    for relation in sorted_relations(context.catalogue) {
        let bytes = context.database.tree_size_bytes(relation.tree).unwrap_or(0);
        rows.push(class_row(&ClassRow {
            acl: acl_of(relation.oid),
            options: texts(context.catalogue.options.get(&relation.oid).map(Vec::as_slice)),
            oid: relation.oid,
            name: &relation.name,
            schema: PUBLIC_OID,
            owner: relation.owner,
            access_method: HEAP_OID,
            file: relation.tree.relation,
            pages: i32::try_from(bytes / 8192).unwrap_or(i32::MAX),
            has_index: relation.all_indexes().next().is_some(),
            kind: 'r',
            columns: relation.columns.len(),
            checks: relation.checks.len(),
        }));
        rows.extend(relation.all_indexes().map(|index| index_row(context, relation, &index)));
    }
    for sequence in super::sequences::sorted(context.catalogue) {
        rows.push(class_row(&ClassRow {
            acl: acl_of(sequence.oid),
            oid: sequence.oid,
            name: &sequence.name,
            schema: PUBLIC_OID,
            owner: sequence.owner,
            kind: 'S',
            columns: super::SEQUENCE_COLUMNS.len(),
            ..ClassRow::default()
        }));
    }
    for view in super::views::sorted(context.catalogue) {
        rows.push(class_row(&ClassRow {
            acl: acl_of(view.oid),
            options: texts(context.catalogue.options.get(&view.oid).map(Vec::as_slice)),
            oid: view.oid,
            name: &view.name,
            schema: PUBLIC_OID,
            owner: view.owner,
            kind: 'v',
            columns: view.columns.len(),
            ..ClassRow::default()
        }));
    }
    for (schema, table, oid, columns) in virtual_tables(context.environment) {
        let stored = super::is_table(table);
        rows.push(class_row(&ClassRow {
            acl: acl(context.catalogue, &Object::MadeUp(oid, table)),
            oid,
            name: table,
            schema: Schema::named(schema).map_or(PUBLIC_OID, Schema::oid),
            owner: BOOTSTRAP_ROLE_OID,
            access_method: if stored { HEAP_OID } else { 0 },
            kind: if stored { 'r' } else { 'v' },
            columns,
            ..ClassRow::default()
        }));
    }
    rows
}

struct AttributeRow<'a> {
    /// attacl
    acl: Datum,
    relation: u32,
    name: &'a str,
    ty: Type,
    number: i16,
    not_null: bool,
    has_default: bool,
    identity: &'a str,
    dropped: bool,
}

fn attribute_row(column: &AttributeRow<'_>) -> Vec<Datum> {
    let id = column.ty.id;
    let known = known::TYPES.get(&id.oid());
    vec![
        Datum::Oid(column.relation),
        name(column.name),
        Datum::Oid(if column.dropped { 0 } else { id.oid() }),
        Datum::Int4(-1),
        Datum::Int2(id.info().len),
        Datum::Int2(column.number),
        Datum::Int4(i32::from(id.element().is_some())),
        Datum::Int4(-1),
        Datum::Int4(column.ty.modifier),
        Datum::Bool(known.is_some_and(|known| known.by_value)),
        flag(known.map_or('i', |known| known.align)),
        flag(known.map_or('x', |known| known.storage)),
        Datum::text(""),
        Datum::Bool(column.not_null),
        Datum::Bool(column.has_default),
        Datum::Bool(false),
        Datum::text(column.identity),
        Datum::text(""),
        Datum::Bool(column.dropped),
        Datum::Bool(true),
        Datum::Int4(0),
        Datum::Oid(known.map_or(0, |known| known.collation)),
        column.acl.clone(),
        Datum::Null,
        Datum::Null,
        Datum::Null,
    ]
}

pub(super) fn attributes(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    for relation in sorted_relations(context.catalogue) {
        for column in &relation.columns {
            rows.push(attribute_row(&AttributeRow {
                acl: acl(context.catalogue, &Object::Column(relation.oid, column.number)),
                relation: relation.oid,
                name: &column.name,
                ty: column.ty,
                number: column.number,
                not_null: column.not_null,
                has_default: column.default.is_some(),
                identity: column.identity.map_or("", Identity::letter),
                dropped: column.dropped,
            }));
        }
        for index in relation.all_indexes() {
            for (number, part) in (1..).zip(&index.columns) {
                let Some(column) = relation.columns.get(part.at) else { continue };
                rows.push(attribute_row(&AttributeRow {
                    acl: Datum::Null,
                    relation: index.oid,
                    name: &column.name,
                    ty: column.ty,
                    number,
                    not_null: false,
                    has_default: false,
                    identity: "",
                    dropped: false,
                }));
            }
        }
    }
    let mut made_up = |oid: u32, is_never_null: &dyn Fn(&str, TypeId) -> bool, columns: &[(&str, Type)]| {
        for (number, (column, ty)) in (1..).zip(columns) {
            rows.push(attribute_row(&AttributeRow {
                acl: acl(context.catalogue, &Object::Column(oid, number)),
                relation: oid,
                name: column,
                ty: *ty,
                number,
                not_null: is_never_null(column, ty.id),
                has_default: false,
                identity: "",
                dropped: false,
            }));
        }
    };
    let of_sequence: Vec<(&str, Type)> =
        super::SEQUENCE_COLUMNS.iter().map(|(name, id)| (*name, Type::of(*id))).collect();
    for sequence in super::sequences::sorted(context.catalogue) {
        made_up(sequence.oid, &|_, _| true, &of_sequence);
    }
    for view in super::views::sorted(context.catalogue) {
        let columns: Vec<(&str, Type)> =
            view.columns.iter().map(|column| (column.name.as_str(), column.ty)).collect();
        made_up(view.oid, &|_, _| false, &columns);
    }
    for table in TABLES.iter() {
        let columns: Vec<(&str, Type)> =
            table.columns.iter().map(|(name, id)| (*name, Type::of(*id))).collect();
        made_up(table.oid, &|column, id| known::is_never_null(table.name, column, id), &columns);
    }
    for table in context.environment.node_tables() {
        made_up(table.oid, &|_, _| false, &table.columns);
    }
    rows
}

pub(super) fn defaults(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    for relation in sorted_relations(context.catalogue) {
        for column in relation.columns.iter().filter(|column| !column.dropped) {
            let Some(default) = &column.default else { continue };
            rows.push(vec![
                Datum::Oid(relation.oid),
                Datum::Oid(relation.oid),
                Datum::Int2(column.number),
                Datum::from(shown_default(default, column.ty)),
            ]);
        }
    }
    rows
}

/// A DEFAULT as pg_get_expr prints it: a string constant with its type.
pub(super) fn shown_default(text: &str, ty: Type) -> String {
    let inside = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    match inside {
        Some(inside) if !inside.replace("\'\'", "").contains('\'') => format!("{text}::{}", ty.id.sql_name()),
        _ => text.to_owned(),
    }
}

pub(super) fn access_methods(_: &Context<'_>) -> Vec<Vec<Datum>> {
    [(HEAP_OID, "heap", 3, 't'), (BTREE_OID, "btree", 330, 'i')]
        .iter()
        .map(|(oid, method, handler, kind)| {
            vec![Datum::Oid(*oid), name(method), Datum::Oid(*handler), flag(*kind)]
        })
        .collect()
}

pub(super) fn tables(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let row = |schema: &str, table: &str, owner: u32, has_index: bool| {
        // pg_global is the tablespace of what all databases share.
        let shared = schema == Schema::PG_CATALOG.name() && super::is_shared(table);
        vec![
            name(schema),
            name(table),
            role_name(context.catalogue, owner),
            if shared { name("pg_global") } else { Datum::Null },
            Datum::Bool(has_index),
            Datum::Bool(false),
            Datum::Bool(false),
            Datum::Bool(false),
        ]
    };
    let own = sorted_relations(context.catalogue).into_iter().map(|relation| {
        row("public", &relation.name, relation.owner, relation.all_indexes().next().is_some())
    });
    let made_up = virtual_tables(context.environment).filter(|(_, table, ..)| super::is_table(table));
    own.chain(made_up.map(|(schema, table, ..)| row(schema, table, BOOTSTRAP_ROLE_OID, false))).collect()
}

/// pg_statio_all_tables and its kin: which tables there are. Blocks are not counted by table.
pub(super) fn table_blocks(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let row = |relation: &Arc<Relation>| {
        let named = vec![Datum::Oid(relation.oid), name("public"), name(&relation.name)];
        named.into_iter().chain(std::iter::repeat_n(Datum::Null, 8)).collect()
    };
    sorted_relations(context.catalogue).into_iter().map(row).collect()
}

/// A row an index: its table and itself, and no counts behind them.
fn index_rows(context: &Context<'_>, counts: usize) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    for relation in sorted_relations(context.catalogue) {
        rows.extend(relation.all_indexes().map(|index| {
            let oids = [Datum::Oid(relation.oid), Datum::Oid(index.oid)];
            let names = [name("public"), name(&relation.name), name(index.name)];
            let counts = std::iter::repeat_n(Datum::Null, counts);
            oids.into_iter().chain(names).chain(counts).collect()
        }));
    }
    rows
}

/// pg_stat_all_indexes and its kin.
pub(super) fn index_statistics(context: &Context<'_>) -> Vec<Vec<Datum>> {
    index_rows(context, 3)
}

/// pg_statio_all_indexes and its kin.
pub(super) fn index_blocks(context: &Context<'_>) -> Vec<Vec<Datum>> {
    index_rows(context, 2)
}

/// pg_stat_all_tables and its kin: counts since the start, kept by storage.
pub(super) fn table_statistics(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let count = |value: u64| Datum::Int8(i64::try_from(value).unwrap_or(i64::MAX));
    let time = |at: Option<host::Timestamp>| at.map_or(Datum::Null, |at| Datum::Timestamptz(at.micros()));
    let row = |relation: &Arc<Relation>| {
        let known = context.database.tree_statistics(relation.tree).unwrap_or_default();
        vec![
            Datum::Oid(relation.oid),
            name("public"),
            name(&relation.name),
            Datum::Null,
            Datum::Null,
            Datum::Null,
            Datum::Null,
            count(known.inserted),
            count(known.updated),
            count(known.deleted),
            count(0),
            count(known.live),
            count(known.dead),
            count(0),
            count(known.inserted_since_sweep),
            time(known.vacuum.0),
            time(known.autovacuum.0),
            Datum::Null,
            Datum::Null,
            count(known.vacuum.1),
            count(known.autovacuum.1),
            count(0),
            count(0),
        ]
    };
    sorted_relations(context.catalogue).into_iter().map(row).collect()
}
