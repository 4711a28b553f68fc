//! Values of SQL: what PostgreSQL's data types hold, print, accept, compare and compute.
//!
//! Owns the types and their facts ([`Type`], [`TypeId`]), one value ([`Datum`]), its text form
//! ([`Datum::parse`], [`Datum::write_text`]) and binary form ([`binary`]), casts ([`cast`]), operators
//! ([`ops`]), and the two encodings that reach disk: keys that compare as bytes ([`key`]) and rows ([`row`]).
//!
//! Judged by PostgreSQL 15 with encoding UTF8 and collation C. Knows no tables, statements, files or clocks:
//! what a value's text depends on (time zone, date order, the transaction's time) is passed in as a
//! [`Style`].
//!
//! The key and row encodings are durable formats: what they write today they read for ever.

mod absent;
mod array;
pub mod binary;
mod bytea;
pub mod cast;
mod compare;
mod datum;
mod error;
mod float;
mod inet;
mod integer;
mod interval;
pub mod key;
mod names;
mod numeric;
pub mod ops;
pub mod pattern;
pub mod row;
mod single_byte;
mod style;
mod text;
pub mod time;
mod type_name;
mod types;
pub mod work;

/// The longest value, in bytes, as in PostgreSQL.
pub const VALUE_BYTES_MAX: usize = 0x3fff_ffff;

pub use absent::AbsentType;
pub use array::{Array, Dimension};
pub use compare::compare;
pub use datum::{Datum, Str};
pub use error::{Error, Result};
pub use integer::{is_space, is_true};
pub use interval::Interval;
pub use names::{NAME_BYTES_MAX, clipped, clipped_to};
pub use numeric::Numeric;
pub use style::{ByteaOutput, DateOrder, IntervalStyle, Style};
pub use type_name::require_type_name;
pub use types::{Category, Type, TypeId, TypeInfo};
