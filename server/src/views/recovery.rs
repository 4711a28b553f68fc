//! plimsoll_stat_recovery: how redo goes, or went at the start. pg_stat_recovery_prefetch: pages read ahead
//! of it.

use super::control::database;
use super::{View, count, lsn, time};
use sql_types::Datum;

pub(super) static VIEWS: &[View] = &[
    view! {
        "plimsoll_stat_recovery", 15_009,
        "How redo goes on a standby, or went at this server's start; one row.",
        rows |asked, _actor| {
            let database = database(asked)?;
            database.recovery_statistics().map(|redo| {
                // On a primary redo is over: all that was there is redone.
                let here = asked.recovery().and(asked.replication).map(|replication| replication.log.flushed());
                let available = here.map_or(redo.at, |here| here.max(redo.at));
                (redo, available, database.last_redone_commit())
            })
        },
        each |(redo, available, last_commit)| [] {
            "redo_start_lsn": Lsn = lsn(redo.from),
            "replay_lsn": Lsn = lsn(redo.at),
            "available_lsn": Lsn = lsn(available),
            "records": Int8 = count(redo.records),
            "redo_seconds": Float8 = Datum::Float8(redo.elapsed.as_secs_f64()),
            "last_commit_time": Timestamptz = time(last_commit),
        }
    },
    view! {
        "pg_stat_recovery_prefetch", 12_240,
        "Pages that redo had read ahead; one row.",
        rows |asked, _actor| {
            let started = asked.started;
            database(asked)?.recovery_statistics().map(|redo| (redo, started))
        },
        each |(redo, started)| [] {
            "stats_reset": Timestamptz = time(Some(started)),
            "prefetch": Int8 = count(redo.prefetched),
            "hit": Int8 = count(redo.hit),
            "skip_init": Int8 = count(redo.skip_init),
            "skip_new": Int8 = count(redo.skip_new),
            "skip_fpw": Int8 = count(redo.skip_fpw),
            "skip_rep": Int8 = count(redo.skip_rep),
            // How far the reader is ahead at this moment is not counted here.
            "wal_distance": Int4 = Datum::Null,
            "block_distance": Int4 = Datum::Null,
            "io_depth": Int4 = Datum::Null,
        }
    },
];
