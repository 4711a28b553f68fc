//! COPY, with the option list in parentheses and the older bare words.

use super::copy_options::{self, Written};
use super::cursor::Cursor;
use super::parse_inner_query;
use super::statement::{CopyStatement, CopySubject, SqlCommand, Utility};
use sql_interface::{Result, SqlError};
use sqlparser::tokenizer::Token;

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Option<SqlCommand>> {
    if !cursor.word("copy") {
        return Ok(None);
    }
    let mut written = Vec::new();
    let position = cursor.position();
    if cursor.word("binary") {
        written.push(Written::text("format", "binary", position));
    }
    let subject = if cursor.peek() == Some(&Token::LParen) {
        let inside = cursor.parenthesised()?;
        CopySubject::Query(parse_inner_query(cursor, inside)?)
    } else {
        let name = cursor.object_name()?;
        let columns = if cursor.peek() == Some(&Token::LParen) { cursor.name_list()? } else { Vec::new() };
        CopySubject::Table { name, columns }
    };
    let from = if cursor.word("from") {
        true
    } else if cursor.word("to") {
        false
    } else {
        return Err(cursor.unexpected());
    };
    if from && matches!(subject, CopySubject::Query(_)) {
        return Err(SqlError::syntax("COPY query cannot be used with COPY FROM"));
    }
    if cursor.word("program") || matches!(cursor.peek(), Some(Token::SingleQuotedString(_))) {
        return Err(SqlError::unsupported("COPY with a file or program on the server").with_hint(
            "Anyone can COPY to stdout or from stdin. psql's \\copy command also works for anyone.",
        ));
    }
    if !cursor.any_word(&["stdin", "stdout"]) {
        return Err(cursor.unexpected());
    }
    cursor.word("with");
    if cursor.peek() == Some(&Token::LParen) {
        copy_options::listed(cursor, &mut written)?;
    } else {
        while !cursor.is_at_end() && !cursor.sees(&["where"]) {
            written.push(copy_options::bare(cursor)?);
        }
    }
    if cursor.sees(&["where"]) {
        return Err(SqlError::unsupported("COPY FROM ... WHERE"));
    }
    cursor.expect_end()?;
    let options = copy_options::read(&written, from);
    Ok(Some(SqlCommand::Utility(Utility::Copy(Box::new(CopyStatement { subject, from, options })))))
}
