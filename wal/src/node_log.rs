//! The log that a node has, as one object: which branch it is on, who moves its end, and how far it has come.
//!
//! A position means something only on its branch. So whatever ends a branch here is one step of this object,
//! [`NodeLog::branch`] (a standby's log is cut, or goes on along another history) or [`NodeLog::promote`]:
//! the log gets its next generation, a standby whose log went further gets new positions that stand where the
//! branch is left, those who waited for the old ones are told, and every observer forgets what it was told of
//! later positions.
//!
//! ```text
//!                 branch: cut, or another history       promote: its own timeline
//!  standby ------------------------------------> standby ---------------------> primary
//!  received >= flushed >= replayed >= settled                               inserted >= written >= flushed
//! ```
//!
//! | of a generation | meaning |
//! | ---- | ---- |
//! | `generation` | counts from 0 in the life of this object; it says nothing to other nodes |
//! | `kept` | up to here (exclusive) the log is that of the generation before; later positions are others |
//!
//! Who looks only now and then may miss a generation, and asks [`Generations::kept_since`] the last that it
//! saw.

use crate::generations::Generations;
use crate::history::TimelineHistory;
use crate::ids::{Lsn, TimelineId};
use crate::log_branch::{BranchError, LogBranch};
use crate::positions::StandbyPositions;
use crate::writer::WalWriter;
use host::Mutex;
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// Who moves the log's end.
#[derive(Clone, Debug)]
pub enum Live {
    /// A primary's writer.
    Primary(WalWriter),
    /// A standby's receiver.
    Standby(Arc<StandbyPositions>),
}

/// Whether the node is on its way down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stopping {
    /// It runs.
    #[default]
    No,
    /// It stops; the shutdown checkpoint is still to come.
    Soon,
    /// The last record is flushed and ends here.
    LogEnds(Lsn),
}

/// Another timeline has taken the place of a primary's, which nobody should follow any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Up to here the log is the other one's, too.
    pub at: Lsn,
    /// The other one.
    pub by: TimelineId,
}

/// The log at a moment.
#[derive(Clone, Debug)]
pub struct LogState {
    /// The history of the timeline that is written or followed.
    pub history: TimelineHistory,
    /// Who moves its end.
    pub live: Live,
    /// Whether the node is on its way down.
    pub stopping: Stopping,
    /// Whether the node is fenced.
    pub replaced: Option<Replaced>,
    /// The branches that the log was on.
    pub generations: Generations,
}

impl LogState {
    /// The log's end here: what is durable of it, whether this node writes it or receives it. So much may be
    /// sent, counts as kept, and is what other nodes' positions are compared with.
    pub fn flushed(&self) -> Lsn {
        match &self.live {
            Live::Primary(writer) => writer.positions().flushed(),
            Live::Standby(positions) => positions.flushed(),
        }
    }

    /// What the kernel has of it: written by this node, or received. It may be ahead of what is durable.
    pub fn written(&self) -> Lsn {
        match &self.live {
            Live::Primary(writer) => writer.positions().written(),
            Live::Standby(positions) => positions.received(),
        }
    }

    /// Which of the branches that the log was on it is.
    pub fn generation(&self) -> u64 {
        self.generations.current()
    }

    /// Where this generation left the one before, exclusive; MAX for the first.
    pub fn kept(&self) -> Lsn {
        self.generations.kept()
    }

    /// A standby's positions.
    pub fn standby(&self) -> Option<&Arc<StandbyPositions>> {
        match &self.live {
            Live::Primary(_) => None,
            Live::Standby(positions) => Some(positions),
        }
    }

    /// Waits until there is something past `lsn`; for ever once the log has ended, or is cut (then the state
    /// changes).
    pub async fn wait_past(&self, lsn: Lsn) {
        let reached = match &self.live {
            Live::Primary(writer) => writer.positions().wait_flushed_past(lsn).await,
            Live::Standby(positions) => positions.wait_flushed_past(lsn).await,
        };
        if reached.is_err() {
            std::future::pending().await
        }
    }
}

/// Who keeps positions of the log, and has to forget those of a branch that was left.
pub trait BranchObserver: Send + Sync {
    /// The log of a standby goes on along another branch from `kept` on. What an observer has on disk says no
    /// more than that afterwards: a crash right behind the record of the branch leaves both.
    ///
    /// # Errors
    /// Why it cannot be written; then the log goes on along its branch.
    fn before_branch(&self, _kept: Lsn) -> Result<(), BranchError> {
        Ok(())
    }

    /// The log is another one from `state.kept()` on: what was told of later positions under an earlier
    /// generation counts no more. Called before anybody else can see the new state, one branch after the
    /// other.
    fn branched(&self, state: &LogState);
}

struct Shared {
    state: watch::Sender<Arc<LogState>>,
    record: Arc<LogBranch>,
    /// Held during a step, so that observers hear of steps in their order.
    observers: Mutex<Vec<Arc<dyn BranchObserver>>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeLog").field("state", &*self.state.borrow()).finish_non_exhaustive()
    }
}

/// The log, watched by all senders; cloning shares it.
#[derive(Clone, Debug)]
pub struct NodeLog(Arc<Shared>);

impl NodeLog {
    /// The log of a node that writes or follows the timeline of `history`; `record` keeps which that is.
    pub fn new(history: TimelineHistory, live: Live, record: Arc<LogBranch>) -> Self {
        let generations = Generations::default();
        let state = LogState { history, live, stopping: Stopping::No, replaced: None, generations };
        let state = watch::Sender::new(Arc::new(state));
        Self(Arc::new(Shared { state, record, observers: Mutex::default() }))
    }

    /// The log as it is now.
    pub fn state(&self) -> Arc<LogState> {
        self.0.state.borrow().clone()
    }
    /// The log's end here, as [`LogState::flushed`].
    pub fn flushed(&self) -> Lsn {
        self.0.state.borrow().flushed()
    }
    /// Tells of changes.
    pub fn subscribe(&self) -> watch::Receiver<Arc<LogState>> {
        self.0.state.subscribe()
    }
    /// Has `observer` hear of every branch that begins after this.
    pub fn observe(&self, observer: Arc<dyn BranchObserver>) {
        self.0.observers.lock().push(observer);
    }

    /// A standby's log goes on along `history` from `kept` on, and nothing behind that is kept. The record of
    /// it is durable before anybody sees it. Returns the positions of the log as it is now, which a writer of
    /// it moves.
    ///
    /// Panics on a primary, whose log is cut by nothing but its own recovery, and if `kept` lies in the part
    /// that was replayed.
    ///
    /// # Errors
    /// Fails if the record, or what observers have on disk, cannot be written; then nothing has changed.
    pub fn branch(&self, history: TimelineHistory, kept: Lsn) -> Result<Arc<StandbyPositions>, BranchError> {
        let before = self.standby();
        let replayed = before.replayed();
        assert!(replayed <= kept, "the log is cut to {kept} and replayed up to {replayed}");
        for observer in &*self.0.observers.lock() {
            observer.before_branch(kept)?;
        }
        self.0.record.follow(&history, kept)?;
        Ok(self.cut(&before, history, kept))
    }

    /// From here on log of this timeline comes by streaming.
    ///
    /// # Errors
    /// Fails if that cannot be recorded.
    pub fn receive(&self, timeline: TimelineId) -> Result<(), BranchError> {
        self.0.record.receive(timeline)
    }

    /// What is recorded of a standby's log over restarts.
    pub fn record(&self) -> Arc<LogBranch> {
        self.0.record.clone()
    }

    /// There is a server that wrote this timeline of the log's history.
    pub fn witness(&self, timeline: TimelineId) {
        self.0.record.witness(timeline);
    }

    /// The branch of which this node is a witness: its own, if it writes one; otherwise the latest timeline
    /// of what it follows that it wrote itself or had from a server that did. None if all is hearsay.
    pub fn witnessed(&self) -> Option<TimelineHistory> {
        let state = self.state();
        let seen = match &state.live {
            Live::Primary(_) => return Some(state.history.clone()),
            Live::Standby(_) => self.0.record.record()?.witnessed,
        };
        state.history.up_to(seen)
    }

    /// A standby's log is received from `at` on: it ends there, although more may be redone (which then came
    /// from elsewhere, or is not here any more). Returns the positions of the log as it is now.
    ///
    /// Panics on a primary.
    pub fn receive_from(&self, at: Lsn) -> Arc<StandbyPositions> {
        let before = self.standby();
        if before.received() <= at {
            return before;
        }
        self.cut(&before, self.state().history.clone(), at)
    }

    fn standby(&self) -> Arc<StandbyPositions> {
        match &self.state().live {
            Live::Primary(_) => unreachable!("a primary's log is not cut"),
            Live::Standby(positions) => positions.clone(),
        }
    }

    fn cut(
        &self,
        before: &Arc<StandbyPositions>,
        history: TimelineHistory,
        kept: Lsn,
    ) -> Arc<StandbyPositions> {
        let cuts = before.received() > kept && !host::planted!("positions survive a cut of the log's tail");
        let positions = if cuts { Arc::new(before.cut(kept)) } else { before.clone() };
        let live = Live::Standby(positions.clone());
        self.step(history, live, kept);
        if cuts {
            // Who waited there looks at the new state.
            before.stop();
        }
        positions
    }

    /// The node was promoted: it writes `history`'s timeline with `writer`, from `kept` on.
    pub fn promote(&self, history: TimelineHistory, writer: WalWriter, kept: Lsn) {
        let before = self.state();
        let live = Live::Primary(writer);
        self.step(history, live, kept);
        if let Live::Standby(positions) = &before.live {
            positions.stop();
        }
    }

    /// The node goes down.
    pub fn set_stopping(&self, stopping: Stopping) {
        self.0.state.send_modify(|state| Arc::make_mut(state).stopping = stopping);
    }

    /// The node is fenced: what it writes from here on is of no use to anybody.
    pub fn set_replaced(&self, replaced: Replaced) {
        self.0.state.send_modify(|state| Arc::make_mut(state).replaced = Some(replaced));
    }

    fn step(&self, history: TimelineHistory, live: Live, kept: Lsn) {
        let observers = self.0.observers.lock();
        let mut next = LogState { history, live, ..LogState::clone(&self.state()) };
        next.generations.leave_at(kept);
        for observer in observers.iter() {
            observer.branched(&next);
        }
        self.0.state.send_modify(|state| {
            // A stop may have begun meanwhile.
            (next.stopping, next.replaced) = (state.stopping, state.replaced);
            *state = Arc::new(next);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::BranchId;

    fn at(lsn: u64) -> Lsn {
        Lsn::new(lsn)
    }
    fn standby(received: u64, flushed: u64, replayed: u64) -> (NodeLog, Arc<StandbyPositions>) {
        let positions = Arc::new(StandbyPositions::new(at(replayed)));
        positions.set_received(at(received));
        positions.set_flushed(at(flushed));
        let history = TimelineHistory::root(TimelineId::FIRST);
        (NodeLog::new(history, Live::Standby(positions.clone()), LogBranch::unrecorded()), positions)
    }
    fn fork(lsn: u64) -> TimelineHistory {
        let one = TimelineHistory::root(TimelineId::FIRST);
        one.fork(TimelineId::new(2), at(lsn), "test", BranchId::new(2)).unwrap()
    }

    #[derive(Default)]
    struct Told(Mutex<Vec<(u64, Lsn, Lsn)>>);
    impl BranchObserver for Told {
        fn branched(&self, state: &LogState) {
            self.0.lock().push((state.generation(), state.kept(), state.flushed()));
        }
    }

    #[test]
    fn a_cut_takes_every_position_back_in_one_step_and_tells_all() {
        let (log, before) = standby(300, 250, 100);
        let told = Arc::new(Told::default());
        log.observe(told.clone());
        let now = log.branch(fork(150), at(120)).unwrap();
        let state = log.state();
        assert_eq!((now.received(), now.flushed(), now.replayed()), (at(120), at(120), at(100)));
        assert_eq!((state.flushed(), state.generation(), state.kept()), (at(120), 1, at(120)));
        assert_eq!(state.history.target(), TimelineId::new(2));
        assert_eq!(*told.0.lock(), [(1, at(120), at(120))]);
        let waits = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(waits.block_on(before.wait_flushed_past(at(250))).is_err(), "who waited is told");
        // A flush of before that ends only now moves what nobody looks at any more.
        before.set_flushed(at(300));
        assert_eq!(log.state().flushed(), at(120));
    }

    #[test]
    fn a_branch_that_leaves_behind_the_log_s_end_keeps_the_positions() {
        let (log, before) = standby(300, 250, 100);
        let now = log.branch(fork(300), at(300)).unwrap();
        assert!(Arc::ptr_eq(&before, &now));
        assert_eq!((log.state().generation(), log.state().flushed()), (1, at(250)));
    }

    #[test]
    #[should_panic(expected = "replayed")]
    fn nothing_that_was_replayed_is_cut() {
        let (log, _) = standby(300, 250, 100);
        log.branch(fork(90), at(90)).unwrap();
    }
}
