//! Scenes about those that commits wait for: the first leaves, one of several lags, one comes back with much
//! to catch up; and what was written just before a crash.

use super::generate::Director;
use super::{Event, Ways, names_of};
use crate::features::Feature;

impl Director {
    /// A scene in which commits wait, and need not.
    pub(super) fn wait_scene(&mut self) {
        let mut nodes = self.standbys();
        if nodes.len() < 2 {
            return;
        }
        self.rng.shuffle(&mut nodes);
        nodes.truncate(2 + self.rng.usize(..2));
        let dies = self.has(Feature::Freezes) && self.has(Feature::PowerCuts);
        match self.rng.u8(..8) {
            7 if dies => self.asks_the_dead(&nodes),
            0 | 3 => self.first_leaves(&nodes),
            1 => self.catches_up(),
            2 => self.stops_clean(&nodes),
            4 => self.stops_in_a_flush(&nodes),
            5 => self.back_before_its_time(&nodes),
            _ => self.one_lags(&nodes),
        }
    }

    /// The first of several stands still, and then is gone: the next one is asked.
    pub(super) fn first_leaves(&mut self, nodes: &[usize]) {
        self.change_names(0, names_of(true, 1, nodes));
        let node = nodes[0];
        let from_ms = self.rng.u64(150..300);
        self.then(from_ms, Event::Freeze { node, ms: 2000 });
        let down_ms = from_ms + self.rng.u64(150..500);
        self.then(down_ms, Event::Kill { node });
        let up_ms = down_ms + self.rng.u64(500..900);
        if self.rng.u8(..4) > 0 {
            // Nothing is written that the next one could tell of.
            self.then(from_ms + 50, Event::Rest { ms: up_ms - from_ms });
        }
        self.then(up_ms, Event::Restart { node });
        self.now_ms += up_ms;
    }

    /// Two must hold what commits. One goes; the other loses its power, and is back before its old connection
    /// has timed out.
    fn back_before_its_time(&mut self, nodes: &[usize]) {
        self.change_names(0, names_of(true, 2, &nodes[..2]));
        let (away, node) = (nodes[0], nodes[1]);
        let ms = self.rng.u64(1200..2000);
        let from_ms = self.rng.u64(200..500);
        self.then(from_ms, Event::Kill { node: away });
        self.then(from_ms + ms, Event::Restart { node: away });
        let down_ms = from_ms + self.rng.u64(50..200);
        let seed = self.rng.u64(..1_000_000);
        self.then(down_ms, Event::PowerCut { node, seed });
        let up_ms = down_ms + self.rng.u64(30..200);
        self.then(up_ms, Event::Restart { node });
        self.now_ms += from_ms + ms;
    }

    /// A standby asks another one that stands still and then loses its power: nothing ever tells it so. It
    /// waits for that answer without an end, until it is to follow another one. That must be named, since
    /// the standby may pass for the primary meanwhile.
    pub(super) fn asks_the_dead(&mut self, nodes: &[usize]) {
        let (node, dead) = (nodes[0], nodes[1]);
        let seed = self.rng.u64(..1_000_000);
        self.then(0, Event::set(node, "wal_receiver_timeout", "0"));
        let from_ms = self.rng.u64(150..300);
        self.then(from_ms, Event::Freeze { node: dead, ms: 1500 });
        let asks_ms = from_ms + self.rng.u64(20..150);
        self.then(asks_ms, Event::Follow { node, from: dead });
        let down_ms = asks_ms + self.rng.u64(50..300);
        self.then(down_ms, Event::PowerCut { node: dead, seed });
        let turns_ms = down_ms + self.rng.u64(50..400);
        let mut others = self.standbys();
        others.push(self.primary);
        others.retain(|other| ![node, dead].contains(other));
        let other = others[self.rng.usize(..others.len())];
        self.then(turns_ms, Event::Follow { node, from: other });
        self.then(turns_ms + 100, Event::FollowPrimary { node });
        self.then(turns_ms + 200, Event::set(node, "wal_receiver_timeout", "3s"));
        let up_ms = turns_ms + self.rng.u64(200..600);
        self.then(up_ms, Event::Restart { node: dead });
        self.now_ms += turns_ms + 200;
    }

    /// The first of several comes back, and what it missed takes its time: meanwhile the next one counts.
    pub(super) fn catches_up(&mut self) {
        let candidates = self.standbys();
        let nodes = self.some_pair(&candidates);
        self.change_names(0, names_of(true, 1, &nodes));
        let (node, primary) = (nodes[0], self.primary);
        for node in nodes {
            self.then(10, Event::Follow { node, from: primary });
        }
        self.then(160, Event::Kill { node });
        // More than what the links' ends take at once.
        let (size, kilobytes) = (self.rng.u64(700..1300), self.rng.u64(250..500));
        let burst_ms = 160 + self.rng.u64(50..200);
        self.then(burst_ms, Event::Burst { node: primary, kilobytes: size });
        // Its end is heard of before that.
        let up_ms = 160 + self.rng.u64(450..700);
        self.then(up_ms, Event::NarrowLink { from: primary, to: node, kilobytes, ms: 3500 });
        self.then(up_ms + 1, Event::Restart { node });
        self.now_ms += up_ms + self.rng.u64(1000..2500);
    }

    /// Any of several is enough, and one of them hears nothing, or is not heard.
    fn one_lags(&mut self, nodes: &[usize]) {
        self.change_names(0, names_of(false, 1, nodes));
        let (node, primary) = (nodes[0], self.primary);
        // By then nobody waits for whom the names before named.
        let (from_ms, ms) = (self.rng.u64(500..700), self.rng.u64(500..1000));
        let event = match self.rng.u8(..4) {
            0 => Event::Freeze { node, ms },
            1 => Event::Partition { from: node, to: primary, ways: Ways::One, ms },
            2 => Event::Partition { from: primary, to: node, ways: Ways::Both, ms },
            _ => Event::SlowLink { from: primary, to: node, delay_ms: self.rng.u64(300..500), ms },
        };
        self.then(from_ms, event);
        self.now_ms += from_ms + ms;
    }

    /// The primary is stopped with nothing in doubt and started again; then who is waited for stands still.
    fn stops_clean(&mut self, nodes: &[usize]) {
        let (node, primary) = (nodes[0], self.primary);
        self.change_names(0, names_of(true, 1, &nodes[..1]));
        let down_ms = self.rng.u64(150..250);
        self.then(down_ms, Event::FastStop { node: primary });
        let up_ms = down_ms + self.rng.u64(60..200);
        self.then(up_ms, Event::Restart { node: primary });
        let from_ms = up_ms + self.rng.u64(200..600);
        let ms = self.rng.u64(300..900);
        self.then(from_ms, Event::Freeze { node, ms });
        if self.has(Feature::Kills) && self.rng.bool() {
            let again_ms = from_ms + self.rng.u64(100..ms);
            self.then(again_ms, Event::Kill { node: primary });
            self.then(again_ms + 60, Event::Restart { node: primary });
        }
        self.now_ms += from_ms + ms;
    }

    /// One that nobody waits for is stopped while its disk saves what came: what came since is to be saved,
    /// too.
    fn stops_in_a_flush(&mut self, nodes: &[usize]) {
        let (node, primary) = (nodes[1], self.primary);
        self.change_names(0, names_of(true, 1, &nodes[..1]));
        let us = self.rng.u64(5000..30_000);
        self.then(150, Event::SlowDisk { node, us, ms: 900 });
        let burst_ms = 150 + self.rng.u64(20..100);
        let kilobytes = self.rng.u64(200..1200);
        self.then(burst_ms, Event::Burst { node: primary, kilobytes });
        let down_ms = burst_ms + self.rng.u64(10..250);
        self.then(down_ms, Event::FastStop { node });
        let up_ms = down_ms + self.rng.u64(900..1500);
        self.then(up_ms, Event::Restart { node });
        self.now_ms += up_ms;
    }

    /// What comes before the primary is cut off: maybe a clean stop, or a short patience.
    pub(super) fn before_cut(&mut self, cut_ms: u64) {
        let node = self.primary;
        if self.rng.u8(..3) == 0 {
            // The cut comes when it is down, with nothing in doubt if clients rest.
            if self.rng.u8(..3) > 0 {
                self.before(cut_ms, 350, Event::Rest { ms: 360 });
            }
            self.before(cut_ms, 100, Event::FastStop { node });
            let up_ms = cut_ms + self.rng.u64(10..100);
            self.then(up_ms, Event::Restart { node });
        } else if self.has(Feature::Waits) && self.rng.u8(..3) == 0 {
            let patience = "plimsoll.synchronous_timeout";
            self.then(0, Event::set(node, patience, "150ms"));
            if self.rng.bool() {
                self.then(cut_ms + 3000, Event::set(node, patience, "0"));
            }
        }
    }

    /// How much goes through the links in a second, and a burst: one transaction that lies in the log in one
    /// piece, or one that is written as it goes.
    pub(super) fn burst_and_link(&mut self) -> (u64, u64) {
        if self.rng.u8(..3) == 0 {
            return (self.rng.u64(60..200), self.rng.u64(15..50));
        }
        (self.rng.u64(200..900), self.rng.u64(300..900))
    }

    /// Transactions that may not be written as a whole before what comes next.
    pub(super) fn half_written(&mut self) {
        for _ in 0..1 + self.rng.usize(..3) {
            let kilobytes = 2 * self.rng.u64(5..25);
            let ago_ms = self.rng.u64(1..12);
            self.before(0, ago_ms, Event::Burst { node: self.primary, kilobytes });
        }
    }
}
