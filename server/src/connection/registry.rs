//! All sessions of a node: their numbers, what they do, and how others stop them.

pub(crate) use super::activity::{Activity, SessionKind, Statement};

use super::activity::command_words;
use crate::log::{LineNumbers, LogContext, OwnLevels};
use crate::statements::Statements;
use host::sync::Mutex;
use host::{Entropy, Instant, Timestamp};
use protocol::startup::CancelKey;
use protocol::tls::Encryption;
use protocol::{Report, SqlState};
use sql_interface::{CancelReason, Canceller};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use storage::ConflictKind;
use tokio::sync::{Notify, watch};
use wal::Xid;

/// Why the server ends a session of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndedFor {
    /// It was replaced while the session idled in a transaction which has written.
    Fence,
    /// Replay needs what the session's transaction still holds.
    Conflict(ConflictKind),
}

/// How far a base backup is that a session sends, as pg_stat_progress_basebackup says it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BackupProgress {
    pub(crate) phase: &'static str,
    /// An estimate, if the client asked for one.
    pub(crate) total_bytes: Option<u64>,
    pub(crate) sent_bytes: u64,
    /// All files are sent.
    pub(crate) is_sent: bool,
}

impl Default for BackupProgress {
    fn default() -> Self {
        Self { phase: "waiting for checkpoint to finish", total_bytes: None, sent_bytes: 0, is_sent: false }
    }
}

/// One session as others see it.
pub(crate) struct SessionHandle {
    /// Its number and secret.
    pub(crate) key: CancelKey,
    pub(crate) kind: SessionKind,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) client: Option<SocketAddr>,
    /// The address that it has reached.
    pub(crate) server: Option<SocketAddr>,
    /// None in the clear.
    pub(crate) encryption: Option<Arc<Encryption>>,
    pub(crate) started: Timestamp,
    /// The same moment on the clock that does not step.
    began: Instant,
    /// application_name.
    pub(crate) application: Mutex<Arc<str>>,
    pub(crate) superuser: AtomicBool,
    /// OID of its database, or 0.
    pub(crate) database_oid: AtomicU32,
    /// OID of its role.
    pub(crate) role_oid: AtomicU32,
    /// It streams: a stop waits until its standby has everything.
    pub(crate) streaming: AtomicBool,
    /// It sends a backup, which no stop waits for.
    pub(crate) backing_up: AtomicBool,
    pub(crate) backup_progress: Mutex<BackupProgress>,
    /// The backup of pg_backup_start that this session has begun.
    pub(crate) backup: Mutex<Option<(storage::Database, storage::BackupStart)>>,
    /// Stops its statements; there once it has begun.
    canceller: OnceLock<Canceller>,
    /// It has to end; set together with the canceller's reason.
    terminated: AtomicBool,
    /// Why, if nobody asked for that.
    ended_for: OnceLock<EndedFor>,
    /// It has asked for the promotion, and looks at no row while it waits for that: replay needs nothing of
    /// it.
    pub(crate) awaits_promotion: AtomicBool,
    /// It asked the node to hand its role over, and is to get its answer first.
    awaits_answer: AtomicBool,
    answered: Notify,
    /// What a function of the node tells its client beside its rows.
    warnings: Mutex<Vec<Report>>,
    /// There may be some.
    is_warned: AtomicBool,
    /// Who waits for the client's next bytes, to be woken when it has to end.
    waker: Mutex<Option<Waker>>,
    activity: AtomicU8,
    /// The transaction that it idles in has written.
    has_writes: AtomicBool,
    statement: Mutex<Statement>,
    /// Counts its lines in the log.
    log_lines: Arc<LineNumbers>,
    /// What it has set for its lines.
    pub(crate) log_levels: Mutex<OwnLevels>,
    pub(crate) statement_started: AtomicI64,
    pub(crate) transaction_started: AtomicI64,
    pub(crate) state_changed: AtomicI64,
}

impl SessionHandle {
    /// Takes over what stops the session's statements.
    pub(crate) fn set_canceller(&self, canceller: Canceller) {
        canceller.set_session(self.key.pid);
        // Set once, when the session begins.
        let _ = self.canceller.set(canceller);
        if self.is_terminated() {
            self.cancel(CancelReason::Terminate);
        }
    }

    /// What its transaction waits for just now.
    pub(crate) fn waits_for(&self) -> Option<storage::WaitEvent> {
        self.canceller.get().and_then(Canceller::waits_for)
    }

    /// Since when it waits for a lock; None if it does not.
    pub(crate) fn waits_since(&self) -> Option<Instant> {
        self.canceller.get().and_then(|canceller| canceller.interrupt().waits_since())
    }

    /// The same as a time of day.
    pub(crate) fn wait_start(&self) -> Option<Timestamp> {
        let since = self.waits_since()?.duration_since(self.began);
        let micros = i64::try_from(since.as_micros()).ok()?;
        Some(Timestamp::from_micros(self.started.micros().checked_add(micros)?))
    }

    /// The switch by which its waits are told and ended; None before it has begun.
    pub(crate) fn interrupt(&self) -> Option<storage::Interrupt> {
        self.canceller.get().map(|canceller| canceller.interrupt().clone())
    }

    /// The end of the commit whose level it waits for, or waited for last.
    pub(crate) fn commit_end(&self) -> wal::Lsn {
        self.canceller.get().map_or(wal::Lsn::INVALID, Canceller::commit_end)
    }

    /// Stops what it runs.
    pub(crate) fn cancel(&self, reason: CancelReason) {
        if let Some(canceller) = self.canceller.get() {
            canceller.cancel(reason);
        }
    }

    /// Whether there is no more memory for what sessions keep.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        self.canceller.get().is_some_and(Canceller::is_out_of_memory)
    }

    /// The next xid and the position of the snapshot that its transaction reads.
    pub(crate) fn snapshot(&self) -> Option<(Xid, wal::Lsn)> {
        self.canceller.get().and_then(Canceller::snapshot)
    }

    /// The oldest snapshot that it holds on a standby, by its next xid.
    pub(crate) fn oldest_snapshot(&self) -> Option<Xid> {
        self.canceller.get().and_then(Canceller::oldest_snapshot)
    }

    /// Replay needs what this session still looks at: its statement is stopped, or, between two statements of
    /// a transaction, the session, since nothing else would end the transaction. False if it was told before.
    pub(crate) fn give_way(&self, conflict: ConflictKind) -> bool {
        let reason = self.canceller.get().and_then(Canceller::reason);
        let is_told = matches!(reason, Some(CancelReason::Terminate | CancelReason::RecoveryConflict(_)));
        if is_told || self.awaits_promotion.load(Ordering::Acquire) {
            return false;
        }
        if self.activity() == Activity::Active {
            self.cancel(CancelReason::RecoveryConflict(conflict));
        } else {
            self.end_for(EndedFor::Conflict(conflict));
        }
        true
    }

    /// Ends the session: what runs is stopped, and a wait for the client ends.
    pub(crate) fn terminate(&self) {
        self.terminated.store(true, Ordering::Release);
        self.cancel(CancelReason::Terminate);
        if let Some(waker) = self.waker.lock().take() {
            waker.wake();
        }
    }

    /// Does this work until the session has to end; None if that came first, and then nobody does the rest.
    pub(crate) async fn until_terminated<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            // Once more, since what sends to the client ends by itself, and knows how much has gone out.
            Poll::Pending if self.poll_terminated(cx) => Poll::Ready(match work.as_mut().poll(cx) {
                Poll::Ready(done) => Some(done),
                Poll::Pending => None,
            }),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Ends it for a reason of the server's own. The first one is told.
    pub(crate) fn end_for(&self, reason: EndedFor) {
        if !self.is_terminated() {
            let _ = self.ended_for.set(reason);
        }
        self.terminate();
    }

    /// Why it ends; None if somebody asked for that, or it does not end.
    pub(crate) fn ended_for(&self) -> Option<EndedFor> {
        self.ended_for.get().copied()
    }

    /// Whether it has to end.
    pub(crate) fn is_terminated(&self) -> bool {
        self.terminated.load(Ordering::Acquire)
    }

    /// For a poll that waits for the client: true if the session has to end; otherwise `cx` is woken when it
    /// does.
    pub(crate) fn poll_terminated(&self, cx: &Context<'_>) -> bool {
        let mut waker = self.waker.lock();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        // After the waker is in place, so that an end in between is not missed.
        self.is_terminated()
    }

    pub(crate) fn activity(&self) -> Activity {
        Activity::of_number(self.activity.load(Ordering::Relaxed))
    }

    pub(crate) fn set_activity(&self, activity: Activity, now: Timestamp) {
        self.activity.store(activity as u8, Ordering::Relaxed);
        self.state_changed.store(now.micros(), Ordering::Relaxed);
        if activity != Activity::Active && self.awaits_answer.load(Ordering::Relaxed) {
            self.answered.notify_one();
        }
        match activity {
            Activity::Active => {
                self.statement_started.store(now.micros(), Ordering::Relaxed);
                // Behind an idle session a statement begins a transaction, which may be its own.
                let (none, begun) = (0, now.micros());
                let started = &self.transaction_started;
                let _ = started.compare_exchange(none, begun, Ordering::Relaxed, Ordering::Relaxed);
            }
            Activity::Idle => self.transaction_started.store(0, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Whether what it idles in, if it does, has written: said before its activity.
    pub(crate) fn set_has_writes(&self, has_writes: bool) {
        self.has_writes.store(has_writes, Ordering::Relaxed);
    }
    fn idles_in_writes(&self) -> bool {
        self.activity() == Activity::IdleInTransaction && self.has_writes.load(Ordering::Relaxed)
    }

    /// From now on its next answer is waited for.
    pub(crate) fn await_answer(&self) {
        self.awaits_answer.store(true, Ordering::Relaxed);
    }
    /// Waits until its client's statement is answered, which then only has to go out.
    pub(crate) async fn answered(&self) {
        self.answered.notified().await;
    }

    pub(crate) fn set_statement(&self, statement: Statement) {
        *self.statement.lock() = statement;
    }

    pub(crate) fn statement(&self) -> Statement {
        self.statement.lock().clone()
    }

    /// Warns the client, before the statement's end is told.
    pub(crate) fn warn(&self, warning: Report) {
        self.warnings.lock().push(warning);
        self.is_warned.store(true, Ordering::Release);
    }

    /// What the client is to be warned of.
    pub(crate) fn take_warnings(&self) -> Vec<Report> {
        // Asked behind each statement, and there is hardly ever one.
        if !self.is_warned.load(Ordering::Acquire) {
            return Vec::new();
        }
        self.is_warned.store(false, Ordering::Release);
        std::mem::take(&mut self.warnings.lock())
    }

    /// What it does, in a word or two: the kind of its statement, or why it does nothing.
    fn command(&self) -> String {
        match self.activity() {
            Activity::Active => command_words(self.statement().text()),
            Activity::Starting => "authentication".to_owned(),
            other => other.name().unwrap_or_default().to_owned(),
        }
    }

    /// What log lines of this session begin with.
    pub(crate) fn log_context(&self) -> LogContext {
        LogContext {
            pid: self.key.pid,
            user: self.user.clone(),
            database: self.database.clone(),
            application: self.application.lock().to_string(),
            host: self.client.map_or_else(|| "[local]".to_owned(), |address| address.ip().to_string()),
            port: self.client.map(|address| address.port()),
            backend_type: self.kind.name(),
            started: self.started,
            command: self.command(),
            lines: self.log_lines.clone(),
            levels: *self.log_levels.lock(),
        }
    }
}

/// Who connects.
pub(crate) struct NewSession {
    pub(crate) kind: SessionKind,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) client: Option<SocketAddr>,
    pub(crate) server: Option<SocketAddr>,
    pub(crate) encryption: Option<Arc<Encryption>>,
    pub(crate) started: Timestamp,
}

/// The sessions of a node.
pub(crate) struct Sessions {
    all: Mutex<State>,
    count: watch::Sender<usize>,
    first_pid: i32,
    /// What they have run.
    pub(crate) statements: Statements,
}

struct State {
    by_pid: BTreeMap<i32, Arc<SessionHandle>>,
    next_pid: i32,
    /// No more are let in.
    closed: bool,
}

/// Why a session was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// max_connections
    Connections,
    /// superuser_reserved_connections
    Reserved,
    /// max_wal_senders
    WalSenders,
    /// CONNECTION LIMIT of the role
    Role,
    /// The server stops.
    Closed,
}

impl Full {
    /// What the client is told.
    pub(crate) fn report(self, user: &str, config: &settings::Config) -> Report {
        let code = SqlState::TOO_MANY_CONNECTIONS;
        match self {
            Self::Closed => {
                Report::fatal(SqlState::CANNOT_CONNECT_NOW, "the database system is shutting down")
            }
            Self::Connections => Report::fatal(code, "sorry, too many clients already"),
            Self::Reserved => Report::fatal(
                code,
                "remaining connection slots are reserved for non-replication superuser connections",
            ),
            Self::WalSenders => Report::fatal(
                code,
                format!(
                    "number of requested standby connections exceeds max_wal_senders (currently {})",
                    config.max_wal_senders
                ),
            ),
            Self::Role => Report::fatal(code, format!("too many connections for role \"{user}\"")),
        }
    }
}

/// Membership of a session, given up on drop.
pub(crate) struct Member {
    sessions: Arc<Sessions>,
    pub(crate) handle: Arc<SessionHandle>,
}

impl Drop for Member {
    fn drop(&mut self) {
        let left = {
            let mut state = self.sessions.all.lock();
            state.by_pid.remove(&self.handle.key.pid);
            state.by_pid.len()
        };
        self.sessions.count.send_replace(left);
    }
}

impl Sessions {
    /// Numbers are above the kernel's largest pid, so that a stray kill hits nothing.
    pub(crate) fn new(host: &host::Host) -> Self {
        let kernel = host.disk.read(std::path::Path::new("/proc/sys/kernel/pid_max"), 64);
        let kernel = kernel.ok().and_then(|text| String::from_utf8_lossy(&text).trim().parse::<i32>().ok());
        let first_pid = kernel.unwrap_or(0).max(4 << 20).saturating_add(1);
        let state = State { by_pid: BTreeMap::new(), next_pid: first_pid, closed: false };
        let count = watch::Sender::new(0);
        Self { all: Mutex::new(state), count, first_pid, statements: Statements::default() }
    }

    /// A number for a part of the server itself (a walreceiver, a checkpointer) or a session.
    pub(crate) fn allocate_pid(&self) -> i32 {
        Self::next_pid(&mut self.all.lock(), self.first_pid)
    }

    fn next_pid(state: &mut State, first: i32) -> i32 {
        loop {
            let pid = state.next_pid;
            state.next_pid = pid.checked_add(1).unwrap_or(first);
            if !state.by_pid.contains_key(&pid) {
                return pid;
            }
        }
    }

    /// A session that has not been let in yet: it has a number, and nobody else sees it.
    pub(crate) fn candidate(&self, new: NewSession, entropy: &dyn Entropy) -> Arc<SessionHandle> {
        let mut secret = [0; 4];
        entropy.fill(&mut secret);
        let key = CancelKey { pid: self.allocate_pid(), secret: i32::from_le_bytes(secret) };
        Arc::new(SessionHandle {
            key,
            kind: new.kind,
            user: new.user,
            database: new.database,
            client: new.client,
            server: new.server,
            encryption: new.encryption,
            started: new.started,
            began: Instant::now(),
            application: Mutex::new("".into()),
            superuser: AtomicBool::new(false),
            database_oid: AtomicU32::new(0),
            role_oid: AtomicU32::new(0),
            streaming: AtomicBool::new(false),
            backing_up: AtomicBool::new(false),
            backup_progress: Mutex::default(),
            backup: Mutex::default(),
            canceller: OnceLock::new(),
            terminated: AtomicBool::new(false),
            ended_for: OnceLock::new(),
            awaits_promotion: AtomicBool::new(false),
            awaits_answer: AtomicBool::new(false),
            answered: Notify::new(),
            warnings: Mutex::default(),
            is_warned: AtomicBool::new(false),
            waker: Mutex::new(None),
            activity: AtomicU8::new(Activity::Starting as u8),
            has_writes: AtomicBool::new(false),
            statement: Mutex::new(Statement::None),
            log_lines: Arc::default(),
            log_levels: Mutex::default(),
            statement_started: AtomicI64::new(0),
            transaction_started: AtomicI64::new(0),
            state_changed: AtomicI64::new(new.started.micros()),
        })
    }

    /// Lets a session of this role in, which has shown that it is who it says it is, if there is room. The
    /// last places of clients are for superusers; walsenders have places of their own.
    pub(crate) fn admit(
        self: &Arc<Self>,
        handle: Arc<SessionHandle>,
        role: &sql_catalogue::Role,
        config: &settings::Config,
    ) -> Result<Member, Full> {
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let mut state = self.all.lock();
        if state.closed {
            return Err(Full::Closed);
        }
        let there = state.by_pid.values().filter(|other| other.kind == handle.kind).count();
        let (limit, full) = match handle.kind {
            SessionKind::Client => (number(config.max_connections), Full::Connections),
            SessionKind::WalSender => (number(config.max_wal_senders), Full::WalSenders),
        };
        if there >= limit {
            return Err(full);
        }
        let reserved = number(config.superuser_reserved_connections);
        if !role.superuser && handle.kind == SessionKind::Client && there >= limit.saturating_sub(reserved) {
            return Err(Full::Reserved);
        }
        let of_role = |other: &&Arc<SessionHandle>| other.role_oid.load(Ordering::Relaxed) == role.oid;
        if let Ok(limit) = usize::try_from(role.connection_limit)
            && !role.superuser
            && state.by_pid.values().filter(of_role).count() >= limit
        {
            return Err(Full::Role);
        }
        handle.superuser.store(role.superuser, Ordering::Relaxed);
        handle.role_oid.store(role.oid, Ordering::Relaxed);
        state.by_pid.insert(handle.key.pid, handle.clone());
        self.count.send_replace(state.by_pid.len());
        Ok(Member { sessions: self.clone(), handle })
    }

    /// How many of a kind there are.
    pub(crate) fn count(&self, kind: SessionKind) -> usize {
        self.all.lock().by_pid.values().filter(|session| session.kind == kind).count()
    }

    /// All of them, by number.
    pub(crate) fn list(&self) -> Vec<Arc<SessionHandle>> {
        self.all.lock().by_pid.values().cloned().collect()
    }

    /// One of them.
    pub(crate) fn get(&self, pid: i32) -> Option<Arc<SessionHandle>> {
        self.all.lock().by_pid.get(&pid).cloned()
    }

    /// Carries out a CancelRequest, if its secret is right.
    pub(crate) fn cancel(&self, key: CancelKey) -> bool {
        let session = self.get(key.pid).filter(|session| session.key.secret == key.secret);
        session.is_some_and(|session| {
            session.cancel(CancelReason::User);
            true
        })
    }

    /// Lets no more in.
    pub(crate) fn close(&self) {
        self.all.lock().closed = true;
    }

    /// Ends the backups that are being sent.
    pub(crate) fn terminate_backups(&self) {
        let sends = |session: &&Arc<SessionHandle>| session.backing_up.load(Ordering::Acquire);
        self.list().iter().filter(sends).for_each(|session| session.terminate());
    }

    /// Ends the walsenders that do not stream.
    pub(crate) fn terminate_idle_senders(&self) {
        let idle = |session: &&Arc<SessionHandle>| {
            session.kind == SessionKind::WalSender && !session.streaming.load(Ordering::Acquire)
        };
        self.list().iter().filter(idle).for_each(|session| session.terminate());
    }

    /// Ends all sessions of a kind.
    pub(crate) fn terminate_all(&self, kind: SessionKind) {
        self.list().iter().filter(|session| session.kind == kind).for_each(|session| session.terminate());
    }

    /// Ends those that idle in a transaction which has written; says how many. One that begins to idle so
    /// looks afterwards at what it is ended for, behind a fence of its own.
    pub(crate) fn terminate_idle_writers(&self) -> usize {
        fence(Ordering::SeqCst);
        let all = self.list();
        let idle: Vec<_> = all.iter().filter(|session| session.idles_in_writes()).collect();
        idle.iter().for_each(|session| session.end_for(EndedFor::Fence));
        idle.len()
    }

    /// Waits until a session has gone.
    pub(crate) async fn wait_ended(&self, pid: i32) {
        let mut count = self.count.subscribe();
        while self.get(pid).is_some() {
            if count.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until none of a kind is left.
    pub(crate) async fn wait_gone(&self, kind: SessionKind) {
        let mut count = self.count.subscribe();
        while self.count(kind) > 0 {
            if count.changed().await.is_err() {
                return;
            }
        }
    }
}
