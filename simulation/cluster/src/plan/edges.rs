//! Scenes in which one rule alone stands between a promise and its loss: a fence that rises while commits
//! wait, log that is lost below a page, a clone of what changes under it.

use super::generate::Director;
use super::{Event, FENCE_PROBE, Ways, names_of};
use crate::features::Feature;

impl Director {
    /// The first scene of a story, of a kind that is switched on.
    pub(super) fn opening(&mut self) {
        type Scene = fn(&mut Director);
        let kinds: [(Feature, Scene); 23] = [
            (Feature::WrongPromotions, Self::fenced_in_wait),
            (Feature::Crashes, Self::loses_log),
            (Feature::BrokenClones, Self::long_clone),
            (Feature::SpoiledLog, Self::spoiled_log),
            (Feature::Twins, Self::twins),
            (Feature::Waits, Self::catches_up),
            (Feature::CutOff, Self::cut_off_at_rest),
            (Feature::Waits, Self::any_lags),
            (Feature::Rests, Self::write_alone),
            (Feature::AtAnswers, Self::write_alone),
            (Feature::WeakLevels, Self::write_alone),
            (Feature::HeldSnapshots, Self::hold_snapshots),
            (Feature::StandbyReads, Self::hold_snapshots),
            (Feature::Laggards, Self::any_lags),
            (Feature::TornStreams, Self::cut_in_a_record),
            (Feature::Behind, Self::cut_in_a_record),
            (Feature::Blackouts, Self::cut_in_a_record),
            (Feature::Kills, Self::half_a_record),
            (Feature::Crashes, Self::half_a_record),
            (Feature::Switchovers, Self::switchover),
            (Feature::Switchovers, Self::switchover),
            (Feature::Switchovers, Self::switchover),
            (Feature::Rewinds, Self::diverges),
        ];
        let on: Vec<Scene> =
            kinds.into_iter().filter(|(kind, _)| self.has(*kind)).map(|(_, scene)| scene).collect();
        let place = self.rng.usize(..on.len().max(1));
        if let Some(scene) = on.get(place) {
            scene(self);
        }
    }

    /// The primary is stopped with nothing in doubt, and comes back to find itself cut off. What clients
    /// write then is in doubt when it comes back from a crash.
    fn cut_off_at_rest(&mut self) {
        let old = self.primary;
        let candidates = self.standbys();
        let waited_for = candidates[self.rng.usize(..candidates.len())];
        let names = names_of(self.rng.bool(), 1, &[waited_for]);
        self.change_names(0, names);
        if self.rng.bool() {
            // Who has little patience shows what is in doubt, and says so.
            self.then(0, Event::set(old, "plimsoll.unconfirmed_timeout", "200ms"));
        }
        self.then(10, Event::Follow { node: waited_for, from: old });
        let rest_ms = self.rng.u64(100..200);
        self.then(rest_ms, Event::Rest { ms: 400 });
        let stop_ms = rest_ms + self.rng.u64(200..300);
        self.then(stop_ms, Event::FastStop { node: old });
        let cut_ms = stop_ms + self.rng.u64(200..400);
        self.then(cut_ms, Event::Partition { from: old, to: waited_for, ways: Ways::Both, ms: 6000 });
        self.then(cut_ms + 10, Event::Restart { node: old });
        // A start asks who is cut off for half a second; one after a crash does so twice.
        let down_ms = cut_ms + self.rng.u64(1000..1500);
        let seed = self.rng.u64(..1_000_000);
        let down =
            if self.rng.bool() { Event::Kill { node: old } } else { Event::PowerCut { node: old, seed } };
        self.then(down_ms, down);
        let up_ms = down_ms + self.rng.u64(30..100);
        self.then(up_ms, Event::Restart { node: old });
        let decided_ms = up_ms + self.rng.u64(1400..2200);
        self.then(decided_ms, Event::Kill { node: old });
        self.then(decided_ms + 1, Event::Promote { node: waited_for });
        self.succeeds((old, true), waited_for, decided_ms + 1, candidates);
    }

    /// The primary hears that it was replaced while commits wait there for who has replaced it.
    pub(super) fn fenced_in_wait(&mut self) {
        let old = self.primary;
        let candidates = self.standbys();
        let chosen = candidates[self.rng.usize(..candidates.len())];
        let names = names_of(self.rng.bool(), 1, &[chosen]);
        self.change_names(0, names);
        self.then(0, Event::set(old, FENCE_PROBE, "300ms"));
        self.then(10, Event::Follow { node: chosen, from: old });
        let cut_ms = self.rng.u64(150..300);
        let ms = self.rng.u64(700..1600);
        self.then(cut_ms, Event::Partition { from: old, to: chosen, ways: Ways::Both, ms });
        let decided_ms = cut_ms + self.rng.u64(50..400);
        self.then(decided_ms, Event::Promote { node: chosen });
        // What waits there is looked at first.
        let mut heard_ms = cut_ms + ms + 1200;
        if self.rng.bool() {
            // Somebody wants it back, and asks while it comes up as a standby.
            self.then(heard_ms, Event::ImmediateStop { node: old });
            heard_ms += self.rng.u64(50..150);
            self.then(heard_ms, Event::Follow { node: old, from: chosen });
            heard_ms += self.rng.u64(5..120);
            self.then(heard_ms, Event::Promote { node: old });
            heard_ms += self.rng.u64(100..400);
        }
        self.succeeds((old, false), chosen, heard_ms, candidates);
    }

    /// A primary goes down while it writes pages, and the end of its log is gone though it was durable. It
    /// must not come back with the rest; another one takes its place.
    pub(super) fn loses_log(&mut self) {
        let old = self.primary;
        let candidates = self.standbys();
        self.then(0, Event::Checkpoint { node: old });
        let begun_ms = self.rng.u64(300..600);
        let us = self.rng.u64(4000..12_000);
        self.then(begun_ms, Event::SlowDisk { node: old, us, ms: 800 });
        let kilobytes = self.rng.u64(200..600);
        self.then(begun_ms + 20, Event::Burst { node: old, kilobytes });
        self.then(begun_ms + 60, Event::Checkpoint { node: old });
        let down_ms = begun_ms + self.rng.u64(90..250);
        self.then(down_ms, Event::Kill { node: old });
        let bytes = self.rng.u64(100..3000);
        self.then(down_ms + 1, Event::LoseLog { node: old, bytes });
        let up_ms = down_ms + self.rng.u64(20..100);
        self.then(up_ms, Event::Restart { node: old });
        let decided_ms = up_ms + self.rng.u64(500..900);
        // What did not lose anything came up, and gives its place away.
        self.then(decided_ms, Event::Kill { node: old });
        let chosen = self.promotes_one(&candidates, decided_ms + 1);
        self.succeeds((old, true), chosen, decided_ms + 1, candidates);
    }

    /// A node is cloned for a while, and pages that were sent already change and are written before the clone
    /// has all.
    pub(super) fn long_clone(&mut self) {
        let Some(node) = self.some_standby() else { return };
        let from = self.primary;
        let size = self.rng.u64(1000..2500);
        self.then(0, Event::Burst { node: from, kilobytes: size });
        let clone_ms = self.rng.u64(300..500);
        // So long takes what was written first.
        let kilobytes = self.rng.u64(1000..2500);
        let ms = size * 1000 / kilobytes;
        self.then(clone_ms, Event::NarrowLink { from, to: node, kilobytes, ms: ms + 1500 });
        self.then(clone_ms + 5, Event::Clone { node, from });
        let mut at_ms = clone_ms + ms / 4 + self.rng.u64(..ms / 4 + 1);
        for _ in 0..1 + self.rng.usize(..3) {
            let kilobytes = self.rng.u64(50..400);
            self.then(at_ms, Event::Burst { node: from, kilobytes });
            at_ms += self.rng.u64(50..150);
            self.then(at_ms, Event::Checkpoint { node: from });
            at_ms += self.rng.u64(50..300);
        }
        self.now_ms += at_ms;
    }
}
