//! The types: PostgreSQL's OIDs, names, lengths, categories and type modifiers.

use crate::error::{Error, Result};
use sqlstate::SqlState;
use std::fmt::Write as _;

/// What a type is for, when an operator or function has to be chosen (pg_type.typcategory).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    /// Arrays.
    Array,
    /// Boolean.
    Boolean,
    /// Date and time.
    DateTime,
    /// Network addresses.
    Network,
    /// Numbers, OIDs among them.
    Numeric,
    /// Types that only stand for others.
    Pseudo,
    /// Character strings.
    String,
    /// Spans of time.
    Timespan,
    /// All that has no category of its own.
    User,
    /// Literals without a type yet.
    Unknown,
    /// Used internally ("char").
    Internal,
}

/// The facts about one type (a row of pg_type).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeInfo {
    /// pg_type.oid.
    pub oid: u32,
    /// pg_type.typname.
    pub name: &'static str,
    /// The name as SQL writes it, without a modifier.
    pub sql_name: &'static str,
    /// pg_type.typlen: bytes, or -1 for a varying length, -2 for a C string.
    pub len: i16,
    /// pg_type.typcategory.
    pub category: Category,
    /// pg_type.typispreferred.
    pub preferred: bool,
}

macro_rules! types {
    ($($id:ident = $oid:literal, $name:literal, $sql:literal, $len:literal, $cat:ident, $pref:literal, $array:ident = $array_oid:literal;)*) => {
        /// A type without its modifier. The discriminant is the OID.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        #[allow(missing_docs, reason = "each is the type of its name")]
        pub enum TypeId { $($id = $oid, $array = $array_oid,)* Unknown = 705, Void = 2278, AnyArray = 2277, Int2Vector = 22, OidVector = 30 }

        impl TypeId {
            /// All types.
            pub const ALL: &[TypeId] = &[$(TypeId::$id, TypeId::$array,)* TypeId::Unknown, TypeId::Void, TypeId::AnyArray, TypeId::Int2Vector, TypeId::OidVector];

            /// The type of an OID.
            pub const fn from_oid(oid: u32) -> Option<Self> {
                match oid {
                    $($oid => Some(Self::$id), $array_oid => Some(Self::$array),)*
                    705 => Some(Self::Unknown),
                    2277 => Some(Self::AnyArray),
                    2278 => Some(Self::Void),
                    22 => Some(Self::Int2Vector),
                    30 => Some(Self::OidVector),
                    _ => None,
                }
            }
            /// The facts about this type.
            pub const fn info(self) -> TypeInfo {
                match self {
                    $(Self::$id => TypeInfo { oid: $oid, name: $name, sql_name: $sql, len: $len, category: Category::$cat, preferred: $pref },
                      Self::$array => TypeInfo { oid: $array_oid, name: concat!("_", $name), sql_name: concat!($sql, "[]"), len: -1, category: Category::Array, preferred: false },)*
                    Self::Unknown => TypeInfo { oid: 705, name: "unknown", sql_name: "unknown", len: -2, category: Category::Unknown, preferred: false },
                    Self::AnyArray => TypeInfo { oid: 2277, name: "anyarray", sql_name: "anyarray", len: -1, category: Category::Pseudo, preferred: false },
                    Self::Int2Vector => TypeInfo { oid: 22, name: "int2vector", sql_name: "int2vector", len: -1, category: Category::Array, preferred: false },
                    Self::OidVector => TypeInfo { oid: 30, name: "oidvector", sql_name: "oidvector", len: -1, category: Category::Array, preferred: false },
                    Self::Void => TypeInfo { oid: 2278, name: "void", sql_name: "void", len: 4, category: Category::Pseudo, preferred: false },
                }
            }
            /// The type of this array's elements; None if this is no array.
            pub const fn element(self) -> Option<Self> {
                match self {
                    $(Self::$array => Some(Self::$id),)*
                    Self::Int2Vector => Some(Self::Int2),
                    Self::OidVector => Some(Self::Oid),
                    _ => None,
                }
            }
            /// The array of this type; None for arrays and pseudo-types.
            pub const fn array(self) -> Option<Self> {
                match self { $(Self::$id => Some(Self::$array),)* _ => None }
            }
        }
    };
}

types! {
    Bool = 16, "bool", "boolean", 1, Boolean, true, BoolArray = 1000;
    Bytea = 17, "bytea", "bytea", -1, User, false, ByteaArray = 1001;
    Char = 18, "char", "\"char\"", 1, Internal, false, CharArray = 1002;
    Name = 19, "name", "name", 64, String, false, NameArray = 1003;
    Int8 = 20, "int8", "bigint", 8, Numeric, false, Int8Array = 1016;
    Int2 = 21, "int2", "smallint", 2, Numeric, false, Int2Array = 1005;
    Int4 = 23, "int4", "integer", 4, Numeric, false, Int4Array = 1007;
    Text = 25, "text", "text", -1, String, true, TextArray = 1009;
    Oid = 26, "oid", "oid", 4, Numeric, true, OidArray = 1028;
    Xid = 28, "xid", "xid", 4, User, false, XidArray = 1011;
    Float4 = 700, "float4", "real", 4, Numeric, false, Float4Array = 1021;
    Float8 = 701, "float8", "double precision", 8, Numeric, true, Float8Array = 1022;
    Inet = 869, "inet", "inet", -1, Network, true, InetArray = 1041;
    Aclitem = 1033, "aclitem", "aclitem", 12, User, false, AclitemArray = 1034;
    Bpchar = 1042, "bpchar", "character", -1, String, false, BpcharArray = 1014;
    Varchar = 1043, "varchar", "character varying", -1, String, false, VarcharArray = 1015;
    Date = 1082, "date", "date", 4, DateTime, false, DateArray = 1182;
    Time = 1083, "time", "time without time zone", 8, DateTime, false, TimeArray = 1183;
    Timestamp = 1114, "timestamp", "timestamp without time zone", 8, DateTime, false, TimestampArray = 1115;
    Timestamptz = 1184, "timestamptz", "timestamp with time zone", 8, DateTime, true, TimestamptzArray = 1185;
    Interval = 1186, "interval", "interval", 16, Timespan, true, IntervalArray = 1187;
    Numeric = 1700, "numeric", "numeric", -1, Numeric, false, NumericArray = 1231;
    Regclass = 2205, "regclass", "regclass", 4, Numeric, false, RegclassArray = 2210;
    Regtype = 2206, "regtype", "regtype", 4, Numeric, false, RegtypeArray = 2211;
    Regproc = 24, "regproc", "regproc", 4, Numeric, false, RegprocArray = 1008;
    Regprocedure = 2202, "regprocedure", "regprocedure", 4, Numeric, false, RegprocedureArray = 2207;
    Regoper = 2203, "regoper", "regoper", 4, Numeric, false, RegoperArray = 2208;
    Regoperator = 2204, "regoperator", "regoperator", 4, Numeric, false, RegoperatorArray = 2209;
    Regnamespace = 4089, "regnamespace", "regnamespace", 4, Numeric, false, RegnamespaceArray = 4090;
    Regrole = 4096, "regrole", "regrole", 4, Numeric, false, RegroleArray = 4097;
    Regcollation = 4191, "regcollation", "regcollation", 4, Numeric, false, RegcollationArray = 4192;
    Uuid = 2950, "uuid", "uuid", 16, User, false, UuidArray = 2951;
    Lsn = 3220, "pg_lsn", "pg_lsn", 8, User, false, LsnArray = 3221;
    Xid8 = 5069, "xid8", "xid8", 8, User, false, Xid8Array = 271;
}

/// Types that only stand for others and no value here is of, by OID and name: regtype knows them.
pub(crate) const STANDING_FOR_OTHERS: &[(u32, &str)] = &[
    (2249, "record"),
    (2275, "cstring"),
    (2276, "\"any\""),
    (2279, "trigger"),
    (2281, "internal"),
    (2283, "anyelement"),
    (2776, "anynonarray"),
    (3838, "event_trigger"),
    (5077, "anycompatible"),
    (5078, "anycompatiblearray"),
    (5079, "anycompatiblenonarray"),
];

impl TypeId {
    /// pg_type.oid.
    pub const fn oid(self) -> u32 {
        self as u32
    }
    /// pg_type.typname.
    pub const fn name(self) -> &'static str {
        self.info().name
    }
    /// The name as SQL and error messages write it.
    pub const fn sql_name(self) -> &'static str {
        self.info().sql_name
    }
    /// pg_type.typcategory.
    pub const fn category(self) -> Category {
        self.info().category
    }
    /// pg_type.typlen: bytes, or -1 for a varying length.
    #[inline]
    pub const fn width(self) -> i16 {
        self.info().len
    }
    /// Whether values are character strings (text, varchar, char(n), name).
    pub const fn is_string(self) -> bool {
        matches!(self, Self::Text | Self::Varchar | Self::Bpchar | Self::Name | Self::Unknown)
    }
    /// Whether values are points in time or spans of it (date, time, timestamp, timestamptz, interval).
    #[inline]
    pub const fn is_of_time(self) -> bool {
        matches!(self.category(), Category::DateTime | Category::Timespan)
    }
    /// Whether a value is the OID of something in the catalogue, which prints as that thing's name. regtype
    /// is apart: types are known without a catalogue.
    pub const fn is_reg(self) -> bool {
        matches!(
            self,
            Self::Regclass
                | Self::Regproc
                | Self::Regprocedure
                | Self::Regoper
                | Self::Regoperator
                | Self::Regnamespace
                | Self::Regrole
                | Self::Regcollation
        )
    }
    /// Whether arrays of this type count from 0 and print without braces (int2vector, oidvector).
    pub const fn is_vector(self) -> bool {
        matches!(self, Self::Int2Vector | Self::OidVector)
    }
    /// The type that pg_type has under this name.
    pub fn of_catalogue(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|id| id.name() == name && *id != Self::Unknown)
    }
    /// The type of a name as users write it: `int4`, `integer`, `character varying`, `_text`, `text[]`; lower
    /// case.
    pub fn from_name(name: &str) -> Option<Self> {
        let alias = match name {
            "int" => Some(Self::Int4),
            "decimal" | "dec" => Some(Self::Numeric),
            "float" => Some(Self::Float8),
            "char" => Some(Self::Bpchar),
            "\"char\"" => Some(Self::Char),
            "time" => Some(Self::Time),
            "timestamp" => Some(Self::Timestamp),
            _ => None,
        };
        let known = || Self::ALL.iter().copied().find(|id| id.name() == name || id.sql_name() == name);
        alias.or_else(known).or_else(|| Self::from_name(name.strip_suffix("[]")?)?.array())
    }
}

/// A type with its modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    /// The type.
    pub id: TypeId,
    /// PostgreSQL's typmod: -1 for none; varchar(n) and char(n) n + 4; numeric(p,s) ((p << 16) | (s & 0x7ff))
    /// + 4; times their precision.
    pub modifier: i32,
}

impl From<TypeId> for Type {
    fn from(id: TypeId) -> Self {
        Self::of(id)
    }
}

impl Type {
    /// Without a modifier.
    pub const fn of(id: TypeId) -> Self {
        Self { id, modifier: -1 }
    }
    /// varchar(n), or varchar without a limit.
    ///
    /// # Errors
    ///
    /// 22023 if the length is out of range.
    pub fn varchar(limit: Option<u32>) -> Result<Self> {
        Ok(Self { id: TypeId::Varchar, modifier: character_modifier("varchar", limit)? })
    }
    /// char(n); n is 1 when it is not written.
    ///
    /// # Errors
    ///
    /// 22023 if the length is out of range.
    pub fn bpchar(length: Option<u32>) -> Result<Self> {
        Ok(Self { id: TypeId::Bpchar, modifier: character_modifier("char", Some(length.unwrap_or(1)))? })
    }
    /// numeric, numeric(p) or numeric(p, s); s may be negative.
    ///
    /// # Errors
    ///
    /// 22023 if precision or scale is out of range.
    pub fn numeric(precision: Option<i64>, scale: i64) -> Result<Self> {
        let Some(precision) = precision else { return Ok(Self::of(TypeId::Numeric)) };
        if !(1..=1000).contains(&precision) {
            return Err(Error::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("NUMERIC precision {precision} must be between 1 and 1000"),
            ));
        }
        if !(-1000..=1000).contains(&scale) {
            return Err(Error::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("NUMERIC scale {scale} must be between -1000 and 1000"),
            ));
        }
        Ok(Self { id: TypeId::Numeric, modifier: (((precision << 16) | (scale & 0x7ff)) + 4) as i32 })
    }
    /// time(p), timestamp(p), timestamptz(p) or interval(p); a precision above 6 counts as 6.
    pub fn with_precision(id: TypeId, precision: Option<u32>) -> Self {
        let Some(precision) = precision else { return Self::of(id) };
        let digits = precision.min(6) as i32;
        let modifier = if id == TypeId::Interval { 0x7fff << 16 | digits } else { digits };
        Self { id, modifier }
    }
    /// n of varchar(n) and char(n).
    pub const fn character_limit(self) -> Option<usize> {
        if self.modifier >= 4 && matches!(self.id, TypeId::Varchar | TypeId::Bpchar) {
            Some((self.modifier - 4) as usize)
        } else {
            None
        }
    }
    /// (precision, scale) of numeric(p, s).
    pub const fn numeric_limits(self) -> Option<(u16, i16)> {
        if self.modifier < 4 || !matches!(self.id, TypeId::Numeric) {
            return None;
        }
        let packed = self.modifier - 4;
        let scale = ((packed & 0x7ff) ^ 1024) - 1024;
        Some(((packed >> 16) as u16, scale as i16))
    }
    /// Digits of the fraction of a second kept, for types of time with a precision.
    pub const fn time_precision(self) -> Option<u32> {
        match self.id {
            TypeId::Time | TypeId::Timestamp | TypeId::Timestamptz if self.modifier >= 0 => {
                Some(self.modifier as u32)
            }
            TypeId::Interval if self.modifier >= 0 && self.modifier & 0xffff <= 6 => {
                Some((self.modifier & 0xffff) as u32)
            }
            _ => None,
        }
    }
    /// The name with its modifier, as format_type prints it.
    pub fn format(self) -> String {
        let mut out = String::new();
        let (element, suffix) = match self.id.element() {
            Some(element) => (Self { id: element, modifier: self.modifier }, "[]"),
            None => (self, ""),
        };
        let name = element.id.sql_name();
        if let Some(limit) = element.character_limit() {
            let _ = write!(out, "{name}({limit})");
        } else if element.id == TypeId::Bpchar {
            out.push_str("bpchar");
        } else if let Some((precision, scale)) = element.numeric_limits() {
            let _ = write!(out, "{name}({precision},{scale})");
        } else if let Some(digits) = element.time_precision() {
            let (first, rest) = name.split_at(name.find(' ').unwrap_or(name.len()));
            let _ = write!(out, "{first}({digits}){rest}");
        } else {
            out.push_str(name);
        }
        out.push_str(suffix);
        out
    }
}

fn character_modifier(name: &str, limit: Option<u32>) -> Result<i32> {
    match limit {
        None => Ok(-1),
        Some(0) => Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("length for type {name} must be at least 1"),
        )),
        Some(limit @ 1..=10_485_760) => Ok(limit as i32 + 4),
        Some(_) => Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("length for type {name} cannot exceed 10485760"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::TypeId;

    #[test]
    fn dates_times_and_spans_are_of_time() {
        let of_time: Vec<&str> =
            TypeId::ALL.iter().filter(|id| id.is_of_time()).map(|id| id.name()).collect();
        assert_eq!(of_time, ["date", "time", "timestamp", "timestamptz", "interval"]);
    }
}
