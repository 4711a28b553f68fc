//! Keys: bytes whose order (memcmp) is the order of the values, one column after the other.
//!
//! ```text
//! nullable column   0x01 and the value, or 0x02 for NULL (so NULLs stand last)
//! column of index   the same, or 0x00 for a NULL that stands on the other side; all bytes inverted if
//! descending bool              0 or 1 integers, dates   big endian, sign bit flipped; unsigned ones plain
//! floats            big endian bits, sign bit flipped if positive, all bits if negative; -0 as 0, one NaN
//! numeric           class, exponent, digit pairs (see numeric/codec.rs) text              the bytes, then
//! 0x00 (text holds no NUL); char(n) without its trailing blanks; "char" as its byte
//! bytea, inet       0x00 as 0x00 0xFF, then 0x00 0x01
//! interval          its length in microseconds, 16 bytes big endian, sign flipped
//! ```
//!
//! Decoding gives a value equal to the one encoded. It is the same in every detail except where equal values
//! differ: see [`is_lossless`].

use crate::datum::{Datum, Str};
use crate::error::{Error, Result};
use crate::interval::{Interval, MICROS_PER_DAY};
use crate::numeric::Numeric;
use crate::single_byte;
use crate::types::TypeId;
use sqlstate::SqlState;
use std::net::IpAddr;
use std::sync::Arc;

const PRESENT: u8 = 1;
const NULL: u8 = 2;
/// NULL in a column of an index that has it on the other side.
const NULL_BEFORE: u8 = 0;

/// One column of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyColumn {
    /// Its type.
    pub id: TypeId,
    /// Whether it may be NULL, which costs a byte. Columns of a primary key may not.
    pub nullable: bool,
}

impl KeyColumn {
    /// A column that is never NULL.
    pub const fn required(id: TypeId) -> Self {
        Self { id, nullable: false }
    }
    /// A column that may be NULL.
    pub const fn nullable(id: TypeId) -> Self {
        Self { id, nullable: true }
    }
}

/// A column of an index: it may be NULL and has an order of its own. Such keys are compared and never
/// decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderedColumn {
    /// DESC: all bytes of the column are inverted.
    pub descending: bool,
    /// NULLS FIRST.
    pub nulls_first: bool,
}

impl OrderedColumn {
    const fn null_byte(self) -> u8 {
        // Inverting turns first into last.
        if self.nulls_first == self.descending { NULL } else { NULL_BEFORE }
    }

    fn finish(self, start: usize, out: &mut [u8]) {
        if self.descending {
            out.iter_mut().skip(start).for_each(|byte| *byte = !*byte);
        }
    }

    /// Appends a value, which may be NULL.
    ///
    /// # Errors
    ///
    /// 22004 for a NULL where the key allows none, 0A000 for a type that no key has.
    pub fn encode(self, value: &Datum, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        if value.is_null() {
            out.push(self.null_byte());
        } else {
            out.push(PRESENT);
            encode_value(value, out)?;
        }
        self.finish(start, out);
        Ok(())
    }

    /// The byte that all values but NULL begin with.
    pub const fn present(self) -> u8 {
        if self.descending { !PRESENT } else { PRESENT }
    }
}

/// Whether decoding a key gives back every detail of a value of this type. It does not for numeric (1.0 and
/// 1.00 are one key), floats (-0), char(n) (blanks) and interval (30 days and a month): such columns must
/// also stand in the row.
pub const fn is_lossless(id: TypeId) -> bool {
    !matches!(id, TypeId::Numeric | TypeId::Float4 | TypeId::Float8 | TypeId::Bpchar | TypeId::Interval)
}

/// Whether values of this type can be part of a key.
pub const fn is_supported(id: TypeId) -> bool {
    id.element().is_none() && !matches!(id, TypeId::Void | TypeId::AnyArray | TypeId::Xid)
}

/// Appends one column's value. `value` must be of the column's type, or NULL if that is allowed.
///
/// # Errors
///
/// 22004 for a NULL where the key allows none, 0A000 for a type that no key has.
pub fn encode(column: KeyColumn, value: &Datum, out: &mut Vec<u8>) -> Result<()> {
    if value.is_null() {
        if !column.nullable {
            return Err(Error::new(
                SqlState::NULL_VALUE_NOT_ALLOWED,
                "a key column that must not be null is null",
            ));
        }
        out.push(NULL);
        return Ok(());
    }
    if column.nullable {
        out.push(PRESENT);
    }
    encode_value(value, out)
}

/// Appends the values of all columns.
///
/// # Errors
///
/// 22004 for a NULL where the key allows none, 0A000 for a type that no key has.
pub fn encode_all(columns: &[KeyColumn], values: &[Datum], out: &mut Vec<u8>) -> Result<()> {
    columns.iter().zip(values).try_for_each(|(column, value)| encode(*column, value, out))
}

fn encode_value(value: &Datum, out: &mut Vec<u8>) -> Result<()> {
    match value {
        Datum::Bool(value) => out.push(u8::from(*value)),
        Datum::Int2(value) => out.extend_from_slice(&(value ^ i16::MIN).to_be_bytes()),
        Datum::Int4(value) | Datum::Date(value) => out.extend_from_slice(&(value ^ i32::MIN).to_be_bytes()),
        Datum::Int8(value) | Datum::Time(value) | Datum::Timestamp(value) | Datum::Timestamptz(value) => {
            out.extend_from_slice(&(value ^ i64::MIN).to_be_bytes());
        }
        Datum::Float4(value) => out.extend_from_slice(&float4_bits(*value).to_be_bytes()),
        Datum::Float8(value) => out.extend_from_slice(&float8_bits(*value).to_be_bytes()),
        Datum::Numeric(value) => value.write_key(out),
        Datum::Text(value) => write_text(value.as_bytes(), out),
        Datum::Bpchar(value) => write_text(value.trim_end_matches(' ').as_bytes(), out),
        Datum::HighByte(byte) => write_text(&[*byte], out),
        Datum::Bytea(value) => write_escaped(value, out),
        Datum::Interval(value) => out.extend_from_slice(&(value.span() ^ i128::MIN).to_be_bytes()),
        Datum::Lsn(value) | Datum::Xid8(value) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Oid(value) | Datum::Regtype(value) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Uuid(value) => out.extend_from_slice(value),
        Datum::Inet(address, bits) => write_inet(*address, *bits, out),
        Datum::Null | Datum::Xid(_) | Datum::Array(_) => {
            return Err(Error::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "values of this type cannot be part of a key",
            ));
        }
    }
    Ok(())
}

/// A text without NULs and its end. Should a NUL be there all the same, the key ends early rather than out of
/// order.
fn write_text(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(bytes.iter().copied().take_while(|byte| *byte != 0));
    out.push(0);
}

fn write_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xFF);
        }
    }
    out.extend_from_slice(&[0, 1]);
}

/// Family, prefix of the network zero-padded, prefix length, whole address.
fn write_inet(address: IpAddr, bits: u8, out: &mut Vec<u8>) {
    let mut network = |octets: &[u8], family: u8| {
        out.push(family);
        // Bit by bit, each as its own byte below: a shorter common prefix must sort before a longer one.
        for at in 0..usize::from(bits) {
            let bit = octets.get(at / 8).is_some_and(|octet| octet >> (7 - at % 8) & 1 != 0);
            out.push(if bit { 2 } else { 1 });
        }
        out.push(0);
        out.extend_from_slice(octets);
    };
    match address {
        IpAddr::V4(address) => network(&address.octets(), 4),
        IpAddr::V6(address) => network(&address.octets(), 6),
    }
}

fn float4_bits(value: f32) -> u32 {
    let value = if value.is_nan() { f32::NAN } else { value + 0.0 };
    let bits = value.to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

fn float8_bits(value: f64) -> u64 {
    let value = if value.is_nan() { f64::NAN } else { value + 0.0 };
    let bits = value.to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// Reads one column's value from the front of `bytes`, which moves past it.
///
/// # Errors
///
/// XX001 if these are not the bytes of a key.
pub fn decode(column: KeyColumn, bytes: &mut &[u8]) -> Result<Datum> {
    if column.nullable {
        match take::<1>(bytes)? {
            [PRESENT] => {}
            [NULL] => return Ok(Datum::Null),
            _ => return Err(corrupt()),
        }
    }
    Ok(match column.id {
        TypeId::Bool => Datum::Bool(take::<1>(bytes)? != [0]),
        TypeId::Int2 => Datum::Int2(i16::from_be_bytes(take(bytes)?) ^ i16::MIN),
        TypeId::Int4 => Datum::Int4(i32::from_be_bytes(take(bytes)?) ^ i32::MIN),
        TypeId::Int8 => Datum::Int8(i64::from_be_bytes(take(bytes)?) ^ i64::MIN),
        TypeId::Date => Datum::Date(i32::from_be_bytes(take(bytes)?) ^ i32::MIN),
        TypeId::Time => Datum::Time(i64::from_be_bytes(take(bytes)?) ^ i64::MIN),
        TypeId::Timestamp => Datum::Timestamp(i64::from_be_bytes(take(bytes)?) ^ i64::MIN),
        TypeId::Timestamptz => Datum::Timestamptz(i64::from_be_bytes(take(bytes)?) ^ i64::MIN),
        TypeId::Float4 => {
            let bits = u32::from_be_bytes(take(bytes)?);
            Datum::Float4(f32::from_bits(if bits >> 31 == 1 { bits & !(1 << 31) } else { !bits }))
        }
        TypeId::Float8 => {
            let bits = u64::from_be_bytes(take(bytes)?);
            Datum::Float8(f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits }))
        }
        TypeId::Numeric => Datum::Numeric(Numeric::read_key(bytes)?),
        TypeId::Text | TypeId::Varchar | TypeId::Name | TypeId::Unknown => {
            Datum::Text(Str::from(take_text(bytes)?))
        }
        TypeId::Char => match take_until_zero(bytes)? {
            [] => single_byte::of_byte(0),
            [byte] => single_byte::of_byte(*byte),
            _ => return Err(corrupt()),
        },
        TypeId::Bpchar => Datum::Bpchar(Arc::from(take_text(bytes)?)),
        TypeId::Bytea => Datum::Bytea(Arc::from(take_escaped(bytes)?)),
        TypeId::Interval => Datum::Interval(interval_of(i128::from_be_bytes(take(bytes)?) ^ i128::MIN)?),
        TypeId::Lsn => Datum::Lsn(u64::from_be_bytes(take(bytes)?)),
        TypeId::Xid8 => Datum::Xid8(u64::from_be_bytes(take(bytes)?)),
        TypeId::Oid => Datum::Oid(u32::from_be_bytes(take(bytes)?)),
        id if id.is_reg() => Datum::Oid(u32::from_be_bytes(take(bytes)?)),
        TypeId::Regtype => Datum::Regtype(u32::from_be_bytes(take(bytes)?)),
        TypeId::Uuid => Datum::Uuid(take(bytes)?),
        TypeId::Inet => take_inet(bytes)?,
        _ => return Err(corrupt()),
    })
}

/// Reads all columns.
///
/// # Errors
///
/// XX001 if these are not the bytes of a key.
pub fn decode_all(columns: &[KeyColumn], mut bytes: &[u8], out: &mut Vec<Datum>) -> Result<()> {
    for column in columns {
        out.push(decode(*column, &mut bytes)?);
    }
    Ok(())
}

/// The first key after all those that start with `prefix`; None if there is none.
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xFF)?;
    let mut next = prefix.get(..=last)?.to_vec();
    if let Some(byte) = next.last_mut() {
        *byte += 1;
    }
    Some(next)
}

fn corrupt() -> Error {
    Error::corrupt("a stored key is malformed")
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>().ok_or_else(corrupt)?;
    *bytes = rest;
    Ok(*taken)
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(take_until_zero(bytes)?).map_err(|_| corrupt())
}

fn take_until_zero<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8]> {
    let end = bytes.iter().position(|byte| *byte == 0).ok_or_else(corrupt)?;
    let (taken, rest) = bytes.split_at(end);
    *bytes = rest.get(1..).unwrap_or_default();
    Ok(taken)
}

fn take_escaped(bytes: &mut &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        match take::<1>(bytes)? {
            [0] => match take::<1>(bytes)? {
                [0xFF] => out.push(0),
                [1] => return Ok(out),
                _ => return Err(corrupt()),
            },
            [byte] => out.push(byte),
        }
    }
}

fn take_inet(bytes: &mut &[u8]) -> Result<Datum> {
    let [family] = take::<1>(bytes)?;
    let bits = bytes.iter().position(|byte| *byte == 0).ok_or_else(corrupt)?;
    *bytes = bytes.get(bits + 1..).unwrap_or_default();
    let bits = u8::try_from(bits).map_err(|_| corrupt())?;
    let address = match family {
        4 => IpAddr::from(take::<4>(bytes)?),
        6 => IpAddr::from(take::<16>(bytes)?),
        _ => return Err(corrupt()),
    };
    Ok(Datum::Inet(address, bits))
}

/// An interval of this length.
fn interval_of(span: i128) -> Result<Interval> {
    if let Ok(micros) = i64::try_from(span) {
        return Ok(Interval::from_micros(micros));
    }
    let days = span / i128::from(MICROS_PER_DAY);
    let micros = (span % i128::from(MICROS_PER_DAY)) as i64;
    let months = days / 30;
    let (months, days) = (i32::try_from(months), i32::try_from(days - months * 30));
    match (months, days) {
        (Ok(months), Ok(days)) => Ok(Interval { micros, days, months }),
        _ => {
            // Both months and microseconds near their ends: split the rest between days and microseconds.
            let months = if span > 0 { i32::MAX } else { i32::MIN };
            let rest = span - i128::from(months) * 30 * i128::from(MICROS_PER_DAY);
            let days = (rest / i128::from(MICROS_PER_DAY)).clamp(i128::from(i32::MIN), i128::from(i32::MAX));
            let micros = rest - days * i128::from(MICROS_PER_DAY);
            Ok(Interval {
                micros: i64::try_from(micros).map_err(|_| corrupt())?,
                days: i32::try_from(days).map_err(|_| corrupt())?,
                months,
            })
        }
    }
}
