//! How a running checkpoint hears of haste, and a restartpoint of a promotion, which waits for neither.

use host::sync::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What others want of a running checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Pacing {
    hurries: AtomicBool,
    gives_up: AtomicBool,
    sleep: Mutex<()>,
    wake: Condvar,
}

impl Pacing {
    /// A paced checkpoint shall hurry, or need not any more.
    pub(crate) fn hurry(&self, hurries: bool) {
        self.hurries.store(hurries, Ordering::Release);
        self.wake_up();
    }
    /// A restartpoint shall end where it is, or need not any more.
    pub(crate) fn give_up(&self, gives_up: bool) {
        self.gives_up.store(gives_up, Ordering::Release);
        self.wake_up();
    }
    pub(crate) fn gives_up(&self) -> bool {
        self.gives_up.load(Ordering::Acquire)
    }

    fn wake_up(&self) {
        let _sleep = self.sleep.lock();
        self.wake.notify_all();
    }

    /// Rests for so long, unless there is haste.
    pub(crate) fn rest(&self, rest: Duration) {
        let mut sleep = self.sleep.lock();
        if !rest.is_zero() && !self.hurries.load(Ordering::Acquire) && !self.gives_up() {
            self.wake.wait_for(&mut sleep, rest);
        }
    }
}
