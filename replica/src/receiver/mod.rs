//! The receiving side of a stream, as a state machine without I/O.
//!
//! [`Receiver::handle`] takes what happened and the time, and gives commands that the driver performs in order. If one
//! fails, the driver drops the rest of the batch and tells the failure as an event.
//!
//! ```text
//!  waiting --> connecting --> identifying --> fetching histories --> (scanning) --> starting --> streaming
//!     ^                            ^                                                               |   |
//!     |                            +------------- ending: the timeline is over <------------------+   |
//!     +------------------------------ lost, refused, timed out <---------------------------------------+
//! ```
//!
//! What it holds to:
//! - A branch is followed only if it continues what this node has: same cluster, our timeline in its history, and the
//!   fork not before the end of our last whole record. Its history file is durable here before a byte of it is confirmed.
//! - A stream begins a little before our end (inside the segment), and the bytes that both have are compared. Positions are
//!   reported only as far as this comparison has come, so a primary that went back is never told what it has lost.
//! - A timeline switch keeps the connection.

mod replies;
pub mod sources;

use crate::error::ReplicaError;
use crate::sync::Progress;
use crate::timeline::relation::{Relation, relation};
use bytes::Bytes;
use durability::{Stage, Stages};
use host::Timestamp;
use replies::Replies;
use std::collections::VecDeque;
use std::time::Duration;
use wal::history::TimelineHistory;
use wal::{Lsn, SegmentSize, SystemId, TimelineId, Xid};

/// Pause between flushes while no commit waits for one: a flush for each commit at local or off would cost both nodes more than
/// the commits themselves.
const UNHURRIED_FLUSH: Duration = Duration::from_millis(10);
/// So much that was written is flushed all the same, in bytes.
const UNHURRIED_FLUSH_BYTES: u64 = 1 << 20;

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

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Begin, or look at the clock.
    Tick,
    /// The connection stands.
    Connected {
        /// The primary is a Plimsoll node.
        plimsoll: bool,
    },
    /// IDENTIFY_SYSTEM answered.
    Identified {
        /// The primary's cluster.
        system: SystemId,
        /// Its timeline.
        timeline: TimelineId,
    },
    /// TIMELINE_HISTORY answered.
    History {
        /// Whose.
        timeline: TimelineId,
        /// The file's contents.
        text: String,
    },
    /// The end of the last whole record in our log.
    WholeEnd(Lsn),
    /// START_REPLICATION was accepted.
    Started,
    /// WAL came.
    Data {
        /// The position of its first byte.
        start: Lsn,
        /// The end of WAL on the primary.
        primary_end: Lsn,
        /// The primary's clock.
        clock: Timestamp,
        /// The bytes.
        wal: Bytes,
    },
    /// A keepalive came.
    Keepalive {
        /// The end of WAL on the primary.
        primary_end: Lsn,
        /// The primary's clock.
        clock: Timestamp,
        /// It wants a reply.
        reply_requested: bool,
    },
    /// Nothing more is in the input buffer: a good moment to flush.
    Drained,
    /// A [`Command::Write`] is done.
    Written(Lsn),
    /// A [`Command::Flush`] is done.
    Flushed(Lsn),
    /// Redo has come so far.
    Applied(Lsn),
    /// Bytes given to [`Command::Compare`] are not ours.
    Differs(Lsn),
    /// The primary ended the stream, or had nothing to stream: its result names the next timeline.
    StreamEnded {
        /// The next timeline and where it begins, if the primary named one.
        next: Option<(TimelineId, Lsn)>,
    },
    /// The connection is gone, could not be made, or the primary refused a command.
    Lost(ReplicaError),
    /// The primary says which stages its commits wait for; others need no reply of their own.
    Awaited(Stages),
}

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Connect; then [`Event::Connected`] or [`Event::Lost`].
    Connect,
    /// Send IDENTIFY_SYSTEM.
    Identify,
    /// Send TIMELINE_HISTORY.
    FetchHistory(TimelineId),
    /// Make this history file of an ancestor durable in pg_wal, for those who stream from here.
    StoreHistory(TimelineHistory),
    /// Make this history file durable in pg_wal and follow it, in one step with the cut that it asks for.
    Follow {
        /// The primary's.
        history: TimelineHistory,
        /// The log's end here, exclusive: what lies behind it was never whole and is cut away.
        kept: Lsn,
    },
    /// Tell the primary, a Plimsoll node that is behind, of the branch that replaced its own.
    TellDescendant(TimelineHistory),
    /// Find the end of the last whole record; then [`Event::WholeEnd`].
    FindWholeEnd,
    /// Go on writing on this timeline, which forks off at the log's end.
    SwitchTimeline(TimelineId),
    /// Send START_REPLICATION.
    Start {
        /// The slot.
        slot: Option<String>,
        /// The first byte.
        at: Lsn,
        /// The timeline.
        timeline: TimelineId,
    },
    /// Compare bytes that both sides have.
    Compare {
        /// The position of the first.
        at: Lsn,
        /// The primary's.
        wal: Bytes,
    },
    /// Write bytes at the log's end; then [`Event::Written`].
    Write {
        /// The position of the first.
        at: Lsn,
        /// The bytes.
        wal: Bytes,
    },
    /// Make what was written durable; then [`Event::Flushed`].
    Flush,
    /// Send a status update.
    Reply {
        /// How far this node is.
        progress: Progress,
        /// Ask for a keepalive.
        reply_requested: bool,
    },
    /// Send hot standby feedback.
    Feedback(Option<Xid>),
    /// End our side of the stream and read the result; then [`Event::StreamEnded`].
    FinishStream,
    /// Close the connection.
    Disconnect,
    /// Tell the log.
    Report(ReplicaError),
    /// Tell the log: streaming begins, or begins anew on another timeline.
    ReportStart {
        /// The first byte.
        at: Lsn,
        /// The timeline.
        timeline: TimelineId,
    },
}

/// status of pg_stat_wal_receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverStatus {
    /// Waits to try again.
    Waiting,
    /// Connects and asks who the primary is.
    Starting,
    /// Receives.
    Streaming,
    /// Moves on to the next timeline.
    Restarting,
}

impl ReceiverStatus {
    /// The word in pg_stat_wal_receiver.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Streaming => "streaming",
            Self::Restarting => "restarting",
        }
    }
}

/// What pg_stat_wal_receiver shows of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiverView {
    /// status
    pub status: ReceiverStatus,
    /// receive_start_lsn
    pub start: Lsn,
    /// receive_start_tli
    pub start_timeline: TimelineId,
    /// written_lsn
    pub written: Lsn,
    /// flushed_lsn
    pub flushed: Lsn,
    /// received_tli
    pub timeline: TimelineId,
    /// last_msg_send_time, the primary's clock
    pub last_sent: Option<Timestamp>,
    /// last_msg_receipt_time, our clock
    pub last_received: Option<Timestamp>,
    /// latest_end_lsn
    pub primary_end: Lsn,
    /// latest_end_time
    pub primary_end_at: Option<Timestamp>,
}

#[derive(Debug)]
enum State {
    Waiting {
        until: Duration,
    },
    Connecting,
    Identifying,
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

/// Histories on their way.
#[derive(Debug)]
enum Fetching {
    /// That of the timeline that is followed, which is not here; the primary is on this timeline.
    Own(TimelineId),
    /// The primary's.
    Theirs,
    /// Those of its ancestors that are not here.
    Ancestors(Accepted),
}

/// A branch that will be followed.
#[derive(Debug)]
struct Accepted {
    history: TimelineHistory,
    /// The end of what we have of it.
    kept: Lsn,
    wanted: VecDeque<TimelineId>,
}

/// A standby's stream.
#[derive(Debug)]
pub struct Receiver {
    options: ReceiverOptions,
    state: State,
    plimsoll: bool,
    /// What this node follows.
    history: TimelineHistory,
    /// The timeline of the log's end.
    timeline: TimelineId,
    /// The end of our log, exclusive.
    end: Lsn,
    flushed: Lsn,
    /// When the last flush was done.
    flushed_at: Option<Duration>,
    /// One that nobody waits for is on its way.
    flushing: bool,
    applied: Lsn,
    /// The next byte that the primary must send.
    expected: Lsn,
    started: (Lsn, TimelineId),
    replies: Replies,
    last_sent: Option<Timestamp>,
    last_received: Option<Timestamp>,
    primary_end: Lsn,
}

impl Receiver {
    /// A receiver for a node that follows `history` and whose log ends at `end` on `timeline`, all of it durable.
    pub fn new(
        options: ReceiverOptions,
        history: TimelineHistory,
        timeline: TimelineId,
        end: Lsn,
        applied: Lsn,
    ) -> Self {
        let replies = Replies::new(&options);
        Self {
            options,
            state: State::Waiting { until: Duration::ZERO },
            plimsoll: false,
            history,
            timeline,
            end,
            flushed: end,
            flushed_at: None,
            flushing: false,
            applied,
            expected: Lsn::INVALID,
            started: (Lsn::INVALID, TimelineId::INVALID),
            replies,
            last_sent: None,
            last_received: None,
            primary_end: Lsn::INVALID,
        }
    }

    /// Takes an event; gives the commands that follow from it. `now` is the monotonic clock, `wall` the wall clock.
    pub fn handle(&mut self, event: Event, now: Duration, wall: Timestamp) -> Vec<Command> {
        let mut out = Vec::new();
        if let Err(error) = self.step(event, now, wall, &mut out) {
            self.give_up(error, now, &mut out);
        }
        out
    }

    fn give_up(&mut self, error: ReplicaError, now: Duration, out: &mut Vec<Command>) {
        // Whatever came whole is worth keeping.
        if self.flushed < self.end {
            out.push(Command::Flush);
        }
        out.push(Command::Report(error));
        out.push(Command::Disconnect);
        self.state = State::Waiting { until: now + self.options.retry_interval };
    }

    fn step(
        &mut self,
        event: Event,
        now: Duration,
        wall: Timestamp,
        out: &mut Vec<Command>,
    ) -> Result<(), ReplicaError> {
        match (event, &self.state) {
            (Event::Lost(error), State::Waiting { .. }) => {
                // The end of a connection that was given up already.
                drop(error);
            }
            (Event::Lost(error), _) => return Err(error),
            (Event::Tick, _) => return self.tick(now, out),
            (Event::Applied(lsn), _) => {
                self.applied = self.applied.max(lsn);
                if matches!(self.state, State::Streaming) {
                    let progress = self.reported();
                    self.replies.on_applied(progress, now, out);
                }
            }
            (Event::Written(lsn), _) => self.end = lsn,
            (Event::Flushed(lsn), _) => {
                // One at the driver's leisure may end after a later one that was waited for.
                (self.flushed, self.flushed_at) = (self.flushed.max(lsn), Some(now));
                self.flushing = false;
                if matches!(self.state, State::Streaming) {
                    let progress = self.reported();
                    self.replies.on_flushed(progress, now, out);
                }
            }
            (Event::Connected { plimsoll }, State::Connecting) => {
                self.plimsoll = plimsoll;
                self.identify(out);
            }
            (Event::Identified { system, timeline }, State::Identifying) => {
                self.identified(system, timeline, out)?;
            }
            (Event::History { timeline, text }, State::Fetching(_)) => {
                self.history_came(timeline, &text, out)?;
            }
            (Event::WholeEnd(whole), State::Scanning { .. }) => self.scanned(whole, out)?,
            (Event::Started, State::Starting) => {
                self.state = State::Streaming;
                self.replies.restart(now);
                self.replies.force(self.reported(), now, out);
                self.replies.feedback(now, out);
            }
            (Event::Data { start, primary_end, clock, wal }, State::Streaming) => {
                self.heard(primary_end, clock, now, wall);
                self.data(start, wal, out)?;
            }
            (Event::Keepalive { primary_end, clock, reply_requested }, State::Streaming) => {
                self.heard(primary_end, clock, now, wall);
                if reply_requested && self.flushed < self.end {
                    self.replies.owe();
                    out.push(Command::Flush);
                } else if reply_requested {
                    self.replies.force(self.reported(), now, out);
                }
            }
            (Event::Drained, State::Streaming) => self.settle(now, out),
            (Event::Differs(at), State::Streaming) => {
                return Err(ReplicaError::Differs { at, timeline: self.started.1 });
            }
            (Event::StreamEnded { next }, State::Streaming | State::Starting | State::Ending) => {
                self.stream_ended(next, out)?;
            }
            (Event::Awaited(awaited), state) => {
                let streaming = matches!(state, State::Streaming);
                self.replies.set_awaited(awaited);
                if streaming {
                    self.replies.catch_up(self.reported(), now, out);
                    if self.flushed < self.end && self.flush_at().is_none() {
                        out.push(Command::Flush);
                    }
                }
            }
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

    fn tick(&mut self, now: Duration, out: &mut Vec<Command>) -> Result<(), ReplicaError> {
        match self.state {
            State::Waiting { until } if now >= until => {
                self.state = State::Connecting;
                out.push(Command::Connect);
            }
            State::Streaming => {
                self.replies.tick(self.reported(), now, out)?;
                self.settle(now, out);
            }
            _ => {}
        }
        Ok(())
    }

    /// Reports what was written if commits wait for that, and only then makes it durable, if it is time.
    fn settle(&mut self, now: Duration, out: &mut Vec<Command>) {
        if self.flushed < self.end {
            self.replies.on_written(self.reported(), now, out);
            let leisurely = self.flush_at_leisure();
            if !(leisurely && self.flushing) && self.flush_at().is_none_or(|at| now >= at) {
                self.flushing = true;
                out.push(Command::Flush);
            }
        }
    }

    /// Whether nobody waits for the flush that was asked for last: the driver may go on receiving meanwhile, and tell
    /// [`Event::Flushed`] later. Until then no other is asked for, unless somebody waits for it.
    pub fn flush_at_leisure(&self) -> bool {
        matches!(self.state, State::Streaming) && !self.flush_is_awaited() && !self.replies.owes()
    }

    /// Whether commits wait for a flush here, which replay that counts includes.
    fn flush_is_awaited(&self) -> bool {
        let awaited = self.replies.awaited();
        awaited.has(Stage::Flushed) || awaited.has(Stage::Replayed)
    }

    /// The driver waited for a flush, and tells no event of it.
    pub fn flush_was_awaited(&mut self) {
        self.flushing = false;
    }

    /// When what is written has to be made durable; None: at once, since commits wait for that or there is much of it.
    fn flush_at(&self) -> Option<Duration> {
        let waiting = self.end.bytes_since(self.flushed);
        let hurried = self.flush_is_awaited() || waiting >= UNHURRIED_FLUSH_BYTES;
        self.flushed_at.filter(|_| !hurried).map(|last| last + UNHURRIED_FLUSH)
    }

    /// Whether so much more is on its way that the log's next segments will be filled at once.
    pub fn catches_up(&self) -> bool {
        self.primary_end.bytes_since(self.end) >= 2 * self.options.segment_size.bytes()
    }

    /// Whether replay is to be told with [`Event::Applied`] as soon as it moves; otherwise [`Receiver::set_applied`] before
    /// other events does.
    pub fn hurries_applied(&self) -> bool {
        self.replies.awaited().has(Stage::Replayed)
    }

    /// How far redo has come, as this machine knows.
    pub fn applied(&self) -> Lsn {
        self.applied
    }

    /// Redo has come so far; nothing follows from it at once.
    pub fn set_applied(&mut self, applied: Lsn) {
        self.applied = self.applied.max(applied);
    }

    /// When to tick at the latest; None if only other events move it.
    pub fn wake_at(&self) -> Option<Duration> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Streaming => {
                let flush = self.flush_at().filter(|_| self.flushed < self.end && !self.flushing);
                [self.replies.wake_at(), flush].into_iter().flatten().min()
            }
            _ => None,
        }
    }

    fn identify(&mut self, out: &mut Vec<Command>) {
        self.state = State::Identifying;
        out.push(Command::Identify);
    }

    fn identified(
        &mut self,
        system: SystemId,
        primary: TimelineId,
        out: &mut Vec<Command>,
    ) -> Result<(), ReplicaError> {
        if system != self.options.system {
            return Err(ReplicaError::OtherSystem { primary: system, standby: self.options.system });
        }
        let standby = self.history.target();
        if primary < standby {
            if self.plimsoll {
                out.push(Command::TellDescendant(self.history.clone()));
            }
            return Err(ReplicaError::PrimaryBehind { primary, standby });
        }
        let rootless = self.history.entries().is_empty();
        if rootless && standby > TimelineId::FIRST {
            // Its file got lost, or a copy left it out: without it no later timeline looks like a child of this one.
            self.state = State::Fetching(Fetching::Own(primary));
            out.push(Command::FetchHistory(standby));
        } else if rootless && primary == standby {
            // A first timeline has no history to compare; the bytes will be.
            self.start(out);
        } else {
            self.state = State::Fetching(Fetching::Theirs);
            out.push(Command::FetchHistory(primary));
        }
        Ok(())
    }

    /// Takes over the history of the timeline that is followed, which was not here. The log goes on where it is.
    fn own_history(
        &mut self,
        own: TimelineHistory,
        primary: TimelineId,
        out: &mut Vec<Command>,
    ) -> Result<(), ReplicaError> {
        let timeline = own.target();
        if own.entries().is_empty() {
            let what = format!("the primary's history of timeline {timeline} names no timeline before it");
            return Err(ReplicaError::Protocol(what));
        }
        if own.timeline_at(self.end) != timeline {
            return Err(ReplicaError::Twin { timeline });
        }
        out.push(Command::Follow { history: own.clone(), kept: self.end });
        self.history = own;
        self.identified(self.options.system, primary, out)
    }

    fn history_came(
        &mut self,
        timeline: TimelineId,
        text: &str,
        out: &mut Vec<Command>,
    ) -> Result<(), ReplicaError> {
        let invalid = |error: wal::history::HistoryError| ReplicaError::Protocol(error.to_string());
        let came = TimelineHistory::parse(timeline, text).map_err(invalid)?;
        match std::mem::replace(&mut self.state, State::Identifying) {
            State::Fetching(Fetching::Ancestors(mut accepted)) => {
                out.push(Command::StoreHistory(came));
                accepted.wanted.pop_front();
                self.fetch_or_follow(accepted, out);
                Ok(())
            }
            State::Fetching(Fetching::Own(primary)) => self.own_history(came, primary, out),
            _ => self.primary_history(came, out),
        }
    }

    /// Judges the primary's branch.
    fn primary_history(
        &mut self,
        theirs: TimelineHistory,
        out: &mut Vec<Command>,
    ) -> Result<(), ReplicaError> {
        let (primary, standby) = (theirs.target(), self.history.target());
        match relation(&self.history, &theirs) {
            Relation::Same => {
                self.start(out);
                Ok(())
            }
            Relation::Descendant { .. } if !self.options.follow_latest => {
                self.start(out);
                Ok(())
            }
            Relation::Descendant { fork } if self.end > fork => {
                self.state = State::Scanning { theirs, fork };
                out.push(Command::FindWholeEnd);
                Ok(())
            }
            Relation::Descendant { .. } => {
                self.accept(theirs, self.end, out);
                Ok(())
            }
            Relation::Ancestor { .. } => Err(ReplicaError::PrimaryBehind { primary, standby }),
            Relation::Sibling { .. } => Err(ReplicaError::NotAChild { primary, standby }),
            Relation::Twin { .. } => Err(ReplicaError::Twin { timeline: primary }),
        }
    }

    /// Our log goes past the fork; it still continues if only a record's beginning does.
    fn scanned(&mut self, whole: Lsn, out: &mut Vec<Command>) -> Result<(), ReplicaError> {
        let State::Scanning { theirs, fork } = std::mem::replace(&mut self.state, State::Identifying) else {
            return Ok(());
        };
        if whole > fork {
            return Err(ReplicaError::ForkedBefore {
                primary: theirs.target(),
                standby: self.history.target(),
                forked_at: fork,
                reached: whole,
            });
        }
        self.accept(theirs, whole, out);
        Ok(())
    }

    fn accept(&mut self, history: TimelineHistory, kept: Lsn, out: &mut Vec<Command>) {
        let ours = self.history.target();
        let ancestors = history.entries().iter().map(|entry| entry.timeline);
        let wanted = ancestors.filter(|ancestor| *ancestor > ours).collect();
        self.fetch_or_follow(Accepted { history, kept, wanted }, out);
    }

    fn fetch_or_follow(&mut self, accepted: Accepted, out: &mut Vec<Command>) {
        if let Some(next) = accepted.wanted.front() {
            out.push(Command::FetchHistory(*next));
            self.state = State::Fetching(Fetching::Ancestors(accepted));
            return;
        }
        let Accepted { history, kept, .. } = accepted;
        out.push(Command::Follow { history: history.clone(), kept });
        self.history = history;
        // What the primary told of the end of its log was said of another branch.
        (self.end, self.flushed, self.primary_end) = (kept, self.flushed.min(kept), Lsn::INVALID);
        assert!(self.applied <= kept, "{} is applied and only {kept} kept", self.applied);
        self.start(out);
    }

    fn start(&mut self, out: &mut Vec<Command>) {
        let timeline = self.history.timeline_at(self.end);
        if timeline != self.timeline {
            out.push(Command::SwitchTimeline(timeline));
            self.timeline = timeline;
        }
        let at = self.overlap_start();
        self.expected = at;
        self.started = (at, timeline);
        self.state = State::Starting;
        out.push(Command::Start { slot: self.options.slot.clone(), at, timeline });
        out.push(Command::ReportStart { at, timeline });
    }

    /// Where to start so that up to a page that we have is sent again, inside the segment.
    fn overlap_start(&self) -> Lsn {
        let segment_start =
            self.options.segment_size.start_of(self.options.segment_size.segment_of(self.end));
        if self.end == segment_start { self.end } else { (self.end - 1).page_start().max(segment_start) }
    }

    fn heard(&mut self, primary_end: Lsn, clock: Timestamp, now: Duration, wall: Timestamp) {
        self.replies.heard(now);
        (self.last_sent, self.last_received) = (Some(clock), Some(wall));
        self.primary_end = self.primary_end.max(primary_end);
    }

    fn data(&mut self, start: Lsn, wal: Bytes, out: &mut Vec<Command>) -> Result<(), ReplicaError> {
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
            out.push(Command::Compare { at: start, wal: known });
        }
        if !new.is_empty() {
            // They count once they are written: what comes before in the batch may fail.
            out.push(Command::Write { at: start + shared as u64, wal: new });
        }
        Ok(())
    }

    /// What may be reported: no further than the primary has shown to have the same.
    fn reported(&self) -> Progress {
        let shown = |lsn: Lsn| lsn.min(self.expected);
        Progress { written: shown(self.end), flushed: shown(self.flushed), applied: shown(self.applied) }
    }

    fn stream_ended(
        &mut self,
        next: Option<(TimelineId, Lsn)>,
        out: &mut Vec<Command>,
    ) -> Result<(), ReplicaError> {
        if matches!(self.state, State::Streaming) {
            // The primary's CopyDone; its result comes after ours.
            if self.flushed < self.end {
                out.push(Command::Flush);
            }
            out.push(Command::FinishStream);
            self.state = State::Ending;
            return Ok(());
        }
        match next {
            // The history that we follow says what comes next; the primary's is fetched if it is newer.
            Some((timeline, _)) if self.options.follow_latest || self.history.contains(timeline) => {
                self.identify(out);
                Ok(())
            }
            _ => Err(ReplicaError::Connection {
                what: "replication terminated by primary server".to_owned(),
                cause: format!("end of WAL reached on timeline {} at {}", self.timeline, self.end),
            }),
        }
    }

    /// Takes over reloaded settings. A changed slot or conninfo needs a new connection, which the driver makes.
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
    /// For pg_stat_wal_receiver.
    pub fn view(&self) -> ReceiverView {
        let status = match self.state {
            State::Waiting { .. } => ReceiverStatus::Waiting,
            State::Streaming => ReceiverStatus::Streaming,
            State::Ending | State::Scanning { .. } => ReceiverStatus::Restarting,
            _ if self.last_received.is_some() => ReceiverStatus::Restarting,
            _ => ReceiverStatus::Starting,
        };
        ReceiverView {
            status,
            start: self.started.0,
            start_timeline: self.started.1,
            written: self.end,
            flushed: self.flushed,
            timeline: self.timeline,
            last_sent: self.last_sent,
            last_received: self.last_received,
            primary_end: self.primary_end,
            primary_end_at: self.last_received,
        }
    }
}

#[cfg(test)]
mod tests;
