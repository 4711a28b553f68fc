//! The statements, as the analyser takes them.

use super::StatementClass;
use sql_interface::{IsolationLevel, ReadToken, SqlError};
use sqlparser::ast;
use std::sync::Arc;
use std::time::Duration;

/// A statement that changes rows.
#[derive(Clone, Debug)]
pub struct Change<T> {
    /// The queries before it.
    pub with: Option<ast::With>,
    /// What stands behind them.
    pub statement: T,
}

/// A statement.
#[derive(Clone, Debug)]
pub enum SqlCommand {
    /// SELECT, VALUES, TABLE, WITH.
    Query(Box<ast::Query>),
    /// INSERT
    Insert(Box<Change<ast::Insert>>),
    /// UPDATE
    Update(Box<Change<ast::Update>>),
    /// DELETE
    Delete(Box<Change<ast::Delete>>),
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

/// Options of CREATE SEQUENCE, ALTER SEQUENCE and identity columns; None where not given, and inside of that
/// for NO MINVALUE, NO MAXVALUE, RESTART without a value and OWNED BY NONE.
#[derive(Clone, Debug, Default)]
pub struct SequenceOptions {
    pub data_type: Option<ast::DataType>,
    pub increment: Option<i64>,
    pub min: Option<Option<i64>>,
    pub max: Option<Option<i64>>,
    pub start: Option<i64>,
    pub restart: Option<Option<i64>>,
    pub cache: Option<i64>,
    pub cycle: Option<bool>,
    pub owned_by: Option<Option<ast::ObjectName>>,
}

/// What ALTER SEQUENCE changes.
#[derive(Clone, Debug)]
pub enum SequenceChange {
    Rename(String),
    Options(Box<SequenceOptions>),
}

/// A statement parsed by hand.
#[derive(Clone, Debug)]
pub enum Utility {
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
    /// SET CONSTRAINTS: nothing here is deferrable.
    SetConstraints {
        /// Those that it names; none for ALL.
        names: Vec<ast::ObjectName>,
        deferred: bool,
    },
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
    /// CLUSTER of all tables that were marked for it: of none, since none can be.
    Cluster,
    Copy(Box<CopyStatement>),
    CreateRole {
        name: String,
        options: Vec<RoleOption>,
    },
    AlterRole {
        role: RoleSpec,
        options: Vec<RoleOption>,
    },
    RenameRole {
        name: String,
        to: String,
    },
    DropRole {
        if_exists: bool,
        /// Whoever may drop roles is told that only those with names can be.
        roles: Vec<RoleSpec>,
    },
    /// VACUUM and ANALYZE.
    Maintain(Maintenance),
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
        no_scroll: bool,
    },
    /// FETCH, and MOVE, which shows no rows.
    Fetch {
        name: String,
        count: FetchCount,
        shows: bool,
    },
    /// CLOSE; None is ALL.
    Close(Option<String>),
    /// CREATE EXTENSION; lenient is IF NOT EXISTS.
    CreateExtension {
        name: String,
        lenient: bool,
    },
    Explain {
        options: ExplainOptions,
        statement: Arc<super::Parsed>,
        /// What is wrong with its options.
        refusal: Option<Box<SqlError>>,
    },
    Drop(DropTarget),
    Grant(Box<Grant>),
    GrantRole(Box<MemberGrant>),
    ReassignOwned {
        from: Vec<RoleSpec>,
        to: RoleSpec,
    },
    DropOwned {
        roles: Vec<RoleSpec>,
        cascade: bool,
    },
    ChangeOwner {
        kind: OwnedKind,
        if_exists: bool,
        name: ast::ObjectName,
        owner: RoleSpec,
    },
    /// ALTER ROLE and ALTER DATABASE, SET and RESET.
    AlterSettings {
        of: SettingOf,
        change: SettingChange,
    },
    /// ALTER VIEW and ALTER INDEX RENAME.
    Rename {
        kind: DropKind,
        if_exists: bool,
        name: ast::ObjectName,
        renaming: Renaming,
    },
    AlterView {
        if_exists: bool,
        name: ast::ObjectName,
        change: ViewChange,
    },
    Reindex(Reindex),
    CreateView {
        or_replace: bool,
        name: ast::ObjectName,
        columns: Vec<String>,
        /// `name=value` each.
        options: Vec<String>,
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
    /// A statement that the grammar takes, and whose options are wrong: that is told when it is to run.
    Refused {
        /// What it is called, if it is one that a read-only transaction refuses before.
        writes: Option<&'static str>,
        class: StatementClass,
        refusal: Box<SqlError>,
    },
}

/// How many rows FETCH asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchCount {
    /// So many.
    Rows(usize),
    /// All that are left.
    All,
    /// None more: the last one again.
    Current,
}

/// VACUUM and ANALYZE. The planner keeps no statistics, so the latter only checks that tables and columns
/// exist.
#[derive(Clone, Debug)]
pub struct Maintenance {
    pub vacuum: bool,
    pub analyze: bool,
    pub verbose: bool,
    pub tables: Vec<MaintainedTable>,
    /// What is wrong with its options.
    pub refusal: Option<SqlError>,
}

/// A table of VACUUM and ANALYZE, with the columns to analyse; none for all.
#[derive(Clone, Debug)]
pub struct MaintainedTable {
    pub name: ast::ObjectName,
    pub columns: Vec<String>,
}

/// REINDEX.
#[derive(Clone, Debug)]
pub struct Reindex {
    pub target: ReindexTarget,
    pub verbose: bool,
    pub concurrently: bool,
    pub tablespace: Option<String>,
}

/// What REINDEX builds anew.
#[derive(Clone, Debug)]
pub enum ReindexTarget {
    Index(ast::ObjectName),
    Table(ast::ObjectName),
    Schema(String),
    Database(String),
    System(String),
}

/// What kind of thing a DROP is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropKind {
    Table,
    Index,
    Sequence,
    View,
}

/// What gets which name.
#[derive(Clone, Debug)]
pub enum Renaming {
    Whole(String),
    Column { from: String, to: String },
}

/// DROP.
#[derive(Clone, Debug)]
pub struct DropTarget {
    pub kind: DropKind,
    pub names: Vec<ast::ObjectName>,
    pub if_exists: bool,
    pub cascade: bool,
    /// Of an index.
    pub concurrently: bool,
}

/// One setting, or all.
#[derive(Clone, Debug)]
pub enum SetTarget {
    Name(String),
    All,
}

/// A mode of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    Isolation(IsolationLevel),
    ReadOnly(bool),
    Deferrable(bool),
}

/// What DISCARD throws away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscardKind {
    All,
    Plans,
    Sequences,
    Temporary,
}

/// An option of CREATE ROLE and ALTER ROLE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleOption {
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
    BypassRls(bool),
    /// IN ROLE: the new role becomes a member of these.
    MemberOf(Vec<RoleSpec>),
    /// ROLE and ADMIN: these become members of the new role.
    Members {
        roles: Vec<RoleSpec>,
        admin: bool,
    },
}

impl RoleOption {
    /// Whether both say something of the same attribute.
    pub(super) fn is_same_option(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Members { admin, .. }, Self::Members { admin: other, .. }) => admin == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

/// A role as a statement names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleSpec {
    Named(String),
    /// CURRENT_USER, CURRENT_ROLE
    Current,
    /// SESSION_USER
    Session,
    Public,
}

/// A privilege with the columns that it is about; or a role, where roles are granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPrivilege {
    pub name: String,
    pub columns: Vec<String>,
}

/// GRANT and REVOKE of privileges, and ALTER DEFAULT PRIVILEGES.
#[derive(Clone, Debug)]
pub struct Grant {
    /// GRANT; else REVOKE.
    pub is_grant: bool,
    /// WITH GRANT OPTION, or GRANT OPTION FOR.
    pub option: bool,
    /// None is ALL PRIVILEGES.
    pub privileges: Option<Vec<NamedPrivilege>>,
    /// The columns of ALL PRIVILEGES.
    pub all_columns: Vec<String>,
    pub target: GrantTarget,
    pub grantees: Vec<RoleSpec>,
    pub granted_by: Option<RoleSpec>,
    /// CASCADE
    pub cascade: bool,
}

/// A function, and the types of its arguments if they are given.
#[derive(Clone, Debug)]
pub struct FunctionName {
    pub name: ast::ObjectName,
    pub arguments: Option<Vec<ast::DataType>>,
}

/// What privileges are granted on.
#[derive(Clone, Debug)]
pub enum GrantTarget {
    /// Tables, views, and sequences as well.
    Tables(Vec<ast::ObjectName>),
    Sequences(Vec<ast::ObjectName>),
    Functions(Vec<FunctionName>),
    Procedures(Vec<FunctionName>),
    Schemas(Vec<String>),
    Databases(Vec<String>),
    /// All of these schemas.
    AllTables(Vec<String>),
    AllSequences(Vec<String>),
    AllFunctions(Vec<String>),
    AllProcedures(Vec<String>),
    /// What these roles make from now on, in these schemas or in any: defaclobjtype.
    Defaults {
        roles: Vec<RoleSpec>,
        schemas: Vec<String>,
        kind: char,
    },
}

/// GRANT and REVOKE of roles.
#[derive(Clone, Debug)]
pub struct MemberGrant {
    /// It is ALTER GROUP, which only those may do who may alter the role.
    pub of_group: bool,
    pub is_grant: bool,
    /// WITH ADMIN OPTION, or ADMIN OPTION FOR.
    pub admin: bool,
    pub roles: Vec<NamedPrivilege>,
    pub members: Vec<RoleSpec>,
    pub granted_by: Option<RoleSpec>,
    pub cascade: bool,
}

/// What kind of thing gets another owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnedKind {
    /// Also a view or a sequence, as in PostgreSQL.
    Table,
    View,
    Sequence,
    /// Which has its table's owner.
    Index,
    Schema,
    Database,
}

/// Whose settings ALTER changes.
#[derive(Clone, Debug)]
pub enum SettingOf {
    /// None: of all roles; in one database, or in all.
    Role {
        role: Option<RoleSpec>,
        database: Option<String>,
    },
    Database(String),
}

/// A change of such settings.
#[derive(Clone, Debug)]
pub enum SettingChange {
    /// None takes it away.
    Set {
        name: String,
        value: Option<String>,
    },
    /// FROM CURRENT
    Current(String),
    ResetAll,
}

/// What ALTER VIEW changes.
#[derive(Clone, Debug)]
pub enum ViewChange {
    /// `name=value` each.
    Set(Vec<String>),
    /// Names.
    Reset(Vec<String>),
}

/// Options of EXPLAIN.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExplainOptions {
    pub analyze: bool,
    pub verbose: bool,
    pub costs: bool,
    pub settings: bool,
    pub buffers: bool,
    pub wal: bool,
    /// None: as ANALYZE has it, and so the next.
    pub timing: Option<bool>,
    pub summary: Option<bool>,
    pub format: ExplainFormat,
}

/// In which form EXPLAIN answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExplainFormat {
    #[default]
    Text,
    Json,
    Xml,
    Yaml,
}

/// COPY.
#[derive(Clone, Debug)]
pub struct CopyStatement {
    pub subject: CopySubject,
    /// FROM STDIN; else TO STDOUT.
    pub from: bool,
    /// Or what is wrong with them: the grammar takes any, and it is told once the table is found.
    pub options: Result<CopyOptions, SqlError>,
}

/// What COPY reads or writes.
#[derive(Clone, Debug)]
pub enum CopySubject {
    Table { name: ast::ObjectName, columns: Vec<String> },
    Query(Arc<super::Parsed>),
}

/// FORMAT
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    Text,
    Csv,
    Binary,
}

/// HEADER
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyHeader {
    Off,
    On,
    /// FROM only: the line must name the columns.
    Match,
}

/// Options of COPY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    pub format: CopyFormat,
    pub delimiter: u8,
    pub null: String,
    pub header: CopyHeader,
    pub quote: u8,
    pub escape: u8,
    /// None: no column; an empty list: all columns (`*`).
    pub force_quote: Option<Vec<String>>,
    pub force_not_null: Vec<String>,
    pub force_null: Vec<String>,
    pub freeze: bool,
}
