//! GRANT, REVOKE, ALTER DEFAULT PRIVILEGES, and who owns what: OWNER TO, REASSIGN OWNED, DROP OWNED.

use super::cursor::Cursor;
use super::read;
use super::statement::{
    FunctionName, Grant, GrantTarget, MemberGrant, NamedPrivilege, OwnedKind, RoleSpec, SqlCommand, Utility,
};
use sql_interface::{Result, SqlError};
use sqlparser::ast;
use sqlparser::tokenizer::{Token, TokenWithSpan};
use sqlstate::SqlState;

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Option<SqlCommand>> {
    let place = cursor.place();
    let utility = if cursor.word("grant") {
        grant(cursor, true)?
    } else if cursor.word("revoke") {
        grant(cursor, false)?
    } else if cursor.words(&["alter", "default", "privileges"]) {
        default_privileges(cursor)?
    } else if cursor.words(&["reassign", "owned"]) {
        cursor.expect_word("by")?;
        let from = role_list(cursor)?;
        cursor.expect_word("to")?;
        Utility::ReassignOwned { from, to: role_spec(cursor)? }
    } else if cursor.words(&["drop", "owned"]) {
        cursor.expect_word("by")?;
        let roles = role_list(cursor)?;
        Utility::DropOwned { roles, cascade: behaviour(cursor) }
    } else if cursor.word("alter") {
        match change_owner(cursor)? {
            Some(utility) => utility,
            None => {
                cursor.rewind(place);
                return Ok(None);
            }
        }
    } else {
        return Ok(None);
    };
    cursor.expect_end()?;
    Ok(Some(SqlCommand::Utility(utility)))
}

/// CASCADE (true), RESTRICT or nothing.
fn behaviour(cursor: &mut Cursor<'_>) -> bool {
    let cascade = cursor.word("cascade");
    if !cascade {
        cursor.word("restrict");
    }
    cascade
}

/// The words that stand for a role.
const SPECIFIERS: [(&str, RoleSpec); 3] = [
    ("current_user", RoleSpec::Current),
    ("current_role", RoleSpec::Current),
    ("session_user", RoleSpec::Session),
];

/// The word that stands for a role, and which, if one comes next.
pub(super) fn specifier(cursor: &Cursor<'_>) -> Option<(&'static str, RoleSpec)> {
    SPECIFIERS.iter().find(|(word, _)| cursor.sees(&[word])).map(|(word, role)| (*word, role.clone()))
}

/// A role: a name, or one of the words that stand for one.
pub(super) fn role_spec(cursor: &mut Cursor<'_>) -> Result<RoleSpec> {
    if let Some((word, role)) = specifier(cursor) {
        cursor.word(word);
        return Ok(role);
    }
    let position = cursor.position();
    let name = cursor.identifier()?;
    match name.as_str() {
        "public" => Ok(RoleSpec::Public),
        "none" => Err(SqlError::new(SqlState::RESERVED_NAME, "role name \"none\" is reserved").at(position)),
        _ => Ok(RoleSpec::Named(name)),
    }
}

/// Roles in a list.
pub(super) fn role_list(cursor: &mut Cursor<'_>) -> Result<Vec<RoleSpec>> {
    let mut roles = vec![role_spec(cursor)?];
    while cursor.token(&Token::Comma) {
        roles.push(role_spec(cursor)?);
    }
    Ok(roles)
}

/// TO and FROM: each may say GROUP.
fn grantees(cursor: &mut Cursor<'_>) -> Result<Vec<RoleSpec>> {
    let mut roles = Vec::new();
    loop {
        cursor.word("group");
        roles.push(role_spec(cursor)?);
        if !cursor.token(&Token::Comma) {
            return Ok(roles);
        }
    }
}

fn identifiers(cursor: &mut Cursor<'_>) -> Result<Vec<String>> {
    let mut names = vec![cursor.identifier()?];
    while cursor.token(&Token::Comma) {
        names.push(cursor.identifier()?);
    }
    Ok(names)
}

/// The privileges, or the roles, in front of ON, TO or FROM. None is ALL.
fn privileges(cursor: &mut Cursor<'_>) -> Result<(Option<Vec<NamedPrivilege>>, Vec<String>)> {
    if cursor.word("all") {
        cursor.word("privileges");
        let columns = if cursor.peek() == Some(&Token::LParen) { cursor.name_list()? } else { Vec::new() };
        return Ok((None, columns));
    }
    let mut list = Vec::new();
    loop {
        let name = if cursor.words(&["alter", "system"]) {
            "alter system".to_owned()
        } else {
            cursor.identifier()?
        };
        let columns = if cursor.peek() == Some(&Token::LParen) { cursor.name_list()? } else { Vec::new() };
        list.push(NamedPrivilege { name, columns });
        if !cursor.token(&Token::Comma) {
            return Ok((Some(list), Vec::new()));
        }
    }
}

fn grant(cursor: &mut Cursor<'_>, is_grant: bool) -> Result<Utility> {
    let mut option = !is_grant && cursor.words(&["grant", "option", "for"]);
    let mut admin = !is_grant && !option && cursor.words(&["admin", "option", "for"]);
    let (list, all_columns) = privileges(cursor)?;
    if !cursor.word("on") {
        let Some(list) = list else { return Err(cursor.unexpected()) };
        if option {
            return Err(cursor.unexpected());
        }
        cursor.expect_word(if is_grant { "to" } else { "from" })?;
        let members = grantees(cursor)?;
        if is_grant && cursor.words(&["with", "admin"]) {
            cursor.expect_word("option")?;
            admin = true;
        }
        let granted_by = granted_by(cursor)?;
        let cascade = !is_grant && behaviour(cursor);
        let change =
            MemberGrant { of_group: false, is_grant, admin, roles: list, members, granted_by, cascade };
        return Ok(Utility::GrantRole(Box::new(change)));
    }
    if admin {
        return Err(cursor.unexpected());
    }
    let target = target(cursor, is_grant)?;
    cursor.expect_word(if is_grant { "to" } else { "from" })?;
    let grantees = grantees(cursor)?;
    if is_grant && cursor.word("with") {
        cursor.expect_word("grant")?;
        cursor.expect_word("option")?;
        option = true;
    }
    let granted_by = granted_by(cursor)?;
    let cascade = !is_grant && behaviour(cursor);
    Ok(Utility::Grant(Box::new(Grant {
        is_grant,
        option,
        privileges: list,
        all_columns,
        target,
        grantees,
        granted_by,
        cascade,
    })))
}

fn granted_by(cursor: &mut Cursor<'_>) -> Result<Option<RoleSpec>> {
    if cursor.words(&["granted", "by"]) { role_spec(cursor).map(Some) } else { Ok(None) }
}

/// What a grant is about.
fn target(cursor: &mut Cursor<'_>, is_grant: bool) -> Result<GrantTarget> {
    const ABSENT: &[&[&str]] = &[
        &["language"],
        &["large", "object"],
        &["tablespace"],
        &["type"],
        &["domain"],
        &["foreign", "data", "wrapper"],
        &["foreign", "server"],
        &["parameter"],
    ];
    if let Some(words) = ABSENT.iter().find(|words| cursor.sees(words)) {
        let verb = if is_grant { "GRANT" } else { "REVOKE" };
        let kind = words.join(" ").to_ascii_uppercase();
        return Err(SqlError::unsupported(format!("{verb} ON {kind}")));
    }
    if cursor.word("all") {
        type Make = fn(Vec<String>) -> GrantTarget;
        let make: Make = if cursor.word("tables") {
            GrantTarget::AllTables
        } else if cursor.word("sequences") {
            GrantTarget::AllSequences
        } else if cursor.any_word(&["functions", "routines"]) {
            GrantTarget::AllFunctions
        } else if cursor.word("procedures") {
            GrantTarget::AllProcedures
        } else {
            return Err(cursor.unexpected());
        };
        cursor.expect_word("in")?;
        cursor.expect_word("schema")?;
        return identifiers(cursor).map(make);
    }
    if cursor.word("schema") {
        return identifiers(cursor).map(GrantTarget::Schemas);
    }
    if cursor.word("database") {
        return identifiers(cursor).map(GrantTarget::Databases);
    }
    let procedures = cursor.word("procedure");
    if procedures || cursor.any_word(&["function", "routine"]) {
        let mut functions = vec![function(cursor)?];
        while cursor.token(&Token::Comma) {
            functions.push(function(cursor)?);
        }
        return Ok(if procedures {
            GrantTarget::Procedures(functions)
        } else {
            GrantTarget::Functions(functions)
        });
    }
    let sequences = cursor.word("sequence");
    if !sequences {
        cursor.word("table");
    }
    let mut names = vec![cursor.object_name()?];
    while cursor.token(&Token::Comma) {
        names.push(cursor.object_name()?);
    }
    Ok(if sequences { GrantTarget::Sequences(names) } else { GrantTarget::Tables(names) })
}

/// A function with the types of its arguments, if they are given: `pg_promote(boolean, wait integer)`.
fn function(cursor: &mut Cursor<'_>) -> Result<FunctionName> {
    let name = cursor.object_name()?;
    if cursor.peek() != Some(&Token::LParen) {
        return Ok(FunctionName { name, arguments: None });
    }
    let inside = cursor.parenthesised()?;
    let mut arguments = Vec::new();
    if !inside.is_empty() {
        for part in inside.split(|token| token.token == Token::Comma) {
            arguments.push(argument_type(cursor, part)?);
        }
    }
    Ok(FunctionName { name, arguments: Some(arguments) })
}

/// The type of an argument, which may have a mode and a name before it.
fn argument_type(cursor: &Cursor<'_>, tokens: &[TokenWithSpan]) -> Result<ast::DataType> {
    let parse =
        |tokens: &[TokenWithSpan]| read(cursor.source(), tokens.to_vec(), |parser| parser.parse_data_type());
    let whole = parse(tokens);
    let mut rest = tokens;
    while let (Err(_), Some((_, shorter))) = (&whole, rest.split_first()) {
        if let Ok(found) = parse(shorter) {
            return Ok(found);
        }
        rest = shorter;
    }
    whole
}

/// ALTER DEFAULT PRIVILEGES [FOR ROLE list] [IN SCHEMA list] GRANT ... | REVOKE ...
fn default_privileges(cursor: &mut Cursor<'_>) -> Result<Utility> {
    let (mut roles, mut schemas) = (Vec::new(), Vec::new());
    loop {
        let position = cursor.position();
        let twice = if cursor.word("for") {
            if !cursor.any_word(&["role", "user"]) {
                return Err(cursor.unexpected());
            }
            !std::mem::replace(&mut roles, role_list(cursor)?).is_empty()
        } else if cursor.words(&["in", "schema"]) {
            !std::mem::replace(&mut schemas, identifiers(cursor)?).is_empty()
        } else {
            break;
        };
        if twice {
            return Err(SqlError::syntax("conflicting or redundant options").at(position));
        }
    }
    let is_grant = cursor.word("grant");
    if !is_grant {
        cursor.expect_word("revoke")?;
    }
    let mut option = !is_grant && cursor.words(&["grant", "option", "for"]);
    let (list, all_columns) = privileges(cursor)?;
    cursor.expect_word("on")?;
    const KINDS: &[(&str, char)] = &[
        ("tables", 'r'),
        ("sequences", 'S'),
        ("functions", 'f'),
        ("routines", 'f'),
        ("types", 'T'),
        ("schemas", 'n'),
    ];
    let kind = KINDS.iter().find(|(word, _)| cursor.word(word)).map(|(_, kind)| *kind);
    let kind = kind.ok_or_else(|| cursor.unexpected())?;
    cursor.expect_word(if is_grant { "to" } else { "from" })?;
    let grantees = grantees(cursor)?;
    if is_grant && cursor.word("with") {
        cursor.expect_word("grant")?;
        cursor.expect_word("option")?;
        option = true;
    }
    let cascade = !is_grant && behaviour(cursor);
    let target = GrantTarget::Defaults { roles, schemas, kind };
    Ok(Utility::Grant(Box::new(Grant {
        is_grant,
        option,
        privileges: list,
        all_columns,
        target,
        grantees,
        granted_by: None,
        cascade,
    })))
}

/// ALTER kind name OWNER TO role, behind the first word; None for another ALTER.
fn change_owner(cursor: &mut Cursor<'_>) -> Result<Option<Utility>> {
    const KINDS: &[(&str, OwnedKind)] = &[
        ("table", OwnedKind::Table),
        ("view", OwnedKind::View),
        ("index", OwnedKind::Index),
        ("sequence", OwnedKind::Sequence),
        ("schema", OwnedKind::Schema),
        ("database", OwnedKind::Database),
    ];
    let Some((_, kind)) = KINDS.iter().find(|(word, _)| cursor.word(word)) else { return Ok(None) };
    let may_be_absent = !matches!(kind, OwnedKind::Schema | OwnedKind::Database);
    if !may_be_absent && cursor.sees(&["if"]) {
        return Err(cursor.unexpected());
    }
    let if_exists = cursor.words(&["if", "exists"]);
    if *kind == OwnedKind::Table {
        cursor.word("only");
    }
    let Ok(name) = cursor.object_name() else { return Ok(None) };
    if !cursor.words(&["owner", "to"]) {
        return Ok(None);
    }
    let owner = role_spec(cursor)?;
    // Another operation of ALTER TABLE may follow.
    if !cursor.is_at_end() {
        return Ok(None);
    }
    Ok(Some(Utility::ChangeOwner { kind: *kind, if_exists, name, owner }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;

    fn one(sql: &str) -> Result<Utility> {
        let parsed = parse(sql, 2 << 20)?;
        match parsed.first().map(|parsed| &parsed.command) {
            Some(SqlCommand::Utility(utility)) => Ok(utility.clone()),
            other => Err(SqlError::internal(format!("{other:?}"))),
        }
    }

    #[test]
    fn grants_of_every_kind_are_read() {
        for sql in [
            "grant select on t to a",
            "grant select, insert (x, \"Y\"), update on table t, s.u to group a, public with grant option",
            "grant all on t to current_user granted by session_user",
            "grant all privileges (a) on t to b",
            "grant usage on sequence s to a",
            "grant all on all tables in schema public, other to a",
            "grant execute on function f(), g(int, wait boolean, in text) to a",
            "grant execute on routine f to a",
            "grant create on schema public to a",
            "grant connect, temp on database d to a",
            "revoke grant option for select on t from a cascade",
            "revoke all on t from a granted by b restrict",
            "grant a, b to c, d with admin option granted by current_role",
            "revoke admin option for a from b cascade",
            "alter default privileges for role a in schema s grant select on tables to b with grant option",
            "alter default privileges revoke all on functions from public",
            "reassign owned by a, current_user to b",
            "drop owned by a cascade",
            "alter table if exists only t owner to b",
            "alter schema public owner to b",
        ] {
            assert!(one(sql).is_ok(), "{sql}: {:?}", one(sql).err());
        }
        let Ok(Utility::Grant(grant)) = one("grant select (a), update on t to b with grant option") else {
            panic!("no grant")
        };
        assert!(grant.is_grant && grant.option && grant.all_columns.is_empty());
        assert_eq!(grant.grantees, [RoleSpec::Named("b".into())]);
        let of = |name: &str, columns: &[&str]| NamedPrivilege {
            name: name.into(),
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        };
        assert_eq!(grant.privileges, Some(vec![of("select", &["a"]), of("update", &[])]));
    }

    #[test]
    fn what_is_no_grant_is_a_syntax_error_and_what_is_absent_says_so() {
        for (sql, code) in [
            ("grant select on t", "42601"),
            ("grant all to a", "42601"),
            ("grant select on t from a", "42601"),
            ("revoke select on t to a", "42601"),
            ("grant select on t to a cascade", "42601"),
            ("revoke admin option for select on t from a", "42601"),
            ("grant select on t to none", "42939"),
            ("grant usage on language plpgsql to a", "0A000"),
            ("grant set on parameter work_mem to a", "0A000"),
        ] {
            let error = one(sql).err().map(|error| error.code().to_string());
            assert_eq!(error.as_deref(), Some(code), "{sql}");
        }
    }
}
