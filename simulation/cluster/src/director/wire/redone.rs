//! What a standby has durably is redone in time, while nothing keeps it.

use crate::history::reports::Progress;

/// How long a standby that nothing keeps may take to redo what it has.
const REDO_MS: u64 = 1500;

/// What a standby has told to have durably and not to have redone, and since when.
#[derive(Debug, Default)]
pub(super) struct Redone {
    flushed: u64,
    since_ms: u64,
}

impl Redone {
    /// Takes a report. If redo stands still for too long: since when, and before which position.
    pub(super) fn hears(&mut self, told: Progress, now_ms: u64) -> Option<(u64, u64)> {
        if told.replayed >= self.flushed {
            *self = Self { flushed: told.flushed, since_ms: now_ms };
        }
        (now_ms > self.since_ms + REDO_MS).then_some((self.since_ms, self.flushed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redo_that_stands_still_is_found_and_redo_that_only_lags_is_not() {
        let told = |flushed, replayed| Progress { written: flushed, flushed, replayed };
        let mut redone = Redone::default();
        for at_ms in (1000..9000).step_by(500) {
            assert_eq!(redone.hears(told(at_ms, at_ms - 900), at_ms), None, "{at_ms}");
        }
        assert_eq!(redone.hears(told(9000, 9000), 9000), None);
        assert_eq!(redone.hears(told(9100, 9000), 9100), None);
        assert_eq!(redone.hears(told(9900, 9000), 9100 + REDO_MS), None);
        assert_eq!(redone.hears(told(9900, 9000), 9101 + REDO_MS), Some((9100, 9100)));
    }
}
