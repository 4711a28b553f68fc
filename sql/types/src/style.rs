//! What the text form of a value depends on besides the value.

use jiff::tz::TimeZone;

/// How bytea is printed (bytea_output).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ByteaOutput {
    /// `\x` and hexadecimal digits.
    #[default]
    Hex,
    /// Printable bytes as they are, others as `\ooo`.
    Escape,
}

/// How a date like 1/2/2003 is read (the second half of DateStyle).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DateOrder {
    /// Month, day, year.
    #[default]
    Mdy,
    /// Day, month, year.
    Dmy,
    /// Year, month, day.
    Ymd,
}

/// How an interval is printed (IntervalStyle).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IntervalStyle {
    /// `1 day 02:03:04`
    #[default]
    Postgres,
    /// `@ 1 day 2 hours 3 mins 4 secs`
    PostgresVerbose,
    /// `1 2:03:04`
    SqlStandard,
    /// `P1DT2H3M4S`
    Iso8601,
}

/// A session's way to read and write values. Dates are written in ISO style.
#[derive(Clone, Debug)]
pub struct Style {
    /// TimeZone.
    pub zone: TimeZone,
    /// The order of day, month and year in ambiguous input.
    pub date_order: DateOrder,
    /// bytea_output.
    pub bytea_output: ByteaOutput,
    /// IntervalStyle.
    pub interval_style: IntervalStyle,
    /// array_nulls: an unquoted NULL in an array's text is a null value.
    pub array_nulls: bool,
    /// extra_float_digits: 1 and above print the shortest text that reads back as the same float.
    pub extra_float_digits: i32,
    /// The transaction's start in microseconds since 2000-01-01 UTC: what `now` and `today` mean as input.
    pub now_micros: i64,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            zone: TimeZone::UTC,
            date_order: DateOrder::Mdy,
            bytea_output: ByteaOutput::Hex,
            interval_style: IntervalStyle::Postgres,
            array_nulls: true,
            extra_float_digits: 1,
            now_micros: 0,
        }
    }
}
