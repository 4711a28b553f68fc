//! Functions of the session, of arrays, of log positions, and what else psql and drivers call.

use super::{Parameter, Returns, Table, array, int4, integer, mismatch, text};
use crate::expr::Facts;
use sql_catalogue::schema::Schema;
use sql_interface::{Result, SqlError};
use sql_types::TypeId::{Bool, Int4, Int8, Lsn, Name, NameArray, Numeric as Num, Oid, Regtype, Text, Uuid};
use sql_types::{Array, Datum, Type, TypeId, ops};
use sqlstate::SqlState;
use std::sync::Arc;

pub(super) fn register(table: &mut Table) {
    session(table);
    settings(table);
    arrays(table);
    positions(table);
    catalogue(table);
    table
        .add("gen_random_uuid", &[], Uuid, |_, facts| {
            let mut bytes = [0; 16];
            facts.random(&mut bytes);
            // Version 4, variant 1.
            bytes[6] = bytes[6] & 0x0f | 0x40;
            bytes[8] = bytes[8] & 0x3f | 0x80;
            Ok(Datum::Uuid(bytes))
        })
        .volatile();
    for id in [Int8, Num] {
        table.add("pg_size_pretty", &[id], Text, pg_size_pretty);
    }
    table
        .add_any("pg_column_size", &[Parameter::Any], Returns::Is(Int4), |a, _| {
            Ok(int4(stored_bytes(a.first().ok_or_else(mismatch)?)))
        })
        .stable();
    // No value is compressed.
    table
        .add_any("pg_column_compression", &[Parameter::Any], Returns::Is(Text), |_, _| Ok(Datum::Null))
        .stable();
    for (name, nulls) in [("num_nulls", true), ("num_nonnulls", false)] {
        let body: super::Body = if nulls {
            |a, _| Ok(int4(a.iter().filter(|value| value.is_null()).count()))
        } else {
            |a, _| Ok(int4(a.iter().filter(|value| !value.is_null()).count()))
        };
        table.add_any(name, &[Parameter::Any], Returns::Is(Int4), body).lenient().variadic();
    }
}

/// The bytes that PostgreSQL takes for a value in a row.
fn stored_bytes(value: &Datum) -> usize {
    let mut bytes = Vec::new();
    sql_types::binary::write(value, &mut bytes);
    // Behind its header, a numeric has a word less than it is sent with for each of three facts.
    let length = if matches!(value, Datum::Numeric(_)) { bytes.len().saturating_sub(6) } else { bytes.len() };
    match value {
        // A length stands before it, which takes a byte if it is short.
        Datum::Text(_) | Datum::Bpchar(_) | Datum::Bytea(_) | Datum::Numeric(_) => {
            length + if length <= 126 { 1 } else { 4 }
        }
        _ => length,
    }
}

fn session(table: &mut Table) {
    table
        .add("version", &[], Text, |_, facts| {
            let release = facts.setting("server_version")?.unwrap_or_default();
            let (machine, system) = (std::env::consts::ARCH, std::env::consts::OS);
            Ok(Datum::from(format!("PostgreSQL {release} on {machine}-{system}, 64-bit")))
        })
        .stable();
    for name in ["current_database", "current_catalog"] {
        table.add(name, &[], Name, |_, facts| Ok(Datum::text(facts.database()))).stable();
    }
    for name in ["current_user", "current_role", "user", "getpgusername"] {
        table.add(name, &[], Name, |_, facts| Ok(Datum::text(facts.current_user()))).stable();
    }
    table.add("session_user", &[], Name, |_, facts| Ok(Datum::text(facts.session_user()))).stable();
    table
        .add("current_schema", &[], Name, |_, facts| {
            Ok(facts.search_path().current().map_or(Datum::Null, |schema| Datum::text(schema.name())))
        })
        .stable();
    table
        .add("current_schemas", &[Bool], NameArray, |a, facts| {
            let implicit = a.first().and_then(Datum::as_bool).unwrap_or(false);
            let path = facts.search_path();
            let name = |schema: Schema| Datum::from(schema.name());
            let names: Vec<Datum> =
                if implicit { path.searched().map(name).collect() } else { path.named().map(name).collect() };
            Ok(Datum::Array(Arc::new(Array::of(Name, names))))
        })
        .stable();
    table.add("pg_backend_pid", &[], Int4, |_, facts| Ok(Datum::Int4(facts.backend_pid()))).stable();
    table.add("getdatabaseencoding", &[], Name, |_, _| Ok(Datum::text("UTF8"))).stable();
    table.add("pg_client_encoding", &[], Name, |_, _| Ok(Datum::text("UTF8"))).stable();
    table.add("pg_encoding_to_char", &[Int4], Name, |a, _| {
        Ok(Datum::text(crate::parse::encoding_name(integer(a, 0)?)))
    });
    table
        .add_any("pg_typeof", &[Parameter::Any], Returns::Is(Regtype), |_, _| {
            Err(SqlError::internal("pg_typeof is answered when it is compiled"))
        })
        .lenient();
}

fn settings(table: &mut Table) {
    table
        .add("current_setting", &[Text], Text, |a, facts| {
            let name = text(a, 0)?;
            facts.setting(name)?.map(Datum::from).ok_or_else(|| {
                let message = format!("unrecognized configuration parameter \"{name}\"");
                SqlError::new(SqlState::UNDEFINED_OBJECT, message)
            })
        })
        .stable();
    table
        .add("current_setting", &[Text, Bool], Text, |a, facts| {
            let name = text(a, 0)?;
            match facts.setting(name)? {
                Some(value) => Ok(Datum::from(value)),
                None if a.get(1).and_then(Datum::as_bool) == Some(true) => Ok(Datum::Null),
                None => {
                    let message = format!("unrecognized configuration parameter \"{name}\"");
                    Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message))
                }
            }
        })
        .stable();
    table
        .add("set_config", &[Text, Text, Bool], Text, |a, facts| {
            let Some(name) = a.first().and_then(Datum::as_str) else {
                return Err(SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, "SET requires parameter name"));
            };
            let local = a.get(2).and_then(Datum::as_bool).unwrap_or(false);
            facts.set_setting(name, a.get(1).and_then(Datum::as_str), local).map(Datum::from)
        })
        .lenient()
        .volatile();
}

fn dimension(arguments: &[Datum]) -> Result<Option<sql_types::Dimension>> {
    let at = usize::try_from(integer(arguments, 1)? - 1).ok();
    Ok(at.and_then(|at| array(arguments).ok()?.dimensions().get(at).copied()))
}

fn arrays(table: &mut Table) {
    use Parameter::{AnyArray, Is};
    table.add_any("array_length", &[AnyArray, Is(Int4)], Returns::Is(Int4), |a, _| {
        Ok(dimension(a)?
            .map_or(Datum::Null, |found| Datum::Int4(i32::try_from(found.len).unwrap_or(i32::MAX))))
    });
    table.add_any("array_lower", &[AnyArray, Is(Int4)], Returns::Is(Int4), |a, _| {
        Ok(dimension(a)?.map_or(Datum::Null, |found| Datum::Int4(found.lower)))
    });
    table.add_any("array_upper", &[AnyArray, Is(Int4)], Returns::Is(Int4), |a, _| {
        let upper = |found: sql_types::Dimension| i64::from(found.lower) + i64::from(found.len) - 1;
        Ok(dimension(a)?
            .map_or(Datum::Null, |found| Datum::Int4(i32::try_from(upper(found)).unwrap_or(i32::MAX))))
    });
    table.add_any("array_ndims", &[AnyArray], Returns::Is(Int4), |a, _| match array(a)?.dimensions().len() {
        0 => Ok(Datum::Null),
        count => Ok(int4(count)),
    });
    table.add_any("cardinality", &[AnyArray], Returns::Is(Int4), |a, _| Ok(int4(array(a)?.values().len())));
}

/// Sizes as PostgreSQL rounds them: each unit from 10 of the one below.
fn pg_size_pretty(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    let size = match arguments.first() {
        Some(Datum::Int8(size)) => *size,
        Some(Datum::Numeric(size)) => {
            size.to_i64().ok_or_else(|| SqlError::unsupported("a size above the range of bigint"))?
        }
        _ => return Err(mismatch()),
    };
    let limit = 10 * 1024;
    if size.unsigned_abs() < limit {
        return Ok(Datum::from(format!("{size} bytes")));
    }
    // Kept doubled, so that the last digit can be rounded.
    let mut doubled = i128::from(size) / 512;
    let units = ["kB", "MB", "GB", "TB", "PB"];
    for (at, unit) in units.iter().enumerate() {
        let last = at + 1 == units.len();
        if doubled.unsigned_abs() < u128::from(limit) * 2 - 1 || last {
            let rounded = (doubled + if doubled < 0 { -1 } else { 1 }) / 2;
            return Ok(Datum::from(format!("{rounded} {unit}")));
        }
        doubled /= 1024;
    }
    Ok(Datum::Null)
}

fn positions(table: &mut Table) {
    table.add("pg_wal_lsn_diff", &[Lsn, Lsn], Num, |a, facts| {
        let minus = ops::operators("-").iter().find(|known| known.left == Lsn && known.right == Lsn);
        match (minus, a) {
            (Some(minus), [left, right]) => Ok((minus.function)(left, right, facts.style())?),
            _ => Err(mismatch()),
        }
    });
    table.add("pg_lsn", &[Num], Lsn, |a, _| match a.first() {
        Some(Datum::Numeric(bytes)) => Ok(ops::lsn_from(bytes)?),
        _ => Err(mismatch()),
    });
}

fn catalogue(table: &mut Table) {
    table
        .add("pg_get_userbyid", &[Oid], Name, |a, facts| match a.first() {
            Some(Datum::Oid(oid)) => {
                Ok(Datum::from(facts.role_name(*oid).unwrap_or_else(|| format!("unknown (OID={oid})"))))
            }
            _ => Err(mismatch()),
        })
        .stable();
    table
        .add("format_type", &[Oid, Int4], Text, |a, _| {
            let Some(Datum::Oid(oid)) = a.first() else { return Ok(Datum::Null) };
            let Some(id) = TypeId::from_oid(*oid) else {
                return Ok(Datum::text(if *oid == 0 { "-" } else { "???" }));
            };
            Ok(match a.get(1).and_then(Datum::as_i64) {
                Some(modifier) => {
                    let modifier = i32::try_from(modifier).unwrap_or(-1);
                    Datum::from(Type { id, modifier }.format())
                }
                None => Datum::text(id.sql_name()),
            })
        })
        .lenient();
    table
        .add("pg_table_is_visible", &[Oid], Bool, |a, facts| {
            let Some(Datum::Oid(oid)) = a.last() else { return Err(mismatch()) };
            Ok(facts.is_visible(*oid).map_or(Datum::Null, Datum::Bool))
        })
        .stable();
}
