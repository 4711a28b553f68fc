//! Single bytes and bits of strings of bytes.

use super::{Table, bytes, integer};
use crate::expr::Facts;
use sql_interface::{Result, SqlError};
use sql_types::TypeId::{Bytea, Int4, Int8};
use sql_types::{Datum, TypeId};
use sqlstate::SqlState;

/// A place among so many; the error names the last one.
fn place(at: i64, count: usize) -> Result<usize> {
    let found = usize::try_from(at).ok().filter(|at| *at < count);
    found.ok_or_else(|| {
        let last = i64::try_from(count).unwrap_or(i64::MAX) - 1;
        let message = format!("index {at} out of valid range, 0..{last}");
        SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, message)
    })
}

fn get_byte(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    let value = bytes(arguments, 0)?;
    let at = place(integer(arguments, 1)?, value.len())?;
    Ok(Datum::Int4(value.get(at).copied().unwrap_or_default().into()))
}

fn set_byte(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    let mut value = bytes(arguments, 0)?.to_vec();
    let at = place(integer(arguments, 1)?, value.len())?;
    let [byte, ..] = integer(arguments, 2)?.to_le_bytes();
    if let Some(place) = value.get_mut(at) {
        *place = byte;
    }
    Ok(Datum::Bytea(value.into()))
}

/// The byte and the bit in it, the lowest first.
fn bit_place(arguments: &[Datum]) -> Result<(usize, u8)> {
    let count = bytes(arguments, 0)?.len().saturating_mul(8);
    let at = place(integer(arguments, 1)?, count)?;
    Ok((at / 8, 1 << (at % 8)))
}

fn get_bit(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    let (at, mask) = bit_place(arguments)?;
    let byte = bytes(arguments, 0)?.get(at).copied().unwrap_or_default();
    Ok(Datum::Int4(i32::from(byte & mask != 0)))
}

fn set_bit(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    let (at, mask) = bit_place(arguments)?;
    let is_set = match integer(arguments, 2)? {
        0 => false,
        1 => true,
        _ => return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "new bit must be 0 or 1")),
    };
    let mut value = bytes(arguments, 0)?.to_vec();
    if let Some(byte) = value.get_mut(at) {
        *byte = if is_set { *byte | mask } else { *byte & !mask };
    }
    Ok(Datum::Bytea(value.into()))
}

/// Whether PostgreSQL takes a literal or parameter for a string of bits, the type bit, of which there is none
/// here: its function of those names takes a place of this type.
pub(crate) fn takes_bits(name: &str, types: &[TypeId]) -> bool {
    matches!(name, "get_bit" | "set_bit") && matches!(types, [TypeId::Unknown, Int4, ..])
}

pub(super) fn register(table: &mut Table) {
    table.add("get_byte", &[Bytea, Int4], Int4, get_byte);
    table.add("set_byte", &[Bytea, Int4, Int4], Bytea, set_byte);
    table.add("get_bit", &[Bytea, Int8], Int4, get_bit);
    table.add("set_bit", &[Bytea, Int8, Int4], Bytea, set_bit);
}
