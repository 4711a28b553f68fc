//! Intervals as text: PostgreSQL's own style, ISO 8601's, and SQL's year-month and day-time forms as input.

use super::format::push_fraction;
use super::parse::fraction_micros;
use super::words::{self, Unit};
use super::{MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND};
use crate::error::{Error, Result};
use crate::integer::{is_space, trim};
use crate::interval::Interval;
use sqlstate::SqlState;
use std::fmt::Write as _;

enum Refused {
    Syntax,
    Range,
    /// Each field fits, their sum does not.
    Total,
}

type Read<T> = std::result::Result<T, Refused>;

/// Reads an interval.
///
/// # Errors
///
/// 22007, 22008 or 22015 if the text is no interval.
pub fn parse_interval(text: &str) -> Result<Interval> {
    let trimmed = trim(text);
    let read = match trimmed.strip_prefix('P') {
        Some(iso) => parse_iso(iso),
        None => parse_words(trimmed),
    };
    read.map_err(|refused| match refused {
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

/// A number as written: sign, whole part, fraction.
#[derive(Clone, Copy)]
struct Number {
    negative: bool,
    whole: i64,
    /// 0 or more, below 1.
    fraction: f64,
}

impl Number {
    fn parse(text: &str) -> Read<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !plain(whole) || !plain(fraction) {
            return Err(Refused::Syntax);
        }
        let parsed = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| Refused::Range)? };
        let part = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().unwrap_or(0.0) };
        Ok(Self { negative, whole: parsed, fraction: part })
    }
    fn signed(self) -> i64 {
        if self.negative { -self.whole } else { self.whole }
    }
    fn sign(self) -> f64 {
        if self.negative { -1.0 } else { 1.0 }
    }
}

#[derive(Default)]
struct Sum {
    years: i64,
    months: i64,
    days: i64,
    micros: i64,
    used: u32,
}

impl Sum {
    fn add_micros(&mut self, micros: i64) -> Read<()> {
        self.micros = self.micros.checked_add(micros).ok_or(Refused::Range)?;
        Ok(())
    }
    fn add_time(&mut self, number: Number, unit_micros: i64) -> Read<()> {
        let whole = number.signed().checked_mul(unit_micros).ok_or(Refused::Range)?;
        self.add_micros(whole)?;
        self.add_fraction(number.fraction * number.sign(), unit_micros)
    }
    fn add_fraction(&mut self, fraction: f64, unit_micros: i64) -> Read<()> {
        let exact = fraction * unit_micros as f64;
        // Halves of a microsecond are dropped.
        let rest = exact - exact.trunc();
        self.add_micros(exact.trunc() as i64 + i64::from(rest > 0.5) - i64::from(rest < -0.5))
    }
    fn add_days(&mut self, days: i64, fraction: f64) -> Read<()> {
        self.days = self.days.checked_add(days).ok_or(Refused::Range)?;
        self.add_fraction(fraction, MICROS_PER_DAY)
    }
    /// A fraction of `unit_days`: whole days, and the rest as time.
    fn add_day_fraction(&mut self, fraction: f64, unit_days: f64) -> Read<()> {
        let days = fraction * unit_days;
        self.add_days(days.trunc() as i64, days - days.trunc())
    }
    fn add_months(&mut self, number: Number) -> Read<()> {
        self.months = self.months.checked_add(number.signed()).ok_or(Refused::Range)?;
        self.add_day_fraction(number.fraction * number.sign(), 30.0)
    }
    /// Fractions of years round to months.
    fn add_years(&mut self, number: Number, unit_years: i64) -> Read<()> {
        let years = number.signed().checked_mul(unit_years).ok_or(Refused::Range)?;
        self.years = self.years.checked_add(years).ok_or(Refused::Range)?;
        self.months += (number.fraction * number.sign() * unit_years as f64 * 12.0).round_ties_even() as i64;
        Ok(())
    }
    fn add(&mut self, number: Number, unit: Unit) -> Read<()> {
        let bit = 1 << unit as u32;
        // Seconds, milliseconds and microseconds go together; anything else may stand once.
        if self.used & bit != 0 {
            return Err(Refused::Syntax);
        }
        self.used |= bit;
        match unit {
            Unit::Microsecond => {
                self.add_micros(number.signed())?;
                self.add_fraction(number.fraction * number.sign(), 1)
            }
            Unit::Millisecond => self.add_time(number, 1000),
            Unit::Second => self.add_time(number, MICROS_PER_SECOND),
            Unit::Minute => self.add_time(number, MICROS_PER_MINUTE),
            Unit::Hour => self.add_time(number, MICROS_PER_HOUR),
            Unit::Day => self.add_days(number.signed(), number.fraction * number.sign()),
            Unit::Week => {
                self.days = number
                    .signed()
                    .checked_mul(7)
                    .and_then(|days| self.days.checked_add(days))
                    .ok_or(Refused::Range)?;
                self.add_day_fraction(number.fraction * number.sign(), 7.0)
            }
            Unit::Month => self.add_months(number),
            Unit::Year => self.add_years(number, 1),
            Unit::Decade => self.add_years(number, 10),
            Unit::Century => self.add_years(number, 100),
            Unit::Millennium => self.add_years(number, 1000),
            _ => Err(Refused::Syntax),
        }
    }
    fn finish(self) -> Read<Interval> {
        let narrow = |value: i64| i32::try_from(value).map_err(|_| Refused::Range);
        let (years, months) = (narrow(self.years)?, narrow(self.months)?);
        let total = i64::from(years) * 12 + i64::from(months);
        let months = i32::try_from(total).map_err(|_| Refused::Total)?;
        Ok(Interval { months, days: narrow(self.days)?, micros: self.micros })
    }
}

/// `[-+]h:m[:s[.f]]` or `[-+]m:s.f`, in microseconds.
fn clock(text: &str) -> Read<i64> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) =
        unsigned.split_once('.').map_or((unsigned, None), |(whole, rest)| (whole, Some(rest)));
    let number = |part: &str| {
        let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if plain { part.parse::<i64>().map_err(|_| Refused::Range) } else { Err(Refused::Syntax) }
    };
    let parts = whole.split(':').map(number).collect::<Read<Vec<i64>>>()?;
    let (hours, minutes, seconds) = match (parts.as_slice(), fraction.is_some()) {
        ([minutes, seconds], true) => (0, *minutes, *seconds),
        ([hours, minutes], false) => (*hours, *minutes, 0),
        ([hours, minutes, seconds], _) => (*hours, *minutes, *seconds),
        _ => return Err(Refused::Syntax),
    };
    if minutes > 59 || seconds > 60 {
        return Err(Refused::Range);
    }
    let fraction = fraction.map_or(Some(0), fraction_micros).ok_or(Refused::Syntax)?;
    let rest = minutes * MICROS_PER_MINUTE + seconds * MICROS_PER_SECOND + fraction;
    let sign = if negative { -1 } else { 1 };
    hours
        .checked_mul(sign * MICROS_PER_HOUR)
        .and_then(|micros| micros.checked_add(sign * rest))
        .ok_or(Refused::Range)
}

/// `years-months` in months.
fn year_month(years: &str, months: &str) -> Read<i64> {
    let (years, months) = (Number::parse(years)?, Number::parse(months)?);
    if months.whole > 11 {
        return Err(Refused::Range);
    }
    years.whole.checked_mul(12).and_then(|all| all.checked_add(months.whole)).ok_or(Refused::Range)
}

fn parse_words(text: &str) -> Read<Interval> {
    let mut sum = Sum::default();
    let mut pending: Option<Number> = None;
    let mut ago = false;
    let mut any = false;
    let mut clock_seen = false;
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| (c.is_ascii() && is_space(c as u8)) || c == '@' || c == ',');
        let Some(first) = rest.chars().next() else { break };
        if ago {
            return Err(Refused::Syntax);
        }
        if first.is_ascii_alphabetic() {
            let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after;
            let word = word.to_ascii_lowercase();
            if word == "ago" {
                ago = true;
                continue;
            }
            let unit = words::unit(&word).ok_or(Refused::Syntax)?;
            sum.add(pending.take().ok_or(Refused::Syntax)?, unit)?;
            continue;
        }
        any = true;
        let (sign, body) = match first {
            '+' | '-' => (rest.get(..1).unwrap_or_default(), trim(rest.get(1..).unwrap_or_default())),
            _ => ("", rest),
        };
        let end =
            body.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ':' | '-'))).unwrap_or(body.len());
        let (number, after) = body.split_at(end);
        if number.is_empty() {
            return Err(Refused::Syntax);
        }
        rest = after;
        let signed = [sign, number].concat();
        if number.contains(':') {
            // A bare number before a time counts days.
            if let Some(days) = pending.take() {
                sum.add(days, Unit::Day)?;
            }
            if std::mem::replace(&mut clock_seen, true) {
                return Err(Refused::Syntax);
            }
            sum.add_micros(clock(&signed)?)?;
        } else if let Some((years, months)) = number.split_once('-') {
            let total = year_month(years, months)?;
            sum.months += if sign == "-" { -total } else { total };
        } else {
            if pending.is_some() {
                return Err(Refused::Syntax);
            }
            pending = Some(Number::parse(&signed)?);
        }
    }
    if let Some(seconds) = pending {
        sum.add(seconds, Unit::Second)?;
    }
    if !any {
        return Err(Refused::Syntax);
    }
    let interval = sum.finish()?;
    if ago { interval.negate().ok_or(Refused::Range) } else { Ok(interval) }
}

/// What follows the P: `1Y2M3DT4H5M6.7S`, `3W`, or `0001-02-03T04:05:06`.
fn parse_iso(text: &str) -> Read<Interval> {
    let mut sum = Sum::default();
    let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
    if text.is_empty() {
        return Err(Refused::Syntax);
    }
    if date.contains('-')
        && date.starts_with(|c: char| c.is_ascii_digit())
        && !date.contains(['Y', 'M', 'D', 'W'])
    {
        let units = [Unit::Year, Unit::Month, Unit::Day];
        for (part, unit) in date.split('-').zip(units) {
            sum.add(Number::parse(part)?, unit)?;
        }
    } else {
        designators(date, &mut sum, |letter| match letter {
            'Y' => Some(Unit::Year),
            'M' => Some(Unit::Month),
            'W' => Some(Unit::Week),
            'D' => Some(Unit::Day),
            _ => None,
        })?;
    }
    match time {
        None => {}
        Some(time) if time.contains(':') => sum.add_micros(clock(time)?)?,
        Some(time) => designators(time, &mut sum, |letter| match letter {
            'H' => Some(Unit::Hour),
            'M' => Some(Unit::Minute),
            'S' => Some(Unit::Second),
            _ => None,
        })?,
    }
    sum.finish()
}

fn designators(text: &str, sum: &mut Sum, unit_of: impl Fn(char) -> Option<Unit>) -> Read<()> {
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or(Refused::Syntax)?;
        let (number, after) = rest.split_at(end);
        let unit = after.chars().next().and_then(&unit_of).ok_or(Refused::Syntax)?;
        sum.add(Number::parse(number)?, unit)?;
        rest = after.get(1..).unwrap_or_default();
    }
    Ok(())
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
