//! Storage parameters: WITH (...) of tables and indexes, and ALTER TABLE ... SET (...).
//!
//! PostgreSQL's are known, with their types and bounds. None of them has a meaning for trees, so that they
//! are kept and shown (pg_class.reloptions) and nothing else.

use sql_interface::{Result, SqlError};
use sql_language::parse::fold;
use sqlparser::ast;
use sqlstate::SqlState;

enum Kind {
    Bool,
    Int(i64, i64),
    Real(f64, f64),
    Choice(&'static [&'static str]),
}

const MAX: i64 = i32::MAX as i64;

/// Those of tables, with the values that they may have.
const OF_TABLES: &[(&str, Kind)] = &[
    ("autovacuum_analyze_scale_factor", Kind::Real(0.0, 100.0)),
    ("autovacuum_analyze_threshold", Kind::Int(0, MAX)),
    ("autovacuum_enabled", Kind::Bool),
    ("autovacuum_freeze_max_age", Kind::Int(100_000, 2_000_000_000)),
    ("autovacuum_freeze_min_age", Kind::Int(0, 1_000_000_000)),
    ("autovacuum_freeze_table_age", Kind::Int(0, 2_000_000_000)),
    ("autovacuum_multixact_freeze_max_age", Kind::Int(10_000, 2_000_000_000)),
    ("autovacuum_multixact_freeze_min_age", Kind::Int(0, 1_000_000_000)),
    ("autovacuum_multixact_freeze_table_age", Kind::Int(0, 2_000_000_000)),
    ("autovacuum_vacuum_cost_delay", Kind::Real(0.0, 100.0)),
    ("autovacuum_vacuum_cost_limit", Kind::Int(1, 10_000)),
    ("autovacuum_vacuum_insert_scale_factor", Kind::Real(0.0, 100.0)),
    ("autovacuum_vacuum_insert_threshold", Kind::Int(-1, MAX)),
    ("autovacuum_vacuum_scale_factor", Kind::Real(0.0, 100.0)),
    ("autovacuum_vacuum_threshold", Kind::Int(0, MAX)),
    ("fillfactor", Kind::Int(10, 100)),
    ("log_autovacuum_min_duration", Kind::Int(-1, MAX)),
    ("parallel_workers", Kind::Int(0, 1024)),
    ("toast_tuple_target", Kind::Int(128, 8160)),
    ("user_catalog_table", Kind::Bool),
    ("vacuum_index_cleanup", Kind::Choice(&["auto", "on", "off", "true", "false", "yes", "no", "1", "0"])),
    ("vacuum_truncate", Kind::Bool),
];

/// Those of B-tree indexes.
const OF_INDEXES: &[(&str, Kind)] = &[("deduplicate_items", Kind::Bool), ("fillfactor", Kind::Int(10, 100))];

/// What has storage parameters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Table,
    Index,
}

fn invalid(message: String) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// A value as it is kept: a name, a number or a text.
fn value_text(value: &ast::Expr) -> Result<String> {
    match value {
        ast::Expr::Identifier(name) => Ok(fold(name)),
        ast::Expr::Value(value) => match &value.value {
            ast::Value::SingleQuotedString(text) => Ok(text.clone()),
            other => Ok(other.to_string().to_lowercase()),
        },
        ast::Expr::UnaryOp { .. } => Ok(value.to_string()),
        other => Err(SqlError::unsupported(format!("the value {other} of a storage parameter"))),
    }
}

fn check(name: &str, value: &str, kind: &Kind) -> Result<()> {
    let bounds = |low: String, high: String| {
        Err(invalid(format!("value {value} out of bounds for option \"{name}\""))
            .with_detail(format!("Valid values are between \"{low}\" and \"{high}\".")))
    };
    match kind {
        Kind::Bool if sql_types::is_true(value).is_some() => Ok(()),
        Kind::Bool => Err(invalid(format!("invalid value for boolean option \"{name}\": {value}"))),
        Kind::Int(low, high) => match value.parse::<i64>() {
            Ok(number) if (*low..=*high).contains(&number) => Ok(()),
            Ok(_) => bounds(low.to_string(), high.to_string()),
            Err(_) => Err(invalid(format!("invalid value for integer option \"{name}\": {value}"))),
        },
        Kind::Real(low, high) => match value.parse::<f64>() {
            Ok(number) if (*low..=*high).contains(&number) => Ok(()),
            Ok(_) => bounds(low.to_string(), high.to_string()),
            Err(_) => Err(invalid(format!("invalid value for floating point option \"{name}\": {value}"))),
        },
        Kind::Choice(values) if values.contains(&value.to_ascii_lowercase().as_str()) => Ok(()),
        Kind::Choice(_) => Err(invalid(format!("invalid value for enum option \"{name}\": {value}"))),
    }
}

/// Parameters and their values as they are kept, `name=value`, each checked.
///
/// # Errors
///
/// 22023 for what PostgreSQL does not know or take.
fn checked(of: Of, given: &[(String, Option<&ast::Expr>)]) -> Result<Vec<String>> {
    let known = if of == Of::Table { OF_TABLES } else { OF_INDEXES };
    let mut kept: Vec<String> = Vec::with_capacity(given.len());
    for (at, (name, value)) in given.iter().enumerate() {
        if given.iter().take(at).any(|(before, _)| before == name) {
            return Err(invalid(format!("parameter \"{name}\" specified more than once")));
        }
        let value = value.map_or_else(|| Ok("true".to_owned()), value_text)?;
        if name == "oids" && of == Of::Table {
            if sql_types::is_true(&value) == Some(false) {
                continue;
            }
            return Err(SqlError::unsupported("a table declared WITH OIDS"));
        }
        let Some((_, kind)) = known.iter().find(|(known, _)| known == name) else {
            return Err(invalid(format!("unrecognized parameter \"{name}\"")));
        };
        check(name, &value, kind)?;
        kept.push(format!("{name}={value}"));
    }
    Ok(kept)
}

/// Those of CREATE TABLE and ALTER TABLE.
///
/// # Errors
///
/// 22023, or 0A000 for options of another kind.
pub(super) fn of_table(options: &[ast::SqlOption]) -> Result<Vec<String>> {
    let absent = |option: &ast::SqlOption| SqlError::unsupported(format!("the table option {option}"));
    let mut given = Vec::with_capacity(options.len());
    for option in options {
        let (key, value) = match option {
            ast::SqlOption::KeyValue { key, value } => (key, Some(value)),
            ast::SqlOption::Ident(key) => (key, None),
            other => return Err(absent(other)),
        };
        match key.0.as_slice() {
            [ast::ObjectNamePart::Identifier(key)] => given.push((fold(key), value)),
            _ => return Err(absent(option)),
        }
    }
    checked(Of::Table, &given)
}

/// Those of CREATE INDEX.
///
/// # Errors
///
/// 22023, or 0A000 for options of another kind.
pub(super) fn of_index(options: &[ast::Expr]) -> Result<Vec<String>> {
    let mut given = Vec::with_capacity(options.len());
    for option in options {
        given.push(match option {
            ast::Expr::BinaryOp { left, op: ast::BinaryOperator::Eq, right } => match &**left {
                ast::Expr::Identifier(key) => (fold(key), Some(&**right)),
                other => return Err(SqlError::unsupported(format!("the index option {other}"))),
            },
            ast::Expr::Identifier(key) => (fold(key), None),
            other => return Err(SqlError::unsupported(format!("the index option {other}"))),
        });
    }
    checked(Of::Index, &given)
}

/// The parameters after some of them were set anew: those come last.
pub(super) fn set(before: &[String], new: Vec<String>) -> Vec<String> {
    let name = |option: &String| option.split('=').next().unwrap_or_default().to_owned();
    let mut kept: Vec<String> = before.to_vec();
    kept.retain(|option| !new.iter().any(|new| name(new) == name(option)));
    kept.extend(new);
    kept
}
