//! pg_stat_replication, pg_replication_slots, pg_stat_wal_receiver, and functions about slots.

use super::Asked;
use super::{Function, Returns, View, no_defaults, one, refuse, text};
use crate::error::{from_replica, sql_error};
use crate::replication::Replication;
use protocol::SqlState;
use replica::ReplicaError;
use replica::receiver::{ReceiverStatus, ReceiverView};
use replica::slots::Lifetime;
use sql::{NodeCall, NodeRows, SettingActor, SqlError};
use sql_types::{Datum, Interval, TypeId};
use std::time::Duration;
use wal::Lsn;

/// Of pg_stat_replication.
static SENDER_COLUMNS: &[(&str, TypeId)] = &[
    ("pid", TypeId::Int4),
    ("usesysid", TypeId::Oid),
    ("usename", TypeId::Name),
    ("application_name", TypeId::Text),
    ("client_addr", TypeId::Inet),
    ("client_hostname", TypeId::Text),
    ("client_port", TypeId::Int4),
    ("backend_start", TypeId::Timestamptz),
    ("backend_xmin", TypeId::Xid),
    ("state", TypeId::Text),
    ("sent_lsn", TypeId::Lsn),
    ("write_lsn", TypeId::Lsn),
    ("flush_lsn", TypeId::Lsn),
    ("replay_lsn", TypeId::Lsn),
    ("write_lag", TypeId::Interval),
    ("flush_lag", TypeId::Interval),
    ("replay_lag", TypeId::Interval),
    ("sync_priority", TypeId::Int4),
    ("sync_state", TypeId::Text),
    ("reply_time", TypeId::Timestamptz),
];

/// Of pg_replication_slots.
static SLOT_COLUMNS: &[(&str, TypeId)] = &[
    ("slot_name", TypeId::Name),
    ("plugin", TypeId::Name),
    ("slot_type", TypeId::Text),
    ("datoid", TypeId::Oid),
    ("database", TypeId::Name),
    ("temporary", TypeId::Bool),
    ("active", TypeId::Bool),
    ("active_pid", TypeId::Int4),
    ("xmin", TypeId::Xid),
    ("catalog_xmin", TypeId::Xid),
    ("restart_lsn", TypeId::Lsn),
    ("confirmed_flush_lsn", TypeId::Lsn),
    ("wal_status", TypeId::Text),
    ("safe_wal_size", TypeId::Int8),
    ("two_phase", TypeId::Bool),
];

/// Of pg_stat_wal_receiver.
static RECEIVER_COLUMNS: &[(&str, TypeId)] = &[
    ("pid", TypeId::Int4),
    ("status", TypeId::Text),
    ("receive_start_lsn", TypeId::Lsn),
    ("receive_start_tli", TypeId::Int4),
    ("written_lsn", TypeId::Lsn),
    ("flushed_lsn", TypeId::Lsn),
    ("received_tli", TypeId::Int4),
    ("last_msg_send_time", TypeId::Timestamptz),
    ("last_msg_receipt_time", TypeId::Timestamptz),
    ("latest_end_lsn", TypeId::Lsn),
    ("latest_end_time", TypeId::Timestamptz),
    ("slot_name", TypeId::Text),
    ("sender_host", TypeId::Text),
    ("sender_port", TypeId::Int4),
    ("conninfo", TypeId::Text),
];

/// Of pg_stat_get_wal_senders().
static SENDER_FUNCTION_COLUMNS: &[(&str, TypeId)] = &[
    ("pid", TypeId::Int4),
    ("state", TypeId::Text),
    ("sent_lsn", TypeId::Lsn),
    ("write_lsn", TypeId::Lsn),
    ("flush_lsn", TypeId::Lsn),
    ("replay_lsn", TypeId::Lsn),
    ("write_lag", TypeId::Interval),
    ("flush_lag", TypeId::Interval),
    ("replay_lag", TypeId::Interval),
    ("sync_priority", TypeId::Int4),
    ("sync_state", TypeId::Text),
    ("reply_time", TypeId::Timestamptz),
];

/// Of pg_get_replication_slots().
static SLOT_FUNCTION_COLUMNS: &[(&str, TypeId)] = &[
    ("slot_name", TypeId::Name),
    ("plugin", TypeId::Name),
    ("slot_type", TypeId::Text),
    ("datoid", TypeId::Oid),
    ("temporary", TypeId::Bool),
    ("active", TypeId::Bool),
    ("active_pid", TypeId::Int4),
    ("xmin", TypeId::Xid),
    ("catalog_xmin", TypeId::Xid),
    ("restart_lsn", TypeId::Lsn),
    ("confirmed_flush_lsn", TypeId::Lsn),
    ("wal_status", TypeId::Text),
    ("safe_wal_size", TypeId::Int8),
    ("two_phase", TypeId::Bool),
];

pub(super) static VIEWS: &[View] = &[
    View { name: "pg_stat_replication", oid: 12_211, columns: SENDER_COLUMNS, rows: stat_replication },
    View { name: "pg_replication_slots", oid: 12_235, columns: SLOT_COLUMNS, rows: replication_slots },
    View { name: "pg_stat_wal_receiver", oid: 12_216, columns: RECEIVER_COLUMNS, rows: wal_receiver },
];

fn wal_receiver(asked: &Asked<'_>, actor: SettingActor) -> sql::Result<NodeRows> {
    let node = asked.node();
    let Some(recovery) = node.replication().and_then(|replication| replication.recovery()) else {
        return Ok(Vec::new());
    };
    // Between two connections there is no receiver to be seen.
    let shown =
        |view: &ReceiverView| matches!(view.status, ReceiverStatus::Streaming | ReceiverStatus::Restarting);
    let Some(view) = recovery.receiver().filter(shown) else { return Ok(Vec::new()) };
    let config = node.ground.config();
    let time = |at: Option<host::Timestamp>| at.map_or(Datum::Null, |at| Datum::Timestamptz(at.micros()));
    let timeline = |timeline: wal::TimelineId| Datum::Int4(i32::try_from(timeline.get()).unwrap_or(0));
    let (conninfo, endpoint) = describe_primary(&config);
    let mut row = vec![
        Datum::Int4(recovery.receiver_pid),
        Datum::text(view.status.name()),
        lsn(view.start),
        timeline(view.start_timeline),
        lsn(view.written),
        lsn(view.flushed),
        timeline(view.timeline),
        time(view.last_sent),
        time(view.last_received),
        lsn(view.primary_end),
        time(view.primary_end_at),
        text(Some(&config.primary_slot_name).filter(|name| !name.is_empty())),
        text(endpoint.as_ref().map(|(host, _)| host)),
        endpoint.map_or(Datum::Null, |(_, port)| Datum::Int4(i32::from(port))),
        Datum::text(conninfo),
    ];
    if !actor.superuser {
        row.iter_mut().skip(1).for_each(|value| *value = Datum::Null);
    }
    Ok(vec![row])
}

/// The connection string without its password, and the first place that it names.
fn describe_primary(config: &settings::Config) -> (String, Option<(String, u16)>) {
    let conninfo: &str = &config.primary_conninfo;
    let mut pairs = protocol::conninfo::split(conninfo).unwrap_or_default();
    pairs.retain(|(name, _)| name != "dbname" && name != "replication");
    let name = config.cluster_name.trim();
    let name = if name.is_empty() { "walreceiver" } else { name };
    for (key, value) in
        [("dbname", "replication"), ("replication", "true"), ("fallback_application_name", name)]
    {
        pairs.push((key.to_owned(), value.to_owned()));
    }
    let shown = pairs.iter().map(|(name, value)| {
        (name.as_str(), if name.as_str() == "password" { "********" } else { value.as_str() })
    });
    let shown = protocol::conninfo::join(shown);
    let info = protocol::conninfo::ConnInfo::parse(conninfo).ok();
    let first = info.and_then(|info| info.endpoints.into_iter().next());
    let place = first.map(|(endpoint, port)| match endpoint {
        protocol::conninfo::Endpoint::Unix(dir) => (dir.display().to_string(), port),
        protocol::conninfo::Endpoint::Tcp(host) => (host, port),
    });
    (shown, place)
}

pub(super) fn ready<'a>(asked: &Asked<'a>) -> Result<&'a Replication, SqlError> {
    let starting = || sql_error(SqlState::CANNOT_CONNECT_NOW, "the database system is starting up");
    Ok(asked.node().replication().ok_or_else(starting)?)
}

fn lsn(at: Lsn) -> Datum {
    if at.is_valid() { Datum::Lsn(at.get()) } else { Datum::Null }
}

fn interval(time: Option<Duration>) -> Datum {
    let micros = time.and_then(|time| i64::try_from(time.as_micros()).ok());
    micros.map_or(Datum::Null, |micros| Datum::Interval(Interval { months: 0, days: 0, micros }))
}

fn stat_replication(asked: &Asked<'_>, actor: SettingActor) -> sql::Result<NodeRows> {
    let replication = ready(asked)?;
    let database = &replication.database;
    let end = database.positions().map_or_else(|| database.replayed(), |positions| positions.flushed());
    let rows = replication.senders.rows(end, asked.node().ground.host.clock.now());
    let own = &asked.handle().user;
    Ok(rows
        .into_iter()
        .map(|row| {
            let visible = actor.superuser || row.info.user == *own;
            let session = asked.node().sessions.get(row.info.pid);
            let address = session.as_deref().map_or(Datum::Null, super::activity::address);
            let mut values = vec![
                Datum::Int4(row.info.pid),
                Datum::Oid(row.info.user_oid),
                Datum::text(row.info.user.as_str()),
                Datum::text(row.info.application_name.as_str()),
                address,
                Datum::Null,
                Datum::Int4(row.info.client_port),
                Datum::Timestamptz(row.info.backend_start.micros()),
                row.xmin.map_or(Datum::Null, |xmin| Datum::Xid(xmin.low())),
                Datum::text(row.state.name()),
                lsn(row.sent),
                lsn(row.progress.written),
                lsn(row.progress.flushed),
                lsn(row.progress.applied),
                interval(row.round_trips.write),
                interval(row.round_trips.flush),
                interval(row.round_trips.replay),
                Datum::Int4(i32::try_from(row.priority).unwrap_or(i32::MAX)),
                Datum::text(row.sync_state.name()),
                row.reply_time.map_or(Datum::Null, |at| Datum::Timestamptz(at.micros())),
            ];
            if !visible {
                values.iter_mut().skip(3).for_each(|value| *value = Datum::Null);
            }
            values
        })
        .collect())
}

fn replication_slots(asked: &Asked<'_>, _: SettingActor) -> sql::Result<NodeRows> {
    let replication = ready(asked)?;
    let limits = replication.limits();
    let row = |slot: replica::slots::SlotView| {
        vec![
            Datum::text(slot.name.as_str()),
            Datum::Null,
            Datum::text("physical"),
            Datum::Null,
            Datum::Null,
            Datum::Bool(slot.temporary),
            Datum::Bool(slot.active_pid.is_some()),
            slot.active_pid.map_or(Datum::Null, Datum::Int4),
            slot.xmin.map_or(Datum::Null, |xmin| Datum::Xid(xmin.low())),
            Datum::Null,
            lsn(slot.restart),
            Datum::Null,
            text(slot.wal_status(&limits).map(|status| status.name())),
            slot.safe_wal_size(&limits).map_or(Datum::Null, Datum::Int8),
            Datum::Bool(false),
        ]
    };
    Ok(replication.slots.list().into_iter().map(row).collect())
}

/// Slots are made and dropped by superusers and roles with REPLICATION.
fn allowed<'a>(asked: &Asked<'a>, actor: SettingActor) -> Result<&'a Replication, SqlError> {
    if actor.superuser || asked.handle().replication_role() {
        ready(asked)
    } else {
        let what = "must be superuser or replication role to use replication slots";
        Err(sql_error(SqlState::INSUFFICIENT_PRIVILEGE, what))
    }
}

fn slot_error(error: &ReplicaError) -> SqlError {
    let report = from_replica(error);
    let mut own = sql_error(report.code, report.message);
    own.fields_mut().detail = report.detail;
    own.fields_mut().hint = report.hint;
    own
}

fn name_of(arguments: &[Datum]) -> &str {
    arguments.first().and_then(Datum::as_str).unwrap_or_default()
}

fn flag_of(arguments: &[Datum], at: usize) -> bool {
    arguments.get(at).and_then(Datum::as_bool).unwrap_or(false)
}

fn create(asked: &Asked<'_>, actor: SettingActor, arguments: &[Datum]) -> NodeCall {
    let made = allowed(asked, actor).and_then(|replication| {
        let lifetime = if flag_of(arguments, 2) { Lifetime::Temporary } else { Lifetime::Permanent };
        let redo = || replication.database.control().checkpoint_copy.redo;
        let reserve: Option<&dyn Fn() -> Lsn> = if flag_of(arguments, 1) { Some(&redo) } else { None };
        let pid = asked.handle().key.pid;
        let slot = replication.slots.create(name_of(arguments), lifetime, reserve, pid);
        slot.map_err(|error| slot_error(&error))
    });
    NodeCall::Now(made.map(|slot| vec![vec![Datum::text(slot.name.as_str()), lsn(slot.restart)]]))
}

fn drop_slot(asked: &Asked<'_>, actor: SettingActor, arguments: &[Datum]) -> NodeCall {
    let dropped = allowed(asked, actor).and_then(|replication| {
        let pid = asked.handle().key.pid;
        replication.slots.drop_slot(name_of(arguments), pid).map_err(|error| slot_error(&error))
    });
    match dropped {
        Ok(()) => one(Datum::text("")),
        Err(error) => refuse(error),
    }
}

fn advance(asked: &Asked<'_>, actor: SettingActor, arguments: &[Datum]) -> NodeCall {
    let advanced = allowed(asked, actor).and_then(|replication| {
        let to = match arguments.get(1) {
            Some(Datum::Lsn(at)) => Lsn::new(*at),
            _ => Lsn::INVALID,
        };
        if !to.is_valid() {
            return Err(sql_error(SqlState::INVALID_PARAMETER_VALUE, "invalid target WAL LSN"));
        }
        let end = replication.limits().end;
        let pid = asked.handle().key.pid;
        let at = replication.slots.advance(name_of(arguments), to, end, pid);
        at.map_err(|error| slot_error(&error))
    });
    NodeCall::Now(advanced.map(|at| vec![vec![Datum::text(name_of(arguments)), lsn(at)]]))
}

fn copy(asked: &Asked<'_>, actor: SettingActor, arguments: &[Datum]) -> NodeCall {
    let made = allowed(asked, actor).and_then(|replication| {
        let (from, to) = (name_of(arguments), arguments.get(1).and_then(Datum::as_str).unwrap_or_default());
        let found = replication.slots.find(from).map_err(|error| slot_error(&error))?;
        let temporary = arguments.get(2).and_then(Datum::as_bool).unwrap_or(found.temporary);
        let lifetime = if temporary { Lifetime::Temporary } else { Lifetime::Permanent };
        let pid = asked.handle().key.pid;
        replication.slots.copy(from, to, lifetime, pid).map_err(|error| slot_error(&error))
    });
    // As in PostgreSQL, the position is told of logical slots only.
    NodeCall::Now(made.map(|slot| vec![vec![Datum::text(slot.name.as_str()), Datum::Null]]))
}

/// The columns of `wanted` out of the rows of a view with these columns.
fn project(
    rows: sql::Result<NodeRows>,
    columns: &[(&str, TypeId)],
    wanted: &[(&str, TypeId)],
) -> sql::Result<NodeRows> {
    let places: Vec<usize> =
        wanted.iter().filter_map(|(name, _)| columns.iter().position(|(column, _)| column == name)).collect();
    let pick =
        |row: Vec<Datum>| places.iter().map(|place| row.get(*place).cloned().unwrap_or_default()).collect();
    Ok(rows?.into_iter().map(pick).collect())
}

pub(super) static FUNCTIONS: &[Function] = &[
    Function {
        name: "pg_get_replication_slots",
        arguments: &[],
        required: 0,
        defaults: no_defaults,
        strict: true,
        returns: Returns::Set(SLOT_FUNCTION_COLUMNS),
        call: |asked, actor, _| {
            let rows = replication_slots(asked, actor);
            NodeCall::Now(project(rows, SLOT_COLUMNS, SLOT_FUNCTION_COLUMNS))
        },
    },
    Function {
        name: "pg_stat_get_wal_senders",
        arguments: &[],
        required: 0,
        defaults: no_defaults,
        strict: true,
        returns: Returns::Set(SENDER_FUNCTION_COLUMNS),
        call: |asked, actor, _| {
            let rows = stat_replication(asked, actor);
            NodeCall::Now(project(rows, SENDER_COLUMNS, SENDER_FUNCTION_COLUMNS))
        },
    },
    Function {
        name: "pg_stat_get_wal_receiver",
        arguments: &[],
        required: 0,
        defaults: no_defaults,
        strict: true,
        returns: Returns::Record(RECEIVER_COLUMNS),
        call: |asked, actor, _| {
            let row = wal_receiver(asked, actor);
            let none = || vec![vec![Datum::Null; RECEIVER_COLUMNS.len()]];
            NodeCall::Now(row.map(|rows| if rows.is_empty() { none() } else { rows }))
        },
    },
    Function {
        name: "pg_copy_physical_replication_slot",
        arguments: &[
            ("src_slot_name", TypeId::Name),
            ("dst_slot_name", TypeId::Name),
            ("temporary", TypeId::Bool),
        ],
        required: 2,
        defaults: || vec![Datum::Null],
        strict: false,
        returns: Returns::Record(&[("slot_name", TypeId::Name), ("lsn", TypeId::Lsn)]),
        call: copy,
    },
    Function {
        name: "pg_create_physical_replication_slot",
        arguments: &[
            ("slot_name", TypeId::Name),
            ("immediately_reserve", TypeId::Bool),
            ("temporary", TypeId::Bool),
        ],
        required: 1,
        defaults: || vec![Datum::Bool(false), Datum::Bool(false)],
        strict: true,
        returns: Returns::Record(&[("slot_name", TypeId::Name), ("lsn", TypeId::Lsn)]),
        call: create,
    },
    Function {
        name: "pg_drop_replication_slot",
        arguments: &[("slot_name", TypeId::Name)],
        required: 1,
        defaults: no_defaults,
        strict: true,
        returns: Returns::One(TypeId::Void),
        call: drop_slot,
    },
    Function {
        name: "pg_replication_slot_advance",
        arguments: &[("slot_name", TypeId::Name), ("upto_lsn", TypeId::Lsn)],
        required: 2,
        defaults: no_defaults,
        strict: true,
        returns: Returns::Record(&[("slot_name", TypeId::Name), ("end_lsn", TypeId::Lsn)]),
        call: advance,
    },
];
