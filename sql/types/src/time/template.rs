//! Templates of to_char(), to_timestamp() and to_date(), taken apart into template patterns and plain text.

use crate::integer::is_space;

/// What a template pattern stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// AD or BC, with points or without.
    Era,
    DottedEra,
    /// AM or PM, with points or without.
    Meridiem,
    DottedMeridiem,
    Century,
    /// A year's last digits, so many of them.
    Year(u8),
    YearWithComma,
    IsoYear(u8),
    Quarter,
    Month,
    MonthName,
    MonthAbbreviation,
    RomanMonth,
    Week,
    WeekOfMonth,
    IsoWeek,
    Day,
    DayName,
    DayAbbreviation,
    DayOfYear,
    IsoDayOfYear,
    DayOfWeek,
    IsoDayOfWeek,
    Julian,
    Hour24,
    Hour12,
    Minute,
    Second,
    SecondOfDay,
    Millisecond,
    Microsecond,
    /// So many digits of a second's fraction.
    Fraction(u8),
    Zone,
    ZoneOffset,
    ZoneHour,
    ZoneMinute,
    /// FX: what follows is read character by character.
    Exact,
}

/// Patterns in upper case, longer ones before those that they start with. All may be in lower case too.
const PATTERNS: &[(&str, Field)] = &[
    ("A.D.", Field::DottedEra),
    ("A.M.", Field::DottedMeridiem),
    ("AD", Field::Era),
    ("AM", Field::Meridiem),
    ("B.C.", Field::DottedEra),
    ("BC", Field::Era),
    ("CC", Field::Century),
    ("DAY", Field::DayName),
    ("DDD", Field::DayOfYear),
    ("DD", Field::Day),
    ("DY", Field::DayAbbreviation),
    ("D", Field::DayOfWeek),
    ("FF1", Field::Fraction(1)),
    ("FF2", Field::Fraction(2)),
    ("FF3", Field::Fraction(3)),
    ("FF4", Field::Fraction(4)),
    ("FF5", Field::Fraction(5)),
    ("FF6", Field::Fraction(6)),
    ("FX", Field::Exact),
    ("HH24", Field::Hour24),
    ("HH12", Field::Hour12),
    ("HH", Field::Hour12),
    ("IDDD", Field::IsoDayOfYear),
    ("ID", Field::IsoDayOfWeek),
    ("IW", Field::IsoWeek),
    ("IYYY", Field::IsoYear(4)),
    ("IYY", Field::IsoYear(3)),
    ("IY", Field::IsoYear(2)),
    ("I", Field::IsoYear(1)),
    ("J", Field::Julian),
    ("MI", Field::Minute),
    ("MM", Field::Month),
    ("MONTH", Field::MonthName),
    ("MON", Field::MonthAbbreviation),
    ("MS", Field::Millisecond),
    ("OF", Field::ZoneOffset),
    ("P.M.", Field::DottedMeridiem),
    ("PM", Field::Meridiem),
    ("Q", Field::Quarter),
    ("RM", Field::RomanMonth),
    ("SSSSS", Field::SecondOfDay),
    ("SSSS", Field::SecondOfDay),
    ("SS", Field::Second),
    ("TZH", Field::ZoneHour),
    ("TZM", Field::ZoneMinute),
    ("TZ", Field::Zone),
    ("US", Field::Microsecond),
    ("WW", Field::Week),
    ("W", Field::WeekOfMonth),
    ("Y,YYY", Field::YearWithComma),
    ("YYYY", Field::Year(4)),
    ("YYY", Field::Year(3)),
    ("YY", Field::Year(2)),
    ("Y", Field::Year(1)),
];
/// Those that may begin with a capital alone.
const CAPITALIZED: &[&str] = &["Day", "Dy", "Month", "Mon"];

impl Field {
    /// Whether it is written in digits only, which an ordinal's ending may follow.
    pub(super) const fn is_number(self) -> bool {
        !matches!(
            self,
            Self::Era
                | Self::DottedEra
                | Self::Meridiem
                | Self::DottedMeridiem
                | Self::MonthName
                | Self::MonthAbbreviation
                | Self::RomanMonth
                | Self::DayName
                | Self::DayAbbreviation
                | Self::Zone
                | Self::ZoneOffset
                | Self::ZoneHour
                | Self::ZoneMinute
                | Self::Exact
        )
    }
}

/// The case that a pattern is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Upper,
    Capitalized,
    Lower,
}

/// A template pattern with its modifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pattern<'t> {
    pub(super) field: Field,
    pub(super) written: &'t str,
    /// FM is before it: no padding, and a number is read as far as it goes.
    pub(super) fill_mode: bool,
    /// TM is before it: a name is that of the locale, without padding.
    pub(super) translated: bool,
    /// TH or th is behind it.
    pub(super) ordinal: Option<Case>,
}

impl Pattern<'_> {
    pub(super) fn case(&self) -> Case {
        match self.written.as_bytes() {
            [a, ..] if a.is_ascii_lowercase() => Case::Lower,
            [_, b, ..] if b.is_ascii_lowercase() => Case::Capitalized,
            _ => Case::Upper,
        }
    }
}

/// A part of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'t> {
    Pattern(Pattern<'t>),
    Space(char),
    Separator(char),
    /// Any other character, or one in quotes.
    Character(char),
}

/// Takes a template apart.
pub(super) fn parts(template: &str) -> Vec<Part<'_>> {
    let (mut parts, mut rest) = (Vec::new(), template);
    while !rest.is_empty() {
        let fill = rest.strip_prefix("FM").or_else(|| rest.strip_prefix("fm"));
        let translated = rest.strip_prefix("TM").or_else(|| rest.strip_prefix("tm"));
        rest = fill.or(translated).unwrap_or(rest);
        if let Some((field, written, behind)) = pattern(rest) {
            let (ordinal, behind) = suffix(behind);
            let (fill_mode, translated) = (fill.is_some(), translated.is_some());
            parts.push(Part::Pattern(Pattern { field, written, fill_mode, translated, ordinal }));
            rest = behind;
        } else if let Some(inside) = rest.strip_prefix('"') {
            rest = quoted(inside, &mut parts);
        } else {
            // Outside of quotes a backslash escapes nothing but a quote.
            let shown = rest.strip_prefix('\\').filter(|rest| rest.starts_with('"')).unwrap_or(rest);
            let mut characters = shown.chars();
            parts.extend(characters.next().map(|character| match character {
                c if is_space(c) => Part::Space(c),
                c if c.is_ascii_punctuation() => Part::Separator(c),
                c => Part::Character(c),
            }));
            rest = characters.as_str();
        }
    }
    parts
}

/// The pattern at the front, as it is written there, and what stands behind it.
fn pattern(text: &str) -> Option<(Field, &str, &str)> {
    PATTERNS.iter().find_map(|(name, field)| {
        let (written, behind) = text.split_at_checked(name.len())?;
        let is_lower =
            || written.eq_ignore_ascii_case(name) && !written.contains(|c: char| c.is_ascii_uppercase());
        let is_capitalized = || CAPITALIZED.contains(&written) && written.eq_ignore_ascii_case(name);
        (written == *name || is_lower() || is_capitalized()).then_some((*field, written, behind))
    })
}

/// The modifier behind a pattern. SP, which PostgreSQL knows and does nothing about, is skipped.
fn suffix(text: &str) -> (Option<Case>, &str) {
    if let Some(behind) = text.strip_prefix("TH") {
        (Some(Case::Upper), behind)
    } else if let Some(behind) = text.strip_prefix("th") {
        (Some(Case::Lower), behind)
    } else {
        (None, text.strip_prefix("SP").unwrap_or(text))
    }
}

/// Appends the characters up to the closing quote, and gives what stands behind it.
fn quoted<'t>(inside: &'t str, parts: &mut Vec<Part<'t>>) -> &'t str {
    let mut characters = inside.chars();
    while let Some(character) = characters.next() {
        let shown = match character {
            '"' => break,
            '\\' => characters.next().unwrap_or('\\'),
            other => other,
        };
        parts.push(Part::Character(shown));
    }
    characters.as_str()
}
