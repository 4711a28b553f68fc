//! The sending side of a stream, as a state machine without I/O.
//!
//! The driver asks [`Sender::poll`] what to do next, does it, and tells the machine what happened: WAL sent,
//! a reply arrived, the standby ended its side, the log was taken over by another timeline, the server stops.
//! Times are of the node's monotonic clock.
//!
//! ```text
//!  startup --> catchup --> streaming --> stopping     the log ends here, the standby has flushed it: done
//!                 \            \
//!                  +-- the timeline ended: CopyDone, the standby's CopyDone, the next timeline as a result
//!                  +-- the standby ended the stream: CopyDone
//!
//! A successor's stream stays at the log's end until the handover to it is decided ([`handover`]).
//! ```

pub mod handover;
mod start;
pub mod streams;

pub use start::{StreamPlan, TimelineEnd};

use crate::error::ReplicaError;
use crate::sync::Progress;
use std::time::Duration;
use wal::history::TimelineHistory;
use wal::{Lsn, Replaced, TimelineId};

/// Most WAL bytes of one message (MAX_SEND_SIZE of PostgreSQL).
pub const CHUNK_BYTES_MAX: u64 = 128 << 10;
/// Pause between two messages of WAL that no commit waits for, so that each need not wake the standby for a
/// single commit. With many streams it is longer: together they send [`UNHURRIED_SENDS`] such messages a
/// second at most.
const UNHURRIED_PAUSE: Duration = Duration::from_micros(500);
const UNHURRIED_SENDS: u32 = 4000;
/// So much WAL goes out at once all the same, in bytes.
const UNHURRIED_BYTES: u64 = 32 << 10;
/// How long the connection to a standby whose time is over is read once more before it is given up.
const LAST_LOOK: Duration = Duration::from_millis(100);

/// state of pg_stat_replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderState {
    /// Nothing was asked of it yet.
    Startup,
    /// It sends a base backup.
    Backup,
    /// The standby lags behind.
    Catchup,
    /// The standby has all that there is.
    Streaming,
    /// The server stops and sends what is left.
    Stopping,
}

impl SenderState {
    /// The word in pg_stat_replication.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Backup => "backup",
            Self::Catchup => "catchup",
            Self::Streaming => "streaming",
            Self::Stopping => "stopping",
        }
    }
    /// Whether commits may count on a standby in this state.
    pub const fn counts_for_sync(self) -> bool {
        matches!(self, Self::Streaming | Self::Stopping)
    }
}

/// What to do next.
#[derive(Debug)]
pub enum Action {
    /// Send the WAL of `from..upto` in one message, then call [`Sender::sent`].
    Send {
        /// The first byte.
        from: Lsn,
        /// The end, exclusive.
        upto: Lsn,
    },
    /// Send a keepalive.
    Keepalive {
        /// Ask the standby to reply at once.
        reply_requested: bool,
    },
    /// Send CopyDone.
    CopyDone,
    /// The standby that takes over has flushed and replayed the whole log: tell the handover.
    Reached,
    /// The stream is over in good order.
    Finish(Finish),
    /// End the connection with this error.
    Fail(ReplicaError),
    /// Nothing to do before more WAL, a message, or this time.
    Wait {
        /// When to poll again at the latest.
        until: Option<Duration>,
        /// The log is worth a look once it is flushed past this.
        past: Lsn,
    },
    /// The standby's time is over: read what the connection has, and poll again then, or at this time.
    LookOnce {
        /// When the standby is given up if it has said nothing.
        until: Duration,
    },
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The timeline is over (or was, when the standby left): the result names the next.
    TimelineEnded(TimelineEnd),
    /// The standby ended the stream.
    StandbyLeft,
    /// The server stops, and the standby has everything.
    Stopped,
}

/// Times that a sender keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderTimes {
    /// wal_sender_timeout; None waits for ever.
    pub timeout: Option<Duration>,
    /// Keepalives that ask for a reply at least this often, to keep lag figures fresh; between Plimsoll nodes
    /// only.
    pub heartbeat: Option<Duration>,
}

/// A reply of the standby, as far as the machine needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// How far it is.
    pub progress: Progress,
    /// It wants a keepalive back.
    pub reply_requested: bool,
}

/// One stream to one standby.
#[derive(Debug)]
pub struct Sender {
    timeline: TimelineId,
    end: Option<TimelineEnd>,
    sent: Lsn,
    sent_at: Option<Duration>,
    /// What might have been sent when the last message was cut.
    limit: Lsn,
    /// Commits wait for what the standby reports.
    hurried: bool,
    /// Pause between two messages that nobody waits for.
    pause: Duration,
    state: SenderState,
    times: SenderTimes,
    progress: Progress,
    last_reply: Duration,
    last_heartbeat: Duration,
    /// A keepalive that asks for a reply is on its way.
    asked: bool,
    /// The standby's time is over: until then the connection is read once more.
    last_look_ends: Option<Duration>,
    keepalive_due: bool,
    copy_done_sent: bool,
    copy_done_received: bool,
    /// The end of the log, once the server has written its last record.
    log_ends: Option<Lsn>,
    /// Whether this server, whose own timeline is streamed, is fenced.
    replaced: Option<Replaced>,
    /// Whether the standby is to take over.
    succession: Succession,
    /// A reply is wanted at once.
    asks: bool,
}

/// Whether a standby is to take over from this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Succession {
    /// It is not, or that is decided.
    No,
    /// Once it has all.
    Awaited,
    /// It has all: what comes of it is not known yet.
    Reached,
}

impl Sender {
    /// A stream of what the plan says, which must not be empty.
    pub fn new(plan: StreamPlan, times: SenderTimes, now: Duration) -> Self {
        Self {
            timeline: plan.timeline,
            end: plan.end,
            sent: plan.start,
            sent_at: None,
            limit: Lsn::MAX,
            hurried: true,
            pause: UNHURRIED_PAUSE,
            state: SenderState::Catchup,
            times,
            progress: Progress::default(),
            last_reply: now,
            last_heartbeat: now,
            asked: false,
            last_look_ends: None,
            keepalive_due: false,
            copy_done_sent: false,
            copy_done_received: false,
            log_ends: None,
            replaced: None,
            succession: Succession::No,
            asks: false,
        }
    }

    /// What to do, given that WAL may be sent up to `flushed`.
    pub fn poll(&mut self, now: Duration, flushed: Lsn) -> Action {
        if self.is_overdue(now) {
            // What the standby said while this process did not run (it was stopped, or its machine was) waits
            // in the connection.
            let ends = *self.last_look_ends.get_or_insert(now + LAST_LOOK);
            return match now < ends {
                true => Action::LookOnce { until: ends },
                false => Action::Fail(ReplicaError::SenderTimeout),
            };
        }
        if let Some(action) = self.end_of_copy() {
            return action;
        }
        if self.copy_done_sent {
            // No keepalive may follow it. The standby answers with its own, or is given up.
            return Action::Wait { until: self.deadline(), past: self.sent };
        }
        if std::mem::take(&mut self.keepalive_due) {
            return Action::Keepalive { reply_requested: false };
        }
        if std::mem::take(&mut self.asks) {
            return self.ask();
        }
        // Where the timeline ends may be known before its log is here.
        let limit = self.end.map_or(flushed, |end| end.at.min(flushed));
        let replaced = self.replaced.filter(|_| self.end.is_none());
        if let Some(Replaced { at, by }) = replaced.filter(|replaced| self.sent >= replaced.at) {
            // A standby that has all of it looks for the other one; one that has more is no part of that.
            return Action::Fail(ReplicaError::Replaced { timeline: self.timeline, at, by });
        }
        let limit = replaced.map_or(limit, |replaced| replaced.at.min(limit));
        if let Some(pause_ends) = self.pause_ends(limit).filter(|ends| now < *ends) {
            return self.keep_alive(now, Some(pause_ends));
        }
        if self.sent < limit {
            // Whoever was sent all there was has caught up, however fast the log grows meanwhile.
            if self.end.is_none() && self.sent >= self.limit {
                self.catches_up();
            }
            self.limit = limit;
            return Action::Send { from: self.sent, upto: self.chunk_end(limit) };
        }
        if self.end.is_some_and(|end| self.sent >= end.at) {
            self.copy_done_sent = true;
            return Action::CopyDone;
        }
        self.catches_up();
        self.end_of_log().unwrap_or_else(|| self.keep_alive(now, None))
    }

    /// This server is fenced.
    pub fn on_replaced(&mut self, replaced: Replaced) {
        self.replaced = Some(replaced);
    }

    fn catches_up(&mut self) {
        if self.state == SenderState::Catchup {
            self.state = SenderState::Streaming;
        }
    }

    /// When WAL up to `limit` goes out that waits for more to come; None if it does not.
    fn pause_ends(&self, limit: Lsn) -> Option<Duration> {
        let little = self.sent < limit && limit.bytes_since(self.sent) <= UNHURRIED_BYTES;
        let may_wait = little && !self.hurried && self.state == SenderState::Streaming && self.end.is_none();
        self.sent_at.filter(|_| may_wait).map(|sent| sent + self.pause)
    }

    fn end_of_copy(&mut self) -> Option<Action> {
        if !self.copy_done_received {
            return None;
        }
        if !std::mem::replace(&mut self.copy_done_sent, true) {
            return Some(Action::CopyDone);
        }
        Some(Action::Finish(self.end.map_or(Finish::StandbyLeft, Finish::TimelineEnded)))
    }

    /// While the server stops: done when the standby has flushed all (or written, if it does not flush).
    fn end_of_log(&mut self) -> Option<Action> {
        let ends = self.log_ends.filter(|ends| self.sent >= *ends)?;
        match self.succession {
            Succession::No => {}
            Succession::Awaited if self.progress.flushed.min(self.progress.replayed) >= ends => {
                self.succession = Succession::Reached;
                return Some(Action::Reached);
            }
            Succession::Awaited => return (!self.asked).then(|| self.ask()),
            Succession::Reached => return None,
        }
        let reached =
            if self.progress.flushed.is_valid() { self.progress.flushed } else { self.progress.written };
        if reached >= ends {
            return Some(Action::Finish(Finish::Stopped));
        }
        (!self.asked).then(|| self.ask())
    }

    fn ask(&mut self) -> Action {
        self.asked = true;
        Action::Keepalive { reply_requested: true }
    }

    /// Asks a silent standby for a reply at half its timeout, and a Plimsoll node at each heartbeat.
    fn keep_alive(&mut self, now: Duration, pause_ends: Option<Duration>) -> Action {
        let mut until = pause_ends;
        let mut at = |time: Duration| until = Some(until.map_or(time, |other: Duration| other.min(time)));
        if let Some(timeout) = self.times.timeout {
            at(self.last_reply + timeout);
            if !self.asked {
                let half = self.last_reply + timeout / 2;
                if now >= half {
                    return self.ask();
                }
                at(half);
            }
        }
        if let Some(heartbeat) = self.times.heartbeat
            && !self.asked
        {
            if now >= self.last_heartbeat + heartbeat {
                self.last_heartbeat = now;
                return self.ask();
            }
            at(self.last_heartbeat + heartbeat);
        }
        let past = if pause_ends.is_some() { self.sent + UNHURRIED_BYTES } else { self.sent };
        Action::Wait { until, past }
    }

    /// The end of the next message: whole pages while the standby lags, so that it writes whole pages.
    fn chunk_end(&self, limit: Lsn) -> Lsn {
        let full = self.sent + CHUNK_BYTES_MAX;
        if limit <= full { limit } else { full.page_start().max(self.sent + 1) }
    }

    /// WAL up to here has gone out.
    pub fn sent(&mut self, upto: Lsn, now: Duration) {
        assert!(upto >= self.sent, "sent goes back from {} to {upto}", self.sent);
        self.sent = upto;
        self.sent_at = Some(now);
    }

    /// Whether commits wait for what the standby reports; if none does, WAL goes out in portions, a moment
    /// apart.
    pub fn set_hurried(&mut self, hurried: bool) {
        self.hurried = hurried;
    }

    /// Takes over times that may have changed. A new one runs from now on: a standby that was rightly silent
    /// under the old one is asked first.
    pub fn set_times(&mut self, times: SenderTimes, now: Duration) {
        if times != self.times {
            self.times = times;
            self.asked = false;
            self.on_life_sign(now);
        }
    }

    /// So many streams leave this server.
    pub fn set_streams(&mut self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.pause = UNHURRIED_PAUSE.max((Duration::from_secs(1) / UNHURRIED_SENDS).saturating_mul(count));
    }

    /// The standby replied. Positions may go back (it restarted), as it knows best.
    pub fn on_reply(&mut self, reply: Reply, now: Duration) {
        self.on_life_sign(now);
        self.asked = false;
        self.progress = reply.progress;
        self.keepalive_due |= reply.reply_requested;
    }

    /// The standby said something else; it lives.
    pub fn on_life_sign(&mut self, now: Duration) {
        self.last_reply = now;
        self.last_look_ends = None;
    }

    /// The standby sent CopyDone.
    pub fn on_copy_done(&mut self) {
        self.copy_done_received = true;
    }

    /// This server's log is another one now (a standby was promoted, or follows a promoted primary): it is
    /// that of before up to `kept`. If the streamed timeline ended with that, the stream ends at its end. To
    /// have sent more than that is an error.
    ///
    /// # Errors
    ///
    /// Fails if the streamed timeline is not in the history, or more was sent than it has of it.
    pub fn on_branch(&mut self, history: &TimelineHistory, kept: Lsn) -> Result<(), ReplicaError> {
        let end =
            start::timeline_end(history, self.timeline).ok_or(ReplicaError::NoTimeline(self.timeline))?;
        let forked_at = end.map_or(kept, |end| end.at.min(kept));
        if self.sent > forked_at {
            let (start, timeline) = (self.sent, self.timeline);
            return Err(ReplicaError::PastFork { start, timeline, forked_at });
        }
        self.end = end;
        Ok(())
    }

    /// The server is stopping; more WAL may come (the shutdown checkpoint).
    pub fn on_stopping(&mut self) {
        self.state = SenderState::Stopping;
    }

    /// The server has flushed its last record, which ends here.
    pub fn on_log_end(&mut self, end: Lsn) {
        self.state = SenderState::Stopping;
        self.log_ends = Some(end);
        self.asked = false;
    }

    /// The standby is to take over from this node, and is asked at once how far it is; or that is decided.
    pub fn set_successor(&mut self, is_successor: bool) {
        self.asks = is_successor;
        self.succession = if is_successor { Succession::Awaited } else { Succession::No };
    }
    /// The end of the log, once it has one.
    pub fn log_end(&self) -> Option<Lsn> {
        self.log_ends
    }

    /// When the time of the standby is over if it says nothing; None if never.
    pub fn deadline(&self) -> Option<Duration> {
        self.times.timeout.map(|timeout| self.last_reply + timeout)
    }
    /// Whether that time has come: the standby is given up, once the connection was read once more.
    pub fn is_overdue(&self, now: Duration) -> bool {
        self.deadline().is_some_and(|deadline| now >= deadline)
    }

    /// The timeline that is streamed.
    pub fn timeline(&self) -> TimelineId {
        self.timeline
    }
    /// The end of what has gone out.
    pub fn sent_upto(&self) -> Lsn {
        self.sent
    }
    /// state of pg_stat_replication.
    pub fn state(&self) -> SenderState {
        self.state
    }
    /// The last reply.
    pub fn progress(&self) -> Progress {
        self.progress
    }
    /// Whether more log is to be sent once there is more.
    pub fn wants_log(&self) -> bool {
        !self.copy_done_sent && self.end.is_none_or(|end| self.sent < end.at)
    }
    /// Whether the standby has ended its side: what it says from then on is not of this stream.
    pub fn standby_is_done(&self) -> bool {
        self.copy_done_received
    }
    /// Where the streamed timeline ends, if it has ended.
    pub fn end(&self) -> Option<TimelineEnd> {
        self.end
    }
}

/// Whether a stream is for a copy in the making.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Copying {
    /// It is a standby's.
    #[default]
    No,
    /// It reads through a temporary slot, as both may: it is a standby's once it tells what it replayed.
    Perhaps,
    /// The client says so.
    Yes,
}

#[cfg(test)]
mod tests;
