//! The whole network: connections, listeners, and attempts to connect.

use super::agenda::{Around, Event, Side, Step};
use super::connection::{Connection, End};
use super::link::{address_of, node_of};
use crate::world::NodeId;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// First of the ports that the kernel chooses.
const FIRST_PORT: u16 = 32_768;
/// How often a first packet is sent again: after 1 s, 2 s, 4 s and so on, 127 s in all, as Linux does.
const KNOCKS_MAX: u32 = 7;

#[derive(Debug)]
pub(super) struct State {
    pub(super) around: Around,
    connections: BTreeMap<u64, Connection>,
    listeners: BTreeMap<u64, Listening>,
    attempts: BTreeMap<u64, Attempt>,
    /// The port that a machine's kernel chooses next.
    ports: BTreeMap<NodeId, u16>,
    next_id: u64,
}

#[derive(Debug)]
struct Listening {
    node: NodeId,
    address: SocketAddr,
    backlog: usize,
    waiting: VecDeque<u64>,
    acceptor: Option<Waker>,
}

#[derive(Debug)]
struct Attempt {
    node: NodeId,
    from: SocketAddr,
    target: NodeId,
    to: SocketAddr,
    knocks: u32,
    outcome: Option<Result<u64, ErrorKind>>,
    waker: Option<Waker>,
}

/// What a socket is made of: the connection, and the addresses of this end and the other.
pub(super) struct Made {
    pub(super) connection: u64,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
}

impl State {
    pub(super) fn new(seed: u64, now: Instant) -> Self {
        Self {
            around: Around::new(seed, now),
            connections: BTreeMap::new(),
            listeners: BTreeMap::new(),
            attempts: BTreeMap::new(),
            ports: BTreeMap::new(),
            next_id: 0,
        }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A port that the kernel chooses.
    fn new_port(&mut self, node: NodeId) -> u16 {
        let next = self.ports.entry(node).or_insert(FIRST_PORT);
        let port = *next;
        *next = port.checked_add(1).unwrap_or(FIRST_PORT);
        port
    }

    pub(super) fn take_due_steps(&mut self) {
        while let Some(step) = self.around.take_due() {
            self.take(step);
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Knock { attempt } => self.knock(attempt),
            Step::Answer { attempt, refused } => self.answer(attempt, refused),
            Step::Arrival { connection, from } => {
                self.with(connection, |connection, around| connection.arrive(from, around));
            }
            Step::Acknowledgement { connection, from } => {
                self.with(connection, |connection, around| connection.acknowledge(from, around));
            }
            Step::UserTimeout { connection, from } => {
                self.with(connection, |connection, around| connection.look_at_user_timeout(from, around));
            }
            Step::Keepalive { connection, from } => {
                self.with(connection, |connection, around| connection.look_at_keepalive(from, around));
            }
        }
    }

    /// Does something with a connection; None if there is none any more.
    pub(super) fn with<T>(
        &mut self,
        connection: u64,
        look: impl FnOnce(&mut Connection, &mut Around) -> T,
    ) -> Option<T> {
        Some(look(self.connections.get_mut(&connection)?, &mut self.around))
    }

    pub(super) fn open_connections(&self) -> usize {
        self.connections.len()
    }

    /// The program has dropped its socket.
    pub(super) fn close(&mut self, id: u64, side: Side) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if !connection.ends[side].closed {
            connection.close(side, &mut self.around);
            self.forget_if_over(id);
        }
    }

    fn forget_if_over(&mut self, id: u64) {
        if self.connections.get(&id).is_some_and(|connection| connection.ends.iter().all(|end| end.closed)) {
            self.connections.remove(&id);
        }
    }

    pub(super) fn listen(
        &mut self,
        node: NodeId,
        mut address: SocketAddr,
        backlog: usize,
    ) -> io::Result<(u64, SocketAddr)> {
        let ip = address.ip();
        if !(ip.is_unspecified() || ip.is_loopback() || ip == address_of(node)) {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        let taken = |listeners: &BTreeMap<u64, Listening>, address: SocketAddr| {
            listeners.values().any(|other| {
                let overlap =
                    other.address.ip() == ip || ip.is_unspecified() || other.address.ip().is_unspecified();
                let same_family = other.address.is_ipv4() == address.is_ipv4();
                other.node == node && other.address.port() == address.port() && same_family && overlap
            })
        };
        if address.port() == 0 {
            address.set_port(self.new_port(node));
            while taken(&self.listeners, address) {
                address.set_port(self.new_port(node));
            }
        } else if taken(&self.listeners, address) {
            return Err(ErrorKind::AddrInUse.into());
        }
        let id = self.new_id();
        let listening = Listening { node, address, backlog, waiting: VecDeque::new(), acceptor: None };
        self.listeners.insert(id, listening);
        Ok((id, address))
    }

    pub(super) fn poll_accept(&mut self, listener: u64, cx: &Context<'_>) -> Poll<io::Result<Made>> {
        let Some(listening) = self.listeners.get_mut(&listener) else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        while let Some(id) = listening.waiting.pop_front() {
            if let Some(connection) = self.connections.get(&id) {
                let [opener, acceptor] = &connection.ends;
                let made = Made { connection: id, local: acceptor.address, peer: opener.address };
                return Poll::Ready(Ok(made));
            }
        }
        listening.acceptor = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ends a listener; who waits to be accepted is reset.
    pub(super) fn stop_listening(&mut self, listener: u64) {
        let Some(listening) = self.listeners.remove(&listener) else { return };
        for id in listening.waiting {
            self.with(id, |connection, around| connection.reset(around));
            self.close(id, 1);
        }
    }

    /// Begins to connect.
    pub(super) fn connect(&mut self, node: NodeId, to: SocketAddr) -> io::Result<u64> {
        let Some(target) = node_of(to.ip(), node) else { return Err(ErrorKind::NetworkUnreachable.into()) };
        let ip = if to.ip().is_loopback() || to.ip().is_unspecified() {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        } else {
            address_of(node)
        };
        let from = SocketAddr::new(ip, self.new_port(node));
        let id = self.new_id();
        let attempt = Attempt { node, from, target, to, knocks: 0, outcome: None, waker: None };
        self.attempts.insert(id, attempt);
        let at = self.around.now + self.around.roads.delay(node, target);
        self.around.plan(at, Step::Knock { attempt: id });
        Ok(id)
    }

    pub(super) fn poll_connect(&mut self, id: u64, cx: &Context<'_>) -> Poll<io::Result<Made>> {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        match attempt.outcome {
            None => {
                attempt.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(Err(error)) => {
                self.attempts.remove(&id);
                Poll::Ready(Err(error.into()))
            }
            Some(Ok(connection)) => {
                let made = Made { connection, local: attempt.from, peer: attempt.to };
                self.attempts.remove(&id);
                Poll::Ready(Ok(made))
            }
        }
    }

    /// Nobody waits for an attempt any more.
    pub(super) fn give_up(&mut self, id: u64) {
        if let Some(Attempt { outcome: Some(Ok(connection)), .. }) = self.attempts.remove(&id) {
            self.close(connection, 0);
        }
    }

    /// Who listens where an attempt goes.
    fn listener_for(&self, attempt: &Attempt) -> Option<u64> {
        let listens = |listening: &Listening| {
            let address = listening.address;
            listening.node == attempt.target
                && address.port() == attempt.to.port()
                && address.is_ipv4() == attempt.to.is_ipv4()
                && (address.ip().is_unspecified() || address.ip() == attempt.to.ip())
        };
        self.listeners.iter().find(|(_, listening)| listens(listening)).map(|(id, _)| *id)
    }

    fn knock(&mut self, id: u64) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        let (node, target) = (attempt.node, attempt.target);
        let listener = self.listener_for(attempt).and_then(|id| self.listeners.get(&id));
        let full = listener.is_some_and(|listening| listening.waiting.len() >= listening.backlog);
        let refused = listener.is_none();
        if full || !self.around.roads.carries(node, target) {
            return self.knock_again(id);
        }
        let at = self.around.now + self.around.roads.delay(target, node);
        self.around.plan(at, Step::Answer { attempt: id, refused });
    }

    fn knock_again(&mut self, id: u64) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let wait = Duration::from_secs(1 << attempt.knocks);
        attempt.knocks += 1;
        if attempt.knocks > KNOCKS_MAX {
            attempt.outcome = Some(Err(ErrorKind::TimedOut));
            return self.around.wake(&mut attempt.waker);
        }
        self.around.plan(self.around.now + wait, Step::Knock { attempt: id });
    }

    fn answer(&mut self, id: u64, refused: bool) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        if !self.around.roads.carries(attempt.target, attempt.node)
            || self.around.roads.off.contains(&attempt.target)
        {
            return self.knock_again(id);
        }
        let listener = if refused { None } else { self.listener_for(attempt) };
        let connection = self.new_id();
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let (from, to) = (attempt.from, attempt.to);
        let outcome = match listener.and_then(|id| self.listeners.get_mut(&id)) {
            None => {
                self.around.tell(Event::Refused { from, to });
                Err(ErrorKind::ConnectionRefused)
            }
            Some(listening) => {
                let now = self.around.now;
                let ends = [End::new(attempt.node, from, now), End::new(attempt.target, to, now)];
                self.connections.insert(connection, Connection::new(connection, ends));
                listening.waiting.push_back(connection);
                self.around.tell(Event::Connected { connection, from, to });
                self.around.wake(&mut listening.acceptor);
                Ok(connection)
            }
        };
        attempt.outcome = Some(outcome);
        self.around.wake(&mut attempt.waker);
    }

    /// Sends again what was lost on links that carry again.
    pub(super) fn send_again(&mut self, healed: impl Fn(NodeId, NodeId) -> bool) {
        for connection in self.connections.values_mut() {
            connection.send_again(&mut self.around, &healed);
        }
    }

    /// Resets all connections between two machines.
    pub(super) fn reset_between(&mut self, one: NodeId, other: NodeId) {
        for connection in self.connections.values_mut() {
            let [opener, acceptor] = &connection.ends;
            let nodes = (opener.node, acceptor.node);
            if nodes == (one, other) || nodes == (other, one) {
                connection.reset(&mut self.around);
            }
        }
    }

    /// The sockets of a machine go: closed by its kernel, as the process has ended, or with the kernel
    /// itself.
    pub(super) fn lose_sockets(&mut self, node: NodeId, with_kernel: bool) {
        self.attempts.retain(|_, attempt| attempt.node != node);
        self.listeners.retain(|_, listening| listening.node != node);
        for connection in self.connections.values_mut() {
            for side in [0, 1] {
                let end = &connection.ends[side];
                match end.node == node && !end.closed {
                    true if with_kernel => connection.lose_end(side, &mut self.around),
                    true => connection.close(side, &mut self.around),
                    false => {}
                }
            }
        }
        self.connections.retain(|_, connection| !connection.ends.iter().all(|end| end.closed));
    }
}
