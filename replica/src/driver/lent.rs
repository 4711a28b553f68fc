//! Segment files that are read in place, which must not be renamed and written over.

use host::Mutex;
use std::collections::BTreeSet;
use wal::{SegmentFate, SegmentFile, SegmentNumber};

/// Which segments were lent out. A segment once lent is never reused, since what was sent from it may still wait in a socket, by
/// reference; it is removed instead, and the bytes go with the last reader.
#[derive(Debug, Default)]
pub(super) struct Lent(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    lent: BTreeSet<SegmentFile>,
    /// Of segments before this one, some that nobody had may be written over by now.
    reused_before: SegmentNumber,
}

impl Default for Kept {
    fn default() -> Self {
        Self { lent: BTreeSet::new(), reused_before: SegmentNumber::new(0) }
    }
}

impl Lent {
    /// Whether this file may be read in place, from now on.
    pub(super) fn lend(&self, file: SegmentFile) -> bool {
        let mut kept = self.0.lock();
        let may = file.segment >= kept.reused_before || kept.lent.contains(&file);
        if may {
            kept.lent.insert(file);
        }
        may
    }

    /// What may become of a file that is not needed any more.
    pub(super) fn fate(&self, file: SegmentFile) -> SegmentFate {
        let mut kept = self.0.lock();
        if kept.lent.contains(&file) {
            return SegmentFate::Removed;
        }
        kept.reused_before = kept.reused_before.max(file.segment.next());
        SegmentFate::Reusable
    }

    /// The files of segments before this one are gone.
    pub(super) fn forget_before(&self, segment: SegmentNumber) {
        self.0.lock().lent.retain(|file| file.segment >= segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::TimelineId;

    fn file(segment: u64) -> SegmentFile {
        SegmentFile { segment: SegmentNumber::new(segment), timeline: TimelineId::FIRST }
    }

    #[test]
    fn what_was_lent_is_not_reused_and_what_may_be_reused_is_not_lent() {
        let lent = Lent::default();
        assert!(lent.lend(file(3)));
        assert_eq!(lent.fate(file(2)), SegmentFate::Reusable);
        assert!(!lent.lend(file(2)), "it may have another name by now");
        assert!(lent.lend(file(3)), "another stream reads it too");
        assert_eq!(lent.fate(file(3)), SegmentFate::Removed);
        assert_eq!(lent.fate(file(4)), SegmentFate::Reusable);
        assert!(!lent.lend(file(4)) && lent.lend(file(5)));
        lent.forget_before(SegmentNumber::new(5));
        assert_eq!((lent.fate(file(3)), lent.fate(file(5))), (SegmentFate::Reusable, SegmentFate::Removed));
    }
}
