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
    rows |asked, actor| {
        let replication = ready(asked)?;
        let end = replication.log.flushed();
        let rows = replication.sender_rows(end).into_iter();
        rows.map(move |row| {
            let seen = actor.reads_statistics || asked.acts_for(actor, row.info.user_oid);
            (row, end, seen)
        })
    },
    each |(row, end, seen)| [
        let lag = row.lag;
        // As in pg_stat_replication: others than pg_read_all_stats and the standby's own role see that it is.
        let shown = |value: Datum| if seen { value } else { Datum::Null };
    ] {
        "application_name": Text = shown(Datum::text(row.info.application_name.as_str())),
        "pid": Int4 = Datum::Int4(row.info.pid),
        "state": Text = shown(Datum::text(row.state.name())),
        "sync_state": Text = shown(Datum::text(row.sync_state.name())),
        "current_lsn": Lsn = shown(lsn(end)),
        "sent_lsn": Lsn = shown(lsn(row.sent)),
        "write_lsn": Lsn = shown(lsn(row.progress.written)),
        "flush_lsn": Lsn = shown(lsn(row.progress.flushed)),
        "replay_lsn": Lsn = shown(lsn(row.progress.replayed)),
        "sent_bytes": Int8 = shown(bytes(lag.sent)),
        "write_bytes": Int8 = shown(bytes(lag.written)),
        "flush_bytes": Int8 = shown(bytes(lag.flushed)),
        "replay_bytes": Int8 = shown(bytes(lag.replayed)),
        "sent_seconds": Float8 = shown(seconds(lag.sent.age)),
        "write_seconds": Float8 = shown(seconds(lag.written.age)),
        "flush_seconds": Float8 = shown(seconds(lag.flushed.age)),
        "replay_seconds": Float8 = shown(seconds(lag.replayed.age)),
        "silent_seconds": Float8 = shown(seconds(lag.silent)),
        "slowest": Text = shown(text(lag.slowest())),
        "replay_rate": Float8 = shown(float(row.replay_rate)),
        "catch_up_seconds": Float8 = shown(row.catch_up.map_or(Datum::Null, seconds)),
        "copying": Bool = shown(Datum::Bool(row.copying)),
    }
}];
