//! Conversions between numeric and the machine's numbers.

use super::arithmetic::divide_rounding;
use super::{Class, Numeric, Repr, power_of_ten};
use num_traits::ToPrimitive as _;

impl From<i64> for Numeric {
    fn from(value: i64) -> Self {
        Self::small(value, 0)
    }
}
impl From<i32> for Numeric {
    fn from(value: i32) -> Self {
        Self::small(i64::from(value), 0)
    }
}
impl From<i16> for Numeric {
    fn from(value: i16) -> Self {
        Self::small(i64::from(value), 0)
    }
}
impl From<u64> for Numeric {
    fn from(value: u64) -> Self {
        Self::from_i128(i128::from(value), 0)
    }
}
impl From<i128> for Numeric {
    fn from(value: i128) -> Self {
        Self::from_i128(value, 0)
    }
}

impl Numeric {
    /// The nearest integer, halves away from zero; None if not finite or too large.
    pub fn to_i64(&self) -> Option<i64> {
        match (&self.0, self.class()) {
            (Repr::Small(value, 0), _) => Some(*value),
            (_, Class::Finite(coefficient, scale)) => {
                divide_rounding(&coefficient, &power_of_ten(u32::from(scale))).to_i64()
            }
            _ => None,
        }
    }
    /// The nearest integer, for what does not fit an i64.
    pub(crate) fn to_i128(&self) -> Option<i128> {
        match self.class() {
            Class::Finite(coefficient, scale) => {
                divide_rounding(&coefficient, &power_of_ten(u32::from(scale))).to_i128()
            }
            _ => None,
        }
    }
    /// The nearest double; infinite if too large.
    pub fn to_f64(&self) -> f64 {
        match &self.0 {
            Repr::NaN => f64::NAN,
            Repr::PositiveInfinity => f64::INFINITY,
            Repr::NegativeInfinity => f64::NEG_INFINITY,
            Repr::Small(value, 0) => *value as f64,
            _ => self.to_string().parse().unwrap_or(f64::NAN),
        }
    }
    /// What PostgreSQL makes of a double: its first 15 significant digits.
    pub fn from_f64(value: f64) -> Self {
        Self::from_printed(value, 15)
    }
    /// What PostgreSQL makes of a real: its first 6 significant digits.
    pub fn from_f32(value: f32) -> Self {
        Self::from_printed(f64::from(value), 6)
    }

    fn from_printed(value: f64, digits: usize) -> Self {
        if value.is_nan() {
            return Self::NAN;
        }
        if value.is_infinite() {
            return if value > 0.0 { Self::INFINITY } else { Self::NEGATIVE_INFINITY };
        }
        // As printf's %g: no trailing zeros.
        let printed = format!("{value:.*e}", digits - 1);
        let (mantissa, exponent) = printed.split_once('e').unwrap_or((&printed, "0"));
        let mantissa = if mantissa.contains('.') {
            mantissa.trim_end_matches('0').trim_end_matches('.')
        } else {
            mantissa
        };
        Self::parse(&format!("{mantissa}e{exponent}")).unwrap_or(Self::NAN)
    }

    /// This integer divided by 10^digits, showing them.
    #[must_use]
    pub(crate) fn scaled_down(&self, digits: u16) -> Self {
        match self.class() {
            Class::Finite(coefficient, scale) => Self::big(coefficient, scale + digits),
            _ => self.clone(),
        }
    }
}
