//! Comparison operators, between types too where PostgreSQL has them without a cast.

use crate::compare::{compare, compare_floats};
use crate::datum::Datum;
use crate::error::Result;
use crate::style::Style;
use crate::time::{
    DATE_INFINITY, DATE_NEGATIVE_INFINITY, INFINITY, MICROS_PER_DAY, NEGATIVE_INFINITY, is_infinite,
    local_from_utc,
};
use std::cmp::Ordering;

/// The order of two values of types that PostgreSQL compares as they are: any of the integers, either float,
/// dates with timestamps. For values of one type the same as [`compare`].
pub fn compare_mixed(a: &Datum, b: &Datum, style: &Style) -> Ordering {
    if a.rank() == b.rank() {
        return compare(a, b);
    }
    if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) {
        return a.cmp(&b);
    }
    match (a, b) {
        (Datum::Float4(a), Datum::Float8(b)) => compare_floats(f64::from(*a), *b),
        (Datum::Float8(a), Datum::Float4(b)) => compare_floats(*a, f64::from(*b)),
        (Datum::Xid(a), Datum::Int4(b)) => a.cmp(&(*b as u32)),
        _ => match (local_micros(a, style), local_micros(b, style)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => compare(a, b),
        },
    }
}

/// Local microseconds of a date or timestamp, wide enough for dates that no timestamp reaches.
fn local_micros(value: &Datum, style: &Style) -> Option<i128> {
    Some(match value {
        Datum::Date(DATE_INFINITY) => i128::from(INFINITY),
        Datum::Date(DATE_NEGATIVE_INFINITY) => i128::from(NEGATIVE_INFINITY),
        Datum::Date(days) => {
            let micros = i128::from(*days) * i128::from(MICROS_PER_DAY);
            // Beyond all timestamps, but below infinity.
            micros.min(i128::from(INFINITY) - 1)
        }
        Datum::Timestamp(micros) => i128::from(*micros),
        Datum::Timestamptz(micros) if is_infinite(*micros) => i128::from(*micros),
        Datum::Timestamptz(micros) => {
            local_from_utc(*micros, &style.zone).map_or(i128::from(*micros), i128::from)
        }
        _ => return None,
    })
}

macro_rules! comparisons {
    ($($name:ident => $test:ident;)*) => {
        $(pub(super) fn $name(a: &Datum, b: &Datum, style: &Style) -> Result<Datum> {
            Ok(Datum::Bool(compare_mixed(a, b, style).$test()))
        })*
    };
}

comparisons! { equal => is_eq; not_equal => is_ne; less => is_lt; less_or_equal => is_le; greater => is_gt; greater_or_equal => is_ge; }
