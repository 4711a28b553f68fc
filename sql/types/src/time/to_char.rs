//! to_char() of timestamps.

use super::calendar::{Civil, civil_from_micros, days_from_civil, iso_week, weekday};
use super::fields::iso_day_of_year;
use super::words::{MONTHS, WEEKDAYS};
use super::{FIRST_DAY, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND};
use std::fmt::Write as _;

/// How a pattern is to be written.
#[derive(Clone, Copy)]
enum Case {
    Upper,
    Title,
    Lower,
}

/// Patterns, longer ones before those that they start with.
const PATTERNS: &[&str] = &[
    "A.D.", "A.M.", "B.C.", "P.M.", "a.d.", "a.m.", "b.c.", "p.m.", "AD", "AM", "BC", "PM", "ad", "am", "bc",
    "pm", "CC", "DAY", "DDD", "DD", "DY", "Day", "Dy", "D", "FF1", "FF2", "FF3", "FF4", "FF5", "FF6", "HH24",
    "HH12", "HH", "IDDD", "ID", "IW", "IYYY", "IYY", "IY", "I", "J", "MI", "MM", "MONTH", "MON", "MS",
    "Month", "Mon", "OF", "Q", "RM", "SSSSS", "SSSS", "SS", "TZH", "TZM", "TZ", "US", "WW", "W", "Y,YYY",
    "YYYY", "YYY", "YY", "Y", "day", "dy", "month", "mon", "rm", "tz",
];
/// Those that are known in any case.
const ANY_CASE: &[&str] = &[
    "cc", "ddd", "dd", "d", "hh24", "hh12", "hh", "iddd", "id", "iw", "iyyy", "iyy", "iy", "i", "j", "mi",
    "mm", "ms", "q", "sssss", "ssss", "ss", "us", "ww", "w", "y,yyy", "yyyy", "yyy", "yy", "y",
];

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
    let mut rest = format;
    let mut fill = true;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let inside = rest.get(1..).unwrap_or_default();
            let end = inside.find('"').unwrap_or(inside.len());
            out.push_str(inside.get(..end).unwrap_or_default());
            rest = inside.get(end + 1..).unwrap_or_default();
            continue;
        }
        if first == '\\' && rest.as_bytes().get(1) == Some(&b'"') {
            out.push('"');
            rest = rest.get(2..).unwrap_or_default();
            continue;
        }
        if let Some(after) = rest.strip_prefix("FM").or_else(|| rest.strip_prefix("fm")) {
            fill = false;
            rest = after;
            continue;
        }
        let exact = PATTERNS.iter().find(|pattern| rest.starts_with(**pattern)).copied();
        let folded = || {
            let known =
                |pattern: &&&str| rest.get(..pattern.len()).is_some_and(|s| s.eq_ignore_ascii_case(pattern));
            ANY_CASE.iter().find(known).copied()
        };
        match exact.or_else(folded) {
            Some(pattern) => {
                let start = out.len();
                shown.write(pattern, fill, &mut out);
                rest = rest.get(pattern.len()..).unwrap_or_default();
                for suffix in ["TH", "th"] {
                    if let Some(after) = rest.strip_prefix(suffix)
                        && out.ends_with(|c: char| c.is_ascii_digit())
                    {
                        let ending = ordinal(out.get(start..).unwrap_or_default());
                        out.push_str(&if suffix == "TH" { ending.to_uppercase() } else { ending.to_owned() });
                        rest = after;
                    }
                }
                fill = true;
            }
            None => {
                out.push(first);
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
            }
        }
    }
    out
}

fn ordinal(digits: &str) -> &'static str {
    let number: i64 = digits.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0);
    match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    }
}

fn cased(word: &str, case: Case) -> String {
    match case {
        Case::Upper => word.to_ascii_uppercase(),
        Case::Title => word.to_owned(),
        Case::Lower => word.to_ascii_lowercase(),
    }
}

impl Shown {
    fn write(&self, pattern: &str, fill: bool, out: &mut String) {
        let lower = pattern.to_ascii_lowercase();
        let case = match pattern.as_bytes() {
            [a, b, ..] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Case::Upper,
            [a, ..] if a.is_ascii_uppercase() => Case::Title,
            _ => Case::Lower,
        };
        let civil = self.civil;
        let mut number = |value: i64, width: usize| {
            let _ = if fill { write!(out, "{value:0width$}") } else { write!(out, "{value}") };
        };
        let hour = civil.micros / MICROS_PER_HOUR;
        let year = if civil.year > 0 { civil.year } else { 1 - civil.year };
        let (iso_year, iso_week) = iso_week(self.days);
        let day_of_year = self.days - days_from_civil(civil.year, 1, 1) + 1;
        let fraction = civil.micros % MICROS_PER_SECOND;
        match lower.as_str() {
            "yyyy" => number(year, 4),
            "yyy" => number(year % 1000, 3),
            "yy" => number(year % 100, 2),
            "y" => number(year % 10, 1),
            "iyyy" => number(iso_year, 4),
            "iyy" => number(iso_year % 1000, 3),
            "iy" => number(iso_year % 100, 2),
            "i" => number(iso_year % 10, 1),
            "y,yyy" => {
                let _ = write!(out, "{},{:03}", year / 1000, year % 1000);
            }
            "cc" => number(if civil.year > 0 { (year + 99) / 100 } else { -((year + 99) / 100) }, 2),
            "mm" => number(i64::from(civil.month), 2),
            "dd" => number(i64::from(civil.day), 2),
            "ddd" => number(day_of_year, 3),
            "iddd" => number(iso_day_of_year(self.days), 3),
            "d" => number(i64::from(weekday(self.days)) + 1, 1),
            "id" => number(i64::from(if weekday(self.days) == 0 { 7 } else { weekday(self.days) }), 1),
            "iw" => number(iso_week, 2),
            "ww" => number((day_of_year - 1) / 7 + 1, 2),
            "w" => number(i64::from((civil.day - 1) / 7 + 1), 1),
            "q" => number(i64::from((civil.month - 1) / 3 + 1), 1),
            "j" => number(self.days - i64::from(FIRST_DAY), 1),
            "hh24" => number(hour, 2),
            "hh12" | "hh" => number((hour + 11) % 12 + 1, 2),
            "mi" => number(civil.micros / MICROS_PER_MINUTE % 60, 2),
            "ss" => number(civil.micros / MICROS_PER_SECOND % 60, 2),
            "ssss" | "sssss" => number(civil.micros / MICROS_PER_SECOND, 1),
            "ms" | "ff3" => number(fraction / 1000, 3),
            "us" | "ff6" => number(fraction, 6),
            "ff1" => number(fraction / 100_000, 1),
            "ff2" => number(fraction / 10_000, 2),
            "ff4" => number(fraction / 100, 4),
            "ff5" => number(fraction / 10, 5),
            _ => self.write_word(&lower, case, fill, out),
        }
    }

    fn write_word(&self, lower: &str, case: Case, fill: bool, out: &mut String) {
        let month = MONTHS.get(self.civil.month as usize - 1).copied().unwrap_or_default();
        let day = WEEKDAYS.get(weekday(self.days) as usize).copied().unwrap_or_default();
        let afternoon = self.civil.micros >= MICROS_PER_DAY / 2;
        let before_christ = self.civil.year <= 0;
        let roman = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];
        let mut padded = |word: &str, width: usize| {
            let word = cased(word, case);
            let _ = if fill { write!(out, "{word:width$}") } else { write!(out, "{word}") };
        };
        match lower {
            "month" => padded(month, 9),
            "mon" => padded(month.get(..3).unwrap_or_default(), 3),
            "day" => padded(day, 9),
            "dy" => padded(day.get(..3).unwrap_or_default(), 3),
            "rm" => padded(roman.get(self.civil.month as usize - 1).copied().unwrap_or_default(), 4),
            "am" | "pm" => padded(if afternoon { "PM" } else { "AM" }, 2),
            "a.m." | "p.m." => padded(if afternoon { "P.M." } else { "A.M." }, 4),
            "ad" | "bc" => padded(if before_christ { "BC" } else { "AD" }, 2),
            "a.d." | "b.c." => padded(if before_christ { "B.C." } else { "A.D." }, 4),
            "tz" => {
                if let Some((_, name)) = &self.zone {
                    out.push_str(&cased(name, case));
                }
            }
            "of" => {
                // Hours, and minutes unless there are none; never seconds.
                let offset = self.zone.as_ref().map_or(0, |(offset, _)| *offset);
                let _ = write!(out, "{}{:02}", if offset < 0 { '-' } else { '+' }, offset.abs() / 3600);
                if offset % 3600 != 0 {
                    let _ = write!(out, ":{:02}", offset.abs() / 60 % 60);
                }
            }
            "tzh" => {
                let offset = self.zone.as_ref().map_or(0, |(offset, _)| *offset);
                let _ = write!(out, "{}{:02}", if offset < 0 { '-' } else { '+' }, offset.abs() / 3600);
            }
            "tzm" => {
                let offset = self.zone.as_ref().map_or(0, |(offset, _)| *offset);
                let _ = write!(out, "{:02}", offset.abs() / 60 % 60);
            }
            _ => {}
        }
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
