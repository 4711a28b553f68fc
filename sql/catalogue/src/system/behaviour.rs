//! Rows about what can be done with values: functions, operators, casts, and how indexes order them.

use super::Context;
use super::known::{self, CASTS, CLASSES, KnownFunction, OPERATORS};
use super::values::{acl, flag, name, oid_vector};
use super::{bodies, signatures};
use crate::model::{BOOTSTRAP_ROLE_OID, PG_CATALOG_OID};
use crate::rights::Object;
use sql_types::cast::cast_context;
use sql_types::{Array, Datum, TypeId};
use std::sync::Arc;

const BTREE_OID: u32 = 403;
/// The language of functions that are the program's own.
const INTERNAL_OID: u32 = 12;

fn array(element: TypeId, values: Vec<Datum>) -> Datum {
    if values.is_empty() { Datum::Null } else { Datum::Array(Arc::new(Array::of(element, values))) }
}

/// A function as an object of rights.
pub(super) fn function_object(function: &KnownFunction) -> Object {
    Object::Function(function.granted_name())
}

fn function_row(context: &Context<'_>, function: &KnownFunction) -> Vec<Datum> {
    let body = bodies::of(function);
    let count = i16::try_from(function.arguments.len()).unwrap_or(i16::MAX);
    let oids = |list: &[u32]| list.iter().copied().map(Datum::Oid).collect();
    let texts = |list: &[&'static str]| list.iter().map(|text| Datum::text(*text)).collect();
    vec![
        Datum::Oid(function.oid),
        name(function.name),
        Datum::Oid(PG_CATALOG_OID),
        Datum::Oid(BOOTSTRAP_ROLE_OID),
        Datum::Oid(INTERNAL_OID),
        Datum::Float4(function.cost),
        Datum::Float4(function.rows),
        Datum::Oid(function.variadic),
        Datum::Oid(0),
        flag(function.kind),
        Datum::Bool(false),
        Datum::Bool(body.leakproof),
        Datum::Bool(function.strict),
        Datum::Bool(function.set),
        flag(function.volatility),
        flag(function.parallel),
        Datum::Int2(count),
        Datum::Int2(function.defaults),
        Datum::Oid(function.result),
        oid_vector(function.arguments.iter().copied()),
        array(TypeId::Oid, oids(&function.all_arguments)),
        array(TypeId::Char, texts(&function.modes)),
        array(TypeId::Text, texts(&function.names)),
        signatures::defaults(function).map_or(Datum::Null, Datum::from),
        Datum::Null,
        name(body.internal.unwrap_or_default()),
        Datum::Null,
        Datum::Null,
        Datum::Null,
        acl(context.catalogue, &function_object(function)),
    ]
}

pub(super) fn functions(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let exists = |function: &&KnownFunction| (context.has_function)(function);
    known::FUNCTIONS.iter().filter(exists).map(|function| function_row(context, function)).collect()
}

pub(super) fn operators(_: &Context<'_>) -> Vec<Vec<Datum>> {
    let row = |operator: &known::KnownOperator| {
        vec![
            Datum::Oid(operator.oid),
            name(operator.name),
            Datum::Oid(PG_CATALOG_OID),
            Datum::Oid(BOOTSTRAP_ROLE_OID),
            flag(operator.kind),
            Datum::Bool(operator.merges),
            Datum::Bool(operator.hashes),
            Datum::Oid(operator.sides.0),
            Datum::Oid(operator.sides.1),
            Datum::Oid(operator.result),
            Datum::Oid(operator.commutator),
            Datum::Oid(operator.negator),
            Datum::Oid(operator.code),
            Datum::Oid(operator.restriction),
            Datum::Oid(operator.join),
        ]
    };
    OPERATORS.iter().map(row).collect()
}

pub(super) fn casts(_: &Context<'_>) -> Vec<Vec<Datum>> {
    let exists = |source: u32, target: u32| {
        let ids = (TypeId::from_oid(source), TypeId::from_oid(target));
        matches!(ids, (Some(source), Some(target)) if cast_context(source, target).is_some())
    };
    let row = |(oid, source, target, function, context, method): &(u32, u32, u32, u32, char, char)| {
        vec![
            Datum::Oid(*oid),
            Datum::Oid(*source),
            Datum::Oid(*target),
            Datum::Oid(*function),
            flag(*context),
            flag(*method),
        ]
    };
    CASTS.iter().filter(|cast| exists(cast.1, cast.2)).map(row).collect()
}

pub(super) fn operator_classes(_: &Context<'_>) -> Vec<Vec<Datum>> {
    let row = |(oid, class, family, of, is_default): &known::KnownClass| {
        vec![
            Datum::Oid(*oid),
            Datum::Oid(BTREE_OID),
            name(class),
            Datum::Oid(PG_CATALOG_OID),
            Datum::Oid(BOOTSTRAP_ROLE_OID),
            Datum::Oid(*family),
            Datum::Oid(*of),
            Datum::Bool(*is_default),
            Datum::Oid(0),
        ]
    };
    CLASSES.0.iter().map(row).collect()
}

pub(super) fn operator_families(_: &Context<'_>) -> Vec<Vec<Datum>> {
    let row = |(oid, family): &(u32, &'static str)| {
        vec![
            Datum::Oid(*oid),
            Datum::Oid(BTREE_OID),
            name(family),
            Datum::Oid(PG_CATALOG_OID),
            Datum::Oid(BOOTSTRAP_ROLE_OID),
        ]
    };
    CLASSES.1.iter().map(row).collect()
}

pub(super) fn family_operators(_: &Context<'_>) -> Vec<Vec<Datum>> {
    let row = |[oid, family, left, right, strategy, operator]: &known::FamilyOperator| {
        vec![
            Datum::Oid(*oid),
            Datum::Oid(*family),
            Datum::Oid(*left),
            Datum::Oid(*right),
            Datum::Int2(i16::try_from(*strategy).unwrap_or(0)),
            flag('s'),
            Datum::Oid(*operator),
            Datum::Oid(BTREE_OID),
            Datum::Oid(0),
        ]
    };
    known::FAMILY_OPERATORS.iter().map(row).collect()
}

/// Only the program's own functions exist, and so only their language.
pub(super) fn languages(_: &Context<'_>) -> Vec<Vec<Datum>> {
    vec![vec![
        Datum::Oid(INTERNAL_OID),
        name("internal"),
        Datum::Oid(BOOTSTRAP_ROLE_OID),
        Datum::Bool(false),
        Datum::Bool(false),
        Datum::Oid(0),
        Datum::Oid(0),
        Datum::Oid(0),
        Datum::Null,
    ]]
}

pub(super) fn collations(_: &Context<'_>) -> Vec<Vec<Datum>> {
    let row = |(oid, collation): (u32, &'static str)| {
        let is_default = collation == "default";
        let locale = if is_default { Datum::Null } else { Datum::text(collation) };
        vec![
            Datum::Oid(oid),
            name(collation),
            Datum::Oid(PG_CATALOG_OID),
            Datum::Oid(BOOTSTRAP_ROLE_OID),
            flag(if is_default { 'd' } else { 'c' }),
            Datum::Bool(true),
            Datum::Int4(-1),
            locale.clone(),
            locale,
            Datum::Null,
            Datum::Null,
        ]
    };
    known::collations().into_iter().map(row).collect()
}
