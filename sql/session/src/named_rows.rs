//! Rows and catalogue entries that were found in a log, in words: by the catalogue as of each commit.
//!
//! It begins with the catalogue before the first commit. Each commit's changes of the catalogue are taken in
//! before its rows are told: what a commit found is told by the catalogue before it, what it left by the one
//! after it, and an object that one of both lacks by the other. A commit that changes no definition has the
//! catalogue of the one before. The catalogue at the log's end stands in for what a log does not tell. From
//! then on the names of a table are certain only if they are at the end what they were before that.

use crate::HashMap;
use bytes::Bytes;
use sql_catalogue::codec::{CATALOGUE_TREE, SHARED_TREE};
use sql_catalogue::entries::Entry;
use sql_catalogue::{Catalogue, Relation, entries, store};
use sql_interface::Result;
use sql_types::Style;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use storage::TreeId;

/// Key and value of a row.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;
/// The shared tree's entries, and the definitions of the database's.
type Entries = [BTreeMap<Bytes, Bytes>; 2];

/// What the rows of a tree are.
#[derive(Clone, Debug)]
pub enum Named {
    /// A table's.
    Table {
        /// As the commit found it.
        before: Arc<Relation>,
        /// As it left it.
        after: Arc<Relation>,
        /// The commit wrote all rows of it anew, in this tree: nothing tells which of them it changed.
        is_rewritten: bool,
        /// The log does not tell whether its name and columns were those that it has at the end.
        names_unknown: bool,
    },
    /// An index's: they follow from its table's.
    Index,
    /// The catalogue's.
    Catalogue,
    /// Of no table that is known.
    Unknown,
}

/// A column and its value as text; None is NULL.
pub type NamedValue = (String, Option<String>);

/// A value of an entry of the catalogue, as a log tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryValue<'v> {
    /// This.
    Is(&'v [u8]),
    /// There is no such entry.
    None,
    /// Nothing tells any more.
    Unknown,
}

/// What a commit left of an entry of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct EntryChange<'v> {
    /// One of [`CATALOGUE_TREES`].
    pub tree: TreeId,
    /// None if the log does not tell which entry it is.
    pub key: Option<&'v [u8]>,
    /// Its value from then on.
    pub new: EntryValue<'v>,
}

/// A change of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueChange {
    /// In words.
    pub text: String,
    /// The table that it has taken all rows from, if one.
    pub emptied: Option<String>,
}

/// The catalogue at one moment.
#[derive(Debug)]
struct State {
    catalogue: Catalogue,
    /// The table whose rows are in a tree; None if it is an index.
    trees: HashMap<TreeId, Option<Arc<Relation>>>,
}

impl State {
    fn of(entries: &Entries) -> Result<Self> {
        let [shared, definitions] =
            entries.each_ref().map(|of| of.iter().map(|(key, value)| (key.clone(), value.clone())).collect());
        let catalogue = store::assemble(shared, definitions)?;
        let mut trees = HashMap::default();
        for relation in catalogue.relations.values() {
            trees.insert(relation.tree, Some(relation.clone()));
            trees.extend(relation.indexes.iter().map(|index| (index.tree, None)));
        }
        Ok(Self { catalogue, trees })
    }

    fn name_of(&self, oid: u32) -> Option<&str> {
        let Catalogue { relations, sequences, views, .. } = &self.catalogue;
        let relation = relations.get(&oid).map(|relation| relation.name.as_str());
        let sequence = || sequences.get(&oid).map(|sequence| sequence.name.as_str());
        relation.or_else(sequence).or_else(|| views.get(&oid).map(|view| view.name.as_str()))
    }
}

/// The catalogue before and after a commit, and at the end of the log.
#[derive(Clone, Debug)]
pub struct NamedRows {
    /// After the commit that was taken in last.
    entries: Entries,
    /// At the end.
    last: Entries,
    /// `last` is in `entries`, and nothing was taken in since.
    is_like_last: bool,
    before: Arc<State>,
    after: Arc<State>,
    end: Arc<State>,
    /// Before the first commit of which not all is known that it did to the catalogue; None before it.
    certain: Option<Arc<State>>,
    style: Style,
}

/// The trees that the catalogue is in: of the whole cluster, and of the database.
pub const CATALOGUE_TREES: [TreeId; 2] = [SHARED_TREE, CATALOGUE_TREE];

impl NamedRows {
    /// Out of the rows of [`CATALOGUE_TREES`], before the first commit and at the end.
    ///
    /// # Errors
    /// XX001 for an entry that is none.
    pub fn new(before: [Pairs; 2], end: [Pairs; 2]) -> Result<Self> {
        let entries = |[shared, own]: [Pairs; 2]| -> Entries {
            let bytes = |(key, value): (Vec<u8>, Vec<u8>)| (Bytes::from(key), Bytes::from(value));
            let definitions = own.into_iter().filter(|(key, _)| is_definition(key));
            [shared.into_iter().map(bytes).collect(), definitions.map(bytes).collect()]
        };
        let (entries, last) = (entries(before), entries(end));
        let (before, end) = (Arc::new(State::of(&entries)?), Arc::new(State::of(&last)?));
        let after = before.clone();
        let style = Style::default();
        Ok(Self { entries, last, is_like_last: false, before, after, end, certain: None, style })
    }

    /// Goes on to the next commit, which has left this of the catalogue.
    pub fn take_in<'v>(&mut self, changes: impl Iterator<Item = EntryChange<'v>>) {
        self.before = self.after.clone();
        let mut is_changed = false;
        for change in changes {
            is_changed |= self.put(&change);
        }
        if is_changed {
            self.after = match State::of(&self.entries) {
                Ok(state) => Arc::new(state),
                // Entries of which one is not known may make no catalogue.
                Err(_) => {
                    self.note_unknown();
                    self.end.clone()
                }
            };
        }
    }

    /// What a commit did to the catalogue is not known from the one on that is taken in.
    fn note_unknown(&mut self) {
        self.certain.get_or_insert_with(|| self.before.clone());
    }

    /// Takes an entry over. Whether a definition may have changed by that.
    fn put(&mut self, change: &EntryChange<'_>) -> bool {
        let Some(key) = change.key else {
            self.note_unknown();
            // It may be any: they are as at the end from here on, and what goes before that stays as it is.
            let is_new = !std::mem::replace(&mut self.is_like_last, true);
            if is_new {
                for (entries, last) in self.entries.iter_mut().zip(&self.last) {
                    entries.extend(last.iter().map(|(key, value)| (key.clone(), value.clone())));
                }
            }
            return is_new;
        };
        // Positions of sequences change in very many commits.
        if change.tree != SHARED_TREE && !is_definition(key) {
            return false;
        }
        if change.new == EntryValue::Unknown {
            self.note_unknown();
        }
        let [shared, own] = &mut self.entries;
        let (entries, last) =
            if change.tree == SHARED_TREE { (shared, &self.last[0]) } else { (own, &self.last[1]) };
        self.is_like_last = false;
        match change.new {
            EntryValue::Is(value) => drop(entries.insert(key.to_vec().into(), value.to_vec().into())),
            EntryValue::None => drop(entries.remove(key)),
            EntryValue::Unknown => {
                if let Some((key, value)) = last.get_key_value(key) {
                    entries.insert(key.clone(), value.clone());
                }
            }
        }
        true
    }

    /// The indexes that are known at the moment, or at the end.
    pub fn indexes(&self) -> BTreeSet<TreeId> {
        let trees = self.after.trees.iter().chain(&self.end.trees);
        trees.filter(|(_, table)| table.is_none()).map(|(tree, _)| *tree).collect()
    }

    /// What the rows of a tree are.
    pub fn tree(&self, tree: TreeId) -> Named {
        if CATALOGUE_TREES.contains(&tree) {
            return Named::Catalogue;
        }
        let (before, after) = (self.before.trees.get(&tree), self.after.trees.get(&tree));
        let one = before.or(after).or_else(|| self.end.trees.get(&tree));
        match (before.or(one), after.or(one)) {
            (Some(Some(before)), Some(Some(after))) => Named::Table {
                before: before.clone(),
                after: after.clone(),
                is_rewritten: after.tree == tree && self.is_rewritten(after.oid),
                names_unknown: !self.has_certain_names(after.oid),
            },
            (None, None) => Named::Unknown,
            _ => Named::Index,
        }
    }

    /// Whether a table's rows can be read, and told by their names, as at the end.
    fn has_certain_names(&self, oid: u32) -> bool {
        let Some(certain) = &self.certain else { return true };
        let [then, end] = [certain, &self.end].map(|state| state.catalogue.relations.get(&oid));
        let columns = |table: &Relation| -> Vec<_> {
            let columns = table.columns.iter();
            columns.map(|column| (column.name.clone(), column.ty, column.dropped)).collect()
        };
        then.zip(end).is_some_and(|(then, end)| {
            then.name == end.name && then.layout.key == end.layout.key && columns(then) == columns(end)
        })
    }

    /// Whether the commit moved a table to another tree for its key or its columns' types: ADD PRIMARY KEY
    /// does, and writes all rows anew. TRUNCATE, which moves it too, leaves both as they are.
    fn is_rewritten(&self, oid: u32) -> bool {
        let relations = [&self.before, &self.after].map(|state| state.catalogue.relations.get(&oid));
        let [Some(before), Some(after)] = relations else { return false };
        let [old_key, new_key] =
            [before, after].map(|table| table.primary_key.as_ref().map(|key| &key.columns));
        let mut columns = before.columns.iter().zip(&after.columns);
        before.tree != after.tree
            && (old_key != new_key || columns.any(|(before, after)| before.ty.id != after.ty.id))
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

    /// A change of the catalogue in words; none if it is none of an object of a user, or follows from
    /// another.
    ///
    /// # Errors
    /// XX001 for an entry that is none.
    pub fn catalogue_change(
        &self,
        tree: TreeId,
        key: &[u8],
        old: EntryValue<'_>,
        new: EntryValue<'_>,
    ) -> Result<Vec<CatalogueChange>> {
        let read = if tree == SHARED_TREE { entries::shared_entry } else { entries::entry };
        let entry = |value: EntryValue<'_>| match value {
            EntryValue::Is(value) => read(key, value),
            EntryValue::None | EntryValue::Unknown => Ok(None),
        };
        let (before, after) = (entry(old)?, entry(new)?);
        let Some(entry) = after.as_ref().or(before.as_ref()) else { return Ok(Vec::new()) };
        let mut changes = Vec::new();
        // The table goes on in a new tree, and so do its indexes.
        if let (Some(before), Some(after)) = (&before, &after)
            && before.tree != after.tree
        {
            if entry.what == "index" {
                return Ok(changes);
            }
            let name = self.name(entry);
            changes.push(if self.is_rewritten(entry.oid) {
                CatalogueChange { text: format!("rewrote table {name}"), emptied: None }
            } else {
                let text = format!("emptied table {name} (TRUNCATE)");
                CatalogueChange { text, emptied: Some(name) }
            });
            if before.name == after.name {
                return Ok(changes);
            }
        }
        let text = match (entry.what, entry.position) {
            (_, Some(position)) => Some(format!("sequence {} at {position}", self.name(entry))),
            ("column", _) => self.column_change(old, before.as_ref(), after.as_ref()),
            _ => match (&before, &after) {
                (Some(Entry { name: Some(from), .. }), Some(Entry { name: Some(to), .. })) if from != to => {
                    Some(format!("renamed {} {from} to {to}", entry.what))
                }
                _ if matches!(entry.what, "index" | "constraint") => {
                    Some(format!("{} {} of table {}", verb(old, new), entry.what, self.name(entry)))
                }
                _ => Some(format!("{} {} {}", verb(old, new), entry.what, self.name(entry))),
            },
        };
        changes.extend(text.map(|text| CatalogueChange { text, emptied: None }));
        Ok(changes)
    }

    /// A dropped column stays as an entry without a name of its own, and goes with its table.
    fn column_change(
        &self,
        old: EntryValue<'_>,
        before: Option<&Entry>,
        after: Option<&Entry>,
    ) -> Option<String> {
        let table = self.name_of(after.or(before)?.oid);
        let named =
            |column: Option<&Entry>| column.and_then(|column| column.name.clone()).unwrap_or_default();
        let is_there = |column: Option<&Entry>| column.map(|column| !column.is_dropped);
        match (is_there(before), is_there(after)) {
            (Some(true), Some(true)) if named(before) != named(after) => {
                Some(format!("renamed column {table}.{} to {}", named(before), named(after)))
            }
            (Some(true), Some(true)) => Some(format!("changed column {table}.{}", named(after))),
            (Some(true), _) => Some(format!("dropped column {table}.{}", named(before))),
            (_, Some(true)) if old == EntryValue::Unknown => {
                Some(format!("changed column {table}.{}", named(after)))
            }
            (_, Some(true)) => Some(format!("created column {table}.{}", named(after))),
            (None, Some(false)) if old == EntryValue::Unknown => {
                Some(format!("dropped a column of table {table}"))
            }
            _ => None,
        }
    }

    /// An entry's name, or that of what it belongs to.
    fn name(&self, entry: &Entry) -> String {
        entry.name.clone().unwrap_or_else(|| self.name_of(entry.oid))
    }

    fn name_of(&self, oid: u32) -> String {
        let name = [&self.after, &self.before, &self.end].into_iter().find_map(|state| state.name_of(oid));
        name.map_or_else(|| oid.to_string(), str::to_owned)
    }
}

fn verb(old: EntryValue<'_>, new: EntryValue<'_>) -> &'static str {
    match (old, new) {
        (_, EntryValue::None) => "dropped",
        (EntryValue::None, _) => "created",
        _ => "changed",
    }
}

/// Whether a key of the database's tree is one of the catalogue's definitions.
fn is_definition(key: &[u8]) -> bool {
    store::definitions().contains(key)
}
