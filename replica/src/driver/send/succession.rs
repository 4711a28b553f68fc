//! A stream's part in a handover: its standby is asked to hurry, is asked whether it takes over, its answer
//! is passed on, and if that came in time it is told that it may promote itself.

use super::Streaming;
use crate::driver::extensions::{HANDOVER, MAY_PROMOTE, PROMOTES, REFUSES, TAKES_OVER};
use crate::driver::log::Outlet;
use crate::roster::heard_file::GivenUp;
use crate::sender::handover::{Event, Handover, Standing, Step};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::watch;
use wal::TimelineId;
use wal::history::BranchId;

/// Longest reason of a refusal that is kept, in characters.
const REASON_MAX: usize = 500;

/// The node's handovers.
pub(super) type Handovers = watch::Receiver<Option<Arc<Handover>>>;

/// The stream's part; the handover hears of its end.
pub(super) struct Part {
    pub(super) handover: Arc<Handover>,
    steps: watch::Receiver<Standing>,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.handover.on(&Event::Leave);
    }
}

impl<S: Outlet> Streaming<'_, S> {
    /// Takes part in a handover to this standby, or no more in one.
    fn take_handover(&mut self, handover: Option<Arc<Handover>>) {
        let ours = handover.filter(|handover| self.plimsoll && self.context.row.is_of(handover));
        if ours.is_none() && self.part.is_none() {
            return;
        }
        self.sender.set_successor(ours.is_some());
        self.part = ours.map(|handover| Part { steps: handover.subscribe(), handover });
        self.awaited_untold = true;
    }

    /// What the handover on its way asks of the stream.
    pub(super) fn follow_handover(&mut self, handovers: &mut Handovers) {
        if handovers.has_changed().unwrap_or(false) {
            let handover = handovers.borrow_and_update().clone();
            self.take_handover(handover);
        }
        let Some(part) = &mut self.part else { return };
        let decided = part.steps.borrow_and_update().step.outcome().is_some();
        if decided {
            self.sender.set_successor(false);
            return;
        }
        let Some(end) = self.sender.log_end() else { return };
        if host::planted!("a role is taken without the end of the log") {
            part.handover.on(&Event::Reach);
        }
        if part.handover.on(&Event::Send) {
            let branch = self.context.log.state().history.branch().map_or(0, BranchId::get);
            let mut payload = Vec::new();
            payload.extend_from_slice(&end.get().to_be_bytes());
            payload.extend_from_slice(&branch.to_be_bytes());
            payload.extend_from_slice(&self.newest().get().to_be_bytes());
            payload.extend_from_slice(GivenUp::of(&self.context.roster).encode().as_bytes());
            self.put_handover(&payload);
        }
    }

    fn put_handover(&mut self, payload: &[u8]) {
        self.wire.put_extension(HANDOVER, payload);
    }

    /// The standby has the whole log.
    pub(super) fn reached(&mut self) {
        if let Some(part) = &self.part {
            part.handover.on(&Event::Reach);
        }
    }

    /// The newest timeline of which this node knows, or was told.
    fn newest(&self) -> TimelineId {
        self.context.roster.newest_heard().max(self.context.log.state().history.target())
    }

    /// Whether the standby was asked, and its answer is waited for.
    fn is_answer(&self) -> bool {
        self.part.as_ref().is_some_and(|part| part.steps.borrow().step == Step::Sent)
    }

    /// The standby takes the timeline after the newest that it knows, or, if it is of before that it says so,
    /// the next one.
    fn hear_of_taken(&self, newest: &[u8]) {
        let told = newest.first_chunk::<4>().map(|newest| TimelineId::new(u32::from_be_bytes(*newest)));
        let newest = told.unwrap_or_else(|| self.newest());
        if let Some(taken) = newest.next() {
            self.context.roster.hear_of_timeline(taken);
        }
    }

    /// What the standby says of handovers.
    pub(super) fn on_handover(&mut self, said: &Bytes) {
        let event = match said.split_first() {
            Some((&TAKES_OVER, _)) => return self.context.row.set_takes_over(),
            Some((&PROMOTES, newest)) => {
                if self.is_answer() {
                    self.hear_of_taken(newest);
                }
                Event::Accept
            }
            Some((&REFUSES, reason)) => {
                let reason = String::from_utf8_lossy(reason);
                let shown = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
                Event::Refuse(shown.take(REASON_MAX).collect())
            }
            _ => return,
        };
        // It may only if the node has not given up waiting: nothing takes the handover back from here on.
        if self.part.as_ref().is_some_and(|part| part.handover.on(&event)) && event == Event::Accept {
            self.put_handover(&[MAY_PROMOTE]);
        }
    }
}

/// Waits for another handover, or the next step of this stream's.
pub(super) async fn stepped(handovers: &mut Handovers, part: &mut Option<Part>) {
    let step = async {
        match part {
            // The part itself keeps the channel open.
            Some(part) => drop(part.steps.changed().await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        // Looked at by who waits.
        _ = handovers.changed() => handovers.mark_changed(),
        () = step => {}
    }
}
