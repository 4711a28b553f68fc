//! Rows and catalogue entries that were found in a log, in words: as the catalogue has their tables at its
//! end, and for what is gone by then, at its begin.

use bytes::Bytes;
use sql_catalogue::codec::{CATALOGUE_TREE, SHARED_TREE};
use sql_catalogue::{Catalogue, Relation, entries, store};
use sql_interface::Result;
use sql_types::Style;
use std::sync::Arc;
use storage::TreeId;

/// Key and value of a row.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// What the rows of a tree are.
#[derive(Clone, Debug)]
pub enum Named {
    /// A table's.
    Table(Arc<Relation>),
    /// An index's: they follow from its table's.
    Index,
    /// The catalogue's.
    Catalogue,
    /// Of no table that is known.
    Unknown,
}

/// A column and its value as text; None is NULL.
pub type NamedValue = (String, Option<String>);

/// A change of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueChange {
    /// In words.
    pub text: String,
    /// The table that it has taken all rows from, if one.
    pub emptied: Option<String>,
}

/// Two states of the catalogue.
#[derive(Debug)]
pub struct NamedRows {
    states: [Catalogue; 2],
    style: Style,
}

/// The trees that the catalogue is in: of the whole cluster, and of the database.
pub const CATALOGUE_TREES: [TreeId; 2] = [SHARED_TREE, CATALOGUE_TREE];

impl NamedRows {
    /// Out of the rows of [`CATALOGUE_TREES`], before and after.
    ///
    /// # Errors
    /// XX001 for an entry that is none.
    pub fn new(before: [Pairs; 2], after: [Pairs; 2]) -> Result<Self> {
        let state = |[shared, own]: [Pairs; 2]| {
            let bytes = |rows: Pairs| {
                rows.into_iter().map(|(key, value)| (Bytes::from(key), Bytes::from(value))).collect()
            };
            let definitions = own.into_iter().filter(|(key, _)| is_definition(key)).collect();
            store::assemble(bytes(shared), bytes(definitions))
        };
        Ok(Self { states: [state(after)?, state(before)?], style: Style::default() })
    }

    /// What the rows of a tree are.
    pub fn tree(&self, tree: TreeId) -> Named {
        if CATALOGUE_TREES.contains(&tree) {
            return Named::Catalogue;
        }
        for catalogue in &self.states {
            for relation in catalogue.relations.values() {
                if relation.tree == tree {
                    return Named::Table(relation.clone());
                }
                if relation.indexes.iter().any(|index| index.tree == tree) {
                    return Named::Index;
                }
            }
        }
        Named::Unknown
    }

    /// A row of a table by its columns.
    ///
    /// # Errors
    /// Bytes that are no row of this table.
    pub fn row(&self, table: &Relation, key: &[u8], value: &[u8]) -> Result<Vec<NamedValue>> {
        let columns: Vec<usize> = table.live_columns().map(|(at, _)| at).collect();
        let row = sql_execution::row::decode(table, &columns, key, value)?;
        let value = |at: usize| row.get(at).and_then(|value| value.to_text(&self.style));
        Ok(table.live_columns().map(|(at, column)| (column.name.clone(), value(at))).collect())
    }

    /// The columns of a row's primary key; none of a table without one.
    ///
    /// # Errors
    /// Bytes that are no key of this table.
    pub fn key(&self, table: &Relation, mut key: &[u8]) -> Result<Vec<NamedValue>> {
        let mut named = Vec::new();
        let columns: &[usize] = table.primary_key.as_ref().map_or(&[], |primary| &primary.columns);
        for (form, at) in table.layout.key.iter().zip(columns) {
            let value = sql_types::key::decode(*form, &mut key)?;
            let name = table.columns.get(*at).map_or_else(String::new, |column| column.name.clone());
            // Where the key's form loses something, the row tells the value.
            named.push((name, value.to_text(&self.style)));
        }
        Ok(named)
    }

    /// A change of the catalogue in words; None if it is none of an object of a user, or follows from
    /// another.
    ///
    /// # Errors
    /// XX001 for an entry that is none.
    pub fn catalogue_change(
        &self,
        tree: TreeId,
        key: &[u8],
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<Option<CatalogueChange>> {
        let read = if tree == SHARED_TREE { entries::shared_entry } else { entries::entry };
        let entry = |value: Option<&[u8]>| value.map_or(Ok(None), |value| read(key, value));
        let (before, after) = (entry(old)?, entry(new)?);
        let Some(entry) = after.as_ref().or(before.as_ref()) else { return Ok(None) };
        let verb = match (&before, &after) {
            (None, _) => "created",
            (_, None) => "dropped",
            _ => "changed",
        };
        let name = entry.name.clone().or_else(|| self.name_of(entry.oid));
        let name = name.unwrap_or_else(|| entry.oid.to_string());
        // What TRUNCATE alone does: the table goes on in a new tree, and so do its indexes.
        let is_emptied = match (&before, &after) {
            (Some(before), Some(after)) => before.tree != after.tree,
            _ => false,
        };
        if is_emptied && entry.what == "index" {
            return Ok(None);
        }
        if is_emptied {
            let text = format!("emptied table {name} (TRUNCATE)");
            return Ok(Some(CatalogueChange { text, emptied: Some(name) }));
        }
        let text = match entry.position {
            Some(position) => format!("sequence {name} at {position}"),
            None if entry.what == "column" => {
                let table = self.name_of(entry.oid).unwrap_or_else(|| entry.oid.to_string());
                format!("{verb} column {table}.{name}")
            }
            None if matches!(entry.what, "index" | "constraint") => {
                format!("{verb} {} of table {name}", entry.what)
            }
            None => format!("{verb} {} {name}", entry.what),
        };
        Ok(Some(CatalogueChange { text, emptied: None }))
    }

    fn name_of(&self, oid: u32) -> Option<String> {
        self.states.iter().find_map(|catalogue| {
            let relation = catalogue.relations.get(&oid).map(|relation| relation.name.clone());
            let sequence = || catalogue.sequences.get(&oid).map(|sequence| sequence.name.clone());
            relation.or_else(sequence).or_else(|| catalogue.views.get(&oid).map(|view| view.name.clone()))
        })
    }
}

/// Whether a key of the database's tree is one of the catalogue's definitions.
fn is_definition(key: &[u8]) -> bool {
    store::definitions().contains(key)
}
