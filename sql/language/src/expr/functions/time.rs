//! Functions of dates and times.

use super::{Table, float, integer, mismatch, text};
use crate::expr::Facts;
use sql_interface::{Result, SqlError};
use sql_types::TypeId::{
    Bool, Date, Float8, Int4, Interval as Span, Numeric as Num, Text, Time, Timestamp, Timestamptz,
};
use sql_types::cast;
use sql_types::time::{self, Civil};
use sql_types::{Datum, Interval, Numeric, Type, TypeId};
use sqlstate::SqlState;

fn zone_named(name: &str) -> Result<time::Zone> {
    time::named_zone(name).ok_or_else(|| {
        SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized"))
    })
}

/// A moment as the precision of CURRENT_TIMESTAMP(n) rounds it.
fn rounded(value: Datum, id: TypeId, digits: i64) -> Result<Datum> {
    if digits < 0 {
        let message = format!("{}({digits}) precision must not be negative", id.sql_name());
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    let ty = Type::with_precision(id, Some(u32::try_from(digits).unwrap_or(6)));
    Ok(cast::apply_modifier(value, ty, true)?)
}

fn transaction_time(_: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    Ok(Datum::Timestamptz(facts.transaction_time().micros()))
}

fn local(to: TypeId, facts: &dyn Facts) -> Result<Datum> {
    let now = Datum::Timestamptz(facts.transaction_time().micros());
    Ok(cast::cast(&now, Timestamptz, Type::of(to), true, facts.style())?)
}

pub(super) fn register(table: &mut Table) {
    clocks(table);
    fields(table);
    truncations(table);
    zones(table);
    making(table);
}

fn clocks(table: &mut Table) {
    for name in ["now", "transaction_timestamp", "current_timestamp"] {
        table.add(name, &[], Timestamptz, transaction_time).stable();
    }
    table
        .add("current_timestamp", &[Int4], Timestamptz, |a, facts| {
            rounded(transaction_time(&[], facts)?, Timestamptz, integer(a, 0)?)
        })
        .stable();
    table
        .add("statement_timestamp", &[], Timestamptz, |_, facts| {
            Ok(Datum::Timestamptz(facts.statement_time().micros()))
        })
        .stable();
    table
        .add("clock_timestamp", &[], Timestamptz, |_, facts| {
            Ok(Datum::Timestamptz(facts.clock_time().micros()))
        })
        .volatile();
    table.add("current_date", &[], Date, |_, facts| local(Date, facts)).stable();
    table.add("localtimestamp", &[], Timestamp, |_, facts| local(Timestamp, facts)).stable();
    table
        .add("localtimestamp", &[Int4], Timestamp, |a, facts| {
            rounded(local(Timestamp, facts)?, Timestamp, integer(a, 0)?)
        })
        .stable();
    table.add("localtime", &[], Time, |_, facts| local(Time, facts)).stable();
    table
        .add("localtime", &[Int4], Time, |a, facts| rounded(local(Time, facts)?, Time, integer(a, 0)?))
        .stable();
    table
        .add("timeofday", &[], Text, |_, facts| {
            let micros = facts.clock_time().micros();
            Ok(Datum::from(timestamptz_to_char(micros, "Dy Mon DD HH24:MI:SS.US YYYY TZ", facts)?))
        })
        .volatile();
}

fn field_of(arguments: &[Datum], facts: &dyn Facts) -> Result<Option<Numeric>> {
    let field = text(arguments, 0)?;
    Ok(match arguments.get(1) {
        Some(Datum::Timestamp(micros)) => time::extract_from_timestamp(field, *micros, None)?,
        Some(Datum::Timestamptz(micros)) => {
            time::extract_from_timestamp(field, *micros, Some(&facts.style().zone))?
        }
        Some(Datum::Date(days)) => time::extract_from_date(field, *days)?,
        Some(Datum::Time(micros)) => Some(time::extract_from_time(field, *micros)?),
        Some(Datum::Interval(interval)) => Some(time::extract_from_interval(field, *interval)?),
        _ => return Err(mismatch()),
    })
}

fn fields(table: &mut Table) {
    for id in [Timestamp, Timestamptz, Date, Time, Span] {
        table.add("extract", &[Text, id], Num, |a, facts| Ok(Datum::from(field_of(a, facts)?))).stable();
        table
            .add("date_part", &[Text, id], Float8, |a, facts| {
                let value = match a {
                    // Of a date it is that of its midnight.
                    [field, Datum::Date(days)] => {
                        let midnight = Datum::Timestamp(time::date_to_timestamp(*days)?);
                        field_of(&[field.clone(), midnight], facts)?
                    }
                    [Datum::Text(field), Datum::Interval(interval)] => {
                        return Ok(Datum::Float8(time::interval_part(field, *interval)?));
                    }
                    _ => field_of(a, facts)?,
                };
                Ok(Datum::from(value.map(|value| value.to_f64())))
            })
            .stable();
    }
    for id in [Timestamp, Timestamptz] {
        table.add("age", &[id, id], Span, |a, facts| age(a.first(), a.get(1), facts)).stable();
        table
            .add("age", &[id], Span, |a, facts| {
                // From midnight of today.
                let today = Datum::Timestamp(match local(Date, facts)? {
                    Datum::Date(days) => time::date_to_timestamp(days)?,
                    _ => return Err(mismatch()),
                });
                let given = a.first().ok_or_else(mismatch)?;
                let given = Datum::Timestamp(local_micros(given, facts)?);
                age(Some(&today), Some(&given), facts)
            })
            .stable();
    }
    for id in [Timestamp, Timestamptz, Date, Span] {
        table.add("isfinite", &[id], Bool, |a, _| {
            Ok(Datum::Bool(match a.first() {
                Some(Datum::Timestamp(micros) | Datum::Timestamptz(micros)) => !time::is_infinite(*micros),
                Some(Datum::Date(days)) => !time::is_infinite_date(*days),
                _ => true,
            }))
        });
    }
}

fn truncations(table: &mut Table) {
    table.add("date_trunc", &[Text, Timestamp], Timestamp, |a, _| match a.get(1) {
        Some(Datum::Timestamp(micros)) => {
            Ok(Datum::Timestamp(time::truncate_timestamp(text(a, 0)?, *micros)?))
        }
        _ => Err(mismatch()),
    });
    table
        .add("date_trunc", &[Text, Timestamptz], Timestamptz, |a, facts| match a.get(1) {
            Some(Datum::Timestamptz(micros)) => {
                let truncated = time::truncate_timestamptz(text(a, 0)?, *micros, &facts.style().zone)?;
                Ok(Datum::Timestamptz(truncated))
            }
            _ => Err(mismatch()),
        })
        .stable();
    table.add("date_trunc", &[Text, Timestamptz, Text], Timestamptz, |a, _| match a.get(1) {
        Some(infinite @ Datum::Timestamptz(micros)) if time::is_infinite(*micros) => Ok(infinite.clone()),
        Some(Datum::Timestamptz(micros)) => {
            let zone = zone_named(text(a, 2)?)?;
            Ok(Datum::Timestamptz(time::truncate_timestamptz(text(a, 0)?, *micros, &zone.zone)?))
        }
        _ => Err(mismatch()),
    });
    table.add("date_trunc", &[Text, Span], Span, |a, _| match a.get(1) {
        Some(Datum::Interval(interval)) => {
            Ok(Datum::Interval(time::truncate_interval(text(a, 0)?, *interval)?))
        }
        _ => Err(mismatch()),
    });
}

/// What the session's clocks show.
fn local_micros(value: &Datum, facts: &dyn Facts) -> Result<i64> {
    match value {
        Datum::Timestamp(micros) => Ok(*micros),
        Datum::Timestamptz(micros) => Ok(time::timestamptz_to_timestamp(*micros, &facts.style().zone)?),
        _ => Err(mismatch()),
    }
}

fn age(later: Option<&Datum>, earlier: Option<&Datum>, facts: &dyn Facts) -> Result<Datum> {
    let later = local_micros(later.ok_or_else(mismatch)?, facts)?;
    let earlier = local_micros(earlier.ok_or_else(mismatch)?, facts)?;
    Ok(Datum::Interval(time::age(later, earlier)?))
}

/// A timestamp moved, east or west, by whole seconds of an interval that stands for a time zone.
fn shifted(micros: i64, zone: Option<&Datum>, direction: i64, facts: &dyn Facts) -> Result<i64> {
    let Some(Datum::Interval(zone)) = zone else { return Err(mismatch()) };
    if time::is_infinite(micros) {
        return Ok(micros);
    }
    if zone.months != 0 || zone.days != 0 {
        let message = format!(
            "interval time zone \"{}\" must not include months or days",
            Datum::Interval(*zone).to_text(facts.style()).unwrap_or_default()
        );
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    let whole = zone.micros - zone.micros % 1_000_000;
    let by = Interval { micros: whole * direction, days: 0, months: 0 };
    Ok(time::add_interval_to_timestamp(micros, by)?)
}

fn zones(table: &mut Table) {
    table.add("timezone", &[Text, Timestamp], Timestamptz, |a, _| match a.get(1) {
        Some(Datum::Timestamp(micros)) => {
            Ok(Datum::Timestamptz(time::timestamp_to_timestamptz(*micros, &zone_named(text(a, 0)?)?.zone)?))
        }
        _ => Err(mismatch()),
    });
    table.add("timezone", &[Text, Timestamptz], Timestamp, |a, _| match a.get(1) {
        Some(Datum::Timestamptz(micros)) => {
            Ok(Datum::Timestamp(time::timestamptz_to_timestamp(*micros, &zone_named(text(a, 0)?)?.zone)?))
        }
        _ => Err(mismatch()),
    });
    table.add("timezone", &[Span, Timestamp], Timestamptz, |a, facts| match a.get(1) {
        Some(Datum::Timestamp(micros)) => Ok(Datum::Timestamptz(shifted(*micros, a.first(), -1, facts)?)),
        _ => Err(mismatch()),
    });
    table.add("timezone", &[Span, Timestamptz], Timestamp, |a, facts| match a.get(1) {
        Some(Datum::Timestamptz(micros)) => Ok(Datum::Timestamp(shifted(*micros, a.first(), 1, facts)?)),
        _ => Err(mismatch()),
    });
    table.add("to_char", &[Timestamp, Text], Text, |a, _| match a.first() {
        Some(Datum::Timestamp(micros)) if time::is_infinite(*micros) || text(a, 1)?.is_empty() => {
            Ok(Datum::Null)
        }
        Some(Datum::Timestamp(micros)) => Ok(Datum::from(time::to_char(*micros, None, text(a, 1)?))),
        _ => Err(mismatch()),
    });
    table
        .add("to_char", &[Timestamptz, Text], Text, |a, facts| match a.first() {
            Some(Datum::Timestamptz(micros)) if time::is_infinite(*micros) || text(a, 1)?.is_empty() => {
                Ok(Datum::Null)
            }
            Some(Datum::Timestamptz(micros)) => {
                Ok(Datum::from(timestamptz_to_char(*micros, text(a, 1)?, facts)?))
            }
            _ => Err(mismatch()),
        })
        .stable();
}

fn timestamptz_to_char(micros: i64, format: &str, facts: &dyn Facts) -> Result<String> {
    let zone = &facts.style().zone;
    let offset = time::offset_seconds_at(micros, zone);
    let shown = time::timestamptz_to_timestamp(micros, zone)?;
    Ok(time::to_char(shown, Some((offset, time::abbreviation_at(micros, zone))), format))
}

fn making(table: &mut Table) {
    table
        .add("to_date", &[Text, Text], Date, |a, _| {
            Ok(Datum::Date(time::date_from_text(text(a, 0)?, text(a, 1)?)?))
        })
        .stable();
    table
        .add("to_timestamp", &[Text, Text], Timestamptz, |a, facts| {
            let local = time::timestamp_from_text(text(a, 0)?, text(a, 1)?)?;
            Ok(Datum::Timestamptz(time::timestamp_to_timestamptz(local, &facts.style().zone)?))
        })
        .stable();
    table.add("to_timestamp", &[Float8], Timestamptz, |a, _| {
        let seconds = float(a, 0)?;
        if seconds.is_nan() {
            return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp cannot be NaN"));
        }
        if seconds.is_infinite() {
            return Ok(Datum::Timestamptz(if seconds > 0.0 {
                time::INFINITY
            } else {
                time::NEGATIVE_INFINITY
            }));
        }
        let micros = ((seconds - 946_684_800.0) * 1e6).round_ties_even();
        if micros.abs() >= 9.2e18 {
            let message = format!("timestamp out of range: \"{seconds}\"");
            return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, message));
        }
        Ok(Datum::Timestamptz(time::check_timestamp(micros as i64)?))
    });
    table.add("make_date", &[Int4, Int4, Int4], Date, |a, _| {
        let (year, month, day) = (integer(a, 0)?, integer(a, 1)?, integer(a, 2)?);
        date_of(year, month, day).map(Datum::Date)
    });
    table.add("make_timestamp", &[Int4, Int4, Int4, Int4, Int4, Float8], Timestamp, |a, _| {
        let days = date_of(integer(a, 0)?, integer(a, 1)?, integer(a, 2)?)?;
        let (hour, minute, second) = (integer(a, 3)?, integer(a, 4)?, float(a, 5)?);
        let valid = (0..=24).contains(&hour) && (0..60).contains(&minute) && (0.0..=60.0).contains(&second);
        let micros =
            ((hour * 60 + minute) * 60_000_000).saturating_add((second * 1e6).round_ties_even() as i64);
        if !valid || micros > 86_400_000_000 {
            let message = format!("time field value out of range: {hour}:{minute:02}:{second:02}");
            return Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, message));
        }
        let start = time::date_to_timestamp(days)?;
        Ok(Datum::Timestamp(time::check_timestamp(start.saturating_add(micros))?))
    });
    macro_rules! justify {
        ($($method:ident),*) => {
            $(table.add(stringify!($method), &[Span], Span, |a, _| match a.first() {
                Some(Datum::Interval(interval)) => {
                    let justified = interval.$method();
                    justified.map(Datum::Interval).ok_or_else(interval_out_of_range)
                }
                _ => Err(mismatch()),
            });)*
        };
    }
    justify!(justify_days, justify_hours, justify_interval);
    let fields = [Int4, Int4, Int4, Int4, Int4, Int4, Float8];
    for count in 0..=fields.len() {
        table.add("make_interval", fields.get(..count).unwrap_or_default(), Span, make_interval);
    }
}

fn interval_out_of_range() -> SqlError {
    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "interval out of range")
}

/// make_interval(years, months, weeks, days, hours, mins, secs), of which the last ones may be left out.
fn make_interval(a: &[Datum], _: &dyn Facts) -> Result<Datum> {
    let field = |at: usize| a.get(at).map_or(Ok(0), |_| integer(a, at));
    let months = field(0)? * 12 + field(1)?;
    let days = field(2)? * 7 + field(3)?;
    let seconds = a.get(6).map_or(Ok(0.0), |_| float(a, 6))?;
    let seconds = (seconds * 1e6).round_ties_even();
    if seconds.is_nan() || seconds.abs() > 9.0e18 {
        return Err(interval_out_of_range());
    }
    let micros = (field(4)? * 60 + field(5)?)
        .checked_mul(60_000_000)
        .and_then(|micros| micros.checked_add(seconds as i64))
        .ok_or_else(interval_out_of_range)?;
    let narrow = |value: i64| i32::try_from(value).map_err(|_| interval_out_of_range());
    Ok(Datum::Interval(Interval::new(narrow(months)?, narrow(days)?, micros)))
}

fn date_of(year: i64, month: i64, day: i64) -> Result<i32> {
    let invalid = || {
        let message = format!("date field value out of range: {year}-{month:02}-{day:02}");
        SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, message)
    };
    // A negative year counts before Christ; there is no year 0.
    let astronomical = match year {
        0 => return Err(invalid()),
        1.. => year,
        _ => year + 1,
    };
    let (Ok(month), Ok(day)) = (u32::try_from(month), u32::try_from(day)) else { return Err(invalid()) };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(invalid());
    }
    let days = time::days_from_civil(astronomical, month, day);
    let back: Civil = time::civil_from_days(days);
    if (back.year, back.month, back.day) != (astronomical, month, day) {
        return Err(invalid());
    }
    let days = i32::try_from(days).map_err(|_| invalid())?;
    Ok(time::check_date(days)?)
}
