//! EXPLAIN and its options.

use super::cursor::Cursor;
use super::options::{self, Given};
use super::statement::{ExplainFormat, ExplainOptions, SqlCommand, Utility};
use super::utility::inner;
use super::{Parsed, parse_statement};
use sql_interface::{Result, SqlError};
use sqlparser::tokenizer::Token;
use sqlstate::SqlState;
use std::sync::Arc;

/// Reads what follows EXPLAIN.
pub(super) fn explain(cursor: &mut Cursor<'_>) -> Result<SqlCommand> {
    let mut options = ExplainOptions { costs: true, ..ExplainOptions::default() };
    let mut checked = Ok(());
    if !begins_statement(cursor) && cursor.peek() == Some(&Token::LParen) {
        for option in options::list(cursor)? {
            checked = checked.and_then(|()| take(&mut options, &option));
        }
        checked = checked.and_then(|()| check(&options));
    } else {
        options.analyze = cursor.any_word(&["analyze", "analyse"]);
        options.verbose = cursor.word("verbose");
    }
    let statement = if ["create", "execute", "declare", "refresh"].iter().any(|word| cursor.sees(&[*word])) {
        with_plan(cursor)?
    } else {
        inner(cursor)?
    };
    let refusal = checked.err().map(Box::new);
    Ok(SqlCommand::Utility(Utility::Explain { options, statement, refusal }))
}

/// A statement that has one with a plan inside it.
fn with_plan(cursor: &Cursor<'_>) -> Result<Arc<Parsed>> {
    let tokens = cursor.rest();
    let (source, count) = (cursor.source(), tokens.len());
    let (command, found) = parse_statement(source, tokens)?;
    cursor.note(found);
    let fits = match &command {
        SqlCommand::CreateTable(table) => table.query.is_some(),
        SqlCommand::Utility(utility) => matches!(utility, Utility::Execute { .. } | Utility::Declare { .. }),
        _ => false,
    };
    if !fits {
        return Err(cursor.unexpected());
    }
    Ok(Arc::new(Parsed { source: source.clone(), command, tokens: count }))
}

/// Whether the parenthesis that comes next is one around a query.
fn begins_statement(cursor: &mut Cursor<'_>) -> bool {
    let place = cursor.place();
    let mut opened = false;
    while cursor.token(&Token::LParen) {
        opened = true;
    }
    let query = opened && ["select", "values", "with", "table"].iter().any(|word| cursor.sees(&[*word]));
    cursor.rewind(place);
    query
}

fn take(options: &mut ExplainOptions, option: &Given) -> Result<()> {
    let on = || option.boolean();
    match option.name.as_str() {
        "analyze" => options.analyze = on()?,
        "verbose" => options.verbose = on()?,
        "costs" => options.costs = on()?,
        "settings" => options.settings = on()?,
        "buffers" => options.buffers = on()?,
        "wal" => options.wal = on()?,
        "timing" => options.timing = Some(on()?),
        "summary" => options.summary = Some(on()?),
        "format" => {
            let word =
                option.value.as_deref().ok_or_else(|| SqlError::syntax("format requires a parameter"))?;
            options.format = match word.to_ascii_lowercase().as_str() {
                "text" => ExplainFormat::Text,
                "json" => ExplainFormat::Json,
                "xml" => ExplainFormat::Xml,
                "yaml" => ExplainFormat::Yaml,
                _ => {
                    let what = format!("unrecognized value for EXPLAIN option \"format\": \"{word}\"");
                    return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, what).at(option.position));
                }
            };
        }
        _ => return Err(option.unrecognized("EXPLAIN")),
    }
    Ok(())
}

/// What only a run can tell.
fn check(options: &ExplainOptions) -> Result<()> {
    let alone = match options {
        ExplainOptions { analyze: true, .. } => None,
        ExplainOptions { wal: true, .. } => Some("WAL"),
        ExplainOptions { timing: Some(true), .. } => Some("TIMING"),
        _ => None,
    };
    alone.map_or(Ok(()), |option| {
        let what = format!("EXPLAIN option {option} requires ANALYZE");
        Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, what))
    })
}
