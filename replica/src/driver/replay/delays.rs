//! What holds replay back: an operator's pause, recovery_min_apply_delay, and queries that still read.
//!
//! Decisions only: [`StandbyFeed`] asks with the time, and does the waiting.

use host::Timestamp;
use std::time::Duration;
use storage::{Conflict, ConflictKind};
use wal::reader::EndOfWal;
use wal::{Lsn, ReadError};

/// What pg_get_wal_replay_pause_state() tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PauseState {
    /// Replay goes on.
    #[default]
    NotPaused,
    /// A pause was asked for; the record at hand is still being replayed.
    Requested,
    /// Nothing is replayed.
    Paused,
}

impl PauseState {
    /// The word that the function returns.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotPaused => "not paused",
            Self::Requested => "pause requested",
            Self::Paused => "paused",
        }
    }
}

/// What holds replay, and ends with a promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A pause.
    Paused,
    /// recovery_min_apply_delay: the next commit would have been replayed so much later.
    Delayed(Duration),
}

/// The settings that hold replay back; a reload changes them in the middle of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelaySettings {
    /// recovery_min_apply_delay
    pub min_apply_delay: Duration,
    /// max_standby_streaming_delay; None waits for queries for ever.
    pub streaming_delay: Option<Duration>,
    /// log_recovery_conflict_waits: a wait that is longer than this is told.
    pub tell_waits_after: Option<Duration>,
}

impl Default for DelaySettings {
    /// PostgreSQL's defaults.
    fn default() -> Self {
        Self {
            min_apply_delay: Duration::ZERO,
            streaming_delay: Some(Duration::from_secs(30)),
            tell_waits_after: None,
        }
    }
}

/// What the server is told of replay that does not go on.
pub trait ReplayObserver: Send + Sync {
    /// What was received cannot be read behind `at`, where replay stands still until it has come again.
    fn damaged(&self, at: Lsn, error: &ReadError) {
        let _ = (at, error);
    }
    /// The log that is here ends with something that is not whole.
    fn torn(&self, end: &EndOfWal) {
        let _ = end;
    }
    /// Replay has stopped at a pause.
    fn paused(&self) {}
    /// A promotion ends what held replay.
    fn let_go(&self, held: Held) {
        let _ = held;
    }
    /// Replay has waited this long for queries; `over` says that the wait is at its end.
    fn waits_for_queries(&self, kind: ConflictKind, waited: Duration, over: bool) {
        let _ = (kind, waited, over);
    }
    /// Patience is over: who is in the way shall give way. How many were told.
    fn gives_up(&self, conflict: &Conflict) -> u64 {
        let _ = conflict;
        0
    }
}

#[derive(Debug, Default)]
pub(super) struct ReplayDelays {
    pause: PauseState,
    settings: DelaySettings,
    /// When the log that is being replayed came, on the monotonic clock.
    came_at: Duration,
}

impl ReplayDelays {
    pub(super) fn set(&mut self, settings: DelaySettings) {
        self.settings = settings;
    }
    pub(super) fn settings(&self) -> DelaySettings {
        self.settings
    }
    pub(super) fn pause_state(&self) -> PauseState {
        self.pause
    }
    /// A pause that is asked for twice is one.
    pub(super) fn request_pause(&mut self) {
        if self.pause == PauseState::NotPaused {
            self.pause = PauseState::Requested;
        }
    }
    /// Nothing is replayed from now on: redo waits already.
    pub(super) fn pause(&mut self) {
        self.pause = PauseState::Paused;
    }
    pub(super) fn resume(&mut self) {
        self.pause = PauseState::NotPaused;
    }
    /// Redo is between two records. Gives the state that it is in now, and whether that is new.
    pub(super) fn between_records(&mut self) -> (PauseState, bool) {
        let begins = self.pause == PauseState::Requested;
        if begins {
            self.pause = PauseState::Paused;
        }
        (self.pause, begins)
    }
    /// New log came.
    pub(super) fn came(&mut self, now: Duration) {
        self.came_at = now;
    }
    /// How long a commit of this time has to wait still; None if it need not. `now` is asked only if one may
    /// have to.
    pub(super) fn delay(
        &self,
        committed: Option<Timestamp>,
        now: impl FnOnce() -> Timestamp,
    ) -> Option<Duration> {
        let committed = committed.filter(|_| !self.settings.min_apply_delay.is_zero())?;
        // A primary's clock that is ahead of ours makes the wait longer, as PostgreSQL documents.
        let due = committed
            .micros()
            .saturating_add(i64::try_from(self.settings.min_apply_delay.as_micros()).unwrap_or(i64::MAX));
        u64::try_from(due.saturating_sub(now().micros()))
            .ok()
            .filter(|left| *left > 0)
            .map(Duration::from_micros)
    }
    /// How long queries may still hold replay up at `now`; None for ever.
    pub(super) fn patience(&self, now: Duration) -> Option<Duration> {
        let limit = self.settings.streaming_delay?;
        Some((self.came_at + limit).saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(count: i64) -> Timestamp {
        Timestamp::from_micros(count * 1_000_000)
    }

    #[test]
    fn a_pause_is_requested_first_and_reached_between_two_records() {
        let mut delays = ReplayDelays::default();
        assert_eq!(delays.between_records(), (PauseState::NotPaused, false));
        delays.request_pause();
        assert_eq!(delays.pause_state(), PauseState::Requested);
        assert_eq!(delays.between_records(), (PauseState::Paused, true));
        delays.request_pause();
        assert_eq!(delays.between_records(), (PauseState::Paused, false), "it is told once");
        delays.resume();
        assert_eq!(delays.pause_state(), PauseState::NotPaused);
    }

    #[test]
    fn commits_wait_until_they_are_old_enough() {
        let mut delays = ReplayDelays::default();
        assert_eq!(delays.delay(Some(second(100)), || second(100)), None, "no delay is set");
        delays.set(DelaySettings { min_apply_delay: Duration::from_secs(3), ..DelaySettings::default() });
        assert_eq!(delays.delay(Some(second(100)), || second(101)), Some(Duration::from_secs(2)));
        assert_eq!(delays.delay(Some(second(100)), || second(103)), None);
        assert_eq!(delays.delay(None, || second(101)), None, "other records do not wait");
    }

    #[test]
    fn the_patience_with_queries_counts_from_when_the_log_came() {
        let mut delays = ReplayDelays::default();
        delays.came(Duration::from_secs(50));
        assert_eq!(delays.patience(Duration::from_secs(60)), Some(Duration::from_secs(20)));
        assert_eq!(delays.patience(Duration::from_secs(90)), Some(Duration::ZERO));
        delays.set(DelaySettings { streaming_delay: None, ..DelaySettings::default() });
        assert_eq!(delays.patience(Duration::from_secs(90)), None);
    }
}
