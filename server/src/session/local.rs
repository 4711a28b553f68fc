//! SQL without a socket: sessions of the process that the server runs in.
//!
//! They are sessions like any other: they count against max_connections, stand in pg_stat_activity under a
//! number of their own, can be cancelled and terminated, and follow reloaded settings.

use super::startup::closed;
use super::{SessionEnvironment, limited};
use crate::connection::registry::{Activity, Member, NewSession, SessionKind, Statement};
use crate::error::from_sql;
use crate::node::Node;
use crate::state::NodeState;
use host::Instant;
use protocol::SqlState;
use sql_interface::{Canceller, CommandTag, Fetch, Flow, RowSink, SqlError, TransactionStatus};
use sql_session::{Portal, Prepared, SessionOptions, SqlSession};
use sql_types::Datum;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::Interrupt;
use wal::{Lsn, TimelineId};

/// A running server as its own process uses it; cloning shares it. It does not keep the server running.
#[derive(Clone)]
pub struct Embedded(Arc<Node>);

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("data_dir", &self.0.ground.data_dir).finish_non_exhaustive()
    }
}

impl Embedded {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self(node)
    }

    /// Begins a session of a role, which is not asked for a password: this process owns the data directory.
    ///
    /// # Errors
    ///
    /// If there is no such role or database, no place for a session, or the server starts or stops.
    pub async fn session(&self, user: &str, database: &str) -> sql_interface::Result<LocalSession> {
        let node = &self.0;
        let starting = || SqlError::new(SqlState::CANNOT_CONNECT_NOW, "the database system is starting up");
        if let Some(report) = closed(node) {
            return Err(SqlError::new(report.code, report.message));
        }
        let engine = node.engine().ok_or_else(starting)?;
        let options = SessionOptions { user: user.to_owned(), database: database.to_owned() };
        let role = engine.role(user).await?.ok_or_else(|| {
            let what = format!("role \"{user}\" does not exist");
            SqlError::new(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, what)
        })?;
        let new = NewSession {
            kind: SessionKind::Client,
            user: user.to_owned(),
            database: database.to_owned(),
            client: None,
            server: None,
            encryption: None,
            started: node.ground.host.clock.now(),
        };
        let handle = node.sessions.candidate(new, node.ground.host.entropy.as_ref());
        let config = node.ground.config();
        let member = node.sessions.admit(handle, &role, &config).map_err(|full| {
            let report = full.report(user, &config);
            SqlError::new(report.code, report.message)
        })?;
        let handle = &member.handle;
        if let Some(oid) = engine.database_oid(database).await? {
            handle.database_oid.store(oid, Ordering::Relaxed);
        }
        let environment = SessionEnvironment::new(node.clone(), handle.clone(), role.superuser, &[])?;
        let environment = Arc::new(environment);
        let sql = engine.session(options, environment.clone()).await?;
        handle.set_canceller(sql.canceller().clone());
        handle.set_activity(Activity::Idle, node.ground.host.clock.now());
        let canceller = sql.canceller().clone();
        Ok(LocalSession {
            sql,
            canceller,
            environment,
            node: node.clone(),
            member,
            deadline: None,
            active: false,
        })
    }

    /// Whether it is a standby now.
    pub fn is_in_recovery(&self) -> bool {
        self.0.database().is_none_or(storage::Database::is_in_recovery)
    }

    /// Asks a standby to become a primary, and waits until it is one (true), or has stopped or may be none
    /// (it is fenced).
    pub async fn promote(&self) -> bool {
        self.0.request_promotion().is_ok() && self.reached(|state| *state == NodeState::Running).await
    }

    /// Waits until a position of a primary is replayed here, so that what was committed there is read here.
    /// On a primary: until it is visible.
    ///
    /// # Errors
    ///
    /// If the database is not open yet, or the server stops.
    pub async fn wait_redone(&self, lsn: Lsn) -> sql_interface::Result<()> {
        let starting = || SqlError::new(SqlState::CANNOT_CONNECT_NOW, "the database system is starting up");
        let database = self.0.database().ok_or_else(starting)?;
        Ok(database.wait_redone(lsn, &Interrupt::new()).await?)
    }

    /// Waits until the server begins to stop.
    pub async fn stopping(&self) {
        self.reached(|_| false).await;
    }

    async fn reached(&self, wanted: impl Fn(&NodeState) -> bool) -> bool {
        let mut states = self.0.life.states();
        let met = states.wait_for(|state| wanted(state) || matches!(state, NodeState::Stopping(_))).await;
        met.is_ok_and(|state| wanted(&state))
    }
}

/// A session without a socket, from [`Embedded::session`]. Dropping it rolls back what is open.
///
/// [`LocalSession::open`] and [`LocalSession::fetch`] run statements, [`LocalSession::finish`] ends each
/// message as Sync does on the wire: outside of BEGIN and COMMIT it commits. A session that was terminated
/// fails everything with 57P01.
pub struct LocalSession {
    sql: SqlSession,
    canceller: Canceller,
    environment: Arc<SessionEnvironment>,
    node: Arc<Node>,
    member: Member,
    deadline: Option<Instant>,
    /// Something ran since the last [`LocalSession::finish`].
    active: bool,
}

impl std::fmt::Debug for LocalSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalSession").field("pid", &self.pid()).finish_non_exhaustive()
    }
}

/// Collects rows.
#[derive(Debug, Default)]
struct Collect(Vec<Vec<Datum>>);

impl RowSink for Collect {
    fn row(&mut self, values: &[Datum]) -> sql_interface::Result<Flow> {
        self.0.push(values.to_vec());
        Ok(Flow::More)
    }
    fn copy_data(&mut self, _line: &[u8]) -> Flow {
        Flow::More
    }
}

impl LocalSession {
    /// Its number in pg_stat_activity.
    pub fn pid(&self) -> i32 {
        self.member.handle.key.pid
    }

    /// Whether it was told to end (pg_terminate_backend(), a stop of the server).
    pub fn is_terminated(&self) -> bool {
        self.member.handle.is_terminated()
    }

    /// Whether a transaction is open.
    pub fn transaction_status(&self) -> TransactionStatus {
        self.sql.transaction_status()
    }

    /// The end of the last commit and its timeline, and whether it had reached its level when its wait ended.
    pub fn last_commit(&self) -> Option<(TimelineId, Lsn, bool)> {
        self.sql.last_commit().map(|(timeline, lsn)| (timeline, lsn, self.sql.last_commit_confirmed()))
    }

    /// Notices and warnings since the last call.
    pub fn take_notices(&mut self) -> Vec<SqlError> {
        self.sql.take_notices()
    }

    /// The first thing after [`LocalSession::finish`].
    fn begin(&mut self) -> sql_interface::Result<()> {
        if self.is_terminated() {
            return Err(sql_interface::CancelReason::Terminate.error());
        }
        if !self.active {
            self.active = true;
            self.canceller.clear();
            self.environment.follow();
            let limit: Option<Duration> = self.environment.config().statement_timeout;
            self.deadline = limit.map(|limit| Instant::now() + limit);
            self.member.handle.set_activity(Activity::Active, self.node.ground.host.clock.now());
        }
        Ok(())
    }

    /// Analyses a statement; `types` are the OIDs of its parameters, 0 for those to be found out. The same
    /// text is analysed once.
    ///
    /// # Errors
    ///
    /// If the text is no statement, names what is not there, or the session has to end.
    pub async fn prepare(&mut self, text: &str, types: &[u32]) -> sql_interface::Result<Arc<Prepared>> {
        self.begin()?;
        let done = limited(self.deadline, &self.canceller, pin!(self.sql.prepare(text, types))).await;
        self.logged(done, text)
    }

    /// Makes a statement ready to run with parameters of its types.
    ///
    /// # Errors
    ///
    /// If a parameter does not fit, the transaction has failed before, or the session has to end.
    pub async fn open(
        &mut self,
        prepared: Arc<Prepared>,
        parameters: Vec<Datum>,
    ) -> sql_interface::Result<Box<Portal>> {
        self.begin()?;
        self.sql.note_time();
        self.member.handle.set_statement(Statement::Text(prepared.sql().clone()));
        let done =
            limited(self.deadline, &self.canceller, pin!(self.sql.open(prepared.clone(), parameters))).await;
        self.logged(done, prepared.sql())
    }

    /// Gives at most `rows_max` rows (0: all) to `out`.
    ///
    /// # Errors
    ///
    /// If the statement fails, is cancelled, or the session has to end.
    pub async fn fetch(
        &mut self,
        portal: &mut Portal,
        rows_max: usize,
        out: &mut dyn RowSink,
    ) -> sql_interface::Result<Fetch> {
        self.begin()?;
        let done = limited(self.deadline, &self.canceller, pin!(self.sql.fetch(portal, rows_max, out))).await;
        self.logged(done, portal.prepared().sql())
    }

    /// Runs one statement to its end; its rows and its tag.
    ///
    /// # Errors
    ///
    /// If the statement fails, is cancelled, or the session has to end.
    pub async fn run(
        &mut self,
        text: &str,
        types: &[u32],
        parameters: Vec<Datum>,
    ) -> sql_interface::Result<(Vec<Vec<Datum>>, CommandTag)> {
        let prepared = self.prepare(text, types).await?;
        let mut portal = self.open(prepared, parameters).await?;
        if let sql_interface::PortalKind::CopyIn { .. } | sql_interface::PortalKind::CopyOut { .. } =
            portal.kind()
        {
            return Err(SqlError::unsupported("COPY without a connection"));
        }
        let mut rows = Collect::default();
        loop {
            if let Fetch::Complete(tag) = self.fetch(&mut portal, 0, &mut rows).await? {
                return Ok((rows.0, tag));
            }
        }
    }

    /// Ends a message: outside of a transaction block it commits what was done, or rolls it back if it
    /// failed.
    ///
    /// # Errors
    ///
    /// If what was done cannot be committed.
    pub async fn finish(&mut self) -> sql_interface::Result<()> {
        if !self.active {
            return Ok(());
        }
        let done = limited(self.deadline, &self.canceller, pin!(self.sql.sync())).await;
        self.active = false;
        let activity = match self.sql.transaction_status() {
            TransactionStatus::Idle => Activity::Idle,
            TransactionStatus::InTransaction => Activity::IdleInTransaction,
            TransactionStatus::Failed => Activity::IdleInFailedTransaction,
        };
        self.member.handle.set_activity(activity, self.node.ground.host.clock.now());
        self.logged(done, "COMMIT")
    }

    fn logged<T>(&self, result: sql_interface::Result<T>, statement: &str) -> sql_interface::Result<T> {
        if let Err(error) = &result {
            let context = self.member.handle.log_context();
            self.node.ground.log.write(Some(&context), &from_sql(error), Some(statement));
        }
        result
    }
}
