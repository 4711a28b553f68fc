//! Constructs that look like functions: COALESCE, NULLIF and their kin.

use super::operator::named_operator;
use super::{Compiler, unsupported};
use crate::expr::coerce::{coerce, common_type};
use crate::expr::node::{Expr, is_null};
use sql_catalogue::system::known::has_order;
use sql_interface::{Result, SqlError};
use sql_types::cast::CastContext;
use sql_types::{Datum, Type, TypeId};
use sqlparser::ast::FunctionArg;
use sqlstate::SqlState;

/// The type of the first value that is not NULL: with the modifier that those have which may be it.
fn type_of_known(values: &[Expr], common: Type) -> Type {
    let mut known = values.iter().filter(|value| !is_null(value)).map(Expr::ty);
    match known.next() {
        Some(first) if first.id == common.id && known.all(|ty| ty == first) => first,
        _ => common,
    }
}

/// COALESCE. What is never NULL ends the list, unless what follows names rows: grouping, and the level of an
/// aggregate, are judged by all that is written.
fn first_known(arguments: Vec<Expr>, common: Type) -> Expr {
    match arguments.iter().find(|value| !is_null(value)) {
        Some(first @ Expr::Const(..)) => {
            let (first, named) = (first.clone(), arguments.iter().any(|one| one.rows_named() > 0));
            if named { Expr::Coalesce(arguments, first.ty()) } else { first }
        }
        _ => {
            let ty = type_of_known(&arguments, common);
            Expr::Coalesce(arguments, ty).fold_here()
        }
    }
}

impl Compiler<'_> {
    /// Constructs that look like functions but evaluate their arguments in ways of their own.
    pub(super) fn special(&mut self, name: &str, list: &[FunctionArg]) -> Result<Option<Expr>> {
        let word = name.to_uppercase();
        Ok(Some(match name {
            "coalesce" | "greatest" | "least" => {
                let sets = self.scope.set_calls();
                let mut arguments = self.plain_arguments(name, list)?;
                if arguments.is_empty() {
                    return Err(SqlError::syntax("syntax error at or near \")\""));
                }
                let ty = common_type(&mut arguments.iter_mut().collect::<Vec<_>>(), &word, self.scope)?;
                if name == "coalesce" {
                    self.refuse_conditional_sets(sets, "COALESCE")?;
                    first_known(arguments, ty)
                } else {
                    if !has_order(ty.id) {
                        let message =
                            format!("could not identify a comparison function for type {}", ty.id.sql_name());
                        return Err(SqlError::new(SqlState::UNDEFINED_FUNCTION, message));
                    }
                    Expr::Extreme { greatest: name == "greatest", arguments, ty }.fold_here()
                }
            }
            "nullif" => {
                let mut arguments = self.plain_arguments(name, list)?;
                let (Some(right), Some(left), true) =
                    (arguments.pop(), arguments.pop(), arguments.is_empty())
                else {
                    return Err(SqlError::syntax("syntax error at or near \")\""));
                };
                if left.is_volatile() {
                    return Err(unsupported("NULLIF of a volatile expression"));
                }
                let equal = named_operator("=", self.again(&left)?, right, self.scope)?;
                // The value is of the type that it was compared as.
                let value = match &equal {
                    Expr::Compare { left: compared, .. } => (**compared).clone(),
                    _ => left,
                };
                let value = if value.ty().id == TypeId::Varchar {
                    coerce(value, Type::of(TypeId::Text), CastContext::Implicit, self.scope)?
                } else {
                    value
                };
                Expr::NullIf { equal: Box::new(equal.fold_here()), value: Box::new(value) }.fold_here()
            }
            "pg_typeof" => {
                let arguments = self.plain_arguments(name, list)?;
                let [argument] = arguments.as_slice() else { return Ok(None) };
                let oid = argument.ty().id.oid();
                Expr::constant(Datum::Regtype(oid), Type::of(TypeId::Regtype))
            }
            "row" => return Err(unsupported("a row value in this place")),
            "grouping" => return Err(unsupported("GROUPING")),
            // Their arguments are no plain ones.
            "xmlconcat" | "xmlelement" | "xmlexists" | "xmlforest" | "xmlparse" | "xmlpi" | "xmlroot"
            | "xmlserialize" => return Err(unsupported(&format!("{name}()"))),
            // Its second argument is a key word.
            "normalize" if list.len() == 2 => return Err(unsupported("normalize()")),
            "current_time" => return Err(unsupported("the type time with time zone")),
            _ => return Ok(None),
        }))
    }
}
