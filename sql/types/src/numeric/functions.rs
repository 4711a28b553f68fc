//! Roots, logarithms and powers of numeric, with the scales that PostgreSQL chooses.

use super::arithmetic::{MAX_DISPLAY_SCALE, MIN_SIGNIFICANT_DIGITS, divide_rounding};
use super::text::overflow;
use super::{Class, MAX_INTEGER_DIGITS, Numeric, power_of_ten};
use crate::error::{Error, Result};
use crate::work;
use num_bigint::{BigInt, Sign};
use num_traits::{One as _, Signed as _, ToPrimitive as _, Zero as _};
use sqlstate::SqlState;

/// Numbers of so many digits take a while to be multiplied.
const LONG_DIGITS: u32 = 4000;
/// Digits computed beyond those that are shown.
const GUARD_DIGITS: i64 = 12;
/// Numbers of these powers of ten are computed with as they are.
const NEAR_EXPONENTS: std::ops::RangeInclusive<i64> = -20..=20;
/// exp() of this is out of range, and of its negative zero (NUMERIC_MAX_RESULT_SCALE * 3).
const EXPONENT_END: f64 = 6000.0;

fn display_scale(wanted: i64, shown: u16) -> u16 {
    wanted.max(i64::from(shown)).clamp(0, MAX_DISPLAY_SCALE) as u16
}

/// `coefficient / 10^from` as a coefficient at scale `to`, rounded.
fn rescale(coefficient: &BigInt, from: i64, to: i64) -> BigInt {
    if to >= from {
        coefficient * power_of_ten((to - from) as u32)
    } else {
        divide_rounding(coefficient, &power_of_ten((from - to) as u32))
    }
}

/// e^x, both fixed-point at `scale`: halved until small, summed as a series, squared back.
fn exp_fixed(x: &BigInt, scale: u32) -> Result<BigInt> {
    let halvings = (x.bits() as i64 - power_of_ten(scale).bits() as i64 + 8).max(0) as u32;
    let extra = scale + halvings / 3 + 5;
    let unit = power_of_ten(extra);
    let reduced = (x * power_of_ten(extra - scale)) >> halvings;
    let (mut sum, mut term) = (unit.clone(), unit.clone());
    for n in 1u32.. {
        term = &term * &reduced / &unit / n;
        if term.is_zero() {
            break;
        }
        sum += &term;
        pause(n, scale)?;
    }
    for _ in 0..halvings {
        sum = &sum * &sum / &unit;
    }
    Ok(rescale(&sum, i64::from(extra), i64::from(scale)))
}

/// ln(x) for x > 0, fixed-point at `scale`: roots taken until near 1, then the series of artanh.
fn ln_fixed(x: &BigInt, scale: u32) -> Result<BigInt> {
    let unit = power_of_ten(scale);
    let (mut value, mut doublings) = (x.clone(), 0u32);
    let (low, high) = (&unit * 9 / 10, &unit * 11 / 10);
    while value < low || value > high {
        value = (&value * &unit).sqrt();
        doublings += 1;
        pause(doublings, scale)?;
    }
    let ratio = (&value - &unit) * &unit / (&value + &unit);
    let square = &ratio * &ratio / &unit;
    let (mut sum, mut power) = (ratio.clone(), ratio);
    for n in (3u32..).step_by(2) {
        power = &power * &square / &unit;
        let term = &power / n;
        if term.is_zero() {
            break;
        }
        sum += term;
        pause(n, scale)?;
    }
    Ok(sum << (doublings + 1))
}

/// ln(coefficient / 10^from) for a positive number of any size, fixed-point at `scale`.
fn ln_of(coefficient: &BigInt, from: u16, scale: u32) -> Result<BigInt> {
    let digits_at_least = (coefficient.bits().saturating_sub(1) as f64 * std::f64::consts::LOG10_2) as i64;
    let exponent = digits_at_least - i64::from(from);
    if NEAR_EXPONENTS.contains(&exponent) {
        // Zeros behind the point are no digits.
        let inner = scale + exponent.min(0).unsigned_abs() as u32;
        let value = ln_fixed(&rescale(coefficient, i64::from(from), i64::from(inner)), inner)?;
        return Ok(rescale(&value, i64::from(inner), i64::from(scale)));
    }
    // A number of many digits before the point, or with many zeros behind it, is one near 1 times a power of
    // ten.
    let near_one = rescale(coefficient, i64::from(from) + exponent, i64::from(scale));
    Ok(ln_fixed(&near_one, scale)? + ln_fixed(&power_of_ten(scale + 1), scale)? * exponent)
}

/// Looks from time to time whether a series of numbers with so many digits is to stop.
fn pause(n: u32, digits: u32) -> Result<()> {
    if digits >= LONG_DIGITS || n.is_multiple_of(128) { work::check() } else { Ok(()) }
}

/// Computes with so many digits, where nobody waits for it if they are many.
fn with_digits<T>(digits: i64, compute: impl FnOnce() -> Result<T>) -> Result<T> {
    let digits = usize::try_from(digits).unwrap_or(0);
    work::aside(digits.saturating_mul(digits) / 4, compute)
}

impl Numeric {
    /// sqrt()
    ///
    /// # Errors
    ///
    /// 2201F for a negative number.
    pub fn sqrt(&self) -> Result<Self> {
        match self.class() {
            Class::NaN => Ok(Self::NAN),
            Class::PositiveInfinity => Ok(Self::INFINITY),
            Class::Finite(coefficient, scale) if !coefficient.is_negative() => {
                let (weight, _) = self.leading_digit();
                let result_scale = display_scale(MIN_SIGNIFICANT_DIGITS - ((weight + 1) * 4 / 2 - 1), scale);
                // One digit more than shown, so that the rounding below sees which half it is in.
                let digits = i64::from(result_scale) + 1;
                let radicand = rescale(&coefficient, i64::from(scale), digits * 2);
                Ok(Self::big(divide_rounding(&radicand.sqrt(), &BigInt::from(10)), result_scale))
            }
            _ => Err(Error::new(
                SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION,
                "cannot take square root of a negative number",
            )),
        }
    }

    /// exp()
    ///
    /// # Errors
    ///
    /// 22003 if the result is out of range.
    pub fn exp(&self) -> Result<Self> {
        match self.class() {
            Class::NaN => Ok(Self::NAN),
            Class::PositiveInfinity => Ok(Self::INFINITY),
            Class::NegativeInfinity => Ok(Self::ZERO),
            Class::Finite(coefficient, scale) => {
                let exponent = self.to_f64();
                if exponent >= EXPONENT_END {
                    return Err(overflow());
                }
                let decimal_weight = exponent * std::f64::consts::LOG10_E;
                let shown_weight = decimal_weight.clamp(-2000.0, 2000.0) as i64;
                let result_scale = display_scale(MIN_SIGNIFICANT_DIGITS - shown_weight, scale);
                if exponent <= -EXPONENT_END {
                    return Ok(Self::small(0, result_scale));
                }
                let digits = i64::from(result_scale) + decimal_weight.max(0.0) as i64 + GUARD_DIGITS;
                let x = rescale(&coefficient, i64::from(scale), digits);
                let value = with_digits(digits, || exp_fixed(&x, digits as u32))?;
                Self::checked(rescale(&value, digits, i64::from(result_scale)), result_scale)
            }
        }
    }

    /// ln()
    ///
    /// # Errors
    ///
    /// 2201E for a number that is not positive.
    pub fn ln(&self) -> Result<Self> {
        self.check_logarithm()?;
        let Class::Finite(coefficient, scale) = self.class() else { return Ok(self.clone()) };
        let result_scale = display_scale(MIN_SIGNIFICANT_DIGITS - self.ln_weight(), scale);
        let digits = i64::from(result_scale) + GUARD_DIGITS;
        let value = with_digits(digits, || ln_of(&coefficient, scale, digits as u32))?;
        Ok(Self::big(rescale(&value, digits, i64::from(result_scale)), result_scale))
    }

    /// log(): base 10.
    ///
    /// # Errors
    ///
    /// 2201E for a number that is not positive.
    pub fn log10(&self) -> Result<Self> {
        Self::small(10, 0).log_of(self)
    }

    /// log(base, x)
    ///
    /// # Errors
    ///
    /// 2201E for a number that is not positive, 22012 for base 1.
    pub fn log_of(&self, x: &Self) -> Result<Self> {
        if self.is_nan() || x.is_nan() {
            return Ok(Self::NAN);
        }
        self.check_logarithm()?;
        x.check_logarithm()?;
        let (Class::Finite(base, base_scale), Class::Finite(value, scale)) = (self.class(), x.class()) else {
            return Ok(match (self.is_finite(), x.is_finite()) {
                (false, false) => Self::NAN,
                (false, true) => Self::from(0),
                (true, _) => x.clone(),
            });
        };
        let result_weight = x.ln_weight() - self.ln_weight();
        let result_scale = display_scale(
            MIN_SIGNIFICANT_DIGITS - result_weight,
            self.scale().unwrap_or(0).max(x.scale().unwrap_or(0)),
        );
        // What a small logarithm of the base divides counts for more.
        let lost = (-self.ln_weight()).max(0) + result_weight.max(0);
        let digits = i64::from(result_scale) + GUARD_DIGITS * 2 + lost;
        let ln = |of: &BigInt, scale: u16| with_digits(digits, || ln_of(of, scale, digits as u32));
        let (ln_base, ln_value) = (ln(&base, base_scale)?, ln(&value, scale)?);
        if ln_base.is_zero() {
            return Err(Error::division_by_zero());
        }
        let quotient = divide_rounding(&(ln_value * power_of_ten(digits as u32)), &ln_base);
        Ok(Self::big(rescale(&quotient, digits, i64::from(result_scale)), result_scale))
    }

    /// Refuses arguments that have no logarithm.
    fn check_logarithm(&self) -> Result<()> {
        let refuse = |what: &'static str| Err(Error::new(SqlState::INVALID_ARGUMENT_FOR_LOGARITHM, what));
        match self.signum() {
            Some(0) => refuse("cannot take logarithm of zero"),
            Some(-1) => refuse("cannot take logarithm of a negative number"),
            _ => Ok(()),
        }
    }

    /// The decimal weight of the logarithm's first digit, as PostgreSQL estimates it.
    fn ln_weight(&self) -> i64 {
        if (Self::small(9, 1)..=Self::small(11, 1)).contains(self) {
            // ln(1 + x) is about x.
            let (weight, first) = self.sub(&Self::ONE).unwrap_or(Self::ZERO).leading_digit();
            return weight * 4 + first.checked_ilog10().map_or(0, i64::from);
        }
        // The first digit alone would be 1 for 1.9, whose logarithm is not 0.
        let (weight, digits) = self.leading_digits(2);
        let ln = (digits.max(1) as f64).ln() + weight as f64 * 4.0 * std::f64::consts::LN_10;
        // 0.09 at least in size, so the weight is -1 at least.
        ln.abs().max(0.01).log10() as i64
    }

    /// power()
    ///
    /// # Errors
    ///
    /// 2201F for a power that is not defined, 22003 if the result is out of range.
    pub fn power(&self, exponent: &Self) -> Result<Self> {
        if !self.is_finite() || !exponent.is_finite() {
            return self.special_power(exponent);
        }
        let invalid =
            |what: &'static str| Err(Error::new(SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION, what));
        let integral = exponent.trunc(0) == *exponent;
        if self.is_zero() && exponent.signum() == Some(-1) {
            return invalid("zero raised to a negative power is undefined");
        }
        if self.signum() == Some(-1) && !integral {
            return invalid("a negative number raised to a non-integer power yields a complex result");
        }
        if integral && let Some(small) = exponent.to_i64().and_then(|exponent| i32::try_from(exponent).ok()) {
            let digits = (f64::from(small) * self.abs_log10()).abs().min(MAX_INTEGER_DIGITS as f64);
            return with_digits(digits as i64, || self.integer_power(small));
        }
        if self.is_zero() {
            return Ok(Self::small(0, MIN_SIGNIFICANT_DIGITS as u16));
        }
        let (Class::Finite(base, base_scale), Class::Finite(power, power_scale)) =
            (self.abs().class(), exponent.class())
        else {
            return Ok(Self::NAN);
        };
        let (natural, exponent_weight) = self.abs().estimated_power(exponent);
        if natural >= EXPONENT_END {
            return Err(overflow());
        }
        if natural <= -EXPONENT_END {
            return Ok(Self::small(0, MAX_DISPLAY_SCALE as u16));
        }
        let decimal_weight = natural * std::f64::consts::LOG10_E;
        let result_scale =
            display_scale(MIN_SIGNIFICANT_DIGITS - decimal_weight as i64, base_scale.max(power_scale));
        // What the exponent multiplies counts for more.
        let lost = exponent_weight.max(0) + 1;
        let digits = i64::from(result_scale) + decimal_weight.max(0.0) as i64 + GUARD_DIGITS * 2 + lost;
        let value = with_digits(digits, || {
            let ln = ln_of(&base, base_scale, digits as u32)?;
            let product = divide_rounding(&(ln * power), &power_of_ten(u32::from(power_scale)));
            exp_fixed(&product, digits as u32)
        })?;
        let odd = integral && !exponent.rem(&Self::small(2, 0))?.is_zero();
        let rounded = rescale(&value, digits, i64::from(result_scale));
        Self::checked(if odd && self.signum() == Some(-1) { -rounded } else { rounded }, result_scale)
    }

    fn integer_power(&self, exponent: i32) -> Result<Self> {
        let Class::Finite(base, scale) = self.class() else { return Ok(Self::NAN) };
        // The weight of the result, as a double: enough to choose how many digits are shown.
        let log = if self.is_zero() { 0.0 } else { f64::from(exponent) * self.abs_log10() };
        if log > MAX_INTEGER_DIGITS as f64 {
            return Err(overflow());
        }
        let result_scale = display_scale(MIN_SIGNIFICANT_DIGITS, scale);
        if log + 1.0 < -f64::from(result_scale) || (self.is_zero() && exponent > 0) {
            return Ok(Self::small(0, result_scale));
        }
        let times = exponent.unsigned_abs();
        // Computed with all digits where they are few, else with as many as matter.
        let keep = i64::from(result_scale) + log.max(0.0) as i64 + GUARD_DIGITS * 2;
        let (mut result, mut result_at) = (BigInt::one(), 0i64);
        let (mut square, mut square_at) = (base, i64::from(scale));
        let mut left = times;
        while left > 0 {
            if left & 1 == 1 {
                result *= &square;
                result_at += square_at;
                shorten(&mut result, &mut result_at, keep);
            }
            left >>= 1;
            if left > 0 {
                square = &square * &square;
                square_at *= 2;
                shorten(&mut square, &mut square_at, keep);
            }
        }
        if exponent < 0 {
            if result.is_zero() {
                return Err(Error::division_by_zero());
            }
            let shift = i64::from(result_scale) + result_at;
            let dividend = if shift >= 0 { power_of_ten(shift as u32) } else { BigInt::one() };
            let divisor =
                if shift >= 0 { result } else { result * power_of_ten(shift.unsigned_abs() as u32) };
            return Self::checked(divide_rounding(&dividend, &divisor), result_scale);
        }
        Self::checked(rescale(&result, result_at, i64::from(result_scale)), result_scale)
    }

    /// `exponent * ln(self)` for a positive number, as PostgreSQL estimates it: by eight digits. And the
    /// decimal weight of the exponent, as far as it counts. Both may be of any size.
    fn estimated_power(&self, exponent: &Self) -> (f64, i64) {
        let (logarithm, logarithm_at) = self.estimated_ln();
        if logarithm == 0.0 {
            // That of 1 is 0, however often it is taken.
            return (0.0, 0);
        }
        let places = 8 - self.ln_weight();
        let logarithm = rounded(logarithm, places + logarithm_at);
        let (times, times_at) = exponent.head();
        let natural = logarithm * times * ten_to(logarithm_at + times_at);
        (rounded(natural, places), times.abs().max(1.0).log10() as i64 + times_at)
    }

    /// ln() of a positive number: a double, and the power of ten that it is to be multiplied by.
    fn estimated_ln(&self) -> (f64, i64) {
        if !(Self::small(9, 1)..=Self::small(11, 1)).contains(self) {
            return (self.abs_log10() * std::f64::consts::LN_10, 0);
        }
        let (head, at) = self.sub(&Self::ONE).unwrap_or(Self::ZERO).head();
        let near = head * ten_to(at);
        // ln(1 + x) is x so near to 1, where a double may have no room for it.
        if near.abs() < 1e-9 { (head, at) } else { (near.ln_1p(), 0) }
    }

    /// Its first digits as a double, and the power of ten that they are to be multiplied by.
    fn head(&self) -> (f64, i64) {
        match self.decimal_digits() {
            Some((sign, digits, scale)) if !digits.is_empty() => {
                let head = digits.get(..digits.len().min(16)).unwrap_or_default();
                let value = head.parse::<f64>().unwrap_or(1.0);
                let at = (digits.len() - head.len()) as i64 - i64::from(scale);
                (if sign == Sign::Minus { -value } else { value }, at)
            }
            _ => (0.0, 0),
        }
    }

    /// log10 of the absolute value, for any size.
    fn abs_log10(&self) -> f64 {
        let (head, at) = self.head();
        if head == 0.0 { 0.0 } else { head.abs().log10() + at as f64 }
    }

    fn special_power(&self, exponent: &Self) -> Result<Self> {
        let result = crate::ops::float_power(self.to_f64(), exponent.to_f64())?;
        Ok(if result.is_nan() {
            Self::NAN
        } else if result.is_infinite() {
            if result > 0.0 { Self::INFINITY } else { Self::NEGATIVE_INFINITY }
        } else {
            Self::from(result.to_i64().unwrap_or(0))
        })
    }
}

/// 10^exponent: 0 or infinite where a double has no room for it.
fn ten_to(exponent: i64) -> f64 {
    10_f64.powi(exponent.clamp(-400, 400) as i32)
}

/// Rounded to so many decimal places, if a double has room for them.
fn rounded(value: f64, places: i64) -> f64 {
    let unit = ten_to(places);
    Some((value * unit).round() / unit).filter(|rounded| rounded.is_finite()).unwrap_or(value)
}

/// Cuts digits that cannot matter any more.
fn shorten(value: &mut BigInt, scale: &mut i64, keep: i64) {
    let digits = (value.bits() as f64 * std::f64::consts::LOG10_2) as i64;
    let excess = digits - (keep + 40);
    if excess > 0 {
        *value = divide_rounding(value, &power_of_ten(excess as u32));
        *scale -= excess;
    }
}

#[cfg(test)]
mod tests {
    use super::Numeric;
    use crate::error::Result;

    /// As PostgreSQL 15 says `select power(x, y)`; None for 22003.
    #[test]
    fn powers_end_where_those_of_postgresql_do() -> Result<()> {
        let long = format!("4{}", "0".repeat(400));
        let beside_one = format!("1.{}1", "0".repeat(399));
        for (x, y, expected) in [
            ("64.348062710346", "1761.91", None),
            ("0.35", "1000000000", Some("0.0000000000000000".to_owned())),
            ("0.00", "1000000000", Some("0.0000000000000000".to_owned())),
            ("0.0", "0", Some("1.0000000000000000".to_owned())),
            ("2.5", "-1000000.5", Some(format!("0.{}", "0".repeat(1000)))),
            (long.as_str(), "0.5", Some(format!("2{}.0", "0".repeat(200)))),
            // What a double has no room for, on either side.
            ("1.5", "1e131071", None),
            ("0.5", "1e131071", Some(format!("0.{}", "0".repeat(1000)))),
            ("1.00", "1e131071", Some("1.0000000000000000".to_owned())),
            ("-1.0", "1e131071", Some("1.0000000000000000".to_owned())),
            (beside_one.as_str(), "1e404", None),
        ] {
            let power = Numeric::parse(x)?.power(&Numeric::parse(y)?);
            assert_eq!(power.ok().map(|power| power.to_string()), expected, "{x} ^ {y}");
        }
        for (y, begins) in
            [("1e401", "22026.465794806716516957900645"), ("-1e401", "0.0000453999297624848515355915")]
        {
            let power = Numeric::parse(&beside_one)?.power(&Numeric::parse(y)?)?.to_string();
            assert!(power.starts_with(begins), "{power}");
        }
        Ok(())
    }

    #[test]
    fn exponents_end_at_six_thousand() -> Result<()> {
        let exp = |x: &str| Numeric::parse(x).and_then(|x| x.exp()).map(|exp| exp.to_string());
        assert!(exp("6000").is_err() && exp("32767").is_err());
        let large = exp("5999.99")?;
        assert!(large.starts_with("5788265916909578") && large.ends_with("98708806.75"), "{large}");
        assert_eq!(exp("-6000.0")?, format!("0.{}", "0".repeat(1000)));
        Ok(())
    }

    /// As PostgreSQL 15 says `select ln(x), log(x), log(2, x)`.
    #[test]
    fn logarithms_show_sixteen_digits_near_one_and_far_from_it() -> Result<()> {
        let known = [
            ("0.00004539", "-10.000218741495900", "-4.343039817257151", "-14.427265986161005"),
            (
                "0.8999999999999999999999",
                "-0.1053605156578263012276",
                "-0.0457574905606751254100",
                "-0.1520030934450499849630",
            ),
            ("1", "0.0000000000000000", "0.0000000000000000", "0.0000000000000000"),
            (
                "1.0000000001",
                "0.00000000009999999999500000",
                "0.00000000004342944818815371",
                "0.00000000014426950408168287",
            ),
            ("1.1", "0.09531017980432486", "0.04139268515822504", "0.13750352374993491"),
            ("1.1000001", "0.09531027071341164", "0.04139272463953978", "0.13750365490402357"),
            ("1.25", "0.2231435513142098", "0.0969100130080564", "0.3219280948873623"),
            ("1.5", "0.4054651081081644", "0.1760912590556812", "0.5849625007211562"),
            ("1.9999", "0.6930971793099036", "0.3010082803969998", "0.9999278634445266"),
            ("22100.5", "10.003355511684305", "4.344402099240974", "14.431791388956225"),
            ("25000", "10.126631103850338", "4.397940008672038", "14.609640474436812"),
            ("29999.5", "10.308935993838735", "4.477114016417978", "14.872650835152881"),
            ("150000000.5", "18.826145855393863", "8.176091260503330", "27.160387264629038"),
        ];
        for (x, ln, log10, log2) in known {
            let number = Numeric::parse(x)?;
            assert_eq!(number.ln()?.to_string(), ln, "ln({x})");
            assert_eq!(number.log10()?.to_string(), log10, "log({x})");
            assert_eq!(Numeric::from(2).log_of(&number)?.to_string(), log2, "log(2, {x})");
        }
        Ok(())
    }
}
