//! Functions that ask for rights on objects whose rights nobody can change here: types, languages and
//! settings, and those that there are none of. They have what PostgreSQL gives them to begin with.

use super::rights::{asked, catalogue, forms, wanted};
use super::{Table, mismatch, text};
use crate::expr::Facts;
use crate::expr::data_type::regtype;
use sql_catalogue::rights::{ObjectKind, Privileges};
use sql_interface::{Result, SqlError};
use sql_types::Datum;
use sql_types::TypeId::{self, Bool, Name, Oid, Text};
use sqlstate::SqlState;

/// The language of the program's own functions.
const INTERNAL_OID: u32 = 12;

/// Whether a role has one of these: everybody what PUBLIC begins with, and only superusers what nobody was
/// given.
fn has(role: u32, public: bool, wanted: (Privileges, Privileges), facts: &dyn Facts) -> Result<Datum> {
    let superuser = catalogue(facts)?.roles.get(&role).is_some_and(|role| role.superuser);
    Ok(Datum::Bool(superuser || (public && !wanted.0.is_empty())))
}

/// A function about an object by its name or OID: whether there is such an object, then what is asked.
fn of_object(
    arguments: &[Datum],
    facts: &dyn Facts,
    kind: char,
    what: &str,
    exists: impl Fn(&Datum) -> Result<bool>,
) -> Result<Datum> {
    let (role, rest) = asked(arguments, 2, facts)?;
    let object = rest.first().ok_or_else(mismatch)?;
    let found = exists(object)?;
    if let (Datum::Text(name), false) = (object, found) {
        let message = format!("{what} \"{name}\" does not exist");
        return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
    }
    let wanted = wanted(rest.get(1), ObjectKind::Absent(kind).all())?;
    if found { has(role, true, wanted, facts) } else { Ok(Datum::Null) }
}

fn language(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    of_object(arguments, facts, 'l', "language", |object| match object {
        Datum::Oid(oid) => Ok(*oid == INTERNAL_OID),
        Datum::Text(name) => Ok(*name == *"internal"),
        _ => Err(mismatch()),
    })
}

fn type_privilege(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    of_object(arguments, facts, 'T', "type", |object| match object {
        Datum::Oid(oid) => Ok(TypeId::from_oid(*oid).is_some()),
        Datum::Text(name) => regtype(name, facts.search_path(), facts).map(|_| true),
        _ => Err(mismatch()),
    })
}

fn server(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    of_object(arguments, facts, 'S', "server", |_| Ok(false))
}

fn wrapper(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    of_object(arguments, facts, 'F', "foreign-data wrapper", |_| Ok(false))
}

/// Of a setting by its name, which need not be one.
fn parameter(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let (role, rest) = asked(arguments, 2, facts)?;
    text(rest, 0)?;
    let wanted = wanted(rest.get(1), ObjectKind::Absent('p').all())?;
    has(role, false, wanted, facts)
}

/// There are no policies, so none is in force.
fn row_security(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    if let Some(Datum::Text(name)) = arguments.first() {
        facts.relation_oid(facts.search_path(), name)?.ok_or_else(|| {
            SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
        })?;
    }
    Ok(Datum::Bool(false))
}

pub(super) fn register(table: &mut Table) {
    forms(table, "has_language_privilege", &[&[Text]], language);
    forms(table, "has_type_privilege", &[&[Text]], type_privilege);
    forms(table, "has_server_privilege", &[&[Text]], server);
    forms(table, "has_foreign_data_wrapper_privilege", &[&[Text]], wrapper);
    for parameters in [&[Text, Text][..], &[Name, Text, Text], &[Oid, Text, Text]] {
        table.add("has_parameter_privilege", parameters, Bool, parameter).stable();
    }
    for id in [Text, Oid] {
        table.add("row_security_active", &[id], Bool, row_security).stable();
    }
}
