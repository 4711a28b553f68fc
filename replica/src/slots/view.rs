//! What pg_replication_slots shows of a slot.

use super::{WalLimits, WalStatus};
use crate::error::ReplicaError;
use std::time::Duration;
use wal::{Lsn, Xid};

/// Slots that have lost their claim to WAL.
#[derive(Debug, Default)]
pub struct GivenUp {
    /// As they were.
    pub slots: Vec<SlotView>,
    /// Why the files of some do not say so yet; the next save of the slots writes them.
    pub unwritten: Vec<ReplicaError>,
}

/// One row of pg_replication_slots.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotView {
    /// slot_name
    pub name: String,
    /// temporary
    pub temporary: bool,
    /// active_pid
    pub active_pid: Option<i32>,
    /// restart_lsn; INVALID for NULL
    pub restart: Lsn,
    /// Where it stood when it lost its WAL; INVALID if it has not.
    pub invalidated_at: Lsn,
    /// xmin
    pub xmin: Option<Xid>,
    /// It is the copy of a slot of the upstream.
    pub copied: bool,
    /// Since when nobody uses it, on the monotonic clock, in this run of the server; None while somebody
    /// does, and of a copy.
    pub idle_since: Option<Duration>,
    /// Bytes a second by which the log's end runs away from it; None while nothing is known.
    pub falls_behind: Option<f64>,
}

impl SlotView {
    /// wal_status; None while it reserves nothing.
    pub fn wal_status(&self, limits: &WalLimits) -> Option<WalStatus> {
        if self.invalidated_at.is_valid() {
            return Some(WalStatus::Lost);
        }
        self.restart.is_valid().then(|| limits.status(self.restart))
    }
    /// safe_wal_size
    pub fn safe_wal_size(&self, limits: &WalLimits) -> Option<i64> {
        let known = self.restart.is_valid() && self.wal_status(limits) != Some(WalStatus::Lost);
        known.then(|| limits.safe_bytes(self.restart)).flatten()
    }
    /// How long until the slot may lose its WAL to max_slot_wal_keep_size if it and the log go on as in the
    /// last minute. None if never, or if nothing is known yet.
    pub fn time_until_lost(&self, limits: &WalLimits) -> Option<Duration> {
        let left = self.safe_wal_size(limits)?;
        let Ok(left) = u64::try_from(left) else { return Some(Duration::ZERO) };
        let rate = self.falls_behind.filter(|rate| *rate > 0.0)?;
        Duration::try_from_secs_f64(left as f64 / rate).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::SegmentSize;

    #[test]
    fn only_a_slot_that_falls_behind_is_lost_in_time_and_one_that_is_over_the_limit_is_at_once() {
        let mut limits = WalLimits {
            segment_size: SegmentSize::new(1 << 20).unwrap(),
            end: Lsn::new(100 << 20),
            last_removed: None,
            max_wal_size_bytes: 10 << 20,
            wal_keep_size_bytes: 0,
            max_slot_wal_keep_size_bytes: Some(30 << 20),
        };
        let mut slot = SlotView {
            name: "s".to_owned(),
            temporary: false,
            active_pid: None,
            restart: Lsn::new(90 << 20),
            invalidated_at: Lsn::INVALID,
            xmin: None,
            copied: false,
            idle_since: None,
            falls_behind: Some(0.0),
        };
        let left = slot.safe_wal_size(&limits).unwrap();
        assert_eq!(slot.time_until_lost(&limits), None);
        slot.falls_behind = Some(left as f64 / 50.0);
        assert_eq!(slot.time_until_lost(&limits), Some(Duration::from_secs(50)));
        limits.end = Lsn::new(200 << 20);
        assert_eq!(slot.time_until_lost(&limits), Some(Duration::ZERO));
        limits.max_slot_wal_keep_size_bytes = None;
        assert_eq!(slot.time_until_lost(&limits), None, "nothing takes its WAL away");
    }
}
