//! Precisions of times beyond what there is, of which PostgreSQL warns.

use super::Source;
use sql_interface::{Severity, SqlError};
use sqlparser::tokenizer::{Token, TokenWithSpan};
use sqlstate::SqlState;

/// Digits of a second.
const DIGITS_MAX: u32 = 6;

/// The warning about a number, if it stands in the parentheses of a type of times or a call that gives one.
pub(super) fn reduced(
    source: &Source,
    tokens: &[TokenWithSpan],
    at: usize,
    digits: &str,
) -> Option<SqlError> {
    let token = |at: usize| tokens.get(at).map(|token| &token.token);
    if token(at.checked_sub(1)?)? != &Token::LParen || token(at + 1)? != &Token::RParen {
        return None;
    }
    let before = tokens.get(at.checked_sub(2)?)?;
    let Token::Word(word) = &before.token else { return None };
    let precision = digits.parse::<u32>().ok().filter(|digits| *digits > DIGITS_MAX)?;
    if word.quote_style.is_some() {
        return None;
    }
    let word_at = |at: usize| match token(at) {
        Some(Token::Word(word)) => word.value.as_str(),
        _ => "",
    };
    let is_word = |at: usize, wanted: &str| word_at(at).eq_ignore_ascii_case(wanted);
    let is_zoned = || is_word(at + 2, "with") && is_word(at + 3, "time") && is_word(at + 4, "zone");
    let (name, zoned, is_call) = match word.value.to_ascii_lowercase().as_str() {
        "timestamp" => ("TIMESTAMP", is_zoned(), false),
        "timestamptz" => ("TIMESTAMP", true, false),
        "current_timestamp" => ("TIMESTAMP", true, true),
        "localtimestamp" => ("TIMESTAMP", false, true),
        "time" => ("TIME", is_zoned(), false),
        "localtime" => ("TIME", false, true),
        "interval" | "second" => ("INTERVAL", false, false),
        _ => return None,
    };
    let zone = if zoned { " WITH TIME ZONE" } else { "" };
    let message = format!("{name}({precision}){zone} precision reduced to maximum allowed, {DIGITS_MAX}");
    let warning = SqlError::report(Severity::Warning, SqlState::INVALID_PARAMETER_VALUE, message);
    Some(if is_call { warning } else { warning.at(source.position(before.span.start)) })
}
