//! Scenes in which a primary hands its role over, and something happens in the middle of that.

use super::generate::Director;
use super::{Event, Handed, Nodes, Ways, names_of};

/// The time from an order to the end of what comes of it, if nothing comes in between.
const TAKES_MS: u64 = 700;

impl Director {
    /// The primary is to hand its role over to a standby; then one leads.
    pub(super) fn switchover(&mut self) {
        let old = self.primary;
        let candidates = self.standbys();
        let Some(to) = self.some_standby() else { return };
        // It can hand over only to one that streams from it.
        self.then(0, Event::FollowPrimary { node: to });
        if self.rng.u8(..3) == 0 {
            let names = names_of(self.rng.bool(), 1, &[to]);
            self.change_names(0, names);
        }
        let asked_ms = self.rng.u64(300..600);
        let ms = self.rng.u64(300..2000);
        self.then(asked_ms, Event::Switchover { to, ms });
        let over_ms = asked_ms + self.disturbs_handover((old, to), asked_ms) + TAKES_MS;
        let among = Nodes([candidates.clone(), vec![old]].concat());
        self.then(over_ms, Event::PromoteIfNone { among });
        self.replaced_by(to, over_ms, candidates);
        self.now_ms += over_ms;
        if self.rng.u8(..4) == 0 {
            // And back.
            let back_ms = self.rng.u64(300..900);
            self.then(back_ms, Event::FollowPrimary { node: old });
            self.then(back_ms + 300, Event::Switchover { to: old, ms });
            self.now_ms += back_ms + 300 + TAKES_MS;
        }
    }

    /// What happens in the middle of a handover, and how much longer it takes then.
    fn disturbs_handover(&mut self, (old, to): (usize, usize), asked_ms: u64) -> u64 {
        let node = if self.rng.bool() { old } else { to };
        let handed = if self.rng.u8(..3) > 0 { Handed::Offered } else { Handed::Taken };
        let middle_ms = asked_ms + self.rng.u64(1..500);
        let ms = self.rng.u64(200..2500);
        match self.rng.u8(..10) {
            0 | 1 => {
                let down = self.some_crash(node);
                self.then(middle_ms, down);
                self.up_again(&[node], middle_ms)
            }
            2 | 3 => {
                let nodes = if self.rng.u8(..4) == 0 { vec![old, to] } else { vec![node] };
                let seed = self.rng.u64(..1_000_000);
                let at = Nodes(nodes.clone());
                let down = if self.rng.bool() {
                    Event::KillAtHandover { nodes: at, handed }
                } else {
                    Event::PowerCutAtHandover { nodes: at, handed, seed }
                };
                self.then(asked_ms, down);
                self.up_again(&nodes, asked_ms + 600)
            }
            4 | 5 => {
                let ways = if self.rng.u8(..3) == 0 { Ways::Both } else { Ways::One };
                let ms = ms + 1000;
                self.then(asked_ms, Event::CutAtHandover { from: to, to: old, ways, handed, ms });
                ms
            }
            6 => {
                self.then(middle_ms, Event::Freeze { node, ms });
                ms
            }
            7 => {
                let (us, ms) = (self.rng.u64(5000..40_000), ms.min(1200));
                self.then(asked_ms, Event::SlowDisk { node, us, ms });
                ms
            }
            8 => {
                self.then(
                    middle_ms,
                    Event::Partition { from: node, to: old + to - node, ways: Ways::Both, ms },
                );
                ms
            }
            _ => 0,
        }
    }

    fn some_crash(&mut self, node: usize) -> Event {
        let seed = self.rng.u64(..1_000_000);
        match self.rng.u8(..5) {
            0 => Event::FastStop { node },
            1 | 2 => Event::Kill { node },
            _ => Event::PowerCut { node, seed },
        }
    }

    /// They are started again; when, counted from the scene's order on.
    fn up_again(&mut self, nodes: &[usize], down_ms: u64) -> u64 {
        let mut last_ms = 0;
        for node in nodes {
            let after_ms = self.rng.u64(50..600);
            self.then(down_ms + after_ms, Event::Restart { node: *node });
            last_ms = last_ms.max(after_ms);
        }
        last_ms + 600
    }
}
