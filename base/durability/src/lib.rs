//! The words for what a commit can wait for: durability levels, and the stages of the log on a standby.
//!
//! Levels have their names, their order and their parsing here, stages their order and their bits on the
//! wire. The crate decides nothing: the commit pipeline says when a level is reached, the quorum who has
//! reached a stage.
//!
//! | level          | a commit waits until its record is           | stage of the standbys |
//! |----------------|----------------------------------------------|-----------------------|
//! | `off`          | in memory                                    | none                  |
//! | `local`        | durable here                                 | none                  |
//! | `remote_write` | and written by the synchronous standbys      | written               |
//! | `on`           | and durable on them                          | flushed               |
//! | `remote_apply` | and replayed on them                         | replayed              |
//!
//! It knows no settings, no log and no sockets.

mod level;
mod stage;

pub use level::SyncLevel;
pub use stage::{Stage, Stages};
