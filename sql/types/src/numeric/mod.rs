//! numeric: decimal numbers of any size, with the display scale that PostgreSQL keeps.
//!
//! A finite value is `coefficient / 10^scale`, the scale being also the number of digits shown after the
//! point. Most values fit an `i64` coefficient and are held inline; the rest share a [`BigInt`].

mod arithmetic;
mod codec;
mod convert;
mod functions;
mod text;

use num_bigint::{BigInt, Sign};
use num_traits::{Signed as _, ToPrimitive as _, Zero as _};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A numeric value. 16 bytes; clones share large coefficients.
#[derive(Clone)]
pub struct Numeric(Repr);

#[derive(Clone)]
enum Repr {
    Small(i64, u16),
    /// Only for coefficients outside i64.
    Big(Arc<BigInt>, u16),
    NaN,
    PositiveInfinity,
    NegativeInfinity,
}

/// What kind of value a numeric is.
pub(crate) enum Class {
    NaN,
    PositiveInfinity,
    NegativeInfinity,
    Finite(BigInt, u16),
}

/// Digits after the point at most (NUMERIC_DSCALE_MAX).
pub(crate) const MAX_SCALE: u16 = 16383;
/// Digits before the point at most ((NUMERIC_WEIGHT_MAX + 1) * DEC_DIGITS).
pub(crate) const MAX_INTEGER_DIGITS: i64 = 131_072;

impl Numeric {
    /// Not a number.
    pub const NAN: Self = Self(Repr::NaN);
    /// Infinity.
    pub const INFINITY: Self = Self(Repr::PositiveInfinity);
    /// -Infinity.
    pub const NEGATIVE_INFINITY: Self = Self(Repr::NegativeInfinity);
    /// 0
    pub const ZERO: Self = Self(Repr::Small(0, 0));
    /// 1
    pub const ONE: Self = Self(Repr::Small(1, 0));

    /// `coefficient / 10^scale`, shown with `scale` digits after the point (at most 16383 are kept).
    pub const fn small(coefficient: i64, scale: u16) -> Self {
        Self(Repr::Small(coefficient, scale))
    }
    pub(crate) fn big(coefficient: BigInt, scale: u16) -> Self {
        match coefficient.to_i64() {
            Some(small) => Self(Repr::Small(small, scale)),
            None => Self(Repr::Big(Arc::new(coefficient), scale)),
        }
    }
    pub(crate) fn from_i128(value: i128, scale: u16) -> Self {
        match i64::try_from(value) {
            Ok(small) => Self(Repr::Small(small, scale)),
            Err(_) => Self(Repr::Big(Arc::new(BigInt::from(value)), scale)),
        }
    }
    pub(crate) fn class(&self) -> Class {
        match &self.0 {
            Repr::NaN => Class::NaN,
            Repr::PositiveInfinity => Class::PositiveInfinity,
            Repr::NegativeInfinity => Class::NegativeInfinity,
            Repr::Small(value, scale) => Class::Finite(BigInt::from(*value), *scale),
            Repr::Big(value, scale) => Class::Finite(BigInt::clone(value), *scale),
        }
    }
    /// Digits shown after the point; None for NaN and infinities.
    pub const fn scale(&self) -> Option<u16> {
        match self.0 {
            Repr::Small(_, scale) | Repr::Big(_, scale) => Some(scale),
            _ => None,
        }
    }
    /// Whether this is NaN.
    pub const fn is_nan(&self) -> bool {
        matches!(self.0, Repr::NaN)
    }
    /// Whether this is neither NaN nor an infinity.
    pub const fn is_finite(&self) -> bool {
        matches!(self.0, Repr::Small(..) | Repr::Big(..))
    }
    /// Whether this is 0.
    pub const fn is_zero(&self) -> bool {
        matches!(self.0, Repr::Small(0, _))
    }
    /// -1, 0 or 1; None for NaN.
    pub fn signum(&self) -> Option<i32> {
        match &self.0 {
            Repr::NaN => None,
            Repr::PositiveInfinity => Some(1),
            Repr::NegativeInfinity => Some(-1),
            Repr::Small(value, _) => Some(value.signum() as i32),
            Repr::Big(value, _) => Some(if value.is_negative() { -1 } else { 1 }),
        }
    }
    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Big(value, _) => (value.bits() / 8) as usize + 16,
            _ => 0,
        }
    }
    /// The decimal digits without leading zeros ("" for 0) and the scale, of a finite value.
    pub(crate) fn decimal_digits(&self) -> Option<(Sign, String, u16)> {
        match &self.0 {
            Repr::Small(0, scale) => Some((Sign::NoSign, String::new(), *scale)),
            Repr::Small(value, scale) => {
                let sign = if *value < 0 { Sign::Minus } else { Sign::Plus };
                Some((sign, value.unsigned_abs().to_string(), *scale))
            }
            Repr::Big(value, scale) => Some((value.sign(), value.magnitude().to_str_radix(10), *scale)),
            _ => None,
        }
    }
}

/// 10^exponent.
pub(crate) fn power_of_ten(exponent: u32) -> BigInt {
    BigInt::from(10u8).pow(exponent)
}

/// Where NaN and the infinities stand among the finite values.
fn rank(repr: &Repr) -> u8 {
    match repr {
        Repr::NegativeInfinity => 0,
        Repr::Small(..) | Repr::Big(..) => 1,
        Repr::PositiveInfinity => 2,
        Repr::NaN => 3,
    }
}

impl PartialEq for Numeric {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Numeric {}

impl PartialOrd for Numeric {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Numeric {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Repr::Small(a, scale_a), Repr::Small(b, scale_b)) if scale_a == scale_b => a.cmp(b),
            (Repr::Small(..) | Repr::Big(..), Repr::Small(..) | Repr::Big(..)) => {
                let signs = self.signum().cmp(&other.signum());
                if signs.is_ne() {
                    return signs;
                }
                let (a, b, _) = self.aligned(other);
                a.cmp(&b)
            }
            (a, b) => rank(a).cmp(&rank(b)),
        }
    }
}

impl Hash for Numeric {
    /// 1.0 and 1.00 are equal, so trailing zeros do not count.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.decimal_digits() {
            None => state.write_u8(rank(&self.0)),
            Some((sign, digits, scale)) => {
                let significant = digits.trim_end_matches('0');
                let exponent = (digits.len() - significant.len()) as i64 - i64::from(scale);
                state.write_u8(if sign == Sign::Minus { 4 } else { 5 });
                state.write_i64(if significant.is_empty() { 0 } else { exponent });
                state.write(significant.as_bytes());
            }
        }
    }
}

impl Numeric {
    /// Both coefficients at the larger scale; zeros for values that are not finite.
    pub(crate) fn aligned(&self, other: &Self) -> (BigInt, BigInt, u16) {
        let part = |value: &Self| match value.class() {
            Class::Finite(coefficient, scale) => (coefficient, scale),
            _ => (BigInt::zero(), 0),
        };
        let ((mut a, scale_a), (mut b, scale_b)) = (part(self), part(other));
        let scale = scale_a.max(scale_b);
        if scale_a < scale {
            a *= power_of_ten(u32::from(scale - scale_a));
        }
        if scale_b < scale {
            b *= power_of_ten(u32::from(scale - scale_b));
        }
        (a, b, scale)
    }
}

impl fmt::Debug for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
