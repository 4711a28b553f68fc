//! CREATE, ALTER and DROP of ROLE, USER and GROUP.

use super::cursor::Cursor;
use super::statement::{RoleOption, SqlCommand, Utility};
use sql_interface::{Result, SqlError};
use sqlparser::tokenizer::Token;
use sqlstate::SqlState;

const KINDS: [&str; 3] = ["role", "user", "group"];

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Option<SqlCommand>> {
    let place = cursor.place();
    let utility = if cursor.word("create") {
        let user = cursor.sees(&["user"]);
        if !cursor.any_word(&KINDS) || cursor.sees(&["mapping"]) {
            cursor.rewind(place);
            return Ok(None);
        }
        let name = role_name(cursor)?;
        let mut list = if user { vec![RoleOption::Login(true)] } else { Vec::new() };
        cursor.word("with");
        options(cursor, &mut list)?;
        Utility::CreateRole { name, options: list }
    } else if cursor.word("alter") {
        if !cursor.any_word(&KINDS) || cursor.sees(&["mapping"]) {
            cursor.rewind(place);
            return Ok(None);
        }
        let name = role_name(cursor)?;
        if cursor.words(&["rename", "to"]) {
            Utility::RenameRole { name, to: role_name(cursor)? }
        } else if cursor.sees(&["set"]) || cursor.sees(&["reset"]) || cursor.sees(&["in", "database"]) {
            return Err(SqlError::unsupported("ALTER ROLE SET"));
        } else {
            cursor.word("with");
            let mut list = Vec::new();
            options(cursor, &mut list)?;
            Utility::AlterRole { name, options: list }
        }
    } else if cursor.word("drop") {
        if !cursor.any_word(&KINDS) || cursor.sees(&["mapping"]) {
            cursor.rewind(place);
            return Ok(None);
        }
        let if_exists = cursor.words(&["if", "exists"]);
        let mut names = vec![role_name(cursor)?];
        while cursor.token(&Token::Comma) {
            names.push(role_name(cursor)?);
        }
        Utility::DropRole { if_exists, names }
    } else {
        return Ok(None);
    };
    cursor.expect_end()?;
    Ok(Some(SqlCommand::Utility(utility)))
}

/// A role's name; `current_user` and its kin are passed on for the session to resolve.
fn role_name(cursor: &mut Cursor<'_>) -> Result<String> {
    let position = cursor.position();
    let name = cursor.identifier()?;
    if name == "public" || name == "none" {
        return Err(
            SqlError::new(SqlState::RESERVED_NAME, format!("role name \"{name}\" is reserved")).at(position)
        );
    }
    Ok(name)
}

fn options(cursor: &mut Cursor<'_>, list: &mut Vec<RoleOption>) -> Result<()> {
    type Flag = fn(bool) -> RoleOption;
    const FLAGS: [(&str, &str, Flag); 6] = [
        ("superuser", "nosuperuser", RoleOption::Superuser),
        ("login", "nologin", RoleOption::Login),
        ("replication", "noreplication", RoleOption::Replication),
        ("createrole", "nocreaterole", RoleOption::CreateRole),
        ("createdb", "nocreatedb", RoleOption::CreateDatabase),
        ("inherit", "noinherit", RoleOption::Inherit),
    ];
    'next: while !cursor.is_at_end() {
        for (yes, no, make) in FLAGS {
            if cursor.word(yes) {
                list.push(make(true));
                continue 'next;
            }
            if cursor.word(no) {
                list.push(make(false));
                continue 'next;
            }
        }
        cursor.word("encrypted");
        if cursor.word("password") {
            let password = if cursor.word("null") { None } else { Some(cursor.expect_string()?) };
            list.push(RoleOption::Password(password));
        } else if cursor.words(&["connection", "limit"]) {
            let number = cursor.number().ok_or_else(|| cursor.unexpected())?;
            let limit = number.parse::<i32>().ok().filter(|limit| *limit >= -1);
            list.push(RoleOption::ConnectionLimit(limit.ok_or_else(|| {
                SqlError::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("invalid connection limit: {number}"),
                )
            })?));
        } else if cursor.words(&["valid", "until"]) {
            list.push(RoleOption::ValidUntil(cursor.expect_string()?));
        } else if cursor.any_word(&["bypassrls", "nobypassrls"]) {
            // There is no row-level security to bypass.
        } else if cursor.sees(&["in"]) || cursor.any_word(&["role", "admin", "user"]) {
            return Err(SqlError::unsupported("role membership"));
        } else {
            return Err(cursor.unexpected());
        }
    }
    Ok(())
}
