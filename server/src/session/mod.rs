//! One client's session, from its first packet to its last.

mod base_backup;
mod copy;
mod environment;
mod extended;
mod files;
mod limits;
mod local;
mod logged;
mod members;
mod packets;
mod reach;
mod replication;
mod rows;
mod simple;
mod slots;
mod startup;
mod startup_options;
mod stream;
#[cfg(test)]
mod tests;
mod tracked;

pub use local::{Embedded, LocalSession};
pub(crate) use startup::serve;

use crate::connection::registry::{Activity, EndedFor, Member, SessionHandle};
use crate::connection::wire::{Exit, Wire};
use crate::error::from_sql;
use crate::node::Node;
use environment::SessionEnvironment;
use host::Instant;
use limits::{Limits, reaches_client};
use protocol::backend::{self, TransactionStatus};
use protocol::frame::FrameLimits;
use protocol::frontend::FrontendMessage;
use protocol::{Report, SqlState};
use rows::Scratch;
use sql_interface::{CancelReason, Canceller, Environment, SqlError};
use sql_session::{Portal, SqlSession};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;

/// A failed message: the client is told and the session goes on, or the session ends.
enum Failure {
    Error(Box<Report>),
    Exit(Exit),
}

impl From<SqlError> for Failure {
    #[cold]
    fn from(error: SqlError) -> Self {
        let report = Box::new(from_sql(&error));
        if report.severity > protocol::Severity::Error {
            Self::Exit(Exit::Fatal(report))
        } else {
            Self::Error(report)
        }
    }
}

impl From<Exit> for Failure {
    fn from(exit: Exit) -> Self {
        Self::Exit(exit)
    }
}

impl From<Report> for Failure {
    #[cold]
    fn from(report: Report) -> Self {
        Self::Error(Box::new(report))
    }
}

/// A session that speaks SQL.
struct Session {
    node: Arc<Node>,
    wire: Wire,
    handle: Arc<SessionHandle>,
    environment: Arc<SessionEnvironment>,
    canceller: Canceller,
    unnamed: Option<Box<Portal>>,
    /// Behind the portal: it gives back the memory of statements that are gone.
    sql: SqlSession,
    limits: Limits,
    /// An extended-query message failed: all up to the next Sync are left out.
    skipping: bool,
    /// A query message has come since the last ReadyForQuery.
    active: bool,
    /// When statement_timeout strikes.
    deadline: Option<Instant>,
    /// A statement has ended: the next one's time begins with it.
    statement_over: bool,
    scratch: Scratch,
    /// The changes of settings that the client was told of.
    told_changes: u64,
    /// The last commit that the client was told of.
    told_commit: Option<wal::Lsn>,
    told_snapshot: Option<wal::Lsn>,
    frame_limits: FrameLimits,
    /// The server was fenced already when it began, which it was told.
    began_fenced: bool,
    /// The statements that were counted last, once one was.
    tracked: Option<Box<tracked::Tracked>>,
    /// `replication=database`: replication commands are taken too.
    replication: Option<replication::WalSender>,
    _member: Member,
}

/// A session of before the fence ends with it: drivers take this for a lost server and connect anew, where
/// they find that this one takes no writes.
fn lost_server(why: &str, detail: Option<&str>) -> Report {
    let message = format!("terminating connection because {why}");
    let detail = detail.unwrap_or(
        "What this session was about to commit may be in this server's log, and is not acknowledged.",
    );
    let hint = "Connect to the server that replaced it.";
    Report::fatal(SqlState::ADMIN_SHUTDOWN, message).with_detail(detail).with_hint(hint)
}

/// Runs what `future` does; at the deadline its statement is cancelled, and its end awaited. The future comes
/// pinned, so that the kilobytes of a statement's state are not moved around.
async fn limited<F: Future>(
    deadline: Option<Instant>,
    canceller: &Canceller,
    mut future: Pin<&mut F>,
) -> F::Output {
    let Some(deadline) = deadline else { return future.await };
    tokio::select! {
        biased;
        done = &mut future => return done,
        () = tokio::time::sleep_until(deadline) => {}
    }
    canceller.cancel(CancelReason::StatementTimeout);
    future.await
}

impl Session {
    /// Serves the client until it leaves or has to go.
    async fn run(&mut self) -> Exit {
        loop {
            let message = match self.wire.buffered(self.frame_limits) {
                Ok(Some(message)) => message,
                Ok(None) => match self.read().await {
                    Ok(()) => continue,
                    Err(exit) => return exit,
                },
                Err(exit) => return exit,
            };
            let (kind, body) = message;
            if let Err(exit) = self.message(kind, &body).await {
                return exit;
            }
            self.wire.done_with(body);
            // Answers to messages that came without a Sync wait no longer than there is room for them.
            if let Err(exit) = self.wire.make_room().await {
                return exit;
            }
        }
    }

    /// Waits for more input, no longer than the session may be idle.
    async fn read(&mut self) -> Result<(), Exit> {
        self.take_limits();
        let (limit, code, what) = match self.sql.transaction_status() {
            _ if self.active => (None, SqlState::INTERNAL_ERROR, ""),
            sql_interface::TransactionStatus::Idle => {
                let what = "terminating connection due to idle-session timeout";
                (self.limits.idle, SqlState::IDLE_SESSION_TIMEOUT, what)
            }
            _ => {
                let what = "terminating connection due to idle-in-transaction timeout";
                (self.limits.idle_in_transaction, SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT, what)
            }
        };
        self.sql.note_wait();
        match limit {
            None => {
                let read = self.wire.read_more().await;
                // A request to cancel that came meanwhile was for what has ended already.
                self.canceller.forget_request();
                read
            }
            // A message of which only a part has come is none: it does not end the silence.
            Some(limit) => match tokio::time::timeout(limit, self.wire.read_whole(self.frame_limits)).await {
                Ok(read) => read,
                Err(_) => Err(Exit::Fatal(Box::new(Report::fatal(code, what)))),
            },
        }
    }

    /// Carries out one message; only what ends the session comes back as an error.
    async fn message(&mut self, kind: u8, body: &[u8]) -> Result<(), Exit> {
        let message = match FrontendMessage::decode(kind, body) {
            Ok(message) => message,
            Err(protocol::ProtocolError::UnknownType(_)) => {
                let what = format!("invalid frontend message type {kind}");
                return Err(Exit::Fatal(Box::new(Report::fatal(SqlState::PROTOCOL_VIOLATION, what))));
            }
            Err(error) => return self.malformed(kind, &error).await,
        };
        if self.skipping && !matches!(message, FrontendMessage::Sync | FrontendMessage::Terminate) {
            // The error itself has been sent.
            return Ok(());
        }
        if !self.active {
            self.begin();
        }
        let done = match message {
            FrontendMessage::Query(sql) => return self.simple_query(sql).await,
            FrontendMessage::Parse(parse) => self.parse(&parse).await,
            FrontendMessage::Bind(bind) => self.bind(&bind).await,
            FrontendMessage::Describe(target) => self.describe(target).await,
            FrontendMessage::Execute { portal, rows_max } => self.execute(portal, rows_max).await,
            FrontendMessage::Close(target) => {
                self.close(target);
                Ok(())
            }
            FrontendMessage::Sync => return self.sync().await,
            FrontendMessage::Flush => return self.wire.flush().await,
            FrontendMessage::Terminate => return Err(Exit::Gone),
            // What is left of a COPY that failed.
            FrontendMessage::CopyData(_) | FrontendMessage::CopyDone | FrontendMessage::CopyFail(_) => {
                self.active = false;
                return Ok(());
            }
            FrontendMessage::FunctionCall => {
                let report = match self.sql.check_block() {
                    Err(error) => from_sql(&error),
                    Ok(()) => {
                        let what = "fastpath function calls are not supported";
                        Report::error(SqlState::FEATURE_NOT_SUPPORTED, what)
                    }
                };
                self.sql.fail();
                self.failed(report)?;
                return self.finish(None).await;
            }
            FrontendMessage::Password(_) => {
                let what = format!("invalid frontend message type {kind}");
                return Err(Exit::Fatal(Box::new(Report::fatal(SqlState::PROTOCOL_VIOLATION, what))));
            }
        };
        match done {
            Ok(()) => Ok(()),
            Err(Failure::Exit(exit)) => Err(exit),
            Err(Failure::Error(report)) => {
                self.skipping = true;
                self.failed(*report)?;
                // The client may wait for it before it sends Sync: some ask for it by Flush alone.
                self.wire.flush().await
            }
        }
    }

    /// Answers a message whose body makes no sense.
    async fn malformed(&mut self, kind: u8, error: &protocol::ProtocolError) -> Result<(), Exit> {
        // What is left of a COPY is not looked at.
        if (self.skipping && kind != b'S') || matches!(kind, b'd' | b'c' | b'f') {
            return Ok(());
        }
        let code = match error {
            protocol::ProtocolError::NotUtf8(_) => SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            _ => SqlState::PROTOCOL_VIOLATION,
        };
        if !self.active {
            self.begin();
        }
        self.sql.fail();
        self.failed(Report::error(code, error.to_string()))?;
        // The client waits for ReadyForQuery behind what is no part of a pipeline, or its end.
        if matches!(kind, b'Q' | b'S' | b'F') {
            self.skipping = false;
            return self.finish(None).await;
        }
        self.skipping = true;
        self.wire.flush().await
    }

    /// Tells the socket of tcp_user_timeout; one that takes no options still serves.
    fn limit_silence(&self) {
        let _ = self.wire.socket().set_user_timeout(self.limits.tcp_user_timeout);
    }

    /// Refuses what makes the session keep more, when all sessions together have what they may have. What
    /// lets go of memory goes on, and so does a superuser, who may have to end others.
    #[inline]
    fn check_memory(&mut self, sql: &str) -> Result<(), Failure> {
        if self.canceller.is_out_of_memory() { self.refuse_more(sql) } else { Ok(()) }
    }

    #[cold]
    fn refuse_more(&mut self, sql: &str) -> Result<(), Failure> {
        const FREEING: [&str; 9] =
            ["commit", "end", "rollback", "abort", "release", "close", "deallocate", "discard", "reset"];
        let one = !sql.trim_end_matches([';', ' ', '\n']).contains(';');
        let word = if one { sql_session::first_word(sql) } else { "" };
        let superuser = self.handle.superuser.load(std::sync::atomic::Ordering::Relaxed);
        // The statement before may have just given back what was too much.
        if superuser
            || !self.canceller.is_out_of_memory_now()
            || FREEING.iter().any(|freeing| word.eq_ignore_ascii_case(freeing))
        {
            return Ok(());
        }
        self.sql.fail();
        let what = "The server has taken what plimsoll.memory_limit allows.";
        Err(Report::error(SqlState::OUT_OF_MEMORY, "out of memory").with_detail(what).into())
    }

    /// The first message after ReadyForQuery.
    fn begin(&mut self) {
        self.active = true;
        self.canceller.clear();
        self.environment.follow();
        self.start_clock();
        self.handle.set_activity(Activity::Active, self.node.ground.host.clock.now());
    }

    /// Begins the time of a statement, of whose limit the settings say that are in force now.
    #[inline]
    fn start_clock(&mut self) {
        self.statement_over = false;
        self.take_limits();
        self.deadline = self.limits.statement_timeout.map(|limit| Instant::now() + limit);
        self.canceller.set_deadline(self.deadline);
    }

    /// Takes over limits that changed.
    #[inline]
    fn take_limits(&mut self) {
        if self.limits.seen != self.environment.changes() {
            let before = self.limits.tcp_user_timeout;
            self.limits = Limits::of(&self.environment);
            *self.handle.log_levels.lock() = self.limits.log_levels;
            if self.limits.tcp_user_timeout != before {
                self.limit_silence();
            }
        }
    }

    /// The same if the statement before has ended. As in PostgreSQL, each statement of a query string or a
    /// pipeline has its own time.
    #[inline]
    fn restart_clock(&mut self) {
        if self.statement_over {
            self.start_clock();
        }
    }

    /// Tells the client of an error, and the log.
    fn failed(&mut self, report: Report) -> Result<(), Exit> {
        self.send_notices()?;
        let report = if self.was_fenced(&report) {
            lost_server(&report.message, report.detail.as_deref())
        } else if report.code == SqlState::ADMIN_SHUTDOWN {
            startup::end_report(&self.node, &self.handle).unwrap_or(report)
        } else {
            report
        };
        let statement = self.handle.statement();
        self.node.ground.log.write(Some(&self.handle.log_context()), &report, Some(statement.text()));
        if report.severity > protocol::Severity::Error {
            return Err(Exit::Fatal(Box::new(report)));
        }
        startup::drop_temporary_slots(&self.node, &self.handle);
        report.encode(&mut self.wire.out);
        Ok(())
    }

    /// Whether the server was replaced under this session.
    fn was_fenced(&self, report: &Report) -> bool {
        report.code == SqlState::READ_ONLY_SQL_TRANSACTION
            && !self.began_fenced
            && report.message.starts_with(storage::FENCED)
    }

    /// Encodes the notices that statements left. If one tells that the session's end has ended a commit's
    /// wait, nothing comes behind it: the commit must not look acknowledged.
    #[inline]
    fn send_notices(&mut self) -> Result<(), Exit> {
        let (warnings, notices) = (self.handle.take_warnings(), self.sql.take_notices());
        if warnings.is_empty() && notices.is_empty() { Ok(()) } else { self.send_reports(warnings, &notices) }
    }

    #[cold]
    fn send_reports(&mut self, warnings: Vec<Report>, notices: &[sql_interface::Notice]) -> Result<(), Exit> {
        let mut ended = false;
        for report in warnings.into_iter().chain(notices.iter().map(from_sql)) {
            self.node.ground.log.write(Some(&self.handle.log_context()), &report, None);
            if reaches_client(report.severity, &self.limits.client_min_messages) {
                report.encode(&mut self.wire.out);
            }
            ended |= report.code == SqlState::ADMIN_SHUTDOWN;
        }
        if ended { Err(Exit::Terminated) } else { Ok(()) }
    }

    /// Answers Sync.
    async fn sync(&mut self) -> Result<(), Exit> {
        self.skipping = false;
        self.finish(None).await
    }

    /// Ends the implicit transaction, sends the tag held back, and says that the session is ready.
    async fn finish(&mut self, tag: Option<sql_interface::CommandTag>) -> Result<(), Exit> {
        let ended = limited(self.deadline, &self.canceller, pin!(self.sql.sync())).await;
        match ended {
            Ok(()) => {
                self.send_notices()?;
                if let Some(tag) = tag {
                    self.complete(tag);
                }
            }
            Err(error) => match Failure::from(error) {
                Failure::Error(report) => self.failed(*report)?,
                Failure::Exit(exit) => return Err(exit),
            },
        }
        self.ready().await
    }

    /// Sends ReadyForQuery, and all that is before it.
    async fn ready(&mut self) -> Result<(), Exit> {
        if self.handle.is_terminated() {
            // A commit whose wait was ended by this must not look acknowledged.
            self.wire.out.clear();
            return Err(Exit::Terminated);
        }
        self.active = false;
        let (status, activity) = match self.sql.transaction_status() {
            sql_interface::TransactionStatus::Idle => (TransactionStatus::Idle, Activity::Idle),
            sql_interface::TransactionStatus::InTransaction => {
                (TransactionStatus::Block, Activity::IdleInTransaction)
            }
            sql_interface::TransactionStatus::Failed => {
                (TransactionStatus::Failed, Activity::IdleInFailedTransaction)
            }
        };
        if status == TransactionStatus::Idle {
            self.sql.end_portals();
            self.unnamed = None;
        } else {
            self.unnamed.take_if(|portal| self.sql.is_over(portal));
            if self.unnamed.is_none() {
                self.sql.release_snapshot();
            }
        }
        let changes = self.environment.changes();
        if self.told_changes != changes {
            self.told_changes = changes;
            for (name, value) in self.environment.take_reports() {
                backend::parameter_status(&mut self.wire.out, name, &value);
            }
        }
        if self.limits.report_commit_lsn
            && let Some((timeline, lsn)) = self.sql.last_commit()
            && self.told_commit != Some(lsn)
        {
            self.told_commit = Some(lsn);
            let is_reported = !host::planted!("a commit reports no token");
            let token = reach::token(&self.node, timeline, lsn).to_string();
            if is_reported {
                backend::parameter_status(&mut self.wire.out, "plimsoll.commit_lsn", &token);
            }
        }
        if self.limits.report_commit_lsn
            && let Some((timeline, lsn)) = self.sql.last_snapshot()
            && self.told_snapshot != Some(lsn)
        {
            self.told_snapshot = Some(lsn);
            let token = reach::token(&self.node, timeline, lsn).to_string();
            backend::parameter_status(&mut self.wire.out, "plimsoll.snapshot_lsn", &token);
        }
        backend::ready_for_query(&mut self.wire.out, status);
        let has_writes = status == TransactionStatus::Block && self.sql.has_writes();
        self.handle.set_has_writes(has_writes);
        self.handle.set_activity(activity, self.node.ground.host.clock.now());
        if has_writes && !self.began_fenced {
            // Whoever fences the server ends those who idle so: it has come before, or sees this one.
            std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
            if startup::is_fenced(&self.node) {
                self.handle.end_for(EndedFor::Fence);
                return Err(Exit::Terminated);
            }
        }
        self.wire.flush().await
    }

    /// Appends CommandComplete.
    fn complete(&mut self, tag: sql_interface::CommandTag) {
        use sql_interface::CommandTag;
        self.sql.tag_told();
        let out = &mut self.wire.out;
        let mut digits = itoa::Buffer::new();
        let (words, rows) = match tag {
            CommandTag::Empty => return backend::empty_query_response(out),
            CommandTag::Words(words) => return backend::command_complete(out, words),
            CommandTag::Insert(rows) => ("INSERT 0 ", rows),
            CommandTag::Update(rows) => ("UPDATE ", rows),
            CommandTag::Delete(rows) => ("DELETE ", rows),
            CommandTag::Select(rows) => ("SELECT ", rows),
            CommandTag::Copy(rows) => ("COPY ", rows),
            CommandTag::Fetch(rows) => ("FETCH ", rows),
            CommandTag::Move(rows) => ("MOVE ", rows),
        };
        protocol::frame::message(out, b'C', |body| {
            body.extend_from_slice(words.as_bytes());
            body.extend_from_slice(digits.format(rows).as_bytes());
            body.extend_from_slice(b"\0");
        });
    }
}
