//! Rows of information_schema.columns.

use super::information_schema::{columns_of, database_name, may_column, yes};
use super::relations::shown_default;
use super::values::{name, sorted_relations, sparse};
use super::{Context, TABLES};
use crate::model::{Identity, Sequence};
use crate::rights::{Object, Privileges};
use sql_types::{Datum, Type, TypeId};
use std::sync::Arc;

/// What its text may have at most, in bytes: PostgreSQL's limit of a value.
const TEXT_BYTES_MAX: i32 = 1 << 30;
/// Bytes of a character of UTF8.
const CHARACTER_BYTES_MAX: i32 = 4;

/// A column of a table or view.
struct Shown<'a> {
    schema: &'a str,
    table: &'a str,
    column: &'a str,
    number: i16,
    ty: Type,
    default: Option<String>,
    not_null: bool,
    identity: Option<(Identity, Option<&'a Arc<Sequence>>)>,
    updatable: bool,
}

fn integer(value: Option<impl TryInto<i32>>) -> Datum {
    value.and_then(|value| value.try_into().ok()).map_or(Datum::Null, Datum::Int4)
}

/// Precision, its base, and scale of a number.
fn number_limits(ty: Type) -> [Datum; 3] {
    let binary = |bits: i32| [Datum::Int4(bits), Datum::Int4(2), Datum::Int4(0)];
    match ty.id {
        TypeId::Int2 => binary(16),
        TypeId::Int4 => binary(32),
        TypeId::Int8 => binary(64),
        TypeId::Float4 => [Datum::Int4(24), Datum::Int4(2), Datum::Null],
        TypeId::Float8 => [Datum::Int4(53), Datum::Int4(2), Datum::Null],
        TypeId::Numeric => {
            let limits = ty.numeric_limits();
            let (precision, scale) = (limits.map(|(precision, _)| precision), limits.map(|(_, scale)| scale));
            [integer(precision), Datum::Int4(10), integer(scale)]
        }
        _ => [Datum::Null, Datum::Null, Datum::Null],
    }
}

/// Length in characters and in bytes of a text.
fn lengths(ty: Type) -> [Datum; 2] {
    if !matches!(ty.id, TypeId::Text | TypeId::Varchar | TypeId::Bpchar) {
        return [Datum::Null, Datum::Null];
    }
    let limit = ty.character_limit().and_then(|limit| i32::try_from(limit).ok());
    let bytes = limit.map_or(TEXT_BYTES_MAX, |limit| limit.saturating_mul(CHARACTER_BYTES_MAX));
    [integer(limit), Datum::Int4(bytes)]
}

/// Digits of a second's fraction, of types of time.
fn time_digits(ty: Type) -> Datum {
    match ty.id {
        TypeId::Date => Datum::Int4(0),
        of_time if of_time.is_of_time() => integer(ty.time_precision().or(Some(6))),
        _ => Datum::Null,
    }
}

/// The fields that an interval is limited to.
fn interval_fields(ty: Type) -> Datum {
    let format = if ty.id == TypeId::Interval { ty.format() } else { String::new() };
    let fields = format.strip_prefix("interval").unwrap_or_default();
    let fields = fields.split('(').next().unwrap_or_default().trim();
    if fields.is_empty() { Datum::Null } else { Datum::from(fields.to_uppercase()) }
}

/// The collation, where it is not the default one.
fn collation(context: &Context<'_>, ty: Type) -> [Datum; 3] {
    match ty.id {
        TypeId::Name | TypeId::NameArray => [database_name(context), name("pg_catalog"), name("C")],
        _ => [Datum::Null, Datum::Null, Datum::Null],
    }
}

fn of_identity(shown: &Shown<'_>) -> Vec<(&'static str, Datum)> {
    let Some((kind, sequence)) = shown.identity else { return vec![("identity_cycle", yes(false))] };
    let words = if kind == Identity::Always { "ALWAYS" } else { "BY DEFAULT" };
    let mut values = vec![("identity_generation", Datum::text(words))];
    if let Some(sequence) = sequence {
        values.extend([
            ("identity_start", Datum::from(sequence.start.to_string())),
            ("identity_increment", Datum::from(sequence.increment.to_string())),
            ("identity_maximum", Datum::from(sequence.max.to_string())),
            ("identity_minimum", Datum::from(sequence.min.to_string())),
            ("identity_cycle", yes(sequence.cycle)),
        ]);
    }
    values
}

fn row(context: &Context<'_>, shown: Shown<'_>) -> Vec<Datum> {
    let [precision, radix, scale] = number_limits(shown.ty);
    let [characters, bytes] = lengths(shown.ty);
    let [collation_catalog, collation_schema, collation_name] = collation(context, shown.ty);
    let identity = of_identity(&shown);
    let id = shown.ty.id;
    let data_type = if id.element().is_some() { "ARRAY" } else { id.sql_name() };
    let values = [
        ("table_catalog", database_name(context)),
        ("table_schema", name(shown.schema)),
        ("table_name", name(shown.table)),
        ("column_name", name(shown.column)),
        ("ordinal_position", Datum::Int4(shown.number.into())),
        ("column_default", shown.default.map_or(Datum::Null, Datum::from)),
        ("is_nullable", yes(!shown.not_null)),
        ("data_type", Datum::text(data_type)),
        ("character_maximum_length", characters),
        ("character_octet_length", bytes),
        ("numeric_precision", precision),
        ("numeric_precision_radix", radix),
        ("numeric_scale", scale),
        ("datetime_precision", time_digits(shown.ty)),
        ("interval_type", interval_fields(shown.ty)),
        ("collation_catalog", collation_catalog),
        ("collation_schema", collation_schema),
        ("collation_name", collation_name),
        ("udt_catalog", database_name(context)),
        ("udt_schema", name("pg_catalog")),
        ("udt_name", name(id.name())),
        ("dtd_identifier", Datum::from(shown.number.to_string())),
        ("is_self_referencing", yes(false)),
        ("is_identity", yes(shown.identity.is_some())),
        ("is_generated", Datum::text("NEVER")),
        ("is_updatable", yes(shown.updatable)),
    ];
    let values: Vec<(&str, Datum)> = values.into_iter().chain(identity).collect();
    sparse(columns_of("columns"), &values)
}

pub(super) fn columns(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let any_of = Privileges::SELECT | Privileges::INSERT | Privileges::UPDATE | Privileges::REFERENCES;
    let mut rows = Vec::new();
    let mut add = |object: &Object, shown: Shown<'_>| {
        if may_column(context, object, shown.number, any_of) {
            rows.push(row(context, shown));
        }
    };
    for relation in sorted_relations(context.catalogue) {
        let object = Object::Relation(relation.oid);
        for (_, column) in relation.live_columns() {
            let owned = Some((relation.oid, column.number));
            let sequence = context.catalogue.sequences.values().find(|known| known.owned_by == owned);
            let shown = Shown {
                schema: "public",
                table: &relation.name,
                column: &column.name,
                number: column.number,
                ty: column.ty,
                default: column.default.as_ref().map(|default| shown_default(default, column.ty)),
                not_null: column.not_null,
                identity: column.identity.map(|kind| (kind, sequence)),
                updatable: true,
            };
            add(&object, shown);
        }
    }
    for view in super::views::sorted(context.catalogue) {
        let object = Object::Relation(view.oid);
        for (number, column) in (1..).zip(&view.columns) {
            add(&object, plain("public", &view.name, &column.name, number, column.ty));
        }
    }
    for table in TABLES.iter() {
        let object = Object::MadeUp(table.oid, table.name);
        for (number, (column, id)) in (1..).zip(table.columns) {
            add(&object, plain(table.schema, table.name, column, number, Type::of(*id)));
        }
    }
    for table in context.environment.node_tables() {
        let object = Object::MadeUp(table.oid, table.name);
        for (number, (column, ty)) in (1..).zip(&table.columns) {
            add(&object, plain(table.schema, table.name, column, number, *ty));
        }
    }
    rows
}

/// A column that is no more than its name and type.
fn plain<'a>(schema: &'a str, table: &'a str, column: &'a str, number: i16, ty: Type) -> Shown<'a> {
    Shown {
        schema,
        table,
        column,
        number,
        ty,
        default: None,
        not_null: false,
        identity: None,
        updatable: false,
    }
}
