//! bytea as text: hexadecimal and escape forms.

use crate::error::{Error, Result};
use crate::integer::is_space;
use crate::style::ByteaOutput;
use crate::work;
use sqlstate::SqlState;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends hexadecimal digits.
pub(crate) fn write_hex(bytes: &[u8], out: &mut String) {
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    }
}

/// Appends the escape form: backslash doubled, bytes outside of printable ASCII as three octal digits.
pub(crate) fn write_escape(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            0x20..=0x7e => out.push(char::from(*byte)),
            _ => {
                out.push('\\');
                for shift in [6, 3, 0] {
                    out.push(char::from(b'0' + (byte >> shift & 7)));
                }
            }
        }
    }
}

pub(crate) fn write(bytes: &[u8], style: ByteaOutput, out: &mut String) {
    match style {
        ByteaOutput::Hex => {
            out.push_str("\\x");
            write_hex(bytes, out);
        }
        ByteaOutput::Escape => write_escape(bytes, out),
    }
}

/// Pairs of hexadecimal digits, blanks between them ignored.
pub(crate) fn parse_hex(text: &str) -> Result<Vec<u8>> {
    let invalid = |what: String| Error::new(SqlState::INVALID_PARAMETER_VALUE, what);
    let digit =
        |c: char| c.to_digit(16).ok_or_else(|| invalid(format!("invalid hexadecimal digit: \"{c}\"")));
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut characters = text.chars();
    while let Some(first) = characters.next() {
        if is_space(first) {
            continue;
        }
        let high = digit(first)?;
        let second = characters
            .next()
            .ok_or_else(|| invalid("invalid hexadecimal data: odd number of digits".to_owned()))?;
        out.push((high * 16 + digit(second)?) as u8);
    }
    Ok(out)
}

/// The escape form.
pub(crate) fn parse_escape(text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if out.len().is_multiple_of(work::STEPS) {
            work::check()?;
        }
        if *first != b'\\' {
            out.push(*first);
            rest = after;
            continue;
        }
        match after {
            [b'\\', after @ ..] => {
                out.push(b'\\');
                rest = after;
            }
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                return Err(Error::new(
                    SqlState::INVALID_TEXT_REPRESENTATION,
                    "invalid input syntax for type bytea",
                ));
            }
        }
    }
    Ok(out)
}

pub(crate) fn parse(text: &str) -> Result<Vec<u8>> {
    match text.strip_prefix("\\x") {
        Some(digits) => parse_hex(digits),
        None => parse_escape(text),
    }
}
