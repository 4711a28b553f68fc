//! How far a standby is behind: PostgreSQL's round-trip figures, and honest ones.
//!
//! [`LagTracker`] gives write_lag, flush_lag and replay_lag of pg_stat_replication: how long it took from the
//! flush here until the standby reported the stage. They say nothing while nothing is reported and vanish on
//! an idle system.
//!
//! [`FlushClock`] remembers when the log reached which position here, so that a standby's position at any
//! stage turns into an age: how long the oldest byte that it lacks has been there. This is zero exactly when
//! nothing is lacking, and grows by a second a second while a standby stalls.

mod pace;

pub use pace::Pace;

use durability::Stage;
use host::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;
use wal::Lsn;

/// Samples kept; PostgreSQL keeps as many.
const SAMPLES_MAX: usize = 8192;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    at: Lsn,
    time: Timestamp,
}

/// write_lag, flush_lag and replay_lag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundTrips {
    /// write_lag
    pub write: Option<Duration>,
    /// flush_lag
    pub flush: Option<Duration>,
    /// replay_lag
    pub replay: Option<Duration>,
}

/// Measures how long standbys take to report what was sent, by the rules of PostgreSQL's walsender.
#[derive(Clone, Debug, Default)]
pub struct LagTracker {
    samples: VecDeque<Sample>,
    /// Samples before the queue's first, so that indexes stay.
    dropped: u64,
    /// Per stage: index of the next sample to be reached, and the last one reached.
    heads: [(u64, Option<Sample>); 3],
    shown: RoundTrips,
    /// The last reply said that everything was replayed, and so did the one before.
    idle_replies: u8,
}

impl LagTracker {
    /// WAL up to `at` went out at `now`.
    pub fn on_sent(&mut self, at: Lsn, now: Timestamp) {
        if self.samples.back().is_some_and(|last| last.at >= at) {
            return;
        }
        if self.samples.len() == SAMPLES_MAX {
            // As PostgreSQL: the newest gives way, so the oldest lag stays true.
            self.samples.pop_back();
        }
        self.samples.push_back(Sample { at, time: now });
    }

    /// The standby reported these positions at `now`; `sent` is the end of what went out.
    pub fn on_reply(
        &mut self,
        written: Lsn,
        flushed: Lsn,
        replayed: Lsn,
        sent: Lsn,
        now: Timestamp,
    ) -> RoundTrips {
        let fresh = [
            self.reached(Stage::Written, written, now),
            self.reached(Stage::Flushed, flushed, now),
            self.reached(Stage::Replayed, replayed, now),
        ];
        self.idle_replies = if replayed >= sent { self.idle_replies.saturating_add(1) } else { 0 };
        let clear = self.idle_replies >= 2;
        let show = |shown: &mut Option<Duration>, fresh: Option<Duration>| match fresh {
            Some(lag) => *shown = Some(lag),
            None if clear => *shown = None,
            None => {}
        };
        show(&mut self.shown.write, fresh[0]);
        show(&mut self.shown.flush, fresh[1]);
        show(&mut self.shown.replay, fresh[2]);
        self.forget();
        self.shown
    }

    fn sample(&self, index: u64) -> Option<Sample> {
        let at = usize::try_from(index.checked_sub(self.dropped)?).ok()?;
        self.samples.get(at).copied()
    }

    fn reached(&mut self, stage: Stage, at: Lsn, now: Timestamp) -> Option<Duration> {
        let (mut next, mut last) = self.heads[stage.index()];
        let mut passed = None;
        while let Some(sample) = self.sample(next).filter(|sample| sample.at <= at) {
            (passed, last) = (Some(sample), Some(sample));
            next += 1;
        }
        let waiting = self.sample(next);
        if waiting.is_none() {
            // Everything is reached: a later stall is not to be interpolated from here.
            last = None;
        }
        self.heads[stage.index()] = (next, last);
        let time = match (passed, waiting, last) {
            (Some(passed), _, _) => passed.time,
            (None, None, _) => return None,
            (None, Some(waiting), Some(last)) => interpolate(last, waiting, at),
            (None, Some(waiting), None) => waiting.time,
        };
        (time <= now).then(|| now.since(time))
    }

    fn forget(&mut self) {
        let oldest = self.heads.iter().map(|(next, _)| *next).min().unwrap_or(0);
        while self.dropped < oldest && self.samples.len() > 1 {
            self.samples.pop_front();
            self.dropped += 1;
        }
    }
}

/// The time at which a position between two samples would have been sent.
fn interpolate(before: Sample, after: Sample, at: Lsn) -> Timestamp {
    let whole = after.at.bytes_since(before.at).max(1) as f64;
    let part = at.bytes_since(before.at) as f64 / whole;
    let span = after.time.since(before.time).as_micros() as f64;
    Timestamp::from_micros(before.time.micros().saturating_add((span * part.min(1.0)) as i64))
}

/// When the log of this node reached which position. Old samples are thinned out, so that it reaches far back
/// with an error that grows with the age.
#[derive(Clone, Debug, Default)]
pub struct FlushClock {
    samples: VecDeque<Sample>,
}

impl FlushClock {
    /// The log ends at `at` now.
    pub fn note(&mut self, at: Lsn, now: Timestamp) {
        if self.samples.back().is_some_and(|last| last.at >= at) {
            return;
        }
        if self.samples.len() == SAMPLES_MAX {
            self.thin_out(now);
        }
        self.samples.push_back(Sample { at, time: now });
    }

    /// The log is another one behind `kept`: when it reached later positions says nothing any more.
    pub fn cut(&mut self, kept: Lsn) {
        let inside = self.samples.partition_point(|sample| sample.at <= kept);
        self.samples.truncate(inside);
    }

    /// The end of the log as it was noted last.
    pub fn end(&self) -> Lsn {
        self.samples.back().map_or(Lsn::INVALID, |last| last.at)
    }

    /// Drops samples whose neighbours lie closer together than a 64th of their age: an age is then at most
    /// that much too low. Should that free too little, every other sample goes.
    fn thin_out(&mut self, now: Timestamp) {
        let mut kept: VecDeque<Sample> = VecDeque::with_capacity(SAMPLES_MAX);
        for (index, sample) in self.samples.iter().enumerate() {
            let next = self.samples.get(index + 1).map_or(now, |next| next.time);
            let gap = kept.back().map(|before| next.since(before.time));
            if gap.is_none_or(|gap| gap > now.since(sample.time) / 64) {
                kept.push_back(*sample);
            }
        }
        if kept.len() > SAMPLES_MAX / 2 {
            let mut index = 0;
            kept.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
        self.samples = kept;
    }

    /// How long the oldest byte from `at` on has been there; zero if there is none.
    pub fn age_of(&self, at: Lsn, now: Timestamp) -> Duration {
        let later = self.samples.partition_point(|sample| sample.at <= at);
        self.samples.get(later).map_or(Duration::ZERO, |sample| now.since(sample.time))
    }
}

/// One stage's distance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageLag {
    /// Bytes of the log that have not reached the stage.
    pub bytes: u64,
    /// How long the oldest of them has been there.
    pub age: Duration,
}

/// How far behind a standby is at each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LagFigures {
    /// Not yet sent.
    pub sent: StageLag,
    /// Not yet written there.
    pub written: StageLag,
    /// Not yet durable there.
    pub flushed: StageLag,
    /// Not yet replayed there.
    pub replayed: StageLag,
    /// Since its last reply.
    pub silent: Duration,
}

impl LagFigures {
    /// Figures of a standby at these positions, for a log that ends at `end`.
    pub fn new(
        clock: &FlushClock,
        end: Lsn,
        sent: Lsn,
        progress: crate::sync::Progress,
        last_reply: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let stage = |at: Lsn| StageLag { bytes: end.bytes_since(at), age: clock.age_of(at, now) };
        Self {
            sent: stage(sent),
            written: stage(progress.written),
            flushed: stage(progress.flushed),
            replayed: stage(progress.replayed),
            silent: last_reply.map_or(Duration::ZERO, |then| now.since(then)),
        }
    }

    /// The name of the stage that costs most time, None if the standby has everything.
    pub fn slowest(&self) -> Option<&'static str> {
        let steps = [
            ("send", self.sent.age),
            ("write", self.written.age.saturating_sub(self.sent.age)),
            ("flush", self.flushed.age.saturating_sub(self.written.age)),
            ("replay", self.replayed.age.saturating_sub(self.flushed.age)),
        ];
        let slowest = steps.into_iter().max_by_key(|(_, age)| *age)?;
        (!slowest.1.is_zero()).then_some(slowest.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Progress;

    fn t(ms: i64) -> Timestamp {
        Timestamp::from_micros(ms * 1000)
    }
    fn at(lsn: u64) -> Lsn {
        Lsn::new(lsn)
    }
    fn ms(ms: u64) -> Option<Duration> {
        Some(Duration::from_millis(ms))
    }

    #[test]
    fn round_trips_are_measured_from_sending_to_reporting() {
        let mut lag = LagTracker::default();
        lag.on_sent(at(100), t(0));
        lag.on_sent(at(200), t(10));
        let first = lag.on_reply(at(200), at(100), at(50), at(200), t(30));
        assert_eq!(first, RoundTrips { write: ms(20), flush: ms(30), replay: ms(30) });
        let second = lag.on_reply(at(200), at(200), at(150), at(200), t(40));
        assert_eq!((second.flush, second.replay), (ms(30), ms(40)));
    }

    #[test]
    fn an_idle_system_shows_no_round_trips_after_the_second_reply() {
        let mut lag = LagTracker::default();
        lag.on_sent(at(100), t(0));
        assert_eq!(lag.on_reply(at(100), at(100), at(100), at(100), t(5)).replay, ms(5));
        assert_eq!(lag.on_reply(at(100), at(100), at(100), at(100), t(6)), RoundTrips::default());
    }

    #[test]
    fn a_stage_that_stalls_between_two_samples_is_interpolated() {
        let mut lag = LagTracker::default();
        lag.on_sent(at(100), t(0));
        lag.on_sent(at(200), t(100));
        lag.on_reply(at(100), at(100), at(100), at(200), t(100));
        assert_eq!(lag.on_reply(at(150), at(100), at(100), at(200), t(200)).write, ms(150));
    }

    #[test]
    fn samples_are_bounded_and_the_oldest_lag_stays_true() {
        let mut lag = LagTracker::default();
        for n in 1..=20_000 {
            lag.on_sent(at(n), t(n as i64));
        }
        assert_eq!(lag.samples.len(), SAMPLES_MAX);
        let reply = lag.on_reply(at(1), at(1), at(1), at(20_000), t(20_000));
        assert_eq!(reply.replay, ms(19_999));
    }

    #[test]
    fn age_is_that_of_the_oldest_missing_byte_and_zero_when_none_is_missing() {
        let mut clock = FlushClock::default();
        for n in 1..=10 {
            clock.note(at(n * 100), t(n as i64 * 10));
        }
        assert_eq!(clock.age_of(at(1000), t(5000)), Duration::ZERO, "idle is not behind");
        assert_eq!(clock.age_of(at(999), t(5000)), Duration::from_millis(4900));
        assert_eq!(clock.age_of(at(450), t(150)), Duration::from_millis(100));
        assert_eq!(clock.age_of(at(0), t(110)), Duration::from_millis(100));
    }

    #[test]
    fn the_clock_reaches_far_back_in_bounded_memory() {
        let mut clock = FlushClock::default();
        for n in 1..=100_000u64 {
            clock.note(at(n), t(n as i64));
        }
        assert!(clock.samples.len() <= SAMPLES_MAX);
        let age = clock.age_of(at(50_000), t(100_000)).as_millis();
        assert!((49_000..=50_000).contains(&age), "{age}");
        let age = clock.age_of(at(99_900), t(100_000)).as_millis();
        assert!((90..=100).contains(&age), "{age}");
    }

    #[test]
    fn the_slowest_stage_is_the_one_that_adds_most() {
        let mut clock = FlushClock::default();
        for n in 1..=10 {
            clock.note(at(n * 100), t(n as i64 * 100));
        }
        let progress = Progress { written: at(900), flushed: at(850), replayed: at(200) };
        let figures = LagFigures::new(&clock, at(1000), at(1000), progress, Some(t(990)), t(1000));
        assert_eq!((figures.replayed.bytes, figures.replayed.age), (800, Duration::from_millis(700)));
        assert_eq!(figures.slowest(), Some("replay"));
        assert_eq!(figures.silent, Duration::from_millis(10));
        assert_eq!(figures.sent, StageLag::default());
    }
}
