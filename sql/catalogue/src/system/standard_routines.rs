//! Rows of information_schema.routines: the functions that exist here. All are the program's own.

use super::Context;
use super::behaviour::function_object;
use super::information_schema::{columns_of, database_name, may, yes};
use super::known::{self, KnownFunction, type_name};
use super::values::{name, sparse};
use crate::rights::Privileges;
use sql_types::{Datum, TypeId};

pub(super) fn routines(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let columns = columns_of("routines");
    let row = |function: &KnownFunction| {
        let specific = format!("{}_{}", function.name, function.oid);
        let of_type = TypeId::from_oid(function.result);
        let result = match of_type {
            Some(id) if id.element().is_some() => "ARRAY",
            _ => type_name(function.result),
        };
        let word = |word: &str| if function.kind == 'f' { Datum::text(word) } else { Datum::Null };
        sparse(
            columns,
            &[
                ("specific_catalog", database_name(context)),
                ("specific_schema", name("pg_catalog")),
                ("specific_name", Datum::from(specific)),
                ("routine_catalog", database_name(context)),
                ("routine_schema", name("pg_catalog")),
                ("routine_name", name(function.name)),
                ("routine_type", word("FUNCTION")),
                ("data_type", Datum::text(result)),
                ("type_udt_catalog", database_name(context)),
                ("type_udt_schema", name("pg_catalog")),
                ("type_udt_name", name(of_type.map_or(result, TypeId::name))),
                ("dtd_identifier", Datum::text("0")),
                ("routine_body", Datum::text("EXTERNAL")),
                ("external_language", Datum::text("INTERNAL")),
                ("parameter_style", Datum::text("GENERAL")),
                ("is_deterministic", yes(function.volatility == 'i')),
                ("sql_data_access", Datum::text("MODIFIES")),
                ("is_null_call", yes(function.strict)),
                ("schema_level_routine", yes(true)),
                ("max_dynamic_result_sets", Datum::Int4(0)),
                ("security_type", Datum::text("INVOKER")),
                ("as_locator", yes(false)),
                ("is_udt_dependent", yes(false)),
            ],
        )
    };
    let shown = |function: &&KnownFunction| {
        (context.has_function)(function) && may(context, &function_object(function), Privileges::EXECUTE)
    };
    known::FUNCTIONS.iter().filter(shown).map(row).collect()
}
