//! The ways between machines: how long bytes take on each, and whether they arrive at all.

use crate::world::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::time::Instant;

/// The way from one machine to another, in this direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Time that a piece of bytes takes; each takes its own. The runtime's clock counts whole milliseconds,
    /// so arrivals are rounded up to the next one.
    pub delay: RangeInclusive<Duration>,
    /// What goes through at most, of all connections together.
    pub bytes_per_second: Option<u64>,
    /// Nothing arrives. TCP sends again what is lost, so it arrives when this ends.
    pub cut: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Duration::from_micros(50)..=Duration::from_micros(900),
            bytes_per_second: None,
            cut: false,
        }
    }
}

/// The address of a machine.
pub fn address_of(node: NodeId) -> IpAddr {
    let [high, low] = node.0.to_be_bytes();
    Ipv4Addr::new(10, 0, high, low).into()
}

/// Which machine an address means on the machine `here`.
pub(super) fn node_of(address: IpAddr, here: NodeId) -> Option<NodeId> {
    if address.is_loopback() || address.is_unspecified() {
        return Some(here);
    }
    match address {
        IpAddr::V4(address) => match address.octets() {
            [10, 0, high, low] => Some(NodeId(u16::from_be_bytes([high, low]))),
            _ => None,
        },
        IpAddr::V6(_) => None,
    }
}

/// All links, and the machines without power.
#[derive(Debug)]
pub(super) struct Roads {
    pub(super) links: BTreeMap<(NodeId, NodeId), Link>,
    pub(super) default: Link,
    pub(super) off: BTreeSet<NodeId>,
    /// When what was sent on a link of bounded speed has gone through.
    busy_until: BTreeMap<(NodeId, NodeId), Instant>,
    pub(super) random: fastrand::Rng,
}

impl Roads {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            links: BTreeMap::new(),
            default: Link::default(),
            off: BTreeSet::new(),
            busy_until: BTreeMap::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Whether what is sent arrives in the other machine's kernel.
    pub(super) fn carries(&self, from: NodeId, to: NodeId) -> bool {
        !self.off.contains(&to) && (from == to || !self.link(from, to).cut)
    }

    /// How long a piece takes without the others on its way.
    pub(super) fn delay(&mut self, from: NodeId, to: NodeId) -> Duration {
        if from == to {
            return Duration::ZERO;
        }
        let link = self.links.get(&(from, to)).unwrap_or(&self.default);
        let nanos = |time: &Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (least, most) = (nanos(link.delay.start()), nanos(link.delay.end()));
        Duration::from_nanos(self.random.u64(least..=most.max(least)))
    }

    /// When bytes that are sent now arrive.
    pub(super) fn due(&mut self, from: NodeId, to: NodeId, now: Instant, bytes: usize) -> Instant {
        let delay = self.delay(from, to);
        let Some(speed) = self.link(from, to).bytes_per_second.filter(|_| from != to) else {
            return now + delay;
        };
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / speed.max(1);
        let busy_until = self.busy_until.entry((from, to)).or_insert(now);
        *busy_until = (*busy_until).max(now) + Duration::from_nanos(nanos);
        *busy_until + delay
    }

    /// Whether something happens that does `chance` times of 256.
    pub(super) fn chance(&mut self, chance: u8) -> bool {
        self.random.u8(..) < chance
    }

    fn link(&self, from: NodeId, to: NodeId) -> &Link {
        self.links.get(&(from, to)).unwrap_or(&self.default)
    }
}
