//! plimsoll_replication_slots: what pg_replication_slots has no column for. What a slot costs, when it will
//! be lost, whose copy it is.

use super::replication::ready;
use super::{View, count, float, lsn, number, text};
use replica::slots::SlotView;
use sql_types::Datum;
use std::time::Duration;

pub(super) static VIEWS: &[View] = &[view! {
    "plimsoll_replication_slots", 15_010,
    "What each slot costs, when it will be lost and by which setting, and whose copy it is; a row a slot.",
    rows |asked, _actor| {
        let (ground, replication) = (asked.ground, ready(asked)?);
        let (limits, now) = (replication.limits(), ground.host.clock.monotonic());
        let idle_limit = ground.config().idle_replication_slot_timeout;
        let forecast = move |slot: SlotView| {
            let lost = forecast(&slot, &limits, idle_limit, now);
            (slot, lost, limits, now)
        };
        replication.slots.list().into_iter().map(forecast)
    },
    each |(slot, lost, limits, now)| [
        let idle = slot.idle_since.map(|since| now.saturating_sub(since).as_secs_f64());
        let retained = slot.restart.is_valid().then(|| limits.end.bytes_since(slot.restart));
    ] {
        "slot_name": Name = Datum::text(slot.name.as_str()),
        "copied": Bool = Datum::Bool(slot.copied),
        "active_pid": Int4 = number(slot.active_pid),
        "idle_seconds": Float8 = float(idle),
        "restart_lsn": Lsn = lsn(slot.restart),
        "retained_bytes": Int8 = retained.map_or(Datum::Null, count),
        "wal_status": Text = text(slot.wal_status(&limits).map(|status| status.name())),
        "safe_wal_size": Int8 = slot.safe_wal_size(&limits).map_or(Datum::Null, Datum::Int8),
        "falls_behind_rate": Float8 = float(slot.falls_behind.filter(|_| slot.restart.is_valid())),
        "lost_in_seconds": Float8 = float(lost.map(|(left, _)| left.as_secs_f64())),
        "lost_by": Text = text(lost.map(|(_, setting)| setting)),
        "lost_at_lsn": Lsn = lsn(slot.invalidated_at),
    }
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
