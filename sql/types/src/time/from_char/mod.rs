//! to_date() and to_timestamp() of a text with a format.

mod date;
mod source;

use super::MICROS_PER_DAY;
use super::template::{self, Field, Part, Pattern};
use super::words::{MONTHS, ROMAN_MONTHS, WEEKDAYS};
use crate::error::{Error, Result};
use crate::integer::is_space;
use source::{Source, bad};
use sqlstate::SqlState;

/// Whether no digit can follow a pattern, so that its number may be of any length.
fn ends(ordinal: bool, next: Option<&Part<'_>>) -> bool {
    ordinal
        || match next {
            Some(Part::Pattern(pattern)) => !is_digits(pattern.field),
            Some(Part::Character(c)) => !c.is_ascii_digit(),
            None | Some(Part::Space(_) | Part::Separator(_)) => true,
        }
}

/// Whether what a pattern stands for begins with a digit.
const fn is_digits(field: Field) -> bool {
    field.is_number() || matches!(field, Field::ZoneMinute)
}

/// How the days of a format are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Convention {
    Gregorian,
    IsoWeek,
}

impl Convention {
    /// That of a pattern; None for one that goes with both.
    fn of(field: Field) -> Option<Self> {
        match field {
            Field::IsoYear(_) | Field::IsoWeek | Field::IsoDayOfYear | Field::IsoDayOfWeek => {
                Some(Self::IsoWeek)
            }
            Field::Year(_)
            | Field::YearWithComma
            | Field::Month
            | Field::MonthName
            | Field::MonthAbbreviation
            | Field::RomanMonth
            | Field::Week
            | Field::WeekOfMonth
            | Field::Day
            | Field::DayOfYear
            | Field::DayOfWeek => Some(Self::Gregorian),
            _ => None,
        }
    }
}

/// What fields have said; 0 where none has.
#[derive(Default)]
struct Fields {
    convention: Option<Convention>,
    year: i64,
    /// The digits of the year's pattern.
    year_digits: u8,
    century: i64,
    before_christ: i64,
    month: i64,
    week: i64,
    week_of_month: i64,
    day: i64,
    day_of_year: i64,
    /// From 1 for Sunday.
    day_of_week: i64,
    julian: i64,
    hour: i64,
    minute: i64,
    second: i64,
    seconds_of_day: i64,
    millisecond: i64,
    microsecond: i64,
    twelve_hours: bool,
    afternoon: i64,
    /// The digits that FF1 to FF6 leave of a second's fraction.
    precision: Option<u8>,
}

/// Sets a field, which may not be set to two values.
fn set(field: &mut i64, value: i64, name: &str) -> Result<()> {
    if *field != 0 && *field != value {
        return Err(bad(format!("conflicting values for \"{name}\" field in formatting string"))
            .with_detail("This value contradicts a previous setting for the same field type."));
    }
    *field = value;
    Ok(())
}

/// The year nearest to 2020 of one that is written with fewer digits.
fn near_2020(year: i64) -> i64 {
    match year {
        ..70 => year + 2000,
        70..100 => year + 1900,
        100..520 => year + 2000,
        520..1000 => year + 1000,
        _ => year,
    }
}

impl Fields {
    /// Reads one field. `open`: a number is of all the digits that there are.
    fn read(&mut self, source: &mut Source<'_>, pattern: &Pattern<'_>, open: bool) -> Result<()> {
        self.set_convention(pattern.field)?;
        let written = pattern.written;
        let mut number = |width: usize| source.number(written, width, open);
        let length = written.len();
        match pattern.field {
            Field::Year(digits) | Field::IsoYear(digits) => {
                let (value, used) = number(length)?;
                set(&mut self.year, value, written)?;
                if digits < 4 && used < 4 {
                    self.year = near_2020(value);
                }
                self.year_digits = digits;
                Ok(())
            }
            Field::Century => set(&mut self.century, number(length)?.0, written),
            Field::Month => set(&mut self.month, number(length)?.0, written),
            Field::Week | Field::IsoWeek => set(&mut self.week, number(length)?.0, written),
            Field::WeekOfMonth => set(&mut self.week_of_month, number(length)?.0, written),
            Field::Day => set(&mut self.day, number(length)?.0, written),
            Field::DayOfYear => set(&mut self.day_of_year, number(length)?.0, written),
            Field::IsoDayOfYear => set(&mut self.day_of_year, number(3)?.0, written),
            Field::DayOfWeek => set(&mut self.day_of_week, number(length)?.0, written),
            Field::IsoDayOfWeek => {
                let value = number(1)?.0;
                set(&mut self.day_of_week, value, written)?;
                self.day_of_week = if value >= 7 { 1 } else { value + 1 };
                Ok(())
            }
            Field::Julian => set(&mut self.julian, number(length)?.0, written),
            Field::Hour24 => set(&mut self.hour, number(2)?.0, written),
            Field::Hour12 => {
                self.twelve_hours = true;
                set(&mut self.hour, number(2)?.0, written)
            }
            Field::Minute => set(&mut self.minute, number(length)?.0, written),
            Field::Second => set(&mut self.second, number(length)?.0, written),
            Field::SecondOfDay => set(&mut self.seconds_of_day, number(length)?.0, written),
            Field::Millisecond => {
                let (value, used) = number(3)?;
                set(&mut self.millisecond, value, written)?;
                self.millisecond *= [100, 100, 10].get(used).unwrap_or(&1);
                Ok(())
            }
            Field::Microsecond => self.set_fraction(number(6)?, written),
            Field::Fraction(digits) => {
                self.precision = Some(digits);
                self.set_fraction(number(digits.into())?, written)
            }
            // Which day of a quarter is meant is not said.
            Field::Quarter => number(length).map(|_| ()),
            Field::YearWithComma => self.read_year_with_comma(source, written),
            _ => self.read_word(source, pattern),
        }
    }

    fn set_convention(&mut self, field: Field) -> Result<()> {
        let Some(convention) = Convention::of(field) else { return Ok(()) };
        if *self.convention.get_or_insert(convention) == convention {
            return Ok(());
        }
        Err(bad("invalid combination of date conventions".to_owned())
            .with_hint("Do not mix Gregorian and ISO week date conventions in a formatting template."))
    }

    fn set_fraction(&mut self, (value, used): (i64, usize), written: &str) -> Result<()> {
        set(&mut self.microsecond, value, written)?;
        self.microsecond *= 10_i64.pow(6_u32.saturating_sub(u32::try_from(used).unwrap_or(6)));
        Ok(())
    }

    /// Thousands of years, a comma, and up to three characters of a number.
    fn read_year_with_comma(&mut self, source: &mut Source<'_>, written: &str) -> Result<()> {
        let refused = || bad("invalid input string for \"Y,YYY\"".to_owned());
        let thousands = source.integer(usize::MAX).ok_or_else(refused)?;
        source.rest = source.rest.strip_prefix(',').ok_or_else(refused)?;
        let years = source.integer(3).ok_or_else(refused)?;
        let year = thousands.saturating_mul(1000).saturating_add(years);
        self.year_digits = 4;
        set(&mut self.year, year, written)
    }

    fn read_word(&mut self, source: &mut Source<'_>, pattern: &Pattern<'_>) -> Result<()> {
        let written = pattern.written;
        let place = |at: usize| i64::try_from(at).unwrap_or(0);
        match pattern.field {
            Field::MonthName => self.set_month(source.word(written, &MONTHS, 9)?, written),
            Field::MonthAbbreviation => self.set_month(source.word(written, &MONTHS, 3)?, written),
            Field::RomanMonth => {
                // From the last, since one may begin with another.
                let mut from_last = ROMAN_MONTHS;
                from_last.reverse();
                self.set_month(11 - source.word(written, &from_last, 4)?, written)
            }
            Field::DayName | Field::DayAbbreviation => {
                let letters = if pattern.field == Field::DayName { 9 } else { 3 };
                let day = place(source.word(written, &WEEKDAYS, letters)?);
                set(&mut self.day_of_week, day, written)?;
                self.day_of_week = day + 1;
                Ok(())
            }
            Field::Meridiem | Field::DottedMeridiem => {
                let dotted = pattern.field == Field::DottedMeridiem;
                let words = if dotted { ["a.m.", "p.m."] } else { ["am", "pm"] };
                self.twelve_hours = true;
                set(&mut self.afternoon, place(source.word(written, &words, 4)?), written)
            }
            Field::Era | Field::DottedEra => {
                let dotted = pattern.field == Field::DottedEra;
                let words = if dotted { ["a.d.", "b.c."] } else { ["ad", "bc"] };
                set(&mut self.before_christ, place(source.word(written, &words, 4)?), written)
            }
            Field::Zone | Field::ZoneOffset => {
                let message = format!("formatting field \"{written}\" is only supported in to_char");
                Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message))
            }
            _ => {
                let message =
                    format!("the formatting code \"{written}\" in a text that is read is not supported");
                Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, message))
            }
        }
    }

    fn set_month(&mut self, at: usize, written: &str) -> Result<()> {
        set(&mut self.month, i64::try_from(at).unwrap_or(0) + 1, written)
    }
}

/// Days since 2000-01-01 and microseconds of the day that a text says in a format; and how many digits of a
/// second's fraction the format asks for.
fn read(text: &str, format: &str) -> Result<(i64, i64, Option<u8>)> {
    let parts = template::parts(format);
    let (mut source, mut fields) = (Source { rest: text }, Fields::default());
    let (mut exact, mut skipped) = (false, 0_i64);
    for (at, part) in parts.iter().enumerate() {
        if source.rest.is_empty() {
            break;
        }
        let skips = match part {
            Part::Pattern(pattern) => pattern.field != Field::Exact,
            _ => at == 0,
        };
        if !exact && skips {
            skipped += source.skip_spaces();
        }
        match part {
            Part::Space(_) | Part::Separator(_) if exact => source.skip(1),
            Part::Space(_) | Part::Separator(_) => {
                skipped -= 1;
                if source.rest.starts_with(|c: char| is_space(c) || c.is_ascii_punctuation()) {
                    source.skip(1);
                    skipped += 1;
                }
            }
            Part::Character(_) if !exact && skipped > 0 => skipped -= 1,
            Part::Character(_) => source.skip(1),
            Part::Pattern(pattern) => {
                if pattern.field == Field::Exact {
                    exact = true;
                    continue;
                }
                let ordinal = pattern.ordinal.is_some();
                fields.read(&mut source, pattern, pattern.fill_mode || ends(ordinal, parts.get(at + 1)))?;
                if ordinal && pattern.field.is_number() {
                    source.skip(2);
                }
                if !exact {
                    skipped = source.skip_spaces();
                }
            }
        }
    }
    let precision = fields.precision;
    fields.finish(text).map(|(days, time)| (days, time, precision))
}

/// to_date(): days since 2000-01-01.
///
/// # Errors
///
/// 22007 and 22008 where the text is not as the format says, 0A000 for formats that are not read here.
pub fn date_from_text(text: &str, format: &str) -> Result<i32> {
    let (days, _, _) = read(text, format)?;
    let days = i32::try_from(days).unwrap_or(i32::MAX - 1);
    if super::date_in_range(days) {
        return Ok(days);
    }
    let message = format!("date out of range: \"{text}\"");
    Err(Error::new(SqlState::DATETIME_FIELD_OVERFLOW, message))
}

/// to_timestamp(): local microseconds since 2000-01-01.
///
/// # Errors
///
/// 22007 and 22008 where the text is not as the format says, 0A000 for formats that are not read here.
pub fn timestamp_from_text(text: &str, format: &str) -> Result<i64> {
    let (days, time, precision) = read(text, format)?;
    let micros = days.checked_mul(MICROS_PER_DAY).and_then(|day| day.checked_add(time));
    let micros = micros.map(|micros| match precision {
        Some(digits) => super::round_micros(micros, digits.into()),
        None => micros,
    });
    let micros = micros.filter(|micros| super::timestamp_in_range(*micros));
    micros.ok_or_else(|| Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range"))
}
