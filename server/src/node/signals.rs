//! The signals that PostgreSQL takes.

use super::Node;
use crate::configuration::Ground;
use crate::state::{NodeState, StopMode};
use nix::sys::signal::Signal as Number;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The file of a data directory that says why the last promotion asked for by a signal was refused. Who asks
/// removes it first.
pub const PROMOTION_REFUSED: &str = "plimsoll/promotion_refused";

/// The file of a data directory that asks, together with SIGUSR1, for a new log file.
pub const LOGROTATE_SIGNAL_FILE: &str = "logrotate";

/// The signals as they come, from the moment this is made: from then on none of them ends the process by
/// itself.
#[derive(Debug)]
pub(crate) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    user1: Signal,
}

/// PostgreSQL's postmaster reacts to none of them, but without a handler each would end the process or stop
/// it. Of the others that it outlives, SIGPIPE is ignored by every Rust program, and the system ignores
/// SIGURG, SIGWINCH and SIGCONT.
const MEANINGLESS: [Number; 5] =
    [Number::SIGUSR2, Number::SIGALRM, Number::SIGTTIN, Number::SIGTTOU, Number::SIGXFSZ];

impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        for number in MEANINGLESS {
            // The handler stays, although nobody listens.
            let _ = signal(SignalKind::from_raw(number as i32))?;
        }
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    /// Reacts to signals until the node has stopped.
    pub(crate) async fn listen(mut self, node: Arc<Node>, end: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                _ = self.quit.recv() => node.life.request_stop(StopMode::Immediate),
                _ = self.interrupt.recv() => node.life.request_stop(StopMode::Fast),
                _ = self.terminate.recv() => node.life.request_stop(StopMode::Smart),
                _ = self.hangup.recv() => node.reload(),
                _ = self.user1.recv() => {
                    look_for_promotion(&node);
                    look_for_rotation(&node.ground);
                }
            }
        }
    }
}

/// `pg_ctl promote` leaves a file and then signals.
fn look_for_promotion(node: &Node) {
    if take_promote_file(&node.ground) {
        node.ground.log.log("received promote request");
        if let Err(refusal) = node.request_promotion() {
            node.tell_refused_promotion(&refusal);
        }
    }
}

/// `pg_ctl logrotate` does the same.
fn look_for_rotation(ground: &Ground) {
    if take_file(ground, LOGROTATE_SIGNAL_FILE) {
        ground.log.rotate();
    }
}

/// Time between two looks for promote_trigger_file.
const TRIGGER_INTERVAL: Duration = Duration::from_millis(500);

/// Promotes the standby when promote_trigger_file is there. Nobody tells of that: it is looked for again and
/// again, as in PostgreSQL.
pub(super) async fn watch_trigger_file(node: Arc<Node>, end: CancellationToken) {
    let (mut states, mut reloads) = (node.life.states(), node.ground.reloads());
    loop {
        let name = node.ground.config().promote_trigger_file.clone();
        let left = states.wait_for(|state| matches!(state, NodeState::Running | NodeState::Stopping(_)));
        tokio::select! {
            biased;
            () = end.cancelled() => return,
            _ = left => return,
            changed = reloads.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            () = tokio::time::sleep(TRIGGER_INTERVAL), if !name.is_empty() => {}
        }
        if take_file(&node.ground, &name) {
            node.ground.log.log(format!("promote trigger file found: {name}"));
            // A refusal is in the log.
            let _ = node.request_promotion();
        }
    }
}

/// Removes that file, if it is there. One that nobody has signalled for by the next start, or by the end of
/// a promotion, asks for nothing more.
pub(super) fn take_promote_file(ground: &Ground) -> bool {
    take_file(ground, "promote")
}

/// Removes a file that asks for a promotion; its path may be one from the data directory.
fn take_file(ground: &Ground, name: &str) -> bool {
    match ground.host.disk.remove_file(&ground.data_dir.join(name)) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => {
            ground.log.warning(format!("could not remove file \"{name}\": {error}"));
            false
        }
    }
}
