//! Which log the checkpoints keep: for slots, for standbys, and until it is archived.

use super::{Replication, slots};
use std::sync::{Arc, Weak};
use storage::WalRetention;
use wal::{Lsn, SegmentFate, SegmentFile};

/// Tells the database whom to ask which log to keep.
pub(super) fn apply(replication: &Arc<Replication>) {
    let keeper = KeepForReplicas { replication: Arc::downgrade(replication) };
    replication.database.set_retention(Arc::new(keeper));
}

/// Asked by each checkpoint. Holds the rest weakly, since the database holds this.
struct KeepForReplicas {
    replication: Weak<Replication>,
}

impl WalRetention for KeepForReplicas {
    fn needed_from(&self, redo: Lsn) -> Lsn {
        let Some(replication) = self.replication.upgrade() else { return redo };
        if let Err(error) = replication.slots.save() {
            // A slot that is not saved may hold back more than its file says, never less.
            replication.ground.log.warning(format!("could not save replication slots: {error}"));
        }
        // What the files say by now. One that moves back later is asked before each segment goes.
        let oldest = replication.slots.oldest();
        let mut limits = replication.limits();
        // Redo of an archive's log tells from time to time only how far that is whole.
        limits.end = limits.end.max(redo);
        let keep = limits.segment_size.start_of(limits.keep_from(redo, oldest));
        slots::invalidate_before(&replication, keep);
        keep.min(redo)
    }

    fn fate(&self, segment: SegmentFile) -> SegmentFate {
        let Some(replication) = self.replication.upgrade() else { return SegmentFate::Reusable };
        let end = replication.place.segment_size.start_of(segment.segment.next());
        match replication.archive.archiver() {
            Some(archiver) if !archiver.may_go(segment) => SegmentFate::Kept,
            _ if !replication.slots.let_go(end) => SegmentFate::Kept,
            _ => replication.place.fate(segment),
        }
    }

    fn removed(&self) {
        let Some(replication) = self.replication.upgrade() else { return };
        if let Some(archiver) = replication.archive.archiver() {
            archiver.forget_removed();
        }
        if let Err(error) = replication.place.forget_removed() {
            replication.ground.log.warning(error.to_string());
        }
    }

    fn made(&self, name: &str) {
        let replication = self.replication.upgrade();
        if let Some(archiver) = replication.as_ref().and_then(|replication| replication.archive.archiver()) {
            // Backups of a standby leave no history file, so whoever makes one is a primary, or about to be
            // one.
            archiver.finished(name, false);
        }
    }

    fn restartpoint_done(&self) {
        if let Some(replication) = self.replication.upgrade() {
            // What a stop leaves of it, the next restartpoint's does.
            let _ = replication.archive.run_recovery_command("archive_cleanup_command");
        }
    }
}
