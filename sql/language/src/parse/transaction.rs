//! BEGIN and its family.

use super::cursor::Cursor;
use super::statement::{Mode, SqlCommand, Utility};
use sql_interface::{IsolationLevel, Result, SqlError};
use sqlparser::tokenizer::Token;

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Option<SqlCommand>> {
    let utility = if cursor.word("begin") {
        cursor.any_word(&["work", "transaction"]);
        Utility::Begin { start: false, modes: modes(cursor, true)? }
    } else if cursor.words(&["start", "transaction"]) {
        Utility::Begin { start: true, modes: modes(cursor, true)? }
    } else if cursor.words(&["commit", "prepared"]) {
        return Err(SqlError::unsupported("COMMIT PREPARED"));
    } else if cursor.words(&["rollback", "prepared"]) {
        return Err(SqlError::unsupported("ROLLBACK PREPARED"));
    } else if cursor.words(&["prepare", "transaction"]) {
        return Err(SqlError::unsupported("PREPARE TRANSACTION"));
    } else if cursor.any_word(&["commit", "end"]) {
        cursor.any_word(&["work", "transaction"]);
        Utility::Commit { chain: chain(cursor)? }
    } else if cursor.any_word(&["rollback", "abort"]) {
        cursor.any_word(&["work", "transaction"]);
        if cursor.word("to") {
            cursor.word("savepoint");
            Utility::RollbackTo(cursor.name()?)
        } else {
            Utility::Rollback { chain: chain(cursor)? }
        }
    } else if cursor.word("savepoint") {
        Utility::Savepoint(cursor.name()?)
    } else if cursor.word("release") {
        cursor.word("savepoint");
        Utility::Release(cursor.name()?)
    } else {
        return Ok(None);
    };
    cursor.expect_end()?;
    Ok(Some(SqlCommand::Utility(utility)))
}

fn chain(cursor: &mut Cursor<'_>) -> Result<bool> {
    if !cursor.word("and") {
        return Ok(false);
    }
    let no = cursor.word("no");
    cursor.expect_word("chain")?;
    Ok(!no)
}

/// The list of modes, with or without commas; `may_be_empty` for BEGIN.
pub(super) fn modes(cursor: &mut Cursor<'_>, may_be_empty: bool) -> Result<Vec<Mode>> {
    let mut modes = Vec::new();
    while !cursor.is_at_end() {
        if !modes.is_empty() {
            cursor.token(&Token::Comma);
        }
        modes.push(if cursor.words(&["isolation", "level"]) {
            Mode::Isolation(if cursor.word("serializable") {
                IsolationLevel::Serializable
            } else if cursor.words(&["repeatable", "read"]) {
                IsolationLevel::RepeatableRead
            } else if cursor.words(&["read", "committed"]) {
                IsolationLevel::ReadCommitted
            } else if cursor.words(&["read", "uncommitted"]) {
                IsolationLevel::ReadUncommitted
            } else {
                return Err(cursor.unexpected());
            })
        } else if cursor.words(&["read", "only"]) {
            Mode::ReadOnly(true)
        } else if cursor.words(&["read", "write"]) {
            Mode::ReadOnly(false)
        } else if cursor.word("deferrable") {
            Mode::Deferrable(true)
        } else if cursor.words(&["not", "deferrable"]) {
            Mode::Deferrable(false)
        } else {
            return Err(cursor.unexpected());
        });
    }
    if modes.is_empty() && !may_be_empty { Err(cursor.unexpected()) } else { Ok(modes) }
}
