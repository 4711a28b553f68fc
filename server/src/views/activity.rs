//! pg_stat_activity, and functions about sessions.

use super::Asked;
use super::{Function, Returns, View, no_defaults, one, refuse, text};
use crate::connection::registry::{Activity, SessionHandle, SessionKind};
use crate::error::sql_error;
use crate::node::Node;
use protocol::SqlState;
use sql::{CancelReason, NodeRows, SettingActor};
use sql_types::{Datum, TypeId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::WaitEvent;
use wal::Lsn;

pub(super) static VIEWS: &[View] = &[View {
    name: "pg_stat_activity",
    oid: 12_206,
    columns: &[
        ("datid", TypeId::Oid),
        ("datname", TypeId::Name),
        ("pid", TypeId::Int4),
        ("leader_pid", TypeId::Int4),
        ("usesysid", TypeId::Oid),
        ("usename", TypeId::Name),
        ("application_name", TypeId::Text),
        ("client_addr", TypeId::Inet),
        ("client_hostname", TypeId::Text),
        ("client_port", TypeId::Int4),
        ("backend_start", TypeId::Timestamptz),
        ("xact_start", TypeId::Timestamptz),
        ("query_start", TypeId::Timestamptz),
        ("state_change", TypeId::Timestamptz),
        ("wait_event_type", TypeId::Text),
        ("wait_event", TypeId::Text),
        ("state", TypeId::Text),
        ("backend_xid", TypeId::Xid),
        ("backend_xmin", TypeId::Xid),
        ("query_id", TypeId::Int8),
        ("query", TypeId::Text),
        ("backend_type", TypeId::Text),
    ],
    rows: activity,
}];

/// A client's address as a value.
pub(super) fn address(session: &SessionHandle) -> Datum {
    session.client.map_or(Datum::Null, |client| {
        let ip = client.ip().to_canonical();
        Datum::Inet(ip, if ip.is_ipv4() { 32 } else { 128 })
    })
}

/// A client's port as a value: -1 on a Unix socket.
pub(super) fn port(session: &SessionHandle) -> Datum {
    Datum::Int4(session.client.map_or(-1, |client| i32::from(client.port())))
}

/// A wait by the names of PostgreSQL's "Wait Events" where it has one; those from the visible position on are ours.
fn event(wait: WaitEvent) -> (&'static str, &'static str) {
    match wait {
        WaitEvent::RowLock => ("Lock", "tuple"),
        WaitEvent::TableLock => ("Lock", "relation"),
        WaitEvent::AdvisoryLock => ("Lock", "advisory"),
        WaitEvent::CommitLevel => ("IPC", "SyncRep"),
        WaitEvent::Visible => ("IPC", "CommitVisible"),
        WaitEvent::Undecided => ("IPC", "CommitUndecided"),
        WaitEvent::Position => ("IPC", "WaitForLsn"),
        WaitEvent::Confirmed => ("IPC", "WaitForConfirmation"),
        WaitEvent::LargeTransaction => ("Lock", "large_transaction"),
    }
}

fn activity(asked: &Asked<'_>, actor: SettingActor) -> sql::Result<NodeRows> {
    let own = asked.handle();
    let positions = asked.node().database().and_then(|database| database.positions());
    let flushed = positions.map_or(Lsn::MAX, |positions| positions.flushed());
    let row = |session: Arc<SessionHandle>| {
        let visible = actor.superuser || session.user == own.user;
        let state = session.activity();
        let time = |micros: i64| if micros == 0 { Datum::Null } else { Datum::Timestamptz(micros) };
        let idle = state != Activity::Active && state != Activity::Starting;
        let event = match session.waits_for() {
            _ if idle => Some(("Client", "ClientRead")),
            None if session.kind == SessionKind::WalSender => Some(("Activity", "WalSenderMain")),
            // Both are waited for at once; the name is that of the first.
            Some(WaitEvent::CommitLevel) if session.commit_end() > flushed => Some(("IO", "WALSync")),
            waits_for => waits_for.map(event),
        };
        let query = session.statement();
        let query = if visible { query.text() } else { "<insufficient privilege>" };
        let oid = session.database_oid.load(Ordering::Relaxed);
        let mut row = vec![
            if oid == 0 { Datum::Null } else { Datum::Oid(oid) },
            text(Some(&session.database).filter(|name| !name.is_empty())),
            Datum::Int4(session.key.pid),
            Datum::Null,
            Datum::Oid(session.role_oid.load(Ordering::Relaxed)),
            Datum::text(session.user.as_str()),
            Datum::text(session.application.lock().as_ref()),
            address(&session),
            Datum::Null,
            port(&session),
            time(session.started.micros()),
            time(session.transaction_started.load(Ordering::Relaxed)),
            time(session.statement_started.load(Ordering::Relaxed)),
            time(session.state_changed.load(Ordering::Relaxed)),
            text(event.map(|(kind, _)| kind)),
            text(event.map(|(_, name)| name)),
            text(state.name()),
            Datum::Null,
            session
                .oldest_snapshot()
                .or_else(|| session.snapshot().map(|(xid, _)| xid))
                .map_or(Datum::Null, |xid| Datum::Xid(xid.low())),
            Datum::Null,
            Datum::text(query),
            Datum::text(session.kind.name()),
        ];
        if !visible {
            row.iter_mut().skip(6).take(14).for_each(|value| *value = Datum::Null);
        }
        row
    };
    let mut rows: NodeRows = asked.node().sessions.list().into_iter().map(row).collect();
    rows.extend(own_parts(asked.node()));
    Ok(rows)
}

/// The server's own parts, which PostgreSQL runs as processes: those that are at work now.
fn own_parts(node: &Node) -> impl Iterator<Item = Vec<Datum>> {
    let recovery = node.replication().and_then(|replication| replication.recovery());
    let receiver = recovery.as_ref().filter(|recovery| recovery.receiver().is_some());
    let receiver = receiver.map(|recovery| (recovery.receiver_pid, "walreceiver", "WalReceiverMain"));
    let pids = &node.part_pids;
    let startup = recovery.is_some().then_some((pids.startup, "startup", "RecoveryWalStream"));
    let log_writer = recovery.is_none().then_some((pids.log_writer, "walwriter", "WalWriterMain"));
    let parts = [
        startup,
        receiver,
        Some((pids.checkpointer, "checkpointer", "CheckpointerMain")),
        Some((pids.background_writer, "background writer", "BgWriterHibernate")),
        log_writer,
    ];
    let started = node.started.micros();
    parts.into_iter().flatten().map(move |(pid, kind, wait)| {
        let mut row = vec![Datum::Null; 22];
        for (at, value) in [
            (2, Datum::Int4(pid)),
            (10, Datum::Timestamptz(started)),
            (14, Datum::text("Activity")),
            (15, Datum::text(wait)),
            (20, Datum::text("")),
            (21, Datum::text(kind)),
        ] {
            if let Some(place) = row.get_mut(at) {
                *place = value;
            }
        }
        row
    })
}

/// A session that the caller may signal.
fn target(asked: &Asked<'_>, actor: SettingActor, pid: &Datum) -> sql::Result<Option<Arc<SessionHandle>>> {
    let Some(pid) = pid.as_i64().and_then(|pid| i32::try_from(pid).ok()) else { return Ok(None) };
    let Some(session) = asked.node().sessions.get(pid) else { return Ok(None) };
    if actor.superuser || session.user == asked.handle().user {
        Ok(Some(session))
    } else {
        let what =
            "must be a member of the role whose query is being canceled or member of pg_signal_backend";
        Err(sql_error(SqlState::INSUFFICIENT_PRIVILEGE, what))
    }
}

fn signal(
    asked: &Asked<'_>,
    actor: SettingActor,
    arguments: &[Datum],
    act: impl FnOnce(&SessionHandle),
) -> sql::NodeCall {
    let Some(pid) = arguments.first() else { return one(Datum::Null) };
    match target(asked, actor, pid) {
        Ok(Some(session)) => {
            act(&session);
            one(Datum::Bool(true))
        }
        Ok(None) => one(Datum::Bool(false)),
        Err(error) => refuse(error),
    }
}

/// pg_terminate_backend(pid, timeout): with a timeout in milliseconds it waits for the session's end.
fn terminate(asked: &Asked<'_>, actor: SettingActor, arguments: &[Datum]) -> sql::NodeCall {
    let timeout = arguments.get(1).and_then(Datum::as_i64).unwrap_or(0);
    let Ok(timeout) = u64::try_from(timeout) else {
        let what = "\"timeout\" must not be negative";
        return refuse(sql_error(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, what));
    };
    let done = signal(asked, actor, arguments, SessionHandle::terminate);
    let pid = arguments.first().and_then(Datum::as_i64).and_then(|pid| i32::try_from(pid).ok());
    let (Some(pid), 1..) = (pid, timeout) else { return done };
    match done {
        sql::NodeCall::Now(Ok(rows)) if rows == [[Datum::Bool(true)]] => {
            let sessions = asked.node().sessions.clone();
            sql::NodeCall::Later(Box::pin(async move {
                let gone = tokio::time::timeout(Duration::from_millis(timeout), sessions.wait_ended(pid));
                Ok(vec![vec![Datum::Bool(gone.await.is_ok())]])
            }))
        }
        other => other,
    }
}

pub(super) static FUNCTIONS: &[Function] = &[
    Function {
        name: "pg_cancel_backend",
        arguments: &[("pid", TypeId::Int4)],
        required: 1,
        defaults: no_defaults,
        strict: true,
        returns: Returns::One(TypeId::Bool),
        call: |asked, actor, arguments| {
            signal(asked, actor, arguments, |session| session.cancel(CancelReason::User))
        },
    },
    Function {
        name: "pg_terminate_backend",
        arguments: &[("pid", TypeId::Int4), ("timeout", TypeId::Int8)],
        required: 1,
        defaults: || vec![Datum::Int8(0)],
        strict: true,
        returns: Returns::One(TypeId::Bool),
        call: terminate,
    },
    Function {
        name: "pg_postmaster_start_time",
        arguments: &[],
        required: 0,
        defaults: no_defaults,
        strict: true,
        returns: Returns::One(TypeId::Timestamptz),
        call: |asked, _, _| one(Datum::Timestamptz(asked.node().started.micros())),
    },
    Function {
        name: "plimsoll_session_count",
        arguments: &[],
        required: 0,
        defaults: no_defaults,
        strict: true,
        returns: Returns::One(TypeId::Int4),
        call: |asked, _, _| {
            let count = asked.node().sessions.count(SessionKind::Client);
            one(Datum::Int4(i32::try_from(count).unwrap_or(i32::MAX)))
        },
    },
];
