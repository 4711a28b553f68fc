//! Integers, OIDs, booleans, LSNs and UUIDs as text.

use crate::error::{Error, Result};

/// The blanks that C's isspace knows.
pub const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// `text` without blanks at both ends.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// A decimal integer of `min..=max` with an optional sign.
pub(crate) fn parse_integer(text: &str, name: &'static str, min: i64, max: i64) -> Result<i64> {
    let trimmed = trim(text);
    let (negative, digits) = match trimmed.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.first().is_some_and(u8::is_ascii_digit) {
        return Err(Error::invalid_text(name, text));
    }
    // Negative throughout, because that side reaches further.
    let mut value = 0i64;
    let lowest = if negative { min } else { -max };
    for byte in digits {
        if !byte.is_ascii_digit() {
            return Err(Error::invalid_text(name, text));
        }
        value = match value.checked_mul(10).and_then(|value| value.checked_sub(i64::from(byte - b'0'))) {
            Some(value) if value >= lowest => value,
            _ => return Err(Error::text_out_of_range(name, text)),
        };
    }
    Ok(if negative { value } else { -value })
}

/// An unsigned 32-bit number as strtoul reads it: a negative one wraps.
pub(crate) fn parse_unsigned(text: &str, name: &'static str) -> Result<u32> {
    let value = parse_integer(text, name, i64::from(i32::MIN), i64::from(u32::MAX))?;
    Ok(value as u32)
}

/// An unsigned 64-bit number.
pub(crate) fn parse_u64(text: &str, name: &'static str) -> Result<u64> {
    let trimmed = trim(text);
    if trimmed.is_empty() || !trimmed.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::invalid_text(name, text));
    }
    trimmed.parse().map_err(|_| Error::text_out_of_range(name, text))
}

/// true, yes, on, 1 and false, no, off, 0; unique beginnings and any case.
pub(crate) fn parse_bool(text: &str) -> Result<bool> {
    is_true(trim(text)).ok_or_else(|| Error::invalid_text("boolean", text))
}

/// What a boolean's word says; None if it is none.
pub fn is_true(word: &str) -> Option<bool> {
    let word = word.to_ascii_lowercase();
    let starts = |full: &str, least: usize| word.len() >= least && full.starts_with(&word);
    if starts("true", 1) || starts("yes", 1) || word == "on" || word == "1" {
        Some(true)
    } else if starts("false", 1) || starts("no", 1) || starts("off", 2) || word == "0" {
        Some(false)
    } else {
        None
    }
}

/// `X/X`: both halves in hexadecimal, of up to 8 digits.
pub(crate) fn parse_lsn(text: &str) -> Result<u64> {
    let half = |part: &str| {
        let plain = (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain.then(|| u64::from_str_radix(part, 16).ok()).flatten()
    };
    text.split_once('/')
        .and_then(|(high, low)| Some(half(high)? << 32 | half(low)?))
        .ok_or_else(|| Error::invalid_text("pg_lsn", text))
}

/// 32 hexadecimal digits, hyphens after any group of four, braces around it if wanted.
pub(crate) fn parse_uuid(text: &str) -> Result<[u8; 16]> {
    let invalid = || Error::invalid_text("uuid", text);
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}').ok_or_else(invalid)?,
        None => text,
    };
    let mut out = [0; 16];
    let mut bytes = inner.bytes().peekable();
    for (at, slot) in out.iter_mut().enumerate() {
        if at % 2 == 0 && at > 0 && bytes.peek() == Some(&b'-') {
            bytes.next();
        }
        let mut nibble = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (nibble().ok_or_else(invalid)?, nibble().ok_or_else(invalid)?);
        *slot = (high * 16 + low) as u8;
    }
    if bytes.next().is_some() { Err(invalid()) } else { Ok(out) }
}
