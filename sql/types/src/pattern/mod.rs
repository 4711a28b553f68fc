//! LIKE and regular expressions. With collation C, cases, letters, digits and blanks are those of ASCII.

mod machine;
mod node;
mod options;
mod part;
mod regex;
mod set;
mod syntax;

pub use options::Options;
pub use regex::{Regex, cached, regex_matches};

use crate::error::{Error, Result};
use crate::work;
use sqlstate::SqlState;

fn trailing_escape() -> Error {
    Error::new(SqlState::INVALID_ESCAPE_SEQUENCE, "LIKE pattern must not end with escape character")
}

/// `text LIKE pattern` with the escape character `\`; `fold` for ILIKE.
///
/// # Errors
///
/// 2201B or 22025 if the pattern is not well formed, and those of work that is to stop.
pub fn like(text: &str, pattern: &str, fold: bool) -> Result<bool> {
    like_bytes(text.as_bytes(), pattern.as_bytes(), Some(b'\\'), fold, next_character)
}

/// `bytes LIKE pattern`, where `_` stands for one byte.
///
/// # Errors
///
/// 22025 if the pattern is not well formed, and those of work that is to stop.
pub fn like_bytea(bytes: &[u8], pattern: &[u8]) -> Result<bool> {
    like_bytes(bytes, pattern, Some(b'\\'), false, |_, at| at + 1)
}

/// `text LIKE pattern ESCAPE escape`; the empty escape string turns escaping off.
///
/// # Errors
///
/// 2201B or 22025 if the pattern is not well formed, and those of work that is to stop.
pub fn like_escape(text: &str, pattern: &str, escape: &str, fold: bool) -> Result<bool> {
    let mut characters = escape.chars();
    match (characters.next(), characters.next()) {
        (None, _) => like_bytes(text.as_bytes(), pattern.as_bytes(), None, fold, next_character),
        (Some('\\'), None) => like(text, pattern, fold),
        (Some(escape), None) => like(text, &with_backslash(pattern, escape), fold),
        _ => Err(Error::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid escape string")
            .with_hint("Escape string must be empty or one character.")),
    }
}

/// The pattern with `\` as its escape character.
pub fn with_backslash(pattern: &str, escape: char) -> String {
    let mut out = String::with_capacity(pattern.len() + 4);
    let mut escaped = false;
    for c in pattern.chars() {
        if c == escape && !escaped {
            out.push('\\');
            escaped = true;
        } else {
            if c == '\\' && !escaped {
                out.push('\\');
            }
            out.push(c);
            escaped = false;
        }
    }
    out
}

/// Where what follows the character at a place begins.
type Next = fn(&[u8], usize) -> usize;

/// Goes back only to the last `%`, which is enough because what stood before it matched as early as it could.
fn like_bytes(text: &[u8], pattern: &[u8], escape: Option<u8>, fold: bool, next: Next) -> Result<bool> {
    let same = |a: u8, b: u8| if fold { a.eq_ignore_ascii_case(&b) } else { a == b };
    let (mut t, mut p) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    let mut steps = 0_usize;
    loop {
        steps += 1;
        if steps.is_multiple_of(work::STEPS) {
            work::check()?;
        }
        let matched = match (text.get(t), pattern.get(p)) {
            (None, None) => return Ok(true),
            (_, Some(b'%')) => {
                p += 1;
                retry = Some((t, p));
                continue;
            }
            (None, Some(_)) => return Ok(false),
            (Some(_), Some(b'_')) => {
                t = next(text, t);
                p += 1;
                true
            }
            (Some(byte), Some(wanted)) if Some(*wanted) == escape => {
                let literal = pattern.get(p + 1).ok_or_else(trailing_escape)?;
                let matched = same(*byte, *literal);
                t += 1;
                p += 2;
                matched
            }
            (Some(byte), Some(wanted)) => {
                let matched = same(*byte, *wanted);
                t += 1;
                p += 1;
                matched
            }
            (Some(_), None) => false,
        };
        if !matched {
            let Some((from, after_percent)) = retry else { return Ok(false) };
            let from = next(text, from);
            if from > text.len() {
                return Ok(false);
            }
            retry = Some((from, after_percent));
            (t, p) = (from, after_percent);
        }
    }
}

/// The start of the character after the one at `at`.
fn next_character(text: &[u8], at: usize) -> usize {
    let mut next = at + 1;
    while text.get(next).is_some_and(|byte| byte & 0xC0 == 0x80) {
        next += 1;
    }
    next
}

/// The characters that any match of a LIKE pattern starts with: a range for an index.
pub fn like_prefix(pattern: &str) -> String {
    let mut out = String::new();
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        match c {
            '%' | '_' => break,
            '\\' => out.extend(characters.next()),
            c => out.push(c),
        }
    }
    out
}
