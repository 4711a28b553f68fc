//! What a standby has durably is redone in time, while nothing keeps it.

use crate::history::reports::Progress;

/// How long a standby that nothing keeps may take to redo what it has.
const REDO_MS: u64 = 1500;
/// How much longer where readers keep it: max_standby_streaming_delay for what redo had been given before,
/// and once more for what came behind that.
pub(super) const READERS_MS: u64 = 1400;

/// What a standby has told to have durably and not to have redone, and since when.
#[derive(Debug, Default)]
pub(super) struct Redone {
    flushed: u64,
    since_ms: u64,
}

impl Redone {
    /// Takes a report. If redo stands still for longer than it may, and so much: since when, and before which
    /// position.
    pub(super) fn hears(&mut self, told: Progress, now_ms: u64, kept_ms: u64) -> Option<(u64, u64)> {
        if told.replayed >= self.flushed {
            *self = Self { flushed: told.flushed, since_ms: now_ms };
        }
        (now_ms > self.since_ms + REDO_MS + kept_ms).then_some((self.since_ms, self.flushed))
    }

    /// Nothing of what it has can be redone yet: what it has by now counts, from now on.
    pub(super) fn begin_anew(&mut self, told: Progress, now_ms: u64) {
        *self = Self { flushed: told.flushed, since_ms: now_ms };
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
            assert_eq!(redone.hears(told(at_ms, at_ms - 900), at_ms, 0), None, "{at_ms}");
        }
        assert_eq!(redone.hears(told(9000, 9000), 9000, 0), None);
        assert_eq!(redone.hears(told(9100, 9000), 9100, 0), None);
        assert_eq!(redone.hears(told(9900, 9000), 9100 + REDO_MS, 0), None);
        assert_eq!(redone.hears(told(9900, 9000), 9101 + REDO_MS, 1), None);
        assert_eq!(redone.hears(told(9900, 9000), 9101 + REDO_MS, 0), Some((9100, 9100)));
        redone.begin_anew(told(9900, 9000), 11_000);
        assert_eq!(redone.hears(told(9950, 9000), 11_000 + REDO_MS, 0), None);
        assert_eq!(redone.hears(told(9950, 9000), 11_001 + REDO_MS, 0), Some((11_000, 9900)));
    }
}
