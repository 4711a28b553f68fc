//! What PostgreSQL's catalogue has and this server does not: who asks for it is told so (0A000), and not that
//! there is no such thing.

use super::known::{ABSENT_OPERATORS, FUNCTIONS, KnownFunction};
use crate::schema::Schema;
use sql_types::TypeId;
use sql_types::cast::{CastContext, cast_context};
use std::collections::HashSet;
use std::sync::LazyLock;

/// Tables and views of pg_catalog.
const PG_CATALOG: &[&str] = &[
    "pg_backend_memory_contexts",
    "pg_config",
    "pg_shmem_allocations",
    "pg_stat_xact_all_tables",
    "pg_stat_xact_sys_tables",
    "pg_stat_xact_user_tables",
];

/// Views of the information schema.
const INFORMATION_SCHEMA: &[&str] = &[
    "_pg_foreign_data_wrappers",
    "_pg_foreign_servers",
    "_pg_foreign_table_columns",
    "_pg_foreign_tables",
    "_pg_user_mappings",
    "attributes",
    "character_sets",
    "check_constraint_routine_usage",
    "collation_character_set_applicability",
    "collations",
    "column_column_usage",
    "column_domain_usage",
    "column_options",
    "column_udt_usage",
    "constraint_table_usage",
    "data_type_privileges",
    "domain_udt_usage",
    "element_types",
    "foreign_data_wrapper_options",
    "foreign_data_wrappers",
    "foreign_server_options",
    "foreign_table_options",
    "parameters",
    "role_routine_grants",
    "role_udt_grants",
    "routine_column_usage",
    "routine_privileges",
    "routine_routine_usage",
    "routine_sequence_usage",
    "routine_table_usage",
    "sql_features",
    "sql_implementation_info",
    "sql_parts",
    "sql_sizing",
    "transforms",
    "udt_privileges",
    "user_defined_types",
    "user_mapping_options",
    "user_mappings",
    "view_column_usage",
    "view_routine_usage",
    "view_table_usage",
];

/// Names of functions, in any number of arguments.
static NAMES: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let lines = include_str!("data/absent_functions.txt").lines();
    lines.filter(|line| !line.starts_with('#')).collect()
});

/// Whether PostgreSQL has a table or view of this name, which is not here. None is a name without a schema.
pub fn is_absent_relation(schema: Option<&str>, name: &str) -> bool {
    match schema {
        None => PG_CATALOG.contains(&name),
        Some(schema) if schema == Schema::PG_CATALOG.name() => PG_CATALOG.contains(&name),
        Some(schema) if schema == Schema::INFORMATION_SCHEMA.name() => INFORMATION_SCHEMA.contains(&name),
        Some(_) => false,
    }
}

/// Whether PostgreSQL has functions of this name, and this server none.
pub fn is_absent_name(function: &str) -> bool {
    NAMES.contains(function)
}

/// Whether PostgreSQL has functions of this name, here or not.
pub fn is_known_name(function: &str) -> bool {
    is_absent_name(function) || FUNCTIONS.iter().any(|known| known.name == function)
}

/// Whether PostgreSQL has a function that a call of this name and of arguments of these types means, and that
/// is not here: asked where none was found.
pub fn is_absent_function(name: &str, arguments: &[TypeId]) -> bool {
    is_absent_name(name) || FUNCTIONS.iter().any(|known| known.name == name && takes(known, arguments))
}

/// Whether PostgreSQL has an operator of this name that takes operands of these types, and that is not here:
/// asked where none was found. Without a left one it stands before its operand.
pub fn is_absent_operator(name: &str, left: Option<TypeId>, right: TypeId) -> bool {
    // What is of no known type says nothing.
    let is_known = |id| id != TypeId::Unknown;
    (left.is_some_and(is_known) || is_known(right))
        && ABSENT_OPERATORS.iter().any(|known| {
            let fits_left = match left {
                Some(left) => known.sides.0 != 0 && accepts(left, known.sides.0),
                None => known.sides.0 == 0,
            };
            known.name == name && fits_left && accepts(right, known.sides.1)
        })
}

/// Whether an argument of this type may stand where one of the type of this OID is wanted.
fn accepts(given: TypeId, wanted: u32) -> bool {
    let implicit = |wanted| matches!(cast_context(given, wanted), Some(CastContext::Implicit));
    given == TypeId::Unknown
        || given.oid() == wanted
        || TypeId::from_oid(wanted).is_some_and(implicit)
        || match wanted {
            // "any", anyelement and their kin.
            2276 | 2283 | 5077 => true,
            2277 | 5078 => given.element().is_some(),
            _ => false,
        }
}

/// Whether a function may be called with arguments of these types.
fn takes(function: &KnownFunction, arguments: &[TypeId]) -> bool {
    let most = function.arguments.len();
    let least = most - usize::try_from(function.defaults).unwrap_or(0).min(most);
    (least..=most).contains(&arguments.len())
        && arguments.iter().zip(&function.arguments).all(|(given, wanted)| accepts(*given, *wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_is_not_here() {
        for function in FUNCTIONS.iter() {
            assert!(!NAMES.contains(function.name), "{}", function.name);
        }
        for table in super::super::TABLES.iter() {
            assert!(!is_absent_relation(Some(table.schema), table.name), "{}", table.name);
        }
        assert!(is_absent_function("json_agg", &[TypeId::Int4]));
        assert!(!is_absent_function("nosuch", &[]));
    }

    #[test]
    fn operators_that_postgresql_has_are_told_from_those_that_nobody_has() {
        use TypeId::{Aclitem, Inet, Int4, Text, Unknown};
        for (name, left, right) in [
            ("<<", Some(Inet), Inet),
            (">>=", Some(Inet), Unknown),
            ("-", Some(Inet), Int4),
            ("~", None, Inet),
        ] {
            assert!(is_absent_operator(name, left, right), "{name}");
        }
        for (name, left, right) in [
            ("#", Some(Inet), Int4),
            ("~<~", Some(Text), Int4),
            ("<", Some(Aclitem), Aclitem),
            ("~<~", Some(Text), Text),
            ("-", Some(Unknown), Unknown),
        ] {
            assert!(!is_absent_operator(name, left, right), "{name}");
        }
    }

    #[test]
    fn calls_of_other_types_are_told_from_calls_of_what_is_nowhere() {
        // PostgreSQL has overlay(bytea, bytea, integer), and no abs(text).
        assert!(is_absent_function("overlay", &[TypeId::Bytea, TypeId::Bytea, TypeId::Int4]));
        assert!(!is_absent_function("abs", &[TypeId::Text]));
    }
}
