//! real and double precision as text.

use crate::error::{Error, Result};
use crate::integer::trim;
use num_bigint::BigUint;
use sqlstate::SqlState;
use std::fmt::Write as _;

/// Reads a double.
pub(crate) fn parse_f64(text: &str) -> Result<f64> {
    let value = strtod(trim(text)).ok_or_else(|| Error::invalid_text("double precision", text))?;
    check(value, text, "double precision", value == 0.0, value.is_infinite())
}

/// Reads a real.
pub(crate) fn parse_f32(text: &str) -> Result<f32> {
    let hexadecimal = || hexadecimal(trim(text)).map(|wide| wide as f32);
    let value = trim(text).parse().ok().or_else(hexadecimal);
    let value: f32 = value.ok_or_else(|| Error::invalid_text("real", text))?;
    check(value, text, "real", value == 0.0, value.is_infinite())
}

/// The number that a text without blanks is to C's strtod: decimal, or hexadecimal as `0x1.8p3`.
pub(crate) fn strtod(text: &str) -> Option<f64> {
    text.parse().ok().or_else(|| hexadecimal(text))
}

/// `[+-]0x` with hexadecimal digits, which may have a point, and perhaps an exponent of two.
fn hexadecimal(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X"))?;
    let (mantissa, exponent) = digits.split_once(['p', 'P']).unwrap_or((digits, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let value = format!("{whole}{fraction}").chars().try_fold(0.0, |value: f64, digit| {
        digit.to_digit(16).map(|digit| value.mul_add(16.0, f64::from(digit)))
    })?;
    let exponent = exponent.parse::<i32>().ok()?.saturating_sub(i32::try_from(fraction.len() * 4).ok()?);
    let value = value * f64::from(exponent).exp2();
    Some(if text.starts_with('-') { -value } else { value })
}

/// A text of digits that became zero or infinity did not fit.
fn check<F>(value: F, text: &str, name: &str, zero: bool, infinite: bool) -> Result<F> {
    let exponent = if text.contains(['x', 'X']) { ['p', 'P'] } else { ['e', 'E'] };
    let mantissa = trim(text).split(exponent).next().unwrap_or_default();
    let lost_all = zero && mantissa.bytes().any(|byte| byte.is_ascii_hexdigit() && byte != b'0');
    let overflowed = infinite && mantissa.bytes().any(|byte| byte.is_ascii_digit());
    if lost_all || overflowed {
        return Err(Error::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("\"{}\" is out of range for type {name}", trim(text)),
        ));
    }
    Ok(value)
}

/// Appends a double; `extra_digits` is extra_float_digits.
pub(crate) fn write_f64(value: f64, extra_digits: i32, out: &mut String) {
    if !write_special(value, out) {
        if extra_digits > 0 {
            layout(&shortest_f64(value), 15, out);
        } else {
            layout(&significant(value, 15 + extra_digits), (15 + extra_digits).max(1), out);
        }
    }
}

/// Appends a real.
pub(crate) fn write_f32(value: f32, extra_digits: i32, out: &mut String) {
    if !write_special(f64::from(value), out) {
        if extra_digits > 0 {
            layout(&shortest_f32(value), 6, out);
        } else {
            layout(&significant(f64::from(value), 6 + extra_digits), (6 + extra_digits).max(1), out);
        }
    }
}

fn write_special(value: f64, out: &mut String) -> bool {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    } else if value == 0.0 {
        out.push_str(if value.is_sign_negative() { "-0" } else { "0" });
    } else {
        return false;
    }
    true
}

/// As printf's %.*e with trailing zeros dropped.
fn significant(value: f64, digits: i32) -> String {
    let printed = format!("{value:.*e}", (digits.max(1) - 1) as usize);
    match printed.split_once('e') {
        Some((mantissa, exponent)) if mantissa.contains('.') => {
            format!("{}e{exponent}", mantissa.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => printed,
    }
}

/// The shortest digits that lie strictly inside the interval of numbers that read back as `value`. Rust's
/// printer also takes the interval's ends, which PostgreSQL leaves out (1e23 prints as
/// 9.999999999999999e+22).
fn shortest_f64(value: f64) -> String {
    let printed = format!("{value:e}");
    // The ends have one bit more than the mantissa: only integers of 54 bits and more can be so short in
    // decimal.
    let magnitude = value.abs();
    if magnitude < 9_007_199_254_740_992.0 || !is_midpoint(&printed, magnitude.to_bits(), 52, 1075) {
        return printed;
    }
    (15..=16)
        .map(|digits| format!("{value:.digits$e}"))
        .find(|text| text.parse() == Ok(value))
        .unwrap_or(printed)
}

fn shortest_f32(value: f32) -> String {
    let printed = format!("{value:e}");
    let magnitude = value.abs();
    if magnitude < 16_777_216.0 || !is_midpoint(&printed, u64::from(magnitude.to_bits()), 23, 150) {
        return printed;
    }
    (7..=8)
        .map(|digits| format!("{value:.digits$e}"))
        .find(|text| text.parse() == Ok(value))
        .unwrap_or(printed)
}

/// Whether the printed number lies half-way between the float of these bits and a neighbour.
fn is_midpoint(printed: &str, bits: u64, mantissa_bits: u32, bias: i64) -> bool {
    let Some((mantissa, exponent)) = printed.trim_start_matches('-').split_once('e') else { return false };
    let digits = mantissa.replace('.', "");
    let fraction_digits = digits.len() as i64 - 1;
    let Ok(exponent) = exponent.parse::<i64>() else { return false };
    let (Ok(digits), Ok(zeros)) = (digits.parse::<BigUint>(), u32::try_from(exponent - fraction_digits))
    else {
        return false;
    };
    let decimal = digits * BigUint::from(10u8).pow(zeros);
    let fraction = bits & ((1 << mantissa_bits) - 1) | 1 << mantissa_bits;
    let Ok(shift) = usize::try_from((bits >> mantissa_bits) as i64 - bias) else { return false };
    // Twice the float, and its distance to the neighbours' midpoints: one unit (half a unit below a power of
    // two).
    let float = BigUint::from(fraction) << (shift + 2);
    let decimal = decimal << 2usize;
    let unit = BigUint::from(2u8) << shift;
    decimal == &float + &unit || decimal == &float - &unit || decimal == float - (unit >> 1usize)
}

/// Turns `d.ddde±x` into PostgreSQL's layout: plain from 1e-4 up to 10^`plain_digits`, else with an exponent
/// of at least two digits.
fn layout(scientific: &str, plain_digits: i32, out: &mut String) {
    let (negative, unsigned) = match scientific.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, scientific),
    };
    let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if negative {
        out.push('-');
    }
    if !(-4..plain_digits).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "{mantissa}e{sign}{:02}", exponent.abs());
        return;
    }
    let digits = mantissa.replace('.', "");
    if exponent < 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', (-exponent - 1) as usize));
        out.push_str(&digits);
        return;
    }
    let whole = exponent as usize + 1;
    match digits.split_at_checked(whole) {
        Some((whole, "")) => out.push_str(whole),
        Some((whole, fraction)) => {
            let _ = write!(out, "{whole}.{fraction}");
        }
        None => {
            out.push_str(&digits);
            out.extend(std::iter::repeat_n('0', whole - digits.len()));
        }
    }
}
