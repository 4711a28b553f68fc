//! Dates and times in ISO style.

use super::calendar::{Civil, civil_from_days, civil_from_micros};
use super::zone::offset_seconds_at;
use super::{DATE_INFINITY, DATE_NEGATIVE_INFINITY, INFINITY, MICROS_PER_SECOND, NEGATIVE_INFINITY};
use jiff::tz::TimeZone;
use std::fmt::Write as _;

fn push_date(civil: Civil, out: &mut String) {
    let shown = if civil.year > 0 { civil.year } else { 1 - civil.year };
    let _ = write!(out, "{shown:04}-{:02}-{:02}", civil.month, civil.day);
}

fn push_era(civil: Civil, out: &mut String) {
    if civil.year <= 0 {
        out.push_str(" BC");
    }
}

/// The fraction of a second without trailing zeros, with its point.
pub(super) fn push_fraction(micros: i64, out: &mut String) {
    let fraction = micros % MICROS_PER_SECOND;
    if fraction != 0 {
        let digits = format!("{fraction:06}");
        out.push('.');
        out.push_str(digits.trim_end_matches('0'));
    }
}

fn push_time(micros: i64, out: &mut String) {
    let seconds = micros / MICROS_PER_SECOND;
    let _ = write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    push_fraction(micros, out);
}

/// Appends a date: `2000-01-02`, `0044-03-15 BC`, `infinity`.
pub fn write_date(days: i32, out: &mut String) {
    match days {
        DATE_INFINITY => out.push_str("infinity"),
        DATE_NEGATIVE_INFINITY => out.push_str("-infinity"),
        _ => {
            let civil = civil_from_days(i64::from(days));
            push_date(civil, out);
            push_era(civil, out);
        }
    }
}

/// Appends a time of day: `04:05:06.789`.
pub fn write_time(micros: i64, out: &mut String) {
    push_time(micros, out);
}

/// Appends a timestamp: `2000-01-02 04:05:06.789`.
pub fn write_timestamp(micros: i64, out: &mut String) {
    if !push_infinity(micros, out) {
        let civil = civil_from_micros(micros);
        push_date(civil, out);
        out.push(' ');
        push_time(civil.micros, out);
        push_era(civil, out);
    }
}

/// Appends a timestamp in a zone: `2000-01-02 04:05:06.789+02`.
pub fn write_timestamptz(micros: i64, zone: &TimeZone, out: &mut String) {
    if push_infinity(micros, out) {
        return;
    }
    let offset = offset_seconds_at(micros, zone);
    let civil = civil_from_micros(micros.saturating_add(i64::from(offset) * MICROS_PER_SECOND));
    push_date(civil, out);
    out.push(' ');
    push_time(civil.micros, out);
    push_offset(offset, out);
    push_era(civil, out);
}

/// `+02`, `-03:30`, `+00:19:32`.
pub(super) fn push_offset(offset: i32, out: &mut String) {
    out.push(if offset < 0 { '-' } else { '+' });
    let offset = offset.abs();
    let (hours, minutes, seconds) = (offset / 3600, offset / 60 % 60, offset % 60);
    let _ = write!(out, "{hours:02}");
    if minutes != 0 || seconds != 0 {
        let _ = write!(out, ":{minutes:02}");
    }
    if seconds != 0 {
        let _ = write!(out, ":{seconds:02}");
    }
}

fn push_infinity(micros: i64, out: &mut String) -> bool {
    match micros {
        INFINITY => out.push_str("infinity"),
        NEGATIVE_INFINITY => out.push_str("-infinity"),
        _ => return false,
    }
    true
}
