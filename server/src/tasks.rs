//! The tasks of a node: who owns them and what ends them.

use host::task::task;
use host::task::{Blocking, in_place};
use host::{vital, vital_task};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a task of the background is called when a panic in it ends the process.
const BACKGROUND: &str = "a background task";

/// The tasks of a node and what ends them.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    /// Ends the background tasks.
    pub(crate) background: CancellationToken,
    /// All background tasks.
    pub(crate) tracker: TaskTracker,
    /// Ends the tasks that write to the database, which a stop does before its checkpoint.
    pub(crate) writing: CancellationToken,
    /// Those tasks.
    pub(crate) writers: TaskTracker,
    /// Sessions, ended by their handles, or at once.
    pub(crate) sessions: TaskTracker,
    /// Ends the sessions at once.
    pub(crate) abort_sessions: CancellationToken,
}

impl Tasks {
    /// Runs a task that writes to the database until a stop ends those. A panic in it ends the process, since
    /// nobody else would do its work.
    pub(crate) fn spawn_writer(&self, work: impl Future<Output = ()> + Send + 'static) {
        // Boxed before it is wrapped, so that these wrappers are compiled once.
        let work: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(work);
        let (token, work) = (self.writing.clone(), vital_task(BACKGROUND, work));
        self.writers.spawn(task(async move {
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                () = work => {}
            }
        }));
    }

    /// The same for a task that has an end of its own, for which a stop waits.
    pub(crate) fn spawn_writer_to_its_end(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.writers.spawn(task(vital_task(BACKGROUND, work)));
    }

    /// Ends the tasks that write to the database.
    pub(crate) async fn stop_writers(&self) {
        self.writing.cancel();
        self.writers.close();
        self.writers.wait().await;
    }
}

/// Runs a background task's work on the pool of threads that may block. A panic in it ends the process, like
/// one in the task itself.
pub(crate) fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Blocking<T> {
    host::task::blocking(move || {
        let _vital = vital(BACKGROUND);
        work()
    })
}

/// Work that waits for the disk, while other tasks of this thread go on elsewhere. A thread with a runtime of
/// its own has no others to wait.
pub(crate) fn beside_others<R>(work: impl FnOnce() -> R) -> R {
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => in_place(work),
        _ => work(),
    }
}
