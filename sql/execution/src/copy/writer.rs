//! COPY TO: rows as lines.

use sql_language::parse::{CopyFormat, CopyOptions};
use sql_types::{Datum, Style};

/// Turns rows into lines.
pub struct LineWriter {
    options: CopyOptions,
    /// For each column whether FORCE_QUOTE names it.
    force_quote: Vec<bool>,
    field: String,
}

impl LineWriter {
    /// `force_quote`: for each column whether FORCE_QUOTE names it.
    pub fn new(options: CopyOptions, force_quote: Vec<bool>) -> Self {
        Self { options, force_quote, field: String::new() }
    }

    /// Appends the line of the columns' names.
    pub fn header<'a>(&mut self, names: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
        for (at, name) in names.enumerate() {
            if at > 0 {
                out.push(self.options.delimiter);
            }
            match self.options.format {
                CopyFormat::Csv => self.quote(name, false, out),
                _ => self.escape(name, out),
            }
        }
        out.push(b'\n');
    }

    /// Appends a row's line.
    pub fn row(&mut self, values: &[Datum], style: &Style, out: &mut Vec<u8>) {
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                out.push(self.options.delimiter);
            }
            if value.is_null() {
                out.extend_from_slice(self.options.null.as_bytes());
                continue;
            }
            let mut field = std::mem::take(&mut self.field);
            field.clear();
            value.write_text(style, &mut field);
            match self.options.format {
                CopyFormat::Csv => {
                    let single = values.len() == 1;
                    let forced =
                        self.force_quote.get(at).copied().unwrap_or(false) || (single && field == "\\.");
                    self.quote(&field, forced, out);
                }
                _ => self.escape(&field, out),
            }
            self.field = field;
        }
        out.push(b'\n');
    }

    fn escape(&self, text: &str, out: &mut Vec<u8>) {
        for byte in text.bytes() {
            let letter = match byte {
                b'\\' => b'\\',
                0x08 => b'b',
                0x0c => b'f',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                0x0b => b'v',
                byte if byte == self.options.delimiter => byte,
                byte => {
                    out.push(byte);
                    continue;
                }
            };
            out.extend_from_slice(&[b'\\', letter]);
        }
    }

    fn quote(&self, text: &str, forced: bool, out: &mut Vec<u8>) {
        let CopyOptions { delimiter, quote, escape, null, .. } = &self.options;
        let special = |byte: u8| byte == *delimiter || byte == *quote || byte == b'\n' || byte == b'\r';
        if !forced && text != null && !text.bytes().any(special) {
            out.extend_from_slice(text.as_bytes());
            return;
        }
        out.push(*quote);
        for byte in text.bytes() {
            if byte == *quote || byte == *escape {
                out.push(*escape);
            }
            out.push(byte);
        }
        out.push(*quote);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sql_language::parse::CopyHeader;

    fn options(format: CopyFormat) -> CopyOptions {
        let csv = format == CopyFormat::Csv;
        CopyOptions {
            format,
            delimiter: if csv { b',' } else { b'\t' },
            null: if csv { String::new() } else { "\\N".into() },
            header: CopyHeader::Off,
            quote: b'"',
            escape: b'"',
            force_quote: None,
            force_not_null: Vec::new(),
            force_null: Vec::new(),
            freeze: false,
        }
    }

    fn line(format: CopyFormat, values: &[Datum]) -> String {
        let mut out = Vec::new();
        LineWriter::new(options(format), vec![false; values.len()]).row(values, &Style::default(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_lines_escape_what_would_be_read_otherwise() {
        let values =
            ["a\tb".into(), "\\N".into(), Datum::Null, "x\ny\r\u{8}\u{c}\u{b}".into(), Datum::Int4(5)];
        assert_eq!(line(CopyFormat::Text, &values), "a\\tb\t\\\\N\t\\N\tx\\ny\\r\\b\\f\\v\t5\n");
    }

    #[test]
    fn csv_lines_quote_what_would_be_read_otherwise() {
        let values =
            ["a,b".into(), "".into(), Datum::Null, "say \"x\"".into(), "plain".into(), "l1\nl2".into()];
        assert_eq!(line(CopyFormat::Csv, &values), "\"a,b\",\"\",,\"say \"\"x\"\"\",plain,\"l1\nl2\"\n");
        assert_eq!(line(CopyFormat::Csv, &["\\.".into()]), "\"\\.\"\n");
    }
}
