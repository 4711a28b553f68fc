//! plimsoll_stat_lag: how far each standby is behind at each stage, truly: zero on an idle system, and
//! growing by a second a second while a standby stalls.

use super::replication::ready;
use super::{View, float, lsn, text};
use replica::lag::StageLag;
use sql_types::Datum;
use std::time::Duration;

fn seconds(time: Duration) -> Datum {
    Datum::Float8(time.as_secs_f64())
}

fn bytes(stage: StageLag) -> Datum {
    Datum::Int8(i64::try_from(stage.bytes).unwrap_or(i64::MAX))
}

pub(super) static VIEWS: &[View] = &[view! {
    "plimsoll_stat_lag", 15_003,
    "How far each standby is behind, in bytes and in time, at each stage; a row a standby.",
    rows |asked, _actor| {
        let replication = ready(asked)?;
        let end = replication.log.flushed();
        let rows = replication.sender_rows(end);
        rows.into_iter().map(move |row| (row, end))
    },
    each |(row, end)| [let lag = row.lag;] {
        "application_name": Text = Datum::text(row.info.application_name.as_str()),
        "pid": Int4 = Datum::Int4(row.info.pid),
        "state": Text = Datum::text(row.state.name()),
        "sync_state": Text = Datum::text(row.sync_state.name()),
        "current_lsn": Lsn = lsn(end),
        "sent_lsn": Lsn = lsn(row.sent),
        "write_lsn": Lsn = lsn(row.progress.written),
        "flush_lsn": Lsn = lsn(row.progress.flushed),
        "replay_lsn": Lsn = lsn(row.progress.replayed),
        "sent_bytes": Int8 = bytes(lag.sent),
        "write_bytes": Int8 = bytes(lag.written),
        "flush_bytes": Int8 = bytes(lag.flushed),
        "replay_bytes": Int8 = bytes(lag.replayed),
        "sent_seconds": Float8 = seconds(lag.sent.age),
        "write_seconds": Float8 = seconds(lag.written.age),
        "flush_seconds": Float8 = seconds(lag.flushed.age),
        "replay_seconds": Float8 = seconds(lag.replayed.age),
        "silent_seconds": Float8 = seconds(lag.silent),
        "slowest": Text = text(lag.slowest()),
        "replay_rate": Float8 = float(row.replay_rate),
        "catch_up_seconds": Float8 = row.catch_up.map_or(Datum::Null, seconds),
        "copying": Bool = Datum::Bool(row.copying),
    }
}];
