//! Levels that are suspended because the standbys did not keep up, and when they are waited for again.
//!
//! Semi-synchronous operation: a commit that waits for longer than set ([`host::Waited`]) reports a stall.
//! Whoever listens may then suspend the weakest level that is not reached: from then on it and the stronger
//! ones mean the level below it, and [`CommitGate::suspend`] and the [`Resumed`] that follows name the range
//! of the log that was acknowledged so.
//!
//! ```text
//!              a wait is over its time            suspend(level)
//!  synchronous -----------------------> stalled ------------------> suspended
//!       ^                                                              |
//!       +------- the quorum has kept up for as long as a commit -------+
//!                waits before it reports a stall
//! ```
//!
//! During a suspension the quorum is asked for the log's end over and over: once it is there, for the end as
//! it stands then. It keeps up while each answer comes within the time that a commit would wait. So a standby
//! that is too slow for commits, or still catches up, ends no suspension only to cause the next stall. Where
//! the log does not grow, the quorum has to have it all.

use crate::SyncLevel;
use host::Instant;
use std::time::Duration;
use wal::Lsn;

/// A commit has waited for its standbys for longer than set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// The weakest level that its commit record has not reached.
    pub level: SyncLevel,
    /// The end of that record.
    pub end: Lsn,
    /// The patience by which it was told, in milliseconds.
    pub(crate) patience_ms: u64,
}

/// A suspended level is waited for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The level.
    pub level: SyncLevel,
    /// Commits that end after this ...
    pub after: Lsn,
    /// ... and up to here were acknowledged without it.
    pub upto: Lsn,
}

/// A suspension that lasts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspended {
    pub(super) level: SyncLevel,
    pub(super) after: Lsn,
    /// The position that the quorum was asked for, and when; None while it has what it was asked for.
    pub(super) asked: Option<(Lsn, Instant)>,
    /// Since when each position was reached in time; None before the first was reached.
    pub(super) prompt_since: Option<Instant>,
}

impl Suspended {
    /// Takes in that the quorum is at `reached` of a log that ends at `end`, and asks for the next position.
    /// True: it has kept up for as long as `patience`.
    pub(super) fn keeps_up(&mut self, reached: Lsn, end: Lsn, now: Instant, patience: Duration) -> bool {
        let (target, asked_at) = *self.asked.get_or_insert((end, now));
        if reached < target {
            return false;
        }
        let in_time = now.duration_since(asked_at) <= patience;
        let since = if in_time { self.prompt_since.unwrap_or(asked_at) } else { now };
        self.prompt_since = Some(since);
        self.asked = (reached < end).then_some((end, now));
        now.duration_since(since) >= patience
    }

    /// When a quorum that has everything will have kept up for as long as `patience`; None while it has to
    /// answer first.
    pub(super) fn due(&self, patience: Duration) -> Option<Instant> {
        self.prompt_since.filter(|_| self.asked.is_none()).map(|since| since + patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A suspension of a log that grows by 10 a step of 10 ms, of which the quorum has what is `lag_ms(now)`
    /// old. The time when it ends.
    fn resumed_at(patience_ms: u64, lag_ms: impl Fn(u64) -> u64) -> Option<u64> {
        let began = Instant::now();
        let level = SyncLevel::On;
        let mut state = Suspended { level, after: Lsn::INVALID, asked: None, prompt_since: None };
        (1000..9000).step_by(10).find(|now| {
            let (reached, end) = (Lsn::new(now - lag_ms(*now)), Lsn::new(*now));
            state.keeps_up(
                reached,
                end,
                began + Duration::from_millis(*now),
                Duration::from_millis(patience_ms),
            )
        })
    }

    #[test]
    fn a_suspension_ends_once_the_quorum_has_kept_up_for_as_long_as_a_commit_waits() {
        assert_eq!(resumed_at(300, |_| 0), Some(1300), "the log never waits for it");
        let after = resumed_at(300, |_| 100).expect("it is fast enough");
        assert!((1300..=1400).contains(&after), "{after}");
        assert_eq!(resumed_at(300, |_| 400), None, "each of its answers is too late");
        let mended = resumed_at(300, |now| if now < 5000 { 900 } else { 100 }).expect("it has got faster");
        assert!((5300..=5800).contains(&mended), "{mended}");
        let hiccup = resumed_at(300, |now| if (1200..1600).contains(&now) { now - 1100 } else { 50 });
        let hiccup = hiccup.expect("it was held up once");
        assert!((1900..=2000).contains(&hiccup), "{hiccup}");
        assert_eq!(resumed_at(0, |_| 0), Some(1000));
    }
    #[test]
    fn a_quorum_that_has_everything_needs_no_further_report_and_one_that_is_behind_does() {
        let (began, patience) = (Instant::now(), Duration::from_millis(300));
        let at = |ms| began + Duration::from_millis(ms);
        let level = SyncLevel::On;
        let mut state = Suspended { level, after: Lsn::INVALID, asked: None, prompt_since: None };
        assert_eq!(state.due(patience), None, "nothing was heard");
        assert!(!state.keeps_up(Lsn::new(10), Lsn::new(10), at(0), patience));
        assert_eq!(state.due(patience), Some(at(300)));
        assert!(!state.keeps_up(Lsn::new(15), Lsn::new(20), at(100), patience));
        assert_eq!(state.due(patience), None, "it was asked for what is missing");
    }
}
