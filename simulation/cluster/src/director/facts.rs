//! What the director knows of the cluster's course: who was promoted from what, what was lost, and whom
//! commits waited for. It says which commits must have survived.

use super::disks::{self, wal_folder};
use super::fallbacks::Fallbacks;
use super::handovers::Handovers;
use super::patience::Patience;
use super::reports::Said;
use super::views::Views;
use crate::branch::{Branch, Branches};
use crate::cluster::{DATA, has};
use crate::guarantee::{Fence, Guarantee, Loss, Lost, Pause, Quorum, Released, Shown, Trouble, Turn};
use crate::rare::{Counters, Rare};
use host::Disk;
use simulation::VirtualDisk;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use wal::control::ControlFile;
use wal::history::TimelineHistory;
use wal::timelines::RecoveryStart;
use wal::{BranchRecord, Lsn, TimelineId};

/// How long after a reload was asked for the setting before may still be in force, if nobody has seen that
/// the new one is.
const RELOAD_MS: u64 = 2000;
/// The same once the server has shown the new one.
const SEEN_MS: u64 = 50;

/// The record of a fence is no larger, in bytes.
const FENCE_BYTES_MAX: u64 = 1 << 16;

/// What synchronous_standby_names was set to.
#[derive(Clone, Debug)]
struct Names {
    at_ms: u64,
    names: String,
    /// When the server showed it first.
    seen_ms: Option<u64>,
}

impl Names {
    /// Until when what was there before may have been in force.
    fn replaces_until(&self) -> u64 {
        let late = self.at_ms.saturating_add(RELOAD_MS);
        self.seen_ms.map_or(late, |seen_ms| late.min(seen_ms.saturating_add(SEEN_MS)))
    }
}

/// A promotion that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) decided_ms: u64,
    /// As [`Turn::candidates`].
    pub(super) candidates: BTreeMap<usize, Lsn>,
    /// The old primary if it was down then, and has not come back since.
    pub(super) sealed_from: Option<usize>,
}

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) branches: Branches,
    /// With the old primary that was down.
    turns: Vec<(Turn, Option<usize>)>,
    losses: Vec<Loss>,
    pauses: Vec<Pause>,
    /// Settings of synchronous_standby_names by node, in the order of time.
    names: BTreeMap<usize, Vec<Names>>,
    /// The last promotion that was asked of each node.
    asked: BTreeMap<usize, Asked>,
    /// With the node that said so.
    released: Vec<(usize, Released)>,
    fences: Vec<Fence>,
    /// Who fell back and has to tell of it.
    pub(super) fallbacks: Fallbacks,
    /// Since when nodes may wait for something.
    pub(super) patience: Patience,
    /// What monitoring views showed.
    pub(super) views: Views,
    /// What nodes said that their promotion would lose.
    pub(super) reports: Vec<Said>,
    /// Rare states that these facts show.
    pub(super) rare: Counters,
    /// Nodes that were asked to become the primary and are not yet.
    promoting: BTreeSet<usize>,
    /// When nodes did not know which commits of before hold.
    undecided: Vec<Pause>,
    /// Ranges that were undecided and then shown without the quorum.
    shown_undecided: Vec<Shown>,
    /// What nodes' logs told that their ledgers must have: who, when, and which event.
    told: Vec<(usize, u64, &'static str)>,
    /// Nodes that began a timeline whose history file was not seen yet.
    begun: Vec<(usize, u32)>,
    /// Handovers.
    pub(super) handovers: Handovers,
    /// Nodes whose start was broken off by a stop: they end, wherever their directories are.
    pub(super) breaking_off: BTreeSet<usize>,
    /// When servers ended streams of standbys themselves.
    streams_ended: Vec<Trouble>,
    /// When nodes were rewound: their ledgers stayed.
    rewound: Vec<(usize, u64)>,
    /// Standbys on which replay is paused, and those that were to be promoted then.
    replay_paused: BTreeSet<usize>,
    paused_promotions: BTreeSet<usize>,
    /// Nodes that took to writing: a start finishes a promotion that was cut short, and no line tells of it.
    writing: Vec<usize>,
}

impl Facts {
    pub(super) fn lost(&mut self, node: usize, at_ms: u64, lost: Lost) {
        if self.promoting.remove(&node) && lost < Lost::Directory {
            self.rare.hit(Rare::CrashDuringPromotion);
        }
        self.decided(node, at_ms);
        self.handovers.lost(node, lost);
        self.replay_goes_on(node);
        self.fallbacks.lost(node, lost);
        self.losses.push(Loss { node, at_ms, lost });
    }
    pub(super) fn paused(&mut self, node: usize, from_ms: u64, to_ms: u64) {
        self.pauses.push(Pause { node, from_ms, to_ms });
    }
    /// A server has ended the stream to a standby.
    pub(super) fn stream_ended(&mut self, nodes: (usize, usize), at_ms: u64) {
        self.streams_ended.push(Trouble { nodes, from_ms: at_ms, to_ms: at_ms });
    }
    pub(super) fn names_set(&mut self, node: usize, at_ms: u64, names: &str) {
        let names = names.to_owned();
        self.names.entry(node).or_default().push(Names { at_ms, names, seen_ms: None });
    }
    /// A node that runs shows this setting.
    pub(super) fn names_seen(&mut self, node: usize, at_ms: u64, names: &str) {
        let last = self.names.get_mut(&node).and_then(|settings| settings.last_mut());
        if let Some(last) = last.filter(|last| last.names == names) {
            last.seen_ms.get_or_insert(at_ms);
        }
    }
    /// A node has what another branch had, and its own ledger still.
    pub(super) fn rewound(&mut self, node: usize, at_ms: u64) {
        self.lost(node, at_ms, Lost::Directory);
        self.rewound.push((node, at_ms));
    }
    /// A standby has rewound itself. A promotion that was asked for before is one of what it is now.
    pub(super) fn rewound_itself(&mut self, node: usize, at_ms: u64) {
        let is_promoting = self.promoting.contains(&node);
        if let Some(asked) = self.asked.get_mut(&node).filter(|_| is_promoting) {
            asked.decided_ms = at_ms;
        }
        self.rewound(node, at_ms);
        if is_promoting {
            self.promoting.insert(node);
        }
    }
    pub(super) fn asked_to_promote(&mut self, node: usize, asked: Asked) {
        self.handovers.promoted_otherwise(node);
        if self.replay_paused.contains(&node) {
            self.paused_promotions.insert(node);
        }
        self.asked.insert(node, asked);
        self.promoting.insert(node);
    }
    /// A node's log says that it takes writes.
    pub(super) fn takes_writes(&mut self, node: usize) {
        self.writing.push(node);
        let branch = self.branch_written(node);
        let is_left = |(turn, _): &(Turn, Option<usize>)| {
            let fork = self.branches.fork(&turn.branch);
            turn.node != node && fork.is_some_and(|fork| fork.parent == branch)
        };
        if !self.promoting.remove(&node) && self.turns.iter().any(is_left) {
            self.rare.hit(Rare::OldPrimaryBack);
        }
    }
    /// A standby has said that its replay is paused.
    pub(super) fn replay_pauses(&mut self, node: usize) {
        self.replay_paused.insert(node);
    }
    /// It goes on, or nothing is known of it any more.
    pub(super) fn replay_goes_on(&mut self, node: usize) {
        self.replay_paused.remove(&node);
        self.paused_promotions.remove(&node);
    }
    /// Whether a node writes a branch that was left since a time.
    pub(super) fn is_replaced_since(&self, node: usize, since_ms: u64) -> bool {
        let branch = self.branch_written(node);
        let leaves = |(turn, _): &(Turn, Option<usize>)| {
            let fork = self.branches.fork(&turn.branch);
            turn.node != node && turn.decided_ms >= since_ms && fork.is_some_and(|fork| fork.parent == branch)
        };
        self.turns.iter().any(leaves)
    }
    /// Whether a node was asked to become the primary and is not yet.
    pub(super) fn is_promoted(&self, node: usize) -> bool {
        self.promoting.contains(&node)
    }
    /// Whether the same is true of a node that has rewound itself since a time.
    pub(super) fn is_promoted_behind_rewind(&self, node: usize, since_ms: u64) -> bool {
        let is_since = |(rewound, at_ms): &(usize, u64)| *rewound == node && *at_ms >= since_ms;
        self.is_promoted(node) && self.rewound.iter().any(is_since)
    }
    /// Whether anybody has asked a node to become the primary since a time.
    pub(super) fn was_asked_to_promote(&self, node: usize, since_ms: u64) -> bool {
        self.asked.get(&node).is_some_and(|asked| asked.decided_ms >= since_ms)
    }
    /// A node's log says that it was not promoted.
    pub(super) fn stays_standby(&mut self, node: usize) {
        self.promoting.remove(&node);
    }
    /// A node's log says that it does not know which commits hold.
    pub(super) fn undecided(&mut self, node: usize, from_ms: u64) {
        self.undecided.push(Pause { node, from_ms, to_ms: u64::MAX });
    }
    /// It knows, or is gone.
    pub(super) fn decided(&mut self, node: usize, to_ms: u64) {
        let open = |pause: &&mut Pause| pause.node == node && pause.to_ms == u64::MAX;
        if let Some(pause) = self.undecided.iter_mut().rev().find(open) {
            pause.to_ms = to_ms;
        }
    }
    /// A node is started: what it was the primary of may go on.
    pub(super) fn comes_back(&mut self, node: usize) {
        for asked in self.asked.values_mut().filter(|asked| asked.sealed_from == Some(node)) {
            asked.sealed_from = None;
        }
        for (turn, _) in self.turns.iter_mut().filter(|(_, sealed_from)| *sealed_from == Some(node)) {
            turn.sealed = false;
        }
    }
    /// The branch that a node writes, if it is a primary.
    pub(super) fn branch_written(&self, node: usize) -> Branch {
        let turn = self.turns.iter().rev().find(|(turn, _)| turn.node == node);
        turn.map_or_else(|| Branch::new("1"), |(turn, _)| turn.branch.clone())
    }
    /// Whether a node was promoted and writes another branch than this.
    pub(super) fn has_left(&self, node: usize, branch: &Branch) -> bool {
        let turn = self.turns.iter().rev().find(|(turn, _)| turn.node == node);
        turn.is_some_and(|(turn, _)| {
            self.branches.fork(&turn.branch).is_some_and(|fork| fork.parent == *branch)
        })
    }
    /// A primary's log says that it is fenced, and why; whether it was before.
    pub(super) fn fenced(&mut self, node: usize, at_ms: u64, (descendant, fork): (u32, Lsn)) -> bool {
        let branch = self.branch_written(node);
        let again = self.fences.iter().any(|fence| fence.node == node && fence.branch == branch);
        self.fences.push(Fence { node, at_ms, branch, descendant, fork, by: None });
        again
    }
    /// What the record of a node's last fence names.
    pub(super) fn fenced_by(&mut self, node: usize, by: Branch) {
        if let Some(fence) = self.fences.iter_mut().rev().find(|fence| fence.node == node) {
            fence.by = Some(by);
        }
    }
    /// A node's log tells of something that its ledger must have.
    pub(super) fn told(&mut self, node: usize, at_ms: u64, event: &'static str) {
        self.told.push((node, at_ms, event));
    }
    /// What a node's log told of such events since a time, and when.
    pub(super) fn told_by(&self, node: usize, since_ms: u64) -> impl Iterator<Item = (u64, &'static str)> {
        let fits = move |told: &&(usize, u64, &str)| told.0 == node && told.1 >= since_ms;
        self.told.iter().filter(fits).map(|(_, at_ms, event)| (*at_ms, *event))
    }
    /// How often a node's log told of an event since a time.
    pub(super) fn told_events(&self, node: usize, event: &str, since_ms: u64) -> usize {
        self.told_by(node, since_ms).filter(|(_, told)| *told == event).count()
    }
    /// Whether a node lost anything within a time.
    pub(super) fn is_lost_between(&self, node: usize, from_ms: u64, to_ms: u64) -> bool {
        let within = |loss: &Loss| loss.node == node && (from_ms..=to_ms).contains(&loss.at_ms);
        self.losses.iter().any(within)
    }
    /// When a node last lost so much.
    pub(super) fn last_loss(&self, node: usize, lost: Lost) -> Option<u64> {
        let mut losses = self.losses.iter().rev();
        losses.find(|loss| loss.node == node && loss.lost == lost).map(|loss| loss.at_ms)
    }
    /// Since when a node has its ledger.
    pub(super) fn ledger_since(&self, node: usize) -> u64 {
        let mut losses = self.losses.iter().rev().filter(|loss| loss.node == node);
        let is_new =
            |loss: &&Loss| loss.lost == Lost::Directory && !self.rewound.contains(&(node, loss.at_ms));
        losses.find(is_new).map_or(0, |loss| loss.at_ms)
    }
    /// How often a node lost anything since a time.
    pub(super) fn losses_since(&self, node: usize, since_ms: u64) -> usize {
        self.losses.iter().filter(|loss| loss.node == node && loss.at_ms >= since_ms).count()
    }
    /// Nodes whose fence rose at least so long ago, and that nothing befell since.
    pub(super) fn nodes_fenced_before(&self, at_ms: u64) -> impl Iterator<Item = usize> {
        let lasts = move |fence: &&Fence| {
            let befell = self.losses_since(fence.node, fence.at_ms) > 0;
            fence.at_ms <= at_ms && !befell && !self.paused_since(fence.node, fence.at_ms)
        };
        self.fences.iter().filter(lasts).map(|fence| fence.node)
    }
    /// Whether a node stood still at any moment since a time.
    pub(super) fn paused_since(&self, node: usize, since_ms: u64) -> bool {
        self.pauses.iter().any(|pause| pause.node == node && pause.to_ms >= since_ms)
    }
    /// A primary's log says that commits behind a position wait for fewer standbys from now on.
    pub(super) fn falls_back(&mut self, node: usize, at_ms: u64, after: Lsn) {
        let (branch, told_ms) = (self.branch_written(node), Some((at_ms, u64::MAX)));
        self.released.push((node, Released { branch, after, upto: None, told_ms }));
    }
    /// A primary's log says that it shows an undecided range without the quorum.
    pub(super) fn shows_undecided(&mut self, node: usize, at_ms: u64, (after, upto): (Lsn, Lsn)) {
        // What is undecided is of before a start; without one, what is released had begun by now.
        let mut undecided = self.undecided.iter().rev();
        let open = undecided.find(|pause| pause.node == node && pause.to_ms == u64::MAX);
        let begun_ms = open.map_or(at_ms, |pause| pause.from_ms);
        self.shown_undecided.push(Shown { after, upto, begun_ms, at_ms });
    }
    /// Whether a node fell back on the branch that it writes.
    pub(super) fn fell_back(&self, node: usize) -> bool {
        let branch = self.branch_written(node);
        self.released.iter().any(|(other, released)| *other == node && released.branch == branch)
    }
    /// Where a node's last fallback on a branch has ended, as its log told.
    pub(super) fn last_return(&self, node: usize, branch: &Branch) -> Option<Lsn> {
        let mut of_node = self.released.iter().rev().filter(|(other, _)| *other == node);
        of_node.find(|(_, released)| released.branch == *branch).and_then(|(_, released)| released.upto)
    }
    /// It waits for all of them again behind a position.
    pub(super) fn returns(&mut self, node: usize, at_ms: u64, at: Lsn) {
        if let Some((_, last)) = self.released.iter_mut().rev().find(|(other, _)| *other == node) {
            last.upto = Some(at);
            last.told_ms = last.told_ms.map(|(from_ms, _)| (from_ms, at_ms));
        }
    }
    /// A node's log says that it begins this timeline.
    pub(super) fn begins(&mut self, node: usize, timeline: u32) {
        self.begun.push((node, timeline));
    }

    /// Whether a node may yet become the primary.
    pub(super) fn awaits_promotion(&self) -> bool {
        !self.promoting.is_empty()
    }

    /// Reads the history files of timelines that nodes have begun, where they are there by now.
    pub(super) fn observe<'d>(&mut self, now_ms: u64, files: impl Fn(usize) -> Option<&'d VirtualDisk>) {
        let mut later = Vec::new();
        for node in std::mem::take(&mut self.writing) {
            let Some(history) = files(node).and_then(disks::written) else { continue };
            let timeline = history.target();
            let is_told = self.begun.iter().any(|(other, _)| *other == node);
            if !is_told && branch_of(&history, timeline) != self.branch_written(node) {
                self.begun.push((node, timeline.get()));
            }
        }
        for (node, timeline) in std::mem::take(&mut self.begun) {
            let found = files(node).and_then(|files| {
                let history = TimelineHistory::load(files, &wal_folder(), TimelineId::new(timeline)).ok()?;
                self.add_history(&history)
            });
            let Some(branch) = found else {
                later.push((node, timeline));
                continue;
            };
            let asked = self.asked.get(&node).cloned().unwrap_or(Asked {
                decided_ms: now_ms,
                candidates: BTreeMap::from([(node, Lsn::INVALID)]),
                sealed_from: None,
            });
            let Asked { decided_ms, candidates, sealed_from } = asked;
            if self.paused_promotions.contains(&node) {
                self.rare.hit(Rare::PausedAtPromotion);
            }
            self.replay_goes_on(node);
            if self.handovers.begins(node, &branch) {
                self.rare.hit(Rare::HandedOver);
            }
            let turn = Turn { branch, node, decided_ms, candidates, sealed: sealed_from.is_some() };
            self.turns.push((turn, sealed_from));
        }
        self.begun = later;
    }

    /// Adds a history's branches; its youngest one.
    fn add_history(&mut self, history: &TimelineHistory) -> Option<Branch> {
        let mut parent = None::<Branch>;
        for (timeline, begin, _) in history.newest_first().collect::<Vec<_>>().into_iter().rev() {
            let branch = branch_of(history, timeline);
            if let Some(parent) = parent.replace(branch.clone()) {
                self.branches.add(branch, parent, begin);
            }
        }
        parent
    }

    /// All branches whose timeline has this number.
    pub(super) fn branches_numbered(&self, timeline: u32) -> impl Iterator<Item = Branch> {
        let all = self.branches.all(&Branch::new("1"));
        all.into_iter().filter(move |branch| branch.timeline() == timeline)
    }

    /// How many changes of branch there were.
    pub(super) fn turns(&self) -> usize {
        self.turns.len()
    }

    /// Adds all branches of which a node has history files.
    pub(super) fn add_all(&mut self, files: &VirtualDisk) {
        for timeline in timelines(files) {
            if let Ok(history) = TimelineHistory::load(files, &wal_folder(), timeline) {
                self.add_history(&history);
            }
        }
    }

    /// What must hold in the end.
    pub(super) fn guarantee(
        &self,
        survivor: Branch,
        nodes: usize,
        mut released: Vec<Released>,
        wal_writer_delay_ms: u64,
    ) -> Guarantee {
        released.extend(self.released.iter().map(|(_, released)| released.clone()));
        let mut quorums = Vec::new();
        for (node, settings) in &self.names {
            for (at, set) in settings.iter().enumerate() {
                let to_ms = settings.get(at + 1).map_or(u64::MAX, Names::replaces_until);
                let (count, named) = quorum_of(&set.names, nodes);
                let standbys = named.iter().copied().collect();
                let method = set.names.trim_start().get(..3);
                let is_any = method.is_none_or(|word| word.eq_ignore_ascii_case("any"));
                let first = if is_any || set.names.contains('*') { Vec::new() } else { named };
                quorums.push(Quorum { node: *node, from_ms: set.at_ms, to_ms, count, standbys, first });
            }
        }
        Guarantee {
            survivor,
            branches: self.branches.clone(),
            quorums,
            turns: self.turns.iter().map(|(turn, _)| turn.clone()).collect(),
            handed_over: self.handovers.branches().to_vec(),
            losses: self.losses.clone(),
            spoiled: BTreeSet::new(),
            pauses: self.pauses.clone(),
            released,
            undecided: self.undecided.clone(),
            shown_undecided: self.shown_undecided.clone(),
            disturbed: Vec::new(),
            troubles: self.streams_ended.clone(),
            stops: self.handovers.stops().to_vec(),
            fences: self.fences.clone(),
            reports: None,
            wal_writer_delay_ms,
        }
    }
}

/// The branch of a history's timeline.
pub(super) fn branch_of(history: &TimelineHistory, timeline: TimelineId) -> Branch {
    match history.branch_of(timeline) {
        Some(id) => Branch::new(&format!("{}-{id}", timeline.get())),
        None => Branch::new(&timeline.get().to_string()),
    }
}

/// The timelines of which a node has the history.
pub(super) fn timelines(files: &VirtualDisk) -> impl Iterator<Item = TimelineId> + use<> {
    let names = files.list(&wal_folder()).unwrap_or_default();
    names.into_iter().filter_map(|entry| TimelineId::parse_history_file_name(&entry.name))
}

/// The timeline that a node is on: a standby has a record of what it follows, of a primary the control file
/// tells it. Histories of others lie there, too, as soon as the node has heard of them.
pub(super) fn accepted(files: &VirtualDisk) -> TimelineId {
    let found = || {
        let control = ControlFile::load(files, Path::new(DATA)).ok()?;
        let record = BranchRecord::load(files, Path::new(DATA), &control).ok()?;
        Some(RecoveryStart::found(&control, None, record).timeline())
    };
    found().unwrap_or(TimelineId::FIRST)
}

/// Its history.
pub(super) fn branch_history(files: &VirtualDisk) -> Option<TimelineHistory> {
    disks::history(files, accepted(files))
}

/// Its branch.
pub(super) fn branch_followed(files: &VirtualDisk) -> Option<Branch> {
    let timeline = accepted(files);
    disks::history(files, timeline).map(|history| branch_of(&history, timeline))
}

/// The branch that the record of a node's fence names.
pub(super) fn fenced_by(files: &VirtualDisk) -> Option<Branch> {
    let bytes = files.read(&Path::new(DATA).join(disks::FENCE), FENCE_BYTES_MAX).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    Some(Branch::new(&format!("{}-{}", value("descendant=")?, value("branch=")?)))
}

/// Whether the record of a node's fence holds: it stays where it is when the node goes on from the branch
/// that it names.
pub(super) fn is_replaced(files: &VirtualDisk) -> bool {
    let goes_on_from = |by: Branch| {
        let timeline = TimelineId::new(by.timeline());
        branch_history(files).is_some_and(|history| branch_of(&history, timeline) == by)
    };
    has(files, disks::FENCE) && !fenced_by(files).is_some_and(goes_on_from)
}

/// The branch of the youngest timeline that continues the one that a node is on. Before a node turns to
/// another one, it has its history.
pub(super) fn branch_ahead(files: &VirtualDisk) -> Option<Branch> {
    let own = accepted(files);
    let histories = timelines(files).filter_map(|timeline| disks::history(files, timeline));
    let ahead = histories.filter(|history| history.contains(own)).max_by_key(TimelineHistory::target);
    ahead.map(|history| branch_of(&history, history.target())).or_else(|| branch_followed(files))
}

/// How many of which nodes a setting names; 0 for none.
pub(super) fn quorum_of(names: &str, nodes: usize) -> (usize, Vec<usize>) {
    if names.trim() == "*" {
        return (1, (0..nodes).collect());
    }
    let Some((head, list)) = names.split_once('(') else { return (0, Vec::new()) };
    let count = head.split_ascii_whitespace().nth(1).and_then(|count| count.parse().ok()).unwrap_or(0);
    let named = || list.trim_end_matches(')').split(',').map(|name| name.trim().trim_matches('"'));
    if named().any(|name| name == "*") {
        return (count, (0..nodes).collect());
    }
    (count, named().filter_map(|name| name.strip_prefix('n')?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_read_from_its_setting() {
        let all = vec![0, 1, 2];
        for (names, quorum) in [
            ("", (0, vec![])),
            ("*", (1, all.clone())),
            ("ANY 2 (n1, n2)", (2, vec![1, 2])),
            ("FIRST 2 (*)", (2, all.clone())),
            ("ANY 1 (n2, \"*\")", (1, all)),
        ] {
            assert_eq!(quorum_of(names, 3), quorum, "{names}");
        }
    }
}
