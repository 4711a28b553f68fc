//! plimsoll_stat_sync and plimsoll_unconfirmed: the mode of synchronous replication, and what was
//! acknowledged without it. plimsoll_commit_receipts(): who holds a commit.

use super::Asked;
use super::control::database;
use super::replication::ready;
use super::{Function, Returns, View, count, lsn, no_defaults, text, time};
use protocol::SqlState;
use sql_interface::{NodeCall, NodeRows, SqlError};
use sql_types::{Datum, TypeId};
use storage::{Database, SyncLevel};

pub(super) static VIEWS: &[View] = &[
    view! {
        "plimsoll_stat_sync", 15_001,
        "The mode of synchronous replication, and in waits_for the highest level that a commit can wait for now; one row.",
        rows |asked, _actor| {
            let replication = ready(asked)?;
            let names = replication.database.sync_record().map_err(damaged)?.names;
            [(replication, names)]
        },
        each |(replication, names)| [
            let gate = replication.database.commit_gate();
            let counts = replication.semi_sync.counts();
            let (mode, waits_for) = mode(&replication.database);
        ] {
            "mode": Text = Datum::text(mode),
            "synchronous_standby_names": Text = Datum::text(names),
            "waits_for": Text = text(waits_for),
            "confirmed_lsn": Lsn = lsn(gate.confirmed()),
            "fallbacks": Int8 = count(counts.fallbacks),
            "returns": Int8 = count(counts.returns),
        }
    },
    view! {
        "plimsoll_unconfirmed", 15_002,
        "Ranges of the log whose commits were acknowledged without the synchronous standbys, with the lowest level that was not reached; a row a range.",
        rows |asked, _actor| database(asked)?.sync_record().map_err(damaged)?.fallbacks,
        each |fallback| [
            let (ended, upto) = fallback.ended.unzip();
        ] {
            "timeline": Int4 = Datum::Int4(i32::try_from(fallback.timeline.get()).unwrap_or(i32::MAX)),
            "level": Text = Datum::text(fallback.level.name()),
            "began": Timestamptz = time(Some(fallback.began)),
            "after_lsn": Lsn = lsn(fallback.after),
            "ended": Timestamptz = time(ended),
            "upto_lsn": Lsn = upto.map_or(Datum::Null, lsn),
        }
    },
];

/// The mode: asynchronous without names, synchronous, or fallen back; and the level that remote levels mean
/// now. A standby shows what its log says.
fn mode(database: &Database) -> (&'static str, Option<&'static str>) {
    let gate = database.commit_gate();
    match gate.suspended() {
        _ if database.is_in_recovery() => ("standby", None),
        _ if !gate.remote().required => ("asynchronous", Some(SyncLevel::Local.name())),
        Some(level) => ("fallen back", Some(level.below().name())),
        None => ("synchronous", Some(SyncLevel::RemoteApply.name())),
    }
}

fn damaged(error: storage::Error) -> SqlError {
    SqlError::new(SqlState::DATA_CORRUPTED, error.to_string())
}

static RECEIPT_COLUMNS: &[(&str, TypeId)] = &[
    ("node", TypeId::Text),
    ("sync_state", TypeId::Text),
    ("written", TypeId::Bool),
    ("flushed", TypeId::Bool),
    ("replayed", TypeId::Bool),
    ("reply_time", TypeId::Timestamptz),
];

/// plimsoll_commit_receipts(lsn): which nodes have the log up to there written, durable and replayed, as they
/// have reported. The first row is this server, whose sync_state is "local".
fn receipts(asked: &Asked<'_>, arguments: &[Datum]) -> sql_interface::Result<NodeRows> {
    let database = database(asked)?;
    let at = match arguments.first() {
        Some(Datum::Lsn(at)) => wal::Lsn::new(*at),
        _ => wal::Lsn::INVALID,
    };
    let replication = ready(asked)?;
    let log = replication.log.state();
    let flushed = log.flushed();
    let receipt = |name: &str, state: &str, reached: [wal::Lsn; 3], reply: Option<host::Timestamp>| {
        let [written, flushed, replayed] =
            reached.map(|position| Datum::Bool(position.is_valid() && position >= at));
        let reply = reply.map_or(Datum::Null, |at| Datum::Timestamptz(at.micros()));
        vec![Datum::text(name), Datum::text(state), written, flushed, replayed, reply]
    };
    let own = asked.ground.config().cluster_name.to_string();
    let mut rows = vec![receipt(&own, "local", [log.written(), flushed, database.applied()], None)];
    for row in replication.sender_rows(flushed) {
        let reached = [row.progress.written, row.progress.flushed, row.progress.replayed];
        rows.push(receipt(&row.info.application_name, row.sync_state.name(), reached, row.reply_time));
    }
    Ok(rows)
}

pub(super) static FUNCTIONS: &[Function] = &[Function {
    name: "plimsoll_commit_receipts",
    about: "Which nodes have the log up to a position written, durable and replayed, by their reports.",
    arguments: &[("lsn", TypeId::Lsn)],
    required: 1,
    defaults: no_defaults,
    strict: true,
    returns: Returns::Set(RECEIPT_COLUMNS),
    call: |asked, _, arguments| NodeCall::Now(receipts(asked, arguments)),
}];
