//! What a primary that was replaced does not archive: its segments with log from behind the fork.
//!
//! A standby that takes such a segment from the archive would be past the fork, as if it had been sent that
//! log. The new timeline has the log before the fork in segments of its own, so the segment with the fork
//! need not go either. These segments stay in pg_wal, whether they are marked as waiting or not: a rewind
//! looks at them. Once this server is no replaced primary any more, the archiver goes on with what is there.

use super::archiver::Archiver;
use std::sync::atomic::Ordering;
use wal::{Live, LogState, Lsn, Replaced, SegmentNumber, SegmentSize};

/// Whether a file is a segment that has log from behind `fork`.
fn has_log_behind(fork: Lsn, name: &str, size: SegmentSize) -> bool {
    let segment = SegmentNumber::parse_file_name(name, size);
    segment.is_some_and(|(_, segment)| size.start_of(segment.next()) > fork)
}

impl Archiver {
    /// Whether a file has log that another timeline does not have which has replaced that of this log.
    pub(super) fn is_withheld(&self, log: &LogState, name: &str) -> bool {
        log.replaced.is_some_and(|Replaced { at, .. }| has_log_behind(at, name, self.size))
    }

    /// Whether this server was replaced by now: no segment that it ends is of use to the archive.
    pub(super) fn is_replaced(&self) -> bool {
        self.node_log.state().replaced.is_some()
    }

    /// Says once what is not archived.
    pub(super) fn tell_withheld(&self, log: &LogState) {
        let Some(Replaced { at, by }) = log.replaced else { return };
        let archives = self.archives(matches!(log.live, Live::Standby(_)));
        if !archives || self.withheld_told.swap(true, Ordering::Relaxed) {
            return;
        }
        let timeline = log.history.target();
        let first = self.size.segment_of(at).file_name(timeline, self.size);
        self.ground.log.log(format!(
            "write-ahead log segments from \"{first}\" on are not archived: \
             timeline {by}, which has replaced this server's timeline {timeline}, left it at {at}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segment_with_the_fork_and_those_behind_it_are_withheld_and_no_other_files() {
        let size = SegmentSize::new(1 << 20).unwrap();
        let withheld = |fork: u64, name: &str| has_log_behind(Lsn::new(fork), name, size);
        let [before, with, behind] = [2, 3, 4].map(|number| format!("00000001000000000000000{number}"));
        // The third segment begins at 0x300000.
        for fork in [0x30_0001, 0x3F_FFFF] {
            assert!(!withheld(fork, &before), "{fork:X}");
            assert!(withheld(fork, &with) && withheld(fork, &behind), "{fork:X}");
        }
        assert!(!withheld(0x30_0000, &before), "all of it is before the fork");
        assert!(withheld(0x30_0000, &with));
        for other in ["00000002.history", &format!("{with}.partial"), &format!("{with}.00000028.backup")] {
            assert!(!withheld(0x10_0000, other), "{other}");
        }
    }
}
