//! The signals that PostgreSQL takes.

use crate::StopMode;
use crate::node::Node;
use host::write_file_durably;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The signals as they come, from the moment this is made: from then on none of them ends the process by itself.
pub(crate) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    user1: Signal,
}

impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
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
                _ = self.quit.recv() => node.request_stop(StopMode::Immediate),
                _ = self.interrupt.recv() => node.request_stop(StopMode::Fast),
                _ = self.terminate.recv() => node.request_stop(StopMode::Smart),
                _ = self.hangup.recv() => node.reload(),
                _ = self.user1.recv() => look_for_promotion(&node),
            }
        }
    }
}

/// `pg_ctl promote` leaves a file and then signals.
fn look_for_promotion(node: &Node) {
    let path = node.data_dir.join("promote");
    match node.host.disk.remove_file(&path) {
        Ok(()) => {
            node.log.log("received promote request");
            // Who has asked looks for the refusal here; the log has it too.
            if let Err(refusal) = node.request_promotion() {
                let path = node.data_dir.join(crate::PROMOTION_REFUSED);
                let _ = write_file_durably(&*node.host.disk, &path, refusal.message.as_bytes());
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => node.log.warning(format!("could not remove file \"promote\": {error}")),
    }
}
