//! Views.

use super::{Fields, corrupt, encode, text};
use crate::model::{View, ViewColumn};
use sql_interface::Result;
use sql_types::{Array, Datum, Type, TypeId};
use std::sync::Arc;

pub(super) const VIEW: &[TypeId] = &[
    TypeId::Text,
    TypeId::Oid,
    TypeId::Text,
    TypeId::TextArray,
    TypeId::TextArray,
    TypeId::OidArray,
    TypeId::Int4Array,
    TypeId::OidArray,
    TypeId::Int2Array,
];

/// Of arrays that run side by side, one entry a column: its name, the query's own name for it, its type, the
/// type's modifier. Those of what the view reads are two: OIDs, and numbers of last columns.
pub(crate) fn encode_view(view: &View) -> Result<Vec<u8>> {
    let array = |id, values: Vec<Datum>| Datum::Array(Arc::new(Array::of(id, values)));
    let columns = &view.columns;
    encode(
        VIEW,
        &[
            text(&view.name),
            Datum::Oid(view.owner),
            text(&view.query),
            array(TypeId::Text, columns.iter().map(|column| text(&column.name)).collect()),
            array(TypeId::Text, columns.iter().map(|column| text(&column.inner)).collect()),
            array(TypeId::Oid, columns.iter().map(|column| Datum::Oid(column.ty.id.oid())).collect()),
            array(TypeId::Int4, columns.iter().map(|column| Datum::Int4(column.ty.modifier)).collect()),
            array(TypeId::Oid, view.uses.iter().map(|oid| Datum::Oid(*oid)).collect()),
            array(TypeId::Int2, view.reach.iter().map(|number| Datum::Int2(*number)).collect()),
        ],
    )
}

pub(crate) fn decode_view(oid: u32, bytes: &[u8]) -> Result<View> {
    let mut fields = Fields::decode(VIEW, bytes)?;
    let (name, owner, query) = (fields.text()?, fields.oid()?, fields.text()?);
    let mut list = || match fields.next() {
        Datum::Array(array) => Ok(array.values().to_vec()),
        _ => Err(corrupt()),
    };
    let (names, inner, types, modifiers, uses) = (list()?, list()?, list()?, list()?, list()?);
    let mut columns = Vec::with_capacity(names.len());
    for (((name, inner), ty), modifier) in names.iter().zip(&inner).zip(&types).zip(&modifiers) {
        match (name.as_str(), inner.as_str(), ty, modifier) {
            (Some(name), Some(inner), Datum::Oid(ty), Datum::Int4(modifier)) => columns.push(ViewColumn {
                name: name.to_owned(),
                inner: inner.to_owned(),
                ty: Type { id: TypeId::from_oid(*ty).ok_or_else(corrupt)?, modifier: *modifier },
            }),
            _ => return Err(corrupt()),
        }
    }
    let uses = uses.iter().map(|used| if let Datum::Oid(oid) = used { Ok(*oid) } else { Err(corrupt()) });
    let uses = uses.collect::<Result<_>>()?;
    // A view of before does not say it.
    let reach = match fields.next() {
        Datum::Array(array) => array.values().to_vec(),
        _ => Vec::new(),
    };
    let reach =
        reach.iter().map(|seen| if let Datum::Int2(number) = seen { Ok(*number) } else { Err(corrupt()) });
    Ok(View { oid, name, owner, query, columns, uses, reach: reach.collect::<Result<_>>()? })
}
