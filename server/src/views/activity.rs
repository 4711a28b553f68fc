//! pg_stat_activity, and functions about sessions.

use super::Asked;
use super::{Function, Returns, View, no_defaults, one, refuse, sparse, text, time};
use crate::connection::registry::{Activity, SessionHandle, SessionKind};
use crate::log::redact::without_secrets;
use protocol::{Report, Severity, SqlState};
use sql_interface::{CancelReason, NodeRows, SettingActor, SqlError};
use sql_types::{Datum, TypeId};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::WaitEvent;
use wal::Lsn;

pub(super) static VIEWS: &[View] = &[ACTIVITY];

/// A row of pg_stat_activity.
struct Row {
    session: Arc<SessionHandle>,
    user: String,
    /// The asker may see all of it.
    seen: bool,
    /// The end of the log that is durable here.
    flushed: Lsn,
}

const ACTIVITY: View = View { rows: activity, ..SESSIONS };

/// pg_stat_activity without the server's own parts.
const SESSIONS: View = view! {
    "pg_stat_activity", 12_206, "What each session and each part of the server does now; a row a session. `leader_pid`, \
    `client_hostname`, `backend_xid` and `query_id` are always NULL.",
    rows |asked, actor| {
        let flushed = asked.replication.map_or(Lsn::MAX, |replication| replication.log.flushed());
        asked.sessions.list().into_iter().map(move |session| {
            let role = session.role_oid.load(Ordering::Relaxed);
            let seen = actor.reads_statistics || asked.acts_for(actor, role);
            let user = asked.user_name(role, &session.user);
            Row { session, user, seen, flushed }
        })
    },
    each |Row { session, user, seen, flushed }| [
        // What others than pg_read_all_stats and those with the rights of the session's role do not see.
        let shown = |value: Datum| if seen { value } else { Datum::Null };
        let moment = |micros: i64| if micros == 0 { Datum::Null } else { Datum::Timestamptz(micros) };
        let (event_type, event) = event_of(&session, flushed).unzip();
        let oldest = session.oldest_snapshot().or_else(|| session.snapshot().map(|(xid, _)| xid));
        let oid = session.database_oid.load(Ordering::Relaxed);
        let query = session.statement();
        let query = if seen { without_secrets(query.text()) } else { "<insufficient privilege>".into() };
    ] {
        "datid": Oid = if oid == 0 { Datum::Null } else { Datum::Oid(oid) },
        "datname": Name = text(Some(&session.database).filter(|name| !name.is_empty())),
        "pid": Int4 = Datum::Int4(session.key.pid),
        "leader_pid": Int4 = Datum::Null,
        "usesysid": Oid = Datum::Oid(session.role_oid.load(Ordering::Relaxed)),
        "usename": Name = Datum::from(user),
        "application_name": Text = Datum::text(session.application.lock().as_ref()),
        "client_addr": Inet = shown(address(&session)),
        "client_hostname": Text = Datum::Null,
        "client_port": Int4 = shown(port(&session)),
        "backend_start": Timestamptz = shown(moment(session.started.micros())),
        "xact_start": Timestamptz = shown(moment(session.transaction_started.load(Ordering::Relaxed))),
        "query_start": Timestamptz = shown(moment(session.statement_started.load(Ordering::Relaxed))),
        "state_change": Timestamptz = shown(moment(session.state_changed.load(Ordering::Relaxed))),
        "wait_event_type": Text = shown(text(event_type)),
        "wait_event": Text = shown(text(event)),
        "state": Text = shown(text(session.activity().name())),
        "backend_xid": Xid = Datum::Null,
        "backend_xmin": Xid = shown(oldest.map_or(Datum::Null, |xid| Datum::Xid(xid.low()))),
        "query_id": Int8 = Datum::Null,
        "query": Text = Datum::text(query),
        "backend_type": Text = shown(Datum::text(session.kind.name())),
    }
};

fn activity(asked: &Asked<'_>, actor: SettingActor) -> sql_interface::Result<NodeRows> {
    let mut rows = (SESSIONS.rows)(asked, actor)?;
    rows.extend(own_parts(asked, actor.reads_statistics));
    Ok(rows)
}

/// A client's address as a value.
pub(super) fn address(session: &SessionHandle) -> Datum {
    inet(session.client)
}

/// An address as a value; NULL on a Unix socket.
fn inet(address: Option<SocketAddr>) -> Datum {
    address.map_or(Datum::Null, |address| {
        let ip = address.ip().to_canonical();
        Datum::Inet(ip, if ip.is_ipv4() { 32 } else { 128 })
    })
}

/// An address's port as a value; NULL on a Unix socket.
fn inet_port(address: Option<SocketAddr>) -> Datum {
    address.map_or(Datum::Null, |address| Datum::Int4(i32::from(address.port())))
}

/// A client's port as a value: -1 on a Unix socket.
fn port(session: &SessionHandle) -> Datum {
    Datum::Int4(session.client.map_or(-1, |client| i32::from(client.port())))
}

/// A wait by the names of PostgreSQL's "Wait Events" where it has one; those from the visible position on are
/// ours.
fn event(wait: WaitEvent) -> (&'static str, &'static str) {
    match wait {
        WaitEvent::RowLock => ("Lock", "tuple"),
        WaitEvent::TableLock => ("Lock", "relation"),
        WaitEvent::CommitLevel => ("IPC", "SyncRep"),
        WaitEvent::Visible => ("IPC", "CommitVisible"),
        WaitEvent::Undecided => ("IPC", "CommitUndecided"),
        WaitEvent::Position => ("IPC", "WaitForLsn"),
        WaitEvent::Confirmed => ("IPC", "WaitForConfirmation"),
        WaitEvent::LargeTransaction => ("Lock", "large_transaction"),
        WaitEvent::AdvisoryLock => ("Lock", "advisory"),
        WaitEvent::Sleep => ("Timeout", "PgSleep"),
    }
}

/// What a session waits for.
fn event_of(session: &SessionHandle, flushed: Lsn) -> Option<(&'static str, &'static str)> {
    let state = session.activity();
    let idle = state != Activity::Active && state != Activity::Starting;
    match session.waits_for() {
        _ if idle => Some(("Client", "ClientRead")),
        None if session.kind == SessionKind::WalSender => Some(("Activity", "WalSenderMain")),
        // Both are waited for at once; the name is that of the first.
        Some(WaitEvent::CommitLevel) if session.commit_end() > flushed => Some(("IO", "WALSync")),
        waits_for => waits_for.map(event),
    }
}

/// The server's own parts, which PostgreSQL runs as processes: those that are at work now.
fn own_parts(asked: &Asked<'_>, seen: bool) -> impl Iterator<Item = Vec<Datum>> {
    let recovery = asked.recovery();
    let receiver = recovery.as_ref().filter(|recovery| recovery.receiver().is_some());
    let receiver = receiver.map(|recovery| (recovery.receiver_pid, "walreceiver", "WalReceiverMain"));
    let pids = asked.part_pids;
    let startup = recovery.is_some().then_some((pids.startup, "startup", "RecoveryWalStream"));
    let log_writer = recovery.is_none().then_some((pids.log_writer, "walwriter", "WalWriterMain"));
    let parts = [
        startup,
        receiver,
        Some((pids.checkpointer, "checkpointer", "CheckpointerMain")),
        Some((pids.background_writer, "background writer", "BgWriterHibernate")),
        log_writer,
    ];
    let started = asked.started;
    parts.into_iter().flatten().map(move |(pid, kind, wait)| {
        if !seen {
            let values = [("pid", Datum::Int4(pid)), ("query", Datum::text("<insufficient privilege>"))];
            return sparse(SESSIONS.columns, &values);
        }
        let values = [
            ("pid", Datum::Int4(pid)),
            ("backend_start", time(Some(started))),
            ("wait_event_type", Datum::text("Activity")),
            ("wait_event", Datum::text(wait)),
            ("query", Datum::text("")),
            ("backend_type", Datum::text(kind)),
        ];
        sparse(SESSIONS.columns, &values)
    })
}

/// A session that the caller may signal.
fn target(
    asked: &Asked<'_>,
    actor: SettingActor,
    pid: &Datum,
    ends: bool,
) -> sql_interface::Result<Option<Arc<SessionHandle>>> {
    let Some(pid) = pid.as_i64().and_then(|pid| i32::try_from(pid).ok()) else { return Ok(None) };
    let Some(session) = asked.sessions.get(pid) else { return Ok(None) };
    let role = session.role_oid.load(Ordering::Relaxed);
    let denied = |what: String| Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, what));
    if asked.engine.is_some_and(|engine| engine.is_superuser(role)) && !actor.superuser {
        let what = if ends { "terminate superuser process" } else { "cancel superuser query" };
        return denied(format!("must be a superuser to {what}"));
    }
    if actor.signals || asked.acts_for(actor, role) {
        return Ok(Some(session));
    }
    let what = if ends { "process is being terminated" } else { "query is being canceled" };
    denied(format!("must be a member of the role whose {what} or member of pg_signal_backend"))
}

fn signal(
    asked: &Asked<'_>,
    actor: SettingActor,
    arguments: &[Datum],
    ends: bool,
    act: impl FnOnce(&SessionHandle),
) -> sql_interface::NodeCall {
    let Some(pid) = arguments.first() else { return one(Datum::Null) };
    match target(asked, actor, pid, ends) {
        Ok(Some(session)) => {
            act(&session);
            one(Datum::Bool(true))
        }
        Ok(None) => {
            let what = format!("PID {} is not a PostgreSQL backend process", pid.as_i64().unwrap_or(0));
            asked.handle.warn(Report::new(Severity::Warning, SqlState::WARNING, what));
            one(Datum::Bool(false))
        }
        Err(error) => refuse(error),
    }
}

/// pg_terminate_backend(pid, timeout): with a timeout in milliseconds it waits for the session's end.
fn terminate(asked: &Asked<'_>, actor: SettingActor, arguments: &[Datum]) -> sql_interface::NodeCall {
    let timeout = arguments.get(1).and_then(Datum::as_i64).unwrap_or(0);
    let Ok(timeout) = u64::try_from(timeout) else {
        let what = "\"timeout\" must not be negative";
        return refuse(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, what));
    };
    let done = signal(asked, actor, arguments, true, SessionHandle::terminate);
    let pid = arguments.first().and_then(Datum::as_i64).and_then(|pid| i32::try_from(pid).ok());
    let (Some(pid), 1..) = (pid, timeout) else { return done };
    match done {
        sql_interface::NodeCall::Now(Ok(rows)) if rows == [[Datum::Bool(true)]] => {
            let sessions = asked.sessions.clone();
            sql_interface::NodeCall::Later(Box::pin(async move {
                let gone = tokio::time::timeout(Duration::from_millis(timeout), sessions.wait_ended(pid));
                Ok(vec![vec![Datum::Bool(gone.await.is_ok())]])
            }))
        }
        other => other,
    }
}

/// A function without arguments about the asker's own connection.
const fn of_connection(
    name: &'static str,
    about: &'static str,
    returns: TypeId,
    call: fn(&Asked<'_>, SettingActor, &[Datum]) -> sql_interface::NodeCall,
) -> Function {
    let (arguments, required, strict) = (&[], 0, false);
    Function {
        name,
        about,
        arguments,
        required,
        defaults: no_defaults,
        strict,
        returns: Returns::One(returns),
        call,
    }
}

pub(super) static CONNECTION: &[Function] = &[
    of_connection(
        "inet_client_addr",
        "The client's address; NULL on a Unix socket.",
        TypeId::Inet,
        |asked, _, _| one(inet(asked.handle.client)),
    ),
    of_connection(
        "inet_client_port",
        "The client's port; NULL on a Unix socket.",
        TypeId::Int4,
        |asked, _, _| one(inet_port(asked.handle.client)),
    ),
    of_connection(
        "inet_server_addr",
        "The address that the client has reached; NULL on a Unix socket.",
        TypeId::Inet,
        |asked, _, _| one(inet(asked.handle.server)),
    ),
    of_connection(
        "inet_server_port",
        "The port that the client has reached; NULL on a Unix socket.",
        TypeId::Int4,
        |asked, _, _| one(inet_port(asked.handle.server)),
    ),
];

pub(super) static FUNCTIONS: &[Function] = &[
    Function {
        name: "pg_cancel_backend",
        about: "Cancels what a session runs.",
        arguments: &[("pid", TypeId::Int4)],
        required: 1,
        defaults: no_defaults,
        strict: true,
        returns: Returns::One(TypeId::Bool),
        call: |asked, actor, arguments| {
            signal(asked, actor, arguments, false, |session| session.cancel(CancelReason::User))
        },
    },
    Function {
        name: "pg_terminate_backend",
        about: "Ends a session; with a timeout in milliseconds it waits for the end.",
        arguments: &[("pid", TypeId::Int4), ("timeout", TypeId::Int8)],
        required: 1,
        defaults: || vec![Datum::Int8(0)],
        strict: true,
        returns: Returns::One(TypeId::Bool),
        call: terminate,
    },
    Function {
        name: "pg_postmaster_start_time",
        about: "When this server was started.",
        arguments: &[],
        required: 0,
        defaults: no_defaults,
        strict: true,
        returns: Returns::One(TypeId::Timestamptz),
        call: |asked, _, _| one(Datum::Timestamptz(asked.started.micros())),
    },
    Function {
        name: "plimsoll_session_count",
        about: "How many client sessions there are.",
        arguments: &[],
        required: 0,
        defaults: no_defaults,
        strict: true,
        returns: Returns::One(TypeId::Int4),
        call: |asked, _, _| {
            let count = asked.sessions.count(SessionKind::Client);
            one(Datum::Int4(i32::try_from(count).unwrap_or(i32::MAX)))
        },
    },
];
