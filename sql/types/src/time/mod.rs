//! Dates and times: the calendar, text forms, zones, and the arithmetic on them.
//!
//! Days count from 2000-01-01 in the proleptic Gregorian calendar, microseconds from its midnight, as in
//! PostgreSQL.

mod abbreviations;
mod arithmetic;
mod calendar;
mod decoder;
mod fields;
mod format;
mod from_char;
mod interval_fields;
mod interval_styles;
mod interval_text;
mod parse;
mod posix;
mod template;
mod to_char;
mod tokens;
mod words;
mod zone;

pub use abbreviations::{Abbreviation, abbreviations};
pub use arithmetic::{
    add_interval_to_timestamp, add_interval_to_timestamptz, age, date_from_timestamp, date_to_timestamp,
    divide_interval, multiply_interval, subtract_timestamps, timestamp_to_timestamptz,
    timestamptz_to_timestamp,
};
pub use calendar::{Civil, civil_from_days, days_from_civil};
pub use fields::{
    extract_from_date, extract_from_interval, extract_from_time, extract_from_timestamp, interval_part,
    truncate_interval, truncate_timestamp, truncate_timestamptz,
};
pub use format::{write_date, write_time, write_timestamp, write_timestamptz};
pub use from_char::{date_from_text, timestamp_from_text};
pub use interval_fields::IntervalFields;
pub use interval_styles::write_interval_in;
pub use interval_text::{parse_interval_in, parse_interval_of, write_interval};
pub use parse::{parse_date, parse_time, parse_timestamp, parse_timestamptz};
pub use to_char::to_char;
pub use zone::{
    Zone, abbreviation_at, is_summer_at, local_from_utc, named_zone, offset_seconds_at, parse_zone,
    utc_from_local, zone_of_name, zones,
};

use crate::error::{Error, Result};
pub(crate) use crate::interval::{MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND};
use sqlstate::SqlState;

/// The date before all others.
pub const DATE_NEGATIVE_INFINITY: i32 = i32::MIN;
/// The date after all others.
pub const DATE_INFINITY: i32 = i32::MAX;
/// The timestamp before all others.
pub const NEGATIVE_INFINITY: i64 = i64::MIN;
/// The timestamp after all others.
pub const INFINITY: i64 = i64::MAX;

/// 4714-11-24 BC, day 0 of the Julian count.
pub(crate) const FIRST_DAY: i32 = -2_451_545;
/// The day after the last date (5874898-06-03).
pub(crate) const END_DAY: i32 = 2_145_031_949;
const FIRST_TIMESTAMP: i64 = -211_813_488_000_000_000;
/// 294277-01-01, the first one that is too late.
const END_TIMESTAMP: i64 = 9_223_371_331_200_000_000;

/// Whether a date is -infinity or infinity.
pub const fn is_infinite_date(days: i32) -> bool {
    days == DATE_INFINITY || days == DATE_NEGATIVE_INFINITY
}
/// Whether a timestamp is -infinity or infinity.
pub const fn is_infinite(micros: i64) -> bool {
    micros == INFINITY || micros == NEGATIVE_INFINITY
}

pub(crate) const fn timestamp_in_range(micros: i64) -> bool {
    FIRST_TIMESTAMP <= micros && micros < END_TIMESTAMP
}
pub(crate) const fn date_in_range(days: i32) -> bool {
    FIRST_DAY <= days && days < END_DAY
}

#[cold]
pub(crate) fn overflow(what: &'static str) -> Error {
    Error::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("{what} out of range"))
}

/// Refuses a date that is neither in range nor infinite.
///
/// # Errors
///
/// 22008, as above.
pub fn check_date(days: i32) -> Result<i32> {
    if date_in_range(days) || is_infinite_date(days) { Ok(days) } else { Err(overflow("date")) }
}
/// Refuses a timestamp that is neither in range nor infinite.
///
/// # Errors
///
/// 22008, as above.
pub fn check_timestamp(micros: i64) -> Result<i64> {
    if timestamp_in_range(micros) || is_infinite(micros) { Ok(micros) } else { Err(overflow("timestamp")) }
}
/// Refuses a time outside of 00:00 to 24:00.
///
/// # Errors
///
/// 22008, as above.
pub fn check_time(micros: i64) -> Result<i64> {
    if (0..=MICROS_PER_DAY).contains(&micros) { Ok(micros) } else { Err(overflow("time")) }
}

/// Rounds to `digits` of a second's fraction, halves away from zero.
pub(crate) fn round_micros(micros: i64, digits: u32) -> i64 {
    let unit = 10i64.pow(6 - digits.min(6));
    let half = unit / 2;
    if micros >= 0 {
        micros.saturating_add(half) / unit * unit
    } else {
        -((-micros).saturating_add(half) / unit * unit)
    }
}
