//! What a client is told of a statement: columns, rows, how far a fetch came, and the tag at its end.

use super::error::Result;
use sql_types::{Datum, Type};
use std::fmt;

/// One column of a result: what RowDescription says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultColumn {
    /// The column's name.
    pub name: String,
    /// The table that it comes from unchanged, or 0.
    pub table_oid: u32,
    /// The attribute number there, or 0.
    pub attribute: i16,
    /// Its type with modifier.
    pub ty: Type,
}

/// What the client must do with a portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortalKind {
    /// `fetch` gives rows (possibly none) and then a tag.
    Rows,
    /// `fetch` gives a tag alone (also for an empty query: [`CommandTag::Empty`]).
    Command,
    /// Send CopyInResponse (text format, this many columns), then feed `copy_feed` and end with `copy_finish`
    /// or `copy_fail`.
    CopyIn {
        /// Columns of each line.
        columns: u16,
    },
    /// Send CopyOutResponse (text format), then `fetch`: data comes through [`RowSink::copy_data`]; end with
    /// CopyDone and the tag.
    CopyOut {
        /// Columns of each line.
        columns: u16,
    },
}

/// Whether a sink wants more at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    More,
    /// The buffer is full enough: return [`Fetch::More`], so that it can be sent first.
    Full,
}

/// Where rows go. The row or data handed over is always taken; `Flow` is about the next one.
pub trait RowSink: Send {
    /// One row, values in the order of the result columns.
    ///
    /// # Errors
    ///
    /// What keeps the sink from taking the row; it ends the statement.
    fn row(&mut self, values: &[Datum]) -> Result<Flow>;
    /// COPY TO STDOUT: the payload of one CopyData message (one line).
    fn copy_data(&mut self, line: &[u8]) -> Flow;
    /// Whether a column is sent as text: a regclass is then given as its relation's name.
    fn wants_text(&self, _column: usize) -> bool {
        true
    }
}

/// How far a `fetch` came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// All is done; CommandComplete (or EmptyQueryResponse) with this tag. Inside an implicit transaction the
    /// commit follows at `SqlSession::sync`.
    Complete(CommandTag),
    /// `max_rows` were given: PortalSuspended. (Also where the last row was the last one; the next fetch
    /// completes.)
    Suspended,
    /// The sink was full: send what it holds and call again with what is left of `max_rows`.
    More,
}

/// The text of CommandComplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandTag {
    /// EmptyQueryResponse instead of CommandComplete.
    Empty,
    /// INSERT 0 n
    Insert(u64),
    /// UPDATE n
    Update(u64),
    /// DELETE n
    Delete(u64),
    /// SELECT n
    Select(u64),
    /// COPY n
    Copy(u64),
    /// FETCH n
    Fetch(u64),
    /// MOVE n
    Move(u64),
    /// The words alone: CREATE TABLE, BEGIN, ...
    Words(&'static str),
}

impl CommandTag {
    /// What a portal says that is run again after its end.
    pub fn of_nothing(self) -> Self {
        match self {
            Self::Insert(_) => Self::Insert(0),
            Self::Update(_) => Self::Update(0),
            Self::Delete(_) => Self::Delete(0),
            Self::Select(_) => Self::Select(0),
            Self::Copy(_) => Self::Copy(0),
            Self::Fetch(_) => Self::Fetch(0),
            Self::Move(_) => Self::Move(0),
            Self::Empty | Self::Words(_) => self,
        }
    }
}

impl fmt::Display for CommandTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => Ok(()),
            Self::Insert(rows) => write!(f, "INSERT 0 {rows}"),
            Self::Update(rows) => write!(f, "UPDATE {rows}"),
            Self::Delete(rows) => write!(f, "DELETE {rows}"),
            Self::Select(rows) => write!(f, "SELECT {rows}"),
            Self::Copy(rows) => write!(f, "COPY {rows}"),
            Self::Fetch(rows) => write!(f, "FETCH {rows}"),
            Self::Move(rows) => write!(f, "MOVE {rows}"),
            Self::Words(words) => f.write_str(words),
        }
    }
}

/// The letter of ReadyForQuery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// `I`
    Idle,
    /// `T`
    InTransaction,
    /// `E`
    Failed,
}

impl TransactionStatus {
    /// The protocol's letter.
    pub const fn letter(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }
}
