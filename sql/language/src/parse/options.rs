//! Options in parentheses: `(name [value], ...)` of VACUUM, ANALYZE, REINDEX and EXPLAIN.

use super::cursor::Cursor;
use sql_interface::{Result, SqlError};
use sqlparser::tokenizer::Token;

/// An option as it was written.
pub(super) struct Given {
    /// In lower case, unless it stood in quotes.
    pub(super) name: String,
    /// A word, a number or a string.
    pub(super) value: Option<String>,
    /// Where it stands.
    pub(super) position: Option<u32>,
}

/// The options, if a list of them comes next.
pub(super) fn list(cursor: &mut Cursor<'_>) -> Result<Vec<Given>> {
    let mut options = Vec::new();
    if !cursor.token(&Token::LParen) {
        return Ok(options);
    }
    loop {
        let position = cursor.position();
        let name = cursor.identifier()?;
        let value = match cursor.peek() {
            Some(Token::Comma | Token::RParen) => None,
            _ => Some(match cursor.string().or_else(|| cursor.number()) {
                Some(text) => text,
                None => cursor.identifier()?,
            }),
        };
        options.push(Given { name, value, position });
        if !cursor.token(&Token::Comma) {
            break;
        }
    }
    cursor.expect_token(&Token::RParen)?;
    Ok(options)
}

impl Given {
    /// The value of an option that is on or off; on where there is none.
    pub(super) fn boolean(&self) -> Result<bool> {
        match self.value.as_deref().unwrap_or("true").to_ascii_lowercase().as_str() {
            "true" | "on" | "1" => Ok(true),
            "false" | "off" | "0" => Ok(false),
            _ => Err(SqlError::syntax(format!("{} requires a Boolean value", self.name))),
        }
    }

    /// 42601 for an option that a statement does not have.
    pub(super) fn unrecognized(&self, statement: &str) -> SqlError {
        SqlError::syntax(format!("unrecognized {statement} option \"{}\"", self.name)).at(self.position)
    }
}
