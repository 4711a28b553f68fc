//! Which log the checkpoints keep: for slots, for standbys, until it is archived, and for a rewind.
//!
//! A rewind reads this node's log from the last checkpoint before the fork on, and a fork lies where a
//! standby was that is promoted; or from the checkpoint before that one, if that standby has made no
//! restartpoint of it. So a primary keeps it aside ([`wal::KEPT_DIR`]) back to the last checkpoint but one
//! that each member of the roster has which is not known to be no more, within plimsoll.rewind_keep_size. A
//! standby, which knows no other's position, keeps as much as that; and one that has found itself past the
//! fork removes none until it has as much more from an archive. Log of the timelines before the last
//! counts as well: who has stayed away over several promotions is rewound to where the first of them
//! left, and goes on from there along all of them.

use super::{Replication, slots};
use host::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use storage::WalRetention;
use wal::file_names::parse_partial;
use wal::{KeptLog, LogPosition, Lsn, SegmentFate, SegmentFile, SegmentNumber};

/// Tells the database whom to ask which log to keep.
pub(super) fn apply(replication: &Arc<Replication>) {
    let keeper = KeepForReplicas { replication: Arc::downgrade(replication), checkpoints: Mutex::default() };
    replication.database.set_retention(Arc::new(keeper));
}

/// Asked by each checkpoint. Holds the rest weakly, since the database holds this.
struct KeepForReplicas {
    replication: Weak<Replication>,
    checkpoints: Mutex<Checkpoints>,
}

/// Checkpoints of this life that the node may be rewound to, the oldest first: their redo points and ends.
type Checkpoints = VecDeque<(Lsn, Lsn)>;

/// Most that are remembered: what is kept does not reach back over more.
const CHECKPOINTS_MAX: usize = 1024;

/// The redo point of the newest checkpoint but one that each member has, INVALID if none is known. Takes over
/// one that is just done, and forgets what is older than the answer.
fn rewind_from(checkpoints: &mut Checkpoints, done: (Lsn, Lsn), held_by_all: Lsn) -> Lsn {
    checkpoints.push_back(done);
    if checkpoints.len() > CHECKPOINTS_MAX {
        checkpoints.pop_front();
    }
    let known = checkpoints.iter().rposition(|(_, end)| *end <= held_by_all);
    let Some(first) = known.and_then(|known| known.checked_sub(1)) else { return Lsn::INVALID };
    checkpoints.drain(..first);
    checkpoints.front().map_or(Lsn::INVALID, |(redo, _)| *redo)
}

/// plimsoll.rewind_keep_size in segments.
fn kept_segments_max(replication: &Replication) -> u64 {
    replication.ground.config().rewind_keep_size_bytes / replication.place.segment_size.bytes()
}

/// A primary that became a standby removes segments which it has not archived, as PostgreSQL does: whoever
/// archives now need not have them.
fn tell_unarchived(replication: &Replication, names: &[String]) {
    let size = replication.place.segment_size;
    let segment =
        |name: &String| SegmentNumber::parse_file_name(name, size).or_else(|| parse_partial(name, size));
    let [Some(first), Some(last)] = [names.first(), names.last()] else { return };
    let reason = format!(
        "{} WAL segments from \"{first}\" to \"{last}\" were removed before this server had archived them: a standby \
         archives nothing with archive_mode = on",
        names.len()
    );
    let mut numbers: Vec<SegmentNumber> =
        names.iter().filter_map(segment).map(|(_, number)| number).collect();
    numbers.sort_unstable();
    if let [Some(from), Some(to)] = [numbers.first(), numbers.last()] {
        replication.ledger.record("unarchived", (size.start_of(*from), size.start_of(to.next())), &reason);
    }
    replication.ground.log.warning(reason);
}

impl WalRetention for KeepForReplicas {
    fn needed_from(&self, redo: Lsn) -> Lsn {
        let Some(replication) = self.replication.upgrade() else { return redo };
        if let Some(archiver) = replication.archive.archiver() {
            archiver.settle_ended();
        }
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
        // A standby past the fork is to be rewound. Its log hardly grows, unless an archive has more of it.
        let astray_at = Lsn::new(replication.astray_at.load(Ordering::Relaxed));
        if replication.database.is_in_recovery() && astray_at.is_valid() {
            let grown_by = redo.get().saturating_sub(astray_at.get());
            if grown_by <= replication.ground.config().rewind_keep_size_bytes {
                return Lsn::INVALID;
            }
        }
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

    fn partial_may_go(&self, segment: SegmentFile) -> bool {
        let Some(replication) = self.replication.upgrade() else { return true };
        replication.archive.archiver().is_none_or(|archiver| archiver.partial_may_go(segment))
    }

    /// Any member may be promoted, from where it is: then a rewind begins at the last checkpoint that it has,
    /// or at the one before. Of one that was not heard in this life nothing is known.
    fn kept(&self, redo: Lsn, end: Lsn) -> KeptLog {
        let Some(replication) = self.replication.upgrade() else { return KeptLog::AS_IT_IS };
        let size = replication.place.segment_size;
        let members = replication.roster.living();
        let held = members.iter().map(|member| replication.senders.held_by(member.id).unwrap_or_default());
        let held_by_all = held.min().unwrap_or(Lsn::MAX);
        let from = rewind_from(&mut self.checkpoints.lock(), (redo, end), held_by_all);
        let segments_max = if members.is_empty() { 0 } else { kept_segments_max(&replication) };
        KeptLog { from: size.segment_of(from), segments_max, adds: true }
    }

    /// Another standby may be promoted from before what this one has: how far that is nobody tells it.
    fn kept_in_recovery(&self) -> KeptLog {
        let Some(replication) = self.replication.upgrade() else { return KeptLog::AS_IT_IS };
        let segments_max = kept_segments_max(&replication);
        KeptLog { segments_max, adds: !replication.roster.living().is_empty(), ..KeptLog::AS_IT_IS }
    }

    fn removed(&self) {
        let Some(replication) = self.replication.upgrade() else { return };
        if let Some(archiver) = replication.archive.archiver() {
            archiver.forget_removed(|names| tell_unarchived(&replication, names));
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

    fn separated(&self, ended: LogPosition) {
        let Some(replication) = self.replication.upgrade() else { return };
        if let Some(archiver) = replication.archive.archiver() {
            archiver.end_timeline(ended.timeline, ended.timeline, ended.lsn);
        }
    }

    fn restartpoint_done(&self) {
        if let Some(replication) = self.replication.upgrade() {
            replication.archive.clean_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_is_kept_from_the_last_checkpoint_but_one_that_all_members_have() {
        let at = Lsn::new;
        let mut checkpoints = Checkpoints::new();
        let mut done = |redo, end, held| rewind_from(&mut checkpoints, (at(redo), at(end)), at(held));
        assert_eq!(done(100, 120, 0), Lsn::INVALID, "nothing is known of one");
        assert_eq!(done(200, 220, 219), Lsn::INVALID, "what came before the first is not remembered");
        assert_eq!(done(300, 320, 320), at(200), "all have the last, and may have no restartpoint of it");
        assert_eq!(done(400, 420, 310), Lsn::INVALID, "one has the oldest that is remembered alone");
        assert_eq!(done(500, 520, 470), at(300));
        assert_eq!(done(600, 620, 210), Lsn::INVALID, "one fell back behind all that is remembered");
    }
}
