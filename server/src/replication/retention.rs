//! Which log the checkpoints keep: for slots, for standbys, until it is archived, and for a rewind.
//!
//! A rewind reads this node's log from the last checkpoint before the fork on, and a fork lies where a
//! standby was that is promoted. So
//!
//! - for a slot that is behind the log stays back to the last checkpoint before its position: if its standby
//!   is promoted, this node can be rewound to it, however long it wrote on;
//! - the first checkpoint of a node that knows others removes no log: whether one of them replaced it while
//!   it was away may not be known yet;
//! - a primary that is fenced removes none, and neither does a standby that has found itself past the fork:
//!   both are to be rewound, and their log does not grow.

use super::{Replication, slots};
use host::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use storage::WalRetention;
use wal::{Lsn, SegmentFate, SegmentFile};

/// Tells the database whom to ask which log to keep.
pub(super) fn apply(replication: &Arc<Replication>) {
    let redo = replication.database.control().checkpoint_copy.redo;
    let keeper = KeepForReplicas {
        replication: Arc::downgrade(replication),
        checkpoints: Mutex::new(Checkpoints(vec![redo])),
        is_first: AtomicBool::new(!replication.roster.members().is_empty()),
    };
    replication.database.set_retention(Arc::new(keeper));
}

/// Asked by each checkpoint. Holds the rest weakly, since the database holds this.
struct KeepForReplicas {
    replication: Weak<Replication>,
    checkpoints: Mutex<Checkpoints>,
    /// No checkpoint has asked yet, and there are nodes that may have replaced this one.
    is_first: AtomicBool,
}

/// Most checkpoints that are remembered.
const CHECKPOINTS_MAX: usize = 64;

/// The redo points of checkpoints, the oldest first; never none.
struct Checkpoints(Vec<Lsn>);

impl Checkpoints {
    /// There is one more.
    fn add(&mut self, redo: Lsn) {
        if self.0.last().is_some_and(|last| *last >= redo) {
            return;
        }
        if self.0.len() == CHECKPOINTS_MAX {
            // Whoever needs this one takes the one before it.
            self.0.pop();
        }
        self.0.push(redo);
    }

    /// The redo point of a checkpoint whose record ends at or before `at`, the newest that is known to do so:
    /// it ends before the redo point of the next. Older ones are forgotten.
    fn before(&mut self, at: Lsn) -> Lsn {
        let reached = self.0.iter().take_while(|redo| **redo <= at).count();
        self.0.drain(..reached.saturating_sub(2));
        self.0.first().copied().unwrap_or(at)
    }
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
        let is_first = self.is_first.swap(false, Ordering::Relaxed);
        let is_astray = replication.is_astray.load(Ordering::Relaxed);
        let mut checkpoints = self.checkpoints.lock();
        checkpoints.add(redo);
        // One whose log goes is no reason to keep more, and one that keeps up has this checkpoint in a moment.
        let begins = limits.segment_size.start_of(limits.segment_size.segment_of(redo));
        let behind = oldest.filter(|at| *at >= keep && *at < begins);
        let slots_checkpoint = behind.map(|at| checkpoints.before(at));
        if is_first || is_astray || replication.database.fenced().is_some() {
            return Lsn::INVALID;
        }
        keep.min(redo).min(slots_checkpoint.unwrap_or(redo))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkpoint_before_a_position_is_known_and_what_is_older_is_forgotten() {
        let lsn = Lsn::new;
        let mut known = Checkpoints(vec![lsn(10)]);
        assert_eq!(known.before(lsn(5)), lsn(10), "there is no older one");
        for redo in [20, 20, 30, 40] {
            known.add(lsn(redo));
        }
        assert_eq!(known.before(lsn(15)), lsn(10));
        // The record of the checkpoint that begins at 20 may end behind 29.
        assert_eq!(known.before(lsn(29)), lsn(10));
        assert_eq!(known.before(lsn(30)), lsn(20));
        assert_eq!(known.before(lsn(40)), lsn(30));
        assert_eq!(known.before(lsn(20)), lsn(30), "a position that goes back");
        for redo in 5..500 {
            known.add(lsn(redo * 10));
        }
        assert!(known.0.len() <= CHECKPOINTS_MAX);
        assert_eq!(known.before(lsn(45)), lsn(30), "who stands still keeps his");
    }
}
