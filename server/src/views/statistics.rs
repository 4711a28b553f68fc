//! pg_stat_database and pg_stat_database_conflicts: what this server counts of a database. What it does not
//! count is NULL.

use super::{Asked, View, sparse};
use crate::connection::registry::{SessionHandle, SessionKind};
use sql_interface::{NodeRows, SettingActor};
use sql_types::{Datum, TypeId};
use std::sync::Arc;
use storage::ConflictKind;

/// The databases that exist, by number: users' data are in the last one.
const DATABASES: [(u32, &str); 3] = [(1, "template1"), (4, "template0"), (5, "postgres")];

static DATABASE_COLUMNS: &[(&str, TypeId)] = &[
    ("datid", TypeId::Oid),
    ("datname", TypeId::Name),
    ("numbackends", TypeId::Int4),
    ("xact_commit", TypeId::Int8),
    ("xact_rollback", TypeId::Int8),
    ("blks_read", TypeId::Int8),
    ("blks_hit", TypeId::Int8),
    ("tup_returned", TypeId::Int8),
    ("tup_fetched", TypeId::Int8),
    ("tup_inserted", TypeId::Int8),
    ("tup_updated", TypeId::Int8),
    ("tup_deleted", TypeId::Int8),
    ("conflicts", TypeId::Int8),
    ("temp_files", TypeId::Int8),
    ("temp_bytes", TypeId::Int8),
    ("deadlocks", TypeId::Int8),
    ("checksum_failures", TypeId::Int8),
    ("checksum_last_failure", TypeId::Timestamptz),
    ("blk_read_time", TypeId::Float8),
    ("blk_write_time", TypeId::Float8),
    ("session_time", TypeId::Float8),
    ("active_time", TypeId::Float8),
    ("idle_in_transaction_time", TypeId::Float8),
    ("sessions", TypeId::Int8),
    ("sessions_abandoned", TypeId::Int8),
    ("sessions_fatal", TypeId::Int8),
    ("sessions_killed", TypeId::Int8),
    ("stats_reset", TypeId::Timestamptz),
];

/// PostgreSQL's caches of short files, of which there are none here.
const SLRU_CACHES: [&str; 8] =
    ["CommitTs", "MultiXactMember", "MultiXactOffset", "Notify", "Serial", "Subtrans", "Xact", "other"];

pub(super) static VIEWS: &[View] = &[
    view! {
        "pg_stat_slru", 12_234,
        "PostgreSQL's caches for the states of transactions, which do not exist here: all counts are 0.",
        rows |asked, _actor| {
            let started = asked.started;
            SLRU_CACHES.into_iter().map(move |name| (name, started))
        },
        each |(name, started)| [] {
            "name": Text = Datum::text(name),
            "blks_zeroed": Int8 = Datum::Int8(0),
            "blks_hit": Int8 = Datum::Int8(0),
            "blks_read": Int8 = Datum::Int8(0),
            "blks_written": Int8 = Datum::Int8(0),
            "blks_exists": Int8 = Datum::Int8(0),
            "flushes": Int8 = Datum::Int8(0),
            "truncates": Int8 = Datum::Int8(0),
            "stats_reset": Timestamptz = super::time(Some(started)),
        }
    },
    View {
        name: "pg_stat_database",
        oid: 12_250,
        about: "Sessions, changes of rows, pages read and conflicts with replay, since the server's start; a row a \
                database. The other counts are not kept, and NULL.",
        columns: DATABASE_COLUMNS,
        rows: databases,
    },
    view! {
        "pg_stat_database_conflicts", 12_255,
        "Queries that replay has cancelled, by reason; a row a database.",
        rows |asked, _actor| DATABASES.into_iter().map(|(oid, name)| {
            let conflicts = |kind| count(asked, name, kind);
            (oid, name, conflicts(ConflictKind::Lock), conflicts(ConflictKind::Snapshot))
        }),
        each |(oid, name, locks, snapshots)| [] {
            "datid": Oid = Datum::Oid(oid),
            "datname": Name = Datum::text(name),
            "confl_tablespace": Int8 = Datum::Int8(0),
            "confl_lock": Int8 = locks,
            "confl_snapshot": Int8 = snapshots,
            "confl_bufferpin": Int8 = Datum::Int8(0),
            "confl_deadlock": Int8 = Datum::Int8(0),
        }
    },
];

/// Conflicts of readers with replay in a database, all of which are the one of users' data.
fn count(asked: &Asked<'_>, database: &str, kind: ConflictKind) -> Datum {
    let here = asked.database().filter(|_| database == "postgres");
    Datum::Int8(here.map_or(0, |db| i64::try_from(db.conflicts(kind)).unwrap_or(i64::MAX)))
}

fn databases(asked: &Asked<'_>, _: SettingActor) -> sql_interface::Result<NodeRows> {
    let sessions = asked.sessions.list();
    let changes = asked.engine.map(|engine| engine.row_changes()).unwrap_or_default();
    let pages = asked.database().map(|database| database.store().counters()).unwrap_or_default();
    let row = |(oid, name): (u32, &str)| {
        let here =
            |session: &&Arc<SessionHandle>| session.kind == SessionKind::Client && session.database == name;
        let holds_data = name == "postgres";
        let backends = sessions.iter().filter(here).count();
        let total = [ConflictKind::Snapshot, ConflictKind::Lock]
            .into_iter()
            .filter_map(|kind| count(asked, name, kind).as_i64())
            .sum();
        let values = [
            ("datid", Datum::Oid(oid)),
            ("datname", Datum::text(name)),
            ("numbackends", Datum::Int4(i32::try_from(backends).unwrap_or(i32::MAX))),
            ("conflicts", Datum::Int8(total)),
            ("blks_read", super::count(if holds_data { pages.reads } else { 0 })),
            ("tup_inserted", super::count(if holds_data { changes.inserted } else { 0 })),
            ("tup_updated", super::count(if holds_data { changes.updated } else { 0 })),
            ("tup_deleted", super::count(if holds_data { changes.deleted } else { 0 })),
            ("stats_reset", super::time(Some(asked.started))),
        ];
        sparse(DATABASE_COLUMNS, &values)
    };
    Ok(DATABASES.into_iter().map(row).collect())
}
