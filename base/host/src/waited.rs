//! How long something has waited, without the time in which this process did not run.
//!
//! While the process is stopped, or its machine is, what others say waits in the sockets. So the clock alone
//! does not say that they are late. Whoever waits looks at the clock several times: a look that comes
//! much later than planned shows that the process did not run since the one before. That time does not count,
//! and a whole look follows, in which what was said is read. Of such looks in a row only the first does not
//! count: on a machine that is always late nobody waits for more than a multiple of his patience.

use std::time::Duration;
use tokio::time::Instant;

/// Looks of a [`Waited`] within its patience.
const LOOKS: u32 = 8;
/// Least time between two, so that timers which are a little late are none that did not run.
const LOOK_MIN: Duration = Duration::from_millis(10);

/// Looks at a clock that only goes up, by which the time is told in which the process ran.
#[derive(Clone, Copy, Debug)]
pub struct Looks {
    at: Duration,
    /// The last one came much too late.
    was_late: bool,
    /// When the last one came that was late after one in time.
    woke_at: Option<Duration>,
}

/// What has passed between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// So much counts.
    pub counts: Duration,
    /// So much does not, since the process did not run.
    pub lost: Duration,
}

impl Looks {
    /// The first one is now.
    pub const fn since(now: Duration) -> Self {
        Self { at: now, was_late: false, woke_at: None }
    }

    /// The next one is now, and was to come within `planned` of the one before.
    pub fn look(&mut self, now: Duration, planned: Duration) -> Passed {
        let passed = now.saturating_sub(self.at);
        let is_late = passed > planned.saturating_mul(2);
        let counts = match (is_late, self.was_late) {
            (false, _) => passed,
            (true, false) => Duration::ZERO,
            (true, true) => planned,
        };
        if is_late && !self.was_late {
            self.woke_at = Some(now);
        }
        (self.at, self.was_late) = (now, is_late);
        Passed { counts, lost: passed.saturating_sub(counts) }
    }

    /// Whether the last one came much too late.
    pub const fn was_late(&self) -> bool {
        self.was_late
    }

    /// Whether what was said while the process did not run may still wait to be read: it has not run for
    /// `whole` since then.
    pub fn is_waking(&self, now: Duration, whole: Duration) -> bool {
        self.woke_at.is_some_and(|at| now.saturating_sub(at) < whole)
    }
}

/// The wait of somebody who looks at the clock [`LOOKS`] times.
#[derive(Clone, Copy, Debug)]
pub struct Waited {
    time: Duration,
    began: Instant,
    looks: Looks,
    /// No next look is planned.
    unwatched: bool,
}

impl Waited {
    /// It begins now.
    pub const fn since(now: Instant) -> Self {
        Self { time: Duration::ZERO, began: now, looks: Looks::since(Duration::ZERO), unwatched: false }
    }

    /// Nobody minds the clock for a while: all that passes until the next look counts.
    pub const fn unwatch(&mut self) {
        self.unwatched = true;
    }

    /// Counts what has passed; gives when to look again, or None if that makes `patience`.
    fn look(&mut self, now: Instant, patience: Duration) -> Option<Instant> {
        let look = (patience / LOOKS).max(LOOK_MIN);
        let planned = if std::mem::take(&mut self.unwatched) { Duration::MAX } else { look };
        self.time += self.looks.look(now.saturating_duration_since(self.began), planned).counts;
        let left = patience.saturating_sub(self.time);
        (!left.is_zero()).then(|| now + if self.looks.was_late() { look } else { left.min(look) })
    }

    /// Returns once it has lasted for that long.
    pub async fn wait_for(&mut self, patience: Duration) {
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
    fn what_passed_while_the_process_did_not_run_is_told_and_a_whole_look_follows() {
        let mut looks = Looks::since(ms(100));
        assert_eq!(looks.look(ms(1100), ms(1000)), Passed { counts: ms(1000), lost: ms(0) });
        assert!(!looks.is_waking(ms(1100), ms(1000)));
        assert_eq!(looks.look(ms(9100), ms(1000)), Passed { counts: ms(0), lost: ms(8000) });
        assert!(looks.was_late() && looks.is_waking(ms(9100), ms(1000)));
        // Somebody else looks in between.
        assert_eq!(looks.look(ms(9200), ms(1000)), Passed { counts: ms(100), lost: ms(0) });
        assert!(looks.is_waking(ms(10_099), ms(1000)) && !looks.is_waking(ms(10_100), ms(1000)));
        assert_eq!(looks.look(ms(19_200), ms(1000)).lost, ms(10_000));
        let again = looks.look(ms(29_200), ms(1000));
        assert_eq!(again, Passed { counts: ms(1000), lost: ms(9000) }, "it is always late");
        assert!(!looks.is_waking(ms(29_200), ms(1000)), "so nobody waits for ever");
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
