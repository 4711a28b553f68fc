//! Locks on rows, tables and numbers, all in memory.
//!
//! A lock is a name ([`LockName`]) with holders and a queue. Requests are served in order of arrival, except
//! that a holder that asks for more goes to the front, for else it would wait for those who wait for it. A
//! wait is a future; dropping it leaves the queue. A wait that lasts `deadlock_timeout` looks for a cycle,
//! and the one who finds it is the victim.
//!
//! Who gets a lock sees what was done under it. A transaction whose commit was answered before it is visible
//! (its wait was cancelled, or it is behind others in doubt) gives its locks back then, and each tells of
//! the commit ([`Told`]) until that is visible: whoever takes it in a mode that would have waited rests on
//! the commit as if a row of it were read.
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
mod told;

pub(crate) use manager::LockManager;
pub(crate) use name::{LockRef, ShortKey};
pub(crate) use redo::ExclusiveTables;
pub use report::{LockInfo, LockTarget};
pub(crate) use set::{LockSet, Taken};
