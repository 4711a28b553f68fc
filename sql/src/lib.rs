//! SQL over `storage`: from a statement's text to its rows.
//!
//! A statement's way: text -> [`SqlSession::prepare`] -> [`Prepared`] -> [`SqlSession::open`] -> [`Portal`]
//! -> [`SqlSession::fetch`] -> [`RowSink`]. The rooms that it passes, lowest first; a room imports only from
//! those that stand before it in this table:
//!
//! | room | owns | does not know |
//! |---|---|---|
//! | `interface` | what rooms and callers say to each other: errors, answers, [`Environment`] | tables |
//! | `catalogue` | relations, roles, databases as rows of its own trees; system tables | SQL's text |
//! | `language` | grammar (`parse`), expressions (`expr`), analysis and plans (`plan`) | how a plan runs |
//! | `execution` | running a plan, indexes, sorts on disk, the text of COPY | sessions |
//! | `session` | transaction blocks, portals, cursors, utility statements; the shared engine | sockets |
//! | [`reference`] | lists of functions and system tables, for the documentation | |
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
