//! The statements, as the analyser takes them.

use crate::interface::environment::IsolationLevel;
use crate::interface::token::ReadToken;
use sqlparser::ast;
use std::sync::Arc;
use std::time::Duration;

/// A statement.
#[derive(Clone, Debug)]
pub(crate) enum SqlCommand {
    /// SELECT, VALUES, TABLE, WITH.
    Query(Box<ast::Query>),
    /// INSERT
    Insert(Box<InsertStatement>),
    /// UPDATE
    Update(Box<ast::Update>),
    /// DELETE
    Delete(Box<ast::Delete>),
    /// CREATE TABLE, CREATE TABLE AS
    CreateTable(Box<ast::CreateTable>),
    /// ALTER TABLE
    AlterTable(Box<ast::AlterTable>),
    /// CREATE INDEX
    CreateIndex(Box<ast::CreateIndex>),
    /// TRUNCATE
    Truncate(Box<ast::Truncate>),
    /// All that sqlparser does not parse for us.
    Utility(Utility),
}

/// INSERT with what the parser does not know of it.
#[derive(Clone, Debug)]
pub(crate) struct InsertStatement {
    pub(crate) ast: ast::Insert,
    pub(crate) overriding: Option<Overriding>,
}

/// Whose values identity columns get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overriding {
    /// OVERRIDING SYSTEM VALUE: those that are given.
    System,
    /// OVERRIDING USER VALUE: the sequence's.
    User,
}

/// Options of CREATE SEQUENCE, ALTER SEQUENCE and identity columns; None where not given, and inside of that
/// for NO MINVALUE, NO MAXVALUE, RESTART without a value and OWNED BY NONE.
#[derive(Clone, Debug, Default)]
pub(crate) struct SequenceOptions {
    pub(crate) data_type: Option<ast::DataType>,
    pub(crate) increment: Option<i64>,
    pub(crate) min: Option<Option<i64>>,
    pub(crate) max: Option<Option<i64>>,
    pub(crate) start: Option<i64>,
    pub(crate) restart: Option<Option<i64>>,
    pub(crate) cache: Option<i64>,
    pub(crate) cycle: Option<bool>,
    pub(crate) owned_by: Option<Option<ast::ObjectName>>,
}

/// What ALTER SEQUENCE changes.
#[derive(Clone, Debug)]
pub(crate) enum SequenceChange {
    Rename(String),
    Options(Box<SequenceOptions>),
}

/// A statement parsed by hand.
#[derive(Clone, Debug)]
pub(crate) enum Utility {
    WaitFor {
        token: ReadToken,
        timeout: Option<Duration>,
    },
    Begin {
        start: bool,
        modes: Vec<Mode>,
    },
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint(String),
    RollbackTo(String),
    Release(String),
    /// SET TRANSACTION, and SET SESSION CHARACTERISTICS AS TRANSACTION.
    SetTransaction {
        session: bool,
        modes: Vec<Mode>,
    },
    /// SET CONSTRAINTS ALL ...: nothing here is deferrable.
    SetConstraints,
    Set {
        local: bool,
        name: String,
        value: Option<String>,
    },
    Show(SetTarget),
    Reset(SetTarget),
    AlterSystem {
        target: SetTarget,
        value: Option<String>,
    },
    Checkpoint,
    Copy(Box<CopyStatement>),
    CreateRole {
        name: String,
        options: Vec<RoleOption>,
    },
    AlterRole {
        name: String,
        options: Vec<RoleOption>,
    },
    RenameRole {
        name: String,
        to: String,
    },
    DropRole {
        if_exists: bool,
        names: Vec<String>,
    },
    /// VACUUM and ANALYZE. The planner keeps no statistics, so the latter only checks that the tables exist.
    Maintain {
        vacuum: bool,
        verbose: bool,
        tables: Vec<ast::ObjectName>,
    },
    Discard(DiscardKind),
    Deallocate(Option<String>),
    Prepare {
        name: String,
        types: Vec<ast::DataType>,
        statement: Arc<super::Parsed>,
    },
    Execute {
        name: String,
        arguments: Vec<ast::Expr>,
    },
    /// DECLARE: the query, to be fetched by name.
    Declare {
        name: String,
        query: Arc<super::Parsed>,
    },
    /// FETCH, and MOVE, which shows no rows.
    Fetch {
        name: String,
        count: FetchCount,
        shows: bool,
    },
    /// CLOSE; None is ALL.
    Close(Option<String>),
    Explain {
        options: ExplainOptions,
        statement: Arc<super::Parsed>,
    },
    Drop(DropTarget),
    Reindex(ReindexTarget),
    CreateView {
        or_replace: bool,
        name: ast::ObjectName,
        columns: Vec<String>,
        query: Arc<super::Parsed>,
        /// The query as it was written.
        text: String,
    },
    CreateSequence {
        if_not_exists: bool,
        name: ast::ObjectName,
        options: Box<SequenceOptions>,
    },
    AlterSequence {
        if_exists: bool,
        name: ast::ObjectName,
        change: SequenceChange,
    },
    LockTable {
        tables: Vec<ast::ObjectName>,
        mode: storage::TableLockMode,
        no_wait: bool,
    },
    /// UNLISTEN: nothing is ever listened to.
    Unlisten,
}

/// How many rows FETCH asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchCount {
    /// So many.
    Rows(usize),
    /// All that are left.
    All,
}

/// What REINDEX builds anew.
#[derive(Clone, Debug)]
pub(crate) enum ReindexTarget {
    Index(ast::ObjectName),
    Table(ast::ObjectName),
    /// SCHEMA, DATABASE
    All,
}

/// What kind of thing a DROP is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropKind {
    Table,
    Index,
    Sequence,
    View,
}

/// DROP.
#[derive(Clone, Debug)]
pub(crate) struct DropTarget {
    pub(crate) kind: DropKind,
    pub(crate) names: Vec<ast::ObjectName>,
    pub(crate) if_exists: bool,
    pub(crate) cascade: bool,
}

/// One setting, or all.
#[derive(Clone, Debug)]
pub(crate) enum SetTarget {
    Name(String),
    All,
}

/// A mode of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Isolation(IsolationLevel),
    ReadOnly(bool),
    Deferrable(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiscardKind {
    All,
    Plans,
    Sequences,
    Temporary,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RoleOption {
    Superuser(bool),
    Login(bool),
    Replication(bool),
    CreateRole(bool),
    CreateDatabase(bool),
    Inherit(bool),
    /// Clear text or a verifier; None is PASSWORD NULL.
    Password(Option<String>),
    ConnectionLimit(i32),
    ValidUntil(String),
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExplainOptions {
    pub(crate) analyze: bool,
    pub(crate) costs: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct CopyStatement {
    pub(crate) subject: CopySubject,
    /// FROM STDIN; else TO STDOUT.
    pub(crate) from: bool,
    pub(crate) options: CopyOptions,
}

#[derive(Clone, Debug)]
pub(crate) enum CopySubject {
    Table { name: ast::ObjectName, columns: Vec<String> },
    Query(Arc<super::Parsed>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyFormat {
    Text,
    Csv,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyHeader {
    Off,
    On,
    /// FROM only: the line must name the columns.
    Match,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CopyOptions {
    pub(crate) format: CopyFormat,
    pub(crate) delimiter: u8,
    pub(crate) null: String,
    pub(crate) header: CopyHeader,
    pub(crate) quote: u8,
    pub(crate) escape: u8,
    /// None: no column; an empty list: all columns (`*`).
    pub(crate) force_quote: Option<Vec<String>>,
    pub(crate) force_not_null: Vec<String>,
    pub(crate) force_null: Vec<String>,
}
