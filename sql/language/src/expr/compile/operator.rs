//! Choosing operators.

use super::{TEXT, unsupported};
use crate::expr::Scope;
use crate::expr::coerce::{can_coerce, coerce, settle};
use crate::expr::node::{Chosen, Comparison, Expr};
use crate::expr::resolve::{Choice, Takes, choose};
use sql_catalogue::schema::Schema;
use sql_catalogue::system::absent::is_absent_operator;
use sql_interface::{Result, SqlError};
use sql_types::cast::CastContext;
use sql_types::ops::{self, BinaryOperator as Known};
use sql_types::{Type, TypeId};
use sqlparser::ast::BinaryOperator;
use sqlstate::SqlState;

/// The name of an operator; None for those that are absent.
fn name_of(op: &BinaryOperator) -> Option<&str> {
    Some(match op {
        BinaryOperator::Plus => "+",
        BinaryOperator::Minus => "-",
        BinaryOperator::Multiply => "*",
        BinaryOperator::Divide => "/",
        BinaryOperator::Modulo => "%",
        BinaryOperator::StringConcat => "||",
        BinaryOperator::Gt => ">",
        BinaryOperator::Lt => "<",
        BinaryOperator::GtEq => ">=",
        BinaryOperator::LtEq => "<=",
        BinaryOperator::Eq => "=",
        BinaryOperator::NotEq => "<>",
        BinaryOperator::BitwiseOr => "|",
        BinaryOperator::BitwiseAnd => "&",
        BinaryOperator::PGBitwiseXor => "#",
        BinaryOperator::PGBitwiseShiftLeft => "<<",
        BinaryOperator::PGBitwiseShiftRight => ">>",
        // PostgreSQL's ^ is a power; the parser's dialect decides which of these it calls it.
        BinaryOperator::PGExp | BinaryOperator::BitwiseXor => "^",
        BinaryOperator::PGRegexMatch => "~",
        BinaryOperator::PGRegexIMatch => "~*",
        BinaryOperator::PGRegexNotMatch => "!~",
        BinaryOperator::PGRegexNotIMatch => "!~*",
        BinaryOperator::PGLikeMatch => "~~",
        BinaryOperator::PGILikeMatch => "~~*",
        BinaryOperator::PGNotLikeMatch => "!~~",
        BinaryOperator::PGNotILikeMatch => "!~~*",
        BinaryOperator::PGStartsWith => "^@",
        BinaryOperator::Custom(name) => name,
        BinaryOperator::PGCustomBinaryOperator(parts) => match parts.as_slice() {
            [name] => name,
            [schema, name] if schema == "pg_catalog" => name,
            _ => return None,
        },
        _ => return None,
    })
}

/// The name of a comparison; None for other operators.
pub(super) fn comparison_of(op: &BinaryOperator) -> Option<&str> {
    name_of(op).filter(|name| Comparison::from_name(name).is_some())
}

/// `left op right` of compiled sides.
///
/// # Errors
///
/// 42883 or 42725 where no operator fits, or more than one; what folding its constants fails with.
pub(crate) fn operator(op: &BinaryOperator, left: Expr, right: Expr, scope: &mut dyn Scope) -> Result<Expr> {
    match op {
        BinaryOperator::And | BinaryOperator::Or => {
            let word = if *op == BinaryOperator::And { "AND" } else { "OR" };
            let left = crate::expr::coerce::condition(left, word, scope)?;
            let right = crate::expr::coerce::condition(right, word, scope)?;
            let parts = vec![left, right];
            Ok(if *op == BinaryOperator::And { Expr::And(parts) } else { Expr::Or(parts) }.fold_here())
        }
        _ => {
            let name = name_of(op).ok_or_else(|| elsewhere(op, &left, &right, scope))?;
            named_operator(name, left, right, scope).map(Expr::fold_here)
        }
    }
}

/// What is wrong with an operator that is not pg_catalog's: all that there are lie there.
fn elsewhere(op: &BinaryOperator, left: &Expr, right: &Expr, scope: &mut dyn Scope) -> SqlError {
    let BinaryOperator::PGCustomBinaryOperator(parts) = op else {
        return unsupported(&format!("operator {op}"));
    };
    let (schema, name) = match parts.as_slice() {
        [schema, name] => (schema, name),
        [database, schema, name] if database == scope.facts().database() => (schema, name),
        _ => {
            let message = format!("cross-database references are not implemented: {}", parts.join("."));
            return SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message);
        }
    };
    match Schema::required(schema) {
        Ok(Schema::PG_CATALOG) => unsupported("an operator with the name of its database"),
        Ok(_) => undefined(&format!("{schema}.{name}"), left.ty().id, right.ty().id),
        Err(error) => error,
    }
}

/// What is told where no operator is found: 0A000 if PostgreSQL has it.
fn undefined(name: &str, left: TypeId, right: TypeId) -> SqlError {
    if is_absent_operator(name, Some(left), right) {
        return unsupported(&format!("operator {} {name} {}", left.sql_name(), right.sql_name()));
    }
    SqlError::new(
        SqlState::UNDEFINED_FUNCTION,
        format!("operator does not exist: {} {name} {}", left.sql_name(), right.sql_name()),
    )
    .with_hint(
        "No operator matches the given name and argument types. You might need to add explicit type casts.",
    )
}

fn ambiguous(name: &str, left: TypeId, right: TypeId) -> SqlError {
    SqlError::new(
        SqlState::AMBIGUOUS_FUNCTION,
        format!("operator is not unique: {} {name} {}", left.sql_name(), right.sql_name()),
    )
    .with_hint("Could not choose a best candidate operator. You might need to add explicit type casts.")
}

/// The operator for operands of these types.
fn find(name: &str, left: TypeId, right: TypeId) -> Result<&'static Known> {
    let candidates = ops::operators(name);
    let exact = |left: TypeId, right: TypeId| {
        candidates.iter().find(|known| known.left == left && known.right == right)
    };
    if let Some(found) = exact(left, right) {
        return Ok(found);
    }
    // Operators of arrays are of two of one type.
    let is_array = |id: TypeId| id.element().is_some() && !id.is_vector();
    if is_array(left) && is_array(right) {
        return Err(undefined(name, left, right));
    }
    // One side unknown: first try it as the other's type.
    let same = match (left, right) {
        (TypeId::Unknown, TypeId::Unknown) => None,
        (TypeId::Unknown, known) | (known, TypeId::Unknown) => exact(known, known),
        _ => None,
    };
    if let Some(found) = same {
        return Ok(found);
    }
    let takes: Vec<Vec<Takes>> =
        candidates.iter().map(|known| vec![Takes::Type(known.left), Takes::Type(known.right)]).collect();
    match choose(&[left, right], &takes) {
        Choice::One(place) => candidates.get(place).ok_or_else(|| undefined(name, left, right)),
        Choice::None => Err(undefined(name, left, right)),
        Choice::Ambiguous => Err(ambiguous(name, left, right)),
    }
}

/// `left name right`, chosen by the types of both sides.
pub(in crate::expr) fn named_operator(
    name: &str,
    left: Expr,
    right: Expr,
    scope: &mut dyn Scope,
) -> Result<Expr> {
    let name = if name == "!=" { "<>" } else { name };
    let (left_id, right_id) = (left.ty().id, right.ty().id);
    if name == "||"
        && let Some(found) = concatenation(&left, &right)
    {
        return found.compile(left, right, scope);
    }
    let known = find(name, left_id, right_id)?;
    let (left, right) = sides(known, left, right, scope)?;
    match Comparison::from_name(name) {
        Some(op) if known.result == TypeId::Bool => {
            Ok(Expr::Compare { op, left: Box::new(left), right: Box::new(right) })
        }
        _ => Ok(Expr::Binary { operator: Chosen(known), sides: Box::new([left, right]) }),
    }
}

/// Both sides as the operator takes them. Strings that differ only in name are left as they are.
fn sides(known: &Known, left: Expr, right: Expr, scope: &mut dyn Scope) -> Result<(Expr, Expr)> {
    Ok((operand(left, known.left, scope)?, operand(right, known.right, scope)?))
}

fn operand(expr: Expr, wanted: TypeId, scope: &mut dyn Scope) -> Result<Expr> {
    let id = expr.ty().id;
    if id == TypeId::Varchar && wanted == TypeId::Text {
        return Ok(expr);
    }
    coerce(expr, Type::of(wanted), CastContext::Implicit, scope)
}

/// A comparison that must come out as one.
pub(super) fn comparison(name: &str, left: Expr, right: Expr, scope: &mut dyn Scope) -> Result<Expr> {
    named_operator(name, left, right, scope)
}

/// `name operand`
pub(super) fn unary(name: &str, operand: Expr, scope: &mut dyn Scope) -> Result<Expr> {
    let candidates = ops::unary_operators(name);
    let id = operand.ty().id;
    let takes: Vec<Vec<Takes>> = candidates.iter().map(|known| vec![Takes::Type(known.operand)]).collect();
    let missing = || {
        if is_absent_operator(name, None, id) {
            return unsupported(&format!("operator {name} {}", id.sql_name()));
        }
        SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("operator does not exist: {name} {}", id.sql_name()))
            .with_hint("No operator matches the given name and argument type. You might need to add an explicit type cast.")
    };
    let known = match choose(&[id], &takes) {
        Choice::One(place) => candidates.get(place).ok_or_else(missing)?,
        Choice::None => return Err(missing()),
        Choice::Ambiguous => {
            return Err(SqlError::new(
                SqlState::AMBIGUOUS_FUNCTION,
                format!("operator is not unique: {name} {}", id.sql_name()),
            )
            .with_hint(
                "Could not choose a best candidate operator. You might need to add explicit type casts.",
            ));
        }
    };
    let operand = coerce(operand, Type::of(known.operand), CastContext::Implicit, scope)?;
    Ok(Expr::Unary { operator: Chosen(known), operand: Box::new(operand) }.fold_here())
}

/// What `||` does where it is not the operator of two strings.
enum Concatenation {
    /// One side is a string: the other is printed.
    Printed,
    /// Each side could be the one that is printed.
    Ambiguous,
    /// array || array, array || element, element || array.
    Arrays(&'static str, TypeId),
}

/// Arrays of what values of both types become.
fn common_array(one: TypeId, other: TypeId) -> Option<TypeId> {
    crate::expr::coerce::choose_common(&[Type::of(one), Type::of(other)], "||").ok()?.id.array()
}

fn concatenation(left: &Expr, right: &Expr) -> Option<Concatenation> {
    let (left, right) = (left.ty().id, right.ty().id);
    match (left.element(), right.element()) {
        (Some(_), Some(_)) if left == right => Some(Concatenation::Arrays("array_cat", left)),
        (Some(_), None) if right == TypeId::Unknown => Some(Concatenation::Arrays("array_cat", left)),
        (None, Some(_)) if left == TypeId::Unknown => Some(Concatenation::Arrays("array_cat", right)),
        (Some(one), Some(other)) => {
            common_array(one, other).map(|array| Concatenation::Arrays("array_cat", array))
        }
        (Some(element), None) if can_coerce(right, element, CastContext::Implicit) => {
            Some(Concatenation::Arrays("array_append", left))
        }
        (None, Some(element)) if can_coerce(left, element, CastContext::Implicit) => {
            Some(Concatenation::Arrays("array_prepend", right))
        }
        (Some(element), None) => {
            common_array(element, right).map(|array| Concatenation::Arrays("array_append", array))
        }
        (None, Some(element)) => {
            common_array(element, left).map(|array| Concatenation::Arrays("array_prepend", array))
        }
        (None, None) => {
            let string = |id: TypeId| id.is_string() && id != TypeId::Unknown;
            // "char" is both: it becomes text by itself.
            let is_char = |id: TypeId| id == TypeId::Char;
            let text = |id: TypeId| string(id) || is_char(id);
            let other = |id: TypeId| id != TypeId::Unknown && !text(id);
            if (is_char(left) && !other(right)) || (is_char(right) && !other(left)) {
                return Some(Concatenation::Ambiguous);
            }
            let one_side = (text(left) && other(right)) || (other(left) && text(right));
            let printable = |id: TypeId| other(id) && id != TypeId::Bytea;
            let unknown = (left == TypeId::Unknown && printable(right))
                || (printable(left) && right == TypeId::Unknown);
            (one_side || unknown).then_some(Concatenation::Printed)
        }
    }
}

impl Concatenation {
    fn compile(self, left: Expr, right: Expr, scope: &mut dyn Scope) -> Result<Expr> {
        match self {
            Self::Ambiguous => Err(ambiguous("||", left.ty().id, right.ty().id)),
            Self::Printed => {
                let mut print = |expr: Expr| {
                    let settled = settle(expr, scope)?;
                    coerce(settled, TEXT, CastContext::Assignment, scope)
                };
                let (left, right) = (print(left)?, print(right)?);
                let known = find("||", TypeId::Text, TypeId::Text)?;
                Ok(Expr::Binary { operator: Chosen(known), sides: Box::new([left, right]) })
            }
            Self::Arrays(name, array) => {
                let element = array.element().unwrap_or(TypeId::Text);
                let (left_type, right_type) = match name {
                    "array_append" => (array, element),
                    "array_prepend" => (element, array),
                    _ => (array, array),
                };
                let left = coerce(left, Type::of(left_type), CastContext::Implicit, scope)?;
                let right = coerce(right, Type::of(right_type), CastContext::Implicit, scope)?;
                super::call::named_call(name, vec![left, right], scope)
            }
        }
    }
}

/// `left op ANY (array)`, `left op ALL (array)`.
pub(super) fn quantified(
    op: &BinaryOperator,
    left: Expr,
    array: Expr,
    all: bool,
    scope: &mut dyn Scope,
) -> Result<Expr> {
    let name = name_of(op).ok_or_else(|| unsupported(&format!("operator {op}")))?;
    // An array of unknown type takes the left side's.
    let array = if array.ty().id == TypeId::Unknown {
        let wanted = left.ty().id.array().unwrap_or(TypeId::TextArray);
        coerce(array, Type::of(wanted), CastContext::Implicit, scope)?
    } else {
        array
    };
    let Some(element) = array.ty().id.element() else {
        return Err(SqlError::new(
            SqlState::WRONG_OBJECT_TYPE,
            "op ANY/ALL (array) requires array on right side",
        ));
    };
    let known = find(name, left.ty().id, element)?;
    if known.result != TypeId::Bool {
        return Err(SqlError::new(
            SqlState::WRONG_OBJECT_TYPE,
            "op ANY/ALL (array) requires operator to yield boolean",
        ));
    }
    let left = operand(left, known.left, scope)?;
    let stays = element == TypeId::Varchar && known.right == TypeId::Text;
    let array = match known.right.array() {
        Some(id) if !stays => coerce(array, Type::of(id), CastContext::Implicit, scope)?,
        _ => array,
    };
    // `= ANY` of constants is a list, which can become a range of keys.
    if !all
        && name == "="
        && let Some(sql_types::Datum::Array(values)) = array.as_const()
        && known.left == known.right
    {
        let ty = Type::of(left.ty().id);
        let list = values.values().iter().map(|value| Expr::constant(value.clone(), ty)).collect();
        return Ok(Expr::In { tested: Box::new(left), list, negated: false }.fold_here());
    }
    Ok(Expr::Quantified { left: Box::new(left), operator: Chosen(known), array: Box::new(array), all }
        .fold_here())
}
