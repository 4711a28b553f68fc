//! How fast a standby replays and the log grows, and when it will have caught up.

use host::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;
use wal::Lsn;

/// Rates are those of this time: long enough to smooth over the pauses between two reports, short enough that
/// a burst of writes is soon no reason any more to expect others.
const SPAN: Duration = Duration::from_secs(2);
/// Samples over a span.
const STEPS: u32 = 20;

#[derive(Clone, Copy, Debug)]
struct Sample {
    time: Timestamp,
    replayed: Lsn,
    end: Lsn,
}

/// Positions of the last seconds, or since the standby last stood still for half the span: a rate that
/// reached over a standstill would promise too little.
#[derive(Clone, Debug)]
pub struct Pace {
    span: Duration,
    samples: VecDeque<Sample>,
    /// Where it is, and since when.
    at: Option<(Lsn, Timestamp)>,
}

/// Bytes a second.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rates {
    replay: f64,
    growth: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self::over(SPAN)
    }
}

impl Pace {
    /// Rates over this time, of up to 20 samples.
    pub fn over(span: Duration) -> Self {
        Self { span, samples: VecDeque::new(), at: None }
    }

    fn step(&self) -> Duration {
        self.span / STEPS
    }

    /// The standby has replayed up to here, of a log that ends there.
    pub fn note(&mut self, replayed: Lsn, end: Lsn, time: Timestamp) {
        if let Some((before, since)) = self.at.filter(|(before, _)| *before != replayed) {
            if replayed > before && time.since(since) >= self.span / 2 {
                self.samples.clear();
            }
            self.at = Some((replayed, time));
        }
        self.at.get_or_insert((replayed, time));
        if self.samples.back().is_some_and(|last| time.since(last.time) < self.step()) {
            return;
        }
        self.samples.push_back(Sample { time, replayed, end });
        // One that is older than the span stays, so that there is always a span to look back on.
        while self.samples.get(1).is_some_and(|second| time.since(second.time) >= self.span) {
            self.samples.pop_front();
        }
    }

    fn rates(&self, replayed: Lsn, end: Lsn, now: Timestamp) -> Option<Rates> {
        // Of one that says nothing any more the last samples lie a span back, too.
        let is_back = |sample: &&Sample| now.since(sample.time) >= self.span;
        let first = self.samples.iter().rev().find(is_back).or(self.samples.front())?;
        let span = now.since(first.time);
        if span < self.step() {
            return None;
        }
        let a_second = |from: Lsn, to: Lsn| to.bytes_since(from) as f64 / span.as_secs_f64();
        Some(Rates { replay: a_second(first.replayed, replayed), growth: a_second(first.end, end) })
    }

    /// Bytes replayed a second; None before anything is known.
    pub fn replay_rate(&self, replayed: Lsn, end: Lsn, now: Timestamp) -> Option<f64> {
        self.rates(replayed, end, now).map(|rates| rates.replay)
    }

    /// Bytes a second by which the log's end runs away, as of the last sample; negative while the gap closes.
    pub fn growth_of_gap(&self) -> Option<f64> {
        let last = self.samples.back()?;
        let rates = self.rates(last.replayed, last.end, last.time)?;
        Some(rates.growth - rates.replay)
    }

    /// When the standby will have replayed everything, if both go on as in the last seconds: zero if it has,
    /// None if never.
    pub fn catch_up(&self, replayed: Lsn, end: Lsn, now: Timestamp) -> Option<Duration> {
        let left = end.bytes_since(replayed);
        if left == 0 {
            return Some(Duration::ZERO);
        }
        let rates = self.rates(replayed, end, now)?;
        let gain = rates.replay - rates.growth;
        (gain > 0.0).then(|| Duration::try_from_secs_f64(left as f64 / gain).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_micros(ms * 1000)
    }

    #[test]
    fn a_catch_up_at_a_constant_rate_is_forecast_from_the_first_second_on() {
        let mut pace = Pace::default();
        // The log grows by 100 bytes a millisecond, the standby replays 300 of them; it begins 1,000,000
        // behind.
        let (end, replayed) = (
            |ms: i64| Lsn::new(2_000_000 + 100 * ms as u64),
            |ms: i64| Lsn::new(1_000_000 + 300 * ms as u64),
        );
        for ms in (0..4000).step_by(100) {
            pace.note(replayed(ms), end(ms), at(ms));
            if ms >= 1000 {
                let left_ms = 5000 - ms;
                let forecast = pace.catch_up(replayed(ms), end(ms), at(ms)).unwrap().as_millis() as i64;
                assert!((forecast - left_ms).abs() <= left_ms / 10, "{forecast} instead of {left_ms}");
            }
        }
        assert_eq!(pace.replay_rate(replayed(4000), end(4000), at(4000)).map(f64::round), Some(300_000.0));
    }

    #[test]
    fn a_catch_up_after_a_standstill_is_forecast_by_its_own_rate() {
        let mut pace = Pace::default();
        let end = Lsn::new(10_000_000);
        for ms in (0..60_000).step_by(100) {
            pace.note(Lsn::new(1000), end, at(ms));
        }
        assert_eq!(pace.catch_up(Lsn::new(1000), end, at(60_000)), None, "it stands still");
        let replayed = |ms: i64| Lsn::new(1000 + 1000 * (ms - 60_000) as u64);
        for ms in (60_000..61_000).step_by(100) {
            pace.note(replayed(ms), end, at(ms));
        }
        let forecast = pace.catch_up(replayed(61_000), end, at(61_000)).unwrap().as_millis();
        assert!((8_990..=9_010).contains(&forecast), "{forecast} instead of 8999");
    }

    #[test]
    fn one_that_falls_silent_is_soon_forecast_to_come_never() {
        let mut pace = Pace::default();
        let (end, replayed) = (Lsn::new(1_000_000), |ms: i64| Lsn::new(1000 + 100 * ms as u64));
        for ms in (0..3000).step_by(100) {
            pace.note(replayed(ms), end, at(ms));
        }
        let last = replayed(2900);
        assert!(pace.catch_up(last, end, at(2900)).is_some());
        for ms in [5000, 20_000, 3_600_000] {
            assert_eq!(pace.catch_up(last, end, at(ms)), None, "{ms}");
            assert_eq!(pace.replay_rate(last, end, at(ms)), Some(0.0), "{ms}");
        }
    }

    #[test]
    fn a_burst_of_writes_is_forgotten_while_the_standby_works_through_it() {
        let mut pace = Pace::default();
        for ms in (0..2000).step_by(50) {
            pace.note(Lsn::new(1000 + ms as u64), Lsn::new(1000 + 10_000 * ms as u64), at(ms));
        }
        let (end, replayed) = (Lsn::new(20_000_000), |ms: i64| Lsn::new(1000 + 1000 * ms as u64));
        for ms in (2000..4100).step_by(50) {
            pace.note(replayed(ms), end, at(ms));
        }
        let forecast = pace.catch_up(replayed(4100), end, at(4100)).unwrap().as_millis();
        assert!((15_500..=16_500).contains(&forecast), "{forecast} instead of 15899");
    }

    #[test]
    fn who_does_not_gain_never_catches_up_and_who_has_all_has_caught_up() {
        let mut pace = Pace::default();
        assert_eq!(pace.catch_up(Lsn::new(5), Lsn::new(9), at(0)), None, "nothing is known yet");
        assert_eq!(pace.catch_up(Lsn::new(9), Lsn::new(9), at(0)), Some(Duration::ZERO));
        pace.note(Lsn::new(1000), Lsn::new(2000), at(0));
        assert_eq!(pace.catch_up(Lsn::new(1000), Lsn::new(2000), at(5000)), None, "it stalls");
        assert_eq!(pace.catch_up(Lsn::new(1100), Lsn::new(2100), at(5000)), None, "it keeps its distance");
    }

    #[test]
    fn samples_are_bounded_and_old_rates_are_forgotten() {
        let mut pace = Pace::default();
        for ms in 0..100_000 {
            pace.note(Lsn::new(1), Lsn::new(2), at(ms));
        }
        assert!(pace.samples.len() <= 22, "{}", pace.samples.len());
        let later = |ms: u64| Lsn::new(1 + 10 * ms);
        for ms in 0..20_000 {
            pace.note(later(ms), later(ms), at(100_000 + ms as i64));
        }
        let rate = pace.replay_rate(later(20_000), later(20_000), at(120_000)).unwrap();
        assert!((9_500.0..10_500.0).contains(&rate), "{rate}");
    }
}
