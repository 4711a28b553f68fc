//! Rows of the SQL standard's views of rights.

use super::information_schema::{database_name, yes};
use super::values::{name, sorted_relations};
use super::{Context, sequences, views, virtual_tables};
use crate::rights::{AclItem, Membership, Object, ObjectKind, PUBLIC, Privileges};
use sql_types::Datum;

fn role(context: &Context<'_>, oid: u32) -> Datum {
    if oid == PUBLIC {
        return name("PUBLIC");
    }
    context.catalogue.roles.get(&oid).map_or(Datum::Null, |role| name(&role.name))
}

/// Whether an item concerns the current role: by what it has, or (`public`) as anybody.
fn concerns(context: &Context<'_>, item: &AclItem, public: bool) -> bool {
    let mine = |oid| oid != PUBLIC && context.catalogue.has_rights_of(context.actor.role, oid);
    mine(item.grantee) || mine(item.grantor) || (public && item.grantee == PUBLIC)
}

/// A table or view: its schema, name, object and the numbers and names of its columns.
struct Table {
    schema: &'static str,
    name: String,
    object: Object,
    columns: Vec<(i16, String)>,
}

fn tables(context: &Context<'_>) -> Vec<Table> {
    let mut all = Vec::new();
    for relation in sorted_relations(context.catalogue) {
        let columns = relation.live_columns().map(|(_, column)| (column.number, column.name.clone()));
        all.push(Table {
            schema: "public",
            name: relation.name.clone(),
            object: Object::Relation(relation.oid),
            columns: columns.collect(),
        });
    }
    for view in views::sorted(context.catalogue) {
        let columns = (1..).zip(&view.columns).map(|(number, column)| (number, column.name.clone()));
        all.push(Table {
            schema: "public",
            name: view.name.clone(),
            object: Object::Relation(view.oid),
            columns: columns.collect(),
        });
    }
    for (schema, table, oid, _) in virtual_tables(context.environment) {
        let (name, object) = (table.to_owned(), Object::MadeUp(oid, table));
        all.push(Table { schema, name, object, columns: Vec::new() });
    }
    all
}

/// The words of privileges, in the standard's order.
const OF_TABLES: [Privileges; 7] = [
    Privileges::INSERT,
    Privileges::SELECT,
    Privileges::UPDATE,
    Privileges::DELETE,
    Privileges::TRUNCATE,
    Privileges::REFERENCES,
    Privileges::TRIGGER,
];

pub(super) fn table_privileges(context: &Context<'_>, public: bool) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    for table in tables(context) {
        let (_, owner) = context.catalogue.kind_and_owner(&table.object);
        for item in context.catalogue.acl(&table.object).items() {
            if !concerns(context, item, public) {
                continue;
            }
            for one in OF_TABLES.into_iter().filter(|one| item.privileges.has(*one)) {
                let grantable = item.options.has(one)
                    || item.grantee != PUBLIC && context.catalogue.has_rights_of(item.grantee, owner);
                rows.push(vec![
                    role(context, item.grantor),
                    role(context, item.grantee),
                    database_name(context),
                    name(table.schema),
                    name(&table.name),
                    Datum::text(one.word()),
                    yes(grantable),
                    yes(one == Privileges::SELECT),
                ]);
            }
        }
    }
    rows
}

pub(super) fn column_privileges(context: &Context<'_>, public: bool) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    for table in tables(context) {
        let (_, owner) = context.catalogue.kind_and_owner(&table.object);
        let whole = context.catalogue.acl(&table.object);
        for (number, column) in &table.columns {
            let mut items: Vec<AclItem> = whole.items().to_vec();
            if let Object::Relation(oid) = table.object
                && let Some(own) = context.catalogue.rights.acls.get(&Object::Column(oid, *number))
            {
                items.extend(own.items());
            }
            let mut seen: Vec<(u32, u32, Privileges)> = Vec::new();
            for item in items.iter().filter(|item| concerns(context, item, public)) {
                for one in OF_TABLES {
                    let there = (item.grantor, item.grantee, one);
                    let applies = item.privileges.has(one) && ObjectKind::Column.all().has(one);
                    if !applies || seen.contains(&there) {
                        continue;
                    }
                    seen.push(there);
                    let grantable = item.options.has(one)
                        || item.grantee != PUBLIC && context.catalogue.has_rights_of(item.grantee, owner);
                    rows.push(vec![
                        role(context, item.grantor),
                        role(context, item.grantee),
                        database_name(context),
                        name(table.schema),
                        name(&table.name),
                        name(column),
                        Datum::text(one.word()),
                        yes(grantable),
                    ]);
                }
            }
        }
    }
    rows
}

pub(super) fn usage_privileges(context: &Context<'_>, public: bool) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    for sequence in sequences::sorted(context.catalogue) {
        // As in PostgreSQL, nothing is shown of those where nothing was granted or revoked yet.
        let Some(acl) = context.catalogue.shown_acl(&Object::Relation(sequence.oid)) else { continue };
        for item in acl.items() {
            if !item.privileges.has(Privileges::USAGE) || !concerns(context, item, public) {
                continue;
            }
            let owns =
                item.grantee != PUBLIC && context.catalogue.has_rights_of(item.grantee, sequence.owner);
            rows.push(vec![
                role(context, item.grantor),
                role(context, item.grantee),
                database_name(context),
                name("public"),
                name(&sequence.name),
                Datum::text("SEQUENCE"),
                Datum::text("USAGE"),
                yes(owns || item.options.has(Privileges::USAGE)),
            ]);
        }
    }
    rows
}

fn member_row(context: &Context<'_>, membership: &Membership) -> Vec<Datum> {
    vec![role(context, membership.member), role(context, membership.role), yes(membership.admin)]
}

pub(super) fn applicable_roles(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mine =
        |membership: &Membership| context.catalogue.has_rights_of(context.actor.role, membership.member);
    let all = context.catalogue.rights.members.sorted();
    all.iter().filter(|membership| mine(membership)).map(|found| member_row(context, found)).collect()
}

pub(super) fn administrable_roles(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let grantable = yes(true);
    applicable_roles(context).into_iter().filter(|row| row.last() == Some(&grantable)).collect()
}

pub(super) fn enabled_roles(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut all: Vec<_> = context.catalogue.roles.values().collect();
    all.sort_by_key(|role| role.oid);
    let enabled =
        all.into_iter().filter(|role| context.catalogue.has_rights_of(context.actor.role, role.oid));
    enabled.map(|role| vec![name(&role.name)]).collect()
}
