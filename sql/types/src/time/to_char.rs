//! to_char() of timestamps.

use super::calendar::{Civil, civil_from_micros, days_from_civil, iso_week, weekday};
use super::fields::iso_day_of_year;
use super::template::{self, Case, Field, Part, Pattern};
use super::words::{MONTHS, ROMAN_MONTHS, WEEKDAYS};
use super::{FIRST_DAY, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND};
use std::fmt::Write as _;

struct Shown {
    civil: Civil,
    days: i64,
    /// Seconds ahead of UTC and the zone's abbreviation; None for a timestamp without zone.
    zone: Option<(i32, String)>,
}

/// to_char(): `micros` are local; `zone` is the offset in seconds with the zone's abbreviation.
pub fn to_char(micros: i64, zone: Option<(i32, String)>, format: &str) -> String {
    let shown = Shown { civil: civil_from_micros(micros), days: micros.div_euclid(MICROS_PER_DAY), zone };
    let mut out = String::new();
    for part in template::parts(format) {
        match part {
            Part::Space(c) | Part::Separator(c) | Part::Character(c) => out.push(c),
            Part::Pattern(pattern) => {
                let start = out.len();
                shown.write(&pattern, &mut out);
                if let (Some(case), true) = (pattern.ordinal, pattern.field.is_number()) {
                    let ending = ordinal(out.get(start..).unwrap_or_default());
                    out.push_str(&cased(ending, case));
                }
            }
        }
    }
    out
}

/// The ending of a number, by its last two digits.
fn ordinal(number: &str) -> &'static str {
    match number.as_bytes() {
        [.., b'1', _] => "th",
        [.., b'1'] => "st",
        [.., b'2'] => "nd",
        [.., b'3'] => "rd",
        _ => "th",
    }
}

fn cased(word: &str, case: Case) -> String {
    match case {
        Case::Upper => word.to_ascii_uppercase(),
        Case::Capitalized => word.to_owned(),
        Case::Lower => word.to_ascii_lowercase(),
    }
}

/// A year as it is shown: 1 BC is year 0.
const fn counted(year: i64) -> i64 {
    if year > 0 { year } else { 1 - year }
}

impl Shown {
    fn write(&self, pattern: &Pattern<'_>, out: &mut String) {
        let civil = self.civil;
        let (year, (iso_year, iso_week)) = (counted(civil.year), iso_week(self.days));
        let day_of_year = self.days - days_from_civil(civil.year, 1, 1) + 1;
        let day_of_week = i64::from(weekday(self.days));
        let last_digits = |year: i64, digits: u8| match digits {
            4 => year,
            digits => year % 10_i64.pow(digits.into()),
        };
        let (value, width) = match pattern.field {
            Field::Year(digits) => (last_digits(year, digits), digits.into()),
            Field::IsoYear(digits) => (last_digits(counted(iso_year), digits), digits.into()),
            Field::Century if civil.year > 0 => ((year + 99) / 100, 2),
            Field::Century => (-((year + 99) / 100), 3),
            Field::Month => (i64::from(civil.month), 2),
            Field::Day => (i64::from(civil.day), 2),
            Field::DayOfYear => (day_of_year, 3),
            Field::IsoDayOfYear => (iso_day_of_year(self.days), 3),
            Field::DayOfWeek => (day_of_week + 1, 1),
            Field::IsoDayOfWeek => ((day_of_week + 6) % 7 + 1, 1),
            Field::IsoWeek => (iso_week, 2),
            Field::Week => ((day_of_year - 1) / 7 + 1, 2),
            Field::WeekOfMonth => (i64::from((civil.day - 1) / 7 + 1), 1),
            Field::Quarter => (i64::from((civil.month - 1) / 3 + 1), 1),
            Field::Julian => (self.days - i64::from(FIRST_DAY), 1),
            Field::Hour24 => (civil.micros / MICROS_PER_HOUR, 2),
            Field::Hour12 => ((civil.micros / MICROS_PER_HOUR + 11) % 12 + 1, 2),
            Field::Minute => (civil.micros / MICROS_PER_MINUTE % 60, 2),
            Field::Second => (civil.micros / MICROS_PER_SECOND % 60, 2),
            Field::SecondOfDay => (civil.micros / MICROS_PER_SECOND, 1),
            Field::YearWithComma => {
                let _ = write!(out, "{},{:03}", year / 1000, year % 1000);
                return;
            }
            Field::Millisecond => return self.write_fraction(3, out),
            Field::Microsecond => return self.write_fraction(6, out),
            Field::Fraction(digits) => return self.write_fraction(digits, out),
            Field::Zone | Field::ZoneOffset | Field::ZoneHour | Field::ZoneMinute => {
                return self.write_zone(pattern, out);
            }
            _ => return self.write_word(pattern, out),
        };
        let width = if pattern.fill_mode { 0 } else { width };
        let _ = write!(out, "{value:0width$}");
    }

    /// The first digits of the second's fraction. They are all written, FM or not.
    fn write_fraction(&self, digits: u8, out: &mut String) {
        let value = self.civil.micros % MICROS_PER_SECOND / 10_i64.pow(6_u32.saturating_sub(digits.into()));
        let _ = write!(out, "{value:0width$}", width = usize::from(digits));
    }

    fn write_word(&self, pattern: &Pattern<'_>, out: &mut String) {
        let month = self.civil.month as usize - 1;
        let month_name = MONTHS.get(month).copied().unwrap_or_default();
        let day = WEEKDAYS.get(weekday(self.days) as usize).copied().unwrap_or_default();
        let afternoon = self.civil.micros >= MICROS_PER_DAY / 2;
        let before_christ = self.civil.year <= 0;
        let (word, width) = match pattern.field {
            Field::MonthName if pattern.translated => (month_name, 0),
            Field::MonthName => (month_name, 9),
            Field::MonthAbbreviation => (month_name.get(..3).unwrap_or_default(), 0),
            Field::DayName if pattern.translated => (day, 0),
            Field::DayName => (day, 9),
            Field::DayAbbreviation => (day.get(..3).unwrap_or_default(), 0),
            Field::RomanMonth => (ROMAN_MONTHS.get(month).copied().unwrap_or_default(), 4),
            Field::Meridiem => (if afternoon { "PM" } else { "AM" }, 0),
            Field::DottedMeridiem => (if afternoon { "P.M." } else { "A.M." }, 0),
            Field::Era => (if before_christ { "BC" } else { "AD" }, 0),
            Field::DottedEra => (if before_christ { "B.C." } else { "A.D." }, 0),
            // FX says how a text is read, and nothing else is left.
            _ => return,
        };
        let width = if pattern.fill_mode { 0 } else { width };
        let _ = write!(out, "{:width$}", cased(word, pattern.case()));
    }

    fn write_zone(&self, pattern: &Pattern<'_>, out: &mut String) {
        let offset = self.zone.as_ref().map_or(0, |(offset, _)| *offset);
        let sign = if offset < 0 { '-' } else { '+' };
        let (hours, minutes) = (offset.abs() / 3600, offset.abs() / 60 % 60);
        let _ = match pattern.field {
            Field::Zone => {
                let name = self.zone.as_ref().map_or("", |(_, name)| name);
                out.push_str(&if pattern.case() == Case::Lower {
                    cased(name, Case::Lower)
                } else {
                    name.to_owned()
                });
                Ok(())
            }
            // Hours, and minutes unless there are none; never seconds.
            Field::ZoneOffset => {
                let width = if pattern.fill_mode { 0 } else { 2 };
                let hours = write!(out, "{sign}{hours:0width$}");
                if offset % 3600 == 0 { hours } else { write!(out, ":{minutes:02}") }
            }
            Field::ZoneHour => write!(out, "{sign}{hours:02}"),
            _ => write!(out, "{minutes:02}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::to_char;

    /// `SET TimeZone = 'Europe/Berlin'; SELECT to_char('1890-01-01 12:00'::timestamptz, 'OF TZH:TZM')` and
    /// the like in PostgreSQL 15: an offset is shown without its seconds.
    #[test]
    fn offsets_are_shown_in_hours_and_minutes() {
        for (offset, shown) in [
            (3208, "+00:53 +00:53"),
            (-3208, "-00:53 -00:53"),
            (7200, "+02 +02:00"),
            (-12_600, "-03:30 -03:30"),
            (0, "+00 +00:00"),
        ] {
            assert_eq!(to_char(0, Some((offset, String::new())), "OF TZH:TZM"), shown, "{offset}");
        }
    }
}
