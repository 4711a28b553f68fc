//! The way from the receiver, and from the server's orders, to redo.

mod delays;
mod feed;

pub use delays::{DelaySettings, Held, PauseState, ReplayObserver};
pub use feed::StandbyFeed;
