//! One client's session: its transaction, its prepared statements, its statements' execution; and
//! [`SqlEngine`], which all sessions of a server share.
//!
//! A statement's way: text -> [`SqlSession::prepare`] -> [`Prepared`] -> [`SqlSession::open`] -> [`Portal`]
//! -> [`SqlSession::fetch`] -> [`RowSink`].
//!
//! How a server drives it:
//!
//! - Simple query: `start_simple(sql)` gives the statements; for each `prepare_statement`, `open`, `fetch`
//!   until `Complete`; hold the last statement's tag back until `sync` has committed, then send it. An error
//!   ends the string: send it, call `sync`, send ReadyForQuery.
//! - Extended query: Parse is `prepare` and `store`; Bind is `open`; Execute is `fetch`; Sync is `sync`.
//! - An error that the server itself finds (a bad Bind, a broken message) is told by `fail`.
//!
//! Durability is storage's: what a COMMIT answered is as durable as its synchronous_commit level says.
//!
//! It knows no sockets, no protocol bytes and no files; settings, node-wide views and functions come through
//! [`Environment`].
//!
//! [`RowSink`]: sql_interface::RowSink

mod acting;
mod alter;
mod alter_other;
mod analysis;
mod answers;
mod block;
mod checks;
mod copy;
mod cursors;
mod ddl;
mod declared;
mod definition;
mod engine;
mod explain;
mod extension;
mod facts;
mod files;
mod grant;
mod granted;
mod in_use;
mod index;
mod kept;
mod maintain;
mod members;
mod named_in_settings;
mod named_rows;
mod names;
mod naming;
mod opening;
mod options;
mod owners;
mod portal;
mod regs;
mod reindex;
mod rights;
mod role_settings;
mod roles;
mod run;
mod savepoints;
mod sequence;
mod utility;
mod view;

use block::{Block, in_failed_block};
use declared::declared;
pub use engine::{RowChanges, SqlEngine, StartSetting};
use facts::SessionFacts;
pub use files::{FileCheck, check_files};
pub use named_in_settings::{MissingObject, missing_object};
pub use named_rows::{
    CATALOGUE_TREES, CatalogueChange, EntryChange, EntryValue, Named, NamedRows, NamedValue,
};
pub use sql_execution::advisory::AdvisoryLock;

use kept::Kept;
use portal::Body;
pub use portal::{Portal, Prepared, cannot_be_run};
use sql_catalogue::{Catalogue, Role};
use sql_execution::advisory::AdvisoryOwner;
use sql_interface::{Canceller, Environment, Notice, QuickSettings, Result, SettingActor, SqlError, stack};
use sql_language::parse::{Parsed, SqlCommand, Utility};
pub use sql_language::parse::{StatementClass, behind_comments, first_word};
use sqlstate::SqlState;
use std::sync::Arc;

/// What a session keeps by its name.
type HashMap<K, V> = hashbrown::HashMap<K, V, host::HashState>;

/// The wire protocol's limit.
const PARAMETERS_MAX: usize = 65535;

/// Plans kept for texts that come again without a name: so many, and of so many bytes of text together.
const CACHED_PLANS_MAX: usize = 256;
const CACHED_TEXT_BYTES_MAX: usize = 256 << 10;
/// What is longer is seldom sent again, and its plan is large.
const CACHED_STATEMENT_BYTES_MAX: usize = 16 << 10;

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
    engine: SqlEngine,
    environment: Arc<dyn Environment>,
    canceller: Canceller,
    notices: Vec<Notice>,
    /// The role that acts, as the catalogue has it.
    role: Arc<Role>,
    acting: acting::Acting,
    facts: SessionFacts,
    quick: Arc<QuickSettings>,
    /// The environment's changes that it has taken over.
    quick_changes: u64,
    block: Option<Block>,
    serial: u64,
    /// Statements that have begun, of all transactions.
    begun: u64,
    kept: Kept,
    advisory: AdvisoryOwner,
    /// Prepared statements by text and declared types.
    cache: HashMap<(Arc<str>, Vec<u32>), Arc<Prepared>>,
    /// The bytes of those texts.
    cached_text_bytes: usize,
    last_commit: Option<(wal::TimelineId, wal::Lsn)>,
    last_snapshot: Option<(wal::TimelineId, wal::Lsn)>,
    /// The last commit whose wait was not cancelled: this session's snapshots are at least that.
    confirmed_commit: wal::Lsn,
    /// What WAIT FOR LSN has waited for: later snapshots include it.
    waited_for: wal::Lsn,
    /// What transactions that were rolled back have told the client: later answers rest on it (see
    /// `answers`).
    told_up_to: wal::Lsn,
    /// Last, so that it is dropped after all that a session holds.
    _memory: GiveBack,
}

/// Gives memory back when the session has ended.
struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        host::give_back_freed_memory();
    }
}

impl SqlSession {
    pub(crate) fn new(
        engine: SqlEngine,
        environment: Arc<dyn Environment>,
        role: Arc<Role>,
        database: String,
        catalogue: Arc<Catalogue>,
    ) -> Self {
        let (quick_changes, quick) = (environment.changes(), environment.quick());
        let advisory = AdvisoryOwner::new(engine.advisory().clone(), environment.backend_pid());
        let facts = SessionFacts::new(&engine, &environment, &role, database, catalogue);
        Self {
            engine,
            environment,
            canceller: Canceller::default(),
            notices: Vec::new(),
            acting: acting::Acting::new(&role),
            role,
            facts,
            quick,
            quick_changes,
            block: None,
            serial: 0,
            begun: 0,
            kept: Kept::default(),
            advisory,
            cache: HashMap::default(),
            cached_text_bytes: 0,
            last_commit: None,
            last_snapshot: None,
            confirmed_commit: wal::Lsn::INVALID,
            waited_for: wal::Lsn::INVALID,
            told_up_to: wal::Lsn::INVALID,
            _memory: GiveBack,
        }
    }

    /// The handle that stops this session's statements; the server keeps a clone.
    pub fn canceller(&self) -> &Canceller {
        &self.canceller
    }

    /// The server around this session.
    pub fn environment(&self) -> &Arc<dyn Environment> {
        &self.environment
    }

    /// The end of this session's last commit and its timeline, if it committed anything: the token for reads
    /// that follow it.
    pub fn last_commit(&self) -> Option<(wal::TimelineId, wal::Lsn)> {
        self.last_commit
    }

    /// The position of the last snapshot that this session took, and its timeline: the token for reads that
    /// shall not go back behind it.
    pub fn last_snapshot(&self) -> Option<(wal::TimelineId, wal::Lsn)> {
        self.last_snapshot
    }

    /// Whether the last commit had reached its level when its wait ended. If not, this session reads it when
    /// all others do.
    pub fn last_commit_confirmed(&self) -> bool {
        self.last_commit.is_none_or(|(_, lsn)| lsn == self.confirmed_commit)
    }

    /// Notices and warnings since the last call, to be sent before the next message.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn actor(&self) -> SettingActor {
        self.facts.actor()
    }

    /// Takes over settings that changed since the last statement.
    fn refresh_settings(&mut self) {
        let changes = self.environment.changes();
        if self.quick_changes != changes {
            self.quick_changes = changes;
            self.quick = self.environment.quick();
            let now = self.facts.style.now_micros;
            self.facts.style = sql_types::Style::clone(&self.quick.style);
            self.facts.style.now_micros = now;
            self.limit_lock_waits();
            self.refresh_path();
        }
    }

    /// A message came that has a statement run: it begins now, and so does a transaction that begins with it.
    /// To be called before [`Self::open`]; the methods that take a text do so themselves.
    #[inline]
    pub fn note_time(&mut self) {
        self.facts.statement_time = self.facts.host.clock.now();
    }

    /// An error that ended a wait, with the reason of the cancellation where it was one.
    #[cold]
    fn explained(&self, error: SqlError) -> SqlError {
        match self.canceller.reason() {
            Some(reason) if error.code() == SqlState::QUERY_CANCELED => reason.error(),
            _ => stack::with_hint(error, self.quick.max_stack_depth_bytes),
        }
    }

    /// Begins a simple-query message: splits it into its statements (without the semicolons; empty ones left
    /// out). A syntax error in any of them fails the whole string before anything runs, as in PostgreSQL.
    ///
    /// # Errors
    ///
    /// 42601 at the first statement that cannot be parsed.
    pub fn start_simple(&mut self, sql: &str) -> Result<Vec<Statement>> {
        self.note_time();
        let parsed = self.parsed(sql);
        let statements = self.noting_now(parsed)?;
        self.kept.several = statements.len() > 1;
        Ok(statements.into_iter().map(Statement).collect())
    }

    /// Analyses a statement of [`SqlSession::start_simple`]. It can have no parameters.
    ///
    /// # Errors
    ///
    /// What analysis finds: names that are not there, types that do not fit, rights that are missing.
    pub async fn prepare_statement(
        &mut self,
        statement: &Statement,
        declared_types: &[u32],
    ) -> Result<Arc<Prepared>> {
        let result = match declared(declared_types) {
            Ok(declared) => self.analyse(statement.0.clone(), declared, 0).await,
            Err(error) => Err(error),
        };
        self.noting(result).await.map(Arc::new)
    }

    /// Analyses a message of one statement (42601 if there are more; none is an empty query).
    /// `declared_types` are OIDs, 0 for unspecified, and may be shorter than the parameters.
    ///
    /// # Errors
    ///
    /// 42601, and what analysis finds.
    pub async fn prepare(&mut self, sql: &str, declared_types: &[u32]) -> Result<Arc<Prepared>> {
        let key = (Arc::<str>::from(sql), declared_types.to_vec());
        let failed = self.block.as_ref().is_some_and(|block| block.failed);
        self.note_time();
        if !failed && let Some(known) = self.cache.get(&key).cloned() {
            let alike = self.is_analysed_alike(&known).await;
            if self.noting(alike).await? {
                return Ok(known);
            }
        }
        let result = self.prepare_text(sql, declared_types).await;
        let prepared = Arc::new(self.noting(result).await?);
        if prepared.is_lasting() && sql.len() <= CACHED_STATEMENT_BYTES_MAX {
            if self.cache.len() >= CACHED_PLANS_MAX
                || self.cached_text_bytes + sql.len() > CACHED_TEXT_BYTES_MAX
            {
                self.forget_cached();
            }
            if self.cache.insert(key, prepared.clone()).is_none() {
                self.cached_text_bytes += sql.len();
            }
        }
        Ok(prepared)
    }

    /// Whether analysis would give the same for a kept text: others may have changed what it names.
    async fn is_analysed_alike(&mut self, known: &Prepared) -> Result<bool> {
        let Some(version) = known.version() else { return Ok(true) };
        self.begin_planning().await?;
        Ok(self.catalogue().await?.version == version)
    }

    /// Names may stand for something else from now on.
    fn plan_anew(&mut self) {
        self.forget_cached();
        for stored in self.kept.statements.values() {
            if let Body::Plan { plan, .. } = &stored.prepared.body {
                let mut plan = plan.lock();
                *plan = Arc::new(plan.outdated());
            }
        }
    }

    fn forget_cached(&mut self) {
        self.cache.clear();
        self.cached_text_bytes = 0;
    }

    async fn prepare_text(&mut self, sql: &str, declared_types: &[u32]) -> Result<Prepared> {
        let declared = declared(declared_types)?;
        let mut statements = self.parsed(sql)?;
        if statements.len() > 1 {
            return Err(SqlError::syntax("cannot insert multiple commands into a prepared statement"));
        }
        match statements.pop() {
            Some(parsed) => self.analyse(parsed, declared, PARAMETERS_MAX).await,
            None => Ok(Prepared::new(Arc::from(sql), Vec::new(), None, Body::Empty)),
        }
    }

    /// A statement that may run in a failed transaction, because it ends it.
    fn ends_transaction(command: &SqlCommand) -> bool {
        matches!(
            command,
            SqlCommand::Utility(Utility::Commit { .. } | Utility::Rollback { .. } | Utility::RollbackTo(_))
        )
    }

    /// 25006 for a change in a read-only transaction, which every one on a standby is, and on a server that
    /// was replaced, also in a transaction that began before.
    fn refuse_in_read_only(&mut self, writes: bool, verb: &str) -> Result<()> {
        if !writes {
            return Ok(());
        }
        sql_interface::refuse_if_fenced(self.engine.database())?;
        if self.ensure_block().read_only {
            return Err(SqlError::new(
                SqlState::READ_ONLY_SQL_TRANSACTION,
                format!("cannot execute {verb} in a read-only transaction"),
            ));
        }
        Ok(())
    }
}
