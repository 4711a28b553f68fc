//! COPY's formats, between the wire and values: lines of text or CSV, rows in binary. Knows no tables and no
//! transactions.

mod binary;
mod fields;
mod reader;
mod writer;

pub use binary::{BinaryReader, BinaryWriter};
pub use fields::{Record, fields_bytes};
pub use reader::{Line, LineReader};
pub use writer::LineWriter;

use sql_interface::Format;
use sql_types::{Datum, Style};

/// The longest line or row taken: it must fit into memory as a whole.
const BUFFER_BYTES_MAX: usize = 256 << 20;

/// How much of a line or a value an error shows, in bytes (MAX_COPY_DATA_DISPLAY).
const SHOWN_BYTES_MAX: usize = 100;

/// A line or a value as the context of an error shows it: cut behind a character, with dots.
pub fn shown(text: &str) -> String {
    if text.len() <= SHOWN_BYTES_MAX {
        return text.to_owned();
    }
    let end = (0..=SHOWN_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}...", text.get(..end).unwrap_or_default())
}

/// Turns rows into COPY data of any format.
#[allow(clippy::large_enum_variant, reason = "one a COPY")]
pub enum RowWriter {
    /// Text or CSV.
    Lines(LineWriter),
    /// Binary.
    Binary(BinaryWriter),
}

impl RowWriter {
    /// The format that the client is told.
    pub const fn format(&self) -> Format {
        match self {
            Self::Lines(_) => Format::Text,
            Self::Binary(_) => Format::Binary,
        }
    }
    /// Appends the line of the columns' names; nothing in binary.
    pub fn header<'a>(&mut self, names: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
        if let Self::Lines(lines) = self {
            lines.header(names, out);
        }
    }
    /// Appends a row.
    pub fn row(&mut self, values: &[Datum], style: &Style, out: &mut Vec<u8>) {
        match self {
            Self::Lines(lines) => lines.row(values, style, out),
            Self::Binary(rows) => rows.row(values, out),
        }
    }
    /// Appends what stands behind the last row.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if let Self::Binary(rows) = self {
            rows.end(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn long_texts_are_shown_up_to_a_hundred_bytes() {
        let exact = "x".repeat(100);
        assert_eq!(shown(&exact), exact);
        assert_eq!(shown(&format!("{exact}y")), format!("{exact}..."));
        let wide = "\u{e4}".repeat(60);
        assert_eq!(shown(&format!("a{wide}")), format!("a{}...", "\u{e4}".repeat(49)));
    }
}
