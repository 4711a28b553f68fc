//! Intervals as the settings of IntervalStyle other than `postgres` write them.

use super::format::push_fraction;
use super::interval_text::write_interval;
use crate::interval::Interval;
use crate::style::IntervalStyle;
use std::fmt::Write as _;

/// An interval's fields, each with its sign.
#[derive(Clone, Copy)]
struct Fields {
    years: i64,
    months: i64,
    days: i64,
    hours: i64,
    minutes: i64,
    seconds: i64,
    micros: i64,
}

impl Fields {
    fn of(interval: Interval) -> Self {
        let seconds = interval.micros / 1_000_000;
        Self {
            years: i64::from(interval.months / 12),
            months: i64::from(interval.months % 12),
            days: i64::from(interval.days),
            hours: seconds / 3600,
            minutes: seconds / 60 % 60,
            seconds: seconds % 60,
            micros: interval.micros % 1_000_000,
        }
    }

    fn all(self) -> [i64; 7] {
        [self.years, self.months, self.days, self.hours, self.minutes, self.seconds, self.micros]
    }

    fn has_time(self) -> bool {
        self.all().iter().skip(3).any(|field| *field != 0)
    }

    fn time_is_negative(self) -> bool {
        self.all().iter().skip(3).any(|field| *field < 0)
    }

    fn push_seconds(self, padded: bool, out: &mut String) {
        let seconds = self.seconds.unsigned_abs();
        let _ = if padded { write!(out, "{seconds:02}") } else { write!(out, "{seconds}") };
        push_fraction(self.micros.abs(), out);
    }

    /// `hours:minutes:seconds` without a sign.
    fn push_clock(self, out: &mut String) {
        let _ = write!(out, "{}:{:02}:", self.hours.unsigned_abs(), self.minutes.unsigned_abs());
        self.push_seconds(true, out);
    }
}

/// Appends an interval in a style.
pub fn write_interval_in(style: IntervalStyle, interval: Interval, out: &mut String) {
    match style {
        IntervalStyle::Postgres => write_interval(interval, out),
        IntervalStyle::PostgresVerbose => write_verbose(Fields::of(interval), out),
        IntervalStyle::SqlStandard => write_standard(Fields::of(interval), out),
        IntervalStyle::Iso8601 => write_iso(Fields::of(interval), out),
    }
}

/// `@ 1 year 2 mons 3 days 4 hours 5 mins 6.7 secs ago`
fn write_verbose(fields: Fields, out: &mut String) {
    out.push('@');
    // The sign of the first field that is not zero.
    let ago = fields.all().iter().find(|field| **field != 0).is_some_and(|field| *field < 0);
    let mut empty = true;
    for (value, unit) in [
        (fields.years, "year"),
        (fields.months, "mon"),
        (fields.days, "day"),
        (fields.hours, "hour"),
        (fields.minutes, "min"),
    ] {
        if value != 0 {
            let value = if ago { -value } else { value };
            let _ = write!(out, " {value} {unit}{}", if value == 1 { "" } else { "s" });
            empty = false;
        }
    }
    if fields.seconds != 0 || fields.micros != 0 {
        out.push(' ');
        if (fields.seconds < 0 || fields.micros < 0) != ago {
            out.push('-');
        }
        fields.push_seconds(false, out);
        let one = fields.seconds.abs() == 1 && fields.micros == 0;
        out.push_str(if one { " sec" } else { " secs" });
        empty = false;
    }
    if empty {
        out.push_str(" 0");
    }
    if ago {
        out.push_str(" ago");
    }
}

/// `1-2`, `3 4:05:06`, or with a sign to each part where one for all would not do.
fn write_standard(mut fields: Fields, out: &mut String) {
    let negative = fields.all().iter().any(|field| *field < 0);
    let positive = fields.all().iter().any(|field| *field > 0);
    let has_months = fields.years != 0 || fields.months != 0;
    let has_days_or_time = fields.days != 0 || fields.has_time();
    if !negative && !positive {
        out.push('0');
        return;
    }
    let sign = |is_negative: bool| if is_negative { '-' } else { '+' };
    if (negative && positive) || (has_months && has_days_or_time) {
        let _ = write!(
            out,
            "{}{}-{} {}{} {}",
            sign(fields.years < 0 || fields.months < 0),
            fields.years.abs(),
            fields.months.abs(),
            sign(fields.days < 0),
            fields.days.abs(),
            sign(fields.time_is_negative())
        );
        return fields.push_clock(out);
    }
    if negative {
        out.push('-');
        fields.days = -fields.days;
    }
    if has_months {
        let _ = write!(out, "{}-{}", fields.years.abs(), fields.months.abs());
        return;
    }
    if fields.days != 0 {
        let _ = write!(out, "{} ", fields.days);
    }
    fields.push_clock(out);
}

/// `P1Y2M3DT4H5M6.7S`
fn write_iso(fields: Fields, out: &mut String) {
    if fields.all().iter().all(|field| *field == 0) {
        out.push_str("PT0S");
        return;
    }
    out.push('P');
    let part = |value: i64, unit: char, out: &mut String| {
        if value != 0 {
            let _ = write!(out, "{value}{unit}");
        }
    };
    part(fields.years, 'Y', out);
    part(fields.months, 'M', out);
    part(fields.days, 'D', out);
    if fields.has_time() {
        out.push('T');
    }
    part(fields.hours, 'H', out);
    part(fields.minutes, 'M', out);
    if fields.seconds != 0 || fields.micros != 0 {
        if fields.seconds < 0 || fields.micros < 0 {
            out.push('-');
        }
        fields.push_seconds(false, out);
        out.push('S');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::parse_interval_in;

    /// `set intervalstyle = ...; select interval ...` in PostgreSQL 15.
    #[test]
    fn each_style_writes_as_postgresql_does() {
        use IntervalStyle::{Iso8601, PostgresVerbose, SqlStandard};
        for (text, standard, iso, verbose) in [
            ("0", "0", "PT0S", "@ 0"),
            ("1 year 2 mons", "1-2", "P1Y2M", "@ 1 year 2 mons"),
            ("-1 year -2 mons", "-1-2", "P-1Y-2M", "@ 1 year 2 mons ago"),
            ("3 days 04:05:06.7", "3 4:05:06.7", "P3DT4H5M6.7S", "@ 3 days 4 hours 5 mins 6.7 secs"),
            ("-3 days -04:05:06", "-3 4:05:06", "P-3DT-4H-5M-6S", "@ 3 days 4 hours 5 mins 6 secs ago"),
            ("04:05:01", "4:05:01", "PT4H5M1S", "@ 4 hours 5 mins 1 sec"),
            ("-00:00:00.5", "-0:00:00.5", "PT-0.5S", "@ 0.5 secs ago"),
            ("1 year -3 days", "+1-0 -3 +0:00:00", "P1Y-3D", "@ 1 year -3 days"),
            (
                "1 year 2 mons -3 days +04:05:06",
                "+1-2 -3 +4:05:06",
                "P1Y2M-3DT4H5M6S",
                "@ 1 year 2 mons -3 days 4 hours 5 mins 6 secs",
            ),
            ("-1 days +02:03:04", "+0-0 -1 +2:03:04", "P-1DT2H3M4S", "@ 1 day -2 hours -3 mins -4 secs ago"),
        ] {
            let interval = parse_interval_in(IntervalStyle::Postgres, text).unwrap();
            let written = |style| {
                let mut out = String::new();
                write_interval_in(style, interval, &mut out);
                out
            };
            assert_eq!(written(SqlStandard), standard, "{text}");
            assert_eq!(written(Iso8601), iso, "{text}");
            assert_eq!(written(PostgresVerbose), verbose, "{text}");
        }
    }

    #[test]
    fn a_sign_at_the_front_is_every_fields_in_the_standards_style() {
        let read = |style, text| parse_interval_in(style, text).unwrap();
        let parts = |interval: Interval| (interval.months, interval.days, interval.micros);
        let all = Interval { months: 0, days: -1, micros: -7_384_000_000 };
        assert_eq!(parts(read(IntervalStyle::SqlStandard, "-1 2:03:04")), parts(all));
        assert_eq!(
            parts(read(IntervalStyle::Postgres, "-1 2:03:04")),
            parts(Interval { micros: 7_384_000_000, ..all })
        );
        assert_eq!(
            parts(read(IntervalStyle::SqlStandard, "-1 +2:03:04")),
            parts(Interval { micros: 7_384_000_000, ..all })
        );
    }
}
