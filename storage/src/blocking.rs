//! Work on the pool of threads that may block.

use host::task::Blocking;

/// Runs `work` there. A panic in it ends the process, because it may leave frames or files half done; the
/// handle gives an error only when the runtime stops.
pub(crate) fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Blocking<T> {
    host::task::blocking(move || {
        let _vital = host::vital("storage's background work");
        work()
    })
}
