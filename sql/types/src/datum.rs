//! One value.

use crate::array::Array;
use crate::compare::compare;
use crate::interval::Interval;
use crate::numeric::Numeric;
use crate::types::TypeId;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A character string; up to 23 bytes stand inline. Never holds a NUL character.
pub type Str = smol_str::SmolStr;

/// One value of a type, or NULL. Cloning never copies more than 24 bytes.
///
/// `==`, `Hash` and `Ord` are those of GROUP BY, DISTINCT and ORDER BY: NULL equals NULL and sorts last, NaN
/// equals NaN and sorts above all numbers, -0 equals 0, 1.0 equals 1.00. Values of different types are
/// unequal.
#[derive(Clone, Debug, Default)]
pub enum Datum {
    /// NULL of any type.
    #[default]
    Null,
    /// boolean
    Bool(bool),
    /// smallint
    Int2(i16),
    /// integer
    Int4(i32),
    /// bigint
    Int8(i64),
    /// real
    Float4(f32),
    /// double precision
    Float8(f64),
    /// numeric
    Numeric(Numeric),
    /// text, varchar, name, "char", aclitem and literals of unknown type
    Text(Str),
    /// char(n), padded with blanks, which comparisons ignore
    Bpchar(Arc<str>),
    /// "char" above 127; one of 127 at most is [`Datum::Text`], which stands before all of these
    HighByte(u8),
    /// bytea
    Bytea(Arc<[u8]>),
    /// date: days since 2000-01-01; `i32::MIN` and `i32::MAX` are -infinity and infinity
    Date(i32),
    /// time: microseconds since midnight
    Time(i64),
    /// timestamp: microseconds since 2000-01-01 00:00:00; `i64::MIN` and `i64::MAX` are -infinity and
    /// infinity
    Timestamp(i64),
    /// timestamptz: microseconds since 2000-01-01 00:00:00 UTC, infinities as for timestamp
    Timestamptz(i64),
    /// interval
    Interval(Interval),
    /// pg_lsn
    Lsn(u64),
    /// oid, regclass
    Oid(u32),
    /// regtype: the OID of a type, printed as its name
    Regtype(u32),
    /// xid
    Xid(u32),
    /// xid8
    Xid8(u64),
    /// uuid
    Uuid([u8; 16]),
    /// inet: an address with the length of its network prefix
    Inet(std::net::IpAddr, u8),
    /// an array of any of these
    Array(Arc<Array>),
}

impl Datum {
    /// A string value.
    pub fn text(value: impl Into<Str>) -> Self {
        Self::Text(value.into())
    }
    /// A bytea value.
    pub fn bytea(value: impl Into<Arc<[u8]>>) -> Self {
        Self::Bytea(value.into())
    }
    /// Whether this is NULL.
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
    /// The truth value; None for NULL (and for what is no boolean).
    pub const fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }
    /// The value of a smallint, integer or bigint.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int2(value) => Some(i64::from(*value)),
            Self::Int4(value) => Some(i64::from(*value)),
            Self::Int8(value) => Some(*value),
            _ => None,
        }
    }
    /// The characters of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(value) => Some(value),
            Self::Bpchar(value) => Some(value),
            _ => None,
        }
    }
    /// The type that a value of this variant usually has; None for NULL.
    pub fn natural_type(&self) -> Option<TypeId> {
        Some(match self {
            Self::Null => return None,
            Self::Bool(_) => TypeId::Bool,
            Self::Int2(_) => TypeId::Int2,
            Self::Int4(_) => TypeId::Int4,
            Self::Int8(_) => TypeId::Int8,
            Self::Float4(_) => TypeId::Float4,
            Self::Float8(_) => TypeId::Float8,
            Self::Numeric(_) => TypeId::Numeric,
            Self::Text(_) => TypeId::Text,
            Self::Bpchar(_) => TypeId::Bpchar,
            Self::HighByte(_) => TypeId::Char,
            Self::Bytea(_) => TypeId::Bytea,
            Self::Date(_) => TypeId::Date,
            Self::Time(_) => TypeId::Time,
            Self::Timestamp(_) => TypeId::Timestamp,
            Self::Timestamptz(_) => TypeId::Timestamptz,
            Self::Interval(_) => TypeId::Interval,
            Self::Lsn(_) => TypeId::Lsn,
            Self::Oid(_) => TypeId::Oid,
            Self::Regtype(_) => TypeId::Regtype,
            Self::Xid(_) => TypeId::Xid,
            Self::Xid8(_) => TypeId::Xid8,
            Self::Uuid(_) => TypeId::Uuid,
            Self::Inet(..) => TypeId::Inet,
            Self::Array(array) => {
                return match (array.is_vector(), array.element()) {
                    (true, TypeId::Int2) => Some(TypeId::Int2Vector),
                    (true, _) => Some(TypeId::OidVector),
                    (false, element) => element.array(),
                };
            }
        })
    }
    /// Whether this is represented alike, which is more than `==` says: 1.0 and 1.00, 0 and -0, 1 month and
    /// 30 days, and char(n) with more blanks or fewer are equal, but a function tells them apart.
    pub fn is_identical(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float4(a), Self::Float4(b)) => a.to_bits() == b.to_bits(),
            (Self::Float8(a), Self::Float8(b)) => a.to_bits() == b.to_bits(),
            (Self::Numeric(a), Self::Numeric(b)) => a == b && a.scale() == b.scale(),
            (Self::Bpchar(a), Self::Bpchar(b)) => a == b,
            (Self::Interval(a), Self::Interval(b)) => {
                (a.months, a.days, a.micros) == (b.months, b.days, b.micros)
            }
            (Self::Array(a), Self::Array(b)) => a.is_identical(b),
            // The others are equal only to what is represented alike.
            _ => self == other,
        }
    }
    /// Bytes that this value holds outside of itself, for memory accounting.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Text(value) if value.is_heap_allocated() => value.len(),
            Self::Bpchar(value) => value.len(),
            Self::Bytea(value) => value.len(),
            Self::Numeric(value) => value.heap_bytes(),
            Self::Array(array) => array.heap_bytes(),
            _ => 0,
        }
    }
    /// A number that tells the variants apart.
    pub(crate) const fn rank(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::Int2(_) => 1,
            Self::Int4(_) => 2,
            Self::Int8(_) => 3,
            Self::Float4(_) => 4,
            Self::Float8(_) => 5,
            Self::Numeric(_) => 6,
            Self::Text(_) => 7,
            Self::Bpchar(_) => 8,
            Self::Bytea(_) => 9,
            Self::Date(_) => 10,
            Self::Time(_) => 11,
            Self::Timestamp(_) => 12,
            Self::Timestamptz(_) => 13,
            Self::Interval(_) => 14,
            Self::Lsn(_) => 15,
            Self::Oid(_) => 16,
            Self::Xid(_) => 17,
            Self::Xid8(_) => 18,
            Self::Uuid(_) => 19,
            Self::Inet(..) => 20,
            Self::Array(_) => 21,
            Self::Regtype(_) => 22,
            Self::HighByte(_) => 23,
            Self::Null => 24,
        }
    }
}

impl PartialEq for Datum {
    fn eq(&self, other: &Self) -> bool {
        compare(self, other) == Ordering::Equal
    }
}

impl Eq for Datum {}

impl PartialOrd for Datum {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Datum {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self, other)
    }
}

impl Hash for Datum {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u8(self.rank());
        match self {
            Self::Null => {}
            Self::Bool(value) => value.hash(state),
            Self::HighByte(byte) => byte.hash(state),
            Self::Int2(value) => value.hash(state),
            Self::Int4(value) => value.hash(state),
            Self::Int8(value) => value.hash(state),
            Self::Float4(value) => state.write_u64(canonical_bits(f64::from(*value))),
            Self::Float8(value) => state.write_u64(canonical_bits(*value)),
            Self::Numeric(value) => value.hash(state),
            Self::Text(value) => value.hash(state),
            Self::Bpchar(value) => value.trim_end_matches(' ').hash(state),
            Self::Bytea(value) => value.hash(state),
            Self::Date(value) => value.hash(state),
            Self::Time(value) | Self::Timestamp(value) | Self::Timestamptz(value) => value.hash(state),
            Self::Interval(value) => value.span().hash(state),
            Self::Lsn(value) | Self::Xid8(value) => value.hash(state),
            Self::Oid(value) | Self::Regtype(value) | Self::Xid(value) => value.hash(state),
            Self::Uuid(value) => value.hash(state),
            Self::Inet(address, prefix) => (address, prefix).hash(state),
            Self::Array(array) => array.hash(state),
        }
    }
}

/// Equal floats (0 and -0, all NaNs) get the same bits.
fn canonical_bits(value: f64) -> u64 {
    if value == 0.0 {
        0
    } else if value.is_nan() {
        f64::NAN.to_bits()
    } else {
        value.to_bits()
    }
}

macro_rules! from {
    ($($from:ty => $variant:ident;)*) => {
        $(impl From<$from> for Datum { fn from(value: $from) -> Self { Self::$variant(value) } })*
    };
}
from! { bool => Bool; i16 => Int2; i32 => Int4; i64 => Int8; f32 => Float4; f64 => Float8; Numeric => Numeric; Interval => Interval; Str => Text; }

impl From<&str> for Datum {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}
impl From<String> for Datum {
    fn from(value: String) -> Self {
        Self::Text(value.into())
    }
}
impl<T: Into<Self>> From<Option<T>> for Datum {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_not_always_identical() {
        use crate::{Style, Type};
        let style = Style::default();
        for (id, one, other) in [
            (TypeId::Numeric, "1.0", "1.00"),
            (TypeId::Float4, "0", "-0"),
            (TypeId::Float8, "0", "-0"),
            (TypeId::Bpchar, "a", "a "),
            (TypeId::Interval, "1 mon", "30 days"),
            (TypeId::Interval, "1 day", "24:00:00"),
            (TypeId::NumericArray, "{1.0,NULL}", "{1.00,NULL}"),
        ] {
            let read = |text| Datum::parse(Type::of(id), text, &style).expect("a value");
            assert_eq!(read(one), read(other));
            assert!(!read(one).is_identical(&read(other)), "{one} and {other}");
            assert!(read(one).is_identical(&read(one)), "{one}");
        }
    }

    #[test]
    fn a_datum_is_24_bytes() {
        assert_eq!(size_of::<Datum>(), 24);
        assert_eq!(size_of::<crate::Result<Datum>>(), 24);
    }
}
