//! Scenes in which disks, and what lies on them, are in the middle of something: crashes in a row, clones
//! that are broken off, slots that nobody uses, snapshots that nobody heeds.

use super::generate::Director;
use super::{Event, others_than};

impl Director {
    /// A node goes down in the middle of what it writes, several times, and comes back from its own disk.
    pub(super) fn crashes(&mut self) {
        let primary = self.primary;
        let node = if self.rng.u8(..4) == 0 { self.some_node() } else { primary };
        let mut at_ms = 0;
        for _ in 0..1 + self.rng.usize(..4) {
            at_ms = self.writes_hard(node, at_ms);
            let seed = self.rng.u64(..1_000_000);
            let down =
                if self.rng.u8(..5) == 0 { Event::Kill { node } } else { Event::PowerCut { node, seed } };
            self.then(at_ms, down);
            at_ms += self.rng.u64(20..120);
            self.then(at_ms, Event::Restart { node });
            at_ms += self.rng.u64(20..400);
        }
        self.now_ms += at_ms;
    }

    /// A sync of a node's log fails, and it comes back from what its disk has.
    pub(super) fn failing_sync(&mut self) {
        // Who writes acknowledges what was to be saved.
        let node = if self.rng.u8(..3) > 0 { self.primary } else { self.some_node() };
        let seed = self.rng.u64(..1_000_000);
        self.then(0, Event::FailSync { node, seed });
        let up_ms = self.rng.u64(200..900);
        self.then(up_ms, Event::Restart { node });
        self.now_ms += up_ms;
    }

    /// A sync of a table's file fails in a checkpoint. What is replayed after that is to get to the disk
    /// anew: a later loss of power shows whether it did.
    pub(super) fn failing_data_sync(&mut self) {
        let node = if self.rng.u8(..3) > 0 { self.primary } else { self.some_node() };
        let seed = self.rng.u64(..1_000_000);
        let (primary, kilobytes) = (self.primary, self.rng.u64(10..400));
        self.then(0, Event::Burst { node: primary, kilobytes });
        let failed_ms = self.rng.u64(10..200);
        self.then(failed_ms, Event::FailDataSync { node, seed });
        self.then(failed_ms + 5, Event::Checkpoint { node });
        let mut at_ms = failed_ms + self.rng.u64(200..900);
        self.then(at_ms, Event::Restart { node });
        if self.rng.bool() {
            at_ms += self.rng.u64(300..600);
            self.then(at_ms, Event::Checkpoint { node });
            at_ms += self.rng.u64(10..300);
            self.then(at_ms, Event::PowerCut { node, seed });
            at_ms += self.rng.u64(20..120);
            self.then(at_ms, Event::Restart { node });
        }
        self.now_ms += at_ms;
    }

    /// Files cannot be removed while checkpoints are made, and tables may be dropped. What nobody needs goes
    /// later.
    pub(super) fn kept_files(&mut self, node: usize) {
        let (primary, ms) = (self.primary, self.rng.u64(900..3000));
        self.then(0, Event::KeepFiles { node, ms });
        // What rewinds may need is moved first, and does not go.
        self.then(0, Event::set(node, "plimsoll.rewind_keep_size", "0"));
        self.then(ms, Event::set(node, "plimsoll.rewind_keep_size", "1GB"));
        let mut at_ms = 1;
        for _ in 0..3 {
            let kilobytes = self.rng.u64(400..1200);
            self.then(at_ms, Event::Burst { node: primary, kilobytes });
            at_ms += self.rng.u64(ms / 10..ms / 5);
            self.then(at_ms, Event::Checkpoint { node: primary });
            at_ms += self.rng.u64(30..ms / 8);
            self.then(at_ms, Event::Checkpoint { node });
        }
        self.now_ms += at_ms;
    }

    /// A standby's disk changes what it has received and not replayed: it gets it again, or somebody else is
    /// promoted.
    pub(super) fn spoiled_log(&mut self) {
        let Some(node) = self.some_standby() else { return };
        let (old, candidates) = (self.primary, self.standbys());
        if self.rng.bool() {
            self.then(0, Event::Follow { node, from: old });
        }
        let paused_ms = self.rng.u64(100..200);
        self.then(paused_ms, Event::PauseReplay { node });
        let kilobytes = self.rng.u64(20..400);
        self.then(paused_ms + 20, Event::Burst { node: old, kilobytes });
        let spoiled_ms = paused_ms + self.rng.u64(80..400);
        let seed = self.rng.u64(..1_000_000);
        self.then(spoiled_ms, Event::SpoilLog { node, seed });
        let after_ms = spoiled_ms + self.rng.u64(5..150);
        let others = others_than(node, &candidates);
        match self.rng.u8(..4) {
            0 if !others.is_empty() => {
                self.then(after_ms, Event::Kill { node: old });
                if self.rng.bool() {
                    self.then(after_ms + 10, Event::ResumeReplay { node });
                }
                // With what it cannot read it must not.
                let asked_ms = after_ms + self.rng.u64(20..200);
                self.then(asked_ms, Event::Promote { node });
                let up_ms = asked_ms + self.rng.u64(200..500);
                self.then(up_ms, Event::Restart { node });
                let decided_ms = up_ms + self.rng.u64(100..300);
                let chosen = self.promotes_one(&others, decided_ms);
                return self.succeeds((old, true), chosen, decided_ms, candidates);
            }
            1 => {
                let down =
                    if self.rng.bool() { Event::Kill { node } } else { Event::PowerCut { node, seed } };
                self.then(after_ms, down);
                self.then(after_ms + 100, Event::Restart { node });
            }
            _ => self.then(after_ms, Event::ResumeReplay { node }),
        }
        self.now_ms += after_ms + self.rng.u64(100..1000);
    }

    /// Pages change for the last time while a checkpoint writes them; after the next one a node goes down.
    pub(super) fn rest_in_checkpoint(&mut self) {
        let node = if self.rng.u8(..4) == 0 { self.some_node() } else { self.primary };
        let (us, ms) = (self.rng.u64(2000..20_000), self.rng.u64(200..400));
        self.then(0, Event::SlowDisk { node, us, ms });
        self.then(20, Event::Checkpoint { node });
        let rests_ms = self.rng.u64(30..250);
        self.then(rests_ms, Event::Rest { ms: ms + 500 });
        let again_ms = rests_ms + ms + self.rng.u64(50..150);
        self.then(again_ms, Event::Checkpoint { node });
        let down_ms = again_ms + self.rng.u64(60..200);
        let seed = self.rng.u64(..1_000_000);
        let down = if self.rng.bool() { Event::Kill { node } } else { Event::PowerCut { node, seed } };
        self.then(down_ms, down);
        let up_ms = down_ms + self.rng.u64(20..100);
        self.then(up_ms, Event::Restart { node });
        self.now_ms += up_ms;
    }

    /// A node writes much from here on, with a disk that takes its time; when its writing is at its height.
    fn writes_hard(&mut self, node: usize, at_ms: u64) -> u64 {
        let primary = self.primary;
        let ms = self.rng.u64(100..600);
        if self.rng.u8(..3) > 0 {
            let us = self.rng.u64(200..20_000);
            self.then(at_ms, Event::SlowDisk { node, us, ms });
        }
        if self.rng.u8(..4) > 0 {
            let (kilobytes, after_ms) = (self.rng.u64(100..1500), self.rng.u64(1..60));
            self.then(at_ms + after_ms, Event::Burst { node: primary, kilobytes });
        }
        let mut after_ms = self.rng.u64(..100);
        for _ in 0..self.rng.usize(..4) {
            self.then(at_ms + after_ms, Event::Checkpoint { node });
            after_ms += self.rng.u64(1..ms);
        }
        at_ms + self.rng.u64(10..ms + 50)
    }

    /// A node is cloned while its source writes. The node, the source or the fresh clone goes down, or none.
    pub(super) fn broken_clone(&mut self) {
        let Some(node) = self.some_standby() else { return };
        let others = others_than(node, &self.standbys());
        let from = if others.is_empty() || self.rng.u8(..3) > 0 {
            self.primary
        } else {
            others[self.rng.usize(..others.len())]
        };
        let (kilobytes, ms) = (self.rng.u64(1500..9000), self.rng.u64(400..1500));
        let primary = self.primary;
        self.then(0, Event::NarrowLink { from, to: node, kilobytes, ms });
        self.then(5, Event::Clone { node, from });
        for _ in 0..self.rng.usize(..4) {
            let (kilobytes, after_ms) = (self.rng.u64(20..400), self.rng.u64(5..ms));
            self.then(after_ms, Event::Burst { node: primary, kilobytes });
            let later_ms = after_ms + self.rng.u64(..100);
            self.then(later_ms, Event::Checkpoint { node: from });
        }
        let seed = self.rng.u64(..1_000_000);
        let down_ms = self.rng.u64(10..ms + 600);
        let goes = if self.rng.u8(..3) == 0 && from != primary { from } else { node };
        match self.rng.u8(..4) {
            0 => self.then(down_ms, Event::Kill { node: goes }),
            1 | 2 => self.then(down_ms, Event::PowerCut { node: goes, seed }),
            _ => {}
        }
        let up_ms = down_ms + self.rng.u64(50..300);
        self.then(up_ms, Event::Restart { node: goes });
        self.now_ms += up_ms;
    }

    /// Slots keep log only up to a limit for a while, and one that nobody uses is left behind.
    pub(super) fn abandoned_slot(&mut self) {
        let node = self.primary;
        let name = format!("left{}", self.now_ms);
        let limits = |value| Event::set(node, "max_slot_wal_keep_size", value);
        self.then(0, Event::CreateSlot { name: name.clone(), node });
        let limit = if self.rng.bool() { "1MB" } else { "2MB" };
        self.then(1, limits(limit));
        let mut at_ms = 10;
        for _ in 0..3 + self.rng.usize(..3) {
            let kilobytes = self.rng.u64(300..700);
            self.then(at_ms, Event::Burst { node, kilobytes });
            at_ms += self.rng.u64(40..120);
            self.then(at_ms, Event::SwitchWal { node });
            at_ms += self.rng.u64(5..30);
            self.then(at_ms, Event::Checkpoint { node });
            at_ms += self.rng.u64(30..100);
        }
        self.then(at_ms, Event::DropSlot { name, node });
        self.then(at_ms + 1, limits("-1"));
        self.now_ms += at_ms;
    }

    /// Standbys tell nobody of their snapshots for a while, and wait little for them.
    pub(super) fn unheeded_snapshots(&mut self) {
        let ms = self.rng.u64(1500..3500);
        let delay = ["0", "20ms", "50ms"][self.rng.usize(..3)];
        for node in self.standbys() {
            self.then(0, Event::set(node, "hot_standby_feedback", "off"));
            self.then(1, Event::set(node, "max_standby_streaming_delay", delay));
            self.then(ms, Event::set(node, "hot_standby_feedback", "on"));
            self.then(ms + 1, Event::set(node, "max_standby_streaming_delay", "700ms"));
        }
    }
}
