//! What will happen when, and what has happened.

use super::link::Roads;
use crate::world::NodeId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::task::Waker;
use std::time::Duration;
use tokio::time::Instant;

/// The end of a connection: 0 has opened it, 1 has accepted it.
pub(super) type Side = usize;

/// What happens at a time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// The first packet of an attempt to connect comes to its target.
    Knock { attempt: u64 },
    /// The answer comes back.
    Answer { attempt: u64, refused: bool },
    /// What `from` has sent comes to the other end.
    Arrival { connection: u64, from: Side },
    /// The other end's acknowledgement comes to `from`.
    Acknowledgement { connection: u64, from: Side },
    /// What `from` has sent may have been unacknowledged for too long.
    UserTimeout { connection: u64, from: Side },
    /// It may be time to ask whether the other end is still there.
    Keepalive { connection: u64, from: Side },
}

/// What happened on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A connection was made. Its number is new.
    Connected {
        /// The connection's number.
        connection: u64,
        /// Who has opened it.
        from: SocketAddr,
        /// Where to.
        to: SocketAddr,
    },
    /// Nobody listened there.
    Refused {
        /// Who has asked.
        from: SocketAddr,
        /// Where.
        to: SocketAddr,
    },
    /// Bytes came to a socket's buffer.
    Arrived {
        /// The connection's number.
        connection: u64,
        /// Who sent them: 0 is the end that has opened the connection.
        from: usize,
        /// How many.
        bytes: usize,
    },
    /// An end learned that the other sends no more.
    Ended {
        /// The connection's number.
        connection: u64,
        /// Who sends no more.
        from: usize,
    },
    /// An end learned that the connection is reset.
    Reset {
        /// The connection's number.
        connection: u64,
        /// Who has learned it.
        at: usize,
    },
    /// An end gave the connection up, as the other does not answer.
    TimedOut {
        /// The connection's number.
        connection: u64,
        /// Who has.
        at: usize,
    },
}

/// How much happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that were made.
    pub connections: u64,
    /// Attempts that were refused.
    pub refused: u64,
    /// Bytes that arrived.
    pub bytes: u64,
    /// Ends that learned of a reset.
    pub resets: u64,
    /// Ends that gave up.
    pub timeouts: u64,
}

/// Bytes that a program has written to a connection, at the moment when it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The connection's number.
    pub connection: u64,
    /// Which of its ends: 0 is the one that has opened it.
    pub side: usize,
    /// Whose program wrote.
    pub from: NodeId,
    /// To whom.
    pub to: NodeId,
    /// What.
    pub bytes: Vec<u8>,
}

/// The surroundings of a connection: links, time, and who is to be woken.
#[derive(Debug)]
pub(super) struct Around {
    pub(super) roads: Roads,
    pub(super) now: Instant,
    steps: BTreeMap<(Instant, u64), Step>,
    planned: u64,
    /// Of the task that takes the steps.
    pub(super) driver: Option<Waker>,
    /// To be woken once the network's lock is free.
    pub(super) wakes: Vec<Waker>,
    pub(super) started: Instant,
    /// To be told once the network's lock is free.
    pub(super) events: Vec<(Duration, Event)>,
    pub(super) counters: Counters,
    /// Between which machines it is listened to what programs write.
    pub(super) taps: Option<fn(NodeId, NodeId) -> bool>,
    /// To be told once the network's lock is free.
    pub(super) written: Vec<Written>,
}

impl Around {
    pub(super) fn new(seed: u64, now: Instant) -> Self {
        Self {
            roads: Roads::new(seed),
            now,
            steps: BTreeMap::new(),
            planned: 0,
            driver: None,
            wakes: Vec::new(),
            started: now,
            events: Vec::new(),
            counters: Counters::default(),
            taps: None,
            written: Vec::new(),
        }
    }

    pub(super) fn plan(&mut self, at: Instant, step: Step) {
        if self.next().is_none_or(|first| at < first) {
            self.wakes.extend(self.driver.clone());
        }
        self.planned += 1;
        self.steps.insert((at, self.planned), step);
    }

    /// When the next step is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.steps.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next step, if it is due.
    pub(super) fn take_due(&mut self) -> Option<Step> {
        let first = self.steps.first_entry()?;
        (first.key().0 <= self.now).then(|| first.remove())
    }

    pub(super) fn wake(&mut self, waker: &mut Option<Waker>) {
        self.wakes.extend(waker.take());
    }

    pub(super) fn tell(&mut self, event: Event) {
        let counters = &mut self.counters;
        match event {
            Event::Connected { .. } => counters.connections += 1,
            Event::Refused { .. } => counters.refused += 1,
            Event::Arrived { bytes, .. } => counters.bytes += bytes as u64,
            Event::Ended { .. } => {}
            Event::Reset { .. } => counters.resets += 1,
            Event::TimedOut { .. } => counters.timeouts += 1,
        }
        self.events.push((self.now.duration_since(self.started), event));
    }
}
