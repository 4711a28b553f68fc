//! When what was written is made durable: at once if commits wait for that, else from time to time.

use super::{Receiver, ReceiverAction, State};
use durability::Stage;
use std::time::Duration;

/// Pause between flushes while no commit waits for one: a flush for each commit at local or off would cost
/// both nodes more than the commits themselves.
const UNHURRIED_FLUSH: Duration = Duration::from_millis(10);
/// So much that was written is flushed all the same, in bytes.
const UNHURRIED_FLUSH_BYTES: u64 = 1 << 20;

impl Receiver {
    /// Reports what was written if commits wait for that, and only then makes it durable, if it is time.
    pub(super) fn settle(&mut self, now: Duration, out: &mut Vec<ReceiverAction>) {
        if self.flushed < self.end {
            self.replies.on_written(self.reported(), now, out);
            let leisurely = self.flush_at_leisure();
            if !(leisurely && self.flushing) && self.flush_at().is_none_or(|at| now >= at) {
                self.flushing = true;
                out.push(ReceiverAction::Flush);
            }
        } else {
            // What was compared counts now.
            self.replies.catch_up(self.reported(), now, out);
        }
    }

    /// Whether nobody waits for the flush that was asked for last: the driver may go on receiving meanwhile,
    /// and tell [`Event::Flushed`] later. Until then no other is asked for, unless somebody waits for it.
    pub fn flush_at_leisure(&self) -> bool {
        matches!(self.state, State::Streaming) && !self.flush_is_awaited() && !self.replies.owes()
    }

    /// Whether commits wait for a flush here, which replay that counts includes.
    pub(super) fn flush_is_awaited(&self) -> bool {
        let awaited = self.replies.awaited();
        awaited.has(Stage::Flushed) || awaited.has(Stage::Replayed)
    }

    /// The driver waited for a flush, and tells no event of it.
    pub fn flush_was_awaited(&mut self) {
        self.flushing = false;
    }

    /// When what is written has to be made durable; None: at once, since commits wait for that or there is
    /// much of it.
    pub(super) fn flush_at(&self) -> Option<Duration> {
        let waiting = self.end.bytes_since(self.flushed);
        let hurried = self.flush_is_awaited() || waiting >= UNHURRIED_FLUSH_BYTES;
        self.flushed_at.filter(|_| !hurried).map(|last| last + UNHURRIED_FLUSH)
    }
}
