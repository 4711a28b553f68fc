//! Decisions of a promotion: whether, and what it would lose. [`wal::timelines`] has the number of its
//! timeline; storage carries it out.

use std::time::Duration;
use wal::Lsn;

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
///
/// # Errors
///
/// Fails if the node is no standby, or not consistent yet.
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
