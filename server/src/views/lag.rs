//! plimsoll_stat_lag: how far each standby is behind at each stage, truly: zero on an idle system, and growing by a second a second
//! while a standby stalls.

use super::Asked;
use super::View;
use super::control::{database, lsn};
use replica::lag::StageLag;
use sql::{NodeRows, SettingActor};
use sql_types::{Datum, TypeId};
use std::time::Duration;

pub(super) static VIEWS: &[View] = &[View {
    name: "plimsoll_stat_lag",
    oid: 15_003,
    columns: &[
        ("application_name", TypeId::Text),
        ("pid", TypeId::Int4),
        ("state", TypeId::Text),
        ("sync_state", TypeId::Text),
        ("current_lsn", TypeId::Lsn),
        ("sent_lsn", TypeId::Lsn),
        ("write_lsn", TypeId::Lsn),
        ("flush_lsn", TypeId::Lsn),
        ("replay_lsn", TypeId::Lsn),
        ("sent_bytes", TypeId::Int8),
        ("write_bytes", TypeId::Int8),
        ("flush_bytes", TypeId::Int8),
        ("replay_bytes", TypeId::Int8),
        ("sent_seconds", TypeId::Float8),
        ("write_seconds", TypeId::Float8),
        ("flush_seconds", TypeId::Float8),
        ("replay_seconds", TypeId::Float8),
        ("silent_seconds", TypeId::Float8),
        ("slowest", TypeId::Text),
        ("replay_rate", TypeId::Float8),
        ("catch_up_seconds", TypeId::Float8),
    ],
    rows: stat_lag,
}];

fn seconds(time: Duration) -> Datum {
    Datum::Float8(time.as_secs_f64())
}

fn stat_lag(asked: &Asked<'_>, _: SettingActor) -> sql::Result<NodeRows> {
    let database = database(asked)?;
    let node = asked.node();
    let Some(replication) = node.replication() else { return Ok(Vec::new()) };
    let end = database.positions().map_or_else(|| node.received(), |positions| positions.flushed());
    let row = |row: replica::sender::streams::SenderRow| {
        let lag = row.lag;
        let stages = [lag.sent, lag.written, lag.flushed, lag.replayed];
        let bytes = |stage: StageLag| Datum::Int8(i64::try_from(stage.bytes).unwrap_or(i64::MAX));
        let mut values = vec![
            Datum::text(row.info.application_name.as_str()),
            Datum::Int4(row.info.pid),
            Datum::text(row.state.name()),
            Datum::text(row.sync_state.name()),
            lsn(end),
            lsn(row.sent),
            lsn(row.progress.written),
            lsn(row.progress.flushed),
            lsn(row.progress.applied),
        ];
        values.extend(stages.map(bytes));
        values.extend(stages.map(|stage| seconds(stage.age)));
        values.push(seconds(lag.silent));
        values.push(super::text(lag.slowest()));
        values.push(row.replay_rate.map_or(Datum::Null, Datum::Float8));
        values.push(row.catch_up.map_or(Datum::Null, seconds));
        values
    };
    Ok(replication.senders.rows(end, node.ground.host.clock.now()).into_iter().map(row).collect())
}
