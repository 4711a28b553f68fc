//! Arithmetic on dates, times and intervals.

use crate::datum::Datum;
use crate::error::{Error, Result};
use crate::interval::Interval;
use crate::style::Style;
use crate::time::{self, MICROS_PER_DAY, overflow};

pub(super) fn date_plus_days(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
    match (a, b) {
        (Datum::Date(date), Datum::Int4(days)) | (Datum::Int4(days), Datum::Date(date)) => {
            shift_date(*date, Some(*days))
        }
        _ => Err(Error::type_mismatch()),
    }
}

pub(super) fn date_minus_days(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
    match (a, b) {
        (Datum::Date(date), Datum::Int4(days)) => shift_date(*date, days.checked_neg()),
        _ => Err(Error::type_mismatch()),
    }
}

fn shift_date(date: i32, days: Option<i32>) -> Result<Datum> {
    if time::is_infinite_date(date) {
        return Ok(Datum::Date(date));
    }
    let moved = days.and_then(|days| date.checked_add(days)).filter(|date| time::date_in_range(*date));
    moved.map(Datum::Date).ok_or_else(|| overflow("date"))
}

pub(super) fn date_minus_date(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
    match (a, b) {
        (Datum::Date(a), Datum::Date(b)) => {
            if time::is_infinite_date(*a) || time::is_infinite_date(*b) {
                return Err(Error::new(
                    sqlstate::SqlState::DATETIME_FIELD_OVERFLOW,
                    "cannot subtract infinite dates",
                ));
            }
            a.checked_sub(*b).map(Datum::Int4).ok_or_else(|| overflow("date"))
        }
        _ => Err(Error::type_mismatch()),
    }
}

pub(super) fn date_plus_time(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
    match (a, b) {
        (Datum::Date(date), Datum::Time(micros)) | (Datum::Time(micros), Datum::Date(date)) => {
            let start = time::date_to_timestamp(*date)?;
            if time::is_infinite(start) {
                return Ok(Datum::Timestamp(start));
            }
            time::check_timestamp(start.saturating_add(*micros)).map(Datum::Timestamp)
        }
        _ => Err(Error::type_mismatch()),
    }
}

fn move_by(value: &Datum, interval: Interval, style: &Style) -> Result<Datum> {
    match value {
        Datum::Timestamptz(micros) => {
            time::add_interval_to_timestamptz(*micros, interval, &style.zone).map(Datum::Timestamptz)
        }
        Datum::Timestamp(micros) => time::add_interval_to_timestamp(*micros, interval).map(Datum::Timestamp),
        Datum::Date(date) => {
            time::add_interval_to_timestamp(time::date_to_timestamp(*date)?, interval).map(Datum::Timestamp)
        }
        // Times of day go round the clock.
        Datum::Time(micros) => {
            Ok(Datum::Time((micros + interval.micros % MICROS_PER_DAY).rem_euclid(MICROS_PER_DAY)))
        }
        Datum::Interval(other) => {
            other.checked_add(interval).map(Datum::Interval).ok_or_else(|| overflow("interval"))
        }
        _ => Err(Error::type_mismatch()),
    }
}

pub(super) fn plus_interval(a: &Datum, b: &Datum, style: &Style) -> Result<Datum> {
    match (a, b) {
        (value, Datum::Interval(interval)) | (Datum::Interval(interval), value) => {
            move_by(value, *interval, style)
        }
        _ => Err(Error::type_mismatch()),
    }
}

pub(super) fn minus_interval(a: &Datum, b: &Datum, style: &Style) -> Result<Datum> {
    match (a, b) {
        (Datum::Interval(a), Datum::Interval(b)) => {
            a.checked_sub(*b).map(Datum::Interval).ok_or_else(|| overflow("interval"))
        }
        (value, Datum::Interval(interval)) => {
            move_by(value, interval.negate().ok_or_else(|| overflow("interval"))?, style)
        }
        _ => Err(Error::type_mismatch()),
    }
}

pub(super) fn difference(a: &Datum, b: &Datum, style: &Style) -> Result<Datum> {
    let local = |value: &Datum| match value {
        Datum::Timestamp(micros) => Ok(*micros),
        Datum::Date(date) => time::date_to_timestamp(*date),
        Datum::Timestamptz(micros) => time::timestamptz_to_timestamp(*micros, &style.zone),
        _ => Err(Error::type_mismatch()),
    };
    match (a, b) {
        (Datum::Timestamptz(a), Datum::Timestamptz(b)) => {
            time::subtract_timestamps(*a, *b).map(Datum::Interval)
        }
        (Datum::Time(a), Datum::Time(b)) => Ok(Datum::Interval(Interval::from_micros(a - b))),
        _ => time::subtract_timestamps(local(a)?, local(b)?).map(Datum::Interval),
    }
}

pub(super) fn times_factor(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
    match (a, b) {
        (Datum::Interval(interval), Datum::Float8(factor))
        | (Datum::Float8(factor), Datum::Interval(interval)) => {
            time::multiply_interval(*interval, *factor).map(Datum::Interval)
        }
        _ => Err(Error::type_mismatch()),
    }
}

pub(super) fn by_divisor(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
    match (a, b) {
        (Datum::Interval(interval), Datum::Float8(divisor)) => {
            time::divide_interval(*interval, *divisor).map(Datum::Interval)
        }
        _ => Err(Error::type_mismatch()),
    }
}
