//! COPY in binary, as the manual has it under COPY, "Binary Format": a header, rows of fields with their
//! lengths, and a trailer.

use super::BUFFER_BYTES_MAX;
use sql_interface::{Result, SqlError};
use sql_types::{Datum, TypeId, binary, work};
use sqlstate::SqlState;
use std::ops::Range;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// The header's flag for rows with OIDs, which are no more.
const WITH_OIDS: u32 = 1 << 16;
/// In the place of a row's count of fields: no row follows.
const TRAILER: i16 = -1;

fn wrong(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message.into())
}

fn cut_short() -> SqlError {
    wrong("unexpected EOF in COPY data")
}

/// Turns rows into their binary form.
#[derive(Debug, Default)]
pub struct BinaryWriter {
    /// The types of the columns, as far as they are known.
    types: Vec<TypeId>,
    begun: bool,
    field: Vec<u8>,
}

impl BinaryWriter {
    /// For rows of columns of these types.
    pub fn of(types: Vec<TypeId>) -> Self {
        Self { types, ..Self::default() }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(SIGNATURE);
            out.extend_from_slice(&[0; 8]);
        }
    }

    /// Appends a row, the first behind the header.
    pub fn row(&mut self, values: &[Datum], out: &mut Vec<u8>) {
        self.begin(out);
        out.extend_from_slice(&i16::try_from(values.len()).unwrap_or(i16::MAX).to_be_bytes());
        for (at, value) in values.iter().enumerate() {
            if value.is_null() {
                out.extend_from_slice(&(-1_i32).to_be_bytes());
                continue;
            }
            self.field.clear();
            let ty = self.types.get(at).copied().unwrap_or(TypeId::Unknown);
            binary::write_as(ty, value, &mut self.field);
            out.extend_from_slice(&i32::try_from(self.field.len()).unwrap_or(i32::MAX).to_be_bytes());
            out.extend_from_slice(&self.field);
        }
    }

    /// Appends what stands behind the last row.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
        out.extend_from_slice(&TRAILER.to_be_bytes());
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Header,
    Rows,
    Ended,
}

/// Cuts a stream of bytes into rows of fields.
#[derive(Debug, Default)]
pub struct BinaryReader {
    buffer: Vec<u8>,
    /// Bytes of the buffer that were given out already.
    start: usize,
    stage: Stage,
    number: u64,
    fields: Vec<Option<Range<usize>>>,
    growth: work::Growth,
}

/// Takes numbers from the front of what is there; None while too little is.
struct Front<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Front<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let found = self.bytes.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(*found)
    }
}

impl BinaryReader {
    /// The number of the row given last, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Takes more bytes.
    ///
    /// # Errors
    ///
    /// 22P04 behind the trailer, 54000 for a row that is too long, 53200 where memory ends.
    pub fn feed(&mut self, data: &[u8]) -> Result<()> {
        if self.stage == Stage::Ended && !data.is_empty() {
            return Err(wrong("received copy data after EOF marker"));
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.len() + data.len() > BUFFER_BYTES_MAX {
            let message = format!("a row of COPY data is longer than {BUFFER_BYTES_MAX} bytes");
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        self.growth.to(self.buffer.len() + data.len())?;
        self.buffer.extend_from_slice(data);
        Ok(())
    }

    /// Finds the next row, of so many columns; its fields are then to be had by [`BinaryReader::field`].
    /// False if it is not all there yet, or, at the `last` call, if there is none.
    ///
    /// # Errors
    ///
    /// 22P04 where header or row are not of the format.
    pub fn next(&mut self, columns: usize, last: bool) -> Result<bool> {
        if self.stage == Stage::Header && !self.header(last)? {
            return Ok(false);
        }
        if self.stage == Stage::Ended {
            return Ok(false);
        }
        let mut front = Front { bytes: &self.buffer, at: self.start };
        // The end in the place of a row is one without a trailer.
        let Some(count) = front.take().map(i16::from_be_bytes) else {
            return if last && self.buffer.len() > self.start { Err(cut_short()) } else { Ok(false) };
        };
        self.number += 1;
        if count == TRAILER {
            self.stage = Stage::Ended;
            let rest = self.buffer.len() > front.at;
            self.start = self.buffer.len();
            return if rest { Err(wrong("received copy data after EOF marker")) } else { Ok(false) };
        }
        if usize::try_from(count) != Ok(columns) {
            return Err(wrong(format!("row field count is {count}, expected {columns}")));
        }
        self.fields.clear();
        for _ in 0..columns {
            let Some(length) = front.take().map(i32::from_be_bytes) else { return self.incomplete(last) };
            match usize::try_from(length) {
                Err(_) if length == -1 => self.fields.push(None),
                Err(_) => return Err(wrong("invalid field size")),
                Ok(length) => {
                    let end = front.at.saturating_add(length);
                    if end > self.buffer.len() {
                        return self.incomplete(last);
                    }
                    self.fields.push(Some(front.at..end));
                    front.at = end;
                }
            }
        }
        self.start = front.at;
        Ok(true)
    }

    fn incomplete(&mut self, last: bool) -> Result<bool> {
        if last {
            return Err(cut_short());
        }
        self.number -= 1;
        Ok(false)
    }

    /// A field of the row found last; None is NULL.
    pub fn field(&self, at: usize) -> Option<&[u8]> {
        self.buffer.get(self.fields.get(at)?.clone()?)
    }

    /// Takes the header; false if it is not all there yet.
    fn header(&mut self, last: bool) -> Result<bool> {
        let missing = |what: &str| match last {
            true => Err(wrong(format!("invalid COPY file header ({what})"))),
            false => Ok(false),
        };
        let signature = self.buffer.get(..SIGNATURE.len().min(self.buffer.len())).unwrap_or_default();
        if signature != SIGNATURE.get(..signature.len()).unwrap_or_default()
            || (last && signature.len() < SIGNATURE.len())
        {
            return Err(wrong("COPY file signature not recognized"));
        }
        let mut front = Front { bytes: &self.buffer, at: SIGNATURE.len() };
        let Some(flags) = front.take().map(u32::from_be_bytes) else { return missing("missing flags") };
        if flags & WITH_OIDS != 0 {
            return Err(wrong("invalid COPY file header (WITH OIDS)"));
        }
        if flags >> 16 != 0 {
            return Err(wrong("unrecognized critical flags in COPY file header"));
        }
        let Some(length) = front.take().map(i32::from_be_bytes) else { return missing("missing length") };
        let Ok(length) = usize::try_from(length) else {
            return Err(wrong("invalid COPY file header (missing length)"));
        };
        let end = front.at.saturating_add(length);
        if end > self.buffer.len() {
            return missing("wrong length");
        }
        self.start = end;
        self.stage = Stage::Rows;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Vec<u8> {
        let (mut writer, mut out) = (BinaryWriter::default(), Vec::new());
        writer.row(&[Datum::Int4(7), Datum::Null], &mut out);
        writer.row(&[Datum::Int4(8), Datum::text("x")], &mut out);
        writer.end(&mut out);
        out
    }

    /// All rows of data that come in pieces of so many bytes.
    fn read(data: &[u8], piece: usize) -> Result<Vec<Vec<Option<Vec<u8>>>>> {
        let (mut reader, mut rows) = (BinaryReader::default(), Vec::new());
        for piece in data.chunks(piece).map(Some).chain([None]) {
            reader.feed(piece.unwrap_or_default())?;
            while reader.next(2, piece.is_none())? {
                rows.push((0..2).map(|at| reader.field(at).map(<[u8]>::to_vec)).collect());
            }
        }
        Ok(rows)
    }

    #[test]
    fn rows_come_back_however_they_are_cut() {
        let expected =
            vec![vec![Some(vec![0, 0, 0, 7]), None], vec![Some(vec![0, 0, 0, 8]), Some(b"x".to_vec())]];
        for piece in 1..written().len() {
            assert_eq!(read(&written(), piece).unwrap(), expected, "pieces of {piece}");
        }
    }

    #[test]
    fn what_is_cut_or_changed_is_refused() {
        let whole = written();
        // Between two rows the data may end without a trailer.
        let ends = [19, 33, 48];
        for cut in 0..whole.len() {
            assert_eq!(read(&whole[..cut], 1000).is_ok(), ends.contains(&cut), "cut at {cut}");
        }
        for at in 0..20 {
            let mut changed = whole.clone();
            changed[at] ^= 0x80;
            // The low half of the flags may be anything.
            assert_eq!(read(&changed, 1000).is_ok(), (13..15).contains(&at), "byte {at}");
        }
        assert!(read(&[&whole[..], b"x"].concat(), 1000).is_err());
    }
}
