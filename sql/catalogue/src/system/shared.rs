//! Rows about what all databases share: roles, the databases themselves, and where their files are.

use super::Context;
use super::values::{acl, acl_value, flag, name, texts};
use crate::model::{BOOTSTRAP_ROLE_OID, Role};
use crate::rights::{Acl, DefaultFor, Membership, Object};
use sql_types::{Array, Datum, TypeId};
use std::sync::Arc;

/// Places of rolbypassrls and rolvaliduntil in pg_authid, counted behind the OID.
const BYPASS_RLS: usize = 7;
const VALID_UNTIL: usize = 10;

/// Columns of pg_roles that pg_authid has, too.
const AUTHID_COLUMNS: usize = 12;

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
                acl(context.catalogue, &Object::Database(entry.oid)),
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
                Datum::Bool(role.bypass_rls),
                Datum::Int4(role.connection_limit),
                password,
                role.valid_until.map_or(Datum::Null, |until| Datum::Timestamptz(until.micros())),
                settings_of(context, role.oid),
            ]
        })
        .collect()
}

/// The settings that a role's sessions begin with, in any database.
fn settings_of(context: &Context<'_>, role: u32) -> Datum {
    texts(context.catalogue.rights.settings.get(&(0, role)).map(Vec::as_slice))
}

pub(super) fn authids(context: &Context<'_>) -> Vec<Vec<Datum>> {
    // pg_authid has no rolconfig.
    let mut rows = role_rows(context, true);
    rows.iter_mut().for_each(|row| row.truncate(AUTHID_COLUMNS));
    rows
}

pub(super) fn roles(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows = role_rows(context, false);
    for row in &mut rows {
        // The OID stands last, and rolbypassrls behind the date: so the view has them.
        row.rotate_left(1);
        if let Some(tail) = row.get_mut(BYPASS_RLS..=VALID_UNTIL) {
            tail.rotate_left(1);
        }
    }
    rows
}

pub(super) fn users(context: &Context<'_>) -> Vec<Vec<Datum>> {
    user_rows(context, |_| Datum::text("********"))
}

pub(super) fn shadows(context: &Context<'_>) -> Vec<Vec<Datum>> {
    user_rows(context, |role| role.password.as_deref().map_or(Datum::Null, Datum::text))
}

/// The roles that may not log in, with their members.
pub(super) fn groups(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let members = context.catalogue.rights.members.sorted();
    let mut all: Vec<_> = context.catalogue.roles.values().filter(|role| !role.login).collect();
    all.sort_by_key(|role| role.oid);
    let of = |role: u32| -> Vec<Datum> {
        let own = members.iter().filter(|membership| membership.role == role);
        own.map(|membership| Datum::Oid(membership.member)).collect()
    };
    let row = |role: &Arc<Role>| {
        let list = Datum::Array(Arc::new(Array::of(TypeId::Oid, of(role.oid))));
        vec![name(&role.name), Datum::Oid(role.oid), list]
    };
    all.into_iter().map(row).collect()
}

pub(super) fn members(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let row = |membership: Membership| {
        vec![
            Datum::Oid(membership.role),
            Datum::Oid(membership.member),
            Datum::Oid(membership.grantor),
            Datum::Bool(membership.admin),
        ]
    };
    context.catalogue.rights.members.sorted().into_iter().map(row).collect()
}

/// Settings of roles and databases.
pub(super) fn settings(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut all: Vec<_> = context.catalogue.rights.settings.iter().collect();
    all.sort_by_key(|(key, _)| **key);
    let row = |((database, role), settings): (&(u32, u32), &Vec<String>)| {
        vec![Datum::Oid(*database), Datum::Oid(*role), texts(Some(settings))]
    };
    all.into_iter().map(row).collect()
}

/// Default privileges.
pub(super) fn default_acls(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut all: Vec<_> = context.catalogue.rights.defaults.iter().collect();
    all.sort_by_key(|(of, _)| **of);
    let numbers = 1_u32..;
    let row = |((of, acl), number): ((&DefaultFor, &Acl), u32)| {
        vec![
            Datum::Oid(number),
            Datum::Oid(of.role),
            Datum::Oid(of.schema),
            flag(of.kind),
            acl_value(context.catalogue, acl),
        ]
    };
    all.into_iter().zip(numbers).map(row).collect()
}

fn user_rows(context: &Context<'_>, password: impl Fn(&Role) -> Datum) -> Vec<Vec<Datum>> {
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
                Datum::Bool(role.bypass_rls),
                password(role),
                role.valid_until.map_or(Datum::Null, |until| Datum::Timestamptz(until.micros())),
                settings_of(context, role.oid),
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
