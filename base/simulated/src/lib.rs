//! What stands in for the machine's threads, locks and sockets while a whole cluster runs in one thread.
//!
//! In a simulation everything runs on one tokio runtime of one thread, whose clock is paused: time passes
//! only when nobody has anything to do. What is a thread in production (a task's worker, a background thread,
//! work that may block) is a [fiber] here: a coroutine with a stack of its own, driven by a task of the
//! runtime. Where a thread would block (parked, at a lock, asleep) the fiber suspends itself and the others
//! go on. A seed decides who is put off, when a fiber is resumed and when it takes a lock, so the same seed
//! gives the same order of everything.
//!
//! A fiber belongs to a life of a node. Fibers of a life that has ended are never resumed again, as after
//! `kill -9`: their stacks and whatever they own are left as they are, for the end of the process. Fibers of
//! a frozen node wait until it thaws.
//!
//! Outside of a simulation all types here behave as the real ones, so that ordinary tests can be built
//! together with the simulator. Nothing of this is in a build without the feature `simulated` of the crate
//! `host`.
//!
//! Not simulated: weak memory order, and a change of fibers between two instructions that take no lock.

pub mod fiber;
pub mod local;
pub mod net;
pub mod planted;
pub mod shell;
mod stack;
pub mod sync;
pub mod task;
pub mod thread;
pub mod world;

pub use fiber::current_node;
pub use world::{Life, NodeId, Schedule, World};
