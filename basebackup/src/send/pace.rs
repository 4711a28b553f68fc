//! MAX_RATE: how long to wait so that bytes leave no faster than asked.

use std::time::Duration;

/// Counts bytes against the time.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    /// When the bytes so far may have been sent.
    due: Duration,
}

/// A pause in the reading earns credit for at most so long.
const CREDIT: Duration = Duration::from_millis(125);

impl Pace {
    pub(super) fn new(bytes_per_second: u64, now: Duration) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), due: now }
    }

    /// How long to wait before `bytes` are sent.
    pub(super) fn wait_for(&mut self, bytes: u64, now: Duration) -> Duration {
        let wait = self.due.saturating_sub(now);
        let micros = bytes.saturating_mul(1_000_000) / self.bytes_per_second;
        self.due = self.due.max(now.saturating_sub(CREDIT)) + Duration::from_micros(micros);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_no_faster_than_the_rate_however_they_are_cut() {
        for piece in [1_000, 65_536, 1_000_000] {
            let mut pace = Pace::new(1_000_000, Duration::ZERO);
            let (mut now, mut sent) = (Duration::ZERO, 0);
            while sent < 10_000_000 {
                now += pace.wait_for(piece, now);
                sent += piece;
            }
            let seconds = now.as_secs_f64();
            let least = (sent - piece) as f64 / 1e6 - 0.13;
            assert!((least..least + 0.2).contains(&seconds), "{sent} bytes by {piece} took {seconds} s");
        }
    }

    #[test]
    fn a_long_pause_earns_no_long_burst() {
        let mut pace = Pace::new(1_000_000, Duration::ZERO);
        let now = Duration::from_secs(60);
        pace.wait_for(125_000, now);
        assert_eq!(pace.wait_for(125_000, now), Duration::ZERO);
        assert_eq!(pace.wait_for(125_000, now), Duration::from_millis(125));
    }
}
