//! Functions that change arrays or tell where in them something is.

use super::{Parameter, Returns, Table, array, integer, mismatch};
use crate::expr::Facts;
use sql_interface::{Result, SqlError};
use sql_types::TypeId::{Int4, Int4Array, Text};
use sql_types::{Array, Datum, Dimension, TypeId};
use sqlstate::SqlState;
use std::sync::Arc;

/// Elements that array_fill makes at most.
const FILLED_MAX: usize = 1 << 27;

fn one_dimension(array: &Array, what: &str) -> Result<()> {
    if array.dimensions().len() <= 1 {
        return Ok(());
    }
    let message = format!("{what} is not supported");
    Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message))
}

/// The same array with other elements, in one dimension from where it began.
fn with(array: &Array, values: Vec<Datum>) -> Result<Datum> {
    let Some(first) = array.dimensions().first().filter(|_| !values.is_empty()) else {
        return Ok(Datum::Array(Arc::new(Array::of(array.element(), values))));
    };
    let len = u32::try_from(values.len()).unwrap_or(u32::MAX);
    let dimension = Dimension { len, ..*first };
    Array::check_bounds(&[dimension])?;
    Ok(Datum::Array(Arc::new(Array::with_dimensions(array.element(), vec![dimension], values)?)))
}

fn remove(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    if arguments.first().is_none_or(Datum::is_null) {
        return Ok(Datum::Null);
    }
    let (from, unwanted) = (array(arguments)?, arguments.get(1).ok_or_else(mismatch)?);
    one_dimension(from, "removing elements from multidimensional arrays")?;
    with(from, from.values().iter().filter(|value| *value != unwanted).cloned().collect())
}

fn replace(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    if arguments.first().is_none_or(Datum::is_null) {
        return Ok(Datum::Null);
    }
    let (from, [_, old, new]) = (array(arguments)?, arguments) else { return Err(mismatch()) };
    let values = from.values().iter().map(|value| if value == old { new.clone() } else { value.clone() });
    let changed = Array::with_dimensions(from.element(), from.dimensions().to_vec(), values.collect())?;
    Ok(Datum::Array(Arc::new(changed)))
}

/// array_append and array_prepend: an array of one dimension with one more element, from where it began.
fn extended(element: TypeId, array: &Datum, value: &Datum, at_end: bool) -> Result<Datum> {
    let array = match array {
        Datum::Array(array) => Some(array),
        Datum::Null => None,
        _ => return Err(mismatch()),
    };
    let dimensions = array.map(|array| array.dimensions()).unwrap_or_default();
    if dimensions.len() > 1 {
        let message = "argument must be empty or one-dimensional array";
        return Err(SqlError::new(SqlState::DATA_EXCEPTION, message));
    }
    let Dimension { len, lower } = dimensions.first().copied().unwrap_or(Dimension { len: 0, lower: 1 });
    // It is put there before the array is said to begin where it began.
    let subscript = if at_end { i64::from(lower) + i64::from(len) } else { i64::from(lower) - 1 };
    if i32::try_from(subscript).is_err() {
        return Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "integer out of range"));
    }
    let dimension = Dimension { len: len.saturating_add(1), lower };
    Array::check_bounds(&[dimension])?;
    let mut values = array.map(|array| array.values().to_vec()).unwrap_or_default();
    values.insert(if at_end { values.len() } else { 0 }, value.clone());
    Ok(Datum::Array(Arc::new(Array::with_dimensions(element, vec![dimension], values)?)))
}

fn append(element: TypeId, arguments: &[Datum]) -> Result<Datum> {
    let [array, value] = arguments else { return Err(mismatch()) };
    extended(element, array, value, true)
}

fn prepend(element: TypeId, arguments: &[Datum]) -> Result<Datum> {
    let [value, array] = arguments else { return Err(mismatch()) };
    extended(element, array, value, false)
}

/// array_cat: both arrays, from where the first one began; an empty one or NULL leaves the other as it is.
fn concatenated(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    match arguments {
        [Datum::Null, other] | [other, Datum::Null] => Ok(other.clone()),
        [Datum::Array(empty), other] | [other, Datum::Array(empty)] if empty.dimensions().is_empty() => {
            Ok(other.clone())
        }
        [Datum::Array(a), Datum::Array(b)] if a.dimensions().len() == 1 && b.dimensions().len() == 1 => {
            with(a, [a.values(), b.values()].concat())
        }
        _ => Err(SqlError::unsupported("concatenation of arrays with more than one dimension")),
    }
}

/// array_position: the first element that is equal, or NULL as the wanted one is, from a subscript on.
fn position(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    if arguments.first().is_none_or(Datum::is_null) {
        return Ok(Datum::Null);
    }
    let (from, wanted) = (array(arguments)?, arguments.get(1).ok_or_else(mismatch)?);
    one_dimension(from, "searching for elements in multidimensional arrays")?;
    // Where nothing can be found, it does not matter from where on.
    if from.values().is_empty() || (wanted.is_null() && !from.values().contains(wanted)) {
        return Ok(Datum::Null);
    }
    let first = from.dimensions().first().map_or(1, |dimension| i64::from(dimension.lower));
    let start = match arguments.get(2) {
        None => first,
        Some(Datum::Null) => {
            let message = "initial position must not be null";
            return Err(SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, message));
        }
        Some(start) => start.as_i64().ok_or_else(mismatch)?,
    };
    let mut numbered = (first..).zip(from.values());
    let found = numbered.find(|(at, value)| *at >= start && *value == wanted);
    Ok(found.map_or(Datum::Null, |(at, _)| Datum::Int4(i32::try_from(at).unwrap_or(i32::MAX))))
}

fn positions(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    if arguments.first().is_none_or(Datum::is_null) {
        return Ok(Datum::Null);
    }
    let (from, wanted) = (array(arguments)?, arguments.get(1).ok_or_else(mismatch)?);
    one_dimension(from, "searching for elements in multidimensional arrays")?;
    let first = from.dimensions().first().map_or(1, |dimension| i64::from(dimension.lower));
    let numbered = (first..).zip(from.values()).filter(|(_, value)| *value == wanted);
    let found = numbered.map(|(at, _)| Datum::Int4(i32::try_from(at).unwrap_or(i32::MAX))).collect();
    Ok(Datum::Array(Arc::new(Array::of(Int4, found))))
}

fn dims(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    let bounds = array(arguments)?.dimensions().iter().map(|dimension| {
        let upper = i64::from(dimension.lower) + i64::from(dimension.len) - 1;
        format!("[{}:{upper}]", dimension.lower)
    });
    let text: String = bounds.collect();
    Ok(if text.is_empty() { Datum::Null } else { Datum::from(text) })
}

fn trim(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    let (from, count) = (array(arguments)?, integer(arguments, 1)?);
    let len = from.dimensions().first().map_or(0, |dimension| dimension.len);
    let kept = u32::try_from(i64::from(len) - count).ok().filter(|_| count >= 0);
    let kept = kept.ok_or_else(|| out_of_bounds(len))?;
    let mut dimensions: Vec<Dimension> =
        from.dimensions().iter().map(|dimension| Dimension { lower: 1, ..*dimension }).collect();
    if let Some(first) = dimensions.first_mut() {
        first.len = kept;
    }
    let count: usize = dimensions.iter().map(|dimension| dimension.len as usize).product();
    let values = from.values().iter().take(count).cloned().collect();
    Ok(Datum::Array(Arc::new(Array::with_dimensions(from.element(), dimensions, values)?)))
}

fn out_of_bounds(len: u32) -> SqlError {
    let message = format!("number of elements to trim must be between 0 and {len}");
    SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, message)
}

/// array_fill(value, lengths [, lower bounds])
fn fill(element: TypeId, arguments: &[Datum]) -> Result<Datum> {
    let wrong = |detail| {
        SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, "wrong number of array subscripts").with_detail(detail)
    };
    let numbers = |at: usize| match arguments.get(at) {
        Some(Datum::Array(array)) if array.dimensions().len() > 1 => {
            Err(wrong("Dimension array must be one dimensional."))
        }
        Some(Datum::Array(array)) => {
            let numbers: Option<Vec<i64>> = array.values().iter().map(Datum::as_i64).collect();
            numbers.ok_or_else(|| {
                SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, "dimension values cannot be null")
            })
        }
        _ => Err(SqlError::new(
            SqlState::NULL_VALUE_NOT_ALLOWED,
            "dimension array or low bound array cannot be null",
        )),
    };
    let value = arguments.first().ok_or_else(mismatch)?;
    let lengths = numbers(1)?;
    let lower = if arguments.len() > 2 { numbers(2)? } else { vec![1; lengths.len()] };
    if lower.len() != lengths.len() {
        return Err(wrong("Low bound array has different size than dimensions array."));
    }
    let mut dimensions = Vec::with_capacity(lengths.len());
    let mut count = usize::from(!lengths.is_empty());
    for (len, lower) in lengths.iter().zip(lower) {
        let (Ok(len), Ok(lower)) = (u32::try_from(*len), i32::try_from(lower)) else {
            return Err(SqlError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                "array size exceeds the maximum allowed",
            ));
        };
        let many = usize::try_from(len).ok().and_then(|len| count.checked_mul(len));
        count = many.filter(|count| *count <= FILLED_MAX).ok_or_else(|| {
            let message = format!("array size exceeds the maximum allowed ({FILLED_MAX})");
            SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
        })?;
        dimensions.push(Dimension { len, lower });
    }
    Array::check_bounds(&dimensions)?;
    sql_types::work::room_for(count.saturating_mul(size_of::<Datum>()))?;
    Ok(Datum::Array(Arc::new(Array::with_dimensions(element, dimensions, vec![value.clone(); count])?)))
}

pub(super) fn register(table: &mut Table) {
    use Parameter::{Any, AnyArray, Is};
    table.add_of_elements("array_append", &[AnyArray, Any], Returns::SameArray, append);
    table.add_of_elements("array_prepend", &[Any, AnyArray], Returns::SameArray, prepend);
    table.add_any("array_cat", &[AnyArray, AnyArray], Returns::SameArray, concatenated).lenient();
    table.add_any("array_remove", &[AnyArray, Any], Returns::SameArray, remove).lenient();
    table.add_any("array_replace", &[AnyArray, Any, Any], Returns::SameArray, replace).lenient();
    table.add_any("array_position", &[AnyArray, Any], Returns::Is(Int4), position).lenient();
    table.add_any("array_position", &[AnyArray, Any, Is(Int4)], Returns::Is(Int4), position).lenient();
    table.add_any("array_positions", &[AnyArray, Any], Returns::Is(Int4Array), positions).lenient();
    table.add_any("array_dims", &[AnyArray], Returns::Is(Text), dims);
    table.add_any("trim_array", &[AnyArray, Is(Int4)], Returns::SameArray, trim);
    for parameters in [&[Any, Is(Int4Array)][..], &[Any, Is(Int4Array), Is(Int4Array)]] {
        table.add_of_elements("array_fill", parameters, Returns::ArrayOfFirst, fill);
    }
}
