//! Rows about types.

use super::values::{flag, name};
use super::{Context, known};
use crate::model::{BOOTSTRAP_ROLE_OID, PG_CATALOG_OID};
use sql_types::{Category, Datum, TypeId};

pub(super) fn types(_: &Context<'_>) -> Vec<Vec<Datum>> {
    TypeId::ALL
        .iter()
        .map(|id| {
            let info = id.info();
            let Some(known) = known::TYPES.get(&info.oid) else { return Vec::new() };
            vec![
                Datum::Oid(info.oid),
                name(info.name),
                Datum::Oid(PG_CATALOG_OID),
                Datum::Oid(BOOTSTRAP_ROLE_OID),
                Datum::Int2(info.len),
                Datum::Bool(known.by_value),
                flag(if matches!(info.category, Category::Pseudo | Category::Unknown) { 'p' } else { 'b' }),
                flag(category_letter(info.category)),
                Datum::Bool(info.preferred),
                Datum::Bool(true),
                flag(','),
                Datum::Oid(0),
                Datum::Oid(known.subscript),
                Datum::Oid(id.element().map_or(0, TypeId::oid)),
                Datum::Oid(id.array().map_or(0, TypeId::oid)),
                Datum::Oid(known.input),
                Datum::Oid(known.output),
                Datum::Oid(known.receive),
                Datum::Oid(known.send),
                Datum::Oid(known.modifier_in),
                Datum::Oid(known.modifier_out),
                Datum::Oid(known.analyze),
                flag(known.align),
                flag(known.storage),
                Datum::Bool(false),
                Datum::Oid(0),
                Datum::Int4(-1),
                Datum::Int4(0),
                Datum::Oid(known.collation),
                Datum::Null,
                Datum::Null,
                Datum::Null,
            ]
        })
        .collect()
}

fn category_letter(category: Category) -> char {
    match category {
        Category::Array => 'A',
        Category::Boolean => 'B',
        Category::DateTime => 'D',
        Category::Network => 'I',
        Category::Numeric => 'N',
        Category::Pseudo => 'P',
        Category::String => 'S',
        Category::Timespan => 'T',
        Category::User => 'U',
        Category::Unknown => 'X',
        Category::Internal => 'Z',
    }
}
