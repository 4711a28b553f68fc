//! The fields of a date, a time and a zone, as they are found one by one.

use super::calendar::{days_from_civil, days_in_month};
use super::tokens::{Read, Refused, digits_of, fraction_micros, offset_seconds, take_while};
use super::words;
use super::zone::{is_fixed, of_abbreviation, parse_zone_name};
use super::{FIRST_DAY, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND};
use crate::style::DateOrder;
use jiff::tz::{Offset, TimeZone};

/// What a text says.
pub(super) enum Moment {
    /// infinity (true) or -infinity.
    Infinite(bool),
    /// A moment in UTC: now.
    Absolute(i64),
    /// 1970-01-01 00:00: in UTC where there is a zone, else as it stands.
    Epoch,
    /// Days since 2000, microseconds of the day, zone: as far as written.
    Fields {
        date: Option<i64>,
        time: Option<i64>,
        zone: Option<TimeZone>,
        /// A name or a rule whose offset changes: without a date it says nothing.
        zone_needs_date: bool,
    },
}

const YEAR: u8 = 1;
const MONTH: u8 = 2;
const DAY: u8 = 4;
const YEAR_MONTH: u8 = YEAR | MONTH;
const MONTH_DAY: u8 = MONTH | DAY;
const YEAR_DAY: u8 = YEAR | DAY;
const ALL: u8 = YEAR | MONTH | DAY;

#[derive(Default)]
pub(super) struct Decoder {
    order: DateOrder,
    pub(super) time_only: bool,
    have: u8,
    year: i64,
    month: u32,
    day: u32,
    day_of_year: Option<u32>,
    julian: Option<i64>,
    /// The date of a word, in days since 2000.
    days: Option<i64>,
    short_year: bool,
    text_month: bool,
    pub(super) before_christ: bool,
    time: Option<(i64, i64, i64)>,
    pub(super) afternoon: Option<bool>,
    pub(super) zone: Option<TimeZone>,
    zone_needs_date: bool,
    pub(super) next_is_julian: bool,
    pub(super) next_is_time: bool,
    /// There was an era or a weekday.
    pub(super) has_other_word: bool,
    /// A word that stands for a date and its time, whatever else there is.
    whole: Option<Moment>,
    has_whole: bool,
}

pub(super) fn fixed(seconds: i32) -> Read<TimeZone> {
    Ok(TimeZone::fixed(Offset::from_seconds(seconds).map_err(|_| Refused::ZoneOffset)?))
}

impl Decoder {
    pub(super) fn new(order: DateOrder, time_only: bool) -> Self {
        Self { order, time_only, ..Self::default() }
    }

    fn set(&mut self, part: u8) -> Read<()> {
        if self.have & part != 0 {
            return Err(Refused::Syntax);
        }
        self.have |= part;
        Ok(())
    }

    /// Whether nothing of a date was there.
    pub(super) const fn has_no_date(&self) -> bool {
        self.have == 0 && self.julian.is_none()
    }

    /// Whether a date is complete: what else there is can only be a time or a zone.
    const fn has_date(&self) -> bool {
        self.have & ALL == ALL || self.julian.is_some()
    }

    /// Takes up infinity or epoch.
    pub(super) fn set_whole(&mut self, moment: Moment) -> Read<()> {
        if std::mem::replace(&mut self.has_whole, true) {
            return Err(Refused::Syntax);
        }
        self.whole = Some(moment);
        Ok(())
    }

    /// Takes up a day that a word stands for.
    pub(super) fn set_days(&mut self, days: i64) -> Read<()> {
        if self.julian.is_some() {
            return Err(Refused::Syntax);
        }
        self.set(ALL)?;
        (self.days, self.whole) = (Some(days), None);
        Ok(())
    }

    /// Takes up midnight in UTC.
    pub(super) fn set_midnight(&mut self) -> Read<()> {
        if self.time.is_some() || self.zone.is_some() {
            return Err(Refused::Syntax);
        }
        (self.time, self.zone, self.whole) = (Some((0, 0, 0)), Some(TimeZone::UTC), None);
        Ok(())
    }

    pub(super) fn text_month(&mut self, month: u32) -> Read<()> {
        // "1 Jan": the number was taken for a month before the name came.
        if self.have & MONTH != 0
            && !self.text_month
            && self.have & DAY == 0
            && (1..=31).contains(&self.month)
        {
            self.day = self.month;
            self.have = self.have & !MONTH | DAY;
        }
        self.set(MONTH)?;
        self.month = month;
        self.text_month = true;
        Ok(())
    }

    /// Refuses a date in one field behind anything but a zone.
    fn require_no_other(&self) -> Read<()> {
        let is_word = self.has_other_word || self.has_whole;
        let is_other = self.time.is_some() || self.afternoon.is_some() || is_word;
        if is_other { Err(Refused::Syntax) } else { Ok(()) }
    }

    pub(super) fn date_field(&mut self, field: &str) -> Read<()> {
        if self.next_is_julian {
            return Err(Refused::Syntax);
        }
        if self.has_date() {
            return self.time_with_zone(field);
        }
        let mut parts: Vec<&str> = Vec::new();
        let mut rest = field;
        while !rest.is_empty() {
            rest = rest.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
            let alphabetic = rest.starts_with(|c: char| c.is_ascii_alphabetic());
            let (part, after) =
                take_while(rest, |c| if alphabetic { c.is_ascii_alphabetic() } else { c.is_ascii_digit() });
            if !part.is_empty() {
                parts.push(part);
            }
            rest = after;
        }
        let is_word = |part: &&str| part.starts_with(|c: char| c.is_ascii_alphabetic());
        self.require_no_other()?;
        for part in parts.iter().filter(|part| is_word(part)) {
            let month = words::month(&part.to_ascii_lowercase()).ok_or(Refused::Syntax)?;
            self.text_month(month)?;
        }
        for part in parts.iter().filter(|part| !is_word(part)) {
            self.date_number(part)?;
        }
        if self.have & ALL == ALL || self.day_of_year.is_some() { Ok(()) } else { Err(Refused::Syntax) }
    }

    /// A zone's name with signs in it, or digits of a time with an offset behind them: hhmm-hh.
    pub(super) fn time_with_zone(&mut self, field: &str) -> Read<()> {
        if !field.starts_with(|c: char| c.is_ascii_digit()) {
            return self.named_zone(field);
        }
        let sign = field.find('-').filter(|_| self.time.is_none()).ok_or(Refused::Syntax)?;
        let (digits, offset) = field.split_at(sign);
        self.offset_field(offset)?;
        let (whole, fraction) =
            digits.split_once('.').map_or((digits, None), |(whole, rest)| (whole, Some(rest)));
        self.run_together(whole, fraction, true)
    }

    /// One number of a date, by its length and by what is there already.
    fn date_number(&mut self, digits: &str) -> Read<()> {
        let value = digits_of(digits)?;
        let len = digits.len();
        let year_first = self.order == DateOrder::Ymd;
        if len == 3 && self.have & ALL == YEAR && (1..=366).contains(&value) {
            self.have |= MONTH | DAY;
            self.day_of_year = Some(value as u32);
            return Ok(());
        }
        let part = match self.have & ALL {
            0 if len >= 3 || year_first => YEAR,
            0 if self.order == DateOrder::Dmy => DAY,
            0 | YEAR | DAY => MONTH,
            MONTH if self.text_month && (len >= 3 || year_first) => YEAR,
            MONTH => DAY,
            YEAR_MONTH => {
                if self.text_month && len >= 3 && self.short_year {
                    // "08-Jan-1999" read year first: the short one was the day.
                    self.day = u32::try_from(self.year).map_err(|_| Refused::Field)?;
                    self.have = self.have & !YEAR | DAY;
                    YEAR
                } else {
                    DAY
                }
            }
            MONTH_DAY => YEAR,
            YEAR_DAY => MONTH,
            _ => return Err(Refused::Syntax),
        };
        self.set(part)?;
        match part {
            YEAR => {
                self.year = value;
                self.short_year = len <= 2;
            }
            MONTH => self.month = u32::try_from(value).map_err(|_| Refused::Field)?,
            _ => self.day = u32::try_from(value).map_err(|_| Refused::Field)?,
        }
        Ok(())
    }

    pub(super) fn number(&mut self, field: &str) -> Read<()> {
        let (whole, fraction) =
            field.split_once('.').map_or((field, None), |(whole, rest)| (whole, Some(rest)));
        if self.next_is_julian {
            // It is a whole date.
            if !self.has_no_date() {
                return Err(Refused::Syntax);
            }
            self.next_is_julian = false;
            (self.julian, self.whole) = (Some(digits_of(whole)?), None);
            if let Some(fraction) = fraction {
                if self.time.is_some() {
                    return Err(Refused::Syntax);
                }
                let part: f64 = format!("0.{fraction}").parse().map_err(|_| Refused::Syntax)?;
                let seconds = part * 86_400.0;
                self.time = Some((0, 0, (seconds * 1e6).round_ties_even() as i64));
            }
            return Ok(());
        }
        let complete = self.has_date() || self.time_only;
        if let Some(fraction) = fraction {
            if !complete && self.have == 0 && whole.len() <= 4 && !fraction.is_empty() {
                self.require_no_other()?;
                // "1999.008": a year and its day.
                self.date_number(whole)?;
                self.date_number(fraction)?;
                return if self.have & ALL == ALL { Ok(()) } else { Err(Refused::Syntax) };
            }
            return self.run_together(whole, Some(fraction), complete);
        }
        if whole.len() >= 6 && (!complete || self.time.is_none()) {
            return self.run_together(whole, None, complete);
        }
        if complete {
            return self.run_together(whole, None, true);
        }
        self.date_number(whole)
    }

    /// yymmdd, yyyymmdd, hhmmss or hhmm. With a date, minutes and more may be any number of two digits: they
    /// lead past the hour and past midnight.
    fn run_together(&mut self, digits: &str, fraction: Option<&str>, date_complete: bool) -> Read<()> {
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Refused::Syntax);
        }
        let part = |range: std::ops::Range<usize>| digits_of(digits.get(range).unwrap_or_default());
        let len = digits.len();
        if fraction.is_none() && !date_complete {
            if len < 6 {
                return Err(Refused::Syntax);
            }
            self.set(ALL)?;
            self.year = part(0..len - 4)?;
            self.short_year = len == 6;
            self.month = part(len - 4..len - 2)? as u32;
            self.day = part(len - 2..len)? as u32;
            return Ok(());
        }
        if self.time.is_some() {
            return Err(Refused::Syntax);
        }
        let micros = fraction.map_or(Some(0), fraction_micros).ok_or(Refused::Syntax)?;
        let (hour, minute, second) = match len {
            6 => (part(0..2)?, part(2..4)?, part(4..6)?),
            4 => (part(0..2)?, part(2..4)?, 0),
            _ => return Err(Refused::Syntax),
        };
        self.time = Some((hour, minute, second * MICROS_PER_SECOND + micros));
        Ok(())
    }

    /// h:m, h:m:s, h:m:s.f and m:s.f
    pub(super) fn time_field(&mut self, field: &str) -> Read<()> {
        if self.time.is_some() {
            return Err(Refused::Syntax);
        }
        let (whole, fraction) =
            field.split_once('.').map_or((field, None), |(whole, rest)| (whole, Some(rest)));
        let micros = fraction.map_or(Some(0), fraction_micros).ok_or(Refused::Syntax)?;
        let parts = whole.split(':').map(digits_of).collect::<Read<Vec<i64>>>()?;
        self.time = Some(match (parts.as_slice(), fraction.is_some()) {
            ([minute, second], true) => (0, *minute, second * MICROS_PER_SECOND + micros),
            ([hour, minute], false) => (*hour, *minute, 0),
            ([hour, minute, second], _) => (*hour, *minute, second * MICROS_PER_SECOND + micros),
            _ => return Err(Refused::Syntax),
        });
        match self.time {
            Some((_, minute, micros)) if minute > 59 || micros >= 61 * MICROS_PER_SECOND => {
                Err(Refused::Field)
            }
            // A time alone is judged when it is known whether it is before noon.
            _ if self.time_only => Ok(()),
            _ => self.check_time(),
        }
    }

    /// A leap second is one more, and none leads past midnight.
    fn check_time(&self) -> Read<()> {
        match self.time {
            Some((hour, minute, micros))
                if hour > 24
                    || minute > 59
                    || micros >= 61 * MICROS_PER_SECOND
                    || (hour * 60 + minute) * 60 * MICROS_PER_SECOND + micros > MICROS_PER_DAY =>
            {
                Err(Refused::Field)
            }
            _ => Ok(()),
        }
    }

    /// ±h, ±hhmm, ±h:m, ±h:m:s
    pub(super) fn offset_field(&mut self, field: &str) -> Read<()> {
        if self.zone.is_some() {
            return Err(Refused::Syntax);
        }
        // What is too far is told first, wherever it stands.
        self.zone = Some(fixed(offset_seconds(field)?)?);
        Ok(())
    }

    pub(super) fn named_zone(&mut self, name: &str) -> Read<()> {
        if self.zone.is_some() {
            return Err(Refused::Syntax);
        }
        let abbreviation = of_abbreviation(name);
        let is_lasting = abbreviation.is_none();
        let zone = abbreviation.or_else(|| parse_zone_name(name));
        let zone = zone.ok_or_else(|| Refused::Zone(name.to_owned()))?;
        self.zone_needs_date = is_lasting && !is_fixed(&zone);
        self.zone = Some(zone);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Read<Moment> {
        let date = self.date()?;
        if let Some(whole) = self.whole {
            return Ok(whole);
        }
        if let (Some((hour, _, _)), Some(afternoon)) = (&mut self.time, self.afternoon) {
            if *hour > 12 {
                return Err(Refused::Field);
            }
            *hour = *hour % 12 + if afternoon { 12 } else { 0 };
        }
        if self.time_only {
            self.check_time()?;
        } else if date.is_none() {
            return Err(Refused::Syntax);
        } else if self.afternoon == Some(true) {
            // A date with PM and no time is at noon.
            self.time.get_or_insert((12, 0, 0));
        }
        if date.is_none() && self.have != 0 {
            return Err(Refused::Syntax);
        }
        let time = self
            .time
            .map(|(hour, minute, micros)| hour * MICROS_PER_HOUR + minute * MICROS_PER_MINUTE + micros);
        Ok(Moment::Fields { date, time, zone: self.zone, zone_needs_date: self.zone_needs_date })
    }

    /// The date, if it is complete; what there is of one must be right.
    fn date(&mut self) -> Read<Option<i64>> {
        Ok(match (self.julian, self.days) {
            (Some(julian), _) => Some(julian + i64::from(FIRST_DAY)),
            (None, Some(days)) => Some(days),
            (None, None) if self.have & ALL == ALL => Some(self.days()?),
            _ if self.have & MONTH != 0 && !(1..=12).contains(&self.month) => return Err(Refused::Order),
            _ if self.have & DAY != 0 && !(1..=31).contains(&self.day) => return Err(Refused::Order),
            _ => None,
        })
    }

    fn days(&mut self) -> Read<i64> {
        if self.before_christ {
            if self.year <= 0 {
                return Err(Refused::Field);
            }
            self.year = 1 - self.year;
        } else if self.short_year {
            self.year += if self.year < 70 { 2000 } else { 1900 };
        } else if self.year <= 0 {
            return Err(Refused::Field);
        }
        if let Some(day) = self.day_of_year {
            let start = days_from_civil(self.year, 1, 1);
            return Ok(start + i64::from(day) - 1);
        }
        if !(1..=12).contains(&self.month) || !(1..=31).contains(&self.day) {
            return Err(Refused::Order);
        }
        if self.day > days_in_month(self.year, self.month) {
            return Err(Refused::Field);
        }
        Ok(days_from_civil(self.year, self.month, self.day))
    }
}
