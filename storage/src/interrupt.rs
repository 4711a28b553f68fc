//! A session's cancel switch: one bit that ends every wait of its transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// Cancels the waits of one session's transactions; cloning shares the switch.
///
/// The session keeps one for its life: the server sets it from a CancelRequest, a timeout or a closed
/// connection, and the session clears it when the next statement begins.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<Switch>);

#[derive(Debug, Default)]
struct Switch {
    set: AtomicBool,
    changed: Notify,
}

impl Interrupt {
    /// A switch that is off.
    pub fn new() -> Self {
        Self::default()
    }
    /// Switches on: present and later waits end with [`crate::Error::Cancelled`] until [`Interrupt::clear`].
    pub fn cancel(&self) {
        self.0.set.store(true, Ordering::Release);
        self.0.changed.notify_waiters();
    }
    /// Switches off.
    pub fn clear(&self) {
        self.0.set.store(false, Ordering::Release);
    }
    /// Whether it is on.
    pub fn is_cancelled(&self) -> bool {
        self.0.set.load(Ordering::Acquire)
    }
    /// Waits until it is on.
    pub async fn cancelled(&self) {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            // Registered before the look, so that a switch thrown in between is not missed.
            changed.as_mut().enable();
            if self.is_cancelled() {
                return;
            }
            changed.await;
        }
    }
}
