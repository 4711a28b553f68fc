//! Locks on rows, tables and numbers, all in memory.
//!
//! A lock is a name ([`LockName`]) with holders and a queue. Requests are served in order of arrival, except
//! that a holder that asks for more goes to the front, for else it would wait for those who wait for it. A
//! wait is a future; dropping it leaves the queue. A wait that lasts `deadlock_timeout` looks for a cycle,
//! and the one who finds it is the victim.
//!
//! Order of the locks in here: `waits`, then one shard at a time. Nothing is awaited under either.

mod deadlock;
mod manager;
mod name;
mod redo;
mod report;
mod set;
mod strength;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use manager::LockManager;
pub(crate) use name::{LockRef, ShortKey};
pub(crate) use redo::ExclusiveTables;
pub use report::{LockInfo, LockTarget};
pub(crate) use set::{LockSet, Taken};
