//! Time zones that are written as POSIX rules, as PostgreSQL reads them: `EST5EDT,M3.2.0,M11.1.0`.
//!
//! A name may be empty or of any characters. Offsets count westwards.

use jiff::tz::{Offset, TimeZone};
use std::fmt::Write as _;

/// The longest text of a zone, in bytes.
const TEXT_BYTES_MAX: usize = 255;
/// When summer time begins and ends where a zone does not say so.
const USUAL_RULES: &str = ",M3.2.0,M11.1.0";
const SECONDS_PER_HOUR: i32 = 3600;

/// The zone of a rule, in upper case.
pub(super) fn zone(text: &str) -> Option<TimeZone> {
    if text.len() > TEXT_BYTES_MAX || text.starts_with(':') {
        return None;
    }
    let mut reader = Reader { rest: text };
    let standard_name = reader.name()?;
    let standard = reader.offset()?;
    if reader.rest.is_empty() {
        // One that prints its offset needs no rules.
        let is_plain = standard_name.is_empty() || text.starts_with('<');
        let named = || TimeZone::posix(&abbreviated(standard_name, standard)?).ok();
        let fixed = || Some(TimeZone::fixed(Offset::from_seconds(-standard).ok()?));
        return if is_plain { fixed() } else { named().or_else(fixed) };
    }
    let summer_name = reader.name().filter(|name| !name.is_empty())?;
    let summer = match reader.rest.chars().next() {
        None | Some(',' | ';') => standard - SECONDS_PER_HOUR,
        Some(_) => reader.offset()?,
    };
    if reader.rest.is_empty() {
        reader.rest = USUAL_RULES;
    }
    let written = |name, offset| abbreviated(name, offset).or_else(|| abbreviated(&numbered(offset), offset));
    let mut rule = written(standard_name, standard)?;
    rule.push_str(&written(summer_name, summer)?);
    if !reader.take(',') && !reader.take(';') {
        return None;
    }
    rule.push(',');
    reader.change(&mut rule)?;
    reader.take(',').then(|| rule.push(','))?;
    reader.change(&mut rule)?;
    if reader.rest.is_empty() { TimeZone::posix(&rule).ok() } else { None }
}

/// An abbreviation for an offset: `-05`.
fn numbered(west: i32) -> String {
    let mut name = String::new();
    super::format::push_offset(-west, &mut name);
    name.replace(':', "")
}

/// A name with its offset; None unless the zone library takes it.
fn abbreviated(name: &str, west: i32) -> Option<String> {
    let written = format!("<{name}>{}", clock(west));
    TimeZone::posix(&written).is_ok().then_some(written)
}

fn clock(seconds: i32) -> String {
    let (sign, seconds) = (if seconds < 0 { "-" } else { "" }, seconds.abs());
    format!("{sign}{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn take(&mut self, expected: char) -> bool {
        let behind = self.rest.strip_prefix(expected);
        self.rest = behind.unwrap_or(self.rest);
        behind.is_some()
    }

    /// `<any text>`, or what stands before a digit, a sign or a comma.
    fn name(&mut self) -> Option<&'a str> {
        let (name, behind) = match self.rest.strip_prefix('<') {
            Some(quoted) => quoted.split_once('>')?,
            None => {
                let ends = |c: char| c.is_ascii_digit() || matches!(c, ',' | '-' | '+');
                self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()))
            }
        };
        self.rest = behind;
        Some(name)
    }

    fn number(&mut self, least: i32, most: i32) -> Option<i32> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, behind) = self.rest.split_at(end);
        self.rest = behind;
        digits.parse().ok().filter(|number| (least..=most).contains(number))
    }

    /// `[+-]hours[:minutes[:seconds]]` in seconds.
    fn offset(&mut self) -> Option<i32> {
        let negative = self.take('-');
        if !negative {
            self.take('+');
        }
        let mut seconds = self.number(0, 24 * 7 - 1)? * SECONDS_PER_HOUR;
        if self.take(':') {
            seconds += self.number(0, 59)? * 60;
            if self.take(':') {
                seconds += self.number(0, 60)?;
            }
        }
        Some(if negative { -seconds } else { seconds })
    }

    /// A day of the year with the time at which clocks change then, at two unless it says otherwise.
    fn change(&mut self, out: &mut String) -> Option<()> {
        if self.take('J') {
            let _ = write!(out, "J{}", self.number(1, 365)?);
        } else if self.take('M') {
            let month = self.number(1, 12)?;
            let week = self.take('.').then(|| self.number(1, 5))??;
            let day = self.take('.').then(|| self.number(0, 6))??;
            let _ = write!(out, "M{month}.{week}.{day}");
        } else {
            let _ = write!(out, "{}", self.number(0, 365)?);
        }
        if self.take('/') {
            let _ = write!(out, "/{}", clock(self.offset()?));
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use crate::time::{local_from_utc, named_zone, parse_timestamp, parse_zone, write_timestamp};
    use crate::{Datum, Style, TypeId};

    /// Each was said to PostgreSQL 15: `SET TimeZone = '...'; SHOW TimeZone; SELECT timestamptz '...'` at
    /// noon UTC of 2020-01-20, 2020-03-20 and 2020-07-01.
    #[test]
    fn rules_with_summer_time_hold_as_in_postgresql() {
        for (given, name, winter, spring, summer) in [
            ("abc5def", "ABC5DEF", "07:00:00-05", "08:00:00-04", "08:00:00-04"),
            ("A5B", "A5B", "07:00:00-05", "08:00:00-04", "08:00:00-04"),
            ("CST6CDT,M3.2.0,M11.1.0", "CST6CDT,M3.2.0,M11.1.0", "06:00:00-06", "07:00:00-05", "07:00:00-05"),
            ("XXX3YYY2;60,300", "XXX3YYY2;60,300", "09:00:00-03", "10:00:00-02", "10:00:00-02"),
            (
                "XXX3YYY,M10.1.0/3,M3.1.0/2:30",
                "XXX3YYY,M10.1.0/3,M3.1.0/2:30",
                "10:00:00-02",
                "09:00:00-03",
                "09:00:00-03",
            ),
            ("<+03>-3<+04>", "<+03>-3<+04>", "15:00:00+03", "16:00:00+04", "16:00:00+04"),
            ("XXX-3:30YYY", "XXX-3:30YYY", "15:30:00+03:30", "16:30:00+04:30", "16:30:00+04:30"),
            ("ABC5", "ABC5", "07:00:00-05", "07:00:00-05", "07:00:00-05"),
            ("x y z-3", "X Y Z-3", "15:00:00+03", "15:00:00+03", "15:00:00+03"),
        ] {
            let zone = parse_zone(given).unwrap();
            assert_eq!(zone.name, name);
            let style = Style { zone: zone.zone, ..Style::default() };
            for (day, expected) in [("01-20", winter), ("03-20", spring), ("07-01", summer)] {
                let text = format!("2020-{day} 12:00Z");
                let moment = Datum::parse(TypeId::Timestamptz.into(), &text, &style).unwrap();
                assert_eq!(moment.to_text(&style).unwrap(), format!("2020-{day} {expected}"), "{given}");
            }
        }
    }

    #[test]
    fn what_no_rule_is_is_no_zone() {
        for wrong in [
            "",
            "ABC",
            "<a>",
            "<a>5<b",
            "ABC168",
            "ABC5:60",
            "XXX3:30:30",
            "ABC5DEF,",
            "ABC5DEF,M3.2.0",
            "ABC5DEF,M3.2.0,M11.1.0x",
            "ABC5DEF,M13.1.0,M11.1.0",
            "ABC5DEF,M3.6.0,M11.1.0",
            "ABC5DEF,M3.2.7,M11.1.0",
            "ABC5DEF,J0,J300",
            "ABC5DEF,366,300",
            "ABC5;M3.2.0,M11.1.0",
            "nan",
            "Etc/Unknown",
            ":5",
        ] {
            assert!(parse_zone(wrong).is_none(), "{wrong}");
        }
    }

    /// As `SHOW TimeZone` of PostgreSQL 15 has them.
    #[test]
    fn hours_are_read_as_c_reads_numbers() {
        for (given, name) in [
            ("0x10", "<+16>-16"),
            ("-0x1p3", "<-08>+08"),
            ("1e1", "<+10>-10"),
            (" .5", "<+00:30>-00:30"),
            ("-3.75", "<-03:45>+03:45"),
            ("5.123", "<+05:07:22>-05:07:22"),
            ("5 ", "5 "),
        ] {
            assert_eq!(parse_zone(given).unwrap().name, name, "{given}");
        }
    }

    /// Those that are names of zones, too, stand for a fixed offset where an abbreviation may stand.
    #[test]
    fn abbreviations_are_offsets_and_no_setting() {
        let shown = |name: &str| {
            let noon = parse_timestamp("2020-07-01 12:00", &Style::default()).unwrap();
            let mut out = String::new();
            write_timestamp(local_from_utc(noon, &named_zone(name).unwrap().zone).unwrap(), &mut out);
            out
        };
        for (name, clock) in
            [("bst", "13:00:00"), ("CST", "06:00:00"), ("CET", "13:00:00"), ("EET", "14:00:00")]
        {
            assert_eq!(shown(name), format!("2020-07-01 {clock}"), "{name}");
        }
        for name in ["BST", "cst", "edt", "NZDT", "PDT"] {
            assert!(parse_zone(name).is_none(), "{name}");
        }
        assert!(parse_zone("CET").is_some_and(|zone| zone.zone.to_fixed_offset().is_err()));
    }
}
