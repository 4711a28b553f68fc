//! COPY FROM: data as lines.

use super::BUFFER_BYTES_MAX;
use super::fields::Record;
use sql_interface::{Result, SqlError};
use sql_language::parse::{CopyFormat, CopyHeader, CopyOptions};
use sql_types::work;
use sqlstate::SqlState;

const OTHER_NEWLINE: &str = "end-of-copy marker does not match previous newline style";

/// One line of input.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A row, without its end of line.
    Row(Vec<u8>),
    /// `\.`: what follows is ignored.
    End,
}

/// How lines end: all of a stream alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnd {
    Lf,
    Cr,
    CrLf,
}

/// Cuts a stream of bytes into lines, and lines into fields.
pub struct LineReader {
    options: CopyOptions,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were looked at already.
    scanned: usize,
    /// Bytes of the buffer that were given out already.
    start: usize,
    in_quotes: bool,
    /// Ends of lines within the quotes of the line that is looked at.
    quoted_ends: u64,
    /// As the first line ended.
    line_end: Option<LineEnd>,
    ended: bool,
    number: u64,
    /// Memory of an earlier line, to be used again.
    spare: Vec<u8>,
    growth: work::Growth,
}

impl LineReader {
    /// Before the first byte.
    pub fn new(options: CopyOptions) -> Self {
        Self {
            options,
            buffer: Vec::new(),
            scanned: 0,
            start: 0,
            in_quotes: false,
            quoted_ends: 0,
            line_end: None,
            ended: false,
            number: 0,
            spare: Vec::new(),
            growth: work::Growth::default(),
        }
    }

    /// Takes back the memory of a line that is done with.
    #[inline]
    pub fn give_back(&mut self, line: Vec<u8>) {
        self.spare = line;
    }

    /// The number of the line at which what was given last ends, from 1.
    #[inline]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Takes more bytes.
    ///
    /// # Errors
    ///
    /// 54000 for a line that is too long, 53200 where memory ends.
    pub fn feed(&mut self, data: &[u8]) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        if self.buffer.len() + data.len() > BUFFER_BYTES_MAX {
            return Err(SqlError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("a line of COPY data is longer than {BUFFER_BYTES_MAX} bytes"),
            ));
        }
        self.growth.to(self.buffer.len() + data.len())?;
        self.buffer.extend_from_slice(data);
        Ok(())
    }

    /// The next whole line; at the `last` call also what stands after the last end of line.
    ///
    /// # Errors
    ///
    /// 22P04 for a line that ends otherwise than the first one, and for `\.` that does not end its line.
    pub fn next(&mut self, last: bool) -> Result<Option<Line>> {
        if self.ended {
            return Ok(None);
        }
        let csv = self.options.format == CopyFormat::Csv;
        if !csv {
            self.skip_plain();
        }
        while let Some(byte) = self.buffer.get(self.scanned) {
            match byte {
                // An escape that is not the quote itself hides the quote after it.
                byte if csv
                    && self.in_quotes
                    && *byte == self.options.escape
                    && self.options.escape != self.options.quote =>
                {
                    if self.scanned + 1 >= self.buffer.len() && !last {
                        return Ok(None);
                    }
                    self.scanned += 2;
                    continue;
                }
                byte if csv && *byte == self.options.quote => self.in_quotes = !self.in_quotes,
                b'\\' if !csv => {
                    // The byte after a backslash belongs to it, even an end of line.
                    match self.buffer.get(self.scanned + 1) {
                        None if !last => return Ok(None),
                        Some(b'.') => return self.end_of_copy(last),
                        _ => {}
                    }
                    self.scanned += 2;
                    self.skip_plain();
                    continue;
                }
                b'\n' if !self.in_quotes => return self.end_line(LineEnd::Lf, 1).map(Some),
                b'\r' if !self.in_quotes => {
                    let may_go_on = matches!(self.line_end, None | Some(LineEnd::CrLf));
                    let (end, bytes) = match self.buffer.get(self.scanned + 1) {
                        None if may_go_on && !last => return Ok(None),
                        Some(b'\n') if may_go_on => (LineEnd::CrLf, 2),
                        _ => (LineEnd::Cr, 1),
                    };
                    return self.end_line(end, bytes).map(Some);
                }
                // As PostgreSQL counts: those of another kind are no ends.
                b'\n' if self.line_end == Some(LineEnd::Lf) => self.quoted_ends += 1,
                b'\r' if self.line_end != Some(LineEnd::Lf) => self.quoted_ends += 1,
                _ => {}
            }
            self.scanned += 1;
        }
        self.scanned = self.scanned.min(self.buffer.len());
        // Where the first line is to be looked at, there is an empty one if there is none.
        let lacks_header = self.options.header == CopyHeader::Match && self.number == 0;
        if !last || (self.start >= self.buffer.len() && !lacks_header) {
            return Ok(None);
        }
        let end = self.buffer.len();
        self.scanned = end;
        Ok(Some(self.take(end, end)))
    }

    /// `\.` in the text format, which ends the data and a line before it. None if too little of it is there.
    fn end_of_copy(&mut self, last: bool) -> Result<Option<Line>> {
        let mut behind = self.buffer.iter().copied().skip(self.scanned + 2);
        let (next, after) = (behind.next(), behind.next());
        let is_crlf = self.line_end == Some(LineEnd::CrLf);
        if !last && (next.is_none() || (is_crlf && next == Some(b'\r') && after.is_none())) {
            return Ok(None);
        }
        let matches = match (self.line_end, next) {
            (Some(LineEnd::CrLf), Some(b'\r')) => after.filter(|c| b"\r\n".contains(c)).map(|c| c == b'\n'),
            (Some(LineEnd::CrLf), Some(b'\n')) => Some(false),
            (Some(LineEnd::CrLf), _) => None,
            (Some(LineEnd::Lf), Some(c @ (b'\n' | b'\r'))) => Some(c == b'\n'),
            (Some(LineEnd::Cr), Some(c @ (b'\n' | b'\r'))) => Some(c == b'\r'),
            (None, Some(b'\n' | b'\r')) => Some(true),
            _ => None,
        };
        if matches != Some(true) {
            self.number += 1;
            let message = if matches.is_some() { OTHER_NEWLINE } else { "end-of-copy marker corrupt" };
            return Err(SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message));
        }
        let before = self.scanned;
        let line = if self.start < before { self.take(before, before) } else { self.take_end() };
        self.ended = true;
        self.buffer.clear();
        Ok(Some(line))
    }

    /// What the end of the data is as a line.
    fn take_end(&mut self) -> Line {
        self.number += 1;
        if self.options.header == CopyHeader::Match && self.number == 1 {
            return Line::Row(Vec::new());
        }
        Line::End
    }

    /// In the text format, goes on to the next byte that may end a line or hide one that does.
    fn skip_plain(&mut self) {
        let rest = self.buffer.get(self.scanned..).unwrap_or_default();
        self.scanned += memchr::memchr3(b'\n', b'\r', b'\\', rest).unwrap_or(rest.len());
    }

    /// Ends a line at the next byte, with an end of so many bytes.
    fn end_line(&mut self, line_end: LineEnd, bytes: usize) -> Result<Line> {
        if *self.line_end.get_or_insert(line_end) != line_end {
            return Err(self.other_end(line_end));
        }
        let end = self.scanned;
        self.scanned += bytes;
        Ok(self.take(end, self.scanned))
    }

    /// 22P04 for a line that ends otherwise than the first one.
    fn other_end(&mut self, found: LineEnd) -> SqlError {
        let csv = self.options.format == CopyFormat::Csv;
        self.number += 1;
        let wrong = |message: String| SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message);
        let is_marker = self.buffer.get(self.start..self.scanned) == Some(b"\\.");
        if csv && is_marker && self.line_end != Some(LineEnd::CrLf) {
            return wrong(OTHER_NEWLINE.to_owned());
        }
        let (name, letter) = if found == LineEnd::Lf { ("newline", 'n') } else { ("carriage return", 'r') };
        if csv {
            return wrong(format!("unquoted {name} found in data"))
                .with_hint(format!("Use quoted CSV field to represent {name}."));
        }
        wrong(format!("literal {name} found in data"))
            .with_hint(format!("Use \"\\{letter}\" to represent {name}."))
    }

    /// The line up to `end`, with the next one from `next` on.
    fn take(&mut self, end: usize, next: usize) -> Line {
        let is_terminated = next > end;
        if is_terminated && self.buffer.get(self.start..end) == Some(b"\\.") {
            self.ended = true;
            self.buffer.clear();
            return self.take_end();
        }
        let mut line = std::mem::take(&mut self.spare);
        line.clear();
        line.extend_from_slice(self.buffer.get(self.start..end).unwrap_or_default());
        self.start = next;
        self.number += 1 + std::mem::take(&mut self.quoted_ends);
        Line::Row(line)
    }

    /// Takes a line apart.
    ///
    /// # Errors
    ///
    /// 22021 for bytes that are no text, 22P04 for quotes that do not end.
    pub fn split(&self, line: &[u8], record: &mut Record) -> Result<()> {
        record.split(line, &self.options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(csv: bool) -> CopyOptions {
        CopyOptions {
            format: if csv { CopyFormat::Csv } else { CopyFormat::Text },
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

    /// Reads with the input cut after every `step` bytes.
    fn read(csv: bool, input: &[u8], step: usize) -> Vec<Vec<Option<String>>> {
        let mut reader = LineReader::new(options(csv));
        let mut rows = Vec::new();
        let mut record = Record::default();
        let mut drain = |reader: &mut LineReader, last: bool| {
            while let Some(line) = reader.next(last).unwrap() {
                if let Line::Row(line) = line {
                    reader.split(&line, &mut record).unwrap();
                    let fields =
                        (0..record.field_count()).map(|at| record.get(at).unwrap().map(str::to_owned));
                    rows.push(fields.collect());
                }
            }
        };
        for piece in input.chunks(step) {
            reader.feed(piece).unwrap();
            drain(&mut reader, false);
        }
        drain(&mut reader, true);
        rows
    }

    fn fields(texts: &[&str]) -> Vec<Option<String>> {
        texts.iter().map(|text| (*text != "NULL").then(|| (*text).to_owned())).collect()
    }

    #[test]
    fn text_is_read_the_same_wherever_the_stream_is_cut() {
        let input = b"a\\tb\t\\N\t\\\\N\r\nx\\\ny\t\\101\\x42\t\r\nlast\t\t1\r\n\\.\r\nignored\n";
        let rows =
            [fields(&["a\tb", "NULL", "\\N"]), fields(&["x\ny", "AB", ""]), fields(&["last", "", "1"])];
        for step in 1..=input.len() {
            assert_eq!(read(false, input, step), rows, "cut after every {step} bytes");
        }
    }

    #[test]
    fn null_may_be_any_text_and_a_field_may_have_any_characters() {
        let mut reader = LineReader::new(CopyOptions { null: "nil".into(), ..options(false) });
        let mut record = Record::default();
        for (line, expected) in [
            ("nil\tnila\t\u{e4}\u{1F600}", [None, Some("nila"), Some("\u{e4}\u{1F600}")]),
            ("\tnil\tx\\ty", [Some(""), None, Some("x\ty")]),
        ] {
            reader.feed(format!("{line}\n").as_bytes()).unwrap();
            let Some(Line::Row(row)) = reader.next(false).unwrap() else { panic!("{line}") };
            reader.split(&row, &mut record).unwrap();
            assert_eq!(record.field_count(), 3);
            assert_eq!([0, 1, 2].map(|at| record.get(at).unwrap()), expected);
            assert_eq!(record.get(3), None);
        }
    }

    #[test]
    fn lines_within_quotes_count_once_it_is_known_how_lines_end() {
        for (input, expected) in [
            ("ok\n\"a\n\nb\"\n1\n", &[1, 4, 5][..]),
            ("\"a\n\nb\"\n\"c\n", &[1, 3]),
            ("ok\r\n\"a\r\nb\n\"\r\n", &[1, 3]),
        ] {
            for step in 1..=input.len() {
                let mut reader = LineReader::new(options(true));
                let mut numbers = Vec::new();
                let mut pieces = input.as_bytes().chunks(step).peekable();
                while let Some(piece) = pieces.next() {
                    reader.feed(piece).unwrap();
                    while let Some(Line::Row(_)) = reader.next(pieces.peek().is_none()).unwrap() {
                        numbers.push(reader.number());
                    }
                }
                assert_eq!(numbers, expected, "{input}");
            }
        }
    }

    #[test]
    fn csv_is_read_the_same_wherever_the_stream_is_cut() {
        let input = b"1,\"a,\"\"b\"\"\nc\",\r\n2,,\"\"\r\n3,x\"y\"z,end";
        let rows =
            [fields(&["1", "a,\"b\"\nc", "NULL"]), fields(&["2", "NULL", ""]), fields(&["3", "xyz", "end"])];
        for step in 1..=input.len() {
            assert_eq!(read(true, input, step), rows, "cut after every {step} bytes");
        }
    }

    #[test]
    fn all_lines_end_as_the_first_one_does() {
        for (csv, input, message) in [
            (false, "a\nb\r\n", "literal carriage return found in data"),
            (false, "a\r\nb\n", "literal newline found in data"),
            (false, "a\r\nb\rc", "literal carriage return found in data"),
            (false, "a\rb\r\n", "literal newline found in data"),
            (true, "a\nb\r\n", "unquoted carriage return found in data"),
            (true, "a\r\nb\n", "unquoted newline found in data"),
            (false, "a\r\n\\.\n", "end-of-copy marker does not match previous newline style"),
        ] {
            let mut reader = LineReader::new(options(csv));
            reader.feed(input.as_bytes()).unwrap();
            let error = loop {
                match reader.next(true) {
                    Ok(line) => assert!(line.is_some(), "{input:?} was taken"),
                    Err(error) => break error,
                }
            };
            assert_eq!((error.code(), error.message()), (SqlState::BAD_COPY_FILE_FORMAT, message));
        }
        assert_eq!(read(false, b"a\\\nb\r\nc\\\r\r\n", 1).len(), 2);
    }

    /// All rows with the number of the last line, or what is wrong, the input cut after every `step` bytes.
    fn outcome(options: CopyOptions, input: &str, step: usize) -> std::result::Result<Vec<String>, String> {
        let mut reader = LineReader::new(options);
        let (mut rows, mut record) = (Vec::new(), Record::default());
        for piece in input.as_bytes().chunks(step).map(Some).chain([None]) {
            reader.feed(piece.unwrap_or_default()).unwrap();
            while let Some(line) = reader.next(piece.is_none()).map_err(|error| error.message().to_owned())? {
                let Line::Row(line) = line else { continue };
                reader.split(&line, &mut record).map_err(|error| error.message().to_owned())?;
                let fields = (0..record.field_count()).map(|at| record.get(at).unwrap().unwrap_or("NULL"));
                rows.push(fields.collect::<Vec<_>>().join("|"));
            }
        }
        Ok(rows)
    }

    /// What PostgreSQL 15 says of these data.
    #[test]
    fn the_end_of_copy_marker_stands_where_postgresql_takes_it() {
        let (corrupt, other) = ("end-of-copy marker corrupt", OTHER_NEWLINE);
        for (csv, input, expected) in [
            (false, "a\n\\.\nx", Ok(vec!["a"])),
            (false, "a\tb\\.\nx", Ok(vec!["a|b"])),
            (false, "a\\\\.\nx", Ok(vec!["a\\.", "x"])),
            (false, "a\n\\.", Err(corrupt)),
            (false, "a\n\\.x\n", Err(corrupt)),
            (false, "a\\.b\n", Err(corrupt)),
            (false, "\\.", Err(corrupt)),
            (false, "\\.\r", Ok(vec![])),
            (false, "a\r\n\\.\r\nx", Ok(vec!["a"])),
            (false, "a\r\n\\.\r", Err(corrupt)),
            (false, "a\r\n\\.\rx", Err(corrupt)),
            (false, "a\r\n\\.\r\r\n", Err(other)),
            (false, "a\r\n\\.\n", Err(other)),
            (false, "a\n\\.\r\n", Err(other)),
            (false, "a\r\\.\n", Err(other)),
            (false, "a\r\\.\r\n", Ok(vec!["a"])),
            (true, "a\n\\.\nx", Ok(vec!["a"])),
            (true, "a\n\\.", Ok(vec!["a", "\\."])),
            (true, "a\n\\.x\n", Ok(vec!["a", "\\.x"])),
            (true, "a\n\"\\.\n\"\n", Ok(vec!["a", "\\.\n"])),
            (true, "a\n\"b\nc", Err("unterminated CSV quoted field")),
        ] {
            let expected = expected
                .map(|rows| rows.into_iter().map(str::to_owned).collect::<Vec<_>>())
                .map_err(str::to_owned);
            for step in 1..=input.len() {
                assert_eq!(outcome(options(csv), input, step), expected, "{input:?} by {step}");
            }
        }
    }

    #[test]
    fn a_header_that_is_to_match_is_an_empty_line_where_there_is_none() {
        for csv in [false, true] {
            let matched = || CopyOptions { header: CopyHeader::Match, ..options(csv) };
            let empty = if csv { "NULL" } else { "" };
            assert_eq!(outcome(matched(), "\\.\n", 1), Ok(vec![empty.to_owned()]));
            assert_eq!(outcome(options(csv), "\\.\n", 1), Ok(vec![]));
            assert_eq!(outcome(matched(), "a\n", 1), Ok(vec!["a".to_owned()]));
            let mut reader = LineReader::new(matched());
            assert_eq!(reader.next(false), Ok(None));
            assert_eq!(reader.next(true), Ok(Some(Line::Row(Vec::new()))));
            assert_eq!(reader.next(true), Ok(None));
        }
    }

    #[test]
    fn damage_is_refused() {
        let mut record = Record::default();
        let reader = LineReader::new(options(true));
        assert_eq!(
            reader.split(b"1,\"open", &mut record).unwrap_err().code(),
            SqlState::BAD_COPY_FILE_FORMAT
        );
        let reader = LineReader::new(options(false));
        assert_eq!(
            reader.split(b"a\xff", &mut record).unwrap_err().code(),
            SqlState::CHARACTER_NOT_IN_REPERTOIRE
        );
        assert_eq!(
            reader.split(b"a\0b\tc", &mut record).unwrap_err().code(),
            SqlState::CHARACTER_NOT_IN_REPERTOIRE
        );
        assert_eq!(
            reader.split(b"a\\000", &mut record).unwrap_err().code(),
            SqlState::CHARACTER_NOT_IN_REPERTOIRE
        );
    }
}
