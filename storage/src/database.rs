//! The facade: a data directory as one object.

use crate::{
    CheckpointInfo, CheckpointKind, CommitGate, CreateOptions, DatabaseOptions, Error, Interrupt, Isolation,
    RedoEnd, StandbyRedo, StartMode, Transaction, TreeId,
};
use host::{Host, Timestamp};
use std::path::Path;
use std::time::Duration;
use wal::{Lsn, SystemId, TimelineId, Xid};

/// An open database; cloning shares it. The last clone to go leaves the directory as after a crash, unless
/// [`Database::shutdown`] came first.
#[derive(Clone, Debug)]
pub struct Database {}

/// What [`Database::open`] gives.
#[derive(Debug)]
pub enum Opened {
    /// Recovered, and ready for writes.
    Primary {
        /// The database.
        db: Database,
        /// What recovery did.
        recovery: RecoveryReport,
    },
    /// In recovery: serves reads once consistent.
    Standby {
        /// The database.
        db: Database,
        /// Its redo, to be run on a thread.
        redo: StandbyRedo,
    },
}

/// What recovery found and did, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The directory was not shut down cleanly (or came from a backup), and log was redone.
    pub needed: bool,
    /// Where redo began.
    pub from: Lsn,
    /// The end of the last whole record: where the log goes on.
    pub to: Lsn,
    /// Why the log ended there, with what was cut.
    pub end: String,
    /// Bytes after `to` that were cut as a torn tail.
    pub cut_bytes: u64,
    /// Records redone.
    pub records: u64,
    /// Transactions whose log was there without an outcome, and which were aborted.
    pub aborted: Vec<Xid>,
    /// The directory came from a backup (backup_label).
    pub from_backup: bool,
    /// The time in the last commit record redone.
    pub last_commit: Option<Timestamp>,
    /// How long it took.
    pub elapsed: Duration,
}

/// An online backup that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupStart {
    /// The redo point of the backup's checkpoint: WAL from here on belongs to the backup (START WAL LOCATION).
    pub start: Lsn,
    /// The checkpoint record (CHECKPOINT LOCATION).
    pub checkpoint: Lsn,
    /// The timeline.
    pub timeline: TimelineId,
    /// The text of backup_label.
    pub label_file: String,
    /// When it began.
    pub started: Timestamp,
    /// The label given by the client.
    pub label: String,
    /// Taken on a standby: ends at its minRecoveryPoint and writes no end record.
    pub on_standby: bool,
}

/// An online backup that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupEnd {
    /// WAL up to here (exclusive) belongs to the backup (STOP WAL LOCATION).
    pub stop: Lsn,
    /// The timeline of `stop`.
    pub timeline: TimelineId,
    /// The text of the backup history file, and its name; None on a standby.
    pub history_file: Option<(String, String)>,
}

/// How a promotion names itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromoteOptions {
    /// The new timeline; None for the next above every one that pg_wal knows.
    pub new_timeline: Option<TimelineId>,
    /// The reason column of the history file.
    pub reason: String,
}

/// What a promotion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promoted {
    /// The timeline that ended.
    pub old_timeline: TimelineId,
    /// The new one.
    pub timeline: TimelineId,
    /// Where it forks off.
    pub switch_at: Lsn,
    /// The branch id in its history file.
    pub branch: u64,
}

impl Database {
    /// Lays out a new database in `dir`, which must be missing or empty: folders, PG_VERSION files, control
    /// file, first log segment with a shutdown checkpoint. Durable when it returns.
    pub fn create(host: &Host, dir: &Path, options: &CreateOptions) -> Result<SystemId, Error> {
        let _ = (host, dir, options);
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// Opens the data directory, alone (a lock on plimsoll/lock keeps a second server out). Recovery runs inside.
    pub fn open(host: &Host, options: DatabaseOptions, mode: StartMode) -> Result<Opened, Error> {
        let _ = (host, options, mode);
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// Begins a transaction of a session without a past.
    pub fn begin(&self, isolation: Isolation) -> Transaction {
        self.begin_after(isolation, Lsn::INVALID, Interrupt::new())
    }

    /// Begins a transaction whose snapshots are at least `after` (the session's own last commit, or a client's
    /// token that this node has reached) and whose waits `interrupt` ends.
    pub fn begin_after(&self, isolation: Isolation, after: Lsn, interrupt: Interrupt) -> Transaction {
        let _ = (isolation, after, interrupt);
        Transaction {}
    }

    /// Waits until every commit up to `lsn` is visible: what a result that evaluated them waits for before it
    /// leaves.
    pub async fn wait_visible(&self, lsn: Lsn, interrupt: &Interrupt) -> Result<(), Error> {
        let _ = (lsn, interrupt);
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// The position up to which snapshots see: on a primary just before the oldest commit whose level is not
    /// reached, on a standby the last commit replayed.
    pub fn visible(&self) -> Lsn {
        Lsn::INVALID
    }

    /// The end of the last record replayed; INVALID on a server that never was in recovery.
    pub fn replayed(&self) -> Lsn {
        Lsn::INVALID
    }

    /// The time in the last commit record replayed.
    pub fn last_replayed_commit(&self) -> Option<Timestamp> {
        None
    }

    /// Where replication feeds the quorum's progress.
    pub fn commit_gate(&self) -> &CommitGate {
        unreachable!("the engine is not assembled")
    }

    /// The timeline that log is written on, or replayed from.
    pub fn timeline(&self) -> TimelineId {
        TimelineId::FIRST
    }

    /// The cluster's number.
    pub fn system_id(&self) -> SystemId {
        SystemId::new(0)
    }

    /// Whether it is a standby (or was not yet promoted).
    pub fn is_in_recovery(&self) -> bool {
        false
    }

    /// Whether reads may begin: always on a primary; on a standby once past the backup's end and minRecoveryPoint.
    pub fn is_consistent(&self) -> bool {
        true
    }

    /// Waits for [`Database::is_consistent`].
    pub async fn wait_consistent(&self) {}

    /// The next transaction id to be given out.
    pub fn next_xid(&self) -> Xid {
        Xid::FIRST_NORMAL
    }

    /// Every snapshot older than this xid is gone, here and on the standbys that gave feedback.
    pub fn horizon(&self) -> Xid {
        Xid::FIRST_NORMAL
    }

    /// Standbys' oldest snapshot (hot_standby_feedback); None when no standby asks.
    pub fn set_feedback_horizon(&self, xid: Option<Xid>) {
        let _ = xid;
    }

    /// A new relation file number, unused and durable as used before the next is given out.
    pub fn allocate_number(&self) -> Result<u32, Error> {
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// Creates the folder of a new database.
    pub fn create_database_folder(&self, database: u32) -> Result<(), Error> {
        let _ = database;
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// The bytes of a tree's file.
    pub fn tree_size_bytes(&self, tree: TreeId) -> Result<u64, Error> {
        let _ = tree;
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// Writes a checkpoint (on a standby a restartpoint).
    pub async fn checkpoint(&self, kind: CheckpointKind) -> Result<CheckpointInfo, Error> {
        let _ = kind;
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// Begins an online backup: forces page images, then a checkpoint. Many may run at once.
    pub async fn start_backup(&self, label: &str, fast: bool) -> Result<BackupStart, Error> {
        let _ = (label, fast);
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// Ends an online backup: on a primary with a backup-end record and a segment switch.
    pub async fn stop_backup(&self, backup: BackupStart) -> Result<BackupEnd, Error> {
        let _ = backup;
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// Gives up an online backup.
    pub fn abort_backup(&self, backup: BackupStart) {
        let _ = backup;
    }

    /// One tick of the wal writer: flushes what level-off commits left behind. The server calls it every
    /// `wal_writer_delay`.
    pub fn wal_writer_tick(&self) -> Result<Lsn, Error> {
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// One paced step of the background sweep: removes dead versions and those of aborted transactions.
    pub async fn sweep(&self) -> Result<(), Error> {
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// Turns a standby whose redo has ended for a promotion into a primary: history file, end-of-recovery
    /// record on the new timeline; takes writes when it returns. A checkpoint is due afterwards.
    pub async fn promote(&self, end: RedoEnd, options: PromoteOptions) -> Result<Promoted, Error> {
        let _ = (end, options);
        Err(Error::WrongState("the engine is not assembled"))
    }

    /// Refuses new commits from now on, with this reason (a descendant branch was seen).
    pub fn fence(&self, reason: &str) {
        let _ = reason;
    }

    /// Stops: waits fail with [`Error::Shutdown`], then the shutdown checkpoint (a restartpoint on a standby).
    pub async fn shutdown(&self) -> Result<CheckpointInfo, Error> {
        Err(Error::WrongState("the engine is not assembled"))
    }
}
