//! What can go wrong at the face of the engine, each with its SQLSTATE.

use sqlstate::SqlState;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wal::reader::{ReadError, SourceError};
use wal::{BlockNumber, Lsn, RelFile, WalError};

/// Why replay and readers of a standby are in each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictKind {
    /// Row versions are removed that they may still need.
    Snapshot,
    /// A table is dropped that they may still read.
    Lock,
}

impl ConflictKind {
    /// The DETAIL of what a reader is told.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Snapshot => "User query might have needed to see row versions that must be removed.",
            Self::Lock => "User was holding a relation lock for too long.",
        }
    }
    /// The word in messages and in pg_stat_database_conflicts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Lock => "lock",
        }
    }
}

/// How the message of [`Error::Fenced`] begins.
pub const FENCED: &str = "this server is fenced";

/// The most that a backup's label may have.
pub(crate) const LABEL_BYTES_MAX: usize = 1024;

/// Every failure that callers of the engine tell apart.
///
/// `Display` is a lower-case primary message in PostgreSQL's style; [`Error::sqlstate`] gives its code.
/// Errors are cheap to clone, because one failed flush fails every commit that waits for it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// REPEATABLE READ met a row that another transaction changed after the snapshot (40001).
    #[error("could not serialize access due to concurrent {}", if *.deleted { "delete" } else { "update" })]
    SerializationFailure {
        /// Its change was a deletion.
        deleted: bool,
    },
    /// This transaction was chosen to break a cycle of lock waits (40P01).
    #[error("deadlock detected")]
    Deadlock {
        /// The cycle as text, one wait a line, for the error's detail.
        cycle: String,
    },
    /// A lock was not free under NOWAIT, or not within `lock_timeout` (55P03).
    #[error("{}", if *.timed_out { "canceling statement due to lock timeout" } else { "could not obtain lock" })]
    LockNotAvailable {
        /// True if `lock_timeout` ran out; false for NOWAIT.
        timed_out: bool,
    },
    /// The transaction's private write set is far beyond its limit, and much was written to it since it could
    /// be put into pages (54000).
    #[error("transaction is too large: its changes exceed plimsoll.write_set_limit ({limit_bytes} bytes)")]
    WriteSetFull {
        /// The limit.
        limit_bytes: usize,
    },
    /// A transaction has more changes than its write set may hold, under so many savepoints that there is no
    /// room to note each of them (54000).
    #[error("too many savepoints with changes in a transaction larger than plimsoll.write_set_limit")]
    TooManyParts,
    /// A key is longer than a tree takes (54000).
    #[error("index row requires {size_bytes} bytes, maximum size is {limit_bytes}")]
    KeyTooLarge {
        /// Bytes of the key.
        size_bytes: usize,
        /// The most that a key may have.
        limit_bytes: usize,
    },
    /// A value is longer than a page takes (54000).
    #[error("row is too big: size {size_bytes}, maximum size {limit_bytes}")]
    ValueTooLarge {
        /// Bytes of the value.
        size_bytes: usize,
        /// The most that a value may have.
        limit_bytes: usize,
    },
    /// A write on a node in recovery (25006).
    #[error("cannot execute a write during recovery")]
    ReadOnly,
    /// This node has met a newer branch of its history and takes no more writes (25006).
    #[error("{FENCED}: {reason}")]
    Fenced {
        /// Which branch was seen, and where.
        reason: Arc<str>,
    },
    /// No space for the log or the data (53100).
    #[error("could not write to file \"{}\": No space left on device", path.display())]
    DiskFull {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// Too many pages are pinned or in flight for the size of the pool (53200).
    #[error("no free buffer in the pool")]
    PoolExhausted,
    /// A page, record or file does not check out (XX001).
    #[error("{0}")]
    Corrupt(Arc<Corruption>),
    /// A segment of the log is not there although it should be (55000).
    #[error("{what}")]
    MissingLog {
        /// The position that was to be read.
        at: Lsn,
        /// Which segment, where it was looked for, and what for.
        what: String,
    },
    /// The file system failed (58030).
    #[error("could not {action} \"{}\": {}", path.display(), host::os_message(source))]
    Io {
        /// A verb phrase: "read file", "fsync directory".
        action: &'static str,
        /// What it failed on.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// The log failed; it takes no more records, and the server must stop (58030).
    #[error("the write-ahead log has failed: {0}")]
    Log(Arc<str>),
    /// The engine is stopping (57P01).
    #[error("the database system is shutting down")]
    Shutdown,
    /// The wait was cancelled (57014). The server knows whether by a user, a timeout or the end of the
    /// session.
    #[error("canceling statement due to user request")]
    Cancelled,
    /// Replay on a standby needed what this snapshot still read (40001).
    #[error("canceling statement due to conflict with recovery")]
    RecoveryConflict(ConflictKind),
    /// A tree that does not exist, or no longer (42P01).
    #[error("relation {0} does not exist")]
    NoSuchTree(RelFile),
    /// A data directory that cannot be used as asked; the message says why and what to do (55000).
    #[error("{0}")]
    Unusable(String),
    /// A backup of a standby whose log lacks page images: copied pages may stay torn (55000).
    #[error("WAL without page images (full_page_writes = off) was replayed {since}")]
    NoPageImages {
        /// Since when, as words.
        since: &'static str,
    },
    /// A backup's label that is longer than a path may be (22023).
    #[error("backup label too long (max {LABEL_BYTES_MAX} bytes)")]
    LabelTooLong,
    /// A call that makes no sense in the database's present state (55000).
    #[error("{0}")]
    WrongState(&'static str),
}

/// Where damage lies, and what was expected and found.
#[derive(Clone, Debug)]
pub struct Corruption {
    /// The file, as its path below the data directory, or the record's LSN.
    pub place: String,
    /// The page, for relation files.
    pub block: Option<BlockNumber>,
    /// The position in the log, for records and pages that name one.
    pub lsn: Option<Lsn>,
    /// What is wrong: expected and found.
    pub what: String,
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.block {
            Some(block) => {
                write!(f, "invalid page in block {block} of relation {}: {}", self.place, self.what)
            }
            None => write!(f, "{}: {}", self.place, self.what),
        }?;
        self.lsn.map_or(Ok(()), |lsn| write!(f, " (at {lsn})"))
    }
}

impl Error {
    /// The five-letter code that SQL clients see.
    pub fn sqlstate(&self) -> SqlState {
        match self {
            Self::SerializationFailure { .. } | Self::RecoveryConflict(_) => SqlState::SERIALIZATION_FAILURE,
            Self::Deadlock { .. } => SqlState::DEADLOCK_DETECTED,
            Self::LockNotAvailable { .. } => SqlState::LOCK_NOT_AVAILABLE,
            Self::WriteSetFull { .. }
            | Self::TooManyParts
            | Self::KeyTooLarge { .. }
            | Self::ValueTooLarge { .. } => SqlState::PROGRAM_LIMIT_EXCEEDED,
            Self::ReadOnly | Self::Fenced { .. } => SqlState::READ_ONLY_SQL_TRANSACTION,
            Self::DiskFull { .. } => SqlState::DISK_FULL,
            Self::PoolExhausted => SqlState::OUT_OF_MEMORY,
            Self::Corrupt(_) => SqlState::DATA_CORRUPTED,
            Self::Io { .. } | Self::Log(_) => SqlState::IO_ERROR,
            Self::Shutdown => SqlState::ADMIN_SHUTDOWN,
            Self::Cancelled => SqlState::QUERY_CANCELED,
            Self::NoSuchTree(_) => SqlState::UNDEFINED_TABLE,
            Self::LabelTooLong => SqlState::INVALID_PARAMETER_VALUE,
            Self::Unusable(_) | Self::MissingLog { .. } | Self::NoPageImages { .. } | Self::WrongState(_) => {
                SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE
            }
        }
    }

    /// Whether a commit that failed with this may be in the log all the same, of which only a restart tells.
    pub fn may_have_committed(&self) -> bool {
        matches!(self, Self::Log(_) | Self::Io { .. } | Self::Shutdown | Self::Fenced { .. })
    }

    /// Wraps what the file system said of `path`; a full disk is told apart.
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let (path, full) = (path.to_path_buf(), host::is_disk_full(&source));
        if full { Self::DiskFull { path } } else { Self::Io { action, path, source: Arc::new(source) } }
    }

    /// Damage in one page of a relation.
    #[cold]
    pub fn corrupt_page(relation: RelFile, block: BlockNumber, what: impl Into<String>) -> Self {
        let place = relation.to_string();
        Self::Corrupt(Arc::new(Corruption { place, block: Some(block), lsn: None, what: what.into() }))
    }

    /// Damage anywhere else: a record, a control file, a label.
    #[cold]
    pub fn corrupt(place: impl Into<String>, lsn: Option<Lsn>, what: impl Into<String>) -> Self {
        Self::Corrupt(Arc::new(Corruption { place: place.into(), block: None, lsn, what: what.into() }))
    }
}

/// A log error as this crate tells it: a full disk apart from a log that has failed for good.
#[cold]
pub(crate) fn log_error(error: WalError) -> Error {
    match error {
        WalError::DiskFull { path, .. } => Error::DiskFull { path },
        WalError::Closed { .. } => Error::Shutdown,
        other => Error::Log(other.to_string().into()),
    }
}

/// A read error of the log as this crate tells it.
#[cold]
pub(crate) fn read_error(error: ReadError) -> Error {
    match error {
        ReadError::Corrupt { reason, .. } => {
            Error::corrupt("write-ahead log", Some(reason.at()), error.to_string())
        }
        ReadError::Source(SourceError::Io { path, error, .. }) => {
            Error::io("read WAL segment", Path::new(&path), error)
        }
        ReadError::Source(ref missing @ SourceError::Missing { at, .. }) => {
            Error::MissingLog { at, what: missing.to_string() }
        }
    }
}

/// A failed sync of a tree of files as this crate tells it.
pub(crate) fn tree_sync_error(failed: host::TreeError) -> Error {
    Error::io(failed.action, &failed.path, failed.error)
}
