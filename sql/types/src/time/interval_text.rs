//! Intervals as text: PostgreSQL's own style, ISO 8601's, and SQL's year-month and day-time forms as input.

use super::format::push_fraction;
use super::interval_fields::IntervalFields;
use super::tokens::{Token, fraction_micros, tokens};
use super::words::{self, Unit};
use super::{MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND};
use crate::error::{Error, Result};
use crate::interval::Interval;
use crate::style::IntervalStyle;
use sqlstate::SqlState;
use std::fmt::Write as _;

enum Refused {
    Syntax,
    Range,
    /// Each field fits, their sum does not.
    Total,
}

type Read<T> = std::result::Result<T, Refused>;

/// Reads an interval. In the SQL standard's style a sign at the front alone is every field's.
///
/// # Errors
///
/// 22007, 22008 or 22015 if the text is no interval.
pub fn parse_interval_in(style: IntervalStyle, text: &str) -> Result<Interval> {
    parse_interval_of(style, None, text)
}

/// Reads an interval that may be limited to some fields.
///
/// # Errors
///
/// 22007, 22008 or 22015 if the text is no interval.
pub fn parse_interval_of(
    style: IntervalStyle,
    fields: Option<IntervalFields>,
    text: &str,
) -> Result<Interval> {
    let read = match parse_words(text, style == IntervalStyle::SqlStandard, fields) {
        Err(Refused::Syntax) => parse_iso(text),
        read => read,
    };
    let limited = read.map(|interval| fields.map_or(interval, |fields| fields.limit(interval)));
    limited.map_err(|refused| match refused {
        Refused::Syntax => Error::new(
            SqlState::INVALID_DATETIME_FORMAT,
            format!("invalid input syntax for type interval: \"{text}\""),
        ),
        Refused::Range => Error::new(
            SqlState::INTERVAL_FIELD_OVERFLOW,
            format!("interval field value out of range: \"{text}\""),
        ),
        Refused::Total => super::overflow("interval"),
    })
}

/// A number as written: its whole part, and a fraction of the same sign.
#[derive(Clone, Copy)]
struct Number {
    whole: i64,
    fraction: f64,
}

impl Number {
    fn map(self, change: impl Fn(i64) -> Option<i64>, fraction: impl Fn(f64) -> f64) -> Read<Self> {
        Ok(Self { whole: change(self.whole).ok_or(Refused::Range)?, fraction: fraction(self.fraction) })
    }
    /// With a minus, whatever the sign was.
    fn negative(self) -> Read<Self> {
        self.map(|whole| Some(if whole > 0 { -whole } else { whole }), |fraction| -fraction.abs())
    }
}

/// The integer at the front, with a sign or without, and what stands behind it.
fn integer(text: &str) -> Read<(i64, &str)> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let behind = digits.trim_start_matches(|c: char| c.is_ascii_digit());
    if behind.len() == digits.len() {
        return Ok((0, behind));
    }
    let number = text.get(..text.len() - behind.len()).unwrap_or_default();
    Ok((number.parse().map_err(|_| Refused::Range)?, behind))
}

#[derive(Default)]
struct Sum {
    months: Months,
    days: i32,
    micros: i64,
    used: u32,
}

#[derive(Default)]
struct Months {
    years: i32,
    months: i32,
}

/// Adds a number of units to a field.
fn add_to(field: &mut i32, number: i64, units: i32) -> Read<()> {
    let all = i32::try_from(number).ok().and_then(|number| number.checked_mul(units));
    *field = all.and_then(|all| field.checked_add(all)).ok_or(Refused::Range)?;
    Ok(())
}

impl Sum {
    fn add_micros(&mut self, micros: i64) -> Read<()> {
        self.micros = self.micros.checked_add(micros).ok_or(Refused::Range)?;
        Ok(())
    }
    fn add_time(&mut self, number: Number, unit_micros: i64) -> Read<()> {
        self.add_micros(number.whole.checked_mul(unit_micros).ok_or(Refused::Range)?)?;
        self.add_fraction(number.fraction, unit_micros)
    }
    fn add_fraction(&mut self, fraction: f64, unit_micros: i64) -> Read<()> {
        let exact = fraction * unit_micros as f64;
        // Halves of a microsecond are dropped.
        let rest = exact - exact.trunc();
        self.add_micros(exact.trunc() as i64 + i64::from(rest > 0.5) - i64::from(rest < -0.5))
    }
    /// Days; of a fraction of them whole days, and the rest as time.
    fn add_days(&mut self, number: Number, unit_days: i32) -> Read<()> {
        add_to(&mut self.days, number.whole, unit_days)?;
        self.add_day_fraction(number.fraction, unit_days)
    }
    fn add_day_fraction(&mut self, fraction: f64, unit_days: i32) -> Read<()> {
        let days = fraction * f64::from(unit_days);
        add_to(&mut self.days, days.trunc() as i64, 1)?;
        self.add_fraction(days - days.trunc(), MICROS_PER_DAY)
    }
    fn add_months(&mut self, number: Number) -> Read<()> {
        add_to(&mut self.months.months, number.whole, 1)?;
        self.add_day_fraction(number.fraction, 30)
    }
    /// Fractions of years round to months.
    fn add_years(&mut self, number: Number, unit_years: i32) -> Read<()> {
        add_to(&mut self.months.years, number.whole, unit_years)?;
        let months = number.fraction * f64::from(unit_years) * 12.0;
        add_to(&mut self.months.months, months.round_ties_even() as i64, 1)
    }
    fn add(&mut self, number: Number, unit: Unit) -> Read<()> {
        match unit {
            Unit::Microsecond => self.add_time(number, 1),
            Unit::Millisecond => self.add_time(number, 1000),
            Unit::Second => self.add_time(number, MICROS_PER_SECOND),
            Unit::Minute => self.add_time(number, MICROS_PER_MINUTE),
            Unit::Hour => self.add_time(number, MICROS_PER_HOUR),
            Unit::Day => self.add_days(number, 1),
            Unit::Week => self.add_days(number, 7),
            Unit::Month => self.add_months(number),
            Unit::Year => self.add_years(number, 1),
            Unit::Decade => self.add_years(number, 10),
            Unit::Century => self.add_years(number, 100),
            Unit::Millennium => self.add_years(number, 1000),
            _ => Err(Refused::Syntax),
        }
    }
    /// Notes that there are these fields, each of which may stand once.
    fn note(&mut self, fields: u32) -> Read<()> {
        if self.used & fields != 0 {
            return Err(Refused::Syntax);
        }
        self.used |= fields;
        Ok(())
    }
    fn finish(self) -> Read<Interval> {
        let total = i64::from(self.months.years) * 12 + i64::from(self.months.months);
        let months = i32::try_from(total).map_err(|_| Refused::Total)?;
        Ok(Interval { months, days: self.days, micros: self.micros })
    }
}

const fn bit(unit: Unit) -> u32 {
    1 << unit as u32
}

/// The fields that a fraction of seconds fills.
const ALL_SECONDS: u32 = bit(Unit::Second) | bit(Unit::Millisecond) | bit(Unit::Microsecond);
const CLOCK: u32 = bit(Unit::Hour) | bit(Unit::Minute) | ALL_SECONDS;

/// `h:m[:s[.f]]`, `m:s.f`, or `m:s` of MINUTE TO SECOND, in microseconds.
fn clock(text: &str, fields: Option<IntervalFields>) -> Read<i64> {
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, rest)| (whole, Some(rest)));
    let number = |part: &str| match integer(part)? {
        (number, "") => Ok(number),
        _ => Err(Refused::Syntax),
    };
    let parts = whole.split(':').map(number).collect::<Read<Vec<i64>>>()?;
    let ends_in_seconds = fraction.is_some() || fields == Some(IntervalFields::MinuteToSecond);
    let (hours, minutes, seconds) = match (parts.as_slice(), ends_in_seconds) {
        ([minutes, seconds], true) => (0, *minutes, *seconds),
        ([hours, minutes], false) => (*hours, *minutes, 0),
        ([hours, minutes, seconds], _) => (*hours, *minutes, *seconds),
        _ => return Err(Refused::Syntax),
    };
    if hours < 0 || !(0..=59).contains(&minutes) || !(0..=60).contains(&seconds) {
        return Err(Refused::Range);
    }
    let fraction = fraction.map_or(Some(0), fraction_micros).ok_or(Refused::Syntax)?;
    let rest = minutes * MICROS_PER_MINUTE + seconds * MICROS_PER_SECOND + fraction;
    hours.checked_mul(MICROS_PER_HOUR).and_then(|micros| micros.checked_add(rest)).ok_or(Refused::Range)
}

/// What stands before a unit: a number, or `years-months`, which is a number of months.
fn quantity(text: &str) -> Read<(Number, bool)> {
    let negative = text.starts_with('-');
    let (whole, rest) = integer(text)?;
    if rest.is_empty() {
        return Ok((Number { whole, fraction: 0.0 }, false));
    }
    if let Some(months) = rest.strip_prefix('-') {
        let (months, rest) = integer(months)?;
        if !(0..12).contains(&months) {
            return Err(Refused::Range);
        }
        if !rest.is_empty() {
            return Err(Refused::Syntax);
        }
        let months = if negative { -months } else { months };
        let all = whole.checked_mul(12).and_then(|all| all.checked_add(months)).ok_or(Refused::Range)?;
        return Ok((Number { whole: all, fraction: 0.0 }, true));
    }
    let digits = rest.strip_prefix('.').ok_or(Refused::Syntax)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refused::Syntax);
    }
    let fraction: f64 = if digits.is_empty() { 0.0 } else { rest.parse().map_err(|_| Refused::Syntax)? };
    Ok((Number { whole, fraction: if negative { -fraction } else { fraction } }, false))
}

/// Goes from the last field to the first, since units stand behind their numbers.
fn parse_words(text: &str, standard: bool, limit: Option<IntervalFields>) -> Read<Interval> {
    let fields = tokens(text).map_err(|_| Refused::Syntax)?;
    let signed = |token: &Token| matches!(token, Token::Offset(_) | Token::Signed(..));
    let minus = |token: &Token| matches!(token, Token::Offset(text) if text.starts_with('-'));
    let all_negative = standard && fields.first().is_some_and(minus) && !fields.iter().skip(1).any(signed);
    let mut sum = Sum::default();
    // Numbers at the end without a unit are seconds, or of the last field that there may be.
    let mut unit = Some(limit.map_or(Unit::Second, IntervalFields::last));
    let mut ago = false;
    for field in fields.iter().rev() {
        let (Token::Number(text) | Token::Date(text) | Token::Time(text) | Token::Offset(text)) = field
        else {
            unit = match field {
                Token::Word(word) if word == "ago" => {
                    ago = true;
                    None
                }
                Token::Word(word) => Some(words::unit(word).ok_or(Refused::Syntax)?),
                _ => return Err(Refused::Syntax),
            };
            continue;
        };
        let time = match field {
            Token::Time(text) => Some(clock(text, limit)?),
            Token::Offset(text) => {
                let (sign, unsigned) = text.split_at(1);
                let micros = if unsigned.contains(':') { clock(unsigned, limit).ok() } else { None };
                micros.map(|micros| if sign == "-" { -micros } else { micros })
            }
            _ => None,
        };
        if let Some(micros) = time {
            sum.note(CLOCK)?;
            // As in PostgreSQL it takes the place of fractions of what stands behind it.
            sum.micros = if all_negative { -micros.abs() } else { micros };
            // A bare number before a time counts days.
            unit = Some(Unit::Day);
            continue;
        }
        let (number, is_months) = quantity(text)?;
        let number = if all_negative { number.negative()? } else { number };
        let counted = if is_months { Unit::Month } else { unit.ok_or(Refused::Syntax)? };
        unit = Some(if counted == Unit::Hour { Unit::Day } else { counted });
        let has_fraction = counted == Unit::Second && number.fraction != 0.0;
        sum.add(number, counted)?;
        sum.note(if has_fraction { ALL_SECONDS } else { bit(counted) })?;
    }
    if sum.used == 0 {
        return Err(Refused::Syntax);
    }
    let interval = sum.finish()?;
    if ago { interval.negate().ok_or(Refused::Range) } else { Ok(interval) }
}

/// The most that a number of ISO 8601's form is.
const ISO_NUMBER_MAX: f64 = 1e15;

/// Takes what stands in one of ISO 8601's forms apart.
struct Iso<'a> {
    rest: &'a str,
    sum: Sum,
    in_time: bool,
    /// Whether the date or the time has a field already.
    has_field: bool,
}

impl Iso<'_> {
    fn number(&mut self) -> Read<Number> {
        let unsigned = self.rest.strip_prefix('-').unwrap_or(self.rest);
        let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let whole = digits(unsigned);
        let point = unsigned.get(whole..).and_then(|rest| rest.strip_prefix('.'));
        let fraction = point.map_or(0, digits);
        if whole + fraction == 0 {
            return Err(Refused::Syntax);
        }
        let mut end = self.rest.len() - unsigned.len() + whole + point.map_or(0, |_| 1 + fraction);
        let exponent = self.rest.get(end..).and_then(|rest| rest.strip_prefix(['e', 'E']));
        let signed = exponent.map(|rest| rest.strip_prefix(['+', '-']).unwrap_or(rest));
        if let (Some(exponent), Some(power)) = (exponent, signed.map(digits).filter(|power| *power > 0)) {
            end += 1 + exponent.len() - signed.map_or(0, str::len) + power;
        }
        let (number, behind) = self.rest.split_at_checked(end).ok_or(Refused::Syntax)?;
        let value: f64 = number.parse().map_err(|_| Refused::Syntax)?;
        if value.abs() > ISO_NUMBER_MAX {
            return Err(if value.is_infinite() { Refused::Syntax } else { Refused::Range });
        }
        self.rest = behind;
        Ok(Number { whole: value.trunc() as i64, fraction: value.fract() })
    }

    /// The digits that a number begins with.
    fn width(&self) -> usize {
        let unsigned = self.rest.strip_prefix('-').unwrap_or(self.rest);
        unsigned.len() - unsigned.trim_start_matches(|c: char| c.is_ascii_digit()).len()
    }

    fn letter(&mut self) -> Option<char> {
        let mut rest = self.rest.chars();
        let letter = rest.next();
        self.rest = rest.as_str();
        letter
    }

    fn time_begins(&mut self) {
        self.in_time = true;
        self.has_field = false;
    }

    /// A number with its letter, or all of a form without letters. False where the text has ended.
    fn field(&mut self) -> Read<bool> {
        let width = self.width();
        let number = self.number()?;
        let letter = self.letter();
        let unit = match (letter, self.in_time) {
            (Some('Y'), false) => Unit::Year,
            (Some('M'), false) => Unit::Month,
            (Some('W'), false) => Unit::Week,
            (Some('D'), false) => Unit::Day,
            (Some('H'), true) => Unit::Hour,
            (Some('M'), true) => Unit::Minute,
            (Some('S'), true) => Unit::Second,
            (None | Some('T' | '-'), false) => return self.plain_date(number, width, letter),
            (None | Some(':'), true) => return self.plain_time(number, width, letter),
            _ => return Err(Refused::Syntax),
        };
        self.sum.add(number, unit)?;
        self.has_field = true;
        Ok(true)
    }

    /// `yyyymmdd`, or `years-months-days` as far as it goes.
    fn plain_date(&mut self, number: Number, width: usize, letter: Option<char>) -> Read<bool> {
        let whole = |whole: i64| Number { whole, fraction: 0.0 };
        if self.has_field {
            return Err(Refused::Syntax);
        }
        if width == 8 && letter != Some('-') {
            self.sum.add(whole(number.whole / 10_000), Unit::Year)?;
            self.sum.add(whole(number.whole / 100 % 100), Unit::Month)?;
            self.sum.add(Number { whole: number.whole % 100, ..number }, Unit::Day)?;
        } else {
            self.sum.add(number, Unit::Year)?;
            if letter == Some('-') {
                let months = self.number()?;
                self.sum.add(months, Unit::Month)?;
                if self.rest.starts_with('-') {
                    self.letter();
                    let days = self.number()?;
                    self.sum.add(days, Unit::Day)?;
                }
                return match self.letter() {
                    None => Ok(false),
                    Some('T') => {
                        self.time_begins();
                        Ok(true)
                    }
                    Some(_) => Err(Refused::Syntax),
                };
            }
        }
        self.time_begins();
        Ok(letter.is_some())
    }

    /// `hhmmss`, or `hours:minutes:seconds` as far as it goes.
    fn plain_time(&mut self, number: Number, width: usize, letter: Option<char>) -> Read<bool> {
        let whole = |whole: i64| Number { whole, fraction: 0.0 };
        if self.has_field {
            return Err(Refused::Syntax);
        }
        if width == 6 && letter.is_none() {
            self.sum.add(whole(number.whole / 10_000), Unit::Hour)?;
            self.sum.add(whole(number.whole / 100 % 100), Unit::Minute)?;
            self.sum.add(whole(number.whole % 100), Unit::Second)?;
            // A fraction counts as one of a microsecond here, in PostgreSQL, too.
            self.sum.add_fraction(number.fraction, 1)?;
            return Ok(false);
        }
        self.sum.add(number, Unit::Hour)?;
        let mut separator = letter;
        for unit in [Unit::Minute, Unit::Second] {
            match separator {
                None => return Ok(false),
                Some(':') => {}
                Some(_) => return Err(Refused::Syntax),
            }
            let number = self.number()?;
            self.sum.add(number, unit)?;
            separator = self.letter();
        }
        if separator.is_none() { Ok(false) } else { Err(Refused::Syntax) }
    }
}

/// `P1Y2M3DT4H5M6.7S`, `P3W`, `P0001-02-03T04:05:06` or `P00010203T040506`.
fn parse_iso(text: &str) -> Read<Interval> {
    let rest = text.strip_prefix('P').filter(|rest| !rest.is_empty()).ok_or(Refused::Syntax)?;
    let mut iso = Iso { rest, sum: Sum::default(), in_time: false, has_field: false };
    while !iso.rest.is_empty() {
        if iso.rest.starts_with('T') {
            iso.letter();
            iso.time_begins();
        } else if !iso.field()? {
            break;
        }
    }
    iso.sum.finish()
}

/// Appends an interval: `1 year 2 mons -3 days +04:05:06.7`.
pub fn write_interval(interval: Interval, out: &mut String) {
    let start = out.len();
    let mut after_negative = false;
    let (years, months) = (interval.months / 12, interval.months % 12);
    for (value, unit) in [(years, "year"), (months, "mon"), (interval.days, "day")] {
        if value == 0 {
            continue;
        }
        if out.len() > start {
            out.push(' ');
        }
        if after_negative && value > 0 {
            out.push('+');
        }
        let _ = write!(out, "{value} {unit}{}", if value == 1 { "" } else { "s" });
        after_negative = value < 0;
    }
    if interval.micros == 0 && out.len() > start {
        return;
    }
    if out.len() > start {
        out.push(' ');
    }
    if interval.micros < 0 {
        out.push('-');
    } else if after_negative {
        out.push('+');
    }
    let micros = interval.micros.unsigned_abs();
    let seconds = micros / MICROS_PER_SECOND as u64;
    let _ = write!(out, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    push_fraction((micros % MICROS_PER_SECOND as u64) as i64, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(style: IntervalStyle, text: &str) -> std::result::Result<String, String> {
        let interval = parse_interval_in(style, text).map_err(|error| error.state().as_str().to_owned())?;
        let mut out = String::new();
        write_interval(interval, &mut out);
        Ok(out)
    }

    /// `SELECT interval '...'` in PostgreSQL 15.
    #[test]
    fn texts_are_read_as_postgresql_reads_them() {
        for (text, expected) in [
            ("1 day ago 2 hours", Ok("-1 days -02:00:00")),
            ("1 ago", Err("22007")),
            ("1 day1", Err("22007")),
            ("1y 2mons3days", Err("22007")),
            ("1 mon2 day", Ok("1 mon 2 days")),
            ("1 h2", Ok("01:00:02")),
            ("1 microsecondsfoo", Ok("00:00:00.000001")),
            ("1.5 s 3 ms", Err("22007")),
            ("1 s 3 ms", Ok("00:00:01.003")),
            ("1 hour 02:03", Err("22007")),
            ("-9223372036854775808 us", Ok("-2562047788:00:54.775808")),
            ("9223372036854775808 us", Err("22015")),
            ("-1-2 3 4:05:06", Ok("-1 years -2 mons +3 days 04:05:06")),
            ("1-12", Err("22015")),
            ("1:00 1.5 days", Ok("1 day 01:00:00")),
            ("1.5 days 1:00", Ok("1 day 13:00:00")),
            ("P1", Ok("1 year")),
            ("P1Y1Y", Ok("2 years")),
            ("P00010203T040506", Ok("1 year 2 mons 3 days 04:05:06")),
            ("P0001-02-03T04:05", Ok("1 year 2 mons 3 days 04:05:00")),
            ("P1e2D", Ok("100 days")),
            ("P1e16D", Err("22015")),
            ("PT1:2:3:4", Err("22007")),
            ("PT1:2-3", Err("22007")),
            ("P1Y5", Err("22007")),
            ("P", Err("22007")),
            ("PT", Ok("00:00:00")),
            ("", Err("22007")),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(read(IntervalStyle::Postgres, text), expected, "{text}");
        }
    }

    #[test]
    fn one_sign_at_the_front_is_for_all_in_the_standards_style() {
        for (text, expected) in [
            ("-1-2 3 4:05:06", "-1 years -2 mons -3 days -04:05:06"),
            ("-1-2 +3 4:05:06", "-1 years -2 mons +3 days 04:05:06"),
            ("-1 day 2 hours ago", "1 day 02:00:00"),
            ("- 1.5 hours 2 min", "-01:32:00"),
        ] {
            assert_eq!(read(IntervalStyle::SqlStandard, text).as_deref(), Ok(expected), "{text}");
        }
    }
}
