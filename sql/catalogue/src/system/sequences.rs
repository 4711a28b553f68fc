//! Rows about sequences.

use super::Context;
use super::values::{flag, name, role_name};
use crate::model::{Catalogue, Sequence};
use crate::rights::{Object, Privileges};
use sql_types::Datum;
use std::sync::Arc;

/// pg_class
pub(super) const CLASS_OID: u32 = 1259;

pub(super) fn sorted(catalogue: &Catalogue) -> Vec<&Arc<Sequence>> {
    let mut all: Vec<&Arc<Sequence>> = catalogue.sequences.values().collect();
    all.sort_by_key(|sequence| sequence.oid);
    all
}

pub(super) fn definitions(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let row = |sequence: &Arc<Sequence>| {
        vec![
            Datum::Oid(sequence.oid),
            Datum::Oid(sequence.ty.oid()),
            Datum::Int8(sequence.start),
            Datum::Int8(sequence.increment),
            Datum::Int8(sequence.max),
            Datum::Int8(sequence.min),
            Datum::Int8(sequence.cache),
            Datum::Bool(sequence.cycle),
        ]
    };
    sorted(context.catalogue).into_iter().map(row).collect()
}

pub(super) fn positions(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let row = |sequence: &Arc<Sequence>| {
        // Where it stands only those see who may take or read its numbers.
        let (role, object) = (context.actor.role, Object::Relation(sequence.oid));
        let wanted = Privileges::USAGE | Privileges::SELECT;
        let seen = !context.catalogue.privileges(role, &object, wanted).is_empty();
        let position = context.positions.get(&sequence.oid).filter(|position| seen && position.is_called);
        vec![
            name("public"),
            name(&sequence.name),
            role_name(context.catalogue, sequence.owner),
            Datum::Regtype(sequence.ty.oid()),
            Datum::Int8(sequence.start),
            Datum::Int8(sequence.min),
            Datum::Int8(sequence.max),
            Datum::Int8(sequence.increment),
            Datum::Bool(sequence.cycle),
            Datum::Int8(sequence.cache),
            position.map_or(Datum::Null, |position| Datum::Int8(position.last)),
        ]
    };
    sorted(context.catalogue).into_iter().map(row).collect()
}

/// pg_statio_all_sequences and its kin.
pub(super) fn blocks(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let row = |sequence: &Arc<Sequence>| {
        vec![Datum::Oid(sequence.oid), name("public"), name(&sequence.name), Datum::Null, Datum::Null]
    };
    sorted(context.catalogue).into_iter().map(row).collect()
}

/// Which columns own which sequences: `a` for serial, `i` for identity.
pub(super) fn dependencies(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let row = |sequence: &Arc<Sequence>| {
        let (table, column) = sequence.owned_by?;
        Some(vec![
            Datum::Oid(CLASS_OID),
            Datum::Oid(sequence.oid),
            Datum::Int4(0),
            Datum::Oid(CLASS_OID),
            Datum::Oid(table),
            Datum::Int4(i32::from(column)),
            flag(if sequence.identity { 'i' } else { 'a' }),
        ])
    };
    sorted(context.catalogue).into_iter().filter_map(row).collect()
}
