//! What a client is told of a statement: columns, rows, how far a fetch came, and the tag at its end.

use super::error::Result;
use protocol::Format;
use sql_types::{Datum, Type};
use std::fmt;

/// In which format each column of a result is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResultFormats {
    /// All the same.
    All(Format),
    /// One each.
    Each(Box<[Format]>),
}

impl Default for ResultFormats {
    fn default() -> Self {
        Self::All(Format::Text)
    }
}

impl ResultFormats {
    /// That of the column at this place.
    #[inline]
    pub fn of_column(&self, at: usize) -> Format {
        match self {
            Self::All(format) => *format,
            Self::Each(formats) => formats.get(at).copied().unwrap_or_default(),
        }
    }
}

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
    /// Send CopyInResponse (of this format and so many columns), then feed `copy_feed` and end with
    /// `copy_finish` or `copy_fail`.
    CopyIn {
        /// Columns of each line.
        columns: u16,
        /// How lines and values come.
        format: Format,
    },
    /// Send CopyOutResponse, then `fetch`: data comes through [`RowSink::copy_data`]; end with CopyDone and
    /// the tag.
    CopyOut {
        /// Columns of each line.
        columns: u16,
        /// How lines and values go.
        format: Format,
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
    /// The same with another number of rows, where it tells one.
    pub fn of_rows(self, rows: u64) -> Self {
        match self {
            Self::Insert(_) => Self::Insert(rows),
            Self::Update(_) => Self::Update(rows),
            Self::Delete(_) => Self::Delete(rows),
            Self::Select(_) => Self::Select(rows),
            Self::Copy(_) => Self::Copy(rows),
            Self::Fetch(_) => Self::Fetch(rows),
            Self::Move(_) => Self::Move(rows),
            Self::Empty | Self::Words(_) => self,
        }
    }
    /// What a portal says that is run again after its end.
    pub fn of_nothing(self) -> Self {
        self.of_rows(0)
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
