//! Locks, conditions and channels between threads: who waits in a simulation is a suspended fiber.

use crate::fiber::{self, Strand};
use crate::thread::{self, Thread};
use parking_lot::lock_api::{self, GuardSend};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvError, SendError};
use std::time::{Duration, Instant};

/// A lock.
pub type Mutex<T> = lock_api::Mutex<RawMutex, T>;
/// The right to a [`Mutex`]'s value.
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;
/// A lock that several readers share.
pub type RwLock<T> = lock_api::RwLock<RawRwLock, T>;
/// The right to read a [`RwLock`]'s value.
pub type RwLockReadGuard<'a, T> = lock_api::RwLockReadGuard<'a, RawRwLock, T>;
/// The right to change a [`RwLock`]'s value.
pub type RwLockWriteGuard<'a, T> = lock_api::RwLockWriteGuard<'a, RawRwLock, T>;

/// Fibers that wait for a lock.
struct Waiting {
    any: AtomicBool,
    strands: parking_lot::Mutex<Vec<Arc<Strand>>>,
}

impl Waiting {
    #[allow(clippy::declare_interior_mutable_const, reason = "how lock_api makes locks")]
    const NOBODY: Self = Self { any: AtomicBool::new(false), strands: parking_lot::Mutex::new(Vec::new()) };

    /// Tries until it succeeds, suspended in between; `otherwise` blocks what is no fiber.
    fn take(&self, mut attempt: impl FnMut() -> bool, otherwise: impl FnOnce()) {
        fiber::at_lock();
        if attempt() {
            return;
        }
        let Some(strand) = fiber::current() else { return otherwise() };
        loop {
            self.strands.lock().push(strand.clone());
            self.any.store(true, Ordering::Relaxed);
            if attempt() {
                return;
            }
            fiber::suspend(&strand);
            if attempt() {
                return;
            }
        }
    }

    /// The lock was given back.
    fn wake(&self) {
        if self.any.swap(false, Ordering::Relaxed) {
            let strands = std::mem::take(&mut *self.strands.lock());
            strands.iter().for_each(|strand| strand.wake());
        }
    }
}

/// What is below [`Mutex`].
pub struct RawMutex {
    real: parking_lot::RawMutex,
    waiting: Waiting,
}

// SAFETY: the real lock decides who has it.
unsafe impl lock_api::RawMutex for RawMutex {
    #[allow(clippy::declare_interior_mutable_const, reason = "how lock_api makes locks")]
    const INIT: Self = Self { real: parking_lot::RawMutex::INIT, waiting: Waiting::NOBODY };
    type GuardMarker = GuardSend;

    fn lock(&self) {
        self.waiting.take(|| self.real.try_lock(), || self.real.lock());
    }
    fn try_lock(&self) -> bool {
        self.real.try_lock()
    }
    unsafe fn unlock(&self) {
        // SAFETY: the caller has the lock.
        unsafe { self.real.unlock() };
        self.waiting.wake();
    }
    fn is_locked(&self) -> bool {
        self.real.is_locked()
    }
}

/// What is below [`RwLock`].
pub struct RawRwLock {
    real: parking_lot::RawRwLock,
    waiting: Waiting,
}

// SAFETY: the real lock decides who has it.
unsafe impl lock_api::RawRwLock for RawRwLock {
    #[allow(clippy::declare_interior_mutable_const, reason = "how lock_api makes locks")]
    const INIT: Self = Self { real: parking_lot::RawRwLock::INIT, waiting: Waiting::NOBODY };
    type GuardMarker = GuardSend;

    fn lock_shared(&self) {
        self.waiting.take(|| self.real.try_lock_shared(), || self.real.lock_shared());
    }
    fn try_lock_shared(&self) -> bool {
        self.real.try_lock_shared()
    }
    unsafe fn unlock_shared(&self) {
        // SAFETY: the caller has a share.
        unsafe { self.real.unlock_shared() };
        self.waiting.wake();
    }
    fn lock_exclusive(&self) {
        self.waiting.take(|| self.real.try_lock_exclusive(), || self.real.lock_exclusive());
    }
    fn try_lock_exclusive(&self) -> bool {
        self.real.try_lock_exclusive()
    }
    unsafe fn unlock_exclusive(&self) {
        // SAFETY: the caller has the lock.
        unsafe { self.real.unlock_exclusive() };
        self.waiting.wake();
    }
    fn is_locked(&self) -> bool {
        self.real.is_locked()
    }
}

/// Whether a wait ended because its time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// It did.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

/// A condition that holders of a [`Mutex`] wait for.
#[derive(Default)]
pub struct Condvar {
    waiting: parking_lot::Mutex<VecDeque<(Arc<AtomicBool>, Thread)>>,
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condvar with {} waiting", self.waiting.lock().len())
    }
}

impl Condvar {
    /// One that nobody waits for.
    pub const fn new() -> Self {
        Self { waiting: parking_lot::Mutex::new(VecDeque::new()) }
    }
    /// Wakes one who waits, the first; whether there was one.
    pub fn notify_one(&self) -> bool {
        let first = self.waiting.lock().pop_front();
        first.is_some_and(|(told, thread)| {
            told.store(true, Ordering::SeqCst);
            thread.unpark();
            true
        })
    }
    /// Wakes all who wait; how many.
    pub fn notify_all(&self) -> usize {
        let all = std::mem::take(&mut *self.waiting.lock());
        for (told, thread) in &all {
            told.store(true, Ordering::SeqCst);
            thread.unpark();
        }
        all.len()
    }
    /// Gives the lock back, waits to be woken, and takes the lock again.
    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
        let told = self.enter();
        MutexGuard::unlocked(guard, || {
            while !told.load(Ordering::SeqCst) {
                thread::park();
            }
        });
    }
    /// As [`Condvar::wait`], at most for a time.
    pub fn wait_for<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, limit: Duration) -> WaitTimeoutResult {
        let told = self.enter();
        let until = now().checked_add(limit);
        MutexGuard::unlocked(guard, || {
            while !told.load(Ordering::SeqCst) {
                match until.map(|until| until.saturating_duration_since(now())) {
                    Some(Duration::ZERO) => break,
                    Some(left) => thread::park_timeout(left),
                    None => thread::park(),
                }
            }
        });
        let was_told = told.load(Ordering::SeqCst);
        if !was_told {
            self.waiting.lock().retain(|(other, _)| !Arc::ptr_eq(other, &told));
        }
        WaitTimeoutResult(!was_told)
    }

    fn enter(&self) -> Arc<AtomicBool> {
        let told = Arc::new(AtomicBool::new(false));
        self.waiting.lock().push_back((told.clone(), thread::current()));
        told
    }
}

/// The time that waits are measured by: the runtime's, which a simulation moves.
fn now() -> Instant {
    if fiber::in_fiber() { tokio::time::Instant::now().into_std() } else { Instant::now() }
}

/// What both ends of a channel share.
#[derive(Debug)]
struct Pipe<T> {
    state: Mutex<PipeState<T>>,
    changed: Condvar,
    bound: usize,
}

#[derive(Debug)]
struct PipeState<T> {
    values: VecDeque<T>,
    senders: usize,
    receives: bool,
}

/// The end of a channel that sends.
#[derive(Debug)]
pub struct Sender<T>(Arc<Pipe<T>>);

/// The end of a channel that receives.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Pipe<T>>);

/// A channel between threads that holds at most `bound` values, at least one.
pub fn channel<T>(bound: usize) -> (Sender<T>, Receiver<T>) {
    let state = PipeState { values: VecDeque::new(), senders: 1, receives: true };
    let pipe = Arc::new(Pipe { state: Mutex::new(state), changed: Condvar::new(), bound: bound.max(1) });
    (Sender(pipe.clone()), Receiver(pipe))
}

impl<T> Sender<T> {
    /// Sends a value, waiting for room.
    ///
    /// # Errors
    /// The receiver is gone.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        let mut state = self.0.state.lock();
        while state.receives && state.values.len() >= self.0.bound {
            self.0.changed.wait(&mut state);
        }
        if !state.receives {
            return Err(SendError(value));
        }
        state.values.push_back(value);
        drop(state);
        self.0.changed.notify_all();
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.state.lock().senders += 1;
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.state.lock().senders -= 1;
        self.0.changed.notify_all();
    }
}

impl<T> Receiver<T> {
    /// Takes the next value, waiting for it.
    ///
    /// # Errors
    /// There is none and all senders are gone.
    pub fn recv(&self) -> Result<T, RecvError> {
        let mut state = self.0.state.lock();
        loop {
            if let Some(value) = state.values.pop_front() {
                drop(state);
                self.0.changed.notify_all();
                return Ok(value);
            }
            if state.senders == 0 {
                return Err(RecvError);
            }
            self.0.changed.wait(&mut state);
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.receives = false;
        state.values.clear();
        drop(state);
        self.0.changed.notify_all();
    }
}

/// Takes values until all senders are gone.
#[derive(Debug)]
pub struct IntoIter<T>(Receiver<T>);

impl<T> Iterator for IntoIter<T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;
    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self)
    }
}
