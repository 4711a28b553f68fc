//! A connection: two ends, and the bytes between them.

use super::agenda::{Around, Event, Side, Step, Written};
use super::flow::{Content, Flow, RECEIVE_BUFFER};
use crate::world::NodeId;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::ReadBuf;

/// Chances of 256 that bytes sent together arrive in two pieces.
const CUT: u8 = 24;
/// Chances of 256 that a read or a write takes only some of what it could.
const SHORT: u8 = 8;
/// When TCP gives up what nobody acknowledges, unless it is told otherwise: Linux's 15 retries.
const RETRIES: Duration = Duration::from_secs(924);
/// The longest time until TCP sends again what was lost, once that arrives.
const RETRANSMISSION_MS: u64 = 200;

/// When a silent peer is asked whether it is still there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keepalive {
    pub(super) idle: Duration,
    pub(super) interval: Duration,
    pub(super) probes: u32,
}

/// One end.
#[derive(Debug)]
pub(super) struct End {
    pub(super) node: NodeId,
    pub(super) address: SocketAddr,
    /// Its kernel knows the connection.
    pub(super) open: bool,
    /// Its program has dropped the socket, or is gone.
    pub(super) closed: bool,
    /// What the next call fails with.
    error: Option<ErrorKind>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    user_timeout: Duration,
    keepalive: Option<Keepalive>,
    /// Questions without an answer.
    asked: u32,
    /// When it last heard of the other.
    heard: tokio::time::Instant,
}

impl End {
    pub(super) fn new(node: NodeId, address: SocketAddr, now: tokio::time::Instant) -> Self {
        Self {
            node,
            address,
            open: true,
            closed: false,
            error: None,
            reader: None,
            writer: None,
            user_timeout: RETRIES,
            keepalive: None,
            asked: 0,
            heard: now,
        }
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) ends: [End; 2],
    /// By the end that sends.
    pub(super) flows: [Flow; 2],
}

impl Connection {
    pub(super) fn new(id: u64, ends: [End; 2]) -> Self {
        Self { id, ends, flows: [Flow::new(), Flow::new()] }
    }

    /// From the end that sends to the other.
    fn way(&self, from: Side) -> (NodeId, NodeId) {
        (self.ends[from].node, self.ends[1 - from].node)
    }

    pub(super) fn poll_read(
        &mut self,
        side: Side,
        around: &mut Around,
        cx: &Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (end, flow) = (&mut self.ends[side], &mut self.flows[1 - side]);
        let mut count = flow.readable().min(buffer.remaining());
        if count > 0 {
            if count > 1 && around.roads.chance(SHORT) {
                count = around.roads.random.usize(1..count);
            }
            flow.take(count, |bytes| buffer.put_slice(bytes));
            // The sender learns of room when there is much.
            if flow.read + RECEIVE_BUFFER - flow.edge >= RECEIVE_BUFFER / 2 {
                self.owe_ack(1 - side, around);
            }
            return Poll::Ready(Ok(()));
        }
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = end.error.take() {
            return Poll::Ready(Err(error.into()));
        }
        if flow.ended || !end.open {
            return Poll::Ready(Ok(()));
        }
        end.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn poll_write(
        &mut self,
        side: Side,
        around: &mut Around,
        cx: &Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let (from, to) = self.way(side);
        let (end, flow) = (&mut self.ends[side], &mut self.flows[side]);
        if let Some(error) = end.error.take() {
            return Poll::Ready(Err(error.into()));
        }
        if !end.open || flow.finished {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let wanted: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        let mut count = wanted.min(flow.room());
        if count == 0 {
            end.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if count > 1 && around.roads.chance(SHORT) {
            count = around.roads.random.usize(1..count);
        }
        let mut left = count;
        let parts = buffers.iter().map(|buffer| {
            let part = buffer.get(..left.min(buffer.len())).unwrap_or_default();
            left -= part.len();
            part
        });
        if around.taps.is_some_and(|taps| taps(from, to)) {
            let mut bytes = Vec::with_capacity(count);
            parts.for_each(|part| bytes.extend_from_slice(part));
            flow.bytes.extend(&bytes);
            around.written.push(Written { connection: self.id, side, from, to, bytes });
        } else {
            parts.for_each(|part| flow.bytes.extend(part));
        }
        flow.written += count;
        flow.waiting_since.get_or_insert(around.now);
        self.transmit(side, around);
        self.watch(side, around);
        Poll::Ready(Ok(count))
    }

    /// Sends no more, and tells the other so after what was written.
    pub(super) fn finish(&mut self, side: Side, around: &mut Around) -> io::Result<()> {
        if !self.ends[side].open {
            return Err(ErrorKind::NotConnected.into());
        }
        self.flows[side].finished = true;
        self.transmit(side, around);
        Ok(())
    }

    /// The program has closed its socket. As in Linux, who had not read everything resets the connection.
    pub(super) fn close(&mut self, side: Side, around: &mut Around) {
        let end = &mut self.ends[side];
        end.closed = true;
        if !end.open {
            return;
        }
        end.open = false;
        if self.flows[1 - side].readable() > 0 {
            let in_flight = self.flows[side].in_flight();
            self.flows[side].lose(in_flight);
            self.refuse(side, around);
        } else {
            self.flows[side].finished = true;
            self.transmit(side, around);
        }
    }

    /// The machine is gone without a word; some of what it has sent still arrives.
    pub(super) fn lose_end(&mut self, side: Side, around: &mut Around) {
        let (from, to) = self.way(side);
        self.ends[side].open = false;
        self.ends[side].closed = true;
        let keep = if around.roads.carries(from, to) { self.some_in_flight(side, around) } else { 0 };
        self.flows[side].lose(keep);
    }

    /// Somebody between the two resets the connection. Some of what is on its way has arrived before.
    pub(super) fn reset(&mut self, around: &mut Around) {
        for side in [0, 1] {
            let keep = self.some_in_flight(side, around);
            let flow = &mut self.flows[side];
            flow.lose(keep);
            flow.arrived = flow.transmitted;
            flow.pieces.clear();
        }
        for side in [0, 1] {
            if self.ends[side].open {
                self.fail(side, ErrorKind::ConnectionReset, around);
            }
        }
    }

    fn some_in_flight(&self, side: Side, around: &mut Around) -> usize {
        around.roads.random.usize(..=self.flows[side].in_flight())
    }

    /// An end's kernel gives the connection up.
    fn fail(&mut self, side: Side, error: ErrorKind, around: &mut Around) {
        let id = self.id;
        let end = &mut self.ends[side];
        end.open = false;
        end.error = Some(error);
        around.wake(&mut end.reader);
        around.wake(&mut end.writer);
        self.flows[side].lose(0);
        around.tell(match error {
            ErrorKind::TimedOut => Event::TimedOut { connection: id, at: side },
            _ => Event::Reset { connection: id, at: side },
        });
    }

    /// Tells the other end that there is no such connection here.
    fn refuse(&mut self, side: Side, around: &mut Around) {
        let (from, to) = self.way(side);
        let flow = &mut self.flows[side];
        if !flow.reset_sent {
            flow.reset_sent = true;
            flow.over = true;
            flow.send(around.roads.due(from, to, around.now, 0), Content::Reset);
            self.plan_arrival(side, around);
        }
    }

    /// Sends what the other's window has room for.
    fn transmit(&mut self, side: Side, around: &mut Around) {
        let (from, to) = self.way(side);
        let flow = &mut self.flows[side];
        if flow.over {
            return;
        }
        let count = flow.sendable();
        if count > 0 {
            let first = match count > 1 && around.roads.chance(CUT) {
                true => around.roads.random.usize(1..count),
                false => count,
            };
            flow.transmitted += count;
            flow.send(around.roads.due(from, to, around.now, first), Content::Bytes(first));
            if first < count {
                let rest = count - first;
                let later = around.roads.due(from, to, around.now, rest) + around.roads.delay(from, to);
                flow.send(later, Content::Bytes(rest));
            }
        }
        if flow.finished && flow.transmitted == flow.written {
            flow.over = true;
            flow.send(around.roads.due(from, to, around.now, 0), Content::End);
        }
        self.plan_arrival(side, around);
    }

    fn plan_arrival(&mut self, from: Side, around: &mut Around) {
        let flow = &mut self.flows[from];
        if let Some(piece) = flow.pieces.front()
            && !flow.arrival_planned
        {
            flow.arrival_planned = true;
            around.plan(piece.due, Step::Arrival { connection: self.id, from });
        }
    }

    /// What is due arrives, unless it is lost: then it is sent again when the link heals.
    pub(super) fn arrive(&mut self, from: Side, around: &mut Around) {
        let (id, to) = (self.id, 1 - from);
        self.flows[from].arrival_planned = false;
        let way = self.way(from);
        if !around.roads.carries(way.0, way.1) {
            return;
        }
        let (mut refused, mut any) = (false, false);
        while let Some(piece) = self.flows[from].take_due(around.now) {
            any = true;
            match piece.content {
                Content::Bytes(bytes) => {
                    self.flows[from].arrived += bytes;
                    refused |= !self.ends[to].open;
                    around.tell(Event::Arrived { connection: id, from, bytes });
                }
                Content::End => {
                    self.flows[from].ended = true;
                    around.tell(Event::Ended { connection: id, from });
                }
                Content::Reset if self.ends[to].open => self.fail(to, ErrorKind::ConnectionReset, around),
                Content::Reset => {}
            }
        }
        if refused {
            self.refuse(to, around);
        } else if any {
            self.ends[to].heard = around.now;
            around.wake(&mut self.ends[to].reader);
            self.owe_ack(from, around);
        }
        self.plan_arrival(from, around);
    }

    /// The receiver will acknowledge what `from` has sent.
    fn owe_ack(&mut self, from: Side, around: &mut Around) {
        let (sender, receiver) = self.way(from);
        if !self.flows[from].ack_planned {
            self.flows[from].ack_planned = true;
            let at = around.now + around.roads.delay(receiver, sender);
            around.plan(at, Step::Acknowledgement { connection: self.id, from });
        }
    }

    pub(super) fn acknowledge(&mut self, from: Side, around: &mut Around) {
        let (sender, receiver) = self.way(from);
        let flow = &mut self.flows[from];
        flow.ack_planned = false;
        flow.ack_lost = !around.roads.carries(receiver, sender);
        if flow.ack_lost {
            return;
        }
        let edge = flow.read + RECEIVE_BUFFER;
        if flow.arrived > flow.acked || edge > flow.edge {
            flow.waiting_since = (flow.arrived < flow.written).then_some(around.now);
        }
        flow.acked = flow.arrived;
        flow.edge = edge;
        let end = &mut self.ends[from];
        end.heard = around.now;
        around.wake(&mut end.writer);
        self.transmit(from, around);
    }

    /// The link carries again: what was lost on it is sent anew.
    pub(super) fn send_again(&mut self, around: &mut Around, healed: impl Fn(NodeId, NodeId) -> bool) {
        for side in [0, 1] {
            let (from, to) = self.way(side);
            let flow = &mut self.flows[side];
            if healed(from, to) && !flow.pieces.is_empty() && !flow.arrival_planned {
                let wait = Duration::from_millis(around.roads.random.u64(..=RETRANSMISSION_MS));
                let delay = around.roads.delay(from, to);
                flow.put_off(around.now + wait + delay);
                self.plan_arrival(side, around);
            }
            if healed(to, from) && self.flows[side].ack_lost && self.ends[1 - side].open {
                self.owe_ack(side, around);
            }
        }
    }

    pub(super) fn set_user_timeout(&mut self, side: Side, limit: Option<Duration>, around: &mut Around) {
        self.ends[side].user_timeout = limit.filter(|limit| !limit.is_zero()).unwrap_or(RETRIES);
        self.watch(side, around);
    }

    /// Plans to look whether what was sent is unacknowledged for too long.
    fn watch(&mut self, from: Side, around: &mut Around) {
        let (flow, limit) = (&mut self.flows[from], self.ends[from].user_timeout);
        let Some(at) = flow.waiting_since.map(|since| since + limit) else { return };
        if flow.watch.is_none_or(|planned| at < planned) {
            flow.watch = Some(at);
            around.plan(at, Step::UserTimeout { connection: self.id, from });
        }
    }

    pub(super) fn look_at_user_timeout(&mut self, from: Side, around: &mut Around) {
        let (flow, end) = (&mut self.flows[from], &self.ends[from]);
        flow.watch = None;
        match flow.waiting_since {
            Some(since) if end.open && since + end.user_timeout <= around.now => {
                self.fail(from, ErrorKind::TimedOut, around);
            }
            _ => self.watch(from, around),
        }
    }

    pub(super) fn set_keepalive(&mut self, side: Side, keepalive: Keepalive, around: &mut Around) {
        if self.ends[side].keepalive.replace(keepalive).is_none() {
            self.ends[side].heard = around.now;
            self.plan_keepalive(side, keepalive.idle, around);
        }
    }

    fn plan_keepalive(&self, from: Side, wait: Duration, around: &mut Around) {
        around.plan(around.now + wait, Step::Keepalive { connection: self.id, from });
    }

    pub(super) fn look_at_keepalive(&mut self, side: Side, around: &mut Around) {
        let (here, there) = self.way(side);
        let (end, other) = (&mut self.ends[side], 1 - side);
        let Some(keepalive) = end.keepalive.filter(|_| end.open) else { return };
        let silent = around.now.duration_since(end.heard);
        let waits = self.flows[side].waiting_since.is_some();
        if waits || silent < keepalive.idle {
            end.asked = 0;
            let wait = if waits { keepalive.interval } else { keepalive.idle - silent };
            return self.plan_keepalive(side, wait, around);
        }
        if around.roads.carries(here, there) && around.roads.carries(there, here) {
            end.asked = 0;
            end.heard = around.now;
            if !self.ends[other].open {
                self.refuse(other, around);
            }
            return self.plan_keepalive(side, keepalive.idle, around);
        }
        end.asked += 1;
        if end.asked > keepalive.probes {
            return self.fail(side, ErrorKind::TimedOut, around);
        }
        self.plan_keepalive(side, keepalive.interval, around);
    }
}
