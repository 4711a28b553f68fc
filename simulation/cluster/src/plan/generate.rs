//! How a seed becomes a plan.
//!
//! The plan is a row of scenes. A scene knows who is the primary and who is down as far as the plan can tell
//! (the cluster may come to another end, which is why events on a node in the wrong state are left out by who
//! runs them). Most scenes are small faults; in between the branch changes, at least once.

use super::scenes::Turning;
use super::{Event, Nodes, Plan, Timed, Ways, names_of, others_than};
use crate::features::{Feature, Features};
use fastrand::Rng;

/// One of so many stories begins with a scene that needs a cluster in peace, and is longer by it.
const OPENING_EVERY: u8 = 2;

/// Seeds what was added later: all else is drawn as it was before.
const LATER: u64 = 0x1a7e_0001;
/// And what was added after that.
const LAST: u64 = 0x1a7e_0002;

/// The plan of a seed.
pub(super) fn plan(seed: u64) -> Plan {
    let mut rng = Rng::with_seed(seed);
    let mut later = Rng::with_seed(seed ^ LATER);
    let mut last = Rng::with_seed(seed ^ LAST);
    let features =
        Features::random(&mut rng).and(&Features::later(&mut later)).and(&Features::last(&mut last));
    let count = [3, 4, 4, 4, 4, 5][rng.usize(..6)];
    let upstreams: Vec<Option<usize>> = (0..count).map(|node| upstream(&mut rng, &features, node)).collect();
    let direct: Vec<usize> = (1..count).filter(|node| upstreams[*node] == Some(0)).collect();
    let duration_ms = rng.u64(6_000..9_000);
    let mut director = Director {
        names: String::new(),
        last_ms: duration_ms * 5 / 6,
        opening_ms: 0,
        now_ms: rng.u64(300..1500),
        nodes: count,
        primary: 0,
        down: vec![false; count],
        slots: Vec::new(),
        events: Vec::new(),
        features,
        rng,
        later,
        last,
    };
    let names = director.some_names(&direct);
    director.names.clone_from(&names);
    director.direct();
    let Director { mut events, features, mut rng, opening_ms, .. } = director;
    let duration_ms = duration_ms + opening_ms;
    events.sort_by_key(|timed| timed.at_ms);
    // Where few work, nobody's work wakes whoever waits too long.
    let clients = if rng.u8(..4) == 0 { rng.u32(1..3) } else { rng.u32(3..8) };
    Plan { seed, upstreams, clients, duration_ms, names, features, events }
}

fn upstream(rng: &mut Rng, features: &Features, node: usize) -> Option<usize> {
    match node {
        0 => None,
        1 | 2 => Some(0),
        _ if features.has(Feature::Cascades) => Some(rng.usize(..node)),
        _ => Some(0),
    }
}

/// Writes a plan.
pub(super) struct Director {
    pub(super) rng: Rng,
    /// Draws what was added later.
    later: Rng,
    /// And what was added after that.
    pub(super) last: Rng,
    features: Features,
    nodes: usize,
    pub(super) names: String,
    /// When the next scene begins, and when no more does.
    pub(super) now_ms: u64,
    last_ms: u64,
    /// How long the opening scene takes.
    opening_ms: u64,
    pub(super) primary: usize,
    down: Vec<bool>,
    /// Slots with the node that has them.
    slots: Vec<(String, usize)>,
    events: Vec<Timed>,
}

impl Director {
    fn direct(&mut self) {
        let mut turns = 1 + self.rng.usize(..4);
        let scenes = turns + self.rng.usize(4..12);
        let (opens, from_ms) = (self.rng.u8(..OPENING_EVERY) == 0, self.now_ms);
        if self.has(Feature::RareScenes) {
            std::mem::swap(&mut self.rng, &mut self.later);
            self.rarely_seen();
            std::mem::swap(&mut self.rng, &mut self.later);
        } else if self.has(Feature::Peeks) {
            self.stall_commits();
        } else if self.has(Feature::FailingDataSyncs) {
            self.failing_data_sync();
        } else if self.has(Feature::KeptFiles) {
            let node = self.some_node();
            self.kept_files(node);
        } else if self.has(Feature::KeptDrops) {
            self.drop_kept();
        } else if opens {
            self.opening();
        }
        self.opening_ms = self.now_ms - from_ms;
        self.last_ms += self.opening_ms;
        for scene in 0..scenes {
            let left = scenes - scene;
            if turns > 0 && (turns >= left || self.rng.usize(..left) < turns) {
                turns -= 1;
                self.change_of_branch();
            } else {
                self.fault();
            }
            let until = self.last_ms.saturating_sub(self.now_ms);
            let step = (until / (left as u64)).max(50);
            self.now_ms += self.rng.u64(step / 4..step * 3 / 2);
        }
    }

    /// Something happens this much after the scene's beginning.
    pub(super) fn then(&mut self, after_ms: u64, event: Event) {
        self.events.push(Timed { at_ms: self.now_ms + after_ms, event });
    }

    /// Something happened this much before a moment of the scene.
    pub(super) fn before(&mut self, after_ms: u64, ago_ms: u64, event: Event) {
        self.events.push(Timed { at_ms: (self.now_ms + after_ms).saturating_sub(ago_ms), event });
    }

    pub(super) fn has(&self, feature: Feature) -> bool {
        self.features.has(feature)
    }

    /// Whether the branch has changed before.
    pub(super) fn has_turned(&self) -> bool {
        self.events.iter().any(|timed| timed.event.changes_branch())
    }

    pub(super) fn standbys(&self) -> Vec<usize> {
        (0..self.nodes).filter(|node| *node != self.primary && !self.down[*node]).collect()
    }

    pub(super) fn some_standby(&mut self) -> Option<usize> {
        let standbys = self.standbys();
        (!standbys.is_empty()).then(|| standbys[self.rng.usize(..standbys.len())])
    }

    pub(super) fn some_node(&mut self) -> usize {
        if self.rng.u8(..3) == 0 { self.primary } else { self.some_standby().unwrap_or(self.primary) }
    }

    /// A quorum of some of these nodes. Mostly one that a comparison of all of them meets.
    fn some_names(&mut self, of: &[usize]) -> String {
        let mut nodes: Vec<usize> = of.to_vec();
        self.rng.shuffle(&mut nodes);
        if self.rng.u8(..10) == 0 {
            return if self.rng.bool() { String::new() } else { "*".to_owned() };
        }
        nodes.truncate(1 + self.rng.usize(..nodes.len().max(1)));
        let count = 1 + self.rng.usize(..nodes.len().clamp(1, 2));
        names_of(self.rng.bool(), count, &nodes)
    }

    /// The primary goes, or seems to, and another node takes its place.
    fn change_of_branch(&mut self) {
        let old = self.primary;
        let candidates = self.standbys();
        if candidates.is_empty() {
            // All are down: the old ones come back first.
            self.come_back(0);
            return self.now_ms += 700;
        }
        match self.some_turning() {
            Turning::Plain => {}
            Turning::Blackout => return self.blackout(),
            Turning::TornStream => return self.torn_stream(),
            Turning::CutOff => return self.cut_off(),
            Turning::Laggard => return self.laggard(),
            Turning::RunsOn => return self.runs_on(),
            Turning::Behind if candidates.len() > 1 => return self.behind(),
            Turning::Twins if candidates.len() > 1 => return self.twins(),
            Turning::ReadUpToAFork if candidates.len() > 1 => return self.read_up_to_a_fork(),
            Turning::Unconfirmed if candidates.len() > 2 => return self.unconfirmed(),
            Turning::FencedInWait => return self.fenced_in_wait(),
            Turning::LosesLog => return self.loses_log(),
            Turning::Switchover => return self.switchover(),
            Turning::Behind | Turning::Twins | Turning::ReadUpToAFork | Turning::Unconfirmed => {}
        }
        let (gone, takes_ms) = self.take_the_primary(old);
        let decided_ms = takes_ms + self.rng.u64(20..800);
        let chosen = self.promotes_one(&candidates, decided_ms);
        if candidates.len() > 1 && self.has(Feature::WrongPromotions) && self.rng.u8(..3) == 0 {
            let second = candidates[self.rng.usize(..candidates.len())];
            let after_ms = decided_ms + self.rng.u64(..60);
            self.then(after_ms, Event::Promote { node: second });
            if second != chosen && self.rng.bool() {
                self.second_returns(second, chosen, after_ms);
            }
        }
        if self.has(Feature::Kills) && self.rng.u8(..6) == 0 {
            let after_ms = decided_ms + self.rng.u64(..40);
            self.then(after_ms, Event::Kill { node: chosen });
            let again_ms = after_ms + self.rng.u64(50..500);
            self.then(again_ms, Event::Restart { node: chosen });
        }
        self.succeeds((old, gone), chosen, decided_ms, candidates);
    }

    /// The end of a scene in which the branch changes: what becomes of the others and of the old primary,
    /// which may be gone.
    pub(super) fn succeeds(
        &mut self,
        (old, gone): (usize, bool),
        chosen: usize,
        decided_ms: u64,
        candidates: Vec<usize>,
    ) {
        self.replaced_by(chosen, decided_ms, candidates);
        self.old_primary_returns(old, gone, decided_ms);
        self.now_ms += decided_ms;
    }

    /// One of these is promoted: the best of them or any; which it is, most likely.
    pub(super) fn promotes_one(&mut self, among: &[usize], decided_ms: u64) -> usize {
        if among.len() == 1 || self.rng.u8(..4) == 0 {
            let node = among[self.rng.usize(..among.len())];
            self.then(decided_ms, Event::Promote { node });
            return node;
        }
        self.then(decided_ms, Event::PromoteBest { among: Nodes(among.to_vec()) });
        // Of those that have the same the last one is promoted.
        among.iter().copied().max().unwrap_or(self.primary)
    }

    /// The others of those that were compared follow the new primary, and it waits for some of them.
    pub(super) fn replaced_by(&mut self, chosen: usize, decided_ms: u64, candidates: Vec<usize>) {
        let followers = self.followed_by(chosen, decided_ms, &candidates);
        let names = self.some_names(&followers);
        let names_ms = decided_ms + self.rng.u64(100..500);
        self.change_names(names_ms, names);
    }

    /// The others of those that were compared follow the new primary; who they are.
    pub(super) fn followed_by(&mut self, chosen: usize, decided_ms: u64, candidates: &[usize]) -> Vec<usize> {
        self.primary = chosen;
        let followers = others_than(chosen, candidates);
        for node in candidates {
            let after_ms = decided_ms + self.rng.u64(50..600);
            self.then(after_ms, Event::FollowPrimary { node: *node });
        }
        followers
    }

    pub(super) fn change_names(&mut self, after_ms: u64, names: String) {
        self.names.clone_from(&names);
        self.then(after_ms, Event::ChangeSyncNames { names });
    }

    /// What happens to a primary that is replaced. Whether it is down then, and when it can be replaced.
    fn take_the_primary(&mut self, old: usize) -> (bool, u64) {
        let ms = self.rng.u64(500..4000);
        let seed = self.rng.u64(..1_000_000);
        let mut ways =
            vec![(true, Event::ImmediateStop { node: old }), (true, Event::FastStop { node: old })];
        if self.has(Feature::Kills) {
            ways.extend([(true, Event::Kill { node: old }), (true, Event::Kill { node: old })]);
        }
        if self.has(Feature::PowerCuts) {
            ways.push((true, Event::PowerCut { node: old, seed }));
        }
        if self.has(Feature::Freezes) {
            ways.push((false, Event::Freeze { node: old, ms }));
        }
        if self.has(Feature::Network) {
            ways.push((false, Event::Isolate { node: old, ms }));
        }
        if self.has(Feature::WrongPromotions) && self.rng.u8(..4) == 0 {
            return (false, 0);
        }
        let (gone, event) = ways.swap_remove(self.rng.usize(..ways.len()));
        let after_ms = self.rng.u64(..200);
        self.then(after_ms, event);
        (gone, after_ms)
    }

    /// It comes back as a primary, which must fence itself, and is cloned anew in the end; or at once.
    pub(super) fn old_primary_returns(&mut self, old: usize, gone: bool, decided_ms: u64) {
        let mut after_ms = decided_ms + self.rng.u64(300..2500);
        if gone && self.has(Feature::OldPrimaries) && self.rng.bool() {
            self.then(after_ms, Event::Restart { node: old });
            after_ms += self.rng.u64(200..2000);
        }
        let stays_away = self.rng.u8(..8) == 0 && self.standbys().len() > 2;
        self.down[old] = stays_away;
        if !stays_away {
            if gone && self.rng.bool() {
                // It may be no further than the fork; else it says so, and is cloned later.
                self.then(after_ms, Event::FollowPrimary { node: old });
                after_ms += self.rng.u64(500..3000);
                if self.rng.bool() {
                    return;
                }
            }
            self.joins_again(old, after_ms);
        } else if !gone {
            self.then(after_ms, Event::Kill { node: old });
        }
    }

    /// All that are down are started.
    fn come_back(&mut self, after_ms: u64) {
        for node in 0..self.nodes {
            if std::mem::take(&mut self.down[node]) {
                self.joins_again(node, after_ms);
            }
        }
    }

    /// One small fault of a kind that is switched on.
    fn fault(&mut self) {
        let kinds = [
            Feature::Kills,
            Feature::PowerCuts,
            Feature::Freezes,
            Feature::Network,
            Feature::Replay,
            Feature::Slots,
            Feature::Reloads,
            Feature::FullDisks,
            Feature::Clocks,
            Feature::StandbySlots,
            Feature::Archives,
            Feature::AtAnswers,
            Feature::Rests,
            Feature::HeldSnapshots,
            Feature::Crashes,
            Feature::BrokenClones,
            Feature::Unheeded,
            Feature::Waits,
            Feature::Waits,
            Feature::FailingSyncs,
            Feature::SpoiledLog,
            Feature::FailingDataSyncs,
            Feature::KeptFiles,
            Feature::KeptDrops,
        ];
        let on: Vec<Feature> = kinds.into_iter().filter(|kind| self.has(*kind)).collect();
        let kind = if on.is_empty() { None } else { Some(on[self.rng.usize(..on.len())]) };
        let node = self.some_node();
        let ms = self.rng.u64(100..2500);
        match kind {
            Some(Feature::Kills) => self.down_and_up(Event::Kill { node }, node),
            Some(Feature::PowerCuts) => {
                let seed = self.rng.u64(..1_000_000);
                self.down_and_up(Event::PowerCut { node, seed }, node);
            }
            Some(Feature::Freezes) => self.then(0, Event::Freeze { node, ms }),
            Some(Feature::Network) => self.network_fault(node, ms),
            Some(Feature::Replay) => self.replay_fault(),
            Some(Feature::Slots) if self.rng.u8(..3) == 0 => self.abandoned_slot(),
            Some(Feature::Slots) => self.slot(node),
            Some(Feature::Crashes) if self.rng.u8(..3) == 0 => self.rest_in_checkpoint(),
            Some(Feature::Crashes) => self.crashes(),
            Some(Feature::BrokenClones) if self.rng.u8(..3) == 0 => self.long_clone(),
            Some(Feature::BrokenClones) => self.broken_clone(),
            Some(Feature::Unheeded) => self.unheeded_snapshots(),
            Some(Feature::Reloads) => self.reload(node),
            Some(Feature::FullDisks) => self.then(0, Event::DiskFull { node, ms }),
            Some(Feature::Clocks) if self.rng.bool() => self.then(0, Event::ClockForward { node, ms }),
            Some(Feature::StandbySlots | Feature::Archives) => self.away(),
            Some(Feature::AtAnswers) => self.down_at_answer(node),
            Some(Feature::Rests) => self.rest(),
            Some(Feature::HeldSnapshots) if self.rng.bool() => self.hold_snapshots(),
            Some(Feature::HeldSnapshots) => self.drop_read(),
            Some(Feature::Waits) => self.wait_scene(),
            Some(Feature::FailingSyncs) => self.failing_sync(),
            Some(Feature::FailingDataSyncs) => self.failing_data_sync(),
            Some(Feature::KeptFiles) => self.kept_files(node),
            Some(Feature::KeptDrops) => self.drop_kept(),
            Some(Feature::SpoiledLog) => self.spoiled_log(),
            Some(Feature::Clocks) => self.then(0, Event::ClockBack { node, ms }),
            _ if self.rng.bool() => self.then(0, Event::Checkpoint { node: self.primary }),
            _ => self.then(0, Event::SwitchWal { node: self.primary }),
        }
    }

    /// A node says that it can be reached where nobody is, and most of the time takes that back.
    fn moves(&mut self, node: usize) {
        let there = format!("host=10.99.0.{} port=5432", self.rng.u8(1..9));
        self.then(0, Event::set(node, "plimsoll.advertised_address", &there));
        if self.rng.u8(..4) > 0 {
            let ms = self.rng.u64(300..2500);
            self.then(ms, Event::set(node, "plimsoll.advertised_address", ""));
        }
    }

    fn down_and_up(&mut self, event: Event, node: usize) {
        let event = match self.rng.u8(..6) {
            0 => Event::FastStop { node },
            1 => Event::ImmediateStop { node },
            _ => event,
        };
        if node == self.primary && self.rng.u8(..3) > 0 {
            self.half_written();
        }
        self.then(0, event);
        if self.rng.u8(..3) == 0 {
            let ago_ms = self.rng.u64(1..150);
            // A standby has to do with it, too: what its own last one may leave is what the primary's says.
            let of = if self.rng.bool() { self.primary } else { node };
            self.before(0, ago_ms, Event::Checkpoint { node: of });
        }
        let mut after_ms = self.rng.u64(20..900);
        self.then(after_ms, Event::Restart { node });
        // Again while it recovers.
        if self.has(Feature::Kills) && self.rng.u8(..4) == 0 {
            after_ms += self.rng.u64(1..60);
            self.then(after_ms, Event::Kill { node });
            after_ms += self.rng.u64(20..500);
            self.then(after_ms, Event::Restart { node });
        }
    }

    fn network_fault(&mut self, node: usize, ms: u64) {
        let other = (node + 1 + self.rng.usize(..self.nodes - 1)) % self.nodes;
        let ways = if self.rng.bool() { Ways::One } else { Ways::Both };
        let delay_ms = self.rng.u64(5..400);
        match self.rng.u8(..4) {
            0 => self.then(0, Event::Partition { from: node, to: other, ways, ms }),
            1 => self.then(0, Event::SlowLink { from: node, to: other, delay_ms, ms }),
            2 => self.then(0, Event::ResetConnections { node }),
            _ => self.then(0, Event::Isolate { node, ms }),
        }
    }

    fn replay_fault(&mut self) {
        let Some(node) = self.some_standby() else { return };
        let ms = self.rng.u64(50..1500);
        if self.rng.u8(..3) == 0 {
            self.then(0, Event::DelayReplay { node, ms });
            return self.then(ms * 2, Event::DelayReplay { node, ms: 0 });
        }
        self.then(0, Event::PauseReplay { node });
        // Sometimes only a promotion or a restart ends it.
        if self.rng.u8(..4) > 0 {
            self.then(ms, Event::ResumeReplay { node });
        }
    }

    fn slot(&mut self, node: usize) {
        if !self.slots.is_empty() && self.rng.bool() {
            let (name, node) = self.slots.swap_remove(self.rng.usize(..self.slots.len()));
            return self.then(0, Event::DropSlot { name, node });
        }
        let name = format!("kept{}", self.events.len());
        self.slots.push((name.clone(), node));
        self.then(0, Event::CreateSlot { name, node });
    }

    fn reload(&mut self, node: usize) {
        let set = |name, value| Event::set(node, name, value);
        let event = match self.rng.u8(..9) {
            8 => return self.moves(node),
            0 | 1 => {
                let standbys = self.standbys();
                let names = self.some_names(&standbys);
                return self.change_names(0, names);
            }
            2 => set("plimsoll.synchronous_timeout", ["0", "300ms", "1s"][self.rng.usize(..3)]),
            3 => set("plimsoll.unconfirmed_timeout", ["-1", "500ms", "30s"][self.rng.usize(..3)]),
            4 => set("wal_receiver_timeout", ["300ms", "2s"][self.rng.usize(..2)]),
            5 => set("wal_sender_timeout", ["300ms", "2s"][self.rng.usize(..2)]),
            6 => set("hot_standby_feedback", ["on", "off"][self.rng.usize(..2)]),
            _ => set("max_wal_size", ["32MB", "1GB"][self.rng.usize(..2)]),
        };
        self.then(0, event);
    }
}
