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
    let trimmed = trim(text);
    let special = || hexadecimal(trimmed, REAL).or_else(|| not_a_number(trimmed)).map(|wide| wide as f32);
    let value: f32 =
        trimmed.parse().ok().or_else(special).ok_or_else(|| Error::invalid_text("real", text))?;
    check(value, text, "real", value == 0.0, value.is_infinite())
}

/// The number that a text without blanks is to C's strtod: decimal, or hexadecimal as `0x1.8p3`.
pub(crate) fn strtod(text: &str) -> Option<f64> {
    text.parse().ok().or_else(|| hexadecimal(text, DOUBLE)).or_else(|| not_a_number(text))
}

/// `nan(x)`: C lets letters, digits and underscores say which NaN is meant. All are one here.
fn not_a_number(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (word, which) = unsigned.strip_suffix(')')?.split_once('(')?;
    let is_plain = which.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (word.eq_ignore_ascii_case("nan") && is_plain).then_some(f64::NAN)
}

/// What a binary floating-point format holds.
#[derive(Clone, Copy)]
struct Format {
    mantissa_bits: i64,
    /// The exponent of two of the least number above zero.
    exponent_min: i64,
}

const REAL: Format = Format { mantissa_bits: 24, exponent_min: -149 };
const DOUBLE: Format = Format { mantissa_bits: 53, exponent_min: -1074 };

/// `[+-]0x` with hexadecimal digits, which may have a point, and perhaps an exponent of two; rounded to the
/// nearest number of a format, halves to even.
fn hexadecimal(text: &str, format: Format) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X"))?;
    let (digits, exponent) = match digits.split_once(['p', 'P']) {
        Some((digits, exponent)) => (digits, exponent_of_two(exponent)?),
        None => (digits, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut exponent = exponent - 4 * i64::try_from(fraction.len()).ok()?;
    let (mut mantissa, mut lost) = (0_u128, false);
    for digit in whole.chars().chain(fraction.chars()) {
        let digit = digit.to_digit(16)?;
        if mantissa.leading_zeros() > 4 {
            mantissa = mantissa << 4 | u128::from(digit);
        } else {
            lost |= digit != 0;
            exponent += 4;
        }
    }
    let bits = i64::from(u128::BITS - mantissa.leading_zeros());
    let last = (exponent + bits - format.mantissa_bits).max(format.exponent_min).max(exponent);
    let shift = u32::try_from(last - exponent).unwrap_or(u32::MAX);
    let kept = mantissa.checked_shr(shift).unwrap_or(0);
    let rest = mantissa ^ kept.checked_shl(shift).unwrap_or(0);
    let half = shift.checked_sub(1).and_then(|below| 1_u128.checked_shl(below));
    let is_up = half.is_some_and(|half| rest > half || (rest == half && (lost || kept % 2 == 1)));
    let value = scaled((kept + u128::from(is_up)) as f64, last);
    Some(if text.starts_with('-') { -value } else { value })
}

/// An exponent in decimal; one that is far out of range counts as the farthest here.
fn exponent_of_two(text: &str) -> Option<i64> {
    const FARTHEST: i64 = 1 << 40;
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse().unwrap_or(FARTHEST).min(FARTHEST);
    Some(if text.starts_with('-') { -size } else { size })
}

/// `value * 2^exponent`, for a result that a double holds exactly or that is too large for one.
fn scaled(mut value: f64, mut exponent: i64) -> f64 {
    const STEP: i64 = 1000;
    while value != 0.0 && value.is_finite() && exponent != 0 {
        let step = exponent.clamp(-STEP, STEP);
        value *= (step as f64).exp2();
        exponent -= step;
    }
    value
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

/// The shortest digits that lie strictly inside the interval of numbers that read back as `value`, and of
/// two that are as near the even one. Rust's printer also takes the interval's ends, which PostgreSQL leaves
/// out (1e23 prints as 9.999999999999999e+22), and of two the greater one.
fn shortest_f64(value: f64) -> String {
    let printed = format!("{value:e}");
    let bits = value.abs().to_bits();
    // The ends have one bit more than the mantissa: only integers of 54 bits and more can be so short in
    // decimal.
    let may_be_end = value.abs() >= 9_007_199_254_740_992.0;
    if !may_be_end && !has_few_binary_places(bits, 52, 1075) {
        return printed;
    }
    let is_end = |text: &str| may_be_end && is_midpoint(text, bits, 52, 1075);
    let reads_back = |text: &str| text.parse() == Ok(value) && !is_end(text);
    let nearest = (fraction_digits(&printed)..=16).map(|digits| format!("{value:.digits$e}"));
    // As many digits do unless they are an end.
    let mut candidates = nearest.take(if is_end(&printed) { usize::MAX } else { 1 });
    candidates.find(|text| reads_back(text)).unwrap_or(printed)
}

fn shortest_f32(value: f32) -> String {
    let printed = format!("{value:e}");
    let bits = u64::from(value.abs().to_bits());
    let may_be_end = value.abs() >= 16_777_216.0;
    if !may_be_end && !has_few_binary_places(bits, 23, 150) {
        return printed;
    }
    let is_end = |text: &str| may_be_end && is_midpoint(text, bits, 23, 150);
    let reads_back = |text: &str| text.parse() == Ok(value) && !is_end(text);
    let nearest = (fraction_digits(&printed)..=8).map(|digits| format!("{value:.digits$e}"));
    // As many digits do unless they are an end.
    let mut candidates = nearest.take(if is_end(&printed) { usize::MAX } else { 1 });
    candidates.find(|text| reads_back(text)).unwrap_or(printed)
}

/// The digits behind the point of `d.ddde±x`.
fn fraction_digits(printed: &str) -> usize {
    let mantissa = printed.split_once('e').map_or(printed, |(mantissa, _)| mantissa);
    mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len())
}

/// Whether a float of these bits has so few places behind the binary point that it can lie half-way between
/// two decimals of 17 digits: it then has 18 digits, and each place takes 0.7 of one.
fn has_few_binary_places(bits: u64, mantissa_bits: u32, bias: i64) -> bool {
    let (exponent, zeros) = (bits >> mantissa_bits, bits.trailing_zeros().min(mantissa_bits));
    let last_place = exponent as i64 - bias + i64::from(zeros);
    (-25..0).contains(&last_place)
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
    let is_power = fraction == 1 << mantissa_bits;
    decimal == &float + &unit
        || decimal == &float - &unit
        || (is_power && decimal == float - (unit >> 1usize))
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
