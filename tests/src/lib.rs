//! What the scenarios share: nodes in temporary folders, started and ended by process id, and PostgreSQL's
//! tools.
//!
//! A [`Node`] listens on a Unix socket in its own folder and on a loopback port that the kernel gave, stops
//! when it is dropped, and leaves nothing behind. Nothing here waits by sleeping for a fixed time: waits poll
//! a condition and fail with what was last seen.

mod equality;
mod load;
mod log_cut;
mod logs;
pub mod network;
mod node;
pub mod pki;
mod postgresql;
mod psql_script;
mod quorum;
pub mod raw;
pub mod script;
mod small_disk;
mod tools;
pub mod wire;

pub use equality::{assert_all_equal_after_stop, assert_equal_after_stop, assert_relations_equal_after_stop};
pub use load::change_keys;
pub use log_cut::LogCut;
pub use logs::{Branch, assert_logs_equal};
pub use node::{Node, NodeBuilder, free_port, promote, scratch_dir};
pub use postgresql::{PostgreSql, unprivileged};
pub use psql_script::{Message, messages};
pub use quorum::Quorum;
pub use small_disk::SmallDisk;
pub use tools::{Outcome, pg_tool, plimsoll, project_root, run, run_ok, variable, wait_until};
