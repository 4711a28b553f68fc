//! Functions of numbers.

use super::{Table, float, integer, mismatch};
use crate::expr::Facts;
use sql_interface::{Result, SqlError};
use sql_types::TypeId::{self, Float4, Float8, Int2, Int4, Int8, Numeric as Num};
use sql_types::{Datum, Numeric, ops};
use sqlstate::SqlState;

fn numeric(arguments: &[Datum], at: usize) -> Result<&Numeric> {
    match arguments.get(at) {
        Some(Datum::Numeric(value)) => Ok(value),
        _ => Err(mismatch()),
    }
}

/// A function that is an operator under another name.
fn operator(name: &str, arguments: &[Datum], id: TypeId, facts: &dyn Facts) -> Result<Datum> {
    let known = ops::operators(name)
        .iter()
        .find(|known| known.left == id && known.right == id)
        .ok_or_else(mismatch)?;
    match arguments {
        [left, right] => Ok((known.function)(left, right, facts.style())?),
        _ => Err(mismatch()),
    }
}

fn domain(state: SqlState, message: &'static str) -> SqlError {
    SqlError::new(state, message)
}

/// A float result: infinite or zero only where the argument explains it.
fn finite(value: f64, infinite_ok: bool, zero_ok: bool) -> Result<Datum> {
    if value.is_infinite() && !infinite_ok {
        return Err(ops::float_overflow().into());
    }
    if value == 0.0 && !zero_ok {
        return Err(ops::float_underflow().into());
    }
    Ok(Datum::Float8(value))
}

pub(super) fn register(table: &mut Table) {
    rounding(table);
    powers(table);
    trigonometry(table);
    for id in [Int2, Int4, Int8, Float4, Float8, Num] {
        table.add("abs", &[id], id, |a, _| {
            let value = a.first().ok_or_else(mismatch)?;
            let id = value.natural_type();
            let known = ops::unary_operators("@")
                .iter()
                .find(|known| Some(known.operand) == id)
                .ok_or_else(mismatch)?;
            Ok((known.function)(value)?)
        });
    }
    table.add("mod", &[Int2, Int2], Int2, |a, facts| operator("%", a, Int2, facts));
    table.add("mod", &[Int4, Int4], Int4, |a, facts| operator("%", a, Int4, facts));
    table.add("mod", &[Int8, Int8], Int8, |a, facts| operator("%", a, Int8, facts));
    table.add("mod", &[Num, Num], Num, |a, facts| operator("%", a, Num, facts));
    table.add("div", &[Num, Num], Num, |a, _| {
        Ok(Datum::Numeric(numeric(a, 0)?.div_truncated(numeric(a, 1)?)?))
    });
    for name in ["gcd", "lcm"] {
        for id in [Int4, Int8] {
            table.add(name, &[id, id], id, if name == "gcd" { gcd } else { lcm });
        }
    }
    table
        .add("random", &[], Float8, |_, facts| {
            let mut bytes = [0; 8];
            facts.random(&mut bytes);
            // 53 bits, as a double has them, below 1.
            Ok(Datum::Float8((u64::from_le_bytes(bytes) >> 11) as f64 / 9_007_199_254_740_992.0))
        })
        .volatile();
    table.add("pi", &[], Float8, |_, _| Ok(Datum::Float8(std::f64::consts::PI)));
    table.add("scale", &[Num], Int4, |a, _| {
        Ok(numeric(a, 0)?.scale().map_or(Datum::Null, |scale| Datum::Int4(i32::from(scale))))
    });
    table.add("min_scale", &[Num], Int4, |a, _| {
        let least = trim_scale(numeric(a, 0)?).scale();
        Ok(least.map_or(Datum::Null, |scale| Datum::Int4(i32::from(scale))))
    });
    table.add("trim_scale", &[Num], Num, |a, _| Ok(Datum::Numeric(trim_scale(numeric(a, 0)?))));
}

/// Without trailing zeros after the point.
fn trim_scale(value: &Numeric) -> Numeric {
    let (mut low, mut high) = (0, value.scale().unwrap_or(0));
    while low < high {
        let middle = (low + high) / 2;
        if value.trunc(i32::from(middle)) == *value {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    value.trunc(i32::from(low))
}

fn widen(arguments: &[Datum]) -> Result<(i64, i64, bool)> {
    Ok((integer(arguments, 0)?, integer(arguments, 1)?, matches!(arguments.first(), Some(Datum::Int4(_)))))
}

fn narrowed(value: u128, four: bool) -> Result<Datum> {
    let what = if four { "integer out of range" } else { "bigint out of range" };
    let out_of_range = || SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, what);
    if four {
        return i32::try_from(value).map(Datum::Int4).map_err(|_| out_of_range());
    }
    i64::try_from(value).map(Datum::Int8).map_err(|_| out_of_range())
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

fn gcd(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    let (a, b, four) = widen(arguments)?;
    narrowed(u128::from(divisor(a.unsigned_abs(), b.unsigned_abs())), four)
}

fn lcm(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    let (a, b, four) = widen(arguments)?;
    let (a, b) = (a.unsigned_abs(), b.unsigned_abs());
    if a == 0 || b == 0 {
        return narrowed(0, four);
    }
    narrowed(u128::from(a / divisor(a, b)) * u128::from(b), four)
}

fn rounding(table: &mut Table) {
    table.add("round", &[Num], Num, |a, _| Ok(Datum::Numeric(numeric(a, 0)?.round(0)?)));
    table.add("round", &[Num, Int4], Num, |a, _| {
        Ok(Datum::Numeric(numeric(a, 0)?.round(integer(a, 1)? as i32)?))
    });
    table.add("round", &[Float8], Float8, |a, _| Ok(Datum::Float8(float(a, 0)?.round_ties_even())));
    table.add("trunc", &[Num], Num, |a, _| Ok(Datum::Numeric(numeric(a, 0)?.trunc(0))));
    table.add("trunc", &[Num, Int4], Num, |a, _| {
        Ok(Datum::Numeric(numeric(a, 0)?.trunc(integer(a, 1)? as i32)))
    });
    table.add("trunc", &[Float8], Float8, |a, _| Ok(Datum::Float8(float(a, 0)?.trunc())));
    for name in ["ceil", "ceiling"] {
        table.add(name, &[Num], Num, |a, _| Ok(Datum::Numeric(numeric(a, 0)?.ceil())));
        table.add(name, &[Float8], Float8, |a, _| Ok(Datum::Float8(float(a, 0)?.ceil())));
    }
    table.add("floor", &[Num], Num, |a, _| Ok(Datum::Numeric(numeric(a, 0)?.floor())));
    table.add("floor", &[Float8], Float8, |a, _| Ok(Datum::Float8(float(a, 0)?.floor())));
    table.add("sign", &[Num], Num, |a, _| {
        Ok(Datum::Numeric(numeric(a, 0)?.signum().map_or(Numeric::NAN, Numeric::from)))
    });
    table.add("sign", &[Float8], Float8, |a, _| {
        let value = float(a, 0)?;
        Ok(Datum::Float8(if value > 0.0 {
            1.0
        } else if value < 0.0 {
            -1.0
        } else {
            // Of NaN and of either zero.
            0.0
        }))
    });
}

fn powers(table: &mut Table) {
    for name in ["power", "pow"] {
        table.add(name, &[Float8, Float8], Float8, |a, facts| operator("^", a, Float8, facts));
        table.add(name, &[Num, Num], Num, |a, facts| operator("^", a, Num, facts));
    }
    table.add("sqrt", &[Num], Num, |a, _| Ok(Datum::Numeric(numeric(a, 0)?.sqrt()?)));
    table.add("sqrt", &[Float8], Float8, |a, _| {
        let value = float(a, 0)?;
        if value < 0.0 {
            return Err(domain(
                SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION,
                "cannot take square root of a negative number",
            ));
        }
        Ok(Datum::Float8(value.sqrt()))
    });
    table.add("cbrt", &[Float8], Float8, |a, _| Ok(Datum::Float8(float(a, 0)?.cbrt())));
    table.add("exp", &[Num], Num, |a, _| Ok(Datum::Numeric(numeric(a, 0)?.exp()?)));
    table.add("exp", &[Float8], Float8, |a, _| {
        let value = float(a, 0)?;
        finite(value.exp(), value.is_infinite(), value.is_infinite())
    });
    table.add("ln", &[Num], Num, |a, _| Ok(Datum::Numeric(numeric(a, 0)?.ln()?)));
    table.add("ln", &[Float8], Float8, |a, _| logarithm(float(a, 0)?, f64::ln));
    for name in ["log", "log10"] {
        table.add(name, &[Num], Num, |a, _| Ok(Datum::Numeric(numeric(a, 0)?.log10()?)));
        table.add(name, &[Float8], Float8, |a, _| logarithm(float(a, 0)?, f64::log10));
    }
    table.add("log", &[Num, Num], Num, |a, _| Ok(Datum::Numeric(numeric(a, 0)?.log_of(numeric(a, 1)?)?)));
}

fn logarithm(value: f64, compute: fn(f64) -> f64) -> Result<Datum> {
    if value == 0.0 {
        return Err(domain(SqlState::INVALID_ARGUMENT_FOR_LOGARITHM, "cannot take logarithm of zero"));
    }
    if value < 0.0 {
        return Err(domain(
            SqlState::INVALID_ARGUMENT_FOR_LOGARITHM,
            "cannot take logarithm of a negative number",
        ));
    }
    finite(compute(value), value.is_infinite(), value == 1.0)
}

fn out_of_domain() -> SqlError {
    domain(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "input is out of range")
}

fn trigonometry(table: &mut Table) {
    table.add("sin", &[Float8], Float8, |a, _| angle(float(a, 0)?, f64::sin));
    table.add("cos", &[Float8], Float8, |a, _| angle(float(a, 0)?, f64::cos));
    table.add("tan", &[Float8], Float8, |a, _| angle(float(a, 0)?, f64::tan));
    table.add("asin", &[Float8], Float8, |a, _| inverse(float(a, 0)?, f64::asin));
    table.add("acos", &[Float8], Float8, |a, _| inverse(float(a, 0)?, f64::acos));
    table.add("atan", &[Float8], Float8, |a, _| Ok(Datum::Float8(float(a, 0)?.atan())));
    table.add("atan2", &[Float8, Float8], Float8, |a, _| Ok(Datum::Float8(float(a, 0)?.atan2(float(a, 1)?))));
    table.add("cot", &[Float8], Float8, |a, _| angle(float(a, 0)?, |value| 1.0 / value.tan()));
    table.add("sinh", &[Float8], Float8, |a, _| Ok(Datum::Float8(float(a, 0)?.sinh())));
    table.add("cosh", &[Float8], Float8, |a, _| Ok(Datum::Float8(float(a, 0)?.cosh())));
    table.add("tanh", &[Float8], Float8, |a, _| Ok(Datum::Float8(float(a, 0)?.tanh())));
    table.add("degrees", &[Float8], Float8, |a, _| scaled(float(a, 0)?, |value| value / DEGREE));
    table.add("radians", &[Float8], Float8, |a, _| scaled(float(a, 0)?, |value| value * DEGREE));
}

/// One degree in radians.
const DEGREE: f64 = std::f64::consts::PI / 180.0;

/// A multiple that neither leaves the range of finite numbers nor becomes zero.
fn scaled(value: f64, compute: fn(f64) -> f64) -> Result<Datum> {
    let result = compute(value);
    if result.is_infinite() && value.is_finite() {
        Err(ops::float_overflow().into())
    } else if result == 0.0 && value != 0.0 {
        Err(ops::float_underflow().into())
    } else {
        Ok(Datum::Float8(result))
    }
}

fn angle(value: f64, compute: fn(f64) -> f64) -> Result<Datum> {
    if value.is_infinite() { Err(out_of_domain()) } else { Ok(Datum::Float8(compute(value))) }
}

fn inverse(value: f64, compute: fn(f64) -> f64) -> Result<Datum> {
    if value.abs() > 1.0 { Err(out_of_domain()) } else { Ok(Datum::Float8(compute(value))) }
}
