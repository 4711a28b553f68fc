//! What a caller chooses when it creates or opens a database.

use super::wal_sizes::WalSizes;
use host::Timestamp;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use wal::reader::{EndReason, SegmentSupply};
use wal::{Lsn, SegmentSize, TimelineId};

/// Settings that a standby must match, kept in the control file and logged when they change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerParameters {
    /// max_connections
    pub max_connections: i32,
    /// max_worker_processes
    pub max_worker_processes: i32,
    /// max_wal_senders
    pub max_wal_senders: i32,
    /// max_prepared_transactions
    pub max_prepared_transactions: i32,
    /// max_locks_per_transaction
    pub max_locks_per_transaction: i32,
    /// wal_level: 0 minimal, 1 replica, 2 logical
    pub wal_level: i32,
    /// wal_log_hints
    pub wal_log_hints: bool,
    /// track_commit_timestamp
    pub track_commit_timestamp: bool,
}

impl Default for ServerParameters {
    fn default() -> Self {
        Self {
            max_connections: 100,
            max_worker_processes: 8,
            max_wal_senders: 10,
            max_prepared_transactions: 0,
            max_locks_per_transaction: 64,
            wal_level: 1,
            wal_log_hints: false,
            track_commit_timestamp: false,
        }
    }
}

/// How a new database is laid out.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// Bytes of a WAL segment (`--wal-segsize`).
    pub segment_size: SegmentSize,
    /// Whether pages carry PostgreSQL's checksum (`--data-checksums`).
    pub data_checksums: bool,
    /// Where the log lies, if not in the directory (`--waldir`): an absolute path, of an empty folder or of
    /// none. pg_wal is a link to it then.
    pub wal_dir: Option<PathBuf>,
    /// Databases that get a folder below base/.
    pub databases: Vec<u32>,
    /// The settings recorded in the control file.
    pub parameters: ServerParameters,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            segment_size: SegmentSize::DEFAULT,
            data_checksums: true,
            wal_dir: None,
            databases: vec![1, 4, 5],
            parameters: ServerParameters::default(),
        }
    }
}

/// How page images in the log are compressed (wal_compression).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ImageCompression {
    /// Not at all.
    #[default]
    Off,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl ImageCompression {
    pub(crate) const fn method(self) -> wal::ImageMethod {
        match self {
            Self::Off => wal::ImageMethod::Plain,
            Self::Lz4 => wal::ImageMethod::Lz4,
            Self::Zstd => wal::ImageMethod::Zstd,
        }
    }
}

/// Told now and then how far recovery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryProgress {
    /// Where redo began.
    pub from: Lsn,
    /// The end of the last record redone, exclusive.
    pub at: Lsn,
    /// The time in the last commit record redone.
    pub last_commit: Option<Timestamp>,
    /// Records redone; 0 before the first.
    pub records: u64,
    /// Since redo began.
    pub elapsed: Duration,
    /// Why the log ends, at the end of a crash recovery.
    pub ended: Option<EndReason>,
}

/// A callback for [`RecoveryProgress`].
pub type ProgressFn = Arc<dyn Fn(RecoveryProgress) + Send + Sync>;

/// Told what is about to be cut from the log's end, and why it ends there. An error stops the start before
/// anything is cut.
pub type BeforeCutFn = Arc<dyn Fn(&wal::reader::CutTail, &str) -> std::io::Result<()> + Send + Sync>;

/// What recovery goes to (recovery_target and its kin).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPoint {
    /// The earliest consistent state.
    Immediate,
    /// A restore point made by pg_create_restore_point().
    Name(String),
    /// A moment.
    Time(Timestamp),
    /// A transaction, by the low half of its id, as the log has it.
    Xid(u32),
    /// A position.
    Lsn(Lsn),
}

/// A recovery target with recovery_target_inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryTarget {
    /// The point.
    pub point: TargetPoint,
    /// Whether what is exactly there is redone.
    pub inclusive: bool,
}

/// How recovery goes that begins from a signal file.
#[derive(Clone, Default)]
pub struct RecoveryOptions {
    /// Where segments are asked for before they are looked for in pg_wal (restore_command).
    pub supply: Option<Arc<dyn SegmentSupply>>,
    /// Where it ends; None goes as far as there is log.
    pub target: Option<RecoveryTarget>,
    /// It ends where the log ends (recovery.signal), and waits for no more (standby.signal).
    pub ends_with_log: bool,
    /// Whether it follows the latest timeline in pg_wal that continues what is here
    /// (recovery_target_timeline). Who was not stopped knows what is here once its own log is redone, and
    /// chooses then.
    pub follows_latest: bool,
}

/// How a database is opened.
#[derive(Clone)]
pub struct DatabaseOptions {
    /// The data directory.
    pub dir: PathBuf,
    /// Bytes of the buffer pool (shared_buffers), at least 1 MiB.
    pub shared_buffers_bytes: usize,
    /// Bytes of log kept in memory (wal_buffers).
    pub wal_buffers_bytes: usize,
    /// Bytes of a transaction's changes from which on they go into pages before its commit
    /// (plimsoll.write_set_limit).
    pub write_set_limit_bytes: usize,
    /// How long a lock wait lasts before it looks for a cycle (deadlock_timeout).
    pub deadlock_timeout: Duration,
    /// When the log is flushed by itself; [`crate::Database::set_log_writing`] changes it.
    pub log_writing: LogWriting,
    /// Whether the first change of a page after a checkpoint logs the page's image (full_page_writes).
    pub full_page_writes: bool,
    /// How those images are compressed.
    pub image_compression: ImageCompression,
    /// Whether new log segments are filled with zeros (wal_init_zero), or only get their space.
    pub wal_init_zero: bool,
    /// How much log there is between checkpoints, and is kept for later; [`crate::Database::set_wal_sizes`]
    /// changes it.
    pub wal_sizes: WalSizes,
    /// The log is known to have been durable up to here, by what lies outside of the database: replication
    /// slots. A crash recovery that finds it shorter fails.
    pub proven_flush: Lsn,
    /// Synchronous standbys are named at the start ([`crate::CommitGate::set_remote`] says so later): commits
    /// of before this start, or a promotion, whose confirmation is not proven stay unseen until the gate
    /// confirms them or [`crate::CommitGate::release_unconfirmed`] is called.
    pub sync_required: bool,
    /// The settings that standbys must match; a change against the control file is logged.
    pub parameters: ServerParameters,
    /// Whether the log has its own threads; without them whoever commits flushes.
    pub background: bool,
    /// Once it is true, an opening ends where it is, with [`crate::Error::Shutdown`]; the next starts over.
    pub end_recovery: Arc<AtomicBool>,
    /// Hears of recovery's progress.
    pub progress: Option<ProgressFn>,
    /// Makes a durable record of a torn tail before it is cut.
    pub before_cut: Option<BeforeCutFn>,
    /// For [`StartMode::Standby`].
    pub recovery: RecoveryOptions,
    /// Hears of checkpoints, whoever asks for them.
    pub checkpoints: Option<CheckpointFn>,
}

/// How the log of a node that takes writes becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogWriting {
    /// Whether it does at all (fsync); false only for what can be made again.
    pub fsync: bool,
    /// How long log of level-off commits may stay unflushed; the wal writer's rhythm (wal_writer_delay).
    pub delay: Duration,
    /// Bytes in memory at which it is flushed before that (wal_writer_flush_after).
    pub flush_after_bytes: u64,
}

impl Default for LogWriting {
    fn default() -> Self {
        Self { fsync: true, delay: Duration::from_millis(200), flush_after_bytes: 1 << 20 }
    }
}

impl DatabaseOptions {
    /// PostgreSQL's defaults for the directory `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            shared_buffers_bytes: 128 << 20,
            wal_buffers_bytes: 16 << 20,
            write_set_limit_bytes: 64 << 20,
            deadlock_timeout: Duration::from_secs(1),
            log_writing: LogWriting::default(),
            full_page_writes: true,
            image_compression: ImageCompression::Off,
            wal_init_zero: true,
            wal_sizes: WalSizes::default(),
            proven_flush: Lsn::INVALID,
            sync_required: false,
            parameters: ServerParameters::default(),
            background: true,
            end_recovery: Arc::default(),
            progress: None,
            before_cut: None,
            recovery: RecoveryOptions::default(),
            checkpoints: None,
        }
    }
}

impl fmt::Debug for DatabaseOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseOptions")
            .field("dir", &self.dir)
            .field("shared_buffers_bytes", &self.shared_buffers_bytes)
            .field("proven_flush", &self.proven_flush)
            .field("sync_required", &self.sync_required)
            .finish_non_exhaustive()
    }
}

/// As what a database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartMode {
    /// Recover from a crash if there was one, then take writes.
    Primary,
    /// Stay in recovery and follow a feed of WAL (standby.signal), or recover from an archive up to a target
    /// and then take writes (recovery.signal), as [`DatabaseOptions::recovery`] says.
    Standby {
        /// The timeline to follow where history forks, as [`wal::timelines::RecoveryStart::choose`] chose it.
        timeline: TimelineId,
    },
}

/// Which checkpoint is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointKind {
    /// As fast as possible (CHECKPOINT, start of a fast backup).
    Immediate,
    /// Spread over this time (checkpoint_timeout x completion target).
    Paced(Duration),
    /// The last one of a clean stop: nothing is written after it.
    Shutdown,
    /// The first one after recovery.
    EndOfRecovery,
}

/// A checkpoint (on a standby a restartpoint) on its way.
#[derive(Clone, Copy, Debug)]
pub enum CheckpointEvent<'a> {
    /// It begins.
    Starting {
        /// Why and how.
        kind: CheckpointKind,
        /// On a standby.
        restartpoint: bool,
    },
    /// It is done.
    Complete {
        /// What it did.
        info: &'a CheckpointInfo,
        /// On a standby.
        restartpoint: bool,
    },
}

/// Hears of checkpoints.
pub type CheckpointFn = Arc<dyn Fn(CheckpointEvent<'_>) + Send + Sync>;

/// Checkpoints and restartpoints since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointCounts {
    /// Those that took their time.
    pub paced: u64,
    /// Those that did not.
    pub immediate: u64,
    /// Time spent writing pages.
    pub write_time: Duration,
    /// Time spent syncing files.
    pub sync_time: Duration,
}

/// What a checkpoint did, for the log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// The start of the checkpoint record.
    pub checkpoint: Lsn,
    /// Where redo would begin.
    pub redo: Lsn,
    /// Pages written.
    pub pages_written: u64,
    /// Time writing pages.
    pub write_time: Duration,
    /// Time syncing files.
    pub sync_time: Duration,
    /// Segments of the log added, removed, recycled since the one before.
    pub segments: (u32, u32, u32),
    /// Bytes of log since the redo point before.
    pub distance_bytes: u64,
    /// Nothing was to be done: the positions are those of the checkpoint before.
    pub skipped: bool,
}
