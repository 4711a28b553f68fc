//! Promotion: a standby becomes a primary on a timeline of its own.
//!
//! The order makes every crash in between harmless: it is recorded that a promotion begins, the history file
//! and the log's new segment are made, the end-of-recovery record is durable, then the control file names the
//! timeline, before any page is changed: that decides it. Before, the next start takes back what was made
//! ([`wal::log_branch::undo_promotion`]), of which nobody has heard; after, the archive gets the history, and
//! the signal files go. Writes are taken only when the caller ends recovery, who may settle before what
//! belongs to the ended timeline. The control file's state is the last: who waits for it finds the server out
//! of recovery.

use crate::Error;
use crate::engine::Engine;
use crate::engine::recovery_state::Parked;
use crate::recovery::open::{Begin, branch_error, start_writing};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::OwnedMutexGuard;
use wal::control::ClusterState;
use wal::history::{BranchId, TimelineHistory};
use wal::{Lsn, TimelineId, WriteStart};

/// How a promotion names itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromoteOptions {
    /// The new timeline, above every one that anybody has seen ([`wal::timelines`]).
    pub new_timeline: TimelineId,
    /// The reason column of the history file.
    pub reason: String,
}

/// What a promotion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promoted {
    /// The timeline that ended.
    pub old_timeline: TimelineId,
    /// The timeline of the segment file that its end was read from: an ancestor's, if nothing of it is here.
    pub end_file: TimelineId,
    /// The new one.
    pub timeline: TimelineId,
    /// Where it forks off.
    pub switch_at: Lsn,
    /// The branch id in its history file.
    pub branch: BranchId,
}

/// A database on its new timeline that is in recovery still; see [`crate::Database::promote`].
#[must_use = "takes no writes before its recovery is ended"]
pub struct Promotion {
    engine: Arc<Engine>,
    promoted: Promoted,
    /// No checkpoint and no restartpoint sees the half of it.
    _only: OwnedMutexGuard<()>,
}

impl std::fmt::Debug for Promotion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Promotion").field("promoted", &self.promoted).finish_non_exhaustive()
    }
}

impl Promotion {
    /// What it did.
    pub fn promoted(&self) -> Promoted {
        self.promoted
    }

    /// Ends recovery: the database takes writes. A checkpoint is due afterwards.
    ///
    /// # Errors
    /// Fails if the control file cannot be written.
    pub async fn end_recovery(self) -> Result<(), Error> {
        let ended = crate::blocking::run(move || {
            let engine = &self.engine;
            engine.recovery.active.store(false, Ordering::Release);
            engine.levels.say_what_is_confirmed();
            engine.visibility.confirmed_more().notify_waiters();
            engine.update_control(|control| control.state = ClusterState::InProduction)?;
            engine.end_raising()
        });
        ended.await.map_err(|_| Error::Shutdown)?
    }
}

impl Engine {
    /// The control file names the timeline of a promotion, whose log is durable up to `end`. From then on
    /// readers are told of it: before that, a crash undoes the promotion.
    pub(crate) fn name_timeline(&self, end: Lsn, timeline: TimelineId) -> Result<(), Error> {
        if !host::planted!("a promotion leaves minRecoveryPoint on the ended timeline") {
            self.update_control(|control| {
                control.min_recovery_point = end;
                control.min_recovery_point_timeline = timeline;
            })?;
        }
        self.set_timeline(timeline);
        Ok(())
    }
}

/// Promotes up to the end of recovery; see [`crate::Database::promote`].
pub(crate) fn promote(
    engine: Arc<Engine>,
    only: OwnedMutexGuard<()>,
    at: Lsn,
    old: TimelineId,
    options: &PromoteOptions,
) -> Result<Promotion, Error> {
    let Parked { state, timeline: last_record, file, .. } =
        engine.parked.lock().clone().ok_or(Error::WrongState("redo is not at its end"))?;
    if !engine.recovery.is_consistent() {
        return Err(Error::Unusable(format!(
            "cannot promote: WAL was replayed up to {at}, and the data is consistent only later"
        )));
    }
    let timeline = options.new_timeline;
    let (disk, wal_dir) = (&*engine.host.disk, engine.wal_dir());
    let unusable = |error: wal::history::HistoryFileError| Error::Unusable(error.to_string());
    let history = TimelineHistory::load(disk, &wal_dir, old).map_err(unusable)?;
    let branch = BranchId::new(engine.host.entropy.next_u64());
    let fork = if host::planted!("a history names the last record's start as its switch") {
        state.last_record
    } else {
        at
    };
    let history = history.fork(timeline, fork, &options.reason, branch).ok_or_else(|| {
        Error::Unusable(format!("timeline {timeline} cannot follow timeline {old} at {at}"))
    })?;
    engine.branch.begin_promotion(timeline, branch).map_err(|error| branch_error(&error))?;
    history.store(disk, &wal_dir).map_err(unusable)?;
    let start = WriteStart {
        insert_at: at,
        previous: state.last_record,
        overwrites_contrecord: false,
        forked_from: Some(file),
    };
    // Once the log is written here, pages go to disk ahead of what the control file tells of the new
    // timeline.
    engine.raise_min_recovery_point(at)?;
    // As PostgreSQL has it: the record names the timeline of the record before it, the history the one that
    // is continued.
    start_writing(&engine, &Begin { timeline, ended: Some(last_record), start, overwritten: None, state })?;
    let end = engine.wal()?.positions().flushed();
    // Pages may be as new as this by now.
    engine.name_timeline(end, timeline)?;
    // It is decided: from here on others may hear of it.
    let retention = engine.retention.read().clone();
    retention.made(&timeline.history_file_name());
    for signal in ["standby.signal", "recovery.signal"] {
        let path = engine.dir().join(signal);
        match disk.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove file", &path, error));
            }
            _ => {}
        }
    }
    disk.sync_dir(engine.dir()).map_err(|error| Error::io("fsync directory", engine.dir(), error))?;
    let promoted = Promoted { old_timeline: old, end_file: file, timeline, switch_at: at, branch };
    Ok(Promotion { engine, promoted, _only: only })
}
