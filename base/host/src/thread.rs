//! Threads of our own, besides those of the runtime, and what blocks the thread that asks for it.

use std::io;

/// Runs work on a stack of its own of this many bytes, on the same thread.
pub use stacker::grow as with_stack;
/// Bytes of stack that are left, where the platform tells.
pub use stacker::remaining_stack as stack_left;
/// A turn of a loop that waits for what another thread does in a moment.
pub use std::hint::spin_loop as spin;
pub use std::thread::{JoinHandle, Thread, current, park, park_timeout, sleep, yield_now};
/// Values of which each thread has its own. They are const, in a `Cell` or a `RefCell`.
pub use std::thread_local as local;

/// Starts a thread.
///
/// # Errors
///
/// Fails if the system gives none.
#[inline]
pub fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// Runs `other` on a thread of its own while `here` runs; returns when both are over.
///
/// # Errors
///
/// Fails if the system gives no thread; `here` did not run then.
///
/// # Panics
///
/// If `other` panicked.
#[inline]
pub fn beside<R>(name: &str, other: impl FnOnce() + Send, here: impl FnOnce() -> R) -> io::Result<R> {
    std::thread::scope(|scope| {
        std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, other)?;
        Ok(here())
    })
}

/// Starts a thread with a runtime of its own, on which `future` runs. What it returns is dropped when all
/// blocking work that it began is over, too.
///
/// # Errors
///
/// Fails if the system gives no thread or no runtime.
pub fn drive<T: 'static>(name: &str, future: impl Future<Output = T> + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    spawn(name, move || {
        let last = runtime.block_on(future);
        drop(runtime);
        drop(last);
    })?;
    Ok(())
}
