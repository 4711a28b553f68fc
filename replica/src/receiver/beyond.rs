//! A record that begins in a segment which the source has removed, and goes on in one that it has.
//!
//! Its first part came from an archive which the next segment has not reached, or was received before this
//! node ended in the middle of it. The stream begins with that segment first, so that the part is compared or
//! written anew. A source that has it no more is asked for the next one, and so on, as far as the record's
//! pages are here. Nobody vouches for these then: a power cut may have torn them. So nothing is reported,
//! counted or redone, and no slot moves, until the whole record was read. If it proves to be torn, all begins
//! anew: the archive or another source may have its beginning by then.

use super::{Receiver, ReceiverAction, State};
use crate::error::ReplicaError;
use std::time::Duration;
use wal::history::TimelineHistory;
use wal::{Lsn, SegmentNumber};

/// The segments that are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beyond {
    /// The record's start.
    start: Lsn,
    next: SegmentNumber,
    /// The record's pages are here up to this segment, exclusive.
    last: SegmentNumber,
}

impl Receiver {
    /// The pages of the record that starts at our end are here up to `upto`, exclusive, and it goes on there.
    pub fn set_begun(&mut self, start: Lsn, upto: Lsn) {
        let size = self.options.segment_size;
        let (next, last) = (size.segment_of(start).next(), size.segment_of(upto));
        self.beyond = (next <= last).then_some(Beyond { start, next, last });
    }

    /// Whether the stream is to begin with the rest of a record, since a source that `error` tells of has its
    /// beginning no more.
    pub(super) fn goes_beyond(&mut self, error: &ReplicaError, out: &mut Vec<ReceiverAction>) -> bool {
        let has_begun = matches!(self.state, State::Starting | State::Streaming);
        let Some(Beyond { start, next, last }) =
            self.beyond.filter(|_| has_begun && error.is_removed_segment())
        else {
            return false;
        };
        // Something of it may have come before that was removed, too.
        let size = self.options.segment_size;
        let next = next.max(size.segment_of(self.end.max(start + 1) - 1).next());
        let at = size.start_of(next);
        if next > last {
            self.beyond = None;
            return false;
        }
        self.beyond = (next < last).then_some(Beyond { start, next: next.next(), last });
        self.unproven = Some(start);
        (self.end, self.flushed) = (at, at);
        self.state = State::Waiting { until: Duration::ZERO };
        out.extend([ReceiverAction::Disconnect, ReceiverAction::GoOnAt(at)]);
        true
    }

    /// Another branch is followed, from `kept` on: what is known of the record at the end was so of this one.
    pub(super) fn keep_beyond(&mut self, theirs: &TimelineHistory, kept: Lsn) {
        let size = self.options.segment_size;
        let stays = |beyond: &Beyond| {
            let upto = size.start_of(beyond.last) - 1;
            kept == self.end && theirs.timeline_at(upto) == self.history.timeline_at(upto)
        };
        self.beyond = self.beyond.filter(stays);
        self.unproven = self.unproven.filter(|begun| kept > *begun);
    }

    /// The start of a record whose beginning nobody vouched for: what is received does not count.
    pub const fn unproven(&self) -> Option<Lsn> {
        self.unproven
    }

    pub(super) fn on_proof(&mut self, now: Duration, out: &mut Vec<ReceiverAction>) {
        (self.unproven, self.beyond, self.flushed) = (None, None, self.end);
        out.push(ReceiverAction::Count);
        if matches!(self.state, State::Streaming) {
            self.replies.force(self.reported(), now, out);
        }
    }

    /// Begins anew at the record's start; gives what the log is told.
    pub(super) fn on_disproof(&mut self, reason: String, out: &mut Vec<ReceiverAction>) -> ReplicaError {
        let begun = self.unproven.take().unwrap_or(self.end);
        let upto = self.end;
        (self.end, self.flushed) = (begun, begun);
        self.set_begun(begun, upto);
        out.push(ReceiverAction::GoOnAt(begun));
        ReplicaError::TornBeginning { at: begun, reason }
    }
}
