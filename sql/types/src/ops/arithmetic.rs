//! Arithmetic on integers, floats, numerics and log positions.

use crate::datum::Datum;
use crate::error::{Error, Result};
use crate::numeric::Numeric;
use crate::style::Style;
use sqlstate::SqlState;

/// 22003 for a float that became infinite.
#[cold]
pub fn float_overflow() -> Error {
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow")
}
/// 22003 for a float that became zero.
#[cold]
pub fn float_underflow() -> Error {
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: underflow")
}

fn integers(a: &Datum, b: &Datum) -> Result<(i64, i64)> {
    match (a, b) {
        (Datum::Int4(a), Datum::Int4(b)) => Ok((i64::from(*a), i64::from(*b))),
        (Datum::Int8(a), Datum::Int8(b)) => Ok((*a, *b)),
        _ => a.as_i64().zip(b.as_i64()).ok_or_else(Error::type_mismatch),
    }
}

/// Operators whose result has a width: `$wide` computes in i64, None on overflow.
macro_rules! integer_operators {
    ($($name2:ident, $name4:ident, $name8:ident => $compute:expr;)*) => {
        $(
            pub(super) fn $name2(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
                let (a, b) = integers(a, b)?;
                let compute: fn(i64, i64) -> Result<Option<i64>> = $compute;
                let narrow = compute(a, b)?.and_then(|value| i16::try_from(value).ok());
                narrow.map(Datum::Int2).ok_or_else(|| Error::out_of_range("smallint"))
            }
            pub(super) fn $name4(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
                let (a, b) = integers(a, b)?;
                let compute: fn(i64, i64) -> Result<Option<i64>> = $compute;
                let narrow = compute(a, b)?.and_then(|value| i32::try_from(value).ok());
                narrow.map(Datum::Int4).ok_or_else(|| Error::out_of_range("integer"))
            }
            pub(super) fn $name8(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
                let (a, b) = integers(a, b)?;
                let compute: fn(i64, i64) -> Result<Option<i64>> = $compute;
                compute(a, b)?.map(Datum::Int8).ok_or_else(|| Error::out_of_range("bigint"))
            }
        )*
    };
}

integer_operators! {
    add2, add4, add8 => |a, b| Ok(a.checked_add(b));
    sub2, sub4, sub8 => |a, b| Ok(a.checked_sub(b));
    mul2, mul4, mul8 => |a, b| Ok(a.checked_mul(b));
    div2, div4, div8 => |a, b| if b == 0 { Err(Error::division_by_zero()) } else { Ok(a.checked_div(b)) };
    rem2, rem4, rem8 => |a, b| if b == 0 { Err(Error::division_by_zero()) } else { Ok(Some(a.wrapping_rem(b))) };
    and2, and4, and8 => |a, b| Ok(Some(a & b));
    or2, or4, or8 => |a, b| Ok(Some(a | b));
    xor2, xor4, xor8 => |a, b| Ok(Some(a ^ b));
}

/// Shifts count modulo the width, and lose bits without an error.
pub(super) fn shift_left(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
    let Datum::Int4(count) = b else { return Err(Error::type_mismatch()) };
    Ok(match a {
        Datum::Int2(value) => Datum::Int2(i32::from(*value).wrapping_shl(*count as u32) as i16),
        Datum::Int4(value) => Datum::Int4(value.wrapping_shl(*count as u32)),
        Datum::Int8(value) => Datum::Int8(value.wrapping_shl(*count as u32)),
        _ => return Err(Error::type_mismatch()),
    })
}

pub(super) fn shift_right(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
    let Datum::Int4(count) = b else { return Err(Error::type_mismatch()) };
    Ok(match a {
        Datum::Int2(value) => Datum::Int2(i32::from(*value).wrapping_shr(*count as u32) as i16),
        Datum::Int4(value) => Datum::Int4(value.wrapping_shr(*count as u32)),
        Datum::Int8(value) => Datum::Int8(value.wrapping_shr(*count as u32)),
        _ => return Err(Error::type_mismatch()),
    })
}

fn float(value: &Datum) -> Result<f64> {
    match value {
        Datum::Float8(value) => Ok(*value),
        Datum::Float4(value) => Ok(f64::from(*value)),
        _ => Err(Error::type_mismatch()),
    }
}

/// Refuses an infinity or zero that the operands do not explain.
pub(crate) fn check_float(value: f64, infinity_ok: bool, zero_ok: bool) -> Result<f64> {
    if value.is_infinite() && !infinity_ok {
        Err(float_overflow())
    } else if value == 0.0 && !zero_ok {
        Err(float_underflow())
    } else {
        Ok(value)
    }
}

type FloatOperator = fn(f64, f64) -> Result<f64>;

fn add(a: f64, b: f64) -> Result<f64> {
    check_float(a + b, a.is_infinite() || b.is_infinite(), true)
}
fn sub(a: f64, b: f64) -> Result<f64> {
    check_float(a - b, a.is_infinite() || b.is_infinite(), true)
}
fn mul(a: f64, b: f64) -> Result<f64> {
    check_float(a * b, a.is_infinite() || b.is_infinite(), a == 0.0 || b == 0.0)
}
fn div(a: f64, b: f64) -> Result<f64> {
    if b == 0.0 && !a.is_nan() {
        return Err(Error::division_by_zero());
    }
    check_float(a / b, a.is_infinite(), a == 0.0 || b.is_infinite())
}

fn eight(a: &Datum, b: &Datum, compute: FloatOperator) -> Result<Datum> {
    compute(float(a)?, float(b)?).map(Datum::Float8)
}

/// In single precision: the double result of two reals rounds to the same real.
fn four(a: &Datum, b: &Datum, compute: FloatOperator) -> Result<Datum> {
    let (a, b) = (float(a)?, float(b)?);
    let wide = compute(a, b)?;
    let narrow = wide as f32;
    check_float(f64::from(narrow), wide.is_infinite(), wide == 0.0)?;
    Ok(Datum::Float4(narrow))
}

macro_rules! float_operators {
    ($($name4:ident, $name8:ident => $compute:ident;)*) => {
        $(
            pub(super) fn $name4(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> { four(a, b, $compute) }
            pub(super) fn $name8(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> { eight(a, b, $compute) }
        )*
    };
}

float_operators! { float_add4, float_add8 => add; float_sub4, float_sub8 => sub; float_mul4, float_mul8 => mul; float_div4, float_div8 => div; }

/// `a ^ b` as SQL wants it: errors where no real number is the answer.
pub(crate) fn float_power(a: f64, b: f64) -> Result<f64> {
    if a.is_nan() {
        return Ok(if b == 0.0 { 1.0 } else { a });
    }
    if b.is_nan() {
        return Ok(if a == 1.0 { 1.0 } else { b });
    }
    let invalid = |what: &'static str| Err(Error::new(SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION, what));
    if a == 0.0 && b < 0.0 {
        return invalid("zero raised to a negative power is undefined");
    }
    if a < 0.0 && b.floor() != b {
        return invalid("a negative number raised to a non-integer power yields a complex result");
    }
    let infinite = a.is_infinite() || b.is_infinite();
    check_float(a.powf(b), infinite, infinite || a == 0.0)
}

pub(super) fn power8(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
    float_power(float(a)?, float(b)?).map(Datum::Float8)
}

fn numerics<'a>(a: &'a Datum, b: &'a Datum) -> Result<(&'a Numeric, &'a Numeric)> {
    match (a, b) {
        (Datum::Numeric(a), Datum::Numeric(b)) => Ok((a, b)),
        _ => Err(Error::type_mismatch()),
    }
}

macro_rules! numeric_operators {
    ($($name:ident => $method:ident;)*) => {
        $(pub(super) fn $name(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
            let (a, b) = numerics(a, b)?;
            a.$method(b).map(Datum::Numeric)
        })*
    };
}

numeric_operators! { numeric_add => add; numeric_sub => sub; numeric_mul => mul; numeric_div => div; numeric_rem => rem; numeric_power => power; }

pub(super) fn negate(value: &Datum) -> Result<Datum> {
    Ok(match value {
        Datum::Int2(value) => {
            Datum::Int2(value.checked_neg().ok_or_else(|| Error::out_of_range("smallint"))?)
        }
        Datum::Int4(value) => Datum::Int4(value.checked_neg().ok_or_else(|| Error::out_of_range("integer"))?),
        Datum::Int8(value) => Datum::Int8(value.checked_neg().ok_or_else(|| Error::out_of_range("bigint"))?),
        Datum::Float4(value) => Datum::Float4(-value),
        Datum::Float8(value) => Datum::Float8(-value),
        Datum::Numeric(value) => Datum::Numeric(value.negated()),
        Datum::Interval(value) => {
            Datum::Interval(value.negate().ok_or_else(|| crate::time::overflow("interval"))?)
        }
        _ => return Err(Error::type_mismatch()),
    })
}

pub(super) fn identity(value: &Datum) -> Result<Datum> {
    Ok(value.clone())
}

/// @ and abs()
pub(super) fn absolute(value: &Datum) -> Result<Datum> {
    match value {
        Datum::Int2(0..) | Datum::Int4(0..) | Datum::Int8(0..) => Ok(value.clone()),
        Datum::Float4(value) => Ok(Datum::Float4(value.abs())),
        Datum::Float8(value) => Ok(Datum::Float8(value.abs())),
        Datum::Numeric(value) => Ok(Datum::Numeric(value.abs())),
        _ => negate(value),
    }
}

pub(super) fn complement(value: &Datum) -> Result<Datum> {
    Ok(match value {
        Datum::Int2(value) => Datum::Int2(!value),
        Datum::Int4(value) => Datum::Int4(!value),
        Datum::Int8(value) => Datum::Int8(!value),
        _ => return Err(Error::type_mismatch()),
    })
}

pub(super) fn square_root(value: &Datum) -> Result<Datum> {
    let value = float(value)?;
    if value < 0.0 {
        return Err(Error::new(
            SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION,
            "cannot take square root of a negative number",
        ));
    }
    Ok(Datum::Float8(value.sqrt()))
}

pub(super) fn cube_root(value: &Datum) -> Result<Datum> {
    Ok(Datum::Float8(float(value)?.cbrt()))
}

pub(super) fn lsn_difference(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
    match (a, b) {
        (Datum::Lsn(a), Datum::Lsn(b)) => Ok(Datum::Numeric(Numeric::from(i128::from(*a) - i128::from(*b)))),
        _ => Err(Error::type_mismatch()),
    }
}

fn move_lsn(lsn: &Datum, bytes: &Datum, forward: bool) -> Result<Datum> {
    let (Datum::Lsn(lsn), Datum::Numeric(bytes)) = (lsn, bytes) else { return Err(Error::type_mismatch()) };
    if bytes.is_nan() {
        let what = if forward { "cannot add NaN to pg_lsn" } else { "cannot subtract NaN from pg_lsn" };
        return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, what));
    }
    let (from, by) = (Numeric::from(*lsn), if forward { bytes.clone() } else { bytes.negated() });
    // It is the place that is rounded, not the way there.
    lsn_from(&from.add(&by)?)
}

/// The position of so many bytes from the log's beginning, rounded.
///
/// # Errors
///
/// 0A000 for what is no number of bytes, 22023 outside of 64 bits.
pub fn lsn_from(bytes: &Numeric) -> Result<Datum> {
    if !bytes.is_finite() {
        let what = if bytes.is_nan() { "NaN" } else { "infinity" };
        let message = format!("cannot convert {what} to pg_lsn");
        return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message));
    }
    let place = bytes.to_i128().and_then(|lsn| u64::try_from(lsn).ok());
    place.map(Datum::Lsn).ok_or_else(|| Error::new(SqlState::INVALID_PARAMETER_VALUE, "pg_lsn out of range"))
}

pub(super) fn lsn_plus(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
    if let Datum::Lsn(_) = a { move_lsn(a, b, true) } else { move_lsn(b, a, true) }
}

pub(super) fn lsn_minus(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
    move_lsn(a, b, false)
}
