//! What rows of system tables are made from.

use crate::model::{Catalogue, Relation};
use crate::rights::{Object, item_text};
use sql_types::{Array, Datum, TypeId};
use std::sync::Arc;

/// A value of type name.
pub(super) fn name(value: &str) -> Datum {
    Datum::text(value)
}

/// A row of which only these columns have values.
pub(super) fn sparse(columns: &[(&str, TypeId)], values: &[(&str, Datum)]) -> Vec<Datum> {
    let known = |(name, _): &(&str, Datum)| columns.iter().any(|(column, _)| column == name);
    debug_assert!(values.iter().all(known), "a column that the table does not have");
    let value = |(column, _): &(&str, TypeId)| {
        let found = values.iter().find(|(name, _)| name == column);
        found.map_or(Datum::Null, |(_, value)| value.clone())
    };
    columns.iter().map(value).collect()
}

/// A value of type "char".
pub(super) fn flag(value: char) -> Datum {
    let mut buffer = [0; 4];
    Datum::text(&*value.encode_utf8(&mut buffer))
}

/// A count in 16 bits.
pub(super) fn int2(value: usize) -> Datum {
    Datum::Int2(i16::try_from(value).unwrap_or(i16::MAX))
}

/// A value of type int2vector.
pub(super) fn int2_vector(values: impl Iterator<Item = i16>) -> Datum {
    Datum::Array(Arc::new(Array::vector(TypeId::Int2, values.map(Datum::Int2).collect())))
}

/// A value of type oidvector.
pub(super) fn oid_vector(values: impl Iterator<Item = u32>) -> Datum {
    Datum::Array(Arc::new(Array::vector(TypeId::Oid, values.map(Datum::Oid).collect())))
}

/// An array of smallint.
pub(super) fn int2_array(values: impl Iterator<Item = i16>) -> Datum {
    Datum::Array(Arc::new(Array::of(TypeId::Int2, values.map(Datum::Int2).collect())))
}

/// Tables in the order of their OIDs.
pub(super) fn sorted_relations(catalogue: &Catalogue) -> Vec<&Arc<Relation>> {
    let mut all: Vec<&Arc<Relation>> = catalogue.relations.values().collect();
    all.sort_by_key(|relation| relation.oid);
    all
}

/// A role's name by its OID.
pub(super) fn role_name(catalogue: &Catalogue, oid: u32) -> Datum {
    catalogue.roles.get(&oid).map_or(Datum::Null, |role| name(&role.name))
}

/// A list of rights as views show it; NULL where it is its kind's default.
pub(super) fn acl(catalogue: &Catalogue, object: &Object) -> Datum {
    catalogue.shown_acl(object).map_or(Datum::Null, |acl| acl_value(catalogue, &acl))
}

/// A list of rights as a value of type aclitem[].
pub fn acl_value(catalogue: &Catalogue, acl: &crate::rights::Acl) -> Datum {
    let role = |oid: u32| catalogue.roles.get(&oid).map_or_else(|| oid.to_string(), |role| role.name.clone());
    let items = acl.items().iter().map(|item| Datum::from(item_text(item, &role))).collect();
    Datum::Array(Arc::new(Array::of(TypeId::Aclitem, items)))
}

/// An array of texts; NULL for none.
pub(super) fn texts(texts: Option<&[String]>) -> Datum {
    let Some(texts) = texts.filter(|texts| !texts.is_empty()) else { return Datum::Null };
    let values = texts.iter().map(|text| Datum::text(text.as_str())).collect();
    Datum::Array(Arc::new(Array::of(TypeId::Text, values)))
}
