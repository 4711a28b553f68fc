//! The plain words of the engine's callers: trees, levels, locks, ranges of keys.

use crate::Error;
use std::time::Duration;
use wal::{Lsn, RelFile, TimelineId, Xid};

/// One B-tree: a table, or an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeId {
    /// The database's OID: the folder below base/.
    pub database: u32,
    /// The relation file number: the file's name.
    pub relation: u32,
}

impl TreeId {
    /// A tree by its database and file number.
    pub const fn new(database: u32, relation: u32) -> Self {
        Self { database, relation }
    }
    /// The files of this tree.
    pub const fn file(self) -> RelFile {
        RelFile::new(self.database, self.relation)
    }
}

/// What a transaction sees of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Each statement sees what was visible when it began.
    #[default]
    ReadCommitted,
    /// All statements see what was visible when the first one began; a lock on a row changed since is 40001.
    RepeatableRead,
}

/// What COMMIT achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The end of the commit record, exclusive; with `timeline` the token for reads that follow this write.
    /// For a transaction that wrote nothing, the end of what it read.
    pub lsn: Lsn,
    /// The timeline that `lsn` is on.
    pub timeline: TimelineId,
    /// The transaction id; None if it wrote nothing.
    pub xid: Option<Xid>,
    /// False if the wait for the level was cancelled: the commit is in this node's log, and others see it
    /// only once its level is reached after all. The session warns "committed locally, replication
    /// unconfirmed".
    pub confirmed: bool,
}

/// What strength a lock has; which exclude each other is PostgreSQL's table for row locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockMode {
    /// Of who looks whether a key is there to stay: excludes only `Exclusive`.
    Settled,
    /// FOR KEY SHARE: excludes `Update` and `Exclusive`.
    KeyShare,
    /// FOR SHARE: excludes `NoKeyExclusive` and what is stronger.
    Shared,
    /// FOR NO KEY UPDATE, and UPDATE that leaves the key: excludes all but `KeyShare` and `Settled`.
    NoKeyExclusive,
    /// FOR UPDATE: excludes all but `Settled`, since the row stays.
    Update,
    /// DELETE, INSERT, UPDATE of a key: excludes all.
    Exclusive,
}

/// The strength of a lock on a whole table; PostgreSQL's eight with its conflict table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableLockMode {
    /// SELECT.
    AccessShare,
    /// SELECT FOR UPDATE and its kin.
    RowShare,
    /// INSERT, UPDATE, DELETE, COPY FROM.
    RowExclusive,
    /// VACUUM, ANALYZE.
    ShareUpdateExclusive,
    /// CREATE INDEX.
    Share,
    /// CREATE TRIGGER.
    ShareRowExclusive,
    /// REFRESH MATERIALIZED VIEW CONCURRENTLY.
    Exclusive,
    /// DROP TABLE, TRUNCATE, most of ALTER TABLE, LOCK TABLE.
    AccessExclusive,
}

impl TableLockMode {
    /// Weakest first.
    pub(crate) const ALL: [Self; 8] = [
        Self::AccessShare,
        Self::RowShare,
        Self::RowExclusive,
        Self::ShareUpdateExclusive,
        Self::Share,
        Self::ShareRowExclusive,
        Self::Exclusive,
        Self::AccessExclusive,
    ];
}

/// How long to wait for a lock that another transaction holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LockWait {
    /// Until it is free, or a deadlock is found.
    #[default]
    Forever,
    /// At most this long (`lock_timeout`), then 55P03.
    AtMost(Duration),
    /// NOWAIT: 55P03 at once.
    NoWait,
    /// SKIP LOCKED: [`Locked::skipped`] at once.
    Skip,
}

/// A row under lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locked {
    /// The newest version: this transaction's own if it wrote one, else the last one committed, in doubt or
    /// not; None if there is none or it is a deletion.
    pub newest: Option<bytes::Bytes>,
    /// Another transaction changed the row after this statement's snapshot: evaluate the statement's
    /// condition again on `newest` (READ COMMITTED; REPEATABLE READ gets 40001 instead).
    pub changed_since_snapshot: bool,
    /// The newest version is this transaction's own, and is not among what the statement reads: it was
    /// written by that statement itself, or by a later one than the one whose state is read.
    pub written_since_read: bool,
    /// Under [`LockWait::Skip`]: the row is locked by another transaction, and nothing was locked or read.
    pub skipped: bool,
}

/// Which way a scan walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Direction {
    /// Ascending keys.
    #[default]
    Forward,
    /// Descending keys.
    Backward,
}

/// A range of keys, `start` inclusive, `end` exclusive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The least key inside; empty for the first of the tree.
    pub start: bytes::Bytes,
    /// The least key above the range; None for the end of the tree.
    pub end: Option<bytes::Bytes>,
}

impl KeyRange {
    /// The whole tree.
    pub fn all() -> Self {
        Self::default()
    }
    /// From `start` (inclusive) to `end` (exclusive).
    pub fn new(start: impl Into<bytes::Bytes>, end: impl Into<bytes::Bytes>) -> Self {
        Self { start: start.into(), end: Some(end.into()) }
    }
    /// From `start` (inclusive) to the end of the tree.
    pub fn from(start: impl Into<bytes::Bytes>) -> Self {
        Self { start: start.into(), end: None }
    }
    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<bytes::Bytes>) -> Self {
        let start: bytes::Bytes = prefix.into();
        let mut end = start.to_vec();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return Self { start, end: Some(end.into()) };
            }
        }
        Self { start, end: None }
    }
    /// Whether `key` lies inside.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && self.end.as_deref().is_none_or(|end| key < end)
    }
}

impl From<TreeId> for RelFile {
    fn from(tree: TreeId) -> Self {
        tree.file()
    }
}

impl TryFrom<RelFile> for TreeId {
    type Error = Error;
    fn try_from(file: RelFile) -> Result<Self, Error> {
        if file.tablespace == RelFile::DEFAULT_TABLESPACE {
            Ok(Self::new(file.database, file.relation))
        } else {
            Err(Error::NoSuchTree(file))
        }
    }
}
