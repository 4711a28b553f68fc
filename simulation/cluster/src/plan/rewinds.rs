//! Scenes in which a node that went another way is rewound, and something happens in the middle of that.

use super::generate::Director;
use super::{Event, Ways};
use crate::features::Feature;

impl Director {
    /// A node becomes the primary's standby again, whatever it has: it is rewound or cloned anew.
    pub(super) fn joins_again(&mut self, node: usize, after_ms: u64) {
        let from = self.primary;
        if !self.has(Feature::Rewinds) || self.rng.u8(..4) == 0 {
            return self.then(after_ms, Event::Clone { node, from });
        }
        self.is_rewound((node, from), after_ms);
    }

    /// A node is rewound, perhaps in several tries: it or its source goes down in the middle. When the last
    /// one begins.
    fn is_rewound(&mut self, (node, from): (usize, usize), after_ms: u64) -> u64 {
        let mut at_ms = after_ms;
        let others: Vec<usize> =
            self.standbys().into_iter().filter(|other| ![node, from].contains(other)).collect();
        if !others.is_empty() && self.last.bool() {
            let other = others[self.last.usize(..others.len())];
            if self.last.bool() {
                // It has log then that it has not replayed.
                self.then(at_ms, Event::PauseReplay { node: other });
                at_ms += self.last.u64(200..1200);
            }
            self.then(at_ms, Event::RewindAtRest { node, from: other });
            // What the first one begins goes on, or not, from there.
            at_ms += self.last.u64(100..1500);
        }
        self.then(at_ms, Event::Rewind { node, from });
        for _ in 0..self.rng.usize(..4) {
            let goes = if self.rng.u8(..6) == 0 { from } else { node };
            let seed = self.rng.u64(..1_000_000);
            let down_ms = at_ms + self.rng.u64(1..250);
            let down = if self.rng.u8(..3) == 0 {
                Event::Kill { node: goes }
            } else {
                Event::PowerCut { node: goes, seed }
            };
            self.then(down_ms, down);
            // It must not start now.
            let up_ms = down_ms + self.rng.u64(10..100);
            self.then(up_ms, Event::Restart { node: goes });
            at_ms = up_ms + self.rng.u64(50..400);
            self.then(at_ms, Event::Rewind { node, from });
        }
        at_ms
    }

    /// A standby that may rewind itself once its upstream is promoted goes down meanwhile, perhaps again.
    pub(super) fn rewinds_itself(&mut self, node: usize, promoted_ms: u64) {
        if !self.has(Feature::OwnRewinds) {
            return;
        }
        let mut at_ms = promoted_ms + self.last.u64(40..700);
        for _ in 0..self.last.usize(..3) {
            let seed = self.last.u64(..1_000_000);
            let down = if self.last.bool() { Event::Kill { node } } else { Event::PowerCut { node, seed } };
            self.then(at_ms, down);
            at_ms += self.last.u64(10..100);
            self.then(at_ms, Event::Restart { node });
            at_ms += self.last.u64(50..600);
        }
    }

    /// The primary writes on, unseen, when another one has taken its place, and is rewound.
    pub(super) fn diverges(&mut self) {
        let old = self.primary;
        let candidates = self.standbys();
        let chosen = candidates[self.rng.usize(..candidates.len())];
        let (ms, kilobytes) = (self.rng.u64(500..1200), self.rng.u64(20..400));
        for node in candidates.clone() {
            self.then(0, Event::Partition { from: old, to: node, ways: Ways::Both, ms });
        }
        self.change_names(0, String::new());
        let decided_ms = self.rng.u64(20..200);
        self.then(decided_ms, Event::Promote { node: chosen });
        if self.rng.bool() {
            self.then(decided_ms + 50, Event::Burst { node: old, kilobytes });
        }
        if self.rng.bool() {
            let checkpoint_ms = decided_ms + self.rng.u64(100..400);
            let node = if self.rng.bool() { old } else { chosen };
            self.then(checkpoint_ms, Event::Checkpoint { node });
        }
        self.replaced_by(chosen, decided_ms, candidates);
        let down_ms = decided_ms + ms - self.rng.u64(..300);
        let seed = self.rng.u64(..1_000_000);
        let down = match self.rng.u8(..3) {
            0 => Event::Kill { node: old },
            1 => Event::FastStop { node: old },
            _ => Event::PowerCut { node: old, seed },
        };
        self.then(down_ms, down);
        let last_ms = self.is_rewound((old, chosen), down_ms + ms.min(400));
        self.now_ms += last_ms + 300;
    }
}
