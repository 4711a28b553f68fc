//! Rows as the storage engine keeps them: any column can be read without decoding the others.
//!
//! ```text
//! byte 0      format: low 4 bits version (1), bit 7 set if the ends are u32
//! 1..3        u16 LE  number of columns n when the row was written
//! ..          null bitmap, (n + 7) / 8 bytes, bit set = NULL
//! ..          fixed-width columns in column order, little endian, at full width even if NULL
//! ..          for each varying column the end of its bytes, relative to the first (u16 LE or u32 LE)
//! ..          bytes of the varying columns
//! ```
//!
//! Offsets of fixed columns depend only on the types before them, so a row written before a column was added
//! reads under the longer layout: the missing columns are absent, and the caller puts their default.

use crate::array::{Array, Dimension};
use crate::datum::{Datum, Str};
use crate::error::{Error, Result};
use crate::interval::Interval;
use crate::numeric::Numeric;
use crate::single_byte;
use crate::types::TypeId;
use std::net::IpAddr;
use std::sync::Arc;

const VERSION: u8 = 1;
const WIDE_ENDS: u8 = 0x80;
const HEADER_BYTES: usize = 3;

/// How a table's rows are laid out: computed once from its column types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowLayout {
    columns: Vec<Column>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Column {
    id: TypeId,
    /// Width of a fixed column, None for a varying one.
    width: Option<u8>,
    /// Bytes of fixed columns before this one.
    fixed_before: u32,
    /// Varying columns before this one.
    varying_before: u16,
}

/// Bytes that a type always takes, None if they vary.
const fn fixed_width(id: TypeId) -> Option<u8> {
    Some(match id {
        TypeId::Bool => 1,
        TypeId::Int2 => 2,
        TypeId::Int4 | TypeId::Float4 | TypeId::Date | TypeId::Oid | TypeId::Xid => 4,
        TypeId::Regtype => 4,
        id if id.is_reg() => 4,
        TypeId::Int8 | TypeId::Float8 | TypeId::Time | TypeId::Timestamp | TypeId::Timestamptz => 8,
        TypeId::Lsn | TypeId::Xid8 => 8,
        TypeId::Interval | TypeId::Uuid => 16,
        _ => return None,
    })
}

impl RowLayout {
    /// The layout of columns of these types. At most 65535 columns are used.
    pub fn new(types: &[TypeId]) -> Self {
        let (mut fixed, mut varying) = (0u32, 0u16);
        let columns = types
            .iter()
            .take(usize::from(u16::MAX))
            .map(|&id| {
                let width = fixed_width(id);
                let column = Column { id, width, fixed_before: fixed, varying_before: varying };
                match width {
                    Some(width) => fixed += u32::from(width),
                    None => varying += 1,
                }
                column
            })
            .collect();
        Self { columns }
    }
    /// How many columns there are.
    pub fn len(&self) -> usize {
        self.columns.len()
    }
    /// Whether there are no columns.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }
    /// The type of a column.
    pub fn column_type(&self, column: usize) -> Option<TypeId> {
        self.columns.get(column).map(|column| column.id)
    }

    /// Bytes of fixed columns and number of varying columns among the first `count`.
    fn extent(&self, count: usize) -> (usize, usize) {
        match self.columns.get(count) {
            Some(next) => (next.fixed_before as usize, usize::from(next.varying_before)),
            None => self.columns.last().map_or((0, 0), |last| {
                let (fixed, varying) = (last.fixed_before as usize, usize::from(last.varying_before));
                last.width.map_or((fixed, varying + 1), |width| (fixed + usize::from(width), varying))
            }),
        }
    }

    /// Appends the row's bytes to `out`. `values` must be as many as the columns, each NULL or of its
    /// column's type.
    ///
    /// # Errors
    ///
    /// 54000 if the row is too big, XX000 if values and columns do not belong together.
    pub fn encode(&self, values: &[Datum], out: &mut Vec<u8>) -> Result<()> {
        if values.len() != self.columns.len() {
            return Err(Error::type_mismatch());
        }
        let start = out.len();
        let (fixed_bytes, varying) = self.extent(values.len());
        out.push(VERSION);
        out.extend_from_slice(&(values.len() as u16).to_le_bytes());
        let bitmap_at = out.len();
        out.resize(bitmap_at + values.len().div_ceil(8), 0);
        for (at, _) in values.iter().enumerate().filter(|(_, value)| value.is_null()) {
            if let Some(byte) = out.get_mut(bitmap_at + at / 8) {
                *byte |= 1 << (at % 8);
            }
        }
        out.reserve(fixed_bytes + varying * 2);
        for (column, value) in self.columns.iter().zip(values) {
            if let Some(width) = column.width {
                write_fixed(column.id, width, value, out)?;
            }
        }
        let ends_at = out.len();
        out.resize(ends_at + varying * 2, 0);
        let data_at = out.len();
        let mut ends = Ends { at: ends_at, data_at, narrow: true, wide: Vec::new() };
        for (column, value) in self.columns.iter().zip(values).filter(|(column, _)| column.width.is_none()) {
            if !value.is_null() {
                write_varying(column.id, value, out)?;
            }
            ends.push(out, varying)?;
        }
        if !ends.narrow {
            let wide: Vec<u8> = ends.wide.iter().flat_map(|end| end.to_le_bytes()).collect();
            out.splice(ends_at..data_at, wide);
            if let Some(format) = out.get_mut(start) {
                *format |= WIDE_ENDS;
            }
        }
        Ok(())
    }

    /// Opens a row's bytes for reading.
    ///
    /// # Errors
    ///
    /// XX001 if these are not the bytes of a row.
    pub fn read<'a>(&'a self, bytes: &'a [u8]) -> Result<RowReader<'a>> {
        let corrupt = || Error::corrupt("a stored row is malformed");
        let (header, body) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or_else(corrupt)?;
        let [format, count_low, count_high] = *header;
        if format & 0x0F != VERSION || format & 0x70 != 0 {
            return Err(Error::corrupt("a stored row has an unknown format version"));
        }
        let count = usize::from(u16::from_le_bytes([count_low, count_high]));
        if count > self.columns.len() {
            return Err(Error::corrupt("a stored row has more columns than its table"));
        }
        let (nulls, body) = body.split_at_checked(count.div_ceil(8)).ok_or_else(corrupt)?;
        let (fixed_bytes, varying) = self.extent(count);
        let (fixed, body) = body.split_at_checked(fixed_bytes).ok_or_else(corrupt)?;
        let end_width = if format & WIDE_ENDS != 0 { 4 } else { 2 };
        let (ends, data) = body.split_at_checked(varying * end_width).ok_or_else(corrupt)?;
        Ok(RowReader { layout: self, count, nulls, fixed, ends, wide: end_width == 4, data })
    }

    /// Decodes the whole row; columns that it lacks become NULL.
    ///
    /// # Errors
    ///
    /// XX001 if these are not the bytes of such a row.
    pub fn decode(&self, bytes: &[u8], out: &mut Vec<Datum>) -> Result<()> {
        let row = self.read(bytes)?;
        out.reserve(self.columns.len());
        for at in 0..self.columns.len() {
            out.push(row.get(at)?);
        }
        Ok(())
    }
}

/// Where the ends of varying columns are collected: two bytes each until one does not fit.
struct Ends {
    at: usize,
    data_at: usize,
    narrow: bool,
    wide: Vec<u32>,
}

impl Ends {
    fn push(&mut self, out: &mut [u8], varying: usize) -> Result<()> {
        let too_long = || {
            Error::new(sqlstate::SqlState::PROGRAM_LIMIT_EXCEEDED, "row is too big")
                .with_detail("The values of one row cannot take more than 1 GB.")
        };
        let end =
            u32::try_from(out.len() - self.data_at).ok().filter(|end| *end < 1 << 30).ok_or_else(too_long)?;
        match u16::try_from(end) {
            Ok(short) if self.narrow => {
                if let Some(slot) = out.get_mut(self.at..self.at + 2) {
                    slot.copy_from_slice(&short.to_le_bytes());
                }
                self.at += 2;
            }
            _ => {
                if self.narrow {
                    self.narrow = false;
                    let written = varying - (self.data_at - self.at) / 2;
                    let first = self.at - written * 2;
                    let short_ends = out.get(first..self.at).unwrap_or_default().chunks_exact(2);
                    self.wide.extend(short_ends.map(|pair| match pair {
                        [low, high] => u32::from(u16::from_le_bytes([*low, *high])),
                        _ => 0,
                    }));
                }
                self.wide.push(end);
            }
        }
        Ok(())
    }
}

/// A row's bytes, taken apart but not decoded.
#[derive(Clone, Copy, Debug)]
pub struct RowReader<'a> {
    layout: &'a RowLayout,
    count: usize,
    nulls: &'a [u8],
    fixed: &'a [u8],
    ends: &'a [u8],
    wide: bool,
    data: &'a [u8],
}

impl<'a> RowReader<'a> {
    /// How many columns the row was written with; later ones are absent.
    pub fn written_columns(&self) -> usize {
        self.count
    }
    /// Whether a column is NULL or absent.
    pub fn is_null(&self, column: usize) -> bool {
        column >= self.count || self.nulls.get(column / 8).is_none_or(|byte| byte >> (column % 8) & 1 != 0)
    }
    /// A column's value; NULL if absent.
    ///
    /// # Errors
    ///
    /// XX001 if these are not the bytes of such a row.
    pub fn get(&self, column: usize) -> Result<Datum> {
        if self.is_null(column) {
            return Ok(Datum::Null);
        }
        let Some(found) = self.layout.columns.get(column) else { return Ok(Datum::Null) };
        match found.width {
            Some(width) => {
                let at = found.fixed_before as usize;
                let bytes = self.fixed.get(at..at + usize::from(width));
                read_fixed(found.id, bytes.ok_or_else(|| Error::corrupt("a stored row is cut short"))?)
            }
            None => read_varying(found.id, self.varying(usize::from(found.varying_before))?),
        }
    }
    /// The characters of a text or varchar column without copying them; None if it is NULL or of another
    /// type.
    ///
    /// # Errors
    ///
    /// XX001 if these are not the bytes of such a row.
    pub fn get_str(&self, column: usize) -> Result<Option<&'a str>> {
        match self.layout.columns.get(column) {
            Some(found) if found.id.is_string() && !self.is_null(column) => {
                Ok(Some(as_utf8(self.varying(usize::from(found.varying_before))?)?))
            }
            _ => Ok(None),
        }
    }

    #[inline]
    fn varying(&self, at: usize) -> Result<&'a [u8]> {
        let corrupt = || Error::corrupt("a stored row has impossible column ends");
        let start = if at == 0 { 0 } else { self.end(at - 1).ok_or_else(corrupt)? };
        self.data.get(start..self.end(at).ok_or_else(corrupt)?).ok_or_else(corrupt)
    }
    fn end(&self, at: usize) -> Option<usize> {
        Some(if self.wide {
            u32::from_le_bytes(*self.ends.get(at * 4..)?.first_chunk()?) as usize
        } else {
            usize::from(u16::from_le_bytes(*self.ends.get(at * 2..)?.first_chunk()?))
        })
    }
}

fn write_fixed(id: TypeId, width: u8, value: &Datum, out: &mut Vec<u8>) -> Result<()> {
    match (id, value) {
        (_, Datum::Null) => out.resize(out.len() + usize::from(width), 0),
        (TypeId::Bool, Datum::Bool(value)) => out.push(u8::from(*value)),
        (TypeId::Int2, Datum::Int2(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (TypeId::Int4, Datum::Int4(value)) | (TypeId::Date, Datum::Date(value)) => {
            out.extend_from_slice(&value.to_le_bytes());
        }
        (TypeId::Int8, Datum::Int8(value))
        | (TypeId::Time, Datum::Time(value))
        | (TypeId::Timestamp, Datum::Timestamp(value))
        | (TypeId::Timestamptz, Datum::Timestamptz(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (TypeId::Float4, Datum::Float4(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (TypeId::Float8, Datum::Float8(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (TypeId::Oid, Datum::Oid(value))
        | (TypeId::Regtype, Datum::Regtype(value))
        | (TypeId::Xid, Datum::Xid(value)) => {
            out.extend_from_slice(&value.to_le_bytes());
        }
        (id, Datum::Oid(value)) if id.is_reg() => out.extend_from_slice(&value.to_le_bytes()),
        (TypeId::Lsn, Datum::Lsn(value)) | (TypeId::Xid8, Datum::Xid8(value)) => {
            out.extend_from_slice(&value.to_le_bytes());
        }
        (TypeId::Interval, Datum::Interval(value)) => {
            out.extend_from_slice(&value.micros.to_le_bytes());
            out.extend_from_slice(&value.days.to_le_bytes());
            out.extend_from_slice(&value.months.to_le_bytes());
        }
        (TypeId::Uuid, Datum::Uuid(value)) => out.extend_from_slice(value),
        _ => return Err(Error::type_mismatch()),
    }
    Ok(())
}

fn read_fixed(id: TypeId, bytes: &[u8]) -> Result<Datum> {
    let four = || bytes.first_chunk::<4>().copied().unwrap_or_default();
    let eight = || bytes.first_chunk::<8>().copied().unwrap_or_default();
    Ok(match id {
        TypeId::Bool => Datum::Bool(bytes.first().is_some_and(|byte| *byte != 0)),
        TypeId::Int2 => Datum::Int2(i16::from_le_bytes(bytes.first_chunk().copied().unwrap_or_default())),
        TypeId::Int4 => Datum::Int4(i32::from_le_bytes(four())),
        TypeId::Int8 => Datum::Int8(i64::from_le_bytes(eight())),
        TypeId::Float4 => Datum::Float4(f32::from_le_bytes(four())),
        TypeId::Float8 => Datum::Float8(f64::from_le_bytes(eight())),
        TypeId::Date => Datum::Date(i32::from_le_bytes(four())),
        TypeId::Time => Datum::Time(i64::from_le_bytes(eight())),
        TypeId::Timestamp => Datum::Timestamp(i64::from_le_bytes(eight())),
        TypeId::Timestamptz => Datum::Timestamptz(i64::from_le_bytes(eight())),
        TypeId::Oid => Datum::Oid(u32::from_le_bytes(four())),
        id if id.is_reg() => Datum::Oid(u32::from_le_bytes(four())),
        TypeId::Regtype => Datum::Regtype(u32::from_le_bytes(four())),
        TypeId::Xid => Datum::Xid(u32::from_le_bytes(four())),
        TypeId::Lsn => Datum::Lsn(u64::from_le_bytes(eight())),
        TypeId::Xid8 => Datum::Xid8(u64::from_le_bytes(eight())),
        TypeId::Uuid => Datum::Uuid(bytes.first_chunk().copied().unwrap_or_default()),
        TypeId::Interval => {
            let part =
                |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk::<4>).copied().unwrap_or_default();
            Datum::Interval(Interval {
                micros: i64::from_le_bytes(eight()),
                days: i32::from_le_bytes(part(8)),
                months: i32::from_le_bytes(part(12)),
            })
        }
        _ => return Err(Error::type_mismatch()),
    })
}

fn as_utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| Error::corrupt("a stored text is not UTF-8"))
}

fn write_varying(id: TypeId, value: &Datum, out: &mut Vec<u8>) -> Result<()> {
    match (id, value) {
        (TypeId::Bpchar, Datum::Bpchar(value)) => out.extend_from_slice(value.as_bytes()),
        (
            TypeId::Text | TypeId::Varchar | TypeId::Name | TypeId::Char | TypeId::Unknown | TypeId::Aclitem,
            Datum::Text(value),
        ) => {
            out.extend_from_slice(value.as_bytes());
        }
        (TypeId::Char, Datum::HighByte(byte)) => {
            let mut text = String::new();
            single_byte::write_high(*byte, &mut text);
            out.extend_from_slice(text.as_bytes());
        }
        (TypeId::Bytea, Datum::Bytea(value)) => out.extend_from_slice(value),
        (TypeId::Numeric, Datum::Numeric(value)) => value.write_stored(out),
        (TypeId::Inet, Datum::Inet(address, bits)) => {
            out.push(*bits);
            match address {
                IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
            }
        }
        (_, Datum::Array(array)) if id.element() == Some(array.element()) => write_array(array, out)?,
        _ => return Err(Error::type_mismatch()),
    }
    Ok(())
}

fn read_varying(id: TypeId, bytes: &[u8]) -> Result<Datum> {
    Ok(match id {
        TypeId::Bpchar => Datum::Bpchar(Arc::from(as_utf8(bytes)?)),
        TypeId::Char => single_byte::of_text(as_utf8(bytes)?),
        TypeId::Bytea => Datum::Bytea(Arc::from(bytes)),
        TypeId::Numeric => Datum::Numeric(Numeric::read_stored(bytes)?),
        TypeId::Inet => match bytes {
            [bits, a, b, c, d] => Datum::Inet(IpAddr::from([*a, *b, *c, *d]), *bits),
            [bits, rest @ ..] => {
                let octets: [u8; 16] =
                    rest.try_into().map_err(|_| Error::corrupt("a stored inet is malformed"))?;
                Datum::Inet(IpAddr::from(octets), *bits)
            }
            [] => return Err(Error::corrupt("a stored inet is malformed")),
        },
        id => match id.element() {
            Some(element) => read_array(element, bytes)?,
            None => Datum::Text(Str::from(as_utf8(bytes)?)),
        },
    })
}

/// Number of dimensions (u8), then length (u32 LE) and lower bound (i32 LE) of each, then a row of the
/// elements.
fn write_array(array: &Array, out: &mut Vec<u8>) -> Result<()> {
    out.push(array.dimensions().len() as u8);
    for dimension in array.dimensions() {
        out.extend_from_slice(&dimension.len.to_le_bytes());
        out.extend_from_slice(&dimension.lower.to_le_bytes());
    }
    if array.values().len() > usize::from(u16::MAX) {
        return Err(Error::new(
            sqlstate::SqlState::PROGRAM_LIMIT_EXCEEDED,
            "an array of more than 65535 elements cannot be stored",
        ));
    }
    crate::work::room_for(array.heap_bytes())?;
    let layout = RowLayout::new(&vec![array.element(); array.values().len()]);
    layout.encode(array.values(), out)
}

fn read_array(element: TypeId, bytes: &[u8]) -> Result<Datum> {
    let corrupt = || Error::corrupt("a stored array is malformed");
    let (count, mut rest) = bytes.split_first().ok_or_else(corrupt)?;
    let mut dimensions = Vec::new();
    let mut values: usize = usize::from(*count != 0);
    for _ in 0..*count {
        let (len, after) = rest.split_first_chunk::<4>().ok_or_else(corrupt)?;
        let (lower, after) = after.split_first_chunk::<4>().ok_or_else(corrupt)?;
        rest = after;
        let len = u32::from_le_bytes(*len);
        values = values
            .checked_mul(len as usize)
            .filter(|all| *all <= usize::from(u16::MAX))
            .ok_or_else(corrupt)?;
        dimensions.push(Dimension { len, lower: i32::from_le_bytes(*lower) });
    }
    let mut elements = Vec::with_capacity(values);
    RowLayout::new(&vec![element; values]).decode(rest, &mut elements)?;
    Array::with_dimensions(element, dimensions, elements).map(|array| Datum::Array(Arc::new(array)))
}
