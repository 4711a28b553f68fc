//! The thin layer that performs what the state machines ask for, over tokio streams and the log's files.
//!
//! - [`send`]: one stream to a standby, on a connection that the server has taken START_REPLICATION from.
//! - [`receive`]: the walreceiver, a thread of its own.
//! - [`StandbyFeed`]: hands received log to redo, and takes promotion, pause and stop there.
//! - [`LogPlace`]: where the log lies; streams read and send it from there.
//! - [`peers`]: asks the other nodes of the cluster who they are.

mod extensions;
mod log;
pub mod peers;
pub mod receive;
mod replay;
pub mod send;

pub use log::{FilePart, LogPlace, Outlet, Stretch};
pub use replay::{DelaySettings, Held, PauseState, ReplayObserver, StandbyFeed};
