//! What a session asks of the server around it: settings, node-wide tables and functions, password verifiers.
//!
//! One `Environment` belongs to one session. All its methods take `&self`; the server guards its own state.
//! None of them may block on a lock that is held across I/O, except the futures of [`NodeCall::Later`].

use crate::cancel::Canceller;
use crate::error::Result;
use crate::token::ReadToken;
use sql_types::{Datum, Type};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use storage::{Interrupt, SyncLevel};
use wal::Xid;

/// How long a SET lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetScope {
    /// SET or SET SESSION: until the session ends, or undone if the transaction rolls back.
    Session,
    /// SET LOCAL: until the transaction ends.
    Local,
}

/// Who may see or change a setting, and what else the server decides by who asks: the current role, and which
/// of the predefined roles' rights it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SettingActor {
    /// Whether the current role is a superuser.
    pub superuser: bool,
    /// The current role's OID.
    pub role: u32,
    /// It has REPLICATION.
    pub replication: bool,
    /// pg_read_all_settings: it sees what is for superusers.
    pub reads_settings: bool,
    /// pg_read_all_stats: it sees what others do.
    pub reads_statistics: bool,
    /// pg_signal_backend: it may stop the statements and sessions of others.
    pub signals: bool,
}

impl SettingActor {
    /// One that may do all, for what the server asks of its own accord.
    pub const SUPERUSER: Self = Self {
        superuser: true,
        role: 10,
        replication: true,
        reads_settings: true,
        reads_statistics: true,
        signals: true,
    };
}

/// One line of SHOW ALL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingLine {
    /// The canonical name.
    pub name: String,
    /// The value with its unit, as SHOW prints it.
    pub value: String,
    /// The short description.
    pub description: String,
}

/// The settings that statements consult all the time, already parsed. A new `Arc` whenever one of them
/// changes.
#[derive(Clone, Debug)]
pub struct QuickSettings {
    /// synchronous_commit.
    pub synchronous_commit: SyncLevel,
    /// default_transaction_isolation.
    pub default_isolation: IsolationLevel,
    /// default_transaction_read_only.
    pub default_read_only: bool,
    /// work_mem in bytes: what one sort, hash or aggregate may hold.
    pub work_mem_bytes: usize,
    /// max_stack_depth in bytes.
    pub max_stack_depth_bytes: usize,
    /// lock_timeout in milliseconds; 0 is none.
    pub lock_timeout_ms: u64,
    /// deadlock_timeout.
    pub deadlock_timeout: Duration,
    /// plimsoll.read_after: what each new snapshot has to include.
    pub read_after: Option<ReadToken>,
    /// plimsoll.standby_reads = confirmed: on a standby, show only what the server before it has named
    /// confirmed.
    pub reads_confirmed: bool,
    /// search_path: names of schemas, `$user` among them as it is.
    pub search_path: Arc<[String]>,
    /// How values print and what time zone they are read in (TimeZone, DateStyle, bytea_output, ...);
    /// `now_micros` is filled in by the session.
    pub style: Arc<sql_types::Style>,
}

/// Isolation levels by their SQL names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IsolationLevel {
    /// read uncommitted, which behaves as read committed.
    ReadUncommitted,
    /// read committed.
    #[default]
    ReadCommitted,
    /// repeatable read.
    RepeatableRead,
    /// serializable: refused with 0A000 when a transaction asks for it.
    Serializable,
}

impl IsolationLevel {
    /// The name as SHOW transaction_isolation prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadUncommitted => "read uncommitted",
            Self::ReadCommitted => "read committed",
            Self::RepeatableRead => "repeatable read",
            Self::Serializable => "serializable",
        }
    }
}

/// The shape of a read-only table that the node fills in (pg_settings, pg_stat_replication, ...).
#[derive(Clone, Debug)]
pub struct NodeTable {
    /// Schema: `pg_catalog` or `information_schema`.
    pub schema: &'static str,
    /// Name, without quotes.
    pub name: &'static str,
    /// pg_class.oid as PostgreSQL has it where it has one; else below 16384 and unique among the node's
    /// tables.
    pub oid: u32,
    /// Columns in order.
    pub columns: Vec<(&'static str, Type)>,
}

/// What a node function returns.
#[derive(Clone, Debug)]
pub enum NodeReturns {
    /// One value: `NodeRows` of one row and one column. No row means NULL.
    Scalar(Type),
    /// One row of these columns.
    Record(Vec<(&'static str, Type)>),
    /// Any number of rows of these columns.
    Set(Vec<(&'static str, Type)>),
}

/// A function that the node carries out (pg_current_wal_lsn, pg_promote, ...).
#[derive(Clone, Debug)]
pub struct NodeFunction {
    /// Name in pg_catalog.
    pub name: &'static str,
    /// Argument types; those from `required` on may be left out.
    pub arguments: Vec<NodeArgument>,
    /// How many arguments must be given.
    pub required: usize,
    /// A NULL argument makes the result NULL without a call.
    pub strict: bool,
    /// What comes back.
    pub returns: NodeReturns,
}

/// One argument of a node function.
#[derive(Clone, Debug)]
pub struct NodeArgument {
    /// For the notation `name => value`.
    pub name: &'static str,
    /// Its type.
    pub ty: Type,
    /// Its value when left out (meaningful from `required` on).
    pub default: Datum,
}

/// Rows of a node table or function, each with the declared number of columns.
pub type NodeRows = Vec<Vec<Datum>>;

/// A future that a session may await anywhere.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What an advisory lock is on, as pg_locks shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AdvisoryKey {
    /// The high half of a bigint, or the first of two integers.
    pub class: u32,
    /// The low half, or the second.
    pub object: u32,
    /// Two integers, and not one bigint.
    pub pair: bool,
}

/// A request for an advisory lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvisoryRequest {
    /// On what.
    pub key: AdvisoryKey,
    /// Others may share it.
    pub shared: bool,
    /// It is waited for.
    pub waits: bool,
    /// For the transaction, and not for the session.
    pub transaction: bool,
}

/// The outcome of a node function: at once, or after waiting (pg_promote, pg_sleep, pg_backup_stop, ...).
/// A later one is dropped when the statement is cancelled.
pub enum NodeCall {
    /// There already.
    Now(Result<NodeRows>),
    /// To be awaited.
    Later(BoxFuture<'static, Result<NodeRows>>),
    /// An advisory lock, which the session takes: whether it was taken, or void where it waits for that.
    Advisory(AdvisoryRequest),
    /// The transaction's id, which only the session can tell: given out now if it has none, or NULL then.
    TransactionId {
        /// Give one out.
        assign: bool,
        /// As a value of type xid8, not bigint.
        as_xid8: bool,
    },
    /// To be awaited to its end with an xid that stands or falls with the transaction, or with the innermost
    /// savepoint: what it does counts once that is committed.
    WithXid(Box<dyn FnOnce(Xid) -> BoxFuture<'static, Result<NodeRows>> + Send>),
}

/// The server around one session.
pub trait Environment: Send + Sync {
    // --- settings ---

    /// The parsed settings of the hot path; called at least once a statement, so it must be cheap.
    fn quick(&self) -> Arc<QuickSettings>;
    /// Moves with each change of what [`Self::quick`] gives.
    fn changes(&self) -> u64;
    /// SHOW name and current_setting(name): the printed value; None for an unknown name.
    ///
    /// # Errors
    ///
    /// 42501 if this actor may not read the setting.
    fn show(&self, actor: SettingActor, name: &str) -> Result<Option<String>>;
    /// A setting's name as it is defined, whatever the case in which it is asked for.
    fn setting_name(&self, name: &str) -> String {
        name.to_owned()
    }
    /// SHOW ALL.
    fn show_all(&self, actor: SettingActor) -> Vec<SettingLine>;
    /// SET; `value` None is DEFAULT. A list (`SET search_path TO a, b`) comes joined by `, `. Unknown names,
    /// bad values, wrong contexts and missing privileges are errors with PostgreSQL's SQLSTATEs.
    ///
    /// # Errors
    ///
    /// 42704, 22023, 55P02 or 42501, as the text above says.
    fn set(&self, actor: SettingActor, name: &str, value: Option<&str>, scope: SetScope) -> Result<()>;
    /// RESET ALL.
    ///
    /// # Errors
    ///
    /// What SET fails with.
    fn reset_all(&self, actor: SettingActor) -> Result<()>;
    /// The settings that change plans or answers and have another value than their default, with what SHOW
    /// gives: EXPLAIN (SETTINGS).
    fn plan_settings(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// ALTER SYSTEM SET (value), ALTER SYSTEM RESET (None), ALTER SYSTEM RESET ALL (name None). Durable on
    /// return.
    ///
    /// # Errors
    ///
    /// What SET fails with, and 58030 if the file cannot be written.
    fn alter_system(&self, actor: SettingActor, name: Option<&str>, value: Option<&str>) -> Result<()>;
    /// A savepoint of the settings, called only in transactions that set something: level 1 is the
    /// transaction itself, each SAVEPOINT one more.
    fn settings_push(&self, level: u32);
    /// Gives up every level from `level` on: its changes are undone (`keep` false) or pass to the level
    /// below. Leaving level 1 ends what SET LOCAL set, whichever way.
    fn settings_pop(&self, level: u32, keep: bool);

    /// Whether sessions may begin with this value of a setting (ALTER ROLE ... SET); None takes one away. Its
    /// canonical name.
    ///
    /// # Errors
    ///
    /// What SET fails with.
    fn check_start_setting(&self, _actor: SettingActor, name: &str, _value: Option<&str>) -> Result<String> {
        Ok(name.to_owned())
    }

    // --- the node's own tables and functions ---

    /// Shapes of the node's tables; the same for the life of the process.
    fn node_tables(&self) -> &[NodeTable];
    /// The rows of one of them now. `table` is an index into [`Environment::node_tables`].
    ///
    /// # Errors
    ///
    /// 42501 if this actor may not look, or what keeps the node from knowing.
    fn node_rows(&self, actor: SettingActor, table: usize) -> Result<NodeRows>;
    /// Signatures of the node's functions; the same for the life of the process. Overloads differ in argument
    /// types.
    fn node_functions(&self) -> &[NodeFunction];
    /// Calls one of them; `function` is an index into [`Environment::node_functions`], `arguments` is
    /// complete and of the declared types. `canceller` tells a blocking wait inside to give up.
    fn call(
        &self,
        actor: SettingActor,
        function: usize,
        arguments: &[Datum],
        canceller: &Canceller,
    ) -> NodeCall;

    // --- reads that follow writes ---

    /// Waits until a snapshot taken on this node includes everything up to the token; an error if that can
    /// never be. `interrupt` shows the wait; the future is dropped when the statement is cancelled.
    fn reach(&self, token: ReadToken, interrupt: &Interrupt) -> BoxFuture<'static, Result<()>>;

    // --- roles and identity ---

    /// The session acts as another role from now on (SET ROLE, SET SESSION AUTHORIZATION, or its role was
    /// altered): whether that is a superuser, and the session's own role.
    fn acts_as(&self, _superuser: bool, _session_role: &str) {}

    /// What a role keeps of a password: a SCRAM-SHA-256 verifier, which the text may be already. None if that
    /// is one of the empty password.
    ///
    /// # Errors
    ///
    /// If a verifier cannot be made of this password.
    fn password_verifier(&self, password: &str) -> Result<Option<String>>;
    /// The pid that the client was told (pg_backend_pid()).
    fn backend_pid(&self) -> i32;
    /// The client's address and port, for inet_client_addr() and the like; None on a Unix socket.
    fn client_address(&self) -> Option<std::net::SocketAddr>;
}
