//! What the catalogue says: relations with their columns and constraints, roles, databases.

use sql_interface::{Result, SqlError};
use sql_types::key::{KeyColumn, OrderedColumn};
use sql_types::row::RowLayout;
use sql_types::{Datum, Style, Type, TypeId};
use sqlstate::SqlState;
use std::collections::HashMap;
use std::sync::Arc;
use storage::TreeId;

/// The OID of the database that sessions use.
pub const POSTGRES_DATABASE: u32 = 5;
/// pg_catalog
pub const PG_CATALOG_OID: u32 = 11;
/// public
pub const PUBLIC_OID: u32 = 2200;
/// information_schema
pub const INFORMATION_SCHEMA_OID: u32 = 13000;
/// The bootstrap superuser.
pub const BOOTSTRAP_ROLE_OID: u32 = 10;

/// Who gives the values of an identity column (attidentity).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The sequence alone, unless OVERRIDING says otherwise.
    Always,
    /// The sequence, where no value is given.
    ByDefault,
}

impl Identity {
    /// attidentity
    pub(crate) const fn letter(self) -> &'static str {
        match self {
            Self::Always => "a",
            Self::ByDefault => "d",
        }
    }
}

/// A sequence; [`crate::sequences`] says where its numbers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// The owning role's OID.
    pub owner: u32,
    /// Tells the states apart that it has had: RESTART and other rules for its numbers begin another one.
    pub state: u32,
    /// The first value of this state.
    pub from: i64,
    /// int2, int4 or int8
    pub ty: TypeId,
    /// START WITH
    pub start: i64,
    /// INCREMENT BY
    pub increment: i64,
    /// MINVALUE
    pub min: i64,
    /// MAXVALUE
    pub max: i64,
    /// CACHE: told back, and without a meaning here.
    pub cache: i64,
    /// CYCLE: it begins again after its last value.
    pub cycle: bool,
    /// The table's OID and the column's number that it goes with.
    pub owned_by: Option<(u32, i16)>,
    /// It belongs to an identity column.
    pub identity: bool,
}

impl Sequence {
    /// The same sequence giving out numbers as another definition of it says.
    fn with_numbers_of(&self, other: &Self) -> Self {
        let Self { state, from, start, increment, min, max, cycle, .. } = *other;
        Self { state, from, start, increment, min, max, cycle, ..self.clone() }
    }
}

/// What stands in a sequence: the stored row, or the state in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequencePosition {
    /// last_value
    pub last: i64,
    /// Whether `last` was given out; else it comes next.
    pub is_called: bool,
}

impl Sequence {
    /// Where it stands before its first number is taken.
    pub fn first_position(&self) -> SequencePosition {
        SequencePosition { last: self.from, is_called: false }
    }
}

/// A column of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewColumn {
    /// Its name.
    pub name: String,
    /// What the query itself calls it.
    pub inner: String,
    /// Its type.
    pub ty: Type,
}

/// A view: a query by its text, which is analysed anew wherever the view is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Whose rights its tables are read with.
    pub owner: u32,
    /// The query's text.
    pub query: String,
    /// Its columns in order.
    pub columns: Vec<ViewColumn>,
    /// OIDs of the tables, views and sequences that it reads.
    pub uses: Vec<u32>,
    /// For each of them the number of the last column that it had when the view was made: what came since is
    /// not there for the view's query.
    pub reach: Vec<i16>,
}

impl View {
    /// The tables, views and sequences that it reads, with the numbers of the last columns that it sees.
    pub fn sees(&self) -> Vec<(u32, i16)> {
        self.uses.iter().copied().zip(self.reach.iter().copied()).collect()
    }
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// attnum, from 1; never used again after a DROP COLUMN.
    pub number: i16,
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// It refuses NULL.
    pub not_null: bool,
    /// The DEFAULT expression's text.
    pub default: Option<String>,
    /// What rows written before the column was added hold, as text of the column's type; None is NULL.
    pub missing: Option<String>,
    /// GENERATED ... AS IDENTITY: its values come from a sequence that it owns.
    pub identity: Option<Identity>,
    /// Dropped: the place in the row stays, always NULL in new rows.
    pub dropped: bool,
}

/// The primary key.
#[derive(Clone, Debug, PartialEq)]
pub struct PrimaryKey {
    /// The constraint's and index's OID.
    pub oid: u32,
    /// The constraint's and index's name.
    pub name: String,
    /// Places of its columns in `Relation::columns`, in key order.
    pub columns: Vec<usize>,
}

/// A column of a secondary index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexColumn {
    /// Its place in `Relation::columns`.
    pub at: usize,
    /// Ascending or descending, and where NULLs go.
    pub order: OrderedColumn,
}

/// A secondary index; `sql_execution::index` says what its tree holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Where its entries are.
    pub tree: TreeId,
    /// Its columns in the order of its keys.
    pub columns: Vec<IndexColumn>,
    /// UNIQUE
    pub unique: bool,
    /// It is there for a UNIQUE constraint, which has its OID and name.
    pub constraint: bool,
    /// NULLS NOT DISTINCT
    pub nulls_not_distinct: bool,
}

/// What the primary key's index and the secondary ones have in common.
#[derive(Clone, Debug)]
pub struct AnyIndex<'r> {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: &'r str,
    /// Where its entries are: the primary key's are the table's rows.
    pub tree: TreeId,
    /// Its columns in the order of its keys.
    pub columns: Vec<IndexColumn>,
    /// No two rows have the same key.
    pub unique: bool,
    /// It is the primary key's.
    pub primary: bool,
    /// It is there for a constraint, which has its OID and name.
    pub constraint: bool,
    /// NULLS NOT DISTINCT
    pub nulls_not_distinct: bool,
}

/// A CHECK constraint.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// The condition's text.
    pub expression: String,
    /// NOT VALID: rows that were there before it may not meet it.
    pub not_valid: bool,
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Relation {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// The owning role's OID.
    pub owner: u32,
    /// Where its rows are.
    pub tree: TreeId,
    /// All columns ever, in order of their numbers.
    pub columns: Vec<Column>,
    /// PRIMARY KEY; a table without one has a hidden row number instead.
    pub primary_key: Option<PrimaryKey>,
    /// CHECK constraints.
    pub checks: Vec<Check>,
    /// Secondary indexes, by their OIDs.
    pub indexes: Vec<Index>,
    /// How rows and keys are laid out; made by [`Relation::lay_out`].
    pub layout: Layout,
}

/// Where each column of a table is found in its stored form.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The key's columns; empty for a hidden row number.
    pub key: Vec<KeyColumn>,
    /// The value's columns.
    pub row: RowLayout,
    /// For each column its place in the value; None if only the key holds it.
    pub in_row: Vec<Option<usize>>,
    /// For each column its place in the key; None if it is not part of it.
    pub in_key: Vec<Option<usize>>,
    /// For each place in the value its column.
    pub row_columns: Vec<usize>,
    /// For each column what rows written before it was added hold.
    pub missing: Vec<Datum>,
}

impl Layout {
    /// Key columns whose key form loses nothing stand in the key alone.
    pub fn new(columns: &[Column], primary_key: Option<&PrimaryKey>) -> Self {
        let key_columns: &[usize] = primary_key.map_or(&[], |key| &key.columns);
        let types: Vec<TypeId> = columns.iter().map(|column| column.ty.id).collect();
        let of = |at: usize| types.get(at).copied().unwrap_or(TypeId::Unknown);
        let in_key: Vec<Option<usize>> =
            (0..columns.len()).map(|at| key_columns.iter().position(|key| *key == at)).collect();
        let row_columns: Vec<usize> = in_key
            .iter()
            .enumerate()
            .filter(|(at, in_key)| in_key.is_none() || !sql_types::key::is_lossless(of(*at)))
            .map(|(at, _)| at)
            .collect();
        let row_types: Vec<TypeId> = row_columns.iter().map(|at| of(*at)).collect();
        Self {
            key: key_columns.iter().map(|at| KeyColumn::required(of(*at))).collect(),
            row: RowLayout::new(&row_types),
            in_row: (0..columns.len()).map(|at| row_columns.iter().position(|row| *row == at)).collect(),
            in_key,
            row_columns,
            missing: columns.iter().map(missing_value).collect(),
        }
    }
}

/// The text was written by this program in ISO style and UTC.
fn missing_value(column: &Column) -> Datum {
    let text = column.missing.as_ref().filter(|_| !column.dropped);
    text.and_then(|text| Datum::parse(column.ty, text, &Style::default()).ok()).unwrap_or_default()
}

impl Relation {
    /// Columns that are there, with their places in the row.
    #[inline]
    pub fn live_columns(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().enumerate().filter(|(_, column)| !column.dropped)
    }
    /// The place of a column by its name.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.live_columns().find(|(_, column)| column.name == name).map(|(at, _)| at)
    }
    /// The place of a column by its name; 42703 if there is none.
    ///
    /// # Errors
    ///
    /// 42703.
    pub fn require_column(&self, name: &str) -> Result<usize> {
        self.column(name).ok_or_else(|| {
            SqlError::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column \"{name}\" of relation \"{}\" does not exist", self.name),
            )
        })
    }
    /// The primary key's index, then the secondary ones.
    pub fn all_indexes(&self) -> impl Iterator<Item = AnyIndex<'_>> {
        let plain = OrderedColumn { descending: false, nulls_first: false };
        let primary = self.primary_key.iter().map(move |key| AnyIndex {
            oid: key.oid,
            name: &key.name,
            tree: self.tree,
            columns: key.columns.iter().map(|at| IndexColumn { at: *at, order: plain }).collect(),
            unique: true,
            primary: true,
            constraint: true,
            nulls_not_distinct: false,
        });
        primary.chain(self.indexes.iter().map(|index| AnyIndex {
            oid: index.oid,
            name: &index.name,
            tree: index.tree,
            columns: index.columns.clone(),
            unique: index.unique,
            primary: false,
            constraint: index.constraint,
            nulls_not_distinct: index.nulls_not_distinct,
        }))
    }
    /// Computes `layout` anew.
    pub fn lay_out(&mut self) {
        self.layout = Layout::new(&self.columns, self.primary_key.as_ref());
    }
}

/// A role (pg_authid).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// pg_authid.oid
    pub oid: u32,
    /// rolname
    pub name: String,
    /// rolsuper
    pub superuser: bool,
    /// rolcanlogin
    pub login: bool,
    /// rolreplication
    pub replication: bool,
    /// rolcreaterole
    pub create_role: bool,
    /// rolcreatedb
    pub create_database: bool,
    /// rolinherit
    pub inherit: bool,
    /// rolbypassrls: told back, since there are no policies to bypass.
    pub bypass_rls: bool,
    /// rolconnlimit; -1 is none.
    pub connection_limit: i32,
    /// rolpassword: a SCRAM-SHA-256 verifier.
    pub password: Option<String>,
    /// rolvaliduntil
    pub valid_until: Option<host::Timestamp>,
}

impl Role {
    /// A role without a name or any attribute, but for INHERIT, which is the default.
    pub fn plain() -> Self {
        Self {
            oid: 0,
            name: String::new(),
            superuser: false,
            login: false,
            replication: false,
            create_role: false,
            create_database: false,
            inherit: true,
            bypass_rls: false,
            connection_limit: -1,
            password: None,
            valid_until: None,
        }
    }
}

/// A database (pg_database).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseEntry {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// The owning role's OID.
    pub owner: u32,
    /// datistemplate
    pub template: bool,
    /// datallowconn
    pub connections: bool,
}

/// One version of the whole catalogue.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Counts up with every change that commits.
    pub version: u64,
    /// Tables by their OIDs.
    pub relations: HashMap<u32, Arc<Relation>>,
    /// OIDs of tables by their names.
    pub by_name: HashMap<String, u32>,
    /// Sequences by their OIDs.
    pub sequences: HashMap<u32, Arc<Sequence>>,
    /// Views by their OIDs.
    pub views: HashMap<u32, Arc<View>>,
    /// Roles by their OIDs.
    pub roles: HashMap<u32, Arc<Role>>,
    /// All databases.
    pub databases: Vec<DatabaseEntry>,
    /// Who may do what.
    pub rights: crate::rights::Rights,
    /// Storage parameters of tables and indexes and options of views (reloptions), by their OIDs.
    pub options: HashMap<u32, Vec<String>>,
}

impl Catalogue {
    /// The same objects with the roles and rights of another version, and with its rules for the numbers of
    /// sequences.
    pub fn with_rights_and_numbers_of(&self, other: &Self) -> Self {
        let numbered = |(oid, own): (&u32, &Arc<Sequence>)| {
            let numbered = other.sequences.get(oid).map(|sequence| Arc::new(own.with_numbers_of(sequence)));
            (*oid, numbered.unwrap_or_else(|| own.clone()))
        };
        Self {
            version: self.version,
            relations: self.relations.clone(),
            by_name: self.by_name.clone(),
            sequences: self.sequences.iter().map(numbered).collect(),
            views: self.views.clone(),
            roles: other.roles.clone(),
            databases: other.databases.clone(),
            rights: other.rights.clone(),
            options: self.options.clone(),
        }
    }
    /// A user's table by its name.
    pub fn relation(&self, name: &str) -> Option<&Arc<Relation>> {
        self.relations.get(self.by_name.get(name)?)
    }
    /// The OID of the table whose rows are in this tree.
    pub fn relation_of_tree(&self, tree: TreeId) -> Option<u32> {
        self.relations.values().find(|relation| relation.tree == tree).map(|relation| relation.oid)
    }
    /// Whether a table, an index or a sequence has this name.
    pub fn is_name_taken(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
            || self.index_named(name).is_some()
            || self.sequence_named(name).is_some()
            || self.view_named(name).is_some()
    }
    /// The number of the last column of a table, view or sequence; 0 if there is none.
    pub fn last_column(&self, oid: u32) -> i16 {
        match (self.relations.get(&oid), self.views.get(&oid)) {
            (Some(relation), _) => relation.columns.last().map_or(0, |column| column.number),
            (None, Some(view)) => i16::try_from(view.columns.len()).unwrap_or(i16::MAX),
            // Those of a sequence are always the same.
            (None, None) => i16::MAX,
        }
    }
    /// A view by its name.
    pub fn view_named(&self, name: &str) -> Option<&Arc<View>> {
        self.views.values().find(|view| view.name == name)
    }
    /// The views that read a table, a view or a sequence, in the order in which they were made.
    pub fn views_of(&self, oid: u32) -> Vec<&Arc<View>> {
        let mut found: Vec<&Arc<View>> =
            self.views.values().filter(|view| view.oid != oid && view.uses.contains(&oid)).collect();
        found.sort_by_key(|view| view.oid);
        found
    }
    /// A sequence by its name.
    pub fn sequence_named(&self, name: &str) -> Option<&Arc<Sequence>> {
        self.sequences.values().find(|sequence| sequence.name == name)
    }
    /// The sequences that a table's columns own, in the order in which they were made.
    pub fn sequences_of(&self, relation: u32) -> Vec<&Arc<Sequence>> {
        let owned = |sequence: &&Arc<Sequence>| sequence.owned_by.is_some_and(|(table, _)| table == relation);
        let mut found: Vec<&Arc<Sequence>> = self.sequences.values().filter(owned).collect();
        found.sort_by_key(|sequence| sequence.oid);
        found
    }
    /// An index by its OID, with its table.
    pub fn index(&self, oid: u32) -> Option<(&Arc<Relation>, AnyIndex<'_>)> {
        self.relations
            .values()
            .find_map(|table| table.all_indexes().find(|index| index.oid == oid).map(|index| (table, index)))
    }
    /// An index by its name, with its table.
    pub fn index_named(&self, name: &str) -> Option<(&Arc<Relation>, AnyIndex<'_>)> {
        self.relations.values().find_map(|table| {
            table.all_indexes().find(|index| index.name == name).map(|index| (table, index))
        })
    }
    /// A view's `security_invoker`: its tables are read with the rights of whoever reads it.
    pub fn is_of_invoker(&self, view: u32) -> bool {
        let value = |option: &String| {
            let (name, value) = option.split_once('=')?;
            name.eq_ignore_ascii_case("security_invoker").then(|| sql_types::is_true(value))?
        };
        let options = self.options.get(&view);
        options.is_some_and(|options| options.iter().any(|option| value(option) == Some(true)))
    }
    /// A role by its name.
    pub fn role(&self, name: &str) -> Option<&Arc<Role>> {
        self.roles.values().find(|role| role.name == name)
    }
    /// Adds or replaces a table.
    pub(crate) fn add_relation(&mut self, relation: Relation) {
        self.by_name.insert(relation.name.clone(), relation.oid);
        self.relations.insert(relation.oid, Arc::new(relation));
    }
}
