//! What the catalogue says: relations with their columns and constraints, roles, databases.

use crate::interface::error::{Result, SqlError};
use sql_types::key::{KeyColumn, OrderedColumn};
use sql_types::row::RowLayout;
use sql_types::{Datum, Style, Type, TypeId};
use sqlstate::SqlState;
use std::collections::HashMap;
use std::sync::Arc;
use storage::TreeId;

/// The OID of the database that sessions use.
pub(crate) const POSTGRES_DATABASE: u32 = 5;
/// pg_catalog
pub(crate) const PG_CATALOG_OID: u32 = 11;
/// public
pub(crate) const PUBLIC_OID: u32 = 2200;
/// information_schema
pub(crate) const INFORMATION_SCHEMA_OID: u32 = 13000;
/// The bootstrap superuser.
pub(crate) const BOOTSTRAP_ROLE_OID: u32 = 10;

/// Who gives the values of an identity column (attidentity).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
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

/// A sequence; `catalogue/sequences.rs` says where its numbers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) oid: u32,
    pub(crate) name: String,
    pub(crate) owner: u32,
    /// Tells the states apart that it has had: RESTART begins another one.
    pub(crate) state: u32,
    /// The first value of this state.
    pub(crate) from: i64,
    /// int2, int4 or int8
    pub(crate) ty: TypeId,
    pub(crate) start: i64,
    pub(crate) increment: i64,
    pub(crate) min: i64,
    pub(crate) max: i64,
    /// CACHE: told back, and without a meaning here.
    pub(crate) cache: i64,
    pub(crate) cycle: bool,
    /// The table's OID and the column's number that it goes with.
    pub(crate) owned_by: Option<(u32, i16)>,
    /// It belongs to an identity column.
    pub(crate) identity: bool,
}

/// A column of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ViewColumn {
    pub(crate) name: String,
    /// What the query itself calls it.
    pub(crate) inner: String,
    pub(crate) ty: Type,
}

/// A view: a query by its text, which is analysed anew wherever the view is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) oid: u32,
    pub(crate) name: String,
    /// Whose rights its tables are read with.
    pub(crate) owner: u32,
    pub(crate) query: String,
    pub(crate) columns: Vec<ViewColumn>,
    /// OIDs of the tables, views and sequences that it reads.
    pub(crate) uses: Vec<u32>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    /// attnum, from 1; never used again after a DROP COLUMN.
    pub(crate) number: i16,
    pub(crate) name: String,
    pub(crate) ty: Type,
    pub(crate) not_null: bool,
    /// The DEFAULT expression's text.
    pub(crate) default: Option<String>,
    /// What rows written before the column was added hold, as text of the column's type; None is NULL.
    pub(crate) missing: Option<String>,
    /// GENERATED ... AS IDENTITY: its values come from a sequence that it owns.
    pub(crate) identity: Option<Identity>,
    /// Dropped: the place in the row stays, always NULL in new rows.
    pub(crate) dropped: bool,
}

/// The primary key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PrimaryKey {
    /// The constraint's and index's OID.
    pub(crate) oid: u32,
    /// The constraint's and index's name.
    pub(crate) name: String,
    /// Places of its columns in `Relation::columns`, in key order.
    pub(crate) columns: Vec<usize>,
}

/// A column of a secondary index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexColumn {
    /// Its place in `Relation::columns`.
    pub(crate) at: usize,
    pub(crate) order: OrderedColumn,
}

/// A secondary index; `execution/index.rs` says what its tree holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) oid: u32,
    pub(crate) name: String,
    pub(crate) tree: TreeId,
    pub(crate) columns: Vec<IndexColumn>,
    pub(crate) unique: bool,
    /// It is there for a UNIQUE constraint, which has its OID and name.
    pub(crate) constraint: bool,
    /// NULLS NOT DISTINCT
    pub(crate) nulls_not_distinct: bool,
}

/// What the primary key's index and the secondary ones have in common.
#[derive(Clone, Debug)]
pub(crate) struct AnyIndex<'r> {
    pub(crate) oid: u32,
    pub(crate) name: &'r str,
    pub(crate) tree: TreeId,
    pub(crate) columns: Vec<IndexColumn>,
    pub(crate) unique: bool,
    pub(crate) primary: bool,
    pub(crate) constraint: bool,
    pub(crate) nulls_not_distinct: bool,
}

/// A CHECK constraint.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Check {
    pub(crate) oid: u32,
    pub(crate) name: String,
    /// The condition's text.
    pub(crate) expression: String,
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Relation {
    pub(crate) oid: u32,
    pub(crate) name: String,
    pub(crate) owner: u32,
    /// Where its rows are.
    pub(crate) tree: TreeId,
    /// All columns ever, in order of their numbers.
    pub(crate) columns: Vec<Column>,
    pub(crate) primary_key: Option<PrimaryKey>,
    pub(crate) checks: Vec<Check>,
    /// Secondary indexes, by their OIDs.
    pub(crate) indexes: Vec<Index>,
    /// How rows and keys are laid out; made by [`Relation::lay_out`].
    pub(crate) layout: Layout,
}

/// Where each column of a table is found in its stored form.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layout {
    /// The key's columns; empty for a hidden row number.
    pub(crate) key: Vec<KeyColumn>,
    /// The value's columns.
    pub(crate) row: RowLayout,
    /// For each column its place in the value; None if only the key holds it.
    pub(crate) in_row: Vec<Option<usize>>,
    /// For each column its place in the key; None if it is not part of it.
    pub(crate) in_key: Vec<Option<usize>>,
    /// For each place in the value its column.
    pub(crate) row_columns: Vec<usize>,
    /// For each column what rows written before it was added hold.
    pub(crate) missing: Vec<Datum>,
}

impl Layout {
    /// Key columns whose key form loses nothing stand in the key alone.
    pub(crate) fn new(columns: &[Column], primary_key: Option<&PrimaryKey>) -> Self {
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
    pub(crate) fn live_columns(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().enumerate().filter(|(_, column)| !column.dropped)
    }
    /// The place of a column by its name.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.live_columns().find(|(_, column)| column.name == name).map(|(at, _)| at)
    }
    /// The place of a column by its name; 42703 if there is none.
    pub(crate) fn require_column(&self, name: &str) -> Result<usize> {
        self.column(name).ok_or_else(|| {
            SqlError::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column \"{name}\" of relation \"{}\" does not exist", self.name),
            )
        })
    }
    /// The primary key's index, then the secondary ones.
    pub(crate) fn all_indexes(&self) -> impl Iterator<Item = AnyIndex<'_>> {
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
    pub(crate) fn lay_out(&mut self) {
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
    /// rolconnlimit; -1 is none.
    pub connection_limit: i32,
    /// rolpassword: a SCRAM-SHA-256 verifier.
    pub password: Option<String>,
    /// rolvaliduntil
    pub valid_until: Option<host::Timestamp>,
}

/// A database (pg_database).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DatabaseEntry {
    pub(crate) oid: u32,
    pub(crate) name: String,
    pub(crate) owner: u32,
    pub(crate) template: bool,
    pub(crate) connections: bool,
}

/// One version of the whole catalogue.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    /// Counts up with every change that commits.
    pub(crate) version: u64,
    pub(crate) relations: HashMap<u32, Arc<Relation>>,
    pub(crate) by_name: HashMap<String, u32>,
    pub(crate) sequences: HashMap<u32, Arc<Sequence>>,
    pub(crate) views: HashMap<u32, Arc<View>>,
    pub(crate) roles: HashMap<u32, Arc<Role>>,
    pub(crate) databases: Vec<DatabaseEntry>,
}

impl Catalogue {
    /// A user's table by its name.
    pub(crate) fn relation(&self, name: &str) -> Option<&Arc<Relation>> {
        self.relations.get(self.by_name.get(name)?)
    }
    /// The OID of the table whose rows are in this tree.
    pub(crate) fn relation_of_tree(&self, tree: TreeId) -> Option<u32> {
        self.relations.values().find(|relation| relation.tree == tree).map(|relation| relation.oid)
    }
    /// Whether a table, an index or a sequence has this name.
    pub(crate) fn is_name_taken(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
            || self.index_named(name).is_some()
            || self.sequence_named(name).is_some()
            || self.view_named(name).is_some()
    }
    /// A view by its name.
    pub(crate) fn view_named(&self, name: &str) -> Option<&Arc<View>> {
        self.views.values().find(|view| view.name == name)
    }
    /// The views that read a table, a view or a sequence, in the order in which they were made.
    pub(crate) fn views_of(&self, oid: u32) -> Vec<&Arc<View>> {
        let mut found: Vec<&Arc<View>> =
            self.views.values().filter(|view| view.uses.contains(&oid)).collect();
        found.sort_by_key(|view| view.oid);
        found
    }
    /// A sequence by its name.
    pub(crate) fn sequence_named(&self, name: &str) -> Option<&Arc<Sequence>> {
        self.sequences.values().find(|sequence| sequence.name == name)
    }
    /// The sequences that a table's columns own.
    pub(crate) fn sequences_of(&self, relation: u32) -> impl Iterator<Item = &Arc<Sequence>> {
        let owned =
            move |sequence: &&Arc<Sequence>| sequence.owned_by.is_some_and(|(table, _)| table == relation);
        self.sequences.values().filter(owned)
    }
    /// An index by its OID, with its table.
    pub(crate) fn index(&self, oid: u32) -> Option<(&Arc<Relation>, AnyIndex<'_>)> {
        self.relations
            .values()
            .find_map(|table| table.all_indexes().find(|index| index.oid == oid).map(|index| (table, index)))
    }
    /// An index by its name, with its table.
    pub(crate) fn index_named(&self, name: &str) -> Option<(&Arc<Relation>, AnyIndex<'_>)> {
        self.relations.values().find_map(|table| {
            table.all_indexes().find(|index| index.name == name).map(|index| (table, index))
        })
    }
    /// A role by its name.
    pub(crate) fn role(&self, name: &str) -> Option<&Arc<Role>> {
        self.roles.values().find(|role| role.name == name)
    }
    /// Adds or replaces a table.
    pub(crate) fn add_relation(&mut self, relation: Relation) {
        self.by_name.insert(relation.name.clone(), relation.oid);
        self.relations.insert(relation.oid, Arc::new(relation));
    }
}
