//! Branches of the log: how two of them relate, which one replaced ours, and of which others told.
//!
//! Which timelines there are, which one recovery follows and which number a promotion takes, says
//! [`wal::timelines`].

pub mod fence;
pub mod heard;
pub mod loss;
pub mod relation;
