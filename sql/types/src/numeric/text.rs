//! The text form of numeric.

use super::{MAX_INTEGER_DIGITS, MAX_SCALE, Numeric, Repr};
use crate::error::{Error, Result};
use crate::integer::trim;
use num_bigint::{BigInt, Sign};
use sqlstate::SqlState;
use std::fmt;

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::NaN => return f.write_str("NaN"),
            Repr::PositiveInfinity => return f.write_str("Infinity"),
            Repr::NegativeInfinity => return f.write_str("-Infinity"),
            Repr::Small(value, 0) => return write!(f, "{value}"),
            _ => {}
        }
        let Some((sign, digits, scale)) = self.decimal_digits() else { return Ok(()) };
        let scale = usize::from(scale);
        if sign == Sign::Minus {
            f.write_str("-")?;
        }
        if scale == 0 {
            return f.write_str(if digits.is_empty() { "0" } else { &digits });
        }
        if digits.len() > scale {
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            write!(f, "{whole}.{fraction}")
        } else {
            write!(f, "0.{digits:0>scale$}")
        }
    }
}

#[cold]
pub(super) fn overflow() -> Error {
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
}

impl Numeric {
    /// Reads a number, with exponent if wanted, `NaN`, `inf` or `infinity`; blanks around it are ignored.
    ///
    /// # Errors
    ///
    /// 22P02, 22003 or another code of the class 22 if the text is no such value.
    pub fn parse(text: &str) -> Result<Self> {
        let trimmed = trim(text);
        let invalid = || Error::invalid_text("numeric", text);
        let (negative, unsigned) = match trimmed.as_bytes().first() {
            Some(b'-') => (true, trimmed.get(1..).unwrap_or_default()),
            Some(b'+') => (false, trimmed.get(1..).unwrap_or_default()),
            _ => (false, trimmed),
        };
        if unsigned.eq_ignore_ascii_case("infinity") || unsigned.eq_ignore_ascii_case("inf") {
            return Ok(if negative { Self::NEGATIVE_INFINITY } else { Self::INFINITY });
        }
        if trimmed.eq_ignore_ascii_case("nan") {
            return Ok(Self::NAN);
        }
        let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
            Some(at) => (unsigned.get(..at).unwrap_or_default(), unsigned.get(at + 1..)),
            None => (unsigned, None),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits_only = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !digits_only(whole) || !digits_only(fraction) {
            return Err(invalid());
        }
        let exponent: i64 = match exponent {
            None => 0,
            Some(exponent) => {
                let plain = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
                if plain.is_empty() || !digits_only(plain) {
                    return Err(invalid());
                }
                // PostgreSQL takes an exponent out of its int range for a syntax error too.
                exponent
                    .parse::<i64>()
                    .ok()
                    .filter(|value| value.abs() < i64::from(i32::MAX / 2))
                    .ok_or_else(invalid)?
            }
        };
        if exponent == 0 && whole.len() + fraction.len() <= 18 {
            let mut coefficient = 0i64;
            for digit in whole.bytes().chain(fraction.bytes()) {
                coefficient = coefficient * 10 + i64::from(digit - b'0');
            }
            let coefficient = if negative { -coefficient } else { coefficient };
            return Ok(Self::small(coefficient, fraction.len() as u16));
        }
        Self::from_digits(negative, whole, fraction, exponent)
    }

    fn from_digits(negative: bool, whole: &str, fraction: &str, exponent: i64) -> Result<Self> {
        let digits: String = [whole, fraction].concat();
        let significant = digits.trim_start_matches('0');
        let mut scale = fraction.len() as i64 - exponent;
        if !significant.is_empty() && significant.len() as i64 - scale > MAX_INTEGER_DIGITS {
            return Err(overflow());
        }
        if scale > i64::from(MAX_SCALE) {
            // Digits beyond what the format holds are rounded away when the value was written without an
            // exponent that long; PostgreSQL refuses the rest.
            return Err(overflow());
        }
        let mut all = significant.to_owned();
        if scale < 0 {
            if !all.is_empty() {
                all.extend(std::iter::repeat_n('0', usize::try_from(-scale).unwrap_or(0)));
            }
            scale = 0;
        }
        let magnitude = if all.is_empty() { BigInt::from(0) } else { all.parse().unwrap_or_default() };
        Ok(Self::big(if negative { -magnitude } else { magnitude }, scale as u16))
    }
}
