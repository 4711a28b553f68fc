//! Tasks of the runtime, and the ways between them and blocking work.

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendError;

/// Such work, whose end can be waited for.
pub use tokio::task::JoinHandle as Blocking;
/// Turns the thread into one of the work's own; other tasks of its runtime, which has several threads, go on
/// elsewhere.
pub use tokio::task::block_in_place as in_place;
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

/// Takes from a channel within blocking work; None when nothing more comes.
#[inline]
pub fn blocking_recv<T>(from: &mut mpsc::Receiver<T>) -> Option<T> {
    from.blocking_recv()
}

/// Puts into a channel within blocking work, waiting until there is room.
///
/// # Errors
///
/// Fails if nobody takes anything more; the value comes back.
#[inline]
pub fn blocking_send<T>(to: &mpsc::Sender<T>, value: T) -> Result<(), SendError<T>> {
    to.blocking_send(value)
}
