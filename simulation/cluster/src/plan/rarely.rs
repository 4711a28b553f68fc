//! Scenes for what other scenes hardly ever come to. One of them opens each story that has them switched on:
//! all nodes are well then, and node 0 is the primary.

use super::generate::Director;
use super::{Event, Handed, Nodes, SYNC_NAMES, Ways, names_of};

/// How long who hands over has for it, and when the order comes.
const HANDS_MS: u64 = 1500;
const ASKED_MS: u64 = 400;
/// For how long two primaries write.
const BOTH_MS: u64 = 3000;

impl Director {
    /// One of them.
    pub(super) fn rarely_seen(&mut self) {
        match self.rng.u8(..9) {
            7.. => self.promotion_ends_early(),
            0 | 1 => self.handover_ends_early(),
            2 => self.handover_is_not_heard(),
            3 => self.both_write(),
            4 => self.wakes_replaced(),
            _ => self.long_cascade(),
        }
    }

    /// A standby that is ready to take the role, and that commits wait for.
    fn heir(&mut self) -> usize {
        let candidates = self.standbys();
        let to = candidates[self.rng.usize(..candidates.len())];
        self.then(0, Event::FollowPrimary { node: to });
        let names = names_of(self.rng.bool(), 1, &[to]);
        self.change_names(0, names);
        to
    }

    /// Whoever leads after a handover to one that may have come to nothing.
    fn leads_after(&mut self, to: usize, over_ms: u64) {
        let candidates = self.standbys();
        let among = Nodes([candidates.clone(), vec![self.primary]].concat());
        self.then(over_ms, Event::PromoteIfNone { among });
        self.replaced_by(to, over_ms, candidates);
        self.now_ms += over_ms + 300;
    }

    /// The primary goes down while it hands its role over: before it has given up writing, since its disk
    /// takes its time for all that comes before that, or as it offers the role.
    fn handover_ends_early(&mut self) {
        let (old, to) = (self.primary, self.heir());
        self.then(ASKED_MS, Event::Switchover { to, ms: HANDS_MS });
        let (seed, nodes) = (self.rng.u64(..1_000_000), Nodes(vec![old]));
        if self.rng.bool() {
            let us = self.rng.u64(15_000..30_000);
            self.then(ASKED_MS - 10, Event::SlowDisk { node: old, us, ms: 900 });
            let down_ms = ASKED_MS + self.rng.u64(15..120);
            self.then(down_ms, Event::Kill { node: old });
        } else if self.rng.bool() {
            self.then(ASKED_MS, Event::KillAtHandover { nodes, handed: Handed::Offered });
        } else {
            self.then(ASKED_MS, Event::PowerCutAtHandover { nodes, handed: Handed::Offered, seed });
        }
        let up_ms = ASKED_MS + self.rng.u64(900..1400);
        self.then(up_ms, Event::Restart { node: old });
        self.leads_after(to, up_ms + 800);
    }

    /// A standby goes down in the middle of its promotion, since its disk takes its time for each step: its
    /// next start finishes that or takes it back. The primary of before may be there still.
    fn promotion_ends_early(&mut self) {
        let (old, to) = (self.primary, self.heir());
        let is_gone = self.rng.bool();
        if is_gone {
            self.then(ASKED_MS - 50, Event::Kill { node: old });
        }
        let us = self.rng.u64(5_000..30_000);
        self.then(ASKED_MS - 10, Event::SlowDisk { node: to, us, ms: 1200 });
        self.then(ASKED_MS, Event::Promote { node: to });
        let (ms, seed) = (self.rng.u64(..60), self.rng.u64(..1_000_000));
        let down = match self.rng.bool() {
            true => Event::KillInPromotion { node: to, ms },
            false => Event::PowerCutInPromotion { node: to, ms, seed },
        };
        self.then(ASKED_MS, down);
        let up_ms = ASKED_MS + self.rng.u64(700..1100);
        self.then(up_ms, Event::Restart { node: to });
        self.primary = to;
        if is_gone {
            self.joins_again(old, up_ms + 600);
        }
        self.leads_after(to, up_ms + 800);
    }

    /// The standby is out of reach as soon as the order has come: it never has all of the log, and the role
    /// stays where it is.
    fn handover_is_not_heard(&mut self) {
        let (old, to) = (self.primary, self.heir());
        let ms = self.rng.u64(500..900);
        self.then(ASKED_MS, Event::Switchover { to, ms });
        let cut_ms = ASKED_MS + self.rng.u64(3..20);
        self.then(cut_ms, Event::Partition { from: old, to, ways: Ways::Both, ms: ms + 800 });
        self.leads_after(to, cut_ms + ms + 1200);
    }

    /// The primary is cut off from all others, but not from clients, and waits for nobody; nor does who takes
    /// its place.
    fn both_write(&mut self) {
        let old = self.primary;
        let candidates = self.standbys();
        let chosen = candidates[self.rng.usize(..candidates.len())];
        self.change_names(0, String::new());
        self.then(0, Event::set(chosen, SYNC_NAMES, ""));
        for node in candidates.clone() {
            self.then(200, Event::Partition { from: old, to: node, ways: Ways::Both, ms: BOTH_MS });
        }
        let decided_ms = 200 + self.rng.u64(20..200);
        self.then(decided_ms, Event::Promote { node: chosen });
        for node in candidates.iter().copied() {
            let after_ms = decided_ms + self.rng.u64(50..300);
            self.then(after_ms, Event::FollowPrimary { node });
        }
        self.primary = chosen;
        let down_ms = 200 + BOTH_MS - self.rng.u64(..300);
        self.then(down_ms, Event::Kill { node: old });
        self.joins_again(old, down_ms + 100);
        let names = names_of(false, 1, &candidates);
        self.change_names(down_ms, names);
        self.now_ms += down_ms + 600;
    }

    /// The primary stands still while another one takes its place, and wakes up as one.
    fn wakes_replaced(&mut self) {
        let old = self.primary;
        let candidates = self.standbys();
        let chosen = candidates[self.rng.usize(..candidates.len())];
        let ms = self.rng.u64(1200..2200);
        self.then(0, Event::Freeze { node: old, ms });
        let decided_ms = self.rng.u64(50..400);
        self.then(decided_ms, Event::Promote { node: chosen });
        self.replaced_by(chosen, decided_ms, candidates);
        let back_ms = ms + self.rng.u64(300..900);
        self.joins_again(old, back_ms);
        self.now_ms += back_ms;
    }

    /// Each node follows the one before it, for a while.
    fn long_cascade(&mut self) {
        let mut nodes = self.standbys();
        self.rng.shuffle(&mut nodes);
        let mut from = self.primary;
        for (at, node) in nodes.iter().copied().enumerate() {
            self.then(200 * at as u64, Event::Follow { node, from });
            from = node;
        }
        let names = names_of(true, 1, &nodes[..1]);
        self.change_names(0, names);
        self.now_ms += 200 * nodes.len() as u64 + 1000;
    }
}
