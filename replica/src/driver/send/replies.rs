//! What a standby says: how far it is, what its queries need, what it wants to hear of.

use super::{Doubt, Ended, SendError, Streaming};
use crate::directory_id::DirectoryId;
use crate::driver::extensions::{CONFIRMED, DIRECTORY, FORMER, HANDOVER, NETWORK, ROSTER, SLOTS};
use crate::driver::log::Outlet;
use crate::error::ReplicaError;
use crate::roster::{Statement, former, statement};
use crate::sender::Reply;
use crate::sync::Progress;
use bytes::Buf;
use protocol::frame::{Frame, FrameLimits};
use protocol::frontend::FrontendMessage;
use protocol::replication::{FromStandby, HotStandbyFeedback, StatusUpdate, WireLsn};
use wal::{Lsn, Xid};

/// Longest message taken from a standby, in bytes.
const FRAME_LIMITS: FrameLimits = FrameLimits { large: 64 << 10, small: 10_000 };

impl<S: Outlet> Streaming<'_, S> {
    /// Takes all whole messages that are here, up to the standby's CopyDone. What follows that belongs to the
    /// next command, also while our own CopyDone is still to come.
    pub(super) fn take_messages(&mut self) -> Result<(), SendError> {
        let violation =
            |what: String| SendError::Refused { error: ReplicaError::Protocol(what), streaming: true };
        while !self.sender.standby_is_done() {
            let frame = Frame::peek(self.wire.input, FRAME_LIMITS).map_err(|e| violation(e.to_string()))?;
            let Some(frame) = frame else { return Ok(()) };
            let mut message = self.wire.input.split_to(frame.len);
            message.advance(Frame::HEADER);
            match FrontendMessage::decode(frame.kind, &message).map_err(|e| violation(e.to_string()))? {
                FrontendMessage::CopyData(payload) => {
                    match FromStandby::decode(payload).map_err(|e| violation(e.to_string()))? {
                        FromStandby::Status(status) => self.on_status(&status),
                        FromStandby::Feedback(feedback) => self.on_feedback(&feedback),
                        FromStandby::Extension(CONFIRMED, wants) => {
                            let wants = wants.first().is_some_and(|wants| *wants != 0);
                            self.confirmed_changes = wants.then(|| self.context.confirmations.changes());
                            // What moved until now is told with the next word.
                            self.tell_confirmed();
                        }
                        FromStandby::Extension(SLOTS, wants) => {
                            self.copies_slots = wants.first().is_some_and(|wants| *wants != 0);
                            // At once, and even if there are none: copies of before may have to go.
                            self.told_slots = None;
                            self.tell_slots();
                        }
                        FromStandby::Extension(DIRECTORY, id) => {
                            if let Ok(id) = (&*id).try_into() {
                                let id = DirectoryId::new(u64::from_be_bytes(id));
                                self.context.row.set_directory(id, self.context.roster.formers_of(id));
                            }
                        }
                        FromStandby::Extension(FORMER, told) => {
                            let told = former::decode(&told).map_err(|e| violation(e.to_string()))?;
                            self.context.roster.hear_formers(told);
                        }
                        FromStandby::Extension(NETWORK, name) => self.context.row.set_network(&name),
                        FromStandby::Extension(ROSTER, told) => {
                            let told = statement::decode(&told).map_err(|e| violation(e.to_string()))?;
                            self.hear_roster(told);
                        }
                        FromStandby::Extension(HANDOVER, said) => self.on_handover(&said),
                        FromStandby::Extension(..) => {}
                    }
                    self.sender.on_life_sign(self.context.host.clock.monotonic());
                }
                FrontendMessage::CopyDone | FrontendMessage::CopyFail(_) => {
                    self.sender.on_copy_done();
                }
                FrontendMessage::Terminate => {
                    self.ended = Some(Ended::Gone);
                    return Ok(());
                }
                FrontendMessage::Sync | FrontendMessage::Flush => {}
                _ => {
                    return Err(violation(format!(
                        "unexpected message type {:?} while streaming",
                        char::from(frame.kind)
                    )));
                }
            }
        }
        Ok(())
    }

    fn hear_roster(&mut self, told: Vec<Statement>) {
        let (roster, now) = (&self.context.roster, self.context.host.clock.monotonic());
        self.standby = told.first().map(|standby| standby.id);
        self.context.row.set_node(&told, &self.context.seen);
        roster.hear(told, &self.context.seen, now);
        if let Some(standby) = self.standby.filter(|standby| roster.successors(*standby).is_empty()) {
            self.context.row.lives_on(standby);
        }
    }

    pub(super) fn on_status(&mut self, status: &StatusUpdate) {
        let lsn = |wire: WireLsn| Lsn::new(wire.get());
        let progress = Progress {
            written: lsn(status.written),
            flushed: lsn(status.flushed),
            replayed: lsn(status.applied),
        };
        let clock = &self.context.host.clock;
        let (believed, overstates) = self.context.row.believe(progress);
        if overstates {
            let claimed = progress.written.max(progress.flushed).max(progress.replayed);
            (self.context.on_doubt)(Doubt::Overstated(claimed));
        }
        self.sender.on_reply(
            Reply { progress: believed, reply_requested: status.reply_requested },
            clock.monotonic(),
        );
        if let Some(part) = &self.part {
            part.handover.progressed(believed);
        }
        // The slot first: it holds back WAL that a confirmed commit must not outlive.
        if let Some(slot) = &self.context.slot {
            let early = host::planted!("a slot gives up what its standby has only written");
            slot.release_before(if early { believed.written } else { believed.flushed }, self.generation);
        }
        if let Some(directory) = self.context.row.on_reply(believed, status.clock, clock.now()) {
            (self.context.on_doubt)(Doubt::SharedDirectory(directory));
        }
    }

    pub(super) fn on_feedback(&mut self, feedback: &HotStandbyFeedback) {
        let full = u64::from(feedback.xmin_epoch) << 32 | u64::from(feedback.xmin);
        let xmin = (feedback.xmin != 0).then(|| Xid::new(full));
        match &self.context.slot {
            Some(slot) => slot.set_xmin(xmin),
            None => self.context.row.set_xmin(xmin),
        }
        (self.context.on_feedback)();
    }
}
