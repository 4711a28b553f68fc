//! What can go wrong when WAL is written.

use crate::ids::{Lsn, SegmentNumber};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the writer was doing when a file operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalOperation {
    /// Creating and zero-filling a segment.
    Allocate,
    /// Opening a segment.
    Open,
    /// Reading a segment.
    Read,
    /// Writing log bytes.
    Write,
    /// Making them durable.
    Sync,
    /// Listing the folder.
    List,
    /// Renaming or removing a segment that is no longer needed.
    Recycle,
}

impl std::fmt::Display for WalOperation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Allocate => "create",
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write to",
            Self::Sync => "fsync",
            Self::List => "list",
            Self::Recycle => "recycle",
        })
    }
}

/// An error of the log's writing side. Cloning shares the cause.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WalError {
    /// A write or fsync of log bytes failed. It is never retried, since what the kernel did with the bytes is
    /// unknown: every later call of this writer gives this error, and the server has to stop and recover.
    #[error("could not {operation} file \"{}\": {cause}; the log can take no more, restart to recover", path.display())]
    Failed {
        /// What was tried.
        operation: WalOperation,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        cause: Arc<io::Error>,
    },
    /// There is no space for another segment. Nothing was inserted, and the writer goes on when there is
    /// space again.
    #[error("could not create file \"{}\": {cause}", path.display())]
    DiskFull {
        /// The segment that has no place.
        path: PathBuf,
        /// What the system said.
        cause: Arc<io::Error>,
    },
    /// A file operation failed that leaves the log as it was (creating, opening, recycling).
    #[error("could not {operation} file \"{}\": {cause}", path.display())]
    Io {
        /// What was tried.
        operation: WalOperation,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        cause: Arc<io::Error>,
    },
    /// A record longer than any reader takes.
    #[error("a log record of {len} bytes exceeds the limit of {limit}")]
    RecordTooLong {
        /// Its length in bytes.
        len: u64,
        /// The longest allowed.
        limit: u64,
    },
    /// Raw bytes that do not continue the log where it ends.
    #[error("WAL bytes for {found} came where {expected} was expected")]
    NotContiguous {
        /// Where the log ends.
        expected: Lsn,
        /// Where the bytes belong.
        found: Lsn,
    },
    /// A flush beyond the log's end: the position comes from elsewhere, from a damaged page maybe.
    #[error("flush up to {asked} asked for, the log ends at {inserted}")]
    Ahead {
        /// The position asked for.
        asked: Lsn,
        /// The log's end.
        inserted: Lsn,
    },
    /// The writer cannot begin at the place asked for.
    #[error("cannot write the log from {at}: {why}")]
    BadStart {
        /// The place.
        at: Lsn,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A segment that is needed is not there.
    #[error("WAL segment {segment:?} is missing: \"{}\"", path.display())]
    MissingSegment {
        /// Which.
        segment: SegmentNumber,
        /// Its path.
        path: PathBuf,
    },
    /// The writer was closed.
    #[error("the log at {reached} is closed")]
    Closed {
        /// Where it ended.
        reached: Lsn,
    },
}

impl WalError {
    /// Tells a full disk from other failures of something that leaves the log as it was.
    pub(crate) fn from_io(operation: WalOperation, path: &Path, cause: io::Error) -> Self {
        let (path, full) = (path.to_path_buf(), host::is_disk_full(&cause));
        let cause = Arc::new(cause);
        if full { Self::DiskFull { path, cause } } else { Self::Io { operation, path, cause } }
    }

    /// The same cause, where it ends the writer: bytes that were taken from memory did not get to the disk.
    pub(crate) fn into_failed(self) -> Self {
        match self {
            Self::DiskFull { path, cause } => Self::Failed { operation: WalOperation::Allocate, path, cause },
            Self::Io { operation, path, cause } => Self::Failed { operation, path, cause },
            other => other,
        }
    }
}
