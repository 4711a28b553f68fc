//! One simulation: a runtime whose time passes only when all wait, and the world in it.

use super::entropy;
use simulated::net::Network;
use simulated::{Schedule, World};
use std::future::Future;
use std::io;

/// What a simulation's course is told from another's by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Over all that happened, in its order and with its times.
    pub hash: u64,
    /// How often a fiber went on.
    pub resumes: u64,
}

/// Simulates in this thread; everything follows from `seed`. What is left of the nodes stays in memory: see
/// [`super::in_own_process`].
///
/// # Errors
///
/// The system gives no runtime.
pub fn simulate<T, F>(
    seed: u64,
    schedule: Schedule,
    body: impl FnOnce(World, Network) -> F,
) -> io::Result<(T, Trace)>
where
    F: Future<Output = T>,
{
    // It takes every fiber's stack for one that is used up; ours have room for what the parser is given.
    recursive::set_minimum_stack_size(0);
    let mut seeds = fastrand::Rng::with_seed(seed);
    entropy::seed(seeds.u64(..));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let world = World::begin(seeds.u64(..), schedule);
    let done = runtime.block_on(async {
        let network = Network::install(seeds.u64(..));
        body(world, network).await
    });
    let (hash, resumes) = world.trace();
    // Fibers of lives that have ended are never dropped.
    std::mem::forget(runtime);
    Ok((done, Trace { hash, resumes }))
}
