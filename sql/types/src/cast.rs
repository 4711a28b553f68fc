//! Casts between types: which exist, in which contexts, and what they do (pg_cast).

use crate::array::Array;
use crate::datum::{Datum, Str};
use crate::error::{Error, Result};
use crate::interval::Interval;
use crate::numeric::Numeric;
use crate::single_byte;
use crate::style::Style;
use crate::text::array_text;
use crate::time;
use crate::types::{Category, Type, TypeId};
use sqlstate::SqlState;
use std::borrow::Cow;
use std::sync::Arc;

/// Where a cast may be used without being written: each context includes those above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CastContext {
    /// Anywhere in an expression.
    Implicit,
    /// When a value is stored in a column.
    Assignment,
    /// Only where CAST or :: is written.
    Explicit,
}

type Targets = &'static [TypeId];

/// The casts of pg_cast, a row a source: its targets by the least demanding context. [`cast_context`] has the
/// rules for arrays, and for casts by way of text.
const CASTS: &[(TypeId, Targets, Targets, Targets)] = {
    use TypeId::{
        Bool, Bpchar, Char, Date, Float4, Float8, Int2, Int2Array, Int2Vector, Int4, Int8, Interval, Name,
        Numeric, Oid, OidArray, OidVector, Regclass, Regcollation, Regnamespace, Regoper, Regoperator,
        Regproc, Regprocedure, Regrole, Regtype, Text, Time, Timestamp, Timestamptz, Varchar, Xid, Xid8,
    };
    const OF_OID: Targets = &[Oid];
    const INTEGERS: Targets = &[Int4, Int8];
    &[
        // from, implicit, assignment, explicit
        (
            Int2,
            &[
                Int4,
                Int8,
                Float4,
                Float8,
                Numeric,
                Oid,
                Regclass,
                Regproc,
                Regprocedure,
                Regoper,
                Regoperator,
                Regnamespace,
                Regrole,
                Regcollation,
                Regtype,
            ],
            &[],
            &[],
        ),
        (
            Int4,
            &[
                Int8,
                Float4,
                Float8,
                Numeric,
                Oid,
                Regclass,
                Regproc,
                Regprocedure,
                Regoper,
                Regoperator,
                Regnamespace,
                Regrole,
                Regcollation,
                Regtype,
            ],
            &[Int2],
            &[Bool, Char],
        ),
        (
            Int8,
            &[
                Float4,
                Float8,
                Numeric,
                Oid,
                Regclass,
                Regproc,
                Regprocedure,
                Regoper,
                Regoperator,
                Regnamespace,
                Regrole,
                Regcollation,
                Regtype,
            ],
            &[Int2, Int4],
            &[],
        ),
        (Float4, &[Float8], &[Int2, Int4, Int8, Numeric], &[]),
        (Float8, &[], &[Int2, Int4, Int8, Numeric, Float4], &[]),
        (Numeric, &[Float4, Float8], &[Int2, Int4, Int8], &[]),
        (
            Oid,
            &[
                Regclass,
                Regproc,
                Regprocedure,
                Regoper,
                Regoperator,
                Regnamespace,
                Regrole,
                Regcollation,
                Regtype,
            ],
            INTEGERS,
            &[],
        ),
        (Regclass, OF_OID, INTEGERS, &[]),
        (Regtype, OF_OID, INTEGERS, &[]),
        (Regproc, &[Oid, Regprocedure], INTEGERS, &[]),
        (Regprocedure, &[Oid, Regproc], INTEGERS, &[]),
        (Regoper, &[Oid, Regoperator], INTEGERS, &[]),
        (Regoperator, &[Oid, Regoper], INTEGERS, &[]),
        (Regnamespace, OF_OID, INTEGERS, &[]),
        (Regrole, OF_OID, INTEGERS, &[]),
        (Regcollation, OF_OID, INTEGERS, &[]),
        (Int2Vector, &[Int2Array], &[], &[]),
        (OidVector, &[OidArray], &[], &[]),
        (Date, &[Timestamp, Timestamptz], &[], &[]),
        (Timestamp, &[Timestamptz], &[Date, Time], &[]),
        (Timestamptz, &[], &[Date, Time, Timestamp], &[]),
        (Time, &[Interval], &[], &[]),
        (Interval, &[], &[Time], &[]),
        (Bool, &[], &[], &[Int4]),
        (Xid8, &[], &[], &[Xid]),
        (Text, &[Varchar, Bpchar, Name, Regclass], &[Char], &[]),
        (Varchar, &[Text, Bpchar, Name, Regclass], &[Char], &[]),
        (Bpchar, &[Text, Varchar, Name], &[Char], &[]),
        (Name, &[Text], &[], &[]),
        (Char, &[Text], &[], &[Int4]),
    ]
};

/// The least demanding context in which `from` becomes `to`; None if there is no such cast. A type is its
/// own.
pub fn cast_context(from: TypeId, to: TypeId) -> Option<CastContext> {
    use CastContext::{Assignment, Explicit, Implicit};
    use TypeId as T;
    if from == to || from == T::Unknown {
        return Some(Implicit);
    }
    let to_vector = to.is_vector();
    if let Some((_, implicit, assignment, explicit)) = CASTS.iter().find(|(listed, ..)| *listed == from) {
        for (targets, context) in [(implicit, Implicit), (assignment, Assignment), (explicit, Explicit)] {
            if targets.contains(&to) {
                return Some(context);
            }
        }
    }
    if let (Some(from), Some(to)) = (from.element(), to.element())
        && !to_vector
    {
        // Arrays are cast element by element, in the context that the elements ask for.
        return cast_context(from, to);
    }
    // Through text: towards strings on assignment, from strings when written.
    let plain = |id: TypeId| !matches!(id, T::Void | T::AnyArray | T::Unknown);
    if to.category() == Category::String && (plain(from) || from == T::Void) {
        Some(Assignment)
    } else if from.category() == Category::String && plain(to) {
        Some(Explicit)
    } else {
        None
    }
}

/// Converts a value of type `from` to `to`, its modifier included. `explicit` is whether the cast was
/// written, which lets varchar(n) and char(n) cut what is too long. The cast must exist ([`cast_context`]).
///
/// # Errors
///
/// The SQLSTATE of the value that does not fit the type.
pub fn cast(value: &Datum, from: TypeId, to: Type, explicit: bool, style: &Style) -> Result<Datum> {
    if value.is_null() {
        return Ok(Datum::Null);
    }
    let converted = if from == to.id { value.clone() } else { convert(value, from, to.id, style)? };
    if to.modifier < 0 { Ok(converted) } else { apply_modifier(converted, to, explicit) }
}

fn convert(value: &Datum, from: TypeId, to: TypeId, style: &Style) -> Result<Datum> {
    use TypeId as T;
    if to.is_string() || to == T::Char {
        return to_string_type(value, to, style);
    }
    Ok(match (value, to) {
        (Datum::Int2(value), _) if is_number(to) => from_integer(i64::from(*value), to)?,
        (Datum::Int4(value), _) if is_number(to) => from_integer(i64::from(*value), to)?,
        // smallint and integer become an OID by their bits, bigint by its value.
        (Datum::Int8(value), T::Oid | T::Regtype) if *value < 0 => return Err(Error::out_of_range("OID")),
        (Datum::Int8(value), _) if to.is_reg() && *value < 0 => return Err(Error::out_of_range("OID")),
        (Datum::Int8(value), _) if is_number(to) => from_integer(*value, to)?,
        (Datum::Int4(value), T::Bool) => Datum::Bool(*value != 0),
        (Datum::Bool(value), T::Int4) => Datum::Int4(i32::from(*value)),
        (Datum::Float4(value), T::Float8) => Datum::Float8(f64::from(*value)),
        (Datum::Float4(value), T::Numeric) => Datum::Numeric(Numeric::from_f32(*value)),
        (Datum::Float4(value), _) if is_number(to) => from_float(f64::from(*value), to)?,
        (Datum::Float8(value), T::Float4) => Datum::Float4(narrow(*value)?),
        (Datum::Float8(value), T::Numeric) => Datum::Numeric(Numeric::from_f64(*value)),
        (Datum::Float8(value), _) if is_number(to) => from_float(*value, to)?,
        (Datum::Numeric(value), _) if is_number(to) => from_numeric(value, to)?,
        (Datum::Oid(value) | Datum::Regtype(value), T::Oid) => Datum::Oid(*value),
        (Datum::Oid(value) | Datum::Regtype(value), _) if to.is_reg() => Datum::Oid(*value),
        (Datum::Oid(value), T::Regtype) => Datum::Regtype(*value),
        // An OID above 2^31 turns negative, as its bits stay.
        (Datum::Oid(value) | Datum::Regtype(value), T::Int4) => Datum::Int4(*value as i32),
        (Datum::Oid(value) | Datum::Regtype(value), T::Int8) => Datum::Int8(i64::from(*value)),
        (Datum::Xid8(value), T::Xid) => Datum::Xid(*value as u32),
        (Datum::Date(value), T::Timestamp) => Datum::Timestamp(time::date_to_timestamp(*value)?),
        (Datum::Date(value), T::Timestamptz) => {
            Datum::Timestamptz(time::timestamp_to_timestamptz(time::date_to_timestamp(*value)?, &style.zone)?)
        }
        (Datum::Timestamp(value), T::Timestamptz) => {
            Datum::Timestamptz(time::timestamp_to_timestamptz(*value, &style.zone)?)
        }
        (Datum::Timestamptz(value), T::Timestamp) => {
            Datum::Timestamp(time::timestamptz_to_timestamp(*value, &style.zone)?)
        }
        (Datum::Timestamp(value), T::Date) => Datum::Date(time::date_from_timestamp(*value)?),
        (Datum::Timestamptz(value), T::Date) => {
            Datum::Date(time::date_from_timestamp(time::timestamptz_to_timestamp(*value, &style.zone)?)?)
        }
        (Datum::Timestamp(value), T::Time) => time_of(*value),
        (Datum::Timestamptz(value), T::Time) => time_of(time::timestamptz_to_timestamp(*value, &style.zone)?),
        (Datum::Time(value), T::Interval) => Datum::Interval(Interval::from_micros(*value)),
        (Datum::Interval(value), T::Time) => Datum::Time(value.micros.rem_euclid(time::MICROS_PER_DAY)),
        (Datum::Text(text), T::Int4) if from == T::Char => {
            Datum::Int4(i32::from(single_byte::byte_of(text).cast_signed()))
        }
        (Datum::HighByte(byte), T::Int4) => Datum::Int4(i32::from(byte.cast_signed())),
        (Datum::Text(text), _) => Datum::parse(Type::of(to), text, style)?,
        (Datum::Bpchar(text), _) => Datum::parse(Type::of(to), text, style)?,
        (Datum::Array(array), _) => match to.element() {
            Some(element) => convert_array(array, element, style)?,
            None => return Err(Error::type_mismatch()),
        },
        _ => return Err(Error::type_mismatch()),
    })
}

fn is_number(id: TypeId) -> bool {
    use TypeId as T;
    matches!(id, T::Int2 | T::Int4 | T::Int8 | T::Float4 | T::Float8 | T::Numeric | T::Oid | T::Regtype)
        || id.is_reg()
}

fn from_integer(value: i64, to: TypeId) -> Result<Datum> {
    Ok(match to {
        TypeId::Int2 => Datum::Int2(value.try_into().map_err(|_| Error::out_of_range("smallint"))?),
        TypeId::Int4 => Datum::Int4(value.try_into().map_err(|_| Error::out_of_range("integer"))?),
        TypeId::Int8 => Datum::Int8(value),
        TypeId::Float4 => Datum::Float4(value as f32),
        TypeId::Float8 => Datum::Float8(value as f64),
        TypeId::Numeric => Datum::Numeric(value.into()),
        _ => {
            let oid = match i32::try_from(value) {
                Ok(value) => value as u32,
                Err(_) => u32::try_from(value).map_err(|_| Error::out_of_range("OID"))?,
            };
            if to == TypeId::Regtype { Datum::Regtype(oid) } else { Datum::Oid(oid) }
        }
    })
}

/// Rounds halves to the even neighbour, as C's rint.
fn from_float(value: f64, to: TypeId) -> Result<Datum> {
    let rounded = value.round_ties_even();
    let (name, min, end) = match to {
        TypeId::Int2 => ("smallint", -32_768.0, 32_768.0),
        TypeId::Int4 => ("integer", -2_147_483_648.0, 2_147_483_648.0),
        TypeId::Int8 => ("bigint", -9_223_372_036_854_775_808.0, 9_223_372_036_854_775_808.0),
        _ => return Err(Error::type_mismatch()),
    };
    if !(min..end).contains(&rounded) {
        return Err(Error::out_of_range(name));
    }
    from_integer(rounded as i64, to)
}

/// A double as a real; what becomes infinite or zero is refused.
fn narrow(value: f64) -> Result<f32> {
    let narrow = value as f32;
    if narrow.is_infinite() && !value.is_infinite() {
        return Err(crate::ops::float_overflow());
    }
    if narrow == 0.0 && value != 0.0 {
        return Err(crate::ops::float_underflow());
    }
    Ok(narrow)
}

fn from_numeric(value: &Numeric, to: TypeId) -> Result<Datum> {
    let name = match to {
        TypeId::Float4 => {
            let wide = value.to_f64();
            let text = value.to_string();
            let narrow: f32 = if value.is_finite() { text.parse().unwrap_or(f32::NAN) } else { wide as f32 };
            if (narrow.is_infinite() && value.is_finite()) || (narrow == 0.0 && !value.is_zero()) {
                return Err(Error::new(
                    SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                    format!("\"{text}\" is out of range for type real"),
                ));
            }
            return Ok(Datum::Float4(narrow));
        }
        TypeId::Float8 => {
            let wide = value.to_f64();
            if (wide.is_infinite() && value.is_finite()) || (wide == 0.0 && !value.is_zero()) {
                return Err(Error::new(
                    SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                    format!("\"{value}\" is out of range for type double precision"),
                ));
            }
            return Ok(Datum::Float8(wide));
        }
        TypeId::Int2 => "smallint",
        TypeId::Int4 => "integer",
        TypeId::Int8 => "bigint",
        _ => return Err(Error::type_mismatch()),
    };
    if !value.is_finite() {
        let what = if value.is_nan() { "NaN" } else { "infinity" };
        return Err(Error::new(SqlState::FEATURE_NOT_SUPPORTED, format!("cannot convert {what} to {name}")));
    }
    from_integer(value.to_i64().ok_or_else(|| Error::out_of_range(name))?, to)
}

fn time_of(micros: i64) -> Datum {
    if time::is_infinite(micros) { Datum::Null } else { Datum::Time(micros.rem_euclid(time::MICROS_PER_DAY)) }
}

fn convert_array(array: &Array, element: TypeId, style: &Style) -> Result<Datum> {
    let convert_one = |value: &Datum| cast(value, array.element(), Type::of(element), true, style);
    let values = array.values().iter().map(convert_one).collect::<Result<Vec<_>>>()?;
    Ok(Datum::Array(Arc::new(Array::with_dimensions(element, array.dimensions().to_vec(), values)?)))
}

fn to_string_type(value: &Datum, to: TypeId, style: &Style) -> Result<Datum> {
    if let (Datum::Int4(code), TypeId::Char) = (value, to) {
        let byte = i8::try_from(*code)
            .map_err(|_| Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "\"char\" out of range"))?;
        return Ok(single_byte::of_byte(byte.cast_unsigned()));
    }
    let text: Cow<'_, str> = match value {
        // char(n) loses its padding on the way to other strings.
        // A "char" is made of the text with its blanks.
        Datum::Bpchar(text) if to != TypeId::Bpchar && to != TypeId::Char => {
            Cow::Borrowed(text.trim_end_matches(' '))
        }
        Datum::Text(text) if to != TypeId::Bpchar && to != TypeId::Name && to != TypeId::Char => {
            return Ok(Datum::Text(Str::clone(text)));
        }
        Datum::Text(text) => Cow::Borrowed(text.as_str()),
        // The cast function of boolean spells the word out; its output function does not.
        Datum::Bool(value) if to != TypeId::Name && to != TypeId::Char => {
            Cow::Borrowed(if *value { "true" } else { "false" })
        }
        // So does that of inet with the prefix length.
        Datum::Inet(address, bits) => Cow::Owned(format!("{address}/{bits}")),
        Datum::Array(array) if !array.is_vector() => Cow::Owned(array_text(array, style)?),
        other => Cow::Owned(other.to_text(style).unwrap_or_default()),
    };
    Ok(match to {
        TypeId::Bpchar => Datum::Bpchar(Arc::from(text)),
        TypeId::Name => Datum::text(crate::clipped(&text)),
        TypeId::Char => single_byte::of_text(&text),
        _ => Datum::text(text),
    })
}

/// Makes a value of the right type fit its modifier: length of strings, precision of numbers and times.
///
/// # Errors
///
/// 22001 or 22003 if the value does not fit.
pub fn apply_modifier(value: Datum, ty: Type, explicit: bool) -> Result<Datum> {
    if ty.modifier < 0 {
        return Ok(value);
    }
    match value {
        Datum::Text(text) => match ty.character_limit() {
            Some(limit) => limited(text, limit, explicit).map(Datum::Text),
            None => Ok(Datum::Text(text)),
        },
        Datum::Bpchar(text) => match ty.character_limit() {
            Some(length) => padded(text, length, explicit).map(Datum::Bpchar),
            None => Ok(Datum::Bpchar(text)),
        },
        Datum::Numeric(number) => match ty.numeric_limits() {
            Some((precision, scale)) => number.fit(precision, scale).map(Datum::Numeric),
            None => Ok(Datum::Numeric(number)),
        },
        Datum::Time(micros) => Ok(Datum::Time(rounded(micros, ty))),
        Datum::Timestamp(micros) => Ok(Datum::Timestamp(rounded(micros, ty))),
        Datum::Timestamptz(micros) => Ok(Datum::Timestamptz(rounded(micros, ty))),
        Datum::Interval(value) => Ok(Datum::Interval(match ty.time_precision() {
            Some(digits) => Interval { micros: time::round_micros(value.micros, digits), ..value },
            None => value,
        })),
        Datum::Array(array) => match ty.id.element() {
            Some(element) => {
                let element = Type { id: element, modifier: ty.modifier };
                let fit = |value: &Datum| apply_modifier(value.clone(), element, explicit);
                let values = array.values().iter().map(fit).collect::<Result<Vec<_>>>()?;
                Array::with_dimensions(element.id, array.dimensions().to_vec(), values)
                    .map(|array| Datum::Array(Arc::new(array)))
            }
            None => Ok(Datum::Array(array)),
        },
        other => Ok(other),
    }
}

fn rounded(micros: i64, ty: Type) -> i64 {
    match ty.time_precision() {
        Some(digits) if !time::is_infinite(micros) => time::round_micros(micros, digits),
        _ => micros,
    }
}

fn too_long(name: &str, limit: usize) -> Error {
    Error::new(SqlState::STRING_DATA_RIGHT_TRUNCATION, format!("value too long for type {name}({limit})"))
}

/// The byte where the character after the first `limit` ones begins; None if there is none.
fn cut_at(text: &str, limit: usize) -> Option<usize> {
    if text.len() <= limit { None } else { text.char_indices().nth(limit).map(|(at, _)| at) }
}

fn limited(text: Str, limit: usize, explicit: bool) -> Result<Str> {
    match cut_at(&text, limit).map(|at| text.split_at(at)) {
        None => Ok(text),
        Some((kept, rest)) if explicit || rest.bytes().all(|byte| byte == b' ') => Ok(Str::from(kept)),
        Some(_) => Err(too_long("character varying", limit)),
    }
}

fn padded(text: Arc<str>, length: usize, explicit: bool) -> Result<Arc<str>> {
    match cut_at(&text, length).map(|at| text.split_at(at)) {
        Some((kept, rest)) if explicit || rest.bytes().all(|byte| byte == b' ') => Ok(Arc::from(kept)),
        Some(_) => Err(too_long("character", length)),
        None => {
            let missing = length.saturating_sub(text.chars().count());
            if missing == 0 {
                return Ok(text);
            }
            let mut padded = String::with_capacity(text.len() + missing);
            padded.push_str(&text);
            padded.extend(std::iter::repeat_n(' ', missing));
            Ok(Arc::from(padded))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SELECT ascii((' '::char(1)::"char")::text), ' '::char(1)::text` in PostgreSQL 15: 32 and nothing.
    #[test]
    fn blanks_of_a_padded_text_reach_a_single_byte_alone() -> Result<()> {
        let blank = Datum::Bpchar(Arc::from(" "));
        let cast_to = |to: TypeId| cast(&blank, TypeId::Bpchar, Type::of(to), true, &Style::default());
        assert_eq!(cast_to(TypeId::Char)?, Datum::text(" "));
        assert_eq!(cast_to(TypeId::Text)?, Datum::text(""));
        Ok(())
    }
}
