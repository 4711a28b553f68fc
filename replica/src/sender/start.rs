//! START_REPLICATION: what of the wanted timeline this server can stream.

use crate::error::ReplicaError;
use wal::history::TimelineHistory;
use wal::{Lsn, TimelineId};

/// Where a timeline that is streamed ends, and what comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineEnd {
    /// The first byte that the next timeline owns.
    pub at: Lsn,
    /// The next one on the way to this server's own.
    pub next: TimelineId,
}

/// What will be streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPlan {
    /// The timeline.
    pub timeline: TimelineId,
    /// The first byte.
    pub start: Lsn,
    /// Where it ends; None while it is this server's own.
    pub end: Option<TimelineEnd>,
}

impl StreamPlan {
    /// Checks a request against this server's history. `flushed` is the end of what it may send.
    ///
    /// # Errors
    ///
    /// Fails if the timeline is not in the history, or the start is behind its end or ahead of all log.
    pub fn new(
        history: &TimelineHistory,
        flushed: Lsn,
        start: Lsn,
        timeline: Option<TimelineId>,
    ) -> Result<Self, ReplicaError> {
        let timeline = timeline.unwrap_or(history.target());
        let end = timeline_end(history, timeline).ok_or(ReplicaError::NoTimeline(timeline))?;
        match end {
            Some(end) if start > end.at => Err(ReplicaError::PastFork { start, timeline, forked_at: end.at }),
            // Of a timeline that has ended, its end is known all the same.
            Some(end) if start == end.at => Ok(Self { timeline, start, end: Some(end) }),
            // A standby that follows a new timeline may lack the last of the one before.
            _ if start > flushed => Err(ReplicaError::Ahead { start, flushed }),
            _ => Ok(Self { timeline, start, end }),
        }
    }

    /// Nothing is left of the timeline: the answer is the next one, without a stream.
    pub fn is_empty(&self) -> bool {
        self.end.is_some_and(|end| self.start >= end.at)
    }
}

/// The end of a timeline in a history: None if it is none of it, Some(None) for the history's own.
pub(super) fn timeline_end(history: &TimelineHistory, timeline: TimelineId) -> Option<Option<TimelineEnd>> {
    let at = history.end_of(timeline).ok()?;
    Some(at.and_then(|at| Some(TimelineEnd { at, next: history.successor_of(timeline)? })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::history::BranchId;

    fn at(lsn: u64) -> Lsn {
        Lsn::new(lsn)
    }
    fn history() -> TimelineHistory {
        let one = TimelineHistory::root(TimelineId::new(1));
        let two = one.fork(TimelineId::new(2), at(1000), "test", BranchId::new(2)).unwrap();
        two.fork(TimelineId::new(4), at(2000), "test", BranchId::new(4)).unwrap()
    }
    fn plan(start: u64, timeline: Option<u32>) -> Result<StreamPlan, String> {
        plan_of(3000, start, timeline)
    }
    fn plan_of(flushed: u64, start: u64, timeline: Option<u32>) -> Result<StreamPlan, String> {
        let plan = StreamPlan::new(&history(), at(flushed), at(start), timeline.map(TimelineId::new));
        plan.map_err(|error| error.to_string())
    }

    #[test]
    fn a_past_timeline_is_streamed_up_to_its_end_and_names_the_next() {
        let one = plan(500, Some(1)).unwrap();
        assert_eq!(one.end, Some(TimelineEnd { at: at(1000), next: TimelineId::new(2) }));
        assert!(!one.is_empty());
        let two = plan(2000, Some(2)).unwrap();
        assert_eq!(two.end, Some(TimelineEnd { at: at(2000), next: TimelineId::new(4) }));
        assert!(two.is_empty());
        assert_eq!(plan(3000, None).unwrap().end, None);
    }

    #[test]
    fn a_past_timeline_whose_last_log_is_not_here_yet_is_streamed_from_what_is_here() {
        assert!(!plan_of(1500, 1500, Some(2)).unwrap().is_empty());
        let ahead = plan_of(1500, 1501, Some(2)).unwrap_err();
        assert!(ahead.contains("is ahead of the WAL flush position"), "{ahead}");
        assert!(plan_of(1500, 2000, Some(2)).unwrap().is_empty(), "nothing is to be sent");
    }

    #[test]
    fn what_is_not_in_the_history_is_refused_as_postgresql_refuses_it() {
        for (start, timeline, message) in [
            (1, Some(3), "requested timeline 3 is not in this server's history"),
            (1001, Some(1), "requested starting point 0/3E9 on timeline 1 is not in this server's history"),
            (
                3001,
                None,
                "requested starting point 0/BB9 is ahead of the WAL flush position of this server 0/BB8",
            ),
        ] {
            assert_eq!(plan(start, timeline), Err(message.to_owned()));
        }
    }
}
