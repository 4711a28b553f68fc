//! Dates and times as text: fields in any usual order, as PostgreSQL's reader takes them.

use super::decoder::{Decoder, Moment, fixed};
use super::tokens::{Read, Refused, Token, tokens};
use super::words;
use super::zone::{local_from_utc, offset_seconds_at, utc_from_local};
use super::{
    DATE_INFINITY, DATE_NEGATIVE_INFINITY, INFINITY, MICROS_PER_DAY, MICROS_PER_SECOND, NEGATIVE_INFINITY,
    date_in_range, timestamp_in_range,
};
use crate::error::{Error, Result};
use crate::style::Style;
use jiff::tz::TimeZone;
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

fn decode(text: &str, style: &Style, time_only: bool) -> Read<Moment> {
    let tokens = tokens(text)?;
    // A time alone may have a date before it in some forms only.
    let date_may_lead = tokens.len() > 1
        && (matches!(tokens.last(), Some(Token::Date(_))) || matches!(tokens.get(1), Some(Token::Time(_))));
    let count = tokens.len();
    if count == 0 {
        return Err(Refused::Syntax);
    }
    let mut decoder = Decoder::new(style.date_order, time_only);
    for (at, token) in tokens.into_iter().enumerate() {
        let is_number = matches!(token, Token::Number(_) | Token::Date(_));
        let is_time = is_number || matches!(token, Token::Time(_));
        if (decoder.next_is_julian && !is_number) || (decoder.next_is_time && !is_time) {
            return Err(Refused::Syntax);
        }
        decoder.next_is_time = false;
        match token {
            Token::Date(field) if time_only && !(at == 0 && date_may_lead) => {
                decoder.time_with_zone(&field)?;
            }
            Token::Date(field) => decoder.date_field(&field)?,
            Token::Time(field) => decoder.time_field(&field)?,
            Token::Offset(field) => decoder.offset_field(&field)?,
            Token::Number(field) => decoder.number(&field)?,
            Token::Signed('-', word) if word == "infinity" && !time_only => {
                decoder.set_whole(Moment::Infinite(false))?;
            }
            Token::Signed(..) => return Err(Refused::Syntax),
            Token::Word(word) if word == "now" => {
                return if count == 1 {
                    Ok(Moment::Absolute(style.now_micros))
                } else {
                    Err(Refused::Syntax)
                };
            }
            Token::Word(word) => keyword(&word, style, &mut decoder)?,
        }
    }
    if decoder.next_is_julian || decoder.next_is_time {
        return Err(Refused::Syntax);
    }
    decoder.finish()
}

/// A word that stands for something.
fn keyword(word: &str, style: &Style, decoder: &mut Decoder) -> Read<()> {
    let today = || {
        let offset = i64::from(offset_seconds_at(style.now_micros, &style.zone));
        (style.now_micros + offset * MICROS_PER_SECOND).div_euclid(MICROS_PER_DAY)
    };
    let time_only = decoder.time_only;
    match word {
        "epoch" if !time_only => decoder.set_whole(Moment::Epoch)?,
        "infinity" if !time_only => decoder.set_whole(Moment::Infinite(true))?,
        "today" if !time_only => decoder.set_days(today())?,
        "tomorrow" if !time_only => decoder.set_days(today() + 1)?,
        "yesterday" if !time_only => decoder.set_days(today() - 1)?,
        "allballs" => decoder.set_midnight()?,
        "am" | "pm" => decoder.afternoon = Some(word == "pm"),
        "bc" | "ad" => (decoder.before_christ, decoder.has_other_word) = (word == "bc", true),
        "t" => {
            if decoder.has_no_date() && !time_only {
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
    Ok(())
}
