//! How long a commit has waited for its standbys, without the time in which this process did not run.
//!
//! While the process is stopped, or its machine is, the reports of standbys wait in the sockets. So the clock
//! alone does not say that they are late. Whoever waits looks at the clock several times: a look that comes
//! much later than planned shows that the process did not run since the one before. That time does not count,
//! and a whole look follows, in which the reports are read. Of such looks in a row only the first does not
//! count: a commit on a machine that is always late waits for no more than a multiple of its patience.

use host::Instant;
use std::time::Duration;

/// Looks while a commit waits for as long as its patience.
const LOOKS: u32 = 8;
/// Least time between two, so that timers which are a little late are none that did not run.
const LOOK_MIN: Duration = Duration::from_millis(10);

/// The wait of a commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waited {
    time: Duration,
    /// The time before this is counted.
    looked_at: Instant,
    /// The last look came much too late.
    was_late: bool,
    /// No next look is planned.
    unwatched: bool,
}

impl Waited {
    pub(super) fn since(now: Instant) -> Self {
        Self { time: Duration::ZERO, looked_at: now, was_late: false, unwatched: false }
    }

    /// Nobody minds the clock for a while: all that passes until the next look counts.
    pub(super) fn unwatch(&mut self) {
        self.unwatched = true;
    }

    /// Counts what has passed; gives when to look again, or None if that makes `patience`.
    fn look(&mut self, now: Instant, patience: Duration) -> Option<Instant> {
        let look = (patience / LOOKS).max(LOOK_MIN);
        let passed = now.saturating_duration_since(self.looked_at);
        let is_late = !self.unwatched && passed > look * 2;
        self.time += match (is_late, self.was_late) {
            (false, _) => passed,
            (true, false) => Duration::ZERO,
            (true, true) => look,
        };
        (self.looked_at, self.was_late, self.unwatched) = (now, is_late, false);
        let left = patience.saturating_sub(self.time);
        (!left.is_zero()).then(|| now + if is_late { look } else { left.min(look) })
    }

    /// Returns once the commit has waited for that long.
    pub(super) async fn wait_for(&mut self, patience: Duration) {
        while let Some(next) = self.look(Instant::now(), patience) {
            tokio::time::sleep_until(next).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(800);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// When a wait for [`PATIENCE`] is over if each look that is planned for a time, since the wait began,
    /// comes at `comes_at` that time.
    fn over_at(comes_at: impl Fn(Duration) -> Duration) -> Duration {
        let began = Instant::now();
        let (mut waited, mut now) = (Waited::since(began), began);
        while let Some(next) = waited.look(now, PATIENCE) {
            assert!(next > now);
            now = began + comes_at(next - began);
        }
        now - began
    }

    /// The looks come as if the process did not run from `from` on for `pause`.
    fn stopped(from: Duration, pause: Duration) -> impl Fn(Duration) -> Duration {
        move |next| if next > from && next < from + pause { from + pause } else { next }
    }

    #[test]
    fn a_commit_waits_for_exactly_its_patience_while_the_process_runs() {
        assert_eq!(over_at(|next| next), PATIENCE);
        let late = over_at(|next| next + ms(3));
        assert!((PATIENCE..=PATIENCE + ms(3)).contains(&late), "{late:?}");
    }

    #[test]
    fn time_in_which_the_process_did_not_run_does_not_count() {
        for from in (0..800).step_by(10).map(ms) {
            for pause in [ms(1000), ms(3000), ms(3_600_000)] {
                let over = over_at(stopped(from, pause));
                let (least, most) = (PATIENCE + pause, PATIENCE + pause + PATIENCE / LOOKS);
                // What ran before within the look that was cut does not count either.
                assert!((least..=most).contains(&over), "stopped at {from:?} for {pause:?}: {over:?}");
                assert!(over >= from + pause + PATIENCE / LOOKS, "the reports are read first");
            }
        }
    }

    #[test]
    fn a_machine_that_is_always_late_does_not_keep_a_commit_waiting_for_ever() {
        let over = over_at(|next| next + ms(5000));
        assert!(over <= ms(5100) * (LOOKS + 1), "{over:?}");
    }

    #[test]
    fn a_wait_that_nobody_minded_counts_as_a_whole() {
        let began = Instant::now();
        let mut waited = Waited::since(began);
        waited.unwatch();
        assert!(waited.look(began + ms(790), PATIENCE).is_some());
        assert!(waited.look(began + ms(800), PATIENCE).is_none());
        assert!(waited.look(began + ms(9000), PATIENCE).is_none(), "it has waited for long enough");
        assert!(Waited::since(began).look(began, Duration::ZERO).is_none());
    }
}
