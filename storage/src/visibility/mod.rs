//! Who sees what: snapshots, commits that are in doubt, and the horizon up to which nobody needs old
//! versions.
//!
//! This room does not know how a commit was made durable: it asks whether a level is reached.

pub(crate) mod prefixes;
pub(crate) mod shown;
pub(crate) mod snapshot;
mod state;
#[cfg(test)]
mod tests;
pub(crate) mod xid_set;
