//! Sequences: their definitions, and where they stand.

use super::{Fields, corrupt, encode, kind, oid_key, text};
use crate::model::{Sequence, SequencePosition};
use sql_interface::Result;
use sql_types::{Datum, TypeId};

const SEQUENCE: &[TypeId] = &[
    TypeId::Text,
    TypeId::Oid,
    TypeId::Oid,
    TypeId::Oid,
    TypeId::Int8,
    TypeId::Int8,
    TypeId::Int8,
    TypeId::Int8,
    TypeId::Int8,
    TypeId::Int8,
    TypeId::Bool,
    TypeId::Oid,
    TypeId::Int2,
    TypeId::Bool,
];

pub(crate) fn encode_sequence(sequence: &Sequence) -> Result<Vec<u8>> {
    let (table, column) = sequence.owned_by.unwrap_or_default();
    encode(
        SEQUENCE,
        &[
            text(&sequence.name),
            Datum::Oid(sequence.owner),
            Datum::Oid(sequence.state),
            Datum::Oid(sequence.ty.oid()),
            Datum::Int8(sequence.from),
            Datum::Int8(sequence.start),
            Datum::Int8(sequence.increment),
            Datum::Int8(sequence.min),
            Datum::Int8(sequence.max),
            Datum::Int8(sequence.cache),
            sequence.cycle.into(),
            Datum::Oid(table),
            Datum::Int2(column),
            sequence.identity.into(),
        ],
    )
}

pub(crate) fn decode_sequence(oid: u32, bytes: &[u8]) -> Result<Sequence> {
    let mut fields = Fields::decode(SEQUENCE, bytes)?;
    let int8 = |fields: &mut Fields| fields.next().as_i64().ok_or_else(corrupt);
    let name = fields.text()?;
    let (owner, state) = (fields.oid()?, fields.oid()?);
    let ty = TypeId::from_oid(fields.oid()?).ok_or_else(corrupt)?;
    let from = int8(&mut fields)?;
    let (start, increment) = (int8(&mut fields)?, int8(&mut fields)?);
    let (min, max, cache) = (int8(&mut fields)?, int8(&mut fields)?, int8(&mut fields)?);
    let cycle = fields.bool()?;
    let (table, column) = (fields.oid()?, int8(&mut fields)?);
    let column = i16::try_from(column).map_err(|_| corrupt())?;
    Ok(Sequence {
        oid,
        name,
        owner,
        state,
        from,
        ty,
        start,
        increment,
        min,
        max,
        cache,
        cycle,
        owned_by: (table != 0).then_some((table, column)),
        identity: fields.bool()?,
    })
}

pub(crate) fn sequence_state_key(sequence: u32, state: u32) -> Vec<u8> {
    let mut key = oid_key(kind::SEQUENCE_STATE, sequence);
    key.extend_from_slice(&state.to_be_bytes());
    key
}

pub(crate) fn encode_position(position: SequencePosition) -> Vec<u8> {
    let mut bytes = position.last.to_le_bytes().to_vec();
    bytes.push(u8::from(position.is_called));
    bytes
}

pub(crate) fn decode_position(bytes: &[u8]) -> Result<SequencePosition> {
    match bytes.split_first_chunk::<8>() {
        Some((last, [is_called])) => {
            Ok(SequencePosition { last: i64::from_le_bytes(*last), is_called: *is_called != 0 })
        }
        _ => Err(corrupt()),
    }
}
