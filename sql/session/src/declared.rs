//! The types that a client gives the parameters of a statement.

use sql_interface::{Result, SqlError};
use sql_types::{AbsentType, Type, TypeId};
use sqlstate::SqlState;

/// Types by their OIDs; 0 and `unknown` leave a parameter open.
///
/// # Errors
///
/// 0A000 for a type that PostgreSQL has, 42704 for any other.
pub(crate) fn declared(oids: &[u32]) -> Result<Vec<Option<Type>>> {
    oids.iter()
        .map(|oid| match TypeId::from_oid(*oid) {
            _ if *oid == 0 => Ok(None),
            Some(TypeId::Unknown) => Ok(None),
            Some(id) => Ok(Some(Type::of(id))),
            None => Err(unknown(*oid)),
        })
        .collect()
}

fn unknown(oid: u32) -> SqlError {
    match AbsentType::of_oid(oid) {
        Some((absent, false)) => SqlError::unsupported(format!("the type {}", absent.sql_name)),
        Some((absent, true)) => SqlError::unsupported(format!("the type {}[]", absent.sql_name)),
        None => SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type with OID {oid} does not exist")),
    }
}

#[cfg(test)]
mod tests {
    use super::declared;

    #[test]
    fn a_parameter_of_a_type_that_is_absent_is_refused_as_such() {
        let code = |oid| declared(&[oid]).expect_err("is refused").code().as_str().to_owned();
        for oid in [114, 199, 3802, 1266, 27] {
            assert_eq!(code(oid), "0A000", "{oid}");
        }
        assert_eq!(code(1), "42704");
        assert_eq!(declared(&[0, 705]).expect("are left open"), [None, None]);
    }
}
