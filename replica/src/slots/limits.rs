//! How much WAL is kept, and what that means for a slot (KeepLogSeg and GetWALAvailability of PostgreSQL).

use super::{Slots, oldest_of};
use std::sync::atomic::Ordering;
use wal::{Lsn, SegmentNumber, SegmentSize};

/// The settings and positions that say which WAL is kept.
#[derive(Clone, Copy, Debug)]
pub struct WalLimits {
    /// Bytes of a segment.
    pub segment_size: SegmentSize,
    /// The end of the log: flushed on a primary, received on a standby.
    pub end: Lsn,
    /// The newest segment that was removed; None if none was.
    pub last_removed: Option<SegmentNumber>,
    /// max_wal_size.
    pub max_wal_size_bytes: u64,
    /// wal_keep_size.
    pub wal_keep_size_bytes: u64,
    /// max_slot_wal_keep_size; None is no limit.
    pub max_slot_wal_keep_size_bytes: Option<u64>,
}

/// wal_status of pg_replication_slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalStatus {
    /// Within max_wal_size.
    Reserved,
    /// Beyond that, but kept.
    Extended,
    /// No longer kept: the next checkpoint may remove it.
    Unreserved,
    /// Gone.
    Lost,
}

impl WalStatus {
    /// The word in pg_replication_slots.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Extended => "extended",
            Self::Unreserved => "unreserved",
            Self::Lost => "lost",
        }
    }
}

impl WalLimits {
    fn segments(&self, bytes: u64) -> u64 {
        bytes / self.segment_size.bytes()
    }

    /// The oldest segment to keep, given that recovery needs `redo` and the slots `oldest_slot`: segments
    /// before it may be recycled.
    pub fn keep_from(&self, redo: Lsn, oldest_slot: Option<Lsn>) -> SegmentNumber {
        let recovery = self.segment_size.segment_of(redo).get();
        SegmentNumber::new(recovery.min(self.kept_for_others(oldest_slot)))
    }

    /// The oldest segment that slots and wal_keep_size ask for.
    fn kept_for_others(&self, oldest_slot: Option<Lsn>) -> u64 {
        let current = self.segment_size.segment_of(self.end).get();
        let mut keep = current;
        if let Some(oldest) = oldest_slot.filter(|lsn| lsn.is_valid()) {
            keep = keep.min(self.segment_size.segment_of(oldest).get());
            if let Some(limit) = self.max_slot_wal_keep_size_bytes {
                keep = keep.max(current.saturating_sub(self.segments(limit)));
            }
        }
        keep.min(current.saturating_sub(self.segments(self.wal_keep_size_bytes)))
    }

    /// wal_status of a slot that stands at `restart`.
    pub fn status(&self, restart: Lsn) -> WalStatus {
        let target = self.segment_size.segment_of(restart).get();
        let current = self.segment_size.segment_of(self.end).get();
        let oldest_there = self.last_removed.map_or(0, |segment| segment.next().get());
        let within_max_wal_size = current.saturating_sub(self.segments(self.max_wal_size_bytes) + 1);
        if target >= self.kept_for_others(Some(restart)) {
            if target >= within_max_wal_size { WalStatus::Reserved } else { WalStatus::Extended }
        } else if target >= oldest_there {
            WalStatus::Unreserved
        } else {
            WalStatus::Lost
        }
    }

    /// safe_wal_size: bytes that can still be written before the slot may lose WAL; None without a limit.
    pub fn safe_bytes(&self, restart: Lsn) -> Option<i64> {
        let limit = self.max_slot_wal_keep_size_bytes?;
        let keep = self.segments(limit).max(self.segments(self.wal_keep_size_bytes));
        let fails = self.segment_size.segment_of(restart).get().saturating_add(keep).saturating_add(1);
        let fails_at = self.segment_size.start_of(SegmentNumber::new(fails)).get();
        i64::try_from(i128::from(fails_at) - i128::from(self.end.get())).ok()
    }
}

impl Slots {
    /// Whether WAL before `end` may go, asked right before that: a slot may have moved back to it, or
    /// reserved it again, since the checkpoint asked what is needed. If it goes, no slot reserves it from now
    /// on.
    pub fn let_go(&self, end: Lsn) -> bool {
        let table = self.0.table.lock();
        let goes = oldest_of(&table).is_none_or(|oldest| oldest >= end);
        if goes {
            self.0.gone_before.fetch_max(end.get(), Ordering::Relaxed);
        }
        goes
    }

    /// Whether WAL from `at` on has gone, or goes. For a caller that has locked the table.
    pub(super) fn has_let_go(&self, at: Lsn) -> bool {
        at.get() < self.0.gone_before.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    fn limits(end_mb: u64) -> WalLimits {
        WalLimits {
            segment_size: SegmentSize::new(MB).unwrap(),
            end: Lsn::new(end_mb * MB + 5),
            last_removed: None,
            max_wal_size_bytes: 10 * MB,
            wal_keep_size_bytes: 0,
            max_slot_wal_keep_size_bytes: None,
        }
    }
    fn at(mb: u64) -> Lsn {
        Lsn::new(mb * MB + 1)
    }

    #[test]
    fn the_oldest_need_decides_what_is_kept() {
        let l = limits(100);
        assert_eq!(l.keep_from(at(90), None).get(), 90);
        assert_eq!(l.keep_from(at(90), Some(at(40))).get(), 40);
        assert_eq!(l.keep_from(at(90), Some(Lsn::INVALID)).get(), 90);
        let keep = WalLimits { wal_keep_size_bytes: 30 * MB, ..l };
        assert_eq!(keep.keep_from(at(90), Some(at(80))).get(), 70);
        let limited = WalLimits { max_slot_wal_keep_size_bytes: Some(20 * MB), ..l };
        assert_eq!(limited.keep_from(at(90), Some(at(40))).get(), 80);
        assert_eq!(limited.keep_from(at(50), Some(at(40))).get(), 50, "recovery's need has no limit");
    }

    #[test]
    fn a_slot_goes_from_reserved_to_lost_as_it_falls_behind() {
        let limited = WalLimits {
            max_slot_wal_keep_size_bytes: Some(30 * MB),
            last_removed: Some(SegmentNumber::new(59)),
            ..limits(100)
        };
        for (position, status) in
            [(89, WalStatus::Reserved), (88, WalStatus::Extended), (70, WalStatus::Extended)]
        {
            assert_eq!(limited.status(at(position)), status, "{position}");
        }
        assert_eq!(limited.status(at(69)), WalStatus::Unreserved);
        assert_eq!(limited.status(at(60)), WalStatus::Unreserved);
        assert_eq!(limited.status(at(59)), WalStatus::Lost);
        assert_eq!(limited.safe_bytes(at(80)), Some((111 - 100) * MB as i64 - 5));
        assert_eq!(limits(100).safe_bytes(at(80)), None);
    }
}
