//! Segment files that are read in place, which must not be renamed and written over.

use host::Mutex;
use std::collections::BTreeSet;
use wal::{SegmentFate, SegmentFile, SegmentNumber};

/// Which segments were. One is never reused from then on, since what was sent from it may still wait in a
/// socket, by reference; it is removed instead, and the bytes go with the last reader.
#[derive(Debug, Default)]
pub(super) struct SentInPlace(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    files: BTreeSet<SegmentFile>,
    /// Of segments before this one, some that nobody had may be written over by now.
    reused_before: SegmentNumber,
}

impl Default for Kept {
    fn default() -> Self {
        Self { files: BTreeSet::new(), reused_before: SegmentNumber::new(0) }
    }
}

impl SentInPlace {
    /// Whether this file may be read in place, from now on.
    pub(super) fn permit(&self, file: SegmentFile) -> bool {
        let mut kept = self.0.lock();
        let may = file.segment >= kept.reused_before || kept.files.contains(&file);
        if may {
            kept.files.insert(file);
        }
        may
    }

    /// What may become of a file that is not needed any more.
    pub(super) fn fate(&self, file: SegmentFile) -> SegmentFate {
        let mut kept = self.0.lock();
        if kept.files.contains(&file) {
            return SegmentFate::Removed;
        }
        kept.reused_before = kept.reused_before.max(file.segment.next());
        SegmentFate::Reusable
    }

    /// The files of segments before this one are gone.
    pub(super) fn forget_before(&self, segment: SegmentNumber) {
        self.0.lock().files.retain(|file| file.segment >= segment);
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
    fn what_is_sent_in_place_is_not_reused_and_what_may_be_reused_is_not_sent_in_place() {
        let in_place = SentInPlace::default();
        assert!(in_place.permit(file(3)));
        assert_eq!(in_place.fate(file(2)), SegmentFate::Reusable);
        assert!(!in_place.permit(file(2)), "it may have another name by now");
        assert!(in_place.permit(file(3)), "another stream reads it too");
        assert_eq!(in_place.fate(file(3)), SegmentFate::Removed);
        assert_eq!(in_place.fate(file(4)), SegmentFate::Reusable);
        assert!(!in_place.permit(file(4)) && in_place.permit(file(5)));
        in_place.forget_before(SegmentNumber::new(5));
        assert_eq!(
            (in_place.fate(file(3)), in_place.fate(file(5))),
            (SegmentFate::Reusable, SegmentFate::Removed)
        );
    }
}
