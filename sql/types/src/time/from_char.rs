//! to_date() and to_timestamp() of a text with a format.

use super::calendar::{days_from_civil, days_in_month};
use super::words::{MONTHS, WEEKDAYS};
use super::{MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND};
use crate::error::{Error, Result};
use crate::integer::is_space;
use sqlstate::SqlState;

/// Patterns in lower case, longer ones before those that they start with.
const PATTERNS: &[&str] = &[
    "a.d.", "a.m.", "b.c.", "p.m.", "y,yyy", "sssss", "month", "ssss", "hh24", "hh12", "iddd", "iyyy",
    "yyyy", "day", "ddd", "ff1", "ff2", "ff3", "ff4", "ff5", "ff6", "iyy", "mon", "tzh", "tzm", "yyy", "ad",
    "am", "bc", "cc", "dd", "dy", "fx", "hh", "id", "iw", "iy", "mi", "mm", "ms", "of", "pm", "rm", "ss",
    "tz", "us", "ww", "yy", "d", "i", "j", "q", "w", "y",
];

/// A part of a format.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part<'f> {
    /// A pattern as it is written, and whether it takes as many digits as there are, or an ordinal's ending.
    Field {
        written: &'f str,
        fill: bool,
        ordinal: bool,
    },
    Space,
    Separator,
    Character(char),
}

fn pattern(format: &str) -> Option<&str> {
    let known =
        |pattern: &&&str| format.get(..pattern.len()).is_some_and(|s| s.eq_ignore_ascii_case(pattern));
    PATTERNS.iter().find(known).and_then(|pattern| format.get(..pattern.len()))
}

/// Takes a format apart.
fn parts(format: &str) -> Vec<Part<'_>> {
    let (mut parts, mut rest, mut fill) = (Vec::new(), format, false);
    while let Some(first) = rest.chars().next() {
        let behind = rest.get(first.len_utf8()..).unwrap_or_default();
        if let Some(after) = ["FM", "fm", "TM", "tm"].iter().find_map(|mode| rest.strip_prefix(mode)) {
            fill |= rest.starts_with(['F', 'f']);
            rest = after;
        } else if let Some(written) = pattern(rest) {
            rest = rest.get(written.len()..).unwrap_or_default();
            let after = rest.strip_prefix("TH").or_else(|| rest.strip_prefix("th"));
            parts.push(Part::Field { written, fill, ordinal: after.is_some() });
            rest = after.unwrap_or(rest);
            fill = false;
        } else if first == '"' {
            let end = behind.find('"').unwrap_or(behind.len());
            parts.extend(behind.get(..end).unwrap_or_default().chars().map(Part::Character));
            rest = behind.get(end + 1..).unwrap_or_default();
        } else {
            parts.push(match first {
                c if is_space(c) => Part::Space,
                c if c.is_ascii_punctuation() => Part::Separator,
                c => Part::Character(c),
            });
            rest = behind;
        }
    }
    parts
}

fn is_digit_field(written: &str) -> bool {
    let words =
        ["a.d.", "a.m.", "b.c.", "p.m.", "ad", "am", "bc", "pm", "month", "mon", "day", "dy", "rm", "fx"];
    !words.iter().any(|word| written.eq_ignore_ascii_case(word))
        && !written.to_ascii_lowercase().starts_with("tz")
        && !written.eq_ignore_ascii_case("of")
}

/// Whether no digit can follow a field, so that it may be of any length.
fn ends(ordinal: bool, next: Option<&Part<'_>>) -> bool {
    ordinal
        || match next {
            None | Some(Part::Space | Part::Separator) => true,
            Some(Part::Field { written, .. }) => !is_digit_field(written),
            Some(Part::Character(c)) => !c.is_ascii_digit(),
        }
}

/// What fields have said; 0 where none has.
#[derive(Default)]
struct Fields {
    year: i64,
    month: i64,
    day: i64,
    day_of_year: i64,
    hour: i64,
    minute: i64,
    second: i64,
    seconds_of_day: i64,
    millisecond: i64,
    microsecond: i64,
    twelve_hours: bool,
    afternoon: bool,
    before_christ: bool,
}

fn bad(message: String) -> Error {
    Error::new(SqlState::INVALID_DATETIME_FORMAT, message)
}

const FILL_HINT: &str = "If your source string is not fixed-width, try using the \"FM\" modifier.";

/// The text that is still to be read.
struct Source<'t> {
    rest: &'t str,
}

impl<'t> Source<'t> {
    fn skip_spaces(&mut self) -> i64 {
        let trimmed = self.rest.trim_start_matches(is_space);
        let skipped = self.rest.len() - trimmed.len();
        self.rest = trimmed;
        i64::try_from(skipped).unwrap_or(i64::MAX)
    }

    fn skip(&mut self, characters: usize) {
        self.rest = self.rest.char_indices().nth(characters).map_or("", |(at, _)| self.rest.split_at(at).1);
    }

    /// A number of so many digits, or (`open`) of all that there are; and how many bytes it took.
    fn number(&mut self, name: &str, width: usize, open: bool) -> Result<(i64, usize)> {
        self.skip_spaces();
        let whole = self.rest;
        let piece = match whole.char_indices().nth(width) {
            Some((end, _)) => whole.split_at(end).0,
            None => whole,
        };
        let text = if open { whole } else { piece };
        let sign = usize::from(text.starts_with(['+', '-']));
        let digits = text.bytes().skip(sign).take_while(u8::is_ascii_digit).count();
        let used = if digits > 0 { sign + digits } else { 0 };
        if !open {
            if piece.len() < width {
                return Err(bad(format!("source string too short for \"{name}\" formatting field"))
                    .with_detail(format!(
                        "Field requires {width} characters, but only {} remain.",
                        piece.len()
                    ))
                    .with_hint(FILL_HINT));
            }
            if used > 0 && used < width {
                return Err(bad(format!("invalid value \"{piece}\" for \"{name}\""))
                    .with_detail(format!(
                        "Field requires {width} characters, but only {used} could be parsed."
                    ))
                    .with_hint(FILL_HINT));
            }
        }
        if used == 0 {
            let message = format!("invalid value \"{piece}\" for \"{name}\"");
            return Err(bad(message).with_detail("Value must be an integer."));
        }
        let value = text.get(..used).and_then(|text| text.parse::<i32>().ok()).ok_or_else(|| {
            let message = format!("value for \"{name}\" in source string is out of range");
            Error::new(SqlState::DATETIME_FIELD_OVERFLOW, message).with_detail(format!(
                "Value must be in the range {} to {}.",
                i32::MIN,
                i32::MAX
            ))
        })?;
        self.rest = whole.get(used..).unwrap_or_default();
        Ok((i64::from(value), used))
    }

    /// The place of the word that comes, by the first `letters` of each.
    fn word(&mut self, name: &str, words: &[&str], letters: usize) -> Result<usize> {
        let found = words.iter().position(|word| {
            let wanted = word.get(..letters.min(word.len())).unwrap_or(word);
            self.rest.get(..wanted.len()).is_some_and(|start| start.eq_ignore_ascii_case(wanted))
        });
        let Some(at) = found else {
            let shown = self.rest.split(is_space).next().unwrap_or_default();
            return Err(bad(format!("invalid value \"{shown}\" for \"{name}\""))
                .with_detail("The given value did not match any of the allowed values for this field."));
        };
        let length = words.get(at).map_or(0, |word| letters.min(word.len()));
        self.rest = self.rest.get(length..).unwrap_or_default();
        Ok(at)
    }
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
        0..70 => year + 2000,
        70..100 => year + 1900,
        100..520 => year + 2000,
        520..1000 => year + 1000,
        _ => year,
    }
}

impl Fields {
    /// Reads one field.
    fn read(&mut self, source: &mut Source<'_>, written: &str, open: bool) -> Result<()> {
        let lower = written.to_ascii_lowercase();
        let mut number = |width: usize| source.number(written, width, open);
        match lower.as_str() {
            "yyyy" => set(&mut self.year, number(4)?.0, written),
            "yyy" | "yy" | "y" => {
                let (value, used) = number(lower.len())?;
                set(&mut self.year, if used < 4 { near_2020(value) } else { value }, written)
            }
            "mm" => set(&mut self.month, number(2)?.0, written),
            "dd" => set(&mut self.day, number(2)?.0, written),
            "ddd" => set(&mut self.day_of_year, number(3)?.0, written),
            "hh24" => set(&mut self.hour, number(2)?.0, written),
            "hh12" | "hh" => {
                self.twelve_hours = true;
                set(&mut self.hour, number(2)?.0, written)
            }
            "mi" => set(&mut self.minute, number(2)?.0, written),
            "ss" => set(&mut self.second, number(2)?.0, written),
            "ssss" | "sssss" => set(&mut self.seconds_of_day, number(5)?.0, written),
            "ms" => {
                let (value, used) = number(3)?;
                set(&mut self.millisecond, value * [100, 100, 10].get(used).unwrap_or(&1), written)
            }
            "us" | "ff1" | "ff2" | "ff3" | "ff4" | "ff5" | "ff6" => {
                let digits = lower.strip_prefix("ff").and_then(|digits| digits.parse().ok()).unwrap_or(6);
                let (value, used) = number(digits)?;
                let unit = 10_i64.pow(6_u32.saturating_sub(u32::try_from(used).unwrap_or(6)));
                set(&mut self.microsecond, value * unit, written)
            }
            // Which day of a quarter or of which week is meant is not said.
            "q" | "d" => number(1).map(|_| ()),
            _ => self.read_word(source, &lower, written),
        }
    }

    fn read_word(&mut self, source: &mut Source<'_>, lower: &str, written: &str) -> Result<()> {
        match lower {
            "month" => self.set_month(source.word(written, &MONTHS, 9)?, written),
            "mon" => self.set_month(source.word(written, &MONTHS, 3)?, written),
            "day" => source.word(written, &WEEKDAYS, 9).map(|_| ()),
            "dy" => source.word(written, &WEEKDAYS, 3).map(|_| ()),
            "am" | "pm" | "a.m." | "p.m." => {
                let words = if lower.len() == 2 { ["am", "pm"] } else { ["a.m.", "p.m."] };
                self.afternoon = source.word(written, &words, 4)? == 1;
                self.twelve_hours = true;
                Ok(())
            }
            "ad" | "bc" | "a.d." | "b.c." => {
                let words = if lower.len() == 2 { ["ad", "bc"] } else { ["a.d.", "b.c."] };
                self.before_christ = source.word(written, &words, 4)? == 1;
                Ok(())
            }
            "tz" | "of" => {
                let message = format!("formatting code \"{written}\" is only supported in to_char");
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

    /// Days since 2000-01-01 and microseconds of the day.
    fn finish(self, text: &str) -> Result<(i64, i64)> {
        let overflow = || {
            let message = format!("date/time field value out of range: \"{text}\"");
            Error::new(SqlState::DATETIME_FIELD_OVERFLOW, message)
        };
        let of_day = self.seconds_of_day;
        let mut hour = if self.hour != 0 { self.hour } else { of_day / 3600 };
        let minute = if self.minute != 0 { self.minute } else { of_day % 3600 / 60 };
        let second = if self.second != 0 { self.second } else { of_day % 60 };
        if self.twelve_hours {
            if !(1..=12).contains(&hour) {
                return Err(bad(format!("hour \"{hour}\" is invalid for the 12-hour clock"))
                    .with_hint("Use the 24-hour clock, or give an hour between 1 and 12."));
            }
            hour = hour % 12 + if self.afternoon { 12 } else { 0 };
        }
        let year = if self.before_christ && self.year > 0 { 1 - self.year } else { self.year };
        let (mut month, mut day) = (self.month, self.day);
        if self.day_of_year != 0 && (month <= 1 || day <= 1) {
            if self.year == 0 && !self.before_christ {
                return Err(bad("cannot calculate day of year without year information".to_owned()));
            }
            (month, day) = month_and_day(year, self.day_of_year);
        }
        let (known_month, known_day) = (if month == 0 { 1 } else { month }, if day == 0 { 1 } else { day });
        let in_month = |month: i64| days_in_month(year, u32::try_from(month).unwrap_or(1));
        let whole = self.year != 0 && month != 0 && day != 0;
        if !(1..=12).contains(&known_month)
            || !(1..=31).contains(&known_day)
            || (whole && known_day > i64::from(in_month(known_month)))
        {
            return Err(overflow());
        }
        let fraction = self.millisecond * 1000 + self.microsecond;
        if !(0..24).contains(&hour)
            || !(0..60).contains(&minute)
            || !(0..60).contains(&second)
            || !(0..MICROS_PER_SECOND).contains(&fraction)
        {
            return Err(overflow());
        }
        let month = u32::try_from(known_month).unwrap_or(1);
        let days = days_from_civil(year, month, u32::try_from(known_day).unwrap_or(1));
        let time =
            hour * MICROS_PER_HOUR + minute * MICROS_PER_MINUTE + second * MICROS_PER_SECOND + fraction;
        Ok((days, time))
    }
}

/// Month and day of a day of a year; one behind its end is a day that no month has.
fn month_and_day(year: i64, day_of_year: i64) -> (i64, i64) {
    let mut left = day_of_year;
    for month in 1..=12 {
        let days = i64::from(days_in_month(year, month));
        if left <= days || month == 12 {
            return (i64::from(month), left);
        }
        left -= days;
    }
    (12, left)
}

/// Days since 2000-01-01 and microseconds of the day that a text says in a format.
fn read(text: &str, format: &str) -> Result<(i64, i64)> {
    let parts = parts(format);
    let (mut source, mut fields) = (Source { rest: text }, Fields::default());
    let (mut exact, mut skipped) = (false, 0_i64);
    for (at, part) in parts.iter().enumerate() {
        if source.rest.is_empty() {
            break;
        }
        if !exact && (at == 0 || matches!(part, Part::Field { .. })) {
            skipped += source.skip_spaces();
        }
        match part {
            Part::Space | Part::Separator if exact => source.skip(1),
            Part::Space | Part::Separator => {
                skipped -= 1;
                if source.rest.starts_with(|c: char| is_space(c) || c.is_ascii_punctuation()) {
                    source.skip(1);
                    skipped += 1;
                }
            }
            Part::Character(_) if !exact && skipped > 0 => skipped -= 1,
            Part::Character(_) => source.skip(1),
            Part::Field { written, .. } if written.eq_ignore_ascii_case("fx") => exact = true,
            Part::Field { written, fill, ordinal } => {
                let open = *fill || ends(*ordinal, parts.get(at + 1));
                fields.read(&mut source, written, open)?;
                if *ordinal && is_digit_field(written) {
                    source.skip(2);
                }
                if !exact {
                    skipped = source.skip_spaces();
                }
            }
        }
    }
    fields.finish(text)
}

/// to_date(): days since 2000-01-01.
///
/// # Errors
///
/// 22007 and 22008 where the text is not as the format says, 0A000 for formats that are not read here.
pub fn date_from_text(text: &str, format: &str) -> Result<i32> {
    let (days, _) = read(text, format)?;
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
    let (days, time) = read(text, format)?;
    let micros = days.checked_mul(MICROS_PER_DAY).and_then(|day| day.checked_add(time));
    let micros = micros.filter(|micros| super::timestamp_in_range(*micros));
    micros.ok_or_else(|| Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range"))
}
