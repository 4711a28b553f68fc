//! Names of tables, functions and columns in statements, and what they stand for along the search path.

use super::analyzer::Analyzer;
use crate::parse::fold;
use sql_catalogue::Relation;
use sql_catalogue::names::{Found, SearchPath};
use sql_catalogue::schema::Schema;
use sql_catalogue::system::absent::is_absent_relation;
use sql_interface::{Result, SqlError};
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::Arc;

/// A table's name without its schema, and where it stands in the text.
pub type PlacedName = (String, Option<u32>);

fn idents(name: &ast::ObjectName) -> Vec<&ast::Ident> {
    name.0.iter().filter_map(ast::ObjectNamePart::as_ident).collect()
}

/// A name as errors show it.
fn full(schema: Option<&str>, name: &str) -> String {
    schema.map_or_else(|| name.to_owned(), |schema| format!("{schema}.{name}"))
}

/// 42501 for a change of what PostgreSQL itself brings.
pub fn is_system_catalogue(name: &str) -> SqlError {
    let message = format!("permission denied: \"{name}\" is a system catalog");
    SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
}

/// A call without parentheses: a word that may name no table.
pub(super) fn is_session_word(name: &ast::ObjectName) -> bool {
    const WORDS: [&str; 11] = [
        "current_catalog",
        "current_date",
        "current_role",
        "current_schema",
        "current_time",
        "current_timestamp",
        "current_user",
        "localtime",
        "localtimestamp",
        "session_user",
        "user",
    ];
    match name.0.as_slice() {
        [ast::ObjectNamePart::Identifier(word)] => {
            word.quote_style.is_none() && WORDS.iter().any(|known| word.value.eq_ignore_ascii_case(known))
        }
        _ => false,
    }
}

impl<'a> Analyzer<'a> {
    /// The path along which names of the present text are looked up.
    pub(super) fn path(&self) -> &SearchPath {
        self.own_path.unwrap_or_else(|| self.facts.search_path())
    }

    /// Schema, name and position of a table's name.
    ///
    /// # Errors
    ///
    /// 0A000 for a name in another database, 42601 for one of too many parts.
    pub fn table_name(&self, name: &ast::ObjectName) -> Result<(Option<String>, String, Option<u32>)> {
        match idents(name).as_slice() {
            [table] => Ok((None, fold(table), self.at(table))),
            [schema, table] => Ok((Some(fold(schema)), fold(table), self.at(schema))),
            [database, schema, table] if fold(database) == self.facts.database() => {
                Ok((Some(fold(schema)), fold(table), self.at(database)))
            }
            [first, _, _] => {
                let message = format!("cross-database references are not implemented: \"{name}\"");
                Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message).at(self.at(first)))
            }
            parts => {
                let message = format!("improper qualified name (too many dotted names): {name}");
                Err(SqlError::syntax(message).at(parts.first().and_then(|first| self.at(first))))
            }
        }
    }

    /// A name of at most so many parts without that of the session's own database, if all of them are there.
    ///
    /// # Errors
    ///
    /// 0A000 for a name in another database, 42601 for one of too many parts.
    pub(super) fn in_this_database<'n>(
        &self,
        name: &'n [ast::Ident],
        parts_max: usize,
    ) -> Result<&'n [ast::Ident]> {
        let text = || name.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join(".");
        match name.split_first() {
            _ if name.len() > parts_max => {
                let message = format!("improper qualified name (too many dotted names): {}", text());
                Err(SqlError::syntax(message))
            }
            Some((database, rest)) if name.len() == parts_max => {
                if fold(database) == self.facts.database() {
                    return Ok(rest);
                }
                let message = format!("cross-database references are not implemented: {}", text());
                Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message))
            }
            _ => Ok(name),
        }
    }

    /// What a name of a table's kind stands for.
    ///
    /// # Errors
    ///
    /// 42501 for a name in a schema that the role may not look into.
    pub fn find(&self, schema: Option<&str>, name: &str) -> Result<Option<Found<'a>>> {
        self.catalogue.find(self.environment, self.path(), schema, name)
    }

    /// A user's table that a query or a change of rows names.
    ///
    /// # Errors
    ///
    /// 42P01, 42809 for a sequence or an index, or 0A000 for a view.
    pub fn find_table(&self, name: &ast::ObjectName) -> Result<Arc<Relation>> {
        let (schema, table, position) = self.table_name(name)?;
        let wrong = |message: String| SqlError::new(SqlState::WRONG_OBJECT_TYPE, message).at(position);
        match self.find(schema.as_deref(), &table)? {
            Some(Found::Table(relation)) => Ok(relation.clone()),
            Some(Found::View(_)) => Err(SqlError::unsupported("a change or lock of a view")),
            Some(Found::Sequence(_)) => Err(wrong(format!("cannot change sequence \"{table}\""))),
            Some(Found::Index(..)) => Err(wrong(format!("\"{table}\" is an index"))),
            Some(Found::MadeUp(_)) => Err(SqlError::unsupported("a change or lock of a system table")),
            None if is_absent_relation(schema.as_deref(), &table) => {
                let full = full(schema.as_deref(), &table);
                Err(SqlError::unsupported(format!("the system view {full}")).at(position))
            }
            None => {
                let message = format!("relation \"{}\" does not exist", full(schema.as_deref(), &table));
                Err(SqlError::new(SqlState::UNDEFINED_TABLE, message).at(position))
            }
        }
    }

    /// A user's table that a statement about the table itself names: unlike a query, it tells a schema that
    /// is not there from a table that is not.
    ///
    /// # Errors
    ///
    /// 3F000, 42P01, 42809 or 0A000.
    pub fn find_defined_table(&self, name: &ast::ObjectName) -> Result<Arc<Relation>> {
        let (schema, table, _) = self.table_name(name)?;
        if let Some(schema) = &schema {
            self.catalogue.required_schema(self.path(), schema)?;
        }
        let found = match self.find(schema.as_deref(), &table)? {
            Some(Found::Sequence(_) | Found::Index(..)) => {
                let message = format!("\"{table}\" is not a table");
                Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message))
            }
            Some(Found::MadeUp(_)) => Err(is_system_catalogue(&table)),
            _ => self.find_table(name),
        };
        found.map_err(|mut error| {
            error.fields_mut().position = None;
            error
        })
    }

    /// The name for something new of a table's kind, which is made in public or not at all.
    ///
    /// # Errors
    ///
    /// 3F000 where the schema is not there or the path names none, 42501 for pg_catalog, and 0A000 for the
    /// information schema.
    pub fn name_for_new(&self, name: &ast::ObjectName) -> Result<PlacedName> {
        let (schema, table, position) = self.table_name(name)?;
        if schema.as_deref() == Some("pg_temp") {
            return Err(SqlError::unsupported("the schema pg_temp"));
        }
        let schema = match schema {
            Some(schema) => Schema::required(&schema).map_err(|error| error.at(position))?,
            None => self.path().current().ok_or_else(|| {
                let message = "no schema has been selected to create in";
                SqlError::new(SqlState::INVALID_SCHEMA_NAME, message).at(position)
            })?,
        };
        match schema {
            Schema::PUBLIC => Ok((table, position)),
            Schema::PG_CATALOG => {
                let message = format!("permission denied to create \"pg_catalog.{table}\"");
                Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
                    .with_detail("System catalog modifications are currently disallowed."))
            }
            other => Err(SqlError::unsupported(format!("creation in schema {}", other.name()))),
        }
    }

    /// A name that no schema may stand before, as of an index to be made.
    ///
    /// # Errors
    ///
    /// 42601 for a name with a schema.
    pub fn bare_name(&self, name: &ast::ObjectName) -> Result<String> {
        match idents(name).as_slice() {
            [one] => Ok(fold(one)),
            parts => Err(SqlError::syntax("syntax error at or near \".\"")
                .at(parts.first().and_then(|first| self.source.position(first.span.end)))),
        }
    }

    /// A function's name without pg_catalog, in which all functions are; None if it is said to lie elsewhere.
    ///
    /// # Errors
    ///
    /// 3F000 for a schema that is not there, 42501 for one that the role may not look into.
    pub fn function_name(&self, name: &ast::ObjectName) -> Result<Option<String>> {
        if let [schema, _] = idents(name).as_slice() {
            self.catalogue.required_schema(self.path(), &fold(schema))?;
        }
        Self::name_in_catalogue(name)
    }

    /// The name of what lies in pg_catalog without that schema; None if it is said to lie elsewhere.
    ///
    /// # Errors
    ///
    /// 3F000 for a schema that is not there.
    pub fn name_in_catalogue(name: &ast::ObjectName) -> Result<Option<String>> {
        match idents(name).as_slice() {
            [function] => Ok(Some(fold(function))),
            [schema, function] => {
                let schema = Schema::required(&fold(schema))?;
                Ok((schema == Schema::PG_CATALOG).then(|| fold(function)))
            }
            _ => Ok(None),
        }
    }
}
