//! Rows about roles and databases, and the information schema.

use super::relations::{flag, name, shown_default, sorted_relations};
use super::{Context, schemas, virtual_tables};
use crate::model::{BOOTSTRAP_ROLE_OID, Catalogue, POSTGRES_DATABASE};
use sql_types::{Category, Datum, TypeId};

pub(super) fn databases(context: &Context<'_>) -> Vec<Vec<Datum>> {
    context
        .catalogue
        .databases
        .iter()
        .map(|entry| {
            vec![
                Datum::Oid(entry.oid),
                name(&entry.name),
                Datum::Oid(entry.owner),
                Datum::Int4(6),
                flag('c'),
                Datum::Bool(entry.template),
                Datum::Bool(entry.connections),
                Datum::Int4(-1),
                Datum::Xid(3),
                Datum::Xid(1),
                Datum::Oid(1663),
                Datum::text("C"),
                Datum::text("C"),
                Datum::Null,
                Datum::Null,
                Datum::Null,
            ]
        })
        .collect()
}

fn role_rows(context: &Context<'_>, show_passwords: bool) -> Vec<Vec<Datum>> {
    let mut all: Vec<_> = context.catalogue.roles.values().collect();
    all.sort_by_key(|role| role.oid);
    all.into_iter()
        .map(|role| {
            let password = match (&role.password, show_passwords) {
                (None, true) => Datum::Null,
                (Some(verifier), true) => Datum::text(verifier.as_str()),
                (_, false) => Datum::text("********"),
            };
            vec![
                Datum::Oid(role.oid),
                name(&role.name),
                Datum::Bool(role.superuser),
                Datum::Bool(role.inherit),
                Datum::Bool(role.create_role),
                Datum::Bool(role.create_database),
                Datum::Bool(role.login),
                Datum::Bool(role.replication),
                Datum::Bool(role.superuser),
                Datum::Int4(role.connection_limit),
                password,
                role.valid_until.map_or(Datum::Null, |until| Datum::Timestamptz(until.micros())),
                Datum::Null,
            ]
        })
        .collect()
}

pub(super) fn authids(context: &Context<'_>) -> Vec<Vec<Datum>> {
    role_rows(context, context.actor.superuser)
}

pub(super) fn roles(context: &Context<'_>) -> Vec<Vec<Datum>> {
    role_rows(context, false)
}

pub(super) fn users(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut all: Vec<_> = context.catalogue.roles.values().filter(|role| role.login).collect();
    all.sort_by_key(|role| role.oid);
    all.into_iter()
        .map(|role| {
            vec![
                name(&role.name),
                Datum::Oid(role.oid),
                Datum::Bool(role.create_database),
                Datum::Bool(role.superuser),
                Datum::Bool(role.replication),
                Datum::Bool(role.superuser),
                Datum::text("********"),
                role.valid_until.map_or(Datum::Null, |until| Datum::Timestamptz(until.micros())),
            ]
        })
        .collect()
}

pub(super) fn tablespaces(_: &Context<'_>) -> Vec<Vec<Datum>> {
    [(1663, "pg_default"), (1664, "pg_global")]
        .iter()
        .map(|(oid, space)| {
            vec![Datum::Oid(*oid), name(space), Datum::Oid(BOOTSTRAP_ROLE_OID), Datum::Null, Datum::Null]
        })
        .collect()
}

pub(super) fn role_name(catalogue: &Catalogue, oid: u32) -> Datum {
    catalogue.roles.get(&oid).map_or(Datum::Null, |role| name(&role.name))
}

fn database_name(context: &Context<'_>) -> Datum {
    let found = context.catalogue.databases.iter().find(|entry| entry.oid == POSTGRES_DATABASE);
    found.map_or_else(|| name("postgres"), |entry| name(&entry.name))
}

pub(super) fn information_tables(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows: Vec<Vec<Datum>> = sorted_relations(context.catalogue)
        .into_iter()
        .map(|relation| {
            vec![
                database_name(context),
                name("public"),
                name(&relation.name),
                Datum::text("BASE TABLE"),
                Datum::text("YES"),
                Datum::text("NO"),
            ]
        })
        .collect();
    for (schema, table, ..) in virtual_tables(context.environment) {
        rows.push(vec![
            database_name(context),
            name(schema),
            name(table),
            Datum::text("VIEW"),
            Datum::text("NO"),
            Datum::text("NO"),
        ]);
    }
    rows
}

pub(super) fn information_columns(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    for relation in sorted_relations(context.catalogue) {
        for (number, (_, column)) in (1..).zip(relation.live_columns()) {
            let limits = column.ty.numeric_limits();
            let (precision, scale) = match column.ty.id {
                TypeId::Int2 => (Datum::Int4(16), Datum::Int4(0)),
                TypeId::Int4 => (Datum::Int4(32), Datum::Int4(0)),
                TypeId::Int8 => (Datum::Int4(64), Datum::Int4(0)),
                _ => (
                    limits.map_or(Datum::Null, |(precision, _)| Datum::Int4(i32::from(precision))),
                    limits.map_or(Datum::Null, |(_, scale)| Datum::Int4(i32::from(scale))),
                ),
            };
            let length = column.ty.character_limit().and_then(|limit| i32::try_from(limit).ok());
            let is_time = column.ty.id.category() == Category::DateTime;
            let digits =
                column.ty.time_precision().and_then(|digits| i32::try_from(digits).ok()).unwrap_or(6);
            rows.push(vec![
                database_name(context),
                name("public"),
                name(&relation.name),
                name(&column.name),
                Datum::Int4(number),
                match &column.default {
                    Some(default) => Datum::from(shown_default(default, column.ty)),
                    None => Datum::Null,
                },
                Datum::text(if column.not_null { "NO" } else { "YES" }),
                Datum::text(if column.ty.id.element().is_some() { "ARRAY" } else { column.ty.id.sql_name() }),
                length.map_or(Datum::Null, Datum::Int4),
                precision,
                scale,
                if is_time {
                    Datum::Int4(if column.ty.id == TypeId::Date { 0 } else { digits })
                } else {
                    Datum::Null
                },
                name(column.ty.id.name()),
                Datum::text(if column.identity.is_some() { "YES" } else { "NO" }),
                Datum::text("NEVER"),
                Datum::text("YES"),
            ]);
        }
    }
    rows
}

pub(super) fn information_schemata(context: &Context<'_>) -> Vec<Vec<Datum>> {
    schemas()
        .iter()
        .map(|(_, schema)| {
            vec![database_name(context), name(schema), role_name(context.catalogue, BOOTSTRAP_ROLE_OID)]
        })
        .collect()
}
