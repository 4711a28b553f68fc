//! Rows about what depends on roles (pg_shdepend), and the rights that things begin with (pg_init_privs).

use super::sequences::CLASS_OID as CLASS;
use super::values::{acl_value, flag};
use super::{Context, known, sequences, views, virtual_tables};
use crate::model::POSTGRES_DATABASE;
use crate::rights::{Acl, Object, PUBLIC};
use crate::schema::Schema;
use sql_types::Datum;

/// The tables of the catalogue that name a thing's kind.
const PROC: u32 = 1255;
const AUTHID: u32 = 1260;
const DATABASE: u32 = 1262;
const NAMESPACE: u32 = 2615;
const DEFAULT_ACL: u32 = 826;
/// OIDs below are those of what PostgreSQL itself brings, on which nothing is said to depend.
const FIRST_UNPINNED: u32 = 12_000;

/// Database, kind, OID and number of the part of what depends on a role.
type Place = (u32, u32, u32, i32);

/// The place of what has a list of rights.
fn place(object: &Object) -> Option<Place> {
    Some(match object {
        Object::Relation(oid) | Object::MadeUp(oid, _) => (POSTGRES_DATABASE, CLASS, *oid, 0),
        Object::Column(oid, number) => (POSTGRES_DATABASE, CLASS, *oid, i32::from(*number)),
        Object::Schema(oid) => (POSTGRES_DATABASE, NAMESPACE, *oid, 0),
        Object::Database(oid) => (0, DATABASE, *oid, 0),
        Object::Function(name) => {
            let function = known::FUNCTIONS.iter().find(|function| function.granted_name() == *name)?;
            (POSTGRES_DATABASE, PROC, function.oid, 0)
        }
    })
}

/// Who is named in a list of rights besides the owner.
fn named(acl: &Acl, owner: u32) -> Vec<u32> {
    let mut roles: Vec<u32> = acl.items().iter().flat_map(|item| [item.grantee, item.grantor]).collect();
    roles.retain(|role| *role != owner && *role != PUBLIC);
    roles.sort_unstable();
    roles.dedup();
    roles
}

pub(super) fn dependencies(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let catalogue = context.catalogue;
    let mut found: Vec<(Place, u32, char)> = Vec::new();
    let relations = catalogue.relations.values().map(|relation| (relation.oid, relation.owner));
    let sequences = sequences::sorted(catalogue).into_iter().map(|sequence| (sequence.oid, sequence.owner));
    let views = views::sorted(catalogue).into_iter().map(|view| (view.oid, view.owner));
    for (oid, owner) in relations.chain(sequences).chain(views) {
        found.push(((POSTGRES_DATABASE, CLASS, oid, 0), owner, 'o'));
    }
    for (oid, owner) in &catalogue.rights.schema_owners {
        found.push(((POSTGRES_DATABASE, NAMESPACE, *oid, 0), *owner, 'o'));
    }
    for database in &catalogue.databases {
        found.push(((0, DATABASE, database.oid, 0), database.owner, 'o'));
    }
    for (object, acl) in &catalogue.rights.acls {
        let Some(place) = place(object) else { continue };
        let (_, owner) = catalogue.kind_and_owner(object);
        found.extend(named(acl, owner).into_iter().map(|role| (place, role, 'a')));
    }
    let mut defaults: Vec<_> = catalogue.rights.defaults.iter().collect();
    defaults.sort_by_key(|(of, _)| **of);
    for (number, (of, acl)) in (1..).zip(defaults) {
        let place = (POSTGRES_DATABASE, DEFAULT_ACL, number, 0);
        found.push((place, of.role, 'o'));
        found.extend(named(acl, of.role).into_iter().map(|role| (place, role, 'a')));
    }
    found.retain(|(_, role, _)| *role >= FIRST_UNPINNED);
    found.sort_unstable();
    let row = |((database, class, oid, part), role, kind): (Place, u32, char)| {
        vec![
            Datum::Oid(database),
            Datum::Oid(class),
            Datum::Oid(oid),
            Datum::Int4(part),
            Datum::Oid(AUTHID),
            Datum::Oid(role),
            flag(kind),
        ]
    };
    found.into_iter().map(row).collect()
}

/// What PostgreSQL itself brings has rights from the start, which a dump leaves out.
pub(super) fn initial_rights(context: &Context<'_>) -> Vec<Vec<Datum>> {
    // The information schema came to PostgreSQL's template after these were noted.
    let later = Schema::INFORMATION_SCHEMA;
    let tables = virtual_tables(context.environment).filter(|(schema, ..)| *schema != later.name());
    let made_up = tables.map(|(_, name, oid, _)| Object::MadeUp(oid, name));
    let schemas = Schema::ALL.into_iter().filter(|schema| *schema != later);
    let schemas = schemas.map(|schema| Object::Schema(schema.oid()));
    let exists = |function: &&known::KnownFunction| (context.has_function)(function);
    let functions = known::FUNCTIONS.iter().filter(exists).map(super::behaviour::function_object);
    let row = |object: Object| {
        let acl = context.catalogue.first_acl(&object)?;
        let (_, class, oid, part) = place(&object)?;
        Some(vec![
            Datum::Oid(oid),
            Datum::Oid(class),
            Datum::Int4(part),
            flag('i'),
            acl_value(context.catalogue, &acl),
        ])
    };
    made_up.chain(schemas).chain(functions).filter_map(row).collect()
}
