//! The text that to_date() and to_timestamp() read: numbers and words at its front.

use crate::error::{Error, Result};
use crate::integer::is_space;
use sqlstate::SqlState;

pub(super) fn bad(message: String) -> Error {
    Error::new(SqlState::INVALID_DATETIME_FORMAT, message)
}

const FILL_HINT: &str = "If your source string is not fixed-width, try using the \"FM\" modifier.";

/// So many bytes of a text, without a character that they break off.
fn first_bytes(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.split_at(end.unwrap_or(0)).0
}

/// The text that is still to be read.
pub(super) struct Source<'t> {
    pub(super) rest: &'t str,
}

impl<'t> Source<'t> {
    pub(super) fn skip_spaces(&mut self) -> i64 {
        let trimmed = self.rest.trim_start_matches(is_space);
        let skipped = self.rest.len() - trimmed.len();
        self.rest = trimmed;
        i64::try_from(skipped).unwrap_or(i64::MAX)
    }

    pub(super) fn skip(&mut self, characters: usize) {
        self.rest = self.rest.char_indices().nth(characters).map_or("", |(at, _)| self.rest.split_at(at).1);
    }

    /// A number of so many digits, or (`open`) of all that there are; and how many bytes it took,
    /// spaces before it among them.
    pub(super) fn number(&mut self, name: &str, width: usize, open: bool) -> Result<(i64, usize)> {
        let spaces = usize::try_from(self.skip_spaces()).unwrap_or(0);
        let whole = self.rest;
        let piece = first_bytes(whole, width);
        let text = if open { whole } else { piece };
        let sign = usize::from(text.starts_with(['+', '-']));
        let digits = text.bytes().skip(sign).take_while(u8::is_ascii_digit).count();
        let used = if digits > 0 { sign + digits } else { 0 };
        if !open {
            if whole.len() < width {
                return Err(bad(format!("source string too short for \"{name}\" formatting field"))
                    .with_detail(format!(
                        "Field requires {width} characters, but only {} remain.",
                        whole.len()
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
        if used == 0 && !open && spaces > 0 {
            // PostgreSQL takes the spaces, and no number, for 0.
            return Ok((0, spaces));
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
        Ok((i64::from(value), spaces + used))
    }

    /// An integer of so many bytes at most, its sign among them.
    pub(super) fn integer(&mut self, bytes_max: usize) -> Option<i64> {
        self.skip_spaces();
        let piece = first_bytes(self.rest, bytes_max);
        let sign = usize::from(piece.starts_with(['+', '-']));
        let digits = piece.bytes().skip(sign).take_while(u8::is_ascii_digit).count();
        let value = piece.get(..sign + digits)?.parse::<i32>().ok()?;
        self.rest = self.rest.get(sign + digits..)?;
        Some(value.into())
    }

    /// The place of the word that comes, by the first `letters` of each.
    pub(super) fn word(&mut self, name: &str, words: &[&str], letters: usize) -> Result<usize> {
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
