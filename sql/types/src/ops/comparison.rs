//! Comparison operators, between types too where PostgreSQL has them without a cast.

use crate::compare::{compare, compare_floats};
use crate::datum::Datum;
use crate::error::Result;
use crate::style::Style;
use crate::time::{
    DATE_INFINITY, DATE_NEGATIVE_INFINITY, INFINITY, MICROS_PER_DAY, NEGATIVE_INFINITY, is_infinite,
    utc_from_local,
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
        _ => match (micros(a, b, style), micros(b, a, style)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => compare(a, b),
        },
    }
}

/// Microseconds by which a date or timestamp is compared with another one: moments with a moment, and else
/// those that the clocks show, wide enough for dates that no timestamp reaches.
fn micros(value: &Datum, other: &Datum, style: &Style) -> Option<i128> {
    // Beyond all timestamps, but within the infinities.
    let finite = |micros: i128| micros.clamp(i128::from(NEGATIVE_INFINITY) + 1, i128::from(INFINITY) - 1);
    let local = match value {
        Datum::Timestamptz(micros) => return Some(i128::from(*micros)),
        Datum::Date(DATE_INFINITY) => return Some(i128::from(INFINITY)),
        Datum::Date(DATE_NEGATIVE_INFINITY) => return Some(i128::from(NEGATIVE_INFINITY)),
        Datum::Date(days) => i128::from(*days) * i128::from(MICROS_PER_DAY),
        Datum::Timestamp(micros) if is_infinite(*micros) => return Some(i128::from(*micros)),
        Datum::Timestamp(micros) => i128::from(*micros),
        _ => return None,
    };
    if !matches!(other, Datum::Timestamptz(_)) {
        return Some(finite(local));
    }
    let Ok(clock) = i64::try_from(local) else { return Some(finite(local)) };
    // What lies beyond all moments stays so.
    let limit = if clock < 0 { i128::from(NEGATIVE_INFINITY) } else { i128::from(INFINITY) };
    Some(finite(utc_from_local(clock, &style.zone).map_or(limit, i128::from)))
}

macro_rules! comparisons {
    ($($name:ident => $test:ident;)*) => {
        $(pub(super) fn $name(a: &Datum, b: &Datum, style: &Style) -> Result<Datum> {
            Ok(Datum::Bool(compare_mixed(a, b, style).$test()))
        })*
    };
}

comparisons! { equal => is_eq; not_equal => is_ne; less => is_lt; less_or_equal => is_le; greater => is_gt; greater_or_equal => is_ge; }
