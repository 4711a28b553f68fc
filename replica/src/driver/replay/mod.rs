//! The way from the receiver, and from the server's orders, to redo.

mod delays;
mod feed;

pub use delays::{DelayObserver, DelaySettings, PauseState};
pub use feed::StandbyFeed;
