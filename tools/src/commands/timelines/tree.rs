//! The tree of timelines that histories tell of together.

use host::Timestamp;
use wal::describe::utc_text;
use wal::history::{BranchId, TimelineHistory};
use wal::{Lsn, TimelineId};

/// A timeline. Twins, which took the same number, are two of these.
#[derive(Debug)]
pub struct Branch {
    pub timeline: TimelineId,
    /// Its id, if a history names it.
    pub id: Option<BranchId>,
    /// Where it left its parent; 0/0 without one.
    pub begin: Lsn,
    /// When, if its log was there to be asked.
    pub began: Option<Timestamp>,
    /// What is to be said of it.
    pub notes: Vec<String>,
    parent: Option<usize>,
    /// Why it left its parent.
    reason: String,
}

/// All timelines that were heard of.
#[derive(Debug, Default)]
pub struct Tree(Vec<Branch>);

impl Tree {
    /// Adds a timeline and those that it comes from; gives the places of all of them, oldest first.
    pub fn add(&mut self, history: &TimelineHistory) -> Vec<usize> {
        let mut places = Vec::new();
        let mut begin = Lsn::INVALID;
        let mut reason = "";
        for entry in history.entries() {
            places.push(self.place(places.last().copied(), entry.timeline, entry.branch, begin, reason));
            (begin, reason) = (entry.end, &entry.reason);
        }
        let (timeline, id) = (history.target(), history.branch());
        places.push(self.place(places.last().copied(), timeline, id, begin, reason));
        places
    }

    /// The one that this is, as far as is known, or a new one.
    fn place(
        &mut self,
        parent: Option<usize>,
        timeline: TimelineId,
        id: Option<BranchId>,
        begin: Lsn,
        reason: &str,
    ) -> usize {
        let is_known = |known: &Branch| {
            let differ = known.id.zip(id).is_some_and(|(known, id)| known != id);
            (known.parent, known.timeline, known.begin) == (parent, timeline, begin) && !differ
        };
        if let Some(place) = self.0.iter().position(is_known) {
            if let Some(known) = self.0.get_mut(place) {
                known.id = known.id.or(id);
            }
            return place;
        }
        let reason = reason.to_owned();
        self.0.push(Branch { timeline, id, begin, began: None, notes: Vec::new(), parent, reason });
        self.0.len() - 1
    }

    pub fn get_mut(&mut self, place: usize) -> Option<&mut Branch> {
        self.0.get_mut(place)
    }

    /// The place of a timeline of which log was found: among `those` if it is there, or as one without a
    /// history.
    pub fn place_of_log(&mut self, timeline: TimelineId, those: &[usize]) -> usize {
        let is_it = |place: &&usize| self.0.get(**place).is_some_and(|branch| branch.timeline == timeline);
        let found = those.iter().find(is_it).copied();
        found.unwrap_or_else(|| self.place(None, timeline, None, Lsn::INVALID, ""))
    }

    /// The tree, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        self.draw(None, "", &mut lines);
        lines
    }

    fn draw(&self, parent: Option<usize>, margin: &str, lines: &mut Vec<String>) {
        let mut children: Vec<_> =
            self.0.iter().enumerate().filter(|(_, branch)| branch.parent == parent).collect();
        children.sort_by_key(|(_, branch)| (branch.timeline, branch.begin, branch.id.map(BranchId::get)));
        let count = children.len();
        for (number, (place, branch)) in children.into_iter().enumerate() {
            let is_last = number + 1 == count;
            let (joint, below) = match (parent, is_last) {
                (None, _) => ("", ""),
                (Some(_), false) => ("├── ", "│   "),
                (Some(_), true) => ("└── ", "    "),
            };
            lines.push(format!("{margin}{joint}{}", self.told(branch)));
            self.draw(Some(place), &format!("{margin}{below}"), lines);
        }
    }

    fn told(&self, branch: &Branch) -> String {
        let mut text = format!("timeline {}", branch.timeline);
        let has_twin = |other: &Branch| other.timeline == branch.timeline && !std::ptr::eq(other, branch);
        if let Some(id) = branch.id.filter(|_| self.0.iter().any(has_twin)) {
            text += &format!(" (branch {id})");
        }
        if let Some(parent) = branch.parent.and_then(|parent| self.0.get(parent)) {
            text += &format!(" left timeline {} at {}", parent.timeline, branch.begin);
            if let Some(began) = branch.began {
                text += &format!(" on {}", utc_text(began));
            }
            if !branch.reason.is_empty() {
                text += &format!(": {}", branch.reason);
            }
        } else if branch.begin == Lsn::INVALID && branch.timeline != TimelineId::FIRST {
            text += ", whose history is not here";
        }
        for note in &branch.notes {
            text += &format!("  <- {note}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fork(of: &TimelineHistory, number: u32, at: u64, branch: u64) -> TimelineHistory {
        of.fork(TimelineId::new(number), Lsn::new(at), "no recovery target specified", BranchId::new(branch))
            .unwrap()
    }

    #[test]
    fn twins_and_siblings_hang_where_they_left() {
        let one = TimelineHistory::root(TimelineId::FIRST);
        let two = fork(&one, 2, 0x300, 7);
        let twin = fork(&one, 2, 0x300, 8);
        let three = fork(&two, 3, 0x400, 9);
        let mut tree = Tree::default();
        let places: Vec<_> = [&three, &two, &twin, &one].map(|history| tree.add(history)).concat();
        let known = tree.place_of_log(TimelineId::new(2), &places);
        assert_eq!(tree.get_mut(known).unwrap().id, Some(BranchId::new(7)));
        tree.place_of_log(TimelineId::new(5), &places);
        let why = "no recovery target specified";
        assert_eq!(
            tree.lines(),
            [
                "timeline 1".to_owned(),
                format!("├── timeline 2 (branch {}) left timeline 1 at 0/300: {why}", BranchId::new(7)),
                format!("│   └── timeline 3 left timeline 2 at 0/400: {why}"),
                format!("└── timeline 2 (branch {}) left timeline 1 at 0/300: {why}", BranchId::new(8)),
                "timeline 5, whose history is not here".to_owned(),
            ]
        );
    }

    #[test]
    fn a_history_without_branches_is_of_the_one_that_left_there() {
        let one = TimelineHistory::root(TimelineId::FIRST);
        let two = fork(&one, 2, 0x300, 7);
        let plain =
            TimelineHistory::parse(TimelineId::new(2), "1\t0/300\tno recovery target specified\n").unwrap();
        let mut tree = Tree::default();
        assert_eq!(tree.add(&plain), tree.add(&two));
        assert_eq!(tree.lines().len(), 2);
    }
}
