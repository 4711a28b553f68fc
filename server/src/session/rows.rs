//! Rows on their way to a client: encoded straight into the write buffer.

use crate::connection::wire::OUTPUT_BYTES;
use bytes::{BufMut, BytesMut};
use protocol::Format;
use protocol::backend::{self, FieldDescription};
use protocol::frontend::Formats;
use sql_interface::{Flow, ResultColumn, ResultFormats, RowSink, SqlError};
use sql_types::work::SHORT_BYTES;
use sql_types::{Datum, Style, TypeId, VALUE_BYTES_MAX};

#[cold]
fn too_long() -> SqlError {
    SqlError::new(protocol::SqlState::PROGRAM_LIMIT_EXCEEDED, "out of memory")
        .with_detail(format!("A row cannot be sent in more than {VALUE_BYTES_MAX} bytes."))
}

/// In which formats Bind wants the columns.
pub(crate) fn result_formats(formats: Formats<'_>) -> ResultFormats {
    if formats.len() <= 1 {
        ResultFormats::All(formats.of(0))
    } else {
        ResultFormats::Each((0..formats.len()).map(|at| formats.of(at)).collect())
    }
}

/// Appends the RowDescription of these columns.
pub(crate) fn describe(out: &mut BytesMut, columns: &[ResultColumn], formats: &ResultFormats) {
    let fields = columns.iter().enumerate().map(|(at, column)| FieldDescription {
        name: &column.name,
        table: column.table_oid,
        column: column.attribute,
        data_type: column.ty.id.oid(),
        type_len: column.ty.id.width(),
        type_modifier: column.ty.modifier,
        format: formats.of_column(at),
    });
    backend::row_description(out, fields);
}

/// Buffers for values whose text or binary form is not written straight into the output.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    text: String,
    bytes: Vec<u8>,
}

/// Where the rows of one fetch go.
pub(crate) struct Rows<'a> {
    pub(crate) out: &'a mut BytesMut,
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) formats: &'a ResultFormats,
    pub(crate) style: &'a Style,
    /// What the columns are, where that counts: of a "char" the binary form is not its text.
    pub(crate) columns: &'a [ResultColumn],
    /// Where the first of them begins in `out`.
    start: usize,
    /// Rows written so far.
    pub(crate) count: usize,
}

impl RowSink for Rows<'_> {
    fn row(&mut self, values: &[Datum]) -> sql_interface::Result<Flow> {
        let bytes = values.iter().map(Datum::heap_bytes).sum();
        if bytes < SHORT_BYTES {
            backend::data_row(self.out, values.len(), |row| {
                for (at, value) in values.iter().enumerate() {
                    match self.formats.of_column(at) {
                        Format::Text => text(row, value, self.style, self.scratch),
                        Format::Binary => binary(row, value, || is_char(self.columns, at), self.scratch),
                    }
                }
            });
        } else {
            self.large_row(values, bytes)?;
        }
        self.count += 1;
        Ok(self.flow())
    }

    fn copy_data(&mut self, line: &[u8]) -> Flow {
        backend::copy_data(self.out, |data| data.put_slice(line));
        self.flow()
    }

    fn wants_text(&self, column: usize) -> bool {
        self.formats.of_column(column) == Format::Text
    }
}

impl<'a> Rows<'a> {
    pub(crate) fn new(
        out: &'a mut BytesMut,
        scratch: &'a mut Scratch,
        formats: &'a ResultFormats,
        style: &'a Style,
    ) -> Self {
        let start = out.len();
        Self { out, scratch, formats, style, columns: &[], start, count: 0 }
    }

    /// Appends a row that may be too large for a message, or for the memory that is left.
    #[cold]
    fn large_row(&mut self, values: &[Datum], bytes: usize) -> sql_interface::Result<()> {
        let (scratch, formats, style) = (&mut *self.scratch, self.formats, self.style);
        let columns = self.columns;
        let begin = self.out.len();
        let mut fits = true;
        let out = &mut *self.out;
        let encode = || {
            backend::data_row(out, values.len(), |row| {
                for (at, value) in values.iter().enumerate() {
                    // Looked at before a value is added that would make the message too long.
                    fits = row.len() - begin + value.heap_bytes() <= VALUE_BYTES_MAX;
                    if !fits {
                        return;
                    }
                    match formats.of_column(at) {
                        Format::Text => text(row, value, style, scratch),
                        Format::Binary => binary(row, value, || is_char(columns, at), scratch),
                    }
                }
                fits = row.len() - begin <= VALUE_BYTES_MAX;
            });
            Ok::<_, sql_types::Error>(())
        };
        sql_types::work::large(bytes, encode)?;
        if !fits {
            self.out.truncate(begin);
            return Err(too_long());
        }
        Ok(())
    }

    /// Takes the rows back: the fetch failed, so they may rest on commits that are not visible.
    pub(crate) fn take_back(&mut self) {
        self.out.truncate(self.start);
        self.count = 0;
    }

    fn flow(&self) -> Flow {
        if self.out.len() >= OUTPUT_BYTES { Flow::Full } else { Flow::More }
    }
}

#[inline]
fn text(row: &mut BytesMut, value: &Datum, style: &Style, scratch: &mut Scratch) {
    let mut digits = itoa::Buffer::new();
    let plain: &[u8] = match value {
        Datum::Null => return backend::null(row),
        Datum::Text(text) => text.as_bytes(),
        Datum::Bpchar(text) => text.as_bytes(),
        Datum::Int2(number) => digits.format(*number).as_bytes(),
        Datum::Int4(number) => digits.format(*number).as_bytes(),
        Datum::Int8(number) => digits.format(*number).as_bytes(),
        Datum::Bool(on) => {
            if *on {
                b"t"
            } else {
                b"f"
            }
        }
        other => {
            scratch.text.clear();
            other.write_text(style, &mut scratch.text);
            scratch.text.as_bytes()
        }
    };
    backend::value(row, |row| row.put_slice(plain));
}

fn is_char(columns: &[ResultColumn], at: usize) -> bool {
    columns.get(at).is_some_and(|column| column.ty.id == TypeId::Char)
}

#[inline]
fn binary(row: &mut BytesMut, value: &Datum, is_char: impl FnOnce() -> bool, scratch: &mut Scratch) {
    match value {
        Datum::Null => backend::null(row),
        Datum::Int4(number) => backend::value(row, |row| row.put_i32(*number)),
        Datum::Int8(number) => backend::value(row, |row| row.put_i64(*number)),
        Datum::Text(text) if sql_types::binary::may_be_byte(text) && is_char() => {
            scratch.bytes.clear();
            sql_types::binary::write_as(TypeId::Char, value, &mut scratch.bytes);
            backend::value(row, |row| row.put_slice(&scratch.bytes));
        }
        Datum::Text(text) => backend::value(row, |row| row.put_slice(text.as_bytes())),
        other => {
            scratch.bytes.clear();
            sql_types::binary::write(other, &mut scratch.bytes);
            backend::value(row, |row| row.put_slice(&scratch.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_in_their_formats() {
        let values = [Datum::Int4(-7), Datum::Null, Datum::text("é"), Datum::Bool(true), Datum::Float8(0.5)];
        let formats = ResultFormats::Each(
            [Format::Text, Format::Text, Format::Binary, Format::Text, Format::Text].into(),
        );
        let (mut out, mut scratch, style) = (BytesMut::new(), Scratch::default(), Style::default());
        let mut rows = Rows::new(&mut out, &mut scratch, &formats, &style);
        assert_eq!(rows.row(&values), Ok(Flow::More));
        let body = out.split_off(5).freeze();
        let Ok(backend::BackendMessage::DataRow(row)) = backend::BackendMessage::decode(b'D', body) else {
            panic!("no row")
        };
        let texts: Vec<_> = (0..5).map(|at| row.text(at)).collect();
        assert_eq!(texts, [Some("-7"), None, Some("é"), Some("t"), Some("0.5")]);
    }
}
