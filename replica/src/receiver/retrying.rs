//! When the next try comes after a stream that ended or a try that failed, and what the log is told of it.
//!
//! A stream that the primary ends by order, and one that other settings here end, is tried again at once.
//! What fails is tried again after wal_retrieve_retry_interval.
//!
//! A primary whose stream ran for that long and then ended is likely back soon: it restarts. It is looked for
//! more often for one such interval, with pauses that double, and the log has the first try that fails, the
//! one at the interval's end, and what is wrong with a primary that does answer. A source that fails again
//! and again never ran, so it is tried once an interval. Where there is an archive, it has its turn at the
//! first failure that is told, as ever ([`super::sources`]): that ends this receiver and its tries, and none
//! of them runs a restore_command.

use super::{Receiver, ReceiverAction, State};
use crate::error::ReplicaError;
use std::time::Duration;

/// The first pause.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Tries to find a primary again whose stream ran.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuickTries {
    /// The end of the interval, on the monotonic clock.
    until: Duration,
    /// The pause before the next try but the one that comes at once.
    pause: Duration,
    /// The log has a failure.
    told: bool,
}

impl QuickTries {
    /// When the next try comes after one that failed now.
    fn next(&mut self, now: Duration) -> Duration {
        let at = (now + self.pause).min(self.until);
        (self.pause, self.told) = (self.pause * 2, true);
        at
    }
}

impl Receiver {
    /// Ends the pause before the next try: another source is named.
    pub fn try_at_once(&mut self) {
        self.quick_tries = None;
        if let State::Waiting { until } = &mut self.state {
            *until = Duration::ZERO;
        }
    }

    /// Ends the connection for this error, and says when the next one is tried.
    pub(super) fn give_up(&mut self, error: ReplicaError, now: Duration, out: &mut Vec<ReceiverAction>) {
        if self.goes_beyond(&error, out) {
            out.insert(0, ReceiverAction::ReportEnd(error));
            return;
        }
        // Whatever came whole is worth keeping.
        if self.flushed < self.end {
            out.push(ReceiverAction::Flush);
        }
        let retry = self.options.retry_interval;
        // A primary that ends each stream as it begins is one that fails.
        let ran = matches!(self.state, State::Streaming | State::Ending) && now >= self.tried_at + retry;
        let stopped = ran && matches!(error, ReplicaError::StreamTerminated(_));
        let is_away = matches!(error, ReplicaError::Connection { .. });
        let tries = self.quick_tries.take().filter(|tries| now < tries.until);
        let tries = tries.filter(|_| is_away && matches!(self.state, State::Connecting));
        let was_told = tries.is_some_and(|tries| tries.told);
        let begun = QuickTries { until: now + retry, pause: FIRST_PAUSE, told: false };
        self.quick_tries = if ran && (stopped || is_away) { Some(begun) } else { tries };
        // Else another source is named, or it is the end.
        let at_once = stopped || matches!(error, ReplicaError::ReceiverTerminated);
        let until = match &mut self.quick_tries {
            _ if at_once => now,
            Some(tries) => tries.next(now),
            None => now + retry,
        };
        if at_once {
            out.push(ReceiverAction::ReportEnd(error));
        } else if !was_told {
            out.push(ReceiverAction::Report(error));
        }
        out.push(ReceiverAction::Disconnect);
        self.state = State::Waiting { until };
    }
}
