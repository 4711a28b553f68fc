//! Scenes in which log that standbys have is no part of the branch that comes: it is cut, and whatever was
//! said of it, read of it or waited for in it counts no more.

use super::generate::Director;
use super::{Event, SYNC_NAMES, names_of};

impl Director {
    /// The stream ends in the middle of a long record, when nobody else works. Who is promoted has its
    /// beginning, and so has another one, which follows, and has followers; one that has it is waited for. It
    /// takes a while until the new branch is as long. Or commits wait there for who follows, and has said how
    /// much it has of what is cut.
    pub(super) fn cut_in_a_record(&mut self) {
        let old = self.primary;
        let candidates = self.standbys();
        let [chosen, other] = self.some_pair(&candidates);
        let names = names_of(self.rng.bool(), 1, &[chosen]);
        self.change_names(0, names);
        let is_cascade = self.rng.u8(..3) > 0;
        let is_asked = is_cascade && self.rng.bool();
        if !is_asked {
            // Who is gone confirms nothing.
            self.then(0, Event::set(chosen, SYNC_NAMES, &names_of(false, 1, &[old])));
        }
        self.then(10, Event::Follow { node: chosen, from: old });
        self.then(10, Event::Follow { node: other, from: if is_cascade { chosen } else { old } });
        for node in candidates.iter().filter(|node| **node != chosen && **node != other) {
            self.then(5, Event::Follow { node: *node, from: other });
        }
        if self.rng.u8(..3) == 0 {
            // What it has not redone is part of the branch all the same.
            let paused_ms = self.rng.u64(150..350);
            self.then(paused_ms, Event::PauseReplay { node: other });
            self.then(4000, Event::ResumeReplay { node: other });
        }
        let (kilobytes, size) = (self.rng.u64(700..1300), self.rng.u64(1000..2200));
        let takes_ms = size * 1000 / kilobytes;
        for node in [chosen, other] {
            self.then(400, Event::NarrowLink { from: old, to: node, kilobytes, ms: takes_ms + 1000 });
        }
        self.then(300, Event::Checkpoint { node: old });
        self.then(410, Event::Record { node: old, kilobytes: size });
        let down_ms = 410 + takes_ms * self.rng.u64(40..80) / 100;
        // What it knows of the others is on its disk.
        self.then(down_ms - 100, Event::Checkpoint { node: chosen });
        if self.last.bool() {
            self.then(down_ms - 60, Event::Checkpoint { node: other });
        }
        self.then(down_ms, Event::Kill { node: old });
        let decided_ms = down_ms + self.rng.u64(60..250);
        self.then(decided_ms, Event::Promote { node: chosen });
        if is_asked {
            self.then(415, Event::Rest { ms: decided_ms - 350 });
            let decided_ms = self.last_word(chosen, &[other], decided_ms);
            self.old_primary_returns(old, true, decided_ms);
            return self.now_ms += decided_ms + 200;
        }
        let rests_ms = decided_ms + self.rng.u64(800..2200);
        self.then(415, Event::Rest { ms: rests_ms - 415 });
        self.succeeds((old, true), chosen, decided_ms, candidates);
        self.now_ms += rests_ms - decided_ms;
    }
    /// The primary goes down in the middle of a long record, and goes on without it.
    pub(super) fn half_a_record(&mut self) {
        let node = self.primary;
        let us = self.rng.u64(4000..15_000);
        self.then(100, Event::SlowDisk { node, us, ms: 700 });
        let kilobytes = self.rng.u64(200..1500);
        self.then(110, Event::Record { node, kilobytes });
        let down_ms = 110 + self.rng.u64(5..150);
        let seed = self.rng.u64(..1_000_000);
        let down = if self.rng.bool() { Event::Kill { node } } else { Event::PowerCut { node, seed } };
        self.then(down_ms, down);
        let up_ms = down_ms + self.rng.u64(30..200);
        self.then(up_ms, Event::Restart { node });
        self.now_ms += up_ms + 200;
    }
}
