//! Dates and times as text: fields in any usual order, as PostgreSQL's reader takes them.

use super::calendar::{days_from_civil, days_in_month};
use super::tokens::{Read, Refused, Token, digits_of, fraction_micros, offset_seconds, take_while, tokens};
use super::words;
use super::zone::{
    is_fixed, local_from_utc, of_abbreviation, offset_seconds_at, parse_zone_name, utc_from_local,
};
use super::{
    DATE_INFINITY, DATE_NEGATIVE_INFINITY, FIRST_DAY, INFINITY, MICROS_PER_DAY, MICROS_PER_HOUR,
    MICROS_PER_MINUTE, MICROS_PER_SECOND, NEGATIVE_INFINITY, date_in_range, timestamp_in_range,
};
use crate::error::{Error, Result};
use crate::style::{DateOrder, Style};
use jiff::tz::{Offset, TimeZone};
use sqlstate::SqlState;

/// Reads a date.
///
/// # Errors
///
/// 22007, 22008, 22009 or 22023 if the text is no such value.
pub fn parse_date(text: &str, style: &Style) -> Result<i32> {
    let read = || {
        Ok(match decode(text, style, false)? {
            Moment::Infinite(true) => DATE_INFINITY,
            Moment::Infinite(false) => DATE_NEGATIVE_INFINITY,
            Moment::Epoch => (EPOCH_MICROS / MICROS_PER_DAY) as i32,
            Moment::Absolute(micros) => {
                let local = local_from_utc(micros, &style.zone).ok_or(Refused::Field)?;
                local.div_euclid(MICROS_PER_DAY) as i32
            }
            Moment::Fields { date: Some(days), .. } => {
                i32::try_from(days).ok().filter(|days| date_in_range(*days)).ok_or(Refused::Syntax)?
            }
            Moment::Fields { date: None, .. } => return Err(Refused::Syntax),
        })
    };
    read().map_err(|refused| match refused {
        // A date that parses but lies outside of the calendar's range has its own words.
        Refused::Syntax if matches!(decode(text, style, false), Ok(Moment::Fields { date: Some(_), .. })) => {
            Error::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("date out of range: \"{text}\""))
        }
        other => other.explain("date", text),
    })
}

/// Reads a time of day.
///
/// # Errors
///
/// 22007, 22008, 22009 or 22023 if the text is no such value.
pub fn parse_time(text: &str, style: &Style) -> Result<i64> {
    let read = || match decode(text, style, true)? {
        Moment::Absolute(micros) => {
            let local = local_from_utc(micros, &style.zone).ok_or(Refused::Field)?;
            Ok(local.rem_euclid(MICROS_PER_DAY))
        }
        // Which offset a zone has, a time alone does not say.
        Moment::Fields { date: None, zone_needs_date: true, .. } => Err(Refused::Syntax),
        // Before noon it was a time of day.
        Moment::Fields { time: Some(micros), .. } if micros > MICROS_PER_DAY => Err(Refused::Field),
        Moment::Fields { time: Some(micros), .. } => Ok(micros),
        _ => Err(Refused::Syntax),
    };
    read().map_err(|refused| refused.explain("time", text))
}

/// Reads a timestamp; a zone in it is ignored.
///
/// # Errors
///
/// 22007, 22008, 22009 or 22023 if the text is no such value.
pub fn parse_timestamp(text: &str, style: &Style) -> Result<i64> {
    let read = || match decode(text, style, false)? {
        Moment::Infinite(later) => Ok(Ok(if later { INFINITY } else { NEGATIVE_INFINITY })),
        Moment::Epoch => Ok(Ok(EPOCH_MICROS)),
        Moment::Absolute(micros) => local_from_utc(micros, &style.zone).map(Ok).ok_or(Refused::Field),
        Moment::Fields { date: Some(days), time, .. } => Ok(at(days, time).ok_or(())),
        Moment::Fields { .. } => Err(Refused::Syntax),
    };
    in_range(read(), "timestamp", text)
}

/// Reads a timestamp with time zone; without a zone in it the session's is meant.
///
/// # Errors
///
/// 22007, 22008, 22009 or 22023 if the text is no such value.
pub fn parse_timestamptz(text: &str, style: &Style) -> Result<i64> {
    let read = || match decode(text, style, false)? {
        Moment::Infinite(later) => Ok(Ok(if later { INFINITY } else { NEGATIVE_INFINITY })),
        Moment::Epoch => Ok(Ok(EPOCH_MICROS)),
        Moment::Absolute(micros) => Ok(Ok(micros)),
        Moment::Fields { date: Some(days), time, zone, .. } => {
            let Some(local) = at_unchecked(days, time) else { return Ok(Err(())) };
            Ok(utc_from_local(local, zone.as_ref().unwrap_or(&style.zone)).ok_or(()))
        }
        Moment::Fields { .. } => Err(Refused::Syntax),
    };
    in_range(read(), "timestamp with time zone", text)
}

fn in_range(read: Read<std::result::Result<i64, ()>>, name: &str, text: &str) -> Result<i64> {
    match read {
        Ok(Ok(micros)) => Ok(micros),
        Ok(Err(())) => {
            Err(Error::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("timestamp out of range: \"{text}\"")))
        }
        Err(refused) => Err(refused.explain(name, text)),
    }
}

fn at_unchecked(days: i64, time: Option<i64>) -> Option<i64> {
    days.checked_mul(MICROS_PER_DAY)?.checked_add(time.unwrap_or(0))
}

fn at(days: i64, time: Option<i64>) -> Option<i64> {
    at_unchecked(days, time).filter(|micros| timestamp_in_range(*micros))
}

/// 1970-01-01 since 2000-01-01.
const EPOCH_MICROS: i64 = -946_684_800_000_000;

/// What a text says.
enum Moment {
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
struct Decoder {
    order: DateOrder,
    time_only: bool,
    have: u8,
    year: i64,
    month: u32,
    day: u32,
    day_of_year: Option<u32>,
    julian: Option<i64>,
    short_year: bool,
    text_month: bool,
    before_christ: bool,
    time: Option<(i64, i64, i64)>,
    afternoon: Option<bool>,
    zone: Option<TimeZone>,
    zone_needs_date: bool,
    next_is_julian: bool,
    next_is_time: bool,
    /// There was an era or a weekday.
    has_other_word: bool,
    /// There was a word that stands for a date and its time.
    is_whole: bool,
}

fn decode(text: &str, style: &Style, time_only: bool) -> Read<Moment> {
    let tokens = tokens(text)?;
    let mut decoder = Decoder { order: style.date_order, time_only, ..Decoder::default() };
    let mut special: Option<Moment> = None;
    let count = tokens.len();
    if count == 0 {
        return Err(Refused::Syntax);
    }
    for token in tokens {
        let is_number = matches!(token, Token::Number(_) | Token::Date(_));
        let is_time = is_number || matches!(token, Token::Time(_));
        if (decoder.next_is_julian && !is_number) || (decoder.next_is_time && !is_time) {
            return Err(Refused::Syntax);
        }
        decoder.next_is_time = false;
        match token {
            Token::Date(field) => decoder.date_field(&field)?,
            Token::Time(field) => decoder.time_field(&field)?,
            Token::Offset(field) => decoder.offset_field(&field)?,
            Token::Number(field) => decoder.number(&field, time_only)?,
            Token::Signed('-', word) if word == "infinity" && special.is_none() => {
                special = Some(Moment::Infinite(false));
                decoder.is_whole = true;
            }
            Token::Signed(..) => return Err(Refused::Syntax),
            Token::Word(word) => {
                if let Some(found) = keyword(&word, style, time_only, &mut decoder)? {
                    if special.is_some() {
                        return Err(Refused::Syntax);
                    }
                    special = Some(found);
                }
            }
        }
    }
    if decoder.next_is_julian || decoder.next_is_time {
        return Err(Refused::Syntax);
    }
    match special {
        Some(whole @ (Moment::Infinite(_) | Moment::Absolute(_) | Moment::Epoch)) if count == 1 => Ok(whole),
        // A zone is taken and has no effect.
        Some(whole @ (Moment::Infinite(_) | Moment::Epoch)) if decoder.has_zone_alone() => Ok(whole),
        // "now UTC" and the like are refused; "today 12:00" is a date with a time.
        Some(Moment::Fields { date, time, .. }) if decoder.have == 0 && decoder.julian.is_none() => {
            let rest = decoder.finish(true)?;
            let Moment::Fields { time: written, zone, zone_needs_date, .. } = rest else {
                return Err(Refused::Syntax);
            };
            Ok(Moment::Fields { date, time: written.or(time), zone, zone_needs_date })
        }
        Some(_) => Err(Refused::Syntax),
        None => decoder.finish(time_only),
    }
}

/// Words that stand for something; None if the decoder took it up.
fn keyword(word: &str, style: &Style, time_only: bool, decoder: &mut Decoder) -> Read<Option<Moment>> {
    let today = || {
        let offset = i64::from(offset_seconds_at(style.now_micros, &style.zone));
        (style.now_micros + offset * MICROS_PER_SECOND).div_euclid(MICROS_PER_DAY)
    };
    let day = |days: i64| {
        Ok(Some(Moment::Fields { date: Some(days), time: Some(0), zone: None, zone_needs_date: false }))
    };
    match word {
        "now" => return Ok(Some(Moment::Absolute(style.now_micros))),
        "epoch" | "infinity" if !time_only => {
            decoder.is_whole = true;
            return Ok(Some(if word == "epoch" { Moment::Epoch } else { Moment::Infinite(true) }));
        }
        "today" if !time_only => return day(today()),
        "tomorrow" if !time_only => return day(today() + 1),
        "yesterday" if !time_only => return day(today() - 1),
        "allballs" => {
            if decoder.time.is_some() || decoder.zone.is_some() {
                return Err(Refused::Syntax);
            }
            decoder.zone = Some(TimeZone::UTC);
            decoder.time = Some((0, 0, 0));
        }
        "am" | "pm" => decoder.afternoon = Some(word == "pm"),
        "bc" | "ad" => (decoder.before_christ, decoder.has_other_word) = (word == "bc", true),
        "t" => {
            if decoder.have == 0 && decoder.julian.is_none() && !time_only {
                return Err(Refused::Syntax);
            }
            decoder.next_is_time = true;
        }
        "j" | "jd" | "julian" => decoder.next_is_julian = true,
        "at" | "on" => {}
        "dst" => {
            let Some(Ok(offset)) = decoder.zone.as_ref().map(TimeZone::to_fixed_offset) else {
                return Err(Refused::Syntax);
            };
            decoder.zone = Some(fixed(offset.seconds() + 3600)?);
        }
        _ => {
            if let Some(month) = words::month(word) {
                decoder.text_month(month)?;
            } else if words::is_weekday(word) {
                // A weekday says nothing that the date does not say.
                decoder.has_other_word = true;
            } else {
                decoder.named_zone(word).map_err(|_| Refused::Syntax)?;
            }
        }
    }
    Ok(None)
}

fn fixed(seconds: i32) -> Read<TimeZone> {
    Ok(TimeZone::fixed(Offset::from_seconds(seconds).map_err(|_| Refused::ZoneOffset)?))
}

impl Decoder {
    fn set(&mut self, part: u8) -> Read<()> {
        if self.have & part != 0 {
            return Err(Refused::Syntax);
        }
        self.have |= part;
        Ok(())
    }

    /// Whether nothing else was there than a zone.
    fn has_zone_alone(&self) -> bool {
        let is_empty = self.have == 0 && self.time.is_none() && self.julian.is_none();
        is_empty && self.afternoon.is_none() && self.zone.is_some()
    }

    fn text_month(&mut self, month: u32) -> Read<()> {
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
        let is_other = self.time.is_some() || self.afternoon.is_some() || self.has_other_word;
        if is_other { Err(Refused::Syntax) } else { Ok(()) }
    }

    fn date_field(&mut self, field: &str) -> Read<()> {
        if self.next_is_julian {
            return Err(Refused::Syntax);
        }
        if self.have & ALL == ALL || self.julian.is_some() || self.day_of_year.is_some() {
            // With the date complete this can only be a zone.
            return self.named_zone(field);
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
        if self.time_only && self.have == 0 && parts.iter().filter(|part| is_word(part)).count() > 1 {
            return self.named_zone(field).map_err(|_| Refused::Syntax);
        }
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

    fn number(&mut self, field: &str, time_only: bool) -> Read<()> {
        let (whole, fraction) =
            field.split_once('.').map_or((field, None), |(whole, rest)| (whole, Some(rest)));
        if self.next_is_julian {
            // It is a whole date.
            if self.have != 0 || self.julian.is_some() || self.day_of_year.is_some() {
                return Err(Refused::Syntax);
            }
            self.next_is_julian = false;
            self.julian = Some(digits_of(whole)?);
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
        let complete = self.have & ALL == ALL || self.julian.is_some() || time_only;
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

    /// yymmdd, yyyymmdd, hhmmss or hhmm.
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
        self.check_time()
    }

    /// h:m, h:m:s, h:m:s.f and m:s.f
    fn time_field(&mut self, field: &str) -> Read<()> {
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
        self.check_time()
    }

    fn check_time(&self) -> Read<()> {
        match self.time {
            Some((_, minute, micros)) if minute > 59 || micros > 61 * MICROS_PER_SECOND - 1 => {
                Err(Refused::Field)
            }
            // A leap second is one more, and none leads past midnight.
            Some((hour, minute, micros))
                if hour > 24 || (hour * 60 + minute) * 60 * MICROS_PER_SECOND + micros > MICROS_PER_DAY =>
            {
                Err(Refused::Field)
            }
            _ => Ok(()),
        }
    }

    /// ±h, ±hhmm, ±h:m, ±h:m:s
    fn offset_field(&mut self, field: &str) -> Read<()> {
        if self.zone.is_some() {
            return Err(Refused::Syntax);
        }
        // What is too far is told first, wherever it stands.
        let offset = fixed(offset_seconds(field)?)?;
        if self.time.is_none() && self.have & ALL != ALL && self.julian.is_none() && !self.is_whole {
            return Err(Refused::Syntax);
        }
        self.zone = Some(offset);
        Ok(())
    }

    fn named_zone(&mut self, name: &str) -> Read<()> {
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

    fn finish(mut self, time_only: bool) -> Read<Moment> {
        if let (Some((hour, _, _)), Some(afternoon)) = (&mut self.time, self.afternoon) {
            if *hour > 12 {
                return Err(Refused::Field);
            }
            *hour = *hour % 12 + if afternoon { 12 } else { 0 };
        }
        if self.afternoon == Some(true) && !self.time_only {
            // A date with PM and no time is at noon.
            self.time.get_or_insert((12, 0, 0));
        }
        let time = self
            .time
            .map(|(hour, minute, micros)| hour * MICROS_PER_HOUR + minute * MICROS_PER_MINUTE + micros);
        let date = match self.julian {
            Some(julian) => Some(julian + i64::from(FIRST_DAY)),
            None if self.have & ALL == ALL => Some(self.days()?),
            None if self.have & MONTH != 0 && !(1..=12).contains(&self.month) => return Err(Refused::Order),
            None if self.have & DAY != 0 && !(1..=31).contains(&self.day) => return Err(Refused::Order),
            None if self.have != 0 || (!time_only && self.afternoon.is_some()) => {
                return Err(Refused::Syntax);
            }
            None => None,
        };
        if date.is_none() && !time_only {
            return Err(Refused::Syntax);
        }
        Ok(Moment::Fields { date, time, zone: self.zone, zone_needs_date: self.zone_needs_date })
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
