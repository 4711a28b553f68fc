//! Rust types as columns.

use crate::{Error, Result};
use sql_types::{Datum, TypeId};
use sqlstate::SqlState;

/// A type that fills one column.
pub trait Field: Sized + Send {
    /// The column's type.
    const TYPE: TypeId;
    /// Whether the column may be NULL.
    const NULLABLE: bool = false;
    /// Its name in errors.
    const NAME: &'static str;
    /// The value as the column stores it. A text with a NUL character is 22021.
    fn to_datum(&self) -> Result<Datum>;
    /// The value back; None if it is no such value.
    fn from_datum(value: Datum) -> Option<Self>;
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: TypeId,
    /// Whether it may be NULL.
    pub nullable: bool,
}

/// A type that fills one or more columns: a key or a value of a [`crate::Table`].
///
/// Every [`Field`] is one, its column named `key` or `value`; tuples of fields are (`key1`, `key2`, ... or
/// `value1`, ...); `()` is a value without columns; and structs become one by [`crate::record!`].
pub trait Record: Sized + Send {
    /// The columns, in order; `role` is `key` or `value`.
    fn columns(role: &str) -> Vec<Column>;
    /// Appends a value a column.
    fn write(&self, out: &mut Vec<Datum>) -> Result<()>;
    /// Takes its values from the front.
    fn read(values: &mut std::vec::IntoIter<Datum>, role: &str) -> Result<Self>;
}

/// Takes one field's value from the front.
pub fn read_field<F: Field>(values: &mut std::vec::IntoIter<Datum>, column: &str) -> Result<F> {
    let value = values.next().unwrap_or_default();
    let shown = format!("{value:?}");
    F::from_datum(value).ok_or_else(|| Error::Value {
        column: column.to_owned(),
        expected: F::NAME,
        found: shown,
    })
}

/// The column that a field fills.
pub fn field_column<F: Field>(name: String) -> Column {
    Column { name, ty: F::TYPE, nullable: F::NULLABLE }
}

macro_rules! plain_fields {
    ($($rust:ty, $ty:ident, $name:literal;)*) => {$(
        impl Field for $rust {
            const TYPE: TypeId = TypeId::$ty;
            const NAME: &'static str = $name;
            fn to_datum(&self) -> Result<Datum> {
                Ok(Datum::$ty(*self))
            }
            fn from_datum(value: Datum) -> Option<Self> {
                if let Datum::$ty(value) = value { Some(value) } else { None }
            }
        }
    )*};
}

plain_fields! {
    bool, Bool, "boolean";
    i16, Int2, "smallint";
    i32, Int4, "integer";
    i64, Int8, "bigint";
    f32, Float4, "real";
    f64, Float8, "double precision";
    [u8; 16], Uuid, "uuid";
}

impl Field for String {
    const TYPE: TypeId = TypeId::Text;
    const NAME: &'static str = "text";
    fn to_datum(&self) -> Result<Datum> {
        if self.contains('\0') {
            let what = "invalid byte sequence for encoding \"UTF8\": 0x00";
            return Err(sql_interface::SqlError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, what).into());
        }
        Ok(Datum::text(self.as_str()))
    }
    fn from_datum(value: Datum) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl Field for Vec<u8> {
    const TYPE: TypeId = TypeId::Bytea;
    const NAME: &'static str = "bytea";
    fn to_datum(&self) -> Result<Datum> {
        Ok(Datum::bytea(self.as_slice()))
    }
    fn from_datum(value: Datum) -> Option<Self> {
        if let Datum::Bytea(value) = value { Some(value.to_vec()) } else { None }
    }
}

impl Field for host::Timestamp {
    const TYPE: TypeId = TypeId::Timestamptz;
    const NAME: &'static str = "timestamptz";
    fn to_datum(&self) -> Result<Datum> {
        Ok(Datum::Timestamptz(self.micros()))
    }
    fn from_datum(value: Datum) -> Option<Self> {
        if let Datum::Timestamptz(value) = value { Some(Self::from_micros(value)) } else { None }
    }
}

impl<F: Field> Field for Option<F> {
    const TYPE: TypeId = F::TYPE;
    const NULLABLE: bool = true;
    const NAME: &'static str = F::NAME;
    fn to_datum(&self) -> Result<Datum> {
        self.as_ref().map_or(Ok(Datum::Null), F::to_datum)
    }
    fn from_datum(value: Datum) -> Option<Self> {
        if value.is_null() { Some(None) } else { F::from_datum(value).map(Some) }
    }
}

impl<F: Field> Record for F {
    fn columns(role: &str) -> Vec<Column> {
        vec![field_column::<F>(role.to_owned())]
    }
    fn write(&self, out: &mut Vec<Datum>) -> Result<()> {
        out.push(self.to_datum()?);
        Ok(())
    }
    fn read(values: &mut std::vec::IntoIter<Datum>, role: &str) -> Result<Self> {
        read_field(values, role)
    }
}

impl Record for () {
    fn columns(_role: &str) -> Vec<Column> {
        Vec::new()
    }
    fn write(&self, _out: &mut Vec<Datum>) -> Result<()> {
        Ok(())
    }
    fn read(_values: &mut std::vec::IntoIter<Datum>, _role: &str) -> Result<Self> {
        Ok(())
    }
}

macro_rules! tuples {
    ($($($field:ident $at:tt),+;)*) => {$(
        impl<$($field: Field),+> Record for ($($field,)+) {
            fn columns(role: &str) -> Vec<Column> {
                vec![$(field_column::<$field>(format!("{role}{}", $at + 1))),+]
            }
            fn write(&self, out: &mut Vec<Datum>) -> Result<()> {
                $(out.push(self.$at.to_datum()?);)+
                Ok(())
            }
            fn read(values: &mut std::vec::IntoIter<Datum>, role: &str) -> Result<Self> {
                Ok(($(read_field::<$field>(values, &format!("{role}{}", $at + 1))?,)+))
            }
        }
    )*};
}

tuples! {
    A 0, B 1;
    A 0, B 1, C 2;
    A 0, B 1, C 2, D 3;
}

/// Declares a struct whose fields are columns of the same names.
///
/// ```
/// plimsoll::record! {
///     /// A customer's account.
///     #[derive(Clone, Debug, PartialEq)]
///     pub struct Account {
///         /// Whose it is.
///         pub owner: String,
///         /// In cents.
///         pub balance: i64,
///     }
/// }
/// ```
#[macro_export]
macro_rules! record {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $ty:ty),+ $(,)?
    }) => {
        $(#[$meta])* $vis struct $name { $($(#[$field_meta])* $field_vis $field: $ty),+ }

        impl $crate::Record for $name {
            fn columns(_role: &str) -> Vec<$crate::Column> {
                vec![$($crate::macros::field_column::<$ty>(stringify!($field).to_owned())),+]
            }
            fn write(&self, out: &mut Vec<$crate::Datum>) -> $crate::Result<()> {
                $(out.push($crate::Field::to_datum(&self.$field)?);)+
                Ok(())
            }
            fn read(values: &mut std::vec::IntoIter<$crate::Datum>, _role: &str) -> $crate::Result<Self> {
                Ok(Self { $($field: $crate::macros::read_field(values, stringify!($field))?),+ })
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back<R: Record + PartialEq + std::fmt::Debug>(value: R) {
        let mut written = Vec::new();
        value.write(&mut written).unwrap();
        assert_eq!(written.len(), R::columns("key").len());
        for (value, column) in written.iter().zip(R::columns("key")) {
            assert!(value.natural_type().is_none_or(|ty| ty == column.ty), "{column:?} holds {value:?}");
        }
        assert_eq!(R::read(&mut written.into_iter(), "key").unwrap(), value);
    }

    #[test]
    fn every_field_comes_back_as_it_was() {
        there_and_back(true);
        there_and_back((i16::MIN, i32::MAX, i64::MIN));
        there_and_back((0.5_f32, -0.5_f64));
        there_and_back((String::from("ä"), vec![0_u8, 255], [7_u8; 16], None::<i32>));
        there_and_back(Some(host::Timestamp::from_micros(1)));
        there_and_back(());
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_no_panic() {
        let read = |value| i32::read(&mut vec![value].into_iter(), "value").unwrap_err().to_string();
        assert_eq!(read(Datum::Null), "column \"value\" holds Null, which is no integer");
        assert!(read(Datum::text("1")).contains("which is no integer"));
        assert!(i32::read(&mut Vec::new().into_iter(), "value").is_err());
        assert_eq!("a\0b".to_owned().to_datum().unwrap_err().sqlstate().as_deref(), Some("22021"));
    }
}
