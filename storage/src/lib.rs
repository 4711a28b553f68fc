//! The engine: pages, buffer pool, B+trees with versions, transactions, checkpoint, redo.
//!
//! Owns the relation files, the control file and the log's contents. Keys and values are bytes, and keys
//! compare by memcmp. Durability: a commit acknowledged at a [`SyncLevel`] survives what that level names, and
//! no other session reads a row of a commit before its level, and that of each one before it in the log, is
//! reached. Knows no SQL types and no sockets.
//!
//! ```text
//! database      the facade; create, open, checkpointer, backup, promote, standby are its chapters
//!   |
//! transaction   reads that merge the write set (scan, write_set), locks, savepoints
//!   |
//! commit        one committer at a time; levels (what COMMIT waits for), snapshot (what is visible), early (large transactions, aborted xids)
//!   |
//! tree          B-link trees, free_map, vacuum  replay   redo of the log: transactions and positions
//!   |                                             |
//! store         pages under one write lock        redo     pages
//!   |
//! pool          fixed-size buffer pool over relation files
//! ```
//!
//! Order of locks, outermost first; nothing is awaited under any of them: the commit lock (commit), the store's write
//! lock (store), page latches, then the leaves: the visibility queue (snapshot), lock shards (locks), the control file
//! (engine), the log's own.

mod ahead;
mod backup;
mod begin;
mod blocking;
mod checkpointer;
mod commit;
mod consistency;
mod create;
mod database;
mod early;
mod engine;
mod error;
mod free_map;
mod interrupt;
mod levels;
mod locks;
mod log;
mod offline;
mod open;
mod options;
pub mod page;
pub mod pool;
mod prefixes;
mod promote;
pub mod records;
mod redo;
pub mod relation;
mod replay;
mod scan;
mod shown;
mod snapshot;
mod standby;
pub mod state;
mod stats;
pub mod store;
mod sync_state;
mod target;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod transaction;
pub mod tree;
mod vacuum;
mod wal_sizes;
mod write_set;
mod writer;

pub use consistency::ConsistencyPoint;
pub use database::{
    BackupEnd, BackupStart, Database, Opened, PromoteOptions, Promoted, RecoveryReport, RecoveryStatistics,
};
pub use durability::SyncLevel;
pub use early::RowBatch;
pub use engine::WalRetention;
pub use error::{Corruption, Error};
pub use interrupt::{Interrupt, WaitEvent};
pub use levels::{CommitGate, RemoteProgress, RemoteStages, Resumed, Stall};
pub use locks::{LockInfo, LockTarget};
pub use offline::Offline;
pub use options::{
    BeforeCutFn, CheckpointCounts, CheckpointEvent, CheckpointFn, CheckpointInfo, CheckpointKind, Committed,
    CreateOptions, DatabaseOptions, Direction, ImageCompression, Isolation, KeyRange, LockMode, LockWait,
    Locked, ProgressFn, RecoveryOptions, RecoveryProgress, ServerParameters, StartMode, TableLockMode,
    TreeId,
};
pub use promote::Promotion;
pub use records::EngineDescriber;
pub use scan::Scan;
pub use snapshot::HorizonReport;
pub use standby::{AtTarget, Conflict, ConflictKind, Feed, RedoEnd, StandbyLog, StandbyRedo, WalFeed};
pub use stats::{SweepCause, TreeStatistics};
pub use sync_state::{Fallback, SyncState};
pub use target::{RecoveryStop, RecoveryTarget, StopCause, TargetPoint};
pub use transaction::{Savepoint, Transaction, View};
pub use tree::{Pace, SweepReport};
pub use vacuum::{CostPace, SweepCosts};
pub use wal_sizes::WalSizes;
