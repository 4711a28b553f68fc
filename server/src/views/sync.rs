//! plimsoll_stat_sync and plimsoll_unconfirmed: the mode of synchronous replication, and what was acknowledged without it.
//! plimsoll_commit_receipts(): who holds a commit.

use super::Asked;
use super::control::{database, lsn};
use super::replication::ready;
use super::{Function, Returns, View, no_defaults, text};
use crate::error::sql_error;
use protocol::SqlState;
use sql::{NodeCall, NodeRows, SettingActor};
use sql_types::{Datum, TypeId};
use storage::SyncLevel;

pub(super) static VIEWS: &[View] = &[
    View {
        name: "plimsoll_stat_sync",
        oid: 15_001,
        columns: &[
            ("mode", TypeId::Text),
            ("synchronous_standby_names", TypeId::Text),
            ("waits_for", TypeId::Text),
            ("confirmed_lsn", TypeId::Lsn),
            ("fallbacks", TypeId::Int8),
            ("returns", TypeId::Int8),
        ],
        rows: stat_sync,
    },
    View {
        name: "plimsoll_unconfirmed",
        oid: 15_002,
        columns: &[
            ("timeline", TypeId::Int4),
            ("level", TypeId::Text),
            ("began", TypeId::Timestamptz),
            ("after_lsn", TypeId::Lsn),
            ("ended", TypeId::Timestamptz),
            ("upto_lsn", TypeId::Lsn),
        ],
        rows: unconfirmed,
    },
];

/// The mode: asynchronous without names, synchronous, or fallen back. A standby shows what its log says.
fn stat_sync(asked: &Asked<'_>, _: SettingActor) -> sql::Result<NodeRows> {
    let replication = ready(asked)?;
    let database = &replication.database;
    let gate = database.commit_gate();
    let counts = replication.semi_sync.counts();
    let standby = database.is_in_recovery();
    let suspended = gate.suspended();
    let (mode, waits_for) = match suspended {
        _ if standby => ("standby", None),
        _ if !gate.remote().required => ("asynchronous", Some(SyncLevel::Local.name())),
        Some(level) => ("fallen back", Some(level.below().name())),
        None => ("synchronous", Some(SyncLevel::RemoteApply.name())),
    };
    let names = database.sync_state().map_err(damaged)?.names;
    let confirmed = Some(gate.confirmed()).filter(|at| at.is_valid()).map_or(Datum::Null, lsn);
    let count = |count: u64| Datum::Int8(i64::try_from(count).unwrap_or(i64::MAX));
    Ok(vec![vec![
        Datum::text(mode),
        Datum::text(names),
        text(waits_for),
        confirmed,
        count(counts.fallbacks),
        count(counts.returns),
    ]])
}

fn damaged(error: storage::Error) -> sql::SqlError {
    sql_error(SqlState::DATA_CORRUPTED, error.to_string())
}

/// The ranges of the log that hold commits which were acknowledged without the synchronous standbys, on any node whose log
/// tells of them.
fn unconfirmed(asked: &Asked<'_>, _: SettingActor) -> sql::Result<NodeRows> {
    let state = database(asked)?.sync_state().map_err(damaged)?;
    let row = |fallback: storage::Fallback| {
        let (ended, upto) = match fallback.ended {
            Some((at, upto)) => (Datum::Timestamptz(at.micros()), lsn(upto)),
            None => (Datum::Null, Datum::Null),
        };
        vec![
            Datum::Int4(i32::try_from(fallback.timeline.get()).unwrap_or(i32::MAX)),
            Datum::text(fallback.level.name()),
            Datum::Timestamptz(fallback.began.micros()),
            lsn(fallback.after),
            ended,
            upto,
        ]
    };
    Ok(state.fallbacks.into_iter().map(row).collect())
}

static RECEIPT_COLUMNS: &[(&str, TypeId)] = &[
    ("node", TypeId::Text),
    ("sync_state", TypeId::Text),
    ("written", TypeId::Bool),
    ("flushed", TypeId::Bool),
    ("replayed", TypeId::Bool),
    ("reply_time", TypeId::Timestamptz),
];

/// plimsoll_commit_receipts(lsn): which nodes have the log up to there written, durable and replayed, as they have reported. The
/// first row is this server, whose sync_state is "local".
fn receipts(asked: &Asked<'_>, arguments: &[Datum]) -> sql::Result<NodeRows> {
    let database = database(asked)?;
    let at = match arguments.first() {
        Some(Datum::Lsn(at)) => wal::Lsn::new(*at),
        _ => wal::Lsn::INVALID,
    };
    let node = asked.node();
    let (written, flushed, replayed) = match database.positions() {
        Some(positions) => (positions.written(), positions.flushed(), positions.inserted()),
        None => (node.received(), node.received(), database.replayed()),
    };
    let receipt = |name: &str, state: &str, reached: [wal::Lsn; 3], reply: Option<host::Timestamp>| {
        let [written, flushed, replayed] =
            reached.map(|position| Datum::Bool(position.is_valid() && position >= at));
        let reply = reply.map_or(Datum::Null, |at| Datum::Timestamptz(at.micros()));
        vec![Datum::text(name), Datum::text(state), written, flushed, replayed, reply]
    };
    let own = node.ground.config().cluster_name.to_string();
    let mut rows = vec![receipt(&own, "local", [written, flushed, replayed], None)];
    if let Some(replication) = node.replication() {
        for row in replication.senders.rows(flushed, node.ground.host.clock.now()) {
            let reached = [row.progress.written, row.progress.flushed, row.progress.applied];
            rows.push(receipt(&row.info.application_name, row.sync_state.name(), reached, row.reply_time));
        }
    }
    Ok(rows)
}

pub(super) static FUNCTIONS: &[Function] = &[Function {
    name: "plimsoll_commit_receipts",
    arguments: &[("lsn", TypeId::Lsn)],
    required: 1,
    defaults: no_defaults,
    strict: true,
    returns: Returns::Set(RECEIPT_COLUMNS),
    call: |asked, _, arguments| NodeCall::Now(receipts(asked, arguments)),
}];
