//! Sums and differences of dates, timestamps and intervals.

use super::calendar::{civil_from_micros, days_in_month, micros_from_civil};
use super::zone::{local_from_utc, utc_from_local};
use super::{
    DATE_INFINITY, DATE_NEGATIVE_INFINITY, INFINITY, MICROS_PER_DAY, NEGATIVE_INFINITY, date_in_range,
    is_infinite, overflow, timestamp_in_range,
};
use crate::error::{Error, Result};
use crate::interval::Interval;
use jiff::tz::TimeZone;
use sqlstate::SqlState;

/// Midnight of a date.
///
/// # Errors
///
/// 22008 if the result is out of range.
pub fn date_to_timestamp(days: i32) -> Result<i64> {
    match days {
        DATE_INFINITY => Ok(INFINITY),
        DATE_NEGATIVE_INFINITY => Ok(NEGATIVE_INFINITY),
        _ => {
            let micros =
                i64::from(days).checked_mul(MICROS_PER_DAY).filter(|micros| timestamp_in_range(*micros));
            micros.ok_or_else(|| {
                Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range for timestamp")
            })
        }
    }
}

/// The date of a timestamp.
///
/// # Errors
///
/// 22008 if the result is out of range.
pub fn date_from_timestamp(micros: i64) -> Result<i32> {
    match micros {
        INFINITY => Ok(DATE_INFINITY),
        NEGATIVE_INFINITY => Ok(DATE_NEGATIVE_INFINITY),
        _ => {
            let days =
                i32::try_from(micros.div_euclid(MICROS_PER_DAY)).ok().filter(|days| date_in_range(*days));
            days.ok_or_else(|| overflow("date"))
        }
    }
}

/// The moment at which a zone's clocks show a timestamp.
///
/// # Errors
///
/// 22008 if the result is out of range.
pub fn timestamp_to_timestamptz(micros: i64, zone: &TimeZone) -> Result<i64> {
    if is_infinite(micros) {
        Ok(micros)
    } else {
        utc_from_local(micros, zone).ok_or_else(|| overflow("timestamp"))
    }
}

/// What a zone's clocks show at a moment.
///
/// # Errors
///
/// 22008 if the result is out of range.
pub fn timestamptz_to_timestamp(micros: i64, zone: &TimeZone) -> Result<i64> {
    if is_infinite(micros) {
        Ok(micros)
    } else {
        local_from_utc(micros, zone).ok_or_else(|| overflow("timestamp"))
    }
}

/// `timestamp + interval`: months first (the day is cut to the month's last), then days, then the rest.
///
/// # Errors
///
/// 22008 if the result is out of range.
pub fn add_interval_to_timestamp(micros: i64, interval: Interval) -> Result<i64> {
    if is_infinite(micros) {
        return Ok(micros);
    }
    add_calendar(micros, interval.months, interval.days)
        .and_then(|micros| micros.checked_add(interval.micros))
        .filter(|micros| timestamp_in_range(*micros))
        .ok_or_else(|| overflow("timestamp"))
}

/// `timestamptz + interval`: months and days by the zone's calendar, the rest in elapsed time.
///
/// # Errors
///
/// 22008 if the result is out of range.
pub fn add_interval_to_timestamptz(micros: i64, interval: Interval, zone: &TimeZone) -> Result<i64> {
    if is_infinite(micros) {
        return Ok(micros);
    }
    let by_calendar = if interval.months == 0 && interval.days == 0 {
        Some(micros)
    } else {
        local_from_utc(micros, zone)
            .and_then(|local| add_calendar(local, interval.months, interval.days))
            .and_then(|local| utc_from_local(local, zone))
    };
    by_calendar
        .and_then(|micros| micros.checked_add(interval.micros))
        .filter(|micros| timestamp_in_range(*micros))
        .ok_or_else(|| overflow("timestamp"))
}

fn add_calendar(micros: i64, months: i32, days: i32) -> Option<i64> {
    let mut micros = micros;
    if months != 0 {
        let mut civil = civil_from_micros(micros);
        let months = civil.year * 12 + i64::from(civil.month) - 1 + i64::from(months);
        civil.year = months.div_euclid(12);
        civil.month = months.rem_euclid(12) as u32 + 1;
        civil.day = civil.day.min(days_in_month(civil.year, civil.month));
        micros = micros_from_civil(civil).filter(|micros| timestamp_in_range(*micros))?;
    }
    micros.checked_add(i64::from(days).checked_mul(MICROS_PER_DAY)?)
}

/// `timestamp - timestamp`: whole days and the rest.
///
/// # Errors
///
/// 22008 if the result is out of range.
pub fn subtract_timestamps(a: i64, b: i64) -> Result<Interval> {
    if is_infinite(a) || is_infinite(b) {
        return Err(Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "cannot subtract infinite timestamps"));
    }
    let micros = a.checked_sub(b).ok_or_else(|| overflow("interval"))?;
    Interval::from_micros(micros).justify_hours().ok_or_else(|| overflow("interval"))
}

/// age(): the difference in years, months, days and time, as a calendar counts it.
///
/// # Errors
///
/// 22008 if the result is out of range.
pub fn age(later: i64, earlier: i64) -> Result<Interval> {
    if is_infinite(later) || is_infinite(earlier) {
        return Err(overflow("timestamp"));
    }
    let negative = later < earlier;
    let (end, start) = if negative { (earlier, later) } else { (later, earlier) };
    let (end, start) = (civil_from_micros(end), civil_from_micros(start));
    let mut micros = end.micros - start.micros;
    let mut days = i64::from(end.day) - i64::from(start.day);
    let mut months = (end.year - start.year) * 12 + i64::from(end.month) - i64::from(start.month);
    if micros < 0 {
        micros += MICROS_PER_DAY;
        days -= 1;
    }
    if days < 0 {
        days += i64::from(days_in_month(start.year, start.month));
        months -= 1;
    }
    let out_of_range = || overflow("interval");
    let interval = Interval::new(
        i32::try_from(months).map_err(|_| out_of_range())?,
        i32::try_from(days).map_err(|_| out_of_range())?,
        micros,
    );
    if negative { interval.negate().ok_or_else(out_of_range) } else { Ok(interval) }
}

/// `interval * factor`: fractions of months spill into days of 30 a month, those of days into time.
///
/// # Errors
///
/// 22008 if the result is out of range.
pub fn multiply_interval(interval: Interval, factor: f64) -> Result<Interval> {
    spread(interval, |part| part * factor)
}

/// `interval / divisor`
///
/// # Errors
///
/// 22012 for a zero divisor, 22008 if the result is out of range.
pub fn divide_interval(interval: Interval, divisor: f64) -> Result<Interval> {
    if divisor == 0.0 {
        return Err(Error::division_by_zero());
    }
    spread(interval, |part| part / divisor)
}

fn spread(interval: Interval, scale: impl Fn(f64) -> f64) -> Result<Interval> {
    let out_of_range = || overflow("interval");
    let whole = |value: f64| {
        let inside = value >= f64::from(i32::MIN) && value < f64::from(i32::MAX) + 1.0;
        if inside { Ok(value.trunc() as i32) } else { Err(out_of_range()) }
    };
    // Rounded to microseconds of a day, so that binary fractions do not show.
    let tidy = |value: f64| (value * 1e6).round_ties_even() / 1e6;
    let (months, days) = (scale(f64::from(interval.months)), scale(f64::from(interval.days)));
    let whole_months = whole(months)?;
    let mut whole_days = whole(days)?;
    let month_days = tidy((months - f64::from(whole_months)) * 30.0);
    let mut seconds = tidy((days - f64::from(whole_days) + month_days - month_days.trunc()) * 86_400.0);
    if seconds.abs() >= 86_400.0 {
        whole_days = whole_days.checked_add((seconds / 86_400.0).trunc() as i32).ok_or_else(out_of_range)?;
        seconds -= (seconds / 86_400.0).trunc() * 86_400.0;
    }
    whole_days = whole_days.checked_add(month_days.trunc() as i32).ok_or_else(out_of_range)?;
    let micros = (scale(interval.micros as f64) + seconds * 1e6).round_ties_even();
    if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&micros) {
        return Err(out_of_range());
    }
    Ok(Interval::new(whole_months, whole_days, micros as i64))
}
