//! Names of what has an OID, and back: the text forms of regclass, regproc and their kin.

use sql_catalogue::Catalogue;
use sql_catalogue::names::{SearchPath, split_qualified};
use sql_catalogue::schema::{Schema, no_schema};
use sql_catalogue::system::known::{self, KnownFunction};
use sql_interface::{Environment, Result, SqlError};
use sql_language::expr;
use sql_types::TypeId;
use sqlstate::SqlState;

/// Where names are looked for.
pub(crate) struct Regs<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) environment: &'a dyn Environment,
    /// The schemas in which relations without one are looked for.
    pub(crate) path: &'a SearchPath,
    /// That of the session.
    pub(crate) database: &'a str,
}

fn error(code: SqlState, message: impl Into<String>) -> SqlError {
    SqlError::new(code, message.into())
}

impl Regs<'_> {
    fn functions(&self) -> impl Iterator<Item = &'static KnownFunction> {
        let environment = self.environment;
        known::FUNCTIONS.iter().filter(move |function| expr::has_function(function, environment))
    }

    /// The name of what has this OID, as a value of the type prints; None if there is nothing.
    pub(crate) fn name(&self, ty: TypeId, oid: u32) -> Option<String> {
        match ty {
            TypeId::Regclass => self.catalogue.shown_name(self.environment, self.path, oid),
            TypeId::Regrole => self.catalogue.roles.get(&oid).map(|role| identifier::quote(&role.name)),
            TypeId::Regnamespace => {
                let found = Schema::ALL.into_iter().find(|known| known.oid() == oid);
                found.map(|known| identifier::quote(known.name()))
            }
            TypeId::Regcollation => {
                let found = known::collations().into_iter().find(|(known, _)| *known == oid);
                found.map(|(_, name)| identifier::quote(name))
            }
            TypeId::Regproc => {
                let function = self.functions().find(|function| function.oid == oid)?;
                // A name that several have is qualified, though that does not tell them apart.
                let alone = self.functions().filter(|other| other.name == function.name).count() == 1;
                let name = identifier::quote(function.name);
                Some(if alone { name } else { format!("pg_catalog.{name}") })
            }
            TypeId::Regprocedure => {
                self.functions().find(|function| function.oid == oid).map(KnownFunction::signature)
            }
            TypeId::Regoper | TypeId::Regoperator => {
                let operator = known::OPERATORS.iter().find(|operator| operator.oid == oid)?;
                if ty == TypeId::Regoperator {
                    let side = |oid: u32| if oid == 0 { "NONE" } else { known::type_name(oid) };
                    return Some(format!(
                        "{}({},{})",
                        operator.name,
                        side(operator.sides.0),
                        side(operator.sides.1)
                    ));
                }
                let alone = known::OPERATORS.iter().filter(|other| other.name == operator.name).count() == 1;
                Some(if alone { operator.name.to_owned() } else { format!("pg_catalog.{}", operator.name) })
            }
            _ => None,
        }
    }

    /// The OID of what has this name; None if there is nothing.
    ///
    /// # Errors
    ///
    /// 42602 for a text that is no name, 42725 for one that several have.
    pub(crate) fn oid(&self, ty: TypeId, text: &str) -> Result<Option<u32>> {
        match ty {
            TypeId::Regoper => self.operator(text),
            TypeId::Regoperator => self.operator_of(text),
            TypeId::Regprocedure => self.function_of(text),
            _ => {
                let parts = split_qualified(text)?;
                let (schema, name) = match parts.as_slice() {
                    [name] => (None, name.as_str()),
                    [schema, name] => (Some(schema.as_str()), name.as_str()),
                    [database, schema, name] if ty == TypeId::Regclass && *database == self.database => {
                        (Some(schema.as_str()), name.as_str())
                    }
                    [_, _, _] if ty == TypeId::Regclass => {
                        let name = parts.join(".");
                        let message = format!("cross-database references are not implemented: \"{name}\"");
                        return Err(error(SqlState::FEATURE_NOT_SUPPORTED, message));
                    }
                    _ => return Ok(None),
                };
                self.plain(ty, schema, name)
            }
        }
    }

    fn plain(&self, ty: TypeId, schema: Option<&str>, name: &str) -> Result<Option<u32>> {
        let is_catalogue = schema.is_none_or(|schema| schema == "pg_catalog");
        if let (Some(schema), TypeId::Regcollation | TypeId::Regproc) = (schema, ty) {
            self.catalogue.schema(self.path, schema)?;
        }
        match ty {
            TypeId::Regclass => {
                let found = self.catalogue.find(self.environment, self.path, schema, name)?;
                Ok(found.map(|found| found.oid()))
            }
            TypeId::Regrole | TypeId::Regnamespace if schema.is_some() => {
                Err(error(SqlState::INVALID_NAME, "invalid name syntax"))
            }
            TypeId::Regrole => Ok(self.catalogue.role(name).map(|role| role.oid)),
            TypeId::Regnamespace => Ok(Schema::named(name).map(Schema::oid)),
            TypeId::Regcollation if is_catalogue => {
                Ok(known::collations().into_iter().find(|(_, known)| *known == name).map(|(oid, _)| oid))
            }
            TypeId::Regproc if is_catalogue => {
                let first = self.functions().find(|function| function.name == name);
                // Those of the name that are absent here stand for others, too.
                let known = known::FUNCTIONS.iter().filter(|function| function.name == name);
                if first.is_some() && known.count() > 1 {
                    let message = format!("more than one function named \"{name}\"");
                    return Err(error(SqlState::AMBIGUOUS_FUNCTION, message));
                }
                Ok(first.map(|function| function.oid))
            }
            _ => Ok(None),
        }
    }

    /// `name(type, ...)`
    fn function_of(&self, text: &str) -> Result<Option<u32>> {
        let (name, arguments) = signature(text)?;
        let parts = split_qualified(name)?;
        let mut wanted = Vec::with_capacity(arguments.len());
        for argument in arguments {
            expr::require_schema_of_type_text(argument, self.catalogue, self.path)?;
            wanted.push(type_oid(argument).ok_or_else(|| {
                let message = format!("type \"{}\" does not exist", argument.trim());
                error(SqlState::UNDEFINED_OBJECT, message)
            })?);
        }
        let name = match parts.as_slice() {
            [name] => name,
            [schema, name] if self.catalogue.schema(self.path, schema)? == Some(Schema::PG_CATALOG) => name,
            _ => return Ok(None),
        };
        let found = self.functions().find(|known| known.name == *name && known.arguments == wanted);
        Ok(found.map(|function| function.oid))
    }

    /// An operator's name without its schema; None if it is said to lie where there is none.
    fn operator_name<'t>(&self, text: &'t str) -> Result<Option<&'t str>> {
        let Some((schema, name)) = text.trim().rsplit_once('.') else { return Ok(Some(text.trim())) };
        let found = self.catalogue.schema(self.path, schema.trim())?;
        Ok((found == Some(Schema::PG_CATALOG)).then_some(name.trim()))
    }

    fn operator(&self, text: &str) -> Result<Option<u32>> {
        let Some(name) = self.operator_name(text)? else { return Ok(None) };
        let mut found = known::OPERATORS.iter().filter(|operator| operator.name == name);
        let first = found.next();
        if found.next().is_some() {
            let message = format!("more than one operator named {name}");
            return Err(error(SqlState::AMBIGUOUS_FUNCTION, message));
        }
        Ok(first.map(|operator| operator.oid))
    }

    /// `operator(left, right)`
    fn operator_of(&self, text: &str) -> Result<Option<u32>> {
        let (name, arguments) = signature(text)?;
        let side =
            |text: &str| if text.trim().eq_ignore_ascii_case("none") { Some(0) } else { type_oid(text) };
        let [left, right] = arguments.as_slice() else {
            return Err(error(SqlState::UNDEFINED_PARAMETER, "missing argument")
                .with_hint("Use NONE to denote the missing argument of a unary operator."));
        };
        for side in [left, right] {
            expr::require_schema_of_type_text(side, self.catalogue, self.path)?;
        }
        let Some(name) = self.operator_name(name)? else { return Ok(None) };
        let (Some(left), Some(right)) = (side(left), side(right)) else { return Ok(None) };
        let found = known::OPERATORS.iter().find(|known| known.name == name && known.sides == (left, right));
        Ok(found.map(|operator| operator.oid))
    }
}

/// The OID of a type by its name in SQL.
fn type_oid(text: &str) -> Option<u32> {
    let text = text.trim();
    let stands_for_others = [("\"any\"", 2276), ("anyelement", 2283), ("cstring", 2275), ("internal", 2281)];
    let found = stands_for_others.into_iter().find(|(name, _)| *name == text).map(|(_, oid)| oid);
    found.or_else(|| TypeId::from_sql(text).map(TypeId::oid))
}

/// A name before parentheses, and the parts inside.
fn signature(text: &str) -> Result<(&str, Vec<&str>)> {
    let invalid = |what: &str| error(SqlState::INVALID_TEXT_REPRESENTATION, what);
    let (name, rest) = text.split_once('(').ok_or_else(|| invalid("expected a left parenthesis"))?;
    let inside = rest.trim_end().strip_suffix(')').ok_or_else(|| invalid("expected a right parenthesis"))?;
    let arguments = if inside.trim().is_empty() { Vec::new() } else { inside.split(',').collect() };
    Ok((name, arguments))
}

/// What a cast says of a name that nothing has.
pub(crate) fn missing(ty: TypeId, text: &str) -> SqlError {
    if ty == TypeId::Regclass
        && let Ok(parts) = split_qualified(text)
        && let [.., schema, _] = parts.as_slice()
        && Schema::named(schema).is_none()
    {
        return no_schema(schema);
    }
    let (code, message) = match ty {
        TypeId::Regrole => (SqlState::UNDEFINED_OBJECT, format!("role \"{text}\" does not exist")),
        TypeId::Regnamespace => (SqlState::INVALID_SCHEMA_NAME, format!("schema \"{text}\" does not exist")),
        TypeId::Regcollation => {
            (SqlState::UNDEFINED_OBJECT, format!("collation \"{text}\" for encoding \"UTF8\" does not exist"))
        }
        TypeId::Regproc | TypeId::Regprocedure => {
            (SqlState::UNDEFINED_FUNCTION, format!("function \"{text}\" does not exist"))
        }
        TypeId::Regoper | TypeId::Regoperator => {
            (SqlState::UNDEFINED_FUNCTION, format!("operator does not exist: {text}"))
        }
        _ => (SqlState::UNDEFINED_TABLE, format!("relation \"{text}\" does not exist")),
    };
    error(code, message)
}
