//! Rows of the information schema.

use super::relations::shown_default;
use super::values::{name, role_name, sorted_relations};
use super::{Context, virtual_tables};
use crate::model::{POSTGRES_DATABASE, Relation};
use crate::rights::{Object, ObjectKind, Privileges};
use crate::schema::Schema;
use sql_types::{Category, Datum, TypeId};

/// Whether the role that asks owns a relation, or may do any of this with it or with one of its columns.
fn sees(context: &Context<'_>, object: &Object, any_of: Privileges) -> bool {
    let (catalogue, role) = (context.catalogue, context.actor.role);
    let (_, owner) = catalogue.kind_and_owner(object);
    let of_columns = any_of & ObjectKind::Column.all();
    let any_column = |oid: u32| of_columns.each().any(|one| catalogue.may_any_column(role, oid, one));
    catalogue.has_rights_of(role, owner)
        || !catalogue.privileges(role, object, any_of).is_empty()
        || matches!(object, Object::Relation(oid) if any_column(*oid))
}

/// The same for one column of a table.
fn sees_column(context: &Context<'_>, relation: &Relation, number: i16) -> bool {
    let (catalogue, role) = (context.catalogue, context.actor.role);
    let any_of = ObjectKind::Column.all();
    catalogue.has_rights_of(role, relation.owner)
        || !catalogue.privileges(role, &Object::Relation(relation.oid), any_of).is_empty()
        || any_of.each().any(|one| catalogue.may_column(role, relation.oid, number, one))
}

fn database_name(context: &Context<'_>) -> Datum {
    let found = context.catalogue.databases.iter().find(|entry| entry.oid == POSTGRES_DATABASE);
    found.map_or_else(|| name("postgres"), |entry| name(&entry.name))
}

pub(super) fn tables(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let visible = |object: &Object| sees(context, object, ObjectKind::Table.all());
    let mut rows: Vec<Vec<Datum>> = sorted_relations(context.catalogue)
        .into_iter()
        .filter(|relation| visible(&Object::Relation(relation.oid)))
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
    let views = super::views::sorted(context.catalogue).into_iter();
    for view in views.filter(|view| visible(&Object::Relation(view.oid))) {
        rows.push(vec![
            database_name(context),
            name("public"),
            name(&view.name),
            Datum::text("VIEW"),
            Datum::text("NO"),
            Datum::text("NO"),
        ]);
    }
    let made_up = virtual_tables(context.environment);
    for (schema, table, ..) in made_up.filter(|(_, name, oid, _)| visible(&Object::MadeUp(*oid, name))) {
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

pub(super) fn columns(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    for relation in sorted_relations(context.catalogue) {
        for (number, (_, column)) in (1..).zip(relation.live_columns()) {
            if !sees_column(context, relation, column.number) {
                continue;
            }
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

pub(super) fn schemata(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let row = |schema: Schema| {
        let owner = context.catalogue.schema_owner(schema.oid());
        vec![database_name(context), name(schema.name()), role_name(context.catalogue, owner)]
    };
    let visible = |schema: &Schema| sees(context, &Object::Schema(schema.oid()), ObjectKind::Schema.all());
    Schema::ALL.into_iter().filter(visible).map(row).collect()
}

/// All constraints with their tables: name, kind, and the numbers of the key's columns.
fn each_constraint(context: &Context<'_>, mut take: impl FnMut(&Relation, &str, &str, &[usize])) {
    for relation in sorted_relations(context.catalogue) {
        for index in relation.all_indexes().filter(|index| index.constraint) {
            let columns: Vec<usize> = index.columns.iter().map(|part| part.at).collect();
            take(relation, index.name, if index.primary { "PRIMARY KEY" } else { "UNIQUE" }, &columns);
        }
        for check in &relation.checks {
            take(relation, &check.name, "CHECK", &[]);
        }
    }
}

pub(super) fn table_constraints(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    each_constraint(context, |relation, constraint, kind, _| {
        // Who may only read a table does not see how it is kept.
        let any_of = ObjectKind::Table.all().without(Privileges::SELECT);
        if !sees(context, &Object::Relation(relation.oid), any_of) {
            return;
        }
        rows.push(vec![
            database_name(context),
            name("public"),
            name(constraint),
            database_name(context),
            name("public"),
            name(&relation.name),
            Datum::text(kind),
            Datum::text("NO"),
            Datum::text("NO"),
            Datum::text("YES"),
            if kind == "UNIQUE" { Datum::text("YES") } else { Datum::Null },
        ]);
    });
    rows
}

pub(super) fn key_columns(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    each_constraint(context, |relation, constraint, _, columns| {
        let columns = (1..).zip(columns.iter().filter_map(|at| relation.columns.get(*at)));
        for (number, column) in columns.filter(|(_, column)| sees_column(context, relation, column.number)) {
            rows.push(vec![
                database_name(context),
                name("public"),
                name(constraint),
                database_name(context),
                name("public"),
                name(&relation.name),
                name(&column.name),
                Datum::Int4(number),
                Datum::Null,
            ]);
        }
    });
    rows
}

pub(super) fn constraint_columns(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    each_constraint(context, |relation, constraint, _, columns| {
        if !context.catalogue.has_rights_of(context.actor.role, relation.owner) {
            return;
        }
        for column in columns.iter().filter_map(|at| relation.columns.get(*at)) {
            rows.push(vec![
                database_name(context),
                name("public"),
                name(&relation.name),
                name(&column.name),
                database_name(context),
                name("public"),
                name(constraint),
            ]);
        }
    });
    rows
}
