//! Simple and extended queries.

use super::{Client, ClientError};
use crate::backend::{BackendMessage, Column, Format, Row};
use crate::frontend;
use sqlstate::SqlState;

/// The result of one statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryResult {
    /// Its columns; empty for a statement without rows.
    pub columns: Vec<Column>,
    /// Its rows.
    pub rows: Vec<Row>,
    /// Its command tag.
    pub tag: String,
}

impl QueryResult {
    /// Row `row`, column `column` as text; None if it is NULL or absent.
    pub fn text(&self, row: usize, column: usize) -> Option<&str> {
        self.rows.get(row)?.text(column)
    }
    /// The number at the end of the tag: rows changed or returned.
    pub fn row_count(&self) -> u64 {
        self.tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0)
    }
}

/// A statement that the server has prepared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its name.
    pub name: String,
    /// Types of its parameters.
    pub parameter_types: Vec<u32>,
    /// Its result's columns; empty for a statement without rows.
    pub columns: Vec<Column>,
}

impl Client {
    /// Runs the statements of `sql` with the simple protocol; values come as text.
    ///
    /// # Errors
    ///
    /// Fails if the server refuses a statement, or the connection breaks.
    pub async fn simple_query(&mut self, sql: &str) -> Result<Vec<QueryResult>, ClientError> {
        self.queue(|out| frontend::query(out, sql));
        self.flush().await?;
        self.results().await
    }

    /// Runs one statement with the simple protocol and gives its result (the last one, of several).
    ///
    /// # Errors
    ///
    /// Fails if the server refuses the statement, or the connection breaks.
    pub async fn query(&mut self, sql: &str) -> Result<QueryResult, ClientError> {
        Ok(self.simple_query(sql).await?.pop().unwrap_or_default())
    }

    /// A setting of the server as SHOW has it; None if the server does not know it.
    ///
    /// # Errors
    ///
    /// Fails if the connection breaks, or the server refuses for another reason than that it lacks the
    /// setting.
    pub async fn show(&mut self, setting: &str) -> Result<Option<String>, ClientError> {
        match self.query(&format!("SHOW {setting}")).await {
            Ok(answer) => Ok(answer.text(0, 0).map(str::to_owned)),
            Err(ClientError::Server(report)) if report.code == SqlState::UNDEFINED_OBJECT => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads results up to ReadyForQuery; an error among them is the outcome.
    pub(super) async fn results(&mut self) -> Result<Vec<QueryResult>, ClientError> {
        let mut results = Vec::new();
        let mut current = QueryResult::default();
        loop {
            match self.next_message().await? {
                BackendMessage::RowDescription(columns) => current.columns = columns,
                BackendMessage::DataRow(row) => current.rows.push(row),
                BackendMessage::CommandComplete(tag) => {
                    current.tag = tag;
                    results.push(std::mem::take(&mut current));
                }
                BackendMessage::Error(report) => {
                    self.finish(Some(report)).await?;
                }
                BackendMessage::ReadyForQuery(_) => return Ok(results),
                BackendMessage::Copy(crate::backend::CopyDirection::In) => {
                    self.queue(|out| frontend::copy_fail(out, "no COPY data was prepared"));
                    self.flush().await?;
                }
                BackendMessage::Copy(_)
                | BackendMessage::CopyData(_)
                | BackendMessage::CopyDone
                | BackendMessage::EmptyQuery
                | BackendMessage::ParseComplete
                | BackendMessage::BindComplete
                | BackendMessage::CloseComplete
                | BackendMessage::PortalSuspended
                | BackendMessage::ParameterDescription(_)
                | BackendMessage::NoData => {}
                _ => return Err(ClientError::Unexpected("reading a result")),
            }
        }
    }

    /// Prepares a statement under a name; `types` may leave parameters open with 0 or by ending early.
    ///
    /// # Errors
    ///
    /// Fails if the server refuses the statement, or the connection breaks.
    pub async fn prepare(&mut self, name: &str, sql: &str, types: &[u32]) -> Result<Statement, ClientError> {
        self.queue(|out| {
            frontend::parse(out, name, sql, types);
            frontend::describe(out, frontend::StatementOrPortal::Statement(name));
            frontend::sync(out);
        });
        self.flush().await?;
        let (mut parameter_types, mut columns) = (Vec::new(), Vec::new());
        loop {
            match self.next_message().await? {
                BackendMessage::ParameterDescription(types) => parameter_types = types,
                BackendMessage::RowDescription(described) => columns = described,
                BackendMessage::Error(report) => self.finish(Some(report)).await?,
                BackendMessage::ReadyForQuery(_) => {
                    return Ok(Statement { name: name.to_owned(), parameter_types, columns });
                }
                _ => {}
            }
        }
    }

    /// Runs a prepared statement with text parameters; values come as text. One round trip.
    ///
    /// # Errors
    ///
    /// Fails if the server refuses the execution, or the connection breaks.
    pub async fn execute(
        &mut self,
        statement: &Statement,
        parameters: &[Option<&str>],
    ) -> Result<QueryResult, ClientError> {
        self.queue_execute(statement, parameters);
        self.queue(frontend::sync);
        self.flush().await?;
        Ok(self.results().await?.pop().unwrap_or_default())
    }

    /// Queues Bind and Execute of a prepared statement, for pipelines: queue several, then
    /// [`Self::run_queued`].
    pub fn queue_execute(&mut self, statement: &Statement, parameters: &[Option<&str>]) {
        let values: Vec<_> = parameters.iter().map(|value| value.map(str::as_bytes)).collect();
        self.queue(|out| {
            frontend::bind(out, "", &statement.name, &values, Format::Text, Format::Text);
            frontend::execute(out, "", 0);
        });
    }

    /// Sends what was queued and a Sync, and reads the results of all of it.
    ///
    /// # Errors
    ///
    /// Fails with the first error that the server reports, or if the connection breaks.
    pub async fn run_queued(&mut self) -> Result<Vec<QueryResult>, ClientError> {
        self.queue(frontend::sync);
        self.flush().await?;
        self.results().await
    }
}
