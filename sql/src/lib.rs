//! SQL over `storage`: from a statement's text to its rows.
//!
//! Owns the parser's front, the catalogue (relations, columns, roles, databases as rows of its own trees), analysis,
//! plans, execution, COPY and the transaction block of a session. A statement's way: text -> [`SqlSession::prepare`]
//! -> [`Prepared`] -> [`SqlSession::open`] -> [`Portal`] -> [`SqlSession::fetch`] -> [`RowSink`].
//!
//! Durability is storage's: what a COMMIT answered is as durable as its synchronous_commit level says.
//!
//! Knows no sockets, no protocol bytes and no files; settings, node-wide views and functions come through
//! [`Environment`].

mod cancel;
mod catalog;
mod copy;
mod engine;
mod environment;
mod error;
mod exec;
pub mod expr;
mod facts;
mod parse;
mod plan;
mod prepared;
mod sequences;
mod session;
mod stack;
mod token;

pub use cancel::{CancelReason, Canceller};
pub use catalog::{FileCheck, Role, bootstrap, check_files};
pub use engine::SqlEngine;
pub use environment::{
    BoxFuture, Environment, IsolationLevel, NodeArgument, NodeCall, NodeFunction, NodeReturns, NodeRows,
    NodeTable, QuickSettings, SetScope, SettingActor, SettingLine,
};
pub use error::{Notice, Result, Severity, SqlError, sqlstate};
pub use prepared::{
    CommandTag, Fetch, Flow, Portal, PortalKind, Prepared, ResultColumn, RowSink, TransactionStatus,
    cannot_be_run,
};
pub use session::{SessionOptions, SqlSession, Statement};
pub use token::ReadToken;
