//! Work after whose panic the process must not go on: what it was changing cannot be trusted any more, and
//! whoever went on with it could make half a transaction durable. So the process ends with a PANIC line, as
//! PostgreSQL does, and crash recovery decides.
//!
//! - [`vital`] covers a stretch of code, [`vital_task`] a task without an owner that would miss it.
//! - [`Mutex`] covers what is done while it is held.
//!
//! A session's own layers are not vital: a panic there ends that session, whose destructors let go of what it
//! held. These run while the thread is panicking, and may do vital work in turn: only a panic that begins
//! inside of such work counts.

use crate::sync;
use std::fmt;
use std::future::Future;
use std::io::Write as _;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A stretch of vital code, until it is dropped.
#[derive(Debug)]
#[must_use = "covers what is done until it is dropped"]
pub struct Vital {
    what: &'static str,
    /// The panic that unwinds was there before.
    was_panicking: bool,
}

/// Begins a stretch of vital code. `what` completes "panic in".
#[inline]
pub fn vital(what: &'static str) -> Vital {
    Vital { what, was_panicking: std::thread::panicking() }
}

impl Drop for Vital {
    #[inline]
    fn drop(&mut self) {
        if std::thread::panicking() && !self.was_panicking {
            end_process(self.what);
        }
    }
}

/// The panic itself has been told by the panic hook: where and what.
#[cold]
fn end_process(what: &str) -> ! {
    let line = format!("PANIC:  panic in {what}: the process ends, and the next start recovers\n");
    // There is nobody else to tell.
    let _ = std::io::stderr().write_all(line.as_bytes());
    std::process::abort()
}

/// A task that is vital as a whole. Dropping it is no end of the process.
#[derive(Debug)]
#[must_use = "does nothing unless it is polled"]
pub struct VitalTask<F> {
    what: &'static str,
    task: Pin<Box<F>>,
}

/// Makes a task vital. `what` completes "panic in".
pub fn vital_task<F: Future>(what: &'static str, task: F) -> VitalTask<F> {
    VitalTask { what, task: Box::pin(task) }
}

impl<F: Future> Future for VitalTask<F> {
    type Output = F::Output;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _vital = vital(self.what);
        self.task.as_mut().poll(cx)
    }
}

/// A lock whose holder's panic ends the process: for state that several share, and that is never seen half
/// changed.
#[derive(Default)]
pub struct Mutex<T>(sync::Mutex<T>);

/// The right to a [`Mutex`]'s value.
#[derive(Debug)]
#[must_use = "gives the lock back at once"]
pub struct MutexGuard<'a, T> {
    // Dropped first: the process ends before anybody else gets the lock.
    _vital: Vital,
    value: sync::MutexGuard<'a, T>,
}

impl<T> Mutex<T> {
    /// A free lock.
    pub const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }
    /// Takes the lock, waiting for it.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard::new(self.0.lock())
    }
    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().map(MutexGuard::new)
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'a, T> MutexGuard<'a, T> {
    #[inline]
    fn new(value: sync::MutexGuard<'a, T>) -> Self {
        Self { _vital: vital("a change of shared state"), value }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does vital work while its thread panics.
    struct Tidies<'a>(&'a Mutex<u32>);

    impl Drop for Tidies<'_> {
        fn drop(&mut self) {
            let _vital = vital("a destructor");
            *self.0.lock() += 1;
        }
    }

    #[test]
    fn a_destructor_does_vital_work_while_a_session_unwinds() {
        let shared = Mutex::new(1);
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _tidies = Tidies(&shared);
            drop(shared.lock());
            panic!("in the session's own layer");
        }));
        assert!(unwound.is_err());
        assert_eq!(*shared.lock(), 2);
    }
}
