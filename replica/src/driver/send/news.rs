//! What a Plimsoll standby is told besides WAL: the stages that commits wait for, what is confirmed, the
//! slots.

use super::{Streaming, wire_lsn};
use crate::driver::extensions::{AWAITED, CONFIRMED, FORMER, PRIMARY, ROSTER, ROUTE, SLOTS, WITNESSED};
use crate::driver::log::Outlet;
use crate::slots::copied;
use durability::Stages;
use protocol::replication::{Keepalive, encode_keepalive};
use wal::{Live, LogState, Lsn, TimelineId};

impl<S: Outlet> Streaming<'_, S> {
    /// Takes over which stages commits wait for; a Plimsoll standby is told.
    pub(super) fn tell_awaited(&mut self, awaited: Stages) {
        // A handover waits for all.
        let awaited = if self.part.is_some() { Stages::ALL } else { awaited };
        self.sender.set_hurried(!awaited.is_empty());
        self.awaited_untold = !self.wire.has_room();
        if self.plimsoll && !self.awaited_untold {
            let stages = [awaited.to_byte()];
            self.wire.put_extension(AWAITED, &stages);
        }
    }

    /// Tells a Plimsoll standby, when the stream begins, if this server writes the streamed timeline.
    pub(super) fn tell_primary(&mut self, log: &LogState) {
        let writes = matches!(log.live, Live::Primary(_)) && self.sender.end().is_none();
        if self.plimsoll && writes {
            self.wire.put_extension(PRIMARY, &[]);
        }
    }

    /// Tells a Plimsoll standby over which servers the log comes, if that is news.
    pub(super) fn tell_route(&mut self) {
        if !self.plimsoll || !self.wire.has_room() {
            return;
        }
        let is_primary = matches!(self.context.log.state().live, Live::Primary(_));
        let route = self.context.roster.told_route(is_primary);
        if self.told_route != route {
            self.wire.put_extension(ROUTE, &route);
            self.told_route = route;
        }
    }

    /// Tells a Plimsoll standby what it has to know of the log before more of it, and of the cluster.
    pub(super) fn tell_news(&mut self) {
        self.tell_route();
        self.tell_confirmed();
        self.tell_witnessed();
        self.tell_roster();
    }

    /// Tells a Plimsoll standby how far the log is confirmed, if that is news.
    pub(super) fn tell_confirmed(&mut self) {
        let ends = self.sender.end().map_or(Lsn::MAX, |end| end.at);
        let confirmed = self.context.confirmations.confirmed().min(ends);
        if self.context.log.state().generation() != self.generation {
            // It may be the word on another branch. The new log is looked at first.
            return;
        }
        if self.plimsoll && confirmed > self.confirmed && self.wire.has_room() {
            self.confirmed = confirmed;
            let payload = confirmed.get().to_be_bytes();
            self.wire.put_extension(CONFIRMED, &payload);
        }
    }

    /// Tells a Plimsoll standby what this node is a witness of, if that is news.
    pub(super) fn tell_witnessed(&mut self) {
        let seen = self.context.log.witnessed().map_or(TimelineId::INVALID, |history| history.target());
        if self.plimsoll && seen != self.witnessed && self.wire.has_room() {
            self.witnessed = seen;
            let payload = seen.get().to_be_bytes();
            self.wire.put_extension(WITNESSED, &payload);
        }
    }

    /// Tells a Plimsoll standby of the cluster's nodes, if anything of them is news.
    pub(super) fn tell_roster(&mut self) {
        let roster = &self.context.roster;
        let version = Some(roster.version());
        if self.plimsoll && self.told_roster != version && self.wire.has_room() {
            self.told_roster = version;
            if let Some(formers) = roster.told_formers() {
                self.wire.put_extension(FORMER, &formers);
            }
            let payload = roster.told(self.context.host.clock.monotonic());
            self.wire.put_extension(ROSTER, &payload);
        }
    }

    /// Tells a standby that copies slots of them, if anything moved. Who hears of no primary does not know
    /// which of them are still there.
    pub(super) fn tell_slots(&mut self) {
        if !self.copies_slots || !self.plimsoll || !self.wire.has_room() {
            return;
        }
        let is_primary = matches!(self.context.log.state().live, Live::Primary(_));
        if !is_primary && !self.context.roster.may_hear_primary() {
            return;
        }
        let slots = self.context.slots.to_copy();
        if slots.is_some() && self.told_slots != slots {
            let payload = copied::encode(slots.as_deref().unwrap_or_default());
            self.wire.put_extension(SLOTS, &payload);
            self.told_slots = slots;
        }
    }

    pub(super) fn keepalive(&mut self, end: Lsn, reply_requested: bool) {
        if self.confirmed_changes.is_some() {
            self.context.confirmations.wanted();
        }
        self.tell_route();
        self.tell_confirmed();
        self.tell_witnessed();
        self.tell_slots();
        self.tell_roster();
        if let Some(standby) = self.standby {
            // The stream would have ended if nothing came from it.
            self.context.roster.heard_of(standby, self.context.host.clock.monotonic());
        }
        let clock = self.context.host.clock.now();
        let keepalive = Keepalive { end: wire_lsn(end), clock, reply_requested };
        self.wire.put_data(|out| encode_keepalive(out, &keepalive));
    }
}
