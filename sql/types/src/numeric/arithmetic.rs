//! Sums, products, quotients and rounding of numeric, with PostgreSQL's result scales.

use super::text::overflow;
use super::{Class, MAX_INTEGER_DIGITS, MAX_SCALE, Numeric, Repr, power_of_ten};
use crate::error::{Error, Result};
use num_bigint::BigInt;
use num_integer::Integer as _;
use num_traits::{Signed as _, Zero as _};
use sqlstate::SqlState;

/// Significant digits that a quotient has at least (NUMERIC_MIN_SIG_DIGITS).
pub(super) const MIN_SIGNIFICANT_DIGITS: i64 = 16;
/// The largest scale that a function chooses (NUMERIC_MAX_DISPLAY_SCALE).
pub(super) const MAX_DISPLAY_SCALE: i64 = 1000;

/// Divides, rounding halves away from zero.
pub(super) fn divide_rounding(dividend: &BigInt, divisor: &BigInt) -> BigInt {
    let (quotient, remainder) = dividend.div_rem(divisor);
    if (remainder.abs() * 2u8) >= divisor.abs() {
        if dividend.is_negative() == divisor.is_negative() { quotient + 1 } else { quotient - 1 }
    } else {
        quotient
    }
}

impl Numeric {
    /// A result that may have grown past what the format holds.
    pub(super) fn checked(coefficient: BigInt, scale: u16) -> Result<Self> {
        Self::big(coefficient, scale).in_range()
    }

    /// Refuses a value that has more digits before the point than the format holds.
    fn in_range(self) -> Result<Self> {
        if let Repr::Big(coefficient, scale) = &self.0 {
            // A decimal digit is more than 3.32 bits: only then count exactly.
            let digits_at_least = (coefficient.bits() as f64 * 0.301).floor() as i64;
            if digits_at_least - i64::from(*scale) > MAX_INTEGER_DIGITS
                || (digits_at_least - i64::from(*scale) > MAX_INTEGER_DIGITS - 100
                    && coefficient.magnitude().to_str_radix(10).len() as i64 - i64::from(*scale)
                        > MAX_INTEGER_DIGITS)
            {
                return Err(overflow());
            }
        }
        Ok(self)
    }

    /// `self + other`
    ///
    /// # Errors
    ///
    /// 22003 if the result is out of range.
    pub fn add(&self, other: &Self) -> Result<Self> {
        use Repr::{Big, NaN, NegativeInfinity, PositiveInfinity, Small};
        match (&self.0, &other.0) {
            (Small(a, scale_a), Small(b, scale_b)) if scale_a == scale_b => {
                Ok(Self::from_i128(i128::from(*a) + i128::from(*b), *scale_a))
            }
            (Small(..) | Big(..), Small(..) | Big(..)) => {
                let (a, b, scale) = self.aligned(other);
                Self::checked(a + b, scale)
            }
            (NaN, _)
            | (_, NaN)
            | (PositiveInfinity, NegativeInfinity)
            | (NegativeInfinity, PositiveInfinity) => Ok(Self::NAN),
            (PositiveInfinity, _) | (_, PositiveInfinity) => Ok(Self::INFINITY),
            _ => Ok(Self::NEGATIVE_INFINITY),
        }
    }

    /// `self - other`
    ///
    /// # Errors
    ///
    /// 22003 if the result is out of range.
    pub fn sub(&self, other: &Self) -> Result<Self> {
        if let (Repr::Small(a, scale_a), Repr::Small(b, scale_b)) = (&self.0, &other.0)
            && scale_a == scale_b
        {
            return Ok(Self::from_i128(i128::from(*a) - i128::from(*b), *scale_a));
        }
        self.add(&other.negated())
    }

    /// `self * other`
    ///
    /// # Errors
    ///
    /// 22003 if the result is out of range.
    pub fn mul(&self, other: &Self) -> Result<Self> {
        if let (Repr::Small(a, scale_a), Repr::Small(b, scale_b)) = (&self.0, &other.0)
            && scale_a + scale_b <= MAX_SCALE
        {
            return Ok(Self::from_i128(i128::from(*a) * i128::from(*b), scale_a + scale_b));
        }
        match (self.class(), other.class()) {
            (Class::Finite(a, scale_a), Class::Finite(b, scale_b)) => {
                let scale = u32::from(scale_a) + u32::from(scale_b);
                let product = a * b;
                if scale > u32::from(MAX_SCALE) {
                    let excess = power_of_ten(scale - u32::from(MAX_SCALE));
                    return Self::checked(divide_rounding(&product, &excess), MAX_SCALE);
                }
                Self::checked(product, scale as u16)
            }
            (Class::NaN, _) | (_, Class::NaN) => Ok(Self::NAN),
            _ => Ok(match (self.signum(), other.signum()) {
                (Some(0), _) | (_, Some(0)) => Self::NAN,
                (a, b) if a == b => Self::INFINITY,
                _ => Self::NEGATIVE_INFINITY,
            }),
        }
    }

    /// `self / other`, with at least 16 significant digits.
    ///
    /// # Errors
    ///
    /// 22012 for a zero divisor, 22003 if the result is out of range.
    pub fn div(&self, other: &Self) -> Result<Self> {
        match self.divisible(other)? {
            Err(result) => Ok(result),
            Ok(((a, scale_a), (b, scale_b))) => {
                let scale = self.quotient_scale(other);
                // a / 10^sa / (b / 10^sb) * 10^scale
                let shift = i64::from(scale) - i64::from(scale_a) + i64::from(scale_b);
                let quotient = if shift >= 0 {
                    divide_rounding(&(a * power_of_ten(shift as u32)), &b)
                } else {
                    divide_rounding(&a, &(b * power_of_ten(shift.unsigned_abs() as u32)))
                };
                Self::checked(quotient, scale)
            }
        }
    }

    /// The quotient without its fraction (div()).
    ///
    /// # Errors
    ///
    /// 22012 for a zero divisor, 22003 if the result is out of range.
    pub fn div_truncated(&self, other: &Self) -> Result<Self> {
        match self.divisible(other)? {
            Err(result) => Ok(result),
            Ok(_) => {
                let (a, b, _) = self.aligned(other);
                Self::checked(a / b, 0)
            }
        }
    }

    /// `self % other`, with the sign of `self`.
    ///
    /// # Errors
    ///
    /// 22012 for a zero divisor.
    pub fn rem(&self, other: &Self) -> Result<Self> {
        match (&self.0, &other.0) {
            (Repr::NaN, _) | (_, Repr::NaN) => Ok(Self::NAN),
            (Repr::PositiveInfinity | Repr::NegativeInfinity, _) => {
                if other.is_zero() {
                    Err(Error::division_by_zero())
                } else {
                    Ok(Self::NAN)
                }
            }
            (_, Repr::PositiveInfinity | Repr::NegativeInfinity) => Ok(self.clone()),
            _ if other.is_zero() => Err(Error::division_by_zero()),
            _ => {
                let (a, b, scale) = self.aligned(other);
                Ok(Self::big(a % b, scale))
            }
        }
    }

    /// Both coefficients with their scales; or, inside, the result that an infinity or NaN already gives.
    #[allow(clippy::type_complexity, reason = "two numbers or an answer, used twice")]
    fn divisible(&self, other: &Self) -> Result<std::result::Result<((BigInt, u16), (BigInt, u16)), Self>> {
        match (self.class(), other.class()) {
            (Class::NaN, _) | (_, Class::NaN) => Ok(Err(Self::NAN)),
            (Class::Finite(..), Class::Finite(b, _)) if b.is_zero() => Err(Error::division_by_zero()),
            (Class::Finite(a, scale_a), Class::Finite(b, scale_b)) => Ok(Ok(((a, scale_a), (b, scale_b)))),
            (Class::Finite(..), _) => Ok(Err(Self::ZERO)),
            (_, Class::Finite(b, _)) => {
                if b.is_zero() {
                    return Err(Error::division_by_zero());
                }
                Ok(Err(if self.signum() == other.signum() {
                    Self::INFINITY
                } else {
                    Self::NEGATIVE_INFINITY
                }))
            }
            _ => Ok(Err(Self::NAN)),
        }
    }

    /// The scale of a quotient: at least 16 significant digits, and no fewer digits than either side shows.
    fn quotient_scale(&self, other: &Self) -> u16 {
        let (weight_a, first_a) = self.leading_digit();
        let (weight_b, first_b) = other.leading_digit();
        let mut weight = weight_a - weight_b;
        if first_a <= first_b {
            weight -= 1;
        }
        let shown = self.scale().unwrap_or(0).max(other.scale().unwrap_or(0));
        (MIN_SIGNIFICANT_DIGITS - weight * 4).max(i64::from(shown)).clamp(0, MAX_DISPLAY_SCALE) as u16
    }

    /// The first digit in base 10000 and its place, as PostgreSQL stores numbers: (weight, digit); zeros for
    /// 0.
    pub(super) fn leading_digit(&self) -> (i64, i64) {
        self.leading_digits(1)
    }

    /// So many first digits in base 10000 (4 at most) as one number, and the place of the last one of them.
    pub(super) fn leading_digits(&self, many: u8) -> (i64, i64) {
        let Some((_, digits, scale)) = self.decimal_digits().filter(|(_, digits, _)| !digits.is_empty())
        else {
            return (0, 0);
        };
        let exponent = digits.len() as i64 - 1 - i64::from(scale);
        let weight = exponent.div_euclid(4);
        let further = i64::from(many) - 1;
        let count = (exponent - (weight - further) * 4 + 1) as usize;
        let mut first = 0;
        for at in 0..count {
            first = first * 10 + i64::from(digits.as_bytes().get(at).map_or(0, |digit| digit - b'0'));
        }
        (weight - further, first)
    }

    /// `-self`
    #[must_use]
    pub fn negated(&self) -> Self {
        match &self.0 {
            Repr::Small(value, scale) => Self::from_i128(-i128::from(*value), *scale),
            Repr::Big(value, scale) => Self::big(-BigInt::clone(value), *scale),
            Repr::NaN => Self::NAN,
            Repr::PositiveInfinity => Self::NEGATIVE_INFINITY,
            Repr::NegativeInfinity => Self::INFINITY,
        }
    }

    /// The absolute value.
    #[must_use]
    pub fn abs(&self) -> Self {
        if self.signum() == Some(-1) { self.negated() } else { self.clone() }
    }

    /// Rounded to `scale` digits after the point (before it, if negative), halves away from zero; shows that
    /// many.
    ///
    /// # Errors
    ///
    /// 22003 if the result is out of range.
    pub fn round(&self, scale: i32) -> Result<Self> {
        self.rescaled(scale, divide_rounding).in_range()
    }
    /// Cut to `scale` digits after the point (before it, if negative).
    #[must_use]
    pub fn trunc(&self, scale: i32) -> Self {
        self.rescaled(scale, |dividend, divisor| dividend / divisor)
    }
    /// The nearest integer not below.
    #[must_use]
    pub fn ceil(&self) -> Self {
        self.rescaled(0, num_integer::Integer::div_ceil)
    }
    /// The nearest integer not above.
    #[must_use]
    pub fn floor(&self) -> Self {
        self.rescaled(0, num_integer::Integer::div_floor)
    }

    fn rescaled(&self, scale: i32, divide: impl Fn(&BigInt, &BigInt) -> BigInt) -> Self {
        let Class::Finite(coefficient, current) = self.class() else { return self.clone() };
        // Beyond the place before the first digit, all places give 0 alike. A bit is less than 0.302 digits.
        let digits = i32::try_from(coefficient.bits() * 302 / 1000).unwrap_or(i32::MAX / 2) + 1;
        let before_first = (digits - i32::from(current)).max(0) + 1;
        let scale = scale.clamp(-before_first, i32::from(MAX_SCALE));
        let shift = i32::from(current) - scale;
        match u32::try_from(shift) {
            Ok(0) => self.clone(),
            Ok(down) => {
                let rounded = divide(&coefficient, &power_of_ten(down));
                match u16::try_from(scale) {
                    Ok(scale) => Self::big(rounded, scale),
                    Err(_) => Self::big(rounded * power_of_ten(scale.unsigned_abs()), 0),
                }
            }
            Err(_) => Self::big(coefficient * power_of_ten(shift.unsigned_abs()), scale as u16),
        }
    }

    /// Made to fit numeric(precision, scale): rounded, then refused if too large.
    ///
    /// # Errors
    ///
    /// 22003 if the value does not fit.
    pub fn fit(&self, precision: u16, scale: i16) -> Result<Self> {
        let too_large = || Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow");
        if self.is_nan() {
            return Ok(Self::NAN);
        }
        let limits = format!("A field with precision {precision}, scale {scale}");
        if !self.is_finite() {
            return Err(too_large().with_detail(format!("{limits} cannot hold an infinite value.")));
        }
        let rounded = self.rescaled(i32::from(scale), divide_rounding);
        let whole_digits = i64::from(precision) - i64::from(scale);
        let fits = match rounded.decimal_digits() {
            Some((_, digits, shown)) => {
                digits.is_empty() || digits.len() as i64 - i64::from(shown) <= whole_digits
            }
            None => true,
        };
        if fits {
            return Ok(rounded);
        }
        let bound = if whole_digits == 0 { "1".to_owned() } else { format!("10^{whole_digits}") };
        Err(too_large().with_detail(format!("{limits} must round to an absolute value less than {bound}.")))
    }
}
