//! Fields of dates and times: extract() and date_trunc().

use super::calendar::days_from_civil;
use super::calendar::{Civil, civil_from_micros, iso_week, iso_year_start, micros_from_civil, weekday};
use super::words::{self, Unit};
use super::zone::{local_from_utc, offset_seconds_at, utc_from_local};
use super::{
    FIRST_DAY, INFINITY, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, is_infinite,
    overflow,
};
use crate::error::{Error, Result};
use crate::interval::Interval;
use crate::numeric::Numeric;
use jiff::tz::TimeZone;
use sqlstate::SqlState;

fn unknown(field: &str, type_name: &str) -> Error {
    Error::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("unit \"{}\" not recognized for type {type_name}", field.to_ascii_lowercase()),
    )
}

fn unsupported(field: &str, type_name: &str) -> Error {
    Error::new(
        SqlState::FEATURE_NOT_SUPPORTED,
        format!("unit \"{}\" not supported for type {type_name}", field.to_ascii_lowercase()),
    )
}

/// extract(field FROM timestamp); with `zone`, of a timestamp with time zone. None for a field that an
/// infinite value does not have.
///
/// # Errors
///
/// 22023 for a field that is not known, 0A000 for one that such a value does not have.
pub fn extract_from_timestamp(field: &str, micros: i64, zone: Option<&TimeZone>) -> Result<Option<Numeric>> {
    let name = if zone.is_some() { "timestamp with time zone" } else { "timestamp without time zone" };
    let unit = words::field(&field.to_ascii_lowercase()).ok_or_else(|| unknown(field, name))?;
    if is_infinite(micros) {
        return infinite_field(unit, micros == INFINITY).ok_or_else(|| unsupported(field, name));
    }
    let local = match zone {
        Some(zone) => local_from_utc(micros, zone).ok_or_else(|| overflow("timestamp"))?,
        None => micros,
    };
    let offset = || zone.map(|zone| i64::from(offset_seconds_at(micros, zone)));
    Ok(Some(match unit {
        // 2000-01-01 is 946684800 seconds after the Unix epoch.
        Unit::Epoch => Numeric::from(i128::from(micros) + 946_684_800_000_000).scaled_down(6),
        Unit::Timezone => offset().ok_or_else(|| unsupported(field, name))?.into(),
        Unit::TimezoneHour => (offset().ok_or_else(|| unsupported(field, name))? / 3600).into(),
        Unit::TimezoneMinute => (offset().ok_or_else(|| unsupported(field, name))? / 60 % 60).into(),
        Unit::Julian => {
            let days = local.div_euclid(MICROS_PER_DAY) - i64::from(FIRST_DAY);
            let fraction = local.rem_euclid(MICROS_PER_DAY);
            Numeric::from(days).add(&Numeric::from(fraction).div(&Numeric::from(MICROS_PER_DAY))?)?
        }
        _ => match date_field(unit, local).or_else(|| time_field(unit, local.rem_euclid(MICROS_PER_DAY))) {
            Some(value) => value,
            None => return Err(unsupported(field, name)),
        },
    }))
}

/// Fields of infinity: those that grow with time are infinite, the others NULL.
fn infinite_field(unit: Unit, later: bool) -> Option<Option<Numeric>> {
    let infinite = if later { Numeric::INFINITY } else { Numeric::NEGATIVE_INFINITY };
    Some(match unit {
        Unit::Year
        | Unit::Decade
        | Unit::Century
        | Unit::Millennium
        | Unit::Julian
        | Unit::IsoYear
        | Unit::Epoch => Some(infinite),
        _ => None,
    })
}

fn date_field(unit: Unit, micros: i64) -> Option<Numeric> {
    let days = micros.div_euclid(MICROS_PER_DAY);
    let civil = civil_from_micros(micros);
    // There is no year 0: 1 BC is shown as -1.
    let shown = |year: i64| if year > 0 { year } else { year - 1 };
    Some(Numeric::from(match unit {
        Unit::Day => i64::from(civil.day),
        Unit::Month => i64::from(civil.month),
        Unit::Quarter => i64::from((civil.month - 1) / 3 + 1),
        Unit::Week => iso_week(days).1,
        Unit::Year => shown(civil.year),
        Unit::Decade => civil.year.div_euclid(10),
        Unit::Century => {
            if civil.year > 0 {
                (civil.year + 99) / 100
            } else {
                -((99 - (civil.year - 1)) / 100)
            }
        }
        Unit::Millennium => {
            if civil.year > 0 {
                (civil.year + 999) / 1000
            } else {
                -((999 - (civil.year - 1)) / 1000)
            }
        }
        Unit::IsoYear => shown(iso_week(days).0),
        Unit::DayOfWeek => i64::from(weekday(days)),
        Unit::IsoDayOfWeek => i64::from(if weekday(days) == 0 { 7 } else { weekday(days) }),
        Unit::DayOfYear => days - days_from_civil(civil.year, 1, 1) + 1,
        _ => return None,
    }))
}

fn time_field(unit: Unit, micros: i64) -> Option<Numeric> {
    let minute = micros % MICROS_PER_MINUTE;
    Some(match unit {
        Unit::Microsecond => minute.into(),
        Unit::Millisecond => Numeric::small(minute, 3),
        Unit::Second => Numeric::small(minute, 6),
        Unit::Minute => (micros / MICROS_PER_MINUTE % 60).into(),
        Unit::Hour => (micros / MICROS_PER_HOUR).into(),
        _ => return None,
    })
}

/// extract(field FROM date).
///
/// # Errors
///
/// 22023 for a field that is not known, 0A000 for one that such a value does not have.
pub fn extract_from_date(field: &str, days: i32) -> Result<Option<Numeric>> {
    let unit = words::field(&field.to_ascii_lowercase()).ok_or_else(|| unknown(field, "date"))?;
    if super::is_infinite_date(days) {
        let days_only = infinite_field(unit, days > 0).filter(|_| is_date_unit(unit));
        return days_only.ok_or_else(|| unsupported(field, "date"));
    }
    match unit {
        Unit::Epoch => Ok(Some(Numeric::from((i64::from(days) + 10_957) * 86_400))),
        Unit::Julian => Ok(Some(Numeric::from(i64::from(days) - i64::from(FIRST_DAY)))),
        _ => {
            // Dates reach past timestamps; their fields need no microseconds.
            let cycle = 146_097;
            let cycles = if i64::from(days) > 100_000_000 { i64::from(days) / cycle } else { 0 };
            let near = (i64::from(days) - cycles * cycle) * MICROS_PER_DAY;
            let value = date_field(unit, near).ok_or_else(|| unsupported(field, "date"))?;
            let years = match unit {
                Unit::Year | Unit::IsoYear => 400 * cycles,
                Unit::Decade => 40 * cycles,
                Unit::Century => 4 * cycles,
                Unit::Millennium if cycles > 0 => {
                    return Ok(Some(Numeric::from(
                        (super::civil_from_days(i64::from(days)).year + 999) / 1000,
                    )));
                }
                _ => 0,
            };
            Ok(Some(value.add(&years.into())?))
        }
    }
}

fn is_date_unit(unit: Unit) -> bool {
    !matches!(
        unit,
        Unit::Microsecond
            | Unit::Millisecond
            | Unit::Second
            | Unit::Minute
            | Unit::Hour
            | Unit::Timezone
            | Unit::TimezoneHour
            | Unit::TimezoneMinute
    )
}

/// extract(field FROM time).
///
/// # Errors
///
/// 22023 for a field that is not known, 0A000 for one that such a value does not have.
pub fn extract_from_time(field: &str, micros: i64) -> Result<Numeric> {
    let name = "time without time zone";
    let unit = words::field(&field.to_ascii_lowercase()).ok_or_else(|| unknown(field, name))?;
    if unit == Unit::Epoch {
        return Ok(Numeric::small(micros, 6));
    }
    time_field(unit, micros).ok_or_else(|| unsupported(field, name))
}

/// extract(field FROM interval).
///
/// # Errors
///
/// 22023 for a field that is not known, 0A000 for one that such a value does not have.
pub fn extract_from_interval(field: &str, interval: Interval) -> Result<Numeric> {
    let unit = words::field(&field.to_ascii_lowercase()).ok_or_else(|| unknown(field, "interval"))?;
    let (years, months) = (i64::from(interval.months / 12), i64::from(interval.months % 12));
    Ok(match unit {
        Unit::Day => i64::from(interval.days).into(),
        Unit::Month => months.into(),
        Unit::Quarter => (months / 3 + 1).into(),
        Unit::Year => years.into(),
        Unit::Decade => (years / 10).into(),
        Unit::Century => (years / 100).into(),
        Unit::Millennium => (years / 1000).into(),
        Unit::Epoch => {
            // A year is 365.25 days here, and a month 30.
            let days =
                i128::from(years) * 1461 * 4 + (i128::from(months) * 30 + i128::from(interval.days)) * 16;
            let micros = days * i128::from(MICROS_PER_DAY) / 16 + i128::from(interval.micros);
            Numeric::from(micros).scaled_down(6)
        }
        _ => time_field(unit, interval.micros).ok_or_else(|| unsupported(field, "interval"))?,
    })
}

/// date_part(field, interval): as [`extract_from_interval`], but for the epoch, which PostgreSQL adds up in
/// floats here.
///
/// # Errors
///
/// As [`extract_from_interval`].
pub fn interval_part(field: &str, interval: Interval) -> Result<f64> {
    if words::field(&field.to_ascii_lowercase()) != Some(Unit::Epoch) {
        return extract_from_interval(field, interval).map(|value| value.to_f64());
    }
    let seconds_of_days = |days: f64| days * (MICROS_PER_DAY / MICROS_PER_SECOND) as f64;
    Ok(interval.micros as f64 / MICROS_PER_SECOND as f64
        + seconds_of_days(365.25) * f64::from(interval.months / 12)
        + seconds_of_days(30.0) * f64::from(interval.months % 12)
        + seconds_of_days(1.0) * f64::from(interval.days))
}

/// date_trunc(field, timestamp).
///
/// # Errors
///
/// 22023 for a field that is not known, 0A000 for one that such a value does not have, 22008 for a start
/// before the first timestamp.
pub fn truncate_timestamp(field: &str, micros: i64) -> Result<i64> {
    let (start, _) = truncate(field, micros, "timestamp without time zone")?;
    if is_infinite(start) || super::timestamp_in_range(start) {
        Ok(start)
    } else {
        Err(overflow("timestamp"))
    }
}

/// date_trunc(field, timestamptz): by the clocks of a zone.
///
/// # Errors
///
/// 22023 for a field that is not known, 0A000 for one that such a value does not have.
pub fn truncate_timestamptz(field: &str, micros: i64, zone: &TimeZone) -> Result<i64> {
    let name = "timestamp with time zone";
    if is_infinite(micros) {
        return Ok(micros);
    }
    let local = local_from_utc(micros, zone).ok_or_else(|| overflow("timestamp"))?;
    let (truncated, redo_zone) = truncate(field, local, name)?;
    if redo_zone {
        utc_from_local(truncated, zone).ok_or_else(|| overflow("timestamp"))
    } else {
        // Hours and below keep the offset that they have.
        Ok(micros - (local - truncated))
    }
}

/// The start of the unit, and whether that may lie under another offset.
fn truncate(field: &str, micros: i64, name: &'static str) -> Result<(i64, bool)> {
    // Which has no fields, known or unknown.
    if is_infinite(micros) {
        return Ok((micros, false));
    }
    let unit = words::unit(&field.to_ascii_lowercase()).ok_or_else(|| {
        match words::field(&field.to_ascii_lowercase()) {
            Some(_) => unsupported(field, name),
            None => unknown(field, name),
        }
    })?;
    let below = |unit_micros: i64| Ok((micros - micros.rem_euclid(unit_micros), false));
    let days = micros.div_euclid(MICROS_PER_DAY);
    let civil = civil_from_micros(micros);
    let year_start = |year: i64| Civil { year, month: 1, day: 1, micros: 0 };
    // Centuries and millennia begin with the year 1; before it they count backwards.
    let period = |years: i64| (civil.year - 1).div_euclid(years) * years + 1;
    let start = match unit {
        Unit::Microsecond => return Ok((micros, false)),
        Unit::Millisecond => return below(1000),
        Unit::Second => return below(MICROS_PER_SECOND),
        Unit::Minute => return below(MICROS_PER_MINUTE),
        Unit::Hour => return below(MICROS_PER_HOUR),
        Unit::Day => Civil { micros: 0, ..civil },
        Unit::Week => super::calendar::civil_from_days(days - i64::from((weekday(days) + 6) % 7)),
        Unit::Month => Civil { day: 1, micros: 0, ..civil },
        Unit::Quarter => Civil { month: (civil.month - 1) / 3 * 3 + 1, day: 1, micros: 0, ..civil },
        Unit::Year => year_start(civil.year),
        Unit::Decade => year_start(civil.year.div_euclid(10) * 10),
        Unit::Century => year_start(period(100)),
        Unit::Millennium => year_start(period(1000)),
        _ => return Err(unsupported(field, name)),
    };
    micros_from_civil(start).map(|micros| (micros, true)).ok_or_else(|| overflow("timestamp"))
}

/// date_trunc(field, interval).
///
/// # Errors
///
/// 22023 for a field that is not known, 0A000 for one that such a value does not have.
pub fn truncate_interval(field: &str, interval: Interval) -> Result<Interval> {
    let unit = words::unit(&field.to_ascii_lowercase()).ok_or_else(|| {
        match words::field(&field.to_ascii_lowercase()) {
            Some(_) => unsupported(field, "interval"),
            None => unknown(field, "interval"),
        }
    })?;
    let months = |unit: i32| Interval::new(interval.months / unit * unit, 0, 0);
    let micros = |unit: i64| Interval { micros: interval.micros / unit * unit, ..interval };
    Ok(match unit {
        Unit::Microsecond => interval,
        Unit::Millisecond => micros(1000),
        Unit::Second => micros(MICROS_PER_SECOND),
        Unit::Minute => micros(MICROS_PER_MINUTE),
        Unit::Hour => micros(MICROS_PER_HOUR),
        Unit::Day => Interval { micros: 0, ..interval },
        Unit::Month => months(1),
        Unit::Quarter => months(3),
        Unit::Year => months(12),
        Unit::Decade => months(120),
        Unit::Century => months(1200),
        Unit::Millennium => months(12_000),
        Unit::Week => {
            return Err(unsupported(field, "interval").with_detail("Months usually have fractional weeks."));
        }
        _ => return Err(unsupported(field, "interval")),
    })
}

/// The first day of an ISO year, for to_char.
pub(super) fn iso_day_of_year(days: i64) -> i64 {
    days - iso_year_start(iso_week(days).0) + 1
}
