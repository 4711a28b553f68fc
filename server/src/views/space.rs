//! plimsoll_horizon: what keeps old versions. pg_stat_bgwriter: who writes pages.

use super::{Asked, View, count, number, text, time};
use sql_interface::SettingActor;
use sql_types::Datum;
use std::sync::atomic::Ordering;
use wal::{Lsn, Xid};

pub(super) static VIEWS: &[View] = &[
    view! {
        "plimsoll_horizon", 9_950, "Who keeps old versions of rows from being removed, the oldest first.",
        rows |asked, actor| {
            let holders = holders(asked, actor);
            let oldest = holders.first().map(|holder| holder.xid);
            let next = asked.database().map(|database| database.next_xid());
            holders.into_iter().map(move |holder| (holder, oldest, next))
        },
        each |(holder, oldest, next)| [
            // Transactions begun since.
            let age = next.map_or(0, |next| next.get().saturating_sub(holder.xid.get()));
        ] {
            // snapshot, standby, slot, large transaction, aborted, unconfirmed, none
            "holder": Text = Datum::text(holder.kind),
            "pid": Int4 = number(holder.pid),
            "name": Text = text(holder.name),
            // Versions that this xid's snapshot needs are kept.
            "xid": Int8 = count(holder.xid.get()),
            "lsn": Lsn = holder.lsn.map_or(Datum::Null, |at| Datum::Lsn(at.get())),
            "since": Timestamptz = holder.since.map_or(Datum::Null, Datum::Timestamptz),
            "age": Int8 = count(age),
            // Nobody holds back more than this one.
            "is_oldest": Bool = Datum::Bool(Some(holder.xid) == oldest),
        }
    },
    view! {
        "pg_stat_bgwriter", 12_258, "Checkpoints, and who wrote pages, since the server's start; one row. `buffers_backend_fsync` is always 0.",
        rows |asked, _actor| {
            let database = asked.database();
            let pages = database.map(|database| database.store().counters()).unwrap_or_default();
            let checkpoints = database.map(|database| database.checkpoint_counts()).unwrap_or_default();
            let by_log = asked.checkpoints_by_log.load(Ordering::Relaxed);
            [(pages, checkpoints, by_log, asked.started)]
        },
        each |(pages, checkpoints, by_log, started)| [
            let by_others = pages.checkpoint_writes + pages.background_writes;
        ] {
            "checkpoints_timed": Int8 = count(checkpoints.paced.saturating_sub(by_log)),
            "checkpoints_req": Int8 = count(checkpoints.immediate + by_log),
            "checkpoint_write_time": Float8 = milliseconds(checkpoints.write_time),
            "checkpoint_sync_time": Float8 = milliseconds(checkpoints.sync_time),
            "buffers_checkpoint": Int8 = count(pages.checkpoint_writes),
            "buffers_clean": Int8 = count(pages.background_writes),
            "maxwritten_clean": Int8 = count(pages.background_stops),
            "buffers_backend": Int8 = count(pages.writes.saturating_sub(by_others)),
            "buffers_backend_fsync": Int8 = count(0),
            "buffers_alloc": Int8 = count(pages.taken),
            "stats_reset": Timestamptz = time(Some(started)),
        }
    },
];

fn milliseconds(time: std::time::Duration) -> Datum {
    Datum::Float8(time.as_secs_f64() * 1000.0)
}

/// One that keeps old versions.
struct Holder {
    kind: &'static str,
    pid: Option<i32>,
    name: Option<String>,
    xid: Xid,
    lsn: Option<Lsn>,
    since: Option<i64>,
}

impl Holder {
    fn new(kind: &'static str, xid: Xid) -> Self {
        Self { kind, pid: None, name: None, xid, lsn: None, since: None }
    }
}

/// All who hold the horizon back, the oldest first; if nobody does, what is visible does.
fn holders(asked: &Asked<'_>, actor: SettingActor) -> Vec<Holder> {
    let Some(database) = asked.database() else { return Vec::new() };
    let report = database.horizon_report();
    let mut holders = Vec::new();
    for session in asked.sessions.list() {
        let Some((xid, lsn)) = session.snapshot() else { continue };
        let visible =
            actor.reads_statistics || asked.acts_for(actor, session.role_oid.load(Ordering::Relaxed));
        let since = session.transaction_started.load(Ordering::Relaxed);
        holders.push(Holder {
            pid: Some(session.key.pid),
            name: visible.then(|| session.application.lock().to_string()),
            lsn: Some(lsn),
            since: (since != 0).then_some(since),
            ..Holder::new("snapshot", xid)
        });
    }
    if let Some(oldest) = report.oldest_snapshot
        && holders.iter().all(|holder| holder.xid > oldest)
    {
        // A portal's, or one of the server's own.
        holders.push(Holder::new("snapshot", oldest));
    }
    if let Some(replication) = asked.replication {
        for row in replication.sender_rows(database.visible()) {
            if let Some(xid) = row.xmin {
                let visible = actor.reads_statistics || asked.acts_for(actor, row.info.user_oid);
                let name = visible.then(|| row.info.application_name.to_string());
                let pid = Some(row.info.pid);
                holders.push(Holder { pid, name, ..Holder::new("standby", xid) });
            }
        }
        for slot in replication.slots.list() {
            // Nobody comes back for what a lost one needed.
            if let Some(xid) = slot.xmin.filter(|_| !slot.invalidated_at.is_valid()) {
                holders.push(Holder { name: Some(slot.name.to_string()), ..Holder::new("slot", xid) });
            }
        }
    }
    holders.extend(report.open.iter().map(|xid| Holder::new("large transaction", *xid)));
    holders.extend(report.aborted.iter().map(|xid| Holder::new("aborted", *xid)));
    if let Some(xid) = report.in_doubt {
        holders.push(Holder { lsn: Some(report.visible), ..Holder::new("unconfirmed", xid) });
    }
    if holders.is_empty() {
        holders.push(Holder { lsn: Some(report.visible), ..Holder::new("none", report.visible_xid) });
    }
    holders.sort_by_key(|holder| holder.xid);
    holders
}
