//! The engine: pages, buffer pool, B-link trees with versions, transactions, checkpoint, redo.
//!
//! Owns the relation files, the control file and the log's contents. Keys and values are bytes, and keys
//! compare by memcmp. Durability: a commit acknowledged at a [`SyncLevel`] survives what that level names,
//! and no other session reads a row of a commit before its level, and that of each one before it in the log,
//! is reached. Knows no SQL types and no sockets. Whoever opens a directory first settles a promotion that
//! broke off ([`wal::log_branch::settle_promotion`]): that may bring a signal file back.
//!
//! The rooms, from the top down. A room imports from those below it only (`tests/scenarios/layers/rooms.rs`).
//!
//! ```text
//! database      the facade: a data directory as one object
//! recovery      how a directory becomes a running database: create, open, redo, standby,
//!               checkpoint, backup, promotion
//! transaction   what a session does: snapshots, reads that merge its own writes, savepoints,
//!               large transactions
//! engine        what all parts of an open database share; options, files to be dropped,
//!               sweeps over whole trees
//! commit        one committer at a time; write sets, levels (what COMMIT waits for), xids before the commit
//! locks         locks on rows, tables and numbers, in memory
//! visibility    snapshots, commits in doubt, the horizon
//! tree          B-link trees: lookup, scan, insertion, prune, sweep
//! changes       records, and pages that change by them under one write lock: first, and again in redo
//! pages         page layout, buffer pool, relation files, maps of free pages
//! ```
//!
//! Order of locks, outermost first; nothing is awaited under any of them: the commit lock (`commit`), the
//! store's write lock (`changes`), page latches, then the leaves: the visibility queue (`visibility`), lock
//! shards (`locks`), the control file (`engine`), the log's own.
//! `lock_order` has that in code, and checks it in debug builds.

mod blocking;
mod changes;
mod commit;
mod database;
mod engine;
mod error;
mod interrupt;
mod lock_order;
mod locks;
mod pages;
mod recovery;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod transaction;
pub mod tree;
mod types;
mod visibility;

pub use changes::{records, state_page as state, store};
pub use pages::{page, pool, relation};

pub use changes::records::EngineDescriber;
pub use commit::early_list::EarlyXids;
pub use commit::gate::CommitGate;
pub use commit::primary_record::PrimaryRecord;
pub use commit::remote::{RemoteProgress, RemoteStages};
pub use commit::sight::Sight;
pub use commit::suspension::{Resumed, Stall};
pub use commit::sync_record::{Fallback, SyncRecord};
pub use database::{Database, Opened, RecoveryStatistics};
pub use durability::SyncLevel;
pub use engine::WalRetention;
pub use engine::options::{
    BeforeCutFn, CheckpointCounts, CheckpointEvent, CheckpointFn, CheckpointInfo, CheckpointKind,
    CreateOptions, DatabaseOptions, ImageCompression, LogWriting, ProgressFn, RecoveryOptions,
    RecoveryProgress, RecoveryTarget, ServerParameters, StartMode, TargetPoint,
};
pub use engine::recovery_state::StandbyLog;
pub use engine::sweep::{CostPace, SweepCosts};
pub use engine::wal_sizes::WalSizes;
pub use error::{ConflictKind, Corruption, Error, FENCED};
pub use interrupt::{Interrupt, WaitEvent, Waiting};
pub use locks::{LockInfo, LockTarget};
pub use pages::counts::{SweepCause, TreeStatistics};
pub use recovery::backup::{BackupEnd, BackupStart};
pub use recovery::consistency::ConsistencyPoint;
pub use recovery::offline::Offline;
pub use recovery::open::RecoveryReport;
pub use recovery::own_files::{
    DISCARD_PREFIX, REWIND_MARKER, SERVER_LOCK_FILE, SERVER_LOG_FILE, check_rewound, is_being_rewound,
    lock_directory, remove_own_files,
};
pub use recovery::promote::{PromoteOptions, Promoted, Promotion};
pub use recovery::standby::{AtTarget, Conflict, Feed, RedoEnd, StandbyRedo, WalFeed};
pub use recovery::target::{RecoveryStop, StopCause};
pub use transaction::early::RowBatch;
pub use transaction::scan::Scan;
pub use transaction::{LockMark, Savepoint, Transaction, View};
pub use tree::{Pace, SweepReport};
pub use types::{
    Committed, Direction, Isolation, KeyRange, LockMode, LockWait, Locked, TableLockMode, TreeId,
};
pub use visibility::snapshot::HorizonReport;
