//! A virtual network between the machines of a simulation.
//!
//! Machine n has the address 10.0.0.n (10.0.1.0 follows 10.0.0.255); every machine reaches every other, and
//! itself by 127.0.0.1. Connections behave as TCP on Linux does for a program: bytes in order, buffers of
//! bounded size at both ends, delay and speed by [`Link`], pieces that are cut anywhere, ends, resets that
//! lose what is on its way, retries of connecting, keepalives and TCP_USER_TIMEOUT. What is lost on a cut
//! link arrives after it heals. A seed decides the times and the cuts.
//!
//! One task takes every step when it is due; the clock is tokio's. All state is behind one lock, which is
//! held for no wait; wakers and observers are called when it is free.
//!
//! Not simulated: names of machines (addresses are numbers), IPv6 (one can listen, but nobody can connect),
//! Unix sockets, congestion windows, ports that stay taken after a connection, and loss of single packets (a
//! cut loses all of a way).

mod agenda;
mod connection;
mod flow;
mod link;
mod socket;
mod state;
#[cfg(test)]
mod tests;

pub use agenda::{Counters, Event, Written};
pub use link::{Link, address_of};
pub use socket::{Listener, Stream};

use crate::fiber;
use crate::world::{NodeId, World};
use parking_lot::Mutex;
use state::State;
use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

type Observer = Box<dyn FnMut(Duration, &Event) + Send>;
type Tap = Box<dyn FnMut(&Written) + Send>;

/// The network of a simulation; cloning shares it.
#[derive(Clone)]
pub struct Network(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    observer: Mutex<Option<Observer>>,
    tap: Mutex<Option<Tap>>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}

thread_local! {
    static INSTALLED: RefCell<Option<Network>> = const { RefCell::new(None) };
}

/// The network, and the machine whose program asks; None outside of a simulation.
pub fn here() -> Option<(Network, NodeId)> {
    let node = fiber::current_node()?;
    Some((Network::current()?, node))
}

impl Network {
    /// Makes a network for this thread, and starts the task that drives it. The runtime's clock must be
    /// paused from its beginning.
    ///
    /// # Panics
    ///
    /// Panics outside of a runtime.
    pub fn install(seed: u64) -> Self {
        let state = State::new(seed, Instant::now());
        let network = Self(Arc::new(Shared {
            state: Mutex::new(state),
            observer: Mutex::new(None),
            tap: Mutex::new(None),
        }));
        INSTALLED.with_borrow_mut(|installed| *installed = Some(network.clone()));
        tokio::spawn(drive(network.clone()));
        network
    }

    /// The network of this thread.
    pub fn current() -> Option<Self> {
        INSTALLED.with_borrow(Option::clone)
    }

    /// Tells everything that happens from now on: the time since the network was made, and what. It is part
    /// of the simulation's trace without that. The observer must not use the network.
    pub fn observe(&self, observer: impl FnMut(Duration, &Event) + Send + 'static) {
        *self.0.observer.lock() = Some(Box::new(observer));
    }

    /// Tells from now on what programs write, at once, where `between` says so of who writes to whom. The
    /// tap must not use the network.
    pub fn tap(&self, between: fn(NodeId, NodeId) -> bool, tap: impl FnMut(&Written) + Send + 'static) {
        *self.0.tap.lock() = Some(Box::new(tap));
        self.with(|state| state.around.taps = Some(between));
    }

    /// How much happened so far.
    pub fn counters(&self) -> Counters {
        self.with(|state| state.around.counters)
    }

    /// Connections that somebody still has a socket of.
    pub fn open_connections(&self) -> usize {
        self.with(|state| state.open_connections())
    }

    /// Sets all links that are not set themselves.
    pub fn set_default_link(&self, link: Link) {
        self.with(|state| {
            state.around.roads.default = link;
            state.send_again(|_, _| true);
        });
    }

    /// Sets the link from one machine to another, this way alone.
    pub fn set_link(&self, from: NodeId, to: NodeId, link: Link) {
        self.with(|state| {
            let healed = !link.cut;
            state.around.roads.links.insert((from, to), link);
            if healed {
                state.send_again(|sender, receiver| (sender, receiver) == (from, to));
            }
        });
    }

    /// Cuts or heals the link from one machine to another, this way alone, and leaves its other settings.
    pub fn set_cut(&self, from: NodeId, to: NodeId, cut: bool) {
        let link = self.with(|state| {
            let roads = &state.around.roads;
            roads.links.get(&(from, to)).unwrap_or(&roads.default).clone()
        });
        self.set_link(from, to, Link { cut, ..link });
    }

    /// Makes all links as the default one.
    pub fn heal_all(&self) {
        self.with(|state| {
            state.around.roads.links.clear();
            state.send_again(|_, _| true);
        });
    }

    /// Resets all connections between two machines; what is on its way is cut at any byte.
    pub fn reset_between(&self, one: NodeId, other: NodeId) {
        self.with(|state| state.reset_between(one, other));
    }

    /// A machine's process is killed: its kernel closes all of its sockets.
    pub fn kill(&self, node: NodeId) {
        self.with(|state| state.lose_sockets(node, false));
    }

    /// A machine loses its power: the others hear nothing. Once it is on again, who sends to a socket that it
    /// had learns that it has none.
    pub fn power_off(&self, node: NodeId) {
        self.with(|state| {
            state.lose_sockets(node, true);
            state.around.roads.off.insert(node);
        });
    }

    /// A machine has power again.
    pub fn power_on(&self, node: NodeId) {
        self.with(|state| {
            state.around.roads.off.remove(&node);
            state.send_again(|_, to| to == node);
        });
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let now = Instant::now();
        let mut state = self.0.state.lock();
        state.around.now = now;
        let value = look(&mut state);
        let wakes = std::mem::take(&mut state.around.wakes);
        let events = std::mem::take(&mut state.around.events);
        let written = std::mem::take(&mut state.around.written);
        drop(state);
        if !events.is_empty() {
            self.tell(&events);
        }
        if let Some(tap) =
            (!written.is_empty()).then(|| self.0.tap.lock()).as_deref_mut().and_then(Option::as_mut)
        {
            written.iter().for_each(tap);
        }
        wakes.into_iter().for_each(std::task::Waker::wake);
        value
    }

    fn tell(&self, events: &[(Duration, Event)]) {
        let world = World::current();
        let mut observer = self.0.observer.lock();
        for (at, event) in events {
            if let Some(world) = world {
                world.note((at, event));
            }
            if let Some(observer) = &mut *observer {
                observer(*at, event);
            }
        }
    }
}

/// Takes every step when it is due.
async fn drive(network: Network) {
    let mut timer = Box::pin(sleep_until(Instant::now()));
    poll_fn(|cx| {
        loop {
            let next = network.with(|state| {
                // What the steps themselves plan needs no waking.
                state.around.driver = None;
                state.take_due_steps();
                state.around.driver = Some(cx.waker().clone());
                state.around.next()
            });
            let Some(next) = next else { return Poll::<()>::Pending };
            if timer.deadline() != next {
                timer.as_mut().reset(next);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}
