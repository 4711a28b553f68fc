//! Rows between their stored form and values.

use super::Row;
use sql_catalogue::Relation;
use sql_interface::Result;
use sql_types::{Datum, TypeId, key, work};

/// A row of NULLs with room for so many values.
pub(crate) fn nulls(relation: &Relation, room: usize) -> Row {
    let mut row = Row::with_capacity(room);
    row.resize_with(relation.columns.len(), Datum::default);
    row
}

/// Decodes some columns of a stored row into a row of all columns; the others are NULL.
///
/// # Errors
///
/// Bytes that are no row of this table.
#[inline]
pub fn decode(relation: &Relation, needed: &[usize], key: &[u8], value: &[u8]) -> Result<Row> {
    let mut row = nulls(relation, relation.columns.len());
    decode_into(relation, needed, key, value, &mut row)?;
    Ok(row)
}

/// Decodes some columns of a stored row to their places in `row`, which is wide enough.
pub(crate) fn decode_into(
    relation: &Relation,
    needed: &[usize],
    key: &[u8],
    value: &[u8],
    row: &mut [Datum],
) -> Result<()> {
    let layout = &relation.layout;
    let stored = layout.row.read(value)?;
    let mut from_key = false;
    for at in needed {
        match layout.in_row.get(*at).copied().flatten() {
            Some(place) => {
                let found = if place < stored.written_columns() {
                    stored.get(place)?
                } else {
                    layout.missing.get(*at).cloned().unwrap_or_default()
                };
                if let Some(slot) = row.get_mut(*at) {
                    *slot = found;
                }
            }
            None => from_key = true,
        }
    }
    if from_key {
        decode_key(relation, needed, key, row)?;
    }
    Ok(())
}

/// Decodes the needed columns that only the key holds.
fn decode_key(relation: &Relation, needed: &[usize], mut bytes: &[u8], row: &mut [Datum]) -> Result<()> {
    let layout = &relation.layout;
    let columns: &[usize] = relation.primary_key.as_ref().map_or(&[], |primary| &primary.columns);
    let wanted = |at: usize| layout.in_row.get(at).copied().flatten().is_none() && needed.contains(&at);
    let mut left = columns.iter().filter(|at| wanted(**at)).count();
    for (column, at) in layout.key.iter().zip(columns) {
        if left == 0 {
            break;
        }
        let value = key::decode(*column, &mut bytes)?;
        if wanted(*at) {
            left -= 1;
            if let Some(slot) = row.get_mut(*at) {
                *slot = value;
            }
        }
    }
    Ok(())
}

/// A row's primary key as bytes.
///
/// # Errors
///
/// A value that no key can hold.
pub fn encode_key(relation: &Relation, row: &[Datum], out: &mut Vec<u8>) -> Result<()> {
    let columns: &[usize] = relation.primary_key.as_ref().map_or(&[], |primary| &primary.columns);
    for (column, at) in relation.layout.key.iter().zip(columns) {
        key::encode(*column, row.get(*at).unwrap_or(&Datum::Null), out)?;
    }
    Ok(())
}

/// A row's value as bytes: all that the key does not hold.
///
/// # Errors
///
/// A value that no row can hold.
pub fn encode_value(relation: &Relation, row: &[Datum]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(16 + 8 * relation.layout.row_columns.len());
    append_value(relation, row, &mut out)?;
    Ok(out)
}

/// Copies of a large row that storage makes on the way to pages and log.
const STORED_COPIES: usize = 3;

/// Appends the same to `out`; an error if there is no memory for what storage makes of it.
pub(crate) fn append_value(relation: &Relation, row: &[Datum], out: &mut Vec<u8>) -> Result<()> {
    let (layout, start) = (&relation.layout, out.len());
    if layout.row_columns.len() == relation.columns.len() {
        layout.row.encode(row, out)?;
    } else {
        let values: smallvec::SmallVec<[Datum; 8]> =
            layout.row_columns.iter().map(|at| row.get(*at).cloned().unwrap_or_default()).collect();
        layout.row.encode(&values, out)?;
    }
    Ok(work::room_for((out.len() - start).saturating_mul(STORED_COPIES))?)
}

/// A value for a bound of a key column.
pub(crate) enum Fit {
    /// Of the column's type.
    Value(Datum),
    /// Less than any value of the column's type.
    Below,
    /// Greater than any value of the column's type.
    Above,
    Null,
}

/// Brings an integer of another width to a column's type.
pub(crate) fn fit(value: Datum, id: TypeId) -> Fit {
    let Some(number) = value.as_i64() else {
        return if value.is_null() { Fit::Null } else { Fit::Value(value) };
    };
    let fitted = match id {
        TypeId::Int2 => i16::try_from(number).map(Datum::Int2),
        TypeId::Int4 => i32::try_from(number).map(Datum::Int4),
        TypeId::Int8 => Ok(Datum::Int8(number)),
        _ => return Fit::Value(value),
    };
    match fitted {
        Ok(value) => Fit::Value(value),
        Err(_) if number < 0 => Fit::Below,
        Err(_) => Fit::Above,
    }
}

/// The first column that takes no NULL and has one in this row.
#[inline]
pub fn forbidden_null(relation: &Relation, row: &[Datum]) -> Option<usize> {
    let mut columns = relation.columns.iter().enumerate();
    let found = columns
        .find(|(at, column)| column.not_null && !column.dropped && row.get(*at).is_none_or(Datum::is_null));
    found.map(|(at, _)| at)
}
