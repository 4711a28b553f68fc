//! The runtime that sessions run on, and what keeps the work of one of its threads from holding up others.
//!
//! One thread of the runtime waits for the network on behalf of all. When it is called by a single task it
//! goes to work on that without calling anybody, and if the task computes for long, nobody waits for the
//! network: the other threads sleep until somebody calls. What is known to take long leaves the runtime
//! (`sql_types::work::aside`); what was not known to is what the pulse is for. With as many such computations
//! as there are threads, all wait.

use crate::error::ServerError;
use host::task::task;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};

/// Threads for what the engine itself does besides its tasks: reading pages, flushing, sweeping.
const ENGINE_THREADS: usize = 512;

/// So long, at most, the network waits for a thread while one is idle.
const PULSE: Duration = Duration::from_millis(100);

/// A runtime with so many threads (0 is one a processor) for so many sessions.
pub(crate) fn build(threads: usize, sessions: usize) -> Result<Runtime, ServerError> {
    let mut builder = Builder::new_multi_thread();
    if threads > 0 {
        builder.worker_threads(threads);
    }
    builder
        // Besides what the engine does there itself, each session may compute on a thread of its own.
        .max_blocking_threads(ENGINE_THREADS.saturating_add(sessions))
        .enable_all()
        .thread_name("plimsoll")
        .build()
        .map_err(|error| ServerError::new(format!("could not start the runtime: {error}")))
}

/// Calls an idle thread of a runtime again and again, until it is dropped.
pub(crate) struct Pulse {
    /// The thread looks whether it is there.
    _alive: Arc<()>,
}

impl Pulse {
    /// Starts the thread that calls.
    ///
    /// # Errors
    ///
    /// Fails if the system gives no thread.
    pub(crate) fn start(runtime: Handle) -> io::Result<Self> {
        let alive = Arc::new(());
        let beating = Arc::downgrade(&alive);
        host::thread::spawn("pulse", move || {
            while beating.strong_count() > 0 {
                host::thread::sleep(PULSE);
                // Whoever wakes up for it waits for the network afterwards if nobody does.
                drop(runtime.spawn(task(std::future::ready(()))));
            }
        })?;
        Ok(Self { _alive: alive })
    }
}

#[cfg(test)]
mod tests {
    use super::{Pulse, build};
    use host::sync::channel;
    use host::task::task;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};
    use tokio::io::AsyncReadExt as _;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Runs `then` on the runtime when a byte has come; the end to send it by.
    fn when_called(runtime: &tokio::runtime::Runtime, then: impl FnOnce() + Send + 'static) -> UnixStream {
        let (near, far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let (listens, heard) = channel(1);
        runtime.spawn(task(async move {
            let mut far = tokio::net::UnixStream::from_std(far).unwrap();
            listens.send(()).unwrap();
            far.read_u8().await.unwrap();
            then();
        }));
        heard.recv_timeout(PATIENCE).unwrap();
        near
    }

    #[test]
    fn a_computation_that_nobody_took_for_long_holds_up_nobody_else() {
        let runtime = build(2, 1).unwrap();
        let _pulse = Pulse::start(runtime.handle().clone()).unwrap();
        let answered = Arc::new(AtomicBool::new(false));
        let (computes, computing) = channel(1);
        let end = answered.clone();
        let mut long = when_called(&runtime, move || {
            computes.send(()).unwrap();
            let began = Instant::now();
            while !end.load(Ordering::Relaxed) && began.elapsed() < PATIENCE {
                std::hint::spin_loop();
            }
        });
        let (answers, answer) = channel(1);
        let mut other = when_called(&runtime, move || answers.send(()).unwrap());
        long.write_all(b"!").unwrap();
        computing.recv_timeout(PATIENCE).unwrap();
        other.write_all(b"!").unwrap();
        let heard = answer.recv_timeout(PATIENCE / 2);
        answered.store(true, Ordering::Relaxed);
        assert!(heard.is_ok(), "the other waited for it");
    }
}
