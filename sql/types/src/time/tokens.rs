//! Dates and times as text, taken apart: numbers, words, signs; and why a text is refused.

use super::words;
use crate::error::Error;
use crate::integer::is_space;
use sqlstate::SqlState;

/// Why a text is not read; turned into an [`Error`] where text and type are known.
pub(super) enum Refused {
    Syntax,
    Field,
    /// A month or day out of range: perhaps the order is not the one meant.
    Order,
    ZoneOffset,
    Zone(String),
}

/// What reading gives.
pub(super) type Read<T> = Result<T, Refused>;

impl Refused {
    pub(super) fn explain(self, name: &str, text: &str) -> Error {
        let field = || {
            Error::new(
                SqlState::DATETIME_FIELD_OVERFLOW,
                format!("date/time field value out of range: \"{text}\""),
            )
        };
        match self {
            Self::Syntax => Error::new(
                SqlState::INVALID_DATETIME_FORMAT,
                format!("invalid input syntax for type {name}: \"{text}\""),
            ),
            Self::Field => field(),
            Self::Order => field().with_hint("Perhaps you need a different \"datestyle\" setting."),
            Self::ZoneOffset => Error::new(
                SqlState::INVALID_TIME_ZONE_DISPLACEMENT_VALUE,
                format!("time zone displacement out of range: \"{text}\""),
            ),
            Self::Zone(zone) => {
                Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("time zone \"{zone}\" not recognized"))
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// Digits, perhaps with one point.
    Number(String),
    /// Digits or letters with -, / or points between.
    Date(String),
    /// Digits with colons.
    Time(String),
    /// Letters, in lower case; the original for names of zones.
    Word(String),
    /// A sign and digits.
    Offset(String),
    /// A sign and letters.
    Signed(char, String),
}

/// Takes a text apart.
pub(super) fn tokens(text: &str) -> Read<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if is_space(first) {
            rest = rest.get(1..).unwrap_or_default();
        } else if first.is_ascii_digit()
            || (first == '.' && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit))
        {
            let (token, after) = number_token(rest);
            found.push(token);
            rest = after;
        } else if first.is_ascii_alphabetic() {
            let (token, after) = word_token(rest);
            found.push(token);
            rest = after;
        } else if matches!(first, '+' | '-') {
            let after = rest.get(1..).unwrap_or_default().trim_start_matches(' ');
            let wanted = |c: char| c.is_ascii_digit() || matches!(c, ':' | '.' | '-');
            match after.chars().next() {
                Some(next) if next.is_ascii_digit() => {
                    let (offset, after) = take_while(after, wanted);
                    found.push(Token::Offset(format!("{first}{offset}")));
                    rest = after;
                }
                Some(next) if next.is_ascii_alphabetic() => {
                    let (word, after) = take_while(after, |c| c.is_ascii_alphabetic());
                    found.push(Token::Signed(first, word.to_ascii_lowercase()));
                    rest = after;
                }
                _ => return Err(Refused::Syntax),
            }
        } else if first.is_ascii_punctuation() {
            rest = rest.get(1..).unwrap_or_default();
        } else {
            return Err(Refused::Syntax);
        }
        if found.len() > 25 {
            return Err(Refused::Syntax);
        }
    }
    Ok(found)
}

pub(super) fn take_while(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c: char| !wanted(c)).unwrap_or(text.len()))
}

fn number_token(text: &str) -> (Token, &str) {
    let (_, after) = take_while(text, |c| c.is_ascii_digit());
    let taken = |after: &str| text.get(..text.len() - after.len()).unwrap_or_default().to_ascii_lowercase();
    match after.chars().next() {
        Some(':') => {
            let (_, after) = take_while(after, |c| c.is_ascii_digit() || matches!(c, ':' | '.'));
            (Token::Time(taken(after)), after)
        }
        Some(separator @ ('-' | '/' | '.')) => {
            let rest = after.get(1..).unwrap_or_default();
            if rest.starts_with(|c: char| c.is_ascii_digit()) {
                let (_, after) = take_while(rest, |c| c.is_ascii_digit());
                if after.starts_with(separator) {
                    let (_, after) = take_while(after, |c| c.is_ascii_digit() || c == separator);
                    return (Token::Date(taken(after)), after);
                }
                let token =
                    if separator == '.' { Token::Number(taken(after)) } else { Token::Date(taken(after)) };
                (token, after)
            } else if separator == '.' && !rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
                (Token::Number(taken(rest)), rest)
            } else {
                let (_, after) = take_while(rest, |c| c.is_ascii_alphanumeric() || c == separator);
                (Token::Date(taken(after)), after)
            }
        }
        _ => (Token::Number(taken(after)), after),
    }
}

fn word_token(text: &str) -> (Token, &str) {
    let (word, after) = take_while(text, |c| c.is_ascii_alphabetic());
    let lower = word.to_ascii_lowercase();
    let is_date = match after.chars().next() {
        Some('-' | '/' | '.') => true,
        Some(c) if c == '+' || c.is_ascii_digit() => !is_keyword(&lower),
        _ => false,
    };
    if is_date {
        let (all, after) =
            take_while(text, |c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '/' | '_' | '.' | ':'));
        return (Token::Date(all.to_ascii_lowercase()), after);
    }
    (Token::Word(lower), after)
}

/// Words of dates that may have digits or a plus right behind them.
fn is_keyword(word: &str) -> bool {
    words::month(word).is_some()
        || words::is_weekday(word)
        || matches!(
            word,
            "ad" | "allballs"
                | "am"
                | "at"
                | "bc"
                | "d"
                | "dow"
                | "doy"
                | "dst"
                | "epoch"
                | "h"
                | "infinity"
                | "isodow"
                | "isoyear"
                | "j"
                | "jd"
                | "julian"
                | "m"
                | "mm"
                | "now"
                | "on"
                | "pm"
                | "s"
                | "t"
                | "today"
                | "tomorrow"
                | "y"
                | "yesterday"
        )
}

/// The number of a field that is all digits.
pub(super) fn digits_of(text: &str) -> Read<i64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refused::Syntax);
    }
    text.parse::<i64>().ok().filter(|value| *value <= i64::from(i32::MAX)).ok_or(Refused::Field)
}

/// Microseconds of the digits after a point, rounded.
pub(super) fn fraction_micros(digits: &str) -> Option<i64> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if digits.is_empty() {
        return Some(0);
    }
    let value: f64 = format!("0.{digits}").parse().ok()?;
    Some((value * 1e6).round_ties_even() as i64)
}

/// Seconds ahead of UTC of `±h`, `±hhmm`, `±h:m`, `±h:m:s`.
pub(super) fn offset_seconds(field: &str) -> Read<i32> {
    let (sign, digits) = match field.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, field.strip_prefix('+').unwrap_or(field)),
    };
    let part = |digits: &str| match digits_of(digits) {
        Err(Refused::Field) => Err(Refused::ZoneOffset),
        other => other,
    };
    let parts = digits.split(':').map(part).collect::<Read<Vec<i64>>>()?;
    let (hours, minutes, seconds) = match parts.as_slice() {
        [all] if digits.len() > 2 => (all / 100, all % 100, 0),
        [hours] => (*hours, 0, 0),
        [hours, minutes] => (*hours, *minutes, 0),
        [hours, minutes, seconds] => (*hours, *minutes, *seconds),
        _ => return Err(Refused::Syntax),
    };
    if hours > 15 || minutes > 59 || seconds > 59 {
        return Err(Refused::ZoneOffset);
    }
    Ok(sign * (hours * 3600 + minutes * 60 + seconds) as i32)
}
