//! Over which servers the log of a standby comes, so that one which receives from itself, directly or over
//! others, finds that out.
//!
//! **How that can be.** Two standbys that name each other among their servers may both lose their primary,
//! and each finds the other. Keepalives go round, so no timeout ends it, and neither looks for the primary
//! again.
//!
//! **How it is found.** A sender tells a Plimsoll standby its [`Route`] when a stream begins, before any log
//! and keepalive, and when it changes: where the log comes from, and the servers on the way, the teller last.
//! Each puts itself behind what it is told. A standby that finds itself on the way has a ring.
//!
//! **Who leaves it.** A stream that tells of a ring with its first word has closed it: who asked for it
//! leaves. If two streams close a ring at one moment, neither tells of it at once, and both standbys would
//! leave, find each other again at one moment, and so on. So in a ring that is told of later the least of its
//! members leaves alone; the others pass the word on, which is how that one hears it.
//!
//! **What it says of the primary.** Where a route comes neither from a primary nor from a server that does
//! not say where its log comes from, nothing more will come until one on the way has found another server.
//! Who receives over it confirms nothing more to anybody either.
//!
//! A server is told from others by its id and a number that it drew at its start: of two that work on copies
//! of one directory, each has its own.
//!
//! The message's payload, its integers big endian:
//!
//! | bytes | contents                                                                              |
//! |-------|---------------------------------------------------------------------------------------|
//! | 1     | 1, the layout; a node passes over one that it does not know                           |
//! | 1     | where the log comes from: 1 a primary, 0 nobody, 2 a server that does not say         |
//! |       | of each server on the way, the teller last:                                           |
//! | 8     | its id                                                                                |
//! | 8     | the number that it drew                                                               |

use super::{MEMBERS_MAX, Roster};
use crate::directory_id::DirectoryId;
use crate::error::ReplicaError;
use tokio::sync::watch;

const LAYOUT: u8 = 1;
/// Most servers that are told of: of more, those next to the teller.
const STOPS_MAX: usize = MEMBERS_MAX;
const STOP_BYTES: usize = 16;

/// Where the log of a route comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The first server on the way receives from nobody now, and is no primary.
    Nobody,
    /// The first server on the way is a primary.
    Primary,
    /// The first server on the way receives from one that does not say.
    Untold,
}

/// A server in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stop {
    id: DirectoryId,
    life: u64,
}

impl Stop {
    pub(super) const fn new(id: DirectoryId, life: u64) -> Self {
        Self { id, life }
    }
}

/// The way of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it begins.
    pub source: Source,
    /// The servers from there on.
    stops: Vec<Stop>,
}

/// What a route is to the standby that is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// The standby is not on it.
    Fine,
    /// The standby is on it, and leaves it.
    Leave,
    /// The standby is on it, and another one leaves it.
    Wait,
}

impl Route {
    /// That of a server which does not say where its log comes from.
    pub const UNTOLD: Self = Self { source: Source::Untold, stops: Vec::new() };

    /// It goes on to this server.
    fn on_to(mut self, stop: Stop) -> Self {
        let surplus = (self.stops.len() + 1).saturating_sub(STOPS_MAX);
        self.stops.drain(..surplus);
        self.stops.push(stop);
        self
    }

    /// What it is to a standby that it would go on to. `first`: the stream begins with it.
    fn judge(&self, own: Stop, first: bool) -> Judged {
        let Some(at) = self.stops.iter().rposition(|stop| *stop == own) else { return Judged::Fine };
        let ring = self.stops.get(at..).unwrap_or_default();
        let is_least = ring.iter().min() == Some(&own);
        if first || is_least { Judged::Leave } else { Judged::Wait }
    }

    fn encode(&self) -> Vec<u8> {
        let source = match self.source {
            Source::Nobody => 0,
            Source::Primary => 1,
            Source::Untold => 2,
        };
        let mut out = vec![LAYOUT, source];
        for stop in &self.stops {
            out.extend_from_slice(&stop.id.number().to_be_bytes());
            out.extend_from_slice(&stop.life.to_be_bytes());
        }
        out
    }

    /// Reads a payload; None of a layout that this program does not know.
    ///
    /// # Errors
    ///
    /// Fails where it is no payload.
    pub fn decode(payload: &[u8]) -> Result<Option<Self>, ReplicaError> {
        let malformed = || ReplicaError::Protocol("malformed route from a node of the cluster".to_owned());
        let (layout, rest) = payload.split_first().ok_or_else(malformed)?;
        if *layout != LAYOUT {
            return Ok(None);
        }
        let (source, rest) = rest.split_first().ok_or_else(malformed)?;
        let source = match source {
            0 => Source::Nobody,
            1 => Source::Primary,
            2 => Source::Untold,
            _ => return Err(malformed()),
        };
        let (stops, more) = rest.as_chunks::<STOP_BYTES>();
        if !more.is_empty() || stops.len() > STOPS_MAX {
            return Err(malformed());
        }
        let stops = stops.iter().map(|bytes| {
            let both = u128::from_be_bytes(*bytes);
            let half = |number: u128| u64::try_from(number & u128::from(u64::MAX)).unwrap_or(0);
            Stop::new(DirectoryId::new(half(both >> 64)), half(both))
        });
        Ok(Some(Self { source, stops: stops.collect() }))
    }
}

impl Roster {
    fn own_stop(&self) -> Stop {
        let known = self.0.known.lock();
        Stop::new(known.own.id, known.life)
    }

    /// The server that this one receives from, if it does, says this of the way of its log. `first`: the
    /// stream begins with it. It is this server's way from now on unless that has to leave it.
    pub fn take_route(&self, told: Route, first: bool) -> Judged {
        let judged = told.judge(self.own_stop(), first);
        if judged != Judged::Leave {
            self.0.route.send_replace(Some(told));
        }
        judged
    }

    /// This server receives from nobody, or from one that has told nothing yet.
    pub fn end_route(&self) {
        self.0.route.send_if_modified(|route| route.take().is_some());
    }

    /// Whether what this server receives may come from a primary: more may come at any moment, and what it
    /// confirms may count.
    pub fn may_hear_primary(&self) -> bool {
        self.0.route.borrow().as_ref().is_some_and(|route| route.source != Source::Nobody)
    }

    /// Tells of changes of what [`Roster::told_route`] gives.
    pub fn route_changes(&self) -> watch::Receiver<Option<Route>> {
        self.0.route.subscribe()
    }

    /// What standbys are told.
    pub fn told_route(&self, is_primary: bool) -> Vec<u8> {
        let before = match is_primary {
            true => Route { source: Source::Primary, stops: Vec::new() },
            false => match self.0.route.borrow().clone() {
                Some(route) => route,
                None => Route { source: Source::Nobody, stops: Vec::new() },
            },
        };
        before.on_to(self.own_stop()).encode()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Standbys that tell each other, each word on its way until it is let go on.
    struct Cluster {
        nodes: Vec<Roster>,
        /// Whom each receives from.
        follows: Vec<Option<usize>>,
        /// Words on their way: to whom, of which stream, and whether it is the first.
        words: VecDeque<(usize, usize, Vec<u8>, bool)>,
        /// Who has left whom.
        left: Vec<(usize, usize)>,
    }

    impl Cluster {
        fn of(count: u64) -> Self {
            let nodes: Vec<_> = (0..count).map(|id| Roster::new(DirectoryId::new(id))).collect();
            let follows = vec![None; nodes.len()];
            Self { nodes, follows, words: VecDeque::new(), left: Vec::new() }
        }

        fn tell(&mut self, standby: usize, first: bool) {
            if let Some(upstream) = self.follows[standby] {
                // Number 0 is the primary.
                let told = self.nodes[upstream].told_route(upstream == 0);
                self.words.push_back((standby, upstream, told, first));
            }
        }

        fn tell_standbys_of(&mut self, node: usize) {
            (0..self.nodes.len())
                .filter(|standby| self.follows[*standby] == Some(node))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|standby| self.tell(standby, false));
        }

        fn follow(&mut self, standby: usize, upstream: usize) {
            self.follows[standby] = Some(upstream);
            self.tell(standby, true);
        }

        fn leave(&mut self, standby: usize) {
            self.follows[standby] = None;
            self.nodes[standby].end_route();
            self.tell_standbys_of(standby);
        }

        /// Lets all words arrive.
        fn settle(&mut self) {
            for _ in 0..10_000 {
                let Some((standby, upstream, told, first)) = self.words.pop_front() else { return };
                if self.follows[standby] != Some(upstream) {
                    continue;
                }
                let route = Route::decode(&told).unwrap().unwrap();
                match self.nodes[standby].take_route(route, first) {
                    Judged::Leave => {
                        self.left.push((standby, upstream));
                        self.leave(standby);
                    }
                    Judged::Fine | Judged::Wait => self.tell_standbys_of(standby),
                }
            }
            panic!("the words go round for ever");
        }

        fn hears(&self) -> Vec<bool> {
            self.nodes.iter().map(Roster::may_hear_primary).collect()
        }
    }

    #[test]
    fn a_cascade_hears_of_its_primary_and_of_its_loss_and_nobody_leaves() {
        let mut cluster = Cluster::of(4);
        for (standby, upstream) in [(3, 2), (2, 1), (1, 0)] {
            cluster.follow(standby, upstream);
            cluster.settle();
        }
        assert_eq!(cluster.hears(), [false, true, true, true]);
        cluster.leave(1);
        cluster.settle();
        assert_eq!((cluster.hears(), cluster.left.len()), (vec![false; 4], 0));
        cluster.follow(1, 0);
        cluster.settle();
        assert_eq!(cluster.hears(), [false, true, true, true]);
    }

    #[test]
    fn the_stream_that_closes_a_ring_is_left_and_no_other_one() {
        let mut cluster = Cluster::of(5);
        for (standby, upstream) in [(4, 3), (3, 2), (2, 1)] {
            cluster.follow(standby, upstream);
            cluster.settle();
        }
        for _ in 0..3 {
            cluster.follow(1, 4);
            cluster.settle();
        }
        assert_eq!(cluster.left, [(1, 4); 3]);
        assert_eq!(cluster.follows, [None, None, Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn of_streams_that_close_a_ring_at_one_moment_one_is_left() {
        for count in 2..8 {
            for turn in 0..count {
                let mut cluster = Cluster::of(count as u64 + 1);
                let member = |at: usize| 1 + (at + turn) % count;
                for at in 0..count {
                    cluster.follow(member(at), member(at + 1));
                }
                cluster.settle();
                assert_eq!(cluster.left.len(), 1, "{count} {turn}: {:?}", cluster.left);
                assert_eq!(cluster.left[0].0, 1, "the least");
                assert_eq!(cluster.hears(), vec![false; count + 1]);
            }
        }
    }

    #[test]
    fn a_server_that_does_not_say_where_its_log_comes_from_may_have_a_primary() {
        let mut cluster = Cluster::of(3);
        cluster.nodes[1].take_route(Route::UNTOLD, true);
        cluster.follow(2, 1);
        cluster.settle();
        assert_eq!(cluster.hears(), [false, true, true]);
        // A ring below such a one is found as well.
        cluster.follow(1, 2);
        cluster.settle();
        assert_eq!(cluster.left, [(1, 2)]);
    }

    #[test]
    fn a_copy_of_a_directory_is_another_server() {
        let node = |life| {
            let roster = Roster::new(DirectoryId::new(1));
            roster.0.known.lock().life = life;
            roster
        };
        let told = |of: &Roster| Route::decode(&of.told_route(true)).unwrap().unwrap();
        let (one, copy) = (node(5), node(6));
        assert_eq!(one.take_route(told(&copy), true), Judged::Fine);
        assert_eq!(one.take_route(told(&one), true), Judged::Leave);
    }

    #[test]
    fn a_long_way_has_an_end_and_what_is_told_is_read_again() {
        let stop = |number: u64| Stop::new(DirectoryId::new(number << 40 | 7), number);
        let long = (0..1000).fold(Route::UNTOLD, |route, number| route.on_to(stop(number)));
        assert_eq!((long.stops.len(), long.stops.last()), (STOPS_MAX, Some(&stop(999))));
        let payload = long.encode();
        assert_eq!(Route::decode(&payload).unwrap(), Some(long));
        for len in (0..payload.len()).filter(|len| *len < 2 || (len - 2) % STOP_BYTES != 0) {
            assert!(Route::decode(&payload[..len]).is_err(), "{len}");
        }
        assert_eq!(Route::decode(&[2, 9]).unwrap(), None, "a layout of later");
        assert!(Route::decode(&[1, 3]).is_err());
        assert!(Route::decode(&[payload, vec![0; STOP_BYTES]].concat()).is_err());
    }
}
