//! What the crates of SQL and their callers say to each other: errors and notices, answers, cancellation, the
//! server around a session, and the stack that deep statements need.
//!
//! It knows no SQL and no tables, and it does not know who answers or who asks.

mod answer;
mod cancel;
mod environment;
mod error;
pub mod stack;
mod token;

pub use answer::{
    CommandTag, Fetch, Flow, PortalKind, ResultColumn, ResultFormats, RowSink, TransactionStatus,
};
pub use cancel::{CancelReason, Canceller};
pub use environment::{
    AdvisoryKey, AdvisoryRequest, BoxFuture, Environment, IsolationLevel, NodeArgument, NodeCall,
    NodeFunction, NodeReturns, NodeRows, NodeTable, QuickSettings, SetScope, SettingActor, SettingLine,
};
pub use error::{Notice, Result, Severity, SqlError, refuse_if_fenced};
pub use protocol::Format;
pub use sql_types::{NAME_BYTES_MAX, clipped, clipped_to};
pub use token::ReadToken;
