//! What can go wrong, as programs tell it apart.

use sql_interface::SqlError;

/// Results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure. `Display` is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A statement failed: SQLSTATE, message and details are PostgreSQL's.
    #[error("{0}")]
    Sql(#[from] SqlError),
    /// The database did not start, or ended badly.
    #[error("{0}")]
    Server(#[from] server::ServerError),
    /// Another server could not be cloned.
    #[error("{0}")]
    Clone(#[from] basebackup::clone::CloneError),
    /// A table has other columns than the types say.
    #[error("table \"{table}\" {what}")]
    Mismatch {
        /// The table.
        table: String,
        /// Expected and found.
        what: String,
    },
    /// A stored value does not fit the type that it is read into.
    #[error("column \"{column}\" holds {found}, which is no {expected}")]
    Value {
        /// The column.
        column: String,
        /// The type that was asked for.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// The commit is in this node's log, but its level was not reached when the wait for it was cancelled.
    /// Others see it once it is.
    #[error("committed locally at {lsn}, replication unconfirmed")]
    Unconfirmed {
        /// The end of the commit.
        lsn: wal::Lsn,
    },
    /// A statement had failed, the closure returned Ok all the same, and so nothing was committed.
    #[error("the transaction had failed and was rolled back")]
    RolledBack,
    /// The program's own reason to roll back; see [`Error::abort`].
    #[error("{0}")]
    Aborted(Box<dyn std::error::Error + Send + Sync>),
    /// The database was closed.
    #[error("the database is closed")]
    Closed,
}

impl Error {
    /// A reason of the program's own to roll a transaction back.
    pub fn abort(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Aborted(reason.into())
    }

    /// The five letters of SQLSTATE, where a statement failed.
    pub fn sqlstate(&self) -> Option<String> {
        if let Self::Sql(error) = self { Some(error.code().to_string()) } else { None }
    }

    /// Whether the same transaction may succeed when it is run again: 40001 and 40P01.
    pub fn is_retryable(&self) -> bool {
        matches!(self.sqlstate().as_deref(), Some("40001" | "40P01"))
    }
}
