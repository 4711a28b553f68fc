//! EXPLAIN and its options.

use super::cursor::Cursor;
use super::options::{self, Given};
use super::statement::{ExplainFormat, ExplainOptions, SqlCommand, Utility};
use super::utility::inner;
use sql_interface::{Result, SqlError};
use sqlparser::tokenizer::Token;
use sqlstate::SqlState;

/// Reads what follows EXPLAIN.
pub(super) fn explain(cursor: &mut Cursor<'_>) -> Result<SqlCommand> {
    let mut options = ExplainOptions { costs: true, ..ExplainOptions::default() };
    // A query may stand in parentheses, too.
    let place = cursor.place();
    let of_query = cursor.token(&Token::LParen)
        && (cursor.peek() == Some(&Token::LParen)
            || ["select", "values", "table", "with"].iter().any(|word| cursor.sees(&[word])));
    cursor.rewind(place);
    if !of_query && cursor.peek() == Some(&Token::LParen) {
        for option in options::list(cursor)? {
            take(&mut options, &option)?;
        }
        check(&options)?;
    } else {
        options.analyze = cursor.any_word(&["analyze", "analyse"]);
        options.verbose = cursor.word("verbose");
    }
    if ["create", "execute", "declare", "refresh"].iter().any(|word| cursor.sees(&[*word])) {
        return Err(SqlError::unsupported("EXPLAIN of this statement"));
    }
    let statement = inner(cursor)?;
    Ok(SqlCommand::Utility(Utility::Explain { options, statement }))
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
