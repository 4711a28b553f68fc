//! Dates and times as text.

use crate::error::{Error, Result, SqlState};
use crate::interval::Interval;
use crate::style::Style;

fn absent() -> Error {
    Error::new(SqlState::FEATURE_NOT_SUPPORTED, "text input of dates and times is not supported yet")
}
/// Reads a date.
pub fn parse_date(_text: &str, _style: &Style) -> Result<i32> {
    Err(absent())
}
/// Reads a time.
pub fn parse_time(_text: &str, _style: &Style) -> Result<i64> {
    Err(absent())
}
/// Reads a timestamp.
pub fn parse_timestamp(_text: &str, _style: &Style) -> Result<i64> {
    Err(absent())
}
/// Reads a timestamptz.
pub fn parse_timestamptz(_text: &str, _style: &Style) -> Result<i64> {
    Err(absent())
}
/// Reads an interval.
pub fn parse_interval(_text: &str) -> Result<Interval> {
    Err(absent())
}
/// Appends an interval.
pub fn write_interval(interval: Interval, out: &mut String) {
    out.push_str(&format!("{} mons {} days {} us", interval.months, interval.days, interval.micros));
}
