//! What GRANT and REVOKE are about: the objects that they name.

use super::SqlSession;
use super::grant::schema_oid;
use sql_catalogue::rights::{Object, ObjectKind, Privileges};
use sql_catalogue::system::absent::is_known_name;
use sql_catalogue::system::virtual_tables;
use sql_catalogue::{Catalogue, PUBLIC_OID};
use sql_interface::{Result, SqlError};
use sql_language::expr;
use sql_language::parse::{FunctionName, GrantTarget, Parsed};
use sql_language::plan::{functions_of_views, signature};
use sqlparser::ast;
use sqlstate::SqlState;

impl SqlSession {
    /// The objects that a grant names.
    pub(super) fn objects(
        &self,
        parsed: &Parsed,
        catalogue: &Catalogue,
        target: &GrantTarget,
    ) -> Result<Vec<Object>> {
        let all_of = |schemas: &[String], kinds: &[ObjectKind]| -> Result<Vec<Object>> {
            let (mut oids, mut made_up) = (Vec::new(), Vec::new());
            for (schema, oid) in schemas.iter().zip(self.schemas_to_look_into(schemas)?) {
                if oid == PUBLIC_OID {
                    oids.extend(catalogue.relations.keys());
                    oids.extend(catalogue.views.keys());
                    oids.extend(catalogue.sequences.keys());
                } else {
                    let here = virtual_tables(&*self.environment).filter(|(of, ..)| of == schema);
                    made_up.extend(here.map(|(_, name, oid, _)| (oid, name)));
                }
            }
            oids.sort_unstable();
            oids.dedup();
            made_up.sort_unstable();
            made_up.dedup();
            let made_up = made_up.into_iter().map(|(oid, name)| Object::MadeUp(oid, name));
            let objects = oids.into_iter().map(Object::Relation).chain(made_up);
            Ok(objects.filter(|object| kinds.contains(&catalogue.kind_and_owner(object).0)).collect())
        };
        match target {
            GrantTarget::Tables(names) => {
                names.iter().map(|name| self.relation_object(parsed, catalogue, name, false)).collect()
            }
            GrantTarget::Sequences(names) => {
                names.iter().map(|name| self.relation_object(parsed, catalogue, name, true)).collect()
            }
            GrantTarget::AllTables(schemas) => all_of(schemas, &[ObjectKind::Table, ObjectKind::View]),
            GrantTarget::AllSequences(schemas) => all_of(schemas, &[ObjectKind::Sequence]),
            GrantTarget::AllFunctions(schemas) => {
                if self.schemas_to_look_into(schemas)?.contains(&sql_catalogue::PG_CATALOG_OID) {
                    // Of most of them nobody can be kept away.
                    return Err(SqlError::unsupported("rights on all functions in schema pg_catalog"));
                }
                Ok(Vec::new())
            }
            GrantTarget::Schemas(names) => {
                names.iter().map(|name| schema_oid(name).map(Object::Schema)).collect()
            }
            GrantTarget::Databases(names) => names
                .iter()
                .map(|name| {
                    let found = catalogue.databases.iter().find(|entry| entry.name == *name);
                    found.map(|entry| Object::Database(entry.oid)).ok_or_else(|| {
                        let message = format!("database \"{name}\" does not exist");
                        SqlError::new(SqlState::INVALID_CATALOG_NAME, message)
                    })
                })
                .collect(),
            // No procedure is there.
            GrantTarget::AllProcedures(schemas) => self.schemas_to_look_into(schemas).map(|_| Vec::new()),
            GrantTarget::Procedures(names) => {
                names.iter().map(|name| Err(self.no_procedure(parsed, catalogue, name))).collect()
            }
            GrantTarget::Functions(functions) => {
                functions.iter().map(|function| self.function_object(parsed, catalogue, function)).collect()
            }
            GrantTarget::Defaults { .. } => Ok(Vec::new()),
        }
    }

    /// The OIDs of schemas whose objects are looked for: that asks for USAGE.
    fn schemas_to_look_into(&self, names: &[String]) -> Result<Vec<u32>> {
        let oid = |name: &String| {
            let oid = schema_oid(name)?;
            self.require_privileges(self.role.oid, &Object::Schema(oid), Privileges::USAGE)?;
            Ok(oid)
        };
        names.iter().map(oid).collect()
    }

    /// A table, view or sequence by its name. `sequence`: it must be one.
    fn relation_object(
        &self,
        parsed: &Parsed,
        catalogue: &Catalogue,
        name: &ast::ObjectName,
        sequence: bool,
    ) -> Result<Object> {
        let (schema, table, _) = self.analyzer(parsed, Vec::new(), catalogue).table_name(name)?;
        let found = catalogue.find(&*self.environment, &self.facts.path, schema.as_deref(), &table)?;
        let oid = found.map(|found| found.oid());
        if let (None, Some(schema)) = (oid, &schema) {
            schema_oid(schema)?;
        }
        let Some(oid) = oid else {
            let full = schema.map_or_else(|| table.clone(), |schema| format!("{schema}.{table}"));
            let message = format!("relation \"{full}\" does not exist");
            return Err(SqlError::new(SqlState::UNDEFINED_TABLE, message));
        };
        let wrong = |what: &str| {
            let message = format!("\"{table}\" is {what}");
            Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message))
        };
        match catalogue.owned_relation(oid) {
            Some((ObjectKind::Index, ..)) => wrong("an index"),
            Some((kind, ..)) if sequence && kind != ObjectKind::Sequence => wrong("not a sequence"),
            Some(_) => Ok(Object::Relation(oid)),
            None if sequence => wrong("not a sequence"),
            None => sql_catalogue::system::made_up(&*self.environment, oid)
                .ok_or_else(|| SqlError::internal("a table is gone")),
        }
    }

    /// A function of the node. Others may be executed by everybody, and that cannot be changed.
    fn function_object(
        &self,
        parsed: &Parsed,
        catalogue: &Catalogue,
        function: &FunctionName,
    ) -> Result<Object> {
        let analyzer = self.analyzer(parsed, Vec::new(), catalogue);
        let name = analyzer.function_name(&function.name)?.unwrap_or_default();
        let known: Vec<String> = self
            .environment
            .node_functions()
            .iter()
            .filter(|known| known.name == name)
            .map(signature)
            .chain(
                functions_of_views()
                    .filter(|known| known.strip_suffix("()") == Some(&name))
                    .map(str::to_owned),
            )
            .collect();
        let is_of_postgresql = expr::is_function(&name) || is_known_name(&name);
        let Some(arguments) = &function.arguments else {
            return match known.as_slice() {
                [one] => Ok(Object::Function(one.clone())),
                [] if is_of_postgresql => Err(SqlError::unsupported(format!("rights on function {name}"))),
                [] => {
                    let message = format!("could not find a function named \"{name}\"");
                    Err(SqlError::new(SqlState::UNDEFINED_FUNCTION, message))
                }
                _ => {
                    let message = format!("function name \"{name}\" is not unique");
                    Err(SqlError::new(SqlState::AMBIGUOUS_FUNCTION, message)
                        .with_hint("Specify the argument list to select the function unambiguously."))
                }
            };
        };
        let mut types = Vec::with_capacity(arguments.len());
        for argument in arguments {
            self.require_type(argument)?;
            types.push(expr::data_type(argument)?.id.sql_name());
        }
        let wanted = format!("{name}({})", types.join(", "));
        if known.contains(&wanted) {
            return Ok(Object::Function(wanted));
        }
        if known.is_empty() && is_of_postgresql {
            return Err(SqlError::unsupported(format!("rights on function {name}")));
        }
        Err(SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("function {wanted} does not exist")))
    }

    /// Why a name is none of a procedure.
    fn no_procedure(&self, parsed: &Parsed, catalogue: &Catalogue, name: &FunctionName) -> SqlError {
        match self.function_object(parsed, catalogue, name) {
            Err(error) if error.code() == SqlState::UNDEFINED_FUNCTION => {
                let message = error.message().replacen("function", "procedure", 1);
                SqlError::new(SqlState::UNDEFINED_FUNCTION, message)
            }
            Err(error) if error.code() != SqlState::FEATURE_NOT_SUPPORTED => error,
            found => {
                let shown = match found {
                    Ok(Object::Function(signature)) => signature,
                    _ => name.name.to_string(),
                };
                SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("{shown} is not a procedure"))
            }
        }
    }
}
