//! Which log must stay besides what recovery needs.

use wal::{KeptLog, LogPosition, Lsn, SegmentFate, SegmentFile};

/// Tells a checkpoint which log must stay: replication slots, an archive, wal_keep_size.
pub trait WalRetention: Send + Sync {
    /// Log from here on is needed, given that recovery itself needs it from `redo` on.
    fn needed_from(&self, redo: Lsn) -> Lsn;
    /// What may become of this segment, which is not needed any more (is it archived? is it read in place?).
    fn fate(&self, segment: SegmentFile) -> SegmentFate {
        let _ = segment;
        SegmentFate::Reusable
    }
    /// Whether what a promotion set aside of this segment may go (is it archived?), which is not needed any
    /// more.
    fn partial_may_go(&self, segment: SegmentFile) -> bool {
        let _ = segment;
        true
    }
    /// What of the log that goes a rewind may need, when a checkpoint with this redo point ends at `end`.
    fn kept(&self, redo: Lsn, end: Lsn) -> KeptLog {
        let _ = (redo, end);
        KeptLog::AS_IT_IS
    }
    /// The same for a restartpoint.
    fn kept_in_recovery(&self) -> KeptLog {
        KeptLog::AS_IT_IS
    }
    /// Segments were removed.
    fn removed(&self) {}
    /// A file of this name, no segment, is durable in pg_wal (a history of a timeline or of a backup).
    fn made(&self, name: &str) {
        let _ = name;
    }
    /// The last segment of a timeline that ended here has a file of its own now, which it got later than the
    /// promotion wanted: the archive may have it.
    fn separated(&self, ended: LogPosition) {
        let _ = ended;
    }
    /// A restartpoint is done: nothing here needs log from before its redo point any more. Blocks.
    fn restartpoint_done(&self) {}
}

/// Keeps what recovery needs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeepForRecovery;

impl WalRetention for KeepForRecovery {
    fn needed_from(&self, redo: Lsn) -> Lsn {
        redo
    }
}
