//! Scenes in which nothing happens to any node: whoever is late then, or loses something, has no excuse.

use super::generate::Director;
use super::{Event, Ways, names_of};

impl Director {
    /// A few sessions write while clients rest: nobody else's work wakes who was forgotten.
    pub(super) fn write_alone(&mut self) {
        let (sessions, ms) = ([1, 1, 2, 3][self.rng.usize(..4)], self.rng.u64(1200..2000));
        self.then(0, Event::Alone { sessions, node: self.primary, ms });
        // What does not wait is looked at behind that.
        self.now_ms += ms + 1000;
    }

    /// Snapshots are held on standbys while a few rows change so often that their old versions have to go.
    pub(super) fn hold_snapshots(&mut self) {
        let ms = self.rng.u64(1800..2600);
        self.then(0, Event::Alone { sessions: 8, node: self.primary, ms: ms + 900 });
        for node in self.standbys() {
            let from_ms = self.rng.u64(500..700);
            self.then(from_ms, Event::Hold { node, ms });
        }
        self.now_ms += ms + 1900;
    }

    /// Commits of large transactions stand still between their steps, and what they leave takes its time on
    /// the standby that they wait for.
    pub(super) fn stall_commits(&mut self) {
        let candidates = self.standbys();
        let node = candidates[self.last.usize(..candidates.len())];
        let (us, ms) = (self.last.u64(10_000..30_000), self.last.u64(3000..6000));
        self.change_names(0, names_of(false, 1, &[node]));
        self.then(0, Event::StallLocks { ms });
        self.then(0, Event::SlowDisk { node, us, ms });
        self.now_ms += ms;
    }

    /// Any of two is enough, and first one of them hears nothing, or is not heard, then the other. Or one
    /// that is asked first leaves.
    pub(super) fn any_lags(&mut self) {
        let candidates = self.standbys();
        let nodes = self.some_pair(&candidates);
        let primary = self.primary;
        for node in nodes {
            self.then(0, Event::Follow { node, from: primary });
        }
        if self.rng.bool() {
            return self.first_leaves(&nodes);
        }
        self.change_names(10, names_of(false, 1, &nodes));
        let mut at_ms = self.rng.u64(600..800);
        for node in nodes {
            let ms = self.rng.u64(700..1000);
            let event = if self.rng.bool() {
                Event::Freeze { node, ms }
            } else {
                Event::Partition { from: node, to: primary, ways: Ways::Both, ms }
            };
            self.then(at_ms, event);
            at_ms += ms + 500;
        }
        self.now_ms += at_ms;
    }
}
