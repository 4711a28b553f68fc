//! Rows of the information schema. It shows of each thing only what concerns who asks: what that role owns or
//! has a right to.

use super::values::{name, role_name, sorted_relations, sparse};
use super::{Context, TABLES, virtual_tables};
use crate::model::{POSTGRES_DATABASE, PUBLIC_OID, Relation, Sequence};
use crate::rights::{Object, Privileges};
use crate::schema::Schema;
use sql_types::{Datum, TypeId};
use std::sync::Arc;

/// What a table may be used for, by its columns too.
const OF_COLUMNS: Privileges =
    Privileges::SELECT.with(Privileges::INSERT).with(Privileges::UPDATE).with(Privileges::REFERENCES);
/// What only a whole table may be used for.
const OF_TABLES: Privileges = Privileges::DELETE.with(Privileges::TRUNCATE).with(Privileges::TRIGGER);

pub(super) fn yes(is: bool) -> Datum {
    Datum::text(if is { "YES" } else { "NO" })
}

pub(super) fn database_name(context: &Context<'_>) -> Datum {
    let found = context.catalogue.databases.iter().find(|entry| entry.oid == POSTGRES_DATABASE);
    found.map_or_else(|| name("postgres"), |entry| name(&entry.name))
}

/// The columns of one of the views here.
pub(super) fn columns_of(view: &str) -> &'static [(&'static str, TypeId)] {
    let is_it = |table: &&super::SystemTable| table.schema == "information_schema" && table.name == view;
    TABLES.iter().find(is_it).map_or(&[], |table| table.columns)
}

/// Whether who asks has the rights of an object's owner.
pub(super) fn owns(context: &Context<'_>, object: &Object) -> bool {
    let (_, owner) = context.catalogue.kind_and_owner(object);
    context.catalogue.has_rights_of(context.actor.role, owner)
}

/// Whether who asks owns an object or has one of these rights with it.
pub(super) fn may(context: &Context<'_>, object: &Object, any_of: Privileges) -> bool {
    owns(context, object) || !context.catalogue.privileges(context.actor.role, object, any_of).is_empty()
}

/// The same of a column, whose right may be that of its whole table.
pub(super) fn may_column(context: &Context<'_>, table: &Object, number: i16, any_of: Privileges) -> bool {
    may(context, table, any_of)
        || matches!(table, Object::Relation(oid)
            if !context.catalogue.privileges(context.actor.role, &Object::Column(*oid, number), any_of).is_empty())
}

/// Whether a table concerns who asks, by itself or by one of its columns.
fn concerns(context: &Context<'_>, table: &Object, any_of: Privileges) -> bool {
    let by_column = any_of & OF_COLUMNS;
    may(context, table, any_of)
        || matches!(table, Object::Relation(oid) if context.catalogue.columns_with_rights(*oid)
            .any(|number| may_column(context, table, number, by_column)))
}

pub(super) fn tables(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let columns = columns_of("tables");
    let mut rows = Vec::new();
    let mut add = |object: Object, schema: &str, table: &str, is_table: bool, takes_rows: bool| {
        if !concerns(context, &object, OF_COLUMNS | OF_TABLES) {
            return;
        }
        rows.push(sparse(
            columns,
            &[
                ("table_catalog", database_name(context)),
                ("table_schema", name(schema)),
                ("table_name", name(table)),
                ("table_type", Datum::text(if is_table { "BASE TABLE" } else { "VIEW" })),
                ("is_insertable_into", yes(takes_rows)),
                ("is_typed", yes(false)),
            ],
        ));
    };
    for relation in sorted_relations(context.catalogue) {
        add(Object::Relation(relation.oid), "public", &relation.name, true, true);
    }
    for view in super::views::sorted(context.catalogue) {
        add(Object::Relation(view.oid), "public", &view.name, false, false);
    }
    for (schema, table, oid, _) in virtual_tables(context.environment) {
        add(Object::MadeUp(oid, table), schema, table, super::is_table(table), false);
    }
    rows
}

pub(super) fn schemata(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let columns = columns_of("schemata");
    let shown =
        |schema: &Schema| may(context, &Object::Schema(schema.oid()), Privileges::CREATE | Privileges::USAGE);
    let row = |schema: Schema| {
        let owner = context.catalogue.schema_owner(schema.oid());
        sparse(
            columns,
            &[
                ("catalog_name", database_name(context)),
                ("schema_name", name(schema.name())),
                ("schema_owner", role_name(context.catalogue, owner)),
            ],
        )
    };
    Schema::ALL.into_iter().filter(shown).map(row).collect()
}

pub(super) fn views(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let columns = columns_of("views");
    let mut rows = Vec::new();
    for view in super::views::sorted(context.catalogue) {
        let object = Object::Relation(view.oid);
        if !concerns(context, &object, OF_COLUMNS | OF_TABLES) {
            continue;
        }
        // The query is for the owner alone.
        let query = Datum::from(format!(" {};", view.query));
        rows.push(sparse(
            columns,
            &[
                ("table_catalog", database_name(context)),
                ("table_schema", name("public")),
                ("table_name", name(&view.name)),
                ("view_definition", if owns(context, &object) { query } else { Datum::Null }),
                ("check_option", Datum::text("NONE")),
                ("is_updatable", yes(false)),
                ("is_insertable_into", yes(false)),
                ("is_trigger_updatable", yes(false)),
                ("is_trigger_deletable", yes(false)),
                ("is_trigger_insertable_into", yes(false)),
            ],
        ));
    }
    rows
}

/// Sequences but those of identity columns.
pub(super) fn sequences(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let columns = columns_of("sequences");
    let any_of = Privileges::SELECT | Privileges::UPDATE | Privileges::USAGE;
    let shown = |sequence: &&Arc<Sequence>| {
        !sequence.identity && may(context, &Object::Relation(sequence.oid), any_of)
    };
    let row = |sequence: &Arc<Sequence>| {
        let bits = match sequence.ty {
            TypeId::Int2 => 16,
            TypeId::Int4 => 32,
            _ => 64,
        };
        sparse(
            columns,
            &[
                ("sequence_catalog", database_name(context)),
                ("sequence_schema", name("public")),
                ("sequence_name", name(&sequence.name)),
                ("data_type", Datum::text(sequence.ty.sql_name())),
                ("numeric_precision", Datum::Int4(bits)),
                ("numeric_precision_radix", Datum::Int4(2)),
                ("numeric_scale", Datum::Int4(0)),
                ("start_value", Datum::from(sequence.start.to_string())),
                ("minimum_value", Datum::from(sequence.min.to_string())),
                ("maximum_value", Datum::from(sequence.max.to_string())),
                ("increment", Datum::from(sequence.increment.to_string())),
                ("cycle_option", yes(sequence.cycle)),
            ],
        )
    };
    super::sequences::sorted(context.catalogue).into_iter().filter(shown).map(row).collect()
}

pub(super) fn catalogue_name(context: &Context<'_>) -> Vec<Vec<Datum>> {
    vec![vec![database_name(context)]]
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
        // The standard takes NOT NULL for a CHECK, which has no name of its own.
        for (_, column) in relation.live_columns().filter(|(_, column)| column.not_null) {
            let named = format!("{PUBLIC_OID}_{}_{}_not_null", relation.oid, column.number);
            take(relation, &named, "CHECK", &[]);
        }
    }
}

pub(super) fn table_constraints(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    let any_of = (OF_COLUMNS | OF_TABLES).without(Privileges::SELECT);
    each_constraint(context, |relation, constraint, kind, _| {
        if !concerns(context, &Object::Relation(relation.oid), any_of) {
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
        let table = Object::Relation(relation.oid);
        for (number, column) in (1..).zip(columns.iter().filter_map(|at| relation.columns.get(*at))) {
            if !may_column(context, &table, column.number, OF_COLUMNS) {
                continue;
            }
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
        if !owns(context, &Object::Relation(relation.oid)) {
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

/// CHECK constraints, and NOT NULL, with what they ask.
pub(super) fn check_constraints(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let mut rows = Vec::new();
    let mut add = |constraint: &str, clause: String| {
        let place = [database_name(context), name("public"), name(constraint)];
        rows.push(place.into_iter().chain([Datum::from(clause)]).collect());
    };
    for relation in sorted_relations(context.catalogue) {
        if !owns(context, &Object::Relation(relation.oid)) {
            continue;
        }
        for check in &relation.checks {
            let clause = super::constraint_definition(relation, check.oid).unwrap_or_default();
            add(&check.name, clause.trim_start_matches("CHECK ").to_owned());
        }
        for (_, column) in relation.live_columns().filter(|(_, column)| column.not_null) {
            let named = format!("{PUBLIC_OID}_{}_{}_not_null", relation.oid, column.number);
            add(&named, format!("{} IS NOT NULL", column.name));
        }
    }
    rows
}
