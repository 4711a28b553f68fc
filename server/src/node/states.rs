//! Which state a node is in, every way from one state to another, and who may ask for what.

use super::options::ServerOptions;
use super::rewind::Tries;
use crate::configuration::Ground;
use crate::lock_files::{PidFile, Status};
use crate::replication::handover::Order;
use crate::replication::rewinding::why_held;
use crate::state::{NodeState, StopMode};
use host::sync::Mutex;
use replica::directory_id::DirectoryId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Whether there is a way from one state to another. These are all of them:
///
/// | from       | to         | when                                           | in     | fence asked  |
/// |------------|------------|------------------------------------------------|--------|--------------|
/// | Starting   | Running    | a primary is open and all is redone            | `run`  | in `open`    |
/// | Starting   | Recovering | there is a signal file: redo begins            | `open` | no           |
/// | Recovering | HotStandby | the data are consistent, and hot_standby is on | `open` | no           |
/// | Recovering | Running    | the promotion is done                          | `run`  | in `promote` |
/// | HotStandby | Running    | the promotion is done                          | `run`  | in `promote` |
/// | Running    | Stopping   | a handover is asked for: a fast stop           | `handover` | no       |
/// | Recovering | Stopping   | a standby is to rewind itself: a fast stop     | `rewind` | no         |
/// | HotStandby | Stopping   | the same                                       | `rewind` | no         |
/// | all others | Stopping   | a stop is asked for, or a part failed          | `stop` | no           |
/// | Stopping   | Stopping   | a stronger stop was asked for                  | `stop` | no           |
///
/// A stop is never taken back. After a handover's or a rewind's the process may begin a new life in place,
/// with a table of its own: that start asks the fence, and the marker of an undecided handover, as any other
/// does.
///
/// The fence is asked before each way into Running, since only there commits are
/// acknowledged: a primary that starts looks at its record and at its peers and runs fenced if it was
/// replaced; a standby that is fenced on its branch is not promoted.
fn leads(from: NodeState, to: NodeState) -> bool {
    use NodeState::{HotStandby, Recovering, Running, Starting, Stopping};
    match (from, to) {
        (Starting, Running | Recovering) => true,
        (Recovering, HotStandby | Running) => true,
        (HotStandby, Running) => true,
        (Stopping(now), Stopping(mode)) => mode > now,
        (_, Stopping(_)) => true,
        _ => false,
    }
}

/// What postmaster.pid says of a state.
fn status(state: NodeState, hot_standby: bool) -> Status {
    match state {
        NodeState::Starting => Status::Starting,
        // As PostgreSQL: who waits for the start waits for reads, if there will be any.
        NodeState::Recovering if hot_standby => Status::Starting,
        NodeState::Recovering => Status::Standby,
        NodeState::HotStandby | NodeState::Running => Status::Ready,
        NodeState::Stopping(_) => Status::Stopping,
    }
}

/// What the log says of a state; None if nothing.
fn told(state: NodeState) -> Option<&'static str> {
    match state {
        NodeState::HotStandby => Some("database system is ready to accept read-only connections"),
        NodeState::Running => Some("database system is ready to accept connections"),
        NodeState::Starting | NodeState::Recovering | NodeState::Stopping(_) => None,
    }
}

/// The setting in_hot_standby in a state; None leaves it as it is.
fn in_hot_standby(state: NodeState) -> Option<&'static str> {
    match state {
        NodeState::Recovering | NodeState::HotStandby => Some("on"),
        NodeState::Running => Some("off"),
        NodeState::Starting | NodeState::Stopping(_) => None,
    }
}

/// A node's life: its state, and what is asked of it.
pub(crate) struct Life {
    ground: Arc<Ground>,
    state: watch::Sender<NodeState>,
    stop: watch::Sender<Option<StopMode>>,
    promote: watch::Sender<bool>,
    handover: watch::Sender<Option<Arc<Order>>>,
    rewind: watch::Sender<bool>,
    /// How rewinds went.
    pub(super) tries: Mutex<Tries>,
    /// Who this node was for the others in the process's life before this one.
    pub(super) member: Mutex<Option<DirectoryId>>,
    /// Whoever runs this node starts it again when it asks for that.
    pub(crate) starts_again: bool,
    /// Signals are for this node.
    pub(super) hears_signals: bool,
    /// There while the data directory is this process's. Also serialises the ways from state to state.
    pid_file: Mutex<Option<PidFile>>,
}

impl Life {
    pub(super) fn new(ground: &Arc<Ground>, options: &ServerOptions) -> Self {
        Self {
            ground: ground.clone(),
            state: watch::Sender::new(NodeState::Starting),
            stop: watch::Sender::new(None),
            promote: watch::Sender::new(false),
            handover: watch::Sender::new(None),
            rewind: watch::Sender::new(false),
            tries: Mutex::default(),
            member: Mutex::default(),
            starts_again: options.starts_again,
            hears_signals: options.signals,
            pid_file: Mutex::new(None),
        }
    }

    pub(crate) fn state(&self) -> NodeState {
        *self.state.borrow()
    }
    pub(crate) fn states(&self) -> watch::Receiver<NodeState> {
        self.state.subscribe()
    }

    /// Goes to another state. False: the table has no way there, and the node stays where it is.
    pub(super) fn go(&self, to: NodeState) -> bool {
        let pid_file = self.pid_file.lock();
        if !leads(self.state(), to) {
            return false;
        }
        // Before others hear of the state, so that what they read then fits it.
        if let Some(value) = in_hot_standby(to) {
            self.ground.set_computed(&[("in_hot_standby", value)]);
        }
        self.state.send_replace(to);
        // As PostgreSQL, before the file: sessions are let in by now, and a disk may take its time.
        if let Some(told) = told(to) {
            self.ground.log.log(told);
        }
        let status = status(to, self.ground.config().hot_standby);
        if let Some(Err(error)) = pid_file.as_ref().map(|file| file.set_status(status)) {
            self.ground.log.warning(format!("could not write to postmaster.pid: {error}"));
        }
        true
    }

    pub(super) fn set_pid_file(&self, file: PidFile) {
        *self.pid_file.lock() = Some(file);
    }
    /// The directory is free for another server once this is dropped.
    pub(super) fn release_directory(&self) -> Option<PidFile> {
        self.pid_file.lock().take()
    }
    /// Whether postmaster.pid is another's now, or gone.
    pub(super) fn has_lost_directory(&self) -> bool {
        let log = |line: String| self.ground.log.log(line);
        self.pid_file.lock().as_ref().is_some_and(|file| !file.is_ours(log))
    }

    /// Asks for a stop; a stronger mode replaces a weaker one.
    pub(crate) fn request_stop(&self, mode: StopMode) {
        self.stop.send_if_modified(|now| {
            let stronger = now.is_none_or(|now| now < mode);
            if stronger {
                *now = Some(mode);
            }
            stronger
        });
    }
    pub(super) fn stops(&self) -> watch::Receiver<Option<StopMode>> {
        self.stop.subscribe()
    }

    /// Asks a primary to hand its role over. False: it is none, stops, or does so already.
    pub(crate) fn request_handover(&self, order: Order) -> bool {
        // Serialised with the ways from state to state.
        let _state = self.pid_file.lock();
        let free = self.state() == NodeState::Running && self.stop.borrow().is_none();
        free && self.handover.send_if_modified(|now| {
            let first = now.is_none();
            if first {
                *now = Some(Arc::new(order));
            }
            first
        })
    }
    pub(super) fn handovers(&self) -> watch::Receiver<Option<Arc<Order>>> {
        self.handover.subscribe()
    }

    /// Asks a standby to end its recovery and rewind itself. An error says why it does not; that of a node
    /// which is on its way out already, or to a promotion, says nothing.
    pub(crate) fn request_rewind(&self) -> Result<(), Option<String>> {
        let _state = self.pid_file.lock();
        if !self.starts_again {
            return Err(Some("it is part of another program, which does not start it again".to_owned()));
        }
        let is_standby = matches!(self.state(), NodeState::Recovering | NodeState::HotStandby);
        if !is_standby || self.stop.borrow().is_some() || *self.promote.borrow() {
            return Err(None);
        }
        if let Some(why) = why_held(&self.ground) {
            return Err(Some(why));
        }
        let left = self.tries.lock().left(self.ground.host.clock.monotonic());
        if left > Duration::ZERO {
            return Err(Some(format!(
                "it did, or tried to, and does not again for {} s",
                left.as_secs() + 1
            )));
        }
        self.rewind.send_replace(true);
        Ok(())
    }
    pub(super) fn rewinds(&self) -> watch::Receiver<bool> {
        self.rewind.subscribe()
    }

    pub(super) fn request_promotion(&self) {
        self.promote.send_replace(true);
    }
    /// Takes back what was asked for; whether anything was.
    pub(super) fn withdraw_promotion(&self) -> bool {
        self.promote.send_if_modified(std::mem::take)
    }
    pub(super) fn promotions(&self) -> watch::Receiver<bool> {
        self.promote.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_never_taken_back_and_a_primary_never_becomes_a_standby() {
        use NodeState::{HotStandby, Recovering, Running, Starting, Stopping};
        let (smart, fast) = (Stopping(StopMode::Smart), Stopping(StopMode::Fast));
        for state in [Starting, Recovering, HotStandby, Running] {
            assert!(leads(state, smart) && !leads(smart, state), "{state:?}");
            assert!(!leads(state, Starting) && !leads(Running, state), "{state:?}");
        }
        assert!(leads(smart, fast) && !leads(fast, smart) && !leads(fast, fast));
    }
}
