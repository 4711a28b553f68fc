//! Values in binary, as typsend and typreceive functions have them on the wire.

use crate::array::{Array, Dimension, MAX_DIMENSIONS};
use crate::datum::{Datum, Str};
use crate::error::{Error, Result};
use crate::interval::Interval;
use crate::names::NAME_BYTES_MAX;
use crate::numeric::Numeric;
use crate::single_byte;
use crate::types::{Type, TypeId};
use sqlstate::SqlState;
use std::net::IpAddr;
use std::sync::Arc;

/// Most elements of an array (MaxArraySize).
const ELEMENTS_MAX: usize = 134_217_727;

/// Appends the binary form. NULL has none: the caller writes its length of -1.
pub fn write(value: &Datum, out: &mut Vec<u8>) {
    match value {
        Datum::Null => {}
        Datum::Bool(value) => out.push(u8::from(*value)),
        Datum::Int2(value) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Int4(value) | Datum::Date(value) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Int8(value) | Datum::Time(value) | Datum::Timestamp(value) | Datum::Timestamptz(value) => {
            out.extend_from_slice(&value.to_be_bytes());
        }
        Datum::Float4(value) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Float8(value) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Numeric(value) => value.write_binary(out),
        Datum::Text(value) => out.extend_from_slice(value.as_bytes()),
        Datum::Bpchar(value) => out.extend_from_slice(value.as_bytes()),
        Datum::HighByte(byte) => out.push(*byte),
        Datum::Bytea(value) => out.extend_from_slice(value),
        Datum::Interval(value) => {
            out.extend_from_slice(&value.micros.to_be_bytes());
            out.extend_from_slice(&value.days.to_be_bytes());
            out.extend_from_slice(&value.months.to_be_bytes());
        }
        Datum::Lsn(value) | Datum::Xid8(value) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Oid(value) | Datum::Regtype(value) | Datum::Xid(value) => {
            out.extend_from_slice(&value.to_be_bytes())
        }
        Datum::Uuid(value) => out.extend_from_slice(value),
        Datum::Inet(address, bits) => match address {
            // Family, bits, is_cidr, address length, address.
            IpAddr::V4(address) => {
                out.extend_from_slice(&[2, *bits, 0, 4]);
                out.extend_from_slice(&address.octets());
            }
            IpAddr::V6(address) => {
                out.extend_from_slice(&[3, *bits, 0, 16]);
                out.extend_from_slice(&address.octets());
            }
        },
        Datum::Array(array) => write_array(array, out),
    }
}

/// Whether the binary form of this text is another one if it is a "char": the zero byte.
#[inline]
pub const fn may_be_byte(text: &str) -> bool {
    text.is_empty()
}

/// The same as [`write`] for a value whose type is known: a "char" is one byte, however its text spells it.
pub fn write_as(id: TypeId, value: &Datum, out: &mut Vec<u8>) {
    match value {
        Datum::Text(text) if id == TypeId::Char => out.push(single_byte::byte_of(text)),
        _ => write(value, out),
    }
}

fn write_array(array: &Array, out: &mut Vec<u8>) {
    let has_nulls = array.values().iter().any(Datum::is_null);
    out.extend_from_slice(&(array.dimensions().len() as u32).to_be_bytes());
    out.extend_from_slice(&u32::from(has_nulls).to_be_bytes());
    out.extend_from_slice(&array.element().oid().to_be_bytes());
    for dimension in array.dimensions() {
        out.extend_from_slice(&dimension.len.to_be_bytes());
        out.extend_from_slice(&dimension.lower.to_be_bytes());
    }
    for value in array.values() {
        let at = out.len();
        out.extend_from_slice(&(-1i32).to_be_bytes());
        if !value.is_null() {
            write_as(array.element(), value, out);
            let len = (out.len() - at - 4) as u32;
            if let Some(slot) = out.get_mut(at..at + 4) {
                slot.copy_from_slice(&len.to_be_bytes());
            }
        }
    }
}

/// Reads the binary form of a value of `ty`, applying its modifier.
///
/// # Errors
///
/// 22P03, 08P01, 42804, 54000 or 0A000 if these are not the bytes of a value of this type.
pub fn read(ty: Type, bytes: &[u8]) -> Result<Datum> {
    let mut rest = bytes;
    let value = read_value(ty, &mut rest)?;
    if rest.is_empty() { Ok(value) } else { Err(Error::invalid_binary("incorrect binary data format")) }
}

fn read_value(ty: Type, bytes: &mut &[u8]) -> Result<Datum> {
    let value = match ty.id {
        TypeId::Bool => Datum::Bool(take::<1>(bytes)? != [0]),
        TypeId::Int2 => Datum::Int2(i16::from_be_bytes(take(bytes)?)),
        TypeId::Int4 => Datum::Int4(i32::from_be_bytes(take(bytes)?)),
        TypeId::Int8 => Datum::Int8(i64::from_be_bytes(take(bytes)?)),
        TypeId::Float4 => Datum::Float4(f32::from_be_bytes(take(bytes)?)),
        TypeId::Float8 => Datum::Float8(f64::from_be_bytes(take(bytes)?)),
        TypeId::Date => Datum::Date(crate::time::check_date(i32::from_be_bytes(take(bytes)?))?),
        TypeId::Time => Datum::Time(crate::time::check_time(i64::from_be_bytes(take(bytes)?))?),
        TypeId::Timestamp => {
            Datum::Timestamp(crate::time::check_timestamp(i64::from_be_bytes(take(bytes)?))?)
        }
        TypeId::Timestamptz => {
            Datum::Timestamptz(crate::time::check_timestamp(i64::from_be_bytes(take(bytes)?))?)
        }
        TypeId::Oid => Datum::Oid(u32::from_be_bytes(take(bytes)?)),
        id if id.is_reg() => Datum::Oid(u32::from_be_bytes(take(bytes)?)),
        TypeId::Regtype => Datum::Regtype(u32::from_be_bytes(take(bytes)?)),
        TypeId::Xid => Datum::Xid(u32::from_be_bytes(take(bytes)?)),
        TypeId::Xid8 => Datum::Xid8(u64::from_be_bytes(take(bytes)?)),
        TypeId::Lsn => Datum::Lsn(u64::from_be_bytes(take(bytes)?)),
        TypeId::Uuid => Datum::Uuid(take(bytes)?),
        TypeId::Interval => Datum::Interval(Interval {
            micros: i64::from_be_bytes(take(bytes)?),
            days: i32::from_be_bytes(take(bytes)?),
            months: i32::from_be_bytes(take(bytes)?),
        }),
        TypeId::Numeric => Datum::Numeric(Numeric::read_binary(std::mem::take(bytes))?),
        TypeId::Bytea => Datum::Bytea(Arc::from(std::mem::take(bytes))),
        TypeId::Text
        | TypeId::Varchar
        | TypeId::Name
        | TypeId::Unknown
        | TypeId::Aclitem
        | TypeId::Bpchar => {
            let text = checked_text(std::mem::take(bytes))?;
            match ty.id {
                TypeId::Bpchar => Datum::Bpchar(Arc::from(text)),
                TypeId::Name => Datum::Text(Str::from(checked_name(text)?)),
                _ => Datum::Text(Str::from(text)),
            }
        }
        TypeId::Char => {
            let [byte] = take::<1>(bytes)?;
            single_byte::of_byte(byte)
        }
        TypeId::Inet => read_inet(bytes)?,
        TypeId::Void | TypeId::AnyArray => {
            return Err(Error::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!("cannot accept a value of type {}", ty.id.sql_name()),
            ));
        }
        id => match id.element() {
            Some(element) => {
                let array = read_array(Type { id: element, modifier: ty.modifier }, bytes)?;
                return match array {
                    Datum::Array(array) if id.is_vector() => {
                        Ok(Datum::Array(Arc::new(Array::vector(element, array.values().to_vec()))))
                    }
                    array => Ok(array),
                };
            }
            None => return Err(Error::type_mismatch()),
        },
    };
    crate::cast::apply_modifier(value, ty, false)
}

/// A name from a client, of no more bytes than names keep.
fn checked_name(text: &str) -> Result<&str> {
    if text.len() <= NAME_BYTES_MAX {
        return Ok(text);
    }
    let detail = format!("Identifier must be less than {} characters.", NAME_BYTES_MAX + 1);
    Err(Error::new(SqlState::NAME_TOO_LONG, "identifier too long").with_detail(detail))
}

/// Text from a client: UTF-8 without NULs.
///
/// # Errors
///
/// 22021 if the bytes are not UTF-8 or hold a NUL.
pub fn checked_text(bytes: &[u8]) -> Result<&str> {
    let invalid = |bytes: &[u8]| {
        let shown: Vec<String> = bytes.iter().map(|byte| format!("0x{byte:02x}")).collect();
        Error::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")),
        )
    };
    if bytes.contains(&0) {
        return Err(invalid(&[0]));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let from = error.valid_up_to();
        // The whole sequence that the first byte announces, as far as there is one.
        let announced = match bytes.get(from) {
            Some(0xC0..=0xDF) => 2,
            Some(0xE0..=0xEF) => 3,
            Some(0xF0..=0xF7) => 4,
            _ => 1,
        };
        invalid(bytes.get(from..bytes.len().min(from + announced)).unwrap_or_default())
    })
}

fn read_inet(bytes: &mut &[u8]) -> Result<Datum> {
    let invalid = |what: &'static str| Error::invalid_binary(what);
    let [family, bits, _, len] = take::<4>(bytes)?;
    let address = match (family, len) {
        (2, 4) => IpAddr::from(take::<4>(bytes)?),
        (3, 16) => IpAddr::from(take::<16>(bytes)?),
        (2 | 3, _) => return Err(invalid("invalid length in external \"inet\" value")),
        _ => return Err(invalid("invalid address family in external \"inet\" value")),
    };
    if bits > crate::inet::host_bits(address) {
        return Err(invalid("invalid bits in external \"inet\" value"));
    }
    Ok(Datum::Inet(address, bits))
}

fn read_array(element: Type, bytes: &mut &[u8]) -> Result<Datum> {
    let announced = i32::from_be_bytes(take(bytes)?);
    let dimension_count = usize::try_from(announced)
        .map_err(|_| Error::invalid_binary(format!("invalid number of dimensions: {announced}")))?;
    if dimension_count > MAX_DIMENSIONS {
        return Err(Error::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!(
                "number of array dimensions ({dimension_count}) exceeds the maximum allowed ({MAX_DIMENSIONS})"
            ),
        ));
    }
    if !matches!(u32::from_be_bytes(take(bytes)?), 0 | 1) {
        return Err(Error::invalid_binary("invalid array flags"));
    }
    let oid = u32::from_be_bytes(take(bytes)?);
    if oid != element.id.oid() {
        return Err(Error::new(
            SqlState::DATATYPE_MISMATCH,
            "binary data has array element type that differs from the expected one",
        )
        .with_detail(format!("The data has the type with OID {oid}, expected is {}.", element.id.oid())));
    }
    let mut dimensions = Vec::with_capacity(dimension_count);
    let mut count = usize::from(dimension_count > 0);
    for _ in 0..dimension_count {
        let len = u32::from_be_bytes(take(bytes)?);
        let lower = i32::from_be_bytes(take(bytes)?);
        count = count.checked_mul(len as usize).filter(|count| *count <= ELEMENTS_MAX).ok_or_else(|| {
            let message = format!("array size exceeds the maximum allowed ({ELEMENTS_MAX})");
            Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
        })?;
        dimensions.push(Dimension { len, lower });
    }
    Array::check_bounds(&dimensions)?;
    // Each element takes at least its length word, which bounds what a message can make us reserve.
    if count > bytes.len() / 4 {
        return Err(insufficient());
    }
    let mut values = Vec::with_capacity(count);
    for number in 1..=count {
        let len = i32::from_be_bytes(take(bytes)?);
        if len == -1 {
            values.push(Datum::Null);
            continue;
        }
        let item = usize::try_from(len).ok().and_then(|len| bytes.split_at_checked(len));
        let (item, rest) = item.ok_or_else(|| Error::invalid_binary("insufficient data left in message"))?;
        *bytes = rest;
        let mut unread = item;
        values.push(read_value(element, &mut unread)?);
        if !unread.is_empty() {
            let message = format!("improper binary format in array element {number}");
            return Err(Error::invalid_binary(message));
        }
    }
    Array::with_dimensions(element.id, dimensions, values).map(|array| Datum::Array(Arc::new(array)))
}

#[cold]
pub(crate) fn insufficient() -> Error {
    Error::new(SqlState::PROTOCOL_VIOLATION, "insufficient data left in message")
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>().ok_or_else(insufficient)?;
    *bytes = rest;
    Ok(*taken)
}
