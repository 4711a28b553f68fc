//! plimsoll_replication_slots: what pg_replication_slots has no column for. What a slot costs, when it will be lost, whose copy it is.

use super::Asked;
use super::View;
use super::control::lsn;
use super::replication::ready;
use replica::slots::SlotView;
use sql::{NodeRows, SettingActor};
use sql_types::{Datum, TypeId};
use std::time::Duration;

pub(super) static VIEWS: &[View] = &[View {
    name: "plimsoll_replication_slots",
    oid: 15_010,
    columns: &[
        ("slot_name", TypeId::Name),
        ("copied", TypeId::Bool),
        ("active_pid", TypeId::Int4),
        ("idle_seconds", TypeId::Float8),
        ("restart_lsn", TypeId::Lsn),
        ("retained_bytes", TypeId::Int8),
        ("wal_status", TypeId::Text),
        ("safe_wal_size", TypeId::Int8),
        ("falls_behind_rate", TypeId::Float8),
        ("lost_in_seconds", TypeId::Float8),
        ("lost_by", TypeId::Text),
        ("lost_at_lsn", TypeId::Lsn),
    ],
    rows: slots,
}];

/// When a slot will be lost, and by which setting. None if never, as things go.
pub(crate) fn forecast(
    slot: &SlotView,
    limits: &replica::slots::WalLimits,
    idle_limit: Option<Duration>,
    now: Duration,
) -> Option<(Duration, &'static str)> {
    if !slot.restart.is_valid() {
        return None;
    }
    let by_size = slot.time_until_lost(limits).map(|left| (left, "max_slot_wal_keep_size"));
    let idle =
        slot.idle_since.filter(|_| !slot.copied && !slot.temporary).map(|since| now.saturating_sub(since));
    let by_idleness = idle_limit
        .zip(idle)
        .map(|(limit, idle)| (limit.saturating_sub(idle), "plimsoll.idle_replication_slot_timeout"));
    by_size.into_iter().chain(by_idleness).min_by_key(|(left, _)| *left)
}

fn slots(asked: &Asked<'_>, _: SettingActor) -> sql::Result<NodeRows> {
    let node = asked.node();
    let replication = ready(asked)?;
    let (limits, now) = (replication.limits(), node.ground.host.clock.monotonic());
    let idle_limit = node.ground.config().idle_replication_slot_timeout;
    let float = |value: Option<f64>| value.map_or(Datum::Null, Datum::Float8);
    let row = |slot: SlotView| {
        let idle = slot.idle_since.map(|since| now.saturating_sub(since).as_secs_f64());
        let retained = slot.restart.is_valid().then(|| limits.end.bytes_since(slot.restart));
        let lost = forecast(&slot, &limits, idle_limit, now);
        vec![
            Datum::text(slot.name.as_str()),
            Datum::Bool(slot.copied),
            slot.active_pid.map_or(Datum::Null, Datum::Int4),
            float(idle),
            lsn(slot.restart),
            retained.map_or(Datum::Null, |bytes| Datum::Int8(i64::try_from(bytes).unwrap_or(i64::MAX))),
            super::text(slot.wal_status(&limits).map(|status| status.name())),
            slot.safe_wal_size(&limits).map_or(Datum::Null, Datum::Int8),
            float(slot.falls_behind.filter(|_| slot.restart.is_valid())),
            float(lost.map(|(left, _)| left.as_secs_f64())),
            super::text(lost.map(|(_, setting)| setting)),
            lsn(slot.invalidated_at),
        ]
    };
    Ok(replication.slots.list().into_iter().map(row).collect())
}
