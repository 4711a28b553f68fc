//! SET, SHOW, RESET, ALTER SYSTEM.

use super::cursor::Cursor;
use super::statement::{SetTarget, SqlCommand, Utility};
use super::transaction;
use sql_interface::{Result, SqlError};
use sqlparser::tokenizer::Token;
use sqlstate::SqlState;

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Option<SqlCommand>> {
    let utility = if cursor.word("show") {
        Utility::Show(target(cursor, true)?)
    } else if cursor.word("reset") {
        Utility::Reset(reset_target(cursor)?)
    } else if cursor.words(&["alter", "system", "set"]) {
        let name = setting_name(cursor)?;
        assignment(cursor)?;
        let value = values_of(&name, cursor)?;
        Utility::AlterSystem { target: SetTarget::Name(name), value }
    } else if cursor.words(&["alter", "system", "reset"]) {
        Utility::AlterSystem { target: reset_target(cursor)?, value: None }
    } else if cursor.word("set") {
        set(cursor)?
    } else {
        return Ok(None);
    };
    cursor.expect_end()?;
    Ok(Some(SqlCommand::Utility(utility)))
}

/// What follows SET.
pub(super) fn set(cursor: &mut Cursor<'_>) -> Result<Utility> {
    if cursor.words(&["session", "characteristics", "as", "transaction"]) {
        return Ok(Utility::SetTransaction { session: true, modes: transaction::modes(cursor, false)? });
    }
    if cursor.words(&["transaction", "snapshot"]) {
        return Err(SqlError::unsupported("SET TRANSACTION SNAPSHOT"));
    }
    if cursor.word("transaction") {
        return Ok(Utility::SetTransaction { session: false, modes: transaction::modes(cursor, false)? });
    }
    if cursor.word("constraints") {
        let mut names = Vec::new();
        if !cursor.word("all") {
            names.push(cursor.object_name()?);
            while cursor.token(&Token::Comma) {
                names.push(cursor.object_name()?);
            }
        }
        let deferred = cursor.word("deferred");
        if !deferred && !cursor.word("immediate") {
            return Err(cursor.unexpected());
        }
        return Ok(Utility::SetConstraints { names, deferred });
    }
    let local = cursor.word("local");
    if !local && !cursor.sees(&["session", "authorization"]) {
        cursor.word("session");
    }
    let simple = |name: &str, value: Option<String>| Utility::Set { local, name: name.to_owned(), value };
    if cursor.words(&["session", "authorization"]) {
        if cursor.word("default") {
            return Ok(simple("session_authorization", None));
        }
        let name = cursor.string().map_or_else(|| cursor.name(), Ok)?;
        return Ok(simple("session_authorization", Some(name)));
    }
    let place = cursor.place();
    if cursor.word("role") && !cursor.sees(&["to"]) && !matches!(cursor.peek(), Some(Token::Eq)) {
        if cursor.sees(&["default"]) {
            return Err(cursor.unexpected());
        }
        let name = cursor.string().map_or_else(|| cursor.name(), Ok)?;
        return Ok(simple("role", Some(name)));
    }
    cursor.rewind(place);
    if cursor.word("names") {
        let value = if cursor.word("default") { None } else { cursor.string() };
        return Ok(simple("client_encoding", value));
    }
    if cursor.word("schema") {
        let schema = cursor.expect_string()?;
        return Ok(simple("search_path", Some(identifier::quote(&schema))));
    }
    if cursor.words(&["time", "zone"]) {
        let value = if cursor.any_word(&["local", "default"]) {
            None
        } else if cursor.word("interval") {
            Some(zone_of_interval(cursor)?)
        } else {
            Some(value(cursor)?)
        };
        return Ok(simple("TimeZone", value));
    }
    let name = setting_name(cursor)?;
    assignment(cursor)?;
    let value = values_of(&name, cursor)?;
    Ok(Utility::Set { local, name, value })
}

/// INTERVAL '...' HOUR TO MINUTE: so far east of Greenwich, as the setting takes it.
fn zone_of_interval(cursor: &mut Cursor<'_>) -> Result<String> {
    let mut text = cursor.expect_string()?;
    let bare = text.trim().parse::<f64>().is_ok();
    if cursor.word("hour") {
        // A bare number is one of the last field's.
        let unit = if cursor.word("to") { "minute" } else { "hour" };
        if unit == "minute" && !cursor.word("minute") {
            return Err(cursor.unexpected());
        }
        if bare {
            text = format!("{text} {unit}");
        }
    }
    let parsed = sql_types::Datum::parse(
        sql_types::Type::of(sql_types::TypeId::Interval),
        &text,
        &sql_types::Style::default(),
    )?;
    let sql_types::Datum::Interval(interval) = parsed else { return Err(cursor.unexpected()) };
    let invalid = |what: &str| {
        let message = "invalid value for parameter \"TimeZone\"";
        let error = SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
        Err(error.with_detail(format!("Cannot specify {what} in time zone interval.")))
    };
    if interval.months != 0 {
        return invalid("months");
    }
    if interval.days != 0 {
        return invalid("days");
    }
    Ok(format!("INTERVAL '{} s'", interval.micros / 1_000_000))
}

fn assignment(cursor: &mut Cursor<'_>) -> Result<()> {
    if cursor.word("to") || cursor.token(&Token::Eq) { Ok(()) } else { Err(cursor.unexpected()) }
}

/// The values of a setting as one text; None for DEFAULT.
fn values_of(name: &str, cursor: &mut Cursor<'_>) -> Result<Option<String>> {
    if cursor.word("default") {
        return Ok(None);
    }
    let mut values = vec![value(cursor)?];
    while cursor.token(&Token::Comma) {
        values.push(value(cursor)?);
    }
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let joined = settings::join_values(name, &values);
    joined.map(Some).map_err(|error| SqlError::new(error.sqlstate(), error.to_string()))
}

/// One value: a string, a number or a word.
fn value(cursor: &mut Cursor<'_>) -> Result<String> {
    match cursor.string().or_else(|| cursor.number()) {
        Some(text) => Ok(text),
        None => cursor.setting_word(),
    }
}

pub(super) fn setting_name(cursor: &mut Cursor<'_>) -> Result<String> {
    let mut name = cursor.name()?;
    while cursor.token(&Token::Period) {
        name.push('.');
        name.push_str(&cursor.name()?);
    }
    Ok(name)
}

fn reset_target(cursor: &mut Cursor<'_>) -> Result<SetTarget> {
    target(cursor, false)
}

fn target(cursor: &mut Cursor<'_>, show: bool) -> Result<SetTarget> {
    Ok(if cursor.word("all") {
        SetTarget::All
    } else if cursor.words(&["time", "zone"]) {
        SetTarget::Name("TimeZone".to_owned())
    } else if cursor.words(&["transaction", "isolation", "level"]) {
        SetTarget::Name("transaction_isolation".to_owned())
    } else if cursor.words(&["session", "authorization"]) {
        SetTarget::Name("session_authorization".to_owned())
    } else {
        let _ = show;
        SetTarget::Name(setting_name(cursor)?)
    })
}
