//! Errors and notices as SQL clients see them: PostgreSQL's fields, SQLSTATEs and wording style.

use protocol::Report;
pub use protocol::Severity;
use sqlstate::SqlState;
use std::fmt;

/// Ours, and never sent: an expression waits for a subquery.
const VALUE_NEEDED: SqlState = SqlState::new("XXP00");

/// A failed statement. One pointer wide, so that results on hot paths stay small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError(Box<Report>);

/// A report that does not fail the statement.
pub type Notice = SqlError;

/// This crate's results.
pub type Result<T, E = SqlError> = std::result::Result<T, E>;

impl SqlError {
    /// An ERROR with a SQLSTATE and a primary message (lower case, no full stop).
    #[cold]
    pub fn new(code: SqlState, message: impl Into<String>) -> Self {
        Self::report(Severity::Error, code, message)
    }

    /// A notice or warning.
    pub fn report(severity: Severity, code: SqlState, message: impl Into<String>) -> Self {
        Self(Box::new(Report::new(severity, code, message)))
    }

    /// 0A000, naming what is absent: `what` is not supported.
    #[cold]
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(SqlState::FEATURE_NOT_SUPPORTED, format!("{what} is not supported"))
    }

    /// 42601 with PostgreSQL's wording for an unexpected token.
    #[cold]
    pub fn syntax(message: impl Into<String>) -> Self {
        Self::new(SqlState::SYNTAX_ERROR, message)
    }

    /// Told by an expression that reads a deferred value which is not computed yet. Execution computes the
    /// value and evaluates again; no caller of a session ever sees it.
    pub fn value_needed(slot: usize) -> Self {
        let mut error = Self::new(VALUE_NEEDED, "a subquery was not run");
        error.0.position = u32::try_from(slot).ok();
        error
    }

    /// The deferred value that an expression waits for.
    #[inline]
    pub fn needed_value(&self) -> Option<usize> {
        let slot = self.0.position.filter(|_| self.code() == VALUE_NEEDED)?;
        usize::try_from(slot).ok()
    }

    /// XX000: a state that the code rules out.
    #[cold]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(SqlState::INTERNAL_ERROR, message)
    }

    /// All fields.
    pub fn fields(&self) -> &Report {
        &self.0
    }
    /// All fields, to change.
    pub fn fields_mut(&mut self) -> &mut Report {
        &mut self.0
    }
    /// The SQLSTATE.
    #[inline]
    pub fn code(&self) -> SqlState {
        self.0.code
    }
    /// Whether it may tell what rows hold: one of the classes for connections, conflicts between
    /// transactions, locks, cancelled statements, I/O and internal errors tells of the server alone. What is
    /// too large or too much may be a row's value.
    pub fn tells_of_rows(&self) -> bool {
        let code = self.code();
        let class = code.as_str().get(..2).unwrap_or_default();
        !["08", "25", "40", "55", "57", "58", "XX"].contains(&class)
    }
    /// The primary message.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// With this detail.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }
    /// With this hint.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }
    /// With this position (characters from 1), unless one is known already.
    pub fn at(mut self, position: Option<u32>) -> Self {
        self.0.position = self.0.position.or(position);
        self
    }
    /// With this context line, below those that are there.
    pub fn in_context(mut self, context: impl Into<String>) -> Self {
        let context = context.into();
        self.0.context = Some(match self.0.context.take() {
            Some(inner) => format!("{inner}\n{context}"),
            None => context,
        });
        self
    }
    /// With the table that it is about.
    pub fn of_table(mut self, schema: &str, table: &str) -> Self {
        self.0.schema = Some(schema.to_owned());
        self.0.table = Some(table.to_owned());
        self
    }
    /// With the column that it is about.
    pub fn of_column(mut self, column: &str) -> Self {
        self.0.column = Some(column.to_owned());
        self
    }
    /// With the constraint that it is about.
    pub fn of_constraint(mut self, constraint: &str) -> Self {
        self.0.constraint = Some(constraint.to_owned());
        self
    }
    /// With the data type that it is about.
    pub fn of_type(mut self, data_type: &str) -> Self {
        self.0.data_type = Some(data_type.to_owned());
        self
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (SQLSTATE {})", self.0.severity.as_str(), self.0.message, self.code())
    }
}

impl std::error::Error for SqlError {}

impl From<sql_types::Error> for SqlError {
    #[cold]
    fn from(error: sql_types::Error) -> Self {
        let mut own = Self::new(error.state(), error.message());
        own.0.detail = error.detail().map(str::to_owned);
        own.0.hint = error.hint().map(str::to_owned);
        own
    }
}

/// Refuses a statement that would write, on a server that was replaced: it could not commit.
///
/// # Errors
/// 25006 on a fenced server.
pub fn refuse_if_fenced(database: &storage::Database) -> Result<()> {
    let detail = "The statement has written nothing.";
    database.check_fence().map_err(|error| SqlError::from(error).with_detail(detail))
}

impl From<storage::Error> for SqlError {
    #[cold]
    fn from(error: storage::Error) -> Self {
        let own = Self::new(error.sqlstate(), error.to_string());
        match error {
            storage::Error::Deadlock { cycle } => own.with_detail(cycle),
            storage::Error::RecoveryConflict(kind) => own.with_detail(kind.detail()),
            storage::Error::TooManyParts => {
                own.with_hint("Release savepoints, or increase plimsoll.write_set_limit.")
            }
            storage::Error::Fenced { .. } => own.with_hint(
                "Connect to the server that replaced it; rewind this one to it, or clone it anew.",
            ),
            storage::Error::NoPageImages { .. } => own.with_hint(
                "Pages in this backup may be torn, so it must not be used. Set full_page_writes to on at the \
                 primary, run CHECKPOINT there, and take a backup again.",
            ),
            _ => own,
        }
    }
}
