//! What pg_stat_wal_receiver shows.

use super::{Receiver, State};
use host::Timestamp;
use wal::{Lsn, TimelineId};

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

impl Receiver {
    /// For pg_stat_wal_receiver.
    pub fn view(&self) -> ReceiverView {
        let status = match self.state {
            State::Waiting { .. } => ReceiverStatus::Waiting,
            State::Streaming => ReceiverStatus::Streaming,
            State::Ending | State::Behind { .. } | State::Scanning { .. } => ReceiverStatus::Restarting,
            _ if self.last_received.is_some() => ReceiverStatus::Restarting,
            _ => ReceiverStatus::Starting,
        };
        let end = self.unproven.unwrap_or(self.end);
        ReceiverView {
            status,
            start: self.started.0,
            start_timeline: self.started.1,
            written: end,
            // Behind a bad place more may be replayed than can be read.
            flushed: self.durable().min(end),
            timeline: self.timeline,
            last_sent: self.last_sent,
            last_received: self.last_received,
            primary_end: self.primary_end,
            primary_end_at: self.last_received,
        }
    }
}
