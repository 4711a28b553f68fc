//! What a name stands for: the order in which a session searches the schemas.
//!
//! This is the one place that knows in which schema something lies. Tables, views, sequences and indexes lie
//! in public and share one space of names there; made-up tables lie in pg_catalog and information_schema.

use crate::model::{AnyIndex, Catalogue, Relation, Sequence, View};
use crate::rights::{Object, Privileges};
use crate::schema::{Schema, no_schema};
use crate::system;
use sql_interface::{Environment, Result, SqlError, clipped};
use sqlstate::SqlState;
use std::sync::{Arc, OnceLock};

/// The columns that every table has, of which no other may have the name; in the order of their numbers.
pub const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "cmax", "xmax", "cmin", "xmin", "ctid"];

/// [`SYSTEM_COLUMNS`] with their numbers, which are below 0.
pub fn system_columns() -> impl Iterator<Item = (i16, &'static str)> {
    (-6..).zip(SYSTEM_COLUMNS)
}

/// The schemas that names without one are looked up in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchPath {
    /// As search_path names them, whether they are there or not.
    names: Vec<String>,
    /// Who looks: into schemas of which it has USAGE. None for texts of the catalogue, whose names were found
    /// when they were made.
    role: Option<u32>,
}

impl SearchPath {
    /// What search_path says, in a session of this user.
    pub fn new(names: &[String], user: &str) -> Self {
        let name = |name: &String| if name == "$user" { user.to_owned() } else { name.clone() };
        Self { names: names.iter().map(name).collect(), role: None }
    }

    /// The same for a role: it passes over schemas that the role may not look into. pg_catalog is searched
    /// all the same, before the others.
    pub fn of_role(mut self, role: u32, catalogue: &Catalogue) -> Self {
        self.names
            .retain(|name| Schema::named(name).is_none_or(|schema| catalogue.may_look_into(role, schema)));
        self.role = Some(role);
        self
    }

    /// Whether names without a schema are looked up in the same places.
    pub fn leads_where(&self, other: &Self) -> bool {
        self.names == other.names
    }

    /// The path by which texts of the catalogue are read (views, DEFAULT, CHECK): what their names meant when
    /// they were made is found along it, whatever the session's own path is.
    pub fn of_catalogue() -> &'static Self {
        static PATH: OnceLock<SearchPath> = OnceLock::new();
        PATH.get_or_init(|| Self { names: vec![Schema::PUBLIC.name().to_owned()], role: None })
    }

    /// Those that it names and that are there, in order.
    pub fn named(&self) -> impl Iterator<Item = Schema> {
        self.names.iter().filter_map(|name| Schema::named(name))
    }

    /// All that are searched, in order.
    pub fn searched(&self) -> impl Iterator<Item = Schema> {
        let implicit = self.named().all(|schema| schema != Schema::PG_CATALOG);
        implicit.then_some(Schema::PG_CATALOG).into_iter().chain(self.named())
    }

    /// Where names without a schema are made: current_schema.
    pub fn current(&self) -> Option<Schema> {
        self.named().next()
    }
}

/// What a made-up table's rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadeUpBy {
    /// The catalogue: the place in [`system::TABLES`].
    Catalogue(usize),
    /// The node: the place in [`Environment::node_tables`].
    Node(usize),
}

/// A made-up table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MadeUp {
    /// Its schema.
    pub schema: Schema,
    /// pg_class.oid
    pub oid: u32,
    /// Where its rows come from.
    pub by: MadeUpBy,
}

/// What a table's name may stand for.
#[derive(Clone, Debug)]
pub enum Found<'c> {
    /// A stored table.
    Table(&'c Arc<Relation>),
    /// A view.
    View(&'c Arc<View>),
    /// A sequence.
    Sequence(&'c Arc<Sequence>),
    /// An index and its table.
    Index(&'c Arc<Relation>, AnyIndex<'c>),
    /// A system table or view.
    MadeUp(MadeUp),
}

impl Found<'_> {
    /// pg_class.oid
    pub fn oid(&self) -> u32 {
        match self {
            Self::Table(table) => table.oid,
            Self::View(view) => view.oid,
            Self::Sequence(sequence) => sequence.oid,
            Self::Index(_, index) => index.oid,
            Self::MadeUp(table) => table.oid,
        }
    }
}

/// A made-up table of a schema.
fn made_up(environment: &dyn Environment, schema: Schema, name: &str) -> Option<MadeUp> {
    // Names in pg_catalog are all alike, and most that are asked for are others.
    if schema == Schema::PG_CATALOG && !name.starts_with("pg_") && !name.starts_with("plimsoll_") {
        return None;
    }
    let mut of_node = environment.node_tables().iter().enumerate();
    if let Some((at, table)) = of_node.find(|(_, table)| table.schema == schema.name() && table.name == name)
    {
        return Some(MadeUp { schema, oid: table.oid, by: MadeUpBy::Node(at) });
    }
    let mut own = system::TABLES.iter().enumerate();
    let (at, table) = own.find(|(_, table)| table.schema == schema.name() && table.name == name)?;
    Some(MadeUp { schema, oid: table.oid, by: MadeUpBy::Catalogue(at) })
}

impl Catalogue {
    /// The columns of a table, a sequence or a view that somebody made, with their numbers; all but views
    /// have the system's, too.
    pub fn numbered_columns(&self, relation: u32) -> Vec<(i16, &str)> {
        if let Some(view) = self.views.get(&relation) {
            return (1..).zip(view.columns.iter().map(|column| column.name.as_str())).collect();
        }
        let mut columns: Vec<(i16, &str)> = system_columns().collect();
        match self.relations.get(&relation) {
            Some(table) => {
                columns.extend(table.live_columns().map(|(_, column)| (column.number, column.name.as_str())));
            }
            None => columns.extend((1..).zip(system::SEQUENCE_COLUMNS.iter().map(|(name, _)| *name))),
        }
        columns
    }

    fn find_in<'c>(&'c self, environment: &dyn Environment, schema: Schema, name: &str) -> Option<Found<'c>> {
        if schema != Schema::PUBLIC {
            return made_up(environment, schema, name).map(Found::MadeUp);
        }
        let view = || self.view_named(name).map(Found::View);
        let sequence = || self.sequence_named(name).map(Found::Sequence);
        let index = || self.index_named(name).map(|(table, index)| Found::Index(table, index));
        self.relation(name).map(Found::Table).or_else(view).or_else(sequence).or_else(index)
    }

    /// Whether a role may look names up in a schema.
    pub fn may_look_into(&self, role: u32, schema: Schema) -> bool {
        let object = Object::Schema(schema.oid());
        // As long as nobody has changed anything everybody may.
        !self.rights.acls.contains_key(&object)
            || !self.privileges(role, &object, Privileges::USAGE).is_empty()
    }

    /// The schema that a name begins with; None if there is none.
    ///
    /// # Errors
    ///
    /// 42501 if whoever looks along the path may not look into it.
    pub fn schema(&self, path: &SearchPath, name: &str) -> Result<Option<Schema>> {
        let Some(schema) = Schema::named(name) else { return Ok(None) };
        if path.role.is_some_and(|role| !self.may_look_into(role, schema)) {
            let message = format!("permission denied for schema {}", schema.name());
            return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message));
        }
        Ok(Some(schema))
    }

    /// The same for statements that fail without it.
    ///
    /// # Errors
    ///
    /// 3F000, and 42501 as above.
    pub fn required_schema(&self, path: &SearchPath, name: &str) -> Result<Schema> {
        self.schema(path, name)?.ok_or_else(|| no_schema(name))
    }

    fn find_along<'c>(
        &'c self,
        environment: &dyn Environment,
        path: &SearchPath,
        name: &str,
    ) -> Option<Found<'c>> {
        path.searched().find_map(|schema| self.find_in(environment, schema, name))
    }

    /// What a name stands for, in its schema or along the path; None if that is nothing, and if there is no
    /// such schema.
    ///
    /// # Errors
    ///
    /// 42501 for a name in a schema that whoever looks may not look into.
    pub fn find<'c>(
        &'c self,
        environment: &dyn Environment,
        path: &SearchPath,
        schema: Option<&str>,
        name: &str,
    ) -> Result<Option<Found<'c>>> {
        let Some(schema) = schema else { return Ok(self.find_along(environment, path, name)) };
        let schema = self.schema(path, schema)?;
        Ok(schema.and_then(|schema| self.find_in(environment, schema, name)))
    }

    /// The schema and name of whatever of a table's kind has this OID.
    fn name_of(&self, environment: &dyn Environment, oid: u32) -> Option<(Schema, &str)> {
        let stored = self
            .relations
            .get(&oid)
            .map(|table| &table.name)
            .or_else(|| self.sequences.get(&oid).map(|sequence| &sequence.name))
            .or_else(|| self.views.get(&oid).map(|view| &view.name));
        if let Some(name) = stored {
            return Some((Schema::PUBLIC, name));
        }
        if let Some((table, index)) = self.index(oid) {
            let name = table.all_indexes().find(|known| known.oid == index.oid)?.name;
            return Some((Schema::PUBLIC, name));
        }
        let (schema, name, ..) =
            system::virtual_tables(environment).find(|(_, _, known, _)| *known == oid)?;
        Some((Schema::named(schema)?, name))
    }

    /// Whether this is found along the path by its name alone (pg_table_is_visible); None for an unknown OID.
    pub fn is_visible(&self, environment: &dyn Environment, path: &SearchPath, oid: u32) -> Option<bool> {
        let (_, name) = self.name_of(environment, oid)?;
        Some(self.find_along(environment, path, name).is_some_and(|found| found.oid() == oid))
    }

    /// The name of whatever of a table's kind has this OID as regclass prints it: with its schema unless it
    /// is found along the path without.
    pub fn shown_name(&self, environment: &dyn Environment, path: &SearchPath, oid: u32) -> Option<String> {
        let (schema, name) = self.name_of(environment, oid)?;
        let found = self.find_along(environment, path, name).is_some_and(|found| found.oid() == oid);
        let name = identifier::quote(name);
        Some(if found { name } else { format!("{}.{name}", schema.name()) })
    }
}

/// Takes a qualified name apart as regclass input does: `a.b`, `"A".b`.
///
/// # Errors
///
/// 42602
pub fn split_qualified(text: &str) -> Result<Vec<String>> {
    let invalid = || SqlError::new(SqlState::INVALID_NAME, "invalid name syntax");
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let mut name = String::new();
                let mut from = quoted;
                loop {
                    let (part, after) = from.split_once('"').ok_or_else(invalid)?;
                    name.push_str(part);
                    match after.strip_prefix('"') {
                        Some(more) => {
                            name.push('"');
                            from = more;
                        }
                        None => break (name, after),
                    }
                }
            }
            None => {
                let at = rest.find(|c: char| c == '.' || c.is_whitespace()).unwrap_or(rest.len());
                let (name, after) = rest.split_at(at);
                (name.to_ascii_lowercase(), after)
            }
        };
        if part.is_empty() {
            return Err(invalid());
        }
        parts.push(clipped(&part).to_owned());
        match after.trim_start().strip_prefix('.') {
            Some(more) => rest = more.trim_start(),
            None if after.trim().is_empty() => return Ok(parts),
            None => return Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qualified_names_come_apart_at_dots_outside_of_quotes() {
        assert_eq!(split_qualified("Public.T").unwrap(), ["public", "t"]);
        assert_eq!(split_qualified("\"A.\"\"b\".c").unwrap(), ["A.\"b", "c"]);
        assert!(split_qualified("a..b").is_err());
        assert!(split_qualified("\"a").is_err());
        assert!(split_qualified("").is_err());
    }

    #[test]
    fn a_path_begins_with_pg_catalog_unless_it_names_it_and_passes_over_what_is_not_there() {
        let searched = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let path = SearchPath::new(&names, "information_schema");
            let searched: Vec<&str> = path.searched().map(Schema::name).collect();
            (searched.join(" "), path.current().map(Schema::name))
        };
        assert_eq!(
            searched(&["$user", "public"]),
            ("pg_catalog information_schema public".into(), Some("information_schema"))
        );
        assert_eq!(searched(&["nosuch", "public"]), ("pg_catalog public".into(), Some("public")));
        assert_eq!(searched(&["public", "pg_catalog"]), ("public pg_catalog".into(), Some("public")));
        assert_eq!(searched(&[]), ("pg_catalog".into(), None));
    }

    #[test]
    fn names_of_made_up_tables_begin_as_the_look_up_takes_for_granted() {
        for table in system::TABLES.iter().filter(|table| table.schema == "pg_catalog") {
            assert!(table.name.starts_with("pg_"), "{}", table.name);
        }
    }
}
