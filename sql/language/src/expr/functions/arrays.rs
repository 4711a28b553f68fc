//! Functions that change arrays or tell where in them something is.

use super::{Parameter, Returns, Table, array, integer, mismatch};
use crate::expr::Facts;
use sql_interface::{Result, SqlError};
use sql_types::TypeId::{Int4, Int4Array, Text};
use sql_types::{Array, Datum};
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
    let dimension = sql_types::Dimension { len, ..*first };
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

/// array_position: the first element that is equal, or NULL as the wanted one is, from a subscript on.
fn position(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    if arguments.first().is_none_or(Datum::is_null) {
        return Ok(Datum::Null);
    }
    let (from, wanted) = (array(arguments)?, arguments.get(1).ok_or_else(mismatch)?);
    one_dimension(from, "searching for elements in multidimensional arrays")?;
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
    let [dimension] = from.dimensions() else {
        return if from.dimensions().is_empty() && count == 0 {
            Ok(arguments.first().cloned().unwrap_or_default())
        } else if from.dimensions().is_empty() {
            Err(out_of_bounds(0))
        } else {
            Err(SqlError::unsupported("trim_array of an array with more than one dimension"))
        };
    };
    let kept = usize::try_from(i64::from(dimension.len) - count).ok();
    let Some(kept) = kept.filter(|_| count >= 0) else { return Err(out_of_bounds(dimension.len)) };
    with(from, from.values().iter().take(kept).cloned().collect())
}

fn out_of_bounds(len: u32) -> SqlError {
    let message = format!("number of elements to trim must be between 0 and {len}");
    SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, message)
}

/// array_fill(value, lengths [, lower bounds])
fn fill(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    let numbers = |at: usize| match arguments.get(at) {
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
        return Err(SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, "wrong number of array subscripts")
            .with_detail("Low bound array has different size than dimensions array."));
    }
    let Some(element) = value.natural_type() else { return Err(mismatch()) };
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
        dimensions.push(sql_types::Dimension { len, lower });
    }
    sql_types::work::room_for(count.saturating_mul(size_of::<Datum>()))?;
    Ok(Datum::Array(Arc::new(Array::with_dimensions(element, dimensions, vec![value.clone(); count])?)))
}

pub(super) fn register(table: &mut Table) {
    use Parameter::{Any, AnyArray, Is};
    table.add_any("array_remove", &[AnyArray, Any], Returns::SameArray, remove).lenient();
    table.add_any("array_replace", &[AnyArray, Any, Any], Returns::SameArray, replace).lenient();
    table.add_any("array_position", &[AnyArray, Any], Returns::Is(Int4), position).lenient();
    table.add_any("array_position", &[AnyArray, Any, Is(Int4)], Returns::Is(Int4), position).lenient();
    table.add_any("array_positions", &[AnyArray, Any], Returns::Is(Int4Array), positions).lenient();
    table.add_any("array_dims", &[AnyArray], Returns::Is(Text), dims);
    table.add_any("trim_array", &[AnyArray, Is(Int4)], Returns::SameArray, trim);
    for parameters in [&[Any, Is(Int4Array)][..], &[Any, Is(Int4Array), Is(Int4Array)]] {
        table.add_any("array_fill", parameters, Returns::ArrayOfFirst, fill).lenient();
    }
}
