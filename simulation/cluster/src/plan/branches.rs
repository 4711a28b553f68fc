//! Scenes in which what was said of one branch meets another: who was ahead follows who was behind, and two
//! are promoted from one place.

use super::generate::Director;
use super::{Event, FENCE_PROBE, SYNC_NAMES, Ways, names_of, others_than};

impl Director {
    /// Commits wait for one standby, and it has all of them. When their writer is gone it follows another one
    /// that lacks some, and that one is promoted.
    pub(super) fn behind(&mut self) {
        let old = self.primary;
        let candidates = self.standbys();
        let [behind, ahead] = self.some_pair(&candidates);
        let names = names_of(self.rng.bool(), 1, &[ahead]);
        self.change_names(0, names.clone());
        self.then(10, Event::set(behind, SYNC_NAMES, &names));
        self.then(20, Event::Follow { node: ahead, from: old });
        self.then(30, Event::Follow { node: behind, from: old });
        let apart_ms = 200 + self.rng.u64(..300);
        self.then(apart_ms, Event::Partition { from: old, to: behind, ways: Ways::Both, ms: 2500 });
        let down_ms = apart_ms + self.rng.u64(3..120);
        let down = self.at_answer(vec![old]);
        self.then(down_ms, down);
        let follow_ms = down_ms + self.rng.u64(40..120);
        self.then(follow_ms, Event::Kill { node: old });
        self.then(follow_ms, Event::Follow { node: ahead, from: behind });
        let decided_ms = follow_ms + self.rng.u64(300..1200);
        self.then(decided_ms, Event::Promote { node: behind });
        let decided_ms = if self.rng.bool() {
            let others = others_than(behind, &candidates);
            self.last_word(behind, &others, decided_ms)
        } else {
            self.replaced_by(behind, decided_ms, candidates);
            decided_ms
        };
        self.old_primary_returns(old, true, decided_ms);
        self.rewinds_itself(ahead, decided_ms);
        self.now_ms += decided_ms + 200;
    }

    /// While nobody writes two are promoted, each unseen by the other, and the old primary hears of one of
    /// them. Then it follows the other one, and is to take its place.
    pub(super) fn twins(&mut self) {
        let old = self.primary;
        let candidates = self.standbys();
        let [first, second] = self.some_pair(&candidates);
        self.then(0, Event::Rest { ms: 4500 });
        self.then(0, Event::set(old, FENCE_PROBE, "300ms"));
        self.then(10, Event::Follow { node: second, from: old });
        // One that could ask others would take the next number.
        self.then(0, Event::set(second, "plimsoll.peers", ";"));
        let first_ms = 300 + self.rng.u64(..100);
        self.then(first_ms, Event::Promote { node: first });
        // Time for the old primary to ask its peers.
        let told_ms = first_ms + self.rng.u64(500..900);
        // So would one that is told: who is promoted tells all that it knows of.
        let apart_ms = first_ms - 10;
        self.then(apart_ms, Event::Isolate { node: second, ms: told_ms + 900 - apart_ms });
        let second_ms = told_ms + self.rng.u64(1..50);
        self.then(second_ms, Event::Promote { node: second });
        let stop_ms = second_ms + self.rng.u64(..900);
        self.then(stop_ms, Event::ImmediateStop { node: old });
        let follow_ms = stop_ms.max(told_ms + 900) + self.rng.u64(20..200);
        self.then(follow_ms, Event::Follow { node: old, from: second });
        // It has come up by then and taken the branch in, or is asked while it does.
        let after_ms = if self.rng.u8(..3) == 0 { 5..150 } else { 300..1800 };
        let again_ms = follow_ms + self.rng.u64(after_ms);
        self.then(again_ms, Event::Promote { node: old });
        let decided_ms = again_ms + self.rng.u64(300..800);
        self.primary = first;
        self.joins_again(old, decided_ms);
        self.joins_again(second, decided_ms + 1);
        self.replaced_by(first, decided_ms, candidates);
        self.now_ms += decided_ms + 200;
    }

    /// A standby that starts reads from the archive up to a record that goes on in the next segment, which
    /// its upstream lacks. That one is promoted where the record begins, and what it writes comes to the
    /// standby at once: the record's beginning is not in it.
    pub(super) fn read_up_to_a_fork(&mut self) {
        let old = self.primary;
        let candidates = self.standbys();
        let [chosen, behind] = self.some_pair(&candidates);
        self.then(0, Event::Rest { ms: 5000 });
        self.change_names(0, String::new());
        self.then(0, Event::set(chosen, SYNC_NAMES, ""));
        self.then(0, Event::Follow { node: chosen, from: old });
        self.then(300, Event::Kill { node: behind });
        self.then(400, Event::SwitchWal { node: old });
        // A segment has a megabyte: the first is in it, the second ends in the next one.
        let [first, second, third] = [0; 3].map(|_| self.rng.u64(550..900));
        self.then(500, Event::Record { node: old, kilobytes: first });
        self.then(900, Event::Partition { from: old, to: chosen, ways: Ways::Both, ms: 4000 });
        self.then(905, Event::Record { node: old, kilobytes: second });
        self.then(1500, Event::Follow { node: behind, from: chosen });
        // It is up by then. Its upstream would soon have the rest from the archive.
        let pause_ms = 3100 + self.rng.u64(..150);
        self.then(pause_ms, Event::PauseReplay { node: behind });
        let decided_ms = pause_ms + self.rng.u64(50..150);
        self.then(decided_ms, Event::Promote { node: chosen });
        self.then(decided_ms + 300, Event::Record { node: chosen, kilobytes: third });
        let resume_ms = decided_ms + 300 + self.rng.u64(400..800);
        self.then(resume_ms, Event::ResumeReplay { node: behind });
        self.replaced_by(chosen, resume_ms, candidates);
        self.old_primary_returns(old, false, resume_ms);
        self.now_ms += resume_ms + 200;
    }

    /// One standby confirms what the others do not have yet. It goes down with the primary, and one of the
    /// others takes its place: what it writes waits for the one that is gone, and a third one is read.
    pub(super) fn unconfirmed(&mut self) {
        let old = self.primary;
        let candidates = self.standbys();
        let [fast, chosen] = self.some_pair(&candidates);
        let others = others_than(fast, &candidates);
        let names = names_of(self.rng.bool(), 1, &[fast]);
        self.change_names(0, names.clone());
        self.then(0, Event::set(chosen, SYNC_NAMES, &names));
        for node in candidates.iter().copied() {
            self.then(10, Event::Follow { node, from: old });
        }
        let kilobytes = self.rng.u64(200..900);
        for node in others.iter().copied() {
            self.then(200, Event::NarrowLink { from: old, to: node, kilobytes, ms: 2000 });
        }
        let burst = Event::Record { node: old, kilobytes: self.rng.u64(600..2500) };
        self.then(220, burst);
        let down_ms = 400 + self.rng.u64(..800);
        self.then(down_ms, Event::Kill { node: old });
        self.then(down_ms + 1, Event::Kill { node: fast });
        let decided_ms = down_ms + self.rng.u64(20..200);
        self.then(decided_ms, Event::Promote { node: chosen });
        for node in others_than(chosen, &others) {
            let follow_ms = decided_ms + self.rng.u64(10..150);
            self.then(follow_ms, Event::Follow { node, from: chosen });
        }
        let back_ms = decided_ms + self.rng.u64(800..1500);
        self.primary = chosen;
        self.joins_again(fast, back_ms);
        self.succeeds((old, true), chosen, back_ms, others);
        self.now_ms += 200;
    }

    /// A table goes that a standby reads.
    pub(super) fn drop_read(&mut self) {
        let Some(on) = self.some_standby() else { return };
        let node = self.primary;
        self.then(0, Event::DropRead { node, on });
    }

    /// A table goes on the primary, and its file stays for a reader there until a sweep has come by.
    pub(super) fn drop_kept(&mut self) {
        let (node, ms) = (self.primary, self.rng.u64(1500..4500));
        self.then(0, Event::DropKept { node, ms });
    }

    /// Two of them.
    pub(super) fn some_pair(&mut self, among: &[usize]) -> [usize; 2] {
        let one = self.rng.usize(..among.len());
        let other = (one + 1 + self.rng.usize(..among.len() - 1)) % among.len();
        [among[one], among[other]]
    }
}
