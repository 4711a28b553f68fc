//! How much log there is between two checkpoints, how a paced one keeps up with it, and how many old segments
//! are kept for later: PostgreSQL's rules, as the manual's chapter "WAL Configuration" has them.
//!
//! A checkpoint begins early enough to end before the log has grown by max_wal_size. Old segments are renamed
//! for later use for as much log as the next round is expected to take, at least min_wal_size and at most
//! max_wal_size counted from the redo point; what is beyond that is removed. The expectation rises at once
//! with a round that took more and falls by a tenth of the difference.

use std::time::Duration;
use wal::{Lsn, SegmentNumber, SegmentSize};

/// The least rest that is worth it.
const REST_MIN: Duration = Duration::from_millis(5);
/// How long one rest of a paced checkpoint lasts at most, so that it hears of haste.
const REST_MAX: Duration = Duration::from_millis(50);

/// The settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WalSizes {
    /// min_wal_size in bytes.
    pub min_bytes: u64,
    /// max_wal_size in bytes.
    pub max_bytes: u64,
    /// checkpoint_completion_target, 0 to 1.
    pub completion_target: f64,
    /// wal_recycle: whether old segments are renamed for later use, or all removed.
    pub recycle: bool,
}

impl Default for WalSizes {
    fn default() -> Self {
        Self { min_bytes: 80 << 20, max_bytes: 1 << 30, completion_target: 0.9, recycle: true }
    }
}

impl WalSizes {
    /// Bytes of log after a redo point with which the next checkpoint is due.
    pub fn round_bytes(&self) -> u64 {
        (self.max_bytes as f64 / (1.0 + self.completion_target)) as u64
    }

    /// How long a checkpoint that is to be spread over `over` rests before its next page: `done` of its pages
    /// are written (0 to 1), `elapsed` after it began, and the log has grown by `grown_bytes` meanwhile. It
    /// keeps up with the faster of time and log.
    pub(crate) fn rest(&self, over: Duration, done: f64, elapsed: Duration, grown_bytes: u64) -> Duration {
        let done = done.clamp(0.0, 1.0);
        let log_allows = self.round_bytes() as f64 * self.completion_target * done;
        let ahead = over.mul_f64(done).saturating_sub(elapsed);
        // One rest a page, as in PostgreSQL: few pages are not stretched over the whole time.
        if ahead < REST_MIN || grown_bytes as f64 > log_allows { Duration::ZERO } else { ahead.min(REST_MAX) }
    }
}

/// How much log the next round is expected to take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RoundEstimate {
    bytes: f64,
}

impl RoundEstimate {
    /// Takes in what a round took.
    pub(crate) fn note(&mut self, bytes: u64) {
        let bytes = bytes as f64;
        self.bytes = if self.bytes < bytes { bytes } else { 0.9 * self.bytes + 0.1 * bytes };
    }

    /// The first segment that is not kept for later when the log is needed from `redo` on.
    pub(crate) fn recycle_before(&self, redo: Lsn, sizes: &WalSizes, size: SegmentSize) -> SegmentNumber {
        if !sizes.recycle {
            return SegmentNumber::new(0);
        }
        let first = size.segment_of(redo).get();
        let segments = |bytes: u64| bytes / size.bytes();
        // What is written while the next checkpoint runs counts too, and a little more for good measure.
        let expected = self.bytes * (1.0 + sizes.completion_target) * 1.1;
        let upto = ((redo.get() as f64 + expected) / size.bytes() as f64).ceil() as u64 + 1;
        let least = first + segments(sizes.min_bytes);
        SegmentNumber::new(upto.clamp(least, least.max(first + segments(sizes.max_bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;
    const SIZE: SegmentSize = SegmentSize::DEFAULT;

    fn sizes() -> WalSizes {
        WalSizes { min_bytes: 80 * MB, max_bytes: 1024 * MB, completion_target: 0.9, recycle: true }
    }

    /// Segments kept from the redo point's on, after rounds that took so many megabytes.
    fn kept_after(rounds_mb: &[u64], sizes: &WalSizes) -> u64 {
        let mut estimate = RoundEstimate::default();
        rounds_mb.iter().for_each(|mb| estimate.note(mb * MB));
        let redo = SIZE.start_of(SegmentNumber::new(100)) + 1000;
        estimate.recycle_before(redo, sizes, SIZE).get().saturating_sub(100)
    }

    #[test]
    fn segments_are_kept_for_the_expected_round_within_min_and_max_wal_size() {
        // 80 MB are five segments, 1 GB 64.
        assert_eq!(kept_after(&[], &sizes()), 5);
        assert_eq!(kept_after(&[1], &sizes()), 5);
        // 100 MB x 1.9 x 1.1 are 209 MB: up to the 14th segment behind the redo point's own begin.
        assert_eq!(kept_after(&[100], &sizes()), 15);
        assert_eq!(kept_after(&[5000], &sizes()), 64);
        let equal = WalSizes { min_bytes: 1024 * MB, ..sizes() };
        assert_eq!(kept_after(&[], &equal), 64);
        assert_eq!(kept_after(&[100], &WalSizes { recycle: false, ..sizes() }), 0);
    }

    #[test]
    fn the_expectation_rises_at_once_and_falls_slowly() {
        let peak = kept_after(&[1, 200], &sizes());
        assert_eq!(peak, kept_after(&[200], &sizes()));
        let later = kept_after(&[200, 0], &sizes());
        assert!(later < peak && later > peak * 8 / 10, "{later} after {peak}");
        let quiet: Vec<u64> = std::iter::once(200).chain(std::iter::repeat_n(0, 40)).collect();
        assert_eq!(kept_after(&quiet, &sizes()), 5, "min_wal_size stays for good");
    }

    #[test]
    fn a_checkpoint_is_due_so_early_that_it_ends_within_max_wal_size() {
        let due = sizes().round_bytes();
        let written_meanwhile = due as f64 * 0.9;
        assert!(due as f64 + written_meanwhile <= 1024.0 * MB as f64);
        assert_eq!(WalSizes { completion_target: 0.0, ..sizes() }.round_bytes(), 1024 * MB);
    }

    #[test]
    fn a_paced_checkpoint_keeps_up_with_the_faster_of_time_and_log() {
        let over = Duration::from_secs(100);
        let rest = |done, elapsed_s, grown_mb| {
            sizes().rest(over, done, Duration::from_secs(elapsed_s), grown_mb * MB)
        };
        assert_eq!(rest(0.5, 10, 0), REST_MAX, "ahead of both");
        assert_eq!(rest(0.5, 50, 0), Duration::ZERO, "time has caught up");
        // Of the 539 MB that are left for its own time, half the pages allow half of 0.9 of them: 242 MB.
        assert_eq!(rest(0.5, 10, 240), REST_MAX);
        assert_eq!(rest(0.5, 10, 245), Duration::ZERO, "the log has caught up");
        assert_eq!(sizes().rest(Duration::ZERO, 0.5, Duration::ZERO, 0), Duration::ZERO);
    }
}
