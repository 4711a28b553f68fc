//! SQL over `storage`: from a statement's text to its rows.
//!
//! Owns the parser's front, the catalogue (relations, columns, roles, databases as rows of its own trees),
//! analysis, plans, execution, COPY and the transaction block of a session. A statement's way: text ->
//! [`SqlSession::prepare`] -> [`Prepared`] -> [`SqlSession::open`] -> [`Portal`] -> [`SqlSession::fetch`] ->
//! [`RowSink`].
//!
//! Durability is storage's: what a COMMIT answered is as durable as its synchronous_commit level says.
//!
//! Knows no sockets, no protocol bytes and no files; settings, node-wide views and functions come through
//! [`Environment`].

mod catalogue;
mod execution;
mod interface;
mod language;
pub mod reference;
mod session;

pub use catalogue::{Role, bootstrap};
pub use interface::answer::{CommandTag, Fetch, Flow, PortalKind, ResultColumn, RowSink, TransactionStatus};
pub use interface::cancel::{CancelReason, Canceller};
pub use interface::environment::{
    BoxFuture, Environment, IsolationLevel, NodeArgument, NodeCall, NodeFunction, NodeReturns, NodeRows,
    NodeTable, QuickSettings, SetScope, SettingActor, SettingLine,
};
pub use interface::error::{Notice, Result, Severity, SqlError};
pub use interface::token::ReadToken;
pub use session::{
    FileCheck, Portal, Prepared, SessionOptions, SqlEngine, SqlSession, Statement, cannot_be_run, check_files,
};
