//! COPY FROM: lines as fields.

use sql_interface::{Result, SqlError};
use sql_language::parse::{CopyFormat, CopyOptions};
use sql_types::binary::checked_text;
use sqlstate::SqlState;

/// The fields of a line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Those that are not NULL, one behind the other.
    text: String,
    fields: Vec<Field>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    start: usize,
    end: usize,
    is_null: bool,
    is_quoted: bool,
}

/// The bytes that the fields of a line take beside their texts, at most.
pub fn fields_bytes(line: &[u8], delimiter: u8) -> usize {
    // Vectors grow by doubling.
    (memchr::memchr_iter(delimiter, line).count() + 1).saturating_mul(2 * size_of::<Field>())
}

impl Record {
    /// How many fields there are.
    #[inline]
    pub fn field_count(&self) -> usize {
        self.fields.len()
    }
    /// A field, if there is one: None is NULL.
    #[inline]
    pub fn get(&self, at: usize) -> Option<Option<&str>> {
        let field = self.fields.get(at)?;
        if field.is_null { Some(None) } else { self.text.get(field.start..field.end).map(Some) }
    }
    /// Whether a field stood in quotes (CSV).
    #[inline]
    pub fn is_quoted(&self, at: usize) -> bool {
        self.fields.get(at).is_some_and(|field| field.is_quoted)
    }

    fn clear(&mut self) {
        self.text.clear();
        self.fields.clear();
    }
    fn push(&mut self, text: Option<&str>, is_quoted: bool) {
        let start = self.text.len();
        self.text.push_str(text.unwrap_or_default());
        self.fields.push(Field { start, end: self.text.len(), is_null: text.is_none(), is_quoted });
    }
    /// A line whose fields are as they stand there.
    fn set_plain(&mut self, line: &str, delimiter: u8, null: &str) {
        self.text.push_str(line);
        let mut start = 0;
        for end in memchr::memchr_iter(delimiter, line.as_bytes()).chain([line.len()]) {
            let is_null = line.get(start..end) == Some(null);
            self.fields.push(Field { start, end, is_null, is_quoted: false });
            start = end + 1;
        }
    }

    /// Takes a line apart.
    pub(super) fn split(&mut self, line: &[u8], options: &CopyOptions) -> Result<()> {
        self.clear();
        match options.format {
            CopyFormat::Csv => self.split_csv(line, options),
            _ => self.split_text(line, options),
        }
    }

    fn split_text(&mut self, line: &[u8], options: &CopyOptions) -> Result<()> {
        if options.delimiter.is_ascii()
            && memchr::memchr2(b'\\', 0, line).is_none()
            && let Ok(text) = std::str::from_utf8(line)
        {
            self.set_plain(text, options.delimiter, &options.null);
            return Ok(());
        }
        let null = options.null.as_bytes();
        let mut start = 0;
        let mut at = 0;
        let mut escaped = false;
        loop {
            let rest = line.get(at..).unwrap_or_default();
            at += memchr::memchr2(options.delimiter, b'\\', rest).unwrap_or(rest.len());
            let byte = line.get(at).copied();
            if byte == Some(b'\\') {
                escaped = true;
                at += 2;
                continue;
            }
            let raw = line.get(start..at.min(line.len())).unwrap_or_default();
            if raw == null {
                self.push(None, false);
            } else {
                let bytes = if escaped { unescape(raw) } else { raw.to_vec() };
                self.push(Some(&utf8(bytes)?), false);
            }
            if byte.is_none() {
                return Ok(());
            }
            at += 1;
            start = at;
            escaped = false;
        }
    }

    fn split_csv(&mut self, line: &[u8], options: &CopyOptions) -> Result<()> {
        let CopyOptions { delimiter, quote, escape, null, .. } = options;
        let mut bytes = line.iter().copied().peekable();
        let mut field = Vec::new();
        let (mut quoted, mut inside) = (false, false);
        loop {
            let byte = bytes.next();
            match byte {
                Some(byte) if inside => {
                    if byte == *escape && bytes.peek().is_some_and(|next| *next == *quote || *next == *escape)
                    {
                        field.extend(bytes.next());
                    } else if byte == *quote {
                        inside = false;
                    } else {
                        field.push(byte);
                    }
                }
                Some(byte) if byte == *quote => {
                    inside = true;
                    quoted = true;
                }
                Some(byte) if byte != *delimiter => field.push(byte),
                None if inside => {
                    return Err(SqlError::new(
                        SqlState::BAD_COPY_FILE_FORMAT,
                        "unterminated CSV quoted field",
                    ));
                }
                _ => {
                    let text = utf8(std::mem::take(&mut field))?;
                    self.push(Some(text.as_str()).filter(|text| quoted || text != null), quoted);
                    quoted = false;
                    if byte.is_none() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

fn utf8(bytes: Vec<u8>) -> Result<String> {
    let wrong = match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => return Ok(text),
        Ok(text) => text.into_bytes(),
        Err(error) => error.into_bytes(),
    };
    Ok(checked_text(&wrong)?.to_owned())
}

/// Backslash sequences of the text format.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        // The last of all bytes says nothing.
        let Some(letter) = bytes.next() else { break };
        match letter {
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(0x0b),
            b'0'..=b'7' => {
                let mut value = u32::from(letter - b'0');
                for _ in 0..2 {
                    let Some(digit) = bytes.next_if(|byte| (b'0'..=b'7').contains(byte)) else { break };
                    value = value * 8 + u32::from(digit - b'0');
                }
                out.push((value & 0xFF) as u8);
            }
            b'x' if bytes.peek().is_some_and(u8::is_ascii_hexdigit) => {
                let mut value = 0_u32;
                for _ in 0..2 {
                    let Some(digit) = bytes.next_if(u8::is_ascii_hexdigit) else { break };
                    value = value * 16 + char::from(digit).to_digit(16).unwrap_or(0);
                }
                out.push((value & 0xFF) as u8);
            }
            other => out.push(other),
        }
    }
    out
}
