//! One client's session: its transaction, its prepared statements, its statements' execution.
//!
//! How a server drives it:
//!
//! - Simple query: `start_simple(sql)` gives the statements; for each `prepare_statement`, `open`, `fetch` until
//!   `Complete`; hold the last statement's tag back until `sync` has committed, then send it. An error ends the
//!   string: send it, call `sync`, send ReadyForQuery.
//! - Extended query: Parse is `prepare` and `store`; Bind is `open`; Execute is `fetch`; Sync is `sync`.
//! - An error that the server itself finds (a bad Bind, a broken message) is told by `fail`.

use crate::cancel::Canceller;
use crate::environment::Environment;
use crate::error::{Notice, Result, SqlError};
use crate::parse::{Parsed, parse};
use crate::prepared::{CommandTag, Fetch, Portal, Prepared, RowSink, TransactionStatus};
use datum::Datum;
use std::sync::Arc;

/// One statement of a message, parsed.
#[derive(Clone)]
pub struct Statement(Arc<Parsed>);

/// Who connects to what.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The authenticated role.
    pub user: String,
    /// The database.
    pub database: String,
}

/// One client's session. Methods that fail have put the transaction into its failed state already.
pub struct SqlSession {
    environment: Arc<dyn Environment>,
    canceller: Canceller,
    notices: Vec<Notice>,
}

impl SqlSession {
    /// The handle that stops this session's statements; the server keeps a clone.
    pub fn canceller(&self) -> &Canceller {
        &self.canceller
    }

    /// The server around this session.
    pub fn environment(&self) -> &Arc<dyn Environment> {
        &self.environment
    }

    /// For ReadyForQuery.
    pub fn transaction_status(&self) -> TransactionStatus {
        TransactionStatus::Idle
    }

    /// The end of this session's last commit and its timeline, if it committed anything: the token for reads that follow it.
    pub fn last_commit(&self) -> Option<(wal::TimelineId, wal::Lsn)> {
        None
    }

    /// Notices and warnings since the last call, to be sent before the next message.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Begins a simple-query message: splits it into its statements (without the semicolons; empty ones left out).
    /// A syntax error in any of them fails the whole string before anything runs, as in PostgreSQL.
    pub fn start_simple(&mut self, sql: &str) -> Result<Vec<Statement>> {
        Ok(parse(sql)?.into_iter().map(Statement).collect())
    }

    /// Analyses a statement of [`SqlSession::start_simple`].
    pub async fn prepare_statement(
        &mut self,
        statement: &Statement,
        declared_types: &[u32],
    ) -> Result<Arc<Prepared>> {
        let _ = (statement, declared_types);
        Err(SqlError::unsupported("a prepared statement"))
    }

    /// Analyses a message of one statement (42601 if there are more; none is an empty query). `declared_types` are OIDs, 0 for unspecified, and may be shorter than the parameters.
    pub async fn prepare(&mut self, sql: &str, declared_types: &[u32]) -> Result<Arc<Prepared>> {
        let _ = (sql, declared_types);
        Err(SqlError::unsupported("a prepared statement"))
    }

    /// Keeps a prepared statement under a name (`""` replaces what was there); shared with PREPARE, EXECUTE and
    /// DEALLOCATE. 42P05 if the name is taken.
    pub fn store(&mut self, name: &str, prepared: Arc<Prepared>) -> Result<()> {
        let _ = (name, prepared);
        Ok(())
    }

    /// A kept statement; 26000 if there is none.
    pub fn stored(&mut self, name: &str) -> Result<Arc<Prepared>> {
        let _ = name;
        Err(SqlError::unsupported("a stored statement"))
    }

    /// Close of a statement: no error if there is none.
    pub fn forget(&mut self, name: &str) {
        let _ = name;
    }

    /// Binds parameters (of exactly `Prepared::parameter_types`) and makes ready to run. Fails with 25P02 in a failed
    /// transaction, unless the statement ends it.
    pub async fn open(&mut self, prepared: Arc<Prepared>, parameters: Vec<Datum>) -> Result<Portal> {
        let _ = (prepared, parameters);
        Err(SqlError::unsupported("a portal"))
    }

    /// Runs a portal for at most `max_rows` rows (0: all).
    pub async fn fetch(
        &mut self,
        portal: &mut Portal,
        max_rows: usize,
        out: &mut dyn RowSink,
    ) -> Result<Fetch> {
        let _ = (portal, max_rows, out);
        Err(SqlError::unsupported("a fetch"))
    }

    /// COPY FROM STDIN: the payload of a CopyData message; it may end anywhere in a line.
    pub async fn copy_feed(&mut self, portal: &mut Portal, data: &[u8]) -> Result<()> {
        let _ = (portal, data);
        Err(SqlError::unsupported("COPY"))
    }

    /// CopyDone: writes what is left, gives the tag.
    pub async fn copy_finish(&mut self, portal: &mut Portal) -> Result<CommandTag> {
        let _ = portal;
        Err(SqlError::unsupported("COPY"))
    }

    /// CopyFail: the error to send (57014).
    pub fn copy_fail(&mut self, portal: &mut Portal, message: &str) -> SqlError {
        let _ = (portal, message);
        SqlError::unsupported("COPY")
    }

    /// Ends a simple query or answers Sync: commits the implicit transaction, or rolls it back if it failed.
    /// Explicit transactions stay. An error means that the commit did not happen.
    pub async fn sync(&mut self) -> Result<()> {
        Ok(())
    }

    /// Puts the transaction into its failed state after an error that the server found itself.
    pub fn fail(&mut self) {}
}
