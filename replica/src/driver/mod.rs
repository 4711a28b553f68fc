//! The thin layer that performs what the state machines ask for, over tokio streams and the log's files.
//!
//! - [`send`]: one stream to a standby, on a connection that the server has taken START_REPLICATION from.
//! - [`receive`]: the walreceiver, a thread of its own.
//! - [`StandbyFeed`]: hands received log to redo, and takes promotion, pause and stop there.
//! - [`peers`]: asks the other nodes of the cluster who they are.

mod feed;
mod hold;
mod lent;
pub mod peers;
mod piece;
mod reading;
pub mod receive;
pub mod send;
mod timer;

pub use feed::StandbyFeed;
pub use hold::{HoldObserver, HoldSettings, PauseState};
pub use piece::{FilePart, Outlet};
pub use reading::LogPlace;
