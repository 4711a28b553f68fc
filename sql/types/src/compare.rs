//! The order of values.

use crate::array::Array;
use crate::datum::Datum;
use crate::types::TypeId;
use std::cmp::Ordering;

/// The order of two values of one type as ORDER BY has it: NULLs last, NaN above all other floats, text by
/// bytes (collation C), char(n) without its trailing blanks. Values of different variants are ordered by
/// variant.
pub fn compare(a: &Datum, b: &Datum) -> Ordering {
    match (a, b) {
        (Datum::Int4(a), Datum::Int4(b)) => a.cmp(b),
        (Datum::Int8(a), Datum::Int8(b)) => a.cmp(b),
        (Datum::Text(a), Datum::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Datum::Bool(a), Datum::Bool(b)) => a.cmp(b),
        (Datum::Int2(a), Datum::Int2(b)) => a.cmp(b),
        (Datum::Float4(a), Datum::Float4(b)) => compare_floats(f64::from(*a), f64::from(*b)),
        (Datum::Float8(a), Datum::Float8(b)) => compare_floats(*a, *b),
        (Datum::Numeric(a), Datum::Numeric(b)) => a.cmp(b),
        (Datum::Bpchar(a), Datum::Bpchar(b)) => {
            a.trim_end_matches(' ').as_bytes().cmp(b.trim_end_matches(' ').as_bytes())
        }
        // Of one type only if both are of "char".
        (Datum::HighByte(a), Datum::HighByte(b)) => a.cmp(b),
        (Datum::Bytea(a), Datum::Bytea(b)) => a.cmp(b),
        (Datum::Date(a), Datum::Date(b)) => a.cmp(b),
        (Datum::Time(a), Datum::Time(b))
        | (Datum::Timestamp(a), Datum::Timestamp(b))
        | (Datum::Timestamptz(a), Datum::Timestamptz(b)) => a.cmp(b),
        (Datum::Interval(a), Datum::Interval(b)) => a.span().cmp(&b.span()),
        (Datum::Lsn(a), Datum::Lsn(b)) | (Datum::Xid8(a), Datum::Xid8(b)) => a.cmp(b),
        (Datum::Oid(a), Datum::Oid(b))
        | (Datum::Regtype(a), Datum::Regtype(b))
        | (Datum::Xid(a), Datum::Xid(b)) => a.cmp(b),
        (Datum::Uuid(a), Datum::Uuid(b)) => a.cmp(b),
        (Datum::Inet(a, bits_a), Datum::Inet(b, bits_b)) => {
            crate::inet::compare((*a, *bits_a), (*b, *bits_b))
        }
        // btoidvectorcmp: the shorter stands before the longer, whatever they hold.
        (Datum::Array(a), Datum::Array(b)) if is_oidvector(a) && is_oidvector(b) => {
            a.values().len().cmp(&b.values().len()).then_with(|| a.values().cmp(b.values()))
        }
        (Datum::Array(a), Datum::Array(b)) => a
            .values()
            .cmp(b.values())
            .then_with(|| a.dimensions().len().cmp(&b.dimensions().len()))
            .then_with(|| a.dimensions().cmp(b.dimensions())),
        _ => a.rank().cmp(&b.rank()),
    }
}

fn is_oidvector(array: &Array) -> bool {
    array.is_vector() && array.element() == TypeId::Oid
}

/// PostgreSQL's order of floats: NaN equals NaN and lies above infinity; -0 equals 0.
pub(crate) fn compare_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Style, Type};

    fn sorted(id: TypeId, texts: &[&str]) -> Vec<String> {
        let style = Style::default();
        let read = |text: &&str| Datum::parse(Type::of(id), text, &style).expect("a value");
        let mut values: Vec<Datum> = texts.iter().map(read).collect();
        values.sort();
        values.iter().map(|value| value.to_text(&style).expect("no NULL")).collect()
    }

    /// As `SELECT v FROM (VALUES ...) t(v) ORDER BY v` of PostgreSQL 15 has them.
    #[test]
    fn the_shorter_of_two_oidvectors_stands_first_and_of_two_arrays_the_smaller() {
        assert_eq!(sorted(TypeId::OidVector, &["3", "1 2", "1 1", ""]), ["", "3", "1 1", "1 2"]);
        assert_eq!(sorted(TypeId::Int2Vector, &["3", "1 2", "1 1", ""]), ["", "1 1", "1 2", "3"]);
    }
}
