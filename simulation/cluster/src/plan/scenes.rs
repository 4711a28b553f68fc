//! Scenes that bring a cluster where a single fault hardly does: what lagged is promoted, several machines
//! lose power at once, an old primary runs on, a stream ends in the middle of a record.

use super::generate::Director;
use super::{Answered, Event, Nodes, SYNC_NAMES, Ways, others_than};
use crate::features::Feature;

/// A scene that changes the branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turning {
    /// The primary goes, and a standby takes its place.
    Plain,
    /// The primary and those that it waits for go down at the same moment and come back from their disks.
    Blackout,
    /// The stream to the standbys ends in the middle of what was written last.
    TornStream,
    /// The primary is cut off from its standbys, goes down and comes back, still cut off.
    CutOff,
    /// One of those that commits wait for lags, and is promoted.
    Laggard,
    /// The old primary runs on beside the new one.
    RunsOn,
    /// Who lags is promoted, and who was waited for has followed it before.
    Behind,
    /// Two are promoted from one place.
    Twins,
    /// Who follows was ahead of the fork, in a record that the archive has.
    ReadUpToAFork,
    /// What was confirmed is lost, and what comes in its place is not confirmed.
    Unconfirmed,
    /// The primary hears that it was replaced while commits wait.
    FencedInWait,
    /// The primary has lost the end of its log, and must not come back.
    LosesLog,
    /// The primary hands its role over.
    Switchover,
}

impl Director {
    /// A scene of a kind that is switched on.
    pub(super) fn some_turning(&mut self) -> Turning {
        let kinds = [
            (Feature::Blackouts, Turning::Blackout),
            (Feature::Blackouts, Turning::Blackout),
            (Feature::TornStreams, Turning::TornStream),
            (Feature::CutOff, Turning::CutOff),
            (Feature::Laggards, Turning::Laggard),
            (Feature::OldPrimaries, Turning::RunsOn),
            (Feature::Behind, Turning::Behind),
            (Feature::Twins, Turning::Twins),
            (Feature::Archives, Turning::ReadUpToAFork),
            (Feature::ConfirmedReads, Turning::Unconfirmed),
            (Feature::WrongPromotions, Turning::FencedInWait),
            (Feature::Crashes, Turning::LosesLog),
            (Feature::Switchovers, Turning::Switchover),
            (Feature::Switchovers, Turning::Switchover),
            (Feature::Switchovers, Turning::Switchover),
        ];
        let mut on: Vec<Turning> =
            kinds.into_iter().filter(|(feature, _)| self.has(*feature)).map(|(_, kind)| kind).collect();
        on.push(Turning::Plain);
        on[self.rng.usize(..on.len())]
    }

    /// Those of `among` that commits wait for by the names in force; all, if these name none of them.
    fn waited_for(&self, among: &[usize]) -> Vec<usize> {
        let is_named = |node: &&usize| {
            let name = format!("n{node}");
            self.names.split(['(', ')', ',', ' ']).any(|word| word == name)
        };
        let named: Vec<usize> = among.iter().filter(is_named).copied().collect();
        if named.is_empty() { among.to_vec() } else { named }
    }

    /// Which standbys matter: those that commits wait for; often one or two of them from now on, of which
    /// none may be missed. When that holds.
    fn choose_waited_for(&mut self, among: &[usize]) -> (Vec<usize>, u64) {
        if self.rng.u8(..4) == 0 {
            return (self.waited_for(among), 0);
        }
        let mut nodes = among.to_vec();
        self.rng.shuffle(&mut nodes);
        nodes.truncate(1 + usize::from(self.rng.u8(..4) == 0));
        let names = super::names_of(self.rng.bool(), nodes.len(), &nodes);
        self.change_names(0, names);
        (nodes, 160)
    }

    /// What happens to nodes at the next answer.
    pub(super) fn at_answer(&mut self, nodes: Vec<usize>) -> Event {
        let answer = if self.rng.u8(..6) == 0 { Answered::Read } else { Answered::Commit };
        let nodes = Nodes(nodes);
        if self.rng.u8(..6) == 0 {
            return Event::KillAtAnswer { nodes, answer };
        }
        let seed = self.rng.u64(..1_000_000);
        Event::PowerCutAtAnswer { nodes, answer, seed }
    }

    /// The primary and those that it waits for go down at once, most of the time as a client is answered. All
    /// come back from their disks; then the primary goes on, or the best of the others takes its place.
    pub(super) fn blackout(&mut self) {
        let old = self.primary;
        let candidates = self.standbys();
        let (named, named_ms) = self.choose_waited_for(&candidates);
        if self.rng.bool() {
            let checkpoint = *[old, named[0]].get(self.rng.usize(..2)).unwrap_or(&old);
            self.then(0, Event::Checkpoint { node: checkpoint });
        }
        let mut going = vec![old];
        going.extend(named.iter().copied());
        let down_ms = named_ms + self.rng.u64(20..250);
        let down = self.at_answer(going.clone());
        self.then(down_ms, down);
        let goes_on = self.has_turned() && self.rng.u8(..4) == 0;
        let mut up_ms = down_ms + 60;
        for node in going {
            if node != old || goes_on {
                let after_ms = down_ms + self.rng.u64(60..300);
                up_ms = up_ms.max(after_ms);
                self.then(after_ms, Event::Restart { node });
            }
        }
        if goes_on {
            return self.now_ms += up_ms + 300;
        }
        let decided_ms = up_ms + self.rng.u64(250..600);
        let chosen = self.promotes_one(&named, decided_ms);
        self.succeeds((old, true), chosen, decided_ms, candidates);
    }

    /// A burst goes through narrow links, and its writer goes down in its middle. One that has the beginning
    /// of a record is promoted; what another one has of that is no part of the new branch.
    pub(super) fn torn_stream(&mut self) {
        let old = self.primary;
        let candidates = self.standbys();
        let chosen = candidates[self.rng.usize(..candidates.len())];
        let others = others_than(chosen, &candidates);
        let (kilobytes, size) = self.burst_and_link();
        let mut from = chosen;
        for node in others.iter().copied() {
            // Most of them get what the promoted one has, as it has it, some through others.
            if self.rng.u8(..4) > 0 {
                self.then(0, Event::Follow { node, from });
                from = if self.rng.bool() { node } else { chosen };
            } else {
                let event = Event::NarrowLink { from: old, to: node, kilobytes: kilobytes / 2, ms: 1500 };
                self.then(150, event);
            }
        }
        self.then(150, Event::NarrowLink { from: old, to: chosen, kilobytes, ms: 1500 });
        let burst_ms = 160 + self.rng.u64(..100);
        let burst = if self.rng.bool() {
            Event::Burst { node: old, kilobytes: size }
        } else {
            Event::Record { node: old, kilobytes: size }
        };
        self.then(burst_ms, burst);
        let down_ms = burst_ms + self.rng.u64(80..80 + size * 1000 / kilobytes.max(1) * 3 / 4);
        self.then(down_ms, Event::Kill { node: old });
        let mut decided_ms = down_ms + self.rng.u64(20..300);
        self.then(decided_ms, Event::Promote { node: chosen });
        if !others.is_empty() && self.has(Feature::Replay) && self.rng.bool() {
            let node = others[self.rng.usize(..others.len())];
            self.then(100, Event::PauseReplay { node });
            self.then(decided_ms + 2000, Event::ResumeReplay { node });
        }
        if self.rng.bool() {
            // What slots keep is on disk, and lies behind what the new branch begins with.
            self.then(50, Event::Checkpoint { node: old });
            self.then(down_ms, Event::Checkpoint { node: chosen });
        }
        if self.has(Feature::Kills) && self.rng.bool() {
            let after_ms = decided_ms + self.rng.u64(50..600);
            self.then(after_ms, Event::Kill { node: chosen });
            self.then(after_ms + 60, Event::Restart { node: chosen });
        }
        if !others.is_empty() && self.rng.u8(..3) > 0 {
            decided_ms = self.last_word(chosen, &others, decided_ms);
        } else if self.rng.u8(..3) > 0 {
            // They stay where they are.
            self.primary = chosen;
        } else {
            self.replaced_by(chosen, decided_ms, candidates);
        }
        self.old_primary_returns(old, true, decided_ms);
        self.now_ms += decided_ms + 200;
    }

    /// A node was promoted, and commits wait for one that says nothing from there on, or what it said before.
    /// As soon as a commit is done the promoted one goes, and the other one takes its place. When that is.
    pub(super) fn last_word(&mut self, first: usize, others: &[usize], promoted_ms: u64) -> u64 {
        let node = others[self.rng.usize(..others.len())];
        let names = super::names_of(false, 1, &[node]);
        self.then(0, Event::set(first, SYNC_NAMES, &names));
        // Who confirmed what is asked again on the new branch.
        for (again_ms, asks_first) in [(200, true), (400, false)] {
            let again = super::names_of(asks_first, 1, &[node]);
            self.then(promoted_ms + again_ms, Event::set(first, SYNC_NAMES, &again));
        }
        self.names = names;
        let before_ms = promoted_ms.saturating_sub(self.rng.u64(1..60));
        let (ms, delay_ms) = (self.rng.u64(300..1500), self.rng.u64(100..500));
        let event = if self.rng.u8(..3) > 0 {
            Event::Partition { from: node, to: first, ways: Ways::Both, ms }
        } else {
            Event::SlowLink { from: node, to: first, delay_ms, ms }
        };
        self.then(before_ms, event);
        let down = self.at_answer(vec![first]);
        self.then(promoted_ms, down);
        let decided_ms = promoted_ms + self.rng.u64(200..1200);
        self.then(decided_ms, Event::Kill { node: first });
        self.then(decided_ms + 1, Event::Promote { node });
        self.replaced_by(node, decided_ms, others.to_vec());
        self.old_primary_returns(first, true, decided_ms);
        decided_ms
    }

    /// Clients still reach the primary; the standbys do not. It goes down, comes back, and is read.
    pub(super) fn cut_off(&mut self) {
        let old = self.primary;
        let candidates = self.standbys();
        let (named, cut_ms) = self.choose_waited_for(&candidates);
        let ms = self.rng.u64(1200..2500);
        for node in candidates.clone() {
            self.then(cut_ms, Event::Partition { from: old, to: node, ways: Ways::Both, ms });
        }
        self.before_cut(cut_ms);
        if self.rng.u8(..4) == 0 {
            self.then(0, Event::set(old, "plimsoll.unconfirmed_timeout", "200ms"));
        }
        let mut decided_ms = cut_ms + self.rng.u64(200..700);
        for _ in 0..self.rng.usize(..3) {
            let seed = self.rng.u64(..1_000_000);
            let down = match self.rng.u8(..4) {
                0 => Event::PowerCut { node: old, seed },
                1 => Event::ImmediateStop { node: old },
                2 => Event::FastStop { node: old },
                _ => Event::Kill { node: old },
            };
            self.then(decided_ms, down);
            decided_ms += self.rng.u64(50..200);
            self.then(decided_ms, Event::Restart { node: old });
            decided_ms += self.rng.u64(200..800);
        }
        if self.rng.bool() {
            let down = self.at_answer(vec![old]);
            self.then(decided_ms, down);
        } else {
            self.then(decided_ms, Event::Kill { node: old });
        }
        decided_ms += self.rng.u64(60..300);
        let chosen = self.promotes_one(&named, decided_ms);
        self.succeeds((old, true), chosen, decided_ms, candidates);
    }

    /// Commits wait for one that hears nothing; it is promoted.
    pub(super) fn laggard(&mut self) {
        let old = self.primary;
        let candidates = self.standbys();
        let (named, cut_ms) = self.choose_waited_for(&candidates);
        let chosen = named[self.rng.usize(..named.len())];
        let ms = self.rng.u64(400..1200);
        let event = match self.rng.u8(..3) {
            0 => Event::Freeze { node: chosen, ms },
            1 => Event::SlowLink { from: old, to: chosen, delay_ms: ms, ms: ms * 2 },
            _ => Event::Partition { from: old, to: chosen, ways: Ways::Both, ms: ms * 2 },
        };
        let is_frozen = matches!(event, Event::Freeze { .. });
        self.then(cut_ms, event);
        let down_ms = cut_ms + ms * 3 / 4;
        let down = if self.rng.bool() { self.at_answer(vec![old]) } else { Event::Kill { node: old } };
        self.then(down_ms, down);
        let decided_ms = if is_frozen { cut_ms + ms + 50 } else { down_ms + self.rng.u64(20..200) };
        self.then(decided_ms, Event::Kill { node: old });
        self.then(decided_ms + 1, Event::Promote { node: chosen });
        self.succeeds((old, true), chosen, decided_ms, candidates);
    }

    /// Nobody tells the old primary, or its standbys are out of its reach; its clients write on. Later it is
    /// started again as what it was, made a standby, or promoted although it was replaced.
    pub(super) fn runs_on(&mut self) {
        let old = self.primary;
        let candidates = self.standbys();
        let chosen = candidates[self.rng.usize(..candidates.len())];
        let apart_ms = self.rng.u64(500..2500);
        if self.rng.bool() {
            for node in candidates.clone() {
                self.then(0, Event::Partition { from: old, to: node, ways: Ways::Both, ms: apart_ms });
            }
        }
        let decided_ms = self.rng.u64(20..400);
        if self.has(Feature::Freezes) && self.rng.u8(..3) == 0 {
            // It wakes up, and does not know.
            let ms = decided_ms + self.rng.u64(150..600);
            self.then(0, Event::Freeze { node: old, ms });
        }
        self.then(decided_ms, Event::Promote { node: chosen });
        self.replaced_by(chosen, decided_ms, candidates.clone());
        let mut after_ms = decided_ms + self.rng.u64(700..2500);
        let seed = self.rng.u64(..1_000_000);
        let down = match self.rng.u8(..3) {
            0 => Event::Kill { node: old },
            1 => Event::ImmediateStop { node: old },
            _ => Event::PowerCut { node: old, seed },
        };
        if self.rng.bool() {
            // It is not told again that it was replaced.
            for node in candidates {
                self.then(after_ms, Event::Partition { from: old, to: node, ways: Ways::Both, ms: 900 });
            }
            self.then(after_ms, down.clone());
            after_ms += self.rng.u64(50..200);
            self.then(after_ms, Event::Restart { node: old });
            after_ms += self.rng.u64(400..1000);
        }
        self.then(after_ms, down);
        after_ms += self.rng.u64(60..200);
        if self.rng.u8(..4) > 0 {
            self.then(after_ms, Event::FollowPrimary { node: old });
            // It has come up by then, or is asked while it does.
            after_ms += if self.rng.u8(..3) == 0 { self.rng.u64(1..60) } else { self.rng.u64(200..900) };
            if self.rng.bool() {
                self.then(after_ms, Event::Promote { node: old });
                after_ms += self.rng.u64(200..900);
            }
        }
        self.primary = chosen;
        self.joins_again(old, after_ms);
        self.now_ms += decided_ms;
    }

    /// Two are promoted from one branch; later one of them is made a standby of the other.
    pub(super) fn second_returns(&mut self, second: usize, first: usize, after_ms: u64) {
        let stop_ms = after_ms + self.rng.u64(300..1200);
        self.then(stop_ms, Event::ImmediateStop { node: second });
        let follow_ms = stop_ms + self.rng.u64(60..300);
        self.then(follow_ms, Event::Follow { node: second, from: first });
    }

    /// A standby is away while the primary writes enough to remove log, and comes back.
    pub(super) fn away(&mut self) {
        let Some(node) = self.some_standby() else { return };
        let primary = self.primary;
        let seed = self.rng.u64(..1_000_000);
        let down = match self.rng.u8(..3) {
            0 => Event::PowerCut { node, seed },
            1 => Event::FastStop { node },
            _ => Event::Kill { node },
        };
        self.then(0, down);
        let mut after_ms = self.rng.u64(50..150);
        for _ in 0..1 + self.rng.usize(..3) {
            let kilobytes = self.rng.u64(100..700);
            self.then(after_ms, Event::Burst { node: primary, kilobytes });
            after_ms += self.rng.u64(50..150);
            self.then(after_ms, Event::SwitchWal { node: primary });
            after_ms += self.rng.u64(20..60);
            self.then(after_ms, Event::Checkpoint { node: primary });
            after_ms += self.rng.u64(60..160);
        }
        if self.rng.u8(..3) == 0 {
            self.then(after_ms, Event::PowerCut { node: primary, seed });
            after_ms += self.rng.u64(50..150);
            self.then(after_ms, Event::Restart { node: primary });
            after_ms += self.rng.u64(200..400);
            self.then(after_ms, Event::Checkpoint { node: primary });
            after_ms += self.rng.u64(60..160);
        }
        self.then(after_ms, Event::Restart { node });
    }

    /// Clients rest; what they were told last is as durable as it will be. Then a node loses its memory.
    pub(super) fn rest(&mut self) {
        let ms = self.rng.u64(700..1100);
        let node = if self.rng.u8(..4) == 0 { self.some_node() } else { self.primary };
        self.then(0, Event::Rest { ms });
        let down_ms = ms - self.rng.u64(1..60);
        let seed = self.rng.u64(..1_000_000);
        let down = if self.rng.bool() { Event::Kill { node } } else { Event::PowerCut { node, seed } };
        self.then(down_ms, down);
        let up_ms = down_ms + self.rng.u64(20..200);
        self.then(up_ms, Event::Restart { node });
    }

    /// A node goes down as a client is answered, and comes back from its disk.
    pub(super) fn down_at_answer(&mut self, node: usize) {
        let down = self.at_answer(vec![node]);
        self.then(0, down);
        let up_ms = self.rng.u64(60..500);
        self.then(up_ms, Event::Restart { node });
    }
}
