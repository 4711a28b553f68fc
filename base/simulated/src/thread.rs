//! Threads: fibers in a simulation.

use crate::fiber::{self, Fiber, Strand};
use crate::sync::Mutex;
use crate::world::World;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

pub use crate::local;
pub use crate::stack::{stack_left, with_stack};

/// A thread, to be woken.
#[derive(Clone, Debug)]
pub struct Thread(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Real(std::thread::Thread),
    Simulated(Arc<Strand>),
}

impl Thread {
    /// Lets it go on if it is parked, or not park next time.
    pub fn unpark(&self) {
        match &self.0 {
            Kind::Real(thread) => thread.unpark(),
            Kind::Simulated(strand) => strand.unpark(),
        }
    }
    /// Its name.
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            Kind::Real(thread) => thread.name(),
            Kind::Simulated(strand) => Some(strand.name()),
        }
    }
}

/// The thread that calls this.
pub fn current() -> Thread {
    Thread(match fiber::current() {
        Some(strand) => Kind::Simulated(strand),
        None => Kind::Real(std::thread::current()),
    })
}

/// Waits until it is unparked. May return for no reason.
pub fn park() {
    match fiber::current() {
        Some(strand) => {
            while !strand.take_token() {
                fiber::suspend(&strand);
            }
        }
        None => std::thread::park(),
    }
}

/// Waits until it is unparked, at most for a time. May return for no reason.
pub fn park_timeout(limit: Duration) {
    let Some(strand) = fiber::current() else { return std::thread::park_timeout(limit) };
    let mut alarm = std::pin::pin!(tokio::time::sleep(limit));
    while !strand.take_token() {
        let Some(waker) = strand.waker() else { return };
        if alarm.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            return;
        }
        fiber::suspend(&strand);
    }
}

/// Waits for a time.
pub fn sleep(time: Duration) {
    let Some(strand) = fiber::current() else { return std::thread::sleep(time) };
    let mut alarm = std::pin::pin!(tokio::time::sleep(time));
    while let Some(waker) = strand.waker()
        && alarm.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
    {
        fiber::suspend(&strand);
    }
}

/// Lets others go first. Who does so again and again waits for somebody who may wait for time to pass.
pub fn yield_now() {
    match fiber::current() {
        Some(strand) if strand.counts_yield() => fiber::yield_to_others(&strand),
        Some(_) => sleep(Duration::from_millis(1)),
        None => std::thread::yield_now(),
    }
}

/// A turn of a short loop that waits for what another thread does in a moment. That one may stand still for
/// a time here.
pub fn spin() {
    match fiber::current() {
        Some(_) => yield_now(),
        None => std::hint::spin_loop(),
    }
}

/// A thread whose end can be waited for.
#[derive(Debug)]
pub struct JoinHandle<T>(Joins<T>);

#[derive(Debug)]
enum Joins<T> {
    Real(std::thread::JoinHandle<T>),
    Simulated { strand: Arc<Strand>, end: Arc<End<T>> },
}

/// A fiber's result, and who waits for it.
#[derive(Debug)]
struct End<T>(Mutex<(Option<T>, Vec<Thread>)>);

impl<T> JoinHandle<T> {
    /// Waits for its end.
    ///
    /// # Errors
    /// Its panic.
    pub fn join(self) -> std::thread::Result<T> {
        match self.0 {
            Joins::Real(handle) => handle.join(),
            Joins::Simulated { end, .. } => Ok(wait_for(&end)),
        }
    }
    /// The thread itself.
    pub fn thread(&self) -> Thread {
        Thread(match &self.0 {
            Joins::Real(handle) => Kind::Real(handle.thread().clone()),
            Joins::Simulated { strand, .. } => Kind::Simulated(strand.clone()),
        })
    }
    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            Joins::Real(handle) => handle.is_finished(),
            Joins::Simulated { end, .. } => end.0.lock().0.is_some(),
        }
    }
}

/// Waits for a fiber's end. A panic ends the simulation, so there always is one.
fn wait_for<T>(end: &End<T>) -> T {
    loop {
        {
            let mut state = end.0.lock();
            if let Some(done) = state.0.take() {
                return done;
            }
            state.1.push(current());
        }
        park();
    }
}

/// Starts a thread.
///
/// # Errors
/// The system gives none.
pub fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let (Some(world), Some(life)) = (World::current(), fiber::current_life()) else {
        let started = std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
        return Ok(JoinHandle(Joins::Real(started)));
    };
    let end = Arc::new(End(Mutex::new((None, Vec::new()))));
    let told = end.clone();
    let fiber = Fiber::of_work(world, life, name, move || {
        let done = work();
        let waiting = {
            let mut state = told.0.lock();
            state.0 = Some(done);
            std::mem::take(&mut state.1)
        };
        waiting.iter().for_each(Thread::unpark);
    });
    let strand = fiber.strand().clone();
    tokio::spawn(fiber);
    Ok(JoinHandle(Joins::Simulated { strand, end }))
}

/// Runs `other` in a thread of its own while `here` runs in this one, and waits for both.
///
/// # Errors
/// The system gives no thread.
pub fn beside<R>(name: &str, other: impl FnOnce() + Send, here: impl FnOnce() -> R) -> io::Result<R> {
    /// Waits for the other one, also when this one panics.
    struct Joined(Option<JoinHandle<()>>);
    impl Drop for Joined {
        fn drop(&mut self) {
            if let Some(handle) = self.0.take() {
                let _ = handle.join();
            }
        }
    }
    if !fiber::in_fiber() {
        return std::thread::scope(|scope| {
            std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, other)?;
            Ok(here())
        });
    }
    let other: Box<dyn FnOnce() + Send + '_> = Box::new(other);
    // SAFETY: `Joined` does not let this function end before `other` has; if this fiber is never resumed,
    // its stack and all that `other` borrows stay for ever.
    let other: Box<dyn FnOnce() + Send> = unsafe { std::mem::transmute(other) };
    let _joined = Joined(Some(spawn(name, other)?));
    Ok(here())
}

/// Starts a thread with a runtime of its own, on which `future` runs. What it returns is dropped when all
/// blocking work that it began is over, too.
///
/// # Errors
/// The system gives no thread or no runtime.
pub fn drive<T: 'static>(name: &str, future: impl Future<Output = T> + Send + 'static) -> io::Result<()> {
    if let (Some(world), Some(life)) = (World::current(), fiber::current_life()) {
        let driven = async move {
            let brood = fiber::raise_brood();
            let last = future.await;
            brood.all_done().await;
            drop(last);
        };
        tokio::spawn(Fiber::of_future(world, life, name, driven));
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        let last = runtime.block_on(future);
        drop(runtime);
        drop(last);
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}
