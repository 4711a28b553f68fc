//! Work on the pool of threads that may block.

use tokio::task::JoinHandle;

/// Runs `work` there. A panic in it ends the process, because it may leave frames or files half done; the
/// handle gives an error only when the runtime stops.
pub(crate) fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    host::task::blocking(move || {
        let _vital = host::vital("storage's background work");
        work()
    })
}
