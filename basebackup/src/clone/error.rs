//! Why a clone fails.

use crate::manifest::{ManifestError, Problem};
use protocol::ClientError;
use protocol::conninfo::ConnInfoError;
use std::io;
use std::path::Path;
use wal::control::ControlError;
use wal::format::FormatError;
use wal::{Lsn, ReadError, SystemId, TimelineId, WalError};

/// Why a clone failed.
#[derive(Debug, thiserror::Error)]
pub enum CloneError {
    /// The target holds something.
    #[error("directory \"{0}\" exists but is not empty")]
    NotEmpty(String),
    /// The target is a file.
    #[error("\"{0}\" is not a directory")]
    NotADirectory(String),
    /// The target holds a clone that is under way, or was broken off.
    #[error(
        "directory \"{0}\" holds a clone that is not finished: if none is under way there, remove the directory \
         and clone again"
    )]
    Unfinished(String),
    /// The target has lost its mark, or has another clone's.
    #[error("directory \"{0}\" is no longer this clone's: it was removed or replaced meanwhile")]
    Replaced(String),
    /// Somebody else has made the slot that was to be made.
    #[error("replication slot \"{0}\" already exists")]
    SlotExists(String),
    /// The connection string is wrong.
    #[error(transparent)]
    ConnInfo(#[from] ConnInfoError),
    /// What leads to the server does not fit into a file of settings.
    #[error(
        "connection string must not contain a newline in a value: a standby could not keep it in its settings"
    )]
    Newline,
    /// The connection or the server failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server is of another major version.
    #[error("server has version {0}, a server of version 15 is needed")]
    Version(String),
    /// The two connections lead to different clusters, or the backup is of another.
    #[error("system identifier changed from {expected} to {found} during the clone")]
    SystemId {
        /// The first one.
        expected: SystemId,
        /// The other one.
        found: SystemId,
    },
    /// The two connections lead to different servers of one cluster: the log of one need not be that of the
    /// other's files.
    #[error("two connections by the same connection string lead to different servers: name one server")]
    OtherServer,
    /// The server is a real PostgreSQL.
    #[error("the server is PostgreSQL, not Plimsoll: its data directory cannot be run by Plimsoll")]
    Foreign,
    /// The server's format is not one that this program reads.
    #[error("{0}; {hint}", hint = .0.hint())]
    Format(FormatError),
    /// The server's answer makes no sense.
    #[error("unexpected answer from the server: {0}")]
    Answer(String),
    /// A file could not be written or read.
    #[error("could not access \"{path}\": {error}")]
    Io {
        /// The file.
        path: String,
        /// The cause.
        error: io::Error,
    },
    /// The archive makes no sense.
    #[error("invalid archive from the server: {0}")]
    Archive(String),
    /// The manifest makes no sense.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Files are not what the manifest says.
    #[error("the clone does not match its manifest: {}{}", .0.first().map_or(String::new(), ToString::to_string), more(.0.len()))]
    Mismatch(Vec<Problem>),
    /// pg_control makes no sense.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The log could not be written.
    #[error(transparent)]
    WalWrite(#[from] WalError),
    /// The log that came is damaged.
    #[error("log of the clone: {0}")]
    WalRead(#[from] ReadError),
    /// The log that came does not reach the backup's end.
    #[error("log of the clone ends at {found}, expected {expected}: {reason}")]
    WalEnd {
        /// The backup's end.
        expected: Lsn,
        /// The end of the last good record.
        found: Lsn,
        /// Why it ends there.
        reason: String,
    },
    /// The server stopped streaming before the backup's end.
    #[error("server ended the log stream at {at}, before the end of the backup")]
    StreamEnded {
        /// The end of what came.
        at: Lsn,
    },
    /// A standby's last restartpoint is of an earlier timeline than its log.
    #[error(
        "server's last restartpoint is on timeline {from}, and its log goes on on timeline {to}: take a CHECKPOINT on the \
         primary, and clone again once this standby has replayed it"
    )]
    TimelineEnded {
        /// Where the backup began.
        from: TimelineId,
        /// Where it ended.
        to: TimelineId,
    },
    /// A part of the clone broke down.
    #[error("clone was interrupted")]
    Broken,
}

fn more(problems: usize) -> String {
    if problems > 1 { format!(" (and {} more)", problems - 1) } else { String::new() }
}

pub(crate) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> CloneError {
    let path = path.display().to_string();
    move |error| CloneError::Io { path, error }
}
