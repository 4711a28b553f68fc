//! Rows about types.

use super::Context;
use super::values::{flag, name};
use crate::model::{BOOTSTRAP_ROLE_OID, PG_CATALOG_OID};
use sql_types::{Category, Datum, TypeId};

pub(super) fn types(_: &Context<'_>) -> Vec<Vec<Datum>> {
    TypeId::ALL
        .iter()
        .map(|id| {
            let info = id.info();
            let stem = if id.element().is_some() { "array_" } else { info.name };
            vec![
                Datum::Oid(info.oid),
                name(info.name),
                Datum::Oid(PG_CATALOG_OID),
                Datum::Oid(BOOTSTRAP_ROLE_OID),
                Datum::Int2(info.len),
                Datum::Bool(matches!(info.len, 1 | 2 | 4 | 8)),
                flag(if matches!(info.category, Category::Pseudo | Category::Unknown) { 'p' } else { 'b' }),
                flag(category_letter(info.category)),
                Datum::Bool(info.preferred),
                Datum::Bool(true),
                flag(','),
                Datum::Oid(0),
                Datum::text("-"),
                Datum::Oid(id.element().map_or(0, TypeId::oid)),
                Datum::Oid(id.array().map_or(0, TypeId::oid)),
                Datum::text(format!("{stem}in")),
                Datum::text(format!("{stem}out")),
                Datum::text(format!("{stem}recv")),
                Datum::text(format!("{stem}send")),
                Datum::Bool(false),
                Datum::Oid(0),
                Datum::Int4(-1),
                Datum::Int4(0),
                Datum::Oid(if id.is_string() { 100 } else { 0 }),
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
