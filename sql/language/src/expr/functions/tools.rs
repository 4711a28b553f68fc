//! What tools and drivers ask of the catalogue beside tables: whether a name is seen without its schema, what
//! has a name, and descriptions of what does not exist here.

use super::{Table, text};
use crate::expr::Facts;
use crate::parse::encoding_number;
use sql_catalogue::system::known;
use sql_interface::{Result, SqlError};
use sql_types::TypeId::{
    self, Bool, Int2, Int4, Name, Oid, OidVector, Regclass, Regcollation, Regnamespace, Regoper, Regoperator,
    Regproc, Regprocedure, Regrole, Regtype, Text,
};
use sql_types::{Datum, is_space};
use sqlstate::SqlState;

/// The OID of a name (a number is one, too); NULL where the cast would find nothing.
fn named(ty: TypeId, arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let name = text(arguments, 0)?;
    match facts.reg_oid(ty, facts.search_path(), name) {
        Ok(found) => Ok(found.map_or(Datum::Null, Datum::Oid)),
        Err(error) if error.code() == SqlState::AMBIGUOUS_FUNCTION => Ok(Datum::Null),
        Err(error) => Err(error),
    }
}

fn encoding(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    Ok(Datum::Int4(encoding_number(text(arguments, 0)?).unwrap_or(-1)))
}

/// pg_size_bytes: a number with a unit, as pg_size_pretty writes it.
fn size_bytes(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let written = text(arguments, 0)?;
    let invalid = || SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("invalid size: \"{written}\""));
    let trimmed = written.trim();
    let digits = trimmed.find(|c: char| c.is_ascii_alphabetic() && c != 'e' && c != 'E');
    let (number, unit) = trimmed.split_at(digits.unwrap_or(trimmed.len()));
    let factor: i64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "bytes" => 1,
        "kb" => 1 << 10,
        "mb" => 1 << 20,
        "gb" => 1 << 30,
        "tb" => 1 << 40,
        "pb" => 1 << 50,
        _ => {
            return Err(invalid()
                .with_detail(format!("Invalid size unit: \"{}\".", unit.trim()))
                .with_hint("Valid units are \"bytes\", \"kB\", \"MB\", \"GB\", \"TB\", and \"PB\"."));
        }
    };
    let parsed = Datum::parse(sql_types::Type::of(TypeId::Numeric), number.trim(), facts.style());
    let Ok(Datum::Numeric(number)) = parsed else { return Err(invalid()) };
    let bytes = number.mul(&sql_types::Numeric::from(factor))?;
    let whole = bytes
        .to_i64()
        .ok_or_else(|| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "bigint out of range"))?;
    Ok(Datum::Int8(whole))
}

/// Names of types, of oidvector.
fn vector_types(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    let Some(Datum::Array(array)) = arguments.first() else { return Err(super::mismatch()) };
    let name = |value: &Datum| match value {
        Datum::Oid(oid) => known::type_name(*oid),
        _ => "???",
    };
    Ok(Datum::from(array.values().iter().map(name).collect::<Vec<_>>().join(", ")))
}

/// parse_ident: the parts of a name. Unless it is strict, what follows them does not matter.
fn parse_ident(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    let written = text(arguments, 0)?;
    let strict = arguments.get(1).and_then(Datum::as_bool).unwrap_or(true);
    let invalid = || {
        let message = format!("string is not a valid identifier: \"{written}\"");
        SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
    };
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    let (mut rest, mut parts) = (written.trim_start_matches(is_space), Vec::new());
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (part, behind) = unquoted(quoted)
                .ok_or_else(|| invalid().with_detail("String has unclosed double quotes."))?;
            if part.is_empty() {
                return Err(invalid().with_detail("Quoted identifier must not be empty."));
            }
            parts.push(Datum::from(part));
            rest = behind;
        } else if rest.starts_with(is_start) {
            let end = rest.find(|c: char| !(is_start(c) || c.is_ascii_digit() || c == '$'));
            let (part, behind) = rest.split_at(end.unwrap_or(rest.len()));
            parts.push(Datum::from(part.to_ascii_lowercase()));
            rest = behind;
        } else {
            return Err(match (rest.starts_with('.'), parts.is_empty()) {
                (true, _) => invalid().with_detail("No valid identifier before \".\"."),
                (false, false) => invalid().with_detail("No valid identifier after \".\"."),
                (false, true) => invalid(),
            });
        }
        rest = rest.trim_start_matches(is_space);
        match rest.strip_prefix('.') {
            Some(behind) => rest = behind.trim_start_matches(is_space),
            None if rest.is_empty() || !strict => break,
            None => return Err(invalid()),
        }
    }
    Ok(Datum::Array(std::sync::Arc::new(sql_types::Array::of(Text, parts))))
}

/// A name in quotes whose first one is gone, and what is behind the last; None if that is missing.
fn unquoted(quoted: &str) -> Option<(String, &str)> {
    let (mut name, mut rest) = (String::new(), quoted);
    loop {
        let (part, behind) = rest.split_once('"')?;
        name.push_str(part);
        match behind.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, behind)),
        }
    }
}

/// A comment that PostgreSQL has on what it brings.
/// Nothing has a comment.
fn of_comments(table: &mut Table) {
    for (name, of) in [
        ("obj_description", &[Oid, Name][..]),
        ("obj_description", &[Oid]),
        ("shobj_description", &[Oid, Name]),
        ("col_description", &[Oid, Int4]),
    ] {
        table.add(name, of, Text, |_, _| Ok(Datum::Null)).stable();
    }
}

/// What tells of an index's access method: btree's properties are fixed.
fn index_property(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    let property = arguments.last().and_then(Datum::as_str).unwrap_or_default();
    Ok(match property {
        "asc" | "nulls_last" | "orderable" | "returnable" | "search_array" | "search_nulls"
        | "clusterable" | "index_scan" | "bitmap_scan" | "backward_scan" | "can_order" | "can_unique"
        | "can_multi_col" | "can_exclude" => Datum::Bool(true),
        "desc" | "nulls_first" | "distance_orderable" | "can_include" => Datum::Bool(false),
        _ => Datum::Null,
    })
}

pub(super) fn register(table: &mut Table) {
    macro_rules! of_name {
        ($($name:literal => $ty:ident),* $(,)?) => {
            $(table.add($name, &[Text], $ty, |arguments, facts| named($ty, arguments, facts)).stable();)*
        };
    }
    of_name! {
        "to_regclass" => Regclass,
        "to_regcollation" => Regcollation,
        "to_regnamespace" => Regnamespace,
        "to_regoper" => Regoper,
        "to_regoperator" => Regoperator,
        "to_regproc" => Regproc,
        "to_regprocedure" => Regprocedure,
        "to_regrole" => Regrole,
    }
    table
        .add("to_regtype", &[Text], Regtype, |a, facts| {
            crate::expr::data_type::to_regtype(text(a, 0)?, facts)
        })
        .stable();
    // All that there is lies in schemas that are searched.
    for name in [
        "pg_collation_is_visible",
        "pg_conversion_is_visible",
        "pg_function_is_visible",
        "pg_opclass_is_visible",
        "pg_operator_is_visible",
        "pg_opfamily_is_visible",
        "pg_statistics_obj_is_visible",
        "pg_ts_config_is_visible",
        "pg_ts_dict_is_visible",
        "pg_ts_parser_is_visible",
        "pg_ts_template_is_visible",
        "pg_type_is_visible",
    ] {
        table.add(name, &[Oid], Bool, |_, _| Ok(Datum::Bool(true))).stable();
    }
    of_what_is_fixed(table);
    table.add("pg_char_to_encoding", &[Name], Int4, encoding).stable();
    table.add("pg_size_bytes", &[Text], TypeId::Int8, size_bytes);
    table.add("oidvectortypes", &[OidVector], Text, vector_types).stable();
    table.add("pg_encoding_max_length", &[Int4], Int4, |a, _| {
        Ok(match super::integer(a, 0)? {
            6 => Datum::Int4(4),
            0 => Datum::Int4(1),
            _ => Datum::Null,
        })
    });
    for parameters in [&[Text][..], &[Text, Bool]] {
        table.add("parse_ident", parameters, TypeId::TextArray, parse_ident);
    }
    of_comments(table);
    properties(table);
}

/// What is always answered alike, for what it asks about is not there.
fn of_what_is_fixed(table: &mut Table) {
    // There is nothing temporary, so no schema of it.
    table.add("pg_my_temp_schema", &[], Oid, |_, _| Ok(Datum::Oid(0))).stable();
    table.add("pg_is_other_temp_schema", &[Oid], Bool, |_, _| Ok(Datum::Bool(false))).stable();
    // There are no triggers.
    table.add("pg_trigger_depth", &[], Int4, |_, _| Ok(Datum::Int4(0))).stable();
    table.add("pg_jit_available", &[], Bool, |_, _| Ok(Datum::Bool(false))).stable();
    for name in ["pg_get_function_sqlbody", "pg_get_partkeydef", "pg_get_statisticsobjdef"] {
        table.add(name, &[Oid], Text, |_, _| Ok(Datum::Null)).stable();
    }
    // Nothing is kept of statistics between two looks at them, or of what is still to be counted.
    for name in ["pg_stat_clear_snapshot", "pg_stat_force_next_flush"] {
        table.add(name, &[], TypeId::Void, |_, _| Ok(Datum::text(""))).volatile();
    }
    // No transaction waits for a safe snapshot.
    table
        .add("pg_safe_snapshot_blocking_pids", &[Int4], TypeId::Int4Array, |_, _| {
            Ok(Datum::Array(std::sync::Arc::new(sql_types::Array::of(Int4, Vec::new()))))
        })
        .volatile();
}

/// What can be done with a table, and what indexes are able to.
fn properties(table: &mut Table) {
    table
        .add("pg_relation_is_updatable", &[Regclass, Bool], Int4, |a, facts| {
            // INSERT, UPDATE and DELETE of tables; views take none.
            let Some(Datum::Oid(oid)) = a.first() else { return Err(super::mismatch()) };
            Ok(Datum::Int4(if facts.is_table(*oid) { 28 } else { 0 }))
        })
        .stable();
    table
        .add("pg_column_is_updatable", &[Regclass, Int2, Bool], Bool, |a, facts| {
            let Some(Datum::Oid(oid)) = a.first() else { return Err(super::mismatch()) };
            Ok(Datum::Bool(facts.is_table(*oid)))
        })
        .stable();
    table.add("pg_indexam_has_property", &[Oid, Text], Bool, index_property).stable();
    table.add("pg_index_has_property", &[Regclass, Text], Bool, index_property).stable();
    table
        .add("pg_index_column_has_property", &[Regclass, Int4, Text], Bool, |a, facts| {
            let number = a.get(1).and_then(Datum::as_i64).and_then(|number| usize::try_from(number).ok());
            let (Some(Datum::Oid(oid)), Some(number)) = (a.first(), number) else { return Ok(Datum::Null) };
            let Some((descending, nulls_first)) = facts.index_order(*oid, number) else {
                return Ok(Datum::Null);
            };
            match a.last().and_then(Datum::as_str) {
                Some("asc") => Ok(Datum::Bool(!descending)),
                Some("desc") => Ok(Datum::Bool(descending)),
                Some("nulls_first") => Ok(Datum::Bool(nulls_first)),
                Some("nulls_last") => Ok(Datum::Bool(!nulls_first)),
                _ => index_property(a, facts),
            }
        })
        .stable();
}
