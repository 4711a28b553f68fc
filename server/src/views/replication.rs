//! pg_stat_replication, pg_replication_slots, pg_stat_wal_receiver, and functions about slots.

use super::activity::address;
use super::{
    Asked, Function, Returns, View, lsn, no_defaults, number, one, refuse, text, time, timeline, without,
};
use crate::error::from_replica;
use crate::replication::Replication;
use protocol::SqlState;
use replica::ReplicaError;
use replica::receiver::{ReceiverStatus, ReceiverView};
use replica::slots::Lifetime;
use sql_interface::{NodeCall, SettingActor, SqlError};
use sql_types::{Datum, Interval, TypeId};
use std::sync::Arc;
use std::time::Duration;
use wal::Lsn;

/// pg_stat_replication
const SENDERS: View = view! {
    "pg_stat_replication", 12_211, "The standbys that are connected, with their positions; a row a standby.",
    rows |asked, actor| {
        let replication = ready(asked)?;
        let end = replication.log.flushed();
        let sessions = asked.sessions;
        let rows = replication.sender_rows(end).into_iter();
        rows.map(move |row| {
            let address = sessions.get(row.info.pid).as_deref().map_or(Datum::Null, address);
            let seen = actor.reads_statistics || asked.acts_for(actor, row.info.user_oid);
            let user = asked.user_name(row.info.user_oid, &row.info.user);
            (row, user, address, seen)
        })
    },
    each |(row, user, address, seen)| [
        // What others than pg_read_all_stats and the standby's own role do not see.
        let shown = |value: Datum| if seen { value } else { Datum::Null };
        let priority = i32::try_from(row.priority).unwrap_or(i32::MAX);
        let trips = row.round_trips;
    ] {
        "pid": Int4 = Datum::Int4(row.info.pid),
        "usesysid": Oid = Datum::Oid(row.info.user_oid),
        "usename": Name = Datum::from(user),
        "application_name": Text = shown(Datum::text(row.info.application_name.as_str())),
        "client_addr": Inet = shown(address),
        "client_hostname": Text = Datum::Null,
        "client_port": Int4 = shown(Datum::Int4(row.info.client_port)),
        "backend_start": Timestamptz = shown(time(Some(row.info.backend_start))),
        "backend_xmin": Xid = shown(row.xmin.map_or(Datum::Null, |xmin| Datum::Xid(xmin.low()))),
        "state": Text = shown(Datum::text(row.state.name())),
        "sent_lsn": Lsn = shown(lsn(row.sent)),
        "write_lsn": Lsn = shown(lsn(row.progress.written)),
        "flush_lsn": Lsn = shown(lsn(row.progress.flushed)),
        "replay_lsn": Lsn = shown(lsn(row.progress.replayed)),
        "write_lag": Interval = shown(interval(trips.write)),
        "flush_lag": Interval = shown(interval(trips.flush)),
        "replay_lag": Interval = shown(interval(trips.replay)),
        "sync_priority": Int4 = shown(Datum::Int4(priority)),
        "sync_state": Text = shown(Datum::text(row.sync_state.name())),
        "reply_time": Timestamptz = shown(time(row.reply_time)),
    }
};

/// pg_replication_slots
const SLOTS: View = view! {
    "pg_replication_slots", 12_235, "The replication slots and the log that they keep; a row a slot.",
    rows |asked, _actor| {
        let replication = ready(asked)?;
        let limits = replication.limits();
        replication.slots.list().into_iter().map(move |slot| (slot, limits))
    },
    each |(slot, limits)| [] {
        "slot_name": Name = Datum::text(slot.name.as_str()),
        "plugin": Name = Datum::Null,
        "slot_type": Text = Datum::text("physical"),
        "datoid": Oid = Datum::Null,
        "database": Name = Datum::Null,
        "temporary": Bool = Datum::Bool(slot.temporary),
        "active": Bool = Datum::Bool(slot.active_pid.is_some()),
        "active_pid": Int4 = number(slot.active_pid),
        "xmin": Xid = slot.xmin.map_or(Datum::Null, |xmin| Datum::Xid(xmin.low())),
        "catalog_xmin": Xid = Datum::Null,
        "restart_lsn": Lsn = lsn(slot.restart),
        "confirmed_flush_lsn": Lsn = Datum::Null,
        "wal_status": Text = text(slot.wal_status(&limits).map(|status| status.name())),
        "safe_wal_size": Int8 = slot.safe_wal_size(&limits).map_or(Datum::Null, Datum::Int8),
        "two_phase": Bool = Datum::Bool(false),
    }
};

/// pg_stat_wal_receiver
const RECEIVER: View = view! {
    "pg_stat_wal_receiver", 12_216, "The WAL receiver of a standby while it streams; one row or none.",
    rows |asked, actor| {
        // Between two connections there is no receiver to be seen.
        let shown = |view: &ReceiverView| {
            matches!(view.status, ReceiverStatus::Streaming | ReceiverStatus::Restarting)
        };
        let (config, sees) = (asked.ground.config(), actor.reads_statistics);
        asked.recovery().and_then(move |recovery| {
            // In this order: a receiver that ends between the two has no row, and none without its place.
            let place = recovery.receiver_place();
            let view = recovery.receiver().filter(shown)?;
            Some((recovery.receiver_pid, view, place, config, sees))
        })
    },
    each |(pid, view, place, config, sees)| [
        // What pg_read_all_stats alone sees.
        let shown = |value: Datum| if sees { value } else { Datum::Null };
        let (host, port) = place.unzip();
        let slot = Some(&config.primary_slot_name).filter(|name| !name.is_empty());
        let early = host::planted!("a receiver shows what is written as flushed");
    ] {
        "pid": Int4 = Datum::Int4(pid),
        "status": Text = shown(Datum::text(view.status.name())),
        "receive_start_lsn": Lsn = shown(lsn(view.start)),
        "receive_start_tli": Int4 = shown(timeline(view.start_timeline)),
        "written_lsn": Lsn = shown(lsn(view.written)),
        "flushed_lsn": Lsn = shown(lsn(if early { view.written } else { view.flushed })),
        "received_tli": Int4 = shown(timeline(view.timeline)),
        "last_msg_send_time": Timestamptz = shown(time(view.last_sent)),
        "last_msg_receipt_time": Timestamptz = shown(time(view.last_received)),
        "latest_end_lsn": Lsn = shown(lsn(view.primary_end)),
        "latest_end_time": Timestamptz = shown(time(view.primary_end_at)),
        "slot_name": Text = shown(text(slot)),
        "sender_host": Text = shown(text(host)),
        "sender_port": Int4 = shown(port.map_or(Datum::Null, |port| Datum::Int4(i32::from(port)))),
        "conninfo": Text = shown(Datum::text(describe_primary(&config))),
    }
};

pub(super) static VIEWS: &[View] = &[SENDERS, SLOTS, RECEIVER];

/// The connection string without its password.
fn describe_primary(config: &settings::Config) -> String {
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
        (
            name.as_str(),
            if matches!(name.as_str(), "password" | "sslpassword") { "********" } else { value.as_str() },
        )
    });
    protocol::conninfo::join(shown)
}

pub(super) fn ready<'a>(asked: &Asked<'a>) -> Result<&'a Replication, SqlError> {
    let starting = || SqlError::new(SqlState::CANNOT_CONNECT_NOW, "the database system is starting up");
    Ok(asked.replication.ok_or_else(starting)?)
}

/// The same, for what outlives the question.
pub(super) fn shared(asked: &Asked<'_>) -> Result<Arc<Replication>, SqlError> {
    ready(asked)?;
    asked.replication.cloned().ok_or_else(|| SqlError::internal("no replication"))
}

fn interval(time: Option<Duration>) -> Datum {
    let micros = time.and_then(|time| i64::try_from(time.as_micros()).ok());
    micros.map_or(Datum::Null, |micros| Datum::Interval(Interval { months: 0, days: 0, micros }))
}

/// Slots are made and dropped by superusers and roles with REPLICATION.
fn allowed<'a>(asked: &Asked<'a>, actor: SettingActor) -> Result<&'a Replication, SqlError> {
    if actor.superuser || actor.replication {
        ready(asked)
    } else {
        let what = "must be superuser or replication role to use replication slots";
        Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, what))
    }
}

fn slot_error(error: &ReplicaError) -> SqlError {
    let report = from_replica(error);
    let mut own = SqlError::new(report.code, report.message);
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
        let pid = asked.handle.key.pid;
        let slot = replication.slots.create(name_of(arguments), lifetime, reserve, pid);
        slot.map_err(|error| slot_error(&error))
    });
    NodeCall::Now(made.map(|slot| vec![vec![Datum::text(slot.name.as_str()), lsn(slot.restart)]]))
}

fn drop_slot(asked: &Asked<'_>, actor: SettingActor, arguments: &[Datum]) -> NodeCall {
    let dropped = allowed(asked, actor).and_then(|replication| {
        let pid = asked.handle.key.pid;
        replication.slots.drop_slot(name_of(arguments), pid).map_err(|error| slot_error(&error))?;
        replication.update_horizon();
        Ok(())
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
            return Err(SqlError::new(SqlState::INTERNAL_ERROR, "invalid target WAL LSN"));
        }
        let log = replication.log.state();
        let (end, pid) = ((log.flushed(), log.generation()), asked.handle.key.pid);
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
        let pid = asked.handle.key.pid;
        replication.slots.copy(from, to, lifetime, pid).map_err(|error| slot_error(&error))
    });
    // As in PostgreSQL, the position is told of logical slots only.
    NodeCall::Now(made.map(|slot| vec![vec![Datum::text(slot.name.as_str()), Datum::Null]]))
}

/// Columns of pg_replication_slots that pg_get_replication_slots() does not give.
const NOT_OF_SLOT_FUNCTION: &[&str] = &["database"];
/// Columns of pg_stat_replication that pg_stat_get_wal_senders() does not give.
const NOT_OF_SENDER_FUNCTION: &[&str] = &[
    "usesysid",
    "usename",
    "application_name",
    "client_addr",
    "client_hostname",
    "client_port",
    "backend_start",
    "backend_xmin",
];

pub(super) static FUNCTIONS: &[Function] = &[
    Function {
        name: "pg_get_replication_slots",
        about: "The rows of pg_replication_slots without the database's name.",
        arguments: &[],
        required: 0,
        defaults: no_defaults,
        strict: true,
        returns: Returns::SetOf { view: &SLOTS, without: NOT_OF_SLOT_FUNCTION },
        call: |asked, actor, _| NodeCall::Now(without(&SLOTS, NOT_OF_SLOT_FUNCTION, asked, actor)),
    },
    Function {
        name: "pg_stat_get_wal_senders",
        about: "The rows of pg_stat_replication without what they say of the session.",
        arguments: &[],
        required: 0,
        defaults: no_defaults,
        strict: true,
        returns: Returns::SetOf { view: &SENDERS, without: NOT_OF_SENDER_FUNCTION },
        call: |asked, actor, _| NodeCall::Now(without(&SENDERS, NOT_OF_SENDER_FUNCTION, asked, actor)),
    },
    Function {
        name: "pg_stat_get_wal_receiver",
        about: "The row of pg_stat_wal_receiver; all columns are NULL if there is none.",
        arguments: &[],
        required: 0,
        defaults: no_defaults,
        strict: true,
        returns: Returns::RecordOf(&RECEIVER),
        call: |asked, actor, _| {
            let row = (RECEIVER.rows)(asked, actor);
            let none = || vec![vec![Datum::Null; RECEIVER.columns.len()]];
            NodeCall::Now(row.map(|rows| if rows.is_empty() { none() } else { rows }))
        },
    },
    Function {
        name: "pg_copy_physical_replication_slot",
        about: "Makes a slot that keeps the same log as another one.",
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
        about: "Makes a replication slot.",
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
        about: "Drops a replication slot.",
        arguments: &[("slot_name", TypeId::Name)],
        required: 1,
        defaults: no_defaults,
        strict: true,
        returns: Returns::One(TypeId::Void),
        call: drop_slot,
    },
    Function {
        name: "pg_replication_slot_advance",
        about: "Lets go of the log before a position that a slot keeps.",
        arguments: &[("slot_name", TypeId::Name), ("upto_lsn", TypeId::Lsn)],
        required: 2,
        defaults: no_defaults,
        strict: true,
        returns: Returns::Record(&[("slot_name", TypeId::Name), ("end_lsn", TypeId::Lsn)]),
        call: advance,
    },
];
