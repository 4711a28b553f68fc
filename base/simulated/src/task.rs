//! Tasks of a node, and work that may block.

use crate::fiber::{self, Fiber, Strand};
use crate::world::World;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};

/// A task's future.
#[derive(Debug)]
#[must_use = "does nothing unless it is polled"]
pub struct Task<F: Future>(Kind<F>);

enum Kind<F: Future> {
    Real(Pin<Box<F>>),
    Simulated(Fiber<F::Output>),
}

impl<F: Future> std::fmt::Debug for Kind<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Real(_) => f.write_str("a task"),
            Self::Simulated(fiber) => fiber.fmt(f),
        }
    }
}

/// Makes a future a task of the node that calls this.
pub fn task<F>(future: F) -> Task<F>
where
    F: Future + 'static,
    F::Output: 'static,
{
    Task(match (World::current(), fiber::current_life()) {
        (Some(world), Some(life)) => {
            Kind::Simulated(Fiber::of_future(world, life, std::any::type_name::<F>(), future))
        }
        _ => Kind::Real(Box::pin(future)),
    })
}

impl<F: Future> Future for Task<F> {
    type Output = F::Output;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match &mut self.0 {
            Kind::Real(future) => future.as_mut().poll(cx),
            Kind::Simulated(fiber) => Pin::new(fiber).poll(cx),
        }
    }
}

/// Work that may block, whose end can be waited for. What nobody waits for any more is dropped by the work's
/// own fiber: the runtime, which drops what a task of its own leaves, must not block.
#[derive(Debug)]
pub struct Blocking<T>(Works<T>);

#[derive(Debug)]
enum Works<T> {
    Real(JoinHandle<T>),
    Simulated(oneshot::Receiver<T>),
}

impl<T> Blocking<T> {
    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            Works::Real(handle) => handle.is_finished(),
            Works::Simulated(done) => !done.is_empty(),
        }
    }
}

impl<T> Future for Blocking<T> {
    type Output = Result<T, JoinError>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Works::Real(handle) => Pin::new(handle).poll(cx),
            Works::Simulated(done) => match ready!(Pin::new(done).poll(cx)) {
                Ok(done) => Poll::Ready(Ok(done)),
                // A panic ends the simulation, so only the runtime's own end comes before the work's.
                Err(_) => Poll::Pending,
            },
        }
    }
}

/// Runs work that may block beside the tasks.
pub fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Blocking<T> {
    match (World::current(), fiber::current_life()) {
        (Some(world), Some(life)) => {
            let member = fiber::brood().map(fiber::Brood::member);
            let (tell, done) = oneshot::channel();
            let counted = move || {
                let _member = member;
                drop(tell.send(work()));
            };
            tokio::spawn(Fiber::of_work(world, life, "blocking work", counted));
            Blocking(Works::Simulated(done))
        }
        _ => Blocking(Works::Real(tokio::task::spawn_blocking(work))),
    }
}

/// Waits for a future in work that may block.
pub fn block_on<F: Future>(runtime: &Handle, future: F) -> F::Output {
    match fiber::current() {
        Some(strand) => wait_for(&strand, future),
        None => runtime.block_on(future),
    }
}

/// Takes from a channel within blocking work; None when nothing more comes.
pub fn blocking_recv<T>(from: &mut mpsc::Receiver<T>) -> Option<T> {
    match fiber::current() {
        Some(strand) => wait_for(&strand, from.recv()),
        None => from.blocking_recv(),
    }
}

/// Puts into a channel within blocking work, waiting until there is room.
///
/// # Errors
///
/// Fails if nobody takes anything more; the value comes back.
pub fn blocking_send<T>(to: &mpsc::Sender<T>, value: T) -> Result<(), SendError<T>> {
    match fiber::current() {
        Some(strand) => wait_for(&strand, to.send(value)),
        None => to.blocking_send(value),
    }
}

/// Turns the thread into one of the work's own: a fiber is that already.
pub fn in_place<R>(work: impl FnOnce() -> R) -> R {
    if fiber::in_fiber() { work() } else { tokio::task::block_in_place(work) }
}

/// Waits for a future in the fiber that runs.
fn wait_for<F: Future>(strand: &Arc<Strand>, future: F) -> F::Output {
    let future = std::pin::pin!(future);
    match fiber::poll_to_end(strand, future, fiber::suspend, |_| true) {
        Some(done) => done,
        None => unreachable!("it goes on until it is done"),
    }
}
