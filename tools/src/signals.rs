//! The signals that give a command up which has something to tidy.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a user sends to give a command up: SIGINT, SIGTERM and SIGHUP, which no longer end the process by
/// themselves.
pub struct Signals([Signal; 3]);

impl Signals {
    /// Listens from now on.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
