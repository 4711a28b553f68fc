//! Rows about what all databases share: roles, the databases themselves, and where their files are.

use super::Context;
use super::values::{flag, name};
use crate::model::BOOTSTRAP_ROLE_OID;
use sql_types::Datum;

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
