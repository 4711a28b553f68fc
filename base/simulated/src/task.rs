//! Tasks of a node, and work that may block.

use crate::fiber::{self, Fiber};
use crate::world::World;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

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

/// Runs work that may block beside the tasks.
pub fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    match (World::current(), fiber::current_life()) {
        (Some(world), Some(life)) => {
            let member = fiber::brood().map(fiber::Brood::member);
            let counted = move || {
                let _member = member;
                work()
            };
            tokio::spawn(Fiber::of_work(world, life, "blocking work", counted))
        }
        _ => tokio::task::spawn_blocking(work),
    }
}

/// Waits for a future in work that may block.
pub fn block_on<F: Future>(runtime: &Handle, future: F) -> F::Output {
    let Some(strand) = fiber::current() else { return runtime.block_on(future) };
    let mut future = std::pin::pin!(future);
    loop {
        let Some(waker) = strand.waker() else { unreachable!("a fiber that runs has one") };
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => fiber::suspend(&strand),
        }
    }
}
