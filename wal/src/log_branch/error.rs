//! Why the record of the branch cannot be read or changed.

use crate::error::WalError;
use std::io;
use std::path::Path;

/// Why the record cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum BranchError {
    /// It makes no sense.
    #[error(
        "the record of the timeline that is followed, \"{0}\", is damaged; clone this standby anew, or remove the file \
         if the standby has received nothing on a later timeline than pg_controldata shows"
    )]
    Damaged(String),
    /// A file cannot be read or written.
    #[error("could not access file \"{path}\": {error}")]
    Io {
        /// The file.
        path: String,
        /// The cause.
        error: io::Error,
    },
    /// What somebody has on disk of the log that is left.
    #[error("{0}")]
    Observer(String),
    /// A segment that a promotion left cannot be settled.
    #[error(transparent)]
    Segment(#[from] WalError),
}

pub(super) fn file_error(path: &Path, error: io::Error) -> BranchError {
    BranchError::Io { path: path.display().to_string(), error }
}
