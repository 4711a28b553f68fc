//! The receiving side of a stream, as a state machine without I/O.
//!
//! [`Receiver::handle`] takes what happened and the time, and gives commands that the driver performs in
//! order. If one fails, the driver drops the rest of the batch and tells the failure as an event.
//!
//! ```text
//!  waiting --> connecting --> identifying --> fetching histories --> (scanning) --> starting --> streaming
//!     ^                            ^                                                               |   |
//!     |                            +------------- ending: the timeline is over <------------------+   |
//!     +------------------------------ lost, refused, timed out <---------------------------------------+
//! ```
//!
//! What it holds to:
//! - A branch is followed only if it continues what this node has: same cluster, our timeline in its history,
//!   and the fork not before the end of our last whole record. Its history file is durable here before a byte
//!   of it is confirmed.
//! - A stream begins a little before our end (inside the segment), and the bytes that both have are compared.
//!   Positions are reported only as far as this comparison has come, so a primary that went back is never
//!   told what it has lost.
//! - A source that has removed the segment in which the record at our end begins is asked for its rest, and
//!   nothing counts before all of it is found whole (`beyond.rs`).
//! - A stream that was ended by order, by the primary or by other settings here, is tried again at once; what
//!   fails is tried again after a pause, and a primary whose stream ran, after short ones first
//!   (`retrying.rs`).
//! - A server that receives from this one, or over which no primary is heard of while others could be asked,
//!   is left (`upstream.rs`).
//! - A timeline switch keeps the connection. A primary that names a next timeline and is not on it itself is
//!   asked again after a pause: the same stream would end at once.

mod beyond;
mod events;
mod flushing;
mod following;
mod replies;
mod retrying;
pub mod sources;
mod upstream;
mod view;

pub use events::{Event, ReceiverAction};
pub use view::{ReceiverStatus, ReceiverView};

use crate::error::ReplicaError;
use crate::sync::Progress;
use beyond::Beyond;
use bytes::Bytes;
use durability::{Stage, Stages};
use following::Fetching;
use host::Timestamp;
use replies::Replies;
use retrying::QuickTries;
use std::time::Duration;
use upstream::Upstream;
use wal::history::TimelineHistory;
use wal::{Lsn, SegmentSize, SystemId, TimelineId, Xid};

/// What a receiver must know of its node.
#[derive(Clone, Debug)]
pub struct ReceiverOptions {
    /// The cluster.
    pub system: SystemId,
    /// Bytes of a segment.
    pub segment_size: SegmentSize,
    /// primary_slot_name
    pub slot: Option<String>,
    /// Follow later timelines (recovery_target_timeline = latest), or stay on the history given.
    pub follow_latest: bool,
    /// wal_receiver_status_interval; None reports only what is asked for or new.
    pub status_interval: Option<Duration>,
    /// wal_receiver_timeout
    pub timeout: Option<Duration>,
    /// wal_retrieve_retry_interval
    pub retry_interval: Duration,
    /// hot_standby_feedback
    pub feedback: bool,
}

#[derive(Debug)]
enum State {
    Waiting {
        until: Duration,
    },
    Connecting,
    Identifying,
    /// The primary has ended a timeline and is not on the next one itself yet: it is asked again then.
    Behind {
        until: Duration,
    },
    /// Our own history if it is not here, then the primary's, then those of its ancestors that are not here.
    Fetching(Fetching),
    Scanning {
        theirs: TimelineHistory,
        fork: Lsn,
    },
    Starting,
    Streaming,
    Ending,
}

/// A standby's stream.
#[derive(Debug)]
pub struct Receiver {
    options: ReceiverOptions,
    state: State,
    plimsoll: bool,
    /// When the last try began, on the monotonic clock.
    tried_at: Duration,
    /// A stream that ran has ended, and its primary is looked for.
    quick_tries: Option<QuickTries>,
    /// What this node follows.
    history: TimelineHistory,
    /// The timeline of the log's end.
    timeline: TimelineId,
    /// The end of our log, exclusive.
    end: Lsn,
    flushed: Lsn,
    /// Up to here the log was received and flushed before, though it cannot be read behind `end`.
    lost: Lsn,
    /// What lies in files here may be as new as that, though it was not replayed so far: minRecoveryPoint.
    needed: Lsn,
    /// The segments in which the record goes on that is begun at our end, from the next one that is asked for
    /// if those before are removed.
    beyond: Option<Beyond>,
    /// The start of a record of which nobody showed the first part: nothing counts before all of it is found
    /// whole.
    unproven: Option<Lsn>,
    /// The end of the primary's log as it told of it when it was asked who it is.
    asked_end: Lsn,
    /// When the last flush was done.
    flushed_at: Option<Duration>,
    /// One that nobody waits for is on its way.
    flushing: bool,
    replayed: Lsn,
    /// The next byte that the primary must send.
    expected: Lsn,
    started: (Lsn, TimelineId),
    /// The last page that has more than a header of the log up to here, if it is known and here.
    last_page: Option<(Lsn, Lsn)>,
    /// The primary has yet to say where the stream begins.
    awaits_begin: bool,
    /// The timeline that the primary named as the next one when a stream ended.
    next: Option<TimelineId>,
    replies: Replies,
    upstream: Upstream,
    last_sent: Option<Timestamp>,
    last_received: Option<Timestamp>,
    primary_end: Lsn,
}

impl Receiver {
    /// A receiver for a node that follows `history` and whose log ends at `end` on `timeline`, all of it
    /// durable.
    pub fn new(
        options: ReceiverOptions,
        history: TimelineHistory,
        timeline: TimelineId,
        end: Lsn,
        replayed: Lsn,
    ) -> Self {
        let replies = Replies::new(&options);
        Self {
            options,
            state: State::Waiting { until: Duration::ZERO },
            plimsoll: false,
            tried_at: Duration::ZERO,
            quick_tries: None,
            history,
            timeline,
            end,
            flushed: end,
            lost: Lsn::INVALID,
            needed: Lsn::INVALID,
            beyond: None,
            unproven: None,
            asked_end: Lsn::INVALID,
            flushed_at: None,
            flushing: false,
            replayed,
            expected: Lsn::INVALID,
            started: (Lsn::INVALID, TimelineId::INVALID),
            last_page: None,
            awaits_begin: false,
            next: None,
            replies,
            upstream: Upstream::default(),
            last_sent: None,
            last_received: None,
            primary_end: Lsn::INVALID,
        }
    }

    /// The log was received up to `lost` before, and cannot be read there: no branch is followed that leaves
    /// it out.
    pub fn set_lost(&mut self, lost: Lsn) {
        self.lost = lost;
    }

    /// Pages here may be as new as `needed` (minRecoveryPoint): no branch is followed that leaves before,
    /// along which their changes never were.
    pub fn set_needed(&mut self, needed: Lsn) {
        self.needed = needed;
    }

    /// The last page that has more than a header of the log up to `end`: a stream begins with it if the
    /// primary has it, so that what both have can be compared. None if it is not here.
    pub fn set_last_page(&mut self, end: Lsn, page: Option<Lsn>) {
        self.last_page = page.map(|page| (end, page));
    }

    /// Takes an event; gives the commands that follow from it. `now` is the monotonic clock, `wall` the wall
    /// clock.
    pub fn handle(&mut self, event: Event, now: Duration, wall: Timestamp) -> Vec<ReceiverAction> {
        let mut out = Vec::new();
        if let Err(error) = self.step(event, now, wall, &mut out) {
            self.give_up(error, now, &mut out);
        }
        out
    }

    fn step(
        &mut self,
        event: Event,
        now: Duration,
        wall: Timestamp,
        out: &mut Vec<ReceiverAction>,
    ) -> Result<(), ReplicaError> {
        match (event, &self.state) {
            (Event::Lost(error), State::Waiting { .. }) => {
                // The end of a connection that was given up already.
                drop(error);
            }
            (Event::Lost(error), _) => return Err(error),
            (Event::Tick, _) => return self.tick(now, out),
            (Event::Replayed(lsn), _) => self.on_replayed(lsn, now, out),
            (Event::Proven, _) => self.on_proof(now, out),
            (Event::Disproved(reason), _) => return Err(self.on_disproof(reason, out)),
            (Event::Written(lsn), _) => self.end = lsn,
            (Event::Flushed(lsn), _) => self.on_flushed(lsn, now, out),
            (Event::Connected { plimsoll }, State::Connecting) => {
                (self.plimsoll, self.next) = (plimsoll, None);
                self.identify(out);
            }
            (Event::Identified { system, timeline, end }, State::Identifying) => {
                self.identified(system, (timeline, end), now, out)?;
            }
            (Event::History { timeline, text }, State::Fetching(_)) => {
                self.history_came(timeline, &text, out)?;
            }
            (Event::WholeEnd(whole), State::Scanning { .. }) => self.scanned(whole, out)?,
            (Event::Started, State::Starting) => {
                self.state = State::Streaming;
                self.forget_route();
                self.replies.restart(now);
                self.replies.force(self.reported(), now, out);
                self.replies.feedback(now, out);
            }
            (Event::Begins(at), State::Streaming) => self.on_begin(at, now, out)?,
            (Event::Data { start, primary_end, clock, wal }, State::Streaming) => {
                self.heard(primary_end, clock, now, wall);
                self.data(start, wal, out)?;
            }
            (Event::Keepalive { primary_end, clock, reply_requested }, State::Streaming) => {
                self.heard(primary_end, clock, now, wall);
                if reply_requested {
                    self.on_question(now, out);
                }
            }
            (Event::Route { source, judged }, State::Streaming) => self.on_route(source, judged, now)?,
            (Event::Drained, State::Streaming) => self.settle(now, out),
            (Event::Differs(at), State::Streaming) => {
                return Err(ReplicaError::Differs { at, timeline: self.started.1 });
            }
            (Event::StreamEnded { next }, State::Streaming | State::Starting | State::Ending) => {
                self.stream_ended(next, out)?;
            }
            (Event::Awaited(awaited), _) => self.on_awaited(awaited, now, out),
            // A batch may still be on its way when the stream was given up.
            (_, State::Waiting { .. }) => {}
            (event, state) => {
                let kind = format!("{event:?}");
                let kind = kind.split([' ', '(']).next().unwrap_or_default().to_owned();
                return Err(ReplicaError::Protocol(format!("unexpected {kind} while {state:?}")));
            }
        }
        Ok(())
    }

    fn on_replayed(&mut self, lsn: Lsn, now: Duration, out: &mut Vec<ReceiverAction>) {
        self.replayed = self.replayed.max(lsn);
        if matches!(self.state, State::Streaming) {
            let progress = self.reported();
            self.replies.on_replayed(progress, now, out);
        }
    }

    fn on_flushed(&mut self, lsn: Lsn, now: Duration, out: &mut Vec<ReceiverAction>) {
        // One at the driver's leisure may end after a later one that was waited for.
        (self.flushed, self.flushed_at) = (self.flushed.max(lsn), Some(now));
        self.flushing = false;
        if matches!(self.state, State::Streaming) {
            let progress = self.reported();
            self.replies.on_flushed(progress, now, out);
        }
    }

    /// The primary wants a reply: at once, or after the flush of what is written.
    fn on_question(&mut self, now: Duration, out: &mut Vec<ReceiverAction>) {
        if self.flushed < self.end {
            self.replies.owe();
            out.push(ReceiverAction::Flush);
        } else {
            self.replies.force(self.reported(), now, out);
        }
    }

    fn on_awaited(&mut self, awaited: Stages, now: Duration, out: &mut Vec<ReceiverAction>) {
        self.replies.set_awaited(awaited);
        if matches!(self.state, State::Streaming) {
            self.replies.catch_up(self.reported(), now, out);
            if self.flushed < self.end && self.flush_at().is_none() {
                out.push(ReceiverAction::Flush);
            }
        }
    }

    fn tick(&mut self, now: Duration, out: &mut Vec<ReceiverAction>) -> Result<(), ReplicaError> {
        match self.state {
            State::Waiting { until } if now >= until => {
                (self.state, self.tried_at) = (State::Connecting, now);
                out.push(ReceiverAction::Connect);
            }
            State::Behind { until } if now >= until => self.identify(out),
            State::Streaming => {
                self.replies.tick(self.reported(), now, out)?;
                self.look_for_primary(now)?;
                self.settle(now, out);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether so much more is on its way that the log's next segments will be filled at once.
    pub fn catches_up(&self) -> bool {
        self.primary_end.bytes_since(self.end) >= 2 * self.options.segment_size.bytes()
    }

    /// Whether replay is to be told with [`Event::Replayed`] as soon as it moves; otherwise
    /// [`Receiver::set_replayed`] before other events does.
    pub fn hurries_replayed(&self) -> bool {
        self.replies.awaited().has(Stage::Replayed)
    }

    /// How far the log is replayed, as this machine knows.
    pub fn replayed(&self) -> Lsn {
        self.replayed
    }

    /// The log is replayed so far; nothing follows from it at once.
    pub fn set_replayed(&mut self, replayed: Lsn) {
        self.replayed = self.replayed.max(replayed);
    }

    /// When to tick at the latest; None if only other events move it.
    pub fn wake_at(&self) -> Option<Duration> {
        match self.state {
            State::Waiting { until } | State::Behind { until } => Some(until),
            State::Streaming => {
                let flush = self.flush_at().filter(|_| self.flushed < self.end && !self.flushing);
                [self.replies.wake_at(), self.leaves_at(), flush].into_iter().flatten().min()
            }
            _ => None,
        }
    }

    fn heard(&mut self, primary_end: Lsn, clock: Timestamp, now: Duration, wall: Timestamp) {
        self.replies.heard(now);
        (self.last_sent, self.last_received) = (Some(clock), Some(wall));
        self.primary_end = self.primary_end.max(primary_end);
    }

    fn data(&mut self, start: Lsn, wal: Bytes, out: &mut Vec<ReceiverAction>) -> Result<(), ReplicaError> {
        if start != self.expected {
            let expected = self.expected;
            return Err(ReplicaError::Protocol(format!(
                "WAL for {start} came where {expected} was expected"
            )));
        }
        self.expected = start + wal.len() as u64;
        let shared = usize::try_from(self.end.bytes_since(start)).unwrap_or(usize::MAX).min(wal.len());
        let (known, new) = (wal.slice(..shared), wal.slice(shared..));
        if !known.is_empty() {
            out.push(ReceiverAction::Compare { at: start, wal: known });
        }
        if !new.is_empty() {
            // They count once they are written: what comes before in the batch may fail.
            out.push(ReceiverAction::Write { at: start + shared as u64, wal: new });
        }
        Ok(())
    }

    /// Whether the log up to there is here, and the primary has shown to have the same.
    pub fn has_shown(&self, upto: Lsn) -> bool {
        self.reported().written >= upto
    }

    /// How far the log is durable. Redo counts what is, which it may have made so itself.
    fn durable(&self) -> Lsn {
        self.flushed.max(self.replayed)
    }

    /// What may be reported: no further than the primary has shown to have the same.
    fn reported(&self) -> Progress {
        if self.awaits_begin || self.expected < self.segment_start() || self.unproven.is_some() {
            // Nothing that counts: it is not known yet to be the same log. Nor does a slot go back for that.
            return Progress::default();
        }
        let all = host::planted!("a report counts for more than was sent on the branch");
        let shown = |lsn: Lsn| if all { lsn } else { lsn.min(self.expected) };
        let early = host::planted!("a standby reports what is written as flushed");
        let flushed = if early { self.end } else { self.durable() };
        Progress { written: shown(self.end), flushed: shown(flushed), replayed: shown(self.replayed) }
    }

    /// Takes over reloaded settings. A changed slot or conninfo needs a new connection, which the driver
    /// makes.
    pub fn set_options(&mut self, options: ReceiverOptions) {
        self.replies.set_options(&options);
        self.options = options;
    }

    /// The oldest transaction that this node's queries need, for feedback.
    pub fn set_xmin(&mut self, xmin: Option<Xid>) {
        self.replies.set_xmin(xmin);
    }

    /// What this node follows.
    pub fn history(&self) -> &TimelineHistory {
        &self.history
    }
    /// The end of the log, and its timeline.
    pub fn end(&self) -> (Lsn, TimelineId) {
        (self.end, self.timeline)
    }
}

#[cfg(test)]
mod tests;
