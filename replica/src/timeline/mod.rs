//! Branches of the log: how two of them relate, which one replaced ours, and what a promotion would do.
//!
//! Which timelines there are, which one recovery follows and which number a promotion takes, says
//! [`wal::timelines`].

pub mod fence;
pub mod promotion;
pub mod relation;
