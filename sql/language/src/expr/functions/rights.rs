//! Functions that ask who may do what: has_table_privilege and its kin, pg_has_role, and those of aclitem.
//!
//! Each comes in PostgreSQL's forms: of the current role or of one by its name or OID, and of an object by
//! its name or OID. Of an object that is not there a name is an error, and an OID gives NULL.

use super::{Table, mismatch, text};
use crate::expr::Facts;
use sql_catalogue::Catalogue;
use sql_catalogue::names::system_columns;
use sql_catalogue::rights::{Acl, AclItem, Object, ObjectKind, Privileges, item_text};
use sql_interface::{Result, SqlError};
use sql_types::Datum;
use sql_types::TypeId::{self, Aclitem, AclitemArray, Bool, Char, Int2, Name, Oid, Text};
use sqlstate::SqlState;

pub(super) fn catalogue(facts: &dyn Facts) -> Result<&Catalogue> {
    facts.catalogue().ok_or_else(|| SqlError::internal("rights are asked for outside of a session"))
}

/// The role of an argument; `public` is everybody.
fn role(argument: &Datum, facts: &dyn Facts) -> Result<u32> {
    match argument {
        Datum::Oid(oid) => Ok(*oid),
        Datum::Text(name) => catalogue(facts)?.grantee(name).ok_or_else(|| {
            SqlError::new(SqlState::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist"))
        }),
        _ => Err(mismatch()),
    }
}

/// A role, and the arguments behind it: the first of them if there is one more than `rest`, else the current
/// role.
pub(super) fn asked<'a>(
    arguments: &'a [Datum],
    rest: usize,
    facts: &dyn Facts,
) -> Result<(u32, &'a [Datum])> {
    match arguments.split_first() {
        Some((first, others)) if others.len() == rest => Ok((role(first, facts)?, others)),
        _ => Ok((facts.role(), arguments)),
    }
}

/// What a list of privileges asks: each of them, or (WITH GRANT OPTION) whether it may be granted on.
pub(super) fn wanted(argument: Option<&Datum>, of: Privileges) -> Result<(Privileges, Privileges)> {
    const OPTION: &str = " with grant option";
    let list = argument.and_then(Datum::as_str).ok_or_else(mismatch)?;
    let (mut plain, mut options) = (Privileges::NONE, Privileges::NONE);
    for word in list.split(',') {
        let word = word.trim();
        let lower = word.to_ascii_lowercase();
        let name = lower.strip_suffix(OPTION).unwrap_or(&lower);
        if name == "rule" && of == ObjectKind::Table.all() {
            // There was such a privilege once; it is none any more.
            continue;
        }
        let one = Privileges::from_word(name).filter(|one| of.has(*one)).ok_or_else(|| {
            SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("unrecognized privilege type: \"{word}\""),
            )
        })?;
        if name.len() == lower.len() { plain |= one } else { options |= one }
    }
    Ok((plain, options))
}

/// Whether a role has one of these with an object.
fn has(catalogue: &Catalogue, role: u32, object: &Object, asked: (Privileges, Privileges)) -> bool {
    !catalogue.privileges(role, object, asked.0).is_empty()
        || !asked.1.is_empty() && !catalogue.grant_options(role, object, asked.1).is_empty()
}

/// The relation of an argument; None for an OID that no relation has.
fn relation(argument: Option<&Datum>, facts: &dyn Facts) -> Result<Option<Object>> {
    let oid = match argument {
        Some(Datum::Oid(oid)) => *oid,
        Some(Datum::Text(name)) => facts.relation_oid(facts.search_path(), name)?.ok_or_else(|| {
            SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
        })?,
        _ => return Err(mismatch()),
    };
    if catalogue(facts)?.owned_relation(oid).is_some() {
        return Ok(Some(Object::Relation(oid)));
    }
    Ok(facts.made_up(oid))
}

fn table_privilege(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let (role, rest) = asked(arguments, 2, facts)?;
    let object = relation(rest.first(), facts)?;
    let wanted = wanted(rest.get(1), ObjectKind::Table.all())?;
    let Some(object) = object else { return Ok(Datum::Null) };
    Ok(Datum::Bool(has(catalogue(facts)?, role, &object, wanted)))
}

fn sequence_privilege(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let (role, rest) = asked(arguments, 2, facts)?;
    let object = relation(rest.first(), facts)?;
    let wanted = wanted(rest.get(1), ObjectKind::Sequence.all())?;
    let Some(object) = object else { return Ok(Datum::Null) };
    let catalogue = catalogue(facts)?;
    if catalogue.kind_and_owner(&object).0 != ObjectKind::Sequence {
        let name = match &rest.first() {
            Some(Datum::Text(name)) => name.to_string(),
            Some(Datum::Oid(oid)) => facts.relation_name(*oid).unwrap_or_else(|| oid.to_string()),
            _ => String::new(),
        };
        let message = format!("\"{name}\" is not a sequence");
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
    }
    Ok(Datum::Bool(has(catalogue, role, &object, wanted)))
}

/// The columns of a relation, by number, with those that every table has.
fn columns<'a>(catalogue: &'a Catalogue, object: &Object, facts: &'a dyn Facts) -> Vec<(i16, &'a str)> {
    match object {
        Object::Relation(oid) => catalogue.numbered_columns(*oid),
        Object::MadeUp(oid, name) => {
            let of_system = system_columns().filter(|_| sql_catalogue::system::is_table(name));
            of_system.chain((1..).zip(facts.made_up_columns(*oid))).collect()
        }
        _ => Vec::new(),
    }
}

fn column_privilege(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let (role, rest) = asked(arguments, 3, facts)?;
    let object = relation(rest.first(), facts)?;
    let wanted = wanted(rest.get(2), ObjectKind::Column.all())?;
    let Some(object) = object else { return Ok(Datum::Null) };
    let catalogue = catalogue(facts)?;
    let (Object::Relation(oid) | Object::MadeUp(oid, _)) = object else { return Err(mismatch()) };
    let known = columns(catalogue, &object, facts);
    let number = match rest.get(1) {
        Some(Datum::Int2(number)) => known.iter().find(|(known, _)| known == number),
        Some(Datum::Text(name)) => match known.iter().find(|(_, known)| known == name) {
            None => {
                let table = facts.relation_name(oid).unwrap_or_default();
                let message = format!("column \"{name}\" of relation \"{table}\" does not exist");
                return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message));
            }
            found => found,
        },
        _ => return Err(mismatch()),
    };
    let Some((number, _)) = number else { return Ok(Datum::Null) };
    let by_column = has(catalogue, role, &Object::Column(oid, *number), wanted);
    Ok(Datum::Bool(by_column || has(catalogue, role, &object, wanted)))
}

fn any_column_privilege(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let (role, rest) = asked(arguments, 2, facts)?;
    let object = relation(rest.first(), facts)?;
    let wanted = wanted(rest.get(1), ObjectKind::Column.all())?;
    let Some(object) = object else { return Ok(Datum::Null) };
    let catalogue = catalogue(facts)?;
    let any = match object {
        Object::Relation(oid) | Object::MadeUp(oid, _) => columns(catalogue, &object, facts)
            .iter()
            .any(|(number, _)| has(catalogue, role, &Object::Column(oid, *number), wanted)),
        _ => false,
    };
    Ok(Datum::Bool(any || has(catalogue, role, &object, wanted)))
}

fn schema_privilege(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let (role, rest) = asked(arguments, 2, facts)?;
    let schemas = sql_catalogue::system::schemas();
    let oid = match rest.first() {
        Some(Datum::Oid(oid)) => *oid,
        Some(Datum::Text(name)) => match schemas.iter().find(|(_, known)| known == name) {
            Some((oid, _)) => *oid,
            None => {
                let message = format!("schema \"{name}\" does not exist");
                return Err(SqlError::new(SqlState::INVALID_SCHEMA_NAME, message));
            }
        },
        _ => return Err(mismatch()),
    };
    let wanted = wanted(rest.get(1), ObjectKind::Schema.all())?;
    if !schemas.iter().any(|(known, _)| *known == oid) {
        return Ok(Datum::Null);
    }
    Ok(Datum::Bool(has(catalogue(facts)?, role, &Object::Schema(oid), wanted)))
}

fn database_privilege(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let (role, rest) = asked(arguments, 2, facts)?;
    let catalogue = catalogue(facts)?;
    let oid = match rest.first() {
        Some(Datum::Oid(oid)) => catalogue.databases.iter().find(|entry| entry.oid == *oid),
        Some(Datum::Text(name)) => match catalogue.databases.iter().find(|entry| *entry.name == **name) {
            None => {
                let message = format!("database \"{name}\" does not exist");
                return Err(SqlError::new(SqlState::INVALID_CATALOG_NAME, message));
            }
            found => found,
        },
        _ => return Err(mismatch()),
    };
    let wanted = wanted(rest.get(1), ObjectKind::Database.all())?;
    let Some(entry) = oid else { return Ok(Datum::Null) };
    Ok(Datum::Bool(has(catalogue, role, &Object::Database(entry.oid), wanted)))
}

fn function_privilege(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let (role, rest) = asked(arguments, 2, facts)?;
    let signature = match rest.first() {
        Some(Datum::Oid(oid)) => match facts.reg_name(TypeId::Regprocedure, *oid) {
            Some(name) => facts.function_signature(&name)?,
            None => None,
        },
        Some(Datum::Text(name)) => Some(facts.function_signature(name)?.ok_or_else(|| {
            SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("function \"{name}\" does not exist"))
        })?),
        _ => return Err(mismatch()),
    };
    let wanted = wanted(rest.get(1), ObjectKind::Function.all())?;
    let Some(signature) = signature else { return Ok(Datum::Null) };
    Ok(Datum::Bool(has(catalogue(facts)?, role, &Object::Function(signature), wanted)))
}

fn tablespace_privilege(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let (role, rest) = asked(arguments, 2, facts)?;
    let known = match rest.first() {
        Some(Datum::Oid(oid)) => matches!(oid, 1663 | 1664),
        Some(Datum::Text(name)) if matches!(name.as_str(), "pg_default" | "pg_global") => true,
        Some(Datum::Text(name)) => {
            let message = format!("tablespace \"{name}\" does not exist");
            return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
        }
        _ => return Err(mismatch()),
    };
    wanted(rest.get(1), ObjectKind::Absent('t').all())?;
    if !known {
        return Ok(Datum::Null);
    }
    Ok(Datum::Bool(catalogue(facts)?.roles.get(&role).is_some_and(|role| role.superuser)))
}

fn has_role(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    if let (3, Some(Datum::Text(name))) = (arguments.len(), arguments.first())
        && &**name == "public"
    {
        // Everybody is a role in other questions alone.
        let message = format!("role \"{name}\" does not exist");
        return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
    }
    let (member, rest) = asked(arguments, 2, facts)?;
    let catalogue = catalogue(facts)?;
    let of = match rest.first() {
        Some(Datum::Text(name)) => match catalogue.role(name) {
            Some(role) => role.oid,
            None => {
                let message = format!("role \"{name}\" does not exist");
                return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
            }
        },
        Some(Datum::Oid(oid)) => *oid,
        _ => return Err(mismatch()),
    };
    let mut any = false;
    for word in text(rest, 1)?.split(',') {
        any |= match word.trim().to_ascii_lowercase().as_str() {
            "usage" => catalogue.has_rights_of(member, of),
            "member" => catalogue.is_member_of(member, of),
            "usage with grant option"
            | "usage with admin option"
            | "member with grant option"
            | "member with admin option" => catalogue.is_admin_of(member, of),
            _ => {
                let message = format!("unrecognized privilege type: \"{}\"", word.trim());
                return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        };
    }
    Ok(Datum::Bool(any))
}

fn role_name(catalogue: &Catalogue, oid: u32) -> String {
    catalogue.roles.get(&oid).map_or_else(|| oid.to_string(), |role| role.name.clone())
}

/// acldefault(type, owner)
fn default_acl(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let letter = arguments.first().and_then(Datum::as_str).and_then(|text| text.chars().next());
    let Some(kind) = letter.and_then(ObjectKind::from_letter) else {
        let shown = letter.map(String::from).unwrap_or_default();
        return Err(SqlError::internal(format!("unrecognized object type abbreviation: {shown}")));
    };
    let Some(Datum::Oid(owner)) = arguments.get(1) else { return Err(mismatch()) };
    let catalogue = catalogue(facts)?;
    Ok(sql_catalogue::system::acl_value(catalogue, &Acl::default_of(kind, *owner)))
}

/// makeaclitem(grantee, grantor, privileges, is_grantable)
fn make_item(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let (Some(Datum::Oid(grantee)), Some(Datum::Oid(grantor))) = (arguments.first(), arguments.get(1)) else {
        return Err(mismatch());
    };
    let all = Privileges::EACH.iter().fold(Privileges::NONE, |all, (one, ..)| all | *one);
    // One privilege, and no list of them.
    let word = text(arguments, 2)?;
    let privileges = Privileges::from_word(word.trim()).filter(|one| all.has(*one)).ok_or_else(|| {
        let message = format!("unrecognized privilege type: \"{word}\"");
        SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
    })?;
    let grantable = arguments.get(3).and_then(Datum::as_bool).unwrap_or(false);
    let options = if grantable { privileges } else { Privileges::NONE };
    let catalogue = catalogue(facts)?;
    let item = AclItem { grantee: *grantee, grantor: *grantor, privileges, options };
    Ok(Datum::from(item_text(&item, &|oid| role_name(catalogue, oid))))
}

/// An aclitem by its text.
///
/// # Errors
///
/// 22P02 for another text, 42704 for a role that is not there.
pub fn read_item(value: &Datum, facts: &dyn Facts) -> Result<AclItem> {
    let text = value.as_str().ok_or_else(mismatch)?;
    sql_catalogue::rights::parse_item(text, &|name| facts.role_oid(name), sql_catalogue::BOOTSTRAP_ROLE_OID)
}

/// An aclitem from what was written, as it is printed.
///
/// # Errors
///
/// 22P02 for another text, 42704 for a role that is not there.
pub(in crate::expr) fn shown_item(text: &str, facts: &dyn Facts) -> Result<Datum> {
    let item = read_item(&Datum::text(text), facts)?;
    let catalogue = catalogue(facts)?;
    Ok(Datum::from(item_text(&item, &|oid| role_name(catalogue, oid))))
}

/// aclcontains(aclitem[], aclitem): whether the list gives all that the item does.
fn contains_item(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let (Some(Datum::Array(list)), Some(item)) = (arguments.first(), arguments.get(1)) else {
        return Err(mismatch());
    };
    let item = read_item(item, facts)?;
    for known in list.values() {
        let known = read_item(known, facts)?;
        if known.grantee == item.grantee
            && known.grantor == item.grantor
            && known.privileges.has(item.privileges)
            && known.options.has(item.options)
        {
            return Ok(Datum::Bool(true));
        }
    }
    Ok(Datum::Bool(false))
}

/// The forms of a function that takes a role or none, then an object by its name or OID, then more.
pub(super) fn forms(table: &mut Table, name: &'static str, more: &[&[TypeId]], body: super::Body) {
    for user in [None, Some(Name), Some(Oid)] {
        for object in [Text, Oid] {
            for more in more {
                let mut parameters: Vec<TypeId> = user.into_iter().collect();
                parameters.push(object);
                parameters.extend_from_slice(more);
                table.add(name, &parameters, Bool, body).stable();
            }
        }
    }
}

pub(super) fn register(table: &mut Table) {
    forms(table, "has_table_privilege", &[&[Text]], table_privilege);
    forms(table, "has_sequence_privilege", &[&[Text]], sequence_privilege);
    forms(table, "has_column_privilege", &[&[Text, Text], &[Int2, Text]], column_privilege);
    forms(table, "has_any_column_privilege", &[&[Text]], any_column_privilege);
    forms(table, "has_schema_privilege", &[&[Text]], schema_privilege);
    forms(table, "has_database_privilege", &[&[Text]], database_privilege);
    forms(table, "has_function_privilege", &[&[Text]], function_privilege);
    forms(table, "has_tablespace_privilege", &[&[Text]], tablespace_privilege);
    for of in [Name, Oid] {
        table.add("pg_has_role", &[of, Text], Bool, has_role).stable();
        for member in [Name, Oid] {
            table.add("pg_has_role", &[member, of, Text], Bool, has_role).stable();
        }
    }
    table.add("acldefault", &[Char, Oid], AclitemArray, default_acl).stable();
    table.add("makeaclitem", &[Oid, Oid, Text, Bool], Aclitem, make_item).stable();
    table.add("aclcontains", &[AclitemArray, Aclitem], Bool, contains_item).stable();
}
