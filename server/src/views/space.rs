//! plimsoll_horizon: what keeps old versions. pg_stat_bgwriter: who writes pages.

use super::Asked;
use super::{View, text};
use sql::{NodeRows, SettingActor};
use sql_types::{Datum, TypeId};
use std::sync::atomic::Ordering;
use wal::{Lsn, Xid};

pub(super) static VIEWS: &[View] = &[
    View {
        name: "plimsoll_horizon",
        oid: 9_950,
        columns: &[
            // snapshot, standby, slot, large transaction, aborted, unconfirmed, none
            ("holder", TypeId::Text),
            ("pid", TypeId::Int4),
            ("name", TypeId::Text),
            // Versions that this xid's snapshot needs are kept.
            ("xid", TypeId::Int8),
            ("lsn", TypeId::Lsn),
            ("since", TypeId::Timestamptz),
            // Transactions begun since.
            ("age", TypeId::Int8),
            // Nobody holds back more than this one.
            ("is_oldest", TypeId::Bool),
        ],
        rows: horizon,
    },
    View {
        name: "pg_stat_bgwriter",
        oid: 12_258,
        columns: &[
            ("checkpoints_timed", TypeId::Int8),
            ("checkpoints_req", TypeId::Int8),
            ("checkpoint_write_time", TypeId::Float8),
            ("checkpoint_sync_time", TypeId::Float8),
            ("buffers_checkpoint", TypeId::Int8),
            ("buffers_clean", TypeId::Int8),
            ("maxwritten_clean", TypeId::Int8),
            ("buffers_backend", TypeId::Int8),
            ("buffers_backend_fsync", TypeId::Int8),
            ("buffers_alloc", TypeId::Int8),
            ("stats_reset", TypeId::Timestamptz),
        ],
        rows: background_writer,
    },
];

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
fn horizon(asked: &Asked<'_>, actor: SettingActor) -> sql::Result<NodeRows> {
    let node = asked.node();
    let Some(database) = node.database() else { return Ok(Vec::new()) };
    let own = asked.handle();
    let report = database.horizon_report();
    let mut holders = Vec::new();
    for session in node.sessions.list() {
        let Some((xid, lsn)) = session.snapshot() else { continue };
        let visible = actor.superuser || session.user == own.user;
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
    if let Some(replication) = node.replication() {
        for row in replication.senders.rows(database.visible(), node.ground.host.clock.now()) {
            if let Some(xid) = row.xmin {
                let (pid, name) = (Some(row.info.pid), Some(row.info.application_name.to_string()));
                holders.push(Holder { pid, name, ..Holder::new("standby", xid) });
            }
        }
        for slot in replication.slots.list() {
            if let Some(xid) = slot.xmin {
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
    let oldest = holders.first().map(|holder| holder.xid);
    let next = database.next_xid();
    let number = |value: u64| Datum::Int8(i64::try_from(value).unwrap_or(i64::MAX));
    let row = |holder: Holder| {
        vec![
            text(Some(holder.kind)),
            holder.pid.map_or(Datum::Null, Datum::Int4),
            text(holder.name),
            number(holder.xid.get()),
            holder.lsn.map_or(Datum::Null, |lsn| Datum::Lsn(lsn.get())),
            holder.since.map_or(Datum::Null, Datum::Timestamptz),
            number(next.get().saturating_sub(holder.xid.get())),
            Datum::Bool(Some(holder.xid) == oldest),
        ]
    };
    Ok(holders.into_iter().map(row).collect())
}

fn background_writer(asked: &Asked<'_>, _: SettingActor) -> sql::Result<NodeRows> {
    let node = asked.node();
    let pages = node.database().map(|database| database.store().counters()).unwrap_or_default();
    let number = |value: u64| Datum::Int8(i64::try_from(value).unwrap_or(i64::MAX));
    let checkpoints = node.database().map(|database| database.checkpoint_counts()).unwrap_or_default();
    let by_log = node.checkpoints_by_log.load(Ordering::Relaxed);
    let millis = |time: std::time::Duration| Datum::Float8(time.as_secs_f64() * 1000.0);
    Ok(vec![vec![
        number(checkpoints.paced.saturating_sub(by_log)),
        number(checkpoints.immediate + by_log),
        millis(checkpoints.write_time),
        millis(checkpoints.sync_time),
        number(pages.checkpoint_writes),
        number(pages.background_writes),
        number(pages.background_stops),
        number(pages.writes.saturating_sub(pages.checkpoint_writes + pages.background_writes)),
        number(0),
        number(pages.taken),
        Datum::Timestamptz(node.started.micros()),
    ]])
}
