//! Whose log an archive has. A segment does not tell which branch of its timeline it is of; the histories in
//! the same archive do.

use crate::history::TimelineHistory;
use crate::ids::TimelineId;
use std::collections::BTreeMap;

/// The histories that an archive has, as far as it was asked.
#[derive(Clone, Debug, Default)]
pub struct ArchiveHistories {
    known: BTreeMap<TimelineId, TimelineHistory>,
}

impl ArchiveHistories {
    /// Whether the archive must be asked for the history of a timeline before its segments are judged. The
    /// first has none.
    pub fn lacks(&self, timeline: TimelineId) -> bool {
        timeline > TimelineId::FIRST && !self.known.contains_key(&timeline)
    }

    /// The archive has this one. True if that is news.
    pub fn learn(&mut self, history: TimelineHistory) -> bool {
        let known = self.known.insert(history.target(), history.clone());
        known.as_ref() != Some(&history)
    }

    /// Whether the archive's segments of a timeline are of another branch than that of `followed`. Without a
    /// history of that timeline, those that continue it tell. If none does, nobody knows.
    pub fn are_anothers(&self, followed: &TimelineHistory, timeline: TimelineId) -> bool {
        let ours = followed.up_to(timeline).filter(|_| timeline > TimelineId::FIRST);
        let Some(ours) = ours else { return false };
        match self.known.get(&timeline) {
            Some(theirs) => ours.is_twin_of(theirs),
            None => {
                let mut ways = self.known.values().filter_map(|later| later.ancestor(timeline));
                ways.any(|theirs| ours.is_twin_of(&theirs))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::BranchId;
    use crate::ids::Lsn;

    /// The history of timeline `number` that leaves `parent` at 0/300, as branch `id`.
    fn child(parent: &TimelineHistory, number: u32, id: u64) -> TimelineHistory {
        let timeline = TimelineId::new(number);
        parent.fork(timeline, Lsn::new(0x300), "promoted", BranchId::new(id)).unwrap()
    }

    fn archive(histories: &[&TimelineHistory]) -> ArchiveHistories {
        let mut archive = ArchiveHistories::default();
        histories.iter().for_each(|history| assert!(archive.learn((*history).clone())));
        archive
    }

    #[test]
    fn a_timelines_own_history_tells_whose_its_segments_are_and_else_those_that_continue_it() {
        let root = TimelineHistory::root(TimelineId::FIRST);
        let (ours, twins) = (child(&root, 2, 1), child(&root, 2, 2));
        let (followed, of_twin, beside) = (child(&ours, 3, 3), child(&twins, 4, 4), child(&ours, 3, 5));
        let nobodys = TimelineHistory::parse(TimelineId::new(2), "1\t0/200\tby hand\n").unwrap();
        let broken_off = TimelineHistory::parse(TimelineId::new(2), "1\t0/300\tprom").unwrap();
        for (known, two, three) in [
            (vec![], false, false),
            (vec![&ours, &followed], false, false),
            (vec![&twins, &followed], true, false),
            (vec![&ours, &of_twin], false, false),
            (vec![&of_twin], true, false),
            (vec![&beside], false, true),
            (vec![&nobodys], true, false),
            (vec![&broken_off], false, false),
        ] {
            let archive = archive(&known);
            let anothers = |number| archive.are_anothers(&followed, TimelineId::new(number));
            assert_eq!((anothers(1), anothers(2), anothers(3)), (false, two, three), "{known:?}");
        }
    }

    #[test]
    fn what_is_known_is_no_news_and_the_first_timeline_has_no_history() {
        let two = child(&TimelineHistory::root(TimelineId::FIRST), 2, 1);
        let mut archive = archive(&[&two]);
        assert!(!archive.learn(two));
        let lacks = [1, 2, 3].map(|number| archive.lacks(TimelineId::new(number)));
        assert_eq!(lacks, [false, false, true]);
    }
}
