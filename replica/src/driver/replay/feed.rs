//! Hands log to redo: what a receiver writes, or the word that there may be some in the archive and pg_wal.
//!
//! Redo reads what is written, durable or not, so a commit is visible here without an fsync. What goes to
//! disk waits for the log to be durable ([`StandbyLog`]), and `replayed` of the positions never passes
//! `flushed`.

use super::delays::{DelaySettings, Held, PauseState, ReplayDelays, ReplayObserver};
use crate::receiver::sources::{SourceSettings, SourceSwitch, Turn};
use host::sync::{Condvar, Mutex, MutexGuard};
use host::{Clock, Timestamp};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use storage::{AtTarget, Conflict, Feed, StandbyLog, WalFeed};
use tokio::sync::watch;
use wal::reader::EndOfWal;
use wal::{
    BranchObserver, Live, LogState, Lsn, NodeLog, RawWriter, ReadError, StandbyPositions, TimelineId,
    WalError,
};

/// Damage that is met again and again is told again after this.
const DAMAGE_TOLD: Duration = Duration::from_secs(60);
/// Redo looks at a record that has come in part if no more has come for so long.
const STALL: Duration = Duration::from_secs(1);
/// Longest time between two looks at whether queries still hold replay up. Snapshots end without telling
/// anybody, so that reading them costs nothing; the first looks come quickly.
const LOOK_MAX: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct Orders {
    /// Those of the log as it is now.
    positions: Arc<StandbyPositions>,
    /// Moves when the log is cut or goes on along another history.
    generation: u64,
    /// The latest timeline of its history.
    timeline: TimelineId,
    available: Option<(Lsn, TimelineId)>,
    /// What redo has applied, durable or not.
    redone: Lsn,
    /// Where it was at a record's end that was not durable then, the first since the log was settled.
    unsettled: Option<Lsn>,
    /// Who writes the log.
    writer: Option<RawWriter>,
    /// What redo was last told that it may read, of this generation of the log.
    given: Lsn,
    /// Of what was given redo has left a part, which it looks at then; None once it has.
    stalls: Option<(Lsn, Option<Duration>)>,
    promote: bool,
    stop: bool,
    /// The generation of the log of which this node has had all that the primary had at one moment, and the
    /// name by which it followed.
    caught_up: Option<(u64, String)>,
    /// Why redo stands still before the end of what was received.
    damage: Option<LogDamage>,
    /// Where damage was told last, and for how long that is enough.
    told_damage: Option<(Lsn, Duration)>,
    /// The end of the log here that was told last.
    told_end: Lsn,
    sources: SourceSwitch,
    delays: ReplayDelays,
    /// Until then redo waits with a commit, on the monotonic clock.
    delayed_until: Option<Duration>,
}

/// A place in the log that was received and cannot be read.
#[derive(Clone, Debug)]
pub struct LogDamage {
    /// Up to here all is redone.
    pub at: Lsn,
    /// What is wrong.
    pub what: String,
}

/// The way from the receiver, and from the server's orders, to redo's thread.
pub struct StandbyFeed {
    orders: Mutex<Orders>,
    changed: Condvar,
    /// Where a receiver shall begin; None while none shall run.
    wanted: watch::Sender<Option<Lsn>>,
    /// Times of the sources count from here, on the monotonic clock.
    begun: Duration,
    clock: Arc<dyn Clock>,
    observer: OnceLock<Box<dyn ReplayObserver>>,
}

impl fmt::Debug for StandbyFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandbyFeed").field("orders", &self.orders).finish_non_exhaustive()
    }
}

impl Orders {
    /// The writer of a receiver that has ended, or is about to, if it has log that is not durable.
    fn undurable(&self) -> Option<RawWriter> {
        let writer = self.writer.as_ref().filter(|_| self.sources.is_local());
        writer.filter(|writer| writer.end() > self.positions.flushed()).cloned()
    }

    /// Redo has come so far; of that counts what is durable.
    fn tell_redone(&mut self, lsn: Lsn) {
        if self.sources.is_local() && self.undurable().is_none() {
            // Nobody else says how far the log here is whole.
            self.positions.set_received(lsn);
            self.positions.set_flushed(lsn);
        }
        self.damage.take_if(|damage| damage.at < lsn);
        self.redone = lsn;
        self.count_replayed();
    }

    /// How long to wait until redo, which has come to `lsn`, looks at what it has left of what was given;
    /// None if that is nothing, or was looked at. Zero is told once.
    fn stall(&mut self, lsn: Lsn, now: Duration) -> Option<Duration> {
        if self.given <= lsn {
            return None;
        }
        let (_, until) =
            self.stalls.take_if(|(given, _)| *given == self.given).unwrap_or((self.given, Some(now + STALL)));
        let left = until?.saturating_sub(now);
        self.stalls = Some((self.given, until.filter(|_| !left.is_zero())));
        Some(left)
    }

    fn count_replayed(&mut self) {
        let flushed = self.positions.flushed();
        let replayed = self.redone.min(flushed);
        self.positions.set_replayed(replayed);
        let ends = [self.unsettled, Some(self.redone)];
        if let Some(settled) = ends.into_iter().flatten().filter(|end| *end <= replayed).max() {
            self.positions.set_settled(settled);
            self.unsettled = None;
        }
        if self.redone > flushed {
            self.unsettled.get_or_insert(self.redone);
        }
    }
}

/// What a standby does that was told nothing else: follow its primary.
const FOLLOW_PRIMARY: SourceSettings =
    SourceSettings { follow: true, primary: true, archive: false, retry: Duration::from_secs(5) };

impl StandbyFeed {
    /// A feed for a standby with this log, of which it moves `replayed`. The node follows a primary.
    pub fn new(log: &NodeLog, clock: Arc<dyn Clock>) -> Arc<Self> {
        Self::with_sources(log, FOLLOW_PRIMARY, clock)
    }

    /// A feed for a node with these sources. Panics if the log is a primary's.
    pub fn with_sources(log: &NodeLog, sources: SourceSettings, clock: Arc<dyn Clock>) -> Arc<Self> {
        let state = log.state();
        let Live::Standby(positions) = &state.live else {
            unreachable!("a primary's log is not fed to redo");
        };
        let orders = Orders {
            positions: positions.clone(),
            generation: state.generation(),
            timeline: state.history.target(),
            available: None,
            redone: Lsn::INVALID,
            unsettled: None,
            writer: None,
            given: Lsn::INVALID,
            stalls: None,
            promote: false,
            stop: false,
            caught_up: None,
            damage: None,
            told_damage: None,
            told_end: Lsn::INVALID,
            sources: SourceSwitch::new(sources),
            delays: ReplayDelays::default(),
            delayed_until: None,
        };
        let feed = Arc::new(Self {
            orders: Mutex::new(orders),
            changed: Condvar::new(),
            wanted: watch::Sender::new(None),
            begun: clock.monotonic(),
            clock,
            observer: OnceLock::new(),
        });
        log.observe(feed.clone());
        feed
    }

    /// Who hears of replay that is held; set once, before redo runs.
    pub fn set_observer(&self, observer: Box<dyn ReplayObserver>) {
        let _ = self.observer.set(observer);
    }

    fn tell(&self, what: impl FnOnce(&dyn ReplayObserver)) {
        if let Some(observer) = self.observer.get() {
            what(observer.as_ref());
        }
    }

    /// The time since the feed was made.
    fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.begun)
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        // Redo goes by these on.
        let _vital = host::vital("a change of what redo may read");
        change(&mut self.orders.lock());
        self.changed.notify_all();
    }

    /// Waits until redo has used up what lies here; gives the end of the last whole record, where a receiver
    /// starts.
    pub async fn wait_wanted(&self) -> Lsn {
        let mut wanted = self.wanted.subscribe();
        // The sender lives in self, so this cannot fail.
        let found = wanted.wait_for(Option::is_some).await.ok().and_then(|lsn| *lsn);
        found.unwrap_or(Lsn::INVALID)
    }
    /// Tells when a receiver shall run (and from where), and when it shall not.
    pub fn wanted(&self) -> watch::Receiver<Option<Lsn>> {
        self.wanted.subscribe()
    }
    /// Takes over reloaded settings.
    pub fn set_sources(&self, sources: SourceSettings) {
        self.order(|orders| orders.sources.set(sources));
    }
    /// The receiver could not stream; it tries again unless it is told to stop.
    pub fn receiver_failed(&self) {
        self.order(|orders| orders.sources.failed());
    }
    /// The receiver streams.
    pub fn receiver_streams(&self) {
        self.order(|orders| orders.sources.streams());
    }
    /// The receiver has stopped, because none was wanted any more.
    pub fn receiver_stopped(&self) {
        self.order(|orders| orders.sources.stopped());
    }
    /// From now on no receiver is wanted: the way to stop the last one before a promotion or a stop.
    pub fn close(&self) {
        self.order(|orders| orders.sources.close());
        self.wanted.send_replace(None);
    }

    /// The log is written up to here, on the history of this timeline.
    pub fn set_available(&self, upto: Lsn, timeline: TimelineId) {
        self.order(|orders| orders.available = Some((upto, timeline)));
    }
    /// A receiver writes the log with this writer, or ended in good order, with all of it durable.
    pub fn set_writer(&self, writer: Option<RawWriter>) {
        self.orders.lock().writer = writer;
    }
    /// More of the log is durable: what of it is redone counts as replayed.
    pub fn flushed(&self) {
        // Under the lock, as in `redone`: the later of the two sees both.
        self.orders.lock().count_replayed();
    }
    /// Redo shall end for a promotion, after what is available, which is all that there is if it is `whole`:
    /// the archive is not asked for more then. Stop the receiver first.
    pub fn promote(&self, whole: bool) {
        let mut held = None;
        self.order(|orders| {
            held = match orders.delays.pause_state() {
                PauseState::NotPaused => {
                    let now = self.clock.monotonic();
                    orders.delayed_until.map(|until| Held::Delayed(until.saturating_sub(now)))
                }
                PauseState::Requested | PauseState::Paused => Some(Held::Paused),
            };
            orders.promote = true;
            orders.sources.promote(whole);
        });
        if let Some(held) = held {
            self.tell(|observer| observer.let_go(held));
        }
    }
    /// Redo shall end.
    pub fn stop(&self) {
        self.order(|orders| {
            orders.stop = true;
            orders.positions.stop();
        });
    }
    /// Holds replay (pg_wal_replay_pause), or lets it go on. False if a promotion has begun, which nothing
    /// holds.
    pub fn set_paused(&self, paused: bool) -> bool {
        let mut promotes = false;
        self.order(|orders| {
            promotes = orders.promote;
            match (promotes, paused) {
                (true, _) => {}
                (false, true) => orders.delays.request_pause(),
                (false, false) => orders.delays.resume(),
            }
        });
        !promotes
    }
    /// Whether replay is held, or soon will be.
    pub fn pause_state(&self) -> PauseState {
        self.orders.lock().delays.pause_state()
    }
    /// Takes over (re)loaded settings.
    pub fn set_delays(&self, settings: DelaySettings) {
        self.order(|orders| orders.delays.set(settings));
    }
    /// Holds redo, which has reached its target, until replay is resumed, the node is promoted, or it stops.
    pub fn hold_at_target(&self) -> AtTarget {
        let mut orders = self.orders.lock();
        orders.delays.pause();
        while orders.delays.pause_state() == PauseState::Paused && !orders.stop && !orders.promote {
            self.changed.wait(&mut orders);
        }
        orders.delays.resume();
        if orders.stop { AtTarget::Stop } else { AtTarget::Promote }
    }
    /// All is received that the primary had at one moment of this node's life, which follows by that name.
    pub fn set_caught_up(&self, name: &str) {
        let mut orders = self.orders.lock();
        orders.caught_up = Some((orders.generation, name.to_owned()));
    }
    /// It follows by that name from now on: what it confirms by another one says nothing of this.
    pub fn follow_as(&self, name: &str) {
        self.orders.lock().caught_up.take_if(|(_, known)| known != name);
    }
    /// Whether that is so, and nothing of the log was given up since.
    pub fn has_caught_up_as(&self, name: &str) -> bool {
        let orders = self.orders.lock();
        let is_so = |(generation, known): &(u64, String)| *generation == orders.generation && known == name;
        orders.caught_up.as_ref().is_some_and(is_so) && orders.damage.is_none()
    }
    /// Why redo stands still before the end of what was received, if it does.
    pub fn damage(&self) -> Option<LogDamage> {
        self.orders.lock().damage.clone()
    }
    /// The positions that receiver and redo move, of the log as it is now.
    pub fn positions(&self) -> Arc<StandbyPositions> {
        self.orders.lock().positions.clone()
    }

    /// Between two records: true if replay is paused, after a wait for the next order, which may be any.
    fn waits_paused(&self, orders: &mut MutexGuard<'_, Orders>) -> bool {
        let (state, begins) = orders.delays.between_records();
        if begins {
            self.tell(|observer| observer.paused());
        }
        let paused = state == PauseState::Paused;
        if paused {
            self.changed.wait(orders);
        }
        paused
    }
}

impl BranchObserver for StandbyFeed {
    fn branched(&self, state: &LogState) {
        self.order(|orders| {
            (orders.generation, orders.timeline) = (state.generation(), state.history.target());
            orders.unsettled = None;
            // What may be read is told anew: redo's cursors stand in what is not kept.
            if !host::planted!("what redo may read survives a cut") {
                (orders.available, orders.given) = (None, Lsn::INVALID);
            }
            if let Live::Standby(positions) = &state.live {
                orders.positions = positions.clone();
            }
        });
    }
}

impl StandbyLog for StandbyFeed {
    fn durable(&self) -> Lsn {
        self.orders.lock().positions.flushed()
    }

    fn make_durable(&self, upto: Lsn) -> Result<(), WalError> {
        let writer = {
            let orders = self.orders.lock();
            // Without a writer redo reads segments that others made, as they are.
            orders.writer.clone().filter(|_| orders.positions.flushed() < upto)
        };
        if let Some(writer) = writer {
            writer.flush()?;
            self.flushed();
        }
        Ok(())
    }
}

impl WalFeed for StandbyFeed {
    fn wait_past(&self, lsn: Lsn) -> Feed {
        let mut orders = self.orders.lock();
        loop {
            if orders.stop {
                return Feed::Stop;
            }
            if !orders.promote && self.waits_paused(&mut orders) {
                continue;
            }
            match orders.available {
                // What came before the order to promote is replayed before it.
                Some((upto, timeline)) if upto > lsn.max(orders.given) => {
                    orders.given = upto;
                    orders.delays.came(self.clock.monotonic());
                    return Feed::Available { upto, timeline, generation: orders.generation };
                }
                _ => {}
            }
            match orders.sources.turn(self.elapsed()) {
                Turn::Look => {
                    (orders.available, orders.given) = (None, Lsn::INVALID);
                    return Feed::Again { timeline: orders.timeline };
                }
                Turn::End => return Feed::Promote { timeline: orders.timeline },
                Turn::Stream => {
                    // What was received before is not asked for again, unless it is damaged.
                    let from = match &orders.damage {
                        Some(damage) if damage.at == lsn => lsn,
                        _ => lsn.max(orders.positions.flushed()),
                    };
                    self.wanted
                        .send_if_modified(|wanted| wanted.is_none().then(|| *wanted = Some(from)).is_some());
                    match orders.stall(lsn, self.elapsed()) {
                        None => self.changed.wait(&mut orders),
                        Some(left) if left.is_zero() => return Feed::Stalled,
                        Some(left) => _ = self.changed.wait_for(&mut orders, left),
                    }
                }
                Turn::Leave => {
                    self.wanted.send_if_modified(|wanted| wanted.take().is_some());
                    self.changed.wait(&mut orders);
                }
                Turn::Rest(pause) => {
                    self.changed.wait_for(&mut orders, pause);
                }
            }
        }
    }

    fn redone(&self, lsn: Lsn) {
        let writer = {
            let mut orders = self.orders.lock();
            let Some(writer) = orders.undurable() else { return orders.tell_redone(lsn) };
            writer
        };
        // If it fails nothing more is told as flushed, and who needs it durable hears why.
        let _ = writer.flush();
        self.orders.lock().tell_redone(lsn);
    }

    fn damaged(&self, at: Lsn, error: &ReadError) {
        {
            let mut orders = self.orders.lock();
            if !orders.sources.is_local() && orders.given == Lsn::INVALID {
                // The log was cut while it was read.
                return;
            }
            orders.damage = Some(LogDamage { at, what: error.to_string() });
            orders.sources.damaged();
            let now = self.elapsed();
            if orders.told_damage.is_some_and(|(told, until)| told == at && now < until) {
                return;
            }
            orders.told_damage = Some((at, now + DAMAGE_TOLD));
        }
        self.tell(|observer| observer.damaged(at, error));
    }

    fn torn(&self, end: &EndOfWal) {
        let is_news = {
            let mut orders = self.orders.lock();
            // What a receiver writes ends so again and again.
            orders.sources.is_local() && std::mem::replace(&mut orders.told_end, end.at) != end.at
        };
        if is_news {
            self.tell(|observer| observer.torn(end));
        }
    }

    fn may_replay(&self, at: Lsn, _end: Lsn, committed: Option<Timestamp>) -> bool {
        let mut orders = self.orders.lock();
        loop {
            if orders.stop {
                return false;
            }
            if orders.promote {
                // What was received is replayed at once.
                orders.delays.resume();
                return true;
            }
            if orders.delays.pause_state() != PauseState::NotPaused {
                orders.tell_redone(at);
            }
            if self.waits_paused(&mut orders) {
                continue;
            }
            match orders.delays.delay(committed, || self.clock.now()) {
                None => return true,
                Some(left) => {
                    orders.tell_redone(at);
                    orders.delayed_until = Some(self.clock.monotonic() + left);
                    self.changed.wait_for(&mut orders, left);
                    orders.delayed_until = None;
                }
            }
        }
    }

    fn before_conflict(&self, conflict: &Conflict, are_held: &dyn Fn() -> bool) -> u64 {
        let began = self.clock.monotonic();
        let mut told = false;
        let mut look = Duration::from_millis(1);
        let mut orders = self.orders.lock();
        while !orders.stop && !orders.promote && are_held() {
            let now = self.clock.monotonic();
            let left = orders.delays.patience(now).unwrap_or(Duration::MAX);
            if left.is_zero() {
                break;
            }
            let waited = now.saturating_sub(began);
            if !told && orders.delays.settings().tell_waits_after.is_some_and(|after| waited >= after) {
                told = true;
                self.tell(|observer| observer.waits_for_queries(conflict.kind(), waited, false));
            }
            self.changed.wait_for(&mut orders, look.min(left));
            look = (look * 2).min(LOOK_MAX);
        }
        drop(orders);
        let mut given_up = 0;
        if are_held() {
            self.tell(|observer| given_up = observer.gives_up(conflict));
        }
        if told {
            let waited = self.clock.monotonic().saturating_sub(began);
            self.tell(|observer| observer.waits_for_queries(conflict.kind(), waited, true));
        }
        given_up
    }
}

#[cfg(test)]
mod tests;
