//! A typed table: the statements on a SQL table that its calls are.

use crate::record::{Column, Record};
use crate::scan::Direction;
use crate::{Error, Result};
use sql_types::Datum;
use std::fmt;
use std::fmt::Write as _;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// A table whose primary key is a `K` and whose other columns are a `V`; cloning shares it.
pub struct Table<K, V> {
    shape: Arc<Shape>,
    types: PhantomData<fn(K) -> V>,
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self { shape: self.shape.clone(), types: PhantomData }
    }
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("name", &self.shape.name).finish_non_exhaustive()
    }
}

impl<K, V> Table<K, V> {
    /// Its name in SQL, without quotes.
    pub fn name(&self) -> &str {
        &self.shape.name
    }
    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }
}

/// A statement with the OIDs of its parameters.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) text: String,
    pub(crate) types: Vec<u32>,
}

/// The columns of a table and the statements on it.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) key: Vec<Column>,
    pub(crate) value: Vec<Column>,
    pub(crate) get: Prepared,
    pub(crate) lock: Prepared,
    pub(crate) put: Prepared,
    pub(crate) insert: Prepared,
    pub(crate) delete: Prepared,
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| identifier::quote_always(&column.name)).collect::<Vec<_>>().join(", ")
}

fn oids(columns: &[Column]) -> Vec<u32> {
    columns.iter().map(|column| column.ty.oid()).collect()
}

impl<K: Record, V: Record> Table<K, V> {
    /// The table of this name, as these types have it.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let (key, value) = (K::columns("key"), V::columns("value"));
        let wrong = |what: &str| Error::Mismatch { table: name.to_owned(), what: what.to_owned() };
        if key.is_empty()
            || key.iter().any(|column| column.nullable || !sql_types::key::is_supported(column.ty))
        {
            return Err(wrong("needs a key of one or more columns that are never NULL"));
        }
        if value.iter().any(|column| key.iter().any(|key| key.name == column.name)) {
            return Err(wrong("has a key and a value with columns of the same name"));
        }
        Ok(Self { shape: Arc::new(Shape::new(name, key, value)), types: PhantomData })
    }
}

impl Shape {
    fn new(name: &str, key: Vec<Column>, value: Vec<Column>) -> Self {
        let table = identifier::quote_always(name);
        let fits: Vec<String> = (1..)
            .zip(&key)
            .map(|(at, column)| format!("{} = ${at}", identifier::quote_always(&column.name)))
            .collect();
        let fits = fits.join(" AND ");
        let wanted = if value.is_empty() { "true".to_owned() } else { names(&value) };
        let all: Vec<Column> = key.iter().chain(&value).cloned().collect();
        let places: Vec<String> = (1..=all.len()).map(|at| format!("${at}")).collect();
        let insert = format!("INSERT INTO {table} ({}) VALUES ({})", names(&all), places.join(", "));
        let sets: Vec<String> = value
            .iter()
            .map(|column| format!("{0} = excluded.{0}", identifier::quote_always(&column.name)))
            .collect();
        let then = if sets.is_empty() {
            "DO NOTHING".to_owned()
        } else {
            format!("DO UPDATE SET {}", sets.join(", "))
        };
        let get = format!("SELECT {wanted} FROM {table} WHERE {fits}");
        let keyed = |text: String| Prepared { text, types: oids(&key) };
        Self {
            name: name.to_owned(),
            lock: keyed(format!("{get} FOR UPDATE")),
            delete: keyed(format!("DELETE FROM {table} WHERE {fits}")),
            get: keyed(get),
            put: Prepared {
                text: format!("{insert} ON CONFLICT ({}) {then}", names(&key)),
                types: oids(&all),
            },
            insert: Prepared { text: insert, types: oids(&all) },
            key,
            value,
        }
    }

    /// CREATE TABLE of it.
    pub(crate) fn create(&self) -> String {
        let mut text = format!("CREATE TABLE IF NOT EXISTS {} (", identifier::quote_always(&self.name));
        for column in self.key.iter().chain(&self.value) {
            let null = if column.nullable { "" } else { " NOT NULL" };
            let _ = write!(
                text,
                "{} {}{null}, ",
                identifier::quote_always(&column.name),
                column.ty.info().sql_name
            );
        }
        let _ = write!(text, "PRIMARY KEY ({}))", names(&self.key));
        text
    }

    /// A query that gives all columns and no row.
    pub(crate) fn probe(&self) -> String {
        let all: Vec<Column> = self.key.iter().chain(&self.value).cloned().collect();
        format!("SELECT {} FROM {} LIMIT 0", names(&all), identifier::quote_always(&self.name))
    }

    /// The query of a scan, with its parameters.
    pub(crate) fn scan<K: Record>(
        &self,
        range: &impl RangeBounds<K>,
        direction: Direction,
    ) -> Result<(Prepared, Vec<Datum>)> {
        let (mut parameters, mut types, mut conditions) = (Vec::new(), Vec::new(), Vec::new());
        let bounds = [(range.start_bound(), '>'), (range.end_bound(), '<')];
        for (bound, beyond) in bounds {
            let (key, inclusive) = match bound {
                Bound::Unbounded => continue,
                Bound::Included(key) => (key, true),
                Bound::Excluded(key) => (key, false),
            };
            let first = parameters.len() + 1;
            key.write(&mut parameters)?;
            types.extend(oids(&self.key));
            conditions.push(beyond_key(&self.key, first, beyond, inclusive));
        }
        let all: Vec<Column> = self.key.iter().chain(&self.value).cloned().collect();
        let mut text = format!("SELECT {} FROM {}", names(&all), identifier::quote_always(&self.name));
        if !conditions.is_empty() {
            let _ = write!(text, " WHERE {}", conditions.join(" AND "));
        }
        let way = if direction == Direction::Descending { " DESC" } else { "" };
        let order: Vec<String> = self
            .key
            .iter()
            .map(|column| format!("{}{way}", identifier::quote_always(&column.name)))
            .collect();
        let _ = write!(text, " ORDER BY {}", order.join(", "));
        Ok((Prepared { text, types }, parameters))
    }
}

/// The condition that a key lies beyond the parameters from `first` on: for more than one column, that the
/// first lies beyond or is equal, and if equal the rest lies beyond.
fn beyond_key(columns: &[Column], first: usize, beyond: char, inclusive: bool) -> String {
    let Some((column, rest)) = columns.split_first() else { return "true".to_owned() };
    let name = identifier::quote_always(&column.name);
    if rest.is_empty() {
        let or_equal = if inclusive { "=" } else { "" };
        return format!("{name} {beyond}{or_equal} ${first}");
    }
    let rest = beyond_key(rest, first + 1, beyond, inclusive);
    format!("{name} {beyond}= ${first} AND ({name} {beyond} ${first} OR {rest})")
}
