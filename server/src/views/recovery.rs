//! plimsoll_stat_recovery: how redo goes, or went at the start. pg_stat_recovery_prefetch: pages read ahead of it.

use super::Asked;
use super::View;
use super::control::{database, lsn};
use sql::{NodeRows, SettingActor};
use sql_types::{Datum, TypeId};

pub(super) static VIEWS: &[View] = &[
    View {
        name: "plimsoll_stat_recovery",
        oid: 15_009,
        columns: &[
            ("redo_start_lsn", TypeId::Lsn),
            ("replay_lsn", TypeId::Lsn),
            ("available_lsn", TypeId::Lsn),
            ("records", TypeId::Int8),
            ("redo_seconds", TypeId::Float8),
            ("last_commit_time", TypeId::Timestamptz),
        ],
        rows: recovery,
    },
    View {
        name: "pg_stat_recovery_prefetch",
        oid: 12_240,
        columns: &[
            ("stats_reset", TypeId::Timestamptz),
            ("prefetch", TypeId::Int8),
            ("hit", TypeId::Int8),
            ("skip_init", TypeId::Int8),
            ("skip_new", TypeId::Int8),
            ("skip_fpw", TypeId::Int8),
            ("skip_rep", TypeId::Int8),
            ("wal_distance", TypeId::Int4),
            ("block_distance", TypeId::Int4),
            ("io_depth", TypeId::Int4),
        ],
        rows: prefetch,
    },
];

fn count(value: u64) -> Datum {
    Datum::Int8(i64::try_from(value).unwrap_or(i64::MAX))
}

fn recovery(asked: &Asked<'_>, _: SettingActor) -> sql::Result<NodeRows> {
    let database = database(asked)?;
    let Some(redo) = database.recovery_statistics() else { return Ok(Vec::new()) };
    let node = asked.node();
    // On a primary redo is over: all that was there is redone.
    let available = if node.replication().and_then(|replication| replication.recovery()).is_some() {
        node.received().max(redo.at)
    } else {
        redo.at
    };
    let last_commit = database.last_replayed_commit();
    Ok(vec![vec![
        lsn(redo.from),
        lsn(redo.at),
        lsn(available),
        count(redo.records),
        Datum::Float8(redo.elapsed.as_secs_f64()),
        last_commit.map_or(Datum::Null, |time| Datum::Timestamptz(time.micros())),
    ]])
}

/// How far the reader is ahead at this moment, the last three columns, is not counted here.
fn prefetch(asked: &Asked<'_>, _: SettingActor) -> sql::Result<NodeRows> {
    let Some(redo) = database(asked)?.recovery_statistics() else {
        return Ok(Vec::new());
    };
    let mut row = vec![Datum::Timestamptz(asked.node().started.micros())];
    row.extend(
        [redo.prefetched, redo.hit, redo.skip_init, redo.skip_new, redo.skip_fpw, redo.skip_rep].map(count),
    );
    row.extend([Datum::Null, Datum::Null, Datum::Null]);
    Ok(vec![row])
}
