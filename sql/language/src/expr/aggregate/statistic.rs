//! Mean, variance and standard deviation.

use sql_interface::Result;
use sql_types::ops::float_overflow;
use sql_types::{Datum, Numeric};

/// What is made of the count, the sum and the sum of squares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Statistic {
    /// Divides by n - 1 instead of n.
    pub(super) sample: bool,
    /// The square root of the variance.
    pub(super) deviation: bool,
}

/// The count, the sum, and the sum of squared distances from the mean so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    count: f64,
    sum: f64,
    squares: f64,
}

impl Moments {
    /// Takes a value in. What is not finite makes the distances unknown.
    pub(super) fn add(&mut self, value: f64) -> Result<()> {
        let was_finite = !self.sum.is_infinite() && !value.is_infinite();
        let before = self.count;
        self.count += 1.0;
        self.sum += value;
        if before == 0.0 {
            if !value.is_finite() {
                self.squares = f64::NAN;
            }
            return Ok(());
        }
        let distance = value * self.count - self.sum;
        self.squares += distance * distance / (self.count * before);
        if self.sum.is_infinite() || self.squares.is_infinite() {
            if was_finite {
                return Err(float_overflow().into());
            }
            self.squares = f64::NAN;
        }
        Ok(())
    }

    pub(super) fn average(&self) -> Datum {
        if self.count == 0.0 { Datum::Null } else { Datum::Float8(self.sum / self.count) }
    }

    pub(super) fn statistic(&self, statistic: Statistic) -> Datum {
        let divisor = if statistic.sample { self.count - 1.0 } else { self.count };
        if divisor <= 0.0 {
            return Datum::Null;
        }
        let variance = self.squares / divisor;
        Datum::Float8(if statistic.deviation { variance.sqrt() } else { variance })
    }
}

/// (n * sum of squares - square of the sum) / (n * (n - 1)), or / (n * n).
pub(super) fn numeric_statistic(
    statistic: Statistic,
    count: i64,
    sum: &Numeric,
    squares: &Numeric,
) -> Result<Datum> {
    let least = if statistic.sample { 2 } else { 1 };
    if count < least {
        return Ok(Datum::Null);
    }
    if !sum.is_finite() || !squares.is_finite() {
        return Ok(Datum::Numeric(Numeric::NAN));
    }
    let n = Numeric::from(count);
    let numerator = n.mul(squares)?.sub(&sum.mul(sum)?)?;
    if numerator.signum() != Some(1) {
        return Ok(Datum::Numeric(Numeric::ZERO));
    }
    let divisor = n.mul(&Numeric::from(if statistic.sample { count - 1 } else { count }))?;
    let variance = numerator.div(&divisor)?;
    Ok(Datum::Numeric(if statistic.deviation { root(&variance)? } else { variance }))
}

/// The square root with as many decimal places as its square has.
fn root(square: &Numeric) -> Result<Numeric> {
    let scale = square.scale().unwrap_or_default();
    // This root has no fewer places: to round it once more may round up what is below the half.
    let root = square.sqrt()?.round(i32::from(scale))?;
    let half = Numeric::small(5, scale.saturating_add(1));
    let least = root.sub(&half)?;
    if least.signum() == Some(1) && least.mul(&least)? > *square {
        return Ok(root.sub(&Numeric::small(1, scale))?);
    }
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::{Moments, Statistic, numeric_statistic, root};
    use sql_types::{Datum, Numeric};

    const SAMPLE: Statistic = Statistic { sample: true, deviation: false };

    fn moments(values: &[f64]) -> Result<Moments, sql_interface::SqlError> {
        let mut moments = Moments::default();
        values.iter().try_for_each(|value| moments.add(*value))?;
        Ok(moments)
    }

    #[test]
    fn roots_have_the_places_of_their_squares_and_are_rounded_once() {
        // The last is a little less than the square of 100000000.5.
        let squares = [("2", "1"), ("2.0000", "1.4142"), ("12.25", "3.50"), ("0.00", "0.00")];
        for (square, expected) in squares.into_iter().chain([("10000000100000000", "100000000")]) {
            let square = Numeric::parse(square).expect("a number");
            assert_eq!(root(&square).expect("a root").to_string(), expected, "of {square}");
        }
    }

    #[test]
    fn numeric_deviations_have_the_scale_of_their_variances() {
        let values = ["123456.789", "223456.5", "3"].map(|value| Numeric::parse(value).expect("a number"));
        let (mut sum, mut squares) = (Numeric::ZERO, Numeric::ZERO);
        for value in &values {
            sum = sum.add(value).expect("a sum");
            squares = squares.add(&value.mul(value).expect("a square")).expect("a sum");
        }
        // As `SELECT stddev(x), var_pop(x)` shows them in PostgreSQL 15.
        let statistics = [(true, true, "111931.71049111"), (false, false, "8352471875.64333800")];
        for (sample, deviation, expected) in statistics {
            let found = numeric_statistic(Statistic { sample, deviation }, 3, &sum, &squares);
            let Ok(Datum::Numeric(found)) = found else { panic!("no number") };
            assert_eq!(found.to_string(), expected);
        }
    }

    #[test]
    fn distances_from_an_infinite_mean_are_unknown_and_those_of_finite_values_do_not_overflow() {
        for values in
            [&[f64::INFINITY, 1.0][..], &[1.0, f64::NEG_INFINITY], &[f64::NAN, 1.0], &[f64::INFINITY, 2.0]]
        {
            let Datum::Float8(variance) = moments(values).expect("no overflow").statistic(SAMPLE) else {
                panic!("no variance of {values:?}");
            };
            assert!(variance.is_nan(), "{values:?}: {variance}");
        }
        let Err(error) = moments(&[1e308, 0.1]) else { panic!("an overflow") };
        assert_eq!(error.code(), sqlstate::SqlState::NUMERIC_VALUE_OUT_OF_RANGE);
    }
}
