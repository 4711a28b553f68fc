//! What goes wrong: the server's own error, and what other crates report, as the protocol and SQL have it.

use protocol::{Report, SqlState};
use replica::ReplicaError;
use sql_interface::SqlError;
use std::borrow::Cow;

/// Why a server did not start, or how it ended badly; the log holds the same.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ServerError {
    /// One line: what and why.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ServerError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }
    /// As the log tells of it.
    pub(crate) fn report(&self) -> Report {
        let fatal = Report::fatal(SqlState::INTERNAL_ERROR, self.message.clone());
        Report { hint: self.hint.clone(), ..fatal }
    }
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<ReplicaError> for ServerError {
    fn from(error: ReplicaError) -> Self {
        Self { message: error.to_string(), hint: error.hint().map(Cow::into_owned) }
    }
}

/// A refusal of replication as a client sees it.
pub(crate) fn from_replica(error: &ReplicaError) -> Report {
    let report = Report::error(error.sqlstate(), error.to_string());
    Report { detail: error.detail(), hint: error.hint().map(Cow::into_owned), ..report }
}

/// An error or notice of the SQL layer.
#[cold]
pub(crate) fn from_sql(error: &SqlError) -> Report {
    error.fields().clone()
}

/// A refused setting, for the SQL layer.
pub(crate) fn setting_error(error: &settings::SettingError) -> SqlError {
    let mut own = SqlError::new(error.sqlstate(), error.to_string());
    own.fields_mut().detail = error.detail().map(str::to_owned);
    own.fields_mut().hint = error.hint();
    own
}
