//! Decisions of a promotion: whether, onto which timeline, and what it would lose. Storage carries it out.

use crate::branch::{Relation, relation};
use host::Disk;
use std::io;
use std::path::Path;
use std::time::Duration;
use wal::history::{HistoryFileError, TimelineHistory};
use wal::{Lsn, TimelineId};

/// What is known when a promotion is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromotionState {
    /// The node is in recovery.
    pub in_recovery: bool,
    /// Its data is consistent.
    pub consistent: bool,
    /// Received and durable here, exclusive.
    pub received: Lsn,
    /// Replayed, exclusive.
    pub replayed: Lsn,
    /// The last end of log that the primary told, exclusive; INVALID if it never did.
    pub primary_end: Lsn,
    /// How long ago that was.
    pub silence: Option<Duration>,
    /// The connection to the primary stands at this moment.
    pub connected: bool,
}

/// Why a promotion cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromotionError {
    /// It is a primary.
    #[error("recovery is not in progress")]
    NotAStandby,
    /// Redo has not reached consistency.
    #[error("the data here is not consistent yet: it was replayed up to {0}")]
    NotConsistent(Lsn),
}

/// What a promotion would do, for `promote --explain` and the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromotionPlan {
    /// Bytes that are here and will be replayed first.
    pub to_replay_bytes: u64,
    /// Bytes that the primary is known to have had and this node has not.
    pub lost_bytes: u64,
    /// The primary seems to be alive: it must be stopped or fenced.
    pub primary_alive: bool,
    /// How long ago the primary was last heard; it may have written more since.
    pub silence: Option<Duration>,
}

/// Decides on a promotion.
pub fn plan(state: &PromotionState) -> Result<PromotionPlan, PromotionError> {
    if !state.in_recovery {
        return Err(PromotionError::NotAStandby);
    }
    if !state.consistent {
        return Err(PromotionError::NotConsistent(state.replayed));
    }
    Ok(PromotionPlan {
        to_replay_bytes: state.received.bytes_since(state.replayed),
        lost_bytes: state.primary_end.bytes_since(state.received.max(state.replayed)),
        primary_alive: state.connected,
        silence: state.silence,
    })
}

/// The timeline of a promotion: above our own, above all that pg_wal knows, and above all that reachable peers have. None when
/// the numbers are used up.
pub fn choose_timeline(
    own: TimelineId,
    known: impl IntoIterator<Item = TimelineId>,
    peers: impl IntoIterator<Item = TimelineId>,
) -> Option<TimelineId> {
    known.into_iter().chain(peers).fold(own, TimelineId::max).next()
}

/// The timelines that have a history file in pg_wal.
pub fn known_timelines(disk: &dyn Disk, pg_wal: &Path) -> io::Result<Vec<TimelineId>> {
    let number = |name: &str| {
        let digits = name.strip_suffix(".history").filter(|digits| digits.len() == 8)?;
        u32::from_str_radix(digits, 16).ok().map(TimelineId::new)
    };
    Ok(disk.list(pg_wal)?.iter().filter_map(|entry| number(&entry.name)).collect())
}

/// The history to follow for recovery_target_timeline = latest: the newest in pg_wal that continues `own`.
pub fn latest_history(
    disk: &dyn Disk,
    pg_wal: &Path,
    own: TimelineId,
) -> Result<TimelineHistory, HistoryFileError> {
    let ours = TimelineHistory::load(disk, pg_wal, own)?;
    let mut known = known_timelines(disk, pg_wal)
        .map_err(|error| HistoryFileError::Io { path: pg_wal.display().to_string(), error })?;
    known.retain(|timeline| *timeline > own);
    known.sort_unstable();
    for timeline in known.into_iter().rev() {
        let candidate = TimelineHistory::load(disk, pg_wal, timeline)?;
        if matches!(relation(&ours, &candidate), Relation::Descendant { .. }) {
            return Ok(candidate);
        }
    }
    Ok(ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::RealDisk;
    use wal::history::BranchId;

    fn at(lsn: u64) -> Lsn {
        Lsn::new(lsn)
    }

    #[test]
    fn only_a_consistent_standby_can_be_promoted_and_it_says_what_is_lost() {
        let state = PromotionState {
            in_recovery: true,
            consistent: true,
            received: at(500),
            replayed: at(300),
            primary_end: at(800),
            silence: Some(Duration::from_secs(3)),
            connected: false,
        };
        let planned = plan(&state).unwrap();
        assert_eq!((planned.to_replay_bytes, planned.lost_bytes, planned.primary_alive), (200, 300, false));
        assert_eq!(plan(&PromotionState { primary_end: at(400), ..state }).unwrap().lost_bytes, 0);
        assert_eq!(plan(&PromotionState { in_recovery: false, ..state }), Err(PromotionError::NotAStandby));
        assert_eq!(
            plan(&PromotionState { consistent: false, ..state }),
            Err(PromotionError::NotConsistent(at(300)))
        );
    }

    #[test]
    fn the_new_timeline_is_above_all_that_are_known() {
        let tl = TimelineId::new;
        assert_eq!(choose_timeline(tl(1), [], []), Some(tl(2)));
        assert_eq!(choose_timeline(tl(3), [tl(2), tl(7)], [tl(5)]), Some(tl(8)));
        assert_eq!(choose_timeline(tl(3), [], [tl(9)]), Some(tl(10)));
        assert_eq!(choose_timeline(tl(u32::MAX), [], []), None);
    }

    #[test]
    fn the_latest_history_is_the_newest_that_continues_ours() {
        let dir = tempfile::tempdir().unwrap();
        let tl = TimelineId::new;
        let one = TimelineHistory::root(tl(1));
        let two = one.fork(tl(2), at(100), "x", BranchId::new(2)).unwrap();
        let three = one.fork(tl(3), at(90), "x", BranchId::new(3)).unwrap();
        let four = two.fork(tl(4), at(200), "x", BranchId::new(4)).unwrap();
        for history in [&two, &three, &four] {
            history.store(&RealDisk, dir.path()).unwrap();
        }
        let latest = |own| latest_history(&RealDisk, dir.path(), tl(own)).unwrap().target().get();
        assert_eq!((latest(1), latest(2), latest(3), latest(4)), (4, 4, 3, 4));
    }
}
