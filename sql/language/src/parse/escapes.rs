//! Literals with the escapes of C: `E'a\n\x41\u00e4'`.
//!
//! The parser knows no byte above 127 and no halves of a character. So the text as it is written counts, and
//! the parser only finds where such a literal ends.

use super::literals::Escaped;
use sql_interface::{Result, SqlError};
use sql_types::binary::checked_text;
use sqlstate::SqlState;
use std::iter::Peekable;
use std::str::CharIndices;

/// The text that is written so. `start`: the position of the literal, in characters from 1.
///
/// # Errors
///
/// 22021 for bytes that are no text, 22025 and 42601 for escapes of characters that are none.
pub(super) fn decoded(literal: &Escaped<'_>, start: Option<u32>) -> Result<String> {
    let mut bytes = Vec::with_capacity(literal.text.len());
    for (before, inner) in &literal.pieces {
        let before = literal.text.get(..*before).unwrap_or_default();
        let mut reader = Reader { inner, before, start, rest: inner.char_indices().peekable() };
        while let Some((at, character)) = reader.rest.next() {
            match character {
                '\\' => reader.escape(at, &mut bytes)?,
                // The second of two.
                '\'' => {
                    reader.rest.next();
                    bytes.push(b'\'');
                }
                _ => push(character, &mut bytes),
            }
        }
    }
    checked_text(&bytes)?;
    String::from_utf8(bytes).map_err(|_| SqlError::internal("a text is not what it was checked to be"))
}

fn push(character: char, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

struct Reader<'t> {
    /// A piece of the literal, and what of the literal stands before it.
    inner: &'t str,
    before: &'t str,
    start: Option<u32>,
    rest: Peekable<CharIndices<'t>>,
}

impl Reader<'_> {
    /// Reads what stands behind a backslash.
    fn escape(&mut self, at: usize, bytes: &mut Vec<u8>) -> Result<()> {
        let Some((_, escaped)) = self.rest.next() else { return Ok(()) };
        match escaped {
            'b' => bytes.push(8),
            'f' => bytes.push(12),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            '0'..='7' => {
                let first = escaped.to_digit(8).unwrap_or(0);
                let more = self.digits(8, 2);
                // Of what is more than a byte, the lower bits count.
                let code = more.iter().fold(first, |code, digit| code * 8 + digit);
                bytes.push(code.to_le_bytes()[0]);
            }
            'x' => match self.digits(16, 2).as_slice() {
                [] => bytes.push(b'x'),
                digits => bytes.push(value(digits).to_le_bytes()[0]),
            },
            'u' | 'U' => push(self.character(at, escaped)?, bytes),
            _ => push(escaped, bytes),
        }
        Ok(())
    }

    /// The character that `\u` or `\U` names, with the other half if it names one.
    fn character(&mut self, at: usize, kind: char) -> Result<char> {
        let first = self.code(at, kind)?;
        if !(0xd800..=0xdfff).contains(&first) {
            let near = || self.inner.get(at..self.offset()).unwrap_or_default();
            let character = char::from_u32(first).filter(|character| *character != '\0');
            return character.ok_or_else(|| self.wrong("invalid Unicode escape value", at, near()));
        }
        let (second_at, problem) = (self.offset(), "invalid Unicode surrogate pair");
        if first >= 0xdc00 {
            return Err(self.wrong(problem, at, self.inner.get(at..second_at).unwrap_or_default()));
        }
        let mut ahead = self.rest.clone();
        let kind = match (ahead.next(), ahead.next()) {
            (Some((_, '\\')), Some((_, kind @ ('u' | 'U')))) => kind,
            (Some((_, character)), _) => {
                return Err(self.wrong(problem, second_at, character.encode_utf8(&mut [0; 4])));
            }
            (None, _) => return Err(self.wrong(problem, second_at, "'")),
        };
        self.rest = ahead;
        let second = self.code(second_at, kind)?;
        let pair = (0xdc00..=0xdfff).contains(&second);
        let whole = pair.then(|| 0x10000 + ((first & 0x3ff) << 10) + (second & 0x3ff));
        let near = || self.inner.get(second_at..self.offset()).unwrap_or_default();
        whole.and_then(char::from_u32).ok_or_else(|| self.wrong(problem, second_at, near()))
    }

    /// The four or eight digits of an escape that begins at `at`.
    fn code(&mut self, at: usize, kind: char) -> Result<u32> {
        let length = if kind == 'u' { 4 } else { 8 };
        let digits = self.digits(16, length);
        if digits.len() == length {
            return Ok(value(&digits));
        }
        let error = SqlError::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid Unicode escape")
            .with_hint("Unicode escapes must be \\uXXXX or \\UXXXXXXXX.");
        Err(error.at(self.position(at)))
    }

    /// Takes digits, at most so many.
    fn digits(&mut self, radix: u32, most: usize) -> Vec<u32> {
        let mut taken = Vec::with_capacity(most);
        while taken.len() < most
            && let Some(digit) = self.rest.peek().and_then(|(_, next)| next.to_digit(radix))
        {
            taken.push(digit);
            self.rest.next();
        }
        taken
    }

    /// How many bytes are read.
    fn offset(&self) -> usize {
        self.rest.clone().next().map_or(self.inner.len(), |(at, _)| at)
    }

    fn wrong(&self, problem: &str, at: usize, near: &str) -> SqlError {
        SqlError::syntax(format!("{problem} at or near \"{near}\"")).at(self.position(at))
    }

    fn position(&self, at: usize) -> Option<u32> {
        let before = self.before.chars().count() + self.inner.get(..at)?.chars().count();
        Some(self.start?.saturating_add(u32::try_from(before).ok()?))
    }
}

/// The number of these hexadecimal digits, at most eight.
fn value(digits: &[u32]) -> u32 {
    digits.iter().fold(0, |value, digit| (value << 4) | digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(inner: &str) -> Result<String, (String, String, Option<u32>)> {
        let written = format!("E'{inner}'");
        decoded(&Escaped::at(&written).unwrap(), Some(8))
            .map_err(|error| (error.code().to_string(), error.message().to_owned(), error.fields().position))
    }

    #[test]
    fn escapes_are_read_as_postgresql_reads_them() {
        for (inner, text) in [
            (r"a\b\f\n\r\t\v\\\/\q\8", "a\u{8}\u{c}\n\r\tv\\/q8"),
            (r"it''s \'so\'", "it's 'so'"),
            (r"\x41\x4\xg\101\1011\7", "A\u{4}xgAA1\u{7}"),
            (r"\xc3\xa4\303\244ä\501", "äääA"),
            (r"\u00e4\U0001f600\ud83d\ude00\U0000D83D\ude00", "ä😀😀😀"),
            ("a\\\nb", "a\nb"),
        ] {
            assert_eq!(read(inner).as_deref(), Ok(text), "{inner}");
        }
    }

    #[test]
    fn what_is_no_text_is_told_with_its_place() {
        for (inner, code, message, position) in [
            (r"\xff", "22021", "invalid byte sequence for encoding \"UTF8\": 0xff", None),
            (r"ab\xe2\x28\xa1", "22021", "invalid byte sequence for encoding \"UTF8\": 0xe2 0x28 0xa1", None),
            (r"\400", "22021", "invalid byte sequence for encoding \"UTF8\": 0x00", None),
            (r"ab\u12 cd", "22025", "invalid Unicode escape", Some(12)),
            (r"ab\u0000cd", "42601", "invalid Unicode escape value at or near \"\\u0000\"", Some(12)),
            (r"\U00110000", "42601", "invalid Unicode escape value at or near \"\\U00110000\"", Some(10)),
            (r"\ud800", "42601", "invalid Unicode surrogate pair at or near \"'\"", Some(16)),
            (r"\ud800cd", "42601", "invalid Unicode surrogate pair at or near \"c\"", Some(16)),
            (r"\ud800\ud801", "42601", "invalid Unicode surrogate pair at or near \"\\ud801\"", Some(16)),
            (r"\udc00cd", "42601", "invalid Unicode surrogate pair at or near \"\\udc00\"", Some(10)),
        ] {
            assert_eq!(read(inner), Err((code.into(), message.into(), position)), "{inner}");
        }
    }
}
