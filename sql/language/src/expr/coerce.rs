//! Making an expression's value one of another type.

use super::data_type::regtype;
use super::functions::rights;
use super::node::{Constant, Expr};
use super::{Facts, Scope};
use sql_catalogue::names::SearchPath;
use sql_interface::{Result, SqlError};
use sql_types::cast::{self, CastContext};
use sql_types::{Array, Category, Datum, Type, TypeId};
use sqlstate::SqlState;
use std::sync::Arc;

/// Whether values of `from` become `to` in this context. Undetermined literals and parameters always do.
pub(super) fn can_coerce(from: TypeId, to: TypeId, how: CastContext) -> bool {
    cast::cast_context(from, to).is_some_and(|needed| needed <= how)
}

/// The OID of a name, or of its number, for a type of OIDs. Relations are looked for along the path.
pub fn reg(ty: TypeId, name: &str, path: &SearchPath, facts: &dyn Facts) -> Result<Datum> {
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Datum::parse(Type::of(TypeId::Oid), name, facts.style())?);
    }
    if name == "-" {
        return Ok(Datum::Oid(0));
    }
    facts.reg_oid(ty, path, name)?.map(Datum::Oid).ok_or_else(|| facts.reg_missing(ty, name))
}

/// Whether texts of a type are names of the catalogue, or hold some.
#[inline]
const fn is_of_names(ty: TypeId) -> bool {
    ty.is_reg() || matches!(ty, TypeId::Aclitem | TypeId::Regtype)
}

/// A value of a type of OIDs, an item of an access list, or an array of these, from its text: names are
/// looked for along the path. None for any other type.
///
/// # Errors
///
/// What is wrong with the text.
#[inline]
pub fn read_reg(ty: TypeId, text: &str, path: &SearchPath, facts: &dyn Facts) -> Result<Option<Datum>> {
    if is_of_names(ty.element().unwrap_or(ty)) { read_names(ty, text, path, facts) } else { Ok(None) }
}

fn read_names(ty: TypeId, text: &str, path: &SearchPath, facts: &dyn Facts) -> Result<Option<Datum>> {
    if ty.is_reg() {
        return reg(ty, text, path, facts).map(Some);
    }
    match ty {
        TypeId::Aclitem => return rights::shown_item(text, facts).map(Some),
        TypeId::Regtype => return regtype(text, path, facts).map(Some),
        _ => {}
    }
    let Some(element) = ty.element() else { return Ok(None) };
    let names = Datum::parse(Type::of(TypeId::TextArray), text, facts.style())?;
    let Datum::Array(names) = names else { return Ok(None) };
    let values = names.values().iter().map(|name| match name.as_str() {
        Some(name) if element == TypeId::Aclitem => rights::shown_item(name, facts),
        Some(name) if element == TypeId::Regtype => regtype(name, path, facts),
        Some(name) => reg(element, name, path, facts),
        None => Ok(Datum::Null),
    });
    let values = values.collect::<Result<_>>()?;
    let array = Array::with_dimensions(element, names.dimensions().to_vec(), values)?;
    Ok(Some(Datum::Array(Arc::new(array))))
}

/// A value of a type of OIDs, or of arrays of one, with names in the place of the OIDs; None for others.
pub fn named_reg(ty: TypeId, value: &Datum, facts: &dyn Facts) -> Result<Option<Datum>> {
    let named = |ty: TypeId, value: &Datum| match value {
        Datum::Oid(oid) => Datum::from(reg_text(ty, *oid, facts)),
        other => other.clone(),
    };
    match (value, ty.element()) {
        (Datum::Oid(_), _) if ty.is_reg() => Ok(Some(named(ty, value))),
        (Datum::Array(array), Some(element)) if element.is_reg() => {
            let values = array.values().iter().map(|value| named(element, value)).collect();
            let names = Array::with_dimensions(TypeId::Text, array.dimensions().to_vec(), values)?;
            Ok(Some(Datum::Array(Arc::new(names))))
        }
        _ => Ok(None),
    }
}

/// A value of a type of OIDs as it prints.
pub fn reg_text(ty: TypeId, oid: u32, facts: &dyn Facts) -> String {
    match oid {
        0 => "-".to_owned(),
        oid => facts.reg_name(ty, oid).unwrap_or_else(|| oid.to_string()),
    }
}

/// Converts an expression to a type. Literals of unknown type are read as `to`, undetermined parameters
/// become it. Assignment is for values that go to a column; errors: 42846 for a written cast, else 42804.
///
/// # Errors
///
/// As above, and what reading a literal fails with.
pub(crate) fn coerce(expr: Expr, to: Type, how: CastContext, scope: &mut dyn Scope) -> Result<Expr> {
    let explicit = how == CastContext::Explicit;
    let from = expr.ty();
    if from == to || (from.id == to.id && to.modifier < 0 && !explicit) {
        return Ok(expr);
    }
    if from.id == to.id && to.modifier < 0 {
        // The value stays, and forgets how long it had to be.
        return Ok(match expr {
            Expr::Const(value, _) => Expr::Const(value, to),
            operand => Expr::Cast { operand: Box::new(operand), to, explicit },
        });
    }
    if from.id == TypeId::Unknown {
        return coerce_unknown(expr, to, explicit, scope);
    }
    if !can_coerce(from.id, to.id, how) {
        let (from, to) = (from.id.sql_name(), to.id.sql_name());
        return Err(if explicit {
            SqlError::new(SqlState::CANNOT_COERCE, format!("cannot cast type {from} to {to}"))
        } else {
            SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("expression is of type {from}, but type {to} is needed"),
            )
            .with_hint("You will need to rewrite or cast the expression.")
        });
    }
    if expr.as_const().is_some_and(Datum::is_null) {
        return Ok(Expr::constant(Datum::Null, to));
    }
    Ok(Expr::Cast { operand: Box::new(expr), to, explicit }.fold_here())
}

fn coerce_unknown(expr: Expr, to: Type, explicit: bool, scope: &mut dyn Scope) -> Result<Expr> {
    match expr {
        Expr::Const(Constant(Datum::Text(text)), Type { modifier: mark, .. }) => {
            if let Some(value) = read_reg(to.id, &text, scope.search_path(), scope.facts())? {
                scope.note_reading(mark, &text, to.id, &value);
                return Ok(Expr::constant(value, to));
            }
            // As PostgreSQL does it: read without the modifier, then fitted to it.
            let value = Datum::parse(Type::of(to.id), &text, scope.reading_style())?;
            scope.note_reading(mark, &text, to.id, &value);
            Ok(Expr::constant(cast::apply_modifier(value, to, explicit)?, to))
        }
        Expr::Const(..) => Ok(Expr::constant(Datum::Null, to)),
        Expr::Param { index, .. } => {
            scope.determine_parameter(index, Type::of(to.id))?;
            let param = Expr::Param { index, ty: Type::of(to.id) };
            if to.modifier < 0 {
                return Ok(param);
            }
            Ok(Expr::Cast { operand: Box::new(param), to, explicit })
        }
        // A column of a subquery that nobody gave a type: its text is read when it is there.
        other => Ok(Expr::Cast { operand: Box::new(other), to, explicit }),
    }
}

/// Brings expressions to one type, as UNION, CASE, VALUES and lists need it. `context` names the construct in
/// errors.
pub(crate) fn common_type(exprs: &mut [&mut Expr], context: &str, scope: &mut dyn Scope) -> Result<Type> {
    let ty = choose_common(&exprs.iter().map(|expr| expr.ty()).collect::<Vec<_>>(), context)?;
    for expr in exprs.iter_mut() {
        let taken = std::mem::replace(*expr, Expr::constant(Datum::Null, ty));
        **expr = coerce(taken, ty, CastContext::Implicit, scope).map_err(|error| {
            if error.code() == SqlState::DATATYPE_MISMATCH {
                let message = format!("{context} could not convert type to {}", ty.id.sql_name());
                return SqlError::new(SqlState::CANNOT_COERCE, message);
            }
            error
        })?;
    }
    Ok(ty)
}

/// The type that all of these become.
pub(super) fn choose_common(types: &[Type], context: &str) -> Result<Type> {
    if let Some((first, rest)) = types.split_first()
        && first.id != TypeId::Unknown
        && rest.iter().all(|ty| ty.id == first.id)
    {
        let same_modifier = rest.iter().all(|ty| ty.modifier == first.modifier);
        return Ok(if same_modifier { *first } else { Type::of(first.id) });
    }
    let mut chosen: Option<TypeId> = None;
    for id in types.iter().map(|ty| ty.id).filter(|id| *id != TypeId::Unknown) {
        let Some(current) = chosen else {
            chosen = Some(id);
            continue;
        };
        if id == current {
            continue;
        }
        if id.category() != current.category() {
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("{context} types {} and {} cannot be matched", current.sql_name(), id.sql_name()),
            ));
        }
        // The one that the other turns into without being asked, unless the current one is its category's
        // favourite.
        if !current.info().preferred
            && can_coerce(current, id, CastContext::Implicit)
            && !can_coerce(id, current, CastContext::Implicit)
        {
            chosen = Some(id);
        }
    }
    Ok(Type::of(chosen.unwrap_or(TypeId::Text)))
}

/// Makes an expression a condition: 42804 if it is of another type.
pub(super) fn condition(expr: Expr, context: &str, scope: &mut dyn Scope) -> Result<Expr> {
    let id = expr.ty().id;
    if id != TypeId::Bool && id != TypeId::Unknown {
        return Err(SqlError::new(
            SqlState::DATATYPE_MISMATCH,
            format!("argument of {context} must be type boolean, not type {}", id.sql_name()),
        ));
    }
    coerce(expr, Type::of(TypeId::Bool), CastContext::Implicit, scope)
}

/// A literal that nobody gave a type is text. A parameter that has none stays without.
pub(super) fn settle_literal(expr: Expr, scope: &mut dyn Scope) -> Result<Expr> {
    let Expr::Param { index, ty } = &expr else { return settle(expr, scope) };
    if ty.id == TypeId::Unknown {
        scope.leave_parameter(*index);
    }
    Ok(expr)
}

/// A literal or parameter that nobody gave a type is text.
pub(crate) fn settle(expr: Expr, scope: &mut dyn Scope) -> Result<Expr> {
    if expr.ty().id.category() == Category::Unknown {
        return coerce(expr, Type::of(TypeId::Text), CastContext::Implicit, scope);
    }
    Ok(expr)
}
