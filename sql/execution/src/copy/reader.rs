//! COPY FROM: lines as fields.

use super::BUFFER_BYTES_MAX;
use sql_interface::{Result, SqlError};
use sql_language::parse::{CopyFormat, CopyOptions};
use sql_types::work;
use sqlstate::SqlState;

/// One line of input.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A row, without its end of line.
    Row(Vec<u8>),
    /// `\.`: what follows is ignored.
    End,
}

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

    /// The number of the line given last, from 1.
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
    /// 22P04 where the data end inside of quotes, and for a line that ends otherwise than the first one.
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
                    if self.scanned + 1 >= self.buffer.len() && !last {
                        return Ok(None);
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
                _ => {}
            }
            self.scanned += 1;
        }
        self.scanned = self.scanned.min(self.buffer.len());
        if !last || self.start >= self.buffer.len() {
            return Ok(None);
        }
        if csv && self.in_quotes {
            self.number += 1;
            return Err(SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, "unterminated CSV quoted field"));
        }
        let end = self.buffer.len();
        self.scanned = end;
        Ok(Some(self.take(end, end)))
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
        if is_marker && (!csv || self.line_end != Some(LineEnd::CrLf)) {
            return wrong("end-of-copy marker does not match previous newline style".to_owned());
        }
        let (name, letter) = if found == LineEnd::Lf { ("newline", 'n') } else { ("carriage return", 'r') };
        if csv {
            return wrong(format!("unquoted {name} found in data"))
                .with_hint(format!("Use quoted CSV field to represent {name}."));
        }
        wrong(format!("literal {name} found in data"))
            .with_hint(format!("Use \"\\{letter}\" to represent {name}."))
    }

    fn take(&mut self, end: usize, next: usize) -> Line {
        let mut line = std::mem::take(&mut self.spare);
        line.clear();
        line.extend_from_slice(self.buffer.get(self.start..end).unwrap_or_default());
        self.start = next;
        self.number += 1;
        if line == b"\\." {
            self.ended = true;
            self.buffer.clear();
            return Line::End;
        }
        Line::Row(line)
    }

    /// Takes a line apart.
    ///
    /// # Errors
    ///
    /// 22021 for bytes that are no text.
    pub fn split(&self, line: &[u8], record: &mut Record) -> Result<()> {
        record.clear();
        match self.options.format {
            CopyFormat::Csv => self.split_csv(line, record),
            _ => self.split_text(line, record),
        }
    }

    fn split_text(&self, line: &[u8], record: &mut Record) -> Result<()> {
        if self.options.delimiter.is_ascii()
            && memchr::memchr2(b'\\', 0, line).is_none()
            && let Ok(text) = std::str::from_utf8(line)
        {
            record.set_plain(text, self.options.delimiter, &self.options.null);
            return Ok(());
        }
        let null = self.options.null.as_bytes();
        let mut start = 0;
        let mut at = 0;
        let mut escaped = false;
        loop {
            let rest = line.get(at..).unwrap_or_default();
            at += memchr::memchr2(self.options.delimiter, b'\\', rest).unwrap_or(rest.len());
            let byte = line.get(at).copied();
            if byte == Some(b'\\') {
                escaped = true;
                at += 2;
                continue;
            }
            let raw = line.get(start..at.min(line.len())).unwrap_or_default();
            if raw == null {
                record.push(None, false);
            } else {
                let bytes = if escaped { unescape(raw) } else { raw.to_vec() };
                record.push(Some(&utf8(bytes)?), false);
            }
            if byte.is_none() {
                return Ok(());
            }
            at += 1;
            start = at;
            escaped = false;
        }
    }

    fn split_csv(&self, line: &[u8], record: &mut Record) -> Result<()> {
        let CopyOptions { delimiter, quote, escape, null, .. } = &self.options;
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
                _ => {
                    let text = utf8(std::mem::take(&mut field))?;
                    record.push(Some(text.as_str()).filter(|text| quoted || text != null), quoted);
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
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let bad: Vec<String> =
            error.as_bytes().iter().skip(at).take(4).map(|byte| format!("0x{byte:02x}")).collect();
        let shown = bad.first().cloned().unwrap_or_default();
        SqlError::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            format!("invalid byte sequence for encoding \"UTF8\": {shown}"),
        )
    })?;
    if text.contains('\0') {
        return Err(SqlError::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            "invalid byte sequence for encoding \"UTF8\": 0x00",
        ));
    }
    Ok(text)
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
        let Some(letter) = bytes.next() else {
            out.push(b'\\');
            break;
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use sql_language::parse::CopyHeader;

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

    #[test]
    fn damage_is_refused() {
        let mut reader = LineReader::new(options(true));
        reader.feed(b"1,\"open").unwrap();
        assert_eq!(reader.next(true).unwrap_err().code(), SqlState::BAD_COPY_FILE_FORMAT);
        let reader = LineReader::new(options(false));
        let mut record = Record::default();
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
