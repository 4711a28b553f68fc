//! A change of one row, and its statement.

use super::sql::{Columns, assignments, comment, guard, insert, plain, quote};
use serde_json::{Map, Value};

/// What a statement does to its row, in the order in which those of a transaction come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Op {
    Delete,
    Update,
    Insert,
    /// It wrote the row anew with all of its table, and may have changed it or not.
    Rewrite,
    /// Nothing that is known.
    Other,
}

/// What a transaction did to one row, as the file has it.
pub(super) struct Change<'c> {
    pub(super) op: Op,
    pub(super) table: String,
    /// Of a table without a primary key it is empty; None if it is not known.
    pub(super) key: Option<&'c Columns>,
    pub(super) old: Option<&'c Columns>,
    pub(super) new: Option<&'c Columns>,
}

impl<'c> Change<'c> {
    pub(super) fn of(line: &'c Value) -> Self {
        let columns = |name: &str| line.get(name).and_then(Value::as_object);
        let of = |name: &str| line.get(name).map(plain).unwrap_or_default();
        let op = match of("op").as_str() {
            "delete" => Op::Delete,
            "update" => Op::Update,
            "insert" => Op::Insert,
            "rewrite" => Op::Rewrite,
            _ => Op::Other,
        };
        Self { op, table: quote(&of("table")), key: columns("key"), old: columns("old"), new: columns("new") }
    }

    /// The row is known, and has no key: it is as good as any that is equal.
    pub(super) fn is_keyless(&self) -> bool {
        let is_known = match self.op {
            Op::Delete => self.old.is_some(),
            Op::Update => self.old.is_some() && self.new.is_some(),
            Op::Insert => self.new.is_some(),
            Op::Rewrite | Op::Other => false,
        };
        is_known && self.key.is_some_and(Map::is_empty)
    }

    pub(super) fn statement(&self) -> Statement<'_> {
        let Self { op, table, .. } = self;
        let key = self.key.filter(|key| !key.is_empty());
        let text = match (op, self.old, self.new) {
            (Op::Insert, _, Some(new)) => insert(table, new, key),
            (Op::Update, Some(old), Some(new)) => return Statement::update(table, old, new, &guard(old)),
            (Op::Update, None, Some(new)) if let Some(key) = key => format!(
                "-- the row before it, if there was one, is not known:\n-- UPDATE {} SET {} WHERE {};",
                comment(table),
                comment(&assignments(new.iter())),
                comment(&guard(key))
            ),
            (Op::Delete, Some(old), _) => format!("DELETE FROM {table} WHERE {};", guard(old)),
            (Op::Delete, None, _) if let Some(key) = key => format!(
                "-- the row before it is not known:\n-- DELETE FROM {} WHERE {};",
                comment(table),
                comment(&guard(key))
            ),
            _ => format!("-- {} of {}, whose row is not known", op.name(), comment(table)),
        };
        Statement { op: *op, text, moves: None }
    }
}

/// A statement, or a comment in its place.
pub(super) struct Statement<'c> {
    pub(super) op: Op,
    pub(super) text: String,
    /// What an UPDATE gives up, and what it takes.
    pub(super) moves: Option<Moves<'c>>,
}

/// The values that a row has got.
pub(super) fn changed<'c>(
    old: &'c Columns,
    new: &'c Columns,
) -> impl Iterator<Item = (&'c String, &'c Value)> {
    new.iter().filter(|(name, value)| old.get(*name) != Some(value))
}

/// An UPDATE's values, by what a unique constraint may have to say of them.
pub(super) struct Moves<'c> {
    pub(super) table: &'c str,
    pub(super) old: &'c Columns,
    pub(super) new: &'c Columns,
}

impl<'c> Statement<'c> {
    /// Makes a row another one where `condition` holds.
    pub(super) fn update(table: &'c str, old: &'c Columns, new: &'c Columns, condition: &str) -> Self {
        let set = assignments(changed(old, new));
        let has_others = old.len() != new.len() || new.keys().any(|name| !old.contains_key(name));
        if has_others || set.is_empty() {
            let table = comment(table);
            let text = if has_others {
                let (old, new) = (comment(&guard(old)), comment(&assignments(new.iter())));
                format!(
                    "-- the commit changed the columns of {table} as well; of the row WHERE {old} it made {new}"
                )
            } else {
                format!("-- an UPDATE of {table} that changed nothing")
            };
            return Self { op: Op::Update, text, moves: None };
        }
        let text = format!("UPDATE {table} SET {set} WHERE {condition};");
        Self { op: Op::Update, text, moves: Some(Moves { table, old, new }) }
    }
}

impl Op {
    const fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Update => "update",
            Self::Insert => "insert",
            Self::Rewrite => "rewrite",
            Self::Other => "a change",
        }
    }
}
