//! CREATE, ALTER and DROP of ROLE, USER and GROUP, and the settings that roles and databases begin with.

use super::cursor::Cursor;
use super::grant::{role_list, role_spec, specifier};
use super::setting;
use super::statement::{
    MemberGrant, NamedPrivilege, RoleOption, RoleSpec, SettingChange, SettingOf, SqlCommand, Utility,
};
use sql_interface::{Result, SqlError};
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
        options(cursor, &mut list, true)?;
        Utility::CreateRole { name, options: list }
    } else if cursor.word("alter") {
        match alter(cursor)? {
            Some(utility) => utility,
            None => {
                cursor.rewind(place);
                return Ok(None);
            }
        }
    } else if cursor.word("drop") {
        if !cursor.any_word(&KINDS) || cursor.sees(&["mapping"]) {
            cursor.rewind(place);
            return Ok(None);
        }
        let if_exists = cursor.words(&["if", "exists"]);
        Utility::DropRole { if_exists, roles: role_list(cursor)? }
    } else {
        return Ok(None);
    };
    cursor.expect_end()?;
    Ok(Some(SqlCommand::Utility(utility)))
}

/// Behind ALTER; None if it is not about a role or a database's settings.
fn alter(cursor: &mut Cursor<'_>) -> Result<Option<Utility>> {
    if cursor.word("database") {
        let database = cursor.identifier()?;
        if !cursor.sees(&["set"]) && !cursor.sees(&["reset"]) {
            return Ok(None);
        }
        if cursor.sees(&["set", "tablespace"]) {
            return Err(SqlError::unsupported("ALTER DATABASE SET TABLESPACE"));
        }
        let of = SettingOf::Database(database);
        return Ok(Some(Utility::AlterSettings { of, change: change(cursor)? }));
    }
    let group = cursor.sees(&["group"]);
    if !cursor.any_word(&KINDS) || cursor.sees(&["mapping"]) {
        return Ok(None);
    }
    if !group && cursor.word("all") {
        return settings(cursor, None).map(Some);
    }
    let place = cursor.place();
    let role = match specifier(cursor) {
        Some(_) => role_spec(cursor)?,
        None => RoleSpec::Named(role_name(cursor)?),
    };
    if cursor.sees(&["rename", "to"]) {
        cursor.rewind(place);
        let name = role_name(cursor)?;
        cursor.words(&["rename", "to"]);
        return Ok(Some(Utility::RenameRole { name, to: role_name(cursor)? }));
    }
    if group && (cursor.sees(&["add", "user"]) || cursor.sees(&["drop", "user"])) {
        let is_grant = cursor.word("add");
        cursor.any_word(&["drop", "user"]);
        cursor.word("user");
        let members = role_list(cursor)?;
        let RoleSpec::Named(name) = role else { return Err(cursor.unexpected()) };
        let roles = vec![NamedPrivilege { name, columns: Vec::new() }];
        let grant = MemberGrant {
            of_group: true,
            is_grant,
            admin: false,
            roles,
            members,
            granted_by: None,
            cascade: false,
        };
        return Ok(Some(Utility::GrantRole(Box::new(grant))));
    }
    if cursor.sees(&["set"]) || cursor.sees(&["reset"]) || cursor.sees(&["in", "database"]) {
        cursor.rewind(place);
        let role = role_spec(cursor)?;
        return settings(cursor, Some(role)).map(Some);
    }
    cursor.word("with");
    let mut list = Vec::new();
    options(cursor, &mut list, false)?;
    Ok(Some(Utility::AlterRole { role, options: list }))
}

/// `[IN DATABASE name] SET ... | RESET ...` of a role, or of all.
fn settings(cursor: &mut Cursor<'_>, role: Option<RoleSpec>) -> Result<Utility> {
    let database = if cursor.words(&["in", "database"]) { Some(cursor.identifier()?) } else { None };
    let of = SettingOf::Role { role, database };
    Ok(Utility::AlterSettings { of, change: change(cursor)? })
}

fn change(cursor: &mut Cursor<'_>) -> Result<SettingChange> {
    if cursor.word("reset") {
        return Ok(if cursor.word("all") {
            SettingChange::ResetAll
        } else {
            SettingChange::Set { name: setting::setting_name(cursor)?, value: None }
        });
    }
    cursor.expect_word("set")?;
    let place = cursor.place();
    if let Ok(name) = setting::setting_name(cursor)
        && cursor.words(&["from", "current"])
    {
        return Ok(SettingChange::Current(name));
    }
    cursor.rewind(place);
    match setting::set(cursor)? {
        Utility::Set { local: false, name, value } => Ok(SettingChange::Set { name, value }),
        _ => Err(cursor.unexpected()),
    }
}

/// A role's name, and no word that stands for one.
fn role_name(cursor: &mut Cursor<'_>) -> Result<String> {
    let position = cursor.position();
    if let Some((word, _)) = specifier(cursor) {
        let message = format!("{} cannot be used as a role name here", word.to_uppercase());
        return Err(SqlError::new(SqlState::RESERVED_NAME, message).at(position));
    }
    let name = cursor.identifier()?;
    if name == "public" || name == "none" {
        return Err(
            SqlError::new(SqlState::RESERVED_NAME, format!("role name \"{name}\" is reserved")).at(position)
        );
    }
    Ok(name)
}

/// Reads the options. Each may be given once; what `list` holds already is none of them.
fn options(cursor: &mut Cursor<'_>, list: &mut Vec<RoleOption>, is_new: bool) -> Result<()> {
    let given = list.len();
    while !cursor.is_at_end() {
        let position = cursor.position();
        let Some(option) = option(cursor, is_new)? else { continue };
        let mut before = list.iter().skip(given);
        if before.any(|known| known.is_same_option(&option)) {
            cursor.refuse(SqlError::syntax("conflicting or redundant options").at(position));
        }
        list.push(option);
    }
    Ok(())
}

/// One option; None for one that means nothing.
fn option(cursor: &mut Cursor<'_>, is_new: bool) -> Result<Option<RoleOption>> {
    type Flag = fn(bool) -> RoleOption;
    const FLAGS: [(&str, &str, Flag); 7] = [
        ("superuser", "nosuperuser", RoleOption::Superuser),
        ("login", "nologin", RoleOption::Login),
        ("replication", "noreplication", RoleOption::Replication),
        ("createrole", "nocreaterole", RoleOption::CreateRole),
        ("createdb", "nocreatedb", RoleOption::CreateDatabase),
        ("inherit", "noinherit", RoleOption::Inherit),
        ("bypassrls", "nobypassrls", RoleOption::BypassRls),
    ];
    for (yes, no, make) in FLAGS {
        if cursor.word(yes) {
            return Ok(Some(make(true)));
        }
        if cursor.word(no) {
            return Ok(Some(make(false)));
        }
    }
    if cursor.words(&["unencrypted", "password"]) {
        let message = "UNENCRYPTED PASSWORD is no longer supported";
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)
            .with_hint("Remove UNENCRYPTED to store the password in encrypted form instead."));
    }
    cursor.word("encrypted");
    Ok(Some(if cursor.word("password") {
        RoleOption::Password(if cursor.word("null") { None } else { Some(cursor.expect_string()?) })
    } else if cursor.words(&["connection", "limit"]) {
        let number = cursor.number().ok_or_else(|| cursor.unexpected())?;
        let Ok(limit) = number.parse::<i32>() else { return Err(cursor.unexpected_before()) };
        if limit < -1 {
            let message = format!("invalid connection limit: {number}");
            cursor.refuse(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        RoleOption::ConnectionLimit(limit)
    } else if cursor.words(&["valid", "until"]) {
        RoleOption::ValidUntil(cursor.expect_string()?)
    } else if cursor.word("sysid") {
        // As in PostgreSQL: it is said, and means nothing any more.
        cursor.number().ok_or_else(|| cursor.unexpected())?;
        return Ok(None);
    } else if is_new && (cursor.words(&["in", "role"]) || cursor.words(&["in", "group"])) {
        RoleOption::MemberOf(role_list(cursor)?)
    } else if is_new && cursor.any_word(&["role", "user"]) {
        RoleOption::Members { roles: role_list(cursor)?, admin: false }
    } else if is_new && cursor.word("admin") {
        RoleOption::Members { roles: role_list(cursor)?, admin: true }
    } else {
        let position = cursor.position();
        let unknown = cursor.identifier()?;
        return Err(SqlError::syntax(format!("unrecognized role option \"{unknown}\"")).at(position));
    }))
}
