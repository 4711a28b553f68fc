//! Branches of the log: how two of them relate, and which one replaced ours.
//!
//! Which timelines there are, which one recovery follows and which number a promotion takes, says
//! [`wal::timelines`].

pub mod fence;
pub mod loss;
pub mod relation;
