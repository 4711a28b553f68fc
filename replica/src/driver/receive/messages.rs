//! What comes on a stream, as events of the state machine or straight to the server.

use super::asking::{RECEIVE, refused};
use super::running::Driver;
use crate::driver::extensions::{
    AWAITED, BEGINS, CONFIRMED, FORMER, HANDOVER, PRIMARY, ROSTER, ROUTE, SLOTS, WITNESSED,
};
use crate::error::ReplicaError;
use crate::receiver::Event;
use crate::roster::route::Route;
use crate::roster::{Seen, former, statement};
use crate::slots::copied;
use bytes::Bytes;
use durability::Stages;
use protocol::backend::BackendMessage;
use protocol::replication::{FromPrimary, Keepalive, WireLsn};
use protocol::{Client, ClientError, Report, SqlState};
use wal::{Lsn, TimelineId};

impl Driver {
    pub(super) fn stream_event(&mut self, message: Result<BackendMessage, ClientError>) -> Option<Event> {
        let payload = match message {
            Ok(BackendMessage::CopyData(payload)) => payload,
            Ok(BackendMessage::CopyDone) => return Some(Event::StreamEnded { next: None }),
            Ok(BackendMessage::CommandComplete(_)) => {
                let what = "replication terminated by primary server: the server is shutting down".to_owned();
                return Some(Event::Lost(ReplicaError::StreamTerminated(what)));
            }
            Ok(BackendMessage::Error(report)) => return Some(Event::Lost(ended_by(report))),
            Ok(_) => {
                let what = "unexpected message from the primary while streaming".to_owned();
                return Some(Event::Lost(ReplicaError::Protocol(what)));
            }
            Err(error) => return Some(Event::Lost(refused(RECEIVE, error))),
        };
        let lsn = |wire: WireLsn| Lsn::new(wire.get());
        match FromPrimary::decode(&payload) {
            Ok(FromPrimary::Data { start, end, clock, wal }) => {
                self.note_untold();
                self.note_primary_end(lsn(end));
                Some(Event::Data { start: lsn(start), primary_end: lsn(end), clock, wal })
            }
            Ok(FromPrimary::Keepalive(keepalive)) => {
                self.note_untold();
                self.note_primary_end(lsn(keepalive.end));
                Some(self.keepalive(&keepalive))
            }
            Ok(FromPrimary::Extension(kind, payload)) => self.extension(kind, payload),
            Err(error) => Some(Event::Lost(ReplicaError::Protocol(error.to_string()))),
        }
    }

    /// A message between Plimsoll nodes. One that is not known here is passed over.
    fn extension(&mut self, kind: u8, payload: Bytes) -> Option<Event> {
        match kind {
            BEGINS => {
                let at = payload.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
                Some(Event::Begins(Lsn::new(at)))
            }
            AWAITED => {
                let stages = payload.first().map_or(Stages::ALL, |byte| Stages::from_byte(*byte));
                Some(Event::Awaited(stages))
            }
            CONFIRMED => {
                let upto = payload.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
                self.context.observer.confirmed(Lsn::new(upto));
                None
            }
            WITNESSED => {
                let timeline = payload.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
                // Of its later timelines nothing is followed here yet.
                self.context.log.witness(TimelineId::new(timeline).min(self.machine.history().target()));
                None
            }
            PRIMARY => {
                self.from_primary = true;
                None
            }
            ROUTE => match Route::decode(&payload) {
                Ok(route) => route.map(|route| self.hear_route(route)),
                Err(error) => Some(Event::Lost(error)),
            },
            SLOTS => match copied::decode(&payload) {
                Ok(slots) => {
                    self.context.observer.slots(&slots);
                    None
                }
                Err(error) => Some(Event::Lost(error)),
            },
            FORMER => match former::decode(&payload) {
                Ok(told) => {
                    self.context.roster.hear_formers(told);
                    None
                }
                Err(error) => Some(Event::Lost(error)),
            },
            ROSTER => self.hear_roster(&payload),
            HANDOVER => {
                self.asked_over = Some(payload);
                None
            }
            _ => None,
        }
    }

    fn hear_route(&mut self, route: Route) -> Event {
        let (source, first) = (route.source, !std::mem::replace(&mut self.told_route, true));
        let judged = self.context.roster.take_route(route, first);
        Event::Route { source, judged }
    }

    /// Something came that comes again and again: who says where the log comes from has said so before.
    fn note_untold(&mut self) {
        if !self.told_route {
            self.hear_route(Route::UNTOLD);
        }
    }

    fn keepalive(&self, keepalive: &Keepalive) -> Event {
        if let Some(primary) = self.primary {
            self.context.roster.heard_of(primary, self.context.host.clock.monotonic());
        }
        Event::Keepalive {
            primary_end: Lsn::new(keepalive.end.get()),
            clock: keepalive.clock,
            reply_requested: keepalive.reply_requested,
        }
    }

    fn hear_roster(&mut self, told: &[u8]) -> Option<Event> {
        match statement::decode(told) {
            Ok(told) => {
                self.primary = told.first().map(|primary| primary.id);
                let (host, port) = self.client.as_ref().map(Client::place).unwrap_or_default();
                let now = self.context.host.clock.monotonic();
                if self.context.roster.is_shared_by(&told) {
                    // Before the other one is taken in, which becomes a member by that. The roster's change
                    // has this sent.
                    self.context.observer.shares_id();
                    self.queue_directory();
                }
                self.context.roster.hear(told, &Seen::server(&host, port), now);
                None
            }
            Err(error) => Some(Event::Lost(error)),
        }
    }
}

/// Why a stream ends that the primary ends with an error: by order, or since it cannot go on.
fn ended_by(report: Box<Report>) -> ReplicaError {
    let by_order = report.code == SqlState::ADMIN_SHUTDOWN;
    let error = refused(RECEIVE, ClientError::Server(report));
    if by_order { ReplicaError::StreamTerminated(error.to_string()) } else { error }
}
