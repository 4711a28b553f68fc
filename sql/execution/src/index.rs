//! Secondary indexes: entries beside a table's rows, in trees of their own.
//!
//! ```text
//! index                            key of an entry                      value of an entry
//! unique, no NULL in the key       the columns                          the row's key
//! unique, with a NULL in the key   the columns, the row's key           the row's key
//! not unique                       the columns, the row's key           u16 LE: where the row's key begins
//! ```
//!
//! Columns are written by `sql_types::key::OrderedColumn`, so entries lie in the index's order; "the row's
//! key" is its key in the table's tree: the primary key, or the hidden row number. NULLS NOT DISTINCT makes
//! NULL a value like others.
//!
//! Entries are versions like rows: what a snapshot finds in an index is what it finds in the table, and no
//! entry is ever looked at twice. A statement writes an entry only where the key of one changes.
//!
//! Locks: the entry of a unique key is locked like a row before it is read or written, so that the newest
//! version tells whether the key is free; all other entries are guarded by the lock of their row. All lock
//! the row first and then its entries. ON CONFLICT, which comes to a row by an entry, lets go of the entry
//! before it waits for the row, and of entries that it found free before it waits for its new row's key.

use super::lock::{is_settled, lock_new_key};
use super::{Cx, row, violation};
use bytes::Bytes;
use smallvec::SmallVec;
use sql_catalogue::{Index, Relation};
use sql_interface::{Result, SqlError};
use sql_types::Datum;
use sqlstate::SqlState;
use storage::{Isolation, Locked};

/// An entry that a row has in an index.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key in the index's tree.
    pub key: Vec<u8>,
    /// No second row may have this key.
    pub(crate) exclusive: bool,
    columns_bytes: usize,
}

impl Entry {
    /// The entry of `row`, which lies under `row_key` in the table's tree.
    ///
    /// # Errors
    ///
    /// A value that no key can hold.
    pub fn new(index: &Index, row: &[Datum], row_key: &[u8]) -> Result<Self> {
        let mut key = Vec::with_capacity(24 + row_key.len());
        let mut has_null = false;
        for column in &index.columns {
            let value = row.get(column.at).unwrap_or(&Datum::Null);
            has_null |= value.is_null();
            column.order.encode(value, &mut key)?;
        }
        let columns_bytes = key.len();
        let exclusive = index.unique && (index.nulls_not_distinct || !has_null);
        if !exclusive {
            key.extend_from_slice(row_key);
        }
        Ok(Self { key, exclusive, columns_bytes })
    }

    /// What stands under its key.
    pub fn value(&self, index: &Index, row_key: &[u8]) -> Vec<u8> {
        if index.unique {
            return row_key.to_vec();
        }
        // Keys are shorter than a page.
        u16::try_from(self.columns_bytes).unwrap_or(u16::MAX).to_le_bytes().to_vec()
    }
}

/// The key, in the table's tree, of the row that an entry belongs to.
pub(crate) fn row_key_of(index: &Index, key: &Bytes, value: &Bytes) -> Result<Bytes> {
    if index.unique {
        return Ok(value.clone());
    }
    let start = <[u8; 2]>::try_from(&value[..]).map(|bytes| usize::from(u16::from_le_bytes(bytes)));
    match start {
        Ok(start) if start <= key.len() => Ok(key.slice(start..)),
        _ => Err(SqlError::new(
            SqlState::DATA_CORRUPTED,
            format!("an entry of index \"{}\" is malformed", index.name),
        )),
    }
}

async fn lock_entry(cx: &mut Cx<'_>, index: &Index, entry: &Entry) -> Result<Locked> {
    lock_new_key(cx, index.tree, &entry.key).await
}

/// 40001 for ON CONFLICT under REPEATABLE READ with a row that is not in the snapshot: it can be neither left
/// nor changed.
pub(super) fn refuse_unseen(cx: &Cx<'_>, locked: &Locked) -> Result<()> {
    let unseen = locked.newest.is_some()
        && locked.changed_since_snapshot
        && cx.transaction.isolation() == Isolation::RepeatableRead;
    if unseen { cx.storage(Err(storage::Error::SerializationFailure { deleted: false })) } else { Ok(()) }
}

/// The same for a row that is in the snapshot, and in the way as it is now.
pub(super) async fn refuse_changed(cx: &mut Cx<'_>, relation: &Relation, key: &[u8]) -> Result<()> {
    if cx.transaction.isolation() != Isolation::RepeatableRead {
        return Ok(());
    }
    let changed = cx.transaction.changed_since_snapshot(relation.tree, key).await;
    if !cx.storage(changed)? {
        return Ok(());
    }
    cx.storage(Err(storage::Error::SerializationFailure { deleted: false }))
}

/// The row that an entry belongs to may fill the write set alone; who locks an entry has room for it.
async fn make_room(cx: &mut Cx<'_>) -> Result<()> {
    let room = cx.transaction.make_room().await;
    cx.storage(room)
}

/// Adds the entry of a new row; 23505 if another row has its key.
async fn add(
    cx: &mut Cx<'_>,
    relation: &Relation,
    index: &Index,
    new: &[Datum],
    (entry, row_key): (Entry, &[u8]),
) -> Result<()> {
    let value = entry.value(index, row_key);
    if !entry.exclusive {
        make_room(cx).await?;
        let put = cx.transaction.put_guarded(index.tree, entry.key, value);
        return cx.storage(put);
    }
    let locked = lock_entry(cx, index, &entry).await?;
    if locked.newest.is_some() {
        return Err(violation::same_index_key(cx.facts, relation, index, new));
    }
    let put = cx.transaction.put(index.tree, entry.key, value);
    cx.storage(put)
}

async fn remove(cx: &mut Cx<'_>, index: &Index, entry: Entry) -> Result<()> {
    let deleted = if entry.exclusive {
        lock_entry(cx, index, &entry).await?;
        cx.transaction.delete(index.tree, entry.key)
    } else {
        make_room(cx).await?;
        cx.transaction.delete_guarded(index.tree, entry.key)
    };
    cx.storage(deleted)
}

/// Adds the entries of a new row to all indexes.
pub(super) async fn add_row(
    cx: &mut Cx<'_>,
    relation: &Relation,
    new: &[Datum],
    row_key: &[u8],
) -> Result<()> {
    for index in &relation.indexes {
        let entry = Entry::new(index, new, row_key)?;
        add(cx, relation, index, new, (entry, row_key)).await?;
    }
    Ok(())
}

/// Removes the entries of a row from all indexes.
pub(super) async fn remove_row(
    cx: &mut Cx<'_>,
    relation: &Relation,
    old: &[Datum],
    row_key: &[u8],
) -> Result<()> {
    for index in &relation.indexes {
        remove(cx, index, Entry::new(index, old, row_key)?).await?;
    }
    Ok(())
}

/// Brings the entries of a changed row up to date: each where its columns or the row's key changed, and no
/// other.
pub(super) async fn change_row(
    cx: &mut Cx<'_>,
    relation: &Relation,
    (old, old_key): (&[Datum], &[u8]),
    (new, new_key): (&[Datum], &[u8]),
) -> Result<()> {
    for index in &relation.indexes {
        let same = |at: usize| old.get(at) == new.get(at);
        if old_key == new_key && index.columns.iter().all(|column| same(column.at)) {
            continue;
        }
        let (before, after) = (Entry::new(index, old, old_key)?, Entry::new(index, new, new_key)?);
        if old_key == new_key && before == after {
            continue;
        }
        remove(cx, index, before).await?;
        add(cx, relation, index, new, (after, new_key)).await?;
    }
    Ok(())
}

/// A row that is in the way of a new one.
pub(super) struct Conflict {
    pub(super) key: Bytes,
    /// Its newest version; nothing where nobody wants it.
    pub(super) newest: Bytes,
    pub(super) written_since_read: bool,
}

/// Looks for the row that has the key which `new` is to have in a unique index. With `locking` that row is
/// locked, else it is enough to know that there is one.
pub(super) async fn find_conflict(
    cx: &mut Cx<'_>,
    relation: &Relation,
    index: &Index,
    (new, row_key): (&[Datum], &[u8]),
    locking: bool,
) -> Result<Option<Conflict>> {
    let entry = Entry::new(index, new, row_key)?;
    if !entry.exclusive {
        return Ok(None);
    }
    let seen = cx.transaction.get(index.tree, &entry.key).await;
    let seen = cx.storage(seen)?;
    if let Some(key) = &seen
        && !locking
        && is_settled(cx, index.tree, &entry.key).await?
    {
        refuse_changed(cx, relation, key).await?;
        return Ok(Some(Conflict { key: key.clone(), newest: Bytes::new(), written_since_read: false }));
    }
    let (mut known, mut is_last) = (seen.filter(|_| locking), false);
    loop {
        let before = cx.transaction.lock_mark();
        // The row before the entry, as UPDATE has it: else the two would wait for each other.
        if let Some(key) = known {
            if let Some(conflict) = lock_conflict(cx, relation, (index, &entry), key).await? {
                return Ok(Some(conflict));
            }
            // It is no longer in the way.
            cx.transaction.release_locks_after(before);
        }
        let locked = lock_entry(cx, index, &entry).await?;
        refuse_unseen(cx, &locked)?;
        let Some(key) = locked.newest else { return Ok(None) };
        if !locking {
            return Ok(Some(Conflict { key, newest: Bytes::new(), written_since_read: false }));
        }
        if is_last {
            let conflict = lock_conflict(cx, relation, (index, &entry), key).await?;
            return conflict.map(Some).ok_or_else(|| {
                let message = format!("index \"{}\" has an entry without a row", index.name);
                SqlError::new(SqlState::DATA_CORRUPTED, message)
            });
        }
        cx.transaction.release_locks_after(before);
        (known, is_last) = (Some(key), true);
    }
}

/// Locks the row that an entry led to, and gives it if the entry is still one of its.
async fn lock_conflict(
    cx: &mut Cx<'_>,
    relation: &Relation,
    (index, entry): (&Index, &Entry),
    key: Bytes,
) -> Result<Option<Conflict>> {
    let locked = lock_new_key(cx, relation.tree, &key).await?;
    let Some(newest) = &locked.newest else { return Ok(None) };
    let columns: SmallVec<[usize; 4]> = index.columns.iter().map(|column| column.at).collect();
    let now = row::decode(relation, &columns, &key, newest)?;
    if Entry::new(index, &now, &key)? != *entry {
        return Ok(None);
    }
    refuse_unseen(cx, &locked)?;
    let written_since_read = locked.written_since_read;
    Ok(locked.newest.map(|newest| Conflict { key, newest, written_since_read }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sql_catalogue::IndexColumn;
    use sql_types::key::OrderedColumn;
    use storage::TreeId;

    fn index(unique: bool, nulls_not_distinct: bool) -> Index {
        let column = |at, descending, nulls_first| IndexColumn {
            at,
            order: OrderedColumn { descending, nulls_first },
        };
        Index {
            oid: 1,
            name: "i".into(),
            tree: TreeId::new(5, 1),
            columns: vec![column(0, false, false), column(1, true, true)],
            unique,
            constraint: false,
            nulls_not_distinct,
        }
    }

    #[test]
    fn an_entry_leads_back_to_its_row() {
        for unique in [true, false] {
            let index = index(unique, false);
            for row in [[Datum::Int4(7), Datum::text("x")], [Datum::Null, Datum::text("x")]] {
                let entry = Entry::new(&index, &row, b"key").unwrap();
                let value = Bytes::from(entry.value(&index, b"key"));
                let found = row_key_of(&index, &Bytes::from(entry.key), &value).unwrap();
                assert_eq!(&found[..], b"key", "{unique} {row:?}");
            }
        }
        let short =
            row_key_of(&index(false, false), &Bytes::from_static(b"ab"), &Bytes::from_static(&[9, 0]));
        assert!(short.is_err(), "an offset behind the end is damage");
    }

    #[test]
    fn only_keys_without_null_exclude_each_other_unless_nulls_are_not_distinct() {
        let with_null = [Datum::Int4(1), Datum::Null];
        let whole = [Datum::Int4(1), Datum::text("a")];
        let exclusive = |index: &Index, row: &[Datum]| Entry::new(index, row, b"k").unwrap().exclusive;
        assert!(exclusive(&index(true, false), &whole) && !exclusive(&index(true, false), &with_null));
        assert!(exclusive(&index(true, true), &with_null));
        assert!(!exclusive(&index(false, true), &whole));
    }

    #[test]
    fn entries_lie_in_the_order_of_their_columns() {
        let index = index(false, false);
        let rows = [
            [Datum::Int4(1), Datum::Null],
            [Datum::Int4(1), Datum::text("b")],
            [Datum::Int4(1), Datum::text("ab")],
            [Datum::Int4(1), Datum::text("a")],
            [Datum::Int4(2), Datum::text("z")],
            [Datum::Null, Datum::Null],
        ];
        let keys: Vec<Vec<u8>> = rows.iter().map(|row| Entry::new(&index, row, b"k").unwrap().key).collect();
        assert!(keys.is_sorted(), "{keys:?}");
    }
}
