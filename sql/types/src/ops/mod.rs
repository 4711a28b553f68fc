//! Operators: which exist for which types (pg_operator), and what they compute.
//!
//! All are strict: the caller answers NULL for a NULL operand without calling them.

mod arithmetic;
mod catalogue;
mod comparison;
mod text;
mod times;

pub(crate) use arithmetic::float_power;
pub use arithmetic::{float_overflow, float_underflow, lsn_from};
pub use catalogue::{operators, unary_operators};
pub use comparison::compare_mixed;

use crate::datum::Datum;
use crate::error::Result;
use crate::style::Style;
use crate::types::TypeId;

/// Computes an operator of two operands, neither NULL.
pub type BinaryFunction = fn(&Datum, &Datum, &Style) -> Result<Datum>;
/// Computes an operator of one operand, not NULL.
pub type UnaryFunction = fn(&Datum) -> Result<Datum>;

/// An operator between two values.
#[derive(Clone, Copy, Debug)]
pub struct BinaryOperator {
    /// Its name.
    pub name: &'static str,
    /// The type on the left.
    pub left: TypeId,
    /// The type on the right.
    pub right: TypeId,
    /// The type of the result.
    pub result: TypeId,
    /// What it computes.
    pub function: BinaryFunction,
}

/// An operator before a value.
#[derive(Clone, Copy, Debug)]
pub struct UnaryOperator {
    /// The type of the operand.
    pub operand: TypeId,
    /// The type of the result.
    pub result: TypeId,
    /// What it computes.
    pub function: UnaryFunction,
}
