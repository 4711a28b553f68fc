//! TABLESPACE of CREATE TABLE and CREATE INDEX: there is one for what is not shared, so that all it can do is
//! to be right or wrong.

use super::cursor::folded;
use sql_interface::{Result, SqlError};
use sqlparser::tokenizer::{Token, TokenWithSpan};
use sqlstate::SqlState;

/// That a tablespace which a statement names is the one for what is not shared.
///
/// # Errors
///
/// 42704 for one that is not there, 22023 for that of what is shared.
fn check(name: &str) -> Result<()> {
    match name {
        "pg_default" => Ok(()),
        "pg_global" => Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            "only shared relations can be placed in pg_global tablespace",
        )),
        _ => {
            let message = format!("tablespace \"{name}\" does not exist");
            Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message))
        }
    }
}

fn is_word(token: Option<&TokenWithSpan>, wanted: &str) -> bool {
    matches!(token.map(|token| &token.token),
        Some(Token::Word(word)) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}

/// Takes the clauses out of a CREATE; what is wrong with the first that is.
pub(super) fn take(tokens: &mut Vec<TokenWithSpan>) -> Option<SqlError> {
    if !is_word(tokens.first(), "create") || !tokens.iter().any(|token| is_word(Some(token), "tablespace")) {
        return None;
    }
    let (mut refusal, mut kept): (Option<SqlError>, Vec<TokenWithSpan>) = (None, Vec::new());
    let mut depth = 0_usize;
    let mut rest = std::mem::take(tokens).into_iter().peekable();
    while let Some(token) = rest.next() {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        // Behind what is made, or behind USING INDEX: elsewhere it is a name.
        let before = kept.len();
        let of_index = is_word(kept.last(), "index")
            && before.checked_sub(2).is_some_and(|at| is_word(kept.get(at), "using"));
        let is_behind = depth == 0 && kept.last().is_some_and(|last| last.token == Token::RParen);
        let name = match rest.peek().map(|next| &next.token) {
            Some(Token::Word(word)) if is_word(Some(&token), "tablespace") && (of_index || is_behind) => {
                folded(word.quote_style, &word.value)
            }
            _ => {
                kept.push(token);
                continue;
            }
        };
        rest.next();
        if of_index {
            kept.truncate(before.saturating_sub(2));
        }
        refusal = refusal.or_else(|| check(&name).err());
    }
    *tokens = kept;
    refusal
}
