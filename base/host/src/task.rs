//! Tasks of the runtime, and the ways between them and blocking work.

use std::future::Future;
use tokio::runtime::Handle;

/// Runs work that blocks on a thread for such work.
pub use tokio::task::spawn_blocking as blocking;

/// Goes around every future that becomes a task: the whole of it, at the call that spawns it.
#[inline(always)]
pub fn task<F: Future>(future: F) -> F {
    future
}

/// Waits for a future from within blocking work.
#[inline]
pub fn block_on<F: Future>(runtime: &Handle, future: F) -> F::Output {
    runtime.block_on(future)
}
