//! One direction of a connection: bytes from a program's write to another's read.
//!
//! Positions count bytes since the connection began: read <= arrived <= transmitted <= written at the
//! receiver's and the sender's kernel. The sender learns of the first two by acknowledgements alone: `acked`
//! is the position arrived, `edge` the one up to which it may transmit, as far as it knows.

use std::collections::VecDeque;
use tokio::time::Instant;

/// Bytes that a sender's kernel keeps: written and not acknowledged.
pub(super) const SEND_BUFFER: usize = 128 << 10;
/// Bytes that a receiver's kernel keeps: arrived and not read.
pub(super) const RECEIVE_BUFFER: usize = 128 << 10;

/// What is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Bytes(usize),
    /// The sender writes no more.
    End,
    /// The sender has no such connection any more.
    Reset,
}

/// What arrives at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) due: Instant,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) struct Flow {
    /// From `read` to `written`.
    pub(super) bytes: VecDeque<u8>,
    pub(super) read: usize,
    pub(super) arrived: usize,
    pub(super) transmitted: usize,
    pub(super) written: usize,
    pub(super) acked: usize,
    pub(super) edge: usize,
    /// On its way, in order.
    pub(super) pieces: VecDeque<Piece>,
    last_due: Option<Instant>,
    pub(super) arrival_planned: bool,
    pub(super) ack_planned: bool,
    /// An acknowledgement was lost.
    pub(super) ack_lost: bool,
    /// The sender writes no more.
    pub(super) finished: bool,
    /// Nothing more is transmitted but a reset.
    pub(super) over: bool,
    pub(super) reset_sent: bool,
    /// The receiver knows that nothing more comes.
    pub(super) ended: bool,
    /// Since when something is unacknowledged, without any progress.
    pub(super) waiting_since: Option<Instant>,
    /// When the sender next looks whether that is too long.
    pub(super) watch: Option<Instant>,
}

impl Flow {
    pub(super) fn new() -> Self {
        Self {
            bytes: VecDeque::new(),
            read: 0,
            arrived: 0,
            transmitted: 0,
            written: 0,
            acked: 0,
            edge: RECEIVE_BUFFER,
            pieces: VecDeque::new(),
            last_due: None,
            arrival_planned: false,
            ack_planned: false,
            ack_lost: false,
            finished: false,
            over: false,
            reset_sent: false,
            ended: false,
            waiting_since: None,
            watch: None,
        }
    }

    /// Bytes that the sender's kernel takes now.
    pub(super) fn room(&self) -> usize {
        SEND_BUFFER.saturating_sub(self.written - self.acked)
    }

    /// Bytes that may be transmitted now.
    pub(super) fn sendable(&self) -> usize {
        self.written.min(self.edge).saturating_sub(self.transmitted)
    }

    /// Bytes that can be read.
    pub(super) fn readable(&self) -> usize {
        self.arrived - self.read
    }

    /// Bytes on their way.
    pub(super) fn in_flight(&self) -> usize {
        self.transmitted - self.arrived
    }

    /// Puts something on its way; it never overtakes.
    pub(super) fn send(&mut self, due: Instant, content: Content) {
        let due = self.last_due.map_or(due, |last| last.max(due));
        self.last_due = Some(due);
        self.pieces.push_back(Piece { due, content });
    }

    /// What arrives next, if that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Piece> {
        if self.pieces.front()?.due > now {
            return None;
        }
        self.pieces.pop_front()
    }

    /// Everything on its way arrives no earlier than this.
    pub(super) fn put_off(&mut self, until: Instant) {
        for piece in &mut self.pieces {
            piece.due = piece.due.max(until);
        }
        self.last_due = self.pieces.back().map(|piece| piece.due).or(self.last_due);
    }

    /// The sender is gone: of what is on its way only the first `keep` bytes arrive, and nothing ever after.
    pub(super) fn lose(&mut self, keep: usize) {
        let mut left = keep;
        self.pieces.retain_mut(|piece| match &mut piece.content {
            Content::Bytes(bytes) => {
                *bytes = left.min(*bytes);
                left -= *bytes;
                *bytes > 0
            }
            Content::End | Content::Reset => false,
        });
        self.bytes.truncate(self.arrived - self.read + keep);
        self.transmitted = self.arrived + keep;
        self.written = self.transmitted;
        self.acked = self.acked.min(self.written);
        self.over = true;
        self.waiting_since = None;
    }

    /// The receiver takes bytes out of its buffer.
    pub(super) fn take(&mut self, count: usize, mut put: impl FnMut(&[u8])) {
        let (first, second) = self.bytes.as_slices();
        let from_first = count.min(first.len());
        put(first.get(..from_first).unwrap_or_default());
        put(second.get(..count - from_first).unwrap_or_default());
        self.bytes.drain(..count);
        self.read += count;
    }
}
