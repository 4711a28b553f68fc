//! What happens to a receiver, and what it has its driver do.

use crate::error::ReplicaError;
use crate::roster::route::{Judged, Source};
use crate::sync::Progress;
use bytes::Bytes;
use durability::Stages;
use host::Timestamp;
use wal::history::TimelineHistory;
use wal::{Lsn, SystemId, TimelineId, Xid};

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
        /// The end of its log; MAX if it does not say.
        end: Lsn,
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
    /// The server that this one receives from says where its log comes from.
    Route {
        /// Where.
        source: Source,
        /// Whether this server is on the way.
        judged: Judged,
    },
    /// Nothing more is in the input buffer: a good moment to flush.
    Drained,
    /// A [`ReceiverAction::Write`] is done.
    Written(Lsn),
    /// A [`ReceiverAction::Flush`] is done.
    Flushed(Lsn),
    /// The log is replayed so far.
    Replayed(Lsn),
    /// The record whose beginning nobody vouched for is whole.
    Proven,
    /// It never will be, for this reason.
    Disproved(String),
    /// The stream begins there: at the overlap that was named, or at its start.
    Begins(Lsn),
    /// Bytes given to [`ReceiverAction::Compare`] are not ours.
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
pub enum ReceiverAction {
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
    TellDescendant,
    /// Ask the primary, whose branch is not followed since it left ours before our end, what it is a witness
    /// of.
    AskWitnessed,
    /// Find the end of the last whole record; then [`Event::WholeEnd`].
    FindWholeEnd,
    /// Go on writing on this timeline, which forks off at the log's end.
    SwitchTimeline(TimelineId),
    /// Have the log be written from here on. Unless [`super::Receiver::unproven`] is None what is received
    /// does not count; then look for [`Event::Proven`].
    GoOnAt(Lsn),
    /// Make what was received since then durable: it counts, and what comes.
    Count,
    /// Send START_REPLICATION.
    Start {
        /// The slot.
        slot: Option<String>,
        /// The first byte.
        at: Lsn,
        /// Where to begin instead if the primary has that, so that it can be compared; then
        /// [`Event::Begins`].
        overlap: Option<Lsn>,
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
    /// Tell the log: a try failed, and another one follows after a pause.
    Report(ReplicaError),
    /// Tell the log: the stream was ended by order, and is tried again at once.
    ReportEnd(ReplicaError),
    /// Tell the log: streaming begins, or begins anew on another timeline.
    ReportStart {
        /// The first byte.
        at: Lsn,
        /// The timeline.
        timeline: TimelineId,
    },
}
