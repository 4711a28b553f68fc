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

/// A session's way to read and write values. Dates are written in ISO style, intervals in PostgreSQL's.
#[derive(Clone, Debug)]
pub struct Style {
    /// TimeZone.
    pub zone: TimeZone,
    /// The order of day, month and year in ambiguous input.
    pub date_order: DateOrder,
    /// bytea_output.
    pub bytea_output: ByteaOutput,
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
            extra_float_digits: 1,
            now_micros: 0,
        }
    }
}
