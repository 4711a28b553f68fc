//! The engine: pages, buffer pool, B+trees with versions, transactions, checkpoint, redo.
//!
//! Owns the relation files, the control file and the log's contents. Keys and values are bytes, and keys
//! compare by memcmp. Durability: a commit acknowledged at a [`SyncLevel`] survives what that level names, and
//! no other session reads a row of a commit before its level, and that of each one before it in the log, is
//! reached. Knows no SQL types and no sockets.
//!
//! ```text
//! database    the facade: create, open, checkpoint, backup, promote
//!   |
//! transaction   reads that merge the write set, locks, savepoints
//!   |         \
//! commit      locks, snapshot, write_set
//!   |
//! tree        B-link trees with versions     redo, checkpoint
//!   |                                          |
//! pool        fixed-size buffer pool over relation files
//! ```

mod backup;
mod checkpointer;
mod commit;
mod create;
mod database;
mod early;
mod engine;
mod error;
mod interrupt;
mod label;
mod levels;
mod locks;
mod log;
mod open;
mod options;
pub mod page;
pub mod pool;
mod promote;
pub mod records;
mod redo;
pub mod relation;
mod replay;
mod scan;
mod snapshot;
mod standby;
pub mod state;
pub mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod transaction;
pub mod tree;
mod write_set;
mod writer;

pub use database::{BackupEnd, BackupStart, Database, Opened, PromoteOptions, Promoted, RecoveryReport};
pub use engine::WalRetention;
pub use error::{Corruption, Error};
pub use interrupt::Interrupt;
pub use levels::{CommitGate, RemoteProgress};
pub use options::{
    CheckpointInfo, CheckpointKind, Committed, CreateOptions, DatabaseOptions, Direction, ImageCompression,
    Isolation, KeyRange, LockMode, LockWait, Locked, ProgressFn, RecoveryProgress, ServerParameters,
    StartMode, SyncLevel, TableLockMode, TreeId,
};
pub use records::EngineDescriber;
pub use scan::Scan;
pub use standby::{Feed, RedoEnd, StandbyRedo, WalFeed};
pub use transaction::{Savepoint, Transaction};
